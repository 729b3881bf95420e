//! Each fact, and the finding that it must lead to.

use std::collections::BTreeMap;

use mqtt_kafka_bridge::kafka::visit::Partition;

use super::super::kafka::tests::visit;
use super::*;
use crate::doctor::finding::Level;

fn config(more: &str) -> Config {
    let text = format!(
        "[mqtt]\nurl = 'mqtt://m'\nclient_id = 'c'\nmax_payload = '900 KiB'\n[kafka]\nbrokers = ['k:9092']\n\
         [[routes]]\nfilter = 'a/#'\nkafka_topic = 't'\n{more}"
    );
    Config::from_toml(&text, "config.toml", BTreeMap::new()).expect("legal")
}

fn partition(replicas: usize, in_sync: usize) -> Partition {
    Partition { id: 0, has_leader: true, replicas, in_sync }
}

fn found(partition: Partition) -> Found {
    Found {
        partitions: vec![partition],
        operations: Some(vec![operation::WRITE, operation::DESCRIBE]),
    }
}

fn settings(least: usize) -> Settings {
    Settings {
        min_in_sync: Some(least),
        max_message_bytes: Some(1_048_588),
        cleanup_policy: Some("delete".to_owned()),
    }
}

fn healthy() -> KafkaTopic {
    let name = "t".to_owned();
    KafkaTopic { name, found: Ok(found(partition(3, 3))), settings: Ok(settings(2)) }
}

fn with(partition: Partition, least: usize) -> KafkaTopic {
    KafkaTopic { found: Ok(found(partition)), settings: Ok(settings(least)), ..healthy() }
}

fn set(change: impl FnOnce(&mut Settings)) -> KafkaTopic {
    let mut settings = settings(2);
    change(&mut settings);
    KafkaTopic { settings: Ok(settings), ..healthy() }
}

fn may(operations: Option<Vec<u32>>) -> KafkaTopic {
    KafkaTopic { found: Ok(Found { operations, ..found(partition(3, 3)) }), ..healthy() }
}

fn missing(code: i32) -> KafkaTopic {
    KafkaTopic { found: Err((code, "x".to_owned())), ..healthy() }
}

fn bad(config: &Config, visit: &Visit) -> Vec<(&'static str, Level)> {
    let findings = judge(config, visit);
    for finding in &findings {
        assert_eq!(finding.level > Level::Info, !finding.advice.is_empty(), "{finding:?}");
    }
    let told = findings.iter().filter(|it| it.level > Level::Ok);
    told.map(|it| (it.check.name, it.level)).collect()
}

#[test]
fn each_fault_has_its_finding() {
    use Level::{Error, Info, Warning};
    let keyless = config("key = ''\n");
    let plain = config("");
    let leaderless = Partition { has_leader: false, ..partition(3, 3) };
    for (name, config, kafka_topic, expected) in [
        ("healthy", &plain, healthy(), vec![]),
        ("missing", &plain, missing(3), vec![("kafka_topic", Error)]),
        ("not to be seen", &plain, missing(29), vec![("kafka_permission", Error)]),
        ("strange", &plain, missing(-1), vec![("kafka_topic", Error)]),
        (
            "not to be written",
            &plain,
            may(Some(vec![operation::DESCRIBE])),
            vec![("kafka_permission", Error)],
        ),
        ("everything", &plain, may(Some(vec![operation::ALL])), vec![]),
        ("untold", &plain, may(None), vec![("kafka_permission", Info)]),
        ("no leader", &plain, with(leaderless, 2), vec![("kafka_leader", Error)]),
        ("more than there are", &plain, with(partition(1, 1), 2), vec![("kafka_replicas", Error)]),
        ("too few in sync", &plain, with(partition(3, 1), 2), vec![("kafka_replicas", Error)]),
        ("one behind", &plain, with(partition(3, 2), 2), vec![("kafka_replicas", Warning)]),
        ("none to spare", &plain, with(partition(3, 3), 3), vec![("kafka_replicas", Warning)]),
        ("one is enough", &plain, with(partition(3, 3), 1), vec![("kafka_replicas", Warning)]),
        ("a single one", &plain, with(partition(1, 1), 1), vec![("kafka_replicas", Info)]),
        (
            "too small",
            &plain,
            set(|it| it.max_message_bytes = Some(100_000)),
            vec![("kafka_size", Warning)],
        ),
        (
            "a little small",
            &plain,
            set(|it| it.max_message_bytes = Some(921_700)),
            vec![("kafka_size", Info)],
        ),
        (
            "compacted, without keys",
            &keyless,
            set(|it| it.cleanup_policy = Some("compact,delete".to_owned())),
            vec![("kafka_compaction", Error)],
        ),
        ("compacted", &plain, set(|it| it.cleanup_policy = Some("compact".to_owned())), vec![]),
        (
            "no settings",
            &plain,
            KafkaTopic { settings: Err((29, "x".to_owned())), ..healthy() },
            vec![("kafka_replicas", Info)],
        ),
    ] {
        let visit = Visit { kafka_topics: Ok(vec![kafka_topic]), ..visit() };
        assert_eq!(bad(config, &visit), expected, "{name}");
    }
}

#[test]
fn a_leader_that_is_not_reached_and_a_cluster_that_is_not_described_are_told() {
    let away =
        TopicTrouble::LeaderAway("k2:9092, which leads partition 1, is unreachable".to_owned());
    let plain = config("");
    let seen = Visit {
        kafka_topics: Ok(vec![healthy()]),
        troubles: [("t".to_owned(), away)].into(),
        ..visit()
    };
    assert_eq!(bad(&plain, &seen), [("kafka_leader", Level::Error)]);
    let unseen = Visit { kafka_topics: Err("denied".to_owned()), ..visit() };
    assert_eq!(bad(&plain, &unseen), [("kafka_topic", Level::Warning)]);
}

#[test]
fn what_templates_name_and_create_is_told() {
    let text = "[[routes]]\nfilter = 'b/{x}'\nkafka_topic = '{x}'\nmissing_topic = 'create'\n";
    let config = config(text);
    let info = |name| (name, Level::Info);
    let may = |operations| {
        let mut seen = visit();
        if let Ok(cluster) = &mut seen.cluster {
            cluster.operations = Some(operations);
        }
        seen
    };
    let told = bad(&config, &may(vec![operation::CREATE, operation::IDEMPOTENT_WRITE]));
    assert_eq!(told, [info("kafka_topic")]);
    let told = bad(&config, &may(vec![]));
    assert_eq!(told, [info("kafka_topic"), info("kafka_permission"), info("kafka_idempotence")]);
}

#[test]
fn a_kafka_topic_that_can_never_have_enough_replicas_needs_more_of_them() {
    for (partition, words) in
        [(partition(1, 1), "more replicas"), (partition(3, 1), "start the brokers")]
    {
        let visit = Visit { kafka_topics: Ok(vec![with(partition, 2)]), ..visit() };
        let findings = judge(&config(""), &visit);
        let told = findings.iter().find(|it| it.check == KAFKA_REPLICAS).expect("one");
        assert!(told.advice.contains(words), "{told:?}");
    }
}
