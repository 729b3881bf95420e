//! Tells people what happened to the session: in the log and in the connection's health.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};

use crate::message::RouteId;
use crate::mqtt::session::Settings;
use crate::mqtt::session_event::SessionEvent;
use crate::observe::{LogLimiters, Metrics, events, keys};

/// Repeated warnings are logged once in this time.
pub(super) const WARN_EVERY: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Announcer {
    settings: Arc<Settings>,
    log: Logger,
    metrics: Arc<Metrics>,
    warnings: LogLimiters,
    /// What was last said of the status message.
    status_warning: Option<String>,
}

impl Announcer {
    pub(super) fn new(settings: Arc<Settings>, log: Logger, metrics: Arc<Metrics>) -> Self {
        Self {
            settings,
            log,
            metrics,
            warnings: LogLimiters::every(WARN_EVERY),
            status_warning: None,
        }
    }

    /// Other routes are wanted from now on.
    pub(super) fn reroute(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// A granted shared subscription has brought nothing for so long.
    pub(super) fn silent(&self, route: RouteId, elapsed: Duration) {
        warn!(self.log, "shared subscription granted, but no message has arrived"; events::SUBSCRIPTION_SILENT,
            keys::ROUTE => self.name(route), keys::MQTT_FILTER => self.filter(route),
            keys::ELAPSED_MS => millis(elapsed),
            keys::DETAIL =>
                "some brokers of MQTT 3.1.1 grant shared subscriptions without supporting them");
    }

    /// What happened on the connection to the broker's address of this number.
    pub(super) fn announce(&mut self, event: SessionEvent, address: usize) {
        self.metrics.connection(self.settings.source).change_health(|health| event.apply(health));
        match event {
            SessionEvent::Connected { version, session_present, keep_alive_s, limits } => {
                let mqtt = &self.settings.mqtt;
                let counters = self.metrics.connection(self.settings.source);
                counters.set_session(version.name(), session_present, keep_alive_s);
                info!(self.log, "connected to mqtt"; events::MQTT_CONNECTED,
                    keys::MQTT_BROKER => self.settings.broker(address),
                    keys::INSECURE => self.settings.is_insecure(address),
                    keys::MQTT_PROTOCOL => version.name(),
                    keys::CLIENT_ID => limits.assigned_client_id.as_ref().unwrap_or(&mqtt.client_id),
                    keys::SESSION_PRESENT => session_present,
                    keys::KEEP_ALIVE_S => keep_alive_s,
                    keys::MQTT_QOS_MAX => limits.maximum_qos);
            }
            SessionEvent::SessionExpiryShortened { asked_s, granted_s } => {
                warn!(self.log, "the broker keeps the session for less time than asked"; events::MQTT_SESSION_SHORTENED,
                    keys::ASKED_S => asked_s, keys::GRANTED_S => granted_s);
            }
            SessionEvent::Subscribed { route, qos } => {
                self.warnings.reset(events::SUBSCRIPTION_DOWNGRADED);
                self.warnings.reset(events::SUBSCRIPTION_REFUSED);
                info!(self.log, "subscribed"; events::SUBSCRIBED,
                    keys::ROUTE => self.name(route), keys::MQTT_FILTER => self.filter(route), keys::MQTT_QOS => qos);
            }
            SessionEvent::StillSubscribed { .. }
            | SessionEvent::Covered { .. }
            | SessionEvent::Rerouted { .. }
            | SessionEvent::Uncovered { .. }
            | SessionEvent::OwnAcknowledged { refusal: None } => {}
            SessionEvent::OwnAcknowledged { refusal: Some(text) }
            | SessionEvent::StatusNotTaken { text } => self.warn_of_status(text),
            SessionEvent::Downgraded { route, qos, retry_in } => {
                if let Some(suppressed) =
                    self.warnings.pass(events::SUBSCRIPTION_DOWNGRADED, Instant::now())
                {
                    let what = match retry_in {
                        Some(_) => "subscription granted with a lower qos, will ask again",
                        None => "subscription granted with a lower qos",
                    };
                    warn!(self.log, "{}", what; events::SUBSCRIPTION_DOWNGRADED,
                        keys::ROUTE => self.name(route), keys::MQTT_FILTER => self.filter(route), keys::MQTT_QOS => qos,
                        keys::SUPPRESSED => suppressed);
                }
            }
            SessionEvent::SubscriptionRefused { route, text, retry_in } => {
                if let Some(suppressed) =
                    self.warnings.pass(events::SUBSCRIPTION_REFUSED, Instant::now())
                {
                    warn!(self.log, "subscription refused, will ask again"; events::SUBSCRIPTION_REFUSED,
                        keys::ROUTE => self.name(route), keys::MQTT_FILTER => self.filter(route), keys::DETAIL => text,
                        keys::DELAY_MS => millis(retry_in),
                        keys::SUPPRESSED => suppressed);
                }
            }
            SessionEvent::SubackMissing { route } => {
                if let Some(suppressed) =
                    self.warnings.pass(events::SUBSCRIPTION_UNANSWERED, Instant::now())
                {
                    warn!(self.log, "no suback, will ask again"; events::SUBSCRIPTION_UNANSWERED,
                        keys::ROUTE => self.name(route), keys::MQTT_FILTER => self.filter(route), keys::SUPPRESSED => suppressed);
                }
            }
            SessionEvent::Unsubscribed { mqtt_filter } => {
                info!(self.log, "unsubscribed a filter that no route needs"; events::UNSUBSCRIBED, keys::MQTT_FILTER => mqtt_filter);
            }
            SessionEvent::UnsubscribeFailed { mqtt_filter, text } => {
                if let Some(suppressed) =
                    self.warnings.pass(events::UNSUBSCRIBE_FAILED, Instant::now())
                {
                    warn!(self.log, "cannot unsubscribe an old filter, will try again"; events::UNSUBSCRIBE_FAILED,
                        keys::MQTT_FILTER => mqtt_filter, keys::DETAIL => text,
                        keys::SUPPRESSED => suppressed);
                }
            }
        }
    }

    /// Not again for the same cause, which is the same on each connection.
    fn warn_of_status(&mut self, text: String) {
        if self.status_warning.as_ref() == Some(&text) {
            return;
        }
        if let Some(suppressed) =
            self.warnings.pass(events::STATUS_MESSAGE_NOT_TAKEN, Instant::now())
        {
            let status = self.settings.mqtt.status.as_ref();
            warn!(self.log, "status message not taken as configured, forwarding goes on"; events::STATUS_MESSAGE_NOT_TAKEN,
                keys::MQTT_TOPIC => status.map(|status| &*status.mqtt_topic),
                keys::DETAIL => &text, keys::SUPPRESSED => suppressed);
            self.status_warning = Some(text);
        }
    }

    fn name(&self, route: RouteId) -> String {
        self.metrics.route_names().name(route).to_string()
    }

    fn filter(&self, route: RouteId) -> String {
        self.settings.route(route).map_or_else(String::new, |route| route.filter.to_string())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
