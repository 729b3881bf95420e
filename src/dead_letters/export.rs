//! `dead-letters export`: JSON lines, or payloads as they were.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::kafka::dead_letter::letter::{self, Letter};
use mqtt_kafka_bridge::visible::escape_json;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::args::{From, failed};
use super::show::{each_selected, write};

/// To standard output, or each payload to a file in `directory`. A file that is there already is not replaced.
pub(super) fn export(from: &From, directory: Option<&Path>) -> Result<Exit, Exit> {
    let mut out = io::stdout().lock();
    let (mut left, mut trouble) = (0, None);
    let (_, unreadable) = each_selected(from, |letter| match directory {
        None => {
            let mut line = letter.line();
            // Without its line feed, which stays one.
            line.pop();
            escape_json(&mut line, 0);
            line.push(b'\n');
            write(&mut out, &line)
        }
        Some(directory) => match to_file(letter, directory) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Unwritten::Other(path)) => {
                left += 1;
                eprintln!("{path}: left, a file with another content is there");
                ControlFlow::Continue(())
            }
            Err(Unwritten::Failed(why)) => {
                trouble = Some(why);
                ControlFlow::Break(())
            }
        },
    })?;
    if let Some(directory) = directory {
        // The names of the files too are on the disk.
        let synced = File::open(directory).and_then(|it| it.sync_all());
        let named = synced.map_err(|error| format!("{}: {error}", directory.display()));
        trouble = trouble.or(named.err());
    }
    match trouble {
        Some(why) => Err(failed(Exit::Configuration)(why)),
        None if unreadable + left > 0 => Ok(Exit::Unhealthy),
        None => Ok(Exit::Drained),
    }
}

/// Why a payload is in no file.
#[derive(Debug)]
enum Unwritten {
    /// Something else is at this path.
    Other(String),
    /// No other could be written either, such as for want of space.
    Failed(String),
}

/// Its payload, whole or not at all, so that an export that was interrupted leaves nothing in the way of the next.
/// A dead letter may be there twice, after a failure of the bridge: the second one is passed over.
fn to_file(letter: &Letter<'_>, directory: &Path) -> Result<(), Unwritten> {
    let cut = if letter.whole_payload().is_err() { ".cut" } else { "" };
    let path = directory.join(format!("{}{cut}.payload", name_of(letter)));
    if !cut.is_empty() {
        eprintln!("{}: only a beginning of the payload", path.display());
    }
    let written = match path.symlink_metadata() {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => write_new(&path, directory, &letter.payload),
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match has(&path, &letter.payload) {
                true => Ok(()),
                false => Err(Unwritten::Other(path.display().to_string())),
            }
        }
        written => {
            written.map_err(|error| Unwritten::Failed(format!("{}: {error}", path.display())))
        }
    }
}

/// Its id, of which a stranger's line may make a path; without letters and digits, a name that only the same payload has.
fn name_of(letter: &Letter<'_>) -> String {
    let is_name = |c: &char| c.is_ascii_alphanumeric();
    let name: String = letter.fields.id.chars().filter(is_name).take(64).collect();
    match name.is_empty() {
        true => format!("unnamed-{}", letter::id(&[&letter.payload])),
        false => name,
    }
}

/// A file that is on the disk before it has its name, and replaces none.
fn write_new(path: &Path, directory: &Path, content: &[u8]) -> io::Result<()> {
    // Of nobody else, who may be exporting to the same directory.
    let part = directory.join(format!("export-{:016x}.part", fastrand::u64(..)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    let named = written.and_then(|()| rename_new(&part, path));
    if named.is_err() {
        let _ = fs::remove_file(&part);
    }
    named
}

/// A rename that fails if the new name is taken.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems cannot, such as NFS.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        renamed => Ok(renamed?),
    }
}

/// Whether a file has exactly this content.
fn has(path: &Path, content: &[u8]) -> bool {
    let length = u64::try_from(content.len()).ok();
    let is_alike = path.metadata().is_ok_and(|it| it.is_file() && Some(it.len()) == length);
    is_alike && fs::read(path).is_ok_and(|read| read == content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_kafka_bridge::kafka::dead_letter::letter::Fields;

    #[test]
    fn a_dead_letter_that_is_there_twice_is_one_file_and_one_that_was_cut_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let letter = |payload_bytes| Letter {
            fields: Fields { id: "../ab".into(), payload_bytes, ..Fields::default() },
            payload: b"payload".into(),
        };
        to_file(&letter(7), dir.path()).expect("written");
        to_file(&letter(7), dir.path()).expect("the same");
        to_file(&letter(9), dir.path()).expect("beside it");
        for name in ["ab.payload", "ab.cut.payload"] {
            assert_eq!(std::fs::read(dir.path().join(name)).expect("there"), b"payload");
        }
        std::fs::write(dir.path().join("ab.payload"), "of somebody else").expect("written");
        let left = to_file(&letter(7), dir.path()).expect_err("not replaced");
        assert!(
            matches!(&left, Unwritten::Other(path) if path.ends_with("ab.payload")),
            "{left:?}"
        );
        assert_eq!(
            std::fs::read(dir.path().join("ab.payload")).expect("there"),
            b"of somebody else"
        );
    }

    #[test]
    fn nobodys_file_is_removed_or_replaced_and_a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let letter = Letter {
            fields: Fields { id: "ab".into(), payload_bytes: 7, ..Fields::default() },
            payload: b"payload".into(),
        };
        fs::write(dir.path().join("ab.part"), "of somebody else").expect("written");
        to_file(&letter, dir.path()).expect("whole");
        // As if another export had been faster than the look.
        let path = dir.path().join("ab.payload");
        let taken = write_new(&path, dir.path(), b"another").expect_err("not replaced");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(
            content(dir.path()),
            [("ab.part", "of somebody else"), ("ab.payload", "payload")].map(owned)
        );
        let nowhere = dir.path().join("nowhere");
        let failed = to_file(&letter, &nowhere).expect_err("no directory");
        assert!(matches!(failed, Unwritten::Failed(why) if why.contains("nowhere/ab.payload")));
    }

    #[test]
    fn dead_letters_whose_ids_are_no_names_are_told_apart_by_their_payloads() {
        let dir = tempfile::tempdir().expect("a directory");
        let letter = |id: &'static str, payload: &'static str| Letter {
            fields: Fields { id: id.into(), payload_bytes: 3, ..Fields::default() },
            payload: payload.as_bytes().into(),
        };
        for (id, payload) in [("", "one"), ("..", "two"), ("é/", "one"), ("", "one")] {
            to_file(&letter(id, payload), dir.path()).expect("written, or there");
        }
        let files = content(dir.path());
        let is_named = |name: &str| name.starts_with("unnamed-") && name.ends_with(".payload");
        assert!(files.iter().all(|(name, _)| is_named(name)), "{files:?}");
        let mut payloads: Vec<_> = files.iter().map(|(_, payload)| payload.as_str()).collect();
        payloads.sort_unstable();
        assert_eq!(payloads, ["one", "two"]);
    }

    #[test]
    fn exports_to_one_directory_at_once_write_each_file_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let payload = vec![b'x'; 200_000];
        let export = || {
            for nth in 0..50 {
                let letter = Letter {
                    fields: Fields {
                        id: format!("a{nth:02}").into(),
                        payload_bytes: payload.len() as u64,
                        ..Fields::default()
                    },
                    payload: payload.as_slice().into(),
                };
                to_file(&letter, dir.path()).expect("written, or the same is there");
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(export))));
        let names: Vec<_> = content(dir.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, (0..50).map(|nth| format!("a{nth:02}.payload")).collect::<Vec<_>>());
    }

    fn owned((name, text): (&str, &str)) -> (String, String) {
        (name.to_owned(), text.to_owned())
    }

    /// The files of a directory, by name.
    fn content(directory: &Path) -> Vec<(String, String)> {
        let entries = fs::read_dir(directory).expect("there").flatten();
        let mut files: Vec<_> = entries
            .map(|it| {
                let text = fs::read_to_string(it.path()).expect("text");
                (it.file_name().into_string().expect("a name"), text)
            })
            .collect();
        files.sort();
        files
    }
}
