//! Which Kafka topic a message goes to, and as what. Pure: no I/O, no clock.
//!
//! A [`Router`] makes [`Destinations`](crate::message::Destinations) of a message. The stages behind it know
//! records and a [`RouteId`](crate::message::RouteId), and no routes.

mod bind;
mod bridge_id;
pub mod captures;
pub mod caught;
pub mod condition;
pub mod decimal;
pub mod decompress;
pub mod dedupe;
pub mod device_time;
pub mod envelope;
pub mod filter;
mod foreign_words;
pub mod function;
pub mod gate;
pub mod headers;
mod index;
pub mod input;
pub mod json_document;
pub mod json_pointers;
pub mod kafka_name;
pub mod moment;
pub mod message_field;
mod naming;
pub mod note;
mod order;
pub mod pairs;
pub mod payload;
pub mod placeholder;
pub mod router;
pub mod rule;
pub mod source;
pub mod sparkplug;
pub mod template;
#[cfg(test)]
mod test_support;
pub mod timestamp;
pub mod trial;
pub mod words;

pub use condition::Condition;
pub use filter::Filter;
pub use gate::Gate;
pub use input::Input;
pub use payload::PayloadForm;
pub use placeholder::Placeholder;
pub use router::{Routed, Router};
pub use rule::{Match, Route};
pub use template::Template;
