//! The timing record of one message.

use crate::message::Stamp;

/// The contents of a timing record, borrowed for one call.
#[derive(Debug, Clone, Copy)]
pub struct TimingRecord<'a> {
    /// The MQTT connection, if there are several.
    pub connection: Option<&'a str>,
    /// The MQTT topic, in UTF-8.
    pub mqtt_topic: &'a [u8],
    /// 0 or 1.
    pub mqtt_qos: u8,
    /// The Kafka topic.
    pub kafka_topic: &'a str,
    /// Partition of the record.
    pub kafka_partition: i32,
    /// Offset of the record.
    pub kafka_offset: i64,
    /// Size of the MQTT payload.
    pub payload_bytes: usize,
    /// Received from MQTT.
    pub received_at: Stamp,
    /// Handed to librdkafka.
    pub produced_at: Stamp,
    /// Delivery report.
    pub delivered_at: Stamp,
}

impl TimingRecord<'_> {
    /// Microseconds from receipt to the delivery report.
    pub(super) fn total_us(&self) -> u64 {
        self.delivered_at.us_since(&self.received_at)
    }
}
