//! A connection in use: the one function that orders what goes in and out, and what it calls.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};

use crate::failpoint::{self, Site};
use crate::message::{Qos, Stamp};
use crate::mqtt::attempt::Reached;
use crate::mqtt::channel::Channel;
use crate::mqtt::core::Core;
use crate::mqtt::frame::{Frame, FrameReader, RawFrame, bound_payload};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::packet::{self, Incoming, OwnPublish, Version};
use crate::mqtt::protocol::{ConnectionProtocol, Reading};
use crate::mqtt::publish::Publish;
use crate::mqtt::quiet::{Quiet, Step};
use crate::mqtt::session_event::SessionEvent;
use crate::observe::diagnosis::{self, Diagnosis};
use crate::observe::panics;

/// After this many reads in one turn the mailbox gets its turn.
const READS_PER_TURN: usize = 16;
/// While this many bytes wait to be sent, nothing more is read: the broker does not read either.
const UNSENT_MAX_BYTES: usize = 64 * 1024;
/// At most this many bytes are read behind a message that has no room in the window: the end of the
/// connection may come behind it.
pub(super) const READ_AHEAD_MAX_BYTES: usize = 1024 * 1024;
/// Reading ahead begins after the window has been full for this long. Mostly it has room again in a
/// moment, and until then bytes may as well wait in TCP.
const READ_AHEAD_AFTER: Duration = Duration::from_millis(100);
/// How often the kernel is asked whether a connection that is not read has ended.
const LOOK_FOR_END_EVERY: Duration = Duration::from_secs(1);
/// If nothing came for this long, the broker must show that it is there before anything is acknowledged.
pub(super) const QUIET_AFTER: Duration = Duration::from_secs(1);
/// How often we check whether it has shown that.
const LOOK_FOR_SIGN_EVERY: Duration = Duration::from_millis(5);
/// This many of the first bytes tell that a peer does not speak MQTT.
const FIRST_BYTES: usize = 5;
/// How long a connection that is replaced waits for what is in flight.
pub(super) const RETIRE_WITHIN: Duration = Duration::from_secs(10);
/// How long a broker may take to close its side after DISCONNECT. That of a connection that is replaced may
/// take what is left of [`RETIRE_WITHIN`], if that is more: before it has read our acknowledgements, it would
/// send those messages again on the next connection.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// A connection in use.
pub(super) struct Connection {
    channel: Channel,
    pub(super) protocol: ConnectionProtocol,
    frames: FrameReader,
    /// A message that waits for room in the window; what is behind it waits with it.
    blocked: Option<Publish>,
    /// When the read returned whose messages are taken in now.
    read_at: Stamp,
    /// Something was read behind `blocked`.
    read_ahead: bool,
    /// Bytes taken from what was read since the last message that was kept.
    passed: usize,
    /// When the last bytes came, or the broker showed in another way that it is there.
    heard_at: Instant,
    /// When the PINGREQ was written by which the broker is to show that it is there, if one is awaited.
    sign_asked_at: Option<Instant>,
    end_looked_for_at: Instant,
    pub(super) opened_at: Instant,
    /// The first bytes that came, until CONNACK: they show a peer that does not speak MQTT.
    first_bytes: Vec<u8>,
    timer: Pin<Box<Sleep>>,
    /// It is to be replaced: nothing more is taken in, and DISCONNECT follows when all is acknowledged, at
    /// this moment at the latest.
    retires_at: Option<Instant>,
    /// Of a session that is left: whether it has brought all that it had.
    quiet: Quiet,
    /// PINGREQs that were written and PINGRESPs that came.
    pings: (u64, u64),
    /// DISCONNECT is written.
    closing: Option<Closing>,
}

/// Waiting for the broker to close its side.
struct Closing {
    /// For so long at most.
    end: Pin<Box<Sleep>>,
    /// What comes can be read; if not, it is thrown away.
    is_readable: bool,
    /// The MQTT topics of the QoS 1 messages that were left to come again.
    left: HashSet<Bytes>,
}

/// How the use of a connection ended.
pub(super) enum End {
    Lost(Lost),
    /// In order, by our DISCONNECT.
    Closed,
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl Connection {
    /// With the broker's present address.
    pub(super) fn new(reached: Reached, core: &mut Core) -> Self {
        let Reached { transport, login } = reached;
        let now = Instant::now();
        let mut channel = Channel::new(transport);
        let version = core.session.version(core.settings.mqtt.protocol);
        core.session.connecting();
        let settings = Arc::clone(&core.settings);
        let (session, out) = (&core.session, channel.out());
        let protocol = ConnectionProtocol::open(settings, version, &login, session, now, out);
        Self {
            channel,
            protocol,
            frames: FrameReader::new(version, core.settings.mqtt.max_payload_bytes),
            blocked: None,
            read_at: Stamp::now(),
            read_ahead: false,
            passed: 0,
            heard_at: now,
            sign_asked_at: None,
            end_looked_for_at: now,
            opened_at: now,
            first_bytes: Vec::new(),
            timer: Box::pin(sleep_until(now.into())),
            retires_at: None,
            quiet: Quiet::default(),
            pings: (0, 0),
            closing: None,
        }
    }

    /// Begins to end the connection in order, since another is to take its place: what is in flight is
    /// acknowledged, for at most [`RETIRE_WITHIN`].
    pub(super) fn retire(&mut self) {
        self.retires_at.get_or_insert_with(|| Instant::now() + RETIRE_WITHIN);
    }

    /// Nothing more is taken in.
    fn is_ending(&self, core: &Core) -> bool {
        core.draining || self.retires_at.is_some()
    }

    /// Takes in, hands on, writes, reads; again and again until there is nothing to do.
    pub(super) fn pump(&mut self, core: &mut Core, cx: &mut TaskContext<'_>) -> Poll<End> {
        if core.draining {
            // The drain has a deadline of its own.
            self.retires_at = None;
        }
        if self.closing.is_some() {
            return self.poll_closed(core, cx);
        }
        let mut events = Vec::new();
        for _ in 0..READS_PER_TURN {
            if !self.is_ending(core)
                && let Err(lost) = self.take_in(core, &mut events)
            {
                return Poll::Ready(lost.into());
            }
            // What came is routed, and what is due is written: one look at the clock for both.
            let now = Instant::now();
            core.forward(now);
            if let Err(lost) = self.write(core, &mut events, now, cx) {
                return Poll::Ready(lost.into());
            }
            if self.is_ending(core) && (self.owes_nothing(core) || self.is_late()) {
                self.close(core, false);
                return self.poll_closed(core, cx);
            }
            match self.has_left(core, cx) {
                Ok(false) => {}
                Ok(true) => {
                    self.close(core, true);
                    return self.poll_closed(core, cx);
                }
                Err(lost) => return Poll::Ready(lost.into()),
            }
            // The acknowledgements may have made room for the message that waits.
            if let Some(publish) = &self.blocked
                && !self.is_ending(core)
                && core.intake.window.has_room(publish.qos, publish.window_bytes())
            {
                continue;
            }
            // Evaluated once: the wait below must be for what was tried here.
            let reading = self.reading(core);
            if reading == Reading::Nothing {
                if let Poll::Ready(Err(error)) = self.channel.poll_answer(cx) {
                    return Poll::Ready(Lost::of_io(lost::WRITE_FAILED, error).into());
                }
                if let Err(lost) = self.look_for_end_at_times() {
                    return Poll::Ready(lost.into());
                }
                return self.wait(core, reading, cx);
            }
            match self.channel.poll_read(cx, self.frames.space()) {
                Poll::Pending => return self.wait(core, reading, cx),
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Lost::new(lost::CLOSED, "end of stream").into());
                }
                Poll::Ready(Ok(_)) => self.has_read(),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Lost::of_io(lost::READ_FAILED, error).into());
                }
            }
        }
        // The mailbox first, then on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The most likely cause of an end before CONNACK.
    pub(super) fn diagnosis(&self, reason: &str) -> Option<&'static Diagnosis> {
        let silent = self.first_bytes.is_empty()
            && matches!(reason, lost::CLOSED | lost::READ_FAILED | lost::CONNACK_TIMEOUT);
        diagnosis::of_first_bytes(&self.first_bytes)
            .or_else(|| silent.then_some(&diagnosis::MQTT_CLOSED))
    }

    fn has_read(&mut self) {
        if self.first_bytes.is_empty() && !self.protocol.is_connected() {
            self.first_bytes.extend(self.frames.buffered().iter().take(FIRST_BYTES));
        }
        let now = Stamp::now();
        self.heard_at = now.instant;
        self.protocol.received(now.instant);
        // A message that waits for room was received before this read.
        match self.blocked {
            None => self.read_at = now,
            Some(_) => self.read_ahead = true,
        }
    }

    /// Everything that has been read, up to the first message that the window has no room for.
    fn take_in(&mut self, core: &mut Core, events: &mut Vec<SessionEvent>) -> Result<(), Lost> {
        if let Some(publish) = self.blocked.take() {
            self.blocked = core.receive(publish, self.read_at, &mut self.passed);
            if self.blocked.is_none() && std::mem::take(&mut self.read_ahead) {
                self.read_at = Stamp::now();
            }
        }
        let mut any = false;
        while self.blocked.is_none() {
            let Some(publish) = self.next_publish(core, events)? else { break };
            if !std::mem::replace(&mut any, true) {
                failpoint::hit(Site::MqttRead);
            }
            self.blocked = core.receive(publish, self.read_at, &mut self.passed);
        }
        Ok(())
    }

    /// The next message among what has been read; other packets are dealt with on the way.
    fn next_publish(
        &mut self,
        core: &mut Core,
        events: &mut Vec<SessionEvent>,
    ) -> Result<Option<Publish>, Lost> {
        loop {
            let frame = self.frames.next_frame()?;
            let incoming = match frame {
                None => return Ok(None),
                Some(Frame::Oversize(publish)) => {
                    self.passed = self.passed.saturating_add(core.settings.mqtt.max_payload_bytes);
                    Incoming::Publish(publish)
                }
                Some(Frame::Whole(frame)) => {
                    self.passed = self.passed.saturating_add(frame.bytes.len());
                    decode(self.protocol.version(), &frame)?
                }
            };
            match incoming {
                Incoming::PingResp => {
                    self.pings.1 += 1;
                    core.intake.window.ping_answered();
                }
                Incoming::Publish(_) => self.quiet.disturbed(),
                Incoming::PubRel(packet_id) => core.intake.window.released(packet_id),
                _ => {}
            }
            let now = self.read_at.instant;
            let out = self.channel.out();
            let written = out.len();
            let publish = self.protocol.on_packet(incoming, now, &mut core.session, out, events);
            if self.closing.is_some() {
                // Nothing is sent behind DISCONNECT [MQTT-3.14.4-2].
                out.truncate(written);
            }
            // At once: CONNACK says whether the session is there, and with it what the next PUBLISH is.
            core.handle(events);
            if let Some(publish) = publish? {
                return Ok(Some(bound_payload(publish, core.settings.mqtt.max_payload_bytes)));
            }
        }
    }

    /// Writes what is due by the clock and the acknowledgements that are due, together.
    fn write(
        &mut self,
        core: &mut Core,
        events: &mut Vec<SessionEvent>,
        now: Instant,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), Lost> {
        let reading = self.reading(core);
        let (session, out) = (&mut core.session, self.channel.out());
        if self.protocol.on_time(now, reading, session, out, events)? {
            self.pings.0 += 1;
            core.intake.window.ping_written();
        }
        core.handle(events);
        self.publish_requests(core);
        if core.intake.window.wants_ping() {
            self.ping(core, now);
        }
        let mut sent = self.flush(cx)?;
        // Only release what we can begin to write now: the rest stays recognisable if it comes again.
        if self.channel.is_flushed() && self.may_acknowledge(core, now)? {
            let out = self.channel.out();
            core.intake.window.release(|ack| packet::encode_ack(ack, out));
            let acknowledged = core.intake.window.take_acknowledged();
            if acknowledged.len() > 0 {
                core.metrics
                    .connection(core.settings.source)
                    .record_acknowledged(acknowledged, now);
            }
        }
        let flushed = self.flush(cx);
        // Behind the PUBACKs, which need not wait for it. Also if they cannot be written: with the moment that was counted.
        core.timings.write_due(&mut core.intake.window, now);
        sent |= flushed?;
        if sent {
            self.protocol.sent(now);
        }
        Ok(())
    }

    /// Publishes what routing asks for. What the broker takes no packet of is not asked again: a request is
    /// worth little, and comes again if it is still needed.
    fn publish_requests(&mut self, core: &mut Core) {
        if !self.protocol.is_connected() || self.is_ending(core) || core.leaving.is_some() {
            return;
        }
        for (mqtt_topic, payload) in core.intake.take_requests() {
            let publish = OwnPublish {
                dup: false,
                qos: Qos::AtMostOnce,
                retain: false,
                mqtt_topic: &mqtt_topic,
                payload: &payload,
            };
            let _ = self.protocol.publish(&publish, self.channel.out());
        }
    }

    /// Whether all was written, and there was something.
    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, Lost> {
        let flushed = self.channel.poll_flush(cx);
        let written = flushed.map_err(|error| Lost::of_io(lost::WRITE_FAILED, error))?;
        Ok(matches!(written, Poll::Ready(1..)))
    }

    fn ping(&mut self, core: &mut Core, now: Instant) {
        self.protocol.ping(now, self.channel.out());
        self.pings.0 += 1;
        core.intake.window.ping_written();
    }

    /// Whether the broker is there to take acknowledgements. Acknowledgements written to a broker that
    /// is gone count as given, and all those messages come again as new ones. So, when nothing has come
    /// for a while, a PINGREQ goes first, and the acknowledgements wait until the peer's kernel has
    /// confirmed it. The PINGRESP may be behind bytes that we do not read.
    fn may_acknowledge(&mut self, core: &mut Core, now: Instant) -> Result<bool, Lost> {
        if now.saturating_duration_since(self.heard_at) < QUIET_AFTER {
            self.sign_asked_at = None;
            return Ok(true);
        }
        if !core.intake.window.is_ack_due() {
            return Ok(false);
        }
        self.look_for_end(now)?;
        let Some(asked_at) = self.sign_asked_at else {
            self.ping(core, now);
            self.sign_asked_at = Some(now);
            return Ok(false);
        };
        let is_confirmed = self.channel.is_confirmed();
        // Where nobody can tell: an answer or a reset would have come by now.
        let is_confirmed =
            is_confirmed.unwrap_or_else(|| now.saturating_duration_since(asked_at) >= QUIET_AFTER);
        if is_confirmed {
            self.heard_at = now;
            self.sign_asked_at = None;
        }
        Ok(is_confirmed)
    }

    fn look_for_end_at_times(&mut self) -> Result<(), Lost> {
        let now = Instant::now();
        if now.saturating_duration_since(self.end_looked_for_at) < LOOK_FOR_END_EVERY {
            return Ok(());
        }
        self.look_for_end(now)
    }

    /// Fails if the connection has ended behind bytes that are not read.
    fn look_for_end(&mut self, now: Instant) -> Result<(), Lost> {
        self.end_looked_for_at = now;
        match self.channel.ended() {
            None => Ok(()),
            Some(Ok(())) => Err(Lost::new(lost::CLOSED, "end of stream, behind what is not read")),
            Some(Err(error)) => Err(Lost::of_io(lost::READ_FAILED, error)),
        }
    }

    /// How far what the broker sends reaches us now.
    fn reading(&self, core: &Core) -> Reading {
        if self.is_ending(core) || self.is_clogged() {
            return Reading::Nothing;
        }
        if self.blocked.is_none() {
            return Reading::Packets;
        }
        let full_for = core.intake.full_since.map_or(Duration::ZERO, |since| since.elapsed());
        match full_for >= READ_AHEAD_AFTER && self.may_read_ahead() {
            true => Reading::Bytes,
            false => Reading::Nothing,
        }
    }

    /// The broker does not read what we write.
    fn is_clogged(&self) -> bool {
        self.channel.unsent() >= UNSENT_MAX_BYTES
    }

    /// Whether more may be read behind the message that waits for room, once it has waited long enough.
    fn may_read_ahead(&self) -> bool {
        !self.is_clogged() && self.frames.unread() < READ_AHEAD_MAX_BYTES
    }

    /// Whether the session is to be left and has brought all that it had; asks the broker, to find out. The
    /// clean connection behind it only begins, to end again.
    fn has_left(&mut self, core: &mut Core, cx: &mut TaskContext<'_>) -> Result<bool, Lost> {
        if core.leaving.is_none() || core.draining || !self.protocol.is_connected() {
            return Ok(false);
        }
        if core.session.is_over {
            return Ok(true);
        }
        let window = &core.intake.window;
        let is_idle = core.session.subscriptions.held() == 0
            && self.blocked.is_none()
            && window.is_settled_whole()
            && window.owes_nothing();
        let (now, (written, answered)) = (Instant::now(), self.pings);
        match self.quiet.step(now, is_idle, written, answered) {
            Step::Wait => Ok(false),
            Step::Over => Ok(true),
            Step::Ask => {
                self.ping(core, now);
                if self.flush(cx)? {
                    self.protocol.sent(now);
                }
                Ok(false)
            }
        }
    }

    /// It waits no longer for what is in flight: the next connection recognises it.
    fn is_late(&self) -> bool {
        self.retires_at.is_some_and(|at| at <= Instant::now())
    }

    fn owes_nothing(&self, core: &Core) -> bool {
        core.intake.window.is_settled_whole()
            && core.intake.window.owes_nothing()
            && self.channel.is_flushed()
    }

    /// Until something can be read or written, mail comes, or the clock calls.
    fn wait(&mut self, core: &Core, reading: Reading, cx: &mut TaskContext<'_>) -> Poll<End> {
        let mut deadline = self.protocol.deadline(reading, &core.session);
        if reading == Reading::Nothing {
            deadline = deadline.min(self.end_looked_for_at + LOOK_FOR_END_EVERY);
        }
        if self.sign_asked_at.is_some() {
            deadline = deadline.min(Instant::now() + LOOK_FOR_SIGN_EVERY);
        }
        if let (Some(full_since), Some(_)) = (core.intake.full_since, &self.blocked)
            && self.may_read_ahead()
            && reading == Reading::Nothing
            && !self.is_ending(core)
        {
            deadline = deadline.min(full_since + READ_AHEAD_AFTER);
        }
        // While draining nothing is taken in, so nothing is shed; that deadline would be long past.
        if !self.is_ending(core)
            && let Some(shed_at) =
                self.blocked.as_ref().and_then(|waiting| core.intake.shed_at(waiting))
        {
            deadline = deadline.min(shed_at);
        }
        deadline = self.quiet.deadline().map_or(deadline, |at| deadline.min(at));
        deadline = self.retires_at.map_or(deadline, |at| deadline.min(at));
        let armed = self.timer.deadline().into_std();
        // A timer that fires early is cheaper than resetting it at every read.
        if self.timer.is_elapsed() || deadline < armed {
            self.timer.as_mut().reset(deadline.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Takes in the QoS 0 messages that were read and not taken in: no broker sends them again. QoS 1
    /// messages are left, since the broker sends those again. A QoS 0 message behind one of them in the
    /// same MQTT topic is shed: it must not overtake.
    pub(super) fn take_unread_qos0(&mut self, core: &mut Core) {
        let _ = self.take_qos0(core, &mut HashSet::new());
    }

    /// The same; `left` are the MQTT topics of the messages that were left.
    fn take_qos0(&mut self, core: &mut Core, left: &mut HashSet<Bytes>) -> Result<(), Lost> {
        let mut events = Vec::new();
        let mut next = self.blocked.take();
        loop {
            if let Some(publish) = next {
                if publish.qos == Qos::AtLeastOnce {
                    // A copy: a piece of what was read would keep all of it.
                    left.insert(Bytes::copy_from_slice(&publish.mqtt_topic));
                } else if core.draining
                    || left.contains(&publish.mqtt_topic)
                    || core.receive(publish, self.read_at, &mut self.passed).is_some()
                {
                    core.intake.shed_qos0();
                }
            }
            next = self.next_publish(core, &mut events)?;
            if next.is_none() {
                return Ok(());
            }
        }
    }

    /// Sends DISCONNECT with the reason, as far as that gets at once.
    pub(super) fn disconnect(&mut self, reason: u8, cx: &mut TaskContext<'_>) {
        packet::encode_disconnect(self.protocol.version(), reason, self.channel.out());
        let _ = self.channel.poll_flush(cx);
    }

    /// Sends DISCONNECT, which ends the session too if it is `for_good` and the version knows such a
    /// thing, and begins to wait for the broker to close.
    fn close(&mut self, core: &mut Core, for_good: bool) {
        let mut left = HashSet::new();
        let is_readable = self.take_qos0(core, &mut left).is_ok();
        self.protocol.say_farewell(&core.session.status, self.channel.out());
        match self.protocol.version() {
            Version::V5 if for_good => packet::encode_disconnect_for_good(self.channel.out()),
            version => packet::encode_disconnect(version, 0, self.channel.out()),
        }
        let soon = Instant::now() + CLOSE_WITHIN;
        let end = self.retires_at.map_or(soon, |at| at.max(soon));
        self.closing = Some(Closing { end: Box::pin(sleep_until(end.into())), is_readable, left });
    }

    /// A broker that has read DISCONNECT has read the acknowledgements before it, and closes.
    fn poll_closed(&mut self, core: &mut Core, cx: &mut TaskContext<'_>) -> Poll<End> {
        let Some(mut closing) = self.closing.take() else { return Poll::Ready(End::Closed) };
        // A drain that has begun meanwhile does not wait for so long.
        let soon = Instant::now() + CLOSE_WITHIN;
        if core.draining && closing.end.deadline().into_std() > soon {
            closing.end.as_mut().reset(soon.into());
        }
        // The clock first: a broker that goes on sending must not keep us here.
        let is_late = closing.end.as_mut().poll(cx).is_ready();
        self.closing = Some(closing);
        if !is_late && self.poll_end(core, cx).is_pending() {
            return Poll::Pending;
        }
        self.channel.shut_down(cx);
        Poll::Ready(End::Closed)
    }

    /// Writes what is left and reads to the broker's end; what comes at QoS 0 is taken in.
    fn poll_end(&mut self, core: &mut Core, cx: &mut TaskContext<'_>) -> Poll<()> {
        for _ in 0..READS_PER_TURN {
            if self.closing.as_ref().is_none_or(|closing| !closing.is_readable) {
                return self.channel.poll_close(cx).map(|_| ());
            }
            if let Poll::Ready(Err(_)) = self.channel.poll_flush(cx) {
                return Poll::Ready(());
            }
            match ready!(self.channel.poll_read(cx, self.frames.space())) {
                Ok(1..) => self.read_at = Stamp::now(),
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
            let Some(closing) = &mut self.closing else { continue };
            let mut left = std::mem::take(&mut closing.left);
            let is_readable = self.take_qos0(core, &mut left).is_ok();
            core.forward_rest();
            if let Some(closing) = &mut self.closing {
                (closing.is_readable, closing.left) = (is_readable, left);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Reads one packet. A packet that makes the reader panic costs the connection, not the actor.
fn decode(version: Version, frame: &RawFrame) -> Result<Incoming, Lost> {
    match panics::catch(|| packet::decode(version, frame)) {
        Ok(read) => Ok(read?),
        Err(panic) => Err(Lost::malformed(panic.message)),
    }
}
