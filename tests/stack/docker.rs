//! Docker and Compose as commands.

use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Longer than the build of an image takes on a busy machine.
const DEADLINE_SECONDS: &str = "2400";

/// `docker`, with a time limit.
pub fn docker(args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg(DEADLINE_SECONDS).arg("docker").args(args).stdin(Stdio::null());
    command
}

/// Compose: the plug-in, or the older program if there is no plug-in.
pub fn compose() -> Command {
    let mut command = Command::new("timeout");
    command.arg(DEADLINE_SECONDS).args(compose_words()).stdin(Stdio::null());
    command
}

/// The words that call Compose on this machine.
pub fn compose_words() -> &'static [&'static str] {
    static WORDS: OnceLock<&[&str]> = OnceLock::new();
    WORDS.get_or_init(|| {
        let plug_in = docker(&["compose", "version"]).output().expect("timeout is in coreutils");
        if plug_in.status.success() { &["docker", "compose"] } else { &["docker-compose"] }
    })
}

/// Runs a command that must succeed, and returns its output.
#[track_caller]
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}\n(tests/stack/engine and tests/stack/images prepare for this)",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// As [`run`]: its standard output, trimmed.
#[track_caller]
pub fn ask(command: &mut Command) -> String {
    String::from_utf8(run(command).stdout).expect("Docker speaks UTF-8").trim().to_owned()
}

/// The output of `docker inspect` for a container or an image.
#[track_caller]
pub fn inspect(name: &str) -> Value {
    let text = ask(&mut docker(&["inspect", name]));
    let mut all: Vec<Value> = serde_json::from_str(&text).expect("docker inspect speaks JSON");
    all.swap_remove(0)
}
