//! What comes back: delivery reports become verdicts, or go where a refused record goes.

use std::collections::BTreeMap;
use std::time::Instant;

use super::item::{InFlight, Item};
use super::kafka_topics::KafkaTopics;
use super::output::{Outbox, Output, Told};
use super::presence::{Absence, Fate, if_missing};
use super::{Delivery, HELD_TOO_LONG, PARTITION_MISSING, TIMESTAMP_REFUSED, Why, durable};
use crate::kafka::classify::{self, Class};
use crate::kafka::dead_letter::{DeadLetter, DeadLetterKind};
use crate::kafka::partition_queue::{Arrived, Path, Queued as _};
use crate::kafka::producer::Report;
use crate::message::Stamp;
use crate::stage::Verdict;

/// Why a record came back.
pub(super) struct Refusal {
    pub(super) class: Class,
    pub(super) code: i32,
    /// Kafka's own words, if it sent the record back and had any.
    pub(super) sentence: Option<String>,
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

    /// Queues where several came back, and how many bytes.
    fn requests(self) -> impl Iterator<Item = (usize, usize)> {
        let several = |(queue, (records, bytes))| (records > 1).then_some((queue, bytes));
        self.0.into_iter().filter_map(several)
    }
}

/// What the reports of one call have in common.
struct Reports<'a> {
    path: Path,
    /// Why the producer is at its end, if it is.
    fatal: Option<&'a str>,
    now: Instant,
    verdicts: Outbox,
    too_large: TooLarge,
    /// A record was delivered.
    any_delivered: bool,
}

impl Delivery {
    /// Handles the reports of one producer; `fatal` says why it is at its end, if it is.
    pub(in crate::kafka) fn handle_reports(
        &mut self,
        path: Path,
        reports: &[Report],
        fatal: Option<&str>,
        now: Stamp,
        out: &mut impl Output,
    ) {
        let first_at = reports.first().map_or(now.instant, |report| report.at.instant);
        let verdicts = Outbox::expecting(reports.len(), out.wants_all_placed());
        let too_large = TooLarge::default();
        let now_instant = now.instant;
        let mut of_call =
            Reports { path, fatal, now: now_instant, verdicts, too_large, any_delivered: false };
        for report in reports {
            let slot = self.lifecycle.slot(path);
            match slot.and_then(|slot| slot.in_flight.try_remove(report.index)) {
                Some(InFlight::Record { item, queue, produced_at }) => {
                    self.record_reported(item, queue, produced_at, report, &mut of_call, out);
                }
                Some(InFlight::DeadLetter { dead_letter, .. }) => {
                    self.dead_letter_reported(*dead_letter, report, &mut of_call, out);
                }
                None => {}
            }
        }
        let Reports { verdicts, too_large, any_delivered, .. } = of_call;
        for (queue, bytes) in too_large.requests() {
            self.kafka_topics.request_too_large(queue, bytes, now.instant);
        }
        if let Some(detail) = fatal {
            self.fail(detail, now.instant, out);
        }
        if any_delivered {
            self.reached(out);
            if let Some(producers) = self.lifecycle.producers_mut()
                && producers.delivered_at.replace(now.instant).is_none()
            {
                out.tell(Told::Delivers);
            }
        }
        verdicts.send(out, first_at);
        self.replace_producer(now.instant, out);
        self.pump(now, out);
    }

    fn record_reported(
        &mut self,
        item: Arrived<Item>,
        queue: usize,
        produced_at: Stamp,
        report: &Report,
        of_call: &mut Reports<'_>,
        out: &mut impl Output,
    ) {
        let Some(producers) = self.lifecycle.producers_mut() else { return };
        if producers.to_replay.contains(&queue) {
            return;
        }
        let (path, code) = (of_call.path, report.code);
        if path == Path::Pipelined && self.round_at == Some(produced_at.instant) {
            self.round_left = self.round_left.saturating_sub(1);
        }
        match classify::of_report(code) {
            Class::Delivered => {
                let placed = out.delivered(&item, report, produced_at);
                of_call.any_delivered = true;
                of_call.verdicts.push_delivered(item.source, item.msg.id, placed);
                self.kafka_topics.delivered(queue, path, report.kafka_partition);
            }
            // It is handed on again in the next epoch, as all that the producer forgot.
            _ if of_call.fatal.is_some() && classify::PURGED.contains(&code) => {}
            Class::Fatal => {
                if code == classify::WITHOUT_OFFSET {
                    producers.to_replay.insert(queue);
                }
                self.fail(classify::name(code), of_call.now, out);
            }
            class => {
                let sentence = out.sentence(path, report.index);
                match path {
                    Path::Serial => self.count_gap(of_call.now, out),
                    Path::Pipelined if classify::is_too_large(code) => {
                        of_call.too_large.add(queue, item.bytes());
                    }
                    Path::Pipelined => {}
                }
                let refusal = Refusal { class, code, sentence };
                self.refused(queue, path, item, refusal, of_call.now, out);
            }
        }
    }

    fn dead_letter_reported(
        &mut self,
        dead_letter: DeadLetter,
        report: &Report,
        of_call: &mut Reports<'_>,
        out: &mut impl Output,
    ) {
        if report.code == 0 {
            let kind = dead_letter.kind();
            self.dead_letters_of(kind).delivered(&dead_letter);
            if kind == DeadLetterKind::Unmatched {
                out.tell(Told::UnmatchedWritten);
            }
            self.refused_names.remove(&dead_letter.msg.id);
            out.tell(durable(&dead_letter));
            of_call.verdicts.push(dead_letter.source, Verdict::Rejected(dead_letter.msg.id));
        } else if of_call.fatal.is_none() {
            let sentence = out.sentence(of_call.path, report.index);
            self.count_gap(of_call.now, out);
            self.dead_letter_refused(dead_letter, report.code, sentence, of_call.now, out);
        }
        // Else it is handed on again in the next epoch, as all that the producer forgot.
    }

    /// A record came back, from librdkafka or from Kafka.
    pub(super) fn refused(
        &mut self,
        queue: usize,
        path: Path,
        item: Arrived<Item>,
        refusal: Refusal,
        now: Instant,
        out: &mut impl Output,
    ) {
        let Refusal { mut class, code, sentence } = refusal;
        let said = sentence.as_deref().unwrap_or_default().to_owned();
        let kafka_topics = &mut self.kafka_topics;
        let own_fault = own_fault(kafka_topics, (queue, path), &item, (class, code), &said);
        if own_fault.is_some() {
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
        if class == Class::Hold && classify::is_topic_missing(code) {
            kafka_topics.doubt(queue, &item, now);
        }
        let is_first_held = class == Class::Hold && kafka_topics.held(queue, code, sentence);
        let kafka_topic = kafka_topics.queue(queue).kafka_topic();
        if let Some(dead_lettered) = dead_lettered.filter(|_| is_first_held) {
            out.tell(Told::RefusesAll { kafka_topic, code, sentence: &said, dead_lettered });
        }
        out.tell(Told::Refused { kafka_topic, code, sentence: &said });
        let (why, hold_max) = ((class, code), self.hold_max);
        let back = kafka_topics.change(queue, |it| it.refused(path, item, why, now, hold_max));
        let Some(item) = back else { return };
        let reason = match class {
            Class::Hold => HELD_TOO_LONG,
            _ => classify::refusal_reason(code),
        };
        let refused = own_fault.unwrap_or_else(|| (reason, refused_with(code, &said)));
        let (reason, detail) = refused;
        self.dead_letter(item, Some(Why { reason, detail, code: Some(code) }), now);
    }

    /// `sentence` is Kafka's, if it had one.
    pub(super) fn dead_letter_refused(
        &mut self,
        mut dead_letter: DeadLetter,
        code: i32,
        sentence: Option<String>,
        now: Instant,
        out: &mut impl Output,
    ) {
        let kind = dead_letter.kind();
        self.dead_letters_of(kind).give_room_back(&dead_letter);
        if classify::is_too_large(code) && dead_letter.shorten() {
            self.dead_letters_of(kind).put_back(dead_letter);
            return;
        }
        let why = match code {
            classify::WITHOUT_OFFSET => "Kafka did not confirm a dead letter".to_owned(),
            _ => format!("Kafka refuses dead letters with {} ({code})", classify::name(code)),
        };
        let why = with_sentence(why, sentence.as_deref().unwrap_or_default());
        if kind == DeadLetterKind::Unmatched {
            self.drop_unmatched(vec![dead_letter], &why, now, out);
            return;
        }
        self.dead_letters.refused(dead_letter, &why, now);
        self.tell_held(now, out);
    }
}

/// Why a record came back by a fault of its own, or of the name that a template gave its Kafka topic: then it
/// holds up nobody else.
fn own_fault(
    kafka_topics: &KafkaTopics,
    (queue, path): (usize, Path),
    item: &Item,
    (class, code): (Class, i32),
    sentence: &str,
) -> Option<(&'static str, String)> {
    let record = item.record();
    if let Some(wanted) = record.partition()
        && code == classify::UNKNOWN_PARTITION
        && kafka_topics.lacks(queue, wanted)
    {
        return Some((PARTITION_MISSING, kafka_topics.partition_missing(queue, wanted)));
    }
    // Of several records in a request, another one may be at fault.
    if path == Path::Pipelined {
        return None;
    }
    if code == classify::INVALID_TIMESTAMP && record.timestamp_ms().is_some() {
        return Some((TIMESTAMP_REFUSED, refused_with(code, sentence)));
    }
    let if_missing = if_missing(&record.origin).filter(|_| class == Class::Hold)?;
    let absence = Absence { code, sentence: sentence.to_owned(), creating: false };
    match absence.fate(if_missing) {
        // Whether it is missing, only an answer tells.
        Fate::DeadLetter(reason) if !classify::is_topic_missing(code) => {
            Some((reason, absence.detail()))
        }
        Fate::DeadLetter(_) | Fate::Hold => None,
    }
}

fn refused_with(code: i32, sentence: &str) -> String {
    with_sentence(format!("Kafka refused it with {} ({code})", classify::name(code)), sentence)
}

fn with_sentence(text: String, sentence: &str) -> String {
    if sentence.is_empty() { text } else { format!("{text}: {sentence}") }
}
