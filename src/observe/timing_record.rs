//! The timing record of one record in Kafka.

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
    /// The name of the route that made the record.
    pub route: &'a str,
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
    /// Microseconds from receipt until all that was handed on with it was routed, the wait for room in the window
    /// included.
    pub routed_us: u32,
    /// The PUBACK.
    pub ack: AckTime,
    /// Microseconds from the device's own time to the delivery report, if the route asks for it and it could be
    /// read. Negative where the device's clock is ahead.
    pub device_us: Option<i64>,
}

/// When the PUBACK of a message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckTime {
    /// So many microseconds behind the delivery report the clock was read, before the write.
    After(u64),
    /// It has none.
    None(NoAck),
}

/// Why a message has no PUBACK at the time of its timing record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoAck {
    /// MQTT knows none at QoS 0.
    Qos0,
    /// The connection that brought the message ended before: it was lost, or the bridge gave it up. If its broker
    /// sends it again, it is acknowledged then.
    ConnectionLost,
    /// It could not be written for long, or the bridge ends: an older message or another destination of the
    /// same one has no verdict, the broker does not read, or the connection is not known to be alive.
    NotYet,
}

impl NoAck {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Qos0, Self::ConnectionLost, Self::NotYet];

    /// `ack_reason` in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qos0 => "qos0",
            Self::ConnectionLost => "connection_lost",
            Self::NotYet => "not_yet",
        }
    }
}

impl AckTime {
    /// In microseconds, if there is one.
    pub fn us(self) -> Option<u64> {
        match self {
            Self::After(us) => Some(us),
            Self::None(_) => None,
        }
    }

    /// Why there is none.
    pub fn reason(self) -> Option<NoAck> {
        match self {
            Self::After(_) => None,
            Self::None(reason) => Some(reason),
        }
    }
}

impl TimingRecord<'_> {
    /// Microseconds from receipt to the delivery report.
    pub(super) fn total_us(&self) -> u64 {
        self.delivered_at.us_since(&self.received_at)
    }
}

/// Microseconds from the time of a device, in microseconds since the Unix epoch, to this moment.
pub(crate) fn since_device(device_us: i64, at: &Stamp) -> i64 {
    i64::try_from(at.wall_us).unwrap_or(i64::MAX).saturating_sub(device_us)
}
