//! The panels that are tables. Pure.

use std::cmp::Reverse;
use std::collections::HashMap;

use ratatui::style::Style;
use ratatui::text::Line;

use super::history::History;
use super::look::quiet;
use super::numbers::{clock, count, in_words, micros, pairs, rate, size};
use super::screen::Sort;
use super::snapshot::{Advice, Latency, Route, Snapshot};
use super::table::{Row, Sheet, advice, below, number, table, text};
use super::verdict::{self, Level};

/// Nothing but the count is told of these.
fn sum(counts: &[(String, Option<u64>)]) -> u64 {
    counts.iter().filter_map(|(_, count)| *count).fold(0, u64::saturating_add)
}

/// What was wanted of the brokers for a route, and came out worst.
fn subscriptions(snapshot: &Snapshot) -> HashMap<(&str, &str), (&str, String)> {
    const WORST: [&str; 4] = ["refused", "downgraded", "pending", "granted"];
    let rank = |state: &str| WORST.iter().position(|it| *it == state).unwrap_or(WORST.len());
    let mut worst = HashMap::new();
    for connection in &snapshot.connections {
        for it in &connection.subscriptions {
            let key = (&*it.route, &*it.mqtt_filter);
            let is_worse = |(known, _): &(&str, String)| rank(&it.state) < rank(known);
            if worst.get(&key).is_none_or(is_worse) {
                let why = format!("connection {}: {}", connection.name, it.detail);
                worst.insert(key, (&*it.state, why));
            }
        }
    }
    worst
}

pub(super) fn routes(snapshot: &Snapshot, history: &History, sort: Sort, most: usize) -> Sheet {
    let worst = subscriptions(snapshot);
    let mut routes: Vec<_> = snapshot.routes.iter().map(|it| (it, history.of_route(it))).collect();
    match sort {
        Sort::Rate => routes
            .sort_by(|(_, one), (_, other)| other.unwrap_or(-1.0).total_cmp(&one.unwrap_or(-1.0))),
        Sort::Records => routes.sort_by_key(|(it, _)| Reverse(it.records)),
        Sort::Bytes => routes.sort_by_key(|(it, _)| Reverse(it.bytes)),
        Sort::Drops => routes.sort_by_key(|(it, _)| Reverse(sum(&it.dropped))),
        Sort::Name | Sort::P50 | Sort::P99 | Sort::Max => {
            routes.sort_by(|(one, _), (other, _)| {
                (&one.name, &one.mqtt_filter).cmp(&(&other.name, &other.mqtt_filter))
            });
        }
    }
    let columns = [
        text("route"),
        number("records"),
        number("rate"),
        number("bytes"),
        text("dropped"),
        text("MQTT filter"),
        text("subscription"),
        text("noted"),
    ];
    let row = |(it, of): &(&Route, Option<f64>)| {
        let state = worst.get(&(&*it.name, &*it.mqtt_filter));
        let said = match state {
            _ if it.is_gone => "no longer configured",
            Some((state, _)) => state,
            None => "of no connection",
        };
        let (level, below) = match state.filter(|_| !it.is_gone) {
            Some(("refused", why)) => {
                (Level::Bad, refused(why, "Check the broker's permissions.", most))
            }
            Some(("downgraded", why)) => {
                let what_to_do = "Check the broker's limits, or lower routes.qos.";
                (Level::Warn, refused(why, what_to_do, most))
            }
            Some(("granted", _)) => (Level::Good, Vec::new()),
            _ => (Level::Unknown, Vec::new()),
        };
        let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
        Row {
            level: Some(level),
            cells: vec![
                it.name.clone(),
                count(it.records),
                rate(*of, "records"),
                size(it.bytes),
                or_none(pairs(&it.dropped)),
                it.mqtt_filter.clone(),
                said.to_owned(),
                or_none(pairs(&it.notes)),
            ],
            below,
        }
    };
    table(&columns, routes.iter().map(row).collect(), most, "No routes.")
}

fn refused(why: &str, what_to_do: &str, most: usize) -> Vec<Line<'static>> {
    let mut lines = below(why, 4, most, quiet());
    lines.extend(advice(&verdict::advice(what_to_do, "docs/operations.md#not-ready"), 4, most));
    lines
}

/// In the order of the way, with what each is in short.
const HOPS: [(&str, &str); 5] = [
    ("device", "from device"),
    ("routed", "routed"),
    ("produced", "to librdkafka"),
    ("delivered", "Kafka's answer"),
    ("acknowledged", "to PUBACK"),
];

pub(super) fn latency(snapshot: &Snapshot, sort: Sort, most: usize) -> Sheet {
    let order = |it: &Latency| HOPS.iter().position(|(hop, _)| *hop == it.hop);
    let mut all: Vec<_> = snapshot.latencies.iter().collect();
    all.sort_by_key(|it| {
        (!is_sum(it), it.route.clone(), it.connection.clone(), order(it).unwrap_or(HOPS.len()))
    });
    // Sums stay first.
    let by = |all: &mut Vec<&Latency>, of: fn(&Latency) -> Option<u64>| {
        all.sort_by_key(|it| (!is_sum(it), Reverse(if is_sum(it) { None } else { of(it) })));
    };
    match sort {
        Sort::P50 => by(&mut all, |it| it.percentiles[0]),
        Sort::P99 => by(&mut all, |it| it.percentiles[2]),
        Sort::Max => by(&mut all, |it| it.percentiles[4]),
        Sort::Records => by(&mut all, |it| it.count),
        Sort::Name | Sort::Rate | Sort::Bytes | Sort::Drops => {}
    }
    let columns = [
        text("route"),
        text("hop"),
        number("p50"),
        number("p99"),
        number("max"),
        number("records"),
        number("p90"),
        number("p99.9"),
        text("connection"),
    ];
    let row = |it: &&Latency| {
        let [p50, p90, p99, p999, max] = it.percentiles.map(micros);
        let hop = HOPS.iter().find(|(hop, _)| *hop == it.hop);
        let hop = hop.map_or_else(|| in_words(&it.hop), |(_, words)| (*words).to_owned());
        let or_all = |name: &str, all: &str| if name.is_empty() { all } else { name }.to_owned();
        let route = or_all(&it.route, "all routes");
        let connection = or_all(&it.connection, "all connections");
        let cells = vec![route, hop, p50, p99, max, count(it.count), p90, p999, connection];
        Row { cells, ..Row::default() }
    };
    let none = "Nothing was delivered in the last minutes.";
    let mut sheet = table(&columns, all.iter().map(row).collect(), most, none);
    let over =
        "Over the last one to two minutes; docs/observability.md#hops says what each hop is.";
    sheet.head.splice(0..0, below(over, 0, most, quiet()));
    sheet
}

fn is_sum(it: &Latency) -> bool {
    it.route.is_empty() && it.connection.is_empty()
}

pub(super) fn slowest(snapshot: &Snapshot, most: usize) -> Sheet {
    let columns = [
        number("total"),
        number("to librdkafka"),
        number("Kafka"),
        text("MQTT topic"),
        text("to PUBACK"),
        text("route"),
        text("received"),
    ];
    let rows = snapshot.slowest.iter().map(|it| {
        let ack = match it.ack_us {
            None => in_words(&it.ack_reason),
            us => micros(us),
        };
        let received = clock(&it.received_at, &snapshot.at);
        let times = [it.total_us, it.queue_us, it.kafka_us].map(micros).into_iter();
        let texts = [it.mqtt_topic.clone(), ack, it.route.clone(), received];
        Row { cells: times.chain(texts).collect(), ..Row::default() }
    });
    let none = "Nothing was delivered in the last minutes.";
    table(&columns, rows.collect(), most, none)
}

pub(super) fn dead_letters(snapshot: &Snapshot, sort: Sort, most: usize) -> Sheet {
    let mut all: Vec<_> = snapshot.dead_letters.iter().collect();
    match sort {
        Sort::Name => all.sort_by(|one, other| one.reason.cmp(&other.reason)),
        _ => all.sort_by_key(|it| Reverse(it.count)),
    }
    let columns = [text("reason"), number("dead letters"), text("route")];
    let row = |it: &&super::snapshot::DeadLetters| {
        let route = if it.route.is_empty() { "none" } else { &it.route };
        let cells = vec![in_words(&it.reason), count(it.count), route.to_owned()];
        Row { level: Some(Level::Warn), cells, ..Row::default() }
    };
    let mut sheet = table(&columns, all.iter().map(row).collect(), most, "No dead letters.");
    // The same is to be done about most of them.
    let mut told: Vec<&Advice> = Vec::new();
    for it in all {
        if !told.contains(&&it.advice) {
            told.push(&it.advice);
            sheet.rows.extend(advice(&it.advice, 2, most));
        }
    }
    sheet
}

pub(super) fn restarts(snapshot: &Snapshot, most: usize) -> Sheet {
    let counts = snapshot.restarts.iter();
    let counts = counts
        .map(|(actor, reason, of)| format!("{actor}, {}: {}", in_words(reason), count(*of)))
        .collect::<Vec<_>>();
    let counts = match counts.is_empty() {
        true => "None since the start.".to_owned(),
        false => format!("Since the start: {}.", counts.join("; ")),
    };
    let columns = [text("at"), text("actor"), text("reason")];
    let rows = snapshot.last_restarts.iter().map(|it| {
        let detail = if it.detail.is_empty() { "see the log" } else { &it.detail };
        let mut more = below(detail, 4, most, quiet());
        more.extend(advice(&it.advice, 4, most));
        Row {
            level: Some(Level::Warn),
            cells: vec![clock(&it.at, &snapshot.at), it.actor.clone(), in_words(&it.reason)],
            below: more,
        }
    });
    let mut sheet = table(&columns, rows.collect(), most, "No restarts to list.");
    sheet.head.splice(0..0, below(&counts, 0, most, Style::new()));
    sheet
}

pub(super) fn warnings(snapshot: &Snapshot, most: usize) -> Sheet {
    let columns = [text("at"), text("level"), text("what")];
    let rows = snapshot.recent.iter().map(|it| {
        let fields = it.fields.iter().map(|(name, value)| format!("{}: {value}", in_words(name)));
        let fields = fields.collect::<Vec<_>>().join("; ");
        let mut more = Vec::new();
        if !fields.is_empty() {
            more.extend(below(&fields, 4, most, quiet()));
        }
        more.extend(advice(&it.advice, 4, most));
        let level = match &*it.level {
            "error" | "crit" => Level::Bad,
            _ => Level::Warn,
        };
        let cells = vec![clock(&it.at, &snapshot.at), it.level.clone(), it.text.clone()];
        Row { level: Some(level), cells, below: more }
    });
    table(&columns, rows.collect(), most, "The log has no warnings.")
}
