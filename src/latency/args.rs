//! The options of `latency`.

use std::path::PathBuf;

use clap::Args;

use super::moment;
use super::tally::Choice;

/// At most so many of the slowest are shown.
const SLOWEST_MAX: u64 = 1000;

/// What is looked at, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Read the timing records of logs, plain or compressed by gzip or zstd; `-` is the standard input. Without it, the
    /// running bridge is asked
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub log: Vec<PathBuf>,
    /// With --log: compare with the timing records of these logs, which are later or of something changed
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "log")]
    pub compare: Vec<PathBuf>,
    /// With --log: write a page with charts, which needs no other file and no network
    #[arg(long, value_name = "FILE", requires = "log", conflicts_with_all = ["compare", "json"])]
    pub html: Option<PathBuf>,
    /// With --log: only what was received at or after this moment, such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "MOMENT", requires = "log", value_parser = moment::parse, allow_hyphen_values = true)]
    pub from: Option<i64>,
    /// With --log: only what was received before this moment
    #[arg(long, value_name = "MOMENT", requires = "log", value_parser = moment::parse, allow_hyphen_values = true)]
    pub to: Option<i64>,
    /// Only this route; can be repeated
    #[arg(long, value_name = "NAME")]
    pub route: Vec<String>,
    /// Only this connection; can be repeated
    #[arg(long, value_name = "NAME")]
    pub connection: Vec<String>,
    /// How many of the slowest are shown
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=SLOWEST_MAX))]
    pub slowest: u64,
    /// One JSON object instead of text; with --watch one a line
    #[arg(long)]
    pub json: bool,
    /// Ask the running bridge each second, until Ctrl-C
    #[arg(long, conflicts_with = "log")]
    pub watch: bool,
}

impl LatencyArgs {
    pub(super) fn choice(&self) -> Choice {
        Choice {
            from_us: self.from,
            to_us: self.to,
            routes: self.route.clone(),
            connections: self.connection.clone(),
            slowest: usize::try_from(self.slowest).unwrap_or(usize::MAX),
        }
    }
}
