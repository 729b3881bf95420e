//! Forwards messages from an MQTT broker to Kafka: acknowledged end to end, in order, supervised.

// In the order in which a newcomer should read them.
pub mod message;
pub mod config;
pub mod route;
pub mod mqtt;
pub mod kafka;
pub mod supervisor;
pub mod observe;
pub mod failpoint;
#[cfg(feature = "demo")]
pub mod demo;
