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
use mqtt_kafka_bridge::mqtt::timings::Timings;
use mqtt_kafka_bridge::mqtt::window::{Limits, Window};
use mqtt_kafka_bridge::observe::{Delivered, Logging, Metrics, Runs, Style};
use mqtt_kafka_bridge::route::captures::Captures;
use mqtt_kafka_bridge::route::headers::{HeaderItem, Headers};
use mqtt_kafka_bridge::route::rule::Key;
use mqtt_kafka_bridge::route::{Input, Match, Route, Router, Template};
use mqtt_kafka_bridge::stage::{ForwardMsg, Placed, SourceId, Verdict};

/// Messages of one read.
pub(crate) const BATCH: u16 = 250;
/// MQTT topics, each with a route level of its own.
const MQTT_TOPICS: usize = 64;
const PAYLOAD: [u8; 128] = [b'x'; 128];
/// 200 bytes, as sensors send them.
const JSON: &[u8] = br#"{"ts":1773576000123,"device":{"type":"sensor","fw":"2.4.1","id":"d7-000431"},"values":{"temperature":21.53,"humidity":48.2,"pressure":1013.25,"battery":97},"location":"hall 3, line 12","status":"normal"}"#;

/// What passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// One route with a fixed Kafka topic.
    Fixed,
    /// Kafka topic and key from levels of the MQTT topic.
    Levels,
    /// As [`Case::Fixed`], with a payload of 200 bytes.
    FixedJson,
    /// The key is a field of a payload of 200 bytes.
    JsonKey,
    /// Five headers.
    Headers,
    /// Ten routes with Kafka topic and key from levels.
    TenRoutes,
    /// Three hundred such routes, and 100,000 MQTT topics, which come again.
    ManyRoutes,
    /// The same, each MQTT topic for the first time.
    NewMqttTopics,
}

impl Case {
    pub(crate) const ALL: [Self; 8] = [
        Self::Fixed,
        Self::Levels,
        Self::FixedJson,
        Self::JsonKey,
        Self::Headers,
        Self::TenRoutes,
        Self::ManyRoutes,
        Self::NewMqttTopics,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Levels => "levels",
            Self::FixedJson => "fixed, 200 bytes",
            Self::JsonKey => "JSON field, 200 bytes",
            Self::Headers => "five headers",
            Self::TenRoutes => "ten routes",
            Self::ManyRoutes => "300 routes, 100,000 MQTT topics",
            Self::NewMqttTopics => "300 routes, new MQTT topics",
        }
    }

    fn payload(self) -> &'static [u8] {
        match self {
            Self::FixedJson | Self::JsonKey => JSON,
            _ => &PAYLOAD,
        }
    }

    /// First levels, each with a route of its own where there are several routes; and MQTT topics.
    fn spread(self) -> (usize, usize) {
        match self {
            Self::TenRoutes => (10, MQTT_TOPICS),
            Self::ManyRoutes | Self::NewMqttTopics => (300, 100_000),
            _ => (1, MQTT_TOPICS),
        }
    }

    fn routes(self) -> Vec<Route> {
        let (routes, _) = self.spread();
        (0..routes).map(|number| self.route(number)).collect()
    }

    fn route(self, number: usize) -> Route {
        let template = |written| Template::parse(written).expect(written);
        let id = RouteId(number);
        let fixed = |written| {
            let (filter, captures) = Captures::read(written).expect("a legal filter");
            Route { captures, ..Route::new(id, filter, "bench") }
        };
        let mut route = match self {
            Self::Fixed | Self::FixedJson => fixed("bench/#"),
            Self::Levels => Route {
                kafka_topic: template("bench.{site}"),
                key: Key::Template(template("{site}.{device}")),
                ..fixed("bench/{site}/{device}")
            },
            Self::JsonKey => {
                Route { key: Key::Template(template("{json./device/id}")), ..fixed("bench/#") }
            }
            Self::Headers => {
                let items = vec![
                    HeaderItem::MqttTopic,
                    HeaderItem::Qos,
                    HeaderItem::Retain,
                    HeaderItem::ReceivedAt,
                    HeaderItem::Connection,
                ];
                Route { headers: Headers { items, ..Headers::default() }, ..fixed("bench/#") }
            }
            Self::TenRoutes | Self::ManyRoutes | Self::NewMqttTopics => Route {
                kafka_topic: template("bench.{mqtt_topic[1]}"),
                key: Key::Template(template("{mqtt_topic[1]}.{device}")),
                ..fixed(&format!("bench/{number:04}/{{device}}"))
            },
        };
        assert_eq!(route.bind(), [], "the route is as it should be");
        route
    }

    /// The bytes of batches, which come round again.
    pub(crate) fn streams(self, version: Version) -> Vec<Vec<u8>> {
        let (levels, mqtt_topics) = self.spread();
        let batches = mqtt_topics.div_ceil(usize::from(BATCH));
        let mqtt_topic = |number: usize| {
            let number = number % mqtt_topics;
            format!("bench/{:04}/{number:06}", number % levels)
        };
        let batch = |batch: usize| {
            let numbers = batch * usize::from(BATCH)..(batch + 1) * usize::from(BATCH);
            publishes(version, numbers.map(mqtt_topic), self.payload())
        };
        (0..batches).map(batch).collect()
    }
}

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
    streams: Vec<Vec<u8>>,
    /// Which of them is next.
    next: usize,
    frames: FrameReader,
    window: Window,
    connection: Arc<str>,
    router: Router,
    queue: PartitionQueue<Item>,
    logging: Logging,
    metrics: Arc<Metrics>,
    timings: Timings,
    acks: BytesMut,
}

impl DataPath {
    /// For one protocol version, and a timing record for every message.
    pub(crate) fn new(version: Version, case: Case) -> Self {
        let (routes, logging) = (case.routes(), logging(TimingPolicy::All));
        let metrics = Arc::new(Metrics::new(["mqtt".into()]));
        metrics.route_names().learn(routes.iter().map(Route::known_as), []);
        Self {
            version,
            streams: case.streams(version),
            next: 0,
            frames: FrameReader::new(version, 1 << 20),
            window: Window::new(Limits { messages: 1000, qos0_messages: 1000, bytes: 16 << 20 }),
            connection: "mqtt".into(),
            router: Router::new(&routes, Match::First),
            queue: PartitionQueue::new(&"bench".into(), Some(3)),
            timings: Timings::new(SourceId(0), logging.timing(), Arc::clone(&metrics)),
            logging,
            metrics,
            acks: BytesMut::new(),
        }
    }

    /// One read, from bytes to records, and its delivery reports, from codes to PUBACKs.
    pub(crate) fn batch(&mut self) {
        let now = Stamp::now();
        self.take_in(now);
        self.window.routed(now.instant);
        let metrics = Arc::clone(&self.metrics);
        let connection = metrics.connection(SourceId(0));
        connection.record_routed(self.window.take_routed(), now.instant);
        let sent = self.send(now);
        let (placed, verdicts) = self.report(sent, now);
        placed.iter().for_each(|placed| self.window.placed(placed));
        assert_eq!(verdicts.len(), usize::from(BATCH), "every message gets its verdict");
        for verdict in verdicts {
            self.window.settle(verdict, now.instant);
        }
        self.window.release(|ack| packet::encode_ack(ack, &mut self.acks));
        assert_eq!(self.acks.len(), 4 * usize::from(BATCH), "every message is acknowledged");
        connection.record_acknowledged(self.window.take_acknowledged(), now.instant);
        assert!(self.window.any_timed(), "every message has its timing record");
        self.timings.write_due(&mut self.window, now.instant);
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
        let mut rest = &self.streams[self.next][..];
        self.next = (self.next + 1) % self.streams.len();
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

    fn report(&mut self, sent: Vec<Arrived<Item>>, now: Stamp) -> (Vec<Placed>, Vec<Verdict>) {
        let timing = self.logging.timing();
        let mut runs = Runs::default();
        let (mut last, mut total_us) = (None, 0);
        let mut placed = Vec::with_capacity(sent.len());
        let mut verdicts = Vec::with_capacity(sent.len());
        for (offset, item) in (0..).zip(sent) {
            assert_eq!(classify::of_report(black_box(0)), Class::Delivered);
            let message = &item.0.message;
            let record = item.0.record().expect("only records");
            let stamps = [message.received_at, now, now];
            let bytes = record.value.as_ref().map_or(0, Bytes::len);
            Delivered::add(&mut runs, (SourceId(0), record.route), stamps, bytes);
            if last != Some(stamps) {
                total_us = now.us_since(&message.received_at);
                last = Some(stamps);
            }
            if timing.wants(black_box(total_us)) {
                placed.push(Placed {
                    id: item.0.id,
                    kafka_partition: 3,
                    kafka_offset: offset,
                    produced_at: now,
                    delivered_at: now,
                    is_logged: true,
                    is_slow: false,
                });
            }
            verdicts.push(Verdict::Delivered(item.0.id));
            self.queue.delivered(Path::Pipelined, 3);
        }
        self.metrics.record_delivered(runs.as_slice());
        assert_eq!(placed.len(), verdicts.len(), "every record is to have a timing record");
        (placed, verdicts)
    }
}

/// PUBLISHes of one batch.
fn publishes(
    version: Version,
    mqtt_topics: impl Iterator<Item = String>,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    for (packet_id, mqtt_topic) in (1_u16..).zip(mqtt_topics) {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let length = 2 + mqtt_topic.len() + 2 + properties.len() + payload.len();
        out.extend([0x32, (length % 128) as u8 | 0x80, (length / 128) as u8, 0]);
        out.push(u8::try_from(mqtt_topic.len()).expect("short"));
        out.extend(mqtt_topic.as_bytes());
        out.extend(packet_id.to_be_bytes());
        out.extend(properties);
        out.extend(payload);
    }
    out
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
