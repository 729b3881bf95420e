//! Whether a broker throws us out again and again without saying why. Pure.

use std::time::Duration;

/// A connection that lived this long was a good one.
pub(super) const STABLE_AFTER: Duration = Duration::from_secs(5);
/// This many connections in a row that the broker accepted and closed without a DISCONNECT before
/// [`STABLE_AFTER`] are no accident.
const SHORT_MAX: u32 = 3;

/// Counts the connections that a broker accepted and soon closed without a DISCONNECT. In 3.1.1 another
/// client with our id shows like this, and in both versions some brokers answer so to what they forbid.
#[derive(Debug)]
pub(super) struct Evictions {
    short: u32,
    forget_after: Duration,
}

impl Evictions {
    /// `pause_max` is the longest pause between two connections. A rival that pauses as long leaves us
    /// alone for that time, which proves nothing.
    pub(super) fn new(pause_max: Duration) -> Self {
        Self { short: 0, forget_after: pause_max + STABLE_AFTER }
    }

    /// The broker closed a connection without a DISCONNECT, `lived` after it was opened. Returns whether
    /// it does so regularly.
    pub(super) fn closed(&mut self, lived: Duration) -> bool {
        if lived < STABLE_AFTER {
            self.short = self.short.saturating_add(1);
        } else if lived >= self.forget_after {
            self.short = 0;
        }
        self.short >= SHORT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[test]
    fn three_short_connections_in_a_row_are_a_habit_and_two_are_not() {
        let mut evictions = Evictions::new(Duration::from_secs(30));
        assert!(!evictions.closed(SHORT) && !evictions.closed(SHORT));
        assert!(!evictions.closed(Duration::from_secs(60)), "a long one ends the row");
        assert!(!evictions.closed(SHORT) && !evictions.closed(SHORT) && evictions.closed(SHORT));
    }

    #[test]
    fn a_rival_that_pauses_is_not_gone() {
        let mut evictions = Evictions::new(Duration::from_secs(30));
        for _ in 0..3 {
            evictions.closed(SHORT);
        }
        assert!(evictions.closed(Duration::from_secs(30)), "it waited as long as it may");
        assert!(!evictions.closed(Duration::from_secs(35)), "nobody came for longer than that");
    }

    /// Two bridges that throw each other out as soon as they are connected: the pauses are drawn by
    /// both, and what is counted are the connections of a quarter of an hour.
    #[test]
    fn two_that_fight_connect_less_and_less() {
        use crate::backoff::Backoff;
        struct Rival(Evictions, Backoff, Duration);
        let pause_max = Duration::from_secs(30);
        let rival = |at| {
            let backoff = Backoff::new(Duration::from_millis(100), pause_max);
            Rival(Evictions::new(pause_max), backoff, at)
        };
        let mut rivals = [rival(Duration::ZERO), rival(Duration::from_millis(10))];
        let (mut now, mut since, mut holder, mut connects) =
            (Duration::ZERO, Duration::ZERO, None, 0);
        while now < Duration::from_secs(900) {
            let next = usize::from(rivals[1].2 < rivals[0].2);
            now = rivals[next].2;
            connects += 1;
            if let Some(other) = holder.replace(next).filter(|other| *other != next) {
                let lived = now - since;
                let Rival(evictions, backoff, at) = &mut rivals[other];
                if lived >= STABLE_AFTER {
                    backoff.reset();
                }
                let pause =
                    if evictions.closed(lived) { backoff.longest(1.0) } else { backoff.pause(1.0) };
                *at = now + pause;
            }
            rivals[next].2 = Duration::MAX;
            since = now;
        }
        assert!(connects < 6 + 2 * 900 / 15, "{connects}");
    }
}
