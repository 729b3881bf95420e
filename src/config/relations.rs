//! Keys that depend on one another. A relation is checked only if each of its keys is legal by itself.

use super::mqtt_relations;
use super::reading::{Complaint, Reading};
use super::route_relations;

/// All contradictions between keys.
pub(super) fn check(reading: &Reading) -> Vec<Complaint> {
    let supervisor = &reading.draft.config.supervisor;
    let (min, max) = (supervisor.backoff_min, supervisor.backoff_max);
    let backoff = reading.ordered(("supervisor.backoff_min", min), ("supervisor.backoff_max", max));
    let mut complaints: Vec<_> = backoff.into_iter().collect();
    complaints.extend(mqtt_relations::check(reading));
    complaints.extend(route_relations::check(reading));
    complaints.extend(dead_letter(reading));
    complaints.extend(http(reading));
    complaints
}

/// No route writes to the Kafka topic of the dead letters.
fn dead_letter(reading: &Reading) -> Option<Complaint> {
    let path = "dead_letter.kafka_topic";
    let config = &reading.draft.config;
    let kafka_topic = config.dead_letter.kafka_topic.as_deref()?;
    let route = config.routes.iter().find(|route| *route.kafka_topic == *kafka_topic)?;
    let text = format!(
        "expected a Kafka topic that no route writes to, found {}, which {} writes to",
        reading.found(path),
        route.id
    );
    Some((path.to_owned(), text))
}

/// Who can reach the pages from elsewhere needs the token; a certificate needs its key.
fn http(reading: &Reading) -> Vec<Complaint> {
    let http = &reading.draft.config.http;
    let mut complaints = Vec::new();
    let keys = ["http.listen", "http.token_file"];
    let open = http.listen.filter(|at| !at.ip().is_loopback() && http.token_file.is_none());
    if let Some(at) = open.filter(|_| reading.is_sound(&keys)) {
        let text = format!(
            "expected http.token_file too, because others than this machine can reach {at}, found none"
        );
        complaints.push((keys[0].to_owned(), text));
    }
    for (key, other) in [("http.cert_file", "http.key_file"), ("http.key_file", "http.cert_file")] {
        if reading.is_written(key) && !reading.is_written(other) {
            complaints.push((key.to_owned(), format!("expected {other} too, found none")));
        }
    }
    complaints
}
