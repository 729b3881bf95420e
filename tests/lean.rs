//! A lean build (`--no-default-features`) has neither the demo nor failpoints. Run in both builds:
//! `cargo test --release --no-default-features --test lean` looks at the lean binary itself, and the
//! ordinary build shows that the same look would find them.

#![expect(clippy::unwrap_used, reason = "a test's own failure")]

use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_mqtt-kafka-bridge");

/// Texts that only the demo, its embedded broker and the failpoints bring along.
const TELL_TALES: [&str; 3] = ["demo-mqtt-broker", "mqtt5", "BRIDGE_FAILPOINTS"];

/// Which tell-tales are in the binary.
fn found_in_binary() -> Vec<&'static str> {
    let bytes = std::fs::read(BINARY).unwrap();
    let contains = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    TELL_TALES.into_iter().filter(|text| contains(text)).collect()
}

fn help() -> String {
    let output = Command::new(BINARY).arg("--help").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Names of the crates that a build with these flags links.
fn crates(flags: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none"])
        .args(flags)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn only_the_feature_demo_links_the_embedded_broker() {
    let links_it = |flags: &[&str]| crates(flags).lines().any(|line| line.starts_with("mqtt5 "));
    assert!(links_it(&[]));
    assert!(!links_it(&["--no-default-features"]));
    assert!(!links_it(&["--no-default-features", "--features", "failpoints"]));
}

#[cfg(all(feature = "demo", feature = "failpoints"))]
#[test]
fn the_ordinary_build_has_the_demo_and_failpoints() {
    assert!(help().contains("demo"), "{}", help());
    assert_eq!(found_in_binary(), TELL_TALES);
}

#[cfg(not(any(feature = "demo", feature = "failpoints")))]
#[test]
fn a_lean_build_has_neither_the_demo_nor_failpoints() {
    assert!(!help().contains("demo"), "{}", help());
    assert!(found_in_binary().is_empty(), "{:?}", found_in_binary());
    let output = Command::new(BINARY).arg("demo").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
