//! What was found out, before anybody judges it.

use std::path::PathBuf;
use std::time::Duration;

use mqtt_kafka_bridge::certificate::Certificate;
use mqtt_kafka_bridge::config::BrokerAddress;
use mqtt_kafka_bridge::kafka::greeting::Greeting;
use mqtt_kafka_bridge::kafka::visit::Visit as KafkaVisit;
use mqtt_kafka_bridge::mqtt::visit::Visit as MqttVisit;
use mqtt_kafka_bridge::reach::Reach;

/// The certificates of a file of ours, and which key names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnCertificate {
    /// The key.
    pub(super) key: &'static str,
    /// The file.
    pub(super) path: PathBuf,
    /// What is in it.
    pub(super) found: Result<Vec<Certificate>, String>,
}

/// One address of an MQTT broker.
#[derive(Debug)]
pub(super) struct MqttAddress {
    pub(super) address: BrokerAddress,
    /// The proxy's `host:port`, if one connects us.
    pub(super) proxy: Option<String>,
    /// Of the broker, or of the proxy; `None` for a Unix socket.
    pub(super) reach: Option<Reach>,
    /// `None`: nobody is there.
    pub(super) visit: Option<MqttVisit>,
}

/// One of `kafka.brokers`.
#[derive(Debug)]
pub(super) struct KafkaAddress {
    /// `host:port`
    pub(super) address: String,
    pub(super) reach: Reach,
    /// `None`: nobody is there.
    pub(super) greeting: Option<Greeting>,
}

/// A broker as Kafka names it.
#[derive(Debug)]
pub(super) struct Advertised {
    pub(super) id: i32,
    /// `host:port`
    pub(super) address: String,
    pub(super) reach: Reach,
}

/// Kafka.
#[derive(Debug)]
pub(super) struct KafkaFacts {
    pub(super) addresses: Vec<KafkaAddress>,
    /// `None`: nobody is there. An error: there is no client.
    pub(super) visit: Option<Result<KafkaVisit, String>>,
    pub(super) advertised: Vec<Advertised>,
    pub(super) own_certificate: Option<OwnCertificate>,
    /// Milliseconds since 1970, when Kafka had answered.
    pub(super) now_ms: i64,
}

/// What the bridge needs of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// Open files.
    pub(super) files: u64,
    /// Bytes of memory.
    pub(super) memory_bytes: u64,
}

/// This host, as this process finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostFacts {
    /// The soft and the hard limit of open files; `None`: no limit.
    pub(super) files: (Option<u64>, Option<u64>),
    /// The lowest limit of memory among the control groups that this process is in, in bytes, and its file.
    pub(super) memory: Option<(u64, PathBuf)>,
    pub(super) clock: Clock,
    /// `None`: dead letters go to a Kafka topic.
    pub(super) dead_letters: Option<Disk>,
    /// `None`: no session outlives its connection.
    pub(super) data_dir: Option<Disk>,
}

/// Whether the clock is kept by somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// systemd-timesyncd says so.
    Synchronised,
    /// It runs and has not reached a time server yet.
    NotYet,
    /// Nothing here tells.
    Unknown,
}

/// A place for files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) path: PathBuf,
    /// Whether it can be written: a warning, or why not.
    pub(super) usable: Result<Option<String>, String>,
    /// Bytes that this user may still write there; `None`: not known.
    pub(super) free_bytes: Option<u64>,
    /// By how many bytes it may still grow.
    pub(super) may_grow_bytes: u64,
}

/// How long each look at a name and an address may take, where no key says it.
pub(super) const LOOK_WITHIN: Duration = Duration::from_secs(5);
