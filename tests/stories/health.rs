//! Readiness and liveness are truthful: each cause is named within ten seconds, and gone as soon
//! after it is removed.

use std::process::Command;
use std::time::Duration;

use crate::support::line::Plan;
use crate::support::mosquitto::Setup;
use crate::support::*;

/// The documented limit, both for a reason to appear and to disappear.
const WITHIN: Duration = Duration::from_secs(10);

/// Asks as an orchestrator without curl would: the exit code and the output.
fn healthcheck(bridge: &Bridge, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.arg("healthcheck").args(args).arg("--config").arg(bridge.config());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn readiness_names_what_is_missing_at_the_start_and_what_fails_later() {
    let story = Story::new("readiness");
    let mut kafka = Kafka::start(story.dir());
    kafka.kill();
    let mut mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
    mosquitto.stop();
    let mut bridges = Version::BOTH.map(|version| {
        let name = format!("mqtt{}", version.level());
        let (http, proxy) = (Http::free(), Proxy::start(&mosquitto.address()));
        let mut config = ConfigFile::new(&proxy.address(), &name, &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name()).route("a/#", "t");
        config.route("b/#", "t");
        http.configure(&mut config);
        (Bridge::start(story.dir(), &name, &config), http, proxy)
    });
    let all = |what: &str, wait: &dyn Fn(&Http) -> Duration| {
        for (_, http, _) in &bridges {
            let took = wait(http);
            tell(&format!("{}: {what}: {took:?}", story.name));
        }
    };
    all("nothing is there", &|http| {
        http.wait_reason("mqtt_disconnected", SOON) + http.wait_reason("kafka_unreachable", WITHIN)
    });
    for (bridge, http, _) in &bridges {
        assert_eq!(http.get("/livez").unwrap().status, 200);
        assert_eq!(http.get("/else").unwrap().status, 404);
        let (code, said) = healthcheck(bridge, &[]);
        assert_eq!(code, Some(1));
        assert!(said.contains("mqtt_disconnected") && said.contains("kafka_unreachable"), "{said}");
        assert_eq!(healthcheck(bridge, &["--live"]).0, Some(0));
        // Not at once: a start may take a while.
        let told = bridge.log().wait_for("the log says so", PATIENT, |record| {
            record["event"] == "not_ready"
                && record["reason"] == "kafka_unreachable, mqtt_disconnected"
        });
        assert!(log::mentions(&told, "mqtt: mqtt_disconnected: "), "{told}");
        assert_eq!(told["help"], "docs/operations.md#not-ready");
        assert_eq!(bridge.log().count(|record| record["event"] == "ready"), 0);
    }
    mosquitto.run();
    bridges.iter().for_each(|(_, http, _)| http.wait_reasons(&["kafka_unreachable"], WITHIN));
    kafka.run();
    bridges.iter().for_each(|(_, http, _)| http.wait_reasons(&["kafka_topic_missing"], WITHIN));
    kafka.create("t", 1, &[]);
    all("Kafka topic created", &|http| http.wait_ready(WITHIN));
    for (bridge, ..) in &bridges {
        assert_eq!(healthcheck(bridge, &[]), (Some(0), String::new()));
        bridge.log().wait_for("the log says so", SOON, |record| record["event"] == "ready");
    }

    kafka.freeze();
    all("Kafka frozen", &|http| http.wait_reason("kafka_unreachable", WITHIN));
    kafka.thaw();
    all("Kafka thawed", &|http| http.wait_ready(WITHIN));
    kafka.kill();
    all("Kafka killed", &|http| http.wait_reason("kafka_unreachable", WITHIN));
    kafka.run();
    all("Kafka back", &|http| http.wait_ready(WITHIN));
    mosquitto.stop();
    all("Mosquitto stopped", &|http| http.wait_reason("mqtt_disconnected", WITHIN));
    mosquitto.run();
    all("Mosquitto back", &|http| http.wait_ready(WITHIN));
    // The broker keeps the session, so that no SUBACK comes with MQTT 3.1.1 this time.
    for (bridge, http, proxy) in &bridges {
        proxy.cut();
        bridge.wait_summary("the cut is seen", SOON, |now| now.reconnects > 0);
        http.wait_ready(WITHIN);
    }

    kafka.freeze();
    let mut publisher =
        MqttClient::connect(&mosquitto.address(), Version::V5, "publisher").unwrap();
    publisher.publish("a/b", b"in flight");
    for (bridge, http, _) in &mut bridges {
        bridge.wait_summary("it is in flight", SOON, |now| now.in_flight == 1);
        bridge.process().signal(libc::SIGTERM);
        http.wait_reason("draining", SOON);
    }
    kafka.thaw();
    for (bridge, ..) in &mut bridges {
        assert_eq!(bridge.exit_code(SOON), 0);
        bridge.assert_logs_sound();
    }
}

#[test]
fn an_actor_that_hangs_is_not_alive_before_the_bridge_ends_with_75() {
    let story = Story::new("hang");
    for site in ["mqtt_read", "kafka_batch"] {
        let http = Http::free();
        let plan = Plan {
            config: vec![
                ("http", "listen", http.address().into()),
                ("supervisor", "hang_after", "8s".into()),
            ],
            failpoints: format!("{site}=hang"),
            ..Plan::default()
        };
        let mut line = Line::start(&story, Kafka::shared(), Version::V5, &plan);
        assert_eq!(http.reasons("/livez").unwrap(), [""; 0]);
        line.publisher.publish(10);
        eventually("the log reports the hang", SOON, || {
            http.reasons("/livez").expect("the bridge is still running") == ["actor_hangs"]
        });
        assert!(line.bridge.is_running());
        assert_eq!(line.bridge.exit_code(SOON), 75);
        line.bridge.run();
        line.settle().assert_exact();
    }
}
