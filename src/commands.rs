//! The subcommands `run`, `leave`, `check`, `map`, `healthcheck`, `completions` and `man`.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory as _;
use tokio::sync::mpsc::unbounded_channel;

use mqtt_kafka_bridge::Reloads;
use mqtt_kafka_bridge::config::{Config, ConfigErrors, Trial};
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::http;
use mqtt_kafka_bridge::kafka::dead_letter::file::DeadLetterFile;
use mqtt_kafka_bridge::mqtt::state_file::{StateError, StateFile};
use mqtt_kafka_bridge::observe::Metrics;
use mqtt_kafka_bridge::observe::log::Logging;
use mqtt_kafka_bridge::visible::Visible;

use crate::cli::{CheckArgs, Cli, CompletionsArgs, HealthcheckArgs, LeaveArgs, MapCommand};
use crate::config_args::ConfigArgs;
use crate::signals::shutdown_signal;
use crate::{manual, map};

/// Runs the bridge until a signal ends it, or it fails.
pub(crate) fn run(args: &ConfigArgs) -> Exit {
    if let Err(exit) = arm_failpoints() {
        return exit;
    }
    // Before the file is read: a change from then on is noticed.
    let (ask, asked) = unbounded_channel();
    let again = args.clone();
    let reloads = Reloads::new(args.config.clone(), move || again.load(), asked);
    let config = match args.load() {
        Ok(config) => config,
        Err(errors) => return refused(&errors),
    };
    let logging = Logging::start(&config.log);
    let shutdown = shutdown_signal(logging.clone(), Some(ask));
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    mqtt_kafka_bridge::run_reloading(config, logging, metrics, shutdown, reloads)
}

/// As the environment says; nothing in a build without them. For the commands that route messages.
pub(crate) fn arm_failpoints() -> Result<(), Exit> {
    #[cfg(feature = "failpoints")]
    mqtt_kafka_bridge::failpoint::arm_from_env().map_err(|error| {
        eprintln!("{error}");
        Exit::Usage
    })?;
    Ok(())
}

/// Ends the sessions of one or all connections for good.
pub(crate) fn leave(args: &LeaveArgs) -> Exit {
    let mut config = match args.config.load() {
        Ok(config) => config,
        Err(errors) => return refused(&errors),
    };
    if let Some(name) = &args.connection {
        let names: Vec<_> = config.connection_names().map(|name| name.to_string()).collect();
        config.connections.retain(|mqtt| *mqtt.name == **name || *mqtt.section == **name);
        if config.connections.is_empty() {
            eprintln!("--connection: expected one of {}, found {name}", names.join(", "));
            return Exit::Usage;
        }
    }
    config.connections.retain(|mqtt| {
        let has_session = mqtt.session_expiry_s > 0;
        if !has_session {
            eprintln!("{}: no session outlives its connection, nothing to leave", mqtt.name);
        }
        has_session
    });
    if config.connections.is_empty() {
        return Exit::Drained;
    }
    let logging = Logging::start(&config.log);
    let interrupt = shutdown_signal(logging.clone(), None);
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    mqtt_kafka_bridge::leave(config, logging, metrics, interrupt)
}

/// Prints what the configuration resolves to, or everything that is wrong with it; or runs its examples.
pub(crate) fn check(args: &CheckArgs) -> Exit {
    let config = match args.config.load() {
        Ok(config) => config,
        Err(errors) => return refused(&errors),
    };
    if args.test {
        if let Err(exit) = arm_failpoints() {
            return exit;
        }
        return check_examples(&config, &args.config.config);
    }
    if let Err(exit) = check_files(&config) {
        return exit;
    }
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    print(config.describe().as_bytes());
    match config.tests() {
        0 => {}
        tests => eprintln!("{tests} [[routes.tests]] not run: check --test runs them"),
    }
    Exit::Drained
}

/// Runs the examples of all routes, and prints each with its result.
fn check_examples(config: &Config, file: &Path) -> Exit {
    let trials = config.trials(file.parent().unwrap_or(Path::new("")));
    let mut report = String::new();
    for Trial { path, route, mqtt_topic, differences } in &trials {
        let result = if differences.is_empty() { "ok" } else { "FAILED" };
        report.push_str(&format!(
            "{result}: {path} of {}: {}\n",
            Visible(route),
            Visible(mqtt_topic)
        ));
        for difference in differences {
            report.push_str(&format!("    {}\n", Visible(&difference.to_string())));
        }
    }
    let failed = trials.iter().filter(|trial| !trial.differences.is_empty()).count();
    report.push_str(&format!("{} of {} hold\n", trials.len() - failed, trials.len()));
    print(report.as_bytes());
    if failed == 0 { Exit::Drained } else { Exit::Unhealthy }
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
    if let Err(error) = http::check_files(&config.http) {
        eprintln!("{error}");
        return Err(Exit::Configuration);
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

/// Shows what the routes make of messages.
pub(crate) fn map(args: &MapCommand) -> Exit {
    if let Err(exit) = arm_failpoints() {
        return exit;
    }
    match args.config.load() {
        Ok(config) => map::run(&args.map, &config),
        Err(errors) => refused(&errors),
    }
}

/// Asks the running bridge whether it is ready or alive.
pub(crate) fn healthcheck(args: &HealthcheckArgs) -> Exit {
    let pages = args.config.load_pages().map_err(|errors| errors.to_string());
    match pages.and_then(|pages| http::check::check(&pages, args.live)) {
        Ok(()) => Exit::Drained,
        Err(why) => {
            eprintln!("{why}");
            Exit::Unhealthy
        }
    }
}

/// Prints the completions for a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> Exit {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&script);
    Exit::Drained
}

/// Prints the manual page: the program's own part, then one section for each subcommand.
pub(crate) fn man() -> Exit {
    print(&manual::page(Cli::command()));
    Exit::Drained
}

fn print(bytes: &[u8]) {
    // If the reader has closed the pipe, it has seen enough.
    let _ = std::io::stdout().write_all(bytes);
}
