//! What can go wrong with the bench itself.

use std::io;

use rdkafka::error::KafkaError;

/// Why something could not be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    /// Arguments that do not go together.
    #[error("{0}")]
    Arguments(String),
    /// The system.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// OpenSSL, on the feed's side.
    #[error("TLS of the feed: {0}")]
    Tls(#[from] openssl::error::ErrorStack),
    /// librdkafka, in the bench's own clients.
    #[error("Kafka: {0}")]
    KafkaClient(#[from] KafkaError),
    /// The mock cluster, or an answer of a real Kafka.
    #[error("Kafka: {0}")]
    Kafka(String),
    /// The real MQTT broker.
    #[error("MQTT broker: {0}")]
    Broker(String),
    /// The connection between the feed and the measured process.
    #[error("feed: {0}")]
    Feed(String),
    /// The measured process.
    #[error("the process under measurement: {0}")]
    Process(String),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
    /// A file of results.
    #[error("{0}: {1}")]
    Results(String, String),
}
