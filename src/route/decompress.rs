//! `decompress`: unpacks a payload, within a bound. Pure.
//!
//! What is unpacked is never larger than the bound, and nothing else grows with what a payload claims to
//! be: the memory that it takes is the bound and a constant (zstd's window, see `ZSTD_WINDOW_LOG_MAX`).

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use flate2::{FlushDecompress, Status};

/// How a payload is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Decompress {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952), one or several members.
    Gzip,
    /// zlib (RFC 1950), without a preset dictionary.
    Zlib,
    /// Zstandard (RFC 8878), one or several frames, without a dictionary.
    Zstd,
    /// By its first bytes; not at all if they are of none of these.
    Auto,
}

/// The largest window of zstd, as a power of 2: the 8 MiB that RFC 8878, section 3.1.1.1.2, asks of every
/// decoder.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How many times its size a payload is expected to have unpacked: if it has more, it is unpacked twice,
/// first only to learn its size.
const EXPECTED_RATIO: usize = 8;

/// What is unpacked at once where it is only counted, in bytes.
const CHUNK: usize = 16 * 1024;

impl Decompress {
    /// The unpacked payload, of at most `max` bytes. An empty payload is nothing packed, and stays empty.
    ///
    /// # Errors
    /// What was found and expected, if it is packed otherwise, broken, or larger.
    #[inline]
    pub fn apply(self, payload: &Bytes, max: usize) -> Result<Bytes, String> {
        let packed = match self {
            Self::None => Self::None,
            _ if payload.is_empty() => Self::None,
            Self::Auto => Self::recognised(payload),
            known => known,
        };
        let unpacked = match packed {
            Self::Gzip => unpack("gzip", payload, max, |packed| Ok(MultiGzDecoder::new(packed))),
            Self::Zlib => unpack("zlib", payload, max, |packed| Ok(Zlib::new(packed))),
            Self::Zstd => unpack("zstd", payload, max, |packed| {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Ok(decoder)
            }),
            Self::None | Self::Auto => Ok(payload.clone()),
        };
        match unpacked {
            Err(_) if self == Self::Auto && packed == Self::Zlib && !begins_as_zlib(payload) => {
                Ok(payload.clone())
            }
            unpacked => unpacked,
        }
    }

    /// By the first bytes. Of zlib's headers only those of its usual window of 32 KiB: others begin like
    /// text or numbers. These two bytes too may be the text `x^` or a number, which [`begins_as_zlib`] finds
    /// out; what gzip and zstd begin with is longer, and no text.
    fn recognised(payload: &[u8]) -> Self {
        match payload {
            [0x1F, 0x8B, 8, ..] => Self::Gzip,
            [0x78, 0x01 | 0x5E | 0x9C | 0xDA, _, ..] => Self::Zlib,
            [0x28, 0xB5, 0x2F, 0xFD, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Whether a payload that begins like zlib's, and cannot be unpacked, is a broken one of zlib all the same:
/// it is no text, and its first byte can be inflated, or lies behind its end.
#[cold]
fn begins_as_zlib(payload: &[u8]) -> bool {
    // Without zlib's header and check, which may be what is broken.
    let inflates = || {
        let deflated = payload.get(2..).unwrap_or_default();
        flate2::Decompress::new(false).decompress(deflated, &mut [0], FlushDecompress::None).is_ok()
    };
    std::str::from_utf8(payload).is_err() && inflates()
}

/// Unpacks into memory that is asked for once: of the size that is usual or, where that is too little, of
/// the size that counting has found.
fn unpack<'a, R: Read>(
    name: &str,
    packed: &'a [u8],
    max: usize,
    open: impl Fn(&'a [u8]) -> io::Result<R>,
) -> Result<Bytes, String> {
    let broken = |error: io::Error| format!("expected a payload of {name}, found {error}");
    let usual = packed.len().saturating_mul(EXPECTED_RATIO).max(CHUNK).min(max);
    let mut reader = open(packed).map_err(broken)?;
    let mut unpacked = vec![0; usual];
    let size = fill(&mut reader, &mut unpacked).map_err(broken)?;
    if size < usual {
        unpacked.truncate(size);
        unpacked.shrink_to_fit();
        return Ok(unpacked.into());
    }
    drop(unpacked);
    let size = size + count(&mut reader, max - size).map_err(broken)?;
    drop(reader);
    if size > max {
        return Err(format!("expected at most {max} bytes (decompress_max), found more in {name}"));
    }
    let mut unpacked = vec![0; size];
    fill(&mut open(packed).map_err(broken)?, &mut unpacked).map_err(broken)?;
    Ok(unpacked.into())
}

/// Reads until the end, or until `into` is full. Returns how many bytes there were.
fn fill(reader: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut size = 0;
    while size < into.len() {
        match reader.read(&mut into[size..])? {
            0 => break,
            more => size += more,
        }
    }
    Ok(size)
}

/// How many bytes are left; more than `most` if it is more than that, which ends the count.
fn count(reader: &mut impl Read, most: usize) -> io::Result<usize> {
    let (mut size, mut chunk) = (0, vec![0; CHUNK]);
    while size <= most {
        match reader.read(&mut chunk)? {
            0 => break,
            more => size += more,
        }
    }
    Ok(size)
}

/// zlib, whose reader in flate2 takes a stream that stops half-way for one that has ended.
struct Zlib<'a> {
    packed: &'a [u8],
    inflate: flate2::Decompress,
    is_ended: bool,
}

impl<'a> Zlib<'a> {
    fn new(packed: &'a [u8]) -> Self {
        Self { packed, inflate: flate2::Decompress::new(true), is_ended: false }
    }
}

impl Read for Zlib<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while !self.is_ended && !into.is_empty() {
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(self.packed, into, FlushDecompress::None)?;
            // Of the slices above.
            let read = (self.inflate.total_in() - read) as usize;
            let written = (self.inflate.total_out() - written) as usize;
            self.packed = &self.packed[read..];
            self.is_ended = status == Status::StreamEnd;
            if self.is_ended && !self.packed.is_empty() {
                let behind = format!("{} bytes behind its end", self.packed.len());
                return Err(io::Error::new(io::ErrorKind::InvalidData, behind));
            }
            if written > 0 {
                return Ok(written);
            }
            if read == 0 && !self.is_ended {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no end"));
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
#[path = "decompress_tests.rs"]
mod tests;
