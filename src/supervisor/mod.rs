//! SupervisorActor and what it is made of.

pub mod heartbeat;

pub use heartbeat::Heartbeat;
