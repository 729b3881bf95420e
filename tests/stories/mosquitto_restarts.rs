//! The MQTT broker restarts while the window is full.

use crate::support::line::Plan;
use crate::support::mosquitto::Setup;
use crate::support::*;

const WINDOW: u64 = 1_000;

fn persistent() -> Plan {
    Plan { mosquitto: Setup::default().persistent(), ..Plan::default() }
}

#[test]
fn mosquitto_restarted_with_its_sessions_and_1000_in_flight() {
    let story = Story::new("Mosquitto restarted");
    // More than the window: Mosquitto keeps the messages that the bridge has no room for.
    let (_kafka, mut lines) = restarted(&story, &persistent(), WINDOW + 500, Mosquitto::stop);
    for line in &mut lines {
        line.settle().assert_exact();
        let all = line.bridge.summary();
        assert!(all.redelivered >= WINDOW, "all in flight came again and were known: {all:?}");
    }
}

#[test]
fn mosquitto_killed_after_it_saved_its_sessions() {
    let story = Story::new("Mosquitto killed");
    let kill = |mosquitto: &mut Mosquitto| {
        mosquitto.wait_saved();
        mosquitto.kill();
    };
    let (_kafka, mut lines) = restarted(&story, &persistent(), WINDOW + 500, kill);
    for line in &mut lines {
        line.settle().assert_exact();
    }
}

#[test]
fn mosquitto_restarted_without_its_sessions() {
    let story = Story::new("Mosquitto restarted, session lost");
    // The bridge must have all of them: messages that only the broker had are gone with the session.
    let (_kafka, mut lines) = restarted(&story, &Plan::default(), WINDOW - 100, Mosquitto::stop);
    for line in &mut lines {
        line.settle().assert_exact();
        assert_eq!(line.bridge.summary().redelivered, 0);
    }
}

#[test]
fn no_puback_goes_into_a_link_that_went_silent_behind_a_full_window() {
    let story = Story::new("silent connection, window full");
    let mut kafka = Kafka::start(story.dir());
    let plan = Plan { config: vec![("mqtt", "keep_alive", "2s".into())], ..Plan::default() };
    let mut lines = Line::both(&story, &kafka, &plan);
    kafka.freeze();
    for line in &lines {
        line.publisher.publish(WINDOW + 500);
        line.publisher.wait_done(PATIENT);
        line.bridge.wait_window_full();
        // As if a cable were cut: no byte passes in either direction, and neither side is told.
        line.proxy.strand();
        let silent = |record: &serde_json::Value| record["reason"] == "keep_alive";
        line.bridge.log().wait_for("it is noticed", PATIENT, silent);
    }
    kafka.thaw();
    for line in &mut lines {
        line.settle().assert_exact();
    }
}

/// Ends Mosquitto by `end` while `messages` wait for a frozen Kafka, starts it again, thaws Kafka, and
/// publishes some more.
fn restarted(
    story: &Story,
    plan: &Plan,
    messages: u64,
    end: impl Fn(&mut Mosquitto),
) -> (Kafka, Vec<Line>) {
    let mut kafka = Kafka::start(story.dir());
    let mut lines = Line::both(story, &kafka, plan);
    for line in &lines {
        line.publisher.publish(1_000);
        line.publisher.wait_done(PATIENT);
        line.wait_delivered(1_000);
        line.bridge.wait_summary("all are acknowledged", SOON, |now| now.in_flight == 0);
    }
    kafka.freeze();
    for line in &mut lines {
        line.publisher.publish(messages);
        line.publisher.wait_done(PATIENT);
        let received = 1_000 + messages.min(WINDOW);
        line.bridge.wait_summary("the bridge has them", SOON, |now| now.received == received);
        end(&mut line.broker);
        line.broker.run();
    }
    let persistent = plan.mosquitto.is_persistent();
    for line in &lines {
        line.bridge.log().wait_for("the bridge connects again", PATIENT, |record| {
            record["msg"] == "connected to mqtt"
                && record["session_present"] == persistent
                && line.proxy.accepted() > 1
        });
        if !persistent {
            line.broker.wait_subscribed("bridge", 2);
        }
    }
    kafka.thaw();
    for line in &lines {
        line.publisher.publish(1_000);
    }
    (kafka, lines)
}
