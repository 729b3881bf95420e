//! The pages that are served.

use std::sync::Arc;

use actix_web::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::exposition;
use super::format::Format;
use crate::observe::health::Reason;
use crate::observe::status::{Observer, State};
use crate::observe::{Logging, status_json};

const JSON: &str = "application/json";

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
    observer: Arc<Observer>,
}

impl Pages {
    /// Of what this one sees.
    pub fn new(observer: Arc<Observer>) -> Self {
        Self { observer }
    }

    /// The log.
    pub(super) fn logging(&self) -> &Logging {
        self.observer.logging()
    }

    /// `/livez`
    pub(super) fn livez(&self) -> Page {
        verdict("alive", &self.observer.not_live(), json!({}))
    }

    /// `/readyz`
    pub(super) fn readyz(&self) -> Page {
        let state = self.observer.state();
        let mut more = json!({ "connections": shown(&state) });
        if !state.warnings.is_empty() {
            more["warnings"] = json!(state.warnings);
        }
        verdict("ready", &state.not_ready, more)
    }

    /// `/status.json`
    pub(super) fn status(&self) -> Page {
        let body = self.snapshot() + "\n";
        Page { status: StatusCode::OK, content_type: JSON, body }
    }

    /// What the status page shows, as JSON.
    pub(super) fn snapshot(&self) -> String {
        status_json::write(&self.observer.status())
    }

    /// `/metrics`
    pub(super) fn metrics(&self, format: Format) -> Page {
        match exposition::write(self.observer.status(), format) {
            Ok(body) => Page { status: StatusCode::OK, content_type: format.content_type(), body },
            // Writing to a String cannot fail; the library's own checks could.
            Err(error) => Page {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                content_type: "text/plain; charset=utf-8",
                body: error.to_string(),
            },
        }
    }
}

fn shown(state: &State) -> Vec<Shown<'_>> {
    let all = state.seen.connections.iter().zip(&state.configured.sections);
    let shown = all.map(|(seen, section)| Shown {
        connection: &seen.name,
        section: Some(&**section).filter(|section| **section != *seen.name),
        connected: seen.mqtt.connected,
        broker: seen.broker.as_ref().map(|broker| &*broker.address),
        insecure: seen.broker.as_ref().is_some_and(|broker| broker.insecure),
    });
    shown.collect()
}

/// `{"ready":false,"reasons":[...]}` with 503, or `{"ready":true,"reasons":[]}` with 200; with `more`.
fn verdict(what: &str, reasons: &[Reason], mut more: Value) -> Page {
    let good = reasons.is_empty();
    more[what] = good.into();
    more["reasons"] = json!(reasons);
    Page {
        status: if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE },
        content_type: JSON,
        body: more.to_string() + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerAddress, Config, MqttConfig};
    use crate::message::RouteId;
    use crate::observe::test_support::json_log;
    use crate::observe::{KafkaHealth, Metrics, MqttHealth, Subscription};
    use crate::route::Route;
    use crate::stage::SourceId;
    use crate::supervisor::Readiness;

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
        let pages = Pages::new(Arc::new(Observer::new(Arc::new(readiness), logging)));
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
        let pages = Pages::new(Arc::new(Observer::new(Arc::new(readiness), logging)));
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
