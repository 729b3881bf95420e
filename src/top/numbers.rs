//! Numbers with their units, and codes in words. Pure.

use crate::latency::words;

/// Groups of three digits.
pub(super) fn count(value: Option<u64>) -> String {
    value.map_or_else(|| "unknown".to_owned(), words::count)
}

/// With what is counted.
pub(super) fn counted(value: Option<u64>, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == Some(1) { one } else { many })
}

/// Of a latency.
pub(super) fn micros(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), words::time)
}

/// To three digits, with groups where there are more.
fn digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        9.995..99.95 => format!("{value:.1}"),
        // Casts saturate.
        _ => words::count(value.round() as u64),
    }
}

/// So many `unit` each second.
pub(super) fn rate(value: Option<f64>, unit: &str) -> String {
    let known = value.filter(|value| value.is_finite());
    known.map_or_else(
        || "unknown".to_owned(),
        |value| format!("{} {unit}/s", digits(value.max(0.0))),
    )
}

/// By powers of 1000.
pub(super) fn bytes(value: Option<f64>) -> String {
    let Some(mut value) = value.filter(|value| value.is_finite()) else {
        return "unknown".to_owned();
    };
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = "B";
    for next in units.by_ref() {
        unit = next;
        if value < 1_000.0 || unit == "TB" {
            break;
        }
        value /= 1_000.0;
    }
    format!("{} {unit}", digits(value.max(0.0)))
}

/// So many bytes.
pub(super) fn size(value: Option<u64>) -> String {
    bytes(value.map(|value| value as f64))
}

/// Bytes each second.
pub(super) fn byte_rate(value: Option<f64>) -> String {
    match value.filter(|value| value.is_finite()) {
        None => "unknown".to_owned(),
        value => format!("{}/s", bytes(value)),
    }
}

/// A time that a person waits.
pub(super) fn seconds(value: Option<f64>) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else {
        return "unknown".to_owned();
    };
    let whole = value.max(0.0) as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{} min", whole / 60),
        7_200..172_800 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// Of 1; a share of nothing is 0.
pub(super) fn share(part: Option<u64>, whole: Option<u64>) -> f64 {
    match (part, whole) {
        (Some(part), Some(whole)) if whole > 0 => part as f64 / whole as f64,
        _ => 0.0,
    }
}

/// The clock of an RFC 3339 time in UTC, with its day unless that is the day of `now`.
pub(super) fn clock(at: &str, now: &str) -> String {
    let (Some((day, time)), today) = (at.split_once('T'), now.split_once('T')) else {
        return at.to_owned();
    };
    let time = time.split(['.', 'Z']).next().unwrap_or_default();
    match today {
        Some((today, _)) if today == day => format!("{time} UTC"),
        _ => format!("{day} {time} UTC"),
    }
}

const NAMES: &[(&str, &str)] = &[
    ("mqtt", "MQTT"),
    ("kafka", "Kafka"),
    ("qos", "QoS"),
    ("qos0", "QoS 0"),
    ("connack", "CONNACK"),
    ("tls", "TLS"),
    ("json", "JSON"),
    ("http", "HTTP"),
];

/// A code such as `kafka_unreachable`, in words.
pub(super) fn in_words(code: &str) -> String {
    let word = |word: &str| -> String {
        let known = NAMES.iter().find(|(known, _)| *known == word);
        known.map_or(word, |(_, name)| name).to_owned()
    };
    code.split('_').map(word).collect::<Vec<_>>().join(" ")
}

/// `keep alive: 1, TLS: 2`; empty if there are none.
pub(super) fn pairs(counts: &[(String, Option<u64>)]) -> String {
    let each = counts.iter().map(|(code, of)| format!("{}: {}", in_words(code), count(*of)));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_its_unit() {
        for (value, told) in [
            (0.0, "0 messages/s"),
            (0.5, "0.5 messages/s"),
            (9.999, "10.0 messages/s"),
            (123.4, "123 messages/s"),
            (123_456.7, "123,457 messages/s"),
            (-1.0, "0 messages/s"),
            (f64::NAN, "unknown"),
            (f64::INFINITY, "unknown"),
        ] {
            assert_eq!(rate(Some(value), "messages"), told);
        }
        for (value, told) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1 kB"),
            (1_048_576, "1.05 MB"),
            (u64::MAX, "18,446,744 TB"),
        ] {
            assert_eq!(size(Some(value)), told);
        }
        assert_eq!(byte_rate(Some(12_345.0)), "12.3 kB/s");
        assert_eq!((size(None), byte_rate(None)), ("unknown".to_owned(), "unknown".to_owned()));
        for (value, told) in [
            (3.9, "3 s"),
            (119.0, "119 s"),
            (120.0, "2 min"),
            (11_520.0, "3 h 12 min"),
            (200_000.0, "2 d 7 h"),
            (-5.0, "0 s"),
        ] {
            assert_eq!(seconds(Some(value)), told);
        }
        assert_eq!(counted(Some(1), "partition", "partitions"), "1 partition");
        assert_eq!(counted(None, "partition", "partitions"), "unknown partitions");
        assert_eq!((share(Some(1), Some(4)), share(Some(1), Some(0))), (0.25, 0.0));
    }

    #[test]
    fn codes_and_times_are_read_by_people() {
        assert_eq!(in_words("kafka_topic_held"), "Kafka topic held");
        let pair = |name: &str, count| (name.to_owned(), Some(count));
        assert_eq!(pairs(&[pair("keep_if", 3_000), pair("qos0", 1)]), "keep if: 3,000, QoS 0: 1");
        let now = "2026-11-27T15:04:05.1Z";
        assert_eq!(clock("2026-11-27T03:04:05.123456Z", now), "03:04:05 UTC");
        assert_eq!(clock("2026-11-26T03:04:05Z", now), "2026-11-26 03:04:05 UTC");
        assert_eq!(clock("never", now), "never");
    }
}
