//! Every key of the configuration, in one table. Reading, `check`, `config.toml`, `docs/configuration.md`
//! and the suggestions for unknown keys follow from it. A new key is a row here, and the field of
//! [`Config`](super::resolved::Config) that the row names.

use super::field::{self, Field, field};
pub use super::form::Form;
use super::mqtt_config::{Protocol, RenumberedRedelivery, Resubscribe, Unmatched};
use super::resolved::LogFormat;
use super::setting::Choice;
use crate::route::PayloadForm;

/// A section of the file, in the order in which it is documented.
#[derive(Debug)]
pub struct Section {
    /// Its name: `mqtt` is written `[mqtt]`, `routes` is written `[[routes]]`; the keys of the one
    /// without a name stand before all sections.
    pub name: &'static str,
    /// What it is about, in one line.
    pub about: &'static str,
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// `section.name`.
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
    /// None: the key is optional. The text is an example.
    Unset(&'static str),
    /// This, as it would be written.
    Value(&'static str),
}

impl Key {
    /// The part of the path before the dot; empty for a key that stands before all sections.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// The part of the path behind the dot.
    pub fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    /// Its path in the section that is the `at`-th of its kind: `routes[3].filter`.
    pub(super) fn path_at(&self, at: usize) -> String {
        match self.section() {
            "routes" => format!("routes[{at}].{}", self.name()),
            _ => self.path.to_owned(),
        }
    }

    /// The environment variable that overrides it, for the first route in `[[routes]]`.
    pub fn variable(&self) -> String {
        let index = if self.section() == "routes" { "0__" } else { "" };
        let name = if self.path == PROPERTIES { "properties__linger_ms" } else { self.name() };
        if self.section().is_empty() {
            return format!("{PREFIX}{name}").to_uppercase();
        }
        format!("{PREFIX}{}__{index}{name}", self.section()).to_uppercase()
    }

    /// `text` as it is written in TOML.
    pub fn toml(&self, text: &str) -> String {
        match self.form {
            Form::Count(..) => text.to_owned(),
            Form::Brokers => {
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

/// All sections.
pub const SECTIONS: &[Section] = &[
    Section { name: "", about: "Before all sections: the keys that belong to no section." },
    Section { name: "mqtt", about: "The connection to the MQTT broker." },
    Section {
        name: "routes",
        about: "What to subscribe to and where it goes: one [[routes]] for each rule. The first rule \
                that matches takes the message.",
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

use Fallback::{Required, Unset, Value};

/// All keys, by section.
pub const KEYS: &[Key] = keys! {
    "data_dir" => field!(data_dir),
        Form::Path("directory"), Value("."),
        "The directory of the state files, in which the bridge remembers its subscriptions: one small file for each client id and broker. A relative path starts at the working directory.",
        "If it is not writable, the bridge logs a warning; after a restart it does not know which old subscriptions to end.";

    "mqtt.url" => field::URL,
        Form::Url, Required("mqtt://localhost:1883"),
        "The address of the MQTT broker. The port is 1883 unless the URL names another.",
        "While the broker is unreachable, the bridge stays up and retries.";
    "mqtt.client_id" => field!(mqtt.client_id),
        Form::MqttString, Unset("bridge-1"),
        "The name of the MQTT session. Keep it stable, and use it for one bridge only. Required unless session_expiry is 0s.",
        "If another client connects with the same name, it takes over the session, and the bridge backs off before it reconnects.";
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
    "mqtt.password" => field!(mqtt.password),
        Form::Secret, Unset("${MQTT_PASSWORD}"),
        "Preferably taken from the environment, as in ${MQTT_PASSWORD}, or from password_file.",
        "If the broker refuses the login, the bridge logs a warning and retries.";
    "mqtt.password_file" => field::PASSWORD_FILE,
        Form::SecretFile, Unset("/run/secrets/mqtt_password"),
        "A file with the password, to be used instead of password. The file is read once at startup; one newline at its end is removed.",
        "If the file cannot be read, the bridge does not start (exit code 78).";
    "mqtt.connect_timeout" => field!(mqtt.connect_timeout),
        Form::Duration("100ms", "10m"), Value("10s"),
        "The time limit for the TCP connection to each address of the host, then for CONNACK, then for SUBACK.",
        "The bridge tries the next address, or reconnects.";
    "mqtt.reconnect_min" => field!(mqtt.reconnect_min),
        Form::Duration("1ms", "1h"), Value("100ms"),
        "The first pause between attempts to connect. The pause doubles with each failed attempt, with jitter.",
        "Not a limit: it sets the pace of the attempts.";
    "mqtt.reconnect_max" => field!(mqtt.reconnect_max),
        Form::Duration("1ms", "1h"), Value("30s"),
        "The longest pause between attempts to connect.",
        "Not a limit: the bridge never stops trying.";

    "routes.filter" => field!(routes.filter),
        Form::Filter, Required("sensors/#"),
        "The MQTT topic filter to subscribe to: + stands for one level, # for all further levels, $share/GROUP/ shares the messages among the members of a group.",
        "If the broker refuses the subscription, the bridge logs a warning and retries.";
    "routes.qos" => field!(routes.qos),
        Form::Count(0, 1), Value("1"),
        "1: a message is acknowledged after Kafka has it. 0: a message may be lost.",
        "If the broker grants less, the bridge logs a warning and accepts what was granted.";
    "routes.kafka_topic" => field!(routes.kafka_topic),
        Form::KafkaTopic, Required("sensors"),
        "The Kafka topic to write records to. Their key is the MQTT topic.",
        "If the Kafka topic is missing, or the bridge may not write to it, the messages are held (see dead_letter.after).";
    "routes.payload" => field!(routes.payload),
        Form::Choice(PayloadForm::WORDS), Value("raw"),
        "raw: the payload unchanged. json: the payload is checked, and padding around the JSON document is removed.",
        "On a json route, a payload that is not JSON goes to the dead letters.";

    "kafka.brokers" => field!(kafka.brokers),
        Form::Brokers, Required("localhost:9092"),
        "The brokers to contact first; they name the others.",
        "While no broker is reachable, the bridge stays up, waits and logs a warning.";
    "kafka.properties" => field::PROPERTIES,
        Form::Properties, Unset(""),
        "Producer properties of librdkafka, for example for TLS and SASL. Each is passed on, checked, or refused with a reason.",
        "If a property is unknown or breaks a guarantee of the bridge, the bridge does not start (exit code 78).";

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
        "The same in bytes of MQTT topic, payload and MQTT 5 properties. One larger message still passes, alone.",
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
};
