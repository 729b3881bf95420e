//! `[mqtt.status]`: the will message in CONNECT, the birth message, and how much of either the broker takes.
//! Pure.
//!
//! A broker may refuse retained messages or QoS 1. Then the messages go without: who looks for them sees less,
//! and forwarding is not concerned.

use std::time::{Duration, Instant};

use crate::config::StatusConfig;
use crate::message::Qos;
use crate::mqtt::packet::{OwnPublish, Version, Will};
use crate::route::Filter;

/// Reason codes by which CONNACK refuses a will (MQTT 5, section 3.2.2.2).
const RETAIN_NOT_SUPPORTED: u8 = 0x9A;
const QOS_NOT_SUPPORTED: u8 = 0x9B;

/// See the module. It outlives a connection.
#[derive(Debug, Default)]
pub struct Status {
    config: Option<StatusConfig>,
    /// A filter of ours that would bring our own messages back over MQTT 5, and one that would over 3.1.1.
    brought_by: [Option<Filter>; 2],
    birth: Birth,
    /// The last message at QoS 1 has no PUBACK.
    is_unacknowledged: bool,
    /// It goes with DUP.
    is_repeated: bool,
}

/// How far the birth message is on this connection.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Birth {
    /// Nothing is to be done, or all is done.
    #[default]
    Done,
    /// To be published.
    Due,
    /// Its PUBACK should be there at this moment.
    Sent(Instant),
}

impl Status {
    /// On a connection that subscribes `filters`.
    pub fn new<'a>(
        config: Option<StatusConfig>,
        filters: impl Iterator<Item = &'a Filter> + Clone,
    ) -> Self {
        let mut status = Self { config, ..Self::default() };
        status.reroute(filters);
        status
    }

    /// Other filters are subscribed from now on.
    pub fn reroute<'a>(&mut self, filters: impl Iterator<Item = &'a Filter> + Clone) {
        let mqtt_topic = self.config.as_ref().map(|config| config.mqtt_topic.as_str());
        let mut brings = filters.filter(|filter| mqtt_topic.is_some_and(|own| filter.matches(own)));
        // No Local keeps our own messages away; 3.1.1 has no such option, and a shared subscription must
        // not have it ([MQTT-3.8.3-4]).
        let over_v5 = brings.clone().find(|filter| filter.is_shared()).cloned();
        let over_v311 = brings.next().cloned();
        self.brought_by = [over_v5, over_v311];
    }

    /// Why there is no status message in this version, if one is wanted: a route would forward it.
    pub fn forbidden(&self, version: Version) -> Option<String> {
        let [over_v5, over_v311] = &self.brought_by;
        let (filter, why) = match version {
            Version::V5 => (over_v5, "a shared subscription cannot leave out"),
            Version::V311 => (over_v311, "MQTT 3.1.1 cannot leave out"),
        };
        let filter = filter.as_ref()?;
        Some(format!("{filter} would forward the bridge's own messages, which {why}"))
    }

    /// What is configured, if it may be said in this version.
    fn allowed(&self, version: Version) -> Option<&StatusConfig> {
        self.config.as_ref().filter(|_| self.forbidden(version).is_none())
    }

    /// The MQTT topic of the messages; empty without `[mqtt.status]`.
    pub fn mqtt_topic(&self) -> &str {
        self.config.as_ref().map_or("", |config| &config.mqtt_topic)
    }

    /// The will for CONNECT.
    pub fn will(&self, version: Version) -> Option<Will<'_>> {
        self.allowed(version).map(|config| Will {
            mqtt_topic: &config.mqtt_topic,
            payload: config.offline.as_bytes(),
            qos: config.qos,
            retain: config.retain,
        })
    }

    /// CONNACK refuses with this code. Returns what the next CONNECT does without, if that is the cause.
    pub fn refused(&mut self, code: u8) -> Option<&'static str> {
        match code {
            RETAIN_NOT_SUPPORTED => self.do_without_retain(),
            QOS_NOT_SUPPORTED => self.do_without_qos_1(),
            _ => None,
        }
    }

    /// The broker takes no retained messages. Returns a sentence if that changes anything.
    pub fn do_without_retain(&mut self) -> Option<&'static str> {
        let config = self.config.as_mut()?;
        std::mem::take(&mut config.retain)
            .then_some("the broker takes no retained messages: they are not retained")
    }

    /// The broker takes QoS 0 only. Returns a sentence if that changes anything.
    pub fn do_without_qos_1(&mut self) -> Option<&'static str> {
        let config = self.config.as_mut()?;
        (std::mem::replace(&mut config.qos, Qos::AtMostOnce) == Qos::AtLeastOnce)
            .then_some("the broker takes messages at QoS 0 only: they are sent so")
    }

    /// CONNACK came: the birth message is due, once the subscriptions are answered.
    pub fn connected(&mut self, version: Version, session_present: bool) {
        self.birth = if self.allowed(version).is_some() { Birth::Due } else { Birth::Done };
        // With the session, the broker may know the one before ([MQTT-4.4.0-1]).
        self.is_repeated = std::mem::take(&mut self.is_unacknowledged) && session_present;
    }

    /// Whether the birth message is to be published.
    pub fn is_due(&self) -> bool {
        self.birth == Birth::Due
    }

    /// The birth message.
    pub fn birth(&self) -> Option<OwnPublish<'_>> {
        let config = self.config.as_ref()?;
        let dup = self.is_repeated && config.qos == Qos::AtLeastOnce;
        Some(OwnPublish { dup, ..own(config, &config.online) })
    }

    /// The message before DISCONNECT.
    pub fn farewell(&self, version: Version) -> Option<OwnPublish<'_>> {
        self.allowed(version).map(|config| own(config, &config.offline))
    }

    /// The birth message is written; its PUBACK is expected within `patience`.
    pub fn sent(&mut self, now: Instant, patience: Duration) {
        let needs_ack = self.config.as_ref().is_some_and(|config| config.qos == Qos::AtLeastOnce);
        self.is_unacknowledged = needs_ack;
        self.birth = if needs_ack { Birth::Sent(now + patience) } else { Birth::Done };
    }

    /// It cannot be published on this connection.
    pub fn give_up(&mut self) {
        self.birth = Birth::Done;
    }

    /// PUBACK came.
    pub fn acknowledged(&mut self) {
        self.is_unacknowledged = false;
        self.birth = Birth::Done;
    }

    /// When the PUBACK should be there.
    pub fn deadline(&self) -> Option<Instant> {
        match self.birth {
            Birth::Sent(due) => Some(due),
            Birth::Done | Birth::Due => None,
        }
    }

    /// Whether it is not; said once for each connection. It is not asked for again on this one
    /// ([MQTT-4.4.0-1]).
    pub fn is_overdue(&mut self, now: Instant) -> bool {
        let overdue = self.deadline().is_some_and(|due| due <= now);
        if overdue {
            self.birth = Birth::Done;
        }
        overdue
    }
}

fn own<'a>(config: &'a StatusConfig, payload: &'a str) -> OwnPublish<'a> {
    OwnPublish {
        dup: false,
        qos: config.qos,
        retain: config.retain,
        mqtt_topic: &config.mqtt_topic,
        payload: payload.as_bytes(),
    }
}
