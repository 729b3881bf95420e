//! The client's side of one MQTT connection, from CONNECT to DISCONNECT: keep-alive, what each packet may
//! mean, PUBLISH of ours, and what ends it. Pure: packets and moments in, bytes and events out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::config::Secret;
use crate::message::Qos;
use crate::mqtt::login::Login;
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::packet::{self, ConnAck, Connect, Incoming, OwnPublish};
use crate::mqtt::publish::Publish;
use crate::mqtt::reason;
use crate::mqtt::session::{Session, Settings};
use crate::mqtt::session_event::SessionEvent;
use crate::mqtt::status::Status;
use crate::mqtt::subscriptions::PACKET_ID_MAX;
use crate::mqtt::wire::Version;

/// PINGREQ is sent when this part of the keep-alive passed without a packet from us: the broker
/// must see one within the whole of it ([MQTT-3.1.2-20]).
const PING_AFTER: (u32, u32) = (3, 4);

/// The packet id of a PUBLISH of ours. One is enough: at most one is unacknowledged.
const OWN_PACKET_ID: u16 = PACKET_ID_MAX + 1;

/// Why a PUBLISH of ours is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPublished {
    /// CONNACK has not come.
    #[error("the connection is not accepted yet")]
    NotConnected,
    /// The last one at QoS 1 has no PUBACK yet.
    #[error("the PUBLISH before it is not acknowledged yet")]
    Unacknowledged,
    /// CONNACK rules it out.
    #[error("the broker takes messages at QoS 0 only")]
    Qos,
    /// CONNACK rules it out.
    #[error("the broker takes no retained messages")]
    Retain,
    /// CONNACK rules it out, or MQTT does.
    #[error("the broker takes no packets of that size")]
    TooLarge,
}

/// How much of what the broker sends we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Its packets.
    Packets,
    /// Its bytes: packets wait behind a message that the window has no room for.
    Bytes,
    /// Nothing: silence proves nothing.
    Nothing,
}

/// One connection, from CONNECT on.
#[derive(Debug)]
pub struct ConnectionProtocol {
    settings: Arc<Settings>,
    version: Version,
    /// A session that the broker may have is not asked for.
    is_clean: bool,
    connack: Option<ConnAck>,
    connack_due: Instant,
    keep_alive: Duration,
    last_sent: Instant,
    last_received: Instant,
    was_reading: bool,
    pinged_at: Option<Instant>,
    /// A PUBLISH of ours has no PUBACK yet.
    owes_puback: bool,
}

/// For how long the broker is to keep the session behind the connection, in seconds.
fn asked_expiry_s(settings: &Settings, session: &Session) -> u32 {
    if session.is_over { 0 } else { settings.mqtt.session_expiry_s }
}

impl ConnectionProtocol {
    /// Begins a connection with CONNECT, with this login, in this session and with its will.
    pub fn open(
        settings: Arc<Settings>,
        version: Version,
        login: &Login,
        session: &Session,
        now: Instant,
        out: &mut BytesMut,
    ) -> Self {
        let mqtt = &settings.mqtt;
        let is_clean = mqtt.session_expiry_s == 0 || session.is_over;
        let keep_alive_s = u16::try_from(mqtt.keep_alive.as_secs()).unwrap_or(u16::MAX);
        let connect = Connect {
            client_id: &mqtt.client_id,
            keep_alive_s,
            clean_start: is_clean,
            session_expiry_s: asked_expiry_s(&settings, session),
            receive_maximum: settings.receive_maximum,
            user_properties: &mqtt.user_properties,
            will: session.status.will(version),
            username: login.username.as_ref().map(Secret::expose),
            password: login.password.as_ref().map(Secret::expose),
        };
        packet::encode_connect(version, &connect, out);
        Self {
            version,
            is_clean,
            connack: None,
            connack_due: now + mqtt.connect_timeout,
            keep_alive: Duration::from_secs(u64::from(keep_alive_s)),
            last_sent: now,
            last_received: now,
            was_reading: true,
            pinged_at: None,
            owes_puback: false,
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
        session: &mut Session,
        out: &mut BytesMut,
        events: &mut Vec<SessionEvent>,
    ) -> Result<Option<Publish>, Lost> {
        match (incoming, self.connack.is_some()) {
            (Incoming::ConnAck(ack), false) => self.on_connack(ack, now, session, events)?,
            // The first packet from the server is CONNACK, and there is one [MQTT-3.2.0-1].
            (Incoming::ConnAck(_), true) => return Err(Lost::protocol_error("a second CONNACK")),
            // Without a reason it may come from a broker of another version, which has no CONNACK for us.
            (Incoming::Disconnect { code: ..reason::FAILURE, .. }, false) => {
                return Err(Lost::protocol_error("a DISCONNECT before CONNACK"));
            }
            (Incoming::Disconnect { code, text }, _) => return Err(Lost::disconnected(code, text)),
            (_, false) => return Err(Lost::protocol_error("a packet before CONNACK")),
            (Incoming::Publish(publish), true) => return Ok(Some(publish)),
            (Incoming::PubAck { packet_id, code, text }, true) => {
                self.on_puback(packet_id, code, text, &mut session.status, events)?;
            }
            (Incoming::PubRel(packet_id), true) => packet::encode_pubcomp(packet_id, out),
            (Incoming::SubAck { packet_id, code, text }, true) => {
                session.subscriptions.on_suback(packet_id, code, text, now, events);
            }
            (Incoming::UnsubAck { packet_id, code, text }, true) => {
                session.subscriptions.on_unsuback(packet_id, code, text, now, events);
            }
            (Incoming::PingResp, true) => {}
        }
        Ok(None)
    }

    fn on_connack(
        &mut self,
        ack: ConnAck,
        now: Instant,
        session: &mut Session,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Lost> {
        session.answered();
        if let Some(refused) = ack.refused {
            let without = session.status.refused(refused.code).map(str::to_owned);
            events.extend(without.map(|text| SessionEvent::StatusNotTaken { text }));
            return Err(refused.into());
        }
        session.accepted(self.version);
        let ack = self.connack.insert(ack);
        // 3.1.1: [MQTT-3.2.2-1]; 5: [MQTT-3.2.2-2]. The messages of such a session are not for us.
        if ack.session_present && self.is_clean {
            return Err(Lost::protocol_error(
                "a CONNACK with a session, though a clean one was asked for",
            ));
        }
        // 0 turns keep-alive off (MQTT 5, section 3.2.2.3.14). We keep ours, to notice a dead connection.
        if let Some(seconds @ 1..) = ack.limits.keep_alive_s {
            self.keep_alive = Duration::from_secs(u64::from(seconds));
        }
        events.push(SessionEvent::Connected {
            version: self.version,
            session_present: ack.session_present,
            keep_alive_s: u16::try_from(self.keep_alive.as_secs()).unwrap_or(u16::MAX),
            limits: ack.limits.clone(),
        });
        let asked_s = asked_expiry_s(&self.settings, session);
        if let Some(granted_s) = ack.limits.session_expiry_s.filter(|granted| *granted < asked_s) {
            events.push(SessionEvent::SessionExpiryShortened { asked_s, granted_s });
        }
        let (limits, present) = (&ack.limits, ack.session_present);
        session.subscriptions.connected(self.version, limits, present, now, events);
        session.status.connected(self.version, present);
        let forbidden = session.status.forbidden(self.version);
        events.extend(forbidden.map(|text| SessionEvent::StatusNotTaken { text }));
        Ok(())
    }

    /// Publishes the birth message, as far as the broker takes it.
    fn announce(
        &mut self,
        now: Instant,
        status: &mut Status,
        out: &mut BytesMut,
        events: &mut Vec<SessionEvent>,
    ) {
        // At most once for each of what it can do without, and once more.
        while let Some(birth) = status.birth().filter(|_| status.is_due()) {
            let text = match self.publish(&birth, out) {
                Ok(()) => {
                    status.sent(now, self.settings.mqtt.connect_timeout);
                    return;
                }
                Err(NotPublished::Retain) => status.do_without_retain(),
                Err(NotPublished::Qos) => status.do_without_qos_1(),
                Err(other) => {
                    status.give_up();
                    events.push(SessionEvent::StatusNotTaken { text: other.to_string() });
                    return;
                }
            };
            match text {
                Some(text) => events.push(SessionEvent::StatusNotTaken { text: text.to_owned() }),
                None => status.give_up(),
            }
        }
    }

    /// Says that we go, before DISCONNECT, which makes the broker forget the will (MQTT 5,
    /// section 3.14.4). Its PUBACK is not waited for: the broker takes both in order.
    pub fn say_farewell(&mut self, status: &Status, out: &mut BytesMut) {
        let Some(farewell) = status.farewell(self.version) else { return };
        let farewell = match self.owes_puback {
            // The packet id is taken.
            true => OwnPublish { qos: Qos::AtMostOnce, ..farewell },
            false => farewell,
        };
        let _ = self.publish(&farewell, out);
    }

    /// Appends a PUBLISH of ours. At QoS 1 the next one has to wait for its PUBACK
    /// ([`SessionEvent::OwnAcknowledged`]); if the connection ends first, it is to be published again on
    /// the next one, with DUP if that has the session ([MQTT-4.4.0-1]).
    ///
    /// # Errors
    /// Why it is not sent; nothing was appended.
    pub fn publish(
        &mut self,
        publish: &OwnPublish<'_>,
        out: &mut BytesMut,
    ) -> Result<(), NotPublished> {
        let Some(ConnAck { limits, .. }) = &self.connack else {
            return Err(NotPublished::NotConnected);
        };
        let needs_ack = publish.qos == Qos::AtLeastOnce;
        if needs_ack && self.owes_puback {
            return Err(NotPublished::Unacknowledged);
        }
        if needs_ack && limits.maximum_qos == Some(0) {
            return Err(NotPublished::Qos);
        }
        if publish.retain && limits.no_retain {
            return Err(NotPublished::Retain);
        }
        let bytes = publish.bytes(self.version).ok_or(NotPublished::TooLarge)?;
        if limits.maximum_packet_bytes.is_some_and(|maximum| bytes > maximum as usize)
            || !packet::encode_publish(self.version, publish, OWN_PACKET_ID, out)
        {
            return Err(NotPublished::TooLarge);
        }
        self.owes_puback |= needs_ack;
        Ok(())
    }

    fn on_puback(
        &mut self,
        packet_id: u16,
        code: u8,
        text: String,
        status: &mut Status,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Lost> {
        if packet_id != OWN_PACKET_ID || !std::mem::take(&mut self.owes_puback) {
            return Err(Lost::protocol_error(format!(
                "a PUBACK for packet identifier {packet_id}, under which the bridge has sent no PUBLISH"
            )));
        }
        status.acknowledged();
        let refusal = (code >= reason::FAILURE).then_some(text);
        events.push(SessionEvent::OwnAcknowledged { refusal });
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
        session: &mut Session,
        out: &mut BytesMut,
        events: &mut Vec<SessionEvent>,
    ) -> Result<bool, Lost> {
        if self.connack.is_none() {
            return if now < self.connack_due {
                Ok(false)
            } else {
                Err(Lost::new(lost::CONNACK_TIMEOUT, "no CONNACK within mqtt.connect_timeout"))
            };
        }
        // Bytes are enough: a PINGRESP may be among them.
        let hears = reading != Reading::Nothing;
        let resumed = std::mem::replace(&mut self.was_reading, hears) != hears;
        if !hears || resumed {
            self.last_received = now;
        } else if now >= self.dead_at() {
            let silent = now.saturating_duration_since(self.last_received);
            return Err(Lost {
                disconnect_code: Some(lost::disconnect_code::KEEP_ALIVE_TIMEOUT),
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
        session.subscriptions.on_time(now, reading == Reading::Packets, out, events);
        let status = &mut session.status;
        if status.is_due() && session.subscriptions.is_answered() {
            self.announce(now, status, out, events);
        }
        if status.is_overdue(now) {
            let text = "the broker has not acknowledged it (PUBACK)".to_owned();
            events.push(SessionEvent::StatusNotTaken { text });
        }
        Ok(ping_due)
    }

    /// Asks the broker for a sign of life.
    pub fn ping(&mut self, now: Instant, out: &mut BytesMut) {
        packet::encode_pingreq(out);
        self.pinged_at = Some(now);
    }

    /// The next moment at which [`ConnectionProtocol::on_time`] has something to do.
    pub fn deadline(&self, reading: Reading, session: &Session) -> Instant {
        if self.connack.is_none() {
            return self.connack_due;
        }
        let dead = (reading != Reading::Nothing).then(|| self.dead_at());
        let due = session.subscriptions.deadline().into_iter().chain(session.status.deadline());
        due.chain(dead).fold(self.ping_at(), Instant::min)
    }

    fn ping_at(&self) -> Instant {
        let (part, whole) = PING_AFTER;
        let pause = self.keep_alive * part / whole;
        // If the broker is silent, send PINGREQ too: it owes a PINGRESP.
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

/// A connection on which nothing came for this long is dead.
pub fn dead_after(keep_alive: Duration) -> Duration {
    keep_alive * 3 / 2
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
