//! KafkaProducerActor: takes batches, gives verdicts. It translates between messages, the lanes (what
//! may be sent) and the producers (what came of it); when a producer is at its end it makes a new
//! one, announces its epoch, and the sources hand on again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use slab::Slab;
use slog::{Logger, debug, error, info, o, warn};

use super::classify::{self, Class};
use super::lanes::{Lane, Queued, Via};
use super::letters::Letters;
use super::producer::{Producer, Report, SendError};
use super::{Event, ProducerEvent};
use crate::config::Config;
use crate::failpoint::{self, Site};
use crate::kafka::dead_letter::Letter;
use crate::message::{
    Attach, Destination, Epoch, ForwardBatch, ForwardMsg, ProducerStarted, Seq, SourceId, Stamp,
    Verdict, Verdicts,
};
use crate::observe::panics::{self, PanicReport};
use crate::observe::{Delivered, Gate, Hold, Metrics, TimingRecord, TimingSink, keys};
use crate::supervisor::heartbeat::Heartbeat;

/// How often the actor shows that it lives, and publishes what it holds.
const TICK: Duration = Duration::from_secs(1);
/// A round is handed to librdkafka when fewer records than this are in flight. With this many in
/// flight in a partition an idempotent producer sends nothing more there, and its thread turns in a
/// busy loop over what waits (docs/decisions/0004-rounds.md).
const ROUND_BELOW: usize = 5;
/// Keys and values of one round, so that it fits one request (`batch.size` is 1,000,000). A record
/// that is larger goes alone.
const ROUND_BYTES: usize = 768 * 1024;
/// How soon a record that librdkafka had no room for is tried again, if no report comes before.
const FULL_RETRY: Duration = Duration::from_millis(10);
/// After a fatal error: how long the reports of what was in flight are waited for at most, so that
/// nothing of the old producer is still on its way when the new one begins.
const LAST_REPORTS: Duration = Duration::from_secs(5);
/// Pause before a new producer, if the last ones delivered nothing; it doubles.
const BARREN_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a new producer.
const BARREN_MAX: Duration = Duration::from_secs(10);
/// A repeated warning appears once in this time.
const WARN_INTERVAL: Duration = Duration::from_secs(10);
/// How often it is said that Kafka is still away.
const AWAY_INTERVAL: Duration = Duration::from_secs(60);

/// A message with the source that gets its verdict.
#[derive(Debug)]
struct Item {
    msg: ForwardMsg,
    source: SourceId,
}

impl Queued for Item {
    fn seq(&self) -> Seq {
        self.msg.seq
    }

    fn key(&self) -> &[u8] {
        &self.msg.message.mqtt_topic
    }
}

/// What is in flight in librdkafka.
enum Flight {
    Record { item: Item, lane: usize, produced_at: Stamp },
    Letter(Letter),
}

/// One producer and what it has in flight, by the index that its reports name.
struct Side {
    producer: Producer,
    flights: Slab<Flight>,
}

/// The producers of one epoch.
struct Live {
    epoch: Epoch,
    main: Side,
    /// Made when it is first needed.
    careful: Option<Side>,
    /// A fatal error came: nothing is sent any more, and a new epoch begins at this time.
    ending: Option<Instant>,
    delivered: bool,
    /// The last message that each source handed on to this epoch.
    admitted: BTreeMap<SourceId, Seq>,
}

/// All that a restart rebuilds.
#[derive(Default)]
struct State {
    live: Option<Live>,
    lanes: Vec<Lane<Item>>,
    lane_of: HashMap<String, usize, foldhash::fast::RandomState>,
    letters: Letters,
    alarm: Option<Instant>,
    /// librdkafka has no room.
    full: bool,
    /// Producers in a row that delivered nothing.
    barren: u32,
    start_at: Option<Instant>,
    away: Option<(Instant, Gate)>,
    stale_batches: u64,
    /// What a source will hand on again although it is here: it attached anew.
    here: HashSet<Seq>,
    /// Of a source that attached anew: up to this one, what it hands on again and is not here has
    /// had its verdict from this epoch, and the mail died with the source.
    settled_to: BTreeMap<SourceId, Seq>,
}

/// The registry's singleton. Made by [`KafkaProducerActor::new`] and put there by
/// `SystemRegistry::set` once; it restarts in place.
pub struct KafkaProducerActor {
    config: Arc<Config>,
    log: Logger,
    metrics: Arc<Metrics>,
    timing: TimingSink,
    heartbeat: Arc<Heartbeat>,
    sources: BTreeMap<SourceId, Attach>,
    gate: Gate,
    state: State,
}

impl KafkaProducerActor {
    /// An actor that makes its first producer when it is started.
    pub fn new(
        config: Arc<Config>,
        log: Logger,
        metrics: Arc<Metrics>,
        timing: TimingSink,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        let log = log.new(o!(keys::COMPONENT => "kafka"));
        let state = State { letters: Letters::new(&config.dead_letter), ..State::default() };
        let (sources, gate) = (BTreeMap::new(), Gate::every(WARN_INTERVAL));
        Self { config, log, metrics, timing, heartbeat, sources, gate, state }
    }

    /// A new producer and a new epoch.
    fn start_producer(&mut self, ctx: &mut Context<Self>) {
        let epoch = Epoch::next();
        match self.start_side(epoch, Via::Main, ctx) {
            Ok(main) => {
                info!(self.log, "producer started"; keys::EPOCH => epoch.0,
                    keys::KAFKA_BROKERS => self.config.kafka.brokers.join(","));
                self.state.start_at = None;
                self.state.live = Some(Live {
                    epoch,
                    main,
                    careful: None,
                    ending: None,
                    delivered: false,
                    admitted: BTreeMap::new(),
                });
                for source in self.sources.values() {
                    source.started.do_send(ProducerStarted { epoch });
                }
            }
            Err(error) => {
                error!(self.log, "producer not started"; keys::ERROR => error);
                ctx.stop();
            }
        }
    }

    fn start_side(&self, epoch: Epoch, via: Via, ctx: &mut Context<Self>) -> Result<Side, String> {
        let actor = ctx.address().recipient();
        let producer = Producer::start(&self.config, (epoch, via), actor, &self.log)?;
        Ok(Side { producer, flights: Slab::new() })
    }

    /// The producer is at its end: no more is sent, and a new one follows.
    fn end_epoch(&mut self, detail: &str) {
        let Some(live) = self.state.live.as_mut().filter(|live| live.ending.is_none()) else {
            return;
        };
        warn!(self.log, "producer at its end"; keys::EPOCH => live.epoch.0, keys::DETAIL => detail);
        self.metrics.count_restart("producer", "fatal_error");
        if self.state.barren > 0 && !live.delivered {
            self.metrics.health().set_producer_failing(Some(detail.to_owned()));
        }
        live.ending = Some(Instant::now() + LAST_REPORTS);
    }

    /// Makes a new producer if the old one is at its end and has nothing more to say.
    fn replace_producer(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if let Some(live) = &self.state.live {
            let over = live.ending.is_some_and(|deadline| now >= deadline || !live.has_flights());
            if !over {
                return;
            }
            self.state.barren = if live.delivered { 0 } else { self.state.barren + 1 };
            let pause = match self.state.barren {
                0 | 1 => Duration::ZERO,
                n => BARREN_MIN.saturating_mul(1 << (n - 2).min(10)).min(BARREN_MAX),
            };
            self.state.live = None;
            self.state.full = false;
            self.state.lanes.iter_mut().for_each(Lane::restart);
            self.state.letters.restart();
            // Only a dead letter that is being written outlives its epoch.
            self.state.here = self.state.seqs();
            self.state.settled_to.clear();
            self.state.start_at = Some(now + pause);
        }
        if self.state.start_at.is_some_and(|at| now >= at) {
            self.start_producer(ctx);
        }
    }

    /// Puts a message where it goes next: its lane, or the dead letter.
    fn admit(&mut self, item: Item) {
        let state = &mut self.state;
        if !state.here.is_empty() && state.here.remove(&item.msg.seq) {
            return;
        }
        let lane = panics::catch(|| {
            failpoint::hit(Site::KafkaRecord);
            let (route, _) = item.msg.message.record()?;
            Some(lane_of(state, &route.kafka_topic))
        });
        match lane {
            Ok(Some(lane)) => state.lanes[lane].push(item),
            Ok(None) => self.dead_letter(item, None),
            Err(panic) => {
                self.log_panic("panic on one message", &panic);
                self.dead_letter(item, Some(("panic", panic.message)));
            }
        }
    }

    fn log_panic(&self, what: &'static str, panic: &PanicReport) {
        error!(self.log, "{}", what; keys::ACTOR => self.heartbeat.actor(),
            keys::PANIC => &panic.message, keys::LOCATION => &panic.location);
    }

    fn dead_letter(&mut self, item: Item, refusal: Option<(&'static str, String)>) {
        let Item { msg, source } = item;
        let kafka_topic = msg.message.record().map(|(route, _)| route.kafka_topic.clone());
        let given = match &msg.message.destination {
            Some(Destination::DeadLetter(given)) => Some((given.reason, given.detail.clone())),
            _ => None,
        };
        let (reason, detail) = refusal.or(given).unwrap_or_default();
        self.state.letters.push(Letter { msg, source, reason, detail, kafka_topic });
    }

    /// Sends all that may be sent, and sets the alarm for the rest.
    fn pump(&mut self, now: Stamp, ctx: &mut Context<Self>) {
        self.state.full = false;
        let flying = self.state.live.as_ref().map_or(0, |live| live.main.flights.len());
        let mut room = if flying < ROUND_BELOW { ROUND_BYTES } else { 0 };
        for lane in 0..self.state.lanes.len() {
            while !self.state.full && self.is_sending() {
                let next = self.state.lanes[lane].next(now.instant, room > 0);
                let Some((via, item)) = next else { break };
                if via == Via::Main {
                    room = room.saturating_sub(item.msg.message.window_bytes());
                }
                self.produce(lane, via, item, now, ctx);
            }
        }
        if self.config.dead_letter.kafka_topic.is_some() {
            self.produce_letters(now.instant, ctx);
        } else {
            self.write_letters(now.instant, ctx);
        }
        self.set_alarm(ctx);
    }

    fn is_sending(&self) -> bool {
        self.state.live.as_ref().is_some_and(|live| live.ending.is_none())
    }

    /// The side to send through; the careful one is made now if need be.
    fn side(&mut self, via: Via, ctx: &mut Context<Self>) -> Option<&mut Side> {
        let live = self.state.live.as_ref()?;
        if via == Via::Careful && live.careful.is_none() {
            let side = self.start_side(live.epoch, via, ctx);
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

    fn produce(
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

    fn refused(&mut self, lane: usize, via: Via, item: Item, why: (Class, i32), now: Instant) {
        let hold_max = self.config.dead_letter.after;
        let (_, code) = why;
        let lane = &mut self.state.lanes[lane];
        if let Some(suppressed) = self.gate.pass(now) {
            warn!(self.log, "record refused"; keys::KAFKA_TOPIC => lane.kafka_topic(),
                keys::REASON => classify::name(code), keys::KAFKA_ERROR_CODE => code,
                keys::SUPPRESSED => suppressed);
        }
        if let Some(item) = lane.refused(via, item, why, now, hold_max) {
            let reason = match why.0 {
                Class::Hold => "held_too_long",
                _ => classify::refusal_reason(code),
            };
            let detail = format!("Kafka refused it with {} ({code})", classify::name(code));
            self.dead_letter(item, Some((reason, detail)));
        }
    }

    /// Settles what the reports of one side say.
    fn settle(&mut self, via: Via, ctx: &mut Context<Self>) {
        failpoint::hit(Site::KafkaReports);
        let at = Stamp::now();
        let mut reports = Vec::new();
        let Some(side) = self.state.live.as_mut().and_then(|live| live.side(via)) else { return };
        side.producer.take_reports(&mut reports);
        let fatal =
            reports.iter().any(|report| report.code != 0).then(|| side.producer.fatal_error());
        let fatal = fatal.flatten();
        let mut verdicts = Outbox::default();
        let mut runs = Vec::new();
        let timing = self.timing.clone();
        let mut timing = timing.batch();
        for report in reports {
            let flight = self
                .state
                .live
                .as_mut()
                .and_then(|live| live.side(via)?.flights.try_remove(report.index));
            match flight {
                Some(Flight::Record { item, lane, produced_at }) => {
                    let class = classify::of_report(report.code);
                    if class == Class::Delivered {
                        if let Some((route, _)) = item.msg.message.record() {
                            let received_at = item.msg.message.received_at;
                            Delivered::add(&mut runs, route.index, received_at, produced_at);
                        }
                        timing.record(&timing_of(
                            &item,
                            self.state.lanes[lane].kafka_topic(),
                            &report,
                            produced_at,
                            at,
                        ));
                        verdicts.push(item.source, Verdict::Delivered(item.msg.seq));
                        self.state.lanes[lane].delivered(via, &item);
                    } else if fatal.is_none() || !classify::PURGED.contains(&report.code) {
                        match class {
                            Class::Fatal => self.end_epoch(classify::name(report.code)),
                            _ => self.refused(lane, via, item, (class, report.code), at.instant),
                        }
                    }
                }
                Some(Flight::Letter(letter)) if report.code == 0 => {
                    self.state.letters.delivered();
                    verdicts.push(letter.source, Verdict::Rejected(letter.msg.seq));
                }
                Some(Flight::Letter(letter)) => {
                    self.letter_refused(letter, report.code, at.instant)
                }
                None => {}
            }
        }
        drop(timing);
        if let Some((_, detail)) = fatal {
            self.end_epoch(&detail);
        }
        if !runs.is_empty() {
            self.metrics.record_delivered(&runs, &at);
            self.reached();
            if let Some(live) = &mut self.state.live
                && !std::mem::replace(&mut live.delivered, true)
            {
                self.metrics.health().set_producer_failing(None);
            }
        }
        verdicts.send(&self.sources);
        self.replace_producer(at.instant, ctx);
        self.pump(at, ctx);
    }

    fn letter_refused(&mut self, letter: Letter, code: i32, now: Instant) {
        let why = format!("Kafka refuses dead letters with {} ({code})", classify::name(code));
        self.state.letters.refused(letter, &why, now);
        self.letters_blocked();
    }

    fn letters_blocked(&mut self) {
        if let Some((why, suppressed)) = self.state.letters.may_warn() {
            error!(self.log, "dead letter not written"; keys::ERROR => why,
                keys::SUPPRESSED => suppressed);
        }
        self.publish_holds();
    }

    fn produce_letters(&mut self, now: Instant, ctx: &mut Context<Self>) {
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
                    entry.insert(Flight::Letter(letter));
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
    fn write_letters(&mut self, now: Instant, ctx: &mut Context<Self>) {
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

    /// A broker answers.
    fn reached(&mut self) {
        if let Some((since, _)) = self.state.away.take() {
            info!(self.log, "kafka is back"; keys::ELAPSED_MS => elapsed_ms(since));
        }
    }

    fn trouble(&mut self, via: Via, code: i32, detail: &str) {
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
                let mut gate = Gate::every(AWAY_INTERVAL);
                let _ = gate.pass(Instant::now());
                self.state.away = Some((Instant::now(), gate));
                warn!(self.log, "kafka is away"; keys::DETAIL => detail);
            }
        } else if let Some(suppressed) = self.gate.pass(Instant::now()) {
            warn!(self.log, "trouble with kafka"; keys::REASON => classify::name(code),
                keys::KAFKA_ERROR_CODE => code, keys::DETAIL => detail,
                keys::SUPPRESSED => suppressed);
        }
    }

    fn publish_holds(&self) {
        let lanes = self.state.lanes.iter().filter_map(|lane| {
            let trouble = lane.trouble().filter(|trouble| trouble.held)?;
            let reason = classify::name(trouble.code).to_owned();
            Some(Hold { kafka_topic: lane.kafka_topic().to_owned(), reason })
        });
        self.metrics.set_holds(lanes.chain(self.state.letters.hold()).collect());
    }

    fn tick(&mut self) {
        self.heartbeat.beat();
        self.publish_holds();
        if let Some((since, gate)) = &mut self.state.away
            && gate.pass(Instant::now()).is_some()
        {
            warn!(self.log, "kafka is still away"; keys::ELAPSED_MS => elapsed_ms(*since));
        }
    }

    /// Sets the one alarm to when something is to be tried again.
    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let state = &mut self.state;
        let lanes = state.lanes.iter().filter_map(Lane::next_try).min();
        let full = state.full.then(|| now + FULL_RETRY);
        let ending = state.live.as_ref().and_then(|live| live.ending);
        let at = [lanes, full, ending, state.start_at, state.letters.next_try()];
        let Some(at) = at.into_iter().flatten().min() else { return };
        if state.alarm.is_some_and(|set| set <= at && set > now) {
            return;
        }
        // An alarm that is set already is left to ring in vain: a panic between the cancelling of a
        // future and its end would cancel another one after the restart (supervisor/guard.rs).
        ctx.run_later(at.saturating_duration_since(now), move |actor, ctx| {
            if actor.state.alarm == Some(at) {
                actor.state.alarm = None;
            }
            actor.heartbeat.beat();
            actor.replace_producer(Instant::now(), ctx);
            actor.pump(Stamp::now(), ctx);
        });
        state.alarm = Some(at);
    }
}

impl State {
    /// Everything that is here and has no verdict yet.
    fn seqs(&self) -> HashSet<Seq> {
        let sides =
            self.live.iter().flat_map(|live| std::iter::once(&live.main).chain(&live.careful));
        let flying = sides.flat_map(|side| side.flights.iter()).map(|(_, flight)| match flight {
            Flight::Record { item, .. } => item.msg.seq,
            Flight::Letter(letter) => letter.msg.seq,
        });
        let waiting = self.lanes.iter().flat_map(Lane::waiting).map(|item| item.msg.seq);
        let letters = self.letters.waiting().map(|letter| letter.msg.seq);
        flying.chain(waiting).chain(letters).collect()
    }
}

impl Live {
    /// Whether reports are still to come, of either producer.
    fn has_flights(&self) -> bool {
        std::iter::once(&self.main).chain(&self.careful).any(|side| !side.flights.is_empty())
    }

    fn side(&mut self, via: Via) -> Option<&mut Side> {
        match via {
            Via::Main => Some(&mut self.main),
            Via::Careful => self.careful.as_mut(),
        }
    }
}

/// Verdicts by source, one mail each.
#[derive(Default)]
struct Outbox(Vec<(SourceId, Vec<Verdict>)>);

impl Outbox {
    fn push(&mut self, source: SourceId, verdict: Verdict) {
        match self.0.iter_mut().find(|(known, _)| *known == source) {
            Some((_, verdicts)) => verdicts.push(verdict),
            None => self.0.push((source, vec![verdict])),
        }
    }

    fn send(self, sources: &BTreeMap<SourceId, Attach>) {
        for (source, verdicts) in self.0 {
            if let Some(source) = sources.get(&source) {
                source.verdicts.do_send(Verdicts(verdicts));
            }
        }
    }
}

/// The index of a Kafka topic's lane; made when it is first needed. Routes bound their number.
fn lane_of(state: &mut State, kafka_topic: &str) -> usize {
    if let Some(lane) = state.lane_of.get(kafka_topic) {
        return *lane;
    }
    state.lanes.push(Lane::new(kafka_topic));
    state.lane_of.insert(kafka_topic.to_owned(), state.lanes.len() - 1);
    state.lanes.len() - 1
}

/// The verdict that a message has had. Which one is not kept: a record that Kafka refused counts as
/// delivered here.
fn verdict_again(msg: &ForwardMsg) -> Verdict {
    match msg.message.record() {
        Some(_) => Verdict::Delivered(msg.seq),
        None => Verdict::Rejected(msg.seq),
    }
}

fn timing_of<'a>(
    item: &'a Item,
    kafka_topic: &'a str,
    report: &Report,
    produced_at: Stamp,
    delivered_at: Stamp,
) -> TimingRecord<'a> {
    let message = &item.msg.message;
    TimingRecord {
        mqtt_topic: std::str::from_utf8(&message.mqtt_topic).unwrap_or_default(),
        mqtt_qos: message.qos.level(),
        kafka_topic,
        kafka_partition: report.kafka_partition,
        kafka_offset: report.kafka_offset,
        payload_bytes: message.payload.len(),
        received_at: message.received_at,
        produced_at,
        delivered_at,
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Actor for KafkaProducerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(TICK, |actor, _| actor.tick());
        self.heartbeat.beat();
        self.start_producer(ctx);
    }
}

impl Supervised for KafkaProducerActor {
    /// Forgets all but who its sources are: they hand on again when the new producer is announced.
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.state = State { letters: Letters::new(&self.config.dead_letter), ..State::default() };
    }
}

impl SystemService for KafkaProducerActor {}

impl Default for KafkaProducerActor {
    /// The registry calls it for a service that nobody has set: there is no configuration then.
    /// A panic would be swallowed here, and every message after it lost in silence.
    fn default() -> Self {
        eprintln!("KafkaProducerActor was asked for before it was set in the registry");
        std::process::abort()
    }
}

impl Handler<Attach> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, attach: Attach, _: &mut Context<Self>) {
        if let Some(live) = &self.state.live {
            attach.started.do_send(ProducerStarted { epoch: live.epoch });
        }
        self.state.here = self.state.seqs();
        let admitted = self.state.live.as_ref().and_then(|live| live.admitted.get(&attach.source));
        if let Some(last) = admitted.copied() {
            self.state.settled_to.insert(attach.source, last);
        }
        self.sources.insert(attach.source, attach);
    }
}

impl Handler<ForwardBatch> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, batch: ForwardBatch, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        failpoint::hit(Site::KafkaBatch);
        let epoch = batch.producer_epoch;
        let current = self.state.live.as_mut().filter(|live| live.ending.is_none());
        let current = current.filter(|live| live.epoch == epoch);
        let Some(live) = current else {
            self.state.stale_batches += 1;
            debug!(self.log, "batch for another epoch"; keys::EPOCH => batch.producer_epoch.0,
                keys::COUNT => self.state.stale_batches);
            return;
        };
        if let Some(last) = batch.messages.last() {
            live.admitted.insert(batch.source, last.seq);
        }
        let settled_to = self.state.settled_to.get(&batch.source).copied();
        let mut again = Outbox::default();
        for msg in batch.messages {
            // Produced again, it would come behind later ones of its MQTT topic.
            if settled_to.is_some_and(|last| msg.seq <= last) && !self.state.here.contains(&msg.seq)
            {
                again.push(batch.source, verdict_again(&msg));
            } else {
                self.admit(Item { msg, source: batch.source });
            }
        }
        again.send(&self.sources);
        self.pump(Stamp::now(), ctx);
    }
}

impl Handler<ForwardMsg> for KafkaProducerActor {
    type Result = ();

    /// A batch of one for the present producer, from source 0. It names no epoch, so that a sender
    /// which counts on order after a new epoch must send a [`ForwardBatch`] instead.
    fn handle(&mut self, msg: ForwardMsg, ctx: &mut Context<Self>) {
        let Some(producer_epoch) = self.state.live.as_ref().map(|live| live.epoch) else { return };
        let batch = ForwardBatch { producer_epoch, messages: vec![msg], source: SourceId(0) };
        self.handle(batch, ctx);
    }
}

impl Handler<ProducerEvent> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, mail: ProducerEvent, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        if self.state.live.as_ref().is_none_or(|live| live.epoch != mail.epoch) {
            return;
        }
        match mail.event {
            Event::Reports => self.settle(mail.via, ctx),
            Event::Reached => self.reached(),
            Event::Trouble { code, detail } => {
                self.trouble(mail.via, code, &detail);
                self.replace_producer(Instant::now(), ctx);
                self.set_alarm(ctx);
            }
            Event::PollThreadEnded { panic } => {
                let panic = panic.unwrap_or_else(|| PanicReport {
                    message: "ended without being asked".to_owned(),
                    location: String::new(),
                });
                self.log_panic("poll thread ended", &panic);
                ctx.stop();
            }
        }
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
