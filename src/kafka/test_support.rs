//! librdkafka's mock cluster, for tests of this directory.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::observe::test_support::PATIENCE;

/// A mock cluster. Ends when it is dropped.
pub(super) struct MockKafka {
    pub(super) cluster: MockCluster<'static, DefaultProducerContext>,
    pub(super) brokers: String,
}

impl MockKafka {
    /// Of so many brokers, with these Kafka topics of so many partitions.
    pub(super) fn start(brokers: i32, kafka_topics: &[&str], partitions: i32) -> Self {
        let cluster = MockCluster::new(brokers).expect("a mock cluster");
        for kafka_topic in kafka_topics {
            cluster.create_topic(kafka_topic, partitions, 1).expect("a Kafka topic");
        }
        let brokers = cluster.bootstrap_servers();
        Self { cluster, brokers }
    }

    /// The next Produce requests are answered with these errors, one each.
    pub(super) fn fail_produce(&self, errors: &[RDKafkaRespErr]) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, errors);
    }

    /// All records of a Kafka topic, in the order of each partition.
    pub(super) fn read(&self, kafka_topic: &str) -> Vec<ReadRecord> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "test")
            .set("enable.partition.eof", "true")
            .create()
            .expect("a consumer");
        let metadata = consumer.fetch_metadata(Some(kafka_topic), PATIENCE).expect("an answer");
        let partitions = metadata.topics()[0].partitions().len();
        let mut assigned = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            assigned
                .add_partition_offset(kafka_topic, partition.id(), Offset::Beginning)
                .expect("an offset");
        }
        consumer.assign(&assigned).expect("assigned");
        let (mut records, mut ends) = (Vec::new(), 0);
        let deadline = Instant::now() + PATIENCE;
        while ends < partitions {
            assert!(Instant::now() < deadline, "{kafka_topic} is not read to its end");
            match consumer.poll(Duration::from_millis(50)) {
                Some(Ok(record)) => {
                    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
                    records.push(ReadRecord {
                        kafka_partition: record.partition(),
                        key: owned(record.key()),
                        value: owned(record.payload()),
                        headers: headers.map(|it| (it.key.to_owned(), owned(it.value))).collect(),
                        timestamp_ms: record.timestamp().to_millis(),
                    });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => ends += 1,
                Some(Err(_)) | None => {}
            }
        }
        records
    }
}

/// A record as a consumer sees it.
#[derive(Debug)]
pub(super) struct ReadRecord {
    pub(super) kafka_partition: i32,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) timestamp_ms: Option<i64>,
}

impl ReadRecord {
    /// The headers as `name=value`.
    pub(super) fn header_texts(&self) -> Vec<String> {
        let text = |value: &Option<Vec<u8>>| {
            String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
        };
        self.headers.iter().map(|(name, value)| format!("{name}={}", text(value))).collect()
    }
}
