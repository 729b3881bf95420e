//! `doctor` finds each fault that is planted, names what to do, says nothing of a healthy pair, and disturbs no
//! bridge that runs.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::group::{Field, STRETCH};
use crate::subscription::{ADMIN, BRIDGE, log_in, order};
use crate::support::kafka::Listeners;
use crate::support::kafka_logins::{PASSWORD, SecureKafka, USER};
use crate::support::mosquitto::Setup;
use crate::support::pki::Wish;
use crate::support::process::free_port;
use crate::support::*;

/// What the doctor found.
#[derive(Debug)]
struct Found {
    report: Value,
    code: i32,
}

impl Found {
    fn of(output: &Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!("one JSON object: {error}: {text} {}", String::from_utf8_lossy(&output.stderr))
        });
        Self { report, code: output.status.code().expect("it ends by itself") }
    }

    fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().expect("a list")
    }

    /// `check level: of: found`, of what is worse than `info`.
    fn bad(&self) -> Vec<String> {
        let bad = self.findings().iter().filter(|it| {
            ["warning", "error"].iter().any(|level| it["level"] == *level)
        });
        bad.map(line).collect()
    }
}

fn line(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}: {}: {}", text("check"), text("level"), text("of"), text("found"))
}

/// Runs it on this configuration, in the directory of that file.
fn examine(config: &Path, more: &[&str]) -> Found {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.current_dir(config.parent().expect("a directory"));
    command.args(["doctor", "--json", "--config"]).arg(config).args(more);
    Found::of(&command.output().expect("it runs"))
}

fn written(story: &Story, name: &str, config: &ConfigFile) -> std::path::PathBuf {
    let dir = story.dir().join(slug(name));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join("config.toml");
    fs::write(&path, config.text()).unwrap();
    path
}

/// A fault, and the finding that it must lead to.
struct Fault {
    name: &'static str,
    config: ConfigFile,
    check: &'static str,
    level: &'static str,
    /// In what was found.
    found: &'static str,
    /// In what to do.
    advice: &'static str,
}

fn fault(
    name: &'static str,
    config: ConfigFile,
    (check, level): (&'static str, &'static str),
    found: &'static str,
    advice: &'static str,
) -> Fault {
    Fault { name, config, check, level, found, advice }
}

/// Each must have its finding; where only the side of the fault can have any, no other check may complain.
#[track_caller]
fn assert_found(story: &Story, faults: Vec<Fault>) {
    let mut wrong = Vec::new();
    for Fault { name, config, check, level, found, advice } in faults {
        let examined = examine(&written(story, name, &config), &[]);
        let bad = examined.bad();
        let is_it = |it: &Value| {
            let has = |key: &str, words: &str| it[key].as_str().is_some_and(|it| it.contains(words));
            it["check"] == check
                && it["level"] == level
                && has("found", found)
                && has("advice", advice)
                && has("link", "docs/")
        };
        let is_found = examined.findings().iter().any(is_it);
        // A fault of one side says nothing of the other one.
        let side = check.split('_').next().unwrap_or_default();
        let others = ["mqtt", "kafka"].into_iter().filter(|other| *other != side);
        let is_quiet =
            others.into_iter().all(|other| bad.iter().all(|line| !line.starts_with(other)));
        let code = if examined.report["worst"] == "error" { 1 } else { 0 };
        let is_right = is_found && is_quiet && examined.code == code;
        tell(&format!("doctor: {name}: {check} {level}: {}", if is_right { "right" } else { "WRONG" }));
        if !is_right {
            let all = examined.findings().iter().map(line).collect::<Vec<_>>().join("\n    ");
            wrong.push(format!("{name} (exit code {}):\n    {all}", examined.code));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A pair of brokers without a fault, and a configuration for it.
struct Pair {
    mosquitto: Mosquitto,
    kafka: &'static Kafka,
    kafka_topic: String,
}

impl Pair {
    fn start(story: &Story, setup: &Setup) -> Self {
        let kafka = Kafka::shared();
        let kafka_topic = slug(story.name);
        kafka.create(&kafka_topic, 2, &[("max.message.bytes", "2000000")]);
        Self { mosquitto: Mosquitto::start(story.dir(), setup), kafka, kafka_topic }
    }

    fn config(&self) -> ConfigFile {
        self.config_of("bridge")
    }

    fn config_of(&self, client_id: &str) -> ConfigFile {
        let mut config =
            ConfigFile::new(&self.mosquitto.address(), client_id, &self.kafka.bootstrap());
        config.route("devices/#", &self.kafka_topic);
        config
    }

    /// At another address of MQTT.
    fn at(&self, url: &str) -> ConfigFile {
        let mut config = self.config();
        config.set("mqtt", "url", url);
        config
    }

    /// With other brokers of Kafka and these properties.
    fn with_kafka(&self, brokers: &str, properties: &[(&str, &str)]) -> ConfigFile {
        let mut config = self.config();
        config.set("kafka", "brokers", json!([brokers]));
        for (key, value) in properties {
            config.set("kafka.properties", key, *value);
        }
        config
    }

    /// Into another Kafka topic.
    fn writing_to(&self, kafka_topic: &str) -> ConfigFile {
        let mut config =
            ConfigFile::new(&self.mosquitto.address(), "bridge", &self.kafka.bootstrap());
        config.route("devices/#", kafka_topic);
        config
    }
}

#[test]
fn a_healthy_pair_has_no_warning() {
    let story = Story::new("doctor, healthy");
    let setup = Setup::default().listen(Listener::Tls).user("bridge", "secret");
    let pair = Pair::start(&story, &setup);
    let mut device = MqttClient::connect(&pair.mosquitto.address(), Version::V5, "device").unwrap();
    for number in 0..30 {
        device.publish_retained(&format!("devices/{number}"), b"kept");
    }
    let retained = |examined: &Found| {
        let about = examined.findings().iter().find(|it| it["check"] == "mqtt_retained");
        about.map(line).unwrap_or_default()
    };
    for version in Version::BOTH {
        let mut config = pair.config();
        config.set("mqtt", "protocol", version.name());
        let path = written(&story, version.name(), &config);
        let examined = examine(&path, &["--strict"]);
        assert_eq!((examined.bad(), examined.code), (vec![], 0), "{:#}", examined.report);
        // More than Mosquitto's limit of messages in flight.
        let retained = retained(&examined);
        assert!(retained.contains("30 (devices/# 30)"), "{retained}");
    }
    // TLS and a login on both sides.
    let secure = SecureKafka::shared();
    let mut config = pair.with_kafka(
        &secure.login,
        &[
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", secure.ca.to_str().unwrap()),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", USER),
            ("sasl.password", PASSWORD),
        ],
    );
    secure.kafka.create(&pair.kafka_topic, 1, &[("max.message.bytes", "2000000")]);
    let tls = pair.mosquitto.address_of(Listener::Tls);
    config.set("mqtt", "url", format!("mqtts://{tls}"));
    config.set("mqtt", "username", "bridge").set("mqtt", "password", "secret");
    broker::Broker::certificates(&pair.mosquitto).unwrap().configure(&mut config, None);
    let examined = examine(&written(&story, "secure", &config), &["--strict"]);
    assert_eq!((examined.bad(), examined.code), (vec![], 0), "{:#}", examined.report);
    let text = examined.report.to_string();
    assert!(!text.contains(PASSWORD) && !text.contains("secret"), "{text}");
    for check in ["mqtt_tls", "mqtt_certificate", "kafka_tls", "kafka_certificate", "kafka_requests"] {
        let is_ok = |it: &Value| it["check"] == check && it["level"] == "ok";
        assert!(examined.findings().iter().any(is_ok), "{check}: {:#}", examined.report);
    }
}

#[test]
fn each_fault_of_the_way_to_mqtt_is_found() {
    let story = Story::new("doctor, way to MQTT");
    let setup = Setup::default().listen(Listener::Tls).listen(Listener::MutualTls);
    let mut pair = Pair::start(&story, &setup.user("known", "right"));
    let tls = pair.mosquitto.address_of(Listener::Tls);
    let mutual = pair.mosquitto.address_of(Listener::MutualTls);
    let trusting = |pair: &Pair, url: String| {
        let mut config = pair.at(&url);
        broker::Broker::certificates(&pair.mosquitto).unwrap().configure(&mut config, None);
        config
    };
    let with = |key: &str, value: Value| {
        let mut config = pair.config();
        config.set("mqtt", key, value);
        config
    };
    let nobody = free_port();
    let mut wrong_password = with("username", "known".into());
    wrong_password.set("mqtt", "password", "wrong");
    let login = |name, password: &str| {
        let mut config = with("username", "known".into());
        config.set("mqtt", name, json!(["sh", "-c", password]));
        config
    };
    let mut other_ca = pair.at(&format!("mqtts://{tls}"));
    let stranger = pki::Authority::new("stranger");
    let stranger_file = story.dir().join("stranger.pem");
    fs::write(&stranger_file, stranger.pem()).unwrap();
    other_ca.set("mqtt.tls", "ca_file", stranger_file.to_str().unwrap());
    let error = |check| (check, "error");
    assert_found(
        &story,
        vec![
            fault("no name", pair.at("mqtt://broker.invalid"), error("mqtt_dns"), "cannot resolve", "DNS"),
            fault(
                "nobody listens",
                pair.at(&format!("mqtt://127.0.0.1:{nobody}")),
                error("mqtt_tcp"),
                "refused",
                "mqtt.url",
            ),
            fault(
                "plain to TLS",
                pair.at(&format!("mqtt://{tls}")),
                error("mqtt_login"),
                "",
                "`mqtts://`",
            ),
            fault(
                "TLS to plain",
                trusting(&pair, format!("mqtts://{}", pair.mosquitto.address())),
                error("mqtt_tls"),
                "tls_failed",
                "8883",
            ),
            fault(
                "WebSocket to plain",
                pair.at(&format!("ws://{}/mqtt", pair.mosquitto.address())),
                error("mqtt_websocket"),
                "websocket_refused",
                "",
            ),
            fault("unknown authority", other_ca, error("mqtt_tls"), "tls_untrusted", "mqtt.tls.ca_file"),
            fault(
                "no certificate of the bridge",
                trusting(&pair, format!("mqtts://{mutual}")),
                error("mqtt_tls"),
                "tls_client_certificate",
                "mqtt.tls.cert_file",
            ),
            fault("wrong password", wrong_password, error("mqtt_login"), "login_refused", "mqtt.username"),
            fault(
                "password command fails",
                login("password_command", "exit 3"),
                error("mqtt_login"),
                "password_unavailable",
                "password",
            ),
            fault(
                "proxy away",
                with("proxy", format!("http://127.0.0.1:{nobody}").into()),
                error("mqtt_tcp"),
                "refused",
                "mqtt.proxy",
            ),
        ],
    );
    // Certificates of the broker that are no good, one after the other.
    let elsewhere =
        Wish { dns_names: &["elsewhere.invalid"], addresses: &[], ..Wish::LOCALHOST };
    for (name, wish, check, level, found, advice) in [
        ("other name", elsewhere, "mqtt_tls", "error", "tls_name", "mqtt.tls.server_name"),
        (
            "expired",
            Wish { valid_days: (-9, -2), ..Wish::LOCALHOST },
            "mqtt_tls",
            "error",
            "tls_expired",
            "renew it",
        ),
        (
            "expires soon",
            Wish { valid_days: (-9, 5), ..Wish::LOCALHOST },
            "mqtt_certificate",
            "warning",
            "valid for",
            "renew it",
        ),
    ] {
        pair.mosquitto.certificates().issue_broker(&wish);
        pair.mosquitto.stop();
        pair.mosquitto.run();
        let config = trusting(&pair, format!("mqtts://{tls}"));
        assert_found(&story, vec![fault(name, config, (check, level), found, advice)]);
    }
}

/// A broker that answers each CONNECT with this code and these properties of MQTT 5, and each SUBSCRIBE with this
/// code, or by closing.
fn broker_that_says(code: u8, properties: &[u8], suback: Option<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let properties = properties.to_vec();
    let serve = move |stream: TcpStream| -> std::io::Result<()> {
        let mut client = MqttClient::over(stream, Version::V5);
        while let Some(packet) = client.read(PATIENT)? {
            match packet {
                Packet::Connect(_) => {
                    let properties = properties.clone();
                    client.send(&Packet::ConnAck { session_present: false, code, properties })?;
                }
                Packet::Subscribe { pkid, .. } => match suback {
                    Some(code) => client.send(&Packet::SubAck { pkid, codes: vec![code] })?,
                    None => return Ok(()),
                },
                Packet::PingReq => client.send(&Packet::PingResp)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    };
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}

#[test]
fn each_limit_of_connack_and_each_refused_subscription_is_found() {
    let story = Story::new("doctor, limits of MQTT");
    let pair = Pair::start(&story, &Setup::default());
    let says = |code, properties: &[u8], suback| {
        let mut config = pair.at(&format!("mqtt://{}", broker_that_says(code, properties, suback)));
        config.set("mqtt", "protocol", "5");
        config
    };
    let shared = |mut config: ConfigFile| {
        config.set("mqtt", "group", "members");
        config
    };
    let (warning, error) = (|check| (check, "warning"), |check| (check, "error"));
    let granted = Some(1);
    let mut faults = vec![
        fault(
            "session expiry",
            says(0, &[0x11, 0, 0, 0, 60], granted),
            warning("mqtt_session_expiry"),
            "for 60 s",
            "session expiry",
        ),
        fault("maximum QoS 0", says(0, &[0x24, 0], Some(0)), warning("mqtt_qos"), "QoS 0 at most", "qos = 0"),
        fault("no wildcards", says(0, &[0x28, 0], Some(0xA2)), error("mqtt_wildcards"), "devices/#", "`#`"),
        fault(
            "no shared subscriptions",
            shared(says(0, &[0x2A, 0], Some(0x9E))),
            error("mqtt_shared"),
            "$share/members/devices/#",
            "mqtt.group",
        ),
        fault("granted at QoS 0", says(0, &[], Some(0)), warning("mqtt_subscribe"), "at QoS 0", "lost"),
        fault("closes on SUBSCRIBE", says(0, &[], None), error("mqtt_subscribe"), "ended behind", "log"),
        fault("another client id", says(0x85, &[], granted), warning("mqtt_client_id"), "doctor", "not tried"),
    ];
    // A real broker that forbids it.
    let file = story.dir().join("dynamic-security.json");
    let init = ["dynsec", "init", file.to_str().unwrap(), ADMIN, ADMIN];
    let made = Command::new("mosquitto_ctrl").args(init).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let strict = Mosquitto::start(story.dir(), &Setup::default().dynamic_security(&file));
    let mut admin = log_in(&strict, ADMIN);
    assert!(admin.subscribe("$CONTROL/dynamic-security/v1/response", 0) < 0x80);
    order(&mut admin, json!([{ "command": "createClient", "username": BRIDGE, "password": BRIDGE }]));
    for version in Version::BOTH {
        let mut config = pair.at(&format!("mqtt://{}", strict.address()));
        config.set("mqtt", "username", BRIDGE).set("mqtt", "password", BRIDGE);
        config.set("mqtt", "protocol", version.name());
        let name = if version == Version::V5 { "forbidden over 5" } else { "forbidden over 3.1.1" };
        faults.push(fault(name, config, error("mqtt_subscribe"), "refused", "ACLs"));
    }
    assert_found(&story, faults);
}

#[test]
fn each_fault_of_the_way_to_kafka_is_found() {
    let story = Story::new("doctor, way to Kafka");
    let pair = Pair::start(&story, &Setup::default());
    let (kafka, Listeners { tls, sasl, unresolved, closed, controller }) =
        Kafka::start_with_listeners(story.dir());
    kafka.create(&pair.kafka_topic, 1, &[]);
    let secure = SecureKafka::shared();
    secure.kafka.create(&pair.kafka_topic, 1, &[]);
    let ca = ("ssl.ca.location", secure.ca.to_str().unwrap());
    let ssl = ("security.protocol", "SSL");
    let nobody = format!("127.0.0.1:{}", free_port());
    let login = |mechanism, password| {
        [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "bridge"),
            ("sasl.password", password),
        ]
    };
    let error = |check| (check, "error");
    let plain = kafka.bootstrap();
    assert_found(
        &story,
        vec![
            fault(
                "no name",
                pair.with_kafka("kafka.invalid:9092", &[]),
                error("kafka_dns"),
                "cannot resolve",
                "kafka.brokers",
            ),
            fault("nobody listens", pair.with_kafka(&nobody, &[]), error("kafka_tcp"), "refused", "port"),
            fault(
                "plain to TLS",
                pair.with_kafka(&tls, &[]),
                error("kafka_requests"),
                "no answer of Kafka",
                "`SSL`",
            ),
            fault("TLS to plain", pair.with_kafka(&plain, &[ssl]), error("kafka_tls"), "no TLS", "without SSL"),
            fault(
                "unknown authority",
                pair.with_kafka(&tls, &[ssl]),
                error("kafka_login"),
                "does not know",
                "`ssl.ca.location`",
            ),
            fault(
                "expired",
                pair.with_kafka(&secure.expired, &[ssl, ca]),
                error("kafka_certificate"),
                "expired",
                "renew",
            ),
            fault(
                "other name",
                pair.with_kafka(&secure.other_name, &[ssl, ca]),
                error("kafka_login"),
                "another name",
                "a name that the certificate has",
            ),
            fault(
                "no certificate of the bridge",
                pair.with_kafka(&secure.mutual, &[ssl, ca]),
                error("kafka_login"),
                "certificate",
                "`ssl.certificate.location`",
            ),
            fault(
                "no login",
                pair.with_kafka(&sasl, &[]),
                error("kafka_login"),
                "asks for a login",
                "`security.protocol`",
            ),
            fault(
                "wrong password",
                pair.with_kafka(&sasl, &login("PLAIN", "wrong")),
                error("kafka_login"),
                "password is wrong",
                "`sasl.password`",
            ),
            fault(
                "other mechanism",
                pair.with_kafka(&sasl, &login("SCRAM-SHA-256", "secret")),
                error("kafka_login"),
                "mechanism",
                "`sasl.mechanism`",
            ),
            fault(
                "controller",
                pair.with_kafka(&controller, &[]),
                error("kafka_requests"),
                "no Produce",
                "a broker's listener",
            ),
            fault(
                "advertised name",
                pair.with_kafka(&unresolved, &[]),
                error("kafka_advertised"),
                "cannot resolve kafka.invalid",
                "advertised.listeners",
            ),
            fault(
                "advertised port",
                pair.with_kafka(&closed, &[]),
                error("kafka_advertised"),
                "refused",
                "advertised.listeners",
            ),
        ],
    );
}

#[test]
fn each_fault_of_a_kafka_topic_is_found() {
    let story = Story::new("doctor, Kafka topics");
    let pair = Pair::start(&story, &Setup::default());
    let name = |rest: &str| format!("{}-{rest}", slug(story.name));
    let create = |rest: &str, settings: &[(&str, &str)]| {
        pair.kafka.create(&name(rest), 1, settings);
        pair.writing_to(&name(rest))
    };
    let large = ("max.message.bytes", "2000000");
    create("future", &[large]);
    let producer: rdkafka::producer::BaseProducer =
        kafka::client_config(&pair.kafka.bootstrap()).create().unwrap();
    let soon = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead_ms = i64::try_from(soon.as_millis()).unwrap() + 30 * 60 * 1000;
    let future = name("future");
    let record = rdkafka::producer::BaseRecord::<(), [u8]>::to(&future)
        .payload(b"from the future")
        .timestamp(ahead_ms);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    rdkafka::producer::Producer::flush(&producer, SOON).unwrap();
    create("compacted", &[large, ("cleanup.policy", "compact")]);
    let mut keyless = ConfigFile::new(&pair.mosquitto.address(), "bridge", &pair.kafka.bootstrap());
    keyless.route_with(&[
        ("filter", "devices/#".into()),
        ("kafka_topic", name("compacted").into()),
        ("key", "".into()),
    ]);
    let authorizer = |_: &[String]| {
        let (login, module) =
            ("listener.name.login", "org.apache.kafka.common.security.plain.PlainLoginModule");
        format!(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
{login}.sasl.enabled.mechanisms=PLAIN
{login}.plain.sasl.jaas.config={module} required user_bridge=\"secret\";"
        )
    };
    let listeners = [("LOGIN", "SASL_PLAINTEXT")];
    let (strict, addresses) = Kafka::start_with(story.dir(), &listeners, authorizer, Vec::new());
    strict.allow("bridge", &["Describe"], &["seen-"]);
    strict.create("seen-1", 1, &[]);
    strict.create("hidden-1", 1, &[]);
    let denied = |kafka_topic: &str| {
        let mut config = pair.writing_to(kafka_topic);
        config.set("kafka", "brokers", json!([addresses[0]]));
        for (key, value) in [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "bridge"),
            ("sasl.password", "secret"),
        ] {
            config.set("kafka.properties", key, value);
        }
        config
    };
    let (warning, error) = (|check| (check, "warning"), |check| (check, "error"));
    let faults = vec![
        fault("missing", pair.writing_to(&name("missing")), error("kafka_topic"), "does not exist", "create it"),
        fault(
            "too few replicas",
            create("replicas", &[large, ("min.insync.replicas", "2")]),
            error("kafka_replicas"),
            "min.insync.replicas = 2",
            "more replicas",
        ),
        fault(
            "too small",
            create("small", &[("max.message.bytes", "1000")]),
            warning("kafka_size"),
            "max.message.bytes = 1000",
            "mqtt.max_payload",
        ),
        fault("compacted without keys", keyless, error("kafka_compaction"), "compact", "key"),
        fault("may not write", denied("seen-1"), error("kafka_permission"), "may not write", "grant"),
        fault("may not see", denied("hidden-1"), error("kafka_permission"), "may not see", "grant"),
    ];
    assert_found(&story, faults);
    // The clock is the host's, whose checks have no side.
    let examined = examine(&written(&story, "future", &pair.writing_to(&future)), &["--strict"]);
    let bad = examined.bad();
    assert!(bad.len() == 1 && bad[0].starts_with("clock warning"), "{bad:?}");
    assert_eq!(examined.code, 1, "--strict");
}

#[test]
fn a_cluster_with_a_node_away_is_told_and_one_in_sync_is_not() {
    let story = Story::new("doctor, cluster");
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut nodes = Kafka::start_cluster(story.dir());
    nodes[0].create("t", 3, &[("max.message.bytes", "2000000")]);
    nodes[0].wait_in_sync("t");
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &nodes[0].bootstrap());
    config.route("devices/#", "t");
    let path = written(&story, "cluster", &config);
    let examined = examine(&path, &["--strict"]);
    assert_eq!((examined.bad(), examined.code), (vec![], 0), "{:#}", examined.report);
    nodes[2].kill();
    nodes[2].wait_led_by_others("t");
    let mut told = Vec::new();
    eventually("the replicas that are away are told", PATIENT, || {
        told = examine(&path, &[]).bad();
        told.iter().any(|line| line.starts_with("kafka_replicas warning"))
    });
    let is_of_the_node = |line: &String| {
        line.starts_with("kafka_replicas warning") || line.starts_with("kafka_tcp warning")
    };
    assert!(told.iter().all(is_of_the_node), "{told:?}");
}

#[test]
fn each_fault_of_this_host_and_of_the_configuration_is_found() {
    let story = Story::new("doctor, host");
    let pair = Pair::start(&story, &Setup::default());
    let with = |section, key: &str, value: &str| {
        let mut config = pair.config();
        config.set(section, key, value);
        config
    };
    let error = |check| (check, "error");
    let mut full = with("dead_letter", "file_max", "1000 TiB");
    full.set("dead_letter", "file", story.dir().join("dead.jsonl").to_str().unwrap());
    assert_found(
        &story,
        vec![
            fault(
                "no place for dead letters",
                with("dead_letter", "file", "/nowhere/dead.jsonl"),
                error("dead_letter_file"),
                "/nowhere/dead.jsonl",
                "rights",
            ),
            fault("too little room", full, ("dead_letter_file", "warning"), "free", "free some"),
        ],
    );
    // What the doctor inherits, the bridge would.
    let path = written(&story, "files", &pair.config());
    let limited = Command::new("sh")
        .current_dir(path.parent().unwrap())
        .args(["-c", "ulimit -n 40; exec \"$0\" doctor --json --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"))
        .arg(&path)
        .output()
        .unwrap();
    let bad = Found::of(&limited).bad();
    assert!(bad.iter().any(|line| line.starts_with("open_files error")), "{bad:?}");
    // A state file of a newer version.
    let mut bridge = Bridge::new(story.dir(), "state", &pair.config());
    bridge.run();
    pair.mosquitto.wait_subscribed("bridge", 1);
    assert_eq!(bridge.terminate(), 0);
    let files = fs::read_dir(bridge.dir()).unwrap().flatten().map(|entry| entry.path());
    let state = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "json"));
    let state = state.expect("a state file");
    let examined = examine(bridge.config(), &["--strict"]);
    assert_eq!((examined.bad(), examined.code), (vec![], 0), "{:#}", examined.report);
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replace("devices/#", "old/#")).unwrap();
    let examined = examine(bridge.config(), &[]);
    let left = |it: &Value| it["check"] == "mqtt_session" && line(it).contains("old/#");
    assert!(examined.findings().iter().any(left), "{:#}", examined.report);
    fs::write(&state, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    let bad = examine(bridge.config(), &[]).bad();
    assert!(bad.iter().any(|line| line.starts_with("mqtt_session error")), "{bad:?}");
    // A configuration that is none.
    let mut wrong = pair.config();
    wrong.set("mqtt", "keep_alive", "soon");
    let examined = examine(&written(&story, "wrong", &wrong), &[]);
    assert_eq!(examined.code, 78);
    let bad = examined.bad();
    assert!(bad.len() == 1 && bad[0].starts_with("config error") && bad[0].contains("keep_alive"), "{bad:?}");
}

#[test]
fn a_bridge_under_load_is_not_disturbed_and_its_reasons_are_told() {
    let story = Story::new("doctor beside a bridge");
    for version in Version::BOTH {
        let field = Field::start(&story, version, &Setup::default());
        let http = Http::free();
        let name = format!("beside-{}", version.level());
        let mut config = field.config(&name, "$share/bridge/devices/#");
        http.configure(&mut config);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        field.mosquitto.wait_subscribed(&name, 1);
        http.wait_ready(PATIENT);
        field.publisher.keep_publishing();
        for _ in 0..3 {
            let examined = examine(bridge.config(), &[]);
            let ready = |it: &Value| it["check"] == "bridge" && it["level"] == "ok";
            assert!(examined.findings().iter().any(ready), "{:#}", examined.report);
            assert!(!examined.bad().iter().any(|line| line.contains("error")), "{:?}", examined.bad());
            field.wait_more(STRETCH);
        }
        field.wait_all();
        bridge.wait_summary("nothing is in flight", SOON, |now| now.in_flight == 0);
        let connects = bridge.log().count(|record| record["msg"] == "connected to mqtt");
        assert_eq!(connects, 1, "its connection lived");
        // Its own reasons, while its broker is away.
        let mut field = field;
        field.mosquitto.stop();
        http.wait_reason("mqtt_disconnected", PATIENT);
        let bad = examine(bridge.config(), &[]).bad();
        let told = |line: &String| line.starts_with("bridge warning") && line.contains("mqtt_disconnected");
        assert!(bad.iter().any(told), "{bad:?}");
        bridge.kill();
        let verdict = field.verdict(&story);
        assert_eq!(verdict.duplicated, 0, "{verdict:?}");
    }
}
