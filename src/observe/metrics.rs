//! What the bridge counts. Actors write, anyone reads: the summary record, the demo, HTTP.
//!
//! [`ConnectionMetrics`] counts what belongs to one MQTT connection; [`Metrics`] has the sums, and counts
//! what belongs to the bridge as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Sum;
use std::ops::Add;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;

use super::connection_latencies::{ConnectionLatencies, choose_busiest};
use super::device_clocks::DeviceClocks;
use super::happened::{History, Restart, Restarts, WindowUse};
use super::health::{
    ActorHealth, BrokerInUse, ConnectionHealth, Health, Hold, MqttHealth, Snapshot,
};
use super::hops::{HopLatencies, RouteLatencies, Series};
use super::latency::{Acknowledged, Delivered, FromDevice, RoutedRun, Stages};
use super::rates::{Counters, Rates, Samples};
use super::slowest::Slowest;
use super::timing_record::since_device;
use super::volume::Volumes;
use crate::config::BrokerAddress;
use crate::message::{RouteId, RouteName, RouteNames};
use crate::route::note::Note;
use crate::stage::SourceId;

/// The name of the connection where there is only one.
const MQTT: &str = "mqtt";

/// The terms of the conservation identity, from one snapshot of the in-flight window; or the
/// sums of such snapshots, for which it holds too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conservation {
    /// PUBLISHes admitted, without redeliveries of messages that are still known.
    pub received: u64,
    /// PUBLISHes recognised as a message that was already in flight; not forwarded again.
    pub redelivered: u64,
    /// PUBLISHes recognised as a copy that the broker sent for another subscription; not forwarded
    /// again, and not part of the identity.
    pub copies: u64,
    /// Acknowledged by Kafka.
    pub delivered: u64,
    /// Written to the dead letter.
    pub dead_lettered: u64,
    /// Matched no route and got no dead letter, or was dropped by all routes that match.
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

impl Add for Conservation {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            redelivered: self.redelivered + other.redelivered,
            copies: self.copies + other.copies,
            delivered: self.delivered + other.delivered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            filtered: self.filtered + other.filtered,
            shed: self.shed + other.shed,
            in_flight: self.in_flight + other.in_flight,
        }
    }
}

impl Sum for Conservation {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What belongs to one MQTT connection. Outlives every restart of its actor.
#[derive(Debug)]
pub struct ConnectionMetrics {
    name: Arc<str>,
    actor: Arc<str>,
    conservation: Mutex<Conservation>,
    window: Mutex<WindowUse>,
    history: Mutex<History>,
    reconnects: Mutex<BTreeMap<&'static str, u64>>,
    latencies: ConnectionLatencies,
    health: Mutex<MqttHealth>,
    broker: Mutex<Option<BrokerInUse>>,
}

impl ConnectionMetrics {
    fn new(name: Arc<str>, series: Arc<Series>) -> Self {
        let actor = if *name == *MQTT { MQTT.into() } else { format!("{MQTT}:{name}").into() };
        Self {
            name,
            actor,
            conservation: Mutex::default(),
            window: Mutex::default(),
            history: Mutex::default(),
            reconnects: Mutex::default(),
            latencies: ConnectionLatencies::new(series),
            health: Mutex::default(),
            broker: Mutex::default(),
        }
    }

    /// The connection's name in the configuration: the label and log key `connection`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The name of the connection's actor: `mqtt`, or `mqtt:NAME` where the connection has another name.
    pub fn actor(&self) -> &Arc<str> {
        &self.actor
    }

    /// Publishes a snapshot of the window.
    pub fn set_conservation(&self, snapshot: Conservation) {
        *self.conservation.lock() = snapshot;
    }

    /// The last published snapshot.
    pub fn conservation(&self) -> Conservation {
        *self.conservation.lock()
    }

    /// Publishes what the window holds.
    pub fn set_window(&self, window: WindowUse) {
        *self.window.lock() = window;
    }

    /// What the window held when that was last published.
    pub fn window(&self) -> WindowUse {
        *self.window.lock()
    }

    /// How many bytes of it Kafka has acknowledged, by route.
    pub fn volumes(&self) -> Volumes {
        self.latencies.volumes()
    }

    /// The broker has accepted the connection.
    pub fn set_session(&self, mqtt_protocol: &'static str, is_present: bool, keep_alive_s: u16) {
        self.history.lock().connected(mqtt_protocol, is_present, keep_alive_s);
    }

    /// What the connection remembers.
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }

    /// Counts a connection that was lost or failed to open. `reason` is one of a fixed set.
    pub fn count_reconnect(&self, reason: &'static str) {
        *self.reconnects.lock().entry(reason).or_default() += 1;
    }

    /// Connections that were lost or failed to open, by reason.
    pub fn reconnects(&self) -> BTreeMap<&'static str, u64> {
        self.reconnects.lock().clone()
    }

    /// Adds the latencies of messages whose acknowledgement is written at `at`.
    pub fn record_acknowledged(&self, runs: impl Iterator<Item = Acknowledged>, at: Instant) {
        self.latencies.record_acknowledged(runs, at);
    }

    /// Adds the latencies of messages that were routed until `at`.
    pub fn record_routed(&self, runs: impl Iterator<Item = RoutedRun>, at: Instant) {
        self.latencies.record_routed(runs, at);
    }

    /// Keeps what was counted of these routes alone.
    fn keep_routes(&self, known: &BTreeMap<RouteId, RouteName>) {
        self.latencies.keep_routes(known);
    }

    /// The latencies of all routes, stage by stage.
    pub fn stages(&self) -> Stages {
        self.latencies.stages()
    }

    /// Changes what is known of the connection's state.
    pub fn change_health(&self, change: impl FnOnce(&mut MqttHealth)) {
        change(&mut self.health.lock());
    }

    /// The connection was lost or failed to open.
    pub fn set_lost(&self, why: String) {
        self.history.lock().lost(&why);
        *self.health.lock() = MqttHealth { lost: Some(why), ..MqttHealth::default() };
    }

    /// The connection is about to be opened to this address. `insecure`: by TLS, and neither the broker's
    /// certificate nor its name is checked.
    pub fn set_broker(&self, address: &BrokerAddress, insecure: bool) {
        *self.broker.lock() = Some(BrokerInUse { address: address.to_string(), insecure });
    }

    /// The connection's state.
    pub fn health(&self) -> MqttHealth {
        self.health.lock().clone()
    }
}

/// Counters that outlive every restart of an actor. One for the whole bridge, behind an `Arc`.
#[derive(Debug)]
pub struct Metrics {
    /// At least one.
    connections: Box<[ConnectionMetrics]>,
    restarts: Mutex<Restarts>,
    /// By route (nothing where no route made or refused it) and reason.
    dead_letters: Mutex<BTreeMap<(Arc<str>, &'static str), u64>>,
    samples: Mutex<Samples>,
    holds: Mutex<Vec<Hold>>,
    latency: Mutex<Latency>,
    health: Health,
    route_names: Arc<RouteNames>,
    notes: Mutex<BTreeMap<(RouteId, Note), u64>>,
    series: Arc<Series>,
    slowest: Slowest,
    clocks: DeviceClocks,
    reloads: Mutex<BTreeMap<ReloadOutcome, u64>>,
}

/// What became of a configuration that was read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReloadOutcome {
    /// What could be applied of it was.
    Applied,
    /// Nothing of it that could be applied differs from what was in force.
    Unchanged,
    /// It is wrong, and the old one stays.
    Refused,
}

impl ReloadOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Applied, Self::Unchanged, Self::Refused];

    /// The label of the metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// Latencies from receipt to delivery, before and after the last summary.
#[derive(Debug)]
struct Latency {
    taken: Histogram<u64>,
    new: Histogram<u64>,
}

/// Of a bridge with one connection.
impl Default for Metrics {
    fn default() -> Self {
        Self::new([MQTT.into()])
    }
}

impl Metrics {
    /// Of a bridge with connections of these names, in the order of the configuration.
    pub fn new(names: impl IntoIterator<Item = Arc<str>>) -> Self {
        let started = Instant::now();
        let series = Arc::new(Series::new(started));
        let connection = |name| ConnectionMetrics::new(name, Arc::clone(&series));
        Self {
            connections: names.into_iter().map(connection).collect(),
            series,
            slowest: Slowest::new(started),
            clocks: DeviceClocks::default(),
            restarts: Mutex::default(),
            dead_letters: Mutex::default(),
            samples: Mutex::default(),
            holds: Mutex::default(),
            latency: Mutex::new(Latency { taken: new_histogram(), new: new_histogram() }),
            health: Health::default(),
            route_names: Arc::default(),
            notes: Mutex::default(),
            reloads: Mutex::default(),
        }
    }

    /// Counts a configuration that was read again.
    pub fn count_reload(&self, outcome: ReloadOutcome) {
        *self.reloads.lock().entry(outcome).or_default() += 1;
    }

    /// Configurations that were read again, by what became of them.
    pub fn reloads(&self) -> BTreeMap<ReloadOutcome, u64> {
        self.reloads.lock().clone()
    }

    /// The names of the routes by which things are counted.
    pub fn route_names(&self) -> &Arc<RouteNames> {
        &self.route_names
    }

    /// All connections, in the order of the configuration.
    pub fn connections(&self) -> &[ConnectionMetrics] {
        &self.connections
    }

    /// One connection.
    ///
    /// # Panics
    /// The bridge has no such connection.
    pub fn connection(&self, source: SourceId) -> &ConnectionMetrics {
        &self.connections[usize::from(source.0)]
    }

    /// The name of this connection if log records have to tell it from others; `None` if it is the only
    /// one.
    pub fn distinct_name(&self, source: SourceId) -> Option<&Arc<str>> {
        let is_distinct = self.connections.len() > 1;
        let connection = self.connections.get(usize::from(source.0)).filter(|_| is_distinct);
        connection.map(ConnectionMetrics::name)
    }

    /// The sum of the last published snapshots of all connections.
    pub fn conservation(&self) -> Conservation {
        self.connections.iter().map(ConnectionMetrics::conservation).sum()
    }

    /// Connections that were lost or failed to open, for all reasons.
    pub fn reconnects_total(&self) -> u64 {
        let of = |connection: &ConnectionMetrics| connection.reconnects().values().sum::<u64>();
        self.connections.iter().map(of).sum()
    }

    /// Counts a restart of an actor. `reason` is one of a fixed set; `detail` is what is known of the cause.
    pub fn count_restart(&self, actor: &str, reason: &'static str, detail: &str) {
        self.restarts.lock().count(actor, reason, detail);
    }

    /// Restarts by actor and reason.
    pub fn restarts(&self) -> BTreeMap<(Arc<str>, &'static str), u64> {
        self.restarts.lock().counts().clone()
    }

    /// The last restarts, the oldest first.
    pub fn last_restarts(&self) -> Vec<Restart> {
        self.restarts.lock().last()
    }

    /// Restarts of all actors for all reasons.
    pub fn restarts_total(&self) -> u64 {
        self.restarts.lock().counts().values().sum()
    }

    /// Counts a dead letter that is durable. `route` is empty where none made or refused it; `reason` is one of a
    /// fixed set.
    pub fn count_dead_letter(&self, route: &Arc<str>, reason: &'static str) {
        *self.dead_letters.lock().entry((Arc::clone(route), reason)).or_default() += 1;
    }

    /// Dead letters that are durable, by route and reason.
    pub fn dead_letters(&self) -> BTreeMap<(Arc<str>, &'static str), u64> {
        self.dead_letters.lock().clone()
    }

    /// Takes the sample of this second, for [`Metrics::rates`].
    pub fn sample(&self, now: Instant) {
        let counted = self.conservation();
        let bytes =
            self.connections.iter().map(|it| (it.window().received_bytes, it.volumes().total()));
        let (received_bytes, delivered_bytes) =
            bytes.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        self.samples.lock().add(
            now,
            Counters {
                received: counted.received,
                settled: counted.delivered + counted.dead_lettered,
                received_bytes,
                delivered_bytes,
            },
        );
    }

    /// How fast messages came and went in the last seconds.
    pub fn rates(&self) -> Rates {
        self.samples.lock().rates()
    }

    /// Adds what routes noted of messages, and how often.
    pub fn count_notes(&self, new: BTreeMap<(RouteId, Note), u64>) {
        if new.is_empty() {
            return;
        }
        let mut notes = self.notes.lock();
        for (note, count) in new {
            *notes.entry(note).or_default() += count;
        }
    }

    /// Lets go what was counted of routes whose names are not known any more. What is still on its way for one of
    /// them is counted under its number, which nobody asks for, until the next call.
    pub fn let_routes_go(&self) {
        let known = self.route_names.all();
        self.notes.lock().retain(|(route, _), _| known.contains_key(route));
        self.clocks.keep(|route| known.contains_key(route));
        let names: BTreeSet<_> = known.values().map(|route| &*route.name).collect();
        let is_known = |name: &str| name.is_empty() || names.contains(name);
        self.dead_letters.lock().retain(|(route, _), _| is_known(route));
        self.connections.iter().for_each(|connection| connection.keep_routes(&known));
    }

    /// What routes noted of messages, and how often.
    pub fn notes(&self) -> BTreeMap<(RouteId, Note), u64> {
        self.notes.lock().clone()
    }

    /// Replaces the list of messages that wait until a person removes a cause.
    pub fn set_holds(&self, holds: Vec<Hold>) {
        *self.holds.lock() = holds;
    }

    /// Messages that wait now until a person removes a cause.
    pub fn holds(&self) -> Vec<Hold> {
        self.holds.lock().clone()
    }

    /// The state of the parts that belong to no connection.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The state of all parts at this moment; that of the actors comes from their heartbeats.
    pub fn snapshot(&self, actors: Vec<ActorHealth>) -> Snapshot {
        let connection = |connection: &ConnectionMetrics| ConnectionHealth {
            name: Arc::clone(&connection.name),
            mqtt: connection.health(),
            broker: connection.broker.lock().clone(),
        };
        let connections = self.connections.iter().map(connection).collect();
        self.health.snapshot(connections, self.holds(), actors)
    }

    /// Adds the latencies of messages that were delivered.
    pub fn record_delivered(&self, runs: &[Delivered]) {
        // Nearly always one: stamps are taken once a batch.
        let is_together =
            |a: &Delivered, b: &Delivered| (a.source, a.stamps()) == (b.source, b.stamps());
        for together in runs.chunk_by(is_together) {
            let Some(first) = together.first() else { continue };
            let (us, count) = (
                first.delivered_at.us_since(&first.received_at),
                together.iter().map(|run| run.count),
            );
            self.latency.lock().new.saturating_record_n(us, count.sum());
            if let Some(connection) = self.connections.get(usize::from(first.source.0)) {
                connection.latencies.record_delivered(first.stamps(), together);
            }
        }
        if let Some(run) = runs.last() {
            let connections = self.connections.iter().map(|connection| &connection.latencies);
            choose_busiest(&self.series, connections, run.delivered_at.instant);
        }
    }

    /// Adds the latencies of records with their device's own time, behind [`Metrics::record_delivered`].
    pub fn record_from_devices(&self, records: &[FromDevice]) {
        for FromDevice { source, route, device_us, received_at, delivered_at } in records {
            // At receipt, which is nearer to the device.
            let ahead_us =
                u64::try_from(since_device(*device_us, received_at).saturating_neg()).unwrap_or(0);
            let period = self.series.period(delivered_at.instant);
            self.clocks.record(*route, period, ahead_us);
            let us = u64::try_from(since_device(*device_us, delivered_at)).unwrap_or(0);
            if let Some(connection) = self.connections.get(usize::from(source.0)) {
                connection.latencies.record_from_device(*route, us, delivered_at.instant);
            }
        }
    }

    /// Of each route that has delivered records with their device's own time: by how much that was ahead of the
    /// time of receipt at most, in the last one to two minutes.
    pub fn clocks_ahead(&self, now: Instant) -> BTreeMap<RouteId, Duration> {
        self.clocks.ahead(self.series.period(now))
    }

    /// The slowest records of the last minutes.
    pub fn slowest(&self) -> &Slowest {
        &self.slowest
    }

    /// The latencies of the last one to two minutes, of all that was delivered.
    pub fn all_latencies(&self, now: Instant) -> HopLatencies {
        let period = self.series.period(now);
        let mut all = HopLatencies::default();
        self.connections.iter().for_each(|it| it.latencies.add_all_to(period, &mut all.0));
        all
    }

    /// The latencies of the last one to two minutes, of each pair of connection and route that has histograms
    /// ([`SERIES_MAX`](super::hops::SERIES_MAX)): one function for all that shows percentiles.
    pub fn route_latencies(&self, now: Instant) -> Vec<RouteLatencies> {
        let period = self.series.period(now);
        let of = |connection: &ConnectionMetrics| {
            let name = Arc::clone(&connection.name);
            let hops = connection.latencies.hops(period);
            hops.into_iter().map(move |(route, hops)| (name.clone(), route, hops))
        };
        let all = self.connections.iter().flat_map(of);
        let named = all.map(|(connection, route, hops)| RouteLatencies {
            connection,
            route,
            name: self.route_names.name(route),
            hops: HopLatencies(hops),
        });
        named.collect()
    }

    /// Takes the latencies that were recorded since the last call. For the summary record alone: a
    /// second taker would leave it half of them.
    pub fn take_latencies(&self) -> Histogram<u64> {
        let mut latency = self.latency.lock();
        let new = std::mem::replace(&mut latency.new, new_histogram());
        latency.taken += &new;
        new
    }

    /// All latencies since the start. The difference of two calls is what was recorded between them.
    pub fn latencies(&self) -> Histogram<u64> {
        let latency = self.latency.lock();
        let mut all = latency.taken.clone();
        all += &latency.new;
        all
    }
}

/// One microsecond to an hour, at two significant digits.
fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("constant bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::super::hops::{Hop, SERIES_MAX};
    use super::*;

    #[test]
    fn the_identity_holds_for_each_connection_and_for_the_sum() {
        let metrics = Metrics::new(["east".into(), "west".into()]);
        let east = Conservation { received: 6, delivered: 5, in_flight: 1, ..Default::default() };
        let west = Conservation {
            received: 9,
            dead_lettered: 2,
            shed: 3,
            filtered: 4,
            ..Default::default()
        };
        metrics.connection(SourceId(0)).set_conservation(east);
        metrics.connection(SourceId(1)).set_conservation(west);
        metrics.connection(SourceId(1)).count_reconnect("keep_alive");
        let sum = metrics.conservation();
        assert!(metrics.connections().iter().all(|one| one.conservation().balances()));
        assert!(sum.balances() && (sum.received, sum.in_flight) == (15, 1), "{sum:?}");
        assert_eq!(metrics.reconnects_total(), 1);
        assert!(metrics.connection(SourceId(0)).reconnects().is_empty());
    }

    #[test]
    fn what_was_counted_of_routes_goes_with_their_names_and_their_records_stay_in_the_sum() {
        let metrics = Metrics::default();
        let names = |reload: usize| {
            (0..RouteNames::GONE_MAX).map(move |at| RouteName {
                name: format!("{reload}/{at}").into(),
                mqtt_filter: "a".into(),
            })
        };
        let mut running = Vec::new();
        for reload in 0..4 {
            running = metrics.route_names().learn(names(reload), running);
            metrics.let_routes_go();
            let at = crate::message::Stamp::now();
            let run = |route: &RouteId| Delivered {
                source: SourceId(0),
                route: *route,
                received_at: at,
                produced_at: at,
                delivered_at: at,
                count: 2,
                bytes: 14,
            };
            metrics.record_delivered(&running.iter().map(run).collect::<Vec<_>>());
            metrics.count_notes([((running[0], Note::TimestampFellBack), 1)].into());
            let stages = metrics.connection(SourceId(0)).stages();
            assert!(stages.delivered.len() <= 3 * RouteNames::GONE_MAX);
            let known = stages.delivered.values().map(|histogram| histogram.count()).sum::<u64>();
            let all = 2 * (reload as u64 + 1) * RouteNames::GONE_MAX as u64;
            assert_eq!(known + stages.delivered_of_gone, all);
            assert_eq!(metrics.connection(SourceId(0)).volumes().total(), 7 * all, "bytes as well");
        }
        // Those of the last two reloads, and those that went before the last one was applied.
        assert!(
            metrics.notes().len() <= 3
                && metrics.connection(SourceId(0)).stages().delivered_of_gone > 0
        );
        let known = metrics.route_names().all();
        assert!(metrics.notes().keys().all(|(route, _)| known.contains_key(route)));
    }

    #[test]
    fn the_busiest_routes_of_the_last_minute_have_histograms_and_no_others() {
        let metrics = Metrics::new(["east".into(), "west".into()]);
        let begin = crate::message::Stamp::now();
        let after = |seconds| crate::message::Stamp {
            instant: begin.instant + Duration::from_secs(seconds),
            ..begin
        };
        // Of each connection as many as there is room for in all.
        let deliver = |seconds, source, counts: &dyn Fn(usize) -> u64| {
            let at = after(seconds);
            let routes = (0..SERIES_MAX).filter(|route| counts(*route) > 0);
            let runs = routes.map(|route| Delivered {
                source: SourceId(source),
                route: RouteId(route),
                received_at: at,
                produced_at: at,
                delivered_at: at,
                count: counts(route),
                bytes: 0,
            });
            metrics.record_delivered(&runs.collect::<Vec<_>>());
        };
        let shown = |seconds| {
            let all = metrics.route_latencies(after(seconds).instant);
            let shown = all.iter().map(|it| (it.connection.to_string(), it.route.0));
            shown.collect::<BTreeSet<_>>()
        };
        deliver(0, 0, &|_| 1);
        deliver(0, 1, &|_| 2);
        assert!(shown(0).iter().all(|(connection, _)| connection == "east"), "the first that came");
        assert_eq!(shown(0).len(), SERIES_MAX);
        let all = metrics.all_latencies(after(0).instant);
        let count = all.percentiles(Hop::Delivered).map(|it| it.count);
        assert_eq!(count, Some(3 * SERIES_MAX as u64), "all of them, shown or not");
        // The end of the period: those of the west were busier.
        deliver(61, 0, &|route| u64::from(route == 0));
        deliver(62, 1, &|_| 1);
        assert_eq!(shown(62).len(), SERIES_MAX);
        assert!(shown(62).iter().all(|(connection, _)| connection == "west"), "{:?}", shown(62));
        // Only a few go on: the others let theirs go, and there is room for new ones.
        deliver(121, 1, &|route| u64::from(route < 3));
        deliver(181, 1, &|route| u64::from(route < 3));
        deliver(182, 0, &|route| u64::from(route == 7));
        assert_eq!(shown(182).len(), 4, "{:?}", shown(182));
        // On MQTT's side there is the same bound, and it follows the same choice.
        for connection in metrics.connections() {
            let routed =
                (0..SERIES_MAX).map(|route| RoutedRun { route: RouteId(route), us: 5, count: 1 });
            connection.record_routed(routed, after(182).instant);
        }
        assert!(shown(182).len() <= 2 * SERIES_MAX);
        deliver(183, 1, &|route| u64::from(route < 3));
        deliver(241, 0, &|route| u64::from(route == 7));
        assert_eq!(shown(242).len(), 4, "{:?}", shown(242));
        // What was routed in the last period, of the routes that are still chosen.
        let routed = metrics.route_latencies(after(242).instant);
        let routed = routed.iter().filter(|it| it.hops.percentiles(Hop::Routed).is_some());
        assert!(routed.count() <= 4);
    }

    #[test]
    fn the_time_of_a_device_is_a_hop_and_a_clock_that_is_ahead_is_told() {
        let metrics = Metrics::default();
        let (received_at, route) = (crate::message::Stamp::now(), RouteId(3));
        let later = |ms: u64| crate::message::Stamp {
            wall_us: received_at.wall_us + ms * 1000,
            instant: received_at.instant + Duration::from_millis(ms),
        };
        let delivered_at = later(10);
        let (source, count, bytes) = (SourceId(0), 2, 0);
        let run = Delivered {
            source,
            route,
            received_at,
            produced_at: received_at,
            delivered_at,
            count,
            bytes,
        };
        metrics.record_delivered(&[run]);
        let device = |ms: i64| FromDevice {
            source,
            route,
            device_us: received_at.wall_us as i64 + ms * 1000,
            received_at,
            delivered_at,
        };
        // 40 ms behind receipt; 30 ms ahead of it.
        metrics.record_from_devices(&[device(-40), device(30)]);
        let ahead =
            |seconds| metrics.clocks_ahead(received_at.instant + Duration::from_secs(seconds));
        assert_eq!(ahead(1)[&route], Duration::from_millis(30));
        assert_eq!(ahead(200)[&route], Duration::ZERO, "none has been for minutes");
        let stages = metrics.connection(source).stages();
        assert_eq!((stages.device[&route].count(), stages.device[&route].sum_us), (2, 50_000));
        let latencies = metrics.route_latencies(later(11).instant);
        let hop = latencies[0].hops.percentiles(Hop::Device).expect("two");
        assert!(hop.count == 2 && hop.p50_us == 0 && hop.max_us.abs_diff(50_000) < 500, "{hop:?}");
        metrics.record_from_devices(&[device(i64::MIN / 1_000_000), device(i64::MAX / 1_000_000)]);
    }

    #[test]
    fn only_one_of_several_connections_has_to_be_told_from_others() {
        assert_eq!(Metrics::default().distinct_name(SourceId(0)), None);
        let two = Metrics::new(["east".into(), "west".into()]);
        assert_eq!(two.distinct_name(SourceId(1)).map(|name| &**name), Some("west"));
        assert_eq!(two.distinct_name(SourceId(2)), None);
        assert_eq!(&**two.connection(SourceId(1)).actor(), "mqtt:west");
        assert_eq!(&**Metrics::default().connection(SourceId(0)).actor(), "mqtt");
    }
}
