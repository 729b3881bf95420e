//! Without faults every message arrives once, in order, unchanged.

use crate::support::line::Plan;
use crate::support::mosquitto::Setup;
use crate::support::*;

#[test]
fn ten_thousand_messages_of_twenty_mqtt_topics_arrive_once_each_in_order() {
    let story = Story::new("10,000 at QoS 1");
    let plan = Plan { load: Load { rate: 10_000, ..Load::default() }, ..Plan::default() };
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        line.publisher.publish(10_000);
        line.wait_delivered(10_000);
        let verdict = line.settle();
        verdict.assert_exact();
        assert_eq!(verdict.acked, 10_000);

        let log = line.bridge.log();
        let summary = log.summary().expect("a summary at the end");
        assert_eq!((summary.received, summary.delivered, summary.in_flight), (10_000, 10_000, 0));
        assert_eq!(log.timings() + log.timings_dropped(), 10_000, "one timing record a message");
    }
}

#[test]
fn qos_0_arrives_too() {
    let story = Story::new("10,000 at QoS 0");
    let load = Load { qos: 0, rate: 3_000, ..Load::default() };
    for mut line in Line::both(&story, Kafka::shared(), &Plan { load, ..Plan::default() }) {
        line.publisher.publish(10_000);
        line.wait_delivered(10_000);
        line.settle().assert_exact();
    }
}

#[test]
fn a_broker_with_its_usual_window_of_20_is_enough() {
    let story = Story::new("window of 20");
    let mosquitto = Setup::default().max_inflight(20);
    for line in &mut Line::both(&story, Kafka::shared(), &Plan { mosquitto, ..Plan::default() }) {
        line.publisher.publish(4_000);
        line.wait_delivered(4_000);
        line.settle().assert_exact();
    }
}

#[test]
fn payloads_of_every_kind_arrive_byte_for_byte() {
    let story = Story::new("payloads");
    let kafka = Kafka::shared();
    let line = Line::start(&story, kafka, Version::V5, &Plan::default());
    let payloads: [&[u8]; 5] = [b"", b"\0", b" \r\n", b"\xff\xfe\x80", &[0x30; 20_000]];
    let mut client = MqttClient::connect(&line.broker.address(), Version::V311, "sensor").unwrap();
    for payload in payloads {
        client.publish("devices/ä/$", payload);
    }
    line.bridge.wait_summary("all are delivered", SOON, |summary| summary.delivered == 5);
    let records = kafka::records(&kafka.bootstrap(), &line.kafka_topic);
    let values: Vec<&[u8]> = records.iter().map(|record| &record.value[..]).collect();
    assert_eq!(values, payloads);
    assert!(records.iter().all(|record| record.key.as_deref() == Some("devices/ä/$".as_bytes())));
}
