//! Order under refusal: one queue for each Kafka partition. Pure: no I/O, no clock.
//!
//! While nothing is refused a queue is *pipelined*: its records go straight to the pipelined producer,
//! many in flight. When a record comes back the queue *drains*: it sends nothing until all its records in
//! flight have come back. Then it is *serial*: what came back and what waits goes one record at a time
//! through the serial producer, up to and with the last record that came back. So no record of a queue
//! overtakes another inside the bridge.
//!
//! Kafka refuses what follows a refused batch as out of sequence, but only if that producer has written to
//! the partition before (docs/decisions/0002-gapless.md). So a queue sends one record alone until this
//! producer has delivered one: from then on Kafka *knows the sequence*.
//!
//! A record has its place by its `Arrival`, a number of this queue, because sequence numbers ascend only
//! within one source (docs/decisions/0017-arrival-numbers.md).
//!
//! A record of a size that was refused before goes alone at once: the queue drains before it, and is
//! pipelined again behind it.
//!
//! As long as the number of partitions of a Kafka topic is unknown, its records share one queue whose
//! sequence stays unknown: any two of them may be neighbours in a partition.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::classify::Class;
use crate::backoff::Backoff;
use crate::message::Seq;

/// A partition takes part in a round of records while fewer than this are in flight there: with more an
/// idempotent producer sends nothing, and its thread turns in a busy loop over what waits
/// (docs/decisions/0004-rounds.md). And the next round begins when fewer than this of the last one are in
/// flight, or it has waited for long enough (docs/decisions/0012-one-stops-itself.md).
pub(super) const ROUND_BELOW: usize = 5;

/// First pause before a record is sent again; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a record is sent again whose refusal passes by itself.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Pause of a held queue before the next attempt: a person has to remove the cause.
const HOLD_RETRY: Duration = Duration::from_secs(5);

/// What a queue carries.
pub trait Queued {
    /// The number of its message. Grows in the order of receipt, also over several sources.
    fn seq(&self) -> Seq;
    /// The size of its key and its value.
    fn bytes(&self) -> usize;
}

/// The place of a record in its queue: where it goes back to when it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Arrival(u64);

/// A record and its place in the queue that it came out of.
#[derive(Debug)]
pub struct Arrived<T> {
    arrival: Arrival,
    /// The record.
    pub item: T,
}

impl<T> Deref for Arrived<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

/// Which producer a record goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Many in flight, gapless.
    Pipelined,
    /// One in flight for each queue, one record a request.
    Serial,
}

impl Path {
    /// For what is counted by it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pipelined => "pipelined",
            Self::Serial => "serial",
        }
    }
}

/// Why a queue does not deliver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// The code of the last refusal.
    pub code: i32,
    /// Whether a person must remove the cause.
    pub held: bool,
    /// Since when nothing was delivered for it.
    pub since: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Many in flight.
    Pipelined,
    /// Nothing is sent until what is in flight has come back.
    Draining,
    /// One in flight, through the serial producer.
    Serial,
}

/// The queue of one Kafka partition, or of a Kafka topic with an unknown number of them.
#[derive(Debug)]
pub struct PartitionQueue<T> {
    kafka_topic: Arc<str>,
    kafka_partition: Option<i32>,
    items: VecDeque<Arrived<T>>,
    /// The place of the next one that is pushed.
    next_arrival: Arrival,
    mode: Mode,
    /// In flight through the pipelined producer.
    pipelined: usize,
    /// In flight through the serial producer: none or one.
    serial: bool,
    /// What arrived up to here goes alone: it was refused, or waits before a record that was.
    serial_until: Arrival,
    /// The largest number of a message that went into `serial_until` and has not gone alone yet.
    suspect: Option<Seq>,
    /// After [`PartitionQueue::restart`] all records arrive anew, in an order of sources that nobody
    /// knows. Then every record up to this number goes alone.
    replayed_alone_until: Option<Seq>,
    /// From this size on a record goes alone.
    alone_from: usize,
    trouble: Option<Trouble>,
    backoff: Backoff,
    next_try: Option<Instant>,
    /// This producer has delivered a record here.
    sequence_known: bool,
    /// A record was delivered here since [`PartitionQueue::mark_unproven`].
    proven: bool,
}

impl<T: Queued> PartitionQueue<T> {
    /// An empty, pipelined queue.
    pub fn new(kafka_topic: &Arc<str>, kafka_partition: Option<i32>) -> Self {
        Self {
            kafka_topic: Arc::clone(kafka_topic),
            kafka_partition,
            items: VecDeque::new(),
            next_arrival: Arrival(1),
            mode: Mode::Pipelined,
            pipelined: 0,
            serial: false,
            serial_until: Arrival(0),
            suspect: None,
            replayed_alone_until: None,
            alone_from: usize::MAX,
            trouble: None,
            backoff: Backoff::new(RETRY_MIN, RETRY_MAX),
            next_try: None,
            sequence_known: false,
            proven: true,
        }
    }

    /// Where its records go.
    pub fn kafka_topic(&self) -> &str {
        &self.kafka_topic
    }

    /// Which partition, if it is known.
    pub fn kafka_partition(&self) -> Option<i32> {
        self.kafka_partition
    }

    /// Why it does not deliver, if so.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Whether a person must remove what it waits for.
    pub fn is_held(&self) -> bool {
        self.trouble.is_some_and(|trouble| trouble.held)
    }

    /// For how long records have come back with a code that should pass, and none was delivered. Zero
    /// where none waits any more: a record that is not handed on again would fail for ever.
    pub fn failing_for(&self, now: Instant) -> Duration {
        let waits = self.serial || !self.items.is_empty();
        let failing = self.trouble.filter(|trouble| waits && !trouble.held);
        failing.map_or(Duration::ZERO, |trouble| now.saturating_duration_since(trouble.since))
    }

    /// Whether a round may have records of this queue: few enough are in flight.
    pub fn has_room(&self) -> bool {
        self.pipelined < ROUND_BELOW
    }

    /// From this size on, in bytes of key and value, a record goes alone.
    pub fn send_alone_from(&mut self, bytes: usize) {
        self.alone_from = bytes;
    }

    /// Whether the next record is of so many bytes at most.
    pub fn fits(&self, bytes: usize) -> bool {
        self.items.front().is_none_or(|front| front.bytes() <= bytes)
    }

    /// How many records the pipelined producer may be given now.
    pub fn ready(&self) -> usize {
        match self.mode {
            Mode::Pipelined if self.sequence_known && self.has_room() => self.items.len(),
            Mode::Pipelined if self.pipelined == 0 => self.items.len().min(1),
            Mode::Pipelined | Mode::Draining | Mode::Serial => 0,
        }
    }

    /// Whether the pipelined producer has records of it.
    pub fn is_in_flight(&self) -> bool {
        self.pipelined > 0
    }

    /// Whether records wait.
    pub fn has_waiting(&self) -> bool {
        !self.items.is_empty()
    }

    /// Whether nothing waits, and nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.pipelined == 0 && !self.serial
    }

    /// Whether nothing is in flight and nothing was refused: what waits here could as well wait in
    /// another queue.
    pub fn is_idle(&self) -> bool {
        self.mode == Mode::Pipelined
            && self.pipelined == 0
            && !self.serial
            && self.trouble.is_none()
    }

    /// Clears a hold that another partition of this Kafka topic has shown to be over, unless records
    /// wait here: the first of them finds out by itself.
    pub fn forget_trouble(&mut self) {
        if self.is_empty() {
            self.trouble = None;
        }
    }

    /// A neighbour is held, and the cause may refuse records here as well.
    pub fn mark_unproven(&mut self) {
        self.proven = false;
    }

    /// Lets the first record that waits go alone, if a neighbour was refused since the last delivery.
    pub fn probe_if_unproven(&mut self) {
        if let (false, Mode::Pipelined, Some(first)) = (self.proven, self.mode, self.items.front())
        {
            let (arrival, seq) = (first.arrival, first.seq());
            self.drain_up_to(arrival, seq);
        }
    }

    /// Takes out all that waits.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.items).into_iter().map(|arrived| arrived.item)
    }

    /// Takes out those that wait and are of this kind, in their order. The others keep theirs.
    pub fn take_where(&mut self, is_taken: &mut impl FnMut(&T) -> bool) -> Vec<T> {
        let (taken, left) =
            std::mem::take(&mut self.items).into_iter().partition(|it| is_taken(&it.item));
        self.items = left;
        let taken: VecDeque<Arrived<T>> = taken;
        taken.into_iter().map(|arrived| arrived.item).collect()
    }

    /// The records that [`PartitionQueue::next`] has not given out.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|arrived| &arrived.item)
    }

    /// When a paused queue is to be asked again.
    pub fn next_try(&self) -> Option<Instant> {
        self.next_try.filter(|_| !self.items.is_empty() && !self.serial)
    }

    /// A new record, behind all others.
    pub fn push(&mut self, item: T) {
        let arrival = self.next_arrival;
        self.next_arrival = Arrival(arrival.0 + 1);
        self.items.push_back(Arrived { arrival, item });
    }

    /// The record that may be sent at `now`, counted as in flight from here on. `pipelined_has_room`
    /// says whether the pipelined producer takes any.
    pub fn next(&mut self, now: Instant, pipelined_has_room: bool) -> Option<(Path, Arrived<T>)> {
        let goes_alone = self.goes_alone(self.items.front()?);
        let idle = self.pipelined == 0 && !self.serial;
        if self.mode == Mode::Draining && idle {
            self.mode = Mode::Serial;
        }
        if self.mode == Mode::Serial && idle && !goes_alone {
            self.become_pipelined();
        }
        if self.mode == Mode::Pipelined && goes_alone {
            // The sequence stays known: the pipelined producer goes on where it was.
            self.mode = if idle { Mode::Serial } else { Mode::Draining };
        }
        match self.mode {
            Mode::Draining => None,
            Mode::Serial => {
                if !idle || self.next_try.is_some_and(|at| now < at) {
                    return None;
                }
                self.serial = true;
                self.items.pop_front().map(|item| (Path::Serial, item))
            }
            Mode::Pipelined if !pipelined_has_room => None,
            Mode::Pipelined if !self.sequence_known && self.pipelined > 0 => None,
            Mode::Pipelined => {
                self.pipelined += 1;
                self.items.pop_front().map(|item| (Path::Pipelined, item))
            }
        }
    }

    /// The record could not be sent after all, for want of room: as if [`PartitionQueue::next`] had not been called.
    pub fn put_back(&mut self, path: Path, item: Arrived<T>) {
        self.returned(path);
        self.items.push_front(item);
    }

    /// The record is in Kafka, in this partition. Returns whether it is the first since
    /// [`PartitionQueue::mark_unproven`].
    pub fn delivered(&mut self, path: Path, kafka_partition: i32) -> bool {
        self.returned(path);
        self.trouble = None;
        match path {
            Path::Pipelined => self.sequence_known |= self.kafka_partition == Some(kafka_partition),
            Path::Serial => self.proceed(),
        }
        !std::mem::replace(&mut self.proven, true)
    }

    /// The record went to the dead letter instead.
    pub fn dead_lettered(&mut self, path: Path) {
        self.returned(path);
        if path == Path::Serial {
            self.proceed();
        }
    }

    /// The record came back with a code of this class, and waits at its place again. Returned if it must
    /// go to the dead letter: refused alone, or held for longer than `hold_max`.
    #[must_use]
    pub fn refused(
        &mut self,
        path: Path,
        arrived: Arrived<T>,
        (class, code): (Class, i32),
        now: Instant,
        hold_max: Option<Duration>,
    ) -> Option<T> {
        let held = class == Class::Hold;
        // A hold counts from its own beginning, not from that of an outage before it.
        let before = self.trouble.filter(|trouble| trouble.held || !held);
        let since = before.map_or(now, |trouble| trouble.since);
        let expired = held && hold_max.is_some_and(|max| now.duration_since(since) >= max);
        let alone = path == Path::Serial && class == Class::Suspect;
        if class == Class::Refused || alone || (expired && path == Path::Serial) {
            self.dead_lettered(path);
            if expired {
                // What comes next has the same cause and does not wait as long again.
                self.trouble = Some(Trouble { code, held, since });
            }
            return Some(arrived.item);
        }
        self.returned(path);
        if path == Path::Pipelined {
            self.drain_up_to(arrived.arrival, arrived.seq());
        } else {
            // Without jitter: one bridge has few partitions that fail.
            let retry = self.backoff.pause(0.0);
            let pause = if held { HOLD_RETRY } else { retry };
            // It may be another partition of the same name by the time that this is over.
            self.sequence_known = false;
            self.next_try = Some(now + pause);
        }
        if held || path == Path::Serial {
            self.trouble = Some(Trouble { code, held, since });
        }
        let at = self.items.partition_point(|other| other.arrival < arrived.arrival);
        self.items.insert(at, arrived);
        None
    }

    /// A new producer: nothing waits and nothing is in flight, since the sources hand on again. What
    /// was to go alone still goes alone.
    pub fn restart(&mut self) {
        self.items.clear();
        self.replayed_alone_until = self.replayed_alone_until.max(self.suspect);
        self.suspect = None;
        self.pipelined = 0;
        self.serial = false;
        self.sequence_known = false;
        if self.mode == Mode::Draining {
            self.mode = Mode::Serial;
        }
    }

    fn drain_up_to(&mut self, arrival: Arrival, seq: Seq) {
        self.serial_until = self.serial_until.max(arrival);
        self.suspect = self.suspect.max(Some(seq));
        // It may be another partition of the same name by the time that this is over.
        self.sequence_known = false;
        if self.mode == Mode::Pipelined {
            self.mode = Mode::Draining;
        }
    }

    fn returned(&mut self, path: Path) {
        match path {
            Path::Pipelined => self.pipelined = self.pipelined.saturating_sub(1),
            Path::Serial => self.serial = false,
        }
    }

    /// A record that went alone needs no other attempt.
    fn proceed(&mut self) {
        self.backoff.reset();
        self.next_try = None;
        if self.items.front().is_none_or(|front| !self.goes_alone(front)) {
            self.become_pipelined();
        }
    }

    fn goes_alone(&self, arrived: &Arrived<T>) -> bool {
        arrived.arrival <= self.serial_until
            || Some(arrived.seq()) <= self.replayed_alone_until
            || arrived.bytes() >= self.alone_from
    }

    fn become_pipelined(&mut self) {
        self.mode = Mode::Pipelined;
        self.suspect = None;
        self.trouble = None;
        self.backoff.reset();
        self.next_try = None;
    }
}

#[cfg(test)]
#[path = "partition_queue_tests.rs"]
mod tests;
