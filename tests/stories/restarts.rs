//! The bridge ends, by force or in order, and starts again.

use std::time::{Duration, Instant};

use crate::support::line::Plan;
use crate::support::*;

const TIMES: u64 = 20;
const WINDOW: u64 = 200;

fn plan() -> Plan {
    Plan {
        load: Load { rate: 1_000, ..Load::default() },
        config: vec![("delivery", "window_messages", WINDOW.into())],
        ..Plan::default()
    }
}

/// Freezes Kafka under load, until every bridge's window is full of messages without a verdict.
fn freeze_until_windows_are_full(kafka: &mut Kafka, lines: &[Line]) {
    kafka.freeze();
    for line in lines {
        line.bridge.wait_window_full();
    }
}

#[test]
fn kill_9_twenty_times_with_a_full_window_loses_nothing() {
    kill_9_twenty_times(&Story::new("kill -9, 20 times"), &[Transport::Tcp], 1_000);
}

/// Over each of these transports, with so many messages a second.
pub fn kill_9_twenty_times(story: &Story, transports: &[Transport], rate: u32) {
    let mut kafka = Kafka::start(story.dir());
    let plan = Plan { load: Load { rate, ..Load::default() }, ..plan() };
    let mut lines = Line::over_each(story, &kafka, &plan, transports);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    let mut unacknowledged = vec![0; lines.len()];
    for _ in 0..TIMES {
        for line in &lines {
            line.wait_delivered(line.reader.distinct() + WINDOW);
        }
        freeze_until_windows_are_full(&mut kafka, &lines);
        for (line, unacknowledged) in lines.iter_mut().zip(&mut unacknowledged) {
            *unacknowledged += line.bridge.summary().in_flight;
            line.bridge.kill();
        }
        kafka.thaw();
        lines.iter_mut().for_each(|line| line.bridge.run());
    }
    for (line, unacknowledged) in lines.iter_mut().zip(unacknowledged) {
        line.publisher.pause();
        let verdict = line.settle();
        verdict.assert_nothing_lost_or_reordered();
        assert_eq!(verdict.delivered, verdict.published);
        // Messages that were unacknowledged at a kill came again, and the new run could not recognise them. So
        // did those whose PUBACK the broker had not read: the end of a process that leaves bytes unread resets
        // its connection, and what the broker has not read by then is gone.
        let all = line.bridge.summary_of_all_runs();
        let again = all.received - verdict.published;
        assert!((unacknowledged..=TIMES * 2 * WINDOW).contains(&again), "{again} came again");
        assert!(verdict.duplicated <= again, "{verdict:?}");
    }
}

#[test]
fn sigterm_under_load_twenty_times_drains_and_duplicates_nothing() {
    sigterm_twenty_times(&Story::new("SIGTERM, 20 times"), &[Transport::Tcp]);
}

/// Over each of these transports.
pub fn sigterm_twenty_times(story: &Story, transports: &[Transport]) {
    let mut lines = Line::over_each(story, Kafka::shared(), &plan(), transports);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    for _ in 0..TIMES {
        for line in &mut lines {
            line.wait_delivered(line.reader.distinct() + WINDOW);
            assert_eq!(line.bridge.terminate(), 0);
            line.bridge.run();
        }
    }
    for line in &mut lines {
        line.publisher.pause();
        line.settle().assert_exact();
    }
}

#[test]
fn sigterm_while_kafka_is_frozen_ends_with_3_at_the_deadline_and_loses_nothing() {
    let story = Story::new("SIGTERM, Kafka frozen");
    let mut kafka = Kafka::start(story.dir());
    let mut plan = plan();
    plan.config.push(("delivery", "drain_deadline", "2s".into()));
    let mut lines = Line::both(&story, &kafka, &plan);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    for line in &lines {
        line.wait_delivered(WINDOW);
    }
    freeze_until_windows_are_full(&mut kafka, &lines);
    for line in &mut lines {
        let start = Instant::now();
        assert_eq!(line.bridge.terminate(), 3);
        let took = start.elapsed();
        let deadline = Duration::from_secs(2);
        assert!((deadline..deadline * 3).contains(&took), "the deadline is 2 s; it took {took:?}");
    }
    kafka.thaw();
    for line in &mut lines {
        line.bridge.run();
        line.publisher.pause();
        let verdict = line.settle();
        verdict.assert_nothing_lost_or_reordered();
        assert_eq!(verdict.delivered, verdict.published);
    }
}

#[test]
fn a_second_signal_ends_the_bridge_at_once() {
    let story = Story::new("second signal");
    let mut kafka = Kafka::start(story.dir());
    let plan = Plan { config: vec![("delivery", "drain_deadline", "5m".into())], ..plan() };
    let mut line = Line::start(&story, &kafka, Version::V5, &plan);
    kafka.freeze();
    line.publisher.publish(10);
    line.bridge.wait_summary("10 are in flight", SOON, |now| now.in_flight == 10);
    line.bridge.process().signal(libc::SIGTERM);
    line.bridge.log().wait_for("it drains", SOON, |record| record["msg"] == "draining");
    line.bridge.process().signal(libc::SIGINT);
    assert_eq!(line.bridge.exit_code(SOON), 3);
}
