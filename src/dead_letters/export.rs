//! `dead-letters export`: JSON lines, or payloads as they were.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use mqtt_kafka_bridge::exit::Exit;

use super::args::{From, failed};
use super::show::{each_selected, write};

/// To standard output, or each payload to a file in `directory`. A file that is there already is not replaced.
pub(super) fn export(from: &From, directory: Option<&Path>) -> Result<Exit, Exit> {
    let mut out = io::stdout().lock();
    let mut trouble = None;
    let (_, unreadable) = each_selected(from, |letter| match directory {
        None => write(&mut out, &letter.line()),
        Some(directory) => {
            // An id of a stranger's line may be a path.
            let is_name = |c: char| c.is_ascii_alphanumeric();
            let name: String = letter.fields.id.chars().filter(|c| is_name(*c)).take(64).collect();
            let path = directory.join(format!("{name}.payload"));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            match file.and_then(|mut file| file.write_all(&letter.payload)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    trouble = Some(format!("{}: {error}", path.display()));
                    ControlFlow::Break(())
                }
            }
        }
    })?;
    match trouble {
        Some(why) => Err(failed(Exit::Configuration)(why)),
        None if unreadable > 0 => Ok(Exit::Unhealthy),
        None => Ok(Exit::Drained),
    }
}
