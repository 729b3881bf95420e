//! The configuration: what a user may write, what it resolves to, what is refused and how it is said.
//!
//! Text and environment become one value a key (`source`), values become a [`Config`]
//! (`resolve`), and whatever is wrong on the way is gathered and told at once. The table of all keys
//! is in [`keys`].

mod client;
mod describe;
mod errors;
mod for_test;
pub mod keys;
pub mod mqtt_url;
mod properties;
mod property_table;
mod resolve;
mod resolved;
mod secrets;
mod source;
mod text;
mod transport;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

pub use client::{KafkaClient, kafka_client, lingers};
pub use errors::{ConfigError, ConfigErrors, Place};
pub use properties::KAFKA_SETTINGS;
pub use property_table::REQUEST_BYTES;
pub use resolved::{
    Config, DeadLetterConfig, DeliveryConfig, HttpConfig, KafkaConfig, LogConfig, LogFormat,
    MqttConfig, Protocol, RenumberedRedelivery, Resubscribe, Secret, SupervisorConfig,
    TimingPolicy, Unmatched,
};
pub use secrets::Secrets;

use source::Source;

impl Config {
    /// Loads the file, overridden by the environment `env`.
    ///
    /// # Errors
    /// All that is wrong with it, the file not being readable included.
    pub fn load(
        path: &Path,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let read = std::fs::read(path)
            .map_err(|error| format!("expected a file that can be read, found {error}"));
        let read = read.as_ref().map_err(String::clone).and_then(|bytes| text::decode(bytes));
        match read {
            Ok(text) => Self::from_toml(text, &name, env),
            Err(text) => {
                let error = ConfigError { place: Place::File, key: String::new(), text };
                Err(ConfigErrors::new(&name, vec![error]))
            }
        }
    }

    /// Loads `text`, which errors call `name`, overridden by the environment `env`. Where it has
    /// librdkafka properties, a producer that contacts no broker is made for a moment, to hear what
    /// librdkafka thinks of them together.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn from_toml(
        text: &str,
        name: &str,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let env = env.into_iter().collect();
        let refused = |errors| ConfigErrors::new(name, errors);
        let source = Source::read(text, &env).map_err(refused)?;
        let place = source.sections.get(keys::PROPERTIES).cloned().unwrap_or(Place::File);
        let config = resolve(source).map_err(refused)?;
        if !config.kafka.properties.is_empty() {
            properties::try_together(&config).map_err(|text| {
                let key = keys::PROPERTIES.to_owned();
                refused(vec![ConfigError { place, key, text }])
            })?;
        }
        Ok(config)
    }
}

use resolve::resolve;

/// The environment of this process, for [`Config::load`]. What is not UTF-8 is replaced.
pub fn environment() -> BTreeMap<String, String> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect()
}
