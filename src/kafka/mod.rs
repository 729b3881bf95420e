//! KafkaProducerActor and what it is made of.

pub mod classify;
mod ffi;
mod client;
mod events;
pub mod partition_queue;
pub mod refusals;
mod sentences;
pub mod partitions;
pub mod producer;
pub mod dead_letter;
pub mod actor;
pub mod probe;

pub use actor::KafkaProducerActor;
pub use probe::Probe;

use actix::Message;

use crate::message::Epoch;
use crate::observe::panics::PanicReport;
use partition_queue::Via;

/// A partition takes part in a round of records while fewer than this are in flight there: with more an
/// idempotent producer sends nothing, and its thread turns in a busy loop over what waits
/// (docs/decisions/0004-rounds.md). And the next round begins when fewer than this of the last one are in
/// flight, or it has waited for long enough (docs/decisions/0012-one-stops-itself.md).
const ROUND_BELOW: usize = 5;

/// What a producer's poll thread tells the actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ProducerEvent {
    /// Of the producer. One that is gone has nothing more to say.
    pub epoch: Epoch,
    /// Which of the two.
    pub via: Via,
    /// What happened.
    pub event: Event,
}

/// See [`ProducerEvent`].
#[derive(Debug)]
pub enum Event {
    /// There are delivery reports to take: sent when the next round can begin, or the first has waited.
    Reports,
    /// librdkafka has an error to tell that is no record's.
    Trouble {
        /// Its code.
        code: i32,
        /// What it says.
        detail: String,
    },
    /// A broker answers, at first or again.
    Reached,
    /// librdkafka has lost a partition's leader, and may never look for it again.
    LeaderLost,
    /// The thread is gone without having been asked.
    PollThreadEnded {
        /// Why, if it was a panic.
        panic: Option<PanicReport>,
    },
}
