//! What a dead letter says, and what the file promises.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::message::{Destination, Message, Qos, Refusal, Seq, Stamp};

fn letter(payload: impl Into<Bytes>) -> Letter {
    let refusal = Refusal { reason: "payload_not_json", detail: "found x".into(), whole: None };
    refused(payload, refusal)
}

fn refused(payload: impl Into<Bytes>, refusal: Refusal) -> Letter {
    let mut received_at = Stamp::now();
    received_at.wall_us = 1_700_000_000_000_001;
    let message = Message {
        mqtt_topic: Bytes::from_static(b"sensors/a"),
        payload: payload.into(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_at,
        destination: Some(Destination::DeadLetter(Box::new(refusal))),
    };
    Letter {
        msg: ForwardMsg { seq: Seq::next(), message: Arc::new(message) },
        source: SourceId(1),
        reason: "payload_not_json",
        detail: "found x".to_owned(),
        kafka_topic: Some("sensors".to_owned()),
    }
}

fn parsed(letter: &Letter) -> serde_json::Value {
    serde_json::from_slice(&letter.line()).expect("one JSON document")
}

#[test]
fn a_line_says_what_was_refused_and_why() {
    let expected = serde_json::json!({
        "reason": "payload_not_json", "detail": "found x", "mqtt_topic": "sensors/a", "mqtt_qos": 1,
        "kafka_topic": "sensors", "payload_bytes": 4, "payload": "{\"a\"",
        "received_at": "2023-11-14T22:13:20.000001Z",
    });
    assert_eq!(parsed(&letter("{\"a\"")), expected);
}

#[test]
fn a_payload_that_is_no_text_is_written_in_base64() {
    let line = parsed(&letter(&b"\xff\x00"[..]));
    assert_eq!((&line["payload_base64"], &line["payload"]), (&"/wA=".into(), &().into()));
}

#[test]
fn a_long_payload_is_cut_and_its_size_and_hash_are_told() {
    let line = parsed(&letter(vec![b'x'; DEAD_LETTER_PAYLOAD_MAX + 1]));
    assert_eq!(line["payload"].as_str().map(str::len), Some(DEAD_LETTER_PAYLOAD_MAX));
    assert_eq!(line["payload_bytes"], DEAD_LETTER_PAYLOAD_MAX + 1);
    assert_eq!(
        line["payload_sha256"],
        hex(&Sha256::digest(vec![b'x'; DEAD_LETTER_PAYLOAD_MAX + 1]))
    );
}

#[test]
fn what_was_cut_before_tells_the_size_and_hash_that_it_was_given() {
    let whole = Some(WholePayload { size: 5_000_000, sha256: [0xab; 32] });
    let refusal = Refusal { reason: "payload_too_large", detail: String::new(), whole };
    let line = parsed(&refused("beginning", refusal));
    assert_eq!(line["payload_bytes"], 5_000_000);
    assert_eq!(line["payload_sha256"], "ab".repeat(32));
}

#[test]
fn the_file_takes_what_fits_and_what_was_there_before_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead.jsonl");
    std::fs::write(&path, "0123456789\n").expect("written");
    let file = DeadLetterFile::new(path.clone(), 20);
    let lines = [b"abcd\n".to_vec(), b"efgh\n".to_vec()];
    assert_eq!(file.append(&lines).expect("room for one"), 1);
    let error = file.append(&lines[1..]).expect_err("no room").to_string();
    assert!(error.contains("20 bytes"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "0123456789\nabcd\n");
    std::fs::remove_file(&path).expect("moved away");
    assert_eq!(file.append(&lines).expect("room again"), 2);
}

#[test]
fn a_line_torn_by_a_crash_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dead.jsonl");
    std::fs::write(&path, "{\"a\":1}\n{\"b\":").expect("written");
    let file = DeadLetterFile::new(path.clone(), 1000);
    file.append(&[b"{}\n".to_vec()]).expect("written");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "{\"a\":1}\n{\"b\":\n{}\n");
}

#[test]
fn a_file_that_cannot_be_written_says_which_and_why() {
    let file = DeadLetterFile::new("/dev/null/dead.jsonl".into(), 1000);
    let error = file.append(&[b"{}\n".to_vec()]).expect_err("no directory").to_string();
    assert!(error.starts_with("/dev/null/dead.jsonl: "), "{error}");
}
