//! What a dead letter says, as it stands in a line of a file and in the headers of a record: written and read.
//! Pure.
//!
//! Version 2 of the format has everything that a message is routed by, so that it can be routed again.
//! Version 1 has no version, id, route, connection, properties or retain flag; it stays readable.

use std::borrow::Cow;
use std::ffi::CStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::mqtt::properties::{Properties, PropertyValues};

/// The version of the format that is written.
pub const FORMAT: u32 = 2;

/// How many bytes of the hash are an id.
const ID_BYTES: usize = 8;

/// A dead letter: what it says, and what it has of the payload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Letter<'a> {
    /// Everything but the payload.
    pub fields: Fields<'a>,
    /// The payload, or its beginning.
    pub payload: Cow<'a, [u8]>,
}

/// The fields of a dead letter beside the payload, the same in a file and in a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fields<'a> {
    /// The version of the format, 1 if it is not named.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The same for the same part of the same message, should its dead letter be written twice.
    #[serde(default)]
    pub id: Cow<'a, str>,
    /// A stable code from a small set.
    pub reason: Cow<'a, str>,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// The code with which Kafka, or librdkafka (below 0), refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_code: Option<i32>,
    /// The name of the route that refused it or made the record that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Cow<'a, str>>,
    /// The section of the connection (`mqtt.name`) that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Cow<'a, str>>,
    /// The MQTT topic; what is not UTF-8 is replaced.
    pub mqtt_topic: Cow<'a, str>,
    /// The MQTT topic's bytes, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_topic_base64: Option<Cow<'a, str>>,
    /// Of the whole MQTT topic, if only its beginning is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_topic_sha256: Option<Cow<'a, str>>,
    /// How it was delivered to the bridge.
    #[serde(default)]
    pub mqtt_qos: u8,
    /// RETAIN of the PUBLISH.
    #[serde(default)]
    pub mqtt_retain: bool,
    /// What the publisher said of it, in MQTT 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_properties: Option<MqttProperties<'a>>,
    /// It had properties that are not kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mqtt_properties_cut: bool,
    /// The Kafka topic of the refused record; none if the message did not become one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_topic: Option<Cow<'a, str>>,
    /// The key of the refused record, if it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_key: Option<Cow<'a, str>>,
    /// The same, if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_key_base64: Option<Cow<'a, str>>,
    /// Which of the message's destinations it was, from 0.
    #[serde(default)]
    pub destination: u16,
    /// Of the whole payload.
    #[serde(default)]
    pub payload_bytes: u64,
    /// Only the beginning of the payload is kept.
    #[serde(default, skip_serializing_if = "is_false")]
    pub payload_cut: bool,
    /// Of the whole payload, if only its beginning is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_sha256: Option<Cow<'a, str>>,
    /// RFC 3339, UTC, microseconds.
    #[serde(default)]
    pub received_at: Cow<'a, str>,
    /// RFC 3339, UTC, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_lettered_at: Option<Cow<'a, str>>,
}

/// The properties that a publisher gave a message (MQTT 5, section 3.3.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct MqttProperties<'a> {
    /// What was left of the message expiry interval, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiry_s: Option<u32>,
    /// Content type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<Cow<'a, str>>,
    /// Response topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<Cow<'a, str>>,
    /// Correlation data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_data_base64: Option<Cow<'a, str>>,
    /// User properties, in order, duplicates included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub user: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// What stands in one line.
#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<Cow<'a, str>>,
}

/// Why something is no dead letter, or none that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a dead letter, found {0}")]
pub struct Unreadable(String);

impl<'a> Letter<'a> {
    /// Its line in a file, the line feed included.
    pub fn line(&self) -> Vec<u8> {
        let text = std::str::from_utf8(&self.payload).ok();
        let line = Line {
            fields: self.fields.clone(),
            payload: text.map(Cow::Borrowed),
            payload_base64: text.is_none().then(|| BASE64.encode(&self.payload).into()),
        };
        let mut bytes = serde_json::to_vec(&line).expect("strings and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }

    /// The headers of its record in a Kafka topic, whose value is the payload.
    pub fn headers(&self) -> Vec<(&'static CStr, String)> {
        let fields = &self.fields;
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let flag = |flag: bool| flag.then(|| "true".to_owned());
        let properties = fields.mqtt_properties.as_ref();
        let properties = properties.map(|properties| {
            serde_json::to_string(properties).expect("strings and numbers are always JSON")
        });
        [
            (c"format", Some(fields.format.to_string())),
            (c"id", Some(fields.id.to_string())),
            (c"reason", Some(fields.reason.to_string())),
            (c"detail", text(&fields.detail)),
            (c"kafka_code", fields.kafka_code.map(|code| code.to_string())),
            (c"route", text(&fields.route)),
            (c"connection", text(&fields.connection)),
            (c"mqtt_topic", Some(fields.mqtt_topic.to_string())),
            (c"mqtt_topic_base64", text(&fields.mqtt_topic_base64)),
            (c"mqtt_topic_sha256", text(&fields.mqtt_topic_sha256)),
            (c"mqtt_qos", Some(fields.mqtt_qos.to_string())),
            (c"mqtt_retain", Some(fields.mqtt_retain.to_string())),
            (c"mqtt_properties", properties),
            (c"mqtt_properties_cut", flag(fields.mqtt_properties_cut)),
            (c"kafka_topic", text(&fields.kafka_topic)),
            (c"kafka_key", text(&fields.kafka_key)),
            (c"kafka_key_base64", text(&fields.kafka_key_base64)),
            (c"destination", Some(fields.destination.to_string())),
            (c"payload_bytes", Some(fields.payload_bytes.to_string())),
            (c"payload_cut", flag(fields.payload_cut)),
            (c"payload_sha256", text(&fields.payload_sha256)),
            (c"received_at", Some(fields.received_at.to_string())),
            (c"dead_lettered_at", text(&fields.dead_lettered_at)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Reads a line of a file, with or without its line feed.
    ///
    /// # Errors
    /// It is not a dead letter, or of a newer version.
    pub fn of_line(line: &[u8]) -> Result<Letter<'static>, Unreadable> {
        let Line { fields, payload, payload_base64 } =
            serde_json::from_slice::<Line<'static>>(line)
                .map_err(|error| Unreadable(other_json(&error)))?;
        let payload = match (payload, payload_base64) {
            (Some(text), None) => text.into_owned().into_bytes(),
            (None, Some(text)) => decoded("payload_base64", &text)?,
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => {
                return Err(Unreadable("both payload and payload_base64".to_owned()));
            }
        };
        Letter { fields, payload: payload.into() }.read()
    }

    /// Reads a record of a Kafka topic. Headers of other names are passed over.
    ///
    /// # Errors
    /// It is not a dead letter, or of a newer version.
    pub fn of_record<'h>(
        value: &[u8],
        headers: impl Iterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Letter<'static>, Unreadable> {
        let mut fields = Fields { format: first_format(), ..Fields::default() };
        let (mut has_reason, mut has_mqtt_topic) = (false, false);
        for (name, value) in headers {
            let text = || String::from_utf8_lossy(value).into_owned();
            let some = || Some(Cow::Owned(text()));
            match name {
                "format" => fields.format = number(name, value)?,
                "id" => fields.id = text().into(),
                "reason" => (fields.reason, has_reason) = (text().into(), true),
                "detail" => fields.detail = some(),
                "kafka_code" => fields.kafka_code = Some(number(name, value)?),
                "route" => fields.route = some(),
                "connection" => fields.connection = some(),
                "mqtt_topic" => (fields.mqtt_topic, has_mqtt_topic) = (text().into(), true),
                "mqtt_topic_base64" => fields.mqtt_topic_base64 = some(),
                "mqtt_topic_sha256" => fields.mqtt_topic_sha256 = some(),
                "mqtt_qos" => fields.mqtt_qos = number(name, value)?,
                "mqtt_retain" => fields.mqtt_retain = value == b"true",
                "mqtt_properties" => {
                    let read = serde_json::from_slice::<MqttProperties<'static>>(value);
                    let unreadable =
                        |error| Unreadable(format!("header {name} with {}", other_json(&error)));
                    fields.mqtt_properties = Some(read.map_err(unreadable)?);
                }
                "mqtt_properties_cut" => fields.mqtt_properties_cut = value == b"true",
                "kafka_topic" => fields.kafka_topic = some(),
                "kafka_key" => fields.kafka_key = some(),
                "kafka_key_base64" => fields.kafka_key_base64 = some(),
                "destination" => fields.destination = number(name, value)?,
                "payload_bytes" => fields.payload_bytes = number(name, value)?,
                "payload_cut" => fields.payload_cut = value == b"true",
                "payload_sha256" => fields.payload_sha256 = some(),
                "received_at" => fields.received_at = text().into(),
                "dead_lettered_at" => fields.dead_lettered_at = some(),
                _ => {}
            }
        }
        for (has, name) in [(has_reason, "reason"), (has_mqtt_topic, "mqtt_topic")] {
            if !has {
                return Err(Unreadable(format!("no header {name}")));
            }
        }
        Letter { fields, payload: Cow::Owned(value.to_vec()) }.read()
    }

    /// What both forms have in common once they are read.
    fn read(mut self) -> Result<Self, Unreadable> {
        if self.fields.format > FORMAT {
            let format = self.fields.format;
            return Err(Unreadable(format!("format {format}, expected at most {FORMAT}")));
        }
        // Version 1 says it by the hash alone.
        self.fields.payload_cut |= self.fields.payload_sha256.is_some();
        if self.fields.id.is_empty() {
            let Fields { reason, mqtt_topic, received_at, .. } = &self.fields;
            let parts = [reason, mqtt_topic, received_at].map(|part| part.as_bytes());
            self.fields.id = id(&[parts[0], parts[1], parts[2], &self.payload]).into();
        }
        Ok(self)
    }

    /// The MQTT topic as it was.
    ///
    /// # Errors
    /// It is not kept whole, or it is not what it says.
    pub fn mqtt_topic(&self) -> Result<Bytes, Unreadable> {
        let fields = &self.fields;
        if fields.mqtt_topic_sha256.is_some() {
            return Err(Unreadable("only the beginning of its MQTT topic".to_owned()));
        }
        match &fields.mqtt_topic_base64 {
            Some(text) => Ok(decoded("mqtt_topic_base64", text)?.into()),
            None => Ok(fields.mqtt_topic.as_bytes().to_vec().into()),
        }
    }

    /// The properties in the form in which they came, empty if there were none.
    ///
    /// # Errors
    /// They are not kept, or MQTT could not carry them.
    pub fn properties(&self) -> Result<Bytes, Unreadable> {
        if self.fields.mqtt_properties_cut {
            return Err(Unreadable("one without its MQTT properties".to_owned()));
        }
        let written = self.fields.mqtt_properties.as_ref().map(MqttProperties::write);
        written.unwrap_or_else(|| Ok(Bytes::new()))
    }

    /// The payload, if it is kept whole.
    ///
    /// # Errors
    /// It is not.
    pub fn whole_payload(&self) -> Result<&[u8], Unreadable> {
        let (kept, size) = (self.payload.len(), self.fields.payload_bytes);
        match self.fields.payload_cut || kept as u64 != size {
            true => Err(Unreadable(format!("only {kept} of the {size} bytes of its payload"))),
            false => Ok(&self.payload),
        }
    }
}

impl<'a> MqttProperties<'a> {
    /// Of properties in the form in which they came; nothing if the publisher gave none.
    pub fn of(bytes: &'a [u8]) -> Option<Self> {
        let given = Properties::new(bytes);
        let borrowed = |(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value));
        let properties = Self {
            expiry_s: given.expiry_s(),
            content_type: given.content_type().map(Cow::Borrowed),
            response_topic: given.response_topic().map(Cow::Borrowed),
            correlation_data_base64: given
                .correlation_data()
                .map(|data| BASE64.encode(data).into()),
            user: given.user().map(borrowed).collect(),
        };
        (properties != Self::default()).then_some(properties)
    }

    fn write(&self) -> Result<Bytes, Unreadable> {
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        let data = self.correlation_data_base64.as_deref();
        let data = data.map(|text| decoded("correlation_data_base64", text));
        let pair =
            |(name, value): &(Cow<'_, str>, Cow<'_, str>)| (name.to_string(), value.to_string());
        let values = PropertyValues {
            content_type: owned(&self.content_type),
            response_topic: owned(&self.response_topic),
            correlation_data: data.transpose()?,
            expiry_s: self.expiry_s,
            user: self.user.iter().map(pair).collect(),
        };
        let unwritable = |error| Unreadable(format!("a property that MQTT cannot carry: {error}"));
        values.encode().map_err(unwritable)
    }
}

/// The id of what has these parts.
pub fn id(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex(&hash.finalize()[..ID_BYTES])
}

/// In lower case.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn first_format() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn number<N: std::str::FromStr>(name: &str, value: &[u8]) -> Result<N, Unreadable> {
    let read = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    read.ok_or_else(|| Unreadable(format!("header {name} that is not such a number")))
}

/// What stands where a line, or properties, should.
fn other_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // There is one line, and its number is the reader's to tell.
    let why = text.split(" at line ").next().unwrap_or_default();
    match error.is_data() {
        true => format!("other JSON ({why})"),
        false => format!("what is not JSON ({why}, column {})", error.column()),
    }
}

fn decoded(name: &str, text: &str) -> Result<Vec<u8>, Unreadable> {
    BASE64.decode(text).map_err(|error| Unreadable(format!("{name} that is not base64: {error}")))
}

#[cfg(test)]
#[path = "letter_tests.rs"]
mod tests;
