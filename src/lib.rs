//! Forwards messages from an MQTT broker to Kafka: acknowledged end to end, in order, supervised.

// In the order in which a newcomer should read them.
pub mod message;
pub mod config;
pub mod route;
pub mod mqtt;
pub mod kafka;
pub mod supervisor;
pub mod backoff;
pub mod observe;
pub mod failpoint;
pub mod exit;
pub mod cli;
#[cfg(feature = "demo")]
pub mod demo;

use std::future::Future;
use std::sync::Arc;

use config::Config;
use exit::Exit;
use observe::Metrics;
use observe::log::Logging;

// STUB, to be replaced at the merge: it waits for `shutdown` and does nothing else.
/// Runs the bridge until `shutdown` completes and all is drained, or until it cannot go on.
pub fn run(
    config: Config,
    logging: Logging,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
) -> Exit {
    let _ = (config, metrics);
    actix::System::new().block_on(shutdown);
    logging.flush();
    Exit::Drained
}
