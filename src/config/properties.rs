//! `[kafka.properties]`: which properties the bridge passes to librdkafka and which it refuses.
//!
//! librdkafka itself decides whether a property exists and what a value means: the bridge sets each one
//! on a configuration that already has its own settings, and reads them back. A contradiction under any
//! name (`acks`, `request.required.acks`, `topic.acks`) then changes one of the settings.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::ClientConfig;
use rdkafka::config::NativeClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::BaseProducer;

use super::client::{KafkaClient, kafka_client};
use super::java_names;
use super::kafka_login;
use super::property_table::{KAFKA_SETTINGS, Limits, Rule, TABLE, rule};
use super::resolved::Config;
use super::secrets::{REDACTED, Secrets, is_private};
use super::suggest::{distance, nearest, quoted};
use crate::kafka::librdkafka::{PropertyError, set_property};

/// librdkafka quotes values of at most so many bytes in full.
const WHOLE: usize = 256;
/// An idempotent producer allows no more.
const MAX_IN_FLIGHT: (&str, u32) = ("max.in.flight.requests.per.connection", 5);

/// The errors, each with the name of its property. `brokers` is `kafka.brokers`, joined with commas, and
/// `limits` what other keys require; both are `None` while those are not legal. `filled` are the
/// properties with a variable, whose values errors do not show.
pub(super) fn check(
    properties: &BTreeMap<String, String>,
    brokers: Option<&str>,
    limits: Option<&Limits>,
    filled: &BTreeSet<String>,
) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    let mut accepted: Vec<(&str, String)> = Vec::new();
    let mut native = native(brokers);
    for (name, value) in properties {
        // An unknown property may be a misspelt secret.
        let is_hidden = is_private(name) || filled.contains(name) || rule(name).is_none();
        let property = Property { name, value, is_hidden };
        let meaning = check_one(&mut native, property, brokers.is_some()).and_then(|meaning| {
            let fits = limits.map_or(Ok(()), |limits| check_limits(property, &meaning, limits));
            fits.map(|()| meaning)
        });
        match meaning {
            Ok(meaning) => {
                let twin = accepted.iter().find(|(earlier, earlier_meaning)| {
                    native.get(earlier).is_ok_and(|now| now != *earlier_meaning)
                });
                if let Some((earlier, earlier_meaning)) = twin {
                    drop(set_property(&mut native, earlier, earlier_meaning));
                    let text = format!(
                        "contradicts {earlier}, which is another name of the same property"
                    );
                    errors.push((name.clone(), text));
                } else if !matches!(rule(name), Some(Rule::Ours)) {
                    accepted.push((name, meaning));
                }
            }
            Err(text) => errors.push((name.clone(), text)),
        }
    }
    errors
}

/// Creates each producer for a moment, because librdkafka checks all properties together only then: it
/// finds certificates that cannot be read and properties that exclude one another. Contacts no broker.
///
/// # Errors
/// librdkafka's sentence, or why a file with a secret cannot be read.
pub fn try_together(config: &Config) -> Result<(), String> {
    let properties = kafka_login::filled(&config.kafka)?;
    for client in [KafkaClient::Pipelined, KafkaClient::Serial, KafkaClient::Probe] {
        let mut settings = kafka_client(config, &properties, client);
        // With brokers, the producer would begin to connect.
        settings.remove("bootstrap.servers").remove("metadata.broker.list");
        settings.create::<BaseProducer>().map_err(|error| {
            let text = match error {
                KafkaError::ClientCreation(text) => text,
                KafkaError::ClientConfig(_, text, name, _) => format!("{name}: {text}"),
                _ => "no producer".to_owned(),
            };
            let text = Secrets::of(&properties).hide(&text);
            format!("refused by librdkafka: {text}")
        })?;
    }
    Ok(())
}

/// A configuration with the bridge's own settings.
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

/// A property as it was written.
#[derive(Clone, Copy)]
struct Property<'a> {
    name: &'a str,
    value: &'a str,
    /// Errors must not show the value, which may be a secret.
    is_hidden: bool,
}

impl Property<'_> {
    /// The end of an error.
    fn found(&self) -> String {
        if self.is_hidden { String::new() } else { format!("; found {}", quoted(self.value)) }
    }

    /// librdkafka's text about it, without the value if that is hidden.
    fn told(&self, text: &str) -> String {
        if !self.is_hidden || self.value.is_empty() {
            text.to_owned()
        } else if self.value.len() > WHOLE {
            // The text may quote a part of the value.
            "an invalid value".to_owned()
        } else {
            text.replace(self.value, REDACTED)
        }
    }
}

/// Checks the value, which librdkafka reads as `meaning`, against the table and the other keys.
fn check_limits(property: Property<'_>, meaning: &str, limits: &Limits) -> Result<(), String> {
    let expected = match rule(property.name) {
        Some(Rule::Least(least, why)) => {
            let least = least(limits);
            let is_enough = meaning.parse::<f64>().is_ok_and(|number| number >= least as f64);
            (!is_enough).then(|| format!("expected at least {least}, because {why}"))
        }
        Some(Rule::Only(words, why)) => (!words.contains(&meaning))
            .then(|| format!("expected {}, because {why}", words.join(" or "))),
        Some(Rule::WhereDebugIsLogged) => {
            (!property.value.is_empty() && !limits.logs_debug).then(|| {
                "expected log.level = \"debug\" with it, because librdkafka's debug lines have that level"
                    .to_owned()
            })
        }
        _ => None,
    };
    expected.map_or(Ok(()), |expected| Err(format!("{expected}{}", property.found())))
}

/// Sets one property on `native`. Returns how librdkafka reads it, or the error.
fn check_one(
    native: &mut NativeClientConfig,
    property: Property<'_>,
    has_brokers: bool,
) -> Result<String, String> {
    let Property { name, value, is_hidden } = property;
    let found = || property.found();
    if let Some(bare) = name.strip_prefix("topic.")
        && rule(name).is_none()
        && rule(bare).is_some()
    {
        return Err(format!("expected the property under its own name, {bare}"));
    }
    match rule(name) {
        Some(Rule::Refused(why)) => return Err(format!("not allowed, because {why}")),
        // `kafka_login` checks them together.
        Some(Rule::Ours) => return Ok(value.to_owned()),
        _ => {}
    }
    if let Some(instead) = java_names::instead(name) {
        return Err(format!("a property of Kafka's Java client: {instead}"));
    }
    let before = relied_on(native);
    set_property(native, name, value).map_err(|error| match error {
        PropertyError::Unknown => {
            let known = TABLE.iter().filter(|row| !matches!(row.1, Rule::Refused(_)));
            let near = nearest(name, known.map(|row| row.0), distance);
            format!("unknown to librdkafka, did you mean {near}?")
        }
        PropertyError::Invalid(text) => {
            format!("refused by librdkafka: {}{}", property.told(&text), found())
        }
    })?;
    if rule(name).is_none() {
        return Err("not allowed, because the bridge does not know what it does".to_owned());
    }
    let after = relied_on(native);
    // Undo a contradiction: the next property is compared with the bridge's own settings.
    let mut undo = |setting: &str, value: &str| drop(set_property(native, setting, value));
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
                "contradicts enable.idempotence=true, which the bridge sets: expected 1 to {}{}",
                MAX_IN_FLIGHT.1,
                found()
            ));
        }
        if *setting == "bootstrap.servers" {
            if !has_brokers {
                continue;
            }
            undo(setting, was);
            return Err(format!("contradicts kafka.brokers ({was}){}", found()));
        }
        let reason = KAFKA_SETTINGS.iter().find(|(name, ..)| name == setting);
        let (_, bridge, why) = reason.expect("the setting comes from this table");
        undo(setting, bridge);
        return Err(format!(
            "contradicts {setting}={bridge}, which the bridge sets because {why}{}",
            found()
        ));
    }
    let meaning = native.get(name).unwrap_or_default();
    if is_laxly_read(value, &meaning) {
        if is_hidden {
            return Err("expected a number".to_owned());
        }
        return Err(format!(
            "expected a number, but librdkafka would read this as {meaning}{}",
            found()
        ));
    }
    Ok(meaning)
}

/// The settings that the bridge relies on, as they read now.
fn relied_on(native: &NativeClientConfig) -> Vec<(&'static str, String)> {
    let names = KAFKA_SETTINGS.iter().map(|(name, ..)| *name);
    names
        .chain(["bootstrap.servers", MAX_IN_FLIGHT.0])
        .map(|name| (name, native.get(name).unwrap_or_default()))
        .collect()
}

/// Whether librdkafka has read only a part of a number: it reads `7x` as 7, and cuts numbers to 32 bits.
/// `meaning` is what it made of `value`.
fn is_laxly_read(value: &str, meaning: &str) -> bool {
    if value == meaning {
        return false;
    }
    match (meaning.parse::<f64>(), value.parse::<f64>()) {
        (Ok(meaning), Ok(value)) => (meaning - value).abs() > f64::EPSILON * value.abs(),
        // A word such as `all` stands for a number; text that begins with a digit does not.
        (Ok(_), Err(_)) => !value.starts_with(|c: char| c.is_ascii_alphabetic()),
        (Err(_), _) => false,
    }
}
