//! What `demo` is told on the command line.

use std::time::Duration;

use clap::Args;

/// Arguments of the subcommand `demo`.
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Messages a second, of all devices together
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Simulated devices
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// How long the devices publish, such as 30s or 5m; without it until Ctrl-C
    #[arg(long, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// The same seed gives the same devices with the same readings
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Panic an actor every few seconds, to see it heal
    #[arg(long)]
    pub chaos: bool,
    /// End with one JSON object on the last line of stdout
    #[arg(long)]
    pub json: bool,
}
