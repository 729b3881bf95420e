//! The timing records of delivered records: each has exactly one, whatever the order of verdicts, PUBACKs and losses.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::message::{Destinations, Record, Stamp};

const LIMITS: Limits = Limits { messages: 1000, qos0_messages: 1000, bytes: 1 << 20 };

fn message(qos: Qos, records: usize, received_at: Stamp) -> Arc<Message> {
    let record = |route| Record::new(RouteId(route), "k".into(), Bytes::new());
    let mut made: Vec<_> = (0..records).map(record).map(Destination::Record).collect();
    let destinations = match made.len() {
        0 => Destinations::None,
        1 => made.pop().map_or(Destinations::None, Destinations::One),
        _ => Destinations::Several(made.into()),
    };
    let (mqtt_topic, payload, properties) = (Bytes::from("a/b"), Bytes::new(), Bytes::new());
    let retain = false;
    Arc::new(Message { mqtt_topic, payload, properties, qos, retain, received_at, destinations })
}

fn puback(packet_id: u16) -> Option<Ack> {
    Some(Ack { packet_id, form: AckForm::PubAck })
}

fn placed(id: RecordId, kafka_offset: i64, delivered_at: Stamp) -> Placed {
    Placed {
        id,
        kafka_partition: 0,
        kafka_offset,
        produced_at: delivered_at,
        delivered_at,
        is_logged: true,
        is_slow: false,
    }
}

fn deliver(window: &mut Window, id: RecordId, kafka_offset: i64) {
    let now = Stamp::now();
    window.placed(&placed(id, kafka_offset, now));
    window.settle(Verdict::Delivered(id), now.instant);
}

/// Offset and reason of each that is due.
fn due(window: &mut Window) -> Vec<(i64, Option<NoAck>)> {
    window.take_timed().map(|timed| (timed.placed.kafka_offset, timed.no_ack)).collect()
}

fn admit(window: &mut Window, qos: Qos, packet_id: u16) -> RecordId {
    let ack = puback(packet_id).filter(|_| qos == Qos::AtLeastOnce);
    RecordId::first(window.admit(message(qos, 1, Stamp::now()), ack))
}

use NoAck::{ConnectionLost, NotYet, Qos0};
use Qos::{AtLeastOnce, AtMostOnce};

#[test]
fn a_timing_record_is_due_with_the_puback_and_at_qos_0_with_the_verdict() {
    let mut window = Window::new(LIMITS);
    let [first, second] = [1, 2].map(|packet_id| admit(&mut window, AtLeastOnce, packet_id));
    let third = admit(&mut window, AtMostOnce, 0);
    deliver(&mut window, second, 20);
    assert_eq!(due(&mut window), [], "an older one has no verdict");
    deliver(&mut window, third, 30);
    assert_eq!(due(&mut window), [(30, Some(Qos0))]);
    deliver(&mut window, first, 10);
    assert!(!window.any_timed(), "no PUBACK is released yet");
    window.release(|_| {});
    assert_eq!(due(&mut window), [(10, None), (20, None)]);
    assert_eq!(window.timings.len(), 0);
}

#[test]
fn a_lost_connection_makes_what_is_delivered_due_and_what_follows_with_its_verdict() {
    let mut window = Window::new(LIMITS);
    let [first, second] = [1, 2].map(|packet_id| admit(&mut window, AtLeastOnce, packet_id));
    deliver(&mut window, second, 20);
    window.connection_lost();
    assert_eq!(due(&mut window), [(20, Some(ConnectionLost))]);
    // They come again; the PUBACKs of the new connection are no second record.
    assert!(window.redelivered(puback(1).expect("an ack"), true, b"a/b", b""));
    assert!(window.redelivered(puback(2).expect("an ack"), true, b"a/b", b""));
    deliver(&mut window, first, 10);
    assert_eq!(due(&mut window), [(10, Some(ConnectionLost))]);
    let mut released = 0;
    window.release(|_| released += 1);
    assert_eq!((released, due(&mut window)), (2, vec![]));
}

#[test]
fn what_waits_long_for_an_older_message_is_due_without_its_puback_and_not_again_with_it() {
    let mut window = Window::new(LIMITS);
    let [first, second, third] = [1, 2, 3].map(|id| admit(&mut window, AtLeastOnce, id));
    deliver(&mut window, second, 20);
    let between = Instant::now();
    while Instant::now() == between {}
    deliver(&mut window, third, 30);
    window.give_up_acks(between);
    assert_eq!(due(&mut window), [(20, Some(NotYet))]);
    deliver(&mut window, first, 10);
    window.release(|_| {});
    assert_eq!(due(&mut window), [(10, None), (30, None)]);
}

#[test]
fn each_record_of_a_message_has_one_and_one_that_is_refused_has_none() {
    let mut window = Window::new(LIMITS);
    let seq = window.admit(message(AtLeastOnce, 4, Stamp::now()), puback(1));
    let id = |index| RecordId { seq, index };
    deliver(&mut window, id(2), 2);
    deliver(&mut window, id(0), 0);
    // Delivered, and the verdict was lost with a panic; then the stage had to begin anew, and it was refused.
    window.placed(&placed(id(1), 1, Stamp::now()));
    window.settle(Verdict::Rejected(id(1)), Instant::now());
    // The same, and it was delivered again.
    window.placed(&placed(id(3), 3, Stamp::now()));
    deliver(&mut window, id(3), 33);
    window.placed(&placed(id(3), 34, Stamp::now()));
    assert_eq!(due(&mut window), []);
    window.release(|_| {});
    let mut all = due(&mut window);
    all.sort_unstable();
    assert_eq!(all, [(0, None), (2, None), (33, None)]);
    assert_eq!(window.timings.len(), 0);
}

#[test]
fn a_message_of_a_thousand_records_costs_a_few_looks_for_each() {
    let records = 1_000;
    let ids = |seq| (0..records).map(move |index| RecordId { seq, index });
    let all = |qos, window: &mut Window| {
        let ack = puback(1).filter(|_| qos == AtLeastOnce);
        window.admit(message(qos, records.into(), Stamp::now()), ack)
    };
    let place = |window: &mut Window, seq| {
        ids(seq).for_each(|id| window.placed(&placed(id, id.index.into(), Stamp::now())));
    };
    // With the verdict, in either order, with the PUBACK, and where half has a verdict when the connection is lost.
    for case in 0..4 {
        let mut window = Window::new(LIMITS);
        let qos = if case < 2 { AtMostOnce } else { AtLeastOnce };
        let seq = all(qos, &mut window);
        place(&mut window, seq);
        // Their verdicts were lost, and they were delivered again.
        place(&mut window, seq);
        let mut verdicts: Vec<_> = ids(seq).map(Verdict::Delivered).collect();
        if case == 1 {
            verdicts.reverse();
        }
        for (nth, verdict) in verdicts.into_iter().enumerate() {
            if case == 3 && nth == usize::from(records) / 2 {
                window.connection_lost();
            }
            window.settle(verdict, Instant::now());
        }
        window.release(|_| {});
        let mut found: Vec<_> = due(&mut window).into_iter().map(|(offset, _)| offset).collect();
        found.sort_unstable();
        assert!(found.into_iter().eq(0..records.into()), "each once, case {case}");
        assert_eq!(window.timings.len(), 0);
        let looks = window.timings.looks;
        assert!(looks <= 6 * usize::from(records), "case {case}: {looks} looks");
    }
}

#[test]
fn all_of_a_read_are_routed_at_one_moment_and_counted_by_route() {
    let mut window = Window::new(LIMITS);
    let received_at = Stamp::now();
    let at = |us| received_at.instant + Duration::from_micros(us);
    window.admit(message(AtLeastOnce, 2, received_at), puback(1));
    window.admit(message(AtMostOnce, 0, received_at), None);
    window.admit(message(AtLeastOnce, 1, received_at), puback(2));
    assert!(window.any_unrouted());
    window.routed(at(70));
    assert!(!window.any_unrouted());
    let runs: Vec<_> = window.take_routed().map(|run| (run.route.0, run.us, run.count)).collect();
    assert_eq!(runs, [(0, 70, 2), (1, 70, 1)]);
    let last = window.admit(message(AtMostOnce, 1, received_at), None);
    window.routed(at(90));
    assert_eq!(window.take_routed().count(), 1, "the others are counted");
    deliver(&mut window, RecordId::first(last), 0);
    assert_eq!(window.take_timed().next().map(|timed| timed.routed_us), Some(90));
    window.routed(at(95));
    assert_eq!(window.take_routed().count(), 0);
}

/// One thing that happens to the window.
#[derive(Debug, Clone)]
enum Step {
    Publish {
        qos0: bool,
        records: usize,
    },
    /// One of the open records is delivered; its verdict may be lost with a panic.
    Deliver {
        which: prop::sample::Index,
        is_lost: bool,
    },
    Refuse(prop::sample::Index),
    /// The stage repeats a verdict that was lost: it no longer knows where the record is.
    TellAgain(prop::sample::Index),
    /// A verdict comes once more, with or without its delivery.
    Repeat {
        which: prop::sample::Index,
        with_placed: bool,
    },
    Release,
    LoseConnection {
        comes_again: bool,
    },
    GiveUp,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (any::<bool>(), 0..4_usize).prop_map(|(qos0, records)| Step::Publish { qos0, records }),
        6 => (index(), prop::bool::weighted(0.2))
            .prop_map(|(which, is_lost)| Step::Deliver { which, is_lost }),
        1 => index().prop_map(Step::Refuse),
        1 => index().prop_map(Step::TellAgain),
        1 => (index(), any::<bool>())
            .prop_map(|(which, with_placed)| Step::Repeat { which, with_placed }),
        3 => Just(Step::Release),
        1 => any::<bool>().prop_map(|comes_again| Step::LoseConnection { comes_again }),
        1 => Just(Step::GiveUp),
    ]
}

proptest! {
    #[test]
    fn each_delivered_record_has_exactly_one_timing_record_whatever_happens(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut window = Window::new(LIMITS);
        // The offsets of deliveries whose verdict was lost; that of the one whose verdict came.
        let mut open: BTreeMap<RecordId, Vec<i64>> = BTreeMap::new();
        let mut delivered: BTreeMap<RecordId, i64> = BTreeMap::new();
        let mut refused = Vec::new();
        let mut owed = Vec::new();
        let mut timed: BTreeMap<RecordId, (i64, Option<NoAck>)> = BTreeMap::new();
        let (mut packet_id, mut offset) = (0, 0);
        for step in steps {
            match step {
                Step::Publish { qos0, records } => {
                    packet_id += 1;
                    let qos = if qos0 { AtMostOnce } else { AtLeastOnce };
                    let ack = puback(packet_id).filter(|_| !qos0);
                    let seq = window.admit(message(qos, records, Stamp::now()), ack);
                    owed.extend(ack);
                    let ids = (0..records).map(|index| u16::try_from(index).expect("few"));
                    open.extend(ids.map(|index| (RecordId { seq, index }, Vec::new())));
                }
                Step::Deliver { which, is_lost } if !open.is_empty() => {
                    let id = *which.get(&open.keys().copied().collect::<Vec<_>>());
                    offset += 1;
                    window.placed(&placed(id, offset, Stamp::now()));
                    if is_lost {
                        open.entry(id).or_default().push(offset);
                    } else {
                        prop_assert!(window.settle(Verdict::Delivered(id), Instant::now()));
                        open.remove(&id);
                        delivered.insert(id, offset);
                    }
                }
                Step::TellAgain(which) if open.values().any(|lost| !lost.is_empty()) => {
                    let lost = open.iter().filter_map(|(id, lost)| Some((*id, *lost.last()?)));
                    let (id, offset) = *which.get(&lost.collect::<Vec<_>>());
                    prop_assert!(window.settle(Verdict::Delivered(id), Instant::now()));
                    open.remove(&id);
                    delivered.insert(id, offset);
                }
                Step::Refuse(which) if !open.is_empty() => {
                    let id = *which.get(&open.keys().copied().collect::<Vec<_>>());
                    prop_assert!(window.settle(Verdict::Rejected(id), Instant::now()));
                    open.remove(&id);
                    refused.push(id);
                }
                Step::Repeat { which, with_placed } if !delivered.is_empty() => {
                    let id = *which.get(&delivered.keys().copied().collect::<Vec<_>>());
                    offset += 1;
                    if with_placed {
                        window.placed(&placed(id, offset, Stamp::now()));
                    }
                    prop_assert!(!window.settle(Verdict::Delivered(id), Instant::now()));
                }
                Step::Release => {
                    window.release(|ack| owed.retain(|it: &Ack| *it != ack));
                }
                Step::LoseConnection { comes_again } => {
                    window.connection_lost();
                    let was_owed = std::mem::take(&mut owed);
                    if comes_again {
                        for ack in was_owed {
                            window.redelivered(ack, true, b"a/b", b"");
                            owed.push(ack);
                        }
                    }
                }
                Step::GiveUp => window.give_up_acks(Instant::now()),
                Step::Deliver { .. }
                | Step::TellAgain(_)
                | Step::Refuse(_)
                | Step::Repeat { .. } => {}
            }
            for found in window.take_timed() {
                let id = found.placed.id;
                let offset = delivered.get(&id).copied().expect("only what is delivered");
                prop_assert_eq!(found.placed.kafka_offset, offset);
                let is_qos0 = found.message.qos == AtMostOnce;
                // One that was given up before its verdict was told cannot be of QoS 0.
                prop_assert_eq!(is_qos0, found.no_ack == Some(Qos0), "{:?}", found);
                prop_assert!(timed.insert(id, (offset, found.no_ack)).is_none(), "twice: {:?}", id);
            }
            let records: usize =
                window.entries.iter().map(|entry| entry.message.destinations.as_slice().len()).sum();
            prop_assert!(window.timings.len() <= records, "the window bounds them");
        }
        // The end of the process.
        window.give_up_acks(Instant::now());
        for found in window.take_timed() {
            let offset = found.placed.kafka_offset;
            prop_assert!(timed.insert(found.placed.id, (offset, found.no_ack)).is_none());
        }
        prop_assert!(timed.keys().eq(delivered.keys()), "{:?}", (timed, delivered, refused));
    }
}
