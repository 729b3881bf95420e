//! The command line of the demo.

use std::time::Duration;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  mqtt-kafka-bridge demo
  mqtt-kafka-bridge demo --rate 5000 --devices 100 --duration 30s
  mqtt-kafka-bridge demo --chaos --seed 7 --json

Exit code 0: the counts balance, and no message was lost or reordered.";

/// `demo`
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Messages per second, all devices together
    #[arg(long, value_name = "N", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// Number of simulated devices, each with its own MQTT topic
    #[arg(long, value_name = "N", default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub devices: u32,
    /// Stop after this time, such as 30s or 5m [default: at Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Seed of the telemetry and the chaos, to repeat a demo [default: random]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Make an actor panic every few seconds, to show that the bridge heals
    #[cfg(feature = "failpoints")]
    #[arg(long)]
    pub chaos: bool,
    /// Also print the summary as JSON, as the last line of stdout
    #[arg(long)]
    pub json: bool,
}

impl DemoArgs {
    /// Whether to make actors panic; never without the feature `failpoints`.
    pub(crate) fn chaos(&self) -> bool {
        #[cfg(feature = "failpoints")]
        return self.chaos;
        #[cfg(not(feature = "failpoints"))]
        return false;
    }
}

/// Parses a time of one second to one day.
fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| (1..=86_400).contains(&duration.as_secs()))
        .filter(|duration| *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| "expected a time with its unit such as 30s, from 1s to 1d".to_owned())
}
