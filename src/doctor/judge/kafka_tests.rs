//! Each fact, and the finding that it must lead to.

use std::collections::BTreeMap;

use mqtt_kafka_bridge::kafka::visit::Cluster;
use mqtt_kafka_bridge::reach::Reach;

use super::super::certificates::tests::valid;
use super::super::mqtt::tests::reach;
use super::*;
use crate::doctor::facts::OwnCertificate;

fn request((key, oldest, newest): (i16, i16, i16)) -> Request {
    Request { key, oldest, newest }
}

fn knows(requests: &[(i16, i16, i16)]) -> Greeting {
    Greeting { tls: None, requests: Some(Ok(requests.iter().copied().map(request).collect())) }
}

fn broker() -> Greeting {
    knows(&[(PRODUCE, 3, 12), (METADATA, 0, 13), (INIT_PRODUCER_ID, 0, 5)])
}

fn bootstrap(reach: Reach, greeting: Option<Greeting>) -> KafkaAddress {
    KafkaAddress { address: "kafka:9092".to_owned(), reach, greeting }
}

pub(crate) fn visit() -> Visit {
    Visit {
        answers: Ok(()),
        brokers: vec![(1, "kafka:9092".to_owned())],
        troubles: BTreeMap::new(),
        cluster: Ok(Cluster { id: "c".to_owned(), brokers: 1, operations: Some(vec![12]) }),
        kafka_topics: Ok(Vec::new()),
        newest: None,
    }
}

fn there() -> Reach {
    reach(&[("192.0.2.1:9092", None)])
}

fn healthy() -> KafkaFacts {
    KafkaFacts {
        addresses: vec![bootstrap(there(), Some(broker()))],
        visit: Some(Ok(visit())),
        advertised: vec![advertises(there())],
        own_certificate: None,
        now_ms: 1_000_000,
    }
}

fn advertises(reach: Reach) -> Advertised {
    Advertised { id: 1, address: "kafka:9092".to_owned(), reach }
}

fn greeted(greeting: Greeting) -> KafkaFacts {
    KafkaFacts { addresses: vec![bootstrap(there(), Some(greeting))], ..healthy() }
}

fn silent(is_login: bool, detail: &str) -> KafkaFacts {
    let answers = Err(Unreachable { is_login, detail: detail.to_owned() });
    KafkaFacts {
        visit: Some(Ok(Visit { answers, ..visit() })),
        advertised: Vec::new(),
        ..healthy()
    }
}

fn newest(timestamp_ms: i64) -> KafkaFacts {
    let newest = Some(("t".to_owned(), timestamp_ms));
    KafkaFacts { visit: Some(Ok(Visit { newest, ..visit() })), ..healthy() }
}

fn unreached(reach: Reach) -> KafkaFacts {
    KafkaFacts {
        addresses: vec![bootstrap(reach, None)],
        visit: None,
        advertised: Vec::new(),
        ..healthy()
    }
}

#[test]
fn each_fault_has_its_finding() {
    use Level::{Error, Info, Warning};
    let unresolved = || Reach { addresses: Err("cannot resolve".to_owned()), tried: Vec::new() };
    let closed = || reach(&[("192.0.2.1:9092", Some("refused"))]);
    let tls = |tls| Greeting { tls: Some(tls), ..broker() };
    let no_tls = Greeting { tls: Some(Err("closed".to_owned())), requests: None };
    let untold = Greeting { tls: None, requests: Some(Err("it closed the connection".to_owned())) };
    let two = |second: KafkaAddress| {
        let mut facts = healthy();
        facts.addresses.push(second);
        facts
    };
    let advertised = |reach| KafkaFacts { advertised: vec![advertises(reach)], ..healthy() };
    let own = |days| {
        let found = Ok(vec![valid(days)]);
        Some(OwnCertificate { key: "ssl.certificate.location", path: "f".into(), found })
    };
    for (name, facts, expected) in [
        ("healthy", healthy(), vec![]),
        ("no name", unreached(unresolved()), vec![("kafka_dns", Error)]),
        ("nobody", unreached(closed()), vec![("kafka_tcp", Error)]),
        ("one of two", two(bootstrap(closed(), None)), vec![("kafka_tcp", Warning)]),
        (
            "controller",
            KafkaFacts {
                addresses: greeted(knows(&[(METADATA, 0, 1)])).addresses,
                ..silent(false, "x")
            },
            vec![("kafka_requests", Error), ("kafka_login", Error)],
        ),
        (
            "too old",
            KafkaFacts {
                addresses: greeted(knows(&[(PRODUCE, 0, 2), (METADATA, 0, 1)])).addresses,
                ..silent(false, "x")
            },
            vec![("kafka_requests", Error), ("kafka_login", Error)],
        ),
        ("told only to some", greeted(untold.clone()), vec![("kafka_requests", Info)]),
        (
            "no Kafka",
            KafkaFacts { addresses: greeted(untold).addresses, ..silent(false, "x") },
            vec![("kafka_requests", Error), ("kafka_login", Error)],
        ),
        (
            "no TLS",
            KafkaFacts { addresses: greeted(no_tls).addresses, ..silent(false, "x") },
            vec![("kafka_tls", Error), ("kafka_login", Error)],
        ),
        ("certificate", greeted(tls(Ok(vec![valid(3)]))), vec![("kafka_certificate", Warning)]),
        ("good certificate", greeted(tls(Ok(vec![valid(300)]))), vec![]),
        (
            "own",
            KafkaFacts { own_certificate: own(-2), ..healthy() },
            vec![("kafka_certificate", Error)],
        ),
        ("login", silent(true, "x"), vec![("kafka_login", Error)]),
        (
            "no client",
            KafkaFacts {
                visit: Some(Err("ssl.ca.location".to_owned())),
                advertised: Vec::new(),
                ..healthy()
            },
            vec![("kafka_login", Error)],
        ),
        ("advertised name", advertised(unresolved()), vec![("kafka_advertised", Error)]),
        ("advertised port", advertised(closed()), vec![("kafka_advertised", Error)]),
        (
            "advertised localhost, nobody there",
            advertised(reach(&[("127.0.0.1:9092", Some("refused"))])),
            vec![("kafka_advertised", Error)],
        ),
        (
            "advertised localhost, somebody there",
            advertised(reach(&[("127.0.0.1:9092", None)])),
            vec![("kafka_advertised", Warning)],
        ),
        ("clock a little ahead", newest(1_004_000), vec![]),
        ("clock ahead", newest(1_400_000), vec![("clock", Warning)]),
        ("old records", newest(1), vec![]),
    ] {
        let (findings, _) = cluster(&facts);
        let told = findings.iter().filter(|it| it.level > Level::Ok && !it.is_skipped);
        let told: Vec<_> = told.map(|it| (it.check.name, it.level)).collect();
        assert_eq!(told, expected, "{name}: {findings:#?}");
        for finding in &findings {
            let has_advice = finding.level > Level::Info;
            assert_eq!(has_advice, !finding.advice.is_empty(), "{name}: {finding:?}");
        }
    }
}

#[test]
fn a_broker_and_a_bridge_on_one_host_may_both_say_localhost() {
    let here = || reach(&[("127.0.0.1:9092", None)]);
    let facts = KafkaFacts {
        addresses: vec![bootstrap(here(), Some(broker()))],
        advertised: vec![advertises(here())],
        ..healthy()
    };
    let (findings, _) = cluster(&facts);
    assert!(findings.iter().all(|it| it.level == Level::Ok), "{findings:#?}");
}

#[test]
fn the_cure_is_that_of_the_likely_cause_and_what_is_behind_is_skipped() {
    // Its cure has a semicolon of its own.
    let likely = &diagnosis::KAFKA_CERTIFICATE;
    let facts = silent(false, &format!("{likely}; no answer"));
    let (findings, answering) = cluster(&facts);
    assert!(answering.is_none());
    let login = findings.iter().find(|it| it.check == KAFKA_LOGIN).expect("one");
    assert!(likely.cure.contains("; "), "{likely}");
    assert_eq!(login.advice, likely.cure);
    for check in BEHIND {
        assert!(findings.iter().any(|it| it.check == check && it.is_skipped), "{}", check.name);
    }
}

#[test]
fn a_controller_and_an_old_broker_are_told_apart() {
    for (requests, words) in [
        (&[(METADATA, 0, 1)][..], "a controller's"),
        (&[(PRODUCE, 0, 2), (METADATA, 0, 1)], "Kafka 0.11 or newer"),
    ] {
        let (findings, _) = cluster(&greeted(knows(requests)));
        let told = findings.iter().find(|it| it.check == KAFKA_REQUESTS).expect("one");
        assert!(told.advice.contains(words), "{told:?}");
    }
}
