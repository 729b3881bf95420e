use bytes::BufMut;
use proptest::prelude::*;

use super::*;
use crate::mqtt::packet::{Incoming, decode};

const MAX_PAYLOAD: usize = 1000;

/// PUBLISH, QoS 1, with these properties (their length included) in MQTT 5.
fn publish(version: Version, packet_id: u16, payload: &[u8], properties: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u16(3);
    body.put_slice(b"a/b");
    body.put_u16(packet_id);
    if version == Version::V5 {
        body.put_slice(properties);
    }
    body.put_slice(payload);
    let mut frame = vec![0x32];
    let mut length = body.len();
    loop {
        let more = if length > 127 { 0x80 } else { 0 };
        frame.push((length % 128) as u8 | more);
        length /= 128;
        if length == 0 {
            break;
        }
    }
    frame.extend(body);
    frame
}

fn feed(reader: &mut FrameReader, bytes: &[u8]) {
    reader.space().extend_from_slice(bytes);
}

/// Everything the stream yields when it is cut at these places.
fn read_in_pieces(version: Version, stream: &[u8], cuts: &[usize]) -> Vec<Incoming> {
    let mut reader = FrameReader::new(version, MAX_PAYLOAD);
    let mut packets = Vec::new();
    let mut from = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        feed(&mut reader, &stream[from..cut]);
        from = cut;
        while let Some(frame) = reader.next_frame().expect("a well-formed stream") {
            packets.push(match frame {
                Frame::Whole(frame) => decode(version, &frame).expect("a well-formed packet"),
                Frame::Oversize(publish) => Incoming::Publish(publish),
            });
        }
    }
    packets
}

fn versions() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_split_of_the_byte_stream_gives_the_same_packets(
        version in versions(),
        sizes in prop::collection::vec(
            prop_oneof![0..300_usize, Just(MAX_PAYLOAD), Just(200_000), Just(700_000)], 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        let mut stream = Vec::new();
        for (id, size) in sizes.iter().enumerate() {
            let payload: Vec<u8> = (0..*size).map(|n| (n % 251) as u8).collect();
            stream.extend(publish(version, id as u16 + 1, &payload, &[0]));
            stream.extend([0xD0, 0]);
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let whole = read_in_pieces(version, &stream, &[]);
        prop_assert_eq!(whole.len(), sizes.len() * 2);
        prop_assert_eq!(&whole, &read_in_pieces(version, &stream, &cuts));
        for (packet, size) in whole.iter().step_by(2).zip(&sizes) {
            let Incoming::Publish(publish) = packet else { panic!("{packet:?}") };
            let streamed = *size > MAX_PAYLOAD + HEAD_ALLOWANCE_BYTES;
            prop_assert_eq!(publish.refusal.is_some(), streamed);
        }
    }

    #[test]
    fn no_stream_of_bytes_makes_it_panic(
        version in versions(),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let mut reader = FrameReader::new(version, MAX_PAYLOAD);
        feed(&mut reader, &bytes);
        while let Ok(Some(frame)) = reader.next_frame() {
            if let Frame::Whole(frame) = frame {
                let _ = decode(version, &frame);
            }
        }
    }
}

#[test]
fn a_stream_a_byte_at_a_time_gives_the_same_packets() {
    for version in [Version::V311, Version::V5] {
        let mut stream = publish(version, 1, b"payload", &[0]);
        stream.extend(publish(version, 2, &[7; 200_000], &[0]));
        stream.extend([0xD0, 0]);
        let cuts: Vec<_> = (0..stream.len()).collect();
        let packets = read_in_pieces(version, &stream, &cuts);
        assert_eq!(packets.len(), 3);
        assert_eq!(packets, read_in_pieces(version, &stream, &[]));
    }
}

#[test]
fn an_oversize_payload_streams_by_and_leaves_its_beginning_size_and_hash() {
    for version in [Version::V311, Version::V5] {
        let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
        // With 300 bytes of user property in MQTT 5, to be skipped.
        let mut properties = vec![0xAF, 0x02, 0x26, 0, 1, b'k', 0x01, 0x29];
        properties.resize(2 + 0x12F, b'v');
        let stream = publish(version, 9, &payload, &properties);
        let mut reader = FrameReader::new(version, MAX_PAYLOAD);
        let mut frames = Vec::new();
        let mut held_max = 0;
        for piece in stream.chunks(40_000) {
            feed(&mut reader, piece);
            frames.extend(reader.next_frame().expect("a well-formed stream"));
            held_max = held_max.max(reader.buffer.len());
        }
        assert!(held_max < CHUNK_BYTES, "{held_max} bytes were held");
        let [Frame::Oversize(publish)] = &frames[..] else { panic!("{frames:?}") };
        assert_eq!(&publish.payload[..], &payload[..DEAD_LETTER_BEGINNING_MAX]);
        assert_eq!(&publish.mqtt_topic[..], b"a/b");
        let refusal = publish.refusal.as_ref().expect("refused");
        assert_eq!(refusal.reason, TOO_LARGE);
        let whole = refusal.whole.expect("size and hash");
        assert_eq!(whole.size, 3_000_000);
        assert_eq!(whole.sha256, <[u8; 32]>::from(Sha256::digest(&payload)));
    }
}

#[test]
fn properties_that_are_too_large_are_not_called_a_large_payload() {
    // 200,000 bytes of one user property, and ten of payload.
    let mut properties = vec![0xC0, 0x9A, 0x0C];
    properties.resize(3 + 200_000, 0x26);
    let stream = publish(Version::V5, 9, b"0123456789", &properties);
    let mut reader = FrameReader::new(Version::V5, MAX_PAYLOAD);
    feed(&mut reader, &stream);
    let Ok(Some(Frame::Oversize(publish))) = reader.next_frame() else { panic!("refused") };
    assert_eq!(&publish.payload[..], b"0123456789");
    assert_eq!(publish.refusal.expect("refused").reason, PROPERTIES_TOO_LARGE);
}

#[test]
fn small_reads_share_a_chunk() {
    let mut reader = FrameReader::new(Version::V311, MAX_PAYLOAD);
    let mut chunks = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for id in 1..500 {
        feed(&mut reader, &publish(Version::V311, id, b"21.5", &[]));
        let Ok(Some(Frame::Whole(frame))) = reader.next_frame() else { panic!("one frame") };
        chunks.insert(frame.bytes.as_ptr() as usize / CHUNK_BYTES);
        kept.push(frame);
    }
    assert!(chunks.len() <= 3, "{} chunks are pinned", chunks.len());
}

#[test]
fn what_cannot_be_framed_is_an_error() {
    let mut reader = FrameReader::new(Version::V311, MAX_PAYLOAD);
    feed(&mut reader, &[0x30, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert_eq!(reader.next_frame().err(), Some(FrameError::RemainingLength));

    let mut reader = FrameReader::new(Version::V5, MAX_PAYLOAD);
    feed(&mut reader, &[0x90, 0x80, 0x80, 0x80, 0x01]);
    let too_long = FrameError::TooLong { kind: 9, length: 2_097_152 };
    assert_eq!(reader.next_frame().err(), Some(too_long));

    // An oversize PUBLISH with packet id 0.
    let mut reader = FrameReader::new(Version::V311, MAX_PAYLOAD);
    feed(&mut reader, &publish(Version::V311, 0, &[0; 300_000], &[]));
    assert!(matches!(reader.next_frame(), Err(FrameError::Publish(_))));
}
