//! The client's side of one MQTT connection: CONNECT, subscriptions, keep-alive, and what ends it.
//! Pure: packets and moments in, bytes and notes out; no socket, no clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::config::{MqttConfig, Protocol};
use crate::mqtt::frame::FrameError;
use crate::mqtt::negotiation::{Answer, Negotiation};
use crate::mqtt::packet::{self, ConnAck, Connect, ConnectRefused, Incoming, PacketError, Version};
use crate::mqtt::publish::{Publish, PublishError};
use crate::mqtt::reason;
use crate::mqtt::subscriptions::{Held, Policy, Subscriptions};
use crate::route::Route;

pub use crate::mqtt::note::Note;

/// PINGREQ is sent when this part of the keep-alive passed without a packet from us: the broker
/// must see one within the whole of it ([MQTT-3.1.2-20]).
const PING_AFTER: (u32, u32) = (3, 4);

/// Reason codes of DISCONNECT (MQTT 5, section 3.14.2.1).
const PROTOCOL_ERROR: u8 = 0x82;
const MALFORMED_PACKET: u8 = 0x81;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
const SESSION_TAKEN_OVER: u8 = 0x8E;

/// What does not change from one connection to the next.
#[derive(Debug)]
pub struct Settings {
    /// `[mqtt]`
    pub mqtt: MqttConfig,
    /// What to subscribe.
    pub routes: Vec<Arc<Route>>,
    /// Receive maximum: the in-flight window in messages.
    pub receive_maximum: u16,
}

impl Settings {
    /// What is to be subscribed, in a session in which `held` may be subscribed; `is_recorded`: changes
    /// are written down before they are made.
    pub fn subscriptions(&self, held: Vec<Held>, is_recorded: bool) -> Subscriptions {
        let policy = Policy {
            resubscribe: self.mqtt.resubscribe,
            answer_within: self.mqtt.connect_timeout,
            is_recorded,
        };
        Subscriptions::new(&self.routes, held, policy)
    }
}

/// How far what the broker sends reaches us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Its packets.
    Packets,
    /// Its bytes: packets wait behind a message that the window has no room for.
    Bytes,
    /// Nothing: silence proves nothing.
    Nothing,
}

/// What this process remembers of the session from one connection to the next.
#[derive(Debug)]
pub struct Memory {
    /// What is subscribed in it.
    pub subscriptions: Subscriptions,
    /// The last CONNECT has had no CONNACK.
    unanswered: bool,
    negotiation: Negotiation,
}

impl Memory {
    /// Before the first connection.
    pub fn new(subscriptions: Subscriptions) -> Self {
        Self { subscriptions, unanswered: false, negotiation: Negotiation::default() }
    }

    /// The version for the next connection.
    pub fn version(&self, protocol: Protocol) -> Version {
        self.negotiation.version(protocol)
    }

    /// CONNECT is sent. If the one before it had no CONNACK, the broker may have lost the session and
    /// made a new one for it without our being told: "session present" then says nothing of our
    /// subscriptions, and without SUBSCRIBE there would be silence for ever.
    pub fn connecting(&mut self) {
        if std::mem::replace(&mut self.unanswered, true) {
            self.subscriptions.doubt();
        }
    }

    /// A connection in `version` ended without being accepted.
    pub fn not_accepted(&mut self, version: Version, lost: &Lost) {
        self.negotiation.learn(version, Answer::of(lost));
    }
}

/// Values of [`Lost::reason`].
#[allow(missing_docs, reason = "they are what they say")]
pub mod lost {
    pub const CONNECT_FAILED: &str = "connect_failed";
    /// By the broker, without a word.
    pub const CLOSED: &str = "closed_by_broker";
    /// The same by a reset, or a broken network.
    pub const READ_FAILED: &str = "read_failed";
    pub const WRITE_FAILED: &str = "write_failed";
    pub const CONNACK_TIMEOUT: &str = "connack_timeout";
    pub const PROTOCOL_REFUSED: &str = "protocol_refused";
    pub const CONNECTION_REFUSED: &str = "connection_refused";
    pub const MALFORMED_PACKET: &str = "malformed_packet";
    pub const PROTOCOL_ERROR: &str = "protocol_error";
    pub const KEEP_ALIVE: &str = "keep_alive";
    pub const SESSION_TAKEN_OVER: &str = "session_taken_over";
    pub const SERVER_DISCONNECT: &str = "server_disconnect";
}

impl Answer {
    /// What the end of a connection that was not accepted says.
    pub fn of(lost: &Lost) -> Self {
        match lost.reason {
            lost::PROTOCOL_REFUSED | lost::MALFORMED_PACKET | lost::PROTOCOL_ERROR => {
                Self::OtherVersion
            }
            lost::CONNECTION_REFUSED | lost::SERVER_DISCONNECT | lost::SESSION_TAKEN_OVER => {
                Self::Refused
            }
            _ => Self::Nothing,
        }
    }
}

/// Why a connection ended or could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// One of [`lost`], for logs and counters.
    pub reason: &'static str,
    /// For people.
    pub detail: String,
    /// The message that could be neither taken nor acknowledged.
    pub culprit: Option<PublishError>,
    /// Another client took our id: pause as long as a pause gets, else both would fight for ever.
    pub taken_over: bool,
    /// The reason code to say in DISCONNECT, if the end is ours.
    pub say: Option<u8>,
}

impl Lost {
    /// An end that calls for nothing special.
    pub fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), culprit: None, taken_over: false, say: None }
    }

    /// The peer broke the protocol.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self { say: Some(MALFORMED_PACKET), ..Self::new(lost::MALFORMED_PACKET, detail) }
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
            PacketError::Unexpected { .. } => protocol_error(&error.to_string()),
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

impl From<ConnectRefused> for Lost {
    fn from(ConnectRefused { unsupported_version, text }: ConnectRefused) -> Self {
        let reason = match unsupported_version {
            true => lost::PROTOCOL_REFUSED,
            false => lost::CONNECTION_REFUSED,
        };
        Self::new(reason, text)
    }
}

/// One connection, from CONNECT on.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    version: Version,
    connack: Option<ConnAck>,
    connack_due: Instant,
    keep_alive: Duration,
    last_sent: Instant,
    last_received: Instant,
    was_reading: bool,
    pinged_at: Option<Instant>,
}

impl Session {
    /// Begins a connection with CONNECT.
    pub fn open(
        settings: Arc<Settings>,
        version: Version,
        now: Instant,
        out: &mut BytesMut,
    ) -> Self {
        let mqtt = &settings.mqtt;
        let keep_alive_s = u16::try_from(mqtt.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let connect = Connect {
            client_id: &mqtt.client_id,
            keep_alive_s,
            clean_start: is_clean(mqtt),
            session_expiry_s: mqtt.session_expiry_s,
            receive_maximum: settings.receive_maximum,
            username: mqtt.username.as_deref(),
            password: mqtt.password.as_ref().map(|secret| secret.expose()),
        };
        packet::encode_connect(version, &connect, out);
        Self {
            version,
            connack: None,
            connack_due: now + mqtt.connect_timeout,
            keep_alive: Duration::from_secs(u64::from(keep_alive_s)),
            last_sent: now,
            last_received: now,
            was_reading: true,
            pinged_at: None,
            settings,
        }
    }

    /// The protocol version of this connection.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether CONNACK came.
    pub fn is_connected(&self) -> bool {
        self.connack.is_some()
    }

    /// Bytes were written.
    pub fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// Bytes were read.
    pub fn received(&mut self, now: Instant) {
        self.last_received = now;
        self.pinged_at = None;
    }

    /// Takes one packet. A PUBLISH is handed back; everything else is dealt with here, answers are
    /// appended to `out`.
    ///
    /// # Errors
    /// The connection must end.
    pub fn on_packet(
        &mut self,
        incoming: Incoming,
        now: Instant,
        memory: &mut Memory,
        out: &mut BytesMut,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Publish>, Lost> {
        match (incoming, self.connack.is_some()) {
            (Incoming::ConnAck(ack), false) => self.on_connack(ack, now, memory, notes)?,
            // The first packet from the server is CONNACK, and there is one [MQTT-3.2.0-1].
            (Incoming::ConnAck(_), true) => return Err(protocol_error("a second CONNACK")),
            // Without a reason it may be that of another version, which has no CONNACK for us.
            (Incoming::Disconnect { code: ..reason::FAILURE, .. }, false) => {
                return Err(protocol_error("a DISCONNECT before CONNACK"));
            }
            (Incoming::Disconnect { code, text }, _) => return Err(disconnected(code, text)),
            (_, false) => return Err(protocol_error("a packet before CONNACK")),
            (Incoming::Publish(publish), true) => return Ok(Some(publish)),
            (Incoming::PubRel(packet_id), true) => packet::encode_pubcomp(packet_id, out),
            (Incoming::SubAck { packet_id, code, text }, true) => {
                memory.subscriptions.on_suback(packet_id, code, text, now, notes);
            }
            (Incoming::UnsubAck { packet_id, code, text }, true) => {
                memory.subscriptions.on_unsuback(packet_id, code, text, now, notes);
            }
            (Incoming::PingResp, true) => {}
        }
        Ok(None)
    }

    fn on_connack(
        &mut self,
        ack: ConnAck,
        now: Instant,
        memory: &mut Memory,
        notes: &mut Vec<Note>,
    ) -> Result<(), Lost> {
        memory.unanswered = false;
        if let Some(refused) = ack.refused {
            return Err(refused.into());
        }
        memory.negotiation.learn(self.version, Answer::Accepted);
        let ack = self.connack.insert(ack);
        // 3.1.1: [MQTT-3.2.2-1]; 5: [MQTT-3.2.2-2]. What such a session holds is not ours to take.
        if ack.session_present && is_clean(&self.settings.mqtt) {
            return Err(protocol_error(
                "a CONNACK with a session, though a clean one was asked for",
            ));
        }
        // 0 turns keep-alive off (MQTT 5, section 3.2.2.3.14); ours goes on, to notice a dead link.
        if let Some(seconds @ 1..) = ack.limits.keep_alive_s {
            self.keep_alive = Duration::from_secs(u64::from(seconds));
        }
        notes.push(Note::Connected {
            version: self.version,
            session_present: ack.session_present,
            keep_alive_s: u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX),
            limits: ack.limits.clone(),
        });
        let asked_s = self.settings.mqtt.session_expiry_s;
        if let Some(granted_s) = ack.limits.session_expiry_s.filter(|granted| *granted < asked_s) {
            notes.push(Note::SessionExpiryShortened { asked_s, granted_s });
        }
        let (limits, present) = (&ack.limits, ack.session_present);
        memory.subscriptions.connected(self.version, limits, present, now, notes);
        Ok(())
    }

    /// Does what is due at `now`; returns whether a PINGREQ was appended.
    ///
    /// # Errors
    /// The connection is dead.
    pub fn on_time(
        &mut self,
        now: Instant,
        reading: Reading,
        subscriptions: &mut Subscriptions,
        out: &mut BytesMut,
        notes: &mut Vec<Note>,
    ) -> Result<bool, Lost> {
        if self.connack.is_none() {
            return if now < self.connack_due {
                Ok(false)
            } else {
                Err(Lost::new(lost::CONNACK_TIMEOUT, "no CONNACK within mqtt.connect_timeout"))
            };
        }
        // Bytes are enough: a PINGRESP among them breaks the silence before it is understood.
        let hears = reading != Reading::Nothing;
        let resumed = std::mem::replace(&mut self.was_reading, hears) != hears;
        if !hears || resumed {
            self.last_received = now;
        } else if now >= self.dead_at() {
            let silent = now.saturating_duration_since(self.last_received);
            return Err(Lost {
                say: Some(KEEP_ALIVE_TIMEOUT),
                ..Lost::new(
                    lost::KEEP_ALIVE,
                    format!("nothing received for {} s", silent.as_secs()),
                )
            });
        }
        let ping_due = now >= self.ping_at();
        if ping_due {
            self.ping(now, out);
        }
        subscriptions.on_time(now, reading == Reading::Packets, out, notes);
        Ok(ping_due)
    }

    /// Asks the broker for a sign of life.
    pub fn ping(&mut self, now: Instant, out: &mut BytesMut) {
        packet::encode_pingreq(out);
        self.pinged_at = Some(now);
    }

    /// The next moment at which [`Session::on_time`] has something to do.
    pub fn deadline(&self, reading: Reading, subscriptions: &Subscriptions) -> Instant {
        if self.connack.is_none() {
            return self.connack_due;
        }
        let dead = (reading != Reading::Nothing).then(|| self.dead_at());
        subscriptions.deadline().into_iter().chain(dead).fold(self.ping_at(), Instant::min)
    }

    fn ping_at(&self) -> Instant {
        let (part, whole) = PING_AFTER;
        let pause = self.keep_alive * part / whole;
        // Silence from the broker is broken by a PINGREQ too: it owes a PINGRESP.
        let quiet_since = match self.pinged_at {
            None => self.last_sent.min(self.last_received),
            Some(at) => at.max(self.last_sent),
        };
        quiet_since + pause
    }

    fn dead_at(&self) -> Instant {
        self.last_received + dead_after(self.keep_alive)
    }
}

/// A connection on which nothing came for so long is dead.
pub fn dead_after(keep_alive: Duration) -> Duration {
    keep_alive * 3 / 2
}

/// Whether no session is to outlive the connection.
fn is_clean(mqtt: &MqttConfig) -> bool {
    mqtt.session_expiry_s == 0
}

fn protocol_error(detail: &str) -> Lost {
    Lost { say: Some(PROTOCOL_ERROR), ..Lost::new(lost::PROTOCOL_ERROR, detail) }
}

fn disconnected(code: u8, text: String) -> Lost {
    let taken_over = code == SESSION_TAKEN_OVER;
    let reason = if taken_over { lost::SESSION_TAKEN_OVER } else { lost::SERVER_DISCONNECT };
    Lost { taken_over, ..Lost::new(reason, text) }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
