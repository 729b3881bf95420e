//! What the routes require of one another and of the connections that they take messages from.

use std::collections::{BTreeMap, BTreeSet};

use super::mqtt_config::{MQTT_STRING_MAX, MqttConfig, Protocol};
use super::mqtt_relations::same_broker;
use super::reading::{Complaint, Reading};
use super::resolved::Config;
use super::suggest::{distance, nearest, quoted};
use crate::route::{Match, PayloadForm, Route};

/// All contradictions.
pub(super) fn check(reading: &Reading) -> Vec<Complaint> {
    let config = reading.draft.clone().finish();
    let sections = reading.draft.mqtt.len();
    let are_names_known = (0..sections)
        .map(|at| reading.sibling("mqtt.name", at))
        .all(|name| reading.is_sound(&[&name]) && (sections == 1 || reading.is_written(&name)))
        && config.routes.iter().all(|route| reading.is_sound(&[format!("{}.from", route.id)]));
    // Without them it is not known which route takes from which connection.
    if !are_names_known {
        return Vec::new();
    }
    let mut complaints = from(reading, &config);
    if complaints.is_empty() {
        // What several connections have in common is wrong once.
        let mut wrong = BTreeSet::new();
        for section in config.mqtt_sections() {
            wrong.extend(filters(reading, &config.routes_of(section.first()), config.match_));
        }
        complaints.extend(wrong);
        complaints.extend(exclusive(reading, &config));
        complaints.extend(statuses(reading, &config));
        complaints.extend(sparkplug(reading, &config));
    }
    complaints
}

/// Each name in `from` is that of a connection, and each connection has a route.
fn from(reading: &Reading, config: &Config) -> Vec<Complaint> {
    let sections: Vec<_> =
        config.mqtt_sections().iter().map(|section| &*section.first().section).collect();
    let mut complaints = Vec::new();
    for route in &config.routes {
        let unknown = route.from.iter().find(|name| !sections.contains(&&***name));
        if let Some(name) = unknown {
            let near = nearest(name, sections.iter(), distance);
            let text = format!(
                "expected the names of connections (mqtt.name), found {}, did you mean {}?",
                quoted(name),
                quoted(&near)
            );
            complaints.push((format!("{}.from", route.id), text));
        }
    }
    complaints.extend(connections_of_tests(config, &sections));
    let all_known = complaints.is_empty() && !config.routes.is_empty();
    for (at, section) in sections.iter().enumerate().filter(|_| all_known) {
        if !config.routes.iter().any(|route| route.is_from(section)) {
            let text = format!(
                "expected a route that takes messages from {} (routes.from), found none",
                quoted(section)
            );
            complaints.push((reading.sibling("mqtt.name", at), text));
        }
    }
    complaints
}

/// Each example comes from a connection that its route takes messages from.
fn connections_of_tests(config: &Config, sections: &[&str]) -> Vec<Complaint> {
    let tests = config.routes.iter().flat_map(|route| {
        route.tests.iter().enumerate().map(move |(nth, test)| (route, nth, test))
    });
    tests
        .filter_map(|(route, nth, test)| {
            let name = test.connection.as_deref()?;
            let is_right = sections.contains(&name) && route.is_from(name);
            let text = format!(
                "expected the name of a connection (mqtt.name) that {} takes messages from, found {}",
                route.id,
                quoted(name)
            );
            (!is_right).then(|| (format!("{}.tests[{nth}].connection", route.id), text))
        })
        .collect()
}

/// Each filter occurs once for a connection, unless all routes that match take a message; and overlapping
/// filters are of one kind.
fn filters(reading: &Reading, all: &[Route], match_: Match) -> Vec<Complaint> {
    let path = |route: &Route| format!("{}.filter", route.id);
    let sound: Vec<_> = all.iter().filter(|route| reading.is_sound(&[path(route)])).collect();
    let mut complaints = Vec::new();
    for route in &sound {
        let found = route.filter.as_str().len();
        if found > MQTT_STRING_MAX {
            let text = format!(
                "expected at most {MQTT_STRING_MAX} bytes with the group before it, found {found}"
            );
            complaints.push((path(route), text));
        }
    }
    let mut first = BTreeMap::new();
    for route in sound.iter().filter(|_| match_ == Match::First) {
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

/// What only one client may subscribe is subscribed by one connection.
fn exclusive(reading: &Reading, config: &Config) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for route in config.routes.iter().filter(|route| route.filter.is_exclusive()) {
        let path = format!("{}.filter", route.id);
        let mut subscribers: Vec<&MqttConfig> = Vec::new();
        for mqtt in config.connections.iter().filter(|mqtt| route.is_from(&mqtt.section)) {
            let other = subscribers.iter().find(|other| same_broker(other, mqtt).is_some());
            let why = match (&mqtt.group, other) {
                (Some(group), _) => {
                    format!("the members of group {} would have it", quoted(group))
                }
                (None, Some(other)) => {
                    format!("{} and {} would have it", quoted(&other.name), quoted(&mqtt.name))
                }
                (None, None) => {
                    subscribers.push(mqtt);
                    continue;
                }
            };
            if reading.is_sound(&[&path]) {
                let text = format!(
                    "expected a filter for several clients, because {why} and the broker grants an \
                     exclusive subscription to one only, found {}",
                    quoted(route.filter.as_str())
                );
                complaints.push((path, text));
            }
            break;
        }
    }
    complaints
}

/// What a node sends is understood by its birth, which one member of a group alone would have.
fn sparkplug(reading: &Reading, config: &Config) -> Vec<Complaint> {
    let routes = config.routes.iter().filter(|route| route.payload == PayloadForm::Sparkplug);
    let complaints = routes.filter_map(|route| {
        let path = format!("{}.payload", route.id);
        let filter = format!("{}.filter", route.id);
        let mut takers = config.connections.iter().filter(|mqtt| route.is_from(&mqtt.section));
        let group = takers.find_map(|mqtt| mqtt.group.as_deref());
        let why = match group {
            Some(group) => format!("the members of group {}", quoted(group)),
            None if route.filter.is_shared() => {
                format!("several clients that share {}", quoted(route.filter.as_str()))
            }
            None => return None,
        };
        let text = format!(
            "expected a route of one connection without a group, because {why} would have a part of each \
             node's messages, and only one of them the birth certificate by which they are understood, \
             found \"sparkplug\""
        );
        reading.is_sound(&[&path, &filter]).then_some((path, text))
    });
    complaints.collect()
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

/// No route forwards what the bridge itself publishes as its status. Over MQTT 5 the broker does not send
/// it back to the connection that published it (No Local), except for a shared subscription, where No
/// Local is not allowed (MQTT 5, section 3.8.3.1).
fn statuses(reading: &Reading, config: &Config) -> Vec<Complaint> {
    let sections = config.mqtt_sections();
    let at_of = |mqtt: &MqttConfig| {
        sections.iter().position(|section| section.first().section == mqtt.section).unwrap_or(0)
    };
    let mut wrong = BTreeSet::new();
    for publisher in &config.connections {
        let Some(status) = &publisher.status else { continue };
        let path = reading.sibling("mqtt.status.mqtt_topic", at_of(publisher));
        let subscribers =
            config.connections.iter().filter(|other| same_broker(publisher, other).is_some());
        let matching = subscribers.flat_map(|subscriber| {
            let routes = config.routes_of(subscriber).into_iter();
            let matching = routes.filter(|route| route.filter.matches(&status.mqtt_topic));
            matching.map(move |route| (subscriber, route))
        });
        for (subscriber, route) in matching {
            let filter_path = format!("{}.filter", route.id);
            if !reading.is_sound(&[&path, &filter_path]) {
                continue;
            }
            let why = if subscriber.name != publisher.name {
                "because the broker sends it to other connections"
            } else if route.filter.is_shared() {
                "because the broker may send it back through a shared subscription"
            } else if subscriber.protocol != Protocol::V5 {
                "because the broker would send it back over MQTT 3.1.1 (over mqtt.protocol = \"5\" it \
                 does not)"
            } else {
                continue;
            };
            let text = format!(
                "expected an MQTT topic that no route forwards, {why}, found {}, which {} of {} matches",
                quoted(&status.mqtt_topic),
                quoted(route.filter.as_str()),
                route.id
            );
            wrong.insert((path.clone(), route.id.0, text));
        }
    }
    // One error for each route is enough.
    let mut complaints: Vec<_> = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, route, text) in wrong {
        if seen.insert((path.clone(), route)) {
            complaints.push((path, text));
        }
    }
    complaints
}
