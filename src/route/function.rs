//! What a placeholder does with its value. Pure.

use std::borrow::Cow;

use super::input::Value;
use super::moment::{self, EpochUnit};

/// A function with its arguments; [`super::words`] says how each is written. A value that is missing passes
/// through all of them but [`Function::Default`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Function {
    /// This text where there is no value: missing, null or empty.
    Default(Box<str>),
    /// In lower case.
    Lower,
    /// In upper case.
    Upper,
    /// Without white space around it.
    Trim,
    /// Each occurrence of the first text becomes the second.
    Replace(Box<str>, Box<str>),
    /// At most so many characters, from the beginning.
    First(usize),
    /// At most so many characters, from the end.
    Last(usize),
    /// A moment, formatted in UTC as `strftime` does; what is no moment counts as missing.
    Date(Box<str>),
    /// A moment as a number since the Unix epoch; what is no moment counts as missing.
    Epoch(EpochUnit),
}

impl Function {
    /// What becomes of a value.
    pub fn apply<'v>(&'v self, value: Option<Value<'v>>) -> Option<Value<'v>> {
        if let Self::Default(default) = self {
            let is_there = |value: &Value<'_>| match value {
                Value::Null => false,
                Value::Text(text) => !text.is_empty(),
                _ => true,
            };
            return value.filter(is_there).or(Some(Value::Text(Cow::Borrowed(default))));
        }
        let text = value?.into_text()?;
        Some(match self {
            Self::Default(_) => Value::Text(text),
            Self::Lower => Value::Text(keep_or(text, |text| text.to_lowercase())),
            Self::Upper => Value::Text(keep_or(text, |text| text.to_uppercase())),
            Self::Trim => Value::Text(part(text, str::trim)),
            Self::Replace(from, to) => Value::Text(match text.contains(&**from) {
                true => text.replace(&**from, to).into(),
                false => text,
            }),
            Self::First(count) => Value::Text(part(text, |text| first(text, *count))),
            Self::Last(count) => Value::Text(part(text, |text| last(text, *count))),
            // A plain number counts milliseconds.
            Self::Date(format) => {
                let moment = moment::read(&text, EpochUnit::Milliseconds)?;
                Value::Text(moment::format(format, moment).ok()?.into())
            }
            Self::Epoch(unit) => {
                let moment = moment::read(&text, EpochUnit::Milliseconds)?;
                Value::Number(unit.count(moment).to_string().into())
            }
        })
    }
}

/// The text if it is that already: nearly always, and without an allocation.
fn keep_or(text: Cow<'_, str>, change: impl Fn(&str) -> String) -> Cow<'_, str> {
    let changed = change(&text);
    if changed == *text { text } else { Cow::Owned(changed) }
}

fn part(text: Cow<'_, str>, part: impl Fn(&str) -> &str) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(part(text)),
        Cow::Owned(text) => Cow::Owned(part(&text).to_owned()),
    }
}

fn first(text: &str, count: usize) -> &str {
    text.char_indices().nth(count).map_or(text, |(end, _)| &text[..end])
}

fn last(text: &str, count: usize) -> &str {
    let start = text.char_indices().rev().nth(count - 1);
    start.map_or(text, |(start, _)| &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(function: &Function, text: &str) -> Option<String> {
        let value = Some(Value::Text(text.into()));
        function.apply(value).and_then(Value::into_text).map(Cow::into_owned)
    }

    #[test]
    fn each_function_does_what_its_table_says() {
        for (function, text, expected) in [
            (Function::Lower, "BERLIN-Ä", Some("berlin-ä")),
            (Function::Upper, "ä1", Some("Ä1")),
            (Function::Trim, " \ta b\n", Some("a b")),
            (Function::Replace("/".into(), ".".into()), "a/b/c", Some("a.b.c")),
            (Function::Replace("/".into(), "".into()), "a/b", Some("ab")),
            (Function::First(2), "äöü", Some("äö")),
            (Function::First(9), "äöü", Some("äöü")),
            (Function::Last(2), "äöü", Some("öü")),
            (Function::Last(9), "äöü", Some("äöü")),
            (Function::Date("%Y/%m".into()), "2026-03-15T12:00:00Z", Some("2026/03")),
            (Function::Date("%Y/%m".into()), "1773576000000", Some("2026/03")),
            (Function::Date("%Y".into()), "noon", None),
            (Function::Epoch(EpochUnit::Seconds), "2026-03-15T12:00:00.9Z", Some("1773576000")),
            (Function::Default("x".into()), "", Some("x")),
            (Function::Default("x".into()), "a", Some("a")),
        ] {
            assert_eq!(applied(&function, text).as_deref(), expected, "{function:?} {text:?}");
        }
    }

    #[test]
    fn what_is_missing_or_null_has_its_default_and_passes_every_other_function() {
        let default = Function::Default("x".into());
        for value in [None, Some(Value::Null)] {
            assert_eq!(default.apply(value.clone()), Some(Value::Text("x".into())));
            assert_eq!(Function::Lower.apply(value), None);
        }
        assert_eq!(default.apply(Some(Value::Bool(false))), Some(Value::Bool(false)));
    }
}
