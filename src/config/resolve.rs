//! From what was written to what it means: defaults filled in, limits and contradictions checked.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use super::client;
use super::errors::{ConfigError, Location};
use super::keys::{self, Fallback, Form, Key, PROPERTIES};
use super::mqtt_url::{self, MqttUrl};
use super::properties;
use super::property_table::Limits;
use super::resolved::{
    Config, DeadLetterConfig, DeliveryConfig, HttpConfig, KafkaConfig, LogConfig, LogFormat,
    MqttConfig, Protocol, RenumberedRedelivery, Resubscribe, Secret, SupervisorConfig,
    TimingPolicy, Unmatched,
};
use super::source::Source;
use super::suggest::quoted;
use super::text;
use super::transport;
use super::value::{Value, is_kafka_topic};
use crate::message::{Qos, RouteId};
use crate::route::{Filter, PayloadForm, Route};

/// The longest string of MQTT, in bytes (MQTT 5, section 1.5.4).
const MQTT_STRING_MAX: usize = 65_535;
/// So much of a file with a secret is read: all of one that is legal, twice that in UTF-16, and a bit.
const SECRET_FILE_MAX: u64 = 2 * MQTT_STRING_MAX as u64 + 4;

/// Keys whose value no error repeats, beside those of [`Form::Secret`]. Some brokers take a token for the
/// user name, and a secret is easily written where its file was asked for.
const PRIVATE: &[&str] = &["mqtt.url", "mqtt.username", "mqtt.password_file"];

/// Resolves `source`.
///
/// # Errors
/// All that is wrong, in no particular order.
pub(super) fn resolve(source: Source) -> Result<Config, Vec<ConfigError>> {
    let mut reader = Reader { source };
    let data_dir = reader.path("data_dir");
    let routes = reader.routes();
    let mqtt = reader.mqtt();
    let delivery = reader.delivery();
    let dead_letter = reader.dead_letter(routes.as_deref());
    let supervisor = reader.supervisor();
    let http = reader.http();
    let log = reader.log();
    let limits = mqtt.as_ref().zip(delivery.as_ref()).zip(log.as_ref());
    let limits = limits.map(|((mqtt, delivery), log)| limits_of(mqtt, delivery, log));
    let kafka = reader.kafka(limits);
    if !reader.source.errors.is_empty() {
        return Err(reader.source.errors);
    }
    let all = || {
        Some(Config {
            data_dir: Some(data_dir?),
            connections: vec![mqtt?],
            routes: routes?,
            kafka: kafka?,
            delivery: delivery?,
            dead_letter: dead_letter?,
            supervisor: supervisor?,
            http: http?,
            log: log?,
        })
    };
    all().ok_or_else(|| {
        let text = "some key could not be read".to_owned();
        vec![ConfigError { location: Location::File, key: String::new(), text }]
    })
}

/// What these sections ask of `[kafka.properties]`.
fn limits_of(mqtt: &MqttConfig, delivery: &DeliveryConfig, log: &LogConfig) -> Limits {
    Limits {
        record_bytes: client::record_max(mqtt.max_payload_bytes) as u64,
        round_messages: delivery.window_messages.max(delivery.qos0_window_messages) as u64,
        metadata_refresh_ms: client::METADATA_REFRESH_MS,
        logs_debug: slog::Level::Debug.is_at_least(log.level),
    }
}

/// Reads keys. Each method answers `None` once it, or an earlier step, has put down an error.
struct Reader {
    source: Source,
}

/// Why a value is refused.
enum Refused {
    /// It is not of the key's form.
    Form,
    /// The whole sentence.
    Because(String),
}

impl Reader {
    fn mqtt(&mut self) -> Option<MqttConfig> {
        let url = self.read("mqtt.url", |value, _| {
            let text = value.text().ok_or(Refused::Form)?;
            mqtt_url::parse(text).map_err(|error| match value {
                // Of what a variable says no part is known to be no password.
                Value::Filled { .. } => Refused::Because(format!(
                    "expected mqtt://host or mqtt://host:port once its variables are filled in; \
                     user and password percent-encoded; found {}",
                    quoted(&mqtt_url::redacted(&value.found()))
                )),
                _ => Refused::Because(error),
            })
        });
        let keep_alive = self.duration("mqtt.keep_alive");
        let session_expiry_s = self.optional_duration("mqtt.session_expiry").map(|expiry| {
            // The largest number of seconds means for ever (MQTT 5, section 3.1.2.11.2).
            expiry.map_or(u32::MAX, |expiry| u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX))
        });
        let protocol = self.read("mqtt.protocol", |value, _| match value.text() {
            Some("auto") => Ok(Protocol::Auto),
            Some("5") => Ok(Protocol::V5),
            Some("3.1.1") => Ok(Protocol::V311),
            _ => Err(Refused::Form),
        });
        let client_id = self.client_id(session_expiry_s);
        let credentials = self.credentials(url.as_ref(), protocol);
        let max_payload_bytes = self.size("mqtt.max_payload").map(saturating_usize);
        let connect_timeout = self.duration("mqtt.connect_timeout");
        let (reconnect_min, reconnect_max) =
            self.ordered("mqtt.reconnect_min", "mqtt.reconnect_max")?;
        let resubscribe = self.read("mqtt.resubscribe", |value, _| match value.text() {
            Some("always") => Ok(Resubscribe::Always),
            Some("new_session") => Ok(Resubscribe::NewSession),
            _ => Err(Refused::Form),
        });
        let unmatched = self.read("mqtt.unmatched", |value, _| match value.text() {
            Some("dead_letter") => Ok(Unmatched::DeadLetter),
            Some("drop") => Ok(Unmatched::Drop),
            _ => Err(Refused::Form),
        });
        let renumbered_redelivery =
            self.read("mqtt.renumbered_redelivery", |value, _| match value.text() {
                Some("off") => Ok(RenumberedRedelivery::Off),
                Some("auto") => Ok(RenumberedRedelivery::Auto),
                Some("on") => Ok(RenumberedRedelivery::On),
                _ => Err(Refused::Form),
            });
        let silence_warning = self.optional_duration("mqtt.silence_warning");
        let (url, (username, password)) = (url?, credentials?);
        Some(MqttConfig {
            name: "mqtt".into(),
            host: url.host,
            port: url.port,
            client_id: client_id?,
            protocol: protocol?,
            keep_alive: keep_alive?,
            session_expiry_s: session_expiry_s?,
            max_payload_bytes: max_payload_bytes?,
            resubscribe: resubscribe?,
            unmatched: unmatched?,
            renumbered_redelivery: renumbered_redelivery?,
            silence_warning: silence_warning?,
            username,
            password: password.map(Secret::new),
            connect_timeout: connect_timeout?,
            reconnect_min,
            reconnect_max,
        })
    }

    fn client_id(&mut self, session_expiry_s: Option<u32>) -> Option<String> {
        let client_id = self.optional("mqtt.client_id", mqtt_string)?.unwrap_or_default();
        if client_id.is_empty() && session_expiry_s? > 0 {
            self.refuse(
                "mqtt.client_id",
                "expected a stable name such as \"bridge-1\", since the session is persistent \
                 (mqtt.session_expiry), found none"
                    .to_owned(),
            );
            return None;
        }
        Some(client_id)
    }

    /// User name and password, from the keys, the file or the URL.
    fn credentials(
        &mut self,
        url: Option<&MqttUrl>,
        protocol: Option<Protocol>,
    ) -> Option<(Option<String>, Option<String>)> {
        let username = self.optional("mqtt.username", mqtt_string)?;
        let password = self.optional("mqtt.password", mqtt_string)?;
        let file = self.optional("mqtt.password_file", |value, _| match value.text() {
            Some(path) if !path.is_empty() => read_secret(path).map_err(Refused::Because),
            _ => Err(Refused::Form),
        })?;
        let mut refused = false;
        if password.is_some() && file.is_some() {
            let text = "expected it or mqtt.password, found both".to_owned();
            self.refuse("mqtt.password_file", text);
            refused = true;
        }
        let password = password.or(file);
        let in_url = url.map(|url| (url.username.clone(), url.password.clone()));
        let (url_username, url_password) = in_url.unwrap_or_default();
        for (key, name, twice) in [
            ("mqtt.username", "user name", username.is_some() && url_username.is_some()),
            ("mqtt.password", "password", password.is_some() && url_password.is_some()),
        ] {
            if twice {
                let text = format!("expected the {name} here or in mqtt.url, found both");
                self.refuse(key, text);
                refused = true;
            }
        }
        let (username, password) = (username.or(url_username), password.or(url_password));
        if password.is_some() && username.is_none() && protocol? != Protocol::V5 {
            let text = "expected a user name with the password, since MQTT 3.1.1 has none without \
                        (mqtt.protocol = \"5\" has), found none";
            self.refuse("mqtt.username", text.to_owned());
            refused = true;
        }
        (!refused).then_some((username, password))
    }

    fn routes(&mut self) -> Option<Vec<Route>> {
        if self.source.routes == 0 {
            let text = "expected at least one [[routes]] with filter and kafka_topic, found none";
            self.refuse("routes", text.to_owned());
            return None;
        }
        let routes: Vec<_> = (0..self.source.routes).map(|index| self.route(index)).collect();
        let mut first = BTreeMap::new();
        for (index, route) in routes.iter().enumerate() {
            let Some(route) = route else { continue };
            if let Some(earlier) = first.insert(route.filter.as_str(), index) {
                let path = format!("routes[{index}].filter");
                let found = self.found(&path);
                let text =
                    format!("expected each filter once, found {found} in routes[{earlier}] too");
                self.refuse(&path, text);
            }
        }
        let routes: Vec<_> = routes.into_iter().collect::<Option<_>>()?;
        self.refuse_disagreeing(&routes);
        Some(routes)
    }

    /// Plain and shared subscriptions of the same MQTT topics, or of several groups: each brings every
    /// message, and nothing tells them apart where groups have several members.
    fn refuse_disagreeing(&mut self, routes: &[Route]) {
        for (index, route) in routes.iter().enumerate() {
            let earlier = routes[..index].iter().find(|r| !r.filter.agrees_with(&route.filter));
            let Some(earlier) = earlier else { continue };
            let text = format!(
                "expected no MQTT topic in common with {} of routes[{}], found {}: they are not \
                 of one kind, plain or one shared group, and each would bring every message",
                quoted(earlier.filter.as_str()),
                earlier.id.0,
                quoted(route.filter.as_str())
            );
            self.refuse(&format!("routes[{index}].filter"), text);
        }
    }

    fn route(&mut self, index: usize) -> Option<Route> {
        let path = |name: &str| format!("routes[{index}].{name}");
        let filter = self.read(&path("filter"), |value, _| {
            let text = value.text().ok_or(Refused::Form)?;
            text.parse::<Filter>()
                .map_err(|error| Refused::Because(format!("{error}, found {}", value.found())))
        });
        let qos = self.read(&path("qos"), |value, form| match value.count(form) {
            Some(0) => Ok(Qos::AtMostOnce),
            Some(_) => Ok(Qos::AtLeastOnce),
            None if value.found().trim_matches('"') == "2" => Err(Refused::Because(
                "expected 0 or 1, found 2: the bridge delivers at least once, and QoS 1 is what \
                 asks for that"
                    .to_owned(),
            )),
            None => Err(Refused::Form),
        });
        let kafka_topic = self.read(&path("kafka_topic"), kafka_topic);
        let payload = self.read(&path("payload"), |value, _| match value.text() {
            Some("raw") => Ok(PayloadForm::Raw),
            Some("json") => Ok(PayloadForm::Json),
            _ => Err(Refused::Form),
        });
        Some(Route {
            id: RouteId(index),
            filter: filter?,
            qos: qos?,
            kafka_topic: kafka_topic?.into(),
            payload: payload?,
        })
    }

    fn kafka(&mut self, limits: Option<Limits>) -> Option<KafkaConfig> {
        let brokers = self.read("kafka.brokers", |value, _| {
            let brokers = value.list().ok_or_else(|| match value {
                Value::List(_) => {
                    Refused::Because("expected host:port for each, found no string".to_owned())
                }
                _ => Refused::Form,
            })?;
            let wrong = brokers.iter().find(|broker| !is_host_port(broker));
            match wrong {
                Some(wrong) => {
                    let found = match (value, wrong.rsplit_once('@')) {
                        (Value::Text(_), None) => quoted(wrong),
                        (Value::List(items), None) => {
                            let item = items.iter().find(|item| item.text() == Some(wrong));
                            item.unwrap_or(value).found()
                        }
                        (_, None) => value.found(),
                        (_, Some(_)) => "a user or password, which has no place there".to_owned(),
                    };
                    Err(Refused::Because(format!("expected host:port for each, found {found}")))
                }
                None if brokers.is_empty() => Err(Refused::Because(
                    "expected at least one host:port, found an empty list".to_owned(),
                )),
                None => Ok(brokers.into_iter().map(str::to_owned).collect::<Vec<_>>()),
            }
        });
        let mut properties = BTreeMap::new();
        let mut errors = Vec::new();
        let mut filled = BTreeSet::new();
        for (name, entry) in &self.source.properties {
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
        let joined = brokers.as_ref().map(|brokers| brokers.join(","));
        if !properties.is_empty() {
            let limits = limits.map(|limits| Limits {
                metadata_refresh_ms: properties
                    .get("topic.metadata.refresh.interval.ms")
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(limits.metadata_refresh_ms),
                ..limits
            });
            errors.extend(properties::check(
                &properties,
                joined.as_deref(),
                limits.as_ref(),
                &filled,
            ));
            if errors.is_empty() {
                errors.extend(transport::check(&properties));
            }
        }
        for (name, text) in errors {
            let location = self.source.properties.get(&name).map(|entry| entry.location.clone());
            self.source.errors.push(ConfigError {
                location: location.unwrap_or(Location::File),
                key: format!("{PROPERTIES}.{name}"),
                text,
            });
        }
        Some(KafkaConfig { brokers: brokers?, properties })
    }

    fn delivery(&mut self) -> Option<DeliveryConfig> {
        let window_messages = self.count("delivery.window_messages").map(saturating_usize);
        let qos0_window_messages =
            self.count("delivery.qos0_window_messages").map(saturating_usize);
        let window_bytes = self.size("delivery.window_bytes").map(saturating_usize);
        let drain_deadline = self.duration("delivery.drain_deadline");
        let qos0_shed_after = self.optional_duration("delivery.qos0_shed_after");
        Some(DeliveryConfig {
            window_messages: window_messages?,
            qos0_window_messages: qos0_window_messages?,
            window_bytes: window_bytes?,
            drain_deadline: drain_deadline?,
            qos0_shed_after: qos0_shed_after?,
        })
    }

    fn dead_letter(&mut self, routes: Option<&[Route]>) -> Option<DeadLetterConfig> {
        let to = self.optional("dead_letter.kafka_topic", kafka_topic);
        if let (Some(Some(to)), Some(routes)) = (&to, routes)
            && let Some(index) = routes.iter().position(|route| *route.kafka_topic == **to)
        {
            let found = self.found("dead_letter.kafka_topic");
            let text = format!(
                "expected a Kafka topic of its own, found {found}, which is where routes[{index}] writes"
            );
            self.refuse("dead_letter.kafka_topic", text);
        }
        let file = self.path("dead_letter.file");
        let unmatched_max_bytes = self.size("dead_letter.unmatched_max");
        let file_max_bytes = self.size("dead_letter.file_max");
        let after = self.optional_duration("dead_letter.after");
        Some(DeadLetterConfig {
            kafka_topic: to?,
            file: file?,
            file_max_bytes: file_max_bytes?,
            unmatched_max_bytes: unmatched_max_bytes?,
            after: after?,
        })
    }

    fn supervisor(&mut self) -> Option<SupervisorConfig> {
        let backoff = self.ordered("supervisor.backoff_min", "supervisor.backoff_max");
        let failures_max = self.count("supervisor.failures_max");
        let hang_after = self.duration("supervisor.hang_after");
        let (backoff_min, backoff_max) = backoff?;
        Some(SupervisorConfig {
            backoff_min,
            backoff_max,
            failures_max: u32::try_from(failures_max?).unwrap_or(u32::MAX),
            hang_after: hang_after?,
        })
    }

    fn http(&mut self) -> Option<HttpConfig> {
        let listen = self.read("http.listen", |value, _| match value.text() {
            Some("off") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Refused::Form),
            None => Err(Refused::Form),
        });
        Some(HttpConfig { listen: listen? })
    }

    fn log(&mut self) -> Option<LogConfig> {
        let format = self.read("log.format", |value, _| match value.text() {
            Some("auto") => Ok(LogFormat::Auto),
            Some("json") => Ok(LogFormat::Json),
            Some("terminal") => Ok(LogFormat::Terminal),
            _ => Err(Refused::Form),
        });
        let level = self.read("log.level", |value, _| match value.text() {
            Some("critical") => Ok(slog::Level::Critical),
            Some("error") => Ok(slog::Level::Error),
            Some("warning") => Ok(slog::Level::Warning),
            Some("info") => Ok(slog::Level::Info),
            Some("debug") => Ok(slog::Level::Debug),
            Some("trace") => Ok(slog::Level::Trace),
            _ => Err(Refused::Form),
        });
        let timing: Option<TimingPolicy> =
            self.read("log.timing", |value, _| value.timing().ok_or(Refused::Form));
        Some(LogConfig { format: format?, level: level?, timing: timing? })
    }

    /// A key that is required or has a default.
    fn read<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&Value, &Form) -> Result<T, Refused>,
    ) -> Option<T> {
        let key = key_of(path);
        if let Some(value) = self.optional(path, &parse)? {
            return Some(value);
        }
        match key.fallback {
            Fallback::Value(text) => parse(&Value::Text(text.to_owned()), &key.form).ok(),
            Fallback::Required(example) | Fallback::Unset(example) => {
                let text = format!(
                    "expected {}, such as {} = {}, found nothing",
                    key.form,
                    key.name(),
                    key.toml(example)
                );
                self.refuse(path, text);
                None
            }
        }
    }

    /// A key that may be absent: `Some(None)`.
    fn optional<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&Value, &Form) -> Result<T, Refused>,
    ) -> Option<Option<T>> {
        let key = key_of(path);
        let Some(entry) = self.source.keys.get(path) else { return Some(None) };
        if entry.value == Value::Refused {
            return None;
        }
        let text = match parse(&entry.value, &key.form) {
            Ok(value) => return Some(Some(value)),
            Err(Refused::Because(text)) => text,
            Err(Refused::Form) if matches!(key.form, Form::Secret) || PRIVATE.contains(&path) => {
                format!("expected {}, found {}", key.form, entry.value.kind())
            }
            Err(Refused::Form) => format!("expected {}, found {}", key.form, entry.value.found()),
        };
        self.refuse(path, text);
        None
    }

    fn path(&mut self, path: &str) -> Option<PathBuf> {
        self.read(path, |value, _| match value.text() {
            Some(path) if !path.is_empty() && !path.contains('\0') => Ok(path.into()),
            _ => Err(Refused::Form),
        })
    }

    fn duration(&mut self, path: &str) -> Option<Duration> {
        self.optional_duration(path).flatten()
    }

    fn optional_duration(&mut self, path: &str) -> Option<Option<Duration>> {
        self.read(path, |value, form| value.duration(form).ok_or(Refused::Form))
    }

    fn size(&mut self, path: &str) -> Option<u64> {
        self.read(path, |value, form| value.size(form).ok_or(Refused::Form))
    }

    fn count(&mut self, path: &str) -> Option<u64> {
        self.read(path, |value, form| value.count(form).ok_or(Refused::Form))
    }

    /// Two durations, the first not above the second.
    fn ordered(&mut self, min: &str, max: &str) -> Option<(Duration, Duration)> {
        let (low, high) = (self.duration(min), self.duration(max));
        let (low, high) = (low?, high?);
        if low > high {
            // The complaint belongs where something was written.
            let (low, high) = (humantime::format_duration(low), humantime::format_duration(high));
            let (at, text) = match self.source.keys.contains_key(min) {
                true => (min, format!("expected at most {max} ({high}), found {low}")),
                false => (max, format!("expected at least {min} ({low}), found {high}")),
            };
            self.refuse(at, text);
            return None;
        }
        Some((low, high))
    }

    /// What was written there, for an error.
    fn found(&self, path: &str) -> String {
        self.source
            .keys
            .get(path)
            .map_or_else(|| "its default".to_owned(), |entry| entry.value.found())
    }

    /// Puts down an error where the key was written, else where its section begins.
    fn refuse(&mut self, path: &str, text: String) {
        let section = path.split_once('.').map_or(path, |(section, _)| section);
        let entry = self.source.keys.get(path).map(|entry| &entry.location);
        let location =
            entry.or_else(|| self.source.sections.get(section)).unwrap_or(&Location::File);
        // A variable that appended a route names no key but its own.
        self.source.errors.push(ConfigError {
            location: location.clone(),
            key: path.to_owned(),
            text,
        });
    }
}

/// The key of a path: `routes[3].filter` is `routes.filter`.
fn key_of(path: &str) -> &'static Key {
    let found = match path.split_once('[').zip(path.split_once("].")) {
        Some(((section, _), (_, name))) => keys::find(&format!("{section}.{name}")),
        None => keys::find(path),
    };
    found.expect("every key that is read is in the table")
}

fn mqtt_string(value: &Value, _: &Form) -> Result<String, Refused> {
    match value.text() {
        Some(text) if text.len() > MQTT_STRING_MAX => Err(Refused::Because(format!(
            "expected at most {MQTT_STRING_MAX} bytes, found {}",
            text.len()
        ))),
        Some(text) if text.contains('\0') => {
            Err(Refused::Because("expected a string without NUL, found one with it".to_owned()))
        }
        Some(text) => Ok(text.to_owned()),
        None => Err(Refused::Form),
    }
}

fn kafka_topic(value: &Value, _: &Form) -> Result<String, Refused> {
    match value.text() {
        Some(name) if is_kafka_topic(name) => Ok(name.to_owned()),
        Some(_) => Err(Refused::Because(format!(
            "expected 1 to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, and neither `.` \
             nor `..`, found {}",
            value.found()
        ))),
        None => Err(Refused::Form),
    }
}

fn is_host_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let host_is_legal = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ipv6) => ipv6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !host.is_empty() && host.bytes().all(legal)
        }
    };
    host_is_legal && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The secret in a file, without the newline at its end.
fn read_secret(path: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SECRET_FILE_MAX).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(format!("expected the path of a file that can be read: {error}"));
    }
    let text = text::decode_secret(&bytes).map_err(|error| format!("{}: {error}", quoted(path)))?;
    let secret = text.strip_suffix('\n').unwrap_or(text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.len() > MQTT_STRING_MAX || secret.contains('\0') {
        return Err(format!("expected a file with at most {MQTT_STRING_MAX} bytes, without NUL"));
    }
    Ok(secret.to_owned())
}

fn saturating_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
