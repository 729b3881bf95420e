//! Which messages of a route are forwarded: `retained`, `expired`, `sample`, `drop_if`, `keep_if`. Pure.
//!
//! What costs nothing is asked first: a message that is dropped for its flags or by `sample` is not unpacked.

use std::time::Duration;

use super::condition::Condition;
use super::input::{Input, View};
use super::note::DropReason;
use crate::mqtt::properties::Properties;

/// Which messages of a route are forwarded. Each that is not is counted by its [`DropReason`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Gate {
    /// `retained = "skip"`: a message that the broker had retained before the subscription is dropped.
    pub skip_retained: bool,
    /// `expired = "drop"`: a message whose expiry interval is over is dropped.
    pub drop_expired: bool,
    /// A message that fulfils it is dropped.
    pub drop_if: Option<Condition>,
    /// A message that does not fulfil it is dropped.
    pub keep_if: Option<Condition>,
    /// `sample = "1/100"`: one in so many is forwarded, the first one included.
    pub sample: Option<u32>,
    /// A message whose payload equals that of the message before it, of the same MQTT topic, is dropped.
    pub dedupe: bool,
}

impl Gate {
    /// Why a message is dropped before its payload is unpacked, if it is. `since` counts the messages since
    /// the last one that `sample` let pass.
    #[inline]
    pub fn before_unpacking(&self, input: &Input<'_>, since: &mut u32) -> Option<DropReason> {
        // The bridge never asks for "retain as published" (MQTT 5, section 3.8.3.1), nor has 3.1.1 that: so
        // RETAIN says that the message was retained when the subscription was made (section 3.3.1.3).
        if self.skip_retained && input.retain {
            return Some(DropReason::Retained);
        }
        if self.drop_expired && is_expired(input) {
            return Some(DropReason::Expired);
        }
        let one_in = self.sample?;
        let passes = *since == 0;
        *since = if *since + 1 >= one_in { 0 } else { *since + 1 };
        (!passes).then_some(DropReason::Sample)
    }

    /// Why a message is dropped that has been unpacked, if it is.
    #[inline]
    pub fn after_unpacking(&self, view: &View<'_>) -> Option<DropReason> {
        if self.drop_if.as_ref().is_some_and(|condition| condition.holds(view)) {
            return Some(DropReason::DropIf);
        }
        if self.keep_if.as_ref().is_some_and(|condition| !condition.holds(view)) {
            return Some(DropReason::KeepIf);
        }
        None
    }
}

/// Whether its expiry interval (MQTT 5, section 3.3.2.3.3) is over. The broker has subtracted how long the
/// message waited there; it went on waiting here.
fn is_expired(input: &Input<'_>) -> bool {
    let left = Properties::new(input.properties).expiry_s();
    left.is_some_and(|left| input.waited >= Duration::from_secs(left.into()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::route::captures::Captures;
    use crate::route::test_support::Sample;

    /// What becomes of a message with these properties that waited so long, by its flag too.
    fn dropped(
        gate: &Gate,
        retain: bool,
        properties: &[u8],
        waited: Duration,
    ) -> Option<DropReason> {
        let properties = Bytes::copy_from_slice(properties);
        let sample = Sample { properties, retain, waited, ..Sample::new("a", "") };
        gate.before_unpacking(&sample.input(), &mut 0)
    }

    #[test]
    fn a_retained_message_is_dropped_only_where_the_route_says_so() {
        let skip = Gate { skip_retained: true, ..Gate::default() };
        assert_eq!(dropped(&skip, true, &[], Duration::ZERO), Some(DropReason::Retained));
        assert_eq!(dropped(&skip, false, &[], Duration::ZERO), None);
        assert_eq!(dropped(&Gate::default(), true, &[], Duration::ZERO), None);
    }

    #[test]
    fn a_message_expires_once_it_has_waited_for_what_the_broker_left_of_its_interval() {
        /// Message expiry interval: so many seconds.
        const fn left(seconds: u8) -> [u8; 5] {
            [0x02, 0, 0, 0, seconds]
        }
        let drop = Gate { drop_expired: true, ..Gate::default() };
        let seconds = Duration::from_secs;
        for (properties, waited, reason) in [
            (&left(2)[..], seconds(1), None),
            (&left(2), seconds(2), Some(DropReason::Expired)),
            (&left(2), seconds(3), Some(DropReason::Expired)),
            (&left(0), Duration::ZERO, Some(DropReason::Expired)),
            (&[], seconds(1_000_000), None),
        ] {
            assert_eq!(dropped(&drop, false, properties, waited), reason, "{properties:?}");
            assert_eq!(dropped(&Gate::default(), false, properties, waited), None);
        }
    }

    #[test]
    fn drop_if_is_asked_before_keep_if_and_each_drops_what_it_says() {
        let condition = |text| Some(Condition::parse(text).expect("legal"));
        let gate = Gate {
            drop_if: condition("{json./bad} = true"),
            keep_if: condition("{json./value} > 5"),
            ..Gate::default()
        };
        for (payload, reason) in [
            (r#"{"value": 7}"#, None),
            (r#"{"value": 3}"#, Some(DropReason::KeepIf)),
            (r#"{"value": 7, "bad": true}"#, Some(DropReason::DropIf)),
            (r#"{"value": 3, "bad": true}"#, Some(DropReason::DropIf)),
            ("no JSON", Some(DropReason::KeepIf)),
        ] {
            let sample = Sample::new("a", payload);
            let (input, captures) = (sample.input(), Captures::default());
            let view = View::new(&input, &captures, sample.payload.clone());
            assert_eq!(gate.after_unpacking(&view), reason, "{payload}");
            assert_eq!(Gate::default().after_unpacking(&view), None);
        }
    }

    #[test]
    fn a_sample_takes_the_first_message_and_then_one_in_so_many() {
        let gate = |one_in| Gate { sample: Some(one_in), ..Gate::default() };
        let sample = Sample::new("a", "");
        for one_in in [1, 2, 3, 100] {
            let mut since = 0;
            let passed: Vec<_> = (0..300_usize)
                .filter(|_| gate(one_in).before_unpacking(&sample.input(), &mut since).is_none())
                .collect();
            let expected: Vec<_> = (0..300).step_by(one_in as usize).collect();
            assert_eq!(passed, expected, "1/{one_in}");
        }
    }
}
