//! Makes text from outside safe to show: a terminal displays it and does not obey it. Pure.
//!
//! An MQTT topic, and a broker's reason string, may contain any character but NUL: escape sequences,
//! direction marks, line separators, invisible characters.

use std::fmt::{self, Display, Write};

/// Whether a reader would not see `c`, or see something else because of it: control characters (C0,
/// DEL, C1), marks of direction, line and paragraph separators, and what has no width.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// Shows text on one line: hidden characters as `\n`, `\r`, `\t` or `\u{..}`, all others unchanged.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(pub &'a str);

impl Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_hidden(*c)) {
            f.write_str(&rest[..at])?;
            write_escaped(f, c)?;
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// As [`Visible`], in quotes, so that it is one word; quotes and backslashes within are escaped.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if is_hidden(c) => write_escaped(f, c)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char) -> fmt::Result {
    match c {
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        c => write!(f, "\\u{{{:x}}}", u32::from(c)),
    }
}

/// Replaces hidden characters in the JSON that begins at `start` by JSON's own escapes, so that it means
/// the same to a program. A serializer has already escaped those below 0x20.
pub fn escape_json(json: &mut Vec<u8>, start: usize) {
    // Nearly all of it is ASCII.
    if json[start..].iter().all(|byte| *byte < 0x7f) {
        return;
    }
    let text = String::from_utf8_lossy(&json[start..]).into_owned();
    json.truncate(start);
    for c in text.chars() {
        if is_hidden(c) && u32::from(c) >= 0x7f {
            for unit in c.encode_utf16(&mut [0; 2]) {
                json.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            json.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Characters that something is wrong with, and some that are as they should be.
    pub(crate) fn odd_text() -> impl Strategy<Value = String> {
        let odd = prop_oneof![
            prop::char::range('\0', '\u{20}'),
            prop::char::range('\u{7f}', '\u{a0}'),
            prop::char::range('\u{200b}', '\u{2070}'),
            prop::sample::select(vec!['\u{61c}', '\u{ad}', '\u{feff}', '\u{e0001}', '"', '\\']),
            any::<char>(),
        ];
        prop::collection::vec(odd, 0..30).prop_map(String::from_iter)
    }

    #[test]
    fn what_steers_a_terminal_or_turns_a_line_is_shown_as_its_number() {
        for (text, shown) in [
            ("a/b", "a/b"),
            ("Zürich/温度/☀", "Zürich/温度/☀"),
            ("a\u{1b}[2J", "a\\u{1b}[2J"),
            ("a\u{9b}2J", "a\\u{9b}2J"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("\u{2066}a\u{2069}\u{200e}\u{61c}", "\\u{2066}a\\u{2069}\\u{200e}\\u{61c}"),
            ("a\nb\r\t\u{7f}\u{2028}", "a\\nb\\r\\t\\u{7f}\\u{2028}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
        ] {
            assert_eq!(Visible(text).to_string(), shown);
        }
        assert_eq!(Quoted("a \"\\\u{85}").to_string(), "\"a \\\"\\\\\\u{85}\"");
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_left_and_what_is_not_hidden_stays(text in odd_text()) {
            let shown = Visible(&text).to_string();
            prop_assert!(!shown.contains(is_hidden), "{shown:?}");
            prop_assert!(!Quoted(&text).to_string().contains(is_hidden));
            if !text.contains(is_hidden) {
                prop_assert_eq!(&shown, &text);
            }
            let mut json = serde_json::to_vec(&text).expect("a string is always JSON");
            json.splice(0..0, *b"before");
            escape_json(&mut json, 6);
            let json = String::from_utf8(json).expect("UTF-8");
            prop_assert!(!json.contains(is_hidden), "{json:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&json[6..]).expect("JSON"), text);
        }
    }
}
