//! What a message becomes.

use std::sync::Arc;

use bytes::Bytes;

use super::index::Level;
use super::input::{Input, View};
use super::note::Note;
use super::payload;
use super::rule::{Key, Match, Route};
use super::sparkplug::Sparkplug;
use super::timestamp::Stamped;
use crate::message::{
    Destination, Destinations, KafkaTopicOrigin, Record, RecordExtras, RecordKey, Refusal, RouteId,
};

/// The reason code of a value that a template needs and the message does not have.
pub const VALUE_MISSING: &str = "value_missing";
/// The reason code of a Kafka topic's name that Kafka does not allow.
pub const KAFKA_TOPIC_ILLEGAL: &str = "kafka_topic_illegal";
/// The reason code of a partition that is not a number of 0 or more.
pub const PARTITION_ILLEGAL: &str = "partition_illegal";
/// The reason code of a timestamp that cannot be used.
pub const TIMESTAMP_ILLEGAL: &str = "timestamp_illegal";
/// The reason code of a payload that is not packed as its route says.
pub const NOT_DECOMPRESSED: &str = "payload_not_decompressed";
/// The reason code of a payload that is not Sparkplug B.
pub const NOT_SPARKPLUG: &str = "payload_not_sparkplug";

/// The routes in the order of the configuration. Each MQTT connection has a router of its own, in its
/// intake.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    match_: Match,
    /// Of their filters.
    index: Level,
    memory: Memory,
    notes: Vec<(RouteId, Note)>,
    requests: Vec<(String, Bytes)>,
}

/// What routing remembers of the messages of one connection. Begins empty, and is empty again after a
/// restart of the actor, since a panic may have left it half-changed
/// (docs/decisions/0016-records-by-destination.md).
#[derive(Debug)]
struct Memory {
    sparkplug: Sparkplug,
    /// For each route, in order: the messages since `sample` let one pass.
    since_sample: Vec<u32>,
}

impl Memory {
    /// Of this many routes.
    fn of(routes: usize) -> Self {
        Self { sparkplug: Sparkplug::default(), since_sample: vec![0; routes] }
    }
}

/// What a message became.
#[derive(Debug)]
pub struct Routed {
    /// Where it goes.
    pub destinations: Destinations,
    /// Whether a route matches: if so, and it has no destinations, it was dropped on purpose.
    pub is_matched: bool,
}

impl Router {
    /// A router over these routes that remembers nothing.
    pub fn new(routes: &[Route], match_: Match) -> Self {
        Self {
            routes: routes.iter().cloned().map(Arc::new).collect(),
            match_,
            index: Level::of(routes.iter().map(|route| &route.filter)),
            memory: Memory::of(routes.len()),
            notes: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// Forgets what it remembers, after a restart of the connection's actor.
    pub fn forget(&mut self) {
        self.memory = Memory::of(self.routes.len());
    }

    /// The routes, in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Whether a route matches.
    pub fn matches(&self, mqtt_topic: &[u8]) -> bool {
        self.index.first_match(mqtt_topic).is_some()
    }

    /// What is to be counted of the last message, by route.
    pub fn notes(&self) -> &[(RouteId, Note)] {
        &self.notes
    }

    /// What is to be published because of messages so far, at QoS 0: MQTT topics and payloads.
    pub fn take_requests(&mut self) -> Vec<(String, Bytes)> {
        std::mem::take(&mut self.requests)
    }

    /// What a message becomes.
    pub fn route(&mut self, input: &Input<'_>) -> Routed {
        self.notes.clear();
        debug_assert_eq!(self.match_, Match::First);
        let Some(first) = self.index.first_match(input.mqtt_topic) else {
            return Routed { destinations: Destinations::None, is_matched: false };
        };
        let route = Arc::clone(&self.routes[first]);
        let destinations =
            self.destination(input, &route, first).map_or(Destinations::None, Destinations::One);
        Routed { destinations, is_matched: true }
    }

    /// What this route, the one at `place`, makes of a message; nothing if it drops it.
    fn destination(
        &mut self,
        input: &Input<'_>,
        route: &Route,
        place: usize,
    ) -> Option<Destination> {
        let since_sample = &mut self.memory.since_sample[place];
        if let Some(reason) = route.gate.before_unpacking(input, since_sample) {
            self.notes.push((route.id, Note::Dropped(reason)));
            return None;
        }
        match self.record(input, route) {
            Ok(record) => record.map(Destination::Record),
            Err((reason, detail)) => {
                let refusal = Refusal { route: Some(route.id), ..Refusal::new(reason, detail) };
                Some(Destination::DeadLetter(Box::new(refusal)))
            }
        }
    }

    fn record(
        &mut self,
        input: &Input<'_>,
        route: &Route,
    ) -> Result<Option<Record>, (&'static str, String)> {
        let body = route
            .decompress
            .apply(input.payload, route.decompress_max_bytes)
            .map_err(|detail| (NOT_DECOMPRESSED, detail))?;
        let body = match route.payload {
            payload::PayloadForm::Sparkplug => {
                let decoded = self.memory.sparkplug.decode(input, route.sparkplug_rebirth, &body);
                let decoded = decoded.map_err(|detail| (NOT_SPARKPLUG, detail))?;
                self.notes.extend(decoded.notes.into_iter().map(|note| (route.id, note)));
                self.requests.extend(decoded.request);
                decoded.json
            }
            _ => body,
        };
        let view = View::new(input, &route.captures, body);
        if let Some(reason) = route.gate.after_unpacking(&view) {
            self.notes.push((route.id, Note::Dropped(reason)));
            return Ok(None);
        }
        let value = match route.tombstone && input.payload.is_empty() {
            true => None,
            false => Some(route.payload.apply(&view)?),
        };
        let missing = |unfilled: super::template::Unfilled| (VALUE_MISSING, unfilled.0);
        let (kafka_topic, origin) = match route.kafka_topic.as_fixed() {
            Some(fixed) => (Arc::clone(fixed), KafkaTopicOrigin::Configured),
            None => {
                let filled = route.kafka_topic.fill(&view).map_err(missing)?;
                let legal = route.illegal_names.apply(filled);
                let legal = legal.map_err(|detail| (KAFKA_TOPIC_ILLEGAL, detail))?;
                (legal.into(), KafkaTopicOrigin::Template(route.if_missing.clone()))
            }
        };
        let key = match &route.key {
            Key::MqttTopic => RecordKey::MqttTopic,
            Key::None => RecordKey::None,
            Key::Template(template) => {
                RecordKey::Bytes(template.fill(&view).map_err(missing)?.into())
            }
        };
        let partition = match &route.partition {
            None => None,
            Some(template) => {
                let filled = template.fill(&view).map_err(missing)?;
                let partition = filled.parse().ok().filter(|partition: &i32| *partition >= 0);
                let detail = || format!("expected a partition, 0 or more, found {filled:?}");
                Some(partition.ok_or_else(|| (PARTITION_ILLEGAL, detail()))?)
            }
        };
        let stamped = route.timestamp.of(&view);
        let timestamp_ms = match stamped.map_err(|detail| (TIMESTAMP_ILLEGAL, detail))? {
            Stamped::At(at) => at,
            Stamped::FellBack(at, _) => {
                self.notes.push((route.id, Note::TimestampFellBack));
                Some(at)
            }
        };
        let headers = route.headers.of(&view).map_err(missing)?;
        let is_plain = headers.is_empty() && partition.is_none() && timestamp_ms.is_none();
        let extras =
            (!is_plain).then(|| Box::new(RecordExtras { headers, partition, timestamp_ms }));
        Ok(Some(Record { route: route.id, kafka_topic, origin, key, value, extras }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Qos, RouteId, Stamp};
    use crate::route::PayloadForm;

    fn routed(router: &mut Router, mqtt_topic: &'static str, payload: &'static str) -> Routed {
        router.route(&Input {
            mqtt_topic: &Bytes::from(mqtt_topic),
            payload: &Bytes::from(payload),
            properties: &Bytes::new(),
            qos: Qos::AtLeastOnce,
            retain: false,
            dup: false,
            received_at: Stamp::now(),
            waited: std::time::Duration::ZERO,
            connection: &"mqtt".into(),
        })
    }

    fn route(filter: &str, kafka_topic: &str, payload: PayloadForm) -> Route {
        let filter = filter.parse().expect("a legal filter");
        Route { payload, ..Route::new(RouteId(0), filter, kafka_topic) }
    }

    #[test]
    fn the_first_route_that_matches_takes_the_message() {
        let routes = [
            route("sensors/+/temperature", "first", PayloadForm::Raw),
            route("sensors/#", "second", PayloadForm::Raw),
        ];
        let mut router = Router::new(&routes, Match::First);
        let mut kafka_topic =
            |mqtt_topic| match routed(&mut router, mqtt_topic, "").destinations.as_slice() {
                [Destination::Record(record)] => Some(record.kafka_topic.to_string()),
                [] => None,
                other => panic!("one record or none, found {other:?}"),
            };
        assert_eq!(kafka_topic("sensors/a/temperature").as_deref(), Some("first"));
        assert_eq!(kafka_topic("sensors/a/humidity").as_deref(), Some("second"));
        assert_eq!(kafka_topic("actors/a"), None);
    }

    #[test]
    fn what_is_not_json_on_a_json_route_goes_to_the_dead_letter_with_its_reason() {
        let mut router = Router::new(&[route("#", "t", PayloadForm::Json)], Match::First);
        let routed = routed(&mut router, "a", "{\"a\":");
        let [Destination::DeadLetter(refusal)] = routed.destinations.as_slice() else {
            panic!("must be refused");
        };
        assert_eq!(refusal.reason, "payload_not_json");
        assert!(refusal.detail.contains("line 1"), "{}", refusal.detail);
    }
}
