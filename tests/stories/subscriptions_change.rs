//! Overlapping subscriptions, and subscriptions of an older configuration, on a real Mosquitto,
//! which sends a copy for each subscription that matches.

use std::collections::BTreeMap;

use mqtt_kafka_bridge::route::Filter;
use serde_json::Value;

use crate::support::mosquitto::Setup;
use crate::support::*;

/// A mock Kafka, which starts at once.
fn kafka(kafka_topics: &[&'static str]) -> MockKafka {
    let kafka = MockKafka::start();
    for kafka_topic in kafka_topics.iter().copied() {
        kafka.order(move |cluster| cluster.create_topic(kafka_topic, 4, 1)).unwrap();
    }
    kafka
}

fn config(mosquitto: &Mosquitto, version: Version, kafka: &MockKafka) -> ConfigFile {
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", kafka.bootstrap());
    config.set("mqtt", "protocol", version.name());
    config
}

fn values(kafka: &MockKafka, kafka_topic: &str) -> Vec<String> {
    let records = kafka::records(kafka.bootstrap(), kafka_topic).into_iter();
    let mut values: Vec<_> =
        records.map(|record| String::from_utf8(record.value).unwrap()).collect();
    values.sort();
    values
}

fn wait_logged(bridge: &Bridge, message: &str, filter: &str) {
    bridge.log().wait_for(&format!("{message}: {filter}"), SOON, |record| {
        record["msg"] == message && record["mqtt_filter"] == filter
    });
}

/// Pairs of filters with MQTT topics in common, each pair under a prefix of its own on one broker: whatever
/// the filters and their QoS, a message that is published once becomes one record, of the first route.
#[test]
fn one_message_is_one_record_whatever_two_filters_have_in_common() {
    const PATTERNS: [&str; 8] = ["#", "+", "a", "+/#", "+/b", "a/+", "a/b", "a/#"];
    const NAMES: [&str; 5] = ["a", "b", "a/b", "b/b", "a/c"];
    let story = Story::new("overlapping filters");
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let kafka = kafka(&["first", "second"]);
    let mut config = config(&mosquitto, Version::V5, &kafka);
    let mut pairs = Vec::new();
    for (one, first) in PATTERNS.iter().enumerate() {
        for second in &PATTERNS[one + 1..] {
            for (qos, other_qos) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let corner = format!("corner{}", pairs.len());
                let filters = [first, second].map(|pattern| format!("{corner}/{pattern}"));
                for ((filter, qos), kafka_topic) in
                    filters.iter().zip([qos, other_qos]).zip(["first", "second"])
                {
                    config.route_with(&[
                        ("filter", filter.as_str().into()),
                        ("qos", qos.into()),
                        ("kafka_topic", kafka_topic.into()),
                    ]);
                }
                pairs.push((corner, filters.map(|filter| filter.parse::<Filter>().unwrap())));
            }
        }
    }
    let http = Http::free();
    http.configure(&mut config);
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    http.wait_ready(PATIENT);

    let mut sensor = MqttClient::connect(&mosquitto.address(), Version::V5, "sensor").unwrap();
    let mut expected: BTreeMap<(&str, String, String), usize> = BTreeMap::new();
    let mut published = 0;
    for (corner, filters) in &pairs {
        for name in NAMES {
            let mqtt_topic = format!("{corner}/{name}");
            let takes = filters.iter().position(|filter| filter.matches(&mqtt_topic));
            // Twice the same, as sensors do, and then something else.
            for payload in ["same", "same", "other"] {
                sensor.publish(&mqtt_topic, payload.as_bytes());
                if let Some(route) = takes {
                    let kafka_topic = ["first", "second"][route];
                    *expected
                        .entry((kafka_topic, mqtt_topic.clone(), payload.into()))
                        .or_default() += 1;
                    published += 1;
                }
            }
        }
    }
    bridge.wait_summary("all are delivered", PATIENT, |now| now.delivered >= published);
    assert_eq!(bridge.terminate(), 0);
    bridge.assert_logs_sound();
    let mut arrived: BTreeMap<(&str, String, String), usize> = BTreeMap::new();
    for kafka_topic in ["first", "second"] {
        for record in kafka::records(kafka.bootstrap(), kafka_topic) {
            let key = String::from_utf8(record.key.unwrap()).unwrap();
            let value = String::from_utf8(record.value).unwrap();
            *arrived.entry((kafka_topic, key, value)).or_default() += 1;
        }
    }
    let wrong: Vec<_> =
        arrived.iter().filter(|(which, count)| expected.get(which) != Some(count)).collect();
    assert_eq!(wrong, [], "{} pairs", pairs.len());
    assert_eq!(arrived.len(), expected.len());
    let summary = bridge.summary();
    assert_eq!((summary.received, summary.delivered), (published, published));
    assert!(summary.copies > 0, "the broker sent copies");
}

#[test]
fn a_covered_filter_brings_each_message_once_in_both_versions() {
    let story = Story::new("covered filter");
    for version in Version::BOTH {
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
        let kafka = kafka(&["a", "all"]);
        let mut config = config(&mosquitto, version, &kafka);
        config.route("t/a", "a").route("t/#", "all");
        let http = Http::free();
        http.configure(&mut config);
        let name = format!("mqtt{}", version.level());
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        http.wait_ready(SOON);
        let mut sensor = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
        sensor.publish("t/a", b"1");
        sensor.publish("t/b", b"2");
        bridge.wait_summary("both are delivered", SOON, |now| now.delivered == 2);
        assert_eq!(bridge.terminate(), 0);
        assert_eq!(
            (values(&kafka, "a"), values(&kafka, "all")),
            (vec!["1".into()], vec!["2".into()])
        );
        let summary = bridge.summary();
        assert_eq!((summary.received, summary.copies), (2, 0));
    }
}

#[test]
fn a_removed_route_is_unsubscribed_and_its_last_messages_are_dead_letters() {
    let story = Story::new("route removed");
    for version in Version::BOTH {
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
        let kafka = kafka(&["t"]);
        let config = |filters: &[&str]| {
            let mut config = config(&mosquitto, version, &kafka);
            filters.iter().for_each(|filter| drop(config.route(filter, "t").text()));
            config
        };
        let name = format!("mqtt{}", version.level());
        let mut bridge = Bridge::start(story.dir(), &name, &config(&["a/#", "b/#"]));
        wait_logged(&bridge, "subscribed", "a/#");
        wait_logged(&bridge, "subscribed", "b/#");
        assert_eq!(bridge.terminate(), 0);

        let mut sensor = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
        sensor.publish("b/1", b"while the bridge was away");
        bridge.reconfigure(&config(&["a/#"]));
        bridge.run();
        wait_logged(&bridge, "unsubscribed a filter that no route needs", "b/#");
        sensor.publish("b/2", b"nobody asks for it any more");
        sensor.publish("a/1", b"wanted");
        bridge.wait_summary("the messages of the route are delivered", SOON, |now| {
            now.delivered == 1
        });
        let told = bridge.log().wait_for("it is told", SOON, |record| {
            record["msg"] == "no route matches a message" && record["mqtt_topic"] == "b/1"
        });
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.contains("b/#") && detail.contains("received b/1"), "{detail}");
        let letters = DeadLetters::new(&bridge.dir().join("dead-letter.unmatched.jsonl"));
        eventually("its dead letter", SOON, || letters.read().len() == 1);
        let letter = letters.read().remove(0);
        assert_eq!(letter.reason(), "no_route");
        assert_eq!(letter.payload(), b"while the bridge was away");
        assert_eq!(bridge.terminate(), 0);
        let summary = bridge.summary();
        assert_eq!((summary.received, summary.dead_lettered, summary.filtered), (2, 1, 0));
        assert_eq!(values(&kafka, "t"), ["wanted"]);
        bridge.assert_logs_sound();
    }
}

#[test]
fn a_filter_that_changes_from_plain_to_shared_and_back_loses_and_duplicates_nothing() {
    let story = Story::new("plain to shared");
    for version in Version::BOTH {
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
        let kafka = kafka(&["t"]);
        let name = format!("mqtt{}", version.level());
        let mut sensor = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
        let mut expected = Vec::new();
        let mut bridge: Option<Bridge> = None;
        let filters = ["t/#", "$share/g/t/#", "t/#"];
        for (run, filter) in filters.into_iter().enumerate() {
            let mut config = config(&mosquitto, version, &kafka);
            config.route(filter, "t");
            let bridge = match &mut bridge {
                Some(bridge) => {
                    bridge.reconfigure(&config);
                    bridge.run();
                    wait_logged(
                        bridge,
                        "unsubscribed a filter that no route needs",
                        filters[run - 1],
                    );
                    bridge
                }
                none => {
                    let bridge = none.insert(Bridge::start(story.dir(), &name, &config));
                    wait_logged(bridge, "subscribed", filter);
                    bridge
                }
            };
            for seq in 0..10 {
                expected.push(format!("{run}-{seq}"));
                sensor.publish("t/a", format!("{run}-{seq}").as_bytes());
            }
            bridge.wait_summary("all are delivered", SOON, |now| now.delivered == 10);
            assert_eq!(bridge.terminate(), 0);
            assert_eq!(bridge.summary().received, 10, "{filter}");
        }
        assert_eq!(values(&kafka, "t"), expected);
    }
}

/// Mosquitto dies before it has saved, or is restored from a backup: it says "session present", but the
/// session is an older one.
#[test]
fn a_subscription_lost_by_a_restored_broker_is_made_again() {
    let story = Story::new("broker restored");
    for version in Version::BOTH {
        let mut mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
        let kafka = kafka(&["t"]);
        let config = |mosquitto: &Mosquitto, filters: &[&str]| {
            let mut config = config(mosquitto, version, &kafka);
            filters.iter().for_each(|filter| drop(config.route(filter, "t").text()));
            config
        };
        let name = format!("mqtt{}", version.level());
        let mut bridge = Bridge::start(story.dir(), &name, &config(&mosquitto, &["a/#"]));
        wait_logged(&bridge, "subscribed", "a/#");
        assert_eq!(bridge.terminate(), 0);
        mosquitto.stop();
        let older = mosquitto.backup();
        mosquitto.run();
        bridge.reconfigure(&config(&mosquitto, &["a/#", "b/#"]));
        bridge.run();
        wait_logged(&bridge, "subscribed", "b/#");

        mosquitto.stop();
        mosquitto.restore(&older);
        mosquitto.run();
        let subscribed =
            |record: &Value| record["msg"] == "subscribed" && record["mqtt_filter"] == "b/#";
        eventually("it is made again", SOON, || bridge.log().count(subscribed) == 2);
        let mut sensor = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
        sensor.publish("b/1", b"heard");
        bridge.wait_summary("it is delivered", SOON, |now| now.delivered == 1);
        let present = bridge.log().count(|record| {
            record["msg"] == "connected to mqtt" && record["session_present"] == true
        });
        assert_eq!(present, 2, "the broker said that it has the session");
        assert_eq!(bridge.terminate(), 0);
    }
}

#[test]
fn a_state_file_of_a_newer_bridge_is_refused_and_a_broken_one_causes_a_warning() {
    let story = Story::new("state file");
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let kafka = kafka(&["t"]);
    let mut config = config(&mosquitto, Version::V5, &kafka);
    config.route("t/#", "t");
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    wait_logged(&bridge, "subscribed", "t/#");
    assert_eq!(bridge.terminate(), 0);
    let state = std::fs::read_dir(bridge.dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().contains("mqtt-session-bridge-"))
        .expect("the state file");
    let text = std::fs::read_to_string(&state).unwrap();
    assert!(text.contains("\"t/#\""), "{text}");

    std::fs::write(&state, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    bridge.run();
    assert_eq!(bridge.exit_code(SOON), 78);

    std::fs::write(&state, "{").unwrap();
    bridge.run();
    wait_logged(&bridge, "subscribed", "t/#");
    assert_eq!(
        bridge.log().count(|record| record["msg"] == "state file unusable, starting without it"),
        1
    );
    assert_eq!(bridge.terminate(), 0);
    assert_eq!(std::fs::read_to_string(&state).unwrap(), text, "it is written again");

    // If it cannot be written, the bridge logs that and works.
    bridge.environment("BRIDGE_DATA_DIR", Some("/proc/none"));
    bridge.run();
    wait_logged(&bridge, "subscribed", "t/#");
    assert_eq!(
        bridge.log().count(|record| record["msg"] == "state file unusable, starting without it"),
        1
    );
    let not_written = "state file not written, old subscriptions may stay after a restart";
    assert_eq!(bridge.log().count(|record| record["msg"] == not_written), 1);
    assert_eq!(bridge.terminate(), 0);
}
