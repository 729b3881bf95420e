//! Why a connection ended or failed to open. Pure.

use std::error::Error;
use std::{fmt, io};

use crate::mqtt::frame::FrameError;
use crate::mqtt::packet::{self, ConnectRefused, PacketError};
use crate::mqtt::publish::PublishError;

/// Nobody answered at the address, or at the proxy's, or the name has no address.
pub const CONNECT_FAILED: &str = "connect_failed";
/// The proxy answered, and does not connect us.
pub const PROXY_REFUSED: &str = "proxy_refused";
/// The broker's certificate is from an authority that we do not know, or self-signed.
pub const TLS_UNTRUSTED: &str = "tls_untrusted";
/// A certificate in the broker's chain has expired.
pub const TLS_EXPIRED: &str = "tls_expired";
/// A certificate in the broker's chain is not valid yet.
pub const TLS_NOT_YET_VALID: &str = "tls_not_yet_valid";
/// The broker's certificate is for another name.
pub const TLS_NAME: &str = "tls_name";
/// The broker wants a certificate of ours, or refuses the one it got.
pub const TLS_CLIENT_CERTIFICATE: &str = "tls_client_certificate";
/// The broker speaks no version of TLS that we may speak.
pub const TLS_VERSION: &str = "tls_version";
/// TLS failed for another cause; the port may not be for TLS.
pub const TLS_FAILED: &str = "tls_failed";
/// A file of ours for TLS cannot be used.
pub const TLS_FILES: &str = "tls_files";
/// The answer to the upgrade to WebSocket is another than yes.
pub const WEBSOCKET_REFUSED: &str = "websocket_refused";
/// There is no password for CONNECT: its file cannot be read, or its command failed or took too long.
pub const PASSWORD_UNAVAILABLE: &str = "password_unavailable";
/// The broker refused the user name, the password or the certificate, or allows none of them to connect.
pub const LOGIN_REFUSED: &str = "login_refused";
/// The broker sent us to another of its addresses (MQTT 5, section 4.13), and there is one.
pub const FAILOVER: &str = "failover";
/// We ended the connection, since a file that it was made with has changed.
pub const ROTATED: &str = "rotated";
/// The broker closed the connection without a DISCONNECT.
pub const CLOSED: &str = "closed_by_broker";
/// The same by a reset, or a broken network.
pub const READ_FAILED: &str = "read_failed";
/// The same, noticed while writing.
pub const WRITE_FAILED: &str = "write_failed";
/// No CONNACK came in time.
pub const CONNACK_TIMEOUT: &str = "connack_timeout";
/// The broker does not speak this protocol version.
pub const PROTOCOL_REFUSED: &str = "protocol_refused";
/// The broker refused CONNECT for another cause.
pub const CONNECTION_REFUSED: &str = "connection_refused";
/// A packet could not be read.
pub const MALFORMED: &str = "malformed_packet";
/// A packet that may not come here.
pub const PROTOCOL_ERROR: &str = "protocol_error";
/// Nothing was received for one and a half times the keep-alive.
pub const KEEP_ALIVE: &str = "keep_alive";
/// Another client connected with our client id.
pub const SESSION_TAKEN_OVER: &str = "session_taken_over";
/// The broker sent DISCONNECT.
pub const SERVER_DISCONNECT: &str = "server_disconnect";

/// The broker's word alone names neither the side nor the cure.
const NOT_LET_IN: &str = "the broker does not let the bridge in; mqtt.username and its password \
    (mqtt.password, mqtt.password_file or mqtt.password_command), or the broker's users and permissions";
/// What the bridge cannot do (MQTT 5, section 4.12).
pub const NO_AUTH: &str = "the broker wants enhanced authentication (AUTH), which the bridge does not support \
    yet: give it a user name and password, a token by mqtt.password_command, or a certificate";

/// Reason codes of DISCONNECT (MQTT 5, section 3.14.2.1).
pub mod disconnect_code {
    #![allow(missing_docs, reason = "the names of the specification")]
    pub const MALFORMED_PACKET: u8 = 0x81;
    pub const PROTOCOL_ERROR: u8 = 0x82;
    pub const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
    pub const SESSION_TAKEN_OVER: u8 = 0x8E;
}

/// Why a connection ended or failed to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// One of the constants above, for logs and counters.
    pub reason: &'static str,
    /// For people.
    pub detail: String,
    /// The message that could be neither taken nor acknowledged.
    pub culprit: Option<PublishError>,
    /// Another client took our id: make the longest pause, or both would fight for ever.
    pub taken_over: bool,
    /// The broker wants us at another of its addresses.
    pub sends_on: bool,
    /// The reason code for DISCONNECT, if we end the connection.
    pub disconnect_code: Option<u8>,
}

impl Lost {
    /// An end that calls for nothing special.
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            culprit: None,
            taken_over: false,
            sends_on: false,
            disconnect_code: None,
        }
    }

    /// The broker sent what cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self {
            disconnect_code: Some(disconnect_code::MALFORMED_PACKET),
            ..Self::new(MALFORMED, detail)
        }
    }

    /// The broker sent a packet that may not come here.
    pub fn protocol_error(detail: impl Into<String>) -> Self {
        let disconnect_code = Some(disconnect_code::PROTOCOL_ERROR);
        Self { disconnect_code, ..Self::new(PROTOCOL_ERROR, detail) }
    }

    /// The broker sent DISCONNECT.
    pub fn disconnected(code: u8, text: String) -> Self {
        let taken_over = code == disconnect_code::SESSION_TAKEN_OVER;
        let reason = if taken_over { SESSION_TAKEN_OVER } else { SERVER_DISCONNECT };
        Self { taken_over, sends_on: is_sent_on(code), ..Self::new(reason, text) }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl Error for Lost {}

/// A transport that knows more than the system tells it in place of the system's error.
impl From<Lost> for io::Error {
    fn from(lost: Lost) -> Self {
        Self::other(lost)
    }
}

impl Lost {
    /// What a transport's error says: more than `reason`, if it knows more.
    pub fn of_io(reason: &'static str, error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(lost) => lost,
            Err(error) => Self::new(reason, error.to_string()),
        }
    }
}

impl From<PublishError> for Lost {
    fn from(error: PublishError) -> Self {
        Self { culprit: Some(error.clone()), ..Self::malformed(error.to_string()) }
    }
}

impl From<PacketError> for Lost {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::Publish(error) => error.into(),
            PacketError::Unexpected { kind: packet::AUTH } => {
                Self { reason: LOGIN_REFUSED, ..Self::protocol_error(NO_AUTH) }
            }
            PacketError::Unexpected { .. } => Self::protocol_error(error.to_string()),
            PacketError::Malformed { .. } => Self::malformed(error.to_string()),
        }
    }
}

impl From<FrameError> for Lost {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Publish(error) => error.into(),
            _ => Self::malformed(error.to_string()),
        }
    }
}

/// Use another server, Server moved (MQTT 5, section 4.13).
fn is_sent_on(code: u8) -> bool {
    matches!(code, 0x9C | 0x9D)
}

/// The codes of MQTT 3.1.1 (table 3.1) and of MQTT 5 (section 3.2.2.2) have no number in common.
impl From<ConnectRefused> for Lost {
    fn from(ConnectRefused { code, text }: ConnectRefused) -> Self {
        const BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
        let (reason, text) = match code {
            0x01 | 0x84 => (PROTOCOL_REFUSED, text),
            0x04 | 0x05 | 0x86 | 0x87 => (LOGIN_REFUSED, format!("{text}: {NOT_LET_IN}")),
            BAD_AUTHENTICATION_METHOD => (LOGIN_REFUSED, format!("{text}; {NO_AUTH}")),
            _ => (CONNECTION_REFUSED, text),
        };
        Self { sends_on: is_sent_on(code), ..Self::new(reason, text) }
    }
}
