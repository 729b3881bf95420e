//! `latency`: where the time goes, hop by hop, of logs or of a bridge that runs.
//!
//! Logs: `source` reads, `record` takes a line apart, `tally` counts in bounded memory, `gather` does all that with two
//! cores; `report` and `verdict` say what it means, `text` and `html` show it.

pub(crate) mod args;
mod compare;
mod gather;
mod hop;
mod html;
mod live;
mod moment;
mod print;
mod record;
mod report;
mod screen;
mod source;
mod spread;
mod tally;
mod text;
mod timeline;
mod verdict;
pub(crate) mod words;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::visible::Visible;

use crate::config_args::ConfigArgs;
use args::LatencyArgs;
use print::{print_json, written};
use report::LogReport;
use source::Trouble;
use tally::{Choice, Tally};

/// Shows it. Exit code 0 if there was something to show, and all of it could be read.
pub(crate) fn run(args: &LatencyArgs, config: &ConfigArgs) -> Exit {
    if args.log.is_empty() {
        return match config.load_pages_with_token() {
            Ok(pages) => live::run(args, &pages),
            Err(errors) => {
                eprintln!("{errors}");
                Exit::Configuration
            }
        };
    }
    let choice = args.choice();
    let (tally, mut exit) = look(&args.log, &choice);
    let report = LogReport::new(&args.log, &tally);
    if let Some(path) = &args.html {
        exit = exit.max(write_page(path, &report, &tally));
    }
    drop(tally);
    let shown = if args.compare.is_empty() {
        show(args, &report)
    } else {
        let (tally, of_other) = look(&args.compare, &choice);
        exit = exit.max(of_other);
        let other = LogReport::new(&args.compare, &tally);
        let pairs = compare::pairs(&report, &other);
        match args.json {
            true => print_json(&compare::object(&report, &other, &pairs)),
            false => text::comparison(&mut anstream::stdout(), &report, &other, &pairs),
        }
    };
    exit.max(written(shown))
}

/// Reads logs, and says what cannot be read.
fn look<'a>(paths: &[PathBuf], choice: &'a Choice) -> (Tally<'a>, Exit) {
    let (tally, troubles) = gather::gather(paths, choice);
    for Trouble { text } in &troubles {
        eprintln!("{}", Visible(text));
    }
    let is_good = troubles.is_empty() && tally.lines.chosen > 0;
    (tally, if is_good { Exit::Drained } else { Exit::Unhealthy })
}

/// Writes the page.
fn write_page(path: &Path, report: &LogReport, tally: &Tally<'_>) -> Exit {
    let page = html::page(report, tally);
    match page.and_then(|page| Ok(fs::write(path, page)?)) {
        Ok(()) => Exit::Drained,
        Err(error) => {
            eprintln!("--html: cannot write {}: {error}", path.display());
            Exit::Unhealthy
        }
    }
}

fn show(args: &LatencyArgs, report: &LogReport) -> io::Result<()> {
    match args.json {
        true => print_json(report),
        false => text::log(&mut anstream::stdout(), report),
    }
}
