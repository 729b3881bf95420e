//! Tables for people. What a stranger has sent steers no terminal.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use mqtt_kafka_bridge::visible::Visible;

use super::compare::Pair;
use super::hop::Hop;
use super::report::{HopRow, LogReport, RouteRow, SlowRow};
use super::spread::Percentiles;
use super::words::{count, plural, time};

const TITLE: Style = Style::new().bold();
const NAME: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Yellow.on_default();

/// Writes all of a report.
///
/// # Errors
/// Nothing can be written any more.
pub(super) fn log(out: &mut impl Write, report: &LogReport) -> io::Result<()> {
    head(out, report)?;
    for sentence in &report.verdict {
        writeln!(out, "- {}", Visible(sentence))?;
    }
    if report.hops.is_empty() {
        return out.flush();
    }
    hops(out, &report.hops)?;
    if !report.makeup.is_empty() {
        writeln!(out, "\n{TITLE}What the time is made up of, on average{TITLE:#}")?;
        let names = ["records", "routing", "waiting", "Kafka", "PUBACK"];
        write!(out, "  {NAME}{:<20}", "")?;
        names.iter().try_for_each(|name| write!(out, "{name:>13}"))?;
        writeln!(out, "{NAME:#}")?;
        for row in &report.makeup {
            let parts = [row.routing_us, row.waiting_us, row.kafka_us, row.puback_us];
            write!(out, "  {:<20}{:>13}", row.of, count(row.count))?;
            parts.iter().try_for_each(|us| write!(out, "{:>13}", time(us.round() as u64)))?;
            writeln!(out)?;
        }
    }
    // One route without a name is all of them.
    let first = report.routes.first();
    let differs = |row: &RouteRow| {
        first.is_some_and(|it| (&it.route, &it.connection) != (&row.route, &row.connection))
    };
    if first.is_some_and(|it| !it.route.is_empty()) || report.routes.iter().any(differs) {
        routes(out, &report.routes)?;
    }
    slowest(out, &report.slowest)
}

/// What was looked at.
fn head(out: &mut impl Write, report: &LogReport) -> io::Result<()> {
    let shown: Vec<_> = report.files.iter().take(3).map(|file| Visible(file).to_string()).collect();
    let more = match report.files.len() - shown.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    writeln!(out, "{TITLE}Latency{TITLE:#} of {}{more}", shown.join(", "))?;
    let lines = &report.lines;
    write!(out, "{}", plural(lines.timing, "timing record", "timing records"))?;
    for (number, what) in [
        (lines.left_out, "left out by --from, --to, --route or --connection"),
        (lines.other, "other lines"),
        (lines.unfinished, "at an end without a line feed"),
    ] {
        if number > 0 {
            write!(out, ", {} {what}", count(number))?;
        }
    }
    writeln!(out)?;
    if let Some(received) = &report.received {
        writeln!(out, "received {} to {} ({})", received.from, received.to, time(received.us))?;
    }
    if let Some(first) = &report.lines.first_damaged {
        writeln!(
            out,
            "{BAD}{}{BAD:#}, the first: {}",
            plural(lines.damaged, "damaged line", "damaged lines"),
            Visible(first)
        )?;
    }
    writeln!(out)
}

/// The hops of all records.
///
/// # Errors
/// Nothing can be written any more.
pub(super) fn hops(out: &mut impl Write, rows: &[HopRow]) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{TITLE}All records{TITLE:#}")?;
    columns(out)?;
    rows.iter().try_for_each(|row| line(out, row.hop, row.words, &row.percentiles))
}

/// The hops of each route.
///
/// # Errors
/// Nothing can be written any more.
pub(super) fn routes(out: &mut impl Write, rows: &[RouteRow]) -> io::Result<()> {
    let mut before = None;
    for row in rows {
        let pair = (&row.connection, &row.route);
        if before.replace(pair) != Some(pair) {
            let route = if row.route.is_empty() { "(no name)" } else { &row.route };
            write!(out, "\n{TITLE}Route {}{TITLE:#}", Visible(route))?;
            if !row.connection.is_empty() {
                write!(out, " {NAME}connection{NAME:#} {}", Visible(&row.connection))?;
            }
            writeln!(out)?;
            columns(out)?;
        }
        let hop = Hop::ALL.into_iter().find(|hop| hop.name() == row.hop);
        line(out, &row.hop, hop.map_or("", Hop::words), &row.percentiles)?;
    }
    Ok(())
}

fn columns(out: &mut impl Write) -> io::Result<()> {
    write!(out, "  {NAME}{:<13}{:>11}", "hop", "count")?;
    for (name, _) in Percentiles::default().columns() {
        write!(out, "{name:>9}")?;
    }
    writeln!(out, "{NAME:#}")
}

/// The words come last: a terminal of 80 columns has room for all numbers.
fn line(out: &mut impl Write, hop: &str, words: &str, percentiles: &Percentiles) -> io::Result<()> {
    let hop = Visible(hop).to_string();
    write!(out, "  {hop:<13}{:>11}", count(percentiles.count))?;
    for (name, us) in percentiles.columns() {
        match name {
            "p99" => write!(out, "{TITLE}{:>9}{TITLE:#}", time(us))?,
            _ => write!(out, "{:>9}", time(us))?,
        }
    }
    writeln!(out, "  {NAME}{words}{NAME:#}")
}

/// The slowest records, with their MQTT topics.
///
/// # Errors
/// Nothing can be written any more.
pub(super) fn slowest(out: &mut impl Write, rows: &[SlowRow]) -> io::Result<()> {
    if rows.is_empty() {
        return out.flush();
    }
    writeln!(out, "\n{TITLE}The slowest{TITLE:#}")?;
    write!(out, "  {NAME}")?;
    for name in ["total", "routed", "produced", "delivered", "acked"] {
        write!(out, "{name:>10}")?;
    }
    writeln!(out, "  {:<25} MQTT topic{NAME:#}", "received")?;
    for row in rows {
        let maybe = |us: Option<u64>| us.map_or_else(|| "-".to_owned(), time);
        let acked = match (row.ack_us, row.ack_reason.as_deref()) {
            (None, Some("qos0")) => "QoS 0".to_owned(),
            (None, Some("connection_lost")) => "lost".to_owned(),
            (None, Some("not_yet")) => "not yet".to_owned(),
            (us, _) => maybe(us),
        };
        write!(out, "  {TITLE}{:>10}{TITLE:#}", time(row.total_us))?;
        for shown in [maybe(row.routed_us), time(row.queue_us), time(row.kafka_us), acked] {
            write!(out, "{shown:>10}")?;
        }
        let received = Visible(&row.received_at).to_string();
        writeln!(out, "  {received:<25} {}", Visible(&row.mqtt_topic))?;
    }
    out.flush()
}

/// Two reports side by side.
///
/// # Errors
/// Nothing can be written any more.
pub(super) fn comparison(
    out: &mut impl Write,
    before: &LogReport,
    after: &LogReport,
    pairs: &[Pair],
) -> io::Result<()> {
    writeln!(out, "{TITLE}Before{TITLE:#}")?;
    head(out, before)?;
    writeln!(out, "{TITLE}After{TITLE:#}")?;
    head(out, after)?;
    let mut heading: Option<String> = None;
    for pair in pairs {
        let of = pair.of();
        if heading.as_ref() != Some(&of) {
            writeln!(out, "{TITLE}{}{TITLE:#}", Visible(&of))?;
            heading = Some(of);
            write!(out, "  {NAME}{:<13}{:<8}{:>11}", "hop", "", "count")?;
            for (name, _) in Percentiles::default().columns() {
                write!(out, "{name:>9}")?;
            }
            writeln!(out, "{NAME:#}")?;
        }
        for (name, side) in [("before", &pair.before), ("after", &pair.after)] {
            let hop = if name == "before" { pair.hop } else { "" };
            match side {
                Some(found) => {
                    write!(out, "  {hop:<13}{name:<8}{:>11}", count(found.count))?;
                    found
                        .columns()
                        .iter()
                        .try_for_each(|(_, us)| write!(out, "{:>9}", time(*us)))?;
                    writeln!(out)?;
                }
                None => writeln!(out, "  {hop:<13}{name:<8}{:>11}", "none")?,
            }
        }
        if let Some(ratios) = pair.ratios() {
            write!(out, "  {:<13}{TITLE}{:<8}{:>11}", "", "ratio", "")?;
            for ratio in ratios {
                let ratio = ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
                write!(out, "{ratio:>9}")?;
            }
            writeln!(out, "{TITLE:#}")?;
        }
    }
    out.flush()
}
