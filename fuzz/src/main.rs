//! Feeds what reads a stranger's or a user's text with random inputs, for as long as one likes:
//!
//!     cargo run --release --manifest-path fuzz/Cargo.toml -- [--long] [TARGET]...
//!
//! 100,000 inputs for each target, with `--long` 10,000,000, each time others. Ends with an error, and prints the
//! input, where one panics. `tests/fuzz.rs` does the same with fixed inputs for each change.

mod driver;
mod targets;

fn main() {
    let (options, names): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let inputs = if options.iter().any(|option| option == "--long") { 10_000_000 } else { 100_000 };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for target in targets::ALL {
        if names.is_empty() || names.iter().any(|name| name == target.name) {
            driver::feed(target, inputs, seed);
        }
    }
}
