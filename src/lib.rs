//! Forwards messages from MQTT brokers to Kafka: acknowledged end to end, in order, supervised.
//!
//! The data path is one straight line:
//!
//! ```text
//! broker -> transport -> frame -> packet -> router -> window.admit -> ForwardBatch
//!                                                                          |
//!                                          KafkaProducerActor -> librdkafka -> Kafka
//!                                                                          |
//! PUBACK <- window.release, in order <- window.settle <- Verdicts <- delivery reports
//! ```
//!
//! What it promises:
//!
//! 1. A QoS 1 message that was acknowledged to the broker is in Kafka (`acks=all`), or durably in
//!    the dead letter with its reason; the only exception are messages that no route matches.
//! 2. Messages of one MQTT topic reach one partition in the order of their receipt; PUBACKs leave in
//!    the order of the PUBLISHes.
//! 3. `received = delivered + dead_lettered + filtered + shed + in_flight`, at any moment.
//! 4. It stays up through an unreachable broker, a lost session, a poison message or a panic. If it
//!    cannot go on, the process ends with a code that says why.
//! 5. It is bounded: window, logs, dead letters, restarts.
//!
//! docs/architecture.md says the same at more length; docs/guarantees.md says what can still go wrong.

#![deny(unsafe_code)]

// In the order in which a newcomer should read them.
pub mod message;
pub mod stage;
pub mod config;
pub mod route;
pub mod mqtt;
pub mod kafka;
pub mod supervisor;
pub mod reload;
pub mod reloader;
pub mod bridge;
pub mod backoff;
pub mod visible;
pub mod observe;
mod command;
pub mod file_watch;
pub mod certificate;
pub mod certificate_watch;
pub mod reach;
pub mod http;
pub mod failpoint;
pub mod exit;

pub use bridge::{leave, run, run_reloading};
pub use reloader::Reloads;

/// Certificates for the tests of TLS.
#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "the stories use the same file")]
#[path = "../tests/support/pki.rs"]
mod pki;
