//! A value as a user wrote it. Pure.

use super::suggest::{FOUND_MAX, quoted};

/// Why a value is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// It does not have the key's form.
    Form,
    /// For this reason, in a whole sentence.
    Because(String),
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A string, or an environment variable.
    Text(String),
    /// A string of the file with its variables replaced. Errors show what was written, because a
    /// variable may contain a secret.
    Filled {
        /// As in the file.
        written: String,
        /// With the variables replaced.
        text: String,
    },
    /// An integer or a float, as written but without `_`.
    Number(String),
    /// true or false.
    Bool(bool),
    /// An array.
    List(Vec<Value>),
    /// A table, in order.
    Table(Vec<(String, Value)>),
    /// Anything else, by its kind.
    Other(&'static str),
    /// Refused before; no further error follows.
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

    /// The text of a string, a number or a truth value, for librdkafka.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Number(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            _ => self.text().map(str::to_owned),
        }
    }

    /// The truth value; a variable's text may be one.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => self.text()?.parse().ok(),
        }
    }

    /// The digits of a number; a variable's text may be one.
    pub(super) fn digits(&self) -> Option<&str> {
        match self {
            Self::Number(digits) => Some(digits),
            _ => self.text(),
        }
    }

    /// The value for an error. Not for secrets: see [`Value::kind`].
    pub(super) fn found(&self) -> String {
        match self {
            Self::Text(text) | Self::Filled { written: text, .. } => quoted(text),
            Self::Number(number) => number.chars().take(FOUND_MAX).collect(),
            Self::Bool(value) => value.to_string(),
            _ => self.kind().to_owned(),
        }
    }

    /// The kind of value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Filled { .. } => "a string",
            Self::Number(_) => "a number",
            Self::Bool(_) => "a truth value",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
            Self::Refused => "nothing",
        }
    }
}
