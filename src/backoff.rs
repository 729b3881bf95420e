//! Pauses between attempts: doubling, bounded, with jitter. Pure.

use std::time::Duration;

/// The pauses of one sequence of failures.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// From `min`, doubling up to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// The next pause. `jitter` in 0..1 takes up to half of it away, so that many that failed
    /// together do not come back together.
    pub fn pause(&mut self, jitter: f64) -> Duration {
        let pause = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        jittered(pause, jitter)
    }

    /// The longest pause there is, now and until [`Backoff::reset`].
    pub fn longest(&mut self, jitter: f64) -> Duration {
        self.next = self.max;
        jittered(self.max, jitter)
    }

    /// The cause is over: begin again with the shortest.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

fn jittered(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let pauses: Vec<_> = (0..4).map(|_| backoff.pause(0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.pause(0.0).as_millis(), 100);
        assert_eq!(backoff.longest(0.0).as_millis(), 350);
        assert_eq!(backoff.pause(0.0).as_millis(), 350);
    }

    proptest! {
        #[test]
        fn jitter_takes_at_most_half_away(jitter in 0.0..1.0_f64, failures in 0..40_usize) {
            let max = Duration::from_secs(10);
            let mut backoff = Backoff::new(Duration::from_millis(100), max);
            for _ in 0..failures {
                backoff.pause(jitter);
            }
            let longest = backoff.clone().pause(0.0);
            let pause = backoff.pause(jitter);
            prop_assert!(pause <= longest && pause >= longest / 2 && longest <= max);
        }
    }
}
