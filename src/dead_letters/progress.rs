//! Remembers which dead letters are in Kafka, so that none is sent twice: a file with an id a line, durable
//! before the next one is sent. It is only appended to; a kill can tear its last line, which then does not count.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Digits of an id.
const ID_DIGITS: usize = 16;

/// See the module.
pub(super) struct Progress {
    /// None: nothing is remembered, in a dry run.
    file: Option<(PathBuf, File)>,
    done: HashSet<u64>,
}

impl Progress {
    /// Opens the file, for this process alone.
    ///
    /// # Errors
    /// It cannot be opened or read, or another replay has it.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let named = |error: io::Error| format!("{}: {error}", path.display());
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.custom_flags(libc::O_NOFOLLOW).open(path).map_err(named)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("{}: another replay is under way", path.display()))?;
        let (done, is_torn) = read(&file).map_err(named)?;
        if is_torn {
            file.write_all(b"\n").map_err(named)?;
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new(".")));
        directory.and_then(|directory| directory.sync_all()).map_err(named)?;
        Ok(Self { file: Some((path.to_owned(), file)), done })
    }

    /// As it is now, and nothing is written.
    ///
    /// # Errors
    /// It is there and cannot be read.
    pub(super) fn peek(path: &Path) -> Result<Self, String> {
        match File::open(path).and_then(|file| read(&file)) {
            Ok((done, _)) => Ok(Self { file: None, done }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { file: None, done: HashSet::new() })
            }
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Whether it is in Kafka.
    pub(super) fn has(&self, id: &str) -> bool {
        self.done.contains(&number(id))
    }

    /// It is in Kafka.
    ///
    /// # Errors
    /// That cannot be remembered.
    pub(super) fn add(&mut self, id: &str) -> Result<(), String> {
        let number = number(id);
        if let Some((path, file)) = &mut self.file {
            let written = file.write_all(format!("{number:016x}\n").as_bytes());
            let written = written.and_then(|()| file.sync_data());
            written.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        self.done.insert(number);
        Ok(())
    }
}

/// An id is a number of 16 hexadecimal digits; any other text, which no bridge writes, is hashed to one.
fn number(id: &str) -> u64 {
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hashed;
    let digits = match is_id {
        true => id,
        false => {
            hashed = mqtt_kafka_bridge::kafka::dead_letter::letter::id(&[id.as_bytes()]);
            &hashed
        }
    };
    u64::from_str_radix(digits, 16).unwrap_or_default()
}

/// The ids, and whether the last line is torn.
fn read(mut file: &File) -> io::Result<(HashSet<u64>, bool)> {
    file.seek(SeekFrom::Start(0))?;
    let mut lines = BufReader::new(file);
    let (mut done, mut line) = (HashSet::new(), Vec::new());
    loop {
        line.clear();
        // Bounded: somebody may have named another file.
        io::Read::take(&mut lines, ID_DIGITS as u64 + 1).read_until(b'\n', &mut line)?;
        let Some(text) = line.strip_suffix(b"\n") else { break };
        let text = std::str::from_utf8(text).unwrap_or_default();
        match u64::from_str_radix(text, 16) {
            Ok(number) if text.len() == ID_DIGITS => drop(done.insert(number)),
            // Torn by a kill, and completed by the run after it.
            _ if text.len() < ID_DIGITS => {}
            _ => break,
        }
    }
    let is_torn_id = line.len() < ID_DIGITS + 1 && line.iter().all(u8::is_ascii_hexdigit);
    if !lines.fill_buf()?.is_empty() || !is_torn_id {
        return Err(io::Error::other("expected ids of dead letters, one a line, found other text"));
    }
    Ok((done, !line.is_empty()))
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
