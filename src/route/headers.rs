//! `headers`: what of a message goes into the headers of its record. Pure.

use std::ffi::CStr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::bridge_id::bridge_id;
use super::input::{Input, View};
use super::template::{Template, Unfilled};
use crate::message::{Header, Qos};
use crate::mqtt::properties::Properties;
use crate::observe::Rfc3339;

/// The prefix of headers that come from MQTT.
pub const PREFIX: &str = "mqtt.";

/// The most user properties of a message whose record gets them as headers: a packet has room for many
/// thousands, each of which costs memory of its own as a header.
pub const USER_PROPERTIES_MAX: usize = 1_000;

/// What stands for the value of `bridge.produced_at` until the record is handed to librdkafka; as long as that.
const PRODUCED_LATER: &[u8] = b"when the record is produced";

/// The reason code of a message with more than [`USER_PROPERTIES_MAX`].
pub const TOO_MANY: &str = "headers_too_many";

/// Which headers a record gets, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Each of them.
    pub items: Vec<HeaderItem>,
    /// What stands before the names of those that come from MQTT.
    pub prefix: String,
    /// `bridge_id`: a header by which a consumer can tell a message that comes again.
    pub bridge_id: bool,
    /// The publisher's own id, which stands for payload and properties in [`Headers::bridge_id`].
    pub bridge_id_from: Option<Template>,
    /// Made from the others.
    pub names: Names,
}

impl Default for Headers {
    fn default() -> Self {
        let (items, prefix) = (Vec::new(), PREFIX.to_owned());
        Self { items, prefix, bridge_id: false, bridge_id_from: None, names: Names::default() }
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
    /// `bridge.routed_at`: RFC 3339, when the routing of the message began.
    RoutedAt,
    /// `bridge.produced_at`: RFC 3339, when the record is handed to librdkafka.
    ProducedAt,
    /// `bridge.connection`
    Connection,
    /// `NAME={template}`
    Own(String, Template),
}

/// The names of the headers of a route, made at its first message. They follow from the rest of [`Headers`], so
/// comparing them would add nothing.
#[derive(Debug, Clone, Default)]
pub struct Names(OnceLock<Box<[Arc<CStr>]>>);

impl PartialEq for Names {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Names {}

/// Values that messages have in common: all that one read has brought were received at one moment.
#[derive(Debug, Default)]
pub struct Common {
    received_at: Option<(u64, Bytes)>,
    routed_at: Option<(u64, Bytes)>,
    connection: Option<(Arc<str>, Bytes)>,
    /// Where templates are filled.
    scratch: String,
}

impl Common {
    fn connection(&mut self, connection: &Arc<str>) -> Bytes {
        match &self.connection {
            Some((known, text)) if Arc::ptr_eq(known, connection) => text.clone(),
            _ => {
                let text = Bytes::copy_from_slice(connection.as_bytes());
                self.connection = Some((Arc::clone(connection), text.clone()));
                text
            }
        }
    }
}

/// A moment in RFC 3339. Made anew if the last one was another.
fn moment(last: &mut Option<(u64, Bytes)>, wall_us: u64) -> Bytes {
    match last {
        Some((known, text)) if *known == wall_us => text.clone(),
        _ => {
            let text = Bytes::copy_from_slice(Rfc3339::from_us(wall_us).as_bytes());
            *last = Some((wall_us, text.clone()));
            text
        }
    }
}

/// Why a message has no headers, and no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoHeaders {
    /// A template cannot be filled.
    Unfilled(Unfilled),
    /// It has more user properties than [`USER_PROPERTIES_MAX`]: this many.
    TooMany(usize),
}

impl From<Unfilled> for NoHeaders {
    fn from(unfilled: Unfilled) -> Self {
        Self::Unfilled(unfilled)
    }
}

impl HeaderItem {
    /// Its name without the prefix that a route may choose; `None` if it has none.
    fn suffix(&self) -> Option<&'static str> {
        Some(match self {
            Self::MqttTopic => "topic",
            Self::Qos => "qos",
            Self::Retain => "retain",
            Self::Dup => "dup",
            Self::UserProperties => "user.",
            Self::ContentType => "content_type",
            Self::CorrelationData => "correlation_data",
            Self::ResponseTopic => "response_topic",
            Self::Expiry => "expiry",
            Self::ReceivedAt
            | Self::RoutedAt
            | Self::ProducedAt
            | Self::Connection
            | Self::Own(..) => return None,
        })
    }

    fn name(&self, prefix: &str) -> Arc<CStr> {
        match self {
            Self::ReceivedAt => c"bridge.received_at".into(),
            Self::RoutedAt => c"bridge.routed_at".into(),
            Self::ProducedAt => c"bridge.produced_at".into(),
            Self::Connection => c"bridge.connection".into(),
            Self::Own(name, _) => c_str(&[name]),
            _ => c_str(&[prefix, self.suffix().unwrap_or_default()]),
        }
    }
}

impl Headers {
    /// Whether a record gets none.
    pub fn is_none(&self) -> bool {
        self.items.is_empty() && !self.bridge_id
    }

    /// Whether one of them says when the message was routed: then [`Input::waited`] has to be known.
    pub fn says_routed_at(&self) -> bool {
        self.items.contains(&HeaderItem::RoutedAt)
    }

    /// Which of `headers`, made by [`Headers::of`], says when the record is handed to librdkafka.
    pub fn produced_at(&self, headers: &[Header]) -> Option<usize> {
        let names = self.names.0.get()?;
        let at = self.items.iter().position(|item| *item == HeaderItem::ProducedAt)?;
        headers.iter().position(|header| Arc::ptr_eq(&header.name, &names[at]))
    }

    /// The headers of a record of this route. What the message does not have is left out, except what a
    /// template needs. `common` is what messages before this one had.
    ///
    /// # Errors
    /// See [`NoHeaders`].
    pub fn of(
        &self,
        view: &View<'_>,
        route: &str,
        common: &mut Common,
    ) -> Result<Vec<Header>, NoHeaders> {
        if self.is_none() {
            return Ok(Vec::new());
        }
        let names = self.names.0.get_or_init(|| {
            let names = self.items.iter().map(|item| item.name(&self.prefix));
            names.chain(std::iter::once(c"bridge.id".into())).collect()
        });
        let mut headers = Vec::with_capacity(names.len());
        for (item, name) in self.items.iter().zip(names) {
            if let HeaderItem::UserProperties = item {
                user_properties(view.input, name, &mut headers)?;
            } else if let Some(value) = value(item, view, common)? {
                headers.push(Header { name: Arc::clone(name), value: Some(value) });
            }
        }
        if let (true, Some(name)) = (self.bridge_id, names.last()) {
            let own = self.bridge_id_from.as_ref().map(|from| from.fill(view)).transpose()?;
            let id = bridge_id(view.input, route, own.as_deref());
            headers.push(Header { name: Arc::clone(name), value: Some(id) });
        }
        Ok(headers)
    }
}

/// The value of a header, if the message has it.
fn value(
    item: &HeaderItem,
    view: &View<'_>,
    common: &mut Common,
) -> Result<Option<Bytes>, Unfilled> {
    let input = view.input;
    let properties = Properties::new(input.properties);
    let flag = |flag| Bytes::from_static(if flag { b"true" } else { b"false" });
    // Parts of the message's own bytes.
    let text = |text: &str| input.properties.slice_ref(text.as_bytes());
    Ok(match item {
        HeaderItem::MqttTopic => Some(input.mqtt_topic.clone()),
        HeaderItem::Qos => Some(Bytes::from_static(match input.qos {
            Qos::AtMostOnce => b"0",
            Qos::AtLeastOnce => b"1",
        })),
        HeaderItem::Retain => Some(flag(input.retain)),
        HeaderItem::Dup => Some(flag(input.dup)),
        HeaderItem::ContentType => properties.content_type().map(text),
        HeaderItem::CorrelationData => {
            properties.correlation_data().map(|data| input.properties.slice_ref(data))
        }
        HeaderItem::ResponseTopic => properties.response_topic().map(text),
        HeaderItem::Expiry => input.expiry_left_s().map(|left| left.to_string().into()),
        HeaderItem::ReceivedAt => Some(moment(&mut common.received_at, input.received_at.wall_us)),
        HeaderItem::RoutedAt => {
            let waited = u64::try_from(input.waited.as_micros()).unwrap_or(u64::MAX);
            let routed_us = input.received_at.wall_us.saturating_add(waited);
            Some(moment(&mut common.routed_at, routed_us))
        }
        HeaderItem::ProducedAt => Some(Bytes::from_static(PRODUCED_LATER)),
        HeaderItem::Connection => Some(common.connection(input.connection)),
        HeaderItem::Own(_, template) => Some(template.fill_bytes(view, &mut common.scratch)?),
        HeaderItem::UserProperties => None,
    })
}

/// Appends a header for each user property, in order; `prefix` stands before their names.
fn user_properties(
    input: &Input<'_>,
    prefix: &CStr,
    headers: &mut Vec<Header>,
) -> Result<(), NoHeaders> {
    let properties = || Properties::new(input.properties).user();
    let count = properties().take(USER_PROPERTIES_MAX + 1).count();
    if count > USER_PROPERTIES_MAX {
        return Err(NoHeaders::TooMany(properties().count()));
    }
    let prefix = prefix.to_str().unwrap_or_default();
    headers.extend(properties().map(|(name, value)| {
        let value = input.properties.slice_ref(value.as_bytes());
        Header { name: c_str(&[prefix, name]), value: Some(value) }
    }));
    Ok(())
}

/// The name of a header, which cannot have a null character. Neither the configuration nor MQTT
/// ([MQTT-1.5.4-2]: such a PUBLISH has gone to the dead letter) lets one through to here; it would be left
/// out.
fn c_str(parts: &[&str]) -> Arc<CStr> {
    let length = parts.iter().map(|part| part.len() + 1).sum();
    let mut name = Vec::with_capacity(length);
    parts.iter().for_each(|part| name.extend(part.bytes().filter(|byte| *byte != 0)));
    name.push(0);
    CStr::from_bytes_with_nul(&name).unwrap_or_default().into()
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
