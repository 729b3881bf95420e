//! How fast counters grew over the last seconds. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

/// The longest time that rates are over.
pub const OVER: Duration = Duration::from_secs(10);
/// How many samples are kept: one a second, and a few more if they come early.
const SAMPLES_MAX: usize = 16;

/// Counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages received.
    pub received: u64,
    /// Messages that had their verdict: delivered, or in the dead letter.
    pub settled: u64,
    /// Payloads received, in bytes.
    pub received_bytes: u64,
    /// Values delivered, in bytes.
    pub delivered_bytes: u64,
}

/// Rates, over at most [`OVER`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rates {
    /// The time that they are over, in seconds; 0 before the first two samples, and then all rates are 0.
    pub over_s: f64,
    /// Messages received, each second.
    pub received_per_s: f64,
    /// Messages delivered or dead-lettered, each second.
    pub settled_per_s: f64,
    /// Payload bytes received, each second.
    pub received_bytes_per_s: f64,
    /// Bytes of values delivered, each second.
    pub delivered_bytes_per_s: f64,
}

/// The samples of the last seconds.
#[derive(Debug, Default)]
pub(super) struct Samples(VecDeque<(Instant, Counters)>);

impl Samples {
    /// The counters are at these values now.
    pub(super) fn add(&mut self, now: Instant, counters: Counters) {
        self.0.push_back((now, counters));
        // The one that is older than the time stays: the others are less than it.
        let is_old = |at: Instant| now.saturating_duration_since(at) >= OVER;
        while self.0.len() > SAMPLES_MAX || self.0.get(1).is_some_and(|(at, _)| is_old(*at)) {
            self.0.pop_front();
        }
    }

    /// From the oldest sample to the last one.
    pub(super) fn rates(&self) -> Rates {
        let (Some((from, before)), Some((to, after))) = (self.0.front(), self.0.back()) else {
            return Rates::default();
        };
        let over_s = to.saturating_duration_since(*from).as_secs_f64();
        if over_s <= 0.0 {
            return Rates::default();
        }
        // A sum over connections never falls. The conversion loses less than a rate shows.
        let rate = |of: fn(&Counters) -> u64| of(after).saturating_sub(of(before)) as f64 / over_s;
        Rates {
            over_s,
            received_per_s: rate(|it| it.received),
            settled_per_s: rate(|it| it.settled),
            received_bytes_per_s: rate(|it| it.received_bytes),
            delivered_bytes_per_s: rate(|it| it.delivered_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_last_seconds() {
        let start = Instant::now();
        let mut samples = Samples::default();
        assert_eq!(samples.rates(), Rates::default());
        for second in 0..=30_u64 {
            // Ten a second at first, and a hundred a second in the last ten seconds.
            let received = if second <= 20 { 10 * second } else { 200 + 100 * (second - 20) };
            let counters =
                Counters { received, received_bytes: 2 * received, ..Counters::default() };
            samples.add(start + Duration::from_secs(second), counters);
        }
        let rates = samples.rates();
        assert_eq!((rates.over_s, rates.received_per_s), (10.0, 100.0));
        assert_eq!((rates.received_bytes_per_s, rates.settled_per_s), (200.0, 0.0));
    }

    #[test]
    fn one_sample_or_two_at_once_are_no_time_to_divide_by() {
        let (start, mut samples) = (Instant::now(), Samples::default());
        for _ in 0..100 {
            samples.add(start, Counters { received: 5, ..Counters::default() });
            assert_eq!(samples.rates(), Rates::default());
        }
        assert!(samples.0.len() <= SAMPLES_MAX);
    }
}
