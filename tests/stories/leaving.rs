//! A member of a group that goes for good: `leave` delivers what its session still holds and ends the session,
//! so that the broker gives everything to the others.

use std::fs;

use serde_json::json;

use super::group::{Field, STRETCH, wait_share};
use crate::support::mosquitto::Setup;
use crate::support::process::free_port;
use crate::support::wire::Connect;
use crate::support::*;

/// Whether the broker has a session of this client.
fn has_session(field: &Field, client_id: &str) -> bool {
    let connect = Connect {
        level: field.version.level(),
        client_id: client_id.to_owned(),
        clean: false,
        keep_alive: 0,
        login: None,
        session_expiry: (field.version == Version::V5).then_some(86_400),
        receive_maximum: None,
    };
    MqttClient::connect_with(&field.mosquitto.address(), &connect).unwrap().1
}

/// The files in which a bridge remembers its subscriptions.
fn state_files(bridge: &Bridge) -> Vec<String> {
    let entries = fs::read_dir(bridge.dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let other = |name: &String| name == "config.toml" || name.ends_with(".log");
    names.filter(|name| !other(name)).collect()
}

#[test]
fn three_replicas_are_made_two() {
    let story = Story::new("three replicas made two");
    for version in Version::BOTH {
        let field = Field::start(&story, version, &Setup::default());
        let mut members: Vec<_> = (0..3).map(|number| field.join(&story, number)).collect();
        field.publisher.keep_publishing();
        members.iter().for_each(wait_share);

        let mut leaver = members.pop().unwrap();
        assert_eq!(leaver.terminate(), 0, "it drains");
        assert_eq!(state_files(&leaver).len(), 1, "{:?}", state_files(&leaver));
        // Its session goes on to take its share.
        field.wait_more(STRETCH);
        assert_eq!(leaver.leave(), 0, "see {}", leaver.dir().join("leave.log").display());
        assert_eq!(state_files(&leaver), [""; 0], "its state file is gone");
        field.wait_all();
        assert!(!has_session(&field, "bridge-2"), "its session is gone");

        // The other two get everything from here on.
        let received = |members: &[Bridge]| {
            let now = members.iter().map(|member| {
                member.wait_summary("nothing is in flight", SOON, |now| now.in_flight == 0)
            });
            now.map(|now| now.received).sum::<u64>()
        };
        let before = received(&members);
        field.publisher.publish(STRETCH);
        field.wait_all_published();
        // The record that `before` was read from may have been a second old.
        eventually("the two have them all", SOON, || received(&members) >= before + STRETCH);
        for member in &mut members {
            assert_eq!(member.terminate(), 0, "it drains");
            member.assert_logs_sound();
        }
        let verdict = field.verdict(&story);
        assert_eq!(verdict.duplicated, 0, "{verdict:?}");
    }
}

#[test]
fn a_member_that_cannot_deliver_does_not_leave() {
    const MESSAGES: u64 = 500;
    let story = Story::new("leave without Kafka");
    for version in Version::BOTH {
        let field = Field::start(&story, version, &Setup::default());
        let mut member = field.join(&story, 0);
        field.publisher.publish(MESSAGES);
        field.wait_all_published();
        assert_eq!(member.terminate(), 0, "it drains");
        field.publisher.publish(MESSAGES);
        field.publisher.wait_done(PATIENT);

        let mut config = field.config("bridge-0", "$share/bridge/devices/#");
        let nobody = format!("127.0.0.1:{}", free_port());
        member.reconfigure(config.clone().set("kafka", "brokers", json!([nobody])).set(
            "delivery",
            "drain_deadline",
            "2s",
        ));
        let log = member.dir().join("leave.log");
        assert_eq!(member.leave(), 3, "see {}", log.display());
        let log = fs::read_to_string(log).unwrap();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(r#""exit_code":3"#), "{last}");
        assert_eq!(field.reader.distinct(), MESSAGES);
        assert!(has_session(&field, "bridge-0"), "its session is kept");

        member.reconfigure(config.set("mqtt", "keep_alive", "30s"));
        assert_eq!(member.leave(), 0, "see {}", member.dir().join("leave.log").display());
        field.wait_all_published();
        assert!(!has_session(&field, "bridge-0"), "its session is gone");
        assert_eq!(field.verdict(&story).duplicated, 0);
    }
}
