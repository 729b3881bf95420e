//! The resolved configuration as TOML that loads again, secrets redacted.

use std::fmt::{self, Write};
use std::time::Duration;

use super::keys::SECTIONS;
use super::resolved::{
    Config, LogFormat, MqttConfig, Protocol, RenumberedRedelivery, Resubscribe, TimingPolicy,
    Unmatched,
};
use super::secrets::{REDACTED, shown};
use crate::route::PayloadForm;
use crate::visible::is_hidden;

impl Config {
    /// The configuration as TOML: every key, defaults included, secrets as `[redacted]`.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        for section in SECTIONS {
            match section.name {
                "" => self.write_top(out)?,
                "mqtt" => self.connections.iter().try_for_each(|mqtt| write_mqtt(mqtt, out))?,
                "routes" => self.write_routes(out)?,
                "kafka" => self.write_kafka(out)?,
                "delivery" => self.write_delivery(out)?,
                "dead_letter" => self.write_dead_letter(out)?,
                "supervisor" => self.write_supervisor(out)?,
                "http" => self.write_http(out)?,
                _ => self.write_log(out)?,
            }
        }
        Ok(())
    }

    fn write_top(&self, out: &mut String) -> fmt::Result {
        let Some(data_dir) = &self.data_dir else { return Ok(()) };
        writeln!(out, "data_dir = {}\n", string(&data_dir.to_string_lossy()))
    }

    fn write_routes(&self, out: &mut String) -> fmt::Result {
        for route in &self.routes {
            let payload = match route.payload {
                PayloadForm::Raw => "raw",
                PayloadForm::Json => "json",
            };
            writeln!(out, "\n[[routes]]")?;
            writeln!(out, "filter = {}", string(route.filter.as_str()))?;
            writeln!(out, "qos = {}", route.qos.level())?;
            writeln!(out, "kafka_topic = {}", string(&route.kafka_topic))?;
            writeln!(out, "payload = {}", string(payload))?;
        }
        Ok(())
    }

    fn write_kafka(&self, out: &mut String) -> fmt::Result {
        let brokers: Vec<_> = self.kafka.brokers.iter().map(|broker| string(broker)).collect();
        writeln!(out, "\n[kafka]")?;
        writeln!(out, "brokers = [{}]", brokers.join(", "))?;
        if !self.kafka.properties.is_empty() {
            writeln!(out, "\n[kafka.properties]")?;
        }
        for (name, value) in &self.kafka.properties {
            // Names are not expanded, so that they need no second dollar sign.
            writeln!(out, "{} = {}", quote(name), string(shown(name, value)))?;
        }
        Ok(())
    }

    fn write_delivery(&self, out: &mut String) -> fmt::Result {
        let delivery = &self.delivery;
        writeln!(out, "\n[delivery]")?;
        writeln!(out, "window_messages = {}", delivery.window_messages)?;
        writeln!(out, "qos0_window_messages = {}", delivery.qos0_window_messages)?;
        writeln!(out, "window_bytes = {}", string(&size(delivery.window_bytes as u64)))?;
        writeln!(out, "drain_deadline = {}", string(&duration(delivery.drain_deadline)))?;
        writeln!(out, "qos0_shed_after = {}", string(&or_never(delivery.qos0_shed_after)))
    }

    fn write_dead_letter(&self, out: &mut String) -> fmt::Result {
        let dead_letter = &self.dead_letter;
        writeln!(out, "\n[dead_letter]")?;
        if let Some(kafka_topic) = &dead_letter.kafka_topic {
            writeln!(out, "kafka_topic = {}", string(kafka_topic))?;
        }
        writeln!(out, "file = {}", string(&dead_letter.file.to_string_lossy()))?;
        writeln!(out, "file_max = {}", string(&size(dead_letter.file_max_bytes)))?;
        writeln!(out, "unmatched_max = {}", string(&size(dead_letter.unmatched_max_bytes)))?;
        writeln!(out, "after = {}", string(&or_never(dead_letter.after)))
    }

    fn write_supervisor(&self, out: &mut String) -> fmt::Result {
        let supervisor = &self.supervisor;
        writeln!(out, "\n[supervisor]")?;
        writeln!(out, "backoff_min = {}", string(&duration(supervisor.backoff_min)))?;
        writeln!(out, "backoff_max = {}", string(&duration(supervisor.backoff_max)))?;
        writeln!(out, "failures_max = {}", supervisor.failures_max)?;
        writeln!(out, "hang_after = {}", string(&duration(supervisor.hang_after)))
    }

    fn write_http(&self, out: &mut String) -> fmt::Result {
        let listen = self.http.listen.map_or_else(|| "off".to_owned(), |at| at.to_string());
        writeln!(out, "\n[http]")?;
        writeln!(out, "listen = {}", string(&listen))
    }

    fn write_log(&self, out: &mut String) -> fmt::Result {
        let format = match self.log.format {
            LogFormat::Auto => "auto",
            LogFormat::Json => "json",
            LogFormat::Terminal => "terminal",
        };
        let timing = match self.log.timing {
            TimingPolicy::All => "all".to_owned(),
            TimingPolicy::Slow(least) => format!("slow:{}", duration(least)),
            TimingPolicy::Sample(n) => format!("sample:{n}"),
            TimingPolicy::Off => "off".to_owned(),
        };
        writeln!(out, "\n[log]")?;
        writeln!(out, "format = {}", string(format))?;
        writeln!(out, "level = {}", string(&self.log.level.as_str().to_lowercase()))?;
        writeln!(out, "timing = {}", string(&timing))
    }
}

fn write_mqtt(mqtt: &MqttConfig, out: &mut String) -> fmt::Result {
    let host = if mqtt.host.contains(':') { format!("[{}]", mqtt.host) } else { mqtt.host.clone() };
    let protocol = match mqtt.protocol {
        Protocol::Auto => "auto",
        Protocol::V5 => "5",
        Protocol::V311 => "3.1.1",
    };
    let expiry = match mqtt.session_expiry_s {
        u32::MAX => "never".to_owned(),
        seconds => duration(Duration::from_secs(seconds.into())),
    };
    writeln!(out, "[mqtt]")?;
    writeln!(out, "url = {}", string(&format!("mqtt://{host}:{}", mqtt.port)))?;
    writeln!(out, "client_id = {}", string(&mqtt.client_id))?;
    writeln!(out, "protocol = {}", string(protocol))?;
    writeln!(out, "keep_alive = {}", string(&duration(mqtt.keep_alive)))?;
    writeln!(out, "session_expiry = {}", string(&expiry))?;
    writeln!(out, "max_payload = {}", string(&size(mqtt.max_payload_bytes as u64)))?;
    let resubscribe = match mqtt.resubscribe {
        Resubscribe::Always => "always",
        Resubscribe::NewSession => "new_session",
    };
    let unmatched = match mqtt.unmatched {
        Unmatched::DeadLetter => "dead_letter",
        Unmatched::Drop => "drop",
    };
    writeln!(out, "resubscribe = {}", string(resubscribe))?;
    writeln!(out, "unmatched = {}", string(unmatched))?;
    let renumbered = match mqtt.renumbered_redelivery {
        RenumberedRedelivery::Off => "off",
        RenumberedRedelivery::Auto => "auto",
        RenumberedRedelivery::On => "on",
    };
    writeln!(out, "renumbered_redelivery = {}", string(renumbered))?;
    writeln!(out, "silence_warning = {}", string(&or_never(mqtt.silence_warning)))?;
    if let Some(username) = &mqtt.username {
        // Alone it may be a token.
        let username = if mqtt.password.is_some() { username } else { REDACTED };
        writeln!(out, "username = {}", string(username))?;
    }
    if mqtt.password.is_some() {
        writeln!(out, "password = {}", string(REDACTED))?;
    }
    writeln!(out, "connect_timeout = {}", string(&duration(mqtt.connect_timeout)))?;
    writeln!(out, "reconnect_min = {}", string(&duration(mqtt.reconnect_min)))?;
    writeln!(out, "reconnect_max = {}", string(&duration(mqtt.reconnect_max)))
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn or_never(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "never".to_owned(), duration)
}

/// Exactly, in the largest unit that has no remainder.
fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match whole {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

/// A string value: quoted, and with each `$` doubled that would begin a variable.
fn string(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        escaped.push(c);
        if c == '$' && matches!(chars.peek(), Some('$' | '{')) {
            escaped.push('$');
        }
    }
    quote(&escaped)
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if is_hidden(c) => quoted.push_str(&format!("\\U{:08X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
