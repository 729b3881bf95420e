//! Sends one record at a time and waits for Kafka's word on it, outside of any actor: for `dead-letters replay`.
//! The client has the settings of the serial producer: acks=all, idempotent, one record a request.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use slog::{Discard, Logger, o};

use super::classify;
use super::events::{Listener, Report};
use super::librdkafka::{Client, KafkaTopic, UNASSIGNED};
use super::login::{Login, LoginThread};
use super::outgoing::{Extras, Outgoing};
use super::partitions::{Chooser, Partitions};
use super::sentences::Sentences;
use crate::config::{Config, KafkaClient};
use crate::message::{Record, Stamp};
use crate::observe::Rfc3339;

/// How long Kafka may take for one record.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// One look for events.
const POLL: Duration = Duration::from_millis(100);
/// So many Kafka topics keep their handle.
const KAFKA_TOPICS_MAX: usize = 1000;

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All in-sync replicas have it.
    Delivered,
    /// Kafka or librdkafka refused it, and why.
    Refused(String),
}

/// There is no word on the record, which may be in Kafka or not: nothing more can be sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct GaveUp(String);

/// See the module.
pub struct Resender {
    /// By name. Before the client, which they belong to.
    kafka_topics: HashMap<Arc<str>, (KafkaTopic, Arc<Chooser>)>,
    client: Arc<Client>,
    sentences: Arc<Sentences>,
    login: Arc<Login>,
    partitioner: String,
    heard: Heard,
    next: usize,
    _login_thread: Option<LoginThread>,
}

/// What the events say.
#[derive(Default)]
struct Heard {
    reports: Mutex<Vec<Report>>,
    trouble: Mutex<Option<String>>,
}

impl Listener for Heard {
    fn reports(&self, reports: &[Report]) {
        self.reports.lock().extend_from_slice(reports);
    }

    fn error(&self, code: i32, detail: &str) {
        *self.trouble.lock() = Some(format!("{} ({code}): {detail}", classify::name(code)));
    }

    fn log(&self, _: i32, _: &str, _: &str) {}
}

impl Resender {
    /// Makes the client; needs no broker.
    ///
    /// # Errors
    /// librdkafka refuses a property, a file cannot be read, or the system gives no thread.
    pub fn new(config: &Arc<Config>) -> Result<Self, GaveUp> {
        let login = Arc::new(Login::new(Arc::clone(config)));
        let no_thread = |error| GaveUp(format!("cannot start a thread: {error}"));
        let log = Logger::root(Discard, o!());
        let login_thread = LoginThread::start(&login, &log).map_err(no_thread)?;
        let sentences = Arc::<Sentences>::default();
        let client = login.client(KafkaClient::Serial, Some(&sentences));
        let client = client.map_err(|not_made| GaveUp(not_made.why))?;
        let partitioner = config.kafka.properties.get("partitioner").cloned().unwrap_or_default();
        Ok(Self {
            kafka_topics: HashMap::new(),
            client,
            sentences,
            login,
            partitioner,
            heard: Heard::default(),
            next: 0,
            _login_thread: login_thread,
        })
    }

    /// Sends a record of a message of this MQTT topic, and waits for Kafka's word.
    ///
    /// # Errors
    /// There is none: Kafka does not answer, or the client is at its end.
    pub fn send(&mut self, record: &Record, mqtt_topic: &bytes::Bytes) -> Result<Outcome, GaveUp> {
        let index = self.next;
        self.next += 1;
        let partition = record.partition();
        let outgoing = Outgoing {
            index,
            key: record.key(mqtt_topic).map(|key| &key[..]),
            value: record.value.as_deref(),
            mqtt_topic,
        };
        let produced_at = Rfc3339::from_us(Stamp::now().wall_us);
        let headers = record.headers_at(produced_at.as_bytes());
        let timestamp_ms = record.extras.as_ref().and_then(|extras| extras.timestamp_ms);
        let extras = Extras { headers: &headers, timestamp_ms, kafka_partition: partition };
        let sent = self.kafka_topic(&record.kafka_topic).and_then(|(kafka_topic, chooser)| {
            // librdkafka asks for the partition each time.
            match partition {
                Some(wanted) => chooser.expect_wanted(index, wanted),
                None if outgoing.key.is_none() => chooser.expect_keyless(index, mqtt_topic),
                None => {}
            }
            kafka_topic.produce_one(UNASSIGNED, outgoing, extras)
        });
        match sent {
            Ok(()) => self.wait(index),
            Err(code) => self.outcome(index, code),
        }
    }

    fn kafka_topic(&mut self, name: &Arc<str>) -> Result<&mut (KafkaTopic, Arc<Chooser>), i32> {
        if self.kafka_topics.len() >= KAFKA_TOPICS_MAX && !self.kafka_topics.contains_key(name) {
            self.kafka_topics.clear();
        }
        match self.kafka_topics.entry(Arc::clone(name)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let partitions = Arc::new(Partitions::new(&self.partitioner));
                let chooser = Arc::new(Chooser::new(&partitions));
                let kafka_topic = self.client.kafka_topic_with(name, &chooser)?;
                Ok(unknown.insert((kafka_topic, chooser)))
            }
        }
    }

    fn wait(&mut self, index: usize) -> Result<Outcome, GaveUp> {
        let until = Instant::now() + ANSWER_WITHIN;
        while Instant::now() < until {
            self.client.poll(POLL, &self.heard);
            let reports = std::mem::take(&mut *self.heard.reports.lock());
            if let Some(report) = reports.iter().find(|report| report.index == index) {
                return self.outcome(index, report.code);
            }
            if let Some((code, detail)) = self.client.fatal_error() {
                return Err(GaveUp(format!("{} ({code}): {detail}", classify::name(code))));
            }
        }
        let mut why = format!("Kafka has not answered for {} s", ANSWER_WITHIN.as_secs());
        if let Some(trouble) = self.heard.trouble.lock().take().or_else(|| self.login.trouble()) {
            why = format!("{why}; {}", self.login.secrets().hide(&trouble));
        }
        Err(GaveUp(why))
    }

    fn outcome(&self, index: usize, code: i32) -> Result<Outcome, GaveUp> {
        if code == 0 {
            return Ok(Outcome::Delivered);
        }
        let sentence = self.sentences.take(index).map(|said| format!(": {said}"));
        let name = classify::name(code);
        Ok(Outcome::Refused(format!("{name} ({code}){}", sentence.unwrap_or_default())))
    }
}
