//! What docs/deploy promises: the chart and the manifests, the systemd unit, the bill of materials, other
//! architectures; and the dashboard of docs/operations. tests/run has the tools at hand; what needs containers is in tests/stack. All have `deploy` in their
//! names: `tests/run deploy`.

#![expect(clippy::unwrap_used, reason = "a test that finds something wrong panics")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[path = "deploy/bill.rs"]
mod deploy_bill;
#[path = "deploy/dashboard.rs"]
mod deploy_dashboard;
#[path = "deploy/manifests.rs"]
mod deploy_manifests;
#[path = "deploy/scripts.rs"]
mod deploy_scripts;
#[path = "deploy/unit.rs"]
mod deploy_unit;

const BRIDGE: &str = env!("CARGO_BIN_EXE_mqtt-kafka-bridge");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A program or a file that tests/deploy/tools makes.
#[track_caller]
fn tool(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
    let path = target.join("tools").join(name);
    assert!(path.exists(), "{} is missing: tests/run makes it", path.display());
    path
}

/// Runs a command, and returns its output; it need not succeed.
#[track_caller]
fn ask(command: &mut Command) -> Output {
    let output = command.current_dir(root()).output();
    output.unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs what is needed"))
}

/// Everything that it said.
fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Runs a command that must succeed, and returns everything that it said.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = ask(command);
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, said(&output));
    said(&output)
}
