//! The command line: what can be asked for, and how the process is told to stop.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use slog::{info, o, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{Config, ConfigErrors, environment};
use crate::exit::Exit;
use crate::observe::keys;
use crate::observe::log::Logging;

const EXAMPLES: &str = "\
Examples:
  mqtt-kafka-bridge check --config config.toml
  mqtt-kafka-bridge run --config config.toml
  mqtt-kafka-bridge healthcheck --config config.toml
  BRIDGE_KAFKA__BROKERS=a:9092,b:9092 mqtt-kafka-bridge run

Every key can be given in the environment: BRIDGE_SECTION__KEY, for example
BRIDGE_MQTT__URL, BRIDGE_ROUTES__0__FILTER, BRIDGE_KAFKA__PROPERTIES__LINGER_MS.";

/// Forwards MQTT messages to Kafka: acknowledged end to end, in order, supervised.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = after_help())]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the bridge until SIGTERM or SIGINT, then drain; a second signal leaves at once
    Run(ConfigArgs),
    /// Print what the configuration resolves to, secrets redacted, or everything wrong with it
    Check(ConfigArgs),
    /// Ask the running bridge whether it is ready: exit code 0, or 1 and the reasons on stderr
    Healthcheck(HealthcheckArgs),
    /// See it work: both brokers and a fleet of devices inside this process
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
}

/// What to ask the running bridge.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Ask whether it is alive instead
    #[arg(long)]
    pub live: bool,
    /// The configuration that the bridge runs with: http.listen says where to ask
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "config.toml")]
    pub config: PathBuf,
}

impl ConfigArgs {
    /// The configuration of the file and this process's environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.config, environment())
    }
}

/// Examples and exit codes.
fn after_help() -> String {
    let codes = Exit::ALL.map(|exit| format!("  {:>2}  {}", exit.code(), exit.meaning()));
    format!("{EXAMPLES}\n\nExit codes:\n{}", codes.join("\n"))
}

/// Completes at the first SIGTERM or SIGINT. At a second one the log is flushed and the process ends
/// at once. To be polled on a Tokio runtime, and the signals count from the first poll.
pub async fn shutdown_signal(logging: Logging) {
    let log = logging.logger().new(o!(keys::COMPONENT => "signal"));
    let signals = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            // Without a handler, a signal ends the process in its default way.
            warn!(log, "signals cannot be handled"; keys::ERROR => %error);
            return std::future::pending().await;
        }
    };
    let name = next(&mut terminate, &mut interrupt).await;
    info!(log, "stopping"; keys::SIGNAL => name);
    actix_rt::spawn(leave_at_next(terminate, interrupt, logging, log));
}

/// The name of the next signal.
async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

async fn leave_at_next(
    mut terminate: Signal,
    mut interrupt: Signal,
    logging: Logging,
    log: slog::Logger,
) {
    let name = next(&mut terminate, &mut interrupt).await;
    let exit = Exit::DeadlinePassed;
    warn!(log, "second signal, leaving at once"; keys::SIGNAL => name, keys::EXIT_CODE => exit.code());
    logging.flush();
    std::process::exit(exit.code());
}
