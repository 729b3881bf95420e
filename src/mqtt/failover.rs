//! Which of a broker's addresses is tried next. Pure.

/// See the module. After a failed attempt comes the next address; after a connection that was accepted
/// comes the first.
#[derive(Debug)]
pub struct Failover {
    addresses: usize,
    /// The one that is tried or in use.
    current: usize,
}

impl Failover {
    /// Over this many addresses, at least one.
    pub fn new(addresses: usize) -> Self {
        Self { addresses, current: 0 }
    }

    /// The address that is tried or in use, counted from 0.
    pub fn current(&self) -> usize {
        self.current
    }

    /// An attempt has failed, or the broker sends us on: the next address. Returns whether there is one
    /// left in this round; if not, the first is the next.
    pub fn advance(&mut self) -> bool {
        self.current += 1;
        if self.current >= self.addresses {
            self.current = 0;
        }
        self.current != 0
    }

    /// A connection that was accepted is lost: a new round.
    pub fn restart(&mut self) {
        self.current = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_round_goes_through_all_addresses_in_order() {
        let mut failover = Failover::new(3);
        assert_eq!(failover.current(), 0);
        assert!(failover.advance() && failover.current() == 1);
        assert!(failover.advance() && failover.current() == 2);
        assert!(!failover.advance() && failover.current() == 0, "the whole round failed");
        assert!(failover.advance());
        failover.restart();
        assert_eq!(failover.current(), 0);
    }

    proptest! {
        #[test]
        fn whatever_happens_each_address_gets_its_turn(
            addresses in 1_usize..5,
            lost in prop::collection::vec(any::<bool>(), 0..50),
        ) {
            let mut failover = Failover::new(addresses);
            for lost in lost {
                match lost {
                    true => failover.restart(),
                    false => drop(failover.advance()),
                }
                prop_assert!(failover.current() < addresses);
            }
            let first = failover.current();
            let tried: std::collections::BTreeSet<_> = (0..addresses)
                .map(|_| {
                    failover.advance();
                    failover.current()
                })
                .collect();
            prop_assert_eq!(tried.len(), addresses);
            prop_assert_eq!(failover.current(), first);
        }
    }
}
