//! The command line: subcommands, their options and their help.

use clap::{Args, Parser, Subcommand};

use mqtt_kafka_bridge::exit::{ENDINGS, Ending};

use crate::config_args::ConfigArgs;

const EXAMPLES: &str = "\
Examples:
  mqtt-kafka-bridge check --config config.toml
  mqtt-kafka-bridge doctor --config config.toml
  mqtt-kafka-bridge run --config config.toml
  mqtt-kafka-bridge map --config config.toml --payload 21.5 sensors/berlin/d7/temp
  mqtt-kafka-bridge latency --config config.toml --watch
  mqtt-kafka-bridge latency --log bridge.log --html report.html
  mqtt-kafka-bridge top --config config.toml
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
    /// Run the bridge. SIGTERM, SIGINT, SIGQUIT and the end of its terminal make it drain and exit; a
    /// second signal makes it exit at once. SIGHUP makes it read its configuration again
    Run(ConfigArgs),
    /// Leave for good: deliver what the broker still keeps for this client, unsubscribe everything and
    /// end the session. Exit code 0 if it is gone, 3 if not all could be delivered: then it is kept
    Leave(LeaveArgs),
    /// Print the configuration with all defaults, secrets redacted, or every error in it
    Check(CheckArgs),
    /// Print the records that a message would become, without connecting to anything: exit code 0 if each
    /// message becomes a record or is dropped by a filter, 1 if one goes to the dead letter or matches no route.
    /// With --live it connects to the MQTT brokers, and never to Kafka
    Map(Box<MapCommand>),
    /// Check both sides with the configuration, from DNS to permissions, and say what to do. A bridge that runs is not
    /// disturbed, and nothing is written to Kafka. Exit code 1 if there is an error
    Doctor(DoctorCommand),
    /// Show where the time goes, hop by hop: of the bridge that runs, or by the timing records of logs (--log), as tables,
    /// as JSON or as a page with charts (--html). Exit code 1 if there is nothing to show
    Latency(Box<LatencyCommand>),
    /// Show the status page of the bridge that runs in this terminal, live: flow, rates, routes, latencies, dead letters,
    /// restarts, warnings, and what to do. q ends it, ? lists the keys
    Top(TopCommand),
    /// List, show, export and replay dead letters, from the bridge's file or Kafka topic
    DeadLetters(Box<crate::dead_letters::args::DeadLettersArgs>),
    /// Ask the running bridge whether it is ready: exit code 0 if so, else 1 and the reasons on stderr
    Healthcheck(HealthcheckArgs),
    /// Print the completions for a shell: `source <(mqtt-kafka-bridge completions bash)`
    Completions(CompletionsArgs),
    /// Print the manual page: `mqtt-kafka-bridge man | man -l -`
    Man,
    /// Show the bridge at work, with both brokers and simulated devices inside this process
    #[cfg(feature = "demo")]
    Demo(crate::demo::DemoArgs),
    /// Measure the cost and latency of a message, and check that all arrive in order
    #[cfg(feature = "demo")]
    Bench(Box<crate::bench::BenchArgs>),
    /// The process that `bench` measures
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    BenchSubject(crate::bench::SubjectArgs),
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Run the examples of all routes ([[routes.tests]]) instead of printing: exit code 0 if each holds,
    /// else 1
    #[arg(long)]
    pub test: bool,
    /// The configuration to check
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to leave.
#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    /// Only this connection, or all that its section opens
    #[arg(long, value_name = "NAME")]
    pub connection: Option<String>,
    /// The configuration of the bridge that leaves
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to map, by which configuration.
#[derive(Debug, Args)]
pub(crate) struct MapCommand {
    /// The messages
    #[command(flatten)]
    pub map: crate::map::MapArgs,
    /// The configuration whose routes are asked
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to look at, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct DoctorCommand {
    /// How the findings are told
    #[command(flatten)]
    pub doctor: crate::doctor::args::DoctorArgs,
    /// The configuration of the bridge
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to look at, and where the running bridge is.
#[derive(Debug, Args)]
pub(crate) struct LatencyCommand {
    /// What is shown
    #[command(flatten)]
    pub latency: crate::latency::args::LatencyArgs,
    /// The configuration of the bridge; its http.listen is the address to ask. --log needs none
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// How to watch the running bridge, and where it is.
#[derive(Debug, Args)]
pub(crate) struct TopCommand {
    /// How it is watched
    #[command(flatten)]
    pub top: crate::top::args::TopArgs,
    /// The configuration of the bridge; its http.listen is the address to ask
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// What to ask the running bridge.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Ask whether the bridge is alive, not whether it is ready
    #[arg(long)]
    pub live: bool,
    /// The bridge's own configuration; its http.listen is the address to ask
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Which completions to print.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Examples and exit codes.
fn after_help() -> String {
    let mut before = None;
    let is_here = |ending: &&Ending| cfg!(feature = "demo") || !ending.from.contains(&"demo");
    let codes = ENDINGS.iter().filter(is_here).map(|ending| {
        let code = match before.replace(ending.code) {
            Some(before) if before == ending.code => String::new(),
            _ => ending.code.to_string(),
        };
        format!("  {code:>3}  {}: {}", ending.from.join(", "), ending.meaning)
    });
    format!("{EXAMPLES}\n\nExit codes:\n{}", codes.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn each_subcommand_has_its_exit_codes_and_no_other_has_any() {
        let visible = Cli::command();
        let visible = visible.get_subcommands().filter(|command| !command.is_hide_set());
        let visible: BTreeSet<_> = visible.map(|command| command.get_name().to_owned()).collect();
        let of_code = |code: Option<u8>| {
            let endings =
                ENDINGS.iter().filter(move |ending| code == Some(ending.code) || code.is_none());
            endings.flat_map(|ending| ending.from.iter().map(|name| (*name).to_owned()))
        };
        let good: BTreeSet<_> = of_code(Some(0)).collect();
        assert!(visible.is_subset(&good), "{visible:?} {good:?}");
        if cfg!(feature = "demo") {
            let all: BTreeSet<_> = of_code(None).filter(|name| name != "any").collect();
            assert_eq!(visible, all);
        }
    }
}
