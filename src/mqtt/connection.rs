//! The socket of one connection. Poll functions only: whoever calls them decides the order.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Connects to the first address of `host` that answers, each within `per_address`.
///
/// # Errors
/// What went wrong with each address, in one line.
pub async fn connect(host: &str, port: u16, per_address: Duration) -> Result<TcpStream, String> {
    let addresses = match timeout(per_address, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("cannot resolve {host}: {error}")),
        Err(_) => return Err(format!("cannot resolve {host} within {per_address:?}")),
    };
    let mut failures = Vec::new();
    for address in addresses {
        match timeout(per_address, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Acknowledgements leave in batches of our making; Nagle would only delay them.
                return stream.set_nodelay(true).map(|()| stream).map_err(|e| e.to_string());
            }
            Ok(Err(error)) => failures.push(format!("{address}: {error}")),
            Err(_) => failures.push(format!("{address}: no answer within {per_address:?}")),
        }
    }
    if failures.is_empty() {
        return Err(format!("{host} has no address"));
    }
    Err(failures.join("; "))
}

/// A connected socket and what is to be written to it.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    out: BytesMut,
}

impl Connection {
    /// With nothing written yet.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, out: BytesMut::new() }
    }

    /// Where packets to send are appended.
    pub fn out(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// Whether all that was appended has been given to the socket.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Bytes that wait for the socket.
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Writes what is to be written, as far as the socket takes it; returns how much it took.
    /// `Pending` when some is left, with a wake-up for when the socket takes more.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut written = 0;
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => {
                    self.out.advance(count);
                    written += count;
                }
            }
        }
        Poll::Ready(Ok(written))
    }

    /// Reads once into the spare room of `space`; 0 is the peer's end of stream.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        space: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        let mut read = ReadBuf::uninit(space.spare_capacity_mut());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        let count = read.filled().len();
        // SAFETY: `ReadBuf` guarantees that its first `count` bytes, which are the spare bytes
        // directly behind the present length, have been initialised.
        unsafe { space.set_len(space.len() + count) };
        Poll::Ready(Ok(count))
    }

    /// Writes what is left, says that nothing more will come, and reads the peer's stream to its
    /// end without looking at it: closing with unread bytes would send a reset, which may cost the
    /// acknowledgements just written.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        let mut discarded = [0; 4096];
        loop {
            let mut read = ReadBuf::new(&mut discarded);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
