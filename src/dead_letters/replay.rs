//! `dead-letters replay`: each dead letter goes through the routes of today, one after the other, and its record
//! to Kafka. What is in Kafka is remembered before the next one is sent.

use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;

use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::kafka::dead_letter::letter::{Letter, id};
use mqtt_kafka_bridge::kafka::resend::{Outcome, Resender};
use mqtt_kafka_bridge::message::Record;
use mqtt_kafka_bridge::visible::Visible;

use super::args::{ReplayArgs, failed};
use super::progress::Progress;
use super::routes::{Part, Routes};
use super::show::write;

/// At most so many MQTT topics have dead letters that are left.
const HELD_MAX: usize = 1_000_000;

/// Replays those that are meant and not in Kafka yet.
pub(super) fn replay(args: &ReplayArgs) -> Result<Exit, Exit> {
    let ReplayArgs { from, dry_run, progress: path, as_route } = args;
    let dry_run = *dry_run;
    let (config, source) = from.open()?;
    let routes = Routes::new(&config, as_route.as_deref()).map_err(failed(Exit::Usage))?;
    let path = path.clone().unwrap_or_else(|| source.progress_path());
    let progress = if dry_run { Progress::peek(&path) } else { Progress::open(&path) };
    let progress = progress.map_err(failed(Exit::Configuration))?;
    let mut resender = match dry_run {
        true => None,
        false => Some(
            Resender::new(&config).map_err(|why| failed(Exit::Configuration)(why.to_string()))?,
        ),
    };
    let mut send = |record: &Record, mqtt_topic: &Bytes| match &mut resender {
        Some(resender) => resender.send(record, mqtt_topic).map_err(|why| why.to_string()),
        None => Ok(Outcome::Delivered),
    };
    let mut replay = Replay { routes, progress, held: Held::new(HELD_MAX) };
    let (mut replayed, mut left, mut before) = (0_u64, 0_u64, 0_u64);
    let limit = from.select.limit.unwrap_or(u64::MAX);
    let mut gave_up = None;
    let mut out = io::stdout().lock();
    let read = source.read(|found| {
        let letter = match found.letter {
            Ok(letter) if !from.select.wants(&letter) => return ControlFlow::Continue(()),
            Ok(letter) => letter,
            Err(why) => {
                left += 1;
                let line = format!("left      {}: {}\n", Visible(&found.place), Visible(&why));
                return write(&mut out, line.as_bytes());
            }
        };
        if replay.progress.has(&letter.fields.id) {
            before += 1;
            return ControlFlow::Continue(());
        }
        if replayed + left >= limit {
            return ControlFlow::Break(());
        }
        let id = &letter.fields.id;
        let line = match replay.one(&letter, &mut send) {
            Became::Records(to) => {
                replayed += 1;
                format!("{} {} -> {}\n", verb(dry_run), Visible(id), Visible(&to))
            }
            Became::Left(why) => {
                left += 1;
                format!("left      {}: {}\n", Visible(id), Visible(&why))
            }
            Became::Unknown(why) => {
                left += 1;
                gave_up = Some(why);
                format!("left      {}: no word from Kafka\n", Visible(id))
            }
        };
        // What is in Kafka is there whether or not anybody reads of it.
        let _ = write(&mut out, line.as_bytes());
        match gave_up.is_some() || replay.held.is_full() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    eprintln!(
        "{replayed} {}, {before} were in Kafka before, {left} left",
        verb(dry_run).trim_end()
    );
    if replay.held.is_full() {
        eprintln!("{HELD_MAX} MQTT topics have dead letters that are left: the rest was not tried");
    }
    if let Some(why) = gave_up {
        eprintln!("{}; the next run goes on from here", Visible(&why));
        return Ok(Exit::DeadlinePassed);
    }
    read.map_err(|unread| failed(unread.exit)(Visible(&unread.why).to_string()))?;
    Ok(if left == 0 { Exit::Drained } else { Exit::Unhealthy })
}

fn verb(dry_run: bool) -> &'static str {
    if dry_run { "would be " } else { "replayed " }
}

/// What became of a dead letter.
#[derive(Debug, PartialEq, Eq)]
enum Became {
    /// All of its records are in Kafka: in these Kafka topics.
    Records(String),
    /// It stays, and why.
    Left(String),
    /// There is no word from Kafka, or it cannot be remembered: nothing more can be sent.
    Unknown(String),
}

/// One run.
struct Replay {
    routes: Routes,
    progress: Progress,
    held: Held,
}

impl Replay {
    /// Sends what this dead letter becomes, without the parts that are in Kafka.
    fn one(
        &mut self,
        letter: &Letter<'_>,
        send: &mut impl FnMut(&Record, &Bytes) -> Result<Outcome, String>,
    ) -> Became {
        let (fields, is_held) = (&letter.fields, self.held.has(letter));
        let became = match self.routes.records(letter) {
            Err(not_now) => {
                if not_now.is_awaited {
                    self.held.add(letter);
                }
                return Became::Left(not_now.why);
            }
            Ok(_) if is_held => {
                return Became::Left("an earlier one of its MQTT topic is left".to_owned());
            }
            Ok(became) => became,
        };
        let several = became.parts.len() > 1;
        let told = became.parts.iter().map(|part| &*part.record.kafka_topic).collect::<Vec<_>>();
        let told = told.join(", ");
        let mut refused = Vec::new();
        for Part { route, record } in &became.parts {
            let part = id(&[fields.id.as_bytes(), route.as_bytes()]);
            if self.progress.has(&part) {
                continue;
            }
            match send(record, &became.mqtt_topic) {
                Ok(Outcome::Delivered) if !several => {}
                Ok(Outcome::Delivered) => {
                    if let Err(why) = self.progress.add(&part) {
                        return Became::Unknown(why);
                    }
                }
                Ok(Outcome::Refused(why)) => {
                    refused.push(format!("{} refused it: {why}", record.kafka_topic));
                }
                Err(why) => return Became::Unknown(why),
            }
        }
        if !refused.is_empty() {
            self.held.add(letter);
            return Became::Left(refused.join("; "));
        }
        match self.progress.add(&fields.id) {
            Ok(()) => Became::Records(told),
            Err(why) => Became::Unknown(why),
        }
    }
}

/// MQTT topics with a dead letter that is left: what is behind it must not go before it. As hashes, which are small.
struct Held {
    mqtt_topics: HashSet<String>,
    max: usize,
}

impl Held {
    fn new(max: usize) -> Self {
        Self { mqtt_topics: HashSet::new(), max }
    }

    fn add(&mut self, letter: &Letter<'_>) {
        self.mqtt_topics.insert(id(&[letter.fields.mqtt_topic.as_bytes()]));
    }

    fn has(&self, letter: &Letter<'_>) -> bool {
        self.mqtt_topics.contains(&id(&[letter.fields.mqtt_topic.as_bytes()]))
    }

    fn is_full(&self) -> bool {
        self.mqtt_topics.len() >= self.max
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
