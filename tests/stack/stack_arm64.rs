//! The code is right for arm64, by a compiler for it: what a `char` of C is differs, for one.

use std::process::Command;

use crate::docker::run;
use crate::support::*;

fn build(args: &[&str]) -> Command {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("docs/deploy/arm64/build"));
    command.args(args).env("CARGO_TARGET_DIR", target_dir());
    command
}

#[test]
fn the_stacks_code_compiles_for_arm64() {
    run(&mut build(&["check"]));
}

/// The program itself, C included, under an emulator.
#[test]
fn the_stacks_program_for_arm64_runs_when_there_is_time() {
    match long() {
        true => drop(run(&mut build(&[]))),
        false => tell("the program for arm64 was not run: STORIES_LONG is not set"),
    }
}
