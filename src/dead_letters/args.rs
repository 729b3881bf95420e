//! The options of `dead-letters`, and what they name.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::exit::Exit;

use super::select::SelectArgs;
use super::source::Source;
use crate::config_args::ConfigArgs;

/// What to do with dead letters.
#[derive(Debug, Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    pub(super) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// List them, one a line
    List(ListArgs),
    /// Show all that one of them says
    Show(ShowArgs),
    /// Send them to Kafka through the routes of today: exit code 0 if all are there, 1 if some are left,
    /// 3 if Kafka does not answer. A second run goes on behind what is in Kafka
    Replay(ReplayArgs),
    /// Write them as JSON lines, or their payloads to files
    Export(ExportArgs),
}

/// Where they are, and which of them.
#[derive(Debug, Args)]
pub(crate) struct From {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Read this file instead of what the configuration names
    #[arg(long, value_name = "FILE", conflicts_with = "kafka_topic")]
    pub(super) file: Option<PathBuf>,
    /// Read this Kafka topic instead of what the configuration names
    #[arg(long, value_name = "NAME")]
    pub(super) kafka_topic: Option<String>,
    #[command(flatten)]
    pub(super) select: SelectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(super) from: From,
    /// As JSON lines, without payloads
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its id, or the beginning of it
    pub(super) id: String,
    #[command(flatten)]
    pub(super) from: From,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    pub(super) from: From,
    /// Say what would become of each, and send nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// The file that remembers what is in Kafka, so that it is not sent twice. Without it: beside the dead
    /// letter file, or for a Kafka topic NAME.replayed in the working directory
    #[arg(long, value_name = "FILE")]
    pub(super) progress: Option<PathBuf>,
    /// With match = "all": the route of those whose own route is gone, which are left otherwise
    #[arg(long, value_name = "NAME")]
    pub(super) as_route: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(super) from: From,
    /// Write each payload to a file of its own in this directory, named by the id
    #[arg(long, value_name = "DIR")]
    pub(super) payloads: Option<PathBuf>,
}

impl From {
    /// The configuration and where the dead letters are.
    pub(super) fn open(&self) -> Result<(Arc<Config>, Source), Exit> {
        let config = self.config.load().map_err(|errors| {
            eprintln!("{errors}");
            Exit::Configuration
        })?;
        let config = Arc::new(config);
        let source = match (&self.file, &self.kafka_topic) {
            (Some(file), _) => Source::file(file.clone()),
            (None, Some(name)) => Source::kafka_topic(&config, name.clone()),
            (None, None) => Source::configured(&config),
        };
        Ok((config, source))
    }
}

/// Says why, and ends so.
pub(super) fn failed(exit: Exit) -> impl Fn(String) -> Exit {
    move |why| {
        eprintln!("{why}");
        exit
    }
}
