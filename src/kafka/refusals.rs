//! What refusals teach about one Kafka topic. Pure: no I/O, no clock.
//!
//! If Kafka refuses a record that was sent alone, the cause is usually that record, and it goes to the dead
//! letter. If the cause is the bridge or the Kafka topic (a wrong clock, a policy), every record would go
//! there. So the Kafka topic counts as the cause of several refusals in a row of several MQTT topics: its
//! records are held instead (docs/decisions/0011-whose-refusal.md).
//!
//! A record that is too large for the Kafka topic ends its producer if it is sent with others. So a record
//! at least as large as one that was refused is sent alone at once. Kafka's limit applies to a whole request
//! for a partition: after a refusal for size, requests are kept smaller too
//! (docs/decisions/0012-one-stops-itself.md).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::RecordId;

/// After this many refusals in a row, with nothing delivered in between, the Kafka topic is the cause.
const IN_A_ROW: u64 = 3;
/// How many refused records are recognised if they come again.
const KNOWN: usize = 16;
/// A refused size is forgotten after this time without another: an operator may have raised the limit.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// Requests are not kept smaller than this, in bytes.
const REQUEST_MIN: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub struct Refusals {
    /// How many records were refused since the last delivery, each alone.
    in_a_row: u64,
    /// The latest of them. A record may come again with a new producer, and counts once.
    last: VecDeque<RecordId>,
    /// The MQTT topic of the first of them.
    first: Bytes,
    /// The refused records are of more than one MQTT topic.
    are_mixed: bool,
    /// The smallest refused size, and when the latest record was refused for its size.
    too_large: Option<(usize, Instant)>,
    /// Half of the smallest request that was refused for its size, and when.
    request: Option<(usize, Instant)>,
}

impl Refusals {
    /// A record of this MQTT topic was refused alone, and not for its size. Returns how many records went
    /// to the dead letter since the last delivery if the Kafka topic is the cause; `None` if this one is to
    /// follow them.
    pub fn add(&mut self, id: RecordId, mqtt_topic: &Bytes) -> Option<u64> {
        if self.in_a_row == 0 {
            self.first = mqtt_topic.clone();
        }
        self.are_mixed |= self.first != *mqtt_topic;
        if self.last.contains(&id) {
            return None;
        }
        let before = self.in_a_row;
        if self.are_mixed && before + 1 >= IN_A_ROW {
            return Some(before);
        }
        self.in_a_row += 1;
        self.last.truncate(KNOWN - 1);
        self.last.push_front(id);
        None
    }

    /// Whether [`Refusals::delivered`] must be called for the next delivery.
    pub fn await_delivery(&self) -> bool {
        self.in_a_row > 0
    }

    /// A record is in Kafka: the next refusal is the first again.
    pub fn delivered(&mut self) {
        self.in_a_row = 0;
        self.are_mixed = false;
        self.first = Bytes::new();
        self.last.clear();
    }

    /// A record of so many bytes, key and value, was refused alone for its size.
    pub fn add_size(&mut self, bytes: usize, now: Instant) {
        self.too_large = Some((bytes.min(self.alone_from()), now));
    }

    /// From this size on, in bytes, a record goes alone.
    pub fn alone_from(&self) -> usize {
        self.too_large.map_or(usize::MAX, |(bytes, _)| bytes)
    }

    /// A request of several records, of so many bytes, was refused for its size. Which
    /// record is too large is not known yet; the next request is at most half as large.
    pub fn add_request(&mut self, bytes: usize, now: Instant) {
        let half = (bytes / 2).max(REQUEST_MIN);
        self.request = Some((half.min(self.request_max()), now));
    }

    /// How many bytes of keys and values may go in one request. A larger record goes by itself.
    pub fn request_max(&self) -> usize {
        self.request.map_or(usize::MAX, |(bytes, _)| bytes)
    }

    /// Forgets sizes whose time is over. Returns whether there were any.
    pub fn forget_sizes(&mut self, now: Instant) -> bool {
        let is_over = |at: &Instant| now.saturating_duration_since(*at) >= FORGET_AFTER;
        let record = self.too_large.take_if(|(_, at)| is_over(at));
        let request = self.request.take_if(|(_, at)| is_over(at));
        record.is_some() || request.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Seq;

    /// Adds a refusal of each. Returns what the last one returned.
    fn after(refusals: &mut Refusals, mqtt_topics: &[&'static str]) -> Option<u64> {
        let add = |mqtt_topic: &&'static str| {
            refusals.add(RecordId::first(Seq::next()), &Bytes::from_static(mqtt_topic.as_bytes()))
        };
        mqtt_topics.iter().map(add).last().flatten()
    }

    #[test]
    fn three_in_a_row_of_two_mqtt_topics_are_the_kafka_topics_and_anything_less_is_the_messages() {
        for (mqtt_topics, expected) in [
            (&["a"][..], None),
            (&["a", "b"], None),
            (&["a", "a", "a", "a", "a"], None),
            (&["a", "b", "a"], Some(2)),
            (&["a", "b", "c"], Some(2)),
            (&["a", "a", "b"], Some(2)),
            (&["a", "a", "a", "a", "b"], Some(4)),
            (&["a", "b", "c", "d", "d"], Some(2)),
        ] {
            assert_eq!(after(&mut Refusals::default(), mqtt_topics), expected, "{mqtt_topics:?}");
        }
    }

    #[test]
    fn a_record_that_comes_again_with_a_new_producer_counts_once() {
        let mut refusals = Refusals::default();
        let seqs = [(); 3].map(|()| RecordId::first(Seq::next()));
        for seq in [seqs[0], seqs[1], seqs[0], seqs[1], seqs[1]] {
            let mqtt_topic = if seq == seqs[0] { "a" } else { "b" };
            assert_eq!(refusals.add(seq, &Bytes::from(mqtt_topic)), None);
        }
        assert_eq!(refusals.add(seqs[2], &Bytes::from("a")), Some(2));
        assert_eq!(
            refusals.add(seqs[2], &Bytes::from("a")),
            Some(2),
            "it is held, and tried again"
        );
    }

    #[test]
    fn a_delivery_in_between_begins_anew() {
        let mut refusals = Refusals::default();
        assert_eq!(after(&mut refusals, &["a", "b"]), None);
        assert!(refusals.await_delivery());
        refusals.delivered();
        assert!(!refusals.await_delivery());
        assert_eq!(after(&mut refusals, &["a", "b"]), None);
        assert_eq!(after(&mut refusals, &["b"]), Some(2));
        refusals.delivered();
        assert_eq!(after(&mut refusals, &["a", "a", "a"]), None, "the others are forgotten");
    }

    #[test]
    fn the_smallest_size_that_was_refused_is_known_until_none_was_for_ten_minutes() {
        let (now, mut refusals) = (Instant::now(), Refusals::default());
        assert_eq!(refusals.alone_from(), usize::MAX);
        refusals.add_size(3000, now);
        refusals.add_size(2000, now + FORGET_AFTER / 2);
        refusals.add_size(9000, now + FORGET_AFTER);
        assert_eq!(refusals.alone_from(), 2000);
        assert!(!refusals.forget_sizes(now + 2 * FORGET_AFTER - Duration::from_millis(1)));
        assert!(refusals.forget_sizes(now + 2 * FORGET_AFTER));
        assert_eq!(refusals.alone_from(), usize::MAX);
        assert!(!refusals.forget_sizes(now + 3 * FORGET_AFTER), "there is nothing to forget");
    }
    #[test]
    fn a_request_is_half_as_large_as_the_smallest_that_was_refused() {
        let (now, mut refusals) = (Instant::now(), Refusals::default());
        refusals.add_request(60_000, now);
        assert_eq!(refusals.request_max(), 30_000);
        refusals.add_request(90_000, now);
        assert_eq!(refusals.request_max(), 30_000);
        for _ in 0..20 {
            refusals.add_request(refusals.request_max(), now);
        }
        assert_eq!(refusals.request_max(), REQUEST_MIN);
        assert!(refusals.forget_sizes(now + FORGET_AFTER));
        assert_eq!(refusals.request_max(), usize::MAX);
    }
}
