//! What happened lately and is kept to be shown: restarts with their causes; how a connection is, and how the
//! last one was lost. Bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::Serialize;

use super::format::{Rfc3339, now_us};
use super::recent::shortened;

/// How many restarts are kept.
pub const RESTARTS_MAX: usize = 50;

/// A restart of an actor, or a new producer after a fatal error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restart {
    /// When, RFC 3339, UTC.
    pub at: String,
    /// Which actor; `producer` for a new producer.
    pub actor: String,
    /// One of a fixed set.
    pub reason: &'static str,
    /// What is known of the cause; often empty.
    pub detail: String,
}

/// All restarts by actor and reason, and the last of them.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    counts: BTreeMap<(Arc<str>, &'static str), u64>,
    last: VecDeque<Restart>,
}

impl Restarts {
    /// One more, now.
    pub(super) fn count(&mut self, actor: &str, reason: &'static str, detail: &str) {
        *self.counts.entry((actor.into(), reason)).or_default() += 1;
        if self.last.len() >= RESTARTS_MAX {
            self.last.pop_front();
        }
        let (actor, detail) = (actor.to_owned(), shortened(detail));
        self.last.push_back(Restart { at: now(), actor, reason, detail });
    }

    /// How many, by actor and reason.
    pub(super) fn counts(&self) -> &BTreeMap<(Arc<str>, &'static str), u64> {
        &self.counts
    }

    /// The last ones, the oldest first.
    pub(super) fn last(&self) -> Vec<Restart> {
        self.last.iter().cloned().collect()
    }
}

/// What the MQTT broker granted with CONNACK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Session {
    /// When it accepted the connection, RFC 3339, UTC.
    pub connected_at: String,
    /// `3.1.1` or `5`.
    pub mqtt_protocol: &'static str,
    /// It had kept the session.
    pub session_present: bool,
    /// In force.
    pub keep_alive_s: u16,
}

/// A connection that was lost or not opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// When, RFC 3339, UTC.
    pub at: String,
    /// The reason, with what is known of it.
    pub detail: String,
}

/// What a connection remembers, also when it is back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// Of the present connection; `None` while there is none.
    pub session: Option<Session>,
    /// The last loss since the start.
    pub last_loss: Option<Loss>,
}

impl History {
    /// The broker has accepted a connection.
    pub(super) fn connected(
        &mut self,
        mqtt_protocol: &'static str,
        session_present: bool,
        keep_alive_s: u16,
    ) {
        let connected_at = now();
        self.session = Some(Session { connected_at, mqtt_protocol, session_present, keep_alive_s });
    }

    /// It is lost, or was not opened.
    pub(super) fn lost(&mut self, why: &str) {
        self.session = None;
        self.last_loss = Some(Loss { at: now(), detail: shortened(why) });
    }
}

/// What the in-flight window holds, and what came into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WindowUse {
    /// Messages that are not finished: without a verdict, or owed a PUBACK that is not written yet.
    pub messages: usize,
    /// Their bytes, as `delivery.window_bytes` counts them.
    pub bytes: usize,
    /// Payloads of all messages that were ever admitted, in bytes.
    pub received_bytes: u64,
}

fn now() -> String {
    Rfc3339::from_us(now_us()).as_str().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_restarts_are_counted_and_the_last_are_kept_with_their_cause() {
        let mut restarts = Restarts::default();
        for number in 0..RESTARTS_MAX + 5 {
            restarts.count("kafka", "panic", &format!("cause\n{number}"));
        }
        restarts.count("mqtt", "stopped", "");
        let counts: Vec<_> = restarts.counts().values().copied().collect();
        assert_eq!(counts, [RESTARTS_MAX as u64 + 5, 1]);
        let last = restarts.last();
        assert_eq!(last.len(), RESTARTS_MAX);
        assert_eq!(last[0].detail, "cause\\n6");
        assert_eq!(last[RESTARTS_MAX - 1].actor, "mqtt");
    }

    #[test]
    fn the_last_loss_is_known_when_the_connection_is_back() {
        let mut history = History::default();
        history.lost("keep_alive: nothing came");
        history.connected("5", true, 30);
        let lost = history.last_loss.as_ref().expect("it was lost");
        assert_eq!(lost.detail, "keep_alive: nothing came");
        assert!(history.session.as_ref().is_some_and(|session| session.session_present));
        history.lost("closed_by_broker: gone");
        assert_eq!(history.session, None);
    }
}
