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
fn connack_limits_are_read() {
    // Session present, success; keep-alive 60, maximum QoS 0, no wildcards, no shared, no subscription
    // identifiers, expiry 7, receive maximum 10, maximum packet size 1024.
    let bytes = [
        0x20, 27, 1, 0, 24, 0x13, 0, 60, 0x24, 0, 0x28, 0, 0x2A, 0, 0x29, 0, 0x11, 0, 0, 0, 7,
        0x21, 0, 10, 0x27, 0, 0, 4, 0,
    ];
    let Ok(Incoming::ConnAck(ack)) = decode(Version::V5, &frame(&bytes)) else {
        panic!("a CONNACK");
    };
    assert!(ack.refused.is_none() && ack.session_present);
    let expected = ServerLimits {
        keep_alive_s: Some(60),
        maximum_qos: Some(0),
        no_wildcards: true,
        no_shared: true,
        no_subscription_ids: true,
        session_expiry_s: Some(7),
        receive_maximum: Some(10),
        maximum_packet_bytes: Some(1024),
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

/// The answer to CONNECT in these bytes.
fn connack(version: Version, bytes: &[u8]) -> Result<ConnAck, PacketError> {
    match decode(version, &frame(bytes))? {
        Incoming::ConnAck(ack) => Ok(ack),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refusal_by_any_code_is_understood_with_what_the_broker_says() {
    for (version, bytes, code, text) in [
        (Version::V311, &[0x20, 2, 0, 1][..], 0x01, "unacceptable protocol version"),
        (Version::V311, &[0x20, 2, 0, 5], 0x05, "not authorized (return code 5 of MQTT 3.1.1)"),
        // Codes of 5, in the form of either version, and ones that nobody knows.
        (Version::V311, &[0x20, 2, 0, 0x84], 0x84, "Unsupported Protocol Version (0x84)"),
        (Version::V311, &[0x20, 3, 0, 0x84, 0], 0x84, "Unsupported Protocol Version (0x84)"),
        (Version::V311, &[0x20, 2, 0, 6], 0x06, "an unknown code (0x06)"),
        (Version::V311, &[0x20, 2, 0, 0xFE], 0xFE, "a failure with an unknown code (0xFE)"),
        (Version::V5, &[0x20, 2, 0, 1], 0x01, "unacceptable protocol version"),
        (Version::V5, &[0x20, 2, 0, 4], 0x04, "bad user name or password"),
        (Version::V5, &[0x20, 3, 0, 0x87, 0], 0x87, "Not authorized (0x87)"),
        (Version::V5, &[0x20, 3, 0, 0xA4, 0], 0xA4, "a failure with an unknown code (0xA4)"),
        // With a reason string and a Server Reference; or properties that cannot be read.
        (
            Version::V5,
            &[0x20, 13, 0, 0x9C, 10, 0x1F, 0, 2, b'g', b'o', 0x1C, 0, 2, b'b', b'2'],
            0x9C,
            "Use another server (0x9C): go; the broker names another server: b2",
        ),
        (Version::V5, &[0x20, 4, 0, 0x89, 9, 0x7F], 0x89, "Server busy (0x89)"),
    ] {
        let ack = connack(version, bytes).expect("understood");
        let refused = ack.refused.expect("refused");
        assert_eq!(refused.code, code, "{bytes:02x?}");
        assert!(refused.text.contains(text), "{bytes:02x?}: {}", refused.text);
        assert!(!ack.session_present, "what is refused has no session");
    }
}

#[test]
fn an_acceptance_must_have_all_that_its_version_says() {
    for (version, bytes) in [
        (Version::V311, &[0x20, 2, 0, 0][..]),
        (Version::V5, &[0x20, 3, 0, 0, 0]),
        // A success that nobody knows (section 2.4).
        (Version::V5, &[0x20, 3, 0, 0x10, 0]),
    ] {
        assert_eq!(connack(version, bytes), Ok(ConnAck::default()), "{bytes:02x?}");
    }
    for (version, bytes) in [
        (Version::V311, &[0x20, 1, 0][..]),
        // In the form of 3.1.1; properties that are cut, or do not exist: a limit may be among them.
        (Version::V5, &[0x20, 2, 0, 0]),
        (Version::V5, &[0x20, 4, 0, 0, 3, 0x24]),
        (Version::V5, &[0x20, 5, 0, 0, 2, 0x7F, 0]),
    ] {
        let read = connack(version, bytes);
        assert!(matches!(read, Err(PacketError::Malformed { kind: 2, .. })), "{read:?}");
    }
}

#[test]
fn no_code_of_suback_unsuback_pubrel_or_disconnect_is_the_end() {
    for code in 0..=u8::MAX {
        let said = reason::text(code);
        let expected = |packet_id| Incoming::SubAck { packet_id, code, text: said.clone() };
        let v311 = decode(Version::V311, &frame(&[0x90, 3, 0, 7, code]));
        assert_eq!(v311, Ok(expected(7)), "any code of 0x80 or more refuses that filter alone");
        assert_eq!(decode(Version::V5, &frame(&[0x90, 4, 0, 7, 0, code])), Ok(expected(7)));

        let unsuback = Incoming::UnsubAck { packet_id: 7, code, text: said.clone() };
        assert_eq!(decode(Version::V5, &frame(&[0xB0, 4, 0, 7, 0, code])), Ok(unsuback));
        assert_eq!(decode(Version::V5, &frame(&[0x62, 3, 0, 7, code])), Ok(Incoming::PubRel(7)),);
        let disconnect = Incoming::Disconnect { code, text: said };
        assert_eq!(decode(Version::V5, &frame(&[0xE0, 1, code])), Ok(disconnect));
    }
    let unsuback = Incoming::UnsubAck { packet_id: 7, code: 0, text: "Success (0x00)".to_owned() };
    assert_eq!(decode(Version::V311, &frame(&[0xB0, 2, 0, 7])), Ok(unsuback));
    let with_reason = [0x90, 9, 0, 7, 5, 0x1F, 0, 2, b'n', b'o', 0x87];
    let text = "Not authorized (0x87): no".to_owned();
    let refused = Incoming::SubAck { packet_id: 7, code: 0x87, text };
    assert_eq!(decode(Version::V5, &frame(&with_reason)), Ok(refused));
}

#[test]
fn an_answer_without_its_packet_identifier_or_code_is_an_error() {
    for (version, bytes) in [
        (Version::V311, &[0x90, 2, 0, 7][..]),
        (Version::V311, &[0x90, 3, 0, 0, 1]),
        (Version::V5, &[0x90, 3, 0, 7, 0]),
        (Version::V5, &[0x90, 3, 0, 7, 9]),
        (Version::V5, &[0xB0, 3, 0, 7, 0]),
        (Version::V311, &[0xB0, 1, 0]),
        (Version::V311, &[0x62, 2, 0, 0]),
        (Version::V5, &[0x62, 1, 7]),
    ] {
        let read = decode(version, &frame(bytes));
        assert!(matches!(read, Err(PacketError::Malformed { .. })), "{bytes:02x?}: {read:?}");
    }
}

#[test]
fn subscribe_and_unsubscribe_are_what_the_codecs_read() {
    let subscribe = |subscription_id, only_if_new| Subscribe {
        packet_id: 7,
        mqtt_filter: "a/#",
        qos: Qos::AtLeastOnce,
        subscription_id,
        only_if_new,
        no_local: only_if_new,
    };
    for (id, only_if_new) in [(None, false), (Some(1), true), (Some(268_435_455), false)] {
        let mut out = BytesMut::new();
        encode_subscribe(Version::V5, &subscribe(id, only_if_new), &mut out);
        let Ok(Packet5::Subscribe(read)) = Packet5::read(&mut out, None) else { panic!() };
        assert_eq!((read.pkid, read.filters[0].path.as_str()), (7, "a/#"));
        assert_eq!(read.properties.and_then(|p| p.id), id.map(|id| id as usize));
        let rule = v5::RetainForwardRule::OnNewSubscribe;
        assert_eq!(read.filters[0].retain_forward_rule == rule, only_if_new);
        assert_eq!(read.filters[0].nolocal, only_if_new);

        encode_subscribe(Version::V311, &subscribe(id, only_if_new), &mut out);
        assert_eq!(&out[..], [0x82, 8, 0, 7, 0, 3, b'a', b'/', b'#', 1], "3.1.1 has neither");
    }
    let mut out = BytesMut::new();
    encode_unsubscribe(Version::V311, 7, "a", &mut out);
    assert_eq!(&out[..], [0xA2, 5, 0, 7, 0, 1, b'a']);
    out.clear();
    encode_unsubscribe(Version::V5, 7, "a", &mut out);
    assert_eq!(&out[..], [0xA2, 6, 0, 7, 0, 0, 1, b'a']);
}

#[test]
fn connect_is_what_the_codecs_read() {
    let connect = Connect {
        client_id: "bridge-1",
        keep_alive_s: 30,
        clean_start: true,
        session_expiry_s: 9,
        receive_maximum: 1000,
        user_properties: &[],
        will: None,
        username: Some("u"),
        password: Some("p"),
    };
    let mut out = BytesMut::new();
    encode_connect(Version::V311, &connect, &mut out);
    let mut expected = v4::Connect::new("bridge-1");
    expected.keep_alive = 30;
    expected.set_login("u", "p");
    let read = v4::Packet::read(&mut out, 1000).expect("3.1.1");
    assert_eq!(read, v4::Packet::Connect(expected));

    encode_connect(Version::V5, &connect, &mut out);
    let Ok(Packet5::Connect(read, None, login)) = Packet5::read(&mut out, None) else { panic!() };
    assert_eq!(
        (read.client_id.as_str(), read.keep_alive, read.clean_start),
        ("bridge-1", 30, true)
    );
    assert_eq!(login, Some(v5::Login::new("u", "p")));
    let properties = read.properties.expect("properties");
    assert_eq!(properties.session_expiry_interval, Some(9));
    assert_eq!(properties.receive_maximum, Some(1000));

    // 3.1.1 has no password without a user name ([MQTT-3.1.2-22]): an empty one makes it legal.
    encode_connect(Version::V311, &Connect { username: None, ..connect }, &mut out);
    assert_eq!(out[9] & 0xC0, 0xC0);
}

#[test]
fn user_properties_and_the_will_are_what_the_codecs_read() {
    // More than 127 bytes of properties: their length takes two.
    let user_properties =
        [("site", "x".repeat(200)), ("site", "two".to_owned())].map(|(n, v)| (n.to_owned(), v));
    for (qos, retain, level) in [(Qos::AtLeastOnce, true, 1), (Qos::AtMostOnce, false, 0)] {
        let connect = Connect {
            client_id: "bridge-1",
            keep_alive_s: 30,
            clean_start: false,
            session_expiry_s: 9,
            receive_maximum: 1000,
            user_properties: &user_properties,
            will: Some(Will { mqtt_topic: "s", payload: b"gone", qos, retain }),
            username: Some("u"),
            password: Some("p"),
        };
        let mut out = BytesMut::new();
        encode_connect(Version::V5, &connect, &mut out);
        let Ok(Packet5::Connect(read, Some(will), Some(login))) = Packet5::read(&mut out, None)
        else {
            panic!("{out:?}");
        };
        assert!(out.is_empty());
        assert_eq!(read.properties.expect("properties").user_properties, user_properties);
        assert_eq!((&will.topic[..], &will.message[..]), (&b"s"[..], &b"gone"[..]));
        assert_eq!((will.qos as u8, will.retain), (level, retain));
        assert_eq!(login, v5::Login::new("u", "p"));

        encode_connect(Version::V311, &connect, &mut out);
        let Ok(v4::Packet::Connect(read)) = v4::Packet::read(&mut out, 1000) else { panic!() };
        let will = read.last_will.expect("a will");
        assert_eq!((&*will.topic, &will.message[..]), ("s", &b"gone"[..]));
        assert_eq!((will.qos as u8, will.retain), (level, retain));
        assert_eq!(read.login, Some(v4::Login::new("u", "p")));
    }
}
