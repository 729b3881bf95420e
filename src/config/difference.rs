//! In which keys two configurations differ.

use std::collections::BTreeSet;

use super::keys::{KEYS, PROPERTIES, SECTIONS};
use super::resolved::Config;

impl Config {
    /// The keys outside the routes in which the two differ, in the order of the table: `mqtt.client_id`, or
    /// `mqtt[1].client_id` where there are several connections. What is not printed, such as a password, is
    /// named by its section.
    pub fn differing_keys(&self, other: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        let roots = SECTIONS.iter().map(|section| section.root());
        for root in roots.filter(|root| *root != "routes") {
            let before = keys.len();
            let count = match root {
                "mqtt" => self.mqtt_sections().len().min(other.mqtt_sections().len()),
                _ => 1,
            };
            for at in 0..count {
                let label = match count {
                    1 => root.to_owned(),
                    _ => format!("{root}[{at}]"),
                };
                let differ = KEYS.iter().filter(|key| key.root() == root).filter(|key| {
                    let show = key.field.show;
                    show(self, at, &key.form) != show(other, at, &key.form)
                });
                keys.extend(differ.map(|key| key.path_in(&label)));
            }
            if root == "kafka" {
                keys.extend(self.differing_properties(other));
            }
            if keys.len() == before && self.differs_in(other, root) {
                keys.push(root.to_owned());
            }
        }
        let mut seen = BTreeSet::new();
        keys.retain(|key| seen.insert(key.clone()));
        keys
    }

    fn differing_properties(&self, other: &Self) -> Vec<String> {
        let (mine, its) = (&self.kafka.properties, &other.kafka.properties);
        let names: BTreeSet<_> = mine.keys().chain(its.keys()).collect();
        let differ = names.into_iter().filter(|name| mine.get(*name) != its.get(*name));
        differ.map(|name| format!("{PROPERTIES}.{name}")).collect()
    }

    /// Whether it is another section, printed or not.
    fn differs_in(&self, other: &Self, root: &str) -> bool {
        match root {
            "mqtt" => self.connections != other.connections,
            "kafka" => self.kafka != other.kafka,
            "http" => self.http != other.http,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let routes = "[[routes]]\nfilter = \"a\"\nkafka_topic = \"k\"\n";
        Config::from_toml(&format!("{text}\n{routes}"), "test", [])
            .unwrap_or_else(|e| panic!("{e}"))
    }

    const MQTT: &str = "[mqtt]\nurl = \"mqtt://b\"\nclient_id = \"c\"\n";
    const KAFKA: &str = "[kafka]\nbrokers = [\"k:9092\"]\n";

    #[test]
    fn keys_that_differ_are_named_and_what_is_not_printed_by_its_section() {
        let before = config(&format!("{MQTT}{KAFKA}"));
        let differ = |text: &str| before.differing_keys(&config(text));
        assert_eq!(differ(&format!("{MQTT}{KAFKA}")), Vec::<String>::new());
        let other = format!("{MQTT}keep_alive = \"7s\"\n{KAFKA}[delivery]\nwindow_messages = 7\n");
        assert_eq!(differ(&other), ["mqtt.keep_alive", "delivery.window_messages"]);
        let property = format!("{MQTT}{KAFKA}[kafka.properties]\n\"linger.ms\" = 7\n");
        assert_eq!(differ(&property), ["kafka.properties.linger.ms"]);
        let secret = |password: &str| {
            config(&format!("{MQTT}username = \"u\"\npassword = \"{password}\"\n{KAFKA}"))
        };
        assert_eq!(secret("one").differing_keys(&secret("two")), ["mqtt"]);
        let two = format!(
            "[[mqtt]]\nname = \"e\"\nurl = \"mqtt://b\"\nclient_id = \"c\"\n\
             [[mqtt]]\nname = \"w\"\nurl = \"mqtt://x\"\nclient_id = \"d\"\n{KAFKA}"
        );
        assert!(differ(&two).iter().all(|key| key.starts_with("mqtt")), "{:?}", differ(&two));
        assert!(!differ(&two).is_empty());
    }
}
