//! Which Kafka topic a message goes to, and as what. Pure: no I/O, no clock.

pub mod filter;
mod index;
pub mod payload;

use std::sync::Arc;

use bytes::Bytes;

pub use filter::Filter;
use index::Level;
pub use payload::PayloadForm;

use crate::message::{Destination, Qos, Refusal};

/// One rule: what is subscribed, and where a message that matches goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its place in the configuration, from 0.
    pub index: usize,
    /// What is subscribed and matched.
    pub filter: Filter,
    /// The QoS asked for.
    pub qos: Qos,
    /// Where records go.
    pub kafka_topic: String,
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

    /// Where a message goes; `None` if no route matches (it is filtered).
    pub fn route(&self, mqtt_topic: &[u8], payload: &Bytes) -> Option<Destination> {
        let route = &self.routes[self.index.first_match(mqtt_topic)?];
        Some(match route.payload.apply(payload) {
            Ok(value) => Destination::Record { route: Arc::clone(route), value },
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
            index: 0,
            filter: filter.parse().expect("a legal filter"),
            qos: Qos::AtLeastOnce,
            kafka_topic: kafka_topic.to_owned(),
            payload,
        }
    }

    #[test]
    fn the_first_route_that_matches_takes_the_message() {
        let router = Router::new(&[
            route("sensors/+/temperature", "first", PayloadForm::Raw),
            route("sensors/#", "second", PayloadForm::Raw),
        ]);
        let kafka_topic =
            |mqtt_topic: &str| match router.route(mqtt_topic.as_bytes(), &Bytes::new()) {
                Some(Destination::Record { route, .. }) => Some(route.kafka_topic.clone()),
                Some(Destination::DeadLetter(_)) => panic!("raw payloads are never refused"),
                None => None,
            };
        assert_eq!(kafka_topic("sensors/a/temperature").as_deref(), Some("first"));
        assert_eq!(kafka_topic("sensors/a/humidity").as_deref(), Some("second"));
        assert_eq!(kafka_topic("actors/a"), None);
    }

    #[test]
    fn what_is_not_json_on_a_json_route_goes_to_the_dead_letter_with_its_reason() {
        let router = Router::new(&[route("#", "t", PayloadForm::Json)]);
        let Some(Destination::DeadLetter(refusal)) = router.route(b"a", &Bytes::from("{\"a\":"))
        else {
            panic!("must be refused");
        };
        assert_eq!(refusal.reason, "payload_not_json");
        assert!(refusal.detail.contains("line 1"), "{}", refusal.detail);
    }
}
