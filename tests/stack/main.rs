//! The stack of docker-compose.yml on a real engine: the image, its container, faults from
//! outside, and little memory.
//!
//! They need a Docker engine with Compose and base images: tests/run has them at hand (tests/stack/
//! engine, tests/stack/images). All have `stack` in their names: `tests/run stack`.

#![allow(missing_docs, unreachable_pub, reason = "nobody calls a test crate")]
#![allow(clippy::unwrap_used, reason = "a test that finds something wrong panics")]

#[allow(dead_code, unused_imports, reason = "the harness of all stories")]
#[path = "../support/mod.rs"]
mod support;

mod compose;
mod docker;
mod stack_arm64;
mod stack_edge;
mod stack_faults;
mod stack_monitoring;
mod stack_package;
mod stack_starts;
