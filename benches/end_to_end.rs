//! What a message costs: the bridge as a process of its own, between a feed that is never the
//! bottleneck (window 1000, 64 MQTT topics, 128 bytes, PUBACK order checked) and Kafka. Prints CPU
//! seconds of the bridge alone per million messages, and the rate.
//!
//! `cargo bench --bench end_to_end` uses librdkafka's mock cluster; `KAFKA=host:port` a real one.
//! `MESSAGES=n` sets the length of a run (default 1,000,000).

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;

const WINDOW: usize = 1000;
const TOPICS: usize = 64;
const PAYLOAD: [u8; 128] = [b'x'; 128];
const ROUNDS: usize = 3;

fn main() {
    let messages = std::env::var("MESSAGES").map_or(1_000_000, |n| n.parse().expect("a number"));
    let mock = MockCluster::new(1).expect("a mock cluster");
    mock.create_topic("bench", 4, 1).expect("a Kafka topic");
    let kafka = std::env::var("KAFKA").unwrap_or_else(|_| mock.bootstrap_servers());
    println!("{messages} messages a run, median of {ROUNDS} runs, Kafka at {kafka}");
    println!(
        "{:<8} {:>4} {:<8} {:>10} {:>12}",
        "protocol", "qos", "timing", "CPU-s/M", "messages/s"
    );
    for protocol in ["3.1.1", "5"] {
        for qos in [1, 0] {
            for timing in ["all", "off"] {
                let mut runs: Vec<_> =
                    (0..ROUNDS).map(|_| run(&kafka, protocol, qos, timing, messages)).collect();
                runs.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (cpu, rate) = runs[ROUNDS / 2];
                println!("{protocol:<8} {qos:>4} {timing:<8} {cpu:>10.2} {rate:>12.0}");
            }
        }
    }
}

/// CPU seconds per million messages, and messages per second.
fn run(kafka: &str, protocol: &str, qos: u8, timing: &str, messages: usize) -> (f64, f64) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let mut bridge = Bridge::start(port, kafka, protocol, qos, timing);
    let (mut stream, _) = listener.accept().expect("the bridge connects");
    stream.set_nodelay(true).expect("a socket option");
    shake_hands(&mut stream, protocol);
    // Warm: the producer has its id, every key has been seen.
    feed(&mut stream, protocol, qos, 20_000, &bridge);
    let before = bridge.cpu();
    let begin = Instant::now();
    feed(&mut stream, protocol, qos, messages, &bridge);
    let elapsed = begin.elapsed().as_secs_f64();
    let cpu = bridge.cpu() - before;
    bridge.stop();
    (cpu * 1e6 / messages as f64, messages as f64 / elapsed)
}

fn shake_hands(stream: &mut TcpStream, protocol: &str) {
    assert_eq!(packet(stream).0, 0x10, "CONNECT");
    let v5 = protocol == "5";
    stream.write_all(if v5 { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] }).expect("CONNACK");
    let (kind, body) = packet(stream);
    assert_eq!(kind, 0x82, "SUBSCRIBE");
    let suback: &[u8] =
        if v5 { &[0x90, 4, body[0], body[1], 0, 1] } else { &[0x90, 3, body[0], body[1], 1] };
    stream.write_all(suback).expect("SUBACK");
}

fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut header = [0; 2];
    stream.read_exact(&mut header).expect("a packet");
    let mut body = vec![0; usize::from(header[1])];
    stream.read_exact(&mut body).expect("its body");
    (header[0], body)
}

/// Sends `messages` and returns when each is acknowledged (QoS 1) or delivered (QoS 0).
fn feed(stream: &mut TcpStream, protocol: &str, qos: u8, messages: usize, bridge: &Bridge) {
    let mut sent = 0;
    let mut acked = 0;
    let mut out = Vec::with_capacity(1 << 17);
    let mut acks = [0; 16 * 1024];
    let mut held = 0;
    let goal = bridge.delivered() + messages as u64;
    while acked < messages {
        out.clear();
        let room = if qos == 1 { WINDOW - (sent - acked) } else { 512 };
        for _ in 0..room.min(messages - sent) {
            publish(&mut out, protocol, qos, sent);
            sent += 1;
        }
        stream.write_all(&out).expect("sent");
        if qos == 0 {
            acked = sent;
            continue;
        }
        let count = stream.read(&mut acks[held..]).expect("acknowledgements");
        assert_ne!(count, 0, "the bridge closed the connection");
        let whole = (held + count) / 4 * 4;
        for ack in acks[..whole].chunks_exact(4) {
            let id = packet_id(acked).to_be_bytes();
            assert_eq!(ack, [0x40, 2, id[0], id[1]], "PUBACKs in the order of PUBLISHes");
            acked += 1;
        }
        acks.copy_within(whole..held + count, 0);
        held = held + count - whole;
    }
    while qos == 0 && bridge.delivered() < goal {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn packet_id(number: usize) -> u16 {
    u16::try_from(number % 65_535).expect("bounded") + 1
}

fn publish(out: &mut Vec<u8>, protocol: &str, qos: u8, number: usize) {
    let topic = format!("bench/{:02}", number % TOPICS);
    let properties: &[u8] = if protocol == "5" { &[0] } else { &[] };
    let id_len = if qos == 1 { 2 } else { 0 };
    let length = 2 + topic.len() + id_len + properties.len() + PAYLOAD.len();
    out.push(0x30 | (qos << 1));
    out.push((length % 128) as u8 | 0x80);
    out.push((length / 128) as u8);
    out.extend((topic.len() as u16).to_be_bytes());
    out.extend(topic.as_bytes());
    if qos == 1 {
        out.extend(packet_id(number).to_be_bytes());
    }
    out.extend(properties);
    out.extend(PAYLOAD);
}

/// The bridge's process; its log goes through a pipe, as in a container.
struct Bridge {
    process: Child,
    delivered: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Bridge {
    fn start(port: u16, kafka: &str, protocol: &str, qos: u8, timing: &str) -> Self {
        let config = tempfile::NamedTempFile::new().expect("a file");
        let text = format!(
            "[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\nclient_id = \"bench\"\n\
             protocol = \"{protocol}\"\n[kafka]\nbrokers = [\"{kafka}\"]\n\
             [[routes]]\nfilter = \"bench/#\"\nqos = {qos}\nkafka_topic = \"bench\"\n\
             [delivery]\nqos0_shed_after = \"never\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\ntiming = \"{timing}\"\n"
        );
        io::Write::write_all(&mut config.as_file(), text.as_bytes()).expect("written");
        let mut process = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"))
            .args(["run", "--config"])
            .arg(config.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the bridge starts");
        let mut log = process.stderr.take().expect("piped");
        let delivered = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let seen = std::sync::Arc::clone(&delivered);
        std::thread::spawn(move || {
            let _config = config;
            read_summaries(&mut log, &seen);
        });
        Self { process, delivered }
    }

    /// As of the last summary record.
    fn delivered(&self) -> u64 {
        self.delivered.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// User and system time so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.expect("it runs");
        let fields = stat.rsplit(')').next().expect("the name ends").split_whitespace();
        let ticks: Vec<f64> =
            fields.skip(11).take(2).map(|ticks| ticks.parse().expect("a number")).collect();
        // The kernel reports in hundredths of a second, whatever its own tick is.
        (ticks[0] + ticks[1]) / 100.0
    }

    fn stop(&mut self) {
        let pid = libc::pid_t::try_from(self.process.id()).expect("a pid");
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        self.process.wait().expect("it ends");
    }
}

/// Looks only for summary records, so that reading the log stays cheap.
fn read_summaries(log: &mut impl Read, delivered: &std::sync::atomic::AtomicU64) {
    const MARK: &[u8] = b"\"msg\":\"summary\"";
    let mut chunk = vec![0; 1 << 16];
    let mut line = Vec::new();
    while let Ok(count @ 1..) = log.read(&mut chunk) {
        for piece in chunk[..count].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if !line.ends_with(b"\n") {
                continue;
            }
            if line.get(..80).is_some_and(|head| head.windows(MARK.len()).any(|w| w == MARK))
                && let Ok(record) = serde_json::from_slice::<serde_json::Value>(&line)
            {
                let count = record["delivered"].as_u64().unwrap_or_default();
                delivered.store(count, std::sync::atomic::Ordering::Relaxed);
            }
            line.clear();
        }
    }
}
