//! Kafka, from the brokers' names to the listeners that they advertise. Pure.

use std::net::IpAddr;

use mqtt_kafka_bridge::kafka::greeting::{Greeting, INIT_PRODUCER_ID, METADATA, PRODUCE, Request};
use mqtt_kafka_bridge::kafka::visit::{Unreachable, Visit};
use mqtt_kafka_bridge::observe::diagnosis;

use super::super::facts::{Advertised, KafkaAddress, KafkaFacts};
use super::super::finding::{
    CLOCK, Check, Finding, KAFKA_ADVERTISED, KAFKA_CERTIFICATE, KAFKA_DNS, KAFKA_IDEMPOTENCE,
    KAFKA_LEADER, KAFKA_LOGIN, KAFKA_PERMISSION, KAFKA_REPLICAS, KAFKA_REQUESTS, KAFKA_SIZE,
    KAFKA_TCP, KAFKA_TLS, KAFKA_TOPIC, Level, cure,
};
use super::{certificates, mqtt};

/// The version of Produce that has headers, which the bridge writes.
const PRODUCE_OLDEST: i16 = 3;
/// A record may be so many milliseconds ahead of this host's clock.
const AHEAD_MAX_MS: i64 = 5_000;

/// The checks behind a login, in order.
const BEHIND: [&Check; 7] = [
    KAFKA_ADVERTISED,
    KAFKA_TOPIC,
    KAFKA_LEADER,
    KAFKA_REPLICAS,
    KAFKA_SIZE,
    KAFKA_PERMISSION,
    KAFKA_IDEMPOTENCE,
];

/// All but the Kafka topics. Returns what was found of Kafka if it answers.
pub(crate) fn cluster(facts: &KafkaFacts) -> (Vec<Finding>, Option<&Visit>) {
    let mut findings = Vec::new();
    if let Some(own) = &facts.own_certificate {
        findings.push(certificates::own(KAFKA_CERTIFICATE, own));
    }
    let answers = |visit: &Visit| visit.answers.is_ok();
    let is_there = facts.visit.as_ref().is_some_and(|visit| visit.as_ref().is_ok_and(answers));
    for address in &facts.addresses {
        // While another one answers, librdkafka goes there.
        let most = if is_there { Level::Warning } else { Level::Error };
        findings.extend(bootstrap(address, is_there).into_iter().map(|it| it.at_most(most)));
    }
    let of = "kafka.brokers";
    let skip = |because: &'static str| BEHIND.map(|check| check.skipped(of, because));
    match &facts.visit {
        None => {
            findings.push(KAFKA_LOGIN.skipped(of, "no broker is reached"));
            findings.extend(skip("no broker is reached"));
            (findings, None)
        }
        Some(Err(why)) => {
            let cure =
                cure("a client of librdkafka", "[kafka.properties], and the files that they name");
            findings.push(KAFKA_LOGIN.error(of, why.clone(), cure));
            findings.extend(skip("there is no client"));
            (findings, None)
        }
        Some(Ok(visit)) => match &visit.answers {
            Err(unreachable) => {
                findings.push(silent(of, unreachable));
                findings.extend(skip("Kafka does not answer"));
                (findings, None)
            }
            Ok(()) => {
                findings.push(there(of, visit));
                findings.extend(advertised(&facts.addresses, &facts.advertised));
                findings.extend(clock(visit, facts.now_ms));
                (findings, Some(visit))
            }
        },
    }
}

fn bootstrap(one: &KafkaAddress, is_there: bool) -> Vec<Finding> {
    let KafkaAddress { address: of, reach, greeting } = one;
    let mut findings = mqtt::reached([KAFKA_DNS, KAFKA_TCP], of, reach, "kafka.brokers");
    let Some(Greeting { tls, requests }) = greeting else {
        findings.push(KAFKA_REQUESTS.skipped(of, "the broker is not reached"));
        return findings;
    };
    match tls {
        Some(Ok(chain)) => {
            let first = chain.first();
            let found = first.map_or_else(
                || "a handshake without a certificate".to_owned(),
                |first| format!("certificate for {}, from {}", first.names.join(", "), first.issuer),
            );
            findings.push(KAFKA_TLS.ok(of, found));
            findings.push(certificates::shown(KAFKA_CERTIFICATE, of, chain));
        }
        Some(Err(why)) => findings.push(KAFKA_TLS.error(
            of,
            format!("no TLS: {why}"),
            cure(
                "a listener for TLS, since security.protocol says so",
                "the port of the TLS listener, or security.protocol without SSL; with `certificate required`, \
                 ssl.certificate.location and ssl.key.location",
            ),
        )),
        None => {}
    }
    findings.push(match requests {
        None => KAFKA_REQUESTS.skipped(of, "there is no TLS"),
        Some(Ok(requests)) => known(of, requests),
        Some(Err(why)) if is_there => {
            KAFKA_REQUESTS.info(of, format!("not told before a login: {why}"))
        }
        Some(Err(why)) => KAFKA_REQUESTS.error(
            of,
            format!("no answer of Kafka: {why}"),
            cure(
                "a listener of a Kafka broker that speaks as security.protocol says",
                "the port of a broker's listener; `SSL` or `SASL_SSL` in security.protocol if it is for TLS",
            ),
        ),
    });
    findings
}

fn known(of: &str, requests: &[Request]) -> Finding {
    let of_key = |key: i16| requests.iter().find(|request| request.key == key);
    let told = |name: &str, key: i16| {
        of_key(key).map_or_else(
            || format!("no {name}"),
            |it| format!("{name} {} to {}", it.oldest, it.newest),
        )
    };
    let found =
        [("Produce", PRODUCE), ("Metadata", METADATA), ("InitProducerId", INIT_PRODUCER_ID)]
            .map(|(name, key)| told(name, key))
            .join(", ");
    let is_new = |key, oldest| of_key(key).is_some_and(|request| request.newest >= oldest);
    if of_key(PRODUCE).is_none() {
        let cure = cure(
            "a broker, which knows Produce",
            "in kafka.brokers the port of a broker's listener, often 9092: this is most likely a controller's",
        );
        return KAFKA_REQUESTS.error(of, found, cure);
    }
    if !is_new(PRODUCE, PRODUCE_OLDEST) || of_key(INIT_PRODUCER_ID).is_none() {
        let cure = cure(
            format!("Produce {PRODUCE_OLDEST} or newer, and InitProducerId"),
            "brokers of Kafka 0.11 or newer: the bridge writes headers, with an idempotent producer",
        );
        return KAFKA_REQUESTS.error(of, found, cure);
    }
    KAFKA_REQUESTS.ok(of, found)
}

fn silent(of: &str, Unreachable { is_login, detail }: &Unreachable) -> Finding {
    let (expected, advice) = match is_login {
        true => (
            "a login that Kafka takes",
            "sasl.username, sasl.password and sasl.mechanism, or the token's source",
        ),
        false => ("an answer", "the broker's log, and what is between"),
    };
    let cured = diagnosis::told(detail).map(|likely| likely.cure);
    KAFKA_LOGIN.error(of, detail.clone(), cure(expected, cured.unwrap_or(advice)))
}

fn there(of: &str, visit: &Visit) -> Finding {
    if visit.brokers.is_empty() {
        let advice = "ask again in a minute: Kafka answers so while it starts; else the log of its controllers says \
            why no broker is registered";
        let found = "Kafka answers, and names no broker";
        return KAFKA_LOGIN.error(of, found, cure("at least one broker", advice));
    }
    let named: Vec<_> =
        visit.brokers.iter().map(|(id, address)| format!("{id} = {address}")).collect();
    let cluster = match &visit.cluster {
        Ok(cluster) => format!("cluster {}, brokers: {}", cluster.id, cluster.brokers),
        Err(_) => format!("brokers: {}", visit.brokers.len()),
    };
    KAFKA_LOGIN.ok(of, format!("Kafka answers: {cluster}: {}", named.join(", ")))
}

/// The commonest fault with containers: the broker names itself by an address that only it can reach.
fn advertised(bootstrap: &[KafkaAddress], all: &[Advertised]) -> Vec<Finding> {
    let is_far = |reach: &KafkaAddress| {
        let addresses = reach.reach.tried.iter().filter(|one| one.failed.is_none());
        addresses.map(|one| one.address.ip()).any(|ip| !is_here(ip))
    };
    let comes_from_far = bootstrap.iter().any(is_far);
    let judge = |Advertised { id, address, reach }: &Advertised| {
        let of = format!("broker {id}, {address}");
        let expected = "an address that this host reaches";
        let advice = "start that broker if it is down; else, on the broker, `advertised.listeners` with a name and \
            port that the bridge's host reaches; in Compose or Kubernetes the name of the service, and a listener of its own for clients outside";
        match &reach.addresses {
            Err(why) => KAFKA_ADVERTISED.error(of, why.clone(), cure(expected, advice)),
            Ok(addresses) if !reach.is_reached() => {
                let failed = reach
                    .tried
                    .iter()
                    .filter_map(|one| Some(format!("{}: {}", one.address, one.failed.as_ref()?)));
                let mut found = failed.collect::<Vec<_>>().join("; ");
                if addresses.iter().all(|address| is_here(address.ip())) {
                    found.push_str("; to the bridge, that address is its own host");
                }
                KAFKA_ADVERTISED.error(of, found, cure(expected, advice))
            }
            Ok(addresses) if comes_from_far && addresses.iter().all(|it| is_here(it.ip())) => {
                KAFKA_ADVERTISED.warning(
                    of,
                    "it takes connections, but that address is this host, and kafka.brokers is not",
                    cure(expected, advice),
                )
            }
            Ok(_) => KAFKA_ADVERTISED.ok(of, "reached"),
        }
    };
    all.iter().map(judge).collect()
}

fn is_here(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

fn clock(visit: &Visit, now_ms: i64) -> Option<Finding> {
    let (kafka_topic, timestamp_ms) = visit.newest.as_ref()?;
    let ahead_ms = timestamp_ms - now_ms;
    let of = format!("the newest record of {kafka_topic}");
    Some(match ahead_ms {
        ..=AHEAD_MAX_MS => CLOCK.ok(of, "not from the future"),
        _ => CLOCK.warning(
            of,
            format!("its timestamp is {} s ahead of this host's clock", ahead_ms / 1000),
            cure(
                format!("at most {} s", AHEAD_MAX_MS / 1000),
                "synchronise the clocks of this host, of Kafka's brokers and of who else writes there",
            ),
        ),
    })
}

#[cfg(test)]
#[path = "kafka_tests.rs"]
pub(super) mod tests;
