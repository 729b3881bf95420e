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
use crate::demo::brokers::KafkaCluster;

/// The mock keeps 5 MiB of each partition and then drops the oldest: many partitions keep more.
const MOCK_PARTITIONS: i32 = 32;
const REAL_PARTITIONS: i32 = 4;
/// How long a real Kafka may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often the bench asks for the end of a partition.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// A Kafka and the Kafka topic of this run.
pub(super) struct Kafka {
    pub(super) bootstrap: String,
    pub(super) kafka_topic: String,
    /// The offset at which this run begins, by partition.
    pub(super) begin: Vec<i64>,
    mock: Option<KafkaCluster>,
    /// This run created the Kafka topic and will remove it.
    created: bool,
}

impl Kafka {
    /// Starts the mock cluster, or creates the Kafka topic in a real Kafka.
    ///
    /// # Errors
    /// Kafka cannot be reached or refuses.
    pub(super) fn start(args: &BenchArgs, name: &str) -> Result<Self, BenchError> {
        let Some(bootstrap) = args.kafka.clone() else {
            let partitions = args.partitions.unwrap_or(MOCK_PARTITIONS);
            let mock = KafkaCluster::start(&[name], partitions)
                .map_err(|error| BenchError::Kafka(error.to_string()))?;
            return Ok(Self {
                bootstrap: mock.bootstrap().to_owned(),
                kafka_topic: name.to_owned(),
                begin: vec![0; usize::try_from(partitions).unwrap_or_default()],
                mock: Some(mock),
                created: false,
            });
        };
        let created = args.kafka_topic.is_none();
        let kafka_topic = args.kafka_topic.clone().unwrap_or_else(|| name.to_owned());
        if created {
            create(&bootstrap, &kafka_topic, args.partitions.unwrap_or(REAL_PARTITIONS))?;
        }
        let mut kafka = Self { bootstrap, kafka_topic, begin: Vec::new(), mock: None, created };
        kafka.begin = vec![0; kafka.partitions()?];
        kafka.begin = kafka.ends(&kafka.client()?)?;
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
            let now: i64 = ends.iter().zip(&self.begin).map(|(end, begin)| end - begin).sum();
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

    /// The offset behind the last record, by partition.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub(super) fn ends(&self, client: &BaseConsumer) -> Result<Vec<i64>, BenchError> {
        let partitions = i32::try_from(self.begin.len()).unwrap_or_default();
        let end = |partition| {
            patiently(|| {
                let (_, end) =
                    client.fetch_watermarks(&self.kafka_topic, partition, ANSWER_WITHIN)?;
                Ok(end)
            })
        };
        (0..partitions).map(end).collect()
    }

    fn partitions(&self) -> Result<usize, BenchError> {
        patiently(|| {
            let metadata = self.client()?.fetch_metadata(Some(&self.kafka_topic), ANSWER_WITHIN)?;
            match metadata.topics().iter().map(|topic| topic.partitions().len()).sum() {
                0 => Err(BenchError::Kafka(format!("no Kafka topic {}", self.kafka_topic))),
                partitions => Ok(partitions),
            }
        })
    }

    fn client(&self) -> Result<BaseConsumer, BenchError> {
        Ok(client(&self.bootstrap).create()?)
    }
}

impl Drop for Kafka {
    /// Ends the mock cluster, or removes the Kafka topic.
    fn drop(&mut self) {
        if let Some(mock) = self.mock.take() {
            mock.stop();
        } else if self.created
            && let Err(error) = remove(&self.bootstrap, &self.kafka_topic)
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

fn create(bootstrap: &str, kafka_topic: &str, partitions: i32) -> Result<(), BenchError> {
    let (admin, options, runtime) = admin(bootstrap)?;
    let new = NewTopic::new(kafka_topic, partitions, TopicReplication::Fixed(-1));
    accepted(runtime.block_on(admin.create_topics([&new], &options))?)
}

fn remove(bootstrap: &str, kafka_topic: &str) -> Result<(), BenchError> {
    let (admin, options, runtime) = admin(bootstrap)?;
    accepted(runtime.block_on(admin.delete_topics(&[kafka_topic], &options))?)
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
