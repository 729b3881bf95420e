//! Which Kafka topic a message goes to, and as what. Pure: no I/O, no clock.
//!
//! A [`Router`] makes [`Destinations`](crate::message::Destinations) of a message. The stages behind it know
//! records and a [`RouteId`](crate::message::RouteId), and no routes.

pub mod filter;
mod index;
pub mod payload;
mod router;
mod rule;

pub use filter::Filter;
pub use payload::PayloadForm;
pub use router::Router;
pub use rule::Route;
