//! Problems that only a person can solve: a missing permission to subscribe, a missing Kafka topic. The
//! bridge reports them, waits, and goes on by itself once they are solved.

use serde_json::{Value, json};

use crate::support::mosquitto::Setup;
use crate::support::wire::Connect;
use crate::support::*;

/// The users that Mosquitto's plugin knows; the password of each is its name.
pub(crate) const ADMIN: &str = "admin";
const DEVICE: &str = "device";
pub(crate) const BRIDGE: &str = "bridge";

pub(crate) fn log_in(mosquitto: &Mosquitto, name: &str) -> MqttClient {
    let connect = Connect {
        level: 5,
        client_id: format!("{name}-client"),
        clean: true,
        keep_alive: 0,
        login: Some((name.to_owned(), name.to_owned())),
        session_expiry: None,
        receive_maximum: None,
    };
    MqttClient::connect_with(&mosquitto.address(), &connect).unwrap().0
}

/// Sends commands to the dynamic-security plugin, which answers when it has carried them out.
pub(crate) fn order(admin: &mut MqttClient, commands: Value) {
    const CONTROL: &str = "$CONTROL/dynamic-security/v1";
    let orders = json!({ "commands": commands }).to_string();
    admin.send(&Packet::publish(1, CONTROL, orders.as_bytes())).unwrap();
    let mut answer = None;
    while answer.is_none() {
        match admin.read(SOON).unwrap().expect("the plugin answers") {
            Packet::Publish(publish) => answer = Some(publish.payload),
            Packet::PubAck { .. } => {}
            other => panic!("unexpected {other:?}"),
        }
    }
    let answer = String::from_utf8(answer.unwrap()).unwrap();
    assert!(!answer.contains("\"error\""), "{answer}");
}

#[test]
fn a_refused_subscription_is_logged_retried_and_recovers() {
    let story = Story::new("SUBACK refused");
    let kafka = Kafka::shared();
    let file = story.dir().join("dynamic-security.json");
    let init = ["dynsec", "init", file.to_str().unwrap(), ADMIN, ADMIN];
    let made = std::process::Command::new("mosquitto_ctrl").args(init).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default().dynamic_security(&file));
    let mut admin = log_in(&mosquitto, ADMIN);
    assert!(admin.subscribe("$CONTROL/dynamic-security/v1/response", 0) < 0x80);
    let publish = json!({ "acltype": "publishClientSend", "topic": "devices/#", "allow": true });
    let subscribe = json!({ "acltype": "subscribePattern", "topic": "devices/#", "allow": true });
    order(
        &mut admin,
        json!([
            { "command": "createRole", "rolename": "publishes", "acls": [publish] },
            { "command": "createRole", "rolename": "subscribes", "acls": [subscribe] },
            { "command": "createClient", "username": DEVICE, "password": DEVICE,
              "roles": [{ "rolename": "publishes" }] },
            { "command": "createClient", "username": BRIDGE, "password": BRIDGE },
        ]),
    );

    let mut bridges = Version::BOTH.map(|version| {
        let name = format!("suback-mqtt{}", version.level());
        kafka.create(&name, 4, &[]);
        let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name());
        config.set("mqtt", "username", BRIDGE).set("mqtt", "password", BRIDGE);
        config.route("devices/#", &name);
        let http = Http::free();
        http.configure(&mut config);
        (Bridge::start(story.dir(), &name, &config), name, http)
    });
    let refused = |record: &Value| record["msg"] == "subscription refused, will ask again";
    for (bridge, _, http) in &bridges {
        http.wait_reasons(&["subscription_refused"], SOON);
        let first = bridge.log().wait_for("the refusal is told", SOON, refused);
        assert_eq!(first["mqtt_filter"], "devices/#");
        // The bridge asks again, and logs that at a bounded rate.
        let later = bridge.log().wait_for("it is asked again and again", PATIENT, |record| {
            refused(record) && record["suppressed"].as_u64().is_some_and(|times| times > 0)
        });
        assert!(bridge.log().count(refused) < 4, "{later}");
    }
    let grant = json!({ "command": "addClientRole", "username": BRIDGE, "rolename": "subscribes" });
    order(&mut admin, json!([grant]));
    for (bridge, _, http) in &bridges {
        let granted = |record: &Value| record["msg"] == "subscribed" && record["mqtt_qos"] == 1;
        bridge.log().wait_for("the subscription is granted", PATIENT, granted);
        http.wait_ready(SOON);
    }
    let mut device = log_in(&mosquitto, DEVICE);
    for seq in 0..10 {
        device.publish("devices/a", &ledger::payload("devices/a", seq, 50));
    }
    for (bridge, kafka_topic, _) in &mut bridges {
        bridge.wait_summary("all are forwarded", SOON, |now| now.delivered == 10);
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
        assert_eq!(kafka::records(&kafka.bootstrap(), kafka_topic).len(), 10);
    }
}

#[test]
fn messages_for_a_missing_kafka_topic_wait_and_arrive_in_order_once_it_exists() {
    let story = Story::new("Kafka topic missing");
    let kafka = Kafka::shared();
    const MESSAGES: u64 = 500;
    let mut lines = Version::BOTH.map(|version| {
        let name = format!("missing-mqtt{}", version.level());
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
        let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name()).route("devices/#", &name);
        let http = Http::free();
        http.configure(&mut config);
        let bridge = Bridge::start(story.dir(), &name, &config);
        mosquitto.wait_subscribed("bridge", 1);
        let publisher = Publisher::start(&mosquitto.address(), version, "devices", Load::default());
        publisher.publish(MESSAGES);
        (version, name, mosquitto, bridge, publisher, http)
    });
    for (_, name, _, bridge, publisher, http) in &lines {
        publisher.wait_done(SOON);
        bridge.log().wait_for("it is told", PATIENT, |record| {
            record["kafka_topic"] == **name
                && record["level"] != "info"
                && log::mentions(record, "UNKNOWN_TOPIC")
        });
        bridge.log().wait_for("it is held", PATIENT, |record| {
            record["msg"] == "summary" && record["held"] == **name
        });
        let held = bridge.wait_summary("all wait", SOON, |now| now.in_flight == MESSAGES);
        assert_eq!((held.delivered, held.dead_lettered), (0, 0));
        http.wait_reasons(&["kafka_topic_missing", "kafka_topic_held"], SOON);
    }
    for (version, name, _, bridge, publisher, http) in &mut lines {
        kafka.create(name, 4, &[]);
        publisher.publish(MESSAGES);
        let reader = Reader::start(&kafka.bootstrap(), name);
        eventually("all are in Kafka", PATIENT, || reader.distinct() == 2 * MESSAGES);
        bridge.log().wait_for("nothing is held any more", SOON, |record| {
            record["msg"] == "summary"
                && record["held"] == ""
                && record["delivered"] == 2 * MESSAGES
        });
        publisher.wait_done(SOON);
        http.wait_ready(SOON);
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
        let verdict = Verdict::of(&publisher.ledger(), &reader.read_to_end(SOON));
        verdict.report(story.name, version.name());
        verdict.assert_exact();
    }
}
