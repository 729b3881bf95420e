//! Arguments -> configuration -> logger -> bridge -> exit code; nothing else.
//!
//! The command line, the demo and the bench belong to this program, not to the library: they use what
//! the library offers to anyone, and the library cannot use them.

mod cli;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "demo")]
mod bench;

use std::io::Write;
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mqtt_kafka_bridge::exit::{Cause, Exit, Failure};
use mqtt_kafka_bridge::kafka::dead_letter::file::DeadLetterFile;
use mqtt_kafka_bridge::mqtt::state_file::{StateError, StateFile};
use mqtt_kafka_bridge::observe::Metrics;
use mqtt_kafka_bridge::observe::log::Logging;

use cli::{Cli, Command, ConfigArgs, HealthcheckArgs, shutdown_signal};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    // A panic that nothing caught ends with a code of ours too, not with Rust's 101. The hook has
    // said which it was.
    panic::catch_unwind(|| obey(command)).unwrap_or_else(|_| {
        let failure = Failure::new(Cause::Panic, "nothing caught it; the line before names it");
        eprintln!("{failure}");
        Exit::Failed.into()
    })
}

fn obey(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => run(&args).into(),
        Command::Check(args) => check(&args).into(),
        Command::Healthcheck(args) => healthcheck(&args).into(),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::run(&args),
        #[cfg(feature = "demo")]
        Command::Bench(args) => bench::run(&args),
        #[cfg(feature = "demo")]
        Command::BenchSubject(args) => bench::run_subject(&args),
    }
}

fn run(args: &ConfigArgs) -> Exit {
    #[cfg(feature = "failpoints")]
    if let Err(error) = mqtt_kafka_bridge::failpoint::arm_from_env() {
        eprintln!("{error}");
        return Exit::Usage;
    }
    let config = match args.load() {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Configuration;
        }
    };
    let logging = Logging::start(&config.log);
    let shutdown = shutdown_signal(logging.clone());
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    mqtt_kafka_bridge::run(config, logging, metrics, shutdown)
}

fn check(args: &ConfigArgs) -> Exit {
    let config = match args.load() {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return Exit::Configuration;
        }
    };
    match DeadLetterFile::check(&config.dead_letter) {
        Ok(word) => word.into_iter().for_each(|word| eprintln!("dead_letter.file: {word}")),
        Err(error) => {
            eprintln!("dead_letter.file: expected a file that can be written, found {error}");
            return Exit::Configuration;
        }
    }
    let data_dir = config.data_dir.as_deref();
    for file in config.connections.iter().filter_map(|mqtt| StateFile::of(data_dir, mqtt)) {
        match file.load() {
            Err(error @ StateError::Newer { .. }) => {
                eprintln!("{error}");
                return Exit::Configuration;
            }
            Err(error @ StateError::Unusable { .. }) => eprintln!("warning: {error}"),
            Ok(_) => {}
        }
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    // A reader that has seen enough is no error.
    let _ = std::io::stdout().write_all(config.describe().as_bytes());
    Exit::Drained
}

fn healthcheck(args: &HealthcheckArgs) -> Exit {
    let config = args.config.load().map_err(|errors| errors.to_string());
    match config.and_then(|config| mqtt_kafka_bridge::http::check::check(&config, args.live)) {
        Ok(()) => Exit::Drained,
        Err(why) => {
            eprintln!("{why}");
            Exit::Unhealthy
        }
    }
}
