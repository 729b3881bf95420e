//! One line of a log, and what of it is a timing record. Pure; nothing is copied.
//!
//! A line is read as one flat JSON object, field by field. What is no timing record is read no further than its
//! `msg`.

use std::borrow::Cow;
use std::fmt;

use memchr::{memchr2, memmem};

use mqtt_kafka_bridge::observe::keys;
use mqtt_kafka_bridge::visible::Visible;

use super::moment;

/// How much of what was found is quoted, in bytes.
const FOUND_MAX: usize = 24;

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A timing record.
    Timing(Timing<'a>),
    /// Another line of the log, or an empty one.
    Other,
}

/// A timing record. Latencies are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Timing<'a> {
    /// Empty where the record has none: the bridge has one connection.
    pub(super) connection: Text<'a>,
    /// Empty where the record has none: an older bridge wrote it.
    pub(super) route: Text<'a>,
    /// Of the message.
    pub(super) mqtt_topic: Text<'a>,
    /// In microseconds since the Unix epoch.
    pub(super) received_us: i64,
    /// From receipt until its read was routed.
    pub(super) routed_us: Option<u64>,
    /// From receipt to librdkafka.
    pub(super) queue_us: u64,
    /// From there to the delivery report.
    pub(super) kafka_us: u64,
    /// Both together.
    pub(super) total_us: u64,
    /// From the delivery report to the PUBACK.
    pub(super) ack_us: Option<u64>,
    /// Why there is no PUBACK.
    pub(super) ack_reason: Text<'a>,
    /// From the device's own time to the delivery report.
    pub(super) device_us: Option<i64>,
}

/// A text as it stands between the quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Text<'a> {
    /// With JSON's escapes.
    pub(super) raw: &'a [u8],
    has_escapes: bool,
}

impl<'a> Text<'a> {
    /// A text without escapes.
    #[cfg(test)]
    pub(super) fn of_plain(text: &'a str) -> Self {
        Self { raw: text.as_bytes(), has_escapes: false }
    }

    /// Without escapes; what is no UTF-8 or no legal escape is replaced.
    pub(super) fn plain(self) -> Cow<'a, str> {
        if !self.has_escapes {
            return String::from_utf8_lossy(self.raw);
        }
        let lossy = String::from_utf8_lossy(self.raw);
        serde_json::from_str(&format!("\"{lossy}\"")).map_or(lossy, Cow::Owned)
    }

    /// Whether it means this.
    pub(super) fn is(self, text: &str) -> bool {
        match self.has_escapes {
            false => self.raw == text.as_bytes(),
            true => self.plain() == text,
        }
    }
}

/// Why a line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Damage {
    /// Counted from 1, in bytes.
    pub(super) column: usize,
    /// What should be there.
    pub(super) expected: Cow<'static, str>,
    /// What is there.
    pub(super) found: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}, found {}", self.expected, self.found)
    }
}

/// Reads a line without its end. What stands before the first `{` is passed over: the prefix of
/// `docker compose logs` or of journald.
///
/// # Errors
/// It is no JSON object, or a field that a timing record needs is missing or no number.
pub(super) fn read(line: &[u8]) -> Result<Line<'_>, Damage> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let begin = match line.first() {
        None => return Ok(Line::Other),
        Some(b'{') => 0,
        Some(_) if line.iter().all(u8::is_ascii_whitespace) => return Ok(Line::Other),
        Some(_) => match memmem::find(line, b"{\"") {
            Some(at) => at,
            None => return Err(damage(line, 0, "a JSON object")),
        },
    };
    let mut fields = Fields { line, at: begin + 1 };
    let mut timing = Timing::default();
    let mut is_timing = false;
    let [mut has_received, mut has_queue, mut has_kafka, mut has_total] = [false; 4];
    while let Some((key, at, value)) = fields.next()? {
        // Names that do not begin like one of ours are the most.
        match key {
            b"msg" => match value {
                Value::Text(text) if text.raw == b"timing" => is_timing = true,
                _ => return Ok(Line::Other),
            },
            _ if !is_timing => {}
            b"mqtt_topic" => timing.mqtt_topic = text(line, at, value, keys::MQTT_TOPIC)?,
            b"route" => timing.route = text(line, at, value, keys::ROUTE)?,
            b"connection" => timing.connection = text(line, at, value, keys::CONNECTION)?,
            b"received_at" => {
                let Text { raw, .. } = text(line, at, value, keys::RECEIVED_AT)?;
                timing.received_us = moment::read(raw)
                    .ok_or_else(|| damage(line, at, "a moment of RFC 3339 in received_at"))?;
                has_received = true;
            }
            b"routed_us" => timing.routed_us = optional(line, at, value, keys::ROUTED_US)?,
            b"queue_us" => {
                timing.queue_us = number(line, at, value, keys::QUEUE_US)?;
                has_queue = true;
            }
            b"kafka_us" => {
                timing.kafka_us = number(line, at, value, keys::KAFKA_US)?;
                has_kafka = true;
            }
            b"total_us" => {
                timing.total_us = number(line, at, value, keys::TOTAL_US)?;
                has_total = true;
            }
            b"ack_us" => timing.ack_us = optional(line, at, value, keys::ACK_US)?,
            b"ack_reason" => timing.ack_reason = text(line, at, value, keys::ACK_REASON)?,
            b"device_us" => timing.device_us = signed(line, at, value)?,
            _ => {}
        }
    }
    if !is_timing {
        return Ok(Line::Other);
    }
    for (is_there, key) in [
        (has_received, keys::RECEIVED_AT),
        (has_queue, keys::QUEUE_US),
        (has_kafka, keys::KAFKA_US),
        (has_total, keys::TOTAL_US),
    ] {
        if !is_there {
            let expected = format!("{key} in a timing record").into();
            return Err(Damage { column: begin + 1, expected, found: "none".to_owned() });
        }
    }
    Ok(Line::Timing(timing))
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Text(Text<'a>),
    /// A number, `true`, `false` or `null`.
    Bare(&'a [u8]),
    /// A list or an object, passed over.
    Nested,
}

/// Key, place of the value, value.
type Field<'a> = (&'a [u8], usize, Value<'a>);

/// The fields of an object, one after the other.
struct Fields<'a> {
    line: &'a [u8],
    /// Behind the `{`, or behind a value.
    at: usize,
}

impl<'a> Fields<'a> {
    /// Nothing behind the last one.
    fn next(&mut self) -> Result<Option<Field<'a>>, Damage> {
        let line = self.line;
        self.skip_space();
        if line.get(self.at) == Some(&b'}') {
            return Ok(None);
        }
        // The first field stands directly behind `{`.
        if line.get(self.at) == Some(&b',') {
            self.at += 1;
            self.skip_space();
        }
        if line.get(self.at) != Some(&b'"') {
            return Err(damage(line, self.at, "a field or the end of the object"));
        }
        let key = self.text()?;
        self.skip_space();
        if line.get(self.at) != Some(&b':') {
            return Err(damage(line, self.at, "a colon"));
        }
        self.at += 1;
        self.skip_space();
        let at = self.at;
        let value = match line.get(at) {
            Some(b'"') => Value::Text(self.text()?),
            Some(b'{' | b'[') => self.nested()?,
            _ => {
                let rest = &line[at.min(line.len())..];
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\t');
                match rest.iter().position(is_end) {
                    Some(length) if length > 0 => {
                        self.at += length;
                        Value::Bare(&rest[..length])
                    }
                    _ => return Err(damage(line, at, "a value and what follows it")),
                }
            }
        };
        self.skip_space();
        match line.get(self.at) {
            Some(b',' | b'}') => Ok(Some((key.raw, at, value))),
            _ => Err(damage(line, self.at, "a comma or the end of the object")),
        }
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t') = self.line.get(self.at) {
            self.at += 1;
        }
    }

    /// The text whose first quote is here; behind it afterwards.
    #[inline]
    fn text(&mut self) -> Result<Text<'a>, Damage> {
        let begin = self.at + 1;
        let mut at = begin;
        let mut has_escapes = false;
        loop {
            let rest = self.line.get(at..).unwrap_or_default();
            let Some(next) = memchr2(b'"', b'\\', rest) else {
                return Err(damage(self.line, self.at, "a text with its end"));
            };
            at += next;
            if self.line[at] == b'"' {
                self.at = at + 1;
                return Ok(Text { raw: &self.line[begin..at], has_escapes });
            }
            has_escapes = true;
            at += 2;
        }
    }

    /// The list or object that begins here; behind it afterwards.
    fn nested(&mut self) -> Result<Value<'a>, Damage> {
        let begin = self.at;
        let mut depth = 0_usize;
        while let Some(byte) = self.line.get(self.at) {
            match byte {
                b'"' => {
                    self.text()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(Value::Nested);
            }
        }
        Err(damage(self.line, begin, "a list or an object with its end"))
    }
}

fn text<'a>(
    line: &[u8],
    at: usize,
    value: Value<'a>,
    key: &'static str,
) -> Result<Text<'a>, Damage> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(damage(line, at, format!("a text for {key}"))),
    }
}

fn number(line: &[u8], at: usize, value: Value<'_>, key: &'static str) -> Result<u64, Damage> {
    match value {
        Value::Bare(digits) => digits_of(digits),
        _ => None,
    }
    .ok_or_else(|| damage(line, at, format!("microseconds for {key}")))
}

fn optional(
    line: &[u8],
    at: usize,
    value: Value<'_>,
    key: &'static str,
) -> Result<Option<u64>, Damage> {
    match value {
        Value::Bare(b"null") => Ok(None),
        value => number(line, at, value, key).map(Some),
    }
}

fn signed(line: &[u8], at: usize, value: Value<'_>) -> Result<Option<i64>, Damage> {
    let read = match value {
        Value::Bare(b"null") => return Ok(None),
        Value::Bare(bare) => match bare.strip_prefix(b"-") {
            Some(digits) => digits_of(digits).and_then(|us| 0_i64.checked_sub_unsigned(us)),
            None => digits_of(bare).and_then(|us| i64::try_from(us).ok()),
        },
        _ => None,
    };
    read.map(Some).ok_or_else(|| damage(line, at, "microseconds for device_us"))
}

#[inline]
fn digits_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let add = |number: u64, digit: &u8| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    };
    digits.iter().try_fold(0, add)
}

/// What is found at a place, `at` bytes behind the beginning of the line.
#[cold]
fn damage(line: &[u8], at: usize, expected: impl Into<Cow<'static, str>>) -> Damage {
    let rest = line.get(at..).unwrap_or_default();
    let found = match rest {
        [] => "the end of the line".to_owned(),
        _ => {
            let shown = String::from_utf8_lossy(&rest[..rest.len().min(FOUND_MAX)]).into_owned();
            let more = if rest.len() > FOUND_MAX { "..." } else { "" };
            format!("`{}{more}`", Visible(&shown))
        }
    };
    Damage { column: at + 1, expected: expected.into(), found }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOCUMENTED: &str = r#"{"ts":"2026-01-02T03:04:05.009120Z","level":"info","msg":"timing","component":"timing","mqtt_topic":"sensors/7/temperature","mqtt_qos":1,"route":"sensors","kafka_topic":"sensors","kafka_partition":3,"kafka_offset":4711,"payload_bytes":150,"received_at":"2026-01-02T03:04:05.001000Z","produced_at":"2026-01-02T03:04:05.001500Z","delivered_at":"2026-01-02T03:04:05.009000Z","routed_us":40,"queue_us":500,"kafka_us":7500,"total_us":8000,"ack_us":95}"#;

    fn timing(line: &str) -> Timing<'_> {
        match read(line.as_bytes()) {
            Ok(Line::Timing(timing)) => timing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_timing_record_is_read_with_its_prefix_its_spaces_and_what_is_new() {
        let found = timing(DOCUMENTED);
        assert_eq!((found.route.plain(), found.connection.plain()), ("sensors".into(), "".into()));
        assert_eq!(found.mqtt_topic.plain(), "sensors/7/temperature");
        assert_eq!(found.received_us, 1_767_323_045_001_000);
        assert_eq!((found.routed_us, found.queue_us, found.kafka_us), (Some(40), 500, 7500));
        assert_eq!((found.total_us, found.ack_us, found.device_us), (8000, Some(95), None));
        for other in [
            format!("bridge-1  | {DOCUMENTED}\r"),
            DOCUMENTED.replace("\":", "\" : ").replace(',', " , "),
            DOCUMENTED.replace(
                "\"ack_us\"",
                r#""new":{"a":["}",{"b\"":1}]},"more":[],"yes":true,"ack_us""#,
            ),
        ] {
            assert_eq!(timing(&other), found, "{other}");
        }
        let negative = DOCUMENTED.replace("\"ack_us\":95", "\"device_us\":-5,\"ack_us\":null");
        let negative = negative.replace("sensors/7", "a\\\"b\\u00e9");
        let negative = timing(&negative);
        assert_eq!((negative.device_us, negative.ack_us), (Some(-5), None));
        assert_eq!(negative.mqtt_topic.plain(), "a\"bé/temperature");
        assert!(negative.mqtt_topic.is("a\"bé/temperature"));
    }

    #[test]
    fn an_older_record_has_no_route_and_no_puback() {
        let older = DOCUMENTED
            .replace(r#""route":"sensors","#, "")
            .replace(r#""routed_us":40,"#, "")
            .replace(r#","ack_us":95"#, "");
        let found = timing(&older);
        assert_eq!((found.routed_us, found.ack_us, found.total_us), (None, None, 8000));
        assert!(found.route.raw.is_empty());
    }

    #[test]
    fn other_lines_are_passed_over() {
        for line in [
            "",
            "   ",
            "{}",
            r#"{"ts":"x","level":"info","msg":"summary","received":1"#,
            r#"{"msg":1,"x"#,
            r#"{"level":"info"}"#,
            r#"2026 | {"msg":"not timing"}"#,
        ] {
            assert_eq!(read(line.as_bytes()), Ok(Line::Other), "{line}");
        }
    }

    #[test]
    fn a_damaged_line_says_where_what_was_found_and_what_was_expected() {
        let begin = DOCUMENTED.find("\"queue_us\":").expect("it is there") + 11;
        for (line, column, told) in [
            ("hello".to_owned(), 1, "expected a JSON object, found `hello`"),
            (
                DOCUMENTED[..begin].to_owned(),
                begin + 1,
                "expected a value and what follows it, found the end of the line",
            ),
            (
                DOCUMENTED.replace("\"queue_us\":500", "\"queue_us\":\"500\""),
                begin + 1,
                "expected microseconds for queue_us, found `\"500\",\"kafka_us\":7500,\"t...`",
            ),
            (
                DOCUMENTED.replace("\"total_us\":8000,", ""),
                1,
                "expected total_us in a timing record, found none",
            ),
            ("{\"msg\" 1}".to_owned(), 8, "expected a colon, found `1}`"),
            ("{\"msg".to_owned(), 2, "expected a text with its end, found `\"msg`"),
            ("{\"a\":1 2}".to_owned(), 8, "expected a comma or the end of the object, found `2}`"),
        ] {
            let found = read(line.as_bytes()).expect_err(&line);
            assert_eq!(found.to_string(), told, "{line}");
            assert_eq!(found.column, column, "{line}");
        }
        let bad = DOCUMENTED.replace("2026-01-02T03:04:05.001000Z", "yesterday");
        let found = read(bad.as_bytes()).expect_err("no moment").to_string();
        assert!(found.starts_with("expected a moment of RFC 3339 in received_at"), "{found}");
        for number in ["-1", "1.5", "99999999999999999999", "1e3", "null"] {
            let line = DOCUMENTED.replace("\"kafka_us\":7500", &format!("\"kafka_us\":{number}"));
            let found = read(line.as_bytes()).expect_err(number).to_string();
            assert!(found.starts_with("expected microseconds for kafka_us"), "{found}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_a_line_or_damage(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&line).map_err(|damage| damage.to_string());
        }

        /// Whatever a record is changed into, and wherever it is cut.
        #[test]
        fn a_record_with_arbitrary_changes_is_a_line_or_damage(
            changes in prop::collection::vec((0..DOCUMENTED.len(), any::<u8>()), 0..4),
            structural in prop::collection::vec((0..DOCUMENTED.len(), prop::sample::select(b"{}[]\",:\\ ".to_vec())), 0..4),
            end in 0..=DOCUMENTED.len(),
        ) {
            let mut line = DOCUMENTED.as_bytes().to_vec();
            for (at, byte) in changes.into_iter().chain(structural) {
                line[at] = byte;
            }
            line.truncate(end);
            match read(&line) {
                Ok(Line::Timing(timing)) => {
                    let _ = (timing.mqtt_topic.plain(), timing.route.plain());
                }
                Ok(Line::Other) => {}
                Err(damage) => prop_assert!(damage.column <= line.len() + 1),
            }
        }

        /// What the scan finds is what a JSON parser finds.
        #[test]
        fn the_fields_are_those_that_a_json_parser_finds(
            (mqtt_topic, route, connection) in (any::<String>(), any::<String>(), any::<String>()),
            [queue, kafka, total, ack] in any::<[u64; 4]>(),
            device in any::<i64>(),
            second in 0..4_000_000_000_i64,
        ) {
            let received_at = jiff::Timestamp::from_second(second).expect("legal").to_string();
            let line = serde_json::json!({
                "a": [device], "ack_us": ack, "connection": connection, "device_us": device, "kafka_us": kafka,
                "mqtt_topic": mqtt_topic, "queue_us": queue, "received_at": received_at, "route": route, "total_us": total,
            });
            let line = line.to_string().replacen('{', "{\"msg\":\"timing\",", 1);
            let found = timing(&line);
            prop_assert!(found.mqtt_topic.is(&mqtt_topic) && found.route.is(&route));
            prop_assert_eq!(found.connection.plain(), connection);
            prop_assert_eq!((found.queue_us, found.kafka_us, found.total_us), (queue, kafka, total));
            prop_assert_eq!((found.ack_us, found.device_us), (Some(ack), Some(device)));
            prop_assert_eq!(found.received_us, second * 1_000_000);
        }
    }
}
