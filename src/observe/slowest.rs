//! The slowest records of the last minutes, by the time from receipt to delivery, each with its hops and its MQTT
//! topic.
//!
//! What is not among them costs one comparison, with [`Slowest::threshold_us`], made once for all records that came and
//! went together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::timing_record::AckTime;

/// How many are kept of each period.
pub const SLOWEST_MAX: usize = 20;
/// The slowest of the present period and of the one before are shown.
pub const SLOWEST_PERIOD: Duration = Duration::from_secs(300);
/// How much of an MQTT topic is kept, in bytes.
const MQTT_TOPIC_MAX: usize = 1024;

/// A record that was slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slow {
    /// Microseconds from receipt to the delivery report.
    pub total_us: u64,
    /// Its MQTT topic, as text; a long one is cut. It comes from strangers.
    pub mqtt_topic: String,
    /// The connection that brought it.
    pub connection: Arc<str>,
    /// The name of its route.
    pub route: Arc<str>,
    /// Its Kafka topic.
    pub kafka_topic: Arc<str>,
    /// Its partition.
    pub kafka_partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
    /// When it was received, in microseconds since the Unix epoch.
    pub received_us: u64,
    /// Microseconds from the device's own time to delivery, if it is known; negative where that clock is ahead.
    pub device_us: Option<i64>,
    /// Microseconds from receipt until its read was routed.
    pub routed_us: u32,
    /// Microseconds from receipt to librdkafka.
    pub queue_us: u64,
    /// Microseconds from there to the delivery report.
    pub kafka_us: u64,
    /// From there to the PUBACK.
    pub ack: AckTime,
}

/// As much of an MQTT topic as [`Slow::mqtt_topic`] keeps.
pub fn shown_mqtt_topic(mqtt_topic: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&mqtt_topic[..mqtt_topic.len().min(MQTT_TOPIC_MAX)]);
    match mqtt_topic.len() > MQTT_TOPIC_MAX {
        true => format!("{shown}..."),
        false => shown.into_owned(),
    }
}

/// See the module.
#[derive(Debug)]
pub struct Slowest {
    started: Instant,
    /// From how many microseconds on a record is among the slowest of `period`.
    from_us: AtomicU64,
    period: AtomicU64,
    kept: Mutex<Kept>,
}

/// Of the present period and the one before, the slowest first.
#[derive(Debug, Default)]
struct Kept {
    now: Vec<Slow>,
    before: Vec<Slow>,
}

impl Slowest {
    /// Periods are counted from `started`.
    pub(super) fn new(started: Instant) -> Self {
        let (from_us, period, kept) = Default::default();
        Self { started, from_us, period, kept }
    }

    /// From how many microseconds on a record that is delivered at `at` is among the slowest.
    pub fn threshold_us(&self, at: Instant) -> u64 {
        self.turn(at);
        self.from_us.load(Relaxed)
    }

    /// Keeps one, if it is still among the slowest.
    pub fn offer(&self, slow: Slow) {
        let mut kept = self.kept.lock();
        let now = &mut kept.now;
        let at = now.partition_point(|other| other.total_us >= slow.total_us);
        if at >= SLOWEST_MAX {
            return;
        }
        now.insert(at, slow);
        now.truncate(SLOWEST_MAX);
        if let (SLOWEST_MAX, Some(last)) = (now.len(), now.last()) {
            self.from_us.store(last.total_us.saturating_add(1), Relaxed);
        }
    }

    /// The slowest of the present period and of the one before, the slowest first; at most [`SLOWEST_MAX`].
    pub fn slowest(&self, now: Instant) -> Vec<Slow> {
        self.turn(now);
        let kept = self.kept.lock();
        let mut all: Vec<_> = kept.now.iter().chain(&kept.before).cloned().collect();
        drop(kept);
        all.sort_by_key(|slow| std::cmp::Reverse(slow.total_us));
        all.truncate(SLOWEST_MAX);
        all
    }

    /// Begins a new period if it is time.
    fn turn(&self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.started).as_secs();
        let period = elapsed / SLOWEST_PERIOD.as_secs();
        if period <= self.period.load(Relaxed) {
            return;
        }
        let mut kept = self.kept.lock();
        let last = self.period.load(Relaxed);
        if period <= last {
            return; // Another thread was faster.
        }
        self.period.store(period, Relaxed);
        kept.before = std::mem::take(&mut kept.now);
        if period > last + 1 {
            kept.before.clear();
        }
        self.from_us.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slow(total_us: u64) -> Slow {
        Slow {
            total_us,
            mqtt_topic: "a".to_owned(),
            connection: "mqtt".into(),
            route: "r".into(),
            kafka_topic: "k".into(),
            kafka_partition: 0,
            kafka_offset: 0,
            received_us: 0,
            device_us: None,
            routed_us: 0,
            queue_us: 0,
            kafka_us: total_us,
            ack: AckTime::After(0),
        }
    }

    fn totals(slowest: &Slowest, at: Instant) -> Vec<u64> {
        slowest.slowest(at).iter().map(|slow| slow.total_us).collect()
    }

    #[test]
    fn a_period_and_the_one_before_are_shown_and_the_threshold_begins_anew() {
        let started = Instant::now();
        let at = |periods| started + periods * SLOWEST_PERIOD;
        let slowest = Slowest::new(started);
        (1..=30).for_each(|us| slowest.offer(slow(us)));
        assert_eq!(slowest.threshold_us(at(0)), 12, "11 is kept, and another 11 is not slower");
        assert_eq!(totals(&slowest, at(0)), (11..=30).rev().collect::<Vec<_>>());
        assert_eq!(slowest.threshold_us(at(1)), 0);
        slowest.offer(slow(25));
        let both = totals(&slowest, at(1));
        assert_eq!((both.len(), &both[4..7]), (SLOWEST_MAX, &[26, 25, 25][..]));
        assert_eq!(totals(&slowest, at(2)), [25]);
        assert_eq!(slowest.threshold_us(at(1)), 0, "an earlier moment, of another thread");
        assert_eq!(totals(&slowest, at(9)), [0; 0], "long ago");
    }

    #[test]
    fn a_long_mqtt_topic_is_cut() {
        assert_eq!(shown_mqtt_topic(b"a/\xff"), "a/\u{fffd}");
        assert_eq!(shown_mqtt_topic(&[b'x'; 70_000]).len(), MQTT_TOPIC_MAX + 3);
    }

    proptest! {
        /// Who compares with the threshold first, and offers only what reaches it, loses none of the slowest.
        #[test]
        fn the_threshold_lets_every_slowest_one_through(
            totals in prop::collection::vec(0..100_u64, 0..200),
        ) {
            let at = Instant::now();
            let slowest = Slowest::new(at);
            for total in &totals {
                if *total >= slowest.threshold_us(at) {
                    slowest.offer(slow(*total));
                }
            }
            let mut expected = totals;
            expected.sort_unstable_by_key(|total| std::cmp::Reverse(*total));
            expected.truncate(SLOWEST_MAX);
            prop_assert_eq!(super::tests::totals(&slowest, at), expected);
        }
    }
}
