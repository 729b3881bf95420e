//! Puts what the delivery tells into the log, the metrics and readiness, each warning once in a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{Logger, debug, error, info, warn};

use crate::kafka::classify;
use crate::kafka::delivery::output::Told;
use crate::observe::events::Event;
use crate::observe::panics::PanicReport;
use crate::observe::{LogLimiter, LogLimiters, Metrics, diagnosis, events, keys};

/// A repeated warning appears once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is said that Kafka is still unreachable, or still confirms nothing.
const AWAY_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Teller {
    log: Logger,
    metrics: Arc<Metrics>,
    actor: Arc<str>,
    brokers: String,
    /// Of what nothing resets.
    warnings: LogLimiters,
    unconfirmed: LogLimiter,
    away: LogLimiter,
    still_away: LogLimiter,
    waiting: LogLimiter,
    not_asked: LogLimiter,
    /// A producer cannot be made, because of a file, and readiness says so.
    waits_for_files: bool,
    /// The log says that Kafka is unreachable: then it will also say that this is over.
    away_is_told: bool,
    /// The next producer's start is logged, because the end of the last one was.
    tells_start: bool,
}

impl Teller {
    pub(super) fn new(
        log: Logger,
        metrics: Arc<Metrics>,
        actor: Arc<str>,
        brokers: String,
    ) -> Self {
        Self {
            log,
            metrics,
            actor,
            brokers,
            warnings: LogLimiters::every(WARN_INTERVAL),
            unconfirmed: LogLimiter::every(AWAY_INTERVAL),
            away: LogLimiter::every(WARN_INTERVAL),
            still_away: LogLimiter::every(AWAY_INTERVAL),
            waiting: LogLimiter::every(WARN_INTERVAL),
            not_asked: LogLimiter::every(AWAY_INTERVAL),
            waits_for_files: false,
            away_is_told: false,
            tells_start: true,
        }
    }

    /// The actor begins anew, and nobody knows what was told last.
    pub(super) fn restart(&mut self) {
        self.tells_start = true;
        self.away_is_told = false;
    }

    pub(super) fn panicked(&mut self, event: Event, what: &'static str, panic: &PanicReport) {
        if let Some(suppressed) = self.warnings.pass(event, Instant::now()) {
            error!(self.log, "{}", what; event, keys::ACTOR => &self.actor,
                keys::PANIC => &panic.message, keys::LOCATION => &panic.location,
                keys::SUPPRESSED => suppressed);
        }
    }

    pub(super) fn not_started(&self, error: &str) {
        error!(self.log, "producer not started"; events::PRODUCER_NOT_STARTED, keys::ERROR => error);
    }

    /// It will be tried again.
    pub(super) fn not_started_yet(&mut self, why: &str) {
        self.waits_for_files = true;
        if let Some(suppressed) = self.waiting.pass(Instant::now()) {
            error!(self.log, "producer cannot be made, messages wait until it can"; events::PRODUCER_NOT_MADE,
                keys::ERROR => why, keys::SUPPRESSED => suppressed);
        }
        self.metrics.health().set_producer_failing(Some(format!("it cannot be made: {why}")));
    }

    /// Kafka has not answered about Kafka topics. It is asked again.
    pub(super) fn not_asked(&mut self, why: &str) {
        if let Some(suppressed) = self.not_asked.pass(Instant::now()) {
            warn!(self.log, "kafka does not answer about kafka topics"; events::KAFKA_TOPICS_UNKNOWN, keys::DETAIL => why,
                keys::SUPPRESSED => suppressed);
        }
    }

    pub(super) fn started(&mut self) {
        if std::mem::take(&mut self.waits_for_files) {
            self.waiting.reset();
            self.metrics.health().set_producer_failing(None);
        }
    }

    pub(super) fn tell(&mut self, told: Told<'_>) {
        let now = Instant::now();
        let (log, health) = (&self.log, self.metrics.health());
        match told {
            Told::Started(epoch) if self.tells_start => {
                info!(log, "producer started"; events::PRODUCER_STARTED, keys::EPOCH => epoch.0,
                    keys::KAFKA_BROKERS => &self.brokers);
            }
            Told::Started(_) => {}
            Told::Failed { epoch, detail, again_without_delivery } => {
                let suppressed = self.warnings.pass(events::PRODUCER_FAILED, now);
                self.tells_start = suppressed.is_some();
                if let Some(suppressed) = suppressed {
                    warn!(log, "producer failed, replacing it"; events::PRODUCER_FAILED, keys::EPOCH => epoch.0,
                        keys::DETAIL => detail, keys::SUPPRESSED => suppressed);
                }
                self.metrics.count_restart("producer", "fatal_error", detail);
                if again_without_delivery {
                    health.set_producer_failing(Some(detail.to_owned()));
                }
            }
            Told::Rotated { epoch, why } => {
                self.tells_start = true;
                info!(log, "replacing the producer"; events::PRODUCER_REPLACED, keys::REASON => why, keys::EPOCH => epoch.0);
            }
            Told::NotFound { kafka_topic, absence } => {
                if let Some(suppressed) = self.warnings.pass(events::KAFKA_TOPIC_UNUSABLE, now) {
                    warn!(log, "kafka topic that a template names cannot be used"; events::KAFKA_TOPIC_UNUSABLE,
                        keys::KAFKA_TOPIC => kafka_topic, keys::DETAIL => absence.detail(),
                        keys::SUPPRESSED => suppressed);
                }
            }
            Told::Delivers => health.set_producer_failing(None),
            Told::Refused { kafka_topic, code, sentence } => {
                if let Some(suppressed) = self.warnings.pass(events::RECORD_REFUSED, now) {
                    warn!(log, "record refused"; events::RECORD_REFUSED, keys::KAFKA_TOPIC => kafka_topic,
                        keys::REASON => classify::name(code), keys::KAFKA_ERROR_CODE => code,
                        keys::DETAIL => sentence, keys::SUPPRESSED => suppressed);
                }
            }
            Told::RefusesAll { kafka_topic, code, sentence, dead_lettered } => {
                error!(log, "kafka topic refuses every record, holding it"; events::KAFKA_TOPIC_HELD,
                    keys::KAFKA_TOPIC => kafka_topic, keys::REASON => classify::name(code),
                    keys::KAFKA_ERROR_CODE => code, keys::DETAIL => sentence,
                    keys::DEAD_LETTERED => dead_lettered);
            }
            Told::Held { holds, blocked } => {
                if let Some((why, suppressed)) = blocked {
                    error!(log, "dead letter not written"; events::DEAD_LETTER_BLOCKED, keys::ERROR => why,
                        keys::SUPPRESSED => suppressed);
                }
                self.metrics.set_holds(holds);
            }
            Told::Dropped { count, why } => {
                if let Some(suppressed) = self.warnings.pass(events::UNMATCHED_DROPPED, now) {
                    warn!(log, "messages that no route matches are dropped"; events::UNMATCHED_DROPPED, keys::REASON => why,
                        keys::COUNT => count, keys::SUPPRESSED => suppressed);
                }
                health.set_unmatched_dropped(Some(why.to_owned()));
            }
            Told::DeadLettersLate => {
                let why = "Kafka does not confirm their dead letters".to_owned();
                health.set_unmatched_dropped(Some(why));
            }
            Told::DeadLettered { route, reason } => self.metrics.count_dead_letter(&route, reason),
            Told::UnmatchedWritten => health.set_unmatched_dropped(None),
            Told::Panicked(panic) => {
                self.panicked(events::RECORD_PANICKED, "panic on one message", panic);
            }
            Told::StaleBatch { epoch, count } => {
                debug!(log, "batch for another epoch"; events::BATCH_STALE, keys::EPOCH => epoch.0, keys::COUNT => count);
            }
            Told::Unconfirmed { since, is_reachable } => {
                health.set_unconfirmed(since.as_ref().map(Instant::elapsed));
                if let Some(since) = since.filter(|_| is_reachable)
                    && let Some(suppressed) = self.unconfirmed.pass(now)
                {
                    warn!(log, "no acknowledgement from kafka"; events::KAFKA_UNCONFIRMED, keys::ELAPSED_MS => elapsed_ms(since),
                        keys::SUPPRESSED => suppressed);
                }
            }
            Told::ClientError { code, detail } => {
                if let Some(suppressed) = self.warnings.pass(events::KAFKA_CLIENT_ERROR, now) {
                    let likely = diagnosis::of_kafka(code, detail, true).map(ToString::to_string);
                    warn!(log, "kafka client error"; events::KAFKA_CLIENT_ERROR, keys::REASON => classify::name(code),
                        keys::KAFKA_ERROR_CODE => code, keys::DETAIL => detail,
                        keys::LIKELY => likely, keys::SUPPRESSED => suppressed);
                }
            }
            Told::Away { detail } => {
                self.still_away.reset();
                let _ = self.still_away.pass(now);
                let suppressed = self.away.pass(now);
                self.away_is_told = suppressed.is_some();
                if let Some(suppressed) = suppressed {
                    warn!(log, "all kafka brokers unreachable"; events::KAFKA_UNREACHABLE, keys::DETAIL => detail,
                        keys::SUPPRESSED => suppressed);
                }
            }
            Told::StillAway { since } => {
                if self.still_away.pass(now).is_some() {
                    self.away_is_told = true;
                    warn!(log, "all kafka brokers still unreachable"; events::KAFKA_UNREACHABLE,
                        keys::ELAPSED_MS => elapsed_ms(since));
                }
            }
            Told::Back { since } => {
                if std::mem::take(&mut self.away_is_told) {
                    info!(log, "kafka reachable again"; events::KAFKA_REACHABLE, keys::ELAPSED_MS => elapsed_ms(since));
                }
            }
            Told::Failing(details) => health.set_failing_partitions(details),
        }
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
