//! Asks Kafka again and again whether it answers and knows our Kafka topics, for readiness.
//!
//! It has a client of its own, so that a question that waits for a frozen broker holds up nothing,
//! and so that asking for a Kafka topic never creates it. Only this client's answers count: errors
//! that librdkafka tells come late, or not at all from a broker that is frozen.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_int};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::bindings as sys;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext};

use super::classify;
use super::lanes::Via;
use super::producer::{brokers, remind_of_brokers, settings};
use crate::config::Config;
use crate::observe::{KafkaHealth, Metrics, TopicTrouble};

/// Pause between an answer and the next question. With [`ANSWER_WITHIN`] it bounds how long
/// readiness can be wrong: 6 s.
const PAUSE: Duration = Duration::from_secs(2);
/// No answer within this time: Kafka is not reachable.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);
/// How long error events are waited for that tell why there was no answer.
const EVENTS_WITHIN: Duration = Duration::from_millis(10);

/// librdkafka's codes, and Kafka's.
const AUTHENTICATION: i32 = -169;
const TIMED_OUT: i32 = -185;
const TRANSPORT: i32 = -195;
const UNKNOWN_TOPIC: i32 = 3;
const TOPIC_DENIED: i32 = 29;
/// Kafka's errors of a broker that knows the caller and refuses him: SASL_AUTHENTICATION_FAILED.
const SASL_FAILED: i32 = 58;

/// The probe's thread.
#[derive(Debug)]
pub struct Probe {
    stop: Arc<Stop>,
    /// Held by the thread while it lives.
    alive: Weak<()>,
}

impl Probe {
    /// Begins to ask, and writes what it hears to the health in `metrics`.
    ///
    /// # Errors
    /// librdkafka refuses a property, or the system gives no thread.
    pub fn start(config: &Config, metrics: Arc<Metrics>) -> io::Result<Self> {
        let client = Client::new(config)?;
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let living = Arc::new(());
        let alive = Arc::downgrade(&living);
        thread::Builder::new().name("kafka-probe".to_owned()).spawn(move || {
            let _living = living;
            loop {
                metrics.health().set_kafka(client.ask());
                if stopped.wait(PAUSE) {
                    return;
                }
            }
        })?;
        Ok(Self { stop, alive })
    }

    /// Something that says whether the thread has ended, for `SupervisorActor` to watch.
    pub fn finished(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let alive = Weak::clone(&self.alive);
        move || alive.strong_count() == 0
    }
}

/// The thread ends by itself, not waited for: a question to a Kafka that is away takes its time.
impl Drop for Probe {
    fn drop(&mut self) {
        *lock(&self.stop.set) = true;
        self.stop.changed.notify_all();
    }
}

#[derive(Debug, Default)]
struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// `true` if it is to end.
    fn wait(&self, limit: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(lock(&self.set), limit, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What the error events said since the last answer.
#[derive(Debug, Default)]
struct Trouble {
    authentication: bool,
    detail: Option<String>,
}

#[derive(Default)]
struct Context {
    trouble: Mutex<Trouble>,
}

impl ClientContext for Context {
    /// The producer's client says the same.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, detail: &str) {
        let code = error.rdkafka_error_code().map_or(-1, |code| code as i32);
        if code == classify::ALL_BROKERS_DOWN {
            return; // It says nothing of why.
        }
        let mut trouble = lock(&self.trouble);
        trouble.authentication |= matches!(code, AUTHENTICATION | SASL_FAILED);
        trouble.detail = Some(detail.to_owned());
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// A client that only asks.
struct Client {
    /// Of `inner`, which outlives them: see `Drop`. As long as they exist, each answer has their
    /// Kafka topics.
    topics: Vec<*mut sys::rd_kafka_topic_t>,
    /// For [`remind_of_brokers`].
    brokers: CString,
    inner: BaseProducer<Context>,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Client {}

impl Client {
    fn new(config: &Config) -> io::Result<Self> {
        let mut settings = settings(config, Via::Careful);
        settings
            .set("enable.idempotence", "false")
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", "0");
        let inner: BaseProducer<Context> =
            settings.create_with_context(Context::default()).map_err(io::Error::other)?;
        let mut client = Self { topics: Vec::new(), brokers: brokers(config), inner };
        let routes = config.routes.iter().map(|route| &route.kafka_topic);
        for name in routes.chain(&config.dead_letter.kafka_topic) {
            client.topics.push(client.topic(name)?);
        }
        Ok(client)
    }

    fn topic(&self, name: &str) -> io::Result<*mut sys::rd_kafka_topic_t> {
        let name = CString::new(name)?;
        // SAFETY: the client lives, and librdkafka copies the name. Asked again for the same name,
        // it gives the same handle once more.
        let topic = unsafe {
            sys::rd_kafka_topic_new(
                self.inner.client().native_ptr(),
                name.as_ptr(),
                std::ptr::null_mut(),
            )
        };
        if topic.is_null() {
            Err(io::Error::other("no handle for a Kafka topic"))
        } else {
            Ok(topic)
        }
    }

    /// One question and what came of it.
    fn ask(&self) -> KafkaHealth {
        match self.metadata() {
            Ok(topics) => {
                *lock(&self.inner.context().trouble) = Trouble::default();
                KafkaHealth::Reachable(topics)
            }
            Err(code) => {
                self.inner.poll(EVENTS_WITHIN);
                remind_of_brokers(self.inner.client().native_ptr(), &self.brokers);
                let trouble = lock(&self.inner.context().trouble);
                let found = match code {
                    TIMED_OUT => format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
                    TRANSPORT => "no connection to a broker".to_owned(),
                    code => classify::name(code).to_owned(),
                };
                let detail = match &trouble.detail {
                    Some(detail) => format!("{found}; {detail}"),
                    None => found,
                };
                let authentication = trouble.authentication || code == AUTHENTICATION;
                KafkaHealth::Unreachable { authentication, detail }
            }
        }
    }

    /// What is wrong with which of our Kafka topics, or librdkafka's code.
    fn metadata(&self) -> Result<BTreeMap<String, TopicTrouble>, i32> {
        let mut metadata: *const sys::rd_kafka_metadata = std::ptr::null();
        let timeout_ms = c_int::try_from(ANSWER_WITHIN.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client lives; a null Kafka topic means those that it has handles of;
        // `metadata` is set on success only, read before it is destroyed, and destroyed once. Error
        // codes are read as numbers, since a broker may send one that is no value of the enum.
        unsafe {
            let error = sys::rd_kafka_metadata(
                self.inner.client().native_ptr(),
                0,
                std::ptr::null_mut(),
                &raw mut metadata,
                timeout_ms,
            );
            if metadata.is_null() {
                return Err(error as i32);
            }
            let troubles = elements((*metadata).topics, (*metadata).topic_cnt)
                .filter_map(|topic| {
                    let code = (&raw const (*topic).err).cast::<c_int>().read();
                    let leaderless = elements((*topic).partitions, (*topic).partition_cnt)
                        .find(|partition| (**partition).leader < 0)
                        .map(|partition| (*partition).id);
                    let name = CStr::from_ptr((*topic).topic).to_string_lossy().into_owned();
                    Some((name, trouble(code, leaderless)?))
                })
                .collect();
            sys::rd_kafka_metadata_destroy(metadata);
            Ok(troubles)
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for topic in self.topics.drain(..) {
            // SAFETY: each handle is given back once, while its client lives.
            unsafe { sys::rd_kafka_topic_destroy(topic) };
        }
    }
}

/// What the error code of a Kafka topic, or a partition without a leader, means.
fn trouble(code: i32, leaderless: Option<i32>) -> Option<TopicTrouble> {
    match (code, leaderless) {
        (0, None) => None,
        (0, Some(id)) => Some(TopicTrouble::Unavailable(format!("partition {id} has no leader"))),
        (UNKNOWN_TOPIC, _) => Some(TopicTrouble::Missing),
        (TOPIC_DENIED, _) => Some(TopicTrouble::Denied),
        (code, _) => Some(TopicTrouble::Unavailable(classify::name(code).to_owned())),
    }
}

/// Pointers to the elements of a C array: a reference would claim that each of their fields is a
/// legal value.
///
/// # Safety
/// `first` has `count` elements, or `count` is not positive.
unsafe fn elements<T>(first: *const T, count: c_int) -> impl Iterator<Item = *const T> {
    // SAFETY: promised by the caller.
    (0..usize::try_from(count).unwrap_or(0)).map(move |nth| unsafe { first.add(nth) })
}

/// What is behind these locks is as good after a panic as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
