//! The feed's side of MQTT, encoded by hand: PUBLISHes from prepared heads, and the few answers that a
//! subscriber waits for.

use mqtt_kafka_bridge::mqtt::packet::Version;

/// PUBLISHes of one run. Nothing is allocated for a message.
pub(super) struct Frames {
    protocol: Version,
    qos: u8,
    /// Fixed header and MQTT topic, by MQTT topic.
    heads: Vec<Vec<u8>>,
    run: [u8; 8],
    filler: Vec<u8>,
}

impl Frames {
    /// `size`: of a payload, in bytes, at least 16.
    pub(super) fn new(
        protocol: Version,
        qos: u8,
        mqtt_topics: &[String],
        size: u64,
        run: u64,
    ) -> Self {
        let size = usize::try_from(size).expect("bounded by the arguments");
        let beside = if qos == 1 { 2 } else { 0 } + usize::from(protocol == Version::V5);
        let heads = mqtt_topics
            .iter()
            .map(|mqtt_topic| {
                let mut head = vec![0x30 | (qos << 1)];
                remaining_length(2 + mqtt_topic.len() + beside + size, &mut head);
                string(mqtt_topic, &mut head);
                head
            })
            .collect();
        // Printable, and compresses about as badly as telemetry does.
        let mut random = fastrand::Rng::with_seed(run);
        let filler = (16..size).map(|_| random.alphanumeric() as u8).collect();
        Self { protocol, qos, heads, run: run.to_be_bytes(), filler }
    }

    /// Appends message `number`, which goes to the MQTT topic `number % topics`.
    pub(super) fn publish(&self, number: u64, packet_id: u16, out: &mut Vec<u8>) {
        // The remainder is below a length.
        let head = &self.heads[(number % self.heads.len() as u64) as usize];
        out.extend_from_slice(head);
        if self.qos == 1 {
            out.extend_from_slice(&packet_id.to_be_bytes());
        }
        if self.protocol == Version::V5 {
            out.push(0);
        }
        out.extend_from_slice(&self.run);
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&self.filler);
    }

    /// Of one message on the wire, about.
    pub(super) fn frame_bytes(&self) -> usize {
        self.heads[0].len() + 3 + 16 + self.filler.len()
    }
}

/// The number of the message with this payload, if it is one of this run.
pub(super) fn number(payload: &[u8], run: u64) -> Option<u64> {
    let (own, rest) = payload.split_first_chunk::<8>()?;
    let number = rest.first_chunk::<8>()?;
    (u64::from_be_bytes(*own) == run).then(|| u64::from_be_bytes(*number))
}

/// The first packet among `bytes`: its first byte, its body, its length as a whole.
pub(super) fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let header = index + 2;
            return bytes
                .get(header..header + length)
                .map(|body| (bytes[0], body, header + length));
        }
    }
    None
}

/// CONNACK: accepted, no session, in 5 without limits.
pub(super) fn connack(protocol: Version) -> &'static [u8] {
    match protocol {
        Version::V311 => &[0x20, 2, 0, 0],
        Version::V5 => &[0x20, 3, 0, 0, 0],
    }
}

/// Appends SUBACK for one filter: this QoS is granted.
pub(super) fn suback(protocol: Version, packet_id: [u8; 2], qos: u8, out: &mut Vec<u8>) {
    let [high, low] = packet_id;
    match protocol {
        Version::V311 => out.extend_from_slice(&[0x90, 3, high, low, qos]),
        Version::V5 => out.extend_from_slice(&[0x90, 4, high, low, 0, qos]),
    }
}

/// PINGRESP.
pub(super) const PINGRESP: [u8; 2] = [0xD0, 0];

fn remaining_length(mut length: usize, out: &mut Vec<u8>) {
    loop {
        let digit = (length % 128) as u8;
        length /= 128;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return;
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    let length = u16::try_from(text.len()).expect("an MQTT topic of ours is short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use mqtt_kafka_bridge::mqtt::frame::{Frame, FrameReader};
    use mqtt_kafka_bridge::mqtt::packet::{Incoming, decode};

    #[test]
    fn the_bridge_reads_what_the_feed_writes() {
        let mqtt_topics = ["bench/0".to_owned(), "bench/1".to_owned()];
        for version in [Version::V311, Version::V5] {
            for (qos, size) in [(0, 16), (1, 128), (1, 40_000)] {
                let frames = Frames::new(version, qos, &mqtt_topics, size, 7);
                let mut out = Vec::new();
                frames.publish(41, 5, &mut out);
                assert!(out.len() <= frames.frame_bytes());
                let (_, _, length) = packet(&out).expect("whole");
                assert_eq!(length, out.len());
                let mut reader = FrameReader::new(version, 1 << 20);
                reader.space().extend_from_slice(&out);
                let Ok(Some(Frame::Whole(frame))) = reader.next_frame() else {
                    panic!("a frame");
                };
                let Ok(Incoming::Publish(publish)) = decode(version, &frame) else {
                    panic!("a PUBLISH");
                };
                assert_eq!(publish.mqtt_topic, "bench/1");
                assert_eq!(publish.payload.len() as u64, size);
                assert_eq!(publish.ack.map(|ack| ack.packet_id), (qos == 1).then_some(5));
                assert_eq!(number(&publish.payload, 7), Some(41));
                assert_eq!(number(&publish.payload, 8), None);
                assert_eq!(number(&Bytes::from_static(b"short"), 7), None);
            }
        }
    }
}
