//! MqttActor and what it is made of, from the bottom to the top; nothing imports what stands above it.
//!
//! - Pure, without socket or clock: bytes become frames ([`frame`]), frames become packets ([`packet`];
//!   a PUBLISH in [`publish`]). [`protocol`] is one connection from CONNECT to DISCONNECT, [`session`] the
//!   MQTT session that outlives it, with its [`subscriptions`] and the [`negotiation`] of the version. The
//!   [`window`] has what was received and is not yet acknowledged.
//! - `intake` decides what becomes of each message that arrives: known, shed, a copy, routed where.
//! - A [`transport`] ([`tcp`] or [`unix`], perhaps [`tls`] and [`websocket`] above) carries the bytes of one connection; a `channel` is one with what is to be
//!   written to it. `connection` orders what goes in and out of it,
//!   in one function. [`dial`] opens the transport that an address asks for, [`login`] gets what CONNECT
//!   says to be let in.
//! - [`actor`] opens one connection after the other and translates mail; `reconnect` says how long to
//!   pause in between, [`failover`] which of the broker's addresses is next,
//!   `rotation` when files that it was made with have changed,
//!   `leaving` and [`quiet`] when a session that is left for good may be ended.
//! - [`visit`] is a client of its own that only looks.

pub mod wire;
pub mod properties;
pub mod redelivery;
pub mod open_destinations;
pub mod held_timings;
pub mod window;
pub mod publish;
pub mod frame;
pub mod reason;
pub mod packet;
pub mod session_event;
pub mod lost;
pub mod failover;
pub mod negotiation;
pub mod poison;
pub mod copies;
pub mod subscriptions;
pub mod state_file;
mod recorder;
pub mod status;
pub mod session;
pub mod quiet;
mod leaving;
pub mod protocol;
pub mod transport;
mod unconfirmed;
mod socket;
pub mod tcp;
pub mod unix;
mod http_head;
mod proxy;
pub mod tls_failure;
mod tls_files;
pub mod tls;
mod websocket_frames;
mod websocket_upgrade;
pub mod websocket;
pub mod dial;
pub mod login;
#[cfg(test)]
mod slow_transport;
#[cfg(test)]
mod cut_transport;
#[cfg(test)]
mod test_host;
mod channel;
pub mod silence;
mod former;
mod intake;
pub mod timings;
mod announce;
mod core;
mod attempt;
mod rotation;
mod connection;
mod eviction;
mod reconnect;
pub mod actor;
pub mod visit;

pub use actor::{MqttActor, Neighbours, Reroute};
