//! `/metrics`: everything that is counted, in OpenMetrics text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Error, Result};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::pages::Pages;
use crate::observe::health::CODES;
use crate::observe::latency::{BOUNDS_US, StageHistogram, Stages};
use crate::observe::{Conservation, Hold};

/// As the OpenMetrics specification asks for.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What every name begins with.
const PREFIX: &str = "mqtt_kafka_bridge";

/// The whole text. Each kind of count is from one moment: the terms of the conservation identity
/// always balance.
pub(super) fn write(pages: &Pages) -> std::result::Result<String, Error> {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Scrape::of(pages)));
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &registry)?;
    Ok(text)
}

/// All values of one exposition.
#[derive(Debug)]
struct Scrape {
    counted: Conservation,
    reconnects: BTreeMap<&'static str, u64>,
    restarts: BTreeMap<(&'static str, &'static str), u64>,
    stages: Stages,
    /// By route.
    filters: Vec<String>,
    /// Every Kafka topic that could be held, and whether it is.
    held: BTreeMap<String, bool>,
    not_ready: BTreeSet<&'static str>,
    timing_dropped: u64,
    records_dropped: u64,
    uptime_s: f64,
}

impl Scrape {
    fn of(pages: &Pages) -> Self {
        let metrics = &pages.metrics;
        let routes = pages.routes.iter();
        let mut held: BTreeMap<_, _> =
            routes.map(|route| (route.kafka_topic.to_string(), false)).collect();
        held.insert(Hold::DEAD_LETTER.to_owned(), false);
        held.extend(metrics.holds().into_iter().map(|hold| (hold.kafka_topic, true)));
        Self {
            counted: metrics.conservation(),
            reconnects: metrics.reconnects(),
            restarts: metrics.restarts(),
            stages: metrics.stages(),
            filters: pages.routes.iter().map(|route| route.filter.to_string()).collect(),
            held,
            not_ready: pages.not_ready().iter().map(|reason| reason.reason).collect(),
            timing_dropped: pages.logging.timing_dropped(),
            records_dropped: pages.logging.records_dropped(),
            uptime_s: pages.started.elapsed().as_secs_f64(),
        }
    }

    fn conservation(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let counted = &self.counted;
        for (name, help, value) in [
            ("received", "Messages received; redeliveries excepted.", counted.received),
            ("redelivered", "Messages in flight that came again.", counted.redelivered),
            ("copies", "Copies for overlapping subscriptions, not forwarded.", counted.copies),
            ("delivered", "Messages that Kafka acknowledged.", counted.delivered),
            ("dead_lettered", "Messages written to the dead letter.", counted.dead_lettered),
            ("filtered", "Messages that matched no route.", counted.filtered),
            ("shed", "QoS 0 messages dropped while the window was full.", counted.shed),
        ] {
            counter(&mut to.encode_descriptor(name, help, None, MetricType::Counter)?, value)?;
        }
        let help = "Messages received and without a verdict.";
        gauge(
            &mut to.encode_descriptor("in_flight", help, None, MetricType::Gauge)?,
            counted.in_flight,
        )
    }

    fn failures(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "MQTT connections lost, or not to be had.";
        let mut family =
            to.encode_descriptor("mqtt_reconnects", help, None, MetricType::Counter)?;
        for (reason, count) in &self.reconnects {
            counter(&mut family.encode_family(&[("reason", *reason)])?, *count)?;
        }
        let help = "Restarts of actors, and new producers after a fatal error.";
        let mut family = to.encode_descriptor("restarts", help, None, MetricType::Counter)?;
        for ((actor, reason), count) in &self.restarts {
            let labels = [("actor", *actor), ("reason", *reason)];
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
        let help = "1 for a Kafka topic whose messages wait for a person.";
        let mut family = to.encode_descriptor("held", help, None, MetricType::Gauge)?;
        for (kafka_topic, held) in &self.held {
            let labels = [("kafka_topic", kafka_topic.as_str())];
            gauge(&mut family.encode_family(&labels)?, u64::from(*held))?;
        }
        let help = "The program.";
        to.encode_descriptor("build", help, None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let help = "Since the start.";
        to.encode_descriptor("uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&self.uptime_s)
    }

    fn latencies(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "Time that messages spent before this stage: produced is from receipt to \
                    librdkafka, delivered from there to Kafka's acknowledgement, acknowledged from \
                    there to the write of the PUBACK.";
        let unit = Some(&Unit::Seconds);
        let mut family = to.encode_descriptor("stage", help, unit, MetricType::Histogram)?;
        let Stages { produced, delivered, acknowledged } = &self.stages;
        for (stage, routes) in
            [("produced", produced), ("delivered", delivered), ("acknowledged", acknowledged)]
        {
            for (filter, histogram) in self.filters.iter().zip(routes) {
                let labels = [("stage", stage), ("mqtt_filter", filter.as_str())];
                histogram_of(&mut family.encode_family(&labels)?, histogram)?;
            }
        }
        Ok(())
    }
}

impl Collector for Scrape {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result {
        self.conservation(&mut to)?;
        self.failures(&mut to)?;
        self.state(&mut to)?;
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
    let count = histogram.counts.iter().sum();
    metric.encode_histogram::<NoLabelSet>(seconds(histogram.sum_us), count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape() -> Scrape {
        let mut histogram = StageHistogram::default();
        histogram.counts[1] = 2;
        histogram.counts[BOUNDS_US.len()] = 1;
        histogram.sum_us = 700_000_900;
        Scrape {
            counted: Conservation { received: 6, delivered: 5, in_flight: 1, ..Default::default() },
            reconnects: [("keep_alive", 2)].into(),
            restarts: [(("kafka", "panic"), 3)].into(),
            stages: Stages { produced: vec![histogram], ..Stages::default() },
            filters: vec!["a/\"b\\/#".to_owned()],
            held: [("t".to_owned(), true)].into(),
            not_ready: ["draining"].into(),
            timing_dropped: 4,
            records_dropped: 0,
            uptime_s: 1.5,
        }
    }

    fn text() -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(scrape()));
        let mut text = String::new();
        encode(&mut text, &registry).expect("a String takes everything");
        text
    }

    #[test]
    fn every_family_is_in_the_text_with_its_labels_escaped() {
        let text = text();
        for line in [
            "received_total 6",
            "delivered_total 5",
            "in_flight 1",
            "mqtt_reconnects_total{reason=\"keep_alive\"} 2",
            "restarts_total{actor=\"kafka\",reason=\"panic\"} 3",
            "log_records_dropped_total{kind=\"timing\"} 4",
            "ready 0",
            "not_ready{reason=\"draining\"} 1",
            "not_ready{reason=\"kafka_unreachable\"} 0",
            "held{kafka_topic=\"t\"} 1",
            "uptime_seconds 1.5",
            r#"stage_seconds_bucket{le="0.0005",stage="produced",mqtt_filter="a/\"b\\/#"} 2"#,
            r#"stage_seconds_bucket{le="600.0",stage="produced",mqtt_filter="a/\"b\\/#"} 2"#,
            r#"stage_seconds_bucket{le="+Inf",stage="produced",mqtt_filter="a/\"b\\/#"} 3"#,
            r#"stage_seconds_sum{stage="produced",mqtt_filter="a/\"b\\/#"} 700.0009"#,
        ] {
            assert!(text.contains(&format!("\n{PREFIX}_{line}\n")), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"), "{text}");
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
