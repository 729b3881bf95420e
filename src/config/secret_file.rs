//! Reads a file that contains a secret, and tries one that is read later.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::mqtt_config::MQTT_STRING_MAX;
use super::suggest::quoted;
use super::text;

/// How much of the file is read: more than a legal secret, in UTF-16 too.
const READ_MAX: u64 = 2 * MQTT_STRING_MAX as u64 + 4;

/// The secret in the file at `path`, without the newline at its end.
///
/// # Errors
/// What is wrong with the file, without its content.
pub fn read(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    refuse_pipe(path)?;
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(READ_MAX).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(format!("expected a file that can be read: {error}"));
    }
    let text = text::decode_secret(&bytes)
        .map_err(|error| format!("{}: {error}", quoted(&path.to_string_lossy())))?;
    let secret = text.strip_suffix('\n').unwrap_or(text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.len() > MQTT_STRING_MAX || secret.contains('\0') {
        return Err(format!(
            "expected a file of at most {MQTT_STRING_MAX} bytes, without the NUL character"
        ));
    }
    Ok(secret.to_owned())
}

/// Whether the file at `path` can be read.
///
/// # Errors
/// Why not.
pub(super) fn try_open(path: &str) -> Result<(), String> {
    refuse_pipe(path.as_ref())?;
    // A directory can be opened and not read.
    let read = File::open(path).and_then(|mut file| file.read(&mut [0]));
    read.map(drop).map_err(|error| format!("expected a file that can be read: {error}"))
}

/// What is read from a pipe is gone, and a file is read again later.
fn refuse_pipe(path: &Path) -> Result<(), String> {
    let kind = fs::metadata(path).map(|metadata| metadata.file_type());
    match kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket()) {
        true => Err("expected a file that can be read again, found a pipe or a socket".to_owned()),
        false => Ok(()),
    }
}
