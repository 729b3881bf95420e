//! What the keys of one route require of one another, and the names of routes.

use std::collections::BTreeMap;

use super::keys::TESTS;
use super::reading::{Complaint, Reading};
use super::route_draft::Missing;
use super::suggest::quoted;

/// All contradictions.
pub(super) fn check(reading: &Reading) -> Vec<Complaint> {
    let routes = 0..reading.draft.routes.len();
    let mut complaints: Vec<_> = routes.flat_map(|at| of_route(reading, at)).collect();
    complaints.extend(names(reading));
    let tests = 0..reading.draft.tests.len();
    complaints.extend(tests.flat_map(|at| of_test(reading, at)));
    complaints
}

/// Of one route.
fn of_route(reading: &Reading, at: usize) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let path = |name: &str| format!("routes[{at}].{name}");
    let is_written = |name: &str| reading.is_written(&path(name));
    let is_sound = |names: &[&str]| {
        let paths: Vec<_> = names.iter().map(|name| path(name)).collect();
        reading.is_sound(&paths)
    };
    let route = &reading.draft.config.routes[at];
    if reading.draft.routes[at].missing != Missing::Create && is_sound(&["missing_topic"]) {
        let without_effect = ["create_partitions", "create_replication", "create_config"];
        for name in without_effect.into_iter().filter(|name| is_written(name)) {
            let text = "expected missing_topic = \"create\" with it, found another".to_owned();
            complaints.push((path(name), text));
        }
    }
    if is_written("bridge_id_from") && !route.headers.bridge_id && is_sound(&["bridge_id"]) {
        let text = "expected bridge_id = true with it, found false".to_owned();
        complaints.push((path("bridge_id_from"), text));
    }
    complaints
}

/// Of one example: it has one payload, and expects one thing.
fn of_test(reading: &Reading, at: usize) -> Vec<Complaint> {
    const PAYLOADS: [&str; 3] = ["payload", "payload_base64", "payload_file"];
    const RECORD: [&str; 7] =
        ["kafka_topic", "key", "value", "tombstone", "headers", "partition", "timestamp"];
    let label = reading.source.label(TESTS, at);
    let path = |name: &str| format!("{label}.{name}");
    let is_written = |name: &&str| reading.is_written(&path(name));
    let mut complaints = Vec::new();
    let mut only_one = |written: &[&str]| {
        if let [first, .., last] = written {
            let text = format!("expected either it or {first}, found both");
            complaints.push((path(last), text));
        }
    };
    let payloads: Vec<_> = PAYLOADS.into_iter().filter(is_written).collect();
    only_one(&payloads);
    let record: Vec<_> = RECORD.into_iter().filter(is_written).take(1).collect();
    let instead = ["dropped", "dead_letter"].into_iter().filter(is_written);
    let expected: Vec<_> = record.into_iter().chain(instead).collect();
    only_one(&expected);
    if is_written(&"value") && reading.draft.tests[at].record.is_tombstone {
        only_one(&["value", "tombstone"]);
    }
    if expected.is_empty() && reading.is_sound(&[path("mqtt_topic")]) {
        let all = RECORD.into_iter().chain(["dropped"]).collect::<Vec<_>>().join(", ");
        complaints
            .push((label.clone(), format!("expected one of {all} or dead_letter, found none")));
    }
    complaints
}

/// Each name occurs once. Names that are filters do so if the filters do.
fn names(reading: &Reading) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut first = BTreeMap::new();
    let config = reading.draft.clone().finish();
    for route in &config.routes {
        let path = format!("{}.name", route.id);
        let filter = format!("{}.filter", route.id);
        if !reading.is_sound(&[&path, &filter]) {
            continue;
        }
        if let Some(earlier) = first.insert(route.name.clone(), route.id)
            && reading.is_written(&path)
        {
            let name = quoted(&route.name);
            let text = format!("expected each name only once, found {name} for {earlier} too");
            complaints.push((path, text));
        }
    }
    complaints
}
