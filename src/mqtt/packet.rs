//! Packets of both protocol versions behind one set of types. Pure.
//!
//! Our own code reads what a broker sends, as leniently as possible: an unknown reason code means what
//! its range means (MQTT 5, section 2.4). A test compares it with rumqttc's codecs, which write SUBSCRIBE
//! and UNSUBSCRIBE.

use bytes::{BufMut, BytesMut};
use rumqttc::mqttbytes::{self as m4, v4};
use rumqttc::v5::mqttbytes::{self as m5, v5};

use crate::message::Qos;
use crate::mqtt::publish::{self, PublishError};
use crate::mqtt::reason::{self, Words};
use crate::mqtt::window::{Ack, AckForm};
use crate::mqtt::wire::{
    Fields, Malformed, VAR_INT_MAX, Value, property, put_binary, put_text, put_var_int,
    var_int_bytes,
};

pub use crate::mqtt::publish::Publish;
pub use crate::mqtt::wire::{RawFrame, Version};

/// A packet from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The answer to CONNECT.
    ConnAck(ConnAck),
    /// A message.
    Publish(Publish),
    /// The second half of a QoS 2 delivery; answered by PUBCOMP.
    PubRel(u16),
    /// The answer to one SUBSCRIBE with one filter.
    SubAck {
        /// Of the SUBSCRIBE.
        packet_id: u16,
        /// The QoS granted, or from 0x80 on a refusal, in both versions.
        code: u8,
        /// The code with its name, and what the broker says with it.
        text: String,
    },
    /// The answer to one UNSUBSCRIBE with one filter.
    UnsubAck {
        /// Of the UNSUBSCRIBE.
        packet_id: u16,
        /// From 0x80 on a refusal; 3.1.1 has none, and then it is 0.
        code: u8,
        /// The code with its name, and what the broker says with it.
        text: String,
    },
    /// The answer to a PUBLISH of ours at QoS 1.
    PubAck {
        /// Of the PUBLISH.
        packet_id: u16,
        /// From 0x80 on a refusal; 3.1.1 has none, and then it is 0.
        code: u8,
        /// The code with its name, and what the broker says with it.
        text: String,
    },
    /// The answer to PINGREQ.
    PingResp,
    /// The broker ends the connection (MQTT 5, section 3.14).
    Disconnect {
        /// Reason code.
        code: u8,
        /// What the broker says of it.
        text: String,
    },
}

/// CONNACK.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnAck {
    /// Why the broker refused, if it did.
    pub refused: Option<ConnectRefused>,
    /// The broker has kept our session.
    pub session_present: bool,
    /// What a broker of MQTT 5 imposes.
    pub limits: ServerLimits,
}

/// Why CONNECT was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRefused {
    /// The broker's code: from 0x80 on one of MQTT 5, else one of 3.1.1.
    pub code: u8,
    /// For people.
    pub text: String,
}

/// What CONNACK of MQTT 5 says of the server (section 3.2.2.3); everything absent means no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerLimits {
    /// Use this keep-alive, in seconds.
    pub keep_alive_s: Option<u16>,
    /// The highest QoS granted.
    pub maximum_qos: Option<u8>,
    /// Filters with wildcards are refused.
    pub no_wildcards: bool,
    /// Shared subscriptions are refused.
    pub no_shared: bool,
    /// Subscription identifiers are refused.
    pub no_subscription_ids: bool,
    /// Retained messages are refused.
    pub no_retain: bool,
    /// Seconds that the session lives without a connection, instead of what was asked for.
    pub session_expiry_s: Option<u32>,
    /// The largest packet that the server takes, in bytes.
    pub maximum_packet_bytes: Option<u32>,
    /// How many messages at QoS 1 the server takes at a time from us.
    pub receive_maximum: Option<u16>,
    /// The client id that the server chose for us.
    pub assigned_client_id: Option<String>,
}

/// A packet that cannot be understood: the connection must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// A required part is missing or cannot be read.
    #[error("a malformed packet of type {kind}: {detail}")]
    Malformed {
        /// Packet type, 0 to 15.
        kind: u8,
        /// What is wrong with it.
        detail: Malformed,
    },
    /// A packet that only a client may send, or that was not negotiated.
    #[error("an unexpected packet of type {kind}")]
    Unexpected {
        /// Packet type, 0 to 15.
        kind: u8,
    },
    /// A message that can be neither taken nor acknowledged.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// The packet type of AUTH (MQTT 5, section 3.15).
pub const AUTH: u8 = 15;

/// Reads one packet.
///
/// # Errors
/// It cannot be understood.
pub fn decode(version: Version, frame: &RawFrame) -> Result<Incoming, PacketError> {
    const PUBLISH: u8 = 3;
    let kind = frame.first_byte() >> 4;
    if kind == PUBLISH {
        return Ok(Incoming::Publish(publish::parse(version, frame)?));
    }
    let fields = Fields::new(frame.body());
    let read = match (kind, version) {
        (2, _) => connack(version, fields).map(Incoming::ConnAck),
        (4, _) => puback(version, fields),
        (6, _) => packet_id(&mut { fields }).map(Incoming::PubRel),
        (9, _) => suback(version, fields),
        (11, _) => unsuback(version, fields),
        (13, _) => Ok(Incoming::PingResp),
        (14, Version::V5) => Ok(disconnect(fields)),
        _ => return Err(PacketError::Unexpected { kind }),
    };
    read.map_err(|detail| PacketError::Malformed { kind, detail })
}

/// A broker may answer in the form of the version that it speaks, whatever we speak: one that only knows
/// 3.1.1 refuses MQTT 5 in the form of 3.1.1, without properties.
fn connack(version: Version, mut fields: Fields<'_>) -> Result<ConnAck, Malformed> {
    let session_present = fields.byte()? & 1 != 0;
    let code = fields.byte()?;
    let is_of_v311 = fields.is_empty();
    let properties = fields.properties();
    if is_refusal(version, code) {
        let words = properties.map(Words::among).unwrap_or_default();
        let refused = ConnectRefused { code, text: words.after(reason::connack_text(code)) };
        return Ok(ConnAck { refused: Some(refused), ..ConnAck::default() });
    }
    let limits = match version {
        Version::V311 => ServerLimits::default(),
        Version::V5 if is_of_v311 => return Err("an acceptance in the form of MQTT 3.1.1"),
        Version::V5 => server_limits(properties?)?,
    };
    Ok(ConnAck { refused: None, session_present, limits })
}

/// 3.1.1: all but 0 ([MQTT-3.2.2-5]). 5: from 0x80 on, and the return codes of 3.1.1.
fn is_refusal(version: Version, code: u8) -> bool {
    match version {
        Version::V311 => code != 0,
        Version::V5 => matches!(code, 1..=5 | reason::FAILURE..),
    }
}

fn server_limits(mut properties: Fields<'_>) -> Result<ServerLimits, Malformed> {
    let mut limits = ServerLimits::default();
    while !properties.is_empty() {
        match properties.property()? {
            (property::SERVER_KEEP_ALIVE, Value::Number(seconds)) => {
                limits.keep_alive_s = u16::try_from(seconds).ok();
            }
            (property::MAXIMUM_QOS, Value::Byte(qos)) => limits.maximum_qos = Some(qos),
            (property::WILDCARD_SUBSCRIPTION_AVAILABLE, value) => {
                limits.no_wildcards = value == Value::Byte(0);
            }
            (property::SHARED_SUBSCRIPTION_AVAILABLE, value) => {
                limits.no_shared = value == Value::Byte(0);
            }
            (property::SUBSCRIPTION_IDENTIFIER_AVAILABLE, value) => {
                limits.no_subscription_ids = value == Value::Byte(0);
            }
            (property::RETAIN_AVAILABLE, value) => limits.no_retain = value == Value::Byte(0),
            (property::SESSION_EXPIRY_INTERVAL, Value::Number(seconds)) => {
                limits.session_expiry_s = Some(seconds);
            }
            (property::MAXIMUM_PACKET_SIZE, Value::Number(bytes)) => {
                limits.maximum_packet_bytes = Some(bytes);
            }
            (property::RECEIVE_MAXIMUM, Value::Number(messages)) => {
                limits.receive_maximum = u16::try_from(messages).ok();
            }
            (property::ASSIGNED_CLIENT_IDENTIFIER, Value::Text(client_id)) => {
                limits.assigned_client_id = Some(client_id.to_owned());
            }
            _ => {}
        }
    }
    Ok(limits)
}

/// Packet identifier 0 is not allowed ([MQTT-2.2.1-3]).
fn packet_id(fields: &mut Fields<'_>) -> Result<u16, Malformed> {
    match fields.two()? {
        0 => Err("packet identifier 0"),
        packet_id => Ok(packet_id),
    }
}

/// Without a reason code it is a success (MQTT 5, section 3.4.2.1).
fn puback(version: Version, mut fields: Fields<'_>) -> Result<Incoming, Malformed> {
    let packet_id = packet_id(&mut fields)?;
    let code = match version {
        Version::V5 if !fields.is_empty() => fields.byte()?,
        _ => 0,
    };
    let words = fields.properties().map(Words::among).unwrap_or_default();
    Ok(Incoming::PubAck { packet_id, code, text: words.after(reason::text(code)) })
}

fn suback(version: Version, mut fields: Fields<'_>) -> Result<Incoming, Malformed> {
    let packet_id = packet_id(&mut fields)?;
    let words = words(version, &mut fields)?;
    let code = fields.byte()?;
    Ok(Incoming::SubAck { packet_id, code, text: words.after(reason::text(code)) })
}

fn unsuback(version: Version, mut fields: Fields<'_>) -> Result<Incoming, Malformed> {
    let packet_id = packet_id(&mut fields)?;
    let (words, code) = match version {
        Version::V311 => (Words::default(), 0),
        Version::V5 => (words(version, &mut fields)?, fields.byte()?),
    };
    Ok(Incoming::UnsubAck { packet_id, code, text: words.after(reason::text(code)) })
}

/// What stands before the reason codes.
fn words<'a>(version: Version, fields: &mut Fields<'a>) -> Result<Words<'a>, Malformed> {
    match version {
        Version::V311 => Ok(Words::default()),
        Version::V5 => fields.properties().map(Words::among),
    }
}

/// Without a body it has reason code 0 (section 3.14.2.1).
fn disconnect(mut fields: Fields<'_>) -> Incoming {
    let code = fields.byte().unwrap_or(0);
    let words = fields.properties().map(Words::among).unwrap_or_default();
    Incoming::Disconnect { code, text: words.after(reason::text(code)) }
}

/// What CONNECT says of us.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    /// Client id.
    pub client_id: &'a str,
    /// Seconds.
    pub keep_alive_s: u16,
    /// Begin without what the broker may have kept: clean start, in 3.1.1 clean session.
    pub clean_start: bool,
    /// Seconds that the session is to outlive the connection (MQTT 5; in 3.1.1 it ends with the
    /// connection if it began clean).
    pub session_expiry_s: u32,
    /// The broker sends at most this many messages without our acknowledgement (MQTT 5).
    pub receive_maximum: u16,
    /// For whoever looks at the broker (MQTT 5, section 3.1.2.11.8).
    pub user_properties: &'a [(String, String)],
    /// What the broker publishes when the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// User name, which may be empty.
    pub username: Option<&'a str>,
    /// Password, which may be empty. 3.1.1 has none without a user name ([MQTT-3.1.2-22]): it gets an
    /// empty one then.
    pub password: Option<&'a str>,
}

/// The will message (section 3.1.2.5 of both versions).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// The MQTT topic, without wildcards.
    pub mqtt_topic: &'a str,
    /// The payload, at most 65,535 bytes.
    pub payload: &'a [u8],
    /// QoS 0 or 1.
    pub qos: Qos,
    /// The broker is to keep it.
    pub retain: bool,
}

/// Appends CONNECT. By hand: rumqttc's codecs leave out empty fields, and a password without user name.
///
/// # Panics
/// A string has more than 65,535 bytes; the configuration has bounded them.
pub fn encode_connect(version: Version, connect: &Connect<'_>, out: &mut BytesMut) {
    let Connect { client_id, keep_alive_s, receive_maximum, will, password, .. } = *connect;
    let username = match (connect.username, version) {
        (None, Version::V311) => password.map(|_| ""),
        (username, _) => username,
    };
    let mut body = BytesMut::new();
    put_text("MQTT", &mut body);
    body.put_u8(match version {
        Version::V311 => 4,
        Version::V5 => 5,
    });
    body.put_u8(
        u8::from(username.is_some()) << 7
            | u8::from(password.is_some()) << 6
            | will.map_or(0, will_flags)
            | u8::from(connect.clean_start) << 1,
    );
    body.put_u16(keep_alive_s);
    if version == Version::V5 {
        let mut properties = BytesMut::new();
        properties.put_u8(property::SESSION_EXPIRY_INTERVAL);
        properties.put_u32(connect.session_expiry_s);
        properties.put_u8(property::RECEIVE_MAXIMUM);
        properties.put_u16(receive_maximum);
        for (name, value) in connect.user_properties {
            properties.put_u8(property::USER_PROPERTY);
            put_text(name, &mut properties);
            put_text(value, &mut properties);
        }
        put_var_int(properties.len(), &mut body);
        body.extend_from_slice(&properties);
    }
    put_text(client_id, &mut body);
    if let Some(will) = will {
        if version == Version::V5 {
            body.put_u8(0); // No properties: it is published at once.
        }
        put_text(will.mqtt_topic, &mut body);
        put_binary(will.payload, &mut body);
    }
    for text in [username, password].into_iter().flatten() {
        put_text(text, &mut body);
    }
    out.put_u8(0x10);
    put_var_int(body.len(), out);
    out.extend_from_slice(&body);
}

fn will_flags(will: Will<'_>) -> u8 {
    u8::from(will.retain) << 5 | will.qos.level() << 3 | 1 << 2
}

/// One SUBSCRIBE with one filter.
#[derive(Debug, Clone)]
pub struct Subscribe<'a> {
    /// Not 0.
    pub packet_id: u16,
    /// What to subscribe.
    pub mqtt_filter: &'a str,
    /// The QoS to ask for.
    pub qos: Qos,
    /// Marks what the subscription brings, 1 to 268,435,455; MQTT 5 only, left out in 3.1.1.
    pub subscription_id: Option<u32>,
    /// Send retained messages only for a subscription that the session does not have yet (MQTT 5,
    /// section 3.8.3.1; 3.1.1 has no such option).
    pub only_if_new: bool,
    /// Send nothing that this client itself has published (MQTT 5, section 3.8.3.1; 3.1.1 has no such
    /// option). Not for a shared subscription.
    pub no_local: bool,
}

/// Appends SUBSCRIBE.
///
/// # Panics
/// The filter has more than 65,535 bytes; the configuration has bounded it.
pub fn encode_subscribe(version: Version, subscribe: &Subscribe<'_>, out: &mut BytesMut) {
    let Subscribe { packet_id, mqtt_filter, qos, subscription_id, only_if_new, no_local } =
        *subscribe;
    let written = match version {
        Version::V311 => {
            let qos = match qos {
                Qos::AtMostOnce => m4::QoS::AtMostOnce,
                Qos::AtLeastOnce => m4::QoS::AtLeastOnce,
            };
            let mut packet = v4::Subscribe::new(mqtt_filter, qos);
            packet.pkid = packet_id;
            packet.write(out).map_err(|error| error.to_string())
        }
        Version::V5 => {
            let qos = match qos {
                Qos::AtMostOnce => m5::QoS::AtMostOnce,
                Qos::AtLeastOnce => m5::QoS::AtLeastOnce,
            };
            let mut filter = v5::Filter::new(mqtt_filter, qos);
            filter.nolocal = no_local;
            if only_if_new {
                filter.retain_forward_rule = v5::RetainForwardRule::OnNewSubscribe;
            }
            let properties = subscription_id.map(|id| v5::SubscribeProperties {
                id: Some(id as usize),
                user_properties: Vec::new(),
            });
            let mut packet = v5::Subscribe::new(filter, properties);
            packet.pkid = packet_id;
            packet.write(out).map_err(|error| error.to_string())
        }
    };
    written.expect("one filter of at most 65535 bytes fits into a packet");
}

/// Appends UNSUBSCRIBE for one filter.
///
/// # Panics
/// The filter has more than 65,535 bytes; the configuration has bounded it.
pub fn encode_unsubscribe(version: Version, packet_id: u16, mqtt_filter: &str, out: &mut BytesMut) {
    let written = match version {
        Version::V311 => {
            let mut packet = v4::Unsubscribe::new(mqtt_filter);
            packet.pkid = packet_id;
            packet.write(out).map_err(|error| error.to_string())
        }
        Version::V5 => {
            let mut packet = v5::Unsubscribe::new(mqtt_filter, None);
            packet.pkid = packet_id;
            packet.write(out).map_err(|error| error.to_string())
        }
    };
    written.expect("one filter of at most 65535 bytes fits into a packet");
}

/// A PUBLISH of ours.
#[derive(Debug, Clone, Copy)]
pub struct OwnPublish<'a> {
    /// Sent before, and not acknowledged. At QoS 1 only.
    pub dup: bool,
    /// QoS 0 or 1.
    pub qos: Qos,
    /// The broker is to keep it.
    pub retain: bool,
    /// The MQTT topic, without wildcards.
    pub mqtt_topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
}

impl OwnPublish<'_> {
    /// Bytes behind the fixed header; `None` if no packet has room for it.
    fn body_bytes(&self, version: Version) -> Option<usize> {
        let packet_id = if self.qos == Qos::AtLeastOnce { 2 } else { 0 };
        let properties = if version == Version::V5 { 1 } else { 0 };
        let bytes = 2 + self.mqtt_topic.len() + packet_id + properties + self.payload.len();
        (self.mqtt_topic.len() <= usize::from(u16::MAX) && bytes <= VAR_INT_MAX).then_some(bytes)
    }

    /// Bytes of the whole packet; `None` if no packet has room for it.
    pub fn bytes(&self, version: Version) -> Option<usize> {
        self.body_bytes(version).map(|body| 1 + var_int_bytes(body) + body)
    }
}

/// Appends PUBLISH if a packet has room for it, and returns whether it has. `packet_id` is only used at
/// QoS 1.
pub fn encode_publish(
    version: Version,
    publish: &OwnPublish<'_>,
    packet_id: u16,
    out: &mut BytesMut,
) -> bool {
    let Some(body_bytes) = publish.body_bytes(version) else { return false };
    let needs_ack = publish.qos == Qos::AtLeastOnce;
    let flags = u8::from(publish.dup && needs_ack) << 3
        | publish.qos.level() << 1
        | u8::from(publish.retain);
    out.put_u8(0x30 | flags);
    put_var_int(body_bytes, out);
    put_text(publish.mqtt_topic, out);
    if needs_ack {
        out.put_u16(packet_id);
    }
    if version == Version::V5 {
        out.put_u8(0); // No properties.
    }
    out.put_slice(publish.payload);
    true
}

/// Appends PUBACK or PUBREC, success. The same bytes in both versions (MQTT 5, section 3.4.2.1).
pub fn encode_ack(ack: Ack, out: &mut BytesMut) {
    let kind = match ack.form {
        AckForm::PubAck => 0x40,
        AckForm::PubRec => 0x50,
    };
    put_short(kind, ack.packet_id, out);
}

/// Appends PUBCOMP, success.
pub fn encode_pubcomp(packet_id: u16, out: &mut BytesMut) {
    put_short(0x70, packet_id, out);
}

/// Four bytes do not need a codec; a test compares them with one.
fn put_short(first_byte: u8, packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.put_slice(&[first_byte, 2, high, low]);
}

/// Appends PINGREQ.
pub fn encode_pingreq(out: &mut BytesMut) {
    out.put_slice(&[0xC0, 0]);
}

/// Appends DISCONNECT. Only MQTT 5 carries the reason; 0 is the normal end.
pub fn encode_disconnect(version: Version, reason: u8, out: &mut BytesMut) {
    match (version, reason) {
        (Version::V5, 1..) => out.put_slice(&[0xE0, 1, reason]),
        _ => out.put_slice(&[0xE0, 0]),
    }
}

/// Appends DISCONNECT that ends the session with the connection (MQTT 5, section 3.14.2.2.2).
pub fn encode_disconnect_for_good(out: &mut BytesMut) {
    out.put_slice(&[0xE0, 7, 0, 5, property::SESSION_EXPIRY_INTERVAL, 0, 0, 0, 0]);
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
