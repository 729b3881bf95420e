//! KafkaProducerActor: takes batches, gives verdicts. It translates: mail and the clock into events of
//! `Delivery`, and its commands into calls of librdkafka and mail. It decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::prelude::*;
use bytes::Bytes;
use slog::{Logger, o};

use super::dead_letter::DeadLetterKind;
use super::dead_letter::file::DeadLetterFile;
use super::delivery::Delivery;
use super::delivery::item::Item;
use super::delivery::output::{Output, Told, VerdictMail};
use super::login::{FilesChanged, Login, NotMade};
use super::partition_queue::Path;
use super::producer::{Extras, Outgoing, Producer, Report, Target};
use super::producer_event::{Event, ProducerEvent};
use super::questions::Question;
use super::registrar::{Answers, Registrar};
use crate::config::Config;
use crate::failpoint::{self, Site};
use crate::message::{Epoch, Stamp};
use crate::observe::panics::PanicReport;
use crate::observe::{Delivered, FromDevice, Metrics, Runs, TimingSink, events, keys};
use crate::stage::{Attach, ForwardBatch, ForwardMsg, Placed, SourceId, StageReady, Verdicts};
use crate::supervisor::heartbeat::Heartbeat;
use teller::Teller;

mod teller;

/// How often the actor shows that it lives, and publishes what it holds.
const TICK: Duration = Duration::from_secs(1);

/// librdkafka's side of an epoch.
#[derive(Default)]
struct Producers {
    pipelined: Option<Producer>,
    serial: Option<Producer>,
}

impl Producers {
    fn of(&mut self, path: Path) -> &mut Option<Producer> {
        match path {
            Path::Pipelined => &mut self.pipelined,
            Path::Serial => &mut self.serial,
        }
    }
}

/// The registry's singleton. Made by [`KafkaProducerActor::new`] and put there by
/// `SystemRegistry::set` once; it restarts in place.
pub struct KafkaProducerActor {
    config: Arc<Config>,
    login: Arc<Login>,
    log: Logger,
    metrics: Arc<Metrics>,
    timing: TimingSink,
    heartbeat: Arc<Heartbeat>,
    sources: BTreeMap<SourceId, Attach>,
    teller: Teller,
    // All below is made anew by a restart.
    delivery: Delivery,
    producers: Producers,
    /// Started with the first question.
    registrar: Option<Registrar>,
    /// When something is to be tried again.
    alarms: BTreeSet<Instant>,
}

impl KafkaProducerActor {
    /// An actor that makes its first producer when it is started.
    pub fn new(
        config: Arc<Config>,
        login: Arc<Login>,
        log: Logger,
        metrics: Arc<Metrics>,
        timing: TimingSink,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        let log = log.new(o!(keys::COMPONENT => "kafka"));
        let (actor, brokers) = (Arc::clone(heartbeat.actor()), config.kafka.brokers.join(","));
        let teller = Teller::new(log.clone(), Arc::clone(&metrics), actor, brokers);
        let names = Arc::clone(metrics.route_names());
        // The producers of the actor before this one are gone.
        metrics.health().kafka_statistics().forget_all();
        let delivery = Delivery::new(&config, names, Instant::now());
        Self {
            config,
            login,
            log,
            metrics,
            timing,
            heartbeat,
            sources: BTreeMap::new(),
            teller,
            delivery,
            producers: Producers::default(),
            registrar: None,
            alarms: BTreeSet::new(),
        }
    }

    /// Tells the delivery of an event, carries out what it commands, and sets the alarm for the rest.
    fn deliver(
        &mut self,
        ctx: &mut Context<Self>,
        event: impl FnOnce(&mut Delivery, &mut Commands<'_>),
    ) {
        self.heartbeat.beat();
        let (delivered, from_devices) = {
            let mut commands = Commands {
                config: &self.config,
                login: &self.login,
                log: &self.log,
                metrics: &self.metrics,
                sources: &self.sources,
                teller: &mut self.teller,
                producers: &mut self.producers,
                registrar: &mut self.registrar,
                timing: &self.timing,
                delivered: Runs::default(),
                from_devices: Vec::new(),
                together: Together::default(),
                ctx,
            };
            event(&mut self.delivery, &mut commands);
            (commands.delivered, commands.from_devices)
        };
        self.metrics.record_delivered(delivered.as_slice());
        if !from_devices.is_empty() {
            self.metrics.record_from_devices(&from_devices);
        }
        self.set_alarm(ctx);
    }

    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let Some(at) = self.delivery.next_alarm(now) else { return };
        // One that is set already, and soon enough, will do.
        if self.alarms.first().is_some_and(|set| *set <= at) {
            return;
        }
        // None is ever cancelled: a panic between the cancelling of a future and its end would cancel
        // another one after the restart (supervisor/guard.rs).
        ctx.run_later(at.saturating_duration_since(now), move |actor, ctx| {
            actor.alarms.remove(&at);
            actor.deliver(ctx, |delivery, out| delivery.alarm(Stamp::now(), out));
        });
        self.alarms.insert(at);
    }

    fn handle_reports(&mut self, path: Path, ctx: &mut Context<Self>) {
        failpoint::hit(Site::KafkaReports);
        let now = Stamp::now();
        let Some(producer) = self.producers.of(path) else { return };
        let mut reports = Vec::new();
        producer.take_reports(&mut reports);
        let any_failed = reports.iter().any(|report| report.code != 0);
        let fatal = any_failed.then(|| producer.fatal_error()).flatten();
        let fatal = fatal.as_ref().map(|(_, detail)| &**detail);
        self.deliver(ctx, |delivery, out| {
            delivery.handle_reports(path, &reports, fatal, now, out);
        });
    }

    fn trouble(&mut self, path: Path, code: i32, detail: &str, ctx: &mut Context<Self>) {
        let fatal = self.producers.of(path).as_ref().and_then(Producer::fatal_error);
        let fatal = fatal.as_ref().map(|(_, detail)| &**detail);
        self.deliver(ctx, |delivery, out| {
            delivery.trouble(code, detail, fatal, Instant::now(), out);
        });
    }
}

/// Carries out the commands of one event.
struct Commands<'a> {
    config: &'a Config,
    login: &'a Arc<Login>,
    log: &'a Logger,
    metrics: &'a Metrics,
    sources: &'a BTreeMap<SourceId, Attach>,
    teller: &'a mut Teller,
    producers: &'a mut Producers,
    registrar: &'a mut Option<Registrar>,
    timing: &'a TimingSink,
    delivered: Runs<Delivered>,
    from_devices: Vec<FromDevice>,
    together: Together,
    ctx: &'a mut Context<KafkaProducerActor>,
}

/// What records have in common that were received, produced and delivered at the same moments as the last one.
#[derive(Default)]
struct Together {
    stamps: Option<[Stamp; 3]>,
    /// From receipt to the delivery report.
    total_us: u64,
    /// They may be among the slowest.
    is_slow: bool,
    /// How slow they have to be for that, once it is known.
    slow_us: Option<u64>,
}

impl Output for Commands<'_> {
    fn start(&mut self, epoch: Epoch, path: Path) -> bool {
        let actor = self.ctx.address().recipient();
        match Producer::start(self.config, self.login, (epoch, path), actor, self.log) {
            Ok(producer) => {
                *self.producers.of(path) = Some(producer);
                self.metrics.health().kafka_statistics().forget(path.name());
                self.teller.started();
                true
            }
            // Not a failure of this actor: it would spend the budget of restarts on somebody's file.
            Err(NotMade { why, may_pass: true }) => {
                self.teller.not_started_yet(&why);
                false
            }
            Err(NotMade { why, may_pass: false }) => {
                self.teller.not_started(&why);
                self.ctx.stop();
                false
            }
        }
    }

    fn end(&mut self, path: Path) {
        *self.producers.of(path) = None;
        self.metrics.health().kafka_statistics().forget(path.name());
    }

    fn send<'a>(
        &mut self,
        path: Path,
        to: Target<'_>,
        records: impl Iterator<Item = Outgoing<'a>>,
    ) -> Result<Vec<i32>, i32> {
        let producer = self.producers.of(path).as_mut();
        producer.expect("it was started and not ended").send(to, records)
    }

    fn send_one(
        &mut self,
        path: Path,
        to: Target<'_>,
        record: Outgoing<'_>,
        extras: Extras<'_>,
    ) -> Result<(), i32> {
        let producer = self.producers.of(path).as_mut();
        producer.expect("it was started and not ended").send_one(to, record, extras)
    }

    fn flush(&mut self, left_behind: usize) {
        if let Some(producer) = &mut self.producers.pipelined {
            producer.flush(left_behind);
        }
    }

    fn silent_since(&self) -> Option<Instant> {
        let producers = [&self.producers.pipelined, &self.producers.serial].into_iter();
        producers.flatten().filter_map(Producer::silent_since).min()
    }

    fn ask(&mut self, question: Question) {
        let actor = self.ctx.address().recipient();
        let registrar =
            self.registrar.get_or_insert_with(|| Registrar::start(Arc::clone(self.login), actor));
        registrar.ask(question);
    }

    fn sentence(&mut self, path: Path, index: usize) -> Option<String> {
        self.producers.of(path).as_ref()?.sentence(index)
    }

    fn write(&mut self, kind: DeadLetterKind, file: DeadLetterFile, lines: Vec<Vec<u8>>) {
        let write = tokio::task::spawn_blocking(move || {
            file.append(&lines).map_err(|error| error.to_string())
        });
        let written =
            wrap_future::<_, KafkaProducerActor>(write).map(move |written, actor, ctx| {
                let written = written.unwrap_or_else(|error| Err(error.to_string()));
                actor.deliver(ctx, |delivery, out| {
                    delivery.written(kind, written, Stamp::now(), out);
                });
            });
        self.ctx.spawn(written);
    }

    fn announce(&mut self, epoch: Epoch) {
        for source in self.sources.values() {
            source.ready.do_send(StageReady { stage_epoch: epoch });
        }
    }

    fn verdicts(&mut self, source: SourceId, mail: VerdictMail, delivered_at: Instant) {
        if let Some(source) = self.sources.get(&source) {
            let VerdictMail { verdicts, placed } = mail;
            source.verdicts.do_send(Verdicts { placed, verdicts, delivered_at });
        }
    }

    #[inline]
    fn delivered(&mut self, item: &Item, report: &Report, produced_at: Stamp) -> Option<Placed> {
        let (record, received_at) = (item.record(), item.msg.message.received_at);
        let (source, route, delivered_at) = (item.source, record.route, report.at);
        let stamps = [received_at, produced_at, delivered_at];
        let bytes = record.value.as_ref().map_or(0, Bytes::len);
        Delivered::add(&mut self.delivered, (source, route), stamps, bytes);
        let (together, metrics) = (&mut self.together, self.metrics);
        if together.stamps != Some(stamps) {
            let slow_us = together
                .slow_us
                .get_or_insert_with(|| metrics.slowest().threshold_us(delivered_at.instant));
            together.total_us = delivered_at.us_since(&received_at);
            together.is_slow = together.total_us >= *slow_us;
            together.stamps = Some(stamps);
        }
        let Together { total_us, is_slow, .. } = *together;
        if let Some(device_us) = record.device_us {
            let from_device = FromDevice { source, route, device_us, received_at, delivered_at };
            self.from_devices.push(from_device);
        }
        let is_logged = self.timing.wants(total_us);
        (is_logged || is_slow).then_some(Placed {
            id: item.msg.id,
            kafka_partition: report.kafka_partition,
            kafka_offset: report.kafka_offset,
            produced_at,
            delivered_at,
            is_logged,
            is_slow,
        })
    }

    fn wants_all_placed(&self) -> bool {
        self.timing.wants_all()
    }

    fn tell(&mut self, told: Told<'_>) {
        self.teller.tell(told);
    }
}

impl Actor for KafkaProducerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.login.tell(ctx.address().recipient());
        ctx.run_interval(TICK, |actor, ctx| {
            actor.deliver(ctx, |delivery, out| delivery.tick(Stamp::now(), out));
        });
        self.deliver(ctx, |delivery, out| delivery.alarm(Stamp::now(), out));
    }
}

impl Supervised for KafkaProducerActor {
    /// Forgets all but who its sources are: they hand on again when the new producer is announced.
    fn restarting(&mut self, _: &mut Context<Self>) {
        let names = Arc::clone(self.metrics.route_names());
        self.delivery = Delivery::new(&self.config, names, Instant::now());
        self.producers = Producers::default();
        self.registrar = None;
        self.alarms.clear();
        self.teller.restart();
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
        if let Some(stage_epoch) = self.delivery.attached(attach.source) {
            attach.ready.do_send(StageReady { stage_epoch });
        }
        self.sources.insert(attach.source, attach);
    }
}

impl Handler<ForwardBatch> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, batch: ForwardBatch, ctx: &mut Context<Self>) {
        failpoint::hit(Site::KafkaBatch);
        self.deliver(ctx, |delivery, out| delivery.batch(batch, Stamp::now(), out));
    }
}

impl Handler<ForwardMsg> for KafkaProducerActor {
    type Result = ();

    /// A batch of one for the present producer, from source 0. It names no epoch, so that a sender
    /// which counts on order after a new epoch must send a [`ForwardBatch`] instead.
    fn handle(&mut self, msg: ForwardMsg, ctx: &mut Context<Self>) {
        let Some(stage_epoch) = self.delivery.epoch() else { return };
        let batch = ForwardBatch { stage_epoch, messages: vec![msg], source: SourceId(0) };
        self.handle(batch, ctx);
    }
}

impl Handler<ProducerEvent> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, mail: ProducerEvent, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        if self.delivery.epoch() != Some(mail.epoch) {
            return;
        }
        match mail.event {
            Event::Reports => self.handle_reports(mail.path, ctx),
            Event::Reached => self.deliver(ctx, |delivery, out| delivery.reached(out)),
            // Of a producer that was ended, it comes too late.
            Event::Statistics(..) if self.producers.of(mail.path).is_none() => {}
            Event::Statistics(client, told) => {
                let statistics = self.metrics.health().kafka_statistics();
                statistics.set((mail.path.name(), client), *told);
            }
            Event::LeaderLost => self.delivery.leader_lost(),
            Event::Trouble { code, detail } => self.trouble(mail.path, code, &detail, ctx),
            Event::PollThreadEnded { panic } => {
                let panic = panic.unwrap_or_else(|| PanicReport {
                    message: "ended without being asked".to_owned(),
                    location: String::new(),
                });
                self.teller.panicked(events::KAFKA_THREAD_ENDED, "poll thread ended", &panic);
                ctx.stop();
            }
        }
    }
}

impl Handler<Answers> for KafkaProducerActor {
    type Result = ();

    fn handle(&mut self, mail: Answers, ctx: &mut Context<Self>) {
        match mail {
            Answers::Found(answers) => {
                self.deliver(ctx, |delivery, out| delivery.answered(answers, Stamp::now(), out));
            }
            Answers::Unanswered(why) => self.teller.not_asked(&why),
            Answers::ThreadEnded(panic) => {
                let what = "thread that asks about kafka topics ended";
                self.teller.panicked(events::KAFKA_THREAD_ENDED, what, &panic);
                ctx.stop();
            }
        }
    }
}

impl Handler<FilesChanged> for KafkaProducerActor {
    type Result = ();

    /// Certificates have changed, and librdkafka reads them only when it makes a producer.
    fn handle(&mut self, _: FilesChanged, ctx: &mut Context<Self>) {
        self.deliver(ctx, |delivery, out| {
            delivery.rotate("certificate files have changed", Instant::now(), out);
        });
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
