//! Frames of WebSocket (RFC 6455, section 5), as a client reads and writes them. Pure.

use std::io::Cursor;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// No control frame has more (RFC 6455, section 5.5).
const CONTROL_MAX_BYTES: u64 = 125;

/// Reads the server's frames. A payload streams through: however long a frame or a message is, nothing
/// of it is kept.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    /// What is to come of the payload of a frame with data.
    remaining: u64,
    /// A message began in a frame that was not its last.
    is_fragmented: bool,
}

/// What is not data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Ping(Bytes),
    /// With the code and the text, if there are any.
    Close(Option<(u16, String)>),
}

/// Why a frame is not acceptable: the code to close with (RFC 6455, section 7.4.1), and a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) code: u16,
    pub(super) why: String,
}

fn broken(why: impl Into<String>) -> Broken {
    Broken { code: 1002, why: why.into() }
}

impl Unframer {
    /// Moves data from the frames in `raw` to `data`, at most `room` bytes, up to the next signal.
    pub(super) fn take(
        &mut self,
        raw: &mut BytesMut,
        data: &mut BytesMut,
        mut room: usize,
    ) -> Result<Option<Signal>, Broken> {
        loop {
            if self.remaining > 0 {
                let count = usize::try_from(self.remaining).unwrap_or(usize::MAX);
                let count = count.min(raw.len()).min(room);
                if count == 0 {
                    return Ok(None);
                }
                data.extend_from_slice(&raw[..count]);
                raw.advance(count);
                room -= count;
                self.remaining -= count as u64;
                continue;
            }
            let mut cursor = Cursor::new(&raw[..]);
            let header = FrameHeader::parse(&mut cursor).map_err(|error| broken(error.to_string()));
            let Some((header, length)) = header? else { return Ok(None) };
            let size = cursor.position() as usize;
            if header.mask.is_some() {
                return Err(broken("a masked frame, which only clients send"));
            }
            if header.rsv1 || header.rsv2 || header.rsv3 {
                return Err(broken("a frame of an extension that nobody asked for"));
            }
            match header.opcode {
                OpCode::Data(Data::Text) => {
                    let why = "a text frame, but MQTT is binary".to_owned();
                    return Err(Broken { code: 1003, why });
                }
                OpCode::Data(kind) => {
                    if (kind == Data::Continue) != self.is_fragmented {
                        return Err(broken("a frame that does not continue the one before"));
                    }
                    self.is_fragmented = !header.is_final;
                    self.remaining = length;
                    raw.advance(size);
                }
                OpCode::Control(kind) => {
                    if length > CONTROL_MAX_BYTES || !header.is_final {
                        return Err(broken("a control frame that is too long, or in pieces"));
                    }
                    if raw.len() < size + length as usize {
                        return Ok(None);
                    }
                    raw.advance(size);
                    let payload = raw.split_to(length as usize);
                    if let Some(signal) = signal(kind, &payload)? {
                        return Ok(Some(signal));
                    }
                }
            }
        }
    }
}

fn signal(kind: Control, payload: &[u8]) -> Result<Option<Signal>, Broken> {
    match (kind, payload) {
        // Copied: a piece of the buffer would keep all of it from being used again.
        (Control::Ping, payload) => Ok(Some(Signal::Ping(Bytes::copy_from_slice(payload)))),
        (Control::Close, []) => Ok(Some(Signal::Close(None))),
        (Control::Close, [high, low, text @ ..]) => {
            let code = u16::from_be_bytes([*high, *low]);
            let text = String::from_utf8_lossy(text).into_owned();
            Ok(Some(Signal::Close(Some((code, text)))))
        }
        (Control::Close, _) => Err(broken("a close frame with half a code")),
        (Control::Pong | Control::Reserved(_), _) => Ok(None),
    }
}

/// Appends a frame with data.
pub(super) fn frame_data(payload: &[u8], mask: [u8; 4], out: &mut BytesMut) {
    frame(OpCode::Data(Data::Binary), payload, mask, out);
}

/// Appends the answer to a ping.
pub(super) fn frame_pong(payload: &[u8], mask: [u8; 4], out: &mut BytesMut) {
    frame(OpCode::Control(Control::Pong), payload, mask, out);
}

/// Appends a close frame.
pub(super) fn frame_close(code: u16, mask: [u8; 4], out: &mut BytesMut) {
    frame(OpCode::Control(Control::Close), &code.to_be_bytes(), mask, out);
}

fn frame(opcode: OpCode, payload: &[u8], mask: [u8; 4], out: &mut BytesMut) {
    let header = FrameHeader { is_final: true, opcode, mask: Some(mask), ..FrameHeader::default() };
    out.reserve(header.len(payload.len() as u64) + payload.len());
    // Memory takes everything.
    let _ = header.format(payload.len() as u64, &mut (&mut *out).writer());
    let start = out.len();
    out.extend_from_slice(payload);
    let (words, rest) = out[start..].as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame.
    fn server(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            length @ ..126 => frame.push(length as u8),
            length @ ..65_536 => {
                frame.push(126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(payload);
        frame
    }

    /// Everything, handed over in pieces of `piece` bytes.
    fn read(bytes: &[u8], piece: usize, room: usize) -> Result<(Vec<u8>, Vec<Signal>), Broken> {
        let (mut unframer, mut raw) = (Unframer::default(), BytesMut::new());
        let (mut data, mut signals) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            raw.extend_from_slice(piece);
            loop {
                let before = data.len();
                match unframer.take(&mut raw, &mut data, room)? {
                    Some(signal) => signals.push(signal),
                    None if data.len() == before => break,
                    None => {}
                }
                assert!(data.len() - before <= room);
            }
        }
        assert!(raw.is_empty(), "{raw:?}");
        Ok((data.to_vec(), signals))
    }

    #[test]
    fn data_and_signals_are_the_same_however_they_are_cut() {
        let long = vec![7; 70_000];
        let frames = [
            server(0x82, b"one"),
            server(0x02, b"two "),
            server(0x89, b"ping"),
            server(0x00, b""),
            server(0x8A, b"nobody asked"),
            server(0x80, &[3; 300]),
            server(0x82, &long),
            server(0x88, &[0x03, 0xE9, b'b', b'y', b'e']),
        ]
        .concat();
        let data = [b"one".as_slice(), b"two ", &[3; 300], &long].concat();
        let signals =
            [Signal::Ping(Bytes::from("ping")), Signal::Close(Some((1001, "bye".to_owned())))];
        for (piece, room) in
            [(1, usize::MAX), (1, 1), (2, 3), (7, 100), (frames.len(), 50), (4096, 4096)]
        {
            let (read, signaled) = read(&frames, piece, room).expect("legal");
            assert!(read == data && signaled == signals, "{piece}, {room}");
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_refused() {
        for (bytes, told, code) in [
            (server(0x81, b"text"), "a text frame", 1003),
            (server(0x80, b""), "does not continue", 1002),
            ([server(0x02, b""), server(0x82, b"")].concat(), "does not continue", 1002),
            (vec![0x82, 0x81, 0, 0, 0, 0, 0], "masked", 1002),
            (server(0xC2, b"zipped"), "extension", 1002),
            (server(0x09, b""), "in pieces", 1002),
            (server(0x89, &[0; 126]), "too long", 1002),
            (server(0x88, &[3]), "half a code", 1002),
            (server(0x83, b""), "opcode", 1002),
        ] {
            let Broken { code: found, why } = read(&bytes, 1, 1).expect_err("illegal");
            assert!(why.contains(told) && code == found, "{why}");
        }
    }

    #[test]
    fn a_frame_of_ours_is_masked_and_says_what_was_written() {
        let mask = [1, 2, 3, 4];
        for length in [0, 1, 3, 4, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut out = BytesMut::from(&b"before"[..]);
            frame_data(&payload, mask, &mut out);
            let mut cursor = Cursor::new(&out[6..]);
            let (header, found) = FrameHeader::parse(&mut cursor).expect("legal").expect("whole");
            assert_eq!((header.mask, found, header.is_final), (Some(mask), length as u64, true));
            let masked = &out[6 + cursor.position() as usize..];
            let read: Vec<u8> =
                masked.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
            assert!(read == payload, "{length}");
        }
    }
}
