//! What a user wrote for one key. Pure.

use super::suggest::{FOUND_MAX, quoted};

/// Why a value is refused.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is not of the key's form.
    Form,
    /// The whole sentence.
    Because(String),
}

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

    /// The digits of a number; a variable's text may be one.
    pub(super) fn digits(&self) -> Option<&str> {
        match self {
            Self::Number(digits) => Some(digits),
            _ => self.text(),
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
