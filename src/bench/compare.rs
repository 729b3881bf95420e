//! `--compare`: ratios to earlier results.

use super::report::ratios;
use super::result::{Outcome, Results};
use super::scenario::{Load, Scenario};

/// Prints how each scenario of `now` compares to the same one of `earlier`.
pub(super) fn tell(earlier: &Results, now: &Results) {
    println!("\nNow / earlier ({}, Kafka: {})", earlier.version, earlier.kafka);
    if earlier.hardware != now.hardware {
        println!("  the earlier one ran on another machine: {}", earlier.hardware.line());
    }
    for outcome in &now.results {
        println!("  {}", outcome.scenario.title());
        match earlier.results.iter().find(|then| same(&then.scenario, &outcome.scenario)) {
            Some(then) => tell_one(then, outcome),
            None => println!("    not among the earlier ones"),
        }
    }
}

fn tell_one(then: &Outcome, now: &Outcome) {
    for (subject, runs) in &now.subjects {
        if let Some(before) = then.subjects.get(subject) {
            println!("    {}: {}", subject.name(), ratios(&runs.median, &before.median));
        }
    }
}

/// Whether they differ at most in how long they ran.
fn same(one: &Scenario, other: &Scenario) -> bool {
    let timeless = |scenario: &Scenario| Scenario {
        load: Load { count: None, duration: None, ..scenario.load },
        ..scenario.clone()
    };
    timeless(one) == timeless(other)
}
