//! The resolved configuration: checked, with every default filled in. The rest of the crate reads only
//! this. The table of keys has the purpose, the limits and the default of each field.
//!
//! `Default` of a section is blank: the table fills it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::mqtt_config::MqttConfig;
use crate::route::{Match, Route};

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory of the state files; with `None` the bridge keeps none, as in the demo.
    pub data_dir: Option<PathBuf>,
    /// Which of the routes that match a message take it.
    pub match_: Match,
    /// Whether a changed file is read again by itself.
    pub reload: Reload,
    /// The connections to MQTT brokers, at least one. A section with `connections = N` makes N of them.
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

impl Config {
    /// The routes of one connection, with the filters that it subscribes: those whose `from` names its
    /// section, shared within its group if it has one.
    pub fn routes_of(&self, mqtt: &MqttConfig) -> Vec<Route> {
        let routes = self.routes.iter().filter(|route| route.is_from(&mqtt.section));
        let subscribed = |route: &Route| match &mqtt.group {
            Some(group) => Route { filter: route.filter.shared_in(group), ..route.clone() },
            None => route.clone(),
        };
        routes.map(subscribed).collect()
    }

    /// The names of the connections, in order.
    pub fn connection_names(&self) -> impl Iterator<Item = Arc<str>> {
        self.connections.iter().map(|mqtt| Arc::clone(&mqtt.name))
    }

    /// The largest payload that any connection forwards, in bytes.
    pub(super) fn max_payload_bytes(&self) -> usize {
        self.connections.iter().map(|mqtt| mqtt.max_payload_bytes).max().unwrap_or_default()
    }
}

/// `reload`: when the configuration is read again. SIGHUP always does it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reload {
    /// `"signal"`: on SIGHUP only.
    #[default]
    Signal,
    /// `"watch"`: when the file has changed, too.
    Watch,
}

/// `[kafka]`
#[derive(Clone, PartialEq, Eq, Default)]
pub struct KafkaConfig {
    /// At least one `host:port`.
    pub brokers: Vec<String>,
    /// `[kafka.properties]`, for librdkafka; none contradicts the bridge's own settings.
    pub properties: BTreeMap<String, String>,
    /// The file with `sasl.password`.
    pub sasl_password_file: Option<PathBuf>,
    /// The file with `ssl.key.password`.
    pub ssl_key_password_file: Option<PathBuf>,
    /// The file with `sasl.oauthbearer.client.secret`.
    pub oauth_client_secret_file: Option<PathBuf>,
    /// The region of Amazon MSK, where the brokers' names do not say it.
    pub aws_region: Option<String>,
    /// How many Kafka topics templates may name at a time, and how many of them are created in an hour.
    pub kafka_topics_max: usize,
}

/// Redacts the secrets among the properties.
impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties = self.properties.iter();
        let properties: BTreeMap<_, _> =
            properties.map(|(name, value)| (name, super::secrets::shown(name, value))).collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("properties", &properties)
            .finish_non_exhaustive()
    }
}

/// `[delivery]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryConfig {
    /// The in-flight window in messages.
    pub window_messages: usize,
    /// The number of messages in the window up to which QoS 0 messages are admitted.
    pub qos0_window_messages: usize,
    /// The in-flight window in bytes of MQTT topic, payload and properties.
    pub window_bytes: usize,
    /// How long a stopping bridge waits for the messages in flight.
    pub drain_deadline: Duration,
    /// How long the window must be full before QoS 0 messages are shed; `None` is `"never"`.
    pub qos0_shed_after: Option<Duration>,
}

/// `[dead_letter]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetterConfig {
    /// The Kafka topic for dead letters; with `None` they go to `file`.
    pub kafka_topic: Option<String>,
    /// The file of JSON lines.
    pub file: PathBuf,
    /// The largest size of the file. At this size, messages that would have to go there are not
    /// acknowledged.
    pub file_max_bytes: u64,
    /// The largest size of the file of dead letters of messages that match no route, or of those that one run
    /// writes to `kafka_topic`. Above it they are dropped.
    pub unmatched_max_bytes: u64,
    /// How long a message is held that Kafka refuses for a cause that may pass (ACL, missing Kafka
    /// topic); `None` is `"never"`: it does not become a dead letter.
    pub after: Option<Duration>,
}

/// `[supervisor]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SupervisorConfig {
    /// The first pause before a failed actor is restarted.
    pub backoff_min: Duration,
    /// The longest pause before a failed actor is restarted.
    pub backoff_max: Duration,
    /// Consecutive failures of one actor after which the process ends with exit code 70.
    pub failures_max: u32,
    /// How long an actor may make no progress before the process ends with exit code 75.
    pub hang_after: Duration,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpConfig {
    /// The address of health and metrics; `None` is `"off"`. Port 0 takes a free port.
    pub listen: Option<SocketAddr>,
    /// The file with the token that pages other than `/livez` and `/readyz` ask for; without it they are
    /// served on loopback alone.
    pub token_file: Option<PathBuf>,
    /// Whether `/metrics` asks for the token too.
    pub metrics_token: bool,
    /// The names under which the server may be asked, beside its address and `localhost` (Host header).
    pub host_names: Vec<String>,
    /// The server's certificate with its chain, PEM; with `None` it speaks plain HTTP.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How log lines are written.
    pub format: LogFormat,
    /// The least important level that is written.
    pub level: slog::Level,
    /// Which messages get a timing record.
    pub timing: TimingPolicy,
    /// How often the summary record is written while something happens.
    pub summary: Duration,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// `Terminal` if stderr is a terminal, else `Json`.
    #[default]
    Auto,
    /// JSON lines.
    Json,
    /// Lines for a terminal.
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
