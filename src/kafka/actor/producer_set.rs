//! The producers of one epoch: how they begin and end, and what concerns them as a whole.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use actix::prelude::*;
use slab::Slab;
use slog::{error, info, warn};

use super::{DeadLetterKind, Item, KafkaProducerActor, State};
use crate::kafka::classify;
use crate::kafka::dead_letter::DeadLetter;
use crate::kafka::partition_queue::{Arrived, Path};
use crate::kafka::producer::Producer;
use crate::message::{Epoch, Stamp};
use crate::observe::{LogLimiter, diagnosis, keys};
use crate::stage::StageReady;

/// How often it is said that Kafka is still away, or still confirms nothing.
pub(super) const AWAY_INTERVAL: Duration = Duration::from_secs(60);

/// A record that has waited for Kafka's answer for so long waits for more than a slow moment.
const UNCONFIRMED_AFTER: Duration = Duration::from_secs(10);

/// A producer that confirms nothing at all for so long, of a Kafka that answers, is replaced by a new one
/// (docs/decisions/0015-a-producer-that-is-stuck.md). The time doubles, so often, while that helps nothing.
const STUCK_AFTER: Duration = Duration::from_secs(300);
const STUCK_DOUBLINGS: u32 = 4;

/// After a fatal error: how long the reports of what was in flight are waited for at most, so that
/// nothing of the old producer is still on its way when the new one begins.
const LAST_REPORTS: Duration = Duration::from_secs(5);
/// Pause before a new producer, if the last ones delivered nothing; it doubles.
const START_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a new producer.
const START_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Each refusal is a gap in the serial producer's sequence, and librdkafka counts its epoch up for it, to
/// 32,767 and then from 0 again, which Kafka takes for an older producer. So there is a new one after so
/// many gaps, when nothing is in flight;
const GAPS_MAX: u32 = 16_000;
/// and a new epoch of ours if that never was so.
const GAPS_AT_MOST: u32 = 30_000;

/// No broker is to be reached.
pub(super) struct Away {
    pub(super) since: Instant,
    /// When it is said again.
    pub(super) still: LogLimiter,
    /// The log says so: then it will also say that it is over.
    pub(super) is_told: bool,
}

/// What is in flight in librdkafka.
pub(super) enum InFlight {
    Record { item: Arrived<Item>, queue: usize, produced_at: Stamp },
    DeadLetter { dead_letter: Box<DeadLetter>, sent_at: Instant },
}

/// One producer and what it has in flight, by the index that its reports name.
pub(super) struct ProducerSlot {
    pub(super) producer: Producer,
    pub(super) in_flight: Slab<InFlight>,
    /// Records that came back refused.
    pub(super) gaps: u32,
}

/// The producers of one epoch.
pub(super) struct ProducerSet {
    pub(super) epoch: Epoch,
    pub(super) pipelined: ProducerSlot,
    /// Made when it is first needed.
    pub(super) serial: Option<ProducerSlot>,
    /// A fatal error came: nothing is sent any more, and a new epoch begins at this time.
    pub(super) ending: Option<Instant>,
    /// Lanes with a record that may have been to_replay: what is behind it is sent again too.
    pub(super) to_replay: BTreeSet<usize>,
    /// When it delivered a record the last time.
    pub(super) delivered_at: Option<Instant>,
    /// librdkafka may never find some partition's leader again.
    pub(super) leader_lost: bool,
}

impl ProducerSet {
    pub(super) fn slots(&self) -> impl Iterator<Item = &ProducerSlot> {
        std::iter::once(&self.pipelined).chain(&self.serial)
    }

    /// Whether reports are still to come, of either producer.
    pub(super) fn has_in_flight(&self) -> bool {
        self.slots().any(|slot| !slot.in_flight.is_empty())
    }

    /// Since when the record has waited that has waited for the longest time. A dead letter is one too,
    /// if its message waits for it.
    fn waits_since(&self) -> Option<Instant> {
        let in_flight = self.slots().flat_map(|slot| slot.in_flight.iter());
        let produced_at = in_flight.filter_map(|(_, flight)| match flight {
            InFlight::Record { produced_at, .. } => Some(produced_at.instant),
            InFlight::DeadLetter { dead_letter, sent_at } => {
                (DeadLetterKind::of(dead_letter.reason) == DeadLetterKind::Refused)
                    .then_some(*sent_at)
            }
        });
        produced_at.min()
    }

    /// Whether librdkafka has most likely come to a stop for good, by how long the record has waited
    /// that Kafka, which answers, has not confirmed `since`; `failed_producers` producers before did no better.
    fn is_stuck(&self, since: Instant, failed_producers: u32) -> bool {
        let is_silent = self.delivered_at.is_none_or(|at| at < since);
        let patience = STUCK_AFTER * (1 << failed_producers.min(STUCK_DOUBLINGS));
        self.leader_lost || is_silent && since.elapsed() >= patience
    }

    pub(super) fn slot(&mut self, path: Path) -> Option<&mut ProducerSlot> {
        match path {
            Path::Pipelined => Some(&mut self.pipelined),
            Path::Serial => self.serial.as_mut(),
        }
    }
}

impl KafkaProducerActor {
    /// A new producer and a new epoch.
    pub(super) fn start_producer(&mut self, ctx: &mut Context<Self>) {
        let epoch = Epoch::next();
        match self.start_slot(epoch, Path::Pipelined, ctx) {
            Ok(pipelined) => {
                if self.state.tells_epochs {
                    info!(self.log, "producer started"; keys::EPOCH => epoch.0,
                        keys::KAFKA_BROKERS => self.config.kafka.brokers.join(","));
                }
                self.state.start_at = None;
                self.state.producers = Some(ProducerSet {
                    epoch,
                    pipelined,
                    serial: None,
                    ending: None,
                    to_replay: BTreeSet::new(),
                    delivered_at: None,
                    leader_lost: false,
                });
                for source in self.sources.values() {
                    source.ready.do_send(StageReady { stage_epoch: epoch });
                }
            }
            Err(error) => {
                error!(self.log, "producer not started"; keys::ERROR => error);
                ctx.stop();
            }
        }
    }

    pub(super) fn start_slot(
        &self,
        epoch: Epoch,
        path: Path,
        ctx: &mut Context<Self>,
    ) -> Result<ProducerSlot, String> {
        let actor = ctx.address().recipient();
        let producer = Producer::start(&self.config, (epoch, path), actor, &self.log)?;
        Ok(ProducerSlot { producer, in_flight: Slab::new(), gaps: 0 })
    }

    /// The producer is at its end: no more is sent, and a new one follows.
    pub(super) fn end_epoch(&mut self, detail: &str) {
        let Some(producers) =
            self.state.producers.as_mut().filter(|producers| producers.ending.is_none())
        else {
            return;
        };
        let suppressed = self.epochs_limiter.pass(Instant::now());
        self.state.tells_epochs = suppressed.is_some();
        if let Some(suppressed) = suppressed {
            warn!(self.log, "producer at its end"; keys::EPOCH => producers.epoch.0,
                keys::DETAIL => detail, keys::SUPPRESSED => suppressed);
        }
        self.metrics.count_restart("producer", "fatal_error");
        if self.state.failed_producers > 0 && producers.delivered_at.is_none() {
            self.metrics.health().set_producer_failing(Some(detail.to_owned()));
        }
        producers.ending = Some(Instant::now() + LAST_REPORTS);
    }

    /// Makes a new producer if the old one is at its end and has nothing more to say.
    pub(super) fn replace_producer(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if let Some(producers) = &self.state.producers {
            let over = producers
                .ending
                .is_some_and(|deadline| now >= deadline || !producers.has_in_flight());
            if !over {
                return;
            }
            self.state.failed_producers =
                if producers.delivered_at.is_some() { 0 } else { self.state.failed_producers + 1 };
            let pause = match self.state.failed_producers {
                0 | 1 => Duration::ZERO,
                n => START_PAUSE_MIN.saturating_mul(1 << (n - 2).min(10)).min(START_PAUSE_MAX),
            };
            self.state.producers = None;
            self.state.full = false;
            self.state.round_left = 0;
            self.state.kafka_topics.restart();
            self.state.dead_letters.restart();
            self.state.unmatched.restart();
            // Only a dead letter that is being written outlives its epoch.
            let held: Vec<_> = self.state.held().collect();
            self.state.replay.begin_epoch(held);
            self.state.start_at = Some(now + pause);
        }
        if self.state.start_at.is_some_and(|at| now >= at) {
            self.start_producer(ctx);
        }
    }

    /// The serial producer has one gap more.
    pub(super) fn count_gap(&mut self) {
        let serial = self.state.producers.as_mut().and_then(|producers| producers.serial.as_mut());
        let Some(serial) = serial else { return };
        serial.gaps += 1;
        if serial.gaps >= GAPS_AT_MOST {
            self.end_epoch("the serial producer has no epochs left");
        }
    }

    pub(super) fn is_sending(&self) -> bool {
        self.state.producers.as_ref().is_some_and(|producers| producers.ending.is_none())
    }

    /// The slot to send through; the serial one is made now if need be.
    pub(super) fn slot(
        &mut self,
        path: Path,
        ctx: &mut Context<Self>,
    ) -> Option<&mut ProducerSlot> {
        let producers = self.state.producers.as_mut()?;
        if path == Path::Serial {
            producers.serial.take_if(|slot| slot.gaps >= GAPS_MAX && slot.in_flight.is_empty());
        }
        if path == Path::Serial && producers.serial.is_none() {
            let epoch = producers.epoch;
            let slot = self.start_slot(epoch, path, ctx);
            let producers = self.state.producers.as_mut()?;
            match slot {
                Ok(slot) => producers.serial = Some(slot),
                Err(error) => {
                    error!(self.log, "producer not started"; keys::ERROR => error);
                    ctx.stop();
                }
            }
        }
        self.state.producers.as_mut()?.slot(path)
    }

    /// A broker answers.
    pub(super) fn reached(&mut self) {
        if let Some(Away { since, .. }) = self.state.away.take().filter(|away| away.is_told) {
            info!(self.log, "kafka is back"; keys::ELAPSED_MS => elapsed_ms(since));
        }
    }

    /// Tells of a Kafka that answers questions and confirms no record. librdkafka tries those again by
    /// itself and says nothing, such as while too few replicas are in sync; or it has come to a stop for
    /// good, and then there is a new producer.
    pub(super) fn watch_for_silence(&mut self) {
        let State { producers, away, failed_producers, .. } = &self.state;
        let since = producers.as_ref().and_then(ProducerSet::waits_since);
        let since = since.filter(|since| since.elapsed() >= UNCONFIRMED_AFTER);
        self.metrics.health().set_unconfirmed(since.as_ref().map(Instant::elapsed));
        let (Some(producers), Some(since), None) = (producers, since, away) else { return };
        if let Some(suppressed) = self.unconfirmed_limiter.pass(Instant::now()) {
            warn!(self.log, "kafka confirms nothing"; keys::ELAPSED_MS => elapsed_ms(since),
                keys::SUPPRESSED => suppressed);
        }
        if producers.is_stuck(since, *failed_producers) {
            self.end_epoch("it confirms nothing although Kafka answers");
        }
    }

    pub(super) fn trouble(&mut self, path: Path, code: i32, detail: &str) {
        let fatal = self
            .state
            .producers
            .as_mut()
            .and_then(|producers| producers.slot(path))
            .and_then(|slot| slot.producer.fatal_error());
        if let Some((_, detail)) = fatal {
            self.end_epoch(&detail);
        } else if code == classify::ALL_BROKERS_DOWN {
            if self.state.away.is_none() {
                let (since, mut still) = (Instant::now(), LogLimiter::every(AWAY_INTERVAL));
                let _ = still.pass(since);
                let told = self.away_limiter.pass(since);
                self.state.away = Some(Away { since, still, is_told: told.is_some() });
                if let Some(suppressed) = told {
                    warn!(self.log, "kafka is away"; keys::DETAIL => detail,
                        keys::SUPPRESSED => suppressed);
                }
            }
        } else if let Some(suppressed) = self.limiter.pass(Instant::now()) {
            let likely = diagnosis::of_kafka(code, detail, true).map(ToString::to_string);
            warn!(self.log, "trouble with kafka"; keys::REASON => classify::name(code),
                keys::KAFKA_ERROR_CODE => code, keys::DETAIL => detail, keys::LIKELY => likely,
                keys::SUPPRESSED => suppressed);
        }
    }
}

pub(super) fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
