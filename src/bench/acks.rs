//! Checks that PUBACKs come once, in order and not too early. Pure: packet ids and times in, counts out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Wrong PUBACKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Violations {
    /// Before that of an earlier PUBLISH ([MQTT-4.6.0-2]).
    pub out_of_order: u64,
    /// For a message that is not in flight, or no longer.
    pub unexpected: u64,
    /// Earlier than Kafka can have answered.
    pub early: u64,
}

/// QoS 1 messages of one connection without a PUBACK.
#[derive(Debug)]
pub(super) struct InFlight {
    entries: VecDeque<Entry>,
    unacknowledged: usize,
    next_id: u16,
    /// Kafka takes at least this long to answer.
    kafka_takes: Duration,
    violations: Violations,
}

#[derive(Debug)]
struct Entry {
    packet_id: u16,
    /// When the message was to be sent: latency counts from here.
    due: Instant,
    sent: Instant,
    acknowledged: bool,
}

impl InFlight {
    pub(super) fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            unacknowledged: 0,
            next_id: 1,
            kafka_takes: Duration::ZERO,
            violations: Violations::default(),
        }
    }

    /// From now on Kafka takes at least this long to answer.
    pub(super) fn kafka_takes(&mut self, at_least: Duration) {
        self.kafka_takes = at_least;
    }

    /// Notes a PUBLISH that was due at `due` and is sent now; gives its packet id.
    pub(super) fn sending(&mut self, due: Instant, now: Instant) -> u16 {
        let packet_id = self.next_id;
        self.next_id = packet_id.checked_add(1).unwrap_or(1);
        self.entries.push_back(Entry { packet_id, due, sent: now, acknowledged: false });
        self.unacknowledged += 1;
        packet_id
    }

    /// Notes a PUBACK; gives the time since its message was due.
    pub(super) fn acknowledged(&mut self, packet_id: u16, now: Instant) -> Option<Duration> {
        let at = match self.entries.front() {
            Some(first) if first.packet_id == packet_id && !first.acknowledged => 0,
            Some(first) => {
                // Packet ids run from 1 to 65,535 and start over.
                let ids = usize::from(u16::MAX);
                let at = (usize::from(packet_id) + ids - usize::from(first.packet_id)) % ids;
                let known =
                    packet_id != 0 && self.entries.get(at).is_some_and(|entry| !entry.acknowledged);
                if !known {
                    self.violations.unexpected += 1;
                    return None;
                }
                self.violations.out_of_order += 1;
                at
            }
            None => {
                self.violations.unexpected += 1;
                return None;
            }
        };
        let entry = &mut self.entries[at];
        entry.acknowledged = true;
        let (due, sent) = (entry.due, entry.sent);
        self.unacknowledged -= 1;
        while self.entries.front().is_some_and(|entry| entry.acknowledged) {
            self.entries.pop_front();
        }
        if now.saturating_duration_since(sent) < self.kafka_takes {
            self.violations.early += 1;
        }
        Some(now.saturating_duration_since(due))
    }

    /// How many more messages a window of `window` allows. As with a strict broker, a PUBACK out of order
    /// makes no room until those before it have come.
    pub(super) fn room(&self, window: u16) -> usize {
        usize::from(window).saturating_sub(self.entries.len())
    }

    pub(super) fn unacknowledged(&self) -> usize {
        self.unacknowledged
    }

    pub(super) fn violations(&self) -> Violations {
        self.violations
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five PUBLISHes, then these PUBACKs; gives (out of order, unexpected, early, still open).
    fn of_five(acks: &[u16]) -> (u64, u64, u64, usize) {
        let now = Instant::now();
        let mut in_flight = InFlight::new();
        for id in 1..=5 {
            assert_eq!(in_flight.sending(now, now), id);
        }
        for id in acks {
            in_flight.acknowledged(*id, now);
        }
        let Violations { out_of_order, unexpected, early } = in_flight.violations();
        (out_of_order, unexpected, early, in_flight.unacknowledged())
    }

    #[test]
    fn all_once_and_in_order_is_nothing_to_report() {
        assert_eq!(of_five(&[1, 2, 3, 4, 5]), (0, 0, 0, 0));
    }

    #[test]
    fn a_puback_that_overtakes_another_is_out_of_order() {
        assert_eq!(of_five(&[2, 1, 3, 4, 5]), (1, 0, 0, 0));
        assert_eq!(of_five(&[5, 4, 3, 2, 1]), (4, 0, 0, 0));
        assert_eq!(of_five(&[1, 3]), (1, 0, 0, 3));
    }

    #[test]
    fn a_second_puback_is_unexpected() {
        assert_eq!(of_five(&[1, 1]), (0, 1, 0, 4));
        assert_eq!(of_five(&[2, 2, 1]), (1, 1, 0, 3));
        assert_eq!(of_five(&[1, 2, 3, 4, 5, 5]), (0, 1, 0, 0));
    }

    #[test]
    fn a_puback_for_what_was_never_sent_is_unexpected() {
        assert_eq!(of_five(&[0, 6, 65_535]), (0, 3, 0, 5));
    }

    #[test]
    fn a_puback_before_kafka_can_have_answered_is_early() {
        let start = Instant::now();
        let mut in_flight = InFlight::new();
        in_flight.kafka_takes(Duration::from_millis(500));
        let ids = [in_flight.sending(start, start), in_flight.sending(start, start)];
        in_flight.acknowledged(ids[0], start + Duration::from_millis(499));
        in_flight.acknowledged(ids[1], start + Duration::from_millis(501));
        assert_eq!(in_flight.violations(), Violations { early: 1, ..Violations::default() });
    }

    #[test]
    fn packet_ids_go_round_and_latency_counts_from_when_it_was_due() {
        let start = Instant::now();
        let late = start + Duration::from_millis(3);
        let mut in_flight = InFlight::new();
        for round in 0..70_000 {
            let id = in_flight.sending(start, late);
            assert_ne!(id, 0, "round {round}");
            assert_eq!(in_flight.acknowledged(id, late), Some(Duration::from_millis(3)));
        }
        assert_eq!((in_flight.violations(), in_flight.room(7)), (Violations::default(), 7));
    }
}
