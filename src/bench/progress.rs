//! Progress of a run, on stderr.

use std::time::{Duration, Instant};

use super::scenario::Load;

const EVERY: Duration = Duration::from_secs(2);

/// Progress of one load.
pub(super) struct Progress {
    what: String,
    start: Instant,
    told_at: Instant,
    messages: u64,
}

impl Progress {
    /// Each line begins with `what`.
    pub(super) fn new(what: String) -> Self {
        let now = Instant::now();
        Self { what, start: now, told_at: now, messages: 0 }
    }

    /// Prints the progress, every two seconds.
    pub(super) fn tell(&mut self, now: Instant, messages: u64, load: Load) {
        let since = now.saturating_duration_since(self.told_at);
        if since < EVERY {
            return;
        }
        let rate = messages.saturating_sub(self.messages) as f64 / since.as_secs_f64();
        let of = match (load.count, load.duration) {
            (Some(count), _) => format!("{messages} of {count}"),
            (None, Some(duration)) => format!(
                "{messages}, {} of {} s",
                now.saturating_duration_since(self.start).as_secs(),
                duration.as_secs()
            ),
            (None, None) => messages.to_string(),
        };
        eprintln!("bench: {}: {of}, {rate:.0}/s", self.what);
        self.told_at = now;
        self.messages = messages;
    }
}
