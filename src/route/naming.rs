//! `kafka_topic` and `key`: where the records of a route go, and under which key. Pure.
//!
//! Where both follow from the MQTT topic alone, they are remembered with it: publishers use the same MQTT topics
//! over and over, and so a template costs its first message only.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::input::View;
use super::kafka_name::Names;
use super::rule::{Key, Route};
use super::source::Source;
use super::template::{Template, Unfilled};
use crate::message::{KafkaTopicOrigin, RecordKey};

/// The reason code of a value that a template needs and the message does not have.
pub const VALUE_MISSING: &str = "value_missing";
/// The reason code of a Kafka topic's name that Kafka does not allow.
pub const KAFKA_TOPIC_ILLEGAL: &str = "kafka_topic_illegal";

/// How much memory a router takes for what it remembers of MQTT topics, in bytes: about 130,000 of them. When
/// it is full, everything is forgotten.
pub(super) const KNOWN_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What an MQTT topic takes beside its text and its names, in bytes: its places in a table that has just grown, and
/// four allocations.
const KNOWN_BYTES: usize = 200;

/// Where a record goes, and under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) kafka_topic: Arc<str>,
    pub(super) key: RecordKey,
}

/// How the records of a route get their names.
#[derive(Debug)]
pub(super) struct Naming {
    /// Who names the Kafka topic.
    pub(super) origin: KafkaTopicOrigin,
    known: Known,
}

#[derive(Debug)]
enum Known {
    /// All records have these.
    Fixed(Named),
    /// The records of each MQTT topic have the same.
    ByMqttTopic(HashMap<Box<[u8]>, Box<Named>, foldhash::fast::RandomState>),
    /// Each record has its own.
    Nothing,
}

/// What all routes of a router share when they name a record.
#[derive(Debug, Default)]
pub(super) struct Namer {
    /// Kafka topics of templates.
    names: Names,
    /// Where templates are filled.
    pub(super) scratch: String,
    /// What the routes remember of MQTT topics.
    known_bytes: usize,
}

impl Namer {
    /// Whether the routes have to [`Naming::forget`].
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.known_bytes > KNOWN_BYTES_MAX
    }

    /// Nothing is remembered any more.
    pub(super) fn emptied(&mut self) {
        self.known_bytes = 0;
    }
}

impl Naming {
    pub(super) fn of(route: &Route) -> Self {
        let origin = match route.kafka_topic.as_fixed() {
            Some(_) => KafkaTopicOrigin::Configured,
            None => KafkaTopicOrigin::Template(route.if_missing.clone()),
        };
        let key = match &route.key {
            Key::MqttTopic => Some(RecordKey::MqttTopic),
            Key::None => Some(RecordKey::None),
            Key::Template(key) => {
                key.as_fixed().map(|text| RecordKey::Bytes(Bytes::copy_from_slice(text.as_bytes())))
            }
        };
        let key_follows = match &route.key {
            Key::MqttTopic | Key::None => true,
            Key::Template(key) => follows_from_mqtt_topic(key),
        };
        let known = match (route.kafka_topic.as_fixed(), key) {
            (Some(kafka_topic), Some(key)) => {
                Known::Fixed(Named { kafka_topic: Arc::clone(kafka_topic), key })
            }
            _ if key_follows && follows_from_mqtt_topic(&route.kafka_topic) => {
                Known::ByMqttTopic(HashMap::default())
            }
            _ => Known::Nothing,
        };
        Self { origin, known }
    }

    /// The names of a message of this MQTT topic, if they are known without a look at it.
    #[inline]
    pub(super) fn known(&self, mqtt_topic: &[u8]) -> Option<&Named> {
        match &self.known {
            Known::Fixed(named) => Some(named),
            Known::ByMqttTopic(known) => known.get(mqtt_topic).map(|named| &**named),
            Known::Nothing => None,
        }
    }

    /// The names of a message.
    ///
    /// # Errors
    /// Why the message has none: a reason code, and what was found and expected.
    pub(super) fn name(
        &mut self,
        route: &Route,
        view: &View<'_>,
        namer: &mut Namer,
    ) -> Result<Named, (&'static str, String)> {
        let mqtt_topic = view.input.mqtt_topic;
        if let Some(named) = self.known(mqtt_topic) {
            return Ok(named.clone());
        }
        let named = fill(route, view, namer)?;
        let Known::ByMqttTopic(known) = &mut self.known else { return Ok(named) };
        // Copies: what came with the message is a part of all that was read with it.
        let mqtt_topic: Box<[u8]> = mqtt_topic[..].into();
        let key = match named.key {
            RecordKey::Bytes(key) => RecordKey::Bytes(Bytes::copy_from_slice(&key)),
            key => key,
        };
        let key_bytes = if let RecordKey::Bytes(key) = &key { key.len() } else { 0 };
        namer.known_bytes += KNOWN_BYTES + mqtt_topic.len() + named.kafka_topic.len() + key_bytes;
        let named = Named { key, ..named };
        known.insert(mqtt_topic, Box::new(named.clone()));
        Ok(named)
    }

    /// How many MQTT topics it remembers.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        match &self.known {
            Known::ByMqttTopic(known) => known.len(),
            Known::Fixed(_) | Known::Nothing => 0,
        }
    }

    /// Forgets what it remembers of MQTT topics.
    pub(super) fn forget(&mut self) {
        if let Known::ByMqttTopic(known) = &mut self.known {
            *known = HashMap::default();
        }
    }
}

fn fill(
    route: &Route,
    view: &View<'_>,
    namer: &mut Namer,
) -> Result<Named, (&'static str, String)> {
    let missing = |Unfilled(sentence): Unfilled| (VALUE_MISSING, sentence);
    let kafka_topic = match route.kafka_topic.as_fixed() {
        Some(fixed) => Arc::clone(fixed),
        None => {
            namer.scratch.clear();
            route.kafka_topic.fill_into(view, &mut namer.scratch).map_err(missing)?;
            let name = namer.names.of(route.illegal_names, &namer.scratch);
            name.map_err(|detail| (KAFKA_TOPIC_ILLEGAL, detail))?
        }
    };
    let key = match &route.key {
        Key::MqttTopic => RecordKey::MqttTopic,
        Key::None => RecordKey::None,
        Key::Template(template) => {
            RecordKey::Bytes(template.fill_bytes(view, &mut namer.scratch).map_err(missing)?)
        }
    };
    Ok(Named { kafka_topic, key })
}

/// Whether nothing but the MQTT topic decides on it: not even the connection, since a router may be asked about
/// the messages of several.
fn follows_from_mqtt_topic(template: &Template) -> bool {
    template.placeholders().all(|placeholder| match placeholder.source() {
        Source::Connection => false,
        source => source.is_of_mqtt_topic(),
    })
}
