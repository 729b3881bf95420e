use super::*;
use crate::mqtt::frame::{Frame, FrameReader};

/// What one frame of these bytes is.
fn read(version: Version, bytes: &[u8]) -> Result<Publish, PublishError> {
    let mut reader = FrameReader::new(version, 1 << 20);
    reader.space().extend_from_slice(bytes);
    match reader.next_frame() {
        Ok(Some(Frame::Whole(frame))) => parse(version, &frame),
        other => panic!("{other:?}"),
    }
}

fn publish(version: Version, bytes: &[u8]) -> Publish {
    read(version, bytes).expect("a PUBLISH that can be taken apart")
}

#[test]
fn a_topic_that_is_not_utf_8_goes_to_the_dead_letter_with_its_packet_id() {
    let v311 = publish(Version::V311, &[0x32, 7, 0, 2, 0xC3, 0x28, 0, 9, b'p']);
    let v5 = publish(Version::V5, &[0x32, 8, 0, 2, 0xC3, 0x28, 0, 9, 0, b'p']);
    for publish in [v311, v5] {
        assert_eq!(publish.refusal.expect("refused").reason, TOPIC_NOT_UTF8);
        assert_eq!(publish.ack.expect("QoS 1").packet_id, 9);
        assert_eq!(&publish.mqtt_topic[..], [0xC3, 0x28]);
        assert_eq!(&publish.payload[..], b"p");
    }
}

#[test]
fn a_publish_that_cannot_be_acknowledged_is_an_error_that_names_its_topic() {
    for version in [Version::V311, Version::V5] {
        let cause = |bytes: &[u8]| {
            let error = read(version, bytes).expect_err("an error");
            (error.cause, error.mqtt_topic)
        };
        let a = Some(Bytes::from_static(b"a"));
        assert_eq!(cause(&[0x32, 6, 0, 1, b'a', 0, 0, 0]), (PACKET_ID_0, a.clone()));
        assert_eq!(cause(&[0x36, 6, 0, 1, b'a', 0, 1, 0]), (QOS_3, a));
        assert_eq!(cause(&[0x30, 3, 0, 9, b'a']), (TOO_SHORT, None));
    }
}

#[test]
fn a_qos_2_publish_of_an_older_subscription_is_owed_pubrec() {
    for (version, bytes) in [
        (Version::V311, &[0x34, 6, 0, 1, b'a', 0, 9, b'p'][..]),
        (Version::V5, &[0x34, 7, 0, 1, b'a', 0, 9, 0, b'p']),
    ] {
        let ack = publish(version, bytes).ack.expect("owed");
        assert_eq!(ack, Ack { packet_id: 9, form: AckForm::PubRec });
    }
}

#[test]
fn three_subscription_identifiers_leave_the_payload_alone() {
    let bytes = [0x32, 13, 0, 1, b'a', 0, 9, 6, 0x0B, 1, 0x0B, 2, 0x0B, 3, b'p'];
    let publish = publish(Version::V5, &bytes);
    assert_eq!(&publish.payload[..], b"p");
    assert_eq!(publish.subscription_ids.as_slice(), [1, 2, 3]);
    assert!(publish.properties.is_empty() && publish.refusal.is_none());
}
