//! `--config`, and reading what it names.

use std::path::PathBuf;

use clap::Args;

use mqtt_kafka_bridge::config::{Config, ConfigErrors, HttpConfig, environment};

/// Where the configuration is.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "config.toml")]
    pub config: PathBuf,
}

impl ConfigArgs {
    /// Reads the configuration from the file and this process's environment.
    ///
    /// # Errors
    /// All errors in it.
    pub(crate) fn load(&self) -> Result<Config, ConfigErrors> {
        Config::load(&self.config, environment())
    }

    /// Reads only where the bridge's pages are.
    ///
    /// # Errors
    /// What is wrong with that.
    pub(crate) fn load_pages(&self) -> Result<HttpConfig, ConfigErrors> {
        Config::load_pages(&self.config, environment())
    }

    /// Reads only where the bridge's pages are, and what those ask for that are not for probes.
    ///
    /// # Errors
    /// What is wrong with that.
    pub(crate) fn load_pages_with_token(&self) -> Result<HttpConfig, ConfigErrors> {
        Config::load_pages_with_token(&self.config, environment())
    }
}
