//! Packets of MQTT 3.1.1 and 5, as far as the harness needs them; independent of the codecs that
//! the bridge uses, so that both cannot have the same defect.

use std::io;

/// A protocol version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    V311,
    /// 5
    V5,
}

impl Version {
    /// Both of them.
    pub const BOTH: [Self; 2] = [Self::V311, Self::V5];

    /// As `mqtt.protocol` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        }
    }

    /// The protocol level byte of CONNECT.
    pub fn level(self) -> u8 {
        match self {
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// The fields of CONNECT that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Protocol level byte: 4 or 5.
    pub level: u8,
    /// Client identifier.
    pub client_id: String,
    /// Clean session (3.1.1) or clean start (5).
    pub clean: bool,
    /// Seconds.
    pub keep_alive: u16,
    /// User name and password.
    pub login: Option<(String, String)>,
    /// 5: seconds.
    pub session_expiry: Option<u32>,
    /// 5: in-flight limit of the sender of this CONNECT.
    pub receive_maximum: Option<u16>,
}

/// A PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// DUP.
    pub dup: bool,
    /// 0, 1 or 2.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Its MQTT topic; bytes, since the harness sends bad UTF-8 too.
    pub mqtt_topic: Vec<u8>,
    /// Packet id; 0 at QoS 0.
    pub pkid: u16,
    /// Payload.
    pub payload: Vec<u8>,
}

/// An MQTT packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    Connect(Connect),
    /// With 5: the properties, encoded, without their length.
    ConnAck {
        session_present: bool,
        code: u8,
        properties: Vec<u8>,
    },
    Publish(Publish),
    PubAck {
        pkid: u16,
    },
    Subscribe {
        pkid: u16,
        /// Filter and subscription options (in 3.1.1 the QoS).
        filters: Vec<(String, u8)>,
    },
    SubAck {
        pkid: u16,
        codes: Vec<u8>,
    },
    Unsubscribe {
        pkid: u16,
    },
    PingReq,
    PingResp,
    Disconnect {
        /// 5: the reason; 0 where the packet has none.
        code: u8,
    },
}

impl Packet {
    /// A QoS 1 PUBLISH.
    pub fn publish(pkid: u16, mqtt_topic: &str, payload: &[u8]) -> Self {
        let (mqtt_topic, payload) = (mqtt_topic.as_bytes().to_vec(), payload.to_vec());
        Self::Publish(Publish { qos: 1, pkid, mqtt_topic, payload, ..Publish::default() })
    }

    /// The same PUBLISH with DUP.
    pub fn again(&self) -> Self {
        match self.clone() {
            Self::Publish(publish) => Self::Publish(Publish { dup: true, ..publish }),
            other => panic!("{other:?} never comes again"),
        }
    }

    /// The bytes on the wire.
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let v5 = version == Version::V5;
        let mut body = Vec::new();
        let first = match self {
            Self::Connect(connect) => {
                encode_connect(connect, &mut body);
                0x10
            }
            Self::ConnAck { session_present, code, properties } => {
                body.extend([u8::from(*session_present), *code]);
                if v5 {
                    put_length(&mut body, properties.len());
                    body.extend(properties);
                }
                0x20
            }
            Self::Publish(publish) => {
                put_bytes(&mut body, &publish.mqtt_topic);
                if publish.qos > 0 {
                    body.extend(publish.pkid.to_be_bytes());
                }
                if v5 {
                    body.push(0);
                }
                body.extend(&publish.payload);
                0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain)
            }
            Self::PubAck { pkid } => {
                body.extend(pkid.to_be_bytes());
                0x40
            }
            Self::Subscribe { pkid, filters } => {
                body.extend(pkid.to_be_bytes());
                if v5 {
                    body.push(0);
                }
                for (filter, options) in filters {
                    put_bytes(&mut body, filter.as_bytes());
                    body.push(*options);
                }
                0x82
            }
            Self::SubAck { pkid, codes } => {
                body.extend(pkid.to_be_bytes());
                if v5 {
                    body.push(0);
                }
                body.extend(codes);
                0x90
            }
            Self::Unsubscribe { .. } => unimplemented!("the harness never unsubscribes"),
            Self::PingReq => 0xC0,
            Self::PingResp => 0xD0,
            Self::Disconnect { code } => {
                if v5 && *code != 0 {
                    body.push(*code);
                }
                0xE0
            }
        };
        let mut bytes = vec![first];
        put_length(&mut bytes, body.len());
        bytes.extend(body);
        bytes
    }

    /// Removes the first packet from `buffer`; `None` if it is incomplete.
    ///
    /// # Errors
    /// Bytes that are not a packet that the harness knows.
    pub fn take(buffer: &mut Vec<u8>, version: Version) -> io::Result<Option<Self>> {
        let Some((header, length)) = frame(buffer)? else { return Ok(None) };
        if buffer.len() < header + length {
            return Ok(None);
        }
        let frame: Vec<u8> = buffer.drain(..header + length).collect();
        let mut body = Body { rest: &frame[header..], v5: version == Version::V5 };
        body.packet(frame[0]).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("not a packet: {frame:02x?}"))
        })
    }
}

/// Length of the fixed header and of the rest, if the header is complete.
fn frame(buffer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut length = 0;
    for (index, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, length)));
        }
    }
    if buffer.len() >= 5 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "remaining length over four bytes"));
    }
    Ok(None)
}

fn encode_connect(connect: &Connect, body: &mut Vec<u8>) {
    put_bytes(body, b"MQTT");
    let login = if connect.login.is_some() { 0xC0 } else { 0 };
    body.extend([connect.level, login | u8::from(connect.clean) << 1]);
    body.extend(connect.keep_alive.to_be_bytes());
    if connect.level == 5 {
        let mut properties = Vec::new();
        if let Some(seconds) = connect.session_expiry {
            properties.push(0x11);
            properties.extend(seconds.to_be_bytes());
        }
        if let Some(maximum) = connect.receive_maximum {
            properties.push(0x21);
            properties.extend(maximum.to_be_bytes());
        }
        put_length(body, properties.len());
        body.extend(properties);
    }
    put_bytes(body, connect.client_id.as_bytes());
    if let Some((user, password)) = &connect.login {
        put_bytes(body, user.as_bytes());
        put_bytes(body, password.as_bytes());
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u16::try_from(bytes.len()).expect("at most 65535 bytes").to_be_bytes());
    out.extend(bytes);
}

/// A variable byte integer.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = u8::try_from(length & 0x7F).expect("seven bits");
        length >>= 7;
        out.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return;
        }
    }
}

/// The body of one packet, read from its beginning. `None` everywhere: it is malformed.
struct Body<'a> {
    rest: &'a [u8],
    v5: bool,
}

impl<'a> Body<'a> {
    fn packet(&mut self, first: u8) -> Option<Packet> {
        Some(match first >> 4 {
            1 => Packet::Connect(self.connect()?),
            2 => {
                let [flags, code] = self.take(2)?.try_into().ok()?;
                let properties = if self.v5 { self.properties()?.to_vec() } else { Vec::new() };
                Packet::ConnAck { session_present: flags & 1 == 1, code, properties }
            }
            3 => {
                let qos = first >> 1 & 3;
                let mqtt_topic = self.bytes()?.to_vec();
                let pkid = if qos > 0 { self.u16()? } else { 0 };
                self.skip_properties()?;
                let (dup, retain) = (first & 8 != 0, first & 1 != 0);
                let payload = self.rest.to_vec();
                Packet::Publish(Publish { dup, qos, retain, mqtt_topic, pkid, payload })
            }
            4 => Packet::PubAck { pkid: self.u16()? },
            8 => {
                let pkid = self.u16()?;
                self.skip_properties()?;
                let mut filters = Vec::new();
                while !self.rest.is_empty() {
                    filters.push((self.string()?, self.take(1)?[0]));
                }
                Packet::Subscribe { pkid, filters }
            }
            9 => {
                let pkid = self.u16()?;
                self.skip_properties()?;
                Packet::SubAck { pkid, codes: self.rest.to_vec() }
            }
            10 => Packet::Unsubscribe { pkid: self.u16()? },
            12 => Packet::PingReq,
            13 => Packet::PingResp,
            14 => Packet::Disconnect { code: self.rest.first().copied().unwrap_or(0) },
            _ => return None,
        })
    }

    fn connect(&mut self) -> Option<Connect> {
        (self.bytes()? == b"MQTT").then_some(())?;
        let [level, flags] = self.take(2)?.try_into().ok()?;
        let keep_alive = self.u16()?;
        let (mut session_expiry, mut receive_maximum) = (None, None);
        if level == 5 {
            let v5 = true;
            let mut properties = Body { rest: self.properties()?, v5 };
            while let Some(id) = properties.take(1) {
                match id[0] {
                    0x11 => session_expiry = Some(properties.u32()?),
                    0x21 => receive_maximum = Some(properties.u16()?),
                    0x27 => _ = properties.u32()?,
                    0x22 => _ = properties.u16()?,
                    0x17 | 0x19 => _ = properties.take(1)?,
                    0x26 => _ = (properties.bytes()?, properties.bytes()?),
                    _ => return None,
                }
            }
        }
        let client_id = self.string()?;
        let login =
            if flags & 0xC0 == 0xC0 { Some((self.string()?, self.string()?)) } else { None };
        let clean = flags & 2 != 0;
        let connect =
            Connect { level, client_id, clean, keep_alive, login, session_expiry, receive_maximum };
        Some(connect)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().ok().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn string(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn properties(&mut self) -> Option<&'a [u8]> {
        let mut length = 0;
        for shift in 0..4 {
            let byte = self.take(1)?[0];
            length |= usize::from(byte & 0x7F) << (7 * shift);
            if byte & 0x80 == 0 {
                return self.take(length);
            }
        }
        None
    }

    fn skip_properties(&mut self) -> Option<()> {
        if self.v5 { self.properties().map(drop) } else { Some(()) }
    }
}
