//! The pure cores in the order in which a message passes through them, without sockets, actors and
//! librdkafka: for micro-benchmarks and for the count of instructions.

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use mqtt_kafka_bridge::config::{Config, LogConfig, TimingPolicy};
use mqtt_kafka_bridge::kafka::classify::{self, Class};
use mqtt_kafka_bridge::kafka::partition_queue::{Arrived, PartitionQueue, Path, Queued};
use mqtt_kafka_bridge::message::{Message, Qos, RouteId, Seq, Stamp};
use mqtt_kafka_bridge::mqtt::frame::{Frame, FrameReader};
use mqtt_kafka_bridge::mqtt::packet::{self, Incoming, Version};
use mqtt_kafka_bridge::mqtt::window::{Limits, Window};
use mqtt_kafka_bridge::observe::{Logging, Style, TimingRecord};
use mqtt_kafka_bridge::route::{Input, Match, Route, Router};
use mqtt_kafka_bridge::stage::{ForwardMsg, Verdict};

/// Messages of one read.
pub(crate) const BATCH: u16 = 250;
/// MQTT topics, each with a route level of its own.
const MQTT_TOPICS: u16 = 64;
const PAYLOAD: [u8; 128] = [b'x'; 128];

/// A message on its way through a queue.
pub(crate) struct Item(pub(crate) ForwardMsg);

impl Queued for Item {
    fn seq(&self) -> Seq {
        self.0.id.seq
    }

    fn bytes(&self) -> usize {
        let message = &self.0.message;
        let value = self.0.record().and_then(|record| record.value.as_ref());
        message.mqtt_topic.len() + value.map_or(0, |value| value.len())
    }
}

/// The state of the path from one batch to the next.
pub(crate) struct DataPath {
    version: Version,
    stream: Vec<u8>,
    frames: FrameReader,
    window: Window,
    connection: Arc<str>,
    router: Router,
    queue: PartitionQueue<Item>,
    logging: Logging,
    acks: BytesMut,
}

impl DataPath {
    /// For one protocol version, one route, and a timing record for every message.
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            stream: stream(version),
            frames: FrameReader::new(version, 1 << 20),
            window: Window::new(Limits { messages: 1000, qos0_messages: 1000, bytes: 16 << 20 }),
            connection: "mqtt".into(),
            router: router(1),
            queue: PartitionQueue::new(&"bench".into(), Some(3)),
            logging: logging(TimingPolicy::All),
            acks: BytesMut::new(),
        }
    }

    /// One read, from bytes to records, and its delivery reports, from codes to PUBACKs.
    pub(crate) fn batch(&mut self) {
        let now = Stamp::now();
        self.take_in(now);
        let sent = self.send(now);
        let verdicts = self.report(sent, now);
        assert_eq!(verdicts.len(), usize::from(BATCH), "every message gets its verdict");
        for verdict in verdicts {
            self.window.settle(verdict, now.instant);
        }
        self.window.release(|ack| packet::encode_ack(ack, &mut self.acks));
        assert_eq!(self.acks.len(), 4 * usize::from(BATCH), "every message is acknowledged");
        // The connection sends a PINGREQ when the window asks for one.
        if self.window.wants_ping() {
            packet::encode_pingreq(&mut self.acks);
            self.window.ping_written();
            self.window.ping_answered();
        }
        black_box(&self.acks);
        self.acks.clear();
    }

    fn take_in(&mut self, now: Stamp) {
        let mut rest = &self.stream[..];
        while !rest.is_empty() {
            // A socket gives as much as there is room for.
            let space = self.frames.space();
            let count = rest.len().min(space.capacity() - space.len());
            space.put_slice(&rest[..count]);
            rest = &rest[count..];
            while let Some(frame) = self.frames.next_frame().expect("well framed") {
                let Frame::Whole(frame) = frame else { panic!("no frame is oversize") };
                let incoming = packet::decode(self.version, &frame).expect("a PUBLISH");
                let Incoming::Publish(publish) = incoming else { panic!("only PUBLISHes") };
                let ack = publish.ack.expect("QoS 1");
                let (mqtt_topic, payload) = (&publish.mqtt_topic, &publish.payload);
                assert!(!self.window.redelivered(ack, publish.dup, mqtt_topic, payload));
                assert!(self.window.has_room(publish.qos, publish.window_bytes()));
                let destinations = self
                    .router
                    .route(&input(mqtt_topic, payload, now, &self.connection))
                    .destinations;
                let message = Message {
                    mqtt_topic: publish.mqtt_topic,
                    payload: publish.payload,
                    properties: publish.properties,
                    qos: publish.qos,
                    retain: publish.retain,
                    received_at: now,
                    destinations,
                };
                self.window.admit(Arc::new(message), Some(ack));
            }
        }
    }

    fn send(&mut self, now: Stamp) -> Vec<Arrived<Item>> {
        for msg in self.window.take_unforwarded() {
            self.queue.push(Item(msg));
        }
        let mut sent = Vec::new();
        while sent.len() < usize::from(BATCH) {
            match self.queue.next(now.instant, true) {
                Some((_, item)) => sent.push(item),
                // The first record goes alone, the rest when that is in Kafka.
                None => match sent.pop() {
                    Some(item) => {
                        self.queue.delivered(Path::Pipelined, 3);
                        sent.insert(0, item);
                    }
                    None => panic!("the queue is stuck"),
                },
            }
        }
        sent
    }

    fn report(&mut self, sent: Vec<Arrived<Item>>, now: Stamp) -> Vec<Verdict> {
        let timing = self.logging.timing();
        let mut timing = timing.batch();
        let mut verdicts = Vec::with_capacity(sent.len());
        for (offset, item) in (0..).zip(sent) {
            assert_eq!(classify::of_report(black_box(0)), Class::Delivered);
            let message = &item.0.message;
            let record = item.0.record().expect("only records");
            timing.record(&TimingRecord {
                connection: None,
                mqtt_topic: &message.mqtt_topic,
                mqtt_qos: 1,
                kafka_topic: &record.kafka_topic,
                kafka_partition: 3,
                kafka_offset: offset,
                payload_bytes: message.payload.len(),
                received_at: message.received_at,
                produced_at: now,
                delivered_at: now,
            });
            verdicts.push(Verdict::Delivered(item.0.id));
            self.queue.delivered(Path::Pipelined, 3);
        }
        verdicts
    }
}

/// PUBLISHes of one batch.
pub(crate) fn stream(version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..BATCH {
        let mqtt_topic = format!("bench/0000/{:06}", number % MQTT_TOPICS);
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let length = 2 + mqtt_topic.len() + 2 + properties.len() + PAYLOAD.len();
        out.extend([0x32, (length % 128) as u8 | 0x80, (length / 128) as u8, 0]);
        out.push(u8::try_from(mqtt_topic.len()).expect("short"));
        out.extend(mqtt_topic.as_bytes());
        out.extend((number + 1).to_be_bytes());
        out.extend(properties);
        out.extend(PAYLOAD);
    }
    out
}

/// A router of `routes` routes: each matches one level, a single one matches all.
pub(crate) fn router(routes: usize) -> Router {
    let route = |number: usize| {
        let filter = match routes {
            1 => "bench/#".to_owned(),
            _ => format!("bench/{number:04}/#"),
        };
        Route::new(RouteId(number), filter.parse().expect("a legal filter"), "bench")
    };
    Router::new(&(0..routes).map(route).collect::<Vec<_>>(), Match::First)
}

/// A message of QoS 1 before it is routed.
pub(crate) fn input<'a>(
    mqtt_topic: &'a Bytes,
    payload: &'a Bytes,
    received_at: Stamp,
    connection: &'a Arc<str>,
) -> Input<'a> {
    static NO_PROPERTIES: Bytes = Bytes::new();
    Input {
        mqtt_topic,
        payload,
        properties: &NO_PROPERTIES,
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        received_at,
        waited: Duration::ZERO,
        connection,
    }
}

/// A log that goes nowhere.
pub(crate) fn logging(timing: TimingPolicy) -> Logging {
    let config = LogConfig { timing, ..Config::for_test().log };
    Logging::to_sink(&config, Style::Json, io::sink())
}
