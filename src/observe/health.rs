//! The state of the bridge's parts, and whether that makes it ready and alive.
//!
//! The parts report to one [`Health`] and to their connection's metrics; [`not_ready`] and [`not_live`] are
//! pure, so that every reason can be tested without a broker.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::certificates::{Certificate, Certificates};
use super::format::now_us;
use super::kafka_statistics::KafkaStatistics;
use crate::exit::Failure;
use crate::message::RouteId;
use crate::visible::Visible;

/// The longest `detail`, in characters: it may quote brokers.
const DETAIL_MAX: usize = 600;

/// Why the bridge is not ready, or not alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Which part: `bridge`, `mqtt` or `kafka`.
    pub component: &'static str,
    /// One of [`CODES`].
    pub reason: &'static str,
    /// A readable sentence, never with a secret.
    pub detail: String,
    /// The MQTT connection, if the reason is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
}

impl Reason {
    fn new(component: &'static str, reason: &'static str, detail: impl Into<String>) -> Self {
        // Here, once, for all that show it.
        let detail = Visible(&detail.into()).to_string();
        let detail = match detail.char_indices().nth(DETAIL_MAX) {
            Some((end, _)) => format!("{}...", &detail[..end]),
            None => detail,
        };
        Self { component, reason, detail, connection: None }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { component, reason, detail, .. } = self;
        write!(f, "{component}: {reason}: {detail}")
    }
}

/// All values of [`Reason::reason`] that are warnings: they do not make the bridge unready.
pub const WARNINGS: [&str; 5] =
    [UNMATCHED_DROPPED, INSECURE, RELOAD_FAILED, RESTART_PENDING, CERTIFICATE_EXPIRES];

const UNMATCHED_DROPPED: &str = "unmatched_dropped";
const INSECURE: &str = "insecure";
const RELOAD_FAILED: &str = "reload_failed";
const RESTART_PENDING: &str = "restart_pending";
const CERTIFICATE_EXPIRES: &str = "certificate_expires";

/// All values of [`Reason::reason`] that mean not ready. docs/observability.md says what to do about each.
pub const CODES: [&str; 19] = [
    DRAINING,
    ACTOR_HANGS,
    ACTOR_RESTARTING,
    MQTT_DISCONNECTED,
    SUBSCRIPTION_PENDING,
    SUBSCRIPTION_DOWNGRADED,
    SUBSCRIPTION_REFUSED,
    KAFKA_PENDING,
    KAFKA_UNREACHABLE,
    KAFKA_AUTHENTICATION,
    KAFKA_PRODUCER_FAILING,
    KAFKA_UNCONFIRMED,
    KAFKA_PARTITION_FAILING,
    KAFKA_TOPIC_MISSING,
    KAFKA_TOPIC_DENIED,
    KAFKA_LEADER_UNREACHABLE,
    KAFKA_TOPIC_UNAVAILABLE,
    KAFKA_TOPIC_HELD,
    DEAD_LETTER_BLOCKED,
];

const DRAINING: &str = "draining";
pub(super) const ACTOR_HANGS: &str = "actor_hangs";
const ACTOR_RESTARTING: &str = "actor_restarting";
const MQTT_DISCONNECTED: &str = "mqtt_disconnected";
const SUBSCRIPTION_PENDING: &str = "subscription_pending";
const SUBSCRIPTION_DOWNGRADED: &str = "subscription_downgraded";
const SUBSCRIPTION_REFUSED: &str = "subscription_refused";
const KAFKA_PENDING: &str = "kafka_pending";
const KAFKA_UNREACHABLE: &str = "kafka_unreachable";
const KAFKA_AUTHENTICATION: &str = "kafka_authentication";
const KAFKA_PRODUCER_FAILING: &str = "kafka_producer_failing";
const KAFKA_UNCONFIRMED: &str = "kafka_unconfirmed";
const KAFKA_PARTITION_FAILING: &str = "kafka_partition_failing";
const KAFKA_TOPIC_MISSING: &str = "kafka_topic_missing";
const KAFKA_TOPIC_DENIED: &str = "kafka_topic_denied";
const KAFKA_LEADER_UNREACHABLE: &str = "kafka_leader_unreachable";
const KAFKA_TOPIC_UNAVAILABLE: &str = "kafka_topic_unavailable";
pub(super) const KAFKA_TOPIC_HELD: &str = "kafka_topic_held";
const DEAD_LETTER_BLOCKED: &str = "dead_letter_blocked";

/// The state of the MQTT connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MqttHealth {
    /// CONNACK has come, and the connection has not been lost since.
    pub connected: bool,
    /// Why the last one was lost or failed to open.
    pub lost: Option<String>,
    /// The broker's answer to each route's subscription on this connection; a route without an entry
    /// has had none.
    pub subscriptions: BTreeMap<RouteId, Subscription>,
}

/// The broker that a connection has, or tries to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerInUse {
    /// Its address, without a login.
    pub address: String,
    /// It is reached by TLS, and neither its certificate nor its name is checked.
    pub insecure: bool,
}

/// The state of one MQTT connection, with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionHealth {
    /// Its name.
    pub name: Arc<str>,
    /// Its state.
    pub mqtt: MqttHealth,
    /// The broker of this connection, or of the last attempt; `None` before the first.
    pub broker: Option<BrokerInUse>,
}

/// A subscription that a connection must have to be ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The route that asks for it.
    pub route: RouteId,
    /// Its name.
    pub name: Arc<str>,
    /// Its filter.
    pub mqtt_filter: String,
    /// The QoS that it asks for.
    pub mqtt_qos: u8,
}

/// The filter, behind the route's name where that says more.
impl Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, mqtt_filter, .. } = self;
        match mqtt_filter.ends_with(&**name) {
            true => f.write_str(mqtt_filter),
            false => write!(f, "{name}: {mqtt_filter}"),
        }
    }
}

/// The broker's answer to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// In force at the requested QoS.
    Granted,
    /// In force at this lower QoS.
    Downgraded(u8),
    /// The broker's explanation.
    Refused(String),
}

/// The result of the last request for metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KafkaHealth {
    /// No request has been answered or has failed yet.
    #[default]
    Pending,
    /// No answer.
    Unreachable {
        /// The brokers refused the bridge's credentials.
        authentication: bool,
        /// A readable sentence.
        detail: String,
    },
    /// An answer, with the trouble of each Kafka topic that has some.
    Reachable(BTreeMap<String, TopicTrouble>),
}

/// What is wrong with a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicTrouble {
    /// It does not exist.
    Missing,
    /// The bridge may not see it.
    Denied,
    /// A broker that leads one of its partitions is unreachable; a readable sentence.
    LeaderAway(String),
    /// Anything else; a readable sentence.
    Unavailable(String),
}

impl TopicTrouble {
    /// Its reason for not being ready.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Missing => KAFKA_TOPIC_MISSING,
            Self::Denied => KAFKA_TOPIC_DENIED,
            Self::LeaderAway(_) => KAFKA_LEADER_UNREACHABLE,
            Self::Unavailable(_) => KAFKA_TOPIC_UNAVAILABLE,
        }
    }

    /// What more there is to say.
    pub(super) fn detail(&self) -> Option<&str> {
        match self {
            Self::Missing | Self::Denied => None,
            Self::LeaderAway(detail) | Self::Unavailable(detail) => Some(detail),
        }
    }
}

/// Messages that wait until a person removes a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Where they wait.
    pub place: HeldPlace,
    /// Why; a readable sentence.
    pub reason: String,
}

/// Where messages wait.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum HeldPlace {
    /// For this Kafka topic.
    KafkaTopic(Arc<str>),
    /// For Kafka topics that templates name, beside those that are listed.
    MoreKafkaTopics,
    /// For the dead letter, which cannot be written.
    DeadLetter,
}

impl Display for HeldPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KafkaTopic(kafka_topic) => kafka_topic,
            // No Kafka topic has a space.
            Self::MoreKafkaTopics => "more kafka topics",
            Self::DeadLetter => "dead letter",
        })
    }
}

/// The state of an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorHealth {
    /// Its name.
    pub actor: Arc<str>,
    /// It failed and waits for its restart.
    pub restarting: bool,
    /// For how long it made no progress; zero while it waits for its restart.
    pub silent: Duration,
}

/// The last configuration that was read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReloadHealth {
    /// What is wrong with it.
    pub failed: Option<String>,
    /// Keys of the last good one that wait for a restart.
    pub restart: Vec<String>,
}

/// The state of the parts that belong to no connection. One for the whole bridge, in
/// [`Metrics`](super::Metrics::health).
#[derive(Debug, Default)]
pub struct Health {
    kafka: Mutex<KafkaHealth>,
    partitions: Mutex<BTreeMap<String, usize>>,
    kafka_statistics: KafkaStatistics,
    certificates: Certificates,
    producer: Mutex<Option<String>>,
    unconfirmed: Mutex<Option<Duration>>,
    failing_partitions: Mutex<Vec<String>>,
    unmatched: Mutex<Option<String>>,
    reload: Mutex<ReloadHealth>,
    draining: AtomicBool,
    failure: OnceLock<Failure>,
}

impl Health {
    /// Sets the result of the last request for metadata.
    pub fn set_kafka(&self, health: KafkaHealth) {
        *self.kafka.lock() = health;
    }

    /// Sets how many partitions the Kafka topics of the last answer have.
    pub fn set_partitions(&self, partitions: BTreeMap<String, usize>) {
        *self.partitions.lock() = partitions;
    }

    /// What librdkafka's clients count.
    pub fn kafka_statistics(&self) -> &KafkaStatistics {
        &self.kafka_statistics
    }

    /// Until when certificates are valid.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Sets why one producer after another fails without delivering anything; `None`: they no longer do.
    pub fn set_producer_failing(&self, why: Option<String>) {
        *self.producer.lock() = why;
    }

    /// Sets how long Kafka has left a record without an answer, if that is too long.
    pub fn set_unconfirmed(&self, waited: Option<Duration>) {
        *self.unconfirmed.lock() = waited;
    }

    /// Sets a sentence for each partition that has refused valid records for too long.
    pub fn set_failing_partitions(&self, details: Vec<String>) {
        *self.failing_partitions.lock() = details;
    }

    /// Sets why messages that no route matches are dropped now; `None`: the last one was not dropped.
    pub fn set_unmatched_dropped(&self, why: Option<String>) {
        *self.unmatched.lock() = why;
    }

    /// A configuration was read again and is good; these keys of it wait for a restart.
    pub fn set_reloaded(&self, restart: Vec<String>) {
        *self.reload.lock() = ReloadHealth { failed: None, restart };
    }

    /// A configuration was read again and is wrong.
    pub fn set_reload_failed(&self, why: String) {
        self.reload.lock().failed = Some(why);
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// A drain has begun.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The bridge itself has failed, and ends. The first failure is kept.
    pub fn set_failure(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// Why the bridge itself failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// All states now; those that are kept elsewhere are passed in.
    pub(super) fn snapshot(
        &self,
        connections: Vec<ConnectionHealth>,
        holds: Vec<Hold>,
        actors: Vec<ActorHealth>,
    ) -> Snapshot {
        Snapshot {
            connections,
            kafka: self.kafka.lock().clone(),
            partitions: self.partitions.lock().clone(),
            certificates: self.certificates.at(now_s()),
            producer_failing: self.producer.lock().clone(),
            unconfirmed: *self.unconfirmed.lock(),
            failing_partitions: self.failing_partitions.lock().clone(),
            unmatched_dropped: self.unmatched.lock().clone(),
            reload: self.reload.lock().clone(),
            draining: self.draining.load(Relaxed),
            holds,
            actors,
        }
    }
}

/// The state of all parts at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The MQTT connections.
    pub connections: Vec<ConnectionHealth>,
    /// Kafka, by its last answer.
    pub kafka: KafkaHealth,
    /// How many partitions its Kafka topics have, by its last answer.
    pub partitions: BTreeMap<String, usize>,
    /// Until when certificates are valid.
    pub certificates: Vec<Certificate>,
    /// Why producers fail before they deliver anything.
    pub producer_failing: Option<String>,
    /// How long a record has waited for Kafka's answer, if that is too long.
    pub unconfirmed: Option<Duration>,
    /// Partitions that have refused valid records for too long; a sentence each.
    pub failing_partitions: Vec<String>,
    /// Why messages that no route matches are dropped.
    pub unmatched_dropped: Option<String>,
    /// The last configuration that was read again.
    pub reload: ReloadHealth,
    /// A drain has begun.
    pub draining: bool,
    /// Messages that wait until a person removes a cause.
    pub holds: Vec<Hold>,
    /// The actors.
    pub actors: Vec<ActorHealth>,
}

/// Why a message that is published now might not be forwarded at once; empty: ready. An actor hangs when
/// it is silent for longer than `silent_max`. `wanted` has the subscriptions of each connection, in the same
/// order.
pub fn not_ready(seen: &Snapshot, wanted: &[&[Wanted]], silent_max: Duration) -> Vec<Reason> {
    let mut reasons = not_live(&seen.actors, silent_max);
    if seen.draining {
        reasons.push(Reason::new("bridge", DRAINING, "the bridge is stopping"));
    }
    for actor in seen.actors.iter().filter(|actor| actor.restarting) {
        let detail = format!("{} failed and waits for its restart", actor.actor);
        reasons.push(Reason::new("bridge", ACTOR_RESTARTING, detail));
    }
    for (index, connection) in seen.connections.iter().enumerate() {
        let wanted = wanted.get(index).copied().unwrap_or_default();
        let found = mqtt_reasons(&connection.mqtt, wanted).into_iter();
        reasons.extend(found.map(|(reason, detail)| seen.about(connection, reason, &detail)));
    }
    kafka_reasons(seen, &mut reasons);
    reasons
}

/// What a person should look at although the bridge may be ready: everything that is configured works.
pub fn warnings(seen: &Snapshot) -> Vec<Reason> {
    let unmatched = seen.unmatched_dropped.as_ref();
    let unmatched = unmatched.map(|why| Reason::new("mqtt", UNMATCHED_DROPPED, why));
    let insecure = seen.connections.iter().filter_map(|connection| {
        let broker = connection.broker.as_ref().filter(|broker| broker.insecure)?;
        let detail = format!(
            "{}: neither the broker's certificate nor its name is checked (insecure_skip_verify)",
            broker.address
        );
        Some(seen.about(connection, INSECURE, &detail))
    });
    let ReloadHealth { failed, restart } = &seen.reload;
    let failed = failed.as_ref().map(|why| Reason::new("bridge", RELOAD_FAILED, why));
    let restart =
        (!restart.is_empty()).then(|| Reason::new("bridge", RESTART_PENDING, restart.join(", ")));
    let certificates = seen.certificates.iter().filter_map(|certificate| {
        let detail = certificate.warning()?;
        let mut connections = seen.connections.iter();
        Some(match connections.find(|it| it.name == certificate.connection) {
            Some(connection) => seen.about(connection, CERTIFICATE_EXPIRES, &detail),
            None => Reason::new(certificate.of.component(), CERTIFICATE_EXPIRES, detail),
        })
    });
    let unmatched = unmatched.into_iter().chain(insecure).chain(failed).chain(restart);
    unmatched.chain(certificates).collect()
}

fn now_s() -> i64 {
    i64::try_from(now_us() / 1_000_000).unwrap_or(i64::MAX)
}

impl Snapshot {
    /// A reason about one connection, which is named in the detail where there are several.
    fn about(&self, connection: &ConnectionHealth, reason: &'static str, detail: &str) -> Reason {
        let name = &connection.name;
        let reason = match self.connections.len() {
            1 => Reason::new("mqtt", reason, detail),
            _ => Reason::new("mqtt", reason, format!("{name}: {detail}")),
        };
        Reason { connection: Some(name.to_string()), ..reason }
    }
}

/// Actors that make no progress although they should; empty: alive. An actor that waits for its restart
/// or for a broker is alive.
pub fn not_live(actors: &[ActorHealth], silent_max: Duration) -> Vec<Reason> {
    let hanging = actors.iter().filter(|actor| actor.silent > silent_max);
    hanging
        .map(|ActorHealth { actor, silent, .. }| {
            let detail = format!("{actor} has made no progress for {} s", silent.as_secs());
            Reason::new("bridge", ACTOR_HANGS, detail)
        })
        .collect()
}

fn mqtt_reasons(mqtt: &MqttHealth, wanted: &[Wanted]) -> Vec<(&'static str, String)> {
    if !mqtt.connected {
        let detail = mqtt.lost.as_deref().unwrap_or("not connected yet");
        return vec![(MQTT_DISCONNECTED, detail.to_owned())];
    }
    let reason = |wanted: &Wanted| {
        let Wanted { route, mqtt_qos, .. } = wanted;
        let (reason, detail) = match mqtt.subscriptions.get(route) {
            Some(Subscription::Granted) => return None,
            None => (SUBSCRIPTION_PENDING, "no SUBACK yet".to_owned()),
            Some(Subscription::Downgraded(granted)) => {
                (SUBSCRIPTION_DOWNGRADED, format!("asked for QoS {mqtt_qos}, granted {granted}"))
            }
            Some(Subscription::Refused(text)) => (SUBSCRIPTION_REFUSED, text.clone()),
        };
        Some((reason, format!("{wanted}: {detail}")))
    };
    wanted.iter().filter_map(reason).collect()
}

fn kafka_reasons(seen: &Snapshot, reasons: &mut Vec<Reason>) {
    let mut add = |reason, detail: &str| reasons.push(Reason::new("kafka", reason, detail));
    match &seen.kafka {
        KafkaHealth::Pending => add(KAFKA_PENDING, "no broker has answered yet"),
        KafkaHealth::Unreachable { authentication: true, detail } => {
            add(KAFKA_AUTHENTICATION, detail);
        }
        KafkaHealth::Unreachable { detail, .. } => add(KAFKA_UNREACHABLE, detail),
        KafkaHealth::Reachable(topics) => {
            for (name, trouble) in topics {
                match trouble.detail() {
                    None => add(trouble.reason(), name),
                    Some(detail) => add(trouble.reason(), &format!("{name}: {detail}")),
                }
            }
            if let Some(waited) = seen.unconfirmed {
                let detail = format!("a record has waited for {} s", waited.as_secs());
                add(KAFKA_UNCONFIRMED, &detail);
            }
        }
    }
    if let Some(why) = &seen.producer_failing {
        add(KAFKA_PRODUCER_FAILING, why);
    }
    for detail in &seen.failing_partitions {
        add(KAFKA_PARTITION_FAILING, detail);
    }
    for Hold { place, reason } in &seen.holds {
        match place {
            HeldPlace::DeadLetter => add(DEAD_LETTER_BLOCKED, reason),
            HeldPlace::MoreKafkaTopics => add(KAFKA_TOPIC_HELD, reason),
            HeldPlace::KafkaTopic(name) => add(KAFKA_TOPIC_HELD, &format!("{name}: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    fn wanted() -> Wanted {
        let (name, mqtt_filter) = ("a/#".into(), "a/#".to_owned());
        Wanted { route: RouteId(0), name, mqtt_filter, mqtt_qos: 1 }
    }

    fn connection(name: &str) -> ConnectionHealth {
        let subscriptions = [(RouteId(0), Subscription::Granted)].into();
        let mqtt = MqttHealth { connected: true, lost: None, subscriptions };
        ConnectionHealth { name: name.into(), mqtt, broker: None }
    }

    fn ready() -> Snapshot {
        let actor = |actor: &str| ActorHealth {
            actor: actor.into(),
            restarting: false,
            silent: Duration::ZERO,
        };
        Snapshot {
            connections: vec![connection("mqtt")],
            kafka: KafkaHealth::Reachable(BTreeMap::new()),
            actors: vec![actor("mqtt"), actor("kafka")],
            ..Snapshot::default()
        }
    }

    fn said(change: impl FnOnce(&mut Snapshot)) -> Vec<String> {
        let mut snapshot = ready();
        change(&mut snapshot);
        let reasons = not_ready(&snapshot, &[&[wanted()]], LIMIT);
        assert!(reasons.iter().all(|reason| CODES.contains(&reason.reason)), "{reasons:?}");
        reasons.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn with_nothing_wrong_it_is_ready() {
        assert_eq!(said(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_configuration_that_is_refused_or_waits_for_a_restart_is_a_warning_until_a_good_one_comes()
    {
        let health = Health::default();
        let warned = || {
            let seen = health.snapshot(Vec::new(), Vec::new(), Vec::new());
            let warnings = warnings(&seen);
            assert!(warnings.iter().all(|warning| WARNINGS.contains(&warning.reason)));
            warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        health.set_reloaded(vec!["http.listen".to_owned(), "data_dir".to_owned()]);
        assert_eq!(warned(), ["bridge: restart_pending: http.listen, data_dir"]);
        health.set_reload_failed("config.toml:3: wrong".to_owned());
        assert_eq!(
            warned(),
            [
                "bridge: reload_failed: config.toml:3: wrong",
                "bridge: restart_pending: http.listen, data_dir"
            ]
        );
        health.set_reloaded(Vec::new());
        assert_eq!(warned(), Vec::<String>::new());
    }

    #[test]
    fn before_anything_is_known_it_is_not_ready() {
        let reasons = said(|seen| {
            let mut unknown = connection("mqtt");
            unknown.mqtt = MqttHealth::default();
            *seen = Snapshot { connections: vec![unknown], ..Snapshot::default() };
        });
        assert_eq!(
            reasons,
            [
                "mqtt: mqtt_disconnected: not connected yet",
                "kafka: kafka_pending: no broker has answered yet",
            ]
        );
    }

    #[test]
    fn each_thing_that_is_wrong_is_a_reason_of_its_own() {
        let kafka = |health| said(move |seen| seen.kafka = health);
        let topic = |trouble| kafka(KafkaHealth::Reachable([("t".to_owned(), trouble)].into()));
        let subscription = |answer: Option<Subscription>| {
            said(|seen| {
                let subscriptions = answer.map(|answer| (RouteId(0), answer));
                seen.connections[0].mqtt.subscriptions = subscriptions.into_iter().collect();
            })
        };
        let unreachable =
            |authentication| KafkaHealth::Unreachable { authentication, detail: "why".to_owned() };
        let hold = |place| {
            let hold = Hold { place, reason: "why".to_owned() };
            said(|seen| seen.holds = vec![hold])
        };
        for (reasons, expected) in [
            (said(|seen| seen.draining = true), "bridge: draining: the bridge is stopping"),
            (
                said(|seen| seen.actors[1].restarting = true),
                "bridge: actor_restarting: kafka failed and waits for its restart",
            ),
            (
                said(|seen| seen.actors[0].silent = Duration::from_secs(16)),
                "bridge: actor_hangs: mqtt has made no progress for 16 s",
            ),
            (
                said(|seen| {
                    let lost = Some("why".to_owned());
                    seen.connections[0].mqtt = MqttHealth { lost, ..Default::default() };
                }),
                "mqtt: mqtt_disconnected: why",
            ),
            (subscription(None), "mqtt: subscription_pending: a/#: no SUBACK yet"),
            (
                subscription(Some(Subscription::Downgraded(0))),
                "mqtt: subscription_downgraded: a/#: asked for QoS 1, granted 0",
            ),
            (
                subscription(Some(Subscription::Refused("why".to_owned()))),
                "mqtt: subscription_refused: a/#: why",
            ),
            (kafka(KafkaHealth::Pending), "kafka: kafka_pending: no broker has answered yet"),
            (kafka(unreachable(false)), "kafka: kafka_unreachable: why"),
            (kafka(unreachable(true)), "kafka: kafka_authentication: why"),
            (topic(TopicTrouble::Missing), "kafka: kafka_topic_missing: t"),
            (
                topic(TopicTrouble::LeaderAway("why".to_owned())),
                "kafka: kafka_leader_unreachable: t: why",
            ),
            (topic(TopicTrouble::Denied), "kafka: kafka_topic_denied: t"),
            (
                topic(TopicTrouble::Unavailable("why".to_owned())),
                "kafka: kafka_topic_unavailable: t: why",
            ),
            (
                said(|seen| seen.producer_failing = Some("why".to_owned())),
                "kafka: kafka_producer_failing: why",
            ),
            (
                said(|seen| seen.unconfirmed = Some(Duration::from_secs(11))),
                "kafka: kafka_unconfirmed: a record has waited for 11 s",
            ),
            (
                said(|seen| seen.failing_partitions = vec!["t, partition 3: why".to_owned()]),
                "kafka: kafka_partition_failing: t, partition 3: why",
            ),
            (hold(HeldPlace::KafkaTopic("t".into())), "kafka: kafka_topic_held: t: why"),
            (hold(HeldPlace::DeadLetter), "kafka: dead_letter_blocked: why"),
        ] {
            assert_eq!(reasons, [expected]);
        }
    }

    #[test]
    fn each_of_several_connections_is_named_in_its_reasons() {
        let mut seen = ready();
        seen.connections = vec![connection("east"), connection("west"), connection("north")];
        seen.connections[1].mqtt.connected = false;
        seen.connections[2].mqtt.subscriptions.clear();
        let reasons = not_ready(&seen, &[&[wanted()][..]; 3], LIMIT);
        let names: Vec<_> = reasons.iter().map(|reason| reason.connection.as_deref()).collect();
        assert_eq!(names, [Some("west"), Some("north")]);
        assert_eq!(reasons[0].to_string(), "mqtt: mqtt_disconnected: west: not connected yet");
        let json = serde_json::to_value(&reasons[1]).expect("JSON");
        assert_eq!((&json["component"], &json["connection"]), (&"mqtt".into(), &"north".into()));
    }

    #[test]
    fn a_connection_needs_only_the_routes_that_are_from_it() {
        let mut seen = ready();
        seen.connections = vec![connection("east"), connection("west")];
        seen.connections[1].mqtt.subscriptions.clear();
        assert_eq!(not_ready(&seen, &[&[wanted()], &[]], LIMIT), []);
        let reasons = not_ready(&seen, &[&[], &[wanted()]], LIMIT);
        assert_eq!(reasons[0].to_string(), "mqtt: subscription_pending: west: a/#: no SUBACK yet");
        seen.connections[0].mqtt.connected = false;
        let reasons = not_ready(&seen, &[&[], &[]], LIMIT);
        assert_eq!(
            reasons[0].connection.as_deref(),
            Some("east"),
            "every connection must be there"
        );
    }

    #[test]
    fn a_broker_that_is_not_verified_is_a_warning_of_its_connection() {
        let mut seen = ready();
        let broker = |insecure| BrokerInUse { address: "mqtts://b:8883".to_owned(), insecure };
        seen.connections[0].broker = Some(broker(false));
        assert_eq!(warnings(&seen), []);
        seen.connections[0].broker = Some(broker(true));
        let text = "mqtts://b:8883: neither the broker's certificate nor its name is checked \
                    (insecure_skip_verify)";
        assert_eq!(warnings(&seen)[0].to_string(), format!("mqtt: insecure: {text}"));
        seen.connections.push(connection("west"));
        let warnings = warnings(&seen);
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].connection.as_deref(), Some("mqtt"));
        assert_eq!(warnings[0].detail, format!("mqtt: {text}"));
        assert!(not_ready(&seen, &[], LIMIT).is_empty(), "a warning does not end readiness");
    }

    #[test]
    fn a_certificate_that_ends_soon_is_a_warning_of_its_connection() {
        use super::super::certificates::CertificateOf;
        let mut seen = ready();
        let certificate = |of, connection: &str, expires_in_s| Certificate {
            of,
            connection: connection.into(),
            expires_in_s,
        };
        seen.certificates = vec![
            certificate(CertificateOf::MqttClient, "mqtt", 3 * 86_400),
            certificate(CertificateOf::MqttClient, "mqtt", 14 * 86_400),
            certificate(CertificateOf::KafkaClient, "", -5),
            certificate(CertificateOf::Http, "", 5),
        ];
        let warnings = warnings(&seen);
        let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "mqtt: certificate_expires: the bridge's certificate for MQTT (mqtt.tls.cert_file) \
                 expires in 3 days",
                "kafka: certificate_expires: the bridge's certificate for Kafka \
                 (ssl.certificate.location) has expired",
                "bridge: certificate_expires: the certificate of the bridge's pages \
                 (http.cert_file) expires within a day",
            ]
        );
        assert_eq!(warnings[0].connection.as_deref(), Some("mqtt"));
        assert!(not_ready(&seen, &[], LIMIT).is_empty(), "a warning does not end readiness");
    }

    #[test]
    fn an_actor_that_waits_is_alive_and_one_that_hangs_is_not() {
        let actor = |restarting, silent| ActorHealth { actor: "kafka".into(), restarting, silent };
        assert_eq!(not_live(&[actor(true, Duration::ZERO), actor(false, LIMIT)], LIMIT), []);
        let hanging = [actor(false, LIMIT + Duration::from_millis(1))];
        assert_eq!(not_live(&hanging, LIMIT)[0].reason, ACTOR_HANGS);
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let reason = Reason::new("mqtt", MQTT_DISCONNECTED, "ü".repeat(1000));
        assert_eq!(reason.detail.chars().count(), DETAIL_MAX + 3);
    }

    #[test]
    fn every_reason_is_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
        let document = std::fs::read_to_string(path).expect("docs/observability.md");
        for code in CODES.into_iter().chain(WARNINGS) {
            assert!(document.contains(&format!("| `{code}` |")), "{code} is not explained");
        }
    }
}
