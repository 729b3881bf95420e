//! A record on its way through the stage, and what of it is in flight.

use bytes::Bytes;

use crate::kafka::dead_letter::DeadLetter;
use crate::kafka::partition_queue::{Arrived, Queued};
use crate::message::{Header, Record, Seq, Stamp};
use crate::stage::{ForwardMsg, SourceId};

/// librdkafka counts so many bytes for a record beside its key, value and headers, or fewer.
pub(crate) const RECORD_BYTES: usize = 40;

/// One destination of a message with the source that gets its verdict.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) msg: ForwardMsg,
    pub(crate) source: SourceId,
}

impl Queued for Item {
    fn seq(&self) -> Seq {
        self.msg.id.seq
    }

    fn bytes(&self) -> usize {
        let record = self.record();
        let bytes = |bytes: Option<&Bytes>| bytes.map_or(0, Bytes::len);
        let header = |header: &Header| header.name.to_bytes().len() + bytes(header.value.as_ref());
        let headers = record.headers().iter().map(header).sum::<usize>();
        bytes(self.key()) + bytes(record.value.as_ref()) + headers + RECORD_BYTES
    }
}

impl Item {
    /// The record. Only an item that has one goes into a queue.
    pub(crate) fn record(&self) -> &Record {
        self.msg.record().expect("what has no record goes to the dead letter at once")
    }

    /// What decides on the partition of a record that names none.
    pub(crate) fn partition_key(&self) -> &[u8] {
        self.key().unwrap_or(&self.msg.message.mqtt_topic)
    }

    /// The record's key, if it has one.
    pub(crate) fn key(&self) -> Option<&Bytes> {
        self.record().key(&self.msg.message.mqtt_topic)
    }

    /// Whether librdkafka can take it together with others.
    pub(crate) fn is_plain(&self) -> bool {
        self.record().extras.is_none()
    }
}

/// What is in flight in librdkafka.
#[derive(Debug)]
pub(crate) enum InFlight {
    Record { item: Arrived<Item>, queue: usize, produced_at: Stamp },
    DeadLetter { dead_letter: Box<DeadLetter>, sent_at: Stamp },
}
