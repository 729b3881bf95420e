//! A message as routing sees it. Pure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::captures::Captures;
use crate::message::{Qos, Stamp};
use crate::mqtt::properties::Properties;

/// A message before it is routed.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The name it was published under.
    pub mqtt_topic: &'a Bytes,
    /// The payload as it came.
    pub payload: &'a Bytes,
    /// The properties of MQTT 5 as they came; [`crate::mqtt::properties`] reads them.
    pub properties: &'a Bytes,
    /// How it was delivered.
    pub qos: Qos,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// When the read that brought it returned.
    pub received_at: Stamp,
    /// How long it then waited for room in the window.
    pub waited: Duration,
    /// The section of its connection (`mqtt.name`): the same for all connections of a group.
    pub connection: &'a Arc<str>,
}

impl Input<'_> {
    /// The seconds that are left of its message expiry interval: what the broker left of it (MQTT 5, section
    /// 3.3.2.3.3), without the time for which it waited here.
    pub fn expiry_left_s(&self) -> Option<u32> {
        let left = Properties::new(self.properties).expiry_s()?;
        Some(left.saturating_sub(u32::try_from(self.waited.as_secs()).unwrap_or(u32::MAX)))
    }
}

/// A message as one route sees it: with the payload unpacked, and what templates and conditions have read of it.
#[derive(Debug)]
pub struct View<'a> {
    /// The message.
    pub input: &'a Input<'a>,
    /// The names of levels of its filter.
    pub captures: &'a Captures,
    /// The payload, decompressed, and decoded where it is Sparkplug.
    pub body: Bytes,
}

/// What a placeholder finds in a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// JSON's null.
    Null,
    /// JSON's true or false; the retain flag.
    Bool(bool),
    /// A number as it is written in JSON.
    Number(Cow<'a, str>),
    /// A string, without quotation marks and escapes.
    Text(Cow<'a, str>),
    /// An object or an array of JSON, as it is written.
    Document(Cow<'a, str>),
}

impl<'a> View<'a> {
    /// Of this message and a route with these captures, the payload unpacked as `body`.
    pub fn new(input: &'a Input<'a>, captures: &'a Captures, body: Bytes) -> Self {
        Self { input, captures, body }
    }
}
