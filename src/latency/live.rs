//! The latencies of a bridge that runs, as its page `/status.json` has them.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
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
use super::tally::Choice;
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

/// Takes the page apart. Of it, only what is shown here has to be there.
fn read(page: &str, args: &LatencyArgs) -> Result<Live, String> {
    let strange = |found: String| {
        format!("expected an object with the lists latencies and slowest in {PAGE}, found {found}")
    };
    let page: Value = serde_json::from_str(page).map_err(|error| strange(error.to_string()))?;
    let list = |name: &str| page[name].as_array().ok_or_else(|| strange(format!("no {name}")));
    let choice = Choice {
        routes: args.route.clone(),
        connections: args.connection.clone(),
        ..Choice::default()
    };
    let latencies = rows::<Row>("latencies", list("latencies")?).map_err(strange)?;
    let (sums, mut each): (Vec<_>, Vec<_>) =
        latencies.into_iter().partition(|row| row.connection.is_none() && row.route.is_none());
    each.retain(|row| choice.names(row.route(), row.connection()));
    each.sort_by(|one, other| {
        (one.route(), one.connection()).cmp(&(other.route(), other.connection()))
    });
    let mut slowest = rows::<SlowRow>("slowest", list("slowest")?).map_err(strange)?;
    slowest.retain(|row| choice.names(&row.route, &row.connection));
    slowest.truncate(usize::try_from(args.slowest).unwrap_or(usize::MAX));
    // Percentiles of a choice do not follow from those of its parts.
    let is_all = args.route.is_empty() && args.connection.is_empty();
    let hops = sums.into_iter().filter(|_| is_all).filter_map(Row::of_all).collect();
    let routes = each.into_iter().map(Row::of_route).collect();
    Ok(Live { version: VERSION, program: env!("CARGO_PKG_VERSION"), hops, routes, slowest })
}

fn rows<T: DeserializeOwned>(name: &str, rows: &[Value]) -> Result<Vec<T>, String> {
    let row = |(at, row)| {
        T::deserialize(row).map_err(|error| format!("{name}[{at}] of another form: {error}"))
    };
    rows.iter().enumerate().map(row).collect()
}

/// What a hop took, of one route on one connection or of all.
#[derive(Deserialize)]
struct Row {
    connection: Option<String>,
    route: Option<String>,
    stage: String,
    count: u64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
}

impl Row {
    fn connection(&self) -> &str {
        self.connection.as_deref().unwrap_or_default()
    }

    fn route(&self) -> &str {
        self.route.as_deref().unwrap_or_default()
    }

    fn percentiles(&self) -> Percentiles {
        let Self { count, p50_us, p90_us, p99_us, p999_us, max_us, .. } = *self;
        Percentiles { count, p50_us, p90_us, p99_us, p999_us, max_us }
    }

    fn of_all(self) -> Option<HopRow> {
        let hop = Hop::ALL.into_iter().find(|hop| hop.name() == self.stage)?;
        Some(HopRow { hop: hop.name(), words: hop.words(), percentiles: self.percentiles() })
    }

    fn of_route(self) -> RouteRow {
        let percentiles = self.percentiles();
        let Self { connection, route, stage, .. } = self;
        let (connection, route) = (connection.unwrap_or_default(), route.unwrap_or_default());
        RouteRow { connection, route, hop: stage, percentiles }
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
        {"connection": "west", "route": "b", "stage": "delivered", "count": 10, "p50_us": 5100, "p90_us": 2, "p99_us": 3, "p999_us": 4, "max_us": 5},
        {"connection": "east", "route": "a\u001b[2J", "stage": "produced", "count": 20, "p50_us": 1, "p90_us": 2, "p99_us": 3, "p999_us": 4, "max_us": 5}],
      "slowest": [
        {"mqtt_topic": "x/\u202e1", "connection": "east", "route": "a", "received_at": "2026-11-27T15:01:00.112233Z", "total_us": 140138,
         "routed_us": 5, "queue_us": 60011, "kafka_us": 80127, "ack_us": null, "ack_reason": "qos0"},
        {"mqtt_topic": "y", "connection": "west", "route": "b", "received_at": "", "total_us": 1, "queue_us": 0, "kafka_us": 1, "ack_us": 14}]}"#;

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
    fn the_page_of_this_very_version_is_understood() {
        let page = include_str!("../observe/testdata/status.json");
        let live = read(page, &args(&[])).expect("a page");
        let hops: Vec<_> = live.hops.iter().map(|row| row.hop).collect();
        assert_eq!(hops, ["device", "routed", "produced", "delivered"]);
        assert!(live.routes.len() >= hops.len() && live.slowest.len() == 2, "{live:?}");
        assert_eq!(live.slowest[1].ack_reason.as_deref(), Some("qos0"));
    }

    #[test]
    fn another_page_is_refused() {
        for (page, found) in [
            ("<html>", "expected value at line 1 column 1"),
            ("{}", "no latencies"),
            (r#"{"latencies": []}"#, "no slowest"),
            ("[1]", "no latencies"),
            (
                r#"{"latencies": [7], "slowest": []}"#,
                "latencies[0] of another form: invalid type: integer `7`, expected struct Row",
            ),
            (
                r#"{"latencies": [{"route": "a", "count": 1}], "slowest": []}"#,
                "latencies[0] of another form: missing field `stage`",
            ),
            (
                r#"{"latencies": [], "slowest": [{}]}"#,
                "slowest[0] of another form: missing field `total_us`",
            ),
        ] {
            let why = read(page, &args(&[])).expect_err(page);
            assert!(why.ends_with(&format!("in /status.json, found {found}")), "{why}");
        }
    }
}
