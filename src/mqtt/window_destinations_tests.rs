//! Messages that became several records: each destination has its verdict once, and the message when all
//! have theirs, whatever stage dies, attaches anew or loses verdicts in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::message::{Destinations, Record, Refusal, Stamp};

const LIMITS: Limits = Limits { messages: 1000, qos0_messages: 1000, bytes: 1 << 20 };

fn destination(is_record: bool) -> Destination {
    if is_record {
        return Destination::Record(Record::new(RouteId(0), "k".into(), Bytes::new()));
    }
    let (reason, detail) = ("test", String::new());
    Destination::DeadLetter(Box::new(Refusal::new(reason, detail)))
}

fn message(records: &[bool]) -> Arc<Message> {
    let destinations = match records {
        [] => Destinations::None,
        [only] => Destinations::One(destination(*only)),
        several => Destinations::Several(several.iter().copied().map(destination).collect()),
    };
    message_to(destinations)
}

fn message_to(destinations: Destinations) -> Arc<Message> {
    Arc::new(Message {
        mqtt_topic: Bytes::from_static(b"a/b"),
        payload: Bytes::new(),
        properties: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_at: Stamp::now(),
        destinations,
    })
}

fn verdict(kind: u8, id: RecordId) -> Verdict {
    match kind {
        0 => Verdict::Delivered(id),
        1 => Verdict::Rejected(id),
        _ => Verdict::Dropped(id),
    }
}

fn ids(batch: &[ForwardMsg]) -> Vec<RecordId> {
    batch.iter().map(|msg| msg.id).collect()
}

fn released(window: &mut Window) -> Vec<u16> {
    let mut ids = Vec::new();
    window.release(|ack| ids.push(ack.packet_id));
    ids
}

#[test]
fn a_message_of_three_records_is_acknowledged_when_the_last_of_them_has_its_verdict() {
    let mut window = Window::new(LIMITS);
    let ack = Ack { packet_id: 1, form: AckForm::PubAck };
    let seq = window.admit(message(&[true, true, true]), Some(ack));
    let id = |index| RecordId { seq, index };
    assert_eq!(ids(&window.take_unforwarded()), [id(0), id(1), id(2)]);
    let now = Instant::now();
    assert!(window.settle(Verdict::Delivered(id(1)), now));
    assert!(!window.settle(Verdict::Delivered(id(1)), now), "a second verdict counts for nothing");
    assert!(!window.settle(Verdict::Delivered(id(3)), now), "there is no fourth record");
    window.rewind();
    assert_eq!(ids(&window.take_unforwarded()), [id(0), id(2)], "only what is open");
    assert!(window.settle(Verdict::Delivered(id(2)), now));
    assert!(released(&mut window).is_empty() && !window.is_settled_whole());
    assert!(window.settle(Verdict::Delivered(id(0)), now));
    assert_eq!(released(&mut window), [1]);
    assert_eq!(window.snapshot().delivered, 1, "the identity counts messages, not records");
    assert_eq!(window.take_acknowledged().map(|run| run.count).sum::<u64>(), 3);
}

#[test]
fn each_route_that_delivered_a_part_of_a_message_has_its_own_latency_until_the_puback() {
    let to = |route| Destination::Record(Record::new(RouteId(route), "k".into(), Bytes::new()));
    let several = Destinations::Several([to(5), destination(false), to(6), to(7)].into());
    let mut window = Window::new(LIMITS);
    let seq = window.admit(message_to(several), Some(Ack { packet_id: 1, form: AckForm::PubAck }));
    let begin = Instant::now();
    let at = |ms| begin + std::time::Duration::from_millis(ms);
    for (index, kind, ms) in [(2, 0, 10), (0, 0, 20), (3, 1, 30), (1, 1, 40)] {
        window.settle(verdict(kind, RecordId { seq, index }), at(ms));
    }
    assert_eq!(released(&mut window), [1]);
    let counted = window.take_acknowledged().map(|run| (run.route, run.delivered_at, run.count));
    // The part that Kafka refused, and the one that was a dead letter from the start, were not delivered.
    assert_eq!(counted.collect::<Vec<_>>(), [(RouteId(5), at(20), 1), (RouteId(6), at(10), 1)]);
    assert_eq!(window.snapshot().dead_lettered, 1);
}

#[test]
fn a_message_counts_as_dead_lettered_if_any_of_it_was_else_as_filtered_else_as_delivered() {
    for (kinds, expected) in [
        ([0, 0, 0], (1, 0, 0)),
        ([0, 2, 0], (0, 0, 1)),
        ([2, 0, 1], (0, 1, 0)),
        ([1, 2, 2], (0, 1, 0)),
    ] {
        let mut window = Window::new(LIMITS);
        let seq = window.admit(message(&[true; 3]), None);
        for (index, kind) in (0..).zip(kinds) {
            window.settle(verdict(kind, RecordId { seq, index }), Instant::now());
        }
        let counts = window.snapshot();
        let found = (counts.delivered, counts.dead_lettered, counts.filtered);
        assert_eq!(found, expected, "{kinds:?}");
        assert!(counts.balances() && counts.in_flight == 0);
    }
}

/// One thing that happens to the window.
#[derive(Debug, Clone)]
enum Step {
    /// A message of so many destinations comes: `true` is a record.
    Publish(Vec<bool>),
    /// All that is new is handed on.
    HandOn,
    /// The stage decides one of what it has, and sends its verdict.
    Decide(prop::sample::Index, u8),
    /// One verdict arrives.
    Arrive,
    /// One that arrived before arrives again.
    Repeat(prop::sample::Index),
    /// The stage is restarted: what it had and had not decided is gone.
    NewStage,
    /// The source is restarted: verdicts that were under way are gone. What the stage still has, it
    /// does not take a second time; what it has decided, it decides again.
    Reattach,
    /// The connection is lost, and with it the right to acknowledge.
    Reconnect,
    /// What is due is acknowledged.
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<bool>(), 0..=4).prop_map(Step::Publish),
        3 => Just(Step::HandOn),
        8 => (any::<prop::sample::Index>(), 0..3_u8).prop_map(|(at, kind)| Step::Decide(at, kind)),
        8 => Just(Step::Arrive),
        1 => any::<prop::sample::Index>().prop_map(Step::Repeat),
        1 => Just(Step::NewStage),
        1 => Just(Step::Reattach),
        1 => Just(Step::Reconnect),
        3 => Just(Step::Release),
    ]
}

/// What the window should know, kept the simple way, and the stage behind it.
struct World {
    /// The verdicts of each message's destinations.
    verdicts: BTreeMap<Seq, Vec<Option<u8>>>,
    /// Handed on to this stage and not decided.
    held: BTreeSet<RecordId>,
    /// Sent, and not arrived.
    under_way: VecDeque<(RecordId, u8)>,
    arrived: Vec<(RecordId, u8)>,
    /// Owed on this connection, in order.
    owed: VecDeque<(u16, Seq)>,
    /// What is to be handed on next begins here.
    from: Seq,
}

impl World {
    fn new() -> Self {
        Self {
            verdicts: BTreeMap::new(),
            held: BTreeSet::new(),
            under_way: VecDeque::new(),
            arrived: Vec::new(),
            owed: VecDeque::new(),
            from: Seq(0),
        }
    }

    fn is_settled(&self, seq: Seq) -> bool {
        self.verdicts[&seq].iter().all(Option::is_some)
    }

    fn open(&self) -> Vec<RecordId> {
        let all = self.verdicts.range(self.from..).flat_map(|(seq, verdicts)| {
            let open = (0..).zip(verdicts).filter(|(_, verdict)| verdict.is_none());
            open.map(|(index, _)| RecordId { seq: *seq, index })
        });
        all.collect()
    }

    /// Delivered, dead-lettered, filtered, in flight.
    fn counts(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for verdicts in self.verdicts.values() {
            let has = |kind| verdicts.contains(&Some(kind));
            let place = match () {
                () if verdicts.contains(&None) => 3,
                () if has(1) => 1,
                () if has(2) || verdicts.is_empty() => 2,
                () => 0,
            };
            counts[place] += 1;
        }
        counts
    }
}

proptest! {
    #[test]
    fn every_destination_is_handed_on_until_its_verdict_and_the_message_counts_once(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut window = Window::new(LIMITS);
        let mut world = World::new();
        let now = Instant::now();
        let mut packet_id = 0;
        for step in steps {
            match step {
                Step::Publish(records) => {
                    packet_id += 1;
                    let ack = Ack { packet_id, form: AckForm::PubAck };
                    let seq = window.admit(message(&records), Some(ack));
                    world.verdicts.insert(seq, vec![None; records.len()]);
                    world.owed.push_back((packet_id, seq));
                }
                Step::HandOn => {
                    let batch = window.take_unforwarded();
                    prop_assert!(batch.iter().all(|msg| msg.destination().is_some()));
                    prop_assert_eq!(ids(&batch), world.open());
                    let under_way = |id| world.under_way.iter().any(|(sent, _)| *sent == id);
                    world.held.extend(ids(&batch).into_iter().filter(|id| !under_way(*id)));
                    if let Some((last, _)) = world.verdicts.last_key_value() {
                        world.from = Seq(last.0 + 1);
                    }
                }
                Step::Decide(at, kind) => {
                    if world.held.is_empty() { continue; }
                    let id = *at.get(&world.held.iter().copied().collect::<Vec<_>>());
                    world.held.remove(&id);
                    world.under_way.push_back((id, kind));
                }
                Step::Arrive => {
                    let Some((id, kind)) = world.under_way.pop_front() else { continue };
                    let place = &mut world.verdicts.get_mut(&id.seq).expect("known")[usize::from(id.index)];
                    let is_first = place.is_none();
                    place.get_or_insert(kind);
                    prop_assert_eq!(window.settle(verdict(kind, id), now), is_first);
                    world.arrived.push((id, kind));
                }
                Step::Repeat(at) => {
                    if world.arrived.is_empty() { continue; }
                    let (id, kind) = *at.get(&world.arrived);
                    prop_assert!(!window.settle(verdict(kind, id), now));
                }
                Step::NewStage => {
                    world.held.clear();
                    world.from = Seq(0);
                    window.rewind();
                }
                Step::Reattach => {
                    world.under_way.clear();
                    world.from = Seq(0);
                    window.rewind();
                }
                Step::Reconnect => {
                    world.owed.clear();
                    window.connection_lost();
                }
                Step::Release => {
                    let due = world.owed.iter().take_while(|(_, seq)| world.is_settled(*seq)).count();
                    let due: Vec<_> = world.owed.drain(..due).map(|(id, _)| id).collect();
                    prop_assert_eq!(released(&mut window), due);
                }
            }
            let counts = window.snapshot();
            prop_assert!(counts.balances());
            let found = [counts.delivered, counts.dead_lettered, counts.filtered, counts.in_flight];
            prop_assert_eq!(found, world.counts());
            prop_assert_eq!(window.is_settled_whole(), counts.in_flight == 0);
        }
    }
}
