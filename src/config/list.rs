//! Lists and tables of strings: what each item may be. Pure.

use std::net::Ipv6Addr;

use super::mqtt_config::MQTT_STRING_MAX;
use super::secret::Secret;
use super::suggest::quoted;
use super::value::{Refused, Value};

/// Most entries of one list or table.
const ITEMS_MAX: usize = 100;
/// The longest name of a protocol, in bytes (RFC 7301, section 3.1).
const ALPN_MAX: usize = 255;
/// The longest name of a connection, in bytes: it is a label of metrics.
const NAME_MAX: usize = 64;

/// Headers that the upgrade to WebSocket has itself (RFC 6455, section 4.1), or that would frame a body.
const OWN_HEADERS: &[&str] =
    &["host", "connection", "upgrade", "content-length", "transfer-encoding"];

/// What the items of a list are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// The name of a protocol, as in `mqtt.tls.alpn`.
    Protocol,
    /// A host's name or address.
    Host,
    /// The name of a connection, as in `mqtt.name`.
    Connection,
    /// A program, then its arguments, which may be secrets.
    Argument,
}

impl Item {
    /// What an item is, for errors and documents.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Protocol => "names of protocols, of 1 to 255 bytes each",
            Self::Host => "host names, without ports",
            Self::Connection => "names of connections",
            Self::Argument => "a program and its arguments",
        }
    }

    fn is_legal(self, item: &str) -> bool {
        match self {
            Self::Protocol => (1..=ALPN_MAX).contains(&item.len()),
            Self::Host => is_host(item),
            Self::Connection => is_name(item),
            Self::Argument => !item.contains('\0'),
        }
    }
}

/// Whether `text` may be a host's name, or its address; that of IPv6 may be in brackets.
pub(super) fn is_host(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    // A name may end with a dot, and has no other empty part: OpenSSL takes a certificate of any name
    // below `example.com` for `.example.com`.
    let name = text.strip_suffix('.').unwrap_or(text);
    bare.parse::<Ipv6Addr>().is_ok()
        || name.split('.').all(|part| !part.is_empty() && part.bytes().all(legal))
}

/// Whether `text` may name a connection: letters, digits, `.`, `-` and `_`.
pub(super) fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(legal)
}

/// Whether `text` names a program alone. Errors and logs show the program, so that a whole command line,
/// with secrets in it perhaps, must not pass for one.
fn is_program(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// Reads a list, or one string with commas.
pub(super) fn list(value: &Value, item: Item) -> Result<Vec<String>, Refused> {
    let items = value.list().ok_or(Refused::Form)?;
    if items.is_empty() || items.len() > ITEMS_MAX {
        let found = items.len();
        return Err(Refused::Because(format!("expected 1 to {ITEMS_MAX} entries, found {found}")));
    }
    if items.iter().any(|text| !item.is_legal(text)) {
        return Err(Refused::Form);
    }
    if item == Item::Argument && !is_program(items[0]) {
        return Err(Refused::Because(
            "expected the program and each of its arguments as an entry of its own, such as \
             [\"prog\", \"arg\"], the program without spaces, found another (not shown)"
                .to_owned(),
        ));
    }
    Ok(items.into_iter().map(str::to_owned).collect())
}

/// `mqtt.user_properties`: strings of MQTT.
pub(super) fn user_properties(value: &Value) -> Result<Vec<(String, String)>, Refused> {
    let pairs = pairs(value)?;
    for (name, text) in &pairs {
        let is_legal = |text: &str| text.len() <= MQTT_STRING_MAX && !text.contains('\0');
        if !is_legal(name) || !is_legal(text) {
            return Err(Refused::Because(format!(
                "expected names and values of at most {MQTT_STRING_MAX} bytes, without the NUL \
                 character, found another at {}",
                quoted(name)
            )));
        }
    }
    Ok(pairs)
}

/// `routes.create_config`: names of Kafka, with strings, numbers and truth values.
pub(super) fn kafka_topic_config(value: &Value) -> Result<Vec<(String, String)>, Refused> {
    let scalars = match value {
        Value::Table(entries) => {
            let scalar = |(name, value): &(String, Value)| {
                Some((name.clone(), Value::Text(value.scalar()?)))
            };
            Value::Table(entries.iter().map(scalar).collect::<Option<_>>().ok_or(Refused::Form)?)
        }
        other => other.clone(),
    };
    let pairs = pairs(&scalars)?;
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.')
    };
    for (at, (name, text)) in pairs.iter().enumerate() {
        if !is_name(name) || text.contains('\0') {
            return Err(Refused::Because(format!(
                "expected names of Kafka's configuration of a Kafka topic, such as \
                 \"cleanup.policy\", found {}",
                quoted(name)
            )));
        }
        if pairs[..at].iter().any(|(other, _)| other == name) {
            return Err(Refused::Because(format!(
                "expected each name once, found {} twice",
                quoted(name)
            )));
        }
    }
    Ok(pairs)
}

/// `mqtt.websocket_headers`: fields of HTTP. No error shows a value.
pub(super) fn headers(value: &Value) -> Result<Vec<(String, Secret)>, Refused> {
    let pairs = pairs(value)?;
    for (index, (name, text)) in pairs.iter().enumerate() {
        let refuse = |why: &str| Err(Refused::Because(format!("{why}, found {}", quoted(name))));
        let lower = name.to_ascii_lowercase();
        if !is_token(name) {
            return Err(Refused::Because(
                "expected names of HTTP headers: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110), \
                 found another"
                    .to_owned(),
            ));
        }
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("sec-websocket-") {
            return refuse("expected no header that the bridge sends itself");
        }
        if pairs[..index].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return refuse("expected each header once, in capitals or not");
        }
        if !is_field_value(text) {
            return refuse(
                "expected values of visible ASCII characters, with spaces only between them \
                 (RFC 9110)",
            );
        }
    }
    Ok(pairs.into_iter().map(|(name, text)| (name, Secret::new(text))).collect())
}

/// Names and values of a table, or of one string such as `a=b,c=d`.
fn pairs(value: &Value) -> Result<Vec<(String, String)>, Refused> {
    let pairs: Option<Vec<_>> = match value {
        Value::Table(entries) => entries
            .iter()
            .map(|(name, value)| Some((name.clone(), value.text()?.to_owned())))
            .collect(),
        _ => value.text().and_then(|text| {
            let pair = |pair: &str| {
                let (name, value) = pair.split_once('=')?;
                Some((name.trim().to_owned(), value.trim().to_owned()))
            };
            text.split(',').map(pair).collect()
        }),
    };
    let pairs = pairs.ok_or(Refused::Form)?;
    if pairs.is_empty() || pairs.len() > ITEMS_MAX {
        let found = pairs.len();
        return Err(Refused::Because(format!("expected 1 to {ITEMS_MAX} entries, found {found}")));
    }
    Ok(pairs)
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(legal)
}

/// RFC 9110, section 5.5, without the obsolete characters above ASCII.
fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t'))
        && text.trim_matches([' ', '\t']) == text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> Value {
        let pair =
            |(name, text): &(&str, &str)| ((*name).to_owned(), Value::Text((*text).to_owned()));
        Value::Table(pairs.iter().map(pair).collect())
    }

    #[test]
    fn headers_are_what_http_allows_and_no_error_has_a_value() {
        for legal in [
            table(&[("Authorization", "Bearer a.b=="), ("X-A", "")]),
            Value::Text("Authorization=Basic dTpw==, X-A=b".to_owned()),
        ] {
            assert_eq!(headers(&legal).expect("legal headers").len(), 2, "{legal:?}");
        }
        for wrong in [
            table(&[]),
            table(&[("", "hunter2")]),
            table(&[("X A", "hunter2")]),
            table(&[("X:", "hunter2")]),
            table(&[("X\r\nY", "hunter2")]),
            table(&[("X", "hunter2\r\nY: z")]),
            table(&[("X", " hunter2")]),
            table(&[("X", "hunter2\u{e4}")]),
            table(&[("X", "\0hunter2")]),
            table(&[("X", "hunter2"), ("x", "hunter2")]),
            table(&[("Host", "hunter2")]),
            table(&[("sec-websocket-protocol", "hunter2")]),
            table(&[("Content-Length", "7")]),
            Value::Text("hunter2".to_owned()),
            Value::Number("7".to_owned()),
            Value::Table(vec![("X".to_owned(), Value::Bool(true))]),
        ] {
            let refused = format!("{:?}", headers(&wrong).expect_err("illegal headers"));
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn user_properties_are_strings_of_mqtt() {
        let read = user_properties(&table(&[("a", "b"), ("a b", "")])).expect("legal properties");
        assert_eq!(read[1], ("a b".to_owned(), String::new()));
        let long = "a".repeat(MQTT_STRING_MAX + 1);
        for wrong in [table(&[("a\0", "b")]), table(&[("a", "\0")]), table(&[("a", &long)])] {
            assert!(user_properties(&wrong).is_err());
        }
    }

    #[test]
    fn lists_have_items_of_their_kind() {
        let text = |text: &str| Value::Text(text.to_owned());
        let list = |value: &Value, item| list(value, item).ok();
        let two = Some(vec!["a".to_owned(), "b".to_owned()]);
        for item in [Item::Protocol, Item::Host, Item::Connection, Item::Argument] {
            assert_eq!(list(&text("a, b"), item), two);
            assert_eq!(list(&Value::List(vec![text("a"), text("b")]), item), two);
            assert_eq!(list(&Value::List(vec![]), item), None);
            assert_eq!(list(&Value::List(vec![Value::Bool(true)]), item), None);
            assert_eq!(list(&text(""), item), None);
        }
        assert_eq!(list(&text("a:1/x"), Item::Host), None);
        assert_eq!(list(&text("a b"), Item::Connection), None);
        assert_eq!(list(&text(&"a".repeat(256)), Item::Protocol), None);
        assert!(list(&Value::List(vec![text("a"), text("")]), Item::Argument).is_some());
    }
}
