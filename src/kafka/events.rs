//! What a client of librdkafka tells: delivery reports, errors and log lines.

use super::classify;
use crate::message::Stamp;

/// librdkafka's `RD_KAFKA_OFFSET_INVALID`.
const NO_OFFSET: i64 = -1001;

/// Gets the events.
pub(super) trait Listener {
    /// Delivery reports, in the order of their partition.
    fn reports(&self, reports: &[Report]);
    /// An error of the client as a whole, with librdkafka's code.
    fn error(&self, code: i32, detail: &str);
    /// A line for the log. Levels are those of syslog, from 0 for emergencies to 7 for debugging.
    fn log(&self, level: i32, facility: &str, line: &str);
    /// What it counts, as JSON, from a client with `statistics.interval.ms`.
    fn statistics(&self, _json: &str) {}
}

/// One delivery report.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    /// The index that the record was given.
    pub index: usize,
    /// librdkafka's code, 0 for delivered; or [`classify::WITHOUT_OFFSET`].
    pub code: i32,
    /// Partition of the record.
    pub kafka_partition: i32,
    /// Offset of the record, if it was delivered.
    pub kafka_offset: i64,
    /// When the poll thread got it.
    pub at: Stamp,
}

impl Report {
    /// A report of librdkafka. "Delivered" counts only with an offset, which proves it.
    pub(super) fn new(
        index: usize,
        code: i32,
        kafka_partition: i32,
        kafka_offset: i64,
        at: Stamp,
    ) -> Self {
        let is_proven = kafka_offset != NO_OFFSET;
        let code = if code == 0 && !is_proven { classify::WITHOUT_OFFSET } else { code };
        Self { index, code, kafka_partition, kafka_offset, at }
    }
}
