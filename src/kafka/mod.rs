//! KafkaProducerActor and what it is made of.

pub mod classify;
mod outgoing;
mod events;
mod sentences;
mod token;
#[expect(unsafe_code, reason = "it calls C, and says why each call is sound")]
pub(crate) mod librdkafka;
pub mod login;
pub mod partition_queue;
pub mod refusals;
pub mod replay;
pub mod partitions;
mod producer_event;
pub mod producer;
pub mod dead_letter;
mod questions;
mod registrar;
mod delivery;
pub mod actor;
pub mod probe;
pub mod greeting;
pub mod visit;
pub mod reader;
pub mod resend;
#[cfg(test)]
mod test_support;

pub use actor::KafkaProducerActor;
pub use login::{Login, LoginThread};
pub use probe::{Probe, ProbeConfig};
pub use producer_event::{Event, ProducerEvent};
