//! How a latency is spread: an HDR histogram that grows with what comes, and the exact maximum. Pure.

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

/// A longer latency counts as this one, in microseconds: twelve days.
pub(super) const LONGEST_US: u64 = 1 << 40;

/// Latencies of one hop. `C` bounds how often one of them can be counted: more often counts as its greatest value.
#[derive(Debug, Clone)]
pub(super) struct Spread<C: Counter> {
    histogram: Histogram<C>,
    max_us: u64,
}

impl<C: Counter> Spread<C> {
    /// Exact to so many significant digits.
    pub(super) fn new(digits: u8) -> Self {
        let histogram = Histogram::new(digits).expect("at most five digits are legal");
        Self { histogram, max_us: 0 }
    }

    #[inline]
    pub(super) fn record(&mut self, us: u64) {
        // It grows as far as it has to.
        let _ = self.histogram.record(us.min(LONGEST_US));
        self.max_us = self.max_us.max(us);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let _ = self.histogram.add(&other.histogram);
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(super) fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// So great a part, 0 to 1, took no longer, in microseconds.
    pub(super) fn at(&self, part: f64) -> u64 {
        self.histogram.value_at_quantile(part).min(self.max_us)
    }

    /// Nothing of nothing.
    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        (self.count() > 0).then(|| Percentiles {
            count: self.count(),
            p50_us: self.at(0.5),
            p90_us: self.at(0.9),
            p99_us: self.at(0.99),
            p999_us: self.at(0.999),
            max_us: self.max_us,
        })
    }

    /// Each value that was recorded, ascending, with how often.
    pub(super) fn values(&self) -> impl Iterator<Item = (u64, u64)> {
        self.histogram
            .iter_recorded()
            .map(|value| (value.value_iterated_to(), value.count_since_last_iteration()))
    }
}

/// What a hop took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Percentiles {
    /// Of how many records.
    pub(super) count: u64,
    /// Half of them took no longer.
    pub(super) p50_us: u64,
    /// 90 % took no longer.
    pub(super) p90_us: u64,
    /// 99 % took no longer.
    pub(super) p99_us: u64,
    /// 99.9 % took no longer.
    pub(super) p999_us: u64,
    /// None took longer.
    pub(super) max_us: u64,
}

impl Percentiles {
    /// By name, in the order of columns.
    pub(super) fn columns(&self) -> [(&'static str, u64); 5] {
        let Self { p50_us, p90_us, p99_us, p999_us, max_us, .. } = *self;
        [("p50", p50_us), ("p90", p90_us), ("p99", p99_us), ("p99.9", p999_us), ("max", max_us)]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As defined, by sorting.
    pub(in super::super) fn exact(values: &mut [u64], per_mille: usize) -> u64 {
        values.sort_unstable();
        values[(values.len() * per_mille).div_ceil(1000).max(1) - 1]
    }

    #[test]
    fn a_latency_over_the_bound_counts_as_the_bound_and_the_greatest_is_told_as_it_is() {
        let mut spread = Spread::<u64>::new(3);
        assert_eq!(spread.percentiles(), None);
        spread.record(u64::MAX);
        let found = spread.percentiles().expect("one");
        assert!(found.p50_us.abs_diff(LONGEST_US) < LONGEST_US / 1000, "{found:?}");
        assert_eq!(found.max_us, u64::MAX);
        // What a histogram of two digits takes at most; docs/latency.md says how much all of them take.
        let mut coarse = Spread::<u32>::new(2);
        coarse.record(u64::MAX);
        assert!(coarse.histogram.distinct_values() * size_of::<u32>() <= 18_000);
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_values_to_the_digits_however_they_are_merged(
            values in prop::collection::vec((any::<bool>(), 0..10_000_000_u64), 1..300),
        ) {
            for (digits, precision) in [(2, 100), (3, 1000)] {
                let [mut one, mut other] = [(); 2].map(|()| Spread::<u64>::new(digits));
                values.iter().for_each(|(first, us)| {
                    if *first { &mut one } else { &mut other }.record(*us);
                });
                one.merge(&other);
                let found = one.percentiles().expect("some");
                let mut sorted: Vec<_> = values.iter().map(|(_, us)| *us).collect();
                prop_assert_eq!(found.count as usize, sorted.len());
                for ((_, us), per_mille) in found.columns().into_iter().zip([500, 900, 990, 999, 1000]) {
                    let exact = exact(&mut sorted, per_mille);
                    prop_assert!(us.abs_diff(exact) <= exact / precision, "{per_mille}: {us}, {exact}");
                }
                prop_assert_eq!(found.max_us, *sorted.last().expect("some"));
            }
        }
    }
}
