//! The async baseline, `libraries` in results: one async thread as the bridge's connection has it,
//! rumqttc's codecs, the same producer and its poll thread. The rest of the bridge's cost is its own.

use std::net::TcpStream;
use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use mqtt_kafka_bridge::mqtt::packet::Version;
use rumqttc::mqttbytes as m4;
use rumqttc::v5::mqttbytes as m5;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::ack_order::{AckOrder, SLOTS};
use super::baseline::{Producer, Reports};
use super::task::Task;

const READ_BYTES: usize = 64 * 1024;
const READ_MIN_BYTES: usize = 4 * 1024;
const PACKET_MAX: u32 = 20 * 1024 * 1024;

/// Runs until the stream ends.
pub(super) fn run(task: &Task, stream: TcpStream) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(forward(task, stream)).map_err(|error| error.to_string())
}

async fn forward(task: &Task, stream: TcpStream) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_nonblocking(true)?;
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    let reports = Arc::new(Reports::default());
    let producer = Producer::start(task, &reports)?;
    let mut packet_ids = vec![0; SLOTS];
    let mut order = AckOrder::new();
    let (mut seqs, mut out) = (Vec::new(), BytesMut::new());
    let mut input = BytesMut::new();
    let mut seq = 0;
    loop {
        if input.capacity() - input.len() < READ_MIN_BYTES {
            input.reserve(READ_BYTES);
        }
        tokio::select! {
            read = stream.read_buf(&mut input) => {
                if read? == 0 {
                    return Ok(());
                }
                while let Some((mqtt_topic, packet_id, payload)) =
                    next(task.scenario.protocol, &mut input)?
                {
                    packet_ids[seq % SLOTS] = packet_id;
                    producer.send(seq, &mqtt_topic, &payload)?;
                    seq += 1;
                }
            }
            () = reports.notify.notified() => {
                reports.take(&mut seqs);
                if task.scenario.qos == 0 {
                    seqs.clear();
                    continue;
                }
                order.delivered(&mut seqs, |slot: usize| {
                    let packet_id: u16 = packet_ids[slot];
                    let [high, low] = packet_id.to_be_bytes();
                    out.put_slice(&[0x40, 2, high, low]);
                });
                stream.write_all(&out).await?;
                out.clear();
            }
        }
    }
}

type Publish = (bytes::Bytes, u16, bytes::Bytes);

/// The next PUBLISH, if it is there whole.
fn next(protocol: Version, input: &mut BytesMut) -> Result<Option<Publish>, String> {
    loop {
        match protocol {
            Version::V311 => match m4::v4::Packet::read(input, PACKET_MAX as usize) {
                Ok(m4::v4::Packet::Publish(publish)) => {
                    return Ok(Some((publish.topic.into(), publish.pkid, publish.payload)));
                }
                Ok(_) => {}
                Err(m4::Error::InsufficientBytes(_)) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            },
            Version::V5 => match m5::v5::Packet::read(input, Some(PACKET_MAX)) {
                Ok(m5::v5::Packet::Publish(publish)) => {
                    return Ok(Some((publish.topic, publish.pkid, publish.payload)));
                }
                Ok(_) => {}
                Err(m5::Error::InsufficientBytes(_)) => return Ok(None),
                Err(error) => return Err(error.to_string()),
            },
        }
    }
}
