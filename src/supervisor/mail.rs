//! The messages to and from SupervisorActor.

use std::sync::Arc;

use actix::{Message, Recipient};
use tokio::sync::oneshot;

use crate::observe::PanicReport;
use crate::stage::SourceId;

/// An actor under guard has failed, and waits for a [`Directive`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ChildDown {
    /// Its name.
    pub actor: Arc<str>,
    /// How it failed.
    pub cause: Cause,
    /// Takes the answer. If it is dropped without an answer, actor and system end.
    pub reply: oneshot::Sender<Directive>,
}

/// How an actor failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// A panic in anything that runs in its context.
    Panicked(PanicReport),
    /// It stopped by itself, which it should not.
    Stopped,
    /// Its constructor panicked: there is nothing to restart.
    NotBuilt(PanicReport),
}

/// What to do with an actor that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// Restart now.
    Restart,
    /// End: the system is stopping.
    Stop,
}

/// Tells SupervisorActor that all actors are started.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Supervise {
    /// The MqttActors. A drain is over when each has answered [`Drained`].
    pub intakes: Vec<Recipient<StopIntake>>,
}

/// Stop in order: take in nothing more, finish what is in flight. Sent again, it changes nothing.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Drain;

/// The configuration is being read again; for the service manager.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Reloading {
    /// It was read, and what can be applied is.
    pub is_over: bool,
}

/// To MqttActor: take in nothing more; when everything in flight is settled and acknowledged and the
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
