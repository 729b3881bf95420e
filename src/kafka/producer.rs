//! One librdkafka producer with the thread that polls it. The thread collects delivery reports and
//! wakes the actor when the first of a batch comes; all else is the actor's business.

use std::ffi::{CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use actix::Recipient;
use rdkafka::bindings as sys;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};
use rdkafka::{ClientContext, types::RDKafkaErrorCode};
use slog::{Logger, o};

use super::events::{Events, Listener};
use super::lanes::Via;
use super::{Event, ProducerEvent, classify};
use crate::config::{Config, KAFKA_SETTINGS};
use crate::failpoint::{self, Site};
use crate::message::Epoch;
use crate::observe::{Gate, keys, panics};

/// Makes a gap fatal: docs/decisions/0002-gapless.md.
const GAPLESS: &str = "enable.gapless.guarantee";
/// How long one round of polling lasts if nothing comes.
const ROUND: Duration = Duration::from_millis(250);
/// How long metadata is waited for.
const METADATA_WITHIN: Duration = Duration::from_millis(100);
/// `RD_KAFKA_PARTITION_UA`: the partitioner chooses.
const UNASSIGNED: i32 = -1;
/// How often metadata is asked for, for the sake of the first delivery, and the pause in between.
const FIRST_HELPS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// One log line of librdkafka for each facility in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// One delivery report, as raw as it came.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// The index given to [`Producer::send`].
    pub index: usize,
    /// librdkafka's code, 0 for delivered.
    pub code: i32,
    /// Partition of the record.
    pub kafka_partition: i32,
    /// Offset of the record, if it was delivered.
    pub kafka_offset: i64,
}

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// librdkafka's code.
    Code(i32),
    /// The Kafka topic's name has a NUL in it.
    Nul,
}

/// What the poll thread and the actor share.
struct Context {
    name: (Epoch, Via),
    reports: Mutex<Vec<Report>>,
    /// Brokers are to be asked for metadata until one answers.
    probe: AtomicBool,
    /// A report has come.
    reported: AtomicBool,
    stop: AtomicBool,
    actor: Recipient<ProducerEvent>,
    log: Logger,
    gates: Mutex<Vec<(String, Gate)>>,
}

impl Context {
    fn tell(&self, event: Event) {
        let (epoch, via) = self.name;
        self.actor.do_send(ProducerEvent { epoch, via, event });
    }
}

impl Listener for Context {
    fn reports(&self, new: &[Report]) {
        let mut reports = lock(&self.reports);
        let first = reports.is_empty();
        reports.extend_from_slice(new);
        drop(reports);
        self.reported.store(true, Relaxed);
        if first {
            self.tell(Event::Reports);
        }
    }

    fn log(&self, level: i32, facility: &str, line: &str) {
        if facility == "CONFWARN" && line.contains(GAPLESS) {
            return; // Each start would warn that it is experimental: known, and proved enough.
        }
        let suppressed = {
            let mut gates = lock(&self.gates);
            let at = gates.iter().position(|(known, _)| known == facility).unwrap_or_else(|| {
                gates.push((facility.to_owned(), Gate::every(LOG_INTERVAL)));
                gates.len() - 1
            });
            gates[at].1.pass(Instant::now())
        };
        let Some(suppressed) = suppressed else { return };
        let line = o!(keys::FACILITY => facility.to_owned(), keys::DETAIL => line.to_owned(),
            keys::SUPPRESSED => suppressed);
        match level {
            ..=3 => slog::error!(self.log, "librdkafka says"; line),
            4 => slog::warn!(self.log, "librdkafka says"; line),
            5 | 6 => slog::info!(self.log, "librdkafka says"; line),
            _ => slog::debug!(self.log, "librdkafka says"; line),
        }
    }

    fn error(&self, code: i32, detail: &str) {
        if code == classify::ALL_BROKERS_DOWN {
            self.probe.store(true, Relaxed);
        }
        self.tell(Event::Trouble { code, detail: detail.to_owned() });
    }
}

/// rdkafka polls when it drops a producer, and then nobody listens any more.
impl ClientContext for Context {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, _: &DeliveryResult<'_>, _: usize) {}
}

/// A producer and its poll thread. Dropped, it ends on a thread of its own, never on the caller's:
/// librdkafka takes up to half a second for that.
pub struct Producer {
    /// By lane, so that a Kafka topic's name is looked up once and not for every record.
    topics: Vec<Option<Topic>>,
    inner: Option<Arc<BaseProducer<Context>>>,
}

/// librdkafka's handle of a Kafka topic, counted by reference. Never outlives its producer, which
/// [`Producer`] sees to.
struct Topic(NonNull<sys::rd_kafka_topic_t>);

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Topic {}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the handle is valid until here, and nobody else destroys it.
        unsafe { sys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

impl Producer {
    /// Makes a producer, whose events go to `actor`, and starts its thread. No broker needs to be
    /// there.
    ///
    /// # Errors
    /// librdkafka refuses a property, or the system gives no thread.
    pub fn start(
        config: &Config,
        name: (Epoch, Via),
        actor: Recipient<ProducerEvent>,
        log: &Logger,
    ) -> Result<Self, String> {
        let context = Context {
            name,
            reports: Mutex::default(),
            probe: AtomicBool::new(true),
            reported: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            actor,
            log: log.new(o!(keys::COMPONENT => "librdkafka")),
            gates: Mutex::default(),
        };
        let inner: BaseProducer<Context> = settings(config, name.1)
            .create_with_context(context)
            .map_err(|error| error.to_string())?;
        let inner = Arc::new(inner);
        let polled = Arc::clone(&inner);
        thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || poll_until_stopped(&polled))
            .map_err(|error| format!("the poll thread does not start: {error}"))?;
        Ok(Self { topics: Vec::new(), inner: Some(inner) })
    }

    /// Hands one record to librdkafka, which copies it. Never blocks. A `lane` always has the same
    /// Kafka topic.
    ///
    /// # Errors
    /// The record was not taken, and there will be no report about it.
    pub fn send(
        &mut self,
        index: usize,
        (lane, kafka_topic): (usize, &str),
        key: &[u8],
        value: &[u8],
    ) -> Result<(), SendError> {
        let topic = self.topic(lane, kafka_topic)?;
        // SAFETY: the handle is valid; librdkafka copies key and value, never writes to them, and
        // gives the opaque back as it is.
        let sent = unsafe {
            sys::rd_kafka_produce(
                topic.as_ptr(),
                UNASSIGNED,
                sys::RD_KAFKA_MSG_F_COPY,
                value.as_ptr().cast_mut().cast::<c_void>(),
                value.len(),
                key.as_ptr().cast(),
                key.len(),
                ptr::without_provenance_mut(index),
            )
        };
        if sent == 0 { Ok(()) } else { Err(last_error()) }
    }

    fn topic(
        &mut self,
        lane: usize,
        kafka_topic: &str,
    ) -> Result<NonNull<sys::rd_kafka_topic_t>, SendError> {
        if let Some(Some(topic)) = self.topics.get(lane) {
            return Ok(topic.0);
        }
        let name = CString::new(kafka_topic).map_err(|_| SendError::Nul)?;
        let client = self.inner().client().native_ptr();
        // SAFETY: the client is valid, and without a configuration the client's own is used.
        let handle = unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        let handle = NonNull::new(handle).ok_or_else(last_error)?;
        if self.topics.len() <= lane {
            self.topics.resize_with(lane + 1, || None);
        }
        self.topics[lane] = Some(Topic(handle));
        Ok(handle)
    }

    /// As [`Producer::send`], with headers; looks the Kafka topic up by its name.
    ///
    /// # Errors
    /// The record was not taken, and there will be no report about it.
    pub fn send_with_headers(
        &self,
        index: usize,
        kafka_topic: &str,
        key: &[u8],
        value: &[u8],
        headers: OwnedHeaders,
    ) -> Result<(), SendError> {
        let record = BaseRecord::with_opaque_to(kafka_topic, index).key(key).payload(value);
        self.inner().send(record.headers(headers)).map_err(|(error, _)| match error {
            KafkaError::Nul(_) => SendError::Nul,
            error => SendError::Code(error.rdkafka_error_code().map_or(-1, |code| code as i32)),
        })
    }

    /// Swaps the reports that came since the last call into `reports`, which must be empty.
    pub fn take_reports(&self, reports: &mut Vec<Report>) {
        std::mem::swap(&mut *lock(&self.inner().context().reports), reports);
    }

    /// Whether this producer is at its end, and why.
    pub fn fatal_error(&self) -> Option<(RDKafkaErrorCode, String)> {
        self.inner().client().fatal_error()
    }

    fn inner(&self) -> &BaseProducer<Context> {
        self.inner.as_ref().expect("taken only by drop")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // They must be gone before the client is.
        self.topics.clear();
        let Some(inner) = self.inner.take() else { return };
        inner.context().stop.store(true, Relaxed);
        Events::of(&inner).wake();
        // If the poll thread still runs it is the last owner, else this one is.
        let reaper = thread::Builder::new().name("kafka-reaper".to_owned());
        // Without a thread the closure is dropped, and the producer with it: slow, but right.
        let _ = reaper.spawn(move || drop(inner));
    }
}

fn poll_until_stopped(producer: &Arc<BaseProducer<Context>>) {
    let context = producer.context().as_ref();
    let end = panics::catch(|| {
        let mut events = Events::of(producer);
        let mut helped = 0;
        let mut ask_at = Instant::now();
        while !context.stop.load(Relaxed) {
            failpoint::hit(Site::KafkaPoll);
            if context.probe.load(Relaxed) && ask_at <= Instant::now() {
                if broker_answers(producer) {
                    // That they were down, told before they answered, is no news any more.
                    while events.poll(Duration::ZERO, context) {}
                    context.probe.store(false, Relaxed);
                    context.tell(Event::Reached);
                }
                ask_at = Instant::now() + ROUND;
            }
            // librdkafka asks for its producer id when metadata comes. If the broker has none to give
            // at once it asks again after half a second, or when metadata comes again.
            let first_waits = !context.reported.load(Relaxed) && producer.in_flight_count() > 0;
            if first_waits && helped < FIRST_HELPS {
                helped += 1;
                broker_answers(producer);
                events.poll(FIRST_PAUSE, context);
            } else {
                events.poll(ROUND, context);
            }
        }
    });
    if !context.stop.load(Relaxed) {
        let panic = end.err();
        context.tell(Event::PollThreadEnded { panic });
    }
}

/// Why librdkafka's last call on this thread failed.
fn last_error() -> SendError {
    // SAFETY: it reads a variable of this thread.
    SendError::Code(unsafe { sys::rd_kafka_last_error() } as i32)
}

/// Whether a broker answers a request for metadata of no Kafka topic in particular.
fn broker_answers(producer: &BaseProducer<Context>) -> bool {
    let mut metadata: *const sys::rd_kafka_metadata = ptr::null();
    let timeout_ms = c_int::try_from(METADATA_WITHIN.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: the client lives as long as `producer`; a null Kafka topic means those that the client
    // knows; `metadata` is set on success only, and destroyed once.
    unsafe {
        let error = sys::rd_kafka_metadata(
            producer.client().native_ptr(),
            0,
            ptr::null_mut(),
            &raw mut metadata,
            timeout_ms,
        );
        let answered = error as i32 == 0 && !metadata.is_null();
        if answered {
            sys::rd_kafka_metadata_destroy(metadata);
        }
        answered
    }
}

/// The properties of a producer: defaults, then the user's, then what the promises rest on.
pub(super) fn settings(config: &Config, via: Via) -> ClientConfig {
    /// Room in a record beside the payload: the longest key that MQTT knows, and headers.
    const BESIDE_PAYLOAD: usize = 2 * 65_536;
    let record_max =
        (config.mqtt.max_payload_bytes + BESIDE_PAYLOAD).clamp(1_000_000, 1_000_000_000);
    let queue_kib = (2 * config.delivery.window_bytes + record_max) / 1024 + 1;
    let mut settings = ClientConfig::new();
    settings
        .set_log_level(RDKafkaLogLevel::Info)
        .set("client.id", "mqtt-kafka-bridge")
        .set("linger.ms", "0.2")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", "30000")
        .set("topic.metadata.refresh.interval.ms", "60000")
        .set("topic.metadata.propagation.max.ms", "5000")
        .set("metadata.recovery.rebootstrap.trigger.ms", "60000")
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", record_max.to_string())
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", queue_kib.min(2_147_483_647).to_string());
    for (key, value) in &config.kafka.properties {
        // The one default here that has a second name: set under both, either could win.
        let key = if key == "queue.buffering.max.ms" { "linger.ms" } else { key };
        settings.set(key, value);
    }
    settings.set("bootstrap.servers", config.kafka.brokers.join(","));
    for (key, value, _) in KAFKA_SETTINGS {
        settings.set(*key, *value);
    }
    // One record in flight leaves no gap, and its refusal must not be fatal.
    match via {
        Via::Main => &mut settings,
        Via::Careful => {
            settings.set(GAPLESS, "false").set("batch.num.messages", "1").set("linger.ms", "0")
        }
    };
    settings
}

/// What is behind these locks is as good after a panic as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
