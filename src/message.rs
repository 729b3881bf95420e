//! A message on its way: its number, what MQTT delivered, and the records that routing made of it.
//! Imports no other module; [`crate::stage`] says how messages travel from stage to stage.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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
                    size_of_val::<[_]>(destinations) + self.own_bytes_once(destinations)
                }
            }
    }

    /// What these destinations have of their own, where several may have the same memory: routes that unpack a
    /// payload in the same way share what is in it.
    fn own_bytes_once(&self, destinations: &[Destination]) -> usize {
        let (mut parts, mut others) = (Vec::new(), 0);
        for destination in destinations {
            match destination {
                Destination::Record(record) => {
                    parts.extend(record.own_key(self));
                    parts.extend(record.own_value(self));
                    others += record.header_bytes();
                }
                Destination::DeadLetter(refusal) => others += refusal.detail.len(),
            }
        }
        others + bytes_once(parts)
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
    /// The moment that the device names, in microseconds since the Unix epoch, if the route asks for it. For
    /// latencies alone.
    pub device_us: Option<i64>,
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
    /// Which of the headers, by index, has the moment at which the record is handed to librdkafka as its value.
    pub produced_header: Option<usize>,
}

impl Record {
    /// A record whose key is the MQTT topic, without extras: where the partitioner puts it, stamped when
    /// it is produced.
    pub fn new(route: RouteId, kafka_topic: Arc<str>, value: Bytes) -> Self {
        let (key, value, extras) = (RecordKey::MqttTopic, Some(value), None);
        let (origin, device_us) = (KafkaTopicOrigin::default(), None);
        Self { route, kafka_topic, origin, key, value, device_us, extras }
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
        let [key, value] = [self.own_key(message), self.own_value(message)];
        key.map_or(0, Bytes::len) + value.map_or(0, Bytes::len) + self.header_bytes()
    }

    #[inline]
    fn own_key(&self, message: &Message) -> Option<&Bytes> {
        match &self.key {
            RecordKey::Bytes(key) if !is_part(key, &message.mqtt_topic) => Some(key),
            RecordKey::MqttTopic | RecordKey::Bytes(_) | RecordKey::None => None,
        }
    }

    #[inline]
    fn own_value(&self, message: &Message) -> Option<&Bytes> {
        self.value.as_ref().filter(|value| !is_part(value, &message.payload))
    }

    #[inline]
    fn header_bytes(&self) -> usize {
        let header = |header: &Header| {
            let value = header.value.as_ref().map_or(0, Bytes::len);
            HEADER_BYTES + header.name.count_bytes() + value
        };
        match &self.extras {
            None => 0,
            Some(extras) => extras.headers.iter().map(header).sum(),
        }
    }

    /// The timestamp that it names, in milliseconds since the Unix epoch.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.extras.as_ref()?.timestamp_ms
    }

    /// Its headers.
    pub fn headers(&self) -> &[Header] {
        self.extras.as_ref().map_or(&[], |extras| &extras.headers)
    }

    /// Whether one of its headers says when it is handed to librdkafka.
    pub fn says_produced_at(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.produced_header.is_some())
    }

    /// Names and values of its headers when it is handed to librdkafka, at the moment that `produced_at` says in
    /// RFC 3339.
    pub fn headers_at<'a>(&'a self, produced_at: &'a [u8]) -> Vec<(&'a CStr, Option<&'a [u8]>)> {
        let produced = self.extras.as_ref().and_then(|extras| extras.produced_header);
        let headers = self.headers().iter().enumerate();
        let pair = |(at, header): (usize, &'a Header)| match Some(at) == produced {
            true => (&*header.name, Some(produced_at)),
            false => (&*header.name, header.value.as_deref()),
        };
        headers.map(pair).collect()
    }
}

/// What a header takes in memory beside name and value: itself, and what counts the references to its value.
const HEADER_BYTES: usize = size_of::<Header>() + 32;

/// Whether `part` is the same memory as a part of `whole`.
pub(crate) fn is_part(part: &[u8], whole: &[u8]) -> bool {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    whole.start <= part.start && part.end <= whole.end
}

/// How many bytes these take, each byte once.
fn bytes_once(parts: Vec<&Bytes>) -> usize {
    let mut ranges: Vec<_> = parts.into_iter().map(|part| part.as_ptr_range()).collect();
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let (mut bytes, mut end) = (0, std::ptr::null());
    for range in ranges {
        bytes += (range.end as usize).saturating_sub(range.start.max(end) as usize);
        end = range.end.max(end);
    }
    bytes
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
/// known, whatever else of it a new configuration changes. No number is ever given to another name: what is on its
/// way under the number of a route that is gone is never counted for another one.
///
/// Of routes that are gone [`RouteNames::GONE_MAX`] are known, so that what is counted of them stays readable. What
/// is counted by number is let go with the name.
#[derive(Debug, Default)]
pub struct RouteNames(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    names: BTreeMap<RouteId, RouteName>,
    /// The number of the next name that is new.
    next: usize,
    /// Those of the names that no configuration has, the one that went first at the front.
    gone: VecDeque<RouteId>,
}

/// What people know a route by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteName {
    /// `name` of the route.
    pub name: Arc<str>,
    /// Its filter, as it was last configured.
    pub mqtt_filter: Arc<str>,
}

impl RouteNames {
    /// How many names of routes that are gone are known; the others are let go, those that went first.
    pub const GONE_MAX: usize = 1_000;

    /// The numbers of the routes of a configuration, in its order; names that are new get new ones. Of
    /// several routes of one name each has its own. Those that are `running` are in force, as they are known, until
    /// it is ([`RouteNames::apply`]).
    pub fn learn(
        &self,
        routes: impl IntoIterator<Item = RouteName>,
        running: impl IntoIterator<Item = RouteId>,
    ) -> Vec<RouteId> {
        let mut known = self.0.write();
        let Known { names, next, gone } = &mut *known;
        let mut by_name: HashMap<Arc<str>, VecDeque<RouteId>> = HashMap::new();
        for (id, it) in names.iter() {
            by_name.entry(Arc::clone(&it.name)).or_default().push_back(*id);
        }
        let number = |route: RouteName| {
            let found = by_name.get_mut(&route.name).and_then(VecDeque::pop_front);
            let id = found.unwrap_or_else(|| {
                *next += 1;
                RouteId(*next - 1)
            });
            names.entry(id).or_insert(route);
            id
        };
        let taken: Vec<_> = routes.into_iter().map(number).collect();
        let present: BTreeSet<_> = running.into_iter().chain(taken.iter().copied()).collect();
        gone.retain(|id| !present.contains(id));
        let before: BTreeSet<_> = gone.iter().copied().collect();
        gone.extend(names.keys().filter(|id| !present.contains(id) && !before.contains(id)));
        while gone.len() > Self::GONE_MAX {
            if let Some(id) = gone.pop_front() {
                names.remove(&id);
            }
        }
        taken
    }

    /// Routes with these numbers are in force now: their filters may be others than before.
    pub fn apply(&self, routes: impl IntoIterator<Item = (RouteId, RouteName)>) {
        self.0.write().names.extend(routes);
    }

    /// What this route is called; a number without a name is its own.
    pub fn name(&self, route: RouteId) -> Arc<str> {
        let known = self.0.read();
        known.names.get(&route).map_or_else(|| route.to_string().into(), |it| Arc::clone(&it.name))
    }

    /// All of them, by number.
    pub fn all(&self) -> BTreeMap<RouteId, RouteName> {
        self.0.read().names.clone()
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
    use proptest::prelude::*;

    use super::*;

    fn route(name: &str, mqtt_filter: &str) -> RouteName {
        RouteName { name: name.into(), mqtt_filter: mqtt_filter.into() }
    }

    #[test]
    fn a_route_keeps_its_number_as_long_as_its_name_is_known() {
        let names = RouteNames::default();
        assert_eq!(names.learn([route("a", "a"), route("b", "b")], []), [RouteId(0), RouteId(1)]);
        // The first one goes, another comes before the one that stays, which has another filter once that is applied.
        assert_eq!(names.learn([route("c", "c"), route("b", "b/#")], []), [RouteId(2), RouteId(1)]);
        assert_eq!(names.learn([route("a", "a")], []), [RouteId(0)]);
        assert_eq!(&*names.name(RouteId(2)), "c");
        assert_eq!(&*names.name(RouteId(3)), "routes[3]");
        let all = |b| [route("a", "a"), route("b", b), route("c", "c")];
        assert!(names.all().into_values().eq(all("b")));
        names.apply([(RouteId(1), route("b", "b/#"))]);
        assert!(names.all().into_values().eq(all("b/#")));
    }

    #[test]
    fn routes_of_one_name_have_a_number_each() {
        let names = RouteNames::default();
        let twice = || [route("a", "a"), route("a", "a")];
        assert_eq!(names.learn(twice(), []), [RouteId(0), RouteId(1)]);
        assert_eq!(names.learn(twice(), []), [RouteId(0), RouteId(1)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However often routes come and go, and whether or not a configuration is applied: the names are bounded,
        /// what is in force is known, and no number ever means two names.
        #[test]
        fn names_are_bounded_and_no_number_is_given_twice(
            reloads in prop::collection::vec((0..800_usize, 0..6_usize, any::<bool>()), 1..12),
        ) {
            let names = RouteNames::default();
            let (mut ever, mut running): (BTreeMap<RouteId, String>, Vec<(RouteId, String)>) =
                Default::default();
            for (reload, (new, old, is_applied)) in reloads.into_iter().enumerate() {
                let new = (0..new).map(|at| format!("{reload}/{at}"));
                let wanted: Vec<_> = (0..old).map(|at| format!("old {at}")).chain(new).collect();
                let routes = wanted.iter().map(|name| route(name, "f"));
                let ids = names.learn(routes, running.iter().map(|(id, _)| *id));
                for (id, name) in ids.iter().zip(&wanted) {
                    let before = ever.insert(*id, name.clone());
                    prop_assert!(before.is_none_or(|before| before == *name), "{id} is {name}");
                }
                let all = names.all();
                let now: Vec<_> = ids.into_iter().zip(wanted).collect();
                for (id, name) in running.iter().chain(&now) {
                    prop_assert_eq!(&*all[id].name, &**name);
                }
                prop_assert!(all.len() <= running.len() + now.len() + RouteNames::GONE_MAX);
                if is_applied {
                    running = now;
                }
            }
        }
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
        // Routes that unpack the payload share what was in it.
        let unpacked = Bytes::from("0123456789");
        let part = |range| Record { value: Some(unpacked.slice(range)), ..record() };
        let with_key = Record { key: RecordKey::Bytes(unpacked.slice(..4)), ..part(0..10) };
        let apart = Record { value: Some(Bytes::copy_from_slice(&unpacked)), ..record() };
        let shared = [part(0..10), with_key, part(6..8), apart.clone()];
        let shared = Destinations::Several(shared.map(Destination::Record).into());
        let parts = 4 * size_of::<Destination>();
        let whole = message(shared, &mqtt_topic, &payload).window_bytes();
        assert_eq!(whole, 8 + 4 + 3 + 10 + 10 + parts, "once, and what only says the same again");
        let overlapping = [part(0..6), part(4..10), part(2..3)];
        let overlapping = Destinations::Several(overlapping.map(Destination::Record).into());
        let whole = message(overlapping, &mqtt_topic, &payload).window_bytes();
        assert_eq!(whole, 8 + 4 + 3 + 10 + 3 * size_of::<Destination>());
        let refusal = Box::new(Refusal::new(NO_ROUTE, "none".to_owned()));
        let refused = Destinations::One(Destination::DeadLetter(refusal));
        assert_eq!(message(refused, &mqtt_topic, &payload).window_bytes(), 8 + 4 + 3 + 4);
    }
}
