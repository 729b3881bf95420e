//! What to do about each reason and warning of `/readyz`, and about each event of the log that is one, and which
//! heading of docs/operations.md has more.

use super::events;

/// For a person who reads a reason or a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// The anchor of a heading in docs/operations.md.
    pub heading: &'static str,
    /// Sentences.
    pub what_to_do: &'static str,
}

/// About a dead letter.
pub const DEAD_LETTERS: Remedy = under("dead-letters-grow");

/// About this reason or warning of `/readyz`.
pub fn remedy(reason: &str) -> Remedy {
    let row = REASONS.iter().find(|(known, ..)| *known == reason);
    row.map_or_else(
        || under("not-ready"),
        |(_, heading, what_to_do)| Remedy { heading, what_to_do },
    )
}

/// About a warning of the log, by the name of its event.
pub fn of_event(event: Option<&str>) -> Remedy {
    let known = events::ALL.iter().find(|known| event == Some(known.name()));
    under(known.and_then(events::Event::help).unwrap_or("other-warnings"))
}

/// About a restart.
pub fn of_restart() -> Remedy {
    under("it-restarts")
}

/// What this heading has at the least to say.
const fn under(heading: &'static str) -> Remedy {
    let mut at = 0;
    while at < HEADINGS.len() {
        let (known, what_to_do) = HEADINGS[at];
        if is_same(known, heading) {
            return Remedy { heading, what_to_do };
        }
        at += 1;
    }
    Remedy { heading, what_to_do: "Read what it says." }
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The headings that events name, and what to do in one sentence.
#[rustfmt::skip]
const HEADINGS: &[(&str, &str)] = &[
    (
        "change-the-configuration",
        "Mend the file as the line says, and reload again.",
    ),
    (
        "configure",
        "Look whether this is what you want; the line says what the key does.",
    ),
    (
        "dead-letters-grow",
        "Look at the dead letters with dead-letters list, remove the cause, and replay them.",
    ),
    (
        "exit-code-70",
        "Keep the log and report it; whatever started the bridge starts it again.",
    ),
    (
        "exit-codes",
        "Remove the cause that the line names, and start the bridge again.",
    ),
    (
        "it-restarts",
        "Keep the log and report it, unless the line names a cause outside of the bridge.",
    ),
    (
        "kafka-topics-that-templates-name",
        "Create the Kafka topic, or give the bridge the permission that the line names.",
    ),
    (
        "latency-grows",
        "Find out which hop takes the time; often the window is too small or Kafka too slow.",
    ),
    (
        "leave-for-good",
        "End the session at the broker, or leave again when it can be reached.",
    ),
    (
        "messages-stop-arriving",
        "Read the reason and the detail: the broker, the network, a login.",
    ),
    (
        "messages-that-no-route-matches",
        "Add a route for them, or end the subscription that brings them.",
    ),
    (
        "not-ready",
        "Read the reasons: each says what to do.",
    ),
    (
        "other-warnings",
        "Look the event up there.",
    ),
    (
        "rotate-certificates-and-passwords",
        "Mend the file that the line names; what was read last stays in use.",
    ),
    (
        "stop-restart-upgrade",
        "Give the drain more time, or find out what holds the messages.",
    ),
    (
        "symptoms-likely-causes-and-cures",
        "Look the sentence up in the table of causes.",
    ),
    (
        "systemd",
        "Look at the service: the socket that NOTIFY_SOCKET names cannot be used.",
    ),
    (
        "the-state-file",
        "Make the place of the state file writable; do not remove the file.",
    ),
    (
        "too-few-replicas-in-sync",
        "Most often fewer replicas are in sync than min.insync.replicas; otherwise read Kafka's log.",
    ),
    (
        "what-kafka-refuses",
        "Remove the cause that the line names: a permission, a missing Kafka topic, a wrong clock.",
    ),
];

/// Reasons and warnings; with the sentences of docs/observability.md.
#[rustfmt::skip]
const REASONS: &[(&str, &str, &str)] = &[
    (
        "unmatched_dropped",
        "messages-that-no-route-matches",
        "Find out why they come; raise dead_letter.unmatched_max, or move the file away.",
    ),
    (
        "insecure",
        "other-warnings",
        "Set ca_file, and remove insecure_skip_verify.",
    ),
    (
        "reload_failed",
        "change-the-configuration",
        "Mend the file, and reload again.",
    ),
    (
        "restart_pending",
        "change-the-configuration",
        "Restart the bridge when it suits you.",
    ),
    (
        "draining",
        "stop-restart-upgrade",
        "Nothing.",
    ),
    (
        "actor_hangs",
        "it-restarts",
        "Keep the log; the process ends with 75.",
    ),
    (
        "actor_restarting",
        "it-restarts",
        "Look for \"actor failed\" in the log.",
    ),
    (
        "mqtt_disconnected",
        "messages-stop-arriving",
        "Check the broker, the network, the login; the detail has the likely cause. \
         session_taken_over: another client uses the bridge's mqtt.client_id. \"has come N times\": \
         the broker sends a message that can be neither acknowledged nor skipped; remove it from the \
         broker.",
    ),
    (
        "subscription_pending",
        "not-ready",
        "Nothing, unless it lasts.",
    ),
    (
        "subscription_downgraded",
        "not-ready",
        "Check the broker's limits, or lower routes.qos.",
    ),
    (
        "subscription_refused",
        "not-ready",
        "Check the broker's permissions.",
    ),
    (
        "kafka_pending",
        "not-ready",
        "Nothing.",
    ),
    (
        "kafka_unreachable",
        "messages-stop-arriving",
        "Check the cluster, the network, TLS. Messages wait in the MQTT broker meanwhile.",
    ),
    (
        "kafka_authentication",
        "not-ready",
        "The detail says which. Refused: check sasl.* and ssl.* in [kafka.properties]. No token: it \
         says what the token endpoint, or the source of the AWS credentials, answered; check \
         sasl.oauthbearer.* and the client's secret there.",
    ),
    (
        "kafka_producer_failing",
        "not-ready",
        "Read the detail; often the permission to write idempotently is missing. A file: mend it, \
         nothing is lost meanwhile.",
    ),
    (
        "kafka_unconfirmed",
        "too-few-replicas-in-sync",
        "Most often fewer replicas are in sync than min.insync.replicas; otherwise read Kafka's log.",
    ),
    (
        "kafka_partition_failing",
        "symptoms-likely-causes-and-cures",
        "Read the log of the broker that leads the partition.",
    ),
    (
        "kafka_topic_missing",
        "kafka-topics-that-do-not-exist",
        "Create it.",
    ),
    (
        "kafka_topic_denied",
        "what-kafka-refuses",
        "Check its ACL.",
    ),
    (
        "kafka_leader_unreachable",
        "symptoms-likely-causes-and-cures",
        "The detail names the broker; most often its advertised.listeners is wrong.",
    ),
    (
        "kafka_topic_unavailable",
        "symptoms-likely-causes-and-cures",
        "Check the cluster.",
    ),
    (
        "kafka_topic_held",
        "what-kafka-refuses",
        "Remove the cause that the detail names: a permission, a missing Kafka topic, a wrong clock.",
    ),
    (
        "dead_letter_blocked",
        "dead-letters-grow",
        "Check the space on the disk, dead_letter.file_max, the Kafka topic for dead letters.",
    ),
    (
        "certificate_expires",
        "rotate-certificates-and-passwords",
        "Replace the certificate before that day; the bridge takes new files without a restart.",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::observe::health::{CODES, WARNINGS};

    fn document(name: &str) -> String {
        let path = format!("{}/docs/{name}.md", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(&path).expect(&path)
    }

    /// A cell of a table without its links and backquotes, and without links in brackets.
    fn flattened(cell: &str) -> String {
        let mut cell = cell.to_owned();
        while let Some(at) = cell.find(" ([") {
            let end = at + cell[at..].find("))").expect("a link ends") + 2;
            cell.replace_range(at..end, "");
        }
        let (mut text, mut rest) = (String::new(), &*cell);
        while let Some((before, after)) = rest.split_once('[') {
            text.push_str(before);
            // Brackets in backquotes are no link.
            match after.split_once("](").filter(|(label, _)| !label.contains('`')) {
                Some((label, behind)) => {
                    text.push_str(label);
                    rest = behind.split_once(')').expect("a link ends").1;
                }
                None => {
                    text.push('[');
                    rest = after;
                }
            }
        }
        text.push_str(rest);
        text.replace('`', "")
    }

    /// The anchors of its headings.
    fn anchors(document: &str) -> BTreeSet<String> {
        let headings = document.lines().filter(|line| line.starts_with('#'));
        let anchor = |line: &str| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let kept = text.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
            kept.collect::<String>().replace(' ', "-")
        };
        headings.map(anchor).collect()
    }

    #[test]
    fn each_reason_and_each_warning_says_what_to_do_as_the_document_does() {
        let (document, anchors) = (document("observability"), anchors(&document("operations")));
        let codes: Vec<_> = CODES.into_iter().chain(WARNINGS).collect();
        for code in &codes {
            let row = document.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
            let row = row.unwrap_or_else(|| panic!("{code} is not in the document"));
            let cell = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
            let Remedy { what_to_do, heading } = remedy(code);
            assert_eq!(what_to_do, flattened(cell), "{code}");
            assert!(anchors.contains(heading), "{code}: {heading}");
        }
        assert!(REASONS.iter().all(|(code, ..)| codes.contains(code)));
    }

    #[test]
    fn each_event_of_a_warning_says_what_to_do() {
        let anchors = anchors(&document("operations"));
        let named: BTreeSet<_> = events::ALL.iter().filter_map(events::Event::help).collect();
        let known: BTreeSet<_> = HEADINGS.iter().map(|(heading, _)| *heading).collect();
        assert_eq!(named, known);
        assert!(known.iter().all(|heading| anchors.contains(*heading)), "{anchors:?}");
        assert_eq!(of_event(Some("kafka_topic_held")).heading, "what-kafka-refuses");
        assert_eq!(of_event(None).heading, "other-warnings");
    }
}
