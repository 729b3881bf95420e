//! Faults from outside: what Docker, an operator, or the end of a broker does to the bridge's container.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::compose::Stack;
use crate::support::*;

/// Within this time of a broker's end `/readyz` must say so.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn kill_9_of_the_container_under_load_loses_nothing() {
    let story = Story::new("kill -9, 3 times");
    let stack = Stack::up(&story, json!({}));
    let (publisher, reader) = stack.line(Load::default());
    publisher.keep_publishing();
    for kill in 1..=3 {
        wait_for_more(&reader, 1_000);
        stack.kill_bridge();
        let start = Instant::now();
        eventually("Docker restarts the bridge", SOON, || stack.restarts() == kill);
        stack.http.wait_ready(PATIENT);
        tell(&format!("{}: ready {:.1?} after the kill", story.name, start.elapsed()));
    }
    wait_for_more(&reader, 1_000);
    let verdict = stack.settle(&publisher, &reader, PATIENT);
    verdict.assert_nothing_lost_or_reordered();
    assert_eq!(verdict.delivered, verdict.published);
}

#[test]
fn docker_stop_under_load_drains_and_duplicates_nothing() {
    let story = Story::new("docker stop, 3 times");
    let stack = Stack::up(&story, json!({}));
    let (publisher, reader) = stack.line(Load::default());
    publisher.keep_publishing();
    for _ in 0..3 {
        wait_for_more(&reader, 1_000);
        let start = Instant::now();
        stack.compose(&["stop", "bridge"]);
        let took = start.elapsed();
        let state = &stack.inspect("bridge")["State"];
        assert_eq!((&state["Status"], &state["ExitCode"]), (&"exited".into(), &0.into()));
        assert!(took < Duration::from_secs(10), "within the grace period: {took:?}");
        tell(&format!("{}: stopped in {took:.1?}", story.name));
        stack.compose(&["start", "bridge"]);
        stack.http.wait_ready(PATIENT);
    }
    stack.settle(&publisher, &reader, PATIENT).assert_exact();
    assert_eq!(stack.restarts(), 0);
    stack.assert_log_sound();
}

#[test]
fn kafka_stops_and_starts_and_readiness_says_so() {
    let name = "Kafka stopped and started";
    broker_stops_and_starts(name, "kafka", "kafka_unreachable").assert_exact();
}

#[test]
fn mosquitto_stops_and_starts_and_readiness_says_so() {
    // docs/guarantees.md: PUBACKs on their way when the connection was lost, at most one batch.
    const DUPLICATED_MAX: u64 = 1_000;
    let name = "Mosquitto stopped and started";
    let verdict = broker_stops_and_starts(name, "mosquitto", "mqtt_disconnected");
    verdict.assert_nothing_lost_or_reordered();
    assert!(verdict.duplicated <= DUPLICATED_MAX, "{verdict:?}");
}

fn broker_stops_and_starts(name: &'static str, service: &str, reason: &str) -> Verdict {
    let story = Story::new(name);
    let stack = Stack::up(&story, json!({}));
    let (publisher, reader) = stack.line(Load { rate: 500, ..Load::default() });
    publisher.keep_publishing();
    wait_for_more(&reader, 1_000);

    stack.compose(&["stop", service]);
    let noticed = stack.http.wait_reason(reason, NOTICED_WITHIN);
    stack.wait_health("unhealthy");
    let said = stack.inspect("bridge")["State"]["Health"]["Log"].to_string();
    assert!(said.contains(reason), "the health check says why: {said}");
    stack.compose(&["start", service]);
    let ready = stack.http.wait_ready(PATIENT);
    tell(&format!(
        "{name}: not ready {noticed:.1?} after its end, ready {ready:.1?} after its start"
    ));
    stack.wait_healthy();

    wait_for_more(&reader, 1_000);
    let verdict = stack.settle(&publisher, &reader, PATIENT);
    assert_eq!(stack.restarts(), 0, "the bridge ran without a restart");
    stack.assert_log_sound();
    verdict
}

#[test]
fn a_wrong_configuration_is_reported_and_retried_less_and_less_often() {
    const WATCHED: Duration = Duration::from_secs(20);
    // Docker's pauses before a restart: 0.1 s, doubled each time, so 12.7 s before the eighth.
    const RESTARTS_MAX: u64 = 8;
    let story = Story::new("wrong configuration");
    let wrong = json!({ "environment": { "BRIDGE_DELIVERY__WINDOW_MESSAGES": "many" } });
    let stack = Stack::new(&story, wrong);
    stack.compose(&["up", "--detach", "--no-build", "--no-deps", "bridge"]);
    let start = Instant::now();
    eventually("the bridge ends with 78", SOON, || {
        let state = &stack.inspect("bridge")["State"];
        state["Status"] == "restarting" && state["ExitCode"] == 78
    });
    let logs = stack.logs();
    let said = ["BRIDGE_DELIVERY__WINDOW_MESSAGES", "expected", "many"];
    assert!(said.iter().all(|said| logs.contains(said)), "{logs}");

    thread::sleep(WATCHED.saturating_sub(start.elapsed()));
    let restarts = stack.restarts();
    tell(&format!("{}: {restarts} restarts in {WATCHED:?}", story.name));
    assert!((1..=RESTARTS_MAX).contains(&restarts), "{restarts} restarts in {WATCHED:?}");

    // With the corrected file it starts.
    stack.change(json!({}));
    stack.compose(&["up", "--detach", "--no-build"]);
    stack.wait_healthy();
}

/// Waits until this many more distinct messages are in Kafka.
fn wait_for_more(reader: &Reader, messages: u64) {
    let enough = reader.distinct() + messages;
    eventually(&format!("{messages} more messages are in Kafka"), PATIENT, || {
        reader.distinct() >= enough
    });
}
