use std::collections::BTreeMap;

use bytes::Bytes;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::*;
use crate::config::{Config, MqttConfig, Protocol, Resubscribe, Secret, StatusConfig};
use crate::message::{Qos, RouteId};
use crate::mqtt::negotiation::Answer;
use crate::mqtt::packet::{ConnectRefused, ServerLimits};
use crate::mqtt::wire::RawFrame;
use crate::route::Route;
use crate::stage::SourceId;

const SECOND: Duration = Duration::from_secs(1);

struct Client {
    protocol: ConnectionProtocol,
    session: Session,
    out: BytesMut,
    events: Vec<SessionEvent>,
    now: Instant,
}

fn settings(filters: &[&str]) -> Arc<Settings> {
    let route = |filter: &&str| {
        Arc::new(Route::new(RouteId(0), filter.parse().expect("a legal filter"), "k"))
    };
    let mut mqtt = Config::for_test().connections.remove(0);
    mqtt.session_expiry_s = 3600;
    mqtt.resubscribe = Resubscribe::NewSession;
    mqtt.connect_timeout = Duration::from_secs(10);
    Arc::new(Settings {
        source: SourceId(0),
        mqtt,
        routes: filters.iter().map(route).collect(),
        receive_maximum: 1000,
        qos0_shed_after: None,
    })
}

impl Client {
    /// Opened, CONNECT on its way.
    fn open(version: Version, filters: &[&str], session: Session) -> Self {
        Self::opened(version, settings(filters), session)
    }

    /// Opened with other settings, CONNECT on its way.
    fn opened_with(version: Version, change: impl Fn(&mut MqttConfig)) -> Self {
        let mut settings = settings(&["a"]);
        change(&mut Arc::get_mut(&mut settings).expect("nobody else has it").mqtt);
        let session = settings.session(Vec::new(), false);
        Self::opened(version, settings, session)
    }

    /// The next connection in this session.
    fn opened(version: Version, settings: Arc<Settings>, session: Session) -> Self {
        let (now, mut out) = (Instant::now(), BytesMut::new());
        let login = Login::default();
        let protocol = ConnectionProtocol::open(settings, version, &login, &session, now, &mut out);
        Self { protocol, session, out, events: Vec::new(), now }
    }

    /// Accepted, with what the broker said.
    fn connected(version: Version, filters: &[&str], session: Session, ack: ConnAck) -> Self {
        let mut client = Self::open(version, filters, session);
        client.out.clear();
        client.take(Incoming::ConnAck(ack)).expect("accepted");
        client
    }

    fn take(&mut self, incoming: Incoming) -> Result<Option<Publish>, Lost> {
        self.protocol.received(self.now);
        let Self { protocol, session, out, events, now } = self;
        protocol.on_packet(incoming, *now, session, out, events)
    }

    /// Lets the clock run to `now + pause`, doing what is due when it is due.
    fn wait(&mut self, pause: Duration, reading: bool) -> Result<(), Lost> {
        let reading = if reading { Reading::Packets } else { Reading::Nothing };
        self.wait_while(pause, reading)
    }

    /// The same, with what reaches us.
    fn wait_while(&mut self, pause: Duration, reading: Reading) -> Result<(), Lost> {
        let end = self.now + pause;
        loop {
            let Self { protocol, session, out, events, now } = self;
            let unsent = out.len();
            protocol.on_time(*now, reading, session, out, events)?;
            if self.out.len() > unsent {
                self.protocol.sent(self.now);
            }
            let next = self.protocol.deadline(reading, &self.session);
            if next > end {
                self.now = end;
                return Ok(());
            }
            assert!(next > self.now, "the clock must move on");
            self.now = next;
        }
    }

    /// The SUBSCRIBEs that were written, and nothing else: packet id by filter.
    fn subscribes(&mut self) -> BTreeMap<String, u16> {
        let mut found = BTreeMap::new();
        while !self.out.is_empty() {
            match self.protocol.version() {
                Version::V311 => match v4::Packet::read(&mut self.out, 1 << 20) {
                    Ok(v4::Packet::Subscribe(s)) => found.insert(s.filters[0].path.clone(), s.pkid),
                    other => panic!("{other:?}"),
                },
                Version::V5 => match v5::Packet::read(&mut self.out, None) {
                    Ok(v5::Packet::Subscribe(s)) => found.insert(s.filters[0].path.clone(), s.pkid),
                    other => panic!("{other:?}"),
                },
            };
        }
        found
    }

    fn pings(&mut self) -> usize {
        let bytes = self.out.split();
        bytes.chunks(2).filter(|chunk| *chunk == [0xC0, 0]).count()
    }
}

fn accepted(session_present: bool) -> ConnAck {
    ConnAck { session_present, ..ConnAck::default() }
}

fn suback(packet_id: u16, code: u8) -> Incoming {
    Incoming::SubAck { packet_id, code, text: reason::text(code) }
}

/// Of a process that has not been connected yet, to subscribe `a`.
fn fresh() -> Session {
    session(&["a"])
}

fn session(filters: &[&str]) -> Session {
    settings(filters).session(Vec::new(), false)
}

/// Of one that was connected, and had its one subscription granted, just now.
fn granted_before() -> Session {
    let mut client = Client::connected(Version::V311, &["a"], fresh(), accepted(false));
    client.wait(Duration::ZERO, true).expect("alive");
    let id = client.subscribes()["a"];
    client.take(suback(id, 1)).expect("granted");
    client.session
}

#[test]
fn connect_asks_for_a_session_and_in_mqtt_5_for_the_window() {
    let mut client = Client::open(Version::V5, &["a"], fresh());
    let Ok(v5::Packet::Connect(connect, None, None)) = v5::Packet::read(&mut client.out, None)
    else {
        panic!("a CONNECT without will and login");
    };
    let properties = connect.properties.expect("properties");
    assert_eq!((connect.clean_start, connect.keep_alive), (false, 30));
    assert_eq!(properties.session_expiry_interval, Some(3600));
    assert_eq!(properties.receive_maximum, Some(1000));
    // Neither is wanted: a broker would drop what is larger without a word, and aliases would need a
    // state (docs/architecture.md).
    assert_eq!((properties.max_packet_size, properties.topic_alias_max), (None, None));

    let mut client = Client::open(Version::V311, &["a"], fresh());
    let Ok(v4::Packet::Connect(connect)) = v4::Packet::read(&mut client.out, 1000) else {
        panic!("a CONNECT");
    };
    assert!(!connect.clean_session);
}

#[test]
fn silence_is_broken_by_pings_and_then_is_the_end() {
    let ack = accepted(true);
    let mut client = Client::connected(Version::V311, &["a"], granted_before(), ack);
    client.wait(22 * SECOND, true).expect("alive");
    assert_eq!(client.pings(), 0);
    client.wait(SECOND, true).expect("alive");
    assert_eq!(client.pings(), 1, "after three quarters of 30 s");
    client.take(Incoming::PingResp).expect("alive");
    client.wait(44 * SECOND, true).expect("alive");
    let lost = client.wait(2 * SECOND, true).expect_err("dead after 45 s of silence");
    assert_eq!((lost.reason, lost.disconnect_code), ("keep_alive", Some(0x8D)));
}

#[test]
fn a_throttled_connection_pings_on_and_its_silence_proves_nothing() {
    let ack = accepted(true);
    let mut client = Client::connected(Version::V311, &["a"], granted_before(), ack);
    client.wait(600 * SECOND, false).expect("alive for ten minutes without reading");
    let pings = client.pings();
    assert!((20..=27).contains(&pings), "{pings} pings in 600 s");
    client.wait(40 * SECOND, true).expect("reading again, the 45 s begin anew");
    client.wait(10 * SECOND, true).expect_err("and end");
}

#[test]
fn one_who_only_writes_still_asks_for_a_sign_of_life() {
    let ack = accepted(true);
    let mut client = Client::connected(Version::V311, &["a"], granted_before(), ack);
    for _ in 0..30 {
        client.wait(SECOND, true).expect("alive");
        client.protocol.sent(client.now);
    }
    assert!(client.pings() >= 1);
}

#[test]
fn the_servers_keep_alive_is_obeyed_and_its_zero_leaves_ours() {
    let pings_in_60_s = |keep_alive_s| {
        let limits = ServerLimits { keep_alive_s: Some(keep_alive_s), ..ServerLimits::default() };
        let ack = ConnAck { limits, session_present: true, ..ConnAck::default() };
        let mut client = Client::connected(Version::V311, &["a"], granted_before(), ack);
        for _ in 0..60 {
            client.wait(SECOND, true).expect("alive");
            client.protocol.received(client.now);
        }
        client.pings()
    };
    assert_eq!(pings_in_60_s(8), 10);
    assert_eq!(pings_in_60_s(0), 2);
}

#[test]
fn a_broker_that_keeps_the_session_for_less_is_told_of() {
    let limits = ServerLimits { session_expiry_s: Some(60), ..ServerLimits::default() };
    let ack = ConnAck { limits, ..ConnAck::default() };
    let client = Client::connected(Version::V5, &["a"], fresh(), ack);
    let note = SessionEvent::SessionExpiryShortened { asked_s: 3600, granted_s: 60 };
    assert!(client.events.contains(&note));
}

#[test]
fn no_connack_in_time_is_the_end() {
    let mut client = Client::open(Version::V5, &["a"], fresh());
    client.wait(9 * SECOND, true).expect("patient");
    assert_eq!(client.wait(SECOND, true).expect_err("no more").reason, "connack_timeout");
}

#[test]
fn auto_speaks_311_to_a_broker_that_refuses_5_and_stays_with_it() {
    let mut client = Client::open(Version::V5, &["a"], fresh());
    let refused = ConnectRefused { code: 0x84, text: String::new() };
    let ack = ConnAck { refused: Some(refused), ..ConnAck::default() };
    let lost = client.take(Incoming::ConnAck(ack)).expect_err("refused");
    assert_eq!(lost.reason, lost::PROTOCOL_REFUSED);
    client.session.not_accepted(Version::V5, &lost);
    assert_eq!(client.session.version(Protocol::Auto), Version::V311);
    let client = Client::connected(Version::V311, &["a"], client.session, accepted(false));
    assert_eq!(client.session.version(Protocol::Auto), Version::V311);
    assert_eq!(client.session.version(Protocol::V5), Version::V5);
    let told = |note: &SessionEvent| {
        matches!(note, SessionEvent::Connected { version: Version::V311, .. })
    };
    assert!(client.events.iter().any(told), "and says so");
}

#[test]
fn a_session_in_answer_to_a_clean_start_is_a_protocol_error() {
    for version in [Version::V311, Version::V5] {
        for (session_expiry_s, session_present, ends) in
            [(0, true, true), (0, false, false), (3600, true, false)]
        {
            let mut client = Client::opened_with(version, |mqtt| {
                mqtt.session_expiry_s = session_expiry_s;
            });
            let answered = client.take(Incoming::ConnAck(accepted(session_present)));
            assert_eq!(answered.is_err(), ends, "{version:?} {session_expiry_s} {session_present}");
            if let Err(lost) = answered {
                assert_eq!((lost.reason, lost.disconnect_code), (lost::PROTOCOL_ERROR, Some(0x82)));
                assert_eq!(client.events, [], "nothing of that session counts");
            }
        }
    }
}

/// The payload of a CONNECT behind the client id, and its flags, without clean start: read apart from
/// what writes it.
fn login_on_the_wire(version: Version, connect: &[u8]) -> (u8, &[u8]) {
    // Fixed header, protocol name and level, flags, keep-alive; in 5 eight bytes of properties.
    let (flags, rest) = (connect[9] & !0x02, &connect[12..]);
    let rest = if version == Version::V5 { &rest[1 + usize::from(rest[0])..] } else { rest };
    let client_id = "bridge-1";
    assert_eq!(usize::from(connect[1]), connect.len() - 2, "one packet");
    assert_eq!(&rest[2..2 + client_id.len()], client_id.as_bytes());
    (flags, &rest[2 + client_id.len()..])
}

#[test]
fn user_name_and_password_are_on_the_wire_as_they_are_configured() {
    let none: &[u8] = &[];
    let (empty, user, password): (&[u8], &[u8], &[u8]) = (&[0, 0], &[0, 1, b'u'], &[0, 1, b'p']);
    // User name, password, flags (0x80: user name, 0x40: password), the fields behind the client id.
    // That 3.1.1 has no password without a user name ([MQTT-3.1.2-22]) is refused by `check`.
    for (username, secret, flags, fields, versions) in [
        (None, None, 0x00, [none, none], &[Version::V311, Version::V5][..]),
        (None, Some(""), 0x40, [none, empty], &[Version::V5]),
        (None, Some("p"), 0x40, [none, password], &[Version::V5]),
        (Some(""), None, 0x80, [empty, none], &[Version::V311, Version::V5]),
        (Some(""), Some(""), 0xC0, [empty, empty], &[Version::V311, Version::V5]),
        (Some(""), Some("p"), 0xC0, [empty, password], &[Version::V311, Version::V5]),
        (Some("u"), None, 0x80, [user, none], &[Version::V311, Version::V5]),
        (Some("u"), Some(""), 0xC0, [user, empty], &[Version::V311, Version::V5]),
        (Some("u"), Some("p"), 0xC0, [user, password], &[Version::V311, Version::V5]),
    ] {
        for version in versions {
            let login =
                Login { username: username.map(Secret::from), password: secret.map(Secret::from) };
            let (now, mut out) = (Instant::now(), BytesMut::new());
            let session = fresh();
            ConnectionProtocol::open(settings(&["a"]), *version, &login, &session, now, &mut out);
            let written = login_on_the_wire(*version, &out);
            assert_eq!(
                written,
                (flags, &fields.concat()[..]),
                "{version:?} {username:?} {secret:?}"
            );
        }
    }
}

#[test]
fn a_taken_over_session_asks_for_the_longest_pause() {
    let mut client = Client::connected(Version::V5, &["a"], fresh(), accepted(false));
    let taken = Incoming::Disconnect { code: 0x8E, text: "SessionTakenOver".to_owned() };
    let lost = client.take(taken).expect_err("the end");
    assert!(lost.taken_over);
    assert_eq!(lost.reason, "session_taken_over");
}

#[test]
fn what_a_broker_must_not_send_is_the_end() {
    let mut early = Client::open(Version::V5, &["a"], fresh());
    assert_eq!(early.take(Incoming::PingResp).expect_err("early").disconnect_code, Some(0x82));
    for (code, answer) in [(0x00, Answer::OtherVersion), (0x87, Answer::Refused)] {
        let mut early = Client::open(Version::V5, &["a"], fresh());
        let disconnect = Incoming::Disconnect { code, text: reason::text(code) };
        let lost = early.take(disconnect).expect_err("the end");
        assert_eq!(Answer::of(&lost), answer, "a DISCONNECT instead of CONNACK: {code}");
    }
    let mut twice = Client::connected(Version::V5, &["a"], fresh(), accepted(false));
    let second = twice.take(Incoming::ConnAck(accepted(false)));
    assert_eq!(second.expect_err("twice").disconnect_code, Some(0x82));
}

#[test]
fn the_second_half_of_a_qos_2_delivery_is_answered() {
    let mut client = Client::connected(Version::V5, &["a"], fresh(), accepted(true));
    client.out.clear();
    client.take(Incoming::PubRel(7)).expect("answered");
    assert_eq!(Bytes::from(client.out), Bytes::from_static(&[0x70, 2, 0, 7]));
}

const STATUS: OwnPublish<'_> = OwnPublish {
    dup: false,
    qos: Qos::AtLeastOnce,
    retain: true,
    mqtt_topic: "bridge/status",
    payload: b"online",
};

/// The PUBLISH on the wire, as rumqttc reads it: packet id, QoS, retain, DUP, MQTT topic, payload.
fn read_publish(version: Version, out: &mut BytesMut) -> (u16, u8, bool, bool, String, Bytes) {
    match version {
        Version::V311 => match v4::Packet::read(out, 1 << 20) {
            Ok(v4::Packet::Publish(p)) => {
                (p.pkid, p.qos as u8, p.retain, p.dup, p.topic, p.payload)
            }
            other => panic!("{other:?}"),
        },
        Version::V5 => match v5::Packet::read(out, None) {
            Ok(v5::Packet::Publish(p)) => {
                let mqtt_topic = String::from_utf8(p.topic.to_vec()).expect("UTF-8");
                assert_eq!(p.properties, None);
                (p.pkid, p.qos as u8, p.retain, p.dup, mqtt_topic, p.payload)
            }
            other => panic!("{other:?}"),
        },
    }
}

/// PUBACK as rumqttc writes it, read as the connection reads it.
fn puback(version: Version, packet_id: u16, is_refused: bool) -> Incoming {
    let mut bytes = BytesMut::new();
    match version {
        Version::V311 => v4::PubAck::new(packet_id).write(&mut bytes).map(drop).expect("short"),
        Version::V5 => {
            let mut puback = v5::PubAck::new(packet_id, None);
            if is_refused {
                puback.reason = v5::PubAckReason::QuotaExceeded;
                let reason_string = Some("too much".to_owned());
                let user_properties = Vec::new();
                puback.properties = Some(v5::PubAckProperties { reason_string, user_properties });
            }
            puback.write(&mut bytes).map(drop).expect("short");
        }
    }
    packet::decode(version, &RawFrame { bytes: bytes.freeze(), header_len: 2 }).expect("read")
}

#[test]
fn a_publish_of_ours_is_on_the_wire_as_it_was_given_and_its_puback_is_taken_in() {
    for version in [Version::V311, Version::V5] {
        for (qos, retain, dup) in [
            (Qos::AtMostOnce, false, false),
            (Qos::AtLeastOnce, true, false),
            (Qos::AtLeastOnce, false, true),
        ] {
            let mut client = Client::connected(version, &["a"], fresh(), accepted(true));
            client.out.clear();
            client.events.clear();
            let own = OwnPublish { qos, retain, dup, ..STATUS };
            client.protocol.publish(&own, &mut client.out).expect("sent");
            assert_eq!(own.bytes(version), Some(client.out.len()));
            let (packet_id, level, kept, again, mqtt_topic, payload) =
                read_publish(version, &mut client.out);
            assert_eq!((level, kept, again), (qos.level(), retain, dup));
            assert_eq!((mqtt_topic.as_str(), &payload[..]), (own.mqtt_topic, own.payload));
            if qos == Qos::AtMostOnce {
                client.protocol.publish(&own, &mut client.out).expect("nothing to wait for");
                continue;
            }
            let second = client.protocol.publish(&STATUS, &mut client.out);
            assert_eq!(second, Err(NotPublished::Unacknowledged), "one at a time");
            assert!(client.out.is_empty());
            client.take(puback(version, packet_id, false)).expect("it is ours");
            assert_eq!(client.events, [SessionEvent::OwnAcknowledged { refusal: None }]);
            client.protocol.publish(&STATUS, &mut client.out).expect("the next one");
        }
    }
}

#[test]
fn a_puback_for_what_we_have_not_sent_is_a_protocol_error() {
    for version in [Version::V311, Version::V5] {
        let mut client = Client::connected(version, &["a"], fresh(), accepted(true));
        let lost = client.take(puback(version, 7, false)).expect_err("we have sent nothing");
        assert_eq!((lost.reason, lost.disconnect_code), (lost::PROTOCOL_ERROR, Some(0x82)));
        let detail = "a PUBACK for packet identifier 7, under which the bridge has sent no PUBLISH";
        assert_eq!(lost.detail, detail);

        client.out.clear();
        client.protocol.publish(&STATUS, &mut client.out).expect("sent");
        let packet_id = read_publish(version, &mut client.out).0;
        client.take(puback(version, packet_id, false)).expect("it is ours");
        client.take(puback(version, packet_id, false)).expect_err("and acknowledged");
    }
}

#[test]
fn a_refused_publish_of_ours_is_told_of_with_the_brokers_words() {
    let mut client = Client::connected(Version::V5, &["a"], fresh(), accepted(true));
    client.out.clear();
    client.events.clear();
    client.protocol.publish(&STATUS, &mut client.out).expect("sent");
    let packet_id = read_publish(Version::V5, &mut client.out).0;
    client.take(puback(Version::V5, packet_id, true)).expect("the connection goes on");
    let refusal = Some("Quota exceeded (0x97): too much".to_owned());
    assert_eq!(client.events, [SessionEvent::OwnAcknowledged { refusal }]);
}

#[test]
fn what_connack_rules_out_is_not_published() {
    let mut out = BytesMut::new();
    let mut early = Client::open(Version::V5, &["a"], fresh());
    assert_eq!(early.protocol.publish(&STATUS, &mut out), Err(NotPublished::NotConnected));
    let limits = ServerLimits::default;
    for (limits, own, expected) in [
        (ServerLimits { maximum_qos: Some(0), ..limits() }, STATUS, NotPublished::Qos),
        (ServerLimits { no_retain: true, ..limits() }, STATUS, NotPublished::Retain),
        (
            ServerLimits { maximum_packet_bytes: Some(25), ..limits() },
            STATUS,
            NotPublished::TooLarge,
        ),
        (
            limits(),
            OwnPublish { mqtt_topic: &"x".repeat(70_000), ..STATUS },
            NotPublished::TooLarge,
        ),
    ] {
        let ack = ConnAck { limits, ..accepted(true) };
        let mut client = Client::connected(Version::V5, &["a"], fresh(), ack);
        assert_eq!(client.protocol.publish(&own, &mut out), Err(expected));
        assert!(out.is_empty());
    }
    let ack = ConnAck {
        limits: ServerLimits { maximum_packet_bytes: Some(26), ..limits() },
        ..accepted(true)
    };
    let mut client = Client::connected(Version::V5, &["a"], fresh(), ack);
    client.protocol.publish(&STATUS, &mut out).expect("26 bytes");
    assert_eq!(out.len(), 26);
}

/// Settings with a status message.
fn with_status(filters: &[&str]) -> Arc<Settings> {
    let mut settings = settings(filters);
    Arc::get_mut(&mut settings).expect("nobody else has it").mqtt.status = Some(StatusConfig {
        mqtt_topic: "bridge/status".to_owned(),
        online: "here".to_owned(),
        offline: "gone".to_owned(),
        retain: true,
        qos: Qos::AtLeastOnce,
    });
    settings
}

/// The will in CONNECT: MQTT topic, payload, QoS, retain.
fn will(version: Version, out: &mut BytesMut) -> Option<(String, Bytes, u8, bool)> {
    match version {
        Version::V311 => match v4::Packet::read(out, 1 << 20) {
            Ok(v4::Packet::Connect(c)) => {
                c.last_will.map(|w| (w.topic, w.message, w.qos as u8, w.retain))
            }
            other => panic!("{other:?}"),
        },
        Version::V5 => match v5::Packet::read(out, None) {
            Ok(v5::Packet::Connect(_, will, _)) => will.map(|w| {
                let mqtt_topic = String::from_utf8(w.topic.to_vec()).expect("UTF-8");
                (mqtt_topic, w.message, w.qos as u8, w.retain)
            }),
            other => panic!("{other:?}"),
        },
    }
}

impl Client {
    /// A connection with a status message in this session, CONNECT read and accepted like this.
    fn with_status(version: Version, filters: &[&str], session: Session, ack: ConnAck) -> Self {
        let mut client = Self::opened(version, with_status(filters), session);
        client.out.clear();
        client.take(Incoming::ConnAck(ack)).expect("accepted");
        client
    }

    /// Grants what is asked for now.
    fn grant(&mut self) {
        self.wait(Duration::ZERO, true).expect("alive");
        for packet_id in self.subscribes().into_values() {
            self.take(suback(packet_id, 1)).expect("granted");
        }
        self.wait(Duration::ZERO, true).expect("alive");
    }

    /// What was said of the status message.
    fn status_warnings(&self) -> Vec<&str> {
        self.events
            .iter()
            .filter_map(|event| match event {
                SessionEvent::StatusNotTaken { text } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn the_will_is_in_connect_and_the_birth_message_follows_the_last_suback() {
    for version in [Version::V311, Version::V5] {
        let session = with_status(&["a", "b"]).session(Vec::new(), false);
        let mut client = Client::opened(version, with_status(&["a", "b"]), session);
        let expected = ("bridge/status".to_owned(), Bytes::from("gone"), 1, true);
        assert_eq!(will(version, &mut client.out), Some(expected));
        client.out.clear();
        client.take(Incoming::ConnAck(accepted(false))).expect("accepted");
        client.wait(Duration::ZERO, true).expect("alive");
        let subscribes = client.subscribes();
        client.take(suback(subscribes["a"], 1)).expect("granted");
        client.wait(Duration::ZERO, true).expect("alive");
        assert!(client.out.is_empty(), "b has no answer yet");
        client.take(suback(subscribes["b"], 0x80)).expect("refused, and that is an answer too");
        client.wait(Duration::ZERO, true).expect("alive");
        let (packet_id, qos, retain, dup, mqtt_topic, payload) =
            read_publish(version, &mut client.out);
        assert_eq!((qos, retain, dup), (1, true, false));
        assert_eq!((mqtt_topic.as_str(), &payload[..]), ("bridge/status", &b"here"[..]));
        client.take(puback(version, packet_id, false)).expect("it is ours");
        assert!(client.status_warnings().is_empty(), "{:?}", client.events);
        client.out.clear();
        client.protocol.say_farewell(&client.session.status, &mut client.out);
        let (_, qos, retain, _, _, payload) = read_publish(version, &mut client.out);
        assert_eq!((qos, retain, &payload[..]), (1, true, &b"gone"[..]));
    }
}

#[test]
fn a_birth_message_without_puback_is_warned_of_once_and_repeated_with_dup_in_the_same_session() {
    for (session_present, dup) in [(true, true), (false, false)] {
        let session = with_status(&["a"]).session(Vec::new(), false);
        let mut client = Client::with_status(Version::V5, &["a"], session, accepted(false));
        client.grant();
        assert!(!read_publish(Version::V5, &mut client.out).3);
        client.wait(9 * SECOND, true).expect("alive");
        assert!(client.status_warnings().is_empty());
        client.wait(4 * SECOND, true).expect("forwarding goes on");
        assert_eq!(client.status_warnings().len(), 1, "{:?}", client.events);
        client.out.clear();
        client.protocol.say_farewell(&client.session.status, &mut client.out);
        let farewell = read_publish(Version::V5, &mut client.out);
        assert_eq!((farewell.1, &farewell.5[..]), (0, &b"gone"[..]), "the packet id is taken");

        let ack = accepted(session_present);
        let mut client = Client::with_status(Version::V5, &["a"], client.session, ack);
        client.grant();
        let (packet_id, .., again, _, _) = read_publish(Version::V5, &mut client.out);
        assert_eq!(again, dup);
        client.take(puback(Version::V5, packet_id, false)).expect("it is ours");
        let mut client = Client::with_status(Version::V5, &["a"], client.session, accepted(true));
        client.grant();
        assert!(!read_publish(Version::V5, &mut client.out).3, "it is acknowledged");
    }
}

#[test]
fn a_broker_that_takes_no_retained_messages_or_only_qos_0_gets_the_status_so() {
    let fresh = || with_status(&["a"]).session(Vec::new(), false);
    // As CONNACK's limits say, when there was no will to refuse.
    let limits = ServerLimits { no_retain: true, maximum_qos: Some(0), ..ServerLimits::default() };
    let ack = ConnAck { limits, ..accepted(false) };
    let mut client = Client::with_status(Version::V5, &["a"], fresh(), ack);
    client.grant();
    let (_, qos, retain, dup, _, payload) = read_publish(Version::V5, &mut client.out);
    assert_eq!((qos, retain, dup, &payload[..]), (0, false, false, &b"here"[..]));
    assert_eq!(client.status_warnings().len(), 2, "{:?}", client.events);
    // As it refuses a CONNECT with a will.
    let mut session = fresh();
    for (code, qos, retain) in [(0x9A, 1, false), (0x9B, 0, false)] {
        let mut client = Client::opened(Version::V5, with_status(&["a"]), session);
        let refused = ConnectRefused { code, text: String::new() };
        let ack = ConnAck { refused: Some(refused), ..ConnAck::default() };
        client.take(Incoming::ConnAck(ack)).expect_err("refused");
        assert_eq!(client.status_warnings().len(), 1, "{:?}", client.events);
        let mut next = Client::opened(Version::V5, with_status(&["a"]), client.session);
        let (_, _, will_qos, will_retain) = will(Version::V5, &mut next.out).expect("a will");
        assert_eq!((will_qos, will_retain), (qos, retain), "{code:#x}");
        session = next.session;
    }
}

#[test]
fn a_route_never_brings_back_our_own_status() {
    // MQTT 5: No Local. 3.1.1, and a shared subscription of either: no status then.
    for (version, filter, has_status) in [
        (Version::V5, "#", true),
        (Version::V5, "bridge/+", true),
        (Version::V5, "$share/g/#", false),
        (Version::V311, "#", false),
        (Version::V311, "$share/g/bridge/status", false),
        (Version::V311, "other/#", true),
    ] {
        let session = with_status(&[filter]).session(Vec::new(), false);
        let mut client = Client::opened(version, with_status(&[filter]), session);
        assert_eq!(will(version, &mut client.out).is_some(), has_status, "{version:?} {filter}");
        client.out.clear();
        client.take(Incoming::ConnAck(accepted(false))).expect("accepted");
        client.wait(Duration::ZERO, true).expect("alive");
        if version == Version::V5 {
            let options = client.out[client.out.len() - 1];
            assert_eq!(options & 4 == 4, has_status, "No Local, {filter}: {options:#x}");
        }
        client.grant();
        assert_eq!(!client.out.is_empty(), has_status, "{version:?} {filter}");
        client.out.clear();
        client.protocol.say_farewell(&client.session.status, &mut client.out);
        assert_eq!(!client.out.is_empty(), has_status, "{version:?} {filter}");
        let warnings = client.status_warnings();
        assert_eq!(warnings.is_empty(), has_status, "{warnings:?}");
        if let [warning] = warnings[..] {
            assert!(warning.starts_with(&format!("{filter} would forward")), "{warning}");
        }
    }
    // Only where it is needed: other clients' own messages are nobody's business.
    let session = with_status(&["a/#"]).session(Vec::new(), false);
    let mut client = Client::with_status(Version::V5, &["a/#"], session, accepted(false));
    client.wait(Duration::ZERO, true).expect("alive");
    assert_eq!(client.out[client.out.len() - 1] & 4, 0);
}
