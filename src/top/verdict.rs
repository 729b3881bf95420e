//! What to say of the bridge in one sentence, and what to do. Pure.

use std::time::Duration;

use super::numbers::{counted, in_words};
use super::snapshot::{Advice, Advised, Identity, Snapshot};

/// How well a thing is, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Bad,
    Warn,
    Unknown,
    Good,
}

/// A thing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) level: Level,
    pub(super) title: String,
    pub(super) detail: String,
    pub(super) advice: Advice,
}

/// See the module. Good has nothing to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Level,
    pub(super) sentence: String,
    /// The worst first.
    pub(super) told: Vec<Told>,
}

/// As the documents have it.
pub(super) fn advice(what_to_do: &str, document: &str) -> Advice {
    Advice { what_to_do: what_to_do.to_owned(), document: document.to_owned() }
}

/// `trouble`: why there is no newer answer.
pub(super) fn verdict(
    snapshot: Option<&Snapshot>,
    trouble: Option<&str>,
    interval: Duration,
) -> Verdict {
    if let Some(why) = trouble {
        return away(why, snapshot, interval);
    }
    let Some(snapshot) = snapshot else {
        let sentence = "Waiting for the first answer of the bridge.".to_owned();
        return Verdict { level: Level::Unknown, sentence, told: Vec::new() };
    };
    let told = |level, title| move |it: &Advised| of(level, title, it);
    let mut all: Vec<_> = snapshot.reasons.iter().map(told(Level::Bad, "Not ready")).collect();
    all.extend(snapshot.warnings.iter().map(told(Level::Warn, "Warning")));
    if !snapshot.is_alive {
        let what_to_do = "Keep the log; the process ends with exit code 75.";
        all.insert(0, own("Not alive", "An actor makes no progress.", what_to_do, "not-ready"));
        return bad("Not alive: an actor hangs.", all);
    }
    if !snapshot.is_ready {
        let names = named(&snapshot.reasons);
        let why = if names.is_empty() { "no reason is given" } else { &names };
        return bad(&format!("Not ready: {why}."), all);
    }
    let missing = missing(&snapshot.identity);
    if missing != 0 {
        let detail =
            format!("{missing} of the messages that were received are nowhere in the equation.");
        let what_to_do = "This is a fault of the bridge: keep the log and report it.";
        let advice = advice(what_to_do, "docs/guarantees.md");
        let title = "The equation does not hold".to_owned();
        all.insert(0, Told { level: Level::Bad, title, detail, advice });
        return bad("Ready, but messages are not accounted for.", all);
    }
    if !snapshot.warnings.is_empty() {
        let count = counted(Some(snapshot.warnings.len() as u64), "warning", "warnings");
        let sentence = format!("Ready, with {count}: {}.", named(&snapshot.warnings));
        return Verdict { level: Level::Warn, sentence, told: all };
    }
    let sentence = "Ready: messages flow from MQTT to Kafka.".to_owned();
    Verdict { level: Level::Good, sentence, told: Vec::new() }
}

/// How many messages are in no term of the equation.
pub(super) fn missing(identity: &Identity) -> i128 {
    let Identity { received, delivered, dead_lettered, filtered, shed, in_flight } = identity;
    let terms = [delivered, dead_lettered, filtered, shed, in_flight];
    // Of what is not known, nothing can be missing.
    let Some(received) = received else { return 0 };
    let Some(terms) = terms.into_iter().copied().collect::<Option<Vec<_>>>() else { return 0 };
    i128::from(*received) - terms.into_iter().map(i128::from).sum::<i128>()
}

fn away(why: &str, snapshot: Option<&Snapshot>, interval: Duration) -> Verdict {
    let every = humantime::format_duration(interval);
    let below = match snapshot {
        Some(_) => "what is below is its last one",
        None => "there was none yet",
    };
    let what_to_do = format!("Look whether the bridge runs; it is asked again every {every}.");
    let told = Told {
        level: Level::Bad,
        title: "No answer".to_owned(),
        detail: why.to_owned(),
        advice: advice(&what_to_do, "docs/top.md#no-answer"),
    };
    bad(&format!("No answer of the bridge; {below}."), vec![told])
}

fn bad(sentence: &str, told: Vec<Told>) -> Verdict {
    Verdict { level: Level::Bad, sentence: sentence.to_owned(), told }
}

fn own(title: &str, detail: &str, what_to_do: &str, heading: &str) -> Told {
    Told {
        level: Level::Bad,
        title: title.to_owned(),
        detail: detail.to_owned(),
        advice: advice(what_to_do, &format!("docs/operations.md#{heading}")),
    }
}

fn of(level: Level, title: &str, it: &Advised) -> Told {
    let connection = match &*it.connection {
        "" => String::new(),
        name => format!(" (connection {name})"),
    };
    let title = format!("{title}: {}{connection}", in_words(&it.reason));
    let or = |text: &str, other: &str| if text.is_empty() { other } else { text }.to_owned();
    let advice = Advice {
        what_to_do: or(&it.advice.what_to_do, "Read the document."),
        document: or(&it.advice.document, "docs/observability.md#reasons"),
    };
    Told { level, title, detail: it.detail.clone(), advice }
}

/// Each once, and of many only the first: the sentence stays one.
fn named(all: &[Advised]) -> String {
    const SHOWN: usize = 3;
    let mut names: Vec<String> = Vec::new();
    for name in all.iter().map(|it| in_words(&it.reason)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match more {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reason(reason: &str) -> Advised {
        Advised { reason: reason.to_owned(), ..Advised::default() }
    }

    fn good() -> Snapshot {
        Snapshot { is_ready: true, is_alive: true, ..Snapshot::default() }
    }

    #[test]
    fn the_worst_is_said_and_each_thing_says_what_to_do_and_names_its_document() {
        let counts = |received, delivered| Identity {
            received: Some(received),
            delivered: Some(delivered),
            dead_lettered: Some(0),
            filtered: Some(0),
            shed: Some(0),
            in_flight: Some(1),
        };
        let reasons = ["a", "b", "b", "c", "d"].map(reason).to_vec();
        let not_ready = Snapshot { is_ready: false, reasons, ..good() };
        let warned = Snapshot { warnings: vec![reason("insecure")], ..good() };
        let hangs = Snapshot { is_alive: false, ..not_ready.clone() };
        for (snapshot, trouble, level, sentence, things) in [
            (None, None, Level::Unknown, "Waiting for the first answer of the bridge.", 0),
            (None, Some("refused"), Level::Bad, "No answer of the bridge; there was none yet.", 1),
            (
                Some(good()),
                Some("refused"),
                Level::Bad,
                "No answer of the bridge; what is below is its last one.",
                1,
            ),
            (Some(good()), None, Level::Good, "Ready: messages flow from MQTT to Kafka.", 0),
            (Some(warned), None, Level::Warn, "Ready, with 1 warning: insecure.", 1),
            (Some(not_ready), None, Level::Bad, "Not ready: a, b, c and 1 more.", 5),
            (Some(hangs), None, Level::Bad, "Not alive: an actor hangs.", 6),
            (
                Some(Snapshot { identity: counts(5, 3), ..good() }),
                None,
                Level::Bad,
                "Ready, but messages are not accounted for.",
                1,
            ),
            (
                Some(Snapshot { identity: counts(4, 3), ..good() }),
                None,
                Level::Good,
                "Ready: messages flow from MQTT to Kafka.",
                0,
            ),
        ] {
            let found = verdict(snapshot.as_ref(), trouble, SECOND);
            assert_eq!((found.level, &*found.sentence), (level, sentence));
            assert_eq!(found.told.len(), things, "{found:?}");
            for told in &found.told {
                assert!(!told.advice.what_to_do.is_empty(), "{told:?}");
                assert!(told.advice.document.starts_with("docs/"), "{told:?}");
            }
        }
    }
}
