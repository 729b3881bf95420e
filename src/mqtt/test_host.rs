//! For tests: a broker's end of each transport.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use openssl::ssl::{Ssl, SslAcceptor, SslMethod};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_openssl::SslStream;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::config::{BrokerAddress, Endpoint, MqttConfig};
use crate::pki::{Authority, Identity, Wish};

/// What the tests of the contract and of the actor run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Tcp,
    /// TCP, with a `SlowTransport` above.
    Slow,
    Unix,
    Tls,
    /// TLS, with a `SlowTransport` above.
    SlowTls,
    WebSocket,
    SecureWebSocket,
}

pub(super) const ALL: [Over; 7] = [
    Over::Tcp,
    Over::Slow,
    Over::Unix,
    Over::Tls,
    Over::SlowTls,
    Over::WebSocket,
    Over::SecureWebSocket,
];

impl Over {
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Slow | Self::SlowTls)
    }

    fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SlowTls | Self::SecureWebSocket)
    }

    fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::SecureWebSocket)
    }
}

/// A broker's end of a connection.
pub(super) trait Peer: AsyncRead + AsyncWrite + Unpin + Send {
    /// Its closing is to be a reset, where there is such a thing.
    fn reset_when_closed(&self);
    /// With the next flush, asks for an answer of the transport, where it has such a thing.
    fn ping(&mut self) {}
    /// Whether the last ping is answered, as far as has been read.
    fn is_answered(&self) -> bool {
        true
    }
}

impl Peer for TcpStream {
    fn reset_when_closed(&self) {
        self.set_zero_linger().expect("an option");
    }
}

impl Peer for UnixStream {
    fn reset_when_closed(&self) {}
}

impl<S: Peer> Peer for SslStream<S> {
    fn reset_when_closed(&self) {
        self.get_ref().reset_when_closed();
    }
}

impl Peer for Box<dyn Peer> {
    fn ping(&mut self) {
        (**self).ping();
    }

    fn is_answered(&self) -> bool {
        (**self).is_answered()
    }

    fn reset_when_closed(&self) {
        (**self).reset_when_closed();
    }
}

/// Where a broker listens. Handshakes are made whether anybody waits for a connection or not, as the
/// kernel does for TCP.
pub(super) struct Host {
    over: Over,
    address: BrokerAddress,
    peers: Mutex<UnboundedReceiver<Box<dyn Peer>>>,
    directory: tempfile::TempDir,
    serving: JoinHandle<()>,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Drop for Host {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One authority for all: the second address of a broker is verified by the same.
fn authority() -> &'static (Authority, Identity) {
    static AUTHORITY: OnceLock<(Authority, Identity)> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let authority = Authority::new("the tests' authority");
        let identity = authority.issue(&Wish::LOCALHOST);
        (authority, identity)
    })
}

impl Host {
    pub(super) async fn bind(over: Over) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (authority, identity) = authority();
        std::fs::write(directory.path().join("ca.crt"), authority.pem()).expect("written");
        let mut acceptor =
            SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("sound");
        acceptor.set_certificate(&identity.certificate).expect("a certificate");
        acceptor.set_private_key(&identity.key).expect("its key");
        let (listener, endpoint) = match over {
            Over::Unix => {
                let path = directory.path().join("socket");
                let listener = UnixListener::bind(&path).expect("a socket");
                (Listener::Unix(listener), Endpoint::Unix(path))
            }
            _ => {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let port = listener.local_addr().expect("bound").port();
                (Listener::Tcp(listener), Endpoint::Tcp("127.0.0.1".into(), port))
            }
        };
        let websocket = over.is_websocket().then(|| "/mqtt".to_owned());
        let address = BrokerAddress { endpoint, is_tls: over.is_tls(), websocket };
        let (shaken, peers) = unbounded_channel();
        let serving = actix_rt::spawn(serve(over, listener, acceptor.build(), shaken));
        Self { over, address, peers: Mutex::new(peers), directory, serving }
    }

    pub(super) fn address(&self) -> BrokerAddress {
        self.address.clone()
    }

    /// Lets a connection come here.
    pub(super) fn configure(&self, mqtt: &mut MqttConfig) {
        mqtt.addresses = vec![self.address()];
        mqtt.tls.ca_file = Some(self.directory.path().join("ca.crt"));
    }

    /// The next connection that gets as far as MQTT.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Peer>, ())> {
        let peer = self.peers.lock().await.recv().await;
        Ok((peer.unwrap_or_else(|| panic!("{:?} listens no more", self.over)), ()))
    }
}

async fn serve(
    over: Over,
    listener: Listener,
    acceptor: SslAcceptor,
    shaken: UnboundedSender<Box<dyn Peer>>,
) {
    loop {
        let peer: Box<dyn Peer> = match &listener {
            Listener::Tcp(listener) => Box::new(listener.accept().await.expect("accepted").0),
            Listener::Unix(listener) => Box::new(listener.accept().await.expect("accepted").0),
        };
        let (acceptor, shaken) = (acceptor.clone(), shaken.clone());
        actix_rt::spawn(async move {
            // One that is given up in the handshake is no connection.
            if let Some(peer) = shake(over, peer, &acceptor).await {
                let _ = shaken.send(peer);
            }
        });
    }
}

async fn shake(
    over: Over,
    mut peer: Box<dyn Peer>,
    acceptor: &SslAcceptor,
) -> Option<Box<dyn Peer>> {
    if over.is_tls() {
        let ssl = Ssl::new(acceptor.context()).expect("of a sound context");
        let mut stream = SslStream::new(ssl, peer).expect("sound");
        Pin::new(&mut stream).accept().await.ok()?;
        peer = Box::new(stream);
    }
    if over.is_websocket() {
        peer = Box::new(WebSocketPeer::accept(peer).await.ok()?);
    }
    Some(peer)
}

/// A server's WebSocket. Its frames begin and end anywhere, some are pieces of a message, and between
/// them it pings.
struct WebSocketPeer {
    below: Box<dyn Peer>,
    random: fastrand::Rng,
    raw: BytesMut,
    data: BytesMut,
    out: BytesMut,
    is_fragmented: bool,
    is_at_end: bool,
    pings: VecDeque<u8>,
}

/// What it reads and writes at a time.
const PIECE: usize = 16 * 1024;

impl WebSocketPeer {
    async fn accept(mut below: Box<dyn Peer>) -> io::Result<Self> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(below.read_u8().await?);
        }
        let request = String::from_utf8(request).expect("ASCII");
        let value = |name: &str| {
            let line = request.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} is missing: {request}")).trim()
        };
        assert_eq!(value("Sec-WebSocket-Protocol:"), "mqtt");
        let mut answer = String::from("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n");
        let key = derive_accept_key(value("Sec-WebSocket-Key:").as_bytes());
        let _ = write!(answer, "Connection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n");
        answer += "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        below.write_all(answer.as_bytes()).await?;
        below.flush().await?;
        Ok(Self {
            below,
            random: fastrand::Rng::with_seed(15),
            raw: BytesMut::new(),
            data: BytesMut::new(),
            out: BytesMut::new(),
            is_fragmented: false,
            is_at_end: false,
            pings: VecDeque::new(),
        })
    }

    fn frame(&mut self, payload: &[u8]) {
        let is_final = self.random.bool();
        let opcode = if self.is_fragmented { 0 } else { 2 };
        self.is_fragmented = !is_final;
        let header =
            FrameHeader { is_final, opcode: OpCode::from(opcode), ..FrameHeader::default() };
        self.put(&header, payload);
        if self.random.u8(..8) == 0 {
            self.ping();
        }
    }

    fn put(&mut self, header: &FrameHeader, payload: &[u8]) {
        let mut formatted = Vec::new();
        header.format(payload.len() as u64, &mut formatted).expect("memory");
        self.out.extend_from_slice(&formatted);
        self.out.extend_from_slice(payload);
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let count = ready!(Pin::new(&mut self.below).poll_write(cx, &self.out))?;
            self.out.advance(count);
        }
        Pin::new(&mut self.below).poll_flush(cx)
    }

    /// The whole frames that have come.
    fn unframe(&mut self) {
        loop {
            let mut cursor = io::Cursor::new(&self.raw[..]);
            let parsed = FrameHeader::parse(&mut cursor).expect("legal");
            let (size, Some((header, length))) = (cursor.position() as usize, parsed) else {
                return;
            };
            let length = usize::try_from(length).expect("of ours");
            if self.raw.len() < size + length {
                return;
            }
            self.raw.advance(size);
            let mut payload = self.raw.split_to(length);
            let mask = header.mask.expect("a client masks");
            for (at, byte) in payload.iter_mut().enumerate() {
                *byte ^= mask[at % 4];
            }
            match header.opcode {
                OpCode::Data(_) => self.data.extend_from_slice(&payload),
                OpCode::Control(Control::Close) => self.is_at_end = true,
                OpCode::Control(Control::Pong) => {
                    // It may leave pings out, but not answer what was not asked.
                    while self.pings.pop_front().expect("asked") != payload[0] {}
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Peer for WebSocketPeer {
    fn reset_when_closed(&self) {
        self.below.reset_when_closed();
    }

    fn ping(&mut self) {
        let ping = self.random.u8(..);
        self.pings.push_back(ping);
        let opcode = OpCode::Control(Control::Ping);
        self.put(&FrameHeader { opcode, ..FrameHeader::default() }, &[ping]);
    }

    fn is_answered(&self) -> bool {
        self.pings.is_empty()
    }
}

impl AsyncRead for WebSocketPeer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.data.is_empty() {
                let count = self.data.len().min(space.remaining());
                space.put_slice(&self.data.split_to(count));
                return Poll::Ready(Ok(()));
            }
            if self.is_at_end {
                return Poll::Ready(Ok(()));
            }
            let mut piece = [0; PIECE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.below).poll_read(cx, &mut piece))?;
            self.is_at_end = piece.filled().is_empty();
            self.raw.extend_from_slice(piece.filled());
            self.unframe();
        }
    }
}

impl AsyncWrite for WebSocketPeer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A write is with the kernel before the next one is accepted.
        ready!(self.poll_send(cx))?;
        let count = bytes.len().min(PIECE);
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let most = if self.random.bool() { 8 } else { PIECE };
            let piece = rest.len().min(self.random.usize(1..=most));
            self.frame(&rest[..piece]);
            rest = &rest[piece..];
        }
        // The rest goes with a flush.
        let _ = self.poll_send(cx)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.below).poll_shutdown(cx)
    }
}
