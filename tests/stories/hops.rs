//! Where the time goes: each delivered record has one timing record, with each hop of its way.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::mosquitto::Setup;
use crate::support::wire::Publish;
use crate::support::*;

const MESSAGES: usize = 600;
const CUTS: usize = 4;

/// The timing records of the first run.
fn timings(bridge: &Bridge) -> Vec<Value> {
    let log = fs::read_to_string(bridge.dir().join("run-1.log")).unwrap();
    let records = log.lines().filter(|line| line.contains("\"msg\":\"timing\""));
    records.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn number(record: &Value, key: &str) -> i64 {
    record[key].as_i64().unwrap_or_else(|| panic!("{key} of {record}"))
}

fn moment(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("RFC 3339").as_microsecond()
}

/// What holds of every timing record.
#[track_caller]
fn assert_consistent(record: &Value) {
    let [routed, queue, kafka, total] =
        ["routed_us", "queue_us", "kafka_us", "total_us"].map(|key| number(record, key));
    assert!(routed <= queue, "routed is a part of the queue: {record}");
    assert!((0..=1).contains(&(total - queue - kafka)), "the parts make the whole: {record}");
    let reason = record.get("ack_reason");
    assert_eq!(record["ack_us"].is_null(), reason.is_some(), "null has a reason: {record}");
    let [ts, delivered_at] =
        ["ts", "delivered_at"].map(|key| moment(record[key].as_str().expect("a moment")));
    let acked_at = delivered_at + record["ack_us"].as_i64().unwrap_or_default();
    assert!(acked_at <= ts, "the line is written behind its last hop: {record}");
}

#[test]
fn each_record_in_kafka_has_one_timing_record_with_all_its_hops_over_a_connection_that_is_cut() {
    let story = Story::new("hops");
    let (kafka, http) = (Kafka::shared(), Http::free());
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    for version in Version::BOTH {
        let name = format!("hops-{}", version.level());
        kafka.create(&name, 2, &[]);
        let proxy = Proxy::start(&mosquitto.address());
        let mut config = ConfigFile::new(&proxy.address(), &name, &kafka.bootstrap());
        http.configure(&mut config);
        config.set("mqtt", "protocol", version.name());
        config.route_with(&[
            ("name", "measured".into()),
            ("filter", format!("{name}/#").into()),
            ("kafka_topic", name.clone().into()),
            ("device_time", "json./ts".into()),
            ("headers", json!(["bridge.received_at", "bridge.routed_at", "bridge.produced_at"])),
        ]);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        mosquitto.wait_subscribed(&name, 1);
        let mut device = MqttClient::connect(&mosquitto.address(), version, "device").unwrap();
        for nth in 0..MESSAGES {
            // One in a hundred has a clock that is ahead, and one has none.
            let now_ms = jiff::Timestamp::now().as_millisecond();
            let payload = match nth % 100 {
                17 => json!({ "ts": now_ms + 3_600_000, "nth": nth }),
                18 => json!({ "nth": nth }),
                _ => json!({ "ts": now_ms, "nth": nth }),
            };
            device.publish(&format!("{name}/{}", nth % 5), payload.to_string().as_bytes());
            if nth % (MESSAGES / CUTS) == 40 {
                // Else most would be in flight when it is cut.
                let delivered = || http.metrics().get("delivered_total{connection=\"mqtt\"}");
                eventually("it has caught up", SOON, || delivered() > nth as u64);
            }
            if nth % (MESSAGES / CUTS) == 50 {
                let connected =
                    || bridge.log().count(|record| record["msg"] == "connected to mqtt");
                let before = connected();
                eventually("there is a connection to cut", SOON, || proxy.cut() == 1);
                eventually("it connects again", SOON, || connected() > before);
            }
        }
        bridge.wait_summary("all are delivered", PATIENT, |now| {
            now.delivered >= MESSAGES as u64 && now.in_flight == 0
        });
        let metrics = http.metrics();
        let ahead = "mqtt_kafka_bridge_device_clock_ahead_seconds{route=\"measured\"}";
        let ahead = metrics.value(ahead);
        assert!(ahead.is_some_and(|ahead| (3_590.0..=3_600.0).contains(&ahead)), "{ahead:?}");
        let unreadable =
            metrics.get("route_notes_total{route=\"measured\",note=\"device_time_unreadable\"}");
        assert!(unreadable >= 6, "{unreadable}");
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();

        let mut by_place: HashMap<(i64, i64), Value> = HashMap::new();
        for record in timings(&bridge) {
            assert_consistent(&record);
            let place = (number(&record, "kafka_partition"), number(&record, "kafka_offset"));
            let before = by_place.insert(place, record);
            assert!(before.is_none(), "two for one record: {before:?}");
        }
        let mut offsets: HashMap<i32, i64> = HashMap::new();
        let mut acknowledged = 0;
        for record in kafka::records(&kafka.bootstrap(), &name) {
            let offset = offsets.entry(record.kafka_partition).or_default();
            let timing = by_place.remove(&(record.kafka_partition.into(), *offset));
            let timing = timing.unwrap_or_else(|| panic!("no timing record for {record:?}"));
            *offset += 1;
            assert_eq!((&timing["route"], &timing["mqtt_qos"]), (&json!("measured"), &json!(1)));
            let sent: Value = serde_json::from_slice(&record.value).unwrap();
            match sent["ts"].as_i64() {
                None => assert!(timing.get("device_us").is_none(), "{timing}"),
                Some(ts) => {
                    let delivered_at = moment(timing["delivered_at"].as_str().unwrap());
                    assert_eq!(number(&timing, "device_us"), delivered_at - ts * 1000, "{timing}");
                }
            }
            let header = |name: &str| {
                let found = record.headers.iter().find(|(known, _)| known == name);
                moment(std::str::from_utf8(&found.expect("it was asked for").1).unwrap())
            };
            let [received, routed, produced] = ["received_at", "routed_at", "produced_at"]
                .map(|it| header(&format!("bridge.{it}")));
            assert_eq!(received, moment(timing["received_at"].as_str().unwrap()));
            assert_eq!(produced, moment(timing["produced_at"].as_str().unwrap()));
            assert!(received <= routed && routed <= produced, "{timing}");
            match timing["ack_us"].as_i64() {
                Some(_) => acknowledged += 1,
                None => assert_eq!(timing["ack_reason"], "connection_lost", "{timing}"),
            }
        }
        assert!(by_place.is_empty(), "of records that are not in Kafka: {by_place:?}");
        assert!(acknowledged > MESSAGES / 2, "{acknowledged} of them have the hop to the PUBACK");
    }
}

#[test]
fn a_record_without_a_puback_says_why() {
    let story = Story::new("hops without a PUBACK, scripted");
    for version in Version::BOTH {
        let (broker, kafka, mut bridge) = Bridge::scripted(&story, version, |_| {});
        let mut session = broker.welcome(false);
        let mqtt_topic = b"a/0".to_vec();
        let qos0 = Publish { mqtt_topic, payload: b"qos 0".to_vec(), ..Publish::default() };
        session.send(&Packet::Publish(qos0));
        session.send(&Packet::publish(1, "a/1", b"acknowledged"));
        session.expect_pubacks([1]);
        let slow = |kafka: &MockKafka, round_trip| {
            kafka.order(move |cluster| cluster.broker_round_trip_time(1, round_trip)).unwrap();
        };
        slow(&kafka, Duration::from_secs(2));
        session.send(&Packet::publish(2, "a/2", b"lost before its verdict"));
        bridge.wait_summary("it is received", SOON, |now| now.received == 3);
        session.cut();
        let mut session = broker.welcome(true);
        session.send(&Packet::publish(2, "a/2", b"lost before its verdict").again());
        session.expect_pubacks([2]);
        slow(&kafka, Duration::ZERO);
        bridge.wait_summary("all are delivered", SOON, |now| now.delivered == 3);
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
        let mut found: Vec<_> = timings(&bridge).into_iter().collect();
        found.iter().for_each(assert_consistent);
        found.sort_by_key(|record| record["mqtt_topic"].to_string());
        let reasons: Vec<_> =
            found.iter().map(|it| it.get("ack_reason").cloned().unwrap_or_default()).collect();
        assert_eq!(reasons, [json!("qos0"), Value::Null, json!("connection_lost")]);
    }
}

#[test]
fn a_record_whose_puback_waits_long_for_an_older_message_is_told_without_it_and_once() {
    behind_a_held_message(&Story::new("hops behind a held message"), false);
}

#[test]
fn a_bridge_that_ends_before_a_puback_tells_the_record_first() {
    behind_a_held_message(&Story::new("hops at the end"), true);
}

/// If it `ends`, the bridge is told to end before the older message has a verdict.
fn behind_a_held_message(story: &Story, ends: bool) {
    let (kafka, http) = (Kafka::shared(), Http::free());
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    for version in Version::BOTH {
        let name = format!("hops-held-{}-{ends}", version.level());
        // A Kafka topic that is not there yet: the first message is held, and with it every PUBACK behind it.
        let missing = format!("{name}-missing");
        kafka.create(&name, 1, &[]);
        let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
        http.configure(&mut config);
        config.set("mqtt", "protocol", version.name());
        config.set("delivery", "drain_deadline", "1s");
        config.route_with(&[
            ("filter", format!("{name}/held/{{part}}").into()),
            ("kafka_topic", format!("{missing}.{{part}}").into()),
            ("missing_topic", "hold".into()),
        ]);
        config.route(&format!("{name}/free"), &name);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        mosquitto.wait_subscribed(&name, 2);
        let mut device = MqttClient::connect(&mosquitto.address(), version, "device").unwrap();
        device.publish(&format!("{name}/held/x"), b"first");
        bridge.wait_summary("it is held", SOON, |now| now.in_flight == 1);
        device.publish(&format!("{name}/free"), b"second");
        bridge.wait_summary("the second one is delivered", SOON, |now| now.delivered == 1);
        if ends {
            assert_ne!(bridge.terminate(), 0, "the first one cannot be delivered in time");
            let found = timings(&bridge);
            let [only] = &found[..] else { panic!("one record: {found:?}") };
            assert_eq!(only["ack_reason"], "not_yet", "{only}");
            continue;
        }
        eventually("its record is written without a PUBACK", SOON, || bridge.log().timings() == 1);
        kafka.create(&format!("{missing}.x"), 1, &[]);
        bridge.wait_summary("both are delivered", PATIENT, |now| now.delivered == 2);
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
        let found = timings(&bridge);
        found.iter().for_each(assert_consistent);
        let of = |part: &str| {
            let mqtt_topic = format!("{name}/{part}");
            let mut found =
                found.iter().filter(|record| record["mqtt_topic"] == mqtt_topic.as_str());
            (found.next().expect("one").clone(), found.count())
        };
        let (free, more) = of("free");
        assert_eq!((&free["ack_reason"], more), (&json!("not_yet"), 0), "{free}");
        let (held, more) = of("held/x");
        assert!(held["ack_us"].is_number() && more == 0, "{held}");
    }
}
