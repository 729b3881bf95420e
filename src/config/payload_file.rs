//! Reads a payload from a file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;

/// The largest payload, in bytes: the largest packet of MQTT.
pub const PAYLOAD_MAX: u64 = 256 * 1024 * 1024;

/// All that this has.
///
/// # Errors
/// It cannot be read, or has more than [`PAYLOAD_MAX`] bytes.
pub fn read(file: impl Read) -> io::Result<Bytes> {
    let mut payload = Vec::new();
    file.take(PAYLOAD_MAX + 1).read_to_end(&mut payload)?;
    if payload.len() as u64 > PAYLOAD_MAX {
        return Err(io::Error::other(
            "expected at most 256 MiB, the most that MQTT can carry, found more",
        ));
    }
    Ok(payload.into())
}

/// The content of a regular file: of a pipe that nobody writes to there would be no end.
///
/// # Errors
/// As [`read`], or it is of another kind.
pub(super) fn read_regular(path: &Path) -> io::Result<Bytes> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("expected a regular file, found another kind"));
    }
    read(File::open(path)?)
}
