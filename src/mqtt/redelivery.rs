//! What tells a message that comes again from a new one when the window no longer has it. Pure.
//!
//! A broker may send a message again before it has read our acknowledgement: the copy waits in TCP
//! while the window is full, and is read after the acknowledgement was written. It is not a new
//! message, and a second acknowledgement for it could confirm whatever the broker has given that
//! packet id to meanwhile. So the window remembers what it acknowledged last under each packet id
//! ([`Fingerprints`]), until the broker has shown that it read that acknowledgement ([`Barrier`]).

use std::collections::VecDeque;
use std::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

/// Unanswered PINGREQs that are told apart; above it, several count as the oldest of them, so that
/// what is remembered is remembered for longer.
const PINGS_MAX: usize = 64;

/// 128 bits of a hash of what a message says, keyed at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint(u64, u64);

/// Takes fingerprints. Two of them are comparable only if the same one took them.
#[derive(Debug)]
pub struct Fingerprints {
    seeds: [(u64, SharedSeed); 2],
}

impl Fingerprints {
    /// With keys of its own, so that no sender can find two messages with one fingerprint.
    pub fn random() -> Self {
        let seed = || (fastrand::u64(..), SharedSeed::from_u64(fastrand::u64(..)));
        Self { seeds: [seed(), seed()] }
    }

    /// The fingerprint of a message.
    pub fn of(&self, mqtt_topic: &[u8], payload: &[u8]) -> Fingerprint {
        self.take(|hasher| {
            hasher.write(mqtt_topic);
            hasher.write(payload);
        })
    }

    /// The fingerprint of what `write` writes.
    pub fn take(&self, write: impl Fn(&mut FoldHasher<'_>)) -> Fingerprint {
        let half = |(seed, shared): &(u64, SharedSeed)| {
            let mut hasher = FoldHasher::with_seed(*seed, shared);
            write(&mut hasher);
            hasher.finish()
        };
        let [first, second] = &self.seeds;
        Fingerprint(half(first), half(second))
    }
}

/// How far the broker is known to have read our acknowledgements. It answers a PINGREQ after
/// everything that we wrote before it. So it sent whatever follows the PINGRESP after it had read those
/// acknowledgements.
///
/// Acknowledgements are counted; a PINGREQ is identified by how many were written before it.
#[derive(Debug, Default)]
pub struct Barrier {
    /// PINGREQs without a PINGRESP: acknowledgements before it, and how many PINGREQs.
    under_way: VecDeque<(u64, u64)>,
    passed: u64,
    wanted: u64,
}

impl Barrier {
    /// Whether the broker may have sent something before it read acknowledgement number `ack`.
    pub fn is_before(&self, ack: u64) -> bool {
        ack >= self.passed
    }

    /// The broker is to be asked whether it has read acknowledgement number `ack`.
    pub fn ask(&mut self, ack: u64) {
        self.wanted = self.wanted.max(ack + 1);
    }

    /// Whether a PINGREQ must be written now. One at a time: the next one is due when that is
    /// answered.
    pub fn wants_ping(&self) -> bool {
        self.wanted > self.passed && self.under_way.is_empty()
    }

    /// A PINGREQ is written behind `acks` acknowledgements.
    pub fn ping_written(&mut self, acks: u64) {
        let full = self.under_way.len() >= PINGS_MAX;
        match self.under_way.back_mut() {
            Some((before, pings)) if *before == acks || full => *pings += 1,
            _ => self.under_way.push_back((acks, 1)),
        }
    }

    /// A PINGRESP came.
    pub fn ping_answered(&mut self) {
        let Some((acks, pings)) = self.under_way.front_mut() else { return };
        self.passed = self.passed.max(*acks);
        *pings -= 1;
        if *pings == 0 {
            self.under_way.pop_front();
        }
    }

    /// The connection is gone, and everything that was on its way; `acks` were written by then.
    pub fn connection_lost(&mut self, acks: u64) {
        *self = Self { passed: acks, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_where_the_mqtt_topic_ends_and_is_keyed() {
        let fingerprints = Fingerprints::random();
        assert_eq!(fingerprints.of(b"a/b", b"xy"), fingerprints.of(b"a/b", b"xy"));
        let others: [(&[u8], &[u8]); 4] =
            [(b"a/bx", b"y"), (b"a/", b"bxy"), (b"a/b", b"xz"), (b"a/b", b"xy\0")];
        for (mqtt_topic, payload) in others {
            assert_ne!(fingerprints.of(b"a/b", b"xy"), fingerprints.of(mqtt_topic, payload));
        }
        assert_ne!(fingerprints.of(b"a/b", b"xy"), Fingerprints::random().of(b"a/b", b"xy"));
    }

    #[test]
    fn a_pingresp_shows_what_its_own_pingreq_was_written_behind_and_nothing_younger() {
        let mut barrier = Barrier::default();
        barrier.ping_written(3);
        barrier.ping_written(5);
        barrier.ping_answered();
        assert!(!barrier.is_before(2) && barrier.is_before(3));
        barrier.ping_answered();
        assert!(!barrier.is_before(4) && barrier.is_before(5));
        barrier.ping_answered();
        assert!(barrier.is_before(5), "an answer to nothing shows nothing");
    }

    #[test]
    fn a_pingreq_is_asked_for_when_none_is_under_way_and_again_if_that_was_too_old() {
        let mut barrier = Barrier::default();
        barrier.ping_written(3);
        barrier.ask(7);
        assert!(!barrier.wants_ping(), "one is under way");
        barrier.ping_answered();
        assert!(barrier.wants_ping(), "it was older than acknowledgement 7");
        barrier.ping_written(8);
        assert!(!barrier.wants_ping());
        barrier.ping_answered();
        assert!(!barrier.wants_ping() && !barrier.is_before(7));
    }

    #[test]
    fn pingreqs_that_nobody_answers_are_bounded_and_never_show_too_much() {
        let mut barrier = Barrier::default();
        for acks in 1..=1_000 {
            barrier.ping_written(acks);
        }
        assert!(barrier.under_way.len() <= PINGS_MAX);
        for answered in 1..=1_000 {
            barrier.ping_answered();
            assert!(barrier.is_before(answered), "shown by a later PINGREQ only");
        }
    }
}
