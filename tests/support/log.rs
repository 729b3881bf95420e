//! The bridge's own log, read while it is written: JSON lines in a file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use mqtt_kafka_bridge::observe::{events, level_name};
use serde_json::Value;

use super::eventually_some;

/// The terms of the conservation identity and a few counters, from one summary record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub received: u64,
    pub redelivered: u64,
    pub copies: u64,
    pub delivered: u64,
    pub dead_lettered: u64,
    pub filtered: u64,
    pub shed: u64,
    pub in_flight: u64,
    pub restarts: u64,
    pub reconnects: u64,
}

impl Summary {
    fn from_record(record: &Value) -> Self {
        let term = |key: &str| {
            record[key].as_u64().unwrap_or_else(|| panic!("no count {key:?} in summary {record}"))
        };
        Self {
            received: term("received"),
            redelivered: term("redelivered"),
            // Release 0.1.0 had none.
            copies: record["copies"].as_u64().unwrap_or(0),
            delivered: term("delivered"),
            dead_lettered: term("dead_lettered"),
            filtered: term("filtered"),
            shed: term("shed"),
            in_flight: term("in_flight"),
            restarts: term("restarts"),
            reconnects: term("reconnects"),
        }
    }

    fn balances(&self) -> bool {
        self.received
            == self.delivered + self.dead_lettered + self.filtered + self.shed + self.in_flight
    }
}

/// The log of one run of the bridge.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    offset: u64,
    /// The beginning of a line that has no end yet.
    partial: Vec<u8>,
    records: Vec<Value>,
    timings: u64,
    /// The drops that records report.
    timings_dropped: u64,
    summary: Option<Summary>,
    /// The one before.
    previous: Option<Summary>,
    /// Lines that are no JSON object.
    strange: Vec<String>,
}

impl Log {
    /// The log in the file `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), taken: Mutex::default() }
    }

    /// How many timing records there are so far.
    pub fn timings(&self) -> u64 {
        self.with(|read| read.timings)
    }

    /// How many timing records the bridge says it dropped so far.
    pub fn timings_dropped(&self) -> u64 {
        self.with(|read| read.timings_dropped)
    }

    /// The last summary record, if there is one yet.
    pub fn summary(&self) -> Option<Summary> {
        self.with(|read| read.summary)
    }

    /// The last summary record, if it equals the one before: nothing moves.
    pub fn still_summary(&self) -> Option<Summary> {
        self.with(|taken| taken.summary.filter(|_| taken.summary == taken.previous))
    }

    /// The first record that `wanted` accepts.
    pub fn find(&self, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        self.with(|read| read.records.iter().find(|record| wanted(record)).cloned())
    }

    /// How many records `wanted` accepts.
    pub fn count(&self, wanted: impl Fn(&Value) -> bool) -> usize {
        self.with(|read| read.records.iter().filter(|record| wanted(record)).count())
    }

    /// Waits for the first record of this run that `wanted` accepts.
    #[track_caller]
    pub fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually_some(what, deadline, || self.find(&wanted))
    }

    /// Asserts that each line is a JSON object with an event of the table at its level, and that each summary
    /// balances.
    #[track_caller]
    pub fn assert_sound(&self) {
        self.with(|read| {
            assert_eq!(read.strange, Vec::<String>::new(), "lines that are not JSON objects");
            let foreign: Vec<_> = read.records.iter().filter(|record| !has_event(record)).collect();
            assert_eq!(foreign, Vec::<&Value>::new(), "lines without an event of the table");
            for record in read.records.iter().filter(|record| is_summary(record)) {
                assert!(Summary::from_record(record).balances(), "does not balance: {record}");
            }
        });
    }

    fn with<R>(&self, look: impl FnOnce(&Taken) -> R) -> R {
        let mut read = self.taken.lock().unwrap();
        if let Ok(mut file) = File::open(&self.path) {
            file.seek(SeekFrom::Start(read.offset)).unwrap();
            let mut fresh = Vec::new();
            file.read_to_end(&mut fresh).unwrap();
            read.offset += fresh.len() as u64;
            read.take_in(&fresh);
        }
        look(&read)
    }
}

impl Taken {
    fn take_in(&mut self, fresh: &[u8]) {
        self.partial.extend(fresh);
        let Some(end) = self.partial.iter().rposition(|&byte| byte == b'\n') else { return };
        let rest = self.partial.split_off(end + 1);
        let lines = std::mem::replace(&mut self.partial, rest);
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Value>(line) {
                Ok(record) if record.is_object() => self.take_in_record(record),
                _ => self.strange.push(String::from_utf8_lossy(line).into_owned()),
            }
        }
    }

    fn take_in_record(&mut self, record: Value) {
        if !record["total_us"].is_null() {
            self.timings += 1;
            return;
        }
        if is_summary(&record) {
            self.previous = self.summary.take();
            self.summary = Some(Summary::from_record(&record));
        }
        self.timings_dropped += record["timing_dropped"].as_u64().unwrap_or(0);
        self.records.push(record);
    }
}

/// The summary of the whole bridge; not that of one connection of several.
fn is_summary(record: &Value) -> bool {
    record["msg"] == "summary" && record["connection"].is_null()
}

/// Whether the record has an event of the table, and the level that is the event's there.
fn has_event(record: &Value) -> bool {
    let event = events::ALL.iter().find(|event| record["event"] == event.name());
    event
        .is_some_and(|event| event.level().is_none_or(|level| record["level"] == level_name(level)))
}

/// Whether any text in `record` contains `text`.
pub fn mentions(record: &Value, text: &str) -> bool {
    let Some(fields) = record.as_object() else { return false };
    fields.values().any(|value| value.as_str().is_some_and(|value| value.contains(text)))
}
