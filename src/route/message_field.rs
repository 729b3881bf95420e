//! A field of a message by which a route knows a moment. Pure.

use std::borrow::Cow;
use std::fmt;

use super::input::{Value, View};

/// Where in a message something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageField {
    /// `"json./ts"`: a field of the payload, by JSON pointer (RFC 6901).
    Json(String),
    /// `"user.ts"`: a user property; of several the first one.
    User(String),
}

impl MessageField {
    /// Its text, if the message has it.
    pub fn of<'a>(&self, view: &'a View<'_>) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(pointer) => view.json(pointer).and_then(Value::into_text),
            Self::User(name) => {
                let mut properties = view.input.properties().user();
                let found = properties.find(|(known, _)| known == name);
                found.map(|(_, value)| Cow::Borrowed(value))
            }
        }
    }
}

/// As in the configuration.
impl fmt::Display for MessageField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(pointer) => write!(f, "json.{pointer}"),
            Self::User(name) => write!(f, "user.{name}"),
        }
    }
}
