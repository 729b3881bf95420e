//! The partitions of a Kafka topic, which are more one day.

use std::collections::BTreeSet;

use crate::support::mosquitto::Setup;
use crate::support::*;

#[test]
fn partitions_that_a_kafka_topic_gains_are_used_and_nothing_is_lost() {
    let story = Story::new("partitions are added");
    let kafka = Kafka::shared();
    kafka.create("grows", 1, &[]);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.route("devices/#", "grows");
    config.set("kafka.properties", "topic.metadata.refresh.interval.ms", "1000");
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    mosquitto.wait_subscribed("bridge", 1);
    let mut sensor = MqttClient::connect(&mosquitto.address(), Version::V5, "sensor").unwrap();

    let mut published = 0;
    let mut publish_some = || {
        for device in 0..20 {
            sensor.publish(&format!("devices/{device}"), published.to_string().as_bytes());
            published += 1;
        }
        published
    };
    let before = publish_some();
    bridge.wait_summary("all are delivered", SOON, |now| now.delivered == before);
    kafka.grow("grows", 4);
    let used = || -> BTreeSet<i32> {
        let records = kafka::records(&kafka.bootstrap(), "grows");
        records.iter().map(|record| record.kafka_partition).collect()
    };
    let mut all = before;
    eventually("all four partitions are used", PATIENT, || {
        all = publish_some();
        used().len() == 4
    });
    bridge.wait_summary("all are delivered", SOON, |now| now.delivered == all);
    let values: BTreeSet<_> = kafka::records(&kafka.bootstrap(), "grows")
        .into_iter()
        .map(|record| String::from_utf8(record.value).unwrap().parse::<u64>().unwrap())
        .collect();
    assert_eq!(values, (0..all).collect());
    assert_eq!(bridge.terminate(), 0);
}
