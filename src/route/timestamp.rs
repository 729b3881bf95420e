//! `timestamp`: the timestamp of a record. Pure.

use std::fmt;
use std::time::Duration;

use super::input::View;
use super::message_field::MessageField;
use super::moment;
pub use super::moment::EpochUnit;

/// How much of what was found a sentence shows, in characters.
const SHOWN_MAX: usize = 100;

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
    /// `"json./ts"` or `"user.ts"`: a field of the message.
    Field(MessageField),
}

/// What a message has as its timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stamped {
    /// Milliseconds since the Unix epoch; `None`: when the record is produced.
    At(Option<i64>),
    /// It has no usable one; this is the time of receipt.
    FellBack(i64),
}

impl Timestamp {
    /// The timestamp of a record.
    ///
    /// # Errors
    /// What was found and expected, if the message goes to the dead letter.
    pub fn of(&self, view: &View<'_>) -> Result<Stamped, String> {
        let received_ms =
            || i64::try_from(view.input.received_at.wall_us / 1000).unwrap_or(i64::MAX);
        let found = match &self.from {
            TimestampFrom::None => return Ok(Stamped::At(None)),
            TimestampFrom::Received => return Ok(Stamped::At(Some(received_ms()))),
            TimestampFrom::Field(field) => field.of(view),
        };
        let received_ms = received_ms();
        match self.usable(found.as_deref(), received_ms) {
            Ok(at) => Ok(Stamped::At(Some(at))),
            Err(_) if !self.refuse_invalid => Ok(Stamped::FellBack(received_ms)),
            Err(wrong) => {
                let wrong = wrong.sentence(found.as_deref(), self.unit);
                let mut sentence = format!("timestamp `{}`: {wrong}", self.from);
                if let TimestampFrom::Field(MessageField::Json(_)) = &self.from
                    && let Some(error) = view.not_json()
                {
                    sentence.push_str(&format!("; the payload is not JSON: {error}"));
                }
                Err(sentence)
            }
        }
    }

    /// Milliseconds since the Unix epoch, if this is a moment near enough.
    fn usable(&self, found: Option<&str>, received_ms: i64) -> Result<i64, Wrong> {
        let moment =
            moment::read(found.ok_or(Wrong::Missing)?, self.unit).ok_or(Wrong::NoMoment)?;
        let at = moment.as_millisecond();
        // Kafka has no timestamp before 1970, and 0 asks librdkafka for the present time.
        if at <= 0 {
            return Err(Wrong::TooEarly);
        }
        let skew = Duration::from_millis(at.abs_diff(received_ms));
        match self.max_skew {
            Some(max) if skew > max => {
                Err(Wrong::TooFar { max, skew, is_before: at < received_ms })
            }
            _ => Ok(at),
        }
    }
}

/// What is wrong with a timestamp; a sentence is made of it only for a dead letter.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Missing,
    NoMoment,
    TooEarly,
    /// It is this far from the time of receipt.
    TooFar {
        max: Duration,
        skew: Duration,
        is_before: bool,
    },
}

impl Wrong {
    fn sentence(self, found: Option<&str>, unit: EpochUnit) -> String {
        let shown: String = found.unwrap_or_default().chars().take(SHOWN_MAX).collect();
        match self {
            Self::Missing => "it is missing".to_owned(),
            Self::NoMoment => {
                format!("expected RFC 3339 or a number of {unit} since 1970, found `{shown}`")
            }
            Self::TooEarly => {
                format!("expected a time after 1970-01-01T00:00:00Z, found `{shown}`")
            }
            Self::TooFar { max, skew, is_before } => format!(
                "expected at most {} from the time of receipt, found `{shown}`, {} {} it",
                humantime::format_duration(max),
                humantime::format_duration(Duration::from_secs(skew.as_secs())),
                if is_before { "before" } else { "after" },
            ),
        }
    }
}

/// As in the configuration.
impl fmt::Display for TimestampFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Received => f.write_str("received"),
            Self::Field(field) => field.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::captures::Captures;
    use crate::route::json_pointers::JsonPointers;
    use crate::route::test_support::Sample;

    /// 2026-03-15T12:00:00Z
    const RECEIVED_MS: i64 = 1_773_576_000_000;

    fn user() -> Timestamp {
        from(TimestampFrom::Field(MessageField::User("ts".to_owned())))
    }

    fn stamped(timestamp: &Timestamp, payload: &str, user: &str) -> Result<Stamped, String> {
        let mut properties = b"\x26\0\x02ts\0".to_vec();
        properties.push(u8::try_from(user.len()).expect("short"));
        properties.extend(user.as_bytes());
        let sample = Sample {
            properties: properties.into(),
            ..Sample::new("a", payload).at(RECEIVED_MS.unsigned_abs() * 1000 + 999)
        };
        let (input, captures) = (sample.input(), Captures::default());
        let pointers = JsonPointers::of(["/ts"]);
        timestamp.of(&View::new(&input, &captures, sample.payload.clone()).reading(&pointers))
    }

    fn from(from: TimestampFrom) -> Timestamp {
        Timestamp { from, ..Timestamp::default() }
    }

    fn json() -> Timestamp {
        from(TimestampFrom::Field(MessageField::Json("/ts".to_owned())))
    }

    #[test]
    fn a_timestamp_comes_from_where_the_route_says() {
        let payload = r#"{"ts": "2026-03-15T13:00:00.5+01:00"}"#;
        let sent = "1773576000250";
        for (timestamp, expected) in [
            (from(TimestampFrom::None), None),
            (from(TimestampFrom::Received), Some(RECEIVED_MS)),
            (json(), Some(RECEIVED_MS + 500)),
            (user(), Some(RECEIVED_MS + 250)),
        ] {
            assert_eq!(
                stamped(&timestamp, payload, sent),
                Ok(Stamped::At(expected)),
                "{timestamp:?}"
            );
        }
        let seconds = Timestamp { unit: EpochUnit::Seconds, ..json() };
        let found = stamped(&seconds, r#"{"ts": 1773576000.125}"#, "");
        assert_eq!(found, Ok(Stamped::At(Some(RECEIVED_MS + 125))));
    }

    #[test]
    fn the_skew_itself_is_allowed_and_one_millisecond_more_is_not() {
        let day = 24 * 60 * 60 * 1000;
        for (at, is_usable) in [
            (RECEIVED_MS + day, true),
            (RECEIVED_MS - day, true),
            (RECEIVED_MS + day + 1, false),
            (RECEIVED_MS - day - 1, false),
        ] {
            let expected = match is_usable {
                true => Stamped::At(Some(at)),
                false => Stamped::FellBack(RECEIVED_MS),
            };
            assert_eq!(stamped(&json(), &format!(r#"{{"ts": {at}}}"#), ""), Ok(expected), "{at}");
        }
    }

    #[test]
    fn of_several_user_properties_of_the_name_the_first_one_counts() {
        let sample = Sample {
            properties: bytes::Bytes::from_static(
                b"\x26\0\x01x\0\x019\x26\0\x02ts\0\x017\x26\0\x02ts\0\x018",
            ),
            ..Sample::new("a", "")
        };
        let (input, captures) = (sample.input(), Captures::default());
        let view = View::new(&input, &captures, sample.payload.clone());
        let any = Timestamp { max_skew: None, ..user() };
        assert_eq!(any.of(&view), Ok(Stamped::At(Some(7))));
    }

    #[test]
    fn what_cannot_be_used_falls_back_to_the_time_of_receipt_or_is_refused_as_the_route_says() {
        let strict = Timestamp { refuse_invalid: true, ..json() };
        for (payload, sentence) in [
            ("{}", "it is missing"),
            (r#"{"ts": null}"#, "it is missing"),
            ("{", "the payload is not JSON"),
            (r#"{"ts": "noon"}"#, "expected RFC 3339 or a number of ms since 1970, found `noon`"),
            (r#"{"ts": {}}"#, "found `{}`"),
            (r#"{"ts": -1}"#, "expected a time after 1970"),
            (r#"{"ts": 0}"#, "expected a time after 1970"),
            (r#"{"ts": 1773576000}"#, "expected at most 1day from the time of receipt"),
            (r#"{"ts": "2026-03-16T12:00:00.001Z"}"#, "after it"),
            (r#"{"ts": 1e300}"#, "found `1e300`"),
        ] {
            let read = |timestamp: &Timestamp| stamped(timestamp, payload, "");
            match read(&json()) {
                Ok(Stamped::FellBack(at)) => assert_eq!(at, RECEIVED_MS, "{payload}"),
                other => panic!("{payload}: must fall back, found {other:?}"),
            }
            let found = read(&strict).expect_err("it is refused");
            assert!(
                found.starts_with("timestamp `json./ts`: ") && found.contains(sentence),
                "{found}"
            );
        }
    }

    #[test]
    fn with_any_skew_allowed_only_what_kafka_has_no_number_for_is_refused() {
        let any = Timestamp { max_skew: None, ..json() };
        for (ts, expected) in
            [("1", Some(1)), ("\"1999-12-31T23:59:59Z\"", Some(946_684_799_000)), ("-5", None)]
        {
            let found = stamped(&any, &format!("{{\"ts\": {ts}}}"), "").expect("not refused");
            match expected {
                Some(at) => assert_eq!(found, Stamped::At(Some(at))),
                None => assert!(matches!(found, Stamped::FellBack(RECEIVED_MS))),
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_is_found_a_timestamp_lies_within_the_skew(ts in "[0-9TZeE.:+-]{0,30}") {
            let skew = Duration::from_secs(3600);
            let timestamp = Timestamp { max_skew: Some(skew), ..user() };
            match stamped(&timestamp, "", &ts) {
                Ok(Stamped::At(Some(at)) | Stamped::FellBack(at)) => {
                    prop_assert!(at.abs_diff(RECEIVED_MS) <= 3_600_000);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
