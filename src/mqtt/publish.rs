//! Takes a PUBLISH apart: one parser for messages that are read whole and for the beginning of those that
//! only stream by. Pure, and on the way of every message: nothing is copied or allocated for a
//! well-formed one with at most one subscription identifier.

use std::hash::{Hash as _, Hasher};
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::message::{Qos, Refusal};
use crate::mqtt::window::{Ack, AckForm};
use crate::mqtt::wire::{Fields, Malformed, RawFrame, Value, VarInt, Version, property, var_int};

/// The reason code of a PUBLISH that frames well and is malformed inside.
pub const MALFORMED: &str = "malformed_publish";
/// The reason code of an MQTT topic that is not UTF-8 ([MQTT-1.5.4-1]).
pub const TOPIC_NOT_UTF8: &str = "mqtt_topic_not_utf8";

/// Subscription identifiers that take no more than this are not worth a place in the window.
const SUBSCRIPTION_IDS_MAX_BYTES: usize = 256;

/// PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Sent before, the broker believes.
    pub dup: bool,
    /// How the message is delivered to us; 2 counts as at least once.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// What the sender is owed; `None` for QoS 0.
    pub ack: Option<Ack>,
    /// The MQTT topic; UTF-8 unless `refusal` says otherwise.
    pub mqtt_topic: Bytes,
    /// The payload, or its beginning if `refusal` has the size of the whole.
    pub payload: Bytes,
    /// The properties of MQTT 5 as they came, without their length; compare them by
    /// [`same_properties`]. Empty in 3.1.1, where there is nothing but a few subscription
    /// identifiers, and where they are too large to be kept.
    pub properties: Bytes,
    /// The subscriptions that the broker sent it for, where those have identifiers.
    pub subscription_ids: SubscriptionIds,
    /// It has a message expiry interval: the broker may drop it unsent.
    pub expires: bool,
    /// Why it can only go to the dead letter, if so.
    pub refusal: Option<Box<Refusal>>,
}

/// Subscription identifiers of one PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SubscriptionIds {
    /// None: of a subscription without identifier.
    #[default]
    None,
    /// One, as of nearly every message.
    One(u32),
    /// One copy for several subscriptions.
    Many(Vec<u32>),
}

impl SubscriptionIds {
    /// All of them, in the order in which they came.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    fn push(&mut self, id: u32) {
        match self {
            Self::None => *self = Self::One(id),
            Self::One(first) => *self = Self::Many(vec![*first, id]),
            Self::Many(ids) => ids.push(id),
        }
    }
}

/// A PUBLISH that can be neither acknowledged nor ignored: the connection must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a PUBLISH with {cause}")]
pub struct PublishError {
    /// One of a fixed set, for people.
    pub cause: &'static str,
    /// Its MQTT topic, if that can be read.
    pub mqtt_topic: Option<Bytes>,
}

impl Publish {
    /// The MQTT topic for people: invalid UTF-8 replaced.
    pub fn mqtt_topic_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.mqtt_topic)
    }

    /// What it counts for in the byte bound of the window.
    pub fn window_bytes(&self) -> usize {
        self.mqtt_topic.len() + self.payload.len() + self.properties.len()
    }

    /// Copies what it has of the bytes that were read, so that those can go.
    pub fn detach(&mut self) {
        let mut copy = BytesMut::with_capacity(self.window_bytes());
        for part in [&mut self.mqtt_topic, &mut self.payload, &mut self.properties] {
            copy.extend_from_slice(part);
            *part = copy.split().freeze();
        }
    }
}

/// Whether two messages have the same properties of their publisher: what the broker adds or counts
/// down on the way (subscription identifiers, the message expiry interval) may differ.
pub fn same_properties(one: &[u8], other: &[u8]) -> bool {
    one == other || published(one).eq(published(other))
}

/// Hashes what [`same_properties`] compares, except whether there is a message expiry interval.
pub fn hash_properties(section: &[u8], hasher: &mut impl Hasher) {
    let expires = |property: &Result<(u8, Value<'_>), &[u8]>| {
        matches!(property, Ok((property::MESSAGE_EXPIRY_INTERVAL, _)))
    };
    published(section).filter(|property| !expires(property)).for_each(|it| it.hash(hasher));
}

/// Each property that the publisher gave, the message expiry interval as 0; what cannot be read is as it is.
pub fn published(section: &[u8]) -> impl Iterator<Item = Result<(u8, Value<'_>), &[u8]>> {
    let mut fields = Fields::new(section);
    std::iter::from_fn(move || {
        loop {
            if fields.is_empty() {
                return None;
            }
            let before = fields.rest();
            match fields.property() {
                Ok((property::SUBSCRIPTION_IDENTIFIER, _)) => {}
                Ok((id @ property::MESSAGE_EXPIRY_INTERVAL, _)) => {
                    return Some(Ok((id, Value::Number(0))));
                }
                Ok(found) => return Some(Ok(found)),
                Err(_) => {
                    fields = Fields::new(&[]);
                    return Some(Err(before));
                }
            }
        }
    })
}

/// Takes apart a PUBLISH that is there whole. One that is malformed inside is for the dead letter.
///
/// # Errors
/// See [`PublishError`].
#[inline]
pub fn parse(version: Version, frame: &RawFrame) -> Result<Publish, PublishError> {
    let (body, start) = (frame.body(), frame.header_len);
    let slice = |range: Range<usize>| frame.bytes.slice(start + range.start..start + range.end);
    let payload = |at| frame.bytes.slice(start + at..);
    read(version, frame.first_byte(), body, body.len(), usize::MAX, slice, payload).map_err(|end| {
        match end {
            Unread::Unusable(error) => error,
            // Nothing is missing where all of it is there.
            Unread::Incomplete => PublishError { cause: TOO_SHORT, mqtt_topic: None },
        }
    })
}

/// Takes apart the beginning of a PUBLISH whose body has `length` bytes, from those that have
/// `arrived`. Returns it without its payload, and where in the body that begins; `None` if more bytes
/// are needed. Properties of more than `properties_max` bytes are passed over.
///
/// # Errors
/// See [`PublishError`].
pub fn parse_head(
    version: Version,
    first_byte: u8,
    arrived: &[u8],
    length: usize,
    properties_max: usize,
) -> Result<Option<(Publish, usize)>, PublishError> {
    let arrived = &arrived[..arrived.len().min(length)];
    // Copies, since the bytes that have arrived are part of what only passes by.
    let copy = |range: Range<usize>| Bytes::copy_from_slice(&arrived[range]);
    let mut payload_at = 0;
    let no_payload = |at| {
        payload_at = at;
        Bytes::new()
    };
    match read(version, first_byte, arrived, length, properties_max, copy, no_payload) {
        Ok(publish) => Ok(Some((publish, payload_at))),
        Err(Unread::Incomplete) => Ok(None),
        Err(Unread::Unusable(error)) => Err(error),
    }
}

const TOO_SHORT: &str = "an MQTT topic or packet identifier that does not fit into it";
const QOS_3: &str = "QoS 3";
const PACKET_ID_0: &str = "packet identifier 0";

enum Unread {
    Incomplete,
    Unusable(PublishError),
}

/// `slice` gives a part of `arrived` to keep, `payload` what begins at this place of the body.
#[inline]
fn read(
    version: Version,
    first_byte: u8,
    arrived: &[u8],
    length: usize,
    properties_max: usize,
    slice: impl Fn(Range<usize>) -> Bytes,
    payload: impl FnOnce(usize) -> Bytes,
) -> Result<Publish, Unread> {
    let unusable = |cause, mqtt_topic| Err(Unread::Unusable(PublishError { cause, mqtt_topic }));
    let Some(topic_len) = arrived.first_chunk::<2>() else {
        return if length < 2 { unusable(TOO_SHORT, None) } else { Err(Unread::Incomplete) };
    };
    let topic_end = 2 + usize::from(u16::from_be_bytes(*topic_len));
    let level = (first_byte >> 1) & 0b11;
    let id_end = if level == 0 { topic_end } else { topic_end + 2 };
    if id_end > length {
        return unusable(TOO_SHORT, None);
    }
    if id_end > arrived.len() {
        return Err(Unread::Incomplete);
    }
    let (qos, form) = match level {
        0 => (Qos::AtMostOnce, None),
        1 => (Qos::AtLeastOnce, Some(AckForm::PubAck)),
        2 => (Qos::AtLeastOnce, Some(AckForm::PubRec)),
        _ => return unusable(QOS_3, Some(slice(2..topic_end))), // [MQTT-3.3.1-4]
    };
    let ack = match (form, &arrived[topic_end..id_end]) {
        (Some(form), &[high, low]) => {
            Some(Ack { packet_id: u16::from_be_bytes([high, low]), form })
        }
        _ => None,
    };
    if ack.is_some_and(|ack| ack.packet_id == 0) {
        return unusable(PACKET_ID_0, Some(slice(2..topic_end))); // [MQTT-2.2.1-3], 3.1.1: [MQTT-2.3.1-1]
    }
    let section = match (version, arrived.get(id_end)) {
        (Version::V311, _) => Section::default(),
        (Version::V5, Some(0)) => Section { end: 1, ..Section::default() }, // Nearly always.
        (Version::V5, _) => Section::find(&arrived[id_end..], length - id_end, properties_max)
            .ok_or(Unread::Incomplete)?,
    };
    let mut refusal = section.malformed.map(malformed);
    if !is_plain(&arrived[2..topic_end]) {
        check_topic(&arrived[2..topic_end], &mut refusal);
    }
    let Range { start, end } = section.kept;
    Ok(Publish {
        dup: first_byte & 0b1000 != 0,
        qos,
        retain: first_byte & 1 != 0,
        ack,
        mqtt_topic: slice(2..topic_end),
        payload: payload(id_end + section.end),
        properties: if end == 0 { Bytes::new() } else { slice(id_end + start..id_end + end) },
        subscription_ids: section.subscription_ids,
        expires: section.expires,
        refusal,
    })
}

/// Not empty and ASCII without the null character, as nearly every MQTT topic. Looks at all bytes,
/// which for few is less work than to stop at the first.
fn is_plain(mqtt_topic: &[u8]) -> bool {
    !mqtt_topic.is_empty()
        && mqtt_topic.iter().fold(true, |plain, byte| plain & (byte.cast_signed() > 0))
}

/// Wildcards, which a broker must not let through ([MQTT-3.3.2-2]), do no harm here.
#[cold]
fn check_topic(mqtt_topic: &[u8], refusal: &mut Option<Box<Refusal>>) {
    match std::str::from_utf8(mqtt_topic) {
        Err(error) => {
            let detail = format!("an MQTT topic that is not UTF-8: {error}");
            *refusal = Some(Box::new(Refusal::new(TOPIC_NOT_UTF8, detail)));
        }
        // [MQTT-4.7.3-1]
        Ok("") if refusal.is_none() => *refusal = Some(malformed("an empty MQTT topic")),
        // [MQTT-1.5.4-2]
        Ok(text) if text.contains('\0') => {
            *refusal = Some(malformed("a null character in its MQTT topic"));
        }
        Ok(_) => {}
    }
}

#[cold]
fn malformed(what: Malformed) -> Box<Refusal> {
    let detail = format!("a malformed PUBLISH: {what}");
    Box::new(Refusal::new(MALFORMED, detail))
}

/// The properties, their length included.
#[derive(Default)]
struct Section {
    /// Where they end.
    end: usize,
    /// What of them is kept.
    kept: Range<usize>,
    subscription_ids: SubscriptionIds,
    expires: bool,
    malformed: Option<Malformed>,
}

impl Section {
    /// Finds and reads them at the beginning of what has `arrived` behind MQTT topic and packet
    /// identifier, where `length` bytes belong to the packet; `None` if more are needed.
    fn find(arrived: &[u8], length: usize, properties_max: usize) -> Option<Self> {
        // The properties are unreadable; keep the raw bytes as payload for the dead letter.
        let lost = |what| Some(Self { malformed: Some(what), ..Self::default() });
        let (start, size) = match var_int(arrived) {
            VarInt::Is(size, size_len) if size <= length - size_len => (size_len, size),
            VarInt::Is(..) => return lost("properties longer than the packet"),
            VarInt::Incomplete if arrived.len() < length => return None,
            VarInt::Incomplete | VarInt::TooLong => {
                return lost("a malformed length of its properties");
            }
        };
        let end = start + size;
        let mut section = Self { end, kept: start..end, ..Self::default() };
        if size > properties_max {
            section.kept = 0..0;
            return Some(section);
        }
        match section.read(arrived.get(start..end)?) {
            Ok(only_ids) if only_ids && size <= SUBSCRIPTION_IDS_MAX_BYTES => section.kept = 0..0,
            Ok(_) => {}
            Err(malformed) => section.malformed = Some(malformed),
        }
        Some(section)
    }

    /// Returns whether there is nothing but subscription identifiers.
    fn read(&mut self, section: &[u8]) -> Result<bool, Malformed> {
        let mut fields = Fields::new(section);
        let mut seen = 0_u64;
        while !fields.is_empty() {
            let (id, value) = fields.property()?;
            match (id, value) {
                (property::SUBSCRIPTION_IDENTIFIER, Value::Number(0)) => {
                    return Err("subscription identifier 0"); // Section 3.3.2.3.8
                }
                (property::SUBSCRIPTION_IDENTIFIER, Value::Number(id)) => {
                    self.subscription_ids.push(id);
                    continue;
                }
                (property::TOPIC_ALIAS, Value::Number(0)) => {
                    return Err("topic alias 0"); // [MQTT-3.3.2-8]
                }
                (property::PAYLOAD_FORMAT_INDICATOR, Value::Byte(2..)) => {
                    return Err("a payload format indicator that is neither 0 nor 1"); // 3.3.2.3.2
                }
                (property::MESSAGE_EXPIRY_INTERVAL, _) => self.expires = true,
                (
                    property::PAYLOAD_FORMAT_INDICATOR
                    | property::CONTENT_TYPE
                    | property::RESPONSE_TOPIC
                    | property::CORRELATION_DATA
                    | property::TOPIC_ALIAS
                    | property::USER_PROPERTY,
                    _,
                ) => {}
                _ => return Err("a property that a PUBLISH cannot have"), // Table 2-4
            }
            // User properties may repeat (section 3.3.2.3.7), the others may not.
            let bit = 1_u64 << id;
            if seen & bit != 0 && id != property::USER_PROPERTY {
                return Err("a property twice that may be there once"); // Section 3.3.2.3
            }
            seen |= bit;
        }
        Ok(seen == 0)
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
