//! How each type of field is read from a value, and how it is printed.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::brokers;
use super::form::{Form, parse_duration};
use super::list;
use super::mqtt_config::{Protocol, RenumberedRedelivery, Resubscribe, TlsVersion, Unmatched};
use super::resolved::{LogFormat, TimingPolicy};
use super::secret::Secret;
use super::secret_file;
use super::secrets::REDACTED;
use super::toml_text::{duration, quote, size, string};
use super::value::{Refused, Value};
use crate::message::Qos;

/// The type of a field that a key fills.
pub(super) trait Setting: Sized {
    /// Reads a value of this `form`.
    fn read(value: &Value, form: &Form) -> Result<Self, Refused>;

    /// The setting as TOML; `None` if it is not set.
    fn show(&self, form: &Form) -> Option<String>;
}

/// A [`Setting`] that is one of several words.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// The words.
    const WORDS: &'static [&'static str];
    /// The value of each word.
    const VALUES: &'static [Self];
}

macro_rules! choice {
    ($type:ty: $($word:literal = $value:expr),*) => {
        impl $crate::config::setting::Choice for $type {
            const WORDS: &'static [&'static str] = &[$($word),*];
            const VALUES: &'static [Self] = &[$($value),*];
        }
    };
}
pub(super) use choice;

choice!(Protocol: "auto" = Self::Auto, "5" = Self::V5, "3.1.1" = Self::V311);
choice!(Resubscribe: "always" = Self::Always, "new_session" = Self::NewSession);
choice!(Unmatched: "dead_letter" = Self::DeadLetter, "drop" = Self::Drop);
choice!(RenumberedRedelivery: "off" = Self::Off, "auto" = Self::Auto, "on" = Self::On);
choice!(TlsVersion: "1.2" = Self::V1_2, "1.3" = Self::V1_3);
choice!(LogFormat: "auto" = Self::Auto, "json" = Self::Json, "terminal" = Self::Terminal);
choice!(slog::Level:
    "critical" = Self::Critical, "error" = Self::Error, "warning" = Self::Warning,
    "info" = Self::Info, "debug" = Self::Debug, "trace" = Self::Trace);

impl<C: Choice> Setting for C {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        let text = value.text().ok_or(Refused::Form)?;
        let mut choices = Self::WORDS.iter().zip(Self::VALUES);
        choices.find(|(word, _)| **word == text).map(|(_, value)| *value).ok_or(Refused::Form)
    }

    fn show(&self, _: &Form) -> Option<String> {
        let mut choices = Self::WORDS.iter().zip(Self::VALUES);
        choices.find(|(_, value)| *value == self).map(|(word, _)| string(word))
    }
}

macro_rules! number {
    ($($type:ty: $to_u64:expr),*) => {$(
        impl Setting for $type {
            fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
                form.number(value).map(|number| number.try_into().unwrap_or(Self::MAX))
            }

            fn show(&self, form: &Form) -> Option<String> {
                let number = $to_u64(*self);
                Some(match form {
                    Form::Size(..) => string(&size(number)),
                    Form::SecondsOrNever(..) if *self == Self::MAX => string("never"),
                    Form::Seconds(..) | Form::SecondsOrNever(..) => {
                        string(&duration(Duration::from_secs(number)))
                    }
                    _ => number.to_string(),
                })
            }
        }
    )*};
}

number!(u8: u64::from, u32: u64::from, u64: std::convert::identity, usize: |number| number as u64);

impl Setting for Duration {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        form.duration(value)?.ok_or(Refused::Form)
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&duration(*self)))
    }
}

/// `None` is "never".
impl Setting for Option<Duration> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        form.duration(value)
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&self.map_or_else(|| "never".to_owned(), duration)))
    }
}

/// true and false, or the second and the first of two words.
impl Setting for bool {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        match form {
            Form::Choice([_, second]) => Ok(form.text(value)? == *second),
            _ => value.truth().ok_or(Refused::Form),
        }
    }

    fn show(&self, form: &Form) -> Option<String> {
        Some(match form {
            Form::Choice([first, second]) => string(if *self { second } else { first }),
            _ => self.to_string(),
        })
    }
}

macro_rules! text {
    ($($type:ty: $text:expr;)*) => {$(
        impl Setting for $type {
            fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
                form.text(value).map(Into::into)
            }

            fn show(&self, _: &Form) -> Option<String> {
                let text: fn(&Self) -> Cow<'_, str> = $text;
                Some(string(&text(self)))
            }
        }

        /// `None` is not set.
        impl Setting for Option<$type> {
            fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
                <$type>::read(value, form).map(Some)
            }

            fn show(&self, form: &Form) -> Option<String> {
                self.as_ref().and_then(|set| set.show(form))
            }
        }
    )*};
}

text! {
    String: |text| text.as_str().into();
    Arc<str>: |text| (&**text).into();
    Secret: |_| REDACTED.into();
}

/// A file that is to be read later is there now, and can be read: a user who misspelt its name learns it
/// at the start.
impl Setting for PathBuf {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        let text = form.text(value)?;
        match form {
            Form::SecretFile => drop(secret_file::read(text).map_err(Refused::Because)?),
            Form::File => secret_file::try_open(text).map_err(Refused::Because)?,
            _ => {}
        }
        Ok(text.into())
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&self.to_string_lossy()))
    }
}

/// `None` is not set.
impl Setting for Option<PathBuf> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        PathBuf::read(value, form).map(Some)
    }

    fn show(&self, form: &Form) -> Option<String> {
        self.as_ref().and_then(|set| set.show(form))
    }
}

/// Empty is not set.
impl Setting for Vec<String> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        match form {
            Form::List(item) => list::list(value, *item),
            _ => brokers::parse(value),
        }
    }

    fn show(&self, _: &Form) -> Option<String> {
        shown_list(self.iter().map(String::as_str))
    }
}

impl Setting for Vec<Arc<str>> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        Vec::<String>::read(value, form).map(|items| items.into_iter().map(Arc::from).collect())
    }

    fn show(&self, _: &Form) -> Option<String> {
        shown_list(self.iter().map(|item| &**item))
    }
}

/// A list as TOML; `None` if it is empty.
pub(super) fn shown_list<'a>(items: impl Iterator<Item = &'a str>) -> Option<String> {
    let items: Vec<_> = items.map(string).collect();
    (!items.is_empty()).then(|| format!("[{}]", items.join(", ")))
}

/// A table as TOML; `None` if it is empty.
fn shown_table<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<String> {
    // Variables are not replaced in names.
    let pairs: Vec<_> =
        pairs.map(|(name, text)| format!("{} = {}", quote(name), string(text))).collect();
    (!pairs.is_empty()).then(|| format!("{{ {} }}", pairs.join(", ")))
}

impl Setting for Vec<(String, String)> {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        match form {
            Form::KafkaTopicConfig => list::kafka_topic_config(value),
            _ => list::user_properties(value),
        }
    }

    fn show(&self, _: &Form) -> Option<String> {
        shown_table(self.iter().map(|(name, text)| (name.as_str(), text.as_str())))
    }
}

impl Setting for Vec<(String, Secret)> {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        list::headers(value)
    }

    fn show(&self, _: &Form) -> Option<String> {
        shown_table(self.iter().map(|(name, _)| (name.as_str(), REDACTED)))
    }
}

impl Setting for Qos {
    fn read(value: &Value, form: &Form) -> Result<Self, Refused> {
        match form.number(value) {
            Ok(0) => Ok(Self::AtMostOnce),
            Ok(_) => Ok(Self::AtLeastOnce),
            Err(_) if value.digits() == Some("2") => Err(Refused::Because(
                "expected 0 or 1, found 2: the bridge delivers at least once, which is QoS 1"
                    .to_owned(),
            )),
            Err(refused) => Err(refused),
        }
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(self.level().to_string())
    }
}

impl Setting for TimingPolicy {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        let text = value.text().ok_or(Refused::Form)?;
        let policy = match (text, text.split_once(':')) {
            ("all", _) => Some(Self::All),
            ("off", _) => Some(Self::Off),
            (_, Some(("slow", least))) => parse_duration(least).map(Self::Slow),
            (_, Some(("sample", n))) => n.parse().ok().filter(|n| *n >= 1).map(Self::Sample),
            _ => None,
        };
        policy.ok_or(Refused::Form)
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&match self {
            Self::All => "all".to_owned(),
            Self::Slow(least) => format!("slow:{}", duration(*least)),
            Self::Sample(n) => format!("sample:{n}"),
            Self::Off => "off".to_owned(),
        }))
    }
}

/// `None` is "off".
impl Setting for Option<SocketAddr> {
    fn read(value: &Value, _: &Form) -> Result<Self, Refused> {
        match value.text() {
            Some("off") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| Refused::Form),
            None => Err(Refused::Form),
        }
    }

    fn show(&self, _: &Form) -> Option<String> {
        Some(string(&self.map_or_else(|| "off".to_owned(), |at| at.to_string())))
    }
}
