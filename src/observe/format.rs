//! One log record as one line of bytes. Pure, except for a cache of the current second's text.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use slog::{KV, Key, Level, OwnedKVList, Record, SerdeValue, Serializer, Value};

use super::{ErrorChain, keys};
use crate::visible::{Quoted, Visible, escape_json, is_hidden};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `{"ts":"...","level":"info","msg":"...","event":"...","component":"...",...}`: always valid JSON; what a
    /// terminal would obey is escaped.
    Json,
    /// `TIMESTAMP LEVEL component: message key=value ...`, always one line; what could confuse a
    /// reader or steer the terminal is quoted and escaped. A person reads the message: the event, which is for
    /// programs, is left out, and where help is comes last.
    Terminal {
        /// Whether the level has a colour.
        colour: bool,
    },
}

/// Buffers that one thread uses again for each line.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The finished line.
    pub(crate) line: Vec<u8>,
    /// For putting a line's fields in order.
    pub(crate) fields: Fields,
}

/// The fields of one record, each already formatted, in the order in which slog emits them.
#[derive(Default)]
pub(crate) struct Fields {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    text: String,
}

impl Fields {
    fn take(&mut self, key: &str) -> Option<Span> {
        let at = self.spans.iter().position(|span| span.key == key)?;
        Some(self.spans.remove(at))
    }
}

/// Where one field stands in [`Fields::bytes`].
struct Span {
    key: Key,
    start: usize,
    end: usize,
}

/// Lends this thread's buffers; new ones if the thread is ending, or if a value logs while it is being
/// logged.
pub(crate) fn with_scratch<R>(mut work: impl FnMut(&mut Scratch) -> R) -> R {
    thread_local! { static SCRATCH: RefCell<Scratch> = RefCell::default(); }
    SCRATCH
        .try_with(|cell| cell.try_borrow_mut().ok().map(|mut scratch| work(&mut scratch)))
        .ok()
        .flatten()
        .unwrap_or_else(|| work(&mut Scratch::default()))
}

/// Appends one line, with its line feed, for a record that happened at `at_us` microseconds after
/// the Unix epoch.
///
/// Fields stand in the order in which they were written down: the oldest ancestor's first, the
/// record's own last. (slog emits them the other way round.) Before all of them comes the event, and behind them
/// where its help is.
pub(crate) fn write(
    style: Style,
    at_us: u64,
    record: &Record<'_>,
    values: &OwnedKVList,
    fields: &mut Fields,
    out: &mut Vec<u8>,
) {
    fields.bytes.clear();
    fields.spans.clear();
    let mut writer = FieldWriter { style, inherited: false, fields };
    // Only `emit_serde` can fail, and not here.
    let _ = record.kv().serialize(record, &mut writer);
    writer.inherited = true;
    let _ = values.serialize(record, &mut writer);

    let [event, help] = [keys::EVENT, keys::HELP].map(|key| fields.take(key));
    fields.spans.extend(event.filter(|_| style == Style::Json));
    if let Some(help) = help {
        fields.spans.insert(0, help);
    }
    match style {
        Style::Json => write_json(at_us, record, fields, out),
        Style::Terminal { colour } => write_terminal(colour, at_us, record, fields, out),
    }
}

fn write_json(at_us: u64, record: &Record<'_>, fields: &mut Fields, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"ts\":\"");
    out.extend_from_slice(&Rfc3339::from_us(at_us).0);
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(level_name(record.level()).as_bytes());
    out.extend_from_slice(b"\",\"msg\":");
    push_json_str(out, text_of(record.msg(), &mut fields.text));
    for span in fields.spans.iter().rev() {
        out.push(b',');
        out.extend_from_slice(&fields.bytes[span.start..span.end]);
    }
    out.extend_from_slice(b"}\n");
}

fn write_terminal(
    colour: bool,
    at_us: u64,
    record: &Record<'_>,
    fields: &mut Fields,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(&Rfc3339::from_us(at_us).0);
    out.push(b' ');
    let level = record.level();
    if colour {
        out.extend_from_slice(level_colour(level).as_bytes());
    }
    out.extend_from_slice(format!("{:<5}", level_name(level)).as_bytes());
    if colour {
        out.extend_from_slice(b"\x1b[0m");
    }
    out.push(b' ');
    if let Some(span) = fields.take(keys::COMPONENT) {
        let value = span.start + keys::COMPONENT.len() + "=".len();
        out.extend_from_slice(&fields.bytes[value..span.end]);
        out.extend_from_slice(b": ");
    }
    push_printable(out, text_of(record.msg(), &mut fields.text));
    for span in fields.spans.iter().rev() {
        out.push(b' ');
        out.extend_from_slice(&fields.bytes[span.start..span.end]);
    }
    out.push(b'\n');
}

/// Level as it stands in a line.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Critical => "crit",
        Level::Error => "error",
        Level::Warning => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn level_colour(level: Level) -> &'static str {
    match level {
        Level::Critical | Level::Error => "\x1b[31m",
        Level::Warning => "\x1b[33m",
        Level::Info => "\x1b[32m",
        Level::Debug | Level::Trace => "\x1b[2m",
    }
}

/// The text of format arguments; formatted into `scratch` only if it is no constant.
fn text_of<'a>(arguments: &'a fmt::Arguments<'_>, scratch: &'a mut String) -> &'a str {
    if let Some(constant) = arguments.as_str() {
        return constant;
    }
    scratch.clear();
    // A `Display` that fails leaves what it has written so far.
    let _ = scratch.write_fmt(*arguments);
    scratch
}

/// Appends a JSON string.
pub(crate) fn push_json_str(out: &mut Vec<u8>, text: &str) {
    push_json_utf8(out, text.as_bytes());
}

/// Appends a JSON string. The text should be UTF-8; plain ASCII takes the short way.
pub(crate) fn push_json_utf8(out: &mut Vec<u8>, text: &[u8]) {
    let plain = |byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
    // No early exit, so that it becomes vector instructions.
    if text.iter().fold(true, |all, &byte| all & plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else {
        push_json(out, &String::from_utf8_lossy(text));
    }
}

/// Appends any value as JSON; `null` if it cannot be serialized.
fn push_json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
    escape_json(out, start);
}

/// Appends text with hidden characters escaped.
fn push_printable(out: &mut Vec<u8>, text: &str) {
    push_shown(out, Visible(text));
}

fn push_shown(out: &mut Vec<u8>, shown: impl fmt::Display) {
    // A `Vec` takes everything.
    let _ = std::io::Write::write_fmt(out, format_args!("{shown}"));
}

/// Appends text as one word: as it is, or quoted and escaped.
fn push_word(out: &mut Vec<u8>, text: &str) {
    let odd = |c: char| is_hidden(c) || c.is_whitespace() || matches!(c, '"' | '=' | '\\');
    if text.is_empty() || text.chars().any(odd) {
        push_shown(out, Quoted(text));
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// Formats each field that slog emits.
struct FieldWriter<'f> {
    style: Style,
    /// The fields come from the logger and its ancestors: a key that is there already is left out.
    inherited: bool,
    fields: &'f mut Fields,
}

impl FieldWriter<'_> {
    fn field(&mut self, key: Key, value: impl FnOnce(Style, &mut Vec<u8>, &mut String)) {
        let Fields { bytes, spans, text } = &mut *self.fields;
        if self.inherited && spans.iter().any(|span| span.key == key) {
            return;
        }
        let start = bytes.len();
        match self.style {
            Style::Json => {
                push_json_str(bytes, key);
                bytes.push(b':');
            }
            Style::Terminal { .. } => {
                bytes.extend_from_slice(key.as_bytes());
                bytes.push(b'=');
            }
        }
        value(self.style, bytes, text);
        spans.push(Span { key, start, end: bytes.len() });
    }

    fn json(&mut self, key: Key, value: &(impl Serialize + ?Sized)) -> slog::Result {
        self.field(key, |_, bytes, _| push_json(bytes, value));
        Ok(())
    }
}

/// The `Serializer` methods for types that JSON has.
macro_rules! emit_as_json {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(&mut self, key: Key, value: $type) -> slog::Result {
            self.json(key, &value)
        })*
    };
}

impl Serializer for FieldWriter<'_> {
    emit_as_json! {
        emit_bool: bool, emit_usize: usize, emit_isize: isize, emit_u8: u8, emit_i8: i8,
        emit_u16: u16, emit_i16: i16, emit_u32: u32, emit_i32: i32, emit_u64: u64, emit_i64: i64,
        emit_f32: f32, emit_f64: f64
    }

    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.json(key, &())
    }

    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.json(key, &())
    }

    fn emit_str(&mut self, key: Key, value: &str) -> slog::Result {
        self.field(key, |style, bytes, _| push_str(style, bytes, value));
        Ok(())
    }

    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.field(key, |style, bytes, text| push_str(style, bytes, text_of(value, text)));
        Ok(())
    }

    fn emit_serde(&mut self, key: Key, value: &dyn SerdeValue) -> slog::Result {
        self.json(key, value.as_serde())
    }

    fn emit_error(&mut self, key: Key, error: &(dyn Error + 'static)) -> slog::Result {
        self.emit_str(key, &ErrorChain(error).to_string())
    }
}

fn push_str(style: Style, bytes: &mut Vec<u8>, text: &str) {
    match style {
        Style::Json => push_json_str(bytes, text),
        Style::Terminal { .. } => push_word(bytes, text),
    }
}

/// Microseconds since the Unix epoch, now.
pub(crate) fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// A moment of the wall clock as RFC 3339 with microseconds: `2026-01-02T03:04:05.123456Z`.
pub(crate) struct Rfc3339([u8; 27]);

impl Rfc3339 {
    /// From microseconds since the Unix epoch; after the year 9999 it stays at that year's last second.
    pub(crate) fn from_us(us: u64) -> Self {
        const LAST_SECOND: u64 = 253_402_300_799;
        // The text of the second that this thread needed last: records come in runs.
        thread_local! { static SECOND: Cell<(u64, [u8; 27])> = const { Cell::new((0, *EPOCH)) }; }
        let second = (us / 1_000_000).min(LAST_SECOND);
        let (cached, mut text) = SECOND.try_with(Cell::get).unwrap_or((0, *EPOCH));
        if cached != second {
            let moment = UNIX_EPOCH + Duration::from_secs(second);
            let mut full = String::with_capacity(text.len());
            let _ = write!(full, "{}", humantime::format_rfc3339_micros(moment));
            text = full.as_bytes().try_into().unwrap_or(*EPOCH);
            let _ = SECOND.try_with(|cell| cell.set((second, text)));
        }
        let mut micros = us % 1_000_000;
        for digit in text[20..26].iter_mut().rev() {
            // A remainder of 10 fits.
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        Self(text)
    }

    /// ASCII.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

const EPOCH: &[u8; 27] = b"1970-01-01T00:00:00.000000Z";

impl Value for Rfc3339 {
    fn serialize(&self, _: &Record<'_>, key: Key, serializer: &mut dyn Serializer) -> slog::Result {
        serializer.emit_str(key, self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};
    use slog::{error, info, o, warn};

    use super::*;
    use crate::observe::events;
    use crate::observe::test_support::{json_lines, json_log, terminal_log};
    use crate::visible::tests::odd_text;

    #[test]
    fn a_record_is_one_json_object_with_its_fields_in_order() {
        let (logging, lines) = json_log();
        let log = logging.logger().new(o!("component" => "mqtt")).new(o!("client_id" => "b-1"));
        info!(log, "connected"; "session_present" => true, "keep_alive_s" => 30u16, "x" => 1.5);
        logging.flush();
        let text = lines.text();
        let after_ts = text.split_once("Z\",").expect("a timestamp").1;
        assert_eq!(
            after_ts,
            "\"level\":\"info\",\"msg\":\"connected\",\"component\":\"mqtt\",\
             \"client_id\":\"b-1\",\"session_present\":true,\"keep_alive_s\":30,\"x\":1.5}\n"
        );
    }

    #[test]
    fn the_event_stands_behind_the_message_and_its_help_last() {
        let (logging, lines) = json_log();
        let log = logging.logger().new(o!("component" => "kafka"));
        warn!(log, "away"; events::KAFKA_UNREACHABLE, "detail" => "x");
        info!(log, "back"; events::KAFKA_REACHABLE, "detail" => "x");
        logging.flush();
        let text = lines.text();
        let of = |line: &'static str| text.lines().any(|told| told.ends_with(line));
        assert!(
            of("\"msg\":\"away\",\"event\":\"kafka_unreachable\",\"component\":\"kafka\",\
                 \"detail\":\"x\",\"help\":\"docs/operations.md#messages-stop-arriving\"}"),
            "{text}"
        );
        assert!(
            of("\"msg\":\"back\",\"event\":\"kafka_reachable\",\"component\":\"kafka\",\
                 \"detail\":\"x\"}"),
            "{text}"
        );
    }

    #[test]
    fn a_terminal_shows_where_help_is_and_no_event() {
        let (logging, lines) = terminal_log();
        warn!(logging.logger(), "away"; events::KAFKA_UNREACHABLE, "detail" => "x");
        info!(logging.logger(), "back"; events::KAFKA_REACHABLE);
        logging.flush();
        let text = lines.text();
        let told: Vec<_> = text.lines().map(|line| &line[27..]).collect();
        let away = " warn  away detail=x help=docs/operations.md#messages-stop-arriving";
        assert_eq!(told, [away, " info  back"]);
    }

    #[test]
    fn a_childs_field_takes_the_place_of_its_parents() {
        let (logging, lines) = json_log();
        let log = logging.logger().new(o!("component" => "old")).new(o!("component" => "new"));
        warn!(log, "a"; "count" => None::<u64>);
        warn!(log, "b"; "component" => "own");
        logging.flush();
        assert_eq!(lines.text().matches("component").count(), 2);
        let records = json_lines(&lines);
        assert_eq!((&records[0]["component"], &records[0]["count"]), (&json!("new"), &Json::Null));
        assert_eq!(records[1]["component"], "own");
    }

    #[test]
    fn every_control_character_quotes_and_odd_numbers_stay_valid_json() {
        let (logging, lines) = json_log();
        let controls: String = (0..=0x20u8).chain(0x7f..=0x7f).map(char::from).collect();
        let odd = format!("{controls}\u{80}\u{9f}\u{2028}\u{feff}\u{10ffff}\"\\/'");
        error!(logging.logger(), "{}", odd;
            "a" => &odd, "b" => %odd, "c" => ?odd, "d" => f64::NAN, "e" => f32::INFINITY,
            "f" => u64::MAX, "g" => i64::MIN, "h" => 'x', "i" => (), "j" => u128::MAX);
        logging.flush();
        assert_eq!(lines.text().matches('\n').count(), 1, "one line");
        let record = &json_lines(&lines)[0];
        assert_eq!(record["msg"], odd);
        assert_eq!((&record["a"], &record["b"]), (&json!(odd), &json!(odd)));
        assert_eq!(record["c"], format!("{odd:?}"));
        assert_eq!((&record["d"], &record["e"]), (&Json::Null, &Json::Null));
        assert_eq!((&record["f"], &record["g"]), (&json!(u64::MAX), &json!(i64::MIN)));
        assert_eq!((&record["h"], &record["i"]), (&json!("x"), &Json::Null));
        assert_eq!(record["j"], u128::MAX.to_string());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn nothing_that_a_stranger_sends_reaches_a_terminal_hidden(
            msg in odd_text(), value in odd_text()
        ) {
            for (logging, lines) in [json_log(), terminal_log()] {
                info!(logging.logger(), "{}", msg;
                    "a" => &value, "b" => %value, "c" => ?value, "component" => &value);
                logging.flush();
                let text = lines.text();
                let line = text.strip_suffix('\n').expect("one line");
                prop_assert!(!line.contains(is_hidden), "{:?}", line);
            }
        }
    }

    #[test]
    fn a_terminal_line_reads_well_and_steers_nothing() {
        let (logging, lines) = terminal_log();
        let log = logging.logger().new(o!("component" => "mqtt"));
        warn!(log, "lost"; "mqtt_topic" => "a/b", "detail" => "x y\u{1b}[2J\u{9b}2J\n", "e" => "");
        warn!(log, "{}", "two\nlines");
        logging.flush();
        let text = lines.text();
        let (stamp, rest) = text.split_at(27);
        assert!(humantime::parse_rfc3339(stamp).is_ok(), "{stamp}");
        assert!(
            rest.starts_with(
                " warn  mqtt: lost mqtt_topic=a/b detail=\"x y\\u{1b}[2J\\u{9b}2J\\n\" e=\"\"\n"
            ),
            "{rest}"
        );
        assert!(rest.ends_with("mqtt: two\\nlines\n"), "{rest}");
    }

    #[test]
    fn a_value_that_logs_while_it_is_logged_does_no_harm() {
        struct Nested(slog::Logger);
        impl fmt::Display for Nested {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                info!(self.0, "inner");
                f.write_str("outer's")
            }
        }
        let (logging, lines) = json_log();
        let log = logging.logger();
        info!(log, "outer"; "value" => %Nested(log.clone()));
        logging.flush();
        let records = json_lines(&lines);
        assert_eq!(
            (&records[0]["msg"], &records[1]["value"]),
            (&json!("inner"), &json!("outer's"))
        );
    }

    #[test]
    fn timestamps_are_rfc_3339_across_seconds_and_beyond_the_calendar() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (999_999, "1970-01-01T00:00:00.999999Z"),
            (1_767_323_045_123_456, "2026-01-02T03:04:05.123456Z"),
            (1_767_323_046_000_007, "2026-01-02T03:04:06.000007Z"),
            (1_767_323_045_000_000, "2026-01-02T03:04:05.000000Z"),
        ] {
            assert_eq!(Rfc3339::from_us(us).as_str(), text);
        }
        assert!(Rfc3339::from_us(u64::MAX).as_str().starts_with("9999-12-31T23:59:59."));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_line_parses_back_to_the_same_values(
            rows in prop::collection::vec((any::<String>(), any::<String>(), any::<i64>(),
                any::<u64>(), any::<bool>(), prop::num::f64::NORMAL), 1..20)
        ) {
            let (logging, lines) = json_log();
            for (msg, text, signed, unsigned, flag, float) in &rows {
                info!(logging.logger(), "{}", msg; "text" => text, "shown" => %text,
                    "signed" => signed, "unsigned" => unsigned, "flag" => flag, "float" => float);
            }
            logging.flush();
            let records = json_lines(&lines);
            prop_assert_eq!(records.len(), rows.len());
            for (record, (msg, text, signed, unsigned, flag, float)) in records.iter().zip(&rows) {
                prop_assert_eq!(record["msg"].as_str(), Some(msg.as_str()));
                prop_assert_eq!(record["text"].as_str(), Some(text.as_str()));
                prop_assert_eq!(record["shown"].as_str(), Some(text.as_str()));
                prop_assert_eq!(record["signed"].as_i64(), Some(*signed));
                prop_assert_eq!(record["unsigned"].as_u64(), Some(*unsigned));
                prop_assert_eq!(record["flag"].as_bool(), Some(*flag));
                let read = record["float"].as_f64().expect("a number");
                prop_assert!((read - float).abs() <= float.abs() * 1e-15);
            }
        }
    }
}
