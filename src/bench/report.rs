//! Prints results for people, on stdout.

use super::result::{BridgeChecks, Checks, Metrics, Outcome, Results, Run, Runs};
use super::task::Subject;

/// Prints the machine, the Kafka and the MQTT side.
pub(super) fn head(results: &Results) {
    println!("{}", results.hardware.line());
    println!("Kafka: {}; MQTT: {}", results.kafka, results.mqtt);
    if results.kafka == "mock" {
        println!("(the mock cluster shows cost and order; only a real Kafka shows rates: --kafka)");
    }
}

/// Prints what was wrong with a run.
pub(super) fn failures(what: &str, run: &Run) {
    for failure in &run.failures {
        eprintln!("bench: {what}: FAILED: {failure}");
    }
}

/// Prints the results of one scenario; gives whether all runs were good.
pub(super) fn outcome(outcome: &Outcome) -> bool {
    println!("\n{}", outcome.scenario.title());
    println!(
        "  {:<12}{:>12}{:>11}{:>10}{:>10}{:>9}",
        "", "messages/s", "CPU-s/M", "peak MiB", "first ms", "idle %"
    );
    for (subject, runs) in &outcome.subjects {
        let Metrics { rate, cpu_s_per_million, first_ms, .. } = runs.median;
        println!(
            "  {:<12}{rate:>12.0}{cpu_s_per_million:>11.2}{:>10.1}{first_ms:>10.0}{:>9}",
            subject.name(),
            runs.median.peak_memory_bytes as f64 / f64::from(1 << 20),
            runs.median.idle_cpu_percent.map_or("-".to_owned(), |idle| format!("{idle:.2}")),
        );
    }
    for (subject, runs) in &outcome.subjects {
        let Some(bridge) = outcome.subjects.get(&Subject::Bridge) else { continue };
        let (name, bridge, other) = (subject.name(), &bridge.median, &runs.median);
        match subject {
            Subject::Bridge => {}
            Subject::BridgeTls | Subject::BridgeConnections => {
                println!("  {name} / bridge: {}", ratios(other, bridge));
            }
            Subject::BaselineBlocking | Subject::BaselineAsync => {
                println!("  bridge / {name}: {}", ratios(bridge, other));
            }
        }
    }
    println!("  {:<36}{:>9}{:>9}{:>9}{:>9}{:>9}", "ms", "p50", "p90", "p99", "p99.9", "max");
    for (subject, runs) in &outcome.subjects {
        for (stage, latency) in &runs.median.latencies {
            let ms =
                [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us]
                    .map(|us| format!("{:>9.2}", us as f64 / 1e3));
            let stage = stage.replace('_', " ");
            println!("  {:<36}{}", format!("{} {stage}", subject.name()), ms.concat());
        }
    }
    for (subject, runs) in &outcome.subjects {
        println!("  {}: {}", subject.name(), checks(runs));
    }
    let mut runs = outcome.subjects.values().flat_map(|runs| &runs.runs);
    runs.all(|run| run.failures.is_empty())
}

/// The checks of all runs together, in one line.
fn checks(of: &Runs) -> String {
    let sum = |count: fn(&Checks) -> u64| of.runs.iter().map(|run| count(&run.checks)).sum::<u64>();
    let mut text = format!(
        "{} published, {} lost, {} duplicated, {} reordered; PUBACKs: {} out of order, {} unexpected, {} early",
        sum(|checks| checks.published),
        sum(|checks| checks.lost),
        sum(|checks| checks.duplicated),
        sum(|checks| checks.reordered),
        sum(|checks| checks.pubacks.out_of_order),
        sum(|checks| checks.pubacks.unexpected),
        sum(|checks| checks.pubacks.early),
    );
    if of.runs.iter().any(|run| run.checks.bridge.is_some()) {
        let bridge = |checks: &Checks| checks.bridge.unwrap_or_default();
        let sum = |count: fn(BridgeChecks) -> u64| {
            of.runs.iter().map(|run| count(bridge(&run.checks))).sum::<u64>()
        };
        text += &format!(
            "; {} delivered, {} timing records, {} dropped",
            sum(|bridge| bridge.delivered),
            sum(|bridge| bridge.timing_records),
            sum(|bridge| bridge.dropped)
        );
    }
    let failed = of.runs.iter().filter(|run| !run.failures.is_empty()).count();
    match failed {
        0 => text + "; good",
        _ => format!("{text}; {failed} of {} runs FAILED", of.runs.len()),
    }
}

/// The ratios of one to the other, in one line.
pub(super) fn ratios(one: &Metrics, other: &Metrics) -> String {
    let mut text = format!(
        "CPU {:.2}x, rate {:.2}x, memory {:.2}x",
        one.cpu_s_per_million / other.cpu_s_per_million,
        one.rate / other.rate,
        one.peak_memory_bytes as f64 / other.peak_memory_bytes as f64,
    );
    for (stage, latency) in &one.latencies {
        if let Some(then) = other.latencies.get(stage) {
            text += &format!(
                ", {} p50 {:.2}x p99 {:.2}x",
                stage.replace('_', " "),
                latency.p50_us as f64 / then.p50_us.max(1) as f64,
                latency.p99_us as f64 / then.p99_us.max(1) as f64
            );
        }
    }
    text
}
