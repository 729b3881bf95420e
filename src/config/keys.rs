//! Every key of the configuration, in one table. Reading, `check`, `config.toml`, `docs/configuration.md`
//! and the suggestions for unknown keys follow from it. A new key is a row here, and the field of
//! [`Config`](super::resolved::Config) that the row names.

use super::field::{self, Field, field};
pub use super::form::Form;
pub use super::list::Item;
use super::mqtt_config::{Protocol, RenumberedRedelivery, Resubscribe, TlsVersion, Unmatched};
use super::resolved::{LogFormat, Reload};
use super::route_draft::Missing;
use super::route_fields as route;
use super::setting::Choice;
use super::test_fields as test;
use crate::route::decompress::Decompress;
use crate::route::kafka_name::IllegalNames;
use crate::route::timestamp::EpochUnit;
use crate::route::{Match, PayloadForm};

/// A section of the file, in the order in which it is documented.
#[derive(Debug)]
pub struct Section {
    /// Its name: `mqtt` is written `[mqtt]`, or `[[mqtt]]` where there are several, `routes` is written
    /// `[[routes]]`; the keys of the one without a name stand before all sections. `mqtt.tls` belongs to
    /// the `mqtt` before it.
    pub name: &'static str,
    /// What it is about, in one line.
    pub about: &'static str,
}

impl Section {
    /// The section that it belongs to: `mqtt` for `mqtt.tls`, itself for most.
    pub(super) fn root(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(root, _)| root)
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// `section.name`, where the section may have a dot.
    pub path: &'static str,
    /// Which values are legal, with their unit.
    pub form: Form,
    /// The value where none is written.
    pub fallback: Fallback,
    /// What it is for, in one line.
    pub why: &'static str,
    /// What happens when the limit is reached, or when something that the key names does not work.
    pub failure: &'static str,
    /// How it is read into the configuration and printed.
    pub(super) field: Field,
}

/// The value where none is written.
#[derive(Debug)]
pub enum Fallback {
    /// None: the key is required. The text is an example.
    Required(&'static str),
    /// None: either this key or the other one is required. The text is an example.
    RequiredUnless(&'static str, &'static str),
    /// None: the key is optional. The text is an example.
    Unset(&'static str),
    /// This, as it would be written.
    Value(&'static str),
}

impl Key {
    /// The part of the path before the last dot; empty for a key that stands before all sections.
    pub fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The part of the path behind the last dot.
    pub fn name(&self) -> &'static str {
        self.path.rsplit_once('.').map_or(self.path, |(_, name)| name)
    }

    /// The section of which there may be several: the first part of the path, or that of the examples of
    /// a route.
    pub(super) fn root(&self) -> &'static str {
        match self.is_of_test() {
            true => TESTS,
            false => self.path.split_once('.').map_or("", |(root, _)| root),
        }
    }

    /// Whether it is a key of `[[routes.tests]]`.
    pub fn is_of_test(&self) -> bool {
        self.section() == TESTS
    }

    /// Its path where that section is called `label`: `routes[3].filter`, `mqtt[1].tls.ca_file`.
    pub(super) fn path_in(&self, label: &str) -> String {
        format!("{label}{}", &self.path[self.root().len()..])
    }

    /// The environment variable that overrides it, for the first route in `[[routes]]` and the first
    /// connection in `[[mqtt]]`. Examples of routes have none.
    pub fn variable(&self) -> Option<String> {
        let path = match self.path {
            _ if self.is_of_test() => return None,
            PROPERTIES => "kafka.properties.linger_ms".to_owned(),
            _ if self.root() == "routes" => self.path_in("routes.0"),
            path => path.to_owned(),
        };
        Some(format!("{PREFIX}{}", path.replace('.', "__")).to_uppercase())
    }

    /// `text` as it is written in TOML.
    pub fn toml(&self, text: &str) -> String {
        match self.form {
            Form::Count(..)
            | Form::Truth
            | Form::UserProperties
            | Form::Headers
            | Form::KafkaTopicConfig => text.to_owned(),
            Form::Brokers | Form::Urls | Form::List(_) => {
                let items: Vec<_> = text.split(',').map(|item| format!("{item:?}")).collect();
                format!("[{}]", items.join(", "))
            }
            _ => format!("{text:?}"),
        }
    }
}

/// What the variables that override keys begin with.
pub const PREFIX: &str = "BRIDGE_";

/// The key that is a table of its own.
pub const PROPERTIES: &str = "kafka.properties";

/// The section of the examples of a route, written `[[routes.tests]]`.
pub(super) const TESTS: &str = "routes.tests";

/// All sections.
pub const SECTIONS: &[Section] = &[
    Section { name: "", about: "Before all sections: the keys that belong to no section." },
    Section {
        name: "mqtt",
        about: "The connection to the MQTT broker. For several, write [[mqtt]] for each.",
    },
    Section {
        name: "mqtt.tls",
        about: "TLS, for addresses with mqtts or wss. All files are read at each connect; a change of \
                one makes a new connection.",
    },
    Section {
        name: "mqtt.status",
        about: "Says whether the bridge is connected, to those who subscribe to an MQTT topic of its \
                own. Without mqtt_topic it says nothing.",
    },
    Section {
        name: "routes",
        about: "What to subscribe to and where it goes: one [[routes]] for each rule. The first rule \
                that matches takes the message, or each of them (match). docs/routes.md explains \
                placeholders and conditions.",
    },
    Section {
        name: TESTS,
        about: "An example of what the route makes of a message: one [[routes.tests]] for each, behind the \
                route. check --test runs them. What is not written of the record is not compared.",
    },
    Section { name: "kafka", about: "The Kafka cluster." },
    Section { name: "delivery", about: "How much may be in flight, and for how long." },
    Section { name: "dead_letter", about: "Where messages go that Kafka or a route refuses." },
    Section { name: "supervisor", about: "How the bridge restarts a part of it that has failed." },
    Section { name: "http", about: "Where the bridge serves /livez, /readyz and /metrics." },
    Section { name: "log", about: "What the bridge writes to stderr." },
];

macro_rules! keys {
    ($($path:literal => $field:expr, $form:expr, $fallback:expr, $why:literal, $failure:literal;)*) => {
        &[$(Key {
            path: $path, field: $field, form: $form, fallback: $fallback, why: $why,
            failure: $failure,
        },)*]
    };
}

use Fallback::{Required, RequiredUnless, Unset, Value};

/// All keys, by section.
pub const KEYS: &[Key] = keys! {
    "data_dir" => field!(data_dir),
        Form::Path("directory"), Value("."),
        "The directory of the state files, in which the bridge remembers its subscriptions: one small file for each client id and broker. A relative path starts at the working directory.",
        "If it is not writable, the bridge logs a warning; after a restart it does not know which old subscriptions to end.";
    "match" => field!(match_),
        Form::Choice(Match::WORDS), Value("first"),
        "first: the first route whose filter matches takes the message, even if it drops it. all: each route whose filter matches makes its own record of it.",
        "all: the message is delivered when all its records are; after a crash all of them come again, and one that is held holds the message.";
    "reload" => field!(reload),
        Form::Choice(Reload::WORDS), Value("signal"),
        "When the bridge reads its configuration again. signal: on SIGHUP. watch: when the file has changed too.",
        "If the new configuration is wrong, the bridge keeps the old one and logs why.";

    "mqtt.name" => field::NAME,
        Form::Name, Value("mqtt"),
        "The name of the connection in logs, metrics and routes.from. Required, and different for each, where there are several [[mqtt]].",
        "Cannot fail.";
    "mqtt.url" => field::URL,
        Form::Url, RequiredUnless("mqtt://localhost:1883", "mqtt.urls"),
        "The address of the MQTT broker. The schemes and their ports: mqtts 8883 (TLS), mqtt 1883, wss 443 (WebSocket over TLS), ws 80, unix:///path (a socket). ssl and tls are other names for mqtts, tcp for mqtt. WebSocket has the path /mqtt unless the URL has another.",
        "While the broker is unreachable, the bridge stays up and retries.";
    "mqtt.urls" => field::URLS,
        Form::Urls, Unset("mqtts://a.example:8883,mqtts://b.example:8883"),
        "Instead of url: several addresses of one broker that share its sessions, in the order in which they are tried.",
        "If an address fails, the bridge tries the next one.";
    "mqtt.client_id" => field::CLIENT_ID,
        Form::MqttString, Unset("bridge-1"),
        "The name of the MQTT session. Keep it stable, and use it for one bridge only. Required unless session_expiry is 0s. {hostname} is replaced by the host's name, {pod_ordinal} by the number behind its last hyphen, as a StatefulSet's pods have it.",
        "If another client connects with the same name, it takes over the session, and the bridge backs off before it reconnects.";
    "mqtt.connections" => field::CONNECTIONS,
        Form::Count(1, 64), Value("1"),
        "So many connections share the subscriptions, where one connection or the broker's limit for one is too slow. Their client ids are client_id with -0, -1 and so on behind it.",
        "Order holds only as far as the broker keeps the messages of one MQTT topic on one connection.";
    "mqtt.group" => field!(mqtt.group),
        Form::Group, Unset("bridge"),
        "Shares the subscriptions of all routes with the other members of this group, in this process and in others: each filter becomes $share/GROUP/FILTER. Where connections is more than 1, it is bridge unless set.",
        "If the broker has no shared subscriptions, the bridge logs a warning and retries.";
    "mqtt.protocol" => field!(mqtt.protocol),
        Form::Choice(Protocol::WORDS), Value("auto"),
        "auto speaks MQTT 5 and falls back to 3.1.1 if the broker rejects MQTT 5, gives an answer that is not MQTT 5, closes the connection, or does not answer.",
        "If the broker rejects the version that is set here, the bridge logs a warning and retries.";
    "mqtt.keep_alive" => field!(mqtt.keep_alive),
        Form::Seconds("1s", "65535s"), Value("30s"),
        "A shorter interval detects a dead connection sooner and sends more pings.",
        "If nothing arrives for one and a half times this interval, the bridge reconnects.";
    "mqtt.session_expiry" => field!(mqtt.session_expiry_s),
        Form::SecondsOrNever("0s", "4294967294s"), Value("1d"),
        "How long the broker keeps messages for a bridge that is away; 0s: no persistent session. MQTT 3.1.1 cannot send a duration: 0s means a clean session, anything else a persistent one.",
        "If the bridge is away for longer, the messages published in the meantime are lost.";
    "mqtt.max_payload" => field!(mqtt.max_payload_bytes),
        Form::Size("1 B", "256 MiB"), Value("1 MiB"),
        "Limits the memory that one message can take.",
        "A larger payload goes to the dead letters: its beginning, its size and its hash.";
    "mqtt.resubscribe" => field!(mqtt.resubscribe),
        Form::Choice(Resubscribe::WORDS), Value("always"),
        "Only for MQTT 3.1.1. always: subscribe on each connection (at most once a minute), because a broker restored from a backup may have lost a subscription. new_session: subscribe in a new session only. Over MQTT 5 the bridge subscribes on each connection.",
        "always: the broker sends its retained messages again. new_session: a subscription that the broker has lost stays lost until the bridge restarts.";
    "mqtt.unmatched" => field!(mqtt.unmatched),
        Form::Choice(Unmatched::WORDS), Value("dead_letter"),
        "What happens to a QoS 1 message that matches no route; an old subscription can bring one. A QoS 0 message that matches no route is always dropped.",
        "If such a message cannot be written, or dead_letter.unmatched_max is reached, it is dropped and counted as filtered, and /readyz shows a warning.";
    "mqtt.renumbered_redelivery" => field!(mqtt.renumbered_redelivery),
        Form::Choice(RenumberedRedelivery::WORDS), Value("off"),
        "For brokers such as RabbitMQ, which redeliver under new packet ids after a reconnect. on: a message that is equal to one in flight counts as its redelivery. auto: the same, once this broker was seen to renumber. Decision 10 describes the risk.",
        "off: after a reconnect, messages that were in flight are delivered twice. on, auto: if the broker dropped a message or gave it to another client with this id, a later equal message can be lost.";
    "mqtt.silence_warning" => field!(mqtt.silence_warning),
        Form::DurationOrNever("1s", "365d"), Value("10m"),
        "Some MQTT 3.1.1 brokers grant a shared subscription and never deliver to it. The bridge warns if no message of such a subscription arrives within this time after SUBACK.",
        "The bridge logs a warning, once for each connection.";
    "mqtt.username" => field::USER_NAME,
        Form::UserName, Unset("bridge"),
        "Set it if the broker requires a login.",
        "If the broker refuses the login, the bridge logs a warning and retries.";
    "mqtt.password" => field::PASSWORD,
        Form::Secret, Unset("${MQTT_PASSWORD}"),
        "Preferably taken from the environment, as in ${MQTT_PASSWORD}, or from password_file.",
        "If the broker refuses the login, the bridge logs a warning and retries.";
    "mqtt.password_file" => field::PASSWORD_FILE,
        Form::SecretFile, Unset("/run/secrets/mqtt_password"),
        "A file with the password, to be used instead of password. It is read at each connect, and a change makes a new connection; one newline at its end is removed.",
        "If the file cannot be read at the start, the bridge does not start (exit code 78); if not later, it logs a warning and retries.";
    "mqtt.password_command" => field::PASSWORD_COMMAND,
        Form::List(Item::Argument), Unset("/usr/local/bin/token,--for,broker"),
        "A program and its arguments, run for each connect without a shell; what it writes to stdout is the password. For tokens that expire. Each argument is an entry of its own; the program's name, without spaces, is shown in errors, the arguments are not.",
        "If it fails or takes longer than connect_timeout, the bridge logs a warning and retries.";
    "mqtt.user_properties" => field!(mqtt.user_properties),
        Form::UserProperties, Unset("{ site = \"plant-1\" }"),
        "Sent to the broker with CONNECT, over MQTT 5 only.",
        "The broker decides what they mean.";
    "mqtt.websocket_headers" => field!(mqtt.websocket_headers),
        Form::Headers, Unset("{ Authorization = \"Bearer ${TOKEN}\" }"),
        "Headers of HTTP that are sent with the upgrade to WebSocket, for a gateway that asks for them. Their values are never printed.",
        "If the gateway refuses, the bridge logs a warning and retries.";
    "mqtt.proxy" => field::PROXY,
        Form::Proxy, Unset("http://proxy.example:3128"),
        "The proxy to connect through: HTTP CONNECT or SOCKS 5, with http://user:password@host:port if it wants a login. The proxy looks up the broker's name.",
        "If the proxy refuses or is unreachable, the bridge logs a warning and retries.";
    "mqtt.connect_timeout" => field!(mqtt.connect_timeout),
        Form::Duration("100ms", "10m"), Value("10s"),
        "The time limit for each step of a connect: TCP to each address of the host, the proxy's answer, TLS, WebSocket, CONNACK, SUBACK; and for password_file and password_command.",
        "The bridge tries the next address, or reconnects.";
    "mqtt.reconnect_min" => field!(mqtt.reconnect_min),
        Form::Duration("1ms", "1h"), Value("100ms"),
        "The first pause between attempts to connect. The pause doubles with each failed attempt, with jitter.",
        "Not a limit: it sets the pace of the attempts.";
    "mqtt.reconnect_max" => field!(mqtt.reconnect_max),
        Form::Duration("1ms", "1h"), Value("30s"),
        "The longest pause between attempts to connect.",
        "Not a limit: the bridge never stops trying.";

    "mqtt.tls.ca_file" => field!(mqtt.tls.ca_file),
        Form::File, Unset("/etc/ssl/private-ca.pem"),
        "The authorities to trust, PEM. Without it, those that the system trusts.",
        "If the broker's certificate is of another authority, the bridge logs a warning and retries.";
    "mqtt.tls.cert_file" => field!(mqtt.tls.cert_file),
        Form::File, Unset("/etc/ssl/bridge.pem"),
        "The bridge's own certificate and its chain, PEM, for a broker that asks for one. Needs key_file.",
        "If the broker refuses the certificate, the bridge logs a warning and retries.";
    "mqtt.tls.key_file" => field!(mqtt.tls.key_file),
        Form::File, Unset("/etc/ssl/bridge.key"),
        "The key of cert_file, PEM: RSA or EC, PKCS#8 or the older forms, encrypted or not.",
        "If it does not belong to cert_file, the bridge logs a warning and retries.";
    "mqtt.tls.key_password_file" => field!(mqtt.tls.key_password_file),
        Form::SecretFile, Unset("/run/secrets/key_password"),
        "A file with the password of key_file; one newline at its end is removed.",
        "If the password is wrong, the bridge logs a warning and retries.";
    "mqtt.tls.server_name" => field!(mqtt.tls.server_name),
        Form::ServerName, Unset("broker.example"),
        "The name that the broker's certificate must have, and that is sent to it (SNI). Without it, the host of the address.",
        "If the certificate has another name, the bridge logs a warning and retries.";
    "mqtt.tls.alpn" => field!(mqtt.tls.alpn),
        Form::List(Item::Protocol), Unset("x-amzn-mqtt-ca"),
        "The protocols to offer (ALPN), in order: AWS IoT Core needs x-amzn-mqtt-ca on port 443.",
        "The broker decides what a protocol that it does not know means.";
    "mqtt.tls.min_version" => field!(mqtt.tls.min_version),
        Form::Choice(TlsVersion::WORDS), Value("1.2"),
        "The oldest version of TLS to speak.",
        "If the broker speaks older ones only, the bridge logs a warning and retries.";
    "mqtt.tls.insecure_skip_verify" => field!(mqtt.tls.insecure_skip_verify),
        Form::Truth, Value("false"),
        "true: neither the broker's certificate nor its name is checked, so that anybody on the way can read and change everything. For tests only.",
        "Each connection's log line, /readyz and check say so.";

    "mqtt.status.mqtt_topic" => field::STATUS_TOPIC,
        Form::MqttTopic, Unset("bridges/{client_id}/status"),
        "The MQTT topic to which online is published after each connect, and offline before the bridge leaves, or by the broker when the connection is lost (the will). {client_id} is replaced by the client id.",
        "If the broker refuses it, it closes the connection or ignores the message; the bridge retries.";
    "mqtt.status.online" => field!(mqtt.status.online),
        Form::MqttString, Value("online"),
        "The payload that says that the bridge is connected.",
        "Cannot fail.";
    "mqtt.status.offline" => field!(mqtt.status.offline),
        Form::MqttString, Value("offline"),
        "The payload that says that it is not.",
        "Cannot fail.";
    "mqtt.status.retain" => field!(mqtt.status.retain),
        Form::Truth, Value("true"),
        "Whether the broker keeps the last of them for those who subscribe later.",
        "If the broker refuses retained messages, the bridge warns, and sends them without the flag until it is restarted: each CONNECT has the will, and would be refused again.";
    "mqtt.status.qos" => field!(mqtt.status.qos),
        Form::Count(0, 1), Value("1"),
        "1: the broker acknowledges them. 0: one may be lost.",
        "If the broker takes QoS 0 only, the bridge warns, and sends them so until it is restarted.";

    "routes.name" => route::NAME,
        Form::RouteName, Unset("climate"),
        "What logs, metrics and dead letters call the route. Without it, its filter, with a number behind it if another route has the same. Each name occurs once.",
        "Cannot fail.";
    "routes.filter" => route::FILTER,
        Form::Filter, Required("sensors/#"),
        "The MQTT topic filter to subscribe to: + stands for one level, # for all further levels, {name} for one level and {name...} for all further levels, which placeholders can use; $share/GROUP/ shares the messages among the members of a group. {{ and }} are braces.",
        "If the broker refuses the subscription, the bridge logs a warning and retries.";
    "routes.from" => field!(routes.from),
        Form::List(Item::Connection), Unset("plant-1"),
        "The names of the connections (mqtt.name) that the route takes messages from. Without it, all of them.",
        "If no connection has the name, the bridge does not start (exit code 78).";
    "routes.qos" => field!(routes.qos),
        Form::Count(0, 1), Value("1"),
        "1: a message is acknowledged after Kafka has it. 0: a message may be lost.",
        "If the broker grants less, the bridge logs a warning and accepts what was granted.";
    "routes.kafka_topic" => field!(routes.kafka_topic),
        Form::KafkaTopicTemplate, Required("sensors"),
        "The Kafka topic to write records to. It may have placeholders.",
        "If a fixed Kafka topic is missing, or the bridge may not write to it, the messages are held (see dead_letter.after); for one with placeholders see missing_topic. If a placeholder has no value, the message goes to the dead letters.";
    "routes.key" => field!(routes.key),
        Form::Template, Value("{mqtt_topic}"),
        "The key of the records. The empty string makes none: such a record goes to the partition of its MQTT topic.",
        "If a placeholder has no value, the message goes to the dead letters.";
    "routes.partition" => field!(routes.partition),
        Form::Partition, Unset("{json./shard}"),
        "The partition of the records, from 0. Without it, the key decides.",
        "If the partition does not exist, or the value is no number, the message goes to the dead letters.";
    "routes.payload" => field!(routes.payload),
        Form::Choice(PayloadForm::WORDS), Value("raw"),
        "raw: the payload unchanged. text: UTF-8 is checked. json: the payload is checked, and padding around the JSON document is removed. envelope: a JSON object of the payload and what MQTT says about it. sparkplug: Sparkplug B, as JSON.",
        "A payload that is not of this form goes to the dead letters.";
    "routes.decompress" => field!(routes.decompress),
        Form::Choice(Decompress::WORDS), Value("none"),
        "How payloads are packed; they are unpacked before anything looks into them. auto: by their first bytes, and unchanged if these are of no known form.",
        "A payload that cannot be unpacked goes to the dead letters.";
    "routes.decompress_max" => field!(routes.decompress_max_bytes),
        Form::Size("1 B", "256 MiB"), Value("8 MiB"),
        "The largest payload once it is unpacked.",
        "A larger one goes to the dead letters.";
    "routes.tombstone" => field!(routes.tombstone),
        Form::Choice(&["off", "empty"]), Value("off"),
        "empty: an empty payload becomes a record with a null value, which deletes its key in a compacted Kafka topic. Clearing a retained message is an empty payload.",
        "off: an empty payload is a value like any other, and not JSON.";
    "routes.timestamp" => field!(routes.timestamp.from),
        Form::Timestamp, Value("none"),
        "The timestamp of the records. none: when they are produced. received: when the message was received. json. with a JSON pointer, user. with the name of a user property: RFC 3339, or a number (timestamp_unit).",
        "See timestamp_invalid.";
    "routes.timestamp_unit" => field!(routes.timestamp.unit),
        Form::Choice(EpochUnit::WORDS), Value("ms"),
        "What a number counts since 1970 in a timestamp that is taken from the message.",
        "With the wrong unit a timestamp lies far away (timestamp_max_skew).";
    "routes.timestamp_max_skew" => field!(routes.timestamp.max_skew),
        Form::DurationOrNever("1s", "36500d"), Value("1d"),
        "How far a timestamp that is taken from the message may lie from the time of receipt; never: any distance is good. Kafka deletes by these timestamps.",
        "See timestamp_invalid.";
    "routes.timestamp_invalid" => field!(routes.timestamp.refuse_invalid),
        Form::Choice(&["received", "dead_letter"]), Value("received"),
        "What happens to a message without a usable timestamp. received: the time of receipt is taken.",
        "received: it is counted. dead_letter: the message goes to the dead letters.";
    "routes.device_time" => field!(routes.device_time.from),
        Form::DeviceTime, Value("none"),
        "Where a message has its device's own time, for the latency from the device to Kafka. json. with a JSON pointer, user. with the name of a user property: RFC 3339, or a number (device_time_unit). It changes nothing of the record.",
        "A message without a readable one is forwarded all the same, and counted.";
    "routes.device_time_unit" => field!(routes.device_time.unit),
        Form::Choice(EpochUnit::WORDS), Value("ms"),
        "What a number counts since 1970 in device_time.",
        "With the wrong unit the latency is far off, or the clock seems to be ahead (device_clock_ahead_seconds).";
    "routes.headers" => field!(routes.headers.items),
        Form::RecordHeaders, Value("none"),
        "The headers of the records, in this order. mqtt: all that MQTT says about the message.",
        "What a message does not have makes no header. If a placeholder has no value, the message goes to the dead letters.";
    "routes.header_prefix" => field!(routes.headers.prefix),
        Form::HeaderName, Value("mqtt."),
        "What the names of the headers that come from MQTT begin with, instead of mqtt.",
        "Cannot fail.";
    "routes.bridge_id" => field!(routes.headers.bridge_id),
        Form::Truth, Value("false"),
        "Adds the header bridge.id, which is the same when the same publish is forwarded again, so that a consumer can drop duplicates.",
        "docs/routes.md says what it can and cannot tell apart.";
    "routes.bridge_id_from" => field!(routes.headers.bridge_id_from),
        Form::Template, Unset("{user.id}"),
        "The publisher's own id of the message, as a part of bridge.id. Needs bridge_id = true.",
        "If a placeholder has no value, the message goes to the dead letters.";
    "routes.illegal_names" => field!(routes.illegal_names),
        Form::Choice(IllegalNames::WORDS), Value("escape"),
        "What happens if a filled kafka_topic has characters that Kafka does not allow. escape: they are escaped, so that the name can be read back (docs/routes.md).",
        "dead_letter: the message goes to the dead letters. escape: so does one whose name is too long.";
    "routes.missing_topic" => route::MISSING_TOPIC,
        Form::Choice(Missing::WORDS), Value("dead_letter"),
        "What happens if a Kafka topic that placeholders name does not exist. hold: its messages wait until it is there. create: the bridge creates it.",
        "dead_letter: its messages go to the dead letters. hold: they wait, and hold all later messages of that connection.";
    "routes.create_partitions" => route::CREATE_PARTITIONS,
        Form::Count(1, 100_000), Unset("12"),
        "For missing_topic = \"create\": how many partitions. Without it, as the Kafka brokers are configured.",
        "If Kafka refuses to create it, the messages are held.";
    "routes.create_replication" => route::CREATE_REPLICATION,
        Form::Count(1, 100), Unset("3"),
        "For missing_topic = \"create\": how many replicas. Without it, as the Kafka brokers are configured.",
        "If Kafka refuses to create it, the messages are held.";
    "routes.create_config" => route::CREATE_CONFIG,
        Form::KafkaTopicConfig, Unset("{ \"cleanup.policy\" = \"compact\" }"),
        "For missing_topic = \"create\": its configuration, by Kafka's names.",
        "If Kafka refuses to create it, the messages are held.";
    "routes.retained" => field!(routes.gate.skip_retained),
        Form::Choice(&["forward", "skip"]), Value("forward"),
        "skip: messages that the broker had retained before the bridge subscribed are dropped.",
        "Dropped messages are counted by route and reason.";
    "routes.expired" => field!(routes.gate.drop_expired),
        Form::Choice(&["forward", "drop"]), Value("forward"),
        "drop: messages whose expiry interval (MQTT 5) is over while they wait in the bridge are dropped.",
        "Dropped messages are counted by route and reason.";
    "routes.drop_if" => field!(routes.gate.drop_if),
        Form::Condition, Unset("{json./quality} = \"bad\""),
        "Messages that fulfil this condition are dropped.",
        "Dropped messages are counted by route and reason.";
    "routes.keep_if" => field!(routes.gate.keep_if),
        Form::Condition, Unset("{json./value} > 5"),
        "Messages that do not fulfil this condition are dropped.",
        "Dropped messages are counted by route and reason.";
    "routes.sample" => field!(routes.gate.sample),
        Form::Sample, Unset("1/100"),
        "Forwards one message in so many, the first one included. Without it, all of them.",
        "Dropped messages are counted by route and reason.";
    "routes.dedupe" => field!(routes.gate.dedupe),
        Form::Truth, Value("false"),
        "true: a message is dropped if its payload equals that of the message before it, of the same MQTT topic, and that one was delivered.",
        "The memory of payloads is bounded: what it has forgotten is forwarded. Dropped messages are counted by route and reason.";
    "routes.sparkplug_rebirth" => field!(routes.sparkplug_rebirth),
        Form::Truth, Value("false"),
        "For payload = \"sparkplug\": the bridge asks a node whose birth certificate it has not seen for a new one, by a command at QoS 0.",
        "If the broker does not allow the bridge to publish, the aliases stay unknown; their metrics are marked.";

    "routes.tests.mqtt_topic" => test::field!(test.mqtt_topic),
        Form::MqttTopic, Required("sensors/1/temperature"),
        "The MQTT topic of the message.",
        "The test fails if another route takes it.";
    "routes.tests.payload" => test::PAYLOAD,
        Form::Text, Unset("21.5"),
        "Its payload. Without it, an empty one.",
        "Cannot fail.";
    "routes.tests.payload_base64" => test::PAYLOAD_BASE64,
        Form::Base64, Unset("AAH/"),
        "Its payload as base64, where that is no text.",
        "Cannot fail.";
    "routes.tests.payload_file" => test::PAYLOAD_FILE,
        Form::Path("file"), Unset("examples/temperature.json"),
        "A file with its payload. A relative path starts at the directory of the configuration.",
        "If the file cannot be read, the test fails.";
    "routes.tests.retain" => test::field!(test.retain),
        Form::Truth, Value("false"),
        "Whether the broker had retained it.",
        "Cannot fail.";
    "routes.tests.qos" => test::field!(test.qos),
        Form::Count(0, 1), Value("1"),
        "Its QoS.",
        "Cannot fail.";
    "routes.tests.user_properties" => test::field!(test.user_properties),
        Form::UserProperties, Unset("{ id = \"7\" }"),
        "Its user properties (MQTT 5).",
        "Cannot fail.";
    "routes.tests.content_type" => test::field!(test.content_type),
        Form::MqttString, Unset("application/json"),
        "Its content type (MQTT 5).",
        "Cannot fail.";
    "routes.tests.response_topic" => test::field!(test.response_topic),
        Form::MqttTopic, Unset("answers/1"),
        "Its response topic (MQTT 5).",
        "Cannot fail.";
    "routes.tests.correlation_data" => test::field!(test.correlation_data),
        Form::MqttString, Unset("7"),
        "Its correlation data (MQTT 5).",
        "Cannot fail.";
    "routes.tests.connection" => test::field!(test.connection),
        Form::Name, Unset("plant-1"),
        "The connection (mqtt.name) that brings it. Without it, the first one of the route.",
        "If the route takes no messages from it, the bridge does not start (exit code 78).";
    "routes.tests.kafka_topic" => test::field!(record.kafka_topic),
        Form::KafkaTopic, Unset("sensors"),
        "Expected: the Kafka topic of the record.",
        "If it is another, the test fails.";
    "routes.tests.key" => test::field!(record.key),
        Form::Text, Unset("sensors/1/temperature"),
        "Expected: the key of the record; the empty string is none.",
        "If it is another, the test fails.";
    "routes.tests.value" => test::field!(record.value),
        Form::Text, Unset("21.5"),
        "Expected: the value of the record. JSON is compared as a document: spaces and the order of names do not count.",
        "If it is another, the test fails.";
    "routes.tests.tombstone" => test::TOMBSTONE,
        Form::Truth, Unset("true"),
        "Expected: true: the record has a null value.",
        "If it has a value, the test fails.";
    "routes.tests.headers" => test::field!(record.headers),
        Form::UserProperties, Unset("{ \"mqtt.retain\" = \"true\" }"),
        "Expected: headers that the record has, perhaps among others.",
        "If one is missing or has another value, the test fails.";
    "routes.tests.partition" => test::field!(record.partition),
        Form::Count(0, 2_147_483_647), Unset("3"),
        "Expected: the partition that the record asks for.",
        "If it is another, the test fails.";
    "routes.tests.timestamp" => test::field!(record.timestamp),
        Form::Text, Unset("2026-01-31T12:00:00Z"),
        "Expected: the timestamp of the record (RFC 3339).",
        "If it is another, the test fails.";
    "routes.tests.dropped" => test::field!(dropped),
        Form::Choice(test::DROPPED), Unset("keep_if"),
        "Expected instead of a record: the route drops the message, for this reason.",
        "If it does not, the test fails.";
    "routes.tests.dead_letter" => test::field!(dead_letter),
        Form::Name, Unset("value_missing"),
        "Expected instead of a record: the message goes to the dead letters, with this reason.",
        "If it does not, the test fails.";

    "kafka.brokers" => field!(kafka.brokers),
        Form::Brokers, Required("localhost:9092"),
        "The brokers to contact first; they name the others.",
        "While no broker is reachable, the bridge stays up, waits and logs a warning.";
    "kafka.sasl_password_file" => field!(kafka.sasl_password_file),
        Form::SecretFile, Unset("/run/secrets/kafka_password"),
        "A file with the password, to be used instead of sasl.password. One newline at its end is removed. A change is noticed within a few seconds and used at the next login.",
        "If the file cannot be read, the bridge does not start (exit code 78); once it runs, it keeps the last password and logs a warning.";
    "kafka.ssl_key_password_file" => field!(kafka.ssl_key_password_file),
        Form::SecretFile, Unset("/run/secrets/kafka_key_password"),
        "A file with the password of the client's key, to be used instead of ssl.key.password. After a change of it, or of a file with a certificate or a key, the bridge connects anew.",
        "If the file cannot be read, the bridge does not start (exit code 78); once it runs, it keeps the key that it has and logs a warning.";
    "kafka.oauth_client_secret_file" => field!(kafka.oauth_client_secret_file),
        Form::SecretFile, Unset("/run/secrets/kafka_client_secret"),
        "A file with the client secret of OAUTHBEARER, to be used instead of sasl.oauthbearer.client.secret. It is read whenever a token is fetched.",
        "If the file cannot be read, the bridge does not start (exit code 78); once it runs, it keeps the last token while that is valid, and logs a warning.";
    "kafka.aws_region" => field!(kafka.aws_region),
        Form::MqttString, Unset("eu-central-1"),
        "Only for sasl.mechanism = AWS_MSK_IAM: the region of the cluster. Without it: the one in a broker's name, or the environment variable AWS_REGION.",
        "With a wrong region Amazon MSK refuses the login.";
    "kafka.kafka_topics_max" => field!(kafka.kafka_topics_max),
        Form::Count(1, 100_000), Value("1000"),
        "How many Kafka topics the placeholders of routes may name at a time, and how many may be created for them in an hour. One that nobody used for an hour does not count.",
        "A message for one more goes to the dead letters.";
    "kafka.properties" => field::PROPERTIES,
        Form::Properties, Unset(""),
        "Producer properties of librdkafka, for example for TLS and SASL. Each is passed on, checked, or refused with a reason.",
        "If a property is unknown or breaks a guarantee of the bridge, the bridge does not start (exit code 78).";

    "delivery.window_messages" => field!(delivery.window_messages),
        Form::Count(1, 65_535), Value("1000"),
        "How many messages may be received and not yet acknowledged. More is faster over a slow link, and repeats more messages after a crash.",
        "When the window is full, the bridge accepts no more messages, and the broker keeps the rest.";
    "delivery.qos0_window_messages" => field!(delivery.qos0_window_messages),
        Form::Count(1, 65_535), Value("10000"),
        "The same for QoS 0, which no broker repeats. More absorbs longer bursts, and loses more messages in a crash.",
        "When the window is full, the bridge accepts no more messages, and drops QoS 0 messages after delivery.qos0_shed_after.";
    "delivery.window_bytes" => field!(delivery.window_bytes),
        Form::Size("1 KiB", "16 GiB"), Value("16 MiB"),
        "The same in bytes: of MQTT topic, payload and MQTT 5 properties, and of what the message became (keys, values and headers of its records). One larger message still passes, alone.",
        "When the window is full, the bridge accepts no more messages, and the broker keeps the rest.";
    "delivery.drain_deadline" => field!(delivery.drain_deadline),
        Form::Duration("0s", "1h"), Value("8s"),
        "How long a stopping bridge waits for the messages in flight. Containers are usually killed after 10s.",
        "The bridge ends with exit code 3, and the broker sends the rest again at the next start.";
    "delivery.qos0_shed_after" => field!(delivery.qos0_shed_after),
        Form::DurationOrNever("0s", "1d"), Value("1s"),
        "How long the window must be full before the bridge drops QoS 0 messages; never: they wait like all others.",
        "Dropped messages are counted and logged.";

    "dead_letter.kafka_topic" => field!(dead_letter.kafka_topic),
        Form::KafkaTopic, Unset("bridge-dead-letter"),
        "The Kafka topic for dead letters; without it they go to the file. A dead letter above the size limit of the Kafka topic is shortened until it fits.",
        "If a dead letter cannot be written, its message is not acknowledged, and no later message of that connection is acknowledged.";
    "dead_letter.file" => field!(dead_letter.file),
        Form::Path("file"), Value("dead-letter.jsonl"),
        "The file for dead letters, as JSON lines. A relative path starts at the working directory. A new file is readable by its owner only (mode 0600); a symbolic link is refused.",
        "If the file cannot be opened at startup, the bridge does not start (exit code 78). If a dead letter cannot be written later, its message is not acknowledged, and no later message of that connection is acknowledged.";
    "dead_letter.file_max" => field!(dead_letter.file_max_bytes),
        Form::Size("4 KiB", "1 TiB"), Value("100 MiB"),
        "The maximum size of the file. A longer line is shortened.",
        "The same as if the file could not be written.";
    "dead_letter.unmatched_max" => field!(dead_letter.unmatched_max_bytes),
        Form::Size("4 KiB", "1 TiB"), Value("10 MiB"),
        "The limit for dead letters of messages that match no route (mqtt.unmatched): the size of their file, which is next to dead_letter.file, or the amount that one run of the bridge writes to dead_letter.kafka_topic.",
        "Such messages are dropped and counted as filtered, and /readyz shows a warning.";
    "dead_letter.after" => field!(dead_letter.after),
        Form::DurationOrNever("0s", "365d"), Value("never"),
        "How long the bridge holds a message that Kafka refuses for a cause that may pass, such as a missing Kafka topic or a missing permission.",
        "The message goes to the dead letters. never: it is held until the cause is removed.";

    "supervisor.backoff_min" => field!(supervisor.backoff_min),
        Form::Duration("1ms", "1h"), Value("100ms"),
        "The first pause before a failed actor is restarted. The pause doubles with each failure, with jitter.",
        "Not a limit: it sets the pace of the restarts.";
    "supervisor.backoff_max" => field!(supervisor.backoff_max),
        Form::Duration("1ms", "1h"), Value("10s"),
        "The longest pause before a failed actor is restarted.",
        "Not a limit: it sets the pace of the restarts.";
    "supervisor.failures_max" => field!(supervisor.failures_max),
        Form::Count(1, 1_000_000), Value("8"),
        "How often one actor may fail in a row before the bridge gives up.",
        "The bridge ends with exit code 70.";
    "supervisor.hang_after" => field!(supervisor.hang_after),
        Form::Duration("100ms", "1d"), Value("30s"),
        "How long an actor may make no progress before it counts as hung. Waiting for a broker is not a hang.",
        "The bridge ends with exit code 75.";

    "http.listen" => field!(http.listen),
        Form::Listen, Value("127.0.0.1:8080"),
        "The address to listen on, or \"off\". Port 0 takes a free port, which is logged. In a container, use \"0.0.0.0:8080\".",
        "If the address is not available, the bridge does not start (exit code 78).";

    "http.token_file" => field::TOKEN_FILE,
        Form::SecretFile, Unset("/run/secrets/http_token"),
        "A file with the token that every page asks for except /livez and /readyz: at least 16 characters. Without it, those pages are served on a loopback address only.",
        "If the file cannot be read at the start, the bridge does not start (exit code 78).";
    "http.metrics_token" => field!(http.metrics_token),
        Form::Truth, Value("true"),
        "Whether /metrics asks for the token of token_file too.",
        "false: everyone who reaches the address reads the metrics.";
    "http.host_names" => field!(http.host_names),
        Form::List(Item::Host), Unset("bridge.example"),
        "The names by which clients may ask for pages (Host header), beside the address itself and localhost. Keeps pages of other sites from asking through a browser.",
        "A request for another name is refused.";
    "http.cert_file" => field!(http.cert_file),
        Form::File, Unset("/etc/ssl/http.pem"),
        "The server's certificate and its chain, PEM; with it the server speaks HTTPS. Needs key_file.",
        "If it cannot be used, the bridge does not start (exit code 78).";
    "http.key_file" => field!(http.key_file),
        Form::File, Unset("/etc/ssl/http.key"),
        "The key of cert_file, PEM.",
        "If it does not belong to cert_file, the bridge does not start (exit code 78).";

    "log.format" => field!(log.format),
        Form::Choice(LogFormat::WORDS), Value("auto"),
        "auto: terminal if stderr is a terminal, else json (one JSON object on each line).",
        "Lines that cannot be written are dropped and counted.";
    "log.level" => field!(log.level),
        Form::Choice(<slog::Level as Choice>::WORDS), Value("info"),
        "The least important level that is logged.",
        "Cannot fail.";
    "log.timing" => field!(log.timing),
        Form::Timing, Value("all"),
        "Which messages get a timing record. all: every message. slow:50ms: messages that take at least 50ms. sample:100: one message in 100. off: none.",
        "Records that do not fit into their buffer are dropped and counted.";
    "log.summary" => field!(log.summary),
        Form::Duration("1s", "1h"), Value("10s"),
        "How often the summary record is written while something happens. At rest: once a minute, or in this time if that is longer.",
        "Cannot fail.";
};
