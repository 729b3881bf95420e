//! A snapshot for the status page, until there is one type of all that can be shown.

use std::time::Instant;

use serde_json::{Value, json};

use crate::message::RouteName;
use crate::observe::health::{self, KafkaHealth, Reason};
use crate::observe::{
    AckTime, ConnectionMetrics, Conservation, Hop, Metrics, Rfc3339, RouteLatencies, Slow, now_us,
};
use crate::supervisor::Readiness;

/// The snapshot.
pub(super) fn status_json(readiness: &Readiness, started: Instant) -> String {
    let metrics = readiness.metrics();
    let seen = readiness.seen();
    let not_ready = readiness.not_ready(&seen);
    let now = Instant::now();
    let kafka = match &seen.kafka {
        KafkaHealth::Pending => ("pending", None),
        KafkaHealth::Unreachable { detail, .. } => ("unreachable", Some(detail)),
        KafkaHealth::Reachable(_) => ("reachable", None),
    };
    let kafka_topics: Vec<_> = readiness
        .places()
        .iter()
        .map(|place| json!({ "kafka_topic": place.to_string(), "reachable": kafka.0 == "reachable" }))
        .collect();
    let connections = seen.connections.iter().zip(metrics.connections());
    let connections: Vec<_> = connections
        .map(|(health, counts)| {
            json!({
                "connection": &*health.name,
                "connected": health.mqtt.connected,
                "broker": health.broker.as_ref().map(|broker| &broker.address),
                "insecure": health.broker.as_ref().is_some_and(|broker| broker.insecure),
                "reconnects": counts.reconnects(),
                "identity": identity(counts.conservation()),
            })
        })
        .collect();
    let restarts: Vec<_> = metrics.restarts().into_iter().collect();
    let restarts = restarts.iter().map(
        |((actor, reason), count)| json!({ "actor": &**actor, "reason": reason, "count": count }),
    );
    let latencies = metrics.route_latencies(now);
    let latencies = latencies.iter().flat_map(|of| Hop::ALL.map(|hop| latency(of, hop)));
    json!({
        "at": Rfc3339::from_us(now_us()).as_str(),
        "uptime_s": started.elapsed().as_secs_f64(),
        "build": { "version": env!("CARGO_PKG_VERSION") },
        "ready": not_ready.is_empty(),
        "alive": readiness.not_live().is_empty(),
        "reasons": advice(&not_ready),
        "warnings": advice(&health::warnings(&seen)),
        "identity": identity(metrics.conservation()),
        "connections": connections,
        "kafka": { "state": kafka.0, "detail": kafka.1, "kafka_topics": kafka_topics },
        "routes": routes(metrics),
        "latencies": latencies.flatten().collect::<Vec<_>>(),
        "slowest": metrics.slowest().slowest(now).iter().map(slow).collect::<Vec<_>>(),
        "restarts": restarts.collect::<Vec<_>>(),
    })
    .to_string()
}

fn advice(reasons: &[Reason]) -> Vec<Value> {
    reasons.iter().map(|reason| json!(reason)).collect()
}

fn identity(counted: Conservation) -> Value {
    json!({
        "received": counted.received,
        "delivered": counted.delivered,
        "dead_lettered": counted.dead_lettered,
        "filtered": counted.filtered,
        "shed": counted.shed,
        "in_flight": counted.in_flight,
        "redelivered": counted.redelivered,
        "copies": counted.copies,
    })
}

fn routes(metrics: &Metrics) -> Vec<Value> {
    let stages: Vec<_> = metrics.connections().iter().map(ConnectionMetrics::stages).collect();
    let routes = metrics.route_names().all();
    let routes = routes.into_iter().map(|(id, RouteName { name, mqtt_filter })| {
        let records = stages.iter().filter_map(|it| Some(it.delivered.get(&id)?.count()));
        json!({ "route": &*name, "mqtt_filter": &*mqtt_filter, "records_delivered": records.sum::<u64>() })
    });
    routes.collect()
}

fn latency(of: &RouteLatencies, hop: Hop) -> Option<Value> {
    let percentiles = of.percentiles(hop)?;
    Some(json!({
        "connection": &*of.connection,
        "route": &*of.name,
        "stage": hop.name(),
        "count": percentiles.count,
        "p50_us": percentiles.p50_us,
        "p90_us": percentiles.p90_us,
        "p99_us": percentiles.p99_us,
        "p999_us": percentiles.p999_us,
        "max_us": percentiles.max_us,
    }))
}

fn slow(slow: &Slow) -> Value {
    let (ack_us, ack_reason) = match slow.ack {
        AckTime::After(us) => (Some(us), None),
        AckTime::None(why) => (None, Some(why.name())),
    };
    json!({
        "mqtt_topic": slow.mqtt_topic,
        "connection": &*slow.connection,
        "route": &*slow.route,
        "kafka_topic": &*slow.kafka_topic,
        "kafka_partition": slow.kafka_partition,
        "kafka_offset": slow.kafka_offset,
        "received_at": Rfc3339::from_us(slow.received_us).as_str(),
        "queue_us": slow.queue_us,
        "kafka_us": slow.kafka_us,
        "total_us": slow.total_us,
        "ack_us": ack_us,
        "ack_reason": ack_reason,
    })
}
