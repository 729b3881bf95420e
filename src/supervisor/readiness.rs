//! Whether the bridge is ready and alive now, for all that show it: the HTTP pages and systemd.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::heartbeat::Heartbeat;
use crate::config::{Config, MqttConfig};
use crate::message::RouteId;
use crate::observe::Metrics;
use crate::observe::health::{self, ActorHealth, HeldPlace, Reason, Snapshot, Wanted};
use crate::route::Route;
use crate::route::rule::subscribed;

/// An actor beats once a second; one that is silent for this long is not just late.
const SILENT_MIN: Duration = Duration::from_secs(3);

/// How long an actor may be silent and count as alive: less than `hang_after`, when the watchdog ends the
/// process.
pub fn silent_max(hang_after: Duration) -> Duration {
    (hang_after / 2).max(SILENT_MIN).min(hang_after)
}

/// What readiness is made of; it only reads.
#[derive(Debug)]
pub struct Readiness {
    metrics: Arc<Metrics>,
    heartbeats: Vec<Arc<Heartbeat>>,
    silent_max: Duration,
    configured: RwLock<Arc<Configured>>,
}

/// What is shown of the configuration that is in force.
#[derive(Debug)]
pub struct Configured {
    /// All routes.
    pub routes: BTreeSet<RouteId>,
    /// What each connection needs, in the order of the configuration.
    pub wanted: Vec<Vec<Wanted>>,
    /// Where messages can be held.
    pub places: BTreeSet<HeldPlace>,
    /// The section of each connection.
    pub sections: Vec<Arc<str>>,
    /// The bounds of each window.
    pub limits: WindowLimits,
    /// All keys, as [`Config::key_values`] has them.
    pub keys: Vec<(String, String)>,
}

/// How much the window of one connection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowLimits {
    /// Messages, when one of QoS 1 is to be taken in.
    pub messages: usize,
    /// Messages, when one of QoS 0 is to be taken in.
    pub qos0_messages: usize,
    /// Bytes.
    pub bytes: usize,
}

impl Configured {
    fn by(config: &Config) -> Self {
        let wanted_by = |mqtt: &MqttConfig| {
            subscribed(&config.routes_of(mqtt)).iter().map(wanted).collect::<Vec<_>>()
        };
        let kafka_topics = config.routes.iter().filter_map(|route| route.kafka_topic.as_fixed());
        let places = kafka_topics.map(|fixed| HeldPlace::KafkaTopic(Arc::clone(fixed)));
        Self {
            routes: config.routes.iter().map(|route| route.id).collect(),
            wanted: config.connections.iter().map(wanted_by).collect(),
            places: places.chain([HeldPlace::DeadLetter]).collect(),
            sections: config.connections.iter().map(|mqtt| Arc::clone(&mqtt.section)).collect(),
            limits: WindowLimits {
                messages: config.delivery.window_messages,
                qos0_messages: config.delivery.qos0_window_messages,
                bytes: config.delivery.window_bytes,
            },
            keys: config.key_values(),
        }
    }
}

impl Readiness {
    /// Of a bridge with these actors.
    pub fn new(config: &Config, metrics: Arc<Metrics>, heartbeats: Vec<Arc<Heartbeat>>) -> Self {
        Self {
            metrics,
            heartbeats,
            silent_max: silent_max(config.supervisor.hang_after),
            configured: RwLock::new(Arc::new(Configured::by(config))),
        }
    }

    /// Other routes are wanted from now on.
    pub fn configure(&self, config: &Config) {
        let configured = Arc::new(Configured::by(config));
        *self.configured.write() = configured;
    }

    /// What is shown of the configuration that is in force.
    pub fn configured(&self) -> Arc<Configured> {
        Arc::clone(&self.configured.read())
    }

    /// What the bridge counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The state of all parts at this moment.
    pub fn seen(&self) -> Snapshot {
        self.metrics.snapshot(self.actors())
    }

    /// Why it was not ready then; empty: it was.
    pub fn not_ready(&self, seen: &Snapshot) -> Vec<Reason> {
        let configured = self.configured.read();
        let wanted: Vec<_> = configured.wanted.iter().map(Vec::as_slice).collect();
        health::not_ready(seen, &wanted, self.silent_max)
    }

    /// Why it is not alive; empty: it is.
    pub fn not_live(&self) -> Vec<Reason> {
        health::not_live(&self.actors(), self.silent_max)
    }

    fn actors(&self) -> Vec<ActorHealth> {
        let actor = |beat: &Arc<Heartbeat>| ActorHealth {
            actor: Arc::clone(beat.actor()),
            restarting: beat.is_paused(),
            silent: beat.silent_for(),
        };
        self.heartbeats.iter().map(actor).collect()
    }
}

/// The subscription that a route asks for.
fn wanted(route: &Route) -> Wanted {
    Wanted {
        route: route.id,
        name: Arc::clone(&route.name),
        mqtt_filter: route.filter.to_string(),
        mqtt_qos: route.qos.level(),
    }
}
