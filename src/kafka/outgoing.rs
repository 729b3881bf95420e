//! What a record is when it is handed to librdkafka.

use std::ffi::CStr;

/// A record to hand over.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// What its report names it by.
    pub index: usize,
    /// The key: `None` is null, and an empty one is a key as any other.
    pub key: Option<&'a [u8]>,
    /// The value: `None` is null, which deletes in a compacted Kafka topic; an empty one does not.
    pub value: Option<&'a [u8]>,
    /// Chooses the partition of a record without a key.
    pub mqtt_topic: &'a [u8],
}

/// What a record may have beside key and value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The headers, written in this order, the same name as often as it is given; `None` is null.
    pub headers: &'a [(&'a CStr, Option<&'a [u8]>)],
    /// Milliseconds since the Unix epoch; `None`: now. 0 is written as 1, since librdkafka takes it for
    /// now.
    pub timestamp_ms: Option<i64>,
    /// The partition; `None`: by key or MQTT topic. A partition that Kafka does not have is refused with
    /// librdkafka's `_UNKNOWN_PARTITION`: at once, or by a report if librdkafka does not know the
    /// partitions yet.
    pub kafka_partition: Option<i32>,
}

/// With the MQTT topic as key.
impl<'a> From<(usize, &'a [u8], &'a [u8])> for Outgoing<'a> {
    fn from((index, key, value): (usize, &'a [u8], &'a [u8])) -> Self {
        Self { index, key: Some(key), value: Some(value), mqtt_topic: key }
    }
}
