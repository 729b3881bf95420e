//! What a dead letter says, and how it is shortened if it is too large for the place it goes to.

pub mod file;
pub mod letter;
pub mod queue;

use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::message::{DEAD_LETTER_PAYLOAD_MAX, Destination, NO_ROUTE, RecordId, WholePayload};
use crate::stage::{ForwardMsg, SourceId};
use letter::{FORMAT, Fields, Letter, MqttProperties, hex};

/// A payload of at most this size is left out and not halved.
const WORTH_HALVING: usize = 1024;
/// How much of the MQTT topic the shortest dead letter keeps, in bytes of UTF-8.
const BARE_MQTT_TOPIC_MAX: usize = 64;
/// How much of the key the shortest dead letter keeps in a Kafka topic, in bytes.
const BARE_KEY_MAX: usize = 64;

/// How much of the names of route and connection the shortest dead letter keeps, in bytes. A replay finds nothing of
/// a name that is cut, and leaves the dead letter.
const BARE_NAME_MAX: usize = 64;

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
    /// The code with which Kafka or librdkafka refused it, if it did.
    pub kafka_code: Option<i32>,
    /// The name of the route that refused it or made its record.
    pub route: Option<Arc<str>>,
    /// The section of the connection that brought it.
    pub connection: Arc<str>,
    /// When it was refused, in microseconds since the Unix epoch.
    pub dead_lettered_us: u64,
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

    /// How many bytes it has that can be many: what is kept of the payload, and what stands beside it.
    pub fn bytes(&self) -> usize {
        let message = &self.msg.message;
        let beside = match self.extent {
            Extent::Payload(_) => message.mqtt_topic.len() + message.properties.len(),
            Extent::Bare => 0,
        };
        self.kept().len() + self.key().len() + beside
    }

    /// The headers of its record in a Kafka topic, whose value is [`DeadLetter::kept`].
    pub fn headers(&self) -> Vec<(&'static CStr, String)> {
        self.letter().headers()
    }

    /// Its line in a file, the line feed included.
    pub fn line(&self) -> Vec<u8> {
        self.letter().line()
    }

    /// What it says.
    fn letter(&self) -> Letter<'_> {
        let message = &self.msg.message;
        let whole = self.whole();
        let fields = Fields {
            format: FORMAT,
            id: self.id().into(),
            reason: self.reason.into(),
            kafka_code: self.kafka_code,
            mqtt_qos: message.qos.level(),
            mqtt_retain: message.retain,
            destination: self.msg.id.index,
            payload_bytes: whole.map_or(message.payload.len() as u64, |whole| whole.size),
            payload_cut: whole.is_some(),
            payload_sha256: whole.map(|whole| hex(&whole.sha256).into()),
            received_at: rfc3339(message.received_at.wall_us).into(),
            dead_lettered_at: Some(rfc3339(self.dead_lettered_us).into()),
            ..Fields::default()
        };
        let fields = match self.extent {
            Extent::Payload(_) => self.with_all(fields),
            Extent::Bare => self.with_beginnings(fields),
        };
        Letter { fields, payload: self.kept().into() }
    }

    /// With what can be long.
    fn with_all<'a>(&'a self, fields: Fields<'a>) -> Fields<'a> {
        let message = &self.msg.message;
        let record = self.msg.record();
        let key = record.and_then(|record| record.key(&message.mqtt_topic));
        let text = |bytes: &'a Bytes| std::str::from_utf8(bytes).ok();
        let base64 = |bytes: &'a Bytes| match text(bytes) {
            Some(_) => None,
            None => Some(Cow::Owned(BASE64.encode(bytes))),
        };
        Fields {
            detail: Some(self.detail.as_str().into()),
            route: self.route.as_deref().map(Cow::Borrowed),
            connection: Some(Cow::Borrowed(&*self.connection)),
            mqtt_topic: message.mqtt_topic_lossy(),
            mqtt_topic_base64: base64(&message.mqtt_topic),
            mqtt_properties: MqttProperties::of(&message.properties),
            kafka_topic: record.map(|record| Cow::Borrowed(&*record.kafka_topic)),
            kafka_key: key.and_then(text).map(Cow::Borrowed),
            kafka_key_base64: key.and_then(base64),
            ..fields
        }
    }

    /// With nothing that can be long.
    fn with_beginnings<'a>(&'a self, fields: Fields<'a>) -> Fields<'a> {
        let message = &self.msg.message;
        let whole = message.mqtt_topic_lossy();
        let told = beginning(&whole, BARE_MQTT_TOPIC_MAX).to_owned();
        let is_cut = told.as_bytes() != &message.mqtt_topic[..];
        Fields {
            route: self.route.as_deref().map(|name| beginning(name, BARE_NAME_MAX).into()),
            connection: Some(beginning(&self.connection, BARE_NAME_MAX).into()),
            mqtt_topic: told.into(),
            mqtt_topic_sha256: is_cut.then(|| hex(&Sha256::digest(&message.mqtt_topic)).into()),
            mqtt_properties_cut: MqttProperties::of(&message.properties).is_some(),
            ..fields
        }
    }

    /// The same whenever this part of this message is dead-lettered: a new epoch can write it again.
    fn id(&self) -> String {
        let message = &self.msg.message;
        let RecordId { seq, index } = self.msg.id;
        let (received, seq, index) =
            (message.received_at.wall_us.to_be_bytes(), seq.0.to_be_bytes(), index.to_be_bytes());
        letter::id(&[&received, &seq, &index, self.connection.as_bytes(), &message.mqtt_topic])
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

fn rfc3339(wall_us: u64) -> String {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(wall_us)).to_string()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
