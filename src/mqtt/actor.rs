//! MqttActor: opens one MQTT connection after the other and translates mail.
//!
//! All of its work happens in `MqttActor::drive`, which runs after every wake-up, when the mailbox has
//! been emptied: take in what was read, hand it on, write what is owed, read again. Handlers only
//! note what their mail says. So nothing is ever cancelled half-way, many verdicts leave in one
//! write, and the order of bytes on the wire is the order of `Connection::pump`.
//!
//! A panic costs the connection and nothing else: the window, the session and the stage's epoch are
//! kept (docs/decisions/0003-window-survives-a-panic.md).

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFuture, AsyncContext, Context, Handler, Message, Recipient, Supervised};
use slog::{Logger, info, o};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Sleep, sleep};

use crate::config::{Config, MqttConfig};
use crate::failpoint::{self, Site};
use crate::mqtt::announce::Announcer;
use crate::mqtt::attempt::{Attempt, Dial, dial_broker};
use crate::mqtt::connection::{Connection, End};
use crate::mqtt::core::Core;
use crate::mqtt::intake::Intake;
use crate::mqtt::leaving::{Leaving, Mark};
use crate::mqtt::lost::Lost;
use crate::mqtt::reconnect::Reconnect;
use crate::mqtt::recorder::Recorder;
use crate::mqtt::rotation::Rotation;
use crate::mqtt::session::Settings;
use crate::mqtt::state_file::StateFile;
use crate::mqtt::subscriptions::Held;
use crate::mqtt::timings::Timings;
use crate::mqtt::window::{Limits, Window};
use crate::observe::diagnosis::Diagnosis;
use crate::observe::{Metrics, TimingSink, events, keys};
use crate::route::Router;
use crate::stage::{Attach, NextStage, SourceId, StageReady, Verdicts};
use crate::supervisor::{Drained, Heartbeat, StopIntake};

const BEAT_EVERY: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub struct MqttActor {
    source: SourceId,
    next: NextStage,
    drained: Recipient<Drained>,
    heartbeat: Arc<Heartbeat>,
    log: Logger,

    core: Core,
    reconnect: Reconnect,
    recorder: Option<Recorder>,
    rotation: Rotation,
    dial: Dial,
    link: LinkState,
}

/// To MqttActor: the routes of this configuration from the next message on. What else differs in it from
/// the one that the actor was made with is not looked at.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct Reroute {
    /// Its routes have their numbers.
    pub config: Arc<Config>,
}

/// Whom an MqttActor works with.
pub struct Neighbours {
    /// Takes what is received.
    pub next: NextStage,
    /// Is told when all is drained.
    pub drained: Recipient<Drained>,
    /// Gets the log lines. It names the connection where there are several.
    pub log: Logger,
    /// Gets the counters.
    pub metrics: Arc<Metrics>,
    /// Gets the timing records.
    pub timing: TimingSink,
    /// Is beaten while the actor lives.
    pub heartbeat: Arc<Heartbeat>,
}

/// How far the actor is with its connection.
enum LinkState {
    /// Before the next attempt.
    Paused(Pin<Box<Sleep>>),
    Dialing(Attempt),
    Open(Box<Connection>),
    /// Draining, without a connection: only verdicts are waited for.
    Off,
    /// The session is left: only [`StopIntake`] is waited for.
    Left,
    /// Drained, and the supervisor knows.
    Done,
}

impl LinkState {
    /// To connect without a pause.
    fn at_once() -> Self {
        Self::Paused(Box::pin(sleep(Duration::ZERO)))
    }
}

impl MqttActor {
    /// The actor of connection `mqtt`, number `source` of `config`. It connects once it is started.
    pub fn new(
        source: SourceId,
        mqtt: MqttConfig,
        config: &Config,
        neighbours: Neighbours,
    ) -> Self {
        let Neighbours { next, drained, log, metrics, timing, heartbeat } = neighbours;
        let log = log.new(o!(keys::COMPONENT => "mqtt"));
        let router = Router::new(&config.routes_of(&mqtt), config.match_);
        let delivery = &config.delivery;
        let limits = Limits {
            messages: delivery.window_messages,
            qos0_messages: delivery.qos0_window_messages,
            bytes: delivery.window_bytes,
        };
        let window = Window::new(limits).with_renumbered(mqtt.renumbered_redelivery);
        let settings = Arc::new(Settings {
            source,
            mqtt,
            routes: router.routes().to_vec(),
            receive_maximum: u16::try_from(delivery.window_messages).unwrap_or(u16::MAX),
            qos0_shed_after: delivery.qos0_shed_after,
        });
        let batches = next.batches.clone();
        let core = Core {
            session: settings.session(Vec::new(), false),
            intake: Intake::new(Arc::clone(&settings), router, window, batches, log.clone()),
            announcer: Announcer::new(Arc::clone(&settings), log.clone(), Arc::clone(&metrics)),
            timings: Timings::new(source, timing, Arc::clone(&metrics)),
            metrics: Arc::clone(&metrics),
            draining: false,
            leaving: None,
            settings: Arc::clone(&settings),
        };
        let rotation = Rotation::new(Arc::clone(&settings), log.clone());
        let reconnect = Reconnect::new(settings, log.clone(), metrics);
        let (recorder, link) = (None, LinkState::at_once());
        let dial = dial_broker;
        Self {
            source,
            next,
            drained,
            heartbeat,
            log,
            core,
            reconnect,
            recorder,
            rotation,
            dial,
            link,
        }
    }

    /// The same in a session that is remembered: `held` may be subscribed there, and `file` is to be
    /// kept up to date.
    #[must_use]
    pub fn remembering(mut self, file: StateFile, held: Vec<Held>) -> Self {
        self.core.session = self.core.settings.session(held, true);
        self.recorder = Some(Recorder::new(file, self.log.clone()));
        self
    }

    /// The same to leave: all of `held` and of the routes is unsubscribed, what the session still has is
    /// delivered, and then it is ended and `file` removed. `departed` is told whether that succeeded; it has
    /// not if nothing moves for `patience`. Then and afterwards the actor only waits for [`StopIntake`].
    #[must_use]
    pub fn leaving(
        mut self,
        file: Option<StateFile>,
        held: Vec<Held>,
        patience: Duration,
        departed: UnboundedSender<bool>,
    ) -> Self {
        self.core.session = self.core.settings.session_to_leave(held);
        self.core.leaving = Some(Leaving::new(departed, file, patience));
        self
    }

    /// Everything that can be done now. Never `Ready`: the actor lives until it is stopped.
    fn drive(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.heartbeat.beat();
        // Before, since SUBSCRIBE may wait for it; and behind, for what has just changed.
        self.record(cx);
        self.rotation.poll_look(cx);
        let moved = self.move_link(cx);
        self.record(cx);
        // A replay is handed on here: it may come without a connection.
        self.core.forward_rest();
        let Core { intake, timings, .. } = &mut self.core;
        if intake.window.any_timed() {
            timings.write_due(&mut intake.window, Instant::now());
        }
        self.core.counters().set_conservation(self.core.intake.window.snapshot());
        self.core.counters().set_window(self.core.intake.window.used());
        self.core.metrics.count_notes(self.core.intake.take_notes());
        moved
    }

    /// Whether leaving gets on.
    fn look_at_leaving(&mut self) {
        let Some(leaving) = &mut self.core.leaving else { return };
        let counts = self.core.intake.window.snapshot();
        let mark = Mark {
            held: self.core.session.subscriptions.held(),
            done: counts.delivered + counts.dead_lettered + counts.filtered,
            is_over: self.core.session.is_over,
        };
        leaving.look(Instant::now(), mark, counts.in_flight, &self.log);
    }

    /// Writes down what is subscribed, if it has changed.
    fn record(&mut self, cx: &mut TaskContext<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.poll(&mut self.core.session.subscriptions, cx);
        }
    }

    fn move_link(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        let Self { core, reconnect, drained, rotation, dial, link, log, .. } = self;
        loop {
            *link = match link {
                LinkState::Paused(_) | LinkState::Dialing(_) if core.draining => LinkState::Off,
                LinkState::Paused(pause) => {
                    // Files that have changed may have been the trouble: no need to wait.
                    if !rotation.begin() {
                        ready!(pause.as_mut().poll(cx));
                    }
                    reconnect.dialing();
                    let address = core.session.failover.current();
                    core.tell_broker(address);
                    LinkState::Dialing(dial(Arc::clone(&core.settings), address))
                }
                LinkState::Dialing(dialing) => match ready!(dialing.as_mut().poll(cx)) {
                    Ok(reached) => LinkState::Open(Box::new(Connection::new(reached, core))),
                    Err(lost) => pause(core, reconnect, &lost, None),
                },
                LinkState::Open(connection) => {
                    let address = core.session.failover.current();
                    if !core.draining
                        && core.leaving.is_none()
                        && connection.protocol.is_connected()
                        && rotation.poll_successor(*dial, address, cx)
                    {
                        connection.retire();
                    }
                    match ready!(connection.pump(core, cx)) {
                        End::Lost(lost) => {
                            rotation.forget_successor();
                            lose(core, reconnect, connection, &lost, cx)
                        }
                        // One that was to be replaced may have left something for the next one.
                        End::Closed if core.draining => {
                            core.intake.connection_lost(true);
                            LinkState::Off
                        }
                        End::Closed if core.leaving.is_some() => leave(core, log),
                        End::Closed => succeed(core, reconnect, connection, rotation),
                    }
                }
                LinkState::Off if core.intake.window.is_settled_whole() => finish(core, drained),
                LinkState::Left if core.draining => LinkState::Off,
                LinkState::Off | LinkState::Left | LinkState::Done => return Poll::Pending,
            };
        }
    }
}

/// The connection is gone, and with it the right to acknowledge what it brought.
fn lose(
    core: &mut Core,
    reconnect: &mut Reconnect,
    connection: &mut Connection,
    lost: &Lost,
    cx: &mut TaskContext<'_>,
) -> LinkState {
    if let Some(code) = lost.disconnect_code {
        connection.disconnect(code, cx);
    }
    connection.take_unread_qos0(core);
    let was_accepted = connection.protocol.is_connected();
    let intake = &mut core.intake;
    // One without CONNACK was none: what came before is still what came directly before.
    intake.connection_lost(was_accepted);
    if lost.taken_over {
        // The client that has the session now acknowledges what we know, and copies of it. What comes
        // under those packet ids then is another message, even if it is equal.
        intake.session_lost();
    }
    let likely = if was_accepted {
        reconnect.accepted_one_lost(lost, connection.opened_at.elapsed())
    } else {
        core.session.not_accepted(connection.protocol.version(), lost);
        connection.diagnosis(lost.reason)
    };
    if core.draining { LinkState::Off } else { pause(core, reconnect, lost, likely) }
}

/// All that the session had is delivered. That DISCONNECT was read, and in MQTT 5 has ended the session, is not
/// known; so another connection asks for a clean one, and its CONNACK is the proof.
fn leave(core: &mut Core, log: &Logger) -> LinkState {
    core.intake.connection_lost(true);
    match &mut core.leaving {
        Some(leaving) if core.session.is_over => {
            leaving.left(log);
            LinkState::Left
        }
        _ => {
            core.session.is_over = true;
            LinkState::at_once()
        }
    }
}

/// The connection was given up in order, since its files have changed: the next one takes its place.
fn succeed(
    core: &mut Core,
    reconnect: &mut Reconnect,
    connection: &Connection,
    rotation: &mut Rotation,
) -> LinkState {
    core.intake.connection_lost(true);
    reconnect.rotated(connection.opened_at.elapsed(), core.session.failover.current());
    match rotation.take_successor() {
        Some(reached) => {
            reconnect.dialing();
            LinkState::Open(Box::new(Connection::new(reached, core)))
        }
        None => LinkState::at_once(),
    }
}

fn pause(
    core: &mut Core,
    reconnect: &mut Reconnect,
    lost: &Lost,
    likely: Option<&Diagnosis>,
) -> LinkState {
    let pause = reconnect.pause_after(lost, likely, &mut core.session.failover);
    LinkState::Paused(Box::pin(sleep(pause)))
}

fn finish(core: &Core, drained: &Recipient<Drained>) -> LinkState {
    let unacknowledged = core.intake.window.unacknowledged();
    drained.do_send(Drained { source: core.settings.source, unacknowledged });
    LinkState::Done
}

impl Actor for MqttActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let attach = Attach {
            source: self.source,
            verdicts: ctx.address().recipient(),
            ready: ctx.address().recipient(),
        };
        self.next.attach.do_send(attach);
        self.rotation.look();
        ctx.run_interval(BEAT_EVERY, |actor, _| {
            actor.heartbeat.beat();
            actor.core.warn_of_silence();
            actor.core.give_up_acks(Instant::now());
            actor.rotation.look();
            actor.look_at_leaving();
        });
        ctx.spawn(Drive);
    }
}

impl Supervised for MqttActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        let link = std::mem::replace(&mut self.link, LinkState::at_once());
        self.core.intake.forget_routed();
        if let LinkState::Left = link {
            self.link = link;
        } else if let LinkState::Open(mut connection) = link {
            if connection.protocol.is_connected() {
                self.reconnect.accepted();
            }
            connection.take_unread_qos0(&mut self.core);
        }
        self.rotation.forget_successor();
        let intake = &mut self.core.intake;
        intake.connection_lost(true);
        // Verdicts may have died with the mail that was being handled. When the stage answers the new
        // attachment, everything without a verdict is handed on again.
        intake.stage_unknown();
        self.core.counters().set_lost("MqttActor was restarted".to_owned());
    }
}

/// Calls `MqttActor::drive` after every wake-up of the actor.
struct Drive;

impl ActorFuture<MqttActor> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut MqttActor,
        _: &mut Context<MqttActor>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        actor.drive(cx)
    }
}

impl Handler<Verdicts> for MqttActor {
    type Result = ();

    fn handle(&mut self, mail: Verdicts, _: &mut Self::Context) {
        // First: if this mail is lost to a panic, its verdicts are repeated, and these are not.
        for placed in &mail.placed {
            self.core.intake.window.placed(placed);
        }
        failpoint::hit(Site::MqttVerdicts);
        for verdict in mail.verdicts {
            self.core.intake.settle(verdict, mail.delivered_at);
        }
    }
}

impl Handler<StageReady> for MqttActor {
    type Result = ();

    fn handle(&mut self, StageReady { stage_epoch }: StageReady, _: &mut Self::Context) {
        self.core.intake.stage_ready(stage_epoch);
    }
}

impl Handler<Reroute> for MqttActor {
    type Result = ();

    fn handle(&mut self, Reroute { config }: Reroute, _: &mut Self::Context) {
        // Nothing more is taken in.
        if self.core.draining || self.core.leaving.is_some() {
            return;
        }
        let routes = config.routes_of(&self.core.settings.mqtt);
        self.core.reroute(&routes, config.match_);
    }
}

impl Handler<StopIntake> for MqttActor {
    type Result = ();

    fn handle(&mut self, _: StopIntake, _: &mut Self::Context) {
        // Asked again after each restart of an actor.
        if !std::mem::replace(&mut self.core.draining, true) {
            info!(self.log, "accepting no more messages"; events::INTAKE_STOPPED,
                keys::IN_FLIGHT => self.core.intake.window.snapshot().in_flight);
        }
    }
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
