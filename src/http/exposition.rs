//! `/metrics`: everything that is counted, as text.

use std::collections::BTreeMap;
use std::fmt::{Error, Result};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::format::{Format, classic};
use crate::message::RouteName;
use crate::observe::health::{CODES, MqttHealth, Reason, WARNINGS};
use crate::observe::latency::{BOUNDS_US, StageHistogram, Stages};
use crate::observe::process::Process;
use crate::observe::status::{ConnectionCounts, ConnectionStatus, Status};
use crate::observe::{Conservation, Hop, ReloadOutcome};
use crate::route::note::Note;
use crate::supervisor::readiness::WindowLimits;

/// The prefix of every name, but for those of the process: these are the same for all programs.
const PREFIX: &str = "mqtt_kafka_bridge";

/// The whole text. The counts of one connection are from one moment: the terms of the conservation
/// identity always balance.
pub(super) fn write(status: Status, format: Format) -> std::result::Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(status.process));
    registry.sub_registry_with_prefix(PREFIX).register_collector(Box::new(Scrape(status)));
    let mut text = String::with_capacity(16 * 1024);
    encode(&mut text, &registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Classic => classic(&text),
    })
}

/// All values of one exposition.
#[derive(Debug)]
struct Scrape(Status);

/// The values of one MQTT connection.
struct Connection<'a> {
    counts: &'a ConnectionCounts,
    more: &'a ConnectionStatus,
    mqtt: &'a MqttHealth,
}

impl<'a> Connection<'a> {
    fn label(&self) -> (&'static str, &'a str) {
        ("connection", &self.counts.name)
    }
}

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> Result {
        let seconds = Some(&Unit::Seconds);
        if let Some(cpu_s) = self.cpu_s {
            let help = "CPU time of all threads, in user and system mode.";
            to.encode_descriptor("process_cpu", help, seconds, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&cpu_s, None)?;
        }
        let gauges: [(_, _, _, Option<f64>); 4] = [
            (
                "resident_memory",
                "Memory that is not swapped out.",
                Some(&Unit::Bytes),
                self.resident_memory_bytes.map(|it| it as f64),
            ),
            ("open_fds", "Open file handles.", None, self.open_fds.map(|it| it as f64)),
            (
                "max_fds",
                "How many file handles it may open.",
                None,
                self.max_fds.map(|it| it as f64),
            ),
            ("start_time", "When it started, since the Unix epoch.", seconds, self.start_time_s),
        ];
        for (name, help, unit, value) in gauges {
            if let Some(value) = value {
                let name = format!("process_{name}");
                to.encode_descriptor(&name, help, unit, MetricType::Gauge)?.encode_gauge(&value)?;
            }
        }
        Ok(())
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
    fn each(&self) -> impl Iterator<Item = Connection<'_>> {
        let Self(status) = self;
        let all = status.counted.connections.iter().zip(&status.connections);
        let all = all.zip(&status.state.seen.connections);
        all.map(|((counts, more), seen)| Connection { counts, more, mqtt: &seen.mqtt })
    }

    /// One number of each connection.
    fn by_connection(
        &self,
        to: &mut DescriptorEncoder<'_>,
        (name, help, kind): (&str, &str, MetricType),
        value: impl Fn(&Connection<'_>) -> u64,
    ) -> Result {
        let is_counter = matches!(kind, MetricType::Counter);
        let mut family = to.encode_descriptor(name, help, None, kind)?;
        for connection in self.each() {
            let labels = [connection.label()];
            let (mut metric, value) = (family.encode_family(&labels)?, value(&connection));
            if is_counter { counter(&mut metric, value) } else { gauge(&mut metric, value) }?;
        }
        Ok(())
    }

    fn connections(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let counter_of = MetricType::Counter;
        for (name, help, value) in COUNTS {
            self.by_connection(to, (name, help, counter_of), |it| value(&it.counts.counted))?;
        }
        let help = "Messages received and without a verdict.";
        self.by_connection(to, ("in_flight", help, MetricType::Gauge), |it| {
            it.counts.counted.in_flight
        })?;
        let help = "Records that Kafka acknowledged; a message may become several.";
        self.by_connection(to, ("records_delivered", help, counter_of), |it| {
            it.more.records_delivered()
        })?;
        let help = "Payloads of the messages received, in bytes.";
        self.by_connection(to, ("received_bytes", help, counter_of), |it| {
            it.more.window.received_bytes
        })?;
        self.windows(to)?;
        let help = "1 while the MQTT broker has accepted the connection.";
        self.by_connection(to, ("mqtt_connected", help, MetricType::Gauge), |it| {
            u64::from(it.mqtt.connected)
        })?;
        let help = "MQTT connections lost or failed to open.";
        let mut family =
            to.encode_descriptor("mqtt_reconnects", help, None, MetricType::Counter)?;
        for connection in self.each() {
            for (reason, count) in &connection.counts.reconnects {
                let labels = [connection.label(), ("reason", *reason)];
                counter(&mut family.encode_family(&labels)?, *count)?;
            }
        }
        let help = "Values of records that Kafka acknowledged, in bytes.";
        let mut family =
            to.encode_descriptor("delivered_bytes", help, None, MetricType::Counter)?;
        for connection in self.each() {
            // Routes of one name count together.
            let mut bytes = BTreeMap::<&str, u64>::new();
            for (route, count) in &connection.more.volumes.by_route {
                if let Some(RouteName { name, .. }) = self.0.routes.get(route) {
                    *bytes.entry(name).or_default() += count;
                }
            }
            for (route, count) in bytes {
                let labels = [("route", route), connection.label()];
                counter(&mut family.encode_family(&labels)?, count)?;
            }
        }
        Ok(())
    }

    fn windows(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let WindowLimits { messages: messages_max, bytes: bytes_max, .. } =
            self.0.state.configured.limits;
        let help = "Messages that the window holds: without a verdict, or owed a PUBACK.";
        self.by_connection(to, ("window_messages", help, MetricType::Gauge), |it| {
            it.more.window.messages as u64
        })?;
        let help = "delivery.window_messages: how many it may hold, when one of QoS 1 comes.";
        self.by_connection(to, ("window_messages_max", help, MetricType::Gauge), |_| {
            messages_max as u64
        })?;
        let help = "Bytes that the window holds, as delivery.window_bytes counts them.";
        self.by_connection(to, ("window_bytes", help, MetricType::Gauge), |it| {
            it.more.window.bytes as u64
        })?;
        let help = "delivery.window_bytes: how many bytes it may hold.";
        self.by_connection(to, ("window_bytes_max", help, MetricType::Gauge), |_| bytes_max as u64)
    }

    fn kafka(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let statistics = &self.0.kafka;
        for (name, help, value) in [
            (
                "kafka_queue_messages",
                "Records in librdkafka that have no answer.",
                statistics.queue_messages,
            ),
            ("kafka_queue_bytes", "Their bytes.", statistics.queue_bytes),
        ] {
            if let Some(value) = value {
                gauge(&mut to.encode_descriptor(name, help, None, MetricType::Gauge)?, value)?;
            }
        }
        let help = "1 while a connection to this Kafka broker is in use.";
        let mut family =
            to.encode_descriptor("kafka_broker_connected", help, None, MetricType::Gauge)?;
        for broker in &statistics.brokers {
            let labels = [("broker", broker.broker_id)];
            gauge(&mut family.encode_family(&labels)?, u64::from(broker.connected))?;
        }
        let unit = Some(&Unit::Seconds);
        let help = "From a request to the Kafka broker's answer, over the last seconds.";
        let mut family = to.encode_descriptor("kafka_round_trip", help, unit, MetricType::Gauge)?;
        for broker in &statistics.brokers {
            for (statistic, us) in
                [("average", broker.round_trip_average_us), ("p99", broker.round_trip_p99_us)]
            {
                let id = broker.broker_id.to_string();
                let labels = [("broker", id.as_str()), ("statistic", statistic)];
                if let Some(us) = us {
                    family.encode_family(&labels)?.encode_gauge(&(us as f64 / 1e6))?;
                }
            }
        }
        let help = "The longest pause that the Kafka broker imposed in the last seconds.";
        let mut family = to.encode_descriptor("kafka_throttle", help, unit, MetricType::Gauge)?;
        for broker in &statistics.brokers {
            let labels = [("broker", broker.broker_id)];
            family.encode_family(&labels)?.encode_gauge(&(broker.throttle_ms as f64 / 1e3))?;
        }
        Ok(())
    }

    fn certificates(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "How long a certificate is still valid; negative: it is not any more.";
        let unit = Some(&Unit::Seconds);
        let mut family =
            to.encode_descriptor("certificate_expires", help, unit, MetricType::Gauge)?;
        for certificate in &self.0.state.seen.certificates {
            let labels = [("of", certificate.of.name()), ("connection", &*certificate.connection)];
            family.encode_family(&labels)?.encode_gauge(&certificate.expires_in_s)?;
        }
        Ok(())
    }

    fn failures(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let help = "Restarts of actors, and new producers after fatal errors.";
        let mut family = to.encode_descriptor("restarts", help, None, MetricType::Counter)?;
        for ((actor, reason), count) in &self.0.counted.restarts {
            let labels = [("actor", &**actor), ("reason", *reason)];
            counter(&mut family.encode_family(&labels)?, *count)?;
        }
        let help = "Records that the log had no room for.";
        let mut family =
            to.encode_descriptor("log_records_dropped", help, None, MetricType::Counter)?;
        for (kind, count) in [("timing", self.0.timing_dropped), ("other", self.0.records_dropped)]
        {
            counter(&mut family.encode_family(&[("kind", kind)])?, count)?;
        }
        let help = "Dead letters that are written, by the route that made or refused them.";
        let mut family = to.encode_descriptor("dead_letters", help, None, MetricType::Counter)?;
        for ((route, reason), count) in &self.0.dead_letters {
            let labels = [("route", &**route), ("reason", *reason)];
            counter(&mut family.encode_family(&labels)?, *count)?;
        }
        Ok(())
    }

    fn state(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let state = &self.0.state;
        let has = |reasons: &[Reason], code| reasons.iter().any(|it| it.reason == code);
        let ready = u64::from(state.not_ready.is_empty());
        let help = "1 if /readyz answers 200.";
        gauge(&mut to.encode_descriptor("ready", help, None, MetricType::Gauge)?, ready)?;
        let help = "1 for each reason that /readyz gives.";
        let mut family = to.encode_descriptor("not_ready", help, None, MetricType::Gauge)?;
        for code in CODES {
            let given = u64::from(has(&state.not_ready, code));
            gauge(&mut family.encode_family(&[("reason", code)])?, given)?;
        }
        let help = "1 for each warning that /readyz gives.";
        let mut family = to.encode_descriptor("warning", help, None, MetricType::Gauge)?;
        for code in WARNINGS {
            let given = u64::from(has(&state.warnings, code));
            gauge(&mut family.encode_family(&[("reason", code)])?, given)?;
        }
        let help = "How often the configuration was read again, by what became of it.";
        let mut family = to.encode_descriptor("reloads", help, None, MetricType::Counter)?;
        for outcome in ReloadOutcome::ALL {
            let count = self.0.reloads.get(&outcome).copied().unwrap_or_default();
            counter(&mut family.encode_family(&[("outcome", outcome.name())])?, count)?;
        }
        let help = "1 for a Kafka topic whose messages wait until a person removes the cause.";
        let mut family = to.encode_descriptor("held", help, None, MetricType::Gauge)?;
        for (kafka_topic, held) in &self.0.held() {
            let labels = [("kafka_topic", kafka_topic.as_str())];
            gauge(&mut family.encode_family(&labels)?, u64::from(*held))?;
        }
        let help = "The version of the program.";
        to.encode_descriptor("build", help, None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let help = "Time since the start.";
        to.encode_descriptor("uptime", help, Some(&Unit::Seconds), MetricType::Gauge)?
            .encode_gauge(&self.0.uptime.as_secs_f64())
    }

    fn notes(&self, to: &mut DescriptorEncoder<'_>) -> Result {
        let notes = self.0.notes();
        let help = "Messages that a route dropped, by the key of the route that says so.";
        let mut family = to.encode_descriptor("route_dropped", help, None, MetricType::Counter)?;
        for ((route, note), count) in &notes {
            if let Note::Dropped(reason) = note {
                let labels = [("route", &**route), ("reason", reason.name())];
                counter(&mut family.encode_family(&labels)?, *count)?;
            }
        }
        let help = "Messages of which a route noted something; most were forwarded.";
        let mut family = to.encode_descriptor("route_notes", help, None, MetricType::Counter)?;
        for ((route, note), count) in &notes {
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
        for (route, seconds) in &self.0.clocks_ahead_s() {
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
        for connection in self.each() {
            let Stages { device, routed, produced, delivered, acknowledged, .. } =
                &connection.more.stages;
            for (stage, routes) in [
                (Hop::Device, device),
                (Hop::Routed, routed),
                (Hop::Produced, produced),
                (Hop::Delivered, delivered),
                (Hop::Acknowledged, acknowledged),
            ] {
                // A route that is not from this connection has none here.
                for (route, histogram) in routes {
                    let Some(RouteName { name, mqtt_filter }) = self.0.routes.get(route) else {
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
        self.kafka(&mut to)?;
        self.certificates(&mut to)?;
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
    use crate::observe::status_fixture::observer_of;

    /// Of the configuration, with what has to be escaped.
    const NAME: &str = "a/\"b\\/#";

    fn text(format: Format) -> String {
        write(observer_of(NAME).status(), format).expect("a String takes everything")
    }

    #[test]
    fn every_family_is_in_the_text_with_its_labels_escaped() {
        let text = text(Format::OpenMetrics);
        for line in [
            r#"received_total{connection="mqtt"} 21"#,
            r#"delivered_total{connection="mqtt"} 5"#,
            r#"in_flight{connection="mqtt"} 7"#,
            r#"records_delivered_total{connection="mqtt"} 10"#,
            r#"received_bytes_total{connection="mqtt"} 1900"#,
            r#"delivered_bytes_total{route="a/\"b\\/#",connection="mqtt"} 500"#,
            r#"window_messages{connection="mqtt"} 8"#,
            r#"window_messages_max{connection="mqtt"} 100"#,
            r#"window_bytes{connection="mqtt"} 800"#,
            r#"window_bytes_max{connection="mqtt"} 1048576"#,
            r#"mqtt_reconnects_total{connection="mqtt",reason="keep_alive"} 1"#,
            r#"mqtt_connected{connection="mqtt"} 1"#,
            r#"kafka_queue_messages 3"#,
            r#"kafka_queue_bytes 300"#,
            r#"kafka_broker_connected{broker="1"} 1"#,
            r#"kafka_round_trip_seconds{broker="1",statistic="average"} 0.001"#,
            r#"kafka_round_trip_seconds{broker="1",statistic="p99"} 0.002"#,
            r#"kafka_throttle_seconds{broker="1"} 0.007"#,
            r#"restarts_total{actor="kafka",reason="panic"} 1"#,
            r#"dead_letters_total{route="a/\"b\\/#",reason="value_missing"} 1"#,
            r#"dead_letters_total{route="",reason="no_route"} 1"#,
            r#"route_dropped_total{route="a/\"b\\/#",reason="keep_if"} 3"#,
            r#"route_notes_total{route="a/\"b\\/#",note="timestamp_fell_back"} 2"#,
            r#"log_records_dropped_total{kind="timing"} 0"#,
            "ready 0",
            r#"not_ready{reason="kafka_topic_held"} 1"#,
            r#"not_ready{reason="kafka_unreachable"} 0"#,
            r#"warning{reason="certificate_expires"} 1"#,
            r#"warning{reason="reload_failed"} 0"#,
            r#"reloads_total{outcome="refused"} 0"#,
            r#"reloads_total{outcome="applied"} 1"#,
            r#"held{kafka_topic="held"} 1"#,
            r#"device_clock_ahead_seconds{route="a/\"b\\/#"} 0.25"#,
            r#"stage_seconds_bucket{le="0.00025",stage="produced",route="a/\"b\\/#",mqtt_filter="a/\"b\\/#",connection="mqtt"} 5"#,
            r#"stage_seconds_bucket{le="+Inf",stage="produced",route="a/\"b\\/#",mqtt_filter="a/\"b\\/#",connection="mqtt"} 5"#,
            r#"stage_seconds_sum{stage="routed",route="a/\"b\\/#",mqtt_filter="a/\"b\\/#",connection="mqtt"} 0.000045"#,
        ] {
            assert!(text.contains(&format!("\n{PREFIX}_{line}\n")), "{line} is not in\n{text}");
        }
        for name in
            ["process_cpu_seconds_total ", "process_resident_memory_bytes ", "process_open_fds "]
        {
            assert!(text.contains(&format!("\n{name}")), "{name} is not in\n{text}");
        }
        assert!(
            text.contains("certificate_expires_seconds{of=\"http\",connection=\"\"} 25"),
            "{text}"
        );
        assert!(text.ends_with("\n# EOF\n"), "{text}");
        let other = r#"stage_seconds_count{stage="routed",route="gone""#;
        assert!(!text.contains(other), "nothing was routed by it: {text}");
    }

    /// What both formats say is the same, but for the comments.
    #[test]
    fn the_older_format_has_the_same_samples_and_a_type_for_each() {
        let [new, old] = [Format::OpenMetrics, Format::Classic].map(text);
        let names = |text: &str| {
            let samples = text.lines().filter(|line| !line.starts_with('#'));
            let name = |line: &str| line.rsplit_once(' ').expect("a value").0.to_owned();
            samples.map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&new), names(&old));
        let types: Vec<_> = old.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        for sample in names(&old) {
            let name = sample.split('{').next().expect("a name");
            let is_of = |line: &&&str| {
                line.split_once(' ').is_some_and(|(family, kind)| match kind {
                    "histogram" => name
                        .strip_prefix(family)
                        .is_some_and(|it| ["_bucket", "_sum", "_count"].contains(&it)),
                    "counter" | "gauge" => family == name,
                    other => panic!("{other}"),
                })
            };
            assert_eq!(types.iter().filter(is_of).count(), 1, "{sample}");
        }
        assert!(!old.contains("# EOF") && !old.contains("# UNIT"), "{old}");
    }

    #[test]
    fn every_family_is_documented_and_no_other_is() {
        let text = text(Format::OpenMetrics);
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/observability.md");
        let document = std::fs::read_to_string(path).expect("docs/observability.md");
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut known = Vec::new();
        for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
            let name = name.strip_prefix("mqtt_kafka_bridge_").unwrap_or(name);
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            known.push(format!("{name}{suffix}"));
        }
        let (_, section) = document.split_once("\n## Metrics\n").expect("a section");
        let (section, _) = section.split_once("\n## ").expect("another behind it");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let mut documented: Vec<_> = rows.map(|(name, _)| name.to_owned()).collect();
        known.sort();
        documented.sort();
        assert_eq!(known, documented);
    }
}
