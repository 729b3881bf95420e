use std::collections::BTreeMap;

use bytes::Bytes;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::*;
use crate::config::{MqttConfig, Resubscribe, Unmatched};
use crate::message::Qos;
use crate::mqtt::packet::ConnectRefused;
use crate::route::PayloadForm;

const SECOND: Duration = Duration::from_secs(1);

struct Client {
    session: Session,
    memory: Memory,
    out: BytesMut,
    notes: Vec<Note>,
    now: Instant,
}

fn settings(filters: &[&str]) -> Arc<Settings> {
    let route = |filter: &&str| {
        Arc::new(Route {
            index: 0,
            filter: filter.parse().expect("a legal filter"),
            qos: Qos::AtLeastOnce,
            kafka_topic: "k".to_owned(),
            payload: PayloadForm::Raw,
        })
    };
    Arc::new(Settings {
        mqtt: MqttConfig {
            host: "localhost".to_owned(),
            port: 1883,
            client_id: "bridge-1".to_owned(),
            protocol: Protocol::Auto,
            keep_alive: Duration::from_secs(30),
            session_expiry_s: 3600,
            max_payload_bytes: 1 << 20,
            resubscribe: Resubscribe::Always,
            unmatched: Unmatched::DeadLetter,
            silence_warning: None,
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(30),
        },
        routes: filters.iter().map(route).collect(),
        receive_maximum: 1000,
    })
}

impl Client {
    /// Opened, CONNECT on its way.
    fn open(version: Version, filters: &[&str], memory: Memory) -> Self {
        let now = Instant::now();
        let mut out = BytesMut::new();
        let session = Session::open(settings(filters), version, now, &mut out);
        Self { session, memory, out, notes: Vec::new(), now }
    }

    /// Accepted, with what the broker said.
    fn connected(version: Version, filters: &[&str], memory: Memory, ack: ConnAck) -> Self {
        let mut client = Self::open(version, filters, memory);
        client.out.clear();
        client.take(Incoming::ConnAck(ack)).expect("accepted");
        client
    }

    fn take(&mut self, incoming: Incoming) -> Result<Option<Publish>, Lost> {
        self.session.received(self.now);
        let Self { session, memory, out, notes, now } = self;
        session.on_packet(incoming, *now, memory, out, notes)
    }

    /// Lets the clock run to `now + pause`, doing what is due when it is due.
    fn wait(&mut self, pause: Duration, reading: bool) -> Result<(), Lost> {
        let end = self.now + pause;
        loop {
            let Self { session, out, notes, now, .. } = self;
            let unsent = out.len();
            session.on_time(*now, reading, out, notes)?;
            if self.out.len() > unsent {
                self.session.sent(self.now);
            }
            let next = self.session.deadline(reading);
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
            match self.session.version() {
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

/// A memory in which the one route was granted in a session that the broker keeps.
fn granted_before() -> Memory {
    Memory { granted: vec![true], ..Memory::default() }
}

#[test]
fn connect_asks_for_a_session_and_in_mqtt_5_for_the_window() {
    let mut client = Client::open(Version::V5, &["a"], Memory::default());
    let Ok(v5::Packet::Connect(connect, None, None)) = v5::Packet::read(&mut client.out, None)
    else {
        panic!("a CONNECT without will and login");
    };
    let properties = connect.properties.expect("properties");
    assert_eq!((connect.clean_start, connect.keep_alive), (false, 30));
    assert_eq!(properties.session_expiry_interval, Some(3600));
    assert_eq!(properties.receive_maximum, Some(1000));
    // Neither could be kept: a broker would drop what is larger without a word, and the codec
    // cannot read aliases (docs/architecture.md).
    assert_eq!((properties.max_packet_size, properties.topic_alias_max), (None, None));

    let mut client = Client::open(Version::V311, &["a"], Memory::default());
    let Ok(v4::Packet::Connect(connect)) = v4::Packet::read(&mut client.out, 1000) else {
        panic!("a CONNECT");
    };
    assert!(!connect.clean_session);
}

#[test]
fn mqtt_5_subscribes_on_every_connack_and_311_only_what_it_has_not_seen_granted() {
    for (version, session_present, memory, asks) in [
        (Version::V5, false, Memory::default(), true),
        (Version::V5, true, granted_before(), true),
        (Version::V311, false, Memory::default(), true),
        (Version::V311, true, Memory::default(), true),
        (Version::V311, true, granted_before(), false),
        (Version::V311, false, granted_before(), true),
    ] {
        let mut client = Client::connected(version, &["a"], memory, accepted(session_present));
        client.wait(Duration::ZERO, true).expect("alive");
        assert_eq!(client.subscribes().len(), usize::from(asks), "{version:?} {session_present}");
        assert_eq!(client.session.is_subscribed(), !asks);
    }
}

#[test]
fn mqtt_5_asks_for_retained_messages_again_only_without_a_session() {
    for session_present in [false, true] {
        let ack = accepted(session_present);
        let mut client = Client::connected(Version::V5, &["a"], Memory::default(), ack);
        client.wait(Duration::ZERO, true).expect("alive");
        let Ok(v5::Packet::Subscribe(subscribe)) = v5::Packet::read(&mut client.out, None) else {
            panic!("a SUBSCRIBE");
        };
        let only_if_new = v5::RetainForwardRule::OnNewSubscribe;
        let rule = &subscribe.filters[0].retain_forward_rule;
        assert_eq!(*rule == only_if_new, session_present);
    }
}

#[test]
fn a_lost_subscribe_is_sent_again() {
    let mut client = Client::connected(Version::V5, &["a"], Memory::default(), accepted(false));
    client.wait(Duration::ZERO, true).expect("alive");
    let first = client.subscribes()["a"];
    client.wait(9 * SECOND, true).expect("alive");
    assert!(client.subscribes().is_empty());
    client.wait(SECOND, true).expect("alive");
    let second = client.subscribes()["a"];
    assert_ne!(first, second);
    assert!(client.notes.contains(&Note::SubackMissing { route: 0 }));
    client.take(suback(first.max(second) + 1, 1)).expect("to nobody, and ignored");
    assert!(!client.session.is_subscribed());
    client.take(suback(first, 1)).expect("late, and as good");
    assert!(client.session.is_subscribed());
    client.take(suback(second, 1)).expect("once more");
    assert!(client.session.is_subscribed());
}

#[test]
fn a_refused_or_downgraded_subscription_is_asked_for_again_with_growing_pauses() {
    for granted in [0x87, 0x80, 0xA4, 0] {
        let mut client = Client::connected(Version::V5, &["a"], Memory::default(), accepted(false));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            client.wait(Duration::ZERO, true).expect("alive");
            let id = client.subscribes()["a"];
            client.take(suback(id, granted)).expect("not the end");
            assert!(!client.session.is_subscribed());
            let SubscriptionState::Due(at) = client.session.subscriptions[0].state else {
                panic!("asked for again");
            };
            pauses.push((at - client.now).as_secs());
            client.now = at;
            client.take(Incoming::PingResp).expect("alive");
            client.session.sent(at);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60], "{granted}");
        let told = client.notes.iter().filter(|note| {
            matches!(note, Note::Downgraded { .. } | Note::SubscriptionRefused { .. })
        });
        assert_eq!(told.count(), 8, "loud");
    }
}

#[test]
fn subscriptions_that_connack_rules_out_are_not_asked_for() {
    let limits = ServerLimits {
        no_wildcards: true,
        no_shared: true,
        maximum_packet_bytes: Some(40),
        ..ServerLimits::default()
    };
    let ack = ConnAck { limits, ..ConnAck::default() };
    let long = "a".repeat(30);
    let filters = ["a/#", "$share/g/a", &long, "a"];
    let mut client = Client::connected(Version::V5, &filters, Memory::default(), ack);
    client.wait(Duration::ZERO, true).expect("alive");
    assert_eq!(client.subscribes().into_keys().collect::<Vec<_>>(), ["a"]);
    let refused =
        client.notes.iter().filter(|note| matches!(note, Note::SubscriptionRefused { .. }));
    assert_eq!(refused.count(), 3);
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
    assert_eq!((lost.reason, lost.say), ("keep_alive", Some(0x8D)));
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
        client.session.sent(client.now);
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
            client.session.received(client.now);
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
    let client = Client::connected(Version::V5, &["a"], Memory::default(), ack);
    let note = Note::SessionExpiryShortened { asked_s: 3600, granted_s: 60 };
    assert!(client.notes.contains(&note));
}

#[test]
fn no_connack_in_time_is_the_end() {
    let mut client = Client::open(Version::V5, &["a"], Memory::default());
    client.wait(9 * SECOND, true).expect("patient");
    assert_eq!(client.wait(SECOND, true).expect_err("no more").reason, "connack_timeout");
}

#[test]
fn auto_speaks_311_to_a_broker_that_refuses_5_and_stays_with_it() {
    let mut client = Client::open(Version::V5, &["a"], Memory::default());
    let refused = ConnectRefused { unsupported_version: true, text: String::new() };
    let ack = ConnAck { refused: Some(refused), ..ConnAck::default() };
    assert_eq!(
        client.take(Incoming::ConnAck(ack)).expect_err("refused").reason,
        "protocol_refused"
    );
    assert_eq!(client.memory.version(Protocol::Auto), Version::V311);
    let client = Client::connected(Version::V311, &["a"], client.memory, accepted(false));
    assert_eq!(client.memory.version(Protocol::Auto), Version::V311);
    assert_eq!(client.memory.version(Protocol::V5), Version::V5);
}

#[test]
fn auto_tries_311_once_after_a_wordless_end_and_then_5_again() {
    let mut memory = Memory::default();
    memory.not_accepted(Version::V5, false);
    assert_eq!(memory.version(Protocol::Auto), Version::V311);
    memory.not_accepted(Version::V311, false);
    assert_eq!(memory.version(Protocol::Auto), Version::V5);
    memory.not_accepted(Version::V5, false);
    memory.accepted(Version::V311);
    assert_eq!(memory.version(Protocol::Auto), Version::V5);
    memory.accepted(Version::V5);
    memory.not_accepted(Version::V5, false);
    assert_eq!(memory.version(Protocol::Auto), Version::V5, "5 is proven");
}

#[test]
fn a_taken_over_session_asks_for_the_longest_pause() {
    let mut client = Client::connected(Version::V5, &["a"], Memory::default(), accepted(false));
    let taken = Incoming::Disconnect { code: 0x8E, text: "SessionTakenOver".to_owned() };
    let lost = client.take(taken).expect_err("the end");
    assert!(lost.taken_over);
    assert_eq!(lost.reason, "session_taken_over");
}

#[test]
fn what_a_broker_must_not_send_is_the_end() {
    let mut early = Client::open(Version::V5, &["a"], Memory::default());
    assert_eq!(early.take(Incoming::PingResp).expect_err("early").say, Some(0x82));
    let mut twice = Client::connected(Version::V5, &["a"], Memory::default(), accepted(false));
    let second = twice.take(Incoming::ConnAck(accepted(false)));
    assert_eq!(second.expect_err("twice").say, Some(0x82));
}

#[test]
fn the_second_half_of_a_qos_2_delivery_is_answered() {
    let mut client = Client::connected(Version::V5, &["a"], Memory::default(), accepted(true));
    client.out.clear();
    client.take(Incoming::PubRel(7)).expect("answered");
    assert_eq!(Bytes::from(client.out), Bytes::from_static(&[0x70, 2, 0, 7]));
}
