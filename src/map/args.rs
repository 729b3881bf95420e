//! The options of `map`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// The longest MQTT topic, in bytes (MQTT 5, section 1.5.4).
pub(super) const MQTT_TOPIC_MAX: usize = u16::MAX as usize;

/// Which message, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct MapArgs {
    /// The MQTT topic that a message is published to
    #[arg(value_name = "MQTT_TOPIC", required_unless_present_any = ["stdin", "live"], conflicts_with_all = ["stdin", "live"])]
    pub mqtt_topic: Option<String>,
    /// Take MQTT topics from the standard input, one a line
    #[arg(long)]
    pub stdin: bool,
    /// Show what comes from the brokers, and produce nothing: with a client id of its own, at QoS 0 and without a
    /// session, outside of every group. Until a signal, --count or --for
    #[arg(long, conflicts_with_all = ["stdin", "payload", "payload_file", "properties", "content_type",
        "response_topic", "correlation_data", "expiry", "retain", "qos"])]
    pub live: bool,
    /// With --live: end after so many messages
    #[arg(long, value_name = "N", requires = "live", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// With --live: end after this time, `10s` or `5m`
    #[arg(long = "for", value_name = "DURATION", requires = "live", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// The payload, as text: it is taken as it is written
    #[arg(short, long, value_name = "TEXT", conflicts_with = "payload_file")]
    pub payload: Option<String>,
    /// The payload, from a file; `-` is the standard input
    #[arg(long, value_name = "FILE")]
    pub payload_file: Option<PathBuf>,
    /// A user property of MQTT 5; can be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = pair)]
    pub properties: Vec<(String, String)>,
    /// The content type of MQTT 5
    #[arg(long, value_name = "TEXT")]
    pub content_type: Option<String>,
    /// The response topic of MQTT 5
    #[arg(long, value_name = "MQTT_TOPIC")]
    pub response_topic: Option<String>,
    /// The correlation data of MQTT 5, as text
    #[arg(long, value_name = "TEXT")]
    pub correlation_data: Option<String>,
    /// What is left of the message expiry interval of MQTT 5
    #[arg(long, value_name = "SECONDS")]
    pub expiry: Option<u32>,
    /// A message that the broker had retained
    #[arg(long)]
    pub retain: bool,
    /// The QoS at which it is delivered
    #[arg(long, value_name = "0|1", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: u8,
    /// Only the routes of this connection (mqtt.name)
    #[arg(long, value_name = "NAME")]
    pub connection: Option<String>,
    /// One JSON object a line for each record, drop or refusal
    #[arg(long)]
    pub json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "expected NAME=VALUE".to_owned())
}
