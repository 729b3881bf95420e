//! PUBLISH taken apart: the one parser, for messages that are read whole and for the beginning of
//! those that only stream by. Pure, and on the way of every message: nothing is copied or allocated
//! for a well-formed one with at most one subscription identifier.

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

/// A PUBLISH that can be neither acknowledged nor taken for one without: the connection must end.
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

/// Each property that the publisher gave; what cannot be read is as it is.
fn published(section: &[u8]) -> impl Iterator<Item = Result<(u8, Value<'_>), &[u8]>> {
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
pub fn parse(version: Version, frame: &RawFrame) -> Result<Publish, PublishError> {
    let body = frame.body();
    let head = Head::read(version, frame.first_byte(), body, body.len(), usize::MAX)?;
    // Nothing is missing where all of it is there.
    let head = head.ok_or(PublishError { cause: TOO_SHORT, mqtt_topic: None })?;
    let start = frame.header_len;
    let payload = frame.bytes.slice(start + head.payload_at..);
    Ok(head
        .into_publish(payload, |range| frame.bytes.slice(start + range.start..start + range.end)))
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
    let head = Head::read(version, first_byte, arrived, length, properties_max)?;
    Ok(head.map(|head| {
        let payload_at = head.payload_at;
        // Copies, since the bytes that have arrived are part of what only passes by.
        let copy = |range: Range<usize>| Bytes::copy_from_slice(&arrived[range]);
        (head.into_publish(Bytes::new(), copy), payload_at)
    }))
}

const TOO_SHORT: &str = "an MQTT topic or packet identifier that does not fit into it";
const QOS_3: &str = "QoS 3";
const PACKET_ID_0: &str = "packet identifier 0";

/// All of a PUBLISH but its payload, by where it stands in the body.
struct Head {
    dup: bool,
    qos: Qos,
    retain: bool,
    ack: Option<Ack>,
    mqtt_topic: Range<usize>,
    properties: Range<usize>,
    subscription_ids: SubscriptionIds,
    expires: bool,
    payload_at: usize,
    refusal: Option<Box<Refusal>>,
}

impl Head {
    fn read(
        version: Version,
        first_byte: u8,
        arrived: &[u8],
        length: usize,
        properties_max: usize,
    ) -> Result<Option<Self>, PublishError> {
        let arrived = &arrived[..arrived.len().min(length)];
        let too_short = || PublishError { cause: TOO_SHORT, mqtt_topic: None };
        let Some(topic_len) = arrived.first_chunk::<2>() else {
            return if length < 2 { Err(too_short()) } else { Ok(None) };
        };
        let topic_end = 2 + usize::from(u16::from_be_bytes(*topic_len));
        let qos = (first_byte >> 1) & 0b11;
        let id_end = if qos == 0 { topic_end } else { topic_end + 2 };
        if id_end > length {
            return Err(too_short());
        }
        let (Some(topic), Some(id)) = (arrived.get(2..topic_end), arrived.get(topic_end..id_end))
        else {
            return Ok(None);
        };
        let unusable =
            |cause| Err(PublishError { cause, mqtt_topic: Some(Bytes::copy_from_slice(topic)) });
        let form = match qos {
            0 => None,
            1 => Some(AckForm::PubAck),
            2 => Some(AckForm::PubRec),
            _ => return unusable(QOS_3), // [MQTT-3.3.1-4]
        };
        let ack = match (form, id) {
            (None, _) => None,
            (Some(_), [0, 0]) => return unusable(PACKET_ID_0), // [MQTT-2.2.1-3], 3.1.1: [MQTT-2.3.1-1]
            (Some(form), id) => Some(Ack { packet_id: u16::from_be_bytes([id[0], id[1]]), form }),
        };
        let mut head = Self {
            dup: first_byte & 0b1000 != 0,
            qos: if qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            retain: first_byte & 1 != 0,
            ack,
            mqtt_topic: 2..topic_end,
            properties: 0..0,
            subscription_ids: SubscriptionIds::None,
            expires: false,
            payload_at: id_end,
            refusal: None,
        };
        if version == Version::V5
            && !head.find_properties(&arrived[id_end..], length - id_end, properties_max)
        {
            return Ok(None);
        }
        head.check_topic(topic);
        Ok(Some(head))
    }

    /// Finds and reads the properties at the beginning of what has `arrived` behind packet identifier
    /// or MQTT topic, where `length` bytes belong to the packet; `false` if more are needed.
    fn find_properties(&mut self, arrived: &[u8], length: usize, properties_max: usize) -> bool {
        let (size, size_len) = match var_int(arrived) {
            VarInt::Is(0, 1) => {
                self.payload_at += 1;
                return true; // Nearly always.
            }
            VarInt::Is(size, size_len) if size <= length - size_len => (size, size_len),
            // The message is lost to sense, not to the dead letter: its bytes are kept.
            VarInt::Is(..) => {
                self.refuse("properties longer than the packet");
                return true;
            }
            VarInt::Incomplete if arrived.len() < length => return false,
            VarInt::Incomplete | VarInt::TooLong => {
                self.refuse("a malformed length of its properties");
                return true;
            }
        };
        if size <= properties_max {
            let Some(section) = arrived.get(size_len..size_len + size) else { return false };
            let start = self.payload_at + size_len;
            match self.read_properties(section) {
                Ok(only_ids) if only_ids && size <= SUBSCRIPTION_IDS_MAX_BYTES => {}
                Ok(_) => self.properties = start..start + size,
                Err(malformed) => {
                    self.properties = start..start + size;
                    self.refuse(malformed);
                }
            }
        }
        self.payload_at += size_len + size;
        true
    }

    /// Returns whether there is nothing but subscription identifiers.
    fn read_properties(&mut self, section: &[u8]) -> Result<bool, Malformed> {
        let mut fields = Fields::new(section);
        let mut seen = 0_u64;
        while !fields.is_empty() {
            let (id, value) = fields.property()?;
            let bit = 1_u64 << id;
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
                (property::USER_PROPERTY, _) => {
                    seen |= bit;
                    continue; // As often as one likes (section 3.3.2.3.7).
                }
                (
                    property::PAYLOAD_FORMAT_INDICATOR
                    | property::CONTENT_TYPE
                    | property::RESPONSE_TOPIC
                    | property::CORRELATION_DATA
                    | property::TOPIC_ALIAS,
                    _,
                ) => {}
                _ => return Err("a property that a PUBLISH cannot have"), // Table 2-4
            }
            if seen & bit != 0 {
                return Err("a property twice that may be there once"); // Section 3.3.2.3
            }
            seen |= bit;
        }
        Ok(seen == 0)
    }

    /// Wildcards, which a broker must not let through ([MQTT-3.3.2-2]), harm nobody here.
    fn check_topic(&mut self, topic: &[u8]) {
        match std::str::from_utf8(topic) {
            Err(error) => {
                self.refusal = Some(Box::new(Refusal {
                    reason: TOPIC_NOT_UTF8,
                    detail: format!("an MQTT topic that is not UTF-8: {error}"),
                    whole: None,
                }));
            }
            Ok("") if self.refusal.is_none() => self.refuse("an empty MQTT topic"), // [MQTT-4.7.3-1]
            Ok(topic) if topic.as_bytes().contains(&0) => {
                self.refuse("a null character in its MQTT topic"); // [MQTT-1.5.4-2]
            }
            Ok(_) => {}
        }
    }

    fn refuse(&mut self, what: Malformed) {
        self.refusal = Some(Box::new(Refusal {
            reason: MALFORMED,
            detail: format!("a malformed PUBLISH: {what}"),
            whole: None,
        }));
    }

    fn into_publish(self, payload: Bytes, slice: impl Fn(Range<usize>) -> Bytes) -> Publish {
        let properties =
            if self.properties.is_empty() { Bytes::new() } else { slice(self.properties) };
        Publish {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            ack: self.ack,
            mqtt_topic: slice(self.mqtt_topic),
            payload,
            properties,
            subscription_ids: self.subscription_ids,
            expires: self.expires,
            refusal: self.refusal,
        }
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
