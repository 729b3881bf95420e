//! Each fact, and the finding that it must lead to.

use std::net::SocketAddr;

use super::super::super::finding::worst;
use super::super::certificates::tests::valid;
use super::*;
use mqtt_kafka_bridge::config::{BrokerAddress, Endpoint, StatusConfig};
use mqtt_kafka_bridge::message::{Qos, RouteId};
use mqtt_kafka_bridge::mqtt::packet::ServerLimits;
use mqtt_kafka_bridge::mqtt::visit::{Granted, Seen};
use mqtt_kafka_bridge::observe::diagnosis;
use mqtt_kafka_bridge::reach::Tried;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Addresses that take connections, or do not, and why.
pub(crate) fn reach(tried: &[(&str, Option<&str>)]) -> Reach {
    let tried = tried
        .iter()
        .map(|(address, failed)| Tried { address: at(address), failed: failed.map(str::to_owned) });
    let tried: Vec<_> = tried.collect();
    Reach { addresses: Ok(tried.iter().map(|one| one.address).collect()), tried }
}

fn there() -> Reach {
    reach(&[("192.0.2.1:1883", None)])
}

fn mqtt() -> MqttConfig {
    MqttConfig {
        section: "mqtt".into(),
        addresses: vec![BrokerAddress::tcp("broker", 1883)],
        session_expiry_s: 86_400,
        keep_alive: std::time::Duration::from_secs(60),
        ..MqttConfig::default()
    }
}

fn routes() -> Vec<Route> {
    let filters = ["a/#", "$share/g/b"].into_iter().enumerate();
    let route =
        |(id, filter): (usize, &str)| Route::new(RouteId(id), filter.parse().expect("legal"), "t");
    filters.map(route).collect()
}

/// A broker without a fault.
fn healthy() -> Visit {
    let answers = [(RouteId(0), Granted::Qos(1)), (RouteId(1), Granted::Qos(1))].into();
    Visit {
        client_id: "bridge-doctor-1".to_owned(),
        connected: Some(Ok(())),
        accepted: Some(Ok(accepted(|_| {}))),
        subscriptions: Some(Seen { answers, are_all: true, ..Seen::default() }),
        ..Visit::default()
    }
}

fn accepted(change: impl FnOnce(&mut ServerLimits)) -> Accepted {
    let mut limits = ServerLimits { session_expiry_s: Some(86_400), ..ServerLimits::default() };
    change(&mut limits);
    Accepted { version: Version::V5, had_session: false, keep_alive_s: 60, limits }
}

fn limited(change: impl FnOnce(&mut ServerLimits)) -> Visit {
    Visit { accepted: Some(Ok(accepted(change))), ..healthy() }
}

fn refused(lost: Lost, code: Option<u8>) -> Visit {
    let not = NotAccepted { lost, code, likely: None };
    let accepted = Some(Err(not));
    Visit { accepted, subscriptions: None, ..healthy() }
}

fn one(reach: Option<Reach>, visit: Option<Visit>) -> MqttAddress {
    MqttAddress { address: BrokerAddress::tcp("broker", 1883), proxy: None, reach, visit }
}

/// Names and levels above `ok`.
fn bad(mqtt: &MqttConfig, addresses: &[MqttAddress]) -> Vec<(&'static str, Level)> {
    let findings = connection(mqtt, &routes(), None, addresses);
    for finding in &findings {
        let has_advice = finding.level > Level::Info;
        assert_eq!(
            has_advice,
            !finding.advice.is_empty() && !finding.expected.is_empty(),
            "{finding:?}"
        );
    }
    let told = findings.iter().filter(|it| it.level > Level::Ok && !it.is_skipped);
    told.map(|it| (it.check.name, it.level)).collect()
}

fn of_visit(visit: Visit) -> Vec<(&'static str, Level)> {
    bad(&mqtt(), &[one(Some(there()), Some(visit))])
}

#[test]
fn a_healthy_broker_has_nothing_above_ok() {
    assert_eq!(of_visit(healthy()), []);
}

#[test]
fn each_fault_on_the_way_has_its_finding_and_what_is_behind_it_is_skipped() {
    let unresolved = Reach { addresses: Err("cannot resolve".to_owned()), tried: Vec::new() };
    let closed =
        reach(&[("192.0.2.1:1883", Some("refused")), ("192.0.2.2:1883", Some("timed out"))]);
    let half = reach(&[("192.0.2.1:1883", Some("refused")), ("192.0.2.2:1883", None)]);
    let lost = |reason| Lost::new(reason, "what is wrong: what to do");
    let tls =
        |result| Visit { tls: Some(result), accepted: None, subscriptions: None, ..healthy() };
    let error = Level::Error;
    for (reach, visit, expected) in [
        (unresolved, None, vec![("mqtt_dns", error)]),
        (closed, None, vec![("mqtt_tcp", error), ("mqtt_tcp", error)]),
        (half, Some(healthy()), vec![("mqtt_tcp", Level::Warning)]),
        (
            there(),
            Some(Visit {
                connected: Some(Err(lost(lost::CONNECT_FAILED))),
                accepted: None,
                subscriptions: None,
                ..healthy()
            }),
            vec![("mqtt_tcp", error)],
        ),
        (there(), Some(tls(Err(lost(lost::TLS_UNTRUSTED)))), vec![("mqtt_tls", error)]),
        (there(), Some(tls(Err(lost(lost::TLS_NAME)))), vec![("mqtt_tls", error)]),
        (
            there(),
            Some(Visit {
                websocket: Some(Err(lost(lost::WEBSOCKET_REFUSED))),
                accepted: None,
                subscriptions: None,
                ..healthy()
            }),
            vec![("mqtt_websocket", error)],
        ),
        (
            there(),
            Some(refused(lost(lost::LOGIN_REFUSED), Some(0x86))),
            vec![("mqtt_login", error)],
        ),
        (
            there(),
            Some(refused(lost(lost::PASSWORD_UNAVAILABLE), None)),
            vec![("mqtt_login", error)],
        ),
        (
            there(),
            Some(refused(lost(lost::PROTOCOL_REFUSED), Some(1))),
            vec![("mqtt_login", error)],
        ),
        (there(), Some(refused(lost(lost::CLOSED), None)), vec![("mqtt_login", error)]),
        // Over TLS 1.3 it comes behind CONNECT.
        (
            there(),
            Some(refused(lost(lost::TLS_CLIENT_CERTIFICATE), None)),
            vec![("mqtt_tls", error)],
        ),
        (
            there(),
            Some(refused(lost(lost::CONNECTION_REFUSED), Some(0x85))),
            vec![("mqtt_client_id", Level::Warning)],
        ),
    ] {
        let addresses = [one(Some(reach), visit)];
        assert_eq!(bad(&mqtt(), &addresses), expected, "{addresses:?}");
        if expected.iter().any(|(_, level)| *level == error) {
            let findings = connection(&mqtt(), &routes(), None, &addresses);
            let skipped = findings.iter().find(|it| it.check == MQTT_SUBSCRIBE);
            assert!(skipped.is_some_and(|it| it.is_skipped), "{findings:?}");
        }
    }
}

#[test]
fn what_connack_limits_is_compared_with_what_the_configuration_needs() {
    for (visit, expected) in [
        (limited(|it| it.no_wildcards = true), vec![("mqtt_wildcards", Level::Error)]),
        (limited(|it| it.no_shared = true), vec![("mqtt_shared", Level::Error)]),
        (limited(|it| it.maximum_qos = Some(0)), vec![("mqtt_qos", Level::Warning)]),
        (limited(|it| it.maximum_qos = Some(1)), vec![]),
        (limited(|it| it.no_subscription_ids = true), vec![("mqtt_limits", Level::Info)]),
        (limited(|it| it.no_retain = true), vec![]),
        (
            limited(|it| {
                it.receive_maximum = Some(10);
                it.maximum_packet_bytes = Some(1024);
            }),
            vec![],
        ),
        (
            limited(|it| it.session_expiry_s = Some(3600)),
            vec![("mqtt_session_expiry", Level::Warning)],
        ),
        (
            // Mosquitto's own limit is not told.
            limited(|it| it.session_expiry_s = None),
            vec![("mqtt_session_expiry", Level::Info)],
        ),
        (
            Visit {
                accepted: Some(Ok(Accepted { had_session: true, ..accepted(|_| {}) })),
                subscriptions: None,
                ..healthy()
            },
            vec![("mqtt_client_id", Level::Warning)],
        ),
        (
            Visit {
                accepted: Some(Ok(Accepted { keep_alive_s: 30, ..accepted(|_| {}) })),
                ..healthy()
            },
            vec![("mqtt_keep_alive", Level::Info)],
        ),
    ] {
        let shown = format!("{visit:?}");
        assert_eq!(of_visit(visit), expected, "{shown}");
    }
    let with_status = MqttConfig { status: Some(StatusConfig::default()), ..mqtt() };
    let addresses = [one(Some(there()), Some(limited(|it| it.no_retain = true)))];
    assert_eq!(bad(&with_status, &addresses), [("mqtt_limits", Level::Warning)]);
}

#[test]
fn over_an_old_version_no_limit_is_known_and_shared_ones_may_be_granted_blindly() {
    let old = Accepted { version: Version::V311, ..accepted(|_| {}) };
    let visit = Visit { accepted: Some(Ok(old)), ..healthy() };
    let told = of_visit(visit);
    let info = |name| (name, Level::Info);
    assert_eq!(told, [info("mqtt_protocol"), info("mqtt_limits"), info("mqtt_subscribe")]);
}

#[test]
fn certificates_that_end_soon_are_told_and_so_is_one_that_nobody_verifies() {
    let tls = |days| Visit { tls: Some(Ok(vec![valid(days), valid(900)])), ..healthy() };
    assert_eq!(of_visit(tls(90)), []);
    assert_eq!(of_visit(tls(5)), [("mqtt_certificate", Level::Warning)]);
    let mut open = mqtt();
    open.tls.insecure_skip_verify = true;
    let told = bad(&open, &[one(Some(there()), Some(tls(-1)))]);
    assert_eq!(told, [("mqtt_tls", Level::Warning), ("mqtt_certificate", Level::Warning)]);
    let own = OwnCertificate { key: "k", path: "f".into(), found: Ok(vec![valid(3)]) };
    let findings = connection(&mqtt(), &routes(), Some(&own), &[one(Some(there()), Some(tls(90)))]);
    assert_eq!(worst(&findings), Level::Warning);
}

#[test]
fn a_proxy_and_a_unix_socket_are_told_as_such() {
    let proxied = |visit| MqttAddress {
        proxy: Some("proxy:3128".to_owned()),
        ..one(Some(reach(&[("192.0.2.9:3128", None)])), visit)
    };
    assert_eq!(bad(&mqtt(), &[proxied(Some(healthy()))]), []);
    let lost = Lost::new(lost::PROXY_REFUSED, "the proxy says no: allow it");
    let refused =
        Visit { connected: Some(Err(lost)), accepted: None, subscriptions: None, ..healthy() };
    assert_eq!(bad(&mqtt(), &[proxied(Some(refused))]), [("mqtt_proxy", Level::Error)]);
    let socket = BrokerAddress {
        endpoint: Endpoint::Unix("/run/m.sock".into()),
        is_tls: false,
        websocket: None,
    };
    let unix = |visit| MqttAddress { address: socket.clone(), ..one(None, Some(visit)) };
    assert_eq!(bad(&mqtt(), &[unix(healthy())]), []);
    let lost = Lost::new(lost::CONNECT_FAILED, "no such socket");
    let gone =
        Visit { connected: Some(Err(lost)), accepted: None, subscriptions: None, ..healthy() };
    assert_eq!(bad(&mqtt(), &[unix(gone)]), [("mqtt_tcp", Level::Error)]);
}

#[test]
fn an_address_too_many_is_no_more_than_a_warning_while_another_one_is_good() {
    let closed = || one(Some(reach(&[("192.0.2.1:1883", Some("refused"))])), None);
    let good = || one(Some(there()), Some(healthy()));
    assert_eq!(bad(&mqtt(), &[closed(), good()]), [("mqtt_tcp", Level::Warning)]);
    assert_eq!(bad(&mqtt(), &[closed(), closed()]), [("mqtt_tcp", Level::Error); 2]);
}

#[test]
fn the_likely_cause_of_an_answer_that_is_no_connack_is_named() {
    let mut visit = refused(Lost::new(lost::PROTOCOL_ERROR, "x"), None);
    if let Some(Err(not)) = &mut visit.accepted {
        not.likely = Some(&diagnosis::MQTT_HTTP);
    }
    let findings = connection(&mqtt(), &routes(), None, &[one(Some(there()), Some(visit))]);
    let told = findings.iter().find(|it| it.level == Level::Error).expect("one");
    assert!(told.advice.contains("`ws://`"), "{told:?}");
}

#[test]
fn qos_0_is_no_lack_where_no_route_wants_more() {
    let routes: Vec<_> =
        routes().into_iter().map(|route| Route { qos: Qos::AtMostOnce, ..route }).collect();
    let visit = limited(|it| it.maximum_qos = Some(0));
    let findings = connection(&mqtt(), &routes, None, &[one(Some(there()), Some(visit))]);
    assert_eq!(worst(&findings), Level::Ok, "{findings:?}");
}
