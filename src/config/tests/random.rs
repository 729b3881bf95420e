//! Odd values at each key, and random files, environments and filters: each one loads or is refused,
//! without a panic.

use std::collections::BTreeMap;

use super::MINIMAL;
use crate::config::keys::{Fallback, Form, KEYS, Key};
use crate::config::resolve::resolve;
use crate::config::source::Source;
use crate::config::{ConfigErrors, Location};
use crate::route::Filter;

const CONFIGURATIONS: usize = 8_000;
/// How often each pair of keys is set.
const PAIRS: usize = 3;
const FILTERS: usize = 60_000;
/// The test tries all filters of at most so many pieces.
const FILTER_PIECES: u32 = 4;

/// Values and pieces of them that reach beyond the TOML parser.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "]]",
    "=",
    "\n",
    "#",
    ".",
    ",",
    "{",
    "}",
    "$",
    "${",
    "${A}",
    "$$",
    "-1",
    "0",
    "2",
    "1e9",
    "99999999999999999999",
    "inf",
    "nan",
    "\"5s\"",
    "\"never\"",
    "\"10 MiB\"",
    "\"1.5e30 EiB\"",
    "\"99999999999999y\"",
    "true",
    "1979-05-27",
    "\\u0000",
    "\u{feff}",
    "\u{1F980}",
    "mqtt://",
    "@",
    ":",
    "/",
    "\"mqtt://u:p@[::1]:1\"",
    "\"mqtt://@:1\"",
    "\"mqtt://[::g]\"",
    "[]",
    "\"PLAIN\"",
    "\"a+\"",
    "\"#/a\"",
    "\"${B}\"",
    "[kafka.properties]\n",
    "acks = 1\n",
    "linger.ms = 3\n",
    "[[routes]]\n",
    "routes",
    "\"slow:5ms\"",
    "\"sample:0\"",
    "\"a:1,b:2\"",
    "+",
    "$share/g/",
    "{a}",
    "a/{b}/{c...}",
    "{{",
    "}",
    "{json./a|default:}",
    "{user.a|x}",
    "{json./a} > 5 and",
    "{qos} in [1",
    "mqtt",
    "[\"mqtt.topic\", \"a={b}\"]",
    "[\"=\"]",
    "json./a~2",
    "json.",
    "user.",
    "1/0",
    "1/3",
    "create",
    "hold",
    "all",
    "tests = 1\n",
    "[[routes.tests]]\n",
    "[[routes.tests]]\nmqtt_topic = \"a\"\nvalue = \"b\"\n",
];

/// Properties of the example.
const PROPERTIES: [&str; 6] = [
    "compression.type",
    "security.protocol",
    "sasl.mechanism",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
];

fn mutate(rng: &mut fastrand::Rng, text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(0..=bytes.len());
        match rng.u8(0..6) {
            0 if at < bytes.len() => bytes[at] = rng.u8(..),
            1 if at < bytes.len() => {
                drop(bytes.drain(at..(at + rng.usize(1..20)).min(bytes.len())))
            }
            2 => bytes.truncate(at.max(1)),
            3 => {
                let key = &KEYS[rng.usize(..KEYS.len())];
                let value = PIECES[rng.usize(..PIECES.len())];
                let line = format!("\n{} = {value}\n", key.name());
                bytes.splice(at..at, line.into_bytes());
            }
            4 => {
                let from = rng.usize(0..=bytes.len());
                let to = (from + rng.usize(0..40)).min(bytes.len());
                let copy = bytes[from..to].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let piece = PIECES[rng.usize(..PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Changes one value in an otherwise legal file, so that the parser of that value sees it.
fn set_one(rng: &mut fastrand::Rng, text: &str) -> String {
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let at = rng.usize(..lines.len());
    let line = lines[at].trim_start_matches('#').to_owned();
    if let Some((name, old)) = line.split_once(" = ") {
        let value = match rng.bool() {
            true => PIECES[rng.usize(..PIECES.len())].to_owned(),
            false => mutate(rng, old),
        };
        lines[at] = format!("{name} = {value}");
    }
    lines.join("\n")
}

/// The minimal example with this key set to `value`.
fn with_line(key: &Key, value: &str) -> String {
    let line = format!("{} = {value}\n", key.name());
    let section = match key.section() {
        "" => return format!("{line}{MINIMAL}"),
        "routes" => "[[routes]]\n".to_owned(),
        "routes.tests" => return format!("{MINIMAL}[[routes.tests]]\n{line}"),
        section => format!("[{section}]\n"),
    };
    let Some((before, after)) = MINIMAL.split_once(&section) else {
        return format!("{MINIMAL}{section}{line}");
    };
    let is_other = |old: &&str| !old.starts_with(&format!("{} = ", key.name()));
    let others = after.split_inclusive('\n').filter(is_other);
    format!("{before}{section}{line}{}", others.collect::<String>())
}

/// Whether the configuration is legal. Asserts that a legal one can be printed and read again, and that
/// each error is one line and points to a line of the file.
fn answers(text: &str, env: &BTreeMap<String, String>) -> bool {
    match Source::read(text, env).and_then(resolve) {
        Ok(config) => {
            let described = config.describe();
            let again = Source::read(&described, &BTreeMap::new()).and_then(resolve);
            assert!(again.is_ok() || described.contains("[redacted]"), "{text}\n{again:?}");
            true
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a word: {text}");
            let lines = text.lines().count() + 1;
            for error in &errors {
                assert!(
                    !matches!(error.location, Location::Line(line) if line > lines),
                    "{error:?}"
                );
            }
            let said = ConfigErrors::new("config.toml", errors);
            assert_eq!(said.to_string().lines().count(), said.iter().count(), "{said}");
            false
        }
    }
}

#[test]
fn each_key_with_each_odd_value_is_answered_without_panic() {
    for key in KEYS {
        for piece in PIECES {
            let a = ("A".to_owned(), "b".to_owned());
            answers(&with_line(key, piece), &[a.clone()].into());
            answers(
                &with_line(key, &format!("\"{}\"", piece.trim_matches('"'))),
                &[a.clone()].into(),
            );
            let Some(variable) = key.variable() else { continue };
            let variable = (variable, piece.trim_matches('"').to_owned());
            answers(MINIMAL, &[a, variable].into());
        }
    }
    for name in PROPERTIES {
        for piece in PIECES {
            for value in [(*piece).to_owned(), format!("\"{}\"", piece.trim_matches('"'))] {
                let text = format!("{MINIMAL}[kafka.properties]\n{name} = {value}\n");
                answers(&text, &BTreeMap::new());
            }
        }
    }
}

#[test]
fn each_two_keys_with_odd_values_are_answered_without_panic() {
    let mut rng = fastrand::Rng::with_seed(1);
    let with_variable: Vec<_> = KEYS.iter().filter(|key| key.variable().is_some()).collect();
    for (index, one) in with_variable.iter().enumerate() {
        for other in &with_variable[..index] {
            for nth in 0..PAIRS {
                let [one, other] = [one, other].map(|key| {
                    let value = match (nth == 0 || rng.bool(), &key.form, &key.fallback) {
                        (true, Form::Url, _) => "mqtt://u:p@h",
                        (true, Form::SecretFile | Form::File, _) => "/dev/null",
                        (
                            true,
                            Form::UserProperties | Form::Headers | Form::KafkaTopicConfig,
                            _,
                        ) => "a=b",
                        (
                            true,
                            _,
                            Fallback::Required(text)
                            | Fallback::RequiredUnless(text, _)
                            | Fallback::Unset(text)
                            | Fallback::Value(text),
                        ) => text,
                        _ => PIECES[rng.usize(..PIECES.len())].trim_matches('"'),
                    };
                    (key.variable().unwrap_or_default(), value.to_owned())
                });
                answers(MINIMAL, &[one, other].into());
            }
        }
    }
}

#[test]
fn random_configurations_and_environments_never_panic() {
    let example = super::documents::example();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut legal, mut refused) = (0, 0);
    for _ in 0..CONFIGURATIONS {
        let base = if rng.u8(..) < 40 { &example } else { MINIMAL };
        let text = if rng.bool() { mutate(&mut rng, base) } else { set_one(&mut rng, base) };
        let mut env = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
        for _ in 0..rng.usize(0..3) {
            let name = KEYS[rng.usize(..KEYS.len())].variable().unwrap_or_default();
            let name = name.replace("__0__", &format!("__{}__", rng.u8(0..4)));
            let name = if rng.bool() { name } else { mutate(&mut rng, &name) };
            let value = PIECES[rng.usize(..PIECES.len())].trim_matches('"').to_owned();
            env.insert(name, value);
        }
        if answers(&text, &env) {
            legal += 1;
        } else {
            refused += 1;
        }
    }
    // Both outcomes are frequent enough.
    assert!(legal > CONFIGURATIONS / 50 && refused > CONFIGURATIONS / 10, "{legal} {refused}");
}

#[test]
fn random_filters_never_panic_and_match_without_panic() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let mut rng = fastrand::Rng::with_seed(seed);
    let alphabet = ["+", "#", "/", "$", "a", "b", "$share", "\0", "\u{e4}", "\u{1F980}", " "];
    let word = |rng: &mut fastrand::Rng| -> String {
        (0..rng.usize(0..12)).map(|_| alphabet[rng.usize(..alphabet.len())]).collect()
    };
    let words = (0..=FILTER_PIECES).flat_map(|length| {
        (0..alphabet.len().pow(length)).map(move |mut nth| {
            let piece = |_| {
                let piece = alphabet[nth % alphabet.len()];
                nth /= alphabet.len();
                piece
            };
            (0..length).map(piece).collect::<String>()
        })
    });
    let mut legal = 0;
    let (mut of_words, mut of_topics) = (rng.fork(), rng);
    for text in words.chain((0..FILTERS).map(|_| word(&mut of_words))) {
        if let Ok(filter) = text.parse::<Filter>() {
            legal += 1;
            assert_eq!(filter.as_str(), text);
            filter.matches(&word(&mut of_topics));
        }
    }
    assert!(legal > FILTERS / 100, "{legal}");
}
