//! Counts the instructions of the pure part of the data path for one message with valgrind's callgrind.
//! Unlike time, the count is the same on every run. If a change leaves the tolerance on purpose, for
//! better or worse, change the figure here.

use std::path::Path;
use std::process::Command;

use mqtt_kafka_bridge::mqtt::packet::Version;

use data_path::{BATCH, DataPath};

#[path = "support/data_path.rs"]
mod data_path;

/// Instructions for one message: QoS 1, 128 bytes, one route, a timing record.
const PER_MESSAGE: [(&str, u64); 2] = [("3.1.1", 3_810), ("5", 3_820)];
/// Another compiler, or memcpy for another processor, makes a difference.
const TOLERANCE_PERCENT: u64 = 15;

/// Tells the process under callgrind how many batches to pass through; nothing else sets it.
const BATCHES: &str = "INSTRUCTIONS_BATCHES";
const VERSION: &str = "INSTRUCTIONS_VERSION";
const FEW: u64 = 10;
const MANY: u64 = 50;

#[test]
fn a_message_takes_as_many_instructions_as_it_did() {
    if std::env::var_os(BATCHES).is_some() {
        return;
    }
    let mut wrong = Vec::new();
    for (version, expected) in PER_MESSAGE {
        // The difference of two runs leaves out the instructions of start and end.
        let messages = (MANY - FEW) * u64::from(BATCH);
        let found = (count(version, MANY) - count(version, FEW)) / messages;
        println!("{version}: {found} instructions a message");
        let off = found.abs_diff(expected) * 100 / expected;
        if off > TOLERANCE_PERCENT {
            wrong.push(format!("{version}: {found} instructions a message, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}; if that is meant, change PER_MESSAGE", wrong.join("; "));
}

/// Runs under callgrind; does nothing without its variables.
#[test]
fn batches_under_callgrind() {
    let Ok(batches) = std::env::var(BATCHES) else { return };
    let version = match std::env::var(VERSION).as_deref() {
        Ok("5") => Version::V5,
        _ => Version::V311,
    };
    let mut path = DataPath::new(version);
    for _ in 0..batches.parse().expect("a number") {
        path.batch();
    }
}

/// The instructions of a process that passes this many batches through.
fn count(version: &str, batches: u64) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("its own path"))
        .args(["--exact", "batches_under_callgrind", "--test-threads=1"])
        .env(BATCHES, batches.to_string())
        .env(VERSION, version)
        .output()
        .expect("valgrind, which tests/run installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    total(&out)
}

/// The total that callgrind writes at the end of its file.
fn total(out: &Path) -> u64 {
    let text = std::fs::read_to_string(out).expect("callgrind's file");
    let line = text.lines().find_map(|line| line.strip_prefix("totals:")).expect("its total");
    line.trim().parse().expect("a number")
}
