//! `[mqtt.status]`: whoever looks at the broker sees whether the bridge is there, and no route brings that back.

use std::time::Duration;

use crate::support::kafka::records;
use crate::support::mosquitto::Setup;
use crate::support::*;

const MQTT_TOPIC: &str = "bridges/one";

/// Who looks at the status, from the beginning or from later on.
struct Watcher(MqttClient);

impl Watcher {
    fn new(mosquitto: &Mosquitto, version: Version, name: &str) -> Self {
        let mut client = MqttClient::connect(&mosquitto.address(), version, name).unwrap();
        assert_eq!(client.subscribe(MQTT_TOPIC, 1), 1);
        Self(client)
    }

    /// The next status, and whether it is a retained one.
    fn expect(&mut self, payload: &str, retain: bool) {
        match self.0.read(SOON).unwrap() {
            Some(Packet::Publish(publish)) => {
                let seen = String::from_utf8_lossy(&publish.payload).into_owned();
                assert_eq!((&*seen, publish.retain), (payload, retain));
                if publish.qos == 1 {
                    self.0.send(&Packet::PubAck { pkid: publish.pkid }).unwrap();
                }
            }
            other => panic!("expected {payload}, got {other:?}"),
        }
    }
}

#[test]
fn the_status_is_true_after_a_start_a_kill_and_a_stop_and_is_never_forwarded() {
    let story = Story::new("status");
    let kafka = Kafka::shared();
    for version in Version::BOTH {
        let name = format!("status-mqtt{}", version.level());
        kafka.create(&name, 1, &[]);
        let mosquitto = Mosquitto::start(&story.dir().join(&name), &Setup::default());
        let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name());
        // Short, so that a new session meets the retained status of the one before.
        config.set("mqtt", "session_expiry", "1s");
        config.set("mqtt.status", "mqtt_topic", MQTT_TOPIC);
        // Over 3.1.1 a route that would bring the status back is refused by `check`.
        config.route(if version == Version::V5 { "#" } else { "devices/#" }, &name);
        let mut watcher = Watcher::new(&mosquitto, version, "watcher");
        let mut devices = MqttClient::connect(&mosquitto.address(), version, "devices").unwrap();
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        watcher.expect("online", false);
        devices.publish("devices/1", b"first");
        bridge.wait_summary("first is delivered", SOON, |summary| summary.delivered == 1);

        bridge.kill();
        watcher.expect("offline", false);
        Watcher::new(&mosquitto, version, "late").expect("offline", true);
        // The session is gone, and `#` is subscribed anew: the retained status is the bridge's own.
        std::thread::sleep(Duration::from_secs(2));
        bridge.run();
        watcher.expect("online", false);
        devices.publish("devices/1", b"second");
        bridge.wait_summary("second is delivered", SOON, |summary| summary.delivered >= 1);

        assert_eq!(bridge.terminate(), 0);
        watcher.expect("offline", false);
        let values: Vec<_> = records(&kafka.bootstrap(), &name)
            .into_iter()
            .map(|record| String::from_utf8(record.value).unwrap())
            .collect();
        assert_eq!(values, ["first", "second"], "over MQTT {}", version.name());
    }
}
