//! Several members share the subscriptions of a group, in processes of their own: whatever happens to one of
//! them, no message is lost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;

use serde_json::Value;

use crate::support::mosquitto::Setup;
use crate::support::*;

/// Small, so that the bound for duplicates is one.
pub(crate) const WINDOW: u64 = 200;
/// What all members together deliver between two events.
pub(crate) const STRETCH: u64 = 2_000;

/// Devices, a broker with a group, and Kafka.
pub(crate) struct Field {
    pub(crate) version: Version,
    pub(crate) mosquitto: Mosquitto,
    pub(crate) publisher: Publisher,
    pub(crate) reader: Reader,
    kafka_topic: String,
}

impl Field {
    pub(crate) fn start(story: &Story, version: Version, setup: &Setup) -> Self {
        let kafka = Kafka::shared();
        let kafka_topic = format!("{}-mqtt{}", slug(story.name), version.level());
        kafka.create(&kafka_topic, 4, &[]);
        let mosquitto = Mosquitto::start(story.dir(), &setup.clone().persistent());
        let load = Load { rate: 4_000, ..Load::default() };
        let publisher = Publisher::start(&mosquitto.address(), version, "devices", load);
        let reader = Reader::start(&kafka.bootstrap(), &kafka_topic);
        Self { version, mosquitto, publisher, reader, kafka_topic }
    }

    /// The configuration of a bridge with this client id and the window [`WINDOW`].
    pub(crate) fn config(&self, client_id: &str, filter: &str) -> ConfigFile {
        let kafka = Kafka::shared().bootstrap();
        let mut config = ConfigFile::new(&self.mosquitto.address(), client_id, &kafka);
        config
            .set("mqtt", "protocol", self.version.name())
            .set("delivery", "window_messages", WINDOW)
            .route(filter, &self.kafka_topic);
        config
    }

    /// A member with its own client id, `bridge-{number}`.
    pub(crate) fn join(&self, story: &Story, number: usize) -> Bridge {
        let client_id = format!("bridge-{number}");
        let config = self.config(&client_id, "$share/bridge/devices/#");
        let name = format!("mqtt{}-{client_id}", self.version.level());
        let bridge = Bridge::start(story.dir(), &name, &config);
        self.mosquitto.wait_subscribed(&client_id, 1);
        bridge
    }

    /// Waits until this many more messages are in Kafka.
    #[track_caller]
    pub(crate) fn wait_more(&self, messages: u64) {
        let goal = self.reader.distinct() + messages;
        eventually("more messages are in Kafka", PATIENT, || self.reader.distinct() >= goal);
    }

    /// Waits until all that was published is in Kafka.
    #[track_caller]
    pub(crate) fn wait_all(&self) {
        self.publisher.pause();
        self.wait_all_published();
    }

    /// Waits until all that is to be published is in Kafka.
    #[track_caller]
    pub(crate) fn wait_all_published(&self) {
        self.publisher.wait_done(PATIENT);
        let acked = self.publisher.ledger().acked();
        eventually("all are in Kafka", PATIENT, || self.reader.distinct() >= acked);
    }

    /// What arrived, where nothing may be lost. Order holds within one member only.
    #[track_caller]
    pub(crate) fn verdict(&self, story: &Story) -> Verdict {
        let arrivals = self.reader.read_to_end(SOON);
        let verdict = Verdict::of(&self.publisher.ledger(), &arrivals);
        verdict.report(story.name, self.version.name());
        assert_eq!((verdict.lost, verdict.wrong), (0, 0), "{verdict:?}");
        assert_eq!(verdict.delivered, verdict.published, "{verdict:?}");
        verdict
    }
}

/// Waits until this member delivers.
#[track_caller]
pub(crate) fn wait_share(member: &Bridge) {
    let before = member.summary().delivered;
    member.wait_summary("it gets its share", PATIENT, |now| now.delivered > before + 50);
}

#[test]
fn members_of_a_group_are_killed_stopped_joined_and_leave_and_nothing_is_lost() {
    let story = Story::new("three bridges in one group");
    let field = Field::start(&story, Version::V5, &Setup::default());
    let mut members: Vec<_> = (0..3).map(|number| field.join(&story, number)).collect();
    field.publisher.keep_publishing();
    members.iter().for_each(wait_share);

    members[0].kill();
    field.wait_more(STRETCH);
    members[0].run();
    wait_share(&members[0]);

    assert_eq!(members[1].terminate(), 0, "it drains");
    field.wait_more(STRETCH);
    members[1].run();
    wait_share(&members[1]);

    members.push(field.join(&story, 3));
    members.iter().for_each(wait_share);

    let mut leaver = members.remove(2);
    assert_eq!(leaver.terminate(), 0, "it drains");
    field.wait_more(STRETCH);
    assert_eq!(leaver.leave(), 0, "it leaves under the load of the others");
    members.iter().for_each(wait_share);

    field.wait_all();
    for member in &mut members {
        member.wait_summary("nothing is in flight", SOON, |now| now.in_flight == 0);
        assert_eq!(member.terminate(), 0, "it drains");
        // Each summary balances.
        member.assert_logs_sound();
    }
    let verdict = field.verdict(&story);
    // What the killed one had in flight: the window, and what Mosquitto 2.0.11 sends beyond it
    // (docs/guarantees.md).
    assert!(verdict.duplicated <= 2 * WINDOW, "{verdict:?}");
    assert!(verdict.reordered > 0, "several members do not keep the order of an MQTT topic");
}

/// The connections of `connections = 4`.
const FOUR: [&str; 4] = ["mqtt-0", "mqtt-1", "mqtt-2", "mqtt-3"];

#[test]
fn four_connections_in_one_process_share_and_do_not_disturb_each_other() {
    let story = Story::new("four connections in one process");
    let field = Field::start(&story, Version::V5, &Setup::default());
    let address = field.mosquitto.address();
    let proxy = Proxy::start(&address);
    proxy.admit(3);
    let http = Http::free();
    let mut config = field.config("bridge", "devices/#");
    config.set("mqtt", "connections", 4).set("mqtt", "url", format!("mqtt://{}", proxy.address()));
    http.configure(&mut config);
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    let count = |http: &Http, metric: &str, name: &str| {
        http.metrics().get(&format!("{metric}{{connection=\"{name}\"}}"))
    };
    let all = |metric: &str| FOUR.map(|name| count(&http, metric, name));

    // One is refused, and three work.
    eventually("three are connected", SOON, || {
        http.get("/metrics").is_ok() && all("mqtt_connected").iter().sum::<u64>() == 3
    });
    http.wait_reason("mqtt_disconnected", SOON);
    let refused = FOUR.iter().position(|name| count(&http, "mqtt_connected", name) == 0).unwrap();
    field.publisher.keep_publishing();
    field.wait_more(STRETCH);
    let shares = all("delivered_total");
    assert_eq!(shares[refused], 0, "{shares:?}");
    assert!((0..4).all(|n| n == refused || shares[n] > 0), "{shares:?}");
    proxy.admit(0);
    http.wait_ready(PATIENT);
    eventually("it gets its share", PATIENT, || count(&http, "delivered_total", FOUR[refused]) > 0);

    // One is cut: another client takes its session for a moment, and acknowledges nothing.
    let connects = || {
        FOUR.map(|name| {
            bridge.log().count(|record| {
                record["msg"] == "connected to mqtt" && record["connection"] == name
            })
        })
    };
    let cut = (refused + 1) % 4;
    let before = connects();
    let connect = crate::support::wire::Connect {
        level: 5,
        client_id: format!("bridge-{cut}"),
        clean: false,
        keep_alive: 0,
        login: None,
        session_expiry: Some(86_400),
        receive_maximum: None,
    };
    let (thief, present) = MqttClient::connect_with(&address, &connect).unwrap();
    assert!(present, "it has the session of that connection");
    drop(thief);
    eventually("it is back", PATIENT, || connects()[cut] > before[cut]);
    let others =
        |counts: [usize; 4]| (0..4).filter(|n| *n != cut).map(|n| counts[n]).collect::<Vec<_>>();
    assert_eq!(others(connects()), others(before), "the others live");
    field.wait_more(STRETCH);

    field.wait_all();
    eventually("nothing is in flight", SOON, || all("in_flight").iter().sum::<u64>() == 0);
    http.metrics().assert_balances();
    assert_eq!(bridge.terminate(), 0, "all are drained");
    bridge.assert_logs_sound();
    let verdict = field.verdict(&story);
    // The other client might have acknowledged what that connection had in flight.
    assert!(verdict.duplicated <= 2 * WINDOW, "{verdict:?}");
    // Mosquitto spreads each MQTT topic over all members, so that order is kept within a connection only.
    assert_each_connection_keeps_order(&bridge, &field);
}

/// Of what one connection delivered, the first arrivals of each MQTT topic are in the order of publishing: the timing records say
/// which connection a record in Kafka came over.
#[track_caller]
fn assert_each_connection_keeps_order(bridge: &Bridge, field: &Field) {
    // By partition and offset, which count from 0 here.
    let mut numbers: HashMap<i32, Vec<(Vec<u8>, u64)>> = HashMap::new();
    for record in kafka::records(&Kafka::shared().bootstrap(), &field.kafka_topic) {
        let number = ledger::parse(&record.value).expect("ours").1;
        let key = record.key.expect("the MQTT topic");
        numbers.entry(record.kafka_partition).or_default().push((key, number));
    }
    // By connection and MQTT topic.
    let mut delivered = BTreeMap::<_, Vec<_>>::new();
    let log = fs::read_to_string(bridge.dir().join("run-1.log")).unwrap();
    for line in log.lines().filter(|line| line.contains("\"total_us\"")) {
        let record: Value = serde_json::from_str(line).unwrap();
        let number = |key: &str| record[key].as_u64().expect("a number");
        let partition = i32::try_from(number("kafka_partition")).unwrap();
        let offset = number("kafka_offset");
        let (mqtt_topic, seq) = &numbers[&partition][usize::try_from(offset).unwrap()];
        let connection = record["connection"].as_str().expect("a name").to_owned();
        delivered.entry((connection, mqtt_topic.clone())).or_default().push((offset, *seq));
    }
    assert!(delivered.len() > 40, "each of four connections had most of 20 MQTT topics");
    for ((connection, mqtt_topic), mut records) in delivered {
        records.sort_unstable();
        let mut seen = HashSet::new();
        records.retain(|(_, seq)| seen.insert(*seq));
        let in_order = records.is_sorted_by_key(|(_, seq)| *seq);
        let mqtt_topic = String::from_utf8_lossy(&mqtt_topic).into_owned();
        assert!(in_order, "{connection}, {mqtt_topic}");
    }
}
