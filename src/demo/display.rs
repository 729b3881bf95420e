//! The demo's output: aligned text for people, one JSON object at the end for programs.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::consumer::Sample;
use mqtt_kafka_bridge::observe::Conservation;
use mqtt_kafka_bridge::visible::Visible;

/// The column heads are repeated after this many lines.
const HEAD_INTERVAL: u64 = 20;

/// A shown value is cut after this many characters.
const VALUE_CHARS: usize = 160;

/// Writes lines. [`Display::is_closed`] tells whether the reader has closed the pipe.
pub(super) struct Display<W> {
    out: W,
    closed: bool,
    lines: u64,
}

/// One second of the bridge.
pub(super) struct Second<'a> {
    /// Time since the devices started.
    pub elapsed: Duration,
    /// Messages received per second.
    pub rate_in: f64,
    /// Messages delivered per second.
    pub rate_out: f64,
    /// The bridge's counts.
    pub conservation: Conservation,
    /// Latencies from receipt to delivery, in microseconds.
    pub latencies: &'a Histogram<u64>,
    /// Restarts of all actors.
    pub restarts: u64,
}

/// The summary. With `--json` the last line of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Report {
    /// Messages of the devices that the MQTT broker acknowledged.
    pub published: u64,
    /// This and the following as in [`Conservation`], counted by the bridge.
    pub received: u64,
    /// See [`Conservation`].
    pub redelivered: u64,
    /// See [`Conservation`].
    pub delivered: u64,
    /// See [`Conservation`].
    pub dead_lettered: u64,
    /// See [`Conservation`].
    pub filtered: u64,
    /// See [`Conservation`].
    pub shed: u64,
    /// See [`Conservation`].
    pub in_flight: u64,
    /// Published and not read back from Kafka.
    pub lost: u64,
    /// Records read back beyond the first of each message.
    pub duplicated: u64,
    /// Messages that first arrived after a later message of the same MQTT topic.
    pub reordered: u64,
    /// Actors that were restarted.
    pub restarts: u64,
}

impl Report {
    /// Whether the bridge kept its promises: all accounted for, nothing lost, nothing out of order.
    pub(super) fn is_good(&self) -> bool {
        self.balances() && self.in_flight == 0 && self.lost == 0 && self.reordered == 0
    }

    fn balances(&self) -> bool {
        Conservation {
            received: self.received,
            redelivered: self.redelivered,
            copies: 0,
            delivered: self.delivered,
            dead_lettered: self.dead_lettered,
            filtered: self.filtered,
            shed: self.shed,
            in_flight: self.in_flight,
        }
        .balances()
    }
}

impl<W: Write> Display<W> {
    /// Writes to `out`.
    pub(super) fn new(out: W) -> Self {
        Self { out, closed: false, lines: 0 }
    }

    /// Whether the reader has closed the pipe.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes one line.
    pub(super) fn say(&mut self, text: &str) {
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        self.closed |= written.is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    }

    /// Says where the brokers are and how to join in.
    pub(super) fn welcome(
        &mut self,
        devices: u32,
        mqtt: SocketAddr,
        kafka: &str,
        kafka_topic: &str,
    ) {
        let (host, port) = (mqtt.ip(), mqtt.port());
        self.say(&format!(
            "{devices} simulated devices -> MQTT broker -> the bridge -> Kafka, all in this process.

MQTT broker    {mqtt:<18} embedded; MQTT 5 and 3.1.1
Kafka broker   {kafka:<18} librdkafka's mock cluster; in memory, 5 MiB a partition

Join in from another terminal:
  mosquitto_pub -h {host} -p {port} -q 1 -t sensors/hello -m '{{\"hello\":\"kafka\"}}'
  mosquitto_sub -h {host} -p {port} -t 'sensors/#' -v
  kcat -b {kafka} -C -t {kafka_topic} -o end -f '%k  %s\\n'
"
        ));
    }

    /// Writes the line of one second.
    pub(super) fn second(&mut self, second: &Second<'_>) {
        if self.lines.is_multiple_of(HEAD_INTERVAL) {
            self.say(
                "    time    in/s   out/s  in flight   p50 ms   p99 ms  redelivered  restarts",
            );
        }
        self.lines += 1;
        let ms = |quantile| second.latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        let latency = |quantile| match second.latencies.len() {
            0 => "-".to_owned(),
            _ => format!("{:.1}", ms(quantile)),
        };
        let line = format!(
            "{:>7}s {:>7.0} {:>7.0} {:>10} {:>8} {:>8} {:>12} {:>9}",
            second.elapsed.as_secs(),
            second.rate_in,
            second.rate_out,
            second.conservation.in_flight,
            latency(0.5),
            latency(0.99),
            second.conservation.redelivered,
            second.restarts,
        );
        self.say(&line);
    }

    /// Writes a record as the demo's Kafka consumer read it.
    pub(super) fn record(&mut self, sample: &Sample, kafka_topic: &str) {
        let whose = if sample.foreign { "joined in:" } else { "record:" };
        let mut value: String = sample.value.chars().take(VALUE_CHARS).collect();
        if value.len() < sample.value.len() {
            value.push_str("...");
        }
        self.say(&format!(
            "  {whose} {kafka_topic}/{}@{}  {}  {}",
            sample.kafka_partition,
            sample.kafka_offset,
            Visible(&sample.key),
            Visible(&value),
        ));
    }

    /// Writes the summary.
    pub(super) fn summary(&mut self, report: &Report) {
        let balance = if report.balances() { "balances" } else { "DOES NOT BALANCE" };
        let verdict = |count: u64| if count == 0 { "" } else { "   <-- must be 0" };
        self.say(&format!(
            "
published     {:>10}   by the devices, acknowledged by the MQTT broker
received      {:>10}   = {} delivered + {} dead-lettered + {} filtered + {} shed + {} in flight: {balance}
redelivered   {:>10}   recognised, not forwarded again
restarts      {:>10}

As read back from Kafka:
lost          {:>10}{}
reordered     {:>10}{}
duplicated    {:>10}",
            report.published,
            report.received,
            report.delivered,
            report.dead_lettered,
            report.filtered,
            report.shed,
            report.in_flight,
            report.redelivered,
            report.restarts,
            report.lost,
            verdict(report.lost),
            report.reordered,
            verdict(report.reordered),
            report.duplicated,
        ));
    }

    /// Writes the summary as one line of JSON.
    pub(super) fn json(&mut self, report: &Report) {
        let text = serde_json::to_string(report).expect("a struct of numbers is always JSON");
        self.say(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Report {
        Report { published: 3, received: 3, delivered: 3, ..Report::default() }
    }

    #[test]
    fn only_a_balanced_report_without_loss_or_reordering_is_good() {
        assert!(good().is_good());
        assert!(Report { duplicated: 1, redelivered: 1, restarts: 1, ..good() }.is_good());
        assert!(!Report { delivered: 2, ..good() }.is_good());
        assert!(!Report { delivered: 2, in_flight: 1, ..good() }.is_good());
        assert!(!Report { lost: 1, ..good() }.is_good());
        assert!(!Report { reordered: 1, ..good() }.is_good());
    }

    #[test]
    fn the_last_line_is_one_json_object_with_the_documented_keys() {
        let mut out = Vec::new();
        let mut display = Display::new(&mut out);
        display.summary(&good());
        display.json(&good());
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("= 3 delivered + 0 dead-lettered + 0 filtered"), "{text}");
        assert!(text.contains("balances") && !text.contains("must be 0"), "{text}");
        let last = text.lines().last().expect("a line");
        let object: serde_json::Value = serde_json::from_str(last).expect("JSON");
        for key in [
            "published",
            "received",
            "redelivered",
            "delivered",
            "dead_lettered",
            "filtered",
            "shed",
            "in_flight",
            "lost",
            "duplicated",
            "reordered",
            "restarts",
        ] {
            assert!(object[key].is_u64(), "{key} in {last}");
        }
    }

    #[test]
    fn what_a_stranger_publishes_cannot_garble_the_terminal() {
        let mut out = Vec::new();
        let value = format!("\u{1b}[2J{}", "x".repeat(500));
        let sample =
            Sample { foreign: true, kafka_partition: 1, kafka_offset: 2, key: "k".into(), value };
        Display::new(&mut out).record(&sample, "t");
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("  joined in: t/1@2  k  \\u{1b}[2Jxxx"), "{text}");
        assert!(text.len() < 250 && text.ends_with("...\n"), "{text}");
    }
}
