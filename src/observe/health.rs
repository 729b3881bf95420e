//! What the parts of the bridge say of their state, and whether that is ready and alive.
//!
//! The parts write into one [`Health`]; [`not_ready`] and [`not_live`] are pure, so that every
//! reason can be tested without a broker.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde::Serialize;

use super::metrics::{Hold, lock};
use crate::exit::Failure;
use crate::route::Route;
use crate::visible::Visible;

/// The longest `detail`, in characters: brokers' words are quoted there.
const DETAIL_MAX: usize = 600;

/// Why the bridge is not ready, or not alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Which part: `bridge`, `mqtt` or `kafka`.
    pub component: &'static str,
    /// One of [`CODES`].
    pub reason: &'static str,
    /// For people. Never a secret.
    pub detail: String,
}

impl Reason {
    fn new(component: &'static str, reason: &'static str, detail: impl Into<String>) -> Self {
        // Once here, so that whoever shows it need not.
        let detail = Visible(&detail.into()).to_string();
        let detail = match detail.char_indices().nth(DETAIL_MAX) {
            Some((end, _)) => format!("{}...", &detail[..end]),
            None => detail,
        };
        Self { component, reason, detail }
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { component, reason, detail } = self;
        write!(f, "{component}: {reason}: {detail}")
    }
}

/// A warning, which does not make the bridge unready.
const UNMATCHED_DROPPED: &str = "unmatched_dropped";

/// All values of [`Reason::reason`] that mean not ready. docs/observability.md says of each what to do.
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
const ACTOR_HANGS: &str = "actor_hangs";
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
const KAFKA_TOPIC_HELD: &str = "kafka_topic_held";
const DEAD_LETTER_BLOCKED: &str = "dead_letter_blocked";

/// The state of the MQTT connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MqttHealth {
    /// CONNACK came, and the connection was not lost since.
    pub connected: bool,
    /// Why the last one was lost, or not to be had.
    pub lost: Option<String>,
    /// What became of each route's subscription on this connection; a route that is not here has
    /// had no answer.
    pub subscriptions: BTreeMap<usize, Subscription>,
}

/// The broker's answer to a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// In force at the QoS that was asked for.
    Granted,
    /// In force at this lower QoS.
    Downgraded(u8),
    /// The broker's words.
    Refused(String),
}

/// What the last request for metadata brought.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KafkaHealth {
    /// None was answered yet, nor failed.
    #[default]
    Pending,
    /// No answer.
    Unreachable {
        /// The brokers refused who we say we are.
        authentication: bool,
        /// For people.
        detail: String,
    },
    /// An answer, with what is wrong with which Kafka topic.
    Reachable(BTreeMap<String, TopicTrouble>),
}

/// What is wrong with a Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicTrouble {
    /// It is not there.
    Missing,
    /// We may not see it.
    Denied,
    /// A broker that leads a partition of it is not to be reached, for people.
    LeaderAway(String),
    /// Anything else, for people.
    Unavailable(String),
}

/// How far an actor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActorHealth {
    /// Its name.
    pub actor: &'static str,
    /// It failed and waits for its restart.
    pub restarting: bool,
    /// For how long it made no progress, if it owed any.
    pub silent: Duration,
}

/// Where the parts say how they are. One for the whole bridge, in
/// [`Metrics`](super::Metrics::health).
#[derive(Debug, Default)]
pub struct Health {
    mqtt: Mutex<MqttHealth>,
    kafka: Mutex<KafkaHealth>,
    producer: Mutex<Option<String>>,
    unconfirmed: Mutex<Option<Duration>>,
    failing_partitions: Mutex<Vec<String>>,
    unmatched: Mutex<Option<String>>,
    draining: AtomicBool,
    failure: OnceLock<Failure>,
}

impl Health {
    /// Changes what is known of the MQTT connection.
    pub fn mqtt(&self, change: impl FnOnce(&mut MqttHealth)) {
        change(&mut lock(&self.mqtt));
    }

    /// The MQTT connection is lost, or was not to be had.
    pub fn mqtt_lost(&self, why: String) {
        self.mqtt(|mqtt| *mqtt = MqttHealth { lost: Some(why), ..MqttHealth::default() });
    }

    /// What the last request for metadata brought.
    pub fn set_kafka(&self, health: KafkaHealth) {
        *lock(&self.kafka) = health;
    }

    /// One producer after the other fails without having delivered anything; `None`: no more.
    pub fn set_producer_failing(&self, why: Option<String>) {
        *lock(&self.producer) = why;
    }

    /// How long Kafka has left a record without an answer, if that is too long.
    pub fn set_unconfirmed(&self, waited: Option<Duration>) {
        *lock(&self.unconfirmed) = waited;
    }

    /// What is to be said of the partitions that have refused for too long what should pass.
    pub fn set_failing_partitions(&self, details: Vec<String>) {
        *lock(&self.failing_partitions) = details;
    }

    /// Why messages that no route matches are dropped now; `None`: they are not, or the last of them
    /// has its dead letter.
    pub fn set_unmatched_dropped(&self, why: Option<String>) {
        *lock(&self.unmatched) = why;
    }

    /// What a person should look at although the bridge is ready. What is configured works: only what
    /// an old subscription brings is lost, and to be called not ready would end good work for it.
    pub fn warnings(&self) -> Vec<Reason> {
        let unmatched = lock(&self.unmatched).clone();
        unmatched.map(|why| Reason::new("mqtt", UNMATCHED_DROPPED, why)).into_iter().collect()
    }

    /// A drain has begun.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// The bridge has failed by itself, and ends. The first cause is the one that counts.
    pub fn set_failure(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// Why the bridge failed by itself, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.get()
    }

    /// All of it as it is now. `holds` and `actors` come from elsewhere.
    pub fn snapshot(&self, holds: Vec<Hold>, actors: Vec<ActorHealth>) -> Snapshot {
        Snapshot {
            mqtt: lock(&self.mqtt).clone(),
            kafka: lock(&self.kafka).clone(),
            producer_failing: lock(&self.producer).clone(),
            unconfirmed: *lock(&self.unconfirmed),
            failing_partitions: lock(&self.failing_partitions).clone(),
            draining: self.draining.load(Relaxed),
            holds,
            actors,
        }
    }
}

/// The state of all parts at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The MQTT connection.
    pub mqtt: MqttHealth,
    /// Kafka, as it answers.
    pub kafka: KafkaHealth,
    /// Why no producer lives long enough to deliver.
    pub producer_failing: Option<String>,
    /// How long a record has waited for Kafka's answer, if that is too long.
    pub unconfirmed: Option<Duration>,
    /// Partitions that have refused for too long what should pass, for people.
    pub failing_partitions: Vec<String>,
    /// A drain has begun.
    pub draining: bool,
    /// What waits for a person.
    pub holds: Vec<Hold>,
    /// The actors.
    pub actors: Vec<ActorHealth>,
}

/// Why not every message that is published now would be forwarded at once; empty: ready. An actor
/// hangs when it is silent for longer than `silent_max`.
pub fn not_ready(seen: &Snapshot, routes: &[Route], silent_max: Duration) -> Vec<Reason> {
    let mut reasons = not_live(&seen.actors, silent_max);
    if seen.draining {
        reasons.push(Reason::new("bridge", DRAINING, "the bridge is stopping"));
    }
    for actor in seen.actors.iter().filter(|actor| actor.restarting) {
        let detail = format!("{} failed and waits for its restart", actor.actor);
        reasons.push(Reason::new("bridge", ACTOR_RESTARTING, detail));
    }
    mqtt_reasons(&seen.mqtt, routes, &mut reasons);
    kafka_reasons(seen, &mut reasons);
    reasons
}

/// Which actors make no progress although they should; empty: alive. One that waits for its restart
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

fn mqtt_reasons(mqtt: &MqttHealth, routes: &[Route], reasons: &mut Vec<Reason>) {
    if !mqtt.connected {
        let detail = mqtt.lost.as_deref().unwrap_or("not connected yet");
        reasons.push(Reason::new("mqtt", MQTT_DISCONNECTED, detail));
        return;
    }
    for route in routes {
        let (filter, wanted) = (route.filter.as_str(), route.qos.level());
        let (reason, detail) = match mqtt.subscriptions.get(&route.id.0) {
            Some(Subscription::Granted) => continue,
            None => (SUBSCRIPTION_PENDING, format!("{filter}: no SUBACK yet")),
            Some(Subscription::Downgraded(qos)) => (
                SUBSCRIPTION_DOWNGRADED,
                format!("{filter}: asked for QoS {wanted}, granted {qos}"),
            ),
            Some(Subscription::Refused(text)) => {
                (SUBSCRIPTION_REFUSED, format!("{filter}: {text}"))
            }
        };
        reasons.push(Reason::new("mqtt", reason, detail));
    }
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
                match trouble {
                    TopicTrouble::Missing => add(KAFKA_TOPIC_MISSING, name),
                    TopicTrouble::Denied => add(KAFKA_TOPIC_DENIED, name),
                    TopicTrouble::LeaderAway(detail) => {
                        add(KAFKA_LEADER_UNREACHABLE, &format!("{name}: {detail}"));
                    }
                    TopicTrouble::Unavailable(detail) => {
                        add(KAFKA_TOPIC_UNAVAILABLE, &format!("{name}: {detail}"));
                    }
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
    for hold in &seen.holds {
        match &*hold.kafka_topic {
            Hold::DEAD_LETTER => add(DEAD_LETTER_BLOCKED, &hold.reason),
            kafka_topic => add(KAFKA_TOPIC_HELD, &format!("{kafka_topic}: {}", hold.reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Qos, RouteId};
    use crate::route::PayloadForm;

    const LIMIT: Duration = Duration::from_secs(15);

    fn route() -> Route {
        Route {
            id: RouteId(0),
            filter: "a/#".parse().expect("a legal filter"),
            qos: Qos::AtLeastOnce,
            kafka_topic: "t".into(),
            payload: PayloadForm::Raw,
        }
    }

    fn ready() -> Snapshot {
        let actor = |actor| ActorHealth { actor, restarting: false, silent: Duration::ZERO };
        Snapshot {
            mqtt: MqttHealth {
                connected: true,
                lost: None,
                subscriptions: [(0, Subscription::Granted)].into(),
            },
            kafka: KafkaHealth::Reachable(BTreeMap::new()),
            actors: vec![actor("mqtt"), actor("kafka")],
            ..Snapshot::default()
        }
    }

    fn said(change: impl FnOnce(&mut Snapshot)) -> Vec<String> {
        let mut snapshot = ready();
        change(&mut snapshot);
        let reasons = not_ready(&snapshot, &[route()], LIMIT);
        assert!(reasons.iter().all(|reason| CODES.contains(&reason.reason)), "{reasons:?}");
        reasons.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn with_nothing_wrong_it_is_ready() {
        assert_eq!(said(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn before_anything_is_known_it_is_not_ready() {
        let reasons = said(|seen| *seen = Snapshot::default());
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
                seen.mqtt.subscriptions = answer.map(|answer| (0, answer)).into_iter().collect()
            })
        };
        let unreachable =
            |authentication| KafkaHealth::Unreachable { authentication, detail: "why".to_owned() };
        let hold = |kafka_topic: &str| {
            let hold = Hold { kafka_topic: kafka_topic.to_owned(), reason: "why".to_owned() };
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
                    seen.mqtt = MqttHealth { lost: Some("why".to_owned()), ..Default::default() }
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
            (hold("t"), "kafka: kafka_topic_held: t: why"),
            (hold(Hold::DEAD_LETTER), "kafka: dead_letter_blocked: why"),
        ] {
            assert_eq!(reasons, [expected]);
        }
    }

    #[test]
    fn an_actor_that_waits_is_alive_and_one_that_hangs_is_not() {
        let actor = |restarting, silent| ActorHealth { actor: "kafka", restarting, silent };
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
        for code in CODES.into_iter().chain([UNMATCHED_DROPPED]) {
            assert!(document.contains(&format!("| `{code}` |")), "{code} is not explained");
        }
    }
}
