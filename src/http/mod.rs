//! Health and metrics over HTTP, for orchestrators and scrapers; a status page for people.
//!
//! The server has its own threads and runtime and only reads [`Metrics`](crate::observe::Metrics): the worst
//! that a hostile client can do is to keep others from asking. Connections, their duration,
//! the time for a request's head and requests are limited: one request a connection, no body but that of
//! the login form. Only who watches `/events` may stay. No page changes anything.

mod server;
mod gate;
mod access;
mod login;
mod html;
mod renewal;
mod tls;
mod limit;
mod pages;
mod assets;
mod documents;
mod markdown;
mod events;
mod exposition;
mod format;
pub mod check;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod events_tests;

pub use pages::Pages;
pub use renewal::check_files;
pub use server::{HttpServer, NotServed};
