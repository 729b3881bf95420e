use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::route::captures::Captures;
use crate::route::test_support::Sample;

/// What a placeholder is for a message of `sensors/{site}/{device}/{rest...}`.
fn text(written: &str, mqtt_topic: &str, payload: &str) -> Result<String, String> {
    let placeholder = Placeholder::parse(written)?;
    let (_, captures) = Captures::read("sensors/{site}/{device}/{rest...}").expect("legal");
    let sample = Sample {
        properties: Bytes::from_static(PROPERTIES),
        retain: true,
        connection: "plant".into(),
        ..Sample::new(mqtt_topic, payload).at(1_773_576_000_250_000)
    };
    let input = sample.input();
    let view = View::new(&input, &captures, sample.payload.clone());
    let text = placeholder.text(&view).map_err(|lacking| lacking.to_string())?;
    Ok(text.into_owned())
}

/// Content type `a/b`, response topic `r`, correlation data of two bytes, user properties `id` twice and
/// `a|b`.
const PROPERTIES: &[u8] = b"\x03\0\x03a/b\x08\0\x01r\x09\0\x02\xff\x00\
    \x26\0\x02id\0\x0217\x26\0\x02id\0\x0218\x26\0\x03a|b\0\x01x";

const PAYLOAD: &str = r#"{"device": {"id": 7, "name": "B\u00c4R"}, "on": false, "none": null, "empty": "",
    "list": [1, {"a": 2}], "ts": "2026-03-15T14:00:00+02:00"}"#;

fn of(written: &str) -> Result<String, String> {
    text(written, "sensors/berlin/d7/room/temp", PAYLOAD)
}

#[test]
fn each_source_reads_its_part_of_a_message() {
    for (written, expected) in [
        ("{site}", "berlin"),
        ("{rest}", "room/temp"),
        ("{mqtt_topic}", "sensors/berlin/d7/room/temp"),
        ("{mqtt_topic[0]}", "sensors"),
        ("{mqtt_topic[-1]}", "temp"),
        ("{qos}", "1"),
        ("{retain}", "true"),
        ("{received_at}", "2026-03-15T12:00:00.250000Z"),
        ("{received_at|date:%Y-%m-%d}", "2026-03-15"),
        ("{received_at|date:%H:%M}", "12:00"),
        ("{received_at|epoch:ms}", "1773576000250"),
        ("{connection}", "plant"),
        ("{user.id}", "17"),
        (r"{user.a\|b}", "x"),
        ("{content_type}", "a/b"),
        ("{response_topic}", "r"),
        ("{correlation_data}", "/wA="),
        ("{json./device/id}", "7"),
        ("{json./device/name|lower}", "bär"),
        ("{json./on}", "false"),
        ("{json./list}", r#"[1, {"a": 2}]"#),
        ("{json./list/1/a}", "2"),
        ("{json./ts|epoch:s}", "1773576000"),
    ] {
        assert_eq!(of(written).as_deref(), Ok(expected), "{written}");
    }
}

#[test]
fn what_is_missing_null_or_empty_is_never_an_empty_text_by_accident() {
    for (written, lacking) in [
        ("{json./no}", "missing"),
        ("{json./none}", "null"),
        ("{json./empty}", "empty"),
        ("{user.no}", "missing"),
        ("{mqtt_topic[7]}", "missing"),
        ("{json./on|date:%Y}", "missing"),
        ("{site|replace:berlin:}", "empty"),
        ("{json./no|default:x|replace:x:}", "empty"),
    ] {
        assert_eq!(of(written), Err(lacking.to_owned()), "{written}");
        assert_eq!(of(&written.replace('}', "|n/a}")).as_deref(), Ok("n/a"), "{written}");
        assert_eq!(of(&written.replace('}', "|default:}")).as_deref(), Ok(""), "{written}");
    }
    // `#` matches the level before it too.
    assert_eq!(text("{rest}", "sensors/berlin/d7", ""), Err("missing".to_owned()));
    assert_eq!(text("{rest}", "sensors/berlin/d7/", ""), Err("empty".to_owned()));
    assert_eq!(text("{site}", "sensors//d7", ""), Err("empty".to_owned()));
    assert_eq!(text("{json./a}", "sensors/b/d7", "{\"a\" 1}"), Err("missing".to_owned()));
}

#[test]
fn functions_follow_each_other_and_a_backslash_takes_a_meaning_away() {
    for (written, expected) in [
        ("{rest|replace:/:.|upper}", "ROOM.TEMP"),
        ("{json./no|lower|default:A:B|lower}", "a:b"),
        (r"{json./no|replace:\::-|a\|b\}}", "a|b}"),
        (r"{json./ts|replace:\::-}", "2026-03-15T14-00-00+02-00"),
        ("{site|first:3}", "ber"),
        ("{site|last:3}", "lin"),
    ] {
        assert_eq!(of(written).as_deref(), Ok(expected), "{written}");
    }
}

#[test]
fn what_is_wrong_with_a_placeholder_is_said() {
    for (written, error) in [
        ("{}", "a placeholder is written"),
        ("site", "a placeholder is written"),
        ("{site", "a placeholder is written"),
        ("{site}x", "a placeholder is written"),
        ("{|lower}", "expected a capture"),
        ("{qos.x}", "found `.x` behind it"),
        ("{mqtt_topic[x]}", "a level is written"),
        ("{mqtt_topic[99999999999]}", "a level is written"),
        ("{user}", "`user.NAME`"),
        ("{json}", "`json./POINTER`"),
        ("{json.a}", "begins with `/`"),
        ("{site.x}", "expected a capture"),
        ("{site|}", "expected one of default:TEXT"),
        ("{site|lowr}", "did you mean the function `lower`?"),
        ("{site|replac:a:b}", "did you mean the function `replace:FROM:TO`?"),
        ("{site|nothing:a}", "expected one of"),
        ("{site|unknown|lower}", "is written `default:unknown`"),
        ("{site| unknown}", "is written `default: unknown`"),
        ("{site| lower}", "write `lower` without white space around it"),
        ("{json./at | upper}", "write `json./at` without white space around it"),
        ("{ json./at }", "write `json./at` without white space around it"),
        ("{site|10:30}", "is written `default:10:30`"),
        ("{site|http://x}", "is written `default:http://x`"),
        ("{site|upper|}", "is written `default:`"),
        ("{site|upcase}", "did you mean the function `upper`?"),
        ("{site|toLowerCase}", "did you mean the function `lower`?"),
        ("{site|strip}", "is written `default:strip`"),
        ("{site|substr:0:3}", "did you mean the function `first:N`?"),
        ("{site|truncate(3)}", "did you mean the function `first:N`?"),
        ("{site|replace('/', '.')}", "did you mean the function `replace:FROM:TO`?"),
        ("{site|default('x')}", "did you mean the function `default:TEXT`?"),
        ("{site|sha256}", "expected one of default:TEXT"),
        ("{site|round(2)}", "is written `default:round(2)`"),
        ("{site|replace}", "two texts"),
        ("{site|replace::b}", "two texts"),
        ("{site|lower:x}", "no argument"),
        (
            "{site|first}",
            "a number of characters, as in `first:8`; a default of this text is written `default:first`",
        ),
        ("{site|first:0}", "a number"),
        ("{site|default}", "needs a text"),
        ("{site|date}", "needs a format"),
        ("{site|date:%}", "is not a format"),
        ("{site|epoch:h}", "`epoch:s`"),
    ] {
        let found = Placeholder::parse(written).expect_err(written);
        assert!(found.contains(error), "{written}: {found}");
    }
}

#[test]
fn a_word_alone_is_a_default_and_doubtful_unless_it_says_that_there_is_nothing() {
    for (written, doubtful) in [
        ("{json./no|power}", Some("power")),
        ("{json./no|lower|to_lowr}", Some("to_lowr")),
        ("{json./no|default:power}", None),
        ("{json./no|celsius}", None),
        ("{json./no|true}", None),
        ("{json./no|unknown}", None),
        ("{json./no|Berlin}", None),
        ("{json./no|n/a}", None),
        ("{json./no|7}", None),
        ("{json./no|default:}", None),
        ("{json./no|lower}", None),
        ("{json./no}", None),
    ] {
        let placeholder = Placeholder::parse(written).expect(written);
        assert_eq!(placeholder.doubtful_default(), doubtful, "{written}");
        if let Some(doubtful) = doubtful {
            assert_eq!(of(written).as_deref(), Ok(doubtful));
        }
    }
}

#[test]
fn the_table_says_how_each_word_is_written_and_each_is_read_so() {
    for word in words::WORDS {
        let example =
            word.written.replace("POINTER", "a").replace("UNIT", "ms").replace(":N", ":3");
        let written =
            if word.is_source() { format!("{{{example}}}") } else { format!("{{x|{example}}}") };
        if let Err(error) = Placeholder::parse(&written) {
            // `FORMAT` has no directives, which is a format.
            panic!("{written}: {error}");
        }
        assert!(!word.meaning.is_empty());
    }
}

proptest! {
    #[test]
    fn no_placeholder_panics_whatever_the_message(
        written in "\\{(site|rest|json\\.(/[a-c~01]{0,3}){0,2}|mqtt_topic\\[-?[0-9]{1,3}\\]|user\\.[a-c]|[a-z_.\\[]{1,6})(\\|[a-z:/0-9%\\\\]{0,12}){0,3}\\}",
        mqtt_topic in "[a-c/\u{e9}]{0,8}",
        payload in "[a-c{}\\[\\]\":,0-9\\\\]{0,16}",
    ) {
        let _ = text(&written, &mqtt_topic, &payload);
    }
}
