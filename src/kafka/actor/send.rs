//! What goes to librdkafka, or to the file of dead letters.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;

use super::producer_set::{InFlight, ProducerSlot};
use super::reports::{Outbox, Refusal};
use super::{DeadLetterKind, Item, KafkaProducerActor, State};
use crate::kafka::classify::{self, Class};
use crate::kafka::partition_queue::{Arrived, Path, Queued as _};
use crate::kafka::producer::{Extras, Outgoing, Target};
use crate::message::{Record, Stamp};
use crate::stage::Verdict;

impl KafkaProducerActor {
    /// Hands over what may be sent of a queue now: as many bytes as it has room for in the round, or
    /// one record if the queue is serial. Returns how many the pipelined producer took.
    pub(super) fn send_queue(
        &mut self,
        queue: usize,
        mut room: usize,
        now: Stamp,
        ctx: &mut Context<Self>,
    ) -> usize {
        self.state.kafka_topics.probe_if_unproven(queue);
        room = room.min(self.state.kafka_topics.request_max(queue));
        if !self.state.kafka_topics.queues()[queue].has_room() {
            room = 0;
        }
        let mut taken = 0;
        loop {
            let round = self.next_of_queue(queue, &mut room, now, ctx);
            if round.is_empty() {
                return taken;
            }
            // What is refused at once may go another way now: look again.
            taken += self.produce(queue, Path::Pipelined, round, now, ctx);
        }
    }

    /// What the pipelined producer may be given of a queue now; a serial record is sent at once.
    fn next_of_queue(
        &mut self,
        queue: usize,
        room: &mut usize,
        now: Stamp,
        ctx: &mut Context<Self>,
    ) -> Vec<Arrived<Item>> {
        let mut round = Vec::new();
        while !self.state.full && self.is_sending() {
            let queue_now = &mut self.state.kafka_topics.queues_mut()[queue];
            let has_room = *room > 0 && (round.is_empty() || queue_now.fits(*room));
            match queue_now.next(now.instant, has_room) {
                Some((Path::Pipelined, item)) => {
                    *room = room.saturating_sub(item.bytes());
                    round.push(item);
                }
                Some((Path::Serial, item)) => {
                    self.produce(queue, Path::Serial, vec![item], now, ctx);
                }
                None => break,
            }
        }
        round
    }

    /// Hands them over in their order: those that librdkafka takes together, then one that it does not, and
    /// so on. Returns how many it took. Behind one that it did not take all wait again.
    fn produce(
        &mut self,
        queue: usize,
        path: Path,
        items: Vec<Arrived<Item>>,
        produced_at: Stamp,
        ctx: &mut Context<Self>,
    ) -> usize {
        if self.slot(path, ctx).is_none() {
            self.put_back(queue, path, items);
            self.state.full = true;
            return 0;
        }
        let mut taken = 0;
        let mut items = items.into_iter().peekable();
        while let Some(first) = items.next() {
            let State { producers, kafka_topics, .. } = &mut self.state;
            let slot = producers.as_mut().and_then(|producers| producers.slot(path));
            let slot = slot.expect("it is there");
            let mut enter =
                |item| slot.in_flight.insert(InFlight::Record { item, queue, produced_at });
            let mut keys = Vec::new();
            let is_plain = first.is_plain();
            keys.push(enter(first));
            while is_plain && let Some(item) = items.next_if(|item| item.is_plain()) {
                keys.push(enter(item));
            }
            let codes = slot.hand_over(kafka_topics.target(queue), &keys, is_plain);
            taken += codes.iter().filter(|code| **code == 0).count();
            if codes.is_empty() {
                taken += keys.len();
            } else {
                self.put_back(queue, path, items.collect());
                self.not_taken(queue, path, keys.into_iter().zip(codes), produced_at.instant);
                break;
            }
        }
        taken
    }

    fn put_back(&mut self, queue: usize, path: Path, items: Vec<Arrived<Item>>) {
        for item in items.into_iter().rev() {
            self.state.kafka_topics.queues_mut()[queue].put_back(path, item);
        }
    }

    /// librdkafka said of each record whether it took it, 0 for those that it did.
    fn not_taken(
        &mut self,
        queue: usize,
        path: Path,
        codes: impl Iterator<Item = (usize, i32)>,
        now: Instant,
    ) {
        let (mut back, mut refused) = (Vec::new(), Vec::new());
        let mut fatal = None;
        for (key, code) in codes.filter(|(_, code)| *code != 0) {
            let slot = self.state.producers.as_mut().and_then(|producers| producers.slot(path));
            let in_flight = slot.map(|slot| slot.in_flight.remove(key));
            let Some(InFlight::Record { item, .. }) = in_flight else { continue };
            match classify::of_send(code) {
                Class::QueueFull => {
                    self.state.full = true;
                    back.push(item);
                }
                Class::Fatal => {
                    fatal = Some(code);
                    back.push(item);
                }
                class => refused.push((item, Refusal { class, code, sentence: None })),
            }
        }
        self.put_back(queue, path, back);
        for (item, why) in refused {
            self.refused(queue, path, item, why, now);
        }
        if let Some(code) = fatal {
            self.end_epoch(classify::name(code));
        }
    }

    pub(super) fn produce_dead_letters(
        &mut self,
        kind: DeadLetterKind,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let config = Arc::clone(&self.config);
        let Some(kafka_topic) = &config.dead_letter.kafka_topic else { return };
        while !self.state.full && self.is_sending() {
            let Some(dead_letter) = self.state.dead_letters_of(kind).next(now) else { return };
            if self.slot(Path::Serial, ctx).is_none() {
                self.state.dead_letters_of(kind).put_back(dead_letter);
                return;
            }
            if !self.state.dead_letters_of(kind).take_room(&dead_letter) {
                self.drop_unmatched(vec![dead_letter], "at the bound of dead_letter.unmatched_max");
                continue;
            }
            let State { producers, kafka_topics, .. } = &mut self.state;
            let slot = producers.as_mut().and_then(|producers| producers.slot(Path::Serial));
            let Some(slot) = slot else { return };
            let entry = slot.in_flight.vacant_entry();
            let (key, headers) = (dead_letter.key(), dead_letter.headers());
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
            let record = Outgoing::from((entry.key(), key, dead_letter.kept()));
            let extras = Extras { headers: &headers, ..Extras::default() };
            let sent =
                slot.producer.send_one(kafka_topics.dead_letters(kafka_topic), record, extras);
            match sent {
                Ok(()) => {
                    entry.insert(InFlight::DeadLetter {
                        dead_letter: Box::new(dead_letter),
                        sent_at: now,
                    });
                }
                Err(code) => match classify::of_send(code) {
                    Class::QueueFull => {
                        self.state.dead_letters_of(kind).give_room_back(&dead_letter);
                        self.state.dead_letters_of(kind).put_back(dead_letter);
                        self.state.full = true;
                    }
                    Class::Fatal => {
                        self.state.dead_letters_of(kind).give_room_back(&dead_letter);
                        self.state.dead_letters_of(kind).put_back(dead_letter);
                        self.end_epoch(classify::name(code));
                    }
                    _ => self.dead_letter_refused(dead_letter, code, None, now),
                },
            }
        }
    }

    /// Starts one write of the file of a kind, off this thread, if there is none.
    pub(super) fn write_dead_letters(
        &mut self,
        kind: DeadLetterKind,
        now: Instant,
        ctx: &mut Context<Self>,
    ) {
        let Some((file, lines)) = self.state.dead_letters_of(kind).next_write(now) else { return };
        let write = tokio::task::spawn_blocking(move || {
            file.append(&lines).map_err(|error| error.to_string())
        });
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| {
            let written = written.unwrap_or_else(|error| Err(error.to_string()));
            let mut verdicts = Outbox::default();
            for dead_letter in actor.state.dead_letters_of(kind).written(written, Instant::now()) {
                verdicts.push(dead_letter.source, Verdict::Rejected(dead_letter.msg.id));
            }
            verdicts.send(&actor.sources, Instant::now());
            match kind {
                DeadLetterKind::Refused => actor.dead_letters_blocked(),
                DeadLetterKind::Unmatched => match actor.state.unmatched.give_up() {
                    Some((dead_letters, why)) => actor.drop_unmatched(dead_letters, &why),
                    None => actor.metrics.health().set_unmatched_dropped(None),
                },
            }
            actor.pump(Stamp::now(), ctx);
        }));
    }
}

impl ProducerSlot {
    /// Hands over the records that are in flight under these keys: plain ones together, or one that is not.
    /// Returns the code of each, 0 for those that were taken; nothing if all were.
    fn hand_over(&mut self, to: Target<'_>, keys: &[usize], are_plain: bool) -> Vec<i32> {
        let Self { producer, in_flight, .. } = self;
        let mut records = keys.iter().filter_map(|key| match &in_flight[*key] {
            InFlight::Record { item, .. } => Some((*key, &item.item)),
            InFlight::DeadLetter { .. } => None,
        });
        if are_plain {
            let sent = producer.send(to, records.map(outgoing));
            return sent.unwrap_or_else(|code| vec![code; keys.len()]);
        }
        let Some((index, item)) = records.next() else { return Vec::new() };
        let Record { headers, timestamp_ms, partition, .. } = item.record();
        let headers: Vec<_> =
            headers.iter().map(|header| (&*header.name, header.value.as_deref())).collect();
        let (timestamp_ms, kafka_partition) = (*timestamp_ms, *partition);
        let extras = Extras { headers: &headers, timestamp_ms, kafka_partition };
        match producer.send_one(to, outgoing((index, item)), extras) {
            Ok(()) => Vec::new(),
            Err(code) => vec![code],
        }
    }
}

fn outgoing((index, item): (usize, &Item)) -> Outgoing<'_> {
    let Record { key, value, .. } = item.record();
    let (key, value) = (key.as_deref(), value.as_deref());
    Outgoing { index, key, value, mqtt_topic: &item.msg.message.mqtt_topic }
}
