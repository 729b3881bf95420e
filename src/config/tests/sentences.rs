//! The errors for wrong configurations: `testdata/sentences.txt`.

use std::fmt::Write;

use super::{MINIMAL, env, golden, load};
use crate::config::Config;

/// A change of the minimal example, by replacement or by lines at its end, and the variables of the
/// environment.
struct Case(&'static str, &'static str, &'static [(&'static str, &'static str)]);

const CASES: &[Case] = &[
    Case("", "[mqtt", &[]),
    Case("", "a = 1\na = 2", &[]),
    Case("", "[mqtt]\n[kafka]\n", &[]),
    Case("[kafka]", "[kafak]", &[]),
    Case("[kafka]", "brokers = 1\n[kafka]", &[]),
    Case("url", "ulr", &[]),
    Case("[kafka]", "[[mqtt]]\nurl = \"mqtt://b\"\n[kafka]", &[]),
    Case("", "[kafka.properties]\nsasl_password_file = \"x\"", &[]),
    Case("[kafka]", "[kafka]\nsasl_username = \"x\"\nlinger_ms = 5", &[]),
    Case(
        "",
        "[kafka.properties]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"scram-sha-512\"",
        &[],
    ),
    Case("[mqtt]", "loglevel = 1\n[mqtt]", &[]),
    Case("[mqtt]", "log = \"info\"\n[mqtt]", &[]),
    Case("[[routes]]", "[routes]", &[]),
    Case("[[routes]]", "[[route]]", &[]),
    Case("mqtt://", "http://", &[]),
    Case("mqtt://localhost", "unix://localhost", &[]),
    Case("mqtt://localhost:1883", "wss://localhost/mqtt#x", &[]),
    Case("mqtt://localhost:1883", "localhost", &[]),
    Case("url =", "urls =", &[("BRIDGE_MQTT__URL", "mqtt://h")]),
    Case("url =", "broker =", &[]),
    Case("[kafka]", "ssl_ca = \"x\"\n[kafka]", &[]),
    Case("[kafka]", "tls_ca = \"x\"\n[kafka]", &[]),
    Case("[kafka]", "clean_session = true\n[kafka]", &[]),
    Case("[kafka]", "topic = \"x\"\n[kafka]", &[]),
    Case("[kafka]", "tls = true\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.will]\n[kafka]", &[]),
    Case("[kafka]", "[tls]\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.tls]\nca = \"x\"\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.tls]\nca_file = \"/nonexistent/ca.pem\"\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.tls]\nmin_version = 1.2\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.tls]\nmin_version = \"1.3\"\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.tls]\ninsecure_skip_verify = \"yes\"\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.tls]\nserver_name = \"h:1\"\n[kafka]", &[]),
    Case("mqtt://localhost:1883\"", "mqtts://h\"\ntls.server_name = \".example.com\"", &[]),
    Case("mqtt://localhost:1883\"", "mqtts://h\"\ntls.server_name = \"[::1]\"", &[]),
    Case("mqtt://localhost", "mqtts://.example.com", &[]),
    Case("sensors/#", "$exclusive/a\"\nfrom = \"mqtt", &[("BRIDGE_MQTT__CONNECTIONS", "2")]),
    Case("sensors/#", "$exclusive/a", &[("BRIDGE_MQTT__GROUP", "g")]),
    Case("[kafka]", "[mqtt.tls]\nalpn = []\n[kafka]", &[]),
    Case("mqtt://localhost:1883\"", "mqtts://h\"\ntls.cert_file = \"/dev/null\"", &[]),
    Case("mqtt://localhost:1883\"", "mqtts://h\"\ntls.key_file = \"/dev/null\"", &[]),
    Case("mqtt://localhost:1883\"", "mqtts://h\"\ntls.key_password_file = \"/dev/null\"", &[]),
    Case("[kafka]", "websocket_headers = { X = \"y\" }\n[kafka]", &[]),
    Case("mqtt://localhost:1883\"", "ws://h\"\nwebsocket_headers = { \"X Y\" = \"y\" }", &[]),
    Case("mqtt://localhost:1883\"", "ws://h\"\nwebsocket_headers = { Host = \"y\" }", &[]),
    Case("mqtt://localhost:1883\"", "ws://h\"\nwebsocket_headers = { X = \"hunter2\\n\" }", &[]),
    Case("mqtt://localhost:1883\"", "ws://h\"\nwebsocket_headers = [\"X: hunter2\"]", &[]),
    Case("mqtt://localhost:1883\"", "unix:///s\"\nproxy = \"http://p:1\"", &[]),
    Case("[kafka]", "proxy = \"http://p\"\n[kafka]", &[]),
    Case("[kafka]", "proxy = \"https://u:hunter2@p:1\"\n[kafka]", &[]),
    Case("[kafka]", "protocol = \"3.1.1\"\nuser_properties = { a = \"b\" }\n[kafka]", &[]),
    Case("[kafka]", "user_properties = { a = 1 }\n[kafka]", &[]),
    Case("[kafka]", "password_command = \"token\"\n[kafka]", &[]),
    Case("[kafka]", "password_command = []\n[kafka]", &[]),
    Case("[kafka]", "password_command = \"curl -H A:hunter2 https://h\"\n[kafka]", &[]),
    Case("[kafka]", "connections = 65\n[kafka]", &[]),
    Case("[kafka]", "group = \"a/b\"\n[kafka]", &[]),
    Case("[kafka]", "name = \"a b\"\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.status]\nonline = \"here\"\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.status]\nmqtt_topic = \"a/#\"\n[kafka]", &[]),
    Case("[kafka]", "[mqtt.status]\nmqtt_topic = \"sensors/me\"\n[kafka]", &[]),
    Case("[kafka]", "connections = 2\n[mqtt.status]\nmqtt_topic = \"me\"\n[kafka]", &[]),
    Case("bridge-1", "bridge-{host}", &[]),
    Case("", "from = [\"plant\"]", &[]),
    Case("", "from = []", &[]),
    Case("", "[http]\ntoken_file = \"/dev/null\"", &[]),
    Case("", "[http]\ncert_file = \"/dev/null\"", &[]),
    Case("", "[http]\nkey_file = \"/dev/null\"", &[]),
    Case("", "[http]\nhost_names = [\"h:80\"]", &[]),
    Case("", "[http]\nmetrics_token = 1", &[]),
    Case("[mqtt]", "[[mqtt]]\n[[mqtt]]", &[]),
    Case("", "", &[("BRIDGE_MQTT__2__URL", "mqtt://h")]),
    Case("", "", &[("BRIDGE_MQTT__TLS__CA", "x")]),
    Case("mqtt://localhost:1883", "mqtt://user:hunter2@", &[]),
    Case("mqtt://localhost:1883", "mqtt://user:hunter2@host/path", &[]),
    Case("mqtt://localhost:1883", "mqtt://user:hunter2", &[]),
    Case("localhost:1883", "localhost:0", &[]),
    Case("localhost:1883", "localhost:70000", &[]),
    Case("localhost:1883", "h\u{e4}st", &[]),
    Case("\"mqtt://localhost:1883\"", "1883", &[]),
    Case("client_id = \"bridge-1\"", "", &[]),
    Case("bridge-1", "", &[]),
    Case("\"bridge-1\"", "7", &[]),
    Case("bridge-1", "\\u0000", &[]),
    Case("[kafka]", "protocol = \"4\"\n[kafka]", &[]),
    Case("[kafka]", "protocol = 5\n[kafka]", &[]),
    Case("[kafka]", "keep_alive = 30\n[kafka]", &[]),
    Case("[kafka]", "keep_alive = \"0s\"\n[kafka]", &[]),
    Case("[kafka]", "keep_alive = \"1500ms\"\n[kafka]", &[]),
    Case("[kafka]", "keep_alive = \"19h\"\n[kafka]", &[]),
    Case("[kafka]", "keep_alive = \"soon\"\n[kafka]", &[]),
    Case("[kafka]", "session_expiry = 0\n[kafka]", &[]),
    Case("[kafka]", "session_expiry = \"1.5s\"\n[kafka]", &[]),
    Case("[kafka]", "max_payload = 1048576\n[kafka]", &[]),
    Case("[kafka]", "max_payload = \"1048576\"\n[kafka]", &[]),
    Case("[kafka]", "max_payload = \"1 GiB\"\n[kafka]", &[]),
    Case("[kafka]", "connect_timeout = \"1ms\"\n[kafka]", &[]),
    Case("[kafka]", "reconnect_min = \"5s\"\nreconnect_max = \"1s\"\n[kafka]", &[]),
    Case("[kafka]", "reconnect_max = \"50ms\"\n[kafka]", &[]),
    Case("[kafka]", "password = \"hunter2\"\n[kafka]", &[]),
    Case("[kafka]", "password = 1234567\n[kafka]", &[]),
    Case(
        "[kafka]",
        "username = \"u\"\npassword = \"hunter2\"\npassword_file = \"/dev/null\"\n[kafka]",
        &[],
    ),
    Case("[kafka]", "username = \"u\"\npassword_file = \"/nonexistent/secret\"\n[kafka]", &[]),
    Case("localhost:1883\"", "a:hunter2@b\"\nusername = \"u\"\npassword = \"hunter2\"", &[]),
    Case("qos = 1", "qos = 2", &[]),
    Case("qos = 1", "qos = 3", &[]),
    Case("qos = 1", "qos = \"high\"", &[]),
    Case("qos = 1", "qos = 1.0", &[]),
    Case("sensors/#", "", &[]),
    Case("sensors/#", "sensors/#/x", &[]),
    Case("sensors/#", "sensors/a+", &[]),
    Case("sensors/#", "$share/g", &[]),
    Case("sensors/#", "a\\u0000b", &[]),
    Case("\"sensors\"", "\"\"", &[]),
    Case("\"sensors\"", "\"..\"", &[]),
    Case("\"sensors\"", "\"a/b\"", &[]),
    Case("\"sensors\"", "[\"sensors\"]", &[]),
    Case("kafka_topic = \"sensors\"", "", &[]),
    Case("", "[[routes]]\nfilter = \"$share/g/sensors/a\"\nkafka_topic = \"b\"", &[]),
    Case("sensors/#", "$share/g/a\"\nkafka_topic = \"b\"\n[[routes]]\nfilter = \"$share/h/+", &[]),
    Case("[mqtt]", "data_dir = 1\n[mqtt]", &[]),
    Case("[kafka]", "renumbered_redelivery = true\n[kafka]", &[]),
    Case("[kafka]", "unmatched = \"keep\"\n[kafka]", &[]),
    Case("", "payload = \"avro\"", &[]),
    Case("", "name = \"\"", &[]),
    Case("", "name = \"a\"\n[[routes]]\nname = \"a\"\nfilter = \"a\"\nkafka_topic = \"b\"", &[]),
    Case("[mqtt]", "match = \"any\"\n[mqtt]", &[]),
    Case("[mqtt]", "reload = true\n[mqtt]", &[]),
    Case("", "partition = -1", &[]),
    Case("", "partition = \"two\"", &[]),
    Case("", "key = 7", &[]),
    Case("", "decompress = \"lz4\"", &[]),
    Case("", "decompress_max = 8", &[]),
    Case("", "tombstone = true", &[]),
    Case("", "timestamp = \"now\"", &[]),
    Case("", "timestamp = \"json.ts\"", &[]),
    Case("", "timestamp = \"json./a~2\"", &[]),
    Case("", "timestamp = \"user.\"", &[]),
    Case("", "device_time = \"received\"", &[]),
    Case("", "device_time = \"json.ts\"", &[]),
    Case("", "timestamp_unit = \"seconds\"", &[]),
    Case("", "timestamp_max_skew = 1", &[]),
    Case("", "timestamp_invalid = \"drop\"", &[]),
    Case("", "headers = true", &[]),
    Case("", "headers = []", &[]),
    Case("", "headers = [\"mqtt.topics\"]", &[]),
    Case("", "headers = [\"mqtt.topic\", \"mqtt.topic\"]", &[]),
    Case("", "headers = [\"=x\"]", &[]),
    Case("", "bridge_id_from = \"x\"", &[]),
    Case("", "missing_topic = \"make\"", &[]),
    Case("", "create_partitions = 3", &[]),
    Case("", "missing_topic = \"create\"\ncreate_config = { \"Cleanup Policy\" = 1 }", &[]),
    Case("", "retained = \"drop\"", &[]),
    Case("", "keep_if = true", &[]),
    Case("", "sample = \"2/3\"", &[]),
    Case("", "sample = \"1/0\"", &[]),
    Case("", "dedupe = \"yes\"", &[]),
    Case("[kafka]", "[kafka]\nkafka_topics_max = 0", &[]),
    Case("sensors/#", "sensors/{a}/{a}", &[]),
    Case("sensors/#", "sensors/{qos}", &[]),
    Case("sensors/#", "sensors/{a", &[]),
    Case("", "key = \"{site}\"", &[]),
    Case("sensors/#\"", "sensors/{site}/#\"\nkey = \"{sit}\"", &[]),
    Case("", "key = \"{json.a}\"", &[]),
    Case("", "key = \"{mqtt_topic|uper:}\"", &[]),
    Case("", "headers = [\"x={y}\"]", &[]),
    Case("", "tests = 1", &[]),
    Case("", "tests = [1]", &[]),
    Case("", "[routes.test]\nx = 1", &[]),
    Case("", "[[routes.tests]]", &[]),
    Case("", "[[routes.tests]]\nmqtt_topic = \"sensors/#\"\nvalue = 1", &[]),
    Case("", "[[routes.tests]]\nmqtt_topic = \"sensors/1\"", &[]),
    Case("", "[[routes.tests]]\ntopic = \"a\"", &[]),
    Case(
        "",
        "[[routes.tests]]\nmqtt_topic = \"a\"\nvalue = \"b\"\n[[routes.tests]]\n\
         mqtt_topic = \"a\"\nvalue = \"b\"\ndropped = \"dedupe\"\npayload = \"c\"\n\
         payload_base64 = \"ZA==\"",
        &[],
    ),
    Case("", "[[routes.tests]]\nmqtt_topic = \"a\"\npayload_base64 = \"?\"\nkey = \"a\"", &[]),
    Case("", "[[routes.tests]]\nmqtt_topic = \"a\"\ndropped = \"late\"", &[]),
    Case("", "[[routes.tests]]\nmqtt_topic = \"a\"\nkey = \"\"\nconnection = \"b\"", &[]),
    Case("", "topic = \"x\"", &[]),
    Case("", "[[routes]]\nfilter = \"sensors/#\"\nkafka_topic = \"b\"", &[]),
    Case("[\"localhost:9092\"]", "[]", &[]),
    Case("[\"localhost:9092\"]", "\"\"", &[]),
    Case("[\"localhost:9092\"]", "[9092]", &[]),
    Case("localhost:9092", "localhost", &[]),
    Case("localhost:9092", "PLAINTEXT://localhost:9092", &[]),
    Case("localhost:9092", "localhost:0", &[]),
    Case("[\"localhost:9092\"]", "\"a:1,b\"", &[]),
    Case("", "[kafka.property]\nacks = 1", &[]),
    Case("", "[kafka.properties]\nacks = 1\ndelivery.timeout.ms = 300000", &[]),
    Case("", "[kafka.properties]\nmetadata.broker.list = \"b:1\"", &[]),
    Case("", "[kafka.properties]\nmax.in.flight = 10", &[]),
    Case("", "[kafka.properties]\nenable.idempotence = false", &[]),
    Case("", "[kafka.properties]\nenable.gapless.guarantee = false", &[]),
    Case("", "[kafka.properties]\ndelivery.report.only.error = false", &[]),
    Case("", "[kafka.properties]\ntransactional.id = \"t\"", &[]),
    Case("", "[kafka.properties]\nplugin.library.paths = \"x.so\"", &[]),
    Case("", "[kafka.properties]\ngroup.id = \"g\"", &[]),
    Case("", "[kafka.properties]\nlingre.ms = 1", &[]),
    Case("", "[kafka.properties]\nsasl.pasword = \"hunter2\"", &[]),
    Case("", "[kafka.properties]\nlinger.ms = \"5ms\"", &[]),
    Case("", "[kafka.properties]\nlinger.ms = -1", &[]),
    Case("", "[kafka.properties]\nbatch.size = 4294967297", &[]),
    Case("", "[kafka.properties]\nlinger.ms = [1]", &[]),
    Case("", "[kafka.properties]\nlinger.ms = 1\nqueue.buffering.max.ms = 2", &[]),
    Case("", "[kafka.properties]\ncompression.type = \"brotli\"", &[]),
    Case("", "[kafka.properties]\ndr_cb = \"x\"", &[]),
    Case("", "[kafka.properties]\nretries = 0", &[]),
    Case("", "[kafka.properties]\nqueuing.strategy = \"lifo\"", &[]),
    Case("", "[kafka.properties]\nsasl.password = \"\\u0000\"", &[]),
    Case("[[routes]]", "properties = 5\n[[routes]]", &[]),
    Case("", "[delivery]\nwindow_messages = 0", &[]),
    Case("", "[delivery]\nwindow_messages = 65536", &[]),
    Case("", "[delivery]\nwindow_messages = \"many\"", &[]),
    Case("", "[delivery]\nqos0_window_messages = 0", &[]),
    Case("", "[delivery]\nwindow_bytes = \"1 B\"", &[]),
    Case("", "[delivery]\ndrain_deadline = 8", &[]),
    Case("", "[delivery]\ndrain_deadline = \"never\"", &[]),
    Case("", "[delivery]\nqos0_shed_after = false", &[]),
    Case("", "[dead_letter]\nkafka_topic = \"sensors\"", &[]),
    Case("", "[dead_letter]\nkafka_topic = \"a b\"", &[]),
    Case("", "[dead_letter]\nfile = \"\"", &[]),
    Case("", "[dead_letter]\nfile_max = \"1 B\"", &[]),
    Case("", "[dead_letter]\nafter = 1979-05-27", &[]),
    Case("", "[supervisor]\nbackoff_min = \"1m\"", &[]),
    Case("", "[supervisor]\nfailures_max = 0", &[]),
    Case("", "[supervisor]\nhang_after = \"0s\"", &[]),
    Case("", "[http]\nlisten = \"localhost\"", &[]),
    Case("", "[http]\nlisten = 8080", &[]),
    Case("", "[log]\nformat = \"xml\"", &[]),
    Case("", "[log]\nlevel = \"warn\"", &[]),
    Case("", "[log]\ntiming = \"slow:50\"", &[]),
    Case("", "[log]\ntiming = \"sample:0\"", &[]),
    Case("bridge-1", "${UNSET}", &[]),
    Case("bridge-1", "${", &[]),
    Case("bridge-1", "${a b}", &[]),
    Case("", "", &[("BRIDGE_KAFKA__BROKER", "x")]),
    Case("", "", &[("BRIDGE_KAFKA__PROPERTIES", "x")]),
    Case("", "", &[("BRIDGE_KAFKA__PROPERTIES__ACKS", "1")]),
    Case("", "", &[("BRIDGE_KAFKA__PROPERTIES__LINGER_XS", "1")]),
    Case("", "", &[("bridge_MQTT__URL", "ignored"), ("BRIDGE_mqtt__url", "x")]),
    Case("", "", &[("BRIDGE_MQTT__PASSWRD", "hunter2")]),
    Case("", "", &[("BRIDGE_ROUTES__2__FILTER", "a")]),
    Case("", "", &[("BRIDGE_ROUTES__FILTER", "a")]),
    Case("", "", &[("BRIDGE_ROUTES__1__FILTER", "a")]),
    Case(
        "",
        "",
        &[("BRIDGE_ROUTES__1__FILTER", "sensors/#"), ("BRIDGE_ROUTES__1__KAFKA_TOPIC", "a")],
    ),
    Case("", "", &[("BRIDGE_DELIVERY__WINDOW_MESSAGES", "0")]),
    Case("", "", &[("BRIDGE_MQTT__KEEP_ALIVE", "30")]),
    Case(
        "bridge-1\"",
        "b\"\nkeep_alive = 1\nmax_payload = 1\npasswrd = \"hunter2\"",
        &[("BRIDGE_LOG__LEVEL", "loud")],
    ),
];

#[test]
fn every_refusal_says_where_what_was_found_and_what_is_allowed() {
    let mut sentences = String::new();
    for Case(from, to, variables) in CASES {
        let text = if from.is_empty() {
            format!("{MINIMAL}{to}\n")
        } else {
            assert!(MINIMAL.contains(from), "{from:?} is not in the minimal example");
            MINIMAL.replacen(from, to, 1)
        };
        let what = if from.is_empty() { format!("+ {to}") } else { format!("{from} -> {to}") };
        let errors =
            load(&text, variables).map_or_else(|errors| errors.to_string(), |_| String::new());
        assert!(!errors.is_empty(), "{what:?} {variables:?} is not refused");
        assert!(!errors.contains("hunter2") && !errors.contains("1234567"), "a secret: {errors}");
        assert!(!errors.contains('\0'), "{errors}");
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let what = format!("{what} {}", variables.join(" ")).replace('\n', "; ");
        writeln!(sentences, "{}\n    {}\n", what.trim_end(), errors.replace('\n', "\n    "))
            .expect("writing to a string cannot fail");
    }
    golden("src/config/testdata/sentences.txt", &sentences);
}

#[test]
fn everything_wrong_is_told_at_once_by_line() {
    let text = MINIMAL.replace("sensors/#", "#/x").replace("localhost:9092", "x")
        + "[logs]\n[log]\nlevel = 1";
    let errors =
        load(&text, &[("BRIDGE_MQTT__KEEP_ALIVE", "0s")]).expect_err("five errors").to_string();
    let places: Vec<_> = errors.lines().map(|line| line.split(": ").next().unwrap_or("")).collect();
    assert_eq!(
        places,
        [
            "config.toml:7",
            "config.toml:10",
            "config.toml:13",
            "config.toml:15",
            "BRIDGE_MQTT__KEEP_ALIVE"
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let path = std::path::Path::new("/nonexistent/config.toml");
    let errors = Config::load(path, env(&[])).expect_err("no such file").to_string();
    assert!(
        errors.starts_with("/nonexistent/config.toml: expected a file that can be read"),
        "{errors}"
    );
}
