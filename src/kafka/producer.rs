//! One producer: a librdkafka client, or several for many partitions
//! (docs/decisions/0030-several-clients-of-a-producer.md), each with a thread that polls it. The threads gather
//! the delivery reports of a round and then wake the actor once; everything else is the actor's business.

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
use super::librdkafka::{Batch, Client, KafkaTopic, UNASSIGNED};
use super::login::{Doubt, Login, NotMade};
pub use super::outgoing::{Extras, Outgoing};
use super::partition_queue::{Path, ROUND_BELOW};
use super::partitions::{Chooser, Partitions};
use super::producer_event::{Event, ProducerEvent};
use super::sentences::Sentences;
use crate::config::{Config, KafkaClient, Secrets, lingers};
use crate::failpoint::{self, Site};
use crate::message::Epoch;
use crate::observe::kafka_statistics::ClientStatistics;
use crate::observe::{LogLimiter, diagnosis, events, keys, panics};

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
/// librdkafka looks at all partitions of a client before each request, so a client that has so many gets no
/// other Kafka topic, as long as there may be another client,
const CLIENT_PARTITIONS: usize = 128;
/// up to so many.
const CLIENTS_MAX: usize = 8;
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
    /// A template has named it. Only these are shared out among several clients.
    pub is_named: bool,
}

/// One of the clients, with what its poll thread and the actor share.
struct Polled {
    client: Arc<Client>,
    /// Its place among those of the producer.
    number: usize,
    context: Arc<Context>,
    /// The thread asks for metadata until a broker answers.
    probe: AtomicBool,
    /// There has been a report.
    reported: AtomicBool,
    silence: Mutex<Silence>,
}

/// For how long a client has told nothing of what it has.
struct Silence {
    in_flight: usize,
    /// Since its last report, or since it was given records when it had none.
    since: Instant,
}

impl Polled {
    /// Makes a client, and starts its thread.
    fn start(
        login: &Login,
        sentences: Option<&Arc<Sentences>>,
        context: &Arc<Context>,
        number: usize,
    ) -> Result<Arc<Self>, NotMade> {
        let which = match context.name.1 {
            Path::Pipelined => KafkaClient::Pipelined,
            Path::Serial => KafkaClient::Serial,
        };
        let polled = Arc::new(Self {
            client: login.client(which, sentences)?,
            number,
            context: Arc::clone(context),
            probe: AtomicBool::new(true),
            reported: AtomicBool::new(false),
            silence: Mutex::new(Silence { in_flight: 0, since: Instant::now() }),
        });
        let of_thread = Arc::clone(&polled);
        thread::Builder::new()
            .name("kafka-poll".to_owned())
            .spawn(move || of_thread.poll_until_stopped())
            .map_err(|error| NotMade {
                why: format!("cannot start the poll thread: {error}"),
                may_pass: false,
            })?;
        Ok(polled)
    }

    /// So many records are about to be handed over: counted before one of them can be reported.
    fn hand_over(&self, count: usize) {
        self.context.in_flight.fetch_add(count, Relaxed);
        let mut silence = self.silence.lock();
        if silence.in_flight == 0 {
            silence.since = Instant::now();
        }
        silence.in_flight += count;
    }

    /// librdkafka has taken them, except for so many.
    fn handed_over(&self, refused: usize) {
        self.context.in_flight.fetch_sub(refused, Relaxed);
        if refused > 0 {
            let mut silence = self.silence.lock();
            silence.in_flight = silence.in_flight.saturating_sub(refused);
        }
        if !self.reported.load(Relaxed) {
            // The poll thread speeds up the first delivery.
            self.client.wake();
        }
    }

    fn silent_since(&self) -> Option<Instant> {
        let silence = self.silence.lock();
        (silence.in_flight > 0).then_some(silence.since)
    }
}

/// What all clients of a producer share.
struct Context {
    name: (Epoch, Path),
    waiting: Mutex<Waiting>,
    /// Records that were handed over and not reported yet.
    in_flight: AtomicUsize,
    /// How many of them are of older rounds than the last one.
    left_behind: AtomicUsize,
    /// For [`Client::remind_of_brokers`].
    brokers: CString,
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

impl Listener for Polled {
    fn reports(&self, new: &[Report]) {
        self.context.waiting.lock().reports.extend_from_slice(new);
        self.context.in_flight.fetch_sub(new.len(), Relaxed);
        let mut silence = self.silence.lock();
        silence.in_flight = silence.in_flight.saturating_sub(new.len());
        silence.since = new.last().map_or(silence.since, |report| report.at.instant);
        drop(silence);
        self.reported.store(true, Relaxed);
    }

    fn log(&self, level: i32, facility: &str, line: &str) {
        let context = &*self.context;
        if facility == LEADER_LOST.0 && line.contains(LEADER_LOST.1) {
            context.tell(Event::LeaderLost);
        }
        if facility == "CONFWARN" && line.contains(GAPLESS) {
            return; // librdkafka warns at each start that it is experimental: known and tested.
        }
        let suppressed = {
            let mut limiters = context.limiters.lock();
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
        let line = o!(keys::FACILITY => facility.to_owned(), keys::DETAIL => context.secrets.hide(line),
            keys::LIKELY => likely, keys::SUPPRESSED => suppressed);
        match level {
            ..=3 => slog::error!(context.log, "librdkafka says"; events::LIBRDKAFKA_SAID, line),
            4 => slog::warn!(context.log, "librdkafka says"; events::LIBRDKAFKA_SAID, line),
            5 | 6 => slog::info!(context.log, "librdkafka says"; events::LIBRDKAFKA_SAID, line),
            _ => slog::debug!(context.log, "librdkafka says"; events::LIBRDKAFKA_SAID, line),
        }
    }

    fn statistics(&self, json: &str) {
        // librdkafka's own: there is nobody to blame if it is another document.
        if let Ok(told) = ClientStatistics::parse(json) {
            self.context.tell(Event::Statistics(self.number, Box::new(told)));
        }
    }

    fn error(&self, code: i32, detail: &str) {
        if code == classify::ALL_BROKERS_DOWN {
            self.probe.store(true, Relaxed);
        }
        let context = &*self.context;
        context.doubt.heard(code);
        context.tell(Event::Trouble { code, detail: context.secrets.hide(detail) });
    }
}

/// A producer and its poll threads. When dropped it ends on threads of its own, not on the caller's:
/// librdkafka takes up to half a second to end.
pub struct Producer {
    /// By number, so that the name of a Kafka topic is looked up once and not for every record.
    kafka_topics: Vec<Option<Counted>>,
    /// A round is sent when it is complete instead of when `linger.ms` is over.
    flushes: bool,
    /// Which clients have records of this round.
    round: Round,
    clients: Clients,
    context: Arc<Context>,
}

/// The clients of a producer. There is always one.
struct Clients {
    login: Arc<Login>,
    /// Only the serial producer has them.
    sentences: Option<Arc<Sentences>>,
    all: Vec<Arc<Polled>>,
    /// There may be more. Not of the serial producer, and not once the system had no room for another one.
    may_grow: bool,
    /// How many partitions each one has, as far as that was known at the first record of each Kafka topic.
    partitions: Vec<usize>,
}

impl Clients {
    /// The client of a Kafka topic that is new. What the configuration names has the first one: whether its
    /// number of partitions is known depends on what was before, and few Kafka topics are to have one client.
    fn place(&mut self, to: Target<'_>, context: &Arc<Context>) -> usize {
        if !to.is_named {
            return 0;
        }
        let wanted = place(&self.partitions, self.may_grow);
        if wanted < self.all.len() {
            return wanted;
        }
        match Polled::start(&self.login, self.sentences.as_ref(), context, wanted) {
            Ok(another) => {
                self.all.push(another);
                self.partitions.push(0);
                wanted
            }
            // Those that are there will do.
            Err(NotMade { why, .. }) => {
                self.may_grow = false;
                slog::warn!(context.log, "no more clients for many kafka topics"; events::KAFKA_CLIENTS_LIMITED,
                    keys::COUNT => self.all.len(), keys::DETAIL => context.secrets.hide(&why));
                place(&self.partitions, false)
            }
        }
    }

    /// The Kafka topic has this client from now on.
    fn placed(&mut self, client: usize, to: Target<'_>) {
        self.partitions[client] += if to.is_named { to.partitions.count().max(1) } else { 1 };
    }
}

/// Which client a new Kafka topic goes to, of those that have so many partitions; or the next one, which is to
/// be made. One client after the other is filled, so that few Kafka topics have one.
fn place(partitions: &[usize], may_grow: bool) -> usize {
    let has_room = |count: &usize| *count < CLIENT_PARTITIONS;
    match partitions.iter().position(has_room) {
        Some(at) => at,
        None if may_grow && partitions.len() < CLIENTS_MAX => partitions.len(),
        None => {
            let least = partitions.iter().enumerate().min_by_key(|(_, count)| **count);
            least.map_or(0, |(at, _)| at)
        }
    }
}

/// See [`Producer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Empty,
    OfOne(usize),
    OfSeveral,
}

impl Round {
    fn add(&mut self, client: usize) {
        *self = match *self {
            Self::Empty => Self::OfOne(client),
            Self::OfOne(other) if other == client => *self,
            Self::OfOne(_) | Self::OfSeveral => Self::OfSeveral,
        };
    }
}

/// A Kafka topic, and when librdkafka last chose a partition of it.
struct Counted {
    handle: KafkaTopic,
    /// Its place among the clients.
    client: usize,
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

impl Producer {
    /// Makes a producer, whose events go to `actor`, and starts its thread. Needs no broker.
    ///
    /// # Errors
    /// librdkafka refuses a property, a file cannot be read, or the system cannot start a thread.
    pub fn start(
        config: &Config,
        login: &Arc<Login>,
        name: (Epoch, Path),
        actor: Recipient<ProducerEvent>,
        log: &Logger,
    ) -> Result<Self, NotMade> {
        let context = Arc::new(Context {
            name,
            brokers: brokers(config),
            waiting: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            left_behind: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            actor,
            log: log.new(o!(keys::COMPONENT => "librdkafka")),
            secrets: login.secrets().clone(),
            doubt: login.doubt().clone(),
            limiters: Mutex::default(),
        });
        let sentences = (name.1 == Path::Serial).then(Arc::<Sentences>::default);
        let first = Polled::start(login, sentences.as_ref(), &context, 0)?;
        let (all, partitions) = (vec![first], vec![0]);
        let may_grow = name.1 == Path::Pipelined;
        let login = Arc::clone(login);
        let clients = Clients { login, sentences, all, may_grow, partitions };
        let flushes = name.1 == Path::Pipelined && !lingers(config);
        Ok(Self { kafka_topics: Vec::new(), flushes, round: Round::Empty, clients, context })
    }

    /// The Kafka topic, made at its first record, its client, and the round that it adds to.
    fn counted(&mut self, to: Target<'_>) -> Result<(&mut Counted, &Polled, &mut Round), i32> {
        let Self { kafka_topics, round, clients, context, .. } = self;
        if kafka_topics.len() <= to.number {
            kafka_topics.resize_with(to.number + 1, || None);
        }
        let counted = match &mut kafka_topics[to.number] {
            Some(counted) => counted,
            none => {
                let client = clients.place(to, context);
                let chooser = Arc::new(Chooser::new(to.partitions));
                let of = &clients.all[client].client;
                let handle = of.kafka_topic_with(to.kafka_topic, &chooser)?;
                clients.placed(client, to);
                none.insert(Counted { handle, client, chooser, counted_at: None })
            }
        };
        let polled = &*clients.all[counted.client];
        Ok((counted, polled, round))
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
        let (counted, client, round) = self.counted(to)?;
        let partition = counted.partition(to.kafka_partition, Instant::now());
        let batch: Batch<'_> =
            records.map(Into::into).inspect(|it| counted.announce(partition, it)).collect();
        let count = batch.len();
        client.hand_over(count);
        let codes = counted.handle.produce(partition, batch);
        let refused = codes.iter().filter(|code| **code != 0).count();
        client.handed_over(refused);
        if refused < count {
            round.add(counted.client);
        }
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
        let (counted, client, round) = self.counted(to)?;
        let wanted = extras.kafka_partition;
        let partition = counted.partition(wanted.or(to.kafka_partition), Instant::now());
        match wanted {
            // librdkafka tells how many partitions there are only when it asks for one.
            Some(wanted) if partition == UNASSIGNED => {
                counted.chooser.expect_wanted(record.index, wanted);
            }
            _ => counted.announce(partition, &record),
        }
        client.hand_over(1);
        let sent = counted.handle.produce_one(partition, record, extras);
        client.handed_over(usize::from(sent.is_err()));
        match sent {
            Ok(()) => round.add(counted.client),
            Err(_) => counted.chooser.forget_wanted(record.index),
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
    pub fn flush(&mut self, left_behind: usize) {
        self.context.left_behind.store(left_behind, Relaxed);
        if let Some(client) = self.to_flush() {
            self.clients.all[client].client.flush(FLUSH_MS);
        }
        self.round = Round::Empty;
    }

    /// Of several clients each would wait for the others, longer than for its `linger.ms`.
    fn to_flush(&self) -> Option<usize> {
        match self.round {
            Round::OfOne(client) => self.flushes.then_some(client),
            Round::Empty | Round::OfSeveral => None,
        }
    }

    /// What Kafka said about this record, which it refused. Only the serial producer knows.
    pub fn sentence(&self, index: usize) -> Option<String> {
        self.clients.sentences.as_ref()?.take(index)
    }

    /// Swaps the reports that came since the last call into `reports`, which must be empty.
    pub fn take_reports(&self, reports: &mut Vec<Report>) {
        let mut waiting = self.context.waiting.lock();
        waiting.told = false;
        std::mem::swap(&mut waiting.reports, reports);
    }

    /// Since when a client that has records in flight has reported none: the longest time of all clients.
    pub fn silent_since(&self) -> Option<Instant> {
        self.clients.all.iter().filter_map(|polled| polled.silent_since()).min()
    }

    /// librdkafka's code and sentence, if this producer has failed for good.
    pub fn fatal_error(&self) -> Option<(i32, String)> {
        self.clients.all.iter().find_map(|polled| polled.client.fatal_error())
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // They keep the clients, which take their time to end.
        self.kafka_topics.clear();
        self.context.stop.store(true, Relaxed);
        for polled in self.clients.all.drain(..) {
            polled.client.wake();
            // The poll thread is the last owner if it still runs, otherwise this one is.
            let reaper = thread::Builder::new().name("kafka-reaper".to_owned());
            // If no thread can be started the closure is dropped here, and the client with it: slow, but right.
            let _ = reaper.spawn(move || drop(polled));
        }
    }
}

impl Polled {
    fn poll_until_stopped(&self) {
        let Self { client, context, probe, reported, .. } = self;
        let end = panics::catch(|| {
            let mut helped = 0;
            let mut ask_at = Instant::now();
            while !context.stop.load(Relaxed) {
                failpoint::hit(Site::KafkaPoll);
                if probe.load(Relaxed) && ask_at <= Instant::now() {
                    if client.metadata(METADATA_WITHIN).is_ok() {
                        // Events from before the answer say that the brokers were down: out of date.
                        while client.poll(Duration::ZERO, self) {}
                        probe.store(false, Relaxed);
                        context.tell(Event::Reached);
                    } else {
                        client.remind_of_brokers(&context.brokers);
                    }
                    ask_at = Instant::now() + POLL_MAX;
                }
                // librdkafka asks for its producer id when metadata comes. If the broker cannot give one yet,
                // it asks again after half a second, or when metadata comes again.
                let first_waits = !reported.load(Relaxed) && context.in_flight.load(Relaxed) > 0;
                let mut timeout = POLL_MAX;
                if first_waits && helped < FIRST_HELPS {
                    helped += 1;
                    let _ = client.metadata(METADATA_WITHIN);
                    timeout = FIRST_PAUSE;
                }
                let gathering = context.tell_reports(&mut context.waiting.lock());
                client.poll(gathering.unwrap_or(timeout), self);
            }
        });
        if !context.stop.load(Relaxed) {
            let panic = end.err();
            context.tell(Event::PollThreadEnded { panic });
        }
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
