//! From the written values to a configuration: reads every key, checks the keys against one another, then
//! checks `[kafka.properties]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::client;
use super::errors::{ConfigError, Location};
use super::kafka_login;
use super::keys::PROPERTIES;
use super::properties;
use super::property_table::Limits;
use super::reading::Reading;
use super::relations;
use super::resolved::{Config, HttpConfig, KafkaConfig};
use super::source::Source;
use super::transport;
use super::value::Value;

/// Most routes of one configuration. A message can go to each of them:
/// [`Destinations::MAX`](crate::message::Destinations::MAX) is more.
const ROUTES_MAX: usize = 10_000;

/// Resolves `source`.
///
/// # Errors
/// Everything that is wrong, in no particular order.
pub(super) fn resolve(source: Source) -> Result<Config, Vec<ConfigError>> {
    let mut reading = Reading::of(source, |_| true);
    if reading.source.routes == 0 {
        let text = "expected at least one [[routes]] with filter and kafka_topic, found none";
        reading.refuse("routes", text.to_owned());
    }
    if reading.source.routes > ROUTES_MAX {
        let text =
            format!("expected at most {ROUTES_MAX} [[routes]], found {}", reading.source.routes);
        reading.refuse("routes", text);
        return Err(reading.source.errors);
    }
    bind(&mut reading);
    for (path, text) in relations::check(&reading) {
        reading.refuse(&path, text);
    }
    let properties = properties_of(&mut reading);
    if !reading.source.errors.is_empty() {
        return Err(reading.source.errors);
    }
    let mut config = reading.draft.finish();
    config.kafka.properties = properties;
    Ok(config)
}

/// Resolves what the placeholders of each route name.
fn bind(reading: &mut Reading) {
    for at in 0..reading.draft.config.routes.len() {
        let path = |key: &str| format!("routes[{at}].{key}");
        if !reading.is_sound(&[path("filter")]) {
            continue;
        }
        for (key, text) in reading.draft.config.routes[at].bind() {
            reading.refuse(&path(key), text);
        }
    }
}

/// Where the pages are, and whether over TLS: `http.listen` and `http.cert_file`. With `is_trusted`, also what it takes
/// to ask for those that want a token: `http.token_file`, and `http.cert_file` with its path. Nothing else is read, so
/// that neither another key nor a file can make it impossible to ask a bridge that runs.
///
/// # Errors
/// What is wrong with these keys.
pub(super) fn resolve_pages(
    mut source: Source,
    is_trusted: bool,
) -> Result<HttpConfig, Vec<ConfigError>> {
    const KEYS: [&str; 3] = ["http.listen", "http.token_file", "http.cert_file"];
    let keys = if is_trusted { &KEYS[..] } else { &KEYS[..1] };
    // Among them a variable that is set for the service only.
    source.errors.retain(|error| error.key == "http" || keys.contains(&&*error.key));
    let mut reading = Reading::of(source, |key| keys.contains(&key.path));
    if !is_trusted {
        let cert_file = reading.is_written("http.cert_file").then(PathBuf::new);
        reading.draft.config.http.cert_file = cert_file;
    }
    if !reading.source.errors.is_empty() {
        return Err(reading.source.errors);
    }
    Ok(reading.draft.config.http)
}

/// What other keys require of `[kafka.properties]`, if they are legal.
fn limits_of(reading: &Reading) -> Option<Limits> {
    let keys = ["delivery.window_messages", "delivery.qos0_window_messages", "log.level"];
    let payloads = (0..reading.draft.mqtt.len()).map(|at| reading.sibling("mqtt.max_payload", at));
    let is_sound = reading.is_sound(&keys) && reading.is_sound(&payloads.collect::<Vec<_>>());
    let Config { delivery, log, .. } = &reading.draft.config;
    let max_payload = reading.draft.mqtt.iter().map(|draft| draft.mqtt.max_payload_bytes).max();
    is_sound.then(|| Limits {
        record_bytes: client::record_max(max_payload.unwrap_or_default()) as u64,
        round_messages: delivery.window_messages.max(delivery.qos0_window_messages) as u64,
        metadata_refresh_ms: client::METADATA_REFRESH_MS,
        logs_debug: slog::Level::Debug.is_at_least(log.level),
    })
}

/// `[kafka.properties]`. Adds its errors to `reading`.
fn properties_of(reading: &mut Reading) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut errors = Vec::new();
    let mut filled = BTreeSet::new();
    for (name, entry) in &reading.source.properties {
        if matches!(entry.value, Value::Filled { .. }) {
            filled.insert(name.clone());
        }
        match entry.value.scalar() {
            Some(value) => drop(properties.insert(name.clone(), value)),
            None if entry.value == Value::Refused => {}
            None => errors.push((
                name.clone(),
                format!("expected a string or a number, found {}", entry.value.kind()),
            )),
        }
    }
    if !properties.is_empty() {
        let limits = limits_of(reading).map(|limits| Limits {
            metadata_refresh_ms: properties
                .get("topic.metadata.refresh.interval.ms")
                .and_then(|value| value.parse().ok())
                .unwrap_or(limits.metadata_refresh_ms),
            ..limits
        });
        let brokers = reading
            .is_sound(&["kafka.brokers"])
            .then(|| reading.draft.config.kafka.brokers.join(","));
        errors.extend(properties::check(&properties, brokers.as_deref(), limits.as_ref(), &filled));
    }
    let files = ["sasl_password_file", "ssl_key_password_file", "oauth_client_secret_file"];
    let files = files.map(|name| format!("kafka.{name}"));
    if errors.is_empty() && files.iter().all(|path| reading.is_sound(&[path])) {
        let kafka = &reading.draft.config.kafka;
        let kafka = KafkaConfig { properties: properties.clone(), ..kafka.clone() };
        errors.extend(transport::check(&properties));
        if errors.is_empty() {
            for (path, text) in kafka_login::check(&kafka) {
                match path.strip_prefix(&format!("{PROPERTIES}.")) {
                    Some(name) => errors.push((name.to_owned(), text)),
                    None => reading.refuse(&path, text),
                }
            }
        }
    }
    for (name, text) in errors {
        let entry = reading.source.properties.get(&name);
        let location = entry.map_or(Location::File, |entry| entry.location.clone());
        let key = format!("{PROPERTIES}.{name}");
        reading.source.errors.push(ConfigError { location, key, text });
    }
    properties
}
