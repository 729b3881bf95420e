//! A placeholder of a template or condition: `{json./unit|lower|default:none}`. Pure.
//!
//! A backslash takes the meaning from the character behind it: `{user.a\|b}`, `{x|replace:\::-}`.

use std::borrow::Cow;
use std::fmt;

use winnow::combinator::{alt, delimited, repeat, separated};
use winnow::prelude::*;
use winnow::token::{any, none_of};

use super::function::Function;
use super::input::{Value, View};
use super::source::Source;
use super::words;

/// A parsed placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// As written, braces included.
    written: Box<str>,
    source: Source,
    functions: Vec<Function>,
}

/// What a message has where a placeholder wants text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lacking {
    /// Nothing.
    Missing,
    /// JSON's null.
    Null,
    /// An empty text.
    Empty,
}

/// As in "`{site}` is missing".
impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Null => "null",
            Self::Empty => "empty",
        })
    }
}

/// Takes a placeholder from the beginning of `input`, as it is written, braces included:
/// [`Placeholder::parse`] reads it.
///
/// # Errors
/// There is none.
pub fn braced<'i>(input: &mut &'i str) -> ModalResult<&'i str> {
    let char = alt((none_of(['{', '}', '\\']).void(), ('\\', any).void()));
    delimited('{', repeat::<_, _, (), _, _>(1.., char), '}').take().parse_next(input)
}

/// Its parts, between the bars.
fn parts<'i>(input: &mut &'i str) -> ModalResult<Vec<&'i str>> {
    let char = alt((none_of(['|', '\\']).void(), ('\\', any).void()));
    separated(1.., repeat::<_, _, (), _, _>(0.., char).take(), '|').parse_next(input)
}

impl Placeholder {
    /// Reads one as it is written, braces included.
    ///
    /// # Errors
    /// What was found and expected.
    pub fn parse(written: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "a placeholder is written `{{source}}` or `{{source|function:argument}}`, found `{written}`"
            )
        };
        let whole = braced.parse(written).map_err(|_| form())?;
        let inner = parts.parse(&whole[1..whole.len() - 1]).map_err(|_| form())?;
        let (source, functions) = inner.split_first().ok_or_else(form)?;
        let place = |error| format!("in `{written}`: {error}");
        let last = functions.len().saturating_sub(1);
        let functions = functions
            .iter()
            .enumerate()
            .map(|(at, function)| words::read_function(function, at == last).map_err(place));
        Ok(Self {
            written: written.into(),
            source: words::read_source(source).map_err(place)?,
            functions: functions.collect::<Result<_, _>>()?,
        })
    }

    /// Where its value comes from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The same, to be bound to a route's captures.
    pub(super) fn source_mut(&mut self) -> &mut Source {
        &mut self.source
    }

    /// Whether it has functions.
    pub fn is_bare(&self) -> bool {
        self.functions.is_empty()
    }

    /// Whether it has a value where its source has none.
    pub fn has_default(&self) -> bool {
        self.functions.iter().any(|function| matches!(function, Function::Default(_)))
    }

    /// Its default, if that is a word without `default:` which could be meant as a function.
    pub fn doubtful_default(&self) -> Option<&str> {
        let Some(Function::Default(text)) = self.functions.last() else { return None };
        let is_of_name = |char: char| char.is_ascii_lowercase() || char == '_';
        let is_doubtful = text.len() > 1
            && text.chars().all(is_of_name)
            && self.written.ends_with(&format!("|{text}}}"))
            && words::is_doubtful(text);
        is_doubtful.then_some(text)
    }

    /// What it is for this message; `None` if that is missing. A text can be empty.
    pub fn value<'v>(&'v self, view: &'v View<'_>) -> Option<Value<'v>> {
        let value = self.source.read(view);
        self.functions.iter().fold(value, |value, function| function.apply(value))
    }

    /// What it is where its source has no value.
    pub fn of_nothing(&self) -> Option<Value<'_>> {
        self.functions.iter().fold(None, |value, function| function.apply(value))
    }

    /// What it is for this message, as text that is empty only where its default is.
    ///
    /// # Errors
    /// The message has no such text.
    pub fn text<'v>(&'v self, view: &'v View<'_>) -> Result<Cow<'v, str>, Lacking> {
        let value = self.value(view).ok_or(Lacking::Missing)?;
        let text = value.into_text().ok_or(Lacking::Null)?;
        if text.is_empty() && !self.may_be_empty() {
            return Err(Lacking::Empty);
        }
        Ok(text)
    }

    fn may_be_empty(&self) -> bool {
        let mut defaults = self.functions.iter().rev().filter_map(|function| match function {
            Function::Default(text) => Some(text),
            _ => None,
        });
        defaults.next().is_some_and(|text| text.is_empty())
    }
}

/// As written.
impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

#[cfg(test)]
#[path = "placeholder_tests.rs"]
mod tests;
