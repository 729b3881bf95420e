//! Lines of files and of the standard input, which can be longer than memory.

use std::io::{self, BufRead};

/// Passes over the rest of a line. How many bytes that were, with the line feed; `None` if there is none.
///
/// # Errors
/// Nothing can be read any more.
pub(crate) fn skip_line(lines: &mut impl BufRead) -> io::Result<Option<u64>> {
    let mut skipped = 0;
    loop {
        let buffer = lines.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                lines.consume(end + 1);
                return Ok(Some(skipped + end as u64 + 1));
            }
            None => {
                let length = buffer.len();
                lines.consume(length);
                skipped += length as u64;
            }
        }
    }
}
