//! Messages of tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::input::Input;
use crate::message::{Qos, Stamp};

/// A message of QoS 1, without flags and properties, that has just come on connection `mqtt`: each test says what
/// is different with its own.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub mqtt_topic: Bytes,
    pub payload: Bytes,
    /// As they are encoded.
    pub properties: Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub received_at: Stamp,
    pub waited: Duration,
    pub connection: Arc<str>,
}

impl Sample {
    pub(super) fn new(mqtt_topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            mqtt_topic: Bytes::copy_from_slice(mqtt_topic.as_ref()),
            payload: Bytes::copy_from_slice(payload.as_ref()),
            properties: Bytes::new(),
            qos: Qos::AtLeastOnce,
            retain: false,
            dup: false,
            received_at: Stamp::now(),
            waited: Duration::ZERO,
            connection: "mqtt".into(),
        }
    }

    /// Received so many microseconds after 1970.
    pub(super) fn at(self, wall_us: u64) -> Self {
        Self { received_at: Stamp { wall_us, ..self.received_at }, ..self }
    }

    pub(super) fn input(&self) -> Input<'_> {
        Input {
            mqtt_topic: &self.mqtt_topic,
            payload: &self.payload,
            properties: &self.properties,
            qos: self.qos,
            retain: self.retain,
            dup: self.dup,
            received_at: self.received_at,
            waited: self.waited,
            connection: &self.connection,
        }
    }
}
