//! A hostile HTTP client can keep others from asking, and can do nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::line::Plan;
use crate::support::*;

const MESSAGES: u64 = 20_000;
/// More connections than the server accepts at once.
const SLOW: usize = 48;
const RSS_MAX_KIB: u64 = 64 * 1024;

#[test]
fn hostile_clients_slow_nothing_and_cost_little() {
    let story = Story::new("hostile HTTP clients");
    let http = Http::free();
    let plan = Plan {
        config: vec![("http", "listen", http.address().into())],
        load: Load { rate: 4_000, ..Load::default() },
        ..Plan::default()
    };
    let mut line = Line::start(&story, Kafka::shared(), Version::V5, &plan);
    line.publisher.publish(1_000);
    line.wait_delivered(1_000);
    http.wait_ready(SOON);
    let (threads, files) = usage(&mut line);
    let stop = AtomicBool::new(false);
    let harm = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..SLOW {
            scope.spawn(|| repeat(&stop, &harm, || slow_head(&http, &stop)));
        }
        for attack in [huge_header, endless_body, connect_only] {
            let (http, stop, harm) = (&http, &stop, &harm);
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
        assert!(files_max <= files + 40, "{files} files before, {files_max} now");
        // The time-out for a request's head frees a slot again and again.
        eventually("it answers in between", PATIENT, || http.get("/livez").is_ok());
        drop(ended);
    });
    let rss = line.bridge.process().peak_rss_kib();
    tell(&format!("{}: {} attacks, peak RSS {rss} KiB", story.name, harm.into_inner()));
    assert!(rss < RSS_MAX_KIB, "peak RSS {rss} KiB");
    http.wait_ready(SOON);
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

/// Stops the attackers, also if the story fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
