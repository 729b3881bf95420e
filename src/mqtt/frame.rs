//! From a byte stream to frames. Pure.
//!
//! Framing is ours, not the codec's, so that a PUBLISH over `max_payload` is taken apart as it streams by,
//! whatever its size: only its beginning is kept in memory, and the connection goes on.

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::message::{DEAD_LETTER_BEGINNING_MAX, Refusal, WholePayload};
use crate::mqtt::publish::{self, Publish, PublishError};
use crate::mqtt::wire::{VarInt, Version, var_int};

pub use crate::mqtt::wire::RawFrame;

/// A read asks for this much once the buffer runs short; messages are slices of it.
const CHUNK_BYTES: usize = 64 * 1024;
/// The buffer runs short when a read could get less than this.
const READ_MIN_BYTES: usize = 4 * 1024;
/// What a PUBLISH may have beside its payload (MQTT topic, packet id, properties) and still be read
/// whole. Twice what the longest MQTT topic takes.
const HEAD_ALLOWANCE_BYTES: usize = 128 * 1024;
/// No other packet that a broker sends is near this.
const CONTROL_PACKET_MAX_BYTES: usize = 1024 * 1024;

/// The reason code of a payload over `max_payload`.
pub const TOO_LARGE: &str = "payload_too_large";

/// The reason code of a PUBLISH that is too large by its properties.
pub const PROPERTIES_TOO_LARGE: &str = "properties_too_large";

/// What the stream yields.
#[derive(Debug)]
pub enum Frame {
    /// A packet of ordinary size, for the codec.
    Whole(RawFrame),
    /// A PUBLISH that is too large to be read whole; its `refusal` says so.
    Oversize(Publish),
}

/// A stream that cannot be framed any more: the connection must end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// MQTT 5, section 1.5.5.
    #[error("a remaining length of more than four bytes")]
    RemainingLength,
    /// Not a PUBLISH, and larger than any packet that a broker has reason to send.
    #[error(
        "a packet of type {kind} with {length} bytes, expected at most {CONTROL_PACKET_MAX_BYTES}"
    )]
    TooLong {
        /// Packet type, 0 to 15.
        kind: u8,
        /// Its remaining length.
        length: usize,
    },
    /// An oversize PUBLISH that can be neither taken nor acknowledged.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Cuts what was read into frames.
#[derive(Debug)]
pub struct FrameReader {
    version: Version,
    max_payload: usize,
    buffer: BytesMut,
    streaming: Option<Streaming>,
}

/// A PUBLISH over the limit, on its way through.
#[derive(Debug)]
struct Streaming {
    /// All of it but its payload.
    publish: Publish,
    /// Of its frame, still to come.
    skip: usize,
    payload_left: usize,
    payload_size: usize,
    kept: BytesMut,
    hash: Sha256,
}

impl FrameReader {
    /// For one connection. `max_payload` in bytes.
    pub fn new(version: Version, max_payload: usize) -> Self {
        Self { version, max_payload, buffer: BytesMut::new(), streaming: None }
    }

    /// Where the next bytes of the stream are to be appended; with room for at least a few KiB.
    ///
    /// Room is taken from a common chunk until that is used up, so that many small reads do not pin
    /// a chunk each.
    pub fn space(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < READ_MIN_BYTES {
            self.buffer.reserve(CHUNK_BYTES);
        }
        &mut self.buffer
    }

    /// Bytes that were read and are not part of a frame that was handed out.
    pub fn unread(&self) -> usize {
        self.buffer.len()
    }

    /// What was read and is not taken yet.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// The next frame, if it is there whole.
    ///
    /// # Errors
    /// The stream cannot be framed any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.streaming.is_some() {
            return Ok(self.stream());
        }
        let Some((header_len, length)) = fixed_header(&self.buffer)? else { return Ok(None) };
        let first_byte = self.buffer[0];
        let kind = first_byte >> 4;
        let is_publish = kind == 3;
        if is_publish && length > self.max_payload.saturating_add(HEAD_ALLOWANCE_BYTES) {
            return self.begin_streaming(first_byte, header_len, length);
        }
        if !is_publish && length > CONTROL_PACKET_MAX_BYTES {
            return Err(FrameError::TooLong { kind, length });
        }
        let total = header_len + length;
        if self.buffer.len() < total {
            // One allocation for the rest, not one for each read of it.
            self.buffer.reserve(total - self.buffer.len());
            return Ok(None);
        }
        let bytes = self.buffer.split_to(total).freeze();
        Ok(Some(Frame::Whole(RawFrame { bytes, header_len })))
    }

    fn begin_streaming(
        &mut self,
        first_byte: u8,
        header_len: usize,
        length: usize,
    ) -> Result<Option<Frame>, FrameError> {
        let arrived = &self.buffer[header_len..];
        let head =
            publish::parse_head(self.version, first_byte, arrived, length, HEAD_ALLOWANCE_BYTES)?;
        let Some((publish, payload_at)) = head else { return Ok(None) };
        let payload_size = length - payload_at;
        self.streaming = Some(Streaming {
            publish,
            skip: header_len + payload_at,
            payload_left: payload_size,
            payload_size,
            kept: BytesMut::new(),
            hash: Sha256::new(),
        });
        Ok(self.stream())
    }

    /// Lets what has arrived of an oversize PUBLISH pass by.
    fn stream(&mut self) -> Option<Frame> {
        let streaming = self.streaming.as_mut()?;
        let skipped = streaming.skip.min(self.buffer.len());
        self.buffer.advance(skipped);
        streaming.skip -= skipped;

        let arrived = streaming.payload_left.min(self.buffer.len());
        let chunk = self.buffer.split_to(arrived);
        streaming.payload_left -= arrived;
        streaming.hash.update(&chunk);
        let keep = arrived.min(DEAD_LETTER_BEGINNING_MAX - streaming.kept.len());
        streaming.kept.extend_from_slice(&chunk[..keep]);
        if streaming.skip > 0 || streaming.payload_left > 0 {
            return None;
        }

        let done = self.streaming.take()?;
        let whole =
            WholePayload { size: done.payload_size as u64, sha256: done.hash.finalize().into() };
        let refusal = if done.payload_size > self.max_payload {
            too_large(whole, self.max_payload)
        } else {
            Refusal {
                reason: PROPERTIES_TOO_LARGE,
                detail: format!(
                    "a PUBLISH with more than {HEAD_ALLOWANCE_BYTES} bytes beside its payload of {}",
                    whole.size
                ),
                whole: Some(whole),
                route: None,
            }
        };
        Some(Frame::Oversize(Publish {
            payload: done.kept.freeze(),
            refusal: Some(Box::new(refusal)),
            ..done.publish
        }))
    }
}

/// Puts a payload over the limit, read whole after all, into the form of a streamed one.
pub fn bound_payload(mut publish: Publish, max_payload: usize) -> Publish {
    if publish.payload.len() <= max_payload {
        return publish;
    }
    let whole = WholePayload {
        size: publish.payload.len() as u64,
        sha256: Sha256::digest(&publish.payload).into(),
    };
    let keep = publish.payload.len().min(DEAD_LETTER_BEGINNING_MAX);
    // Copies, so that what is kept does not pin the rest.
    publish.payload = Bytes::copy_from_slice(&publish.payload[..keep]);
    publish.mqtt_topic = Bytes::copy_from_slice(&publish.mqtt_topic);
    publish.properties = Bytes::copy_from_slice(&publish.properties);
    publish.refusal = Some(Box::new(too_large(whole, max_payload)));
    publish
}

fn too_large(whole: WholePayload, max_payload: usize) -> Refusal {
    Refusal {
        reason: TOO_LARGE,
        detail: format!(
            "a payload of {} bytes, expected at most mqtt.max_payload = {max_payload}",
            whole.size
        ),
        whole: Some(whole),
        route: None,
    }
}

/// Length of the fixed header and the remaining length; `None` if more bytes are needed.
fn fixed_header(bytes: &[u8]) -> Result<Option<(usize, usize)>, FrameError> {
    match var_int(bytes.get(1..).unwrap_or_default()) {
        VarInt::Is(length, size) => Ok(Some((1 + size, length))),
        VarInt::Incomplete => Ok(None),
        VarInt::TooLong => Err(FrameError::RemainingLength),
    }
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
