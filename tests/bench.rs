//! `bench` on the real binary, with short runs on the mock cluster.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, reason = "a test's own failure")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

/// `bench` with these arguments, in a directory of its own, where it must leave nothing.
fn bench(args: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"))
        .arg("bench")
        .args(args)
        .current_dir(directory.path())
        .env("TMPDIR", directory.path())
        // It must not change what is measured.
        .env("BRIDGE_DELIVERY__WINDOW_MESSAGES", "1")
        .output()
        .unwrap();
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The results of a run that must be good, by `--json -`.
fn results(args: &[&str]) -> Value {
    let output = bench(&[args, &["--json", "-"]].concat());
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    serde_json::from_str(stdout.lines().last().unwrap()).unwrap()
}

#[test]
fn both_protocols_and_both_qos_balance_on_the_mock() {
    let results = results(&["--protocol", "3.1.1,5", "--qos", "0,1", "--count", "5000"]);
    let outcomes = results["results"].as_array().unwrap();
    assert_eq!(outcomes.len(), 4);
    for outcome in outcomes {
        let qos = outcome["scenario"]["qos"].as_u64().unwrap();
        let run = &outcome["subjects"]["bridge"]["runs"][0];
        let (metrics, checks) = (&run["metrics"], &run["checks"]);
        assert_eq!(metrics["messages"], 5000, "{outcome}");
        // Also published: the first message, the warm-up, and with QoS 1 those while Kafka is slow.
        let published = checks["published"].as_u64().unwrap();
        assert!(published > 5000, "{outcome}");
        assert_eq!(checks["bridge"]["delivered"], published, "{outcome}");
        assert_eq!(checks["bridge"]["timing_records"], published, "{outcome}");
        for count in ["lost", "duplicated", "reordered", "misplaced"] {
            assert_eq!(checks[count], 0, "{count} in {outcome}");
        }
        for metric in ["rate", "cpu_s_per_million", "peak_memory_bytes", "first_ms"] {
            assert!(metrics[metric].as_f64().unwrap() > 0.0, "{metric} in {outcome}");
        }
        let latencies = &metrics["latencies"];
        assert!(latencies["received_to_delivered"]["p99_us"].as_u64() > Some(0), "{outcome}");
        // The feed cannot see when Kafka has a QoS 0 message.
        assert_eq!(latencies["publish_to_puback"].is_object(), qos == 1, "{outcome}");
    }
    assert!(results["hardware"]["cores"].as_u64() > Some(0), "{results}");
}

#[test]
fn the_limit_runs_beside_the_bridge_under_the_same_checks() {
    for protocol in ["3.1.1", "5"] {
        let results = results(&["--limit", "--count", "5000", "--protocol", protocol]);
        let subjects = &results["results"][0]["subjects"];
        for subject in ["bridge", "limit", "libraries"] {
            let run = &subjects[subject]["runs"][0];
            assert_eq!(run["metrics"]["messages"], 5000, "{subject}");
            assert_eq!(run["checks"]["lost"], 0, "{subject}");
            assert_eq!(run["checks"]["bridge"].is_object(), subject == "bridge");
        }
    }
}

#[test]
fn tls_and_several_connections_run_beside_one_over_tcp_under_the_same_checks() {
    for protocol in ["3.1.1", "5"] {
        let args = ["--tls", "--connections", "3", "--count", "6000", "--protocol", protocol];
        let results = results(&args);
        let outcome = &results["results"][0];
        // Each MQTT topic belongs to one of the connections.
        assert_eq!(outcome["scenario"]["topics"], 66);
        for subject in ["bridge", "tls", "connections"] {
            let run = &outcome["subjects"][subject]["runs"][0];
            assert_eq!(run["metrics"]["messages"], 6000, "{subject}");
            let checks = &run["checks"];
            assert_eq!(checks["bridge"]["delivered"], checks["published"], "{subject}");
            for count in ["lost", "duplicated", "reordered", "misplaced"] {
                assert_eq!(checks[count], 0, "{count} of {subject}");
            }
            assert!(run["metrics"]["latencies"]["publish_to_puback"].is_object(), "{subject}");
        }
    }
    // A load by time and a rate: all connections end at the same point.
    let args = ["--connections", "4", "--rate", "2000", "--duration", "1s", "--qos", "0,1"];
    for outcome in results(&args)["results"].as_array().unwrap() {
        let run = &outcome["subjects"]["connections"]["runs"][0];
        assert_eq!(run["checks"]["lost"], 0, "{outcome}");
        let rate = run["metrics"]["rate"].as_f64().unwrap();
        assert!((1000.0..=2200.0).contains(&rate), "{rate}");
    }
}

#[test]
fn many_mqtt_topics_on_many_routes_all_arrive() {
    let results =
        results(&["--topics", "2000", "--routes", "20", "--size", "1KiB", "--count", "4000"]);
    assert_eq!(results["results"][0]["subjects"]["bridge"]["runs"][0]["checks"]["lost"], 0);
}

#[test]
fn many_kafka_topics_of_one_template_hold_all_in_order() {
    let args = ["--kafka-topics", "1,40", "--topics", "80", "--count", "4000", "--limit"];
    let results = results(&args);
    let outcomes = results["results"].as_array().unwrap();
    assert_eq!(outcomes.len(), 2);
    for outcome in outcomes {
        for subject in ["bridge", "limit", "libraries"] {
            let checks = &outcome["subjects"][subject]["runs"][0]["checks"];
            for count in ["lost", "duplicated", "reordered", "misplaced"] {
                assert_eq!(checks[count], 0, "{count} of {subject} in {outcome}");
            }
        }
        let checks = &outcome["subjects"]["bridge"]["runs"][0]["checks"];
        assert_eq!(checks["bridge"]["delivered"], checks["published"], "{outcome}");
    }
    assert_eq!(outcomes[1]["scenario"]["kafka_topics"], 40);
}

#[test]
fn a_rate_is_kept_and_idle_time_is_measured() {
    let results = results(&["--rate", "2000", "--duration", "1s", "--idle", "1s", "--runs", "2"]);
    let bridge = &results["results"][0]["subjects"]["bridge"];
    assert_eq!(bridge["runs"].as_array().unwrap().len(), 2);
    let rate = bridge["median"]["rate"].as_f64().unwrap();
    assert!((1000.0..=2200.0).contains(&rate), "{rate}");
    assert!(bridge["median"]["idle_cpu_percent"].as_f64().unwrap() >= 0.0);
}

#[test]
fn an_earlier_result_is_compared_by_ratios() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    results(&["--count", "3000"]);
    let first = bench(&["--count", "3000", "--json", path]);
    assert!(first.status.success(), "{}", text(&first.stderr));
    let second = bench(&["--count", "4000", "--compare", path]);
    let stdout = text(&second.stdout);
    assert!(second.status.success(), "{stdout}{}", text(&second.stderr));
    let ratios = stdout.lines().rfind(|line| line.contains("bridge: CPU")).expect(&stdout);
    assert!(ratios.contains("rate") && ratios.contains('x'), "{ratios}");
    // Another window is another scenario.
    let other = bench(&["--count", "3000", "--window", "100", "--compare", path]);
    assert!(text(&other.stdout).contains("not among the earlier ones"), "{}", text(&other.stdout));
}

#[test]
fn what_cannot_be_measured_is_said() {
    for (args, word) in [
        (&["--qos", "2"][..], "--qos"),
        (&["--size", "3"], "--size"),
        (&["--steps", "--qos", "0"], "--steps"),
        (&["--count", "1", "--duration", "1s"], "--duration"),
        (&["--tls", "--mqtt", "mqtt://localhost"], "--tls"),
        (&["--connections", "65"], "--connections"),
        (&["--kafka-topics", "0"], "--kafka-topics"),
        (&["--kafka-topics", "2", "--routes", "2"], "--routes"),
        (&["--kafka-topics", "2", "--kafka", "a:1", "--kafka-topic", "a"], "--kafka-topic"),
    ] {
        let output = bench(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(text(&output.stderr).contains(word), "{args:?}: {}", text(&output.stderr));
    }
    let output = bench(&["--compare", "nowhere.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere.json"), "{}", text(&output.stderr));
    // The bridge's own error.
    let output = bench(&["--timing", "sometimes", "--count", "10"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("log.timing"), "{}", text(&output.stderr));
}

/// A bench that runs for a long time, once it measures, and the id of the process that it measures.
fn running(directory: &Path) -> (Child, String) {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"))
        .args(["bench", "--duration", "1h"])
        .env("TMPDIR", directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let children = format!("/proc/{0}/task/{0}/children", bench.id());
    let mut measured = String::new();
    wait_until(|| {
        assert!(bench.try_wait().unwrap().is_none(), "it has ended");
        measured = std::fs::read_to_string(&children).unwrap().trim().to_owned();
        let log = std::fs::read_dir(directory).unwrap().next();
        let log = log.map(|scratch| scratch.unwrap().path().join("log"));
        !measured.is_empty()
            && log.is_some_and(|log| {
                std::fs::read_to_string(log).unwrap_or_default().contains("subscribed")
            })
    });
    (bench, measured)
}

/// Long enough for a crowded machine.
fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "it takes too long");
        sleep(Duration::from_millis(10));
    }
}

/// Whether this process runs; one that nobody has waited for yet does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn the_measured_process_ends_with_a_bench_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (mut bench, measured) = running(directory.path());
    assert!(runs(&measured));
    bench.kill().unwrap();
    bench.wait().unwrap();
    wait_until(|| !runs(&measured));
}

#[test]
fn a_bench_that_is_interrupted_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (mut bench, measured) = running(directory.path());
    let sent = Command::new("kill").args(["-INT", &bench.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(bench.wait().unwrap().code(), Some(130));
    assert!(!runs(&measured));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
