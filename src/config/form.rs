//! Which values are legal for a key: the words for it, and the check. Pure.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;

use super::header_words::headers_legal;
use super::kafka_topic;
use super::list::{self, Item};
use super::mqtt_config::MQTT_STRING_MAX;
use super::mqtt_url;
use super::proxy_url;
use super::value::{Refused, Value};

/// What a connection may be called.
const NAME: &str = "a name of 1 to 64 letters, digits, dots, hyphens and underscores";
/// The longest name of a route, in characters: it is a label of metrics.
pub(super) const ROUTE_NAME_MAX: usize = 200;
/// The longest name of a header, in bytes.
pub(super) const HEADER_NAME_MAX: usize = 255;
/// What a group may be called (MQTT 5, section 4.8.2).
const GROUP: &str = "a name without /, + and #";

/// Which values are legal.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// true or false.
    Truth,
    /// `mqtt.url`
    Url,
    /// A list of [`Form::Url`], or one string with commas.
    Urls,
    /// `mqtt.proxy`
    Proxy,
    /// The name of a connection.
    Name,
    /// `mqtt.tls.server_name`: a host's name or address.
    ServerName,
    /// `mqtt.group`: the name of a group of shared subscriptions.
    Group,
    /// An MQTT topic to publish to.
    MqttTopic,
    /// A list of strings, or one string with commas.
    List(Item),
    /// A table of strings, or one string such as `a=b,c=d`.
    UserProperties,
    /// The same for headers of HTTP, whose values may be secrets.
    Headers,
    /// An MQTT string.
    MqttString,
    /// An MQTT string that may be a secret: some brokers take a token as the user name.
    UserName,
    /// An MQTT string that no output shows.
    Secret,
    /// The path of a file with a secret. Users easily write the secret itself here.
    SecretFile,
    /// The path of a file that is there and can be read.
    File,
    /// The path of this kind of file.
    Path(&'static str),
    /// An MQTT filter.
    Filter,
    /// The name of a Kafka topic.
    KafkaTopic,
    /// The name of a Kafka topic, with or without placeholders.
    KafkaTopicTemplate,
    /// A text with or without placeholders.
    Template,
    /// A number of a partition, or a text with placeholders.
    Partition,
    /// Any string.
    Text,
    /// Bytes as base64 (RFC 4648, section 4).
    Base64,
    /// A condition on a message.
    Condition,
    /// `routes.name`
    RouteName,
    /// `routes.timestamp`
    Timestamp,
    /// `routes.device_time`
    DeviceTime,
    /// `routes.headers`
    RecordHeaders,
    /// The name of a header of Kafka, or its beginning.
    HeaderName,
    /// `routes.sample`
    Sample,
    /// `routes.create_config`: a table of strings and numbers.
    KafkaTopicConfig,
    /// A list of `host:port`, or one string with commas.
    Brokers,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// An integer within these limits, both included.
    Count(u64, u64),
    /// A string such as "5s" within these limits, both included.
    Duration(&'static str, &'static str),
    /// A [`Form::Duration`], or "never".
    DurationOrNever(&'static str, &'static str),
    /// A [`Form::Duration`] in whole seconds.
    Seconds(&'static str, &'static str),
    /// A [`Form::Seconds`], or "never".
    SecondsOrNever(&'static str, &'static str),
    /// A string such as "10 MiB" within these limits, both included.
    Size(&'static str, &'static str),
    /// `http.listen`
    Listen,
    /// `log.timing`
    Timing,
    /// A table of librdkafka properties.
    Properties,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Truth => "true or false",
            Self::Url => mqtt_url::LEGAL,
            Self::Urls => return write!(f, "a list of addresses: {}", mqtt_url::LEGAL),
            Self::Proxy => proxy_url::LEGAL,
            Self::Name => NAME,
            Self::Group => GROUP,
            Self::ServerName => "a host name or an IP address, without brackets and a port",
            Self::MqttTopic => "an MQTT topic without wildcards",
            Self::List(item) => return write!(f, "a list of {}", item.what()),
            Self::UserProperties | Self::Headers => {
                "a table of strings, such as { name = \"value\" }"
            }
            Self::MqttString | Self::UserName => {
                return write!(f, "a string of at most {MQTT_STRING_MAX} bytes");
            }
            Self::Secret | Self::Text => "a string",
            Self::Base64 => "bytes as base64",
            Self::SecretFile | Self::File => "the path of a file",
            Self::Path(what) => return write!(f, "the path of a {what}"),
            Self::Filter => "an MQTT topic filter",
            Self::KafkaTopic => "the name of a Kafka topic",
            Self::KafkaTopicTemplate => "the name of a Kafka topic, perhaps with placeholders",
            Self::Template => "a text, perhaps with placeholders",
            Self::Partition => "a number of 0 or more, or placeholders",
            Self::Condition => "a condition such as {json./value} > 5",
            Self::RouteName => return write!(f, "a name of 1 to {ROUTE_NAME_MAX} characters"),
            Self::Timestamp => {
                "\"none\", \"received\", \"json.\" with a JSON pointer, or \"user.\" with the name of a \
                 user property"
            }
            Self::DeviceTime => {
                "\"none\", \"json.\" with a JSON pointer, or \"user.\" with the name of a user property"
            }
            Self::RecordHeaders => return f.write_str(&headers_legal()),
            Self::HeaderName => return write!(f, "a name of at most {HEADER_NAME_MAX} bytes"),
            Self::Sample => "\"1/N\", such as \"1/100\" (N from 1 to 4294967295)",
            Self::KafkaTopicConfig => {
                "a table of strings and numbers, such as { \"cleanup.policy\" = \"compact\" }"
            }
            Self::Brokers => "a list of host:port addresses",
            Self::Choice(words) => {
                let mut quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                let last = quoted.pop().unwrap_or_default();
                return write!(f, "{} or {last}", quoted.join(", "));
            }
            Self::Count(0, 1) => "0 or 1",
            Self::Count(min, max) => return write!(f, "{min} to {max}"),
            Self::Duration(..) | Self::DurationOrNever(..) => {
                "a duration with a unit, such as \"5s\", from "
            }
            Self::Seconds(..) | Self::SecondsOrNever(..) => {
                "a duration in whole seconds, such as \"5s\", from "
            }
            Self::Size(..) => "a size with a unit, such as \"10 MiB\", from ",
            Self::Listen => "an IP address and port, such as \"0.0.0.0:8080\", or \"off\"",
            Self::Timing => {
                "\"all\", \"slow:50ms\" (any duration), \"sample:100\" (1 to 4294967295) or \"off\""
            }
            Self::Properties => "a table of librdkafka properties",
        };
        f.write_str(text)?;
        f.write_str(&self.range().unwrap_or_default())
    }
}

impl Form {
    /// The limits alone, where there are some.
    pub fn limits(&self) -> Option<String> {
        match self {
            Self::Choice(_) | Self::Count(..) => Some(self.to_string()),
            _ => self.range(),
        }
    }

    fn range(&self) -> Option<String> {
        match self {
            Self::Duration(min, max) | Self::Seconds(min, max) | Self::Size(min, max) => {
                Some(format!("{min} to {max}"))
            }
            Self::DurationOrNever(min, max) | Self::SecondsOrNever(min, max) => {
                Some(format!("{min} to {max}, or \"never\""))
            }
            _ => None,
        }
    }

    /// Whether errors must not show the value, because it may be or contain a secret.
    pub(super) fn is_private(&self) -> bool {
        let is_login = matches!(self, Self::Url | Self::Urls | Self::Proxy | Self::UserName);
        let is_secret = matches!(self, Self::Secret | Self::SecretFile | Self::Headers);
        is_login || is_secret || matches!(self, Self::List(Item::Argument))
    }

    /// The string, if it is of this form.
    pub(super) fn text<'a>(&self, value: &'a Value) -> Result<&'a str, Refused> {
        let text = value.text().ok_or(Refused::Form)?;
        match self {
            Self::MqttString | Self::UserName | Self::Secret | Self::MqttTopic
                if text.len() > MQTT_STRING_MAX =>
            {
                let found = text.len();
                let text = format!("expected at most {MQTT_STRING_MAX} bytes, found {found}");
                Err(Refused::Because(text))
            }
            Self::MqttString | Self::UserName | Self::Secret if text.contains('\0') => {
                Err(Refused::Because(
                    "expected a string without the NUL character, found one with it".to_owned(),
                ))
            }
            Self::Path(_) | Self::File | Self::SecretFile
                if text.is_empty() || text.contains('\0') =>
            {
                Err(Refused::Form)
            }
            Self::Name if !list::is_name(text) => Err(Refused::Form),
            Self::ServerName if !list::is_host(text) || text.starts_with('[') => Err(Refused::Form),
            Self::Group if text.is_empty() || text.contains(['/', '+', '#', '\0']) => {
                Err(Refused::Form)
            }
            // [MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-4.7.3-2].
            Self::MqttTopic if text.is_empty() || text.contains(['+', '#', '\0']) => {
                Err(Refused::Form)
            }
            Self::KafkaTopic if !kafka_topic::is_legal(text) => {
                let text = format!("expected {}, found {}", kafka_topic::LEGAL, value.found());
                Err(Refused::Because(text))
            }
            Self::RouteName
                if text.is_empty()
                    || text.chars().count() > ROUTE_NAME_MAX
                    || text.contains(char::is_control) =>
            {
                Err(Refused::Form)
            }
            Self::HeaderName if text.len() > HEADER_NAME_MAX || text.contains('\0') => {
                Err(Refused::Form)
            }
            Self::Choice(words) if !words.contains(&text) => Err(Refused::Form),
            _ => Ok(text),
        }
    }

    /// The integer, the bytes or the seconds, if within the limits; a variable's text counts as an
    /// integer, and "never" is the largest number.
    pub(super) fn number(&self, value: &Value) -> Result<u64, Refused> {
        let number = match *self {
            Self::Count(min, max) => {
                let digits = value.digits().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                digits.and_then(|digits| digits.parse().ok()).filter(|n| (min..=max).contains(n))
            }
            Self::Size(min, max) => {
                let limits = parse_size(min).zip(parse_size(max));
                let size = value.text().and_then(parse_size);
                size.filter(|size| limits.is_some_and(|(min, max)| (min..=max).contains(size)))
            }
            Self::Seconds(..) | Self::SecondsOrNever(..) => {
                let duration = self.duration(value)?;
                Some(duration.map_or(u64::MAX, |duration| duration.as_secs()))
            }
            _ => None,
        };
        number.ok_or(Refused::Form)
    }

    /// The duration, if within the limits; `None` is "never".
    pub(super) fn duration(&self, value: &Value) -> Result<Option<Duration>, Refused> {
        let (min, max, is_whole, may_be_never) = match *self {
            Self::Duration(min, max) => (min, max, false, false),
            Self::DurationOrNever(min, max) => (min, max, false, true),
            Self::Seconds(min, max) => (min, max, true, false),
            Self::SecondsOrNever(min, max) => (min, max, true, true),
            _ => return Err(Refused::Form),
        };
        let text = value.text().ok_or(Refused::Form)?;
        if may_be_never && text == "never" {
            return Ok(None);
        }
        let limits = parse_duration(min).zip(parse_duration(max));
        let duration = parse_duration(text)
            .filter(|duration| limits.is_some_and(|(min, max)| (min..=max).contains(duration)))
            .filter(|duration| !is_whole || duration.subsec_nanos() == 0);
        duration.map(Some).ok_or(Refused::Form)
    }
}

/// Reads a duration with units; a plain number is not a duration.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    if !text.contains(|c: char| c.is_alphabetic()) {
        return None;
    }
    humantime::parse_duration(text).ok()
}

/// Reads a size with a unit; a plain number is not a size.
fn parse_size(text: &str) -> Option<u64> {
    if !text.contains(|c: char| c.is_alphabetic()) {
        return None;
    }
    text.parse::<ByteSize>().ok().map(|size| size.as_u64())
}
