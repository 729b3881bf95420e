//! Asks Kafka at intervals whether it answers and knows our Kafka topics, for readiness.
//!
//! The probe has a client of its own, so that a question to a frozen broker delays nothing else, and so
//! that asking for a Kafka topic never creates it. Only this client's answers count: librdkafka reports
//! errors late, and none at all about a broker that is frozen.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::classify;
use super::events::{Listener, Report};
use super::librdkafka::{self, KafkaTopic, KafkaTopicMetadata, Metadata};
use super::login::{Doubt, Login};
use super::producer::brokers;
use parking_lot::Mutex;

use crate::config::{Config, KafkaClient, Secrets};
use crate::observe::{KafkaHealth, Metrics, TopicTrouble, diagnosis};
use crate::supervisor::{Stop, StoppableThread};

/// Pause between an answer and the next question. With [`ANSWER_WITHIN`] it bounds how long
/// readiness can be wrong: 6 s, and [`LEADERS_WITHIN`] more while a leader is unreachable.
const PAUSE: Duration = Duration::from_secs(2);
/// No answer within this time: Kafka is not reachable.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How long to wait for the error events that tell why there was no answer.
const EVENTS_WITHIN: Duration = Duration::from_millis(10);

/// librdkafka's codes, and Kafka's.
const TIMED_OUT: i32 = -185;
const TRANSPORT: i32 = -195;
const UNKNOWN_TOPIC: i32 = 3;
const TOPIC_DENIED: i32 = 29;

/// The facility under which librdkafka logs that a connection ended.
const FAILED: &str = "FAIL";
/// The same for why a broker's certificate is not trusted, which the errors do not say.
const NOT_TRUSTED: &str = "SSLCERTVRFY";
/// How long the leader of a partition may take to answer.
const LEADER_WITHIN: Duration = Duration::from_secs(2);
/// How long all of them may take together; the first that is left is asked first the next time.
const LEADERS_WITHIN: Duration = Duration::from_secs(4);
/// librdkafka's codes for a broker that is unreachable: `_RESOLVE`, `_SSL`, `_ALL_BROKERS_DOWN` and three
/// of those above.
const UNREACHABLE: [i32; 6] =
    [-193, -181, classify::ALL_BROKERS_DOWN, classify::AUTHENTICATION, TIMED_OUT, TRANSPORT];

/// The probe's thread.
#[derive(Debug)]
pub struct Probe {
    thread: StoppableThread,
    config: ProbeConfig,
}

/// The configuration that the next question is about.
#[derive(Debug, Clone)]
pub struct ProbeConfig(Arc<Mutex<Arc<Config>>>);

impl ProbeConfig {
    /// Questions are about the Kafka topics of this configuration from now on.
    pub fn set(&self, config: Arc<Config>) {
        *self.0.lock() = config;
    }

    fn get(&self) -> Arc<Config> {
        Arc::clone(&self.0.lock())
    }
}

impl Probe {
    /// Starts the thread, which writes each answer to the health in `metrics`.
    ///
    /// # Errors
    /// librdkafka refuses a property, or the system gives no thread.
    pub fn start(
        config: &Arc<Config>,
        login: &Arc<Login>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let mut client = Client::new(config, login)?;
        let current = ProbeConfig(Arc::new(Mutex::new(Arc::clone(config))));
        let config = current.clone();
        let ask = move |stop: &Stop| {
            loop {
                client.renew(&current.get());
                let (health, metadata) = client.ask();
                metrics.health().set_kafka(health);
                if let Some(metadata) = metadata {
                    metrics.health().set_partitions(partitions(&metadata));
                }
                if stop.wait(PAUSE) {
                    return;
                }
            }
        };
        Ok(Self { thread: StoppableThread::start("kafka-probe", ask)?, config })
    }

    /// By which the questions are changed.
    pub fn config(&self) -> ProbeConfig {
        self.config.clone()
    }

    /// Something that says whether the thread has ended, for `SupervisorActor` to watch.
    pub fn finished(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        self.thread.finished()
    }
}

/// Does not wait for the thread: a question to a Kafka that is unreachable takes its time.
impl Drop for Probe {
    fn drop(&mut self) {
        self.thread.stop();
    }
}

/// What the error events said since the last answer.
#[derive(Debug, Default)]
struct Trouble {
    authentication: bool,
    detail: Option<String>,
    certificate: Option<String>,
}

impl Trouble {
    /// What says most.
    fn heard(&self) -> Option<&String> {
        self.certificate.as_ref().or(self.detail.as_ref())
    }
}

/// Keeps the errors, and logs none: the producer's client logs the same.
#[derive(Default)]
struct Errors {
    trouble: RefCell<Trouble>,
    secrets: Secrets,
    doubt: Doubt,
}

impl Listener for Errors {
    fn reports(&self, _: &[Report]) {}

    /// Some failures, such as a listener that hangs up, appear only as a line for the log.
    fn log(&self, _: i32, facility: &str, line: &str) {
        let detail =
            || self.secrets.hide(line.split_once("]: ").map_or(line, |(_thread, rest)| rest));
        let mut trouble = self.trouble.borrow_mut();
        match facility {
            FAILED => drop(trouble.detail.get_or_insert_with(detail)),
            NOT_TRUSTED => trouble.certificate = Some(detail()),
            _ => {}
        }
    }

    fn error(&self, code: i32, detail: &str) {
        if code == classify::ALL_BROKERS_DOWN {
            return; // It does not say why.
        }
        let mut trouble = self.trouble.borrow_mut();
        trouble.authentication |= classify::is_login_refused(code);
        self.doubt.heard(code);
        trouble.detail = Some(self.secrets.hide(detail));
    }
}

/// A client that only asks.
pub(super) struct Client {
    inner: Arc<librdkafka::Client>,
    /// Metadata is about these.
    _kafka_topics: Vec<KafkaTopic>,
    /// Their names.
    names: BTreeSet<String>,
    /// For [`librdkafka::Client::remind_of_brokers`].
    brokers: CString,
    errors: Errors,
    /// A broker has answered at least once.
    answered: Cell<bool>,
    /// Which leader is asked first.
    turn: Cell<usize>,
    login: Arc<Login>,
    /// Of the certificates that it was made with.
    version: u64,
}

impl Client {
    /// Makes the client; needs no broker.
    ///
    /// # Errors
    /// librdkafka refuses a property or a Kafka topic.
    pub(super) fn new(config: &Config, login: &Arc<Login>) -> io::Result<Self> {
        let version = login.version();
        let inner = login
            .client(KafkaClient::Probe, None)
            .map_err(|not_made| io::Error::other(not_made.why))?;
        let names = names(config);
        let kafka_topics = names.iter().map(|name| {
            inner.kafka_topic(name).map_err(|code| io::Error::other(classify::name(code)))
        });
        let kafka_topics = kafka_topics.collect::<io::Result<_>>()?;
        Ok(Self {
            inner,
            _kafka_topics: kafka_topics,
            names,
            brokers: brokers(config),
            errors: Errors {
                secrets: login.secrets().clone(),
                doubt: login.doubt().clone(),
                ..Errors::default()
            },
            answered: Cell::new(false),
            turn: Cell::new(0),
            login: Arc::clone(login),
            version,
        })
    }

    /// Another client, if certificates or the Kafka topics have changed; this one if that cannot be made.
    fn renew(&mut self, config: &Config) {
        let is_current = self.login.version() == self.version && names(config) == self.names;
        if !is_current && let Ok(client) = Self::new(config, &Arc::clone(&self.login)) {
            client.answered.set(self.answered.get());
            *self = client;
        }
    }

    /// For other questions.
    pub(super) fn inner(&self) -> &librdkafka::Client {
        &self.inner
    }

    /// One question and what came of it, with the answer if there was one.
    pub(super) fn ask(&self) -> (KafkaHealth, Option<Metadata>) {
        let answer = self.inner.metadata(ANSWER_WITHIN);
        // Nothing else empties the queue, and it has no bound.
        self.listen(if answer.is_ok() { Duration::ZERO } else { EVENTS_WITHIN });
        match answer {
            Ok(metadata) => {
                self.answered.set(true);
                let troubles = metadata.kafka_topics.iter();
                let troubles = troubles.filter_map(|kafka_topic| {
                    Some((kafka_topic.name.clone(), trouble(kafka_topic)?))
                });
                let mut troubles: BTreeMap<_, _> = troubles.collect();
                self.ask_leaders(leaders(&metadata), &mut troubles);
                self.errors.trouble.take();
                (KafkaHealth::Reachable(troubles), Some(metadata))
            }
            Err(code) => {
                self.inner.remind_of_brokers(&self.brokers);
                let trouble = self.errors.trouble.borrow();
                // Without a token nobody connects, and nobody says why.
                if let Some(detail) = self.login.trouble() {
                    return (KafkaHealth::Unreachable { authentication: true, detail }, None);
                }
                let found = match code {
                    TIMED_OUT => format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
                    TRANSPORT => "no connection to a broker".to_owned(),
                    code => classify::name(code).to_owned(),
                };
                let heard = trouble.heard().map_or("", String::as_str);
                let likely = diagnosis::of_kafka(code, heard, self.answered.get());
                let detail =
                    [likely.map(ToString::to_string), Some(found), trouble.heard().cloned()];
                let detail = detail.into_iter().flatten().collect::<Vec<_>>().join("; ");
                let authentication = trouble.authentication || code == classify::AUTHENTICATION;
                (KafkaHealth::Unreachable { authentication, detail }, None)
            }
        }
    }

    /// Asks each leader as well: the broker that answers for the cluster may name leaders that are
    /// unreachable, and librdkafka connects to a leader only for its first record.
    fn ask_leaders(&self, leaders: Vec<Leader<'_>>, troubles: &mut BTreeMap<String, TopicTrouble>) {
        let deadline = Instant::now() + LEADERS_WITHIN;
        let first = self.turn.get() % leaders.len().max(1);
        let (later, sooner) = leaders.split_at(first);
        for (asked, leader) in sooner.iter().chain(later).enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.turn.set(first + asked);
                return;
            }
            let Leader { address, kafka_topic, kafka_partition } = *leader;
            let within = left.min(LEADER_WITHIN);
            let Err(code) = self.inner.ask_leader(kafka_topic, kafka_partition, within) else {
                continue;
            };
            self.listen(EVENTS_WITHIN);
            if UNREACHABLE.contains(&code) {
                let heard =
                    self.errors.trouble.take().detail.filter(|heard| heard.contains(address));
                let likely =
                    heard.as_ref().and_then(|heard| diagnosis::of_kafka(code, heard, true));
                let found =
                    format!("{address}, which leads partition {kafka_partition}, is unreachable");
                let detail = [Some(found), likely.map(ToString::to_string), heard];
                let detail = detail.into_iter().flatten().collect::<Vec<_>>().join("; ");
                troubles.entry(kafka_topic.to_owned()).or_insert(TopicTrouble::LeaderAway(detail));
            }
        }
    }

    /// Takes all events; waits for the first of them for so long.
    fn listen(&self, first_within: Duration) {
        let mut within = first_within;
        while self.inner.poll(within, &self.errors) {
            within = Duration::ZERO;
        }
    }
}

/// The Kafka topics that the configuration names.
pub(super) fn names(config: &Config) -> BTreeSet<String> {
    let fixed = config.routes.iter().filter_map(|route| Some(&**route.kafka_topic.as_fixed()?));
    fixed.chain(config.dead_letter.kafka_topic.as_deref()).map(str::to_owned).collect()
}

/// A broker that leads partitions of our Kafka topics, and one of them.
#[derive(Debug)]
struct Leader<'a> {
    /// `host:port`, as Kafka tells its clients (`advertised.listeners`).
    address: &'a str,
    kafka_topic: &'a str,
    kafka_partition: i32,
}

/// Each broker that leads a partition, once.
fn leaders(metadata: &Metadata) -> Vec<Leader<'_>> {
    let leader = |(id, address)| {
        metadata.kafka_topics.iter().find_map(|kafka_topic| {
            let (kafka_partition, _) =
                kafka_topic.leaders.iter().find(|(_, leader)| leader == id)?;
            let (kafka_topic, kafka_partition) = (&*kafka_topic.name, *kafka_partition);
            Some(Leader { address, kafka_topic, kafka_partition })
        })
    };
    metadata.brokers.iter().map(|(id, address)| (id, &**address)).filter_map(leader).collect()
}

/// How many partitions each Kafka topic that is there has.
fn partitions(metadata: &Metadata) -> BTreeMap<String, usize> {
    let there = metadata.kafka_topics.iter().filter(|it| !it.leaders.is_empty());
    there.map(|it| (it.name.clone(), it.leaders.len())).collect()
}

/// What the error code of a Kafka topic, or a partition without a leader, means.
fn trouble(kafka_topic: &KafkaTopicMetadata) -> Option<TopicTrouble> {
    let leaderless = kafka_topic.leaders.iter().find(|(_, leader)| *leader < 0);
    match (kafka_topic.code, leaderless) {
        (0, None) => None,
        (0, Some((id, _))) => {
            Some(TopicTrouble::Unavailable(format!("partition {id} has no leader")))
        }
        (UNKNOWN_TOPIC, _) => Some(TopicTrouble::Missing),
        (TOPIC_DENIED, _) => Some(TopicTrouble::Denied),
        (code, _) => Some(TopicTrouble::Unavailable(classify::name(code).to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::test_support::PATIENCE;

    #[test]
    fn events_of_the_client_do_not_pile_up() {
        let config = Arc::new(Config::for_test());
        let login = Arc::new(Login::new(Arc::clone(&config)));
        let client = Client::new(&config, &login).expect("a client");
        let deadline = Instant::now() + PATIENCE;
        // No broker is there, and librdkafka says so.
        while client.inner.queued() < 2 {
            assert!(Instant::now() < deadline, "no event");
            std::thread::sleep(Duration::from_millis(10));
        }
        let before = client.inner.queued();
        assert!(matches!(client.ask(), (KafkaHealth::Unreachable { .. }, None)));
        assert!(client.inner.queued() < before, "{} of {before}", client.inner.queued());
    }
}
