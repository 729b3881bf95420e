use super::*;
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::packet::{Incoming, decode};
use crate::mqtt::wire::RawFrame;

/// What a broker does with a CONNECT.
enum Does {
    Says(&'static [u8]),
    Closes,
    Resets,
    KeepsSilent,
}
use Does::{Closes, KeepsSilent, Resets, Says};

/// As a connection learns it: from CONNACK, or from its end.
fn answer(version: Version, does: &Does) -> Answer {
    let end = |reason| Answer::of(&Lost::new(reason, ""));
    match does {
        Closes => end(lost::CLOSED),
        Resets => end(lost::READ_FAILED),
        KeepsSilent => end(lost::CONNACK_TIMEOUT),
        Says(bytes) => {
            let frame = RawFrame { bytes: bytes.to_vec().into(), header_len: 2 };
            match decode(version, &frame) {
                Ok(Incoming::ConnAck(ack)) => match ack.refused {
                    None => Answer::Accepted,
                    Some(refused) => Answer::of(&refused.into()),
                },
                // What the protocol makes of a packet that may not come before CONNACK.
                Ok(_) => Answer::of(&Lost::protocol_error("a packet before CONNACK")),
                Err(error) => Answer::of(&error.into()),
            }
        }
    }
}

#[test]
fn auto_tries_311_after_whatever_can_mean_that_a_broker_does_not_know_5() {
    // What it does with a CONNECT of 5, what the next attempt speaks, and what one after a connection
    // of 3.1.1 speaks.
    for (does, next, afterwards) in [
        // Accepted.
        (Says(&[0x20, 3, 0, 0, 0]), Version::V5, Version::V5),
        // "Unsupported Protocol Version", and the same of 3.1.1, in the form of 5 and of 3.1.1.
        (Says(&[0x20, 3, 0, 0x84, 0]), Version::V311, Version::V311),
        (Says(&[0x20, 2, 0, 0x84]), Version::V311, Version::V311),
        (Says(&[0x20, 3, 0, 0x01, 0]), Version::V311, Version::V311),
        (Says(&[0x20, 2, 0, 0x01]), Version::V311, Version::V311),
        // Accepted in the form of 3.1.1: no CONNACK of 5.
        (Says(&[0x20, 2, 0, 0]), Version::V311, Version::V311),
        (Says(&[0x20, 2, 1, 0]), Version::V311, Version::V311),
        (Says(&[0x20, 1, 0]), Version::V311, Version::V311),
        (Says(&[0x20, 5, 0, 0, 2, 0x7F, 0]), Version::V311, Version::V311),
        (Says(&[0x40, 2, 0, 1]), Version::V311, Version::V311),
        // Without a word: perhaps for another cause.
        (Closes, Version::V311, Version::V5),
        (Resets, Version::V311, Version::V5),
        (KeepsSilent, Version::V311, Version::V5),
        // Login, client id, load: 3.1.1 would be refused too, or worse, it would not.
        (Says(&[0x20, 3, 0, 0x86, 0]), Version::V5, Version::V5),
        // Enhanced authentication: in words, or by AUTH.
        (Says(&[0x20, 3, 0, 0x8C, 0]), Version::V5, Version::V5),
        (Says(&[0xF0, 2, 0x18, 0]), Version::V5, Version::V5),
        (Says(&[0x20, 3, 0, 0x87, 0]), Version::V5, Version::V5),
        (Says(&[0x20, 3, 0, 0x85, 0]), Version::V5, Version::V5),
        (Says(&[0x20, 3, 0, 0x88, 0]), Version::V5, Version::V5),
        (Says(&[0x20, 3, 0, 0x89, 0]), Version::V5, Version::V5),
        (Says(&[0x20, 3, 0, 0xFE, 0]), Version::V5, Version::V5),
        (Says(&[0x20, 2, 0, 0x02]), Version::V5, Version::V5),
        (Says(&[0x20, 2, 0, 0x03]), Version::V5, Version::V5),
        (Says(&[0x20, 2, 0, 0x04]), Version::V5, Version::V5),
        (Says(&[0x20, 2, 0, 0x05]), Version::V5, Version::V5),
    ] {
        let what = match &does {
            Says(bytes) => format!("{bytes:02x?}"),
            _ => "no answer".to_owned(),
        };
        let mut negotiation = Negotiation::default();
        negotiation.learn(Version::V5, answer(Version::V5, &does));
        assert_eq!(negotiation.version(Protocol::Auto), next, "{what}");
        assert_eq!(negotiation.version(Protocol::V5), Version::V5, "{what}");
        assert_eq!(negotiation.version(Protocol::V311), Version::V311, "{what}");
        if next == Version::V311 {
            negotiation.learn(next, Answer::Accepted);
            assert_eq!(negotiation.version(Protocol::Auto), afterwards, "{what}");
        }
        // Once 5 was accepted, nothing of all this leads away from it.
        let mut proven = Negotiation::default();
        proven.learn(Version::V5, Answer::Accepted);
        proven.learn(Version::V5, answer(Version::V5, &does));
        assert_eq!(proven.version(Protocol::Auto), Version::V5, "{what}");
    }
}

#[test]
fn auto_alternates_for_as_long_as_neither_version_is_answered() {
    for answer in [Answer::OtherVersion, Answer::Nothing] {
        let mut negotiation = Negotiation::default();
        let spoken: Vec<_> = (0..6)
            .map(|_| {
                let version = negotiation.version(Protocol::Auto);
                negotiation.learn(version, answer);
                version
            })
            .collect();
        assert_eq!(spoken, [Version::V5, Version::V311].repeat(3));
    }
}

#[test]
fn a_refused_login_in_311_is_tried_again_in_311() {
    let mut negotiation = Negotiation::default();
    negotiation.learn(Version::V5, Answer::Nothing);
    negotiation.learn(Version::V311, answer(Version::V311, &Says(&[0x20, 2, 0, 5])));
    assert_eq!(negotiation.version(Protocol::Auto), Version::V311);
}

#[test]
fn what_fails_below_mqtt_says_nothing_of_its_version() {
    for reason in [lost::TLS_CLIENT_CERTIFICATE, lost::TLS_FAILED, lost::PASSWORD_UNAVAILABLE] {
        assert_eq!(Answer::of(&Lost::new(reason, "")), Answer::Refused, "{reason}");
    }
}
