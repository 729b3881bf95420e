//! What a configuration resolves to: validated, with every default filled in. The rest of the crate
//! reads only this; how it is written and refused is the business of the other files here.
//!
//! `Default` of a section is blank, to be filled from the table of keys; the defaults of the
//! configuration are in the table.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::route::Route;

/// Everything the bridge is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the state file is kept; `None` keeps none, for a bridge that is no one's but its
    /// process's. Default the working directory.
    pub data_dir: Option<PathBuf>,
    /// The connections to MQTT brokers. `[mqtt]` is the one there is.
    pub connections: Vec<MqttConfig>,
    /// `[[routes]]`, at least one.
    pub routes: Vec<Route>,
    /// `[kafka]`
    pub kafka: KafkaConfig,
    /// `[delivery]`
    pub delivery: DeliveryConfig,
    /// `[dead_letter]`
    pub dead_letter: DeadLetterConfig,
    /// `[supervisor]`
    pub supervisor: SupervisorConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// Most warnings of one configuration: many routes make very many pairs.
const WARNINGS_MAX: usize = 20;

impl Config {
    /// The names of the connections, in order.
    pub fn connection_names(&self) -> impl Iterator<Item = Arc<str>> {
        self.connections.iter().map(|mqtt| Arc::clone(&mqtt.name))
    }

    /// Warnings about settings that are legal and may have unwanted consequences, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings: Vec<_> = self.shared_warnings().chain(self.overlap_warnings()).collect();
        let more = warnings.len().saturating_sub(WARNINGS_MAX);
        warnings.truncate(WARNINGS_MAX);
        if more > 0 {
            warnings.push(format!("and {more} more warnings of this kind"));
        }
        warnings
    }

    /// Whether some connection may come to speak MQTT 3.1.1.
    fn may_speak_311(&self) -> bool {
        self.connections.iter().any(|mqtt| mqtt.protocol != Protocol::V5)
    }

    /// The largest payload that some connection lets through, in bytes.
    pub(super) fn max_payload_bytes(&self) -> usize {
        self.connections.iter().map(|mqtt| mqtt.max_payload_bytes).max().unwrap_or_default()
    }

    /// Overlapping subscriptions, whose copies only MQTT 5 can tell apart; those of a shared group not
    /// even that.
    fn overlap_warnings(&self) -> impl Iterator<Item = String> {
        let brings_all =
            |one: &Route, other: &Route| one.qos >= other.qos && one.filter.covers(&other.filter);
        let pairs = self.routes.iter().enumerate().flat_map(|(index, route)| {
            self.routes[..index].iter().map(move |earlier| (earlier, route))
        });
        pairs
            .filter(move |(one, other)| {
                (self.may_speak_311() || one.filter.is_shared())
                    && one.filter.overlaps(&other.filter)
                    && !brings_all(one, other)
                    && !brings_all(other, one)
            })
            .map(|(one, other)| {
                let what = match one.filter.is_shared() {
                    true => {
                        "the broker sends the group a copy for each of them, perhaps to different \
                         members, and each copy becomes a record"
                    }
                    false => {
                        "over MQTT 3.1.1 the broker may send a copy for each of them, and each copy \
                         becomes a record (over MQTT 5 the bridge recognises the copies)"
                    }
                };
                format!(
                    "routes[{}].filter and routes[{}].filter: {:?} and {:?} have MQTT topics in \
                     common: {what}",
                    one.id.0,
                    other.id.0,
                    one.filter.as_str(),
                    other.filter.as_str()
                )
            })
    }

    /// Shared subscriptions, which some brokers of 3.1.1 grant and never serve.
    fn shared_warnings(&self) -> impl Iterator<Item = String> {
        let may_be_none = self.may_speak_311();
        let shared = move |route: &&Route| may_be_none && route.filter.is_shared();
        self.routes.iter().filter(shared).map(|route| {
            format!(
                "routes[{}].filter: {:?} is a shared subscription: over MQTT 3.1.1 a broker \
                 without shared subscriptions may grant it and send nothing (see \
                 mqtt.silence_warning; over MQTT 5 such a broker refuses it)",
                route.id.0,
                route.filter.as_str()
            )
        })
    }
}

/// `[mqtt]`: one connection to an MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MqttConfig {
    /// What logs and metrics call the connection; of `[mqtt]` it is `mqtt`.
    pub name: Arc<str>,
    /// Host name or address, from `url`.
    pub host: String,
    /// Port, from `url`; 1883 if it names none.
    pub port: u16,
    /// Stable; empty only without a persistent session.
    pub client_id: String,
    /// Which protocol to speak.
    pub protocol: Protocol,
    /// Whole seconds, 1 to 65535. Default 30 s.
    pub keep_alive: Duration,
    /// How long the broker keeps the session of an absent bridge, in whole seconds; `u32::MAX` is
    /// for ever, 0 is no persistent session. Default one day. 3.1.1 knows only 0 or not 0.
    pub session_expiry_s: u32,
    /// Payloads above it go to the dead letter, in bytes. Default 1 MiB, at most 256 MiB.
    pub max_payload_bytes: usize,
    /// When to subscribe again over 3.1.1. Default `Always`.
    pub resubscribe: Resubscribe,
    /// What becomes of a QoS 1 message that no route matches. Default `DeadLetter`.
    pub unmatched: Unmatched,
    /// Whether what comes again under a new packet id may be known.
    pub renumbered_redelivery: RenumberedRedelivery,
    /// How long a shared subscription of 3.1.1 may bring nothing before it is warned of; `None`
    /// (`"never"`) is for ever. Default 10 minutes.
    pub silence_warning: Option<Duration>,
    /// User name, if any.
    pub username: Option<String>,
    /// Password, if any; from `password`, or the file named by `password_file`.
    pub password: Option<Secret>,
    /// Limit for each address of the host: TCP connect; and then for CONNACK, for SUBACK. Default 10 s.
    pub connect_timeout: Duration,
    /// First and largest pause between attempts to connect; it doubles, with jitter.
    /// Defaults 100 ms and 30 s.
    pub reconnect_min: Duration,
    /// See `reconnect_min`.
    pub reconnect_max: Duration,
}

/// `mqtt.protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `"auto"`: 5, and 3.1.1 if the broker refuses that.
    #[default]
    Auto,
    /// `"5"`
    V5,
    /// `"3.1.1"`
    V311,
}

/// `mqtt.resubscribe`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resubscribe {
    /// `"always"`: on each connection, at most once a minute.
    #[default]
    Always,
    /// `"new_session"`: what this process has not seen granted in the session.
    NewSession,
}

/// `mqtt.renumbered_redelivery`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RenumberedRedelivery {
    /// `"off"`: it is a new message.
    #[default]
    Off,
    /// `"auto"`: known once this broker was seen to renumber.
    Auto,
    /// `"on"`: known.
    On,
}

/// `mqtt.unmatched`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// `"dead_letter"`
    #[default]
    DeadLetter,
    /// `"drop"`
    Drop,
}

/// `[kafka]`
#[derive(Clone, PartialEq, Eq, Default)]
pub struct KafkaConfig {
    /// `host:port` each, at least one.
    pub brokers: Vec<String>,
    /// `[kafka.properties]`: passed to librdkafka as they are; none contradicts what the bridge sets.
    pub properties: BTreeMap<String, String>,
}

/// Secrets among the properties are redacted.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties = self.properties.iter();
        let properties: BTreeMap<_, _> =
            properties.map(|(name, value)| (name, super::secrets::shown(name, value))).collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("properties", &properties)
            .finish()
    }
}

/// `[delivery]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryConfig {
    /// In-flight window in messages, 1 to 65535. Default 1000.
    pub window_messages: usize,
    /// How many messages may be in the window when one of QoS 0 is taken in, 1 to 65535. Default 10000.
    pub qos0_window_messages: usize,
    /// In-flight window in bytes of MQTT topic and payload. Default 16 MiB. One larger message alone
    /// still passes.
    pub window_bytes: usize,
    /// How long a stopping bridge waits for what is in flight. Default 8 s.
    pub drain_deadline: Duration,
    /// QoS 0 is shed when the window has been full this long; `None` (`"never"`) waits for ever.
    /// Default 1 s.
    pub qos0_shed_after: Option<Duration>,
}

/// `[dead_letter]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetterConfig {
    /// Write dead letters to this Kafka topic; else to `file`.
    pub kafka_topic: Option<String>,
    /// JSON-lines file. Default `dead-letter.jsonl` in the working directory.
    pub file: PathBuf,
    /// The file's bound in bytes. Default 100 MiB. At the bound nothing more is acknowledged that
    /// would have to go there.
    pub file_max_bytes: u64,
    /// The bound, in bytes, of the file of dead letters that no route matches, or of what one run
    /// writes of them to `kafka_topic`. Default 10 MiB. At the bound they are dropped.
    pub unmatched_max_bytes: u64,
    /// A message that Kafka refuses for a cause that may pass (ACL, missing Kafka topic) is
    /// dead-lettered after this time; `None` (`"never"`, the default) holds.
    pub after: Option<Duration>,
}

/// `[supervisor]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SupervisorConfig {
    /// First and largest pause before a failed actor is restarted; it doubles, with jitter.
    /// Defaults 100 ms and 10 s.
    pub backoff_min: Duration,
    /// See `backoff_min`.
    pub backoff_max: Duration,
    /// Consecutive failures of one actor after which the process ends with 70. Default 8.
    pub failures_max: u32,
    /// An actor that makes no progress for this long hangs: the process ends with 75. Default 30 s.
    pub hang_after: Duration,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpConfig {
    /// Where health and metrics are served; `None` (`"off"`) is nowhere. Port 0 is a free one.
    /// Default `127.0.0.1:8080`.
    pub listen: Option<SocketAddr>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Default `"auto"`.
    pub format: LogFormat,
    /// Default `"info"`.
    pub level: slog::Level,
    /// Which messages get a timing record. Default `"all"`.
    pub timing: TimingPolicy,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Terminal if stderr is one, else JSON lines.
    #[default]
    Auto,
    /// JSON lines.
    Json,
    /// For people.
    Terminal,
}

/// `log.timing`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimingPolicy {
    /// `"all"`: every message.
    #[default]
    All,
    /// `"slow:50ms"`: those that took at least this long from receipt to delivery.
    Slow(Duration),
    /// `"sample:100"`: one in so many.
    Sample(u32),
    /// `"off"`: none.
    Off,
}

/// A string that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
