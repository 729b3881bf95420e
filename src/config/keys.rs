//! Every key that a configuration can have: the one table that reading, `check`, `config.toml`,
//! `docs/configuration.md` and the complaints about unknown keys all rest on. A new key is a row here
//! and the field of [`Config`](super::Config) that the row names.

use super::field::{self, Field, field};
pub use super::form::Form;
use super::resolved::{LogFormat, Protocol, RenumberedRedelivery, Resubscribe, Unmatched};
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
    /// What may be written.
    pub form: Form,
    /// What holds where nothing is written.
    pub fallback: Fallback,
    /// Why one would set it, in one line.
    pub why: &'static str,
    /// What happens when the limit is reached, or what the key names does not work.
    pub failure: &'static str,
    /// How it is read into the configuration and printed.
    pub(super) field: Field,
}

/// What holds where a key is not written.
#[derive(Debug)]
pub enum Fallback {
    /// Nothing: it must be written. The text is an example.
    Required(&'static str),
    /// Nothing, and that is fine. The text is an example.
    Unset(&'static str),
    /// This, as it could be written.
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
    Section { name: "", about: "Before all sections: what is about none of them." },
    Section { name: "mqtt", about: "The MQTT broker, and how to be its client." },
    Section {
        name: "routes",
        about: "What is subscribed and where it goes: one [[routes]] each. The first that matches \
                takes a message.",
    },
    Section { name: "kafka", about: "The Kafka cluster." },
    Section { name: "delivery", about: "How much may be under way, and for how long." },
    Section { name: "dead_letter", about: "Where messages go that Kafka, or a route, refuses." },
    Section { name: "supervisor", about: "How the bridge restarts what fails inside it." },
    Section { name: "http", about: "Where /livez, /readyz and /metrics are served." },
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
        "Where the bridge remembers what it subscribed, one small file for each client id; a relative path starts at the working directory.",
        "Not writable: a warning; after a restart the bridge does not know which old subscriptions to end.";

    "mqtt.url" => field::URL,
        Form::Url, Required("mqtt://localhost:1883"),
        "The broker; port 1883 if none is given.",
        "While it cannot be reached, the bridge stays up and tries again.";
    "mqtt.client_id" => field!(mqtt.client_id),
        Form::MqttString, Unset("bridge-1"),
        "The name of the session. Keep it stable, and its own for each bridge; required with a persistent session.",
        "Another client with the same name takes the session over; the bridge then backs off.";
    "mqtt.protocol" => field!(mqtt.protocol),
        Form::Choice(Protocol::WORDS), Value("auto"),
        "auto speaks MQTT 5, and 3.1.1 if the broker does not know that: it says so, answers with what is no MQTT 5, closes, or is silent.",
        "With a fixed version that the broker refuses, the bridge tries again and says so.";
    "mqtt.keep_alive" => field!(mqtt.keep_alive),
        Form::Seconds("1s", "65535s"), Value("30s"),
        "Shorter notices a dead connection sooner, and sends more.",
        "Nothing received for one and a half times this: reconnected.";
    "mqtt.session_expiry" => field!(mqtt.session_expiry_s),
        Form::SecondsOrNever("0s", "4294967294s"), Value("1d"),
        "How long the broker keeps messages for an absent bridge; 0s: no persistent session. 3.1.1 knows only 0s or not.",
        "A bridge that was away for longer has lost what was published in the meantime.";
    "mqtt.max_payload" => field!(mqtt.max_payload_bytes),
        Form::Size("1 B", "256 MiB"), Value("1 MiB"),
        "Bounds the memory that one message can take.",
        "A larger payload goes to the dead letter: its beginning, size and hash.";
    "mqtt.resubscribe" => field!(mqtt.resubscribe),
        Form::Choice(Resubscribe::WORDS), Value("always"),
        "3.1.1: subscribe again on each connection (at most once a minute), since a broker restored from a backup may have lost a subscription; or only in a new session. MQTT 5 always does.",
        "always: the broker sends its retained messages again. new_session: a subscription that the broker has lost stays lost until the bridge restarts.";
    "mqtt.unmatched" => field!(mqtt.unmatched),
        Form::Choice(Unmatched::WORDS), Value("dead_letter"),
        "What becomes of a QoS 1 message that no route matches, which an old subscription brings. QoS 0 is always dropped.",
        "Not written, or dead_letter.unmatched_max reached: dropped and counted as filtered; /readyz warns.";
    "mqtt.renumbered_redelivery" => field!(mqtt.renumbered_redelivery),
        Form::Choice(RenumberedRedelivery::WORDS), Value("off"),
        "For brokers that send again under new packet ids after a reconnect (RabbitMQ): on takes what is equal to a message in flight for that message; auto does so once this broker was seen to renumber. See decision 10 for what that can cost.",
        "off: after each reconnect what was in flight is there twice. on, auto: if the broker dropped a message or gave it to another client with this id, a later equal one can be lost.";
    "mqtt.silence_warning" => field!(mqtt.silence_warning),
        Form::DurationOrNever("1s", "365d"), Value("10m"),
        "Some brokers of 3.1.1 grant a shared subscription and never serve it: warn if none of its messages came for so long after SUBACK.",
        "A warning, once for each connection.";
    "mqtt.username" => field::USER_NAME,
        Form::UserName, Unset("bridge"),
        "If the broker asks for it.",
        "Refused by the broker: the bridge tries again and says so.";
    "mqtt.password" => field!(mqtt.password),
        Form::Secret, Unset("${MQTT_PASSWORD}"),
        "Better from the environment, as here, or from a file.",
        "Refused by the broker: the bridge tries again and says so.";
    "mqtt.password_file" => field::PASSWORD_FILE,
        Form::SecretFile, Unset("/run/secrets/mqtt_password"),
        "Read once at the start; a newline at its end is removed. Instead of password.",
        "Not readable: the bridge does not start (exit code 78).";
    "mqtt.connect_timeout" => field!(mqtt.connect_timeout),
        Form::Duration("100ms", "10m"), Value("10s"),
        "Limit for each address of the host, then for CONNACK, then for SUBACK.",
        "Passed: the next address, or a new attempt.";
    "mqtt.reconnect_min" => field!(mqtt.reconnect_min),
        Form::Duration("1ms", "1h"), Value("100ms"),
        "First pause between attempts to connect; it doubles, with jitter.",
        "None: it paces the attempts.";
    "mqtt.reconnect_max" => field!(mqtt.reconnect_max),
        Form::Duration("1ms", "1h"), Value("30s"),
        "Largest pause between attempts to connect.",
        "None: attempts go on for ever.";

    "routes.filter" => field!(routes.filter),
        Form::Filter, Required("sensors/#"),
        "What is subscribed: + stands for one level, # for all that follow, $share/GROUP/ shares the load.",
        "Refused by the broker: loud, and tried again.";
    "routes.qos" => field!(routes.qos),
        Form::Count(0, 1), Value("1"),
        "1: acknowledged after Kafka has it. 0: may be lost on the way.",
        "The broker grants less: loud, and served with what was granted.";
    "routes.kafka_topic" => field!(routes.kafka_topic),
        Form::KafkaTopic, Required("sensors"),
        "Where records go; their key is the MQTT topic.",
        "Missing in Kafka, or not permitted: its messages are held (dead_letter.after).";
    "routes.payload" => field!(routes.payload),
        Form::Choice(PayloadForm::WORDS), Value("raw"),
        "raw: bytes untouched. json: checked, and freed of padding.",
        "What is not JSON on a json route goes to the dead letter.";

    "kafka.brokers" => field!(kafka.brokers),
        Form::Brokers, Required("localhost:9092"),
        "Where to begin; the cluster names the others.",
        "While none can be reached, the bridge stays up, waits and says so.";
    "kafka.properties" => field::PROPERTIES,
        Form::Properties, Unset(""),
        "Any producer property of librdkafka, such as TLS and SASL, as it is.",
        "Unknown, or against what the bridge relies on: it does not start (exit code 78).";

    "delivery.window_messages" => field!(delivery.window_messages),
        Form::Count(1, 65_535), Value("1000"),
        "Messages received and not yet acknowledged: more is faster over a slow link, and repeats more after a crash.",
        "Full: the bridge stops reading, and the broker holds the rest.";
    "delivery.qos0_window_messages" => field!(delivery.qos0_window_messages),
        Form::Count(1, 65_535), Value("10000"),
        "The same for QoS 0, which nobody repeats: more takes longer bursts, and loses more in a crash.",
        "Full: the bridge stops reading, and sheds after delivery.qos0_shed_after.";
    "delivery.window_bytes" => field!(delivery.window_bytes),
        Form::Size("1 KiB", "16 GiB"), Value("16 MiB"),
        "The same in bytes of MQTT topic, payload and MQTT 5 properties; one larger message alone still passes.",
        "Full: the bridge stops reading, and the broker holds the rest.";
    "delivery.drain_deadline" => field!(delivery.drain_deadline),
        Form::Duration("0s", "1h"), Value("8s"),
        "How long a stopping bridge waits for what is in flight; containers are killed after 10s.",
        "Passed: exit code 3; the broker sends the rest again at the next start.";
    "delivery.qos0_shed_after" => field!(delivery.qos0_shed_after),
        Form::DurationOrNever("0s", "1d"), Value("1s"),
        "QoS 0 is shed once the window has been full for so long; never: it waits with the rest.",
        "What is shed is counted and logged.";

    "dead_letter.kafka_topic" => field!(dead_letter.kafka_topic),
        Form::KafkaTopic, Unset("bridge-dead-letter"),
        "Dead letters go to this Kafka topic; without it to the file. What is over its limit is shortened until it fits.",
        "Cannot be written: the message is not acknowledged, its connection is held.";
    "dead_letter.file" => field!(dead_letter.file),
        Form::Path("file"), Value("dead-letter.jsonl"),
        "JSON lines; a relative path starts at the working directory. Made for its owner alone (0600); no symbolic link.",
        "Cannot be opened at the start: exit code 78. Cannot be written later: the message is not acknowledged, its connection is held.";
    "dead_letter.file_max" => field!(dead_letter.file_max_bytes),
        Form::Size("4 KiB", "1 TiB"), Value("100 MiB"),
        "The file's bound; a line that is longer is shortened.",
        "Reached: as if it could not be written.";
    "dead_letter.unmatched_max" => field!(dead_letter.unmatched_max_bytes),
        Form::Size("4 KiB", "1 TiB"), Value("10 MiB"),
        "The bound of dead letters that no route matches (mqtt.unmatched): of their file, which stands beside dead_letter.file, or of what one run of the bridge writes to dead_letter.kafka_topic.",
        "Reached: such messages are dropped and counted as filtered; /readyz warns.";
    "dead_letter.after" => field!(dead_letter.after),
        Form::DurationOrNever("0s", "365d"), Value("never"),
        "A message that Kafka refuses for a cause that may pass is given up after this time.",
        "Passed: dead letter. never: held until the cause is removed.";

    "supervisor.backoff_min" => field!(supervisor.backoff_min),
        Form::Duration("1ms", "1h"), Value("100ms"),
        "First pause before a failed actor is restarted; it doubles, with jitter.",
        "None: it paces the restarts.";
    "supervisor.backoff_max" => field!(supervisor.backoff_max),
        Form::Duration("1ms", "1h"), Value("10s"),
        "Largest pause before a failed actor is restarted.",
        "None: it paces the restarts.";
    "supervisor.failures_max" => field!(supervisor.failures_max),
        Form::Count(1, 1_000_000), Value("8"),
        "Failures of one actor in a row before the bridge gives up.",
        "Reached: exit code 70.";
    "supervisor.hang_after" => field!(supervisor.hang_after),
        Form::Duration("100ms", "1d"), Value("30s"),
        "An actor without progress for so long hangs; waiting for a broker is no hang.",
        "Passed: exit code 75.";

    "http.listen" => field!(http.listen),
        Form::Listen, Value("127.0.0.1:8080"),
        "An IP address and port, or \"off\"; port 0: a free one, which is logged. In a container \"0.0.0.0:8080\".",
        "Not to be had: the bridge does not start (exit code 78).";

    "log.format" => field!(log.format),
        Form::Choice(LogFormat::WORDS), Value("auto"),
        "auto: for people if stderr is a terminal, else JSON lines.",
        "Lines that cannot be written are dropped and counted.";
    "log.level" => field!(log.level),
        Form::Choice(<slog::Level as Choice>::WORDS), Value("info"),
        "The least important level that is written.",
        "Cannot fail.";
    "log.timing" => field!(log.timing),
        Form::Timing, Value("all"),
        "Which messages get a timing record: \"all\", \"slow:50ms\", \"sample:100\" (one in so many), \"off\".",
        "Records that do not fit their buffer are dropped and counted.";
};
