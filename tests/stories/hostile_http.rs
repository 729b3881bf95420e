//! A hostile HTTP client can keep others from asking, and can do nothing else.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::certificates::Certificates;
use crate::support::line::Plan;
use crate::support::mosquitto::Setup;
use crate::support::*;

const MESSAGES: u64 = 20_000;
/// More connections than the server accepts at once.
const SLOW: usize = 64;
/// So many it accepts.
const PLACES: u64 = 48;
/// Each of them has its socket, and a handle by which it is ended; and a few for what is between.
const FILES_MAX: usize = 2 * PLACES as usize + 8;
const RSS_MAX_KIB: u64 = 64 * 1024;
/// A warning in 10 s, of each kind.
const LINES_MAX: usize = 20;
const TOKEN: &str = "m4rk3dS3cret-of-http";

type Key = (&'static str, &'static str, Value);
type Attack = fn(&Http, &AtomicBool) -> Option<()>;

#[test]
fn hostile_clients_slow_nothing_and_cost_little() {
    let story = Story::new("hostile HTTP clients");
    let http = Http::free();
    let config = vec![("http", "listen", http.address().into())];
    let attacks = [huge_header, endless_body, connect_only, garbage, wrong_host];
    endure(&story, &http, config, slow_head, &attacks);
}

#[test]
fn hostile_clients_get_nothing_without_the_token_and_cost_little_over_tls() {
    let story = Story::new("hostile HTTP clients over TLS");
    let certificates = Certificates::new(&story.dir().join("tls"));
    let [cert_file, key_file] = certificates.broker();
    let token_file = story.dir().join("token");
    fs::write(&token_file, TOKEN).unwrap();
    let http = Http::free().over_tls(&certificates.authorities()).with_token(TOKEN);
    let text = |path: &Path| path.to_str().unwrap().into();
    let config = vec![
        ("http", "listen", http.address().into()),
        ("http", "token_file", text(&token_file)),
        ("http", "cert_file", text(&cert_file)),
        ("http", "key_file", text(&key_file)),
    ];
    let attacks = [connect_only, garbage, tls_garbage, wrong_token, forged_cookie, slow_form];
    endure(&story, &http, config, slow_handshake, &attacks);
}

/// The bridge has so many connections that `/metrics` is more than a socket takes.
#[test]
fn clients_that_read_nothing_keep_nobody_from_asking_for_long() {
    let story = Story::new("HTTP clients that read nothing");
    let kafka = MockKafka::start();
    kafka.order(|cluster| cluster.create_topic("t", 4, 1)).unwrap();
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let http = Http::free();
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", kafka.bootstrap());
    config.set("mqtt", "protocol", "5").set("mqtt", "connections", 64).route("devices/#", "t");
    http.configure(&mut config);
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    http.wait_ready(PATIENT);
    let reader = Reader::start(kafka.bootstrap(), "t");
    let load = Load { mqtt_topics: 64, ..Load::default() };
    let publisher = Publisher::start(&mosquitto.address(), Version::V5, "devices", load);
    let stop = AtomicBool::new(false);
    let [asked, ended_by_bridge] = [const { AtomicU64::new(0) }; 2];
    thread::scope(|scope| {
        for _ in 0..SLOW {
            scope.spawn(|| repeat(&stop, &ended_by_bridge, || read_nothing(&http, &stop, &asked)));
        }
        let ended = Ended(&stop);
        eventually("all places are taken", SOON, || asked.load(Ordering::Relaxed) >= PLACES);
        let began = Instant::now();
        publisher.publish(MESSAGES);
        eventually("all are delivered", PATIENT, || reader.distinct() >= MESSAGES);
        eventually("it answers in between", PATIENT, || http.get("/livez").is_ok());
        tell(&format!("{}: /livez answered after {:?}", story.name, began.elapsed()));
        drop(ended);
    });
    http.wait_ready(SOON);
    http.metrics().assert_balances();
    assert_eq!(bridge.terminate(), 0, "all are drained");
    bridge.assert_logs_sound();
}

/// A line under load whose pages are attacked forwards as before, and answers in between. `slow` takes all
/// slots.
fn endure(story: &Story, http: &Http, config: Vec<Key>, slow: Attack, attacks: &[Attack]) {
    let plan = Plan { config, load: Load { rate: 4_000, ..Load::default() }, ..Plan::default() };
    let mut line = Line::start(story, Kafka::shared(), Version::V5, &plan);
    line.publisher.publish(1_000);
    line.wait_delivered(1_000);
    http.wait_ready(SOON);
    let (threads, files) = usage(&mut line);
    let stop = AtomicBool::new(false);
    let harm = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..SLOW {
            scope.spawn(|| repeat(&stop, &harm, || slow(http, &stop)));
        }
        for attack in attacks {
            let (stop, harm) = (&stop, &harm);
            scope.spawn(move || repeat(stop, harm, || attack(http, stop)));
        }
        let ended = Ended(&stop);
        eventually("all slots are taken", SOON, || harm.load(Ordering::Relaxed) > 100);
        line.publisher.publish(MESSAGES);
        let (mut threads_max, mut files_max) = (0, 0);
        eventually("all are delivered", PATIENT, || {
            let (threads, files) = usage(&mut line);
            (threads_max, files_max) = (threads_max.max(threads), files_max.max(files));
            line.reader.distinct() >= 1_000 + MESSAGES
        });
        assert!(threads_max <= threads + 2, "{threads} threads before, {threads_max} now");
        assert!(files_max <= files + FILES_MAX, "{files} files before, {files_max} now");
        // The time-out for a request's head frees a slot again and again.
        eventually("it answers in between", PATIENT, || http.get("/livez").is_ok());
        drop(ended);
    });
    let rss = line.bridge.process().peak_rss_kib();
    tell(&format!("{}: {} attacks, peak RSS {rss} KiB", story.name, harm.into_inner()));
    assert!(rss < RSS_MAX_KIB, "peak RSS {rss} KiB");
    http.wait_ready(SOON);
    http.metrics().assert_balances();
    let of_http = |record: &Value| {
        let component = record["component"].as_str().unwrap_or_default();
        component == "http" || component.starts_with("actix")
    };
    let lines = line.bridge.log().count(of_http);
    assert!(lines < LINES_MAX, "{lines} lines of strangers' making");
    line.settle().assert_exact();
}

/// Threads and open files of the bridge.
fn usage(line: &mut Line) -> (usize, usize) {
    let pid = line.bridge.process().pid();
    let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("task"), count("fd"))
}

fn repeat(stop: &AtomicBool, harm: &AtomicU64, attack: impl Fn() -> Option<()>) {
    while !stop.load(Ordering::Relaxed) {
        // The server should refuse and cut connections.
        let _ = attack();
        harm.fetch_add(1, Ordering::Relaxed);
    }
}

fn connect(http: &Http) -> Option<TcpStream> {
    let address = http.address().parse().ok()?;
    let stream = TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
    stream.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
    Some(stream)
}

/// Asks for `/metrics`, and leaves the answer where it is. Small buffers here, and small segments, keep the
/// server's own buffer small as well.
fn read_nothing(http: &Http, stop: &AtomicBool, asked: &AtomicU64) -> Option<()> {
    let address: SocketAddr = http.address().parse().ok()?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    socket.set_recv_buffer_size(2_048).ok()?;
    socket.set_tcp_mss(536).ok()?;
    socket.connect_timeout(&address.into(), Duration::from_millis(200)).ok()?;
    let mut stream = TcpStream::from(socket);
    let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", http.address());
    stream.write_all(head.as_bytes()).ok()?;
    asked.fetch_add(1, Ordering::Relaxed);
    // Until the bridge ends it.
    while !stop.load(Ordering::Relaxed) && stream.take_error().ok()?.is_none() {
        stream.write_all(b"x").ok()?;
        thread::sleep(Duration::from_millis(50));
    }
    Some(())
}

/// A header, one byte at a time.
fn slow_head(http: &Http, stop: &AtomicBool) -> Option<()> {
    let mut stream = connect(http)?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").ok()?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"x").ok()?;
        thread::sleep(Duration::from_millis(50));
    }
    Some(())
}

/// A header of 16 MiB.
fn huge_header(http: &Http, stop: &AtomicBool) -> Option<()> {
    let mut stream = connect(http)?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nx: ").ok()?;
    for _ in 0..256 {
        stream.write_all(&[b'x'; 64 * 1024]).ok().filter(|()| !stop.load(Ordering::Relaxed))?;
    }
    Some(())
}

/// A body that never ends.
fn endless_body(http: &Http, stop: &AtomicBool) -> Option<()> {
    let mut stream = connect(http)?;
    stream.write_all(b"GET /livez HTTP/1.1\r\ncontent-length: 1000000000000\r\n\r\n").ok()?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&[b'x'; 64 * 1024]).ok()?;
    }
    Some(())
}

/// One connection after the other.
fn connect_only(http: &Http, _: &AtomicBool) -> Option<()> {
    let mut stream = connect(http)?;
    stream.read(&mut [0]).ok().map(drop)
}

/// Not HTTP.
fn garbage(http: &Http, _: &AtomicBool) -> Option<()> {
    let mut stream = connect(http)?;
    let bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(2_000).collect();
    stream.write_all(&bytes).ok()?;
    ended(&mut stream)
}

/// What begins as TLS does, and goes on as nothing does.
fn tls_garbage(http: &Http, _: &AtomicBool) -> Option<()> {
    let mut stream = connect(http)?;
    let length = fastrand::u16(..=16_384);
    let mut bytes = vec![fastrand::u8(20..=24), 3, fastrand::u8(..=4)];
    bytes.extend(length.to_be_bytes());
    bytes.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(usize::from(length)));
    stream.write_all(&bytes).ok()?;
    ended(&mut stream)
}

/// A TLS record, one byte at a time.
fn slow_handshake(http: &Http, stop: &AtomicBool) -> Option<()> {
    let mut stream = connect(http)?;
    stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).ok()?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&[0]).ok()?;
        thread::sleep(Duration::from_millis(50));
    }
    Some(())
}

/// Another site's page, by DNS rebinding.
fn wrong_host(http: &Http, _: &AtomicBool) -> Option<()> {
    refused(http, "GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n", &[421])
}

fn wrong_token(http: &Http, _: &AtomicBool) -> Option<()> {
    let head = "Host: localhost\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef";
    refused(http, &format!("GET /metrics HTTP/1.1\r\n{head}\r\n\r\n"), &[401])?;
    let body = "token=0123456789abcdef0123456789abcdef";
    let head = format!("Host: localhost\r\nContent-Length: {}", body.len());
    refused(http, &format!("POST /login HTTP/1.1\r\n{head}\r\n\r\n{body}"), &[401, 429])
}

fn forged_cookie(http: &Http, _: &AtomicBool) -> Option<()> {
    let port = http.address().rsplit(':').next()?;
    let proof = "0".repeat(64);
    let cookie = format!("Cookie: bridge-login-{port}=99999999-{proof}");
    refused(http, &format!("GET / HTTP/1.1\r\nHost: localhost\r\n{cookie}\r\n\r\n"), &[401])
}

/// A form of which the body never comes.
fn slow_form(http: &Http, _: &AtomicBool) -> Option<()> {
    let head = "Host: localhost\r\nContent-Length: 100";
    refused(http, &format!("POST /login HTTP/1.1\r\n{head}\r\n\r\ntoken="), &[408])
}

/// Asks, and holds the bridge to one of these answers, if it answers at all.
fn refused(http: &Http, request: &str, expected: &[u16]) -> Option<()> {
    let status = http.ask(request).ok()?.status;
    assert!(expected.contains(&status), "{status} for {request}");
    Some(())
}

/// Reads until the bridge ends the connection.
fn ended(stream: &mut TcpStream) -> Option<()> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "an answer to garbage");
    Some(())
}

/// Stops the attackers, also if the story fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
