//! `dedupe`: which message repeats the one before it of its MQTT topic. Pure.
//!
//! A message is a repetition only of what was forwarded last and is delivered: while that is in flight, or
//! after it went to the dead letter, an equal one is forwarded. So nothing is dropped for the sake of a record
//! that never came to be.

use std::collections::HashMap;

use lru::LruCache;

use crate::message::{RecordId, Seq};
use crate::mqtt::redelivery::{Fingerprint, Fingerprints};

/// What is remembered for one connection at most: MQTT topics, each as often as routes with `dedupe` take it.
/// What was not heard for the longest time goes first; its next message is forwarded.
pub const MQTT_TOPICS_MAX: usize = 100_000;

/// The memory of one connection. Its size does not depend on what is published: of MQTT topics and payloads
/// it keeps hashes of 128 bits, keyed at random.
#[derive(Debug)]
pub struct Dedupe {
    fingerprints: Fingerprints,
    /// What was forwarded last, by route and MQTT topic.
    last: LruCache<Fingerprint, Run>,
    /// The number of the newest run.
    newest: u64,
    /// Of the message that was routed last and has no number yet: destination and run.
    routed: Vec<(u16, Part)>,
    /// Destinations without a verdict.
    in_flight: HashMap<RecordId, Part>,
}

/// Equal messages of one MQTT topic that one route forwarded with no other between them.
#[derive(Debug)]
struct Run {
    number: u64,
    payload: Fingerprint,
    /// One of them is.
    is_delivered: bool,
}

/// What a destination belongs to.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Route and MQTT topic.
    of: Fingerprint,
    run: u64,
}

impl Default for Dedupe {
    fn default() -> Self {
        Self {
            fingerprints: Fingerprints::random(),
            // Grows as it is used, and is bounded in `repeats`.
            last: LruCache::unbounded(),
            newest: 0,
            routed: Vec::new(),
            in_flight: HashMap::new(),
        }
    }
}

impl Dedupe {
    /// Whether a message repeats the last one of its MQTT topic. If not, it becomes destination `index` of its
    /// message. `route` is a number that stands for the route.
    pub fn repeats(&mut self, route: u64, mqtt_topic: &[u8], payload: &[u8], index: u16) -> bool {
        let of = self.fingerprints.of(&route.to_le_bytes(), mqtt_topic);
        let payload = self.fingerprints.of(&[], payload);
        let run = match self.last.get(&of) {
            Some(run) if run.payload == payload && run.is_delivered => return true,
            Some(run) if run.payload == payload => run.number,
            _ => {
                self.newest += 1;
                self.last.put(of, Run { number: self.newest, payload, is_delivered: false });
                if self.last.len() > MQTT_TOPICS_MAX {
                    self.last.pop_lru();
                }
                self.newest
            }
        };
        self.routed.push((index, Part { of, run }));
        false
    }

    /// A message is about to be routed.
    pub fn begin(&mut self) {
        self.routed.clear();
    }

    /// The message that was routed last is in flight under this number.
    pub fn admitted(&mut self, seq: Seq) {
        let parts = self.routed.drain(..);
        self.in_flight.extend(parts.map(|(index, part)| (RecordId { seq, index }, part)));
    }

    /// A destination has its verdict.
    pub fn settled(&mut self, id: RecordId, is_delivered: bool) {
        let Some(part) = self.in_flight.remove(&id) else { return };
        if is_delivered
            && let Some(run) = self.last.peek_mut(&part.of)
            && run.number == part.run
        {
            run.is_delivered = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The messages of one route.
    #[derive(Default)]
    struct Source {
        dedupe: Dedupe,
        sent: u64,
    }

    impl Source {
        /// Forwards a message if it is no repetition, and returns its destination.
        fn send(&mut self, mqtt_topic: &str, payload: &str) -> Option<RecordId> {
            self.dedupe.begin();
            if self.dedupe.repeats(7, mqtt_topic.as_bytes(), payload.as_bytes(), 0) {
                return None;
            }
            self.sent += 1;
            self.dedupe.admitted(Seq(self.sent));
            Some(RecordId::first(Seq(self.sent)))
        }

        fn send_and_deliver(&mut self, mqtt_topic: &str, payload: &str) -> bool {
            let sent = self.send(mqtt_topic, payload);
            sent.inspect(|id| self.dedupe.settled(*id, true)).is_some()
        }
    }

    #[test]
    fn what_repeats_a_delivered_message_is_dropped_by_mqtt_topic_until_another_comes() {
        let mut source = Source::default();
        assert!(source.send_and_deliver("a", "on"));
        assert!(!source.send_and_deliver("a", "on"));
        assert!(source.send_and_deliver("b", "on"));
        assert!(source.send_and_deliver("a", "off"));
        assert!(source.send_and_deliver("a", "on"));
        assert!(!source.send_and_deliver("a", "on"));
        assert!(!source.send_and_deliver("b", "on"));
    }

    #[test]
    fn what_repeats_a_message_in_flight_is_forwarded_until_one_of_them_is_delivered() {
        let mut source = Source::default();
        let first = source.send("a", "on").expect("the first");
        let second = source.send("a", "on").expect("the first may yet be refused");
        source.dedupe.settled(first, false);
        assert!(source.send("a", "on").is_some(), "the first went to the dead letter");
        source.dedupe.settled(second, true);
        assert!(source.send("a", "on").is_none());
    }

    #[test]
    fn what_was_delivered_before_another_message_that_is_in_flight_is_forwarded_again() {
        let mut source = Source::default();
        assert!(source.send_and_deliver("a", "on"));
        let off = source.send("a", "off").expect("another");
        let on = source.send("a", "on").expect("off is between them, delivered or not");
        source.dedupe.settled(off, true);
        assert!(source.send("a", "on").is_some(), "that off is delivered says nothing of on");
        source.dedupe.settled(on, true);
        assert!(source.send("a", "on").is_none());
    }

    #[test]
    fn routes_remember_for_themselves_and_parts_have_verdicts_of_their_own() {
        let mut dedupe = Dedupe::default();
        assert!(!dedupe.repeats(1, b"a", b"on", 0) && !dedupe.repeats(2, b"a", b"on", 1));
        dedupe.admitted(Seq(1));
        dedupe.settled(RecordId { seq: Seq(1), index: 1 }, true);
        dedupe.settled(RecordId { seq: Seq(1), index: 0 }, false);
        dedupe.begin();
        assert!(!dedupe.repeats(1, b"a", b"on", 0) && dedupe.repeats(2, b"a", b"on", 1));
    }

    #[test]
    fn a_message_that_was_routed_and_never_admitted_has_no_part_in_the_verdict_of_the_next() {
        let mut dedupe = Dedupe::default();
        dedupe.begin();
        assert!(!dedupe.repeats(7, b"a", b"on", 1));
        dedupe.begin();
        assert!(!dedupe.repeats(7, b"b", b"on", 0));
        dedupe.admitted(Seq(1));
        dedupe.settled(RecordId { seq: Seq(1), index: 1 }, true);
        dedupe.begin();
        assert!(!dedupe.repeats(7, b"a", b"on", 0), "nothing of it is in Kafka");
    }

    #[test]
    fn the_mqtt_topic_that_was_not_heard_for_longest_is_forgotten_first() {
        let mut source = Source::default();
        for number in 0..MQTT_TOPICS_MAX {
            assert!(source.send_and_deliver(&number.to_string(), "on"));
        }
        assert!(!source.send_and_deliver("0", "on"), "heard just now");
        assert!(source.send_and_deliver("one more", "on"));
        assert!(source.send_and_deliver("1", "on"), "forgotten");
        assert!(!source.send_and_deliver("0", "on"));
        assert_eq!(source.dedupe.last.len(), MQTT_TOPICS_MAX);
        assert!(source.dedupe.in_flight.is_empty());
    }

    proptest! {
        /// Whatever is delivered, refused or late: who reads the records and keeps the last value of an MQTT
        /// topic has at the end what was published last, unless that was refused.
        #[test]
        fn the_last_value_is_never_lost(
            steps in prop::collection::vec((0..2_usize, 0..2_usize, prop::bool::weighted(0.8)), 1..40),
            lags in prop::collection::vec(0..3_usize, 40),
        ) {
            let mut source = Source::default();
            let mut flights = std::collections::VecDeque::new();
            let mut last = [None; 2];
            let mut read = [None; 2];
            let mut settle = |source: &mut Source, (id, mqtt_topic, payload, delivered)| {
                source.dedupe.settled(id, delivered);
                if delivered {
                    read[mqtt_topic] = Some(payload);
                }
            };
            for ((mqtt_topic, payload, delivered), lag) in steps.into_iter().zip(lags) {
                match source.send(["a", "b"][mqtt_topic], ["on", "off"][payload]) {
                    Some(id) => {
                        flights.push_back((id, mqtt_topic, payload, delivered));
                        last[mqtt_topic] = delivered.then_some(payload);
                    }
                    None => last[mqtt_topic] = Some(payload),
                }
                while flights.len() > lag {
                    settle(&mut source, flights.pop_front().expect("not empty"));
                }
            }
            for flight in flights {
                settle(&mut source, flight);
            }
            for mqtt_topic in 0..2 {
                if last[mqtt_topic].is_some() {
                    prop_assert_eq!(read[mqtt_topic], last[mqtt_topic]);
                }
            }
        }
    }
}
