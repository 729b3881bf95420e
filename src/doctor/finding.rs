//! What `doctor` says: one finding after the other, each of a check in one table, which docs/doctor.md repeats.
//! Pure.

use std::fmt;

use serde::Serialize;

use mqtt_kafka_bridge::visible::Visible;

/// The longest part of a finding, in characters: it may quote brokers.
const TEXT_MAX: usize = 700;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Good to know; or a check that was skipped.
    Info,
    /// The bridge works, and something is likely to be unwanted.
    Warning,
    /// The bridge does not work, or not wholly.
    Error,
}

impl Level {
    /// All of them, ascending.
    pub(crate) const ALL: [Self; 4] = [Self::Ok, Self::Info, Self::Warning, Self::Error];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where a finding belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    Configuration,
    Bridge,
    Mqtt,
    Kafka,
    Host,
}

impl Part {
    /// The heading above its findings.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Bridge => "The running bridge",
            Self::Mqtt => "MQTT",
            Self::Kafka => "Kafka",
            Self::Host => "This host",
        }
    }
}

/// One thing that is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Its stable name.
    pub(crate) name: &'static str,
    /// Where it belongs.
    pub(crate) part: Part,
    /// What is looked at, for people.
    pub(crate) looks_at: &'static str,
    /// Where more is said: a file of the documentation and its heading.
    pub(crate) link: &'static str,
}

macro_rules! checks {
    ($($name:ident: $part:ident, $text:literal, $looks_at:literal, $link:literal;)*) => {
        $(
            pub(crate) const $name: &Check = &Check {
                name: $text,
                part: Part::$part,
                looks_at: $looks_at,
                link: $link,
            };
        )*
        /// All of them, in the order of the documentation.
        #[cfg(test)]
        pub(crate) const CHECKS: &[&Check] = &[$($name),*];
    };
}

checks! {
    CONFIG: Configuration, "config", "the configuration: is it legal", "docs/configuration.md#configuration";
    CONFIG_WARNINGS: Configuration, "config_warnings", "what is legal and may have unwanted consequences", "docs/configuration.md#keys-that-depend-on-one-another";
    HTTP_FILES: Configuration, "http_files", "the files of `[http]`: token, certificate and key", "docs/security.md#http";
    BRIDGE: Bridge, "bridge", "`/readyz` of the bridge that runs here with this configuration, if one does", "docs/observability.md#reasons";
    MQTT_DNS: Mqtt, "mqtt_dns", "all addresses of the broker's name, or of the proxy's", "docs/doctor.md#mqtt";
    MQTT_TCP: Mqtt, "mqtt_tcp", "TCP to each of these addresses, or the Unix socket", "docs/operations.md#symptoms-likely-causes-and-cures";
    MQTT_PROXY: Mqtt, "mqtt_proxy", "whether the proxy connects the bridge", "docs/security.md#mqtt";
    MQTT_TLS: Mqtt, "mqtt_tls", "the handshake of TLS: the broker's chain, its name, the bridge's own certificate", "docs/security.md#mqtt";
    MQTT_CERTIFICATE: Mqtt, "mqtt_certificate", "how long the certificates of both sides are valid", "docs/operations.md#rotate-certificates-and-passwords";
    MQTT_WEBSOCKET: Mqtt, "mqtt_websocket", "the upgrade to WebSocket", "docs/operations.md#symptoms-likely-causes-and-cures";
    MQTT_LOGIN: Mqtt, "mqtt_login", "user name, password and CONNACK", "docs/operations.md#symptoms-likely-causes-and-cures";
    MQTT_CLIENT_ID: Mqtt, "mqtt_client_id", "whether the broker lets in a client with another id than the configured one", "docs/doctor.md#what-is-never-disturbed";
    MQTT_PROTOCOL: Mqtt, "mqtt_protocol", "the version of MQTT that both speak", "docs/guarantees.md#what-can-be-duplicated-and-when";
    MQTT_SESSION_EXPIRY: Mqtt, "mqtt_session_expiry", "how long the broker keeps the session, against `mqtt.session_expiry`", "docs/guarantees.md#settings-of-the-mqtt-broker-that-matter";
    MQTT_LIMITS: Mqtt, "mqtt_limits", "receive maximum and maximum packet size of CONNACK, retained messages, subscription identifiers", "docs/guarantees.md#settings-of-the-mqtt-broker-that-matter";
    MQTT_KEEP_ALIVE: Mqtt, "mqtt_keep_alive", "server keep alive, against `mqtt.keep_alive`", "docs/guarantees.md#settings-of-the-mqtt-broker-that-matter";
    MQTT_WILDCARDS: Mqtt, "mqtt_wildcards", "whether the broker takes filters with wildcards, where routes have some", "docs/brokers.md#the-table";
    MQTT_SHARED: Mqtt, "mqtt_shared", "whether the broker has shared subscriptions, where routes or a group need them", "docs/brokers.md#the-table";
    MQTT_QOS: Mqtt, "mqtt_qos", "maximum QoS, against the routes", "docs/guarantees.md#what-is-promised";
    MQTT_SUBSCRIBE: Mqtt, "mqtt_subscribe", "the answer to the SUBSCRIBE of each route, and the QoS granted", "docs/observability.md#reasons";
    MQTT_RETAINED: Mqtt, "mqtt_retained", "how many retained messages a new session would bring", "docs/doctor.md#mqtt";
    MQTT_SESSION: Mqtt, "mqtt_session", "what the state file says is left in the session", "docs/operations.md#operations";
    KAFKA_DNS: Kafka, "kafka_dns", "all addresses of each name in `kafka.brokers`", "docs/doctor.md#kafka";
    KAFKA_TCP: Kafka, "kafka_tcp", "TCP to each of these addresses", "docs/operations.md#symptoms-likely-causes-and-cures";
    KAFKA_TLS: Kafka, "kafka_tls", "whether the listener speaks TLS, where the bridge does", "docs/security.md#kafka";
    KAFKA_CERTIFICATE: Kafka, "kafka_certificate", "how long the certificates of both sides are valid", "docs/security.md#kafka";
    KAFKA_REQUESTS: Kafka, "kafka_requests", "the requests that the listener knows (ApiVersions)", "docs/operations.md#symptoms-likely-causes-and-cures";
    KAFKA_LOGIN: Kafka, "kafka_login", "the login, and whether Kafka answers behind it", "docs/operations.md#symptoms-likely-causes-and-cures";
    KAFKA_ADVERTISED: Kafka, "kafka_advertised", "whether this host reaches each broker as Kafka names it (`advertised.listeners`)", "docs/doctor.md#advertised-listeners";
    KAFKA_TOPIC: Kafka, "kafka_topic", "whether each Kafka topic of the configuration is there", "docs/operations.md#kafka-topics-that-do-not-exist";
    KAFKA_LEADER: Kafka, "kafka_leader", "whether each partition has a leader that can be reached", "docs/observability.md#reasons";
    KAFKA_REPLICAS: Kafka, "kafka_replicas", "replicas in sync against `min.insync.replicas`, since the bridge waits for all of them (`acks=all`)", "docs/operations.md#too-few-replicas-in-sync";
    KAFKA_SIZE: Kafka, "kafka_size", "`max.message.bytes` against `mqtt.max_payload`", "docs/operations.md#what-kafka-refuses";
    KAFKA_PERMISSION: Kafka, "kafka_permission", "permission to write to each Kafka topic, and to create those that routes create; nothing is written", "docs/operations.md#what-kafka-refuses";
    KAFKA_IDEMPOTENCE: Kafka, "kafka_idempotence", "permission for idempotent producers", "docs/doctor.md#kafka";
    KAFKA_COMPACTION: Kafka, "kafka_compaction", "whether a compacted Kafka topic gets records without a key", "docs/operations.md#what-kafka-refuses";
    OPEN_FILES: Host, "open_files", "the limit of open files", "docs/operations.md#the-container";
    MEMORY: Host, "memory", "the container's memory (cgroup) against the windows", "docs/operations.md#small-machines";
    CLOCK: Host, "clock", "whether the clock is synchronised, and whether records in Kafka are from the future", "docs/doctor.md#this-host";
    DEAD_LETTER_FILE: Host, "dead_letter_file", "whether dead letters can be written, and the room for them", "docs/operations.md#dead-letters";
    DATA_DIR: Host, "data_dir", "whether the state file can be read and written, and the room for it", "docs/operations.md#operations";
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    pub(crate) check: &'static Check,
    /// It was not looked at, since something before it failed.
    pub(crate) is_skipped: bool,
    /// What was looked at.
    pub(crate) of: String,
    pub(crate) found: String,
    /// Empty if all is well.
    pub(crate) expected: String,
    /// What to do; empty if nothing.
    pub(crate) advice: String,
}

/// What was expected, and what to do.
#[derive(Debug, Clone)]
pub(crate) struct Cure {
    expected: String,
    advice: String,
}

/// Expected, and what to do.
pub(crate) fn cure(expected: impl Into<String>, advice: impl Into<String>) -> Cure {
    Cure { expected: expected.into(), advice: advice.into() }
}

impl Check {
    fn finding(&'static self, level: Level, of: impl fmt::Display, found: String) -> Finding {
        Finding {
            level,
            check: self,
            is_skipped: false,
            of: shown(&of.to_string()),
            found: shown(&found),
            expected: String::new(),
            advice: String::new(),
        }
    }

    /// As it should be.
    pub(crate) fn ok(&'static self, of: impl fmt::Display, found: impl Into<String>) -> Finding {
        self.finding(Level::Ok, of, found.into())
    }

    /// Good to know.
    pub(crate) fn info(&'static self, of: impl fmt::Display, found: impl Into<String>) -> Finding {
        self.finding(Level::Info, of, found.into())
    }

    /// Something that is likely to be unwanted.
    pub(crate) fn warning(
        &'static self,
        of: impl fmt::Display,
        found: impl Into<String>,
        cure: Cure,
    ) -> Finding {
        self.finding(Level::Warning, of, found.into()).with(&cure)
    }

    /// Something that keeps the bridge from its work.
    pub(crate) fn error(
        &'static self,
        of: impl fmt::Display,
        found: impl Into<String>,
        cure: Cure,
    ) -> Finding {
        self.finding(Level::Error, of, found.into()).with(&cure)
    }

    /// Not looked at, since what it needs failed.
    pub(crate) fn skipped(
        &'static self,
        of: impl fmt::Display,
        because: impl fmt::Display,
    ) -> Finding {
        let found = format!("skipped: {because}");
        Finding { is_skipped: true, ..self.finding(Level::Info, of, found) }
    }
}

impl Finding {
    fn with(self, cure: &Cure) -> Self {
        Self { expected: shown(&cure.expected), advice: shown(&cure.advice), ..self }
    }

    /// The same, no worse than this.
    #[must_use]
    pub(crate) fn at_most(self, level: Level) -> Self {
        Self { level: self.level.min(level), ..self }
    }
}

/// Strangers' text: a terminal shows it and does not obey it.
fn shown(text: &str) -> String {
    let text = Visible(text).to_string();
    match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The worst of them.
pub(crate) fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn document(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The anchor of a heading, as GitHub makes it.
    fn anchor(heading: &str) -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let text: String = heading.to_lowercase().chars().filter(kept).collect();
        text.replace(' ', "-")
    }

    #[test]
    fn each_link_leads_to_a_heading() {
        for check in CHECKS {
            let (file, wanted) = check.link.split_once('#').expect("an anchor");
            let text = document(file);
            let headings = text.lines().filter(|line| line.starts_with('#'));
            let headings: BTreeSet<_> =
                headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect();
            assert!(headings.contains(wanted), "{}: {}", check.name, check.link);
        }
    }

    #[test]
    fn the_documentation_has_every_check_and_no_other() {
        let text = document("docs/doctor.md");
        let row = |check: &&Check| format!("| `{}` | {} | ", check.name, check.looks_at);
        let expected: Vec<_> = CHECKS.iter().map(row).collect();
        let (tables, _) = text.split_once("\n## JSON\n").expect("the tables are before it");
        let rows: Vec<_> = tables.lines().filter(|line| line.starts_with("| `")).collect();
        for row in &expected {
            assert!(rows.iter().any(|line| line.starts_with(row)), "missing: {row}");
        }
        let names: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len(), "no name is there twice");
        assert_eq!(rows.len(), expected.len(), "{rows:#?}");
    }

    #[test]
    fn what_strangers_say_is_shown_and_not_obeyed_and_has_an_end() {
        let finding = BRIDGE.info("a\u{1b}[2J", "x".repeat(10_000));
        assert_eq!(finding.of, "a\\u{1b}[2J");
        assert!(finding.found.len() < TEXT_MAX + 10);
    }
}
