//! MqttActor and what it is made of.
//!
//! Bytes become frames ([`frame`]), frames become packets ([`packet`], messages by [`publish`]), packets
//! move the [`session`] (what is subscribed, the [`subscriptions`]) and fill the [`window`]. All of these are pure. [`connection`] has the socket,
//! `open` puts them together for as long as a connection lives: the order of bytes on the wire is the
//! order of one function there. [`actor`] has what outlives a connection.

pub mod wire;
pub mod redelivery;
pub mod window;
pub mod publish;
pub mod frame;
pub mod reason;
pub mod packet;
pub mod note;
pub mod negotiation;
pub mod poison;
pub mod copies;
pub mod subscriptions;
pub mod state_file;
mod recorder;
pub mod session;
pub mod connection;
mod eviction;
mod open;
pub mod actor;

pub use actor::MqttActor;
