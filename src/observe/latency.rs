//! How long messages stay in each stage, by route: histograms with few, fixed buckets.

use std::collections::BTreeMap;
use std::time::Instant;

use super::runs::Runs;
use crate::message::{RouteId, Stamp};
use crate::stage::SourceId;

/// Upper bounds of the buckets, in microseconds; one more bucket holds the rest.
pub const BOUNDS_US: [u64; 16] = [
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    10_000_000,
    60_000_000,
    600_000_000,
];

/// Messages of one connection and one route that were received together, produced together and delivered
/// together: one entry instead of many, since stamps are taken once a batch.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    /// The connection that received them.
    pub source: SourceId,
    /// The route that made the record.
    pub route: RouteId,
    /// Received from MQTT.
    pub received_at: Stamp,
    /// Handed to librdkafka.
    pub produced_at: Stamp,
    /// Delivery report.
    pub delivered_at: Stamp,
    /// How many.
    pub count: u64,
    /// The values of their records, in bytes.
    pub bytes: u64,
}

impl Delivered {
    /// Adds one message, received, produced and delivered at these moments, to `runs`; the value of its record has so
    /// many bytes.
    #[inline]
    pub fn add(
        runs: &mut Runs<Self>,
        (source, route): (SourceId, RouteId),
        stamps: [Stamp; 3],
        bytes: usize,
    ) {
        let is_same =
            |run: &Self| run.route == route && run.stamps() == stamps && run.source == source;
        let run = runs.join(route, is_same, || {
            let [received_at, produced_at, delivered_at] = stamps;
            Self { source, route, received_at, produced_at, delivered_at, count: 0, bytes: 0 }
        });
        run.count += 1;
        run.bytes += bytes as u64;
    }

    /// When they were received, produced and delivered.
    pub(super) fn stamps(&self) -> [Stamp; 3] {
        [self.received_at, self.produced_at, self.delivered_at]
    }
}

/// Messages of one route that were received together and routed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoutedRun {
    /// The route that made the record.
    pub route: RouteId,
    /// Microseconds from receipt until all of the read was routed.
    pub us: u32,
    /// How many.
    pub count: u64,
}

impl RoutedRun {
    /// Adds one record to `runs`.
    #[inline]
    pub fn add(runs: &mut Runs<Self>, route: RouteId, us: u32) {
        let is_same = |run: &Self| run.route == route && run.us == us;
        runs.join(route, is_same, || Self { route, us, count: 0 }).count += 1;
    }
}

/// A record that was delivered, and its device's own time.
#[derive(Debug, Clone, Copy)]
pub struct FromDevice {
    /// The connection that received its message.
    pub source: SourceId,
    /// The route that made the record.
    pub route: RouteId,
    /// The device's time, in microseconds since the Unix epoch.
    pub device_us: i64,
    /// Received from MQTT.
    pub received_at: Stamp,
    /// Delivery report.
    pub delivered_at: Stamp,
}

/// Messages of one route that were delivered together and whose PUBACKs are written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The route that made the record.
    pub route: RouteId,
    /// librdkafka reported the first of them.
    pub delivered_at: Instant,
    /// How many.
    pub count: u64,
}

impl Acknowledged {
    /// Adds one message to `runs`.
    #[inline]
    pub fn add(runs: &mut Runs<Self>, route: RouteId, delivered_at: Instant) {
        let is_same = |run: &Self| run.route == route && run.delivered_at == delivered_at;
        runs.join(route, is_same, || Self { route, delivered_at, count: 0 }).count += 1;
    }
}

/// Histograms by route; one that had no message yet is missing.
pub type ByRoute = BTreeMap<RouteId, StageHistogram>;

/// The histograms of one connection.
#[derive(Debug, Clone, Default)]
pub struct Stages {
    /// From the device's own time to the delivery report; one that lies behind it counts as 0.
    pub device: ByRoute,
    /// From receipt until all of the same read was routed.
    pub routed: ByRoute,
    /// From receipt to librdkafka.
    pub produced: ByRoute,
    /// From there to the delivery report.
    pub delivered: ByRoute,
    /// From there to the write of the PUBACK; QoS 1 only.
    pub acknowledged: ByRoute,
    /// How many records of routes that were let go were delivered.
    pub delivered_of_gone: u64,
}

/// Counts by bucket, and their sum.
#[derive(Debug, Clone, Copy, Default)]
pub struct StageHistogram {
    /// How many fell into each bucket, not cumulative.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// Of all latencies, in microseconds.
    pub sum_us: u64,
}

/// A latency, and its bucket: found once for all runs that have it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    /// In microseconds.
    pub(super) us: u64,
    bucket: usize,
}

impl Latency {
    pub(super) fn of_us(us: u64) -> Self {
        Self { us, bucket: BOUNDS_US.partition_point(|bound| *bound < us) }
    }
}

impl StageHistogram {
    /// Adds `count` such latencies.
    pub(super) fn record(&mut self, latency: Latency, count: u64) {
        self.counts[latency.bucket] += count;
        self.sum_us = self.sum_us.saturating_add(latency.us.saturating_mul(count));
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::observe::Metrics;

    #[test]
    fn what_came_and_went_together_is_one_run() {
        let [first, second] = [Stamp::now(), Stamp::now()];
        let later = Stamp { instant: second.instant + Duration::from_millis(1), ..second };
        let mut runs = Runs::default();
        // The last two have one place.
        let far = 64 * 1000;
        for (source, route, received_at, bytes) in [
            (0, 0, first, 3),
            (0, 1, first, 4),
            (0, 0, first, 5),
            (0, 1, later, 6),
            (1, 1, later, 7),
            (0, 0, first, 8),
            (0, far, first, 9),
            (0, 0, first, 1),
        ] {
            let of = (SourceId(source), RouteId(route));
            Delivered::add(&mut runs, of, [received_at, later, later], bytes);
        }
        let told = |runs: &mut Runs<Delivered>| {
            let told = runs.drain().map(|run| (run.source.0, run.route.0, run.count, run.bytes));
            told.collect::<Vec<_>>()
        };
        let expected =
            [(0, 0, 3, 16), (0, 1, 1, 4), (0, 1, 1, 6), (1, 1, 1, 7), (0, far, 1, 9), (0, 0, 1, 1)];
        assert_eq!(told(&mut runs), expected);
        // Nothing is left of it.
        Delivered::add(&mut runs, (SourceId(0), RouteId(1)), [later; 3], 2);
        Delivered::add(&mut runs, (SourceId(0), RouteId(0)), [first, later, later], 2);
        assert_eq!(told(&mut runs), [(0, 1, 1, 2), (0, 0, 1, 2)]);
    }

    #[test]
    fn each_stage_of_each_route_of_each_connection_is_counted_in_its_bucket() {
        let metrics = Metrics::new(["east".into(), "west".into()]);
        let source = SourceId(1);
        let received_at = Stamp::now();
        let after =
            |ms| Stamp { instant: received_at.instant + Duration::from_millis(ms), ..received_at };
        let (produced_at, delivered_at, route) = (after(1), after(8), RouteId(1));
        metrics.record_delivered(&[
            Delivered {
                source,
                route,
                received_at,
                produced_at,
                delivered_at,
                count: 3,
                bytes: 30,
            },
            // A source that is no connection has nowhere to be counted.
            Delivered {
                source: SourceId(2),
                route,
                received_at,
                produced_at,
                delivered_at,
                count: 1,
                bytes: 10,
            },
        ]);
        let run = Acknowledged { route, delivered_at: after(8).instant, count: 2 };
        let west = metrics.connection(source);
        west.record_acknowledged([run].into_iter(), after(3_600_000).instant);
        let Stages { produced, delivered, acknowledged, .. } = west.stages();
        // A bound belongs to its bucket.
        assert_eq!((produced[&route].counts[2], produced[&route].sum_us), (3, 3_000));
        assert_eq!((delivered[&route].counts[5], delivered[&route].sum_us), (3, 21_000));
        assert_eq!(acknowledged[&route].counts[BOUNDS_US.len()], 2);
        assert!(produced.keys().eq([&route]));
        assert!(metrics.connection(SourceId(0)).stages().produced.is_empty());
        assert_eq!(metrics.latencies().len(), 4);
        assert_eq!((west.volumes().by_route, west.volumes().of_gone), ([(route, 30)].into(), 0));
    }
}
