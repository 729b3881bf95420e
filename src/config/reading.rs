//! Reads each key of the table into its field and collects the errors.

use std::collections::BTreeSet;

use super::errors::{ConfigError, Location};
use super::field::Draft;
use super::keys::{Fallback, KEYS, Key};
use super::source::Source;
use super::value::{Refused, Value};

/// A configuration whose keys have been read.
pub(super) struct Reading {
    pub(super) source: Source,
    pub(super) draft: Draft,
    /// The paths of the keys whose values were refused.
    refused: BTreeSet<String>,
}

impl Reading {
    /// Reads every key.
    pub(super) fn of(source: Source) -> Self {
        let draft = Draft::new(source.routes);
        let mut reading = Self { source, draft, refused: BTreeSet::new() };
        for key in KEYS {
            for at in 0..reading.draft.config.count(key.section()) {
                reading.read(key, at);
            }
        }
        reading
    }

    fn read(&mut self, key: &Key, at: usize) {
        let path = key.path_at(at);
        let entry = self.source.keys.get(&path);
        let default;
        let value = match (entry, &key.fallback) {
            (Some(entry), _) => &entry.value,
            (None, Fallback::Value(text)) => {
                default = Value::Text((*text).to_owned());
                &default
            }
            (None, Fallback::Unset(_)) => return,
            (None, Fallback::Required(example)) => {
                let Key { form, .. } = key;
                let (name, example) = (key.name(), key.toml(example));
                let text = format!("expected {form}, such as {name} = {example}, found nothing");
                return self.refuse(&path, text);
            }
        };
        if *value == Value::Refused {
            self.refused.insert(path);
            return;
        }
        if let Err(refused) = (key.field.read)(&mut self.draft, at, value, &key.form) {
            let text = match refused {
                Refused::Because(text) => text,
                Refused::Form if key.form.is_private() => {
                    format!("expected {}, found {}", key.form, value.kind())
                }
                Refused::Form => format!("expected {}, found {}", key.form, value.found()),
            };
            self.refuse(&path, text);
        }
    }

    /// Adds an error at the line of the key, or at the line of its section if the key is not written.
    pub(super) fn refuse(&mut self, path: &str, text: String) {
        let section = path.split_once('.').map_or(path, |(section, _)| section);
        let entry = self.source.keys.get(path).map(|entry| &entry.location);
        let location = entry.or_else(|| self.source.sections.get(section));
        let location = location.unwrap_or(&Location::File).clone();
        // A variable that appended a route names only its own key.
        self.source.errors.push(ConfigError { location, key: path.to_owned(), text });
        self.refused.insert(path.to_owned());
    }

    /// Whether none of these keys was refused.
    pub(super) fn is_sound(&self, paths: &[&str]) -> bool {
        !paths.iter().any(|path| self.refused.contains(*path))
    }

    /// Whether the key was written.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.source.keys.contains_key(path)
    }

    /// The value as it was written, for an error.
    pub(super) fn found(&self, path: &str) -> String {
        let entry = self.source.keys.get(path);
        entry.map_or_else(|| "its default".to_owned(), |entry| entry.value.found())
    }
}
