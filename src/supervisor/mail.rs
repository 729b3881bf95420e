//! What SupervisorActor is told, and what it tells.

use std::sync::Arc;

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use crate::observe::PanicReport;
use crate::stage::SourceId;

/// An actor under guard has failed, and waits for what becomes of it.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChildDown {
    /// Its name.
    pub actor: Arc<str>,
    /// How it failed.
    pub cause: Cause,
    /// Takes the answer. Dropped unanswered, it ends the actor and the system.
    pub reply: oneshot::Sender<Directive>,
}

/// How an actor failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A panic, in whatever runs in its context.
    Panicked(PanicReport),
    /// It stopped by itself. It should not.
    Stopped,
    /// Its constructor panicked: there is nothing to restart.
    NotBuilt(PanicReport),
}

/// What becomes of an actor that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// Restart now.
    Restart,
    /// End: the system is stopping.
    Stop,
}

/// Tells SupervisorActor that all actors are there.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Supervise {
    /// The MqttActors. A drain is over when each has answered [`Drained`].
    pub intakes: Vec<Recipient<StopIntake>>,
}

/// Stop in order: take nothing more, finish what is in flight. Asked again, it changes nothing.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// To MqttActor: take nothing more; when everything in flight is settled and acknowledged and the
/// connection is closed, answer [`Drained`] to SupervisorActor. May come more than once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct StopIntake;

/// From MqttActor: nothing of its connection is in flight any more, and the connection is closed. May
/// come more than once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Drained {
    /// Which connection.
    pub source: SourceId,
    /// Settled messages whose PUBACK could not be written because the connection was lost: the broker
    /// sends them again to the next bridge.
    pub unacknowledged: u64,
}
