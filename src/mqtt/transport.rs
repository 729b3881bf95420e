//! What carries the bytes of one connection: TCP ([`crate::mqtt::tcp`]) or a Unix socket
//! ([`crate::mqtt::unix`]), above it perhaps TLS ([`crate::mqtt::tls`]), above that perhaps WebSocket
//! ([`crate::mqtt::websocket`]).

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};

/// A connected byte stream in both directions. Poll functions only: whoever calls them decides the order.
///
/// What every implementation promises:
///
/// - **Wake-ups.** A function that returns `Pending` wakes the task when it may get further, whatever it
///   waits for. A read may have to write below (a WebSocket's pong, a TLS key update) and a write may
///   have to read: the implementation does that itself, inside whichever function was called. So a write
///   never waits for the caller to read, nor a read for the caller to write. What it reads on behalf of
///   a write it keeps for [`Transport::poll_read`], up to a bound of its own.
/// - **A real flush.** A write may only accept bytes and keep them back (a TLS record, a WebSocket
///   frame). Until [`Transport::poll_flush`] is `Ready`, accepted bytes may not have reached the kernel;
///   then all of them have. [`Transport::unsent`] counts what is kept back.
/// - **The end is seen while nothing is read.** [`Transport::ended`] tells that the peer has closed or
///   reset the connection even if its last bytes have not been read.
/// - **An order of ending.** [`Transport::poll_shutdown`] says that nothing more will come (a TLS
///   close_notify, a WebSocket close frame, a FIN), behind all that was accepted.
/// - **Its own bounds.** What it keeps, in either direction, has a bound.
pub trait Transport: Send {
    /// Accepts bytes from the beginning of `bytes`, at least one, and returns how many. `Pending` while
    /// it has no room.
    ///
    /// # Errors
    /// The connection cannot be written any more.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Gives all accepted bytes to the kernel; `Ready` when none is kept back.
    ///
    /// # Errors
    /// The connection cannot be written any more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads once into the spare room of `space`; 0 is the peer's end of stream.
    ///
    /// # Errors
    /// The connection cannot be read any more.
    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<usize>>;

    /// Bytes that were accepted and are kept back, at least one if there are any.
    fn unsent(&self) -> usize;

    /// Whether the peer has ended the connection, in order or by an error, even behind bytes that were
    /// not read. Does not wait, and registers no wake-up.
    fn ended(&mut self) -> Option<io::Result<()>>;

    /// Whether the peer's kernel has confirmed everything that was accepted. `None` where that cannot be
    /// known.
    fn is_confirmed(&self) -> Option<bool>;

    /// Gives all accepted bytes to the kernel, and says that nothing more will come.
    ///
    /// # Errors
    /// The connection cannot be written any more.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Writes all of `bytes` to `below`, for a transport above it that keeps bytes back.
///
/// # Errors
/// The transport's.
pub(super) fn poll_write_all(
    below: &mut dyn Transport,
    bytes: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        match ready!(below.poll_write(cx, bytes))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => bytes.advance(count),
        }
    }
    Poll::Ready(Ok(()))
}
