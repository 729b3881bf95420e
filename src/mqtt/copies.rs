//! Copies of one message that a broker sends for several subscriptions which match it. Pure.
//!
//! MQTT lets a broker send a copy for each, and in MQTT 5 each copy says by its identifier for which
//! (section 3.3.4). So, of messages that are equal in all that their publisher gave them, the third one
//! under one identifier and the third one under another are the same message. A copy is dropped only
//! against a message under other identifiers, one to one, while that is known: as long as it is in
//! flight, and for a minute (docs/decisions/0009-copies.md).

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher as _;
use std::time::{Duration, Instant};

use crate::message::Seq;
use crate::mqtt::publish::{Publish, hash_properties};
use crate::mqtt::redelivery::{Fingerprint, Fingerprints};
use crate::mqtt::window::AckForm;

/// How long a message is remembered after it left the window. Brokers send copies one behind the
/// other, but a QoS 1 copy may wait where a QoS 0 copy does not.
const KNOWN_FOR: Duration = Duration::from_secs(60);
/// At most this many messages are remembered.
const KNOWN_MAX: usize = 16 * 1024;

/// See the module.
#[derive(Debug)]
pub struct Copies {
    fingerprints: Fingerprints,
    contents: HashMap<Fingerprint, Content>,
    /// All that are known, oldest first.
    ages: VecDeque<(Fingerprint, Seq, Instant)>,
    /// The last message that was known when a subscription began.
    begun: HashMap<u32, Seq>,
}

/// What an identifier says of the subscription under which a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The subscription, whatever identifiers it has had.
    pub key: u32,
    /// All that overlaps it was in force when the message was published: it comes for those as well.
    pub is_certain: bool,
}

/// Messages with one content.
#[derive(Debug, Default)]
struct Content {
    /// Those that are known; how many of that content were before them.
    known: VecDeque<Seq>,
    forgotten: u64,
    /// What came under each subscription.
    came: Vec<Came>,
}

/// What came of one content under one subscription.
#[derive(Debug)]
struct Came {
    key: u32,
    /// Behind the last one of all messages that came under it.
    next: u64,
    /// How many came, and how many of them for certain under all others that overlap.
    count: u64,
    certain: u64,
}

impl Content {
    /// Which message came before as a copy of the one that comes under these subscriptions, if one did.
    ///
    /// Where all are in force, each message of this content comes under all. A subscription that is gone
    /// brought messages that the others did not bring, and those bring messages that it does not. What came
    /// under it for certain, as well as under its partners, is that which may be taken for copies, and no more.
    fn take<'a>(
        &mut self,
        under: &[Standing],
        begun: &HashMap<u32, Seq>,
        partners_of_gone: impl Fn(u32) -> Option<&'a [u32]>,
    ) -> Option<Seq> {
        for Standing { key, .. } in under {
            if self.came.iter().all(|came| came.key != *key) {
                let last = begun.get(key);
                let before = self.known.partition_point(|seq| last.is_some_and(|it| seq <= it));
                let next = self.forgotten + before as u64;
                self.came.push(Came { key: *key, next, count: 0, certain: 0 });
            }
        }
        let is_under = |came: &&Came| under.iter().any(|it| it.key == came.key);
        let (mut next, mut count) = (self.forgotten, 0);
        for came in self.came.iter().filter(is_under) {
            (next, count) = (next.max(came.next), count.max(came.count));
        }
        let mut others = self.came.iter().filter(|came| !is_under(came));
        let may_bring = |it: &Standing, other: u32| match partners_of_gone(it.key) {
            Some(partners) => it.is_certain && partners.contains(&other),
            None => true,
        };
        let is_known = |came: &Came| match partners_of_gone(came.key) {
            Some(partners) => {
                count < came.certain && under.iter().any(|it| partners.contains(&it.key))
            }
            None => next < came.next && under.iter().all(|it| may_bring(it, came.key)),
        };
        let twin = usize::try_from(next - self.forgotten).ok();
        let twin = others.any(is_known).then(|| self.known.get(twin?));
        let twin = twin.flatten().copied();
        let end = self.forgotten + self.known.len() as u64;
        for came in &mut self.came {
            if let Some(it) = under.iter().find(|it| it.key == came.key) {
                came.next = 1 + if twin.is_some() { next } else { end };
                came.count += 1;
                came.certain += u64::from(it.is_certain);
            }
        }
        twin
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            fingerprints: Fingerprints::random(),
            contents: HashMap::new(),
            ages: VecDeque::new(),
            begun: HashMap::new(),
        }
    }
}

impl Copies {
    /// What this PUBLISH and its copies have in common; `None` if it cannot have copies, or is not looked
    /// at: QoS 2, and malformed messages that go to the dead letter.
    pub fn content(&self, publish: &Publish) -> Option<Fingerprint> {
        let is_qos_2 = publish.ack.is_some_and(|ack| ack.form == AckForm::PubRec);
        if publish.subscription_ids.as_slice().is_empty() || is_qos_2 || publish.refusal.is_some() {
            return None;
        }
        Some(self.fingerprints.take(|hasher| {
            hasher.write_usize(publish.mqtt_topic.len());
            hasher.write(&publish.mqtt_topic);
            hasher.write_u8(u8::from(publish.retain));
            hasher.write_usize(publish.payload.len());
            hasher.write(&publish.payload);
            hash_properties(&publish.properties, hasher);
        }))
    }

    /// Takes a message of this content under these subscriptions. Returns the message of which it is a copy;
    /// if it is no copy, it is to be admitted and [`Copies::admitted`] called. Of a subscription that the broker
    /// was asked to end, `partners_of_gone` tells for which others its messages come for certain.
    pub fn take<'a>(
        &mut self,
        content: Fingerprint,
        under: &[Standing],
        partners_of_gone: impl Fn(u32) -> Option<&'a [u32]>,
        now: Instant,
        in_flight: Option<Seq>,
    ) -> Option<Seq> {
        self.forget(now, in_flight);
        self.contents.entry(content).or_default().take(under, &self.begun, partners_of_gone)
    }

    /// The message that was just taken is no copy, and has this number.
    pub fn admitted(&mut self, content: Fingerprint, seq: Seq, now: Instant) {
        self.ages.push_back((content, seq, now));
        self.contents.entry(content).or_default().known.push_back(seq);
    }

    /// A subscription begins: what came before did not come for it.
    pub fn begin(&mut self, key: u32) {
        let oldest = self.ages.front().map(|(_, seq, _)| *seq);
        self.begun.retain(|_, last| oldest.is_some_and(|oldest| *last >= oldest));
        self.begun.extend(self.ages.back().map(|(_, seq, _)| (key, *seq)));
    }

    /// Forgets everything: the session or its subscriptions are others now.
    pub fn clear(&mut self) {
        self.contents.clear();
        self.begun.clear();
        self.ages.clear();
    }

    /// Forgets messages that are too old and no longer in flight: before message `in_flight`, if there is
    /// one.
    fn forget(&mut self, now: Instant, in_flight: Option<Seq>) {
        while let Some((content, seq, at)) = self.ages.front() {
            let is_old = now.saturating_duration_since(*at) > KNOWN_FOR
                && in_flight.is_none_or(|oldest| *seq < oldest);
            if !is_old && self.ages.len() <= KNOWN_MAX {
                return;
            }
            if let Some(known) = self.contents.get_mut(content) {
                known.known.pop_front();
                known.forgotten += 1;
                if known.known.is_empty() {
                    self.contents.remove(content);
                }
            }
            self.ages.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::message::Qos;
    use crate::mqtt::publish::SubscriptionIds;
    use crate::mqtt::window::Ack;

    fn publish(payload: &'static str, ids: SubscriptionIds) -> Publish {
        Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            ack: Some(Ack { packet_id: 1, form: AckForm::PubAck }),
            mqtt_topic: Bytes::from_static(b"t/a"),
            payload: Bytes::from_static(payload.as_bytes()),
            properties: Bytes::new(),
            subscription_ids: ids,
            expires: false,
            refusal: None,
        }
    }

    /// Takes messages as the bridge does, and counts what is forwarded.
    struct Taker {
        copies: Copies,
        forwarded: u64,
        now: Instant,
    }

    impl Taker {
        fn new() -> Self {
            Self { copies: Copies::default(), forwarded: 0, now: Instant::now() }
        }

        /// Whether it is forwarded.
        fn take(&mut self, publish: &Publish, in_flight: Option<Seq>) -> bool {
            let Some(content) = self.copies.content(publish) else {
                self.forwarded += 1;
                return true;
            };
            let ids = publish.subscription_ids.as_slice().iter();
            let under: Vec<_> = ids.map(|id| Standing { key: *id, is_certain: false }).collect();
            if self.copies.take(content, &under, |_| None, self.now, in_flight).is_some() {
                return false;
            }
            self.forwarded += 1;
            self.copies.admitted(content, Seq(self.forwarded), self.now);
            true
        }

        fn takes(&mut self, payload: &'static str, id: u32) -> bool {
            self.take(&publish(payload, SubscriptionIds::One(id)), None)
        }
    }

    #[test]
    fn a_copy_is_dropped_one_to_one_and_what_comes_under_one_identifier_alone_never() {
        let mut taker = Taker::new();
        assert!(taker.takes("x", 1));
        assert!(!taker.takes("x", 2), "its copy");
        assert!(taker.takes("x", 2), "the next one, whose copy is late");
        assert!(!taker.takes("x", 1));
        for _ in 0..5 {
            assert!(taker.takes("alone", 1));
        }
        for _ in 0..5 {
            assert!(!taker.takes("alone", 2));
        }
        assert!(taker.takes("alone", 2));
    }

    #[test]
    fn one_copy_for_several_subscriptions_stands_for_all_of_them() {
        let mut taker = Taker::new();
        let both = publish("x", SubscriptionIds::Many(vec![1, 2]));
        for _ in 0..3 {
            assert!(taker.take(&both, None));
        }
        assert!(!taker.takes("x", 3));
        assert!(taker.takes("x", 1), "another message");
        assert!(!taker.takes("x", 2));
    }

    #[test]
    fn what_differs_in_anything_is_no_copy() {
        let one = || SubscriptionIds::One(1);
        let first = publish("x", one());
        let two = |change: fn(&mut Publish)| {
            let mut second = publish("x", SubscriptionIds::One(2));
            change(&mut second);
            second
        };
        for second in [
            two(|publish| publish.retain = true),
            two(|publish| publish.mqtt_topic = Bytes::from_static(b"t/b")),
            two(|publish| publish.payload = Bytes::from_static(b"y")),
            // Payload format indicator.
            two(|publish| publish.properties = Bytes::from_static(&[1, 1])),
            two(|publish| publish.subscription_ids = SubscriptionIds::None),
            two(|publish| publish.ack = Some(Ack { packet_id: 2, form: AckForm::PubRec })),
        ] {
            let mut taker = Taker::new();
            assert!(taker.take(&first, None));
            assert!(taker.take(&second, None), "{second:?}");
        }
        // What the broker adds or counts down is not the publisher's.
        for second in [
            two(|publish| publish.qos = Qos::AtMostOnce),
            two(|publish| publish.ack = None),
            two(|publish| publish.properties = Bytes::from_static(&[0x0B, 7])),
        ] {
            let mut taker = Taker::new();
            assert!(taker.take(&first, None));
            assert!(!taker.take(&second, None), "{second:?}");
        }
    }

    #[test]
    fn a_message_is_known_for_a_minute_and_while_it_is_in_flight() {
        let mut taker = Taker::new();
        let copy = publish("x", SubscriptionIds::One(2));
        assert!(taker.takes("x", 1));
        taker.now += KNOWN_FOR + Duration::from_secs(1);
        assert!(!taker.take(&copy, Some(Seq(1))), "in flight");
        assert!(taker.takes("y", 1), "the other is forgotten");
        assert_eq!((taker.copies.contents.len(), taker.copies.ages.len()), (1, 1));
        for _ in 0..KNOWN_MAX + 10 {
            taker.takes("z", 1);
        }
        assert_eq!(taker.copies.ages.len(), KNOWN_MAX + 1);
        taker.copies.clear();
        assert!(taker.takes("z", 2));
    }

    #[test]
    fn a_subscription_that_begins_has_no_copies_of_what_came_before() {
        let mut taker = Taker::new();
        for _ in 0..5 {
            assert!(taker.takes("x", 1));
        }
        taker.copies.begin(3);
        // The broker drops the copy of the first one.
        assert!(taker.takes("x", 3));
        assert!(!taker.takes("x", 1));
        assert!(taker.takes("x", 1));
        assert!(!taker.takes("x", 3));
        taker.copies.begin(4);
        assert_eq!(taker.copies.begun.len(), 2);
        taker.now += KNOWN_FOR + Duration::from_secs(1);
        assert!(taker.takes("y", 1));
        taker.copies.begin(5);
        assert_eq!(taker.copies.begun.len(), 1, "the others are forgotten");
    }

    proptest! {
        /// Brokers may order copies as they like, as long as those of one subscription are in order.
        #[test]
        fn however_copies_are_interleaved_as_many_arrive_as_were_published(
            published in prop::collection::vec(0..2_usize, 0..20),
            order in prop::collection::vec(0..3_usize, 60),
        ) {
            let mut taker = Taker::new();
            let mut sent = [0; 3];
            let all = published.len();
            for subscription in order.into_iter().chain((0..3).flat_map(|s| vec![s; all])) {
                let Some(content) = published.get(sent[subscription]) else { continue };
                sent[subscription] += 1;
                let id = u32::try_from(subscription).expect("small") + 1;
                taker.takes(["x", "y"][*content], id);
            }
            prop_assert_eq!(taker.forwarded, all as u64);
        }
    }
}
