//! Sources that attach anew half-way, against a stage that produces, loses its producer and loses mail.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::message::Seq;

const SOURCES: u16 = 3;

/// A source, as MqttActor with its window: it knows which destinations of its messages are open.
#[derive(Default)]
struct Source {
    open: BTreeSet<RecordId>,
    /// What it handed on to this epoch, and has not since it attached anew.
    cursor: Option<RecordId>,
    verdicts: BTreeMap<RecordId, usize>,
}

impl Source {
    /// At most so many of what is behind the cursor.
    fn hand_on(&mut self, count: usize) -> Vec<RecordId> {
        let behind = |id: &&RecordId| self.cursor.is_none_or(|cursor| **id > cursor);
        let batch: Vec<_> = self.open.iter().filter(behind).take(count).copied().collect();
        self.cursor = batch.last().copied().or(self.cursor);
        batch
    }

    fn settle(&mut self, id: RecordId) {
        if self.open.remove(&id) {
            *self.verdicts.entry(id).or_default() += 1;
        }
    }
}

/// The stage behind: what it was given waits in order, and is delivered in order.
#[derive(Default)]
struct Stage {
    replay: Replay,
    held: VecDeque<(SourceId, RecordId)>,
    /// In this epoch, by source.
    produced: BTreeMap<SourceId, Vec<RecordId>>,
    /// Verdicts on their way.
    mail: Vec<(SourceId, RecordId)>,
}

impl Stage {
    fn accept(&mut self, source: SourceId, batch: Vec<RecordId>) {
        let Some(last) = batch.last() else { return };
        self.replay.batch(source, *last);
        for id in batch {
            match self.replay.of(source).known(id) {
                Known::New => {
                    self.held.push_back((source, id));
                    self.produced.entry(source).or_default().push(id);
                }
                Known::Held => {}
                Known::HadVerdict => self.mail.push((source, id)),
            }
        }
    }
}

proptest! {
    /// Within an epoch a record is produced once, in the order of its source, whoever attaches anew and
    /// whichever verdicts die; at last each destination of each message has one verdict that counts.
    #[test]
    fn a_source_that_attaches_anew_gets_each_verdict_and_no_record_is_produced_twice(
        steps in prop::collection::vec((0usize..7, 0usize..6, 0u16..SOURCES), 1..150),
    ) {
        let mut sources: BTreeMap<SourceId, Source> =
            (0..SOURCES).map(|nth| (SourceId(nth), Source::default())).collect();
        let (mut stage, mut next_seq) = (Stage::default(), 0);
        for (kind, count, source) in steps {
            let id = SourceId(source);
            let source = sources.get_mut(&id).expect("one of them");
            match kind {
                0 | 1 => {
                    // A message of up to four destinations.
                    next_seq += 1;
                    let ids = (0..=count as u16 % 4).map(|index| RecordId { seq: Seq(next_seq), index });
                    source.open.extend(ids);
                }
                2 => stage.accept(id, source.hand_on(count)),
                3 => {
                    let count = count.min(stage.held.len());
                    stage.mail.extend(stage.held.drain(..count));
                }
                4 => {
                    for (to, id) in stage.mail.drain(..) {
                        sources.get_mut(&to).expect("one of them").settle(id);
                    }
                }
                5 => {
                    // It panics, its mail with it, and attaches anew.
                    stage.mail.retain(|(to, _)| *to != id);
                    source.cursor = None;
                    let held = stage.held.iter().filter(|(of, _)| *of == id);
                    stage.replay.attached(id, held.map(|(_, held)| *held).collect::<Vec<_>>());
                }
                _ => {
                    // A new producer: only what is being written to a file outlives its epoch.
                    stage.held.truncate(count.min(1));
                    stage.replay.begin_epoch(stage.held.iter().copied());
                    stage.produced.clear();
                    sources.values_mut().for_each(|source| source.cursor = None);
                }
            }
            for (source, produced) in &stage.produced {
                prop_assert!(produced.is_sorted_by(|a, b| a < b), "{source:?}: {produced:?}");
            }
        }
        for (id, source) in &mut sources {
            stage.accept(*id, source.hand_on(usize::MAX));
        }
        stage.mail.extend(stage.held.drain(..));
        for (to, id) in stage.mail.drain(..) {
            sources.get_mut(&to).expect("one of them").settle(id);
        }
        for (id, source) in sources {
            prop_assert!(source.open.is_empty(), "{id:?} waits for {:?}", source.open);
            prop_assert!(source.verdicts.values().all(|count| *count == 1));
        }
    }
}

#[test]
fn what_attaches_does_not_touch_what_is_known_of_another() {
    let id = |seq| RecordId::first(Seq(seq));
    let (one, other) = (SourceId(0), SourceId(1));
    let mut replay = Replay::default();
    replay.batch(one, id(3));
    replay.batch(other, id(4));
    replay.attached(one, [id(3)]);
    replay.attached(other, [id(4)]);
    assert_eq!(replay.of(one).known(id(1)), Known::HadVerdict);
    assert_eq!(replay.of(one).known(id(3)), Known::Held);
    assert_eq!(replay.of(one).known(id(5)), Known::New);
    assert_eq!(replay.of(other).known(id(2)), Known::HadVerdict);
    assert_eq!(replay.of(other).known(id(4)), Known::Held);
}

#[test]
fn a_source_that_attaches_twice_has_had_the_verdicts_of_before_the_first_time() {
    let id = |seq| RecordId::first(Seq(seq));
    let (source, mut replay) = (SourceId(0), Replay::default());
    replay.batch(source, id(3));
    replay.attached(source, []);
    assert_eq!(replay.batch(source, id(1)).known(id(1)), Known::HadVerdict);
    replay.attached(source, []);
    assert_eq!(replay.batch(source, id(3)).known(id(3)), Known::HadVerdict);
}
