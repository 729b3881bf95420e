//! Moments of RFC 3339, as microseconds since the Unix epoch. Pure.

use jiff::Timestamp;

/// Reads a moment. Fast for what the bridge writes, `2026-01-02T03:04:05.001000Z`.
#[inline]
pub(super) fn read(text: &[u8]) -> Option<i64> {
    match text {
        [
            y0,
            y1,
            y2,
            y3,
            b'-',
            m0,
            m1,
            b'-',
            d0,
            d1,
            b'T',
            h0,
            h1,
            b':',
            n0,
            n1,
            b':',
            s0,
            s1,
            b'.',
            micros @ ..,
            b'Z',
        ] if micros.len() == 6 => {
            let year = number(&[*y0, *y1, *y2, *y3])?;
            let [month, day] = [number(&[*m0, *m1])?, number(&[*d0, *d1])?];
            let [hour, minute, second] =
                [number(&[*h0, *h1])?, number(&[*n0, *n1])?, number(&[*s0, *s1])?];
            if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
                return None;
            }
            if hour > 23 || minute > 59 || second > 60 {
                return None;
            }
            let seconds = (days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second;
            Some(seconds * 1_000_000 + number(micros)?)
        }
        _ => {
            std::str::from_utf8(text).ok()?.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
        }
    }
}

#[inline]
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// Days from the Unix epoch to a day of the Gregorian calendar. Years are counted from March on, so that the
/// leap day is the last of its year.
#[inline]
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// For the command line: as [`read`], with a sentence.
///
/// # Errors
/// It is no such moment.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let read = text.parse::<Timestamp>().map(Timestamp::as_microsecond);
    read.map_err(|_| "expected a moment of RFC 3339 such as 2026-01-02T03:04:05Z".to_owned())
}

/// `2026-01-02T03:04:05.001Z`; as a number where no calendar has it.
pub(super) fn shown(us: i64) -> String {
    let moment = Timestamp::from_millisecond(us.div_euclid(1000));
    moment.map_or_else(|_| format!("{us} us"), |moment| format!("{moment:.3}"))
}

/// `03:04:05` of UTC, with tenths where `width_us` is below a second, with the day where it is hours.
pub(super) fn shown_short(us: i64, width_us: i64) -> String {
    let form = match width_us {
        ..1_000_000 => "%H:%M:%S%.1f",
        1_000_000..600_000_000 => "%H:%M:%S",
        _ => "%m-%d %H:%M",
    };
    let moment = Timestamp::from_microsecond(us);
    moment.map_or_else(|_| us.to_string(), |moment| moment.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_are_read_in_both_ways_and_others_are_refused() {
        for (text, us) in [
            ("1970-01-01T00:00:00.000000Z", Some(0)),
            ("2024-02-29T23:59:59.999999Z", Some(1_709_251_199_999_999)),
            ("2024-02-29T23:59:59Z", Some(1_709_251_199_000_000)),
            ("2024-03-01T01:59:59.5+02:00", Some(1_709_251_199_500_000)),
            ("2024-13-01T00:00:00.000000Z", None),
            ("2024-01-01T24:00:00.000000Z", None),
            ("2024-01-01T00:00:00.00000xZ", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(read(text.as_bytes()), us, "{text}");
        }
        assert_eq!(shown(1_709_251_199_999_999), "2024-02-29T23:59:59.999Z");
        assert_eq!(shown_short(1_709_251_199_900_000, 100_000), "23:59:59.9");
        assert_eq!(shown_short(1_709_251_199_900_000, 1_000_000), "23:59:59");
        assert_eq!(shown_short(1_709_251_199_900_000, 3_600_000_000), "02-29 23:59");
        shown(i64::MAX);
        shown(i64::MIN);
        shown_short(i64::MIN, 1);
    }

    proptest! {
        #[test]
        fn a_moment_is_what_the_calendar_says(us in -62_000_000_000_000_000..250_000_000_000_000_000_i64) {
            let moment = Timestamp::from_microsecond(us).expect("legal");
            let text = format!("{moment:.6}");
            prop_assert_eq!(read(text.as_bytes()), Some(us), "{}", text);
        }
    }
}
