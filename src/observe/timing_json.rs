//! A timing record as one line of JSON. It is written for every message, so what the records of a
//! batch have in common is formatted once: everything before the MQTT topic, the names of route and Kafka topic, and
//! the moments with the latencies between them.

use super::format::{self, Rfc3339};
use super::keys;
use super::timing_record::{AckTime, TimingRecord};
use crate::message::Stamp;

/// Room that a line takes beside its names.
const LINE_BYTES: usize = 512;

/// What the next line may have in common with the last one. Made for one batch.
#[derive(Default)]
pub(super) struct TimingJson {
    /// Up to the MQTT topic, which is the first field.
    head: Vec<u8>,
    names: Names,
    tail: Tail,
}

/// From behind the MQTT topic up to the partition.
#[derive(Default)]
struct Names {
    mqtt_qos: u8,
    route: String,
    kafka_topic: String,
    /// Empty: nothing was written yet.
    text: Vec<u8>,
}

/// The moments, and the latencies between them.
#[derive(Default)]
struct Tail {
    of: Option<Moments>,
    text: Vec<u8>,
}

/// Received, produced, delivered; routed, acknowledged.
type Moments = ([Stamp; 3], (u32, AckTime));

impl TimingJson {
    /// Appends the line of `record`, written at `at_us` microseconds after the Unix epoch: the same
    /// for all lines of a batch. Byte for byte as slog would write it.
    pub(super) fn write(&mut self, at_us: u64, record: &TimingRecord<'_>, out: &mut Vec<u8>) {
        if self.head.is_empty() {
            self.head.extend_from_slice(b"{\"ts\":");
            push_moment(at_us, &mut self.head);
            self.head.extend_from_slice(b",\"level\":\"info\",\"msg\":\"timing\"");
            push_key(keys::COMPONENT, &mut self.head);
            self.head.extend_from_slice(b"\"timing\"");
            push_key(keys::MQTT_TOPIC, &mut self.head);
        }
        out.reserve(LINE_BYTES);
        out.extend_from_slice(&self.head);
        format::push_json_utf8(out, record.mqtt_topic);
        out.extend_from_slice(self.names.of(record));
        push_number(keys::KAFKA_PARTITION, record.kafka_partition, out);
        push_number(keys::KAFKA_OFFSET, record.kafka_offset, out);
        push_number(keys::PAYLOAD_BYTES, record.payload_bytes, out);
        if let Some(connection) = record.connection {
            push_key(keys::CONNECTION, out);
            format::push_json_str(out, connection);
        }
        if let Some(device_us) = record.device_us {
            push_number(keys::DEVICE_US, device_us, out);
        }
        out.extend_from_slice(self.tail.of(record));
    }
}

impl Names {
    #[inline]
    fn of(&mut self, record: &TimingRecord<'_>) -> &[u8] {
        if self.mqtt_qos != record.mqtt_qos
            || self.kafka_topic != record.kafka_topic
            || self.route != record.route
            || self.text.is_empty()
        {
            self.write(record);
        }
        &self.text
    }

    fn write(&mut self, record: &TimingRecord<'_>) {
        let Self { mqtt_qos, route, kafka_topic, text } = self;
        *mqtt_qos = record.mqtt_qos;
        record.route.clone_into(route);
        record.kafka_topic.clone_into(kafka_topic);
        text.clear();
        push_number(keys::MQTT_QOS, record.mqtt_qos, text);
        push_key(keys::ROUTE, text);
        format::push_json_str(text, record.route);
        push_key(keys::KAFKA_TOPIC, text);
        format::push_json_str(text, record.kafka_topic);
    }
}

impl Tail {
    fn of(&mut self, record: &TimingRecord<'_>) -> &[u8] {
        let stamps = [record.received_at, record.produced_at, record.delivered_at];
        let moments = (stamps, (record.routed_us, record.ack));
        if self.of != Some(moments) {
            self.of = Some(moments);
            let [received_at, produced_at, delivered_at] = stamps;
            let text = &mut self.text;
            text.clear();
            for (key, stamp) in [
                (keys::RECEIVED_AT, received_at),
                (keys::PRODUCED_AT, produced_at),
                (keys::DELIVERED_AT, delivered_at),
            ] {
                push_key(key, text);
                push_moment(stamp.wall_us, text);
            }
            push_number(keys::ROUTED_US, record.routed_us, text);
            push_number(keys::QUEUE_US, produced_at.us_since(&received_at), text);
            push_number(keys::KAFKA_US, delivered_at.us_since(&produced_at), text);
            push_number(keys::TOTAL_US, delivered_at.us_since(&received_at), text);
            match record.ack {
                AckTime::After(us) => push_number(keys::ACK_US, us, text),
                AckTime::None(reason) => {
                    push_key(keys::ACK_US, text);
                    text.extend_from_slice(b"null");
                    push_key(keys::ACK_REASON, text);
                    format::push_json_str(text, reason.name());
                }
            }
            text.extend_from_slice(b"}\n");
        }
        &self.text
    }
}

/// Appends `,"KEY":`.
#[inline]
fn push_key(key: &'static str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

#[inline]
fn push_number(key: &'static str, value: impl itoa::Integer, out: &mut Vec<u8>) {
    push_key(key, out);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn push_moment(us: u64, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(Rfc3339::from_us(us).as_bytes());
    out.push(b'"');
}
