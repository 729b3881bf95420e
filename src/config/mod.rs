//! The configuration: what a user may write, what it resolves to, what is refused and how it is said.

mod resolved;

pub use resolved::{
    Config, DeadLetterConfig, DeliveryConfig, KafkaConfig, LogConfig, LogFormat, MqttConfig,
    Protocol, Secret, SupervisorConfig, TimingPolicy,
};
