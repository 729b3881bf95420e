//! The configuration, tested with whole files.

mod connections;
mod cookbook;
mod documents;
mod properties;
mod random;
mod recipes;
mod secrecy;
mod sentences;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::keys::{Fallback, Form, Key};
use super::*;
use crate::message::Qos;
use crate::route::{PayloadForm, Template};

/// The smallest legal file.
const MINIMAL: &str = r#"
[mqtt]
url = "mqtt://localhost:1883"
client_id = "bridge-1"

[kafka]
brokers = ["localhost:9092"]

[[routes]]
filter = "sensors/#"
qos = 1
kafka_topic = "sensors"
"#;

fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_toml(text, "config.toml", env(variables))
}

fn legal(text: &str, variables: &[(&str, &str)]) -> Config {
    load(text, variables).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Compares with a file of the repository; with `UPDATE_GOLDEN=1` in the environment, writes it.
fn golden(path: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("a golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (expected, actual)) in expected.lines().zip(actual.lines()).enumerate() {
        assert_eq!(actual, expected, "{path:?}, line {}; UPDATE_GOLDEN=1 refreshes it", line + 1);
    }
    assert_eq!(actual, expected, "{path:?}; UPDATE_GOLDEN=1 refreshes it");
}

#[test]
fn the_minimal_example_is_enough_and_everything_else_has_its_default() {
    let config = legal(MINIMAL, &[]);
    assert_eq!(config.connections[0].addresses, [BrokerAddress::tcp("localhost", 1883)]);
    assert_eq!(config.connections[0].client_id, "bridge-1");
    assert_eq!(config.connections[0].protocol, Protocol::Auto);
    assert_eq!(config.connections[0].keep_alive, Duration::from_secs(30));
    assert_eq!(config.connections[0].session_expiry_s, 86_400);
    assert_eq!(config.connections[0].max_payload_bytes, 1 << 20);
    assert_eq!(config.connections[0].username, None);
    assert_eq!(config.connections[0].password, None);
    assert_eq!(config.data_dir.as_deref(), Some(Path::new(".")));
    assert_eq!(config.connections[0].resubscribe, Resubscribe::Always);
    assert_eq!(config.connections[0].unmatched, Unmatched::DeadLetter);
    assert_eq!(config.connections[0].renumbered_redelivery, RenumberedRedelivery::Off);
    assert_eq!(config.connections[0].silence_warning, Some(Duration::from_secs(600)));
    assert_eq!(config.dead_letter.unmatched_max_bytes, 10 << 20);
    assert_eq!(config.connections[0].connect_timeout, Duration::from_secs(10));
    assert_eq!(config.connections[0].reconnect_min, Duration::from_millis(100));
    assert_eq!(config.connections[0].reconnect_max, Duration::from_secs(30));
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].filter.as_str(), "sensors/#");
    assert_eq!(config.routes[0].qos, Qos::AtLeastOnce);
    assert_eq!(config.routes[0].kafka_topic, Template::fixed("sensors"));
    assert_eq!(config.routes[0].payload, PayloadForm::Raw);
    assert_eq!(config.kafka.brokers, ["localhost:9092"]);
    assert!(config.kafka.properties.is_empty());
    assert_eq!(config.delivery.window_messages, 1000);
    assert_eq!(config.delivery.qos0_window_messages, 10_000);
    assert_eq!(config.delivery.window_bytes, 16 << 20);
    assert_eq!(config.delivery.drain_deadline, Duration::from_secs(8));
    assert_eq!(config.delivery.qos0_shed_after, Some(Duration::from_secs(1)));
    assert_eq!(config.dead_letter.kafka_topic, None);
    assert_eq!(config.dead_letter.file, Path::new("dead-letter.jsonl"));
    assert_eq!(config.dead_letter.file_max_bytes, 100 << 20);
    assert_eq!(config.dead_letter.after, None);
    assert_eq!(config.supervisor.backoff_min, Duration::from_millis(100));
    assert_eq!(config.supervisor.backoff_max, Duration::from_secs(10));
    assert_eq!(config.supervisor.failures_max, 8);
    assert_eq!(config.supervisor.hang_after, Duration::from_secs(30));
    assert_eq!(config.http.listen, Some(([127, 0, 0, 1], 8080).into()));
    assert_eq!(config.log.format, LogFormat::Auto);
    assert_eq!(config.log.level, slog::Level::Info);
    assert_eq!(config.log.timing, TimingPolicy::All);
}

/// Another value for a key, by its form; `secret` is the path of a file with a secret.
fn other_value(key: &Key, secret: &str) -> String {
    let text = match (key.path, &key.form) {
        // Not above its maximum.
        ("mqtt.reconnect_min" | "supervisor.backoff_min", _) => "7ms",
        // The only connection.
        ("routes.from", _) => "mqtt",
        (_, Form::SecretFile | Form::File) => secret,
        (_, Form::Truth) => match key.fallback {
            Fallback::Value("true") => "false",
            _ => "true",
        },
        (_, Form::Proxy) => "socks5://[::1]:2000",
        (_, Form::Urls) => "ws://a/path,unix:///run/b.sock",
        (_, Form::List(_)) => "other.name, second",
        (_, Form::Partition) => "7",
        (_, Form::Condition) => "{qos} = 1",
        (_, Form::Timestamp | Form::DeviceTime) => "json./a~1b/0",
        (_, Form::RecordHeaders) => "mqtt.topic,bridge.connection,site={mqtt_topic}",
        (_, Form::Sample) => "1/7",
        (_, Form::KafkaTopicConfig) => "cleanup.policy=compact,retention.ms=7",
        (_, Form::UserProperties | Form::Headers) => "other=name, second=b=c",
        (_, Form::MqttTopic) => "other/{client_id}",
        (_, Form::Url) => "mqtt://[::1]:2000",
        (_, Form::Filter) => "$share/group/+/x",
        (_, Form::Brokers) => "a:9092,b:9092",
        (_, Form::Listen) => "[::]:80",
        (_, Form::Timing) => "slow:7ms",
        (_, Form::Properties) => "7",
        (_, Form::Choice(words)) => {
            let other = words.iter().rfind(
                |word| !matches!(key.fallback, Fallback::Value(default) if default == **word),
            );
            other.expect("more than one word")
        }
        (_, Form::Count(0, 1)) => "0",
        (_, Form::Count(..)) => "7",
        (_, Form::Size(..)) => "7 MiB",
        (
            _,
            Form::Duration(..)
            | Form::DurationOrNever(..)
            | Form::Seconds(..)
            | Form::SecondsOrNever(..),
        ) => "77s",
        (
            _,
            Form::MqttString
            | Form::UserName
            | Form::Secret
            | Form::Name
            | Form::Group
            | Form::ServerName
            | Form::Path(_)
            | Form::KafkaTopic
            | Form::KafkaTopicTemplate
            | Form::Template
            | Form::Text
            | Form::Base64
            | Form::RouteName
            | Form::HeaderName,
        ) => "other.name",
    };
    text.to_owned()
}

/// Finds two rows that name the same field, and a row whose field is not printed.
#[test]
fn every_key_can_be_set_by_environment_and_changes_its_own_line_of_check_and_no_other() {
    let secret = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(secret.path(), "other.name.16.bytes\n").expect("a file can be written");
    let secret = secret.path().to_str().expect("a path of UTF-8");
    for key in keys::KEYS {
        // Alone they are about nothing; `tests/properties.rs` has them.
        if properties::OF_A_LOGIN.contains(&key.path) {
            continue;
        }
        let value = other_value(key, secret);
        let Some(variable) = key.variable() else { continue };
        // What the key needs beside it.
        let needed: &[(&str, &str)] = match (key.path, key.section()) {
            // MQTT 5 allows a password alone.
            ("mqtt.password" | "mqtt.password_file" | "mqtt.password_command", _) => {
                &[("BRIDGE_MQTT__PROTOCOL", "5")]
            }
            ("mqtt.websocket_headers", _) => &[("BRIDGE_MQTT__URL", "ws://localhost")],
            ("mqtt.tls.cert_file" | "mqtt.tls.key_file" | "mqtt.tls.key_password_file", _) => &[
                ("BRIDGE_MQTT__URL", "mqtts://localhost"),
                ("BRIDGE_MQTT__TLS__CERT_FILE", "/dev/null"),
                ("BRIDGE_MQTT__TLS__KEY_FILE", "/dev/null"),
            ],
            ("http.cert_file" | "http.key_file", _) => {
                &[("BRIDGE_HTTP__CERT_FILE", "/dev/null"), ("BRIDGE_HTTP__KEY_FILE", "/dev/null")]
            }
            (
                "routes.create_partitions" | "routes.create_replication" | "routes.create_config",
                _,
            ) => &[("BRIDGE_ROUTES__0__MISSING_TOPIC", "create")],
            ("routes.bridge_id_from", _) => &[("BRIDGE_ROUTES__0__BRIDGE_ID", "true")],
            (_, "mqtt.tls") => &[("BRIDGE_MQTT__URL", "mqtts://localhost")],
            ("mqtt.status.mqtt_topic", _) => &[],
            (_, "mqtt.status") => &[("BRIDGE_MQTT__STATUS__MQTT_TOPIC", "status")],
            _ => &[],
        };
        let shown_as = match key.form {
            Form::Properties => "\"linger.ms\"",
            _ => key.name(),
        };
        let minimal = match key.path {
            "mqtt.urls" => &MINIMAL.replace("url = ", "urls = "),
            _ => MINIMAL,
        };
        let plain = legal(minimal, needed);
        let config = legal(minimal, &[needed, &[(&variable, &value)]].concat());
        assert_ne!(config, plain, "{}", key.path);
        let (before, after) = (plain.describe(), config.describe());
        let lines = |text: &str| {
            let is_key = |line: &&str| line.contains(" = ");
            text.lines().filter(is_key).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let changed: Vec<_> = lines(&after).difference(&lines(&before)).cloned().collect();
        // A group has a name, and a status has what belongs to it.
        let also = |line: &&String| match key.path {
            "mqtt.connections" => line.starts_with("group = "),
            "mqtt.status.mqtt_topic" => !line.starts_with("mqtt_topic = "),
            _ => false,
        };
        let changed: Vec<_> = changed.iter().filter(|line| !also(line)).collect();
        let [line] = &changed[..] else { panic!("{} changes {changed:?}", key.path) };
        let is_its_own = line.starts_with(&format!("{shown_as} = "));
        assert!(is_its_own, "{} changes {line}", key.path);
        let password = match key.path {
            "mqtt.password" => "other.name".into(),
            "mqtt.password_file" => Password::File(secret.into()),
            "mqtt.password_command" => {
                Password::Command(vec!["other.name".to_owned(), "second".to_owned()])
            }
            _ => continue,
        };
        assert_eq!(config.connections[0].password, Some(password), "{}", key.path);
    }
}

#[test]
fn each_limit_in_the_table_is_legal_itself() {
    for key in keys::KEYS {
        let legal = |text: &str| {
            let value = value::Value::Text(text.to_owned());
            match key.form {
                Form::Count(..) | Form::Size(..) => key.form.number(&value).is_ok(),
                _ => key.form.duration(&value).is_ok(),
            }
        };
        match key.form {
            Form::Count(min, max) => {
                for (number, expected) in
                    [(min, true), (max, true), (min.wrapping_sub(1), false), (max + 1, false)]
                {
                    assert_eq!(legal(&number.to_string()), expected, "{} {number}", key.path);
                }
            }
            Form::Duration(min, max)
            | Form::DurationOrNever(min, max)
            | Form::Seconds(min, max)
            | Form::SecondsOrNever(min, max)
            | Form::Size(min, max) => {
                assert!(legal(min) && legal(max), "{}", key.path);
            }
            _ => {}
        }
    }
}

#[test]
fn the_environment_appends_routes_one_past_the_end() {
    let config = legal(
        MINIMAL,
        &[
            ("BRIDGE_ROUTES__0__QOS", "0"),
            ("BRIDGE_ROUTES__1__FILTER", "a/+"),
            ("BRIDGE_ROUTES__1__KAFKA_TOPIC", "a"),
            ("BRIDGE_ROUTES__2__FILTER", "b/+"),
            ("BRIDGE_ROUTES__2__KAFKA_TOPIC", "b"),
        ],
    );
    let filters: Vec<_> = config.routes.iter().map(|route| route.filter.as_str()).collect();
    assert_eq!(filters, ["sensors/#", "a/+", "b/+"]);
    assert_eq!(config.routes[0].qos, Qos::AtMostOnce);
    assert_eq!(config.routes[2].qos, Qos::AtLeastOnce);
}

#[test]
fn user_name_and_password_are_taken_as_given_or_refused_where_a_version_has_no_such_login() {
    for protocol in ["auto", "5", "3.1.1"] {
        for username in [None, Some(""), Some("u")] {
            for password in [None, Some(""), Some("p")] {
                let key = |name: &str, value: Option<&str>| {
                    value.map_or_else(String::new, |value| format!("{name} = \"{value}\"\n"))
                };
                let keys = format!(
                    "protocol = \"{protocol}\"\n{}{}client_id",
                    key("username", username),
                    key("password", password),
                );
                let loaded = load(&MINIMAL.replace("client_id", &keys), &[]);
                // [MQTT-3.1.2-22] of MQTT 3.1.1, which `auto` may use.
                if protocol != "5" && username.is_none() && password.is_some() {
                    let errors = loaded.expect_err(&keys).to_string();
                    assert!(errors.contains("mqtt.username: expected a user name"), "{errors}");
                    continue;
                }
                let mqtt = &loaded.expect(&keys).connections[0];
                assert_eq!(mqtt.username.as_ref().map(Secret::expose), username, "{keys}");
                assert_eq!(mqtt.password.as_ref().and_then(Password::fixed), password, "{keys}");
            }
        }
    }
}

#[test]
fn names_that_orchestrators_inject_are_ignored() {
    let variables = [("BRIDGE_PORT", "tcp://10.0.0.1:1883"), ("BRIDGE_SERVICE_HOST", "10.0.0.1")];
    assert_eq!(legal(MINIMAL, &variables), legal(MINIMAL, &[]));
}

#[test]
fn a_configuration_can_come_from_the_environment_alone() {
    let config = legal(
        "",
        &[
            ("BRIDGE_MQTT__URL", "mqtt://user:p%40ss@broker"),
            ("BRIDGE_MQTT__SESSION_EXPIRY", "0s"),
            ("BRIDGE_KAFKA__BROKERS", "a:9092, b:9092"),
            ("BRIDGE_KAFKA__PROPERTIES__LINGER_MS", "1"),
            ("BRIDGE_ROUTES__0__FILTER", "$SYS/#"),
            ("BRIDGE_ROUTES__0__KAFKA_TOPIC", "sys"),
        ],
    );
    assert_eq!(config.connections[0].addresses[0].endpoint.to_string(), "broker:1883");
    assert_eq!(config.connections[0].username, Some("user".into()));
    assert_eq!(config.connections[0].password.as_ref().and_then(Password::fixed), Some("p@ss"));
    assert_eq!(config.connections[0].client_id, "");
    assert_eq!(config.kafka.brokers, ["a:9092", "b:9092"]);
    assert_eq!(config.kafka.properties["linger.ms"], "1");
}

#[test]
fn variables_are_filled_in_where_a_dollar_has_a_brace_and_nowhere_else() {
    let text = MINIMAL
        .replace("bridge-1", "${HOST}-$$-${_x1}-$")
        .replace("sensors/#", "$share/g/$${{a}}/#")
        .replace("[\"localhost:9092\"]", "[\"${HOST}:1\", \"b:2\"]");
    let config = legal(&text, &[("HOST", "node"), ("_x1", "${HOST}")]);
    assert_eq!(config.connections[0].client_id, "node-$-${HOST}-$");
    assert_eq!(config.routes[0].filter.as_str(), "$share/g/${a}/#");
    assert_eq!(config.kafka.brokers, ["node:1", "b:2"]);
    // Nothing is replaced in a variable that names a key.
    let config = legal(MINIMAL, &[("BRIDGE_MQTT__CLIENT_ID", "$${HOST}")]);
    assert_eq!(config.connections[0].client_id, "$${HOST}");
}

#[test]
fn one_newline_at_the_end_of_a_secret_file_is_no_part_of_the_secret() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("a path of UTF-8");
    for (content, password) in [("s", "s"), ("s\n", "s"), ("s\r\n", "s"), ("s\n\n", "s\n")] {
        std::fs::write(path, content).expect("a file can be written");
        assert_eq!(secret_file::read(path).as_deref(), Ok(password));
    }
}

#[test]
fn librdkafka_properties_are_one_table_however_they_are_written() {
    let dotted = "\n[kafka.properties]\nlinger.ms = 2\nsocket.keepalive.enable = true\n";
    let quoted =
        "\n[kafka.properties]\n\"linger.ms\" = \"2\"\n\"socket.keepalive.enable\" = \"true\"\n";
    let config = legal(&format!("{MINIMAL}{dotted}"), &[]);
    assert_eq!(config, legal(&format!("{MINIMAL}{quoted}"), &[]));
    assert_eq!(config.kafka.properties["linger.ms"], "2");
}

#[test]
fn a_property_that_says_what_the_bridge_sets_is_no_contradiction() {
    let same = "
        [kafka.properties]
        bootstrap.servers = \"localhost:9092\"
        acks = \"all\"
        request.required.acks = -1
        enable.idempotence = \"true\"
        delivery.timeout.ms = 0
        max.in.flight = 5
        retries = 2147483647
        enable.gapless.guarantee = true
        compression.type = \"LZ4\"
        linger.ms = 0.5
    ";
    legal(&format!("{MINIMAL}{same}"), &[]);
}

/// Under every name that librdkafka 2.12 has for a property.
#[test]
fn a_contradiction_is_found_behind_every_alias() {
    for (name, value, bridge) in [
        ("bootstrap.servers", "other:9092", "kafka.brokers"),
        ("metadata.broker.list", "other:9092", "kafka.brokers"),
        ("acks", "1", "acks=all"),
        ("acks", "all1", "acks"),
        ("request.required.acks", "0", "acks=all"),
        ("topic.acks", "1", "under its own name, acks"),
        ("topic.request.required.acks", "1", "under its own name, request.required.acks"),
        ("retries", "10", "retries=2147483647"),
        ("message.send.max.retries", "2147483646", "retries=2147483647"),
        ("enable.idempotence", "false", "enable.idempotence=true"),
        ("enable.idempotence", "f", "enable.idempotence=true"),
        ("message.timeout.ms", "300000", "message.timeout.ms=0"),
        ("delivery.timeout.ms", "300000", "message.timeout.ms=0"),
        ("topic.delivery.timeout.ms", "1", "under its own name, delivery.timeout.ms"),
        ("enable.gapless.guarantee", "false", "enable.gapless.guarantee=true"),
        ("max.in.flight", "6", "enable.idempotence=true"),
        ("max.in.flight.requests.per.connection", "6", "enable.idempotence=true"),
    ] {
        let text = format!("{MINIMAL}[kafka.properties]\n{name} = {value:?}\n");
        let errors = load(&text, &[]).expect_err(name).to_string();
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains(&format!("kafka.properties.{name}: ")), "{errors}");
        assert!(errors.contains(bridge), "{errors}");
    }
}

#[test]
fn a_description_loads_again_and_means_the_same() {
    let text = MINIMAL
        .replace("sensors/#", "$share/g/$$$${{x}}\\\"\\\\\\u0001/#")
        .replace("localhost:1883", "[::1]")
        .replace("[kafka]", "session_expiry = \"never\"\nmax_payload = \"1000 B\"\n[kafka]")
        + "[kafka.properties]\nclient.id = \"$$$$\"\n[log]\ntiming = \"sample:9\"\nlevel = \"trace\"\n\
           [delivery]\nqos0_shed_after = \"never\"\n[dead_letter]\nafter = \"1h 1ms\"\n\
           kafka_topic = \"d\"\n";
    let routes = "
        name = \"a\"
        key = \"\"
        partition = 3
        tombstone = \"empty\"
        timestamp = \"user.ts\"
        timestamp_max_skew = \"never\"
        headers = \"mqtt\"
        missing_topic = \"create\"
        create_partitions = 3
        create_config = { \"retention.ms\" = 1000 }
        sample = \"1/3\"
        [[routes.tests]]
        mqtt_topic = \"sensors/1\"
        payload = \"{\\n}\"
        retain = true
        user_properties = { a = \"$$$${b}\" }
        key = \"\"
        headers = { a = \"b\" }
        partition = 3
        [[routes.tests]]
        mqtt_topic = \"sensors/2\"
        payload_base64 = \"AP8=\"
        tombstone = true
        [[routes]]
        filter = \"actors/#\"
        kafka_topic = \"actors\"
        headers = [\"mqtt.user\", \"x=y\"]
        [[routes.tests]]
        mqtt_topic = \"actors/1\"
        payload_file = \"a.json\"
        qos = 0
        connection = \"mqtt\"
        dropped = \"dedupe\"
        [[routes.tests]]
        mqtt_topic = \"actors/2\"
        dead_letter = \"value_missing\"
    ";
    let routes = format!("match = \"all\"\nreload = \"watch\"\n{MINIMAL}{routes}");
    let counts: Vec<_> = legal(&routes, &[]).routes.iter().map(|route| route.tests.len()).collect();
    assert_eq!(counts, [2, 2]);
    for text in [MINIMAL, &text, &routes] {
        let config = legal(text, &[]);
        assert_eq!(legal(&config.describe(), &[]), config, "{}", config.describe());
    }
}

#[test]
fn the_configuration_that_tests_begin_with_is_legal_and_stays_on_this_machine() {
    let config = Config::for_test();
    let again = legal(&config.describe(), &[]);
    assert_eq!(Config { data_dir: None, ..again }, config);
    let [mqtt] = &config.connections[..] else { panic!("one connection") };
    assert_eq!((&*mqtt.name, mqtt.addresses[0].scheme()), ("mqtt", "mqtt"));
    assert!(config.kafka.brokers.iter().all(|broker| broker.starts_with("127.0.0.1:")));
    assert_eq!(config.http.listen, None);
}

#[test]
fn a_description_has_every_key_that_has_a_value_and_no_secret() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "hunter2").expect("a file can be written");
    let secrets = "
        [dead_letter]
        kafka_topic = \"d\"
        [kafka.properties]
        security.protocol = \"SASL_SSL\"
        sasl.mechanism = \"PLAIN\"
        sasl.username = \"u\"
        sasl.password = \"hunter2\"
        ssl.key.password = \"hunter2\"
        ssl.keystore.password = \"hunter2\"
    ";
    let path = file.path().to_str().expect("a path of UTF-8");
    let variables = [
        ("BRIDGE_MQTT__USERNAME", "u"),
        ("BRIDGE_MQTT__PASSWORD_FILE", path),
        ("BRIDGE_MQTT__URL", "mqtts://h"),
        ("BRIDGE_MQTT__STATUS__MQTT_TOPIC", "status"),
    ];
    let config = legal(&format!("{MINIMAL}{secrets}"), &variables);
    let text = config.describe();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!format!("{:?}", config.connections).contains("hunter2"));
    assert_eq!(text.matches("[redacted]").count(), 3, "{text}");
    // The optional keys without a default are set one by one in another test.
    let has_value = |key: &&Key| !matches!(key.fallback, Fallback::Unset(_)) && !key.is_of_test();
    for key in keys::KEYS.iter().filter(has_value) {
        assert!(text.contains(key.name()), "{} is missing in {text}", key.path);
    }
}

#[test]
fn a_debug_print_of_the_configuration_shows_no_secret_property() {
    let text = format!(
        "{MINIMAL}[kafka.properties]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"PLAIN\"\nsasl.username = \"u\"\nsasl.password = \"hunter2\"\n"
    );
    let config = legal(&text, &[]);
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

#[test]
fn what_may_come_twice_or_never_over_mqtt_311_is_warned_of() {
    let with = |filters: &[(&str, u8)], protocol: &str| {
        let routes: String = filters
            .iter()
            .map(|(filter, qos)| {
                format!("[[routes]]\nfilter = {filter:?}\nqos = {qos}\nkafka_topic = \"k\"\n")
            })
            .collect();
        let text = MINIMAL.split("[[routes]]").next().unwrap_or_default().to_owned() + &routes;
        let mut said = legal(&text, &[("BRIDGE_MQTT__PROTOCOL", protocol)]).warnings();
        said.retain(|line| {
            !line.contains("can never take a message")
                && !line.contains("takes some of the messages")
        });
        said
    };
    for (filters, warnings) in [
        (&[("a/#", 1), ("b/#", 1)][..], 0),
        (&[("a/#", 1), ("a/b", 1)], 0),
        (&[("a/#", 0), ("a/b", 1)], 1),
        (&[("a/+", 1), ("+/b", 1), ("#", 0)], 3),
        (&[("$share/g/a", 1)], 1),
    ] {
        for protocol in ["auto", "3.1.1"] {
            let said = with(filters, protocol);
            assert_eq!(said.len(), warnings, "{said:?}");
            assert!(said.iter().all(|line| line.contains("over MQTT 3.1.1")), "{said:?}");
        }
        assert_eq!(with(filters, "5"), Vec::<String>::new());
    }
    // No version lets the bridge recognise the copies of a group.
    for (protocol, warnings) in [("5", 1), ("3.1.1", 3)] {
        let said = with(&[("$share/g/a/+", 1), ("$share/g/+/b", 1)], protocol);
        assert_eq!(said.len(), warnings, "{said:?}");
        assert!(said.iter().any(|line| line.contains("perhaps to different members")), "{said:?}");
    }
}

#[test]
fn mqtt_in_a_list_of_headers_stands_for_all_of_mqtt() {
    let with = |headers: &str| MINIMAL.to_owned() + "headers = " + headers + "\n";
    let items = |headers: &str| legal(&with(headers), &[]).routes[0].headers.items.clone();
    let (all, both) = (items("\"mqtt\""), items("[\"unit=x\", \"mqtt\"]"));
    assert_eq!(both[1..], all[..]);
    assert_eq!(items("[\"mqtt\"]"), all);
    for twice in ["[\"mqtt\", \"mqtt.qos\"]", "[\"mqtt.qos\", \"mqtt\"]"] {
        let error = load(&with(twice), &[]).expect_err(twice).to_string();
        assert!(error.contains("expected each header once, found \"mqtt.qos\" twice"), "{error}");
    }
}

#[test]
fn a_header_has_no_white_space_around_its_name() {
    for headers in ["[\"unit = x\"]", "[\" unit=x\"]"] {
        let error = load(&(MINIMAL.to_owned() + "headers = " + headers + "\n"), &[]);
        let error = error.expect_err(headers).to_string();
        assert!(error.contains("expected NAME={template}, without white space"), "{error}");
    }
}

#[test]
fn a_key_of_the_top_is_sent_there_from_any_section() {
    let route = MINIMAL.to_owned() + "match = \"all\"\n";
    let kafka = MINIMAL.replace("[kafka]\n", "[kafka]\nreload = \"watch\"\n");
    for (text, key) in [(&route, "match"), (&kafka, "reload")] {
        let error = load(text, &[]).expect_err(key).to_string();
        let expected = format!("`{key}` stands at the top of the file, before the first section");
        assert!(error.contains(&expected), "{error}");
    }
}

/// The warnings about these routes over MQTT 5.
fn warned(before: &str, routes: &[&str], after: &str) -> Vec<String> {
    let head = MINIMAL.split("[[routes]]").next().unwrap_or_default();
    let routes: String = routes.iter().map(|route| format!("[[routes]]\n{route}\n")).collect();
    legal(&format!("{before}\n{head}{routes}{after}"), &[("BRIDGE_MQTT__PROTOCOL", "5")]).warnings()
}

#[test]
fn a_route_that_an_earlier_one_takes_from_is_warned_of_unless_one_contains_the_other() {
    for (filters, expected) in [
        (&["a/+", "+/b"][..], Some(("routes[1].filter: \"a/+\" of routes[0]", "\"a/b\""))),
        (&["a/+/c", "z", "a/b/#"], Some(("routes[2].filter: \"a/+/c\" of routes[0]", "\"a/b/c\""))),
        (&["+/#", "$SYS/+"], None),
        // The special one before the general one, as it is meant to be.
        (&["sensors/+/temp", "sensors/#"], None),
        (&["a/b", "a/+"], None),
        (&["a/b/#", "a/+"], Some(("routes[1].filter", "\"a/b\""))),
        // What both match goes to a third one before them.
        (&["a/b", "a/+", "+/b"], None),
        (&["a/+", "a/b", "+/b"], Some(("routes[2].filter: \"a/+\" of routes[0]", "\"a/b\""))),
        (&["a/+", "b/+"], None),
    ] {
        let routes: Vec<_> = filters
            .iter()
            .map(|filter| format!("filter = \"{filter}\"\nkafka_topic = \"x\""))
            .collect();
        let routes: Vec<_> = routes.iter().map(String::as_str).collect();
        let mut said = warned("", &routes, "");
        assert_eq!(
            warned("match = \"all\"", &routes, "").iter().find(|it| it.contains("stands before")),
            None
        );
        said.retain(|line| !line.contains("can never take"));
        match (expected, &said[..]) {
            (None, []) => {}
            (Some((begins, example)), [one]) => {
                assert!(
                    one.starts_with(begins) && one.contains(&format!("such as {example}")),
                    "{one}"
                );
            }
            _ => panic!("{filters:?}: {said:?}"),
        }
    }
    let named = [
        "name = \"one\"\nfilter = \"a/{b}\"\nkafka_topic = \"x\"",
        "filter = \"{a}/b\"\nkafka_topic = \"x\"",
    ];
    let [said] = &warned("", &named, "")[..] else { panic!("one warning") };
    assert!(said.contains("of routes[0] (\"one\") takes some"), "{said}");
    // Of different connections, neither takes anything from the other.
    let apart = [
        "from = [\"mqtt\"]\nfilter = \"a/+\"\nkafka_topic = \"x\"",
        "from = [\"other\"]\nfilter = \"+/b\"\nkafka_topic = \"x\"",
    ];
    let text = MINIMAL
        .split("[[routes]]")
        .next()
        .unwrap_or_default()
        .replace("[mqtt]", "[[mqtt]]\nprotocol = \"5\"\nname = \"mqtt\"");
    let other =
        "[[mqtt]]\nname = \"other\"\nurl = \"mqtt://other\"\nclient_id = \"b\"\nprotocol = \"5\"\n";
    let text = format!("{text}{other}[[routes]]\n{}\n[[routes]]\n{}\n", apart[0], apart[1]);
    assert_eq!(legal(&text, &[]).warnings(), Vec::<String>::new());
}

#[test]
fn what_several_connections_warn_of_is_said_once_and_hides_nothing_else() {
    let mut text = String::new();
    for n in 0..12 {
        text += &format!(
            "[[mqtt]]\nname = \"m{n}\"\nurl = \"mqtt://h{n}\"\nclient_id = \"c{n}\"\nprotocol = \"5\"\n"
        );
    }
    text += "[kafka]\nbrokers = [\"localhost:9092\"]\n";
    let mut route = |filter: &str, from: &str| {
        text += &format!("[[routes]]\nfilter = \"{filter}\"\nkafka_topic = \"x\"\n{from}\n");
    };
    for n in 0..4 {
        route(&format!("{n}/a/+"), "");
        route(&format!("{n}/+/b"), "");
    }
    route("5/a/+", "from = [\"m11\"]");
    route("5/+/b", "from = [\"m11\"]");
    let said = legal(&text, &[]).warnings();
    assert_eq!(said.len(), 5, "{said:?}");
    assert!(said[4].contains("\"5/a/b\""), "{said:?}");
}

#[test]
fn of_very_many_warnings_the_first_are_said_and_that_there_are_more() {
    let pairs = (0..30).map(|n| format!("{n}/+")).chain((0..30).map(|n| format!("+/{n}")));
    let routes: Vec<_> =
        pairs.map(|filter| format!("filter = \"{filter}\"\nkafka_topic = \"x\"")).collect();
    let routes: Vec<_> = routes.iter().map(String::as_str).collect();
    let said = warned("", &routes, "");
    assert_eq!(said.len(), 21);
    assert_eq!(said.last().map(String::as_str), Some("and more of this kind"));
}

#[test]
fn a_default_that_may_be_meant_as_a_function_is_warned_of() {
    for (line, expected) in [
        (
            "key = \"{json./a|power}\"",
            Some("routes[0].key: in {json./a|power}, power is no function"),
        ),
        ("headers = [\"a={json./a|lower|power}\"]", Some("routes[0].headers: ")),
        ("drop_if = \"{json./a|power} = 1\"", Some("routes[0].drop_if: ")),
        (
            "bridge_id = true\nbridge_id_from = \"{json./a|power}\"",
            Some("routes[0].bridge_id_from: "),
        ),
        ("key = \"{json./a|default:power}\"", None),
        ("key = \"{json./a|unknown}\"", None),
        ("key = \"{json./a|n/a}\"", None),
    ] {
        let said = warned("", &[&format!("filter = \"a\"\nkafka_topic = \"x\"\n{line}")], "");
        match (expected, &said[..]) {
            (None, []) => {}
            (Some(expected), [one]) => assert!(one.starts_with(expected), "{one}"),
            _ => panic!("{line}: {said:?}"),
        }
    }
}

#[test]
fn routes_that_may_surprise_are_warned_of() {
    let with = warned;
    let (wide, narrow) =
        ("filter = \"a/#\"\nkafka_topic = \"x\"", "filter = \"a/b\"\nkafka_topic = \"x\"");
    for (before, routes, after, expected) in [
        ("", &[wide, narrow][..], "", "routes[1].filter: the route can never take a message"),
        (
            "match = \"all\"",
            &[wide, narrow],
            "",
            "routes[1].kafka_topic: a message that routes[0] matches too",
        ),
        (
            "",
            &["filter = \"a\"\nkafka_topic = \"x.y\"", "filter = \"b\"\nkafka_topic = \"x_y\""],
            "",
            "routes[1].kafka_topic: \"x_y\" differs from \"x.y\" of routes[0] only in . and _",
        ),
        (
            "",
            &["filter = \"{a}\"\nkafka_topic = \"dead-{a}\""],
            "[dead_letter]\nkafka_topic = \"dead-letters\"",
            "routes[0].kafka_topic: a publisher could fill",
        ),
        (
            "",
            &["filter = \"{a}\"\nkafka_topic = \"{a}.{json./b}.x\""],
            "[dead_letter]\nkafka_topic = \"dead.letters.x\"",
            "routes[0].kafka_topic: a publisher could fill",
        ),
        (
            "",
            &[
                "filter = \"a/{b}\"\nkafka_topic = \"x.{b}\"",
                "filter = \"b\"\nkafka_topic = \"x_y\"",
            ],
            "",
            "routes[0].kafka_topic: \"x.{b}\" could be filled to a name that differs from \"x_y\"",
        ),
        (
            "",
            &["filter = \"a\"\nkafka_topic = \"x\"\nmissing_topic = \"create\""],
            "",
            "routes[0].missing_topic: it has no effect",
        ),
    ] {
        let said = with(before, routes, after);
        assert!(matches!(&said[..], [one] if one.contains(expected)), "{expected}: {said:?}");
    }
    let tombstone = |lines: &str| {
        let kafka_topic =
            if lines.starts_with("kafka_topic") { "" } else { "kafka_topic = \"x\"\n" };
        with("", &[&format!("filter = \"a\"\ntombstone = \"empty\"\n{kafka_topic}{lines}")], "")
    };
    for (lines, expected) in [
        ("kafka_topic = \"x.{json./b|c}\"", "routes[0].kafka_topic: with tombstone = \"empty\""),
        ("key = \"{json./b|c}\"", "routes[0].key: "),
        ("partition = \"{json./b}\"", "routes[0].partition: "),
        ("keep_if = \"{qos} = 1 and {json./b} exists\"", "routes[0].keep_if: "),
        (
            "keep_if = \"{json./b} > 5\"",
            "what lets it pass is not {json.} exists or ({json./b} > 5)",
        ),
        (
            "drop_if = \"not {json./b} > 5\"",
            "routes[0].drop_if: with tombstone = \"empty\", a message without payload has no JSON fields and is \
             dropped: no key is deleted; what lets it pass is {json.} exists and (not {json./b} > 5)",
        ),
        ("headers = [\"b={json./b}\"]", "routes[0].headers: "),
        ("bridge_id = true\nbridge_id_from = \"{json./b}\"", "routes[0].bridge_id_from: "),
        (
            "timestamp = \"json./ts\"\ntimestamp_invalid = \"dead_letter\"",
            "routes[0].timestamp: with tombstone = \"empty\", a message without payload has no json./ts",
        ),
        ("key = \"\"", "routes[0].key: with tombstone = \"empty\", a record without a key"),
    ] {
        let said = tombstone(lines);
        assert!(matches!(&said[..], [one] if one.contains(expected)), "{expected}: {said:?}");
    }
    for lines in [
        "drop_if = \"{json./b} exists\"",
        "headers = [\"b={json./b|c}\"]",
        "key = \"{qos}\"",
        "timestamp = \"json./ts\"",
        "keep_if = \"{qos} = 1 or {json./b} > 5\"",
        // What the warning advises.
        "keep_if = \"not {json.} exists or ({json./b} > 5)\"",
        "drop_if = \"{json.} exists and (not {json./b} > 5)\"",
    ] {
        assert_eq!(tombstone(lines), [""; 0], "{lines}");
    }
    // The other way round each has something to take.
    for template in ["{a}.readings", "dead.{a}.readings", "{a}-letter", "dead-letters-{a}"] {
        let route = format!("filter = \"{{a}}\"\nkafka_topic = \"{template}\"");
        let said = with("", &[&route], "[dead_letter]\nkafka_topic = \"dead-letters\"");
        assert_eq!(said, [""; 0], "{template}");
    }
    assert_eq!(with("", &[narrow, wide], ""), Vec::<String>::new());
    let user = MINIMAL.to_owned() + "key = \"{user.id|none}\"\n";
    let said = legal(&user, &[("BRIDGE_MQTT__PROTOCOL", "3.1.1")]).warnings();
    assert!(said.iter().any(|line| line.contains("the source user never has a value")), "{said:?}");
    for (line, expected) in [
        ("timestamp = \"user.ts\"", Some("the source user never has a value")),
        ("device_time = \"user.ts\"", Some("the source user never has a value")),
        (
            "headers = [\"mqtt.topic\", \"mqtt.expiry\"]",
            Some("the header mqtt.expiry never has a value"),
        ),
        ("headers = \"mqtt\"", None),
        ("headers = [\"mqtt.qos\"]", None),
        ("key = \"x{{user.}}\"", None),
        ("drop_if = \"{content_type} = 'a'\"", Some("the source content_type never has a value")),
    ] {
        let text = format!("{MINIMAL}{line}\n");
        let said = legal(&text, &[("BRIDGE_MQTT__PROTOCOL", "3.1.1")]).warnings();
        let found = said.iter().find(|line| line.contains("never has a value"));
        assert!(
            found.is_some() == expected.is_some()
                && found.is_none_or(|line| expected.is_some_and(|it| line.contains(it))),
            "{line}: {said:?}"
        );
    }
    let shown = legal(&user, &[]).describe();
    assert!(shown.contains("# \"sensors/#\" takes messages that it matches"), "{shown}");
    assert!(shown.contains("ordered by key"), "{shown}");
}
