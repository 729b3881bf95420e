//! `map --live` shows what comes, and takes nothing from anybody.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::group::{Field, STRETCH};
use crate::support::mosquitto::Setup;
use crate::support::process::Process;
use crate::support::*;

/// What a watcher has shown so far, between the lines of its log.
fn shown(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output).unwrap();
    let lines = text.lines().filter(|line| line.contains("\"outcome\""));
    lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_member_of_a_group_loses_nothing_while_its_routes_are_watched() {
    let story = Story::new("map live");
    for version in Version::BOTH {
        let field = Field::start(&story, version, &Setup::default());
        let mut member = field.join(&story, 0);
        let output = |name: &str| story.dir().join(format!("map-{name}-mqtt{}", version.level()));
        let watch = |output: &Path, more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
            command.args(["map", "--live", "--json", "--config"]).arg(member.config()).args(more);
            Process::start(command, output)
        };
        field.publisher.keep_publishing();

        let until_signal = output("until-signal");
        let mut watching = watch(&until_signal, &[]);
        eventually("it shows records", PATIENT, || shown(&until_signal).len() > 300);
        field.wait_more(STRETCH);
        watching.signal(libc::SIGTERM);
        assert_eq!(watching.wait(SOON), 0, "a signal ends it");
        for line in shown(&until_signal) {
            assert_eq!(line["outcome"], "record", "{line}");
            assert_eq!(line["key"], line["mqtt_topic"], "as the route says: {line}");
        }
        let text = std::fs::read_to_string(&until_signal).unwrap();
        assert!(text.contains("more messages, not shown"), "4,000 a second are not printed");

        let counted = output("counted");
        assert_eq!(watch(&counted, &["--count", "3"]).wait(SOON), 0);
        assert_eq!(shown(&counted).len(), 3);

        field.wait_all();
        member.wait_summary("nothing is in flight", SOON, |now| now.in_flight == 0);
        assert_eq!(member.terminate(), 0);
        member.assert_logs_sound();
        // Nothing lost: all went to the member.
        field.verdict(&story);
    }
}
