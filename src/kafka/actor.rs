//! KafkaProducerActor: takes batches, gives verdicts. It translates between messages, the queues (what
//! may be sent) and the producers (what came of it); when a producer is at its end it makes a new
//! one, announces its epoch, and the sources hand on again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use bytes::Bytes;
use slog::{Logger, debug, error, o, warn};

use super::classify;
use super::dead_letter::queue::DeadLetterQueue;
use super::partition_queue::ROUND_BELOW;
use super::partition_queue::{PartitionQueue, Queued};
use super::producer_event::{Event, ProducerEvent};
use super::replay::{Known, Replay};
use crate::config::Config;
use crate::failpoint::{self, Site};
use crate::kafka::dead_letter::{DeadLetter, Extent};
use crate::message::{Destination, Header, NO_ROUTE, Record, RecordId, Seq, Stamp};
use crate::observe::panics::{self, PanicReport};
use crate::observe::{HeldPlace, Hold, LogLimiter, Metrics, TimingSink, keys};
use crate::stage::{Attach, ForwardBatch, ForwardMsg, SourceId, StageReady, Verdict};
use crate::supervisor::heartbeat::Heartbeat;
use kafka_topics::KafkaTopics;
use producer_set::{AWAY_INTERVAL, Away, InFlight, ProducerSet, elapsed_ms};
use reports::Outbox;

mod producer_set;
mod kafka_topics;
mod send;
mod reports;

/// How often the actor shows that it lives, and publishes what it holds.
const TICK: Duration = Duration::from_secs(1);
/// Keys and values of one round in one partition, so that they fit one request (`batch.size` is
/// 1,000,000). A record that is larger goes alone.
pub(super) const ROUND_BYTES: usize = 768 * 1024;
/// librdkafka counts so many bytes for a record beside its key and value, or fewer.
pub(super) const RECORD_BYTES: usize = 40;
/// So many records are a full round, unless a window of fewer than four times as many can hardly bring
/// them together.
const ROUND_FULL: usize = 64;
/// A round that is not full begins no sooner than this after the last one: what comes often comes
/// together, and what comes seldom goes at once.
const ROUND_EVERY: Duration = Duration::from_millis(1);
/// A round waits no longer for the one before it: a partition that answers late, or never, is not to
/// hold up the others.
const ROUND_PATIENCE: Duration = Duration::from_millis(10);
/// With records of more partitions in flight, a round waits no longer for the one before it: librdkafka
/// sends one request a broker at a time, and has enough to do.
const WIDE: usize = 24;
/// How soon a record that librdkafka had no room for is tried again, if no report comes before.
const FULL_RETRY: Duration = Duration::from_millis(10);
/// A partition that has refused for so long what should pass is told of.
const FAILING_AFTER: Duration = Duration::from_secs(30);
/// So many of them are named.
const FAILING_NAMED: usize = 5;
/// A repeated warning appears once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The reason code of a record for a partition that its Kafka topic does not have.
const PARTITION_MISSING: &str = "partition_missing";

/// A message with the source that gets its verdict.
#[derive(Debug)]
struct Item {
    msg: ForwardMsg,
    source: SourceId,
}

impl Queued for Item {
    fn seq(&self) -> Seq {
        self.msg.id.seq
    }

    fn bytes(&self) -> usize {
        let Record { key, value, headers, .. } = self.record();
        let bytes = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let header = |header: &Header| header.name.to_bytes().len() + bytes(&header.value);
        bytes(key) + bytes(value) + headers.iter().map(header).sum::<usize>() + RECORD_BYTES
    }
}

impl Item {
    /// The record. Only an item that has one goes into a queue.
    fn record(&self) -> &Record {
        self.msg.record().expect("what has no record goes to the dead letter at once")
    }

    /// What decides on the partition of a record that names none.
    fn partition_key(&self) -> &[u8] {
        self.record().key.as_ref().unwrap_or(&self.msg.message.mqtt_topic)
    }

    /// Whether librdkafka can take it together with others.
    fn is_plain(&self) -> bool {
        let Record { headers, partition, timestamp_ms, .. } = self.record();
        headers.is_empty() && partition.is_none() && timestamp_ms.is_none()
    }
}

/// All that a restart rebuilds.
#[derive(Default)]
struct State {
    producers: Option<ProducerSet>,
    kafka_topics: KafkaTopics,
    /// When the last round began.
    round_at: Option<Instant>,
    /// How many records of it are in flight.
    round_left: usize,
    dead_letters: DeadLetterQueue,
    /// Of messages that no route matches.
    unmatched: DeadLetterQueue,
    /// When something is to be tried again.
    alarms: BTreeSet<Instant>,
    /// librdkafka has no room.
    full: bool,
    /// Producers in a row that delivered nothing.
    failed_producers: u32,
    start_at: Option<Instant>,
    away: Option<Away>,
    stale_batches: u64,
    /// The next producer is told of, since the end of the last one was.
    tells_epochs: bool,
    /// What is known of records that come a second time.
    replay: Replay,
}

/// The registry's singleton. Made by [`KafkaProducerActor::new`] and put there by
/// `SystemRegistry::set` once; it restarts in place.
pub struct KafkaProducerActor {
    config: Arc<Config>,
    log: Logger,
    metrics: Arc<Metrics>,
    timing: TimingSink,
    heartbeat: Arc<Heartbeat>,
    sources: BTreeMap<SourceId, Attach>,
    limiter: LogLimiter,
    unconfirmed_limiter: LogLimiter,
    panic_limiter: LogLimiter,
    away_limiter: LogLimiter,
    epochs_limiter: LogLimiter,
    unmatched_limiter: LogLimiter,
    state: State,
}

impl KafkaProducerActor {
    /// An actor that makes its first producer when it is started.
    pub fn new(
        config: Arc<Config>,
        log: Logger,
        metrics: Arc<Metrics>,
        timing: TimingSink,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        let log = log.new(o!(keys::COMPONENT => "kafka"));
        let state = State::new(&config);
        Self {
            config,
            log,
            metrics,
            timing,
            heartbeat,
            sources: BTreeMap::new(),
            limiter: LogLimiter::every(WARN_INTERVAL),
            unconfirmed_limiter: LogLimiter::every(AWAY_INTERVAL),
            panic_limiter: LogLimiter::every(WARN_INTERVAL),
            away_limiter: LogLimiter::every(WARN_INTERVAL),
            epochs_limiter: LogLimiter::every(WARN_INTERVAL),
            unmatched_limiter: LogLimiter::every(WARN_INTERVAL),
            state,
        }
    }

    /// Puts a message where it goes next: its queue, or the dead letter.
    fn accept(&mut self, item: Item) {
        let state = &mut self.state;
        let queue = panics::catch(|| {
            failpoint::hit(Site::KafkaRecord);
            match item.msg.record()?.partition {
                Some(wanted) if wanted < 0 => Some(Err(wanted)),
                _ => Some(Ok(state.kafka_topics.queue_of(&item))),
            }
        });
        match queue {
            Ok(Some(Ok(queue))) => state.kafka_topics.queues_mut()[queue].push(item),
            Ok(Some(Err(wanted))) => {
                let detail = format!("found partition {wanted}, expected 0 or more");
                self.dead_letter(item, Some((PARTITION_MISSING, detail)));
            }
            Ok(None) => self.dead_letter(item, None),
            Err(panic) => {
                self.log_panic("panic on one message", &panic);
                self.dead_letter(item, Some(("panic", panic.message)));
            }
        }
    }

    fn log_panic(&mut self, what: &'static str, panic: &PanicReport) {
        if let Some(suppressed) = self.panic_limiter.pass(Instant::now()) {
            error!(self.log, "{}", what; keys::ACTOR => self.heartbeat.actor(),
                keys::PANIC => &panic.message, keys::LOCATION => &panic.location,
                keys::SUPPRESSED => suppressed);
        }
    }

    fn dead_letter(&mut self, item: Item, refusal: Option<(&'static str, String)>) {
        let Item { msg, source } = item;
        let kafka_topic = msg.record().map(|record| record.kafka_topic.to_string());
        let given = match msg.destination() {
            Some(Destination::DeadLetter(given)) => Some((given.reason, given.detail.clone())),
            _ => None,
        };
        let (reason, detail) = refusal.or(given).unwrap_or_default();
        let extent = Extent::default();
        let kind = DeadLetterKind::of(reason);
        let dead_letter = DeadLetter { msg, source, reason, detail, kafka_topic, extent };
        self.state.dead_letters_of(kind).push(dead_letter);
    }

    /// Sends all that may be sent, and sets the alarm for the rest.
    fn pump(&mut self, now: Stamp, ctx: &mut Context<Self>) {
        self.state.full = false;
        if let Some(kafka_topic) = self.state.kafka_topics.divide() {
            let detail = format!("{kafka_topic} has fewer partitions than it had");
            self.end_epoch(&detail);
            self.replace_producer(now.instant, ctx);
        }
        let is_due = self.round_due(now.instant) == Some(now.instant);
        let room = if is_due { ROUND_BYTES } else { 0 };
        let mut begun = 0;
        for queue in 0..self.state.kafka_topics.queues().len() {
            begun += self.send_queue(queue, room, now, ctx);
        }
        if begun > 0 {
            self.state.round_at = Some(now.instant);
            self.state.round_left = begun;
            if let Some(ProducerSet { pipelined, .. }) = &self.state.producers {
                pipelined.producer.flush(pipelined.in_flight.len() - begun);
            }
        }
        if self.config.dead_letter.kafka_topic.is_some() {
            DeadLetterKind::BOTH
                .into_iter()
                .for_each(|kind| self.produce_dead_letters(kind, now.instant, ctx));
        } else {
            DeadLetterKind::BOTH
                .into_iter()
                .for_each(|kind| self.write_dead_letters(kind, now.instant, ctx));
        }
        self.set_alarm(ctx);
    }

    /// When the next round may begin, `now` or later, if something waits for it.
    fn round_due(&self, now: Instant) -> Option<Instant> {
        let State { producers, kafka_topics, full, round_at, round_left, .. } = &self.state;
        let producers =
            producers.as_ref().filter(|producers| producers.ending.is_none() && !full)?;
        let queues = kafka_topics.queues();
        let in_flight = producers.pipelined.in_flight.len();
        let is_wide =
            in_flight > WIDE && queues.iter().filter(|queue| queue.is_in_flight()).count() > WIDE;
        let ready = queues.iter().map(PartitionQueue::ready).sum::<usize>();
        let whole = ROUND_FULL.min(self.config.delivery.window_messages / 4);
        let pause = if is_wide {
            // As long again as the flush, so that not all of the time goes into flushing.
            2 * ROUND_EVERY
        } else if *round_left >= ROUND_BELOW {
            ROUND_PATIENCE
        } else if ready < whole {
            ROUND_EVERY
        } else {
            Duration::ZERO
        };
        let soon = round_at.map_or(now, |at| (at + pause).max(now));
        (ready > 0).then_some(soon)
    }

    fn publish_holds(&self) {
        let mut holds: Vec<Hold> = Vec::new();
        for (at, queue) in self.state.kafka_topics.queues().iter().enumerate() {
            let Some(trouble) = queue.trouble().filter(|trouble| trouble.held) else { continue };
            // Its partitions have the same cause.
            let place = HeldPlace::KafkaTopic(queue.kafka_topic().into());
            if holds.iter().all(|hold| hold.place != place) {
                let reason = self.state.kafka_topics.why_held(at, trouble.code);
                holds.push(Hold { place, reason });
            }
        }
        holds.extend(self.state.dead_letters.hold());
        self.metrics.set_holds(holds);
    }

    /// Tells of partitions whose records come back again and again with a code that should pass.
    fn publish_failing(&self) {
        let now = Instant::now();
        let queues = self.state.kafka_topics.queues();
        let failing = queues.iter().filter(|queue| queue.failing_for(now) >= FAILING_AFTER);
        let named = failing.clone().take(FAILING_NAMED);
        let mut details: Vec<String> = named.map(|queue| failing_detail(queue, now)).collect();
        let unnamed = failing.count() - details.len();
        if unnamed > 0 {
            details.push(format!("and {unnamed} more partitions"));
        }
        self.metrics.health().set_failing_partitions(details);
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        self.state.kafka_topics.forget_sizes(Instant::now());
        self.publish_holds();
        self.publish_failing();
        if let Some(away) = &mut self.state.away
            && away.still.pass(Instant::now()).is_some()
        {
            away.is_told = true;
            warn!(self.log, "kafka is still away"; keys::ELAPSED_MS => elapsed_ms(away.since));
        }
        self.watch_for_silence();
        self.set_alarm(ctx);
        self.give_up_late_dead_letters();
    }

    /// Sets an alarm to when something is to be tried again.
    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let round = self.round_due(now);
        let state = &mut self.state;
        let queues = state.kafka_topics.queues().iter().filter_map(PartitionQueue::next_try).min();
        let full = state.full.then(|| now + FULL_RETRY);
        let ending = state.producers.as_ref().and_then(|producers| producers.ending);
        let dead_letters = [&state.dead_letters, &state.unmatched].into_iter();
        let dead_letters = dead_letters.filter_map(DeadLetterQueue::next_try).min();
        let at = [round, queues, full, ending, state.start_at, dead_letters];
        let Some(at) = at.into_iter().flatten().min() else { return };
        // One that is set already, and soon enough, will do.
        if state.alarms.first().is_some_and(|set| *set <= at) {
            return;
        }
        // None is ever cancelled: a panic between the cancelling of a future and its end would cancel
        // another one after the restart (supervisor/guard.rs).
        ctx.run_later(at.saturating_duration_since(now), move |actor, ctx| {
            actor.state.alarms.remove(&at);
            actor.heartbeat.beat();
            actor.replace_producer(Instant::now(), ctx);
            actor.pump(Stamp::now(), ctx);
        });
        state.alarms.insert(at);
    }
}

/// Where dead letters wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeadLetterKind {
    /// Held until they can be written.
    Refused,
    /// Of messages that no route matches: given up if they cannot.
    Unmatched,
}

impl DeadLetterKind {
    const BOTH: [Self; 2] = [Self::Refused, Self::Unmatched];

    fn of(reason: &str) -> Self {
        if reason == NO_ROUTE { Self::Unmatched } else { Self::Refused }
    }
}

impl State {
    fn dead_letters_of(&mut self, kind: DeadLetterKind) -> &mut DeadLetterQueue {
        match kind {
            DeadLetterKind::Refused => &mut self.dead_letters,
            DeadLetterKind::Unmatched => &mut self.unmatched,
        }
    }

    fn new(config: &Config) -> Self {
        let partitioner = config.kafka.properties.get("partitioner").map_or("", String::as_str);
        Self {
            kafka_topics: KafkaTopics::new(partitioner),
            dead_letters: DeadLetterQueue::new(&config.dead_letter),
            tells_epochs: true,
            unmatched: DeadLetterQueue::unmatched(&config.dead_letter),
            ..Self::default()
        }
    }

    /// Every record that is here and has no verdict yet, and its source.
    fn held(&self) -> impl Iterator<Item = (SourceId, RecordId)> {
        let slots = self.producers.iter().flat_map(ProducerSet::slots);
        let in_flight =
            slots.flat_map(|slot| slot.in_flight.iter()).map(|(_, in_flight)| match in_flight {
                InFlight::Record { item, .. } => (item.source, item.msg.id),
                InFlight::DeadLetter { dead_letter, .. } => {
                    (dead_letter.source, dead_letter.msg.id)
                }
            });
        let waiting = self.kafka_topics.queues().iter().flat_map(PartitionQueue::waiting);
        let waiting = waiting.map(|item| (item.source, item.msg.id));
        let dead_letters = self.dead_letters.waiting().chain(self.unmatched.waiting());
        let dead_letters = dead_letters.map(|dead_letter| (dead_letter.source, dead_letter.msg.id));
        in_flight.chain(waiting).chain(dead_letters)
    }
}

fn failing_detail(queue: &PartitionQueue<Item>, now: Instant) -> String {
    let code = queue.trouble().map_or(0, |trouble| trouble.code);
    let (name, seconds) = (classify::name(code), queue.failing_for(now).as_secs());
    let kafka_topic = queue.kafka_topic();
    let partition = queue.kafka_partition().map_or(String::new(), |at| format!(", partition {at}"));
    format!("{kafka_topic}{partition}: {name} ({code}) for {seconds} s")
}

/// The verdict that a message has had. Which one is not kept: a record that Kafka refused counts as
/// delivered here.
fn verdict_again(msg: &ForwardMsg) -> Verdict {
    match msg.record() {
        Some(_) => Verdict::Delivered(msg.id),
        None => Verdict::Rejected(msg.id),
    }
}

impl Actor for KafkaProducerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, Self::tick);
        self.heartbeat.beat();
        self.start_producer(ctx);
    }
}

impl Supervised for KafkaProducerActor {
    /// Forgets all but who its sources are: they hand on again when the new producer is announced.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.state = State::new(&self.config);
    }
}

impl SystemService for KafkaProducerActor {}

impl Default for KafkaProducerActor {
    /// The registry calls it for a service that nobody has set: there is no configuration then.
    /// A panic would be swallowed here, and every message after it lost in silence.
    fn default() -> Self {
        eprintln!("KafkaProducerActor was asked for before it was set in the registry");
        std::process::abort()
    }
}

impl Handler<Attach> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, attach: Attach, _: &mut Context<Self>) {
        if let Some(producers) = &self.state.producers {
            attach.ready.do_send(StageReady { stage_epoch: producers.epoch });
        }
        let held = self.state.held().filter(|(source, _)| *source == attach.source);
        let held: Vec<_> = held.map(|(_, id)| id).collect();
        self.state.replay.attached(attach.source, held);
        self.sources.insert(attach.source, attach);
    }
}

impl Handler<ForwardBatch> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, batch: ForwardBatch, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        failpoint::hit(Site::KafkaBatch);
        let epoch = batch.stage_epoch;
        let current = self.state.producers.as_ref().filter(|producers| producers.ending.is_none());
        if current.is_none_or(|producers| producers.epoch != epoch) {
            self.state.stale_batches += 1;
            debug!(self.log, "batch for another epoch"; keys::EPOCH => epoch.0,
                keys::COUNT => self.state.stale_batches);
            return;
        }
        let Some(last) = batch.messages.last() else { return };
        let source = batch.source;
        let is_replay = !self.state.replay.batch(source, last.id).knows_none();
        let mut again = Outbox::default();
        for msg in batch.messages {
            let known = match is_replay {
                true => self.state.replay.of(source).known(msg.id),
                false => Known::New,
            };
            match known {
                Known::New => self.accept(Item { msg, source }),
                Known::Held => {}
                Known::HadVerdict => again.push(source, verdict_again(&msg)),
            }
        }
        again.send(&self.sources, Instant::now());
        self.pump(Stamp::now(), ctx);
    }
}

impl Handler<ForwardMsg> for KafkaProducerActor {
    type Result = ();

    /// A batch of one for the present producer, from source 0. It names no epoch, so that a sender
    /// which counts on order after a new epoch must send a [`ForwardBatch`] instead.
    fn handle(&mut self, msg: ForwardMsg, ctx: &mut Context<Self>) {
        let Some(stage_epoch) = self.state.producers.as_ref().map(|producers| producers.epoch)
        else {
            return;
        };
        let batch = ForwardBatch { stage_epoch, messages: vec![msg], source: SourceId(0) };
        self.handle(batch, ctx);
    }
}

impl Handler<ProducerEvent> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, mail: ProducerEvent, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        if self.state.producers.as_ref().is_none_or(|producers| producers.epoch != mail.epoch) {
            return;
        }
        match mail.event {
            Event::Reports => self.handle_reports(mail.path, ctx),
            Event::Reached => self.reached(),
            Event::LeaderLost => {
                if let Some(producers) = &mut self.state.producers {
                    producers.leader_lost = true;
                }
            }
            Event::Trouble { code, detail } => {
                self.trouble(mail.path, code, &detail);
                self.replace_producer(Instant::now(), ctx);
                self.set_alarm(ctx);
            }
            Event::PollThreadEnded { panic } => {
                let panic = panic.unwrap_or_else(|| PanicReport {
                    message: "ended without being asked".to_owned(),
                    location: String::new(),
                });
                self.log_panic("poll thread ended", &panic);
                ctx.stop();
            }
        }
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
