use proptest::prelude::*;

use super::*;
use crate::mqtt::properties::PropertyValues;
use crate::route::captures::Captures;
use crate::route::test_support::Sample;

const FILTER: &str = "sensors/{site}/{rest...}";

fn filled(template: &Template, mqtt_topic: &str, payload: &str) -> Result<String, Unfilled> {
    let (_, captures) = Captures::read(FILTER).expect("legal");
    let sample = Sample::new(mqtt_topic, payload);
    let input = sample.input();
    let view = View::new(&input, &captures, sample.payload.clone());
    let text = template.fill(&view)?;
    let bytes = template.fill_bytes(&view, &mut String::new())?;
    assert_eq!(bytes, text.as_bytes(), "as text and as bytes it is the same");
    Ok(text)
}

fn template(written: &str) -> Template {
    Template::parse(written).expect(written)
}

#[test]
fn a_template_is_its_text_with_the_values_of_a_message() {
    for (written, expected) in [
        ("plain", "plain"),
        ("", ""),
        ("{site}", "berlin"),
        ("{mqtt_topic}", "sensors/berlin/a/b"),
        ("{mqtt_topic[-1]}", "b"),
        ("plant.{site}.{rest|replace:/:.}-x", "plant.berlin.a.b-x"),
        ("{{{site}}}", "{berlin}"),
        ("{{site}}", "{site}"),
        ("{json./v}{json./v}", "11"),
    ] {
        let template = template(written);
        assert_eq!(filled(&template, "sensors/berlin/a/b", r#"{"v": 1}"#).as_deref(), Ok(expected));
        assert_eq!(template.to_string(), written, "it is shown as written");
    }
}

#[test]
fn without_placeholders_it_is_fixed_and_its_braces_are_single() {
    assert_eq!(template("a{{b}}").as_fixed().map(|fixed| &**fixed), Some("a{b}"));
    assert_eq!(template("{qos}").as_fixed(), None);
    assert_eq!(Template::fixed("a{b}"), template("a{{b}}"));
}

#[test]
fn what_it_lacks_names_the_placeholder_and_the_mqtt_topic() {
    for (written, mqtt_topic, payload, sentence) in [
        (
            "x.{rest}",
            "sensors/berlin",
            "",
            "`{rest}` is missing and has no default; MQTT topic sensors/berlin",
        ),
        ("{site}", "sensors//a", "", "`{site}` is empty and has no default; MQTT topic sensors//a"),
        ("{json./a|lower}", "sensors/a/b", r#"{"a": null}"#, "`{json./a|lower}` is missing"),
    ] {
        let Unfilled(found) = filled(&template(written), mqtt_topic, payload).expect_err(written);
        assert!(found.starts_with(sentence), "{found}");
    }
    let long = format!("sensors//{}", "a".repeat(60_000));
    let Unfilled(found) = filled(&template("{site}"), &long, "").expect_err("empty");
    assert!(found.len() < 300, "{found}");
}

#[test]
fn a_wrong_template_says_where() {
    for (written, error) in [
        ("a{b", "found `{b`"),
        ("a}b", "found `}b`"),
        ("{a{b}}", "found `{a{b}}`"),
        ("x{}", "found `{}`"),
        ("{a}{b|lowr}", "in `{b|lowr}`"),
    ] {
        let found = Template::parse(written).expect_err(written);
        assert!(found.contains(error), "{written}: {found}");
    }
}

proptest! {
    #[test]
    fn any_text_is_a_fixed_template_and_comes_back_from_its_written_form(text in "\\PC{0,12}") {
        let fixed = Template::fixed(&text);
        let read = Template::parse(&fixed.to_string());
        prop_assert_eq!(read.as_ref(), Ok(&fixed));
        prop_assert_eq!(fixed.as_fixed().map(|fixed| &**fixed), Some(&*text));
    }

    #[test]
    fn nothing_that_is_written_panics(written in "[{}|:.a-e\\\\/~\\[\\]0]{0,16}") {
        if let Ok(template) = Template::parse(&written) {
            prop_assert_eq!(template.to_string(), written);
            let _ = filled(&template, "sensors/b/c", "{\"a\": 1}");
        }
    }
}

#[test]
fn what_is_a_part_of_the_message_is_not_copied_and_everything_is_as_it_would_be_filled() {
    let properties = PropertyValues {
        user: vec![("unit".to_owned(), "C".to_owned())],
        ..PropertyValues::default()
    };
    let sample = Sample {
        properties: properties.encode().expect("legal properties"),
        ..Sample::new(
            "plant/d7",
            r#"{"id": "x1", "n": 21.50, "e": "\u0061b", "o": {"a": []}, "s": ""}"#,
        )
    };
    let (input, captures) = (sample.input(), Captures::default());
    let view = View::new(&input, &captures, sample.payload.clone());
    let is_within = |bytes: &Bytes, whole: &Bytes| {
        whole.as_ptr_range().contains(&bytes.as_ptr()) && !bytes.is_empty()
    };
    for (written, is_part) in [
        ("{mqtt_topic}", true),
        ("{mqtt_topic[1]}", true),
        ("{mqtt_topic|first:3}", true),
        ("{json./id}", true),
        ("{json./id|last:1}", true),
        ("{json./n}", true),
        ("{json./o}", true),
        ("{user.unit}", true),
        ("{json./e}", false),
        ("{json./id|upper}", false),
        ("{json./id}-", false),
        ("{json./s|default:}", false),
        ("{connection}", false),
        ("{retain}", false),
        ("{user.none|default:C}", false),
    ] {
        let template = Template::parse(written).expect(written);
        let bytes = template.fill_bytes(&view, &mut "before".to_owned()).expect(written);
        assert_eq!(bytes, template.fill(&view).expect(written), "{written}");
        let wholes = [&sample.mqtt_topic, &sample.payload, &sample.properties];
        let found = wholes.iter().any(|whole| is_within(&bytes, whole));
        assert_eq!(found, is_part, "{written}");
    }
}
