//! Release 0.1.0, which kept no state file, and this program, one after the other on the same session,
//! dead letters and directory, there and back.
//!
//! What the release leaves behind stands in for it: a session made by a plain client, and a file. With
//! `tests/run --long` it is the release itself.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::mosquitto::Setup;
use crate::support::wire::Connect;
use crate::support::*;

/// A dead letter as 0.1.0 wrote it.
const OLD_LETTER: &str = r#"{"reason":"mqtt_too_large","detail":"more than mqtt.max_payload","mqtt_topic":"devices/0","mqtt_qos":1,"payload_bytes":2000,"received_at":"2026-11-01T00:00:00.000000Z","payload":"kept by 0.1.0"}"#;

/// Where tests/run --long has built release 0.1.0.
const PREVIOUS: &str = "STORIES_PREVIOUS";

const CLIENT_ID: &str = "bridge";

/// Two routes in the older configuration; the newer one has only the first.
const FILTERS: [&str; 2] = ["devices/#", "retired/#"];

/// One Mosquitto and one Kafka topic, with one or the other program between them.
struct Site<'a> {
    dir: PathBuf,
    version: Version,
    mosquitto: Mosquitto,
    kafka_topic: String,
    sensor: MqttClient,
    /// Payloads for the first filter that are not in Kafka: the stand-in for the old program took them.
    taken: Vec<Vec<u8>>,
    published: Vec<Vec<u8>>,
    story: &'a Story,
}

impl<'a> Site<'a> {
    fn new(story: &'a Story, version: Version) -> Self {
        let name = format!("mqtt{}", version.level());
        let dir = story.dir().join(&name);
        fs::create_dir_all(&dir).unwrap();
        let kafka_topic = format!("{}-{name}", slug(story.name));
        Kafka::shared().create(&kafka_topic, 1, &[]);
        let mosquitto = Mosquitto::start(&dir, &Setup::default());
        let sensor = MqttClient::connect(&mosquitto.address(), version, "sensor").unwrap();
        let (taken, published) = (Vec::new(), Vec::new());
        Self { dir, version, mosquitto, kafka_topic, sensor, taken, published, story }
    }

    fn bridge(&self, name: &str, filters: &[&str]) -> Bridge {
        let kafka = Kafka::shared().bootstrap();
        let mut config = ConfigFile::new(&self.mosquitto.address(), CLIENT_ID, &kafka);
        config.set("mqtt", "protocol", self.version.name());
        config.set("dead_letter", "file", self.letters().path());
        if name.starts_with("previous") {
            // 0.1.0 has a summary each second anyway.
            config.unset("log", "summary");
        }
        filters.iter().for_each(|filter| {
            config.route(filter, &self.kafka_topic);
        });
        Bridge::new(&self.dir, name, &config)
    }

    /// Dead letters of messages that could not be delivered.
    fn letters(&self) -> DeadLetters {
        DeadLetters::new(&self.dir.join("dead.jsonl"))
    }

    /// Dead letters of messages that no route matches.
    fn unmatched(&self) -> DeadLetters {
        DeadLetters::new(&self.dir.join("dead.unmatched.jsonl"))
    }

    /// Publishes 50 messages for a route of both programs.
    fn publish(&mut self, when: &str) {
        for number in 0..50 {
            let payload = format!("{when} {number}").into_bytes();
            self.sensor.publish(&format!("devices/{}", number % 7), &payload);
            self.published.push(payload);
        }
    }

    /// What 0.1.0 leaves behind: a session with two subscriptions, and a dead letter.
    fn leave_old(&self, old: Option<&Path>) {
        match old {
            Some(program) => {
                let mut bridge = self.bridge("previous", &FILTERS);
                bridge.set_program(program);
                bridge.run();
                self.mosquitto.wait_subscribed(CLIENT_ID, 2);
                assert_eq!(bridge.terminate(), 0);
            }
            None => {
                let (mut client, present) = self.session();
                assert!(!present);
                for filter in FILTERS {
                    assert_eq!(client.subscribe(filter, 1), 1);
                }
            }
        }
        fs::write(self.letters().path(), format!("{OLD_LETTER}\n")).unwrap();
    }

    /// 0.1.0 runs again, and takes the 50 messages that wait for it.
    fn run_old(&mut self, old: Option<&Path>) {
        if let Some(program) = old {
            let mut bridge = self.bridge("previous-again", &FILTERS);
            bridge.set_program(program);
            bridge.run();
            bridge.wait_summary("0.1.0 delivers them", SOON, |now| now.delivered == 50);
            assert_eq!(bridge.terminate(), 0);
            return;
        }
        let (mut client, present) = self.session();
        assert!(present, "the session is still there");
        for _ in 0..50 {
            match client.read(SOON).unwrap() {
                Some(Packet::Publish(publish)) => {
                    client.send(&Packet::PubAck { pkid: publish.pkid }).unwrap();
                    self.taken.push(publish.payload);
                }
                other => panic!("expected what was published meanwhile, got {other:?}"),
            }
        }
        client.send(&Packet::Disconnect { code: 0 }).unwrap();
        // Mosquitto has read all of it when it closes.
        eventually("Mosquitto closes", SOON, || client.read(SOON).is_err());
    }

    /// A plain client with the bridge's session.
    fn session(&self) -> (MqttClient, bool) {
        let connect = Connect {
            level: self.version.level(),
            client_id: CLIENT_ID.to_owned(),
            clean: false,
            keep_alive: 0,
            login: None,
            session_expiry: (self.version == Version::V5).then_some(86_400),
            receive_maximum: None,
        };
        MqttClient::connect_with(&self.mosquitto.address(), &connect).unwrap()
    }

    /// This program runs until `messages` are delivered and `letters` are dead-lettered.
    fn run_new(&self, bridge: &mut Bridge, messages: u64, letters: u64) {
        bridge.run();
        bridge.wait_summary("all are delivered", SOON, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == (messages, letters, 0)
        });
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();
    }

    /// Every message once, in order, in Kafka or with the old program.
    fn assert_nothing_missing(&self) {
        let records = kafka::records(&Kafka::shared().bootstrap(), &self.kafka_topic);
        let arrived: Vec<_> = records.into_iter().map(|record| record.value).collect();
        let expected: Vec<_> = self
            .published
            .iter()
            .filter(|payload| !self.taken.contains(payload))
            .cloned()
            .collect();
        assert_eq!(arrived, expected, "{}, MQTT {}", self.story.name, self.version.name());
    }
}

/// The state file of a bridge, whose directory is its working directory.
fn state_file(bridge: &Bridge) -> PathBuf {
    let directory = bridge.config().parent().expect("a file is in a directory");
    let is_state = |path: &PathBuf| path.display().to_string().contains("mqtt-session-");
    let mut files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.find(is_state).expect("a state file")
}

#[test]
fn from_release_0_1_0_to_this_program_and_back_nothing_is_lost() {
    let story = Story::new("0.1.0, this, 0.1.0, this");
    let old = std::env::var_os(PREVIOUS).map(PathBuf::from);
    tell(&format!("{}: 0.1.0 is {}", story.name, if old.is_some() { "run" } else { "played" }));
    let old = old.as_deref();
    for version in Version::BOTH {
        let mut site = Site::new(&story, version);
        site.leave_old(old);
        site.publish("before the upgrade");
        let retired: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![b'r', number]).collect();
        retired.iter().for_each(|payload| site.sensor.publish("retired/1", payload));

        let mut new = site.bridge("new", &FILTERS[..1]);
        site.run_new(&mut new, 50, 20);
        let state: Value = serde_json::from_slice(&fs::read(state_file(&new)).unwrap()).unwrap();
        assert_eq!((&state["version"], &state["client_id"]), (&1.into(), &CLIENT_ID.into()));
        let unmatched = site.unmatched().read();
        let kept: Vec<_> = unmatched.iter().map(|letter| letter.payload()).collect();
        assert_eq!(kept, retired, "no route matches them, and their dead letters are kept");
        let letters = fs::read_to_string(site.letters().path()).unwrap();
        assert_eq!(letters.trim_end(), OLD_LETTER, "the dead letters of 0.1.0 are unchanged");

        site.publish("after the downgrade");
        site.run_old(old);
        site.publish("after the second upgrade");
        site.run_new(&mut new, 50, 0);
        site.assert_nothing_missing();
    }
}

#[test]
fn a_state_file_of_a_newer_version_is_refused_and_one_cut_short_costs_a_warning() {
    let story = Story::new("state file newer or cut short");
    let mut site = Site::new(&story, Version::V5);
    let mut bridge = site.bridge("new", &FILTERS[..1]);
    bridge.run();
    site.mosquitto.wait_subscribed(CLIENT_ID, 1);
    bridge.log().wait_for("subscribed", SOON, |record| record["msg"] == "subscribed");
    assert_eq!(bridge.terminate(), 0);
    let file = state_file(&bridge);
    let ours = fs::read(&file).unwrap();

    site.publish("while it is refused");
    let newer =
        String::from_utf8(ours.clone()).unwrap().replace("\"version\": 1", "\"version\": 2");
    fs::write(&file, &newer).unwrap();
    bridge.run();
    assert_eq!(bridge.exit_code(SOON), 78);
    let name = file.file_name().unwrap().to_str().unwrap();
    let said = bridge
        .log()
        .find(|record| log::mentions(record, name) && log::mentions(record, "found version 2"));
    assert!(said.is_some(), "the error names the file, and what was expected and found");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer, "it is left as it is");

    fs::write(&file, &ours[..ours.len() / 2]).unwrap();
    site.run_new(&mut bridge, 50, 0);
    let warned = bridge.log().find(|record| log::mentions(record, name)).expect("a warning");
    assert_eq!(warned["level"], "warn");
    assert_eq!(fs::read(&file).unwrap(), ours, "it is whole again");
    site.assert_nothing_missing();
}
