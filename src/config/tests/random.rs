//! A million random inputs: whatever comes, it is answered, and no panic.

use std::collections::BTreeMap;

use super::MINIMAL;
use crate::config::keys::KEYS;
use crate::config::resolve::resolve;
use crate::config::source::Source;
use crate::config::{ConfigErrors, Location};
use crate::route::Filter;

const CONFIGURATIONS: usize = 250_000;
const FILTERS: usize = 750_000;

/// Pieces that are likely to reach beyond the parser.
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

/// A value that stands alone, for a key that is otherwise legal: so the parsers of values are reached.
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
            let name = KEYS[rng.usize(..KEYS.len())].variable();
            let name = if rng.bool() { name } else { mutate(&mut rng, &name) };
            let value = PIECES[rng.usize(..PIECES.len())].trim_matches('"').to_owned();
            env.insert(name, value);
        }
        match Source::read(&text, &env).and_then(resolve) {
            Ok(config) => {
                legal += 1;
                let again = Source::read(&config.describe(), &BTreeMap::new()).and_then(resolve);
                assert!(
                    again.is_ok() || config.describe().contains("[redacted]"),
                    "{text}\n{again:?}"
                );
            }
            Err(errors) => {
                refused += 1;
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
            }
        }
    }
    // Both ways are worth walking.
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
    let mut legal = 0;
    for _ in 0..FILTERS {
        let text = word(&mut rng);
        if let Ok(filter) = text.parse::<Filter>() {
            legal += 1;
            assert_eq!(filter.as_str(), text);
            filter.matches(&word(&mut rng));
        }
    }
    assert!(legal > FILTERS / 100, "{legal}");
}
