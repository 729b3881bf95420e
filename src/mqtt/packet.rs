//! Packets of both protocol versions behind one set of types. The reading and writing is done by
//! rumqttc's codecs; what they refuse although it can be understood is taken apart here. Pure.

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::mqttbytes::{self as m4, v4};
use rumqttc::v5::mqttbytes::{self as m5, v5};

use crate::message::{Qos, Refusal};
use crate::mqtt::frame::RawFrame;
use crate::mqtt::window::{Ack, AckForm};

/// The reason code of a PUBLISH that frames well and is malformed inside.
pub const MALFORMED: &str = "malformed_publish";
/// The reason code of an MQTT topic that is not UTF-8 ([MQTT-1.5.4-1]).
pub const TOPIC_NOT_UTF8: &str = "mqtt_topic_not_utf8";

/// A protocol version on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

impl Version {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }
}

/// What a broker sends that a subscriber has to do with.
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
        /// The QoS granted, 0 to 2, or why not.
        granted: Result<u8, String>,
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
    /// The broker does not speak this protocol version.
    pub unsupported_version: bool,
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
    /// The session lives so many seconds without a connection, instead of what was asked for.
    pub session_expiry_s: Option<u32>,
    /// The largest packet that the server takes, in bytes.
    pub maximum_packet_bytes: Option<u32>,
    /// The client id that the server chose for us.
    pub assigned_client_id: Option<String>,
}

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
    /// Why it can only go to the dead letter, if so.
    pub refusal: Option<Box<Refusal>>,
}

/// All of a PUBLISH but its payload.
#[derive(Debug)]
pub struct PublishHead {
    dup: bool,
    qos: Qos,
    retain: bool,
    ack: Option<Ack>,
    mqtt_topic: Bytes,
}

/// A packet that cannot be understood: the connection must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The codec refused it.
    #[error("a malformed packet of type {kind}: {detail}")]
    Malformed {
        /// Packet type, 0 to 15.
        kind: u8,
        /// The codec's words.
        detail: String,
    },
    /// One that only a client may send, or that was not negotiated.
    #[error("an unexpected packet of type {kind}")]
    Unexpected {
        /// Packet type, 0 to 15.
        kind: u8,
    },
    /// MQTT 5, sections 2.2.1 and 3.3.1.2.
    #[error("a PUBLISH without a valid QoS or packet identifier")]
    PublishHead,
}

impl Publish {
    /// The MQTT topic for people: invalid UTF-8 replaced.
    pub fn mqtt_topic_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.mqtt_topic)
    }

    /// What it counts for in the byte bound of the window.
    pub fn window_bytes(&self) -> usize {
        self.mqtt_topic.len() + self.payload.len()
    }
}

impl PublishHead {
    /// Takes the variable header apart, from the bytes that have arrived of a frame's body of
    /// `length` bytes. Returns it with the offset of the payload; `None` if more bytes are needed.
    ///
    /// # Errors
    /// It does not fit into the frame, or has no valid QoS or packet identifier.
    pub fn parse(
        version: Version,
        first_byte: u8,
        body: &[u8],
        length: usize,
    ) -> Result<Option<(Self, usize)>, PacketError> {
        let Some(topic_len) = body.get(..2) else {
            return if length < 2 { Err(PacketError::PublishHead) } else { Ok(None) };
        };
        let topic_end = 2 + usize::from(u16::from_be_bytes([topic_len[0], topic_len[1]]));
        let qos = (first_byte >> 1) & 0b11;
        let id_end = if qos == 0 { topic_end } else { topic_end + 2 };
        if id_end > length {
            return Err(PacketError::PublishHead);
        }
        let (Some(topic), Some(id)) = (body.get(2..topic_end), body.get(topic_end..id_end)) else {
            return Ok(None);
        };
        let ack = |form| match *id {
            [high, low] if high != 0 || low != 0 => {
                Ok(Some(Ack { packet_id: u16::from_be_bytes([high, low]), form }))
            }
            _ => Err(PacketError::PublishHead),
        };
        let (qos, ack) = match qos {
            0 => (Qos::AtMostOnce, None),
            1 => (Qos::AtLeastOnce, ack(AckForm::PubAck)?),
            2 => (Qos::AtLeastOnce, ack(AckForm::PubRec)?),
            _ => return Err(PacketError::PublishHead),
        };
        let payload_at = match version {
            Version::V311 => id_end,
            Version::V5 => match properties_end(&body[id_end..], length - id_end) {
                Properties::EndAt(end) => id_end + end,
                Properties::Incomplete => return Ok(None),
                // The message is lost to sense, not to the dead letter: its bytes are kept.
                Properties::Malformed => id_end,
            },
        };
        let head = Self {
            dup: first_byte & 0b1000 != 0,
            qos,
            retain: first_byte & 1 != 0,
            ack,
            mqtt_topic: Bytes::copy_from_slice(topic),
        };
        Ok(Some((head, payload_at)))
    }

    /// The PUBLISH with this payload.
    pub fn into_publish(self, payload: Bytes, refusal: Option<Refusal>) -> Publish {
        let Self { dup, qos, retain, ack, mqtt_topic } = self;
        let refusal = refusal.map(Box::new);
        Publish { dup, qos, retain, ack, mqtt_topic, payload, refusal }
    }
}

enum Properties {
    EndAt(usize),
    Incomplete,
    Malformed,
}

/// Where the properties at the beginning of `bytes` end, of which `length` belong to the frame.
fn properties_end(bytes: &[u8], length: usize) -> Properties {
    let mut size = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        size |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let end = index + 1 + size;
            return if end > length { Properties::Malformed } else { Properties::EndAt(end) };
        }
    }
    if bytes.len() >= length.min(4) { Properties::Malformed } else { Properties::Incomplete }
}

/// Reads one packet.
///
/// # Errors
/// It cannot be understood.
pub fn decode(version: Version, frame: &RawFrame) -> Result<Incoming, PacketError> {
    let kind = frame.first_byte() >> 4;
    let malformed =
        |error: &dyn std::fmt::Display| PacketError::Malformed { kind, detail: error.to_string() };
    match (kind, version) {
        (2, Version::V311) => {
            let ack = v4::ConnAck::read(header_v4(frame), frame.bytes.clone());
            Ok(Incoming::ConnAck(connack_v4(&ack.map_err(|error| malformed(&error))?)))
        }
        // An older broker refuses MQTT 5 in the form of 3.1.1, without properties.
        (2, Version::V5) if frame.body().len() == 2 => Ok(Incoming::ConnAck(ConnAck {
            refused: Some(ConnectRefused {
                unsupported_version: frame.body()[1] == 1,
                text: format!("return code {} of MQTT 3.1.1", frame.body()[1]),
            }),
            ..ConnAck::default()
        })),
        (2, Version::V5) => {
            let ack = v5::ConnAck::read(header_v5(frame), frame.bytes.clone());
            Ok(Incoming::ConnAck(connack_v5(ack.map_err(|error| malformed(&error))?)))
        }
        (3, _) => decode_publish(version, frame).map(Incoming::Publish),
        (6, _) => match frame.body().first_chunk::<2>() {
            Some(id) => Ok(Incoming::PubRel(u16::from_be_bytes(*id))),
            None => Err(malformed(&"no packet identifier")),
        },
        (9, Version::V311) => {
            let ack = v4::SubAck::read(header_v4(frame), frame.bytes.clone());
            let ack = ack.map_err(|error| malformed(&error))?;
            let granted = match ack.return_codes.first() {
                Some(v4::SubscribeReasonCode::Success(qos)) => Ok(*qos as u8),
                _ => Err("return code 0x80".to_owned()),
            };
            Ok(Incoming::SubAck { packet_id: ack.pkid, granted })
        }
        (9, Version::V5) => {
            let ack = v5::SubAck::read(header_v5(frame), frame.bytes.clone());
            let ack = ack.map_err(|error| malformed(&error))?;
            let said = ack.properties.and_then(|properties| properties.reason_string);
            let granted = match ack.return_codes.first() {
                Some(v5::SubscribeReasonCode::Success(qos)) => Ok(*qos as u8),
                Some(code) => Err(with_reason_string(format!("{code:?}"), said)),
                None => Err("no reason code".to_owned()),
            };
            Ok(Incoming::SubAck { packet_id: ack.pkid, granted })
        }
        (13, _) => Ok(Incoming::PingResp),
        (14, Version::V5) => Ok(decode_disconnect(frame)),
        _ => Err(PacketError::Unexpected { kind }),
    }
}

fn decode_publish(version: Version, frame: &RawFrame) -> Result<Publish, PacketError> {
    let read = match version {
        Version::V311 => v4::Publish::read(header_v4(frame), frame.bytes.clone())
            .map(|p| {
                let head = publish_head(p.dup, p.qos as u8, p.retain, p.pkid, Bytes::from(p.topic));
                (head, p.payload)
            })
            .map_err(|error| error.to_string()),
        Version::V5 => v5::Publish::read(header_v5(frame), frame.bytes.clone())
            .map(|p| (publish_head(p.dup, p.qos as u8, p.retain, p.pkid, p.topic), p.payload))
            .map_err(|error| error.to_string()),
    };
    match read {
        Ok((head, _)) if head.mqtt_topic.is_empty() => {
            take_apart(version, frame, "an empty MQTT topic")
        }
        // The codec of MQTT 5 leaves this check to us.
        Ok((head, _))
            if version == Version::V5 && std::str::from_utf8(&head.mqtt_topic).is_err() =>
        {
            take_apart(version, frame, TOPIC_NOT_UTF8)
        }
        Ok((head, payload)) => Ok(head.into_publish(payload, None)),
        Err(refused) => take_apart(version, frame, &refused),
    }
}

fn publish_head(dup: bool, qos: u8, retain: bool, packet_id: u16, topic: Bytes) -> PublishHead {
    let (qos, ack) = match qos {
        0 => (Qos::AtMostOnce, None),
        1 => (Qos::AtLeastOnce, Some(Ack { packet_id, form: AckForm::PubAck })),
        _ => (Qos::AtLeastOnce, Some(Ack { packet_id, form: AckForm::PubRec })),
    };
    PublishHead { dup, qos, retain, ack, mqtt_topic: topic }
}

/// A PUBLISH that the codec does not take, but whose parts can be told: for the dead letter, with
/// what the codec said.
///
/// # Errors
/// Its parts cannot be told: the connection must end.
pub fn take_apart(
    version: Version,
    frame: &RawFrame,
    refused: &str,
) -> Result<Publish, PacketError> {
    let body = frame.body();
    let (head, payload_at) = PublishHead::parse(version, frame.first_byte(), &body, body.len())?
        .ok_or(PacketError::PublishHead)?;
    let refusal = match std::str::from_utf8(&head.mqtt_topic) {
        Err(error) => Refusal {
            reason: TOPIC_NOT_UTF8,
            detail: format!("an MQTT topic that is not UTF-8: {error}"),
            whole: None,
        },
        Ok(_) => Refusal {
            reason: MALFORMED,
            detail: format!("a malformed PUBLISH: {refused}"),
            whole: None,
        },
    };
    Ok(head.into_publish(body.slice(payload_at..), Some(refusal)))
}

/// By hand: the codec refuses a DISCONNECT without a body, and unknown reason codes.
fn decode_disconnect(frame: &RawFrame) -> Incoming {
    let body = frame.body();
    let code = body.first().copied().unwrap_or(0);
    let (text, said) = match v5::Disconnect::read(header_v5(frame), frame.bytes.clone()) {
        Ok(packet) if !body.is_empty() => (
            format!("{:?}", packet.reason_code),
            packet.properties.and_then(|properties| properties.reason_string),
        ),
        _ => (format!("reason code {code:#04x}"), None),
    };
    Incoming::Disconnect { code, text: with_reason_string(text, said) }
}

fn connack_v4(ack: &v4::ConnAck) -> ConnAck {
    use v4::ConnectReturnCode::{RefusedProtocolVersion, Success};
    let refused = (ack.code != Success).then(|| ConnectRefused {
        unsupported_version: ack.code == RefusedProtocolVersion,
        text: format!("{:?}", ack.code),
    });
    ConnAck { refused, session_present: ack.session_present, limits: ServerLimits::default() }
}

fn connack_v5(ack: v5::ConnAck) -> ConnAck {
    use v5::ConnectReturnCode::{RefusedProtocolVersion, Success, UnsupportedProtocolVersion};
    let mut said = None;
    let limits = ack.properties.map_or_else(ServerLimits::default, |properties| {
        said = properties.reason_string;
        ServerLimits {
            keep_alive_s: properties.server_keep_alive,
            maximum_qos: properties.max_qos,
            no_wildcards: properties.wildcard_subscription_available == Some(0),
            no_shared: properties.shared_subscription_available == Some(0),
            session_expiry_s: properties.session_expiry_interval,
            maximum_packet_bytes: properties.max_packet_size,
            assigned_client_id: properties.assigned_client_identifier,
        }
    });
    let refused = (ack.code != Success).then(|| ConnectRefused {
        unsupported_version: matches!(
            ack.code,
            UnsupportedProtocolVersion | RefusedProtocolVersion
        ),
        text: with_reason_string(format!("{:?}", ack.code), said),
    });
    ConnAck { refused, session_present: ack.session_present, limits }
}

fn with_reason_string(text: String, said: Option<String>) -> String {
    match said {
        Some(said) if !said.is_empty() => format!("{text}: {said}"),
        _ => text,
    }
}

fn header_v4(frame: &RawFrame) -> m4::FixedHeader {
    let remaining = frame.bytes.len() - frame.header_len;
    m4::FixedHeader::new(frame.first_byte(), frame.header_len - 1, remaining)
}

fn header_v5(frame: &RawFrame) -> v5::FixedHeader {
    let remaining = frame.bytes.len() - frame.header_len;
    v5::FixedHeader::new(frame.first_byte(), frame.header_len - 1, remaining)
}

/// What CONNECT says of us.
#[derive(Debug, Clone)]
pub struct Connect<'a> {
    /// Client id.
    pub client_id: &'a str,
    /// Seconds.
    pub keep_alive_s: u16,
    /// Seconds; 0 asks for a clean session.
    pub session_expiry_s: u32,
    /// The broker sends at most so many messages without our acknowledgement (MQTT 5).
    pub receive_maximum: u16,
    /// User name and password.
    pub login: Option<(&'a str, &'a str)>,
}

/// Appends CONNECT.
pub fn encode_connect(version: Version, connect: &Connect<'_>, out: &mut BytesMut) {
    let clean = connect.session_expiry_s == 0;
    let written = match version {
        Version::V311 => {
            let mut packet = v4::Connect::new(connect.client_id);
            packet.keep_alive = connect.keep_alive_s;
            packet.clean_session = clean;
            if let Some((username, password)) = connect.login {
                packet.set_login(username, password);
            }
            packet.write(out).map_err(|error| error.to_string())
        }
        Version::V5 => {
            let mut properties = v5::ConnectProperties::new();
            properties.session_expiry_interval = Some(connect.session_expiry_s);
            properties.receive_maximum = Some(connect.receive_maximum);
            let packet = v5::Connect {
                keep_alive: connect.keep_alive_s,
                client_id: connect.client_id.to_owned(),
                clean_start: clean,
                properties: Some(properties),
            };
            let login =
                connect.login.map(|(username, password)| v5::Login::new(username, password));
            packet.write(&None, &login, out).map_err(|error| error.to_string())
        }
    };
    written.expect("a CONNECT of strings that the configuration has bounded fits into a packet");
}

/// Appends SUBSCRIBE for one filter. `only_if_new`: send retained messages only for a subscription
/// that the session does not have yet (MQTT 5, section 3.8.3.1; 3.1.1 has no such option).
pub fn encode_subscribe(
    version: Version,
    packet_id: u16,
    mqtt_filter: &str,
    qos: Qos,
    only_if_new: bool,
    out: &mut BytesMut,
) {
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
            if only_if_new {
                filter.retain_forward_rule = v5::RetainForwardRule::OnNewSubscribe;
            }
            let mut packet = v5::Subscribe::new(filter, None);
            packet.pkid = packet_id;
            packet.write(out).map_err(|error| error.to_string())
        }
    };
    written.expect("one filter of at most 65535 bytes fits into a packet");
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

/// Four bytes are not worth a codec's detour; a test holds them against it.
fn put_short(first_byte: u8, packet_id: u16, out: &mut BytesMut) {
    let [high, low] = packet_id.to_be_bytes();
    out.put_slice(&[first_byte, 2, high, low]);
}

/// Appends PINGREQ.
pub fn encode_pingreq(out: &mut BytesMut) {
    out.put_slice(&[0xC0, 0]);
}

/// Appends DISCONNECT; the reason is said in MQTT 5 only, and 0 is the normal end.
pub fn encode_disconnect(version: Version, reason: u8, out: &mut BytesMut) {
    match (version, reason) {
        (Version::V5, 1..) => out.put_slice(&[0xE0, 1, reason]),
        _ => out.put_slice(&[0xE0, 0]),
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
