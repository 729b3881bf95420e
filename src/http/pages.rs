//! The pages that are served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use serde_json::json;

use super::exposition::{self, Connection, Scrape};
use crate::config::Config;
use crate::observe::health::{self, ActorHealth, HeldPlace, Reason, Wanted};
use crate::observe::{Logging, Metrics};
use crate::supervisor::Heartbeat;

/// An actor beats once a second; one that is silent for this long is not just late.
const SILENT_MIN: Duration = Duration::from_secs(3);

/// One answer.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// Everything that the pages are made of; they only read it.
#[derive(Debug)]
pub struct Pages {
    metrics: Arc<Metrics>,
    pub(super) logging: Logging,
    /// By [`RouteId`](crate::message::RouteId).
    wanted: Vec<Wanted>,
    /// Where messages can be held.
    places: BTreeSet<HeldPlace>,
    started: Instant,
    heartbeats: Vec<Arc<Heartbeat>>,
    silent_max: Duration,
}

impl Pages {
    /// For the actors with these heartbeats.
    pub fn new(
        config: &Config,
        metrics: Arc<Metrics>,
        heartbeats: Vec<Arc<Heartbeat>>,
        logging: Logging,
    ) -> Self {
        let hang_after = config.supervisor.hang_after;
        let routes = config.routes.iter();
        let wanted = routes.clone().map(|route| Wanted {
            route: route.id,
            mqtt_filter: route.filter.to_string(),
            mqtt_qos: route.qos.level(),
        });
        let kafka_topics =
            routes.map(|route| HeldPlace::KafkaTopic(Arc::clone(&route.kafka_topic)));
        Self {
            metrics,
            logging,
            wanted: wanted.collect(),
            places: kafka_topics.chain([HeldPlace::DeadLetter]).collect(),
            started: Instant::now(),
            heartbeats,
            // Before the watchdog ends the process.
            silent_max: (hang_after / 2).max(SILENT_MIN).min(hang_after),
        }
    }

    /// `/livez`
    pub(super) fn livez(&self) -> Page {
        verdict("alive", &health::not_live(&self.actors(), self.silent_max), &[])
    }

    /// `/readyz`
    pub(super) fn readyz(&self) -> Page {
        verdict("ready", &self.not_ready(), &self.metrics.health().warnings())
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

    /// Why it is not ready.
    fn not_ready(&self) -> Vec<Reason> {
        let seen = self.metrics.snapshot(self.actors());
        health::not_ready(&seen, &self.wanted, self.silent_max)
    }

    fn scrape(&self) -> Scrape {
        let metrics = &self.metrics;
        let mut held: BTreeMap<_, _> =
            self.places.iter().map(|place| (place.to_string(), false)).collect();
        held.extend(metrics.holds().into_iter().map(|hold| (hold.place.to_string(), true)));
        Scrape {
            connections: metrics.connections().iter().map(Connection::of).collect(),
            restarts: metrics.restarts(),
            filters: self.wanted.iter().map(|wanted| wanted.mqtt_filter.clone()).collect(),
            held,
            not_ready: self.not_ready().iter().map(|reason| reason.reason).collect(),
            timing_dropped: self.logging.timing_dropped(),
            records_dropped: self.logging.records_dropped(),
            uptime_s: self.started.elapsed().as_secs_f64(),
        }
    }

    fn actors(&self) -> Vec<ActorHealth> {
        let actor = |beat: &Arc<Heartbeat>| ActorHealth {
            actor: Arc::clone(beat.actor()),
            restarting: beat.is_paused(),
            silent: beat.silent_for(),
        };
        self.heartbeats.iter().map(actor).collect()
    }
}

/// `{"ready":false,"reasons":[...]}` with 503, or `{"ready":true,"reasons":[]}` with 200; with
/// `"warnings":[...]` if there are some.
fn verdict(what: &str, reasons: &[Reason], warnings: &[Reason]) -> Page {
    let good = reasons.is_empty();
    let mut body = json!({ what: good, "reasons": reasons });
    if !warnings.is_empty() {
        body["warnings"] = json!(warnings);
    }
    Page {
        status: if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE },
        content_type: "application/json",
        body: body.to_string() + "\n",
    }
}
