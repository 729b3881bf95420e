//! The producers of one epoch: how they begin and end, and what concerns them as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use actix::prelude::*;
use slab::Slab;
use slog::{error, info, warn};

use super::{Item, KafkaProducerActor, Pile, State};
use crate::kafka::classify;
use crate::kafka::dead_letter::Letter;
use crate::kafka::partition_queue::Via;
use crate::kafka::producer::Producer;
use crate::message::{Epoch, Seq, Stamp};
use crate::observe::{LogLimiter, diagnosis, keys};
use crate::stage::{SourceId, StageReady};

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
const BARREN_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a new producer.
const BARREN_MAX: Duration = Duration::from_secs(10);

/// Each refusal is a gap in the careful producer's sequence, and librdkafka counts its epoch up for it, to
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
pub(super) enum Flight {
    Record { item: Item, lane: usize, produced_at: Stamp },
    Letter { letter: Box<Letter>, sent_at: Instant },
}

/// One producer and what it has in flight, by the index that its reports name.
pub(super) struct Side {
    pub(super) producer: Producer,
    pub(super) flights: Slab<Flight>,
    /// Records that came back refused.
    pub(super) gaps: u32,
}

/// The producers of one epoch.
pub(super) struct Live {
    pub(super) epoch: Epoch,
    pub(super) main: Side,
    /// Made when it is first needed.
    pub(super) careful: Option<Side>,
    /// A fatal error came: nothing is sent any more, and a new epoch begins at this time.
    pub(super) ending: Option<Instant>,
    /// Lanes with a record that may have been overtaken: what is behind it is sent again too.
    pub(super) overtaken: BTreeSet<usize>,
    /// When it delivered a record the last time.
    pub(super) delivered_at: Option<Instant>,
    /// librdkafka may never find some partition's leader again.
    pub(super) leader_lost: bool,
    /// The last message that each source handed on to this epoch.
    pub(super) admitted: BTreeMap<SourceId, Seq>,
}

impl Live {
    pub(super) fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.main).chain(&self.careful)
    }

    /// Whether reports are still to come, of either producer.
    pub(super) fn has_flights(&self) -> bool {
        self.sides().any(|side| !side.flights.is_empty())
    }

    /// Since when the record has waited that has waited for the longest time. A dead letter is one too,
    /// if its message waits for it.
    fn waits_since(&self) -> Option<Instant> {
        let flights = self.sides().flat_map(|side| side.flights.iter());
        let produced_at = flights.filter_map(|(_, flight)| match flight {
            Flight::Record { produced_at, .. } => Some(produced_at.instant),
            Flight::Letter { letter, sent_at } => {
                (Pile::of(letter.reason) == Pile::Refused).then_some(*sent_at)
            }
        });
        produced_at.min()
    }

    /// Whether librdkafka has most likely come to a stop for good, by how long the record has waited
    /// that Kafka, which answers, has not confirmed `since`; `barren` producers before did no better.
    fn is_stuck(&self, since: Instant, barren: u32) -> bool {
        let is_silent = self.delivered_at.is_none_or(|at| at < since);
        let patience = STUCK_AFTER * (1 << barren.min(STUCK_DOUBLINGS));
        self.leader_lost || is_silent && since.elapsed() >= patience
    }

    pub(super) fn side(&mut self, via: Via) -> Option<&mut Side> {
        match via {
            Via::Main => Some(&mut self.main),
            Via::Careful => self.careful.as_mut(),
        }
    }
}

impl KafkaProducerActor {
    /// A new producer and a new epoch.
    pub(super) fn start_producer(&mut self, ctx: &mut Context<Self>) {
        let epoch = Epoch::next();
        match self.start_side(epoch, Via::Main, ctx) {
            Ok(main) => {
                if self.state.tells_epochs {
                    info!(self.log, "producer started"; keys::EPOCH => epoch.0,
                        keys::KAFKA_BROKERS => self.config.kafka.brokers.join(","));
                }
                self.state.start_at = None;
                self.state.live = Some(Live {
                    epoch,
                    main,
                    careful: None,
                    ending: None,
                    overtaken: BTreeSet::new(),
                    delivered_at: None,
                    leader_lost: false,
                    admitted: BTreeMap::new(),
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

    pub(super) fn start_side(
        &self,
        epoch: Epoch,
        via: Via,
        ctx: &mut Context<Self>,
    ) -> Result<Side, String> {
        let actor = ctx.address().recipient();
        let producer = Producer::start(&self.config, (epoch, via), actor, &self.log)?;
        Ok(Side { producer, flights: Slab::new(), gaps: 0 })
    }

    /// The producer is at its end: no more is sent, and a new one follows.
    pub(super) fn end_epoch(&mut self, detail: &str) {
        let Some(live) = self.state.live.as_mut().filter(|live| live.ending.is_none()) else {
            return;
        };
        let suppressed = self.epochs_limiter.pass(Instant::now());
        self.state.tells_epochs = suppressed.is_some();
        if let Some(suppressed) = suppressed {
            warn!(self.log, "producer at its end"; keys::EPOCH => live.epoch.0,
                keys::DETAIL => detail, keys::SUPPRESSED => suppressed);
        }
        self.metrics.count_restart("producer", "fatal_error");
        if self.state.barren > 0 && live.delivered_at.is_none() {
            self.metrics.health().set_producer_failing(Some(detail.to_owned()));
        }
        live.ending = Some(Instant::now() + LAST_REPORTS);
    }

    /// Makes a new producer if the old one is at its end and has nothing more to say.
    pub(super) fn replace_producer(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if let Some(live) = &self.state.live {
            let over = live.ending.is_some_and(|deadline| now >= deadline || !live.has_flights());
            if !over {
                return;
            }
            self.state.barren = if live.delivered_at.is_some() { 0 } else { self.state.barren + 1 };
            let pause = match self.state.barren {
                0 | 1 => Duration::ZERO,
                n => BARREN_MIN.saturating_mul(1 << (n - 2).min(10)).min(BARREN_MAX),
            };
            self.state.live = None;
            self.state.full = false;
            self.state.round_left = 0;
            self.state.kafka_topics.restart();
            self.state.letters.restart();
            self.state.unmatched.restart();
            // Only a dead letter that is being written outlives its epoch.
            self.state.here = self.state.record_ids();
            self.state.settled_to.clear();
            self.state.start_at = Some(now + pause);
        }
        if self.state.start_at.is_some_and(|at| now >= at) {
            self.start_producer(ctx);
        }
    }

    /// The careful producer has one gap more.
    pub(super) fn count_gap(&mut self) {
        let careful = self.state.live.as_mut().and_then(|live| live.careful.as_mut());
        let Some(careful) = careful else { return };
        careful.gaps += 1;
        if careful.gaps >= GAPS_AT_MOST {
            self.end_epoch("the careful producer has no epochs left");
        }
    }

    pub(super) fn is_sending(&self) -> bool {
        self.state.live.as_ref().is_some_and(|live| live.ending.is_none())
    }

    /// The side to send through; the careful one is made now if need be.
    pub(super) fn side(&mut self, via: Via, ctx: &mut Context<Self>) -> Option<&mut Side> {
        let live = self.state.live.as_mut()?;
        if via == Via::Careful {
            live.careful.take_if(|side| side.gaps >= GAPS_MAX && side.flights.is_empty());
        }
        if via == Via::Careful && live.careful.is_none() {
            let epoch = live.epoch;
            let side = self.start_side(epoch, via, ctx);
            let live = self.state.live.as_mut()?;
            match side {
                Ok(side) => live.careful = Some(side),
                Err(error) => {
                    error!(self.log, "producer not started"; keys::ERROR => error);
                    ctx.stop();
                }
            }
        }
        self.state.live.as_mut()?.side(via)
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
        let State { live, away, barren, .. } = &self.state;
        let since = live.as_ref().and_then(Live::waits_since);
        let since = since.filter(|since| since.elapsed() >= UNCONFIRMED_AFTER);
        self.metrics.health().set_unconfirmed(since.as_ref().map(Instant::elapsed));
        let (Some(live), Some(since), None) = (live, since, away) else { return };
        if let Some(suppressed) = self.unconfirmed_limiter.pass(Instant::now()) {
            warn!(self.log, "kafka confirms nothing"; keys::ELAPSED_MS => elapsed_ms(since),
                keys::SUPPRESSED => suppressed);
        }
        if live.is_stuck(since, *barren) {
            self.end_epoch("it confirms nothing although Kafka answers");
        }
    }

    pub(super) fn trouble(&mut self, via: Via, code: i32, detail: &str) {
        let fatal = self
            .state
            .live
            .as_mut()
            .and_then(|live| live.side(via))
            .and_then(|side| side.producer.fatal_error());
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
