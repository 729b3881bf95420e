//! `/metrics`: everything that is counted, in OpenMetrics text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Error, Result};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::message::{RouteId, RouteName};
use crate::observe::health::{CODES, WARNINGS};
use crate::observe::latency::{BOUNDS_US, StageHistogram, Stages};
use crate::observe::{ConnectionMetrics, Conservation, Hop, ReloadOutcome};
use crate::route::note::Note;

/// As the OpenMetrics specification asks for.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The prefix of every name.
const PREFIX: &str = "mqtt_kafka_bridge";

/// The whole text. The counts of one connection are from one moment: the terms of the conservation
/// identity always balance.
pub(super) fn write(scrape: Scrape) -> std::result::Result<String, Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(scrape));
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &registry)?;
    Ok(text)
}

/// All values of one exposition.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) connections: Vec<Connection>,
    pub(super) restarts: BTreeMap<(Arc<str>, &'static str), u64>,
    pub(super) routes: BTreeMap<RouteId, RouteName>,
    /// What routes noted of messages, by the names of the routes.
    pub(super) notes: BTreeMap<(Arc<str>, Note), u64>,
    /// How far the clocks of devices are ahead, in seconds, by the names of the routes.
    pub(super) clocks_ahead_s: BTreeMap<Arc<str>, f64>,
    /// The places where messages could be held, and whether they are.
    pub(super) held: BTreeMap<String, bool>,
    pub(super) not_ready: BTreeSet<&'static str>,
    pub(super) warnings: BTreeSet<&'static str>,
    pub(super) reloads: BTreeMap<ReloadOutcome, u64>,
    pub(super) timing_dropped: u64,
    pub(super) records_dropped: u64,
    pub(super) uptime_s: f64,
}

/// The values of one MQTT connection.
#[derive(Debug)]
pub(super) struct Connection {
    name: Arc<str>,
    connected: bool,
    counted: Conservation,
    reconnects: BTreeMap<&'static str, u64>,
    stages: Stages,
}

impl Connection {
    /// As they are now.
    pub(super) fn of(metrics: &ConnectionMetrics) -> Self {
        Self {
            name: Arc::clone(metrics.name()),
            connected: metrics.health().connected,
            counted: metrics.conservation(),
            reconnects: metrics.reconnects(),
            stages: metrics.stages(),
        }
    }

    fn records_delivered(&self) -> u64 {
        let known = self.stages.delivered.values().map(StageHistogram::count).sum::<u64>();
        known + self.stages.delivered_of_gone
    }

    fn label(&self) -> (&'static str, &str) {
        ("connection", &self.name)
    }
}

/// Name, help and value of a count.
type Count = (&'static str, &'static str, fn(&Conservation) -> u64);

/// The counters of the conservation identity, and two that are not part of it.
const COUNTS: [Count; 7] = [
    ("received", "Messages received; redeliveries excepted.", |counted| counted.received),
    ("redelivered", "Messages that the broker sent again; not forwarded again.", |counted| {
        counted.redelivered
    }),
    ("copies", "Copies for overlapping subscriptions, not forwarded.", |counted| counted.copies),
    ("delivered", "Messages that Kafka acknowledged.", |counted| counted.delivered),
    ("dead_lettered", "Messages written to the dead letter.", |counted| counted.dead_lettered),
    ("filtered", "Messages that no route wanted, and that have no dead letter.", |counted| {
        counted.filtered
    }),
    ("shed", "QoS 0 messages dropped while the window was full.", |counted| counted.shed),
];

impl Scrape {
    fn connections(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        for (name, help, value) in COUNTS {
            let mut family = to.encode_descriptor(name, help, None, MetricType::Counter)?;
            for connection in &self.connections {
                let labels = [connection.label()];
                counter(&mut family.encode_family(&labels)?, value(&connection.counted))?;
            }
        }
        let help = "Messages received and without a verdict.";
        let mut family = to.encode_descriptor("in_flight", help, None, MetricType::Gauge)?;
        for connection in &self.connections {
            let labels = [connection.label()];
            gauge(&mut family.encode_family(&labels)?, connection.counted.in_flight)?;
        }
        let help = "Records that Kafka acknowledged; a message may become several.";
        let mut family =
            to.encode_descriptor("records_delivered", help, None, MetricType::Counter)?;
        for connection in &self.connections {
            let labels = [connection.label()];
            counter(&mut family.encode_family(&labels)?, connection.records_delivered())?;
        }
        let help = "1 while the MQTT broker has accepted the connection.";
        let mut family = to.encode_descriptor("mqtt_connected", help, None, MetricType::Gauge)?;
        for connection in &self.connections {
            let labels = [connection.label()];
            gauge(&mut family.encode_family(&labels)?, u64::from(connection.connected))?;
        }
        let help = "MQTT connections lost or failed to open.";
        let mut family =
            to.encode_descriptor("mqtt_reconnects", help, None, MetricType::Counter)?;
        for connection in &self.connections {
            for (reason, count) in &connection.reconnects {
                let labels = [connection.label(), ("reason", *reason)];
                counter(&mut family.encode_family(&labels)?, *count)?;
            }
        }
        Ok(())
    }

    fn failures(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "Restarts of actors, and new producers after fatal errors.";
        let mut family = to.encode_descriptor("restarts", help, None, MetricType::Counter)?;
        for ((actor, reason), count) in &self.restarts {
            let labels = [("actor", &**actor), ("reason", *reason)];
            counter(&mut family.encode_family(&labels)?, *count)?;
        }
        let help = "Records that the log had no room for.";
        let mut family =
            to.encode_descriptor("log_records_dropped", help, None, MetricType::Counter)?;
        for (kind, count) in [("timing", self.timing_dropped), ("other", self.records_dropped)] {
            counter(&mut family.encode_family(&[("kind", kind)])?, count)?;
        }
        Ok(())
    }

    fn state(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let ready = u64::from(self.not_ready.is_empty());
        let help = "1 if /readyz answers 200.";
        gauge(&mut to.encode_descriptor("ready", help, None, MetricType::Gauge)?, ready)?;
        let help = "1 for each reason that /readyz gives.";
        let mut family = to.encode_descriptor("not_ready", help, None, MetricType::Gauge)?;
        for code in CODES {
            let given = u64::from(self.not_ready.contains(code));
            gauge(&mut family.encode_family(&[("reason", code)])?, given)?;
        }
        let help = "1 for each warning that /readyz gives.";
        let mut family = to.encode_descriptor("warning", help, None, MetricType::Gauge)?;
        for code in WARNINGS {
            let given = u64::from(self.warnings.contains(code));
            gauge(&mut family.encode_family(&[("reason", code)])?, given)?;
        }
        let help = "How often the configuration was read again, by what became of it.";
        let mut family = to.encode_descriptor("reloads", help, None, MetricType::Counter)?;
        for outcome in ReloadOutcome::ALL {
            let count = self.reloads.get(&outcome).copied().unwrap_or_default();
            counter(&mut family.encode_family(&[("outcome", outcome.name())])?, count)?;
        }
        let help = "1 for a Kafka topic whose messages wait until a person removes the cause.";
        let mut family = to.encode_descriptor("held", help, None, MetricType::Gauge)?;
        for (kafka_topic, held) in &self.held {
            let labels = [("kafka_topic", kafka_topic.as_str())];
            gauge(&mut family.encode_family(&labels)?, u64::from(*held))?;
        }
        let help = "The version of the program.";
        to.encode_descriptor("build", help, None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let help = "Time since the start.";
        to.encode_descriptor("uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&self.uptime_s)
    }

    fn notes(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "Messages that a route dropped, by the key of the route that says so.";
        let mut family = to.encode_descriptor("route_dropped", help, None, MetricType::Counter)?;
        for ((route, note), count) in &self.notes {
            if let Note::Dropped(reason) = note {
                let labels = [("route", &**route), ("reason", reason.name())];
                counter(&mut family.encode_family(&labels)?, *count)?;
            }
        }
        let help = "Messages of which a route noted something; most were forwarded.";
        let mut family = to.encode_descriptor("route_notes", help, None, MetricType::Counter)?;
        for ((route, note), count) in &self.notes {
            if !matches!(note, Note::Dropped(_)) {
                let labels = [("route", &**route), ("note", note.name())];
                counter(&mut family.encode_family(&labels)?, *count)?;
            }
        }
        Ok(())
    }

    fn clocks(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "How far the time that a device gave was ahead of its receipt at most, in the last minutes.";
        let unit = Some(&Unit::Seconds);
        let mut family =
            to.encode_descriptor("device_clock_ahead", help, unit, MetricType::Gauge)?;
        for (route, seconds) in &self.clocks_ahead_s {
            let labels = [("route", &**route)];
            family.encode_family(&labels)?.encode_gauge(seconds)?;
        }
        Ok(())
    }

    fn latencies(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "Time that messages spent before this stage: routed is from receipt until all of the \
                    same read was routed, produced from receipt to librdkafka, delivered from there to \
                    Kafka's acknowledgement, acknowledged from there to the write of the PUBACK; device \
                    is from the device's own time to Kafka's acknowledgement.";
        let unit = Some(&Unit::Seconds);
        let mut family = to.encode_descriptor("stage", help, unit, MetricType::Histogram)?;
        for connection in &self.connections {
            let Stages { device, routed, produced, delivered, acknowledged, .. } =
                &connection.stages;
            for (stage, routes) in [
                (Hop::Device, device),
                (Hop::Routed, routed),
                (Hop::Produced, produced),
                (Hop::Delivered, delivered),
                (Hop::Acknowledged, acknowledged),
            ] {
                // A route that is not from this connection has none here.
                for (route, histogram) in routes {
                    let Some(RouteName { name, mqtt_filter }) = self.routes.get(route) else {
                        continue;
                    };
                    let labels = [
                        ("stage", stage.name()),
                        ("route", &**name),
                        ("mqtt_filter", &**mqtt_filter),
                        connection.label(),
                    ];
                    histogram_of(&mut family.encode_family(&labels)?, histogram)?;
                }
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result {
        self.connections(&mut to)?;
        self.failures(&mut to)?;
        self.state(&mut to)?;
        self.notes(&mut to)?;
        self.clocks(&mut to)?;
        self.latencies(&mut to)
    }
}

fn counter(metric: &mut MetricEncoder<'_>, value: u64) -> Result {
    metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(metric: &mut MetricEncoder<'_>, value: u64) -> Result {
    metric.encode_gauge(&value)
}

fn histogram_of(metric: &mut MetricEncoder<'_>, histogram: &StageHistogram) -> Result {
    let seconds = |us: u64| us as f64 / 1e6;
    let bounds = BOUNDS_US.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(histogram.counts).collect();
    let count = histogram.count();
    metric.encode_histogram::<NoLabelSet>(seconds(histogram.sum_us), count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::note::DropReason;

    fn scrape() -> Scrape {
        let mut histogram = StageHistogram::default();
        histogram.counts[1] = 2;
        histogram.counts[BOUNDS_US.len()] = 1;
        histogram.sum_us = 700_000_900;
        let connection = |name: &str, received, stages| Connection {
            name: name.into(),
            connected: received > 0,
            counted: Conservation { received, delivered: received, ..Default::default() },
            reconnects: [("keep_alive", 2)].into(),
            stages,
        };
        let route = |name: &str, mqtt_filter: &str| RouteName {
            name: name.into(),
            mqtt_filter: mqtt_filter.into(),
        };
        let stages = Stages {
            // The last one is a route that was let go.
            produced: [(RouteId(1), histogram), (RouteId(7), histogram)].into(),
            delivered: [(RouteId(0), histogram), (RouteId(1), histogram)].into(),
            ..Stages::default()
        };
        Scrape {
            connections: vec![
                connection("east", 6, stages),
                connection("west", 0, Stages::default()),
            ],
            restarts: [(("kafka".into(), "panic"), 3)].into(),
            routes: [(0, route("other", "other/#")), (1, route("a", "a/\"b\\/#"))]
                .map(|(id, route)| (RouteId(id), route))
                .into(),
            notes: [
                (("a/#".into(), Note::Dropped(DropReason::KeepIf)), 5),
                (("a/#".into(), Note::TimestampFellBack), 7),
            ]
            .into(),
            clocks_ahead_s: [("a".into(), 0.25)].into(),
            held: [("t".to_owned(), true)].into(),
            not_ready: ["draining"].into(),
            warnings: ["reload_failed"].into(),
            reloads: [(ReloadOutcome::Refused, 3)].into(),
            timing_dropped: 4,
            records_dropped: 0,
            uptime_s: 1.5,
        }
    }

    fn text() -> String {
        write(scrape()).expect("a String takes everything")
    }

    #[test]
    fn every_family_is_in_the_text_with_its_labels_escaped() {
        let text = text();
        for line in [
            r#"received_total{connection="east"} 6"#,
            r#"delivered_total{connection="west"} 0"#,
            r#"in_flight{connection="east"} 0"#,
            r#"records_delivered_total{connection="east"} 6"#,
            r#"records_delivered_total{connection="west"} 0"#,
            r#"mqtt_reconnects_total{connection="west",reason="keep_alive"} 2"#,
            r#"mqtt_connected{connection="east"} 1"#,
            r#"mqtt_connected{connection="west"} 0"#,
            "restarts_total{actor=\"kafka\",reason=\"panic\"} 3",
            "route_dropped_total{route=\"a/#\",reason=\"keep_if\"} 5",
            "route_notes_total{route=\"a/#\",note=\"timestamp_fell_back\"} 7",
            "log_records_dropped_total{kind=\"timing\"} 4",
            "ready 0",
            "not_ready{reason=\"draining\"} 1",
            "not_ready{reason=\"kafka_unreachable\"} 0",
            "warning{reason=\"reload_failed\"} 1",
            "warning{reason=\"insecure\"} 0",
            "reloads_total{outcome=\"refused\"} 3",
            "reloads_total{outcome=\"applied\"} 0",
            "held{kafka_topic=\"t\"} 1",
            "device_clock_ahead_seconds{route=\"a\"} 0.25",
            "uptime_seconds 1.5",
            r#"stage_seconds_bucket{le="0.0005",stage="produced",route="a",mqtt_filter="a/\"b\\/#",connection="east"} 2"#,
            r#"stage_seconds_bucket{le="600.0",stage="produced",route="a",mqtt_filter="a/\"b\\/#",connection="east"} 2"#,
            r#"stage_seconds_bucket{le="+Inf",stage="produced",route="a",mqtt_filter="a/\"b\\/#",connection="east"} 3"#,
            r#"stage_seconds_sum{stage="produced",route="a",mqtt_filter="a/\"b\\/#",connection="east"} 700.0009"#,
        ] {
            assert!(text.contains(&format!("\n{PREFIX}_{line}\n")), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        let other = r#"stage_seconds_count{stage="produced",route="other",mqtt_filter="other/#""#;
        assert!(!text.contains(other), "no message of that route came on this connection: {text}");
    }

    #[test]
    fn every_family_is_documented() {
        let text = text();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
        let document = std::fs::read_to_string(path).expect("docs/observability.md");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
            let name = name.strip_prefix("mqtt_kafka_bridge_").expect("the prefix");
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            assert!(document.contains(&format!("| `{name}{suffix}` |")), "{name} is not explained");
        }
    }
}
