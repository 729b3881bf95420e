//! A connection in use: the one function that orders what goes in and out, and what it calls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, sleep_until};

use crate::failpoint::{self, Site};
use crate::message::{Qos, Stamp};
use crate::mqtt::actor::Core;
use crate::mqtt::connection::Connection;
use crate::mqtt::frame::{Frame, FrameReader, RawFrame, bound_payload};
use crate::mqtt::packet::{self, Incoming, Version};
use crate::mqtt::publish::Publish;
use crate::mqtt::session::{Lost, Note, Session};
use crate::observe::panics;

/// After so many reads in one turn the mailbox gets its turn.
const READS_PER_TURN: usize = 16;
/// While so much waits for the socket nothing more is read: the broker does not read either.
const UNSENT_MAX_BYTES: usize = 64 * 1024;
/// How long a broker may take to close its side after DISCONNECT.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The reason of a connection that the broker ended without a word.
pub(super) const CLOSED: &str = "closed_by_broker";
/// The same by a reset, or a broken network.
pub(super) const READ_FAILED: &str = "read_failed";

/// A connection in use.
pub(super) struct Open {
    connection: Connection,
    pub(super) session: Session,
    frames: FrameReader,
    /// A message that waits for room in the window; reading waits with it.
    blocked: Option<Publish>,
    read_at: Stamp,
    pub(super) opened_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// DISCONNECT is said: until the broker closes its side, or the time for that is up.
    closing: Option<Pin<Box<Sleep>>>,
}

/// How the use of a connection ended.
pub(super) enum End {
    Lost(Lost),
    Drained,
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl Open {
    pub(super) fn new(stream: TcpStream, core: &mut Core) -> Self {
        let now = Instant::now();
        let mut connection = Connection::new(stream);
        let version = core.memory.version(core.settings.mqtt.protocol);
        core.memory.connecting();
        let session = Session::open(Arc::clone(&core.settings), version, now, connection.out());
        Self {
            connection,
            session,
            frames: FrameReader::new(version, core.max_payload),
            blocked: None,
            read_at: Stamp::now(),
            opened_at: now,
            timer: Box::pin(sleep_until(now.into())),
            closing: None,
        }
    }

    /// Takes in, hands on, writes, reads; again and again until there is nothing to do.
    pub(super) fn pump(&mut self, core: &mut Core, cx: &mut TaskContext<'_>) -> Poll<End> {
        if self.closing.is_some() {
            return self.poll_closed(cx);
        }
        let mut notes = Vec::new();
        for _ in 0..READS_PER_TURN {
            if !core.draining
                && let Err(lost) = self.take_in(core, &mut notes)
            {
                return Poll::Ready(lost.into());
            }
            core.forward();
            if let Err(lost) = self.write(core, &mut notes, cx) {
                return Poll::Ready(lost.into());
            }
            if core.draining && self.owes_nothing(core) {
                self.close(core);
                return self.poll_closed(cx);
            }
            if !self.is_reading(core) {
                // What was just acknowledged may have made room for what waits.
                match &self.blocked {
                    Some(publish)
                        if !core.draining
                            && core.window.has_room(publish.qos, publish.window_bytes()) =>
                    {
                        continue;
                    }
                    _ => return self.wait(core, cx),
                }
            }
            match self.connection.poll_read(cx, self.frames.space()) {
                Poll::Pending => return self.wait(core, cx),
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Lost::new(CLOSED, "end of stream").into());
                }
                Poll::Ready(Ok(_)) => {
                    self.read_at = Stamp::now();
                    self.session.received(self.read_at.instant);
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Lost::new(READ_FAILED, error.to_string()).into());
                }
            }
        }
        // The mailbox first, then on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Everything that has been read, up to the first message that the window has no room for.
    fn take_in(&mut self, core: &mut Core, notes: &mut Vec<Note>) -> Result<(), Lost> {
        if let Some(publish) = self.blocked.take() {
            self.blocked = core.admit(publish, self.read_at);
        }
        let mut any = false;
        while self.blocked.is_none() {
            let Some(publish) = self.next_publish(core, notes)? else { break };
            if !std::mem::replace(&mut any, true) {
                failpoint::hit(Site::MqttRead);
            }
            self.blocked = core.admit(publish, self.read_at);
        }
        Ok(())
    }

    /// The next message among what has been read; other packets are dealt with on the way.
    fn next_publish(
        &mut self,
        core: &mut Core,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Publish>, Lost> {
        loop {
            let frame = self.frames.next_frame().map_err(|e| Lost::malformed(e.to_string()))?;
            let incoming = match frame {
                None => return Ok(None),
                Some(Frame::Oversize(publish)) => Incoming::Publish(publish),
                Some(Frame::Whole(frame)) => decode(self.session.version(), &frame)?,
            };
            let now = self.read_at.instant;
            let out = self.connection.out();
            let publish = self.session.on_packet(incoming, now, &mut core.memory, out, notes);
            // At once: what CONNACK says of the session decides what the next PUBLISH is.
            core.tell(notes);
            if let Some(publish) = publish? {
                return Ok(Some(bound_payload(publish, core.max_payload)));
            }
        }
    }

    /// What is due by the clock, then what is owed, in one write.
    fn write(
        &mut self,
        core: &mut Core,
        notes: &mut Vec<Note>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), Lost> {
        let reading = self.is_reading(core);
        let now = Instant::now();
        let subscriptions = &mut core.memory.subscriptions;
        self.session.on_time(now, reading, subscriptions, self.connection.out(), notes)?;
        core.tell(notes);
        let mut sent = self.flush(cx)?;
        // Only what can be begun to be written now is released: the rest stays known.
        if self.connection.is_flushed() {
            let out = self.connection.out();
            core.window.release(|ack| packet::encode_ack(ack, out));
            let acknowledged = core.window.take_acknowledged();
            if acknowledged.len() > 0 {
                core.metrics.record_acknowledged(acknowledged, now);
            }
            sent |= self.flush(cx)?;
        }
        if sent {
            self.session.sent(now);
        }
        Ok(())
    }

    /// Whether all was written, and there was something.
    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, Lost> {
        let flushed = self.connection.poll_flush(cx);
        let written = flushed.map_err(|e| Lost::new("write_failed", e.to_string()))?;
        Ok(matches!(written, Poll::Ready(1..)))
    }

    fn is_reading(&self, core: &Core) -> bool {
        self.blocked.is_none() && !core.draining && self.connection.unsent() < UNSENT_MAX_BYTES
    }

    fn owes_nothing(&self, core: &Core) -> bool {
        core.window.is_settled_whole() && core.window.owes_nothing() && self.connection.is_flushed()
    }

    /// Until something can be read or written, mail comes, or the clock calls.
    fn wait(&mut self, core: &Core, cx: &mut TaskContext<'_>) -> Poll<End> {
        let mut deadline = self.session.deadline(self.is_reading(core), &core.memory.subscriptions);
        // While draining nothing is taken in, so nothing is shed either: that moment would be long past.
        if let (Some(full_since), Some(patience)) = (core.full_since, core.qos0_shed_after)
            && !core.draining
            && self.blocked.as_ref().is_some_and(|publish| publish.qos == Qos::AtMostOnce)
        {
            deadline = deadline.min(full_since + patience);
        }
        let armed = self.timer.deadline().into_std();
        // A timer that fires early is cheaper than one that is set anew at every read.
        if self.timer.is_elapsed() || deadline < armed {
            self.timer.as_mut().reset(deadline.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Of what was read and not taken in, what is not sent again: QoS 0. The rest is left to the
    /// broker's memory.
    pub(super) fn salvage(&mut self, core: &mut Core) {
        let mut notes = Vec::new();
        let mut next = self.blocked.take();
        loop {
            if let Some(publish) = next.filter(|publish| publish.qos == Qos::AtMostOnce)
                && (core.draining || core.admit(publish, self.read_at).is_some())
            {
                core.shed();
            }
            next = match self.next_publish(core, &mut notes) {
                Ok(Some(publish)) => Some(publish),
                Ok(None) | Err(_) => return,
            };
        }
    }

    /// Says why the connection ends. Whether it still gets through does not matter.
    pub(super) fn say(&mut self, reason: u8, cx: &mut TaskContext<'_>) {
        packet::encode_disconnect(self.session.version(), reason, self.connection.out());
        let _ = self.connection.poll_flush(cx);
    }

    /// Says goodbye.
    fn close(&mut self, core: &mut Core) {
        self.salvage(core);
        packet::encode_disconnect(self.session.version(), 0, self.connection.out());
        self.closing = Some(Box::pin(sleep(CLOSE_WITHIN)));
    }

    fn poll_closed(&mut self, cx: &mut TaskContext<'_>) -> Poll<End> {
        // The clock first: a broker that goes on sending must not keep it from being looked at.
        let expired = self.closing.as_mut().is_none_or(|end| end.as_mut().poll(cx).is_ready());
        if !expired && self.connection.poll_close(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(End::Drained)
    }
}

/// Reads one packet. One that makes the reader panic costs the connection, not the actor.
fn decode(version: Version, frame: &RawFrame) -> Result<Incoming, Lost> {
    match panics::catch(|| packet::decode(version, frame)) {
        Ok(read) => Ok(read?),
        Err(panic) => Err(Lost::malformed(panic.message)),
    }
}
