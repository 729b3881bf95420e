//! Where a placeholder's value comes from. Pure.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::captures::{Levels, level};
use super::input::{Value, View};
use super::moment;

/// What a placeholder reads; [`super::words`] says how each is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Levels that the filter names; looked up by each message until they are bound.
    Capture(Box<str>, Option<Levels>),
    /// The MQTT topic.
    MqttTopic,
    /// One of its levels, from 0, or from the last one, which is -1.
    MqttLevel(i32),
    /// QoS.
    Qos,
    /// RETAIN.
    Retain,
    /// When the message was received.
    ReceivedAt,
    /// The section of its connection.
    Connection,
    /// The first user property of this name.
    User(Box<str>),
    /// Content type.
    ContentType,
    /// Correlation data.
    CorrelationData,
    /// Response topic.
    ResponseTopic,
    /// What the payload has at this JSON pointer.
    Json(Box<str>),
}

impl Source {
    /// Whether it is the same for all messages of one MQTT topic of one connection.
    pub fn is_of_mqtt_topic(&self) -> bool {
        match self {
            Self::Capture(..) | Self::MqttTopic | Self::MqttLevel(_) | Self::Connection => true,
            Self::Qos
            | Self::Retain
            | Self::ReceivedAt
            | Self::User(_)
            | Self::ContentType
            | Self::CorrelationData
            | Self::ResponseTopic
            | Self::Json(_) => false,
        }
    }

    /// What it is in this message; an empty text counts as found here.
    pub fn read<'v>(&self, view: &'v View<'_>) -> Option<Value<'v>> {
        let input = view.input;
        let text = |text: &'v str| Value::Text(Cow::Borrowed(text));
        match self {
            Self::Capture(_, Some(levels)) => view.levels(*levels).map(text),
            Self::Capture(name, None) => view.levels(view.captures.get(name)?).map(text),
            Self::MqttTopic => view.mqtt_topic().map(text),
            Self::MqttLevel(number) => {
                let at = level(input.mqtt_topic, *number)?;
                view.mqtt_topic()?.get(at).map(text)
            }
            Self::Qos => Some(Value::Number(if input.qos.level() == 0 { "0" } else { "1" }.into())),
            Self::Retain => Some(Value::Bool(input.retain)),
            Self::ReceivedAt => {
                moment::rfc3339(input.received_at.wall_us).map(|text| Value::Text(text.into()))
            }
            Self::Connection => Some(text(input.connection)),
            Self::User(name) => {
                let mut properties = input.properties().user();
                properties.find(|(known, _)| **known == **name).map(|(_, value)| text(value))
            }
            Self::ContentType => input.properties().content_type().map(text),
            Self::ResponseTopic => input.properties().response_topic().map(text),
            Self::CorrelationData => {
                let data = input.properties().correlation_data()?;
                Some(match std::str::from_utf8(data) {
                    Ok(data) => text(data),
                    Err(_) => Value::Text(BASE64_STANDARD.encode(data).into()),
                })
            }
            Self::Json(pointer) => view.json(pointer),
        }
    }
}
