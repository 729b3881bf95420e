//! Notices that files have changed, such as certificates and passwords that are rotated.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// How much of a file is looked at; none that is watched is larger.
const READ_MAX: u64 = 1024 * 1024;

/// Files whose change is looked for from time to time.
///
/// The content counts, not the time stamps: Kubernetes and other tools replace directories and links.
/// A change is told once the content has stayed the same from one look to the next, so that a file which is
/// being written, or one of a pair that is replaced first, is not taken half-way.
#[derive(Debug, Clone)]
pub struct FileWatch {
    paths: Vec<PathBuf>,
    /// What is in use.
    told: [u8; 32],
    /// What the last look found, with the marks by which a look without a change is cheap.
    last: Look,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    marks: Vec<Option<Mark>>,
    content: [u8; 32],
}

/// What changes with a file: its device, inode, size, and modification time.
type Mark = (u64, u64, u64, i64, i64);

impl FileWatch {
    /// Watches these files from now on. One that cannot be read counts as a content of its own.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let last = Look { marks: marks(&paths), content: content(&paths) };
        Self { told: last.content, last, paths }
    }

    /// Whether there is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Looks, and tells whether the files have changed since the last change that was told, or since the
    /// beginning.
    pub fn has_changed(&mut self) -> bool {
        let marks = marks(&self.paths);
        if marks == self.last.marks && self.last.content == self.told {
            return false;
        }
        let look = Look { marks, content: content(&self.paths) };
        let is_settled = look.content == self.last.content;
        self.last = look;
        let has_changed = is_settled && self.last.content != self.told;
        if has_changed {
            self.told = self.last.content;
        }
        has_changed
    }
}

fn marks(paths: &[PathBuf]) -> Vec<Option<Mark>> {
    let mark = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    };
    paths.iter().map(mark).collect()
}

fn content(paths: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for path in paths {
        match read(path) {
            Ok(bytes) => {
                hash.update([1]);
                hash.update(bytes.len().to_le_bytes());
                hash.update(&bytes);
            }
            Err(_) => hash.update([0]),
        }
    }
    hash.finalize().into()
}

/// The beginning of the file. A pipe would keep us waiting, or what we read from it from who needs it.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(READ_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_it_has_settled_and_only_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        fs::write(&path, "one").expect("written");
        let mut watch = FileWatch::new(vec![path.clone()]);
        assert!(!watch.has_changed());

        fs::write(&path, "two").expect("written");
        assert!(!watch.has_changed(), "it may still be being written");
        fs::write(&path, "three").expect("written");
        assert!(!watch.has_changed(), "it was");
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
    }

    #[test]
    fn a_file_that_is_replaced_by_the_same_content_has_not_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, other) = (directory.path().join("ca.pem"), directory.path().join("new"));
        fs::write(&path, "one").expect("written");
        let mut watch = FileWatch::new(vec![path.clone()]);
        fs::write(&other, "one").expect("written");
        fs::rename(&other, &path).expect("replaced");
        assert!(!watch.has_changed());
        assert!(!watch.has_changed());
    }

    #[test]
    fn a_file_that_is_removed_and_comes_back_changed_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key.pem");
        fs::write(&path, "one").expect("written");
        let mut watch = FileWatch::new(vec![path.clone()]);
        fs::remove_file(&path).expect("removed");
        assert!(!watch.has_changed());
        fs::write(&path, "two").expect("written");
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
    }

    #[test]
    fn neither_a_pipe_nor_a_device_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("coreutils");
        assert!(made.success());
        let file = directory.path().join("password");
        fs::write(&file, "one").expect("written");
        // Nobody writes to the one, and the other has no end.
        let mut watch = FileWatch::new(vec![pipe, "/dev/zero".into(), file.clone()]);
        fs::write(&file, "two").expect("written");
        assert!(!watch.has_changed());
        assert!(watch.has_changed(), "the file is looked at as ever");
    }
}
