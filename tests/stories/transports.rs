//! Every transport forwards 10,000 messages of each QoS and protocol version, as TCP does: each once, in
//! order, unchanged.

use std::thread;

use crate::support::line::{Names, Plan};
use crate::support::mosquitto::Setup;
use crate::support::*;

const MESSAGES: u64 = 10_000;

/// A line over each transport and protocol version, each with names of its own, all on one broker.
fn lines<'broker, B: broker::Broker + Sync>(
    broker: &'broker B,
    story: &Story,
    qos: u8,
    transports: &[(Transport, Version)],
) -> Vec<Line<&'broker B>> {
    let start = |&(transport, version): &(Transport, Version)| {
        let name = slug(&format!("{} {} mqtt{}", story.name, transport.name(), version.level()));
        let plan = Plan {
            load: Load { qos, rate: 1_000, ..Load::default() },
            names: Names { client_id: name.clone(), devices: name },
            transport,
            ..Plan::default()
        };
        Line::over(broker, story, Kafka::shared(), version, &plan)
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            transports.iter().map(|line| scope.spawn(move || start(line))).collect();
        threads.into_iter().map(|line| line.join().expect("the line starts")).collect()
    })
}

/// 10,000 messages through each line, side by side.
fn all_arrive_once_in_order<B: broker::Broker>(mut lines: Vec<Line<B>>) {
    lines.iter().for_each(|line| line.publisher.publish(MESSAGES));
    for line in &lines {
        let what = format!("{MESSAGES} are in Kafka: {}", line.story);
        eventually(&what, 4 * PATIENT, || line.reader.distinct() >= MESSAGES);
    }
    for line in &mut lines {
        let verdict = line.settle();
        verdict.assert_exact();
        assert_eq!(verdict.delivered, MESSAGES);
        let lost = line
            .bridge
            .log()
            .find(|record| record["component"] == "mqtt" && record["attempt"].is_u64());
        assert_eq!(line.bridge.summary().reconnects, 0, "{}: {lost:?}", line.story);
    }
}

/// Over Mosquitto, with a listener for each transport.
fn mosquitto_forwards(name: &'static str, qos: u8) {
    let story = Story::new(name);
    let setup = Transport::ALL
        .iter()
        .fold(Setup::default(), |setup, transport| setup.listen(transport.listener()));
    let mosquitto = Mosquitto::start(story.dir(), &setup);
    let transports: Vec<_> = Transport::ALL
        .into_iter()
        .filter(|transport| *transport != Transport::Tcp) // tests/stories/straight.rs
        .flat_map(|transport| Version::BOTH.map(|version| (transport, version)))
        .collect();
    all_arrive_once_in_order(lines(&mosquitto, &story, qos, &transports));
}

#[test]
fn every_transport_forwards_10_000_messages_of_qos_1() {
    mosquitto_forwards("10,000 at QoS 1", 1);
}

#[test]
fn every_transport_forwards_10_000_messages_of_qos_0() {
    mosquitto_forwards("10,000 at QoS 0", 0);
}

#[test]
fn rabbitmq_forwards_10_000_messages_over_tls_and_over_websocket() {
    let rabbitmq = RabbitMq::shared();
    // It speaks 3.1.1 only.
    let transports = [Transport::Tls, Transport::WebSocket].map(|t| (t, Version::V311));
    for (name, qos) in [("RabbitMQ 10,000 at QoS 1", 1), ("RabbitMQ 10,000 at QoS 0", 0)] {
        let story = Story::new(name);
        all_arrive_once_in_order(lines(rabbitmq, &story, qos, &transports));
    }
}
