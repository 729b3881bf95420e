//! Arguments -> configuration -> logger -> bridge -> exit code; nothing else.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use mqtt_kafka_bridge::cli::{Cli, Command, ConfigArgs, HealthcheckArgs, shutdown_signal};
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::observe::Metrics;
use mqtt_kafka_bridge::observe::log::Logging;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => run(&args).into(),
        Command::Check(args) => check(&args).into(),
        Command::Healthcheck(args) => healthcheck(&args).into(),
        #[cfg(feature = "demo")]
        Command::Demo(args) => mqtt_kafka_bridge::demo::run(&args),
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
    mqtt_kafka_bridge::run(config, logging, Arc::new(Metrics::default()), shutdown)
}

fn check(args: &ConfigArgs) -> Exit {
    match args.load() {
        Ok(config) => {
            // A reader that has seen enough is no error.
            let _ = std::io::stdout().write_all(config.describe().as_bytes());
            Exit::Drained
        }
        Err(errors) => {
            eprintln!("{errors}");
            Exit::Configuration
        }
    }
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
