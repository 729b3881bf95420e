//! `doctor` finds each fault of Kafka that is planted, and names what to do.

use serde_json::json;

use crate::doctor::{Pair, assert_found, examine, fault, written};
use crate::support::kafka::Listeners;
use crate::support::kafka_logins::SecureKafka;
use crate::support::mosquitto::Setup;
use crate::support::process::free_port;
use crate::support::*;

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
            fault(
                "nobody listens",
                pair.with_kafka(&nobody, &[]),
                error("kafka_tcp"),
                "refused",
                "port",
            ),
            fault(
                "plain to TLS",
                pair.with_kafka(&tls, &[]),
                error("kafka_requests"),
                "no answer of Kafka",
                "`SSL`",
            ),
            fault(
                "TLS to plain",
                pair.with_kafka(&plain, &[ssl]),
                error("kafka_tls"),
                "no TLS",
                "without SSL",
            ),
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
        fault(
            "missing",
            pair.writing_to(&name("missing")),
            error("kafka_topic"),
            "does not exist",
            "create it",
        ),
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
        fault(
            "may not write",
            denied("seen-1"),
            error("kafka_permission"),
            "may not write",
            "grant",
        ),
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
