//! One librdkafka producer and the thread that polls it. The thread gathers the delivery reports of a round
//! and then wakes the actor once; everything else is the actor's business.

use std::ffi::{CString, c_int};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use actix::Recipient;
use parking_lot::Mutex;
use slog::{Logger, o};

use super::classify;
use super::events::Listener;
pub use super::events::Report;
use super::librdkafka::{Batch, Client, Topic, UNASSIGNED};
use super::login::{Doubt, Login, NotMade};
pub use super::outgoing::{Extras, Outgoing};
use super::partition_queue::{Path, ROUND_BELOW};
use super::partitions::{Chooser, Partitions};
use super::producer_event::{Event, ProducerEvent};
use super::sentences::Sentences;
use crate::config::{Config, KafkaClient, Secrets, lingers};
use crate::failpoint::{self, Site};
use crate::message::Epoch;
use crate::observe::{LogLimiter, diagnosis, keys, panics};

/// Makes a gap fatal: docs/decisions/0002-gapless.md.
const GAPLESS: &str = "enable.gapless.guarantee";
/// How long the thread waits for an event at most.
const POLL_MAX: Duration = Duration::from_millis(250);
/// How long reports wait for the rest of their round.
const GATHER: Duration = Duration::from_millis(1);
/// How often librdkafka chooses the partition, and so tells how many there are.
const RECOUNT: Duration = Duration::from_secs(10);
/// The shortest time that `rd_kafka_flush` can wait.
const FLUSH_MS: c_int = 1;
/// How long to wait for metadata.
const METADATA_WITHIN: Duration = Duration::from_millis(100);
/// How often the thread asks for metadata to speed up the first delivery, and the pause in between.
const FIRST_HELPS: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// What librdkafka logs (facility, part of the line) when an answer of Kafka names no leader for a
/// partition, as while a node is fenced. librdkafka 2.12.1 then forgets the leader and never asks for the
/// next one: the partition delivers nothing any more (librdkafka #5430).
pub(super) const LEADER_LOST: (&str, &str) = ("METADATAUPDATE", "not found in cache");
/// librdkafka gets one log line for each facility in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Where records go. The partitioner has chosen the partition, or librdkafka is to ask it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The number of the Kafka topic: always the same for one name.
    pub number: usize,
    /// Its name.
    pub kafka_topic: &'a str,
    /// Its partitions.
    pub partitions: &'a Arc<Partitions>,
    /// Which of them; `None`: not known yet.
    pub kafka_partition: Option<i32>,
}

/// What the poll thread and the actor share.
struct Shared {
    client: Arc<Client>,
    context: Context,
}

impl Shared {
    /// So many records are about to be handed over: counted before one of them can be reported.
    fn hand_over(&self, count: usize) {
        self.context.in_flight.fetch_add(count, Relaxed);
    }

    /// librdkafka has taken them, except for so many.
    fn handed_over(&self, refused: usize) {
        self.context.in_flight.fetch_sub(refused, Relaxed);
        if !self.context.reported.load(Relaxed) {
            // The poll thread speeds up the first delivery.
            self.client.wake();
        }
    }
}

/// See [`Shared`].
struct Context {
    name: (Epoch, Path),
    waiting: Mutex<Waiting>,
    /// Records that were handed over and not reported yet.
    in_flight: AtomicUsize,
    /// How many of them are of older rounds than the last one.
    left_behind: AtomicUsize,
    /// For [`Client::remind_of_brokers`].
    brokers: CString,
    /// The thread asks for metadata until a broker answers.
    probe: AtomicBool,
    /// There has been a report.
    reported: AtomicBool,
    stop: AtomicBool,
    actor: Recipient<ProducerEvent>,
    log: Logger,
    secrets: Secrets,
    doubt: Doubt,
    limiters: Mutex<Vec<(String, LogLimiter)>>,
}

/// Reports that the actor has not taken yet.
#[derive(Default)]
struct Waiting {
    reports: Vec<Report>,
    /// The actor knows of them.
    told: bool,
}

impl Context {
    /// Tells the actor of the reports that wait, if the next round can begin or the first report has
    /// waited for [`GATHER`]. Otherwise returns how long they may still wait; `None` if none waits.
    fn tell_reports(&self, waiting: &mut Waiting) -> Option<Duration> {
        let first = waiting.reports.first().filter(|_| !waiting.told)?;
        let left = GATHER.saturating_sub(first.at.instant.elapsed());
        let enough = ROUND_BELOW + self.left_behind.load(Relaxed);
        if self.in_flight.load(Relaxed) >= enough && !left.is_zero() {
            return Some(left);
        }
        waiting.told = true;
        self.tell(Event::Reports);
        None
    }

    fn tell(&self, event: Event) {
        let (epoch, path) = self.name;
        self.actor.do_send(ProducerEvent { epoch, path, event });
    }
}

impl Listener for Context {
    fn reports(&self, new: &[Report]) {
        self.waiting.lock().reports.extend_from_slice(new);
        self.in_flight.fetch_sub(new.len(), Relaxed);
        self.reported.store(true, Relaxed);
    }

    fn log(&self, level: i32, facility: &str, line: &str) {
        if facility == LEADER_LOST.0 && line.contains(LEADER_LOST.1) {
            self.tell(Event::LeaderLost);
        }
        if facility == "CONFWARN" && line.contains(GAPLESS) {
            return; // librdkafka warns at each start that it is experimental: known and tested.
        }
        let suppressed = {
            let mut limiters = self.limiters.lock();
            let at =
                limiters.iter().position(|(known, _)| known == facility).unwrap_or_else(|| {
                    limiters.push((facility.to_owned(), LogLimiter::every(LOG_INTERVAL)));
                    limiters.len() - 1
                });
            limiters[at].1.pass(Instant::now())
        };
        let Some(suppressed) = suppressed else { return };
        let answered = !self.probe.load(Relaxed) || self.reported.load(Relaxed);
        let likely = diagnosis::of_kafka(0, line, answered).map(ToString::to_string);
        let line = o!(keys::FACILITY => facility.to_owned(), keys::DETAIL => self.secrets.hide(line),
            keys::LIKELY => likely, keys::SUPPRESSED => suppressed);
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
        self.doubt.heard(code);
        self.tell(Event::Trouble { code, detail: self.secrets.hide(detail) });
    }
}

/// A producer and its poll thread. When dropped it ends on a thread of its own, not on the caller's:
/// librdkafka takes up to half a second to end.
pub struct Producer {
    /// By number, so that the name of a Kafka topic is looked up once and not for every record.
    topics: Vec<Option<Counted>>,
    /// A round is sent when it is complete instead of when `linger.ms` is over.
    flushes: bool,
    /// Only the serial producer has them.
    sentences: Option<Arc<Sentences>>,
    shared: Option<Arc<Shared>>,
}

/// A Kafka topic, and when librdkafka last chose a partition of it.
struct Counted {
    topic: Topic,
    chooser: Arc<Chooser>,
    counted_at: Option<Instant>,
}

impl Counted {
    /// The partition to name to librdkafka. Every [`RECOUNT`] it is none, so that librdkafka asks, and
    /// thereby tells how many partitions there are; the choice is the same unless that number has changed.
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

    /// The record is about to be handed over for this partition. Without a partition librdkafka asks for
    /// one by the key, and where there is none, by what is noted here.
    fn announce(&self, partition: i32, record: &Outgoing<'_>) {
        if partition == UNASSIGNED {
            // Of an earlier record of this index, about which librdkafka has never asked.
            self.chooser.forget_wanted(record.index);
            if record.key.is_none() {
                self.chooser.expect_keyless(record.index, record.mqtt_topic);
            }
        }
    }
}

/// The Kafka topic, made at its first record.
fn counted<'a>(
    topics: &'a mut Vec<Option<Counted>>,
    client: &Arc<Client>,
    to: Target<'_>,
) -> Result<&'a mut Counted, i32> {
    if topics.len() <= to.number {
        topics.resize_with(to.number + 1, || None);
    }
    match &mut topics[to.number] {
        Some(counted) => Ok(counted),
        none => {
            let chooser = Arc::new(Chooser::new(to.partitions));
            let topic = client.partitioned_topic(to.kafka_topic, &chooser)?;
            Ok(none.insert(Counted { topic, chooser, counted_at: None }))
        }
    }
}

impl Producer {
    /// Makes a producer, whose events go to `actor`, and starts its thread. Needs no broker.
    ///
    /// # Errors
    /// librdkafka refuses a property, a file cannot be read, or the system cannot start a thread.
    pub fn start(
        config: &Config,
        login: &Login,
        name: (Epoch, Path),
        actor: Recipient<ProducerEvent>,
        log: &Logger,
    ) -> Result<Self, NotMade> {
        let context = Context {
            name,
            brokers: brokers(config),
            waiting: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            left_behind: AtomicUsize::new(0),
            probe: AtomicBool::new(true),
            reported: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            actor,
            log: log.new(o!(keys::COMPONENT => "librdkafka")),
            secrets: login.secrets().clone(),
            doubt: login.doubt().clone(),
            limiters: Mutex::default(),
        };
        let which = match name.1 {
            Path::Pipelined => KafkaClient::Pipelined,
            Path::Serial => KafkaClient::Serial,
        };
        let sentences = (name.1 == Path::Serial).then(Arc::<Sentences>::default);
        let client = login.client(which, sentences.as_ref())?;
        let shared = Arc::new(Shared { client, context });
        let polled = Arc::clone(&shared);
        thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || poll_until_stopped(&polled))
            .map_err(|error| NotMade {
                why: format!("cannot start the poll thread: {error}"),
                may_pass: false,
            })?;
        let flushes = name.1 == Path::Pipelined && !lingers(config);
        Ok(Self { topics: Vec::new(), flushes, sentences, shared: Some(shared) })
    }

    /// Hands records to librdkafka, which copies them. Never blocks. Returns librdkafka's code for each
    /// record: 0 if it was taken, anything else if it was not, and then there will be no report about it.
    /// Returns no codes if all were taken. Behind a record that finds the queue full none is taken.
    ///
    /// # Errors
    /// librdkafka's code. None of the records was taken.
    pub fn send<'a, R: Into<Outgoing<'a>>>(
        &mut self,
        to: Target<'_>,
        records: impl Iterator<Item = R>,
    ) -> Result<Vec<i32>, i32> {
        let shared = self.shared.as_ref().expect("taken only by drop");
        let counted = counted(&mut self.topics, &shared.client, to)?;
        let partition = counted.partition(to.kafka_partition, Instant::now());
        let batch: Batch<'_> =
            records.map(Into::into).inspect(|it| counted.announce(partition, it)).collect();
        shared.hand_over(batch.len());
        let codes = counted.topic.produce(partition, batch);
        shared.handed_over(codes.iter().filter(|code| **code != 0).count());
        if codes.contains(&classify::UNKNOWN_PARTITION) {
            counted.counted_at = None;
        }
        Ok(codes)
    }

    /// Hands over one record that has headers, a timestamp or a partition of its own. Otherwise the same as
    /// [`Producer::send`]: records of both keep their order within a partition, and one
    /// [`Producer::flush`] sends both.
    ///
    /// # Errors
    /// librdkafka's code. The record was not taken, and there will be no report about it.
    pub fn send_one(
        &mut self,
        to: Target<'_>,
        record: Outgoing<'_>,
        extras: Extras<'_>,
    ) -> Result<(), i32> {
        let shared = self.shared.as_ref().expect("taken only by drop");
        let counted = counted(&mut self.topics, &shared.client, to)?;
        let wanted = extras.kafka_partition;
        let partition = counted.partition(wanted.or(to.kafka_partition), Instant::now());
        match wanted {
            // librdkafka tells how many partitions there are only when it asks for one.
            Some(wanted) if partition == UNASSIGNED => {
                counted.chooser.expect_wanted(record.index, wanted);
            }
            _ => counted.announce(partition, &record),
        }
        shared.hand_over(1);
        let sent = counted.topic.produce_one(partition, record, extras);
        shared.handed_over(usize::from(sent.is_err()));
        if sent.is_err() {
            counted.chooser.forget_wanted(record.index);
        }
        if sent == Err(classify::UNKNOWN_PARTITION) {
            counted.counted_at = None;
        }
        sent
    }

    /// Lets librdkafka send what it was given, the records of each partition as one request, and waits for
    /// the reports, but no longer than a millisecond: docs/decisions/0006-whole-rounds.md. Does nothing if
    /// the configuration has a `linger.ms` of its own.
    ///
    /// `left_behind`: how many of the records in flight were given before this round. The actor is told of
    /// this round's reports without waiting for those.
    pub fn flush(&self, left_behind: usize) {
        self.shared().context.left_behind.store(left_behind, Relaxed);
        if self.flushes {
            self.shared().client.flush(FLUSH_MS);
        }
    }

    /// What Kafka said about this record, which it refused. Only the serial producer knows.
    pub fn sentence(&self, index: usize) -> Option<String> {
        self.sentences.as_ref()?.take(index)
    }

    /// Swaps the reports that came since the last call into `reports`, which must be empty.
    pub fn take_reports(&self, reports: &mut Vec<Report>) {
        let mut waiting = self.shared().context.waiting.lock();
        waiting.told = false;
        std::mem::swap(&mut waiting.reports, reports);
    }

    /// librdkafka's code and sentence, if this producer has failed for good.
    pub fn fatal_error(&self) -> Option<(i32, String)> {
        self.shared().client.fatal_error()
    }

    fn shared(&self) -> &Arc<Shared> {
        self.shared.as_ref().expect("taken only by drop")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // They keep the client, which takes its time to end.
        self.topics.clear();
        let Some(shared) = self.shared.take() else { return };
        shared.context.stop.store(true, Relaxed);
        shared.client.wake();
        // The poll thread is the last owner if it still runs, otherwise this one is.
        let reaper = thread::Builder::new().name("kafka-reaper".to_owned());
        // If no thread can be started the closure is dropped here, and the client with it: slow, but right.
        let _ = reaper.spawn(move || drop(shared));
    }
}

fn poll_until_stopped(shared: &Shared) {
    let Shared { client, context } = shared;
    let end = panics::catch(|| {
        let mut helped = 0;
        let mut ask_at = Instant::now();
        while !context.stop.load(Relaxed) {
            failpoint::hit(Site::KafkaPoll);
            if context.probe.load(Relaxed) && ask_at <= Instant::now() {
                if client.metadata(METADATA_WITHIN).is_ok() {
                    // Events from before the answer say that the brokers were down: out of date.
                    while client.poll(Duration::ZERO, context) {}
                    context.probe.store(false, Relaxed);
                    context.tell(Event::Reached);
                } else {
                    client.remind_of_brokers(&context.brokers);
                }
                ask_at = Instant::now() + POLL_MAX;
            }
            // librdkafka asks for its producer id when metadata comes. If the broker cannot give one yet,
            // it asks again after half a second, or when metadata comes again.
            let first_waits =
                !context.reported.load(Relaxed) && context.in_flight.load(Relaxed) > 0;
            let mut timeout = POLL_MAX;
            if first_waits && helped < FIRST_HELPS {
                helped += 1;
                let _ = client.metadata(METADATA_WITHIN);
                timeout = FIRST_PAUSE;
            }
            let gathering = context.tell_reports(&mut context.waiting.lock());
            client.poll(gathering.unwrap_or(timeout), context);
        }
    });
    if !context.stop.load(Relaxed) {
        let panic = end.err();
        context.tell(Event::PollThreadEnded { panic });
    }
}

/// `host:port` of each, separated by commas.
pub(super) fn brokers(config: &Config) -> CString {
    // The configuration refuses a NUL.
    CString::new(config.kafka.brokers.join(",")).unwrap_or_default()
}

#[cfg(test)]
#[path = "producer_tests.rs"]
mod tests;
