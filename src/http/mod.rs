//! Health and metrics over HTTP, for orchestrators and scrapers.
//!
//! The server has threads and a runtime of its own and only reads what the parts wrote to
//! [`Metrics`](crate::observe::Metrics): the worst that a hostile client can do is to keep others
//! from asking. What it can take is bounded: connections, the time for a request's head, one
//! request a connection, no body.

mod server;
mod pages;
mod exposition;
pub mod check;

pub use pages::Pages;
pub use server::{HttpServer, NotServed};
