//! TCP: connecting, and the socket as a [`Transport`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

use crate::mqtt::socket::has_ended;
use crate::mqtt::transport::Transport;
use crate::mqtt::unconfirmed::{Unconfirmed, unconfirmed};
use crate::reach;

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
    let addresses = reach::resolve(host, port, per_address).await?;
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

/// A connected TCP socket. It keeps nothing back: what a write accepts is with the kernel.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    /// The kernel knew it, under its addresses, when it was new: not so where something below translates
    /// them.
    is_known: bool,
    /// The peer is a proxy: what its kernel has confirmed says nothing about the broker.
    is_proxied: bool,
}

impl Tcp {
    /// Over this stream.
    pub fn new(stream: TcpStream) -> Self {
        let mut tcp = Self { stream, is_known: false, is_proxied: false };
        tcp.is_known = matches!(tcp.unconfirmed(), Unconfirmed::Bytes(_));
        tcp
    }

    /// Over this stream, on which a proxy has connected us to the broker.
    pub fn through_proxy(stream: TcpStream) -> Self {
        Self { is_proxied: true, ..Self::new(stream) }
    }

    fn unconfirmed(&self) -> Unconfirmed {
        match (self.stream.local_addr(), self.stream.peer_addr()) {
            (Ok(local), Ok(peer)) => unconfirmed(local, peer),
            // A socket that was reset has no peer.
            _ => Unconfirmed::NoSuchConnection,
        }
    }
}

impl Transport for Tcp {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, space: &mut BytesMut) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(&mut self.stream), cx, space)
    }

    fn unsent(&self) -> usize {
        0
    }

    fn ended(&mut self) -> Option<io::Result<()>> {
        has_ended(&self.stream)
            .then(|| self.stream.take_error().and_then(|error| error.map_or(Ok(()), Err)))
    }

    fn is_confirmed(&self) -> Option<bool> {
        match self.unconfirmed() {
            Unconfirmed::Bytes(0) if self.is_proxied => None,
            Unconfirmed::Bytes(count) => Some(count == 0),
            Unconfirmed::NoSuchConnection if self.is_known => Some(false),
            Unconfirmed::NoSuchConnection | Unconfirmed::Unknown => None,
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
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
