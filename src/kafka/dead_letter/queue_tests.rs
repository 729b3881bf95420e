//! Dead letters that wait, and what becomes of one that has no room.

use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::kafka::dead_letter::Extent;
use crate::message::{Destinations, Message, Qos, RecordId, Seq, Stamp};
use crate::stage::{ForwardMsg, SourceId};

fn dead_letter(payload: Vec<u8>) -> DeadLetter {
    let message = Message {
        mqtt_topic: "sensors/a".into(),
        payload: payload.into(),
        properties: bytes::Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_at: Stamp::now(),
        destinations: Destinations::None,
    };
    DeadLetter {
        msg: ForwardMsg { id: RecordId::first(Seq::next()), message: Arc::new(message) },
        source: SourceId(1),
        reason: "payload_not_json",
        detail: "found x".to_owned(),
        kafka_code: None,
        route: None,
        connection: "mqtt".into(),
        dead_lettered_us: 0,
        extent: Extent::default(),
    }
}

#[test]
fn a_line_that_would_not_fit_an_empty_file_is_shortened_until_it_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = DeadLetterConfig {
        file: dir.path().join("dead.jsonl"),
        file_max_bytes: 4096,
        ..Config::for_test().dead_letter
    };
    let mut dead_letters = DeadLetterQueue::new(&config);
    for length in [100_000, 5_000, 3_000] {
        dead_letters.push(dead_letter(vec![b'x'; length]));
        let now = Instant::now();
        let (file, lines) = dead_letters.next_write(now).expect("a write");
        assert!(lines[0].len() <= 4096, "{}", lines[0].len());
        let written = file.append(&lines).map_err(|error| error.to_string());
        assert_eq!(dead_letters.written(written, now).len(), 1, "{length}");
        let line: serde_json::Value = serde_json::from_slice(&lines[0]).expect("JSON");
        assert_eq!(line["payload_bytes"], length);
        assert!(!line["payload"].as_str().expect("text").is_empty(), "as much as fits");
        std::fs::remove_file(&config.file).expect("moved away");
    }
}

#[test]
fn only_what_is_in_the_kafka_topic_counts_against_its_bound() {
    let config = DeadLetterConfig {
        kafka_topic: Some("dead".to_owned()),
        unmatched_max_bytes: 1000,
        ..Config::for_test().dead_letter
    };
    let mut dead_letters = DeadLetterQueue::unmatched(&config);
    let (large, small) = (dead_letter(vec![b'x'; 600]), dead_letter(vec![b'x'; 300]));
    for _ in 0..10 {
        assert!(dead_letters.take_room(&large));
        dead_letters.give_room_back(&large);
        assert!(dead_letters.take_room(&large));
        assert!(!dead_letters.take_room(&large), "one is on its way");
        // What became of it is not known, and its message comes again.
        dead_letters.restart();
    }
    assert!(dead_letters.take_room(&large));
    dead_letters.delivered(&large);
    dead_letters.restart();
    assert!(!dead_letters.take_room(&large));
    assert!(dead_letters.take_room(&small));
}
