//! Kafka is stopped or frozen under load: the bridge waits, stays connected and bounded, and carries on.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::line::Plan;
use crate::support::*;

const RSS_MAX_KIB: u64 = 64 * 1024;
/// `broker.session.timeout.ms` is 9 s by default.
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(12);
/// Counted from the moment an independent producer succeeds.
const FORWARDING_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn kafka_away_for_330_seconds_under_load() {
    let story = Story::new("Kafka away 330 s");
    // Longer than five minutes, after which librdkafka gives up by default.
    let (away, rate) = (Duration::from_secs(330), 200);
    outage(&story, away, rate, Kafka::kill, Kafka::begin_to_run);
}

#[test]
fn kafka_frozen_for_60_seconds_under_load() {
    let story = Story::new("Kafka frozen 60 s");
    outage(&story, Duration::from_secs(60), 1_000, Kafka::freeze, Kafka::thaw);
}

fn outage(story: &Story, span: Duration, rate: u32, harm: fn(&mut Kafka), heal: fn(&mut Kafka)) {
    let mut kafka = Kafka::start(story.dir());
    kafka.create("probe", 1, &[]);
    let plan = Plan { load: Load { rate, ..Load::default() }, ..Plan::default() };
    let mut lines = Line::both(story, &kafka, &plan);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    lines.iter().for_each(|line| line.wait_delivered(1_000));

    harm(&mut kafka);
    let cpu: Vec<_> = lines.iter_mut().map(|line| line.bridge.process().cpu_time()).collect();
    throughout("the bridges run", span, || lines.iter_mut().all(|line| line.bridge.is_running()));
    for (line, before) in lines.iter_mut().zip(cpu) {
        let spent = line.bridge.process().cpu_time() - before;
        tell(&format!("{}: {spent:?} of CPU while it waits", story.name));
        assert!(spent < span / 20, "a bridge that waits used {spent:?} of CPU");
    }
    let before: Vec<_> = lines.iter().map(|line| line.bridge.wait_window_full()).collect();
    let probe = kafka.probe();
    heal(&mut kafka);
    let healed = probe.join().expect("the probe succeeds");

    // The bridge forwards again when Kafka has more than the messages that were in flight.
    thread::scope(|scope| {
        for (line, before) in lines.iter().zip(&before) {
            let enough = before.received;
            scope.spawn(move || {
                let left = FORWARDING_WITHIN.saturating_sub(healed.elapsed());
                eventually("forwarding again", left, || {
                    line.reader.distinct() > enough || line.bridge.summary().delivered > enough
                });
                let took = Instant::now().saturating_duration_since(healed);
                tell(&format!(
                    "{}: forwarding again {took:?} after an independent producer",
                    story.name
                ));
            });
        }
    });
    for line in &mut lines {
        line.publisher.pause();
        line.publisher.wait_done(PATIENT);
        line.wait_delivered(line.publisher.published());
        assert_eq!(line.proxy.accepted(), 1, "the MQTT connection stayed open");
        let rss = line.bridge.process().peak_rss_kib();
        assert!(rss < RSS_MAX_KIB, "peak RSS {rss} KiB");
        tell(&format!("{}: peak RSS {rss} KiB", story.name));
        line.settle().assert_exact();
    }
}

/// Frozen for longer than its session, a node is fenced: for a moment after the thaw its partitions have
/// no leader, and librdkafka loses them for good (docs/decisions/0015-a-producer-that-is-stuck.md).
#[test]
fn a_node_that_was_fenced_delivers_again() {
    let story = Story::new("Kafka node fenced, 3 times");
    let mut kafka = Kafka::start(story.dir());
    // Short time-outs, so that requests are on their way at the moment of the thaw.
    let config = vec![
        ("kafka.properties", "request.timeout.ms", "2000".into()),
        ("kafka.properties", "socket.timeout.ms", "2000".into()),
    ];
    let load = Load { rate: 1_000, ..Load::default() };
    let plan = Plan { load, config, ..Plan::default() };
    let mut lines = Line::both(&story, &kafka, &plan);
    lines.iter().for_each(|line| line.publisher.keep_publishing());
    for _ in 0..3 {
        lines.iter().for_each(|line| line.wait_delivered(line.reader.distinct() + 1_000));
        kafka.freeze();
        throughout("the bridges run", LONGER_THAN_A_SESSION, || {
            lines.iter_mut().all(|line| line.bridge.is_running())
        });
        kafka.thaw();
    }
    for line in &mut lines {
        line.wait_delivered(line.reader.distinct() + 1_000);
        line.publisher.pause();
        line.settle().assert_nothing_lost_or_reordered();
    }
}
