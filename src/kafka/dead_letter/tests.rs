//! What a dead letter says, and how short it can be.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::message::{Destinations, Message, Qos, Record, RecordKey, Refusal, RouteId, Seq, Stamp};

fn dead_letter(payload: impl Into<Bytes>) -> DeadLetter {
    let refusal = Refusal::new("payload_not_json", "found x".into());
    refused(payload, refusal)
}

fn refused(payload: impl Into<Bytes>, refusal: Refusal) -> DeadLetter {
    destined(payload, Destination::DeadLetter(Box::new(refusal)))
}

/// Of a record that Kafka refused.
fn record(key: RecordKey) -> DeadLetter {
    let value = Bytes::from_static(b"{}");
    destined(
        "{}",
        Destination::Record(Record { key, ..Record::new(RouteId(2), "sensors".into(), value) }),
    )
}

fn destined(payload: impl Into<Bytes>, destination: Destination) -> DeadLetter {
    let mut received_at = Stamp::now();
    received_at.wall_us = 1_700_000_000_000_001;
    let message = Message {
        mqtt_topic: Bytes::from_static(b"sensors/a"),
        payload: payload.into(),
        properties: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_at,
        destinations: Destinations::One(destination),
    };
    DeadLetter {
        msg: ForwardMsg { id: RecordId::first(Seq::next()), message: Arc::new(message) },
        source: SourceId(1),
        reason: "payload_not_json",
        detail: "found x".to_owned(),
        kafka_code: None,
        route: Some("plant".into()),
        connection: "hall".into(),
        dead_lettered_us: 1_700_000_001_000_001,
        extent: Extent::default(),
    }
}

fn parsed(dead_letter: &DeadLetter) -> serde_json::Value {
    serde_json::from_slice(&dead_letter.line()).expect("one JSON document")
}

#[test]
fn a_line_says_what_was_refused_and_why() {
    let dead_letter = dead_letter("{\"a\"");
    let expected = serde_json::json!({
        "format": 2, "id": dead_letter.id(), "reason": "payload_not_json", "detail": "found x",
        "route": "plant", "connection": "hall", "mqtt_topic": "sensors/a", "mqtt_qos": 1,
        "mqtt_retain": false, "destination": 0, "payload_bytes": 4, "payload": "{\"a\"",
        "received_at": "2023-11-14T22:13:20.000001Z",
        "dead_lettered_at": "2023-11-14T22:13:21.000001Z",
    });
    assert_eq!(parsed(&dead_letter), expected);
}

#[test]
fn a_record_that_kafka_refused_says_where_it_was_to_go_and_by_which_code_it_was_refused() {
    for (key, shown) in [
        (RecordKey::MqttTopic, serde_json::json!(["sensors/a", null])),
        (RecordKey::Bytes(Bytes::from_static(b"k")), serde_json::json!(["k", null])),
        (RecordKey::Bytes(Bytes::from_static(b"\xff")), serde_json::json!([null, "/w=="])),
        (RecordKey::None, serde_json::json!([null, null])),
    ] {
        let mut dead_letter = record(key);
        dead_letter.kafka_code = Some(87);
        let line = parsed(&dead_letter);
        assert_eq!((&line["kafka_topic"], &line["kafka_code"]), (&"sensors".into(), &87.into()));
        assert_eq!(serde_json::json!([line["kafka_key"], line["kafka_key_base64"]]), shown);
    }
}

#[test]
fn the_same_part_of_a_message_has_the_same_id_and_another_has_another() {
    let mut one = dead_letter("x");
    let id = one.id();
    one.dead_lettered_us += 1;
    one.reason = "held_too_long";
    assert_eq!(one.id(), id);
    one.msg.id.index = 1;
    assert_ne!(one.id(), id);
    assert_ne!(dead_letter("x").id(), id, "another message of the same content");
}

#[test]
fn a_payload_that_is_no_text_is_written_in_base64() {
    let line = parsed(&dead_letter(&b"\xff\x00"[..]));
    assert_eq!((&line["payload_base64"], &line["payload"]), (&"/wA=".into(), &().into()));
    assert_eq!(line["payload_cut"], serde_json::Value::Null);
}

#[test]
fn a_long_payload_is_cut_and_its_size_and_hash_are_told() {
    let line = parsed(&dead_letter(vec![b'x'; DEAD_LETTER_PAYLOAD_MAX + 1]));
    assert_eq!(line["payload"].as_str().map(str::len), Some(DEAD_LETTER_PAYLOAD_MAX));
    assert_eq!(line["payload_bytes"], DEAD_LETTER_PAYLOAD_MAX + 1);
    assert_eq!(line["payload_cut"], true);
    assert_eq!(
        line["payload_sha256"],
        hex(&Sha256::digest(vec![b'x'; DEAD_LETTER_PAYLOAD_MAX + 1]))
    );
}

#[test]
fn what_was_cut_before_tells_the_size_and_hash_that_it_was_given() {
    let whole = Some(WholePayload { size: 5_000_000, sha256: [0xab; 32] });
    let refusal = Refusal { whole, ..Refusal::new("payload_too_large", String::new()) };
    let line = parsed(&refused("beginning", refusal));
    assert_eq!(line["payload_bytes"], 5_000_000);
    assert_eq!(line["payload_cut"], true);
    assert_eq!(line["payload_sha256"], "ab".repeat(32));
}

/// Keys, headers and payload, as in a record.
fn record_bytes(dead_letter: &DeadLetter) -> usize {
    let headers = dead_letter.headers();
    let headers = headers.iter().map(|(name, value)| name.to_bytes().len() + value.len());
    dead_letter.key().len() + dead_letter.kept().len() + headers.sum::<usize>()
}

#[test]
fn a_dead_letter_that_has_no_room_gets_shorter_down_to_reason_size_and_hash() {
    let payload = vec![b'x'; 512 * 1024];
    let mut dead_letter = dead_letter(payload.clone());
    let (mut kept, mut lengths) =
        (Vec::new(), vec![(dead_letter.line().len(), record_bytes(&dead_letter))]);
    while dead_letter.shorten() {
        kept.push(dead_letter.kept().len());
        lengths.push((dead_letter.line().len(), record_bytes(&dead_letter)));
        let line = parsed(&dead_letter);
        assert_eq!(line["payload_bytes"], payload.len());
        assert_eq!(line["payload_cut"], true);
        assert_eq!(line["payload_sha256"], hex(&Sha256::digest(&payload)));
        assert_eq!(
            (&line["reason"], &line["mqtt_topic"]),
            (&"payload_not_json".into(), &"sensors/a".into())
        );
    }
    let halves: Vec<_> = (0..9).map(|half| (256 * 1024) >> half).chain([0, 0]).collect();
    assert_eq!(kept, halves);
    assert!(lengths.windows(2).all(|pair| pair[1].0 < pair[0].0 && pair[1].1 < pair[0].1));
    assert!(!dead_letter.shorten(), "it stays as it is");
}

#[test]
fn the_shortest_dead_letter_is_under_a_kibibyte_whatever_was_long() {
    for mqtt_topic in [vec![b'a'; 65_535], "\u{1}".repeat(65_535).into_bytes(), vec![0xff; 65_535]]
    {
        let mut dead_letter = dead_letter(vec![0xff; 1000]);
        dead_letter.detail = "why ".repeat(10_000);
        dead_letter.route = Some("r".repeat(10_000).into());
        dead_letter.connection = "c".repeat(10_000).into();
        let properties = properties(&"v".repeat(60_000));
        let message = Arc::get_mut(&mut dead_letter.msg.message).expect("nobody else has it");
        message.mqtt_topic = mqtt_topic.clone().into();
        message.properties = properties;
        message.received_at.wall_us = 253_402_300_799_999_999;
        while dead_letter.shorten() {}
        assert!(dead_letter.line().len() < 1024, "{}", dead_letter.line().len());
        assert!(record_bytes(&dead_letter) < 900, "{}", record_bytes(&dead_letter));
        let line = parsed(&dead_letter);
        assert_eq!(line["mqtt_topic_sha256"], hex(&Sha256::digest(&mqtt_topic)));
        assert_eq!(line["payload_bytes"], 1000);
        assert_eq!(
            (&line["payload_cut"], &line["mqtt_properties_cut"]),
            (&true.into(), &true.into())
        );
    }
}

#[test]
fn a_short_payload_that_has_no_room_is_left_out_whole() {
    let mut dead_letter = dead_letter(vec![b'x'; 1000]);
    assert!(dead_letter.shorten());
    assert_eq!(dead_letter.kept(), b"");
    assert_eq!(parsed(&dead_letter)["payload"], "");
}

fn properties(value: &str) -> Bytes {
    let pair = |value: &str| ("unit".to_owned(), value.to_owned());
    let values = crate::mqtt::properties::PropertyValues {
        content_type: Some("application/json".to_owned()),
        response_topic: Some("answers/a".to_owned()),
        correlation_data: Some(vec![0xff, 0]),
        expiry_s: Some(60),
        user: vec![pair("C"), pair(value)],
    };
    values.encode().expect("legal")
}

#[test]
fn the_properties_of_mqtt_5_are_told_in_order_and_count_for_what_is_written() {
    let mut dead_letter = dead_letter("x");
    let bytes = dead_letter.bytes();
    let given = properties("C");
    let message = Arc::get_mut(&mut dead_letter.msg.message).expect("nobody else has it");
    message.properties = given.clone();
    let expected = serde_json::json!({
        "expiry_s": 60, "content_type": "application/json",
        "response_topic": "answers/a", "correlation_data_base64": "/wA=",
        "user": [["unit", "C"], ["unit", "C"]],
    });
    assert_eq!(parsed(&dead_letter)["mqtt_properties"], expected);
    assert_eq!(dead_letter.bytes(), bytes + given.len());
    let headers = dead_letter.headers();
    let header = headers.iter().find(|(name, _)| *name == c"mqtt_properties").expect("a header");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&header.1).expect("JSON"), expected);
    let read = Letter::of_line(&dead_letter.line()).expect("readable");
    assert_eq!(read.properties().expect("whole"), given);
}
