//! What `latency --log` says of a bridge's own log.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::support::line::Plan;
use crate::support::*;

const MESSAGES: u64 = 3_000;

/// Ascending.
fn sorted(records: &[Value], key: &str) -> Vec<u64> {
    let mut values: Vec<_> = records.iter().filter_map(|record| record[key].as_u64()).collect();
    values.sort_unstable();
    values
}

#[test]
fn the_log_of_a_bridge_is_read_as_it_was_written() {
    let story = Story::new("latency by the log");
    let plan = Plan { load: Load { rate: 2_000, ..Load::default() }, ..Plan::default() };
    for mut line in Line::both(&story, Kafka::shared(), &plan) {
        line.publisher.publish(MESSAGES);
        line.wait_delivered(MESSAGES);
        line.settle().assert_exact();
        let path = line.bridge.dir().join("run-1.log");
        let text = fs::read_to_string(&path).unwrap();
        let parsed = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let (timings, others): (Vec<_>, Vec<_>) =
            parsed.partition(|record| record["msg"] == "timing");
        assert!(!timings.is_empty() && !others.is_empty());

        let page = line.bridge.dir().join("report.html");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
        command.args(["latency", "--json", "--log"]).arg(&path);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let count = |key: &str| report["lines"][key].as_u64().unwrap() as usize;
        assert_eq!((count("timing"), count("other")), (timings.len(), others.len()));
        assert_eq!((count("damaged"), count("unfinished"), count("left_out")), (0, 0, 0));
        for (hop, key) in [
            ("routed", "routed_us"),
            ("produced", "queue_us"),
            ("delivered", "kafka_us"),
            ("total", "total_us"),
            ("acknowledged", "ack_us"),
        ] {
            let values = sorted(&timings, key);
            let rows = report["hops"].as_array().unwrap();
            let row = rows.iter().find(|row| row["hop"] == hop).expect("each hop has a row");
            assert_eq!(row["count"], values.len(), "{hop}");
            for (percentile, per_mille) in [
                ("p50_us", 500),
                ("p90_us", 900),
                ("p99_us", 990),
                ("p999_us", 999),
                ("max_us", 1000),
            ] {
                let exact = values[(values.len() * per_mille).div_ceil(1000) - 1];
                let found = row[percentile].as_u64().unwrap();
                assert!(
                    found.abs_diff(exact) <= exact / 1000,
                    "{hop} {percentile}: {found}, {exact}"
                );
            }
        }
        let slowest = report["slowest"][0]["total_us"].as_u64();
        assert_eq!(slowest, sorted(&timings, "total_us").last().copied());

        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
        command.args(["latency", "--log"]).arg(&path).arg("--html").arg(&page);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        tell(&String::from_utf8_lossy(&output.stdout));
        assert!(fs::read_to_string(&page).unwrap().contains("<svg "));
    }
}
