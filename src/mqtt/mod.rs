//! MqttActor and what it is made of.
//!
//! Bytes become frames ([`frame`]), frames become packets ([`packet`], by rumqttc's codecs), packets
//! move the [`session`] and fill the [`window`]. All four are pure. [`connection`] has the socket,
//! [`actor`] puts them together: the order of bytes on the wire is the order of one function there.

pub mod window;
pub mod frame;
pub mod packet;
pub mod session;
pub mod connection;
pub mod actor;

pub use actor::MqttActor;
