//! No error and no output of `check` shows a secret, wherever it is written and whatever is wrong.

use super::{MINIMAL, load};

/// The secret, written everywhere.
const SECRET: &str = "hunter2";

/// Correct and wrong ways to write a value; `@` is the secret.
const VALUES: &[&str] = &[
    r#""@""#,
    r#""${SECRET}""#,
    r#""x${SECRET}y""#,
    "'@'",
    "\"\"\"\n@\"\"\"",
    r#"["@"]"#,
    r#"[["${SECRET}"]]"#,
    r#""\u0000@""#,
    r#""@\u0000""#,
    r#"{ a = "@" }"#,
    r#""@"#,
    "@",
    r#""@" "@""#,
    r#""@"@"#,
    "'@",
    "\"\"\"@",
    r#""a\@""#,
    r#"["@""#,
    r#""@\q""#,
    "\"@\n\"",
    "\"\n@\"",
    "$@",
    r#""${@""#,
    r#""${SECRET""#,
    "1@",
    "0x@",
    r#""@" # @"#,
    r#""-----BEGIN PRIVATE KEY-----\n@""#,
];

/// The keys at which a user may write a secret, misspelt and misplaced ones included.
const PLACES: &[(&str, &str)] = &[
    ("mqtt", "password"),
    ("mqtt", "passwrd"),
    ("mqtt", "username"),
    ("mqtt", "password_file"),
    ("mqtt", "websocket_headers"),
    ("mqtt", "websocket_header"),
    ("mqtt", "password_comand"),
    ("mqtt.tls", "key_password_file"),
    ("mqtt.tls", "key_password"),
    ("http", "token_file"),
    ("http", "token"),
    ("kafka.properties", "sasl.password"),
    ("kafka.properties", "sasl.pasword"),
    ("kafka.properties", "SASL.PASSWORD"),
    ("kafka.properties", "topic.sasl.password"),
    ("kafka.properties", "sasl.jaas.config"),
    ("kafka.properties", "sasl.mechanism"),
    ("kafka.properties", "sasl.oauthbearer.config"),
    ("kafka.properties", "sasl.oauthbearer.client.secret"),
    ("kafka.properties", "sasl.oauthbearer.token.endpoint"),
    ("kafka", "sasl_password_file"),
    ("kafka", "oauth_client_secret_file"),
    ("kafka.properties", "ssl.key.pem"),
    ("kafka.properties", "ssl.key.password"),
    ("kafka.properties", "ssl.keystore.password"),
    ("kafka.properties", "ssl.truststore.password"),
    ("kafka.properties", "ssl.endpoint.identification.algorithm"),
    ("kafka.properties", "ssl.whatever"),
    ("kafka.properties", "nonsense"),
    ("http", "password"),
    ("nonsense", "password"),
];

fn assert_hidden(what: &str, text: &str, variables: &[(&str, &str)]) {
    let said = match load(text, variables) {
        Ok(config) => {
            format!("{}{:?}{:?}", config.describe(), config.key_values(), config.kafka)
        }
        Err(errors) => errors.to_string(),
    };
    assert!(!said.contains(SECRET), "{what}: {said}\n{text}");
}

#[test]
fn no_value_where_a_secret_can_be_is_told_however_it_is_written() {
    for (section, name) in PLACES {
        for value in VALUES {
            let line = format!("{name} = {}", value.replace('@', SECRET));
            let text = match *section {
                "mqtt" => MINIMAL.replace("[kafka]", &format!("{line}\n[kafka]")),
                _ => format!("{MINIMAL}[{section}]\n{line}\n"),
            };
            assert_hidden(name, &text, &[("SECRET", SECRET)]);
            // And together with another error, so that `check` prints errors instead of values.
            let broken = text.replace("[\"localhost:9092\"]", "[]");
            assert_hidden(name, &broken, &[("SECRET", SECRET)]);
        }
    }
}

#[test]
fn what_a_variable_filled_in_is_in_no_error() {
    for (from, to) in [
        ("mqtt://localhost:1883", "mqtt://${SECRET}:x"),
        ("mqtt://localhost:1883", "mqtt://${SECRET}"),
        ("mqtt://localhost:1883", "${SECRET}"),
        ("mqtt://localhost:1883", "mqtts://u:${SECRET}@h"),
        ("bridge-1\"", "x\"\nkeep_alive = \"${SECRET}\""),
        ("bridge-1\"", "x\"\nprotocol = \"${SECRET}\""),
        ("bridge-1\"", "x\"\nmax_payload = \"${SECRET}\""),
        ("bridge-1\"", "x\"\nnonsense = \"${SECRET}\""),
        ("sensors/#", "#/${SECRET}"),
        ("\"sensors\"", "\"/${SECRET}\""),
        ("localhost:9092", "${SECRET}"),
        ("[\"localhost:9092\"]", "\"a:1,${SECRET}\""),
        ("localhost:9092", "user:${SECRET}@a:9092"),
        ("localhost:9092", "user:hunter2@a:9092"),
        ("qos = 1", "qos = \"${SECRET}\""),
        ("qos = 1", "payload = \"${SECRET}\""),
        ("[kafka]", "[http]\nlisten = \"${SECRET}\"\n[kafka]"),
        ("[kafka]", "[log]\nlevel = \"${SECRET}\"\n[kafka]"),
        ("[kafka]", "[log]\ntiming = \"slow:${SECRET}\"\n[kafka]"),
        ("[kafka]", "[kafka.properties]\nlinger.ms = \"${SECRET}\"\n[kafka]"),
        ("qos = 1", "[kafka.properties]\nsecurity.protocol = \"${SECRET}\""),
    ] {
        assert!(MINIMAL.contains(from), "{from}");
        let text = MINIMAL.replacen(from, to, 1);
        let error = load(&text, &[("SECRET", "!/# hunter2")]).expect_err(to).to_string();
        assert!(!error.contains(SECRET), "{to}: {error}");
    }
}

/// Whether they are legal or refused, in `check` and in a debug print.
#[test]
fn what_leads_to_a_broker_is_shown_without_what_opens_it() {
    let ws = "url = \"wss://localhost/mqtt?token=hunter2\"";
    for (url, lines, shown) in [
        (ws, "", "url = \"wss://localhost:443/mqtt?[redacted]\""),
        (ws, "proxy = \"http://hunter2:hunter2@p:1\"", "proxy = \"http://[redacted]@p:1\""),
        (ws, "proxy = \"http://u:hunter2@p\"", "http://[redacted]@p"),
        (ws, "username = \"hunter2\"", "username = \"[redacted]\""),
        (ws, "proxy = \"http://u:${SECRET}@p\"", "http://[redacted]@p"),
        (
            ws,
            "websocket_headers = { Authorization = \"Bearer hunter2\", X = \"${SECRET}\" }",
            "websocket_headers = { \"Authorization\" = \"[redacted]\", \"X\" = \"[redacted]\" }",
        ),
        (ws, "websocket_headers = { X = \"hunter2\\n\" }", "RFC 9110"),
        (
            "urls = [\"mqtts://u:hunter2@a\", \"mqtts://u:hunter2@b\"]",
            "",
            "urls = [\"mqtts://a:8883\", \"mqtts://b:8883\"]",
        ),
        ("urls = [\"mqtts://u:hunter2@a\", \"mqtts://u:hunter2@b:x\"]", "", "b:[redacted]"),
        (
            ws,
            "protocol = \"5\"\npassword_command = [\"/bin/token\", \"--secret\", \"hunter2\"]",
            "password_command = [\"/bin/token\", \"[redacted]\", \"[redacted]\"]",
        ),
        (
            ws,
            "username = \"u\"\npassword = \"x\"\npassword_command = [\"/bin/token\", \"hunter2\"]",
            "found it in mqtt.password and mqtt.password_command",
        ),
        (ws, "password_command = [\"hunter2\", 1]", "expected a list of a program"),
        (ws, "password_command = [\"\", \"hunter2\"]", "an entry of its own"),
        (
            ws,
            "password_command = \"curl -H Authorization:hunter2 https://t\"",
            "an entry of its own",
        ),
        (ws, "password_command = [\"curl\\thunter2\"]", "an entry of its own"),
        (ws, "password_command = [\" hunter2\"]", "an entry of its own"),
        (ws, "password_command = [\"curl\\u0007hunter2\"]", "an entry of its own"),
        (ws, "password_command = [\"${SECRET}\"]", "an entry of its own"),
    ] {
        let text = MINIMAL
            .replace("url = \"mqtt://localhost:1883\"", url)
            .replace("[kafka]", &format!("{lines}\n[kafka]"));
        let said = match load(&text, &[("SECRET", "!/# hunter2")]) {
            Ok(config) => {
                let (keys, connections) = (config.key_values(), &config.connections);
                format!("{}{keys:?}{connections:?}", config.describe())
            }
            Err(errors) => errors.to_string(),
        };
        assert!(!said.contains(SECRET), "{lines}: {said}");
        assert!(said.contains(shown), "{lines}: {said}");
    }
}

#[test]
fn a_login_in_the_url_of_the_token_endpoint_is_refused_and_not_told() {
    for url in [
        "https://id:hunter2@idp.example/token",
        "https://hunter2@idp.example/token",
        "https://idp.example/token?client_secret=hunter2",
        "https://idp.example/token?hunter2",
        "https://idp.example/token#hunter2",
        "https://id:${SECRET}@idp.example/token",
    ] {
        let text = format!(
            "{MINIMAL}[kafka.properties]\nsecurity.protocol = \"sasl_ssl\"\nsasl.mechanism = \"OAUTHBEARER\"\n\
             sasl.oauthbearer.method = \"oidc\"\nsasl.oauthbearer.client.id = \"b\"\n\
             sasl.oauthbearer.client.secret = \"x\"\nsasl.oauthbearer.token.endpoint.url = \"{url}\"\n"
        );
        assert_hidden(url, &text, &[("SECRET", SECRET)]);
        let error = load(&text, &[("SECRET", SECRET)]).expect_err(url).to_string();
        assert!(error.contains("without user, password, query and fragment"), "{error}");
        let without = text.replace("sasl_ssl", "ssl").replace("sasl.mechanism", "# ");
        assert_hidden(url, &without, &[("SECRET", SECRET)]);
    }
}

/// librdkafka cuts its texts, and the values that they quote.
#[test]
fn a_value_that_is_too_long_to_be_quoted_is_not_quoted_in_part() {
    let long = SECRET.repeat(100);
    for name in ["ssl.endpoint.identification.algorithm", "security.protocol", "linger.ms"] {
        let text = format!("{MINIMAL}[kafka.properties]\n{name} = \"${{SECRET}}\"\n");
        assert_hidden(name, &text, &[("SECRET", &long)]);
    }
}

#[test]
fn what_the_environment_says_is_hidden_as_in_the_file() {
    for name in [
        "MQTT__PASSWORD",
        "MQTT__USERNAME",
        "MQTT__PASSWORD_FILE",
        "MQTT__PASSWRD",
        "KAFKA__PROPERTIES",
        "KAFKA__PROPERTIES__SASL_PASSWORD",
        "KAFKA__PROPERTIES__SASL_JAAS_CONFIG",
        "KAFKA__PROPERTIES__SASL_MECHANISM",
        "KAFKA__PROPERTIES__SSL_KEY_PEM",
        "KAFKA__PROPERTIES__NONSENSE",
        "ROUTES__9__PASSWORD",
    ] {
        for value in ["hunter2", "\0hunter2", "hunter2\nhunter2"] {
            assert_hidden(name, MINIMAL, &[(&format!("BRIDGE_{name}"), value)]);
        }
    }
    for url in [
        "mqtt://u:hunter2@",
        "hunter2@h:1/",
        "mqtt://u:hunter2",
        "http://u:hunter2@h",
        "mqtt://hunter2:hunter2@h:99999",
        "mqtt://u:hun/hunter2@h",
        "mqtt://u:#hunter2@h",
    ] {
        assert_hidden(url, MINIMAL, &[("BRIDGE_MQTT__URL", url)]);
    }
}

#[test]
fn a_secret_file_that_is_wrong_does_not_show_what_is_in_it() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let path = file.path().to_str().expect("a path of UTF-8");
    let long = SECRET.repeat(10_000);
    let contents: [&[u8]; 5] =
        [b"hunter2", b"hunter2\0", b"hunter2\xff", b"\xff\xfeh\0u\0hunter2", long.as_bytes()];
    for content in contents {
        std::fs::write(file.path(), content).expect("a file can be written");
        let both = [("BRIDGE_MQTT__PASSWORD_FILE", path), ("BRIDGE_MQTT__PASSWORD", SECRET)];
        assert_hidden("password_file", MINIMAL, &both);
        assert_hidden("password_file", MINIMAL, &both[..1]);
    }
}

#[test]
fn what_librdkafka_says_of_all_together_has_no_secret() {
    let key = "-----BEGIN PRIVATE KEY----- hunter2";
    for lines in [
        "security.protocol = \"ssl\"\nssl.key.pem = \"hunter2\"".to_owned(),
        format!("security.protocol = \"ssl\"\nssl.key.location = \"{key}\""),
        format!("security.protocol = \"ssl\"\nssl.ca.location = \"{key}\""),
        "security.protocol = \"ssl\"\nssl.keystore.location = \"/x\"\nssl.keystore.password = \"hunter2\""
            .to_owned(),
        "security.protocol = \"sasl_ssl\"\nsasl.username = \"u\"\nsasl.password = \"hunter2\"".to_owned(),
        "security.protocol = \"sasl_ssl\"\nsasl.mechanism = \"PLAIN\"\nsasl.password = \"hunter2\""
            .to_owned(),
    ] {
        assert_hidden(&lines, &format!("{MINIMAL}[kafka.properties]\n{lines}\n"), &[]);
    }
}
