//! The results of runs and their medians. `--json` writes them, `--compare` reads them.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::acks::Violations;
use super::scenario::Scenario;
use super::task::Subject;

/// All that `--json` writes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Results {
    pub version: String,
    pub hardware: super::hardware::Hardware,
    /// `mock`, or the address of a real Kafka.
    pub kafka: String,
    /// `feed`, or `broker` if a real MQTT broker was in between.
    pub mqtt: String,
    pub results: Vec<Outcome>,
}

/// All runs of one scenario.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub scenario: Scenario,
    pub subjects: BTreeMap<Subject, Runs>,
}

/// All runs of one subject.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Runs {
    /// The median of each metric by itself.
    pub median: Metrics,
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Run {
    pub metrics: Metrics,
    pub checks: Checks,
    /// Why the run is bad; empty if it is good.
    pub failures: Vec<String>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Metrics {
    pub messages: u64,
    pub seconds: f64,
    /// Messages a second.
    pub rate: f64,
    /// CPU seconds of the measured process alone, per million messages.
    pub cpu_s_per_million: f64,
    pub peak_memory_bytes: u64,
    /// From the start of the process to the first PUBACK, or to the first record with QoS 0.
    pub first_ms: f64,
    /// CPU time of the idle process, as a share of one core.
    pub idle_cpu_percent: Option<f64>,
    /// Microseconds, by stage.
    pub latencies: BTreeMap<String, Percentiles>,
}

/// A distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Percentiles {
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// What is checked after a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Checks {
    pub published: u64,
    /// Records found in Kafka.
    pub records: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub misplaced: u64,
    pub pubacks: Violations,
    /// The bridge's own counts; absent for the baselines.
    pub bridge: Option<BridgeChecks>,
}

/// The bridge's own counts.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct BridgeChecks {
    pub delivered: u64,
    pub timing_records: u64,
    pub dropped: u64,
    pub dead_lettered: u64,
    pub filtered: u64,
    pub shed: u64,
    pub redelivered: u64,
    pub restarts: u64,
    pub reconnects: u64,
}

/// The stage from the feed's PUBLISH to its PUBACK.
pub(super) const END_TO_END: &str = "publish_to_puback";

impl Percentiles {
    /// `None` if the histogram is empty.
    pub(super) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        })
    }
}

impl Checks {
    /// Everything that is wrong. `timing` is the bridge's `log.timing`.
    pub(super) fn failures(&self, timing: &str) -> Vec<String> {
        let mut failures = Vec::new();
        let mut none = |count: u64, what: &str| {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        };
        none(self.lost, "lost");
        none(self.reordered, "reordered");
        none(self.misplaced, "with a key that is not their MQTT topic, or in another Kafka topic");
        none(self.pubacks.out_of_order, "PUBACKs out of order");
        none(self.pubacks.unexpected, "PUBACKs for what was not in flight");
        none(self.pubacks.early, "PUBACKs before Kafka can have answered");
        let Some(bridge) = self.bridge else { return failures };
        none(bridge.dropped, "log records dropped");
        none(bridge.dead_lettered, "dead-lettered");
        none(bridge.filtered, "filtered");
        none(bridge.shed, "shed");
        none(bridge.restarts, "restarts");
        none(bridge.reconnects, "reconnects");
        let expected = match timing {
            "all" => Some(bridge.delivered),
            "off" => Some(0),
            _ => None,
        };
        if let Some(expected) = expected
            && bridge.timing_records + bridge.dropped != expected
        {
            failures.push(format!(
                "{} timing records and {} dropped, expected {expected} for {} delivered",
                bridge.timing_records, bridge.dropped, bridge.delivered
            ));
        }
        if bridge.delivered > self.records {
            failures.push(format!(
                "the bridge counts {} delivered, Kafka has {}",
                bridge.delivered, self.records
            ));
        }
        if bridge.delivered < self.published {
            failures.push(format!(
                "the bridge counts {} delivered of {} published",
                bridge.delivered, self.published
            ));
        }
        failures
    }
}

impl Runs {
    /// Takes at least one run.
    pub(super) fn new(runs: Vec<Run>) -> Self {
        let all: Vec<_> = runs.iter().map(|run| &run.metrics).collect();
        Self { median: median(&all), runs }
    }
}

/// The median of each metric by itself.
fn median(all: &[&Metrics]) -> Metrics {
    let of = |value: &dyn Fn(&Metrics) -> f64| middle(all.iter().map(|metrics| value(metrics)));
    let idle = all.iter().filter_map(|metrics| metrics.idle_cpu_percent);
    let stages = all[0].latencies.keys().map(|stage| {
        let of = |value: &dyn Fn(&Percentiles) -> u64| {
            let values = all.iter().filter_map(|metrics| metrics.latencies.get(stage));
            middle(values.map(|percentiles| value(percentiles) as f64)) as u64
        };
        let percentiles = Percentiles {
            p50_us: of(&|p| p.p50_us),
            p90_us: of(&|p| p.p90_us),
            p99_us: of(&|p| p.p99_us),
            p999_us: of(&|p| p.p999_us),
            max_us: of(&|p| p.max_us),
        };
        (stage.clone(), percentiles)
    });
    Metrics {
        messages: of(&|metrics| metrics.messages as f64) as u64,
        seconds: of(&|metrics| metrics.seconds),
        rate: of(&|metrics| metrics.rate),
        cpu_s_per_million: of(&|metrics| metrics.cpu_s_per_million),
        peak_memory_bytes: of(&|metrics| metrics.peak_memory_bytes as f64) as u64,
        first_ms: of(&|metrics| metrics.first_ms),
        idle_cpu_percent: (idle.clone().next().is_some()).then(|| middle(idle)),
        latencies: stages.collect(),
    }
}

/// The middle one, the lower of two.
fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Checks {
        let bridge = BridgeChecks { delivered: 10, timing_records: 10, ..BridgeChecks::default() };
        Checks { published: 10, records: 10, bridge: Some(bridge), ..Checks::default() }
    }

    fn changed(change: impl Fn(&mut Checks, &mut BridgeChecks)) -> Vec<String> {
        let (mut checks, mut bridge) = (good(), good().bridge.expect("just given"));
        change(&mut checks, &mut bridge);
        checks.bridge = Some(bridge);
        checks.failures("all")
    }

    #[test]
    fn a_good_run_has_no_failures_and_duplicates_are_none() {
        assert_eq!(good().failures("all"), [""; 0]);
        assert_eq!(changed(|checks, _| checks.duplicated = 3), [""; 0]);
        let untimed = Checks {
            bridge: Some(BridgeChecks { delivered: 10, ..BridgeChecks::default() }),
            ..good()
        };
        assert_eq!(untimed.failures("off"), [""; 0]);
        assert_eq!(untimed.failures("all").len(), 1);
    }

    #[test]
    fn each_broken_promise_is_a_failure() {
        assert_eq!(changed(|checks, _| checks.lost = 1), ["1 lost"]);
        assert_eq!(changed(|checks, _| checks.reordered = 2), ["2 reordered"]);
        assert_eq!(changed(|checks, _| checks.pubacks.out_of_order = 1).len(), 1);
        assert_eq!(changed(|checks, _| checks.pubacks.unexpected = 1).len(), 1);
        assert_eq!(changed(|checks, _| checks.pubacks.early = 1).len(), 1);
        assert_eq!(changed(|_, bridge| bridge.timing_records = 9).len(), 1);
        // Dropped records balance the count, but are a failure all the same.
        let dropped = changed(|_, bridge| (bridge.timing_records, bridge.dropped) = (9, 1));
        assert_eq!(dropped, ["1 log records dropped"]);
        assert_eq!(changed(|_, bridge| bridge.shed = 1).len(), 1);
    }
}
