//! The number of partitions of a Kafka topic grows, or shrinks.

use std::collections::BTreeSet;

use crate::support::mosquitto::Setup;
use crate::support::*;

/// A bridge between its own Mosquitto and the shared Kafka, and one sensor.
struct Set {
    mosquitto: Mosquitto,
    bridge: Bridge,
    sensor: MqttClient,
    kafka_topic: &'static str,
    published: u64,
}

impl Set {
    fn start(story: &Story, kafka_topic: &'static str) -> Self {
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
        let kafka = Kafka::shared().bootstrap();
        let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka);
        config.route("devices/#", kafka_topic);
        config.set("kafka.properties", "topic.metadata.refresh.interval.ms", "1000");
        let bridge = Bridge::start(story.dir(), "bridge", &config);
        mosquitto.wait_subscribed("bridge", 1);
        let sensor = MqttClient::connect(&mosquitto.address(), Version::V5, "sensor").unwrap();
        Self { mosquitto, bridge, sensor, kafka_topic, published: 0 }
    }

    /// One message of each of twenty devices.
    fn publish(&mut self) {
        for device in 0..20 {
            let payload = self.published.to_string();
            self.sensor.publish(&format!("devices/{device}"), payload.as_bytes());
            self.published += 1;
        }
    }

    fn wait_delivered(&self) {
        let all = self.published;
        self.bridge.wait_summary("all are delivered", PATIENT, |now| now.delivered == all);
    }

    fn records(&self) -> Vec<kafka::Record> {
        kafka::records(&Kafka::shared().bootstrap(), self.kafka_topic)
    }

    fn used_partitions(&self) -> usize {
        let records = self.records();
        records.iter().map(|record| record.kafka_partition).collect::<BTreeSet<_>>().len()
    }

    fn numbers(&self) -> BTreeSet<u64> {
        let number = |record: kafka::Record| String::from_utf8(record.value).unwrap().parse();
        self.records().into_iter().map(|record| number(record).unwrap()).collect()
    }

    fn end(mut self) {
        assert_eq!(self.bridge.terminate(), 0);
        drop(self.mosquitto);
    }
}

#[test]
fn partitions_that_a_kafka_topic_gains_are_used_and_nothing_is_lost() {
    let story = Story::new("partitions are added");
    Kafka::shared().create("grows", 1, &[]);
    let mut set = Set::start(&story, "grows");
    set.publish();
    set.wait_delivered();
    Kafka::shared().grow("grows", 4);
    eventually("all four partitions are used", PATIENT, || {
        set.publish();
        set.used_partitions() == 4
    });
    set.wait_delivered();
    assert_eq!(set.numbers(), (0..set.published).collect());
    set.end();
}

#[test]
fn a_kafka_topic_recreated_with_fewer_partitions_gets_the_waiting_messages() {
    let story = Story::new("made again, with fewer partitions");
    Kafka::shared().create("shrinks", 6, &[]);
    let mut set = Set::start(&story, "shrinks");
    set.publish();
    set.wait_delivered();
    assert!(set.used_partitions() > 2, "some messages wait for a partition that is gone");
    Kafka::shared().delete("shrinks");
    let before = set.published;
    for _ in 0..10 {
        set.publish();
    }
    Kafka::shared().create("shrinks", 2, &[]);
    set.wait_delivered();
    assert_eq!(set.numbers(), (before..set.published).collect());
    set.end();
}
