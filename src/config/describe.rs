//! The resolved configuration as TOML that loads again, secrets redacted.

use super::keys::{KEYS, PROPERTIES, SECTIONS};
use super::resolved::Config;
use super::secrets::shown;
use super::toml_text::{quote, string};

impl Config {
    /// The configuration as TOML: every key, defaults included, secrets as `[redacted]`.
    pub fn describe(&self) -> String {
        let blocks = SECTIONS.iter().flat_map(|section| {
            let sections = (0..self.count(section.name)).map(|at| self.block(section.name, at));
            let properties = (section.name == "kafka").then(|| self.properties());
            sections.chain(properties)
        });
        blocks.filter(|block| !block.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// The section that is the `at`-th of its name.
    fn block(&self, section: &str, at: usize) -> String {
        let keys = KEYS.iter().filter(|key| key.section() == section);
        let lines = keys.filter_map(|key| {
            let value = (key.field.show)(self, at, &key.form)?;
            Some(format!("{} = {value}\n", key.name()))
        });
        let header = match section {
            "" => String::new(),
            "routes" => "[[routes]]\n".to_owned(),
            section => format!("[{section}]\n"),
        };
        header + &lines.collect::<String>()
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
