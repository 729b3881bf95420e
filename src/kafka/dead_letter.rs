//! What a dead letter says, and the file that it goes to where no Kafka topic is configured.

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::message::{DEAD_LETTER_PAYLOAD_MAX, Destination, ForwardMsg, SourceId, WholePayload};

/// A message on its way to the dead letter.
#[derive(Debug)]
pub struct Letter {
    /// The message.
    pub msg: ForwardMsg,
    /// Who gets the verdict.
    pub source: SourceId,
    /// Stable, low-cardinality code.
    pub reason: &'static str,
    /// One sentence for people.
    pub detail: String,
    /// Where its route would have sent it; none if it was refused before that.
    pub kafka_topic: Option<String>,
}

/// The fields of a dead letter beside the payload, the same in a file and in a Kafka topic.
#[derive(Debug, Serialize)]
struct Fields<'a> {
    reason: &'static str,
    detail: &'a str,
    mqtt_topic: &'a str,
    mqtt_qos: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_topic: Option<&'a str>,
    /// Of the whole payload.
    payload_bytes: u64,
    /// Of the whole payload, where only its beginning is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_sha256: Option<String>,
    received_at: String,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    fields: Fields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl Letter {
    /// The key of its record in a Kafka topic.
    pub fn key(&self) -> &[u8] {
        &self.msg.message.mqtt_topic
    }

    /// What is kept of the payload.
    pub fn kept(&self) -> &[u8] {
        let payload = &self.msg.message.payload;
        &payload[..payload.len().min(DEAD_LETTER_PAYLOAD_MAX)]
    }

    /// The headers of its record in a Kafka topic.
    pub fn headers(&self) -> Vec<(&'static CStr, String)> {
        let mqtt_topic = self.msg.message.mqtt_topic_lossy();
        let fields = self.fields(&mqtt_topic);
        [
            (c"reason", Some(fields.reason.to_owned())),
            (c"detail", Some(fields.detail.to_owned())),
            (c"mqtt_topic", Some(fields.mqtt_topic.to_owned())),
            (c"mqtt_qos", Some(fields.mqtt_qos.to_string())),
            (c"kafka_topic", fields.kafka_topic.map(str::to_owned)),
            (c"payload_bytes", Some(fields.payload_bytes.to_string())),
            (c"payload_sha256", fields.payload_sha256),
            (c"received_at", Some(fields.received_at)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Its line in a file, the line feed included.
    pub fn line(&self) -> Vec<u8> {
        let mqtt_topic = self.msg.message.mqtt_topic_lossy();
        let text = std::str::from_utf8(self.kept()).ok();
        let line = Line {
            fields: self.fields(&mqtt_topic),
            payload: text,
            payload_base64: text.is_none().then(|| BASE64.encode(self.kept())),
        };
        let mut bytes = serde_json::to_vec(&line).expect("strings and numbers are always JSON");
        bytes.push(b'\n');
        bytes
    }

    fn fields<'a>(&'a self, mqtt_topic: &'a str) -> Fields<'a> {
        let message = &self.msg.message;
        let whole = self.whole();
        let received_at = UNIX_EPOCH + Duration::from_micros(message.received_at.wall_us);
        Fields {
            reason: self.reason,
            detail: &self.detail,
            mqtt_topic,
            mqtt_qos: message.qos.level(),
            kafka_topic: self.kafka_topic.as_deref(),
            payload_bytes: whole.map_or(message.payload.len() as u64, |whole| whole.size),
            payload_sha256: whole.map(|whole| hex(&whole.sha256)),
            received_at: humantime::format_rfc3339_micros(received_at).to_string(),
        }
    }

    /// Size and hash of the whole payload, where [`Letter::kept`] is only its beginning.
    fn whole(&self) -> Option<WholePayload> {
        let payload = &self.msg.message.payload;
        let refused_before = match &self.msg.message.destination {
            Some(Destination::DeadLetter(refusal)) => refusal.whole,
            _ => None,
        };
        refused_before.or_else(|| {
            (payload.len() > DEAD_LETTER_PAYLOAD_MAX).then(|| WholePayload {
                size: payload.len() as u64,
                sha256: Sha256::digest(payload).into(),
            })
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Why dead letters cannot be written to the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is at its bound.
    #[error("{path}: at its bound of {max} bytes (dead_letter.file_max); move it away")]
    Full {
        /// The file.
        path: PathBuf,
        /// Its bound.
        max: u64,
    },
    /// The system refuses.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The JSON-lines file. Opened at each write, so that one that was moved away is made anew, and one
/// that a write left in doubt is looked at afresh.
#[derive(Debug, Clone)]
pub struct DeadLetterFile {
    path: PathBuf,
    max: u64,
}

impl DeadLetterFile {
    /// At this path, up to `max` bytes.
    pub fn new(path: PathBuf, max: u64) -> Self {
        Self { path, max }
    }

    /// Appends as many of the lines as fit, and makes them durable with one fsync. Returns how many.
    ///
    /// # Errors
    /// Not even the first fits, or the system refuses; then none counts as written.
    pub fn append(&self, lines: &[Vec<u8>]) -> Result<usize, FileError> {
        /// A write goes on when its actor is restarted. If it failed after the next one had begun,
        /// it would cut that one's lines off too.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let io = |error| FileError::Io { path: self.path.clone(), error };
        let (mut file, size) = open(&self.path).map_err(io)?;
        let mut room = self.max.saturating_sub(size);
        let fits = lines
            .iter()
            .take_while(|line| match room.checked_sub(line.len() as u64) {
                Some(left) => {
                    room = left;
                    true
                }
                None => false,
            })
            .count();
        if fits == 0 && !lines.is_empty() {
            return Err(FileError::Full { path: self.path.clone(), max: self.max });
        }
        let written = file.write_all(&lines[..fits].concat()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Best effort: what stays behind is a torn line, which the next opening sees to.
            let _ = file.set_len(size);
            return Err(io(error));
        }
        Ok(fits)
    }
}

/// Opens for appending at the start of a line, and says how long the file is.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
    let mut size = file.metadata()?.len();
    if size == 0 {
        // Perhaps it is new: its name must be as durable as its lines.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    } else {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

#[cfg(test)]
#[path = "dead_letter_tests.rs"]
mod tests;
