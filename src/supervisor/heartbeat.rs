//! Progress of one actor, for the watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Beaten by an actor from a timer and once a batch: it says that the actor's thread makes progress,
/// not that anything arrives. Waiting for a broker that is down beats on.
#[derive(Debug)]
pub struct Heartbeat {
    actor: Arc<str>,
    origin: Instant,
    last_ms: AtomicU64,
    paused: AtomicBool,
}

impl Heartbeat {
    /// For the actor of this name; counts as beaten now.
    pub fn new(actor: impl Into<Arc<str>>) -> Self {
        Self {
            actor: actor.into(),
            origin: Instant::now(),
            last_ms: AtomicU64::new(0),
            paused: AtomicBool::new(false),
        }
    }

    /// The actor's name.
    pub fn actor(&self) -> &Arc<str> {
        &self.actor
    }

    /// Progress was made.
    pub fn beat(&self) {
        self.last_ms.store(self.elapsed_ms(), Relaxed);
    }

    /// While the actor waits for its restart it owes no progress.
    pub fn set_paused(&self, paused: bool) {
        self.beat();
        self.paused.store(paused, Relaxed);
    }

    /// Whether the actor waits for its restart.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    /// For how long no progress was made, if any was owed.
    pub fn silent_for(&self) -> Duration {
        if self.paused.load(Relaxed) {
            return Duration::ZERO;
        }
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_ms.load(Relaxed)))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
