//! Limits how often a repeated warning is logged.

use std::time::{Duration, Instant};

/// Lets one record pass in each interval and counts the others.
#[derive(Debug)]
pub struct LogLimiter {
    interval: Duration,
    open_at: Option<Instant>,
    suppressed: u64,
}

impl LogLimiter {
    /// One record each `interval`.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, open_at: None, suppressed: 0 }
    }

    /// `Some(n)` if a record may be logged at `now`, n having been suppressed since the last one.
    pub fn pass(&mut self, now: Instant) -> Option<u64> {
        if self.open_at.is_some_and(|open_at| now < open_at) {
            self.suppressed += 1;
            return None;
        }
        self.open_at = Some(now + self.interval);
        Some(std::mem::take(&mut self.suppressed))
    }

    /// The cause is over: the next record passes at once.
    pub fn reset(&mut self) {
        self.open_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_an_interval_passes_and_says_how_many_did_not() {
        let mut limiter = LogLimiter::every(Duration::from_secs(10));
        let start = Instant::now();
        assert_eq!(limiter.pass(start), Some(0));
        assert_eq!(limiter.pass(start + Duration::from_secs(1)), None);
        assert_eq!(limiter.pass(start + Duration::from_secs(9)), None);
        assert_eq!(limiter.pass(start + Duration::from_secs(10)), Some(2));
        limiter.reset();
        assert_eq!(limiter.pass(start + Duration::from_secs(11)), Some(0));
    }
}
