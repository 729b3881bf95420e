//! `headers`: what of a message goes into the headers of its record. Pure.

use super::input::View;
use super::template::{Template, Unfilled};
use crate::message::Header;

/// The prefix of headers that come from MQTT.
pub const PREFIX: &str = "mqtt.";

/// Which headers a record gets, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Each of them.
    pub items: Vec<HeaderItem>,
    /// What stands before the names of those that come from MQTT.
    pub prefix: String,
    /// `bridge_id`: a header by which a consumer can tell a message that comes again.
    pub bridge_id: bool,
    /// The publisher's own id, as a part of [`Headers::bridge_id`].
    pub bridge_id_from: Option<Template>,
}

impl Default for Headers {
    fn default() -> Self {
        let (items, prefix) = (Vec::new(), PREFIX.to_owned());
        Self { items, prefix, bridge_id: false, bridge_id_from: None }
    }
}

/// One header, or the headers of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderItem {
    /// `mqtt.topic`
    MqttTopic,
    /// `mqtt.qos`
    Qos,
    /// `mqtt.retain`
    Retain,
    /// `mqtt.dup`
    Dup,
    /// `mqtt.user`: each user property as `mqtt.user.NAME`, in order, duplicates included.
    UserProperties,
    /// `mqtt.content_type`
    ContentType,
    /// `mqtt.correlation_data`
    CorrelationData,
    /// `mqtt.response_topic`
    ResponseTopic,
    /// `mqtt.expiry`: the seconds that were left.
    Expiry,
    /// `bridge.received_at`: RFC 3339.
    ReceivedAt,
    /// `bridge.connection`
    Connection,
    /// `NAME={template}`
    Own(String, Template),
}

impl Headers {
    /// Whether a record gets none.
    pub fn is_none(&self) -> bool {
        self.items.is_empty() && !self.bridge_id
    }

    /// The headers of a record.
    ///
    /// # Errors
    /// A template that cannot be filled.
    pub fn of(&self, _view: &View<'_>) -> Result<Vec<Header>, Unfilled> {
        Ok(Vec::new())
    }
}
