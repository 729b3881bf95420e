//! One timing record for each delivered record: when its message was received, produced and delivered, and how
//! long it was in each hop. It is written once the PUBACK is (docs/decisions/0031-timing-records-behind-the-puback.md).

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use slog::{KV, Level, Logger, Serializer, b, o, record};

use super::blocks::BLOCK_BYTES;
use super::buffer::Output;
use super::format::{self, Rfc3339, Style, with_scratch};
use super::keys;
use super::timing_json::TimingJson;
use super::timing_record::{AckTime, TimingRecord};
use crate::config::TimingPolicy;

/// Where timing records go. Cheap to clone; never blocks: a record that finds no room in the log's
/// buffer is dropped and counted. Independent of the log's level.
#[derive(Clone)]
pub struct TimingSink(Option<Arc<Inner>>);

struct Inner {
    policy: TimingPolicy,
    output: Output,
    /// Carries `component`; the records bypass its drain, since they must not wait for room.
    log: Logger,
    /// Messages seen, for one in so many.
    seen: AtomicU64,
}

impl TimingSink {
    pub(crate) fn new(policy: TimingPolicy, output: Output) -> Self {
        let log = Logger::root(slog::Discard, o!(keys::COMPONENT => "timing"));
        let inner = || Arc::new(Inner { policy, output, log, seen: AtomicU64::new(0) });
        Self((policy != TimingPolicy::Off).then(inner))
    }

    /// One that drops everything.
    pub fn disabled() -> Self {
        Self(None)
    }

    /// Whether every record would be dropped: then none needs to be made.
    pub fn is_off(&self) -> bool {
        self.0.is_none()
    }

    /// Whether every record is wanted.
    pub fn wants_all(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.policy == TimingPolicy::All)
    }

    /// Whether the policy asks for the record of a message that took so long from receipt to delivery. To be
    /// asked once for each.
    #[inline]
    pub fn wants(&self, total_us: u64) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.wants(total_us))
    }

    /// Writes a record that [`TimingSink::wants`].
    pub fn record(&self, record: &TimingRecord<'_>) {
        self.batch().record(record);
    }

    /// For the records of one batch of PUBACKs: one clock reading, one lock.
    pub fn batch(&self) -> TimingBatch<'_> {
        let sink = self.0.as_deref().map(|inner| (inner, LINES.try_with(Cell::take)));
        TimingBatch(sink.map(|(inner, lines)| Pending {
            inner,
            at_us: None,
            json: TimingJson::default(),
            lines: lines.unwrap_or_default(),
            count: 0,
        }))
    }
}

impl fmt::Debug for TimingSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.0.as_ref().map_or(TimingPolicy::Off, |inner| inner.policy);
        f.debug_tuple("TimingSink").field(&policy).finish()
    }
}

impl Inner {
    #[inline]
    fn wants(&self, total_us: u64) -> bool {
        match self.policy {
            TimingPolicy::All => true,
            TimingPolicy::Slow(limit) => u128::from(total_us) >= limit.as_micros(),
            TimingPolicy::Sample(one_in) => {
                self.seen.fetch_add(1, Relaxed).is_multiple_of(u64::from(one_in.max(1)))
            }
            TimingPolicy::Off => false,
        }
    }
}

/// A batch hands its lines over when it has this many bytes: nearly a block of the log's buffer.
const HAND_OVER_AT: usize = BLOCK_BYTES - 4 * 1024;

thread_local! {
    /// The lines of this thread's batches, one after the other.
    static LINES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Timing records that reach the log together when this is dropped.
#[must_use = "its records are written when it is dropped"]
pub struct TimingBatch<'a>(Option<Pending<'a>>);

struct Pending<'a> {
    inner: &'a Inner,
    at_us: Option<u64>,
    json: TimingJson,
    lines: Vec<u8>,
    count: u64,
}

impl TimingBatch<'_> {
    /// Formats the record.
    #[inline]
    pub fn record(&mut self, record: &TimingRecord<'_>) {
        if let Some(pending) = &mut self.0 {
            pending.format(record);
        }
    }
}

impl fmt::Debug for TimingBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.as_ref().map_or(0, |pending| pending.count);
        f.debug_struct("TimingBatch").field("count", &count).finish()
    }
}

impl Pending<'_> {
    fn format(&mut self, record: &TimingRecord<'_>) {
        let at_us = *self.at_us.get_or_insert_with(format::now_us);
        match self.inner.output.style {
            Style::Json => self.json.write(at_us, record, &mut self.lines),
            style => {
                write_by_slog(style, at_us, record, &self.inner.log, &mut self.lines);
            }
        }
        self.count += 1;
        if self.lines.len() >= HAND_OVER_AT {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        if self.count > 0 {
            self.inner.output.buffer.push_timing(&mut self.lines, self.count);
            self.count = 0;
        }
    }
}

impl Drop for TimingBatch<'_> {
    fn drop(&mut self) {
        if let Some(pending) = &mut self.0 {
            pending.hand_over();
            let lines = std::mem::take(&mut pending.lines);
            let _ = LINES.try_with(|cell| cell.set(lines));
        }
    }
}

/// The key `connection`, where there are several.
struct Connection<'a>(Option<&'a str>);

impl KV for Connection<'_> {
    fn serialize(&self, _: &slog::Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        self.0.map_or(Ok(()), |name| serializer.emit_str(keys::CONNECTION, name))
    }
}

/// The key `device_us`, where there is one.
struct Device(Option<i64>);

impl KV for Device {
    fn serialize(&self, _: &slog::Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        self.0.map_or(Ok(()), |us| serializer.emit_i64(keys::DEVICE_US, us))
    }
}

/// The key `ack_us`, and why it is null.
struct Ack(AckTime);

impl KV for Ack {
    fn serialize(&self, _: &slog::Record<'_>, serializer: &mut dyn Serializer) -> slog::Result {
        match self.0 {
            AckTime::After(us) => serializer.emit_u64(keys::ACK_US, us),
            // slog wants the last field first.
            AckTime::None(reason) => {
                serializer.emit_str(keys::ACK_REASON, reason.name())?;
                serializer.emit_none(keys::ACK_US)
            }
        }
    }
}

/// Writes the record as slog writes any other record.
fn write_by_slog(
    style: Style,
    at_us: u64,
    record: &TimingRecord<'_>,
    log: &Logger,
    out: &mut Vec<u8>,
) {
    with_scratch(|scratch| {
        format::write(
            style,
            at_us,
            &record!(
                Level::Info,
                "",
                &format_args!("timing"),
                b!(
                    keys::MQTT_TOPIC => String::from_utf8_lossy(record.mqtt_topic).as_ref(),
                    keys::MQTT_QOS => record.mqtt_qos,
                    keys::ROUTE => record.route,
                    keys::KAFKA_TOPIC => record.kafka_topic,
                    keys::KAFKA_PARTITION => record.kafka_partition,
                    keys::KAFKA_OFFSET => record.kafka_offset,
                    keys::PAYLOAD_BYTES => record.payload_bytes,
                    Connection(record.connection),
                    Device(record.device_us),
                    keys::RECEIVED_AT => Rfc3339::from_us(record.received_at.wall_us),
                    keys::PRODUCED_AT => Rfc3339::from_us(record.produced_at.wall_us),
                    keys::DELIVERED_AT => Rfc3339::from_us(record.delivered_at.wall_us),
                    keys::ROUTED_US => record.routed_us,
                    keys::QUEUE_US => record.produced_at.us_since(&record.received_at),
                    keys::KAFKA_US => record.delivered_at.us_since(&record.produced_at),
                    keys::TOTAL_US => record.total_us(),
                    Ack(record.ack)
                )
            ),
            log.list(),
            &mut scratch.fields,
            out,
        );
    });
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::message::Stamp;
    use crate::observe::log::Logging;
    use crate::observe::test_support::{Lines, config, json_lines};
    use crate::observe::timing_record::NoAck;

    fn record(total: Duration) -> TimingRecord<'static> {
        let instant = Instant::now();
        let at = |after: Duration| Stamp {
            wall_us: 1_767_323_045_000_000 + u64::try_from(after.as_micros()).expect("small"),
            instant: instant + after,
        };
        TimingRecord {
            connection: None,
            mqtt_topic: b"sensors/\"a\"/b",
            mqtt_qos: 1,
            route: "sensors \"1\"",
            kafka_topic: "sensors",
            kafka_partition: 3,
            kafka_offset: 4711,
            payload_bytes: 150,
            received_at: at(Duration::ZERO),
            produced_at: at(total / 4),
            delivered_at: at(total),
            routed_us: 40,
            ack: AckTime::After(7),
            device_us: None,
        }
    }

    #[test]
    fn a_timing_record_names_its_connection_where_there_are_several() {
        let lines = Lines::default();
        let logging = Logging::to_sink(&config(TimingPolicy::All), Style::Json, lines.clone());
        let of_one = record(Duration::ZERO);
        logging.timing().record(&TimingRecord { connection: Some("east"), ..of_one });
        logging.timing().record(&of_one);
        logging.flush();
        let [named, unnamed] = &json_lines(&lines)[..] else { panic!("two records") };
        assert_eq!(named["connection"], "east");
        assert!(unnamed.get("connection").is_none());
    }

    fn written(policy: TimingPolicy, totals: &[u64]) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let logging = Logging::to_sink(&config(policy), Style::Json, lines.clone());
        let sink = logging.timing();
        let mut batch = sink.batch();
        for &total in totals.iter().filter(|total| sink.wants(**total)) {
            batch.record(&record(Duration::from_micros(total)));
        }
        drop(batch);
        logging.flush();
        json_lines(&lines)
    }

    #[test]
    fn a_timing_record_has_the_agreed_fields_and_units() {
        let records = written(TimingPolicy::All, &[2000]);
        let mut record = records[0].clone();
        let fields = record.as_object_mut().expect("an object");
        let ts = fields.remove("ts").expect("a timestamp");
        assert!(humantime::parse_rfc3339(ts.as_str().expect("text")).is_ok());
        assert_eq!(
            record,
            json!({
                "level": "info", "msg": "timing", "component": "timing",
                "mqtt_topic": "sensors/\"a\"/b", "mqtt_qos": 1, "route": "sensors \"1\"",
                "kafka_topic": "sensors",
                "kafka_partition": 3, "kafka_offset": 4711, "payload_bytes": 150,
                "received_at": "2026-01-02T03:04:05.000000Z",
                "produced_at": "2026-01-02T03:04:05.000500Z",
                "delivered_at": "2026-01-02T03:04:05.002000Z",
                "routed_us": 40, "queue_us": 500, "kafka_us": 1500, "total_us": 2000, "ack_us": 7
            })
        );
    }

    #[test]
    fn a_record_without_a_puback_says_why_and_one_of_a_device_how_old_it_is() {
        let lines = Lines::default();
        let logging = Logging::to_sink(&config(TimingPolicy::All), Style::Json, lines.clone());
        let of_one = record(Duration::ZERO);
        for reason in NoAck::ALL {
            let ack = AckTime::None(reason);
            logging.timing().record(&TimingRecord { ack, device_us: Some(-5), ..of_one });
        }
        logging.timing().record(&of_one);
        logging.flush();
        let records = json_lines(&lines);
        for (record, reason) in records.iter().zip(["qos0", "connection_lost", "not_yet"]) {
            assert!(record.get("ack_us").is_some_and(serde_json::Value::is_null), "{record}");
            assert_eq!((&record["ack_reason"], &record["device_us"]), (&json!(reason), &json!(-5)));
        }
        assert!(records[3].get("ack_reason").is_none() && records[3].get("device_us").is_none());
    }

    fn ack_time() -> impl Strategy<Value = AckTime> {
        prop_oneof![
            any::<u64>().prop_map(AckTime::After),
            prop::sample::select(&NoAck::ALL[..]).prop_map(AckTime::None),
        ]
    }

    proptest! {
        #[test]
        fn the_short_way_writes_what_slog_would(
            mqtt_topic in any::<String>(), kafka_topic in any::<String>(), mqtt_qos in 0..2u8,
            kafka_partition in any::<i32>(), kafka_offset in any::<i64>(),
            payload_bytes in any::<usize>(), at_us in any::<u64>(), connection in any::<Option<String>>(),
            (received_us, queue_us, kafka_us) in (any::<u64>(), 0..1u64 << 40, 0..1u64 << 40),
            (route, other, is_same) in any::<(String, String, bool)>(), (routed_us, device_us) in any::<(u32, Option<i64>)>(), ack in ack_time(),
        ) {
            let instant = Instant::now();
            let at = |us| Stamp {
                wall_us: received_us.saturating_add(us),
                instant: instant + Duration::from_micros(us),
            };
            let record = TimingRecord {
                connection: connection.as_deref(), mqtt_topic: mqtt_topic.as_bytes(), mqtt_qos, route: &route,
                kafka_topic: &kafka_topic, kafka_partition, routed_us, ack, device_us,
                kafka_offset, payload_bytes, received_at: at(0), produced_at: at(queue_us),
                delivered_at: at(queue_us + kafka_us),
            };
            let log = Logger::root(slog::Discard, o!(keys::COMPONENT => "timing"));
            let (mut short, mut by_slog) = (Vec::new(), Vec::new());
            let mut json = TimingJson::default();
            // Another one, and the same, before it in the batch.
            json.write(at_us, &TimingRecord { route: &other, kafka_topic: &other, ..record }, &mut Vec::new());
            if is_same {
                json.write(at_us, &record, &mut Vec::new());
            }
            json.write(at_us, &record, &mut short);
            write_by_slog(Style::Json, at_us, &record, &log, &mut by_slog);
            prop_assert_eq!(String::from_utf8(short), String::from_utf8(by_slog));
        }
    }

    #[test]
    fn each_policy_writes_what_it_says() {
        let totals = [10, 49_999, 50_000, 70_000, 20];
        let count = |policy| written(policy, &totals).len();
        assert_eq!(count(TimingPolicy::All), 5);
        assert_eq!(count(TimingPolicy::Off), 0);
        let slow = written(TimingPolicy::Slow(Duration::from_millis(50)), &totals);
        let slow: Vec<_> = slow.iter().map(|record| &record["total_us"]).collect();
        assert_eq!(slow, [&json!(50_000), &json!(70_000)]);
        assert_eq!(count(TimingPolicy::Sample(2)), 3);
        assert_eq!(count(TimingPolicy::Sample(100)), 1);
        assert_eq!(count(TimingPolicy::Sample(1)), 5);
    }

    #[test]
    fn one_in_so_many_counts_across_batches_and_clones() {
        let lines = Lines::default();
        let logging =
            Logging::to_sink(&config(TimingPolicy::Sample(100)), Style::Json, lines.clone());
        let sink = logging.timing();
        let wanted = (0..1000).filter(|_| sink.clone().wants(1_000));
        wanted.for_each(|_| logging.timing().record(&record(Duration::from_millis(1))));
        logging.flush();
        assert_eq!(json_lines(&lines).len(), 10);
    }

    #[test]
    fn a_large_batch_is_handed_over_in_parts_and_arrives_whole() {
        let records = written(TimingPolicy::All, &[1; 2000]);
        assert_eq!(records.len(), 2000);
        assert!(TimingSink::disabled().is_off());
        TimingSink::disabled().record(&record(Duration::ZERO));
    }

    #[test]
    fn timing_records_reach_the_sink_without_a_flush() {
        let lines = Lines::default();
        let logging = Logging::to_sink(&config(TimingPolicy::All), Style::Json, lines.clone());
        logging.timing().record(&record(Duration::from_millis(1)));
        lines.wait_until(|text| text.ends_with('\n'));
    }
}
