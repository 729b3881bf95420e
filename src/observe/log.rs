//! The log: slog in front, lines of JSON or text behind, written by a thread of its own.
//!
//! slog-async with slog-json costs 1-2 us a record or loses some; here a record is formatted in
//! place, into a buffer of its thread, and appended to one shared buffer (`buffer.rs`): a
//! tenth of that. The buffer is flushed before every end: when [`Logging`] or a [`FlushGuard`] is dropped, by the
//! panic hook, and before each `process::exit` (the watchdog, a second signal).

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use slog::{Drain, FlushError, Level, Logger, Never, OwnedKVList, Record, b, o, record};

use super::buffer::{Buffer, Lost, Output};
use super::events::{self, Event};
use super::format::{self, Style, with_scratch};
use super::keys;
use super::recent::{Recent, Ring};
use super::timing::TimingSink;
use crate::config::{LogConfig, LogFormat};

/// The log of one run. Clones share it; when the last is dropped it is flushed, and its writer
/// thread ends.
#[derive(Clone)]
pub struct Logging(Arc<Inner>);

struct Inner {
    output: Output,
    /// Shared with all loggers.
    level: Arc<AtomicUsize>,
    /// Shared with all loggers.
    recent: Arc<Ring>,
    timing: TimingSink,
    writer: Option<JoinHandle<()>>,
}

impl Logging {
    /// A log to stderr.
    pub fn start(config: &LogConfig) -> Self {
        let terminal = io::stderr().is_terminal();
        let style = match config.format {
            LogFormat::Auto if !terminal => Style::Json,
            LogFormat::Json => Style::Json,
            LogFormat::Auto | LogFormat::Terminal => Style::Terminal { colour: terminal },
        };
        Self::to_sink(config, style, io::stderr())
    }

    /// A log to any sink, for tests and benches.
    pub fn to_sink(config: &LogConfig, style: Style, sink: impl Write + Send + 'static) -> Self {
        let report = Box::new(move |lost, out: &mut Vec<u8>| report_loss(style, lost, out));
        let (buffer, writer) = Buffer::start(Box::new(sink), report);
        let output = Output { buffer, style };
        let timing = TimingSink::new(config.timing, output.clone());
        let level = Arc::new(AtomicUsize::new(config.level.as_usize()));
        Self(Arc::new(Inner { output, level, recent: Arc::default(), timing, writer }))
    }

    /// The root logger. Give each component a child: `log.new(o!(keys::COMPONENT => "mqtt"))`.
    ///
    /// It still works after this [`Logging`] has been dropped, record by record and unbuffered.
    pub fn logger(&self) -> Logger {
        Logger::root(
            LineDrain {
                output: self.0.output.clone(),
                level: Arc::clone(&self.0.level),
                recent: Arc::clone(&self.0.recent),
            },
            o!(),
        )
    }

    /// Where timing records go, by the policy of the configuration.
    pub fn timing(&self) -> TimingSink {
        self.0.timing.clone()
    }

    /// Records above this level are dropped.
    pub fn level(&self) -> Level {
        level_of(&self.0.level)
    }

    /// Records above this level are dropped from now on.
    pub fn set_level(&self, level: Level) {
        self.0.level.store(level.as_usize(), Relaxed);
    }

    /// Writes out everything that was logged before. Gives up after one second, with `false`, if
    /// the sink does not take it.
    pub fn flush(&self) -> bool {
        self.0.output.buffer.flush()
    }

    /// Flushes when it is dropped.
    #[must_use = "it flushes when it is dropped"]
    pub fn flush_guard(&self) -> FlushGuard {
        FlushGuard(self.clone())
    }

    /// Whether the writer thread has ended, which it should not; each thread then writes its own
    /// records.
    pub fn writer_finished(&self) -> bool {
        self.0.writer.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Timing records that found no room since the start.
    pub fn timing_dropped(&self) -> u64 {
        self.0.output.buffer.timing_lost()
    }

    /// Other records that found no room since the start.
    pub fn records_dropped(&self) -> u64 {
        self.0.output.buffer.ordinary_lost()
    }

    /// The last warnings and errors that were logged, the oldest first.
    pub fn recent(&self) -> Vec<Recent> {
        self.0.recent.all()
    }

    /// A handle that does not keep the log alive.
    pub(crate) fn downgrade(&self) -> WeakLogging {
        WeakLogging(Arc::downgrade(&self.0))
    }
}

impl fmt::Debug for Logging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logging").field("level", &self.level()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.output.buffer.flush();
        // Not joined: a sink that takes nothing would block for ever.
        self.output.buffer.close();
    }
}

/// A [`Logging`] that may be gone.
pub(crate) struct WeakLogging(std::sync::Weak<Inner>);

impl WeakLogging {
    pub(crate) fn upgrade(&self) -> Option<Logging> {
        self.0.upgrade().map(Logging)
    }
}

/// Flushes the log when it is dropped: hold it in `main` and wherever a run ends.
#[derive(Debug)]
pub struct FlushGuard(Logging);

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Formats each record on the thread that logs it and appends it to the buffer.
struct LineDrain {
    output: Output,
    level: Arc<AtomicUsize>,
    recent: Arc<Ring>,
}

fn level_of(level: &AtomicUsize) -> Level {
    Level::from_usize(level.load(Relaxed)).unwrap_or(Level::Trace)
}

impl Drain for LineDrain {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if self.is_enabled(record.level()) {
            let now_us = format::now_us();
            self.recent.keep(now_us, record, values);
            with_scratch(|scratch| {
                scratch.line.clear();
                let (fields, line) = (&mut scratch.fields, &mut scratch.line);
                format::write(self.output.style, now_us, record, values, fields, line);
                self.output.buffer.push(line);
            });
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(level_of(&self.level))
    }

    fn flush(&self) -> Result<(), FlushError> {
        if self.output.buffer.flush() {
            return Ok(());
        }
        Err(FlushError::Io(io::Error::new(io::ErrorKind::TimedOut, "the sink takes no bytes")))
    }
}

/// A record for each kind of loss.
fn report_loss(style: Style, lost: Lost, out: &mut Vec<u8>) {
    let none = Logger::root(slog::Discard, o!(keys::COMPONENT => "log"));
    let mut report = |text: &str, event: Event, count: u64| {
        with_scratch(|scratch| {
            format::write(
                style,
                format::now_us(),
                &record!(
                    Level::Warning,
                    "",
                    &format_args!("{text}"),
                    b!(event, keys::COUNT => count)
                ),
                none.list(),
                &mut scratch.fields,
                out,
            );
        });
    };
    if lost.timing > 0 {
        report("timing records dropped", events::TIMING_RECORDS_DROPPED, lost.timing);
    }
    if lost.ordinary > 0 {
        report("log records dropped", events::LOG_RECORDS_DROPPED, lost.ordinary);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use slog::{debug, info};

    use super::*;
    use crate::config::TimingPolicy;
    use crate::message::Stamp;
    use crate::observe::buffer::PATIENCE;
    use crate::observe::test_support::{Lines, config, json_lines, json_log};
    use crate::observe::{AckTime, TimingRecord};

    #[test]
    fn records_reach_the_sink_without_a_flush_and_in_order() {
        let (logging, lines) = json_log();
        let log = logging.logger();
        for count in 0..1000 {
            info!(log, "counted"; keys::COUNT => count);
        }
        lines.wait_until(|text| text.matches('\n').count() == 1000);
        for (expected, record) in json_lines(&lines).iter().enumerate() {
            assert_eq!(record["count"], expected);
        }
    }

    #[test]
    fn records_below_the_level_are_dropped() {
        let (logging, lines) = json_log();
        debug!(logging.logger(), "hidden");
        assert!(
            logging.logger().is_enabled(Level::Info) && !logging.logger().is_enabled(Level::Debug)
        );
        logging.flush();
        assert_eq!(lines.text(), "");
    }

    #[test]
    fn dropping_the_log_flushes_it_and_ends_its_thread_while_loggers_write_on() {
        let (logging, lines) = json_log();
        let log = logging.logger();
        let guard = logging.flush_guard();
        info!(log, "before");
        drop(logging);
        drop(guard);
        assert_eq!(json_lines(&lines).len(), 1);
        info!(log, "after");
        lines.wait_until(|text| text.contains("after"));
    }

    /// A sink that takes nothing until it is let.
    struct Stuck(mpsc::Receiver<()>, Lines);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The sender is dropped to let everything through.
            let _ = self.0.recv();
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_takes_nothing_freezes_nobody_and_the_loss_is_reported() {
        let (open, gate) = mpsc::channel();
        let lines = Lines::default();
        let logging =
            Logging::to_sink(&config(TimingPolicy::All), Style::Json, Stuck(gate, lines.clone()));
        let now = Stamp::now();
        let mqtt_topic = "x".repeat(1000);
        let record = TimingRecord {
            connection: None,
            mqtt_topic: mqtt_topic.as_bytes(),
            mqtt_qos: 1,
            route: "r",
            kafka_topic: "k",
            kafka_partition: 0,
            kafka_offset: 1,
            payload_bytes: 1,
            received_at: now,
            produced_at: now,
            delivered_at: now,
            routed_us: 0,
            ack: AckTime::After(1),
            device_us: None,
        };
        let sent = 10_000;
        let started = Instant::now();
        for _ in 0..sent {
            logging.timing().record(&record);
        }
        // A busy machine may slow them down, but not as much as if each that was lost had waited.
        let is_quick = |started: Instant, lost: u64| {
            lost > 100 && started.elapsed() < PATIENCE * u32::try_from(lost / 10).expect("few")
        };
        assert!(is_quick(started, logging.timing_dropped()), "timing records do not wait");

        // Ordinary records still have their reserve (one that waits here is lost); and then only the
        // first one waits.
        let log = logging.logger();
        info!(log, "in the reserve");
        let started = Instant::now();
        for _ in 0..1500 {
            info!(log, "too many"; keys::DETAIL => &mqtt_topic);
        }
        assert!(is_quick(started, logging.records_dropped()), "{:?}", started.elapsed());
        assert!(!logging.flush(), "nor does a flush wait for ever");

        drop(open);
        assert!(logging.flush());
        info!(log, "afterwards");
        logging.flush();
        let records = json_lines(&lines);
        let count = |msg: &str| records.iter().filter(|r| r["msg"] == msg).count() as u64;
        let lost = |msg: &str| -> u64 {
            let reports = records.iter().filter(|r| r["msg"] == msg);
            reports.map(|r| r["count"].as_u64().expect("a count")).sum()
        };
        assert_eq!(count("timing") + lost("timing records dropped"), sent);
        assert_eq!(lost("timing records dropped"), logging.timing_dropped());
        assert_eq!(count("too many") + lost("log records dropped"), 1500);
        assert_eq!((count("in the reserve"), count("afterwards")), (1, 1));
    }

    #[test]
    fn a_writer_that_ends_is_noticed_and_nothing_is_lost() {
        struct Dies(bool, Lines);
        impl Write for Dies {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if !std::mem::replace(&mut self.0, true) {
                    panic!("the sink fails once");
                }
                self.1.write(bytes)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let sink = Dies(false, lines.clone());
        let logging = Logging::to_sink(&config(TimingPolicy::Off), Style::Json, sink);
        info!(logging.logger(), "goes down with it");
        let deadline = Instant::now() + crate::observe::test_support::PATIENCE;
        while !logging.writer_finished() {
            assert!(Instant::now() < deadline, "the writer lives on");
            std::thread::yield_now();
        }
        info!(logging.logger(), "written by its caller");
        lines.wait_until(|text| text.contains("written by its caller"));
    }
}
