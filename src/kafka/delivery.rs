//! What becomes of a record between a batch and its verdict. Pure: no I/O, no clock, no librdkafka.
//!
//! Events come in (a batch, delivery reports, an error, an alarm), commands go out through [`Output`]. The
//! actor translates: mail into events, commands into calls of the producers and mail.
//!
//! A record waits in the queue of its partition ([`PartitionQueue`]) until it may be sent, is in flight until
//! its report comes, and then has its verdict, waits again, or becomes a dead letter. A producer that fails
//! is replaced (`lifecycle.rs`): a new epoch, and the sources hand on again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::classify;
use super::dead_letter::queue::DeadLetterQueue;
use super::dead_letter::{DeadLetter, DeadLetterKind, Extent};
use super::partition_queue::{PartitionQueue, Path, ROUND_BELOW};
use super::questions::Answer;
use super::replay::{Known, Replay};
use crate::config::Config;
use crate::failpoint::{self, Site};
use crate::message::{Destination, Epoch, RecordId, RouteNames, Stamp};
use crate::observe::Hold;
use crate::observe::panics;
use crate::stage::{ForwardBatch, ForwardMsg, SourceId, Verdict};
use item::{InFlight, Item};
use kafka_topics::{KafkaTopics, Place};
use lifecycle::{Lifecycle, ProducerSet, ProducerSlot, SERIAL_PAUSE};
use output::{Outbox, Output, Told};

mod id_set;
pub(super) mod item;
mod kafka_topics;
mod lifecycle;
pub(super) mod output;
pub(super) mod presence;
mod reports;
mod send;

/// Keys and values of one round in one partition, so that they fit one request (`batch.size` is
/// 1,000,000). A record that is larger goes alone.
pub(super) const ROUND_BYTES: usize = 768 * 1024;
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
/// A partition that has refused valid records for so long is reported.
const FAILING_AFTER: Duration = Duration::from_secs(30);
/// So many of them are named.
const FAILING_NAMED: usize = 5;
/// A record that has waited for Kafka's answer for so long waits for more than a slow moment.
const UNCONFIRMED_AFTER: Duration = Duration::from_secs(10);
/// How long the dead letter of a message that no route matches may wait for Kafka while others go on.
const UNMATCHED_WITHIN: Duration = Duration::from_secs(30);
/// Each refusal is a gap in the serial producer's sequence, and librdkafka counts its epoch up for it, to
/// 32,767 and then from 0 again, which Kafka takes for an older producer. So there is a new one after so
/// many gaps, when nothing is in flight;
const GAPS_MAX: u32 = 16_000;
/// and a new epoch of ours if that never was so.
const GAPS_AT_MOST: u32 = 30_000;

/// The reason code of a record for a partition that its Kafka topic does not have.
const PARTITION_MISSING: &str = "partition_missing";
/// The reason code of a record whose own timestamp its Kafka topic does not take.
const TIMESTAMP_REFUSED: &str = "kafka_timestamp_refused";
/// The reason code of a record that was held for `dead_letter.after`.
const HELD_TOO_LONG: &str = "held_too_long";

/// Why an item goes to the dead letter.
#[derive(Default)]
struct Why {
    /// See [`Refusal::reason`](crate::message::Refusal::reason).
    reason: &'static str,
    /// See [`Refusal::detail`](crate::message::Refusal::detail).
    detail: String,
    /// The code with which Kafka or librdkafka refused it.
    code: Option<i32>,
}

/// See the module.
pub(super) struct Delivery {
    lifecycle: Lifecycle,
    kafka_topics: KafkaTopics,
    /// The queues that a round looks at, kept for the memory.
    looked_at: Vec<usize>,
    /// What is known of records that come a second time.
    replay: Replay,
    /// Records that were refused for the name of their Kafka topic, and whose dead letters are not durable yet.
    /// If they come again with a new producer their Kafka topic may exist, and later records may be there.
    refused_names: HashMap<RecordId, (&'static str, String)>,
    dead_letters: DeadLetterQueue,
    /// Of messages that no route matches.
    unmatched: DeadLetterQueue,
    /// What routes and the sections of the sources are called, in dead letters.
    route_names: Arc<RouteNames>,
    sections: Vec<Arc<str>>,
    /// Where dead letters go, if not to a file.
    dead_letter_kafka_topic: Option<String>,
    /// What is held for so long becomes a dead letter.
    hold_max: Option<Duration>,
    /// So many records are a full round.
    round_full: usize,
    /// When the last round began.
    round_at: Option<Instant>,
    /// How many records of it are in flight.
    round_left: usize,
    /// librdkafka has no room.
    full: bool,
    /// Since when no broker is reachable.
    away_since: Option<Instant>,
    /// When Kafka was last seen to be away for long: until then no client could report anything.
    away_until: Option<Instant>,
    stale_batches: u64,
}

impl Delivery {
    /// Nothing waits, and the first producer begins with the first alarm.
    pub(super) fn new(config: &Config, route_names: Arc<RouteNames>, now: Instant) -> Self {
        let partitioner = config.kafka.properties.get("partitioner").map_or("", String::as_str);
        Self {
            lifecycle: Lifecycle::new(now),
            kafka_topics: KafkaTopics::new(partitioner, config.kafka.kafka_topics_max),
            looked_at: Vec::new(),
            replay: Replay::default(),
            refused_names: HashMap::new(),
            dead_letters: DeadLetterQueue::new(&config.dead_letter),
            unmatched: DeadLetterQueue::unmatched(&config.dead_letter),
            route_names,
            sections: config.connections.iter().map(|mqtt| Arc::clone(&mqtt.section)).collect(),
            dead_letter_kafka_topic: config.dead_letter.kafka_topic.clone(),
            hold_max: config.dead_letter.after,
            round_full: ROUND_FULL.min(config.delivery.window_messages / 4),
            round_at: None,
            round_left: 0,
            full: false,
            away_since: None,
            away_until: None,
            stale_batches: 0,
        }
    }

    /// The epoch whose reports count, even if it is ending.
    pub(super) fn epoch(&self) -> Option<Epoch> {
        self.lifecycle.producers().map(|producers| producers.epoch)
    }

    /// A source attached, perhaps anew. Returns the epoch that it is to be told at once.
    pub(super) fn attached(&mut self, source: SourceId) -> Option<Epoch> {
        let held = self.held().filter(|(of, _)| *of == source);
        let held: Vec<_> = held.map(|(_, id)| id).collect();
        self.replay.attached(source, held);
        self.epoch()
    }

    /// A source hands on.
    pub(super) fn batch(&mut self, batch: ForwardBatch, now: Stamp, out: &mut impl Output) {
        let ForwardBatch { stage_epoch, messages, source } = batch;
        if self.lifecycle.running().is_none_or(|producers| producers.epoch != stage_epoch) {
            self.stale_batches += 1;
            out.tell(Told::StaleBatch { epoch: stage_epoch, count: self.stale_batches });
            return;
        }
        let Some(last) = messages.last() else { return };
        let is_replay = !self.replay.batch(source, last.id).knows_none();
        let mut again = Outbox::default();
        for msg in messages {
            let known = match is_replay {
                true => self.replay.of(source).known(msg.id),
                false => Known::New,
            };
            match known {
                Known::New => self.accept(Item { msg, source }, now.instant, out),
                Known::Held => {}
                Known::HadVerdict => again.push(source, verdict_again(&msg)),
            }
        }
        again.send(out, now.instant);
        self.pump(now, out);
    }

    /// Something is to be tried again: see [`Delivery::next_alarm`].
    pub(super) fn alarm(&mut self, now: Stamp, out: &mut impl Output) {
        self.replace_producer(now.instant, out);
        if let Some(producers) = self.lifecycle.running_mut() {
            producers.serial_at.take_if(|at| now.instant >= *at);
        }
        self.pump(now, out);
    }

    /// A second has passed.
    pub(super) fn tick(&mut self, stamp: Stamp, out: &mut impl Output) {
        let now = stamp.instant;
        self.kafka_topics.forget_sizes(now);
        self.look_after_names(now, out);
        out.tell(Told::Held { holds: self.holds(now), blocked: None });
        out.tell(Told::Failing(self.failing(now)));
        if let Some(since) = self.away_since {
            out.tell(Told::StillAway { since });
        }
        self.watch_for_silence(now, out);
        self.give_up_late_dead_letters(now, out);
        self.pump(stamp, out);
    }

    /// A producer reports an error that is no record's; `fatal` says why it is at its end, if it is.
    pub(super) fn trouble(
        &mut self,
        code: i32,
        detail: &str,
        fatal: Option<&str>,
        now: Instant,
        out: &mut impl Output,
    ) {
        if let Some(detail) = fatal {
            self.fail(detail, now, out);
        } else if code == classify::ALL_BROKERS_DOWN {
            if self.away_since.is_none() {
                self.away_since = Some(now);
                out.tell(Told::Away { detail });
            }
        } else {
            out.tell(Told::ClientError { code, detail });
        }
        self.replace_producer(now, out);
    }

    /// A broker answers.
    pub(super) fn reached(&mut self, out: &mut impl Output) {
        if let Some(since) = self.away_since.take() {
            out.tell(Told::Back { since });
        }
    }

    /// librdkafka has lost a partition's leader, and may never look for it again.
    pub(super) fn leader_lost(&mut self) {
        if let Some(producers) = self.lifecycle.producers_mut() {
            producers.leader_lost = true;
        }
    }

    /// A write of dead letters ended: so many of them are durable, or none, and why.
    pub(super) fn written(
        &mut self,
        kind: DeadLetterKind,
        result: Result<usize, String>,
        now: Stamp,
        out: &mut impl Output,
    ) {
        let mut verdicts = Outbox::default();
        for dead_letter in self.dead_letters_of(kind).written(result, now.instant) {
            self.refused_names.remove(&dead_letter.msg.id);
            out.tell(durable(&dead_letter));
            verdicts.push(dead_letter.source, Verdict::Rejected(dead_letter.msg.id));
        }
        verdicts.send(out, now.instant);
        match kind {
            DeadLetterKind::Refused => self.tell_held(now.instant, out),
            DeadLetterKind::Unmatched => match self.unmatched.give_up() {
                Some((dead_letters, why)) => {
                    self.drop_unmatched(dead_letters, &why, now.instant, out);
                }
                None => out.tell(Told::UnmatchedWritten),
            },
        }
        self.pump(now, out);
    }

    /// When [`Delivery::alarm`] is due, if nothing comes before.
    pub(super) fn next_alarm(&self, now: Instant) -> Option<Instant> {
        // Where nothing can be sent, the time for it is not waited for.
        let can_send = self.lifecycle.running().is_some() && !self.full;
        let queues = self.kafka_topics.waiting().filter_map(PartitionQueue::next_try);
        let queues = queues.min().filter(|_| can_send);
        let full = self.full.then(|| now + FULL_RETRY);
        let dead_letters = [&self.dead_letters, &self.unmatched].into_iter();
        let dead_letters = dead_letters.filter_map(DeadLetterQueue::next_try).min();
        let serial = self.lifecycle.running().and_then(|producers| producers.serial_at);
        let lifecycle = self.lifecycle.next_step();
        let at = [self.round_due(now), queues, full, serial, lifecycle, dead_letters];
        at.into_iter().flatten().min()
    }

    /// Puts a record where it goes next: its queue, or the dead letter.
    fn accept(&mut self, item: Item, now: Instant, out: &mut impl Output) {
        if !self.refused_names.is_empty()
            && let Some((reason, detail)) = self.refused_names.remove(&item.msg.id)
        {
            self.refuse_name(item, reason, detail, now);
            return;
        }
        let kafka_topics = &mut self.kafka_topics;
        let queue = panics::catch(|| {
            failpoint::hit(Site::KafkaRecord);
            match item.msg.record()?.partition() {
                Some(wanted) if wanted < 0 => {
                    let detail = format!("found partition {wanted}, expected 0 or more");
                    Some(Place::DeadLetter(PARTITION_MISSING, detail))
                }
                _ => Some(kafka_topics.place(&item, now)),
            }
        });
        match queue {
            Ok(Some(Place::Queue(queue))) => {
                self.kafka_topics.change(queue, |queue| queue.push(item));
            }
            Ok(Some(Place::DeadLetter(reason, detail))) => {
                self.refuse_name(item, reason, detail, now);
            }
            Ok(None) => self.dead_letter(item, None, now),
            Err(panic) => {
                out.tell(Told::Panicked(&panic));
                let why = Why { reason: "panic", detail: panic.message, code: None };
                self.dead_letter(item, Some(why), now);
            }
        }
    }

    /// A record goes to the dead letter for the name of its Kafka topic, even if it comes again.
    fn refuse_name(&mut self, item: Item, reason: &'static str, detail: String, now: Instant) {
        self.refused_names.insert(item.msg.id, (reason, detail.clone()));
        self.dead_letter(item, Some(Why { reason, detail, code: None }), now);
    }

    /// Without a refusal the router has given one.
    fn dead_letter(&mut self, item: Item, refusal: Option<Why>, now: Instant) {
        let Item { msg, source } = item;
        let (given, route) = match msg.destination() {
            Some(Destination::DeadLetter(given)) => {
                let why = Why { reason: given.reason, detail: given.detail.clone(), code: None };
                (Some(why), given.route)
            }
            Some(Destination::Record(record)) => (None, Some(record.route)),
            None => (None, None),
        };
        let Why { reason, detail, code } = refusal.or(given).unwrap_or_default();
        let dead_letter = DeadLetter {
            dead_lettered_us: msg.message.received_at.wall_us_at(now),
            msg,
            source,
            reason,
            detail,
            kafka_code: code,
            route: route.map(|route| self.route_names.name(route)),
            connection: self.sections.get(usize::from(source.0)).cloned().unwrap_or_default(),
            extent: Extent::default(),
        };
        self.dead_letters_of(dead_letter.kind()).push(dead_letter);
    }

    /// Sends all that may be sent.
    fn pump(&mut self, now: Stamp, out: &mut impl Output) {
        self.full = false;
        let mut looked_at = std::mem::take(&mut self.looked_at);
        if let Some(kafka_topic) = self.kafka_topics.divide(&mut looked_at) {
            let detail = format!("{kafka_topic} has fewer partitions than it had");
            self.fail(&detail, now.instant, out);
            self.replace_producer(now.instant, out);
            // Nothing is sent now, and the queues of the partitions that are gone may be gone too.
            looked_at.clear();
        }
        let is_due = self.round_due(now.instant) == Some(now.instant);
        let room = if is_due { ROUND_BYTES } else { 0 };
        let mut begun = 0;
        for queue in &looked_at {
            begun += self.send_queue(*queue, room, now, out);
        }
        self.looked_at = looked_at;
        if begun > 0 {
            self.round_at = Some(now.instant);
            self.round_left = begun;
            if let Some(ProducerSet { pipelined, .. }) = self.lifecycle.producers() {
                out.flush(pipelined.in_flight.len() - begun);
            }
        }
        for kind in DeadLetterKind::BOTH {
            match self.dead_letter_kafka_topic.is_some() {
                true => self.produce_dead_letters(kind, now, out),
                false => self.write_dead_letters(kind, now.instant, out),
            }
        }
        for question in self.kafka_topics.take_questions() {
            out.ask(question);
        }
    }

    /// When the next round may begin, `now` or later, if something waits for it.
    fn round_due(&self, now: Instant) -> Option<Instant> {
        self.lifecycle.running().filter(|_| !self.full)?;
        let is_wide = self.kafka_topics.in_flight() > WIDE;
        let ready = self.kafka_topics.waiting().map(PartitionQueue::ready).sum::<usize>();
        let pause = if is_wide {
            // As long again as the flush, so that not all of the time goes into flushing.
            2 * ROUND_EVERY
        } else if self.round_left >= ROUND_BELOW {
            ROUND_PATIENCE
        } else if ready < self.round_full {
            ROUND_EVERY
        } else {
            Duration::ZERO
        };
        let soon = self.round_at.map_or(now, |at| (at + pause).max(now));
        (ready > 0).then_some(soon)
    }

    /// The producer is at its end: no more is sent, and a new one follows.
    fn fail(&mut self, detail: &str, now: Instant, out: &mut impl Output) {
        if let Some((epoch, again_without_delivery)) = self.lifecycle.fail(now) {
            out.tell(Told::Failed { epoch, detail, again_without_delivery });
        }
    }

    /// There is a reason for a new producer: the old one has time for what is in flight, and then it follows.
    pub(super) fn rotate(&mut self, why: &'static str, now: Instant, out: &mut impl Output) {
        if let Some(epoch) = self.lifecycle.rotate(now) {
            out.tell(Told::Rotated { epoch, why });
        }
        self.replace_producer(now, out);
    }

    /// Kafka has answered about Kafka topics that templates name.
    pub(super) fn answered(&mut self, answers: Vec<Answer>, now: Stamp, out: &mut impl Output) {
        for Answer { kafka_topic, found } in answers {
            let absence = found.as_ref().err().cloned();
            for (item, reason, detail) in
                self.kafka_topics.answered(&kafka_topic, found, now.instant)
            {
                self.refuse_name(item, reason, detail, now.instant);
            }
            if let Some(absence) = &absence
                && self.kafka_topics.is_absent(&kafka_topic)
            {
                out.tell(Told::NotFound { kafka_topic: &kafka_topic, absence });
            }
        }
        self.pump(now, out);
    }

    /// Kafka topics that templates name: what waits for one that is not there is asked about again, and what
    /// nobody uses is let go.
    fn look_after_names(&mut self, now: Instant, out: &mut impl Output) {
        if self.away_since.is_some() {
            self.kafka_topics.excuse_silence(now);
        }
        for (item, detail) in self.kafka_topics.ask_again(self.hold_max, now) {
            self.refuse_name(item, HELD_TOO_LONG, detail, now);
        }
        self.kafka_topics.let_go_after_an_hour(now);
        // A new producer would send again what Kafka has not confirmed for want of a broker or a replica.
        let is_calm = self.away_since.is_none() && self.unconfirmed_since(now).is_none();
        if is_calm && self.kafka_topics.need_new_producers(now) {
            self.rotate("many kafka topics were let go", now, out);
        }
    }

    /// Makes a new producer if the old one has failed and has nothing more to say.
    fn replace_producer(&mut self, now: Instant, out: &mut impl Output) {
        if self.lifecycle.finish(now) {
            out.end(Path::Pipelined);
            out.end(Path::Serial);
            self.full = false;
            self.round_left = 0;
            self.kafka_topics.restart();
            self.dead_letters.restart();
            self.unmatched.restart();
            // Only a dead letter that is being written outlives its epoch.
            let held: Vec<_> = self.held().collect();
            self.replay.begin_epoch(held);
        }
        let Some(epoch) = self.lifecycle.begin(now) else { return };
        if out.start(epoch, Path::Pipelined) {
            out.tell(Told::Started(epoch));
            out.announce(epoch);
        } else {
            self.lifecycle.not_begun(now);
        }
    }

    /// The serial producer has one gap more.
    fn count_gap(&mut self, now: Instant, out: &mut impl Output) {
        let Some(serial) = self.lifecycle.slot(Path::Serial) else { return };
        serial.gaps += 1;
        if serial.gaps >= GAPS_AT_MOST {
            self.fail("the serial producer has no epochs left", now, out);
        }
    }

    /// Whether there is a producer for this path to send through; the serial one is made now if need be.
    fn ensure(&mut self, path: Path, now: Instant, out: &mut impl Output) -> bool {
        let Some(producers) = self.lifecycle.running_mut() else { return false };
        if path == Path::Pipelined {
            return true;
        }
        let is_worn = |slot: &mut ProducerSlot| slot.gaps >= GAPS_MAX && slot.in_flight.is_empty();
        if producers.serial.take_if(is_worn).is_some() {
            out.end(Path::Serial);
        }
        if producers.serial.is_none() && producers.serial_at.is_none_or(|at| at <= now) {
            let is_started = out.start(producers.epoch, Path::Serial);
            producers.serial = is_started.then(ProducerSlot::default);
            producers.serial_at = (!is_started).then(|| now + SERIAL_PAUSE);
        }
        producers.serial.is_some()
    }

    /// Tells of a Kafka that answers questions and confirms no record. librdkafka tries those again by
    /// itself and says nothing, such as while too few replicas are in sync; or it has come to a stop for
    /// good, and then there is a new producer.
    fn watch_for_silence(&mut self, now: Instant, out: &mut impl Output) {
        let since = self.unconfirmed_since(now);
        let is_reachable = self.away_since.is_none();
        out.tell(Told::Unconfirmed { since, is_reachable });
        if self.away_since.is_some_and(|at| now.saturating_duration_since(at) >= UNCONFIRMED_AFTER)
        {
            self.away_until = Some(now);
        }
        let silent_since = out.silent_since().map(|at| self.away_until.map_or(at, |it| at.max(it)));
        if since.is_some() && is_reachable && self.lifecycle.is_stuck(silent_since, now) {
            self.fail("it confirms nothing although Kafka answers", now, out);
        }
    }

    /// Since when Kafka has not confirmed a record, if that is long.
    fn unconfirmed_since(&self, now: Instant) -> Option<Instant> {
        let since = self.lifecycle.producers().and_then(ProducerSet::waits_since);
        since.filter(|since| now.saturating_duration_since(*since) >= UNCONFIRMED_AFTER)
    }

    /// A dead letter that waits for a partition without a leader would hold up what other partitions
    /// take. Should it be written after all, it is there and counted as dropped. While Kafka is away
    /// everything waits.
    fn give_up_late_dead_letters(&mut self, now: Instant, out: &mut impl Output) {
        let producers = self.lifecycle.producers().filter(|_| self.away_since.is_none());
        let Some(producers) = producers else { return };
        let mut verdicts = Outbox::default();
        let mut any_late = false;
        for (_, in_flight) in producers.serial.iter().flat_map(|slot| slot.in_flight.iter()) {
            let InFlight::DeadLetter { dead_letter, sent_at } = in_flight else { continue };
            let is_late = now.saturating_duration_since(sent_at.instant) > UNMATCHED_WITHIN;
            if is_late && dead_letter.kind() == DeadLetterKind::Unmatched {
                verdicts.push(dead_letter.source, Verdict::Dropped(dead_letter.msg.id));
                any_late = true;
            }
        }
        let leader_lost = producers.leader_lost;
        if any_late {
            out.tell(Told::DeadLettersLate);
            verdicts.send(out, now);
            if leader_lost {
                self.fail("it confirms no dead letter although Kafka answers", now, out);
            }
        }
    }

    /// Messages that no route matches and whose dead letters cannot be written: they hold nobody up.
    fn drop_unmatched(
        &mut self,
        dead_letters: Vec<DeadLetter>,
        why: &str,
        now: Instant,
        out: &mut impl Output,
    ) {
        out.tell(Told::Dropped { count: dead_letters.len(), why });
        let mut verdicts = Outbox::default();
        for dead_letter in dead_letters {
            verdicts.push(dead_letter.source, Verdict::Dropped(dead_letter.msg.id));
        }
        verdicts.send(out, now);
    }

    fn tell_held(&mut self, now: Instant, out: &mut impl Output) {
        let holds = self.holds(now);
        out.tell(Told::Held { holds, blocked: self.dead_letters.may_warn(now) });
    }

    fn holds(&self, now: Instant) -> Vec<Hold> {
        let mut holds = self.kafka_topics.holds(now);
        holds.extend(self.dead_letters.hold());
        holds
    }

    /// Partitions whose records come back again and again with a code that should pass, for people.
    fn failing(&self, now: Instant) -> Vec<String> {
        let queues = self.kafka_topics.troubled();
        let failing = queues.filter(|queue| queue.failing_for(now) >= FAILING_AFTER);
        let failing: Vec<_> = failing.collect();
        let named = failing.iter().take(FAILING_NAMED);
        let mut details: Vec<String> = named.map(|queue| failing_detail(queue, now)).collect();
        let unnamed = failing.len() - details.len();
        if unnamed > 0 {
            details.push(format!("and {unnamed} more partitions"));
        }
        details
    }

    fn dead_letters_of(&mut self, kind: DeadLetterKind) -> &mut DeadLetterQueue {
        match kind {
            DeadLetterKind::Refused => &mut self.dead_letters,
            DeadLetterKind::Unmatched => &mut self.unmatched,
        }
    }

    /// Every record that is here and has no verdict yet, and its source.
    fn held(&self) -> impl Iterator<Item = (SourceId, RecordId)> {
        let slots = self.lifecycle.producers().into_iter().flat_map(ProducerSet::slots);
        let in_flight =
            slots.flat_map(|slot| slot.in_flight.iter()).map(|(_, in_flight)| match in_flight {
                InFlight::Record { item, .. } => (item.source, item.msg.id),
                InFlight::DeadLetter { dead_letter, .. } => {
                    (dead_letter.source, dead_letter.msg.id)
                }
            });
        let waiting = self.kafka_topics.all_waiting().map(|item| (item.source, item.msg.id));
        let dead_letters = self.dead_letters.waiting().chain(self.unmatched.waiting());
        let dead_letters = dead_letters.map(|dead_letter| (dead_letter.source, dead_letter.msg.id));
        in_flight.chain(waiting).chain(dead_letters)
    }
}

/// For the count of dead letters.
fn durable(dead_letter: &DeadLetter) -> Told<'static> {
    let DeadLetter { route, reason, .. } = dead_letter;
    Told::DeadLettered { route: route.clone().unwrap_or_default(), reason }
}

fn failing_detail(queue: &PartitionQueue<Item>, now: Instant) -> String {
    let code = queue.trouble().map_or(0, |trouble| trouble.code);
    let (name, seconds) = (classify::name(code), queue.failing_for(now).as_secs());
    let kafka_topic = queue.kafka_topic();
    let partition = queue.kafka_partition().map_or(String::new(), |at| format!(", partition {at}"));
    format!("{kafka_topic}{partition}: {name} ({code}) for {seconds} s")
}

/// The verdict that a record has had. Which one is not kept: a record that Kafka refused counts as
/// delivered here.
fn verdict_again(msg: &ForwardMsg) -> Verdict {
    match msg.record() {
        Some(_) => Verdict::Delivered(msg.id),
        None => Verdict::Rejected(msg.id),
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
