//! The process under measurement: the bridge, or what stands in for it. Its CPU time and memory are
//! its own; its log goes to a file; it ends with its parent.

use std::fs::{DirBuilder, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{BenchError, interrupt};

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
        // What the bridge is told may hold a password.
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Of a file in it.
    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed stays behind, where temporary files are.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process of this binary.
pub(super) struct Subject {
    process: Child,
    log: PathBuf,
    /// When it was started.
    pub(super) started: Instant,
}

impl Subject {
    /// Runs this binary, whatever has become of its file, with these arguments, in `scratch`, without our own configuration variables.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(scratch: &Scratch, args: &[String]) -> Result<Self, BenchError> {
        let log = scratch.path("log");
        let mut command = Command::new("/proc/self/exe");
        command.arg0("mqtt-kafka-bridge");
        command.args(args).current_dir(&scratch.0).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(&log)?);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(mqtt_kafka_bridge::config::keys::PREFIX) {
                command.env_remove(name);
            }
        }
        // SAFETY: one system call between fork and exec, which touches no memory.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let started = Instant::now();
        let process = command.spawn()?;
        Ok(Self { process, log, started })
    }

    fn pid(&self) -> libc::pid_t {
        self.process.id().cast_signed()
    }

    /// Why it has ended, if it has.
    pub(super) fn gone(&mut self) -> Option<String> {
        let status = self.process.try_wait().ok()??;
        Some(format!("{}\n{}", told(status), self.last_words()))
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn cpu(&self) -> Result<Duration, BenchError> {
        let mut clock = 0;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both write to a value of the right type.
        let failed = unsafe {
            libc::clock_getcpuclockid(self.pid(), &raw mut clock) != 0
                || libc::clock_gettime(clock, &raw mut time) != 0
        };
        if failed {
            return Err(BenchError::Subject("it has ended, its CPU time is gone".to_owned()));
        }
        let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
        Ok(Duration::new(time.tv_sec.cast_unsigned(), nanos))
    }

    /// The most memory that it ever had resident, in bytes.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn peak_memory(&self) -> Result<u64, BenchError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| BenchError::Subject("it has ended, its memory is gone".to_owned()))
    }

    /// Waits until its log has so many lines with this text.
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
                return Err(BenchError::Subject(why));
            }
            if Instant::now() > deadline {
                return Err(BenchError::Subject(format!(
                    "not {text:?} within {} s\n{}",
                    within.as_secs(),
                    self.last_words()
                )));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM.
    pub(super) fn ask_to_stop(&self) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.pid(), libc::SIGTERM) };
    }

    /// Waits for its end after [`Self::ask_to_stop`]; its exit as words if it is not 0.
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
                return Err(BenchError::Subject("it does not end after SIGTERM".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its log's file.
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

impl Drop for Subject {
    fn drop(&mut self) {
        // Nothing to do about a process that cannot be killed, or has ended.
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
