//! The parts of a record's way that are told apart. Pure.

use super::record::Timing;

/// A hop, or all of them between receipt and delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// From the device's own time to delivery; a clock that is ahead counts as 0.
    Device,
    /// From receipt until its read was routed.
    Routed,
    /// From receipt to librdkafka; [`Hop::Routed`] is a part of it.
    Produced,
    /// From there to the delivery report.
    Delivered,
    /// From receipt to the delivery report.
    Total,
    /// From the delivery report to the PUBACK.
    Acknowledged,
}

impl Hop {
    /// All of them, in the order of the way.
    pub(super) const ALL: [Self; 6] = [
        Self::Device,
        Self::Routed,
        Self::Produced,
        Self::Delivered,
        Self::Total,
        Self::Acknowledged,
    ];

    /// As in `/status.json` and in metrics; `total` is not there.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Routed => "routed",
            Self::Produced => "produced",
            Self::Delivered => "delivered",
            Self::Total => "total",
            Self::Acknowledged => "acknowledged",
        }
    }

    /// What it is, in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Device => "the device's time to delivery",
            Self::Routed => "receipt to routed",
            Self::Produced => "receipt to librdkafka",
            Self::Delivered => "Kafka's acknowledgement",
            Self::Total => "receipt to delivery",
            Self::Acknowledged => "delivery to PUBACK",
        }
    }

    /// What it took a record, in microseconds, if the record says so.
    #[inline]
    pub(super) fn of(self, timing: &Timing<'_>) -> Option<u64> {
        match self {
            Self::Device => timing.device_us.map(|us| u64::try_from(us).unwrap_or(0)),
            Self::Routed => timing.routed_us,
            Self::Produced => Some(timing.queue_us),
            Self::Delivered => Some(timing.kafka_us),
            Self::Total => Some(timing.total_us),
            Self::Acknowledged => timing.ack_us,
        }
    }
}

/// What the time of records is made up of, one part behind the other, summed up over them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Makeup {
    /// Of how many records.
    pub(super) count: u64,
    /// In microseconds, by [`Part`].
    pub(super) sums_us: [u64; Part::ALL.len()],
}

/// A part of the time from receipt to the PUBACK; no part contains another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// From receipt until its read was routed; 0 where an older record does not say it.
    Routing,
    /// From there to librdkafka.
    Waiting,
    /// From there to the delivery report.
    Kafka,
    /// From there to the PUBACK; 0 where there is none.
    Puback,
}

impl Part {
    /// All of them, in the order of the way.
    pub(super) const ALL: [Self; 4] = [Self::Routing, Self::Waiting, Self::Kafka, Self::Puback];
    /// Those up to the delivery, which make the total.
    pub(super) const OF_TOTAL: [Self; 3] = [Self::Routing, Self::Waiting, Self::Kafka];

    /// In words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Routing => "routing",
            Self::Waiting => "waiting for librdkafka",
            Self::Kafka => "Kafka's acknowledgement",
            Self::Puback => "waiting for the PUBACK",
        }
    }

    /// What to look at if it is long.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::Routing => "costly routes (JSON fields, decompress, Sparkplug), or CPU is short",
            Self::Waiting => {
                "Kafka is behind, a partition is held, or the producer is being replaced"
            }
            Self::Kafka => "linger.ms, the network, replication (acks=all), Kafka's disk",
            Self::Puback => "an older message has no verdict, or the MQTT broker does not read",
        }
    }
}

impl Makeup {
    #[inline]
    pub(super) fn add(&mut self, timing: &Timing<'_>) {
        let routed = timing.routed_us.unwrap_or(0).min(timing.queue_us);
        self.count += 1;
        let parts = [routed, timing.queue_us - routed, timing.kafka_us, timing.ack_us.unwrap_or(0)];
        for (sum, part) in self.sums_us.iter_mut().zip(parts) {
            *sum = sum.saturating_add(part);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        for (sum, other) in self.sums_us.iter_mut().zip(other.sums_us) {
            *sum = sum.saturating_add(other);
        }
    }

    /// Of one record on average, in microseconds.
    pub(super) fn mean_us(&self, part: Part) -> f64 {
        self.sums_us[part as usize] as f64 / self.count.max(1) as f64
    }

    /// Of the time from receipt to delivery, 0 to 1.
    pub(super) fn share(&self, part: Part) -> f64 {
        let total: f64 =
            Part::OF_TOTAL.iter().map(|part| self.sums_us[*part as usize] as f64).sum();
        if total > 0.0 { self.sums_us[part as usize] as f64 / total } else { 0.0 }
    }
}

/// What the time is made up of, by how long it was: buckets of 3 %.
#[derive(Debug, Clone)]
pub(super) struct Makeups(Vec<Makeup>);

/// Each doubling of the total has 32 buckets.
const STEP_BITS: u32 = 5;

impl Makeups {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    #[inline]
    pub(super) fn add(&mut self, timing: &Timing<'_>) {
        let at = bucket(timing.total_us);
        if at >= self.0.len() {
            self.0.resize(at + 1, Makeup::default());
        }
        self.0[at].add(timing);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), Makeup::default());
        }
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            mine.merge(other);
        }
    }

    /// Of the records whose total is `from_us` or more and, to the width of a bucket, less than `to_us`.
    pub(super) fn between(&self, from_us: u64, to_us: Option<u64>) -> Makeup {
        let end = to_us.map_or(self.0.len(), bucket).max(bucket(from_us) + 1);
        let chosen = self.0.get(bucket(from_us)..end.min(self.0.len())).unwrap_or_default();
        let mut sum = Makeup::default();
        chosen.iter().for_each(|makeup| sum.merge(makeup));
        sum
    }
}

fn bucket(us: u64) -> usize {
    let steps = 1 << STEP_BITS;
    if us < steps {
        return us as usize;
    }
    let shift = us.ilog2() - STEP_BITS;
    (u64::from(shift) * steps + (us >> shift)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(routed: u64, queue: u64, kafka: u64) -> Timing<'static> {
        Timing {
            routed_us: Some(routed),
            queue_us: queue,
            kafka_us: kafka,
            total_us: queue + kafka,
            ack_us: Some(5),
            ..Timing::default()
        }
    }

    #[test]
    fn the_parts_of_slow_records_are_told_apart_from_those_of_the_others() {
        let mut makeups = Makeups::new();
        let mut other = Makeups::new();
        for _ in 0..99 {
            makeups.add(&timing(10, 100, 900));
        }
        other.add(&timing(1_000, 2_000, 8_000));
        makeups.merge(&other);
        let slow = makeups.between(9_000, None);
        assert_eq!((slow.count, slow.sums_us), (1, [1_000, 1_000, 8_000, 5]));
        assert_eq!([0.1, 0.1, 0.8], Part::OF_TOTAL.map(|part| slow.share(part)));
        let fast = makeups.between(0, Some(9_000));
        assert_eq!((fast.count, fast.mean_us(Part::Kafka)), (99, 900.0));
        assert_eq!(makeups.between(0, None).count, 100);
        assert_eq!(makeups.between(u64::MAX, None), Makeup::default());
        assert_eq!(Makeup::default().share(Part::Kafka), 0.0);
    }

    #[test]
    fn buckets_ascend_without_a_gap_and_are_few() {
        let mut last = 0;
        for us in (0..100_000).chain([u64::MAX >> 1, u64::MAX]) {
            let at = bucket(us);
            assert!(at == last || at == last + 1 || us > 100_000, "{us}");
            last = at;
        }
        assert!(last < 2_000);
    }
}
