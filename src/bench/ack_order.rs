//! PUBACKs in the order of the PUBLISHes, for the baselines. Pure.

/// Slots of a baseline: more than there are packet ids, and so than any window has messages.
pub(super) const SLOTS: usize = 1 << 16;

/// Which messages are delivered. A sequence number counts all messages; a message's slot is the
/// remainder, which no other message in the window has.
pub(super) struct AckOrder {
    delivered: Box<[bool]>,
    next: usize,
}

impl AckOrder {
    pub(super) fn new() -> Self {
        Self { delivered: vec![false; SLOTS].into(), next: 0 }
    }

    /// Takes in which messages were delivered, and gives the slot of each message that may be
    /// acknowledged now.
    pub(super) fn delivered(&mut self, seqs: &mut Vec<usize>, mut acknowledge: impl FnMut(usize)) {
        for seq in seqs.drain(..) {
            self.delivered[seq % SLOTS] = true;
        }
        while std::mem::take(&mut self.delivered[self.next % SLOTS]) {
            acknowledge(self.next % SLOTS);
            self.next += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_acknowledged_when_all_before_it_are_delivered() {
        let mut order = AckOrder::new();
        let mut acknowledged = |seqs: &[usize]| {
            let mut slots = Vec::new();
            order.delivered(&mut seqs.to_vec(), |slot| slots.push(slot));
            slots
        };
        assert_eq!(acknowledged(&[1, 2]), [0; 0]);
        assert_eq!(acknowledged(&[0, 4]), [0, 1, 2]);
        assert_eq!(acknowledged(&[3]), [3, 4]);
        assert_eq!(acknowledged(&(5..SLOTS + 1).collect::<Vec<_>>()).last(), Some(&0));
    }
}
