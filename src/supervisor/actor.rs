//! SupervisorActor: restarts what fails, within a budget, and takes the system down in order.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt as _, Addr, AsyncContext, Context, Handler, Recipient, System, fut,
};
use slog::{Logger, error, info, warn};
use tokio::sync::oneshot;

use super::guard::LastResort;
use super::heartbeat::Heartbeat;
use super::mail::{Cause, ChildDown, Directive, Drain, Drained, Reloading, StopIntake, Supervise};
use super::policy::{Decision, RestartPolicy};
use super::readiness::Readiness;
use super::readiness_log::ReadinessLog;
use super::service_manager::ServiceStatus;
use super::summary::Summary;
use crate::config::SupervisorConfig;
use crate::exit::{Cause as Why, Exit, Failure};
use crate::failpoint::{self, Site};
use crate::observe::{Metrics, PanicReport, events, keys};
use crate::stage::SourceId;

/// How often it is looked whether something is to be told, and whether the threads are there.
const TICK: Duration = Duration::from_secs(1);

/// One of our threads that must not end before the process does.
pub struct WatchedThread {
    /// For the log.
    pub name: &'static str,
    /// Whether it has ended.
    pub is_finished: Box<dyn Fn() -> bool>,
}

impl WatchedThread {
    /// `is_finished` says whether it has ended.
    pub fn new(name: &'static str, is_finished: impl Fn() -> bool + 'static) -> Self {
        Self { name, is_finished: Box::new(is_finished) }
    }
}

impl fmt::Debug for WatchedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedThread").field(&self.name).finish()
    }
}

/// What is told of the whole bridge, and to whom.
#[derive(Debug)]
pub struct Telling {
    /// How often the summary record is written while something happens.
    pub summary_every: Duration,
    /// To the log; `None` where nobody finds out whether Kafka answers.
    pub readiness: Option<Arc<Readiness>>,
    /// To the service manager that started the bridge.
    pub status: Option<ServiceStatus>,
}

/// See the module. It runs on the system arbiter and does nothing that could fail: it is not
/// restarted itself; its end ends the system.
#[derive(Debug)]
pub struct SupervisorActor {
    config: SupervisorConfig,
    drain_deadline: Duration,
    metrics: Arc<Metrics>,
    log: Logger,
    heartbeat: Arc<Heartbeat>,
    threads: Vec<WatchedThread>,
    children: BTreeMap<Arc<str>, RestartPolicy>,
    /// The MqttActors, once they are there.
    intakes: Vec<Recipient<StopIntake>>,
    /// Connections that are drained, with what they could not acknowledge.
    drained: BTreeMap<SourceId, u64>,
    phase: Phase,
    summary: Summary,
    readiness: Option<ReadinessLog>,
    /// Where a service manager wants to know it.
    status: Option<ServiceStatus>,
}

/// Where the system is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The system ends with this code when all is drained.
    Draining {
        then: Exit,
    },
    /// `stop_with_code` was called.
    Stopping,
}

impl SupervisorActor {
    /// `drain_deadline` is how long a drain may take; `log` has its `component` already.
    pub fn new(
        config: SupervisorConfig,
        drain_deadline: Duration,
        metrics: Arc<Metrics>,
        log: Logger,
        heartbeat: Arc<Heartbeat>,
        threads: Vec<WatchedThread>,
        telling: Telling,
    ) -> Self {
        let Telling { summary_every, readiness, status } = telling;
        let now = Instant::now();
        let summary = Summary::new(summary_every, now, &metrics);
        let readiness = readiness.map(|readiness| ReadinessLog::new(readiness, now));
        Self {
            config,
            drain_deadline,
            metrics,
            log,
            heartbeat,
            threads,
            children: BTreeMap::new(),
            intakes: Vec::new(),
            drained: BTreeMap::new(),
            phase: Phase::Running,
            summary,
            readiness,
            status,
        }
    }

    /// Starts it on this thread's arbiter, which should be the system's. If it ends before the
    /// system does, even by a panic, the system ends with [`Exit::Failed`].
    ///
    /// # Panics
    /// Outside a `System`.
    pub fn start(self) -> Addr<Self> {
        let (log, metrics) = (self.log.clone(), Arc::clone(&self.metrics));
        let actor = Context::new().into_future(self);
        let addr = actor.address();
        actix_rt::spawn(LastResort::new(actor, move |panic: Option<PanicReport>| {
            let (panic, location) = panic.map(|p| (p.message, p.location)).unzip();
            let detail = panic.clone().unwrap_or_else(|| "it stopped".to_owned());
            metrics.health().set_failure(Failure::new(Why::SupervisorEnded, detail));
            error!(log, "supervisor ended"; events::SUPERVISOR_ENDED,
                keys::PANIC => panic,
                keys::LOCATION => location,
                keys::EXIT_CODE => Exit::Failed.code());
        }));
        addr
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.heartbeat.beat();
        failpoint::hit(Site::Supervisor);
        self.metrics.sample(Instant::now());
        if self.phase == Phase::Stopping {
            return;
        }
        let now = Instant::now();
        self.summary.look(now, TICK, &self.metrics, &self.log);
        self.readiness.iter_mut().for_each(|readiness| readiness.look(now, &self.log));
        self.status.iter_mut().for_each(ServiceStatus::look);
        let threads = std::mem::take(&mut self.threads);
        let (ended, alive) = threads.into_iter().partition(|thread| (thread.is_finished)());
        self.threads = alive;
        for WatchedThread { name, .. } in ended {
            error!(self.log, "thread ended"; events::THREAD_ENDED, keys::THREAD => name);
            self.metrics.health().set_failure(Failure::new(Why::ThreadEnded, name));
            self.drain(Exit::Failed, ctx);
        }
    }

    /// Begins the drain; if one has begun, it ends with the more severe of the two exits.
    fn drain(&mut self, then: Exit, ctx: &mut Context<Self>) {
        match self.phase {
            Phase::Running => {
                info!(self.log, "draining"; events::DRAINING,
                    keys::IN_FLIGHT => self.metrics.conservation().in_flight,
                    keys::DEADLINE_MS => millis(self.drain_deadline));
                self.phase = Phase::Draining { then };
                self.set_stopping();
                ctx.run_later(self.drain_deadline, |actor, _| actor.deadline_passed());
                self.ask_to_stop_intake();
            }
            Phase::Draining { then: before } => {
                self.phase = Phase::Draining { then: before.max(then) };
            }
            Phase::Stopping => {}
        }
    }

    /// Sent again after each restart during a drain: a message is lost if its actor panics first.
    fn ask_to_stop_intake(&self) {
        if let Phase::Draining { .. } = self.phase {
            self.intakes.iter().for_each(|intake| intake.do_send(StopIntake));
        }
    }

    fn deadline_passed(&mut self) {
        let Phase::Draining { then } = self.phase else { return };
        let exit = then.max(Exit::DeadlinePassed);
        warn!(self.log, "drain deadline passed"; events::DRAIN_DEADLINE_PASSED,
            keys::IN_FLIGHT => self.metrics.conservation().in_flight,
            keys::EXIT_CODE => exit.code());
        self.stop(exit);
    }

    fn stop(&mut self, exit: Exit) {
        self.phase = Phase::Stopping;
        self.set_stopping();
        // The final counts of all messages.
        self.summary.log(Instant::now(), &self.metrics, &self.log);
        System::current().stop_with_code(exit.code());
    }

    fn set_stopping(&mut self) {
        self.metrics.health().set_draining();
        self.status.iter_mut().for_each(ServiceStatus::stopping);
    }

    /// Settled messages, as a proof that this actor works: those of its connection, or of all
    /// connections if it is not a connection's actor.
    pub(super) fn settled(&self, actor: &str) -> u64 {
        let mut connections = self.metrics.connections().iter();
        let counted = match connections.find(|connection| **connection.actor() == *actor) {
            Some(connection) => connection.conservation(),
            None => self.metrics.conservation(),
        };
        counted.delivered + counted.dead_lettered
    }

    fn restart(&mut self, actor: &str, reply: oneshot::Sender<Directive>) {
        let settled = self.settled(actor);
        if let Some(policy) = self.children.get_mut(actor) {
            policy.restarted(Instant::now(), settled);
        }
        // The actor may be gone.
        let _ = reply.send(Directive::Restart);
        self.ask_to_stop_intake();
    }

    fn give_up(&mut self, child: &Failed, failures: u32, cause: Why) {
        let (event, message) = match cause {
            Why::ActorNotBuilt => (events::ACTOR_NOT_BUILT, "actor cannot be built"),
            _ => (events::RESTART_BUDGET_SPENT, "restart budget spent"),
        };
        let panic = child.panic.as_ref().map_or("", |panic| &panic.message);
        let detail =
            format!("{}: {failures} times in a row, now: {} {panic}", child.actor, child.reason);
        self.metrics.health().set_failure(Failure::new(cause, detail.trim_end()));
        error!(self.log, "{}", message; event,
            child,
            keys::FAILURES => failures,
            keys::EXIT_CODE => Exit::Failed.code());
        self.stop(Exit::Failed);
    }
}

impl Actor for SupervisorActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, Self::tick);
    }
}

impl Handler<ChildDown> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, down: ChildDown, ctx: &mut Self::Context) {
        let ChildDown { actor, cause, reply } = down;
        if self.phase == Phase::Stopping {
            let _ = reply.send(Directive::Stop);
            return;
        }
        let buildable = !matches!(cause, Cause::NotBuilt(_));
        let child = Failed::new(Arc::clone(&actor), cause);
        let settled = self.settled(&actor);
        let policy = self
            .children
            .entry(Arc::clone(&actor))
            .or_insert_with(|| RestartPolicy::new(&self.config));
        let decision = policy.failed(Instant::now(), settled, fastrand::f64());
        let failures = policy.failures();
        match decision {
            _ if !buildable => self.give_up(&child, failures, Why::ActorNotBuilt),
            Decision::GiveUp => self.give_up(&child, failures, Why::ActorFailed),
            Decision::RestartAfter(pause) => {
                warn!(self.log, "actor failed, will restart"; events::ACTOR_FAILED,
                    &child,
                    keys::FAILURES => failures,
                    keys::DELAY_MS => millis(pause));
                let detail = child.panic.as_ref().map_or("", |panic| &panic.message);
                self.metrics.count_restart(&actor, child.reason, detail);
                let wait = fut::wrap_future::<_, Self>(actix_rt::time::sleep(pause));
                ctx.spawn(wait.map(move |(), this, _| this.restart(&actor, reply)));
            }
        }
    }
}

impl Handler<Supervise> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, mail: Supervise, _: &mut Self::Context) {
        self.intakes = mail.intakes;
        self.status.iter_mut().for_each(ServiceStatus::started);
        self.ask_to_stop_intake();
    }
}

impl Handler<Reloading> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, Reloading { is_over }: Reloading, _: &mut Self::Context) {
        self.status.iter_mut().for_each(|status| status.reloading(is_over));
    }
}

impl Handler<Drain> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.drain(Exit::Drained, ctx);
    }
}

impl Handler<Drained> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, drained: Drained, _: &mut Self::Context) {
        let Phase::Draining { then } = self.phase else { return };
        let Drained { source, unacknowledged } = drained;
        self.drained.insert(source, unacknowledged);
        if self.drained.len() < self.intakes.len() {
            return;
        }
        info!(self.log, "drained"; events::DRAINED,
            keys::UNACKNOWLEDGED => self.drained.values().sum::<u64>(),
            keys::EXIT_CODE => then.code());
        self.stop(then);
    }
}

/// The log fields of a failed actor.
struct Failed {
    actor: Arc<str>,
    /// Label of the restart counter.
    reason: &'static str,
    panic: Option<PanicReport>,
}

impl Failed {
    fn new(actor: Arc<str>, cause: Cause) -> Self {
        match cause {
            Cause::Panicked(panic) | Cause::NotBuilt(panic) => {
                Self { actor, reason: "panic", panic: Some(panic) }
            }
            Cause::Stopped => Self { actor, reason: "stopped", panic: None },
        }
    }
}

impl slog::KV for Failed {
    fn serialize(
        &self,
        _: &slog::Record<'_>,
        serializer: &mut dyn slog::Serializer,
    ) -> slog::Result {
        // slog wants the last field first.
        if let Some(panic) = &self.panic {
            serializer.emit_str(keys::LOCATION, &panic.location)?;
            serializer.emit_str(keys::PANIC, &panic.message)?;
        }
        serializer.emit_str(keys::REASON, self.reason)?;
        serializer.emit_str(keys::ACTOR, &self.actor)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
