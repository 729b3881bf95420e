//! A rule of the configuration.

use std::sync::Arc;

use super::filter::Filter;
use super::payload::PayloadForm;
use crate::message::{Qos, RouteId};

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
