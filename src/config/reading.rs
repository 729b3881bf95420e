//! Reads each key of the table into its field and collects the errors.

use std::collections::BTreeSet;
use std::time::Duration;

use super::errors::{ConfigError, Location};
use super::field::Draft;
use super::keys::{Fallback, KEYS, Key};
use super::source::Source;
use super::value::{Refused, Value};

/// The path of a key, and what is wrong with it.
pub(super) type Complaint = (String, String);

/// A configuration whose keys have been read.
pub(super) struct Reading {
    pub(super) source: Source,
    pub(super) draft: Draft,
    /// The paths of the keys whose values were refused.
    refused: BTreeSet<String>,
}

impl Reading {
    /// Reads every key that is `wanted`.
    pub(super) fn of(source: Source, wanted: impl Fn(&Key) -> bool) -> Self {
        let tested = source.tests.iter().map(|(route, _)| *route).collect();
        let draft = Draft::new(source.count("mqtt"), source.count("routes"), tested);
        let mut reading = Self { source, draft, refused: BTreeSet::new() };
        for key in KEYS.iter().filter(|key| wanted(key)) {
            for at in 0..reading.source.count(key.root()) {
                reading.read(key, at);
            }
        }
        reading
    }

    fn read(&mut self, key: &Key, at: usize) {
        let path = key.path_in(&self.source.label(key.root(), at));
        let entry = self.source.keys.get(&path);
        let default;
        let value = match (entry, &key.fallback) {
            (Some(entry), _) => &entry.value,
            (None, Fallback::Value(text)) => {
                default = Value::Text((*text).to_owned());
                &default
            }
            (None, Fallback::Unset(_)) => return,
            (None, Fallback::RequiredUnless(_, other))
                if self.is_written(&self.sibling(other, at)) =>
            {
                return;
            }
            (None, Fallback::Required(example) | Fallback::RequiredUnless(example, _)) => {
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
        let section = path.rsplit_once('.').map_or(path, |(section, _)| section);
        let root = path.split_once('.').map_or(path, |(root, _)| root);
        let entry = self.source.keys.get(path).map(|entry| &entry.location);
        let sections = [path, section, root].into_iter();
        let location =
            entry.or_else(|| sections.filter_map(|name| self.source.sections.get(name)).next());
        let location = location.unwrap_or(&Location::File).clone();
        // A variable that appended a route names only its own key.
        self.source.errors.push(ConfigError { location, key: path.to_owned(), text });
        self.refused.insert(path.to_owned());
    }

    /// The path of this key in the `at`-th section of its kind.
    pub(super) fn sibling(&self, path: &str, at: usize) -> String {
        let (root, rest) = path.split_once('.').unwrap_or((path, ""));
        format!("{}.{rest}", self.source.label(root, at))
    }

    /// Whether none of these keys was refused.
    pub(super) fn is_sound<P: AsRef<str>>(&self, paths: &[P]) -> bool {
        !paths.iter().any(|path| self.refused.contains(path.as_ref()))
    }

    /// Whether the key was written.
    pub(super) fn is_written(&self, path: &str) -> bool {
        self.source.keys.contains_key(path)
    }

    /// Whether the key was written with another value than its default.
    pub(super) fn is_changed(&self, key: &Key, at: usize) -> bool {
        let entry = self.source.keys.get(&self.sibling(key.path, at));
        entry.is_some_and(|entry| match key.fallback {
            Fallback::Value(text) => entry.value.scalar().as_deref() != Some(text),
            _ => true,
        })
    }

    /// Of two durations the first must not exceed the second.
    pub(super) fn ordered(
        &self,
        (min, low): (&str, Duration),
        (max, high): (&str, Duration),
    ) -> Option<Complaint> {
        if !self.is_sound(&[min, max]) || low <= high {
            return None;
        }
        // The error belongs to the key that was written.
        let (low, high) = (humantime::format_duration(low), humantime::format_duration(high));
        Some(match self.is_written(min) {
            true => (min.to_owned(), format!("expected at most {max} ({high}), found {low}")),
            false => (max.to_owned(), format!("expected at least {min} ({low}), found {high}")),
        })
    }

    /// The value as it was written, for an error.
    pub(super) fn found(&self, path: &str) -> String {
        let entry = self.source.keys.get(path);
        entry.map_or_else(|| "its default".to_owned(), |entry| entry.value.found())
    }
}
