//! What goes to librdkafka, or to the file of dead letters.

use std::time::Instant;

use super::Delivery;
use super::item::{InFlight, Item};
use super::lifecycle::ProducerSlot;
use super::output::Output;
use super::reports::Refusal;
use crate::kafka::classify::{self, Class};
use crate::kafka::dead_letter::DeadLetterKind;
use crate::kafka::partition_queue::{Arrived, Path, Queued as _};
use crate::kafka::producer::{Extras, Outgoing, Target};
use crate::message::Stamp;
use crate::observe::Rfc3339;

impl Delivery {
    /// Hands over what may be sent of a queue now: as many bytes as it has room for in the round, or
    /// one record if the queue is serial. Returns how many the pipelined producer took.
    pub(super) fn send_queue(
        &mut self,
        queue: usize,
        mut room: usize,
        now: Stamp,
        out: &mut impl Output,
    ) -> usize {
        self.kafka_topics.probe_if_unproven(queue);
        room = room.min(self.kafka_topics.request_max(queue));
        if !self.kafka_topics.queue(queue).has_room() {
            room = 0;
        }
        let mut taken = 0;
        loop {
            let round = self.next_of_queue(queue, &mut room, now, out);
            if round.is_empty() {
                return taken;
            }
            // What is refused at once may go another way now: look again.
            taken += self.produce(queue, Path::Pipelined, round, now, out);
        }
    }

    /// What the pipelined producer may be given of a queue now; a serial record is sent at once.
    fn next_of_queue(
        &mut self,
        queue: usize,
        room: &mut usize,
        now: Stamp,
        out: &mut impl Output,
    ) -> Vec<Arrived<Item>> {
        let mut round = Vec::new();
        while !self.full && self.lifecycle.running().is_some() {
            let fits = round.is_empty() || self.kafka_topics.queue(queue).fits(*room);
            let has_room = *room > 0 && fits;
            match self.kafka_topics.change(queue, |queue| queue.next(now.instant, has_room)) {
                Some((Path::Pipelined, item)) => {
                    *room = room.saturating_sub(item.bytes());
                    round.push(item);
                }
                // Only this queue waits for its producer.
                Some((Path::Serial, item)) if !self.ensure(Path::Serial, now.instant, out) => {
                    self.put_back(queue, Path::Serial, vec![item]);
                    break;
                }
                Some((Path::Serial, item)) => {
                    self.produce(queue, Path::Serial, vec![item], now, out);
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
        out: &mut impl Output,
    ) -> usize {
        let mut taken = 0;
        let mut items = items.into_iter().peekable();
        while let Some(first) = items.next() {
            let Some(slot) = self.lifecycle.slot(path) else { break };
            let mut enter =
                |item| slot.in_flight.insert(InFlight::Record { item, queue, produced_at });
            let to = self.kafka_topics.target(queue);
            let (keys, codes) = if first.is_plain() {
                let mut keys = Vec::with_capacity(items.len() + 1);
                keys.push(enter(first));
                while let Some(item) = items.next_if(|item| item.is_plain()) {
                    keys.push(enter(item));
                }
                let codes = hand_over(slot, path, to, &keys, out);
                (keys, codes)
            } else {
                let key = enter(first);
                match hand_over_one(slot, path, to, (key, produced_at), out) {
                    Ok(()) => {
                        taken += 1;
                        continue;
                    }
                    Err(code) => (vec![key], vec![code]),
                }
            };
            taken += codes.iter().filter(|code| **code == 0).count();
            if codes.is_empty() {
                taken += keys.len();
            } else {
                self.put_back(queue, path, items.collect());
                self.not_taken(queue, path, keys.into_iter().zip(codes), produced_at.instant, out);
                break;
            }
        }
        taken
    }

    fn put_back(&mut self, queue: usize, path: Path, items: Vec<Arrived<Item>>) {
        for item in items.into_iter().rev() {
            self.kafka_topics.change(queue, |queue| queue.put_back(path, item));
        }
    }

    /// librdkafka said of each record whether it took it, 0 for those that it did.
    fn not_taken(
        &mut self,
        queue: usize,
        path: Path,
        codes: impl Iterator<Item = (usize, i32)>,
        now: Instant,
        out: &mut impl Output,
    ) {
        let (mut back, mut refused) = (Vec::new(), Vec::new());
        let mut fatal = None;
        for (key, code) in codes.filter(|(_, code)| *code != 0) {
            let in_flight = self.lifecycle.slot(path).map(|slot| slot.in_flight.remove(key));
            let Some(InFlight::Record { item, .. }) = in_flight else { continue };
            match classify::of_send(code) {
                Class::QueueFull => {
                    self.full = true;
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
            self.refused(queue, path, item, why, now, out);
        }
        if let Some(code) = fatal {
            self.fail(classify::name(code), now, out);
        }
    }

    /// Hands over dead letters for their Kafka topic.
    pub(super) fn produce_dead_letters(
        &mut self,
        kind: DeadLetterKind,
        now: Stamp,
        out: &mut impl Output,
    ) {
        while !self.full && self.lifecycle.running().is_some() {
            let Some(dead_letter) = self.dead_letters_of(kind).next(now.instant) else { return };
            if !self.ensure(Path::Serial, now.instant, out) {
                self.dead_letters_of(kind).put_back(dead_letter);
                return;
            }
            if !self.dead_letters_of(kind).take_room(&dead_letter) {
                let why = "at the bound of dead_letter.unmatched_max";
                self.drop_unmatched(vec![dead_letter], why, now.instant, out);
                continue;
            }
            let Self { lifecycle, kafka_topics, dead_letter_kafka_topic, .. } = self;
            let (Some(slot), Some(kafka_topic)) =
                (lifecycle.slot(Path::Serial), dead_letter_kafka_topic)
            else {
                return;
            };
            let entry = slot.in_flight.vacant_entry();
            let (key, headers) = (dead_letter.key(), dead_letter.headers());
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))).collect();
            let record = Outgoing::from((entry.key(), key, dead_letter.kept()));
            let extras = Extras { headers: &headers, ..Extras::default() };
            match out.send_one(Path::Serial, kafka_topics.dead_letters(kafka_topic), record, extras)
            {
                Ok(()) => {
                    let dead_letter = Box::new(dead_letter);
                    entry.insert(InFlight::DeadLetter { dead_letter, sent_at: now });
                }
                Err(code) => match classify::of_send(code) {
                    class @ (Class::QueueFull | Class::Fatal) => {
                        self.dead_letters_of(kind).give_room_back(&dead_letter);
                        self.dead_letters_of(kind).put_back(dead_letter);
                        self.full |= class == Class::QueueFull;
                        if class == Class::Fatal {
                            self.fail(classify::name(code), now.instant, out);
                        }
                    }
                    _ => self.dead_letter_refused(dead_letter, code, None, now.instant, out),
                },
            }
        }
    }

    /// Starts one write of the file of a kind, if there is none.
    pub(super) fn write_dead_letters(
        &mut self,
        kind: DeadLetterKind,
        now: Instant,
        out: &mut impl Output,
    ) {
        if let Some((file, lines)) = self.dead_letters_of(kind).next_write(now) {
            out.write(kind, file, lines);
        }
    }
}

/// Hands over the plain records that are in flight under these keys. Returns the code of each, 0 for those that
/// were taken; nothing if all were.
fn hand_over(
    slot: &ProducerSlot,
    path: Path,
    to: Target<'_>,
    keys: &[usize],
    out: &mut impl Output,
) -> Vec<i32> {
    // A `map`, which knows how many they are.
    let records = keys.iter().map(|key| outgoing((*key, in_flight(slot, *key))));
    out.send(path, to, records).unwrap_or_else(|code| vec![code; keys.len()])
}

/// Hands over the record that is in flight under this key, with what it has beside key and value.
fn hand_over_one(
    slot: &ProducerSlot,
    path: Path,
    to: Target<'_>,
    (key, produced_at): (usize, Stamp),
    out: &mut impl Output,
) -> Result<(), i32> {
    let item = in_flight(slot, key);
    let record = item.record();
    let text = record.says_produced_at().then(|| Rfc3339::from_us(produced_at.wall_us));
    let headers = record.headers_at(text.as_ref().map_or(b"", Rfc3339::as_bytes));
    let (timestamp_ms, kafka_partition) = (record.timestamp_ms(), record.partition());
    let extras = Extras { headers: &headers, timestamp_ms, kafka_partition };
    out.send_one(path, to, outgoing((key, item)), extras)
}

fn in_flight(slot: &ProducerSlot, key: usize) -> &Item {
    match &slot.in_flight[key] {
        InFlight::Record { item, .. } => &item.item,
        InFlight::DeadLetter { .. } => unreachable!("records were put there"),
    }
}

fn outgoing((index, item): (usize, &Item)) -> Outgoing<'_> {
    let (key, value) = (item.key().map(|key| &key[..]), item.record().value.as_deref());
    Outgoing { index, key, value, mqtt_topic: &item.msg.message.mqtt_topic }
}
