//! The terms of MQTT on the wire: versions, frames, the types of fields (MQTT 5, section 1.5), and
//! properties (section 2.2.2). Pure.

use bytes::{BufMut, Bytes};

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

/// The bytes of one packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawFrame {
    /// Fixed header included.
    pub bytes: Bytes,
    /// Length of the fixed header.
    pub header_len: usize,
}

impl RawFrame {
    /// Packet type and flags.
    pub fn first_byte(&self) -> u8 {
        self.bytes[0]
    }

    /// What follows the fixed header.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.header_len..]
    }
}

/// What is wrong with bytes that cannot be read, for people.
pub type Malformed = &'static str;

const SHORT: Malformed = "it ends within a field";

/// Reads fields from the beginning of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// The value of a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// A byte.
    Byte(u8),
    /// Two bytes, a four byte integer, or a variable byte integer.
    Number(u32),
    /// A UTF-8 string.
    Text(&'a str),
    /// Binary data.
    Binary(&'a [u8]),
    /// A UTF-8 string pair.
    Pair(&'a str, &'a str),
}

/// Identifiers of properties (MQTT 5, table 2-4).
pub mod property {
    #![allow(missing_docs, reason = "the names of the specification")]
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// A variable byte integer at the beginning of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarInt {
    /// Its value, and how many bytes it takes.
    Is(usize, usize),
    /// More bytes are needed.
    Incomplete,
    /// It goes on after its fourth byte (MQTT 5, section 1.5.5).
    TooLong,
}

/// The variable byte integer at the beginning of `bytes`.
pub fn var_int(bytes: &[u8]) -> VarInt {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return VarInt::Is(value, index + 1);
        }
    }
    if bytes.len() < 4 { VarInt::Incomplete } else { VarInt::TooLong }
}

impl<'a> Fields<'a> {
    /// From the first of `bytes` on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A byte.
    ///
    /// # Errors
    /// There is none.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// A two byte integer.
    ///
    /// # Errors
    /// It is not all there.
    pub fn two(&mut self) -> Result<u16, Malformed> {
        let (two, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*two))
    }

    /// A four byte integer.
    ///
    /// # Errors
    /// It is not all there.
    pub fn four(&mut self) -> Result<u32, Malformed> {
        let (four, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*four))
    }

    /// A variable byte integer.
    ///
    /// # Errors
    /// It is not all there, or too long.
    pub fn var_int(&mut self) -> Result<usize, Malformed> {
        match var_int(self.rest) {
            VarInt::Is(value, size) => {
                self.rest = &self.rest[size..];
                Ok(value)
            }
            VarInt::Incomplete => Err(SHORT),
            VarInt::TooLong => Err("a variable byte integer of more than four bytes"),
        }
    }

    /// Binary data.
    ///
    /// # Errors
    /// It is not all there.
    pub fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.two()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 string.
    ///
    /// # Errors
    /// It is not all there, is not UTF-8 ([MQTT-1.5.4-1]), or has a null character
    /// ([MQTT-1.5.4-2]).
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| "a string that is not UTF-8")?;
        if text.contains('\0') { Err("a string with a null character") } else { Ok(text) }
    }

    /// The properties that come next, without their length.
    ///
    /// # Errors
    /// They are not all there.
    pub fn properties(&mut self) -> Result<Self, Malformed> {
        let length = self.var_int()?;
        let section = self.take(length).map_err(|_| "properties longer than the packet")?;
        Ok(Self::new(section))
    }

    /// The next property: its identifier and value.
    ///
    /// # Errors
    /// There is no such property, or its value is malformed.
    pub fn property(&mut self) -> Result<(u8, Value<'a>), Malformed> {
        let id = self.byte()?;
        let value = match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Value::Byte(self.byte()?),
            0x13 | 0x21 | 0x22 | 0x23 => Value::Number(self.two()?.into()),
            0x02 | 0x11 | 0x18 | 0x27 => Value::Number(self.four()?),
            // Of at most 28 bits.
            0x0B => Value::Number(self.var_int()? as u32),
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Value::Text(self.text()?),
            0x09 | 0x16 => Value::Binary(self.binary()?),
            0x26 => Value::Pair(self.text()?, self.text()?),
            _ => return Err("a property that does not exist"),
        };
        Ok((id, value))
    }
}

/// Appends a UTF-8 string.
///
/// # Panics
/// It has more than 65,535 bytes; the configuration has bounded what is written.
pub fn put_text(text: &str, out: &mut impl BufMut) {
    put_binary(text.as_bytes(), out);
}

/// Appends binary data with its length before it.
///
/// # Panics
/// It has more than 65,535 bytes.
pub fn put_binary(bytes: &[u8], out: &mut impl BufMut) {
    out.put_u16(u16::try_from(bytes.len()).expect("what the configuration has bounded"));
    out.put_slice(bytes);
}

/// The largest variable byte integer.
pub const VAR_INT_MAX: usize = (1 << 28) - 1;

/// How many bytes a variable byte integer takes.
pub fn var_int_bytes(value: usize) -> usize {
    1 + [7, 14, 21].iter().filter(|bits| value >> *bits > 0).count()
}

/// Appends a variable byte integer of at most 28 bits.
pub fn put_var_int(mut value: usize, out: &mut impl BufMut) {
    loop {
        let seven_bits = (value & 0x7F) as u8;
        value >>= 7;
        out.put_u8(if value > 0 { seven_bits | 0x80 } else { seven_bits });
        if value == 0 {
            return;
        }
    }
}
