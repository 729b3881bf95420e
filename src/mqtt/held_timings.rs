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

/// Those of one message: the first of a chain in [`HeldTimings`]. Nearly always there is none or one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HeldKey(u32);

impl HeldKey {
    /// Nothing is held.
    pub(super) const NONE: Self = Self(u32::MAX);
}

#[derive(Debug)]
struct Held {
    placed: Placed,
    next: HeldKey,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldTimings {
    held: Slab<Held>,
    /// Not yet taken.
    due: Vec<Timed>,
}

impl HeldTimings {
    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Keeps one for a message. One of the same record before it counts no more: its verdict was lost, and the
    /// record was delivered again.
    pub(super) fn hold(&mut self, first: &mut HeldKey, placed: Placed) {
        let mut key = *first;
        while let Some(held) = self.held.get_mut(key.0 as usize) {
            if held.placed.id == placed.id {
                held.placed = placed;
                return;
            }
            key = held.next;
        }
        let key = self.held.insert(Held { placed, next: *first });
        // The window is far smaller.
        *first = u32::try_from(key).map_or(HeldKey::NONE, HeldKey);
    }

    /// Makes those due that `is_due`; drops none.
    #[inline]
    pub(super) fn make_due(
        &mut self,
        first: &mut HeldKey,
        message: &Arc<Message>,
        (routed_us, no_ack): (u32, Option<NoAck>),
        is_due: impl Fn(&Placed) -> bool,
    ) {
        if *first == HeldKey::NONE {
            return;
        }
        let mut key = std::mem::replace(first, HeldKey::NONE);
        while let Some(held) = self.held.try_remove(key.0 as usize) {
            let Held { placed, next } = held;
            if is_due(&placed) {
                let message = Arc::clone(message);
                self.due.push(Timed { message, placed, routed_us, no_ack });
            } else {
                self.hold(first, placed);
            }
            key = next;
        }
    }

    /// Drops what is held of a record that was not delivered after all.
    #[cold]
    pub(super) fn forget(&mut self, first: &mut HeldKey, is_it: impl Fn(&Placed) -> bool) {
        let mut key = std::mem::replace(first, HeldKey::NONE);
        while let Some(Held { placed, next }) = self.held.try_remove(key.0 as usize) {
            if !is_it(&placed) {
                self.hold(first, placed);
            }
            key = next;
        }
    }

    /// What is due, of which the PUBACKs that are released were not: those without one.
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
