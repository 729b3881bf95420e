//! What comes back: delivery reports become verdicts, or go where a refused record goes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix::prelude::*;
use slog::{error, warn};

use super::producer_set::InFlight;
use super::{DeadLetterKind, Item, KafkaProducerActor, PARTITION_MISSING};
use crate::failpoint::{self, Site};
use crate::kafka::classify::{self, Class};
use crate::kafka::dead_letter::DeadLetter;
use crate::kafka::partition_queue::{Arrived, Path, Queued as _};
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

/// What the pipelined producer got back for its size, by queue: records and their bytes.
#[derive(Default)]
struct TooLarge(BTreeMap<usize, (usize, usize)>);

impl TooLarge {
    fn add(&mut self, queue: usize, record_bytes: usize) {
        let (records, bytes) = self.0.entry(queue).or_default();
        *records += 1;
        *bytes += record_bytes;
    }

    /// Lanes where several came back, and how many bytes.
    fn requests(self) -> impl Iterator<Item = (usize, usize)> {
        let several = |(queue, (records, bytes))| (records > 1).then_some((queue, bytes));
        self.0.into_iter().filter_map(several)
    }
}

impl KafkaProducerActor {
    pub(super) fn refused(
        &mut self,
        queue: usize,
        path: Path,
        item: Arrived<Item>,
        refusal: Refusal,
        now: Instant,
    ) {
        let Refusal { mut class, code, sentence } = refusal;
        let kafka_topics = &mut self.state.kafka_topics;
        let missing = item.record().partition.filter(|_| code == classify::UNKNOWN_PARTITION);
        if missing.is_some() {
            class = Class::Refused;
        }
        let mut dead_lettered = None;
        if class == Class::Suspect && path == Path::Serial {
            if classify::is_too_large(code) {
                kafka_topics.too_large(queue, item.bytes(), now);
            } else {
                dead_lettered = kafka_topics.refused_alone(queue, &item);
            }
        }
        if dead_lettered.is_some() {
            class = Class::Hold;
        }
        let said = sentence.as_deref().unwrap_or_default().to_owned();
        if class == Class::Hold
            && kafka_topics.held(queue, code, sentence)
            && let Some(count) = dead_lettered
        {
            error!(self.log, "kafka topic refuses all that comes, holding it";
                keys::KAFKA_TOPIC => kafka_topics.queues()[queue].kafka_topic(),
                keys::REASON => classify::name(code), keys::KAFKA_ERROR_CODE => code,
                keys::DETAIL => &said, keys::DEAD_LETTERED => count);
        }
        let queue_index = queue;
        let queue = &mut kafka_topics.queues_mut()[queue];
        if let Some(suppressed) = self.limiter.pass(now) {
            warn!(self.log, "record refused"; keys::KAFKA_TOPIC => queue.kafka_topic(),
                keys::REASON => classify::name(code), keys::KAFKA_ERROR_CODE => code,
                keys::DETAIL => &said, keys::SUPPRESSED => suppressed);
        }
        let hold_max = self.config.dead_letter.after;
        if let Some(item) = queue.refused(path, item, (class, code), now, hold_max) {
            if let Some(wanted) = missing {
                let detail = self.state.kafka_topics.partition_missing(queue_index, wanted);
                self.dead_letter(item, Some((PARTITION_MISSING, detail)));
                return;
            }
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

    /// Settles what the reports of one slot say.
    pub(super) fn handle_reports(&mut self, path: Path, ctx: &mut Context<Self>) {
        failpoint::hit(Site::KafkaReports);
        let at = Stamp::now();
        let mut reports = Vec::new();
        let Some(slot) = self.state.producers.as_mut().and_then(|producers| producers.slot(path))
        else {
            return;
        };
        slot.producer.take_reports(&mut reports);
        let first_at = reports.first().map_or(at.instant, |report: &Report| report.at.instant);
        let fatal =
            reports.iter().any(|report| report.code != 0).then(|| slot.producer.fatal_error());
        let fatal = fatal.flatten();
        let mut verdicts = Outbox::default();
        let mut too_large = TooLarge::default();
        let mut runs = Vec::new();
        let timing = self.timing.clone();
        let mut timing = timing.batch();
        for report in reports {
            let Some(producers) = &mut self.state.producers else { break };
            let flight =
                producers.slot(path).and_then(|slot| slot.in_flight.try_remove(report.index));
            match flight {
                Some(InFlight::Record { queue, .. }) if producers.to_replay.contains(&queue) => {}
                Some(InFlight::Record { item, queue, produced_at }) => {
                    if path == Path::Pipelined && self.state.round_at == Some(produced_at.instant) {
                        self.state.round_left = self.state.round_left.saturating_sub(1);
                    }
                    let class = classify::of_report(report.code);
                    if class == Class::Delivered {
                        if let Some(record) = item.msg.record() {
                            let received_at = item.msg.message.received_at;
                            let stamps = [received_at, produced_at, report.at];
                            Delivered::add(&mut runs, item.source, record.route, stamps);
                        }
                        let kafka_topics = &mut self.state.kafka_topics;
                        let kafka_topic = kafka_topics.queues()[queue].kafka_topic();
                        let connection = self.metrics.distinct_name(item.source);
                        timing.record(&TimingRecord {
                            connection: connection.map(|name| &**name),
                            ..timing_of(&item, kafka_topic, &report, produced_at)
                        });
                        verdicts.push(item.source, Verdict::Delivered(item.msg.id));
                        kafka_topics.delivered(queue, path, report.kafka_partition);
                    } else if fatal.is_none() || !classify::PURGED.contains(&report.code) {
                        match class {
                            Class::Fatal => {
                                if report.code == classify::WITHOUT_OFFSET {
                                    producers.to_replay.insert(queue);
                                }
                                self.end_epoch(classify::name(report.code));
                            }
                            _ => {
                                let slot = producers.slot(path);
                                let sentence =
                                    slot.and_then(|slot| slot.producer.sentence(report.index));
                                match path {
                                    Path::Serial => self.count_gap(),
                                    Path::Pipelined if classify::is_too_large(report.code) => {
                                        too_large.add(queue, item.bytes());
                                    }
                                    Path::Pipelined => {}
                                }
                                let refusal = Refusal { class, code: report.code, sentence };
                                self.refused(queue, path, item, refusal, at.instant);
                            }
                        }
                    }
                }
                Some(InFlight::DeadLetter { dead_letter, .. }) if report.code == 0 => {
                    let kind = DeadLetterKind::of(dead_letter.reason);
                    self.state.dead_letters_of(kind).delivered(&dead_letter);
                    if kind == DeadLetterKind::Unmatched {
                        self.metrics.health().set_unmatched_dropped(None);
                    }
                    verdicts.push(dead_letter.source, Verdict::Rejected(dead_letter.msg.id));
                }
                // It is handed on again in the next epoch, as all that the producer forgot.
                Some(InFlight::DeadLetter { .. }) if fatal.is_some() => {}
                Some(InFlight::DeadLetter { dead_letter, .. }) => {
                    let slot = producers.slot(path);
                    let sentence = slot.and_then(|slot| slot.producer.sentence(report.index));
                    self.count_gap();
                    self.dead_letter_refused(*dead_letter, report.code, sentence, at.instant)
                }
                None => {}
            }
        }
        drop(timing);
        for (queue, bytes) in too_large.requests() {
            self.state.kafka_topics.request_too_large(queue, bytes, at.instant);
        }
        if let Some((_, detail)) = fatal {
            self.end_epoch(&detail);
        }
        if !runs.is_empty() {
            self.metrics.record_delivered(&runs);
            self.reached();
            if let Some(producers) = &mut self.state.producers
                && producers.delivered_at.replace(at.instant).is_none()
            {
                self.metrics.health().set_producer_failing(None);
            }
        }
        verdicts.send(&self.sources, first_at);
        self.replace_producer(at.instant, ctx);
        self.pump(at, ctx);
    }

    /// `sentence` is Kafka's, if it had one.
    pub(super) fn dead_letter_refused(
        &mut self,
        mut dead_letter: DeadLetter,
        code: i32,
        sentence: Option<String>,
        now: Instant,
    ) {
        let kind = DeadLetterKind::of(dead_letter.reason);
        self.state.dead_letters_of(kind).give_room_back(&dead_letter);
        if classify::is_too_large(code) && dead_letter.shorten() {
            self.state.dead_letters_of(kind).put_back(dead_letter);
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
        if kind == DeadLetterKind::Unmatched {
            self.drop_unmatched(vec![dead_letter], &why);
            return;
        }
        self.state.dead_letters.refused(dead_letter, &why, now);
        self.dead_letters_blocked();
    }

    /// Messages that no route matches and whose dead letters cannot be written: they hold nobody up.
    pub(super) fn drop_unmatched(&mut self, dead_letters: Vec<DeadLetter>, why: &str) {
        let now = Instant::now();
        if let Some(suppressed) = self.unmatched_limiter.pass(now) {
            warn!(self.log, "messages that no route matches are dropped"; keys::REASON => why,
                keys::COUNT => dead_letters.len(), keys::SUPPRESSED => suppressed);
        }
        self.metrics.health().set_unmatched_dropped(Some(why.to_owned()));
        let mut verdicts = Outbox::default();
        for dead_letter in dead_letters {
            verdicts.push(dead_letter.source, Verdict::Dropped(dead_letter.msg.id));
        }
        verdicts.send(&self.sources, now);
    }

    /// A dead letter that waits for a partition without a leader would hold up what other partitions
    /// take. Should it be written after all, it is there and counted as dropped. While Kafka is away
    /// everything waits.
    pub(super) fn give_up_late_dead_letters(&mut self) {
        let Some(producers) = self.state.producers.as_ref().filter(|_| self.state.away.is_none())
        else {
            return;
        };
        let now = Instant::now();
        let mut verdicts = Outbox::default();
        let mut count = 0;
        for (_, flight) in producers.serial.iter().flat_map(|slot| slot.in_flight.iter()) {
            let InFlight::DeadLetter { dead_letter, sent_at } = flight else { continue };
            let is_late = now.saturating_duration_since(*sent_at) > UNMATCHED_WITHIN;
            if is_late && DeadLetterKind::of(dead_letter.reason) == DeadLetterKind::Unmatched {
                verdicts.push(dead_letter.source, Verdict::Dropped(dead_letter.msg.id));
                count += 1;
            }
        }
        let leader_lost = producers.leader_lost;
        if count > 0 {
            let why = "Kafka does not confirm their dead letters".to_owned();
            self.metrics.health().set_unmatched_dropped(Some(why));
            verdicts.send(&self.sources, now);
            if leader_lost {
                self.end_epoch("it confirms no dead letter although Kafka answers");
            }
        }
    }

    pub(super) fn dead_letters_blocked(&mut self) {
        if let Some((why, suppressed)) = self.state.dead_letters.may_warn() {
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
        connection: None,
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
