//! SupervisorActor and what it is made of.

pub mod heartbeat;

pub use heartbeat::Heartbeat;

/// Stub.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct StopIntake;
/// Stub.
#[derive(actix::Message)]
#[rtype(result = "()")]
pub struct Drained;
