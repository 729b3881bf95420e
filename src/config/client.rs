//! The properties of each librdkafka client: defaults, then the user's properties, then those that the
//! guarantees depend on.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;

use super::authorities;
use super::property_table::{AWS_MSK_IAM, KAFKA_SETTINGS, Rule, rule};
use super::resolved::Config;
use crate::message::DEAD_LETTER_BEGINNING_MAX;

/// Which client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KafkaClient {
    /// Sends whole rounds.
    Pipelined,
    /// Sends one record in each request. A refused record leaves no gap then, so that the refusal must
    /// not be fatal.
    Serial,
    /// Requests metadata and sends no records.
    Probe,
}

/// Both names of that property.
const LINGER: [&str; 2] = ["linger.ms", "queue.buffering.max.ms"];
/// Both names of that property.
pub(super) const MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];
/// Where librdkafka finds the certificate authorities to trust; the bundled OpenSSL looks elsewhere.
pub(super) const TRUST: [&str; 2] = ["ssl.ca.location", "ssl.ca.pem"];
/// Room in a record beside the payload: the longest MQTT topic as the key, and headers.
const BESIDE_PAYLOAD: usize = 2 * 65_536;
/// librdkafka's limits of `message.max.bytes`, of which the lower one is its default.
const MESSAGE_MAX_BYTES: (usize, usize) = (1_000_000, 1_000_000_000);
/// Room in librdkafka's queue for each connection's window (65,535 messages) and dead letters; and the
/// most that librdkafka takes.
const QUEUE_MESSAGES: usize = 100_000;
const QUEUE_MESSAGES_MAX: usize = 10_000_000;
/// The largest integer in librdkafka's properties.
const INTEGER_MAX: usize = 2_147_483_647;

/// The size of the largest record, or dead letter, of payloads of at most so many bytes.
pub(super) fn record_max(max_payload_bytes: usize) -> usize {
    max_payload_bytes.max(DEAD_LETTER_BEGINNING_MAX) + BESIDE_PAYLOAD
}

/// Whether the user has set `linger.ms`, under either name.
pub fn lingers(config: &Config) -> bool {
    config.kafka.properties.keys().any(|name| LINGER.contains(&name.as_str()))
}

/// The properties of this client. `properties` are the user's, with the secrets from files
/// ([`filled`](super::filled)).
pub fn kafka_client(
    config: &Config,
    properties: &BTreeMap<String, String>,
    client: KafkaClient,
) -> ClientConfig {
    let record_max = record_max(config.max_payload_bytes());
    // Each connection has a window of its own.
    let windows = config.connections.len().max(1);
    let queue_kib = (2 * config.delivery.window_bytes * windows + record_max) / 1024 + 1;
    let queue_messages = (QUEUE_MESSAGES * windows).min(QUEUE_MESSAGES_MAX);
    let message_max = record_max.clamp(MESSAGE_MAX_BYTES.0, MESSAGE_MAX_BYTES.1);
    let mut settings = ClientConfig::new();
    settings
        .set("client.id", "mqtt-kafka-bridge")
        // Matters only if a flush ends too soon: the records that it leaves are due then and are sent at
        // once.
        .set("linger.ms", "1")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set("socket.timeout.ms", "30000")
        .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS.to_string())
        .set("topic.metadata.propagation.max.ms", "5000")
        .set("metadata.recovery.rebootstrap.trigger.ms", "60000")
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", message_max.to_string())
        // A round is one request, however small its records are.
        .set("batch.num.messages", "1000000")
        .set("queue.buffering.max.messages", queue_messages.to_string())
        .set("queue.buffering.max.kbytes", queue_kib.min(INTEGER_MAX).to_string());
    if !TRUST.iter().any(|name| properties.contains_key(*name)) {
        settings.set("ssl.ca.location", authorities::found().unwrap_or_else(|| "probe".to_owned()));
    }
    for (name, value) in properties {
        if matches!(rule(name), Some(Rule::Ours)) {
            continue;
        }
        let value = if MECHANISM.contains(&name.as_str()) && value == AWS_MSK_IAM {
            "OAUTHBEARER"
        } else {
            value
        };
        // The only default here with two names: if both were set, either could win.
        let name = if LINGER.contains(&name.as_str()) { LINGER[0] } else { name };
        settings.set(name, value);
    }
    settings.set("bootstrap.servers", config.kafka.brokers.join(","));
    for (name, value, _) in KAFKA_SETTINGS {
        settings.set(*name, *value);
    }
    if client != KafkaClient::Pipelined {
        settings
            .set("enable.gapless.guarantee", "false")
            .set("batch.num.messages", "1")
            .set("linger.ms", "0");
    }
    if client != KafkaClient::Probe {
        settings.set("statistics.interval.ms", STATISTICS_MS.to_string());
    }
    if client == KafkaClient::Probe {
        settings.set("enable.idempotence", "false").set("allow.auto.create.topics", "false");
    }
    settings
}

/// How often a producing client tells what it counts, in milliseconds. It writes about each partition that it has.
const STATISTICS_MS: u64 = 10_000;

/// How often librdkafka refreshes metadata unless the user sets it, in milliseconds.
pub(super) const METADATA_REFRESH_MS: u64 = 60_000;
