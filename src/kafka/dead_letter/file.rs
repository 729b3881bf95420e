//! The JSON-lines file of dead letters, where no Kafka topic is configured.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::config::DeadLetterConfig;

/// The mode of a file that the bridge creates: payloads may be confidential.
const MODE: u32 = 0o600;
/// Rights that the bridge removes from an existing file. Those of its group may be intended.
const OTHERS: u32 = 0o007;

/// Why dead letters cannot be written to the file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is at its bound.
    #[error("{path}: at its bound of {max} bytes ({key}); move it away")]
    Full {
        /// The key that sets the bound.
        key: &'static str,
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

/// The JSON-lines file. It is opened for each write, so that it is created again after it was moved away, and
/// its end is examined again after a failed write.
#[derive(Debug, Clone)]
pub struct DeadLetterFile {
    path: PathBuf,
    max: u64,
    /// The key that sets the bound.
    key: &'static str,
}

impl DeadLetterFile {
    /// The file at this path, of at most `max` bytes.
    pub fn new(path: PathBuf, max: u64) -> Self {
        Self { path, max, key: "dead_letter.file_max" }
    }

    /// The file beside it for messages that no route matches: `dead-letter.unmatched.jsonl`.
    pub fn of_unmatched(config: &DeadLetterConfig) -> Self {
        let extension = match config.file.extension() {
            Some(extension) => format!("unmatched.{}", extension.to_string_lossy()),
            None => "unmatched".to_owned(),
        };
        Self {
            path: config.file.with_extension(extension),
            max: config.unmatched_max_bytes,
            key: "dead_letter.unmatched_max",
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bound in bytes.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Checks whether dead letters can be written now, without creating the file. Returns a warning about
    /// an existing file, if there is something to warn of.
    ///
    /// # Errors
    /// They cannot, and why.
    pub fn check(config: &DeadLetterConfig) -> Result<Option<String>, FileError> {
        if config.kafka_topic.is_some() {
            return Ok(None);
        }
        let path = &config.file;
        let io = |error| FileError::Io { path: path.clone(), error };
        let file = match options().open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                may_create_in(directory(path)).map_err(io)?;
                return Ok(None);
            }
            Err(error) => return Err(io(named(error))),
        };
        let metadata = regular(&file).map_err(io)?;
        let shown = path.display();
        Ok(if metadata.permissions().mode() & OTHERS != 0 {
            Some(format!(
                "{shown}: accessible to all users; the bridge removes their rights at the next dead letter"
            ))
        } else if metadata.len() >= config.file_max_bytes {
            let (key, max) = ("dead_letter.file_max", config.file_max_bytes);
            Some(FileError::Full { key, path: path.clone(), max }.to_string())
        } else {
            None
        })
    }

    /// Appends as many of the lines as fit, and makes them durable with one fsync. Returns how many.
    ///
    /// # Errors
    /// Not even the first line fits, or the system refuses. Then none counts as written.
    pub fn append(&self, lines: &[Vec<u8>]) -> Result<usize, FileError> {
        /// A write continues while its actor is restarted. If it failed after the next write had begun, it
        /// would also cut off the lines of that one.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
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
            let Self { path, max, key } = self.clone();
            return Err(FileError::Full { key, path, max });
        }
        let written = file.write_all(&lines[..fits].concat()).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // If this fails a torn line stays behind; the next opening completes it.
            let _ = file.set_len(size);
            return Err(io(error));
        }
        Ok(fits)
    }
}

/// Opens for appending at the start of a line, and says how long the file is.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let mut file = options().create(true).mode(MODE).open(path).map_err(named)?;
    let metadata = regular(&file)?;
    let mode = metadata.permissions().mode();
    if mode & OTHERS != 0 {
        // This fails if another user owns the file; it is written all the same.
        let _ = file.set_permissions(Permissions::from_mode(mode & !OTHERS));
    }
    let mut size = metadata.len();
    if size == 0 {
        // The file may be new: its name must be as durable as its lines.
        File::open(directory(path))?.sync_all()?;
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

/// Follows no symbolic link: whoever can create one there could choose where payloads go.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).append(true).custom_flags(libc::O_NOFOLLOW);
    options
}

fn directory(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// The file's metadata, if it can be appended to and cut.
fn regular(file: &File) -> io::Result<std::fs::Metadata> {
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok(metadata),
        false => Err(io::Error::other("expected a regular file, found another kind")),
    }
}

/// Says "symbolic link" where the system says "too many levels", because of [`libc::O_NOFOLLOW`].
fn named(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ELOOP) => io::Error::other("expected a regular file, found a symbolic link"),
        _ => error,
    }
}

/// Fails if this process may not create a file there.
fn may_create_in(directory: &Path) -> io::Result<()> {
    if !std::fs::metadata(directory)?.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::ENOTDIR));
    }
    let access = Access::WRITE_OK | Access::EXEC_OK;
    Ok(accessat(CWD, directory, access, AtFlags::EACCESS)?)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
