//! The socket of one connection. Poll functions only: whoever calls them decides the order.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Probes of a silent connection until the kernel gives it up.
const KEEPALIVE_PROBES: u32 = 4;

/// Connects to the first address of `host` that answers, each within `per_address`. The kernel ends
/// the connection when the peer has answered nothing for `silence_max`.
///
/// # Errors
/// What went wrong with each address, in one line.
pub async fn connect(
    host: &str,
    port: u16,
    per_address: Duration,
    silence_max: Duration,
) -> Result<TcpStream, String> {
    let addresses = match timeout(per_address, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(format!("cannot resolve {host}: {error}")),
        Err(_) => return Err(format!("cannot resolve {host} within {per_address:?}")),
    };
    let connected = connect_to_any(addresses, per_address).await;
    let stream = connected.map_err(|failures| match failures.is_empty() {
        true => format!("{host} has no address"),
        false => failures.join("; "),
    })?;
    bound_silence(&stream, silence_max).map_err(|error| format!("{host}: {error}"))?;
    Ok(stream)
}

/// A peer that vanished sends neither an end nor a reset; while nothing is read, the kernel alone
/// can notice.
fn bound_silence(stream: &TcpStream, silence_max: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // Half of the time in silence, the other half for the probes; the kernel counts whole seconds.
    let second = Duration::from_secs(1);
    let keepalive = TcpKeepalive::new()
        .with_time((silence_max / 2).max(second))
        .with_interval((silence_max / 2 / KEEPALIVE_PROBES).max(second))
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    // What was sent and is not acknowledged keeps the probes from being sent.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(silence_max))?;
    Ok(())
}

/// The first that answers, or what went wrong with each.
async fn connect_to_any(
    addresses: impl Iterator<Item = SocketAddr>,
    per_address: Duration,
) -> Result<TcpStream, Vec<String>> {
    let mut failures = Vec::new();
    for address in addresses {
        match timeout(per_address, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Acknowledgements leave in batches of our making; Nagle would only delay them.
                match stream.set_nodelay(true) {
                    Ok(()) => return Ok(stream),
                    Err(error) => failures.push(format!("{address}: {error}")),
                }
            }
            Ok(Err(error)) => failures.push(format!("{address}: {error}")),
            Err(_) => failures.push(format!("{address}: no answer within {per_address:?}")),
        }
    }
    Err(failures)
}

/// A connected socket and what is to be written to it.
#[derive(Debug)]
pub struct Transport {
    stream: TcpStream,
    out: BytesMut,
}

impl Transport {
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

    /// Whether the connection is at its end, be that behind bytes that nobody has read: in order, or
    /// by an error. Asks the kernel.
    pub fn ended(&self) -> Option<io::Result<()>> {
        #[cfg(target_os = "linux")]
        let events = libc::POLLRDHUP;
        #[cfg(not(target_os = "linux"))]
        let events = 0;
        let mut polled = libc::pollfd { fd: self.stream.as_raw_fd(), events, revents: 0 };
        // SAFETY: it writes one `pollfd`, and this is one; it does not wait.
        let found = unsafe { libc::poll(&raw mut polled, 1, 0) };
        let ends = events | libc::POLLHUP | libc::POLLERR;
        (found == 1 && polled.revents & ends != 0).then(|| match self.stream.take_error() {
            Ok(Some(error)) => Err(error),
            _ => Ok(()),
        })
    }

    /// Whether the peer's kernel has confirmed all that was ever given to the socket. A system that
    /// cannot tell is believed to have.
    pub fn is_confirmed(&self) -> bool {
        let mut unconfirmed: libc::c_int = 0;
        // SAFETY: this request writes one int, and this is one.
        let told =
            unsafe { libc::ioctl(self.stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unconfirmed) };
        self.is_flushed() && (told != 0 || unconfirmed == 0)
    }

    /// Says that nothing more will come.
    pub fn shut_down(&mut self) {
        // It may be gone already.
        let _ = SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }

    /// Writes what is left, and reads the peer's stream to its end without looking at it: closing
    /// with unread bytes would send a reset, which may cost the acknowledgements just written.
    /// Nor does it say that nothing more will come: some brokers then throw away what they have
    /// received and not looked at yet. A broker closes when it reads DISCONNECT.
    ///
    /// # Errors
    /// The socket's.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush(cx))?;
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[actix_rt::test]
    async fn the_first_address_that_answers_is_taken_and_every_failure_is_told() {
        let within = Duration::from_secs(5);
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let closed = free.local_addr().expect("bound");
        drop(free);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let open = listener.local_addr().expect("bound");

        let stream = connect_to_any([closed, open].into_iter(), within).await.expect("the second");
        assert_eq!(stream.peer_addr().expect("connected"), open);

        let failures = connect_to_any([closed, closed].into_iter(), within).await;
        let failures = failures.expect_err("nobody listens");
        assert_eq!(failures.len(), 2);
        assert!(failures[0].starts_with(&closed.to_string()), "{failures:?}");
    }

    #[actix_rt::test]
    async fn the_kernel_gives_up_a_peer_that_is_silent_for_too_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (within, silence_max) = (Duration::from_secs(5), Duration::from_secs(45));
        let stream = connect("127.0.0.1", port, within, silence_max).await.expect("it listens");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        let probes = socket.tcp_keepalive_interval().expect("an option") * KEEPALIVE_PROBES;
        let noticed = socket.tcp_keepalive_time().expect("an option") + probes;
        assert!(noticed <= silence_max, "{noticed:?}");
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(silence_max));
    }

    #[actix_rt::test]
    async fn a_host_that_does_not_exist_is_named() {
        let error =
            connect("no-such-host.invalid", 1883, Duration::from_secs(5), Duration::from_secs(5))
                .await;
        let error = error.expect_err("reserved never to exist (RFC 6761)");
        assert!(error.contains("cannot resolve no-such-host.invalid"), "{error}");
    }
}
