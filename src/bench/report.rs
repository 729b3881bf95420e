//! Results for people, on stdout.

use super::result::{Metrics, Outcome, Results, Run};
use super::subject::Kind;

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
    let mut good = true;
    for (kind, subject) in &outcome.subjects {
        for run in &subject.runs {
            good &= run.failures.is_empty();
            println!("  {}: {}", kind.name(), checks(run));
        }
    }
    good
}

fn checks(run: &Run) -> String {
    let checks = &run.checks;
    let mut text = format!(
        "{} published, {} lost, {} duplicated, {} reordered; PUBACKs {} out of order, {} unexpected, {} early",
        checks.published,
        checks.lost,
        checks.duplicated,
        checks.reordered,
        checks.pubacks.out_of_order,
        checks.pubacks.unexpected,
        checks.pubacks.early
    );
    if let Some(bridge) = &checks.bridge {
        text += &format!(
            "; {} delivered, {} timing records, {} dropped",
            bridge.delivered, bridge.timing_records, bridge.dropped
        );
    }
    text + if run.failures.is_empty() { "; good" } else { "; FAILED" }
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
