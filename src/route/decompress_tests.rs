use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const MAX: usize = 1024 * 1024;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).expect("to memory");
    encoder.finish().expect("to memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).expect("to memory")
}

fn packed(how: Decompress, bytes: &[u8]) -> Vec<u8> {
    match how {
        Decompress::Gzip => gzip(bytes),
        Decompress::Zlib => zlib(bytes, 6),
        Decompress::Zstd => zstd(bytes),
        Decompress::None | Decompress::Auto => bytes.to_vec(),
    }
}

const KINDS: [Decompress; 3] = [Decompress::Gzip, Decompress::Zlib, Decompress::Zstd];

fn apply(how: Decompress, payload: Vec<u8>, max: usize) -> Result<Bytes, String> {
    how.apply(&payload.into(), max)
}

proptest! {
    #[test]
    fn what_was_packed_is_unpacked(
        seed in any::<Vec<u8>>(),
        times in 1_usize..2000,
        kind in prop::sample::select(&KINDS[..]),
    ) {
        let bytes = seed.repeat(times);
        for how in [kind, Decompress::Auto] {
            let unpacked = apply(how, packed(kind, &bytes), bytes.len());
            prop_assert_eq!(unpacked, Ok(Bytes::from(bytes.clone())));
        }
    }

    #[test]
    fn any_bytes_are_refused_or_unpacked_within_the_bound(
        bytes in any::<Vec<u8>>(),
        begin in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08\0\0\0\0\0\0\xff", b"\x78\x9c", b"\x28\xb5\x2f\xfd"]),
        max in 0_usize..5000,
    ) {
        for how in KINDS.into_iter().chain([Decompress::Auto]) {
            let payload = [begin, &bytes].concat();
            let bound = if how == Decompress::Auto { max.max(payload.len()) } else { max };
            if let Ok(unpacked) = apply(how, payload, max) {
                prop_assert!(unpacked.len() <= bound);
            }
        }
    }

    #[test]
    fn a_payload_that_stops_half_way_is_refused(
        seed in prop::collection::vec(any::<u8>(), 1..100),
        times in 1_usize..3000,
        kind in prop::sample::select(&KINDS[..]),
        at in any::<prop::sample::Index>(),
    ) {
        let mut payload = packed(kind, &seed.repeat(times));
        let end = 1 + at.index(payload.len() - 1);
        payload.truncate(end);
        let detail = apply(kind, payload, MAX).expect_err("half of it");
        prop_assert!(detail.starts_with("expected a payload of "), "{detail}");
    }
}

#[test]
fn a_bomb_is_refused_at_the_bound_and_one_byte_less_is_not() {
    for kind in KINDS {
        let bomb = packed(kind, &vec![0; MAX + 1]);
        assert!(bomb.len() < MAX / 100, "{kind:?} {}", bomb.len());
        for how in [kind, Decompress::Auto] {
            let detail = apply(how, bomb.clone(), MAX).expect_err("one byte more");
            assert!(detail.contains("at most 1048576 bytes (decompress_max)"), "{detail}");
            let unpacked = apply(how, packed(kind, &vec![0; MAX]), MAX).expect("exactly that");
            assert_eq!(unpacked.len(), MAX);
        }
    }
}

#[test]
fn a_bomb_in_a_bomb_is_unpacked_once() {
    for kind in KINDS {
        let inner = packed(kind, &vec![0; 64 * MAX]);
        let unpacked = apply(kind, packed(kind, &inner), MAX).expect("a small one");
        assert_eq!(unpacked, inner);
    }
}

#[test]
fn what_stands_behind_the_end_is_refused() {
    for kind in KINDS {
        for behind in [&b"\0"[..], b"\0\0\0\0", b"{}", b"\n"] {
            let payload = [&packed(kind, b"hello"), behind].concat();
            apply(kind, payload, MAX).expect_err("something is behind it");
        }
    }
}

#[test]
fn several_members_or_frames_are_one_payload() {
    for kind in [Decompress::Gzip, Decompress::Zstd] {
        let payload = [packed(kind, b"hello "), packed(kind, b""), packed(kind, b"world")].concat();
        assert_eq!(apply(kind, payload, MAX), Ok(Bytes::from_static(b"hello world")));
        // The bound counts all of them.
        let payload = packed(kind, &[0; 600]).repeat(2);
        apply(kind, payload, 1000).expect_err("1,200 bytes");
    }
}

#[test]
fn a_changed_byte_is_found_by_the_checksum() {
    for kind in [Decompress::Gzip, Decompress::Zlib] {
        let mut payload = packed(kind, b"hello world");
        let last = payload.len() - 6;
        payload[last] ^= 1;
        apply(kind, payload, MAX).expect_err("changed");
    }
}

#[test]
fn another_packing_or_none_is_refused_unless_it_is_recognised() {
    for kind in KINDS {
        for other in KINDS.into_iter().chain([Decompress::None]).filter(|other| *other != kind) {
            apply(kind, packed(other, b"hello world"), MAX).expect_err("another packing");
        }
        assert_eq!(apply(kind, Vec::new(), MAX), Ok(Bytes::new()), "empty is nothing packed");
    }
    for plain in
        [&b"{\"a\":1}"[..], b"21.5", b"x", b"x^", b"xyz", b"80", b"hCC", b"\x1f\x8b", b"(\xb5"]
    {
        assert_eq!(apply(Decompress::Auto, plain.to_vec(), MAX), Ok(Bytes::from_static(plain)));
    }
    for level in 0..=9 {
        let unpacked = apply(Decompress::Auto, zlib(b"hello", level), MAX);
        assert_eq!(unpacked, Ok(Bytes::from_static(b"hello")), "level {level}");
    }
}

#[test]
fn what_only_begins_like_zlib_is_left_as_it_is_and_broken_zlib_is_not() {
    // The last one has a block of type 3, which is reserved (RFC 1951, section 3.2.3).
    for plain in [&b"x^2"[..], b"x^2 + y^2", b"x^\n", b"x\x01\x07", b"x\x9c\xff\xff\xff\xff"] {
        let unpacked = apply(Decompress::Auto, plain.to_vec(), MAX);
        assert_eq!(unpacked, Ok(Bytes::from_static(plain)));
        apply(Decompress::Zlib, plain.to_vec(), MAX).expect_err("the route says that it is zlib");
    }
    let long = "x^2 + y^2 = z^2; ".repeat(10_000).into_bytes();
    assert_eq!(apply(Decompress::Auto, long.clone(), MAX), Ok(long.into()));
    for level in 0..=9 {
        let sound = zlib(&b"hello world, and the world says hello".repeat(20), level);
        let (last, half) = (sound.len() - 1, sound.len() / 2);
        let changed = [&sound[..last], &[sound[last] ^ 1]].concat();
        for broken in [changed, sound[..half].to_vec(), [&sound[..], b"behind"].concat()] {
            apply(Decompress::Auto, broken, MAX).expect_err("broken");
        }
    }
}

#[test]
fn a_frame_of_zstd_cannot_ask_for_a_window_of_its_own_size() {
    // A frame header with a window of 1 GiB (RFC 8878, section 3.1.1.1.2), and an empty last block.
    let payload = [0x28, 0xB5, 0x2F, 0xFD, 0x00, (30 - 10) << 3, 0x01, 0, 0];
    let detail = apply(Decompress::Zstd, payload.to_vec(), MAX).expect_err("too large a window");
    assert!(detail.contains("memory"), "{detail}");
    let payload = [0x28, 0xB5, 0x2F, 0xFD, 0x00, (23 - 10) << 3, 0x01, 0, 0];
    assert_eq!(apply(Decompress::Zstd, payload.to_vec(), MAX), Ok(Bytes::new()));
}
