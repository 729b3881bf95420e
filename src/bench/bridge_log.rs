//! The bridge's log of one run, read back: timing records, dropped records, the last summary.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use hdrhistogram::Histogram;
use mqtt_kafka_bridge::observe::events;
use serde_json::Value;

use super::error::BenchError;
use super::feed::histogram;

/// What the bridge logged in one run.
#[derive(Debug)]
pub(super) struct BridgeLog {
    /// Number of timing records.
    pub records: u64,
    /// Number of log records that the bridge dropped.
    pub dropped: u64,
    /// Microseconds from received to produced, for the measured messages.
    pub queue: Histogram<u64>,
    /// Microseconds from produced to delivered.
    pub kafka: Histogram<u64>,
    /// Microseconds from received to delivered.
    pub total: Histogram<u64>,
    /// The last summary record.
    pub summary: Value,
}

impl BridgeLog {
    /// Reads the log. The first `skipped` timing records are from before the measurement, the next
    /// `measured` belong to it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(log: &Path, skipped: u64, measured: u64) -> Result<Self, BenchError> {
        let mut found = Self {
            records: 0,
            dropped: 0,
            queue: histogram(),
            kafka: histogram(),
            total: histogram(),
            summary: Value::Null,
        };
        let mut log = BufReader::with_capacity(1 << 20, File::open(log)?);
        let mut line = Vec::new();
        while log.read_until(b'\n', &mut line)? > 0 {
            found.line(&line, skipped, measured);
            line.clear();
        }
        Ok(found)
    }

    fn line(&mut self, line: &[u8], skipped: u64, measured: u64) {
        let found = [
            ("queue_us", &mut self.queue),
            ("kafka_us", &mut self.kafka),
            ("total_us", &mut self.total),
        ];
        let values = found.map(|(key, histogram)| (number(line, key), histogram));
        if let [(Some(_), _), (Some(_), _), (Some(_), _)] = &values {
            self.records += 1;
            if self.records > skipped && self.records <= skipped + measured {
                for (value, histogram) in values {
                    histogram.saturating_record(value.unwrap_or_default());
                }
            }
            return;
        }
        let Ok(record) = serde_json::from_slice::<Value>(line) else { return };
        let event = record["event"].as_str().unwrap_or_default();
        let dropped = [events::TIMING_RECORDS_DROPPED.name(), events::LOG_RECORDS_DROPPED.name()];
        if dropped.contains(&event) {
            self.dropped += record["count"].as_u64().unwrap_or_default();
        } else if event == events::SUMMARY.name() && record["connection"].is_null() {
            // Where there are several connections, each has its own, and the sum comes besides.
            self.summary = record;
        }
    }

    /// A count in the last summary.
    pub(super) fn summary(&self, key: &str) -> u64 {
        self.summary[key].as_u64().unwrap_or_default()
    }
}

/// The number after `"key":`. Does not parse the whole line: there are millions of them.
fn number(line: &[u8], key: &str) -> Option<u64> {
    let wanted = key.as_bytes();
    let at = line.windows(wanted.len()).rposition(|window| window == wanted)? + wanted.len();
    let digits = line.get(at..)?.strip_prefix(b"\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use mqtt_kafka_bridge::config::{Config, LogConfig, TimingPolicy};
    use mqtt_kafka_bridge::message::Stamp;
    use mqtt_kafka_bridge::observe::{AckTime, Logging, Style, TimingRecord};

    #[test]
    fn what_the_bridge_writes_is_understood() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let config = LogConfig { timing: TimingPolicy::All, ..Config::for_test().log };
        let file = File::create(&path).expect("a file");
        let logging = Logging::to_sink(&config, Style::Json, file);
        let start = Stamp { wall_us: 1_767_323_045_000_000, instant: Instant::now() };
        let after = |ms| Stamp {
            wall_us: start.wall_us + ms * 1000,
            instant: start.instant + Duration::from_millis(ms),
        };
        for ms in 1..=10 {
            logging.timing().record(&TimingRecord {
                connection: None,
                mqtt_topic: b"total_us",
                mqtt_qos: 1,
                route: "r",
                kafka_topic: "bench",
                kafka_partition: 0,
                kafka_offset: 1,
                payload_bytes: 16,
                received_at: start,
                produced_at: after(ms),
                delivered_at: after(3 * ms),
                routed_us: 0,
                ack: AckTime::After(1),
                device_us: None,
            });
        }
        let log = logging.logger();
        slog::info!(log, "sum"; events::SUMMARY, "delivered" => 9);
        slog::info!(log, "sum"; events::SUMMARY, "delivered" => 10);
        slog::info!(log, "sum"; events::SUMMARY, "delivered" => 4, "connection" => "mqtt-0");
        slog::warn!(log, "lost"; events::TIMING_RECORDS_DROPPED, "count" => 3);
        slog::warn!(log, "lost"; events::LOG_RECORDS_DROPPED, "count" => 2);
        logging.flush();
        let told = BridgeLog::read(&path, 2, 7).expect("readable");
        assert_eq!((told.records, told.dropped, told.summary("delivered")), (10, 5, 10));
        assert_eq!((told.queue.len(), told.queue.min(), told.queue.max() / 1000), (7, 3000, 9));
        assert_eq!((told.kafka.min(), told.total.min()), (6000, 9000));
    }
}
