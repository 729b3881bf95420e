//! What a user wrote for one key, and what it means.

use std::time::Duration;

use bytesize::ByteSize;

use super::keys::Form;
use super::resolved::TimingPolicy;
use super::suggest::{FOUND_MAX, quoted};

/// What stands behind a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string, or an environment variable.
    Text(String),
    /// A string of the file with variables filled in. Errors repeat what was written, since what a
    /// variable holds may be a secret.
    Filled {
        /// As in the file.
        written: String,
        /// What it means.
        text: String,
    },
    /// An integer or a float, as written but without `_`.
    Number(String),
    /// true or false.
    Bool(bool),
    /// An array.
    List(Vec<Value>),
    /// Anything else; what it is.
    Other(&'static str),
    /// Refused already: say no more about it.
    Refused,
}

impl Value {
    /// The string, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Filled { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The strings, if it is a list of them or one string with commas.
    pub(super) fn list(&self) -> Option<Vec<&str>> {
        match self {
            Self::List(items) => items.iter().map(Self::text).collect(),
            _ => Some(self.text()?.split(',').map(str::trim).collect()),
        }
    }

    /// The text of a string, a number or a truth value, as librdkafka takes them.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Number(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            _ => self.text().map(str::to_owned),
        }
    }

    /// The integer within the limits of a [`Form::Count`]; a variable's text counts as one.
    pub(super) fn count(&self, form: &Form) -> Option<u64> {
        let digits = match self {
            Self::Number(digits) => digits,
            _ => self.text()?,
        };
        let &Form::Count(min, max) = form else { return None };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().filter(|number| (min..=max).contains(number))
    }

    /// The duration within the limits of its form; `Some(None)` is "never".
    pub(super) fn duration(&self, form: &Form) -> Option<Option<Duration>> {
        let text = self.text()?;
        let (min, max, whole, never) = match form {
            Form::Duration(min, max) => (min, max, false, false),
            Form::DurationOrNever(min, max) => (min, max, false, true),
            Form::Seconds(min, max) => (min, max, true, false),
            Form::SecondsOrNever(min, max) => (min, max, true, true),
            _ => return None,
        };
        if never && text == "never" {
            return Some(None);
        }
        let duration = parse_duration(text)?;
        let within = parse_duration(min)? <= duration && duration <= parse_duration(max)?;
        (within && !(whole && duration.subsec_nanos() > 0)).then_some(Some(duration))
    }

    /// The bytes within the limits of a [`Form::Size`].
    pub(super) fn size(&self, form: &Form) -> Option<u64> {
        let &Form::Size(min, max) = form else { return None };
        let size = parse_size(self.text()?)?;
        (parse_size(min)?..=parse_size(max)?).contains(&size).then_some(size)
    }

    /// `log.timing`
    pub(super) fn timing(&self) -> Option<TimingPolicy> {
        match self.text()? {
            "all" => Some(TimingPolicy::All),
            "off" => Some(TimingPolicy::Off),
            text => match text.split_once(':')? {
                ("slow", duration) => parse_duration(duration).map(TimingPolicy::Slow),
                ("sample", n) => n.parse().ok().filter(|n: &u32| *n >= 1).map(TimingPolicy::Sample),
                _ => None,
            },
        }
    }

    /// It, for an error. Not for secrets: see [`Value::kind`].
    pub(super) fn found(&self) -> String {
        match self {
            Self::Text(text) | Self::Filled { written: text, .. } => quoted(text),
            Self::Number(number) => number.chars().take(FOUND_MAX).collect(),
            Self::Bool(value) => value.to_string(),
            _ => self.kind().to_owned(),
        }
    }

    /// What kind of thing it is.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Filled { .. } => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a truth value",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
            Self::Refused => "nothing",
        }
    }
}

/// A duration with units; a plain number is none.
fn parse_duration(text: &str) -> Option<Duration> {
    if !text.contains(|c: char| c.is_alphabetic()) {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// A size with its unit; a plain number is none.
fn parse_size(text: &str) -> Option<u64> {
    if !text.contains(|c: char| c.is_alphabetic()) {
        return None;
    }
    text.parse::<ByteSize>().ok().map(|size| size.as_u64())
}

/// Whether Kafka takes `name` as the name of a Kafka topic; librdkafka itself takes anything.
pub(super) fn is_kafka_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".."
}
