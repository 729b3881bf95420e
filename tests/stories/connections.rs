//! Two MQTT connections of one bridge: each has its own trouble, and the other one goes on.
//!
//! `[[mqtt]]` cannot be written in the configuration yet. So the bridge of this story is this test binary
//! itself, run as a process of its own ([`bridge_of_two_connections`]) that takes the second connection
//! from a second file. A process, not a thread beside the other stories: failpoints, the panic hook and the
//! end by an exit code belong to the whole process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::failpoint::arm_from_env;
use mqtt_kafka_bridge::observe::{Logging, Metrics};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use crate::support::ledger::payload;
use crate::support::mosquitto::Setup;
use crate::support::*;

/// Names the configuration of each connection, separated by a comma.
const CONFIGURATIONS: &str = "STORY_CONFIGURATIONS";

/// The connections, and the first level of the MQTT topics of their devices.
const NAMES: [&str; 2] = ["east", "west"];

/// Kafka's limit in the story, and a message above it: with others in its batch its refusal is fatal for
/// the producer (docs/decisions/0002-gapless.md).
const TAKEN_MAX: &str = "20000";
const TOO_LARGE: usize = 30_000;

#[test]
#[ignore = "not a story: the bridge that the story runs as a process"]
fn bridge_of_two_connections() {
    let files = std::env::var(CONFIGURATIONS).expect("the story says where they are");
    let load = |file: &str| Config::load(Path::new(file), []).unwrap_or_else(|e| panic!("{e}"));
    let mut configs = files.split(',').zip(NAMES).map(|(file, name)| {
        let mut config = load(file);
        config.connections[0].name = name.into();
        config
    });
    let mut config = configs.next().expect("the first one");
    config.connections.extend(configs.flat_map(|other| other.connections));
    arm_from_env().unwrap();
    let logging = Logging::start(&config.log);
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    let shutdown = async {
        let mut asked = signal(SignalKind::terminate()).expect("a handler");
        asked.recv().await;
    };
    let exit = mqtt_kafka_bridge::run(config, logging, metrics, shutdown);
    std::process::exit(exit.code());
}

/// Runs this binary as [`bridge_of_two_connections`], whatever its arguments; what libtest says stays out of
/// the bridge's log.
fn program(dir: &Path) -> PathBuf {
    let path = dir.join("two-connections");
    let this = std::env::current_exe().unwrap();
    let test = "connections::bridge_of_two_connections";
    let script = format!(
        "#!/bin/sh\nexec '{}' --exact {test} --ignored --nocapture >/dev/null\n",
        this.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// One side: devices, their broker, and what is between it and the bridge.
struct Side {
    name: &'static str,
    mosquitto: Mosquitto,
    proxy: Proxy,
    publisher: Publisher,
}

impl Side {
    fn start(story: &Story, name: &'static str) -> Self {
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
        let proxy = Proxy::start(&mosquitto.address());
        let publisher = Publisher::start(&mosquitto.address(), Version::V5, name, Load::default());
        Self { name, mosquitto, proxy, publisher }
    }

    /// A metric of this connection.
    fn count(&self, http: &Http, metric: &str) -> u64 {
        http.metrics().get(&format!("{metric}{{connection=\"{}\"}}", self.name))
    }

    /// The bridge has never lost this connection.
    fn assert_undisturbed(&self, bridge: &Bridge) {
        assert_eq!(self.proxy.accepted(), 1, "{}: the first TCP connection lives", self.name);
        assert_eq!(connects(bridge, self.name), 1, "{}", self.name);
    }
}

/// How often the bridge was connected to this broker.
fn connects(bridge: &Bridge, name: &str) -> usize {
    let of = |record: &Value| record["msg"] == "connected to mqtt" && record["connection"] == name;
    bridge.log().count(of)
}

#[test]
fn two_connections_share_kafka_and_not_each_others_trouble() {
    let story = Story::new("two connections");
    let mut kafka = Kafka::start(story.dir());
    kafka.create("t", 4, &[("max.message.bytes", TAKEN_MAX)]);
    let [east, west] = NAMES.map(|name| Side::start(&story, name));
    let http = Http::free();
    let dead_letters = DeadLetters::new(&story.dir().join("dead.jsonl"));
    let config = |side: &Side| {
        let mut config = ConfigFile::new(&side.proxy.address(), "bridge", &kafka.bootstrap());
        // So that much can happen while an actor waits for its restart: 5 s at least.
        config.set("supervisor", "backoff_min", "10s");
        config.set("dead_letter", "file", dead_letters.path());
        http.configure(&mut config);
        config.route("east/#", "t").route("west/#", "t");
        config
    };
    let mut bridge = Bridge::new(story.dir(), "bridge", &config(&east));
    let second = bridge.dir().join("second.toml");
    fs::write(&second, config(&west).text()).unwrap();
    let files = format!("{},{}", bridge.config().display(), second.display());
    bridge.environment(CONFIGURATIONS, Some(&files));
    bridge.environment("BRIDGE_FAILPOINTS", Some("mqtt_read=60"));
    bridge.set_program(&program(story.dir()));
    bridge.run();
    let reader = Reader::start(&kafka.bootstrap(), "t");
    http.wait_ready(PATIENT);

    // Only west has anything to read, so it is west that panics.
    west.publisher.keep_publishing();
    let failed = bridge
        .log()
        .wait_for("the panic", PATIENT, |record| record["msg"] == "actor failed, will restart");
    assert_eq!((&failed["actor"], &failed["failures"]), (&"mqtt:west".into(), &1.into()));
    http.wait_reason("actor_restarting", SOON);
    east.publisher.publish(1_000);
    east.publisher.wait_done(SOON);
    assert_eq!(connects(&bridge, west.name), 1, "west is down while east is acknowledged");
    eventually("west is back", PATIENT, || connects(&bridge, west.name) == 2);
    east.assert_undisturbed(&bridge);

    // A connection that is lost is that connection's alone.
    west.proxy.stall();
    west.proxy.cut();
    eventually("west is lost", SOON, || west.count(&http, "mqtt_connected") == 0);
    let said = http.get("/readyz").unwrap().body;
    let said: Value = serde_json::from_str(&said).unwrap();
    let lost = said["reasons"].as_array().unwrap().iter();
    let lost: Vec<_> = lost.filter(|reason| reason["component"] == "mqtt").collect();
    assert_eq!(lost.len(), 1, "{said}");
    assert_eq!(lost[0]["connection"], "west", "{said}");
    east.publisher.publish(1_000);
    east.publisher.wait_done(SOON);
    assert_eq!(west.count(&http, "mqtt_connected"), 0, "west is away while east is acknowledged");
    west.proxy.resume();
    http.wait_ready(PATIENT);
    east.assert_undisturbed(&bridge);

    // Kafka restarts under the load of both.
    east.publisher.keep_publishing();
    kafka.stop();
    let full = |side: &Side| side.count(&http, "in_flight") > 0;
    eventually("both wait for Kafka", SOON, || full(&east) && full(&west));
    kafka.run();
    let goal = reader.distinct() + 4_000;
    eventually("both go on", PATIENT, || reader.distinct() >= goal);

    // A producer fails for good under the load of both.
    let restarts = || {
        let text = http.get("/metrics").unwrap().body;
        let failed = "restarts_total{actor=\"producer\",reason=\"fatal_error\"}";
        text.lines().filter(|line| line.contains(failed)).count()
    };
    let mut camera = MqttClient::connect(&west.mosquitto.address(), Version::V5, "camera").unwrap();
    let mut sent = 0;
    eventually("a producer fails", PATIENT, || {
        sent += 1;
        let message = payload("west/3", 1_000_000 + sent, TOO_LARGE);
        camera.publish("west/3", &message);
        within(Duration::from_secs(1), || restarts() > 0)
    });
    eventually("they are dead-lettered", PATIENT, || dead_letters.read().len() as u64 == sent);
    let goal = reader.distinct() + 4_000;
    eventually("both go on with the next producer", PATIENT, || reader.distinct() >= goal);
    east.assert_undisturbed(&bridge);

    for side in [&east, &west] {
        side.publisher.pause();
        side.publisher.wait_done(PATIENT);
        eventually("nothing is in flight", SOON, || side.count(&http, "in_flight") == 0);
    }
    let seen = http.metrics();
    seen.assert_balances();
    let summary = bridge.wait_summary("the sum is told", SOON, |now| {
        now.received == seen.sum("received_total") && now.in_flight == 0
    });
    assert_eq!(summary.dead_lettered, sent);
    assert_eq!(west.count(&http, "dead_lettered_total"), sent);
    assert_eq!(east.count(&http, "received_total"), east.publisher.published());
    assert_eq!(bridge.terminate(), 0, "both are drained");
    let arrivals = reader.read_to_end(SOON);
    for side in [&east, &west] {
        let verdict = Verdict::of(&side.publisher.ledger(), &arrivals);
        verdict.report(story.name, side.name);
        verdict.assert_nothing_lost_or_reordered();
    }
    bridge.assert_logs_sound();
    assert_connections_are_told(&bridge);
}

/// Each summary of a connection balances, timing records name theirs, and the sum comes besides.
fn assert_connections_are_told(bridge: &Bridge) {
    for name in NAMES {
        let of = |record: &Value| record["msg"] == "summary" && record["connection"] == name;
        let wrong = |record: &Value| {
            let term = |key: &str| record[key].as_u64().expect("a count");
            let ends = ["delivered", "dead_lettered", "filtered", "shed", "in_flight"];
            of(record) && term("received") != ends.into_iter().map(term).sum::<u64>()
        };
        assert!(bridge.log().count(of) > 0, "summaries of {name}");
        assert_eq!(bridge.log().find(wrong), None);
    }
}
