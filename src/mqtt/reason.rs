//! Reason codes, and what a broker says with them, for people.
//!
//! An unknown code means what its range means (MQTT 5, section 2.4): 0x80 and above is a
//! failure. The same table serves 3.1.1, where brokers send codes of 5 too.

use crate::mqtt::wire::{Fields, Value, property};

/// Codes from here on are failures (MQTT 5, section 2.4).
pub const FAILURE: u8 = 0x80;

/// A broker's own words are cut after this many bytes: they go into log lines.
const WORDS_MAX_BYTES: usize = 256;

/// The name of a failure in the specification (MQTT 5, table 2-6).
fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        0x80 => "Unspecified error",
        0x81 => "Malformed Packet",
        0x82 => "Protocol Error",
        0x83 => "Implementation specific error",
        0x84 => "Unsupported Protocol Version",
        0x85 => "Client Identifier not valid",
        0x86 => "Bad User Name or Password",
        0x87 => "Not authorized",
        0x88 => "Server unavailable",
        0x89 => "Server busy",
        0x8A => "Banned",
        0x8B => "Server shutting down",
        0x8C => "Bad authentication method",
        0x8D => "Keep Alive timeout",
        0x8E => "Session taken over",
        0x8F => "Topic Filter invalid",
        0x90 => "Topic Name invalid",
        0x91 => "Packet Identifier in use",
        0x92 => "Packet Identifier not found",
        0x93 => "Receive Maximum exceeded",
        0x94 => "Topic Alias invalid",
        0x95 => "Packet too large",
        0x96 => "Message rate too high",
        0x97 => "Quota exceeded",
        0x98 => "Administrative action",
        0x99 => "Payload format invalid",
        0x9A => "Retain not supported",
        0x9B => "QoS not supported",
        0x9C => "Use another server",
        0x9D => "Server moved",
        0x9E => "Shared Subscriptions not supported",
        0x9F => "Connection rate exceeded",
        0xA0 => "Maximum connect time",
        0xA1 => "Subscription Identifiers not supported",
        0xA2 => "Wildcard Subscriptions not supported",
        _ => return None,
    })
}

/// The code with its name: `Not authorized (0x87)`.
pub fn text(code: u8) -> String {
    let name = match code {
        0x00 => "Success",
        FAILURE.. => name(code).unwrap_or("a failure with an unknown code"),
        _ => "an unknown code",
    };
    format!("{name} (0x{code:02X})")
}

/// The code of a CONNACK with its name: that of 3.1.1 for 1 to 5 (its table 3.1), which brokers of
/// 3.1.1 send to a CONNECT of 5 too.
pub fn connack_text(code: u8) -> String {
    let name = match code {
        0x01 => "unacceptable protocol version",
        0x02 => "identifier rejected",
        0x03 => "server unavailable",
        0x04 => "bad user name or password",
        0x05 => "not authorized",
        _ => return text(code),
    };
    format!("{name} (return code {code} of MQTT 3.1.1)")
}

/// What a broker of MQTT 5 says beside a reason code.
#[derive(Debug, Clone, Copy, Default)]
pub struct Words<'a> {
    /// Reason String.
    pub reason: Option<&'a str>,
    /// Server Reference (section 4.13).
    pub server: Option<&'a str>,
}

impl<'a> Words<'a> {
    /// Those among these properties. What cannot be read says nothing.
    pub fn among(mut properties: Fields<'a>) -> Self {
        let mut words = Self::default();
        while let Ok((id, value)) = properties.property() {
            match (id, value) {
                (property::REASON_STRING, Value::Text(text)) => words.reason = Some(text),
                (property::SERVER_REFERENCE, Value::Text(text)) => words.server = Some(text),
                _ => {}
            }
        }
        words
    }

    /// The code's text, and these words.
    pub fn after(self, text: String) -> String {
        let mut said = text;
        if let Some(reason) = self.reason.filter(|reason| !reason.is_empty()) {
            said = format!("{said}: {}", cut(reason));
        }
        if let Some(server) = self.server.filter(|server| !server.is_empty()) {
            said = format!("{said}; the broker names another server: {}", cut(server));
        }
        said
    }
}

/// `text`, or its beginning, short enough for a log line.
pub fn cut(text: &str) -> &str {
    let mut end = text.len().min(WORDS_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
#[path = "reason_tests.rs"]
mod tests;
