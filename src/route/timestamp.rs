//! `timestamp`: the timestamp of a record. Pure.

use std::time::Duration;

use super::input::View;
pub use super::moment::EpochUnit;

/// How long a timestamp may lie from the time of receipt, by default.
pub const TIMESTAMP_MAX_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the timestamp comes from, and what is done with one that is unusable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Where it comes from.
    pub from: TimestampFrom,
    /// What a plain number counts.
    pub unit: EpochUnit,
    /// How far it may lie from the time of receipt; `None`: any time.
    pub max_skew: Option<Duration>,
    /// Without a usable timestamp the message goes to the dead letter; otherwise the time of receipt is
    /// taken, and that is counted.
    pub refuse_invalid: bool,
}

impl Default for Timestamp {
    fn default() -> Self {
        Self {
            from: TimestampFrom::None,
            unit: EpochUnit::Milliseconds,
            max_skew: Some(TIMESTAMP_MAX_SKEW),
            refuse_invalid: false,
        }
    }
}

/// `timestamp`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TimestampFrom {
    /// `"none"`: when the record is produced.
    #[default]
    None,
    /// `"received"`: when the message was received.
    Received,
    /// `"json./ts"`: a field of the payload, by JSON pointer (RFC 6901).
    Json(String),
    /// `"user.ts"`: a user property.
    User(String),
}

/// What a message has as its timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamped {
    /// Milliseconds since the Unix epoch; `None`: when the record is produced.
    At(Option<i64>),
    /// It has no usable one; this is the time of receipt, and what was wrong.
    FellBack(i64, String),
}

impl Timestamp {
    /// The timestamp of a record.
    ///
    /// # Errors
    /// What was found and expected, if the message goes to the dead letter.
    pub fn of(&self, _view: &View<'_>) -> Result<Stamped, String> {
        Ok(Stamped::At(None))
    }
}
