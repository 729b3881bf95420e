//! What MQTT allows in a name and Kafka does not. Pure.
//!
//! A Kafka topic's name has letters, digits, `.`, `_` and `-` of ASCII, at most 249 of them, and is not `.` or
//! `..`. Every other byte of a filled template, UTF-8 included, is written `--` and two hexadecimal digits:
//! `a/b` becomes `a--2fb`. Where a text itself has `--` and two such digits, its first `-` is written `--2d`.
//! So names that Kafka allows stay nearly always as they are, no two texts become one name, and
//! [`unescape`] reads each one back.

use std::borrow::Cow;
use std::sync::Arc;

use lru::LruCache;

/// The longest name of a Kafka topic, in bytes.
pub const LENGTH_MAX: usize = 249;

/// How many filled names of a kind are remembered, so that records share them.
const REMEMBERED: usize = 4096;

/// `illegal_names`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IllegalNames {
    /// What Kafka does not allow is escaped, so that it can be read back.
    #[default]
    Escape,
    /// The message goes to the dead letter.
    DeadLetter,
}

impl IllegalNames {
    /// The name of a Kafka topic that a template was filled to.
    ///
    /// # Errors
    /// What was found and expected.
    pub fn apply(self, filled: &str) -> Result<Cow<'_, str>, String> {
        let name = match self {
            Self::Escape => escape(filled),
            Self::DeadLetter => match filled.chars().find(|char| !is_allowed_char(*char)) {
                None if matches!(filled, "." | "..") => {
                    return Err(format!("a Kafka topic cannot be called `{filled}`"));
                }
                None => Cow::Borrowed(filled),
                Some(char) => {
                    let shown: String = filled.chars().take(LENGTH_MAX).collect();
                    return Err(format!(
                        "expected letters, digits, `.`, `_` and `-` of ASCII, found {char:?} in {shown:?}"
                    ));
                }
            },
        };
        match name.len() {
            0 => Err("expected the name of a Kafka topic, found nothing".to_owned()),
            1..=LENGTH_MAX => Ok(name),
            length => {
                let shown: String = name.chars().take(LENGTH_MAX).collect();
                Err(format!(
                    "expected at most {LENGTH_MAX} bytes of a Kafka topic's name, found {length}: {shown}..."
                ))
            }
        }
    }
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn is_allowed_char(char: char) -> bool {
    u8::try_from(char).is_ok_and(is_allowed)
}

/// Whether these bytes begin with an escape.
fn is_escape(bytes: &[u8]) -> bool {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    matches!(bytes, [b'-', b'-', high, low, ..] if is_digit(high) && is_digit(low))
}

/// A name that Kafka allows, but for its length, and that [`unescape`] reads back.
pub fn escape(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let is_plain = |at: usize| is_allowed(bytes[at]) && !is_escape(&bytes[at..]);
    let dots = matches!(text, "." | "..");
    if !dots && (0..bytes.len()).all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut name = String::with_capacity(text.len() + 16);
    for (at, byte) in bytes.iter().enumerate() {
        match is_plain(at) && !(dots && at == 0) {
            true => name.push(char::from(*byte)),
            false => {
                name.push_str("--");
                for digit in [byte >> 4, byte & 0xF] {
                    name.extend(char::from_digit(digit.into(), 16));
                }
            }
        }
    }
    Cow::Owned(name)
}

/// The text that [`escape`] made this name of; `None` if it made none such.
pub fn unescape(name: &str) -> Option<String> {
    let mut rest = name.as_bytes();
    let mut text = Vec::with_capacity(rest.len());
    while let [first, ..] = rest {
        let length = if is_escape(rest) {
            text.push(u8::from_str_radix(std::str::from_utf8(&rest[2..4]).ok()?, 16).ok()?);
            4
        } else {
            text.push(*first);
            1
        };
        rest = &rest[length..];
    }
    String::from_utf8(text).ok().filter(|text| escape(text) == name)
}

/// Whether Kafka's metrics, which write `_` for `.`, cannot tell these names apart; it refuses to create the
/// second one.
pub fn collide(a: &str, b: &str) -> bool {
    let same = |(a, b): (u8, u8)| a == b || matches!((a, b), (b'.', b'_') | (b'_', b'.'));
    a != b && a.len() == b.len() && a.bytes().zip(b.bytes()).all(same)
}

/// Names that templates were filled to lately. Nearly always a name is known: then it is neither checked nor
/// kept twice.
#[derive(Debug)]
pub struct Names {
    escaped: Known,
    as_they_are: Known,
}

/// By the filled text.
type Known = LruCache<Box<str>, Arc<str>, foldhash::fast::RandomState>;

impl Default for Names {
    fn default() -> Self {
        // A bound given here would be allocated at once.
        let known = || LruCache::unbounded_with_hasher(foldhash::fast::RandomState::default());
        Self { escaped: known(), as_they_are: known() }
    }
}

impl Names {
    /// As [`IllegalNames::apply`].
    ///
    /// # Errors
    /// What was found and expected.
    pub fn of(&mut self, illegal_names: IllegalNames, filled: &str) -> Result<Arc<str>, String> {
        let known = match illegal_names {
            IllegalNames::Escape => &mut self.escaped,
            IllegalNames::DeadLetter => &mut self.as_they_are,
        };
        if let Some(name) = known.get(filled) {
            return Ok(Arc::clone(name));
        }
        let name: Arc<str> = illegal_names.apply(filled)?.into();
        known.put(filled.into(), Arc::clone(&name));
        if known.len() > REMEMBERED {
            known.pop_lru();
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_kafka_does_not_allow_is_escaped_by_its_bytes() {
        for (text, name) in [
            ("plant.berlin_7-a", "plant.berlin_7-a"),
            ("a/b", "a--2fb"),
            ("a b", "a--20b"),
            ("caf\u{e9}", "caf--c3--a9"),
            (".", "--2e"),
            ("..", "--2e."),
            ("...", "..."),
            ("a--b", "a--b"),
            ("a--be", "a--2d-be"),
            ("a-/b", "a---2fb"),
            ("a---2f", "a---2d-2f"),
        ] {
            assert_eq!(escape(text), name);
            assert_eq!(unescape(name).as_deref(), Some(text), "{name}");
        }
    }

    #[test]
    fn what_no_text_becomes_is_not_read_back() {
        for name in ["a/b", "a--61", ".", "a--ff", "--2d-2x"] {
            assert_eq!(unescape(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_refused_that_is_too_long_empty_or_not_to_be_escaped() {
        let (escape, refuse) = (IllegalNames::Escape, IllegalNames::DeadLetter);
        assert!(escape.apply(&"a".repeat(249)).is_ok());
        let long = escape.apply(&"a".repeat(250)).expect_err("too long");
        assert!(long.starts_with("expected at most 249 bytes"), "{long}");
        assert!(escape.apply(&"/".repeat(63)).is_err(), "four bytes each");
        assert!(escape.apply(&"/".repeat(62)).is_ok());
        for filled in ["", ".", "..", "a/b", "caf\u{e9}", "a\0"] {
            assert!(refuse.apply(filled).is_err(), "{filled:?}");
        }
        assert!(escape.apply("").is_err());
        assert_eq!(refuse.apply("a--be").as_deref(), Ok("a--be"), "nothing is escaped");
    }

    #[test]
    fn names_collide_that_differ_by_dot_and_underscore_alone() {
        assert!(collide("a.b", "a_b"));
        assert!(collide("a._", "a.."));
        for (a, b) in [("a.b", "a.b"), ("a.b", "a-b"), ("a.b", "a_bc")] {
            assert!(!collide(a, b), "{a} {b}");
        }
    }

    #[test]
    fn known_names_are_shared_and_each_way_knows_its_own() {
        let mut names = Names::default();
        let first = names.of(IllegalNames::Escape, "a/b").expect("escaped");
        let second = names.of(IllegalNames::Escape, "a/b").expect("escaped");
        assert!(Arc::ptr_eq(&first, &second));
        assert!(names.of(IllegalNames::DeadLetter, "a/b").is_err());
        let kept = names.of(IllegalNames::DeadLetter, "a--be").expect("legal");
        assert_eq!(&*kept, "a--be");
        assert_eq!(&*names.of(IllegalNames::Escape, "a--be").expect("legal"), "a--2d-be");
        for number in 0..2 * REMEMBERED {
            names.of(IllegalNames::Escape, &number.to_string()).expect("legal");
        }
        assert_eq!(names.escaped.len(), REMEMBERED, "strangers cannot make it grow");
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_its_name(text in prop_oneof!["\\PC{0,20}", "[-2af./]{0,12}"]) {
            let name = escape(&text);
            prop_assert!(name.bytes().all(is_allowed) && !matches!(&*name, "." | ".."), "{}", name);
            prop_assert_eq!(unescape(&name), Some(text.clone()));
        }

        #[test]
        fn a_name_is_read_back_only_if_a_text_becomes_it(name in "\\PC{0,12}|[-0-9a-f]{0,12}") {
            let text = unescape(&name);
            prop_assert!(text.is_none_or(|text| escape(&text) == name));
        }
    }
}
