//! `/status.json`: the documented form of a [`Status`]. Names carry their units; docs/status.schema.json has each of
//! them. Everything that strangers may have written is cut and shown without hidden characters where it is put
//! together (`health.rs`, `recent.rs`); JSON does the rest.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use super::format::Rfc3339;
use super::happened::{Loss, Restart, Session};
use super::health::{
    ConnectionHealth, HeldPlace, KAFKA_TOPIC_HELD, KafkaHealth, Reason, Subscription, Wanted,
};
use super::hops::{Hop, HopLatencies, Percentiles};
use super::kafka_statistics::BrokerStatistics;
use super::metrics::{Conservation, ReloadOutcome};
use super::process::Process;
use super::rates::Rates;
use super::recent::{Recent, shortened};
use super::remedies::{DEAD_LETTERS, Remedy, of_event, of_restart, remedy};
use super::slowest::Slow;
use super::status::{ConnectionCounts, ConnectionStatus, Status};
use super::timing_record::AckTime;
use crate::message::RouteName;
use crate::route::note::Note;
use crate::supervisor::readiness::WindowLimits;
use crate::visible::is_hidden;

/// Raised by a change that a reader must know of: a field that is gone, or means something else. New fields do not.
pub(super) const SCHEMA_VERSION: u32 = 1;

/// Where what to do is explained.
const OPERATIONS: &str = "docs/operations.md";

/// The whole document, on one line.
pub fn write(status: &Status) -> String {
    // Only a map whose keys are no text could fail.
    let text = serde_json::to_string(&Shown::of(status)).unwrap_or_default();
    if text.is_ascii() {
        return text;
    }
    // JSON has no meaning but in its texts for what is not ASCII: escaped, it stays the same.
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_ascii() || !is_hidden(char) {
            escaped.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

#[derive(Serialize)]
struct Shown<'a> {
    schema_version: u32,
    at: String,
    started_at: String,
    uptime_s: f64,
    build: Build,
    ready: bool,
    alive: bool,
    reasons: Vec<Advised<&'a Reason>>,
    warnings: Vec<Advised<&'a Reason>>,
    identity: Identity,
    rates: Rates,
    connections: Vec<Connection<'a>>,
    kafka: Kafka<'a>,
    routes: Vec<Route<'a>>,
    latencies: Vec<Latency<'a>>,
    slowest: Vec<Slower<'a>>,
    dead_letters: Vec<DeadLetters<'a>>,
    restarts: Vec<Restarts<'a>>,
    last_restarts: Vec<Advised<&'a Restart>>,
    reloads: BTreeMap<&'static str, u64>,
    log: Log<'a>,
    certificates: Vec<Certificate<'a>>,
    process: Process,
    configuration: Pairs<'a>,
}

#[derive(Serialize)]
struct Build {
    version: &'static str,
    operating_system: &'static str,
    architecture: &'static str,
}

/// Something that a person should look at, and what to do about it.
#[derive(Serialize)]
struct Advised<T> {
    #[serde(flatten)]
    what: T,
    what_to_do: &'static str,
    document: String,
}

impl<T> Advised<T> {
    fn new(what: T, remedy: Remedy) -> Self {
        let Remedy { what_to_do, heading } = remedy;
        Self { what, what_to_do, document: format!("{OPERATIONS}#{heading}") }
    }
}

fn advice(reasons: &[Reason]) -> Vec<Advised<&Reason>> {
    reasons.iter().map(|reason| Advised::new(reason, remedy(reason.reason))).collect()
}

#[derive(Serialize)]
struct Identity {
    received: u64,
    delivered: u64,
    dead_lettered: u64,
    filtered: u64,
    shed: u64,
    in_flight: u64,
    redelivered: u64,
    copies: u64,
}

impl From<Conservation> for Identity {
    fn from(counted: Conservation) -> Self {
        let Conservation {
            received,
            redelivered,
            copies,
            delivered,
            dead_lettered,
            filtered,
            shed,
            in_flight,
        } = counted;
        Self { received, delivered, dead_lettered, filtered, shed, in_flight, redelivered, copies }
    }
}

#[derive(Serialize)]
struct Connection<'a> {
    connection: &'a str,
    section: &'a str,
    connected: bool,
    broker: Option<&'a str>,
    insecure: bool,
    session: Option<&'a Session>,
    last_loss: Option<&'a Loss>,
    reconnects: &'a BTreeMap<&'static str, u64>,
    identity: Identity,
    received_bytes: u64,
    delivered_bytes: u64,
    records_delivered: u64,
    window: Window,
    subscriptions: Vec<Subscribed<'a>>,
}

#[derive(Serialize)]
struct Window {
    messages: usize,
    messages_max: usize,
    qos0_messages_max: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Serialize)]
struct Subscribed<'a> {
    route: &'a str,
    mqtt_filter: &'a str,
    state: &'static str,
    asked_mqtt_qos: u8,
    granted_mqtt_qos: Option<u8>,
    detail: Option<String>,
}

impl<'a> Subscribed<'a> {
    fn of(wanted: &'a Wanted, health: &'a ConnectionHealth) -> Self {
        let Wanted { route, name, mqtt_filter, mqtt_qos } = wanted;
        let (state, granted_mqtt_qos, detail) = match health.mqtt.subscriptions.get(route) {
            None => ("pending", None, None),
            Some(Subscription::Granted) => ("granted", Some(*mqtt_qos), None),
            Some(Subscription::Downgraded(qos)) => ("downgraded", Some(*qos), None),
            Some(Subscription::Refused(text)) => ("refused", None, Some(shortened(text))),
        };
        let asked_mqtt_qos = *mqtt_qos;
        Self { route: name, mqtt_filter, state, asked_mqtt_qos, granted_mqtt_qos, detail }
    }
}

impl<'a> Connection<'a> {
    fn of(status: &'a Status, at: usize, counts: &'a ConnectionCounts) -> Option<Self> {
        let (health, more) = (status.state.seen.connections.get(at)?, status.connections.get(at)?);
        let ConnectionCounts { name, counted, reconnects } = counts;
        let ConnectionStatus { window, history, volumes, .. } = more;
        let configured = &*status.state.configured;
        let WindowLimits { messages, qos0_messages, bytes } = configured.limits;
        let wanted = configured.wanted.get(at).map(Vec::as_slice).unwrap_or_default();
        Some(Self {
            connection: name,
            section: configured.sections.get(at).map_or("", |section| section),
            connected: health.mqtt.connected,
            broker: health.broker.as_ref().map(|broker| &*broker.address),
            insecure: health.broker.as_ref().is_some_and(|broker| broker.insecure),
            session: history.session.as_ref().filter(|_| health.mqtt.connected),
            last_loss: history.last_loss.as_ref(),
            reconnects,
            identity: (*counted).into(),
            received_bytes: window.received_bytes,
            delivered_bytes: volumes.total(),
            records_delivered: more.records_delivered(),
            window: Window {
                messages: window.messages,
                messages_max: messages,
                qos0_messages_max: qos0_messages,
                bytes: window.bytes,
                bytes_max: bytes,
            },
            subscriptions: wanted.iter().map(|wanted| Subscribed::of(wanted, health)).collect(),
        })
    }
}

#[derive(Serialize)]
struct Kafka<'a> {
    state: &'static str,
    detail: Option<String>,
    kafka_topics: Vec<KafkaTopic>,
    held: Vec<Held>,
    brokers: &'a [BrokerStatistics],
    queue_messages: Option<u64>,
    queue_bytes: Option<u64>,
}

#[derive(Serialize, Default)]
struct KafkaTopic {
    kafka_topic: String,
    /// `None`: not known, since Kafka does not answer.
    reachable: Option<bool>,
    trouble: Option<Advised<Trouble>>,
    partitions: Option<usize>,
    held: bool,
}

/// What keeps messages from a Kafka topic.
#[derive(Serialize)]
struct Trouble {
    reason: &'static str,
    detail: Option<String>,
}

impl Trouble {
    fn advised(reason: &'static str, detail: Option<&str>) -> Option<Advised<Self>> {
        Some(Advised::new(Self { reason, detail: detail.map(shortened) }, remedy(reason)))
    }
}

#[derive(Serialize)]
struct Held {
    place: String,
    detail: String,
}

impl<'a> Kafka<'a> {
    fn of(status: &'a Status) -> Self {
        let (state, detail, troubles) = match &status.state.seen.kafka {
            KafkaHealth::Pending => ("pending", None, None),
            KafkaHealth::Unreachable { detail, .. } => {
                ("unreachable", Some(shortened(detail)), None)
            }
            KafkaHealth::Reachable(troubles) => ("reachable", None, Some(troubles)),
        };
        let mut kafka_topics = BTreeMap::<&str, KafkaTopic>::new();
        for place in &status.state.configured.places {
            if let HeldPlace::KafkaTopic(name) = place {
                kafka_topics.entry(name).or_default();
            }
        }
        for (name, partitions) in &status.state.seen.partitions {
            kafka_topics.entry(name).or_default().partitions = Some(*partitions);
        }
        for hold in &status.counted.holds {
            if let HeldPlace::KafkaTopic(name) = &hold.place {
                let held = kafka_topics.entry(name).or_default();
                held.held = true;
                held.trouble = Trouble::advised(KAFKA_TOPIC_HELD, Some(&hold.reason));
            }
        }
        // A cause counts more than what comes of it.
        for (name, trouble) in troubles.into_iter().flatten() {
            kafka_topics.entry(name).or_default().trouble =
                Trouble::advised(trouble.reason(), trouble.detail());
        }
        let kafka_topics = kafka_topics.into_iter().map(|(name, mut it)| {
            // Of one that a template names, the probe knows nothing.
            let has_trouble = troubles.is_some_and(|troubles| troubles.contains_key(name));
            let is_asked_about = it.partitions.is_some() || has_trouble;
            it.reachable = troubles.filter(|_| is_asked_about).map(|_| !has_trouble);
            KafkaTopic { kafka_topic: name.to_owned(), ..it }
        });
        let held = status.counted.holds.iter();
        let held = held
            .map(|hold| Held { place: hold.place.to_string(), detail: shortened(&hold.reason) });
        let statistics = &status.kafka;
        Self {
            state,
            detail,
            kafka_topics: kafka_topics.collect(),
            held: held.collect(),
            brokers: &statistics.brokers,
            queue_messages: statistics.queue_messages,
            queue_bytes: statistics.queue_bytes,
        }
    }
}

#[derive(Serialize)]
struct Route<'a> {
    route: &'a str,
    mqtt_filter: &'a str,
    /// No configuration has it any more.
    gone: bool,
    records_delivered: u64,
    delivered_bytes: u64,
    dropped: BTreeMap<&'static str, u64>,
    notes: BTreeMap<&'static str, u64>,
}

fn routes(status: &Status) -> Vec<Route<'_>> {
    let shown = status.routes.iter().map(|(id, RouteName { name, mqtt_filter })| {
        let connections = || status.connections.iter();
        let records = connections().filter_map(|it| Some(it.stages.delivered.get(id)?.count()));
        let bytes = connections().filter_map(|it| it.volumes.by_route.get(id));
        let (first, last) = ((*id, Note::FIRST), (*id, Note::LAST));
        let (mut dropped, mut notes) = (BTreeMap::new(), BTreeMap::new());
        for ((_, note), count) in status.counted.notes.range(first..=last) {
            let of = if matches!(note, Note::Dropped(_)) { &mut dropped } else { &mut notes };
            of.insert(note.name(), *count);
        }
        Route {
            route: name,
            mqtt_filter,
            gone: !status.state.configured.routes.contains(id),
            records_delivered: records.sum(),
            delivered_bytes: bytes.sum(),
            dropped,
            notes,
        }
    });
    // One that is gone is worth a line if it did something.
    let is_of_use = |it: &Route<'_>| {
        !it.gone || it.records_delivered > 0 || !it.dropped.is_empty() || !it.notes.is_empty()
    };
    shown.filter(is_of_use).collect()
}

/// Of one hop of one route on one connection; of all of them together where both are missing.
#[derive(Serialize)]
struct Latency<'a> {
    connection: Option<&'a str>,
    route: Option<&'a str>,
    stage: &'static str,
    count: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl<'a> Latency<'a> {
    fn of(of: &HopLatencies, names: Option<(&'a str, &'a str)>, stage: Hop) -> Option<Self> {
        let Percentiles { count, p50_us, p90_us, p99_us, p999_us, max_us } =
            of.percentiles(stage)?;
        let (connection, route) = names.unzip();
        let stage = stage.name();
        Some(Self { connection, route, stage, count, p50_us, p90_us, p99_us, p999_us, max_us })
    }
}

fn latencies(status: &Status) -> Vec<Latency<'_>> {
    let all = Hop::ALL.map(|hop| Latency::of(&status.all_latencies, None, hop));
    let each = status.latencies.iter().flat_map(|of| {
        Hop::ALL.map(|hop| Latency::of(&of.hops, Some((&of.connection, &of.name)), hop))
    });
    all.into_iter().chain(each).flatten().collect()
}

#[derive(Serialize)]
struct Slower<'a> {
    mqtt_topic: String,
    connection: &'a str,
    route: &'a str,
    kafka_topic: &'a str,
    kafka_partition: i32,
    kafka_offset: i64,
    received_at: String,
    device_us: Option<i64>,
    routed_us: u32,
    queue_us: u64,
    kafka_us: u64,
    total_us: u64,
    ack_us: Option<u64>,
    ack_reason: Option<&'static str>,
}

impl<'a> From<&'a Slow> for Slower<'a> {
    fn from(slow: &'a Slow) -> Self {
        let (ack_us, ack_reason) = match slow.ack {
            AckTime::After(us) => (Some(us), None),
            AckTime::None(why) => (None, Some(why.name())),
        };
        Self {
            mqtt_topic: shortened(&slow.mqtt_topic),
            connection: &slow.connection,
            route: &slow.route,
            kafka_topic: &slow.kafka_topic,
            kafka_partition: slow.kafka_partition,
            kafka_offset: slow.kafka_offset,
            received_at: rfc3339(slow.received_us),
            device_us: slow.device_us,
            routed_us: slow.routed_us,
            queue_us: slow.queue_us,
            kafka_us: slow.kafka_us,
            total_us: slow.total_us,
            ack_us,
            ack_reason,
        }
    }
}

#[derive(Serialize)]
struct DeadLetters<'a> {
    /// `None`: no route made or refused it.
    route: Option<&'a str>,
    reason: &'a str,
    count: u64,
    what_to_do: &'static str,
    document: String,
}

#[derive(Serialize)]
struct Restarts<'a> {
    actor: &'a str,
    reason: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Log<'a> {
    timing_records_dropped: u64,
    other_records_dropped: u64,
    recent: Vec<Advised<&'a Recent>>,
}

#[derive(Serialize)]
struct Certificate<'a> {
    of: &'static str,
    connection: Option<&'a str>,
    expires_in_s: i64,
}

/// As an object, in this order.
struct Pairs<'a>(&'a [(String, String)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

fn rfc3339(us: u64) -> String {
    Rfc3339::from_us(us).as_str().to_owned()
}

impl<'a> Shown<'a> {
    fn of(status: &'a Status) -> Self {
        let counted = &status.counted;
        let connections = counted.connections.iter().enumerate();
        let dead_letters = status.dead_letters.iter();
        let certificates = status.state.seen.certificates.iter();
        let reloads = ReloadOutcome::ALL.map(|outcome| {
            (outcome.name(), status.reloads.get(&outcome).copied().unwrap_or_default())
        });
        Self {
            schema_version: SCHEMA_VERSION,
            at: rfc3339(status.at_us),
            started_at: rfc3339(status.started_us),
            uptime_s: status.uptime.as_secs_f64(),
            build: Build {
                version: env!("CARGO_PKG_VERSION"),
                operating_system: std::env::consts::OS,
                architecture: std::env::consts::ARCH,
            },
            ready: status.state.not_ready.is_empty(),
            alive: status.state.is_alive(),
            reasons: advice(&status.state.not_ready),
            warnings: advice(&status.state.warnings),
            identity: counted.sum().into(),
            rates: status.rates,
            connections: connections
                .filter_map(|(at, counts)| Connection::of(status, at, counts))
                .collect(),
            kafka: Kafka::of(status),
            routes: routes(status),
            latencies: latencies(status),
            slowest: status.slowest.iter().map(Slower::from).collect(),
            dead_letters: dead_letters
                .map(|((route, reason), count)| DeadLetters {
                    route: Some(&**route).filter(|route| !route.is_empty()),
                    reason,
                    count: *count,
                    what_to_do: DEAD_LETTERS.what_to_do,
                    document: format!("{OPERATIONS}#{}", DEAD_LETTERS.heading),
                })
                .collect(),
            restarts: counted
                .restarts
                .iter()
                .map(|((actor, reason), count)| Restarts { actor, reason, count: *count })
                .collect(),
            last_restarts: status
                .last_restarts
                .iter()
                .map(|restart| Advised::new(restart, of_restart()))
                .collect(),
            reloads: reloads.into(),
            log: Log {
                timing_records_dropped: status.timing_dropped,
                other_records_dropped: status.records_dropped,
                recent: status
                    .recent
                    .iter()
                    .map(|recent| Advised::new(recent, of_event(recent.event())))
                    .collect(),
            },
            certificates: certificates
                .map(|it| Certificate {
                    of: it.of.name(),
                    connection: Some(&*it.connection).filter(|name| !name.is_empty()),
                    expires_in_s: it.expires_in_s,
                })
                .collect(),
            process: status.process,
            configuration: Pairs(&status.state.configured.keys),
        }
    }
}
