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
    /// The QoS to ask for.
    pub qos: Qos,
    /// The Kafka topic of its records.
    pub kafka_topic: Arc<str>,
    /// How a payload becomes a value.
    pub payload: PayloadForm,
}
