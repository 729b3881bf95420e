//! What the poll thread of a producer tells KafkaProducerActor.

use actix::Message;

use super::partition_queue::Path;
use crate::message::Epoch;
use crate::observe::kafka_statistics::ClientStatistics;
use crate::observe::panics::PanicReport;

/// What a producer's poll thread tells the actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ProducerEvent {
    /// Of the producer. The actor ignores events of a producer that it has replaced.
    pub epoch: Epoch,
    /// Which of the two producers of that epoch.
    pub path: Path,
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
    /// What the client of this number counts.
    Statistics(usize, Box<ClientStatistics>),
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
