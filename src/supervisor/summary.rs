//! The summary record: often enough while something happens, once a minute at rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use slog::{KV, Logger, Record, Serializer, info};

use crate::message::RouteId;
use crate::observe::{ConnectionMetrics, Conservation, Metrics, events, keys, status};
use crate::route::note::Note;

/// At most so many routes and reasons of drops are named in one record; `/metrics` has all.
const DROPS_MAX: usize = 20;

/// How often it is written while nothing happens, so that a log that stands still is told from a bridge at rest.
const AT_REST: Duration = Duration::from_secs(60);

/// When it is written, and what the last one said.
#[derive(Debug)]
pub(super) struct Summary {
    /// `log.summary`
    every: Duration,
    at: Instant,
    said: Said,
    /// By connection, where there are several.
    connections: Vec<Conservation>,
    /// The last one said other things than the one before, so that its rates may not be those of now.
    has_moved: bool,
}

/// What one record says, but for what is measured since the one before.
#[derive(Debug, PartialEq)]
struct Said {
    counted: Conservation,
    restarts: u64,
    reconnects: u64,
    held: String,
    /// What routes had noted.
    notes: BTreeMap<(RouteId, Note), u64>,
}

impl Said {
    /// And what each of several connections has counted, from the same snapshots as the sum.
    fn now(metrics: &Metrics) -> (Self, Vec<Conservation>) {
        let seen = status::Counted::of(metrics);
        let held: Vec<_> = seen.holds.iter().map(|hold| hold.place.to_string()).collect();
        let reconnects = seen.connections.iter().flat_map(|it| it.reconnects.values());
        let said = Self {
            counted: seen.sum(),
            restarts: seen.restarts.values().sum(),
            reconnects: reconnects.sum(),
            held: held.join(","),
            notes: seen.notes,
        };
        let connections = match &*seen.connections {
            [_] => Vec::new(),
            several => several.iter().map(|it| it.counted).collect(),
        };
        (said, connections)
    }
}

/// Whether the record is due, `since` the last one; `tick` is how often this is asked. `is_news`: it would say
/// something other than the last one.
fn is_due(since: Duration, every: Duration, is_news: bool, tick: Duration) -> bool {
    let pause = if is_news { every } else { every.max(AT_REST) };
    // The nearest tick.
    since + tick / 2 >= pause
}

impl Summary {
    pub(super) fn new(every: Duration, now: Instant, metrics: &Metrics) -> Self {
        let (said, connections) = Said::now(metrics);
        // There is no record yet: the first one is news.
        Self { every, at: now, said, connections, has_moved: true }
    }

    /// Writes the record if it is due. To be called each `tick`.
    pub(super) fn look(&mut self, now: Instant, tick: Duration, metrics: &Metrics, log: &Logger) {
        let (said, connections) = Said::now(metrics);
        let is_news = self.has_moved || said != self.said;
        if is_due(now.saturating_duration_since(self.at), self.every, is_news, tick) {
            self.say(now, said, connections, metrics, log);
        }
    }

    /// Writes the record.
    pub(super) fn log(&mut self, now: Instant, metrics: &Metrics, log: &Logger) {
        let (said, connections) = Said::now(metrics);
        self.say(now, said, connections, metrics, log);
    }

    /// What happened since the last record: of each connection that counted something, where there are several,
    /// and of all of them.
    fn say(
        &mut self,
        now: Instant,
        said: Said,
        connections: Vec<Conservation>,
        metrics: &Metrics,
        log: &Logger,
    ) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        let changes = self.connections.iter().zip(&connections).zip(several(metrics));
        // There may be many, and most of them may be idle.
        for ((before, counted), connection) in changes.filter(|((before, now), _)| before != now) {
            let reconnects = connection.reconnects().values().sum::<u64>();
            info!(log, "summary"; events::SUMMARY, Counted { before, counted, seconds },
                keys::RECONNECTS => reconnects,
                keys::CONNECTION => &**connection.name());
        }
        let latencies = metrics.take_latencies();
        info!(log, "summary"; events::SUMMARY,
            Counted { before: &self.said.counted, counted: &said.counted, seconds },
            keys::P50_US => latencies.value_at_quantile(0.50),
            keys::P99_US => latencies.value_at_quantile(0.99),
            keys::MAX_US => latencies.max(),
            keys::RESTARTS => said.restarts,
            keys::RECONNECTS => said.reconnects,
            keys::DROPPED => drops(&self.said.notes, &said.notes, metrics),
            keys::HELD => &said.held);
        self.has_moved = said != self.said;
        (self.at, self.said, self.connections) = (now, said, connections);
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
        let mut summary = Summary::new(Duration::from_secs(10), start, &metrics);
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
                bytes: 0,
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

    const TICK: Duration = Duration::from_secs(1);

    /// At which seconds a record is written, looked at each second for so many; `change` says what happens before
    /// each look. Ticks are a bit too early and too late.
    fn written_at(every: u64, seconds: u64, mut change: impl FnMut(u64, &Metrics)) -> Vec<u64> {
        let (logging, lines) = json_log();
        let (metrics, start) = (Metrics::default(), Instant::now());
        let mut summary = Summary::new(Duration::from_secs(every), start, &metrics);
        let mut written = Vec::new();
        for second in 1..=seconds {
            change(second, &metrics);
            let early = Duration::from_millis(second * 7 % 40);
            let now = start + Duration::from_secs(second) - early;
            let before = lines.text().len();
            summary.look(now, TICK, &metrics, &logging.logger());
            logging.flush();
            if lines.text().len() > before {
                written.push(second);
            }
        }
        written
    }

    fn receive(metrics: &Metrics, received: u64) {
        let counted = Conservation { received, delivered: received, ..Default::default() };
        metrics.connection(SourceId(0)).set_conservation(counted);
    }

    #[test]
    fn a_bridge_at_rest_says_so_once_a_minute() {
        assert_eq!(written_at(10, 200, |_, _| {}), [10, 70, 130, 190]);
        assert_eq!(written_at(300, 1000, |_, _| {}), [300, 600, 900], "not more often than asked");
    }

    #[test]
    fn a_bridge_that_works_says_so_in_each_interval() {
        let works = |second, metrics: &Metrics| receive(metrics, second);
        assert_eq!(written_at(10, 35, works), [10, 20, 30]);
        assert_eq!(written_at(1, 5, works), [1, 2, 3, 4, 5], "each tick, though some come early");
    }

    #[test]
    fn one_message_at_rest_is_told_at_once_and_then_that_it_rests_again() {
        let one = |second, metrics: &Metrics| {
            if second == 45 {
                receive(metrics, 1);
            }
        };
        assert_eq!(written_at(10, 150, one), [10, 45, 55, 115]);
    }

    #[test]
    fn what_is_held_restarts_and_drops_are_news_without_a_message() {
        let hold = Hold { place: HeldPlace::DeadLetter, reason: "full".into() };
        let told = |happens: &dyn Fn(&Metrics)| {
            written_at(10, 60, |second, metrics| {
                if second == 33 {
                    happens(metrics);
                }
            })
        };
        assert_eq!(told(&|metrics| metrics.set_holds(vec![hold.clone()])), [10, 33, 43]);
        assert_eq!(told(&|metrics| metrics.count_restart("mqtt", "panic", "")), [10, 33, 43]);
        let reconnects = |metrics: &Metrics| {
            metrics.connection(SourceId(0)).count_reconnect("refused");
        };
        assert_eq!(told(&reconnects), [10, 33, 43]);
        let fell_back = ((RouteId(0), Note::TimestampFellBack), 1);
        assert_eq!(told(&|metrics| metrics.count_notes([fell_back].into())), [10, 33, 43]);
    }

    #[test]
    fn the_latencies_of_a_record_are_all_since_the_one_before() {
        let (logging, lines) = json_log();
        let (metrics, start) = (Metrics::default(), Instant::now());
        let mut summary = Summary::new(Duration::from_secs(10), start, &metrics);
        for second in 1..=10 {
            let received_at = Stamp { wall_us: 0, instant: start };
            let at = Stamp { instant: start + Duration::from_micros(second * 100), ..received_at };
            metrics.record_delivered(&[Delivered {
                source: SourceId(0),
                route: RouteId(0),
                received_at,
                produced_at: received_at,
                delivered_at: at,
                count: 1,
                bytes: 0,
            }]);
            receive(&metrics, second);
            let now = start + Duration::from_secs(second);
            summary.look(now, TICK, &metrics, &logging.logger());
        }
        logging.flush();
        let records = json_lines(&lines);
        assert_eq!(records.len(), 1);
        // Two digits are kept.
        let us = |key: &str| records[0][key].as_u64().expect("a latency");
        assert!((500..=503).contains(&us("p50_us")), "{}", records[0]);
        assert!((1000..=1007).contains(&us("max_us")), "{}", records[0]);
        assert_eq!(records[0]["rate_in_per_s"], 1);
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
        let mut summary = Summary::new(Duration::from_secs(10), start, &metrics);
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
