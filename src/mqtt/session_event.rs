//! What happens to a session, for the log and for health.

use std::time::Duration;

use crate::message::RouteId;
use crate::mqtt::packet::{ServerLimits, Version};
use crate::observe::MqttHealth;
use crate::observe::health::Subscription as Answer;

/// One such event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// CONNACK accepted us.
    Connected {
        /// What is spoken.
        version: Version,
        /// The broker kept our session.
        session_present: bool,
        /// In force, in seconds.
        keep_alive_s: u16,
        /// What the broker imposes.
        limits: ServerLimits,
    },
    /// The broker keeps the session for less time than was asked for.
    SessionExpiryShortened {
        /// Seconds asked for.
        asked_s: u32,
        /// Seconds in force.
        granted_s: u32,
    },
    /// A subscription is in force.
    Subscribed {
        /// Whose.
        route: RouteId,
        /// The QoS granted.
        qos: u8,
    },
    /// The broker kept the session, and this subscription in it.
    StillSubscribed {
        /// Whose.
        route: RouteId,
    },
    /// Another route's subscription brings all that this route's would.
    Covered {
        /// Whose.
        route: RouteId,
    },
    /// The other subscription was refused: this one is asked for itself.
    Uncovered {
        /// Whose.
        route: RouteId,
    },
    /// A subscription was granted with a lower QoS than the route asks for.
    Downgraded {
        /// Whose.
        route: RouteId,
        /// The QoS granted.
        qos: u8,
        /// When it is asked for again; `None`: not on this connection.
        retry_in: Option<Duration>,
    },
    /// A subscription was refused; it is asked for again.
    SubscriptionRefused {
        /// Whose.
        route: RouteId,
        /// The broker's words.
        text: String,
        /// When it is asked for again.
        retry_in: Duration,
    },
    /// No SUBACK came in time; it is asked for again.
    SubackMissing {
        /// Whose.
        route: RouteId,
    },
    /// The broker has acknowledged a PUBLISH of ours.
    OwnAcknowledged {
        /// The broker's words, if it refused the message.
        refusal: Option<String>,
    },
    /// The status message is not taken as it is configured, or not at all.
    StatusNotTaken {
        /// Why, and what follows.
        text: String,
    },
    /// The routes have changed.
    Rerouted {
        /// Those whose subscription is as it was: the number before and now.
        same: Vec<(RouteId, RouteId)>,
    },
    /// A subscription that no route needs any more is gone.
    Unsubscribed {
        /// What it was.
        mqtt_filter: String,
    },
    /// The broker did not unsubscribe it; that is tried again.
    UnsubscribeFailed {
        /// What it is.
        mqtt_filter: String,
        /// The broker's words, or that it has none.
        text: String,
    },
}

impl SessionEvent {
    /// What it means for the connection's health.
    pub fn apply(&self, health: &mut MqttHealth) {
        let (route, answer) = match self {
            Self::Connected { .. } => {
                *health = MqttHealth { connected: true, ..MqttHealth::default() };
                return;
            }
            Self::Rerouted { same } => {
                let before = std::mem::take(&mut health.subscriptions);
                let kept = same.iter();
                let kept = kept.filter_map(|(was, is)| Some((*is, before.get(was)?.clone())));
                health.subscriptions = kept.collect();
                return;
            }
            Self::Uncovered { route } => {
                health.subscriptions.remove(route);
                return;
            }
            Self::Subscribed { route, .. }
            | Self::StillSubscribed { route }
            | Self::Covered { route } => (route, Answer::Granted),
            Self::Downgraded { route, qos, .. } => (route, Answer::Downgraded(*qos)),
            Self::SubscriptionRefused { route, text, .. } => (route, Answer::Refused(text.clone())),
            Self::SessionExpiryShortened { .. }
            | Self::SubackMissing { .. }
            | Self::OwnAcknowledged { .. }
            | Self::StatusNotTaken { .. }
            | Self::Unsubscribed { .. }
            | Self::UnsubscribeFailed { .. } => return,
        };
        health.subscriptions.insert(*route, answer);
    }
}
