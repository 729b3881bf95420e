//! A configuration is read again that has keys which only a restart applies: they are named, the rest is applied,
//! and what was in force goes on.

use std::process::Command;

use crate::support::mosquitto::Setup;
use crate::support::*;

/// A bridge whose file is changed while it runs.
struct Reloaded {
    bridge: Bridge,
    http: Http,
    device: MqttClient,
    delivered: u64,
    applied: usize,
}

impl Reloaded {
    /// Writes another configuration and asks the bridge to read it; `check` ends with this code for it.
    fn reload(&mut self, config: &ConfigFile, code: i32) {
        self.bridge.reconfigure(config);
        let mut check = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
        let check = check.arg("check").arg("--config").arg(self.bridge.config()).output().unwrap();
        assert_eq!(check.status.code(), Some(code), "{check:?}");
        self.bridge.process().signal(libc::SIGHUP);
    }

    /// Waits until the bridge has said this so often.
    #[track_caller]
    fn wait_said(&self, message: &str, times: usize) {
        let said = || self.bridge.log().count(|record| record["msg"] == message);
        eventually(&format!("{message} ({times})"), SOON, || said() == times);
    }

    fn wait_applied(&mut self) {
        self.applied += 1;
        self.wait_said("configuration applied", self.applied);
    }

    /// The warning of this reason in `/readyz`, once the bridge is ready: what is applied may be subscribed yet.
    fn warning(&self, reason: &str) -> Option<String> {
        let answer = eventually_some("the bridge is ready", SOON, || {
            self.http.get("/readyz").ok().filter(|answer| answer.status == 200)
        });
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let mut warnings = said["warnings"].as_array().into_iter().flatten();
        let found = warnings.find(|warning| warning["reason"] == reason)?;
        Some(found["detail"].as_str().unwrap().to_owned())
    }

    /// A message under this MQTT topic is delivered.
    #[track_caller]
    fn deliver(&mut self, mqtt_topic: &str, payload: &[u8]) {
        self.device.publish(mqtt_topic, payload);
        self.delivered += 1;
        self.bridge.wait_summary(mqtt_topic, SOON, |now| now.delivered == self.delivered);
    }
}

#[test]
fn keys_that_need_a_restart_are_named_and_wait_while_the_rest_is_applied() {
    let story = Story::new("reload, keys that wait");
    let kafka = Kafka::shared();
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    for version in Version::BOTH {
        let name = format!("waiting-keys-{}", version.level());
        let named = |end: &str| format!("{name}-{end}");
        for end in ["old", "new", "moved", "dead"] {
            kafka.create(&named(end), 1, &[]);
        }
        let http = Http::free();
        let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
        http.configure(&mut config);
        config.set("mqtt", "protocol", version.name());
        let base = config.clone();
        config.route(&format!("{name}/old/#"), &named("old"));
        let old = config.clone();
        let bridge = Bridge::start(story.dir(), &name, &config);
        let device = MqttClient::connect(&mosquitto.address(), version, "device").unwrap();
        let mut it = Reloaded { bridge, http, device, delivered: 0, applied: 0 };
        it.http.wait_ready(PATIENT);
        let old_topic = format!("{name}/old/a");
        it.deliver(&old_topic, b"1");

        // Keys that wait beside routes that do not.
        config
            .set("delivery", "window_messages", 7)
            .set("mqtt", "client_id", named("renamed"))
            .set("log", "level", "debug")
            .route(&format!("{name}/new/#"), &named("new"));
        it.reload(&config, 0);
        it.wait_applied();
        assert_eq!(
            it.warning("restart_pending").as_deref(),
            Some("mqtt.client_id, delivery.window_messages")
        );
        it.wait_said("changed keys wait for a restart", 1);
        mosquitto.wait_subscribed(&name, 2);
        it.deliver(&old_topic, b"2");
        it.deliver(&format!("{name}/new/a"), b"1");

        // Routes that were made for a key that waits: they wait with it, and the others go on.
        let mut moved = base.clone();
        moved
            .set("dead_letter", "kafka_topic", named("dead"))
            .route(&format!("{name}/old/#"), &named("moved"));
        it.reload(&moved, 0);
        it.wait_said(
            "no route is applied, they may have been made for keys that wait for a restart",
            1,
        );
        // log.level, which is back, is applied.
        it.wait_applied();
        assert_eq!(
            it.warning("restart_pending").as_deref(),
            Some("dead_letter.kafka_topic, routes (with dead_letter.kafka_topic)")
        );
        it.deliver(&old_topic, b"3");
        it.deliver(&format!("{name}/new/a"), b"2");

        // A wrong one changes nothing, and what waits goes on waiting.
        let mut wrong = moved.clone();
        wrong.set("delivery", "window_messages", 0);
        it.reload(&wrong, 78);
        it.wait_said("configuration refused, the old one stays", 1);
        let detail = it.warning("reload_failed").unwrap();
        assert!(detail.contains("delivery.window_messages"), "{detail}");
        assert!(it.warning("restart_pending").is_some_and(|keys| keys.contains("dead_letter")));
        it.deliver(&old_topic, b"4");

        // With the first one again, nothing waits any more.
        it.reload(&old, 0);
        it.wait_applied();
        assert_eq!((it.warning("restart_pending"), it.warning("reload_failed")), (None, None));
        it.deliver(&old_topic, b"5");

        // A restart applies what waits.
        it.reload(&moved, 0);
        it.wait_said(
            "no route is applied, they may have been made for keys that wait for a restart",
            2,
        );
        assert_eq!(it.bridge.terminate(), 0);
        it.bridge.run();
        it.http.wait_ready(PATIENT);
        assert_eq!(it.warning("restart_pending"), None);
        it.delivered = 0;
        it.deliver(&old_topic, b"moved");
        assert_eq!(it.bridge.terminate(), 0);
        it.bridge.assert_logs_sound();

        let values = |end: &str| {
            let records = kafka::records(&kafka.bootstrap(), &named(end)).into_iter();
            records.map(|it| String::from_utf8(it.value).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(values("old"), ["1", "2", "3", "4", "5"]);
        assert_eq!(values("new"), ["1", "2"]);
        assert_eq!(values("moved"), ["moved"]);
    }
}
