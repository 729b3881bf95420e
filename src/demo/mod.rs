//! See it work: both brokers and a fleet of devices inside this process.

mod args;

pub use args::DemoArgs;

use std::process::ExitCode;

// STUB, to be replaced at the merge.
/// Runs the demo.
pub fn run(_args: &DemoArgs) -> ExitCode {
    eprintln!("the demo is not built yet");
    ExitCode::FAILURE
}
