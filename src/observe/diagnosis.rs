//! Likely causes and cures of symptoms that do not name their cause: one table, the same as in
//! docs/operations.md. Pure.

use std::fmt;

/// A symptom with its likely cause and the cure.
#[derive(Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The symptom, for the documentation.
    pub symptom: &'static str,
    /// Its most likely cause.
    pub cause: &'static str,
    /// What to do.
    pub cure: &'static str,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "likely cause: {}; cure: {}", self.cause, self.cure)
    }
}

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident: $symptom:literal, $cause:literal, $cure:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $name: Diagnosis =
                Diagnosis { symptom: $symptom, cause: $cause, cure: $cure };
        )*
        /// All of them, in the order of the documentation.
        pub const TABLE: &[Diagnosis] = &[$($name),*];
    };
}

table! {
    /// Plain to a TLS listener of Kafka.
    KAFKA_TLS: "Kafka: the connection ends in `state APIVERSION_QUERY`",
        "the listener speaks TLS, and the bridge does not",
        "`security.protocol` = `SSL` or `SASL_SSL`, or the port of a plain listener";
    /// TLS to a plain listener of Kafka.
    KAFKA_PLAIN: "Kafka: `connecting to a PLAINTEXT broker listener?`",
        "the bridge speaks TLS, and the listener does not",
        "the port of the TLS listener, or `security.protocol` without SSL";
    /// Plain to a SASL listener of Kafka.
    KAFKA_SASL: "Kafka: the connection ends in `state UP` before the first answer",
        "the listener asks for a login",
        "`security.protocol` = `SASL_SSL` or `SASL_PLAINTEXT`, with `sasl.mechanism`, `sasl.username` and `sasl.password`";
    /// SASL to a listener without.
    KAFKA_NO_SASL: "Kafka: `not valid in current SASL state`",
        "the listener takes no login",
        "the port of the SASL listener, or `security.protocol` without SASL";
    /// Another mechanism.
    KAFKA_MECHANISM: "Kafka: `Unsupported SASL mechanism`",
        "the listener does not know this mechanism",
        "`sasl.mechanism`: one of those that the broker names";
    /// A wrong password.
    KAFKA_CREDENTIALS: "Kafka: `Authentication failed`",
        "the user name or the password is wrong",
        "`sasl.username`, `sasl.password`, `sasl.mechanism`";
    /// An unknown authority.
    KAFKA_CERTIFICATE: "Kafka: `certificate verify failed`",
        "the broker's certificate is from an authority that the bridge does not know, or for another name",
        "`ssl.ca.location` = the authority's file; in `kafka.brokers` a name that the certificate has";
    /// A certificate out of its time.
    KAFKA_EXPIRED: "Kafka: `certificate has expired`, or `certificate is not yet valid`",
        "the broker's certificate is out of its time, or the clock of this machine is wrong",
        "a new certificate for the broker; the clock";
    /// A certificate for another name.
    KAFKA_OTHER_NAME: "Kafka: `hostname mismatch`, or `IP address mismatch`",
        "the broker's certificate is for another name",
        "in `kafka.brokers`, and in the broker's `advertised.listeners`, a name that the certificate has";
    /// A client without a certificate.
    KAFKA_CLIENT_CERTIFICATE: "Kafka: `certificate required`, `bad certificate` or `unknown ca`",
        "the listener asks for a certificate of the bridge, and got none, or one that it does not trust",
        "`ssl.certificate.location` and `ssl.key.location`, from an authority that the broker trusts";
    /// A token that is not accepted.
    KAFKA_TOKEN: "Kafka: `invalid_token`",
        "the listener does not accept the token: another issuer, another audience, or a clock that is wrong",
        "`sasl.oauthbearer.*`; on the broker, whose tokens it accepts";
    /// A controller's port.
    KAFKA_CONTROLLER: "Kafka: `_UNSUPPORTED_FEATURE`, or `Idempotent producer not supported`",
        "that is the port of a controller, not of a broker",
        "in `kafka.brokers` the port of a broker's listener, often 9092";
    /// An advertised listener without an address.
    KAFKA_NAME: "Kafka: `Failed to resolve`",
        "the name, most often the one in the broker's `advertised.listeners`, has no address here",
        "`advertised.listeners` with a name that clients can resolve, or a DNS entry";
    /// An advertised listener that refuses connections.
    KAFKA_REFUSED: "Kafka: `Connection refused`",
        "nobody listens there; a broker that names `localhost` in `advertised.listeners` sends the bridge to its own host",
        "start the broker, or `advertised.listeners` with an address that clients can reach";
    /// `mqtt://` to a TLS port.
    MQTT_TLS: "MQTT: the first bytes are a TLS alert (`15 03`)",
        "the port speaks TLS",
        "`mqtts://` in `mqtt.url` (`wss://` if it is for WebSocket); or the port without TLS, often 1883";
    /// `mqtt://` to a web server or a WebSocket port.
    MQTT_HTTP: "MQTT: the first bytes are `HTTP/`",
        "the port is for MQTT over WebSocket, or a web server's",
        "`ws://` or `wss://` in `mqtt.url`, with the path that the broker's documentation names, often `/mqtt`; or the port for MQTT over TCP, often 1883";
    /// `mqtt://` to anything else.
    MQTT_OTHER: "MQTT: the first bytes are no CONNACK",
        "something other than an MQTT broker listens there",
        "`mqtt.url` with the host and port of the MQTT broker";
    /// `mqtt://` to Kafka, or to TLS or WebSocket without an answer.
    MQTT_CLOSED: "MQTT: `closed_by_broker`, `read_failed` or `connack_timeout` before CONNACK",
        "the port is for TLS, for WebSocket or of Kafka, or the broker refuses the bridge without a reason",
        "`mqtts://`, `ws://` or `wss://` in `mqtt.url`, as the port is; or the port for MQTT over TCP, often 1883; else the broker's log";
    /// Closed again and again.
    MQTT_EVICTED: "MQTT: closed three times in a row within 5 s of CONNACK, without a word",
        "another client uses the bridge's `mqtt.client_id`, or the broker closes on a forbidden SUBSCRIBE",
        "an id of its own for each client; the permission to subscribe, in the broker's log";
    /// The broker names another.
    MQTT_MOVED: "MQTT: `Use another server (0x9C)` or `Server moved (0x9D)`",
        "the broker wants its clients at another address",
        "`mqtt.url` with the server reference that it names; the bridge does not follow by itself";
    /// No more file handles.
    FILE_HANDLES: "`Too many open files`",
        "the limit of file handles is reached",
        "raise it (`ulimit -n`, `LimitNOFILE=`, `--ulimit nofile=`); 64 are enough";
    /// `sasl.*` without effect.
    CONFIG_SASL: "`check`: `sasl.*` without SASL in `security.protocol`",
        "librdkafka ignores the login, and the broker closes the connection",
        "`security.protocol` = `SASL_SSL` or `SASL_PLAINTEXT`";
    /// A missing file.
    CONFIG_FILE: "`check`: `expected a file that can be read`",
        "the path is wrong, not mounted, or not readable by the bridge's user",
        "the path as the bridge sees it; in the image it runs as user 10001";
    /// `#`, `/`, `?` or `@` in a URL.
    CONFIG_URL: "`check`: `user and password percent-encoded`",
        "`#`, `/`, `?` or `@` in the user name or the password of `mqtt.url`",
        "`%23`, `%2F`, `%3F`, `%40`; or `mqtt.username` and `mqtt.password_file`";
    /// Not UTF-8.
    CONFIG_ENCODING: "`check`: `found UTF-16`, or `a byte order mark`",
        "an editor or a shell of Windows wrote the file",
        "save it as UTF-8 without a byte order mark";
}

/// The likely cause behind librdkafka's code or sentence. `answered`: a broker has answered since Kafka
/// was last lost.
pub fn of_kafka(code: i32, text: &str, answered: bool) -> Option<&'static Diagnosis> {
    const UNSUPPORTED_FEATURE: i32 = -165;
    const SIGNS: [(&str, &Diagnosis); 20] = [
        ("invalid_token", &KAFKA_TOKEN),
        ("certificate has expired", &KAFKA_EXPIRED),
        ("certificate is not yet valid", &KAFKA_EXPIRED),
        ("hostname mismatch", &KAFKA_OTHER_NAME),
        ("IP address mismatch", &KAFKA_OTHER_NAME),
        ("certificate required", &KAFKA_CLIENT_CERTIFICATE),
        ("bad certificate", &KAFKA_CLIENT_CERTIFICATE),
        ("unknown ca", &KAFKA_CLIENT_CERTIFICATE),
        ("connecting to a PLAINTEXT broker listener", &KAFKA_PLAIN),
        ("not valid in current SASL state", &KAFKA_NO_SASL),
        ("Unsupported SASL mechanism", &KAFKA_MECHANISM),
        ("Authentication failed", &KAFKA_CREDENTIALS),
        ("certificate verify failed", &KAFKA_CERTIFICATE),
        ("verification callback failed", &KAFKA_CERTIFICATE),
        ("Idempotent producer not supported", &KAFKA_CONTROLLER),
        ("Required feature not supported", &KAFKA_CONTROLLER),
        ("Failed to resolve", &KAFKA_NAME),
        ("Connection refused", &KAFKA_REFUSED),
        ("Too many open files", &FILE_HANDLES),
        ("in state APIVERSION_QUERY", &KAFKA_TLS),
    ];
    if code == UNSUPPORTED_FEATURE {
        return Some(&KAFKA_CONTROLLER);
    }
    let known = SIGNS.iter().find(|(sign, _)| text.contains(sign)).map(|(_, found)| *found);
    known.or_else(|| (!answered && text.contains("in state UP")).then_some(&KAFKA_SASL))
}

/// The likely cause behind an error text of an MQTT broker or of the system.
pub fn of_mqtt(text: &str) -> Option<&'static Diagnosis> {
    const SIGNS: [(&str, &Diagnosis); 3] =
        [("(0x9C)", &MQTT_MOVED), ("(0x9D)", &MQTT_MOVED), ("Too many open files", &FILE_HANDLES)];
    SIGNS.iter().find(|(sign, _)| text.contains(sign)).map(|(_, found)| *found)
}

/// The one that a text tells.
pub fn told(text: &str) -> Option<&'static Diagnosis> {
    TABLE.iter().find(|likely| text.contains(&likely.to_string()))
}

/// The likely cause if the peer's first bytes are no CONNACK; none if they may be MQTT.
pub fn of_first_bytes(bytes: &[u8]) -> Option<&'static Diagnosis> {
    match bytes {
        [0x15, 0x03, ..] => Some(&MQTT_TLS),
        [b'H', b'T', b'T', b'P', ..] => Some(&MQTT_HTTP),
        // CONNACK, and AUTH and DISCONNECT of 5.
        [] | [0x20 | 0xF0 | 0xE0, ..] => None,
        _ => Some(&MQTT_OTHER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_line_of_the_table_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
        let text = std::fs::read_to_string(path).expect("it is there");
        let (_, rest) = text.split_once("\n| symptom | likely cause | cure |\n").expect("a table");
        let rows: Vec<_> = rest.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
        let expected: Vec<_> = TABLE
            .iter()
            .map(|Diagnosis { symptom, cause, cure }| format!("| {symptom} | {cause} | {cure} |"))
            .collect();
        assert_eq!(rows, expected, "\n{}\n", expected.join("\n"));
    }

    #[test]
    fn what_librdkafka_says_points_to_its_cause() {
        for (text, found) in [
            (
                "x: SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a \
              PLAINTEXT broker listener? (after 5ms in state SSL_HANDSHAKE)",
                &KAFKA_PLAIN,
            ),
            (
                "x: Disconnected: connection closed by peer: receive 0 after POLLIN (after 70ms in state \
              APIVERSION_QUERY)",
                &KAFKA_TLS,
            ),
            ("x: Send failed: Broken pipe (after 0ms in state UP)", &KAFKA_SASL),
            (
                "x: SASL PLAIN mechanism handshake failed: Broker: Request not valid in current SASL \
              state: broker's supported mechanisms:",
                &KAFKA_NO_SASL,
            ),
            ("x: Failed to resolve 'kafka.invalid:9092': Name or service not known", &KAFKA_NAME),
        ] {
            assert_eq!(of_kafka(-195, text, false), Some(found), "{text}");
        }
        assert_eq!(of_kafka(-195, "x: Disconnected (after 9ms in state UP)", true), None);
        assert_eq!(of_kafka(-165, "", false), Some(&KAFKA_CONTROLLER));
    }

    #[test]
    fn first_bytes_that_are_no_mqtt_point_to_what_they_are() {
        for (bytes, found) in [
            (&[0x15, 3, 1, 0, 2][..], Some(&MQTT_TLS)),
            (b"HTTP/1.1 400 Bad Request", Some(&MQTT_HTTP)),
            (b"220 mail ESMTP", Some(&MQTT_OTHER)),
            (&[0x20, 2, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(of_first_bytes(bytes), found, "{bytes:?}");
        }
    }
}
