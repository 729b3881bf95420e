//! `dead-letters replay`: each dead letter goes through the routes of today, one after the other, and its record
//! to Kafka. What is in Kafka is remembered before the next one is sent.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use mqtt_kafka_bridge::config::Config;
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::kafka::dead_letter::letter::Letter;
use mqtt_kafka_bridge::kafka::resend::{Outcome, Resender};
use mqtt_kafka_bridge::message::{Destination, Destinations, Header, Qos, Record, Stamp};
use mqtt_kafka_bridge::route::{Input, Match, Route, Router};
use mqtt_kafka_bridge::visible::Visible;

use super::args::{From, failed};
use super::progress::Progress;
use super::show::write;

/// Replays those that are meant and not in Kafka yet.
pub(super) fn replay(from: &From, dry_run: bool, path: Option<&Path>) -> Result<Exit, Exit> {
    let (config, source) = from.open()?;
    let path = path.map_or_else(|| source.progress_path(), Path::to_owned);
    let progress = if dry_run { Progress::peek(&path) } else { Progress::open(&path) };
    let mut progress = progress.map_err(failed(Exit::Configuration))?;
    let mut routes = Routes::new(&config);
    let mut resender = match dry_run {
        true => None,
        false => Some(
            Resender::new(&config).map_err(|why| failed(Exit::Configuration)(why.to_string()))?,
        ),
    };
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
        if progress.has(&letter.fields.id) {
            before += 1;
            return ControlFlow::Continue(());
        }
        if replayed + left >= limit {
            return ControlFlow::Break(());
        }
        let replayable = routes.records(&letter);
        let result = replayable.and_then(|(mqtt_topic, records)| {
            let told = records.iter().map(|record| &*record.kafka_topic).collect::<Vec<_>>();
            let told = told.join(", ");
            let Some(resender) = &mut resender else { return Ok(told) };
            for record in &records {
                match resender.send(record, &mqtt_topic) {
                    Ok(Outcome::Delivered) => {}
                    Ok(Outcome::Refused(why)) => {
                        return Err(format!("{} refused it: {why}", record.kafka_topic));
                    }
                    Err(why) => {
                        gave_up = Some(why.to_string());
                        return Err("no word from Kafka".to_owned());
                    }
                }
            }
            if let Err(why) = progress.add(&letter.fields.id) {
                gave_up = Some(why);
            }
            Ok(told)
        });
        let id = &letter.fields.id;
        let line = match result {
            Ok(to) => {
                replayed += 1;
                format!("{} {} -> {}\n", verb(dry_run), Visible(id), Visible(&to))
            }
            Err(why) => {
                left += 1;
                format!("left      {}: {}\n", Visible(id), Visible(&why))
            }
        };
        // What is in Kafka is there whether or not anybody reads of it.
        let _ = write(&mut out, line.as_bytes());
        match gave_up {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    eprintln!(
        "{replayed} {}, {before} were in Kafka before, {left} left",
        verb(dry_run).trim_end()
    );
    if let Some(why) = gave_up.or(read.err()) {
        eprintln!("{}; the next run goes on from here", Visible(&why));
        return Ok(Exit::DeadlinePassed);
    }
    Ok(if left == 0 { Exit::Drained } else { Exit::Unhealthy })
}

fn verb(dry_run: bool) -> &'static str {
    if dry_run { "would be " } else { "replayed " }
}

/// The routes of today.
struct Routes {
    all: Vec<Route>,
    /// Of all of them.
    router: Router,
    /// With `match = "all"`: of one route alone, by its name.
    alone: HashMap<Arc<str>, Router>,
    match_: Match,
    connection: Arc<str>,
}

impl Routes {
    fn new(config: &Config) -> Self {
        let mut all = config.routes.clone();
        for route in &mut all {
            // These look at messages before this one, and it has passed them once.
            route.gate.sample = None;
            route.gate.dedupe = false;
        }
        let first = config.connections.first();
        Self {
            router: Router::new(&all, config.match_),
            alone: HashMap::new(),
            match_: config.match_,
            connection: first.map(|mqtt| Arc::clone(&mqtt.section)).unwrap_or_default(),
            all,
        }
    }

    /// The records that a dead letter becomes, with its MQTT topic.
    ///
    /// # Errors
    /// Why it becomes none.
    fn records(&mut self, letter: &Letter<'_>) -> Result<(Bytes, Vec<Record>), String> {
        let unusable =
            |error: mqtt_kafka_bridge::kafka::dead_letter::letter::Unreadable| error.to_string();
        let fields = &letter.fields;
        let payload = Bytes::copy_from_slice(letter.whole_payload().map_err(unusable)?);
        let mqtt_topic = letter.mqtt_topic().map_err(unusable)?;
        let properties = letter.properties().map_err(unusable)?;
        if std::str::from_utf8(&mqtt_topic).is_err() || fields.reason == "mqtt_topic_not_utf8" {
            return Err("expected an MQTT topic of UTF-8".to_owned());
        }
        let received_at = stamp(&fields.received_at)?;
        let connection = match &fields.connection {
            Some(name) => Arc::from(&**name),
            None => Arc::clone(&self.connection),
        };
        let input = Input {
            mqtt_topic: &mqtt_topic,
            payload: &payload,
            properties: &properties,
            qos: if fields.mqtt_qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce },
            retain: fields.mqtt_retain,
            dup: false,
            received_at,
            waited: Duration::ZERO,
            connection: &connection,
        };
        let router = self.router_of(fields.route.as_deref());
        let routed = router.route(&input);
        let dropped = router.notes().iter().map(|(_, note)| format!("{note:?}"));
        let dropped = dropped.collect::<Vec<_>>().join(", ");
        drop(router.take_requests());
        if !routed.is_matched {
            return Err("no route matches it".to_owned());
        }
        let records = records_of(&routed.destinations)?;
        if records.is_empty() {
            return Err(format!("its route drops it: {dropped}"));
        }
        let marks = marks(&fields.id);
        let marked = records.into_iter().map(|mut record| {
            record.extras.get_or_insert_default().headers.extend(marks.iter().cloned());
            record
        });
        let marked = marked.collect();
        Ok((mqtt_topic, marked))
    }

    /// With `match = "all"` the other routes had their part of the message.
    fn router_of(&mut self, route: Option<&str>) -> &mut Router {
        let named = route.filter(|_| self.match_ == Match::All);
        let named = named.and_then(|name| self.all.iter().find(|route| *route.name == *name));
        match named {
            None => &mut self.router,
            Some(route) => {
                let name = Arc::clone(&route.name);
                let alone = || Router::new(std::slice::from_ref(route), Match::First);
                self.alone.entry(name).or_insert_with(alone)
            }
        }
    }
}

/// All of them, if none is refused again: half a message in Kafka could not be told from a whole one.
fn records_of(destinations: &Destinations) -> Result<Vec<Record>, String> {
    let each = destinations.as_slice().iter().map(|destination| match destination {
        Destination::Record(record) => Ok(record.clone()),
        Destination::DeadLetter(refusal) => Err(format!("{}: {}", refusal.reason, refusal.detail)),
    });
    each.collect()
}

/// By which a consumer knows it.
fn marks(id: &str) -> [Header; 2] {
    let now = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let name = |name: &str| Arc::from(CString::new(name).unwrap_or_default());
    [
        Header { name: name("bridge.replayed_at"), value: Some(now.into()) },
        Header { name: name("bridge.dead_letter_id"), value: Some(id.to_owned().into()) },
    ]
}

fn stamp(received_at: &str) -> Result<Stamp, String> {
    let expected = || format!("expected received_at in RFC 3339, found {received_at:?}");
    let at = received_at.parse::<jiff::Timestamp>().map_err(|_| expected())?;
    let wall_us = u64::try_from(at.as_microsecond()).map_err(|_| expected())?;
    Ok(Stamp { wall_us, ..Stamp::now() })
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
