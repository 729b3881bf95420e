//! `bridge.id`: by what a consumer knows a record that came before (docs/decisions/0029-bridge-id.md). Pure.

use std::fmt::Write as _;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::input::Input;
use crate::mqtt::publish::published;
use crate::mqtt::wire::{Value, property};

/// How many bytes of the hash are kept: two different messages have one id with a probability of 1 in 2^64
/// among 2^32 messages.
const BYTES: usize = 16;

/// What is hashed is changed by a new version, and no two versions have an id in common.
const VERSION: &[u8] = b"mqtt-kafka-bridge.id.1";

/// The id of a message's record by this route, in hexadecimal. Equal for equal section of the connection,
/// route, MQTT topic and content: the publisher's `own` id, or else the payload as it came and the properties of
/// the publisher. What differs when the same message comes again is left out: DUP, RETAIN, QoS, packet id,
/// subscription identifiers, the message expiry interval, the time.
pub(super) fn bridge_id(input: &Input<'_>, route: &str, own: Option<&str>) -> Bytes {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // Lengths keep one part from being read as the next.
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for bytes in [VERSION, input.connection.as_bytes(), route.as_bytes(), input.mqtt_topic] {
        part(bytes);
    }
    match own {
        Some(own) => {
            part(b"own");
            part(own.as_bytes());
        }
        None => {
            part(b"content");
            part(input.payload);
            for property in published(input.properties) {
                match property {
                    Ok((property::MESSAGE_EXPIRY_INTERVAL | property::TOPIC_ALIAS, _)) => {}
                    Ok((id, value)) => {
                        part(&[id]);
                        match value {
                            Value::Byte(byte) => part(&[byte]),
                            Value::Number(number) => part(&number.to_be_bytes()),
                            Value::Text(text) => part(text.as_bytes()),
                            Value::Binary(bytes) => part(bytes),
                            Value::Pair(name, value) => {
                                part(name.as_bytes());
                                part(value.as_bytes());
                            }
                        }
                    }
                    Err(unread) => part(unread),
                }
            }
        }
    }
    let mut id = String::with_capacity(2 * BYTES);
    for byte in hash.finalize().iter().take(BYTES) {
        let _ = write!(id, "{byte:02x}");
    }
    id.into()
}

#[cfg(test)]
#[path = "bridge_id_tests.rs"]
mod tests;
