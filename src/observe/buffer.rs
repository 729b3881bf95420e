//! Where log lines wait for the sink: one bounded buffer, one writer thread.
//!
//! Lines of all threads are appended under one short lock, many at once without being copied; the writer takes all out
//! and writes them. Timing records never wait: those that find no room are dropped and
//! counted. Ordinary records have a reserve that timing records cannot take, and wait for room for a
//! bounded time only, so that a sink that nobody reads cannot freeze an actor. A caller that
//! cannot wait for the writer (`flush`, or any caller once the writer has ended) writes the buffer itself.

use std::io::{self, Write};
use std::panic::RefUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::blocks::Blocks;
use super::format::Style;

/// Lines that wait or are being written, in bytes: some 20,000 timing records.
const CAPACITY: usize = 12 * 1024 * 1024;
/// The part of it that only ordinary records may take.
const RESERVE: usize = 1024 * 1024;
/// This much is written at once, rather than after `LINGER`.
const WRITE_AT: usize = 512 * 1024;
/// How long timing records wait for more.
const LINGER: Duration = Duration::from_millis(20);
/// How long an ordinary record waits for room, and `flush` for the sink.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);
/// How often the loss of records is reported.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Lines that were dropped since the last report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) timing: u64,
    pub(crate) ordinary: u64,
}

impl Lost {
    fn any(self) -> bool {
        self != Self::default()
    }
}

/// Formats the report of a loss.
pub(crate) type Report = Box<dyn Fn(Lost, &mut Vec<u8>) + Send + Sync>;

/// Where lines go, and how they look.
#[derive(Clone)]
pub(crate) struct Output {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) style: Style,
}

/// See the module.
pub(crate) struct Buffer {
    state: Mutex<State>,
    /// The writer waits here for lines.
    lines: Condvar,
    /// Ordinary records wait here for room.
    room: Condvar,
    sink: Mutex<Box<dyn Write + Send>>,
    timing_lost: AtomicU64,
    ordinary_lost: AtomicU64,
    report: Report,
}

struct State {
    waiting: Blocks,
    /// Bytes that left `waiting` and are not yet in the sink.
    writing: usize,
    /// Something other than timing records waits.
    urgent: bool,
    writer: Writer,
    lost: Lost,
    reported_at: Option<Instant>,
    /// An ordinary record waited in vain, and nothing has been written since.
    stalled: bool,
    closed: bool,
}

/// What the writer thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Looks for lines by itself before it sleeps.
    Awake,
    /// Sleeps until the first line.
    Idle,
    /// Sleeps until more lines have come, or `LINGER` has passed.
    Lingering,
    /// It could not be started, or has ended.
    Gone,
}

/// A panic elsewhere leaves whole lines and plain numbers.
impl RefUnwindSafe for Buffer {}

impl Buffer {
    /// A buffer before `out`, and its writer thread. If the system gives no thread, callers write the
    /// buffer themselves.
    pub(crate) fn start(
        out: Box<dyn Write + Send>,
        report: Report,
    ) -> (Arc<Self>, Option<JoinHandle<()>>) {
        let buffer = Arc::new(Self {
            state: Mutex::new(State {
                waiting: Blocks::default(),
                writing: 0,
                urgent: false,
                writer: Writer::Awake,
                lost: Lost::default(),
                reported_at: None,
                stalled: false,
                closed: false,
            }),
            lines: Condvar::new(),
            room: Condvar::new(),
            sink: Mutex::new(out),
            timing_lost: AtomicU64::new(0),
            ordinary_lost: AtomicU64::new(0),
            report,
        });
        let for_writer = Arc::clone(&buffer);
        let writer = thread::Builder::new().name("log-writer".to_owned()).spawn(move || {
            let gone = WriterGone(for_writer);
            gone.0.write_until_closed();
        });
        if writer.is_err() {
            buffer.state.lock().writer = Writer::Gone;
        }
        (buffer, writer.ok())
    }

    /// Appends one ordinary line. Waits for room at most [`PATIENCE`]; the line is then dropped and
    /// counted, and so are those after it, without waiting, until the sink takes bytes again.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        let mut deadline = None;
        while state.used() + line.len() > CAPACITY && state.writer != Writer::Gone {
            let now = Instant::now();
            let deadline = *deadline.get_or_insert(now + PATIENCE);
            if state.stalled || now >= deadline || line.len() > CAPACITY {
                state.stalled = true;
                state.lost.ordinary += 1;
                self.ordinary_lost.fetch_add(1, Relaxed);
                return;
            }
            self.room.wait_for(&mut state, deadline - now);
        }
        state.waiting.push(line);
        state.urgent = true;
        let writer = state.writer;
        self.wake(state, writer != Writer::Awake);
    }

    /// Appends `count` lines of timing records, or drops and counts them; leaves `lines` empty. Never waits for room.
    pub(crate) fn push_timing(&self, lines: &mut Vec<u8>, count: u64) {
        let mut state = self.state.lock();
        if state.used() + lines.len() > CAPACITY - RESERVE {
            state.lost.timing += count;
            self.timing_lost.fetch_add(count, Relaxed);
            lines.clear();
            return;
        }
        state.waiting.take_over(lines);
        let wake = match state.writer {
            Writer::Awake => false,
            Writer::Idle | Writer::Gone => true,
            Writer::Lingering => state.waiting.len() >= WRITE_AT,
        };
        self.wake(state, wake);
    }

    /// Wakes the writer if it sleeps; does its work if it is gone.
    fn wake(&self, mut state: MutexGuard<'_, State>, wanted: bool) {
        let writer = state.writer;
        if !wanted {
            return;
        }
        if writer != Writer::Gone {
            // Once is enough.
            state.writer = Writer::Awake;
        }
        drop(state);
        if writer == Writer::Gone {
            self.flush();
        } else {
            self.lines.notify_one();
        }
    }

    /// Writes out all that was appended before; `false` if another thread held the sink for
    /// [`PATIENCE`].
    pub(crate) fn flush(&self) -> bool {
        // A sink that panicked is used again: there is no other.
        let Some(mut sink) = self.sink.try_lock_for(PATIENCE) else { return false };
        self.write_out(&mut **sink, true);
        let _ = sink.flush();
        true
    }

    /// Ends the writer thread, after it has written out what is there.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.lines.notify_one();
    }

    /// Timing records dropped since the start.
    pub(crate) fn timing_lost(&self) -> u64 {
        self.timing_lost.load(Relaxed)
    }

    /// Ordinary records dropped since the start.
    pub(crate) fn ordinary_lost(&self) -> u64 {
        self.ordinary_lost.load(Relaxed)
    }

    fn write_until_closed(&self) {
        while self.wait_for_lines() {
            self.write_out(&mut **self.sink.lock(), false);
        }
        self.flush();
    }

    /// `false` once the buffer is closed.
    fn wait_for_lines(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return false;
            }
            if state.urgent || state.waiting.len() >= WRITE_AT {
                break;
            }
            if state.waiting.is_empty() && !state.lost.any() {
                state.writer = Writer::Idle;
                self.lines.wait(&mut state);
            } else {
                state.writer = Writer::Lingering;
                let nap = if state.waiting.is_empty() { REPORT_EVERY } else { LINGER };
                if self.lines.wait_for(&mut state, nap).timed_out() {
                    break;
                }
            }
        }
        state.writer = Writer::Awake;
        true
    }

    /// Writes out what waits. The caller holds the sink, so lines keep their order whichever thread
    /// writes.
    fn write_out(&self, sink: &mut dyn Write, report_now: bool) {
        let mut state = self.state.lock();
        state.writing = state.waiting.len();
        let mut lines = state.waiting.take();
        state.urgent = false;
        let now = Instant::now();
        let due = report_now || state.reported_at.is_none_or(|at| now >= at + REPORT_EVERY);
        if due && state.lost.any() {
            state.reported_at = Some(now);
            let lost = std::mem::take(&mut state.lost);
            drop(state);
            let mut line = Vec::new();
            (self.report)(lost, &mut line);
            lines.push(line);
        } else {
            drop(state);
        }

        let lost = write_all(sink, &lines);

        let mut state = self.state.lock();
        state.writing = 0;
        state.stalled = false;
        state.lost.ordinary += lost;
        state.waiting.give_back(lines);
        drop(state);
        self.room.notify_all();
    }
}

impl State {
    fn used(&self) -> usize {
        self.waiting.len() + self.writing
    }
}

/// Marks the end of the writer thread, also by a panic.
struct WriterGone(Arc<Buffer>);

impl Drop for WriterGone {
    fn drop(&mut self) {
        self.0.state.lock().writer = Writer::Gone;
        self.0.room.notify_all();
    }
}

/// Writes everything, also to a sink that is non-blocking. Returns how many lines could not be written: the first of them
/// may be cut, and all that are behind it are left out.
fn write_all(out: &mut dyn Write, blocks: &[Vec<u8>]) -> u64 {
    let mut blocks = blocks.iter().map(Vec::as_slice);
    let rest = blocks.find_map(|block| write_block(out, block).err()).unwrap_or_default();
    let lines = |bytes: &[u8]| bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
    lines(rest) + blocks.map(lines).sum::<u64>()
}

/// The error is the rest that could not be written.
fn write_block<'a>(out: &mut dyn Write, mut bytes: &'a [u8]) -> Result<(), &'a [u8]> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(bytes),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(_) => return Err(bytes),
        }
    }
    Ok(())
}
