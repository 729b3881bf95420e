//! The bridge allows, checks or refuses every property of the linked librdkafka's producer.

use std::collections::BTreeSet;

use super::{MINIMAL, legal, load};
use crate::config::property_table::{Limits, Rule, TABLE};
use crate::config::{Config, KafkaClient, kafka_client};
use crate::kafka::librdkafka::list_of_properties;

/// The keys that mean nothing without a login.
pub(in crate::config) const OF_A_LOGIN: [&str; 4] = [
    "kafka.sasl_password_file",
    "kafka.ssl_key_password_file",
    "kafka.oauth_client_secret_file",
    "kafka.aws_region",
];

#[test]
fn the_keys_of_a_login_fill_their_fields_and_are_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("secret");
    std::fs::write(&path, "hunter2\n").expect("written");
    let name = path.to_str().expect("UTF-8");
    let login = |lines: &str, properties: &str| {
        let text = MINIMAL.replace("[[routes]]", &format!("{lines}\n[[routes]]"));
        legal(
            &format!("{text}[kafka.properties]\nsecurity.protocol = \"sasl_ssl\"\n{properties}"),
            &[],
        )
    };
    let password = login(
        &format!("sasl_password_file = {name:?}"),
        "sasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = \"u\"",
    );
    assert_eq!(password.kafka.sasl_password_file.as_deref(), Some(&*path));
    let oidc = "sasl.mechanism = \"OAUTHBEARER\"\nsasl.oauthbearer.method = \"oidc\"\n\
                sasl.oauthbearer.token.endpoint.url = \"http://localhost/token\"\n\
                sasl.oauthbearer.client.id = \"bridge\"";
    let token = login(&format!("oauth_client_secret_file = {name:?}"), oidc);
    assert_eq!(token.kafka.oauth_client_secret_file.as_deref(), Some(&*path));
    let iam = login("aws_region = \"eu-west-1\"", "sasl.mechanism = \"AWS_MSK_IAM\"");
    assert_eq!(iam.kafka.aws_region.as_deref(), Some("eu-west-1"));
    for (config, key) in [
        (password, "sasl_password_file = "),
        (token, "oauth_client_secret_file = "),
        (iam, "aws_region = \"eu-west-1\""),
    ] {
        let shown = config.describe();
        assert!(shown.contains(key) && !shown.contains("hunter2"), "{shown}");
        legal(&shown, &[]);
    }
}

/// The names in librdkafka's own list, with `C` for those of consumers only.
fn listed() -> Vec<(String, String)> {
    let text = list_of_properties();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim);
        Some((cells.next()?.to_owned(), cells.next()?.to_owned()))
    });
    rows.filter(|(name, _)| name != "Property" && !name.starts_with('-')).collect()
}

/// Known to librdkafka, but not in its list.
const HIDDEN: &[&str] = &[
    "client.software.name",
    "client.software.version",
    "enable.sparse.connections",
    "metadata.request.timeout.ms",
    "test.mock.broker.rtt",
    "test.mock.num.brokers",
    "ut_handle_ProduceResponse",
];

#[test]
fn the_table_has_every_property_of_the_linked_librdkafka_and_no_other() {
    let listed = listed();
    assert!(listed.len() > 150, "{}", listed.len());
    let known: BTreeSet<_> = TABLE.iter().map(|(name, _)| *name).collect();
    assert_eq!(known.len(), TABLE.len(), "each once");
    let names: BTreeSet<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
    let new: Vec<_> = names.difference(&known).collect();
    assert!(new.is_empty(), "what becomes of {new:?}?");
    let gone: Vec<_> = known.difference(&names).filter(|name| !HIDDEN.contains(name)).collect();
    assert!(gone.is_empty(), "librdkafka does not list {gone:?}");
    // The names of two appear once for producers and once for consumers.
    let of_producer: BTreeSet<_> =
        listed.iter().filter(|row| row.1 != "C").map(|row| row.0.as_str()).collect();
    for name in names.difference(&of_producer) {
        let rule = TABLE.iter().find(|row| row.0 == *name).map(|row| row.1);
        assert!(matches!(rule, Some(Rule::Refused(_))), "{name}: {rule:?}");
    }
}

fn with(property: &str, value: &str) -> Result<(), String> {
    let text = format!("{MINIMAL}[kafka.properties]\n{property} = {value:?}\n");
    load(&text, &[]).map(drop).map_err(|errors| errors.to_string())
}

#[test]
fn what_is_refused_is_refused_with_its_reason_whatever_its_value() {
    for (name, rule) in TABLE {
        let Rule::Refused(why) = rule else { continue };
        for value in ["1", "true", "x", ""] {
            let error = with(name, value).expect_err(name);
            assert!(error.contains(&format!("{name}: not allowed, because {why}")), "{error}");
        }
    }
}

#[test]
fn what_is_checked_passes_at_its_limit_and_not_beyond() {
    let limits = Limits {
        record_bytes: (1 << 20) + 2 * 65_536,
        round_messages: 10_000,
        metadata_refresh_ms: 60_000,
        logs_debug: false,
    };
    for (name, rule) in TABLE {
        match rule {
            Rule::Least(least, why) => {
                let least = least(&limits);
                assert_eq!(with(name, &least.to_string()), Ok(()), "{name}");
                let error = with(name, &(least - 1).to_string()).expect_err(name);
                // librdkafka has a limit of its own for some, and reports that.
                assert!(error.contains(why) || error.contains("refused by librdkafka"), "{error}");
            }
            Rule::Only(words, _) if !name.starts_with("sasl.") => {
                words.iter().for_each(|word| assert_eq!(with(name, word), Ok(()), "{name}"));
            }
            _ => {}
        }
    }
}

#[test]
fn what_cannot_keep_the_promises_or_cannot_work_is_refused() {
    for (name, value, why) in [
        ("sasl.oauthbearer.grant.type", "x", "by OIDC client credentials only"),
        ("sasl.jaas.config", "x", "sasl.username and sasl.password"),
        ("ssl.truststore.location", "/x", "librdkafka calls it ssl.ca.location"),
        ("sasl.mechanisms", "GSSAPI", "without Kerberos"),
        ("retries", "5", "a record whose last retry fails would leave a gap"),
        ("partitioner", "random", "all records of one MQTT topic must go to one partition"),
        ("topic.partitioner", "random", "under its own name, partitioner"),
        ("test.mock.num.brokers", "3", "an emulated cluster"),
        ("queue.buffering.max.kbytes", "1", "a record of mqtt.max_payload must fit"),
        ("batch.size", "100000", "a round is sent as one request"),
        ("message.max.bytes", "100000", "a round is sent as one request"),
        ("batch.num.messages", "100", "a round is sent as one request"),
        ("debug", "all", "expected log.level"),
        ("log_level", "3", "lost its leader for good"),
        ("topic.blacklist", "a", "would be treated as missing"),
        ("socket.max.fails", "0", "might be taken for the answer to another"),
        ("metadata.max.age.ms", "5000", "would be forgotten"),
        // Contradicts a default of the bridge.
        ("reconnect.backoff.ms", "2000", "reconnect.backoff.max.ms"),
        ("statistics.interval.ms", "1000", "metrics of its own"),
    ] {
        let error = with(name, value).expect_err(name);
        assert!(error.contains(why), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn room_is_asked_for_by_what_the_other_sections_say() {
    let with = |lines: &str, property: &str| {
        let text = MINIMAL.replace("[kafka]", &format!("{lines}\n[kafka]"));
        load(&format!("{text}[kafka.properties]\n{property}\n"), &[]).map(drop)
    };
    let room = "queue.buffering.max.kbytes = 20000";
    with("max_payload = \"16 MiB\"", room).expect("16 MiB fit");
    with("max_payload = \"64 MiB\"", room).expect_err("64 MiB do not");
    // A dead letter of a larger payload keeps more than the payload that passes.
    with("max_payload = \"1 KiB\"", "queue.buffering.max.kbytes = 500").expect_err("512 KiB");
    let debug = "[kafka.properties]\ndebug = \"broker\"\n[log]\nlevel = \"debug\"";
    legal(&format!("{MINIMAL}{debug}"), &[]);
    let many =
        "[delivery]\nwindow_messages = 60000\n[kafka.properties]\nbatch.num.messages = 59999";
    load(&format!("{MINIMAL}{many}"), &[]).expect_err("a round of 60,000");
}

#[test]
fn the_default_queue_has_room_for_the_largest_record() {
    for (max_payload, window) in [("1 B", "1 KiB"), ("1 MiB", "16 MiB"), ("256 MiB", "1 KiB")] {
        let text = MINIMAL.replace("[kafka]", &format!("max_payload = \"{max_payload}\"\n[kafka]"));
        let config = legal(&format!("{text}[delivery]\nwindow_bytes = \"{window}\"\n"), &[]);
        let settings = kafka_client(&config, &config.kafka.properties, KafkaClient::Serial);
        let kib: usize =
            settings.get("queue.buffering.max.kbytes").unwrap_or("").parse().expect("KiB");
        let record = config.connections[0].max_payload_bytes.max(512 * 1024) + 65_536;
        assert!(kib * 1024 > record, "{max_payload}, {window}: {kib} KiB");
    }
}

#[test]
fn the_default_queue_has_room_for_the_windows_of_all_connections() {
    let mut config = legal(MINIMAL, &[]);
    let room = |config: &Config| {
        ["queue.buffering.max.messages", "queue.buffering.max.kbytes"].map(|name| {
            let settings = kafka_client(config, &config.kafka.properties, KafkaClient::Pipelined);
            settings.get(name).unwrap_or("").parse::<usize>().expect("a number")
        })
    };
    let [messages, kib] = room(&config);
    config.connections = vec![config.connections.remove(0); 3];
    let [messages_of_three, kib_of_three] = room(&config);
    assert_eq!(messages_of_three, 3 * messages);
    let window_kib = 2 * config.delivery.window_bytes / 1024;
    assert_eq!(kib_of_three, kib + 2 * window_kib);
    // librdkafka takes no more than ten million.
    config.connections = vec![config.connections.remove(0); 200];
    assert_eq!(room(&config)[0], 10_000_000);
}

#[test]
fn the_systems_authorities_are_trusted_unless_others_are_named() {
    for client in [KafkaClient::Pipelined, KafkaClient::Serial, KafkaClient::Probe] {
        let of = |lines: &str| {
            let config = legal(&format!("{MINIMAL}[kafka.properties]\n{lines}\n"), &[]);
            kafka_client(&config, &config.kafka.properties, client)
                .get("ssl.ca.location")
                .map(str::to_owned)
        };
        let system = openssl_probe::probe().cert_file.expect("this system has authorities");
        assert_eq!(of("client.id = \"b\"").as_deref(), system.to_str());
        assert_eq!(of("ssl.ca.location = \"/dev/null\"").as_deref(), Some("/dev/null"));
        assert_eq!(of("ssl.ca.pem = \"x\""), None, "librdkafka would look at one of them only");
    }
}
