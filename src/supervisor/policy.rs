//! When a failed actor is restarted, and when the bridge gives up. Pure: no clock, no randomness.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::config::SupervisorConfig;

/// A restart counts as a success after this time at the earliest.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Restart the actor after this pause.
    RestartAfter(Duration),
    /// The budget is spent.
    GiveUp,
}

/// The failures of one actor.
///
/// The budget counts *consecutive* failures: a count within a time window would never be reached once the
/// backoff makes restarts rare. The series ends when the actor has proved that it works: since its restart
/// [`HEALTHY_AFTER`] has passed and a message was settled.
#[derive(Debug, Clone)]
pub struct RestartPolicy {
    backoff: Backoff,
    failures_max: u32,
    failures: u32,
    /// When it was last restarted, and what was settled until then.
    restarted: Option<(Instant, u64)>,
}

impl RestartPolicy {
    /// No failures yet.
    pub fn new(config: &SupervisorConfig) -> Self {
        Self {
            backoff: Backoff::new(config.backoff_min, config.backoff_max.max(config.backoff_min)),
            failures_max: config.failures_max,
            failures: 0,
            restarted: None,
        }
    }

    /// The actor failed at `now`; until then `settled` messages were delivered or dead-lettered.
    /// `jitter` is a random number from 0 to 1, which shortens the pause ([`Backoff::pause`]).
    pub fn failed(&mut self, now: Instant, settled: u64, jitter: f64) -> Decision {
        if self.proved_itself(now, settled) {
            self.failures = 0;
            self.backoff.reset();
        }
        self.restarted = None;
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.failures_max {
            return Decision::GiveUp;
        }
        Decision::RestartAfter(self.backoff.pause(jitter))
    }

    /// The actor was restarted at `now`; until then `settled` messages were delivered or
    /// dead-lettered.
    pub fn restarted(&mut self, now: Instant, settled: u64) {
        self.restarted = Some((now, settled));
    }

    /// Consecutive failures, the last one included.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    fn proved_itself(&self, now: Instant, settled: u64) -> bool {
        self.restarted.is_some_and(|(since, settled_then)| {
            now.saturating_duration_since(since) >= HEALTHY_AFTER && settled > settled_then
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn config(failures_max: u32) -> SupervisorConfig {
        SupervisorConfig {
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            failures_max,
            hang_after: Duration::from_secs(30),
        }
    }

    #[test]
    fn the_pause_doubles_up_to_its_bound_and_then_the_budget_is_spent() {
        let mut policy = RestartPolicy::new(&config(10));
        let now = Instant::now();
        let pauses: Vec<_> = (0..10).map(|_| policy.failed(now, 0, 0.0)).collect();
        let ms = |ms| Decision::RestartAfter(Duration::from_millis(ms));
        let expected = [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000].map(ms).into_iter();
        assert_eq!(pauses, expected.chain([Decision::GiveUp]).collect::<Vec<_>>());
    }

    #[test]
    fn only_a_settled_message_and_a_minute_together_end_a_series() {
        for (after, settled, failures) in
            [(59, 1, 2), (60, 0, 2), (3600, 0, 2), (60, 1, 1), (3600, 9, 1)]
        {
            let mut policy = RestartPolicy::new(&config(8));
            let start = Instant::now();
            policy.failed(start, 5, 0.0);
            policy.restarted(start, 5);
            policy.failed(start + Duration::from_secs(after), 5 + settled, 0.0);
            assert_eq!(policy.failures(), failures, "after {after} s with {settled} settled");
        }
    }

    #[test]
    fn what_was_settled_while_the_actor_was_down_proves_nothing() {
        let mut policy = RestartPolicy::new(&config(8));
        let start = Instant::now();
        policy.failed(start, 5, 0.0);
        policy.restarted(start + Duration::from_secs(10), 900);
        policy.failed(start + Duration::from_secs(100), 900, 0.0);
        assert_eq!(policy.failures(), 2);
    }

    proptest! {
        #[test]
        fn pauses_keep_their_bounds_and_the_budget_is_never_exceeded(
            failures_max in 1u32..20,
            min_ms in 1u64..5_000,
            max_ms in 1u64..60_000,
            // For each failure: seconds until it, messages settled meanwhile, jitter.
            history in prop::collection::vec((0u64..200, 0u64..3, 0.0f64..=1.0), 1..200),
        ) {
            let mut policy = RestartPolicy::new(&SupervisorConfig {
                backoff_min: Duration::from_millis(min_ms),
                backoff_max: Duration::from_millis(max_ms),
                ..config(failures_max)
            });
            let bound = Duration::from_millis(max_ms.max(min_ms));
            let (mut now, mut settled, mut series) = (Instant::now(), 0, 0u32);
            for (index, (seconds, messages, jitter)) in history.into_iter().enumerate() {
                now += Duration::from_secs(seconds);
                settled += messages;
                // The model: all restarts are immediate, so each gap is the time since the last one.
                let healthy = index > 0 && seconds >= 60 && messages > 0;
                series = if healthy { 1 } else { series + 1 };
                match policy.failed(now, settled, jitter) {
                    Decision::GiveUp => {
                        prop_assert_eq!(series, failures_max);
                        break;
                    }
                    Decision::RestartAfter(pause) => {
                        prop_assert!(series < failures_max);
                        let whole = Duration::from_millis(min_ms)
                            .saturating_mul(1 << (series - 1).min(31)).min(bound);
                        prop_assert!(pause <= whole && pause * 2 >= whole - Duration::from_nanos(2));
                        policy.restarted(now, settled);
                    }
                }
            }
        }
    }
}
