//! A look at a broker by a client of its own, for `doctor`: what becomes of each step from the transport to
//! SUBSCRIBE.
//!
//! It disturbs nobody: its client id is a random one, shared filters are subscribed in a group of its own, and it
//! publishes nothing. It connects twice: first as the bridge does, to see what session the broker grants, and
//! subscribes nothing; then in a session that ends with its connection. Should the broker have a session for the
//! random id, it has put another id in its place, most likely the bridge's: that session is left as it is, and
//! there is no second connection. Each step has `mqtt.connect_timeout`.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{timeout, timeout_at};

use crate::certificate::Certificate;
use crate::config::{BrokerAddress, MqttConfig};
use crate::message::RouteId;
use crate::mqtt::channel::Channel;
use crate::mqtt::dial;
use crate::mqtt::frame::{Frame, FrameReader};
use crate::mqtt::login::{Login, login};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::negotiation::{Answer, Negotiation};
use crate::mqtt::packet::{self, Incoming, Publish, ServerLimits, Version};
use crate::mqtt::protocol::{ConnectionProtocol, Reading, dead_after};
use crate::mqtt::session::{Session, Settings};
use crate::mqtt::session_event::SessionEvent;
use crate::mqtt::transport::Transport;
use crate::observe::diagnosis::{self, Diagnosis};
use crate::route::Route;
use crate::stage::SourceId;

/// How long retained messages are counted, and for how long none may come before they count as all.
const RETAINED_WITHIN: Duration = Duration::from_secs(5);
const RETAINED_QUIET: Duration = Duration::from_millis(500);
/// So many retained messages are counted, and so many bytes of messages are read.
pub const RETAINED_MAX: u64 = 10_000;
const READ_MAX_BYTES: usize = 64 * 1024 * 1024;
/// How long saying goodbye may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// What a client id begins with where the configuration has none.
const CLIENT_ID: &str = "mqtt-kafka-bridge";
/// So many characters of the configured client id are part of ours.
const CLIENT_ID_MAX: usize = 200;
/// So many of the peer's first bytes tell what it is.
const FIRST_BYTES: usize = 8;

/// What was found. A step that was not reached is `None`.
#[derive(Debug, Default)]
pub struct Visit {
    /// The client id that was used.
    pub client_id: String,
    /// TCP, through a proxy if there is one, or a Unix socket.
    pub connected: Option<Result<(), Lost>>,
    /// The certificates that the broker has shown, its own first.
    pub tls: Option<Result<Vec<Certificate>, Lost>>,
    /// The upgrade to WebSocket.
    pub websocket: Option<Result<(), Lost>>,
    /// CONNACK, and what the peer most likely is if it is no CONNACK.
    pub accepted: Option<Result<Accepted, NotAccepted>>,
    /// What became of the subscriptions; nothing was subscribed where there was a session.
    pub subscriptions: Option<Seen>,
}

/// CONNACK has accepted us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What is spoken.
    pub version: Version,
    /// The broker had a session for a client id that nobody has used before.
    pub had_session: bool,
    /// In force, in seconds.
    pub keep_alive_s: u16,
    /// What the broker imposes.
    pub limits: ServerLimits,
}

/// CONNACK has not come, or refused us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAccepted {
    /// Why.
    pub lost: Lost,
    /// Its code, if it came.
    pub code: Option<u8>,
    /// What is likely to be wrong.
    pub likely: Option<&'static Diagnosis>,
}

/// What SUBSCRIBE brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The broker's answer for each route.
    pub answers: BTreeMap<RouteId, Granted>,
    /// The retained messages that came for each route, counted for the first that matches.
    pub retained: BTreeMap<RouteId, u64>,
    /// All of them were counted: for a while none came.
    pub are_all: bool,
    /// The connection ended meanwhile.
    pub lost: Option<Lost>,
}

/// The answer to a SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// With this QoS.
    Qos(u8),
    /// Another filter brings all that this one would: it is not subscribed.
    Covered,
    /// The broker's words.
    Refused(String),
    /// No SUBACK came in time.
    Missing,
    /// It would take messages, or a place, from the bridge: it was not subscribed.
    NotTried,
}

/// Looks at the broker at `address`. `routes` are those of the connection, with the filters that it subscribes.
pub async fn visit(mqtt: &MqttConfig, routes: &[Route], address: &BrokerAddress) -> Visit {
    let own = own(mqtt);
    let mut visit = Visit { client_id: own.client_id.clone(), ..Visit::default() };
    let login = login(mqtt).await;
    let (group, mut answers) = (format!("doctor-{:08x}", fastrand::u32(..)), BTreeMap::new());
    let routes = routes.iter().filter_map(|route| match route.filter.elsewhere(&group) {
        Some(filter) => Some(Arc::new(Route { filter, ..route.clone() })),
        None => {
            answers.insert(route.id, Granted::NotTried);
            None
        }
    });
    let settings = |mqtt, routes| {
        let (source, receive_maximum, qos0_shed_after) = (SourceId(0), u16::MAX, None);
        Arc::new(Settings { source, routes, receive_maximum, qos0_shed_after, mqtt })
    };
    let lasting = MqttConfig { session_expiry_s: mqtt.session_expiry_s, ..own.clone() };
    let (as_bridge, only_looks) = (settings(lasting, Vec::new()), settings(own, routes.collect()));
    let mut negotiation = Negotiation::default();
    let mut first = None;
    // Of both versions, under `protocol = "auto"`.
    let mut version = negotiation.version(mqtt.protocol);
    for _ in 0..2 {
        let Some(transport) = visit.open(mqtt, address).await else { return visit };
        let login = match &login {
            Ok(login) => login,
            Err(lost) => {
                let (lost, likely) = (lost.clone(), None);
                visit.accepted = Some(Err(NotAccepted { lost, code: None, likely }));
                return visit;
            }
        };
        let mut talk = Talk::new(&as_bridge, version, login, transport);
        match talk.until_accepted().await {
            Ok(accepted) => {
                let had_session = accepted.had_session;
                visit.accepted = Some(Ok(accepted));
                talk.leave(had_session).await;
                if !had_session {
                    let seen = subscribe(&only_looks, version, login, address, answers).await;
                    visit.subscriptions = Some(seen);
                }
                return visit;
            }
            Err(not) => {
                negotiation.learn(version, Answer::of(&not.lost));
                // The first answer says most: the second one is to another version.
                visit.accepted = Some(Err(first.get_or_insert(not).clone()));
            }
        }
        let next = negotiation.version(mqtt.protocol);
        if next == version {
            return visit;
        }
        version = next;
    }
    visit
}

/// The second connection: what SUBSCRIBE brings, in a session that ends with it.
async fn subscribe(
    settings: &Arc<Settings>,
    version: Version,
    login: &Login,
    address: &BrokerAddress,
    answers: BTreeMap<RouteId, Granted>,
) -> Seen {
    let mut seen = Seen { answers, ..Seen::default() };
    let mut opening = Visit::default();
    let Some(transport) = opening.open(&settings.mqtt, address).await else {
        let lost = [opening.connected, opening.tls.map(|tls| tls.map(drop)), opening.websocket];
        seen.lost = lost.into_iter().flatten().find_map(Result::err);
        return seen.without_answers(&settings.routes);
    };
    let mut talk = Talk::new(settings, version, login, transport);
    match talk.until_accepted().await {
        Ok(_) => talk.subscribe(seen).await,
        Err(not) => {
            seen.lost = Some(not.lost);
            seen.without_answers(&settings.routes)
        }
    }
}

/// The configuration of a client that only looks.
fn own(mqtt: &MqttConfig) -> MqttConfig {
    let configured = if mqtt.client_id.is_empty() { CLIENT_ID } else { &mqtt.client_id };
    let begins: String = configured.chars().take(CLIENT_ID_MAX).collect();
    MqttConfig {
        client_id: format!("{begins}-doctor-{:08x}", fastrand::u32(..)),
        session_expiry_s: 0,
        group: None,
        status: None,
        ..mqtt.clone()
    }
}

impl Visit {
    /// Opens the transport, step by step.
    async fn open(
        &mut self,
        mqtt: &MqttConfig,
        address: &BrokerAddress,
    ) -> Option<Box<dyn Transport>> {
        let opened = dial::connect(mqtt, &address.endpoint, dead_after(mqtt.keep_alive)).await;
        let mut transport = noted(&mut self.connected, opened, |_| ())?;
        if address.is_tls {
            let secured = dial::secure(mqtt, &address.endpoint, transport).await;
            transport = Box::new(noted(&mut self.tls, secured, |tls| tls.chain())?);
        }
        if let Some(path) = &address.websocket {
            let upgraded = dial::upgrade(mqtt, address, path, transport).await;
            transport = noted(&mut self.websocket, upgraded, |_| ())?;
        }
        Some(transport)
    }
}

/// Keeps what a step found, and returns what it made.
fn noted<T, F>(
    place: &mut Option<Result<F, Lost>>,
    made: Result<T, Lost>,
    found: impl FnOnce(&T) -> F,
) -> Option<T> {
    *place = Some(made.as_ref().map(found).map_err(Clone::clone));
    made.ok()
}

/// One connection of ours.
struct Talk {
    settings: Arc<Settings>,
    channel: Channel,
    frames: FrameReader,
    protocol: ConnectionProtocol,
    session: Session,
    events: Vec<SessionEvent>,
    first_bytes: Vec<u8>,
    /// CONNACK's code, if it refused us.
    refused: Option<u8>,
}

impl Talk {
    fn new(
        settings: &Arc<Settings>,
        version: Version,
        login: &Login,
        transport: Box<dyn Transport>,
    ) -> Self {
        let mut channel = Channel::new(transport);
        let session = settings.session(Vec::new(), false);
        let (settings, now) = (Arc::clone(settings), Instant::now());
        let protocol = ConnectionProtocol::open(
            Arc::clone(&settings),
            version,
            login,
            &session,
            now,
            channel.out(),
        );
        let frames = FrameReader::new(version, settings.mqtt.max_payload_bytes);
        let (events, first_bytes) = (Vec::new(), Vec::new());
        Self { settings, channel, frames, protocol, session, events, first_bytes, refused: None }
    }

    async fn until_accepted(&mut self) -> Result<Accepted, NotAccepted> {
        while !self.protocol.is_connected() {
            let deadline = self.protocol.deadline(Reading::Packets, &self.session);
            if let Err(lost) = self.turn(deadline, &mut |_| {}).await {
                let silent = self.first_bytes.is_empty()
                    && matches!(
                        lost.reason,
                        lost::CLOSED | lost::READ_FAILED | lost::CONNACK_TIMEOUT
                    );
                let likely = diagnosis::of_first_bytes(&self.first_bytes)
                    .or_else(|| silent.then_some(&diagnosis::MQTT_CLOSED))
                    .or_else(|| diagnosis::of_mqtt(&lost.detail));
                return Err(NotAccepted { lost, code: self.refused, likely });
            }
        }
        let accepted = self.events.iter().find_map(|event| match event {
            SessionEvent::Connected { version, session_present, keep_alive_s, limits } => {
                Some(Accepted {
                    version: *version,
                    had_session: *session_present,
                    keep_alive_s: *keep_alive_s,
                    limits: limits.clone(),
                })
            }
            _ => None,
        });
        accepted.ok_or_else(|| NotAccepted {
            lost: Lost::protocol_error("no CONNACK"),
            code: None,
            likely: None,
        })
    }

    /// Subscribes, counts what is retained, and leaves.
    async fn subscribe(mut self, mut seen: Seen) -> Seen {
        let settings = Arc::clone(&self.settings);
        let mut counts = Counts::new(&settings.routes);
        if let Err(lost) = self.count(&mut counts).await {
            seen.lost = Some(lost);
        }
        seen.take(&self.events);
        seen.are_all = seen.lost.is_none() && counts.are_all;
        seen.retained = counts.retained;
        if seen.lost.is_none() {
            self.leave(false).await;
        }
        seen.without_answers(&settings.routes)
    }

    /// Says goodbye, and waits a moment for the broker to close. `keeps_session`: what the broker has for this
    /// client stays as it is; else nothing is left.
    async fn leave(&mut self, keeps_session: bool) {
        let out = self.channel.out();
        match (self.protocol.version(), keeps_session) {
            (Version::V5, false) => packet::encode_disconnect_for_good(out),
            (version, _) => packet::encode_disconnect(version, 0, out),
        }
        let _ = timeout(LEAVE_WITHIN, poll_fn(|cx| self.channel.poll_close(cx))).await;
    }

    async fn count(&mut self, counts: &mut Counts<'_>) -> Result<(), Lost> {
        // SUBACK has its own time; twice as long only bounds many of them.
        let answered_by = Instant::now() + 2 * self.settings.mqtt.connect_timeout;
        while !self.session.subscriptions.is_answered() && Instant::now() < answered_by {
            self.turn(answered_by, &mut |publish| counts.take(publish)).await?;
        }
        let end = Instant::now() + RETAINED_WITHIN;
        counts.last = counts.last.max(Instant::now());
        while !counts.is_enough() && Instant::now() < end {
            let quiet_at = counts.last + RETAINED_QUIET;
            if Instant::now() >= quiet_at {
                counts.are_all = true;
                break;
            }
            self.turn(quiet_at.min(end), &mut |publish| counts.take(publish)).await?;
        }
        Ok(())
    }

    /// Does what is due, writes, and reads once, until `deadline` at the latest.
    async fn turn(
        &mut self,
        deadline: Instant,
        take: &mut impl FnMut(&Publish),
    ) -> Result<(), Lost> {
        let now = Instant::now();
        let (out, events) = (self.channel.out(), &mut self.events);
        self.protocol.on_time(now, Reading::Packets, &mut self.session, out, events)?;
        let within = self.settings.mqtt.connect_timeout;
        match timeout(within, poll_fn(|cx| self.channel.poll_flush(cx))).await {
            Ok(Ok(0)) => {}
            Ok(Ok(_)) => self.protocol.sent(Instant::now()),
            Ok(Err(error)) => return Err(Lost::of_io(lost::WRITE_FAILED, error)),
            Err(_) => {
                let detail = format!("the broker has read nothing for {within:?}");
                return Err(Lost::new(lost::WRITE_FAILED, detail));
            }
        }
        let due = self.protocol.deadline(Reading::Packets, &self.session);
        let until = tokio::time::Instant::from_std(deadline.min(due));
        let space = self.frames.space();
        match timeout_at(until, poll_fn(|cx| self.channel.poll_read(cx, space))).await {
            Err(_) => return Ok(()),
            Ok(Ok(0)) => return Err(Lost::new(lost::CLOSED, "the broker closed the connection")),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(Lost::of_io(lost::READ_FAILED, error)),
        }
        if self.first_bytes.is_empty() {
            self.first_bytes.extend(self.frames.buffered().iter().take(FIRST_BYTES));
        }
        self.protocol.received(Instant::now());
        while let Some(frame) = self.frames.next_frame()? {
            let publish = match frame {
                Frame::Whole(frame) => {
                    let incoming = packet::decode(self.protocol.version(), &frame)?;
                    if let Incoming::ConnAck(ack) = &incoming {
                        self.refused = ack.refused.as_ref().map(|refused| refused.code);
                    }
                    self.protocol.on_packet(
                        incoming,
                        Instant::now(),
                        &mut self.session,
                        self.channel.out(),
                        &mut self.events,
                    )?
                }
                Frame::Oversize(publish) => Some(publish),
            };
            if let Some(publish) = publish {
                take(&publish);
                // The broker would else stop at its limit of messages in flight. What comes before anything is
                // subscribed is of another client.
                let is_ours = !self.settings.routes.is_empty();
                if let Some(ack) = publish.ack.filter(|_| is_ours) {
                    packet::encode_ack(ack, self.channel.out());
                }
            }
        }
        Ok(())
    }
}

impl Seen {
    /// Routes that have no answer have none.
    fn without_answers(mut self, routes: &[Arc<Route>]) -> Self {
        for route in routes {
            self.answers.entry(route.id).or_insert(Granted::Missing);
        }
        self
    }

    fn take(&mut self, events: &[SessionEvent]) {
        for event in events {
            let (route, granted) = match event {
                SessionEvent::Uncovered { route } => {
                    self.answers.remove(route);
                    continue;
                }
                SessionEvent::Subscribed { route, qos }
                | SessionEvent::Downgraded { route, qos, .. } => (route, Granted::Qos(*qos)),
                SessionEvent::Covered { route } => (route, Granted::Covered),
                SessionEvent::SubscriptionRefused { route, text, .. } => {
                    (route, Granted::Refused(text.clone()))
                }
                SessionEvent::SubackMissing { route } => (route, Granted::Missing),
                _ => continue,
            };
            self.answers.insert(*route, granted);
        }
    }
}

/// The messages that came.
struct Counts<'a> {
    routes: &'a [Arc<Route>],
    retained: BTreeMap<RouteId, u64>,
    total: u64,
    bytes: usize,
    /// When the last retained one came.
    last: Instant,
    are_all: bool,
}

impl<'a> Counts<'a> {
    fn new(routes: &'a [Arc<Route>]) -> Self {
        let (retained, last) = (BTreeMap::new(), Instant::now());
        Self { routes, retained, total: 0, bytes: 0, last, are_all: false }
    }

    fn take(&mut self, publish: &Publish) {
        self.bytes += publish.window_bytes();
        if !publish.retain {
            return;
        }
        self.total += 1;
        self.last = Instant::now();
        let mqtt_topic = publish.mqtt_topic_lossy();
        let route = self.routes.iter().find(|route| route.filter.matches(&mqtt_topic));
        if let Some(route) = route {
            *self.retained.entry(route.id).or_default() += 1;
        }
    }

    fn is_enough(&self) -> bool {
        self.total >= RETAINED_MAX || self.bytes >= READ_MAX_BYTES
    }
}
