//! Panics: an actor that panics is restarted and nothing is lost, one poison message goes to the
//! dead letter, and a panic that comes back each time ends the bridge.

use std::time::Duration;

use serde_json::Value;

use crate::support::line::Plan;
use crate::support::log::Log;
use crate::support::*;

/// Limit of the records that one producer sent without a report, and of messages without a PUBACK.
const WINDOW: u64 = 1_000;

#[test]
fn mqtt_actor_panics_while_it_reads() {
    panics_under_load("panic of MqttActor, reading", "mqtt_read=40", "MqttRead");
}

#[test]
fn mqtt_actor_panics_while_it_takes_verdicts() {
    panics_under_load("panic of MqttActor, verdicts", "mqtt_verdicts=40", "MqttVerdicts");
}

#[test]
fn kafka_producer_actor_panics_while_it_produces() {
    panics_under_load("panic of KafkaProducerActor, batch", "kafka_batch=40", "KafkaBatch");
}

#[test]
fn kafka_producer_actor_panics_while_it_takes_reports() {
    panics_under_load("panic of KafkaProducerActor, reports", "kafka_reports=40", "KafkaReports");
}

#[test]
fn the_poll_thread_panics() {
    panics_under_load("panic of the poll thread", "kafka_poll=40", "KafkaPoll");
}

/// One panic at `failpoint` under load; the load goes on.
fn panics_under_load(name: &'static str, failpoint: &str, site: &str) {
    let story = Story::new(name);
    let plan = Plan { failpoints: failpoint.to_owned(), ..Plan::default() };
    let mut lines = Line::both(&story, Kafka::shared(), &plan);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    for line in &mut lines {
        let after = line.bridge.wait_summary("one restart", PATIENT, |now| now.restarts == 1);
        line.wait_delivered(after.received + 1_000);
        line.publisher.pause();
        let verdict = line.settle();
        verdict.assert_nothing_lost_or_reordered();
        assert_eq!(verdict.delivered, verdict.published);
        assert!(verdict.duplicated <= WINDOW, "{verdict:?}");
        let all = line.bridge.summary();
        assert_eq!((all.restarts, all.in_flight), (1, 0), "{all:?}");
        assert_panic_is_told_once(line.bridge.log(), site);
        let restarts = line.bridge.log().count(|record| record["msg"] == RESTART);
        assert_eq!(restarts, 1, "one actor was restarted");
    }
}

const RESTART: &str = "actor failed, will restart";

/// One record says who panicked, with what message, and where.
fn assert_panic_is_told_once(log: &Log, site: &str) {
    let message = format!("failpoint {site}");
    let of_panic = |record: &Value| record["panic"] == *message;
    assert_eq!(log.count(of_panic), 1, "records with {message:?}");
    let record = log.find(of_panic).unwrap();
    let actor = record["actor"].as_str().unwrap_or_default();
    assert!(["mqtt", "kafka"].contains(&actor), "the actor: {record}");
    let location = record["location"].as_str().unwrap_or_default();
    assert!(location.starts_with("src/failpoint.rs:"), "the location: {record}");
}

/// A panic loses the mail of verdicts that is being handled, and others wait in the mailbox
/// until the actor is restarted. These verdicts must not acknowledge a message that Kafka does not have:
/// neither messages without a verdict nor new messages with the packet ids of old ones.
#[test]
fn verdicts_in_the_mailbox_of_a_panicked_actor_acknowledge_nothing_that_is_not_in_kafka() {
    for version in Version::BOTH {
        verdicts_wait_over_a_panic(version);
    }
}

const MESSAGES: u16 = 100;
const AGAIN: std::ops::RangeInclusive<u16> = 61..=100;
const NEW: std::ops::RangeInclusive<u16> = 1..=60;

fn verdicts_wait_over_a_panic(version: Version) {
    let story = Story::new("verdicts over a panic");
    let mut kafka = Kafka::start(story.dir());
    kafka.create("t", 4, &[]);
    let reader = Reader::start(&kafka.bootstrap(), "t");
    let broker = ScriptedBroker::start();
    let mut config = ConfigFile::new(&broker.address(), "bridge", &kafka.bootstrap());
    config.set("mqtt", "protocol", version.name()).set("mqtt", "connect_timeout", "1m");
    // Time for Kafka to give its verdicts while the actor is down.
    config.set("supervisor", "backoff_min", "6s").route("devices/#", "t");
    let http = Http::free();
    http.configure(&mut config);
    let mut bridge = Bridge::new(story.dir(), &format!("mqtt{}", version.level()), &config);
    bridge.environment("BRIDGE_FAILPOINTS", Some("mqtt_verdicts=1"));
    bridge.run();

    let mut first = broker.welcome(false);
    kafka.freeze();
    let mut published = ledger::Ledger::new((0..20).map(|index| format!("devices/{index}")));
    let mut message = |pkid: u16| {
        let index = usize::from(pkid) % 20;
        let (mqtt_topic, seq) = published.next(index);
        let payload = ledger::payload(mqtt_topic, seq, 50);
        let message = Packet::publish(pkid, mqtt_topic, &payload);
        published.acknowledge(index, seq);
        message
    };
    let old: Vec<Packet> = (1..=MESSAGES).map(&mut message).collect();
    old.iter().for_each(|packet| first.send(packet));
    bridge.wait_summary("all are in flight", SOON, |now| now.in_flight == u64::from(MESSAGES));
    kafka.thaw();
    bridge.log().wait_for("the panic", SOON, |record| record["panic"] == "failpoint MqttVerdicts");
    // A record is counted when its report is handled, just before the verdict is mailed.
    let given = || http.metrics().get("records_delivered_total{connection=\"mqtt\"}");
    eventually("all verdicts are given", SOON, || given() >= u64::from(MESSAGES));
    kafka.freeze();
    assert_eq!(first.expect_close(SOON), [], "no PUBACK on the connection of the panic");

    let mut second = broker.welcome(true);
    // Like a broker that assumed that it had some PUBACKs: the later messages come again, and the
    // packet ids of the earlier ones are given to new messages.
    for packet in &old[usize::from(*AGAIN.start()) - 1..] {
        let Packet::Publish(publish) = packet.clone() else { unreachable!("all are PUBLISH") };
        second.send(&Packet::Publish(wire::Publish { dup: true, ..publish }));
    }
    NEW.map(&mut message).for_each(|packet| second.send(&packet));
    let all = u64::from(MESSAGES + NEW.end());
    let sent = all + AGAIN.count() as u64;
    bridge.wait_summary("they are taken in", SOON, |now| now.received + now.redelivered == sent);
    // These are in Kafka, as the verdicts in the mailbox say.
    second.expect_pubacks(AGAIN);
    second.expect_silence(Duration::from_secs(2));
    kafka.thaw();
    second.expect_pubacks(NEW);
    let summary = bridge.wait_summary("all are settled", SOON, |now| now.in_flight == 0);
    assert_eq!((summary.received, summary.redelivered), (all, AGAIN.count() as u64));
    let verdict = Verdict::of(&published, &reader.read_to_end(SOON));
    verdict.report(story.name, version.name());
    verdict.assert_nothing_lost_or_reordered();
    assert_eq!(verdict.delivered, all);
    drop(second);
    assert_eq!(bridge.terminate(), 0);
    bridge.assert_logs_sound();
}

#[test]
fn a_panic_that_comes_back_each_time_ends_with_70_and_loses_nothing() {
    let story = Story::new("panic each time");
    let plan = Plan {
        failpoints: "kafka_batch=always".to_owned(),
        config: vec![
            ("supervisor", "failures_max", 4.into()),
            ("supervisor", "backoff_min", "10ms".into()),
            ("supervisor", "backoff_max", "50ms".into()),
        ],
        ..Plan::default()
    };
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        line.publisher.publish(500);
        assert_eq!(line.bridge.exit_code(SOON), 70);
        let log = line.bridge.log();
        assert_eq!(log.count(|record| record["msg"] == RESTART), 3);
        let end = log.find(|record| record["msg"] == "restart budget spent").unwrap();
        assert_eq!((&end["failures"], &end["actor"]), (&4.into(), &"kafka".into()));
        assert_eq!(line.reader.distinct(), 0);

        line.bridge.run();
        line.settle().assert_exact();
        assert_eq!(line.bridge.summary().restarts, 0);
    }
}

#[test]
fn a_message_that_makes_routing_panic_goes_to_the_dead_letter() {
    poison("poison message, routing", "route=300", "failpoint Route");
}

#[test]
fn a_message_that_makes_mapping_panic_goes_to_the_dead_letter() {
    poison("poison message, mapping", "kafka_record=300", "failpoint KafkaRecord");
}

fn poison(name: &'static str, failpoint: &str, panic: &str) {
    let story = Story::new(name);
    let plan = Plan { failpoints: failpoint.to_owned(), ..Plan::default() };
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        line.publisher.publish(1_000);
        line.wait_delivered(999);
        let verdict = line.settle();
        verdict.assert_nothing_lost_or_reordered();
        assert_eq!((verdict.delivered, verdict.duplicated), (999, 0));
        let all = line.bridge.summary();
        assert_eq!((all.delivered, all.dead_lettered, all.restarts), (999, 1, 0), "{all:?}");
        let letters = line.dead_letters.read();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].reason(), "panic", "{letters:?}");
        let (mqtt_topic, seq) =
            ledger::parse(&letters[0].payload()).map(|(name, seq)| (name.to_owned(), seq)).unwrap();
        // The 300th message of twenty MQTT topics in turn.
        assert_eq!((&*mqtt_topic, seq), ("devices/19", 14));
        let told = line.bridge.log().count(|record| record["panic"] == *panic);
        assert_eq!(told, 1, "the panic is logged once");
        assert_eq!(line.proxy.accepted(), 1, "no reconnect");
    }
}
