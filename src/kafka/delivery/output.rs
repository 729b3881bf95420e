//! What `Delivery` commands. The actor carries it out at once; the tests play a Kafka.

use std::sync::Arc;
use std::time::Instant;

use super::item::Item;
use super::presence::Absence;
use crate::kafka::dead_letter::DeadLetterKind;
use crate::kafka::dead_letter::file::DeadLetterFile;
use crate::kafka::partition_queue::Path;
use crate::kafka::producer::{Extras, Outgoing, Report, Target};
use crate::kafka::questions::Question;
use crate::message::{Epoch, RecordId, Stamp};
use crate::observe::Hold;
use crate::observe::panics::PanicReport;
use crate::stage::{Placed, SourceId, Verdict};

/// Commands, each carried out before it returns. They are methods and not values, so that a record costs no
/// allocation on its way.
pub(crate) trait Output {
    /// Starts the producer of this path. `false` if that is impossible: either it is to be tried again
    /// later, or the stage is restarted then, and everything handed on again.
    fn start(&mut self, epoch: Epoch, path: Path) -> bool;

    /// Ends the producer of this path, whatever it has in flight.
    fn end(&mut self, path: Path);

    /// Hands over plain records; the code of each, 0 for those that were taken, or nothing if all were.
    fn send<'a>(
        &mut self,
        path: Path,
        to: Target<'_>,
        records: impl Iterator<Item = Outgoing<'a>>,
    ) -> Result<Vec<i32>, i32>;

    /// Hands over one record that is not plain.
    fn send_one(
        &mut self,
        path: Path,
        to: Target<'_>,
        record: Outgoing<'_>,
        extras: Extras<'_>,
    ) -> Result<(), i32>;

    /// Sends what the pipelined producer was handed. So many records of older rounds are in flight.
    fn flush(&mut self, left_behind: usize);

    /// Since when a client of a producer that has records in flight has reported none: the longest time.
    fn silent_since(&self) -> Option<Instant>;

    /// Asks Kafka about a Kafka topic; the answer comes back as an event.
    fn ask(&mut self, question: Question);

    /// What Kafka said about a record that it refused.
    fn sentence(&mut self, path: Path, index: usize) -> Option<String>;

    /// Writes these lines of dead letters to their file; its end comes back as an event.
    fn write(&mut self, kind: DeadLetterKind, file: DeadLetterFile, lines: Vec<Vec<u8>>);

    /// Tells every source of a new epoch.
    fn announce(&mut self, epoch: Epoch);

    /// Verdicts for a source, the first of which was told at `delivered_at`.
    fn verdicts(&mut self, source: SourceId, mail: VerdictMail, delivered_at: Instant);

    /// A record is in Kafka: its part of the histograms. What its source has to know of it, if it is to have a
    /// timing record or may be among the slowest.
    fn delivered(&mut self, item: &Item, report: &Report, produced_at: Stamp) -> Option<Placed>;

    /// Whether each record that is delivered is to have a timing record.
    fn wants_all_placed(&self) -> bool {
        false
    }

    /// Something for the log, the metrics or readiness.
    fn tell(&mut self, told: Told<'_>);
}

/// See [`Output::tell`].
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// A new producer, and with it a new epoch.
    Started(Epoch),
    /// The producer failed and will be replaced.
    Failed {
        epoch: Epoch,
        detail: &'a str,
        /// It is not the first in a row that delivered nothing.
        again_without_delivery: bool,
    },
    /// The producer will be replaced, although it has not failed.
    Rotated { epoch: Epoch, why: &'static str },
    /// A Kafka topic that a template names is not there, or cannot be used.
    NotFound { kafka_topic: &'a str, absence: &'a Absence },
    /// The producer has delivered its first record.
    Delivers,
    /// Kafka or librdkafka refused a record.
    Refused { kafka_topic: &'a str, code: i32, sentence: &'a str },
    /// The Kafka topic refuses whatever comes: what follows is held.
    RefusesAll { kafka_topic: &'a str, code: i32, sentence: &'a str, dead_lettered: u64 },
    /// What is held now; and why dead letters cannot be written, with the number of times that this was
    /// not said, if it is to be said now.
    Held { holds: Vec<Hold>, blocked: Option<(&'a str, u64)> },
    /// Messages that no route matches are dropped.
    Dropped { count: usize, why: &'a str },
    /// Dead letters of messages that no route matches are late, and their messages are dropped.
    DeadLettersLate,
    /// A dead letter is durable. No route: an empty name.
    DeadLettered { route: Arc<str>, reason: &'static str },
    /// Such a dead letter was written.
    UnmatchedWritten,
    /// A message made the stage panic, which goes on without it.
    Panicked(&'a PanicReport),
    /// A batch for another epoch was refused; so many so far.
    StaleBatch { epoch: Epoch, count: u64 },
    /// Kafka answers and has confirmed no record since then.
    Unconfirmed { since: Option<Instant>, is_reachable: bool },
    /// A client has an error to tell that is no record's.
    ClientError { code: i32, detail: &'a str },
    /// No broker is reachable any more.
    Away { detail: &'a str },
    /// And still none is.
    StillAway { since: Instant },
    /// A broker is reachable again.
    Back { since: Instant },
    /// These partitions refuse for long what should pass.
    Failing(Vec<String>),
}

/// Verdicts for one source.
#[derive(Default)]
pub(crate) struct VerdictMail {
    pub(crate) verdicts: Vec<Verdict>,
    /// Of those that are delivered.
    pub(crate) placed: Vec<Placed>,
}

/// Verdicts by source, one mail each.
#[derive(Default)]
pub(crate) struct Outbox {
    by_source: Vec<(SourceId, VerdictMail)>,
    /// So many verdicts come, and so many of them with a [`Placed`], for room.
    expected: (usize, usize),
}

impl Outbox {
    /// For so many verdicts, most of them of one source; `all_placed`: each record that is delivered is to have a
    /// timing record.
    pub(crate) fn expecting(verdicts: usize, all_placed: bool) -> Self {
        let placed = if all_placed { verdicts } else { 0 };
        Self { by_source: Vec::new(), expected: (verdicts, placed) }
    }

    pub(crate) fn push(&mut self, source: SourceId, verdict: Verdict) {
        self.of(source).verdicts.push(verdict);
    }

    /// A record was delivered.
    pub(crate) fn push_delivered(
        &mut self,
        source: SourceId,
        id: RecordId,
        placed: Option<Placed>,
    ) {
        let mail = self.of(source);
        mail.verdicts.push(Verdict::Delivered(id));
        mail.placed.extend(placed);
    }

    fn of(&mut self, source: SourceId) -> &mut VerdictMail {
        let found = self.by_source.iter().position(|(known, _)| *known == source);
        let at = found.unwrap_or_else(|| {
            // There is most often one source. Those of others grow by themselves.
            let (verdicts, placed) = std::mem::take(&mut self.expected);
            let (verdicts, placed) = (Vec::with_capacity(verdicts), Vec::with_capacity(placed));
            self.by_source.push((source, VerdictMail { verdicts, placed }));
            self.by_source.len() - 1
        });
        &mut self.by_source[at].1
    }

    /// Sends all, the first of which was told at `delivered_at`.
    pub(crate) fn send(self, out: &mut impl Output, delivered_at: Instant) {
        for (source, mail) in self.by_source {
            out.verdicts(source, mail, delivered_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Seq;

    #[test]
    fn room_is_made_for_the_first_source_and_for_what_will_come() {
        let (stamp, id) = (Stamp::now(), RecordId::first(Seq(1)));
        let placed = Placed {
            id,
            kafka_partition: 0,
            kafka_offset: 0,
            produced_at: stamp,
            delivered_at: stamp,
            is_logged: false,
            is_slow: true,
        };
        for all_placed in [true, false] {
            let mut outbox = Outbox::expecting(10_000, all_placed);
            for source in 0..3 {
                outbox.push_delivered(SourceId(source), id, Some(placed));
            }
            let room = |(_, mail): &(SourceId, VerdictMail)| {
                (mail.verdicts.capacity() >= 10_000, mail.placed.capacity() >= 10_000)
            };
            let room: Vec<_> = outbox.by_source.iter().map(room).collect();
            assert_eq!(room, [(true, all_placed), (false, false), (false, false)]);
        }
    }
}
