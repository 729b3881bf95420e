//! What a route puts into a record beside the payload, on real brokers and over both versions of MQTT.

use std::io::Write as _;
use std::time::Duration;

use mqtt_kafka_bridge::mqtt::properties::PropertyValues;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value as Json, json};

use crate::support::kafka::Record;
use crate::support::mosquitto::Setup;
use crate::support::*;

/// Publishes at QoS 1 with these properties of MQTT 5, and waits for PUBACK.
#[track_caller]
fn publish_with(
    device: &mut MqttClient,
    mqtt_topic: &str,
    payload: &[u8],
    properties: &PropertyValues,
) {
    let properties = properties.encode().unwrap();
    assert!(properties.len() < 128 && mqtt_topic.len() < 128, "lengths of one byte");
    let mut body = vec![0, mqtt_topic.len() as u8];
    body.extend(mqtt_topic.as_bytes());
    body.extend([0x12, 0x34, properties.len() as u8]);
    body.extend(&properties);
    body.extend(payload);
    let length = [(body.len() % 128) as u8 | 0x80, (body.len() / 128) as u8];
    let packet = [&[0x32][..], &length, &body].concat();
    device.stream.write_all(&packet).unwrap();
    assert_eq!(device.read(SOON).unwrap(), Some(Packet::PubAck { pkid: 0x1234 }), "the PUBACK");
}

fn header<'a>(record: &'a Record, name: &str) -> Vec<&'a str> {
    let named = record.headers.iter().filter(|(found, _)| found == name);
    named.map(|(_, value)| std::str::from_utf8(value).unwrap()).collect()
}

#[test]
fn records_carry_what_mqtt_says_of_a_message() {
    let story = Story::new("records");
    let kafka = Kafka::shared();
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let properties = PropertyValues {
        content_type: Some("text/plain".to_owned()),
        correlation_data: Some(vec![0, 255]),
        user: [("b", "1"), ("a", "2"), ("b", "3")].map(|(n, v)| (n.into(), v.into())).into(),
        ..Default::default()
    };
    let mut device = MqttClient::connect(&mosquitto.address(), Version::V5, "device").unwrap();
    device.publish_retained("kept/1", b"kept");
    for (version, protocol) in [(Version::V5, "5"), (Version::V311, "3.1.1")] {
        let named = |name| format!("records-{name}-{}", version.level());
        let [headers, envelope, text] = ["headers", "envelope", "text"].map(named);
        for kafka_topic in [&headers, &envelope, &text] {
            kafka.create(kafka_topic, 1, &[]);
        }
        let client_id = format!("bridge-{}", version.level());
        let mut config = ConfigFile::new(&mosquitto.address(), &client_id, &kafka.bootstrap());
        config.set("mqtt", "protocol", protocol);
        let wanted = ["mqtt.topic", "mqtt.qos", "mqtt.retain", "mqtt.user", "mqtt.content_type"];
        for filter in ["headers/#", "kept/#"] {
            config.route_with(&[
                ("filter", filter.into()),
                ("kafka_topic", headers.clone().into()),
                ("headers", json!(wanted)),
                ("bridge_id", true.into()),
            ]);
        }
        config.route_with(&[
            ("filter", "envelope/#".into()),
            ("kafka_topic", envelope.clone().into()),
            ("payload", "envelope".into()),
        ]);
        config.route_with(&[
            ("filter", "text/#".into()),
            ("kafka_topic", text.clone().into()),
            ("payload", "text".into()),
        ]);
        let mut bridge = Bridge::start(story.dir(), &client_id, &config);
        bridge.wait_summary("the retained one is delivered", SOON, |now| now.delivered == 1);
        publish_with(&mut device, "headers/1", b"on", &properties);
        publish_with(&mut device, "headers/1", b"on", &properties);
        publish_with(&mut device, "envelope/1", b"{\"a\": 1.50}", &properties);
        publish_with(&mut device, "envelope/1", b"\xff", &properties);
        device.publish("text/1", "21,5 °C".as_bytes());
        device.publish("text/1", b"\xff");
        bridge.wait_summary("all have arrived", SOON, |now| {
            now.delivered == 6 && now.dead_lettered == 1
        });
        // A crash, and a session that is lost with it: the retained message comes again.
        bridge.kill();
        config.set("mqtt", "client_id", format!("{client_id}-again"));
        bridge.reconfigure(&config);
        bridge.run();
        bridge.wait_summary("the retained one is delivered again", SOON, |now| now.delivered == 1);
        assert_eq!(bridge.terminate(), 0);

        let records = kafka::records(&kafka.bootstrap(), &headers);
        let [kept, first, second, kept_again] = &*records else { panic!("{records:?}") };
        let names: Vec<_> = first.headers.iter().map(|(name, _)| &**name).collect();
        let expected: &[&str] = match version {
            Version::V5 => &[
                "mqtt.topic",
                "mqtt.qos",
                "mqtt.retain",
                "mqtt.user.b",
                "mqtt.user.a",
                "mqtt.user.b",
                "mqtt.content_type",
                "bridge.id",
            ],
            Version::V311 => &["mqtt.topic", "mqtt.qos", "mqtt.retain", "bridge.id"],
        };
        assert_eq!(names, expected);
        assert_eq!(header(first, "mqtt.topic"), ["headers/1"]);
        if version == Version::V5 {
            assert_eq!(header(first, "mqtt.user.b"), ["1", "3"]);
            assert_eq!(header(first, "mqtt.content_type"), ["text/plain"]);
        }
        assert_eq!(
            (header(kept, "mqtt.retain"), header(first, "mqtt.retain")),
            (vec!["true"], vec!["false"])
        );
        let id = |record| header(record, "bridge.id");
        assert_eq!(id(kept), id(kept_again), "the same publish");
        assert_eq!(id(first), id(second), "equal publishes");
        assert_ne!(id(kept), id(first));

        let records = kafka::records(&kafka.bootstrap(), &envelope);
        let values: Vec<Json> =
            records.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect();
        let [json_payload, bytes] = &*values else { panic!("{values:?}") };
        assert_eq!(json_payload["mqtt_topic"], "envelope/1");
        assert_eq!(json_payload["payload"], json!({ "a": 1.5 }));
        assert!(String::from_utf8_lossy(&records[0].value).contains("{\"a\": 1.50}"), "as written");
        assert_eq!(bytes["payload_base64"], "/w==");
        let user = match version {
            Version::V5 => json!([
                { "name": "b", "value": "1" },
                { "name": "a", "value": "2" },
                { "name": "b", "value": "3" },
            ]),
            Version::V311 => Json::Null,
        };
        assert_eq!(json_payload["user_properties"], user);
        let records = kafka::records(&kafka.bootstrap(), &text);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].value, "21,5 °C".as_bytes());
    }
}

/// A device that is taken away clears its retained message: with that, Kafka forgets it too.
#[test]
fn a_cleared_retained_message_deletes_its_key_in_a_compacted_kafka_topic() {
    let story = Story::new("tombstones");
    let eager = |_: &[String]| "log.cleaner.backoff.ms=100".to_owned();
    let (kafka, _) = Kafka::start_with(story.dir(), &[], eager, Vec::new());
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    for (version, protocol) in [(Version::V5, "5"), (Version::V311, "3.1.1")] {
        let kafka_topic = format!("devices-{}", version.level());
        let compact = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("delete.retention.ms", "1"),
        ];
        kafka.create(&kafka_topic, 1, &compact);
        let client_id = format!("bridge-{}", version.level());
        let mut config = ConfigFile::new(&mosquitto.address(), &client_id, &kafka.bootstrap());
        config.set("mqtt", "protocol", protocol);
        config.route_with(&[
            ("filter", format!("{kafka_topic}/#").into()),
            ("kafka_topic", kafka_topic.clone().into()),
            ("tombstone", "empty".into()),
        ]);
        let mut bridge = Bridge::start(story.dir(), &client_id, &config);
        let mut device = MqttClient::connect(&mosquitto.address(), version, "device").unwrap();
        mosquitto.wait_subscribed(&client_id, 1);
        let [gone, stays] = ["gone", "stays"].map(|name| format!("{kafka_topic}/{name}"));
        device.publish_retained(&gone, b"here");
        device.publish_retained(&stays, b"here");
        device.publish_retained(&gone, b"");
        bridge.wait_summary("all are delivered", SOON, |now| now.delivered == 3);
        assert_eq!(bridge.terminate(), 0);

        // Kafka compacts what is behind the segment that it writes to.
        let producer: BaseProducer = kafka::client_config(&kafka.bootstrap()).create().unwrap();
        eventually("the key is compacted away", PATIENT, || {
            producer.send(BaseRecord::to(&kafka_topic).key("tick").payload("tick")).unwrap();
            producer.flush(SOON).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            let records = kafka::records(&kafka.bootstrap(), &kafka_topic);
            let has = |key: &str| {
                records.iter().any(|record| record.key.as_deref() == Some(key.as_bytes()))
            };
            assert!(has(&stays), "{records:?}");
            !has(&gone)
        });
    }
}
