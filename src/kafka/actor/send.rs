//! What goes to librdkafka, or to the file of dead letters.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;

use super::producer_set::Flight;
use super::reports::{Outbox, Refusal};
use super::{Item, KafkaProducerActor, Pile, State};
use crate::kafka::classify::{self, Class};
use crate::kafka::partition_queue::{Queued as _, Via};
use crate::message::Stamp;
use crate::stage::Verdict;

impl KafkaProducerActor {
    /// Hands over what may be sent of a lane now: as many bytes as it has room for in the round, or
    /// one record if it is careful. Returns how many the main producer took.
    pub(super) fn send_lane(
        &mut self,
        lane: usize,
        mut room: usize,
        now: Stamp,
        ctx: &mut Context<Self>,
    ) -> usize {
        self.state.kafka_topics.beware(lane);
        room = room.min(self.state.kafka_topics.request_max(lane));
        if !self.state.kafka_topics.lanes()[lane].has_room() {
            room = 0;
        }
        let mut taken = 0;
        loop {
            let round = self.next_of_lane(lane, &mut room, now, ctx);
            if round.is_empty() {
                return taken;
            }
            // What is refused at once may go another way now: look again.
            taken += self.produce(lane, Via::Main, round, now, ctx);
        }
    }

    /// What the main producer may be given of a lane now; what is careful is sent on the way.
    fn next_of_lane(
        &mut self,
        lane: usize,
        room: &mut usize,
        now: Stamp,
        ctx: &mut Context<Self>,
    ) -> Vec<Item> {
        let mut round = Vec::new();
        while !self.state.full && self.is_sending() {
            let lane_now = &mut self.state.kafka_topics.lanes_mut()[lane];
            let has_room = *room > 0 && (round.is_empty() || lane_now.fits(*room));
            match lane_now.next(now.instant, has_room) {
                Some((Via::Main, item)) => {
                    *room = room.saturating_sub(item.bytes());
                    round.push(item);
                }
                Some((Via::Careful, item)) => {
                    self.produce(lane, Via::Careful, vec![item], now, ctx);
                }
                None => break,
            }
        }
        round
    }

    /// How many of them librdkafka took.
    fn produce(
        &mut self,
        lane: usize,
        via: Via,
        items: Vec<Item>,
        produced_at: Stamp,
        ctx: &mut Context<Self>,
    ) -> usize {
        if self.side(via, ctx).is_none() {
            for item in items.into_iter().rev() {
                self.state.kafka_topics.lanes_mut()[lane].put_back(via, item);
            }
            self.state.full = true;
            return 0;
        }
        let State { live, kafka_topics, full, .. } = &mut self.state;
        let side = live.as_mut().and_then(|live| live.side(via)).expect("it is there");
        let flight = |item| Flight::Record { item, lane, produced_at };
        let keys: Vec<usize> =
            items.into_iter().map(|item| side.flights.insert(flight(item))).collect();
        let records = keys.iter().map(|key| match &side.flights[*key] {
            Flight::Record { item, .. } => {
                let record = item.msg.record().expect("only records are in lanes");
                (*key, item.key(), record.value.as_deref().unwrap_or_default())
            }
            Flight::Letter { .. } => unreachable!("a record was put there"),
        });
        let codes = match side.producer.send(kafka_topics.target(lane), records) {
            Ok(codes) if codes.is_empty() => return keys.len(),
            Ok(codes) => codes,
            Err(code) => vec![code; keys.len()],
        };
        let taken = codes.iter().filter(|code| **code == 0).count();
        let not_taken = keys.into_iter().zip(codes).filter(|(_, code)| *code != 0);
        let (mut back, mut refused) = (Vec::new(), Vec::new());
        let mut fatal = None;
        for (key, code) in not_taken {
            let Flight::Record { item, .. } = side.flights.remove(key) else { continue };
            match classify::of_send(code) {
                Class::QueueFull => {
                    *full = true;
                    back.push(item);
                }
                Class::Fatal => {
                    fatal = Some(code);
                    back.push(item);
                }
                class => refused.push((item, Refusal { class, code, sentence: None })),
            }
        }
        for item in back.into_iter().rev() {
            self.state.kafka_topics.lanes_mut()[lane].put_back(via, item);
        }
        for (item, why) in refused {
            self.refused(lane, via, item, why, produced_at.instant);
        }
        if let Some(code) = fatal {
            self.end_epoch(classify::name(code));
        }
        taken
    }

    pub(super) fn produce_letters(&mut self, pile: Pile, now: Instant, ctx: &mut Context<Self>) {
        let config = Arc::clone(&self.config);
        let Some(kafka_topic) = &config.dead_letter.kafka_topic else { return };
        while !self.state.full && self.is_sending() {
            let Some(letter) = self.state.pile(pile).next(now) else { return };
            if self.side(Via::Careful, ctx).is_none() {
                self.state.pile(pile).put_back(letter);
                return;
            }
            if !self.state.pile(pile).take_room(&letter) {
                self.drop_unmatched(vec![letter], "at the bound of dead_letter.unmatched_max");
                continue;
            }
            let Some(side) = self.side(Via::Careful, ctx) else { return };
            let entry = side.flights.vacant_entry();
            let (key, kept, headers) = (letter.key(), letter.kept(), letter.headers());
            let headers: Vec<_> =
                headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let sent =
                side.producer.send_with_headers(entry.key(), kafka_topic, key, kept, &headers);
            match sent {
                Ok(()) => {
                    entry.insert(Flight::Letter { letter: Box::new(letter), sent_at: now });
                }
                Err(code) => match classify::of_send(code) {
                    Class::QueueFull => {
                        self.state.pile(pile).give_room_back(&letter);
                        self.state.pile(pile).put_back(letter);
                        self.state.full = true;
                    }
                    Class::Fatal => {
                        self.state.pile(pile).give_room_back(&letter);
                        self.state.pile(pile).put_back(letter);
                        self.end_epoch(classify::name(code));
                    }
                    _ => self.letter_refused(letter, code, None, now),
                },
            }
        }
    }

    /// Starts one write of the file of a pile, off this thread, if there is none.
    pub(super) fn write_letters(&mut self, pile: Pile, now: Instant, ctx: &mut Context<Self>) {
        let Some((file, lines)) = self.state.pile(pile).next_write(now) else { return };
        let write = tokio::task::spawn_blocking(move || {
            file.append(&lines).map_err(|error| error.to_string())
        });
        ctx.spawn(write.into_actor(self).map(move |written, actor, ctx| {
            let written = written.unwrap_or_else(|error| Err(error.to_string()));
            let mut verdicts = Outbox::default();
            for letter in actor.state.pile(pile).written(written, Instant::now()) {
                verdicts.push(letter.source, Verdict::Rejected(letter.msg.id));
            }
            verdicts.send(&actor.sources, Instant::now());
            match pile {
                Pile::Refused => actor.letters_blocked(),
                Pile::Unmatched => match actor.state.unmatched.give_up() {
                    Some((letters, why)) => actor.drop_unmatched(letters, &why),
                    None => actor.metrics.health().set_unmatched_dropped(None),
                },
            }
            actor.pump(Stamp::now(), ctx);
        }));
    }
}
