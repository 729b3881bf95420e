//! Random inputs for all that reads a stranger's or a user's text, the same ones each time: nothing panics, and
//! memory does not grow. More of them: fuzz/src/main.rs.
//!
//! In release, as `tests/run` runs it, a sum that overflows does not panic: to build libraries a second time for that
//! would take minutes. The build of fuzz/Cargo.toml has those checks, and so has `cargo test --test fuzz` without
//! `--release`.

#[path = "../fuzz/src/driver.rs"]
mod driver;
#[path = "../fuzz/src/targets.rs"]
mod targets;

/// How many inputs each target gets.
const INPUTS: u64 = if cfg!(debug_assertions) { 2_000 } else { 100_000 };

/// One after the other, since memory is that of the process.
#[test]
fn no_input_panics_and_memory_does_not_grow() {
    for target in targets::ALL {
        driver::feed(target, INPUTS, 1);
    }
}
