//! The pages that are served.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use actix_web::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::exposition::{self, Connection, Scrape};
use super::interim;
use crate::config::Config;
use crate::message::RouteName;
use crate::observe::Logging;
use crate::observe::health::{self, ConnectionHealth, Reason, Snapshot};
use crate::supervisor::Readiness;

/// One answer.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// An MQTT connection as `/readyz` shows it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    connection: &'a str,
    /// Where it differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    section: Option<&'a str>,
    connected: bool,
    /// The address that is in use or was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<&'a str>,
    insecure: bool,
}

/// Everything that the pages are made of; they only read it.
#[derive(Debug)]
pub struct Pages {
    readiness: Arc<Readiness>,
    pub(super) logging: Logging,
    /// The section of each connection, in the order of the configuration.
    sections: Vec<Arc<str>>,
    started: Instant,
}

impl Pages {
    /// Of the bridge with this readiness.
    pub fn new(config: &Config, readiness: Arc<Readiness>, logging: Logging) -> Self {
        Self {
            readiness,
            logging,
            sections: config.connections.iter().map(|mqtt| Arc::clone(&mqtt.section)).collect(),
            started: Instant::now(),
        }
    }

    /// `/status.json`
    pub(super) fn status(&self) -> Page {
        let body = self.snapshot() + "\n";
        Page { status: StatusCode::OK, content_type: "application/json", body }
    }

    /// What the status page shows, as JSON.
    pub(super) fn snapshot(&self) -> String {
        interim::status_json(&self.readiness, self.started)
    }

    /// `/livez`
    pub(super) fn livez(&self) -> Page {
        verdict("alive", &self.readiness.not_live(), json!({}))
    }

    /// `/readyz`
    pub(super) fn readyz(&self) -> Page {
        let seen = self.readiness.seen();
        let mut more = json!({ "connections": self.shown(&seen) });
        let warnings = health::warnings(&seen);
        if !warnings.is_empty() {
            more["warnings"] = json!(warnings);
        }
        verdict("ready", &self.readiness.not_ready(&seen), more)
    }

    /// `/metrics`
    pub(super) fn metrics(&self) -> Page {
        match exposition::write(self.scrape()) {
            Ok(body) => {
                Page { status: StatusCode::OK, content_type: exposition::CONTENT_TYPE, body }
            }
            // Writing to a String cannot fail; the library's own checks could.
            Err(error) => Page {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                content_type: "text/plain; charset=utf-8",
                body: error.to_string(),
            },
        }
    }

    fn shown<'a>(&'a self, seen: &'a Snapshot) -> Vec<Shown<'a>> {
        let shown = |(seen, section): (&'a ConnectionHealth, &'a Arc<str>)| Shown {
            connection: &seen.name,
            section: Some(&**section).filter(|section| **section != *seen.name),
            connected: seen.mqtt.connected,
            broker: seen.broker.as_ref().map(|broker| &*broker.address),
            insecure: seen.broker.as_ref().is_some_and(|broker| broker.insecure),
        };
        seen.connections.iter().zip(&self.sections).map(shown).collect()
    }

    fn scrape(&self) -> Scrape {
        let metrics = self.readiness.metrics();
        let seen = self.readiness.seen();
        let not_ready = self.readiness.not_ready(&seen);
        let mut held: BTreeMap<_, _> =
            self.readiness.places().iter().map(|place| (place.to_string(), false)).collect();
        held.extend(metrics.holds().into_iter().map(|hold| (hold.place.to_string(), true)));
        let routes = metrics.route_names().all();
        let mut notes = BTreeMap::new();
        for ((route, note), count) in metrics.notes() {
            if let Some(RouteName { name, .. }) = routes.get(&route) {
                *notes.entry((Arc::clone(name), note)).or_default() += count;
            }
        }
        let mut clocks_ahead_s = BTreeMap::new();
        for (route, ahead) in metrics.clocks_ahead(Instant::now()) {
            if let Some(RouteName { name, .. }) = routes.get(&route) {
                let most: &mut f64 = clocks_ahead_s.entry(Arc::clone(name)).or_default();
                *most = most.max(ahead.as_secs_f64());
            }
        }
        Scrape {
            clocks_ahead_s,
            connections: metrics.connections().iter().map(Connection::of).collect(),
            restarts: metrics.restarts(),
            routes,
            notes,
            held,
            warnings: health::warnings(&seen).iter().map(|warning| warning.reason).collect(),
            reloads: metrics.reloads(),
            not_ready: not_ready.iter().map(|reason| reason.reason).collect(),
            timing_dropped: self.logging.timing_dropped(),
            records_dropped: self.logging.records_dropped(),
            uptime_s: self.started.elapsed().as_secs_f64(),
        }
    }
}

/// `{"ready":false,"reasons":[...]}` with 503, or `{"ready":true,"reasons":[]}` with 200; with `more`.
fn verdict(what: &str, reasons: &[Reason], mut more: Value) -> Page {
    let good = reasons.is_empty();
    more[what] = good.into();
    more["reasons"] = json!(reasons);
    Page {
        status: if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE },
        content_type: "application/json",
        body: more.to_string() + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerAddress, MqttConfig};
    use crate::message::RouteId;
    use crate::observe::test_support::json_log;
    use crate::observe::{KafkaHealth, Metrics, MqttHealth, Subscription};
    use crate::route::Route;
    use crate::stage::SourceId;

    /// Two sections; a route from each, and one from both; `west` has two connections.
    fn config() -> Config {
        let mut config = Config::for_test();
        let route = &config.routes[0];
        let from = |id, filter: &str, from: &[&str]| Route {
            id: RouteId(id),
            name: filter.into(),
            filter: filter.parse().expect("legal"),
            from: from.iter().map(|name| (*name).into()).collect(),
            ..route.clone()
        };
        config.routes =
            vec![from(0, "e/#", &["east"]), from(1, "w/#", &["west"]), from(2, "a/#", &[])];
        let mqtt = &config.connections[0];
        let connection = |name: &str, section: &str, group: Option<&str>| MqttConfig {
            name: name.into(),
            section: section.into(),
            group: group.map(Into::into),
            ..mqtt.clone()
        };
        config.connections = vec![
            connection("east", "east", None),
            connection("west-0", "west", Some("g")),
            connection("west-1", "west", Some("g")),
        ];
        config
    }

    #[test]
    fn readiness_wants_of_each_connection_the_routes_that_are_from_it() {
        let config = config();
        let metrics = Arc::new(Metrics::new(config.connection_names()));
        let (logging, _) = json_log();
        let readiness = Readiness::new(&config, Arc::clone(&metrics), Vec::new());
        let pages = Pages::new(&config, Arc::new(readiness), logging);
        metrics.health().set_kafka(KafkaHealth::Reachable([].into()));
        let grant = |source: u16, routes: &[usize]| {
            let granted = routes.iter().map(|id| (RouteId(*id), Subscription::Granted));
            let subscriptions = granted.collect();
            let health = MqttHealth { connected: true, lost: None, subscriptions };
            metrics.connection(SourceId(source)).change_health(|it| *it = health);
        };
        grant(0, &[0, 2]);
        grant(1, &[1, 2]);
        assert_eq!(pages.readyz().status, StatusCode::SERVICE_UNAVAILABLE, "west-1 is not there");
        grant(2, &[1]);
        let body: Value = serde_json::from_str(&pages.readyz().body).expect("JSON");
        assert_eq!(body["reasons"][0]["detail"], "west-1: $share/g/a/#: no SUBACK yet", "{body}");
        grant(2, &[1, 2]);
        assert_eq!(pages.readyz().status, StatusCode::OK);
    }

    #[test]
    fn readiness_shows_each_connection_and_its_broker() {
        let config = config();
        let metrics = Arc::new(Metrics::new(config.connection_names()));
        let (logging, _) = json_log();
        let readiness = Readiness::new(&config, Arc::clone(&metrics), Vec::new());
        let pages = Pages::new(&config, Arc::new(readiness), logging);
        let address = BrokerAddress { is_tls: true, ..BrokerAddress::tcp("plant", 8883) };
        metrics.connection(SourceId(1)).set_broker(&address, true);
        metrics.connection(SourceId(1)).change_health(|health| health.connected = true);
        metrics.connection(SourceId(1)).set_lost("the network".to_owned());
        let body: Value = serde_json::from_str(&pages.readyz().body).expect("JSON");
        assert_eq!(
            body["connections"][0],
            json!({ "connection": "east", "connected": false, "insecure": false })
        );
        assert_eq!(
            body["connections"][1],
            json!({
                "connection": "west-0", "section": "west", "connected": false,
                "broker": "mqtts://plant:8883", "insecure": true,
            })
        );
        let warnings = body["warnings"].as_array().expect("a list");
        assert_eq!(warnings.len(), 1, "{body}");
        assert_eq!(
            (&warnings[0]["reason"], &warnings[0]["connection"]),
            (&"insecure".into(), &"west-0".into())
        );
    }
}
