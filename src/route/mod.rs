//! Which Kafka topic a message goes to, and as what. Pure: no I/O, no clock.

pub mod filter;
mod index;
pub mod payload;

use std::sync::Arc;

use bytes::Bytes;

pub use filter::Filter;
use index::Level;
pub use payload::PayloadForm;

use crate::message::{Destination, Destinations, Qos, Record, Refusal, RouteId};

/// One rule: what is subscribed, and where a message that matches goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its place in the configuration.
    pub id: RouteId,
    /// What is subscribed and matched.
    pub filter: Filter,
    /// The QoS asked for.
    pub qos: Qos,
    /// Where records go.
    pub kafka_topic: Arc<str>,
    /// What becomes of the payload.
    pub payload: PayloadForm,
}

/// The routes in the order of the configuration; the first that matches takes the message.
#[derive(Debug, Clone)]
pub struct Router {
    routes: Vec<Arc<Route>>,
    /// Of their filters.
    index: Level,
}

impl Router {
    /// A router over these routes.
    pub fn new(routes: &[Route]) -> Self {
        Self {
            routes: routes.iter().cloned().map(Arc::new).collect(),
            index: Level::of(routes.iter().map(|route| &route.filter)),
        }
    }

    /// The routes, in order.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// Whether a route matches.
    pub fn matches(&self, mqtt_topic: &[u8]) -> bool {
        self.index.first_match(mqtt_topic).is_some()
    }

    /// What a message becomes; nothing if no route matches.
    pub fn route(&mut self, mqtt_topic: &Bytes, payload: &Bytes) -> Destinations {
        let Some(first) = self.index.first_match(mqtt_topic) else { return Destinations::None };
        let route = &self.routes[first];
        Destinations::One(match route.payload.apply(payload) {
            Ok(value) => {
                let (kafka_topic, key) = (Arc::clone(&route.kafka_topic), mqtt_topic.clone());
                Destination::Record(Record::new(route.id, kafka_topic, key, value))
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

    fn route(filter: &str, kafka_topic: &str, payload: PayloadForm) -> Route {
        Route {
            id: RouteId(0),
            filter: filter.parse().expect("a legal filter"),
            qos: Qos::AtLeastOnce,
            kafka_topic: kafka_topic.into(),
            payload,
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
