//! A lean build (`--no-default-features`) has neither the demo nor failpoints. tests/run builds it
//! first and keeps its binary in target/lean: that costs one more link, and not all dependencies once more.
#![cfg(all(feature = "demo", feature = "failpoints"))]
#![expect(clippy::unwrap_used, reason = "a test's own failure")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary of this build.
const ORDINARY: &str = env!("CARGO_BIN_EXE_mqtt-kafka-bridge");

/// Texts that are in a binary only with the demo, its embedded broker and the failpoints. Documents are in each binary, so that what
/// they say tells nothing.
const TELL_TALES: [&str; 4] =
    ["demo-mqtt-broker", "mqtt5::broker", "bench-reader", "expected SITE=N, SITE=always"];

/// The binary of the lean build.
fn lean() -> PathBuf {
    let target = Path::new(ORDINARY).ancestors().nth(2).expect("target/release/binary");
    let lean = target.join("lean").join("mqtt-kafka-bridge");
    assert!(lean.exists(), "{} is missing: tests/run makes it", lean.display());
    lean
}

/// The tell-tales in a binary.
fn found_in(binary: &Path) -> Vec<&'static str> {
    let bytes = std::fs::read(binary).unwrap();
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    TELL_TALES.into_iter().filter(|text| contains(text)).collect()
}

fn ask(binary: &Path, args: &[&str]) -> Output {
    Command::new(binary).args(args).output().unwrap()
}

/// Whether the help lists the subcommand.
fn offers_demo(binary: &Path) -> bool {
    let help = ask(binary, &["--help"]).stdout;
    let help = String::from_utf8(help).unwrap();
    assert!(help.lines().any(|line| line.trim_start().starts_with("run ")), "{help}");
    help.lines().any(|line| line.trim_start().starts_with("demo "))
}

#[test]
fn a_lean_build_has_neither_the_demo_nor_failpoints() {
    let lean = lean();
    assert!(!offers_demo(&lean));
    assert_eq!(ask(&lean, &["demo"]).status.code(), Some(2));
    assert_eq!(found_in(&lean), [""; 0]);
}

#[test]
fn the_ordinary_build_has_both() {
    let ordinary = Path::new(ORDINARY);
    assert!(offers_demo(ordinary));
    assert_eq!(found_in(ordinary), TELL_TALES);
}

#[test]
fn only_the_feature_demo_links_the_embedded_broker() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let links_it = |flags: &[&str]| {
        let output = Command::new(&cargo)
            .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
            .args(flags)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let crates = String::from_utf8(output.stdout).unwrap();
        crates.lines().any(|line| line.starts_with("mqtt5 "))
    };
    assert!(links_it(&[]));
    assert!(!links_it(&["--no-default-features"]));
    assert!(!links_it(&["--no-default-features", "--features", "failpoints"]));
}
