//! The state of the whole bridge at one moment: what every page, and later every other view, is made of.
//!
//! [`Observer::status`] is the one place where it is put together: from what is counted ([`Metrics`]), from
//! readiness, from the log, from the configuration that is in force, and from the system. `status_json.rs` writes its
//! documented form, `/status.json` (docs/observability.md, docs/status.schema.json).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::format::now_us;
use super::happened::{History, Restart, WindowUse};
use super::health::{self, Hold, Reason, Snapshot};
use super::hops::{HopLatencies, RouteLatencies};
use super::kafka_statistics::Statistics;
use super::latency::{StageHistogram, Stages};
use super::log::Logging;
use super::metrics::{ConnectionMetrics, Conservation, Metrics, ReloadOutcome};
use super::process::Process;
use super::rates::Rates;
use super::recent::Recent;
use super::slowest::Slow;
use super::volume::Volumes;
use crate::message::{RouteId, RouteName};
use crate::route::note::Note;
use crate::supervisor::readiness::{Configured, Readiness};

/// What a [`Status`] is made from; it only reads.
#[derive(Debug)]
pub struct Observer {
    readiness: Arc<Readiness>,
    logging: Logging,
    started: Instant,
    started_us: u64,
}

impl Observer {
    /// Of the bridge with this readiness, which starts now.
    pub fn new(readiness: Arc<Readiness>, logging: Logging) -> Self {
        Self { readiness, logging, started: Instant::now(), started_us: now_us() }
    }

    /// The log.
    pub fn logging(&self) -> &Logging {
        &self.logging
    }

    /// Why the bridge is not alive; empty: it is. Cheaper than a whole status.
    pub fn not_live(&self) -> Vec<Reason> {
        self.readiness.not_live()
    }

    /// Whether it is ready at this moment. Cheaper than a whole status.
    pub fn state(&self) -> State {
        let seen = self.readiness.seen();
        State {
            not_ready: self.readiness.not_ready(&seen),
            warnings: health::warnings(&seen),
            configured: self.readiness.configured(),
            seen,
        }
    }

    /// All of it at this moment.
    pub fn status(&self) -> Status {
        let metrics = &**self.readiness.metrics();
        let now = Instant::now();
        Status {
            at_us: now_us(),
            started_us: self.started_us,
            uptime: self.started.elapsed(),
            state: self.state(),
            counted: Counted::of(metrics),
            connections: metrics.connections().iter().map(ConnectionStatus::of).collect(),
            rates: metrics.rates(),
            all_latencies: metrics.all_latencies(now),
            latencies: metrics.route_latencies(now),
            slowest: metrics.slowest().slowest(now),
            clocks_ahead: metrics.clocks_ahead(now),
            last_restarts: metrics.last_restarts(),
            dead_letters: metrics.dead_letters(),
            routes: metrics.route_names().all(),
            reloads: metrics.reloads(),
            kafka: metrics.health().kafka_statistics().sum(),
            timing_dropped: self.logging.timing_dropped(),
            records_dropped: self.logging.records_dropped(),
            recent: self.logging.recent(),
            process: Process::now(),
        }
    }
}

/// See the module. The counts of one connection are from one moment, so that for each, and for the sum, the
/// conservation identity holds.
#[derive(Debug)]
pub struct Status {
    /// When it was taken, in microseconds since the Unix epoch.
    pub at_us: u64,
    /// When the bridge started.
    pub started_us: u64,
    /// How long ago that was, by the steady clock.
    pub uptime: Duration,
    /// Whether it is ready.
    pub state: State,
    /// What is counted, as the summary record has it.
    pub counted: Counted,
    /// What else is known of each connection, in the same order.
    pub connections: Vec<ConnectionStatus>,
    /// Over the last seconds.
    pub rates: Rates,
    /// Latencies of the last one to two minutes, hop by hop, of all records.
    pub all_latencies: HopLatencies,
    /// The same of the busiest pairs of connection and route.
    pub latencies: Vec<RouteLatencies>,
    /// The slowest records of the last minutes, the slowest first.
    pub slowest: Vec<Slow>,
    /// How far the clocks of a route's devices were ahead at most in the last minutes.
    pub clocks_ahead: BTreeMap<RouteId, Duration>,
    /// The last restarts, the oldest first.
    pub last_restarts: Vec<Restart>,
    /// Dead letters by route and reason.
    pub dead_letters: BTreeMap<(Arc<str>, &'static str), u64>,
    /// The routes, and those of which something is counted.
    pub routes: BTreeMap<RouteId, RouteName>,
    /// Configurations that were read again.
    pub reloads: BTreeMap<ReloadOutcome, u64>,
    /// What librdkafka counts.
    pub kafka: Statistics,
    /// Timing records that the log had no room for.
    pub timing_dropped: u64,
    /// Other records that it had no room for.
    pub records_dropped: u64,
    /// The last warnings and errors of the log, the oldest first.
    pub recent: Vec<Recent>,
    /// What the system says of the process.
    pub process: Process,
}

/// Whether the bridge is ready, and its parts: all that `/readyz` needs.
#[derive(Debug)]
pub struct State {
    /// The state of all parts.
    pub seen: Snapshot,
    /// Why it is not ready; empty: it is.
    pub not_ready: Vec<Reason>,
    /// What a person should look at although it may be ready.
    pub warnings: Vec<Reason>,
    /// What is shown of the configuration.
    pub configured: Arc<Configured>,
}

/// What is counted, at one moment: all that the summary record needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Each connection, in the order of the configuration.
    pub connections: Vec<ConnectionCounts>,
    /// Restarts by actor and reason.
    pub restarts: BTreeMap<(Arc<str>, &'static str), u64>,
    /// What routes noted of messages.
    pub notes: BTreeMap<(RouteId, Note), u64>,
    /// Messages that wait until a person removes a cause.
    pub holds: Vec<Hold>,
}

/// The counts of one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Its name.
    pub name: Arc<str>,
    /// The terms of the conservation identity, from one snapshot of its window.
    pub counted: Conservation,
    /// How often it was lost or not opened, by reason.
    pub reconnects: BTreeMap<&'static str, u64>,
}

impl Counted {
    /// As it is now.
    pub fn of(metrics: &Metrics) -> Self {
        let counts = |connection: &ConnectionMetrics| ConnectionCounts {
            name: Arc::clone(connection.name()),
            counted: connection.conservation(),
            reconnects: connection.reconnects(),
        };
        Self {
            connections: metrics.connections().iter().map(counts).collect(),
            restarts: metrics.restarts(),
            notes: metrics.notes(),
            holds: metrics.holds(),
        }
    }

    /// The sum over the connections, from the same snapshots.
    pub fn sum(&self) -> Conservation {
        self.connections.iter().map(|connection| connection.counted).sum()
    }
}

/// What is known of one connection beside its counts and its health.
#[derive(Debug)]
pub struct ConnectionStatus {
    /// What its window holds.
    pub window: WindowUse,
    /// Since when it is there, and how the one before was lost.
    pub history: History,
    /// How long messages stayed in each stage.
    pub stages: Stages,
    /// How many bytes were delivered.
    pub volumes: Volumes,
}

impl ConnectionStatus {
    fn of(metrics: &ConnectionMetrics) -> Self {
        Self {
            window: metrics.window(),
            history: metrics.history(),
            stages: metrics.stages(),
            volumes: metrics.volumes(),
        }
    }

    /// Records that Kafka acknowledged, those of routes that are gone included.
    pub fn records_delivered(&self) -> u64 {
        let known = self.stages.delivered.values().map(StageHistogram::count).sum::<u64>();
        known + self.stages.delivered_of_gone
    }
}

impl State {
    /// Whether every actor makes progress, or waits for its restart.
    pub fn is_alive(&self) -> bool {
        self.not_ready.iter().all(|reason| reason.reason != health::ACTOR_HANGS)
    }
}

impl Status {
    /// What routes noted, by the names of the routes: routes of one name count together.
    pub fn notes(&self) -> BTreeMap<(Arc<str>, Note), u64> {
        let mut notes = BTreeMap::new();
        for ((route, note), count) in &self.counted.notes {
            if let Some(RouteName { name, .. }) = self.routes.get(route) {
                *notes.entry((Arc::clone(name), *note)).or_default() += count;
            }
        }
        notes
    }

    /// How far the clocks of devices are ahead, in seconds, by the names of the routes.
    pub fn clocks_ahead_s(&self) -> BTreeMap<Arc<str>, f64> {
        let mut clocks = BTreeMap::new();
        for (route, ahead) in &self.clocks_ahead {
            if let Some(RouteName { name, .. }) = self.routes.get(route) {
                let most: &mut f64 = clocks.entry(Arc::clone(name)).or_default();
                *most = most.max(ahead.as_secs_f64());
            }
        }
        clocks
    }

    /// The places where messages could be held, and whether they are.
    pub fn held(&self) -> BTreeMap<String, bool> {
        let places = self.state.configured.places.iter().map(|place| (place.to_string(), false));
        let held = self.counted.holds.iter().map(|hold| (hold.place.to_string(), true));
        places.chain(held).collect()
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
