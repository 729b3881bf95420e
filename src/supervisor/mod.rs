//! SupervisorActor, the guard that restarts actors, and the watchdog.
//!
//! # Start, in this order
//!
//! On the main thread, around one actix `System`:
//!
//! 1. [`Logging::start`](crate::observe::Logging::start), `install_hook`, `bridge_log_crate`.
//! 2. `System::new()`. Inside `system.block_on`: one [`Heartbeat`] for each actor, the HTTP server
//!    (first, because its address may be taken), one `Arbiter` for KafkaProducerActor and
//!    for each MqttActor (kept: actix does not join them), [`Watchdog::start`] over the heartbeats.
//! 3. [`SupervisorActor::start`], with the threads to watch. It runs on the system arbiter, which
//!    otherwise only waits for signals.
//! 4. [`guard::start`] for KafkaProducerActor, and `SystemRegistry::set` of its address, once;
//!    `guard::start` for one MqttActor for each connection. All get `supervisor.recipient()`.
//! 5. [`Supervise`] to SupervisorActor, which tells systemd, if that started the bridge, that it is up
//!    ([`ServiceManager`]). Only now can a drain reach the MqttActors; a [`Drain`] that came before is carried
//!    out now.
//! 6. A task on the system arbiter that awaits the shutdown future and sends [`Drain`]; a second
//!    signal flushes the log and leaves by `process::exit`.
//! 7. `system.run_with_code()` (not `block_on` nor `#[actix::main]`, which ignore the code).
//!
//! # Stop, in this order
//!
//! 1. [`Drain`] arms the deadline; [`StopIntake`] goes to each MqttActor, and again after each restart
//!    of an actor, since it may have died with it. Ordinary restarts go on meanwhile.
//! 2. Each MqttActor takes in nothing more, waits until every message has its verdict, writes the PUBACKs,
//!    disconnects and sends [`Drained`]: after the last one the system stops with
//!    [`Exit::Drained`](crate::exit::Exit::Drained). At the deadline it stops with
//!    [`Exit::DeadlinePassed`](crate::exit::Exit::DeadlinePassed). If a restart budget is spent, a
//!    watched thread ends or SupervisorActor ends, it stops with
//!    [`Exit::Failed`](crate::exit::Exit::Failed).
//! 3. `run_with_code` returns at once, while the arbiters still end: their actors' futures are
//!    dropped. [`Watchdog::stop`], since no heartbeats come any more; then the arbiters are joined,
//!    within a limit, since `join` has none.
//! 4. The HTTP server ends; until then it answers that the bridge is not ready.
//! 5. The last [`Logging`](crate::observe::Logging) is dropped, which flushes the log.
//! 6. The code of `run_with_code` is the process's exit code.

mod mail;
pub mod heartbeat;
pub mod guard;
pub mod policy;
pub mod actor;
mod summary;
mod readiness_log;
mod thread;
pub mod watchdog;
pub mod readiness;
pub mod service_manager;
#[cfg(test)]
mod tests;

pub use actor::{SupervisorActor, Telling, WatchedThread};
pub use heartbeat::Heartbeat;
pub use mail::{Cause, ChildDown, Directive, Drain, Drained, Reloading, StopIntake, Supervise};
pub use readiness::Readiness;
pub use service_manager::{ServiceManager, ServiceStatus};
pub use thread::{Stop, StoppableThread};
pub use watchdog::Watchdog;
