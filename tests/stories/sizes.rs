//! Messages that are large, too large, or not what their route expects: delivered unchanged, or
//! dead-lettered with their reason, and the next one passes.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::support::line::Plan;
use crate::support::*;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// A dead letter keeps this much of a payload.
const KEPT: usize = 512 * KIB;
const LARGE: &str = "devices/large";

/// The next payload under `mqtt_topic`, of exactly `bytes` bytes, noted in `ledger` as published.
fn sized(ledger: &mut ledger::Ledger, index: usize, bytes: usize) -> Vec<u8> {
    let (mqtt_topic, seq) = ledger.next(index);
    let least = ledger::payload(mqtt_topic, seq, 0).len();
    let payload = ledger::payload(mqtt_topic, seq, bytes - least);
    ledger.acknowledge(index, seq);
    payload
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn large_messages_pass_and_larger_ones_are_dead_lettered_without_a_reconnect() {
    let story = Story::new("20 KiB to 3 MiB");
    let plan = Plan {
        config: vec![("mqtt", "max_payload", "3 MiB".into())],
        kafka_topic: vec![("max.message.bytes", "2300000")],
        ..Plan::default()
    };
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        let mut client =
            MqttClient::connect(&line.broker.address(), line.version, "camera").unwrap();
        let mut published = ledger::Ledger::new([LARGE.to_owned()]);
        let sizes = [20 * KIB, 2 * MIB, 3 * MIB + 1, 20, 5 * MIB / 2, 100];
        let sizes = sizes.map(|bytes| bytes.max(50));
        let payloads = sizes.map(|bytes| sized(&mut published, 0, bytes));
        payloads.iter().for_each(|payload| client.publish(LARGE, payload));
        line.bridge.wait_summary("all are settled", PATIENT, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == (4, 2, 0)
        });
        assert_eq!(line.proxy.accepted(), 1, "no reconnect");
        assert_eq!(line.bridge.terminate(), 0);
        line.bridge.assert_logs_sound();

        for (letter, seq, reason) in [(0, 2, "payload_too_large"), (1, 4, "kafka_too_large")] {
            let letter = &line.dead_letters.read()[letter];
            let whole = &payloads[seq];
            assert_eq!(letter.reason(), reason);
            assert_eq!(letter.0["mqtt_topic"], LARGE);
            assert_eq!(letter.0["payload_bytes"], whole.len());
            if reason == "payload_too_large" {
                assert_eq!(letter.0["payload_cut"], true);
                assert_eq!(letter.0["payload_sha256"], *sha256(whole));
                assert!(letter.payload() == whole[..KEPT], "the first 512 KiB are kept");
            } else {
                assert!(letter.payload() == **whole, "what was in memory is kept whole");
            }
            published.except(LARGE, seq as u64);
        }
        assert_eq!(line.dead_letters.read().len(), 2);
        let verdict = Verdict::of(&published, &line.reader.read_to_end(SOON));
        verdict.report(story.name, line.version.name());
        verdict.assert_nothing_lost_or_reordered();
        assert_eq!((verdict.delivered, verdict.duplicated), (4, 0));
        let records = kafka::records(&Kafka::shared().bootstrap(), &line.kafka_topic);
        let delivered = [0, 1, 3, 5].map(|seq: usize| &payloads[seq]);
        assert!(records.iter().map(|record| &record.value).eq(delivered), "byte for byte");
    }
}

#[test]
fn a_batch_refused_for_one_record_delivers_the_others_in_order() {
    let story = Story::new("batch refused for one");
    let plan = Plan {
        load: Load { rate: 1_000_000, ..Load::default() },
        // Long enough for messages that are published together to share batches.
        config: vec![("kafka.properties", "linger.ms", "1000".into())],
        kafka_topic: vec![("max.message.bytes", "200000")],
        ..Plan::default()
    };
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        let mut client =
            MqttClient::connect(&line.broker.address(), line.version, "camera").unwrap();
        // The producer has written to every partition before.
        line.publisher.publish(40);
        line.wait_delivered(40);
        line.publisher.publish(400);
        line.publisher.wait_done(SOON);
        client.publish("devices/3", &ledger::payload("devices/3", 1_000_000, 300_000));
        line.publisher.publish(400);
        let verdict = line.settle();
        verdict.assert_nothing_lost_or_reordered();
        assert_eq!(verdict.delivered, verdict.published);
        let all = line.bridge.summary();
        assert_eq!((all.delivered, all.dead_lettered), (840, 1), "{all:?}");
        let letters = line.dead_letters.read();
        assert_eq!(letters.len(), 1, "{letters:?}");
        assert_eq!(letters[0].reason(), "kafka_too_large");
        let payload = letters[0].payload();
        assert_eq!(ledger::parse(&payload), Some(("devices/3", 1_000_000)));
        assert_eq!(line.proxy.accepted(), 1, "no reconnect");
        // The log has this record only if the refused record shared its batch with others.
        line.bridge.log().find(|record| record["msg"] == "record refused").unwrap();
    }
}

#[test]
fn a_payload_that_is_not_json_goes_to_a_dead_letter_kafka_topic_with_headers() {
    let story = Story::new("not JSON");
    let kafka = Kafka::shared();
    for version in Version::BOTH {
        let name = format!("json-mqtt{}", version.level());
        let (good, dead) = (name.clone(), format!("{name}-dead"));
        kafka.create(&good, 4, &[]);
        kafka.create(&dead, 1, &[]);
        let mosquitto = Mosquitto::start(story.dir(), &mosquitto::Setup::default());
        let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name()).set("mqtt", "max_payload", "600 KiB");
        config.set("dead_letter", "kafka_topic", dead.clone());
        config.route_with(&[
            ("filter", "devices/#".into()),
            ("qos", 1.into()),
            ("kafka_topic", good.clone().into()),
            ("payload", "json".into()),
        ]);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        mosquitto.wait_subscribed("bridge", 1);
        let mut client = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
        let large = vec![b'x'; 600 * KIB + 1];
        let published: [&[u8]; 4] = [b"{\"t\":20.5}", b"{\"t\":", &large, b"[1]"];
        published.iter().for_each(|payload| client.publish("devices/a", payload));
        bridge.wait_summary("all are settled", SOON, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == (2, 2, 0)
        });
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();

        let values: Vec<_> = kafka::records(&kafka.bootstrap(), &good)
            .into_iter()
            .map(|record| record.value)
            .collect();
        assert_eq!(values, [published[0], published[3]]);
        let letters = kafka::records(&kafka.bootstrap(), &dead);
        let header = |letter: usize, name: &str| {
            let value = letters[letter].headers.iter().find(|(key, _)| key == name);
            value.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        assert_eq!(letters.len(), 2);
        assert!(letters.iter().all(|letter| letter.key.as_deref() == Some(b"devices/a")));
        assert_eq!(letters[0].value, published[1]);
        assert!(letters[1].value == large[..KEPT], "the first 512 KiB are kept");
        for (letter, reason, whole) in
            [(0, "payload_not_json", published[1]), (1, "payload_too_large", &large[..])]
        {
            assert_eq!(header(letter, "reason").as_deref(), Some(reason));
            assert_eq!(header(letter, "mqtt_topic").as_deref(), Some("devices/a"));
            assert_eq!(header(letter, "mqtt_qos").as_deref(), Some("1"));
            assert_eq!(header(letter, "payload_bytes"), Some(whole.len().to_string()));
            assert!(!header(letter, "detail").unwrap().is_empty());
            assert!(header(letter, "received_at").unwrap().ends_with('Z'));
            let hash = (whole.len() > KEPT).then(|| sha256(whole));
            assert_eq!(header(letter, "payload_sha256"), hash);
        }
    }
}

#[test]
fn a_full_dead_letter_file_holds_its_messages_until_it_is_moved_away() {
    let story = Story::new("dead letter file full");
    let kafka = Kafka::shared();
    for version in Version::BOTH {
        let name = format!("full-mqtt{}", version.level());
        kafka.create(&name, 4, &[]);
        let broker = ScriptedBroker::start();
        let dead_letters = DeadLetters::new(&story.dir().join(format!("{name}.jsonl")));
        let mut config = ConfigFile::new(&broker.address(), "bridge", &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name()).set("mqtt", "max_payload", "1 KiB");
        config.set("dead_letter", "file", dead_letters.path());
        config.set("dead_letter", "file_max", "4 KiB").route("devices/#", &name);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        let mut session = broker.welcome(false);
        // One line of 2,000 bytes and more fits, two do not.
        let poison = |letter: char| letter.to_string().repeat(2_200).into_bytes();
        session.send(&Packet::publish(1, "devices/a", &poison('a')));
        session.expect_pubacks([1]);
        session.send(&Packet::publish(2, "devices/a", &poison('b')));
        session.send(&Packet::publish(3, "devices/a", b"good"));
        let told = bridge
            .log()
            .wait_for("it is said", SOON, |record| record["msg"] == "dead letter not written");
        assert!(log::mentions(&told, "at its bound of 4096 bytes"), "{told}");
        bridge.log().wait_for("it is held", SOON, |record| {
            record["msg"] == "summary" && record["held"] == "dead letter"
        });
        // The valid message is in Kafka, but its PUBACK waits for its turn.
        eventually("the valid message is in Kafka", SOON, || {
            kafka::records(&kafka.bootstrap(), &name).len() == 1
        });
        session.expect_silence(Duration::from_secs(2));
        assert_eq!(bridge.summary().dead_lettered, 1);

        dead_letters.move_away();
        session.expect_pubacks([2, 3]);
        let letters = dead_letters.read();
        assert_eq!(letters.len(), 1);
        assert!(letters[0].payload() == poison('b'));
        bridge.wait_summary("all are settled", SOON, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == (1, 2, 0)
        });
        drop(session);
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
        assert_eq!(kafka::records(&kafka.bootstrap(), &name).len(), 1);
    }
}

#[test]
fn a_dead_letter_that_is_over_kafkas_limit_is_shortened_until_it_fits() {
    let story = Story::new("dead letter over Kafka's limit");
    let kafka = Kafka::shared();
    for version in Version::BOTH {
        let name = format!("short-mqtt{}", version.level());
        let dead = format!("{name}-dead");
        kafka.create(&name, 4, &[]);
        kafka.create(&dead, 1, &[("max.message.bytes", "1000")]);
        let broker = ScriptedBroker::start();
        let mut config = ConfigFile::new(&broker.address(), "bridge", &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name()).set(
            "dead_letter",
            "kafka_topic",
            dead.clone(),
        );
        config.route_with(&[
            ("filter", "devices/#".into()),
            ("qos", 1.into()),
            ("kafka_topic", name.clone().into()),
            ("payload", "json".into()),
        ]);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        let mut session = broker.welcome(false);
        let long = format!("devices/{}", "x".repeat(2_000));
        let published = [
            ("devices/a", vec![b'x'; 200]),
            ("devices/a", vec![b'x'; 700 * KIB]),
            (long.as_str(), vec![b'x'; 10]),
        ];
        for (id, (mqtt_topic, payload)) in (1..).zip(&published) {
            session.send(&Packet::publish(id, mqtt_topic, payload));
        }
        session.send(&Packet::publish(4, "devices/a", b"[4]"));
        session.expect_pubacks([1, 2, 3, 4]);
        bridge.wait_summary("all are settled", SOON, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == (1, 3, 0)
        });
        drop(session);
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();

        let mut letters = kafka::records(&kafka.bootstrap(), &dead);
        assert_eq!(letters.len(), 3);
        // The next dead letter may overtake one that is being shortened.
        let header = |letter: &kafka::Record, name: &str| {
            let value = letter.headers.iter().find(|(key, _)| key == name);
            value.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        letters.sort_by_key(|letter| header(letter, "payload_bytes"));
        let [of_long, of_small, of_large] = &letters[..] else { unreachable!() };
        assert_eq!(of_small.value, published[0].1, "a payload that fits is kept whole");
        assert_eq!(header(of_small, "payload_sha256"), None);
        assert_eq!(of_large.value, b"", "headers and half a kilobyte have no room");
        assert_eq!(header(of_large, "payload_sha256"), Some(sha256(&published[1].1)));
        assert_eq!(header(of_large, "mqtt_topic").as_deref(), Some("devices/a"));
        assert_eq!(header(of_long, "mqtt_topic").as_deref(), Some(&long[..64]));
        assert_eq!(header(of_long, "mqtt_topic_sha256"), Some(sha256(long.as_bytes())));
        assert_eq!(header(of_long, "payload_sha256"), Some(sha256(&published[2].1)));
        assert!(
            letters.iter().all(|it| header(it, "reason").as_deref() == Some("payload_not_json"))
        );
    }
}

#[test]
fn mqtt_5_properties_count_in_the_window() {
    let story = Story::new("properties in the window, scripted");
    const MESSAGES: u16 = 1_000;
    const RSS_MAX_KIB: u64 = 64 * 1024;
    let (broker, kafka, mut bridge) = Bridge::scripted(&story, Version::V5, |_| {});
    let mut session = broker.welcome(false);
    kafka.order(|cluster| cluster.broker_round_trip_time(1, Duration::from_secs(5))).unwrap();
    // One byte of payload, and two user properties of 60 kB each: 120 MB in total, where the limit is 16 MiB.
    let text = "x".repeat(60_000);
    let property = [&[0x26, 0, 1, b'k'], &60_000_u16.to_be_bytes()[..], text.as_bytes()].concat();
    let sending = std::thread::spawn(move || {
        for pkid in 1..=MESSAGES {
            let body = [
                &[0, 3][..],
                b"a/b",
                &pkid.to_be_bytes(),
                // A variable byte integer of 120,012.
                &[0xCC, 0xA9, 0x07],
                &property,
                &property,
                b"p",
            ]
            .concat();
            let length = [0x80 | (body.len() & 0x7F) as u8, 0x80 | (body.len() >> 7 & 0x7F) as u8];
            session.send_raw(&[&[0x32], &length[..], &[(body.len() >> 14) as u8]].concat());
            session.send_raw(&body);
        }
        session
    });
    let full = bridge.wait_window_full();
    assert!(full.in_flight <= (16 * MIB / 120_000) as u64, "{full:?}");
    let rss = bridge.process().peak_rss_kib();
    tell(&format!("{}: peak RSS {rss} KiB", story.name));
    assert!(rss < RSS_MAX_KIB, "peak RSS {rss} KiB");
    kafka.order(|cluster| cluster.broker_round_trip_time(1, Duration::ZERO)).unwrap();
    let mut session = sending.join().expect("all are sent once there is room");
    session.expect_pubacks(1..=MESSAGES);
    let rss = bridge.process().peak_rss_kib();
    assert!(rss < RSS_MAX_KIB, "peak RSS {rss} KiB");
    assert_eq!(bridge.terminate(), 0);
}
