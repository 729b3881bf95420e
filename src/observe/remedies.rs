//! What to do about each reason and warning of `/readyz`, as docs/observability.md says it, and where there is more.

/// For a person who reads a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remedy {
    /// The reason or the warning.
    pub code: &'static str,
    /// Sentences.
    pub what_to_do: &'static str,
    /// A file of this project, with a heading in it where one is meant.
    pub document: &'static str,
}

/// What to do about this reason or warning.
pub fn remedy(code: &str) -> Remedy {
    let known = REMEDIES.iter().find(|remedy| remedy.code == code);
    known.copied().unwrap_or(Remedy { code: "", what_to_do: "", document: "docs/observability.md" })
}

#[rustfmt::skip]
const REMEDIES: &[Remedy] = &[
    Remedy {
        code: "unmatched_dropped",
        what_to_do: "Find out why they come (operations.md); raise dead_letter.unmatched_max, or move the \
         file away.",
        document: "docs/operations.md",
    },
    Remedy {
        code: "insecure",
        what_to_do: "Set ca_file, and remove insecure_skip_verify.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "reload_failed",
        what_to_do: "Mend the file, and reload again (operations).",
        document: "docs/operations.md#change-the-configuration",
    },
    Remedy {
        code: "restart_pending",
        what_to_do: "Restart the bridge when it suits you.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "draining",
        what_to_do: "Nothing.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "actor_hangs",
        what_to_do: "Keep the log; the process ends with 75.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "actor_restarting",
        what_to_do: "Look for \"actor failed\" in the log.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "mqtt_disconnected",
        what_to_do: "Check the broker, the network, the login; the detail has the likely cause. \
         session_taken_over: another client uses the bridge's mqtt.client_id. \"has come N \
         times\": the broker sends a message that can be neither acknowledged nor skipped; \
         remove it from the broker.",
        document: "docs/operations.md#symptoms-likely-causes-and-cures",
    },
    Remedy {
        code: "subscription_pending",
        what_to_do: "Nothing, unless it lasts.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "subscription_downgraded",
        what_to_do: "Check the broker's limits, or lower routes.qos.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "subscription_refused",
        what_to_do: "Check the broker's permissions.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_pending",
        what_to_do: "Nothing.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_unreachable",
        what_to_do: "Check the cluster, the network, TLS. Messages wait in the MQTT broker meanwhile.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_authentication",
        what_to_do: "The detail says which. Refused: check sasl.* and ssl.* in [kafka.properties]. No \
         token: it says what the token endpoint, or the source of the AWS credentials, \
         answered; check sasl.oauthbearer.* and the client's secret there.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_producer_failing",
        what_to_do: "Read the detail; often the permission to write idempotently is missing. A file: mend \
         it, nothing is lost meanwhile.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_unconfirmed",
        what_to_do: "Most often fewer replicas are in sync than min.insync.replicas; otherwise read \
         Kafka's log.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_partition_failing",
        what_to_do: "Read the log of the broker that leads the partition.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_topic_missing",
        what_to_do: "Create it.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_topic_denied",
        what_to_do: "Check its ACL.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_leader_unreachable",
        what_to_do: "The detail names the broker; most often its advertised.listeners is wrong.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_topic_unavailable",
        what_to_do: "Check the cluster.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "kafka_topic_held",
        what_to_do: "Remove the cause that the detail names: a permission, a missing Kafka topic, a wrong \
         clock (operations).",
        document: "docs/operations.md#what-kafka-refuses",
    },
    Remedy {
        code: "dead_letter_blocked",
        what_to_do: "Check the space on the disk, dead_letter.file_max, the Kafka topic for dead letters.",
        document: "docs/observability.md#reasons",
    },
    Remedy {
        code: "certificate_expires",
        what_to_do: "Replace the certificate before that day; the bridge takes new files without a \
         restart.",
        document: "docs/security.md",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::{CODES, WARNINGS};

    /// The text of a cell of a table, and the place that its first link leads to.
    fn flattened(cell: &str) -> (String, Option<String>) {
        let (mut text, mut rest, mut first) = (String::new(), cell, None);
        while let Some((before, after)) = rest.split_once('[') {
            // Brackets in backquotes are no link.
            let Some((label, behind)) = after.split_once("](").filter(|(label, _)| !label.contains('`'))
            else {
                text.push_str(before);
                text.push('[');
                rest = after;
                continue;
            };
            let (link, behind) = behind.split_once(')').expect("a link ends");
            text.push_str(before);
            text.push_str(label);
            first = first.or_else(|| Some(format!("docs/{link}")));
            rest = behind;
        }
        text.push_str(rest);
        (text.replace('`', ""), first)
    }

    #[test]
    fn each_reason_and_each_warning_says_what_to_do_as_the_document_does() {
        let root = env!("CARGO_MANIFEST_DIR");
        let document = std::fs::read_to_string(format!("{root}/docs/observability.md"));
        let document = document.expect("docs/observability.md");
        for code in CODES.into_iter().chain(WARNINGS) {
            let row = document.lines().find(|line| line.starts_with(&format!("| `{code}` |")));
            let row = row.unwrap_or_else(|| panic!("{code} is not in the document"));
            let cell = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
            let (text, link) = flattened(cell);
            let Remedy { what_to_do, document, .. } = remedy(code);
            assert_eq!(what_to_do, text, "{code}");
            let expected = link.unwrap_or_else(|| "docs/observability.md#reasons".to_owned());
            assert_eq!(document, expected, "{code}");
            let file = document.split('#').next().expect("there is one");
            assert!(std::path::Path::new(root).join(file).exists(), "{document}");
        }
        assert_eq!(remedy("no_such_code").what_to_do, "");
    }
}
