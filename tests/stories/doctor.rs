//! `doctor` says nothing of a healthy pair, finds faults of this host, and disturbs no bridge that runs. What it finds on
//! the way to MQTT and to Kafka is in `doctor_mqtt.rs` and `doctor_kafka.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::group::{Field, STRETCH};
use crate::support::kafka_logins::{PASSWORD, SecureKafka, USER};
use crate::support::mosquitto::Setup;
use crate::support::*;

#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) report: Value,
    pub(crate) code: i32,
}

impl Found {
    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("one JSON object: {error}: {text} {}", String::from_utf8_lossy(&output.stderr))
        });
        Self { report, code: output.status.code().expect("it ends by itself") }
    }

    pub(crate) fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().expect("a list")
    }

    /// `check level: of: found`, of what is worse than `info`.
    pub(crate) fn bad(&self) -> Vec<String> {
        let bad = self
            .findings()
            .iter()
            .filter(|it| ["warning", "error"].iter().any(|level| it["level"] == *level));
        bad.map(line).collect()
    }
}

pub(crate) fn line(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}: {}: {}", text("check"), text("level"), text("of"), text("found"))
}

/// Runs it on this configuration, in the directory of that file.
pub(crate) fn examine(config: &Path, more: &[&str]) -> Found {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.current_dir(config.parent().expect("a directory"));
    command.args(["doctor", "--json", "--config"]).arg(config).args(more);
    Found::of(&command.output().expect("it runs"))
}

pub(crate) fn written(story: &Story, name: &str, config: &ConfigFile) -> PathBuf {
    let dir = story.dir().join(slug(name));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("config.toml");
    fs::write(&path, config.text()).unwrap();
    path
}

/// A fault, and the finding that it must lead to.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    pub(crate) config: ConfigFile,
    pub(crate) check: &'static str,
    pub(crate) level: &'static str,
    /// In what was found.
    pub(crate) found: &'static str,
    /// In what to do.
    pub(crate) advice: &'static str,
}

pub(crate) fn fault(
    name: &'static str,
    config: ConfigFile,
    (check, level): (&'static str, &'static str),
    found: &'static str,
    advice: &'static str,
) -> Fault {
    Fault { name, config, check, level, found, advice }
}

/// Each must have its finding; where only the side of the fault can have any, no other check may complain.
#[track_caller]
pub(crate) fn assert_found(story: &Story, faults: Vec<Fault>) {
    let mut wrong = Vec::new();
    for Fault { name, config, check, level, found, advice } in faults {
        let examined = examine(&written(story, name, &config), &[]);
        let bad = examined.bad();
        let is_it = |it: &Value| {
            let has =
                |key: &str, words: &str| it[key].as_str().is_some_and(|it| it.contains(words));
            it["check"] == check
                && it["level"] == level
                && has("found", found)
                && has("advice", advice)
                && has("link", "docs/")
        };
        let is_found = examined.findings().iter().any(is_it);
        // A fault of one side says nothing of the other one.
        let side = check.split('_').next().unwrap_or_default();
        let others = ["mqtt", "kafka"].into_iter().filter(|other| *other != side);
        let is_quiet =
            others.into_iter().all(|other| bad.iter().all(|line| !line.starts_with(other)));
        let code = if examined.report["worst"] == "error" { 1 } else { 0 };
        let is_right = is_found && is_quiet && examined.code == code;
        tell(&format!(
            "doctor: {name}: {check} {level}: {}",
            if is_right { "right" } else { "WRONG" }
        ));
        if !is_right {
            let all = examined.findings().iter().map(line).collect::<Vec<_>>().join("\n    ");
            wrong.push(format!("{name} (exit code {}):\n    {all}", examined.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A pair of brokers without a fault, and a configuration for it.
pub(crate) struct Pair {
    pub(crate) mosquitto: Mosquitto,
    pub(crate) kafka: &'static Kafka,
    pub(crate) kafka_topic: String,
}

impl Pair {
    pub(crate) fn start(story: &Story, setup: &Setup) -> Self {
        let kafka = Kafka::shared();
        let kafka_topic = slug(story.name);
        kafka.create(&kafka_topic, 2, &[("max.message.bytes", "2000000")]);
        Self { mosquitto: Mosquitto::start(story.dir(), setup), kafka, kafka_topic }
    }

    pub(crate) fn config(&self) -> ConfigFile {
        self.config_of("bridge")
    }

    pub(crate) fn config_of(&self, client_id: &str) -> ConfigFile {
        let mut config =
            ConfigFile::new(&self.mosquitto.address(), client_id, &self.kafka.bootstrap());
        config.route("devices/#", &self.kafka_topic);
        config
    }

    /// At another address of MQTT.
    pub(crate) fn at(&self, url: &str) -> ConfigFile {
        let mut config = self.config();
        config.set("mqtt", "url", url);
        config
    }

    /// With other brokers of Kafka and these properties.
    pub(crate) fn with_kafka(&self, brokers: &str, properties: &[(&str, &str)]) -> ConfigFile {
        let mut config = self.config();
        config.set("kafka", "brokers", json!([brokers]));
        for (key, value) in properties {
            config.set("kafka.properties", key, *value);
        }
        config
    }

    /// Into another Kafka topic.
    pub(crate) fn writing_to(&self, kafka_topic: &str) -> ConfigFile {
        let mut config =
            ConfigFile::new(&self.mosquitto.address(), "bridge", &self.kafka.bootstrap());
        config.route("devices/#", kafka_topic);
        config
    }
}

#[test]
fn a_healthy_pair_has_no_warning() {
    let story = Story::new("doctor, healthy");
    let setup = Setup::default().listen(Listener::Tls).user("bridge", "secret");
    let pair = Pair::start(&story, &setup);
    let mut device = MqttClient::connect(&pair.mosquitto.address(), Version::V5, "device").unwrap();
    for number in 0..30 {
        device.publish_retained(&format!("devices/{number}"), b"kept");
    }
    let retained = |examined: &Found| {
        let about = examined.findings().iter().find(|it| it["check"] == "mqtt_retained");
        about.map(line).unwrap_or_default()
    };
    for version in Version::BOTH {
        let mut config = pair.config();
        config.set("mqtt", "protocol", version.name());
        let path = written(&story, version.name(), &config);
        let examined = examine(&path, &["--strict"]);
        assert_eq!((examined.bad(), examined.code), (vec![], 0), "{:#}", examined.report);
        // More than Mosquitto's limit of messages in flight.
        let retained = retained(&examined);
        assert!(retained.contains("30 (devices/# 30)"), "{retained}");
    }
    // TLS and a login on both sides.
    let secure = SecureKafka::shared();
    let mut config = pair.with_kafka(
        &secure.login,
        &[
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", secure.ca.to_str().unwrap()),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", USER),
            ("sasl.password", PASSWORD),
        ],
    );
    secure.kafka.create(&pair.kafka_topic, 1, &[("max.message.bytes", "2000000")]);
    let tls = pair.mosquitto.address_of(Listener::Tls);
    config.set("mqtt", "url", format!("mqtts://{tls}"));
    config.set("mqtt", "username", "bridge").set("mqtt", "password", "secret");
    broker::Broker::certificates(&pair.mosquitto).unwrap().configure(&mut config, None);
    let examined = examine(&written(&story, "secure", &config), &["--strict"]);
    assert_eq!((examined.bad(), examined.code), (vec![], 0), "{:#}", examined.report);
    let text = examined.report.to_string();
    assert!(!text.contains(PASSWORD) && !text.contains("secret"), "{text}");
    for check in
        ["mqtt_tls", "mqtt_certificate", "kafka_tls", "kafka_certificate", "kafka_requests"]
    {
        let is_ok = |it: &Value| it["check"] == check && it["level"] == "ok";
        assert!(examined.findings().iter().any(is_ok), "{check}: {:#}", examined.report);
    }
}

#[test]
fn each_fault_of_this_host_and_of_the_configuration_is_found() {
    let story = Story::new("doctor, host");
    let pair = Pair::start(&story, &Setup::default());
    let with = |section, key: &str, value: &str| {
        let mut config = pair.config();
        config.set(section, key, value);
        config
    };
    let no_place = with("dead_letter", "file", "/nowhere/dead.jsonl");
    let mut faults = vec![fault(
        "no place for dead letters",
        no_place,
        ("dead_letter_file", "error"),
        "/nowhere/dead.jsonl",
        "rights",
    )];
    // Where a disk has less than the largest file that can be configured.
    let free = rustix::fs::statvfs(story.dir()).unwrap();
    if free.f_bavail * free.f_frsize < 1 << 40 {
        let full = with("dead_letter", "file_max", "1 TiB");
        faults.push(fault(
            "too little room",
            full,
            ("dead_letter_file", "warning"),
            "free",
            "free some",
        ));
    }
    assert_found(&story, faults);
    // What the doctor inherits, the bridge would.
    let path = written(&story, "files", &pair.config());
    let limited = Command::new("sh")
        .current_dir(path.parent().unwrap())
        .args(["-c", "ulimit -n 40; exec \"$0\" doctor --json --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"))
        .arg(&path)
        .output()
        .unwrap();
    let bad = Found::of(&limited).bad();
    assert!(bad.iter().any(|line| line.starts_with("open_files error")), "{bad:?}");
    // A state file of a newer version.
    let mut bridge = Bridge::new(story.dir(), "state", &pair.config());
    bridge.run();
    pair.mosquitto.wait_subscribed("bridge", 1);
    assert_eq!(bridge.terminate(), 0);
    let files = fs::read_dir(bridge.dir()).unwrap().flatten().map(|entry| entry.path());
    let state = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "json"));
    let state = state.expect("a state file");
    let examined = examine(bridge.config(), &["--strict"]);
    assert_eq!((examined.bad(), examined.code), (vec![], 0), "{:#}", examined.report);
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("devices/#", "old/#")).unwrap();
    let examined = examine(bridge.config(), &[]);
    let left = |it: &Value| it["check"] == "mqtt_session" && line(it).contains("old/#");
    assert!(examined.findings().iter().any(left), "{:#}", examined.report);
    fs::write(&state, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let bad = examine(bridge.config(), &[]).bad();
    assert!(bad.iter().any(|line| line.starts_with("mqtt_session error")), "{bad:?}");
    // A configuration that is none.
    let mut wrong = pair.config();
    wrong.set("mqtt", "keep_alive", "soon");
    let examined = examine(&written(&story, "wrong", &wrong), &[]);
    assert_eq!(examined.code, 78);
    let bad = examined.bad();
    assert!(
        bad.len() == 1 && bad[0].starts_with("config error") && bad[0].contains("keep_alive"),
        "{bad:?}"
    );
}

#[test]
fn a_bridge_under_load_is_not_disturbed_and_its_reasons_are_told() {
    let story = Story::new("doctor beside a bridge");
    for version in Version::BOTH {
        let field = Field::start(&story, version, &Setup::default());
        let http = Http::free();
        let name = format!("beside-{}", version.level());
        let mut config = field.config(&name, "$share/bridge/devices/#");
        http.configure(&mut config);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        field.mosquitto.wait_subscribed(&name, 1);
        http.wait_ready(PATIENT);
        field.publisher.keep_publishing();
        for _ in 0..3 {
            let examined = examine(bridge.config(), &[]);
            let ready = |it: &Value| it["check"] == "bridge" && it["level"] == "ok";
            assert!(examined.findings().iter().any(ready), "{:#}", examined.report);
            assert!(
                !examined.bad().iter().any(|line| line.contains("error")),
                "{:?}",
                examined.bad()
            );
            field.wait_more(STRETCH);
        }
        field.wait_all();
        bridge.wait_summary("nothing is in flight", SOON, |now| now.in_flight == 0);
        let connects = bridge.log().count(|record| record["msg"] == "connected to mqtt");
        assert_eq!(connects, 1, "its connection lived");
        // Its own reasons, while its broker is away.
        let mut field = field;
        field.mosquitto.stop();
        http.wait_reason("mqtt_disconnected", PATIENT);
        let bad = examine(bridge.config(), &[]).bad();
        let told = |line: &String| {
            line.starts_with("bridge warning") && line.contains("mqtt_disconnected")
        };
        assert!(bad.iter().any(told), "{bad:?}");
        bridge.kill();
        let verdict = field.verdict(&story);
        assert_eq!(verdict.duplicated, 0, "{verdict:?}");
    }
}

#[test]
fn a_broker_that_takes_the_doctor_for_the_bridge_loses_nothing_and_is_told() {
    let story = Story::new("doctor taken for a bridge");
    let setup =
        Setup::default().listen(Listener::WebSocket).user("one", "secret").names_clients_by_user();
    for version in Version::BOTH {
        let field = Field::start(&story, version, &setup);
        let mut config = field.config("bridge", "devices/#");
        let address = field.mosquitto.address_of(Listener::WebSocket);
        config.set("mqtt", "url", format!("ws://{address}/mqtt"));
        config.set("mqtt", "username", "one").set("mqtt", "password", "secret");
        let name = format!("taken-{}", version.level());
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        field.mosquitto.wait_subscribed("one", 1);
        field.publisher.keep_publishing();
        for _ in 0..3 {
            field.wait_more(STRETCH);
            let examined = examine(bridge.config(), &[]);
            let bad = examined.bad();
            assert!(bad.iter().any(|line| line.starts_with("mqtt_client_id warning")), "{bad:?}");
            assert_eq!(examined.code, 0, "{bad:?}");
        }
        field.wait_more(STRETCH);
        field.wait_all();
        let reconnects = bridge.log().count(|record| record["msg"] == "connected to mqtt");
        assert_eq!(reconnects, 4, "each time it was taken for the bridge");
        bridge.kill();
        field.verdict(&story);
    }
}
