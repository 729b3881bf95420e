//! Health and metrics over HTTP, for orchestrators and scrapers.
//!
//! The server has its own threads and runtime and only reads [`Metrics`](crate::observe::Metrics): the worst
//! that a hostile client can do is to keep others from asking. Connections, the time for a request's head
//! and requests are limited: one request a connection, no body.

mod server;
mod pages;
mod exposition;
pub mod check;

pub use pages::Pages;
pub use server::{HttpServer, NotServed};
