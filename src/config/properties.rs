//! `[kafka.properties]`: what passes through to librdkafka, and what is refused.
//!
//! librdkafka itself is asked whether a property exists and what a value means: each is set on a
//! configuration that already holds what the bridge relies on, and then read back. Whatever name a
//! contradiction hides behind (`acks`, `request.required.acks`, `topic.acks`), what the bridge
//! relies on then reads differently.

use std::collections::BTreeMap;
use std::ffi::CString;

use rdkafka::ClientConfig;
use rdkafka::bindings::{rd_kafka_conf_res_t, rd_kafka_conf_set};
use rdkafka::config::NativeClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

use super::source::{distance, nearest};
use super::value::quoted;

/// What the bridge sets, with its reason. `bootstrap.servers` comes from `kafka.brokers` in addition.
pub const KAFKA_SETTINGS: &[(&str, &str, &str)] = &[
    ("enable.idempotence", "true", "without it a retry can reorder and duplicate"),
    ("acks", "all", "a PUBACK promises that every in-sync replica has the record"),
    ("message.timeout.ms", "0", "a message waits for Kafka for as long as it takes"),
    ("enable.gapless.guarantee", "true", "without it a refused record is overtaken by later ones"),
];

/// More is not idempotent.
const MAX_IN_FLIGHT: (&str, u32) = ("max.in.flight.requests.per.connection", 5);

/// Refused outright, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("delivery.report.only.error", "the bridge acknowledges by delivery reports"),
    ("transactional.id", "the bridge uses no transactions"),
    ("plugin.library.paths", "the bridge loads no foreign code"),
];

/// Properties that only a consumer has (librdkafka 2.12, CONFIGURATION.md, marked `C`).
const CONSUMER_ONLY: &[&str] = &[
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "check.crcs",
    "consume.callback.max.messages",
    "coordinator.query.interval.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.partition.eof",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.protocol.type",
    "group.remote.assignor",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "offset.store.method",
    "offset.store.path",
    "offset.store.sync.interval.ms",
    "partition.assignment.strategy",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
];

/// Names that are worth proposing for a misspelt one.
const PRODUCER_COMMON: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "client.id",
    "client.rack",
    "compression.codec",
    "compression.level",
    "compression.type",
    "connections.max.idle.ms",
    "debug",
    "linger.ms",
    "log_level",
    "message.max.bytes",
    "metadata.max.age.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.oauthbearer.config",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "statistics.interval.ms",
    "topic.metadata.refresh.interval.ms",
];

/// What stands where a secret would.
pub(super) const REDACTED: &str = "[redacted]";

/// Whether no output may show this property's value. By the parts of its name, so that a misspelt
/// secret is one too.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "password",
        "passwd",
        "secret",
        "passphrase",
        "private",
        "oauthbearer.config",
        "key.pem",
        "token",
    ]
    .iter()
    .any(|part| name.contains(part))
        && !name.ends_with(".url")
}

/// The value for output.
pub(super) fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name) { REDACTED } else { value }
}

/// What is wrong with the properties, each with its name; `brokers` is `kafka.brokers`, joined with
/// commas, if that is legal.
pub(super) fn check(
    properties: &BTreeMap<String, String>,
    brokers: Option<&str>,
) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    let mut accepted: Vec<(&str, String)> = Vec::new();
    let native = native(brokers);
    for (name, value) in properties {
        match check_one(&native, name, value, brokers.is_some()) {
            Ok(meaning) => {
                let twin = accepted.iter().find(|(earlier, earlier_meaning)| {
                    native.get(earlier).is_ok_and(|now| now != *earlier_meaning)
                });
                if let Some((earlier, earlier_meaning)) = twin {
                    drop(set(&native, earlier, earlier_meaning));
                    let text = format!(
                        "expected one value for one property, found {earlier} with another; both \
                         names mean the same"
                    );
                    errors.push((name.clone(), text));
                } else {
                    accepted.push((name, meaning));
                }
            }
            Err(text) => errors.push((name.clone(), text)),
        }
    }
    errors
}

/// What librdkafka says about all properties together, which it does only when it makes a producer:
/// certificates that cannot be read, properties that exclude one another. Contacts no broker.
///
/// # Errors
/// librdkafka's sentence.
pub(super) fn try_together(properties: &BTreeMap<String, String>) -> Result<(), String> {
    let mut config = ClientConfig::new();
    for (name, value, _) in KAFKA_SETTINGS {
        config.set(*name, *value);
    }
    let others = properties.iter().filter(|(name, _)| !is_bootstrap(name));
    config.extend(others.map(|(name, value)| (name.clone(), value.clone())));
    config.create::<BaseProducer>().map(drop).map_err(|error| {
        let mut text = match error {
            KafkaError::ClientCreation(text) => text,
            other => other.to_string(),
        };
        for (_, value) in
            properties.iter().filter(|(name, value)| is_secret(name) && !value.is_empty())
        {
            text = text.replace(value.as_str(), REDACTED);
        }
        format!("refused by librdkafka: {text}")
    })
}

/// Such a producer would begin to connect.
fn is_bootstrap(name: &str) -> bool {
    matches!(name, "bootstrap.servers" | "metadata.broker.list")
}

/// A configuration with what the bridge sets.
fn native(brokers: Option<&str>) -> NativeClientConfig {
    let mut config = ClientConfig::new();
    for (name, value, _) in KAFKA_SETTINGS {
        config.set(*name, *value);
    }
    if let Some(brokers) = brokers.filter(|brokers| !brokers.contains('\0')) {
        config.set("bootstrap.servers", brokers);
    }
    config.create_native_config().expect("librdkafka knows what the bridge sets")
}

/// Sets one property on `native`; what it means there, or what is wrong.
fn check_one(
    native: &NativeClientConfig,
    name: &str,
    value: &str,
    has_brokers: bool,
) -> Result<String, String> {
    let found = || if is_secret(name) { REDACTED.to_owned() } else { quoted(value) };
    let bare = name.strip_prefix("topic.").unwrap_or(name);
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == bare) {
        return Err(format!("refused, since {why}"));
    }
    if CONSUMER_ONLY.contains(&bare) {
        return Err("refused, since only a consumer has it and the bridge produces".to_owned());
    }
    let before = relied_on(native);
    set(native, name, value).map_err(|refusal| match refusal {
        Refusal::Unknown => {
            let near = nearest(name, PRODUCER_COMMON.iter(), distance);
            format!("unknown to librdkafka, the nearest common property is {near}")
        }
        Refusal::Invalid(text) => format!("refused by librdkafka: {text}; found {}", found()),
    })?;
    let after = relied_on(native);
    // A contradiction must not stay: what comes next is compared with what the bridge sets.
    let undo = |setting: &str, value: &str| drop(set(native, setting, value));
    for ((setting, was), (_, is)) in before.iter().zip(&after) {
        if was == is {
            continue;
        }
        if *setting == MAX_IN_FLIGHT.0 {
            if is.parse::<u32>().is_ok_and(|n| n <= MAX_IN_FLIGHT.1) {
                continue;
            }
            undo(setting, was);
            return Err(format!(
                "contradicts enable.idempotence=true, which the bridge sets: expected 1 to {}, \
                 found {}",
                MAX_IN_FLIGHT.1,
                found()
            ));
        }
        if *setting == "bootstrap.servers" {
            if !has_brokers {
                continue;
            }
            undo(setting, was);
            return Err(format!("contradicts kafka.brokers ({was}), found {}", found()));
        }
        let reason = KAFKA_SETTINGS.iter().find(|(name, ..)| name == setting);
        let (_, bridge, why) = reason.expect("the setting comes from this table");
        undo(setting, bridge);
        return Err(format!(
            "contradicts {setting}={bridge}, which the bridge sets since {why}; found {}",
            found()
        ));
    }
    let meaning = native.get(name).unwrap_or_default();
    if is_laxly_read(value, &meaning) {
        return Err(format!(
            "expected a number, which librdkafka would take for {meaning}; found {}",
            found()
        ));
    }
    Ok(meaning)
}

/// What the bridge relies on, as it reads now.
fn relied_on(native: &NativeClientConfig) -> Vec<(&'static str, String)> {
    let names = KAFKA_SETTINGS.iter().map(|(name, ..)| *name);
    names
        .chain(["bootstrap.servers", MAX_IN_FLIGHT.0])
        .map(|name| (name, native.get(name).unwrap_or_default()))
        .collect()
}

/// librdkafka reads numbers as far as they go, and cuts them to 32 bits: `7x` is 7. Whether `value`
/// is such a one, `meaning` being what it became.
fn is_laxly_read(value: &str, meaning: &str) -> bool {
    if value == meaning {
        return false;
    }
    match (meaning.parse::<f64>(), value.parse::<f64>()) {
        (Ok(meaning), Ok(value)) => (meaning - value).abs() > f64::EPSILON * value.abs(),
        // A word such as `all` stands for a number; what begins like a number does not.
        (Ok(_), Err(_)) => !value.starts_with(|c: char| c.is_ascii_alphabetic()),
        (Err(_), _) => false,
    }
}

enum Refusal {
    Unknown,
    Invalid(String),
}

fn set(native: &NativeClientConfig, name: &str, value: &str) -> Result<(), Refusal> {
    let no_nul = |_| Refusal::Invalid("a NUL character".to_owned());
    let (name, value) = (CString::new(name).map_err(no_nul)?, CString::new(value).map_err(no_nul)?);
    let mut error = [0_u8; 512];
    // SAFETY: `native` owns a live rd_kafka_conf_t, which is not shared between threads here; the
    // strings end in NUL and outlive the call; librdkafka writes at most `error.len()` bytes.
    let result = unsafe {
        rd_kafka_conf_set(
            native.ptr(),
            name.as_ptr(),
            value.as_ptr(),
            error.as_mut_ptr().cast(),
            error.len(),
        )
    };
    match result {
        rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
        rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => Err(Refusal::Unknown),
        rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => {
            let text = error.split(|byte| *byte == 0).next().unwrap_or_default();
            Err(Refusal::Invalid(String::from_utf8_lossy(text).trim_end().to_owned()))
        }
    }
}
