//! Where time goes, hop by hop: percentiles of the last minutes, for each route of each connection.
//!
//! The histograms are HDR, to two significant digits, and grow with the latencies that come. They are kept for
//! the busiest [`SERIES_MAX`] pairs of connection and route of the last minute, and for all routes of a connection together, so
//! that their memory is bounded; `stage_seconds` in `/metrics`, with its few buckets, has all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::message::RouteId;

/// So many pairs of connection and route have histograms. Each of the five hops of a pair has two of at most
/// 13.3 kB, and of 6 kB if no latency was over 100 ms: 133 kB a pair and 13.3 MB in all at most. All routes of a connection together take
/// as much as a pair.
pub const SERIES_MAX: usize = 100;
/// The latencies of the present period and of the one before are shown.
pub const HOPS_PERIOD: Duration = Duration::from_secs(60);
/// A longer latency counts as this one, in microseconds: an hour.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// A part of a message's way. Each but [`Hop::Device`] is one of [`crate::observe::TimingRecord`]'s latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// From the device's own time to the delivery report, where the route names it; a clock that is ahead
    /// counts as 0.
    Device,
    /// From receipt until all that came in the same read was routed.
    Routed,
    /// From receipt to librdkafka; the time of [`Hop::Routed`] is a part of it.
    Produced,
    /// From there to the delivery report.
    Delivered,
    /// From there to the PUBACK.
    Acknowledged,
}

impl Hop {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 5] =
        [Self::Device, Self::Routed, Self::Produced, Self::Delivered, Self::Acknowledged];

    /// The label `stage` of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Routed => "routed",
            Self::Produced => "produced",
            Self::Delivered => "delivered",
            Self::Acknowledged => "acknowledged",
        }
    }
}

/// What a hop took, in microseconds, to two significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Percentiles {
    /// Of how many records.
    pub count: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 90 % took no longer.
    pub p90_us: u64,
    /// 99 % took no longer.
    pub p99_us: u64,
    /// 99.9 % took no longer.
    pub p999_us: u64,
    /// None took longer.
    pub max_us: u64,
}

impl Percentiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            count: histogram.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
        }
    }
}

/// What the hops took in the last one to two minutes.
#[derive(Debug, Clone, Default)]
pub struct HopLatencies(pub(super) Copied);

impl HopLatencies {
    /// What a hop took; nothing if no record passed it.
    pub fn percentiles(&self, hop: Hop) -> Option<Percentiles> {
        self.0[hop as usize].as_ref().map(Percentiles::of)
    }
}

/// By [`Hop`].
pub(super) type Copied = [Option<Histogram<u64>>; Hop::ALL.len()];

/// The latencies of one route on one connection.
#[derive(Debug, Clone)]
pub struct RouteLatencies {
    /// The connection's name.
    pub connection: Arc<str>,
    /// The route.
    pub route: RouteId,
    /// Its name.
    pub name: Arc<str>,
    /// Hop by hop.
    pub hops: HopLatencies,
}

/// The latencies of one hop in the present period and the one before.
#[derive(Debug)]
struct Recent {
    period: u64,
    now: Histogram<u32>,
    before: Histogram<u32>,
}

impl Recent {
    fn new(period: u64) -> Self {
        Self { period, now: growing(), before: growing() }
    }

    fn record(&mut self, period: u64, us: u64, count: u64) {
        // Another thread may have read the clock a moment before.
        if period > self.period {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.reset();
            if period > self.period + 1 {
                self.before.reset();
            }
            self.period = period;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // It grows as far as it has to.
        let _ = self.now.record_n(us.min(LATENCY_MAX_US), count);
    }

    /// What is not older than the period before `period`.
    fn add_to(&self, period: u64, sum: &mut Option<Histogram<u64>>) {
        let young: &[_] = match period.saturating_sub(self.period) {
            0 => &[&self.now, &self.before],
            1 => &[&self.now],
            _ => &[],
        };
        for histogram in young.iter().filter(|histogram| !histogram.is_empty()) {
            let sum = sum.get_or_insert_with(growing);
            for recorded in histogram.iter_recorded() {
                let count = u64::from(recorded.count_at_value());
                let _ = sum.record_n(recorded.value_iterated_to(), count);
            }
        }
    }
}

fn growing<C: hdrhistogram::Counter>() -> Histogram<C> {
    Histogram::new(2).expect("two digits are valid")
}

/// The hops of one route on one connection, as far as one thread knows them.
#[derive(Debug, Default)]
pub(super) struct Recents([Option<Box<Recent>>; Hop::ALL.len()]);

impl Recents {
    /// Adds `count` latencies, if there are any.
    pub(super) fn record(&mut self, hop: Hop, period: u64, us: u64, count: u64) {
        if count == 0 {
            return;
        }
        let recent = &mut self.0[hop as usize];
        recent.get_or_insert_with(|| Box::new(Recent::new(period))).record(period, us, count);
    }

    pub(super) fn add_to(&self, period: u64, sums: &mut Copied) {
        for (recent, sum) in self.0.iter().zip(sums) {
            recent.iter().for_each(|recent| recent.add_to(period, sum));
        }
    }
}

/// Which pairs of connection and route have histograms: the first that come, and at the end of each period the
/// busiest.
#[derive(Debug)]
pub(super) struct Series {
    started: Instant,
    /// How many have some on the side of Kafka, and on the side of MQTT.
    taken: [AtomicUsize; 2],
    /// In which period they were chosen.
    chosen: AtomicU64,
}

/// Who knows a hop.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Kafka,
    Mqtt,
}

impl Series {
    pub(super) fn new(started: Instant) -> Self {
        Self { started, taken: Default::default(), chosen: AtomicU64::new(0) }
    }

    /// The number of the period.
    pub(super) fn period(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_secs() / HOPS_PERIOD.as_secs()
    }

    /// Gives histograms to a pair that has none, if there is room.
    pub(super) fn give(&self, side: Side, recents: &mut Option<Box<Recents>>) {
        if recents.is_none() {
            let room = |taken: usize| (taken < SERIES_MAX).then_some(taken + 1);
            if self.taken[side as usize].fetch_update(Relaxed, Relaxed, room).is_ok() {
                *recents = Some(Box::default());
            }
        }
    }

    /// Takes its histograms from a pair.
    pub(super) fn take(&self, side: Side, recents: &mut Option<Box<Recents>>) {
        if recents.take().is_some() {
            self.taken[side as usize].fetch_sub(1, Relaxed);
        }
    }

    /// Whether it is time to choose again; true once for each period.
    pub(super) fn is_due(&self, period: u64) -> bool {
        self.chosen.load(Relaxed) < period && self.chosen.fetch_max(period, Relaxed) < period
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(recent: &Recent, period: u64) -> Option<Percentiles> {
        let mut sum = None;
        recent.add_to(period, &mut sum);
        sum.as_ref().map(Percentiles::of)
    }

    #[test]
    fn the_present_period_and_the_one_before_are_shown() {
        let mut recent = Recent::new(5);
        recent.record(5, 100, 3);
        recent.record(6, 200, 1);
        recent.record(5, 200, 1);
        assert_eq!(
            shown(&recent, 6).map(|it| (it.count, it.p50_us, it.max_us)),
            Some((5, 100, 200))
        );
        assert_eq!(shown(&recent, 7).map(|it| it.count), Some(2), "since a while nothing came");
        assert_eq!(shown(&recent, 8), None);
        recent.record(9, 0, 1);
        assert_eq!(shown(&recent, 9).map(|it| (it.count, it.max_us)), Some((1, 0)));
    }

    #[test]
    fn a_latency_over_the_bound_counts_as_the_bound_and_memory_is_what_the_constant_says() {
        let mut recent = Recent::new(0);
        recent.record(0, u64::MAX, u64::MAX);
        let shown = shown(&recent, 0).expect("one");
        assert!(shown.max_us.abs_diff(LATENCY_MAX_US) < LATENCY_MAX_US / 100, "{shown:?}");
        assert!(recent.now.distinct_values() * size_of::<u32>() <= 13_400);
        let mut short = Recent::new(0);
        short.record(0, 100_000, 1);
        assert!(short.now.distinct_values() * size_of::<u32>() <= 6_200);
    }

    proptest! {
        /// Whatever comes, in whatever order of hops, the percentiles are those of all values to a hundredth.
        #[test]
        fn percentiles_are_those_of_the_values_to_two_digits(
            mut values in prop::collection::vec(0..10_000_000_u64, 1..300),
        ) {
            let mut recents = Recents::default();
            values.iter().for_each(|us| recents.record(Hop::Routed, 0, *us, 1));
            let mut hops = Copied::default();
            recents.add_to(0, &mut hops);
            let latencies = HopLatencies(hops);
            prop_assert_eq!(latencies.percentiles(Hop::Device), None);
            let found = latencies.percentiles(Hop::Routed).expect("some");
            values.sort_unstable();
            let count = values.len();
            prop_assert_eq!(found.count as usize, count);
            for (per_mille, found) in
                [(500, found.p50_us), (900, found.p90_us), (990, found.p99_us), (999, found.p999_us), (1000, found.max_us)]
            {
                let exact = values[(count * per_mille).div_ceil(1000) - 1];
                prop_assert!(found.abs_diff(exact) <= exact / 100 + 1, "{per_mille}: {found}, {exact}");
            }
        }
    }
}
