//! What one run does, and the names and the bridge's configuration that follow from it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use mqtt_kafka_bridge::mqtt::packet::Version;
use serde::{Deserialize, Serialize};

/// One combination of settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scenario {
    /// A version of MQTT, by its name.
    #[serde(with = "protocol")]
    pub protocol: Version,
    pub qos: u8,
    /// Size of a payload in bytes.
    pub size: u64,
    /// Number of MQTT topics, at least the number of routes and of Kafka topics, a multiple of the connections.
    pub topics: u32,
    pub routes: u32,
    #[serde(default = "one")]
    pub kafka_topics: u32,
    /// How many connections one connection is compared with; 1: with none.
    #[serde(default = "one")]
    pub connections: u32,
    pub window: u16,
    /// `log.timing`
    pub timing: String,
    /// Whether each record has the [`HEADERS`].
    #[serde(default)]
    pub headers: bool,
    pub load: Load,
}

/// How many messages, and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Load {
    /// Messages per second; `None`: as fast as possible.
    pub rate: Option<u64>,
    pub count: Option<u64>,
    pub duration: Option<Duration>,
}

/// The headers of a record, where it has any.
pub(super) const HEADERS: [&str; 5] =
    ["mqtt.topic", "mqtt.qos", "mqtt.retain", "bridge.received_at", "bridge.connection"];

/// Results of earlier versions have one connection, and one Kafka topic.
fn one() -> u32 {
    1
}

/// Where the measured process connects to, and under which names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Endpoints {
    /// `host:port`
    pub mqtt: String,
    /// How many connections share the subscriptions.
    pub connections: u32,
    /// TLS, with this authority.
    pub ca_file: Option<PathBuf>,
    pub login: Option<(String, String)>,
    /// `host:port`
    pub kafka: String,
    /// The name of the only Kafka topic, or what the names of several begin with.
    pub kafka_topic: String,
    /// Whether one route makes the names of several by a template; otherwise each has a route.
    pub template: bool,
    /// The first level of all MQTT topics, and the client id.
    pub name: String,
    /// Properties for librdkafka.
    pub properties: Vec<(String, String)>,
}

/// The version of MQTT with this name.
pub(super) fn protocol_named(name: &str) -> Option<Version> {
    [Version::V311, Version::V5].into_iter().find(|version| version.name() == name)
}

/// [`Scenario::protocol`] in files.
mod protocol {
    use mqtt_kafka_bridge::mqtt::packet::Version;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(version: &Version, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(version.name())
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Version, D::Error> {
        let name = String::deserialize(from)?;
        super::protocol_named(&name).ok_or_else(|| D::Error::custom("unknown version of MQTT"))
    }
}

impl Scenario {
    /// One line for people.
    pub(super) fn title(&self) -> String {
        let mut title = format!(
            "MQTT {}, QoS {}, {} B, {} MQTT topics, {}, window {}, timing {}",
            self.protocol.name(),
            self.qos,
            self.size,
            self.topics,
            if self.routes == 1 { "1 route".to_owned() } else { format!("{} routes", self.routes) },
            self.window,
            self.timing,
        );
        if self.kafka_topics > 1 {
            let _ = write!(title, ", {} Kafka topics", self.kafka_topics);
        }
        if self.connections > 1 {
            let _ = write!(title, ", 1 and {} connections", self.connections);
        }
        if self.headers {
            let _ = write!(title, ", {} headers", HEADERS.len());
        }
        if let Some(rate) = self.load.rate {
            let _ = write!(title, ", {rate}/s");
        }
        title
    }

    /// All MQTT topics, with this first level. The second level spreads them evenly over the routes, or over
    /// the Kafka topics.
    pub(super) fn mqtt_topics(&self, name: &str) -> Vec<String> {
        let destinations = self.routes.max(self.kafka_topics);
        (0..self.topics)
            .map(|number| format!("{name}/{:04}/{number:06}", number % destinations))
            .collect()
    }

    /// All Kafka topics, whose names begin with `name`. The MQTT topic at `n` goes to the one at
    /// `n % kafka_topics`.
    pub(super) fn kafka_topics(&self, name: &str) -> Vec<String> {
        match self.kafka_topics {
            1 => vec![name.to_owned()],
            count => (0..count).map(|number| format!("{name}-{number:04}")).collect(),
        }
    }

    /// How many routes the bridge has, and filters. `template`: see [`Endpoints::template`].
    pub(super) fn filters(&self, template: bool) -> u32 {
        if template { self.routes } else { self.routes.max(self.kafka_topics) }
    }

    /// The bridge's configuration file, as a user would write it.
    pub(super) fn bridge_config(&self, endpoints: &Endpoints) -> String {
        let window_bytes = u64::from(self.window) * (self.size + 1024) * 2;
        let mut text = format!(
            "[mqtt]\nurl = \"{}://{}\"\nclient_id = \"{}\"\nprotocol = \"{}\"\n\
             session_expiry = \"0s\"\nmax_payload = \"16 MiB\"\n",
            if endpoints.ca_file.is_some() { "mqtts" } else { "mqtt" },
            endpoints.mqtt,
            endpoints.name,
            self.protocol.name()
        );
        if endpoints.connections > 1 {
            let _ = writeln!(text, "connections = {}\ngroup = \"bench\"", endpoints.connections);
        }
        if let Some((username, password)) = &endpoints.login {
            let _ = writeln!(text, "username = {username:?}\npassword = {password:?}");
        }
        if let Some(ca_file) = &endpoints.ca_file {
            let _ = writeln!(text, "[mqtt.tls]\nca_file = {:?}", ca_file.display().to_string());
        }
        let _ = write!(
            text,
            "[kafka]\nbrokers = [{:?}]\nkafka_topics_max = {}\n[kafka.properties]\n{}\
             [delivery]\nwindow_messages = {}\nwindow_bytes = \"{} B\"\nqos0_shed_after = \"never\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\ntiming = {:?}\n",
            endpoints.kafka,
            self.kafka_topics.max(1000),
            endpoints
                .properties
                .iter()
                .map(|(key, value)| format!("{key} = {value:?}\n"))
                .collect::<String>(),
            self.window,
            window_bytes.clamp(16 << 20, 16 << 30),
            self.timing,
        );
        let routes = self.filters(endpoints.template);
        let each_its_own = self.kafka_topics > 1 && !endpoints.template;
        for route in 0..routes {
            let filter = match routes {
                1 => format!("{}/#", endpoints.name),
                _ => format!("{}/{route:04}/#", endpoints.name),
            };
            let kafka_topic = match self.kafka_topics {
                1 => endpoints.kafka_topic.clone(),
                _ if each_its_own => format!("{}-{route:04}", endpoints.kafka_topic),
                _ => format!("{}-{{mqtt_topic[1]}}", endpoints.kafka_topic),
            };
            let _ = write!(
                text,
                "[[routes]]\nfilter = {filter:?}\nqos = {}\nkafka_topic = {kafka_topic:?}\n",
                self.qos
            );
            if self.headers {
                let _ = writeln!(text, "headers = {HEADERS:?}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt_kafka_bridge::config::Config;

    /// The configuration of so many routes and Kafka topics, and the MQTT topics.
    fn config(routes: u32, kafka_topics: u32, template: bool) -> (Config, Vec<String>) {
        let scenario = Scenario {
            protocol: Version::V5,
            qos: 1,
            size: 128,
            topics: 10,
            routes,
            kafka_topics,
            connections: 1,
            window: 1000,
            timing: "sample:100".to_owned(),
            headers: true,
            load: Load { rate: None, count: Some(1), duration: None },
        };
        let endpoints = Endpoints {
            mqtt: "127.0.0.1:1883".to_owned(),
            connections: 1,
            ca_file: None,
            login: Some(("me".to_owned(), "a \"secret\"".to_owned())),
            kafka: "127.0.0.1:9092".to_owned(),
            kafka_topic: "bench".to_owned(),
            template,
            name: "bench-1".to_owned(),
            properties: vec![("linger.ms".to_owned(), "5".to_owned())],
        };
        let config = Config::from_toml(&scenario.bridge_config(&endpoints), "the bench", [])
            .unwrap_or_else(|errors| panic!("{errors}"));
        (config, scenario.mqtt_topics("bench-1"))
    }

    #[test]
    fn the_bridge_accepts_its_configuration() {
        let (config, mqtt_topics) = config(3, 1, true);
        assert_eq!(config.routes.len(), 3);
        assert_eq!(config.routes[0].headers.items.len(), HEADERS.len());
        for mqtt_topic in mqtt_topics {
            let matching = config.routes.iter().filter(|route| route.filter.matches(&mqtt_topic));
            assert_eq!(matching.count(), 1, "{mqtt_topic}");
        }
    }

    #[test]
    fn the_mqtt_topics_spread_over_many_kafka_topics() {
        let (fixed, _) = config(1, 5, false);
        let names: Vec<_> =
            fixed.routes.iter().map(|route| route.kafka_topic.to_string()).collect();
        assert_eq!(names, (0..5).map(|n| format!("bench-000{n}")).collect::<Vec<_>>());
        let (config, mqtt_topics) = config(1, 5, true);
        assert_eq!(config.routes.len(), 1);
        let levels = mqtt_topics.iter().filter_map(|mqtt_topic| mqtt_topic.split('/').nth(1));
        let levels: Vec<_> = levels.collect();
        let expected = ["0000", "0001", "0002", "0003", "0004"];
        assert_eq!(levels, [expected, expected].concat());
        assert_eq!(config.kafka.kafka_topics_max, 1000);
    }
}
