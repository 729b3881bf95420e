//! The measured process: runs the bridge or a baseline, tells its own CPU time when asked, and ends
//! when the bench ends.

use std::io::{BufRead as _, Write as _, stdin, stdout};
use std::process::ExitCode;
use std::thread;

use rustix::time::{ClockId, clock_gettime};

use super::args::SubjectArgs;
use super::task::{Subject, Task};
use super::{baseline, baseline_async, baseline_blocking};
use crate::commands;
use crate::config_args::ConfigArgs;

/// The bridge's configuration, in the working directory.
const CONFIG: &str = "config.toml";

/// Runs until it is told to stop, or killed.
pub(crate) fn run(args: &SubjectArgs) -> ExitCode {
    match start(args) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(args: &SubjectArgs) -> Result<ExitCode, String> {
    let text = std::fs::read(&args.task).map_err(|error| error.to_string())?;
    let task: Task = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let builder = thread::Builder::new().name("bench-cpu-time".to_owned());
    builder.spawn(tell_cpu_time).map_err(|error| error.to_string())?;
    match task.subject {
        Subject::Bridge | Subject::BridgeTls | Subject::BridgeConnections => {
            let config = task.scenario.bridge_config(&task.endpoints);
            std::fs::write(CONFIG, config).map_err(|error| error.to_string())?;
            Ok(commands::run(&ConfigArgs { config: CONFIG.into() }).into())
        }
        Subject::BaselineBlocking => {
            baseline_blocking::run(&task, baseline::connect(&task)?).map(|()| ExitCode::SUCCESS)
        }
        Subject::BaselineAsync => {
            baseline_async::run(&task, baseline::connect(&task)?).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// Answers each line on stdin by the nanoseconds of CPU time so far. The end of stdin is the end of the
/// bench: then this process ends too.
fn tell_cpu_time() {
    for _ in stdin().lock().lines().map_while(Result::ok) {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        let mut stdout = stdout().lock();
        if writeln!(stdout, "{nanos}").and_then(|()| stdout.flush()).is_err() {
            break;
        }
    }
    std::process::exit(1);
}
