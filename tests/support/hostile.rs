//! Peers that answer garbage, too slowly, or not at all. Each answer follows from a number, so that one that
//! does harm can be given again alone.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fastrand::Rng;
use openssl::ssl::SslAcceptor;
use tungstenite::handshake::derive_accept_key;

use super::SOON;
use super::process::free_port;
use super::wire::{Packet, Publish, Version};

/// A server on a port of its own that answers each connection by a function, one thread for each, until it is
/// dropped; its port is free then.
pub struct HostileServer {
    address: String,
    answers: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What remains of a connection after its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is closed.
    Close,
    /// It stays open, silent, for this long at most.
    Hold(Duration),
}

/// One connection: its number, and whether the server has ended.
pub struct Victim {
    pub stream: TcpStream,
    pub number: u64,
    ended: Arc<AtomicBool>,
}

impl HostileServer {
    /// Answers each connection by `answer`.
    pub fn start(answer: impl Fn(&mut Victim) -> End + Send + Sync + 'static) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let listener = TcpListener::bind(&address).unwrap();
        let (answers, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = thread::spawn({
            let (answers, ended, answer) = (answers.clone(), ended.clone(), Arc::new(answer));
            move || {
                for (number, stream) in (0..).zip(listener.incoming().map_while(Result::ok)) {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let mut victim = Victim { stream, number, ended: ended.clone() };
                    let (answers, answer) = (answers.clone(), answer.clone());
                    thread::spawn(move || {
                        let end = answer(&mut victim);
                        answers.fetch_add(1, Ordering::Relaxed);
                        victim.end(end);
                    });
                }
            }
        });
        Self { address, answers, ended, thread: Some(thread) }
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many connections were answered so far.
    pub fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for HostileServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees the end.
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Victim {
    /// Writes all of it, unless the peer has left.
    pub fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// What the peer says first, within 200 ms.
    pub fn listen(&mut self) -> Vec<u8> {
        self.hear(Duration::from_millis(200))
    }

    /// What the peer says next; nothing only if it leaves.
    pub fn wait_said(&mut self) -> Vec<u8> {
        self.hear(SOON)
    }

    fn hear(&mut self, within: Duration) -> Vec<u8> {
        let _ = self.stream.set_read_timeout(Some(within));
        let mut said = vec![0; 4096];
        let count = self.stream.read(&mut said).unwrap_or(0);
        said.truncate(count);
        said
    }

    /// Writes one byte after the other, with a pause behind each, for ever if `bytes` are without end; returns
    /// when the peer leaves.
    pub fn trickle(&mut self, bytes: impl IntoIterator<Item = u8>, pause: Duration) {
        for byte in bytes {
            if self.ended.load(Ordering::Relaxed) || self.stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(pause);
        }
    }

    fn end(&mut self, end: End) {
        if let End::Hold(at_most) = end {
            let _ = self.stream.set_read_timeout(Some(Duration::from_millis(20)));
            let start = Instant::now();
            while start.elapsed() < at_most && !self.ended.load(Ordering::Relaxed) {
                match self.stream.read(&mut [0; 4096]) {
                    Ok(0) => break,
                    Err(error) if !super::mqtt_client::is_timeout(&error) => break,
                    _ => {}
                }
            }
        }
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Answer `number` of a broker that may say anything: what it writes after CONNECT, and how it ends.
pub fn mqtt_answer(version: Version, number: u64) -> (Vec<u8>, End) {
    let mut random = Rng::with_seed(number);
    let mut bytes = Vec::new();
    match random.u8(..10) {
        0 => {}
        1 => garbage(&mut random, 4096, &mut bytes),
        2 => bytes.extend(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
        3 => bytes.extend([0x15, 3, 3, 0, 2, 2, 40]),
        4 => {
            let code = random.u8(..);
            connack(version, &mut random, code, &mut bytes);
        }
        5 => {
            accept(version, &mut random, &mut bytes);
            // A PUBLISH of 256 MiB that ends early.
            bytes.extend([0x32, 0xFF, 0xFF, 0xFF, 0x7F, 0, 3]);
            bytes.extend(b"a/b");
            bytes.extend([0, 1]);
            garbage(&mut random, 16_384, &mut bytes);
        }
        6 => {
            accept(version, &mut random, &mut bytes);
            garbage(&mut random, 512, &mut bytes);
        }
        _ => {
            accept(version, &mut random, &mut bytes);
            for _ in 0..random.u8(1..20) {
                packet(version, &mut random, &mut bytes);
            }
            if random.u8(..4) == 0 {
                bytes.truncate(random.usize(..=bytes.len()));
            }
        }
    }
    let end = match random.u8(..100) {
        0 => End::Hold(Duration::from_millis(300)),
        _ => End::Close,
    };
    (bytes, end)
}

/// Answers below MQTT as a broker with TLS does, or as one that is broken there; otherwise as [`mqtt_answer`].
pub fn answer_by_tls(acceptor: &SslAcceptor, version: Version, victim: &mut Victim) -> End {
    let (bytes, end) = mqtt_answer(version, victim.number);
    let mut random = Rng::with_seed(!victim.number);
    match random.u8(..8) {
        // Instead of the handshake.
        0 => victim.say(&bytes),
        1 => {
            // A record of TLS 1.2 with anything in it.
            let mut content = Vec::new();
            garbage(&mut random, 2_000, &mut content);
            let [high, low] = u16::try_from(content.len()).expect("short").to_be_bytes();
            victim.say(&[&[random.u8(20..25), 3, 3, high, low], &*content].concat());
        }
        kind => {
            let _ = victim.stream.set_read_timeout(Some(Duration::from_millis(500)));
            let stream = victim.stream.try_clone().expect("another handle");
            let Ok(mut stream) = acceptor.accept(stream) else { return End::Close };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&bytes);
            if kind == 2 {
                // Into the middle of the records.
                victim.say(&bytes);
            }
        }
    }
    end
}

/// Answers below MQTT as a broker with WebSocket does, or as one that is broken there; otherwise as
/// [`mqtt_answer`].
pub fn answer_by_websocket(version: Version, victim: &mut Victim) -> End {
    let request = victim.listen();
    let request = String::from_utf8_lossy(&request);
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let (bytes, end) = mqtt_answer(version, victim.number);
    let mut random = Rng::with_seed(!victim.number);
    let switching =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    match random.u8(..8) {
        0 => {
            return {
                victim.say(&bytes);
                end
            };
        }
        1 => {
            let status = random.u16(100..600);
            victim.say(format!("HTTP/1.1 {status} No\r\nLocation: /\r\n\r\n").as_bytes());
            return end;
        }
        2 => victim.say(format!("{switching}Sec-WebSocket-Accept: {accept}x\r\n\r\n").as_bytes()),
        3 => victim.say(format!("{switching}Sec-WebSocket-Accept: {accept}\r\n\r\n").as_bytes()),
        _ => victim.say(
            format!(
                "{switching}Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
            )
            .as_bytes(),
        ),
    }
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (part, others) = rest.split_at(random.usize(1..=rest.len()));
        rest = others;
        // Mostly a binary frame, whole and not masked.
        let first = if random.u8(..8) == 0 { random.u8(..) } else { 0x82 };
        let length = match part.len() {
            short @ ..126 => vec![u8::try_from(short).expect("below 126")],
            long => {
                [&[126][..], &u16::try_from(long).expect("below 64 KiB").to_be_bytes()].concat()
            }
        };
        victim.say(&[&[first], &*length, part].concat());
        if random.u8(..16) == 0 {
            // One of 2^62 bytes, masked or not.
            victim.say(&[0x82, 127 | random.u8(..2) << 7, 0x40, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
    end
}

/// CONNACK, and SUBACK for the first SUBSCRIBE.
fn accept(version: Version, random: &mut Rng, out: &mut Vec<u8>) {
    connack(version, random, 0, out);
    if random.bool() {
        out.extend(Packet::SubAck { pkid: 1, codes: vec![1] }.encode(version));
    }
}

fn connack(version: Version, random: &mut Rng, code: u8, out: &mut Vec<u8>) {
    let mut properties = Vec::new();
    if random.u8(..4) == 0 {
        garbage(random, 20, &mut properties);
    }
    let session_present = random.bool();
    out.extend(Packet::ConnAck { session_present, code, properties }.encode(version));
}

/// A packet that a broker may send, that it may never send, or that is damaged.
fn packet(version: Version, random: &mut Rng, out: &mut Vec<u8>) {
    let pkid = random.u16(..4);
    let mut bytes = match random.u8(..8) {
        0 => {
            let codes = (0..random.u8(..4)).map(|_| random.u8(..)).collect();
            Packet::SubAck { pkid, codes }.encode(version)
        }
        1 => Packet::PubAck { pkid }.encode(version),
        2 => Packet::PingResp.encode(version),
        3 => Packet::Disconnect { code: random.u8(..) }.encode(version),
        4 => {
            // Any type with any flags, well framed.
            let mut body = Vec::new();
            garbage(random, 100, &mut body);
            [&[random.u8(..), u8::try_from(body.len()).expect("below 128")], &*body].concat()
        }
        _ => {
            let mut mqtt_topic = b"a/".to_vec();
            garbage(random, 10, &mut mqtt_topic);
            let mut payload = Vec::new();
            garbage(random, 200, &mut payload);
            let (dup, qos, retain) = (random.bool(), random.u8(..3), random.bool());
            let publish = Publish { dup, qos, retain, mqtt_topic, pkid, payload };
            Packet::Publish(publish).encode(version)
        }
    };
    if random.bool() {
        for _ in 0..random.u8(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(..);
        }
    }
    out.extend(bytes);
}

fn garbage(random: &mut Rng, at_most: usize, out: &mut Vec<u8>) {
    let length = random.usize(..at_most);
    out.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
}
