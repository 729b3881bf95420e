//! What stands beside the bridge, in processes of its own: the limit, a bare loop of parsing and
//! librdkafka, and the same loop on the libraries that the bridge uses. No log, no routing, no
//! supervision: who is hit by an error just ends.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use clap::Args;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::args::Protocol;
use super::scenario::{Scenario, World};
use super::{baseline_async, baseline_blocking, wire};
use crate::demo::brokers::spawn;
use mqtt_kafka_bridge::message::Qos;
use mqtt_kafka_bridge::mqtt::packet::{self, Connect, Subscribe, Version};

/// `bench-subject`, for `bench` itself
#[derive(Debug, Clone, Args)]
pub(crate) struct SubjectArgs {
    /// A file that says what to do
    pub task: PathBuf,
}

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The bridge.
    Bridge,
    /// An own parser on blocking sockets.
    Limit,
    /// rumqttc's codecs on one async thread.
    Libraries,
}

impl Kind {
    /// As people write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Limit => "limit",
            Self::Libraries => "libraries",
        }
    }
}

/// What such a process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub kind: Kind,
    pub scenario: Scenario,
    pub world: World,
}

/// Runs until it is killed.
pub(crate) fn run(args: &SubjectArgs) -> ExitCode {
    let done = std::fs::read(&args.task)
        .map_err(|error| error.to_string())
        .and_then(|text| serde_json::from_slice::<Task>(&text).map_err(|error| error.to_string()))
        .and_then(|task| {
            let stream = open(&task)?;
            match task.kind {
                Kind::Libraries => baseline_async::run(&task, stream),
                Kind::Limit | Kind::Bridge => baseline_blocking::run(&task, stream),
            }
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Connects and subscribes.
fn open(task: &Task) -> Result<TcpStream, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(&task.world.mqtt).map_err(told)?;
    stream.set_nodelay(true).map_err(told)?;
    let version = match task.scenario.protocol {
        Protocol::V311 => Version::V311,
        Protocol::V5 => Version::V5,
    };
    let connect = Connect {
        client_id: &task.world.name,
        keep_alive_s: 0,
        clean_start: true,
        session_expiry_s: 0,
        receive_maximum: task.scenario.window,
        username: task.world.login.as_ref().map(|(name, _)| &**name),
        password: task.world.login.as_ref().map(|(_, password)| &**password),
    };
    let mut out = BytesMut::new();
    packet::encode_connect(version, &connect, &mut out);
    std::io::Write::write_all(&mut stream, &out).map_err(told)?;
    expect(&mut stream, 0x20)?;
    out.clear();
    let qos = if task.scenario.qos == 1 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
    let mqtt_filter = format!("{}/#", task.world.name);
    let subscribe = Subscribe {
        packet_id: 1,
        mqtt_filter: &mqtt_filter,
        qos,
        subscription_id: None,
        only_if_new: false,
    };
    packet::encode_subscribe(version, &subscribe, &mut out);
    std::io::Write::write_all(&mut stream, &out).map_err(told)?;
    expect(&mut stream, 0x90)?;
    // In the words of the bridge, for who waits for it.
    eprintln!("{{\"msg\":\"subscribed\"}}");
    Ok(stream)
}

/// Reads exactly one packet, which must be of this kind.
fn expect(stream: &mut TcpStream, kind: u8) -> Result<(), String> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(|error| error.to_string())?;
        bytes.push(byte[0]);
        if wire::packet(&bytes).is_some() {
            return if bytes[0] == kind { Ok(()) } else { Err(format!("{bytes:02x?}")) };
        }
    }
}

/// Delivery reports on their way from the poll thread.
#[derive(Default)]
pub(super) struct Reports {
    seqs: Mutex<Vec<usize>>,
    /// For a thread that waits, and for a task that does.
    first: Condvar,
    pub(super) notify: Notify,
}

impl Reports {
    /// Waits for reports, and swaps them into `seqs`, which must be empty.
    pub(super) fn wait(&self, seqs: &mut Vec<usize>) {
        let mut waiting = lock(&self.seqs);
        while waiting.is_empty() {
            waiting = self.first.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut *waiting, seqs);
    }

    /// Swaps what is there into `seqs`, which must be empty.
    pub(super) fn take(&self, seqs: &mut Vec<usize>) {
        std::mem::swap(&mut *lock(&self.seqs), seqs);
    }
}

/// The producer's context.
pub(super) struct Context(Arc<Reports>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, seq: usize) {
        if let Err((error, _)) = result {
            eprintln!("not delivered: {error}");
            std::process::exit(1);
        }
        let mut seqs = lock(&self.0.seqs);
        seqs.push(seq);
        let first = seqs.len() == 1;
        drop(seqs);
        if first {
            self.0.first.notify_one();
            self.0.notify.notify_one();
        }
    }
}

/// A producer like the bridge's, with its poll thread.
pub(super) struct Producer {
    inner: Arc<BaseProducer<Context>>,
    kafka_topic: String,
}

impl Producer {
    pub(super) fn start(world: &World, reports: &Arc<Reports>) -> Result<Self, String> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &world.kafka)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "1")
            .set("message.max.bytes", "20000000")
            .set("partitioner", "murmur2_random");
        for (key, value) in &world.properties {
            config.set(key, value);
        }
        let context = Context(Arc::clone(reports));
        let inner: BaseProducer<Context> =
            config.create_with_context(context).map_err(|error| error.to_string())?;
        let inner = Arc::new(inner);
        let polled = Arc::clone(&inner);
        spawn("kafka-poll", move || {
            // So the producer gets its id at once, as the bridge's does.
            let _ = polled.client().fetch_metadata(None, Duration::from_secs(1));
            loop {
                polled.poll(Duration::from_millis(100));
            }
        })
        .map_err(|error| error.to_string())?;
        Ok(Self { inner, kafka_topic: world.kafka_topic.clone() })
    }

    /// Waits while the queue is full, as backpressure.
    pub(super) fn send(&self, seq: usize, key: &[u8], payload: &[u8]) -> Result<(), String> {
        let mut record =
            BaseRecord::with_opaque_to(&self.kafka_topic, seq).key(key).payload(payload);
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    std::thread::sleep(Duration::from_micros(200));
                }
                Err((error, _)) => return Err(error.to_string()),
            }
        }
    }
}

/// PUBACKs in the order of the PUBLISHes. A sequence number counts all messages; its place is its
/// remainder, which is its own as long as the window is smaller than the packet ids.
pub(super) struct Order {
    delivered: Box<[bool]>,
    next: usize,
}

/// Places.
pub(super) const PLACES: usize = 1 << 16;

impl Order {
    pub(super) fn new() -> Self {
        Self { delivered: vec![false; PLACES].into(), next: 0 }
    }

    /// Takes the reports in and gives the place of each message that may be acknowledged now.
    pub(super) fn settle(&mut self, seqs: &mut Vec<usize>, mut acknowledge: impl FnMut(usize)) {
        for seq in seqs.drain(..) {
            self.delivered[seq % PLACES] = true;
        }
        while std::mem::take(&mut self.delivered[self.next % PLACES]) {
            acknowledge(self.next % PLACES);
            self.next += 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
