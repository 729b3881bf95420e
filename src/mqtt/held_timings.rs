//! What the timing records of delivered records are made of, from the delivery to the PUBACK: at most as much as
//! the window has records. Pure; nothing is allocated for a record once there is room.

use std::sync::Arc;
use std::time::Instant;

use slab::Slab;

use crate::message::Message;
use crate::observe::NoAck;
use crate::stage::Placed;

/// A delivered record whose timing record is due.
#[derive(Debug)]
pub struct Timed {
    /// Its message.
    pub message: Arc<Message>,
    /// Where and when it was delivered.
    pub placed: Placed,
    /// Microseconds from receipt until its read was routed.
    pub routed_us: u32,
    /// Why it has no PUBACK; `None`: the PUBACK was released.
    pub no_ack: Option<NoAck>,
}

/// A place in [`HeldTimings`]. The places of one message are a chain, of which the window knows the first; nearly
/// always there is none or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldKey(u32);

impl HeldKey {
    /// Nothing is held.
    pub(super) const NONE: Self = Self(u32::MAX);
}

impl Default for HeldKey {
    fn default() -> Self {
        Self::NONE
    }
}

#[derive(Debug)]
struct Held {
    placed: Placed,
    /// Of the same message.
    before: HeldKey,
    next: HeldKey,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldTimings {
    held: Slab<Held>,
    /// Not yet taken.
    due: Vec<Timed>,
    /// How many places were looked at.
    #[cfg(test)]
    pub(super) looks: usize,
}

impl HeldTimings {
    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    #[inline]
    fn at(&mut self, key: HeldKey) -> Option<&mut Held> {
        #[cfg(test)]
        {
            self.looks += 1;
        }
        self.held.get_mut(key.0 as usize)
    }

    /// Keeps one for a message and says where. The one at `old`, of the same record, counts no more: its verdict was
    /// lost, and the record was delivered again.
    #[inline]
    pub(super) fn hold(&mut self, first: &mut HeldKey, old: HeldKey, placed: &Placed) -> HeldKey {
        if old != HeldKey::NONE
            && let Some(held) = self.at(old)
            && held.placed.id == placed.id
        {
            held.placed = *placed;
            return old;
        }
        // The window is far smaller.
        let Ok(key) = u32::try_from(self.held.vacant_key()) else { return HeldKey::NONE };
        let next = std::mem::replace(first, HeldKey(key));
        if next != HeldKey::NONE
            && let Some(second) = self.at(next)
        {
            second.before = *first;
        }
        self.held.insert(Held { placed: *placed, before: HeldKey::NONE, next });
        *first
    }

    /// Makes all of a message due.
    #[inline]
    pub(super) fn all_due(&mut self, first: &mut HeldKey, message: &Arc<Message>, routed_us: u32) {
        if *first == HeldKey::NONE {
            return;
        }
        let mut key = std::mem::replace(first, HeldKey::NONE);
        while let Some(Held { placed, next, .. }) = self.held.try_remove(key.0 as usize) {
            let message = Arc::clone(message);
            self.due.push(Timed { message, placed, routed_us, no_ack: None });
            key = next;
        }
    }

    /// Makes those of a message due that `is_due`, without an acknowledgement; the others stay where they are.
    #[inline]
    pub(super) fn make_due(
        &mut self,
        first: &mut HeldKey,
        message: &Arc<Message>,
        (routed_us, no_ack): (u32, NoAck),
        is_due: impl Fn(&Placed) -> bool,
    ) {
        let mut key = *first;
        while key != HeldKey::NONE {
            let Some(held) = self.at(key) else { return };
            let (next, is_due) = (held.next, is_due(&held.placed));
            if is_due {
                self.one_due((first, key), message, (routed_us, no_ack));
            }
            key = next;
        }
    }

    /// Makes the one at `key` due, without an acknowledgement.
    pub(super) fn one_due(
        &mut self,
        (first, key): (&mut HeldKey, HeldKey),
        message: &Arc<Message>,
        (routed_us, no_ack): (u32, NoAck),
    ) {
        if let Some(placed) = self.forget(first, key) {
            let message = Arc::clone(message);
            self.due.push(Timed { message, placed, routed_us, no_ack: Some(no_ack) });
        }
    }

    /// Lets go of the one at `key`.
    pub(super) fn forget(&mut self, first: &mut HeldKey, key: HeldKey) -> Option<Placed> {
        let Held { placed, before, next } = self.held.try_remove(key.0 as usize)?;
        match self.at(before) {
            Some(held) => held.next = next,
            None => *first = next,
        }
        if let Some(held) = self.at(next) {
            held.before = before;
        }
        Some(placed)
    }

    /// What is due, each once. Those whose PUBACK was released come with no [`Timed::no_ack`].
    pub(super) fn take_due(&mut self) -> std::vec::Drain<'_, Timed> {
        self.due.drain(..)
    }

    /// Whether something is due.
    pub(super) fn any_due(&self) -> bool {
        !self.due.is_empty()
    }
}

/// Whether a record has waited for its PUBACK since `before`.
pub(super) fn waits_since(placed: &Placed, before: Instant) -> bool {
    placed.delivered_at.instant <= before
}
