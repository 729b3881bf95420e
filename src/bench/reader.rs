//! Reads the run's records back from Kafka and counts lost, duplicated and reordered messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use super::error::BenchError;
use super::kafka::{self, Kafka};
use super::{interrupt, wire};
use crate::demo::brokers::spawn;
use crate::demo::verify::Verifier;

/// How long one poll waits for records.
const POLL: Duration = Duration::from_millis(50);
/// When nothing new has come for this long, missing messages are lost.
const QUIET: Duration = Duration::from_secs(10);

/// The messages of one run as found in Kafka.
#[derive(Debug)]
pub(super) struct Found {
    /// Records of this run.
    pub records: u64,
    pub lost: u64,
    pub duplicated: u64,
    /// After a later message of the same MQTT topic.
    pub reordered: u64,
    /// With a key that is not the MQTT topic, or in another Kafka topic.
    pub misplaced: u64,
}

/// The reader on its thread.
pub(super) struct Reader {
    progress: Arc<Progress>,
    thread: JoinHandle<Reading>,
}

#[derive(Default)]
struct Progress {
    /// Different messages read so far.
    messages: AtomicU64,
    /// Nothing more will be sent.
    last: AtomicBool,
    /// The number of messages sent, once it is known.
    sent: AtomicU64,
}

impl Reader {
    /// Starts to read the records of `run`. Its message `n` belongs to the MQTT topic
    /// `n % mqtt_topics.len()`.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub(super) fn start(
        kafka: &Kafka,
        run: u64,
        mqtt_topics: Vec<String>,
    ) -> Result<Self, BenchError> {
        let consumer: BaseConsumer = kafka::client(&kafka.bootstrap)
            .set("group.id", "bench")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "10")
            .set("fetch.message.max.bytes", "4194304")
            .set("check.crcs", "false")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        for begin in &kafka.begin {
            let (name, from) = (&kafka.kafka_topics[begin.kafka_topic], begin.offset);
            partitions.add_partition_offset(name, begin.number, Offset::Offset(from))?;
        }
        consumer.assign(&partitions)?;
        let progress = Arc::new(Progress::default());
        let shared = Arc::clone(&progress);
        let reading = Reading::new(run, mqtt_topics, kafka.kafka_topics.clone());
        let thread = spawn("bench-reader", move || read(&consumer, reading, &shared))
            .map_err(|error| BenchError::Kafka(error.to_string()))?;
        Ok(Self { progress, thread })
    }

    /// Different messages read so far.
    pub(super) fn messages(&self) -> u64 {
        self.progress.messages.load(Relaxed)
    }

    /// Waits until this many different messages were read, or nothing more comes.
    ///
    /// # Errors
    /// A signal came.
    pub(super) fn wait_for(&self, messages: u64) -> Result<(), BenchError> {
        let mut seen = 0;
        let mut moved_at = Instant::now();
        while self.messages() < messages && moved_at.elapsed() < QUIET {
            if self.messages() != seen {
                (seen, moved_at) = (self.messages(), Instant::now());
            }
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Reads the rest; `sent` messages were published.
    ///
    /// # Errors
    /// Its thread panicked.
    pub(super) fn finish(self, sent: u64) -> Result<Found, BenchError> {
        self.progress.sent.store(sent, Relaxed);
        self.progress.last.store(true, std::sync::atomic::Ordering::Release);
        let reading =
            self.thread.join().map_err(|_| BenchError::Kafka("the reader panicked".to_owned()))?;
        Ok(reading.found(sent))
    }
}

fn read(consumer: &BaseConsumer, mut reading: Reading, progress: &Progress) -> Reading {
    let mut heard_at = Instant::now();
    loop {
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                heard_at = Instant::now();
                let payload = record.payload().unwrap_or_default();
                if reading.record(record.topic(), record.key(), payload) {
                    progress.messages.store(reading.messages, Relaxed);
                }
            }
            Some(Err(error)) => eprintln!("bench: reader: {error}"),
            None if progress.last.load(std::sync::atomic::Ordering::Acquire) => {
                // All messages are here and no more records come, or the rest is lost.
                let all = reading.messages >= progress.sent.load(Relaxed);
                if all || heard_at.elapsed() > QUIET {
                    return reading;
                }
            }
            None => {}
        }
    }
}

/// The records read so far, counted. Pure.
struct Reading {
    run: u64,
    mqtt_topics: Vec<String>,
    /// Message `n` belongs to the one at `n % mqtt_topics.len() % kafka_topics.len()`.
    kafka_topics: Vec<String>,
    verifier: Verifier,
    records: u64,
    messages: u64,
    misplaced: u64,
}

impl Reading {
    fn new(run: u64, mqtt_topics: Vec<String>, kafka_topics: Vec<String>) -> Self {
        let verifier = Verifier::new(mqtt_topics.len());
        Self { run, mqtt_topics, kafka_topics, verifier, records: 0, messages: 0, misplaced: 0 }
    }

    /// Counts a record; gives whether its message is new.
    fn record(&mut self, kafka_topic: &str, key: Option<&[u8]>, payload: &[u8]) -> bool {
        let Some(number) = wire::number(payload, self.run) else { return false };
        self.records += 1;
        let mqtt_topics = self.mqtt_topics.len() as u64;
        // The remainder is below a length.
        let index = (number % mqtt_topics) as usize;
        let expected = &self.kafka_topics[index % self.kafka_topics.len()];
        if key != Some(self.mqtt_topics[index].as_bytes()) || kafka_topic != expected {
            self.misplaced += 1;
        }
        let is_new = self.verifier.arrived(index, number / mqtt_topics + 1);
        self.messages += u64::from(is_new);
        is_new
    }

    fn found(&self, sent: u64) -> Found {
        let mqtt_topics = self.mqtt_topics.len() as u64;
        let sent_to =
            |index: usize| sent / mqtt_topics + u64::from((index as u64) < sent % mqtt_topics);
        Found {
            records: self.records,
            lost: self.verifier.lost(sent_to),
            duplicated: self.verifier.duplicated(),
            reordered: self.verifier.reordered(),
            misplaced: self.misplaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seven messages to three MQTT topics were sent; these are read. Gives (lost, duplicated,
    /// reordered, misplaced).
    fn of_seven(numbers: &[u64]) -> (u64, u64, u64, u64) {
        let mqtt_topics: Vec<_> = (0..3).map(|index| format!("bench/{index}")).collect();
        let mut reading = Reading::new(9, mqtt_topics.clone(), vec!["bench".to_owned()]);
        for number in numbers {
            let payload = [9u64.to_be_bytes(), number.to_be_bytes()].concat();
            let key = mqtt_topics[(number % 3) as usize].as_bytes();
            reading.record("bench", Some(key), &payload);
            // Of another run.
            let payload = [8u64.to_be_bytes(), number.to_be_bytes()].concat();
            assert!(!reading.record("bench", None, &payload));
        }
        let Found { lost, duplicated, reordered, misplaced, .. } = reading.found(7);
        (lost, duplicated, reordered, misplaced)
    }

    #[test]
    fn each_once_and_in_the_order_of_its_mqtt_topic_is_nothing_to_report() {
        assert_eq!(of_seven(&[0, 1, 2, 3, 4, 5, 6]), (0, 0, 0, 0));
        // Of different MQTT topics.
        assert_eq!(of_seven(&[2, 1, 0, 5, 3, 6, 4]), (0, 0, 0, 0));
    }

    #[test]
    fn what_is_missing_at_either_end_and_in_the_middle_is_lost() {
        assert_eq!(of_seven(&[1, 2, 3, 4, 5, 6]), (1, 0, 0, 0));
        assert_eq!(of_seven(&[0, 1, 2, 4, 5, 6]), (1, 0, 0, 0));
        assert_eq!(of_seven(&[0, 1, 2, 3, 4, 5]), (1, 0, 0, 0));
        assert_eq!(of_seven(&[]), (7, 0, 0, 0));
    }

    #[test]
    fn a_second_arrival_is_duplicated_and_a_late_one_reordered() {
        assert_eq!(of_seven(&[0, 1, 2, 3, 4, 5, 6, 3]), (0, 1, 0, 0));
        assert_eq!(of_seven(&[3, 0, 1, 2, 4, 5, 6]), (0, 0, 1, 0));
    }

    #[test]
    fn a_key_that_is_not_the_mqtt_topic_is_misplaced_and_so_is_another_kafka_topic() {
        let mqtt_topics = ["a/0", "a/1"].map(str::to_owned).to_vec();
        let kafka_topics = ["b-0", "b-1"].map(str::to_owned).to_vec();
        let mut reading = Reading::new(9, mqtt_topics, kafka_topics);
        let payload = |number: u64| [9u64.to_be_bytes(), number.to_be_bytes()].concat();
        assert!(reading.record("b-0", Some(b"a/1"), &payload(0)));
        assert_eq!(reading.found(1).misplaced, 1);
        assert!(reading.record("b-0", Some(b"a/1"), &payload(1)));
        assert_eq!(reading.found(2).misplaced, 2);
        assert!(reading.record("b-1", Some(b"a/1"), &payload(3)));
        assert_eq!(reading.found(4).misplaced, 2);
    }
}
