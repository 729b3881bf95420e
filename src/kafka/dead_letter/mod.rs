//! What a dead letter says, and how it is shortened if it is too large for the place it goes to.

pub mod file;
pub mod queue;

use std::ffi::CStr;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::message::{DEAD_LETTER_PAYLOAD_MAX, Destination, NO_ROUTE, WholePayload};
use crate::stage::{ForwardMsg, SourceId};

/// A payload of at most this size is left out and not halved.
const WORTH_HALVING: usize = 1024;
/// How much of the MQTT topic the shortest dead letter keeps, in bytes of UTF-8.
const BARE_MQTT_TOPIC_MAX: usize = 64;
/// How much of the key the shortest dead letter keeps in a Kafka topic, in bytes.
const BARE_KEY_MAX: usize = 64;

/// A message on its way to the dead letter.
#[derive(Debug)]
pub struct DeadLetter {
    /// The message.
    pub msg: ForwardMsg,
    /// Who gets the verdict.
    pub source: SourceId,
    /// Stable, low-cardinality code.
    pub reason: &'static str,
    /// One sentence for people.
    pub detail: String,
    /// The Kafka topic of the refused record; none if the message did not become one.
    pub kafka_topic: Option<String>,
    /// How much of all this it says.
    pub extent: Extent,
}

/// How much a dead letter says. Each is shorter than the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything, with at most this many bytes of the payload.
    Payload(usize),
    /// Reason, size, hash, and the beginning of the MQTT topic with the hash of the whole: under 1 KiB
    /// in a file and in Kafka.
    Bare,
}

impl Default for Extent {
    fn default() -> Self {
        Self::Payload(DEAD_LETTER_PAYLOAD_MAX)
    }
}

/// The fields of a dead letter beside the payload, the same in a file and in a Kafka topic.
#[derive(Debug, Serialize)]
struct Fields<'a> {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    mqtt_topic: &'a str,
    /// Of the whole MQTT topic, if only its beginning is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_topic_sha256: Option<String>,
    mqtt_qos: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_topic: Option<&'a str>,
    /// Of the whole payload.
    payload_bytes: u64,
    /// Of the whole payload, if only its beginning is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_sha256: Option<String>,
    received_at: String,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Where dead letters wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterKind {
    /// Held until they can be written.
    Refused,
    /// Of messages that no route matches: given up if they cannot be written.
    Unmatched,
}

impl DeadLetterKind {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Refused, Self::Unmatched];
}

impl DeadLetter {
    /// Where it waits.
    pub fn kind(&self) -> DeadLetterKind {
        match self.reason {
            NO_ROUTE => DeadLetterKind::Unmatched,
            _ => DeadLetterKind::Refused,
        }
    }

    /// Shortens it, because it does not fit where it goes: half of the payload, then no payload, then
    /// nothing that can be long. `false` if it cannot be shortened any more.
    pub fn shorten(&mut self) -> bool {
        self.extent = match (self.extent, self.kept().len()) {
            (Extent::Bare, _) => return false,
            (Extent::Payload(_), 0) => Extent::Bare,
            (Extent::Payload(_), kept) if kept > WORTH_HALVING => Extent::Payload(kept / 2),
            (Extent::Payload(_), _) => Extent::Payload(0),
        };
        true
    }

    /// The key of its record in a Kafka topic: that of the refused record, or the MQTT topic where there is
    /// no record or it has no key.
    pub fn key(&self) -> &[u8] {
        let mqtt_topic = &self.msg.message.mqtt_topic;
        let key = self.msg.record().and_then(|record| record.key(mqtt_topic));
        let key = key.unwrap_or(mqtt_topic);
        match self.extent {
            Extent::Payload(_) => key,
            Extent::Bare => &key[..key.len().min(BARE_KEY_MAX)],
        }
    }

    /// What is kept of the payload.
    pub fn kept(&self) -> &[u8] {
        let payload = &self.msg.message.payload;
        let most = match self.extent {
            Extent::Payload(most) => most,
            Extent::Bare => 0,
        };
        &payload[..payload.len().min(most)]
    }

    /// The headers of its record in a Kafka topic.
    pub fn headers(&self) -> Vec<(&'static CStr, String)> {
        let mqtt_topic = self.msg.message.mqtt_topic_lossy();
        let fields = self.fields(&mqtt_topic);
        [
            (c"reason", Some(fields.reason.to_owned())),
            (c"detail", fields.detail.map(str::to_owned)),
            (c"mqtt_topic", Some(fields.mqtt_topic.to_owned())),
            (c"mqtt_topic_sha256", fields.mqtt_topic_sha256),
            (c"mqtt_qos", Some(fields.mqtt_qos.to_string())),
            (c"kafka_topic", fields.kafka_topic.map(str::to_owned)),
            (c"payload_bytes", Some(fields.payload_bytes.to_string())),
            (c"payload_sha256", fields.payload_sha256),
            (c"received_at", Some(fields.received_at)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Its line in a file, the line feed included.
    pub fn line(&self) -> Vec<u8> {
        let mqtt_topic = self.msg.message.mqtt_topic_lossy();
        let text = std::str::from_utf8(self.kept()).ok();
        let line = Line {
            fields: self.fields(&mqtt_topic),
            payload: text,
            payload_base64: text.is_none().then(|| BASE64.encode(self.kept())),
        };
        let mut bytes = serde_json::to_vec(&line).expect("strings and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }

    fn fields<'a>(&'a self, mqtt_topic: &'a str) -> Fields<'a> {
        let message = &self.msg.message;
        let whole = self.whole();
        let received_at = UNIX_EPOCH + Duration::from_micros(message.received_at.wall_us);
        let is_bare = self.extent == Extent::Bare;
        let told = match is_bare {
            true => beginning(mqtt_topic, BARE_MQTT_TOPIC_MAX),
            false => mqtt_topic,
        };
        Fields {
            reason: self.reason,
            detail: (!is_bare).then_some(self.detail.as_str()),
            mqtt_topic: told,
            mqtt_topic_sha256: (told.len() < mqtt_topic.len())
                .then(|| hex(&Sha256::digest(&message.mqtt_topic))),
            mqtt_qos: message.qos.level(),
            kafka_topic: self.kafka_topic.as_deref().filter(|_| !is_bare),
            payload_bytes: whole.map_or(message.payload.len() as u64, |whole| whole.size),
            payload_sha256: whole.map(|whole| hex(&whole.sha256)),
            received_at: humantime::format_rfc3339_micros(received_at).to_string(),
        }
    }

    /// Size and hash of the whole payload, if [`DeadLetter::kept`] is only its beginning.
    fn whole(&self) -> Option<WholePayload> {
        let payload = &self.msg.message.payload;
        let refused_before = match self.msg.destination() {
            Some(Destination::DeadLetter(refusal)) => refusal.whole,
            _ => None,
        };
        refused_before.or_else(|| {
            (payload.len() > self.kept().len()).then(|| WholePayload {
                size: payload.len() as u64,
                sha256: Sha256::digest(payload).into(),
            })
        })
    }
}

/// The first whole characters, at most this many bytes.
fn beginning(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
