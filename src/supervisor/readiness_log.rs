//! Says in the log when the bridge becomes ready and when it no longer is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};

use super::readiness::Readiness;
use crate::observe::health::Reason;
use crate::observe::{events, keys};

/// At most one line in this time says that it is not ready, and one that it is again. A start may take as long
/// before it is said to be not ready.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// At most so many reasons are quoted in one line; `/readyz` has all.
const QUOTED_MAX: usize = 5;

/// See the module.
#[derive(Debug)]
pub(super) struct ReadinessLog {
    readiness: Arc<Readiness>,
    teller: Teller,
}

impl ReadinessLog {
    pub(super) fn new(readiness: Arc<Readiness>, now: Instant) -> Self {
        Self { readiness, teller: Teller::new(now) }
    }

    /// To be called again and again. A drain has lines of its own.
    pub(super) fn look(&mut self, now: Instant, log: &Logger) {
        let seen = self.readiness.seen();
        if seen.draining {
            return;
        }
        let reasons = self.readiness.not_ready(&seen);
        match self.teller.look(now, &reasons) {
            None => {}
            Some(Word::Ready { waited, suppressed }) => {
                info!(log, "ready"; events::READY, keys::ELAPSED_MS => millis(waited),
                    keys::SUPPRESSED => suppressed);
            }
            Some(Word::NotReady { suppressed }) => {
                let codes: BTreeSet<_> = reasons.iter().map(|reason| reason.reason).collect();
                let codes: Vec<_> = codes.into_iter().collect();
                warn!(log, "not ready"; events::NOT_READY, keys::REASON => codes.join(", "),
                    keys::DETAIL => quoted(&reasons), keys::SUPPRESSED => suppressed);
            }
        }
    }
}

/// The first reasons, and how many more there are.
fn quoted(reasons: &[Reason]) -> String {
    let mut quoted: Vec<_> = reasons.iter().take(QUOTED_MAX).map(ToString::to_string).collect();
    if let Some(more) = reasons.len().checked_sub(QUOTED_MAX).filter(|more| *more > 0) {
        quoted.push(format!("and {more} more"));
    }
    quoted.join("; ")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Which reasons hold, without what changes all the time; empty: ready.
type State = BTreeSet<(&'static str, Option<String>)>;

/// What is to be said. `suppressed`: so many changes were not.
#[derive(Debug, PartialEq)]
enum Word {
    /// It was not ready for so long.
    Ready { waited: Duration, suppressed: u64 },
    /// It is not, or for other reasons than were said.
    NotReady { suppressed: u64 },
}

/// Decides what is said (pure).
#[derive(Debug)]
struct Teller {
    /// What was said last; before the first word, nothing.
    told: Option<State>,
    /// What the last look saw.
    seen: State,
    /// When it was last ready, or was started.
    ready_until: Instant,
    /// When it may next be said that it is not ready.
    open_at: Instant,
    /// Changes since the last word.
    changes: u64,
}

impl Teller {
    fn new(now: Instant) -> Self {
        Self {
            told: None,
            seen: State::new(),
            ready_until: now,
            open_at: now + TELL_EVERY,
            changes: 0,
        }
    }

    fn look(&mut self, now: Instant, reasons: &[Reason]) -> Option<Word> {
        let state: State =
            reasons.iter().map(|reason| (reason.reason, reason.connection.clone())).collect();
        if state != self.seen {
            self.changes += 1;
            self.seen.clone_from(&state);
        }
        let waited = now.saturating_duration_since(self.ready_until);
        if state.is_empty() {
            self.ready_until = now;
        }
        if self.told.as_ref() == Some(&state) || (!state.is_empty() && now < self.open_at) {
            return None;
        }
        let suppressed = std::mem::take(&mut self.changes).saturating_sub(1);
        let is_ready = state.is_empty();
        self.told = Some(state);
        Some(if is_ready {
            Word::Ready { waited, suppressed }
        } else {
            self.open_at = now + TELL_EVERY;
            Word::NotReady { suppressed }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(reason: &'static str) -> Reason {
        Reason { component: "mqtt", reason, detail: "why".to_owned(), connection: None }
    }

    /// What is said by a look each second; each letter is the reason that holds then, `-` is none.
    fn said(course: &str) -> Vec<(usize, Word)> {
        let start = Instant::now();
        let mut teller = Teller::new(start);
        let looks = course.chars().enumerate().filter_map(|(second, letter)| {
            let reasons = match letter {
                'a' => vec![reason("a")],
                'b' => vec![reason("b")],
                _ => Vec::new(),
            };
            let now = start + Duration::from_secs(second as u64);
            Some((second, teller.look(now, &reasons)?))
        });
        looks.collect()
    }

    fn ready(waited: u64, suppressed: u64) -> Word {
        Word::Ready { waited: Duration::from_secs(waited), suppressed }
    }

    #[test]
    fn a_start_says_that_it_is_ready_once_and_how_long_it_took() {
        assert_eq!(said("aab----------------"), [(3, ready(3, 2))]);
    }

    #[test]
    fn a_start_that_takes_long_says_why() {
        let not_ready = (10, Word::NotReady { suppressed: 0 });
        assert_eq!(said("aaaaaaaaaaaaa--"), [not_ready, (13, ready(13, 0))]);
    }

    #[test]
    fn each_outage_is_said_at_once_and_so_is_its_end() {
        let course = "----------------aaa---------------aa";
        let not_ready = || Word::NotReady { suppressed: 0 };
        let told = [(0, ready(0, 0)), (16, not_ready()), (19, ready(4, 0)), (34, not_ready())];
        assert_eq!(said(course), told);
    }

    #[test]
    fn another_reason_is_said_and_what_flaps_is_counted() {
        let course = "----------------aaabbbbbbbbbbb";
        let not_ready = |suppressed| Word::NotReady { suppressed };
        let told = [(0, ready(0, 0)), (16, not_ready(0)), (26, not_ready(0))];
        assert_eq!(said(course), told);
        let course = "----------------a-a-a-a-a-a-a-a-a-a-a-a-a-a-";
        let words = said(course);
        assert_eq!(words.len(), 1 + 2 * 3, "{words:?}");
        // 16 and 17, then nothing until 26.
        assert_eq!(words[3], (26, not_ready(8)));
    }

    #[test]
    fn a_line_quotes_a_few_of_many_reasons() {
        let reasons = vec![reason("a"); 7];
        let quoted = quoted(&reasons);
        assert!(quoted.ends_with("mqtt: a: why; and 2 more"), "{quoted}");
        assert_eq!(super::quoted(&reasons[..1]), "mqtt: a: why");
    }
}
