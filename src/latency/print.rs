//! The standard output, which can end.

use std::io::{self, Write as _};

use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::visible::escape_json;
use serde::Serialize;

/// One line, without what a terminal would obey.
///
/// # Errors
/// Nothing can be written any more.
pub(super) fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    escape_json(&mut line, 0);
    line.push(b'\n');
    io::stdout().write_all(&line)
}

/// Whoever closed the pipe has seen enough.
pub(super) fn written(shown: io::Result<()>) -> Exit {
    match shown {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("{error}");
            Exit::Unhealthy
        }
        _ => Exit::Drained,
    }
}
