//! A moment as a publisher writes it: RFC 3339, or a number since the Unix epoch. Pure.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `timestamp_unit`: what a plain number counts since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EpochUnit {
    /// `"s"`
    Seconds,
    /// `"ms"`
    #[default]
    Milliseconds,
    /// `"us"`
    Microseconds,
    /// `"ns"`
    Nanoseconds,
}

impl EpochUnit {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Seconds, Self::Milliseconds, Self::Microseconds, Self::Nanoseconds];

    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
        }
    }

    fn nanoseconds(self) -> i128 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }

    /// The whole units from the Unix epoch to this moment.
    pub fn count(self, moment: Timestamp) -> i128 {
        moment.as_nanosecond().div_euclid(self.nanoseconds())
    }
}

/// As in the configuration.
impl fmt::Display for EpochUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Most digits of a number that can be a moment.
const DIGITS_MAX: usize = 24;

/// Reads RFC 3339 with any offset, or a number of `unit`, whole, decimal or with an exponent.
pub fn read(text: &str, unit: EpochUnit) -> Option<Timestamp> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return text.parse().ok();
    }
    if digits.contains(['e', 'E', '+', '-']) {
        return with_exponent(text, unit);
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || whole.len() > DIGITS_MAX || fraction.contains('.') {
        return None;
    }
    let mut nanoseconds = whole.parse::<i128>().ok()?.checked_mul(unit.nanoseconds())?;
    let mut digit_is = unit.nanoseconds() / 10;
    for digit in fraction.bytes() {
        nanoseconds += i128::from(digit - b'0') * digit_is;
        digit_is /= 10;
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Timestamp::from_nanosecond(sign * nanoseconds).ok()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "it saturates")]
fn with_exponent(text: &str, unit: EpochUnit) -> Option<Timestamp> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    Timestamp::from_nanosecond((number * unit.nanoseconds() as f64) as i128).ok()
}

/// Formats a moment in UTC as `strftime` does.
///
/// # Errors
/// The format is none.
pub fn format(format: &str, moment: Timestamp) -> Result<String, String> {
    let zoned = moment.to_zoned(TimeZone::UTC);
    jiff::fmt::strtime::format(format, &zoned).map_err(|error| error.to_string())
}

/// RFC 3339 in UTC, with microseconds.
pub fn rfc3339(microseconds: u64) -> Option<String> {
    let moment = Timestamp::from_microsecond(i64::try_from(microseconds).ok()?).ok()?;
    Some(format!("{moment:.6}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ns(text: &str, unit: EpochUnit) -> Option<i128> {
        read(text, unit).map(Timestamp::as_nanosecond)
    }

    #[test]
    fn moments_are_rfc_3339_with_any_offset() {
        let noon = 1_773_576_000_000_000_000;
        for text in [
            "2026-03-15T12:00:00Z",
            "2026-03-15T12:00:00.000Z",
            "2026-03-15T14:00:00+02:00",
            "2026-03-15T03:30:00-08:30",
            "2026-03-15t12:00:00z",
            "2026-03-15 12:00:00Z",
        ] {
            assert_eq!(ns(text, EpochUnit::Seconds), Some(noon), "{text}");
        }
        assert_eq!(
            ns("2026-03-15T12:00:00.123456789Z", EpochUnit::Seconds),
            Some(noon + 123_456_789)
        );
        for text in ["2026-03-15T12:00:00", "2026-03-15", "2026-13-15T12:00:00Z", "noon", "", " "] {
            assert_eq!(ns(text, EpochUnit::Seconds), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_count_in_their_unit_whole_decimal_or_with_an_exponent() {
        use EpochUnit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
        for (text, unit, expected) in [
            ("1773576000", Seconds, Some(1_773_576_000_000_000_000)),
            ("1773576000.25", Seconds, Some(1_773_576_000_250_000_000)),
            ("1773576000.1234567899", Seconds, Some(1_773_576_000_123_456_789)),
            ("1773576000123", Milliseconds, Some(1_773_576_000_123_000_000)),
            ("1773576000123456", Microseconds, Some(1_773_576_000_123_456_000)),
            ("1773576000123456789", Nanoseconds, Some(1_773_576_000_123_456_789)),
            ("1.773576e12", Milliseconds, Some(1_773_576_000_000_000_000)),
            ("0", Seconds, Some(0)),
            ("-1.5", Seconds, Some(-1_500_000_000)),
            ("1e300", Seconds, None),
            ("-1e400", Seconds, None),
            ("99999999999999999999", Seconds, None),
            ("1.2.3", Seconds, None),
            (".5", Seconds, None),
            ("-", Seconds, None),
            ("+1", Seconds, None),
        ] {
            let expected = if text == "+1" { Some(1_000_000_000) } else { expected };
            assert_eq!(ns(text, unit), expected, "{text} {unit}");
        }
    }

    #[test]
    fn a_moment_is_written_in_utc() {
        assert_eq!(rfc3339(1_773_576_000_000_001).as_deref(), Some("2026-03-15T12:00:00.000001Z"));
        assert_eq!(rfc3339(u64::MAX), None);
        let moment = read("2026-03-15T01:00:00+02:00", EpochUnit::Seconds).expect("a moment");
        assert_eq!(format("%Y-%m-%d %H", moment), Ok("2026-03-14 23".to_owned()));
        assert!(format("%", moment).is_err());
        assert_eq!(EpochUnit::Milliseconds.count(moment), 1_773_529_200_000);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[0-9TZeE.:+-]{0,40}", unit in prop::sample::select(&EpochUnit::ALL[..])) {
            let _ = read(&text, unit);
        }

        #[test]
        fn what_is_written_is_read_back(microseconds in 0..4_000_000_000_000_000_u64) {
            let text = rfc3339(microseconds).expect("a moment");
            prop_assert_eq!(ns(&text, EpochUnit::Seconds), Some(i128::from(microseconds) * 1000));
            let number = microseconds.to_string();
            prop_assert_eq!(ns(&number, EpochUnit::Microseconds), Some(i128::from(microseconds) * 1000));
        }
    }
}
