//! The lanes against a simulated Kafka that refuses records, whole batches, and what follows them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Thing {
    seq: u64,
    key: u8,
    bytes: usize,
}

impl Queued for Thing {
    fn seq(&self) -> Seq {
        Seq(self.seq)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

fn thing(seq: u64, key: u8) -> Thing {
    Thing { seq, key, bytes: 10 }
}

/// A lane that has delivered one record already.
fn lane_with(things: impl IntoIterator<Item = Thing>) -> Lane<Thing> {
    let mut lane = Lane::new(&"t".into(), Some(PARTITION));
    lane.push(thing(0, 0));
    let (via, item) = lane.next(Instant::now(), true).expect("an open lane");
    lane.delivered(via, &item, PARTITION);
    things.into_iter().for_each(|item| lane.push(item));
    lane
}

const PARTITION: i32 = 3;
const SUSPECT: (Class, i32) = (Class::Suspect, 10);
const HOLD: (Class, i32) = (Class::Hold, 29);
const TRANSIENT: (Class, i32) = (Class::Transient, 13);

#[test]
fn until_one_record_of_a_partition_is_delivered_one_is_in_flight() {
    let now = Instant::now();
    let mut lane = Lane::new(&"t".into(), Some(PARTITION));
    for seq in 1..=3 {
        lane.push(thing(seq, 7));
    }
    assert_eq!(lane.ready(), 1);
    assert_eq!(lane.next(now, true), Some((Via::Main, thing(1, 7))));
    assert_eq!((lane.ready(), lane.next(now, true)), (0, None), "the partition is not primed");
    lane.delivered(Via::Main, &thing(1, 7), PARTITION);
    assert_eq!(lane.ready(), 2);
    assert_eq!(lane.next(now, true), Some((Via::Main, thing(2, 7))));
    assert_eq!(lane.next(now, true), Some((Via::Main, thing(3, 7))), "now many are in flight");
    lane.restart();
    lane.push(thing(2, 7));
    lane.push(thing(3, 7));
    assert!(lane.next(now, true).is_some());
    assert_eq!(lane.next(now, true), None, "a new producer knows no partition");
}

#[test]
fn while_the_number_of_partitions_is_unknown_one_record_is_in_flight() {
    let now = Instant::now();
    let mut lane = Lane::new(&"t".into(), None);
    for seq in 1..=4 {
        lane.push(thing(seq, 7));
    }
    for seq in 1..=2 {
        assert!(lane.is_idle());
        assert_eq!(lane.next(now, true), Some((Via::Main, thing(seq, 7))));
        assert_eq!((lane.is_idle(), lane.next(now, true)), (false, None));
        lane.delivered(Via::Main, &thing(seq, 7), PARTITION);
    }
    assert_eq!(lane.take_waiting(), [thing(3, 7), thing(4, 7)], "they can go elsewhere");
    assert_eq!(lane.next(now, true), None);
}

#[test]
fn a_record_that_went_to_another_partition_primes_nothing() {
    let now = Instant::now();
    let mut lane = Lane::new(&"t".into(), Some(PARTITION));
    (1..=3).for_each(|seq| lane.push(thing(seq, 7)));
    let (via, item) = lane.next(now, true).expect("an open lane");
    lane.delivered(via, &item, PARTITION + 4);
    assert_eq!(lane.ready(), 1);
    let (via, item) = lane.next(now, true).expect("an open lane");
    lane.delivered(via, &item, PARTITION);
    assert_eq!(lane.next(now, true), Some((Via::Main, thing(3, 7))));
}

#[test]
fn a_lane_with_a_held_neighbour_lets_one_record_try_and_then_goes_on() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1), thing(2, 1), thing(3, 1)]);
    lane.beware();
    assert_eq!(lane.ready(), 3, "no doubt, no caution");
    lane.doubt();
    lane.beware();
    assert_eq!(lane.next(now, true), Some((Via::Careful, thing(1, 1))));
    assert_eq!(lane.next(now, true), None);
    assert!(lane.delivered(Via::Careful, &thing(1, 1), PARTITION), "the doubt is gone");
    lane.beware();
    assert_eq!(lane.next(now, true), Some((Via::Main, thing(2, 1))));
    assert!(!lane.delivered(Via::Main, &thing(2, 1), PARTITION));
}

#[test]
fn a_lane_that_was_held_and_has_nothing_to_send_is_released_with_its_neighbours() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1)]);
    let (via, item) = lane.next(now, true).expect("an open lane");
    assert_eq!(lane.refused(via, item, HOLD, now, None), None);
    lane.forget_trouble();
    assert!(lane.is_held() && !lane.is_idle(), "what waits must find out for itself");
    let (via, item) = lane.next(now, true).expect("it tries");
    let dead = lane.refused(via, item, HOLD, now, Some(Duration::ZERO));
    assert_eq!(dead, Some(thing(1, 1)));
    assert!(lane.is_held() && !lane.is_idle(), "nothing was delivered yet");
    lane.forget_trouble();
    assert!(!lane.is_held() && lane.is_idle());
}

#[test]
fn between_rounds_an_open_lane_waits_and_a_careful_one_does_not() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1), thing(2, 1)]);
    assert_eq!((lane.ready(), lane.next(now, false)), (2, None));
    let (via, item) = lane.next(now, true).expect("the round begins");
    assert_eq!(lane.refused(via, item, SUSPECT, now, None), None);
    assert_eq!(lane.next(now, false), Some((Via::Careful, thing(1, 1))));
}

#[test]
fn a_record_refused_alone_goes_to_the_dead_letter_and_the_innocent_pass_in_order() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1), thing(2, 2), thing(3, 3), thing(4, 4)]);
    let sent: Vec<_> = std::iter::from_fn(|| lane.next(now, true)).collect();
    assert_eq!(sent.len(), 4);
    // One batch of the last three is refused for one culprit; the reports come in any order.
    for item in [thing(4, 4), thing(2, 2), thing(3, 3)] {
        assert_eq!(lane.refused(Via::Main, item, SUSPECT, now, None), None);
    }
    lane.push(thing(5, 5));
    assert_eq!(lane.next(now, true), None, "one is still in flight");
    lane.delivered(Via::Main, &thing(1, 1), PARTITION);

    assert_eq!(lane.next(now, true), Some((Via::Careful, thing(2, 2))));
    assert_eq!(lane.next(now, true), None, "one at a time");
    lane.delivered(Via::Careful, &thing(2, 2), PARTITION);
    assert_eq!(lane.next(now, true), Some((Via::Careful, thing(3, 3))));
    let dead = lane.refused(Via::Careful, thing(3, 3), SUSPECT, now, None);
    assert_eq!(dead, Some(thing(3, 3)));
    assert_eq!(lane.next(now, true), Some((Via::Careful, thing(4, 4))));
    assert_eq!(lane.next(now, true), None);
    lane.delivered(Via::Careful, &thing(4, 4), PARTITION);
    assert_eq!(lane.next(now, true), Some((Via::Main, thing(5, 5))), "the lane is open again");
}

#[test]
fn a_held_lane_tries_each_five_seconds_and_heals() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1)]);
    let (via, item) = lane.next(now, true).expect("an open lane");
    assert_eq!(lane.refused(via, item, HOLD, now, None), None);
    assert!(lane.trouble().is_some_and(|trouble| trouble.held && trouble.code == 29));
    for round in 0..3 {
        let at = now + RETRY_MAX * round;
        assert!(round == 0 || lane.next(at - Duration::from_millis(1), true).is_none());
        let (via, item) = lane.next(at, true).expect("time to try again");
        assert_eq!(via, Via::Careful);
        assert_eq!(lane.refused(via, item, HOLD, at, None), None);
        assert_eq!(lane.next_try(), Some(at + RETRY_MAX));
    }
    let (via, item) = lane.next(now + RETRY_MAX * 4, true).expect("time to try again");
    lane.delivered(via, &item, PARTITION);
    assert_eq!(lane.trouble(), None);
}

#[test]
fn what_is_held_for_too_long_goes_to_the_dead_letter_if_so_configured() {
    let (now, max) = (Instant::now(), Some(Duration::from_secs(7)));
    let mut lane = lane_with([thing(1, 1)]);
    let mut at = now;
    let mut tries = 0;
    loop {
        let (via, item) = lane.next(at, true).expect("time to try again");
        tries += 1;
        if lane.refused(via, item, HOLD, at, max).is_some() {
            break;
        }
        at = lane.next_try().unwrap_or(at);
    }
    assert_eq!((tries, at), (4, now + RETRY_MAX * 2));
}

#[test]
fn what_waits_behind_a_record_held_for_too_long_does_not_wait_as_long_again() {
    let (now, max) = (Instant::now(), Some(Duration::from_secs(7)));
    // Unprimed, so that only the first is refused before the hold begins.
    let mut lane = Lane::new(&"t".into(), Some(PARTITION));
    (1..=5).for_each(|seq| lane.push(thing(seq, 1)));
    let (mut at, mut dead) = (now, Vec::new());
    while dead.len() < 5 {
        match lane.next(at, true) {
            Some((via, item)) => {
                dead.extend(lane.refused(via, item, HOLD, at, max).map(|item| item.seq));
            }
            None => at = lane.next_try().expect("it waits for its next try"),
        }
    }
    assert_eq!((dead, at), (vec![1, 2, 3, 4, 5], now + RETRY_MAX * 2));
    assert!(lane.trouble().is_some_and(|trouble| trouble.held), "nothing was delivered yet");
    lane.push(thing(6, 1));
    let (via, item) = lane.next(at, true).expect("an open lane");
    lane.delivered(via, &item, PARTITION);
    assert_eq!(lane.trouble(), None);
}

#[test]
fn what_passes_by_itself_is_tried_again_with_growing_pauses_and_never_given_up() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1)]);
    let (via, item) = lane.next(now, true).expect("an open lane");
    assert_eq!(lane.refused(via, item, TRANSIENT, now, Some(Duration::ZERO)), None);
    let mut at = now;
    let pauses: Vec<u128> = (0..8)
        .map(|_| {
            let (via, item) = lane.next(at, true).expect("time to try again");
            assert_eq!(lane.refused(via, item, TRANSIENT, at, Some(Duration::ZERO)), None);
            let pause = lane.next_try().expect("it waits") - at;
            at += pause;
            pause.as_millis()
        })
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

#[test]
fn a_lane_tells_for_how_long_what_should_pass_does_not() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1)]);
    let mut at = now;
    for _ in 0..12 {
        let (via, item) = lane.next(at, true).expect("time to try again");
        assert_eq!(lane.refused(via, item, TRANSIENT, at, None), None);
        at = lane.next_try().unwrap_or(at);
    }
    assert!(lane.failing_for(at) > Duration::from_secs(20), "{:?}", lane.failing_for(at));
    lane.restart();
    assert_eq!(lane.failing_for(at), Duration::ZERO, "nothing waits, and nothing may ever come");
    lane.push(thing(1, 1));
    assert!(lane.failing_for(at) > Duration::from_secs(20), "a new producer mends nothing");
    let (via, item) = lane.next(at, true).expect("time to try again");
    lane.delivered(via, &item, PARTITION);
    assert_eq!(lane.failing_for(at), Duration::ZERO);

    let mut held = lane_with([thing(1, 1)]);
    let (via, item) = held.next(now, true).expect("an open lane");
    assert_eq!(held.refused(via, item, HOLD, now, None), None);
    assert_eq!(held.failing_for(now + RETRY_MAX), Duration::ZERO, "that is told elsewhere");
}

#[test]
fn a_partition_with_five_records_in_flight_takes_part_in_no_round() {
    let now = Instant::now();
    let mut lane = lane_with((1..=7).map(|seq| thing(seq, 1)));
    let sent: Vec<_> = std::iter::from_fn(|| lane.next(now, true)).take(5).collect();
    assert_eq!((lane.has_room(), lane.ready()), (false, 0));
    assert!(lane.next(now, true).is_some(), "within its round it is given all");
    for (via, item) in &sent[..2] {
        lane.delivered(*via, item, PARTITION);
    }
    assert_eq!((lane.has_room(), lane.ready()), (true, 1));
}

#[test]
fn a_record_of_a_size_that_is_refused_goes_alone_at_once_and_the_lane_is_open_before_and_behind_it()
{
    let now = Instant::now();
    let large = |seq| Thing { bytes: 100, ..thing(seq, 1) };
    let mut lane = lane_with([thing(1, 1), thing(2, 1), large(3), thing(4, 1), large(5)]);
    lane.send_alone_from(100);
    let sent: Vec<_> = std::iter::from_fn(|| lane.next(now, true)).collect();
    assert_eq!(sent, [(Via::Main, thing(1, 1)), (Via::Main, thing(2, 1))]);
    assert_eq!(lane.ready(), 0);
    lane.delivered(Via::Main, &thing(1, 1), PARTITION);
    assert_eq!(lane.next(now, true), None, "what is before it is not settled");
    lane.delivered(Via::Main, &thing(2, 1), PARTITION);
    assert_eq!(lane.next(now, true), Some((Via::Careful, large(3))));
    assert_eq!(lane.next(now, true), None, "alone");
    assert!(lane.refused(Via::Careful, large(3), SUSPECT, now, None).is_some());
    assert_eq!(lane.ready(), 2, "the main producer knows the partition still");
    assert_eq!(lane.next(now, true), Some((Via::Main, thing(4, 1))));
    lane.delivered(Via::Main, &thing(4, 1), PARTITION);
    assert_eq!(lane.next(now, true), Some((Via::Careful, large(5))), "with nothing before it");
    lane.delivered(Via::Careful, &large(5), PARTITION);
    lane.push(large(6));
    lane.send_alone_from(usize::MAX);
    assert_eq!(lane.next(now, true), Some((Via::Main, large(6))), "the size is forgotten");
}

#[test]
fn what_was_suspicious_stays_so_with_a_new_producer_and_its_replay() {
    let now = Instant::now();
    let mut lane = lane_with([thing(1, 1), thing(2, 2)]);
    while lane.next(now, true).is_some() {}
    assert_eq!(lane.refused(Via::Main, thing(2, 2), SUSPECT, now, None), None);
    lane.restart();
    for item in [thing(1, 1), thing(2, 2), thing(3, 3)] {
        lane.push(item);
    }
    for seq in [1, 2] {
        let (via, item) = lane.next(now, true).expect("one at a time");
        assert_eq!((via, item.seq), (Via::Careful, seq));
        lane.delivered(via, &item, PARTITION);
    }
    assert_eq!(lane.next(now, true).map(|(via, _)| via), Some(Via::Main));
}

/// A Kafka that is gapless only after the first record of a producer, as the real one.
struct Kafka {
    partitions: u8,
    poison: BTreeSet<u64>,
    log: Vec<Thing>,
    dead: Vec<u64>,
    /// Partitions in which this producer has written.
    known: BTreeSet<u8>,
    /// Partitions in which a batch of this producer was refused.
    gap: BTreeSet<u8>,
}

impl Kafka {
    /// The verdict on one record of the main producer, its batch being what `batch` says of it.
    fn produce(&mut self, item: &Thing, batch_refused: bool) -> bool {
        let partition = item.key % self.partitions;
        if batch_refused || (self.gap.contains(&partition) && self.known.contains(&partition)) {
            self.gap.insert(partition);
            return false;
        }
        self.known.insert(partition);
        self.log.push(item.clone());
        true
    }
}

proptest! {
    /// Any mix of keys, poison and batch sizes, whether it is remembered which size is refused or not:
    /// nothing is lost, what is refused is exactly the
    /// poison, and the first arrivals of each key are in order.
    #[test]
    fn any_refusal_keeps_the_order_of_each_key(
        keys in prop::collection::vec(0u8..6, 1..60),
        poison in prop::collection::btree_set(0u64..60, 0..8),
        in_flight in 1usize..12,
        batch in 1usize..5,
        partitions in 1u8..4,
        sizes_are_known in any::<bool>(),
        innocent in prop::collection::btree_set(0u64..60, 0..8),
    ) {
        let poison: BTreeSet<u64> =
            poison.into_iter().filter(|seq| *seq < keys.len() as u64).collect();
        let all: Vec<Thing> =
            keys.iter().enumerate().map(|(seq, key)| thing(seq as u64, *key)).collect();
        let all: Vec<Thing> = all.into_iter().map(|item| {
            let is_large = poison.contains(&item.seq) || innocent.contains(&item.seq);
            Thing { bytes: if is_large { 100 } else { 10 }, ..item }
        }).collect();
        let mut kafka = Kafka {
            partitions, poison: poison.clone(), log: vec![], dead: vec![],
            known: BTreeSet::new(), gap: BTreeSet::new(),
        };
        let mut settled = BTreeSet::new();
        let mut lanes: Vec<Lane<Thing>> =
            (0..partitions).map(|_| Lane::new(&"t".into(), Some(PARTITION))).collect();
        let lane_of = |item: &Thing| usize::from(item.key % partitions);
        all.iter().for_each(|item| lanes[lane_of(item)].push(item.clone()));
        let mut now = Instant::now();
        let mut rounds = 0;
        while settled.len() < all.len() {
            rounds += 1;
            prop_assert!(rounds < 2_000, "it does not end");
            now += Duration::from_secs(10);
            let size_is_known = sizes_are_known && !kafka.dead.is_empty();
            let mut sent: Vec<(Via, Thing)> = Vec::new();
            for lane in &mut lanes {
                sent.extend(std::iter::from_fn(|| lane.next(now, true)).take(in_flight));
            }
            let mut fatal = false;
            // librdkafka batches by partition; each batch is refused whole for one culprit.
            let mut batches: BTreeMap<u8, Vec<Vec<Thing>>> = BTreeMap::new();
            for (via, item) in sent {
                if via == Via::Careful {
                    let lane = &mut lanes[lane_of(&item)];
                    if kafka.poison.contains(&item.seq) {
                        let dead = lane.refused(via, item, SUSPECT, now, None).expect("alone");
                        kafka.dead.push(dead.seq);
                        settled.insert(dead.seq);
                        if sizes_are_known {
                            lanes.iter_mut().for_each(|lane| lane.send_alone_from(100));
                        }
                    } else {
                        kafka.log.push(item.clone());
                        lane.delivered(via, &item, PARTITION);
                        settled.insert(item.seq);
                    }
                    continue;
                }
                let batches = batches.entry(item.key % partitions).or_default();
                match batches.last_mut() {
                    Some(last) if last.len() < batch => last.push(item),
                    _ => batches.push(vec![item]),
                }
            }
            for batch in batches.into_values().flatten() {
                let refused = batch.iter().any(|item| kafka.poison.contains(&item.seq));
                prop_assert!(!(refused && size_is_known), "it should have gone alone");
                for item in batch {
                    let lane = &mut lanes[lane_of(&item)];
                    if kafka.produce(&item, refused) {
                        lane.delivered(Via::Main, &item, PARTITION);
                        settled.insert(item.seq);
                    } else {
                        fatal = true;
                        if refused {
                            prop_assert!(lane.refused(Via::Main, item, SUSPECT, now, None).is_none());
                        }
                    }
                }
            }
            if fatal {
                kafka.known.clear();
                kafka.gap.clear();
                lanes.iter_mut().for_each(Lane::restart);
                for item in all.iter().filter(|item| !settled.contains(&item.seq)) {
                    lanes[lane_of(item)].push(item.clone());
                }
            }
        }
        let dead: BTreeSet<u64> = kafka.dead.iter().copied().collect();
        prop_assert_eq!(dead, poison);
        for key in 0..6 {
            let arrived: Vec<u64> =
                kafka.log.iter().filter(|item| item.key == key).map(|item| item.seq).collect();
            let mut firsts: Vec<u64> = Vec::new();
            for seq in arrived {
                if !firsts.contains(&seq) {
                    firsts.push(seq);
                }
            }
            prop_assert!(firsts.is_sorted(), "key {} arrived as {:?}", key, firsts);
        }
    }
}
