//! TLS above another transport, by OpenSSL (docs/decisions/0019-openssl.md).
//!
//! OpenSSL reads from memory and writes to memory; only the functions here read and write below. So no
//! call of OpenSSL ever waits, and many records come with one read of the socket.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use openssl::ssl::Ssl;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_openssl::SslStream;
use tokio_util::io::poll_read_buf;

use crate::certificate::Certificate;
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::tls_failure::{Handshake, TlsPeer};
use crate::mqtt::transport::{Transport, poll_write_all};

/// What is read below at a time.
const READ_BYTES: usize = 64 * 1024;
/// Records for this many bytes are kept back, and those of one more write.
const KEPT_MAX: usize = 64 * 1024;
/// This many of the first bytes tell that a peer does not speak TLS.
const FIRST_BYTES: usize = 5;
/// After a failed write, an alert is looked for in so many bytes.
const LAST_BYTES_MAX: usize = 256 * 1024;

/// See the module.
pub struct Tls {
    stream: SslStream<Wire>,
    below: Box<dyn Transport>,
    peer: TlsPeer,
    /// The peer sent its end, or what cannot be read.
    end: Option<Result<(), Lost>>,
    /// A write failed, and what the peer said before that is looked for.
    write_error: Option<io::Error>,
    is_shut: bool,
    /// OpenSSL's, when it last waited for the peer's handshake.
    state: &'static str,
}

impl Tls {
    /// Shakes hands over `below`, as `ssl` was prepared for `peer`.
    ///
    /// # Errors
    /// Why there is no TLS: the reason, and what to do.
    pub async fn connect(below: Box<dyn Transport>, ssl: Ssl, peer: TlsPeer) -> Result<Self, Lost> {
        let stream = SslStream::new(ssl, Wire::default())
            .map_err(|error| Lost::new(lost::TLS_FAILED, error.to_string()))?;
        let mut tls =
            Self { stream, below, peer, end: None, write_error: None, is_shut: false, state: "" };
        poll_fn(|cx| tls.poll_handshake(cx)).await?;
        Ok(tls)
    }

    /// The certificates that the peer has shown, its own first.
    pub(super) fn chain(&self) -> Vec<Certificate> {
        let chain = self.stream.ssl().peer_cert_chain();
        chain.into_iter().flatten().map(Certificate::of).collect()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        loop {
            match Pin::new(&mut self.stream).poll_connect(cx) {
                Poll::Ready(Ok(())) => {
                    let flushed = ready!(self.poll_flush(cx));
                    return Poll::Ready(flushed.map_err(|error| self.not_shaken(Err(error))));
                }
                Poll::Ready(Err(error)) => {
                    // Our alert, for the broker's log; as far as it gets.
                    let _ = self.poll_flush(cx);
                    return Poll::Ready(Err(self.not_shaken(Ok(error))));
                }
                Poll::Pending => {
                    self.state = self.stream.ssl().state_string_long();
                    let exchanged = ready!(self.poll_exchange(cx));
                    if let Err(error) = exchanged {
                        return Poll::Ready(Err(self.not_shaken(Err(error))));
                    }
                }
            }
        }
    }

    /// Why the handshake failed: OpenSSL's word, or that of the transport below.
    fn not_shaken(&self, error: Result<openssl::ssl::Error, io::Error>) -> Lost {
        self.peer.handshake_failed(&Handshake {
            error,
            first_bytes: &self.stream.get_ref().first_bytes,
            state: self.state,
        })
    }

    /// Gives what OpenSSL has written to the transport below, and reads once there.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        ready!(self.below.poll_flush(cx))?;
        self.poll_fill(cx)
    }

    /// Gives what OpenSSL has written to the transport below.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_write_all(&mut *self.below, &mut self.stream.get_mut().outgoing, cx)
    }

    /// Reads once below, for OpenSSL.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.stream.get_mut();
        wire.incoming.reserve(READ_BYTES);
        let count = ready!(self.below.poll_read(cx, &mut wire.incoming))?;
        wire.is_at_end = count == 0;
        if wire.first_bytes.len() < FIRST_BYTES {
            let missing = FIRST_BYTES - wire.first_bytes.len();
            wire.first_bytes.extend(wire.incoming.iter().take(missing));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads all that is there, as far as there is room; how many bytes that was.
    fn decrypt(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> usize {
        let before = space.len();
        while self.end.is_none() && space.len() < space.capacity() {
            match poll_read_buf(Pin::new(&mut self.stream), cx, space) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.end = Some(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => self.end = Some(Err(self.peer.read_failed(error))),
            }
        }
        space.len() - before
    }

    /// A broker that refuses our certificate says so, over TLS 1.3, behind the handshake, and closes;
    /// the write that fails comes first then. What the broker said may not have been seen yet, or is; after
    /// that comes the end. Nothing is handed on any more, since what is read here is not.
    fn poll_write_failed(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Error> {
        let mut last = BytesMut::with_capacity(LAST_BYTES_MAX);
        loop {
            self.decrypt(cx, &mut last);
            match &self.end {
                Some(Err(lost)) => return Poll::Ready(lost.clone().into()),
                Some(Ok(())) => return Poll::Ready(error),
                None if last.len() == last.capacity() => break,
                None => match self.poll_fill(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => break,
                    Poll::Pending => {
                        self.write_error = Some(error);
                        return Poll::Pending;
                    }
                },
            }
        }
        // What was read here is gone, and nothing may be read behind it.
        self.end = Some(Err(Lost::new(lost::WRITE_FAILED, error.to_string())));
        Poll::Ready(error)
    }

    /// `attempt`, if no write has failed before it.
    fn poll_checked<T>(
        &mut self,
        cx: &mut Context<'_>,
        attempt: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let error = match self.write_error.take() {
            Some(error) => error,
            None => match ready!(attempt(self, cx)) {
                Ok(done) => return Poll::Ready(Ok(done)),
                Err(error) => error,
            },
        };
        Poll::Ready(Err(ready!(self.poll_write_failed(cx, error))))
    }

    fn try_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.stream.get_ref().outgoing.len() >= KEPT_MAX {
            ready!(self.poll_send(cx))?;
        }
        loop {
            match Pin::new(&mut self.stream).poll_write(cx, bytes) {
                // In the middle of a message of the handshake, a session ticket for instance: OpenSSL
                // reads the rest of it first.
                Poll::Pending => ready!(self.poll_exchange(cx))?,
                Poll::Ready(Ok(count)) => return Poll::Ready(Ok(count)),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.peer.read_failed(error).into()));
                }
            }
        }
    }

    fn try_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.below.poll_flush(cx)
    }
}

impl Transport for Tls {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_checked(cx, |tls, cx| tls.try_write(cx, bytes))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_checked(cx, Self::try_flush)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<usize>> {
        if let Some(error) = self.write_error.take() {
            return Poll::Ready(Err(ready!(self.poll_write_failed(cx, error))));
        }
        if space.len() == space.capacity() {
            space.reserve(1);
        }
        loop {
            let count = self.decrypt(cx, space);
            // A read may have to write: the answer to a key update. Failing, it is the writer's to tell.
            let sent = self.poll_send(cx);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            match &self.end {
                Some(Ok(())) => return Poll::Ready(Ok(0)),
                Some(Err(lost)) => return Poll::Ready(Err(lost.clone().into())),
                // A peer that does not read our answers gets no more of them.
                None if self.stream.get_ref().outgoing.len() >= KEPT_MAX => ready!(sent)?,
                None => {}
            }
            ready!(self.poll_fill(cx))?;
        }
    }

    fn unsent(&self) -> usize {
        self.stream.get_ref().outgoing.len() + self.below.unsent()
    }

    fn ended(&mut self) -> Option<io::Result<()>> {
        match &self.end {
            Some(end) => Some(end.clone().map_err(io::Error::from)),
            None => self.below.ended(),
        }
    }

    fn is_confirmed(&self) -> Option<bool> {
        if self.unsent() > 0 { Some(false) } else { self.below.is_confirmed() }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.is_shut, true) {
            // close_notify. After an error there is nothing to close in order.
            let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        }
        ready!(self.poll_flush(cx))?;
        self.below.poll_shutdown(cx)
    }
}

/// What OpenSSL reads from and writes to.
#[derive(Default)]
struct Wire {
    /// Read below, at most `READ_BYTES`.
    incoming: BytesMut,
    /// To be written below.
    outgoing: BytesMut,
    /// The transport below is at its end.
    is_at_end: bool,
    /// The first bytes that ever came.
    first_bytes: Vec<u8>,
}

/// `Pending` without a wake-up: whoever calls OpenSSL waits for the transport below.
impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.incoming.len().min(space.remaining());
        space.put_slice(&self.incoming[..count]);
        self.incoming.advance(count);
        if count > 0 || self.is_at_end { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

/// Takes everything: how much that is, is bounded by those who call OpenSSL.
impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
