//! The last warnings and errors of the log, kept for who looks at the bridge and not at its log.

use std::collections::VecDeque;
use std::fmt::Arguments;
use std::panic::RefUnwindSafe;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};
use slog::{KV, Key, Level, OwnedKVList, Record, Serializer};

use super::format::Rfc3339;
use super::keys;
use crate::visible::Visible;

/// How many are kept.
pub const RECENT_MAX: usize = 50;
/// The longest text of one field, in characters: it may quote strangers.
const TEXT_MAX: usize = 600;
/// The most fields of one.
const FIELDS_MAX: usize = 32;

/// A warning or an error, as the log has it. Texts are cut, and hidden characters in them escaped.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recent {
    /// When it was logged, RFC 3339 with microseconds, UTC.
    pub at: String,
    /// `warn`, `error` or `crit`.
    pub level: &'static str,
    /// The message.
    pub msg: String,
    /// Its other fields, by log key.
    pub fields: Map<String, Value>,
}

impl Recent {
    /// The name of its event, if it has one.
    pub fn event(&self) -> Option<&str> {
        self.fields.get(keys::EVENT).and_then(Value::as_str)
    }
}

/// The last [`RECENT_MAX`] of them.
#[derive(Debug, Default)]
pub(crate) struct Ring(Mutex<VecDeque<Recent>>);

/// A panic elsewhere leaves whole records.
impl RefUnwindSafe for Ring {}

impl Ring {
    /// Keeps a record that happened at `at_us` microseconds after the Unix epoch, if it is a warning or worse.
    pub(crate) fn keep(&self, at_us: u64, record: &Record<'_>, values: &OwnedKVList) {
        let level = match record.level() {
            Level::Critical => "crit",
            Level::Error => "error",
            Level::Warning => "warn",
            Level::Info | Level::Debug | Level::Trace => return,
        };
        let mut fields = Fields::default();
        // Nothing here fails. The record's own come first: they take the place of the logger's.
        let _ = record.kv().serialize(record, &mut fields);
        let _ = values.serialize(record, &mut fields);
        let kept = Recent {
            at: Rfc3339::from_us(at_us).as_str().to_owned(),
            level,
            msg: shortened(&record.msg().to_string()),
            fields: fields.0,
        };
        let mut ring = self.0.lock();
        if ring.len() >= RECENT_MAX {
            ring.pop_front();
        }
        ring.push_back(kept);
    }

    /// All that are kept, the oldest first.
    pub(crate) fn all(&self) -> Vec<Recent> {
        self.0.lock().iter().cloned().collect()
    }
}

/// A text from outside, as it may be shown.
pub(super) fn shortened(text: &str) -> String {
    let text = match text.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    };
    Visible(&text).to_string()
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, key: Key, value: impl Into<Value>) -> slog::Result {
        if self.0.len() < FIELDS_MAX && !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), value.into());
        }
        Ok(())
    }
}

/// The `Serializer` methods for types that JSON has.
macro_rules! emit_as_json {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(&mut self, key: Key, value: $type) -> slog::Result {
            self.add(key, value)
        })*
    };
}

impl Serializer for Fields {
    emit_as_json!(
        emit_bool: bool, emit_u8: u8, emit_i8: i8, emit_u16: u16, emit_i16: i16, emit_u32: u32,
        emit_i32: i32, emit_u64: u64, emit_i64: i64, emit_f32: f32, emit_f64: f64
    );

    fn emit_usize(&mut self, key: Key, value: usize) -> slog::Result {
        self.add(key, value as u64)
    }

    fn emit_isize(&mut self, key: Key, value: isize) -> slog::Result {
        self.add(key, value as i64)
    }

    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.add(key, Value::Null)
    }

    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.add(key, Value::Null)
    }

    fn emit_str(&mut self, key: Key, value: &str) -> slog::Result {
        self.add(key, shortened(value))
    }

    fn emit_arguments(&mut self, key: Key, value: &Arguments<'_>) -> slog::Result {
        self.add(key, shortened(&value.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use slog::{error, info, o, warn};

    use super::*;
    use crate::observe::test_support::json_log;

    #[test]
    fn the_last_warnings_and_errors_are_kept_with_their_fields_and_nothing_else_is() {
        let (logging, _lines) = json_log();
        let log = logging.logger().new(o!(keys::COMPONENT => "mqtt", keys::REASON => "old"));
        info!(log, "not this one");
        warn!(log, "first"; keys::REASON => "new", keys::COUNT => 3_u64, keys::DETAIL => None::<&str>);
        error!(log, "second"; keys::DETAIL => "a\u{1b}[31m\nb", keys::ERROR => "é".repeat(5_000));
        let recent = logging.recent();
        assert_eq!(recent.len(), 2);
        assert_eq!((recent[0].level, &*recent[0].msg), ("warn", "first"));
        let first = serde_json::json!({
            "component": "mqtt", "reason": "new", "count": 3, "detail": null
        });
        assert_eq!(Value::Object(recent[0].fields.clone()), first);
        assert_eq!(recent[1].level, "error");
        let detail = recent[1].fields["detail"].as_str().expect("a text");
        assert!(!detail.contains(['\u{1b}', '\n']), "{detail:?}");
        let cut = recent[1].fields["error"].as_str().expect("a text");
        assert_eq!(cut.chars().count(), TEXT_MAX + 3);
    }

    #[test]
    fn only_so_many_are_kept_and_the_oldest_go_first() {
        let (logging, _lines) = json_log();
        for count in 0..3 * RECENT_MAX {
            warn!(logging.logger(), "many"; keys::COUNT => count);
        }
        let recent = logging.recent();
        assert_eq!(recent.len(), RECENT_MAX);
        assert_eq!(recent[0].fields["count"], 2 * RECENT_MAX);
        assert_eq!(recent[RECENT_MAX - 1].fields["count"], 3 * RECENT_MAX - 1);
    }
}
