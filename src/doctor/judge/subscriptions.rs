//! What became of the subscriptions, and what is left in the session. Pure.

use std::collections::BTreeMap;

use mqtt_kafka_bridge::mqtt::packet::Version;
use mqtt_kafka_bridge::mqtt::state_file::StateError;
use mqtt_kafka_bridge::mqtt::subscriptions::Held;
use mqtt_kafka_bridge::mqtt::visit::{Accepted, Granted, RETAINED_MAX, Seen};
use mqtt_kafka_bridge::route::Route;

use super::super::finding::{Finding, MQTT_RETAINED, MQTT_SESSION, MQTT_SUBSCRIBE, cure};

/// So many filters are named, each in a finding of its own.
const NAMED_MAX: usize = 20;

/// The answers, and the retained messages.
pub(crate) fn judge(of: &str, routes: &[Route], accepted: &Accepted, seen: &Seen) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (mut good, mut covered, mut blind) = (0, 0, 0);
    for route in routes {
        let of = format!("{of}: {}", route.filter.as_str());
        let asked = route.qos.level();
        match seen.answers.get(&route.id) {
            Some(Granted::Qos(qos)) if *qos >= asked => {
                good += 1;
                blind += usize::from(accepted.version == Version::V311 && route.filter.is_shared());
            }
            Some(Granted::Qos(qos)) => findings.push(MQTT_SUBSCRIBE.warning(
                of,
                format!("granted at QoS {qos}"),
                cure(
                    format!("QoS {asked}, as the route asks for"),
                    "the broker's permissions or limits; at QoS 0 a message is lost whenever a connection is",
                ),
            )),
            Some(Granted::Covered) => covered += 1,
            Some(Granted::Refused(text)) => findings.push(MQTT_SUBSCRIBE.error(
                of,
                format!("refused: {text}"),
                cure("granted", "the permission to subscribe, in the broker's users and ACLs"),
            )),
            Some(Granted::NotTried) => findings.push(MQTT_SUBSCRIBE.info(
                of,
                "not tried: it would take messages, or the place of the only subscriber, from a bridge that runs",
            )),
            // One that has none for a route that another one stands for is the other one's.
            None if routes.iter().any(|it| it.id != route.id && it.filter == route.filter) => {}
            Some(Granted::Missing) | None => findings.push(MQTT_SUBSCRIBE.error(
                of,
                "no answer (SUBACK)",
                cure("granted", "the broker's log: some brokers close the connection on a forbidden SUBSCRIBE"),
            )),
        }
    }
    let more = findings.len().saturating_sub(NAMED_MAX);
    findings.truncate(NAMED_MAX);
    if more > 0 {
        findings.push(MQTT_SUBSCRIBE.info(of, format!("{more} more of this kind")));
    }
    if good + covered > 0 {
        let also = match covered {
            0 => String::new(),
            _ => format!("; {covered} more are covered by them"),
        };
        findings.push(MQTT_SUBSCRIBE.ok(of, format!("{good} granted as asked for{also}")));
    }
    if blind > 0 {
        findings.push(MQTT_SUBSCRIBE.info(
            of,
            format!(
                "{blind} of them are shared: over MQTT 3.1.1 a broker without shared subscriptions grants them \
                 and sends nothing (mqtt.silence_warning tells)"
            ),
        ));
    }
    if let Some(lost) = &seen.lost {
        findings.push(MQTT_SUBSCRIBE.error(
            of,
            format!("the connection ended behind SUBSCRIBE: {}: {}", lost.reason, lost.detail),
            cure("a connection that lasts", "the permission to subscribe, in the broker's log"),
        ));
        findings.push(MQTT_RETAINED.skipped(of, "the connection ended"));
    } else {
        findings.extend(retained(of, routes, seen));
    }
    findings
}

fn retained(of: &str, routes: &[Route], seen: &Seen) -> Vec<Finding> {
    let total: u64 = seen.retained.values().sum();
    if total == 0 {
        let found = match seen.are_all {
            true => "none",
            false => "none came in time",
        };
        return vec![MQTT_RETAINED.ok(of, found)];
    }
    let least = if seen.are_all { "" } else { "at least " };
    let each: BTreeMap<_, _> = seen.retained.iter().collect();
    let named = each.iter().filter_map(|(id, count)| {
        let route = routes.iter().find(|route| route.id == **id)?;
        Some(format!("{} {}", route.filter.as_str(), count))
    });
    let named: Vec<_> = named.take(NAMED_MAX).collect();
    let bound = if total >= RETAINED_MAX { ", where counting ended" } else { "" };
    let found = format!(
        "{least}{total}{bound} ({}): a new session brings them all, and over MQTT 3.1.1 each new connection may \
         (mqtt.resubscribe)",
        named.join(", ")
    );
    vec![MQTT_RETAINED.info(of, found)]
}

/// What the state file says.
pub(crate) fn session(
    of: &str,
    file: &str,
    routes: &[Route],
    loaded: Result<Vec<Held>, StateError>,
) -> Finding {
    match loaded {
        Err(error @ StateError::Newer { .. }) => MQTT_SESSION.error(
            of,
            error.to_string(),
            cure("a state file of version 1", "run the newer bridge, or move the file away"),
        ),
        Err(error @ StateError::Unusable { .. }) => MQTT_SESSION.warning(
            of,
            error.to_string(),
            cure("a state file, or none", "data_dir, its rights, or move the file away"),
        ),
        Ok(held) => {
            let is_wanted = |held: &&Held| routes.iter().any(|route| route.filter == held.filter);
            let left: Vec<_> = held.iter().filter(|held| !is_wanted(held)).collect();
            if held.is_empty() {
                return MQTT_SESSION.ok(of, format!("{file}: no subscription is on record"));
            }
            if left.is_empty() {
                let found = format!("{} subscriptions, all of them of routes of today", held.len());
                return MQTT_SESSION.ok(of, format!("{file}: {found}"));
            }
            let named: Vec<_> = left.iter().take(NAMED_MAX).map(|it| it.filter.as_str()).collect();
            let found = format!(
                "{file}: {} that no route wants may still be subscribed: {}; the bridge unsubscribes them when it \
                 has connected",
                left.len(),
                named.join(", ")
            );
            MQTT_SESSION.info(of, found)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::{Level, worst};
    use super::*;
    use mqtt_kafka_bridge::message::{Qos, RouteId};
    use mqtt_kafka_bridge::mqtt::lost::{CLOSED, Lost};
    use mqtt_kafka_bridge::mqtt::packet::ServerLimits;

    fn route(id: usize, filter: &str) -> Route {
        Route::new(RouteId(id), filter.parse().expect("legal"), "t")
    }

    fn accepted(version: Version) -> Accepted {
        Accepted { version, had_session: false, keep_alive_s: 60, limits: ServerLimits::default() }
    }

    fn told(routes: &[Route], seen: &Seen, version: Version) -> Vec<(Level, &'static str, String)> {
        let findings = judge("b", routes, &accepted(version), seen);
        findings.into_iter().map(|it| (it.level, it.check.name, it.found)).collect()
    }

    #[test]
    fn each_answer_has_its_finding() {
        let routes = [route(0, "a/#"), route(1, "$share/g/b")];
        let refused = Granted::Refused("Not authorized (0x87)".to_owned());
        for (first, version, level, words) in [
            (Granted::Qos(1), Version::V5, Level::Ok, "2 granted as asked for"),
            (Granted::Qos(2), Version::V5, Level::Ok, "2 granted"),
            (
                Granted::Covered,
                Version::V5,
                Level::Ok,
                "1 granted as asked for; 1 more are covered",
            ),
            (Granted::Qos(0), Version::V5, Level::Warning, "granted at QoS 0"),
            (refused, Version::V5, Level::Error, "refused: Not authorized (0x87)"),
            (Granted::Missing, Version::V5, Level::Error, "no answer (SUBACK)"),
            (Granted::NotTried, Version::V5, Level::Info, "not tried"),
            (Granted::Qos(1), Version::V311, Level::Info, "1 of them are shared"),
        ] {
            let answers = [(RouteId(0), first.clone()), (RouteId(1), Granted::Qos(1))].into();
            let seen = Seen { answers, are_all: true, ..Seen::default() };
            let told = told(&routes, &seen, version);
            let worst = told.iter().map(|it| it.0).max();
            assert_eq!(worst, Some(level), "{first:?}: {told:?}");
            assert!(told.iter().any(|it| it.2.contains(words)), "{first:?}: {told:?}");
        }
    }

    #[test]
    fn a_connection_that_ends_behind_subscribe_is_an_error() {
        let lost = Some(Lost::new(CLOSED, "the broker closed the connection"));
        let seen =
            Seen { answers: [(RouteId(0), Granted::Missing)].into(), lost, ..Seen::default() };
        let findings = judge("b", &[route(0, "a/#")], &accepted(Version::V5), &seen);
        assert_eq!(worst(&findings), Level::Error);
        assert!(
            findings.iter().any(|it| it.found.contains("ended behind SUBSCRIBE")),
            "{findings:?}"
        );
    }

    #[test]
    fn many_that_are_refused_are_not_all_named() {
        let routes: Vec<_> = (0..100).map(|id| route(id, &format!("a/{id}"))).collect();
        let seen = Seen::default();
        let told = told(&routes, &seen, Version::V5);
        assert!(told.len() <= NAMED_MAX + 3, "{}", told.len());
        assert!(told.iter().any(|it| it.2 == "80 more of this kind"), "{told:?}");
    }

    #[test]
    fn retained_messages_are_counted_for_each_route() {
        let routes = [route(0, "a/#"), route(1, "b")];
        let granted = |id| (RouteId(id), Granted::Qos(1));
        for (retained, are_all, words) in [
            (vec![], true, "none"),
            (vec![], false, "none came in time"),
            (vec![(0, 3), (1, 1)], true, "4 (a/# 3, b 1): a new session brings them"),
            (vec![(0, 3)], false, "at least 3 (a/# 3)"),
            (vec![(0, RETAINED_MAX)], false, "at least 10000, where counting ended"),
        ] {
            let seen = Seen {
                answers: [granted(0), granted(1)].into(),
                retained: retained.into_iter().map(|(id, count)| (RouteId(id), count)).collect(),
                are_all,
                lost: None,
            };
            let told = told(&routes, &seen, Version::V5);
            let about = told.iter().find(|it| it.1 == "mqtt_retained").expect("one");
            assert!(about.2.contains(words) && about.0 < Level::Warning, "{about:?}");
        }
    }

    #[test]
    fn what_is_left_in_the_session_is_named() {
        let held = |filter: &str| Held {
            filter: filter.parse().expect("legal"),
            qos: Qos::AtLeastOnce,
            id: None,
        };
        let routes = [route(0, "a/#")];
        let finding = session("b", "f", &routes, Ok(vec![held("a/#")]));
        assert_eq!(finding.level, Level::Ok);
        let finding = session("b", "f", &routes, Ok(vec![held("a/#"), held("old/#")]));
        assert!(finding.level == Level::Info && finding.found.contains("old/#"), "{finding:?}");
        let newer = StateError::Newer { path: "f".into(), found: 2 };
        assert_eq!(session("b", "f", &routes, Err(newer)).level, Level::Error);
        let unusable = StateError::Unusable { path: "f".into(), detail: "x".to_owned() };
        assert_eq!(session("b", "f", &routes, Err(unusable)).level, Level::Warning);
    }
}
