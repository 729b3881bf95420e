//! Brokers that answer in unexpected ways: with another version, with unknown codes, with a message
//! that cannot be acknowledged.

use serde_json::Value;

use crate::support::wire::Publish;
use crate::support::*;

/// What a broker without MQTT 5 does with a CONNECT of that version.
enum Does {
    Says(&'static [u8]),
    Closes,
    KeepsSilent,
}

#[test]
fn auto_reaches_brokers_that_do_not_know_mqtt_5_however_they_show_it() {
    let story = Story::new("auto, scripted");
    for does in [
        Does::Says(&[0x20, 2, 0, 0]),
        Does::Says(&[0x20, 3, 0, 1, 0]),
        Does::Closes,
        Does::KeepsSilent,
    ] {
        let (broker, _kafka, mut bridge) = Bridge::scripted(&story, Version::V5, |bridge| {
            bridge.environment("BRIDGE_MQTT__PROTOCOL", Some("auto"));
            bridge.environment("BRIDGE_MQTT__CONNECT_TIMEOUT", Some("1s"));
        });
        let (mut session, connect) = broker.accept();
        assert_eq!(connect.level, 5);
        match does {
            Does::Says(bytes) => session.send_raw(bytes),
            Does::Closes => session.cut(),
            Does::KeepsSilent => _ = session.expect_close(SOON),
        }
        let (mut session, connect) = broker.accept();
        assert_eq!(connect.level, 4);
        session.send_connack(false, 0);
        session.grant_subscription();
        session.send(&Packet::publish(1, "a/b", b"at last"));
        session.expect_pubacks([1]);
        let connected = |record: &Value| record["msg"] == "connected to mqtt";
        let connected = bridge.log().wait_for("the connection is told", SOON, connected);
        assert_eq!(connected["mqtt_protocol"], "3.1.1");
        assert_eq!(bridge.terminate(), 0);
    }
}

#[test]
fn a_refused_login_is_not_tried_in_another_version() {
    let story = Story::new("login refused, scripted");
    let (broker, _kafka, mut bridge) = Bridge::scripted(&story, Version::V5, |bridge| {
        bridge.environment("BRIDGE_MQTT__PROTOCOL", Some("auto"));
    });
    for _ in 0..3 {
        let (mut session, connect) = broker.accept();
        assert_eq!(connect.level, 5);
        session.send_connack(false, 0x87);
        session.expect_close(SOON);
    }
    let told = |record: &Value| {
        let detail = record["detail"].as_str().unwrap_or_default();
        record["reason"] == "login_refused" && detail.contains("Not authorized (0x87)")
    };
    bridge.log().wait_for("the refusal is told by its name", SOON, told);
    assert_eq!(bridge.terminate(), 0);
}

#[test]
fn a_subscription_refused_by_any_code_leaves_the_others_alone() {
    let story = Story::new("SUBACK with an unknown code, scripted");
    for (version, code, said) in [
        (Version::V311, 0x87, "Not authorized (0x87)"),
        (Version::V5, 0xA4, "a failure with an unknown code (0xA4)"),
    ] {
        let (broker, _kafka, mut bridge) = Bridge::scripted(&story, version, |bridge| {
            bridge.environment("BRIDGE_ROUTES__1__FILTER", Some("b/#"));
            bridge.environment("BRIDGE_ROUTES__1__KAFKA_TOPIC", Some("t"));
        });
        let (mut session, _) = broker.accept();
        session.send_connack(false, 0);
        let mut refused = 0;
        for _ in 0..2 {
            let (pkid, filters) = session.expect_subscribe();
            let is_good = filters[0].0 == "a/#";
            refused = if is_good { refused } else { pkid };
            session.send(&Packet::SubAck { pkid, codes: vec![if is_good { 1 } else { code }] });
        }
        let told = |record: &Value| {
            record["msg"] == "subscription refused, will ask again" && record["detail"] == said
        };
        bridge.log().wait_for("the refusal is told by its name", SOON, told);
        session.send(&Packet::publish(1, "a/b", b"undisturbed"));
        session.expect_pubacks([1]);
        let (pkid, filters) = session.expect_subscribe();
        assert_eq!(filters[0].0, "b/#", "it is asked for again");
        assert!(pkid > refused, "under the next packet identifier");
        session.send(&Packet::SubAck { pkid, codes: vec![1] });
        let subscribed =
            |record: &Value| record["msg"] == "subscribed" && record["mqtt_filter"] == "b/#";
        bridge.log().wait_for("it is granted", SOON, subscribed);
        session.send(&Packet::publish(2, "b/c", b"healed"));
        session.expect_pubacks([2]);
        assert_eq!(bridge.summary().reconnects, 0);
        assert_eq!(bridge.terminate(), 0);
    }
}

#[test]
fn a_message_that_ends_the_connection_each_time_is_named() {
    let story = Story::new("QoS 3 and packet identifier 0, scripted");
    for version in Version::BOTH {
        for (qos, pkid, cause) in [(3, 9, "QoS 3"), (1, 0, "packet identifier 0")] {
            let http = Http::free();
            let (broker, _kafka, mut bridge) = Bridge::scripted(&story, version, |bridge| {
                bridge.environment("BRIDGE_HTTP__LISTEN", Some(http.address()));
            });
            let mqtt_topic = b"a/poison".to_vec();
            let poison = Packet::Publish(Publish { qos, pkid, mqtt_topic, ..Publish::default() });
            let mut session = broker.welcome(false);
            session.send(&poison);
            let said = session.expect_close(SOON);
            if version == Version::V5 {
                assert_eq!(said, [Packet::Disconnect { code: 0x81 }], "the broker is told why");
            }
            let mut session = broker.welcome(true);
            session.send(&poison);
            session.expect_close(SOON);
            eventually("readiness names the poison and what to do", SOON, || {
                let body = http.get("/readyz").map_or_else(|_| String::new(), |answer| answer.body);
                [cause, "has come 2 times", "remove it from the broker", "a/poison"]
                    .iter()
                    .all(|part| body.contains(part))
            });
            let mut session = broker.welcome(true);
            session.send(&Packet::publish(1, "a/b", b"without it"));
            eventually("all is well", SOON, || session.expect() == Packet::PubAck { pkid: 1 });
            http.wait_ready(SOON);
            assert_eq!(bridge.terminate(), 0);
        }
    }
}

#[test]
fn a_session_in_answer_to_a_clean_start_ends_the_connection() {
    let story = Story::new("session present, scripted");
    for version in Version::BOTH {
        let (broker, _kafka, mut bridge) = Bridge::scripted(&story, version, |bridge| {
            bridge.environment("BRIDGE_MQTT__SESSION_EXPIRY", Some("0s"));
        });
        let (mut session, connect) = broker.accept();
        assert!(connect.clean);
        session.send_connack(true, 0);
        let said = session.expect_close(SOON);
        if version == Version::V5 {
            assert_eq!(said, [Packet::Disconnect { code: 0x82 }], "the broker is told why");
        }
        let mut session = broker.welcome(false);
        session.send(&Packet::publish(1, "a/b", b"from a clean session"));
        session.expect_pubacks([1]);
        assert_eq!(bridge.terminate(), 0);
    }
}

#[test]
fn subscription_identifiers_and_other_properties_leave_the_payload_alone() {
    let story = Story::new("subscription identifiers, scripted");
    let (broker, kafka, mut bridge) = Bridge::scripted(&story, Version::V5, |_| {});
    let mut session = broker.welcome(false);
    let user_property = &[0x26, 0, 1, b'k', 0, 1, b'v'][..];
    for (pkid, properties) in [
        (1, [0x0B, 1].repeat(3)),
        (2, [user_property, &[0x0B, 1].repeat(5)].concat()),
        (3, [&[0x0B, 0x7F, 0x0B, 1][..], &[0x01, 0]].concat()),
    ] {
        let payload = format!("payload {pkid}");
        let mut body = vec![0, 3, b'a', b'/', b'b', 0, pkid];
        body.push(u8::try_from(properties.len()).unwrap());
        body.extend(properties);
        body.extend(payload.as_bytes());
        session.send_raw(&[&[0x32, u8::try_from(body.len()).unwrap()], &body[..]].concat());
        session.expect_pubacks([u16::from(pkid)]);
        let arrived = kafka::records(kafka.bootstrap(), "t");
        assert!(arrived.iter().any(|record| record.value == payload.as_bytes()), "{arrived:?}");
    }
    assert_eq!(bridge.terminate(), 0);
}
