//! The blocking baseline, `limit` in results: a blocking socket, reads of 64 KiB, a parser for PUBLISH
//! alone; a thread writes PUBACKs in order, once for each batch of reports.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use mqtt_kafka_bridge::mqtt::packet::Version;

use super::ack_order::{AckOrder, SLOTS};
use super::baseline::{Producer, Reports};
use super::task::Task;
use super::wire;
use crate::demo::brokers::spawn;

const READ_BYTES: usize = 64 * 1024;

/// Runs until the stream ends.
pub(super) fn run(task: &Task, mut stream: TcpStream) -> Result<(), String> {
    let reports = Arc::new(Reports::default());
    let producer = Producer::start(task, &reports)?;
    let packet_ids: Arc<[AtomicU16]> = (0..SLOTS).map(|_| AtomicU16::new(0)).collect();
    let acked = task.scenario.qos == 1;
    {
        let packet_ids = Arc::clone(&packet_ids);
        let stream = stream.try_clone().map_err(|error| error.to_string())?;
        spawn("pubacks", move || acknowledge(&reports, acked, &packet_ids, stream))
            .map_err(|error| error.to_string())?;
    }
    let mut buffer = vec![0; READ_BYTES];
    let mut filled = 0;
    let mut seq = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).map_err(|error| error.to_string())?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut at = 0;
        while let Some((first, body, length)) = wire::packet(&buffer[at..filled]) {
            if first >> 4 == 3 {
                let (mqtt_topic, packet_id, payload) =
                    publish(task.scenario.protocol, first, body).ok_or("a malformed PUBLISH")?;
                packet_ids[seq % SLOTS].store(packet_id, Relaxed);
                producer.send(seq, mqtt_topic, payload)?;
                seq += 1;
            }
            at += length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
        if filled == buffer.len() {
            buffer.resize(2 * filled, 0);
        }
    }
}

/// MQTT topic, packet id (0 with QoS 0), payload.
fn publish(protocol: Version, first: u8, body: &[u8]) -> Option<(&[u8], u16, &[u8])> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (mqtt_topic, mut rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let mut packet_id = 0;
    if first & 0b110 != 0 {
        let (id, after) = rest.split_first_chunk::<2>()?;
        (packet_id, rest) = (u16::from_be_bytes(*id), after);
    }
    if protocol == Version::V5 {
        let mut length = 0;
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            length |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        rest = rest.get(length..)?;
    }
    Some((mqtt_topic, packet_id, rest))
}

fn acknowledge(reports: &Reports, acked: bool, packet_ids: &[AtomicU16], mut stream: TcpStream) {
    let mut order = AckOrder::new();
    let (mut seqs, mut out) = (Vec::new(), Vec::new());
    loop {
        reports.wait(&mut seqs);
        if !acked {
            seqs.clear();
            continue;
        }
        order.delivered(&mut seqs, |slot| {
            let [high, low] = packet_ids[slot].load(Relaxed).to_be_bytes();
            out.extend_from_slice(&[0x40, 2, high, low]);
        });
        if stream.write_all(&out).is_err() {
            return;
        }
        out.clear();
    }
}
