//! What is measured, and what its process is told to do.

use serde::{Deserialize, Serialize};

use super::scenario::{Endpoints, Scenario};

/// What is measured. Results and help call the baselines by shorter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Subject {
    /// The bridge with one connection over TCP.
    #[serde(rename = "bridge")]
    Bridge,
    /// The bridge with one connection over TLS.
    #[serde(rename = "tls")]
    BridgeTls,
    /// The bridge with [`Scenario::connections`] connections over TCP.
    #[serde(rename = "connections")]
    BridgeConnections,
    /// A bare loop with its own parser, on blocking sockets.
    #[serde(rename = "limit")]
    BaselineBlocking,
    /// A bare loop on rumqttc's codecs, on one async thread.
    #[serde(rename = "libraries")]
    BaselineAsync,
}

impl Subject {
    /// As results and help call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::BridgeTls => "tls",
            Self::BridgeConnections => "connections",
            Self::BaselineBlocking => "limit",
            Self::BaselineAsync => "libraries",
        }
    }

    /// Whether it is the bridge, and no bare loop.
    pub(super) fn is_bridge(self) -> bool {
        match self {
            Self::Bridge | Self::BridgeTls | Self::BridgeConnections => true,
            Self::BaselineBlocking | Self::BaselineAsync => false,
        }
    }
}

/// What the measured process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Task {
    pub subject: Subject,
    pub scenario: Scenario,
    pub endpoints: Endpoints,
}
