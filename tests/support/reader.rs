//! A Kafka consumer that continuously reads one Kafka topic, from the beginning.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::eventually_some;
use super::kafka::client_config;
use super::ledger::parse;

/// After this time without a record, the partitions are assigned again: after a frozen broker was
/// fenced and came back under a new leader epoch, a consumer of librdkafka 2.12 may never fetch again
/// by itself (of the kind of confluentinc/librdkafka#4492), and the records would seem lost.
const QUIET: Duration = Duration::from_secs(5);

/// What arrived under one MQTT topic.
#[derive(Debug, Clone, Default)]
pub struct Arrived {
    /// Numbers of the messages.
    pub seen: HashSet<u64>,
    /// First arrivals that came after one with a higher number.
    pub reordered: u64,
    /// Partition of the first one; all others must be in the same.
    kafka_partition: i32,
    highest: Option<u64>,
}

/// Everything that arrived.
#[derive(Debug, Clone, Default)]
pub struct Arrivals {
    /// By MQTT topic.
    pub topics: HashMap<String, Arrived>,
    /// Distinct messages.
    pub distinct: u64,
    /// Records of messages that had arrived before.
    pub duplicated: u64,
    /// Records whose payload is not exactly what was published, whose key is not the MQTT topic, or
    /// that are in a different partition than the others of their MQTT topic.
    pub wrong: u64,
    /// When the last new message arrived.
    pub last_new: Option<Instant>,
    /// Partition -> offset of the next record.
    next_offsets: BTreeMap<i32, i64>,
}

impl Arrivals {
    fn take_in(&mut self, key: &[u8], payload: &[u8], kafka_partition: i32) {
        let Some((mqtt_topic, seq)) = parse(payload).filter(|(name, _)| name.as_bytes() == key)
        else {
            self.wrong += 1;
            return;
        };
        let topic = self
            .topics
            .entry(mqtt_topic.to_owned())
            .or_insert_with(|| Arrived { kafka_partition, ..Arrived::default() });
        if topic.kafka_partition != kafka_partition {
            self.wrong += 1;
        }
        if !topic.seen.insert(seq) {
            self.duplicated += 1;
            return;
        }
        self.distinct += 1;
        self.last_new = Some(Instant::now());
        if topic.highest.is_some_and(|highest| seq < highest) {
            topic.reordered += 1;
        }
        topic.highest = topic.highest.max(Some(seq));
    }
}

/// The consumer, on a thread of its own until dropped.
pub struct Reader {
    kafka_topic: String,
    consumer: Arc<BaseConsumer>,
    arrivals: Arc<Mutex<Arrivals>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Reads all partitions of `kafka_topic`, which must exist.
    pub fn start(bootstrap: &str, kafka_topic: &str) -> Self {
        let consumer: BaseConsumer = client_config(bootstrap)
            .set("group.id", "reader")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .set("fetch.error.backoff.ms", "50")
            .create()
            .expect("the settings are right");
        let next_offsets: BTreeMap<i32, i64> = partitions(&consumer, kafka_topic)
            .into_iter()
            .map(|partition| (partition, 0))
            .collect();
        assign(&consumer, kafka_topic, &next_offsets);
        let (consumer, ended) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let arrivals = Arc::new(Mutex::new(Arrivals { next_offsets, ..Arrivals::default() }));
        let kafka_topic = kafka_topic.to_owned();
        let thread = thread::spawn({
            let (consumer, ended) = (Arc::clone(&consumer), Arc::clone(&ended));
            let (arrivals, kafka_topic) = (Arc::clone(&arrivals), kafka_topic.clone());
            move || {
                let mut last_record = Instant::now();
                while !ended.load(Ordering::Relaxed) {
                    if read_on(&consumer, &arrivals) {
                        last_record = Instant::now();
                    } else if last_record.elapsed() > QUIET {
                        assign(&consumer, &kafka_topic, &arrivals.lock().unwrap().next_offsets);
                        last_record = Instant::now();
                    }
                }
            }
        });
        Self { kafka_topic, consumer, arrivals, ended, thread: Some(thread) }
    }

    /// How many distinct messages arrived so far.
    pub fn distinct(&self) -> u64 {
        self.arrivals.lock().unwrap().distinct
    }

    /// Reads everything that is in Kafka now.
    #[track_caller]
    pub fn read_to_end(&self, deadline: Duration) -> Arrivals {
        let partitions: Vec<i32> =
            self.arrivals.lock().unwrap().next_offsets.keys().copied().collect();
        let end = |partition| end_of(&self.consumer, &self.kafka_topic, partition, deadline);
        let ends: BTreeMap<i32, i64> =
            partitions.into_iter().map(|partition| (partition, end(partition))).collect();
        eventually_some("everything is read", deadline, || {
            let arrivals = self.arrivals.lock().unwrap();
            let read = |(partition, end): (&i32, &i64)| arrivals.next_offsets[partition] >= *end;
            ends.iter().all(read).then(|| arrivals.clone())
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads each partition from its offset on.
fn assign(consumer: &BaseConsumer, kafka_topic: &str, offsets: &BTreeMap<i32, i64>) {
    let mut partitions = TopicPartitionList::new();
    for (&partition, &offset) in offsets {
        partitions
            .add_partition_offset(kafka_topic, partition, Offset::Offset(offset))
            .expect("a valid offset");
    }
    consumer.assign(&partitions).expect("an assignment is only noted");
}

/// Takes the next record; false if none came. An error means that the broker is down.
fn read_on(consumer: &BaseConsumer, arrivals: &Mutex<Arrivals>) -> bool {
    let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) else { return false };
    let mut arrivals = arrivals.lock().unwrap();
    let next = arrivals.next_offsets[&record.partition()];
    if record.offset() < next {
        return true; // read before the partition was assigned anew
    }
    let (key, payload) = (record.key().unwrap_or_default(), record.payload().unwrap_or_default());
    arrivals.take_in(key, payload, record.partition());
    arrivals.next_offsets.insert(record.partition(), record.offset() + 1);
    true
}

/// Where a partition ends. Waits for that, for Kafka tells of a new Kafka topic some moments before its leaders
/// take requests.
#[track_caller]
pub fn end_of(
    consumer: &BaseConsumer,
    kafka_topic: &str,
    partition: i32,
    deadline: Duration,
) -> i64 {
    let patience = Duration::from_secs(2);
    eventually_some("the end of a partition is known", deadline, || {
        consumer.fetch_watermarks(kafka_topic, partition, patience).ok().map(|(_, end)| end)
    })
}

/// The partitions of a Kafka topic that exists.
pub fn partitions(consumer: &BaseConsumer, kafka_topic: &str) -> Vec<i32> {
    eventually_some("Kafka tells the partitions", super::PATIENT, || {
        let metadata = consumer.fetch_metadata(Some(kafka_topic), Duration::from_secs(2)).ok()?;
        let topic = metadata.topics().first().filter(|topic| topic.error().is_none())?;
        let ids: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
        (!ids.is_empty()).then_some(ids)
    })
}
