//! From nothing to a working bridge; the permissions of its container.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::compose::{IMAGE, KAFKA_TOPIC, Stack};
use crate::docker::{compose_words, docker, inspect, run};
use crate::support::kafka::records;
use crate::support::*;

const BEYOND_BASE_MAX: u64 = 60_000_000;
const SERVICES: [&str; 3] = ["mosquitto", "kafka", "bridge"];

#[test]
fn a_thousand_messages_through_published_ports() {
    let story = Story::new("1,000 at QoS 1");
    let stack = Stack::up(&story, json!({}));
    for service in SERVICES {
        assert_eq!(stack.inspect(service)["State"]["Health"]["Status"], "healthy", "{service}");
        assert_published_on_loopback_alone(&stack.inspect(service));
    }
    assert_eq!(stack.inspect("topics")["State"]["ExitCode"], 0);
    assert_harmless(&stack);
    assert_image();

    let (publisher, reader) = stack.line(Load::default());
    publisher.publish(1_000);
    publisher.wait_done(PATIENT);
    stack.settle(&publisher, &reader, PATIENT).assert_exact();
    stack.assert_log_sound();
}

pub fn assert_published_on_loopback_alone(container: &Value) {
    let ports = container["NetworkSettings"]["Ports"].as_object().expect("ports");
    let published: Vec<&Value> = ports.values().filter_map(Value::as_array).flatten().collect();
    assert_eq!(published.len(), 1, "{ports:?}");
    assert_eq!(published[0]["HostIp"], "127.0.0.1");
}

/// Not root, no capabilities, no writable directory but its volume, and no other processes.
fn assert_harmless(stack: &Stack) {
    let process = format!("/proc/{}", stack.pid());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
    };
    assert_eq!(field("Uid:"), "10001\t10001\t10001\t10001");
    assert_eq!(field("Gid:"), "10001\t10001\t10001\t10001");
    assert_eq!(field("CapPrm:"), "0000000000000000");
    assert_eq!(field("CapBnd:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    for thread in fs::read_dir(format!("{process}/task")).unwrap() {
        let children = fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
        assert_eq!(children, "", "as process 1 it must have no children to wait for");
    }
    let write = "touch here && ! touch /elsewhere 2>&1";
    let refused = stack.compose(&["exec", "-T", "bridge", "sh", "-c", write]);
    assert!(refused.contains("Read-only file system"), "{refused}");
}

fn assert_image() {
    let (image, base) = (inspect(IMAGE), inspect("debian:bookworm-slim"));
    let bytes = |image: &Value| image["Size"].as_u64().expect("a size");
    let beyond = bytes(&image) - bytes(&base);
    tell(&format!("image: {} bytes, {beyond} of them beyond its base", bytes(&image)));
    assert!(beyond < BEYOND_BASE_MAX, "{beyond} bytes beyond the base");
    let version = &image["Config"]["Labels"]["org.opencontainers.image.version"];
    assert_eq!(version, env!("CARGO_PKG_VERSION"), "the Dockerfile's VERSION");
    assert_finds_authorities();
}

/// With TLS and no file of one's own, the bridge trusts the authorities that the image has; `check` would say if it
/// found none.
fn assert_finds_authorities() {
    // A stand-in's base names a file of its own.
    let check = "unset SSL_CERT_FILE; exec mqtt-kafka-bridge check";
    let mut in_image = docker(&["run", "--rm", "--entrypoint", "sh"]);
    for variable in [
        "BRIDGE_MQTT__URL=mqtts://mqtt.example.com",
        "BRIDGE_MQTT__CLIENT_ID=bridge",
        "BRIDGE_ROUTES__0__FILTER=sensors/#",
        "BRIDGE_ROUTES__0__KAFKA_TOPIC=sensors",
        "BRIDGE_KAFKA__BROKERS=kafka.example.com:9093",
        "BRIDGE_KAFKA__PROPERTIES__SECURITY_PROTOCOL=SSL",
    ] {
        in_image.args(["--env", variable]);
    }
    let config = format!("{check} --config /etc/mqtt-kafka-bridge/config.toml");
    run(in_image.args([IMAGE, "-c", &config]));
}

#[test]
fn the_commands_of_the_readme_publish_and_consume() {
    let story = Story::new("README");
    let stack = Stack::up(&story, json!({}));
    let readme = include_str!("../../README.md");
    let commands: Vec<&str> = readme
        .split("\n    docker compose exec ")
        .skip(1)
        .map(|rest| rest.split_once("\n\n").map_or(rest, |(command, _)| command))
        .collect();
    assert_eq!(commands.len(), 2, "one publish and one consume: {commands:?}");
    let run_one = |command: &&str| {
        let line = format!("{} exec {command}", compose_words().join(" "));
        let output = run(stack.with_project(Command::new("sh").arg("-c").arg(line)));
        String::from_utf8(output.stdout).unwrap()
    };
    let said: Vec<String> = commands.iter().map(run_one).collect();
    assert!(said[1].contains("21.5"), "the published message is consumed: {said:?}");

    // The simulated devices, by the command of the README.
    stack.compose(&["--profile", "traffic", "up", "--detach", "--no-build"]);
    let reading = eventually_some("a reading is in Kafka", PATIENT, || {
        let mut records = records(&stack.bootstrap(), KAFKA_TOPIC).into_iter();
        records.find(|record| record.key.as_deref() == Some(b"sensors/machine-2/vibration"))
    });
    let reading: Value = serde_json::from_slice(&reading.value).expect("readings are JSON");
    assert_eq!((&reading["device"], &reading["unit"]), (&"machine-2".into(), &"mm/s".into()));
    assert!(reading["value"].as_f64().is_some_and(|value| (0.0..10.0).contains(&value)));
    stack.compose(&["--profile", "traffic", "rm", "--stop", "--force", "-v", "traffic"]);
}
