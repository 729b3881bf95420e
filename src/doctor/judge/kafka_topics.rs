//! The Kafka topics of the configuration. Pure.

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::kafka::classify;
use mqtt_kafka_bridge::kafka::visit::{Found, KafkaTopic, Settings, Visit, operation};
use mqtt_kafka_bridge::message::IfMissing;
use mqtt_kafka_bridge::observe::TopicTrouble;
use mqtt_kafka_bridge::route::rule::Key;

use super::super::finding::{
    Finding, KAFKA_COMPACTION, KAFKA_IDEMPOTENCE, KAFKA_LEADER, KAFKA_PERMISSION, KAFKA_REPLICAS,
    KAFKA_SIZE, KAFKA_TOPIC, cure,
};

/// Kafka's code of a Kafka topic that this client may not see.
const DENIED: i32 = 29;
/// A batch has so many bytes beside the payload of its one record: its own head, the record's, key and headers.
const BESIDE_PAYLOAD: u64 = 16 * 1024;
/// What the least of them has: a short MQTT topic as its key, and no headers.
const BESIDE_MIN: u64 = 128;

/// Each of them, and what this client may do.
pub(crate) fn judge(config: &Config, visit: &Visit) -> Vec<Finding> {
    let mut findings: Vec<_> = match &visit.kafka_topics {
        Ok(kafka_topics) => {
            kafka_topics.iter().flat_map(|it| kafka_topic(config, visit, it)).collect()
        }
        Err(why) => {
            let none = KAFKA_TOPIC.warning(
                "kafka topics",
                format!("not described: {why}"),
                cure(
                    "an answer to DescribeTopics",
                    "first what kafka_advertised says; else the permission DESCRIBE, or the broker's log",
                ),
            );
            // What was seen before.
            let away = visit.troubles.iter().filter_map(|(name, trouble)| away(name, trouble));
            std::iter::once(none).chain(away).collect()
        }
    };
    findings.extend(of_templates(config, visit));
    findings.extend(idempotence(visit));
    findings
}

fn kafka_topic(config: &Config, visit: &Visit, it: &KafkaTopic) -> Vec<Finding> {
    let KafkaTopic { name, found, settings } = it;
    let found = match found {
        Ok(found) => found,
        Err((code, _)) if classify::is_topic_missing(*code) => {
            let cure = cure(
                "a Kafka topic of that name",
                "create it, with the partitions and replicas that are wanted; until then its messages are held \
                 (or, with auto.create.topics.enable, Kafka makes one with its defaults)",
            );
            return vec![KAFKA_TOPIC.error(name, "it does not exist", cure)];
        }
        Err((DENIED, _)) => {
            let cure = cure(
                "DESCRIBE and WRITE",
                "grant them to the bridge's user; until then its messages are held",
            );
            return vec![KAFKA_PERMISSION.error(name, "the bridge may not see it", cure)];
        }
        Err((code, sentence)) => {
            let text = format!("{} ({code}): {sentence}", classify::name(*code));
            return vec![KAFKA_TOPIC.error(
                name,
                text,
                cure("a Kafka topic that can be used", "the broker's log"),
            )];
        }
    };
    let count = found.partitions.len();
    let mut findings = vec![KAFKA_TOPIC.ok(name, partitions(count))];
    findings.push(leaders(visit, name, found));
    findings.push(permission(name, found));
    match settings {
        Err((code, _)) => {
            let found = format!("its settings are not shown ({})", classify::name(*code));
            let granted = "DESCRIBE_CONFIGS would let the doctor compare replicas and sizes; the bridge does not need it";
            findings.push(KAFKA_REPLICAS.info(name, format!("{found}: {granted}")));
        }
        Ok(settings) => {
            findings.extend(replicas(name, found, settings));
            findings.extend(size(config, name, settings));
            findings.extend(compaction(config, name, settings));
        }
    }
    findings
}

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}

fn leaders(visit: &Visit, name: &str, found: &Found) -> Finding {
    let none: Vec<_> =
        found.partitions.iter().filter(|it| !it.has_leader).map(|it| it.id).collect();
    if let Some(first) = none.first() {
        let text = format!("{} without a leader, the first is {first}", partitions(none.len()));
        let cure = cure("a leader for each partition", "start the brokers that have the replicas");
        return KAFKA_LEADER.error(name, text, cure);
    }
    let away = visit.troubles.get(name).and_then(|trouble| away(name, trouble));
    away.unwrap_or_else(|| KAFKA_LEADER.ok(name, "each partition has a leader that answers"))
}

fn away(name: &str, trouble: &TopicTrouble) -> Option<Finding> {
    let TopicTrouble::LeaderAway(detail) = trouble else { return None };
    let cure = cure(
        "leaders that this host reaches",
        "start that broker if it is down; else its `advertised.listeners`, or the network on the way to it",
    );
    Some(KAFKA_LEADER.error(name, detail.clone(), cure))
}

fn permission(name: &str, found: &Found) -> Finding {
    match &found.operations {
        None => KAFKA_PERMISSION.info(name, "Kafka does not say what the bridge may do"),
        Some(may) if may.contains(&operation::WRITE) || may.contains(&operation::ALL) => {
            KAFKA_PERMISSION.ok(name, "the bridge may write")
        }
        Some(_) => {
            let cure =
                cure("WRITE", "grant it to the bridge's user; until then its messages are held");
            KAFKA_PERMISSION.error(name, "the bridge may not write", cure)
        }
    }
}

/// The bridge waits for all replicas in sync, and Kafka refuses if those are too few.
fn replicas(name: &str, found: &Found, settings: &Settings) -> Vec<Finding> {
    let Some(least) = settings.min_in_sync else { return Vec::new() };
    let (of_all, in_sync) = (
        found.partitions.iter().map(|it| it.replicas).min().unwrap_or_default(),
        found.partitions.iter().map(|it| it.in_sync).min().unwrap_or_default(),
    );
    let text = format!(
        "{of_all} replicas, {in_sync} in sync, min.insync.replicas = {least}{}",
        if found.partitions.len() > 1 { " (the partition with the fewest)" } else { "" }
    );
    let finding = if least > of_all {
        let cure = cure(
            format!("{least} replicas or more, or a lower min.insync.replicas"),
            "more replicas, or min.insync.replicas of the Kafka topic: Kafka refuses every record now",
        );
        KAFKA_REPLICAS.error(name, text, cure)
    } else if in_sync < least {
        let cure = cure(
            format!("{least} in sync or more"),
            "start the brokers that are away: Kafka refuses every record of these partitions now",
        );
        KAFKA_REPLICAS.error(name, text, cure)
    } else if found.partitions.iter().any(|it| it.in_sync < it.replicas) {
        let cure = cure(
            "all replicas in sync",
            "start the brokers that are away, or wait until they have caught up",
        );
        KAFKA_REPLICAS.warning(name, text, cure)
    } else if of_all > 1 && least == of_all {
        let cure = cure(
            "min.insync.replicas below the number of replicas",
            "lower it by one, or add a replica: now the bridge waits whenever one broker is restarted",
        );
        KAFKA_REPLICAS.warning(name, text, cure)
    } else if of_all > 1 && least == 1 {
        let cure = cure(
            "min.insync.replicas of 2 or more",
            "raise it: now a record counts as acknowledged when one broker has it, and is lost with that broker",
        );
        KAFKA_REPLICAS.warning(name, text, cure)
    } else if of_all == 1 {
        KAFKA_REPLICAS.info(name, format!("{text}: what its one broker loses is lost"))
    } else {
        KAFKA_REPLICAS.ok(name, text)
    };
    vec![finding]
}

fn size(config: &Config, name: &str, settings: &Settings) -> Option<Finding> {
    let limit = settings.max_message_bytes?;
    let routes = config.routes.iter();
    let writes = |section: &str| {
        routes.clone().any(|route| {
            route.is_from(section) && route.kafka_topic.as_fixed().is_some_and(|it| **it == *name)
        })
    };
    let payloads = config.connections.iter().filter(|mqtt| writes(&mqtt.section));
    // That of dead letters has a beginning of each payload.
    let largest = payloads.map(|mqtt| mqtt.max_payload_bytes as u64).max()?;
    let text = format!("max.message.bytes = {limit}, mqtt.max_payload = {largest} bytes");
    Some(if limit + BESIDE_PAYLOAD < largest + BESIDE_MIN {
        let cure = cure(
            format!("max.message.bytes of {} or more", largest + BESIDE_PAYLOAD),
            "raise it, or lower mqtt.max_payload: larger messages go to the dead letter (kafka_too_large)",
        );
        KAFKA_SIZE.warning(name, text, cure)
    } else if limit < largest + BESIDE_PAYLOAD {
        KAFKA_SIZE.info(
            name,
            format!("{text}: a payload near its limit goes to the dead letter, since key and headers count too"),
        )
    } else {
        KAFKA_SIZE.ok(name, text)
    })
}

fn compaction(config: &Config, name: &str, settings: &Settings) -> Option<Finding> {
    let policy = settings.cleanup_policy.as_deref()?;
    if !policy.contains("compact") {
        return None;
    }
    let keyless = config.routes.iter().find(|route| {
        route.key == Key::None && route.kafka_topic.as_fixed().is_some_and(|it| **it == *name)
    });
    Some(match keyless {
        Some(route) => KAFKA_COMPACTION.error(
            name,
            format!("cleanup.policy = {policy}, and route {} writes no key", route.name),
            cure(
                "a key for each record",
                "key of the route, or cleanup.policy = delete: Kafka refuses them now",
            ),
        ),
        None => KAFKA_COMPACTION
            .ok(name, format!("cleanup.policy = {policy}, and each record has a key")),
    })
}

fn of_templates(config: &Config, visit: &Visit) -> Vec<Finding> {
    let mut findings = Vec::new();
    let templates = config.routes.iter().filter(|route| route.kafka_topic.as_fixed().is_none());
    let templates: Vec<_> = templates.collect();
    if let Some(first) = templates.first() {
        findings.push(KAFKA_TOPIC.info(
            format!("route {}", first.name),
            format!(
                "{} names Kafka topics by a template: which, only messages say (`map --live` shows them)",
                if templates.len() == 1 { "it".to_owned() } else { format!("it and {} more", templates.len() - 1) }
            ),
        ));
    }
    let creates = templates.iter().find(|route| matches!(route.if_missing, IfMissing::Create(_)));
    if let (Some(route), Ok(cluster)) = (creates, &visit.cluster) {
        let of = format!("route {}", route.name);
        findings.push(match &cluster.operations {
            Some(may) if may.contains(&operation::CREATE) || may.contains(&operation::ALL) => {
                KAFKA_PERMISSION.ok(of, "the bridge may create Kafka topics")
            }
            _ => KAFKA_PERMISSION.info(
                of,
                "no permission to create Kafka topics in the whole cluster: missing_topic = \"create\" needs CREATE \
                 on the names, which cannot be seen from here",
            ),
        });
    }
    findings
}

fn idempotence(visit: &Visit) -> Option<Finding> {
    let of = "cluster";
    let cluster = visit.cluster.as_ref().ok()?;
    Some(match &cluster.operations {
        Some(may) if may.contains(&operation::IDEMPOTENT_WRITE) || may.contains(&operation::ALL) => {
            KAFKA_IDEMPOTENCE.ok(of, "the bridge may write with an idempotent producer")
        }
        Some(_) => KAFKA_IDEMPOTENCE.info(
            of,
            "no IDEMPOTENT_WRITE: before Kafka 2.8 the bridge needs it, since then WRITE on a Kafka topic is enough",
        ),
        None => KAFKA_IDEMPOTENCE.info(of, "Kafka does not say"),
    })
}

#[cfg(test)]
#[path = "kafka_topics_tests.rs"]
mod tests;
