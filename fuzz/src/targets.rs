//! What is fed with inputs, and what must hold of each.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mqtt_kafka_bridge::message::{Qos, Stamp};
use mqtt_kafka_bridge::route::captures::Captures;
use mqtt_kafka_bridge::route::decompress::Decompress;
use mqtt_kafka_bridge::route::envelope::envelope;
use mqtt_kafka_bridge::route::input::View;
use mqtt_kafka_bridge::route::kafka_name::{IllegalNames, LENGTH_MAX, escape, unescape};
use mqtt_kafka_bridge::route::sparkplug::Sparkplug;
use mqtt_kafka_bridge::route::{Condition, Input, Template};
use serde::de::IgnoredAny;
use serde_json::Value;

/// The most bytes of an unpacked payload.
const UNPACKED_MAX: usize = 64 * 1024;

/// Something that reads what a stranger or a user wrote.
pub(crate) struct Target {
    /// Its name.
    pub(crate) name: &'static str,
    /// Inputs to begin with.
    pub(crate) corpus: &'static [&'static [u8]],
    /// Takes an input. Panics if something does not hold. Inputs with another answer than all before are kept
    /// and changed further.
    pub(crate) run: fn(&mut State, &[u8]) -> u64,
}

/// What a target keeps from one input to the next, as a connection does.
#[derive(Default)]
pub(crate) struct State {
    sparkplug: Sparkplug,
}

/// All of them.
pub(crate) const ALL: &[Target] = &[
    Target {
        name: "template",
        corpus: &[
            b"plant.{site}.{json./unit|lower}",
            b"{{{mqtt_topic[-1]|replace:/:.|default:x\\|y}}}",
            b"{received_at|date:%Y-%m-%d}{user.a|first:3}{json./a~1b/0|epoch:ms}",
        ],
        run: template,
    },
    Target {
        name: "filter",
        corpus: &[
            b"sensors/{site}/{device}/+/{metric...}",
            b"$share/group/+/{a}/#",
            b"$queue//{b}",
            b"a/{{b}}/+",
        ],
        run: filter,
    },
    Target {
        name: "condition",
        corpus: &[
            b"{json./value} > 5 and {site} in [\"a\", 'b', 1e3, null]",
            b"not ({mqtt_topic} ~ \"^a/\\d+$\" or {retain} = true)",
            b"{user.x|0} exists and {qos} != -1.5E-7 or {json./a} <= {json./b}",
        ],
        run: condition,
    },
    Target {
        name: "kafka_name",
        corpus: &[b"a/b", b"a--2fb", b"..", b"gr\xC3\xBC\xC3\x9Fe__x.y", b"--2d--2f"],
        run: kafka_name,
    },
    Target {
        name: "envelope",
        corpus: &[
            b"{\"a\": [1, 2.50, \"\\u00e9\"]}",
            b"21.5 C",
            b"\xFF\xFE\x00binary",
            b"\x26\x00\x01a\x00\x01b\x03\x00\x02cd\x08\x00\x01e\x09\x00\x01f",
        ],
        run: envelope_of,
    },
    Target {
        name: "decompression",
        corpus: &[
            // "hello hello hello" by gzip, zlib and Zstandard.
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x00\x3a\xbb\x15\x9f\x11\x00\x00\x00",
            b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x57\xc8\x40\x27\x00\x3a\x41\x06\x5d",
            b"\x28\xb5\x2f\xfd\x20\x11\x65\x00\x00\x30\x68\x65\x6c\x6c\x6f\x20\x01\x00\x0b\x2e\x06",
        ],
        run: decompression,
    },
    Target {
        name: "sparkplug",
        corpus: &[
            // A birth: timestamp, sequence number 0, and metrics with names and aliases.
            b"\x00\x08\x80\xb0\xc8\xd0\x8b\x2f\x12\x0f\x0a\x05bdSeq\x10\x01\x20\x08\x58\x07\x18\x00",
            b"\x00\x08\x01\x12\x0d\x0a\x04temp\x10\x02\x20\x0a\x75\x00\x00\xac\x41\x18\x00",
            b"\x01\x08\x02\x12\x07\x10\x02\x20\x0a\x65\x00\x00\x18\x01",
            b"\x02{\"online\":true,\"timestamp\":1}",
        ],
        run: sparkplug,
    },
];

/// A message with this payload and these properties.
fn with_input<T>(
    mqtt_topic: &[u8],
    payload: &[u8],
    properties: &[u8],
    look: impl FnOnce(&Input<'_>) -> T,
) -> T {
    look(&Input {
        mqtt_topic: &Bytes::copy_from_slice(mqtt_topic),
        payload: &Bytes::copy_from_slice(payload),
        properties: &Bytes::copy_from_slice(properties),
        qos: Qos::AtLeastOnce,
        retain: false,
        dup: false,
        received_at: Stamp::now(),
        waited: Duration::ZERO,
        connection: &Arc::from("mqtt"),
    })
}

/// A message that templates and conditions look at.
fn with_view<T>(look: impl FnOnce(&View<'_>) -> T) -> T {
    let (_, captures) = Captures::read("{site}/{device}/{metric...}").expect("a legal filter");
    let payload =
        br#"{"value": 21.5, "unit": "C", "a": null, "b": [1, {"c": true}], "ts": 1700000000000}"#;
    // User properties x = 7 and a = b.
    let properties = b"\x26\x00\x01x\x00\x017\x26\x00\x01a\x00\x01b";
    with_input(b"plant/d7/temp/in", payload, properties, |input| {
        look(&View::new(input, &captures, input.payload.clone()))
    })
}

/// What tells answers apart, without what is copied from the input: digits and what is in quotation marks.
fn answer<T>(result: &Result<T, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match result {
        Ok(_) => true.hash(&mut hasher),
        Err(error) => {
            let mut is_quoted = false;
            for char in error.chars() {
                is_quoted ^= matches!(char, '`' | '"');
                if !is_quoted && !char.is_ascii_digit() {
                    char.hash(&mut hasher);
                }
            }
        }
    }
    hasher.finish()
}

/// What tells JSON documents apart, without what is copied from the input: which values stand in one another, and
/// the data types that they name.
fn shape(value: &Value, hasher: &mut DefaultHasher) {
    /// Of an array or an object, so many values are looked at.
    const VALUES_MAX: usize = 8;
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::Number(number) => number.is_f64().hash(hasher),
        Value::Array(all) => {
            all.len().min(VALUES_MAX).hash(hasher);
            all.iter().take(VALUES_MAX).for_each(|one| shape(one, hasher));
        }
        Value::Object(all) => {
            all.len().hash(hasher);
            all.get("type").and_then(Value::as_str).hash(hasher);
            all.values().take(VALUES_MAX).for_each(|one| shape(one, hasher));
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn template(_: &mut State, input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let read = Template::parse(&text);
    if let Ok(template) = &read {
        let again = Template::parse(&template.to_string());
        assert_eq!(again.as_ref(), Ok(template), "what is shown is what was read");
        return answer(&with_view(|view| template.fill(view)).map_err(|unfilled| unfilled.0));
    }
    answer(&read)
}

fn filter(_: &mut State, input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let read = Captures::read(&text).map_err(|error| error.to_string());
    if let Ok((filter, captures)) = &read {
        let subscribed = filter.as_str().parse();
        assert_eq!(subscribed.as_ref(), Ok(filter), "what is subscribed is legal");
        assert!(filter.is_exclusive() || filter.covers(filter));
        let is_there = filter.matches("plant/d7/temp");
        with_input(b"plant/d7/temp", b"", b"", |input| {
            let view = View::new(input, captures, Bytes::new());
            for name in captures.names() {
                let levels = captures.get(name).expect("a name that is there");
                assert!(!is_there || view.levels(levels).is_some(), "{name} of {text}");
            }
        });
    }
    answer(&read)
}

fn condition(_: &mut State, input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let read = Condition::parse(&text);
    match &read {
        Ok(condition) => u64::from(with_view(|view| condition.holds(view))),
        Err(_) => answer(&read),
    }
}

fn kafka_name(_: &mut State, input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let escaped = escape(&text);
    assert_eq!(unescape(&escaped).as_deref(), Some(&*text), "an escaped name is read back");
    let _ = unescape(&text);
    let is_legal = |name: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=LENGTH_MAX).contains(&name.len())
            && name.bytes().all(allowed)
            && !matches!(name, "." | "..")
    };
    let names = [IllegalNames::Escape, IllegalNames::DeadLetter].map(|rule| rule.apply(&text));
    assert!(names.iter().flatten().all(|name| is_legal(name)), "{text:?} became {names:?}");
    names.iter().fold(0, |all, name| all ^ answer(name))
}

fn envelope_of(_: &mut State, input: &[u8]) -> u64 {
    let made = [("", input, &b""[..]), ("a/b", b"x", input), ("\u{e9}/\"", input, input)].map(
        |(mqtt_topic, payload, properties)| {
            with_input(mqtt_topic.as_bytes(), payload, properties, |input| {
                envelope(&View::new(input, &Captures::default(), input.payload.clone()))
            })
        },
    );
    for made in made.iter().flatten() {
        // By its grammar alone: numbers beyond a double and lone surrogates are JSON all the same (RFC 8259,
        // sections 6 and 8.2), and keep their text.
        let read = serde_json::from_slice::<BTreeMap<String, IgnoredAny>>(made);
        assert!(read.is_ok(), "{}", String::from_utf8_lossy(made));
    }
    let mut hasher = DefaultHasher::new();
    for made in &made {
        answer(made).hash(&mut hasher);
        if let Some(value) = made.as_ref().ok().and_then(|it| serde_json::from_slice(it).ok()) {
            shape(&value, &mut hasher);
        }
    }
    hasher.finish()
}

fn decompression(_: &mut State, input: &[u8]) -> u64 {
    let payload = Bytes::copy_from_slice(input);
    let forms = [Decompress::Auto, Decompress::Gzip, Decompress::Zlib, Decompress::Zstd];
    forms.iter().fold(0, |all, form| {
        let unpacked = form.apply(&payload, UNPACKED_MAX);
        let length = unpacked.as_ref().map_or(0, Bytes::len);
        assert!(length <= UNPACKED_MAX.max(input.len()));
        all ^ answer(&unpacked) ^ length.next_power_of_two() as u64
    })
}

fn sparkplug(state: &mut State, input: &[u8]) -> u64 {
    let (kind, payload) = input.split_first().unwrap_or((&0, b""));
    let mqtt_topic = [
        "spBv1.0/g/NBIRTH/n",
        "spBv1.0/g/NDATA/n",
        "spBv1.0/STATE/h",
        "spBv1.0/g/DBIRTH/n/d",
        "spBv1.0/g/DDATA/n/d",
        "spBv1.0/g/NDEATH/n",
        "spBv1.0/g/DDEATH/n/d",
        "spBv1.0/g/NCMD/n",
    ][usize::from(kind % 8)];
    with_input(mqtt_topic.as_bytes(), payload, b"", |input| {
        state.sparkplug.next_message();
        let decoded = state.sparkplug.decode(input, true, input.payload);
        let Ok(decoded) = decoded else { return answer(&decoded) };
        // By its grammar alone: a state of a host is kept as it is written, numbers beyond a double included.
        let read = serde_json::from_slice::<IgnoredAny>(&decoded.json);
        assert!(read.is_ok(), "{}", String::from_utf8_lossy(&decoded.json));
        let mut hasher = DefaultHasher::new();
        if let Ok(value) = serde_json::from_slice(&decoded.json) {
            shape(&value, &mut hasher);
        }
        hasher.finish()
    })
}
