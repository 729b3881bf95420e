//! The in-flight window: which messages have no verdict yet, which may be acknowledged, and in what
//! order. Pure: no socket, no clock, no actor.
//!
//! Every PUBLISH passes through here once ([`Window::admit`], [`Window::redelivered`] or
//! [`Window::copied`]), every verdict comes here ([`Window::settle`]), and every PUBACK leaves from
//! here ([`Window::release`]).
//! So the promises are properties of this one type:
//!
//! - Acknowledgements leave in the order in which the PUBLISHes of this connection came
//!   ([MQTT-4.6.0-2]), and only for messages with a final verdict.
//! - An acknowledgement never crosses a connection: [`Window::connection_lost`] takes them all back.
//! - What a message became is handed on in the order of receipt, again after [`Window::rewind`], until
//!   it has its verdict: each destination has one, and the message when all have theirs.
//! - `received = delivered + dead_lettered + filtered + shed + in_flight`, at any moment.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::config::RenumberedRedelivery;
use crate::message::{Destination, Message, Qos, RecordId, RouteId, Seq};
use crate::mqtt::held_timings::{HeldKey, HeldTimings, Timed, waits_since};
use crate::mqtt::open_destinations::{DeliveredAt, OpenDestinations, Outcome, Settled};
use crate::mqtt::redelivery::{Barrier, Fingerprint, Fingerprints};
use crate::observe::{Acknowledged, Conservation, NoAck, RoutedRun, Runs, WindowUse};
use crate::stage::{ForwardMsg, Placed, Verdict};

/// Acknowledged messages are kept whole up to these bounds, until the broker has shown that it read the
/// acknowledgement. Of the others only a hash is kept.
const WRITTEN_MAX: usize = 2048;
const WRITTEN_MAX_BYTES: usize = 1024 * 1024;

/// How much the window holds before reading stops.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages, when one of QoS 1 is to be taken in.
    pub messages: usize,
    /// Messages, when one of QoS 0 is to be taken in.
    pub qos0_messages: usize,
    /// Bytes of MQTT topics, payloads and MQTT 5 properties. One larger message passes when the window is empty.
    pub bytes: usize,
}

/// How the sender wants a message acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckForm {
    /// PUBACK, for QoS 1.
    PubAck,
    /// PUBREC, for a QoS 2 message that an older subscription of the session still brings.
    PubRec,
}

/// An acknowledgement that is owed, or was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The packet identifier of the PUBLISH.
    pub packet_id: u16,
    /// Which packet acknowledges it.
    pub form: AckForm,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Window {
    limits: Limits,
    /// In the order of receipt, from the oldest on that has no verdict, or waits for its turn to be
    /// acknowledged on this connection.
    entries: VecDeque<Entry>,
    /// Of `entries`: bytes, and how many have no verdict.
    bytes: usize,
    unsettled: usize,
    /// What this connection is owed, in the order in which it sent.
    acks: VecDeque<OwedAck>,
    /// By packet id, the turn of its last acknowledgement, which may have left `acks`.
    ack_index: Box<[u64]>,
    /// How many have left `acks`: the turn of its first. No acknowledgement has turn 0.
    turn: u64,
    /// The last that left `acks`, by turn. These messages may come again, because the broker sent them
    /// before it read the acknowledgement.
    written: VecDeque<OwedAck>,
    written_bytes: usize,
    /// By packet id, the message acknowledged last under it, if it had to leave `written` early.
    acknowledged_last: Box<[Fingerprint]>,
    fingerprints: Fingerprints,
    /// Whether the broker knows of an acknowledgement, by its turn.
    barrier: Barrier,
    /// QoS 2 messages whose PUBREL has not come, over connections; bounded by the packet ids.
    unreleased: HashMap<u16, (Seq, Fingerprint)>,
    /// Acknowledgements owed to lost connections that we never began to write, by packet id.
    awaiting_redelivery: HashMap<u16, OwedAck>,
    /// Everything below was handed on to the present stage.
    forward_from: Seq,
    renumbered: RenumberedRedelivery,
    /// The broker has been seen to send messages again under new packet ids.
    renumbers: bool,
    /// What the connection before this one was owed, in order, by the packet id under which we keep it:
    /// from the oldest that may still come again under a new packet id.
    awaited: VecDeque<(u16, Seq)>,
    /// The first turn of this connection.
    first_turn: u64,
    counts: Conservation,
    /// Payloads of all messages that were admitted.
    received_bytes: u64,
    /// Released, and not yet taken by [`Window::take_acknowledged`].
    acknowledged: Runs<Acknowledged>,
    /// So many of the last entries came since [`Window::routed`] was called.
    unrouted: usize,
    /// Not yet taken by [`Window::take_routed`].
    routed: Runs<RoutedRun>,
    timings: HeldTimings,
}

#[derive(Debug)]
struct Entry {
    seq: Seq,
    message: Arc<Message>,
    /// What the message takes of the limit: [`Message::window_bytes`], found once.
    bytes: usize,
    /// What has no verdict yet.
    open: OpenDestinations,
    /// When librdkafka told of the delivery of each record.
    delivered_at: DeliveredAt,
    /// This connection is still owed its acknowledgement.
    owed: bool,
    /// Microseconds from receipt until its read was routed.
    routed_us: u32,
    /// What is held for its timing records.
    timings: HeldKey,
}

impl Entry {
    fn new(seq: Seq, message: Arc<Message>, bytes: usize) -> Self {
        Self {
            seq,
            bytes,
            open: OpenDestinations::None,
            delivered_at: DeliveredAt::Never,
            owed: true,
            routed_us: 0,
            timings: HeldKey::NONE,
            message,
        }
    }

    /// Why no acknowledgement of it follows any more.
    fn no_ack(&self) -> NoAck {
        match self.message.qos {
            Qos::AtMostOnce => NoAck::Qos0,
            Qos::AtLeastOnce => NoAck::ConnectionLost,
        }
    }

    #[inline]
    fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// Route and delivery of its only record, if that was delivered.
    fn delivered(&self) -> Option<(RouteId, Instant)> {
        match (self.message.destinations.as_slice().first()?, &self.delivered_at) {
            (Destination::Record(record), DeliveredAt::At(at)) => Some((record.route, *at)),
            _ => None,
        }
    }

    /// The same of several, one by one.
    #[cold]
    fn delivered_parts(&self) -> Vec<(RouteId, Instant)> {
        let DeliveredAt::Each(each) = &self.delivered_at else { return Vec::new() };
        let part = |(destination, at): (&Destination, &Option<Instant>)| match destination {
            Destination::Record(record) => Some((record.route, (*at)?)),
            Destination::DeadLetter(_) => None,
        };
        self.message.destinations.as_slice().iter().zip(each).filter_map(part).collect()
    }
}

#[derive(Debug)]
struct OwedAck {
    ack: Ack,
    /// It is due when this message has its verdict.
    seq: Seq,
    /// The message that came under the packet id; `None` where it no longer matters.
    message: Option<Arc<Message>>,
    /// The [`Message::window_bytes`] of `message`.
    bytes: usize,
}

impl OwedAck {
    fn says(&self, mqtt_topic: &[u8], payload: &[u8]) -> bool {
        self.message
            .as_ref()
            .is_some_and(|message| message.mqtt_topic == mqtt_topic && message.payload == payload)
    }
}

impl Window {
    /// An empty window.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: VecDeque::new(),
            bytes: 0,
            unsettled: 0,
            acks: VecDeque::new(),
            ack_index: vec![0; 1 << 16].into(),
            turn: 1,
            written: VecDeque::new(),
            written_bytes: 0,
            acknowledged_last: vec![Fingerprint::default(); 1 << 16].into(),
            fingerprints: Fingerprints::random(),
            barrier: Barrier::default(),
            unreleased: HashMap::new(),
            awaiting_redelivery: HashMap::new(),
            forward_from: Seq(0),
            renumbered: RenumberedRedelivery::Off,
            renumbers: false,
            awaited: VecDeque::new(),
            first_turn: 1,
            counts: Conservation::default(),
            received_bytes: 0,
            acknowledged: Runs::default(),
            unrouted: 0,
            routed: Runs::default(),
            timings: HeldTimings::default(),
        }
    }

    /// Whether messages that come again under a new packet id are recognised
    /// (docs/decisions/0010-renumbered-redelivery.md).
    pub fn with_renumbered(self, renumbered: RenumberedRedelivery) -> Self {
        Self { renumbered, ..self }
    }

    /// Whether a message of this size may be admitted.
    pub fn has_room(&self, qos: Qos, bytes: usize) -> bool {
        let messages = match qos {
            Qos::AtMostOnce => self.limits.qos0_messages,
            Qos::AtLeastOnce => self.limits.messages,
        };
        self.entries.is_empty()
            || (self.entries.len() < messages
                && self.bytes.saturating_add(bytes) <= self.limits.bytes)
    }

    /// Takes a message in; `ack` is what its sender is owed (`None` for QoS 0). Returns its number.
    pub fn admit(&mut self, message: Arc<Message>, ack: Option<Ack>) -> Seq {
        let seq = Seq::next();
        self.counts.received += 1;
        self.received_bytes += message.payload.len() as u64;
        // A message without destinations has no verdict to wait for.
        let open = OpenDestinations::all(&message.destinations);
        if open.is_empty() {
            self.counts.filtered += 1;
        } else {
            self.unsettled += 1;
        }
        let (owed, bytes) = (ack.is_some(), message.window_bytes());
        if let Some(ack) = ack {
            if ack.form == AckForm::PubRec {
                let fingerprint = self.fingerprints.of(&message.mqtt_topic, &message.payload);
                self.unreleased.insert(ack.packet_id, (seq, fingerprint));
            }
            self.owe(OwedAck { ack, seq, message: Some(Arc::clone(&message)), bytes });
        }
        self.bytes += bytes;
        self.unrouted += 1;
        self.entries.push_back(Entry { open, owed, ..Entry::new(seq, message, bytes) });
        if !owed {
            self.drop_finished();
        }
        seq
    }

    /// A PUBLISH brought a copy of message `twin` under a packet id of its own: its sender is owed
    /// `ack`, if any, in its place in the order, once message `twin` has its verdict. `message` is the
    /// copy, which goes nowhere.
    pub fn copied(&mut self, ack: Option<Ack>, twin: Seq, message: Arc<Message>) {
        self.counts.copies += 1;
        let Some(ack) = ack else { return };
        if let Some(entry) = self.entry(twin) {
            let (message, bytes) = (Some(Arc::clone(&entry.message)), entry.bytes);
            self.owe(OwedAck { ack, seq: twin, message, bytes });
            return;
        }
        // The twin has its verdict already. The copy takes room until its turn comes.
        let (seq, bytes) = (Seq::next(), message.window_bytes());
        self.owe(OwedAck { ack, seq, message: Some(Arc::clone(&message)), bytes });
        self.bytes += bytes;
        self.unrouted += 1;
        self.entries.push_back(Entry::new(seq, message, bytes));
    }

    /// Whether a message came since [`Window::routed`] was called.
    #[inline]
    pub fn any_unrouted(&self) -> bool {
        self.unrouted > 0
    }

    /// All messages that came since the last call are routed, at `at`: what one read has brought is handed on
    /// together.
    pub fn routed(&mut self, at: Instant) {
        // Those that nobody wants may have left already.
        let new = std::mem::take(&mut self.unrouted).min(self.entries.len());
        let mut last = (at, 0);
        for entry in self.entries.range_mut(self.entries.len() - new..) {
            let received_at = entry.message.received_at.instant;
            if received_at != last.0 {
                let us = at.saturating_duration_since(received_at).as_micros();
                last = (received_at, u32::try_from(us).unwrap_or(u32::MAX));
            }
            entry.routed_us = last.1;
            for destination in entry.message.destinations.as_slice() {
                if let Destination::Record(record) = destination {
                    RoutedRun::add(&mut self.routed, record.route, last.1);
                }
            }
        }
    }

    /// What [`Window::routed`] was told of since the last call.
    pub fn take_routed(&mut self) -> std::vec::Drain<'_, RoutedRun> {
        self.routed.drain()
    }

    /// A record was delivered, and its verdict follows: what its timing record is made of is kept until its
    /// message is acknowledged, or cannot be any more. So the window bounds how many are kept.
    pub fn placed(&mut self, placed: &Placed) {
        let Some(index) = self.index(placed.id.seq) else { return };
        let Entry { open, timings, .. } = &mut self.entries[index];
        let index = placed.id.index;
        if open.is_open(index) {
            let key = self.timings.hold(timings, open.held(index, *timings), placed);
            open.hold(index, key);
        }
    }

    /// Makes the timing records due of what was delivered at `before` or earlier and waits for its
    /// acknowledgement all the same, whatever keeps that back.
    pub fn give_up_acks(&mut self, before: Instant) {
        if self.timings.len() == 0 {
            return;
        }
        for entry in &mut self.entries {
            let Entry { open, timings, message, routed_us, .. } = entry;
            let reason = (*routed_us, NoAck::NotYet);
            self.timings.make_due(timings, message, reason, |placed| {
                !open.is_open(placed.id.index) && waits_since(placed, before)
            });
        }
    }

    /// The timing records that are due: each delivered record that is to have one comes here once.
    pub fn take_timed(&mut self) -> std::vec::Drain<'_, Timed> {
        self.timings.take_due()
    }

    /// Whether a timing record is due.
    #[inline]
    pub fn any_timed(&self) -> bool {
        self.timings.any_due()
    }

    /// The oldest message that is here.
    pub fn oldest(&self) -> Option<Seq> {
        self.entries.front().map(|entry| entry.seq)
    }

    /// Counts a QoS 0 message that is dropped on purpose.
    pub fn count_shed(&mut self) {
        self.counts.received += 1;
        self.counts.shed += 1;
    }

    /// Whether this PUBLISH is a message that came before, sent again: same packet id, MQTT topic and
    /// payload, and DUP set. If so it is counted, and not to be admitted. If its acknowledgement was
    /// not begun yet, this connection is owed it once, and it follows the verdict of the first
    /// forwarding.
    ///
    /// It may come from a lost connection, or on this one: MQTT 3.1.1 lets a broker send a message again
    /// that waits long for its PUBACK, and some do (EMQX by `retry_interval`, NATS by `ack_wait`). Then
    /// one PUBACK is owed, not two: the second could acknowledge the next message under that packet id.
    /// For the same reason none is owed if the PUBACK was written already and the broker may have sent
    /// this before it read that PUBACK; see [`Window::wants_ping`].
    pub fn redelivered(&mut self, ack: Ack, dup: bool, mqtt_topic: &[u8], payload: &[u8]) -> bool {
        let again = match ack.form {
            AckForm::PubRec => self.is_unreleased(ack, mqtt_topic, payload),
            AckForm::PubAck => {
                if !self.unreleased.is_empty() {
                    self.unreleased.remove(&ack.packet_id); // The broker has forgotten it.
                }
                let owed = || self.owed(ack).is_some_and(|owed| owed.says(mqtt_topic, payload));
                dup && (owed() || self.crossed_its_ack(ack, mqtt_topic, payload))
                    || self.is_known(ack, dup, mqtt_topic, payload)
            }
        };
        self.counts.redelivered += u64::from(again);
        again
    }

    /// Until PUBREL a QoS 2 message that comes again is acknowledged again and not forwarded again,
    /// whatever its DUP and however many connections later ([MQTT-4.3.3]). Other content under its
    /// packet id is another message: the broker has forgotten the first.
    fn is_unreleased(&mut self, ack: Ack, mqtt_topic: &[u8], payload: &[u8]) -> bool {
        let Some(&(seq, fingerprint)) = self.unreleased.get(&ack.packet_id) else { return false };
        let same = fingerprint == self.fingerprints.of(mqtt_topic, payload);
        if same && self.owed(ack).is_none() {
            self.owe(OwedAck { ack, seq, message: None, bytes: 0 });
        }
        same
    }

    /// Whether this is what was acknowledged last under its packet id on this connection, and may
    /// have been sent before the broker read that.
    fn crossed_its_ack(&mut self, ack: Ack, mqtt_topic: &[u8], payload: &[u8]) -> bool {
        let id = usize::from(ack.packet_id);
        let turn = self.ack_index[id];
        if turn >= self.turn || !self.barrier.is_before(turn) {
            return false;
        }
        let crossed = match turn.checked_sub(self.first_written()) {
            Some(index) => {
                let written = usize::try_from(index).ok().and_then(|at| self.written.get(at));
                written.is_some_and(|written| written.says(mqtt_topic, payload))
            }
            None => self.acknowledged_last[id] == self.fingerprints.of(mqtt_topic, payload),
        };
        if crossed {
            self.barrier.ask(turn);
        }
        crossed
    }

    /// The turn of the first among `written`.
    fn first_written(&self) -> u64 {
        self.turn - self.written.len() as u64
    }

    /// Forgets the acknowledgements that the broker has shown to have read, and keeps no more of the
    /// others whole than the bound allows. The broker is asked early, so that hashes are rarely needed.
    fn bound_written(&mut self) {
        if 2 * self.written.len() > WRITTEN_MAX || 2 * self.written_bytes > WRITTEN_MAX_BYTES {
            self.barrier.ask(self.turn - 1);
        }
        while let Some(owed) = self.written.front() {
            let known_of = !self.barrier.is_before(self.first_written());
            let full = self.written.len() > WRITTEN_MAX || self.written_bytes > WRITTEN_MAX_BYTES;
            if !known_of && !full {
                return;
            }
            self.written_bytes -= owed.bytes;
            if let Some(OwedAck { ack, message: Some(message), .. }) = self.written.pop_front()
                && !known_of
            {
                let fingerprint = self.fingerprints.of(&message.mqtt_topic, &message.payload);
                self.acknowledged_last[usize::from(ack.packet_id)] = fingerprint;
            }
        }
    }

    /// Whether this is what a lost connection was owed under its packet id.
    fn is_known(&mut self, ack: Ack, dup: bool, mqtt_topic: &[u8], payload: &[u8]) -> bool {
        if self.awaiting_redelivery.is_empty() {
            return false; // Nearly always, and without a hash.
        }
        // Whatever comes under this id, the old message no longer has it.
        let Some(owed) = self.awaiting_redelivery.remove(&ack.packet_id) else { return false };
        let same = dup && owed.says(mqtt_topic, payload);
        if same {
            self.owe(OwedAck { ack, ..owed });
        }
        same
    }

    /// Whether something of the connection before may yet come again under a new packet id.
    pub fn awaits_renumbered(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Whether this PUBLISH is a message of the connection directly before this one, sent again under
    /// a new packet id: DUP set, and `is_same` as what is known. If so it is counted as redelivered,
    /// and its acknowledgement follows the verdict of the first forwarding.
    ///
    /// One to one and in order: a message that was passed over cannot match any more, and after a
    /// message that matches none, none matches. A packet id under which we keep something goes first.
    pub fn renumbered(&mut self, ack: Ack, dup: bool, is_same: impl Fn(&Message) -> bool) -> bool {
        if !dup {
            self.awaited.clear();
        }
        let says = |owed: &OwedAck| owed.message.as_deref().is_some_and(&is_same);
        if self.ack_index[usize::from(ack.packet_id)] >= self.first_turn
            || self.awaiting_redelivery.get(&ack.packet_id).is_some_and(says)
            || ack.form != AckForm::PubAck
        {
            return false;
        }
        while let Some((known_as, seq)) = self.awaited.pop_front() {
            let known = self.awaiting_redelivery.get(&known_as).filter(|owed| owed.seq == seq);
            if !known.is_some_and(says) {
                continue;
            }
            if self.renumbered == RenumberedRedelivery::Auto
                && !std::mem::replace(&mut self.renumbers, true)
            {
                self.awaited.clear(); // From the next connection on.
                return false;
            }
            if let Some(owed) = self.awaiting_redelivery.remove(&known_as) {
                self.counts.redelivered += 1;
                self.owe(OwedAck { ack, ..owed });
                return true;
            }
        }
        false
    }

    /// PUBREL came: the packet id of a QoS 2 message is free.
    pub fn released(&mut self, packet_id: u16) {
        self.unreleased.remove(&packet_id);
    }

    /// Whether a PINGREQ is to be written now. A message came again after its acknowledgement was written;
    /// it is ignored until the broker has shown, by PINGRESP, that it read the acknowledgement. If the
    /// message comes again after that, the broker lost the acknowledgement, and the message is new.
    pub fn wants_ping(&self) -> bool {
        self.barrier.wants_ping()
    }

    /// A PINGREQ is written, behind all acknowledgements that were released.
    pub fn ping_written(&mut self) {
        self.barrier.ping_written(self.turn);
    }

    /// A PINGRESP came.
    pub fn ping_answered(&mut self) {
        self.barrier.ping_answered();
        self.bound_written();
    }

    /// Takes a verdict, told at `at`. Returns whether it was the first for its destination of a
    /// message that waits for one. A message counts once, when all of its destinations have theirs.
    pub fn settle(&mut self, verdict: Verdict, at: Instant) -> bool {
        let Some(index) = self.index(verdict.id().seq) else { return false };
        let entry = &mut self.entries[index];
        let held = entry.open.held(verdict.id().index, entry.timings);
        let settled = entry.open.settle(verdict, at);
        if matches!(settled, Settled::Nothing) {
            return false;
        }
        if held != HeldKey::NONE {
            self.settle_timing(index, held, verdict);
        }
        let Settled::Message(outcome, delivered_at) = settled else { return true };
        let entry = &mut self.entries[index];
        entry.delivered_at = delivered_at;
        let is_finished = !entry.owed;
        self.unsettled -= 1;
        match outcome {
            Outcome::Delivered => self.counts.delivered += 1,
            Outcome::DeadLettered => self.counts.dead_lettered += 1,
            Outcome::Filtered => self.counts.filtered += 1,
        }
        if is_finished {
            self.drop_finished();
        }
        true
    }

    /// What is held of a record that has its verdict: it is due if no acknowledgement follows, and goes if the
    /// record was not delivered after all.
    #[inline]
    fn settle_timing(&mut self, index: usize, held: HeldKey, verdict: Verdict) {
        let entry = &mut self.entries[index];
        if !matches!(verdict, Verdict::Delivered(_)) {
            self.timings.forget(&mut entry.timings, held);
        } else if !entry.owed {
            let reason = (entry.routed_us, entry.no_ack());
            self.timings.one_due((&mut entry.timings, held), &entry.message, reason);
        }
    }

    /// Takes out the acknowledgements that are due: the longest prefix, in the order of receipt, of
    /// messages with a verdict. The caller begins to write them at once: from here on they count as
    /// acknowledged, whatever becomes of the write.
    pub fn release(&mut self, mut write: impl FnMut(Ack)) {
        while let Some(&OwedAck { ack, seq, .. }) = self.acks.front() {
            // A message that is no longer among the entries has its verdict.
            if let Some(index) = self.index(seq) {
                let entry = &mut self.entries[index];
                if !entry.is_settled() {
                    break;
                }
                entry.owed = false;
                let Entry { timings, message, routed_us, .. } = &mut *entry;
                self.timings.all_due(timings, message, *routed_us);
                if let Some((route, delivered_at)) = entry.delivered() {
                    Acknowledged::add(&mut self.acknowledged, route, delivered_at);
                } else if matches!(entry.delivered_at, DeliveredAt::Each(_)) {
                    for (route, delivered_at) in entry.delivered_parts() {
                        Acknowledged::add(&mut self.acknowledged, route, delivered_at);
                    }
                }
            }
            self.turn += 1;
            if let Some(owed) = self.acks.pop_front() {
                self.written_bytes += owed.bytes;
                self.written.push_back(owed);
            }
            write(ack);
        }
        self.drop_finished();
        self.bound_written();
    }

    /// Whether [`Window::release`] would yield anything.
    pub fn is_ack_due(&self) -> bool {
        let Some(seq) = self.acks.front().map(|owed| owed.seq) else { return false };
        self.entry(seq).is_none_or(|entry| entry.is_settled())
    }

    /// Of what was released since the last call, what had been delivered.
    pub fn take_acknowledged(&mut self) -> std::vec::Drain<'_, Acknowledged> {
        self.acknowledged.drain()
    }

    /// What the present stage was not given yet and has no verdict: messages in the order of receipt,
    /// and of each its open destinations.
    pub fn take_unforwarded(&mut self) -> Vec<ForwardMsg> {
        let from = self.entries.partition_point(|entry| entry.seq < self.forward_from);
        let mut messages = Vec::with_capacity(self.entries.len() - from);
        for Entry { seq, message, open, .. } in self.entries.range(from..) {
            let mut push = |index| {
                let id = RecordId { seq: *seq, index };
                messages.push(ForwardMsg { id, message: Arc::clone(message) });
            };
            match open {
                // Nearly always.
                OpenDestinations::Only => push(0),
                open => open.for_each(push),
            }
        }
        if let Some(last) = self.entries.back() {
            self.forward_from = Seq(last.seq.0 + 1);
        }
        messages
    }

    /// There is a new stage: it is to be given everything without a verdict.
    pub fn rewind(&mut self) {
        self.forward_from = Seq(0);
    }

    /// The connection is lost and with it the right to acknowledge. What was received stays until
    /// its verdict; what was owed stays known, so that its redelivery is recognised.
    pub fn connection_lost(&mut self) {
        self.turn += self.acks.len() as u64;
        self.barrier.connection_lost(self.turn);
        self.written.clear();
        self.written_bytes = 0;
        self.first_turn = self.turn;
        self.awaited.clear();
        if self.renumbered != RenumberedRedelivery::Off {
            let owed = self.acks.iter().map(|owed| (owed.ack.packet_id, owed.seq));
            self.awaited.extend(owed);
        }
        // For QoS 2, `unreleased` keeps what is owed.
        for owed in self.acks.drain(..).filter(|owed| owed.ack.form == AckForm::PubAck) {
            self.awaiting_redelivery.insert(owed.ack.packet_id, owed);
        }
        for entry in &mut self.entries {
            entry.owed = false;
            let reason = (entry.routed_us, entry.no_ack());
            let Entry { open, timings, message, .. } = entry;
            self.timings.make_due(timings, message, reason, |it| !open.is_open(it.id.index));
        }
        self.drop_finished();
        self.bound_awaiting_redelivery();
    }

    /// The broker has no session, or another client has it: whatever comes now is new.
    pub fn session_lost(&mut self) {
        self.awaiting_redelivery.clear();
        self.awaited.clear();
        self.unreleased.clear();
    }

    /// Whether everything received has its verdict.
    pub fn is_settled_whole(&self) -> bool {
        self.unsettled == 0
    }

    /// Whether this connection is owed no acknowledgement.
    pub fn owes_nothing(&self) -> bool {
        self.acks.is_empty()
    }

    /// Messages of lost connections whose acknowledgement was never begun, and is still wanted.
    pub fn unacknowledged(&self) -> u64 {
        self.awaiting_redelivery.len() as u64
    }

    /// All terms of the conservation identity, from this moment.
    pub fn snapshot(&self) -> Conservation {
        Conservation { in_flight: self.unsettled as u64, ..self.counts }
    }

    /// What is in the window at this moment.
    pub fn used(&self) -> WindowUse {
        let (messages, bytes) = (self.entries.len(), self.bytes);
        WindowUse { messages, bytes, received_bytes: self.received_bytes }
    }

    fn owe(&mut self, owed: OwedAck) {
        self.ack_index[usize::from(owed.ack.packet_id)] = self.turn + self.acks.len() as u64;
        self.acks.push_back(owed);
    }

    /// What this connection is owed under this packet id and in this form.
    fn owed(&self, ack: Ack) -> Option<&OwedAck> {
        let index = self.ack_index[usize::from(ack.packet_id)].checked_sub(self.turn)?;
        self.acks.get(usize::try_from(index).ok()?).filter(|owed| owed.ack == ack)
    }

    fn entry(&self, seq: Seq) -> Option<&Entry> {
        self.entries.get(self.index(seq)?)
    }

    #[inline]
    fn index(&self, seq: Seq) -> Option<usize> {
        // If no other connection took numbers in between, the distance is the index.
        let distance = seq.0.checked_sub(self.entries.front()?.seq.0)?;
        let guess = usize::try_from(distance).ok()?;
        if self.entries.get(guess).is_some_and(|entry| entry.seq == seq) {
            return Some(guess);
        }
        self.entries.binary_search_by_key(&seq, |entry| entry.seq).ok()
    }

    /// Drops what is at the front, has its verdict, and is owed to nobody.
    fn drop_finished(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.is_settled() && !entry.owed) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.bytes;
            }
        }
    }

    /// Messages that await redelivery and have their verdict are outside the window's bound. A broker that
    /// never sends them again must not make them pile up from one lost connection to the next. Twice the
    /// window is what two connections can leave. The oldest go first: at worst they are forwarded once
    /// more.
    fn bound_awaiting_redelivery(&mut self) {
        let (messages, limit) = (2 * self.limits.messages, self.limits.bytes.saturating_mul(2));
        let mut bytes: usize = self.awaiting_redelivery.values().map(|owed| owed.bytes).sum();
        if self.awaiting_redelivery.len() <= messages && bytes <= limit {
            return;
        }
        let mut by_age: Vec<_> =
            self.awaiting_redelivery.iter().map(|(id, owed)| (owed.seq, *id, owed.bytes)).collect();
        by_age.sort_unstable();
        for (_, packet_id, size) in by_age {
            if self.awaiting_redelivery.len() <= messages && bytes <= limit {
                break;
            }
            self.awaiting_redelivery.remove(&packet_id);
            bytes -= size;
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "window_destinations_tests.rs"]
mod destinations_tests;

#[cfg(test)]
#[path = "window_timings_tests.rs"]
mod timings_tests;
