//! A record as it is handed to librdkafka.

use std::ffi::CStr;

/// A record to hand over.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its report has the same.
    pub index: usize,
    /// The key. `None` is null; an empty key is a key like any other.
    pub key: Option<&'a [u8]>,
    /// The value. `None` is null, a tombstone in a compacted Kafka topic; an empty value is not.
    pub value: Option<&'a [u8]>,
    /// Decides on the partition of a record without a key.
    pub mqtt_topic: &'a [u8],
}

/// What a record may have beside key and value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The headers, in the order in which they are written. A name may occur more than once; a value of
    /// `None` is null. librdkafka copies them.
    pub headers: &'a [(&'a CStr, Option<&'a [u8]>)],
    /// Milliseconds since the Unix epoch; `None`: the time at which it is handed over. 0 is written as 1,
    /// since librdkafka takes 0 for none.
    pub timestamp_ms: Option<i64>,
    /// The partition; `None`: by key or MQTT topic. librdkafka refuses a partition that does not exist with
    /// `_UNKNOWN_PARTITION`: at once, or in a report if it does not know the partitions yet.
    pub kafka_partition: Option<i32>,
}

/// With the MQTT topic as key.
impl<'a> From<(usize, &'a [u8], &'a [u8])> for Outgoing<'a> {
    fn from((index, key, value): (usize, &'a [u8], &'a [u8])) -> Self {
        Self { index, key: Some(key), value: Some(value), mqtt_topic: key }
    }
}
