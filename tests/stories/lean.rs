//! A build without the default features has neither demo nor failpoints.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::target_dir;

/// Built by tests/run.
fn lean() -> PathBuf {
    let lean = target_dir().join("lean/mqtt-kafka-bridge");
    assert!(lean.exists(), "no lean build in {}; tests/run makes it", lean.display());
    lean
}

fn full() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"))
}

#[test]
fn a_lean_build_knows_no_demo() {
    let demo = |binary: &Path| Command::new(binary).args(["demo", "--help"]).output().unwrap();
    assert_eq!(demo(full()).status.code(), Some(0));
    let lean = demo(&lean());
    assert_eq!(lean.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&lean.stderr).contains("unrecognized subcommand 'demo'"));
}

#[test]
fn a_lean_build_has_no_failpoints() {
    let variable = b"BRIDGE_FAILPOINTS";
    let mentions = |binary: &Path| {
        let bytes = fs::read(binary).unwrap();
        bytes.windows(variable.len()).any(|window| window == variable)
    };
    assert!(mentions(full()));
    assert!(!mentions(&lean()));
}
