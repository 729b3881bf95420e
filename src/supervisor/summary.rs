//! The summary record, once a second.

use std::time::Instant;

use slog::{Logger, info};

use crate::observe::{Conservation, Metrics, keys};

/// Remembers the last summary, for the rates.
#[derive(Debug)]
pub(super) struct Summary {
    at: Instant,
    counted: Conservation,
}

impl Summary {
    pub(super) fn new(now: Instant, metrics: &Metrics) -> Self {
        Self { at: now, counted: metrics.conservation() }
    }

    /// Logs what happened since the last call.
    pub(super) fn log(&mut self, now: Instant, metrics: &Metrics, log: &Logger) {
        let counted = metrics.conservation();
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let settled = |counted: &Conservation| counted.delivered + counted.dead_lettered;
        let latencies = metrics.take_latencies();
        let holds = metrics.holds();
        let held: Vec<&str> = holds.iter().map(|hold| hold.kafka_topic.as_str()).collect();
        info!(log, "summary";
            keys::RECEIVED => counted.received,
            keys::REDELIVERED => counted.redelivered,
            keys::COPIES => counted.copies,
            keys::DELIVERED => counted.delivered,
            keys::DEAD_LETTERED => counted.dead_lettered,
            keys::FILTERED => counted.filtered,
            keys::SHED => counted.shed,
            keys::IN_FLIGHT => counted.in_flight,
            keys::RATE_IN => per_second(self.counted.received, counted.received, seconds),
            keys::RATE_OUT => per_second(settled(&self.counted), settled(&counted), seconds),
            keys::P50_US => latencies.value_at_quantile(0.50),
            keys::P99_US => latencies.value_at_quantile(0.99),
            keys::MAX_US => latencies.max(),
            keys::RESTARTS => metrics.restarts_total(),
            keys::RECONNECTS => metrics.reconnects().values().sum::<u64>(),
            keys::HELD => held.join(","));
        self.at = now;
        self.counted = counted;
    }
}

/// The rate at which a counter grew, rounded.
fn per_second(before: u64, after: u64, seconds: f64) -> u64 {
    if seconds <= 0.0 {
        return 0;
    }
    // Both conversions lose nothing that a rate could show.
    (after.saturating_sub(before) as f64 / seconds).round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::Stamp;
    use crate::observe::test_support::{json_lines, json_log};
    use crate::observe::{Delivered, Hold};

    #[test]
    fn the_summary_says_what_was_counted_and_how_fast() {
        let (logging, lines) = json_log();
        let metrics = Metrics::default();
        let start = Instant::now();
        let mut summary = Summary::new(start, &metrics);
        metrics.set_conservation(Conservation {
            received: 400,
            redelivered: 3,
            copies: 9,
            delivered: 290,
            dead_lettered: 10,
            filtered: 5,
            shed: 15,
            in_flight: 80,
        });
        let received_at = Stamp { wall_us: 0, instant: start };
        for us in 1..=100 {
            let at = Stamp { instant: start + Duration::from_micros(us), ..received_at };
            let (produced_at, delivered_at) = (received_at, at);
            let run = Delivered {
                route: crate::message::RouteId(0),
                received_at,
                produced_at,
                delivered_at,
                count: 1,
            };
            metrics.record_delivered(&[run]);
        }
        metrics.count_restart("mqtt", "panic");
        metrics.count_reconnect("refused");
        let hold =
            |kafka_topic: &str| Hold { kafka_topic: kafka_topic.into(), reason: "acl".into() };
        metrics.set_holds(vec![hold("a"), hold("b")]);
        summary.log(start + Duration::from_secs(2), &metrics, &logging.logger());
        summary.log(start + Duration::from_secs(3), &metrics, &logging.logger());
        logging.flush();
        let records = json_lines(&lines);
        for (key, value) in [
            ("received", 400),
            ("redelivered", 3),
            ("copies", 9),
            ("delivered", 290),
            ("dead_lettered", 10),
            ("filtered", 5),
            ("shed", 15),
            ("in_flight", 80),
            ("rate_in_per_s", 200),
            ("rate_out_per_s", 150),
            ("p50_us", 50),
            ("p99_us", 99),
            ("max_us", 100),
            ("restarts", 1),
            ("reconnects", 1),
        ] {
            assert_eq!(records[0][key], value, "{key}");
        }
        assert_eq!(records[0]["held"], "a,b");
        assert_eq!((&records[1]["rate_in_per_s"], &records[1]["max_us"]), (&0.into(), &0.into()));
    }
}
