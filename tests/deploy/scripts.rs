//! The scripts of docs/deploy, with other programs in place of those that they call.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{root, run};

/// A command that finds `script` wherever it calls `name`.
fn with_stand_in(dir: &TempDir, command: &Path, name: &str, script: &str) -> Command {
    let path = dir.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(command);
    let searched = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{searched}", dir.path().display()));
    command
}

#[test]
fn the_bill_can_be_made_of_an_archive_without_its_history() {
    let dir = TempDir::new().unwrap();
    let sources = dir.path().join("sources");
    fs::create_dir_all(sources.join("docs/deploy")).unwrap();
    fs::create_dir(sources.join("target")).unwrap();
    for file in ["Cargo.lock", "docs/deploy/sbom"] {
        fs::copy(root().join(file), sources.join(file)).unwrap();
    }
    let cargo = "printf %s \"$SOURCE_DATE_EPOCH\" >mqtt-kafka-bridge.cdx.json";
    let script = sources.join("docs/deploy/sbom");
    let mut make = with_stand_in(&dir, &script, "cargo", cargo);
    // A directory above may have a history of its own.
    make.env("GIT_CEILING_DIRECTORIES", dir.path());
    run(make.env_remove("SOURCE_DATE_EPOCH").env_remove("CARGO_TARGET_DIR"));
    let date = fs::read_to_string(sources.join("target/mqtt-kafka-bridge.cdx.json")).unwrap();
    assert!(date.parse::<u64>().is_ok_and(|seconds| seconds > 1_700_000_000), "date {date:?}");
}

/// As root it would leave files in the user's Cargo registry that the user cannot change.
#[test]
fn the_container_that_builds_for_arm64_runs_as_its_caller() {
    let dir = TempDir::new().unwrap();
    let script = root().join("docs/deploy/arm64/build");
    let mut build = with_stand_in(&dir, &script, "docker", "echo \"$@\"");
    build.arg("check").env("CARGO_TARGET_DIR", dir.path()).env("CARGO_HOME", dir.path());
    let words = run(&mut build);
    let [user, group] = ["-u", "-g"].map(|who| run(Command::new("id").arg(who)).trim().to_owned());
    assert!(words.contains(&format!("run --rm --user {user}:{group} ")), "{words}");
}
