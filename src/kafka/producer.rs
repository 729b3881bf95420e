//! One librdkafka producer with the thread that polls it. The thread gathers delivery reports and wakes
//! the actor once for those of a round; all else is the actor's business.

use std::ffi::{CStr, CString, c_int};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
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
use super::partitions::Partitions;
use super::{Event, ProducerEvent, ROUND_BELOW, classify};
use crate::config::{Config, KAFKA_SETTINGS};
use crate::failpoint::{self, Site};
use crate::message::{Epoch, Stamp};
use crate::observe::{Gate, keys, panics};

/// Makes a gap fatal: docs/decisions/0002-gapless.md.
const GAPLESS: &str = "enable.gapless.guarantee";
/// How long one round of polling lasts if nothing comes.
const ROUND: Duration = Duration::from_millis(250);
/// How long reports wait for the rest of their round.
const GATHER: Duration = Duration::from_millis(1);
/// How often librdkafka chooses the partition, and so tells how many there are now.
const RECOUNT: Duration = Duration::from_secs(10);
/// The shortest time that `rd_kafka_flush` knows beside none.
const FLUSH_MS: c_int = 1;
/// Both names of that property.
const LINGER: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];
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
    /// librdkafka's code, 0 for delivered; or [`classify::WITHOUT_OFFSET`].
    pub code: i32,
    /// Partition of the record.
    pub kafka_partition: i32,
    /// Offset of the record, if it was delivered.
    pub kafka_offset: i64,
    /// When librdkafka told it.
    pub at: Stamp,
}

/// Where records go.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The number of the Kafka topic, always the same for one name.
    pub number: usize,
    /// Its name.
    pub kafka_topic: &'a str,
    /// Its partitions.
    pub partitions: &'a Arc<Partitions>,
    /// Which of them; `None`: librdkafka chooses.
    pub kafka_partition: Option<i32>,
}

/// librdkafka's code for a partition that is not there.
const UNKNOWN_PARTITION: i32 = -190;
/// librdkafka's code for a Kafka topic whose name no broker takes.
const TOPIC_EXCEPTION: i32 = 17;

/// What the poll thread and the actor share.
struct Context {
    name: (Epoch, Via),
    waiting: Mutex<Waiting>,
    /// Records that were handed over and not reported.
    in_flight: AtomicUsize,
    /// What librdkafka may ask as long as it lives.
    partitions: Mutex<Vec<Arc<Partitions>>>,
    /// For [`remind_of_brokers`].
    brokers: CString,
    /// Brokers are to be asked for metadata until one answers.
    probe: AtomicBool,
    /// A report has come.
    reported: AtomicBool,
    stop: AtomicBool,
    actor: Recipient<ProducerEvent>,
    log: Logger,
    gates: Mutex<Vec<(String, Gate)>>,
}

/// Reports that the actor has not taken.
#[derive(Default)]
struct Waiting {
    reports: Vec<Report>,
    /// It knows of them.
    told: bool,
}

impl Context {
    /// Tells the actor of the reports that wait: when the next round can begin, or when they have
    /// waited for long enough. `None`: there is nothing to tell; else how long they may still wait.
    fn tell_reports(&self, waiting: &mut Waiting) -> Option<Duration> {
        let first = waiting.reports.first().filter(|_| !waiting.told)?;
        let left = GATHER.saturating_sub(first.at.instant.elapsed());
        if self.in_flight.load(Relaxed) >= ROUND_BELOW && !left.is_zero() {
            return Some(left);
        }
        waiting.told = true;
        self.tell(Event::Reports);
        None
    }

    fn tell(&self, event: Event) {
        let (epoch, via) = self.name;
        self.actor.do_send(ProducerEvent { epoch, via, event });
    }
}

impl Listener for Context {
    fn reports(&self, new: &[Report]) {
        lock(&self.waiting).reports.extend_from_slice(new);
        self.in_flight.fetch_sub(new.len(), Relaxed);
        self.reported.store(true, Relaxed);
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
    /// By number, so that a Kafka topic's name is looked up once and not for every record.
    topics: Vec<Option<Topic>>,
    /// A round is sent when it is whole, and not when `linger.ms` is over.
    flushes: bool,
    inner: Option<Arc<BaseProducer<Context>>>,
}

/// librdkafka's handle of a Kafka topic, counted by reference. Never outlives its producer, which
/// [`Producer`] sees to.
struct Topic {
    handle: NonNull<sys::rd_kafka_topic_t>,
    /// When librdkafka chose a partition, at the latest.
    counted_at: Option<Instant>,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Topic {}

impl Topic {
    /// The partition to name, which now and then is none, so that librdkafka chooses by the number of
    /// partitions that there are now. Its choice is the same unless that number has changed.
    fn partition(&mut self, known: Option<i32>, now: Instant) -> i32 {
        let is_due = self.counted_at.is_none_or(|at| now.duration_since(at) >= RECOUNT);
        match known {
            Some(partition) if !is_due => partition,
            _ => {
                self.counted_at = Some(now);
                UNASSIGNED
            }
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the handle is valid until here, and nobody else destroys it.
        unsafe { sys::rd_kafka_topic_destroy(self.handle.as_ptr()) }
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
            brokers: brokers(config),
            waiting: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            partitions: Mutex::default(),
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
        let lingers = |key: &String| LINGER.contains(&key.as_str());
        let flushes = name.1 == Via::Main && !config.kafka.properties.keys().any(lingers);
        Ok(Self { topics: Vec::new(), flushes, inner: Some(inner) })
    }

    /// Hands records to librdkafka, which copies them: index for the report, key, value. Never blocks.
    /// Returns the code of each record, 0 for those that were taken; nothing if all were. There will
    /// be no report about the others. Of those behind a full queue none is taken.
    ///
    /// # Errors
    /// None of them was taken, by librdkafka's code.
    pub fn send<'a>(
        &mut self,
        to: Target<'_>,
        records: impl Iterator<Item = (usize, &'a [u8], &'a [u8])>,
    ) -> Result<Vec<i32>, i32> {
        let topic = self.topic(to)?;
        let partition = topic.partition(to.kafka_partition, Instant::now());
        let handle = topic.handle;
        let mut messages: Vec<_> = records
            .map(|(index, key, value)| sys::rd_kafka_message_t {
                err: sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
                rkt: ptr::null_mut(),
                partition: UNASSIGNED,
                payload: value.as_ptr().cast_mut().cast(),
                len: value.len(),
                key: key.as_ptr().cast_mut().cast(),
                key_len: key.len(),
                offset: 0,
                _private: ptr::without_provenance_mut(index),
            })
            .collect();
        let in_flight = &self.inner().context().in_flight;
        // Before one can be reported.
        in_flight.fetch_add(messages.len(), Relaxed);
        // SAFETY: the handle is valid, and so are as many messages as is said; librdkafka copies keys
        // and values, never writes to them, and gives the opaque back as it is.
        let taken = unsafe {
            sys::rd_kafka_produce_batch(
                handle.as_ptr(),
                partition,
                sys::RD_KAFKA_MSG_F_COPY,
                messages.as_mut_ptr(),
                c_int::try_from(messages.len()).unwrap_or(c_int::MAX),
            )
        };
        if !self.inner().context().reported.load(Relaxed) {
            // It sees to the first delivery.
            Events::of(self.inner()).wake();
        }
        let refused = messages.len() - usize::try_from(taken).unwrap_or_default();
        if refused == 0 {
            return Ok(Vec::new());
        }
        in_flight.fetch_sub(refused, Relaxed);
        let code = |message: &sys::rd_kafka_message_t| {
            // SAFETY: librdkafka has set the code; it is read as a number.
            unsafe { (&raw const message.err).cast::<c_int>().read() }
        };
        let codes: Vec<i32> = messages.iter().map(code).collect();
        if codes.contains(&UNKNOWN_PARTITION)
            && let Some(Some(topic)) = self.topics.get_mut(to.number)
        {
            topic.counted_at = None;
        }
        Ok(codes)
    }

    /// Lets librdkafka send what it was given, each partition's records as one request, and waits
    /// until all is reported, but no longer than a millisecond: docs/decisions/0006-whole-rounds.md.
    /// Nothing where the configuration has a `linger.ms` of its own.
    pub fn flush(&self) {
        if self.flushes {
            // SAFETY: the client is valid. Reports come as events, so none is lost here.
            unsafe { sys::rd_kafka_flush(self.inner().client().native_ptr(), FLUSH_MS) };
        }
    }

    fn topic(&mut self, to: Target<'_>) -> Result<&mut Topic, i32> {
        if self.topics.len() <= to.number {
            self.topics.resize_with(to.number + 1, || None);
        }
        if self.topics[to.number].is_none() {
            let name = CString::new(to.kafka_topic).map_err(|_| TOPIC_EXCEPTION)?;
            let client = self.inner().client().native_ptr();
            // SAFETY: the client is valid. It asks no sooner than for the first record, and by then the
            // context keeps what it asks, and ends after it.
            let handle = unsafe {
                let configuration = Partitions::configuration(to.partitions, client);
                sys::rd_kafka_topic_new(client, name.as_ptr(), configuration)
            };
            let handle = NonNull::new(handle).ok_or_else(last_error)?;
            lock(&self.inner().context().partitions).push(Arc::clone(to.partitions));
            self.topics[to.number] = Some(Topic { handle, counted_at: None });
        }
        Ok(self.topics[to.number].as_mut().expect("just made"))
    }

    /// As [`Producer::send`], with headers; looks the Kafka topic up by its name.
    ///
    /// # Errors
    /// The record was not taken, by librdkafka's code, and there will be no report about it.
    pub fn send_with_headers(
        &self,
        index: usize,
        kafka_topic: &str,
        key: &[u8],
        value: &[u8],
        headers: OwnedHeaders,
    ) -> Result<(), i32> {
        let record = BaseRecord::with_opaque_to(kafka_topic, index).key(key).payload(value);
        let in_flight = &self.inner().context().in_flight;
        in_flight.fetch_add(1, Relaxed);
        self.inner().send(record.headers(headers)).map_err(|(error, _)| {
            in_flight.fetch_sub(1, Relaxed);
            match error {
                KafkaError::Nul(_) => TOPIC_EXCEPTION,
                error => error.rdkafka_error_code().map_or(-1, |code| code as i32),
            }
        })
    }

    /// Swaps the reports that came since the last call into `reports`, which must be empty.
    pub fn take_reports(&self, reports: &mut Vec<Report>) {
        let mut waiting = lock(&self.inner().context().waiting);
        waiting.told = false;
        std::mem::swap(&mut waiting.reports, reports);
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
                } else {
                    remind_of_brokers(producer.client().native_ptr(), &context.brokers);
                }
                ask_at = Instant::now() + ROUND;
            }
            // librdkafka asks for its producer id when metadata comes. If the broker has none to give
            // at once it asks again after half a second, or when metadata comes again.
            let first_waits =
                !context.reported.load(Relaxed) && context.in_flight.load(Relaxed) > 0;
            let mut timeout = ROUND;
            if first_waits && helped < FIRST_HELPS {
                helped += 1;
                broker_answers(producer);
                timeout = FIRST_PAUSE;
            }
            let gathering = context.tell_reports(&mut lock(&context.waiting));
            events.poll(gathering.unwrap_or(timeout), context);
        }
    });
    if !context.stop.load(Relaxed) {
        let panic = end.err();
        context.tell(Event::PollThreadEnded { panic });
    }
}

/// Why librdkafka's last call on this thread failed.
fn last_error() -> i32 {
    // SAFETY: it reads a variable of this thread.
    unsafe { sys::rd_kafka_last_error() as i32 }
}

/// `host:port` of each, separated by commas.
pub(super) fn brokers(config: &Config) -> CString {
    // The configuration has no NUL in it, and librdkafka would read no further.
    CString::new(config.kafka.brokers.join(",")).unwrap_or_default()
}

/// Tells librdkafka once more where the brokers are. An answer without any broker, as Kafka may give one
/// while it starts, makes it forget them all, and it then asks nobody ever again (librdkafka #5301). What
/// it still knows stays as it is.
pub(super) fn remind_of_brokers(client: *mut sys::rd_kafka_t, brokers: &CStr) {
    // SAFETY: both callers' clients live, and librdkafka copies what it keeps of the list.
    unsafe { sys::rd_kafka_brokers_add(client, brokers.as_ptr()) };
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
        // Only should a flush end too soon: what it leaves is due by then, and goes without a pause.
        .set("linger.ms", "1")
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
        let key = if LINGER.contains(&key.as_str()) { LINGER[0] } else { key };
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
