//! Which protocol version to speak under `protocol = "auto"`. Pure.
//!
//! 5 first. An answer that can mean "I do not know this version" makes the next attempt use the other
//! one: brokers of 3.1.1 answer a CONNECT of 5 with a code, with bytes that are no CONNACK of 5, by
//! closing, or not at all. The pause between attempts is the usual backoff.

use crate::config::Protocol;
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::wire::Version;

/// What a broker makes of a CONNECT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A CONNACK that accepts.
    Accepted,
    /// It does not speak the version: it says so, or its answer is not one of that version.
    OtherVersion,
    /// A refusal for another cause: login, certificate, client id, load.
    Refused,
    /// It closes, or is silent for too long; perhaps for another cause.
    Nothing,
}

impl Answer {
    /// What the end of a connection that was not accepted says.
    pub fn of(lost: &Lost) -> Self {
        match lost.reason {
            lost::PROTOCOL_REFUSED | lost::MALFORMED | lost::PROTOCOL_ERROR => Self::OtherVersion,
            lost::CLOSED | lost::READ_FAILED | lost::WRITE_FAILED | lost::CONNACK_TIMEOUT => {
                Self::Nothing
            }
            // In words, or before MQTT was spoken at all: a certificate that the broker refuses shows only
            // behind CONNECT (TLS 1.3), and another version would be refused as well.
            _ => Self::Refused,
        }
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Negotiation {
    /// The broker has accepted 5: never try 3.1.1 again.
    v5_accepted: bool,
    /// The broker has shown that it does not speak 5.
    v5_refused: bool,
    /// The next attempt is in 3.1.1.
    try_v311: bool,
}

impl Negotiation {
    /// The version for the next connection.
    pub fn version(&self, protocol: Protocol) -> Version {
        match protocol {
            Protocol::V311 => Version::V311,
            Protocol::Auto if self.try_v311 => Version::V311,
            Protocol::V5 | Protocol::Auto => Version::V5,
        }
    }

    /// A connection in `version` was answered like this.
    pub fn learn(&mut self, version: Version, answer: Answer) {
        match (version, answer) {
            (Version::V5, Answer::Accepted) => {
                *self = Self { v5_accepted: true, ..Self::default() };
            }
            _ if self.v5_accepted => {}
            (_, Answer::Refused) => {}
            (Version::V5, Answer::OtherVersion) => {
                self.v5_refused = true;
                self.try_v311 = true;
            }
            (Version::V5, Answer::Nothing) => self.try_v311 = true,
            // If 5 was only left without an answer, the next connection tries it again.
            (Version::V311, Answer::Accepted) => self.try_v311 = self.v5_refused,
            (Version::V311, Answer::OtherVersion | Answer::Nothing) => *self = Self::default(),
        }
    }
}

#[cfg(test)]
#[path = "negotiation_tests.rs"]
mod tests;
