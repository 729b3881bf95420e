//! The MQTT broker restarts, or its connection ends, while the window is full.

use crate::support::line::Plan;
use crate::support::mosquitto::Setup;
use crate::support::*;

const WINDOW: u64 = 1_000;

fn persistent() -> Plan {
    Plan { mosquitto: Setup::default().persistent(), ..Plan::default() }
}

#[test]
fn mosquitto_restarted_with_its_sessions_and_1000_in_flight() {
    restarted_with_its_sessions(&Story::new("Mosquitto restarted"), &[Transport::Tcp]);
}

/// Over each of these transports.
pub fn restarted_with_its_sessions(story: &Story, transports: &[Transport]) {
    // More than the window: Mosquitto keeps the messages that the bridge has no room for.
    let stop = |line: &mut Line| line.broker.stop();
    let (_kafka, mut lines) = restarted(story, &persistent(), transports, WINDOW + 500, stop);
    for line in &mut lines {
        line.settle().assert_exact();
        let all = line.bridge.summary();
        assert!(all.redelivered >= WINDOW, "all in flight came again and were known: {all:?}");
    }
}

#[test]
fn mosquitto_killed_after_it_saved_its_sessions() {
    let story = Story::new("Mosquitto killed");
    let kill = |line: &mut Line| {
        line.broker.wait_saved();
        line.broker.kill();
    };
    let transports = [Transport::Tcp];
    let (_kafka, mut lines) = restarted(&story, &persistent(), &transports, WINDOW + 500, kill);
    for line in &mut lines {
        line.settle().assert_exact();
    }
}

#[test]
fn mosquitto_restarted_without_its_sessions() {
    let story = Story::new("Mosquitto restarted, session lost");
    // The bridge must have all of them: messages that only the broker had are gone with the session.
    let stop = |line: &mut Line| line.broker.stop();
    let transports = [Transport::Tcp];
    let (_kafka, mut lines) = restarted(&story, &Plan::default(), &transports, WINDOW - 100, stop);
    for line in &mut lines {
        line.settle().assert_exact();
        assert_eq!(line.bridge.summary().redelivered, 0);
    }
}

#[test]
fn a_connection_that_ends_behind_unread_messages_is_noticed_and_loses_nothing() {
    ends_behind_unread(&Story::new("FIN behind unread messages"), &[Transport::Tcp]);
}

/// Over each of these transports.
pub fn ends_behind_unread(story: &Story, transports: &[Transport]) {
    let finish = |line: &mut Line| line.proxy.finish();
    let plan = Plan::default();
    let (mut kafka, mut lines) = with_full_windows(story, &plan, transports, WINDOW + 500, finish);
    // The windows are still full.
    for line in &lines {
        line.wait_connected_again(true);
    }
    kafka.thaw();
    for line in &mut lines {
        line.settle().assert_exact();
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
    transports: &[Transport],
    messages: u64,
    end: impl Fn(&mut Line),
) -> (Kafka, Vec<Line>) {
    let (mut kafka, lines) = with_full_windows(story, plan, transports, messages, |line| {
        end(line);
        line.broker.run();
    });
    let persistent = plan.mosquitto.is_persistent();
    for line in &lines {
        line.wait_connected_again(persistent);
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

/// Applies `harm` to each line while `messages` wait for a frozen Kafka.
fn with_full_windows(
    story: &Story,
    plan: &Plan,
    transports: &[Transport],
    messages: u64,
    harm: impl Fn(&mut Line),
) -> (Kafka, Vec<Line>) {
    let mut kafka = Kafka::start(story.dir());
    let mut lines = Line::over_each(story, &kafka, plan, transports);
    lines.iter().for_each(|line| line.publisher.publish(1_000));
    for line in &lines {
        line.publisher.wait_done(PATIENT);
        line.wait_delivered(1_000);
        line.bridge.wait_summary("all are acknowledged", SOON, |now| now.in_flight == 0);
    }
    kafka.freeze();
    lines.iter().for_each(|line| line.publisher.publish(messages));
    for line in &mut lines {
        line.publisher.wait_done(PATIENT);
        let received = 1_000 + messages.min(WINDOW);
        line.bridge.wait_summary("the bridge has them", SOON, |now| now.received == received);
        harm(line);
    }
    (kafka, lines)
}

impl Line {
    fn wait_connected_again(&self, session_present: bool) {
        self.bridge.log().wait_for("the bridge connects again", PATIENT, |record| {
            record["msg"] == "connected to mqtt"
                && record["session_present"] == session_present
                && self.proxy.accepted() > 1
        });
    }
}
