//! The resolved configuration as TOML that loads again, secrets redacted.

use super::keys::{KEYS, PROPERTIES, SECTIONS, TESTS};
use super::resolved::Config;
use super::route_warnings::order;
use super::secrets::shown;
use super::toml_text::{quote, string};
use crate::route::Match;

impl Config {
    /// The configuration as TOML: every key, defaults included, secrets as `[redacted]`.
    pub fn describe(&self) -> String {
        // A section such as `[mqtt.tls]` stands behind the one that it belongs to.
        let roots = SECTIONS.iter().filter(|section| !section.name.contains('.'));
        let blocks = roots.flat_map(|root| {
            let sections = (0..self.count(root.name)).flat_map(|at| {
                let own = SECTIONS.iter().filter(|section| section.root() == root.name);
                own.flat_map(move |section| match section.name {
                    TESTS => self.tests_of(at).map(|at| self.block(TESTS, at)).collect(),
                    name => vec![self.block(name, at)],
                })
            });
            let properties = (root.name == "kafka").then(|| self.properties());
            sections.chain(properties)
        });
        blocks.filter(|block| !block.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// The configuration key by key: the path, numbered from 0 where there are several sections, and the value as
    /// TOML; defaults included, secrets as `[redacted]`. Examples of routes are left out.
    pub fn key_values(&self) -> Vec<(String, String)> {
        let sections = SECTIONS.iter().filter(|section| section.name != TESTS);
        let keys = sections.flat_map(|section| {
            (0..self.count(section.root())).flat_map(move |at| {
                let keys = KEYS.iter().filter(|key| key.section() == section.name);
                keys.filter_map(move |key| {
                    let value = (key.field.show)(self, at, &key.form)?;
                    let path = match section.root() {
                        root @ ("mqtt" | "routes") => {
                            format!("{root}[{at}]{}", key.path.strip_prefix(root)?)
                        }
                        _ => key.path.to_owned(),
                    };
                    Some((path, value))
                })
            })
        });
        let properties = self.kafka.properties.iter();
        let properties = properties
            .map(|(name, value)| (format!("{PROPERTIES}.{name}"), string(shown(name, value))));
        keys.chain(properties).collect()
    }

    /// How many sections of this name there are.
    fn count(&self, root: &str) -> usize {
        match root {
            "mqtt" => self.mqtt_sections().len(),
            "routes" => self.routes.len(),
            _ => 1,
        }
    }

    /// The examples of the `at`-th route, as they are counted over all routes.
    fn tests_of(&self, at: usize) -> std::ops::Range<usize> {
        let before = self.routes[..at].iter().map(|route| route.tests.len()).sum();
        before..before + self.routes[at].tests.len()
    }

    /// The section that is the `at`-th of its name.
    fn block(&self, section: &str, at: usize) -> String {
        let keys = KEYS.iter().filter(|key| key.section() == section);
        let lines = keys.filter_map(|key| {
            let value = (key.field.show)(self, at, &key.form)?;
            Some(format!("{} = {value}\n", key.name()))
        });
        let lines: String = lines.collect();
        let header = match section {
            "" => String::new(),
            // What is without effect is not printed.
            _ if section.contains('.') && lines.is_empty() => String::new(),
            "routes" | TESTS => format!("[[{section}]]\n"),
            "mqtt" if self.count(section) > 1 => "[[mqtt]]\n".to_owned(),
            section => format!("[{section}]\n"),
        };
        let more = match section {
            "mqtt" => self.members(at),
            "routes" => self.route_comment(at),
            _ => String::new(),
        };
        header + &lines + &more
    }

    /// What the keys of a route mean together, as a comment.
    fn route_comment(&self, at: usize) -> String {
        let route = &self.routes[at];
        let which = match self.match_ {
            Match::First => "messages that it matches and no route before it",
            Match::All => "all messages that it matches",
        };
        format!("# {} takes {which}; {}\n", quote(&route.name), order(route))
    }

    /// The connections of a section that opens several, as comments.
    fn members(&self, at: usize) -> String {
        match self.mqtt_sections()[at].members() {
            [_] => String::new(),
            members => members
                .iter()
                .map(|mqtt| format!("# {} connects as {}\n", mqtt.name, quote(&mqtt.client_id)))
                .collect(),
        }
    }

    fn properties(&self) -> String {
        if self.kafka.properties.is_empty() {
            return String::new();
        }
        // Variables are not replaced in names, so a dollar sign needs no second one.
        let lines = self
            .kafka
            .properties
            .iter()
            .map(|(name, value)| format!("{} = {}\n", quote(name), string(shown(name, value))));
        format!("[{PROPERTIES}]\n{}", lines.collect::<String>())
    }
}
