//! How many bytes went to Kafka, by route.

use std::collections::BTreeMap;

use crate::message::RouteId;

/// What one connection has had delivered.
#[derive(Debug, Clone, Default)]
pub struct Volumes {
    /// By route.
    pub by_route: BTreeMap<RouteId, u64>,
    /// Of routes that were let go.
    pub of_gone: u64,
}

impl Volumes {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.of_gone + self.by_route.values().sum::<u64>()
    }
}
