//! The latencies of a bridge that runs, as its page `/status.json` has them.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use mqtt_kafka_bridge::config::HttpConfig;
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::http::check;
use mqtt_kafka_bridge::visible::Visible;

use super::args::LatencyArgs;
use super::hop::Hop;
use super::moment;
use super::print::{print_json, written};
use super::report::{HopRow, RouteRow, SlowRow, VERSION};
use super::screen::fitted;
use super::spread::Percentiles;
use super::text;

/// How often it is drawn anew.
const PAUSE: Duration = Duration::from_secs(1);
/// The page that is asked for.
const PAGE: &str = "/status.json";

/// What the bridge says of the last minutes.
#[derive(Debug, Serialize)]
struct Live {
    version: u32,
    program: &'static str,
    /// All records, by hop; none where only some were asked for.
    hops: Vec<HopRow>,
    /// By connection, route and hop.
    routes: Vec<RouteRow>,
    /// The slowest first.
    slowest: Vec<SlowRow>,
}

/// Shows what the running bridge says, once or again and again.
pub(super) fn run(args: &LatencyArgs, pages: &HttpConfig) -> Exit {
    if args.watch {
        return watch(args, pages);
    }
    match ask(args, pages) {
        Ok(live) => {
            let shown = match args.json {
                true => print_json(&live),
                false => show(&mut anstream::stdout(), &live),
            };
            written(shown).max(if live.routes.is_empty() { Exit::Unhealthy } else { Exit::Drained })
        }
        Err(why) => {
            eprintln!("{}", Visible(&why));
            Exit::Unhealthy
        }
    }
}

/// Until Ctrl-C, or until nobody reads any more. A bridge that is away may come back.
fn watch(args: &LatencyArgs, pages: &HttpConfig) -> Exit {
    let is_terminal = io::stdout().is_terminal();
    loop {
        let asked = ask(args, pages);
        let shown = match asked {
            Ok(live) if args.json => print_json(&live),
            Err(why) if args.json => {
                eprintln!("{}", Visible(&why));
                Ok(())
            }
            asked => draw(is_terminal, asked),
        };
        if shown.is_err() {
            return written(shown);
        }
        thread::sleep(PAUSE);
    }
}

fn draw(is_terminal: bool, asked: Result<Live, String>) -> io::Result<()> {
    let mut drawn = Vec::new();
    let now = jiff::Timestamp::now().as_microsecond();
    writeln!(drawn, "{}", moment::shown(now))?;
    match asked {
        Ok(live) => show(&mut drawn, &live)?,
        Err(why) => writeln!(drawn, "{}", Visible(&why))?,
    }
    let drawn = String::from_utf8_lossy(&drawn);
    let mut out = anstream::stdout().lock();
    match is_terminal {
        true => out.write_all(fitted(&drawn, terminal_size::terminal_size()).as_bytes())?,
        false => writeln!(out, "{drawn}")?,
    }
    out.flush()
}

fn show(out: &mut impl io::Write, live: &Live) -> io::Result<()> {
    if live.routes.is_empty() {
        writeln!(out, "No record was delivered in the last minutes, or none that was asked for.")?;
    } else {
        writeln!(out, "Latency of the running bridge in the last one to two minutes")?;
    }
    text::hops(out, &live.hops)?;
    text::routes(out, &live.routes)?;
    text::slowest(out, &live.slowest)
}

fn ask(args: &LatencyArgs, pages: &HttpConfig) -> Result<Live, String> {
    read(&check::page(pages, PAGE)?, args)
}

/// Takes the page apart. What is missing in a row is 0, or empty.
fn read(page: &str, args: &LatencyArgs) -> Result<Live, String> {
    let strange = |found: String| {
        format!("expected an object with the lists latencies and slowest in {PAGE}, found {found}")
    };
    let page: Value = serde_json::from_str(page).map_err(|error| strange(error.to_string()))?;
    let list = |name: &str| page[name].as_array().ok_or_else(|| strange(format!("no {name}")));
    let is_wanted = |route: &str, connection: &str| {
        let is_one = |names: &[String], name: &str| {
            names.is_empty() || names.iter().any(|wanted| wanted == name)
        };
        is_one(&args.route, route) && is_one(&args.connection, connection)
    };
    let rows = list("latencies")?;
    // Percentiles of a choice do not follow from those of its parts.
    let is_all = args.route.is_empty() && args.connection.is_empty();
    let is_sum = |row: &&Value| row["connection"].is_null() && row["route"].is_null();
    let sums = rows.iter().filter(|row| is_all && is_sum(row));
    let mut routes: Vec<_> = rows.iter().filter(|row| !is_sum(row)).map(route_row).collect();
    routes.retain(|row| is_wanted(&row.route, &row.connection));
    routes.sort_by(|one, other| {
        (&one.route, &one.connection).cmp(&(&other.route, &other.connection))
    });
    let mut slowest: Vec<_> = list("slowest")?.iter().map(slow_row).collect();
    slowest.retain(|row| is_wanted(&row.route, &row.connection));
    slowest.truncate(usize::try_from(args.slowest).unwrap_or(usize::MAX));
    let hops = sums.filter_map(sum_row).collect();
    Ok(Live { version: VERSION, program: env!("CARGO_PKG_VERSION"), hops, routes, slowest })
}

fn text_of(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

/// The bridge's own word for a hop is stage.
fn hop_of(row: &Value) -> String {
    let names = ["hop", "stage"].map(|key| text_of(row, key));
    names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
}

fn sum_row(row: &Value) -> Option<HopRow> {
    let name = hop_of(row);
    let hop = Hop::ALL.into_iter().find(|hop| hop.name() == name)?;
    Some(HopRow { hop: hop.name(), words: hop.words(), percentiles: percentiles(row) })
}

fn route_row(row: &Value) -> RouteRow {
    RouteRow {
        connection: text_of(row, "connection"),
        route: text_of(row, "route"),
        hop: hop_of(row),
        percentiles: percentiles(row),
    }
}

fn percentiles(row: &Value) -> Percentiles {
    let number = |key: &str| row[key].as_u64().unwrap_or(0);
    Percentiles {
        count: number("count"),
        p50_us: number("p50_us"),
        p90_us: number("p90_us"),
        p99_us: number("p99_us"),
        p999_us: number("p999_us"),
        max_us: number("max_us"),
    }
}

fn slow_row(row: &Value) -> SlowRow {
    let number = |key: &str| row[key].as_u64();
    SlowRow {
        total_us: number("total_us").unwrap_or(0),
        received_at: text_of(row, "received_at"),
        routed_us: number("routed_us"),
        queue_us: number("queue_us").unwrap_or(0),
        kafka_us: number("kafka_us").unwrap_or(0),
        ack_us: number("ack_us"),
        connection: text_of(row, "connection"),
        route: text_of(row, "route"),
        mqtt_topic: text_of(row, "mqtt_topic"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: LatencyArgs,
    }

    fn args(words: &[&str]) -> LatencyArgs {
        Command::parse_from([&["latency"], words].concat()).args
    }

    fn told(page: &str, words: &[&str]) -> String {
        let live = read(page, &args(words)).expect("a page");
        let mut out = anstream::StripStream::new(Vec::new());
        show(&mut out, &live).expect("into memory");
        String::from_utf8(out.into_inner()).expect("UTF-8")
    }

    const PAGE_OF_TWO: &str = r#"{"more": 1, "latencies": [
        {"connection": null, "route": null, "stage": "delivered", "count": 30, "p50_us": 1, "p90_us": 2, "p99_us": 3, "p999_us": 4, "max_us": 5},
        {"connection": "west", "route": "b", "hop": "delivered", "count": 10, "p50_us": 5100, "p90_us": 2, "p99_us": 3, "p999_us": 4, "max_us": 5},
        {"connection": "east", "route": "a\u001b[2J", "stage": "produced", "count": 20}, 7],
      "slowest": [
        {"mqtt_topic": "x/\u202e1", "connection": "east", "route": "a", "received_at": "2026-11-27T15:01:00.112233Z", "total_us": 140138,
         "queue_us": 60011, "kafka_us": 80127, "ack_us": null},
        {"mqtt_topic": "y", "connection": "west", "route": "b", "total_us": 1, "ack_us": 14}]}"#;

    #[test]
    fn what_a_page_says_is_shown_by_route_and_steers_no_terminal() {
        let all = told(PAGE_OF_TWO, &[]);
        assert!(
            all.starts_with(
                "Latency of the running bridge in the last one to two minutes\n\nAll records\n"
            ),
            "{all}"
        );
        assert!(
            all.contains("Route a\\u{1b}[2J connection east") && all.contains("x/\\u{202e}1"),
            "{all}"
        );
        assert!(all.contains("5.10 ms") && all.contains("140 ms"), "{all}");
        let one = told(PAGE_OF_TWO, &["--route", "b"]);
        assert!(!one.contains("All records") && !one.contains("Route a"), "{one}");
        assert!(one.contains("Route b connection west") && !one.contains("140 ms"), "{one}");
        let none = told(PAGE_OF_TWO, &["--connection", "north", "--slowest", "0"]);
        assert_eq!(
            none,
            "No record was delivered in the last minutes, or none that was asked for.\n"
        );
    }

    #[test]
    fn another_page_is_refused() {
        for (page, found) in [
            ("<html>", "expected value at line 1 column 1"),
            ("{}", "no latencies"),
            (r#"{"latencies": []}"#, "no slowest"),
            ("[1]", "no latencies"),
        ] {
            let why = read(page, &args(&[])).expect_err(page);
            assert!(why.ends_with(&format!("in /status.json, found {found}")), "{why}");
        }
    }
}
