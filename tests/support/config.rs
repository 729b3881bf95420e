//! Builds the configuration files of the stories.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// A builder of a configuration file.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    sections: BTreeMap<&'static str, BTreeMap<String, Value>>,
    connections: Vec<BTreeMap<String, Value>>,
    routes: Vec<BTreeMap<&'static str, Value>>,
}

impl ConfigFile {
    /// Like the first example of the documentation: one broker each, log in JSON, and pauses short
    /// enough for a test.
    pub fn new(mqtt: &str, client_id: &str, kafka: &str) -> Self {
        let mut config = Self::default();
        config
            .set("mqtt", "url", format!("mqtt://{mqtt}"))
            .set("mqtt", "client_id", client_id)
            .set("mqtt", "reconnect_max", "1s")
            .set("kafka", "brokers", json!(kafka.split(',').collect::<Vec<_>>()))
            .set("http", "listen", "off")
            .set("log", "format", "json")
            // The stories wait for what summaries say.
            .set("log", "summary", "1s");
        config
    }

    /// Leaves a key out, for a program that does not know it.
    pub fn unset(&mut self, section: &str, key: &str) -> &mut Self {
        self.sections.get_mut(section).and_then(|keys| keys.remove(key));
        self
    }

    /// Sets one key. Strings, numbers, booleans and lists of them are the same in JSON and in TOML.
    pub fn set(&mut self, section: &'static str, key: &str, value: impl Into<Value>) -> &mut Self {
        self.sections.entry(section).or_default().insert(key.to_owned(), value.into());
        self
    }

    /// The value of a key, if it was set.
    pub fn get(&self, section: &str, key: &str) -> Option<&Value> {
        self.sections.get(section)?.get(key)
    }

    /// Adds a `[[mqtt]]` with these keys; it has those of `[mqtt]` besides, except `url`.
    pub fn connection(&mut self, keys: &[(&'static str, Value)]) -> &mut Self {
        self.connections
            .push(keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect());
        self
    }

    /// Adds a route at QoS 1.
    pub fn route(&mut self, filter: &str, kafka_topic: &str) -> &mut Self {
        self.route_with(&[
            ("filter", filter.into()),
            ("qos", 1.into()),
            ("kafka_topic", kafka_topic.into()),
        ])
    }

    /// Adds a route with these keys.
    pub fn route_with(&mut self, keys: &[(&'static str, Value)]) -> &mut Self {
        self.routes.push(keys.iter().cloned().collect());
        self
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut section = |header: String, keys: &mut dyn Iterator<Item = (&str, &Value)>| {
            writeln!(text, "{header}").expect("a String takes everything");
            for (key, value) in keys {
                writeln!(text, "{} = {value}", json!(key)).expect("a String takes everything");
            }
            text.push('\n');
        };
        for own in &self.connections {
            let shared = self.sections.get("mqtt").into_iter().flatten();
            let mut keys: BTreeMap<_, _> = shared.filter(|(key, _)| *key != "url").collect();
            keys.extend(own);
            section("[[mqtt]]".into(), &mut keys.into_iter().map(|(key, value)| (&**key, value)));
        }
        let several = !self.connections.is_empty();
        for (name, keys) in self.sections.iter().filter(|(name, _)| !several || **name != "mqtt") {
            section(format!("[{name}]"), &mut keys.iter().map(|(key, value)| (&**key, value)));
        }
        for keys in &self.routes {
            section("[[routes]]".into(), &mut keys.iter().map(|(key, value)| (*key, value)));
        }
        text
    }
}
