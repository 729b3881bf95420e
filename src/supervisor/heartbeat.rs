//! Progress of one actor, for the watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// An actor beats it from a timer and once a batch: it shows that the actor's thread makes progress, not
/// that messages arrive. An actor that waits for an unreachable broker goes on beating.
#[derive(Debug)]
pub struct Heartbeat {
    actor: Arc<str>,
    origin: Instant,
    last_ms: AtomicU64,
    paused: AtomicBool,
}

impl Heartbeat {
    /// The heartbeat of the actor with this name; counts as beaten now.
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

    /// Records progress.
    pub fn beat(&self) {
        self.last_ms.store(self.elapsed_ms(), Relaxed);
    }

    /// Pauses the heartbeat while the actor waits for its restart: no progress is due then.
    pub fn set_paused(&self, paused: bool) {
        self.beat();
        self.paused.store(paused, Relaxed);
    }

    /// Whether the actor waits for its restart.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    /// For how long no progress was made, unless the heartbeat is paused.
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
