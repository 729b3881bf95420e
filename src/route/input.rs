//! A message as routing sees it, and as one route sees it. Pure.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::captures::{Captures, Levels};
use super::json_pointers::{Fields, JsonPointers, Kind, NotJson};
use crate::message::{Qos, Stamp, is_part};
use crate::mqtt::properties::Properties;

/// A message before it is routed.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The name it was published under.
    pub mqtt_topic: &'a Bytes,
    /// The payload as it came.
    pub payload: &'a Bytes,
    /// The properties of MQTT 5 as they came; [`crate::mqtt::properties`] reads them.
    pub properties: &'a Bytes,
    /// How it was delivered.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// When the read that brought it returned.
    pub received_at: Stamp,
    /// How long it then waited for room in the window.
    pub waited: Duration,
    /// The section of its connection (`mqtt.name`): the same for all connections of a group.
    pub connection: &'a Arc<str>,
}

impl<'a> Input<'a> {
    /// Its properties of MQTT 5.
    pub fn properties(&self) -> Properties<'a> {
        Properties::new(self.properties)
    }

    /// The seconds that are left of its message expiry interval: what the broker left of it (MQTT 5, section
    /// 3.3.2.3.3), without the time for which it waited here.
    pub fn expiry_left_s(&self) -> Option<u32> {
        let left = self.properties().expiry_s()?;
        Some(left.saturating_sub(u32::try_from(self.waited.as_secs()).unwrap_or(u32::MAX)))
    }
}

/// A message as one route sees it: with the payload unpacked, and what templates and conditions have read of it.
#[derive(Debug)]
pub struct View<'a> {
    /// The message.
    pub input: &'a Input<'a>,
    /// The names of levels of its filter.
    pub captures: &'a Captures,
    /// The payload, decompressed, and decoded where it is Sparkplug.
    pub body: Bytes,
    /// The MQTT topic, once it was asked for.
    mqtt_topic: OnceCell<Option<&'a str>>,
    pointers: Option<&'a JsonPointers>,
    /// What `body` has at `pointers`, once it was asked for.
    fields: OnceCell<Result<Fields, NotJson>>,
}

/// What a placeholder finds in a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// JSON's null.
    Null,
    /// JSON's true or false; the retain flag.
    Bool(bool),
    /// A number as it is written in JSON.
    Number(Cow<'a, str>),
    /// A string, without quotation marks and escapes.
    Text(Cow<'a, str>),
    /// An object or an array of JSON, as it is written.
    Document(Cow<'a, str>),
}

impl<'a> Value<'a> {
    /// As text; null has none.
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Null => None,
            Self::Bool(true) => Some(Cow::Borrowed("true")),
            Self::Bool(false) => Some(Cow::Borrowed("false")),
            Self::Number(text) | Self::Text(text) | Self::Document(text) => Some(text),
        }
    }
}

impl<'a> View<'a> {
    /// Of this message and a route with these captures, the payload unpacked as `body`.
    pub fn new(input: &'a Input<'a>, captures: &'a Captures, body: Bytes) -> Self {
        Self {
            input,
            captures,
            body,
            mqtt_topic: OnceCell::new(),
            pointers: None,
            fields: OnceCell::new(),
        }
    }

    /// When a field of JSON is asked for, all of these are read.
    #[must_use]
    pub fn reading(self, pointers: &'a JsonPointers) -> Self {
        Self { pointers: Some(pointers), ..self }
    }

    /// These levels of its MQTT topic, if it has them and they are UTF-8.
    pub fn levels(&self, levels: Levels) -> Option<&'a str> {
        let at = self.captures.find(self.input.mqtt_topic, levels)?;
        self.mqtt_topic()?.get(at)
    }

    /// Its MQTT topic, if that is UTF-8.
    pub fn mqtt_topic(&self) -> Option<&'a str> {
        *self.mqtt_topic.get_or_init(|| std::str::from_utf8(self.input.mqtt_topic).ok())
    }

    /// What the payload has at this JSON pointer; a document that is not JSON has nothing. The pointers of
    /// [`View::reading`] are read together, any other one by itself.
    pub fn json(&self, pointer: &str) -> Option<Value<'_>> {
        let slot = self.pointers.and_then(|pointers| Some((pointers, pointers.slot(pointer)?)));
        let alone;
        let (fields, slot) = match slot {
            Some((pointers, slot)) => (self.fields(pointers), slot),
            None => {
                alone = JsonPointers::of([pointer]).read(&self.body);
                (&alone, 0)
            }
        };
        let found = fields.as_ref().ok()?.get(slot)?;
        let text = found.text(&self.body)?;
        Some(match found.kind {
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(text == "true"),
            Kind::Number => Value::Number(text),
            Kind::Text | Kind::EscapedText => Value::Text(text),
            Kind::Document => Value::Document(text),
        })
    }

    /// This text without a copy, if it is a part of what MQTT delivered. A part of an unpacked payload is copied:
    /// small as it is, it would keep all of that.
    pub fn part(&self, text: &str) -> Option<Bytes> {
        let text = text.as_bytes();
        let Input { mqtt_topic, payload, properties, .. } = self.input;
        let wholes = [mqtt_topic, payload, properties].into_iter();
        let whole = wholes.filter(|_| !text.is_empty()).find(|whole| is_part(text, whole));
        whole.map(|whole| whole.slice_ref(text))
    }

    /// What is wrong with the payload as JSON, if it is none.
    pub fn not_json(&self) -> Option<NotJson> {
        match self.fields.get() {
            Some(fields) => fields.as_ref().err().copied(),
            None => JsonPointers::default().read(&self.body).err(),
        }
    }

    fn fields(&self, pointers: &JsonPointers) -> &Result<Fields, NotJson> {
        self.fields.get_or_init(|| pointers.read(&self.body))
    }
}
