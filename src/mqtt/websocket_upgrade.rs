//! The upgrade from HTTP to WebSocket (RFC 6455, section 4; MQTT 5, section 6): the request, and what the
//! answer means. Pure.

use std::fmt::Write as _;

use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::config::Secret;
use crate::mqtt::http_head::{Head, told};
use crate::mqtt::lost::{self, Lost};

/// An upgrade that is under way.
pub(super) struct Upgrade {
    /// To be sent. It may have secrets.
    pub(super) request: String,
    accept_key: String,
}

impl Upgrade {
    /// For `path` at `host`, as the header Host has it, with these headers.
    ///
    /// # Errors
    /// A header that would end its line.
    pub(super) fn new(host: &str, path: &str, headers: &[(String, Secret)]) -> Result<Self, Lost> {
        let key = generate_key();
        let accept_key = derive_accept_key(key.as_bytes());
        let path = if path.is_empty() { "/" } else { path };
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        let mut add = |name: &str, value: &str| {
            // A string takes everything.
            let _ = write!(request, "{name}: {value}\r\n");
        };
        add("Host", host);
        add("Upgrade", "websocket");
        add("Connection", "Upgrade");
        add("Sec-WebSocket-Key", &key);
        add("Sec-WebSocket-Version", "13");
        add("Sec-WebSocket-Protocol", "mqtt");
        for (name, value) in headers {
            // The configuration has none of these; but what follows a line break would be a header of its
            // own, or a request.
            if [name, value.expose()].iter().any(|text| text.contains(['\r', '\n', '\0'])) {
                return Err(refused(format!(
                    "mqtt.websocket_headers: {name:?} or its value has a line break"
                )));
            }
            add(name, value.expose());
        }
        request.push_str("\r\n");
        Ok(Self { request, accept_key })
    }

    /// Whether the answer is yes.
    ///
    /// # Errors
    /// `websocket_refused`: what it is instead.
    pub(super) fn judge(&self, head: &Head) -> Result<(), Lost> {
        if head.status != 101 {
            return Err(refused(no(head)));
        }
        if !head.has_word("Upgrade", "websocket") || !head.has_word("Connection", "Upgrade") {
            return Err(refused("the server answers 101, but does not upgrade to WebSocket"));
        }
        if head.values("Sec-WebSocket-Accept").next() != Some(&self.accept_key) {
            return Err(refused(
                "the server's Sec-WebSocket-Accept does not belong to the bridge's request: something \
                 between answers in its place",
            ));
        }
        if head.values("Sec-WebSocket-Extensions").any(|value| !value.is_empty()) {
            return Err(refused("the server uses an extension of WebSocket that nobody asked for"));
        }
        match head.values("Sec-WebSocket-Protocol").next() {
            Some("mqtt") => Ok(()),
            Some(other) => Err(refused(format!(
                "the server chose the subprotocol {:?}, not mqtt: the path in mqtt.url is for something else",
                told(other)
            ))),
            None => Err(refused(
                "the server speaks WebSocket, but did not choose the subprotocol mqtt: the path in mqtt.url \
                 is not the one for MQTT",
            )),
        }
    }
}

fn no(head: &Head) -> String {
    let status = head.told();
    let is_page = head.values("Content-Type").any(|kind| kind.starts_with("text/html"));
    match head.status {
        200..=299 if is_page => format!(
            "the server answers with a web page ({status}), not with WebSocket: the path in mqtt.url that \
             its documentation names, often /mqtt"
        ),
        300..=399 => {
            let to = head.values("Location").next().unwrap_or_default();
            // A query may be a secret.
            let to = told(to.split(['?', '#']).next().unwrap_or_default());
            format!(
                "the server sends the bridge elsewhere ({status}, {to}): that address in mqtt.url"
            )
        }
        401 | 403 => format!(
            "the server refuses the upgrade to WebSocket ({status}): the login that it wants, in \
             mqtt.websocket_headers or in the path"
        ),
        404 => format!(
            "the server has no WebSocket at this path ({status}): the path in mqtt.url that its \
             documentation names, often /mqtt"
        ),
        500..=599 => format!(
            "the server cannot take the upgrade to WebSocket now ({status}): the broker behind it may be away"
        ),
        _ => format!(
            "the server refuses the upgrade to WebSocket ({status}): the path in mqtt.url, and whether the \
             port is for WebSocket"
        ),
    }
}

/// The answer is no HTTP at all: its first bytes, and what they are.
pub(super) fn no_http(first_bytes: &[u8], what: &str) -> Lost {
    refused(match first_bytes {
        [0x15, 3, ..] => "the port speaks TLS: `wss://` in mqtt.url".to_owned(),
        [] => "the server closed the connection without an answer to the upgrade to WebSocket: most likely \
               the port is for TLS (`wss://` in mqtt.url) or for MQTT without WebSocket (`mqtt://`)"
            .to_owned(),
        _ => format!(
            "the server answers the upgrade to WebSocket with {what}: most likely the port is not for \
             WebSocket; `mqtt://` or `mqtts://` in mqtt.url, or another port"
        ),
    })
}

pub(super) fn refused(detail: impl Into<String>) -> Lost {
    Lost::new(lost::WEBSOCKET_REFUSED, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(answer: &str) -> Result<(), String> {
        let upgrade = Upgrade::new("broker", "/mqtt", &[]).expect("legal");
        let answer = answer.replace("KEY", &upgrade.accept_key).replace('\n', "\r\n") + "\r\n\r\n";
        let (head, _) = Head::parse(answer.as_bytes()).expect("a head").expect("whole");
        upgrade.judge(&head).map_err(|lost| {
            assert_eq!(lost.reason, lost::WEBSOCKET_REFUSED);
            lost.detail
        })
    }

    const YES: &str = "HTTP/1.1 101 Switching Protocols\nupgrade: WebSocket\nconnection: keep-alive, \
                       upgrade\nsec-websocket-accept: KEY\nsec-websocket-protocol: mqtt";

    #[test]
    fn yes_is_yes_and_every_other_answer_says_what_to_do() {
        judge(YES).expect("yes");
        for (answer, told) in [
            (&*YES.replace("KEY", "other"), "Sec-WebSocket-Accept"),
            (&*YES.replace(": mqtt", ": mqttv3.1"), "\"mqttv3.1\", not mqtt"),
            (&*YES.replace("\nsec-websocket-protocol: mqtt", ""), "did not choose the subprotocol"),
            (&*YES.replace("upgrade: WebSocket", "upgrade: h2c"), "does not upgrade"),
            (&*format!("{YES}\nsec-websocket-extensions: permessage-deflate"), "extension"),
            ("HTTP/1.1 401 Unauthorized", "(401 Unauthorized): the login"),
            ("HTTP/1.1 403 Forbidden", "mqtt.websocket_headers"),
            ("HTTP/1.1 404 Not Found", "(404 Not Found): the path"),
            ("HTTP/1.1 301 Moved\nLocation: https://b/x?token=secret", "(301 Moved, https://b/x):"),
            ("HTTP/1.1 200 OK\nContent-Type: text/html; charset=utf-8", "a web page (200 OK)"),
            ("HTTP/1.1 503 Service Unavailable", "may be away"),
            ("HTTP/1.1 400 Bad Request", "whether the port is for WebSocket"),
        ] {
            let detail = judge(answer).expect_err("no");
            assert!(detail.contains(told) && !detail.contains("secret"), "{told}: {detail}");
        }
    }

    #[test]
    fn headers_of_the_configuration_are_sent_and_cannot_end_their_line() {
        let header = |name: &str, value: &str| [(name.to_owned(), Secret::from(value))];
        let upgrade = Upgrade::new("broker:81", "", &header("X", "other")).expect("legal");
        assert!(upgrade.request.starts_with("GET / HTTP/1.1\r\n"), "{}", upgrade.request);
        assert!(upgrade.request.ends_with("X: other\r\n\r\n"), "{}", upgrade.request);
        assert!(upgrade.request.contains("\r\nHost: broker:81\r\n"), "{}", upgrade.request);
        assert!(Upgrade::new("b", "/", &header("A", "b\r\nC: d")).is_err());
    }
}
