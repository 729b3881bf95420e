//! The subcommand `bench`: what a message costs from end to end, and whether the bridge keeps its
//! promises meanwhile.
//!
//! The bridge runs in a process of its own (`child` is the bench's side of it, `measured` the
//! process's), as `run` runs it, so that its CPU time and memory are its own. The bench plays the MQTT
//! broker or publishes to a real one (`feed`, `link`, `tls`, `acks`, `wire`), starts a mock Kafka or uses a real one
//! (`kafka`), and reads back what arrived (`reader`). With `--limit` two baselines run beside the
//! bridge, one at a time (`baseline_blocking`, `baseline_async`), with
//! `--tls` and `--connections` the bridge with TLS and with several connections. `measure` is one run, `result` what it
//! brought, `report` and `compare` print it, `steps` looks for the highest rate.

mod error;
mod scenario;
mod task;
mod args;
mod interrupt;
mod wire;
mod ack_order;
mod baseline;
mod baseline_blocking;
mod baseline_async;
mod measured;
mod child;
mod acks;
mod progress;
mod tls;
mod link;
mod feed;
mod kafka;
mod reader;
mod hardware;
mod result;
mod bridge_log;
mod measure;
mod report;
mod compare;
mod steps;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use mqtt_kafka_bridge::exit::Exit;

pub(crate) use args::{BenchArgs, SubjectArgs};
pub(crate) use measured::run as run_subject;

use crate::signals::INTERRUPTED;
use error::BenchError;
use hardware::Hardware;
use result::{Outcome, Results, Runs};
use scenario::Scenario;
use task::Subject;

/// Measures what the arguments ask for and prints it. Success only if every run was good.
pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    match interrupt::watch().and_then(|()| measure_all(args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(BenchError::Arguments(why)) => {
            eprintln!("bench: {why}");
            Exit::Usage.into()
        }
        Err(error) => {
            eprintln!("bench: {error}");
            match error {
                BenchError::Interrupted => ExitCode::from(INTERRUPTED),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// Gives whether all runs were good.
fn measure_all(args: &BenchArgs) -> Result<bool, BenchError> {
    let scenarios = args.scenarios()?;
    // A file that cannot be read is said now, not after hours.
    let earlier = args.compare.as_deref().map(read_results).transpose()?;
    let mut results = Results {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hardware: Hardware::of_this_machine(),
        kafka: args.kafka.clone().unwrap_or_else(|| "mock".to_owned()),
        // The URL may hold a password.
        mqtt: if args.mqtt.is_some() { "broker" } else { "feed" }.to_owned(),
        results: Vec::new(),
    };
    report::head(&results);
    let mut good = true;
    for scenario in &scenarios {
        if args.steps {
            good &= steps::run(args, scenario, &mut results.results)?;
            continue;
        }
        let outcome = measure_one(args, scenario)?;
        good &= report::outcome(&outcome);
        results.results.push(outcome);
    }
    if let Some(earlier) = &earlier {
        compare::tell(earlier, &results);
    }
    if let Some(path) = &args.json {
        write_results(path, &results)?;
    }
    Ok(good)
}

/// Runs one scenario as often as asked, the subjects in turn.
fn measure_one(args: &BenchArgs, scenario: &Scenario) -> Result<Outcome, BenchError> {
    let mut runs: BTreeMap<Subject, Vec<_>> = BTreeMap::new();
    for round in 1..=args.runs {
        for subject in args.subjects(scenario) {
            let what = format!("{} {}/{}", subject.name(), round, args.runs);
            let run = measure::run(args, scenario, subject, &what)?;
            report::failures(&what, &run);
            runs.entry(subject).or_default().push(run);
        }
    }
    let subjects = runs.into_iter().map(|(subject, runs)| (subject, Runs::new(runs))).collect();
    Ok(Outcome { scenario: scenario.clone(), subjects })
}

fn read_results(path: &Path) -> Result<Results, BenchError> {
    let failed = |why: String| BenchError::Results(path.display().to_string(), why);
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(format!("not results of bench: {error}")))
}

fn write_results(path: &Path, results: &Results) -> Result<(), BenchError> {
    let mut text = serde_json::to_vec(results).expect("plain data with keys that are strings");
    text.push(b'\n');
    let written = if path == Path::new("-") {
        io::stdout().write_all(&text)
    } else {
        std::fs::write(path, &text)
    };
    written.map_err(|error| BenchError::Results(path.display().to_string(), error.to_string()))
}
