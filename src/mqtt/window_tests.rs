use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::message::{Destination, Destinations, Qos, Refusal, Stamp};

const LIMITS: Limits = Limits { messages: 8, qos0_messages: 12, bytes: 1000 };

fn message(payload: &str, destinations: Destinations) -> Arc<Message> {
    Arc::new(Message {
        mqtt_topic: Bytes::from_static(b"a/b"),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        properties: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_at: Stamp::now(),
        destinations,
    })
}

/// Any destination will do: the window never looks at it.
fn somewhere() -> Destinations {
    let (reason, detail) = ("test", String::new());
    Destinations::One(Destination::DeadLetter(Box::new(Refusal::new(reason, detail))))
}

fn puback(packet_id: u16) -> Ack {
    Ack { packet_id, form: AckForm::PubAck }
}

fn admit(window: &mut Window, packet_id: u16, payload: &str) -> Seq {
    window.admit(message(payload, somewhere()), Some(puback(packet_id)));
    window.entries.back().expect("just admitted").seq
}

fn released(window: &mut Window) -> Vec<u16> {
    let mut ids = Vec::new();
    window.release(|ack| ids.push(ack.packet_id));
    ids
}

fn handed_on(window: &mut Window) -> Vec<Seq> {
    window.take_unforwarded().iter().map(|msg| msg.id.seq).collect()
}

#[test]
fn acknowledgements_leave_in_the_order_of_receipt_whatever_the_order_of_verdicts() {
    let mut window = Window::new(LIMITS);
    let seqs = [1, 2, 3].map(|id| admit(&mut window, id, "x"));
    assert!(released(&mut window).is_empty());
    window.settle(Verdict::Delivered(RecordId::first(seqs[1])), Instant::now());
    assert!(released(&mut window).is_empty());
    window.settle(Verdict::Rejected(RecordId::first(seqs[0])), Instant::now());
    assert_eq!(released(&mut window), [1, 2]);
    window.settle(Verdict::Delivered(RecordId::first(seqs[2])), Instant::now());
    assert_eq!(released(&mut window), [3]);
    assert!(released(&mut window).is_empty());
}

#[test]
fn a_filtered_message_is_acknowledged_behind_those_before_it() {
    let mut window = Window::new(LIMITS);
    let first = admit(&mut window, 1, "x");
    window.admit(message("y", Destinations::None), Some(puback(2)));
    assert!(released(&mut window).is_empty());
    window.settle(Verdict::Delivered(RecordId::first(first)), Instant::now());
    assert_eq!(released(&mut window), [1, 2]);
    assert_eq!(window.snapshot().filtered, 1);
}

#[test]
fn a_verdict_after_the_connection_is_lost_is_counted_and_acknowledges_nothing() {
    let mut window = Window::new(LIMITS);
    let seq = admit(&mut window, 1, "x");
    window.connection_lost();
    assert_eq!(window.snapshot().in_flight, 1);
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    let new = admit(&mut window, 1, "of the new connection");
    assert!(released(&mut window).is_empty());
    assert_eq!(window.snapshot().delivered, 1);
    window.settle(Verdict::Delivered(RecordId::first(new)), Instant::now());
    assert_eq!(released(&mut window), [1]);
}

#[test]
fn a_redelivery_is_recognised_and_acknowledged_after_the_verdict_of_its_first_forwarding() {
    let mut window = Window::new(LIMITS);
    let seqs = [1, 2].map(|id| admit(&mut window, id, "x"));
    window.connection_lost();
    window.settle(Verdict::Delivered(RecordId::first(seqs[1])), Instant::now());
    // In the order in which the new connection sends them.
    assert!(window.redelivered(puback(2), true, b"a/b", b"x"));
    assert!(window.redelivered(puback(1), true, b"a/b", b"x"));
    assert_eq!(released(&mut window), [2]);
    window.settle(Verdict::Delivered(RecordId::first(seqs[0])), Instant::now());
    assert_eq!(released(&mut window), [1]);
    let counts = window.snapshot();
    assert_eq!((counts.received, counts.redelivered, counts.delivered), (2, 2, 2));
}

#[test]
fn only_dup_with_the_same_id_topic_and_payload_is_a_redelivery() {
    let lost = |id| {
        let mut window = Window::new(LIMITS);
        admit(&mut window, id, "x");
        window.connection_lost();
        window
    };
    assert!(lost(7).redelivered(puback(7), true, b"a/b", b"x"));
    assert!(!lost(7).redelivered(puback(7), false, b"a/b", b"x"));
    assert!(!lost(7).redelivered(puback(8), true, b"a/b", b"x"));
    assert!(!lost(7).redelivered(puback(7), true, b"a/c", b"x"));
    assert!(!lost(7).redelivered(puback(7), true, b"a/b", b"y"));
    let mut without_session = lost(7);
    without_session.session_lost();
    assert!(!without_session.redelivered(puback(7), true, b"a/b", b"x"));
}

#[test]
fn what_came_under_a_known_id_with_other_content_makes_the_old_message_forgotten() {
    let mut window = Window::new(LIMITS);
    admit(&mut window, 7, "x");
    window.connection_lost();
    assert!(!window.redelivered(puback(7), false, b"a/b", b"new"));
    assert!(!window.redelivered(puback(7), true, b"a/b", b"x"));
}

#[test]
fn a_message_whose_acknowledgement_was_begun_is_never_taken_for_a_redelivery() {
    let mut window = Window::new(LIMITS);
    let seq = admit(&mut window, 7, "x");
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    assert_eq!(released(&mut window), [7]);
    window.connection_lost();
    assert!(!window.redelivered(puback(7), true, b"a/b", b"x"));
}

#[test]
fn a_redelivery_survives_a_second_lost_connection() {
    let mut window = Window::new(LIMITS);
    let seq = admit(&mut window, 7, "x");
    for _ in 0..3 {
        window.connection_lost();
        assert!(window.redelivered(puback(7), true, b"a/b", b"x"));
    }
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    assert_eq!(released(&mut window), [7]);
    assert_eq!(window.snapshot().received, 1);
}

#[test]
fn what_a_broker_sends_again_on_the_same_connection_is_neither_new_nor_acknowledged_twice() {
    let mut window = Window::new(LIMITS);
    let seqs = [7, 8].map(|id| admit(&mut window, id, "x"));
    for _ in 0..3 {
        assert!(window.redelivered(puback(7), true, b"a/b", b"x"));
        assert!(window.redelivered(puback(8), true, b"a/b", b"x"));
    }
    assert!(!window.redelivered(puback(7), true, b"a/b", b"another"));
    assert!(!window.redelivered(puback(9), true, b"a/b", b"x"));
    window.settle(Verdict::Delivered(RecordId::first(seqs[0])), Instant::now());
    assert_eq!(released(&mut window), [7]);
    window.settle(Verdict::Delivered(RecordId::first(seqs[1])), Instant::now());
    assert_eq!(released(&mut window), [8]);
    let counts = window.snapshot();
    assert_eq!((counts.received, counts.redelivered), (2, 6));
}

#[test]
fn what_crossed_its_acknowledgement_counts_for_nothing_until_the_broker_has_shown_that_it_read_that()
 {
    let mut window = Window::new(LIMITS);
    for id in [7, 8] {
        let seq = admit(&mut window, id, "x");
        window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    }
    window.ping_written();
    assert_eq!(released(&mut window), [7, 8]);
    assert!(!window.wants_ping());
    // Sent before the broker read the PUBACKs, read by us after they were written.
    for id in [7, 8, 7] {
        assert!(window.redelivered(puback(id), true, b"a/b", b"x"));
    }
    assert!(window.owes_nothing(), "a second PUBACK could acknowledge another message");
    assert!(!window.wants_ping(), "one is under way");
    window.ping_answered();
    assert!(window.wants_ping(), "that one was older than the PUBACKs");
    window.ping_written();
    assert!(!window.wants_ping());
    assert!(window.redelivered(puback(7), true, b"a/b", b"x"), "it has not answered yet");
    window.ping_answered();
    assert!(!window.wants_ping());
    // A broker that lost the PUBACK sends again until it gets one.
    assert!(!window.redelivered(puback(7), true, b"a/b", b"x"));
    assert_eq!(window.snapshot().redelivered, 4);
}

#[test]
fn only_what_was_acknowledged_last_under_its_id_on_this_connection_can_have_crossed() {
    let mut window = Window::new(LIMITS);
    let seq = admit(&mut window, 7, "x");
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    assert_eq!(released(&mut window), [7]);
    assert!(!window.redelivered(puback(7), false, b"a/b", b"x"), "a new message");
    assert!(!window.redelivered(puback(7), true, b"a/b", b"y"), "another message");
    assert!(!window.redelivered(puback(7), true, b"a/c", b"x"), "another MQTT topic");
    assert!(!window.redelivered(puback(8), true, b"a/b", b"x"), "another id");
    // The id goes to a new message, which says the same, as sensors do.
    let seq = admit(&mut window, 7, "x");
    assert!(window.redelivered(puback(7), true, b"a/b", b"x"), "that one, again");
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    assert_eq!(released(&mut window), [7]);
    window.connection_lost();
    assert!(!window.redelivered(puback(7), true, b"a/b", b"x"), "its PUBACK may be lost");
}

#[test]
fn what_may_have_crossed_is_bounded_in_memory_and_known_all_the_same() {
    let mut window = Window::new(Limits { messages: 1, qos0_messages: 1, bytes: 10_000 });
    window.ping_written();
    let ids = 1..=3 * WRITTEN_MAX as u16;
    for id in ids.clone() {
        let seq = admit(&mut window, id, &format!("payload {id}"));
        window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
        assert_eq!(released(&mut window), [id]);
        assert!(window.written.len() <= WRITTEN_MAX && window.written_bytes <= WRITTEN_MAX_BYTES);
    }
    for id in ids.clone() {
        let payload = format!("payload {id}");
        assert!(!window.redelivered(puback(id), true, b"a/b", b"another"));
        assert!(window.redelivered(puback(id), true, b"a/b", payload.as_bytes()), "{id}");
    }
    // The broker is asked in time, so that it need not be kept.
    window.ping_answered();
    assert!(window.wants_ping());
    window.ping_written();
    window.ping_answered();
    assert!(window.written.is_empty() && !window.wants_ping());
    let counted: usize = window.written.iter().map(|owed| owed.bytes).sum();
    assert_eq!(window.written_bytes, counted);
    assert!(!window.redelivered(puback(1), true, b"a/b", b"payload 1"));
}

fn pubrec(packet_id: u16) -> Ack {
    Ack { packet_id, form: AckForm::PubRec }
}

#[test]
fn a_qos_2_message_is_acknowledged_again_and_never_forwarded_again_until_pubrel() {
    let mut window = Window::new(LIMITS);
    let seq = window.admit(message("x", somewhere()), Some(pubrec(5)));
    assert!(window.redelivered(pubrec(5), false, b"a/b", b"x"), "whatever its DUP");
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    assert_eq!(released(&mut window), [5], "one PUBREC, since the first was not written yet");
    for dup in [false, true] {
        assert!(window.redelivered(pubrec(5), dup, b"a/b", b"x"));
        assert_eq!(released(&mut window), [5]);
    }
    window.connection_lost();
    assert!(window.redelivered(pubrec(5), true, b"a/b", b"x"), "over connections too");
    assert_eq!(released(&mut window), [5]);
    assert!(!window.redelivered(pubrec(5), false, b"a/b", b"y"), "a broker that forgot it");
    window.released(5);
    assert!(!window.redelivered(pubrec(5), true, b"a/b", b"x"), "its id is free");
    window.admit(message("x", somewhere()), Some(pubrec(5)));
    window.session_lost();
    assert!(!window.redelivered(pubrec(5), true, b"a/b", b"x"));
}

#[test]
fn a_packet_id_that_came_at_qos_1_since_has_no_qos_2_message_any_more() {
    let mut window = Window::new(LIMITS);
    window.admit(message("x", somewhere()), Some(pubrec(7)));
    window.connection_lost();
    assert!(!window.redelivered(puback(7), false, b"a/b", b"y"));
    assert!(!window.redelivered(pubrec(7), false, b"a/b", b"x"), "another message");
}

#[test]
fn a_qos_2_message_that_comes_again_waits_for_the_verdict_of_its_first_forwarding() {
    let mut window = Window::new(LIMITS);
    let seq = window.admit(message("x", somewhere()), Some(pubrec(5)));
    window.connection_lost();
    assert!(window.redelivered(pubrec(5), true, b"a/b", b"x"));
    assert!(released(&mut window).is_empty());
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    assert_eq!(released(&mut window), [5]);
}

#[test]
fn a_copy_is_acknowledged_in_its_turn_after_the_verdict_of_what_it_is_a_copy_of() {
    let mut window = Window::new(LIMITS);
    let first = admit(&mut window, 1, "x");
    let between = admit(&mut window, 2, "y");
    window.copied(Some(puback(3)), first, message("x", Destinations::None));
    window.settle(Verdict::Delivered(RecordId::first(between)), Instant::now());
    assert!(released(&mut window).is_empty());
    window.settle(Verdict::Delivered(RecordId::first(first)), Instant::now());
    assert_eq!(released(&mut window), [1, 2, 3]);
    window.copied(Some(puback(4)), first, message("x", Destinations::None));
    window.copied(None, first, message("x", Destinations::None));
    assert_eq!(released(&mut window), [4], "it is long in Kafka");
    let counts = window.snapshot();
    assert_eq!((counts.received, counts.delivered, counts.copies), (2, 2, 3));
    assert!(counts.balances() && window.owes_nothing());
}

#[test]
fn a_copy_of_a_qos_0_message_is_acknowledged_only_once_that_has_its_verdict() {
    let mut window = Window::new(LIMITS);
    let first = window.admit(message("x", somewhere()), None);
    window.copied(Some(puback(1)), first, message("x", Destinations::None));
    assert!(released(&mut window).is_empty());
    window.settle(Verdict::Delivered(RecordId::first(first)), Instant::now());
    assert_eq!(released(&mut window), [1]);
}

#[test]
fn a_new_producer_is_given_everything_without_a_verdict_in_order() {
    let mut window = Window::new(LIMITS);
    let seqs = [1, 2, 3].map(|id| admit(&mut window, id, "x"));
    assert_eq!(handed_on(&mut window), seqs);
    assert!(handed_on(&mut window).is_empty());
    window.settle(Verdict::Delivered(RecordId::first(seqs[1])), Instant::now());
    window.rewind();
    let new = admit(&mut window, 4, "x");
    assert_eq!(handed_on(&mut window), [seqs[0], seqs[2], new]);
    assert!(handed_on(&mut window).is_empty());
}

#[test]
fn the_window_is_bounded_in_messages_and_in_bytes_and_lets_one_larger_message_pass_alone() {
    let mut window = Window::new(Limits { messages: 2, qos0_messages: 2, bytes: 10 });
    assert!(window.has_room(Qos::AtLeastOnce, 1_000_000));
    let seq = admit(&mut window, 1, "x"); // 4 bytes with its MQTT topic
    assert!(window.has_room(Qos::AtLeastOnce, 6));
    assert!(!window.has_room(Qos::AtLeastOnce, 7));
    admit(&mut window, 2, "x");
    assert!(!window.has_room(Qos::AtLeastOnce, 0));
    window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
    assert!(!window.has_room(Qos::AtLeastOnce, 0), "it is still owed its acknowledgement");
    assert_eq!(released(&mut window), [1]);
    assert!(window.has_room(Qos::AtLeastOnce, 6));
}

#[test]
fn qos_0_has_a_bound_of_its_own_on_the_messages_in_the_window() {
    let mut window = Window::new(Limits { messages: 1, qos0_messages: 2, bytes: 1000 });
    let first = admit(&mut window, 1, "x");
    assert!(!window.has_room(Qos::AtLeastOnce, 1));
    assert!(window.has_room(Qos::AtMostOnce, 1));
    window.admit(message("y", somewhere()), None);
    assert!(!window.has_room(Qos::AtMostOnce, 1));
    window.settle(Verdict::Delivered(RecordId::first(first)), Instant::now());
    assert_eq!(released(&mut window), [1]);
    assert!(window.has_room(Qos::AtMostOnce, 1));
    assert!(!window.has_room(Qos::AtLeastOnce, 1), "it would be the second");
}

#[test]
fn filtered_messages_behind_one_without_a_verdict_fill_the_window_too() {
    let mut window = Window::new(Limits { messages: 3, qos0_messages: 3, bytes: 1000 });
    let first = admit(&mut window, 1, "x");
    for id in 2..4 {
        assert!(window.has_room(Qos::AtLeastOnce, 1));
        window.admit(message("y", Destinations::None), Some(puback(id)));
    }
    assert!(!window.has_room(Qos::AtLeastOnce, 1), "they wait for their acknowledgement");
    window.settle(Verdict::Delivered(RecordId::first(first)), Instant::now());
    assert_eq!(released(&mut window), [1, 2, 3]);
    assert!(window.has_room(Qos::AtLeastOnce, 1));
}

#[test]
fn what_a_flapping_link_leaves_known_stays_within_the_bound() {
    let mut window = Window::new(LIMITS);
    for id in 0..1000 {
        let seq = admit(&mut window, id, "x");
        window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
        window.connection_lost();
        assert!(window.awaiting_redelivery.len() <= 2 * LIMITS.messages);
    }
    // The youngest are kept.
    assert!(window.redelivered(puback(999), true, b"a/b", b"x"));
}

/// One step of a broker, a producer and a link that do as they please.
#[derive(Debug, Clone)]
enum Step {
    Publish {
        qos: u8,
        filtered: bool,
    },
    Verdict {
        which: prop::sample::Index,
        rejected: bool,
    },
    Release,
    Forward,
    NewProducer,
    /// The broker sends again, on this connection, what it has no PUBACK for.
    SendAgain,
    /// It did so before it read the PUBACK, and we read it afterwards.
    SendAgainAcross {
        which: prop::sample::Index,
    },
    /// A PINGREQ is written, because it is time or because one is wanted.
    Ping,
    /// The broker answers the oldest PINGREQ; by then it has read what was written before that.
    Pong,
    /// It sends a QoS 2 message again for which it has no PUBREC, or lost it.
    SendQos2Again {
        which: prop::sample::Index,
        dup: bool,
    },
    PubRel {
        which: prop::sample::Index,
    },
    LoseConnection {
        session_present: bool,
        redelivered: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, prop::bool::weighted(0.1))
            .prop_map(|(qos, filtered)| Step::Publish { qos, filtered }),
        6 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, rejected)| Step::Verdict { which, rejected }),
        3 => Just(Step::Release),
        3 => Just(Step::Forward),
        1 => Just(Step::NewProducer),
        1 => Just(Step::SendAgain),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::SendAgainAcross { which }),
        1 => Just(Step::Ping),
        1 => Just(Step::Pong),
        1 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, dup)| Step::SendQos2Again { which, dup }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::PubRel { which }),
        1 => (prop::bool::weighted(0.8), 0..8_usize).prop_map(|(session_present, redelivered)| {
            Step::LoseConnection { session_present, redelivered }
        }),
    ]
}

/// A broker as the specification wants it, and what it knows.
#[derive(Default)]
struct Broker {
    next_id: u16,
    /// Sent on this connection and not acknowledged, in order, with the payload.
    unacknowledged: Vec<(Ack, String)>,
    /// QoS 1, acknowledged on this connection: its turn among all acknowledgements.
    acknowledged: Vec<(Ack, String, usize)>,
    acknowledgements: usize,
    /// How many acknowledgements each PINGREQ without an answer came behind.
    pings: VecDeque<usize>,
    /// The broker has shown that it read so many.
    shown: usize,
    /// QoS 2, no PUBREL sent.
    unreleased: Vec<(Ack, String)>,
}

proptest! {
    #[test]
    fn order_and_identity_hold_for_any_interleaving(steps in prop::collection::vec(step(), 1..200)) {
        let mut window = Window::new(LIMITS);
        let mut broker = Broker::default();
        let mut unsettled: Vec<Seq> = Vec::new();
        let mut settled: HashMap<Seq, bool> = HashMap::new();
        let mut by_payload: HashMap<String, Seq> = HashMap::new();
        let mut at_producer: Vec<Seq> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Publish { qos: level, filtered } => {
                    let payload = format!("payload {number}");
                    let qos = if level == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                    if !window.has_room(qos, 3 + payload.len()) {
                        continue;
                    }
                    let destination = if filtered { Destinations::None } else { somewhere() };
                    let ack = (level > 0).then(|| {
                        broker.next_id += 1;
                        let id = broker.next_id;
                        let ack = if level == 1 { puback(id) } else { pubrec(id) };
                        broker.unacknowledged.push((ack, payload.clone()));
                        if level == 2 {
                            broker.unreleased.push((ack, payload.clone()));
                        }
                        ack
                    });
                    let seq = window.admit(message(&payload, destination), ack);
                    if !filtered {
                        unsettled.push(seq);
                        by_payload.insert(payload, seq);
                    }
                }
                Step::Verdict { which, rejected } if !unsettled.is_empty() => {
                    let seq = unsettled.remove(which.index(unsettled.len()));
                    let verdict =
                        if rejected { Verdict::Rejected(RecordId::first(seq)) } else { Verdict::Delivered(RecordId::first(seq)) };
                    prop_assert!(window.settle(verdict, Instant::now()));
                    prop_assert!(!window.settle(verdict, Instant::now()), "a second verdict counts for nothing");
                    settled.insert(seq, rejected);
                }
                Step::Verdict { .. } => {}
                Step::Release => {
                    let mut acks = Vec::new();
                    window.release(|ack| acks.push(ack));
                    for ack in acks {
                        let (expected, payload) = broker.unacknowledged.remove(0);
                        prop_assert_eq!(ack, expected, "PUBACKs in the order of PUBLISHes");
                        if let Some(seq) = by_payload.get(&payload) {
                            prop_assert!(settled.contains_key(seq), "no PUBACK without a verdict");
                        }
                        if ack.form == AckForm::PubAck {
                            broker.acknowledged.push((ack, payload, broker.acknowledgements));
                        }
                        broker.acknowledgements += 1;
                    }
                    // Not one too few either.
                    if let Some((_, payload)) = broker.unacknowledged.first() {
                        let seq = by_payload.get(payload).expect("filtered ones are due at once");
                        prop_assert!(!settled.contains_key(seq));
                    }
                }
                Step::Forward => at_producer.extend(handed_on(&mut window)),
                Step::NewProducer => {
                    at_producer.clear();
                    window.rewind();
                    at_producer.extend(handed_on(&mut window));
                    prop_assert_eq!(&at_producer, &unsettled, "the replay is whole");
                }
                Step::SendAgain => {
                    for (ack, payload) in &broker.unacknowledged {
                        prop_assert!(window.redelivered(*ack, true, b"a/b", payload.as_bytes()));
                    }
                }
                Step::SendAgainAcross { which } if !broker.acknowledged.is_empty() => {
                    let (ack, payload, turn) =
                        &broker.acknowledged[which.index(broker.acknowledged.len())];
                    let crossed = window.redelivered(*ack, true, b"a/b", payload.as_bytes());
                    prop_assert_eq!(crossed, *turn >= broker.shown, "until it is shown, no longer");
                    let asked = broker.pings.iter().any(|behind| behind > turn);
                    prop_assert!(
                        !crossed || asked || window.wants_ping() || !broker.pings.is_empty(),
                        "the broker is asked, or will be when it has answered"
                    );
                    if crossed && broker.pings.is_empty() {
                        prop_assert!(window.wants_ping(), "no slot stays stuck");
                    }
                }
                Step::Ping => {
                    window.ping_written();
                    broker.pings.push_back(broker.acknowledgements);
                    prop_assert!(!window.wants_ping());
                }
                Step::Pong => {
                    window.ping_answered();
                    if let Some(behind) = broker.pings.pop_front() {
                        broker.shown = behind;
                    }
                }
                Step::SendQos2Again { which, dup } if !broker.unreleased.is_empty() => {
                    let again = broker.unreleased[which.index(broker.unreleased.len())].clone();
                    prop_assert!(window.redelivered(again.0, dup, b"a/b", again.1.as_bytes()));
                    if !broker.unacknowledged.contains(&again) {
                        broker.unacknowledged.push(again);
                    }
                }
                Step::PubRel { which } if !broker.unreleased.is_empty() => {
                    let at = which.index(broker.unreleased.len());
                    if !broker.unacknowledged.contains(&broker.unreleased[at]) {
                        let (ack, _) = broker.unreleased.remove(at);
                        window.released(ack.packet_id);
                    }
                }
                Step::SendAgainAcross { .. } | Step::SendQos2Again { .. } | Step::PubRel { .. } => {}
                Step::LoseConnection { session_present, redelivered } => {
                    window.connection_lost();
                    prop_assert!(!window.wants_ping());
                    let mut again = std::mem::take(&mut broker.unacknowledged);
                    broker.acknowledged.clear();
                    broker.pings.clear();
                    broker.shown = broker.acknowledgements;
                    if !session_present {
                        window.session_lost();
                        broker.unreleased.clear();
                        continue;
                    }
                    // The connection may be lost again before all came.
                    let rest = again.split_off(redelivered.min(again.len()));
                    for (ack, payload) in &again {
                        prop_assert!(window.redelivered(*ack, true, b"a/b", payload.as_bytes()));
                    }
                    for (ack, _) in &rest {
                        prop_assert!(!window.redelivered(*ack, true, b"a/b", b"another"));
                    }
                    broker.unacknowledged = again;
                }
            }
            prop_assert!(at_producer.is_sorted(), "handed on in the order of receipt");
            let counts = window.snapshot();
            prop_assert!(counts.balances(), "{counts:?}");
            prop_assert_eq!(counts.in_flight as usize, unsettled.len());
            let waiting = window.entries.iter().filter(|entry| !entry.is_settled()).count();
            prop_assert_eq!(counts.in_flight as usize, waiting, "counted from the window itself");
            let bytes: usize = window.entries.iter().map(|e| e.message.window_bytes()).sum();
            prop_assert_eq!(window.bytes, bytes);
            prop_assert!(window.entries.len() <= LIMITS.qos0_messages && window.bytes <= LIMITS.bytes);
        }
    }
}

/// Of a broker that sends again under new packet ids: a message with its number, which makes it
/// unlike any other, and what it says, which does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbered {
    number: usize,
    says: u8,
}

/// How one connection goes, from the redeliveries to its end.
#[derive(Debug, Clone)]
struct Course {
    /// New messages, by what they say.
    published: Vec<u8>,
    /// So many PUBLISHes in flight reach the window, the redeliveries first.
    read: usize,
    /// So many of its messages get their verdict, and with it PUBACKs are written.
    delivered: usize,
    /// So many of these PUBACKs reach the broker.
    arrived: usize,
}

fn course() -> impl Strategy<Value = Course> {
    (prop::collection::vec(0..3_u8, 0..6), 0..8_usize, 0..8_usize, 0..8_usize).prop_map(
        |(published, read, delivered, arrived)| Course { published, read, delivered, arrived },
    )
}

/// A window with a broker that renumbers, and what became of each message.
struct Renumbering {
    window: Window,
    next_id: u16,
    /// Sent and not acknowledged as far as the broker knows, in order; the first `sent` were sent on
    /// an earlier connection.
    queue: Vec<Numbered>,
    sent: usize,
    /// Admitted messages, in order, with their sequence numbers.
    admitted: Vec<(Seq, Numbered)>,
    unsettled: VecDeque<Seq>,
    published: usize,
}

impl Renumbering {
    fn new(renumbered: RenumberedRedelivery) -> Self {
        Self {
            window: Window::new(LIMITS).with_renumbered(renumbered),
            next_id: 0,
            queue: Vec::new(),
            sent: 0,
            admitted: Vec::new(),
            unsettled: VecDeque::new(),
            published: 0,
        }
    }

    fn publish(&mut self, says: u8) {
        self.queue.push(Numbered { number: self.published, says });
        self.published += 1;
    }

    /// One PUBLISH is read; returns its packet id.
    fn read(&mut self, sent: Numbered, dup: bool) -> u16 {
        self.next_id += 1;
        let ack = puback(self.next_id);
        let payload = sent.says.to_string();
        let again = self.window.awaits_renumbered()
            && self.window.renumbered(ack, dup, |known| known.payload == payload)
            || self.window.redelivered(ack, dup, b"a/b", payload.as_bytes());
        if !again {
            let seq = self.window.admit(message(&payload, somewhere()), Some(ack));
            self.admitted.push((seq, sent));
            self.unsettled.push_back(seq);
        }
        self.next_id
    }

    fn settle(&mut self, count: usize) {
        for _ in 0..count {
            let Some(seq) = self.unsettled.pop_front() else { return };
            self.window.settle(Verdict::Delivered(RecordId::first(seq)), Instant::now());
        }
    }

    fn was_admitted(&self, sent: Numbered) -> bool {
        self.admitted.iter().any(|(_, admitted)| *admitted == sent)
    }

    /// One connection. Returns what was acknowledged, as the broker sees it.
    fn connect(&mut self, course: &Course) -> Vec<Numbered> {
        course.published.iter().for_each(|says| self.publish(*says));
        let room = LIMITS.messages - self.window.entries.len();
        let mut by_id = HashMap::new();
        for (index, sent) in self.queue.clone().into_iter().enumerate().take(course.read.min(room))
        {
            by_id.insert(self.read(sent, index < self.sent), sent);
        }
        // What is on its way when the connection ends was sent, too.
        self.sent = self.queue.len();
        self.settle(course.delivered);
        let acknowledged: Vec<_> =
            released(&mut self.window).into_iter().map(|id| by_id[&id]).collect();
        let lost = self.queue.len();
        self.queue.retain(|sent| !acknowledged.iter().take(course.arrived).any(|a| a == sent));
        self.sent -= lost - self.queue.len();
        self.window.connection_lost();
        acknowledged
    }
}

fn renumbering() -> impl Strategy<Value = RenumberedRedelivery> {
    prop::sample::select(vec![RenumberedRedelivery::Auto, RenumberedRedelivery::On])
}

proptest! {
    /// Whatever is lost on the way, PUBACKs and PUBLISHes: a broker that keeps what is not
    /// acknowledged, and gives it to nobody else, loses nothing by it.
    #[test]
    fn nothing_is_acknowledged_unread_to_a_broker_that_renumbers_and_keeps_what_it_owes(
        mode in renumbering(),
        courses in prop::collection::vec(course(), 1..12),
    ) {
        let mut all = Renumbering::new(mode);
        for course in &courses {
            for sent in all.connect(course) {
                prop_assert!(all.was_admitted(sent), "{sent:?} of {courses:?}");
            }
            prop_assert!(all.window.snapshot().balances());
        }
    }
}

/// Three equal messages are in flight and known when the connection is lost.
fn three_in_flight(mode: RenumberedRedelivery) -> Renumbering {
    let mut all = Renumbering::new(mode);
    let course = Course { published: vec![0; 3], read: 3, delivered: 0, arrived: 0 };
    assert!(all.connect(&course).is_empty());
    all
}

#[test]
fn what_was_in_flight_is_known_under_new_ids_if_that_is_wished() {
    let course = Course { published: vec![0], read: 4, delivered: 9, arrived: 9 };
    for (mode, forwarded) in [(RenumberedRedelivery::On, 4), (RenumberedRedelivery::Off, 7)] {
        let mut all = three_in_flight(mode);
        assert_eq!(all.connect(&course).len(), 4, "all are acknowledged");
        assert_eq!(all.admitted.len(), forwarded);
    }
}

#[test]
fn auto_knows_them_once_the_broker_was_seen_to_renumber() {
    let mut all = three_in_flight(RenumberedRedelivery::Auto);
    let course = Course { published: vec![], read: 3, delivered: 0, arrived: 0 };
    all.connect(&course);
    assert_eq!(all.admitted.len(), 6, "seen for the first time");
    all.connect(&course);
    assert_eq!(all.admitted.len(), 6);
}

#[test]
fn only_what_is_equal_in_order_and_sent_again_is_known_under_a_new_id() {
    let again = |all: &mut Renumbering, says, dup| {
        let before = all.admitted.len();
        all.read(Numbered { number: 99, says }, dup);
        all.admitted.len() == before
    };
    let mut all = Renumbering::new(RenumberedRedelivery::On);
    all.connect(&Course { published: vec![0, 1, 2, 1], read: 4, delivered: 0, arrived: 0 });
    assert!(again(&mut all, 1, true), "0 is passed over");
    assert!(!again(&mut all, 0, true), "and not meant any more; nor is anything after that");
    assert!(!again(&mut all, 2, true));
    let mut all = three_in_flight(RenumberedRedelivery::On);
    assert!(!again(&mut all, 0, false), "a new message");
    assert!(!again(&mut all, 0, true), "the redeliveries are over");
    let mut all = three_in_flight(RenumberedRedelivery::On);
    all.window.connection_lost();
    assert!(!again(&mut all, 0, true), "not of the connection directly before");
    let mut all = three_in_flight(RenumberedRedelivery::On);
    all.window.session_lost();
    assert!(!again(&mut all, 0, true));
}

/// Why it is off unless someone turns it on (docs/decisions/0010-renumbered-redelivery.md).
#[test]
fn a_broker_that_gives_away_what_it_owes_makes_an_equal_message_be_taken_for_it() {
    for mode in [RenumberedRedelivery::On, RenumberedRedelivery::Off] {
        let mut all = three_in_flight(mode);
        // It dropped the first of the three, or another client with this id acknowledged it; a
        // fourth, equal one was sent and not read.
        all.queue.remove(0);
        all.publish(0);
        all.sent = all.queue.len();
        let acknowledged =
            all.connect(&Course { published: vec![], read: 3, delivered: 9, arrived: 9 });
        let fourth = acknowledged[2];
        assert_eq!(fourth.number, 3);
        assert_eq!(all.was_admitted(fourth), mode == RenumberedRedelivery::Off);
    }
}
