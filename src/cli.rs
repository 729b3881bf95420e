//! The command line: what can be asked for, and how the process is told to stop.

use std::io;
use std::path::PathBuf;
use std::task::Poll;

use clap::{Args, Parser, Subcommand};
use slog::{error, info, o, warn};
use tokio::signal::unix::{Signal, SignalKind, signal};

use mqtt_kafka_bridge::config::{Config, ConfigErrors, environment};
use mqtt_kafka_bridge::exit::{Cause, Exit};
use mqtt_kafka_bridge::observe::log::Logging;
use mqtt_kafka_bridge::observe::{keys, panics};

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
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the bridge until SIGTERM, SIGINT, SIGQUIT or SIGHUP, then drain; a second one of the first
    /// three leaves at once
    Run(ConfigArgs),
    /// Print what the configuration resolves to, secrets redacted, or everything wrong with it
    Check(ConfigArgs),
    /// Ask the running bridge whether it is ready: exit code 0, or 1 and the reasons on stderr
    Healthcheck(HealthcheckArgs),
    /// See it work: both brokers and a fleet of devices inside this process
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Measure what a message costs, from PUBLISH to PUBACK, and whether all arrives in order
    #[cfg(feature = "demo")]
    Bench(Box<crate::bench::BenchArgs>),
    /// What `bench` measures the bridge against
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    BenchSubject(crate::bench::SubjectArgs),
}

/// What to ask the running bridge.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Ask whether it is alive instead
    #[arg(long)]
    pub live: bool,
    /// The configuration that the bridge runs with: http.listen says where to ask
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "config.toml")]
    pub config: PathBuf,
}

impl ConfigArgs {
    /// The configuration of the file and this process's environment.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.config, environment())
    }
}

/// Examples and exit codes.
fn after_help() -> String {
    let codes = Exit::ALL.map(|exit| format!("  {:>2}  {}", exit.code(), exit.meaning()));
    format!("{EXAMPLES}\n\nExit codes:\n{}", codes.join("\n"))
}

/// Signals that ask the bridge to stop, and once more to leave at once. SIGPIPE is ignored, as in
/// every Rust program: a reader of the log that went away is no reason to end.
const STOP: [(SignalKind, &str); 3] = [
    (SignalKind::terminate(), "SIGTERM"),
    (SignalKind::interrupt(), "SIGINT"),
    (SignalKind::quit(), "SIGQUIT"),
];

/// Completes at the first SIGTERM, SIGINT, SIGQUIT or SIGHUP. At a second one the log is flushed and
/// the process ends at once. To be polled on a Tokio runtime, and the signals count from the first
/// poll.
///
/// SIGHUP never counts as the second: a closed terminal sends it twice, and systemd right behind
/// SIGTERM. Where it is ignored from the start (`nohup`), it stays ignored.
pub(crate) async fn shutdown_signal(logging: Logging) {
    let log = logging.logger().new(o!(keys::COMPONENT => "signal"));
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            // Nothing was received yet. Going on would mean to be ended without a drain one day.
            let exit = Exit::Failed;
            error!(log, "signals cannot be handled"; keys::ERROR => error,
                keys::REASON => Cause::NotStarted.name(), keys::EXIT_CODE => exit.code());
            logging.flush();
            std::process::exit(exit.code());
        }
    };
    let name = signals.next().await;
    info!(log, "stopping"; keys::SIGNAL => name);
    actix_rt::spawn(async move {
        let name = loop {
            match signals.next().await {
                HANGUP => {}
                name => break name,
            }
        };
        let exit = Exit::DeadlinePassed;
        warn!(log, "second signal, leaving at once";
            keys::SIGNAL => name, keys::EXIT_CODE => exit.code());
        logging.flush();
        std::process::exit(exit.code());
    });
}

const HANGUP: &str = "SIGHUP";

/// What is listened for.
struct Signals(Vec<(Signal, &'static str)>);

impl Signals {
    fn listen() -> Result<Self, String> {
        let mut wanted = STOP.to_vec();
        if !is_ignored(libc::SIGHUP) {
            wanted.push((SignalKind::hangup(), HANGUP));
        }
        let listen = |(kind, name)| Ok((signal(kind)?, name));
        // Tokio panics where the system has no file handle left.
        let listening: Result<io::Result<Vec<_>>, _> =
            panics::catch(|| wanted.into_iter().map(listen).collect());
        match listening {
            Ok(Ok(signals)) => Ok(Self(signals)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic.message),
        }
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            for (signal, name) in &mut self.0 {
                if signal.poll_recv(cx).is_ready() {
                    return Poll::Ready(*name);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether whoever started us has the signal ignored.
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: the structure is plain data that sigaction(2) fills; a null pointer changes nothing.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut now) == 0
            && now.sa_sigaction == libc::SIG_IGN
    }
}
