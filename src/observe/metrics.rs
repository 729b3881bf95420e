//! What the bridge counts. Actors write, anyone reads: the summary record, the demo, HTTP.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use std::time::Instant;

use hdrhistogram::Histogram;

use super::health::Health;
use super::latency::{Acknowledged, Delivered, StageHistogram, Stages, record};

/// The terms of the conservation identity, from one snapshot of the in-flight window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conservation {
    /// PUBLISHes admitted, redeliveries of messages still known excepted.
    pub received: u64,
    /// PUBLISHes recognised as a message that was already in flight; not forwarded again.
    pub redelivered: u64,
    /// PUBLISHes recognised as a copy that the broker sent for another subscription; not forwarded
    /// again, and no term of the identity.
    pub copies: u64,
    /// Acknowledged by Kafka.
    pub delivered: u64,
    /// Written to the dead letter.
    pub dead_lettered: u64,
    /// Matched no route, and has no dead letter.
    pub filtered: u64,
    /// QoS 0 dropped on purpose while the window was full.
    pub shed: u64,
    /// Without a verdict yet: counted from the window's entries, never by subtraction.
    pub in_flight: u64,
}

impl Conservation {
    /// `received = delivered + dead_lettered + filtered + shed + in_flight`
    pub fn balances(&self) -> bool {
        self.received
            == self.delivered + self.dead_lettered + self.filtered + self.shed + self.in_flight
    }
}

/// A Kafka topic whose messages wait for a cause that a person must remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Which one, or [`Hold::DEAD_LETTER`].
    pub kafka_topic: String,
    /// Why, for people.
    pub reason: String,
}

impl Hold {
    /// Stands for a Kafka topic where dead letters cannot be written. No Kafka topic has a space.
    pub const DEAD_LETTER: &str = "dead letter";
}

/// Counters that outlive every restart of an actor. One for the whole bridge, behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    conservation: Mutex<Conservation>,
    reconnects: Mutex<BTreeMap<&'static str, u64>>,
    restarts: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    holds: Mutex<Vec<Hold>>,
    latency: Mutex<Latency>,
    acknowledged: Mutex<Vec<StageHistogram>>,
    health: Health,
}

/// Latencies from receipt to delivery: all, and those that nobody took yet; and by route, from
/// receipt to production and from there to delivery.
#[derive(Debug)]
struct Latency {
    taken: Histogram<u64>,
    new: Histogram<u64>,
    produced: Vec<StageHistogram>,
    delivered: Vec<StageHistogram>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            conservation: Mutex::default(),
            reconnects: Mutex::default(),
            restarts: Mutex::default(),
            holds: Mutex::default(),
            latency: Mutex::new(Latency {
                taken: new_histogram(),
                new: new_histogram(),
                produced: Vec::new(),
                delivered: Vec::new(),
            }),
            acknowledged: Mutex::default(),
            health: Health::default(),
        }
    }
}

impl Metrics {
    /// Publishes a snapshot of the window.
    pub fn set_conservation(&self, snapshot: Conservation) {
        *lock(&self.conservation) = snapshot;
    }

    /// The last published snapshot.
    pub fn conservation(&self) -> Conservation {
        *lock(&self.conservation)
    }

    /// Counts a lost or failed MQTT connection. `reason` is one of a fixed set.
    pub fn count_reconnect(&self, reason: &'static str) {
        *lock(&self.reconnects).entry(reason).or_default() += 1;
    }

    /// Lost or failed MQTT connections, by reason.
    pub fn reconnects(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.reconnects).clone()
    }

    /// Counts a restart of an actor. `reason` is one of a fixed set.
    pub fn count_restart(&self, actor: &'static str, reason: &'static str) {
        *lock(&self.restarts).entry((actor, reason)).or_default() += 1;
    }

    /// Restarts by actor and reason.
    pub fn restarts(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        lock(&self.restarts).clone()
    }

    /// Restarts of all actors for all reasons.
    pub fn restarts_total(&self) -> u64 {
        lock(&self.restarts).values().sum()
    }

    /// Replaces the list of Kafka topics that are held.
    pub fn set_holds(&self, holds: Vec<Hold>) {
        *lock(&self.holds) = holds;
    }

    /// Kafka topics that are held now.
    pub fn holds(&self) -> Vec<Hold> {
        lock(&self.holds).clone()
    }

    /// The state of the parts, beside what is counted.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Adds the latencies of messages that were delivered.
    pub fn record_delivered(&self, runs: &[Delivered]) {
        let mut latency = lock(&self.latency);
        let Latency { new, produced, delivered, .. } = &mut *latency;
        for run in runs {
            let Delivered { route, received_at, produced_at, delivered_at, count } = run;
            new.saturating_record_n(delivered_at.us_since(received_at), *count);
            record(produced, *route, produced_at.us_since(received_at), *count);
            record(delivered, *route, delivered_at.us_since(produced_at), *count);
        }
    }

    /// Adds the latencies of messages whose acknowledgement is written at `at`.
    pub fn record_acknowledged(&self, runs: impl Iterator<Item = Acknowledged>, at: Instant) {
        let mut acknowledged = lock(&self.acknowledged);
        for run in runs {
            let waited = at.saturating_duration_since(run.delivered_at);
            let us = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
            record(&mut acknowledged, run.route, us, run.count);
        }
    }

    /// The latencies of all routes, stage by stage.
    pub fn stages(&self) -> Stages {
        let latency = lock(&self.latency);
        let (produced, delivered) = (latency.produced.clone(), latency.delivered.clone());
        drop(latency);
        Stages { produced, delivered, acknowledged: lock(&self.acknowledged).clone() }
    }

    /// Takes the latencies that were recorded since the last call. For the summary record alone: a
    /// second taker would leave it half of them.
    pub fn take_latencies(&self) -> Histogram<u64> {
        let mut latency = lock(&self.latency);
        let new = std::mem::replace(&mut latency.new, new_histogram());
        latency.taken += &new;
        new
    }

    /// All latencies that were ever recorded. The difference of two calls is what came between.
    pub fn latencies(&self) -> Histogram<u64> {
        let latency = lock(&self.latency);
        let mut all = latency.taken.clone();
        all += &latency.new;
        all
    }
}

/// One microsecond to an hour, at two significant digits.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("constant bounds are valid")
}

/// A panic elsewhere leaves plain numbers, which are as good as before.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
