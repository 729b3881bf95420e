//! Records that Kafka refuses: whose fault that is, and that a refusal stops no other messages.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::clock::Clock;
use crate::support::line::Plan;
use crate::support::*;

/// Limit of the Kafka topic in the second story, and size of a device's messages there.
const TAKEN_MAX: &str = "20000";
const TOO_LARGE: usize = 30_000;

#[test]
fn a_clock_that_is_wrong_holds_the_kafka_topic_until_it_is_right_and_no_record_keeps_its_time() {
    let story = Story::new("clock ahead");
    let (clock, http) = (Clock::new(story.dir()), Http::free());
    let plan = Plan {
        config: vec![("http", "listen", http.address().into())],
        load: Load { rate: 1_000, ..Load::default() },
        ..Plan::default()
    };
    let mut line = Line::start(&story, Kafka::shared(), Version::V5, &plan);
    assert_eq!(line.bridge.terminate(), 0);
    clock.give_to(&mut line.bridge);
    line.bridge.run();
    line.publisher.publish(200);
    line.wait_delivered(200);

    // Kafka refuses timestamps that are more than an hour ahead.
    clock.set_ahead(2 * 3600);
    line.publisher.publish(400);
    http.wait_reason("kafka_topic_held", PATIENT);
    let said = http.get("/readyz").unwrap().body;
    assert!(said.contains("INVALID_TIMESTAMP"), "{said}");
    assert!(said.contains("out of range"), "Kafka's own sentence: {said}");
    let told = line
        .bridge
        .log()
        .find(|record| record["msg"] == "kafka topic refuses every record, holding it")
        .unwrap();
    assert_eq!(told["dead_lettered"], 2, "{told}");
    assert!(log::mentions(&told, "out of range"), "{told}");
    // The log tells of those that are to be written; the last one may not be in the file yet.
    let before = eventually_some("the two are in the file", PATIENT, || {
        Some(line.dead_letters.read()).filter(|letters| letters.len() >= 2)
    });
    assert_eq!(before.len(), 2, "{before:?}");
    assert!(before.iter().all(|letter| letter.0["detail"].to_string().contains("out of range")));

    clock.set_ahead(0);
    http.wait_ready(PATIENT);
    let verdict = line.settle();
    verdict.assert_nothing_lost_or_reordered();
    assert_eq!(line.dead_letters.read().len(), 2, "the others waited");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    for record in kafka::records(&Kafka::shared().bootstrap(), &line.kafka_topic) {
        assert!(u128::try_from(record.timestamp_ms).unwrap() <= now, "{record:?}");
    }
}

#[test]
fn a_device_whose_messages_are_too_large_ends_one_producer_and_the_others_keep_their_rate() {
    let story = Story::new("20 too large a second");
    let span = Duration::from_secs(10);
    let plan = Plan {
        load: Load { rate: 4_000, ..Load::default() },
        kafka_topic: vec![("max.message.bytes", TAKEN_MAX)],
        ..Plan::default()
    };
    let mut line = Line::start(&story, Kafka::shared(), Version::V5, &plan);
    line.publisher.keep_publishing();
    line.wait_delivered(1_000);
    let mut camera = MqttClient::connect(&line.broker.address(), line.version, "camera").unwrap();
    let start = Instant::now();
    let (published, delivered) = (line.publisher.published(), line.reader.distinct());
    let mut sent = 0;
    while start.elapsed() < span {
        camera.publish("devices/3", &ledger::payload("devices/3", 1_000_000 + sent, TOO_LARGE));
        sent += 1;
        let next = Duration::from_millis(50) * u32::try_from(sent).unwrap();
        thread::sleep(next.saturating_sub(start.elapsed()));
    }
    let took = start.elapsed().as_secs_f64();
    let published = line.publisher.published() - published;
    let delivered = line.reader.distinct() - delivered;
    tell(&format!(
        "{}: {sent} refused, {:.0}/s published, {:.0}/s delivered",
        story.name,
        published as f64 / took,
        delivered as f64 / took
    ));
    assert!(delivered * 10 >= published * 9, "{delivered} of {published}");
    eventually("the backlog is at most a quarter of a second of messages", SOON, || {
        line.publisher.published() - line.reader.distinct() < 1_000
    });
    line.publisher.pause();
    line.bridge.wait_summary("all are settled", PATIENT, |now| {
        (now.dead_lettered, now.in_flight) == (sent, 0)
    });
    let ends = line.bridge.log().count(|record| record["msg"] == "producer failed, replacing it");
    assert!((1..=2).contains(&ends), "{ends} producers ended");
    let verdict = line.settle();
    verdict.assert_nothing_lost_or_reordered();
    let letters = line.dead_letters.read();
    assert_eq!(letters.len() as u64, sent);
    assert!(letters.iter().all(|letter| letter.reason() == "kafka_too_large"));
}

/// For each refusal librdkafka raises a number of 15 bits; after 32,767 comes 0, which Kafka takes for an
/// older producer.
#[test]
fn thirty_thousand_refusals_in_a_row_do_not_block_a_partition() {
    const MANY: u64 = 33_500;
    let story = Story::new("33500 too large");
    // Dead letters go through the same producer as the refused records, which are of one partition, so that
    // each refusal counts by itself.
    Kafka::shared().create("dead-33500", 1, &[]);
    let plan = Plan {
        config: vec![("dead_letter", "kafka_topic", "dead-33500".into())],
        load: Load {
            mqtt_topics: 1,
            rate: 1_000_000,
            window: 1_000,
            filler: 300,
            ..Load::default()
        },
        kafka_topic: vec![("max.message.bytes", "300")],
        ..Plan::default()
    };
    let mut line = Line::start(&story, Kafka::shared(), Version::V5, &plan);
    let start = Instant::now();
    line.publisher.publish(MANY);
    // Each costs several round trips, and a busy machine may take minutes for all of them.
    for part in (0..=MANY).step_by(500) {
        let what = format!("{part} are dead-lettered");
        line.bridge.wait_summary(&what, PATIENT, |now| now.dead_lettered >= part);
    }
    assert_eq!(line.bridge.summary().dead_lettered, MANY);
    tell(&format!("{}: {:?}", story.name, start.elapsed()));
    assert_eq!(line.bridge.terminate(), 0);
    line.bridge.assert_logs_sound();
}

#[test]
fn readiness_names_a_partition_that_keeps_failing_until_it_recovers() {
    let story = Story::new("one partition fails");
    let http = Http::free();
    let (broker, kafka, mut bridge) = Bridge::scripted(&story, Version::V5, |bridge| {
        bridge.environment("BRIDGE_HTTP__LISTEN", Some(http.address()));
    });
    let mut session = broker.welcome(false);
    session.send(&Packet::publish(1, "a/b", b"first"));
    session.expect_pubacks([1]);
    kafka.order(|cluster| {
        let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH; 1_000];
        cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    });
    session.send(&Packet::publish(2, "a/b", b"second"));
    http.wait_reason("kafka_partition_failing", PATIENT);
    let said = http.get("/readyz").unwrap().body;
    assert!(said.contains("t, partition ") && said.contains("FENCED_LEADER_EPOCH (74)"), "{said}");
    kafka.order(|cluster| cluster.clear_request_errors(RDKafkaApiKey::Produce));
    session.expect_pubacks([2]);
    http.wait_ready(SOON);
    drop(session);
    assert_eq!(bridge.terminate(), 0);
    bridge.assert_logs_sound();
}
