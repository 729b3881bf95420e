//! An MQTT connection, from the broker's name to CONNACK. Pure.

use mqtt_kafka_bridge::config::{MqttConfig, Protocol};
use mqtt_kafka_bridge::mqtt::lost::{self, Lost};
use mqtt_kafka_bridge::mqtt::visit::{Accepted, NotAccepted, Visit};
use mqtt_kafka_bridge::mqtt::wire::Version;
use mqtt_kafka_bridge::reach::Reach;
use mqtt_kafka_bridge::route::Route;

use super::super::facts::{MqttAddress, OwnCertificate};
use super::super::finding::{
    Check, Cure, Finding, Level, MQTT_CERTIFICATE, MQTT_CLIENT_ID, MQTT_DNS, MQTT_KEEP_ALIVE,
    MQTT_LIMITS, MQTT_LOGIN, MQTT_PROTOCOL, MQTT_PROXY, MQTT_QOS, MQTT_RETAINED,
    MQTT_SESSION_EXPIRY, MQTT_SHARED, MQTT_SUBSCRIBE, MQTT_TCP, MQTT_TLS, MQTT_WEBSOCKET,
    MQTT_WILDCARDS, cure,
};
use super::{certificates, subscriptions};

/// Codes by which CONNACK refuses a client id (3.1.1, table 3.1; 5, section 3.2.2.2).
const CLIENT_ID_REFUSED: [u8; 2] = [0x02, 0x85];

/// The checks behind the transport, in order.
const BEHIND: [&Check; 4] = [MQTT_LOGIN, MQTT_LIMITS, MQTT_SUBSCRIBE, MQTT_RETAINED];

/// All addresses of a connection. One that fails is no more than a warning while another one lets the bridge in.
/// `routes` are those of the connection, with the filters that it subscribes.
pub(crate) fn connection(
    mqtt: &MqttConfig,
    routes: &[Route],
    own: Option<&OwnCertificate>,
    addresses: &[MqttAddress],
) -> Vec<Finding> {
    let is_in = |one: &MqttAddress| {
        one.visit.as_ref().is_some_and(|visit| matches!(visit.accepted, Some(Ok(_))))
    };
    let is_one_in = addresses.iter().any(is_in);
    let mut findings: Vec<_> =
        own.map(|own| certificates::own(MQTT_CERTIFICATE, own)).into_iter().collect();
    for one in addresses {
        let of_it = address(mqtt, routes, one);
        let is_spare = is_one_in && !is_in(one);
        let most = if is_spare { Level::Warning } else { Level::Error };
        findings.extend(of_it.into_iter().map(|finding| finding.at_most(most)));
    }
    findings
}

fn address(mqtt: &MqttConfig, routes: &[Route], one: &MqttAddress) -> Vec<Finding> {
    let MqttAddress { address, proxy, reach, visit } = one;
    let of = format!("{}: {address}", mqtt.section);
    let mut findings = Vec::new();
    if let Some(reach) = reach {
        let whose = match proxy {
            Some(proxy) => format!("{}: the proxy {proxy}", mqtt.section),
            None => of.clone(),
        };
        findings.extend(reached(
            [MQTT_DNS, MQTT_TCP],
            &whose,
            reach,
            key(proxy.is_some(), mqtt.addresses.len()),
        ));
    }
    let Some(visit) = visit else {
        let behind = [MQTT_PROXY].into_iter().filter(|_| proxy.is_some());
        let tls = [MQTT_TLS].into_iter().filter(|_| address.is_tls);
        let because = match proxy {
            Some(_) => "the proxy is not reached",
            None => "the broker is not reached",
        };
        let skipped = behind.chain(tls).chain(BEHIND);
        findings.extend(skipped.map(|check| check.skipped(&of, because)));
        return findings;
    };
    findings.extend(transport(mqtt, &of, proxy.is_some(), reach.is_none(), visit));
    match &visit.accepted {
        Some(Ok(accepted)) => {
            findings.extend(let_in(mqtt, routes, &of, accepted));
            match &visit.subscriptions {
                Some(seen) => findings.extend(subscriptions::judge(&of, routes, accepted, seen)),
                None => {
                    findings.push(mapped(&of, visit));
                    let because = "the broker has a session for another client id";
                    findings
                        .extend([MQTT_SUBSCRIBE, MQTT_RETAINED].map(|it| it.skipped(&of, because)));
                }
            }
        }
        Some(Err(not)) => {
            let finding = not_let_in(&of, visit, not);
            let is_login = finding.check.name == MQTT_LOGIN.name;
            findings.push(finding);
            let skipped = BEHIND.iter().skip(usize::from(is_login));
            findings
                .extend(skipped.map(|check| check.skipped(&of, "the broker lets no client in")));
        }
        None => {
            let skipped = BEHIND.iter();
            findings.extend(skipped.map(|check| check.skipped(&of, "there is no connection")));
        }
    }
    findings
}

/// The key that an address is from.
fn key(is_proxy: bool, addresses: usize) -> &'static str {
    match (is_proxy, addresses) {
        (true, _) => "mqtt.proxy",
        (false, 1) => "mqtt.url",
        (false, _) => "mqtt.urls",
    }
}

/// A name and its addresses. `key` names them.
pub(crate) fn reached(
    [dns, tcp]: [&'static Check; 2],
    of: &str,
    reach: &Reach,
    key: &str,
) -> Vec<Finding> {
    let addresses = match &reach.addresses {
        Ok(addresses) => addresses,
        Err(why) => {
            let cure = cure(
                "a name with an address here",
                format!(
                    "the name in {key}, or the DNS of this host; in a container, its network and its DNS"
                ),
            );
            return vec![dns.error(of, why.clone(), cure)];
        }
    };
    let listed: Vec<_> = addresses.iter().map(|address| address.ip().to_string()).collect();
    let mut findings = vec![dns.ok(of, listed.join(", "))];
    let failed = reach.tried.iter().filter_map(|one| Some((one.address, one.failed.as_ref()?)));
    let failed: Vec<_> = failed.collect();
    let good = reach.tried.len() - failed.len();
    if failed.is_empty() {
        findings.push(tcp.ok(
            of,
            match good {
                1 => "the address takes connections".to_owned(),
                _ => format!("all {good} addresses take connections"),
            },
        ));
    }
    for (address, why) in failed {
        let found = format!("{address}: {why}");
        findings.push(match good {
            0 => tcp.error(
                of,
                found,
                cure(
                    "somebody who listens there",
                    format!(
                        "start it, or the port in {key}, or the firewall; in a container, `localhost` is the \
                         container itself"
                    ),
                ),
            ),
            _ => tcp.warning(
                of,
                found,
                cure(
                    "each address takes connections",
                    "take the address out of DNS, or make it reachable: each connect may wait for it in vain",
                ),
            ),
        });
    }
    findings
}

fn transport(
    mqtt: &MqttConfig,
    of: &str,
    is_proxied: bool,
    is_unix: bool,
    visit: &Visit,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    match &visit.connected {
        Some(Ok(())) if is_proxied => {
            findings.push(MQTT_PROXY.ok(of, "the proxy connects the bridge"));
        }
        Some(Ok(())) if is_unix => findings.push(MQTT_TCP.ok(of, "the socket takes connections")),
        Some(Err(lost)) if is_proxied => findings.push(failed(MQTT_PROXY, of, lost)),
        Some(Err(lost)) => findings.push(failed(MQTT_TCP, of, lost)),
        _ => {}
    }
    match &visit.tls {
        Some(Ok(chain)) => {
            let first = chain.first();
            let whose = first.map_or_else(
                || "no certificate".to_owned(),
                |first| {
                    format!("certificate for {}, from {}", first.names.join(", "), first.issuer)
                },
            );
            findings.push(match mqtt.tls.insecure_skip_verify {
                false => MQTT_TLS.ok(of, format!("{whose}: trusted, for the right name")),
                true => MQTT_TLS.warning(
                    of,
                    format!("{whose}: neither it nor its name is verified"),
                    cure("a certificate that is verified", "mqtt.tls.insecure_skip_verify = false"),
                ),
            });
            // If it is not verified, the bridge takes one that has expired.
            let is_verified = !mqtt.tls.insecure_skip_verify;
            let most = if is_verified { Level::Error } else { Level::Warning };
            findings.push(certificates::shown(MQTT_CERTIFICATE, of, chain).at_most(most));
        }
        Some(Err(lost)) => findings.push(failed(MQTT_TLS, of, lost)),
        None => {}
    }
    match &visit.websocket {
        Some(Ok(())) => findings.push(MQTT_WEBSOCKET.ok(of, "upgraded")),
        Some(Err(lost)) => findings.push(failed(MQTT_WEBSOCKET, of, lost)),
        None => {}
    }
    findings
}

/// The sentence says which side, what was wrong and, behind a colon, what to do.
fn failed(check: &'static Check, of: &str, lost: &Lost) -> Finding {
    let expected = match lost.reason {
        lost::PROXY_REFUSED => "a proxy that connects the bridge to the broker",
        lost::TLS_FILES => "files of [mqtt.tls] that can be used",
        lost::TLS_UNTRUSTED => "a certificate from an authority that the bridge trusts",
        lost::TLS_NAME => "a certificate for the name that the bridge asks for",
        lost::TLS_EXPIRED | lost::TLS_NOT_YET_VALID => "certificates that are valid now",
        lost::TLS_CLIENT_CERTIFICATE => "a certificate of the bridge that the broker takes",
        lost::TLS_VERSION => "a version of TLS that both speak",
        lost::TLS_FAILED => "a listener for TLS",
        lost::WEBSOCKET_REFUSED => "a listener for MQTT over WebSocket",
        lost::PASSWORD_UNAVAILABLE => "a password",
        lost::LOGIN_REFUSED => "a login that the broker takes",
        _ => "a connection",
    };
    let (_, advice) = lost.detail.split_once(": ").unwrap_or((&lost.detail, ""));
    let advice = match lost.reason {
        // Between the colons there is the cause, and nothing to do.
        lost::PASSWORD_UNAVAILABLE => "what it names must give the password to the bridge's user",
        lost::PROXY_REFUSED => "mqtt.proxy, and the proxy's own rules and log",
        lost::CONNECT_FAILED => "start the broker, or its address",
        _ if advice.is_empty() => "the broker's log",
        _ => advice,
    };
    let found = format!("{}: {}", lost.reason, lost.detail);
    check.error(of, found, cure(expected, advice))
}

fn not_let_in(of: &str, visit: &Visit, not: &NotAccepted) -> Finding {
    let NotAccepted { lost, code, likely } = not;
    let found = format!("{}: {}", lost.reason, lost.detail);
    if code.is_some_and(|code| CLIENT_ID_REFUSED.contains(&code)) {
        let found = format!("{found} (for {})", visit.client_id);
        let cure = cure(
            "a client of another id may connect",
            "nothing, if the broker lets in the configured mqtt.client_id alone. That one is not tried: it would \
             end the connection of a bridge that runs. Stop the bridge and watch `connected to mqtt` in its log",
        );
        return MQTT_CLIENT_ID.warning(of, found, cure);
    }
    // A broker refuses our certificate behind the handshake (TLS 1.3).
    if lost.reason.starts_with("tls_") {
        return failed(MQTT_TLS, of, lost);
    }
    let cure = match (likely, lost.reason) {
        (Some(likely), _) => cure(format!("CONNACK; likely cause: {}", likely.cause), likely.cure),
        (None, lost::LOGIN_REFUSED) => cure(
            "a login that the broker takes",
            format!(
                "mqtt.username and its password, or the broker's users and permissions. If they are bound to \
                 mqtt.client_id, this is no fault: the doctor connects as {}",
                visit.client_id
            ),
        ),
        (None, lost::PASSWORD_UNAVAILABLE) => return failed(MQTT_LOGIN, of, lost),
        (None, lost::PROTOCOL_REFUSED) => cure(
            "a version of MQTT that both speak",
            "mqtt.protocol = \"auto\", or another listener of the broker",
        ),
        (None, _) => cure("CONNACK", "the broker's log"),
    };
    MQTT_LOGIN.error(of, found, cure)
}

/// A random client id has a session: that of another client.
fn mapped(of: &str, visit: &Visit) -> Finding {
    let found = format!(
        "the broker has a session for the client id {}, which nobody has used before: it makes another client id of \
         it, most often the user name",
        visit.client_id
    );
    let cure = cure(
        "a client id for each client",
        "the broker's setting that replaces client ids (of Mosquitto, use_username_as_clientid); or one user for each \
         connection of the bridge, and one for the doctor. If a bridge runs with this user, the doctor has ended its \
         connection, and has left its session as it was: the bridge connects again",
    );
    MQTT_CLIENT_ID.warning(of, found, cure)
}

/// What CONNACK says.
fn let_in(mqtt: &MqttConfig, routes: &[Route], of: &str, accepted: &Accepted) -> Vec<Finding> {
    let Accepted { version, keep_alive_s, limits, .. } = accepted;
    let login = match (&mqtt.username, &mqtt.password) {
        (None, None) => "the broker lets the bridge in without a login",
        _ => "the broker takes the login",
    };
    let mut findings = vec![MQTT_LOGIN.ok(of, login)];
    findings.push(match (version, mqtt.protocol) {
        (Version::V311, Protocol::Auto) => MQTT_PROTOCOL.info(
            of,
            "3.1.1: the broker does not speak 5, which recognises copies and tells its limits",
        ),
        _ => MQTT_PROTOCOL.ok(of, format!("MQTT {}", version.name())),
    });
    findings.extend(session_expiry(mqtt, of, accepted));
    if *version == Version::V311 {
        findings.push(MQTT_LIMITS.info(of, "MQTT 3.1.1 tells no limits"));
        return findings;
    }
    findings.push(self::limits(mqtt, of, accepted));
    let asked_s = mqtt.keep_alive.as_secs();
    findings.push(match u64::from(*keep_alive_s) == asked_s {
        true => MQTT_KEEP_ALIVE.ok(of, format!("{asked_s} s, as asked for")),
        false => MQTT_KEEP_ALIVE.info(
            of,
            format!(
                "the broker wants {keep_alive_s} s instead of {asked_s} s, and the bridge follows"
            ),
        ),
    });
    let needs = |needs: &dyn Fn(&Route) -> bool| -> Vec<&str> {
        let needing = routes.iter().filter(|route| needs(route));
        needing.map(|route| route.filter.as_str()).collect()
    };
    let wildcards = needs(&|route| route.filter.has_wildcard());
    findings.extend(missing(
        MQTT_WILDCARDS,
        of,
        &wildcards,
        limits.no_wildcards,
        "wildcards",
        cure(
            "a broker that takes filters with wildcards",
            "routes without `+` and `#`, or another broker",
        ),
    ));
    let shared = needs(&|route| route.filter.is_shared());
    findings.extend(missing(
        MQTT_SHARED,
        of,
        &shared,
        limits.no_shared,
        "shared subscriptions",
        cure(
            "a broker with shared subscriptions",
            "one connection without mqtt.group and `$share/`, or another broker",
        ),
    ));
    let at_least_once = needs(&|route| route.qos.level() > 0);
    findings.push(match limits.maximum_qos {
        Some(0) if !at_least_once.is_empty() => MQTT_QOS.warning(
            of,
            format!("the broker grants QoS 0 at most; at QoS 1: {}", count(at_least_once.len())),
            cure(
                "QoS 1: at QoS 0 a message is lost whenever a connection is",
                "another broker, or qos = 0 for these routes",
            ),
        ),
        Some(maximum) => MQTT_QOS.ok(of, format!("QoS {maximum} at most")),
        None => MQTT_QOS.ok(of, "every QoS"),
    });
    findings
}

fn count(routes: usize) -> String {
    if routes == 1 { "1 route".to_owned() } else { format!("{routes} routes") }
}

fn missing(
    check: &'static Check,
    of: &str,
    filters: &[&str],
    is_missing: bool,
    what: &str,
    cure: Cure,
) -> Option<Finding> {
    let first = filters.first()?;
    Some(match is_missing {
        true => {
            let found = format!(
                "the broker has no {what}; with them: {}, the first is {first}",
                count(filters.len())
            );
            check.error(of, found, cure)
        }
        false => check.ok(of, format!("the broker has {what}")),
    })
}

/// Only MQTT 5 tells it.
fn session_expiry(mqtt: &MqttConfig, of: &str, accepted: &Accepted) -> Option<Finding> {
    let asked_s = Some(mqtt.session_expiry_s).filter(|asked_s| *asked_s > 0)?;
    let told = |seconds: u32| match seconds {
        u32::MAX => "for ever".to_owned(),
        seconds => format!("for {seconds} s"),
    };
    if accepted.version == Version::V311 {
        return None;
    }
    Some(match accepted.limits.session_expiry_s {
        Some(granted_s) if granted_s < asked_s => MQTT_SESSION_EXPIRY.warning(
            of,
            format!("the broker keeps a session {}", told(granted_s)),
            cure(
                format!("{} (mqtt.session_expiry)", told(asked_s)),
                "the broker's limit of session expiry; else the bridge must be back within that time, or \
                 messages are lost",
            ),
        ),
        Some(granted_s) => MQTT_SESSION_EXPIRY.ok(of, format!("the broker keeps a session {}", told(granted_s))),
        // MQTT 5, section 3.2.2.3.2.
        None => MQTT_SESSION_EXPIRY.info(
            of,
            format!(
                "asked for: {}, and the broker names no other time. A limit of its own that it does not name (of \
                 Mosquitto, persistent_client_expiration) may be shorter",
                told(asked_s)
            ),
        ),
    })
}

fn limits(mqtt: &MqttConfig, of: &str, accepted: &Accepted) -> Finding {
    let limits = &accepted.limits;
    let mut said = vec![
        limits.receive_maximum.map_or_else(
            || "receive maximum 65535".to_owned(),
            |messages| format!("receive maximum {messages}"),
        ),
        limits.maximum_packet_bytes.map_or_else(
            || "no maximum packet size".to_owned(),
            |bytes| format!("maximum packet size {bytes} bytes"),
        ),
    ];
    if limits.no_subscription_ids {
        said.push(
            "no subscription identifiers: copies of overlapping routes are not recognised"
                .to_owned(),
        );
    }
    let wants_retain = mqtt.status.as_ref().is_some_and(|status| status.retain);
    if limits.no_retain && wants_retain {
        said.push("no retained messages".to_owned());
        let cure = cure(
            "retained messages, for mqtt.status.retain",
            "mqtt.status.retain = false, or the broker's retained messages",
        );
        return MQTT_LIMITS.warning(of, said.join("; "), cure);
    }
    match limits.no_subscription_ids {
        true => MQTT_LIMITS.info(of, said.join("; ")),
        false => MQTT_LIMITS.ok(of, said.join("; ")),
    }
}

#[cfg(test)]
#[path = "mqtt_tests.rs"]
pub(super) mod tests;
