//! Feeds a target with inputs that it makes of a corpus by changing them at random. Whatever gives an answer that
//! none gave before joins the corpus, so that inputs get deeper into what reads them.

use std::collections::HashSet;

use crate::targets::{State, Target};

/// The longest input, in bytes.
const LENGTH_MAX: usize = 4096;
/// The most inputs that are kept.
const CORPUS_MAX: usize = 4096;
/// Memory may grow by so much after the first tenth of the inputs, in KiB: what the allocator keeps.
const GROWTH_MAX_KB: u64 = 64 * 1024;
/// What stands in many inputs.
const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"{{",
    b"|",
    b":",
    b"\\",
    b"/",
    b"+",
    b"#",
    b"\"",
    b"'",
    b"[",
    b"]",
    b"(",
    b")",
    b"~",
    b"=",
    b"and ",
    b"not ",
    b"json./",
    b"user.",
    b"...",
    b"default:",
    b"date:%",
    b"$share/",
    b"--",
    b"-",
    b"1e9",
    b"\0",
    b"\xFF",
    b"\xFF\xFF\xFF\xFF",
    b"\x00\x00\x00\x00",
    b"\xC3\xA9",
    b"\x80\x80\x80\x80\x10",
    b"\x12\x7F",
];

/// Feeds `target` with so many inputs, the same ones for the same `seed`.
///
/// # Panics
/// Something does not hold for one of them, which is printed before; or memory grows.
pub(crate) fn feed(target: &Target, inputs: u64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut corpus: Vec<Vec<u8>> = target.corpus.iter().map(|input| input.to_vec()).collect();
    let (mut state, mut answers, mut warm_kb) = (State::default(), HashSet::new(), None);
    for input in &corpus {
        answers.insert(run(target, &mut state, input));
    }
    for number in 0..inputs {
        let mut input = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..=random.u32(..4) {
            change(&mut input, &corpus, &mut random);
        }
        input.truncate(LENGTH_MAX);
        let answer = run(target, &mut state, &input);
        if corpus.len() < CORPUS_MAX && answers.insert(answer) {
            corpus.push(input);
        }
        if number == inputs / 10 {
            warm_kb = resident_kb();
        }
    }
    println!("{}: {inputs} inputs, {} answers", target.name, answers.len());
    if let (Some(warm), Some(end)) = (warm_kb, resident_kb()) {
        assert!(
            end <= warm + GROWTH_MAX_KB,
            "{}: memory grew from {warm} to {end} KiB",
            target.name
        );
    }
}

fn run(target: &Target, state: &mut State, input: &[u8]) -> u64 {
    /// Prints the input if it makes the target panic.
    struct Shown<'a>(&'a Target, &'a [u8]);
    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: b\"{}\"", self.0.name, self.1.escape_ascii());
            }
        }
    }
    let shown = Shown(target, input);
    (shown.0.run)(state, shown.1)
}

/// Changes an input in one place.
fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = random.usize(..=input.len());
    let end = (at + random.usize(..16)).min(input.len());
    match random.u8(..8) {
        0 if at < input.len() => input[at] = random.u8(..),
        1 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        2 => drop(input.drain(at..end)),
        3 => {
            let part = input[at..end].to_vec();
            let times = random.usize(1..8);
            input.splice(at..at, part.repeat(times));
        }
        4 => {
            let other = &corpus[random.usize(..corpus.len())];
            let from = random.usize(..=other.len());
            let length = random.usize(..=(other.len() - from).min(64));
            input.splice(at..end, other[from..from + length].iter().copied());
        }
        5 => input.insert(at, random.u8(..)),
        6 => input.truncate(at),
        _ => drop(input.splice(at..at, WORDS[random.usize(..WORDS.len())].iter().copied())),
    }
}

/// What this process has in memory, where the system tells.
fn resident_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
