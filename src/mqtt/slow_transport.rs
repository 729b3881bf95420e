//! For tests: a transport as unhelpful as the contract allows. It keeps accepted bytes back until it is
//! flushed, splits what it carries in both directions, delays it, reads where it should write and
//! writes where it should read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::time::{Sleep, sleep};

use super::transport::Transport;

/// Most bytes that it keeps in one direction.
const KEPT_MAX: usize = 16 * 1024;
/// Every other time it carries at most this many bytes, so that packets are split.
const PIECE_MAX: usize = 16;
const DELAY: Duration = Duration::from_millis(1);
/// One in so many pieces is delayed.
const DELAYED: u32 = 8;

/// See the module.
pub(super) struct SlowTransport {
    below: Box<dyn Transport>,
    random: fastrand::Rng,
    /// Accepted, and not written below.
    outgoing: Direction,
    /// Read below, and not handed out.
    incoming: Direction,
    /// The stream below is at its end.
    is_at_end: bool,
}

/// What is on its way in one direction.
struct Direction {
    kept: BytesMut,
    delay: Option<Pin<Box<Sleep>>>,
}

impl Direction {
    fn new() -> Self {
        Self { kept: BytesMut::new(), delay: None }
    }

    /// Whether the next piece may go, and how many bytes it has at most.
    fn poll_piece(&mut self, random: &mut fastrand::Rng, cx: &mut Context<'_>) -> Poll<usize> {
        if let Some(delay) = &mut self.delay {
            ready!(delay.as_mut().poll(cx));
            self.delay = None;
        } else if random.u32(..DELAYED) == 0 {
            let mut delay = Box::pin(sleep(DELAY));
            // Nothing has waited yet: it is pending, and wakes the task.
            if delay.as_mut().poll(cx).is_pending() {
                self.delay = Some(delay);
                return Poll::Pending;
            }
        }
        Poll::Ready(piece(random))
    }
}

fn piece(random: &mut fastrand::Rng) -> usize {
    let most = if random.bool() { PIECE_MAX } else { KEPT_MAX };
    random.usize(1..=most)
}

impl SlowTransport {
    /// Through this one.
    pub(super) fn new(below: Box<dyn Transport>) -> Self {
        Self {
            below,
            random: fastrand::Rng::with_seed(14),
            outgoing: Direction::new(),
            incoming: Direction::new(),
            is_at_end: false,
        }
    }

    /// Reads below, as far as there is room.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_at_end && self.incoming.kept.len() < KEPT_MAX {
            let room = KEPT_MAX - self.incoming.kept.len();
            let mut piece = BytesMut::with_capacity(room);
            self.is_at_end = ready!(self.below.poll_read(cx, &mut piece))? == 0;
            self.incoming.kept.extend_from_slice(&piece);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes one piece below.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let piece = ready!(self.outgoing.poll_piece(&mut self.random, cx));
        let piece = piece.min(self.outgoing.kept.len());
        let count = ready!(self.below.poll_write(cx, &self.outgoing.kept[..piece]))?;
        self.outgoing.kept.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl Transport for SlowTransport {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Only a flush gets anything out, unless there is no room.
        while self.outgoing.kept.len() >= KEPT_MAX {
            ready!(self.drain(cx))?;
        }
        let room = KEPT_MAX - self.outgoing.kept.len();
        let count = piece(&mut self.random).min(room).min(bytes.len());
        self.outgoing.kept.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An error in reading is the reader's.
        let _ = self.fill(cx);
        while !self.outgoing.kept.is_empty() {
            ready!(self.drain(cx))?;
        }
        self.below.poll_flush(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.incoming.kept.is_empty() {
            let filled = self.fill(cx);
            if self.incoming.kept.is_empty() {
                ready!(filled)?;
                return Poll::Ready(Ok(0));
            }
        }
        let piece = ready!(self.incoming.poll_piece(&mut self.random, cx));
        let room = space.capacity() - space.len();
        let piece = piece.min(self.incoming.kept.len()).min(room.max(1));
        space.extend_from_slice(&self.incoming.kept.split_to(piece));
        Poll::Ready(Ok(piece))
    }

    fn unsent(&self) -> usize {
        self.outgoing.kept.len() + self.below.unsent()
    }

    fn ended(&mut self) -> Option<io::Result<()>> {
        self.below.ended()
    }

    fn is_confirmed(&self) -> Option<bool> {
        self.below.is_confirmed().map(|confirmed| confirmed && self.unsent() == 0)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        self.below.poll_shutdown(cx)
    }
}
