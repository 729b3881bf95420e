//! Limits how often a repeated warning is logged.

use std::time::{Duration, Instant};

use super::events::Event;

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

/// A [`LogLimiter`] for each event: one that repeats silences no other.
#[derive(Debug)]
pub struct LogLimiters {
    interval: Duration,
    /// Of the events that were logged: few of the table, which bounds them.
    by_event: Vec<(Event, LogLimiter)>,
}

impl LogLimiters {
    /// One record of each event each `interval`.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, by_event: Vec::new() }
    }

    /// `Some(n)` if a record of this event may be logged at `now`, n of them having been suppressed since the
    /// last one.
    pub fn pass(&mut self, event: Event, now: Instant) -> Option<u64> {
        let known = self.by_event.iter().position(|(known, _)| *known == event);
        let at = known.unwrap_or_else(|| {
            self.by_event.push((event, LogLimiter::every(self.interval)));
            self.by_event.len() - 1
        });
        self.by_event[at].1.pass(now)
    }

    /// The cause of this event is over: its next record passes at once.
    pub fn reset(&mut self, event: Event) {
        if let Some((_, limiter)) = self.by_event.iter_mut().find(|(known, _)| *known == event) {
            limiter.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::events;

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

    #[test]
    fn an_event_in_its_pause_silences_no_other() {
        let mut limiters = LogLimiters::every(Duration::from_secs(10));
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        assert_eq!(limiters.pass(events::RECORD_REFUSED, start), Some(0));
        assert_eq!(limiters.pass(events::RECORD_REFUSED, after(1)), None);
        assert_eq!(limiters.pass(events::KAFKA_CLIENT_ERROR, after(2)), Some(0));
        limiters.reset(events::KAFKA_CLIENT_ERROR);
        limiters.reset(events::NOT_READY);
        assert_eq!(limiters.pass(events::RECORD_REFUSED, after(3)), None, "another was reset");
        assert_eq!(limiters.pass(events::KAFKA_CLIENT_ERROR, after(3)), Some(0));
        assert_eq!(limiters.pass(events::RECORD_REFUSED, after(10)), Some(2));
    }
}
