use rumqttc::v5::mqttbytes::v5::Packet as Packet5;

use super::*;
use crate::mqtt::frame::{Frame, FrameReader};

fn frame(bytes: &[u8]) -> RawFrame {
    let mut reader = FrameReader::new(Version::V5, 1 << 20);
    reader.space().extend_from_slice(bytes);
    match reader.next_frame() {
        Ok(Some(Frame::Whole(frame))) => frame,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_disconnect_is_understood_with_and_without_a_body() {
    let disconnect = |bytes: &[u8]| match decode(Version::V5, &frame(bytes)) {
        Ok(Incoming::Disconnect { code, text }) => (code, text),
        other => panic!("{other:?}"),
    };
    assert_eq!(disconnect(&[0xE0, 0]).0, 0);
    assert_eq!(disconnect(&[0xE0, 1, 0x8E]).0, 0x8E);
    assert_eq!(disconnect(&[0xE0, 2, 0x8B, 0]), (0x8B, "Server shutting down (0x8B)".to_owned()));
    let with_reason = [0xE0, 7, 0x8E, 5, 0x1F, 0, 2, b'h', b'i'];
    assert_eq!(disconnect(&with_reason), (0x8E, "Session taken over (0x8E): hi".to_owned()));
    // A code that nobody knows.
    assert_eq!(disconnect(&[0xE0, 1, 0xFA]).0, 0xFA);
    // 3.1.1 has no DISCONNECT from the server.
    let unexpected = decode(Version::V311, &frame(&[0xE0, 0]));
    assert_eq!(unexpected, Err(PacketError::Unexpected { kind: 14 }));
}

#[test]
fn a_refusal_in_the_old_form_is_understood_on_a_connection_of_mqtt_5() {
    let Ok(Incoming::ConnAck(ack)) = decode(Version::V5, &frame(&[0x20, 2, 0, 1])) else {
        panic!("a CONNACK");
    };
    assert!(ack.refused.expect("refused").unsupported_version);
}

#[test]
fn connack_limits_are_read() {
    // Session present, success; keep-alive 60, maximum QoS 0, no wildcards, no shared, expiry 7.
    let bytes = [0x20, 17, 1, 0, 14, 0x13, 0, 60, 0x24, 0, 0x28, 0, 0x2A, 0, 0x11, 0, 0, 0, 7];
    let Ok(Incoming::ConnAck(ack)) = decode(Version::V5, &frame(&bytes)) else {
        panic!("a CONNACK");
    };
    assert!(ack.refused.is_none() && ack.session_present);
    let expected = ServerLimits {
        keep_alive_s: Some(60),
        maximum_qos: Some(0),
        no_wildcards: true,
        no_shared: true,
        session_expiry_s: Some(7),
        ..ServerLimits::default()
    };
    assert_eq!(ack.limits, expected);
}

#[test]
fn what_we_write_by_hand_is_what_the_codecs_read() {
    let mut out = BytesMut::new();
    encode_ack(Ack { packet_id: 0x1234, form: AckForm::PubAck }, &mut out);
    encode_ack(Ack { packet_id: 0x1234, form: AckForm::PubRec }, &mut out);
    encode_pubcomp(0x1234, &mut out);
    encode_pingreq(&mut out);
    encode_disconnect(Version::V311, 0, &mut out);
    let mut copy = out.clone();
    let v4 = |out: &mut BytesMut| v4::Packet::read(out, 100).expect("3.1.1");
    assert_eq!(v4(&mut out), v4::Packet::PubAck(v4::PubAck::new(0x1234)));
    assert_eq!(v4(&mut out), v4::Packet::PubRec(v4::PubRec::new(0x1234)));
    assert_eq!(v4(&mut out), v4::Packet::PubComp(v4::PubComp::new(0x1234)));
    assert_eq!(v4(&mut out), v4::Packet::PingReq);
    assert_eq!(v4(&mut out), v4::Packet::Disconnect);
    let mut v5 = || Packet5::read(&mut copy, None).expect("5");
    assert_eq!(v5(), Packet5::PubAck(v5::PubAck::new(0x1234, None)));
    assert_eq!(v5(), Packet5::PubRec(v5::PubRec::new(0x1234, None)));
    assert_eq!(v5(), Packet5::PubComp(v5::PubComp::new(0x1234, None)));
    let mut out = BytesMut::new();
    encode_disconnect(Version::V5, 0x81, &mut out);
    assert_eq!(&out[..], [0xE0, 1, 0x81]);
}
