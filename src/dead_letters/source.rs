//! Where dead letters are read from, one after the other: however many there are, one is in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::kafka::dead_letter::file::DeadLetterFile;
use mqtt_kafka_bridge::kafka::dead_letter::letter::{self, Letter};
use mqtt_kafka_bridge::kafka::reader::{self, ReadError};
use mqtt_kafka_bridge::message::DEAD_LETTER_PAYLOAD_MAX;
use mqtt_kafka_bridge::visible::Visible;

use crate::lines::skip_line;

/// No line that the bridge writes is longer: JSON may take six bytes for one of the payload.
const LINE_MAX: usize = 6 * DEAD_LETTER_PAYLOAD_MAX + 2 * 1024 * 1024;

/// See the module.
pub(super) enum Source {
    /// These, in order; `required`: one that is missing is an error.
    Files { paths: Vec<PathBuf>, required: bool },
    /// A Kafka topic.
    KafkaTopic { config: Arc<Config>, name: String },
}

/// Something that stands where a dead letter should.
pub(super) struct Found {
    /// `file:line` or `Kafka topic[partition]@offset`.
    pub(super) place: String,
    /// What it is, or why it cannot be read.
    pub(super) letter: Result<Letter<'static>, String>,
}

/// Why not all can be read, and how the program ends then.
pub(super) struct Unread {
    pub(super) exit: Exit,
    pub(super) why: String,
}

impl Source {
    pub(super) fn file(path: PathBuf) -> Self {
        Self::Files { paths: vec![path], required: true }
    }

    pub(super) fn kafka_topic(config: &Arc<Config>, name: String) -> Self {
        Self::KafkaTopic { config: Arc::clone(config), name }
    }

    /// What the configuration names: its Kafka topic, or the file and that of messages without a route.
    pub(super) fn configured(config: &Arc<Config>) -> Self {
        let dead_letter = &config.dead_letter;
        match &dead_letter.kafka_topic {
            Some(name) => Self::kafka_topic(config, name.clone()),
            None => {
                let unmatched = DeadLetterFile::of_unmatched(dead_letter);
                let paths = vec![dead_letter.file.clone(), unmatched.path().to_owned()];
                Self::Files { paths, required: false }
            }
        }
    }

    /// Where the progress of a replay is kept.
    pub(super) fn progress_path(&self) -> PathBuf {
        let mut path = match self {
            Self::Files { paths, .. } => {
                paths.first().cloned().unwrap_or_default().into_os_string()
            }
            Self::KafkaTopic { name, .. } => name.into(),
        };
        path.push(".replayed");
        path.into()
    }

    /// Gives each until `each` breaks.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read(
        &self,
        mut each: impl FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Unread> {
        match self {
            Self::Files { paths, required } => {
                let absent = |path: &&PathBuf| !path.try_exists().unwrap_or(true);
                if !required && paths.iter().all(|path| absent(&path)) {
                    // Before its first dead letter a bridge has none; or this is another directory.
                    for path in paths {
                        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                        let path = path.display().to_string();
                        eprintln!("{}: not there, so no dead letters", Visible(&path));
                    }
                    return Ok(());
                }
                for path in paths {
                    let named = |error: io::Error| Unread {
                        exit: Exit::Configuration,
                        why: format!("{}: {error}", path.display()),
                    };
                    let file = match open(path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {
                            continue;
                        }
                        opened => opened.map_err(named)?,
                    };
                    // A bridge that writes, perhaps because of this replay, does not keep it going for ever.
                    let length = file.metadata().map_err(named)?.len();
                    let mut lines = BufReader::new(file.take(length));
                    if lines_of(&mut lines, path, LINE_MAX, &mut each).map_err(named)?.is_break() {
                        break;
                    }
                }
                Ok(())
            }
            Self::KafkaTopic { config, name } => reader::read(config, name, |record| {
                let (partition, offset) = (record.kafka_partition, record.kafka_offset);
                let place = format!("{name}[{partition}]@{offset}");
                let headers = record.headers.iter().copied();
                let letter = Letter::of_record(record.value, headers);
                let place_in_it = format!("{partition}@{offset}");
                let letter = letter.map(|letter| with_own_id(letter, &place_in_it));
                each(Found { place, letter: letter.map_err(|error| error.to_string()) })
            })
            .map_err(|error| Unread {
                exit: match error {
                    ReadError::NoAnswer(_) => Exit::DeadlinePassed,
                    ReadError::Refused(_) => Exit::Configuration,
                },
                why: error.to_string(),
            }),
        }
    }
}

/// A directory, or a pipe that nobody writes to, is refused.
fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("expected a regular file, found another kind"));
    }
    File::open(path)
}

/// The lines of a file, of at most `line_max` bytes each. The bridge may be writing the last one: without a
/// line feed it is passed over.
fn lines_of(
    lines: &mut impl BufRead,
    path: &Path,
    line_max: usize,
    each: &mut impl FnMut(Found) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut at = 0_u64;
    for number in 1_u64.. {
        let mut line = Vec::new();
        let mut size = lines.by_ref().take(line_max as u64).read_until(b'\n', &mut line)? as u64;
        let is_whole = line.ends_with(b"\n");
        let is_long = !is_whole && size == line_max as u64;
        if is_long {
            line.clear();
            match skip_line(lines)? {
                Some(skipped) => size += skipped,
                None => break,
            }
        } else if !is_whole {
            break;
        }
        let begins_at = at;
        at += size;
        if line == b"\n" {
            continue;
        }
        let letter = match is_long {
            true => Err(format!("expected a dead letter, found a line of {size} bytes")),
            false => Letter::of_line(&line)
                .map(|letter| with_own_id(letter, &begins_at.to_string()))
                .map_err(|error| error.to_string()),
        };
        let found = Found { place: format!("{}:{number}", path.display()), letter };
        if each(found).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// One of version 1 has no id of its own: two of them can be alike, and only their place tells them apart.
fn with_own_id(mut letter: Letter<'static>, place: &str) -> Letter<'static> {
    if letter.fields.format == 1 {
        let content = letter.fields.id.as_bytes();
        letter.fields.id = letter::id(&[content, place.as_bytes()]).into();
    }
    letter
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
