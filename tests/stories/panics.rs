//! Panics, injected where the actors work.

use std::time::Duration;

use crate::support::line::Plan;
use crate::support::*;

const FAILPOINTS: &str = "BRIDGE_FAILPOINTS";

/// Sends the bridge of each line again through its start, with these failpoints.
fn restart_with(line: &mut Line, failpoints: &str) {
    assert_eq!(line.bridge.terminate(), 0);
    line.bridge.environment(FAILPOINTS, Some(failpoints));
    line.bridge.run();
}

#[test]
fn a_panic_of_any_actor_or_of_the_poll_thread_under_load_loses_nothing() {
    for (name, failpoints) in [
        ("panic while MQTT is read", "mqtt_read=40"),
        ("panic while verdicts are settled", "mqtt_verdicts=40"),
        ("panic while a batch is produced", "kafka_batch=40"),
        ("panic while delivery reports are handled", "kafka_reports=40"),
        ("panic of the poll thread", "kafka_poll=60"),
    ] {
        let story = Story::new(name);
        let mut lines = Line::both(&story, Kafka::shared(), &Plan::default());
        for line in &mut lines {
            restart_with(line, failpoints);
            line.publisher.keep_publishing();
        }
        for line in &mut lines {
            line.bridge.wait_summary("a restart", SOON, |now| now.restarts == 1);
            let panics = line.bridge.log().count(|record| {
                let said = |key: &str| !record[key].is_null();
                said("panic") && said("actor") && said("location")
            });
            assert_eq!(panics, 1, "one record of the panic");
            line.wait_delivered(line.reader.distinct() + 1_000);
            line.publisher.pause();
        }
        for line in &mut lines {
            let verdict = line.settle();
            verdict.assert_nothing_lost_or_reordered();
            assert_eq!(verdict.delivered, verdict.published);
        }
    }
}

#[test]
fn a_panic_of_mqtt_actor_while_verdicts_wait_acknowledges_nothing_that_is_not_in_kafka() {
    let story = Story::new("panic with verdicts waiting, scripted");
    for version in Version::BOTH {
        // The mail of verdicts that it is at is lost; those behind it wait out the restart.
        let (broker, kafka, mut bridge) = Bridge::scripted(&story, version, |bridge| {
            bridge.environment(FAILPOINTS, Some("mqtt_verdicts=3"));
        });
        let mut session = broker.welcome(false);
        kafka.order(|cluster| {
            cluster.broker_round_trip_time(1, Duration::from_millis(50)).unwrap();
        });
        let message =
            |pkid: u16| Packet::publish(pkid, &format!("a/{}", pkid % 7), &pkid.to_be_bytes());
        // Fifty at a time, as a broker with a window does, until the panic.
        let (mut sent, mut acknowledged) = (0, 0);
        eventually("the actor panics", SOON, || {
            if acknowledged == sent {
                (sent + 1..=sent + 50).for_each(|pkid| session.send(&message(pkid)));
                sent += 50;
            }
            match session.next(SOON) {
                Some(Packet::PubAck { pkid }) => {
                    acknowledged += 1;
                    assert_eq!(pkid, acknowledged, "in order");
                    false
                }
                None => true,
                other => panic!("expected PUBACK, got {other:?}"),
            }
        });
        // That connection is gone with the actor. What it acknowledged is in Kafka.
        let there = kafka::records(kafka.bootstrap(), "t");
        for pkid in 1..=acknowledged {
            let value = pkid.to_be_bytes();
            assert!(there.iter().any(|record| record.value == value), "{pkid} is in Kafka");
        }
        let mut session = broker.welcome(true);
        (acknowledged + 1..=sent).for_each(|pkid| session.send(&message(pkid).again()));
        session.expect_pubacks(acknowledged + 1..=sent);
        let there = kafka::records(kafka.bootstrap(), "t");
        assert!((1..=sent).all(|pkid| there.iter().any(|r| r.value == pkid.to_be_bytes())));
        assert_eq!(bridge.terminate(), 0);
        assert_eq!(bridge.summary().restarts, 1);
    }
}

#[test]
fn a_panic_that_comes_back_each_time_ends_with_70() {
    for site in ["mqtt_read", "kafka_batch", "kafka_poll"] {
        let story = Story::new("panic each time");
        let config = vec![
            ("supervisor", "backoff_max", "200ms".into()),
            ("supervisor", "failures_max", 5.into()),
        ];
        let plan = Plan { config, ..Plan::default() };
        let mut line = Line::start(&story, Kafka::shared(), Version::V5, &plan);
        restart_with(&mut line, &format!("{site}=always"));
        line.publisher.publish(100);
        assert_eq!(line.bridge.exit_code(SOON), 70, "{site}");
        let summary = line.bridge.summary();
        assert_eq!(summary.restarts, 4, "{site}: {summary:?}");
    }
}

#[test]
fn a_panic_on_one_poison_message_dead_letters_it() {
    for site in ["route", "kafka_record"] {
        let story = Story::new("poison message");
        let mut lines = Line::both(&story, Kafka::shared(), &Plan::default());
        for line in &mut lines {
            restart_with(line, &format!("{site}=500"));
            line.publisher.publish(1_000);
            line.publisher.wait_done(PATIENT);
            line.bridge.wait_summary("all have their end", PATIENT, |now| {
                (now.delivered, now.dead_lettered) == (999, 1)
            });
            assert_eq!(line.bridge.terminate(), 0);
            assert_eq!(line.bridge.summary().restarts, 0, "{site}: a message is not the actor");
            let letters = line.bridge.dead_letters();
            assert_eq!(letters.len(), 1);
            assert_eq!(letters[0]["reason"], "panic", "{:?}", letters[0]);
        }
    }
}
