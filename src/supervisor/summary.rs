//! The summary record, once a second.

use std::collections::BTreeMap;
use std::time::Instant;

use slog::{KV, Logger, Record, Serializer, info};

use crate::message::RouteId;
use crate::observe::{ConnectionMetrics, Conservation, Metrics, keys};
use crate::route::note::Note;

/// At most so many routes and reasons of drops are named in one record; `/metrics` has all.
const DROPS_MAX: usize = 20;

/// The last summary, from which the rates are computed.
#[derive(Debug)]
pub(super) struct Summary {
    at: Instant,
    counted: Conservation,
    /// By connection, where there are several.
    connections: Vec<Conservation>,
    /// What routes had noted.
    notes: BTreeMap<(RouteId, Note), u64>,
}

impl Summary {
    pub(super) fn new(now: Instant, metrics: &Metrics) -> Self {
        let connections = several(metrics).iter().map(ConnectionMetrics::conservation).collect();
        Self { at: now, counted: metrics.conservation(), connections, notes: metrics.notes() }
    }

    /// Logs what happened since the last call: of each connection that counted something, where there are
    /// several, and of all of them.
    pub(super) fn log(&mut self, now: Instant, metrics: &Metrics, log: &Logger) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let mut sum = metrics.conservation();
        if !self.connections.is_empty() {
            // Of the same snapshots as the records of the connections.
            sum = Conservation::default();
            for (before, connection) in self.connections.iter_mut().zip(several(metrics)) {
                let counted = connection.conservation();
                sum = sum + counted;
                // There may be many, and most of them may be idle.
                if counted != *before {
                    let reconnects = connection.reconnects().values().sum::<u64>();
                    info!(log, "summary"; Counted { before, counted: &counted, seconds },
                        keys::RECONNECTS => reconnects,
                        keys::CONNECTION => &**connection.name());
                }
                *before = counted;
            }
        }
        let latencies = metrics.take_latencies();
        let held: Vec<_> = metrics.holds().iter().map(|hold| hold.place.to_string()).collect();
        let notes = metrics.notes();
        let dropped = drops(&self.notes, &notes, metrics);
        info!(log, "summary";
            Counted { before: &self.counted, counted: &sum, seconds },
            keys::P50_US => latencies.value_at_quantile(0.50),
            keys::P99_US => latencies.value_at_quantile(0.99),
            keys::MAX_US => latencies.max(),
            keys::RESTARTS => metrics.restarts_total(),
            keys::RECONNECTS => metrics.reconnects_total(),
            keys::DROPPED => dropped,
            keys::HELD => held.join(","));
        self.at = now;
        self.counted = sum;
        self.notes = notes;
    }
}

/// Of each route that dropped messages since `before`: how many it has dropped until now, by reason. There may be
/// many, and most of them may be idle.
fn drops(
    before: &BTreeMap<(RouteId, Note), u64>,
    now: &BTreeMap<(RouteId, Note), u64>,
    metrics: &Metrics,
) -> String {
    let grown = now.iter().filter(|(what, count)| before.get(what) != Some(count));
    let mut dropped = grown.filter_map(|((route, note), count)| match note {
        Note::Dropped(reason) => {
            let name = metrics.route_names().name(*route);
            Some(format!("{name} {}={count}", reason.name()))
        }
        _ => None,
    });
    let mut told: Vec<_> = dropped.by_ref().take(DROPS_MAX).collect();
    let more = dropped.count();
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join(", ")
}

/// The connections, if there are several.
fn several(metrics: &Metrics) -> &[ConnectionMetrics] {
    match metrics.connections() {
        [_] => &[],
        several => several,
    }
}

/// What was counted until now, and how fast it grew since `before`.
struct Counted<'a> {
    before: &'a Conservation,
    counted: &'a Conservation,
    seconds: f64,
}

impl KV for Counted<'_> {
    fn serialize(&self, _: &Record<'_>, to: &mut dyn Serializer) -> slog::Result {
        let Self { before, counted, seconds } = self;
        let settled = |counted: &Conservation| counted.delivered + counted.dead_lettered;
        // slog wants the last field first.
        to.emit_u64(keys::RATE_OUT, per_second(settled(before), settled(counted), *seconds))?;
        to.emit_u64(keys::RATE_IN, per_second(before.received, counted.received, *seconds))?;
        to.emit_u64(keys::IN_FLIGHT, counted.in_flight)?;
        to.emit_u64(keys::SHED, counted.shed)?;
        to.emit_u64(keys::FILTERED, counted.filtered)?;
        to.emit_u64(keys::DEAD_LETTERED, counted.dead_lettered)?;
        to.emit_u64(keys::DELIVERED, counted.delivered)?;
        to.emit_u64(keys::COPIES, counted.copies)?;
        to.emit_u64(keys::REDELIVERED, counted.redelivered)?;
        to.emit_u64(keys::RECEIVED, counted.received)
    }
}

/// The rate at which a counter grew, rounded.
fn per_second(before: u64, after: u64, seconds: f64) -> u64 {
    if seconds <= 0.0 {
        return 0;
    }
    // The conversions lose less than a rate shows.
    (after.saturating_sub(before) as f64 / seconds).round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::Stamp;
    use crate::observe::test_support::{json_lines, json_log};
    use crate::observe::{Delivered, HeldPlace, Hold};
    use crate::stage::SourceId;

    #[test]
    fn the_summary_says_what_was_counted_and_how_fast() {
        let (logging, lines) = json_log();
        let metrics = Metrics::default();
        let start = Instant::now();
        let mut summary = Summary::new(start, &metrics);
        metrics.connection(SourceId(0)).set_conservation(Conservation {
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
                source: SourceId(0),
                route: crate::message::RouteId(0),
                received_at,
                produced_at,
                delivered_at,
                count: 1,
            };
            metrics.record_delivered(&[run]);
        }
        metrics.count_restart("mqtt", "panic", "");
        metrics.connection(SourceId(0)).count_reconnect("refused");
        let hold = |place| Hold { place, reason: "acl".into() };
        let kafka_topic = HeldPlace::KafkaTopic("a".into());
        metrics.set_holds(vec![hold(kafka_topic), hold(HeldPlace::DeadLetter)]);
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
        assert_eq!(records[0]["held"], "a,dead letter");
        assert_eq!((&records[1]["rate_in_per_s"], &records[1]["max_us"]), (&0.into(), &0.into()));
    }

    #[test]
    fn the_summary_names_the_routes_that_dropped_since_the_one_before_and_few_of_many() {
        use crate::message::RouteName;
        use crate::route::note::DropReason;

        let metrics = Metrics::default();
        let names = (0..30).map(|number| format!("r{number}").into());
        let routes =
            names.map(|name: std::sync::Arc<str>| RouteName { mqtt_filter: name.clone(), name });
        metrics.route_names().learn(routes, []);
        let mut before = metrics.notes();
        let mut told = |counts: &[(usize, Note, u64)]| {
            let new = counts.iter().map(|(route, note, count)| ((RouteId(*route), *note), *count));
            metrics.count_notes(new.collect());
            let now = metrics.notes();
            let told = drops(&before, &now, &metrics);
            before = now;
            told
        };
        let (sample, keep_if) =
            (Note::Dropped(DropReason::Sample), Note::Dropped(DropReason::KeepIf));
        assert_eq!(told(&[(1, Note::TimestampFellBack, 5)]), "");
        assert_eq!(told(&[(0, sample, 9), (1, keep_if, 2)]), "r0 sample=9, r1 keep_if=2");
        assert_eq!(told(&[(0, sample, 9)]), "r0 sample=18");
        assert_eq!(told(&[]), "");
        let all: Vec<_> = (0..30).map(|route| (route, keep_if, 1)).collect();
        let told = told(&all);
        assert!(told.ends_with("r19 keep_if=1, and 10 more"), "{told}");
    }

    #[test]
    fn several_connections_have_a_summary_each_and_one_of_their_sum() {
        let (logging, lines) = json_log();
        let metrics = Metrics::new(["east".into(), "west".into()]);
        let start = Instant::now();
        let mut summary = Summary::new(start, &metrics);
        for (source, received) in [(SourceId(0), 10), (SourceId(1), 32)] {
            let counted = Conservation { received, delivered: received, ..Default::default() };
            metrics.connection(source).set_conservation(counted);
        }
        summary.log(start + Duration::from_secs(2), &metrics, &logging.logger());
        let more = Conservation { received: 33, delivered: 33, ..Default::default() };
        metrics.connection(SourceId(1)).set_conservation(more);
        summary.log(start + Duration::from_secs(3), &metrics, &logging.logger());
        logging.flush();
        let records = json_lines(&lines);
        let told = |record: &serde_json::Value| {
            let [received, rate] = ["received", "rate_out_per_s"].map(|key| record[key].as_u64());
            (record["connection"].as_str().map(str::to_owned), received, rate)
        };
        let told: Vec<_> = records.iter().map(told).collect();
        let east = (Some("east".to_owned()), Some(10), Some(5));
        let west = (Some("west".to_owned()), Some(32), Some(16));
        let later = [(Some("west".to_owned()), Some(33), Some(1)), (None, Some(43), Some(1))];
        let first = [east, west, (None, Some(42), Some(21))];
        assert_eq!(told, [&first[..], &later].concat(), "east was idle in the last second");
    }
}
