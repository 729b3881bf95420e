//! The contract between stages: a source hands messages on to the next stage and gets verdicts back.
//!
//! A [`ForwardMsg`] travels MqttActor -> KafkaProducerActor inside a [`ForwardBatch`], which holds
//! everything that one read yielded, because wake-ups are what costs. A [`Verdict`] travels back, by message and
//! record. There is no negative verdict: a stage that loses messages begins a new [`Epoch`], and
//! [`StageReady`] tells the source to hand on again, in order, everything without a verdict
//! (docs/decisions/0001-replay-by-epoch.md).

use std::sync::Arc;
use std::time::Instant;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message as ActixMessage, Recipient};

use crate::message::{Destination, Epoch, Message, Record, RecordId, Stamp};

/// One destination of one routed message: nearly always the record that the message became.
#[derive(Debug, Clone, ActixMessage)]
#[rtype(result = "()")]
pub struct ForwardMsg {
    /// Identifies it; its verdict carries the same id.
    pub id: RecordId,
    /// The message as received, with everything that routing made of it.
    pub message: Arc<Message>,
}

impl ForwardMsg {
    /// The destination that [`ForwardMsg::id`] names.
    #[inline]
    pub fn destination(&self) -> Option<&Destination> {
        self.message.destinations.as_slice().get(usize::from(self.id.index))
    }

    /// The record, unless the destination is the dead letter.
    #[inline]
    pub fn record(&self) -> Option<&Record> {
        match self.destination()? {
            Destination::Record(record) => Some(record),
            Destination::DeadLetter(_) => None,
        }
    }
}

/// Everything that one read yielded, in the order of receipt. A stage with another epoch than `stage_epoch`
/// refuses the whole batch without a verdict: when it announces its epoch, the source hands the messages on
/// again.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct ForwardBatch {
    /// The stage's epoch that this batch is meant for.
    pub stage_epoch: Epoch,
    /// Ascending by sequence number, and within a message by index.
    pub messages: Vec<ForwardMsg>,
    /// Who gets the verdicts: the number that [`Attach`] was given.
    pub source: SourceId,
}

/// A source of messages: one MQTT connection, by its place in the configuration, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// A source tells the next stage where its verdicts go. Answered by [`StageReady`] at once and at each
/// new epoch. A source that was restarted attaches again under the same number and then hands on again
/// everything without a verdict, because verdicts may have been lost with it. The stage does not produce
/// a second time what it still has.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Attach {
    /// The source's number, the same for the life of the process.
    pub source: SourceId,
    /// Gets verdicts.
    pub verdicts: Recipient<Verdicts>,
    /// Gets the announcement of each new epoch.
    pub ready: Recipient<StageReady>,
}

/// The stage takes batches of this epoch. The source hands on, in order and addressed to this epoch,
/// everything that has no verdict yet.
#[derive(Debug, Clone, Copy, ActixMessage)]
#[rtype(result = "()")]
pub struct StageReady {
    /// The epoch that batches have to carry.
    pub stage_epoch: Epoch,
}

/// The final outcome for one destination of one message. Only the first one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kafka acknowledged the record (acks=all).
    Delivered(RecordId),
    /// Refused for good, and its dead letter is written durably.
    Rejected(RecordId),
    /// No route matched it, and its dead letter could not be written: dropped, as
    /// [`NO_ROUTE`](crate::message::NO_ROUTE) allows.
    Dropped(RecordId),
}

impl Verdict {
    /// The destination that it is about.
    pub fn id(self) -> RecordId {
        match self {
            Self::Delivered(id) | Self::Rejected(id) | Self::Dropped(id) => id,
        }
    }
}

/// Where and when a record was delivered, of one that is to have a timing record or to be compared with the
/// slowest. Only its source knows when its message was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The record.
    pub id: RecordId,
    /// Its partition.
    pub kafka_partition: i32,
    /// Its offset.
    pub kafka_offset: i64,
    /// Handed to librdkafka.
    pub produced_at: Stamp,
    /// Delivery report.
    pub delivered_at: Stamp,
    /// The log is to have a timing record of it.
    pub is_logged: bool,
    /// It is slower than the fastest of the slowest.
    pub is_slow: bool,
}

/// Verdicts of one batch of delivery reports.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Verdicts {
    /// Of records among those that are delivered here, where and when they were.
    pub placed: Vec<Placed>,
    /// In any order.
    pub verdicts: Vec<Verdict>,
    /// When librdkafka reported the first of them.
    pub delivered_at: Instant,
}

/// The stage that a source hands messages on to.
#[derive(Clone)]
pub struct NextStage {
    /// Takes batches.
    pub batches: Recipient<ForwardBatch>,
    /// Takes the address for verdicts.
    pub attach: Recipient<Attach>,
}

impl NextStage {
    /// This actor as the next stage.
    pub fn of<A>(address: &Addr<A>) -> Self
    where
        A: Actor + Handler<ForwardBatch> + Handler<Attach>,
        A::Context: ToEnvelope<A, ForwardBatch> + ToEnvelope<A, Attach>,
    {
        Self { batches: address.clone().recipient(), attach: address.clone().recipient() }
    }
}
