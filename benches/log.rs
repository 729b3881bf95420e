//! The cost of a log record for the thread that logs it.

#![expect(missing_docs, reason = "criterion_group! makes a function without one")]

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mqtt_kafka_bridge::config::{Config, LogConfig, TimingPolicy};
use mqtt_kafka_bridge::message::Stamp;
use mqtt_kafka_bridge::observe::{AckTime, Logging, Style, TimingRecord, keys};
use slog::{debug, info, o};

const BATCH: u64 = 200;

fn logging(timing: TimingPolicy) -> Logging {
    let config = LogConfig { timing, ..Config::for_test().log };
    Logging::to_sink(&config, Style::Json, io::sink())
}

fn record(now: Stamp) -> TimingRecord<'static> {
    let after = |ms| Stamp {
        wall_us: now.wall_us + ms * 1000,
        instant: now.instant + Duration::from_millis(ms),
    };
    TimingRecord {
        connection: None,
        mqtt_topic: b"sensors/building-7/room-12/temperature",
        mqtt_qos: 1,
        route: "sensors",
        kafka_topic: "sensors",
        kafka_partition: 3,
        kafka_offset: 123_456_789,
        payload_bytes: 150,
        received_at: now,
        produced_at: after(1),
        delivered_at: after(4),
        routed_us: 40,
        ack: AckTime::After(300),
        device_us: None,
    }
}

fn timing(c: &mut Criterion) {
    let mut group = c.benchmark_group("timing");
    group.throughput(Throughput::Elements(BATCH));
    let slow = TimingPolicy::Slow(Duration::from_secs(1));
    for (name, policy) in
        [("all", TimingPolicy::All), ("slow, none is", slow), ("off", TimingPolicy::Off)]
    {
        let sink = logging(policy).timing();
        group.bench_function(format!("batch of 200, {name}"), |b| {
            b.iter(|| {
                let record = record(Stamp { wall_us: 1_767_323_045_123_456, instant: started() });
                let mut batch = sink.batch();
                for _ in 0..BATCH {
                    if sink.wants(black_box(4_000)) {
                        batch.record(black_box(&record));
                    }
                }
            });
        });
    }
    group.finish();
    let sink = logging(TimingPolicy::All).timing();
    c.bench_function("timing/one by one, all", |b| {
        let record = record(Stamp::now());
        b.iter(|| sink.record(black_box(&record)));
    });
}

fn started() -> Instant {
    static STARTED: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

fn ordinary(c: &mut Criterion) {
    let log = logging(TimingPolicy::Off).logger().new(o!(keys::COMPONENT => "mqtt"));
    c.bench_function("ordinary record", |b| {
        b.iter(|| {
            info!(log, "connected";
                keys::MQTT_BROKER => black_box("localhost:1883"),
                keys::SESSION_PRESENT => true,
                keys::KEEP_ALIVE_S => 30u16);
        });
    });
    c.bench_function("record below the level", |b| {
        b.iter(|| debug!(log, "hidden"; keys::COUNT => black_box(1)));
    });
}

criterion_group!(benches, timing, ordinary);
criterion_main!(benches);
