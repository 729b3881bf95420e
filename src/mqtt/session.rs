//! The MQTT session as this process knows it: what outlives a connection, and what never changes. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{MqttConfig, Protocol};
use crate::message::RouteId;
use crate::mqtt::lost::Lost;
use crate::mqtt::negotiation::{Answer, Negotiation};
use crate::mqtt::subscriptions::{Held, Policy, Subscriptions};
use crate::mqtt::wire::Version;
use crate::route::Route;
use crate::stage::SourceId;

/// What does not change from one connection to the next.
#[derive(Debug)]
pub struct Settings {
    /// The connection's number.
    pub source: SourceId,
    /// The connection's part of the configuration.
    pub mqtt: MqttConfig,
    /// What to subscribe.
    pub routes: Vec<Arc<Route>>,
    /// Receive maximum: the in-flight window in messages.
    pub receive_maximum: u16,
    /// QoS 0 is shed once the window has been full for this long; `None`: never.
    pub qos0_shed_after: Option<Duration>,
}

impl Settings {
    /// The broker, as logs name it.
    pub fn broker(&self) -> String {
        self.mqtt.first_address().to_string()
    }

    /// The route of this number.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.iter().map(|route| &**route).find(|route| route.id == id)
    }

    /// What is to be subscribed, in a session in which `held` may be subscribed; `is_recorded`: changes
    /// are written down before they are made.
    pub fn subscriptions(&self, held: Vec<Held>, is_recorded: bool) -> Subscriptions {
        let policy = Policy {
            resubscribe: self.mqtt.resubscribe,
            answer_within: self.mqtt.connect_timeout,
            is_recorded,
        };
        Subscriptions::new(&self.routes, held, policy)
    }
}

/// The session, from one connection to the next.
#[derive(Debug)]
pub struct Session {
    /// What is subscribed in it.
    pub subscriptions: Subscriptions,
    /// The last CONNECT has had no CONNACK.
    unanswered: bool,
    negotiation: Negotiation,
}

impl Session {
    /// Before the first connection.
    pub fn new(subscriptions: Subscriptions) -> Self {
        Self { subscriptions, unanswered: false, negotiation: Negotiation::default() }
    }

    /// The version for the next connection.
    pub fn version(&self, protocol: Protocol) -> Version {
        self.negotiation.version(protocol)
    }

    /// CONNECT is sent. If the one before it had no CONNACK, the broker may have lost the session and
    /// made a new one without telling us. Then "session present" says nothing about our subscriptions,
    /// and without SUBSCRIBE no message would ever come.
    pub fn connecting(&mut self) {
        if std::mem::replace(&mut self.unanswered, true) {
            self.subscriptions.doubt();
        }
    }

    /// CONNACK came.
    pub fn answered(&mut self) {
        self.unanswered = false;
    }

    /// CONNACK accepted a connection in `version`.
    pub fn accepted(&mut self, version: Version) {
        self.negotiation.learn(version, Answer::Accepted);
    }

    /// A connection in `version` ended without being accepted.
    pub fn not_accepted(&mut self, version: Version, lost: &Lost) {
        self.negotiation.learn(version, Answer::of(lost));
    }
}
