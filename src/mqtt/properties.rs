//! The properties that a publisher gave a message (MQTT 5, section 3.3.2.3), read from and written to the
//! form in which they came. Pure.

use super::wire::{Fields, Value, property};

/// The properties of one message. What cannot be read counts as missing: such a message has been refused.
#[derive(Debug, Clone, Copy)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// Of these bytes, without their length.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Content type.
    pub fn content_type(&self) -> Option<&'a str> {
        self.text(property::CONTENT_TYPE)
    }

    /// Response topic.
    pub fn response_topic(&self) -> Option<&'a str> {
        self.text(property::RESPONSE_TOPIC)
    }

    /// Correlation data.
    pub fn correlation_data(&self) -> Option<&'a [u8]> {
        self.find(property::CORRELATION_DATA, |value| match value {
            Value::Binary(bytes) => Some(bytes),
            _ => None,
        })
    }

    /// What the broker left of the message expiry interval, in seconds.
    pub fn expiry_s(&self) -> Option<u32> {
        self.find(property::MESSAGE_EXPIRY_INTERVAL, |value| match value {
            Value::Number(seconds) => Some(seconds),
            _ => None,
        })
    }

    /// The user properties in order, duplicates included.
    pub fn user(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.all().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    fn text(&self, id: u8) -> Option<&'a str> {
        self.find(id, |value| match value {
            Value::Text(text) => Some(text),
            _ => None,
        })
    }

    fn find<T>(&self, id: u8, read: impl Fn(Value<'a>) -> Option<T>) -> Option<T> {
        self.all().find(|(found, _)| *found == id).and_then(|(_, value)| read(value))
    }

    fn all(&self) -> impl Iterator<Item = (u8, Value<'a>)> + use<'a> {
        let mut fields = Fields::new(self.0);
        std::iter::from_fn(move || (!fields.is_empty()).then(|| fields.property().ok()).flatten())
    }
}
