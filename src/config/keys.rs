//! Every key that a configuration can have: the one table that reading, `config.toml`,
//! `docs/configuration.md` and the complaints about unknown keys all rest on.

use std::fmt;

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

/// What may be written.
#[derive(Debug)]
pub enum Form {
    /// A string; what it is.
    Text(&'static str),
    /// A string that no output shows.
    Secret,
    /// Strings; what each is. One string with commas is a list too.
    List(&'static str),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// An integer within these limits, both included.
    Count(u64, u64),
    /// A string such as "5s" within these limits, both included.
    Duration(&'static str, &'static str),
    /// A [`Form::Duration`], or "never".
    DurationOrNever(&'static str, &'static str),
    /// A [`Form::Duration`] in whole seconds.
    Seconds(&'static str, &'static str),
    /// A [`Form::Seconds`], or "never".
    SecondsOrNever(&'static str, &'static str),
    /// A string such as "10 MiB" within these limits, both included.
    Size(&'static str, &'static str),
    /// `http.listen`
    Listen,
    /// `log.timing`
    Timing,
    /// A table of librdkafka properties.
    Properties,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(what) => f.write_str(what),
            Self::Secret => f.write_str("a string"),
            Self::List(what) => write!(f, "a list of {what}"),
            Self::Choice(words) => {
                let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                f.write_str(&quoted.join(" or "))
            }
            Self::Count(0, 1) => f.write_str("0 or 1"),
            Self::Count(min, max) => write!(f, "{min} to {max}"),
            Self::Duration(min, max) => {
                write!(f, "a duration with its unit such as \"5s\", {min} to {max}")
            }
            Self::DurationOrNever(min, max) => {
                write!(f, "a duration with its unit such as \"5s\", {min} to {max}, or \"never\"")
            }
            Self::Seconds(min, max) => {
                write!(f, "a duration in whole seconds such as \"5s\", {min} to {max}")
            }
            Self::SecondsOrNever(min, max) => {
                write!(f, "a duration in whole seconds such as \"5s\", {min} to {max}, or \"never\"")
            }
            Self::Size(min, max) => {
                write!(f, "a size with its unit such as \"10 MiB\", {min} to {max}")
            }
            Self::Listen => {
                f.write_str("an IP address and port such as \"0.0.0.0:8080\", or \"off\"")
            }
            Self::Timing => f.write_str(
                "\"all\" or \"slow:50ms\" (a duration) or \"sample:100\" (1 to 4294967295) or \"off\"",
            ),
            Self::Properties => f.write_str("a table of librdkafka properties"),
        }
    }
}

impl Form {
    /// The limits alone, where there are some.
    pub fn limits(&self) -> Option<String> {
        match self {
            Self::Text(_)
            | Self::Secret
            | Self::List(_)
            | Self::Listen
            | Self::Timing
            | Self::Properties => None,
            Self::Choice(_) | Self::Count(..) => Some(self.to_string()),
            Self::Duration(min, max) | Self::Seconds(min, max) | Self::Size(min, max) => {
                Some(format!("{min} to {max}"))
            }
            Self::DurationOrNever(min, max) | Self::SecondsOrNever(min, max) => {
                Some(format!("{min} to {max}, or \"never\""))
            }
        }
    }
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
            Form::List(_) => {
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

/// The key of this path.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

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
    ($($path:literal, $form:expr, $fallback:expr, $why:literal, $failure:literal;)*) => {
        &[$(Key {
            path: $path, form: $form, fallback: $fallback, why: $why, failure: $failure,
        },)*]
    };
}

use Fallback::{Required, Unset, Value};

/// All keys, by section.
pub const KEYS: &[Key] = keys! {
    "data_dir", Form::Text("the path of a directory"), Value("."),
        "Where the bridge remembers what it subscribed, one small file for each client id; a relative path starts at the working directory.",
        "Not writable: a warning; after a restart the bridge does not know which old subscriptions to end.";

    "mqtt.url", Form::Text("mqtt://host or mqtt://host:port"), Required("mqtt://localhost:1883"),
        "The broker; port 1883 if none is given.",
        "While it cannot be reached, the bridge stays up and tries again.";
    "mqtt.client_id", Form::Text("a string of at most 65535 bytes"), Unset("bridge-1"),
        "The name of the session. Keep it stable, and its own for each bridge; required with a persistent session.",
        "Another client with the same name takes the session over; the bridge then backs off.";
    "mqtt.protocol", Form::Choice(&["auto", "5", "3.1.1"]), Value("auto"),
        "auto speaks MQTT 5, and 3.1.1 if the broker does not know that: it says so, answers with what is no MQTT 5, closes, or is silent.",
        "With a fixed version that the broker refuses, the bridge tries again and says so.";
    "mqtt.keep_alive", Form::Seconds("1s", "65535s"), Value("30s"),
        "Shorter notices a dead connection sooner, and sends more.",
        "Nothing received for one and a half times this: reconnected.";
    "mqtt.session_expiry", Form::SecondsOrNever("0s", "4294967294s"), Value("1d"),
        "How long the broker keeps messages for an absent bridge; 0s: no persistent session. 3.1.1 knows only 0s or not.",
        "A bridge that was away for longer has lost what was published in the meantime.";
    "mqtt.max_payload", Form::Size("1 B", "256 MiB"), Value("1 MiB"),
        "Bounds the memory that one message can take.",
        "A larger payload goes to the dead letter: its beginning, size and hash.";
    "mqtt.resubscribe", Form::Choice(&["always", "new_session"]), Value("always"),
        "3.1.1: subscribe again on each connection (at most once a minute), since a broker restored from a backup may have lost a subscription; or only in a new session. MQTT 5 always does.",
        "always: the broker sends its retained messages again. new_session: a subscription that the broker has lost stays lost until the bridge restarts.";
    "mqtt.unmatched", Form::Choice(&["dead_letter", "drop"]), Value("dead_letter"),
        "What becomes of a QoS 1 message that no route matches, which an old subscription brings. QoS 0 is always dropped.",
        "Not written, or dead_letter.unmatched_max reached: dropped and counted as filtered; /readyz warns.";
    "mqtt.renumbered_redelivery", Form::Choice(&["off", "auto", "on"]), Value("off"),
        "For brokers that send again under new packet ids after a reconnect (RabbitMQ): on takes what is equal to a message in flight for that message; auto does so once this broker was seen to renumber. See decision 10 for what that can cost.",
        "off: after each reconnect what was in flight is there twice. on, auto: if the broker dropped a message or gave it to another client with this id, a later equal one can be lost.";
    "mqtt.silence_warning", Form::DurationOrNever("1s", "365d"), Value("10m"),
        "Some brokers of 3.1.1 grant a shared subscription and never serve it: warn if none of its messages came for so long after SUBACK.",
        "A warning, once for each connection.";
    "mqtt.username", Form::Text("a string of at most 65535 bytes"), Unset("bridge"),
        "If the broker asks for it.",
        "Refused by the broker: the bridge tries again and says so.";
    "mqtt.password", Form::Secret, Unset("${MQTT_PASSWORD}"),
        "Better from the environment, as here, or from a file.",
        "Refused by the broker: the bridge tries again and says so.";
    "mqtt.password_file", Form::Text("the path of a file"), Unset("/run/secrets/mqtt_password"),
        "Read once at the start; a newline at its end is removed. Instead of password.",
        "Not readable: the bridge does not start (exit code 78).";
    "mqtt.connect_timeout", Form::Duration("100ms", "10m"), Value("10s"),
        "Limit for each address of the host, then for CONNACK, then for SUBACK.",
        "Passed: the next address, or a new attempt.";
    "mqtt.reconnect_min", Form::Duration("1ms", "1h"), Value("100ms"),
        "First pause between attempts to connect; it doubles, with jitter.",
        "None: it paces the attempts.";
    "mqtt.reconnect_max", Form::Duration("1ms", "1h"), Value("30s"),
        "Largest pause between attempts to connect.",
        "None: attempts go on for ever.";

    "routes.filter", Form::Text("an MQTT filter"), Required("sensors/#"),
        "What is subscribed: + stands for one level, # for all that follow, $share/GROUP/ shares the load.",
        "Refused by the broker: loud, and tried again.";
    "routes.qos", Form::Count(0, 1), Value("1"),
        "1: acknowledged after Kafka has it. 0: may be lost on the way.",
        "The broker grants less: loud, and served with what was granted.";
    "routes.kafka_topic", Form::Text("a Kafka topic name"), Required("sensors"),
        "Where records go; their key is the MQTT topic.",
        "Missing in Kafka, or not permitted: its messages are held (dead_letter.after).";
    "routes.payload", Form::Choice(&["raw", "json"]), Value("raw"),
        "raw: bytes untouched. json: checked, and freed of padding.",
        "What is not JSON on a json route goes to the dead letter.";

    "kafka.brokers", Form::List("host:port"), Required("localhost:9092"),
        "Where to begin; the cluster names the others.",
        "While none can be reached, the bridge stays up, waits and says so.";
    "kafka.properties", Form::Properties, Unset(""),
        "Any producer property of librdkafka, such as TLS and SASL, as it is.",
        "Unknown, or against what the bridge relies on: it does not start (exit code 78).";

    "delivery.window_messages", Form::Count(1, 65_535), Value("1000"),
        "Messages received and not yet acknowledged: more is faster over a slow link, and repeats more after a crash.",
        "Full: the bridge stops reading, and the broker holds the rest.";
    "delivery.qos0_window_messages", Form::Count(1, 65_535), Value("10000"),
        "The same for QoS 0, which nobody repeats: more takes longer bursts, and loses more in a crash.",
        "Full: the bridge stops reading, and sheds after delivery.qos0_shed_after.";
    "delivery.window_bytes", Form::Size("1 KiB", "16 GiB"), Value("16 MiB"),
        "The same in bytes of MQTT topic, payload and MQTT 5 properties; one larger message alone still passes.",
        "Full: the bridge stops reading, and the broker holds the rest.";
    "delivery.drain_deadline", Form::Duration("0s", "1h"), Value("8s"),
        "How long a stopping bridge waits for what is in flight; containers are killed after 10s.",
        "Passed: exit code 3; the broker sends the rest again at the next start.";
    "delivery.qos0_shed_after", Form::DurationOrNever("0s", "1d"), Value("1s"),
        "QoS 0 is shed once the window has been full for so long; never: it waits with the rest.",
        "What is shed is counted and logged.";

    "dead_letter.kafka_topic", Form::Text("a Kafka topic name"), Unset("bridge-dead-letter"),
        "Dead letters go to this Kafka topic; without it to the file. What is over its limit is shortened until it fits.",
        "Cannot be written: the message is not acknowledged, its connection is held.";
    "dead_letter.file", Form::Text("the path of a file"), Value("dead-letter.jsonl"),
        "JSON lines; a relative path starts at the working directory. Made for its owner alone (0600); no symbolic link.",
        "Cannot be opened at the start: exit code 78. Cannot be written later: the message is not acknowledged, its connection is held.";
    "dead_letter.file_max", Form::Size("4 KiB", "1 TiB"), Value("100 MiB"),
        "The file's bound; a line that is longer is shortened.",
        "Reached: as if it could not be written.";
    "dead_letter.unmatched_max", Form::Size("4 KiB", "1 TiB"), Value("10 MiB"),
        "The bound of dead letters that no route matches (mqtt.unmatched): of their file, which stands beside dead_letter.file, or of what one run of the bridge writes to dead_letter.kafka_topic.",
        "Reached: such messages are dropped and counted as filtered; /readyz warns.";
    "dead_letter.after", Form::DurationOrNever("0s", "365d"), Value("never"),
        "A message that Kafka refuses for a cause that may pass is given up after this time.",
        "Passed: dead letter. never: held until the cause is removed.";

    "supervisor.backoff_min", Form::Duration("1ms", "1h"), Value("100ms"),
        "First pause before a failed actor is restarted; it doubles, with jitter.",
        "None: it paces the restarts.";
    "supervisor.backoff_max", Form::Duration("1ms", "1h"), Value("10s"),
        "Largest pause before a failed actor is restarted.",
        "None: it paces the restarts.";
    "supervisor.failures_max", Form::Count(1, 1_000_000), Value("8"),
        "Failures of one actor in a row before the bridge gives up.",
        "Reached: exit code 70.";
    "supervisor.hang_after", Form::Duration("100ms", "1d"), Value("30s"),
        "An actor without progress for so long hangs; waiting for a broker is no hang.",
        "Passed: exit code 75.";

    "http.listen", Form::Listen, Value("127.0.0.1:8080"),
        "An IP address and port, or \"off\"; port 0: a free one, which is logged. In a container \"0.0.0.0:8080\".",
        "Not to be had: the bridge does not start (exit code 78).";

    "log.format", Form::Choice(&["auto", "json", "terminal"]), Value("auto"),
        "auto: for people if stderr is a terminal, else JSON lines.",
        "Lines that cannot be written are dropped and counted.";
    "log.level", Form::Choice(&["critical", "error", "warning", "info", "debug", "trace"]),
        Value("info"),
        "The least important level that is written.",
        "Cannot fail.";
    "log.timing", Form::Timing, Value("all"),
        "Which messages get a timing record: \"all\", \"slow:50ms\", \"sample:100\" (one in so many), \"off\".",
        "Records that do not fit their buffer are dropped and counted.";
};
