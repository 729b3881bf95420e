//! Which records a dead letter becomes by the routes of today. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::kafka::dead_letter::letter::{Letter, Unreadable};
use mqtt_kafka_bridge::message::{Destination, Destinations, Header, Qos, Record, Stamp};
use mqtt_kafka_bridge::route::{Input, Match, Route, Router, caught};

/// The routes of today.
pub(super) struct Routes {
    /// By section.
    sections: BTreeMap<Arc<str>, Section>,
    /// The section of a letter that names none.
    first: Arc<str>,
    match_: Match,
    /// The route of a letter whose own is gone.
    substitute: Option<String>,
}

/// Those of one connection, or of the members of a group.
struct Section {
    routes: Vec<Route>,
    /// Of all of them.
    router: Router,
    /// With `match = "all"`: of one route alone, by its name.
    alone: HashMap<Arc<str>, Router>,
}

/// What a dead letter becomes.
#[derive(Debug)]
pub(super) struct Replayable {
    pub(super) mqtt_topic: Bytes,
    pub(super) parts: Vec<Part>,
}

/// One record of a message.
#[derive(Debug)]
pub(super) struct Part {
    /// The route that makes it.
    pub(super) route: Arc<str>,
    pub(super) record: Record,
}

/// Why a dead letter becomes no record.
#[derive(Debug)]
pub(super) struct NotNow {
    pub(super) why: String,
    /// Another configuration could send it: what is behind it in its MQTT topic waits for it.
    pub(super) is_awaited: bool,
}

impl NotNow {
    fn awaited(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_awaited: true }
    }

    fn never(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_awaited: false }
    }
}

impl From<Unreadable> for NotNow {
    fn from(unreadable: Unreadable) -> Self {
        Self::never(unreadable.to_string())
    }
}

impl Routes {
    /// Those of the configuration; a letter whose route is gone goes through `substitute`.
    ///
    /// # Errors
    /// There is no route of that name.
    pub(super) fn new(config: &Config, substitute: Option<&str>) -> Result<Self, String> {
        if let Some(name) = substitute
            && !config.routes.iter().any(|route| *route.name == *name)
        {
            return Err(format!("--as-route: expected the name of a route, found {name:?}"));
        }
        let sections = config.connections.iter().map(|mqtt| {
            let routes = config.routes_of(mqtt);
            (Arc::clone(&mqtt.section), Section::new(routes, config.match_))
        });
        let first = config.connections.first();
        Ok(Self {
            sections: sections.collect(),
            first: first.map(|mqtt| Arc::clone(&mqtt.section)).unwrap_or_default(),
            match_: config.match_,
            substitute: substitute.map(str::to_owned),
        })
    }

    /// What a dead letter becomes.
    ///
    /// # Errors
    /// Why it becomes nothing.
    pub(super) fn records(&mut self, letter: &Letter<'_>) -> Result<Replayable, NotNow> {
        let fields = &letter.fields;
        let payload = Bytes::copy_from_slice(letter.whole_payload()?);
        let mqtt_topic = letter.mqtt_topic()?;
        let properties = letter.properties()?;
        if std::str::from_utf8(&mqtt_topic).is_err() || fields.reason == "mqtt_topic_not_utf8" {
            return Err(NotNow::never("expected an MQTT topic of UTF-8"));
        }
        let received_at = stamp(&fields.received_at).map_err(NotNow::never)?;
        let connection = fields.connection.as_deref().unwrap_or(&self.first);
        let Some((connection, section)) = self.sections.get_key_value(connection) else {
            let why = format!("its connection is gone: there is no mqtt.name = {connection:?}");
            return Err(NotNow::awaited(why));
        };
        let connection = Arc::clone(connection);
        let alone = match (self.match_, fields.route.as_deref()) {
            (Match::All, Some(name)) => Some(section.named(name, self.substitute.as_deref())?),
            _ => None,
        };
        let input = Input {
            mqtt_topic: &mqtt_topic,
            payload: &payload,
            properties: &properties,
            qos: if fields.mqtt_qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            retain: fields.mqtt_retain,
            dup: false,
            received_at,
            waited: Duration::ZERO,
            connection: &connection,
        };
        let section = self.sections.entry(Arc::clone(&connection)).or_default();
        let router = match alone {
            None => &mut section.router,
            // The other routes had their part of the message.
            Some(route) => section
                .alone
                .entry(Arc::clone(&route.name))
                .or_insert_with(|| Router::new(&[route], Match::First)),
        };
        let routed = caught::route(router, &input);
        let routed =
            routed.map_err(|it| NotNow::awaited(format!("{}: {}", it.reason, it.detail)))?;
        let dropped = router.notes().iter().map(|(_, note)| format!("{note:?}"));
        let dropped = dropped.collect::<Vec<_>>().join(", ");
        drop(router.take_requests());
        if !routed.is_matched {
            return Err(NotNow::awaited("no route matches it"));
        }
        let marks = marks(&fields.id);
        let part = |mut record: Record| {
            let route = router.routes().iter().find(|route| route.id == record.route);
            record.extras.get_or_insert_default().headers.extend(marks.iter().cloned());
            Part { route: route.map(|route| Arc::clone(&route.name)).unwrap_or_default(), record }
        };
        let records = records_of(&routed.destinations).map_err(NotNow::awaited)?;
        if records.is_empty() {
            return Err(NotNow::never(format!("its route drops it: {dropped}")));
        }
        let parts = records.into_iter().map(part).collect();
        Ok(Replayable { mqtt_topic, parts })
    }
}

impl Default for Section {
    fn default() -> Self {
        Self::new(Vec::new(), Match::First)
    }
}

impl Section {
    fn new(mut routes: Vec<Route>, match_: Match) -> Self {
        for route in &mut routes {
            // These look at messages before this one, and it has passed them once.
            route.gate.sample = None;
            route.gate.dedupe = false;
        }
        Self { router: Router::new(&routes, match_), routes, alone: HashMap::new() }
    }

    /// The one route of this name; if there is none, the one that stands in for it.
    fn named(&self, name: &str, substitute: Option<&str>) -> Result<Route, NotNow> {
        let of = |name: &str| {
            let mut named = self.routes.iter().filter(|route| *route.name == *name);
            (named.next(), named.next())
        };
        let gone = "its route is gone";
        match (of(name), substitute) {
            ((Some(route), None), _) => Ok(route.clone()),
            ((Some(_), Some(_)), _) => {
                Err(NotNow::awaited(format!("several routes have the name of its route, {name:?}")))
            }
            ((None, _), None) => Err(NotNow::awaited(format!("{gone}: {name:?}"))),
            ((None, _), Some(substitute)) => match of(substitute) {
                (Some(route), None) => Ok(route.clone()),
                _ => {
                    let why = format!("{gone}, and its connection has no one route {substitute:?}");
                    Err(NotNow::awaited(why))
                }
            },
        }
    }
}

/// All of them, if none is refused again: half a message in Kafka could not be told from a whole one.
fn records_of(destinations: &Destinations) -> Result<Vec<Record>, String> {
    let each = destinations.as_slice().iter().map(|destination| match destination {
        Destination::Record(record) => Ok(record.clone()),
        Destination::DeadLetter(refusal) => Err(format!("{}: {}", refusal.reason, refusal.detail)),
    });
    each.collect()
}

/// By which a consumer knows it.
fn marks(id: &str) -> [Header; 2] {
    let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let name = |name: &str| Arc::from(CString::new(name).unwrap_or_default());
    [
        Header { name: name("bridge.replayed_at"), value: Some(now.into()) },
        Header { name: name("bridge.dead_letter_id"), value: Some(id.to_owned().into()) },
    ]
}

fn stamp(received_at: &str) -> Result<Stamp, String> {
    let expected = || format!("expected received_at in RFC 3339, found {received_at:?}");
    let at = received_at.parse::<jiff::Timestamp>().map_err(|_| expected())?;
    let wall_us = u64::try_from(at.as_microsecond()).map_err(|_| expected())?;
    Ok(Stamp { wall_us, ..Stamp::now() })
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
