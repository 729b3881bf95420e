//! MqttActor: owns the MQTT connection, hands on what it receives, acknowledges what is safe.
//!
//! All of it happens in `MqttActor::drive`, which runs after every wake-up, when the mailbox has
//! been emptied: take in what was read, hand it on, write what is owed, read again. Handlers only
//! note what their mail says. So nothing is ever cancelled half-way, many verdicts leave in one
//! write, and the order of bytes on the wire is the order of `Open::pump`.
//!
//! A panic costs the connection and nothing else: the window, the session's memory and the
//! producer's epoch are kept (docs/decisions/0003-window-survives-a-panic.md).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::{Actor, ActorFuture, AsyncContext, Context, Handler, Recipient, Supervised};
use slog::{Logger, info, o, warn};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, sleep_until};

use crate::backoff::Backoff;
use crate::config::Config;
use crate::failpoint::{self, Site};
use crate::message::{
    Attach, Destination, Epoch, ForwardBatch, Message, ProducerStarted, Qos, Refusal, SourceId,
    Stamp, Verdicts,
};
use crate::mqtt::connection::{self, Connection};
use crate::mqtt::frame::{Frame, FrameReader, RawFrame, bound_payload};
use crate::mqtt::packet::{self, Incoming, Publish, Version};
use crate::mqtt::session::{Lost, Memory, Note, Session, Settings};
use crate::mqtt::window::{Fate, Limits, Window};
use crate::observe::{Gate, Metrics, keys, panics};
use crate::route::Router;
use crate::supervisor::{Drained, Heartbeat, StopIntake};

/// After so many reads in one turn the mailbox gets its turn.
const READS_PER_TURN: usize = 16;
/// While so much waits for the socket nothing more is read: the broker does not read either.
const UNSENT_MAX_BYTES: usize = 64 * 1024;
/// A connection that lived this long was a good one: the next pause is the shortest again.
const STABLE_AFTER: Duration = Duration::from_secs(5);
/// How long a broker may take to close its side after DISCONNECT.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// Repeated warnings are logged once in this time.
const WARN_EVERY: Duration = Duration::from_secs(10);
const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The stage that messages are handed on to.
#[derive(Clone)]
pub struct NextStage {
    /// Takes batches.
    pub batches: Recipient<ForwardBatch>,
    /// Takes the address for verdicts.
    pub attach: Recipient<Attach>,
}

impl NextStage {
    /// The stage that this actor is.
    pub fn of<A>(address: &actix::Addr<A>) -> Self
    where
        A: Actor + Handler<ForwardBatch> + Handler<Attach>,
        A::Context: ToEnvelope<A, ForwardBatch> + ToEnvelope<A, Attach>,
    {
        Self { batches: address.clone().recipient(), attach: address.clone().recipient() }
    }
}

/// See the module's documentation.
pub struct MqttActor {
    core: Core,
    link: Link,
}

/// What outlives a connection, and a panic.
struct Core {
    settings: Arc<Settings>,
    max_payload: usize,
    qos0_shed_after: Option<Duration>,
    router: Router,
    source: SourceId,
    next: NextStage,
    drained: Recipient<Drained>,
    log: Logger,
    metrics: Arc<Metrics>,
    heartbeat: Arc<Heartbeat>,

    window: Window,
    memory: Memory,
    producer: Option<Epoch>,
    draining: bool,
    /// Since when the window has had no room for what came.
    full_since: Option<Instant>,
    backoff: Backoff,
    attempt: u64,
    lost_gate: Gate,
    shed_gate: Gate,
    filtered_gate: Gate,
    subscription_gate: Gate,
}

enum Link {
    /// Before the next attempt.
    Paused(Pin<Box<Sleep>>),
    Dialing(Pin<Box<dyn Future<Output = Result<TcpStream, String>>>>),
    Open(Box<Open>),
    /// Draining, without a connection: only verdicts are waited for.
    Off,
    /// Drained, and the supervisor knows.
    Done,
}

/// A connection in use.
struct Open {
    connection: Connection,
    session: Session,
    frames: FrameReader,
    /// A message that waits for room in the window; reading waits with it.
    blocked: Option<Publish>,
    read_at: Stamp,
    opened_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// DISCONNECT is said: until the broker closes its side, or the time for that is up.
    closing: Option<Pin<Box<Sleep>>>,
}

enum End {
    Lost(Lost),
    Drained,
}

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl MqttActor {
    /// The source number of the one connection that there is so far.
    pub const SOURCE: SourceId = SourceId(0);

    /// An actor that connects once it is started.
    pub fn new(
        config: &Config,
        next: NextStage,
        drained: Recipient<Drained>,
        log: &Logger,
        metrics: Arc<Metrics>,
        heartbeat: Arc<Heartbeat>,
    ) -> Self {
        let router = Router::new(&config.routes);
        let receive_maximum = u16::try_from(config.delivery.window_messages).unwrap_or(u16::MAX);
        let settings = Arc::new(Settings {
            mqtt: config.mqtt.clone(),
            routes: router.routes().to_vec(),
            receive_maximum,
        });
        let limits = Limits {
            messages: config.delivery.window_messages,
            bytes: config.delivery.window_bytes,
        };
        let core = Core {
            max_payload: config.mqtt.max_payload_bytes,
            qos0_shed_after: config.delivery.qos0_shed_after,
            router,
            source: Self::SOURCE,
            next,
            drained,
            log: log.new(o!(keys::COMPONENT => "mqtt")),
            metrics,
            heartbeat,
            window: Window::new(limits),
            memory: Memory::default(),
            producer: None,
            draining: false,
            full_since: None,
            backoff: Backoff::new(settings.mqtt.reconnect_min, settings.mqtt.reconnect_max),
            attempt: 0,
            lost_gate: Gate::every(WARN_EVERY),
            shed_gate: Gate::every(WARN_EVERY),
            filtered_gate: Gate::every(WARN_EVERY),
            subscription_gate: Gate::every(WARN_EVERY),
            settings,
        };
        Self { core, link: Link::Paused(Box::pin(sleep(Duration::ZERO))) }
    }

    /// Everything that can be done now. Never `Ready`: the actor lives until it is stopped.
    fn drive(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        self.core.heartbeat.beat();
        let moved = self.move_link(cx);
        // What has no connection to thank (a replay) is handed on here.
        self.core.forward();
        self.core.metrics.set_conservation(self.core.window.snapshot());
        moved
    }

    fn move_link(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let core = &mut self.core;
            self.link = match &mut self.link {
                Link::Paused(_) | Link::Dialing(_) if core.draining => Link::Off,
                Link::Paused(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    core.dial()
                }
                Link::Dialing(dialing) => match ready!(dialing.as_mut().poll(cx)) {
                    Ok(stream) => Link::Open(Box::new(Open::new(stream, core))),
                    Err(detail) => core.pause_after(&Lost::new("connect_failed", detail)),
                },
                Link::Open(open) => match ready!(open.pump(core, cx)) {
                    End::Lost(lost) => core.lose(open, &lost, cx),
                    End::Drained => core.finish(),
                },
                Link::Off if core.window.is_settled_whole() => core.finish(),
                Link::Off | Link::Done => return Poll::Pending,
            };
        }
    }
}

impl Core {
    fn dial(&mut self) -> Link {
        self.attempt += 1;
        let settings = Arc::clone(&self.settings);
        Link::Dialing(Box::pin(async move {
            let mqtt = &settings.mqtt;
            connection::connect(&mqtt.host, mqtt.port, mqtt.connect_timeout).await
        }))
    }

    /// The connection is gone, and with it the right to acknowledge what it brought.
    fn lose(&mut self, open: &mut Open, lost: &Lost, cx: &mut TaskContext<'_>) -> Link {
        if let Some(reason) = lost.say {
            packet::encode_disconnect(open.session.version(), reason, open.connection.out());
            // Whether it still gets through does not matter.
            let _ = open.connection.poll_flush(cx);
        }
        open.salvage(self);
        self.window.connection_lost();
        self.full_since = None;
        if open.session.is_connected() {
            if open.opened_at.elapsed() >= STABLE_AFTER {
                self.backoff.reset();
            }
        } else if matches!(lost.reason, CLOSED | READ_FAILED) {
            self.memory.not_accepted(open.session.version(), false);
        }
        if self.draining { Link::Off } else { self.pause_after(lost) }
    }

    fn pause_after(&mut self, lost: &Lost) -> Link {
        self.metrics.count_reconnect(lost.reason);
        let jitter = fastrand::f64();
        let pause = match lost.taken_over {
            true => self.backoff.longest(jitter),
            false => self.backoff.pause(jitter),
        };
        if let Some(suppressed) = self.lost_gate.pass(Instant::now()) {
            warn!(self.log, "no mqtt connection, will connect again";
                keys::REASON => lost.reason,
                keys::DETAIL => &lost.detail,
                keys::MQTT_BROKER => self.broker(),
                keys::ATTEMPT => self.attempt,
                keys::DELAY_MS => millis(pause),
                keys::SUPPRESSED => suppressed);
        }
        Link::Paused(Box::pin(sleep(pause)))
    }

    fn finish(&mut self) -> Link {
        self.drained.do_send(Drained { unacknowledged: self.window.unacknowledged() });
        Link::Done
    }

    fn broker(&self) -> String {
        format!("{}:{}", self.settings.mqtt.host, self.settings.mqtt.port)
    }

    /// Takes a message in; gives it back if the window has no room for it.
    fn admit(&mut self, publish: Publish, received_at: Stamp) -> Option<Publish> {
        if let Some(ack) = publish.ack
            && self.window.redelivered(ack, publish.dup, &publish.mqtt_topic, &publish.payload)
        {
            return None;
        }
        if !self.window.has_room(publish.window_bytes()) {
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
        let fate = self.fate(&publish);
        let message = Message {
            mqtt_topic: publish.mqtt_topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            received_at,
        };
        self.window.admit(Arc::new(message), publish.ack, fate);
        None
    }

    fn shed(&mut self) {
        self.window.shed();
        if let Some(suppressed) = self.shed_gate.pass(Instant::now()) {
            warn!(self.log, "window full, qos 0 messages shed";
                keys::SHED => self.window.snapshot().shed,
                keys::IN_FLIGHT => self.window.snapshot().in_flight,
                keys::SUPPRESSED => suppressed);
        }
    }

    /// Where a message goes. A panic on the way is the message's fault: it goes to the dead letter.
    fn fate(&mut self, publish: &Publish) -> Fate {
        if let Some(refusal) = &publish.refusal {
            return Fate::Forward(Destination::DeadLetter(refusal.clone()));
        }
        let mqtt_topic = String::from_utf8_lossy(&publish.mqtt_topic);
        let routed = panics::catch(|| {
            failpoint::hit(Site::Route);
            self.router.route(&mqtt_topic, &publish.payload)
        });
        match routed {
            Ok(Some(destination)) => Fate::Forward(destination),
            Ok(None) => {
                if let Some(suppressed) = self.filtered_gate.pass(Instant::now()) {
                    warn!(self.log, "no route for a message, perhaps an old subscription";
                        keys::MQTT_TOPIC => %mqtt_topic, keys::SUPPRESSED => suppressed);
                }
                Fate::Filtered
            }
            Err(panic) => {
                warn!(self.log, "panic while a message was routed, it goes to the dead letter";
                    keys::MQTT_TOPIC => %mqtt_topic,
                    keys::PANIC => &panic.message,
                    keys::LOCATION => &panic.location);
                Fate::Forward(Destination::DeadLetter(Refusal {
                    reason: "panic",
                    detail: format!("{} at {}", panic.message, panic.location),
                    whole: None,
                }))
            }
        }
    }

    /// Hands on what the producer was not given yet.
    fn forward(&mut self) {
        let Some(producer_epoch) = self.producer else { return };
        let messages = self.window.take_unforwarded();
        if !messages.is_empty() {
            let source = self.source;
            self.next.batches.do_send(ForwardBatch { producer_epoch, messages, source });
        }
    }

    fn tell(&mut self, notes: &mut Vec<Note>) {
        for note in notes.drain(..) {
            self.tell_one(note);
        }
    }

    fn tell_one(&mut self, note: Note) {
        let filter = |route: usize| self.settings.routes[route].filter.to_string();
        match note {
            Note::Connected { session_present, keep_alive_s, limits } => {
                if !session_present {
                    self.window.session_lost();
                }
                self.attempt = 0;
                info!(self.log, "connected to mqtt";
                    keys::MQTT_BROKER => self.broker(),
                    keys::CLIENT_ID =>
                        limits.assigned_client_id.as_ref().unwrap_or(&self.settings.mqtt.client_id),
                    keys::SESSION_PRESENT => session_present,
                    keys::KEEP_ALIVE_S => keep_alive_s,
                    keys::MQTT_QOS_MAX => limits.maximum_qos);
            }
            Note::SessionExpiryShortened { asked_s, granted_s } => {
                warn!(self.log, "the broker keeps the session for less time than asked";
                    keys::ASKED_S => asked_s, keys::GRANTED_S => granted_s);
            }
            Note::Subscribed { route, qos } => {
                self.subscription_gate.reset();
                info!(self.log, "subscribed";
                    keys::MQTT_FILTER => filter(route), keys::MQTT_QOS => qos);
            }
            Note::Downgraded { route, qos } => {
                let filter = filter(route);
                if let Some(suppressed) = self.subscription_gate.pass(Instant::now()) {
                    warn!(self.log, "subscription granted with a lower qos, will ask again";
                        keys::MQTT_FILTER => filter, keys::MQTT_QOS => qos,
                        keys::SUPPRESSED => suppressed);
                }
            }
            Note::SubscriptionRefused { route, text, retry_in } => {
                let filter = filter(route);
                if let Some(suppressed) = self.subscription_gate.pass(Instant::now()) {
                    warn!(self.log, "subscription refused, will ask again";
                        keys::MQTT_FILTER => filter, keys::DETAIL => text,
                        keys::DELAY_MS => millis(retry_in),
                        keys::SUPPRESSED => suppressed);
                }
            }
            Note::SubackMissing { route } => {
                warn!(self.log, "no suback, will ask again"; keys::MQTT_FILTER => filter(route));
            }
        }
    }
}

/// The reason of a connection that the broker ended without a word.
const CLOSED: &str = "closed_by_broker";
/// The same by a reset, or a broken network.
const READ_FAILED: &str = "read_failed";

impl Open {
    fn new(stream: TcpStream, core: &mut Core) -> Self {
        let now = Instant::now();
        let mut connection = Connection::new(stream);
        let version = core.memory.version(core.settings.mqtt.protocol);
        core.memory.connecting();
        let session = Session::open(Arc::clone(&core.settings), version, now, connection.out());
        Self {
            connection,
            session,
            frames: FrameReader::new(version, core.max_payload),
            blocked: None,
            read_at: Stamp::now(),
            opened_at: now,
            timer: Box::pin(sleep_until(now.into())),
            closing: None,
        }
    }

    /// Takes in, hands on, writes, reads; again and again until there is nothing to do.
    fn pump(&mut self, core: &mut Core, cx: &mut TaskContext<'_>) -> Poll<End> {
        if self.closing.is_some() {
            return self.poll_closed(cx);
        }
        let mut notes = Vec::new();
        for _ in 0..READS_PER_TURN {
            if !core.draining
                && let Err(lost) = self.take_in(core, &mut notes)
            {
                return Poll::Ready(lost.into());
            }
            core.forward();
            if let Err(lost) = self.write(core, &mut notes, cx) {
                return Poll::Ready(lost.into());
            }
            if core.draining && self.owes_nothing(core) {
                self.close(core);
                return self.poll_closed(cx);
            }
            if !self.is_reading(core) {
                // What was just acknowledged may have made room for what waits.
                match &self.blocked {
                    Some(publish)
                        if !core.draining && core.window.has_room(publish.window_bytes()) =>
                    {
                        continue;
                    }
                    _ => return self.wait(core, cx),
                }
            }
            match self.connection.poll_read(cx, self.frames.space()) {
                Poll::Pending => return self.wait(core, cx),
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Lost::new(CLOSED, "end of stream").into());
                }
                Poll::Ready(Ok(_)) => {
                    self.read_at = Stamp::now();
                    self.session.received(self.read_at.instant);
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Lost::new(READ_FAILED, error.to_string()).into());
                }
            }
        }
        // The mailbox first, then on.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Everything that has been read, up to the first message that the window has no room for.
    fn take_in(&mut self, core: &mut Core, notes: &mut Vec<Note>) -> Result<(), Lost> {
        if let Some(publish) = self.blocked.take() {
            self.blocked = core.admit(publish, self.read_at);
        }
        let mut any = false;
        while self.blocked.is_none() {
            let Some(publish) = self.next_publish(core, notes)? else { break };
            if !std::mem::replace(&mut any, true) {
                failpoint::hit(Site::MqttRead);
            }
            self.blocked = core.admit(publish, self.read_at);
        }
        Ok(())
    }

    /// The next message among what has been read; other packets are dealt with on the way.
    fn next_publish(
        &mut self,
        core: &mut Core,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Publish>, Lost> {
        loop {
            let frame = self.frames.next_frame().map_err(|e| Lost::malformed(e.to_string()))?;
            let incoming = match frame {
                None => return Ok(None),
                Some(Frame::Oversize(publish)) => Incoming::Publish(publish),
                Some(Frame::Whole(frame)) => decode(self.session.version(), &frame)?,
            };
            let now = self.read_at.instant;
            let out = self.connection.out();
            let publish = self.session.on_packet(incoming, now, &mut core.memory, out, notes);
            // At once: what CONNACK says of the session decides what the next PUBLISH is.
            core.tell(notes);
            if let Some(publish) = publish? {
                return Ok(Some(bound_payload(publish, core.max_payload)));
            }
        }
    }

    /// What is due by the clock, then what is owed, in one write.
    fn write(
        &mut self,
        core: &mut Core,
        notes: &mut Vec<Note>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), Lost> {
        let reading = self.is_reading(core);
        let now = Instant::now();
        self.session.on_time(now, reading, self.connection.out(), notes)?;
        core.tell(notes);
        let mut sent = self.flush(cx)?;
        // Only what can be begun to be written now is released: the rest stays known.
        if self.connection.is_flushed() {
            let out = self.connection.out();
            core.window.release(|ack| packet::encode_ack(ack, out));
            sent |= self.flush(cx)?;
        }
        if sent {
            self.session.sent(now);
        }
        Ok(())
    }

    /// Whether all was written, and there was something.
    fn flush(&mut self, cx: &mut TaskContext<'_>) -> Result<bool, Lost> {
        let flushed = self.connection.poll_flush(cx);
        let written = flushed.map_err(|e| Lost::new("write_failed", e.to_string()))?;
        Ok(matches!(written, Poll::Ready(1..)))
    }

    fn is_reading(&self, core: &Core) -> bool {
        self.blocked.is_none() && !core.draining && self.connection.unsent() < UNSENT_MAX_BYTES
    }

    fn owes_nothing(&self, core: &Core) -> bool {
        core.window.is_settled_whole() && core.window.owes_nothing() && self.connection.is_flushed()
    }

    /// Until something can be read or written, mail comes, or the clock calls.
    fn wait(&mut self, core: &Core, cx: &mut TaskContext<'_>) -> Poll<End> {
        let mut deadline = self.session.deadline(self.is_reading(core));
        // While draining nothing is taken in, so nothing is shed either: that moment would be long past.
        if let (Some(full_since), Some(patience)) = (core.full_since, core.qos0_shed_after)
            && !core.draining
            && self.blocked.as_ref().is_some_and(|publish| publish.qos == Qos::AtMostOnce)
        {
            deadline = deadline.min(full_since + patience);
        }
        let armed = self.timer.deadline().into_std();
        // A timer that fires early is cheaper than one that is set anew at every read.
        if self.timer.is_elapsed() || deadline < armed {
            self.timer.as_mut().reset(deadline.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Of what was read and not taken in, what is not sent again: QoS 0. The rest is left to the
    /// broker's memory.
    fn salvage(&mut self, core: &mut Core) {
        let mut notes = Vec::new();
        let mut next = self.blocked.take();
        loop {
            if let Some(publish) = next.filter(|publish| publish.qos == Qos::AtMostOnce)
                && (core.draining || core.admit(publish, self.read_at).is_some())
            {
                core.shed();
            }
            next = match self.next_publish(core, &mut notes) {
                Ok(Some(publish)) => Some(publish),
                Ok(None) | Err(_) => return,
            };
        }
    }

    /// Says goodbye.
    fn close(&mut self, core: &mut Core) {
        self.salvage(core);
        packet::encode_disconnect(self.session.version(), 0, self.connection.out());
        self.closing = Some(Box::pin(sleep(CLOSE_WITHIN)));
    }

    fn poll_closed(&mut self, cx: &mut TaskContext<'_>) -> Poll<End> {
        // The clock first: a broker that goes on sending must not keep it from being looked at.
        let expired = self.closing.as_mut().is_none_or(|end| end.as_mut().poll(cx).is_ready());
        if !expired && self.connection.poll_close(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(End::Drained)
    }
}

/// Reads one packet. A codec that panics is the packet's fault: if that is a message, it goes to the
/// dead letter, and does not come again and again.
fn decode(version: Version, frame: &RawFrame) -> Result<Incoming, Lost> {
    const PUBLISH: u8 = 3;
    match panics::catch(|| packet::decode(version, frame)) {
        Ok(read) => Ok(read?),
        Err(panic) if frame.first_byte() >> 4 == PUBLISH => {
            Ok(Incoming::Publish(packet::take_apart(version, frame, &panic.message)?))
        }
        Err(panic) => Err(Lost::malformed(panic.message)),
    }
}

impl Actor for MqttActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let attach = Attach {
            source: self.core.source,
            verdicts: ctx.address().recipient(),
            started: ctx.address().recipient(),
        };
        self.core.next.attach.do_send(attach);
        ctx.run_interval(BEAT_EVERY, |actor, _| actor.core.heartbeat.beat());
        ctx.spawn(Drive);
    }
}

impl Supervised for MqttActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        let link = std::mem::replace(&mut self.link, Link::Paused(Box::pin(sleep(Duration::ZERO))));
        if let Link::Open(mut open) = link {
            open.salvage(&mut self.core);
        }
        self.core.window.connection_lost();
        self.core.full_since = None;
        // Verdicts may have died with the mail that was being handled. When the producer answers to
        // the new attachment, everything without a verdict is handed on again.
        self.core.producer = None;
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

    fn handle(&mut self, Verdicts(verdicts): Verdicts, _: &mut Self::Context) {
        failpoint::hit(Site::MqttVerdicts);
        for verdict in verdicts {
            self.core.window.settle(verdict);
        }
    }
}

impl Handler<ProducerStarted> for MqttActor {
    type Result = ();

    fn handle(&mut self, ProducerStarted { epoch }: ProducerStarted, _: &mut Self::Context) {
        if self.core.producer.replace(epoch) != Some(epoch) {
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
