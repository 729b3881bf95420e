//! The demo's own Kafka consumer: reads everything back, lets the verifier count the devices'
//! messages, and shows a few records.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;

use super::brokers::{KAFKA_PARTITIONS, spawn};
use super::error::DemoError;
use super::verify::{Ledger, Verifier};

/// How long one poll waits for records.
const POLL: Duration = Duration::from_millis(100);

/// At most one record of the devices is shown in this time; records of others always are.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(150);

/// How long to read the remaining records, once asked to stop.
const REST_TIMEOUT: Duration = Duration::from_secs(10);

/// A record for the display.
pub(super) struct Sample {
    /// Whether it does not come from the demo's devices.
    pub foreign: bool,
    /// Partition.
    pub kafka_partition: i32,
    /// Offset.
    pub kafka_offset: i64,
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// The part that all payloads of the devices have in common.
#[derive(Deserialize)]
struct Envelope {
    seq: u64,
}

/// The consumer on its thread.
pub(super) struct Consumer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Verifier>,
}

impl Consumer {
    /// Reads `kafka_topic` from its beginning. `mqtt_topics` are those of the devices, by index. Leaves out
    /// samples for which there is no room.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub(super) fn start(
        bootstrap: &str,
        kafka_topic: &'static str,
        mqtt_topics: &[Bytes],
        ledger: Arc<Ledger>,
        samples: SyncSender<Sample>,
    ) -> Result<Self, DemoError> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("client.id", "demo-consumer")
            .set("group.id", "demo-consumer")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "50")
            .create()?;
        let mut partitions = TopicPartitionList::new();
        for partition in 0..KAFKA_PARTITIONS {
            partitions.add_partition_offset(kafka_topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&partitions)?;
        let stop = Arc::new(AtomicBool::new(false));
        let devices: HashMap<Bytes, usize> =
            mqtt_topics.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        let mut reader = Reader {
            consumer,
            kafka_topic,
            verifier: Verifier::new(devices.len()),
            devices,
            ledger,
            samples,
            next_sample: Instant::now(),
            next_offsets: vec![0; KAFKA_PARTITIONS as usize],
        };
        let stopped = Arc::clone(&stop);
        let thread = spawn("demo-kafka-consumer", move || {
            while !stopped.load(Relaxed) {
                reader.poll();
            }
            reader.read_the_rest();
            reader.verifier
        })?;
        Ok(Self { stop, thread })
    }

    /// Reads up to the present end of each partition and gives the counts.
    ///
    /// # Errors
    /// The thread panicked.
    pub(super) fn finish(self) -> Result<Verifier, DemoError> {
        self.stop.store(true, Relaxed);
        self.thread.join().map_err(|_| DemoError::Consumer)
    }
}

struct Reader {
    consumer: BaseConsumer,
    kafka_topic: &'static str,
    verifier: Verifier,
    devices: HashMap<Bytes, usize>,
    ledger: Arc<Ledger>,
    samples: SyncSender<Sample>,
    next_sample: Instant,
    /// By partition.
    next_offsets: Vec<i64>,
}

impl Reader {
    fn poll(&mut self) {
        match self.consumer.poll(POLL) {
            Some(Ok(record)) => {
                let partition = usize::try_from(record.partition()).unwrap_or_default();
                self.next_offsets[partition] = record.offset() + 1;
                let foreign = !count(&self.devices, &self.ledger, &mut self.verifier, &record);
                let now = Instant::now();
                if foreign || now >= self.next_sample {
                    self.next_sample = now + SAMPLE_INTERVAL;
                    // If there is no room, the display has enough to show.
                    let _ = self.samples.try_send(sample(&record, foreign));
                }
            }
            // librdkafka goes on by itself. A message that does not come back counts as lost.
            Some(Err(error)) => eprintln!("demo: consumer: {error}"),
            None => {}
        }
    }

    fn read_the_rest(&mut self) {
        let deadline = Instant::now() + REST_TIMEOUT;
        for partition in 0..KAFKA_PARTITIONS {
            let end = match self.consumer.fetch_watermarks(self.kafka_topic, partition, POLL * 20) {
                Ok((_, end)) => end,
                Err(error) => {
                    eprintln!("demo: consumer: {error}");
                    continue;
                }
            };
            while self.next_offsets[partition as usize] < end && Instant::now() < deadline {
                self.poll();
            }
        }
    }
}

/// Counts the record if it is a message of the devices.
fn count(
    devices: &HashMap<Bytes, usize>,
    ledger: &Ledger,
    verifier: &mut Verifier,
    record: &BorrowedMessage<'_>,
) -> bool {
    let Some(device) = record.key().and_then(|key| devices.get(key)) else { return false };
    let envelope = record.payload().map(serde_json::from_slice::<Envelope>);
    match envelope {
        Some(Ok(Envelope { seq })) if ledger.has_sent(*device, seq) => {
            if verifier.arrived(*device, seq) {
                ledger.count_read_back();
            }
            true
        }
        _ => false,
    }
}

fn sample(record: &BorrowedMessage<'_>, foreign: bool) -> Sample {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into();
    Sample {
        foreign,
        kafka_partition: record.partition(),
        kafka_offset: record.offset(),
        key: text(record.key()),
        value: text(record.payload()),
    }
}
