//! The table of all that may stand in a placeholder: sources and functions. docs/routes.md shows it.

use super::foreign_words::{self, Meant};
use super::function::Function;
use super::json_pointers;
use super::moment::{self, EpochUnit};
use super::source::Source;

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    /// Its name, by which it is known.
    pub name: &'static str,
    /// As it is written.
    pub written: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// A placeholder with it, and what that is for the message of docs/routes.md.
    pub example: (&'static str, &'static str),
    read: Reader,
}

#[derive(Debug, Clone, Copy)]
enum Reader {
    /// From what follows the name.
    Source(fn(&str) -> Result<Source, String>),
    /// From the argument, behind the colon.
    Function(fn(Option<&str>) -> Result<Function, String>),
}

impl Word {
    /// Whether it is a source, and not a function.
    pub fn is_source(&self) -> bool {
        matches!(self.read, Reader::Source(_))
    }
}

const fn source(
    name: &'static str,
    written: &'static str,
    meaning: &'static str,
    example: (&'static str, &'static str),
    read: fn(&str) -> Result<Source, String>,
) -> Word {
    Word { name, written, meaning, example, read: Reader::Source(read) }
}

const fn function(
    name: &'static str,
    written: &'static str,
    meaning: &'static str,
    example: (&'static str, &'static str),
    read: fn(Option<&str>) -> Result<Function, String>,
) -> Word {
    Word { name, written, meaning, example, read: Reader::Function(read) }
}

/// Sources first. A capture is a source too, of any other name.
pub const WORDS: &[Word] = &[
    source(
        "mqtt_topic",
        "mqtt_topic",
        "the MQTT topic; `mqtt_topic[0]` is its first level, `mqtt_topic[-1]` its last",
        ("{mqtt_topic[-1]}", "temp"),
        mqtt_topic,
    ),
    source("qos", "qos", "the QoS of the delivery to the bridge, 0 or 1", ("{qos}", "1"), |rest| {
        alone(rest, Source::Qos)
    }),
    source(
        "retain",
        "retain",
        "the retain flag, `true` or `false`",
        ("{retain}", "false"),
        |rest| alone(rest, Source::Retain),
    ),
    source(
        "received_at",
        "received_at",
        "when the message was received: RFC 3339 in UTC, with microseconds",
        ("{received_at}", "2026-01-01T12:00:00.000000Z"),
        |rest| alone(rest, Source::ReceivedAt),
    ),
    source(
        "connection",
        "connection",
        "the name of the connection (`mqtt.name`)",
        ("{connection}", "mqtt"),
        |rest| alone(rest, Source::Connection),
    ),
    source(
        "user",
        "user.NAME",
        "MQTT 5: the first user property of this name",
        ("{user.batch}", "A7"),
        |rest| {
            let name = rest.strip_prefix('.').filter(|name| !name.is_empty());
            name.map(|name| Source::User(name.into())).ok_or_else(|| "write `user.NAME`".to_owned())
        },
    ),
    source(
        "content_type",
        "content_type",
        "MQTT 5: the content type",
        ("{content_type}", "application/json"),
        |rest| alone(rest, Source::ContentType),
    ),
    source(
        "correlation_data",
        "correlation_data",
        "MQTT 5: the correlation data; base64 where it is not UTF-8",
        ("{correlation_data}", "c-17"),
        |rest| alone(rest, Source::CorrelationData),
    ),
    source(
        "response_topic",
        "response_topic",
        "MQTT 5: the response topic",
        ("{response_topic}", "answers/d7"),
        |rest| alone(rest, Source::ResponseTopic),
    ),
    source(
        "json",
        "json./POINTER",
        "a field of the payload by JSON pointer (RFC 6901), as in `json./device/id`",
        ("{json./value}", "21.5"),
        |rest| {
            let pointer = rest.strip_prefix('.').ok_or("write `json./POINTER`")?;
            json_pointers::check(pointer)?;
            Ok(Source::Json(pointer.into()))
        },
    ),
    function(
        "default",
        "default:TEXT",
        "this text where the value is missing, null or empty; shorter, as the last one: `|TEXT`",
        ("{json./site|default:unknown}", "unknown"),
        |argument| {
            let text = argument.ok_or("`default` needs a text, as in `default:unknown`")?;
            Ok(Function::Default(unescape(text).into()))
        },
    ),
    function("lower", "lower", "in lower case", ("{user.batch|lower}", "a7"), |argument| {
        bare(argument, Function::Lower)
    }),
    function("upper", "upper", "in upper case", ("{site|upper}", "BERLIN"), |argument| {
        bare(argument, Function::Upper)
    }),
    function(
        "trim",
        "trim",
        "without white space around it",
        ("{json./unit|trim}", "C"),
        |argument| bare(argument, Function::Trim),
    ),
    function(
        "replace",
        "replace:FROM:TO",
        "each FROM becomes TO, which may be empty",
        ("{mqtt_topic|replace:/:.}", "sensors.berlin.d7.temp"),
        |argument| {
            let (from, to) = argument.and_then(|argument| split(argument, ':')).unwrap_or_default();
            match from.is_empty() {
                true => Err("`replace` needs two texts, as in `replace:/:.`".to_owned()),
                false => Ok(Function::Replace(unescape(from).into(), unescape(to).into())),
            }
        },
    ),
    function(
        "first",
        "first:N",
        "at most N characters, from the beginning",
        ("{site|first:3}", "ber"),
        |argument| count(argument, "first").map(Function::First),
    ),
    function(
        "last",
        "last:N",
        "at most N characters, from the end",
        ("{site|last:3}", "lin"),
        |argument| count(argument, "last").map(Function::Last),
    ),
    function(
        "date",
        "date:FORMAT",
        "a moment (RFC 3339, or milliseconds since 1970), in UTC by `strftime`, as in `date:%Y-%m-%d`",
        ("{json./at|date:%Y-%m-%d}", "2026-03-15"),
        |argument| {
            let format = argument.filter(|format| !format.is_empty());
            let format = unescape(format.ok_or("`date` needs a format, as in `date:%Y-%m-%d`")?);
            let sample = moment::read("0", EpochUnit::Seconds).unwrap_or_default();
            match moment::format(&format, sample) {
                Ok(_) => Ok(Function::Date(format.into())),
                Err(error) => Err(format!("`{format}` is not a format: {error}")),
            }
        },
    ),
    function(
        "epoch",
        "epoch:UNIT",
        "a moment as a number since 1970, in `s`, `ms`, `us` or `ns`",
        ("{json./at|epoch:s}", "1773576000"),
        |argument| {
            let unit = EpochUnit::ALL.into_iter().find(|unit| Some(unit.name()) == argument);
            unit.map(Function::Epoch)
                .ok_or_else(|| "write `epoch:s`, `epoch:ms`, `epoch:us` or `epoch:ns`".to_owned())
        },
    ),
];

fn alone(rest: &str, source: Source) -> Result<Source, String> {
    match rest.is_empty() {
        true => Ok(source),
        false => Err(format!("found `{rest}` behind it")),
    }
}

fn bare(argument: Option<&str>, function: Function) -> Result<Function, String> {
    match argument {
        None => Ok(function),
        Some(argument) => Err(format!("it has no argument, found `{argument}`")),
    }
}

fn count(argument: Option<&str>, name: &str) -> Result<usize, String> {
    let count = argument.and_then(|argument| argument.parse().ok()).filter(|count| *count > 0);
    count.ok_or_else(|| format!("`{name}` needs a number of characters, as in `{name}:8`"))
}

fn mqtt_topic(rest: &str) -> Result<Source, String> {
    if rest.is_empty() {
        return Ok(Source::MqttTopic);
    }
    let number = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let number = number.and_then(|number| number.parse().ok());
    number.map(Source::MqttLevel).ok_or_else(|| {
        "a level is written `mqtt_topic[0]`, counted from 0, or from the end, which is -1"
            .to_owned()
    })
}

/// Reads the source of a placeholder.
///
/// # Errors
/// What was found and expected.
pub(super) fn read_source(written: &str) -> Result<Source, String> {
    if written.trim() != written && !written.ends_with("\\ ") {
        return Err(format!("write `{}` without white space around it", written.trim()));
    }
    let written = unescape(written);
    let (name, rest) = written.split_at(written.find(['.', '[']).unwrap_or(written.len()));
    let word = WORDS.iter().find(|word| word.name == name);
    if let Some(Word { read: Reader::Source(read), .. }) = word {
        return read(rest).map_err(|error| format!("`{written}`: {error}"));
    }
    if written.is_empty() || !rest.is_empty() {
        let names: Vec<_> =
            WORDS.iter().filter(|word| word.is_source()).map(|word| word.written).collect();
        return Err(format!(
            "expected a capture of the filter, or one of {}; found `{written}`",
            names.join(", ")
        ));
    }
    Ok(Source::Capture(name.into(), None))
}

/// Reads a function of a placeholder, or, as the last one, the text that is its default.
///
/// # Errors
/// What was found and expected.
pub(super) fn read_function(written: &str, is_last: bool) -> Result<Function, String> {
    let (name, argument) = match split(written, ':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (written, None),
    };
    let as_default = format!("a default of this text is written `default:{written}`");
    for word in WORDS {
        match word.read {
            Reader::Function(read) if word.name == name => {
                return read(argument).map_err(|error| match argument {
                    None => format!("`{written}`: {error}; {as_default}"),
                    Some(_) => format!("`{written}`: {error}"),
                });
            }
            _ => {}
        }
    }
    let bare = written.trim();
    if bare != written && !matches!(read_function(bare, false), Err(_) | Ok(Function::Default(_))) {
        return Err(format!("write `{bare}` without white space around it, found `{written}`"));
    }
    let functions = || WORDS.iter().filter(|word| !word.is_source());
    let expected = || functions().map(|word| word.written).collect::<Vec<_>>().join(", ");
    match foreign_words::meant(written, functions().map(|word| word.name)) {
        Some(Meant::Ours(name)) => {
            let meant =
                functions().find(|word| word.name == name).map_or(name, |word| word.written);
            Err(format!("did you mean the function `{meant}`? Found `{written}`; {as_default}"))
        }
        Some(Meant::Foreign) => {
            Err(format!("expected one of {}; found `{written}`; {as_default}", expected()))
        }
        None if argument.is_some() || name.is_empty() => {
            Err(format!("expected one of {}; found `{written}`; {as_default}", expected()))
        }
        None if !is_last || name.trim() != name => Err(format!(
            "expected one of {}; found `{written}`; only the last text may be a default without \
             `default:`, and without white space around it: {as_default}",
            expected()
        )),
        None => Ok(Function::Default(unescape(name).into())),
    }
}

/// Whether this default differs in one letter from the name of a function.
pub(super) fn is_doubtful(default: &str) -> bool {
    let functions = WORDS.iter().filter(|word| !word.is_source());
    foreign_words::is_doubtful(default, functions.map(|word| word.name))
}

/// The parts before and behind the first `separator` that has no backslash before it.
fn split(written: &str, separator: char) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let at = written.find(|char| {
        let is_separator = char == separator && !is_escaped;
        is_escaped = char == '\\' && !is_escaped;
        is_separator
    })?;
    Some((&written[..at], &written[at + separator.len_utf8()..]))
}

/// Without the backslashes that take the meaning from what follows them.
fn unescape(written: &str) -> String {
    let mut text = String::with_capacity(written.len());
    let mut chars = written.chars();
    while let Some(char) = chars.next() {
        text.extend(if char == '\\' { chars.next() } else { Some(char) });
    }
    text
}
