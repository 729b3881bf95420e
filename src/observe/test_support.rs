//! Logs that tests can read.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::format::Style;
use super::log::Logging;
use crate::config::{Config, LogConfig, TimingPolicy};

/// Long enough for anything that should happen at once, on a busy machine. It ends a test that would hang,
/// and is no measure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The panic hook is the process's: whoever installs it or counts on its log takes a turn.
pub(crate) fn hook_turn() -> MutexGuard<'static, ()> {
    static HOOK: Mutex<()> = Mutex::new(());
    HOOK.lock()
}

/// Runs an ignored test of this binary in a process of its own: one that ends its process, or arms
/// failpoints, which are the process's.
pub(crate) fn run_alone(test: &str) -> std::process::Output {
    std::process::Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output()
        .expect("it runs")
}

/// The same, for one that must pass.
pub(crate) fn passes_alone(test: &str) {
    let output = run_alone(test);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(passed, "{stdout}{}", String::from_utf8_lossy(&output.stderr));
}

/// A sink in memory.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(crate) fn text(&self) -> String {
        let bytes = self.0.lock().clone();
        String::from_utf8(bytes).expect("lines are UTF-8")
    }

    pub(crate) fn wait_until(&self, seen: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !seen(&self.text()) {
            assert!(Instant::now() < deadline, "not in the log in time:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn config(timing: TimingPolicy) -> LogConfig {
    LogConfig { timing, ..Config::for_test().log }
}

pub(crate) fn json_log() -> (Logging, Lines) {
    let lines = Lines::default();
    (Logging::to_sink(&config(TimingPolicy::Off), Style::Json, lines.clone()), lines)
}

pub(crate) fn terminal_log() -> (Logging, Lines) {
    let lines = Lines::default();
    let style = Style::Terminal { colour: false };
    (Logging::to_sink(&config(TimingPolicy::Off), style, lines.clone()), lines)
}

pub(crate) fn json_lines(lines: &Lines) -> Vec<serde_json::Value> {
    let parse = |line| match serde_json::from_str(line) {
        Ok(record) => record,
        Err(error) => panic!("{error}: {line}"),
    };
    lines.text().lines().map(parse).collect()
}
