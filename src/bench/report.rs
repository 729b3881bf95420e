//! Results for people, on stdout.

use super::baseline::Kind;
use super::result::{BridgeChecks, Checks, Metrics, Outcome, Results, Run, Subject};

/// On what, and against what.
pub(super) fn head(results: &Results) {
    println!("{}", results.hardware.line());
    println!("Kafka: {}; MQTT: {}", results.kafka, results.mqtt);
    if results.kafka == "mock" {
        println!("(the mock is for cost and order; rates are a real Kafka's only: --kafka)");
    }
}

/// What was wrong with a run.
pub(super) fn failures(what: &str, run: &Run) {
    for failure in &run.failures {
        eprintln!("bench: {what}: FAILED: {failure}");
    }
}

/// All of one scenario; whether all runs were good.
pub(super) fn outcome(outcome: &Outcome) -> bool {
    println!("\n{}", outcome.scenario.title());
    println!(
        "  {:<12}{:>12}{:>11}{:>10}{:>10}{:>9}",
        "", "messages/s", "CPU-s/M", "peak MiB", "first ms", "idle %"
    );
    for (kind, subject) in &outcome.subjects {
        let Metrics { rate, cpu_s_per_million, first_ms, .. } = subject.median;
        println!(
            "  {:<12}{rate:>12.0}{cpu_s_per_million:>11.2}{:>10.1}{first_ms:>10.0}{:>9}",
            kind.name(),
            subject.median.peak_memory_bytes as f64 / f64::from(1 << 20),
            subject.median.idle_cpu_percent.map_or("-".to_owned(), |idle| format!("{idle:.2}")),
        );
    }
    for (kind, subject) in &outcome.subjects {
        if *kind != Kind::Bridge
            && let Some(bridge) = outcome.subjects.get(&Kind::Bridge)
        {
            println!("  bridge / {}: {}", kind.name(), ratios(&bridge.median, &subject.median));
        }
    }
    println!("  {:<36}{:>9}{:>9}{:>9}{:>9}{:>9}", "ms", "p50", "p90", "p99", "p99.9", "max");
    for (kind, subject) in &outcome.subjects {
        for (stage, latency) in &subject.median.latencies {
            let ms =
                [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us]
                    .map(|us| format!("{:>9.2}", us as f64 / 1e3));
            let stage = stage.replace('_', " ");
            println!("  {:<36}{}", format!("{} {stage}", kind.name()), ms.concat());
        }
    }
    for (kind, subject) in &outcome.subjects {
        println!("  {}: {}", kind.name(), checks(subject));
    }
    let mut runs = outcome.subjects.values().flat_map(|subject| &subject.runs);
    runs.all(|run| run.failures.is_empty())
}

/// All runs together.
fn checks(subject: &Subject) -> String {
    let sum =
        |count: fn(&Checks) -> u64| subject.runs.iter().map(|run| count(&run.checks)).sum::<u64>();
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
    if subject.runs.iter().any(|run| run.checks.bridge.is_some()) {
        let bridge = |checks: &Checks| checks.bridge.unwrap_or_default();
        let sum = |count: fn(BridgeChecks) -> u64| {
            subject.runs.iter().map(|run| count(bridge(&run.checks))).sum::<u64>()
        };
        text += &format!(
            "; {} delivered, {} timing records, {} dropped",
            sum(|bridge| bridge.delivered),
            sum(|bridge| bridge.timing_records),
            sum(|bridge| bridge.dropped)
        );
    }
    let failed = subject.runs.iter().filter(|run| !run.failures.is_empty()).count();
    match failed {
        0 => text + "; good",
        _ => format!("{text}; {failed} of {} runs FAILED", subject.runs.len()),
    }
}

/// One to the other.
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
