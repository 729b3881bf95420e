//! Counts the instructions of the pure part of the data path for one message with valgrind's callgrind.
//! Unlike time, the count is the same on every run. If a change leaves the tolerance on purpose, for
//! better or worse, change the figure here.

use std::path::Path;
use std::process::Command;

use mqtt_kafka_bridge::mqtt::packet::Version;

use data_path::{BATCH, Case, DataPath};

#[path = "support/data_path.rs"]
mod data_path;

/// Instructions for one message: QoS 1, 128 bytes, one route, a timing record, histograms.
const PER_MESSAGE: [(Version, u64); 2] = [(Version::V311, 4_080), (Version::V5, 4_080)];
/// Another compiler, or memcpy for another processor, makes a difference.
const TOLERANCE_PERCENT: u64 = 15;

/// What a route may cost, in percent of another one.
/// Histograms are told once for each route of a batch: where each message has a route of its own, for each.
const RATIOS: [(Case, Case, u64); 5] = [
    (Case::Levels, Case::Fixed, 115),
    (Case::JsonKey, Case::FixedJson, 150),
    (Case::Headers, Case::Fixed, 160),
    (Case::ManyRoutes, Case::TenRoutes, 125),
    (Case::NewMqttTopics, Case::TenRoutes, 220),
];

/// Tells the process under callgrind how many batches to pass through; nothing else sets it.
const BATCHES: &str = "INSTRUCTIONS_BATCHES";
const VERSION: &str = "INSTRUCTIONS_VERSION";
const CASE: &str = "INSTRUCTIONS_CASE";

#[test]
fn a_message_takes_as_many_instructions_as_it_did() {
    if std::env::var_os(BATCHES).is_some() {
        return;
    }
    let mut wrong = Vec::new();
    for (version, expected) in PER_MESSAGE {
        let found = per_message(version, Case::Fixed);
        let off = found.abs_diff(expected) * 100 / expected;
        if off > TOLERANCE_PERCENT {
            let version = version.name();
            wrong.push(format!("{version}: {found} instructions a message, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}; if that is meant, change PER_MESSAGE", wrong.join("; "));
}

#[test]
fn templates_and_many_routes_cost_little_more_than_a_fixed_route() {
    if std::env::var_os(BATCHES).is_some() {
        return;
    }
    let mut wrong = Vec::new();
    for (case, other, bound) in RATIOS {
        let count = |case| per_message(Version::V5, case);
        let percent = count(case) * 100 / count(other);
        if percent > bound {
            let (case, other) = (case.name(), other.name());
            wrong.push(format!("{case}: {percent} % of {other}, expected at most {bound} %"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
}

/// Runs under callgrind; does nothing without its variables.
#[test]
fn batches_under_callgrind() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let Ok(batches) = variable(BATCHES).parse() else { return };
    let version = [Version::V311, Version::V5].into_iter().find(|v| v.name() == variable(VERSION));
    let case = Case::ALL.into_iter().find(|case| case.name() == variable(CASE));
    let mut path = DataPath::new(version.expect("a version"), case.expect("a case"));
    for _ in 0..batches {
        path.batch();
    }
}

/// The instructions of one message.
fn per_message(version: Version, case: Case) -> u64 {
    // The difference of two runs leaves out the instructions of start and end.
    let (few, many): (u64, u64) = match case {
        // Each MQTT topic comes for the second time.
        Case::ManyRoutes => (410, 810),
        Case::NewMqttTopics => (10, 390),
        _ => (10, 50),
    };
    let all = count(version, case, many) - count(version, case, few);
    let found = all / ((many - few) * u64::from(BATCH));
    println!("{}, {}: {found} instructions a message", version.name(), case.name());
    found
}

/// The instructions of a process that passes this many batches through.
fn count(version: Version, case: Case, batches: u64) -> u64 {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().expect("its own path"))
        .args(["--exact", "batches_under_callgrind", "--test-threads=1"])
        .env(BATCHES, batches.to_string())
        .env(VERSION, version.name())
        .env(CASE, case.name())
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
