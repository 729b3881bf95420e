//! A transport together with what is to be written to it.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};

use crate::mqtt::transport::Transport;

/// What is read at a time when nobody looks at it.
const DISCARD_BYTES: usize = 4096;

/// See the module.
pub(super) struct Channel {
    transport: Box<dyn Transport>,
    out: BytesMut,
    /// The transport has accepted bytes since its last complete flush.
    is_unflushed: bool,
    /// Bytes accepted since everything was flushed last.
    accepted: usize,
}

impl Channel {
    /// With nothing written yet.
    pub(super) fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport, out: BytesMut::new(), is_unflushed: false, accepted: 0 }
    }

    /// Where packets to send are appended.
    pub(super) fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Whether all that was appended is with the kernel.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty() && !self.is_unflushed
    }

    /// Bytes that are not with the kernel.
    pub(super) fn unsent(&self) -> usize {
        self.out.len() + self.transport.unsent()
    }

    /// Writes and flushes what was appended, as far as it gets. `Ready` when all is with the kernel, with
    /// the number of bytes since that was so last; else `Pending`, with a wake-up for when it gets
    /// further.
    ///
    /// # Errors
    /// The transport's.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while !self.out.is_empty() {
            match ready!(self.transport.poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => {
                    self.out.advance(count);
                    self.accepted += count;
                    self.is_unflushed = true;
                }
            }
        }
        if self.is_unflushed {
            ready!(self.transport.poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(std::mem::take(&mut self.accepted)))
    }

    /// For while nothing is read: has the transport answer what asks for an answer (a WebSocket's ping, a
    /// TLS key update) and write what it keeps back. Wakes the task when there is more of it.
    ///
    /// # Errors
    /// The transport's.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush(cx)
    }

    /// Reads once into the spare room of `space`; 0 is the peer's end of stream.
    ///
    /// # Errors
    /// The transport's.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        self.transport.poll_read(cx, space)
    }

    /// [`Transport::ended`]
    pub(super) fn ended(&mut self) -> Option<io::Result<()>> {
        self.transport.ended()
    }

    /// Whether the peer's kernel has confirmed all that was ever appended; `None` where that cannot be
    /// known.
    pub(super) fn is_confirmed(&self) -> Option<bool> {
        if self.is_flushed() { self.transport.is_confirmed() } else { Some(false) }
    }

    /// Says that nothing more will come, as far as that gets at once.
    pub(super) fn shut_down(&mut self, cx: &mut Context<'_>) {
        // The connection may be gone already.
        let _ = self.transport.poll_shutdown(cx);
    }

    /// Writes what is left, and reads the peer's stream to its end without looking at it: closing
    /// with unread bytes would send a reset, which may cost the acknowledgements just written.
    /// Nor does it say that nothing more will come: some brokers then throw away what they have
    /// received and not looked at yet. A broker closes when it reads DISCONNECT.
    ///
    /// # Errors
    /// The transport's.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        let mut discarded = BytesMut::with_capacity(DISCARD_BYTES);
        while ready!(self.transport.poll_read(cx, &mut discarded))? > 0 {
            discarded.clear();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
