//! What goes to librdkafka, or to the file of dead letters.

use std::sync::Arc;
use std::time::Instant;

use actix::prelude::*;

use super::epochs::Flight;
use super::settle::Outbox;
use super::{Item, KafkaProducerActor};
use crate::kafka::classify::{self, Class};
use crate::kafka::lanes::{Queued as _, Via};
use crate::kafka::producer::SendError;
use crate::message::{Stamp, Verdict};

impl KafkaProducerActor {
    pub(super) fn produce(
        &mut self,
        lane: usize,
        via: Via,
        item: Item,
        produced_at: Stamp,
        ctx: &mut Context<Self>,
    ) {
        let Some(side) = self.side(via, ctx) else {
            self.state.lanes[lane].put_back(via, item);
            self.state.full = true;
            return;
        };
        let Some((route, value)) = item.msg.message.record() else {
            unreachable!("only records are put into lanes");
        };
        let entry = side.flights.vacant_entry();
        let to = (lane, route.kafka_topic.as_str());
        let sent = side.producer.send(entry.key(), to, item.key(), value);
        let code = match sent {
            Ok(()) => {
                entry.insert(Flight::Record { item, lane, produced_at });
                return;
            }
            Err(SendError::Code(code)) => code,
            Err(SendError::Nul) => {
                self.state.lanes[lane].dead_lettered(via, &item);
                let detail = "expected a Kafka topic without NUL".to_owned();
                self.dead_letter(item, Some(("kafka_topic_illegal", detail)));
                return;
            }
        };
        match classify::of_send(code) {
            Class::QueueFull => {
                self.state.lanes[lane].put_back(via, item);
                self.state.full = true;
            }
            Class::Fatal => {
                self.state.lanes[lane].put_back(via, item);
                self.end_epoch(classify::name(code));
            }
            class => self.refused(lane, via, item, (class, code), produced_at.instant),
        }
    }

    pub(super) fn produce_letters(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let config = Arc::clone(&self.config);
        let Some(kafka_topic) = &config.dead_letter.kafka_topic else { return };
        while !self.state.full && self.is_sending() {
            let Some(letter) = self.state.letters.next(now) else { return };
            let Some(side) = self.side(Via::Careful, ctx) else {
                self.state.letters.put_back(letter);
                return;
            };
            let entry = side.flights.vacant_entry();
            let (key, kept, headers) = (letter.key(), letter.kept(), letter.headers());
            let sent =
                side.producer.send_with_headers(entry.key(), kafka_topic, key, kept, headers);
            match sent {
                Ok(()) => {
                    entry.insert(Flight::Letter(Box::new(letter)));
                }
                Err(SendError::Code(code)) => match classify::of_send(code) {
                    Class::QueueFull => {
                        self.state.letters.put_back(letter);
                        self.state.full = true;
                    }
                    Class::Fatal => {
                        self.state.letters.put_back(letter);
                        self.end_epoch(classify::name(code));
                    }
                    _ => self.letter_refused(letter, code, now),
                },
                Err(SendError::Nul) => self.letter_refused(letter, -1, now),
            }
        }
    }

    /// Starts one write of the dead letter file, off this thread, if there is none.
    pub(super) fn write_letters(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let Some((file, lines)) = self.state.letters.next_write(now) else { return };
        let write = tokio::task::spawn_blocking(move || {
            file.append(&lines).map_err(|error| error.to_string())
        });
        ctx.spawn(write.into_actor(self).map(|written, actor, ctx| {
            let written = written.unwrap_or_else(|error| Err(error.to_string()));
            let mut verdicts = Outbox::default();
            for letter in actor.state.letters.written(written, Instant::now()) {
                verdicts.push(letter.source, Verdict::Rejected(letter.msg.seq));
            }
            verdicts.send(&actor.sources);
            actor.letters_blocked();
            actor.pump(Stamp::now(), ctx);
        }));
    }
}
