//! What facts mean. Pure.

pub(super) mod configuration;
pub(super) mod mqtt;
pub(super) mod subscriptions;
pub(super) mod kafka;
pub(super) mod kafka_topics;
pub(super) mod host;
pub(super) mod certificates;
