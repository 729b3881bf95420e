//! Order under refusal: one lane a Kafka partition. Pure: no I/O, no clock.
//!
//! A lane is open while nothing is refused: its records go straight to the main producer, many in
//! flight. When one comes back the lane *settles* (sends nothing until all its records in flight have
//! come back) and then is *careful*: what came back and what waits goes one record at a time through
//! a second producer, until the last one that came back is settled. So nothing of a lane ever
//! overtakes on our side.
//!
//! On Kafka's side, what follows a refused batch is refused too, as out of sequence, but only once
//! that producer has written to the partition (docs/decisions/0002-gapless.md). Therefore a lane is
//! *primed* first: until one record of it is delivered by this producer, one is in flight.
//!
//! A record of a size that was refused before goes alone at once: the lane settles before it, and is open
//! again behind it.
//!
//! As long as it is not known how many partitions a Kafka topic has, its records share one lane that
//! stays unprimed: any two of them may be neighbours in a partition.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ROUND_BELOW;
use super::classify::Class;
use crate::message::Seq;

/// First pause before a record is sent again; it doubles.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a record is sent again, and the pause of a held lane.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What a lane carries.
pub trait Queued {
    /// Its number; ascends within a source.
    fn seq(&self) -> Seq;
    /// The size of its key and its value.
    fn bytes(&self) -> usize;
}

/// Which producer a record goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Many in flight, gapless.
    Main,
    /// One in flight a lane, one record a request.
    Careful,
}

/// Why a lane does not deliver.
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
    Open,
    Settling,
    Careful,
}

/// The lane of one Kafka partition, or of a Kafka topic with an unknown number of them.
#[derive(Debug)]
pub struct Lane<T> {
    kafka_topic: Arc<str>,
    kafka_partition: Option<i32>,
    queue: VecDeque<T>,
    mode: Mode,
    /// In flight through the main producer.
    main: usize,
    /// In flight through the careful producer: none or one.
    careful: bool,
    /// The lane is careful up to this record.
    until: Seq,
    /// From this size on a record goes alone.
    alone_from: usize,
    trouble: Option<Trouble>,
    attempts: u32,
    next_try: Option<Instant>,
    /// This producer has delivered a record here.
    primed: bool,
    /// A record was delivered here since [`Lane::doubt`].
    proved: bool,
}

impl<T: Queued> Lane<T> {
    /// An open lane.
    pub fn new(kafka_topic: &Arc<str>, kafka_partition: Option<i32>) -> Self {
        Self {
            kafka_topic: Arc::clone(kafka_topic),
            kafka_partition,
            queue: VecDeque::new(),
            mode: Mode::Open,
            main: 0,
            careful: false,
            until: Seq(0),
            alone_from: usize::MAX,
            trouble: None,
            attempts: 0,
            next_try: None,
            primed: false,
            proved: true,
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

    /// For how long records have come back with a code that should pass, and none was delivered. Not
    /// where none waits any more: one that is not handed on again would fail for ever.
    pub fn failing_for(&self, now: Instant) -> Duration {
        let waits = self.careful || !self.queue.is_empty();
        let failing = self.trouble.filter(|trouble| waits && !trouble.held);
        failing.map_or(Duration::ZERO, |trouble| now.saturating_duration_since(trouble.since))
    }

    /// Whether a round may have records of it. What is in flight here already is enough if not.
    pub fn has_room(&self) -> bool {
        self.main < ROUND_BELOW
    }

    /// From this size on, in bytes of key and value, a record goes alone.
    pub fn send_alone_from(&mut self, bytes: usize) {
        self.alone_from = bytes;
    }

    /// Whether the next record is of so many bytes at most.
    pub fn fits(&self, bytes: usize) -> bool {
        self.queue.front().is_none_or(|front| front.bytes() <= bytes)
    }

    /// How many records the main producer may be given now.
    pub fn ready(&self) -> usize {
        match self.mode {
            Mode::Open if self.primed && self.has_room() => self.queue.len(),
            Mode::Open if self.main == 0 => self.queue.len().min(1),
            Mode::Open | Mode::Settling | Mode::Careful => 0,
        }
    }

    /// Whether the main producer has records of it.
    pub fn is_in_flight(&self) -> bool {
        self.main > 0
    }

    /// Whether nothing is in flight or suspicious: what waits here could as well wait elsewhere.
    pub fn is_idle(&self) -> bool {
        self.mode == Mode::Open && self.main == 0 && !self.careful && self.trouble.is_none()
    }

    /// What it had trouble with is over elsewhere. What waits finds out for itself.
    pub fn forget_trouble(&mut self) {
        if self.queue.is_empty() && self.main == 0 && !self.careful {
            self.trouble = None;
        }
    }

    /// A neighbour is held, maybe by what will refuse records here as well.
    pub fn doubt(&mut self) {
        self.proved = false;
    }

    /// Lets the first record that waits go alone, if it is in doubt whether any will be taken.
    pub fn beware(&mut self) {
        if let (false, Mode::Open, Some(first)) = (self.proved, self.mode, self.queue.front()) {
            let seq = first.seq();
            self.suspect(seq);
        }
    }

    /// Takes out all that waits.
    pub fn take_waiting(&mut self) -> VecDeque<T> {
        std::mem::take(&mut self.queue)
    }

    /// The records that [`Lane::next`] has not given out.
    pub fn waiting(&self) -> impl Iterator<Item = &T> {
        self.queue.iter()
    }

    /// When a paused lane is to be asked again.
    pub fn next_try(&self) -> Option<Instant> {
        self.next_try.filter(|_| !self.queue.is_empty() && !self.careful)
    }

    /// A new record, behind all others.
    pub fn push(&mut self, item: T) {
        self.queue.push_back(item);
    }

    /// The record that may be sent at `now`, counted as in flight from here on. `main` says whether
    /// the main producer takes any.
    pub fn next(&mut self, now: Instant, main: bool) -> Option<(Via, T)> {
        let front = self.queue.front()?;
        let (seq, goes_alone) = (front.seq(), front.bytes() >= self.alone_from);
        let idle = self.main == 0 && !self.careful;
        if self.mode == Mode::Settling && idle {
            self.mode = Mode::Careful;
        }
        if self.mode == Mode::Careful && idle && seq > self.until {
            self.open();
        }
        if self.mode == Mode::Open && goes_alone {
            // It stays primed: the main producer goes on where it was.
            self.until = self.until.max(seq);
            self.mode = if idle { Mode::Careful } else { Mode::Settling };
        }
        match self.mode {
            Mode::Settling => None,
            Mode::Careful => {
                if !idle || self.next_try.is_some_and(|at| now < at) {
                    return None;
                }
                self.careful = true;
                self.queue.pop_front().map(|item| (Via::Careful, item))
            }
            Mode::Open if !main || (!self.primed && self.main > 0) => None,
            Mode::Open => {
                self.main += 1;
                self.queue.pop_front().map(|item| (Via::Main, item))
            }
        }
    }

    /// It could not be sent after all, for want of room: as if [`Lane::next`] had not been called.
    pub fn put_back(&mut self, via: Via, item: T) {
        self.landed(via);
        self.queue.push_front(item);
    }

    /// It is in Kafka, in this partition. Returns whether it removed a doubt.
    pub fn delivered(&mut self, via: Via, item: &T, kafka_partition: i32) -> bool {
        self.landed(via);
        self.trouble = None;
        match via {
            Via::Main => self.primed |= self.kafka_partition == Some(kafka_partition),
            Via::Careful => self.settled(item.seq()),
        }
        !std::mem::replace(&mut self.proved, true)
    }

    /// It went to the dead letter instead.
    pub fn dead_lettered(&mut self, via: Via, item: &T) {
        self.landed(via);
        if via == Via::Careful {
            self.settled(item.seq());
        }
    }

    /// It came back with a code of this class, and waits at its place again; or it is handed back,
    /// because it must go to the dead letter: refused alone, or held for longer than `hold_max`.
    #[must_use]
    pub fn refused(
        &mut self,
        via: Via,
        item: T,
        (class, code): (Class, i32),
        now: Instant,
        hold_max: Option<Duration>,
    ) -> Option<T> {
        let held = class == Class::Hold;
        // A hold counts from its own beginning, not from that of an outage before it.
        let before = self.trouble.filter(|trouble| trouble.held || !held);
        let since = before.map_or(now, |trouble| trouble.since);
        let expired = held && hold_max.is_some_and(|max| now.duration_since(since) >= max);
        let alone = via == Via::Careful && class == Class::Suspect;
        if class == Class::Refused || alone || (expired && via == Via::Careful) {
            self.dead_lettered(via, &item);
            if expired {
                // What comes next has the same cause and does not wait as long again.
                self.trouble = Some(Trouble { code, held, since });
            }
            return Some(item);
        }
        self.landed(via);
        if via == Via::Main {
            self.suspect(item.seq());
        } else {
            let pause = if held { RETRY_MAX } else { backoff(self.attempts) };
            self.attempts = self.attempts.saturating_add(1);
            // It may be another partition of the same name by the time that this is over.
            self.primed = false;
            self.next_try = Some(now + pause);
        }
        if held || via == Via::Careful {
            self.trouble = Some(Trouble { code, held, since });
        }
        let at = self.queue.partition_point(|other| other.seq() < item.seq());
        self.queue.insert(at, item);
        None
    }

    /// A new producer: nothing waits and nothing is in flight, since the sources hand on again. What
    /// was suspicious stays so.
    pub fn restart(&mut self) {
        self.queue.clear();
        self.main = 0;
        self.careful = false;
        self.primed = false;
        if self.mode == Mode::Settling {
            self.mode = Mode::Careful;
        }
    }

    fn suspect(&mut self, seq: Seq) {
        self.until = self.until.max(seq);
        // It may be another partition of the same name by the time that this is over.
        self.primed = false;
        if self.mode == Mode::Open {
            self.mode = Mode::Settling;
        }
    }

    fn landed(&mut self, via: Via) {
        match via {
            Via::Main => self.main = self.main.saturating_sub(1),
            Via::Careful => self.careful = false,
        }
    }

    fn settled(&mut self, seq: Seq) {
        self.attempts = 0;
        self.next_try = None;
        if seq >= self.until {
            self.open();
        }
    }

    fn open(&mut self) {
        self.mode = Mode::Open;
        self.trouble = None;
        self.attempts = 0;
        self.next_try = None;
    }
}

fn backoff(attempts: u32) -> Duration {
    RETRY_MIN.saturating_mul(1 << attempts.min(10)).min(RETRY_MAX)
}

#[cfg(test)]
#[path = "partition_queue_tests.rs"]
mod tests;
