//! The subcommand `bench`: what a message costs, measured from end to end, and whether it kept its
//! promises meanwhile.
//!
//! This process is the world around the bridge: the MQTT feed (`feed`, `acks`, `wire`), Kafka
//! (`kafka`: librdkafka's mock cluster, or a real one) and a consumer that reads back (`reader`). The
//! bridge runs in a process of its own (`child`), by `run` and a configuration file as anywhere, so
//! that its CPU time and memory are its own. Beside it run, one at a time, the limit (`limit`) and the
//! same loop on the bridge's libraries (`libraries`). `measure` is one run, `result` what it brought,
//! `report` and `compare` tell it, `steps` looks for the highest rate.

mod acks;
mod args;
mod child;
mod compare;
mod feed;
mod hardware;
mod interrupt;
mod kafka;
mod baseline_async;
mod baseline_blocking;
mod measure;
mod progress;
mod reader;
mod report;
mod result;
mod scenario;
mod steps;
mod baseline;
mod bridge_log;
mod wire;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use rdkafka::error::KafkaError;

pub(crate) use args::BenchArgs;
pub(crate) use baseline::{SubjectArgs, run as run_subject};

use baseline::Kind;
use hardware::Hardware;
use mqtt_kafka_bridge::exit::Exit;
use result::{Outcome, Results, Subject};
use scenario::Scenario;

/// Exit code after a signal: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// What can go wrong with the bench itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Arguments that do not go together.
    #[error("{0}")]
    Arguments(String),
    /// The system.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// librdkafka, in the bench's own clients.
    #[error("Kafka: {0}")]
    KafkaClient(#[from] KafkaError),
    /// The mock cluster, or what a real Kafka answers.
    #[error("Kafka: {0}")]
    Kafka(String),
    /// The real MQTT broker.
    #[error("MQTT broker: {0}")]
    Broker(String),
    /// The connection between the feed and what is measured.
    #[error("feed: {0}")]
    Feed(String),
    /// The process under measurement.
    #[error("the process under measurement: {0}")]
    Subject(String),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// A file of results.
    #[error("{0}: {1}")]
    Results(String, String),
}

/// Measures what the arguments ask for and prints it. Success only if every run kept every promise.
pub(crate) fn run(args: &BenchArgs) -> ExitCode {
    interrupt::watch();
    match measure_all(args) {
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

/// Whether all runs were good.
fn measure_all(args: &BenchArgs) -> Result<bool, BenchError> {
    let scenarios = args.scenarios()?;
    // Before hours are spent.
    let earlier = args.compare.as_deref().map(read_results).transpose()?;
    let mut results = Results {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hardware: Hardware::of_this_machine(),
        kafka: args.kafka.clone().unwrap_or_else(|| "mock".to_owned()),
        // Without what it may say of a user.
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

/// All runs of one scenario, the subjects in turn.
fn measure_one(args: &BenchArgs, scenario: &Scenario) -> Result<Outcome, BenchError> {
    let mut runs: BTreeMap<Kind, Vec<_>> = BTreeMap::new();
    for round in 1..=args.runs {
        for kind in kinds(args) {
            let what = format!("{} {}/{}", kind.name(), round, args.runs);
            let run = measure::run(args, scenario, kind, &what)?;
            report::failures(&what, &run);
            runs.entry(kind).or_default().push(run);
        }
    }
    let subjects = runs.into_iter().map(|(kind, runs)| (kind, Subject::new(runs))).collect();
    Ok(Outcome { scenario: scenario.clone(), subjects })
}

fn kinds(args: &BenchArgs) -> Vec<Kind> {
    if args.limit { vec![Kind::Bridge, Kind::Limit, Kind::Libraries] } else { vec![Kind::Bridge] }
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
