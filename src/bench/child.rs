//! The bench's side of the measured process: starts it, asks for its CPU time and memory, stops it. Its
//! log goes to a file.

use std::fs::{DirBuilder, File};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use mqtt_kafka_bridge::config::keys;
use rustix::process::{Pid, Signal, kill_process};

use super::error::BenchError;
use super::interrupt;
use super::task::Task;

/// Longer than the bridge's own deadline to drain.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// A directory for one run, removed with it.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one under the system's directory for temporary files.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn new(name: &str) -> Result<Self, BenchError> {
        let path = std::env::temp_dir().join(format!("mqtt-kafka-bridge-{name}"));
        // The task may hold a password.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// The path of a file in it.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A file that cannot be removed stays in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The measured process: this binary once more.
pub(super) struct ChildProcess {
    process: Child,
    /// Each line asks for the CPU time; the process ends when this end is closed.
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: PathBuf,
    /// When it was started.
    pub(super) started: Instant,
}

impl ChildProcess {
    /// Starts this binary for `task` in `scratch`, even if its file has been replaced, without our
    /// own configuration variables.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(scratch: &Scratch, task: &Task) -> Result<Self, BenchError> {
        let path = scratch.path("task.json");
        std::fs::write(&path, serde_json::to_vec(task).expect("plain data"))?;
        let log = scratch.path("log");
        let mut command = Command::new("/proc/self/exe");
        command.arg0("mqtt-kafka-bridge").arg("bench-subject").arg(&path).current_dir(&scratch.0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(keys::PREFIX) {
                command.env_remove(name);
            }
        }
        let started = Instant::now();
        let mut process = command.spawn()?;
        let questions = process.stdin.take().expect("piped");
        let answers = BufReader::new(process.stdout.take().expect("piped"));
        Ok(Self { process, questions, answers, log, started })
    }

    /// Why it has ended, if it has.
    pub(super) fn gone(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        Some(format!("{}\n{}", told(status), self.last_words()))
    }

    /// User and system time so far, to the nanosecond, as the process itself tells it.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn cpu(&mut self) -> Result<Duration, BenchError> {
        let mut answer = String::new();
        let asked = self.questions.write_all(b"\n");
        let nanos = asked.and_then(|()| self.answers.read_line(&mut answer)).ok();
        let nanos = nanos.and_then(|_| answer.trim().parse().ok());
        nanos
            .map(Duration::from_nanos)
            .ok_or_else(|| BenchError::Process("it has ended, its CPU time is gone".to_owned()))
    }

    /// The most memory that it ever had resident, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn peak_memory(&self) -> Result<u64, BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| BenchError::Process("it has ended, its memory is gone".to_owned()))
    }

    /// Waits until its log has `count` lines with this text.
    ///
    /// # Errors
    /// It ends, or the time is over.
    pub(super) fn wait_for(
        &mut self,
        text: &str,
        count: usize,
        within: Duration,
    ) -> Result<(), BenchError> {
        let deadline = Instant::now() + within;
        loop {
            let log = std::fs::read_to_string(&self.log)?;
            if log.matches(text).count() >= count {
                return Ok(());
            }
            interrupt::check()?;
            if let Some(why) = self.gone() {
                return Err(BenchError::Process(why));
            }
            if Instant::now() > deadline {
                return Err(BenchError::Process(format!(
                    "no {text:?} in its log within {} s\n{}",
                    within.as_secs(),
                    self.last_words()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn ask_to_stop(&self) -> Result<(), BenchError> {
        kill_process(Pid::from_child(&self.process), Signal::TERM).map_err(std::io::Error::from)?;
        Ok(())
    }

    /// Waits for its end after [`Self::ask_to_stop`]; gives its exit in words if it is not 0.
    ///
    /// # Errors
    /// It does not end.
    pub(super) fn stopped(&mut self) -> Result<Option<String>, BenchError> {
        let deadline = Instant::now() + STOP_WITHIN;
        loop {
            if let Some(status) = self.process.try_wait()? {
                let good = status.success();
                return Ok((!good).then(|| format!("{}\n{}", told(status), self.last_words())));
            }
            if Instant::now() > deadline {
                return Err(BenchError::Process("it does not end after SIGTERM".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The file with its log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        const ENOUGH: u64 = 2000;
        let read = || -> std::io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit code {code}"),
        (None, Some(signal)) => format!("it ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}
