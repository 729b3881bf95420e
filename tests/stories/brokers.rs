//! The same faults with one MQTT broker after the other: nothing is lost, and messages are duplicated or
//! reordered only as docs/brokers.md says of each. All use MQTT 3.1.1, the only version of RabbitMQ 3.10
//! and NATS 2.9.

use std::path::Path;
use std::thread;

use crate::support::broker::{Broker, Kind};
use crate::support::line::{Names, Plan};
use crate::support::*;

/// The bridge's window in stories that fill it.
const WINDOW: u64 = 1_000;

/// How often a story repeats its fault.
fn times() -> u64 {
    if long() { 20 } else { 3 }
}

/// One line for each kind of broker.
struct Lines<B>(Vec<(Kind, Line<B>)>);

/// What may happen to messages; loss may not.
struct Allowed {
    duplicated: u64,
    reordered: u64,
}

impl<B: Broker> Lines<B> {
    fn start(story: &Story, kafka: &Kafka, broker: impl Fn(Kind, &Path) -> B) -> Self {
        Self::start_at(300, story, kafka, broker)
    }

    /// With devices that publish this many messages a second.
    fn start_at(
        rate: u32,
        story: &Story,
        kafka: &Kafka,
        broker: impl Fn(Kind, &Path) -> B,
    ) -> Self {
        let line = |kind: Kind| {
            // The stories share one RabbitMQ.
            let name = slug(&format!("{} {}", story.name, kind.name()));
            let plan = Plan {
                load: Load { rate, window: 100, ..Load::default() },
                config: vec![("delivery", "window_messages", WINDOW.into())],
                names: Names { client_id: name.clone(), devices: name },
                ..Plan::default()
            };
            let broker = broker(kind, story.dir());
            let mut line = Line::over(broker, story, kafka, Version::V311, &plan);
            line.story = format!("{}: {}", kind.name(), story.name);
            (kind, line)
        };
        Self(Kind::ALL.map(line).into())
    }

    fn without(mut self, kind: Kind) -> Self {
        self.0.retain(|(its, _)| *its != kind);
        self
    }

    fn each(&mut self, mut work: impl FnMut(&mut Line<B>)) {
        self.0.iter_mut().for_each(|(_, line)| work(line));
    }

    /// Applies `harm` to each line again and again while its devices publish.
    fn harm_under_load(&mut self, harm: impl Fn(&mut Line<B>)) {
        self.each(|line| line.publisher.keep_publishing());
        for _ in 0..times() {
            self.each(|line| {
                line.wait_delivered(line.reader.distinct() + 200);
                harm(line);
            });
        }
        self.each(|line| line.publisher.pause());
    }

    /// Freezes Kafka and publishes this many messages, until each bridge has all that its broker sends.
    fn fill(&mut self, kafka: &mut Kafka, messages: u64) {
        self.each(|line| {
            line.publisher.publish(500);
            line.wait_delivered(500);
            line.bridge.wait_summary("all are acknowledged", SOON, |now| now.in_flight == 0);
        });
        kafka.freeze();
        self.each(|line| line.publisher.publish(messages));
        for (kind, line) in &self.0 {
            let most = in_flight(*kind).min(messages);
            line.bridge.wait_summary(
                "the bridge has received all that the broker sends",
                SOON,
                |now| now.in_flight == most,
            );
            line.publisher.wait_done(PATIENT);
        }
    }

    /// Ends all lines: no message is lost, and duplicates and reordering stay within `allowed`.
    #[track_caller]
    fn settle(mut self, allowed: impl Fn(Kind) -> Allowed) {
        // All of them first, so that the fault table has every line even if one fails.
        let verdicts = self.0.iter_mut().map(|(kind, line)| (*kind, line.settle()));
        for (kind, verdict) in verdicts.collect::<Vec<_>>() {
            let Allowed { duplicated, reordered } = allowed(kind);
            let name = kind.name();
            assert_eq!((verdict.lost, verdict.wrong), (0, 0), "{name}: {verdict:?}");
            assert_eq!(verdict.delivered, verdict.published, "{name}: {verdict:?}");
            assert!(verdict.duplicated <= duplicated, "{name}, {duplicated} allowed: {verdict:?}");
            assert!(verdict.reordered <= reordered, "{name}, {reordered} allowed: {verdict:?}");
        }
    }
}

/// Every message once, in order.
fn exact(_: Kind) -> Allowed {
    Allowed { duplicated: 0, reordered: 0 }
}

/// Limit of unacknowledged messages on their way to a bridge at one moment.
fn in_flight(kind: Kind) -> u64 {
    kind.in_flight().map_or(WINDOW, |messages| messages.min(WINDOW))
}

/// If a broker does not keep the order, all unacknowledged messages may come behind newer ones, each time.
fn late(kind: Kind, keeps_order: fn(Kind) -> bool, times: u64) -> u64 {
    if keeps_order(kind) { 0 } else { times * kind.in_flight().expect("it has a limit") }
}

#[test]
fn every_broker_passes_on_each_message_once_in_order() {
    let story = Story::new("2,000 at QoS 1");
    let mut lines = Lines::start(&story, Kafka::shared(), Kind::start);
    lines.each(|line| line.publisher.publish(2_000));
    lines.settle(exact);
}

#[test]
fn sigterm_with_every_broker_loses_nothing() {
    let story = Story::new("SIGTERM under load");
    let mut lines = Lines::start(&story, Kafka::shared(), Kind::start_impatient);
    lines.harm_under_load(|line| {
        assert_eq!(line.bridge.terminate(), 0);
        line.bridge.run();
    });
    lines.settle(|kind| Allowed {
        duplicated: 0,
        reordered: late(kind, Kind::keeps_order, times()),
    });
}

#[test]
fn kill_9_with_every_broker_loses_nothing() {
    let story = Story::new("kill -9 under load");
    let mut lines = Lines::start(&story, Kafka::shared(), Kind::start_impatient);
    lines.harm_under_load(|line| {
        line.bridge.kill();
        line.bridge.run();
    });
    lines.settle(|kind| Allowed {
        duplicated: times() * in_flight(kind),
        reordered: late(kind, Kind::keeps_order_in_a_takeover, times()),
    });
}

#[test]
fn kafka_frozen_for_longer_than_any_broker_waits_for_a_puback_duplicates_nothing() {
    let story = Story::new("Kafka frozen, two redeliveries");
    let mut kafka = Kafka::start_forgiving(story.dir());
    let mut lines = Lines::start_at(3_000, &story, &kafka, Kind::start_impatient);
    lines.fill(&mut kafka, 2 * WINDOW);
    // NATS renumbers a redelivery that crosses its PUBACK (docs/brokers.md), so Kafka is back between
    // the second redelivery and the third, with room for the time that filling took.
    let after = Kind::ALL.into_iter().filter_map(Kind::redelivers_after).max();
    let frozen = after.expect("one of the brokers redelivers") * 9 / 4;
    throughout("the bridges run", frozen, || {
        lines.0.iter_mut().all(|(_, line)| line.bridge.is_running())
    });
    kafka.thaw();
    // Behind the redelivered messages.
    lines.each(|line| line.publisher.publish(500));
    lines.settle(exact);
}

#[test]
fn every_broker_restarted_with_messages_in_flight_loses_nothing() {
    // Twice the window: Mosquitto has all of them in flight, and the bridge has no room for half of them.
    const UNACKNOWLEDGED: u64 = 2 * WINDOW;
    let story = Story::new("broker restarted");
    let mut kafka = Kafka::start_forgiving(story.dir());
    let mut lines = Lines::start_at(3_000, &story, &kafka, Kind::start_own);
    lines.fill(&mut kafka, UNACKNOWLEDGED);
    thread::scope(|scope| {
        for (_, line) in &mut lines.0 {
            scope.spawn(|| {
                line.broker.stop();
                // Although its window is full, it sees the end, long before its keep-alive.
                line.bridge.log().wait_for("the bridge notices", SOON, |record| {
                    record["msg"] == "mqtt connection lost, reconnecting"
                });
                line.broker.run();
            });
        }
    });
    lines.each(|line| {
        eventually("the bridge connects again", PATIENT, || {
            line.bridge.log().count(|record| record["msg"] == "connected to mqtt") > 1
        });
    });
    kafka.thaw();
    lines.each(|line| line.publisher.publish(500));
    lines.settle(|kind| Allowed {
        duplicated: match kind {
            Kind::Mosquitto => 0,
            _ => in_flight(kind),
        },
        reordered: late(kind, Kind::keeps_order, 1),
    });
}

#[test]
fn a_client_that_takes_the_session_over_loses_nothing() {
    let story = Story::new("client id taken over");
    let lines = Lines::start(&story, Kafka::shared(), Kind::start_impatient);
    // NATS 2.9 may grant the subscription again and then not serve it (docs/brokers.md).
    let mut lines = lines.without(Kind::Nats);
    lines.harm_under_load(|line| line.take_over());
    lines.settle(|kind| Allowed {
        duplicated: times() * in_flight(kind),
        // To the other client and back.
        reordered: late(kind, Kind::keeps_order_in_a_takeover, 2 * times()),
    });
}

#[test]
fn redeliveries_of_rabbitmq_under_new_packet_ids_are_recognised_if_configured() {
    let story = Story::new("renumbered redelivery");
    let mut kafka = Kafka::start(story.dir());
    let name = slug(story.name);
    let plan = Plan {
        config: vec![("mqtt", "renumbered_redelivery", "on".into())],
        names: Names { client_id: name.clone(), devices: name },
        ..Plan::default()
    };
    let broker = Kind::RabbitMq.start(story.dir());
    let mut line = Line::over(broker, &story, &kafka, Version::V311, &plan);
    line.publisher.publish(500);
    line.wait_delivered(500);
    line.bridge.wait_summary("all are acknowledged", SOON, |now| now.in_flight == 0);
    kafka.freeze();
    line.publisher.publish(100);
    line.publisher.wait_done(PATIENT);
    let most = in_flight(Kind::RabbitMq);
    line.bridge.wait_summary("the bridge has received all that the broker sends", SOON, |now| {
        now.in_flight == most
    });
    for times in 1..=3 {
        line.proxy.cut();
        let all_again = "all in flight came again, and were known";
        line.bridge.wait_summary(all_again, SOON, |now| now.redelivered == times * most);
    }
    kafka.thaw();
    line.settle().assert_exact();
}
