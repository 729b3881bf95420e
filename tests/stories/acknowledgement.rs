//! PUBACKs leave only after Kafka's acknowledgement, and in the order of the PUBLISHes.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaRespErr;

use crate::support::*;

/// ApiKey of Produce.
const PRODUCE: rdkafka::types::RDKafkaApiKey = rdkafka::types::RDKafkaApiKey::Produce;

#[test]
fn no_puback_before_kafkas_acknowledgement() {
    let story = Story::new("PUBACK after Kafka, scripted");
    for version in Version::BOTH {
        let (broker, kafka, mut bridge) = Bridge::scripted(&story, version, |_| {});
        let mut session = broker.welcome(false);
        // One message first, so that everything is connected.
        session.send(&Packet::publish(1, "a/0", b"first"));
        session.expect_pubacks([1]);

        let delay = Duration::from_secs(2);
        kafka.order(move |cluster| cluster.broker_round_trip_time(1, delay)).unwrap();
        let sent = Instant::now();
        for pkid in 2..=50 {
            session.send(&Packet::publish(pkid, &format!("a/{}", pkid % 7), b"x"));
        }
        session.expect_pubacks([2]);
        assert!(sent.elapsed() >= delay, "a PUBACK came before Kafka's acknowledgement");
        session.expect_pubacks(3..=50);
        assert_eq!(bridge.terminate(), 0);
    }
}

#[test]
fn pubacks_come_in_order_and_only_for_records_that_are_in_kafka() {
    let story = Story::new("PUBACKs in order, scripted");
    for version in Version::BOTH {
        let (broker, kafka, mut bridge) = Bridge::scripted(&story, version, |_| {});
        let mut session = broker.welcome(false);
        let mut next = 1;
        for round in 0..5 {
            // Some requests fail with errors that librdkafka retries; the broker's delay varies.
            kafka
                .order(move |cluster| {
                    cluster.request_errors(
                        PRODUCE,
                        &[
                            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                            RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                        ],
                    );
                    let delay = Duration::from_millis(40 * (round % 3));
                    cluster.broker_round_trip_time(1, delay)
                })
                .unwrap();
            let ids = next..next + 200;
            next = ids.end;
            for pkid in ids.clone() {
                session.send(&Packet::publish(
                    pkid,
                    &format!("a/{}", pkid % 7),
                    &pkid.to_be_bytes(),
                ));
            }
            session.expect_pubacks(ids);
        }
        let records = kafka::records(kafka.bootstrap(), "t");
        let there: HashSet<_> = records.into_iter().map(|record| record.value).collect();
        assert!((1..next).all(|pkid| there.contains(&pkid.to_be_bytes()[..])));
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
    }
}

#[test]
fn a_strict_window_of_20_does_not_stall() {
    let story = Story::new("strict window of 20, scripted");
    for version in Version::BOTH {
        let (broker, _kafka, mut bridge) = Bridge::scripted(&story, version, |_| {});
        let mut session = broker.welcome(false);
        let start = Instant::now();
        let mut unacknowledged = 0;
        for pkid in 1..=4_000 {
            session.send(&Packet::publish(pkid, "a/b", b"x"));
            unacknowledged += 1;
            if unacknowledged == 20 {
                session.expect_pubacks([pkid - 19]);
                unacknowledged -= 1;
            }
        }
        session.expect_pubacks(4_000 - 18..=4_000);
        let rate = 4_000.0 / start.elapsed().as_secs_f64();
        tell(&format!("{}, MQTT {}: {rate:.0} messages/s", story.name, version.name()));
        assert!(rate > 500.0, "it stalls: {rate:.0} messages/s");
        assert_eq!(bridge.terminate(), 0);
    }
}
