//! A rule of the configuration.

use std::sync::Arc;

use super::filter::Filter;
use super::payload::PayloadForm;
use crate::message::{Qos, RouteId};

/// One rule: an MQTT filter to subscribe, and where messages that match it go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its place in the configuration.
    pub id: RouteId,
    /// The filter that is subscribed and matched.
    pub filter: Filter,
    /// The names of the connections that it takes messages from; empty: all of them.
    pub from: Vec<Arc<str>>,
    /// The QoS to ask for.
    pub qos: Qos,
    /// The Kafka topic of its records.
    pub kafka_topic: Arc<str>,
    /// How a payload becomes a value.
    pub payload: PayloadForm,
}

impl Route {
    /// Whether it takes messages from the connection of this section.
    pub fn is_from(&self, section: &str) -> bool {
        self.from.is_empty() || self.from.iter().any(|name| **name == *section)
    }
}
