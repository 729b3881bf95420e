//! `--steps`: the highest rate whose p99 stays within a bound.

use super::args::BenchArgs;
use super::error::BenchError;
use super::result::{END_TO_END, Outcome, Runs};
use super::scenario::{Load, Scenario};
use super::task::Subject;
use super::{measure, report};

const FIRST_RATE: u64 = 2_000;
/// The search ends when the lowest rate that failed is within this factor of the highest that held.
const CLOSE: f64 = 1.1;
const RATE_MAX: u64 = 5_000_000;

/// Finds that rate for each subject and adds all steps to `outcomes`. Gives whether all runs were good.
///
/// # Errors
/// A step could not be measured.
pub(super) fn run(
    args: &BenchArgs,
    scenario: &Scenario,
    outcomes: &mut Vec<Outcome>,
) -> Result<bool, BenchError> {
    println!("\n{}: p99 from PUBLISH to PUBACK within {:?}", scenario.title(), args.p99);
    let mut good = true;
    for subject in args.subjects(scenario) {
        let mut search = Search::default();
        while let Some(rate) = search.next() {
            let (held, kept) = step(args, scenario, subject, rate, outcomes)?;
            good &= kept;
            search.tried(rate, held && kept);
        }
        match search.held {
            0 => println!("  {}: not even {FIRST_RATE}/s held", subject.name()),
            rate => println!("  {}: the highest rate that held: {rate}/s", subject.name()),
        }
    }
    Ok(good)
}

/// Measures one rate. Gives whether p99 stayed within the bound, and whether the run was good.
fn step(
    args: &BenchArgs,
    scenario: &Scenario,
    subject: Subject,
    rate: u64,
    outcomes: &mut Vec<Outcome>,
) -> Result<(bool, bool), BenchError> {
    let load = Load { rate: Some(rate), ..scenario.load };
    let scenario = Scenario { load, ..scenario.clone() };
    let what = format!("{} at {rate}/s", subject.name());
    let run = measure::run(args, &scenario, subject, &what)?;
    report::failures(&what, &run);
    let kept = run.failures.is_empty();
    let latency = run.metrics.latencies.get(END_TO_END).copied();
    let p99_us = latency.map_or(u64::MAX, |latency| latency.p99_us);
    // Latency counts from when a message was due, so a rate that is not reached has a high p99.
    let held = u128::from(p99_us) <= args.p99.as_micros();
    println!(
        "  {:<12}{rate:>9}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  CPU-s/M {:>6.2}  {}",
        subject.name(),
        latency.map_or(f64::NAN, |latency| latency.p50_us as f64 / 1e3),
        p99_us as f64 / 1e3,
        run.metrics.cpu_s_per_million,
        if held { "held" } else { "did not hold" }
    );
    let subjects = [(subject, Runs::new(vec![run]))].into();
    outcomes.push(Outcome { scenario, subjects });
    Ok((held, kept))
}

/// Doubles the rate until it fails, then halves the gap.
#[derive(Debug, Default)]
struct Search {
    held: u64,
    failed: Option<u64>,
}

impl Search {
    fn next(&self) -> Option<u64> {
        match (self.held, self.failed) {
            (0, None) => Some(FIRST_RATE),
            (0, Some(_)) => None,
            (held, None) => Some(held * 2).filter(|rate| *rate <= RATE_MAX),
            (held, Some(failed)) => {
                (failed as f64 / held as f64 > CLOSE).then(|| (held + failed) / 2)
            }
        }
    }

    fn tried(&mut self, rate: u64, held: bool) {
        if held {
            self.held = rate;
        } else {
            self.failed = Some(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_close_below_what_fails() {
        for limit in [2_000, 3_333, 90_000, 250_001] {
            let mut search = Search::default();
            let mut steps = 0;
            while let Some(rate) = search.next() {
                search.tried(rate, rate <= limit);
                steps += 1;
            }
            assert!(search.held <= limit && limit as f64 <= search.held as f64 * CLOSE, "{limit}");
            assert!(steps < 20, "{steps}");
        }
        let mut search = Search::default();
        search.tried(FIRST_RATE, false);
        assert_eq!((search.next(), search.held), (None, 0));
    }
}
