//! Timestamps that messages bring along and Kafka refuses.

use serde_json::json;

use crate::support::mosquitto::Setup;
use crate::support::*;

/// 2001-09-09T01:46:40Z, and 2286-11-20T17:46:40Z: further away than the Kafka topic allows.
const REFUSED_MS: [i64; 2] = [1_000_000_000_000, 10_000_000_000_000];

/// So many messages, of which one in ten has such a timestamp.
const MESSAGES: i64 = 300;

/// The device's clock is wrong, not the bridge's: its messages are at fault one by one, however many come in a row
/// and whatever is in the same request.
#[test]
fn a_timestamp_that_kafka_refuses_is_that_messages_own_fault() {
    let story = Story::new("timestamps that Kafka refuses");
    let (kafka, http) = (Kafka::shared(), Http::free());
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    for version in Version::BOTH {
        let name = format!("timestamps-{}", version.level());
        let hour = "3600000";
        let bounds =
            [("message.timestamp.before.max.ms", hour), ("message.timestamp.after.max.ms", hour)];
        kafka.create(&name, 1, &bounds);
        let dead = DeadLetters::new(&story.dir().join(format!("{name}.jsonl")));
        let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
        http.configure(&mut config);
        config.set("mqtt", "protocol", version.name()).set("dead_letter", "file", dead.path());
        config.route_with(&[
            ("name", "clocks".into()),
            ("filter", format!("{name}/#").into()),
            ("kafka_topic", name.clone().into()),
            ("timestamp", "json./ts".into()),
            ("timestamp_max_skew", "never".into()),
            ("timestamp_invalid", "dead_letter".into()),
        ]);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        mosquitto.wait_subscribed(&name, 1);
        assert_eq!(bridge.terminate(), 0);
        // All wait for it, so that they come at once: many in each request to Kafka, good ones beside bad ones.
        let mut device = MqttClient::connect(&mosquitto.address(), version, "device").unwrap();
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for nth in 0..MESSAGES {
            // The last ones all are, as behind a device that lost its time.
            let is_refused = nth % 10 == 5 || nth >= MESSAGES - 10;
            let ts = match is_refused {
                true => REFUSED_MS[usize::try_from(nth % 2).unwrap()],
                false => now_ms + nth,
            };
            let payload = json!({ "ts": ts, "nth": nth }).to_string().into_bytes();
            device.publish(&format!("{name}/{}", nth % 3), &payload);
            match is_refused {
                true => refused.push(payload),
                false => taken.push((ts, payload)),
            }
        }
        bridge.run();
        let expected = (taken.len() as u64, refused.len() as u64, 0);
        bridge.wait_summary("all are settled", PATIENT, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == expected
        });
        assert_eq!(http.reasons("/readyz").unwrap(), [""; 0], "nothing is held");
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();

        let records = kafka::records(&kafka.bootstrap(), &name).into_iter();
        let records: Vec<_> = records.map(|it| (it.timestamp_ms, it.value)).collect();
        assert_eq!(records, taken, "MQTT {}", version.name());
        let letters = dead.read();
        let payloads: Vec<_> = letters.iter().map(dead_letters::DeadLetter::payload).collect();
        assert_eq!(payloads, refused, "MQTT {}", version.name());
        for letter in &letters {
            assert_eq!(
                (letter.reason(), &letter.0["route"]),
                ("kafka_timestamp_refused", &json!("clocks"))
            );
            let detail = letter.0["detail"].as_str().unwrap();
            assert!(
                detail.contains("INVALID_TIMESTAMP") && detail.contains("out of range"),
                "{detail}"
            );
        }
    }
}
