//! `kafka.brokers`: `host:port` each. Pure.

use std::net::Ipv6Addr;

use super::suggest::quoted;
use super::value::{Refused, Value};

/// Reads the list, or one string with commas.
pub(super) fn parse(value: &Value) -> Result<Vec<String>, Refused> {
    let brokers = value.list().ok_or_else(|| match value {
        Value::List(_) => Refused::Because(
            "expected host:port for each broker, found something that is not a string".to_owned(),
        ),
        _ => Refused::Form,
    })?;
    if let Some(wrong) = brokers.iter().find(|broker| !is_host_port(broker)) {
        let found = found(value, wrong);
        return Err(Refused::Because(format!("expected host:port for each broker, found {found}")));
    }
    if brokers.is_empty() {
        let text = "expected at least one host:port, found an empty list";
        return Err(Refused::Because(text.to_owned()));
    }
    Ok(brokers.into_iter().map(str::to_owned).collect())
}

/// What an error shows of the wrong item: neither the value of a variable nor a password.
fn found(value: &Value, wrong: &str) -> String {
    match value {
        _ if wrong.contains('@') => {
            "a user name or a password, which does not belong there".to_owned()
        }
        Value::Text(_) => quoted(wrong),
        Value::List(items) => {
            let item = items.iter().find(|item| item.text() == Some(wrong));
            item.unwrap_or(value).found()
        }
        _ => value.found(),
    }
}

fn is_host_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let host_is_legal = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ipv6) => ipv6.parse::<Ipv6Addr>().is_ok(),
        None => {
            let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            !host.is_empty() && host.bytes().all(legal)
        }
    };
    host_is_legal && digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}
