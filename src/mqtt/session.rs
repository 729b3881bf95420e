//! The MQTT session as this process knows it: what outlives a connection, and what never changes. Pure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{MqttConfig, Protocol};
use crate::message::RouteId;
use crate::mqtt::failover::Failover;
use crate::mqtt::lost::Lost;
use crate::mqtt::negotiation::{Answer, Negotiation};
use crate::mqtt::session_event::SessionEvent;
use crate::mqtt::status::Status;
use crate::mqtt::subscriptions::{Held, Policy, Subscriptions};
use crate::mqtt::wire::Version;
use crate::route::Route;
use crate::route::rule::subscribed;
use crate::stage::SourceId;

/// What does not change from one connection to the next, but for the routes, when the configuration is reloaded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The connection's number.
    pub source: SourceId,
    /// The connection's part of the configuration.
    pub mqtt: MqttConfig,
    /// What to subscribe. Once the actor runs, those of `Core` and of the announcer are
    /// kept up to date.
    pub routes: Vec<Arc<Route>>,
    /// Receive maximum: the in-flight window in messages.
    pub receive_maximum: u16,
    /// QoS 0 is shed once the window has been full for this long; `None`: never.
    pub qos0_shed_after: Option<Duration>,
}

impl Settings {
    /// The broker's address of this number, as logs name it.
    pub fn broker(&self, address: usize) -> String {
        self.mqtt.addresses.get(address).map_or_else(String::new, ToString::to_string)
    }

    /// Whether the broker at the address of this number is not verified, although TLS is spoken there.
    pub fn is_insecure(&self, address: usize) -> bool {
        let is_tls = self.mqtt.addresses.get(address).is_some_and(|address| address.is_tls);
        is_tls && self.mqtt.tls.insecure_skip_verify
    }

    /// The route of this number.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.iter().map(|route| &**route).find(|route| route.id == id)
    }

    /// The session before the first connection; see [`Settings::subscriptions`].
    pub fn session(&self, held: Vec<Held>, is_recorded: bool) -> Session {
        let subscriptions = self.subscriptions(held, is_recorded);
        let filters = self.routes.iter().map(|route| &route.filter);
        let status = Status::new(self.mqtt.status.clone(), filters);
        Session::new(subscriptions.without(status.mqtt_topic()), status, self.mqtt.addresses.len())
    }

    /// The session that is to be left, where all of `held` may be subscribed, and all that the routes say.
    pub fn session_to_leave(&self, held: Vec<Held>) -> Session {
        let subscriptions = self.subscriptions(held, false).leaving();
        Session::new(subscriptions, Status::default(), self.mqtt.addresses.len())
    }

    /// What is to be subscribed, in a session in which `held` may be subscribed; `is_recorded`: changes
    /// are written down before they are made.
    pub fn subscriptions(&self, held: Vec<Held>, is_recorded: bool) -> Subscriptions {
        let policy = Policy {
            resubscribe: self.mqtt.resubscribe,
            answer_within: self.mqtt.connect_timeout,
            is_recorded,
        };
        Subscriptions::new(&subscribed(&self.routes), held, policy)
    }
}

/// The session, from one connection to the next.
#[derive(Debug)]
pub struct Session {
    /// What is subscribed in it.
    pub subscriptions: Subscriptions,
    /// The last CONNECT has had no CONNACK.
    unanswered: bool,
    /// What is said of us, and how far that is.
    pub status: Status,
    /// The next CONNECT ends it: it asks for a clean one, which is gone with its connection.
    pub is_over: bool,
    /// Which of the broker's addresses is tried or in use.
    pub failover: Failover,
    /// One for each address: what a proxy in front of one of them answers says nothing of the others.
    negotiations: Vec<Negotiation>,
}

impl Session {
    /// Before the first connection to one of so many addresses.
    fn new(subscriptions: Subscriptions, status: Status, addresses: usize) -> Self {
        Self {
            subscriptions,
            status,
            is_over: false,
            unanswered: false,
            failover: Failover::new(addresses),
            negotiations: (0..addresses).map(|_| Negotiation::default()).collect(),
        }
    }

    /// The version for the next connection.
    pub fn version(&self, protocol: Protocol) -> Version {
        let negotiation = self.negotiations.get(self.failover.current());
        negotiation.unwrap_or(&Negotiation::default()).version(protocol)
    }

    /// Other routes are wanted from now on.
    pub fn reroute(&mut self, routes: &[Arc<Route>], now: Instant, events: &mut Vec<SessionEvent>) {
        self.status.reroute(routes.iter().map(|route| &route.filter));
        self.subscriptions.reroute(&subscribed(routes), now, events);
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
        self.learn(version, Answer::Accepted);
    }

    /// A connection in `version` ended without being accepted.
    pub fn not_accepted(&mut self, version: Version, lost: &Lost) {
        self.learn(version, Answer::of(lost));
    }

    fn learn(&mut self, version: Version, answer: Answer) {
        if let Some(negotiation) = self.negotiations.get_mut(self.failover.current()) {
            negotiation.learn(version, answer);
        }
    }
}
