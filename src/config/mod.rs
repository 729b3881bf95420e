//! The configuration: which keys there are, how the bridge reads and checks them, and the errors.
//!
//! `source` turns the file and the environment into one value for each key, `reading` reads each key of
//! the table in [`keys`] into its field of [`Config`], `relations` compares keys with one another, and all
//! errors are reported together.

mod authorities;
mod brokers;
mod client;
mod client_id;
mod connections;
mod describe;
mod difference;
mod errors;
mod field;
mod for_test;
mod form;
mod header_words;
mod java_names;
mod kafka_login;
mod kafka_topic;
pub mod keys;
mod list;
mod load;
mod mqtt_config;
mod mqtt_relations;
pub mod mqtt_url;
pub mod payload_file;
mod properties;
mod property_table;
mod proxy_url;
mod reading;
mod record_relations;
mod relations;
mod resolve;
mod resolved;
mod route_draft;
mod route_fields;
mod route_relations;
mod route_settings;
mod route_warnings;
mod secret;
mod secret_file;
mod secrets;
mod setting;
mod source;
mod suggest;
mod test_draft;
mod test_fields;
mod text;
mod toml_text;
mod transport;
mod trials;
mod url_authority;
mod value;
mod warnings;

#[cfg(test)]
mod tests;

pub use client::{KafkaClient, kafka_client, lingers};
pub use errors::{ConfigError, ConfigErrors, Location};
pub use kafka_login::{Oidc, TokenSource, filled};
pub(crate) use kafka_topic::is_legal as is_legal_kafka_topic;
pub use load::environment;
pub use mqtt_config::{
    BrokerAddress, Endpoint, HostPort, MqttConfig, Password, Protocol, ProxyConfig, ProxyKind,
    RenumberedRedelivery, Resubscribe, StatusConfig, TlsConfig, TlsVersion, Unmatched,
};
pub use properties::try_together;
pub use property_table::{KAFKA_SETTINGS, REQUEST_BYTES};
pub use resolved::{
    Config, DeadLetterConfig, DeliveryConfig, HttpConfig, KafkaConfig, LogConfig, LogFormat,
    Reload, SupervisorConfig, TimingPolicy,
};
pub use secret::Secret;
pub use secret_file::read as read_secret;
pub use secrets::Secrets;
pub use trials::Trial;
