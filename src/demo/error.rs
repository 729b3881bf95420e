//! What can go wrong with the demo itself.

use std::io;
use std::time::Duration;

use mqtt_kafka_bridge::exit::Exit;
use rdkafka::error::KafkaError;

/// Why the demo could not be played.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The embedded broker did not start.
    #[error("embedded MQTT broker: {0}")]
    Mqtt(String),
    /// The mock cluster or the demo's consumer.
    #[error("mock Kafka cluster: {0}")]
    Kafka(#[from] KafkaError),
    /// A thread could not be started.
    #[error("thread {0}: {1}")]
    Thread(&'static str, io::Error),
    /// The runtime could not be started.
    #[error("runtime: {0}")]
    Runtime(#[from] io::Error),
    /// Signals cannot be handled.
    #[error("signals: {0}")]
    Signals(String),
    /// The consumer's thread panicked.
    #[error("the consumer panicked: it is unknown what arrived")]
    Consumer,
    /// The bridge ended although nobody asked it to.
    #[error("the bridge ended by itself: {}", .0.meaning())]
    BridgeEnded(Exit),
    /// The bridge did not subscribe in time.
    #[error("the bridge did not subscribe within {} s", .0.as_secs())]
    NotSubscribed(Duration),
    /// The demo's own configuration was refused.
    #[error("{0}")]
    Config(String),
}
