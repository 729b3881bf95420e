//! Large messages, and messages that cannot be delivered: dead-lettered, the others undisturbed.

use serde_json::Value;

use crate::support::line::Plan;
use crate::support::*;

const KIB: usize = 1024;

/// Takes messages of 3 MiB, and Kafka those of 2.
fn plan() -> Plan {
    Plan {
        config: vec![
            ("mqtt", "max_payload", "3 MiB".into()),
            ("kafka.properties", "message.max.bytes", "8000000".into()),
        ],
        kafka_topic: vec![("max.message.bytes", "2200000")],
        ..Plan::default()
    }
}

fn reason(letter: &Value) -> &str {
    letter["reason"].as_str().expect("a dead letter has a reason")
}

#[test]
fn large_messages_arrive_and_those_too_large_are_dead_lettered() {
    let story = Story::new("sizes");
    let kafka = Kafka::start(story.dir());
    for mut line in Line::both(&story, &kafka, &plan()) {
        let mut sensor =
            MqttClient::connect(&line.mosquitto.address(), line.version, "sensor").unwrap();
        let sizes = [20 * KIB, 2048 * KIB, 3073 * KIB, 10, 2500 * KIB, 11, 20_000 * KIB, 12];
        for size in sizes {
            sensor.publish("devices/a", &vec![u8::try_from(size % 251).unwrap(); size]);
        }
        line.bridge.wait_summary("all have their end", PATIENT, |now| {
            (now.delivered, now.dead_lettered) == (5, 3)
        });
        let arrived: Vec<usize> = kafka::records(&kafka.bootstrap(), &line.kafka_topic)
            .iter()
            .map(|record| record.value.len())
            .collect();
        assert_eq!(arrived, [20 * KIB, 2048 * KIB, 10, 11, 12]);

        let mut letters = line.bridge.dead_letters();
        letters.sort_by_key(|letter| letter["payload_bytes"].as_u64());
        let sizes: Vec<_> = letters.iter().map(|letter| letter["payload_bytes"].clone()).collect();
        assert_eq!(sizes, [2500 * KIB, 3073 * KIB, 20_000 * KIB]);
        assert_ne!(reason(&letters[0]), "payload_too_large", "{}", letters[0]["detail"]);
        assert_eq!(reason(&letters[1]), "payload_too_large", "{}", letters[1]["detail"]);
        assert_eq!(reason(&letters[2]), "payload_too_large", "{}", letters[2]["detail"]);
        for letter in &letters {
            assert_eq!(letter["mqtt_topic"], "devices/a");
            assert!(letter["payload_sha256"].is_string(), "only its beginning is kept");
        }
        assert_eq!(line.proxy.accepted(), 1, "no reconnect");
        assert_eq!(line.bridge.terminate(), 0);
        line.bridge.assert_logs_sound();
    }
}

#[test]
fn a_batch_refused_for_one_culprit_does_not_take_the_innocent_along() {
    let story = Story::new("refused for one culprit");
    let kafka = Kafka::start(story.dir());
    let plan = Plan {
        kafka_topic: vec![("max.message.bytes", "5000")],
        // Large batches, so that the culprit has company.
        config: vec![("kafka.properties", "linger.ms", "50".into())],
        ..Plan::default()
    };
    for mut line in Line::both(&story, &kafka, &plan) {
        let mut culprit =
            MqttClient::connect(&line.mosquitto.address(), line.version, "culprit").unwrap();
        for round in 1..=5 {
            line.publisher.publish(500);
            for n in 0..3 {
                let mqtt_topic = format!("devices/{}", round * 3 + n);
                culprit.publish(&mqtt_topic, &[b'x'; 6_000]);
            }
        }
        line.publisher.wait_done(PATIENT);
        line.bridge.wait_summary("all have their end", PATIENT, |now| {
            (now.delivered, now.dead_lettered) == (2_500, 15)
        });
        let letters = line.bridge.dead_letters();
        assert_eq!(letters.len(), 15);
        assert!(letters.iter().all(|letter| letter["payload_bytes"] == 6_000), "{letters:?}");
        line.settle().assert_exact();
    }
}

#[test]
fn a_dead_letter_can_go_to_a_kafka_topic() {
    let story = Story::new("dead letters in Kafka");
    let kafka = Kafka::shared();
    for version in Version::BOTH {
        let letters = format!("dead-letters-{}", version.level());
        kafka.create(&letters, 4, &[]);
        let mut config = plan().config;
        config.push(("dead_letter", "kafka_topic", letters.clone().into()));
        config.push(("mqtt", "max_payload", "1 KiB".into()));
        let mut line = Line::start(&story, kafka, version, &Plan { config, ..plan() });
        let mut sensor = MqttClient::connect(&line.mosquitto.address(), version, "sensor").unwrap();
        sensor.publish("devices/a", &[0xFF; 2_000]);
        line.publisher.publish(100);
        line.bridge.wait_summary("all have their end", SOON, |now| {
            (now.delivered, now.dead_lettered) == (100, 1)
        });
        let records = kafka::records(&kafka.bootstrap(), &letters);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].value, [0xFF; 2_000]);
        assert_eq!(records[0].key.as_deref(), Some(&b"devices/a"[..]));
        let header = |key: &str| {
            let (_, value) = records[0].headers.iter().find(|(name, _)| name == key).unwrap();
            String::from_utf8(value.clone()).unwrap()
        };
        assert_eq!(header("reason"), "payload_too_large");
        assert_eq!(header("payload_bytes"), "2000");
        assert_eq!(line.bridge.terminate(), 0);
    }
}
