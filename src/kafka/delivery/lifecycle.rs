//! The producers of an epoch: they begin, run, fail and are replaced.

use std::collections::BTreeSet;
use std::mem;
use std::time::{Duration, Instant};

use slab::Slab;

use super::item::InFlight;
use crate::backoff::Backoff;
use crate::kafka::dead_letter::DeadLetterKind;
use crate::kafka::partition_queue::Path;
use crate::message::Epoch;

/// After a fatal error: how long the reports of what was in flight are waited for at most, so that nothing
/// of the old producer is still on its way when the new one begins.
const LAST_REPORTS: Duration = Duration::from_secs(5);
/// The same of a producer that has not failed, and is replaced for new certificates.
const LAST_REPORTS_OF_A_ROTATION: Duration = Duration::from_secs(10);
/// Pause before a new producer, if more than one before it delivered nothing; it doubles.
const START_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a new producer.
const START_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pause before a serial producer that could not be made is tried again.
pub(super) const SERIAL_PAUSE: Duration = Duration::from_secs(1);
/// A client that reports nothing at all for so long, of a Kafka that answers, is the end of its producer
/// (docs/decisions/0015-a-producer-that-is-stuck.md). The time doubles, so often, while that helps nothing.
const STUCK_AFTER: Duration = Duration::from_secs(300);
const STUCK_DOUBLINGS: u32 = 4;

/// What a producer has in flight, by the index that its reports name.
#[derive(Debug, Default)]
pub(super) struct ProducerSlot {
    pub(super) in_flight: Slab<InFlight>,
    /// Records that came back refused.
    pub(super) gaps: u32,
}

/// The producers of one epoch.
#[derive(Debug)]
pub(super) struct ProducerSet {
    pub(super) epoch: Epoch,
    pub(super) pipelined: ProducerSlot,
    /// Made when it is first needed.
    pub(super) serial: Option<ProducerSlot>,
    /// Queues with a record that may have been overtaken: what is behind it is sent again too.
    pub(super) to_replay: BTreeSet<usize>,
    /// The serial producer could not be made, and is not tried before this time.
    pub(super) serial_at: Option<Instant>,
    /// When it delivered a record the last time.
    pub(super) delivered_at: Option<Instant>,
    /// librdkafka may never find some partition's leader again.
    pub(super) leader_lost: bool,
}

impl ProducerSet {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            pipelined: ProducerSlot::default(),
            serial: None,
            serial_at: None,
            to_replay: BTreeSet::new(),
            delivered_at: None,
            leader_lost: false,
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &ProducerSlot> {
        std::iter::once(&self.pipelined).chain(&self.serial)
    }

    pub(super) fn slot(&mut self, path: Path) -> Option<&mut ProducerSlot> {
        match path {
            Path::Pipelined => Some(&mut self.pipelined),
            Path::Serial => self.serial.as_mut(),
        }
    }

    /// Since when the record has waited that has waited for the longest time. A dead letter is one too,
    /// if its message waits for it.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        let in_flight = self.slots().flat_map(|slot| slot.in_flight.iter());
        let since = in_flight.filter_map(|(_, in_flight)| match in_flight {
            InFlight::Record { produced_at, .. } => Some(produced_at.instant),
            InFlight::DeadLetter { dead_letter, sent_at } => {
                (dead_letter.kind() == DeadLetterKind::Refused).then_some(sent_at.instant)
            }
        });
        since.min()
    }
}

/// Whether there is a producer, and what for.
#[derive(Debug)]
enum State {
    /// None. The next one begins at this time.
    Starting { at: Instant },
    /// Records are sent.
    Running(ProducerSet),
    /// The producer failed, or is replaced. Nothing is sent any more, and its last reports are waited for
    /// until then.
    Ending { producers: ProducerSet, until: Instant, has_failed: bool },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lifecycle {
    state: State,
    /// Producers in a row that delivered nothing.
    failed_producers: u32,
    /// Producers in a row that were replaced for a silent client, and when the last one was.
    stuck: (u32, Instant),
    backoff: Backoff,
}

impl Lifecycle {
    /// The first producer begins at this time.
    pub(super) fn new(at: Instant) -> Self {
        let backoff = Backoff::new(START_PAUSE_MIN, START_PAUSE_MAX);
        Self { state: State::Starting { at }, failed_producers: 0, stuck: (0, at), backoff }
    }

    /// The producers to send through.
    pub(super) fn running(&self) -> Option<&ProducerSet> {
        match &self.state {
            State::Running(producers) => Some(producers),
            State::Starting { .. } | State::Ending { .. } => None,
        }
    }

    /// The same.
    pub(super) fn running_mut(&mut self) -> Option<&mut ProducerSet> {
        match &mut self.state {
            State::Running(producers) => Some(producers),
            State::Starting { .. } | State::Ending { .. } => None,
        }
    }

    /// The producers whose reports count, even if they are ending.
    pub(super) fn producers(&self) -> Option<&ProducerSet> {
        match &self.state {
            State::Running(producers) | State::Ending { producers, .. } => Some(producers),
            State::Starting { .. } => None,
        }
    }

    /// The same.
    pub(super) fn producers_mut(&mut self) -> Option<&mut ProducerSet> {
        match &mut self.state {
            State::Running(producers) | State::Ending { producers, .. } => Some(producers),
            State::Starting { .. } => None,
        }
    }

    /// The slot to handle reports of.
    pub(super) fn slot(&mut self, path: Path) -> Option<&mut ProducerSlot> {
        self.producers_mut()?.slot(path)
    }

    /// When something is to be done if nothing comes before.
    pub(super) fn next_step(&self) -> Option<Instant> {
        match &self.state {
            State::Starting { at } => Some(*at),
            State::Ending { until, .. } => Some(*until),
            State::Running(_) => None,
        }
    }

    /// A new epoch begins if it is time.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Epoch> {
        let State::Starting { at } = self.state else { return None };
        (now >= at).then(|| {
            let epoch = Epoch::next();
            self.state = State::Running(ProducerSet::new(epoch));
            epoch
        })
    }

    /// The producer that was to begin could not be made. The next attempt comes after a pause.
    pub(super) fn not_begun(&mut self, now: Instant) {
        self.state = State::Starting { at: now + self.backoff.pause(0.0) };
    }

    /// The producer failed. Its epoch, and whether it is one more that delivered nothing; `None` if that is
    /// known already.
    pub(super) fn fail(&mut self, now: Instant) -> Option<(Epoch, bool)> {
        let state = mem::replace(&mut self.state, State::Starting { at: now });
        let State::Running(producers) = state else {
            self.state = state;
            return None;
        };
        let without_delivery = self.failed_producers > 0 && producers.delivered_at.is_none();
        let epoch = producers.epoch;
        self.state = State::Ending { producers, until: now + LAST_REPORTS, has_failed: true };
        Some((epoch, without_delivery))
    }

    /// The producer is to be replaced although it has not failed. Its epoch; `None` if there is none, or if
    /// it is ending already.
    pub(super) fn rotate(&mut self, now: Instant) -> Option<Epoch> {
        let state = mem::replace(&mut self.state, State::Starting { at: now });
        let State::Running(producers) = state else {
            self.state = state;
            return None;
        };
        let epoch = producers.epoch;
        let until = now + LAST_REPORTS_OF_A_ROTATION;
        self.state = State::Ending { producers, until, has_failed: false };
        Some(epoch)
    }

    /// Whether the producer that failed has nothing more to say; then the next one begins soon.
    pub(super) fn finish(&mut self, now: Instant) -> bool {
        let State::Ending { producers, until, has_failed } = &self.state else { return false };
        let has_in_flight = producers.slots().any(|slot| !slot.in_flight.is_empty());
        if now < *until && has_in_flight {
            return false;
        }
        if producers.delivered_at.is_some() {
            self.failed_producers = 0;
            self.backoff.reset();
        } else if *has_failed {
            self.failed_producers += 1;
        }
        // The first one may have met what is over by now.
        let pause = match self.failed_producers {
            0 | 1 => Duration::ZERO,
            _ => self.backoff.pause(0.0),
        };
        self.state = State::Starting { at: now + pause };
        true
    }

    /// Whether librdkafka has most likely come to a stop for good, of a Kafka that answers and has not confirmed
    /// a record for long. `silent_since`: since when a client that has records has reported none, whatever the
    /// others do. If so, the next one has more time.
    pub(super) fn is_stuck(&mut self, silent_since: Option<Instant>, now: Instant) -> bool {
        let Some(producers) = self.running() else { return false };
        if producers.leader_lost {
            return true;
        }
        let (mut in_a_row, last_at) = self.stuck;
        let patience = |in_a_row: u32| STUCK_AFTER * (1 << in_a_row.min(STUCK_DOUBLINGS));
        // A new one that was stuck from its start would have been replaced by now: it did help.
        if now.saturating_duration_since(last_at) >= 2 * patience(in_a_row) {
            in_a_row = 0;
        }
        let silent = silent_since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let is_stuck = silent >= patience(in_a_row);
        if is_stuck {
            self.stuck = (in_a_row + 1, now);
        }
        is_stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_that_fails_is_replaced_once_its_reports_are_in_or_late() {
        let now = Instant::now();
        let mut lifecycle = Lifecycle::new(now);
        assert!(lifecycle.producers().is_none() && lifecycle.next_step() == Some(now));
        let epoch = lifecycle.begin(now).expect("it is time");
        assert_eq!((lifecycle.begin(now), lifecycle.next_step()), (None, None));
        assert!(!lifecycle.finish(now), "it runs");
        assert_eq!(lifecycle.fail(now), Some((epoch, false)));
        assert_eq!(lifecycle.fail(now), None, "it is known");
        assert!(lifecycle.running().is_none() && lifecycle.producers().is_some());
        assert!(lifecycle.finish(now), "nothing was in flight");
        assert!(lifecycle.begin(now).is_some_and(|next| next > epoch));
    }

    #[test]
    fn a_producer_that_is_replaced_for_new_certificates_has_not_failed() {
        let mut now = Instant::now();
        let mut lifecycle = Lifecycle::new(now);
        assert_eq!(lifecycle.rotate(now), None, "the one that begins reads them");
        for _ in 0..10 {
            let epoch = lifecycle.begin(now).expect("without a pause");
            assert_eq!(lifecycle.rotate(now), Some(epoch));
            assert_eq!(lifecycle.rotate(now), None, "it is known");
            assert_eq!(lifecycle.next_step(), Some(now + LAST_REPORTS_OF_A_ROTATION));
            now += Duration::from_secs(1);
            assert!(lifecycle.finish(now), "nothing is in flight");
        }
    }

    #[test]
    fn a_producer_that_cannot_be_made_is_tried_again_after_pauses_that_grow() {
        let mut now = Instant::now();
        let mut lifecycle = Lifecycle::new(now);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            lifecycle.begin(now).expect("it is time");
            lifecycle.not_begun(now);
            assert!(lifecycle.producers().is_none());
            let next = lifecycle.next_step().expect("it is tried again");
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn pauses_grow_while_producers_deliver_nothing() {
        let mut now = Instant::now();
        let mut lifecycle = Lifecycle::new(now);
        let mut pauses = Vec::new();
        for nth in 0..10 {
            lifecycle.begin(now).expect("it is time");
            if nth == 8 {
                lifecycle.running_mut().expect("it runs").delivered_at = Some(now);
            }
            lifecycle.fail(now);
            assert!(lifecycle.finish(now));
            let next = lifecycle.next_step().expect("it begins");
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 6400, 0, 0]);
    }

    #[test]
    fn the_patience_with_a_silent_producer_doubles_while_a_new_one_helps_nothing() {
        let mut now = Instant::now();
        let mut lifecycle = Lifecycle::new(now);
        for minutes in [5, 10, 20, 40, 80, 80] {
            now = lifecycle.next_step().unwrap_or(now);
            lifecycle.begin(now).expect("it is time");
            let patience = Duration::from_secs(60 * minutes);
            assert!(!lifecycle.is_stuck(Some(now), now + patience - Duration::from_secs(1)));
            assert!(!lifecycle.is_stuck(None, now + patience), "nothing is in flight");
            assert!(lifecycle.is_stuck(Some(now), now + patience));
            now += patience;
            // Other clients have delivered.
            lifecycle.running_mut().expect("it runs").delivered_at = Some(now);
            lifecycle.fail(now);
            lifecycle.finish(now);
        }
        lifecycle.begin(now).expect("it is time");
        let much_later = now + Duration::from_secs(60 * 60 * 3);
        let silent = much_later - Duration::from_secs(60 * 5);
        assert!(lifecycle.is_stuck(Some(silent), much_later), "the last one did help");
    }
}
