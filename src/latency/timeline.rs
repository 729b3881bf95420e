//! Latencies over time, in a bounded number of bins, whose width follows from how long the log is. Pure.

use super::hop::Makeup;
use super::record::Timing;
use super::spread::Spread;

/// At most so many bins.
const BINS_MAX: i64 = 200;
/// Widths in microseconds; each is a multiple of the one before. Behind them, they double.
const WIDTHS_US: [i64; 13] = [
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    1_800_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];

/// See the module. Bins are those of the receipt.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    width_us: i64,
    /// Ascending, by the beginning divided by the width; none is empty.
    bins: Vec<(i64, Bin)>,
    /// To which the last record was added.
    last: usize,
}

/// The records that were received in one time.
#[derive(Debug, Clone)]
pub(super) struct Bin {
    /// From receipt to delivery, to two digits.
    pub(super) total: Spread<u32>,
    /// What it is made up of.
    pub(super) makeup: Makeup,
}

impl Bin {
    fn new() -> Self {
        Self { total: Spread::new(2), makeup: Makeup::default() }
    }

    fn merge(&mut self, other: &Self) {
        self.total.merge(&other.total);
        self.makeup.merge(&other.makeup);
    }
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { width_us: WIDTHS_US[0], bins: Vec::new(), last: 0 }
    }

    #[inline]
    pub(super) fn add(&mut self, timing: &Timing<'_>) {
        let at = timing.received_us.div_euclid(self.width_us);
        if self.bins.get(self.last).is_none_or(|(begin, _)| *begin != at) {
            self.last = self.place(at);
            self.fit();
        }
        let (_, bin) = &mut self.bins[self.last];
        bin.total.record(timing.total_us);
        bin.makeup.add(timing);
    }

    pub(super) fn merge(&mut self, mut other: Self) {
        while self.width_us < other.width_us {
            self.widen();
        }
        while other.width_us < self.width_us {
            other.widen();
        }
        for (at, bin) in other.bins {
            let place = self.place(at);
            self.bins[place].1.merge(&bin);
        }
        self.fit();
    }

    /// Where the bin is that begins there; it is made if there is none.
    fn place(&mut self, at: i64) -> usize {
        self.bins.binary_search_by_key(&at, |(begin, _)| *begin).unwrap_or_else(|place| {
            self.bins.insert(place, (at, Bin::new()));
            place
        })
    }

    /// The width of a bin, in microseconds.
    pub(super) fn width_us(&self) -> i64 {
        self.width_us
    }

    /// Those that are not empty, ascending, with their beginning in microseconds since the Unix epoch.
    pub(super) fn bins(&self) -> impl Iterator<Item = (i64, &Bin)> {
        self.bins.iter().map(|(at, bin)| (at.saturating_mul(self.width_us), bin))
    }

    /// The times between the bins count, too: they are drawn.
    fn fit(&mut self) {
        while let (Some((first, _)), Some((last, _))) = (self.bins.first(), self.bins.last())
            && last - first >= BINS_MAX
        {
            self.widen();
        }
    }

    fn widen(&mut self) {
        let wider = WIDTHS_US.into_iter().find(|width| *width > self.width_us);
        let wider = wider.unwrap_or(self.width_us * 2);
        let times = wider / self.width_us;
        let mut last = 0;
        let mut bins: Vec<(i64, Bin)> = Vec::with_capacity(self.bins.len());
        for (index, (at, bin)) in std::mem::take(&mut self.bins).into_iter().enumerate() {
            let at = at.div_euclid(times);
            match bins.last_mut() {
                Some((begin, before)) if *begin == at => before.merge(&bin),
                _ => bins.push((at, bin)),
            }
            if index == self.last {
                last = bins.len() - 1;
            }
        }
        (self.bins, self.last, self.width_us) = (bins, last, wider);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(received_us: i64) -> Timing<'static> {
        Timing { received_us, total_us: 7, kafka_us: 7, ..Timing::default() }
    }

    #[test]
    fn each_width_is_a_multiple_of_the_one_before() {
        assert!(WIDTHS_US.windows(2).all(|pair| pair[1] % pair[0] == 0));
    }

    #[test]
    fn an_hour_has_bins_of_half_a_minute() {
        let mut timeline = Timeline::new();
        (0..3600).for_each(|second| timeline.add(&at(second * 1_000_000)));
        assert_eq!(timeline.width_us(), 30_000_000);
        let bins: Vec<_> = timeline.bins().collect();
        assert_eq!(bins.len(), 120);
        assert_eq!((bins[1].0, bins[1].1.total.count()), (30_000_000, 30));
    }

    proptest! {
        /// Whatever moments come, in whatever order, in however many parts.
        #[test]
        fn no_record_is_lost_and_bins_are_bounded(
            moments in prop::collection::vec((any::<bool>(), prop_oneof![
                0..10_000_000_000_i64, any::<i64>(), Just(i64::MAX), Just(i64::MIN)]), 1..100),
        ) {
            let [mut one, mut other] = [Timeline::new(), Timeline::new()];
            for (first, moment) in &moments {
                if *first { &mut one } else { &mut other }.add(&at(*moment));
            }
            one.merge(other);
            let count: u64 = one.bins().map(|(_, bin)| bin.makeup.count).sum();
            prop_assert_eq!(count as usize, moments.len());
            let begins: Vec<_> = one.bins().map(|(begin, _)| begin).collect();
            prop_assert!(begins.len() <= 200 && begins.is_sorted());
        }
    }
}
