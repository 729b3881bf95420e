//! The configuration: what a user may write, what it resolves to, what is refused and how it is said.
//!
//! Text and environment become one value a key (`source`), values become a [`Config`]
//! (`resolve`), and whatever is wrong on the way is gathered and told at once. The table of all keys
//! is in [`keys`].

mod brokers;
mod client;
mod describe;
mod errors;
mod field;
mod for_test;
mod form;
mod kafka_topic;
pub mod keys;
mod load;
pub mod mqtt_url;
mod properties;
mod property_table;
mod reading;
mod relations;
mod resolve;
mod resolved;
mod secret_file;
mod secrets;
mod setting;
mod source;
mod suggest;
mod text;
mod toml_text;
mod transport;
mod value;

#[cfg(test)]
mod tests;

pub use client::{KafkaClient, kafka_client, lingers};
pub use errors::{ConfigError, ConfigErrors, Location};
pub use load::environment;
pub use property_table::{KAFKA_SETTINGS, REQUEST_BYTES};
pub use resolved::{
    Config, DeadLetterConfig, DeliveryConfig, HttpConfig, KafkaConfig, LogConfig, LogFormat,
    MqttConfig, Protocol, RenumberedRedelivery, Resubscribe, Secret, SupervisorConfig,
    TimingPolicy, Unmatched,
};
pub use secrets::Secrets;
