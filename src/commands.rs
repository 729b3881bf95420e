//! The subcommands `run`, `check` and `healthcheck`.

use std::io::Write as _;
use std::sync::Arc;

use mqtt_kafka_bridge::config::{Config, ConfigErrors};
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::http;
use mqtt_kafka_bridge::kafka::dead_letter::file::DeadLetterFile;
use mqtt_kafka_bridge::mqtt::state_file::{StateError, StateFile};
use mqtt_kafka_bridge::observe::Metrics;
use mqtt_kafka_bridge::observe::log::Logging;

use crate::cli::{ConfigArgs, HealthcheckArgs};
use crate::signals::shutdown_signal;

/// Runs the bridge until a signal ends it, or it fails.
pub(crate) fn run(args: &ConfigArgs) -> Exit {
    #[cfg(feature = "failpoints")]
    if let Err(error) = mqtt_kafka_bridge::failpoint::arm_from_env() {
        eprintln!("{error}");
        return Exit::Usage;
    }
    let config = match args.load() {
        Ok(config) => config,
        Err(errors) => return refused(&errors),
    };
    let logging = Logging::start(&config.log);
    let shutdown = shutdown_signal(logging.clone());
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    mqtt_kafka_bridge::run(config, logging, metrics, shutdown)
}

/// Prints what the configuration resolves to, or everything that is wrong with it.
pub(crate) fn check(args: &ConfigArgs) -> Exit {
    let config = match args.load() {
        Ok(config) => config,
        Err(errors) => return refused(&errors),
    };
    if let Err(exit) = check_files(&config) {
        return exit;
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    // If the reader has closed the pipe, it has seen enough.
    let _ = std::io::stdout().write_all(config.describe().as_bytes());
    Exit::Drained
}

/// Whether the bridge could use the files that the configuration names.
fn check_files(config: &Config) -> Result<(), Exit> {
    match DeadLetterFile::check(&config.dead_letter) {
        Ok(warning) => warning.into_iter().for_each(|text| eprintln!("dead_letter.file: {text}")),
        Err(error) => {
            eprintln!("dead_letter.file: expected a file that can be written, found {error}");
            return Err(Exit::Configuration);
        }
    }
    let data_dir = config.data_dir.as_deref();
    for file in config.connections.iter().filter_map(|mqtt| StateFile::of(data_dir, mqtt)) {
        match file.load() {
            Err(error @ StateError::Newer { .. }) => {
                eprintln!("{error}");
                return Err(Exit::Configuration);
            }
            Err(error @ StateError::Unusable { .. }) => eprintln!("warning: {error}"),
            Ok(_) => {}
        }
    }
    Ok(())
}

fn refused(errors: &ConfigErrors) -> Exit {
    eprintln!("{errors}");
    Exit::Configuration
}

/// Asks the running bridge whether it is ready or alive.
pub(crate) fn healthcheck(args: &HealthcheckArgs) -> Exit {
    let config = args.config.load().map_err(|errors| errors.to_string());
    match config.and_then(|config| http::check::check(&config, args.live)) {
        Ok(()) => Exit::Drained,
        Err(why) => {
            eprintln!("{why}");
            Exit::Unhealthy
        }
    }
}
