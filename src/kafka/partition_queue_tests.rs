//! The queues against a simulated Kafka that refuses records, whole batches, and what follows them.

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

/// As it came out of a queue of [`queue_with`], which was given 0, 1, 2 and so on.
fn arrived(item: Thing) -> Arrived<Thing> {
    Arrived { arrival: Arrival(item.seq + 1), item }
}

impl PartialEq for Arrived<Thing> {
    fn eq(&self, other: &Self) -> bool {
        self.item == other.item
    }
}

/// A queue that has delivered one record already.
fn queue_with(things: impl IntoIterator<Item = Thing>) -> PartitionQueue<Thing> {
    let mut queue = PartitionQueue::new(&"t".into(), Some(PARTITION));
    queue.push(thing(0, 0));
    let (path, _) = queue.next(Instant::now(), true).expect("a pipelined queue");
    queue.delivered(path, PARTITION);
    things.into_iter().for_each(|item| queue.push(item));
    queue
}

const PARTITION: i32 = 3;
const SUSPECT: (Class, i32) = (Class::Suspect, 10);
const HOLD: (Class, i32) = (Class::Hold, 29);
const TRANSIENT: (Class, i32) = (Class::Transient, 13);

#[test]
fn until_one_record_of_a_partition_is_delivered_one_is_in_flight() {
    let now = Instant::now();
    let mut queue = PartitionQueue::new(&"t".into(), Some(PARTITION));
    for seq in 1..=3 {
        queue.push(thing(seq, 7));
    }
    assert_eq!(queue.ready(), 1);
    assert_eq!(queue.next(now, true), Some((Path::Pipelined, arrived(thing(1, 7)))));
    assert_eq!(
        (queue.ready(), queue.next(now, true)),
        (0, None),
        "the partition is not known to Kafka yet"
    );
    queue.delivered(Path::Pipelined, PARTITION);
    assert_eq!(queue.ready(), 2);
    assert_eq!(queue.next(now, true), Some((Path::Pipelined, arrived(thing(2, 7)))));
    assert_eq!(
        queue.next(now, true),
        Some((Path::Pipelined, arrived(thing(3, 7)))),
        "now many are in flight"
    );
    queue.restart();
    queue.push(thing(2, 7));
    queue.push(thing(3, 7));
    assert!(queue.next(now, true).is_some());
    assert_eq!(queue.next(now, true), None, "a new producer knows no partition");
}

#[test]
fn while_the_number_of_partitions_is_unknown_one_record_is_in_flight() {
    let now = Instant::now();
    let mut queue = PartitionQueue::new(&"t".into(), None);
    for seq in 1..=4 {
        queue.push(thing(seq, 7));
    }
    for seq in 1..=2 {
        assert!(queue.is_idle());
        assert_eq!(queue.next(now, true), Some((Path::Pipelined, arrived(thing(seq, 7)))));
        assert_eq!((queue.is_idle(), queue.next(now, true)), (false, None));
        queue.delivered(Path::Pipelined, PARTITION);
    }
    assert!(queue.take_waiting().eq([thing(3, 7), thing(4, 7)]), "they can go elsewhere");
    assert_eq!(queue.next(now, true), None);
}

#[test]
fn a_record_that_went_to_another_partition_makes_no_sequence_known() {
    let now = Instant::now();
    let mut queue = PartitionQueue::new(&"t".into(), Some(PARTITION));
    (1..=3).for_each(|seq| queue.push(thing(seq, 7)));
    let (path, _) = queue.next(now, true).expect("a pipelined queue");
    queue.delivered(path, PARTITION + 4);
    assert_eq!(queue.ready(), 1);
    let (path, _) = queue.next(now, true).expect("a pipelined queue");
    queue.delivered(path, PARTITION);
    assert_eq!(queue.next(now, true), Some((Path::Pipelined, arrived(thing(3, 7)))));
}

#[test]
fn a_queue_with_a_held_neighbour_lets_one_record_try_and_then_goes_on() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1), thing(2, 1), thing(3, 1)]);
    queue.probe_if_unproven();
    assert_eq!(queue.ready(), 3, "no doubt, no caution");
    queue.mark_unproven();
    queue.probe_if_unproven();
    assert_eq!(queue.next(now, true), Some((Path::Serial, arrived(thing(1, 1)))));
    assert_eq!(queue.next(now, true), None);
    assert!(queue.delivered(Path::Serial, PARTITION), "the doubt is gone");
    queue.probe_if_unproven();
    assert_eq!(queue.next(now, true), Some((Path::Pipelined, arrived(thing(2, 1)))));
    assert!(!queue.delivered(Path::Pipelined, PARTITION));
}

#[test]
fn a_queue_that_was_held_and_has_nothing_to_send_is_released_with_its_neighbours() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1)]);
    let (path, item) = queue.next(now, true).expect("a pipelined queue");
    assert_eq!(queue.refused(path, item, HOLD, now, None), None);
    queue.forget_trouble();
    assert!(queue.is_held() && !queue.is_idle(), "what waits must find out for itself");
    let (path, item) = queue.next(now, true).expect("it tries");
    let dead = queue.refused(path, item, HOLD, now, Some(Duration::ZERO));
    assert_eq!(dead, Some(thing(1, 1)));
    assert!(queue.is_held() && !queue.is_idle(), "nothing was delivered yet");
    queue.forget_trouble();
    assert!(!queue.is_held() && queue.is_idle());
}

#[test]
fn between_rounds_a_pipelined_queue_waits_and_a_serial_one_does_not() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1), thing(2, 1)]);
    assert_eq!((queue.ready(), queue.next(now, false)), (2, None));
    let (path, item) = queue.next(now, true).expect("the round begins");
    assert_eq!(queue.refused(path, item, SUSPECT, now, None), None);
    assert_eq!(queue.next(now, false), Some((Path::Serial, arrived(thing(1, 1)))));
}

#[test]
fn a_record_refused_alone_goes_to_the_dead_letter_and_the_innocent_pass_in_order() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1), thing(2, 2), thing(3, 3), thing(4, 4)]);
    let sent: Vec<_> = std::iter::from_fn(|| queue.next(now, true)).collect();
    assert_eq!(sent.len(), 4);
    // One batch of the last three is refused for one culprit; the reports come in any order.
    for item in [thing(4, 4), thing(2, 2), thing(3, 3)] {
        assert_eq!(queue.refused(Path::Pipelined, arrived(item), SUSPECT, now, None), None);
    }
    queue.push(thing(5, 5));
    assert_eq!(queue.next(now, true), None, "one is still in flight");
    queue.delivered(Path::Pipelined, PARTITION);

    assert_eq!(queue.next(now, true), Some((Path::Serial, arrived(thing(2, 2)))));
    assert_eq!(queue.next(now, true), None, "one at a time");
    queue.delivered(Path::Serial, PARTITION);
    assert_eq!(queue.next(now, true), Some((Path::Serial, arrived(thing(3, 3)))));
    let dead = queue.refused(Path::Serial, arrived(thing(3, 3)), SUSPECT, now, None);
    assert_eq!(dead, Some(thing(3, 3)));
    assert_eq!(queue.next(now, true), Some((Path::Serial, arrived(thing(4, 4)))));
    assert_eq!(queue.next(now, true), None);
    queue.delivered(Path::Serial, PARTITION);
    assert_eq!(
        queue.next(now, true),
        Some((Path::Pipelined, arrived(thing(5, 5)))),
        "the queue is open again"
    );
}

#[test]
fn a_held_queue_tries_each_five_seconds_and_heals() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1)]);
    let (path, item) = queue.next(now, true).expect("a pipelined queue");
    assert_eq!(queue.refused(path, item, HOLD, now, None), None);
    assert!(queue.trouble().is_some_and(|trouble| trouble.held && trouble.code == 29));
    for round in 0..3 {
        let at = now + HOLD_RETRY * round;
        assert!(round == 0 || queue.next(at - Duration::from_millis(1), true).is_none());
        let (path, item) = queue.next(at, true).expect("time to try again");
        assert_eq!(path, Path::Serial);
        assert_eq!(queue.refused(path, item, HOLD, at, None), None);
        assert_eq!(queue.next_try(), Some(at + HOLD_RETRY));
    }
    let (path, _) = queue.next(now + HOLD_RETRY * 4, true).expect("time to try again");
    queue.delivered(path, PARTITION);
    assert_eq!(queue.trouble(), None);
}

#[test]
fn what_is_held_for_too_long_goes_to_the_dead_letter_if_so_configured() {
    let (now, max) = (Instant::now(), Some(Duration::from_secs(7)));
    let mut queue = queue_with([thing(1, 1)]);
    let mut at = now;
    let mut tries = 0;
    loop {
        let (path, item) = queue.next(at, true).expect("time to try again");
        tries += 1;
        if queue.refused(path, item, HOLD, at, max).is_some() {
            break;
        }
        at = queue.next_try().unwrap_or(at);
    }
    assert_eq!((tries, at), (4, now + HOLD_RETRY * 2));
}

#[test]
fn what_waits_behind_a_record_held_for_too_long_does_not_wait_as_long_again() {
    let (now, max) = (Instant::now(), Some(Duration::from_secs(7)));
    // The sequence is unknown, so that only the first is refused before the hold begins.
    let mut queue = PartitionQueue::new(&"t".into(), Some(PARTITION));
    (1..=5).for_each(|seq| queue.push(thing(seq, 1)));
    let (mut at, mut dead) = (now, Vec::new());
    while dead.len() < 5 {
        match queue.next(at, true) {
            Some((path, item)) => {
                dead.extend(queue.refused(path, item, HOLD, at, max).map(|item| item.seq));
            }
            None => at = queue.next_try().expect("it waits for its next try"),
        }
    }
    assert_eq!((dead, at), (vec![1, 2, 3, 4, 5], now + HOLD_RETRY * 2));
    assert!(queue.trouble().is_some_and(|trouble| trouble.held), "nothing was delivered yet");
    queue.push(thing(6, 1));
    let (path, _) = queue.next(at, true).expect("a pipelined queue");
    queue.delivered(path, PARTITION);
    assert_eq!(queue.trouble(), None);
}

#[test]
fn what_passes_by_itself_is_tried_again_with_growing_pauses_and_never_given_up() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1)]);
    let (path, item) = queue.next(now, true).expect("a pipelined queue");
    assert_eq!(queue.refused(path, item, TRANSIENT, now, Some(Duration::ZERO)), None);
    let mut at = now;
    let pauses: Vec<u128> = (0..8)
        .map(|_| {
            let (path, item) = queue.next(at, true).expect("time to try again");
            assert_eq!(queue.refused(path, item, TRANSIENT, at, Some(Duration::ZERO)), None);
            let pause = queue.next_try().expect("it waits") - at;
            at += pause;
            pause.as_millis()
        })
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

#[test]
fn a_queue_tells_for_how_long_what_should_pass_does_not() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1)]);
    let mut at = now;
    for _ in 0..12 {
        let (path, item) = queue.next(at, true).expect("time to try again");
        assert_eq!(queue.refused(path, item, TRANSIENT, at, None), None);
        at = queue.next_try().unwrap_or(at);
    }
    assert!(queue.failing_for(at) > Duration::from_secs(20), "{:?}", queue.failing_for(at));
    queue.restart();
    assert_eq!(queue.failing_for(at), Duration::ZERO, "nothing waits, and nothing may ever come");
    queue.push(thing(1, 1));
    assert!(queue.failing_for(at) > Duration::from_secs(20), "a new producer mends nothing");
    let (path, _) = queue.next(at, true).expect("time to try again");
    queue.delivered(path, PARTITION);
    assert_eq!(queue.failing_for(at), Duration::ZERO);

    let mut held = queue_with([thing(1, 1)]);
    let (path, item) = held.next(now, true).expect("a pipelined queue");
    assert_eq!(held.refused(path, item, HOLD, now, None), None);
    assert_eq!(held.failing_for(now + HOLD_RETRY), Duration::ZERO, "that is told elsewhere");
}

#[test]
fn a_partition_with_five_records_in_flight_takes_part_in_no_round() {
    let now = Instant::now();
    let mut queue = queue_with((1..=7).map(|seq| thing(seq, 1)));
    let sent: Vec<_> = std::iter::from_fn(|| queue.next(now, true)).take(5).collect();
    assert_eq!((queue.has_room(), queue.ready()), (false, 0));
    assert!(queue.next(now, true).is_some(), "within its round it is given all");
    for (path, _) in &sent[..2] {
        queue.delivered(*path, PARTITION);
    }
    assert_eq!((queue.has_room(), queue.ready()), (true, 1));
}

#[test]
fn a_record_of_a_size_that_is_refused_goes_alone_at_once_and_the_queue_is_pipelined_before_and_behind_it()
 {
    let now = Instant::now();
    let large = |seq| Thing { bytes: 100, ..thing(seq, 1) };
    let mut queue = queue_with([thing(1, 1), thing(2, 1), large(3), thing(4, 1), large(5)]);
    queue.send_alone_from(100);
    let sent: Vec<_> = std::iter::from_fn(|| queue.next(now, true)).collect();
    assert_eq!(
        sent,
        [(Path::Pipelined, arrived(thing(1, 1))), (Path::Pipelined, arrived(thing(2, 1)))]
    );
    assert_eq!(queue.ready(), 0);
    queue.delivered(Path::Pipelined, PARTITION);
    assert_eq!(queue.next(now, true), None, "what is before it is not settled");
    queue.delivered(Path::Pipelined, PARTITION);
    assert_eq!(queue.next(now, true), Some((Path::Serial, arrived(large(3)))));
    assert_eq!(queue.next(now, true), None, "alone");
    assert!(queue.refused(Path::Serial, arrived(large(3)), SUSPECT, now, None).is_some());
    assert_eq!(queue.ready(), 2, "the pipelined producer knows the partition still");
    assert_eq!(queue.next(now, true), Some((Path::Pipelined, arrived(thing(4, 1)))));
    queue.delivered(Path::Pipelined, PARTITION);
    assert_eq!(
        queue.next(now, true),
        Some((Path::Serial, arrived(large(5)))),
        "with nothing before it"
    );
    queue.delivered(Path::Serial, PARTITION);
    queue.push(large(6));
    queue.send_alone_from(usize::MAX);
    assert_eq!(
        queue.next(now, true),
        Some((Path::Pipelined, arrived(large(6)))),
        "the size is forgotten"
    );
}

#[test]
fn what_was_suspicious_stays_so_with_a_new_producer_and_its_replay() {
    let now = Instant::now();
    let mut queue = queue_with([thing(1, 1), thing(2, 2)]);
    while queue.next(now, true).is_some() {}
    assert_eq!(queue.refused(Path::Pipelined, arrived(thing(2, 2)), SUSPECT, now, None), None);
    queue.restart();
    for item in [thing(1, 1), thing(2, 2), thing(3, 3)] {
        queue.push(item);
    }
    for seq in [1, 2] {
        let (path, item) = queue.next(now, true).expect("one at a time");
        assert_eq!((path, item.seq), (Path::Serial, seq));
        queue.delivered(path, PARTITION);
    }
    assert_eq!(queue.next(now, true).map(|(path, _)| path), Some(Path::Pipelined));
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
    /// The verdict on one record of the pipelined producer, its batch being what `batch` says of it.
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
        let mut queues: Vec<PartitionQueue<Thing>> =
            (0..partitions).map(|_| PartitionQueue::new(&"t".into(), Some(PARTITION))).collect();
        let queue_of = |item: &Thing| usize::from(item.key % partitions);
        all.iter().for_each(|item| queues[queue_of(item)].push(item.clone()));
        let mut now = Instant::now();
        let mut rounds = 0;
        while settled.len() < all.len() {
            rounds += 1;
            prop_assert!(rounds < 2_000, "it does not end");
            now += Duration::from_secs(10);
            let size_is_known = sizes_are_known && !kafka.dead.is_empty();
            let mut sent: Vec<(Path, Arrived<Thing>)> = Vec::new();
            for queue in &mut queues {
                sent.extend(std::iter::from_fn(|| queue.next(now, true)).take(in_flight));
            }
            let mut fatal = false;
            // librdkafka batches by partition; each batch is refused whole for one culprit.
            let mut batches: BTreeMap<u8, Vec<Vec<Arrived<Thing>>>> = BTreeMap::new();
            for (path, item) in sent {
                if path == Path::Serial {
                    let queue = &mut queues[queue_of(&item)];
                    if kafka.poison.contains(&item.seq) {
                        let dead = queue.refused(path, item, SUSPECT, now, None).expect("alone");
                        kafka.dead.push(dead.seq);
                        settled.insert(dead.seq);
                        if sizes_are_known {
                            queues.iter_mut().for_each(|queue| queue.send_alone_from(100));
                        }
                    } else {
                        kafka.log.push(item.item.clone());
                        queue.delivered(path, PARTITION);
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
                    let queue = &mut queues[queue_of(&item)];
                    if kafka.produce(&item, refused) {
                        queue.delivered(Path::Pipelined, PARTITION);
                        settled.insert(item.seq);
                    } else {
                        fatal = true;
                        if refused {
                            prop_assert!(queue.refused(Path::Pipelined, item, SUSPECT, now, None).is_none());
                        }
                    }
                }
            }
            if fatal {
                kafka.known.clear();
                kafka.gap.clear();
                queues.iter_mut().for_each(PartitionQueue::restart);
                for item in all.iter().filter(|item| !settled.contains(&item.seq)) {
                    queues[queue_of(item)].push(item.clone());
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

    /// Several sources share a partition, each hands on late and again as it likes, and what is in flight
    /// is delivered, refused in any class or lost with its producer: each source's records are settled
    /// once, in order.
    #[test]
    fn each_source_keeps_its_order_however_sources_interleave(
        steps in prop::collection::vec((0usize..6, 0usize..8, 0usize..4), 1..120),
        suspects_may_be_dead in any::<bool>(),
    ) {
        const SOURCES: usize = 3;
        let mut queue = PartitionQueue::new(&"t".into(), Some(PARTITION));
        let mut next_seq = 0;
        // By source: received and not handed on yet; handed on and without a verdict; settled.
        let mut received = vec![VecDeque::new(); SOURCES];
        let mut open = vec![BTreeSet::new(); SOURCES];
        let mut settled = vec![Vec::new(); SOURCES];
        let mut in_flight: Vec<(Path, Arrived<Thing>)> = Vec::new();
        let mut now = Instant::now();
        let source_of = |item: &Thing| usize::from(item.key);
        let steps = steps.into_iter().map(Some).chain(std::iter::repeat_n(None, 2_000));
        for step in steps {
            now += Duration::from_secs(10);
            let Some((kind, count, class)) = step else {
                // At last all goes well.
                if (0..SOURCES).all(|nth| received[nth].is_empty() && open[nth].is_empty()) {
                    break;
                }
                for nth in 0..SOURCES {
                    for seq in received[nth].drain(..) {
                        open[nth].insert(seq);
                        queue.push(thing(seq, nth as u8));
                    }
                }
                in_flight.extend(std::iter::from_fn(|| queue.next(now, true)));
                for (path, item) in in_flight.drain(..) {
                    queue.delivered(path, PARTITION);
                    open[source_of(&item)].remove(&item.seq);
                    settled[source_of(&item)].push(item.seq);
                }
                continue;
            };
            let source = count % SOURCES;
            match kind {
                0 => {
                    for nth in 0..count {
                        received[(source + nth) % SOURCES].push_back(next_seq);
                        next_seq += 1;
                    }
                }
                1 => {
                    for seq in received[source].drain(..) {
                        open[source].insert(seq);
                        queue.push(thing(seq, source as u8));
                    }
                }
                2 => in_flight.extend(std::iter::from_fn(|| queue.next(now, true)).take(count)),
                3 | 4 => {
                    // Kafka takes the first of them and, gapless, none behind one that it refused.
                    let behind = in_flight.split_off(count.min(in_flight.len()));
                    for (path, item) in in_flight.drain(..) {
                        queue.delivered(path, PARTITION);
                        open[source_of(&item)].remove(&item.seq);
                        settled[source_of(&item)].push(item.seq);
                    }
                    let mut behind = behind;
                    // Their reports come in any order.
                    let turn = class.min(behind.len());
                    behind.rotate_left(turn);
                    for (path, item) in behind {
                        let class = match class {
                            0 => HOLD,
                            1 if suspects_may_be_dead => SUSPECT,
                            _ => TRANSIENT,
                        };
                        if let Some(dead) = queue.refused(path, item, class, now, None) {
                            open[source_of(&dead)].remove(&dead.seq);
                            settled[source_of(&dead)].push(dead.seq);
                        }
                    }
                }
                _ => {
                    queue.restart();
                    in_flight.clear();
                    for nth in (0..SOURCES).map(|nth| (nth + class) % SOURCES) {
                        open[nth].extend(received[nth].drain(..));
                        for seq in &open[nth] {
                            queue.push(thing(*seq, nth as u8));
                        }
                    }
                }
            }
        }
        for nth in 0..SOURCES {
            prop_assert!(open[nth].is_empty() && received[nth].is_empty(), "{:?} wait", open[nth]);
            prop_assert!(settled[nth].is_sorted_by(|a, b| a < b), "{nth}: {:?}", settled[nth]);
        }
        prop_assert_eq!(settled.iter().map(Vec::len).sum::<usize>(), next_seq as usize);
    }
}
