//! `dead-letters export`: JSON lines, or payloads as they were.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::kafka::dead_letter::letter::Letter;
use mqtt_kafka_bridge::visible::escape_json;

use super::args::{From, failed};
use super::show::{each_selected, write};

/// To standard output, or each payload to a file in `directory`. A file that is there already is not replaced.
pub(super) fn export(from: &From, directory: Option<&Path>) -> Result<Exit, Exit> {
    let mut out = io::stdout().lock();
    let mut trouble = None;
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
            Err(why) => {
                trouble = Some(why);
                ControlFlow::Break(())
            }
        },
    })?;
    match trouble {
        Some(why) => Err(failed(Exit::Configuration)(why)),
        None if unreadable > 0 => Ok(Exit::Unhealthy),
        None => Ok(Exit::Drained),
    }
}

/// Its payload. A dead letter may be there twice, after a failure of the bridge: the second one is passed over.
fn to_file(letter: &Letter<'_>, directory: &Path) -> Result<(), String> {
    // An id of a stranger's line may be a path.
    let is_name = |c: char| c.is_ascii_alphanumeric();
    let name: String = letter.fields.id.chars().filter(|c| is_name(*c)).take(64).collect();
    let cut = if letter.whole_payload().is_err() { ".cut" } else { "" };
    let path = directory.join(format!("{name}{cut}.payload"));
    let named = |error: io::Error| format!("{}: {error}", path.display());
    if !cut.is_empty() {
        eprintln!("{}: only a beginning of the payload", path.display());
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => file.write_all(&letter.payload).map_err(named),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            match std::fs::read(&path).map_err(named)? == *letter.payload {
                true => Ok(()),
                false => Err(format!("{}: there already, with another content", path.display())),
            }
        }
        Err(error) => Err(named(error)),
    }
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
        to_file(&letter(7), dir.path()).expect_err("not replaced");
    }
}
