//! The README's first command, on the real binary.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, reason = "a test's own failure")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

/// `demo` with these arguments, in a directory of its own.
fn demo(args: &[&str]) -> (tempfile::TempDir, Command) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.arg("demo").args(args).current_dir(directory.path());
    (directory, command)
}

/// The last line of stdout.
fn report(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error} in {stdout}\n{stderr}"))
}

/// Every published message is accounted for, arrived, and in order.
fn assert_kept(report: &Value) {
    let count = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key} in {report}"));
    let ends = ["delivered", "dead_lettered", "filtered", "shed", "in_flight"];
    assert_eq!(count("received"), ends.iter().map(|key| count(key)).sum::<u64>(), "{report}");
    assert!(count("published") > 0, "{report}");
    assert!(count("delivered") >= count("published"), "{report}");
    for key in ["dead_lettered", "filtered", "shed", "in_flight", "lost", "reordered"] {
        assert_eq!(count(key), 0, "{key} in {report}");
    }
}

fn assert_nothing_left_behind(directory: &tempfile::TempDir) {
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn five_seconds_of_the_demo_arrive_once_and_in_order() {
    let (directory, mut command) =
        demo(&["--duration", "5s", "--rate", "500", "--seed", "3", "--json"]);
    let output = command.output().unwrap();
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert_kept(&report);
    for key in ["duplicated", "redelivered", "restarts"] {
        assert_eq!(report[key], 0, "{key} in {report}");
    }
    let published = report["published"].as_u64().unwrap();
    assert!((1_500..=3_000).contains(&published), "5 s of 500/s: {report}");
    assert_nothing_left_behind(&directory);
}

#[cfg(feature = "failpoints")]
#[test]
fn panics_of_actors_under_load_lose_and_reorder_nothing() {
    let (directory, mut command) =
        demo(&["--chaos", "--duration", "12s", "--rate", "1000", "--json"]);
    let output = command.output().unwrap();
    let report = report(&output);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{stdout}");
    assert_kept(&report);
    assert!(report["restarts"].as_u64() > Some(0), "no panic came: {stdout}");
    assert!(stdout.contains("healed:"), "{stdout}");
    assert_nothing_left_behind(&directory);
}

/// A running demo whose stdout was read up to the line that contains `until`.
fn started(args: &[&str], until: &str) -> (tempfile::TempDir, Child, BufReader<ChildStdout>) {
    let (directory, mut command) = demo(args);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(until) {
        line.clear();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "it ended before it said {until:?}");
    }
    (directory, child, stdout)
}

fn send(child: &Child, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn ctrl_c_and_sigterm_drain_and_end_with_a_summary() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let (_directory, mut child, mut stdout) = started(&["--rate", "300", "--json"], "record:");
        send(&child, signal);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        assert!(rest.contains("balances"), "{rest}");
        assert_kept(&serde_json::from_str(rest.lines().last().unwrap()).unwrap());
    }
}

#[test]
fn a_second_signal_leaves_at_once() {
    let (_directory, mut child, mut stdout) = started(&["--rate", "300"], "record:");
    send(&child, libc::SIGINT);
    send(&child, libc::SIGTERM);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}");
    assert!(!rest.contains("balances"), "{rest}");
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let (_directory, mut child, stdout) = started(&["--rate", "100"], "in flight");
    drop(stdout);
    // Nobody is left to read that it was a success.
    assert!(child.wait().unwrap().code().is_some(), "it ends by itself, not by a signal");
}

#[test]
fn an_argument_out_of_range_is_a_usage_error() {
    for args in [["--rate", "0"], ["--devices", "0"], ["--duration", "soon"]] {
        let (_directory, mut command) = demo(&args);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(args[0]), "{args:?}");
    }
}
