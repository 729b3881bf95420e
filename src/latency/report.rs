//! What is told of logs or of a running bridge: one form for people and programs. Pure.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::hop::{Hop, Makeup, Makeups, Part};
use super::moment;
use super::source::name;
use super::spread::Percentiles;
use super::tally::{Hops, NoAcks, Slow, Tally};
use super::verdict;

/// The version of the JSON object; it changes when a field changes its meaning or goes.
pub(super) const VERSION: u32 = 1;
/// What stands for the routes that come behind the first so many.
pub(super) const OTHERS: &str = "(further routes)";

/// Of logs.
#[derive(Debug, Serialize)]
pub(super) struct LogReport {
    version: u32,
    program: &'static str,
    /// The files.
    pub(super) files: Vec<String>,
    /// The receipt of the first and of the last record; `null` if there is none.
    pub(super) received: Option<Period>,
    /// What follows, in words.
    pub(super) verdict: Vec<String>,
    /// All records, by hop.
    pub(super) hops: Vec<HopRow>,
    /// By connection, route and hop.
    pub(super) routes: Vec<RouteRow>,
    /// What the time from receipt to delivery is made up of, on average.
    pub(super) makeup: Vec<MakeupRow>,
    /// The slowest first.
    pub(super) slowest: Vec<SlowRow>,
    /// Records without a PUBACK.
    pub(super) no_ack: NoAcks,
    /// Lines.
    pub(super) lines: LineCounts,
}

/// From the first to the last.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Period {
    pub(super) from: String,
    pub(super) to: String,
    #[serde(skip)]
    pub(super) us: u64,
}

/// A hop of all records.
#[derive(Debug, Clone, Serialize)]
pub(super) struct HopRow {
    pub(super) hop: &'static str,
    #[serde(skip)]
    pub(super) words: &'static str,
    #[serde(flatten)]
    pub(super) percentiles: Percentiles,
}

/// A hop of one route on one connection; the form of `/status.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RouteRow {
    pub(super) connection: String,
    pub(super) route: String,
    pub(super) hop: String,
    #[serde(flatten)]
    pub(super) percentiles: Percentiles,
}

/// What some of the records spent their time on, on average.
#[derive(Debug, Clone, Serialize)]
pub(super) struct MakeupRow {
    /// Which, in words.
    pub(super) of: &'static str,
    pub(super) count: u64,
    /// In microseconds.
    pub(super) routing_us: f64,
    pub(super) waiting_us: f64,
    pub(super) kafka_us: f64,
    /// From there to the PUBACK, where there is one.
    pub(super) puback_us: f64,
}

/// A slow record, of a log or of `/status.json`, which says more of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SlowRow {
    pub(super) total_us: u64,
    pub(super) received_at: String,
    pub(super) routed_us: Option<u64>,
    pub(super) queue_us: u64,
    pub(super) kafka_us: u64,
    pub(super) ack_us: Option<u64>,
    /// Why it has no `ack_us`.
    pub(super) ack_reason: Option<String>,
    pub(super) device_us: Option<i64>,
    pub(super) connection: String,
    pub(super) route: String,
    pub(super) mqtt_topic: String,
}

/// How many lines were what.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LineCounts {
    /// Timing records that were looked at.
    pub(super) timing: u64,
    /// Timing records that were not chosen.
    pub(super) left_out: u64,
    /// Other lines of the log.
    pub(super) other: u64,
    /// Ends of files that are no whole line.
    pub(super) unfinished: u64,
    /// Lines that cannot be read.
    pub(super) damaged: u64,
    /// Which of them came first, and what was wrong.
    pub(super) first_damaged: Option<String>,
}

/// The rows of hops that have any record.
fn rows(hops: &Hops) -> impl Iterator<Item = (Hop, Percentiles)> {
    let of = |hop: Hop| Some((hop, hops[hop as usize].as_ref()?.percentiles()?));
    Hop::ALL.into_iter().filter_map(of)
}

/// The parts of the records up to the 90th percentile, and of those behind it.
pub(super) fn bands(makeups: &Makeups, total: &Percentiles) -> Vec<(&'static str, Makeup)> {
    let mut bands = vec![("all records", makeups.between(0, None))];
    for (of, from_us, needs) in [
        ("the slowest 10 %", total.p90_us, 10),
        ("the slowest 1 %", total.p99_us, 100),
        ("the slowest 0.1 %", total.p999_us, 1000),
    ] {
        if total.count >= needs {
            bands.push((of, makeups.between(from_us, None)));
        }
    }
    bands
}

impl LogReport {
    pub(super) fn new(paths: &[PathBuf], tally: &Tally<'_>) -> Self {
        let files: Vec<_> = paths.iter().map(|path| name(path)).collect();
        let total = tally.hops[Hop::Total as usize].as_ref().and_then(|it| it.percentiles());
        let bands = total.map(|total| bands(&tally.makeups, &total)).unwrap_or_default();
        let makeup = bands.into_iter().map(|(of, makeup)| MakeupRow {
            of,
            count: makeup.count,
            routing_us: round(makeup.mean_us(Part::Routing)),
            waiting_us: round(makeup.mean_us(Part::Waiting)),
            kafka_us: round(makeup.mean_us(Part::Kafka)),
            puback_us: round(makeup.mean_us(Part::Puback)),
        });
        let lines = &tally.lines;
        let first_damaged = lines.first_damage.as_ref().map(|(file, number, damage)| {
            let file = files.get(*file).map_or("?", |file| file);
            format!("{file}:{number}: at byte {} {damage}", damage.column)
        });
        Self {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION"),
            received: tally.received_us.map(|(from, to)| Period {
                from: moment::shown(from),
                to: moment::shown(to),
                us: to.abs_diff(from),
            }),
            verdict: verdict::of(tally),
            hops: rows(&tally.hops)
                .map(|(hop, percentiles)| HopRow {
                    hop: hop.name(),
                    words: hop.words(),
                    percentiles,
                })
                .collect(),
            routes: routes(tally),
            makeup: makeup.collect(),
            slowest: tally.slowest.iter().map(SlowRow::new).collect(),
            no_ack: tally.no_ack,
            lines: LineCounts {
                timing: lines.chosen,
                left_out: lines.left_out,
                other: lines.other,
                unfinished: lines.unfinished,
                damaged: lines.damaged,
                first_damaged,
            },
            files,
        }
    }
}

/// By name; those that come behind the bound last.
fn routes(tally: &Tally<'_>) -> Vec<RouteRow> {
    let mut series: Vec<_> = tally.series.iter().collect();
    series.sort_by_key(|it| (&it.route, &it.connection));
    let of = |connection: &str, route: &str, hops: &Hops| {
        let row = |(hop, percentiles): (Hop, _)| RouteRow {
            connection: connection.to_owned(),
            route: route.to_owned(),
            hop: hop.name().to_owned(),
            percentiles,
        };
        rows(hops).map(row).collect::<Vec<_>>()
    };
    let named = series.into_iter().flat_map(|it| of(&it.connection, &it.route, &it.hops));
    named.chain(of("", OTHERS, &tally.others)).collect()
}

impl SlowRow {
    fn new(slow: &Slow) -> Self {
        Self {
            total_us: slow.total_us,
            received_at: moment::shown(slow.received_us),
            routed_us: slow.routed_us,
            queue_us: slow.queue_us,
            kafka_us: slow.kafka_us,
            ack_us: slow.ack_us,
            ack_reason: Some(slow.ack_reason.clone()).filter(|reason| !reason.is_empty()),
            device_us: slow.device_us,
            connection: slow.connection.clone(),
            route: slow.route.clone(),
            mqtt_topic: slow.mqtt_topic.clone(),
        }
    }
}

/// To a tenth.
fn round(us: f64) -> f64 {
    (us * 10.0).round() / 10.0
}
