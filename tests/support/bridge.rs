//! The real binary, of this build by default, with a configuration file and a log of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::log::{Log, Summary};
use super::process::Process;
use super::{ConfigFile, PATIENT, SOON, eventually_some};

/// The bridge, which a story may start, end and start again.
#[derive(Debug)]
pub struct Bridge {
    dir: PathBuf,
    config: PathBuf,
    program: PathBuf,
    environment: Vec<(String, String)>,
    process: Option<Process>,
    /// One log for each run, that of the present or last run at the end.
    logs: Vec<Log>,
}

impl Bridge {
    /// Writes the configuration of the bridge called `name` to a directory of its own in `dir`;
    /// does not start it.
    pub fn new(dir: &Path, name: &str, config: &ConfigFile) -> Self {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("config.toml");
        fs::write(&path, config.text()).unwrap();
        let program = env!("CARGO_BIN_EXE_mqtt-kafka-bridge").into();
        let (environment, logs) = (Vec::new(), Vec::new());
        Self { dir, config: path, program, environment, process: None, logs }
    }

    /// As [`Self::new`], and starts it.
    pub fn start(dir: &Path, name: &str, config: &ConfigFile) -> Self {
        let mut bridge = Self::new(dir, name, config);
        bridge.run();
        bridge
    }

    /// Writes another configuration, for later runs.
    pub fn reconfigure(&self, config: &ConfigFile) {
        fs::write(&self.config, config.text()).unwrap();
    }

    /// Its working directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Uses another program, an older release, for later runs.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Sets an environment variable for later runs; `None` removes it.
    pub fn environment(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts a run.
    pub fn run(&mut self) {
        assert!(self.process.is_none(), "the bridge is already running");
        let log = self.dir.join(format!("run-{}.log", self.logs.len() + 1));
        let mut command = Command::new(&self.program);
        command.current_dir(&self.dir).arg("run").arg("--config").arg(&self.config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.process = Some(Process::start(command, &log));
        self.logs.push(Log::new(&log));
    }

    /// Runs `leave` with its configuration, and returns its exit code; its log is `leave.log`.
    #[track_caller]
    pub fn leave(&self) -> i32 {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.dir).arg("leave").arg("--config").arg(&self.config);
        Process::start(command, &self.dir.join("leave.log")).wait(PATIENT)
    }

    /// The log of the present run, or of the last.
    pub fn log(&self) -> &Log {
        self.logs.last().expect("the bridge was started")
    }

    /// The last summary record of the present run; all 0 before the first.
    pub fn summary(&self) -> Summary {
        self.log().summary().unwrap_or_default()
    }

    /// The sum of the last summary records of all runs.
    pub fn summary_of_all_runs(&self) -> Summary {
        self.logs.iter().filter_map(Log::summary).fold(Summary::default(), |sum, run| Summary {
            received: sum.received + run.received,
            redelivered: sum.redelivered + run.redelivered,
            copies: sum.copies + run.copies,
            delivered: sum.delivered + run.delivered,
            dead_lettered: sum.dead_lettered + run.dead_lettered,
            filtered: sum.filtered + run.filtered,
            shed: sum.shed + run.shed,
            in_flight: sum.in_flight + run.in_flight,
            restarts: sum.restarts + run.restarts,
            reconnects: sum.reconnects + run.reconnects,
        })
    }

    /// Waits until the last summary record of this run satisfies `wanted`.
    #[track_caller]
    pub fn wait_summary(
        &self,
        what: &str,
        deadline: Duration,
        wanted: impl Fn(&Summary) -> bool,
    ) -> Summary {
        eventually_some(what, deadline, || self.log().summary().filter(&wanted))
    }

    /// Waits until nothing moves under load: the window is full. Not all of its messages are without
    /// a verdict: Kafka may have acknowledged later ones, which then wait for their PUBACKs.
    #[track_caller]
    pub fn wait_window_full(&self) -> Summary {
        eventually_some("the window is full and nothing moves", SOON, || {
            self.log().still_summary().filter(|now| now.in_flight > 0)
        })
    }

    /// The process of the present run.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the bridge runs")
    }

    /// Whether the process is running.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.exit_status().is_none())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Waits for the end of the run, and returns its exit code.
    #[track_caller]
    pub fn exit_code(&mut self, deadline: Duration) -> i32 {
        let code = self.process().wait(deadline);
        self.process = None;
        code
    }

    /// Sends SIGTERM, waits for the end of the run, and returns its exit code.
    #[track_caller]
    pub fn terminate(&mut self) -> i32 {
        self.process().signal(libc::SIGTERM);
        self.exit_code(SOON)
    }

    /// Checks the log of every run for what must always hold.
    #[track_caller]
    pub fn assert_logs_sound(&self) {
        self.logs.iter().for_each(Log::assert_sound);
    }
}
