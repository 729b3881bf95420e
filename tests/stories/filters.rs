//! What routes drop on purpose: the rest arrives in order and nothing else does, each drop is counted and
//! acknowledged.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use mqtt_kafka_bridge::mqtt::properties::PropertyValues;
use serde_json::Value as Json;

use crate::support::mosquitto::Setup;
use crate::support::*;

/// Seconds until a message expires (MQTT 5, section 3.3.2.3.3).
const EXPIRY_S: u32 = 2;

/// Larger than the Kafka topic takes.
const TOO_LARGE: usize = 5_000;

/// A bridge for one version of MQTT. Its Kafka topic has one partition, so that the order of all records is seen.
struct Filtering {
    name: String,
    version: Version,
    bridge: Bridge,
    http: Http,
    device: MqttClient,
    /// What is expected in Kafka.
    kept: Vec<String>,
    /// What is expected to have been dropped, of each route and reason.
    dropped: Vec<(&'static str, &'static str, u64)>,
    dead_lettered: u64,
}

impl Filtering {
    fn start(story: &Story, kafka: &Kafka, mosquitto: &Mosquitto, version: Version) -> Self {
        let name = format!("filters-{}", version.level());
        kafka.create(&name, 1, &[("max.message.bytes", "1000")]);
        let http = Http::free();
        let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
        http.configure(&mut config);
        config
            .set("mqtt", "protocol", version.name())
            .set("delivery", "qos0_window_messages", 1)
            .set("delivery", "qos0_shed_after", "never");
        for (route, filter, key, value) in [
            ("kept", "kept/#", "retained", "skip"),
            ("brief", "brief/#", "expired", "drop"),
            ("often", "often/#", "sample", "1/10"),
            ("state", "state/#", "dedupe", ""),
            ("read", "read/{site}/#", "keep_if", "{json./value} > 10 and {site} in ['a', 'b']"),
            ("test", "test/{site}", "drop_if", "{json./test} = true or {site} ~ '^x'"),
        ] {
            let value = if value.is_empty() { Json::from(true) } else { value.into() };
            config.route_with(&[
                ("name", route.into()),
                ("filter", format!("{name}/{filter}").into()),
                ("kafka_topic", name.clone().into()),
                (key, value),
            ]);
        }
        let device = format!("device-{name}");
        let mut device = MqttClient::connect(&mosquitto.address(), Version::V5, &device).unwrap();
        device.publish_retained(&format!("{name}/kept/1"), b"old");
        let bridge = Bridge::start(story.dir(), &name, &config);
        let this = Self {
            name,
            version,
            bridge,
            http,
            device,
            kept: Vec::new(),
            dropped: vec![("kept", "retained", 1)],
            dead_lettered: 0,
        };
        this.wait("the retained message is dropped", 0);
        this
    }

    fn publish(&mut self, mqtt_topic: &str, payload: &str) {
        self.device.publish(&format!("{}/{mqtt_topic}", self.name), payload.as_bytes());
    }

    /// Publishes what is expected in Kafka.
    fn keep(&mut self, mqtt_topic: &str, payload: &str) {
        self.publish(mqtt_topic, payload);
        self.kept.push(payload.to_owned());
    }

    /// Publishes what the route of this name drops for this reason.
    fn drop(&mut self, reason: &'static str, mqtt_topic: &'static str, payload: &str) {
        self.publish(mqtt_topic, payload);
        self.drops(reason, mqtt_topic);
    }

    fn drops(&mut self, reason: &'static str, mqtt_topic: &'static str) {
        let route = mqtt_topic.split('/').next().unwrap();
        match self.dropped.iter_mut().find(|(name, of, _)| (*name, *of) == (route, reason)) {
            Some((_, _, count)) => *count += 1,
            None => self.dropped.push((route, reason, 1)),
        }
    }

    /// Publishes at QoS 0 what expires.
    fn publish_brief(&mut self, mqtt_topic: &str, payload: &str) {
        let properties = PropertyValues { expiry_s: Some(EXPIRY_S), ..Default::default() };
        let properties = properties.encode().unwrap();
        let mqtt_topic = format!("{}/{mqtt_topic}", self.name);
        let mut body = vec![0, mqtt_topic.len() as u8];
        body.extend(mqtt_topic.as_bytes());
        body.push(properties.len() as u8);
        body.extend(&properties);
        body.extend(payload.as_bytes());
        assert!(body.len() < 128, "a length of one byte");
        self.device.stream.write_all(&[&[0x30, body.len() as u8], &*body].concat()).unwrap();
    }

    /// Waits until everything but `in_flight` messages is settled as expected.
    #[track_caller]
    fn wait(&self, what: &str, in_flight: u64) {
        let filtered: u64 = self.dropped.iter().map(|(.., count)| count).sum();
        let delivered = self.kept.len() as u64 - in_flight;
        let expected = (delivered, self.dead_lettered, filtered, in_flight);
        let of =
            |now: &log::Summary| (now.delivered, now.dead_lettered, now.filtered, now.in_flight);
        let what = || format!("{what}: {expected:?}, not {:?}", of(&self.bridge.summary()));
        let is_so = within(SOON, || of(&self.bridge.summary()) == expected);
        assert!(is_so, "MQTT {}: {}", self.version.name(), what());
    }

    fn end(&mut self, kafka: &Kafka) {
        self.wait("all are settled", 0);
        let metrics = self.http.metrics();
        metrics.assert_balances();
        for (route, reason, count) in &self.dropped {
            let sample = format!("route_dropped_total{{route=\"{route}\",reason=\"{reason}\"}}");
            assert_eq!(metrics.get(&sample), *count, "{sample}");
        }
        assert_eq!(self.bridge.terminate(), 0);
        for (route, reason, count) in &self.dropped {
            let said = format!("{route} {reason}={count}");
            let is_said = |record: &Json| {
                record["dropped"]
                    .as_str()
                    .is_some_and(|text| text.split(", ").any(|one| one == said))
            };
            assert!(self.bridge.log().find(is_said).is_some(), "no summary record says {said}");
        }
        // The broker sends again what was not acknowledged, before anything new.
        self.bridge.run();
        self.keep("test/1", "last");
        self.bridge.wait_summary("the last one is delivered", SOON, |now| now.delivered == 1);
        assert_eq!(self.bridge.terminate(), 0);
        self.bridge.assert_logs_sound();
        assert_eq!(self.bridge.summary().received, 1, "MQTT {}", self.version.name());

        let records = kafka::records(&kafka.bootstrap(), &self.name).into_iter();
        let values: Vec<_> =
            records.map(|record| String::from_utf8(record.value).unwrap()).collect();
        assert_eq!(values, self.kept, "MQTT {}", self.version.name());
    }
}

#[test]
fn what_routes_drop_is_counted_and_acknowledged_and_the_rest_arrives_in_order() {
    let story = Story::new("filters");
    let mut kafka = Kafka::start(story.dir());
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut both = Version::BOTH.map(|v| Filtering::start(&story, &kafka, &mosquitto, v));
    for it in &mut both {
        it.keep("kept/1", "new");
        for (nth, value) in ["5", "11", "\"11\"", "1.05e1", "10", "[11]"].iter().enumerate() {
            let payload = format!("{{\"value\": {value}, \"nth\": {nth}}}");
            match nth {
                1..=3 => it.keep("read/b/x/y", &payload),
                _ => it.drop("keep_if", "read/b/x/y", &payload),
            }
        }
        it.drop("keep_if", "read/c", "{\"value\": 11}");
        it.drop("keep_if", "read/a", "not JSON");
        it.drop("drop_if", "test/a", "{\"test\": true}");
        it.keep("test/a", "{\"test\": 1}");
        it.drop("drop_if", "test/x1", "not JSON");
        it.keep("test/1x", "not JSON");
        for nth in 0..=100 {
            match nth % 10 {
                0 => it.keep("often/1", &nth.to_string()),
                _ => it.drop("sample", "often/1", &nth.to_string()),
            }
        }
        it.keep("state/1", "on");
    }
    both.iter().for_each(|it| it.wait("all are settled", 0));
    for it in &mut both {
        it.drop("dedupe", "state/1", "on");
        it.keep("state/2", "on");
        // Neither of the two is delivered, so the second repeats nothing.
        for _ in 0..2 {
            it.publish("state/3", &"x".repeat(TOO_LARGE));
            it.dead_lettered += 1;
            it.wait("it is refused", 0);
        }
    }

    kafka.kill();
    for it in &mut both {
        it.drop("dedupe", "state/1", "on");
        it.wait("what was delivered is still known", 0);
        it.keep("state/1", "off");
        // The one before it is not in Kafka yet.
        it.keep("state/1", "off");
        it.wait("Kafka is away", 2);
        // It waits in the bridge, whose window for QoS 0 is full.
        it.publish_brief("brief/1", "late");
    }
    thread::sleep(Duration::from_secs(EXPIRY_S.into()));
    kafka.run();
    for it in &mut both {
        match it.version {
            Version::V5 => it.drops("expired", "brief/1"),
            // Its broker says nothing of an expiry.
            Version::V311 => it.kept.push("late".to_owned()),
        }
        it.wait("Kafka is back", 0);
        it.drop("dedupe", "state/1", "off");
        it.keep("state/1", "on");
        it.publish_brief("brief/1", "in time");
        it.kept.push("in time".to_owned());
        let retained = format!("{}/kept/1", it.name);
        it.device.publish_retained(&retained, b"");
        it.kept.push(String::new());
        it.end(&kafka);
    }
}
