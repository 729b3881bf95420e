//! All that crosses stages: what MqttActor hands on, and what comes back.
//!
//! A [`ForwardMsg`] travels MqttActor -> KafkaProducerActor inside a [`ForwardBatch`], all that one
//! read yielded, because wake-ups, not queues, are the cost. A [`Verdict`] travels back, by sequence
//! number. There is no negative verdict: whatever a producer lost, it lost together with its
//! [`Epoch`], and [`ProducerStarted`] tells the source to hand on again, in order, all that has no
//! verdict (docs/decisions/0001-replay-by-epoch.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use actix::{Message as ActixMessage, Recipient};
use bytes::Bytes;

use crate::route::Route;

/// So much of a payload a dead letter keeps, in bytes; of a larger one also its size and hash.
pub const DEAD_LETTER_PAYLOAD_MAX: usize = 512 * 1024;

/// The reason code of a message that no route matches. Its dead letter holds nobody up: at its own
/// bound, and where it cannot be written, the message is dropped (`mqtt.unmatched`).
pub const NO_ROUTE: &str = "no_route";

/// Number of a received message. Never repeats within a process and grows in the order of receipt,
/// so that a verdict which waited out a restart in a mailbox can only mean the message it was given
/// for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The next number of this process.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Number of an MQTT connection or of a producer instance. Never repeats within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The next number of this process.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One moment on both clocks: the wall clock for the reader of a log, the monotonic one for
/// latencies. Taken once a batch, not once a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Microseconds since the Unix epoch.
    pub wall_us: u64,
    /// The same moment on the monotonic clock.
    pub instant: Instant,
}

impl Stamp {
    /// Now.
    pub fn now() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            instant: Instant::now(),
        }
    }

    /// Microseconds from `earlier` to this moment; 0 if `earlier` is later.
    pub fn us_since(&self, earlier: &Self) -> u64 {
        let elapsed = self.instant.saturating_duration_since(earlier.instant);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }
}

/// Quality of service of a publish or a subscription. The bridge never asks for 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// 0: never acknowledged.
    AtMostOnce,
    /// 1: acknowledged by PUBACK.
    AtLeastOnce,
}

impl Qos {
    /// 0 or 1, as on the wire.
    pub fn level(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
        }
    }
}

/// A message as MQTT delivered it, and where it goes. One allocation that every stage shares, so that
/// handing on is one reference count and not one for each part.
#[derive(Debug)]
pub struct Message {
    /// The name it was published under. Not UTF-8 only where the message goes to the dead letter
    /// for that reason.
    pub mqtt_topic: Bytes,
    /// The payload, untouched. Only its beginning where it was over `max_payload`.
    pub payload: Bytes,
    /// The properties of MQTT 5 as they came, where they are kept.
    pub properties: Bytes,
    /// How it was delivered to the bridge.
    pub qos: Qos,
    /// RETAIN of the PUBLISH.
    pub retain: bool,
    /// When the read that brought it returned.
    pub received_at: Stamp,
    /// `None` if no route matches: then it is acknowledged and counted, and not handed on.
    pub destination: Option<Destination>,
}

impl Message {
    /// The MQTT topic for people: invalid UTF-8 replaced.
    pub fn mqtt_topic_lossy(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.mqtt_topic)
    }

    /// Route and value, if it goes to Kafka as a record.
    pub fn record(&self) -> Option<(&Route, &Bytes)> {
        match &self.destination {
            Some(Destination::Record { route, value }) => Some((route, value)),
            Some(Destination::DeadLetter(_)) | None => None,
        }
    }

    /// What it counts for in the byte bound of the window.
    pub fn window_bytes(&self) -> usize {
        self.mqtt_topic.len() + self.payload.len() + self.properties.len()
    }
}

/// Where a routed message is to go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// To Kafka as the route says; the bytes are the record's value.
    Record {
        /// The route it matched.
        route: Arc<Route>,
        /// What to write: the payload, or what the route's payload form made of it.
        value: Bytes,
    },
    /// To the dead letter, for good.
    DeadLetter(Box<Refusal>),
}

/// Why a message goes to the dead letter, and what is known of its whole payload where only the
/// beginning was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, low-cardinality code: a metric label and the `reason` of the dead letter.
    pub reason: &'static str,
    /// One sentence for people: what was found and what was expected.
    pub detail: String,
    /// Size and SHA-256 of the whole payload, where [`Message::payload`] is only its beginning.
    pub whole: Option<WholePayload>,
}

/// Size and hash of a payload that was not kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WholePayload {
    /// Bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: [u8; 32],
}

/// One routed message.
#[derive(Debug, Clone, ActixMessage)]
#[rtype(result = "()")]
pub struct ForwardMsg {
    /// Its number; the verdict comes under it.
    pub seq: Seq,
    /// What was received, and where it goes.
    pub message: Arc<Message>,
}

/// What one read yielded, in the order of receipt. Refused whole, without a verdict, by a producer
/// whose epoch is not `stage_epoch`: the announcement of that producer's epoch makes the source
/// hand it on again.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct ForwardBatch {
    /// The producer instance that this batch is meant for.
    pub stage_epoch: Epoch,
    /// The messages, sequence numbers ascending.
    pub messages: Vec<ForwardMsg>,
    /// Who gets the verdicts: the number that [`Attach`] was given.
    pub source: SourceId,
}

/// A source of messages, as KafkaProducerActor numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u16);

/// A source tells KafkaProducerActor where its verdicts go. Answered by [`ProducerStarted`] at once
/// and at each new epoch. A source that was restarted attaches again under the same number and then
/// hands on again everything without a verdict, because verdicts may have died with it; what
/// KafkaProducerActor still has of that is not produced a second time.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Attach {
    /// The source's number, its own for the life of the process.
    pub source: SourceId,
    /// Gets verdicts.
    pub verdicts: Recipient<Verdicts>,
    /// Gets the announcement of each new producer.
    pub started: Recipient<ProducerStarted>,
}

/// A producer with this epoch is ready to take batches. The source hands on, in order and addressed
/// to this epoch, everything that has no verdict yet.
#[derive(Debug, Clone, Copy, ActixMessage)]
#[rtype(result = "()")]
pub struct ProducerStarted {
    /// The new producer's epoch.
    pub epoch: Epoch,
}

/// The fate of one message. Final: a message gets at most one that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kafka acknowledged the record (acks=all).
    Delivered(Seq),
    /// Refused for good, and its dead letter is written durably.
    Rejected(Seq),
    /// No route matched it, and its dead letter could not be written: dropped, as
    /// [`NO_ROUTE`] allows.
    Dropped(Seq),
}

impl Verdict {
    /// The message that it is about.
    pub fn seq(self) -> Seq {
        match self {
            Self::Delivered(seq) | Self::Rejected(seq) | Self::Dropped(seq) => seq,
        }
    }
}

/// Verdicts of one batch of delivery reports.
#[derive(ActixMessage)]
#[rtype(result = "()")]
pub struct Verdicts {
    /// In any order.
    pub verdicts: Vec<Verdict>,
    /// When librdkafka told the first of them.
    pub delivered_at: Instant,
}
