//! A look at Kafka by a client of its own, for `doctor`. It writes nothing and joins no group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use slog::{Discard, Logger, o};

use super::classify;
use super::librdkafka;
use super::login::{Login, LoginThread};
use super::probe::{Client, names};
use crate::config::Config;
use crate::observe::{KafkaHealth, TopicTrouble};

/// How long each question may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often Kafka is asked whether it is there, 4 s each: a token may have to come first.
const ATTEMPTS: usize = 2;
/// So many Kafka topics are asked about at once.
const AT_ONCE: usize = 100;

/// What this client may do, by Kafka's number of the operation.
pub mod operation {
    #![allow(missing_docs, reason = "Kafka's names")]
    pub const ALL: u32 = 2;
    pub const WRITE: u32 = 4;
    pub const CREATE: u32 = 5;
    pub const DESCRIBE: u32 = 8;
    pub const DESCRIBE_CONFIGS: u32 = 10;
    pub const IDEMPOTENT_WRITE: u32 = 12;
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Kafka answers, or why not.
    pub answers: Result<(), Unreachable>,
    /// The id of each broker, and its `host:port` (`advertised.listeners`).
    pub brokers: Vec<(i32, String)>,
    /// What keeps the bridge from using a Kafka topic, as in `/readyz`.
    pub troubles: BTreeMap<String, TopicTrouble>,
    /// The cluster, or why it is not described.
    pub cluster: Result<Cluster, String>,
    /// The Kafka topics that the configuration names, or why none is described.
    pub kafka_topics: Result<Vec<KafkaTopic>, String>,
    /// Of records, in the partitions that were asked: the newest timestamp, in milliseconds since 1970, and its
    /// Kafka topic.
    pub newest: Option<(String, i64)>,
}

/// Kafka does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// It refused the login.
    pub is_login: bool,
    /// What was heard, with the likely cause.
    pub detail: String,
}

/// The cluster as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Its id.
    pub id: String,
    /// How many brokers it has now.
    pub brokers: usize,
    /// What this client may do in it; `None`: Kafka does not say.
    pub operations: Option<Vec<u32>>,
}

/// A Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaTopic {
    /// Its name.
    pub name: String,
    /// What it is, or Kafka's code and sentence.
    pub found: Result<Found, (i32, String)>,
    /// Its settings, or Kafka's code and sentence.
    pub settings: Result<Settings, (i32, String)>,
}

/// A Kafka topic that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// What this client may do with it; `None`: Kafka does not say.
    pub operations: Option<Vec<u32>>,
}

/// A partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub id: i32,
    /// Whether a broker leads it.
    pub has_leader: bool,
    /// How many brokers are to have it.
    pub replicas: usize,
    /// How many have all of it.
    pub in_sync: usize,
}

/// Those settings of a Kafka topic that matter here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// `min.insync.replicas`
    pub min_in_sync: Option<usize>,
    /// `max.message.bytes`
    pub max_message_bytes: Option<u64>,
    /// `cleanup.policy`
    pub cleanup_policy: Option<String>,
}

/// Looks at the Kafka of this configuration. Blocks, for some ten seconds if Kafka is not there.
///
/// # Errors
/// There is no client: librdkafka refuses a property, a file cannot be read, or the system gives no thread.
pub fn visit(config: &Arc<Config>) -> Result<Visit, String> {
    let login = Arc::new(Login::new(Arc::clone(config)));
    let log = Logger::root(Discard, o!());
    let _thread = LoginThread::start(&login, &log).map_err(|error| error.to_string())?;
    let client = Client::new(config, &login).map_err(|error| error.to_string())?;
    let (mut health, _) = client.ask();
    for _ in 1..ATTEMPTS {
        if matches!(health, KafkaHealth::Unreachable { .. }) {
            (health, _) = client.ask();
        }
    }
    let troubles = match health {
        KafkaHealth::Reachable(troubles) => troubles,
        KafkaHealth::Unreachable { authentication, detail } => {
            let unreachable = Unreachable { is_login: authentication, detail };
            return Ok(Visit::unreachable(unreachable));
        }
        KafkaHealth::Pending => {
            let detail = "it was not asked".to_owned();
            return Ok(Visit::unreachable(Unreachable { is_login: false, detail }));
        }
    };
    let hide = |(code, sentence): (i32, String)| {
        login.secrets().hide(&format!("{} ({code}): {sentence}", classify::name(code)))
    };
    let inner = client.inner();
    let brokers = inner.metadata(ANSWER_WITHIN).map(|metadata| metadata.brokers);
    let cluster = inner.describe_cluster(ANSWER_WITHIN).map_err(hide);
    let cluster = cluster.map(|cluster| Cluster {
        id: cluster.id,
        brokers: cluster.nodes,
        operations: cluster.operations,
    });
    let names: Vec<_> = names(config).into_iter().collect();
    let kafka_topics = kafka_topics(inner, &names).map_err(hide);
    let newest = kafka_topics.as_ref().ok().and_then(|found| newest(inner, found));
    Ok(Visit {
        answers: Ok(()),
        brokers: brokers.unwrap_or_default(),
        troubles,
        cluster,
        kafka_topics,
        newest,
    })
}

impl Visit {
    fn unreachable(why: Unreachable) -> Self {
        let unasked = || "Kafka does not answer".to_owned();
        Self {
            answers: Err(why),
            brokers: Vec::new(),
            troubles: BTreeMap::new(),
            cluster: Err(unasked()),
            kafka_topics: Err(unasked()),
            newest: None,
        }
    }
}

fn kafka_topics(
    client: &librdkafka::Client,
    names: &[String],
) -> Result<Vec<KafkaTopic>, (i32, String)> {
    let mut all = Vec::new();
    for names in names.chunks(AT_ONCE) {
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let described = client.describe_in_full(&names, ANSWER_WITHIN)?;
        let there = described.iter().filter(|(_, found)| found.is_ok());
        let there: Vec<_> = there.map(|(name, _)| name.as_str()).collect();
        let settings = match there.is_empty() {
            true => Ok(Vec::new()),
            false => client.describe_settings(&there, ANSWER_WITHIN),
        };
        for (name, found) in described {
            let settings = match &settings {
                Ok(all) => all.iter().find(|(of, _)| *of == name).map_or_else(
                    || Ok(Settings::default()),
                    |(_, settings)| settings.as_deref().map(Settings::of).map_err(Clone::clone),
                ),
                Err(why) => Err(why.clone()),
            };
            let found = found.map(|found| Found {
                partitions: found.partitions.iter().map(Partition::of).collect(),
                operations: found.operations,
            });
            all.push(KafkaTopic { name, found, settings });
        }
    }
    Ok(all)
}

/// Of one partition of each.
fn newest(client: &librdkafka::Client, kafka_topics: &[KafkaTopic]) -> Option<(String, i64)> {
    let asked = kafka_topics.iter().take(AT_ONCE).filter_map(|kafka_topic| {
        let partitions = &kafka_topic.found.as_ref().ok()?.partitions;
        let led = partitions.iter().find(|partition| partition.has_leader)?;
        Some((kafka_topic.name.as_str(), led.id))
    });
    let asked: Vec<_> = asked.collect();
    if asked.is_empty() {
        return None;
    }
    let found = client.newest_timestamps(&asked, ANSWER_WITHIN).unwrap_or_default();
    found.into_iter().max_by_key(|(_, timestamp_ms)| *timestamp_ms)
}

impl Partition {
    fn of(found: &librdkafka::PartitionDescription) -> Self {
        let librdkafka::PartitionDescription { id, has_leader, replicas, in_sync } = *found;
        Self { id, has_leader, replicas, in_sync }
    }
}

impl Settings {
    fn of(settings: &[(String, String)]) -> Self {
        let value = |wanted: &str| settings.iter().find(|(name, _)| name == wanted);
        let number = |name: &str| value(name).and_then(|(_, value)| value.parse::<u64>().ok());
        Self {
            min_in_sync: number("min.insync.replicas").and_then(|it| usize::try_from(it).ok()),
            max_message_bytes: number("max.message.bytes"),
            cleanup_policy: value("cleanup.policy").map(|(_, value)| value.clone()),
        }
    }
}
