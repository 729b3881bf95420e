//! MqttActor: owns the MQTT connection, hands on what it receives, acknowledges what is safe.
//!
//! All of it happens in `MqttActor::drive`, which runs after every wake-up, when the mailbox has
//! been emptied: take in what was read, hand it on, write what is owed, read again. Handlers only
//! note what their mail says. So nothing is ever cancelled half-way, many verdicts leave in one
//! write, and the order of bytes on the wire is the order of `Connection::pump`.
//!
//! A panic costs the connection and nothing else: the window, the session's memory and the
//! producer's epoch are kept (docs/decisions/0003-window-survives-a-panic.md).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFuture, AsyncContext, Context, Handler, Recipient, Supervised};
use slog::{Logger, info, o, warn};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::backoff::Backoff;
use crate::config::{Config, Unmatched};
use crate::failpoint::{self, Site};
use crate::message::{Destination, Destinations, Epoch, Message, NO_ROUTE, Qos, Refusal, Stamp};
use crate::mqtt::connection::{Connection, End};
use crate::mqtt::copies::Copies;
use crate::mqtt::eviction::{Evictions, STABLE_AFTER};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::poison::Poison;
use crate::mqtt::protocol::dead_after;
use crate::mqtt::publish::{Publish, SubscriptionIds, same_properties};
use crate::mqtt::recorder::Recorder;
use crate::mqtt::redelivery::Fingerprint;
use crate::mqtt::session::{Session, Settings};
use crate::mqtt::session_event::SessionEvent;
use crate::mqtt::state_file::StateFile;
use crate::mqtt::subscriptions::Held;
use crate::mqtt::transport;
use crate::mqtt::window::{Ack, Limits, Window};
use crate::observe::diagnosis::{self, Diagnosis};
use crate::observe::{ConnectionMetrics, LogLimiter, Metrics, keys, panics};
use crate::route::{Filter, Router};
use crate::stage::{Attach, ForwardBatch, NextStage, SourceId, StageReady, Verdicts};
use crate::supervisor::{Drained, Heartbeat, StopIntake};

/// Repeated warnings are logged once in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);
/// So many bytes a message may keep in memory beside itself and as much again: a packet's header, or
/// the answer to a PINGREQ in between.
const PINNED_ALLOWANCE_BYTES: usize = 256;
/// So many filters are named where one of them brought a message that no route matches.
const NAMED_MAX: usize = 5;
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// See the module's documentation.
pub struct MqttActor {
    core: Core,
    link: LinkState,
}

/// What outlives a connection, and a panic.
pub(super) struct Core {
    pub(super) settings: Arc<Settings>,
    pub(super) max_payload: usize,
    pub(super) qos0_shed_after: Option<Duration>,
    router: Router,
    pub(super) source: SourceId,
    next: NextStage,
    drained: Recipient<Drained>,
    log: Logger,
    pub(super) metrics: Arc<Metrics>,
    heartbeat: Arc<Heartbeat>,

    pub(super) window: Window,
    pub(super) session: Session,
    recorder: Option<Recorder>,
    copies: Copies,
    /// Shared subscriptions that were granted blindly at this moment and have brought nothing yet.
    unheard: Vec<(usize, Instant)>,
    /// Those that have brought something.
    heard: Vec<usize>,
    stage_epoch: Option<Epoch>,
    pub(super) draining: bool,
    /// Since when the window has had no room for what came.
    pub(super) full_since: Option<Instant>,
    backoff: Backoff,
    evictions: Evictions,
    evicted: bool,
    attempt: u64,
    poison: Poison,
    lost_limiter: LogLimiter,
    shed_limiter: LogLimiter,
    filtered_limiter: LogLimiter,
    subscription_limiter: LogLimiter,
    suback_limiter: LogLimiter,
    panic_limiter: LogLimiter,
}

enum LinkState {
    /// Before the next attempt.
    Paused(Pin<Box<Sleep>>),
    Dialing(Pin<Box<dyn Future<Output = Result<TcpStream, String>>>>),
    Open(Box<Connection>),
    /// Draining, without a connection: only verdicts are waited for.
    Off,
    /// Drained, and the supervisor knows.
    Done,
}

impl MqttActor {
    /// An actor that connects once it is started, for the connection that has this place in the
    /// configuration.
    pub fn new(
        config: &Config,
        source: SourceId,
        next: NextStage,
        drained: Recipient<Drained>,
        log: &Logger,
        metrics: Arc<Metrics>,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        let router = Router::new(&config.routes);
        let mqtt = &config.connections[usize::from(source.0)];
        let receive_maximum = u16::try_from(config.delivery.window_messages).unwrap_or(u16::MAX);
        let settings = Arc::new(Settings {
            mqtt: mqtt.clone(),
            routes: router.routes().to_vec(),
            receive_maximum,
        });
        let subscriptions = settings.subscriptions(Vec::new(), false);
        let limits = Limits {
            messages: config.delivery.window_messages,
            qos0_messages: config.delivery.qos0_window_messages,
            bytes: config.delivery.window_bytes,
        };
        let core = Core {
            max_payload: mqtt.max_payload_bytes,
            qos0_shed_after: config.delivery.qos0_shed_after,
            router,
            source,
            next,
            drained,
            log: log.new(o!(keys::COMPONENT => "mqtt")),
            metrics,
            heartbeat,
            window: Window::new(limits).with_renumbered(mqtt.renumbered_redelivery),
            session: Session::new(subscriptions),
            recorder: None,
            copies: Copies::default(),
            unheard: Vec::new(),
            heard: Vec::new(),
            stage_epoch: None,
            draining: false,
            full_since: None,
            backoff: Backoff::new(settings.mqtt.reconnect_min, settings.mqtt.reconnect_max),
            evictions: Evictions::new(settings.mqtt.reconnect_max),
            evicted: false,
            attempt: 0,
            poison: Poison::default(),
            lost_limiter: LogLimiter::every(WARN_EVERY),
            shed_limiter: LogLimiter::every(WARN_EVERY),
            filtered_limiter: LogLimiter::every(WARN_EVERY),
            subscription_limiter: LogLimiter::every(WARN_EVERY),
            suback_limiter: LogLimiter::every(WARN_EVERY),
            panic_limiter: LogLimiter::every(WARN_EVERY),
            settings,
        };
        Self { core, link: LinkState::Paused(Box::pin(sleep(Duration::ZERO))) }
    }

    /// The same in a session that is remembered: `held` may be subscribed there, and `file` is to be
    /// kept up to date.
    #[must_use]
    pub fn remembering(mut self, file: StateFile, held: Vec<Held>) -> Self {
        let core = &mut self.core;
        core.session = Session::new(core.settings.subscriptions(held, true));
        core.recorder = Some(Recorder::new(file, core.log.clone()));
        self
    }

    /// Everything that can be done now. Never `Ready`: the actor lives until it is stopped.
    fn drive(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.core.heartbeat.beat();
        // Before, since SUBSCRIBE may wait for it; and behind, for what has just changed.
        self.core.record(cx);
        let moved = self.move_link(cx);
        self.core.record(cx);
        // What has no connection to thank (a replay) is handed on here.
        self.core.forward();
        self.core.connection().set_conservation(self.core.window.snapshot());
        moved
    }

    fn move_link(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let core = &mut self.core;
            self.link = match &mut self.link {
                LinkState::Paused(_) | LinkState::Dialing(_) if core.draining => LinkState::Off,
                LinkState::Paused(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    core.dial()
                }
                LinkState::Dialing(dialing) => match ready!(dialing.as_mut().poll(cx)) {
                    Ok(stream) => LinkState::Open(Box::new(Connection::new(stream, core))),
                    Err(detail) => core.pause_after(&Lost::new(lost::CONNECT_FAILED, detail), None),
                },
                LinkState::Open(open) => match ready!(open.pump(core, cx)) {
                    End::Lost(lost) => core.lose(open, &lost, cx),
                    End::Drained => core.finish(),
                },
                LinkState::Off if core.window.is_settled_whole() => core.finish(),
                LinkState::Off | LinkState::Done => return Poll::Pending,
            };
        }
    }
}

impl Core {
    /// Writes down what is subscribed, if it has changed.
    fn record(&mut self, cx: &mut TaskContext<'_>) {
        if let Some(recorder) = &mut self.recorder {
            recorder.poll(&mut self.session.subscriptions, cx);
        }
    }

    /// What is counted of this connection.
    fn connection(&self) -> &ConnectionMetrics {
        self.metrics.connection(self.source)
    }

    fn dial(&mut self) -> LinkState {
        self.attempt += 1;
        let settings = Arc::clone(&self.settings);
        LinkState::Dialing(Box::pin(async move {
            let mqtt = &settings.mqtt;
            let silence_max = dead_after(mqtt.keep_alive);
            transport::connect(&mqtt.host, mqtt.port, mqtt.connect_timeout, silence_max).await
        }))
    }

    /// The connection is gone, and with it the right to acknowledge what it brought.
    fn lose(&mut self, open: &mut Connection, lost: &Lost, cx: &mut TaskContext<'_>) -> LinkState {
        if let Some(reason) = lost.disconnect_code {
            open.disconnect(reason, cx);
        }
        open.take_unread_qos0(self);
        self.unheard.clear();
        // One without CONNACK was none: what came before is still what came directly before.
        if open.protocol.is_connected() {
            self.window.connection_lost();
        }
        if lost.taken_over {
            // Who has the session now acknowledges what we know, and copies of it. What comes under its
            // packet ids then is another message, be it equal.
            self.window.session_lost();
            self.copies.clear();
        }
        self.full_since = None;
        let without_a_word =
            matches!(lost.reason, lost::CLOSED | lost::READ_FAILED | lost::WRITE_FAILED);
        let likely;
        if open.protocol.is_connected() {
            let lived = open.opened_at.elapsed();
            if lived >= STABLE_AFTER {
                self.backoff.reset();
            }
            let evicted = without_a_word && self.evictions.closed(lived);
            if evicted && !self.evicted {
                // It is said when it is first noticed.
                self.lost_limiter.reset();
            }
            self.evicted = evicted;
            likely = evicted.then_some(&diagnosis::MQTT_EVICTED);
        } else {
            self.session.not_accepted(open.protocol.version(), lost);
            likely = open.diagnosis(lost.reason);
        }
        if self.draining { LinkState::Off } else { self.pause_after(lost, likely) }
    }

    fn pause_after(&mut self, lost: &Lost, likely: Option<&Diagnosis>) -> LinkState {
        let mut detail = match &lost.culprit {
            Some(culprit) => self.poison.describe(culprit, &self.settings.mqtt.client_id),
            None => lost.detail.clone(),
        };
        if let Some(likely) = likely.or_else(|| diagnosis::of_mqtt(&detail)) {
            detail = format!("{likely}; {detail}");
        }
        self.connection().count_reconnect(lost.reason);
        self.connection().set_lost(format!("{}: {detail}", lost.reason));
        let jitter = fastrand::f64();
        let pause = match lost.taken_over || likely == Some(&diagnosis::MQTT_EVICTED) {
            true => self.backoff.longest(jitter),
            false => self.backoff.pause(jitter),
        };
        if let Some(suppressed) = self.lost_limiter.pass(Instant::now()) {
            warn!(self.log, "no mqtt connection, will connect again";
                keys::REASON => lost.reason,
                keys::DETAIL => detail,
                keys::MQTT_BROKER => self.broker(),
                keys::ATTEMPT => self.attempt,
                keys::DELAY_MS => millis(pause),
                keys::SUPPRESSED => suppressed);
        }
        LinkState::Paused(Box::pin(sleep(pause)))
    }

    fn finish(&mut self) -> LinkState {
        let (source, unacknowledged) = (self.source, self.window.unacknowledged());
        self.drained.do_send(Drained { source, unacknowledged });
        LinkState::Done
    }

    fn broker(&self) -> String {
        format!("{}:{}", self.settings.mqtt.host, self.settings.mqtt.port)
    }

    /// Takes a message in; gives it back if the window has no room for it. `passed` are the bytes
    /// that were read since the last message that was kept.
    pub(super) fn admit(
        &mut self,
        mut publish: Publish,
        received_at: Stamp,
        passed: &mut usize,
    ) -> Option<Publish> {
        if let Some(ack) = publish.ack
            && self.window.awaits_renumbered()
            && self.is_renumbered(&publish, ack)
        {
            return None;
        }
        if let Some(ack) = publish.ack
            && self.window.redelivered(ack, publish.dup, &publish.mqtt_topic, &publish.payload)
        {
            return None;
        }
        if !self.window.has_room(publish.qos, publish.window_bytes()) {
            let full_since = *self.full_since.get_or_insert(received_at.instant);
            let patience = self.qos0_shed_after.filter(|_| publish.qos == Qos::AtMostOnce);
            return match patience {
                Some(patience) if full_since.elapsed() >= patience => {
                    self.shed();
                    None
                }
                _ => Some(publish),
            };
        }
        self.full_since = None;
        // All that was read together is kept until the last message of it is gone. What was dropped
        // must not be kept uncounted.
        if *passed > 2 * publish.window_bytes() + PINNED_ALLOWANCE_BYTES {
            publish.detach();
        }
        *passed = 0;
        let content = self.copied_content(&publish);
        let now = received_at.instant;
        let twin = content.and_then(|content| {
            let ids = publish.subscription_ids.as_slice();
            self.copies.take(content, ids, now, self.window.oldest())
        });
        let destinations = match twin {
            Some(_) => Destinations::None,
            None => self.destinations(&publish),
        };
        let message = Message {
            mqtt_topic: publish.mqtt_topic,
            payload: publish.payload,
            properties: publish.properties,
            qos: publish.qos,
            retain: publish.retain,
            received_at,
            destinations,
        };
        if let Some(twin) = twin {
            self.window.copied(publish.ack, twin, Arc::new(message));
            return None;
        }
        let seq = self.window.admit(Arc::new(message), publish.ack);
        if let Some(content) = content {
            self.copies.admitted(content, seq, now);
        }
        None
    }

    /// What a message has in common with its copies, if it may have any.
    fn copied_content(&self, publish: &Publish) -> Option<Fingerprint> {
        let (ids, subscriptions) = (&publish.subscription_ids, &self.session.subscriptions);
        // Most messages have no identifier: those for which no subscriptions overlap.
        let may_be = *ids != SubscriptionIds::None
            && subscriptions.may_copy()
            // Others tell nothing, and could be without number.
            && subscriptions.have(ids.as_slice())
            // Nobody keeps that at QoS 0: it cannot stand for a copy at QoS 1.
            && self.router.matches(&publish.mqtt_topic);
        may_be.then(|| self.copies.content(publish)).flatten()
    }

    /// Whether a message in flight came again under a new packet id, as far as a broker owes it to us:
    /// what expires it may drop, what is shared it may give to another member of the group.
    fn is_renumbered(&mut self, publish: &Publish, ack: Ack) -> bool {
        let is_owed_to_us = || {
            let mqtt_topic = std::str::from_utf8(&publish.mqtt_topic).unwrap_or_default();
            let mut matching =
                self.router.routes().iter().filter(|route| route.filter.matches(mqtt_topic));
            let first = matching.next();
            first.is_some_and(|route| !route.filter.is_shared())
                && !matching.any(|route| route.filter.is_shared())
        };
        if publish.dup && (publish.expires || publish.refusal.is_some() || !is_owed_to_us()) {
            return false;
        }
        self.window.renumbered(ack, publish.dup, |message| {
            message.mqtt_topic == publish.mqtt_topic
                && message.payload == publish.payload
                && (message.qos, message.retain) == (publish.qos, publish.retain)
                && same_properties(&message.properties, &publish.properties)
        })
    }

    pub(super) fn shed(&mut self) {
        self.window.count_shed();
        if let Some(suppressed) = self.shed_limiter.pass(Instant::now()) {
            warn!(self.log, "window full, qos 0 messages shed";
                keys::SHED => self.window.snapshot().shed,
                keys::IN_FLIGHT => self.window.snapshot().in_flight,
                keys::SUPPRESSED => suppressed);
        }
    }

    /// Where a message goes. A panic on the way is the message's fault: it goes to the dead letter.
    fn destinations(&mut self, publish: &Publish) -> Destinations {
        if let Some(refusal) = &publish.refusal {
            return Destinations::One(Destination::DeadLetter(refusal.clone()));
        }
        let routed = panics::catch(|| {
            failpoint::hit(Site::Route);
            self.router.route(&publish.mqtt_topic, &publish.payload)
        });
        match routed {
            Ok(Destinations::None) => self.unmatched(publish),
            Ok(destinations) => {
                // Nearly always empty.
                if !self.unheard.is_empty()
                    && let [Destination::Record(record)] = destinations.as_slice()
                    && let Some(at) = self.unheard.iter().position(|(at, _)| *at == record.route.0)
                {
                    self.heard.push(self.unheard.swap_remove(at).0);
                }
                destinations
            }
            Err(panic) => {
                if let Some(suppressed) = self.panic_limiter.pass(Instant::now()) {
                    warn!(self.log, "panic while a message was routed, it goes to the dead letter";
                        keys::MQTT_TOPIC => %publish.mqtt_topic_lossy(),
                        keys::PANIC => &panic.message,
                        keys::LOCATION => &panic.location,
                        keys::SUPPRESSED => suppressed);
                }
                let detail = format!("{} at {}", panic.message, panic.location);
                let refusal = Refusal { reason: "panic", detail, whole: None };
                Destinations::One(Destination::DeadLetter(Box::new(refusal)))
            }
        }
    }

    /// What becomes of a message that no route matches: it came by a subscription of older days, or
    /// under another name than the filter says.
    fn unmatched(&mut self, publish: &Publish) -> Destinations {
        let ids = publish.subscription_ids.as_slice();
        let mut names = self.session.subscriptions.names(ids).map(Filter::as_str);
        let mut subscribed = names.by_ref().take(NAMED_MAX).collect::<Vec<_>>().join(", ");
        if names.next().is_some() {
            subscribed.push_str(", ...");
        }
        let mqtt_topic = publish.mqtt_topic_lossy();
        if let Some(suppressed) = self.filtered_limiter.pass(Instant::now()) {
            warn!(self.log, "no route matches a message";
                keys::MQTT_TOPIC => %mqtt_topic,
                keys::DETAIL => format!("subscribed {subscribed}, received {mqtt_topic}"),
                keys::SUPPRESSED => suppressed);
        }
        let is_kept = self.settings.mqtt.unmatched == Unmatched::DeadLetter;
        // Nobody was promised that a message of QoS 0 arrives.
        if !is_kept || publish.qos == Qos::AtMostOnce {
            return Destinations::None;
        }
        let detail = format!("no route matches it; subscribed: {subscribed}");
        let refusal = Refusal { reason: NO_ROUTE, detail, whole: None };
        Destinations::One(Destination::DeadLetter(Box::new(refusal)))
    }

    /// A shared subscription is granted. Whether the broker serves it is not known in 3.1.1.
    fn listen_for(&mut self, route: usize) {
        let is_blind = self.session.subscriptions.is_granted_blindly(route);
        if !is_blind || self.heard.contains(&route) || self.settings.mqtt.silence_warning.is_none()
        {
            return;
        }
        self.unheard.retain(|(unheard, _)| *unheard != route);
        self.unheard.push((route, Instant::now()));
    }

    /// Says of each shared subscription that has brought nothing for too long that it has not.
    fn warn_of_silence(&mut self) {
        let Some(patience) = self.settings.mqtt.silence_warning else { return };
        let (settings, log) = (&self.settings, &self.log);
        self.unheard.retain(|(route, since)| {
            let is_patient = since.elapsed() < patience;
            if !is_patient {
                warn!(log, "a shared subscription was granted and has brought nothing";
                    keys::MQTT_FILTER => settings.routes[*route].filter.as_str(),
                    keys::ELAPSED_MS => millis(since.elapsed()),
                    keys::DETAIL => "some brokers of 3.1.1 grant shared subscriptions and have none");
            }
            is_patient
        });
    }

    /// Hands on what the producer was not given yet.
    pub(super) fn forward(&mut self) {
        let Some(stage_epoch) = self.stage_epoch else { return };
        let messages = self.window.take_unforwarded();
        if !messages.is_empty() {
            let source = self.source;
            self.next.batches.do_send(ForwardBatch { stage_epoch, messages, source });
        }
    }

    pub(super) fn tell(&mut self, notes: &mut Vec<SessionEvent>) {
        for note in notes.drain(..) {
            self.tell_one(note);
        }
    }

    fn tell_one(&mut self, note: SessionEvent) {
        let filter = |route: usize| self.settings.routes[route].filter.to_string();
        self.connection().change_health(|mqtt| note.apply(mqtt));
        match note {
            SessionEvent::Connected { version, session_present, keep_alive_s, limits } => {
                if !session_present {
                    self.window.session_lost();
                    self.copies.clear();
                }
                self.attempt = 0;
                info!(self.log, "connected to mqtt";
                    keys::MQTT_BROKER => self.broker(),
                    keys::MQTT_PROTOCOL => version.name(),
                    keys::CLIENT_ID =>
                        limits.assigned_client_id.as_ref().unwrap_or(&self.settings.mqtt.client_id),
                    keys::SESSION_PRESENT => session_present,
                    keys::KEEP_ALIVE_S => keep_alive_s,
                    keys::MQTT_QOS_MAX => limits.maximum_qos);
            }
            SessionEvent::SessionExpiryShortened { asked_s, granted_s } => {
                warn!(self.log, "the broker keeps the session for less time than asked";
                    keys::ASKED_S => asked_s, keys::GRANTED_S => granted_s);
            }
            SessionEvent::Subscribed { route, qos } => {
                self.subscription_limiter.reset();
                info!(self.log, "subscribed";
                    keys::MQTT_FILTER => filter(route), keys::MQTT_QOS => qos);
                self.listen_for(route);
            }
            SessionEvent::StillSubscribed { route } => self.listen_for(route),
            SessionEvent::Covered { .. } | SessionEvent::Uncovered { .. } => {}
            SessionEvent::Downgraded { route, qos, retry_in } => {
                let filter = filter(route);
                if let Some(suppressed) = self.subscription_limiter.pass(Instant::now()) {
                    let what = match retry_in {
                        Some(_) => "subscription granted with a lower qos, will ask again",
                        None => "subscription granted with a lower qos",
                    };
                    warn!(self.log, "{}", what;
                        keys::MQTT_FILTER => filter, keys::MQTT_QOS => qos,
                        keys::SUPPRESSED => suppressed);
                }
            }
            SessionEvent::SubscriptionRefused { route, text, retry_in } => {
                // It may have been in force, and the other one brings alone what now looks like copies.
                self.copies.clear();
                let filter = filter(route);
                if let Some(suppressed) = self.subscription_limiter.pass(Instant::now()) {
                    warn!(self.log, "subscription refused, will ask again";
                        keys::MQTT_FILTER => filter, keys::DETAIL => text,
                        keys::DELAY_MS => millis(retry_in),
                        keys::SUPPRESSED => suppressed);
                }
            }
            SessionEvent::SubackMissing { route } => {
                let filter = filter(route);
                if let Some(suppressed) = self.suback_limiter.pass(Instant::now()) {
                    warn!(self.log, "no suback, will ask again";
                        keys::MQTT_FILTER => filter, keys::SUPPRESSED => suppressed);
                }
            }
            SessionEvent::Unsubscribed { mqtt_filter } => {
                self.copies.clear();
                info!(self.log, "unsubscribed what no route needs"; keys::MQTT_FILTER => mqtt_filter);
            }
            SessionEvent::UnsubscribeFailed { mqtt_filter, text } => {
                if let Some(suppressed) = self.subscription_limiter.pass(Instant::now()) {
                    warn!(self.log, "an old subscription stays, will try again";
                        keys::MQTT_FILTER => mqtt_filter, keys::DETAIL => text,
                        keys::SUPPRESSED => suppressed);
                }
            }
        }
    }
}

impl Actor for MqttActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let attach = Attach {
            source: self.core.source,
            verdicts: ctx.address().recipient(),
            ready: ctx.address().recipient(),
        };
        self.core.next.attach.do_send(attach);
        ctx.run_interval(BEAT_EVERY, |actor, _| {
            actor.core.heartbeat.beat();
            actor.core.warn_of_silence();
        });
        ctx.spawn(Drive);
    }
}

impl Supervised for MqttActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        let link =
            std::mem::replace(&mut self.link, LinkState::Paused(Box::pin(sleep(Duration::ZERO))));
        if let LinkState::Open(mut open) = link {
            open.take_unread_qos0(&mut self.core);
        }
        self.core.window.connection_lost();
        self.core.connection().set_lost("MqttActor was restarted".to_owned());
        self.core.full_since = None;
        // Verdicts may have died with the mail that was being handled. When the producer answers to
        // the new attachment, everything without a verdict is handed on again.
        self.core.stage_epoch = None;
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
        failpoint::hit(Site::MqttVerdicts);
        for verdict in mail.verdicts {
            self.core.window.settle(verdict, mail.delivered_at);
        }
    }
}

impl Handler<StageReady> for MqttActor {
    type Result = ();

    fn handle(&mut self, StageReady { stage_epoch }: StageReady, _: &mut Self::Context) {
        if self.core.stage_epoch.replace(stage_epoch) != Some(stage_epoch) {
            self.core.window.rewind();
        }
    }
}

impl Handler<StopIntake> for MqttActor {
    type Result = ();

    fn handle(&mut self, _: StopIntake, _: &mut Self::Context) {
        info!(self.core.log, "no more messages are taken in";
            keys::IN_FLIGHT => self.core.window.snapshot().in_flight);
        self.core.draining = true;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "actor_tests.rs"]
mod tests;
