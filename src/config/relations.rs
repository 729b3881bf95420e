//! Keys that depend on one another. A relation is checked only if each of its keys is legal by itself.

use super::mqtt_relations;
use super::reading::{Complaint, Reading};
use super::record_relations;
use super::route_relations;
use crate::route::Route;

/// All contradictions between keys.
pub(super) fn check(reading: &Reading) -> Vec<Complaint> {
    let supervisor = &reading.draft.config.supervisor;
    let (min, max) = (supervisor.backoff_min, supervisor.backoff_max);
    let backoff = reading.ordered(("supervisor.backoff_min", min), ("supervisor.backoff_max", max));
    let mut complaints: Vec<_> = backoff.into_iter().collect();
    complaints.extend(mqtt_relations::check(reading));
    complaints.extend(route_relations::check(reading));
    complaints.extend(record_relations::check(reading));
    complaints.extend(dead_letter(reading));
    complaints.extend(http(reading));
    complaints
}

/// No route writes to the Kafka topic of the dead letters.
fn dead_letter(reading: &Reading) -> Option<Complaint> {
    let path = "dead_letter.kafka_topic";
    let config = &reading.draft.config;
    let kafka_topic = config.dead_letter.kafka_topic.as_deref()?;
    let writes =
        |route: &&Route| route.kafka_topic.as_fixed().is_some_and(|fixed| **fixed == *kafka_topic);
    let route = config.routes.iter().find(writes)?;
    let text = format!(
        "expected a Kafka topic that no route writes to, found {}, which {} writes to",
        reading.found(path),
        route.id
    );
    Some((path.to_owned(), text))
}

/// A certificate needs its key, and a key its certificate.
fn http(reading: &Reading) -> Vec<Complaint> {
    let pairs = [("http.cert_file", "http.key_file"), ("http.key_file", "http.cert_file")];
    let lone = |(key, other): &(&str, &str)| reading.is_written(key) && !reading.is_written(other);
    let complaint =
        |(key, other): (&str, &str)| (key.to_owned(), format!("expected {other} too, found none"));
    pairs.into_iter().filter(lone).map(complaint).collect()
}
