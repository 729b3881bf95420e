//! The Kafka of a run: librdkafka's mock cluster, or a real one.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::types::RDKafkaErrorCode;

use super::args::BenchArgs;
use super::error::BenchError;
use super::interrupt;
use super::scenario::Scenario;
use crate::demo::brokers::KafkaCluster;

/// The mock keeps 5 MiB of each partition and then drops the oldest: many partitions keep more.
const MOCK_PARTITIONS: i32 = 32;
const REAL_PARTITIONS: i32 = 4;
/// So many Kafka topics are created or removed by one request.
const AT_ONCE: usize = 50;
/// How long a real Kafka may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often the bench asks for the end of a partition.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A Kafka and the Kafka topics of this run.
pub(super) struct Kafka {
    pub(super) bootstrap: String,
    /// The name of the only one, or what the names of several begin with.
    pub(super) kafka_topic: String,
    /// All names, in the order of their numbers.
    pub(super) kafka_topics: Vec<String>,
    /// Each partition, and the offset at which this run begins there.
    pub(super) begin: Vec<Partition>,
    mock: Option<KafkaCluster>,
    /// This run created the Kafka topics and will remove them.
    created: bool,
}

/// A partition, and an offset in it.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    /// The place of its Kafka topic in [`Kafka::kafka_topics`].
    pub kafka_topic: usize,
    pub number: i32,
    pub offset: i64,
}

impl Kafka {
    /// Starts the mock cluster, or creates the Kafka topics in a real Kafka.
    ///
    /// # Errors
    /// Kafka cannot be reached or refuses.
    pub(super) fn start(
        args: &BenchArgs,
        scenario: &Scenario,
        name: &str,
    ) -> Result<Self, BenchError> {
        let created = args.kafka_topic.is_none();
        let kafka_topic = args.kafka_topic.clone().unwrap_or_else(|| name.to_owned());
        let kafka_topics = scenario.kafka_topics(&kafka_topic);
        let of_one = if args.kafka.is_some() { REAL_PARTITIONS } else { MOCK_PARTITIONS };
        let default = if kafka_topics.len() == 1 { of_one } else { 1 };
        let partitions = args.partitions.unwrap_or(default);
        let each = |number| (0..partitions).map(move |at| (number, at));
        let all = (0..kafka_topics.len()).flat_map(each);
        let begin = all.map(|(kafka_topic, number)| Partition { kafka_topic, number, offset: 0 });
        let begin = begin.collect();
        let Some(bootstrap) = args.kafka.clone() else {
            let names: Vec<&str> = kafka_topics.iter().map(String::as_str).collect();
            let mock = KafkaCluster::start(&names, partitions)
                .map_err(|error| BenchError::Kafka(error.to_string()))?;
            let bootstrap = mock.bootstrap().to_owned();
            let mock = Some(mock);
            return Ok(Self { bootstrap, kafka_topic, kafka_topics, begin, mock, created: false });
        };
        let mut kafka = Self { bootstrap, kafka_topic, kafka_topics, begin, mock: None, created };
        if created {
            kafka.create(partitions)?;
            kafka.wait_known()?;
        } else {
            let count = i32::try_from(kafka.partitions()?).unwrap_or(i32::MAX);
            let partition = |number| Partition { kafka_topic: 0, number, offset: 0 };
            kafka.begin = (0..count).map(partition).collect();
            let ends = kafka.ends(&kafka.client()?)?;
            for (partition, end) in kafka.begin.iter_mut().zip(ends) {
                partition.offset = end;
            }
        }
        Ok(kafka)
    }

    /// Whether it is the mock cluster.
    pub(super) fn is_mock(&self) -> bool {
        self.mock.is_some()
    }

    /// From now on the mock cluster takes this long to answer. A real Kafka does not change.
    pub(super) fn answer_after(&self, round_trip: Duration) {
        if let Some(mock) = &self.mock {
            mock.set_round_trip(round_trip);
        }
    }

    /// Waits until this run has brought `records` records, or no more have come for `within`.
    ///
    /// # Errors
    /// Kafka does not answer, or a signal came. A missing record is no error here: the reader counts it.
    pub(super) fn wait_for(&self, records: u64, within: Duration) -> Result<(), BenchError> {
        let client = self.client()?;
        let mut seen = 0;
        let mut moved_at = Instant::now();
        loop {
            let ends = self.ends(&client)?;
            let now: i64 =
                ends.iter().zip(&self.begin).map(|(end, begin)| end - begin.offset).sum();
            let now = u64::try_from(now).unwrap_or_default();
            if now >= records {
                return Ok(());
            }
            interrupt::check()?;
            if now != seen {
                (seen, moved_at) = (now, Instant::now());
            }
            if moved_at.elapsed() > within {
                return Ok(());
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    /// The offset behind the last record of each partition, in the order of `begin`.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub(super) fn ends(&self, client: &BaseConsumer) -> Result<Vec<i64>, BenchError> {
        let end = |partition: &Partition| {
            let kafka_topic = &self.kafka_topics[partition.kafka_topic];
            patiently(|| {
                let (_, end) =
                    client.fetch_watermarks(kafka_topic, partition.number, ANSWER_WITHIN)?;
                Ok(end)
            })
        };
        self.begin.iter().map(end).collect()
    }

    /// How many partitions the only Kafka topic has.
    fn partitions(&self) -> Result<usize, BenchError> {
        patiently(|| {
            let metadata = self.client()?.fetch_metadata(Some(&self.kafka_topic), ANSWER_WITHIN)?;
            match metadata.topics().iter().map(|topic| topic.partitions().len()).sum() {
                0 => Err(BenchError::Kafka(format!("no Kafka topic {}", self.kafka_topic))),
                partitions => Ok(partitions),
            }
        })
    }

    fn create(&self, partitions: i32) -> Result<(), BenchError> {
        let (admin, options, runtime) = admin(&self.bootstrap)?;
        for names in self.kafka_topics.chunks(AT_ONCE) {
            interrupt::check()?;
            let new = |name| NewTopic::new(name, partitions, TopicReplication::Fixed(-1));
            let new: Vec<_> = names.iter().map(|name| new(name.as_str())).collect();
            accepted(runtime.block_on(admin.create_topics(&new, &options))?)?;
        }
        Ok(())
    }

    /// Waits until the brokers know leaders for all that was created; as long as there is progress.
    fn wait_known(&self) -> Result<(), BenchError> {
        let client = self.client()?;
        let (mut known, mut moved_at) = (0, Instant::now());
        loop {
            interrupt::check()?;
            // An error is no progress.
            let now = client.fetch_metadata(None, ANSWER_WITHIN).map_or(0, |metadata| {
                let own =
                    metadata.topics().iter().filter(|it| it.name().starts_with(&self.kafka_topic));
                let partitions = own.flat_map(|kafka_topic| kafka_topic.partitions());
                partitions.filter(|partition| partition.leader() >= 0).count()
            });
            if now >= self.begin.len() {
                return Ok(());
            }
            if now > known {
                (known, moved_at) = (now, Instant::now());
            }
            if moved_at.elapsed() > ANSWER_WITHIN {
                let wanted = self.begin.len();
                return Err(BenchError::Kafka(format!(
                    "{known} of {wanted} partitions have a leader"
                )));
            }
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn client(&self) -> Result<BaseConsumer, BenchError> {
        Ok(client(&self.bootstrap).create()?)
    }
}

impl Drop for Kafka {
    /// Ends the mock cluster, or removes the Kafka topics.
    fn drop(&mut self) {
        if let Some(mock) = self.mock.take() {
            mock.stop();
        } else if self.created
            && let Err(error) = remove(&self.bootstrap, &self.kafka_topics)
        {
            eprintln!("bench: the Kafka topic {} could not be removed: {error}", self.kafka_topic);
        }
    }
}

/// Asks until there is an answer: Kafka does not know a new Kafka topic and its leaders at once.
///
/// # Errors
/// There is no answer in time, or a signal came.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, BenchError>) -> Result<T, BenchError> {
    let deadline = Instant::now() + ANSWER_WITHIN;
    loop {
        match ask() {
            Err(_) if Instant::now() + ASK_EVERY < deadline => {
                interrupt::check()?;
                std::thread::sleep(ASK_EVERY);
            }
            answer => return answer,
        }
    }
}

/// The settings of the bench's own clients.
pub(super) fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("client.id", "bench");
    config
}

fn remove(bootstrap: &str, kafka_topics: &[String]) -> Result<(), BenchError> {
    let (admin, options, runtime) = admin(bootstrap)?;
    for names in kafka_topics.chunks(AT_ONCE) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        accepted(runtime.block_on(admin.delete_topics(&names, &options))?)?;
    }
    Ok(())
}

fn admin(
    bootstrap: &str,
) -> Result<(AdminClient<DefaultClientContext>, AdminOptions, tokio::runtime::Runtime), BenchError>
{
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_WITHIN));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    Ok((client(bootstrap).create()?, options, runtime))
}

fn accepted(answers: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<(), BenchError> {
    match answers.into_iter().find_map(Result::err) {
        None => Ok(()),
        Some((kafka_topic, code)) => Err(BenchError::Kafka(format!("{kafka_topic}: {code}"))),
    }
}
