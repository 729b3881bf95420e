//! `mqtt.url`: `SCHEME://[user[:password]@]host[:port][/path]`, or `unix:///path`. Pure.

use std::path::PathBuf;

use super::mqtt_config::{BrokerAddress, Endpoint, MQTT_STRING_MAX};
use super::url_authority;
pub(super) use super::url_authority::redacted;

/// What the URL says.
#[derive(Debug, PartialEq, Eq)]
pub struct MqttUrl {
    /// Where the broker listens, and what it speaks there.
    pub address: BrokerAddress,
    /// The user, percent-decoded.
    pub username: Option<String>,
    /// The password, percent-decoded.
    pub password: Option<String>,
}

/// What may be written.
pub(super) const LEGAL: &str =
    "mqtts://host or mqtts://host:port (likewise mqtt, wss, ws), or unix:///path";
/// The path of WebSocket where the URL has none; brokers listen there, or everywhere.
const WEBSOCKET_PATH: &str = "/mqtt";
/// The longest path of a Unix socket, in bytes (`sun_path`, without the NUL at its end).
const SOCKET_PATH_MAX: usize = 107;

/// The schemes: name, default port, TLS, WebSocket. The first of its kind is the name that is printed.
const SCHEMES: &[(&str, u16, bool, bool)] = &[
    ("mqtt", 1883, false, false),
    ("tcp", 1883, false, false),
    ("mqtts", 8883, true, false),
    ("ssl", 8883, true, false),
    ("tls", 8883, true, false),
    ("ws", 80, false, true),
    ("wss", 443, true, true),
];

/// Reads `text`.
///
/// # Errors
/// What was expected and what was found, without the user name and the password.
pub fn parse(text: &str) -> Result<MqttUrl, String> {
    let refuse = |why: &str| {
        let space = if why.is_empty() { "" } else { " " };
        format!("expected {LEGAL}{space}{why}, found {:?}", redacted(text))
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse(""))?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme == "unix" {
        return unix(rest).map_err(|why| refuse(&why));
    }
    let known = SCHEMES.iter().find(|(name, ..)| *name == scheme);
    let (_, port, is_tls, is_websocket) = *known.ok_or_else(|| refuse(""))?;
    let url = url_authority::parse(rest).map_err(|why| refuse(&why))?;
    let is_string = |text: &String| text.len() <= MQTT_STRING_MAX && !text.contains('\0');
    if ![&url.username, &url.password].into_iter().flatten().all(is_string) {
        return Err(refuse(&format!(
            "(user and password of at most {MQTT_STRING_MAX} bytes, without the NUL character)"
        )));
    }
    let websocket = match (is_websocket, url.path.as_str()) {
        (false, "" | "/") => None,
        (false, _) => return Err(refuse("(nothing after the port: only ws and wss have a path)")),
        (true, "") => Some(WEBSOCKET_PATH.to_owned()),
        (true, query) if query.starts_with('?') => Some(format!("{WEBSOCKET_PATH}{query}")),
        (true, path) => Some(path.to_owned()),
    };
    let endpoint = Endpoint::Tcp(url.host, url.port.unwrap_or(port));
    Ok(MqttUrl {
        address: BrokerAddress { endpoint, is_tls, websocket },
        username: url.username,
        password: url.password,
    })
}

/// The path is taken as it is: nothing in it is percent-encoded.
fn unix(path: &str) -> Result<MqttUrl, String> {
    if !path.starts_with('/') || path.contains('\0') {
        return Err("(the path of a socket begins with /)".to_owned());
    }
    if path.len() > SOCKET_PATH_MAX {
        return Err(format!("(the path of a socket has at most {SOCKET_PATH_MAX} bytes)"));
    }
    let endpoint = Endpoint::Unix(PathBuf::from(path));
    let address = BrokerAddress { endpoint, is_tls: false, websocket: None };
    Ok(MqttUrl { address, username: None, password: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_port_user_and_password_are_taken_apart() {
        let url = parse("mqtt://u%40x:p%3A%25@broker.example:2883").expect("a legal URL");
        assert_eq!(url.address, BrokerAddress::tcp("broker.example", 2883));
        assert_eq!(url.username.as_deref(), Some("u@x"));
        assert_eq!(url.password.as_deref(), Some("p:%"));
        let url = parse("mqtt://[::1]").expect("a legal URL");
        assert_eq!(url.address, BrokerAddress::tcp("::1", 1883));
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
    fn a_login_is_of_strings_that_mqtt_has() {
        let long = "a".repeat(MQTT_STRING_MAX);
        parse(&format!("mqtt://{long}:{long}@h")).expect("as long as may be");
        for wrong in ["u%00@h", "u:%00@h", &format!("{long}a@h"), &format!("u:{long}a@h")] {
            let error = parse(&format!("mqtt://{wrong}")).expect_err("no string of MQTT");
            assert!(error.contains("at most 65535 bytes, without the NUL"), "{error}");
        }
    }

    #[test]
    fn no_part_of_a_password_is_in_an_error() {
        for text in [
            "http://user:hunter2@host",
            "wss://user:hunter2@host#x",
            "wss://host/mqtt?hunter2#x",
            "unix://user:hunter2@/path",
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
        assert_eq!(url.address, BrokerAddress::tcp("h", 1883));
        assert_eq!(url.password.as_deref(), Some("a#b/c@d"));
    }

    #[test]
    fn each_scheme_has_its_port_and_its_path_and_is_printed_as_it_is_read() {
        for (text, printed) in [
            ("mqtt://h", "mqtt://h:1883"),
            ("tcp://h", "mqtt://h:1883"),
            ("TCP://h:7/", "mqtt://h:7"),
            ("mqtts://h", "mqtts://h:8883"),
            ("ssl://h:443", "mqtts://h:443"),
            ("tls://[::1]", "mqtts://[::1]:8883"),
            ("ws://h", "ws://h:80/mqtt"),
            ("ws://h:15675/ws", "ws://h:15675/ws"),
            ("ws://h/", "ws://h:80/"),
            ("wss://h", "wss://h:443/mqtt"),
            ("wss://h/a%20b/c", "wss://h:443/a%20b/c"),
            ("unix:///run/mosquitto.sock", "unix:///run/mosquitto.sock"),
            ("unix:///run/b@1.sock", "unix:///run/b@1.sock"),
        ] {
            let url = parse(text).expect(text);
            assert_eq!(url.address.to_string(), printed, "{text}");
            assert_eq!(parse(printed).expect(printed).address, url.address, "{text}");
        }
        let long = format!("unix:///{}", "a".repeat(SOCKET_PATH_MAX));
        for wrong in
            ["mqtts://h/path", "mqtt://h?a", "unix://host/path", "unix:/path", &long, "http://h"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_query_of_a_websocket_may_be_a_signature_and_is_sent_but_not_printed() {
        for (text, sent) in
            [("wss://h/p?X-Amz-Signature=s", "/p?X-Amz-Signature=s"), ("ws://h?s", "/mqtt?s")]
        {
            let address = parse(text).expect(text).address;
            assert_eq!(address.websocket.as_deref(), Some(sent));
            let printed = address.to_string();
            assert!(
                printed.ends_with("?[redacted]") && !printed.contains("Signature"),
                "{printed}"
            );
        }
    }
}
