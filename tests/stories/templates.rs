//! Templates: a message decides on Kafka topic, key, partition and timestamp of its record.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::mosquitto::Setup;
use crate::support::*;

/// 2026-03-15T12:00:00Z
const NOON_MS: i64 = 1_773_576_000_000;

#[test]
fn levels_and_json_name_kafka_topic_key_partition_and_timestamp() {
    let story = Story::new("templates");
    for version in [Version::V311, Version::V5] {
        let name = version.name();
        let kafka_topic = |site: &str| format!("plant-{name}.{site}");
        for site in ["berlin", "caf--c3--a9--201"] {
            Kafka::shared().create(&kafka_topic(site), 3, &[]);
        }
        let dir = story.dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let mosquitto = Mosquitto::start(&dir, &Setup::default());
        let dead = DeadLetters::new(&dir.join("dead.jsonl"));
        let kafka = Kafka::shared().bootstrap();
        let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka);
        config.set("mqtt", "protocol", name).set("dead_letter", "file", dead.path()).route_with(&[
            ("filter", "{site}/{device}/{metric...}".into()),
            ("kafka_topic", format!("plant-{name}.{{site|lower}}").into()),
            ("key", "{device}.{metric|replace:/:.}".into()),
            ("partition", "{json./line}".into()),
            ("timestamp", "json./at/ts".into()),
            ("timestamp_max_skew", "never".into()),
            ("timestamp_invalid", "dead_letter".into()),
        ]);
        let mut bridge = Bridge::start(&dir, "bridge", &config);
        mosquitto.wait_subscribed("bridge", 1);
        let mut device = MqttClient::connect(&mosquitto.address(), version, "device").unwrap();
        let payload = |line: i64, ts: &str| {
            json!({"at": {"ts": ts}, "line": line, "value": 21.5}).to_string()
        };
        let mut publish = |mqtt_topic: &str, payload: &str| {
            device.publish(mqtt_topic, payload.as_bytes());
        };
        publish("Berlin/d7/room/temp", &payload(2, "2026-03-15T13:00:00+01:00"));
        publish("Berlin/d7/room/temp", &payload(0, "2026-03-15T12:00:00.5Z"));
        publish("caf\u{e9} 1/d8/x", &payload(1, "2026-03-15T12:00:01Z"));
        // One of each kind that a template cannot be filled with.
        publish("Berlin/d7", &payload(0, "2026-03-15T12:00:00Z"));
        publish("Berlin//x", &payload(0, "2026-03-15T12:00:00Z"));
        publish("Berlin/d7/x", r#"{"line": 1, "at""#);
        publish("Berlin/d7/x", &payload(-1, "2026-03-15T12:00:00Z"));
        publish("Berlin/d7/x", &payload(0, "noon"));
        bridge.wait_summary("all have their verdict", PATIENT, |now| {
            (now.delivered, now.dead_lettered) == (3, 5)
        });
        assert_eq!(bridge.terminate(), 0);

        let records = |site: &str| {
            let records = kafka::records(&kafka, &kafka_topic(site)).into_iter();
            let seen = records.map(|record| {
                let key = String::from_utf8(record.key.unwrap_or_default()).unwrap();
                (record.kafka_partition, key, record.timestamp_ms - NOON_MS)
            });
            seen.collect::<Vec<_>>()
        };
        assert_eq!(
            records("berlin"),
            [(0, "d7.room.temp".into(), 500), (2, "d7.room.temp".into(), 0)]
        );
        assert_eq!(records("caf--c3--a9--201"), [(1, "d8.x".into(), 1000)]);
        let letters = dead.read();
        let reasons: Vec<_> = letters.iter().map(dead_letters::DeadLetter::reason).collect();
        assert_eq!(
            reasons,
            [
                "value_missing",
                "value_missing",
                "value_missing",
                "partition_illegal",
                "timestamp_illegal"
            ]
        );
        let detail = |at: usize| letters[at].0["detail"].to_string();
        assert!(detail(0).contains("`{metric|replace:/:.}` is missing"), "{}", detail(0));
        assert!(detail(0).contains("MQTT topic Berlin/d7"), "{}", detail(0));
        assert!(detail(1).contains("`{device}` is empty"), "{}", detail(1));
        assert!(detail(2).contains("the payload is not JSON"), "{}", detail(2));
    }
}

#[test]
fn user_properties_name_what_they_are_asked_for_and_have_defaults() {
    let story = Story::new("templates of user properties");
    let kafka = Kafka::shared();
    kafka.create("tenant-a", 1, &[]);
    kafka.create("tenant-none", 1, &[]);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.set("mqtt", "protocol", "5").route_with(&[
        ("filter", "up/#".into()),
        ("kafka_topic", "tenant-{user.tenant|none}".into()),
        ("key", "{user.id|default:}{mqtt_topic[-1]}".into()),
        ("timestamp", "user.ts".into()),
        ("timestamp_unit", "s".into()),
        ("timestamp_max_skew", "never".into()),
    ]);
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    mosquitto.wait_subscribed("bridge", 1);
    let mut device = MqttClient::connect(&mosquitto.address(), Version::V5, "device").unwrap();
    device.publish_with("up/x", b"1", &[("tenant", "a"), ("id", "7-"), ("ts", "1773576000.25")]);
    device.publish_with("up/x", b"2", &[]);
    bridge.wait_summary("all are delivered", PATIENT, |now| now.delivered == 2);
    assert_eq!(bridge.terminate(), 0);
    let keys = |kafka_topic| {
        let records = kafka::records(&kafka.bootstrap(), kafka_topic).into_iter();
        records.map(|record| record.key.unwrap_or_default()).collect::<BTreeSet<_>>()
    };
    assert_eq!(keys("tenant-a"), [b"7-x".to_vec()].into());
    assert_eq!(keys("tenant-none"), [b"x".to_vec()].into());
    let stamped = &kafka::records(&kafka.bootstrap(), "tenant-a")[0];
    assert_eq!(stamped.timestamp_ms, NOON_MS + 250);
    let received = &kafka::records(&kafka.bootstrap(), "tenant-none")[0];
    assert!(received.timestamp_ms > NOON_MS, "without its own, the time of receipt: {received:?}");
}
