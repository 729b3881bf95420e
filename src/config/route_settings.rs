//! How the types of a route are read from a value, and how they are printed.

use super::form::Form;
use super::form::HEADER_NAME_MAX;
use super::header_words::{OF_BRIDGE, OF_MQTT, header_word, headers_legal};
use super::kafka_topic;
use super::resolved::Reload;
use super::route_draft::Missing;
use super::setting::{Setting, choice, shown_list};
use super::suggest::quoted;
use super::toml_text::string;
use super::value::{Refused, Value};
use crate::route::decompress::Decompress;
use crate::route::headers::HeaderItem;
use crate::route::kafka_name::IllegalNames;
use crate::route::message_field::MessageField;
use crate::route::rule::Key;
use crate::route::timestamp::{EpochUnit, TimestampFrom};
use crate::route::{Condition, Match, PayloadForm, Template};

choice!(Match: "first" = Self::First, "all" = Self::All);
choice!(Reload: "signal" = Self::Signal, "watch" = Self::Watch);
choice!(PayloadForm:
    "raw" = Self::Raw, "text" = Self::Text, "json" = Self::Json, "envelope" = Self::Envelope,
    "sparkplug" = Self::Sparkplug);
choice!(Decompress:
    "none" = Self::None, "gzip" = Self::Gzip, "zlib" = Self::Zlib, "zstd" = Self::Zstd,
    "auto" = Self::Auto);
choice!(EpochUnit:
    "s" = Self::Seconds, "ms" = Self::Milliseconds, "us" = Self::Microseconds,
    "ns" = Self::Nanoseconds);
choice!(Missing: "dead_letter" = Self::DeadLetter, "hold" = Self::Hold, "create" = Self::Create);
choice!(IllegalNames: "escape" = Self::Escape, "dead_letter" = Self::DeadLetter);

/// The key that is the MQTT topic.
const MQTT_TOPIC: &str = "{mqtt_topic}";

fn template(text: &str) -> Result<Template, Refused> {
    Template::parse(text).map_err(Refused::Because)
}

impl Setting for Template {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        let template = template(form.text(value)?)?;
        match template.as_fixed() {
            Some(fixed)
                if matches!(form, Form::KafkaTopicTemplate) && !kafka_topic::is_legal(fixed) =>
            {
                let (legal, found) = (kafka_topic::LEGAL, value.found());
                Err(Refused::Because(format!("expected {legal}, found {found}")))
            }
            _ => Ok(template),
        }
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&self.to_string()))
    }
}

/// `None` is not set.
impl Setting for Option<Template> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        let is_partition = matches!(form, Form::Partition);
        let text = match is_partition {
            true => value.digits().ok_or(Refused::Form)?,
            false => form.text(value)?,
        };
        let template = template(text)?;
        let is_number = |text: &str| text.parse::<i32>().is_ok_and(|number| number >= 0);
        match template.as_fixed() {
            Some(fixed) if is_partition && !is_number(fixed) => Err(Refused::Form),
            _ => Ok(Some(template)),
        }
    }

    fn show(&self, form: &Form) -> Option<String> {
        self.as_ref().and_then(|set| set.show(form))
    }
}

impl Setting for Key {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        Ok(match form.text(value)? {
            "" => Self::None,
            MQTT_TOPIC => Self::MqttTopic,
            text => Self::Template(template(text)?),
        })
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(match self {
            Self::None => string(""),
            Self::MqttTopic => string(MQTT_TOPIC),
            Self::Template(template) => string(&template.to_string()),
        })
    }
}

/// `None` is not set.
impl Setting for Option<Condition> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        Condition::parse(form.text(value)?).map(Some).map_err(Refused::Because)
    }

    fn show(&self, _: &Form) -> Option<String> {
        self.as_ref().map(|set| string(&set.to_string()))
    }
}

/// `1/N`: one in so many.
impl Setting for Option<u32> {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        let of = value.text().and_then(|text| text.strip_prefix("1/")).ok_or(Refused::Form)?;
        let is_number = of.bytes().all(|byte| byte.is_ascii_digit());
        let of = of.parse().ok().filter(|of| is_number && *of >= 1);
        of.map(Some).ok_or(Refused::Form)
    }

    fn show(&self, _: &Form) -> Option<String> {
        self.map(|of| string(&format!("1/{of}")))
    }
}

/// `None` is not set.
impl Setting for Option<i32> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        form.number(value)?.try_into().map(Some).map_err(|_| Refused::Form)
    }

    fn show(&self, _: &Form) -> Option<String> {
        self.map(|number| number.to_string())
    }
}

impl Setting for TimestampFrom {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        let text = value.text().ok_or(Refused::Form)?;
        match text {
            "none" => Ok(Self::None),
            "received" => Ok(Self::Received),
            _ => message_field(value).map(Self::Field),
        }
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&self.to_string()))
    }
}

/// `None` is `"none"`.
impl Setting for Option<MessageField> {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        match value.text() {
            Some("none") => Ok(None),
            _ => message_field(value).map(Some),
        }
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&self.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)))
    }
}

/// Reads where in a message a moment stands.
fn message_field(value: &Value) -> Result<MessageField, Refused> {
    let text = value.text().ok_or(Refused::Form)?;
    match text.split_once('.') {
        Some(("json", pointer)) if is_pointer(pointer) => {
            Ok(MessageField::Json(pointer.to_owned()))
        }
        Some(("json", _)) => Err(Refused::Because(format!(
            "expected a JSON pointer behind \"json.\", such as \"json./device/ts\" (RFC 6901), \
             found {}",
            value.found()
        ))),
        Some(("user", name)) if !name.is_empty() => Ok(MessageField::User(name.to_owned())),
        _ => Err(Refused::Form),
    }
}

/// RFC 6901, section 3. The empty one is the whole document.
fn is_pointer(text: &str) -> bool {
    let is_escape = |behind: &str| behind.starts_with(['0', '1']);
    (text.is_empty() || text.starts_with('/')) && text.split('~').skip(1).all(is_escape)
}

/// Most headers of one list.
const HEADERS_MAX: usize = 100;

impl Setting for Vec<HeaderItem> {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        match value.text() {
            Some("none") => return Ok(Self::new()),
            Some("mqtt") => return Ok(OF_MQTT.to_vec()),
            _ => {}
        }
        let words = value.list().ok_or(Refused::Form)?;
        if words.is_empty() || words.len() > HEADERS_MAX {
            let found = words.len();
            let text = format!("expected 1 to {HEADERS_MAX} headers, or \"none\", found {found}");
            return Err(Refused::Because(text));
        }
        let mut items = Self::new();
        for word in words {
            let new = if word == "mqtt" { OF_MQTT.to_vec() } else { vec![header(word)?] };
            for item in new {
                if !matches!(item, HeaderItem::Own(..)) && items.contains(&item) {
                    let name = quoted(&header_word(&item));
                    let text = format!("expected each header once, found {name} twice");
                    return Err(Refused::Because(text));
                }
                items.push(item);
            }
        }
        Ok(items)
    }

    fn show(&self, _: &Form) -> Option<String> {
        if *self == OF_MQTT {
            return Some(string("mqtt"));
        }
        let words: Vec<_> = self.iter().map(header_word).collect();
        Some(shown_list(words.iter().map(String::as_str)).unwrap_or_else(|| string("none")))
    }
}

/// Reads one header.
fn header(word: &str) -> Result<HeaderItem, Refused> {
    if let Some(known) = OF_MQTT.iter().chain(&OF_BRIDGE).find(|item| header_word(item) == word) {
        return Ok(known.clone());
    }
    let unknown =
        || Refused::Because(format!("expected {}, found {}", headers_legal(), quoted(word)));
    let (name, text) = word.split_once('=').ok_or_else(unknown)?;
    if name.trim() != name {
        return Err(Refused::Because(format!(
            "expected NAME={{template}}, without white space around the name, found {}",
            quoted(word)
        )));
    }
    if name.is_empty() || name.len() > HEADER_NAME_MAX || name.contains('\0') {
        return Err(Refused::Because(format!(
            "expected the name of a header before =, of 1 to {HEADER_NAME_MAX} bytes, found {}",
            quoted(word)
        )));
    }
    Ok(HeaderItem::Own(name.to_owned(), template(text)?))
}
