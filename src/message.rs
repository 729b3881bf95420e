//! A message on its way: its number, what MQTT delivered, and the records that routing made of it.
//! Imports no other module; [`crate::stage`] says how messages travel from stage to stage.

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::RwLock;

/// How much of a payload over `max_payload` is kept for its dead letter, in bytes, with size and hash of the
/// whole.
pub const DEAD_LETTER_BEGINNING_MAX: usize = 512 * 1024;
/// How much of any other payload a dead letter keeps, in bytes: whole, if it is not larger. It is in memory
/// anyway; the bound is for the line that is made of it.
pub const DEAD_LETTER_PAYLOAD_MAX: usize = 8 * 1024 * 1024;

/// The reason code of a message that no route matches. Its dead letter delays no other message: if it
/// reaches its own bound or cannot be written, the message is dropped (`mqtt.unmatched`).
pub const NO_ROUTE: &str = "no_route";

/// Number of a received message. Never repeats within a process and grows in the order of receipt,
/// so that a verdict that waited in a mailbox during a restart can only mean its own message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The next number of this process.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Number of one set of producers: the epoch of the stage. Never repeats within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next number of this process.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One moment on both clocks: the wall clock for the reader of a log, the monotonic one for
/// latencies. Taken once a batch, not once a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since the Unix epoch.
    pub wall_us: u64,
    /// The same moment on the monotonic clock.
    pub instant: Instant,
}

impl Stamp {
    /// Now.
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            instant: Instant::now(),
        }
    }

    /// The wall clock at a later moment, in microseconds since the Unix epoch.
    pub fn wall_us_at(&self, later: Instant) -> u64 {
        let elapsed = later.saturating_duration_since(self.instant).as_micros();
        self.wall_us.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Microseconds from `earlier` to this moment; 0 if `earlier` is later.
    pub fn us_since(&self, earlier: &Self) -> u64 {
        let elapsed = self.instant.saturating_duration_since(earlier.instant);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Quality of service of a publish or a subscription. The bridge never asks for 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// 0: never acknowledged.
    AtMostOnce,
    /// 1: acknowledged by PUBACK.
    AtLeastOnce,
}

impl Qos {
    /// 0 or 1, as on the wire.
    pub fn level(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
        }
    }
}

/// A message as MQTT delivered it, and where it goes. All stages share one allocation, so that handing it
/// on costs one reference count and not one for each part.
#[derive(Debug)]
pub struct Message {
    /// The name it was published under. If it is not UTF-8, the message goes to the dead letter for
    /// that reason.
    pub mqtt_topic: Bytes,
    /// The payload, untouched; only its beginning if it was over `max_payload`.
    pub payload: Bytes,
    /// The properties of MQTT 5 as received, if they are kept.
    pub properties: Bytes,
    /// How it was delivered to the bridge.
    pub qos: Qos,
    /// RETAIN of the PUBLISH.
    pub retain: bool,
    /// When the read that brought it returned.
    pub received_at: Stamp,
    /// What routing made of it. A message without destinations is acknowledged and counted as filtered,
    /// and not handed on.
    pub destinations: Destinations,
}

impl Message {
    /// The MQTT topic as readable text: invalid UTF-8 is replaced.
    pub fn mqtt_topic_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.mqtt_topic)
    }

    /// How many bytes of the window's byte limit it takes: those that MQTT delivered, and those that what it
    /// became has of its own.
    pub fn window_bytes(&self) -> usize {
        let received = self.mqtt_topic.len() + self.payload.len() + self.properties.len();
        let own = |destination: &Destination| match destination {
            Destination::Record(record) => record.own_bytes(self),
            Destination::DeadLetter(refusal) => refusal.detail.len(),
        };
        received
            + match &self.destinations {
                Destinations::None => 0,
                Destinations::One(destination) => own(destination),
                Destinations::Several(destinations) => {
                    size_of_val::<[_]>(destinations) + destinations.iter().map(own).sum::<usize>()
                }
            }
    }
}

/// What routing made of a message: nothing, one destination (nearly always, and without an allocation),
/// or several.
#[derive(Debug, Clone, Default)]
pub enum Destinations {
    /// No route wants it.
    #[default]
    None,
    /// One.
    One(Destination),
    /// Several, at most [`Destinations::MAX`], each with a verdict of its own.
    Several(Box<[Destination]>),
}

impl Destinations {
    /// Most destinations of one message: [`RecordId::index`] counts them.
    pub const MAX: usize = u16::MAX as usize;

    /// All of them, in the order in which [`RecordId::index`] counts.
    #[inline]
    pub fn as_slice(&self) -> &[Destination] {
        match self {
            Self::None => &[],
            Self::One(destination) => std::slice::from_ref(destination),
            Self::Several(destinations) => destinations,
        }
    }
}

/// Where a routed message, or a part of it, goes.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To Kafka.
    Record(Record),
    /// To the dead letter, for good.
    DeadLetter(Box<Refusal>),
}

/// A record to write to Kafka, resolved once by the router: the stages behind it know no routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The route that made it, for metrics alone.
    pub route: RouteId,
    /// Where it goes.
    pub kafka_topic: Arc<str>,
    /// Who named that.
    pub origin: KafkaTopicOrigin,
    /// The key.
    pub key: RecordKey,
    /// The value; `None` is null, a tombstone in a compacted Kafka topic.
    pub value: Option<Bytes>,
    /// What few records have. librdkafka takes records without it many at a time.
    pub extras: Option<Box<RecordExtras>>,
}

/// Who named a record's Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KafkaTopicOrigin {
    /// The configuration: if it does not exist, its records are held.
    #[default]
    Configured,
    /// A template, and with it perhaps a stranger: such names are bounded in number.
    Template(IfMissing),
}

/// What becomes of a record whose Kafka topic does not exist, where a template named it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IfMissing {
    /// It goes to the dead letter.
    #[default]
    DeadLetter,
    /// It is held until the Kafka topic is there.
    Hold,
    /// The Kafka topic is created.
    Create(Arc<NewKafkaTopic>),
}

/// How a Kafka topic is created.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewKafkaTopic {
    /// How many partitions; `None`: as the brokers are configured.
    pub partitions: Option<i32>,
    /// How many replicas; `None`: as the brokers are configured.
    pub replication: Option<i32>,
    /// Its configuration, by Kafka's names.
    pub config: Vec<(String, String)>,
}

/// The key of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordKey {
    /// The MQTT topic of its message, which is not kept twice.
    MqttTopic,
    /// These bytes.
    Bytes(Bytes),
    /// None: the record goes to the partition of its MQTT topic's hash.
    None,
}

/// What a record may have beside key and value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordExtras {
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The partition; `None`: by the partitioner, from the key or the MQTT topic.
    pub partition: Option<i32>,
    /// Milliseconds since the Unix epoch; `None`: when it is produced.
    pub timestamp_ms: Option<i64>,
}

impl Record {
    /// A record whose key is the MQTT topic, without extras: where the partitioner puts it, stamped when
    /// it is produced.
    pub fn new(route: RouteId, kafka_topic: Arc<str>, value: Bytes) -> Self {
        let (key, value, extras) = (RecordKey::MqttTopic, Some(value), None);
        Self { route, kafka_topic, origin: KafkaTopicOrigin::default(), key, value, extras }
    }

    /// The key, if it has one; `mqtt_topic` is that of its message.
    #[inline]
    pub fn key<'a>(&'a self, mqtt_topic: &'a Bytes) -> Option<&'a Bytes> {
        match &self.key {
            RecordKey::MqttTopic => Some(mqtt_topic),
            RecordKey::Bytes(key) => Some(key),
            RecordKey::None => None,
        }
    }

    /// The partition that it asks for, if it does.
    #[inline]
    pub fn partition(&self) -> Option<i32> {
        self.extras.as_ref()?.partition
    }

    /// The bytes of key, value and headers that are no part of what MQTT delivered with its message, and what
    /// headers take beside their text.
    #[inline]
    fn own_bytes(&self, message: &Message) -> usize {
        let key = match &self.key {
            RecordKey::Bytes(key) if !is_part(key, &message.mqtt_topic) => key.len(),
            RecordKey::MqttTopic | RecordKey::Bytes(_) | RecordKey::None => 0,
        };
        let value = self.value.as_ref().filter(|value| !is_part(value, &message.payload));
        let header = |header: &Header| {
            let value = header.value.as_ref().map_or(0, Bytes::len);
            HEADER_BYTES + header.name.count_bytes() + value
        };
        let headers = match &self.extras {
            None => 0,
            Some(extras) => extras.headers.iter().map(header).sum(),
        };
        key + value.map_or(0, Bytes::len) + headers
    }

    /// The timestamp that it names, in milliseconds since the Unix epoch.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.extras.as_ref()?.timestamp_ms
    }

    /// Its headers.
    pub fn headers(&self) -> &[Header] {
        self.extras.as_ref().map_or(&[], |extras| &extras.headers)
    }
}

/// What a header takes in memory beside name and value: itself, and what counts the references to its value.
const HEADER_BYTES: usize = size_of::<Header>() + 32;

/// Whether `part` is the same memory as a part of `whole`.
fn is_part(part: &Bytes, whole: &Bytes) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: Arc<CStr>,
    /// Its value; `None` is null.
    pub value: Option<Bytes>,
}

/// A route, by its number in [`RouteNames`], from 0. It is the key wherever something is kept for each
/// route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RouteId(pub usize);

/// As the configuration and its errors call the route: `routes[3]`.
impl fmt::Display for RouteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "routes[{}]", self.0)
    }
}

/// The routes that this process has had, by number. A route keeps its number for as long as its name is
/// known, whatever else of it a new configuration changes; so the list only grows, and what is counted of a
/// route that is gone stays readable.
#[derive(Debug, Default)]
pub struct RouteNames(RwLock<Vec<RouteName>>);

/// What people know a route by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteName {
    /// `name` of the route.
    pub name: Arc<str>,
    /// Its filter, as it was last configured.
    pub mqtt_filter: Arc<str>,
}

impl RouteNames {
    /// The numbers of the routes of a configuration, in its order; names that are new get new ones. Of
    /// several routes of one name each has its own.
    pub fn learn(&self, routes: impl IntoIterator<Item = RouteName>) -> Vec<RouteId> {
        let mut known = self.0.write();
        let mut taken = Vec::new();
        for route in routes {
            let is_free = |(id, it): &(usize, &RouteName)| {
                it.name == route.name && !taken.contains(&RouteId(*id))
            };
            let found = known.iter().enumerate().find(is_free).map(|(id, _)| id);
            match found {
                Some(id) => known[id].mqtt_filter = route.mqtt_filter,
                None => known.push(route),
            }
            taken.push(RouteId(found.unwrap_or(known.len() - 1)));
        }
        taken
    }

    /// What this route is called; a number that was never given out is its own name.
    pub fn name(&self, route: RouteId) -> Arc<str> {
        let known = self.0.read();
        known.get(route.0).map_or_else(|| route.to_string().into(), |it| Arc::clone(&it.name))
    }

    /// All of them, by number.
    pub fn all(&self) -> Vec<RouteName> {
        self.0.read().clone()
    }
}

/// One destination of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId {
    /// The message.
    pub seq: Seq,
    /// Which of its [`Destinations`], from 0.
    pub index: u16,
}

impl RecordId {
    /// The first destination of a message, nearly always its only one.
    pub fn first(seq: Seq) -> Self {
        Self { seq, index: 0 }
    }
}

/// Why a message goes to the dead letter; and size and hash of its whole payload if only the beginning was
/// kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable code from a small set: the `reason` of the dead letter.
    pub reason: &'static str,
    /// One readable sentence: what was found and what was expected.
    pub detail: String,
    /// Size and SHA-256 of the whole payload, if [`Message::payload`] is only its beginning.
    pub whole: Option<WholePayload>,
    /// The route that refused it; `None` if none did.
    pub route: Option<RouteId>,
}

impl Refusal {
    /// A refusal by no route, of a message that was kept whole.
    pub fn new(reason: &'static str, detail: String) -> Self {
        Self { reason, detail, whole: None, route: None }
    }
}

/// Size and hash of a payload that was not kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholePayload {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, mqtt_filter: &str) -> RouteName {
        RouteName { name: name.into(), mqtt_filter: mqtt_filter.into() }
    }

    #[test]
    fn a_route_keeps_its_number_as_long_as_its_name_is_known() {
        let names = RouteNames::default();
        assert_eq!(names.learn([route("a", "a"), route("b", "b")]), [RouteId(0), RouteId(1)]);
        // The first one goes, another comes before the one that stays, which has another filter now.
        assert_eq!(names.learn([route("c", "c"), route("b", "b/#")]), [RouteId(2), RouteId(1)]);
        assert_eq!(names.learn([route("a", "a")]), [RouteId(0)]);
        assert_eq!(&*names.name(RouteId(2)), "c");
        assert_eq!(&*names.name(RouteId(3)), "routes[3]");
        assert_eq!(names.all(), [route("a", "a"), route("b", "b/#"), route("c", "c")]);
    }

    #[test]
    fn routes_of_one_name_have_a_number_each() {
        let names = RouteNames::default();
        let twice = || [route("a", "a"), route("a", "a")];
        assert_eq!(names.learn(twice()), [RouteId(0), RouteId(1)]);
        assert_eq!(names.learn(twice()), [RouteId(0), RouteId(1)]);
    }

    fn message(destinations: Destinations, mqtt_topic: &Bytes, payload: &Bytes) -> Message {
        Message {
            mqtt_topic: mqtt_topic.clone(),
            payload: payload.clone(),
            properties: Bytes::from_static(b"pro"),
            qos: Qos::AtLeastOnce,
            retain: false,
            received_at: Stamp::now(),
            destinations,
        }
    }

    #[test]
    fn the_window_counts_what_records_have_of_their_own_and_no_byte_twice() {
        let (mqtt_topic, payload) = (Bytes::from("a/device"), Bytes::from(" {} "));
        let record = || Record::new(RouteId(0), "k".into(), payload.slice(1..3));
        let own = |record: Record| {
            let records = Destinations::One(Destination::Record(record));
            let whole = message(records, &mqtt_topic, &payload).window_bytes();
            whole - message(Destinations::None, &mqtt_topic, &payload).window_bytes()
        };
        assert_eq!(message(Destinations::None, &mqtt_topic, &payload).window_bytes(), 8 + 4 + 3);
        assert_eq!(own(record()), 0, "a part of the payload");
        assert_eq!(own(Record { key: RecordKey::Bytes(mqtt_topic.slice(2..)), ..record() }), 0);
        assert_eq!(own(Record { key: RecordKey::Bytes("device".into()), ..record() }), 6);
        assert_eq!(own(Record { key: RecordKey::None, value: None, ..record() }), 0);
        assert_eq!(own(Record { value: Some("{}".into()), ..record() }), 2);
        let header = |value| Header { name: c"mqtt.qos".into(), value };
        let headers = vec![header(Some("1".into())), header(None)];
        let extras = Some(Box::new(RecordExtras { headers, ..RecordExtras::default() }));
        assert_eq!(own(Record { extras, ..record() }), 8 + 1 + 8 + 2 * HEADER_BYTES);
        let several = [Record { value: Some("12345".into()), ..record() }, record()];
        let several = Destinations::Several(several.map(Destination::Record).into());
        let parts = 2 * size_of::<Destination>();
        assert_eq!(message(several, &mqtt_topic, &payload).window_bytes(), 8 + 4 + 3 + 5 + parts);
        let refusal = Box::new(Refusal::new(NO_ROUTE, "none".to_owned()));
        let refused = Destinations::One(Destination::DeadLetter(refusal));
        assert_eq!(message(refused, &mqtt_topic, &payload).window_bytes(), 8 + 4 + 3 + 4);
    }
}
