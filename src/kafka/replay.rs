//! What the stage knows of records that a source hands on a second time. Pure: no I/O, no clock.
//!
//! A source that attaches anew hands on everything without a verdict, and verdicts may have died with it.
//! Produced again, such a record would come behind later ones of its MQTT topic. So the stage skips what it
//! still holds, and repeats the verdict of what it holds no more. All of it is kept for each source by
//! itself: what is known of one source says nothing about another.

use std::collections::{BTreeMap, HashSet};

use crate::message::RecordId;
use crate::stage::SourceId;

/// What is to be done with a record that a source hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing is known of it: produce it.
    New,
    /// The stage holds it still, and its verdict will come: skip it.
    Held,
    /// It has had its verdict from this epoch: repeat that.
    HadVerdict,
}

/// Of all sources.
#[derive(Debug, Default)]
pub struct Replay(BTreeMap<SourceId, Replayed>);

/// Of one source.
#[derive(Debug, Default)]
pub struct Replayed {
    /// The last record that the source handed on to this epoch.
    accepted: Option<RecordId>,
    /// Up to this record everything has been accepted by this epoch before the source attached anew: what
    /// is not held has had its verdict.
    verdict_watermark: Option<RecordId>,
    /// Records that the source will hand on again although the stage holds them.
    held_after_reattach: HashSet<RecordId>,
}

impl Replay {
    /// A source attached, perhaps anew, and the stage holds these records of it.
    pub fn attached(&mut self, source: SourceId, held: impl IntoIterator<Item = RecordId>) {
        let replayed = self.0.entry(source).or_default();
        replayed.verdict_watermark = replayed.accepted;
        replayed.held_after_reattach = held.into_iter().collect();
    }

    /// A new epoch begins, and the stage holds these records over from the last one. Every source hands
    /// on again.
    pub fn begin_epoch(&mut self, held: impl IntoIterator<Item = (SourceId, RecordId)>) {
        self.0.clear();
        for (source, id) in held {
            self.0.entry(source).or_default().held_after_reattach.insert(id);
        }
    }

    /// A source hands on a batch that ends with this record.
    pub fn batch(&mut self, source: SourceId, last: RecordId) -> &mut Replayed {
        let replayed = self.0.entry(source).or_default();
        // A source that attached anew begins again with older ones.
        replayed.accepted = replayed.accepted.max(Some(last));
        replayed
    }

    /// The same source as in [`Replay::batch`].
    pub fn of(&mut self, source: SourceId) -> &mut Replayed {
        self.0.entry(source).or_default()
    }
}

impl Replayed {
    /// Whether every record is [`Known::New`].
    pub fn knows_none(&self) -> bool {
        self.verdict_watermark.is_none() && self.held_after_reattach.is_empty()
    }

    /// What is known of this record, which is being handed on.
    pub fn known(&mut self, id: RecordId) -> Known {
        if self.verdict_watermark.is_some_and(|last| id > last) {
            // Records come in order, and nothing behind the mark is held: all that was to come again has.
            self.verdict_watermark = None;
            self.held_after_reattach.clear();
        }
        if self.held_after_reattach.remove(&id) {
            Known::Held
        } else if self.verdict_watermark.is_some_and(|last| id <= last) {
            Known::HadVerdict
        } else {
            Known::New
        }
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
