//! What comes back: delivery reports become verdicts, or go where a refused record goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix::prelude::*;
use slog::{error, warn};

use super::producer_set::Flight;
use super::{Item, KafkaProducerActor, Pile};
use crate::failpoint::{self, Site};
use crate::kafka::classify::{self, Class};
use crate::kafka::dead_letter::Letter;
use crate::kafka::partition_queue::{Queued as _, Via};
use crate::kafka::producer::Report;
use crate::message::Stamp;
use crate::observe::{Delivered, TimingRecord, keys};
use crate::stage::{Attach, SourceId, Verdict, Verdicts};

/// How long the dead letter of a message that no route matches may wait for Kafka while others go on.
const UNMATCHED_WITHIN: Duration = Duration::from_secs(30);

/// Why a record came back.
pub(super) struct Refusal {
    pub(super) class: Class,
    pub(super) code: i32,
    /// Kafka's own words, if it sent the record back and had any.
    pub(super) sentence: Option<String>,
}

/// Verdicts by source, one mail each.
#[derive(Default)]
pub(super) struct Outbox(Vec<(SourceId, Vec<Verdict>)>);

impl Outbox {
    pub(super) fn push(&mut self, source: SourceId, verdict: Verdict) {
        match self.0.iter_mut().find(|(known, _)| *known == source) {
            Some((_, verdicts)) => verdicts.push(verdict),
            None => self.0.push((source, vec![verdict])),
        }
    }

    /// Sends all, the first of which was told at `delivered_at`.
    pub(super) fn send(self, sources: &BTreeMap<SourceId, Attach>, delivered_at: Instant) {
        for (source, verdicts) in self.0 {
            if let Some(source) = sources.get(&source) {
                source.verdicts.do_send(Verdicts { verdicts, delivered_at });
            }
        }
    }
}

/// What the main producer got back for its size, by lane: records and their bytes.
#[derive(Default)]
struct TooLarge(BTreeMap<usize, (usize, usize)>);

impl TooLarge {
    fn add(&mut self, lane: usize, record_bytes: usize) {
        let (records, bytes) = self.0.entry(lane).or_default();
        *records += 1;
        *bytes += record_bytes;
    }

    /// Lanes where several came back, and how many bytes.
    fn requests(self) -> impl Iterator<Item = (usize, usize)> {
        let several = |(lane, (records, bytes))| (records > 1).then_some((lane, bytes));
        self.0.into_iter().filter_map(several)
    }
}

impl KafkaProducerActor {
    pub(super) fn refused(
        &mut self,
        lane: usize,
        via: Via,
        item: Item,
        refusal: Refusal,
        now: Instant,
    ) {
        let Refusal { mut class, code, sentence } = refusal;
        let kafka_topics = &mut self.state.kafka_topics;
        let mut dead_lettered = None;
        if class == Class::Suspect && via == Via::Careful {
            if classify::is_too_large(code) {
                kafka_topics.too_large(lane, item.bytes(), now);
            } else {
                dead_lettered = kafka_topics.refused_alone(lane, &item);
            }
        }
        if dead_lettered.is_some() {
            class = Class::Hold;
        }
        let said = sentence.as_deref().unwrap_or_default().to_owned();
        if class == Class::Hold
            && kafka_topics.held(lane, code, sentence)
            && let Some(count) = dead_lettered
        {
            error!(self.log, "kafka topic refuses all that comes, holding it";
                keys::KAFKA_TOPIC => kafka_topics.lanes()[lane].kafka_topic(),
                keys::REASON => classify::name(code), keys::KAFKA_ERROR_CODE => code,
                keys::DETAIL => &said, keys::DEAD_LETTERED => count);
        }
        let lane = &mut kafka_topics.lanes_mut()[lane];
        if let Some(suppressed) = self.limiter.pass(now) {
            warn!(self.log, "record refused"; keys::KAFKA_TOPIC => lane.kafka_topic(),
                keys::REASON => classify::name(code), keys::KAFKA_ERROR_CODE => code,
                keys::DETAIL => &said, keys::SUPPRESSED => suppressed);
        }
        let hold_max = self.config.dead_letter.after;
        if let Some(item) = lane.refused(via, item, (class, code), now, hold_max) {
            let reason = match class {
                Class::Hold => "held_too_long",
                _ => classify::refusal_reason(code),
            };
            let mut detail = format!("Kafka refused it with {} ({code})", classify::name(code));
            if !said.is_empty() {
                detail = format!("{detail}: {said}");
            }
            self.dead_letter(item, Some((reason, detail)));
        }
    }

    /// Settles what the reports of one side say.
    pub(super) fn settle(&mut self, via: Via, ctx: &mut Context<Self>) {
        failpoint::hit(Site::KafkaReports);
        let at = Stamp::now();
        let mut reports = Vec::new();
        let Some(side) = self.state.live.as_mut().and_then(|live| live.side(via)) else { return };
        side.producer.take_reports(&mut reports);
        let first_at = reports.first().map_or(at.instant, |report: &Report| report.at.instant);
        let fatal =
            reports.iter().any(|report| report.code != 0).then(|| side.producer.fatal_error());
        let fatal = fatal.flatten();
        let mut verdicts = Outbox::default();
        let mut too_large = TooLarge::default();
        let mut runs = Vec::new();
        let timing = self.timing.clone();
        let mut timing = timing.batch();
        for report in reports {
            let Some(live) = &mut self.state.live else { break };
            let flight = live.side(via).and_then(|side| side.flights.try_remove(report.index));
            match flight {
                Some(Flight::Record { lane, .. }) if live.overtaken.contains(&lane) => {}
                Some(Flight::Record { item, lane, produced_at }) => {
                    if via == Via::Main && self.state.round_at == Some(produced_at.instant) {
                        self.state.round_left = self.state.round_left.saturating_sub(1);
                    }
                    let class = classify::of_report(report.code);
                    if class == Class::Delivered {
                        if let Some(record) = item.msg.record() {
                            let received_at = item.msg.message.received_at;
                            let stamps = [received_at, produced_at, report.at];
                            Delivered::add(&mut runs, record.route, stamps);
                        }
                        let kafka_topics = &mut self.state.kafka_topics;
                        let kafka_topic = kafka_topics.lanes()[lane].kafka_topic();
                        timing.record(&timing_of(&item, kafka_topic, &report, produced_at));
                        verdicts.push(item.source, Verdict::Delivered(item.msg.id));
                        kafka_topics.delivered(lane, via, &item, report.kafka_partition);
                    } else if fatal.is_none() || !classify::PURGED.contains(&report.code) {
                        match class {
                            Class::Fatal => {
                                if report.code == classify::WITHOUT_OFFSET {
                                    live.overtaken.insert(lane);
                                }
                                self.end_epoch(classify::name(report.code));
                            }
                            _ => {
                                let side = live.side(via);
                                let sentence =
                                    side.and_then(|side| side.producer.sentence(report.index));
                                match via {
                                    Via::Careful => self.count_gap(),
                                    Via::Main if classify::is_too_large(report.code) => {
                                        too_large.add(lane, item.bytes());
                                    }
                                    Via::Main => {}
                                }
                                let refusal = Refusal { class, code: report.code, sentence };
                                self.refused(lane, via, item, refusal, at.instant);
                            }
                        }
                    }
                }
                Some(Flight::Letter { letter, .. }) if report.code == 0 => {
                    let pile = Pile::of(letter.reason);
                    self.state.pile(pile).delivered(&letter);
                    if pile == Pile::Unmatched {
                        self.metrics.health().set_unmatched_dropped(None);
                    }
                    verdicts.push(letter.source, Verdict::Rejected(letter.msg.id));
                }
                // It is handed on again in the next epoch, as all that the producer forgot.
                Some(Flight::Letter { .. }) if fatal.is_some() => {}
                Some(Flight::Letter { letter, .. }) => {
                    let side = live.side(via);
                    let sentence = side.and_then(|side| side.producer.sentence(report.index));
                    self.count_gap();
                    self.letter_refused(*letter, report.code, sentence, at.instant)
                }
                None => {}
            }
        }
        drop(timing);
        for (lane, bytes) in too_large.requests() {
            self.state.kafka_topics.request_too_large(lane, bytes, at.instant);
        }
        if let Some((_, detail)) = fatal {
            self.end_epoch(&detail);
        }
        if !runs.is_empty() {
            self.metrics.record_delivered(&runs);
            self.reached();
            if let Some(live) = &mut self.state.live
                && live.delivered_at.replace(at.instant).is_none()
            {
                self.metrics.health().set_producer_failing(None);
            }
        }
        verdicts.send(&self.sources, first_at);
        self.replace_producer(at.instant, ctx);
        self.pump(at, ctx);
    }

    /// `sentence` is Kafka's, if it had one.
    pub(super) fn letter_refused(
        &mut self,
        mut letter: Letter,
        code: i32,
        sentence: Option<String>,
        now: Instant,
    ) {
        let pile = Pile::of(letter.reason);
        self.state.pile(pile).give_room_back(&letter);
        if classify::is_too_large(code) && letter.shorten() {
            self.state.pile(pile).put_back(letter);
            return;
        }
        let why = match code {
            classify::WITHOUT_OFFSET => "Kafka did not confirm a dead letter".to_owned(),
            _ => format!("Kafka refuses dead letters with {} ({code})", classify::name(code)),
        };
        let why = match sentence {
            Some(sentence) => format!("{why}: {sentence}"),
            None => why,
        };
        if pile == Pile::Unmatched {
            self.drop_unmatched(vec![letter], &why);
            return;
        }
        self.state.letters.refused(letter, &why, now);
        self.letters_blocked();
    }

    /// Messages that no route matches and whose dead letters cannot be written: they hold nobody up.
    pub(super) fn drop_unmatched(&mut self, letters: Vec<Letter>, why: &str) {
        let now = Instant::now();
        if let Some(suppressed) = self.unmatched_limiter.pass(now) {
            warn!(self.log, "messages that no route matches are dropped"; keys::REASON => why,
                keys::COUNT => letters.len(), keys::SUPPRESSED => suppressed);
        }
        self.metrics.health().set_unmatched_dropped(Some(why.to_owned()));
        let mut verdicts = Outbox::default();
        for letter in letters {
            verdicts.push(letter.source, Verdict::Dropped(letter.msg.id));
        }
        verdicts.send(&self.sources, now);
    }

    /// A dead letter that waits for a partition without a leader would hold up what other partitions
    /// take. Should it be written after all, it is there and counted as dropped. While Kafka is away
    /// everything waits.
    pub(super) fn give_up_late_letters(&mut self) {
        let Some(live) = self.state.live.as_ref().filter(|_| self.state.away.is_none()) else {
            return;
        };
        let now = Instant::now();
        let mut verdicts = Outbox::default();
        let mut count = 0;
        for (_, flight) in live.careful.iter().flat_map(|side| side.flights.iter()) {
            let Flight::Letter { letter, sent_at } = flight else { continue };
            let is_late = now.saturating_duration_since(*sent_at) > UNMATCHED_WITHIN;
            if is_late && Pile::of(letter.reason) == Pile::Unmatched {
                verdicts.push(letter.source, Verdict::Dropped(letter.msg.id));
                count += 1;
            }
        }
        let leader_lost = live.leader_lost;
        if count > 0 {
            let why = "Kafka does not confirm their dead letters".to_owned();
            self.metrics.health().set_unmatched_dropped(Some(why));
            verdicts.send(&self.sources, now);
            if leader_lost {
                self.end_epoch("it confirms no dead letter although Kafka answers");
            }
        }
    }

    pub(super) fn letters_blocked(&mut self) {
        if let Some((why, suppressed)) = self.state.letters.may_warn() {
            error!(self.log, "dead letter not written"; keys::ERROR => why,
                keys::SUPPRESSED => suppressed);
        }
        self.publish_holds();
    }
}

fn timing_of<'a>(
    item: &'a Item,
    kafka_topic: &'a str,
    report: &Report,
    produced_at: Stamp,
) -> TimingRecord<'a> {
    let message = &item.msg.message;
    TimingRecord {
        mqtt_topic: &message.mqtt_topic,
        mqtt_qos: message.qos.level(),
        kafka_topic,
        kafka_partition: report.kafka_partition,
        kafka_offset: report.kafka_offset,
        payload_bytes: message.payload.len(),
        received_at: message.received_at,
        produced_at,
        delivered_at: report.at,
    }
}
