//! What only a person can mend: it is said, tried again, and heals.

use std::path::Path;
use std::process::Command;

use crate::support::mosquitto::Setup;
use crate::support::*;

const ADMIN: [&str; 4] = ["-u", "admin", "-P", "admin-password"];

/// Runs `mosquitto_ctrl`, which must succeed.
fn mosquitto_ctrl(arguments: &[&str]) {
    let output = Command::new("mosquitto_ctrl").args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !said.contains("Error"),
        "mosquitto_ctrl {arguments:?}: {said}"
    );
}

/// One command to the dynamic-security plugin of a running Mosquitto.
fn dynsec(mosquitto: &Mosquitto, command: &[&str]) {
    let address = mosquitto.address();
    let (host, port) = address.split_once(':').expect("host:port");
    mosquitto_ctrl(&[&["-h", host, "-p", port], &ADMIN[..], &["dynsec"], command].concat());
}

fn with_permissions(dir: &Path) -> Mosquitto {
    let file = dir.join("dynamic-security.json");
    let path = file.to_str().expect("a path of ours");
    mosquitto_ctrl(&["dynsec", "init", path, ADMIN[1], ADMIN[3]]);
    let mosquitto = Mosquitto::start(dir, &Setup::default().dynamic_security(&file));
    dynsec(&mosquitto, &["createRole", "reader"]);
    dynsec(&mosquitto, &["createClient", "bridge", "-p", "secret"]);
    dynsec(&mosquitto, &["addClientRole", "bridge", "reader"]);
    mosquitto
}

#[test]
fn a_refused_subscription_is_said_retried_and_heals() {
    let story = Story::new("SUBACK refused");
    let kafka = Kafka::shared();
    for version in Version::BOTH {
        let name = format!("mqtt{}", version.level());
        let dir = story.dir().join(format!("broker-{name}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mosquitto = with_permissions(&dir);
        let kafka_topic = format!("suback-refused-{name}");
        kafka.create(&kafka_topic, 4, &[]);
        let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
        config
            .set("mqtt", "protocol", version.name())
            .set("mqtt", "username", "bridge")
            .set("mqtt", "password", "secret")
            .route("devices/#", &kafka_topic);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        let refused = bridge.log().wait_for("it is said", SOON, |record| {
            record["msg"] == "subscription refused, will ask again"
        });
        assert_eq!(
            (&refused["level"], &refused["mqtt_filter"]),
            (&"warn".into(), &"devices/#".into())
        );

        dynsec(&mosquitto, &["addRoleACL", "reader", "subscribePattern", "devices/#", "allow"]);
        dynsec(&mosquitto, &["addRoleACL", "reader", "publishClientSend", "devices/#", "allow"]);
        bridge.log().wait_for("it heals", PATIENT, |record| record["msg"] == "subscribed");
        let connect = wire::Connect {
            level: version.level(),
            client_id: "sensor".to_owned(),
            clean: true,
            keep_alive: 0,
            login: Some(("bridge".to_owned(), "secret".to_owned())),
            session_expiry: None,
            receive_maximum: None,
        };
        let (mut sensor, _) = MqttClient::connect_with(&mosquitto.address(), &connect).unwrap();
        sensor.publish("devices/a", b"at last");
        bridge.wait_summary("it is delivered", SOON, |now| now.delivered == 1);
        assert_eq!(bridge.terminate(), 0);
        let asked = bridge.log().count(|record| record["msg"] == "connected to mqtt");
        assert_eq!(asked, 1, "all on one connection");
    }
}

#[test]
fn brokers_that_are_away_at_the_start_are_waited_for() {
    let story = Story::new("both away at the start");
    let mut kafka = Kafka::start(story.dir());
    kafka.create("t", 4, &[]);
    let mut mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
    kafka.stop();
    mosquitto.stop();
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.route("devices/#", "t");
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    for away in ["no mqtt connection, will connect again", "kafka is away"] {
        bridge.log().wait_for(away, SOON, |record| record["msg"] == away);
    }
    mosquitto.run();
    mosquitto.wait_subscribed("bridge", 1);
    let mut sensor = MqttClient::connect(&mosquitto.address(), Version::V5, "sensor").unwrap();
    sensor.publish("devices/a", b"early");
    bridge.wait_summary("it waits", SOON, |now| now.in_flight == 1);
    kafka.run();
    bridge.wait_summary("it is delivered", SOON, |now| now.delivered == 1);
    let warnings = bridge.log().count(|record| record["level"] == "warn");
    assert!(warnings < 20, "{warnings} warnings are no bounded rate");
    assert_eq!(bridge.terminate(), 0);
}

#[test]
fn a_kafka_topic_that_is_not_there_holds_until_it_is() {
    let story = Story::new("Kafka topic missing");
    let kafka = Kafka::shared();
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.route("devices/#", "created-late");
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    mosquitto.wait_subscribed("bridge", 1);
    let mut sensor = MqttClient::connect(&mosquitto.address(), Version::V5, "sensor").unwrap();
    for n in 0..100_u8 {
        sensor.publish("devices/a", &[n]);
    }
    bridge.log().wait_for("it is said which one", PATIENT, |record| {
        record["msg"] == "summary" && record["held"] == "created-late"
    });
    assert_eq!(bridge.summary().in_flight, 100);
    kafka.create("created-late", 4, &[]);
    bridge.wait_summary("all is delivered", PATIENT, |now| now.delivered == 100);
    let records = kafka::records(&kafka.bootstrap(), "created-late");
    let values: Vec<u8> = records.iter().map(|record| record.value[0]).collect();
    assert_eq!(values, (0..100).collect::<Vec<u8>>(), "in order");
    assert_eq!(bridge.terminate(), 0);
}
