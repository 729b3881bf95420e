//! What both baselines share: the MQTT connection, and a producer like the bridge's. They have no log,
//! no routes, no supervision, and end at the first error.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mqtt_kafka_bridge::message::Qos;
use mqtt_kafka_bridge::mqtt::packet::{self, Connect, Subscribe};
use parking_lot::{Condvar, Mutex};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;

use super::scenario::HEADERS;
use super::task::Task;
use super::wire;
use crate::demo::brokers::spawn;

/// Connects and subscribes.
pub(super) fn connect(task: &Task) -> Result<TcpStream, String> {
    let told = |error: std::io::Error| error.to_string();
    let (scenario, endpoints) = (&task.scenario, &task.endpoints);
    let mut stream = TcpStream::connect(&endpoints.mqtt).map_err(told)?;
    stream.set_nodelay(true).map_err(told)?;
    let connect = Connect {
        client_id: &endpoints.name,
        keep_alive_s: 0,
        clean_start: true,
        session_expiry_s: 0,
        receive_maximum: scenario.window,
        user_properties: &[],
        will: None,
        username: endpoints.login.as_ref().map(|(name, _)| &**name),
        password: endpoints.login.as_ref().map(|(_, password)| &**password),
    };
    let mut out = BytesMut::new();
    packet::encode_connect(scenario.protocol, &connect, &mut out);
    stream.write_all(&out).map_err(told)?;
    expect(&mut stream, 0x20)?;
    out.clear();
    let mqtt_filter = format!("{}/#", endpoints.name);
    let subscribe = Subscribe {
        packet_id: 1,
        mqtt_filter: &mqtt_filter,
        qos: if scenario.qos == 1 { Qos::AtLeastOnce } else { Qos::AtMostOnce },
        subscription_id: None,
        only_if_new: false,
        no_local: false,
    };
    packet::encode_subscribe(scenario.protocol, &subscribe, &mut out);
    stream.write_all(&out).map_err(told)?;
    expect(&mut stream, 0x90)?;
    // The bridge's own log message, which the bench waits for.
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
    /// Wakes a thread that waits.
    first: Condvar,
    /// Wakes a task that waits.
    pub(super) notify: Notify,
}

impl Reports {
    /// Waits for reports and swaps them into `seqs`, which must be empty.
    pub(super) fn wait(&self, seqs: &mut Vec<usize>) {
        let mut reported = self.seqs.lock();
        self.first.wait_while(&mut reported, |reported| reported.is_empty());
        std::mem::swap(&mut *reported, seqs);
    }

    /// Swaps the reports into `seqs`, which must be empty.
    pub(super) fn take(&self, seqs: &mut Vec<usize>) {
        std::mem::swap(&mut *self.seqs.lock(), seqs);
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
        let mut seqs = self.0.seqs.lock();
        seqs.push(seq);
        let is_first = seqs.len() == 1;
        drop(seqs);
        if is_first {
            self.0.first.notify_one();
            self.0.notify.notify_one();
        }
    }
}

/// A producer like the bridge's, with its poll thread.
pub(super) struct Producer {
    inner: Arc<BaseProducer<Context>>,
    kafka_topics: Vec<String>,
    has_headers: bool,
}

impl Producer {
    pub(super) fn start(task: &Task, reports: &Arc<Reports>) -> Result<Self, String> {
        let endpoints = &task.endpoints;
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &endpoints.kafka)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "1")
            .set("message.max.bytes", "20000000")
            .set("partitioner", "murmur2_random");
        for (key, value) in &endpoints.properties {
            config.set(key, value);
        }
        let context = Context(Arc::clone(reports));
        let inner: BaseProducer<Context> =
            config.create_with_context(context).map_err(|error| error.to_string())?;
        let inner = Arc::new(inner);
        let polled = Arc::clone(&inner);
        spawn("kafka-poll", move || {
            // Makes the producer get its id at once, as the bridge's does.
            let _ = polled.client().fetch_metadata(None, Duration::from_secs(1));
            loop {
                polled.poll(Duration::from_millis(100));
            }
        })
        .map_err(|error| error.to_string())?;
        let kafka_topics = task.scenario.kafka_topics(&endpoints.kafka_topic);
        Ok(Self { inner, kafka_topics, has_headers: task.scenario.headers })
    }

    /// Waits while the queue is full: that is the backpressure.
    pub(super) fn send(&self, seq: usize, key: &[u8], payload: &[u8]) -> Result<(), String> {
        let kafka_topic = self.kafka_topic(key)?;
        let mut record = BaseRecord::with_opaque_to(kafka_topic, seq).key(key).payload(payload);
        if self.has_headers {
            record = record.headers(headers(key));
        }
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

impl Producer {
    /// The only Kafka topic, or the one whose number is the second level of the MQTT topic.
    fn kafka_topic(&self, mqtt_topic: &[u8]) -> Result<&str, String> {
        if let [only] = &*self.kafka_topics {
            return Ok(only);
        }
        let level = mqtt_topic.split(|byte| *byte == b'/').nth(1);
        let number = level.and_then(|level| str::from_utf8(level).ok()?.parse::<usize>().ok());
        let name = number.and_then(|number| self.kafka_topics.get(number));
        name.map(String::as_str).ok_or_else(|| "an MQTT topic without a number".to_owned())
    }
}

/// Headers of the same sizes as the bridge's.
fn headers(mqtt_topic: &[u8]) -> OwnedHeaders {
    let values = [mqtt_topic, b"1", b"false", b"2026-01-02T03:04:05.123456Z", b"mqtt"];
    let all = HEADERS.into_iter().zip(values);
    all.fold(OwnedHeaders::new_with_capacity(HEADERS.len()), |headers, (key, value)| {
        headers.insert(Header { key, value: Some(value) })
    })
}
