//! Keys that depend on one another. A relation is checked only if each of its keys is legal by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use super::mqtt_config::Protocol;
use super::reading::Reading;
use super::suggest::quoted;
use crate::route::Route;

/// The path of a key, and what is wrong with it.
type Complaint = (String, String);

/// All contradictions between keys.
pub(super) fn check(reading: &Reading) -> Vec<Complaint> {
    let config = &reading.draft.config;
    let supervisor = &config.supervisor;
    let (min, max) = (supervisor.backoff_min, supervisor.backoff_max);
    let backoff =
        ordered(reading, ("supervisor.backoff_min", min), ("supervisor.backoff_max", max));
    let mut complaints: Vec<_> = backoff.into_iter().collect();
    for at in 0..config.connections.len() {
        let mqtt = &config.connections[at];
        let (min, max) = (mqtt.reconnect_min, mqtt.reconnect_max);
        complaints.extend(ordered(
            reading,
            ("mqtt.reconnect_min", min),
            ("mqtt.reconnect_max", max),
        ));
        complaints.extend(client_id(reading, at));
        complaints.extend(login(reading, at));
    }
    complaints.extend(routes(reading));
    complaints.extend(dead_letter(reading));
    complaints
}

/// Of two durations the first must not exceed the second.
fn ordered(
    reading: &Reading,
    (min, low): (&str, Duration),
    (max, high): (&str, Duration),
) -> Option<Complaint> {
    if !reading.is_sound(&[min, max]) || low <= high {
        return None;
    }
    // The error belongs to the key that was written.
    let (low, high) = (humantime::format_duration(low), humantime::format_duration(high));
    Some(match reading.is_written(min) {
        true => (min.to_owned(), format!("expected at most {max} ({high}), found {low}")),
        false => (max.to_owned(), format!("expected at least {min} ({low}), found {high}")),
    })
}

fn client_id(reading: &Reading, at: usize) -> Option<Complaint> {
    let mqtt = &reading.draft.config.connections[at];
    let keys = ["mqtt.client_id", "mqtt.session_expiry"];
    let is_missing = mqtt.client_id.is_empty() && mqtt.session_expiry_s > 0;
    (reading.is_sound(&keys) && is_missing).then(|| {
        let text = "expected a stable name, such as \"bridge-1\", because the session is persistent \
                    (mqtt.session_expiry), found none";
        ("mqtt.client_id".to_owned(), text.to_owned())
    })
}

/// User name and password come from their keys, from the file or from the URL, but each from one only.
fn login(reading: &Reading, at: usize) -> Vec<Complaint> {
    let (mqtt, login) = (&reading.draft.config.connections[at], &reading.draft.logins[at]);
    let mut complaints = Vec::new();
    let mut complain = |key: &str, text: String| complaints.push((key.to_owned(), text));
    if mqtt.password.is_some() && login.file_password.is_some() {
        complain(
            "mqtt.password_file",
            "expected either mqtt.password_file or mqtt.password, found both".to_owned(),
        );
    }
    let has_own = mqtt.password.is_some() || login.file_password.is_some();
    if mqtt.username.is_some() && login.url_username.is_some() {
        let text = "expected the user name either here or in mqtt.url, found both";
        complain("mqtt.username", text.to_owned());
    }
    if has_own && login.url_password.is_some() {
        let text = "expected the password either here or in mqtt.url, found both";
        complain("mqtt.password", text.to_owned());
    }
    let has_password = has_own || login.url_password.is_some();
    let has_username = mqtt.username.is_some() || login.url_username.is_some();
    let keys = ["mqtt.url", "mqtt.username", "mqtt.protocol"];
    if reading.is_sound(&keys) && has_password && !has_username && mqtt.protocol != Protocol::V5 {
        let text = "expected a user name with the password, because MQTT 3.1.1 does not allow a \
                    password alone (mqtt.protocol = \"5\" does), found none";
        complain("mqtt.username", text.to_owned());
    }
    complaints
}

/// Each filter occurs once, and overlapping filters are of one kind.
fn routes(reading: &Reading) -> Vec<Complaint> {
    let path = |route: &Route| format!("{}.filter", route.id);
    let all = &reading.draft.config.routes;
    let sound: Vec<_> = all.iter().filter(|route| reading.is_sound(&[&path(route)])).collect();
    let mut complaints = Vec::new();
    let mut first = BTreeMap::new();
    for route in &sound {
        if let Some(earlier) = first.insert(route.filter.as_str(), route.id) {
            let path = path(route);
            let found = reading.found(&path);
            let text = format!("expected each filter only once, found {found} in {earlier} too");
            complaints.push((path, text));
        }
    }
    if sound.len() == all.len() {
        complaints.extend(disagreeing(all).map(|(earlier, route)| {
            let text = format!(
                "expected no MQTT topic in common with {} of {}, found {}: the \
                     broker would send each message for both; only filters that are all plain, or all \
                     of one shared group, may overlap",
                quoted(earlier.filter.as_str()),
                earlier.id,
                quoted(route.filter.as_str())
            );
            (path(route), text)
        }));
    }
    complaints
}

/// Pairs of filters with MQTT topics in common that are plain and shared, or of two groups. The broker
/// sends each message for both, and if the groups have several members, the bridge cannot recognise the
/// copies.
fn disagreeing(routes: &[Route]) -> impl Iterator<Item = (&Route, &Route)> {
    routes.iter().enumerate().filter_map(|(index, route)| {
        let earlier = routes[..index].iter().find(|r| !r.filter.agrees_with(&route.filter))?;
        Some((earlier, route))
    })
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
