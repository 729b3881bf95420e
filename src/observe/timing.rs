//! One timing record a message: when it was received, produced and delivered, and the latencies between.

use crate::message::Stamp;

/// What a timing record says, borrowed for the time of one call.
#[derive(Debug, Clone, Copy)]
pub struct TimingRecord<'a> {
    /// The MQTT topic.
    pub mqtt_topic: &'a str,
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

/// Where timing records go. Cheap to clone; never blocks.
#[derive(Debug, Clone)]
pub struct TimingSink;

impl TimingSink {
    /// One that drops everything, for tests.
    pub fn disabled() -> Self {
        Self
    }

    /// Writes the record if the policy asks for it.
    pub fn record(&self, _record: &TimingRecord<'_>) {}
}
