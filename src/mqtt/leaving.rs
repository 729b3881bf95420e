//! `mqtt-kafka-bridge leave`: how far a connection is that ends its session for good
//! (docs/decisions/0020-rotation-and-leaving.md).

use std::time::{Duration, Instant};

use slog::{Logger, info, warn};
use tokio::sync::mpsc::UnboundedSender;

use crate::mqtt::state_file::StateFile;
use crate::observe::{events, keys};

/// See the module.
pub(super) struct Leaving {
    /// Is told once whether the session is gone.
    departed: Option<UnboundedSender<bool>>,
    file: Option<StateFile>,
    /// Whether the broker had the session when it was first asked.
    had_session: Option<bool>,
    /// How long nothing may move.
    patience: Duration,
    /// How far it is, and since when.
    reached: (Reached, Instant),
}

/// How far it is. Each of these gets there once, or only grows: a session that is not left in the end does
/// not move for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// Filters that may still be subscribed. While there are any, new messages come, and delivering them
    /// gets it no further.
    pub(super) held: usize,
    /// Messages that Kafka, the dead letter or nobody is to have, and has.
    pub(super) done: u64,
    /// All is delivered, and the session is being ended.
    pub(super) is_over: bool,
}

/// The furthest that it was. A lost connection makes the filters doubtful again: that, and what comes again
/// then, is no movement.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    had_answer: bool,
    held: Option<usize>,
    done: u64,
    is_over: bool,
}

impl Reached {
    /// Whether it is further now.
    fn advance(&mut self, has_answer: bool, mark: Mark) -> bool {
        let first_answer = has_answer && !std::mem::replace(&mut self.had_answer, true);
        let fewer_held = self.held.is_none_or(|held| mark.held < held);
        let more_done = mark.held == 0 && mark.done > self.done;
        let newly_over = mark.is_over && !std::mem::replace(&mut self.is_over, true);
        self.held = Some(self.held.map_or(mark.held, |held| held.min(mark.held)));
        self.done = self.done.max(mark.done);
        first_answer || fewer_held || more_done || newly_over
    }
}

impl Leaving {
    /// `departed` is told how it went; `file` goes with the session. After `patience` without any movement
    /// it is given up.
    pub(super) fn new(
        departed: UnboundedSender<bool>,
        file: Option<StateFile>,
        patience: Duration,
    ) -> Self {
        let reached = (Reached::default(), Instant::now());
        Self { departed: Some(departed), file, had_session: None, patience, reached }
    }

    /// CONNACK came.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.had_session.get_or_insert(session_present);
    }

    /// Looks whether something has moved since the last look; after too long it says that the session
    /// could not be left. `in_flight` is for that line.
    pub(super) fn look(&mut self, now: Instant, mark: Mark, in_flight: u64, log: &Logger) {
        let (reached, since) = &mut self.reached;
        if reached.advance(self.had_session.is_some(), mark) {
            *since = now;
        } else if now.saturating_duration_since(*since) >= self.patience
            && let Some(departed) = self.departed.take()
        {
            warn!(log, "nothing has moved for too long, not left: the session is kept"; events::SESSION_NOT_LEFT,
                keys::IN_FLIGHT => in_flight,
                keys::ELAPSED_MS => u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX));
            let _ = departed.send(false);
        }
    }

    /// The session is gone. Removes the state file; blocks for as long as that takes.
    pub(super) fn left(&mut self, log: &Logger) {
        if let Some(file) = self.file.take()
            && let Err(error) = file.remove()
        {
            warn!(log, "state file not removed"; events::STATE_FILE_NOT_REMOVED, keys::PATH => %file.path().display(), keys::ERROR => %error);
        }
        let had_session = self.had_session.unwrap_or_default();
        if had_session {
            info!(log, "left: all is delivered, and the session is ended"; events::SESSION_LEFT, keys::SESSION_PRESENT => true);
        } else {
            info!(log, "left: the broker had no session for this client id"; events::SESSION_LEFT, keys::SESSION_PRESENT => false);
        }
        if let Some(departed) = self.departed.take() {
            let _ = departed.send(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOT_OVER: Mark = Mark { held: 2, done: 0, is_over: false };

    #[test]
    fn while_filters_are_subscribed_only_fewer_of_them_are_movement() {
        let mut reached = Reached::default();
        assert!(reached.advance(false, NOT_OVER), "the first look");
        assert!(reached.advance(true, NOT_OVER), "CONNACK");
        assert!(!reached.advance(true, Mark { done: 7, ..NOT_OVER }), "what comes is delivered");
        assert!(reached.advance(true, Mark { held: 1, done: 8, ..NOT_OVER }));
        assert!(reached.advance(true, Mark { held: 0, done: 8, ..NOT_OVER }));
        assert!(reached.advance(true, Mark { held: 0, done: 9, ..NOT_OVER }), "the rest");
    }

    #[test]
    fn a_connection_that_comes_and_goes_is_no_movement() {
        let mut reached = Reached::default();
        reached.advance(true, Mark { held: 0, done: 3, ..NOT_OVER });
        assert!(!reached.advance(true, Mark { done: 3, ..NOT_OVER }));
        assert!(!reached.advance(true, Mark { held: 0, done: 3, ..NOT_OVER }));
        assert!(reached.advance(true, Mark { held: 0, done: 3, is_over: true }));
        assert!(!reached.advance(true, Mark { held: 0, done: 3, is_over: true }));
    }

    proptest! {
        #[test]
        fn whatever_comes_in_it_moves_only_as_often_as_there_are_filters_and_messages(
            looks in prop::collection::vec((any::<bool>(), 0_usize..4, 0_u64..5, any::<bool>()), 0..300),
        ) {
            let mut reached = Reached::default();
            let moved = looks.into_iter().filter(|(answer, held, done, is_over)| {
                let mark = Mark { held: *held, done: *done, is_over: *is_over };
                reached.advance(*answer, mark)
            });
            prop_assert!(moved.count() <= 1 + 4 + 4 + 1);
        }
    }
}
