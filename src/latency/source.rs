//! Reads logs, plain or compressed, and hands them on in blocks of whole lines.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender};

use flate2::read::MultiGzDecoder;
use memchr::{memchr, memchr_iter, memrchr};

use super::record::Damage;
use super::tally::Lines;

/// The size of a block, and the longest line, in bytes. An MQTT topic of 64 KiB whose characters are all escaped has
/// 384 KiB.
pub(super) const BLOCK_BYTES: usize = 1 << 20;
/// A zstd stream may ask for so much memory, as a power of two: 16 MiB, for which level 19 is enough.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;

/// Whole lines of one file.
pub(super) struct Block {
    /// Which of the files.
    pub(super) file: usize,
    /// The number of the first line, counted from 1.
    pub(super) first: u64,
    /// The lines; the last one has no line feed if the file ends so.
    pub(super) bytes: Vec<u8>,
}

/// A file that cannot be read, or not to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    /// The file, as it was named, and the line up to which it was read.
    pub(super) text: String,
}

/// What the reading thread found by itself.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) troubles: Vec<Trouble>,
    /// Lines that are too long count as damaged.
    pub(super) lines: Lines,
}

/// The name of a file as it is told; `-` is the standard input.
pub(super) fn name(path: &Path) -> String {
    match path == Path::new("-") {
        true => "the standard input".to_owned(),
        false => path.display().to_string(),
    }
}

/// Reads all files, one after the other, and hands their lines to `out`. Used blocks come back by `used`.
pub(super) fn read_all(
    paths: &[PathBuf],
    used: &Receiver<Vec<u8>>,
    out: &SyncSender<Block>,
) -> Found {
    let mut found = Found::default();
    for (file, path) in paths.iter().enumerate() {
        let opened = match path.to_str() {
            Some("-") => decoded(Box::new(io::stdin())),
            _ => File::open(path).and_then(|file| decoded(Box::new(file))),
        };
        let mut cutter = Cutter { file, line: 1, used, out };
        let done = opened.and_then(|mut bytes| cutter.cut(&mut bytes, &mut found.lines));
        if let Err(error) = done {
            let text = match cutter.line {
                1 => format!("{}: {error}", name(path)),
                line => {
                    format!("{}: cannot be read behind line {}: {error}", name(path), line - 1)
                }
            };
            found.troubles.push(Trouble { text });
        }
    }
    found
}

/// By what the content begins with.
fn decoded(mut bytes: Box<dyn Read>) -> io::Result<Box<dyn Read>> {
    let mut head = Vec::new();
    bytes.by_ref().take(6).read_to_end(&mut head)?;
    let refused = |found: &str| {
        let text = format!("expected a log, plain or compressed by gzip or zstd, found {found}");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    };
    // Behind the frame of a file there may be another.
    let (is_gzip, is_zstd) =
        (head.starts_with(&[0x1f, 0x8b]), head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]));
    let (is_xz, is_bzip2) = (head.starts_with(b"\xfd7zXZ\0"), head.starts_with(b"BZh"));
    let whole = Cursor::new(head).chain(bytes);
    if is_gzip {
        Ok(Box::new(MultiGzDecoder::new(whole)))
    } else if is_zstd {
        let mut decoder = zstd::Decoder::new(whole)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        Ok(Box::new(decoder))
    } else if is_xz {
        refused("xz")
    } else if is_bzip2 {
        refused("bzip2")
    } else {
        Ok(Box::new(whole))
    }
}

/// Cuts one file into blocks.
struct Cutter<'a> {
    file: usize,
    /// The number of the next line.
    line: u64,
    used: &'a Receiver<Vec<u8>>,
    out: &'a SyncSender<Block>,
}

impl Cutter<'_> {
    /// # Errors
    /// It cannot be read to its end; what came before is handed on.
    fn cut(&mut self, bytes: &mut dyn Read, lines: &mut Lines) -> io::Result<()> {
        let mut block = self.empty();
        // Whether a line goes on that is too long.
        let mut skips = false;
        loop {
            let before = block.len();
            let read = fill(bytes, &mut block);
            if skips {
                let Some(end) = memchr(b'\n', &block[before..]) else {
                    if block.len() == before || read.is_err() {
                        return read.map(drop);
                    }
                    block.truncate(before);
                    continue;
                };
                block.drain(before..=before + end);
                self.line += 1;
                skips = false;
            }
            let is_end = !matches!(read, Ok(true));
            if is_end {
                if read.is_err() {
                    // What stands behind the last line feed is no whole line.
                    block.truncate(memrchr(b'\n', &block).map_or(0, |end| end + 1));
                }
                self.hand_on(block);
                return read.map(drop);
            }
            match memrchr(b'\n', &block) {
                Some(end) => {
                    let mut next = self.empty();
                    next.extend_from_slice(&block[end + 1..]);
                    block.truncate(end + 1);
                    self.hand_on(block);
                    block = next;
                }
                None if block.len() < BLOCK_BYTES => {}
                None => {
                    let found = format!("more than {BLOCK_BYTES}");
                    let expected = "a line of at most 1 MiB".into();
                    lines.damage(self.file, self.line, Damage { column: 1, expected, found });
                    block.clear();
                    skips = true;
                }
            }
        }
    }

    fn hand_on(&mut self, bytes: Vec<u8>) {
        let first = self.line;
        self.line += memchr_iter(b'\n', &bytes).count() as u64;
        if bytes.last().is_some_and(|last| *last != b'\n') {
            self.line += 1;
        }
        // Only a thread that panicked takes no block, and that is told where the threads are joined.
        let _ = self.out.send(Block { file: self.file, first, bytes });
    }

    fn empty(&self) -> Vec<u8> {
        let mut block = self.used.try_recv().unwrap_or_default();
        block.clear();
        block.reserve_exact(BLOCK_BYTES);
        block
    }
}

/// Fills a block. False at the end of the file.
fn fill(bytes: &mut dyn Read, block: &mut Vec<u8>) -> io::Result<bool> {
    let room = (BLOCK_BYTES - block.len()) as u64;
    bytes.take(room).read_to_end(block)?;
    Ok(block.len() == BLOCK_BYTES)
}
