//! The comparison of what was published with what arrived.

use std::fmt;
use std::fs::File;
use std::io::Write;

use super::ledger::{Ledger, Published};
use super::reader::{Arrivals, Arrived};
use super::{target_dir, tell};

/// The result of a story for one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Messages published.
    pub published: u64,
    /// Of these, those whose publisher got a PUBACK.
    pub acked: u64,
    /// Distinct messages in Kafka.
    pub delivered: u64,
    /// The publisher got a PUBACK, and it is not in Kafka.
    pub lost: u64,
    /// Records beyond the first of a message.
    pub duplicated: u64,
    /// First arrivals of one MQTT topic that are not in the order of publishing.
    pub reordered: u64,
    /// Records with a wrong payload, key or partition.
    pub wrong: u64,
}

impl Verdict {
    /// Compares.
    pub fn of(ledger: &Ledger, arrivals: &Arrivals) -> Self {
        let nothing = Arrived::default();
        let lost = |published: &Published| {
            let arrived = arrivals.topics.get(&published.mqtt_topic).unwrap_or(&nothing);
            let acked = published.acked.iter().enumerate().filter(|(_, acked)| **acked);
            acked.filter(|(seq, _)| !arrived.seen.contains(&(*seq as u64))).count() as u64
        };
        Self {
            published: ledger.published(),
            acked: ledger.acked(),
            delivered: arrivals.distinct,
            lost: ledger.topics().iter().map(lost).sum(),
            duplicated: arrivals.duplicated,
            reordered: arrivals.topics.values().map(|arrived| arrived.reordered).sum(),
            wrong: arrivals.wrong,
        }
    }

    /// Writes the story's line of the fault table: to the output, and to `target/stories.tsv`.
    pub fn report(&self, story: &str, protocol: &str) {
        let line = format!("{story}\t{protocol}\t{self}");
        tell(&line.replace('\t', " | "));
        let table =
            File::options().create(true).append(true).open(target_dir().join("stories.tsv"));
        let kept = table.and_then(|mut table| writeln!(table, "{line}"));
        kept.expect("the fault table is written");
    }

    /// Asserts that nothing is lost, reordered or changed.
    #[track_caller]
    pub fn assert_nothing_lost_or_reordered(&self) {
        assert_eq!((self.lost, self.reordered, self.wrong), (0, 0, 0), "{self:?}");
    }

    /// Asserts that everything arrived once, in order, unchanged.
    #[track_caller]
    pub fn assert_exact(&self) {
        self.assert_nothing_lost_or_reordered();
        assert_eq!((self.delivered, self.duplicated), (self.published, 0), "{self:?}");
    }
}

impl fmt::Display for Verdict {
    /// published, delivered, lost, duplicated, reordered.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { published, delivered, lost, duplicated, reordered, .. } = self;
        write!(f, "{published}\t{delivered}\t{lost}\t{duplicated}\t{reordered}")
    }
}
