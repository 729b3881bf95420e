//! The properties that a publisher gave a message (MQTT 5, section 3.3.2.3), read from and written to the
//! form in which they came. Pure.

use bytes::Bytes;

use super::wire::{Fields, Value, property, put_binary, put_text};

/// The longest text or binary data of a property, in bytes (MQTT 5, section 1.5.4).
const LENGTH_MAX: usize = u16::MAX as usize;

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

/// The properties that a message is given, for where none came from a broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PropertyValues {
    /// Content type.
    pub content_type: Option<String>,
    /// Response topic.
    pub response_topic: Option<String>,
    /// Correlation data.
    pub correlation_data: Option<Vec<u8>>,
    /// Message expiry interval, in seconds.
    pub expiry_s: Option<u32>,
    /// User properties, in order.
    pub user: Vec<(String, String)>,
}

/// A property that MQTT cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: expected {expected}, found {found}")]
pub struct PropertyError {
    /// Which one.
    pub name: &'static str,
    /// What MQTT allows.
    pub expected: &'static str,
    /// What is wrong with this one.
    pub found: String,
}

impl PropertyValues {
    /// In the form in which a broker sends them, without their length; [`Properties`] reads it.
    ///
    /// # Errors
    /// One is too long, or a text has a null character ([MQTT-1.5.4-2]).
    pub fn encode(&self) -> Result<Bytes, PropertyError> {
        let mut out = Vec::new();
        if let Some(seconds) = self.expiry_s {
            out.push(property::MESSAGE_EXPIRY_INTERVAL);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        let texts = [
            ("content type", property::CONTENT_TYPE, &self.content_type),
            ("response topic", property::RESPONSE_TOPIC, &self.response_topic),
        ];
        for (name, id, text) in texts {
            if let Some(text) = text {
                out.push(id);
                put_text(checked(name, text)?, &mut out);
            }
        }
        if let Some(data) = &self.correlation_data {
            out.push(property::CORRELATION_DATA);
            put_binary(bounded("correlation data", data)?, &mut out);
        }
        for (name, value) in &self.user {
            out.push(property::USER_PROPERTY);
            put_text(checked("name of a user property", name)?, &mut out);
            put_text(checked("value of a user property", value)?, &mut out);
        }
        Ok(out.into())
    }
}

fn checked<'a>(name: &'static str, text: &'a str) -> Result<&'a str, PropertyError> {
    bounded(name, text.as_bytes())?;
    match text.find('\0') {
        None => Ok(text),
        Some(at) => {
            let (expected, found) = ("no null character", format!("one at byte {at}"));
            Err(PropertyError { name, expected, found })
        }
    }
}

fn bounded<'a>(name: &'static str, bytes: &'a [u8]) -> Result<&'a [u8], PropertyError> {
    if bytes.len() <= LENGTH_MAX {
        return Ok(bytes);
    }
    let (expected, found) = ("at most 65,535 bytes", bytes.len().to_string());
    Err(PropertyError { name, expected, found })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        any::<String>().prop_map(|text| text.replace('\0', ""))
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            content_type in prop::option::of(text()),
            response_topic in prop::option::of(text()),
            correlation_data in prop::option::of(any::<Vec<u8>>()),
            expiry_s in any::<Option<u32>>(),
            user in prop::collection::vec((text(), text()), 0..6),
        ) {
            let values =
                PropertyValues { content_type, response_topic, correlation_data, expiry_s, user };
            let encoded = values.encode().expect("legal");
            let read = Properties::new(&encoded);
            let owned = |pair: (&str, &str)| (pair.0.to_owned(), pair.1.to_owned());
            prop_assert_eq!(read.content_type(), values.content_type.as_deref());
            prop_assert_eq!(read.response_topic(), values.response_topic.as_deref());
            prop_assert_eq!(read.correlation_data(), values.correlation_data.as_deref());
            prop_assert_eq!(read.expiry_s(), values.expiry_s);
            prop_assert_eq!(read.user().map(owned).collect::<Vec<_>>(), values.user);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in any::<Vec<u8>>()) {
            let read = Properties::new(&bytes);
            let _ = (read.content_type(), read.response_topic(), read.correlation_data());
            let _ = (read.expiry_s(), read.user().count());
        }
    }

    #[test]
    fn what_mqtt_cannot_carry_is_refused() {
        let long = "x".repeat(LENGTH_MAX + 1);
        let refused = [
            PropertyValues { content_type: Some(long.clone()), ..Default::default() },
            PropertyValues { correlation_data: Some(long.into()), ..Default::default() },
            PropertyValues { response_topic: Some("a\0".to_owned()), ..Default::default() },
            PropertyValues { user: vec![("\0".into(), String::new())], ..Default::default() },
        ];
        for values in refused {
            values.encode().expect_err("illegal");
        }
        let longest = PropertyValues {
            user: vec![("n".into(), "v".repeat(LENGTH_MAX))],
            ..Default::default()
        };
        longest.encode().expect("just short enough");
    }
}
