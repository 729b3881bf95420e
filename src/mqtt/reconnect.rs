//! After a lost connection: which address is next and how long to pause, what most likely happened, and what
//! to say of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};

use crate::backoff::Backoff;
use crate::mqtt::announce::WARN_EVERY;
use crate::mqtt::eviction::{Evictions, STABLE_AFTER};
use crate::mqtt::failover::Failover;
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::poison::Poison;
use crate::mqtt::session::Settings;
use crate::observe::diagnosis::{self, Diagnosis};
use crate::observe::{LogLimiters, Metrics, events, keys};

/// The pause before the next address of the same round, unless `mqtt.reconnect_min` is shorter.
const BETWEEN_ADDRESSES: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Reconnect {
    settings: Arc<Settings>,
    log: Logger,
    metrics: Arc<Metrics>,
    backoff: Backoff,
    evictions: Evictions,
    /// Whether the last connection was counted as an eviction.
    evicted: bool,
    /// Attempts since the last accepted connection; 0 if the lost connection was one.
    attempt: u64,
    poison: Poison,
    /// By the broker's address and the reason: what is new is said at once.
    lost_limiters: BTreeMap<(usize, &'static str), LogLimiters>,
}

impl Reconnect {
    pub(super) fn new(settings: Arc<Settings>, log: Logger, metrics: Arc<Metrics>) -> Self {
        Self {
            backoff: Backoff::new(settings.mqtt.reconnect_min, settings.mqtt.reconnect_max),
            evictions: Evictions::new(settings.mqtt.reconnect_max),
            evicted: false,
            attempt: 0,
            poison: Poison::default(),
            lost_limiters: BTreeMap::new(),
            settings,
            log,
            metrics,
        }
    }

    /// Another attempt begins.
    pub(super) fn dialing(&mut self) {
        self.attempt += 1;
    }

    /// The broker accepted a connection: the next attempt is the first again.
    pub(super) fn accepted(&mut self) {
        self.attempt = 0;
    }

    /// A connection that the broker had accepted is lost, `lived` after it was opened. What that most
    /// likely comes from.
    pub(super) fn accepted_one_lost(
        &mut self,
        lost: &Lost,
        lived: Duration,
    ) -> Option<&'static Diagnosis> {
        self.accepted();
        if lived >= STABLE_AFTER {
            self.backoff.reset();
        }
        let without_a_word =
            matches!(lost.reason, lost::CLOSED | lost::READ_FAILED | lost::WRITE_FAILED);
        let evicted = without_a_word && self.evictions.closed(lived);
        if evicted && !self.evicted {
            // Say it when it is first noticed, whatever was logged just before.
            self.lost_limiters.clear();
        }
        self.evicted = evicted;
        evicted.then_some(&diagnosis::MQTT_EVICTED)
    }

    /// A connection to the broker's address of this number, `lived` old, was ended by us to be replaced: its
    /// files have changed.
    pub(super) fn rotated(&mut self, lived: Duration, address: usize) {
        self.accepted();
        if lived >= STABLE_AFTER {
            self.backoff.reset();
        }
        let counters = self.metrics.connection(self.settings.source);
        counters.count_reconnect(lost::ROTATED);
        counters.set_lost(format!("{}: connecting with changed files", lost::ROTATED));
        info!(self.log, "mqtt files have changed, connecting with the new ones"; events::MQTT_ROTATED,
            keys::REASON => lost::ROTATED,
            keys::MQTT_BROKER => self.settings.broker(address));
    }

    /// Says what happened at the present address, goes on to the next one or back to the first, and returns
    /// the pause before that is tried.
    pub(super) fn pause_after(
        &mut self,
        lost: &Lost,
        likely: Option<&Diagnosis>,
        failover: &mut Failover,
    ) -> Duration {
        let is_sent_on = lost.sends_on && self.settings.mqtt.addresses.len() > 1;
        let reason = if is_sent_on { lost::FAILOVER } else { lost.reason };
        let mut detail = match &lost.culprit {
            Some(culprit) => self.poison.describe(culprit, &self.settings.mqtt.client_id),
            None => lost.detail.clone(),
        };
        if let Some(likely) = likely.or_else(|| diagnosis::of_mqtt(&detail)) {
            detail = format!("{likely}; {detail}");
        }
        let counters = self.metrics.connection(self.settings.source);
        counters.count_reconnect(reason);
        counters.set_lost(format!("{reason}: {detail}"));
        let address = failover.current();
        // A connection that was accepted begins a new round, unless the broker sends us on.
        let has_next = match self.attempt {
            0 if !is_sent_on => {
                failover.restart();
                false
            }
            _ => failover.advance(),
        };
        let jitter = fastrand::f64();
        let pause = if lost.taken_over || likely == Some(&diagnosis::MQTT_EVICTED) {
            self.backoff.longest(jitter)
        } else if has_next {
            BETWEEN_ADDRESSES.min(self.settings.mqtt.reconnect_min)
        } else {
            self.backoff.pause(jitter)
        };
        let (event, what) = match self.attempt {
            0 => (events::MQTT_CONNECTION_LOST, "mqtt connection lost, reconnecting"),
            _ => (events::MQTT_CONNECT_FAILED, "cannot connect to mqtt, retrying"),
        };
        let limiters = self.lost_limiters.entry((address, reason));
        let limiters = limiters.or_insert_with(|| LogLimiters::every(WARN_EVERY));
        if let Some(suppressed) = limiters.pass(event, Instant::now()) {
            warn!(self.log, "{}", what; event,
                keys::REASON => reason,
                keys::DETAIL => detail,
                keys::MQTT_BROKER => self.settings.broker(address),
                keys::ATTEMPT => self.attempt,
                keys::DELAY_MS => u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                keys::SUPPRESSED => suppressed);
        }
        pause
    }
}
