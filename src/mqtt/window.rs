//! The in-flight window: which messages have no verdict yet, which may be acknowledged, and in what
//! order. Pure: no socket, no clock, no actor.
//!
//! Every PUBLISH passes through here once ([`Window::admit`] or [`Window::redelivered`]), every
//! verdict comes here ([`Window::settle`]), and every PUBACK leaves from here ([`Window::release`]).
//! So the promises are properties of this one type:
//!
//! - Acknowledgements leave in the order in which the PUBLISHes of this connection came
//!   ([MQTT-4.6.0-2]), and only for messages with a final verdict.
//! - An acknowledgement never crosses a connection: [`Window::connection_lost`] takes them all back.
//! - A message is handed on in the order of receipt, again after [`Window::rewind`], until it has
//!   its verdict.
//! - `received = delivered + dead_lettered + filtered + shed + in_flight`, at any moment.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use crate::message::{ForwardMsg, Message, Qos, Seq, Verdict};
use crate::observe::{Acknowledged, Conservation};

/// How much the window holds before reading stops.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Messages, when one of QoS 1 is to be taken in.
    pub messages: usize,
    /// Messages, when one of QoS 0 is to be taken in.
    pub qos0_messages: usize,
    /// Bytes of MQTT topics and payloads. One larger message passes when the window is empty.
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
    /// By packet id, the turn of its acknowledgement; whether that is still among `acks` is seen there.
    turns: Box<[u64]>,
    /// How many have left `acks`: the turn of its first.
    turn: u64,
    /// What lost connections were owed and what was never begun to be written, by packet id.
    known: HashMap<u16, OwedAck>,
    /// Everything below was handed on to the present producer.
    forward_from: Seq,
    counts: Conservation,
    /// Released, and not yet asked for.
    acknowledged: Vec<Acknowledged>,
}

#[derive(Debug)]
struct Entry {
    seq: Seq,
    message: Arc<Message>,
    settled: bool,
    /// When librdkafka told of its delivery.
    delivered_at: Option<Instant>,
    /// This connection is still owed its acknowledgement.
    owed: bool,
}

impl Entry {
    /// Route and delivery, of a record that was delivered.
    fn delivered(&self) -> Option<(usize, Instant)> {
        let (route, _) = self.message.record()?;
        Some((route.index, self.delivered_at?))
    }

    fn msg(&self) -> Option<ForwardMsg> {
        (!self.settled).then(|| ForwardMsg { seq: self.seq, message: Arc::clone(&self.message) })
    }
}

#[derive(Debug)]
struct OwedAck {
    ack: Ack,
    seq: Seq,
    message: Arc<Message>,
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
            turns: vec![0; 1 << 16].into(),
            turn: 0,
            known: HashMap::new(),
            forward_from: Seq(0),
            counts: Conservation::default(),
            acknowledged: Vec::new(),
        }
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

    /// Takes a message in; `ack` is what its sender is owed (`None` for QoS 0).
    pub fn admit(&mut self, message: Arc<Message>, ack: Option<Ack>) {
        let seq = Seq::next();
        self.counts.received += 1;
        // What goes nowhere has no verdict to wait for.
        let settled = message.destination.is_none();
        if settled {
            self.counts.filtered += 1;
        } else {
            self.unsettled += 1;
        }
        let owed = ack.is_some();
        if let Some(ack) = ack {
            self.owe(OwedAck { ack, seq, message: Arc::clone(&message) });
        }
        self.bytes += message.window_bytes();
        self.entries.push_back(Entry { seq, message, settled, delivered_at: None, owed });
        self.drop_finished();
    }

    /// Counts a QoS 0 message that is dropped on purpose.
    pub fn shed(&mut self) {
        self.counts.received += 1;
        self.counts.shed += 1;
    }

    /// Whether this PUBLISH is a message that is still known, sent again: same packet id, MQTT topic
    /// and payload, and DUP set. If so it is counted, and this connection is owed its
    /// acknowledgement, which follows the verdict of the first forwarding.
    ///
    /// It may come from a lost connection, or on this one: 3.1.1 lets a broker send again what waits
    /// for its PUBACK for long, and some do (EMQX by `retry_interval`, NATS by `ack_wait`). Then one
    /// PUBACK is owed, not two: the second could acknowledge what has the packet id next.
    pub fn redelivered(&mut self, ack: Ack, dup: bool, mqtt_topic: &[u8], payload: &[u8]) -> bool {
        let is_same = |owed: &OwedAck| {
            dup && owed.message.mqtt_topic == mqtt_topic && owed.message.payload == payload
        };
        if self.owed(ack).is_some_and(is_same) {
            self.counts.redelivered += 1;
            return true;
        }
        // Whatever comes under this id, the old message is done with it.
        if self.known.is_empty() {
            return false; // Nearly always, and without a hash.
        }
        let Some(owed) = self.known.remove(&ack.packet_id) else { return false };
        let same = is_same(&owed);
        if same {
            self.counts.redelivered += 1;
            self.owe(OwedAck { ack, ..owed });
        }
        same
    }

    /// Takes a verdict, told at `at`. Returns whether it was the first for a message that waits for
    /// one.
    pub fn settle(&mut self, verdict: Verdict, at: Instant) -> bool {
        let Some(entry) = self.entry(verdict.seq()) else { return false };
        if std::mem::replace(&mut entry.settled, true) {
            return false;
        }
        entry.delivered_at = matches!(verdict, Verdict::Delivered(_)).then_some(at);
        self.unsettled -= 1;
        match verdict {
            Verdict::Delivered(_) => self.counts.delivered += 1,
            Verdict::Rejected(_) => self.counts.dead_lettered += 1,
        }
        self.drop_finished();
        true
    }

    /// Takes out the acknowledgements that are due: the longest prefix, in the order of receipt, of
    /// messages with a verdict. The caller begins to write them at once: from here on they count as
    /// acknowledged, whatever becomes of the write.
    pub fn release(&mut self, mut write: impl FnMut(Ack)) {
        while let Some(owed) = self.acks.front() {
            let OwedAck { ack, seq, .. } = *owed;
            // What is no longer among the entries has had its verdict.
            if let Some(entry) = self.entry(seq) {
                if !entry.settled {
                    return;
                }
                entry.owed = false;
                if let Some((route, delivered_at)) = entry.delivered() {
                    Acknowledged::add(&mut self.acknowledged, route, delivered_at);
                }
            }
            self.acks.pop_front();
            self.turn += 1;
            self.drop_finished();
            write(ack);
        }
    }

    /// Of what was released since the last call, what had been delivered.
    pub fn take_acknowledged(&mut self) -> std::vec::Drain<'_, Acknowledged> {
        self.acknowledged.drain(..)
    }

    /// The messages that the present producer was not given yet, in the order of receipt.
    pub fn take_unforwarded(&mut self) -> Vec<ForwardMsg> {
        let from = self.entries.partition_point(|entry| entry.seq < self.forward_from);
        let messages = self.entries.range(from..).filter_map(Entry::msg).collect();
        if let Some(last) = self.entries.back() {
            self.forward_from = Seq(last.seq.0 + 1);
        }
        messages
    }

    /// There is a new producer: it is to be given everything without a verdict.
    pub fn rewind(&mut self) {
        self.forward_from = Seq(0);
    }

    /// The connection is lost and with it the right to acknowledge. What was received stays until
    /// its verdict; what was owed stays known, so that its redelivery is recognised.
    pub fn connection_lost(&mut self) {
        self.turn += self.acks.len() as u64;
        for owed in self.acks.drain(..) {
            self.known.insert(owed.ack.packet_id, owed);
        }
        for entry in &mut self.entries {
            entry.owed = false;
        }
        self.drop_finished();
        self.bound_known();
    }

    /// The broker has no session: nothing that is known will be sent again.
    pub fn session_lost(&mut self) {
        self.known.clear();
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
        self.known.len() as u64
    }

    /// All terms of the conservation identity, from this moment.
    pub fn snapshot(&self) -> Conservation {
        Conservation { in_flight: self.unsettled as u64, ..self.counts }
    }

    fn owe(&mut self, owed: OwedAck) {
        self.turns[usize::from(owed.ack.packet_id)] = self.turn + self.acks.len() as u64;
        self.acks.push_back(owed);
    }

    /// What this connection is owed under this packet id and in this form.
    fn owed(&self, ack: Ack) -> Option<&OwedAck> {
        let index = self.turns[usize::from(ack.packet_id)].checked_sub(self.turn)?;
        self.acks.get(usize::try_from(index).ok()?).filter(|owed| owed.ack == ack)
    }

    fn entry(&mut self, seq: Seq) -> Option<&mut Entry> {
        // Where no other source took numbers in between, the distance is the index.
        let distance = seq.0.checked_sub(self.entries.front()?.seq.0)?;
        let guess = usize::try_from(distance).ok()?;
        if self.entries.get(guess).is_some_and(|entry| entry.seq == seq) {
            return self.entries.get_mut(guess);
        }
        let index = self.entries.binary_search_by_key(&seq, |entry| entry.seq).ok()?;
        self.entries.get_mut(index)
    }

    fn drop_finished(&mut self) {
        while self.entries.front().is_some_and(|entry| entry.settled && !entry.owed) {
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.message.window_bytes();
            }
        }
    }

    /// What is known but settled is outside the window's bound; a broker that never sends it again
    /// must not make it grow from one lost connection to the next. Twice the window is what two
    /// connections can leave. The oldest go first: at worst their redelivery is forwarded once more.
    fn bound_known(&mut self) {
        let size = |owed: &OwedAck| owed.message.window_bytes();
        let (messages, limit) = (2 * self.limits.messages, self.limits.bytes.saturating_mul(2));
        let mut bytes: usize = self.known.values().map(size).sum();
        if self.known.len() <= messages && bytes <= limit {
            return;
        }
        let mut by_age: Vec<_> =
            self.known.iter().map(|(id, owed)| (owed.seq, *id, size(owed))).collect();
        by_age.sort_unstable();
        for (_, packet_id, size) in by_age {
            if self.known.len() <= messages && bytes <= limit {
                break;
            }
            self.known.remove(&packet_id);
            bytes -= size;
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
