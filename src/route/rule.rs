//! A rule of the configuration: which messages it takes, and what records it makes of them.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::captures::Captures;
use super::decompress::Decompress;
use super::device_time::DeviceTime;
use super::filter::Filter;
use super::gate::Gate;
use super::headers::Headers;
use super::json_pointers::JsonPointers;
use super::kafka_name::IllegalNames;
use super::payload::PayloadForm;
use super::template::Template;
use super::timestamp::Timestamp;
use crate::message::{IfMissing, Qos, RouteId, RouteName};

/// One rule: an MQTT filter to subscribe, which of its messages are forwarded, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its number, by which metrics are kept.
    pub id: RouteId,
    /// What logs, metrics and dead letters call it.
    pub name: Arc<str>,
    /// The filter that is subscribed and matched.
    pub filter: Filter,
    /// The names of levels of the filter.
    pub captures: Captures,
    /// The names of the connections that it takes messages from; empty: all of them.
    pub from: Vec<Arc<str>>,
    /// The QoS to ask for.
    pub qos: Qos,
    /// Which of its messages are dropped.
    pub gate: Gate,
    /// How a payload is unpacked before anything looks into it.
    pub decompress: Decompress,
    /// The most bytes of an unpacked payload.
    pub decompress_max_bytes: usize,
    /// How a payload becomes a value.
    pub payload: PayloadForm,
    /// An empty payload becomes a null value.
    pub tombstone: bool,
    /// With [`PayloadForm::Sparkplug`]: a node whose birth is unknown is asked for it.
    pub sparkplug_rebirth: bool,
    /// The Kafka topic of its records.
    pub kafka_topic: Template,
    /// What of a filled Kafka topic Kafka does not allow.
    pub illegal_names: IllegalNames,
    /// What becomes of a record whose Kafka topic does not exist, if a template names it.
    pub if_missing: IfMissing,
    /// The key of its records.
    pub key: Key,
    /// The partition of its records; `None`: by the key.
    pub partition: Option<Template>,
    /// The timestamp of its records.
    pub timestamp: Timestamp,
    /// Where its messages have their device's own time.
    pub device_time: DeviceTime,
    /// The headers of its records.
    pub headers: Headers,
    /// The fields of JSON that it reads; [`Route::bind`] collects them.
    pub pointers: JsonPointers,
    /// Examples that `check --test` runs.
    pub tests: Vec<RouteTest>,
}

/// `key`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Key {
    /// The MQTT topic, which is not kept twice.
    #[default]
    MqttTopic,
    /// None: the record goes to the partition of its MQTT topic.
    None,
    /// What the template makes.
    Template(Template),
}

/// `match`: which of the routes that match a message take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Match {
    /// The first one.
    #[default]
    First,
    /// Each of them.
    All,
}

/// `[[routes.tests]]`: a message, and what it has to become. What is `None` is not compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteTest {
    /// The MQTT topic it is published to.
    pub mqtt_topic: String,
    /// The payload.
    pub payload: TestPayload,
    /// RETAIN.
    pub retain: bool,
    /// 0 or 1.
    pub qos: u8,
    /// User properties, in order.
    pub user_properties: Vec<(String, String)>,
    /// Content type.
    pub content_type: Option<String>,
    /// Response topic.
    pub response_topic: Option<String>,
    /// Correlation data.
    pub correlation_data: Option<String>,
    /// The connection (`mqtt.name`) that brings it; the first of the route if it is not named.
    pub connection: Option<String>,
    /// What this route makes of it.
    pub expect: Expected,
}

/// The payload of a [`RouteTest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestPayload {
    /// Text.
    Text(String),
    /// Bytes, written as base64.
    Bytes(Vec<u8>),
    /// The content of a file; a relative path starts at the configuration's directory.
    File(PathBuf),
}

impl Default for TestPayload {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// What a [`RouteTest`] expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A record.
    Record(ExpectedRecord),
    /// It is dropped for this reason ([`DropReason::name`](super::note::DropReason::name)).
    Dropped(String),
    /// It goes to the dead letter for this reason.
    DeadLetter(String),
}

impl Default for Expected {
    fn default() -> Self {
        Self::Record(ExpectedRecord::default())
    }
}

/// A record, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpectedRecord {
    /// Its Kafka topic.
    pub kafka_topic: Option<String>,
    /// Its key; empty: none.
    pub key: Option<String>,
    /// Its value. Where both are JSON, the documents are compared and not their text.
    pub value: Option<String>,
    /// It has no value.
    pub is_tombstone: bool,
    /// Headers that it has, among others.
    pub headers: Vec<(String, String)>,
    /// Its partition.
    pub partition: Option<i32>,
    /// Its timestamp, RFC 3339.
    pub timestamp: Option<String>,
}

/// How records of a route are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Those of one MQTT topic are, since its messages have one partition.
    MqttTopic,
    /// Those of one key are; messages of one MQTT topic can spread over partitions.
    Key,
    /// Those of one partition are, which a template names.
    Partition,
}

impl Route {
    /// A route with every default: the payload unchanged, the MQTT topic as key, QoS 1.
    pub fn new(id: RouteId, filter: Filter, kafka_topic: &str) -> Self {
        Self {
            id,
            name: filter.as_str().into(),
            filter,
            captures: Captures::default(),
            from: Vec::new(),
            qos: Qos::AtLeastOnce,
            gate: Gate::default(),
            decompress: Decompress::default(),
            decompress_max_bytes: DECOMPRESS_MAX_BYTES,
            payload: PayloadForm::default(),
            tombstone: false,
            sparkplug_rebirth: false,
            kafka_topic: Template::fixed(kafka_topic),
            illegal_names: IllegalNames::default(),
            if_missing: IfMissing::default(),
            key: Key::default(),
            partition: None,
            timestamp: Timestamp::default(),
            device_time: DeviceTime::default(),
            headers: Headers::default(),
            pointers: JsonPointers::default(),
            tests: Vec::new(),
        }
    }

    /// What people know it by.
    pub fn known_as(&self) -> RouteName {
        RouteName { name: Arc::clone(&self.name), mqtt_filter: self.filter.as_str().into() }
    }

    /// Whether it takes messages from the connection of this section.
    pub fn is_from(&self, section: &str) -> bool {
        self.from.is_empty() || self.from.iter().any(|name| **name == *section)
    }
}

/// Those of `routes` that are subscribed: of several with one filter, as `match = "all"` allows, only the first
/// with the highest QoS.
pub fn subscribed<R: Borrow<Route> + Clone>(routes: &[R]) -> Vec<R> {
    let mut chosen: BTreeMap<&str, (Qos, usize)> = BTreeMap::new();
    for (place, route) in routes.iter().enumerate() {
        let route = route.borrow();
        let best = chosen.entry(route.filter.as_str()).or_insert((route.qos, place));
        if route.qos > best.0 {
            *best = (route.qos, place);
        }
    }
    let is_chosen = |place, route: &Route| chosen[route.filter.as_str()].1 == place;
    let places = routes.iter().enumerate();
    places
        .filter(|(at, route)| is_chosen(*at, (*route).borrow()))
        .map(|(_, it)| it.clone())
        .collect()
}

/// The default of [`Route::decompress_max_bytes`].
pub const DECOMPRESS_MAX_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_routes_with_one_filter_the_first_with_the_highest_qos_is_subscribed() {
        let routes = [("a", 0), ("b", 1), ("a", 1), ("b", 1), ("a", 1), ("#", 0)];
        let routes = (0..).zip(routes).map(|(at, (filter, qos))| Route {
            qos: if qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            ..Route::new(RouteId(at), filter.parse().expect("legal"), "k")
        });
        let routes: Vec<_> = routes.collect();
        let ids: Vec<_> = subscribed(&routes).iter().map(|route| route.id.0).collect();
        assert_eq!(ids, [1, 2, 5]);
    }
}
