//! `mqtt-kafka-bridge leave`: how far a connection is that ends its session for good
//! (docs/decisions/0020-rotation-and-leaving.md).

use std::time::{Duration, Instant};

use slog::{Logger, info, warn};
use tokio::sync::mpsc::UnboundedSender;

use crate::mqtt::state_file::StateFile;
use crate::observe::{Conservation, keys};

/// See the module.
pub(super) struct Leaving {
    /// Is told once whether the session is gone.
    departed: Option<UnboundedSender<bool>>,
    file: Option<StateFile>,
    /// Whether the broker had the session when it was first asked.
    had_session: Option<bool>,
    /// How long nothing may move.
    patience: Duration,
    /// What had moved at the last look, and when it last did.
    seen: (Mark, Instant),
}

/// What changes while something moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) counts: Conservation,
    /// CONNACK has come.
    pub(super) is_connected: bool,
    /// Filters that are still subscribed.
    pub(super) held: usize,
}

impl Leaving {
    /// `departed` is told how it went; `file` goes with the session. After `patience` without any movement
    /// it is given up.
    pub(super) fn new(
        departed: UnboundedSender<bool>,
        file: Option<StateFile>,
        patience: Duration,
    ) -> Self {
        let seen = (Mark::default(), Instant::now());
        Self { departed: Some(departed), file, had_session: None, patience, seen }
    }

    /// CONNACK came.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.had_session.get_or_insert(session_present);
    }

    /// Looks whether something has moved since the last look; after too long it says that the session
    /// could not be left.
    pub(super) fn look(&mut self, now: Instant, mark: Mark, log: &Logger) {
        let (before, since) = self.seen;
        if before != mark {
            self.seen = (mark, now);
        } else if now.saturating_duration_since(since) >= self.patience
            && let Some(departed) = self.departed.take()
        {
            warn!(log, "nothing has moved for too long, not left: the session is kept";
                keys::IN_FLIGHT => mark.counts.in_flight,
                keys::ELAPSED_MS => u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX));
            let _ = departed.send(false);
        }
    }

    /// The session is gone. Removes the state file; blocks for as long as that takes.
    pub(super) fn left(&mut self, log: &Logger) {
        if let Some(file) = self.file.take()
            && let Err(error) = file.remove()
        {
            warn!(log, "state file not removed"; keys::PATH => %file.path().display(), keys::ERROR => %error);
        }
        let had_session = self.had_session.unwrap_or_default();
        if had_session {
            info!(log, "left: all is delivered, and the session is ended"; keys::SESSION_PRESENT => true);
        } else {
            info!(log, "left: the broker had no session for this client id"; keys::SESSION_PRESENT => false);
        }
        if let Some(departed) = self.departed.take() {
            let _ = departed.send(true);
        }
    }
}
