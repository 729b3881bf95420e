//! Compares the messages that the devices published with those read back from Kafka: did every one
//! arrive, once and in order? Pure.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the devices have sent, readable while they run. Sequence numbers of a device start at 1 and have
/// no gaps; PUBACKs come in order, so one number tells which messages have theirs.
#[derive(Debug)]
pub(super) struct Ledger {
    devices: Vec<DeviceLedger>,
    /// Different messages of the devices that were read back from Kafka.
    read_back: AtomicU64,
}

#[derive(Debug, Default)]
struct DeviceLedger {
    sent: AtomicU64,
    published: AtomicU64,
}

impl Ledger {
    /// For this number of devices.
    pub(super) fn new(devices: usize) -> Self {
        let devices = (0..devices).map(|_| DeviceLedger::default()).collect();
        Self { devices, read_back: AtomicU64::new(0) }
    }

    /// The message `seq` of this device is about to be written to its connection.
    pub(super) fn sending(&self, device: usize, seq: u64) {
        self.devices[device].sent.store(seq, Relaxed);
    }

    /// The broker acknowledged the message `seq` of this device, and all before it.
    pub(super) fn published(&self, device: usize, seq: u64) {
        self.devices[device].published.store(seq, Relaxed);
    }

    /// Counts one more different message as read back.
    pub(super) fn count_read_back(&self) {
        self.read_back.fetch_add(1, Relaxed);
    }

    /// Whether this device has sent `seq`. If not, the record comes from another sender.
    pub(super) fn has_sent(&self, device: usize, seq: u64) -> bool {
        let sent = self.devices.get(device).map_or(0, |device| device.sent.load(Relaxed));
        (1..=sent).contains(&seq)
    }

    /// Messages acknowledged by the broker, all devices together.
    pub(super) fn published_total(&self) -> u64 {
        self.devices.iter().map(|device| device.published.load(Relaxed)).sum()
    }

    /// Messages sent and not read back yet.
    pub(super) fn outstanding(&self) -> u64 {
        let sent: u64 = self.devices.iter().map(|device| device.sent.load(Relaxed)).sum();
        sent.saturating_sub(self.read_back_total())
    }

    /// Different messages read back.
    pub(super) fn read_back_total(&self) -> u64 {
        self.read_back.load(Relaxed)
    }

    /// Messages of this device that the broker has acknowledged.
    pub(super) fn published_by(&self, device: usize) -> u64 {
        self.devices[device].published.load(Relaxed)
    }
}

/// Counts what is read back from Kafka.
#[derive(Debug)]
pub(crate) struct Verifier {
    devices: Vec<Arrivals>,
    duplicated: u64,
    reordered: u64,
}

/// Arrivals of one device. Its size grows with missing messages, not with arrived ones.
#[derive(Debug, Default)]
struct Arrivals {
    highest: u64,
    /// Messages that have not arrived although a later one has.
    missing: BTreeSet<u64>,
}

impl Verifier {
    /// For this number of devices.
    pub(crate) fn new(devices: usize) -> Self {
        let devices = (0..devices).map(|_| Arrivals::default()).collect();
        Self { devices, duplicated: 0, reordered: 0 }
    }

    /// Counts the message `seq` of this device as read; gives whether it came for the first time.
    pub(crate) fn arrived(&mut self, device: usize, seq: u64) -> bool {
        let arrivals = &mut self.devices[device];
        if seq > arrivals.highest {
            arrivals.missing.extend(arrivals.highest + 1..seq);
            arrivals.highest = seq;
            return true;
        }
        let late = arrivals.missing.remove(&seq);
        if late {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
        late
    }

    /// Records beyond the first of each message.
    pub(crate) fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Messages that first arrived after a later message of the same MQTT topic.
    pub(crate) fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Messages that the broker acknowledged and that were not read back. `published_by` gives how many each
    /// device published.
    pub(crate) fn lost(&self, published_by: impl Fn(usize) -> u64) -> u64 {
        let lost_of = |(device, arrivals): (usize, &Arrivals)| {
            let published = published_by(device);
            let in_gaps = arrivals.missing.range(..=published).count() as u64;
            in_gaps + published.saturating_sub(arrivals.highest)
        };
        self.devices.iter().enumerate().map(lost_of).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One device has published 5 messages; these arrive. Gives (lost, duplicated, reordered).
    fn of_five(arrivals: &[u64]) -> (u64, u64, u64) {
        let ledger = Ledger::new(2);
        ledger.sending(1, 6);
        ledger.published(1, 5);
        let mut verifier = Verifier::new(2);
        for seq in arrivals {
            verifier.arrived(1, *seq);
        }
        (
            verifier.lost(|device| ledger.published_by(device)),
            verifier.duplicated(),
            verifier.reordered(),
        )
    }

    #[test]
    fn all_once_and_in_order_is_nothing_to_report() {
        assert_eq!(of_five(&[1, 2, 3, 4, 5]), (0, 0, 0));
    }

    #[test]
    fn a_message_that_never_comes_is_lost_at_either_end_and_in_the_middle() {
        assert_eq!(of_five(&[2, 3, 4, 5]), (1, 0, 0));
        assert_eq!(of_five(&[1, 2, 5]), (2, 0, 0));
        assert_eq!(of_five(&[1, 2, 3]), (2, 0, 0));
        assert_eq!(of_five(&[]), (5, 0, 0));
    }

    #[test]
    fn a_message_without_puback_may_come_or_not() {
        assert_eq!(of_five(&[1, 2, 3, 4, 5, 6]), (0, 0, 0));
    }

    #[test]
    fn a_second_arrival_is_a_duplicate_and_no_reordering() {
        assert_eq!(of_five(&[1, 2, 3, 4, 5, 5]), (0, 1, 0));
        assert_eq!(of_five(&[1, 2, 3, 1, 2, 3, 4, 5]), (0, 3, 0));
    }

    #[test]
    fn a_first_arrival_behind_a_later_message_is_reordered_once() {
        assert_eq!(of_five(&[1, 3, 2, 4, 5]), (0, 0, 1));
        assert_eq!(of_five(&[5, 1, 2, 3, 4]), (0, 0, 4));
        assert_eq!(of_five(&[1, 3, 2, 2, 4, 5]), (0, 1, 1));
    }

    #[test]
    fn devices_do_not_mix() {
        let ledger = Ledger::new(2);
        ledger.published(0, 1);
        ledger.published(1, 1);
        let mut verifier = Verifier::new(2);
        assert!(verifier.arrived(0, 1));
        assert_eq!(
            (verifier.lost(|device| ledger.published_by(device)), verifier.duplicated()),
            (1, 0)
        );
        assert!(verifier.arrived(1, 1));
        assert_eq!(
            (verifier.lost(|device| ledger.published_by(device)), verifier.duplicated()),
            (0, 0)
        );
    }

    #[test]
    fn a_number_that_was_never_sent_is_not_the_devices() {
        let ledger = Ledger::new(1);
        ledger.sending(0, 3);
        assert!(ledger.has_sent(0, 3));
        assert!(!ledger.has_sent(0, 4));
        assert!(!ledger.has_sent(0, 0));
        assert!(!ledger.has_sent(1, 1));
    }
}
