//! `match = "all"`: a message is delivered when all of its records are, and no part of it is forgotten.

use crate::support::mosquitto::Setup;
use crate::support::*;

const KAFKA_TOPICS: [&str; 3] = ["fan-a", "fan-b", "fan-c"];

#[test]
fn a_message_with_a_part_that_is_held_waits_through_a_restart_of_kafka_and_the_bridges_death() {
    const FIRST: u64 = 300;
    let story = Story::new("fan-out");
    let mut kafka = Kafka::start(story.dir());
    for kafka_topic in &KAFKA_TOPICS[..2] {
        kafka.create(kafka_topic, 4, &[]);
    }
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
    let http = Http::free();
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    http.configure(&mut config);
    config.route("devices/#", KAFKA_TOPICS[0]).route("devices/+", KAFKA_TOPICS[1]);
    config.route("#", KAFKA_TOPICS[2]);
    let mut bridge = Bridge::new(story.dir(), "bridge", &config);
    bridge.environment("BRIDGE_MATCH", Some("all"));
    bridge.run();
    mosquitto.wait_subscribed("bridge", 1);
    let readers = || KAFKA_TOPICS[..2].iter().map(|name| Reader::start(&kafka.bootstrap(), name));
    let mut readers: Vec<_> = readers().collect();
    let publisher = Publisher::start(&mosquitto.address(), Version::V5, "devices", Load::default());

    publisher.publish(FIRST);
    for reader in &readers {
        eventually("the parts that can be are delivered", PATIENT, || reader.distinct() == FIRST);
    }
    http.wait_reason("kafka_topic_missing", PATIENT);
    let now = bridge.wait_summary("all wait", PATIENT, |now| now.in_flight == FIRST);
    assert_eq!(now.delivered, 0, "a message is delivered when all of its records are");

    kafka.kill();
    kafka.run();
    bridge.kill();
    bridge.run();
    bridge.wait_summary("all wait again", PATIENT, |now| now.in_flight == FIRST);
    kafka.create(KAFKA_TOPICS[2], 4, &[]);
    readers.push(Reader::start(&kafka.bootstrap(), KAFKA_TOPICS[2]));
    publisher.publish(FIRST);
    publisher.wait_done(PATIENT);
    bridge.wait_summary("all are settled", PATIENT, |now| now.in_flight == 0 && now.delivered > 0);
    for reader in &readers {
        eventually("each part is delivered", PATIENT, || reader.distinct() == 2 * FIRST);
        let verdict = Verdict::of(&publisher.ledger(), &reader.read_to_end(SOON));
        verdict.report(story.name, "each of three");
        verdict.assert_nothing_lost_or_reordered();
    }
    http.wait_ready(PATIENT);
    assert_eq!(bridge.terminate(), 0);
    bridge.assert_logs_sound();
}
