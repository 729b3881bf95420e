//! The bridge on a small machine: 64 MiB of memory and half a processor.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::compose::Stack;
use crate::support::*;

fn small() -> Value {
    json!({ "mem_limit": "64m", "memswap_limit": "64m", "cpus": 0.5 })
}

#[test]
fn on_a_small_machine_it_sustains_5000_a_second_and_an_outage_of_kafka() {
    let story = Story::new("edge, 5,000/s, Kafka away 20 s");
    let span = Duration::from_secs(20);
    let stack = Stack::up(&story, small());
    let (publisher, reader) = stack.line(Load { rate: 5_000, ..Load::default() });
    hold(&story, &stack, (&publisher, &reader), 5_000, span);
    survive(&story, &stack, (&publisher, &reader), span);
}

/// Part of `tests/run --long`. `EDGE_SECONDS` makes it shorter.
#[test]
#[ignore = "takes more than an hour"]
fn on_a_small_machine_it_survives_an_hour_without_kafka() {
    let seconds = std::env::var("EDGE_SECONDS").map_or(3600, |text| text.parse().unwrap());
    let story = Story::new("edge, 200/s, Kafka away for long");
    let stack = Stack::up(&story, small());
    let (publisher, reader) = stack.line(Load { rate: 200, ..Load::default() });
    survive(&story, &stack, (&publisher, &reader), Duration::from_secs(seconds));
}

/// Publishes `rate` messages a second for `span`: they must be in Kafka within the same time again,
/// and the delay is printed. It depends on the load of the machine, so that no test asserts it.
fn hold(
    story: &Story,
    stack: &Stack,
    (publisher, reader): (&Publisher, &Reader),
    rate: u64,
    span: Duration,
) {
    let messages = rate * span.as_secs();
    let (_, before) = stack.usage();
    let start = Instant::now();
    publisher.publish(messages);
    // On a busy machine the publisher and Mosquitto are slower than asked.
    publisher.wait_done(span * 3);
    let published = start.elapsed();
    eventually(&format!("{messages} messages are in Kafka"), span, || {
        reader.distinct() >= messages
    });
    let behind = start.elapsed() - published;
    let (rss, after) = stack.usage();
    let cpu = after - before;
    tell(&format!(
        "{}: {messages} messages published in {published:.1?}, in Kafka {behind:.1?} later, \
         {cpu:.1?} of CPU, peak RSS {rss} KiB",
        story.name
    ));
}

/// Publishes while Kafka is stopped for `span`: nothing is lost, no process dies, and the bridge delivers
/// the waiting messages in less than half that time.
fn survive(
    story: &Story,
    stack: &Stack,
    (publisher, reader): (&Publisher, &Reader),
    span: Duration,
) {
    let before = reader.distinct();
    publisher.keep_publishing();
    eventually("the first are in Kafka", PATIENT, || reader.distinct() >= before + 1_000);

    stack.compose(&["stop", "kafka"]);
    let (_, before) = stack.usage();
    throughout("the bridge answers", span, || {
        thread::sleep(Duration::from_secs(1));
        stack.http.get("/readyz").is_ok()
    });
    let (_, after) = stack.usage();
    let cpu = after - before;
    stack.compose(&["start", "kafka"]);
    publisher.pause();
    let (waiting, start) = (publisher.published() - reader.distinct(), Instant::now());
    let verdict = stack.settle(publisher, reader, PATIENT + span / 2);
    let caught_up = start.elapsed();
    let (rss, _) = stack.usage();
    tell(&format!(
        "{}: {cpu:.1?} of CPU in {span:?}; {waiting} waiting messages forwarded in {caught_up:.1?}; \
         peak RSS {rss} KiB",
        story.name
    ));
    verdict.assert_exact();
    let bridge = stack.inspect("bridge");
    assert_eq!(
        (&bridge["RestartCount"], &bridge["State"]["OOMKilled"]),
        (&0.into(), &false.into())
    );
    stack.assert_log_sound();
}
