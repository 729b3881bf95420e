//! What conditions say of messages, and what is wrong with those that cannot be read.

use proptest::prelude::*;

use super::*;
use crate::route::captures::Captures;
use crate::route::test_support::Sample;

/// Whether a message at `plant/7/on` with this payload fulfils a condition.
fn holds(condition: &Condition, payload: &str) -> bool {
    let (_, captures) = Captures::read("plant/{line}/{state}").expect("a legal filter");
    let sample = Sample::new("plant/7/on", payload);
    condition.holds(&View::new(&sample.input(), &captures, sample.payload.clone()))
}

fn parse(text: &str) -> Condition {
    Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

const PAYLOAD: &str = r#"{"value": 21.5, "unit": "C", "id": 12345678901234567891, "level": "7", "big": 1e2,
    "ok": true, "none": null, "empty": "", "list": [1, 2], "quote": "a\"b", "flag": "false"}"#;

#[test]
fn each_comparison_says_what_the_table_says() {
    for (text, expected) in [
        // Numbers.
        ("{json./value} = 21.5", true),
        ("{json./value} = 21.50", true),
        ("{json./value} != 21.5", false),
        ("{json./value} > 21", true),
        ("{json./value}>=21.5", true),
        ("{json./value} < 21.5", false),
        ("{json./value} <= 21.5", true),
        ("{json./value} > -1e400", true),
        ("{json./big} = 100", true),
        ("{json./id} = 12345678901234567891", true),
        ("{json./id} = 12345678901234567890", false),
        ("{qos} = 1", true),
        // A text that is a number counts as one where the other side is one.
        ("{json./level} = 7.0", true),
        ("{json./level} < 10", true),
        (r#"{json./level} < "10""#, false),
        (r#"{json./level} = "7""#, true),
        (r#"{json./value} = "21.50""#, true),
        ("{line} >= 7", true),
        ("{json./level} = {line}", true),
        ("{json./unit} > 5", false),
        ("{json./unit} < 5", false),
        ("{json./unit} != 5", true),
        // Texts.
        (r#"{json./unit} = "C""#, true),
        ("{json./unit} = 'C'", true),
        (r#"{json./unit} < "D""#, true),
        (r#"{json./unit|lower} = "c""#, true),
        (r#"{json./quote} = "a\"b""#, true),
        (r#"{json./quote} = 'a"b'"#, true),
        (r#"{json./empty} = """#, true),
        (r#"{state} = "on""#, true),
        (r#"{json./list} = "[1, 2]""#, true),
        // True, false and null.
        ("{json./ok} = true", true),
        ("{json./ok} != false", true),
        ("{json./flag} = false", true),
        ("{json./unit} = true", false),
        ("{retain} = false", true),
        ("{json./none} = null", true),
        ("{json./none} != null", false),
        ("{json./unit} = null", false),
        (r#"{json./none} = "null""#, false),
        // What is missing.
        ("{json./gone} = 1", false),
        ("{json./gone} != 1", false),
        ("{json./gone} = null", false),
        ("{json./gone} != null", false),
        (r#"{json./gone} ~ ".*""#, false),
        ("{json./gone} in [1, null]", false),
        ("not {json./gone} = 1", true),
        ("{json./unit} != {json./gone}", false),
        ("{json./gone|0} = 0", true),
        ("{user.site} = 'x'", false),
        ("{json./gone} exists", false),
        ("{json./none} exists", true),
        ("{json./empty} exists", true),
        ("not {json./gone} exists", true),
        // Lists.
        ("{json./value} in [1, 21.50, 'x']", true),
        ("{json./unit} in ['F', \"C\"]", true),
        ("{json./unit} in []", false),
        ("{json./ok} in [ true ]", true),
        ("not {json./unit} in ['F']", true),
        // Regular expressions are found anywhere, unless anchored.
        (r#"{mqtt_topic} ~ "^plant/\d+/""#, true),
        (r"{mqtt_topic} ~ '^plant/\d$'", false),
        (r#"{json./value} ~ "^21\.""#, true),
        (r#"{json./none} ~ "null""#, false),
        // Joined.
        ("{qos} = 1 and {retain} = true or {line} = 7", true),
        ("{qos} = 1 and ({retain} = true or {line} = 8)", false),
        ("not {qos} = 1 or not {retain} = true", true),
        ("not ({qos} = 1 and {retain} = false)", false),
        ("not not {qos} = 1", true),
        ("  {qos}=1\n and\t{retain}=false  ", true),
        ("{qos} = 1 and{retain} = false", true),
    ] {
        assert_eq!(holds(&parse(text), PAYLOAD), expected, "{text}");
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn a_payload_that_is_no_json_has_no_fields() {
    let condition = parse("{json./value} > 5");
    assert!(!holds(&condition, r#"{"a": , "value": 6}"#) && holds(&condition, r#"{"value": 6}"#));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, error) in [
        (
            "",
            "at character 1: expected a placeholder such as `{json./value}`, or `not` or `(`, found the end",
        ),
        (
            "5 > {qos}",
            "at character 1: expected a placeholder such as `{json./value}`, or `not` or `(`, found `5 > {qos}`",
        ),
        (
            "{qos}",
            "at character 6: expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `in` or `exists`, found the end",
        ),
        (
            "{qos} == 1",
            "at character 8: expected a text in quotation marks, a number, `true`, `false`, `null` or a placeholder, found `= 1`",
        ),
        ("{qos} = 01", "at character 9: expected a text"),
        ("{qos} = one", "at character 9: expected a text"),
        ("{qos} = \"one", "at character 9: expected a text"),
        (
            "{qos} = 1 xor {qos} = 0",
            "at character 11: expected `and`, `or` or the end, found `xor {qos} = 0`",
        ),
        ("{qos} = 1 and", "at character 14: expected a placeholder"),
        ("({qos} = 1", "at character 11: expected `and`, `or` or `)`, found the end"),
        ("{qos} = 1)", "at character 10: expected `and`, `or` or the end, found `)`"),
        ("{qos} in 1", "at character 10: expected `[`, found `1`"),
        ("{qos} in [1 2]", "at character 13: expected `,` or `]`, found `2]`"),
        ("{qos} in [1,]", "at character 13: expected a text"),
        (
            "{qos} ~ 1",
            "at character 9: expected a regular expression in quotation marks, found `1`",
        ),
        (
            "{qos} ~ 'a('",
            "at character 9: expected a regular expression (unclosed group), found `'a('`",
        ),
        (
            "{qos} ~ '\\w{500}{500}'",
            "at character 9: expected a regular expression (Compiled regex exceeds size limit",
        ),
        ("é{qos} = 1", "at character 1: expected a placeholder"),
        ("{qos} = 1 and é", "at character 15: expected a placeholder"),
        (
            "{qos = 1",
            "at character 1: expected a placeholder such as `{json./value}`, found `{qos = 1`",
        ),
        ("{json.value} = 1", "at character 1: "),
    ] {
        let found = Condition::parse(text).expect_err(text);
        assert!(found.starts_with(error), "{text}\nexpected {error}\nfound    {found}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let long = format!("{{qos}} in [{}]", vec!["1"; LENGTH_MAX].join(","));
    assert!(
        Condition::parse(&long).expect_err("too long").starts_with("expected at most 4096 bytes")
    );
    let nested = |levels: usize| format!("{}{{qos}} = 1{}", "(".repeat(levels), ")".repeat(levels));
    assert!(holds(&parse(&nested(DEPTH_MAX)), ""));
    let error = Condition::parse(&nested(DEPTH_MAX + 1)).expect_err("too deep");
    assert!(error.contains("at most 32 levels"), "{error}");
    let error = Condition::parse(&"not ".repeat(1000)).expect_err("too deep");
    assert!(error.starts_with("at character 133: expected at most 32 levels"), "{error}");
    let wide = vec!["{qos} = 1"; 200].join(" and ");
    assert!(holds(&parse(&wide), ""));
}

#[test]
fn all_placeholders_are_shown_to_be_bound() {
    let mut condition =
        parse("not ({a} = {b} or {c} exists) and {d} ~ 'x' and {e} in [1] or {f} < 1");
    let mut found = Vec::new();
    condition.each_placeholder(&mut |placeholder| found.push(placeholder.to_string()));
    assert_eq!(found, ["{a}", "{b}", "{c}", "{d}", "{e}", "{f}"]);
}

/// A condition as a tree of its own, to compare with.
#[derive(Debug, Clone)]
enum Tree {
    Leaf(bool),
    Not(Box<Tree>),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

impl Tree {
    /// Written with no more parentheses than it takes, inside what binds so tightly: 0 `or`, 1 `and`, 2 `not`.
    fn write(&self, around: u8) -> String {
        let (text, binds) = match self {
            Self::Leaf(is_true) => (format!("{{qos}} = {}", u8::from(*is_true)), 3),
            Self::Not(inner) => (format!("not {}", inner.write(2)), 2),
            Self::And(one, other) => (format!("{} and {}", one.write(1), other.write(1)), 1),
            Self::Or(one, other) => (format!("{} or {}", one.write(0), other.write(0)), 0),
        };
        if binds < around { format!("({text})") } else { text }
    }

    fn holds(&self) -> bool {
        match self {
            Self::Leaf(is_true) => *is_true,
            Self::Not(inner) => !inner.holds(),
            Self::And(one, other) => one.holds() && other.holds(),
            Self::Or(one, other) => one.holds() || other.holds(),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    any::<bool>().prop_map(Tree::Leaf).prop_recursive(5, 32, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|it| Tree::Not(Box::new(it))),
            two.clone().prop_map(|(one, other)| Tree::And(Box::new(one), Box::new(other))),
            two.prop_map(|(one, other)| Tree::Or(Box::new(one), Box::new(other))),
        ]
    })
}

proptest! {
    #[test]
    fn not_binds_before_and_and_before_or(tree in tree()) {
        let text = tree.write(0);
        prop_assert_eq!(holds(&parse(&text), ""), tree.holds(), "{}", text);
    }

    /// Whatever is written, it is read or refused, and no message makes it panic.
    #[test]
    fn nothing_panics(
        text in prop::collection::vec(prop_oneof![
            Just("{qos}"), Just("{json./a}"), Just("{x|0}"), Just(" and "), Just(" or "), Just("not "), Just("("),
            Just(")"), Just(" = "), Just("!="), Just("<"), Just(" in "), Just("["), Just("]"), Just(","), Just("~"),
            Just("\"a\""), Just("'"), Just("\""), Just("\\"), Just("1"), Just("1e9"), Just("-"), Just("true"),
            Just("null"), Just(" exists"), Just("{"), Just("}"), Just("é"), Just("\0"),
        ], 0..12),
        payload in "\\PC{0,30}",
    ) {
        if let Ok(condition) = Condition::parse(&text.concat()) {
            holds(&condition, &payload);
        }
    }
}

#[test]
fn what_is_said_of_an_empty_payload_holds_whatever_the_rest_of_the_message() {
    for (text, expected) in [
        ("{json./a} > 5", Some(false)),
        ("not {json./a} > 5", Some(true)),
        ("{json./a} != 5", Some(false)),
        ("{json./a|default:7} > 5", Some(true)),
        ("{json./a|default:x} ~ \"x\"", Some(true)),
        ("{json./a} ~ \"\"", Some(false)),
        ("{json./a} in [1, null]", Some(false)),
        ("{json./a|default:x} in [\"x\"]", Some(true)),
        ("{json./a} exists", Some(false)),
        ("{json.} exists", Some(false)),
        ("not {json.} exists or {json./a} > 5", Some(true)),
        ("{json./a} = {line}", Some(false)),
        ("{line} = {json./a}", Some(false)),
        ("{line} = {json./a|default:7}", None),
        ("{line} = 7", None),
        ("{line} in [7]", None),
        ("{line} exists", None),
        ("{line} ~ \"7\"", None),
        ("{line} = 7 and {json./a} exists", Some(false)),
        ("{line} = 7 or {json./a} exists", None),
        ("{line} = 7 or not {json./a} exists", Some(true)),
        ("{line} = 7 and not {json./a} exists", None),
        ("not ({line} = 7 and {json./a} exists)", Some(true)),
    ] {
        let condition = parse(text);
        assert_eq!(condition.of_empty_payload(), expected, "{text}");
        assert!(expected.is_none_or(|expected| holds(&condition, "") == expected), "{text}");
    }
}
