//! The cost of the pure cores, each alone, and of the whole data path without sockets and librdkafka.
//! Times are for a batch of 250 messages; those of routing and classification are for one call.

#![expect(missing_docs, reason = "criterion_group! makes a function without one")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mqtt_kafka_bridge::kafka::classify;
use mqtt_kafka_bridge::kafka::partition_queue::{PartitionQueue, Path};
use mqtt_kafka_bridge::message::{Message, Qos, RouteId, Stamp};
use mqtt_kafka_bridge::mqtt::frame::{Frame, FrameReader};
use mqtt_kafka_bridge::mqtt::packet::{Version, decode};
use mqtt_kafka_bridge::mqtt::window::{Ack, AckForm, Limits, Window};
use mqtt_kafka_bridge::route::{Match, Route, Router};
use mqtt_kafka_bridge::stage::Verdict;

use data_path::{BATCH, Case, DataPath, Item, input};

#[path = "../tests/support/data_path.rs"]
mod data_path;

const LIMITS: Limits = Limits { messages: 1000, qos0_messages: 10_000, bytes: 16 << 20 };

fn whole(c: &mut Criterion) {
    let mut group = c.benchmark_group("data path");
    group.throughput(Throughput::Elements(BATCH.into()));
    for version in [Version::V311, Version::V5] {
        for case in Case::ALL {
            let mut path = DataPath::new(version, case);
            let name = format!("{}, {}", version.name(), case.name());
            group.bench_function(name, |b| b.iter(|| path.batch()));
        }
    }
    group.finish();
}

fn packets(c: &mut Criterion) {
    let mut group = c.benchmark_group("frames and packets");
    group.throughput(Throughput::Elements(BATCH.into()));
    for version in [Version::V311, Version::V5] {
        let stream = Case::Fixed.streams(version).remove(0);
        group.bench_function(version.name(), |b| {
            b.iter(|| {
                let mut frames = FrameReader::new(version, 1 << 20);
                frames.space().extend_from_slice(&stream);
                while let Ok(Some(Frame::Whole(frame))) = frames.next_frame() {
                    black_box(decode(version, &frame).expect("a PUBLISH"));
                }
            });
        });
    }
    group.finish();
}

fn message(number: u16) -> Arc<Message> {
    let mqtt_topic = Bytes::from(format!("bench/{:04}/{number:06}", number % 200));
    let payload = Bytes::from_static(&[b'x'; 128]);
    Arc::new(Message {
        destinations: router(1)
            .route(&input(&Bytes::from("bench/a"), &payload, Stamp::now(), &"mqtt".into()))
            .destinations,
        mqtt_topic,
        payload,
        properties: Bytes::new(),
        qos: Qos::AtLeastOnce,
        retain: false,
        received_at: Stamp::now(),
    })
}

/// A window that has taken in a batch.
fn filled(messages: &[Arc<Message>]) -> Window {
    let mut window = Window::new(LIMITS);
    for (packet_id, message) in (1..).zip(messages) {
        let ack = Ack { packet_id, form: AckForm::PubAck };
        window.admit(Arc::clone(message), Some(ack));
    }
    window
}

fn window(c: &mut Criterion) {
    let messages: Vec<_> = (0..BATCH).map(message).collect();
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function("admit", |b| b.iter_with_large_drop(|| filled(&messages)));
    group.bench_function("hand on, settle, release", |b| {
        b.iter_batched_ref(
            || filled(&messages),
            |window| {
                let (mut released, at) = (0, Instant::now());
                for msg in window.take_unforwarded() {
                    window.settle(Verdict::Delivered(msg.id), at);
                }
                window.release(|_| released += 1);
                assert_eq!(released, BATCH);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A router of `routes` routes: each matches one level, a single one matches all.
fn router(routes: usize) -> Router {
    let route = |number: usize| {
        let filter = match routes {
            1 => "bench/#".to_owned(),
            _ => format!("bench/{number:04}/#"),
        };
        Route::new(RouteId(number), filter.parse().expect("a legal filter"), "bench")
    };
    Router::new(&(0..routes).map(route).collect::<Vec<_>>(), Match::First)
}

fn routing(c: &mut Criterion) {
    let payload = Bytes::from_static(b"21.5");
    for routes in [1, 200] {
        let (mut router, now, connection) = (router(routes), Stamp::now(), "mqtt".into());
        for (name, level) in [("the first", 0), ("the last", routes - 1)] {
            let mqtt_topic = Bytes::from(format!("bench/{level:04}/000001"));
            c.bench_function(&format!("routing/{routes} routes, {name} matches"), |b| {
                b.iter(|| router.route(&input(black_box(&mqtt_topic), &payload, now, &connection)));
            });
        }
    }
}

fn partition_queue(c: &mut Criterion) {
    let messages: Vec<_> = (0..BATCH).map(|number| message(number % 64)).collect();
    let mut queue = PartitionQueue::new(&"bench".into(), Some(3));
    let now = Instant::now();
    let mut group = c.benchmark_group("partition queue");
    group.throughput(Throughput::Elements(BATCH.into()));
    group.bench_function("push, next, delivered", |b| {
        b.iter_batched(
            || filled(&messages).take_unforwarded(),
            |batch| {
                for msg in batch {
                    queue.push(Item(msg));
                    while queue.next(now, true).is_some() {
                        queue.delivered(Path::Pipelined, 3);
                    }
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn classification(c: &mut Criterion) {
    for (name, code) in [("delivered", 0), ("the last of the table", -197), ("unknown", 4711)] {
        c.bench_function(&format!("classification/{name}"), |b| {
            b.iter(|| classify::of_report(black_box(code)));
        });
    }
}

criterion_group!(benches, whole, packets, window, routing, partition_queue, classification);
criterion_main!(benches);
