//! No secret leaves the bridge, whatever fails: not in the log at `trace`, in `check`, on a page, in metrics,
//! in dead letters.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::mqtt_failures::{Failure, USER, World};
use crate::support::certificates::put;
use crate::support::process::{Process, free_port};
use crate::support::*;

/// The beginning of every secret in this story and of those of the failures.
const HEAD: &str = "m4rk3dS3cret";

const HTTP_TOKEN: &str = "m4rk3dS3cret/http-token";

/// A secret that no text has by accident, with characters that URLs, JSON and TOML write in their own ways.
fn mark(place: &str) -> String {
    format!("{HEAD}/{place} \"'%{{}}")
}

/// The forms in which the beginning of a secret may hide in a text.
fn disguises() -> Vec<String> {
    let bytes = |form: fn(u8) -> String, between: &str| {
        HEAD.bytes().map(form).collect::<Vec<_>>().join(between)
    };
    // Behind 0, 1 or 2 other bytes, without the characters that those have a part in.
    let base64 = (0..3).map(|behind| {
        let text = [&vec![b' '; behind][..], HEAD.as_bytes()].concat();
        let (first, last) = ([0, 2, 3][behind], text.len() * 8 / 6);
        BASE64.encode(&text)[first..last].to_owned()
    });
    let others = [
        HEAD.to_owned(),
        bytes(|byte| format!("%{byte:02X}"), ""),
        bytes(|byte| format!("%{byte:02x}"), ""),
        bytes(|byte| format!("{byte:02X}"), ""),
        bytes(|byte| format!("{byte:02x}"), ""),
        bytes(|byte| byte.to_string(), ", "),
        bytes(|byte| byte.to_string(), ","),
    ];
    others.into_iter().chain(base64).collect()
}

/// What was found, and where.
struct Search {
    forms: Vec<String>,
    found: Vec<String>,
    bytes: usize,
}

impl Search {
    fn new() -> Self {
        Self { forms: disguises(), found: Vec::new(), bytes: 0 }
    }

    fn look(&mut self, place: &str, text: &[u8]) {
        self.bytes += text.len();
        let text = String::from_utf8_lossy(text);
        for line in text.lines() {
            for form in self.forms.iter().filter(|form| line.contains(&***form)) {
                self.found.push(format!("{place}: {form}: {line}"));
            }
        }
    }

    /// Everything that a bridge wrote into its directory, where its configuration is too.
    fn look_in(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            if entry.path().is_file() && entry.file_name() != "config.toml" {
                self.look(&entry.path().display().to_string(), &fs::read(entry.path()).unwrap());
            }
        }
    }

    #[track_caller]
    fn assert_nothing_found(&self, name: &str) {
        tell(&format!("{name}: {} bytes searched", self.bytes));
        assert!(self.found.is_empty(), "{} finds:\n{}", self.found.len(), self.found.join("\n"));
    }
}

#[test]
fn a_search_finds_every_disguise() {
    let secret = mark("x");
    let login = |user: &str| BASE64.encode(format!("{user}:{secret}"));
    let texts = [
        format!("password {secret:?}"),
        json!({ "password": secret }).to_string(),
        format!("{:?}", secret.as_bytes()),
        secret.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        secret.bytes().map(|byte| format!("{byte:02x}")).collect(),
        login("user"),
        login("usr"),
        login("us"),
    ];
    for text in texts {
        let mut search = Search::new();
        search.look("text", text.as_bytes());
        assert_eq!(search.found.len(), 1, "{text}: {:?}", search.found);
    }
}

/// Gives `config` secrets in all places that its failure leaves free; they differ with `number`.
fn mark_all(config: &mut ConfigFile, dir: &Path, number: usize, kafka: &str) {
    fs::create_dir_all(dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().expect("UTF-8").to_owned();
    let secret_file = |name: &str| {
        put(&dir.join(name), mark(name).as_bytes());
        path(name)
    };
    let is_free =
        ["password_file", "password_command"].iter().all(|key| config.get("mqtt", key).is_none());
    if is_free {
        match number % 4 {
            0 => config.set("mqtt", "username", USER).set("mqtt", "password", mark("password")),
            1 => config.set("mqtt", "username", USER).set(
                "mqtt",
                "password_file",
                secret_file("password-file"),
            ),
            2 => {
                // Its arguments, its output and its words of a failure are secrets.
                let text = "#!/bin/sh\necho \"$2\" >&2\nprintf %s \"$1\"\nexit \"$3\"\n";
                put(&dir.join("token"), text.as_bytes());
                let executable = fs::Permissions::from_mode(0o755);
                fs::set_permissions(dir.join("token"), executable).unwrap();
                let code = if number % 8 == 2 { "0" } else { "9" };
                let command = [
                    path("token"),
                    mark("output"),
                    mark("error"),
                    code.to_owned(),
                    mark("argument"),
                ];
                config.set("mqtt", "username", USER).set(
                    "mqtt",
                    "password_command",
                    command.to_vec(),
                )
            }
            _ => {
                let url = config.get("mqtt", "url").and_then(|url| url.as_str()).expect("a text");
                let (scheme, rest) = url.split_once("://").expect("a URL");
                let url = format!("{scheme}://{USER}:{HEAD}%2Furl%20@{rest}");
                config.set("mqtt", "url", url)
            }
        };
    }
    // Signed URLs carry their signature in the query.
    if let Some(url) = config.get("mqtt", "url").and_then(|url| url.as_str())
        && url.starts_with("ws")
    {
        let url = format!("{url}/mqtt?signature={HEAD}/query");
        config.set("mqtt", "url", url);
        config.set("mqtt.websocket_headers", "Authorization", format!("Bearer {HEAD}/header"));
    }
    // It goes into a header.
    put(&dir.join("http-token"), HTTP_TOKEN.as_bytes());
    config.set("http", "token_file", path("http-token"));
    config.set("log", "level", "trace");
    config.set("mqtt", "max_payload", "1KiB");
    config.set("dead_letter", "file", path("dead-letters"));
    config.set("kafka", "brokers", json!([kafka]));
    let mut kafka = |key: &str, value: String| {
        config.set("kafka.properties", key, value);
    };
    kafka("security.protocol", "SASL_PLAINTEXT".into());
    kafka("debug", "all".into());
    match number % 3 {
        0 | 1 => {
            let mechanism = ["PLAIN", "SCRAM-SHA-256"][number % 3];
            kafka("sasl.mechanism", mechanism.into());
            kafka("sasl.username", "bridge".into());
            match number % 2 {
                0 => kafka("sasl.password", mark("sasl")),
                _ => drop(config.set("kafka", "sasl_password_file", secret_file("sasl-file"))),
            }
        }
        _ => {
            kafka("sasl.mechanism", "OAUTHBEARER".into());
            kafka("sasl.oauthbearer.method", "oidc".into());
            kafka("sasl.oauthbearer.client.id", "bridge".into());
            kafka("sasl.oauthbearer.client.secret", mark("client-secret"));
            let nobody = format!("http://127.0.0.1:{}/token", free_port());
            kafka("sasl.oauthbearer.token.endpoint.url", nobody);
        }
    }
}

#[test]
fn no_failure_shows_a_secret() {
    let story = Story::new("marked secrets");
    let (kafka, kafka::Listeners { sasl, .. }) = Kafka::start_with_listeners(story.dir());
    let world = World::start(&story, &kafka);
    let mut search = Search::new();
    let mut running = Vec::new();
    for (number, mut failure) in world.failures().into_iter().enumerate() {
        let dir = story.dir().join(format!("secrets-{number}"));
        mark_all(&mut failure.config, &dir, number, &sasl);
        let http = Http::free();
        http.configure(&mut failure.config);
        let bridge = Bridge::start(story.dir(), &slug(failure.name), &failure.config);
        running.push((failure, bridge, http, dir));
    }
    for (failure, bridge, http, dir) in &mut running {
        let Failure { name, .. } = *failure;
        bridge.log().wait_for(name, PATIENT, |record| {
            record["msg"] == "cannot connect to mqtt, retrying"
                || record["msg"] == "mqtt connection lost, reconnecting"
                || record["msg"] == "connected to mqtt"
        });
        for page in ["/", "/livez", "/readyz", "/metrics", "/status.json", "/login", "/nothing"] {
            let open = http.get(page);
            let with_token =
                http.get_with(page, &format!("Authorization: Bearer {HTTP_TOKEN}\r\n"));
            for answer in [open, with_token].into_iter().flatten() {
                search.look(&format!("{name}: {page}"), (answer.head + &answer.body).as_bytes());
            }
        }
        for command in ["check", "healthcheck"] {
            search.look(&format!("{name}: {command}"), &output_of(command, bridge.config(), dir));
        }
        (failure.mend)();
    }
    let mut device = MqttClient::connect(&world.address(), Version::V5, "device").unwrap();
    for (Failure { name, .. }, bridge, ..) in &mut running {
        device.publish(&format!("{name}/x"), b"waits for Kafka");
        device.publish(&format!("{name}/x"), &[b'x'; 2_000]);
        bridge.process().signal(libc::SIGTERM);
    }
    for (_, bridge, _, dir) in &mut running {
        bridge.process().kill();
        search.look_in(bridge.dir());
        search.look(
            &dir.display().to_string(),
            &fs::read(dir.join("dead-letters")).unwrap_or_default(),
        );
    }
    search.assert_nothing_found(story.name);
}

/// What this command of the bridge says of the configuration.
fn output_of(command: &str, config: &Path, dir: &Path) -> Vec<u8> {
    let log = dir.join(format!("{command}.log"));
    let mut program = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    program.arg(command).arg("--config").arg(config);
    Process::start(program, &log).wait(SOON);
    fs::read(log).unwrap()
}

#[test]
fn no_error_in_the_configuration_shows_a_secret() {
    let story = Story::new("marked secrets in a wrong configuration");
    let mut search = Search::new();
    let wrong = [
        ("mqtt", "url", json!(format!("mqtt://user:{HEAD}@host:notaport"))),
        ("mqtt", "url", json!(format!("mqtt://user:{HEAD}@@host"))),
        ("mqtt", "url", json!(format!("mqtt://user:{HEAD}%zz@host"))),
        ("mqtt", "url", json!(format!("mqqt://user:{HEAD}@host"))),
        ("mqtt", "url", json!(format!("user:{HEAD}@host"))),
        ("mqtt", "urls", json!([format!("mqtts://user:{HEAD}@one"), format!("x://u:{HEAD}@two")])),
        ("mqtt", "proxy", json!(format!("ftp://user:{HEAD}@host:1"))),
        ("mqtt", "proxy", json!(format!("http://user:{HEAD}@host"))),
        ("mqtt", "proxy", json!(format!("http://{HEAD}@host:port"))),
        ("mqtt", "password", json!([HEAD])),
        ("mqtt", "password", json!("")),
        ("mqtt", "pasword", json!(HEAD)),
        ("mqtt", "password_command", json!(HEAD)),
        ("mqtt", "password_command", json!(["", HEAD])),
        ("mqtt", "password_command", json!([1, HEAD])),
        ("mqtt", "websocket_headers", json!(HEAD)),
        ("mqtt", "websocket_headers", json!([HEAD])),
        ("mqtt.websocket_headers", "Sec-WebSocket-Key", json!(HEAD)),
        ("mqtt.websocket_headers", "Two lines", json!(format!("{HEAD}\nX: y"))),
        ("mqtt.tls", "key_password", json!(HEAD)),
        ("kafka", "sasl_password", json!(HEAD)),
        ("kafka.properties", "sasl.password", json!([HEAD])),
        ("kafka.properties", "sasl.pasword", json!(HEAD)),
        ("kafka.properties", "sasl.jaas.config", json!(format!("required password=\"{HEAD}\";"))),
        ("kafka.properties", "ssl.key.password", json!(HEAD)),
        ("kafka.properties", "ssl.key.pem", json!(format!("-----BEGIN PRIVATE KEY-----\n{HEAD}"))),
        ("kafka.properties", "sasl.oauthbearer.client.secret", json!(HEAD)),
        ("kafka.properties", "sasl.oauthbearer.config", json!(format!("secret={HEAD}"))),
        ("http", "token", json!(HEAD)),
    ];
    for (number, (section, key, value)) in wrong.into_iter().enumerate() {
        let mut config = ConfigFile::new("127.0.0.1:1", "bridge", "127.0.0.1:1");
        config.route("a/#", "t").set(section, key, value);
        let dir = story.dir().join(format!("wrong-{number}"));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("config.toml"), config.text()).unwrap();
        let said = output_of("check", &dir.join("config.toml"), &dir);
        assert!(!said.is_empty());
        search.look(&format!("{section}.{key}"), &said);
    }
    search.assert_nothing_found(story.name);
}
