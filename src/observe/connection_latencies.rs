//! The latencies of one MQTT connection, by route and hop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::hops::{Copied, Hop, Recents, SERIES_MAX, Series, Side};
use super::latency::{
    Acknowledged, ByRoute, Delivered, Latency, RoutedRun, StageHistogram, Stages,
};
use super::volume::Volumes;
use crate::message::{RouteId, RouteName, Stamp};

/// See the module.
#[derive(Debug)]
pub(super) struct ConnectionLatencies {
    series: Arc<Series>,
    /// What KafkaProducerActor knows.
    delivered: Mutex<Known<OfKafka>>,
    /// Of routes that were let go; changed under the lock of `delivered`.
    delivered_of_gone: AtomicU64,
    /// Their bytes, likewise.
    bytes_of_gone: AtomicU64,
    /// What the connection's MqttActor knows.
    acknowledged: Mutex<Known<OfMqtt>>,
}

/// What one actor knows.
#[derive(Debug)]
struct Known<T> {
    routes: BTreeMap<RouteId, T>,
    /// Of all routes together.
    all: Recents,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { routes: BTreeMap::new(), all: Recents::default() }
    }
}

/// Latencies of a route that KafkaProducerActor knows.
#[derive(Debug, Default)]
struct OfKafka {
    produced: StageHistogram,
    delivered: StageHistogram,
    device: Option<Box<StageHistogram>>,
    recents: Option<Box<Recents>>,
    bytes: u64,
    /// How many were delivered when the busiest routes were chosen last.
    counted: u64,
}

/// Latencies of a route that an MqttActor knows.
#[derive(Debug, Default)]
struct OfMqtt {
    routed: StageHistogram,
    acknowledged: StageHistogram,
    recents: Option<Box<Recents>>,
}

/// Those of one stage that counted something.
fn by_route<T>(
    routes: &BTreeMap<RouteId, T>,
    stage: impl Fn(&T) -> Option<&StageHistogram>,
) -> ByRoute {
    let counted = routes.iter().filter_map(|(route, of)| Some((*route, *stage(of)?)));
    counted.filter(|(_, histogram)| histogram.count() > 0).collect()
}

impl ConnectionLatencies {
    pub(super) fn new(series: Arc<Series>) -> Self {
        let (delivered, delivered_of_gone, bytes_of_gone, acknowledged) = Default::default();
        Self { series, delivered, delivered_of_gone, bytes_of_gone, acknowledged }
    }

    /// Adds the latencies of messages whose acknowledgement is written at `at`.
    pub(super) fn record_acknowledged(
        &self,
        runs: impl Iterator<Item = Acknowledged>,
        at: Instant,
    ) {
        // Those of one batch were mostly delivered together.
        let mut last = (at, 0);
        let told = runs.map(|Acknowledged { route, delivered_at, count }| {
            if delivered_at != last.0 {
                let waited = at.saturating_duration_since(delivered_at);
                last = (delivered_at, u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
            }
            (route, last.1, count)
        });
        self.record_of_mqtt(Hop::Acknowledged, told, at, |of| &mut of.acknowledged);
    }

    /// Adds the latencies of messages that were routed until `at`.
    pub(super) fn record_routed(&self, runs: impl Iterator<Item = RoutedRun>, at: Instant) {
        let told = runs.map(|RoutedRun { route, us, count }| (route, u64::from(us), count));
        self.record_of_mqtt(Hop::Routed, told, at, |of| &mut of.routed);
    }

    /// Adds the latencies of a hop: route, microseconds and how many. What is equal and comes one after the other is told once
    /// for all routes together.
    fn record_of_mqtt(
        &self,
        hop: Hop,
        told: impl Iterator<Item = (RouteId, u64, u64)>,
        at: Instant,
        stage: impl Fn(&mut OfMqtt) -> &mut StageHistogram,
    ) {
        let period = self.series.period(at);
        let Known { routes, all } = &mut *self.acknowledged.lock();
        let (mut latency, mut equal) = (Latency::of_us(0), 0);
        for (route, us, count) in told {
            if us != latency.us {
                all.record(hop, period, latency.us, equal);
                (latency, equal) = (Latency::of_us(us), 0);
            }
            equal += count;
            let of = routes.entry(route).or_default();
            stage(of).record(latency, count);
            self.series.give(Side::Mqtt, &mut of.recents);
            if let Some(recents) = &mut of.recents {
                recents.record(hop, period, us, count);
            }
        }
        all.record(hop, period, latency.us, equal);
    }

    /// Adds the latencies of messages that were received, produced and delivered at the moments `stamps`.
    pub(super) fn record_delivered(&self, stamps: [Stamp; 3], runs: &[Delivered]) {
        let [received_at, produced_at, delivered_at] = stamps;
        let queue = Latency::of_us(produced_at.us_since(&received_at));
        let kafka = Latency::of_us(delivered_at.us_since(&produced_at));
        let period = self.series.period(delivered_at.instant);
        let Known { routes, all } = &mut *self.delivered.lock();
        let count = runs.iter().map(|run| run.count).sum();
        all.record(Hop::Produced, period, queue.us, count);
        all.record(Hop::Delivered, period, kafka.us, count);
        for Delivered { route, count, bytes, .. } in runs {
            let of = routes.entry(*route).or_default();
            of.produced.record(queue, *count);
            of.delivered.record(kafka, *count);
            of.bytes += *bytes;
            self.series.give(Side::Kafka, &mut of.recents);
            if let Some(recents) = &mut of.recents {
                recents.record(Hop::Produced, period, queue.us, *count);
                recents.record(Hop::Delivered, period, kafka.us, *count);
            }
        }
    }

    pub(super) fn record_from_device(&self, route: RouteId, us: u64, at: Instant) {
        let period = self.series.period(at);
        let Known { routes, all } = &mut *self.delivered.lock();
        all.record(Hop::Device, period, us, 1);
        let of = routes.entry(route).or_default();
        of.device.get_or_insert_default().record(Latency::of_us(us), 1);
        if let Some(recents) = &mut of.recents {
            recents.record(Hop::Device, period, us, 1);
        }
    }

    /// How many each route has delivered since the last call, of those that have delivered any.
    pub(super) fn take_busy(&self) -> Vec<(u64, RouteId)> {
        let mut delivered = self.delivered.lock();
        let new = |(route, of): (&RouteId, &mut OfKafka)| {
            let count = of.delivered.count();
            (count - std::mem::replace(&mut of.counted, count), *route)
        };
        delivered.routes.iter_mut().map(new).filter(|(new, _)| *new > 0).collect()
    }

    /// Takes the histograms from the routes that are not `chosen`; or gives some to those that are.
    pub(super) fn choose(&self, chosen: &BTreeSet<RouteId>, gives: bool) {
        let change = |side, route: &RouteId, recents: &mut _| match chosen.contains(route) {
            true if gives => self.series.give(side, recents),
            false if !gives => self.series.take(side, recents),
            _ => {}
        };
        for (route, of) in &mut self.delivered.lock().routes {
            change(Side::Kafka, route, &mut of.recents);
        }
        for (route, of) in &mut self.acknowledged.lock().routes {
            change(Side::Mqtt, route, &mut of.recents);
        }
    }

    /// The hops of the last minutes, by route.
    pub(super) fn hops(&self, period: u64) -> BTreeMap<RouteId, Copied> {
        let mut all = BTreeMap::<_, Copied>::new();
        // One after the other, so that no actor waits long.
        let routes: Vec<_> = self.delivered.lock().routes.keys().copied().collect();
        for route in routes {
            if let Some(recents) =
                self.delivered.lock().routes.get(&route).and_then(|of| of.recents.as_ref())
            {
                recents.add_to(period, all.entry(route).or_default());
            }
        }
        let routes: Vec<_> = self.acknowledged.lock().routes.keys().copied().collect();
        for route in routes {
            if let Some(recents) =
                self.acknowledged.lock().routes.get(&route).and_then(|of| of.recents.as_ref())
            {
                recents.add_to(period, all.entry(route).or_default());
            }
        }
        all.retain(|_, hops| hops.iter().any(Option::is_some));
        all
    }

    /// Adds the hops of the last minutes of all routes together.
    pub(super) fn add_all_to(&self, period: u64, sums: &mut Copied) {
        self.delivered.lock().all.add_to(period, sums);
        self.acknowledged.lock().all.add_to(period, sums);
    }

    /// Keeps what was counted of these routes alone.
    pub(super) fn keep_routes(&self, known: &BTreeMap<RouteId, RouteName>) {
        let is_known = |route: &RouteId| known.contains_key(route);
        let (mut gone, mut bytes_gone) = (0, 0);
        let mut delivered = self.delivered.lock();
        delivered.routes.retain(|route, of| {
            let stays = is_known(route);
            if !stays {
                gone += of.delivered.count();
                bytes_gone += of.bytes;
                self.series.take(Side::Kafka, &mut of.recents);
            }
            stays
        });
        self.delivered_of_gone.fetch_add(gone, Ordering::Relaxed);
        self.bytes_of_gone.fetch_add(bytes_gone, Ordering::Relaxed);
        drop(delivered);
        self.acknowledged.lock().routes.retain(|route, of| {
            let stays = is_known(route);
            if !stays {
                self.series.take(Side::Mqtt, &mut of.recents);
            }
            stays
        });
    }

    /// How many bytes were delivered, by route.
    pub(super) fn volumes(&self) -> Volumes {
        let delivered = self.delivered.lock();
        let by_route = delivered.routes.iter().map(|(route, of)| (*route, of.bytes)).collect();
        Volumes { by_route, of_gone: self.bytes_of_gone.load(Ordering::Relaxed) }
    }

    /// The latencies of all routes, stage by stage.
    pub(super) fn stages(&self) -> Stages {
        let counted = self.delivered.lock();
        let delivered_of_gone = self.delivered_of_gone.load(Ordering::Relaxed);
        let produced = by_route(&counted.routes, |of| Some(&of.produced));
        let delivered = by_route(&counted.routes, |of| Some(&of.delivered));
        let device = by_route(&counted.routes, |of| of.device.as_deref());
        drop(counted);
        let counted = self.acknowledged.lock();
        let routed = by_route(&counted.routes, |of| Some(&of.routed));
        let acknowledged = by_route(&counted.routes, |of| Some(&of.acknowledged));
        drop(counted);
        Stages { device, routed, produced, delivered, acknowledged, delivered_of_gone }
    }
}

/// Once in each period: the busiest pairs of connection and route keep their histograms, or get some.
pub(super) fn choose_busiest<'a>(
    series: &Series,
    connections: impl Iterator<Item = &'a ConnectionLatencies> + Clone,
    now: Instant,
) {
    if !series.is_due(series.period(now)) {
        return;
    }
    let of = |(place, connection): (usize, &ConnectionLatencies)| {
        connection.take_busy().into_iter().map(move |(count, route)| (count, place, route))
    };
    let mut busy: Vec<_> = connections.clone().enumerate().flat_map(of).collect();
    busy.sort_unstable_by(|a, b| b.cmp(a));
    busy.truncate(SERIES_MAX);
    for gives in [false, true] {
        for (place, connection) in connections.clone().enumerate() {
            let chosen = busy.iter().filter(|(_, at, _)| *at == place);
            connection.choose(&chosen.map(|(_, _, route)| *route).collect(), gives);
        }
    }
}
