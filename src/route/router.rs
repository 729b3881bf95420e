//! What a message becomes.

use std::sync::Arc;

use bytes::Bytes;

use super::index::Level;
use super::payload;
use super::rule::Route;
use crate::message::{Destination, Destinations, Record, Refusal};

/// The routes in the order of the configuration; the first that matches takes the message. Each MQTT
/// connection has a router of its own, in its intake.
#[derive(Debug)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    /// Of their filters.
    index: Level,
    memory: Memory,
}

/// What routing remembers of the messages of one connection, such as aliases or the last value of an MQTT
/// topic, if a later rule asks for it; so far none does. Begins empty, and is empty again after a restart of
/// the actor, since a panic may have left it half-changed
/// (docs/decisions/0016-records-by-destination.md).
#[derive(Debug, Default)]
struct Memory;

impl Router {
    /// A router over these routes that remembers nothing.
    pub fn new(routes: &[Route]) -> Self {
        Self {
            routes: routes.iter().cloned().map(Arc::new).collect(),
            index: Level::of(routes.iter().map(|route| &route.filter)),
            memory: Memory,
        }
    }

    /// Forgets what it remembers, after a restart of the connection's actor.
    pub fn forget(&mut self) {
        self.memory = Memory;
    }

    /// The routes, in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Whether a route matches.
    pub fn matches(&self, mqtt_topic: &[u8]) -> bool {
        self.index.first_match(mqtt_topic).is_some()
    }

    /// What a message becomes; nothing if no route matches. Takes `&mut self` for what routing
    /// remembers.
    pub fn route(&mut self, mqtt_topic: &Bytes, payload: &Bytes) -> Destinations {
        let Some(first) = self.index.first_match(mqtt_topic) else { return Destinations::None };
        let route = &self.routes[first];
        Destinations::One(match route.payload.apply(payload) {
            Ok(value) => {
                let kafka_topic = Arc::clone(&route.kafka_topic);
                Destination::Record(Record::new(route.id, kafka_topic, value))
            }
            Err(detail) => {
                let refusal = Refusal { reason: payload::REFUSED, detail, whole: None };
                Destination::DeadLetter(Box::new(refusal))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Qos, RouteId};
    use crate::route::PayloadForm;

    fn route(filter: &str, kafka_topic: &str, payload: PayloadForm) -> Route {
        Route {
            id: RouteId(0),
            filter: filter.parse().expect("a legal filter"),
            qos: Qos::AtLeastOnce,
            kafka_topic: kafka_topic.into(),
            payload,
            from: Vec::new(),
        }
    }

    #[test]
    fn the_first_route_that_matches_takes_the_message() {
        let mut router = Router::new(&[
            route("sensors/+/temperature", "first", PayloadForm::Raw),
            route("sensors/#", "second", PayloadForm::Raw),
        ]);
        let mut kafka_topic = |mqtt_topic: &'static str| match router
            .route(&Bytes::from(mqtt_topic), &Bytes::new())
            .as_slice()
        {
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
        let mut router = Router::new(&[route("#", "t", PayloadForm::Json)]);
        let routed = router.route(&Bytes::from("a"), &Bytes::from("{\"a\":"));
        let [Destination::DeadLetter(refusal)] = routed.as_slice() else {
            panic!("must be refused");
        };
        assert_eq!(refusal.reason, "payload_not_json");
        assert!(refusal.detail.contains("line 1"), "{}", refusal.detail);
    }
}
