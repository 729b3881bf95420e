//! `mqtt.url`: `mqtt://[user[:password]@]host[:port]`.

use percent_encoding::percent_decode_str;
use url::Url;

/// What the URL says.
#[derive(Debug, PartialEq, Eq)]
pub struct MqttUrl {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// 1883 if the URL names none.
    pub port: u16,
    /// The user, percent-decoded.
    pub username: Option<String>,
    /// The password, percent-decoded.
    pub password: Option<String>,
}

/// Reads `text`.
///
/// # Errors
/// What was expected and what was found, without the user name and the password.
pub fn parse(text: &str) -> Result<MqttUrl, String> {
    let refuse = |why: &str| {
        format!("expected mqtt://host or mqtt://host:port{why}, found {:?}", redacted(text))
    };
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    match scheme.as_str() {
        "mqtt" => {}
        "mqtts" | "ssl" | "tls" => return Err(refuse(" (TLS to MQTT is not supported yet)")),
        "ws" | "wss" => return Err(refuse(" (WebSocket is not supported yet)")),
        _ => return Err(refuse("")),
    }
    let rest = &text[scheme.len() + "://".len()..];
    // These characters end the host.
    if rest.find(['/', '?', '#']).is_some_and(|end| rest[end..].contains('@')) {
        return Err(refuse(
            " (user and password percent-encoded: # is %23, / is %2F, ? is %3F, @ is %40)",
        ));
    }
    let url = Url::parse(text).map_err(|error| refuse(&format!(" ({error})")))?;
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(" with nothing after it"));
    }
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if host.is_empty() || !host.bytes().all(legal) {
        return Err(refuse(" (a host consists of letters, digits, dots and hyphens)"));
    }
    let port = url.port().unwrap_or(1883);
    if port == 0 {
        return Err(refuse(" (a port is a number from 1 to 65535)"));
    }
    let decode = |part: &str| {
        percent_decoded(part).ok_or_else(|| refuse(" (user and password percent-encoded)"))
    };
    Ok(MqttUrl {
        host: host.to_owned(),
        port,
        username: match url.username() {
            "" => None,
            username => Some(decode(username)?),
        },
        password: url.password().map(decode).transpose()?,
    })
}

/// `text` for an error: without the part before `@`, and without a port that is not a number, because
/// that may be the password of a URL without its `@`.
pub(crate) fn redacted(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("[redacted]@", rest),
        None => ("", rest),
    };
    let rest = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && port.parse::<u16>().is_err() => {
            format!("{host}:[redacted]")
        }
        _ => rest.to_owned(),
    };
    format!("{scheme}{user}{rest}").chars().take(100).collect()
}

/// `None` if a `%` is not followed by two digits, which the library would accept, or if the bytes are
/// not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let is_code = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let decoded = || percent_decode_str(text).decode_utf8().ok().map(String::from);
    text.split('%').skip(1).all(is_code).then(decoded).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_user_and_password_are_taken_apart() {
        let url = parse("mqtt://u%40x:p%3A%25@broker.example:2883").expect("a legal URL");
        assert_eq!(url.host, "broker.example");
        assert_eq!(url.port, 2883);
        assert_eq!(url.username.as_deref(), Some("u@x"));
        assert_eq!(url.password.as_deref(), Some("p:%"));
        let url = parse("mqtt://[::1]").expect("a legal URL");
        assert_eq!((url.host.as_str(), url.port), ("::1", 1883));
        assert_eq!((url.username, url.password), (None, None));
    }

    #[test]
    fn a_percent_sign_without_two_hex_digits_and_bytes_that_are_no_utf_8_are_refused() {
        for wrong in ["%", "%4", "%zz", "%4%31", "%ff", "a%+1b"] {
            let error = parse(&format!("mqtt://u:{wrong}@h")).expect_err(wrong);
            assert!(error.contains("(user and password percent-encoded)"), "{error}");
        }
    }

    #[test]
    fn no_part_of_a_password_is_in_an_error() {
        for text in [
            "mqtts://user:hunter2@host",
            "mqtt://user:hunter2@host/path",
            "mqtt//user:hunter2@host",
            "mqtt://user:hun@ter2@host:x",
            "mqtt://user:hunter2",
            "user:hunter2",
            "mqtt://user:hunter2@ho st",
            "mqtt://user:%zhunter2@host",
            "mqtt://user:hunter2@host:99999",
            "mqtt://user:hun#ter2@host",
            "mqtt://user:hun/ter2@host",
            "mqtt://user:7/hunter2@host",
            "mqtt://user:hun?ter2@host",
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
        }
    }
    #[test]
    fn what_ends_the_host_too_early_is_told_how_to_be_written() {
        for text in ["mqtt://u:a#b@h", "mqtt://u:a/b@h:1", "mqtt://u#:a@h", "mqtt://u:1?b@h"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains("user and password percent-encoded: # is %23"), "{error}");
        }
        let url = parse("mqtt://u:a%23b%2Fc@d@h").expect("a second @ is no riddle");
        assert_eq!((url.host.as_str(), url.password.as_deref()), ("h", Some("a#b/c@d")));
    }
}
