use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

use super::*;
use crate::message::{RouteId, Seq};
use crate::mqtt::copies::Copies;
use crate::mqtt::publish::{Publish, SubscriptionIds};

const SECOND: Duration = Duration::from_secs(1);

fn routes(filters: &[(&str, u8)]) -> Vec<Arc<Route>> {
    let route = |(index, (filter, qos)): (usize, &(&str, u8))| {
        let qos = if *qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        let filter = filter.parse().expect("a legal filter");
        Arc::new(Route { qos, ..Route::new(RouteId(index), filter, "k") })
    };
    filters.iter().enumerate().map(route).collect()
}

fn policy() -> Policy {
    Policy { resubscribe: Resubscribe::Always, answer_within: 10 * SECOND, is_recorded: false }
}

fn held(filter: &str, id: Option<u32>) -> Held {
    Held { filter: filter.parse().expect("legal"), qos: Qos::AtLeastOnce, id }
}

/// One request that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Request {
    Subscribe { filter: String, packet_id: u16, id: Option<usize>, only_if_new: bool },
    Unsubscribe { filter: String, packet_id: u16 },
}

struct Client {
    subscriptions: Subscriptions,
    version: Version,
    events: Vec<SessionEvent>,
    now: Instant,
}

impl Subscriptions {
    /// Whether something is to be unsubscribed, now or soon.
    fn is_leave_due(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry.state, State::LeaveDue(_)))
    }
}

impl Client {
    fn new(filters: &[(&str, u8)], remembered: &[Held]) -> Self {
        Self::with(policy(), filters, remembered)
    }

    fn with(policy: Policy, filters: &[(&str, u8)], remembered: &[Held]) -> Self {
        let subscriptions = Subscriptions::new(&routes(filters), remembered.to_vec(), policy);
        Self { subscriptions, version: Version::V5, events: Vec::new(), now: Instant::now() }
    }

    fn connect(&mut self, version: Version, session_present: bool) {
        self.connect_to(version, session_present, &ServerLimits::default());
    }

    fn connect_to(&mut self, version: Version, session_present: bool, limits: &ServerLimits) {
        self.version = version;
        let Self { subscriptions, events, now, .. } = self;
        subscriptions.connected(version, limits, session_present, *now, events);
    }

    /// What is written now.
    fn requests(&mut self) -> Vec<Request> {
        let mut out = BytesMut::new();
        self.subscriptions.on_time(self.now, true, &mut out, &mut self.events);
        requests(self.version, &mut out)
    }

    /// What is subscribed now, and nothing else: packet id by filter.
    fn subscribes(&mut self) -> BTreeMap<String, u16> {
        let requests = self.requests().into_iter().map(|request| match request {
            Request::Subscribe { filter, packet_id, .. } => (filter, packet_id),
            other => panic!("{other:?}"),
        });
        requests.collect()
    }

    fn suback(&mut self, packet_id: u16, code: u8) {
        let Self { subscriptions, events, now, .. } = self;
        subscriptions.on_suback(packet_id, code, reason::text(code), *now, events);
    }

    fn unsuback(&mut self, packet_id: u16, code: u8) {
        let Self { subscriptions, events, now, .. } = self;
        subscriptions.on_unsuback(packet_id, code, reason::text(code), *now, events);
    }

    /// Lets a broker that grants everything answer until nothing is due at once; what was asked.
    fn settle(&mut self) -> Vec<Request> {
        let mut all = Vec::new();
        loop {
            let requests = self.requests();
            if requests.is_empty() {
                return all;
            }
            for request in &requests {
                match request {
                    Request::Subscribe { packet_id, .. } => self.suback(*packet_id, 1),
                    Request::Unsubscribe { packet_id, .. } => self.unsuback(*packet_id, 0),
                }
            }
            all.extend(requests);
        }
    }

    /// The same, and lets time pass until what goes is gone. What is only given an identifier on its way is left
    /// out.
    fn settle_for_good(&mut self) -> Vec<Request> {
        let mut all = Vec::new();
        for _ in 0..4 {
            all.extend(self.settle());
            self.now += BESIDE_FOR;
        }
        let unsubscribes = all.clone();
        let goes = |wanted: &str| {
            unsubscribes.iter().any(|request| {
                matches!(request, Request::Unsubscribe { filter, .. } if filter == wanted)
            })
        };
        all.retain(|request| !matches!(request, Request::Subscribe { filter, .. } if goes(filter)));
        all
    }

    /// The filters that may be subscribed in the session.
    fn held(&self) -> Vec<&str> {
        self.subscriptions.record.iter().map(|held| held.filter.as_str()).collect()
    }
}

fn requests(version: Version, out: &mut BytesMut) -> Vec<Request> {
    let mut found = Vec::new();
    while !out.is_empty() {
        found.push(match version {
            Version::V311 => match v4::Packet::read(out, 1 << 20) {
                Ok(v4::Packet::Subscribe(packet)) => Request::Subscribe {
                    filter: packet.filters[0].path.clone(),
                    packet_id: packet.pkid,
                    id: None,
                    only_if_new: false,
                },
                Ok(v4::Packet::Unsubscribe(packet)) => Request::Unsubscribe {
                    filter: packet.topics[0].clone(),
                    packet_id: packet.pkid,
                },
                other => panic!("{other:?}"),
            },
            Version::V5 => match v5::Packet::read(out, None) {
                Ok(v5::Packet::Subscribe(packet)) => Request::Subscribe {
                    filter: packet.filters[0].path.clone(),
                    packet_id: packet.pkid,
                    id: packet.properties.and_then(|properties| properties.id),
                    only_if_new: packet.filters[0].retain_forward_rule
                        == v5::RetainForwardRule::OnNewSubscribe,
                },
                Ok(v5::Packet::Unsubscribe(packet)) => Request::Unsubscribe {
                    filter: packet.filters[0].clone(),
                    packet_id: packet.pkid,
                },
                other => panic!("{other:?}"),
            },
        });
    }
    found
}

fn filters(requests: &[Request]) -> Vec<String> {
    let text = |request: &Request| match request {
        Request::Subscribe { filter, .. } => filter.clone(),
        Request::Unsubscribe { filter, .. } => format!("not {filter}"),
    };
    requests.iter().map(text).collect()
}

#[test]
fn what_another_filter_covers_is_not_subscribed() {
    for (wanted, subscribed) in [
        (&[("t/a", 1), ("t/#", 1)][..], &["t/#"][..]),
        (&[("t/a", 0), ("t/#", 1)], &["t/#"]),
        (&[("t/a", 1), ("t/#", 0)], &["t/a", "t/#"]),
        (&[("t/+", 1), ("+/a", 1)], &["t/+", "+/a"]),
        (&[("#", 1), ("$SYS/a", 1)], &["#", "$SYS/a"]),
        (&[("#", 1), ("t/#", 1), ("t/a", 1)], &["#"]),
    ] {
        let mut client = Client::new(wanted, &[]);
        client.connect(Version::V311, false);
        assert_eq!(filters(&client.settle()), subscribed);
        assert!(client.subscriptions.is_in_force());
        assert_eq!(client.held(), subscribed);
    }
}

#[test]
fn what_a_refused_filter_covers_is_subscribed_until_it_is_granted() {
    let mut client = Client::new(&[("t/a", 1), ("t/+", 1), ("#", 1)], &[]);
    client.connect(Version::V5, false);
    let id = client.subscribes()["#"];
    client.suback(id, 0x87);
    assert_eq!(filters(&client.settle()), ["t/+"]);
    assert!(client.events.contains(&SessionEvent::Uncovered { route: RouteId(1) }));
    assert_eq!(client.held(), ["t/+", "#"]);
    client.now += SECOND;
    assert_eq!(filters(&client.settle_for_good()), ["#", "not t/+"]);
    assert_eq!(client.held(), ["#"]);
    assert!(client.subscriptions.is_in_force());
}

#[test]
fn what_a_filter_without_an_answer_covers_is_subscribed_until_it_has_one() {
    let mut client = Client::new(&[("t/a", 1), ("t/#", 1)], &[]);
    client.connect(Version::V5, false);
    let first = client.subscribes()["t/#"];
    client.now += 10 * SECOND;
    assert_eq!(filters(&client.requests()), ["t/#"]);
    let second = client.subscribes()["t/a"];
    client.suback(second, 1);
    assert!(!client.subscriptions.is_in_force());
    client.suback(first, 1);
    assert_eq!(filters(&client.settle_for_good()), ["not t/a"]);
    assert!(client.subscriptions.is_in_force());
}

#[test]
fn what_cannot_be_written_down_in_time_is_subscribed_and_written_down_later() {
    let mut client = Client::with(Policy { is_recorded: true, ..policy() }, &[("t", 1)], &[]);
    client.connect(Version::V5, false);
    assert_eq!(client.requests(), []);
    assert!(client.subscriptions.excuse());
    assert!(!client.subscriptions.excuse(), "nothing waits any more");
    assert_eq!(filters(&client.requests()), ["t"]);
    let (number, held) = client.subscriptions.to_record().expect("to be written");
    assert_eq!(held.len(), 1);
    client.subscriptions.recorded(number);
    assert_eq!(client.subscriptions.to_record(), None);
}

#[test]
fn what_connack_rules_out_is_not_asked_for_and_covers_nothing() {
    let limits = ServerLimits {
        no_wildcards: true,
        no_shared: true,
        maximum_packet_bytes: Some(40),
        ..ServerLimits::default()
    };
    let long = "b".repeat(30);
    let wanted = [("a/#", 1), ("$share/g/c", 1), (&*long, 1), ("a/b", 1), ("d", 1)];
    let mut client = Client::new(&wanted, &[]);
    client.connect_to(Version::V5, false, &limits);
    assert_eq!(filters(&client.settle()), ["d", "a/b"]);
    let refused = client
        .events
        .iter()
        .filter(|note| matches!(note, SessionEvent::SubscriptionRefused { .. }));
    assert_eq!(refused.count(), 3);
}

#[test]
fn only_filters_that_overlap_have_identifiers_and_they_are_stable() {
    let wanted = [("a/+", 1), ("b", 1), ("+/c", 1), ("+/d", 0)];
    let mut client = Client::new(&wanted, &[]);
    client.connect(Version::V5, false);
    let ids = |requests: &[Request]| {
        let id = |request: &Request| match request {
            Request::Subscribe { id, .. } => *id,
            Request::Unsubscribe { .. } => None,
        };
        requests.iter().map(id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&client.settle()), [Some(1), None, Some(2), Some(3)]);
    assert!(client.subscriptions.may_copy());
    let remembered = client.subscriptions.record.clone();

    // The next run has other routes before them.
    let wanted = [("+/d", 0), ("a/#", 0), ("+/c", 1), ("b", 1)];
    let mut client = Client::new(&wanted, &remembered);
    client.connect(Version::V5, true);
    assert_eq!(ids(&client.requests()), [Some(3), Some(4), Some(2), None]);

    // Where the broker takes none, there is none.
    let limits = ServerLimits { no_subscription_ids: true, ..ServerLimits::default() };
    client.connect_to(Version::V5, true, &limits);
    assert_eq!(ids(&client.requests()), [None; 4]);
    assert!(!client.subscriptions.may_copy());
    client.connect(Version::V311, true);
    assert!(!client.subscriptions.may_copy());
}

#[test]
fn where_nothing_that_is_subscribed_overlaps_nothing_is_looked_for() {
    for wanted in [
        &[("a/#", 1), ("b/#", 1)][..],
        &[("a/#", 1), ("a/b", 1), ("c/#", 1), ("c/d", 1)],
        // What overlaps in one group comes for one filter here, and for the other elsewhere.
        &[("$share/g/a/+", 1), ("$share/g/+/b", 1)],
        &[("$queue/a/+", 1), ("$queue/+/b", 1)],
    ] {
        let mut client = Client::new(wanted, &[]);
        client.connect(Version::V5, false);
        client.settle();
        assert!(!client.subscriptions.may_copy(), "{wanted:?}");
    }
}

#[test]
fn what_is_remembered_and_not_wanted_is_unsubscribed_once_its_heirs_are_in_force() {
    for version in [Version::V311, Version::V5] {
        for (wanted, remembered, asked) in [
            // Removed.
            (&[("b", 1)][..], "a", &["b", "not a"][..]),
            // From plain to shared and back.
            (&[("$share/g/t/#", 1)], "t/#", &["$share/g/t/#", "not t/#"]),
            (&[("t/#", 1)], "$share/g/t/#", &["t/#", "not $share/g/t/#"]),
            // Covered now.
            (&[("t/a", 1), ("t/#", 1)], "t/a", &["t/#", "not t/a"]),
        ] {
            let mut client = Client::new(wanted, &[held(remembered, None)]);
            client.connect(version, true);
            let requests = client.requests();
            let heir_overlaps = asked[0] != "b";
            let goes = |it: &Request| matches!(it, Request::Unsubscribe { .. });
            assert_eq!(requests.iter().any(goes), !heir_overlaps, "not before its heir");
            for request in requests {
                match request {
                    Request::Subscribe { packet_id, .. } => client.suback(packet_id, 1),
                    Request::Unsubscribe { packet_id, .. } => client.unsuback(packet_id, 0x11),
                }
            }
            if heir_overlaps {
                assert!(client.held().contains(&remembered));
                assert_eq!(filters(&client.settle_for_good()), asked[1..]);
            }
            assert!(!client.held().contains(&remembered));
            let told = SessionEvent::Unsubscribed { mqtt_filter: remembered.to_owned() };
            assert!(client.events.contains(&told));

            let mut client = Client::new(wanted, &[held(remembered, None)]);
            client.connect(version, false);
            assert_eq!(filters(&client.settle()), asked[..1], "a new session has none");
        }
    }
}

#[test]
fn an_unsubscribe_without_answer_or_with_a_refusal_is_sent_again() {
    let mut client = Client::new(&[("b", 1)], &[held("a", None)]);
    client.connect(Version::V5, true);
    assert_eq!(client.requests().len(), 2);
    client.now += 10 * SECOND;
    let requests = client.requests();
    assert_eq!(filters(&requests), ["b", "not a"]);
    let Request::Unsubscribe { packet_id, .. } = requests[1] else { panic!("{requests:?}") };
    client.unsuback(packet_id, 0x87);
    assert_eq!(client.requests(), []);
    assert!(client.held().contains(&"a"));
    client.now += SECOND;
    assert_eq!(filters(&client.requests()), ["not a"]);
}

#[test]
fn nothing_is_subscribed_before_it_is_written_down() {
    let policy = Policy { is_recorded: true, ..policy() };
    let mut client = Client::with(policy, &[("a", 1), ("b", 1)], &[held("a", None)]);
    client.connect(Version::V5, true);
    assert_eq!(filters(&client.settle()), ["a"], "that is there already");
    let (number, record) = client.subscriptions.to_record().expect("b is to be written down");
    assert_eq!(record, [held("a", None), held("b", None)]);
    assert_eq!(client.subscriptions.deadline(), None, "nothing to do before that");
    client.subscriptions.recorded(number);
    assert_eq!(client.subscriptions.to_record(), None);
    assert_eq!(filters(&client.settle()), ["b"]);
}

#[test]
fn mqtt_5_subscribes_on_every_connack_and_replays_nothing() {
    let mut client = Client::new(&[("a", 1)], &[]);
    for session_present in [false, true, true] {
        client.connect(Version::V5, session_present);
        let requests = client.settle();
        assert!(
            matches!(&requests[..], [Request::Subscribe { only_if_new: true, .. }]),
            "{requests:?}"
        );
    }
}

#[test]
fn mqtt_311_subscribes_on_every_connack_but_once_a_minute() {
    let mut client = Client::new(&[("a", 1)], &[]);
    client.connect(Version::V311, false);
    assert_eq!(client.settle().len(), 1);
    client.connect(Version::V311, true);
    assert_eq!(client.settle().len(), 1, "the broker may have lost it");
    for _ in 0..3 {
        client.now += 10 * SECOND;
        client.connect(Version::V311, true);
        assert_eq!(client.settle(), [], "just now");
        assert!(client.subscriptions.is_in_force());
        assert_eq!(
            client.events.last(),
            Some(&SessionEvent::StillSubscribed { route: RouteId(0) })
        );
    }
    assert_eq!(client.subscriptions.deadline(), Some(client.now + 30 * SECOND));
    client.now += 30 * SECOND;
    assert_eq!(client.settle().len(), 1, "made up for on the same connection");
    assert_eq!(client.subscriptions.deadline(), None);
    client.connect(Version::V311, true);
    assert_eq!(client.settle(), []);
    client.connect(Version::V311, false);
    assert_eq!(client.settle().len(), 1, "a new session has none");
    client.subscriptions.doubt();
    client.connect(Version::V311, true);
    assert_eq!(client.settle().len(), 1, "a session that may be new");
}

#[test]
fn with_new_session_mqtt_311_asks_only_for_what_it_has_not_seen_granted() {
    let policy = Policy { resubscribe: Resubscribe::NewSession, ..policy() };
    let mut client = Client::with(policy, &[("a", 1)], &[held("a", None)]);
    for (session_present, asks) in [(true, 1), (true, 0), (false, 1), (true, 0)] {
        client.now += 100 * SECOND;
        client.connect(Version::V311, session_present);
        assert_eq!(client.settle().len(), asks);
    }
}

#[test]
fn a_lost_subscribe_is_sent_again() {
    let mut client = Client::new(&[("a", 1)], &[]);
    client.connect(Version::V5, false);
    let first = client.subscribes()["a"];
    client.now += 9 * SECOND;
    assert!(client.subscribes().is_empty());
    client.now += SECOND;
    let second = client.subscribes()["a"];
    assert_ne!(first, second);
    assert!(client.events.contains(&SessionEvent::SubackMissing { route: RouteId(0) }));
    client.suback(first.max(second) + 1, 1);
    assert!(!client.subscriptions.is_in_force(), "to nobody, and ignored");
    client.suback(first, 1);
    assert!(client.subscriptions.is_in_force(), "late, and as good");
    client.suback(second, 1);
    assert!(client.subscriptions.is_in_force());
}

#[test]
fn a_refused_or_downgraded_subscription_is_asked_for_again_with_growing_pauses() {
    for code in [0x87, 0x80, 0xA4, 0] {
        let mut client = Client::new(&[("a", 1)], &[]);
        client.connect(Version::V5, false);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let id = client.subscribes()["a"];
            client.suback(id, code);
            assert!(!client.subscriptions.is_in_force());
            let at = client.subscriptions.deadline().expect("asked for again");
            pauses.push((at - client.now).as_secs());
            client.now = at;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60], "{code}");
        let told = client.events.iter().filter(|note| {
            matches!(
                note,
                SessionEvent::Downgraded { .. } | SessionEvent::SubscriptionRefused { .. }
            )
        });
        assert_eq!(told.count(), 8, "loud");
    }
}

#[test]
fn a_lower_qos_is_asked_for_again_once_a_connection_in_311_and_never_where_there_is_no_other() {
    let mut client = Client::new(&[("a", 1)], &[]);
    for _ in 0..2 {
        client.connect(Version::V311, true);
        for last in [false, true] {
            let id = client.subscribes()["a"];
            client.suback(id, 0);
            let retry_in = (!last).then_some(SECOND);
            assert_eq!(
                client.events.pop(),
                Some(SessionEvent::Downgraded { route: RouteId(0), qos: 0, retry_in })
            );
            client.now += SECOND;
        }
        assert_eq!(client.subscriptions.deadline(), None);
    }
    // Each of those SUBSCRIBEs would have replayed all retained messages.
    let limits = ServerLimits { maximum_qos: Some(0), ..ServerLimits::default() };
    let mut client = Client::new(&[("t/a", 1), ("t/#", 1)], &[]);
    client.connect_to(Version::V5, false, &limits);
    let id = client.subscribes()["t/#"];
    client.suback(id, 0);
    let told = SessionEvent::Downgraded { route: RouteId(1), qos: 0, retry_in: None };
    assert_eq!(client.events.last(), Some(&told));
    assert_eq!(client.subscriptions.deadline(), None);
    assert!(client.subscriptions.is_in_force());
}

/// A broker's session, as far as it matters here.
#[derive(Debug, Default)]
struct ConnectionProtocol {
    subscribed: BTreeSet<String>,
}

impl ConnectionProtocol {
    fn brings(&self, mqtt_topic: &str) -> bool {
        self.subscribed
            .iter()
            .any(|filter| filter.parse::<Filter>().is_ok_and(|filter| filter.matches(mqtt_topic)))
    }
}

/// Any of the filters; a plain and a shared one over the same MQTT topics are never configured.
fn wanted() -> impl Strategy<Value = Vec<(&'static str, u8)>> {
    const FILTERS: [&str; 8] =
        ["#", "t/#", "t/a", "t/+", "+/a", "u/a", "$share/g/t/#", "$share/g/t/a"];
    prop::collection::vec((prop::sample::select(&FILTERS[..]), 0..2_u8), 1..5).prop_map(|all| {
        let mut chosen: Vec<(&str, u8)> = Vec::new();
        for (filter, qos) in all {
            let this: Filter = filter.parse().expect("legal");
            let agrees = |(other, _): &(&str, u8)| {
                *other != filter && this.agrees_with(&other.parse().expect("legal"))
            };
            if chosen.iter().all(agrees) {
                chosen.push((filter, qos));
            }
        }
        chosen
    })
}

proptest! {
    /// However the configuration changes from one run to the next, and wherever a run ends: the state
    /// file knows all that the broker has, nothing that both configurations want is missing for a
    /// moment, and in the end the broker has what is wanted and no more.
    #[test]
    fn from_one_configuration_to_the_next_nothing_is_missing_and_nothing_stays(
        runs in prop::collection::vec((wanted(), 0..12_usize, any::<bool>()), 1..5),
    ) {
        const WORLD: [&str; 6] = ["t", "t/a", "t/b", "u/a", "u", "t/a/b"];
        let mut session = ConnectionProtocol::default();
        let mut file: Vec<Held> = Vec::new();
        let last = runs.len() - 1;
        for (run, (wanted, steps, version)) in runs.into_iter().enumerate() {
            let version = if version { Version::V5 } else { Version::V311 };
            let policy = Policy { is_recorded: true, ..policy() };
            let mut client = Client::with(policy, &wanted, &file);
            let routes: Vec<Filter> =
                wanted.iter().map(|(filter, _)| filter.parse().expect("legal")).collect();
            let both: Vec<_> = WORLD
                .into_iter()
                .filter(|name| routes.iter().any(|route| route.matches(name)))
                .filter(|name| session.brings(name))
                .collect();
            client.connect(version, true);
            let steps = if run == last { usize::MAX } else { steps };
            let mut queue: Vec<Request> = Vec::new();
            for _ in 0..steps {
                if let Some((number, record)) = client.subscriptions.to_record() {
                    file = record.to_vec();
                    client.subscriptions.recorded(number);
                } else if queue.is_empty() {
                    queue = client.requests();
                    if queue.is_empty() && !client.subscriptions.is_leave_due() {
                        break;
                    }
                    client.now += BESIDE_FOR;
                } else {
                    match queue.remove(0) {
                        Request::Subscribe { filter, packet_id, .. } => {
                            session.subscribed.insert(filter);
                            client.suback(packet_id, 1);
                        }
                        Request::Unsubscribe { filter, packet_id } => {
                            session.subscribed.remove(&filter);
                            client.unsuback(packet_id, 0);
                        }
                    }
                }
                let known: BTreeSet<_> =
                    file.iter().map(|held| held.filter.to_string()).collect();
                prop_assert!(known.is_superset(&session.subscribed), "{file:?} {session:?}");
                for name in &both {
                    prop_assert!(session.brings(name), "{name} is missing: {session:?}");
                }
            }
            if run == last {
                let active = |route: &usize| client.subscriptions.is_active(*route);
                let expected: BTreeSet<_> = (0..routes.len())
                    .filter(active)
                    .map(|route| routes[route].to_string())
                    .collect();
                prop_assert_eq!(&session.subscribed, &expected);
                prop_assert!(client.subscriptions.is_in_force());
            }
        }
    }
}

impl Client {
    fn reroute(&mut self, filters: &[(&str, u8)]) {
        let Self { subscriptions, events, now, .. } = self;
        subscriptions.reroute(&routes(filters), *now, events);
    }

    /// The requests by their filters: `+a` is subscribed, `-a` unsubscribed.
    fn asked(&mut self) -> Vec<(String, u16)> {
        let named = |request| match request {
            Request::Subscribe { filter, packet_id, .. } => (format!("+{filter}"), packet_id),
            Request::Unsubscribe { filter, packet_id } => (format!("-{filter}"), packet_id),
        };
        self.requests().into_iter().map(named).collect()
    }
}

fn names(asked: &[(String, u16)]) -> Vec<&str> {
    asked.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn other_routes_ask_only_for_the_difference() {
    for version in [Version::V311, Version::V5] {
        let mut client = Client::new(&[("a", 1), ("b", 1)], &[]);
        client.connect(version, false);
        client.settle();
        client.reroute(&[("c", 1), ("a", 1)]);
        let asked = client.asked();
        assert_eq!(names(&asked), ["+c", "-b"], "{version:?}");
        assert_eq!(client.held(), ["c", "a", "b"], "until the answers");
        client.suback(asked[0].1, 1);
        client.unsuback(asked[1].1, 0);
        assert_eq!(client.held(), ["c", "a"]);
        assert!(client.subscriptions.is_in_force());
        client.reroute(&[("c", 1), ("a", 1)]);
        assert_eq!(client.requests(), []);
    }
}

#[test]
fn another_qos_is_asked_for_again_and_the_answer_for_the_old_one_says_nothing() {
    let mut client = Client::new(&[("a", 0), ("b", 1)], &[]);
    client.connect(Version::V5, false);
    let old = client.subscribes();
    client.reroute(&[("a", 1), ("b", 1)]);
    let new = client.subscribes();
    assert_eq!(new.keys().collect::<Vec<_>>(), ["a"]);
    client.suback(old["a"], 0);
    client.suback(old["b"], 1);
    assert!(!client.subscriptions.is_answered());
    client.suback(new["a"], 1);
    assert!(client.subscriptions.is_in_force());
}

#[test]
fn one_that_overlaps_a_new_one_is_given_an_identifier_first_where_there_are_any() {
    // The new one stands first.
    let overlapping = [("+/b", 1), ("a/#", 0)];
    let mut client = Client::new(&overlapping[1..], &[]);
    client.connect(Version::V5, false);
    client.settle();
    client.reroute(&overlapping);
    let mut ids = Vec::new();
    for request in client.requests() {
        let Request::Subscribe { filter, packet_id, id, only_if_new: true } = request else {
            panic!("{request:?}");
        };
        ids.push((filter, id));
        client.suback(packet_id, 1);
    }
    assert_eq!(ids, [("a/#".to_owned(), Some(2)), ("+/b".to_owned(), Some(1))]);
    // It keeps it, rather than being subscribed once more.
    client.reroute(&overlapping[1..]);
    assert_eq!(names(&client.asked()), ["-+/b"]);

    let mut client = Client::new(&overlapping[1..], &[]);
    client.connect(Version::V311, false);
    client.settle();
    client.reroute(&overlapping);
    assert_eq!(names(&client.asked()), ["++/b"]);
}

#[test]
fn a_subscription_with_a_new_identifier_begins_once() {
    let mut client = Client::new(&[("a/#", 1), ("+/c", 1)], &[]);
    client.connect(Version::V5, false);
    client.settle();
    assert!(client.subscriptions.take_begun().is_empty(), "copies are told apart from the start");
    client.reroute(&[("a/#", 1), ("+/c", 1), ("+/b", 1)]);
    let asked = client.subscribes();
    assert!(client.subscriptions.take_begun().is_empty());
    client.suback(asked["+/b"], 1);
    assert_eq!(client.subscriptions.take_begun(), [3]);
    client.connect(Version::V5, true);
    client.settle();
    assert!(client.subscriptions.take_begun().is_empty());
    assert!(!client.subscriptions.take_lost_count());
}

#[test]
fn over_mqtt_5_a_filter_that_another_replaces_is_told_from_it_until_it_is_gone() {
    let mut client = Client::new(&[("a/#", 1)], &[]);
    client.connect(Version::V5, false);
    client.settle();
    assert!(!client.subscriptions.may_copy());
    client.reroute(&[("a/+", 1)]);
    let mut asked = Vec::new();
    for at in 0..3 {
        client.now += BESIDE_FOR;
        let requests = client.settle();
        asked.extend(requests.into_iter().map(|request| match request {
            Request::Subscribe { filter, id, .. } => format!("{at}: +{filter} {id:?}"),
            Request::Unsubscribe { filter, .. } => format!("{at}: -{filter}"),
        }));
    }
    let expected = ["0: +a/# Some(2)", "0: +a/+ Some(1)", "0: +a/# Some(3)", "1: -a/#"];
    assert_eq!(asked, expected);
    // What the broker has queued of it is known by its identifiers for a minute.
    assert!(
        client.subscriptions.partners_of_gone(2) == Some(&[1]) && client.subscriptions.may_copy()
    );
    let standing = |key, is_certain| Standing { key, is_certain };
    let [first, second] = [standing(2, false), standing(2, true)];
    assert_eq!(client.subscriptions.standings(&[2, 3], b"a/b"), Some(vec![first, second]));
    client.now += TOLD_FOR;
    assert_eq!(client.settle(), []);
    assert!(!client.subscriptions.may_copy());
    assert_eq!(client.subscriptions.standings(&[2], b"a/b"), None);
    assert_eq!(client.subscriptions.deadline(), None);
}

#[test]
fn what_is_asked_of_sparkplug_nodes_does_not_come_back() {
    let no_local = |client: &Client| -> Vec<bool> {
        client.subscriptions.entries.iter().map(|entry| entry.no_local).collect()
    };
    let filters = [("spBv1.0/#", 1), ("other/#", 1), ("spBv1.0/g/DDATA/+/+", 0)];
    let asking = |filters: &[(&str, u8)]| {
        let mut routes = routes(filters);
        Arc::make_mut(&mut routes[0]).sparkplug_rebirth = true;
        routes
    };
    let mut client = Client::new(&filters, &[]);
    client.connect(Version::V5, false);
    client.settle();
    assert_eq!(no_local(&client), [false, false, false]);
    let Client { subscriptions, events, now, .. } = &mut client;
    subscriptions.reroute(&asking(&filters), *now, events);
    assert_eq!(no_local(&client), [true, false, false]);
    assert_eq!(names(&client.asked()), ["+spBv1.0/#"], "the broker is told");
    client.subscriptions = Subscriptions::new(&asking(&filters), Vec::new(), policy()).without("");
    assert_eq!(no_local(&client), [true, false, false]);
}

/// A search among all identifiers for each would take minutes.
#[test]
fn ten_thousand_identifiers_are_given_in_order() {
    let mut client = Client::new(&[("a", 1)], &[]);
    let held = |at: u32| {
        let held = held(&format!("a/{at}/#"), None);
        Entry { overlaps: vec![0], ..Entry::new(Some(RouteId(0)), held, false) }
    };
    client.subscriptions.entries = (0..10_000).map(held).collect();
    name(&mut client.subscriptions.entries, 10_000, 0);
    let ids = client.subscriptions.entries.iter().map(|entry| entry.id);
    assert!(ids.eq((1..=10_000).map(Some)));
}

#[test]
fn what_takes_the_place_of_a_wider_filter_is_in_force_before_that_goes() {
    let mut client = Client::new(&[("a/#", 1)], &[]);
    client.connect(Version::V311, false);
    client.settle();
    client.reroute(&[("a/b", 1)]);
    let asked = client.asked();
    assert_eq!(names(&asked), ["+a/b"]);
    client.suback(asked[0].1, 1);
    assert_eq!(names(&client.asked()), ["-a/#"]);
}

#[test]
fn while_its_suback_is_awaited_a_route_that_stays_is_not_asked_again_and_one_that_goes_is_undone() {
    let mut client = Client::new(&[("a", 1), ("b", 1)], &[]);
    client.connect(Version::V5, false);
    let asked = client.subscribes();
    client.reroute(&[("a", 1)]);
    let undone = client.asked();
    assert_eq!(names(&undone), ["-b"]);
    client.suback(asked["a"], 1);
    client.suback(asked["b"], 1);
    client.unsuback(undone[0].1, 0);
    assert_eq!(client.held(), ["a"]);
    assert!(client.subscriptions.is_in_force());
    client.now += 60 * SECOND;
    assert_eq!(client.requests(), []);
}

#[test]
fn one_that_is_wanted_again_while_it_is_unsubscribed_is_subscribed_behind_that() {
    let mut client = Client::new(&[("a", 1), ("b", 1)], &[]);
    client.connect(Version::V5, false);
    client.settle();
    client.reroute(&[("a", 1)]);
    let asked = client.asked();
    assert_eq!(names(&asked), ["-b"]);
    client.reroute(&[("a", 1), ("b", 0)]);
    assert_eq!(client.requests(), []);
    client.unsuback(asked[0].1, 0);
    assert_eq!(names(&client.asked()), ["+b"]);
}

#[test]
fn routes_that_change_while_there_is_no_connection_are_asked_for_on_the_next_one() {
    for version in [Version::V311, Version::V5] {
        let resubscribe = Resubscribe::NewSession;
        let filters = [("a", 1), ("b", 1)];
        let mut client = Client::with(Policy { resubscribe, ..policy() }, &filters, &[]);
        client.connect(version, false);
        client.settle();
        client.reroute(&[("a", 1), ("c", 1)]);
        client.connect(version, true);
        let asked = client.asked();
        let expected = match version {
            Version::V311 => vec!["+c", "-b"],
            Version::V5 => vec!["+a", "+c", "-b"],
        };
        assert_eq!(names(&asked), expected);
    }
}

#[test]
fn before_the_first_connection_nothing_is_written_down_for_other_routes() {
    let mut client = Client::new(&[("a", 1)], &[]);
    client.reroute(&[("b", 1)]);
    assert_eq!(client.held(), Vec::<&str>::new());
    client.connect(Version::V5, false);
    assert_eq!(names(&client.asked()), ["+b"]);
}

#[test]
fn a_file_knows_a_filter_before_it_is_subscribed_by_a_reload() {
    let mut client = Client::with(Policy { is_recorded: true, ..policy() }, &[("a", 1)], &[]);
    client.connect(Version::V5, false);
    client.subscriptions.recorded(1);
    client.settle();
    client.reroute(&[("a", 1), ("b", 1)]);
    assert_eq!(client.requests(), []);
    let (number, held) = client.subscriptions.to_record().expect("a change");
    assert_eq!(held.len(), 2);
    client.subscriptions.recorded(number);
    assert_eq!(names(&client.asked()), ["+b"]);
}

/// Something that happens to a session whose routes change.
#[derive(Debug, Clone)]
enum Turn {
    /// The routes are those of these numbers, at QoS 1 or 0.
    Reroute(Vec<(usize, bool)>),
    Ask,
    /// The broker answers the oldest request.
    Answer,
    /// Another connection, in a session that is there or is not.
    Connect(bool),
}

const WANTED: [&str; 7] = ["a", "a/b", "a/#", "+/b", "b", "a/+", "c/#"];

fn turn() -> impl Strategy<Value = Turn> {
    let wanted = prop::collection::btree_map(0..WANTED.len(), any::<bool>(), 1..5);
    prop_oneof![
        3 => wanted.prop_map(|wanted| Turn::Reroute(wanted.into_iter().collect())),
        4 => Just(Turn::Ask),
        4 => Just(Turn::Answer),
        // Most keep the session, and some come one behind the other.
        2 => prop::bool::weighted(0.8).prop_map(Turn::Connect),
    ]
}

/// Plays these turns with a broker that grants everything, and then lets both come to rest: exactly what is
/// wanted and no other filter covers is subscribed at its QoS, and health says so.
fn play(turns: &[Turn], version: Version, resubscribe: Resubscribe) -> Result<(), TestCaseError> {
    let mut wanted = vec![("a", 1)];
    let mut client = Client::with(Policy { resubscribe, ..policy() }, &wanted, &[]);
    client.connect(version, false);
    let mut broker: BTreeMap<String, u8> = BTreeMap::new();
    let mut owed: Vec<(bool, u16, u8)> = Vec::new();
    let ask = |client: &mut Client,
               broker: &mut BTreeMap<String, u8>,
               owed: &mut Vec<(bool, u16, u8)>| {
        let mut out = BytesMut::new();
        client.subscriptions.on_time(client.now, true, &mut out, &mut client.events);
        let asked = requests(version, &mut out);
        for request in &asked {
            match request {
                Request::Subscribe { filter, packet_id, .. } => {
                    let entries = client.subscriptions.entries.iter();
                    let entry = entries.clone().find(|entry| entry.filter.as_str() == filter);
                    let qos = entry.expect("it asks for it").qos.level();
                    broker.insert(filter.clone(), qos);
                    owed.push((true, *packet_id, qos));
                }
                Request::Unsubscribe { filter, packet_id } => {
                    broker.remove(filter);
                    owed.push((false, *packet_id, 0));
                }
            }
        }
        asked.len()
    };
    let answer = |client: &mut Client, owed: &mut Vec<(bool, u16, u8)>| {
        if owed.is_empty() {
            return false;
        }
        match owed.remove(0) {
            (true, packet_id, qos) => client.suback(packet_id, qos),
            (false, packet_id, _) => client.unsuback(packet_id, 0),
        }
        true
    };
    for turn in turns {
        match turn {
            Turn::Reroute(numbers) => {
                let qos = |is_1: bool| u8::from(is_1);
                wanted = numbers.iter().map(|(at, is_1)| (WANTED[*at], qos(*is_1))).collect();
                client.reroute(&wanted);
            }
            Turn::Ask => drop(ask(&mut client, &mut broker, &mut owed)),
            Turn::Answer => drop(answer(&mut client, &mut owed)),
            Turn::Connect(session_present) => {
                owed.clear();
                if !*session_present {
                    broker.clear();
                }
                let limits = ServerLimits::default();
                client.events.push(SessionEvent::Connected {
                    version,
                    session_present: *session_present,
                    keep_alive_s: 60,
                    limits,
                });
                client.connect(version, *session_present);
            }
        }
    }
    while ask(&mut client, &mut broker, &mut owed) > 0
        || answer(&mut client, &mut owed)
        || client.subscriptions.is_leave_due()
    {
        client.now += BESIDE_FOR;
    }
    let routes = routes(&wanted);
    let covered = |route: &Arc<Route>| {
        routes.iter().any(|other| {
            other.filter != route.filter
                && other.qos >= route.qos
                && other.filter.covers(&route.filter)
        })
    };
    let expected: BTreeMap<_, _> = routes
        .iter()
        .filter(|route| !covered(route))
        .map(|route| (route.filter.to_string(), route.qos.level()))
        .collect();
    prop_assert_eq!(&broker, &expected);
    let held: BTreeSet<_> = client.held().into_iter().map(str::to_owned).collect();
    prop_assert_eq!(held, expected.keys().cloned().collect());
    let mut health = crate::observe::MqttHealth::default();
    client.events.iter().for_each(|event| event.apply(&mut health));
    for route in &routes {
        prop_assert_eq!(
            health.subscriptions.get(&route.id),
            Some(&crate::observe::Subscription::Granted)
        );
    }
    prop_assert_eq!(health.subscriptions.len(), routes.len());
    client.now += 600 * SECOND;
    if version == Version::V5 {
        prop_assert_eq!(client.requests(), []);
    }
    Ok(())
}

/// `b` is unsubscribed and wanted again, and the answer is lost with the connection.
#[test]
fn what_was_unsubscribed_is_subscribed_again_when_the_answer_never_came() {
    use Turn::{Answer, Ask, Connect, Reroute};
    let both = || Reroute(vec![(0, true), (4, true)]);
    let settled =
        || vec![both(), Ask, Answer, Answer, Ask, Answer, Connect(true), Ask, Answer, Answer];
    let ends: [&[Turn]; 4] = [
        &[both(), Connect(true)],
        &[Connect(true), both(), Connect(true)],
        &[both(), Connect(true), Connect(true)],
        &[Connect(true), Connect(true), both()],
    ];
    for end in ends {
        for version in [Version::V311, Version::V5] {
            for resubscribe in [Resubscribe::Always, Resubscribe::NewSession] {
                let mut turns = settled();
                turns.extend([Reroute(vec![(0, true)]), Ask]);
                turns.extend_from_slice(end);
                play(&turns, version, resubscribe)
                    .unwrap_or_else(|e| panic!("{end:?} {version:?} {resubscribe:?}: {e}"));
            }
        }
    }
}

proptest! {
    /// However routes, answers and connections are mixed.
    #[test]
    fn in_the_end_the_broker_has_what_the_last_routes_want(
        turns in prop::collection::vec(turn(), 1..40), v5 in any::<bool>(), always in any::<bool>(),
    ) {
        let version = if v5 { Version::V5 } else { Version::V311 };
        play(&turns, version, if always { Resubscribe::Always } else { Resubscribe::NewSession })?;
    }
}

/// Something that happens while messages flow and routes change.
#[derive(Debug, Clone)]
enum Step {
    /// The routes are those of these numbers, at QoS 1 or 0.
    Reroute(BTreeMap<usize, bool>),
    /// One of two payloads, unless all differ.
    Publish(&'static str, bool),
    /// The broker's next packet arrives.
    Arrive,
    /// Its next answer arrives before the messages that it has queued.
    Overtake,
    Ask,
    /// What is subscribed next, and is not yet, is refused.
    Refuse,
    /// Another connection. So many of the last messages that came at QoS 1 come once more: their PUBACKs were lost.
    Reconnect(usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    // Most at QoS 1.
    let wanted = prop::collection::btree_map(0..WANTED.len(), prop::bool::weighted(0.8), 1..4);
    let publish = (prop::sample::select(&["a", "a/b", "a/c", "b", "c/b"][..]), any::<bool>());
    prop_oneof![
        1 => wanted.prop_map(Step::Reroute),
        6 => publish.prop_map(|(mqtt_topic, is_on)| Step::Publish(mqtt_topic, is_on)),
        9 => Just(Step::Arrive),
        3 => Just(Step::Overtake),
        1 => Just(Step::Refuse),
        1 => (0..3_usize).prop_map(Step::Reconnect),
        5 => Just(Step::Ask),
        1 => Just(Step::Wait),
    ]
}

/// A broker that sends a copy for each subscription, in one order or the other, and a bridge.
struct Flow {
    client: Client,
    copies: Copies,
    /// Identifier and QoS by filter.
    subscribed: BTreeMap<String, (u32, u8)>,
    is_refusing: bool,
    /// What is on its way: messages by MQTT topic, payload and identifier, and answers.
    queue: VecDeque<Sent>,
    is_descending: bool,
    /// All payloads differ.
    is_unique: bool,
    /// What came on this connection.
    arrived: Vec<Sent>,
    /// Payloads by MQTT topic.
    published: BTreeMap<String, Vec<String>>,
    forwarded: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Clone)]
enum Sent {
    Message { mqtt_topic: String, payload: String, id: u32, qos: u8 },
    SubAck(u16, u8),
    UnsubAck(u16),
}

impl Flow {
    fn new(is_descending: bool, is_unique: bool) -> Self {
        let mut flow = Self {
            client: Client::new(&[("a/#", 1)], &[]),
            copies: Copies::default(),
            subscribed: BTreeMap::new(),
            is_refusing: false,
            arrived: Vec::new(),
            queue: VecDeque::new(),
            is_descending,
            is_unique,
            published: BTreeMap::new(),
            forwarded: BTreeMap::new(),
        };
        flow.client.connect(Version::V5, false);
        flow.settle();
        flow
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Reroute(numbers) => {
                let wanted = numbers.iter().map(|(at, is_1)| (WANTED[*at], u8::from(*is_1)));
                self.client.reroute(&wanted.collect::<Vec<_>>());
            }
            Step::Publish(mqtt_topic, is_on) => self.publish(mqtt_topic, *is_on),
            Step::Arrive => drop(self.queue.pop_front().map(|sent| self.arrive(sent))),
            Step::Overtake => {
                let is_answer = |sent: &Sent| !matches!(sent, Sent::Message { .. });
                let at = self.queue.iter().position(is_answer);
                let sent = at.and_then(|at| self.queue.remove(at));
                sent.into_iter().for_each(|sent| self.arrive(sent));
            }
            Step::Ask => drop(self.ask()),
            Step::Refuse => self.is_refusing = true,
            Step::Reconnect(again) => self.reconnect(*again),
            Step::Wait => self.client.now += BESIDE_FOR,
        }
        if self.client.subscriptions.take_lost_count() {
            self.copies.clear();
        }
        for key in self.client.subscriptions.take_begun() {
            self.copies.begin(key);
        }
    }

    fn publish(&mut self, mqtt_topic: &str, is_on: bool) {
        let number = self.published.values().map(Vec::len).sum::<usize>();
        let payload = match (self.is_unique, is_on) {
            (true, _) => number.to_string(),
            (false, true) => "on".to_owned(),
            (false, false) => "off".to_owned(),
        };
        let brings = |filter: &str| filter.parse::<Filter>().is_ok_and(|it| it.matches(mqtt_topic));
        let by = self.subscribed.iter().filter(|(filter, _)| brings(filter)).map(|(_, by)| *by);
        let mut by: Vec<_> = by.collect();
        if self.is_descending {
            by.reverse();
        }
        if !by.is_empty() {
            self.published.entry(mqtt_topic.to_owned()).or_default().push(payload.clone());
        }
        let sent = by.into_iter().map(|(id, qos)| {
            let (mqtt_topic, payload) = (mqtt_topic.to_owned(), payload.clone());
            Sent::Message { mqtt_topic, payload, id, qos }
        });
        self.queue.extend(sent);
    }

    /// What is queued up to the last one at QoS 0 arrives before the connection ends, with its PUBACKs: over two QoS
    /// MQTT promises no order.
    fn reconnect(&mut self, again: usize) {
        let is_qos_0 = |sent: &Sent| matches!(sent, Sent::Message { qos: 0, .. });
        let sent = self.queue.iter().rposition(is_qos_0).map_or(0, |at| at + 1);
        for sent in self.queue.drain(..sent).collect::<Vec<_>>() {
            self.arrive(sent);
        }
        let acknowledged = self.arrived.iter().rposition(is_qos_0).map_or(0, |at| at + 1);
        let is_message = |sent: &Sent| matches!(sent, Sent::Message { .. });
        let mut arrived = self.arrived.split_off(acknowledged);
        arrived.retain(is_message);
        self.queue.retain(is_message);
        let again = arrived.split_off(arrived.len().saturating_sub(again));
        again.into_iter().rev().for_each(|sent| self.queue.push_front(sent));
        self.arrived.clear();
        self.client.connect(Version::V5, true);
    }

    fn ask(&mut self) -> usize {
        let requests = self.client.requests();
        for request in &requests {
            match request {
                Request::Subscribe { filter, packet_id, id, .. } => {
                    let is_new = !self.subscribed.contains_key(filter);
                    if is_new && std::mem::take(&mut self.is_refusing) {
                        self.queue.push_back(Sent::SubAck(*packet_id, 0x87));
                        continue;
                    }
                    let id = id.map_or(0, |id| u32::try_from(id).expect("small"));
                    let mut entries = self.client.subscriptions.entries.iter();
                    let entry = entries.find(|entry| entry.filter.as_str() == filter);
                    let qos = entry.expect("it asks for it").qos.level();
                    self.subscribed.insert(filter.clone(), (id, qos));
                    self.queue.push_back(Sent::SubAck(*packet_id, qos));
                }
                Request::Unsubscribe { filter, packet_id } => {
                    self.subscribed.remove(filter);
                    self.queue.push_back(Sent::UnsubAck(*packet_id));
                }
            }
        }
        requests.len()
    }

    fn arrive(&mut self, sent: Sent) {
        self.arrived.push(sent.clone());
        match sent {
            Sent::SubAck(packet_id, code) => self.client.suback(packet_id, code),
            Sent::UnsubAck(packet_id) => self.client.unsuback(packet_id, 0),
            Sent::Message { mqtt_topic, payload, id, .. } => {
                if !self.is_copy(&mqtt_topic, &payload, id) {
                    self.forwarded.entry(mqtt_topic).or_default().push(payload);
                }
            }
        }
    }

    /// As the intake asks.
    fn is_copy(&mut self, mqtt_topic: &str, payload: &str, id: u32) -> bool {
        let subscriptions = &self.client.subscriptions;
        let under = (id > 0 && subscriptions.may_copy())
            .then(|| subscriptions.standings(&[id], mqtt_topic.as_bytes()));
        let Some(under) = under.flatten() else { return false };
        let publish = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            ack: None,
            mqtt_topic: mqtt_topic.to_owned().into(),
            payload: payload.to_owned().into(),
            properties: bytes::Bytes::new(),
            subscription_ids: SubscriptionIds::One(id),
            expires: false,
            refusal: None,
        };
        let content = self.copies.content(&publish).expect("it has an identifier");
        let partners = |key| subscriptions.partners_of_gone(key);
        if self.copies.take(content, &under, partners, self.client.now, None).is_some() {
            return true;
        }
        let number = self.forwarded.values().map(Vec::len).sum::<usize>();
        let number = Seq(number as u64);
        self.copies.admitted(content, number, self.client.now);
        false
    }

    /// Lets everything arrive, until nothing more happens.
    fn settle(&mut self) {
        for _ in 0..4 {
            loop {
                while !self.queue.is_empty() {
                    self.step(&Step::Arrive);
                }
                if self.ask() == 0 {
                    break;
                }
            }
            self.step(&Step::Wait);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// However filters replace one another, are refused, or are cut off while messages are on their way, and although
    /// most of what is published under one MQTT topic is equal: all of it is forwarded in order, and what was
    /// published last is last.
    #[test]
    fn no_message_that_was_published_is_taken_for_a_copy_while_filters_replace_one_another(
        steps in prop::collection::vec(step(), 1..120), is_descending in any::<bool>(),
    ) {
        let mut flow = Flow::new(is_descending, false);
        steps.iter().for_each(|step| flow.step(step));
        flow.settle();
        for (mqtt_topic, published) in &flow.published {
            let forwarded = flow.forwarded.get(mqtt_topic).cloned().unwrap_or_default();
            let mut rest = forwarded.iter();
            let is_there = published.iter().all(|payload| rest.any(|it| it == payload));
            prop_assert!(is_there, "{mqtt_topic}: {published:?}, {forwarded:?}");
            prop_assert_eq!(forwarded.last(), published.last(), "{}: {:?}", mqtt_topic, forwarded);
        }
    }

    /// Where the broker keeps the order of its answers and its messages, none is forwarded twice either.
    #[test]
    fn no_message_is_forwarded_twice_while_one_filter_replaces_another(
        steps in prop::collection::vec(step(), 1..120), is_descending in any::<bool>(),
    ) {
        let mut flow = Flow::new(is_descending, true);
        let is_quiet =
            |it: &&Step| !matches!(it, Step::Overtake | Step::Refuse | Step::Reconnect(_));
        for step in steps.iter().filter(is_quiet) {
            // Beside QoS 0 nothing is certain.
            let step = match step {
                Step::Reroute(wanted) => {
                    flow.settle();
                    // Of two that overlap and leave at once, a copy may be forwarded.
                    &Step::Reroute(wanted.keys().take(1).map(|at| (*at, true)).collect())
                }
                other => other,
            };
            while matches!(step, Step::Wait) && !flow.queue.is_empty() {
                flow.step(&Step::Arrive);
            }
            flow.step(step);
        }
        flow.settle();
        prop_assert_eq!(&flow.forwarded, &flow.published);
    }
}

/// Filters of few levels with few names, with all prefixes, so that many cover or overlap one another.
fn any_filter() -> impl Strategy<Value = Filter> {
    let prefix =
        prop::sample::select(vec!["", "", "", "$share/g/", "$share/h/", "$queue/", "$exclusive/"]);
    let level = prop::sample::select(vec!["a", "b", "", "+", "$SYS"]);
    let rest = prop::sample::select(vec!["", "", "/#"]);
    (prefix, prop::collection::vec(level, 1..4), rest)
        .prop_filter_map("a legal filter", |(prefix, levels, rest)| {
            format!("{prefix}{}{rest}", levels.join("/")).parse().ok()
        })
}

proptest! {
    #[test]
    fn entries_are_related_as_if_each_had_been_compared_with_each(
        filters in prop::collection::vec((any_filter(), any::<bool>()), 1..8),
        routes in 0..8_usize,
    ) {
        let entry = |(filter, is_qos1): &(Filter, bool)| {
            let qos = if *is_qos1 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
            Entry::new(None, Held { filter: filter.clone(), qos, id: None }, true)
        };
        let mut entries: Vec<_> = filters.iter().map(entry).collect();
        relate(&mut entries, routes);
        for (this, mine) in entries.iter().enumerate() {
            let others = || entries.iter().enumerate().filter(|(other, _)| *other != this);
            let covers = |(other, it): &(usize, &Entry)| {
                *other < routes && it.qos >= mine.qos && it.filter.covers(&mine.filter)
            };
            let covered_by: Vec<_> = others().filter(covers).map(|(other, _)| other).collect();
            let overlaps = others().filter(|it| covers(it) || it.1.filter.overlaps(&mine.filter));
            let overlaps: Vec<_> = overlaps.map(|(other, _)| other).collect();
            prop_assert_eq!((&mine.covered_by, &mine.overlaps), (&covered_by, &overlaps));
        }
    }
}
