//! The table of all that may stand in a placeholder: sources and functions. docs/routes.md shows it.

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
    read: fn(&str) -> Result<Source, String>,
) -> Word {
    Word { name, written, meaning, read: Reader::Source(read) }
}

const fn function(
    name: &'static str,
    written: &'static str,
    meaning: &'static str,
    read: fn(Option<&str>) -> Result<Function, String>,
) -> Word {
    Word { name, written, meaning, read: Reader::Function(read) }
}

/// Sources first. A capture is a source too, of any other name.
pub const WORDS: &[Word] = &[
    source(
        "mqtt_topic",
        "mqtt_topic",
        "the MQTT topic; `mqtt_topic[0]` is its first level, `mqtt_topic[-1]` its last",
        mqtt_topic,
    ),
    source("qos", "qos", "the QoS of the delivery to the bridge, 0 or 1", |rest| {
        alone(rest, Source::Qos)
    }),
    source("retain", "retain", "the retain flag, `true` or `false`", |rest| {
        alone(rest, Source::Retain)
    }),
    source(
        "received_at",
        "received_at",
        "when the message was received: RFC 3339 in UTC, with microseconds",
        |rest| alone(rest, Source::ReceivedAt),
    ),
    source("connection", "connection", "the name of the connection (`mqtt.name`)", |rest| {
        alone(rest, Source::Connection)
    }),
    source("user", "user.NAME", "MQTT 5: the first user property of this name", |rest| {
        let name = rest.strip_prefix('.').filter(|name| !name.is_empty());
        name.map(|name| Source::User(name.into())).ok_or_else(|| "write `user.NAME`".to_owned())
    }),
    source("content_type", "content_type", "MQTT 5: the content type", |rest| {
        alone(rest, Source::ContentType)
    }),
    source(
        "correlation_data",
        "correlation_data",
        "MQTT 5: the correlation data; base64 where it is not UTF-8",
        |rest| alone(rest, Source::CorrelationData),
    ),
    source("response_topic", "response_topic", "MQTT 5: the response topic", |rest| {
        alone(rest, Source::ResponseTopic)
    }),
    source(
        "json",
        "json./POINTER",
        "a field of the payload by JSON pointer (RFC 6901), as in `json./device/id`",
        |rest| {
            let pointer = rest.strip_prefix('.').ok_or("write `json./POINTER`")?;
            json_pointers::check(pointer)?;
            Ok(Source::Json(pointer.into()))
        },
    ),
    function(
        "default",
        "default:TEXT",
        "this text where the value is missing, null or empty; shorter: `|TEXT`",
        |argument| {
            let text = argument.ok_or("`default` needs a text, as in `default:unknown`")?;
            Ok(Function::Default(unescape(text).into()))
        },
    ),
    function("lower", "lower", "in lower case", |argument| bare(argument, Function::Lower)),
    function("upper", "upper", "in upper case", |argument| bare(argument, Function::Upper)),
    function("trim", "trim", "without white space around it", |argument| {
        bare(argument, Function::Trim)
    }),
    function(
        "replace",
        "replace:FROM:TO",
        "each FROM becomes TO, which may be empty",
        |argument| {
            let (from, to) = argument.and_then(|argument| split(argument, ':')).unwrap_or_default();
            match from.is_empty() {
                true => Err("`replace` needs two texts, as in `replace:/:.`".to_owned()),
                false => Ok(Function::Replace(unescape(from).into(), unescape(to).into())),
            }
        },
    ),
    function("first", "first:N", "at most N characters, from the beginning", |argument| {
        count(argument, "first").map(Function::First)
    }),
    function("last", "last:N", "at most N characters, from the end", |argument| {
        count(argument, "last").map(Function::Last)
    }),
    function(
        "date",
        "date:FORMAT",
        "a moment (RFC 3339, or milliseconds since 1970), in UTC by `strftime`, as in `date:%Y-%m-%d`",
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

/// Reads a function of a placeholder, or the text that is its default.
///
/// # Errors
/// What was found and expected.
pub(super) fn read_function(written: &str) -> Result<Function, String> {
    let (name, argument) = match split(written, ':') {
        Some((name, argument)) => (name, Some(argument)),
        None => (written, None),
    };
    for word in WORDS {
        match word.read {
            Reader::Function(read) if word.name == name => {
                return read(argument).map_err(|error| format!("`{written}`: {error}"));
            }
            _ => {}
        }
    }
    let functions = || WORDS.iter().filter(|word| !word.is_source());
    let near = functions().find(|word| strsim::damerau_levenshtein(word.name, name) == 1);
    if let Some(near) = near {
        return Err(format!(
            "did you mean the function `{}`? A default of this text is written `default:{written}`",
            near.written
        ));
    }
    if argument.is_some() || name.is_empty() {
        let names: Vec<_> = functions().map(|word| word.written).collect();
        return Err(format!("expected one of {}; found `{written}`", names.join(", ")));
    }
    Ok(Function::Default(unescape(name).into()))
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
