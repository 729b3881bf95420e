//! Kafka topics that templates name: a publisher fills the name in, and no name that is missing, denied or one
//! too many holds up the others, unless its route asks for that.

use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use crate::support::mosquitto::Setup;
use crate::support::*;

/// A bridge with a route for each way to treat a missing Kafka topic: `dead/x` to `dead-x`, and so on.
struct Named {
    bridge: Bridge,
    http: Http,
    client: MqttClient,
    dead_letters: DeadLetters,
    _mosquitto: Mosquitto,
}

impl Named {
    fn start(story: &Story, kafka: &str, kafka_topics_max: usize) -> Self {
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
        let http = Http::free();
        let dead_letters = DeadLetters::new(&story.dir().join("dead-letters.jsonl"));
        let mut config = ConfigFile::new(&mosquitto.address(), "bridge", kafka);
        config.set("dead_letter", "file", dead_letters.path()).set(
            "kafka",
            "kafka_topics_max",
            kafka_topics_max,
        );
        http.configure(&mut config);
        let mut route = |first: &str, missing_topic: &str, more: &[(&'static str, Value)]| {
            let keys = [
                ("filter", format!("{first}/{{name}}").into()),
                ("kafka_topic", format!("{first}-{{name}}").into()),
                ("missing_topic", missing_topic.into()),
            ];
            config.route_with(&[&keys[..], more].concat());
        };
        route("dead", "dead_letter", &[]);
        route("hold", "hold", &[]);
        route(
            "create",
            "create",
            &[("create_partitions", 3.into()), ("create_replication", 1.into())],
        );
        let bridge = Bridge::start(story.dir(), "bridge", &config);
        mosquitto.wait_subscribed("bridge", 3);
        http.wait_ready(PATIENT);
        let client = MqttClient::connect(&mosquitto.address(), Version::V5, "devices").unwrap();
        Self { bridge, http, client, dead_letters, _mosquitto: mosquitto }
    }

    fn wait_settled(&self, delivered: u64, dead_lettered: u64) {
        self.bridge.wait_summary("all are settled", PATIENT, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == (delivered, dead_lettered, 0)
        });
    }
}

/// The Kafka topic's partitions, 0 if there is none. Asking creates none.
fn partitions(kafka: &str, kafka_topic: &str) -> usize {
    let consumer: BaseConsumer = kafka::client_config(kafka).create().unwrap();
    let all = consumer.fetch_metadata(None, SOON).unwrap();
    let found = all.topics().iter().find(|it| it.name() == kafka_topic);
    found.map_or(0, |it| it.partitions().len())
}

#[test]
fn a_missing_kafka_topic_is_a_dead_letter_a_hold_or_created_as_its_route_says_whatever_brokers_do()
{
    for creates in [false, true] {
        let story =
            Story::new(if creates { "missing topics, auto-creation" } else { "missing topics" });
        let properties = format!("auto.create.topics.enable={creates}\n");
        let (kafka, _) = Kafka::start_with(story.dir(), &[], |_| properties, Vec::new());
        let at = kafka.bootstrap();
        let mut named = Named::start(&story, &at, 1000);

        named.client.publish("dead/x", b"1");
        named.wait_settled(0, 1);
        assert_eq!(named.dead_letters.read()[0].reason(), "kafka_topic_missing");
        assert_eq!(partitions(&at, "dead-x"), 0, "nobody has created it");
        kafka.create("dead-x", 1, &[]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        named.client.publish("dead/x", b"2");
        named.wait_settled(1, 1);

        for number in 0..50 {
            named.client.publish("create/x", number.to_string().as_bytes());
        }
        named.wait_settled(51, 1);
        assert_eq!(partitions(&at, "create-x"), 3);
        let records = kafka::records(&at, "create-x");
        let values: Vec<_> = records.iter().map(|record| record.value.clone()).collect();
        let expected: Vec<_> = (0..50).map(|number| number.to_string().into_bytes()).collect();
        assert_eq!(values, expected, "in order, although the first of them waited");

        named.client.publish("hold/x", b"3");
        named.client.publish("create/y", b"4");
        named.http.wait_reason("kafka_topic_held", PATIENT);
        let said = named.http.get("/readyz").unwrap().body;
        assert!(said.contains("hold-x: Kafka says: UNKNOWN_TOPIC_OR_PART"), "{said}");
        eventually("others are delivered", PATIENT, || partitions(&at, "create-y") == 3);
        assert_eq!(partitions(&at, "hold-x"), 0);
        kafka.create("hold-x", 1, &[]);
        named.wait_settled(53, 1);
        named.http.wait_ready(PATIENT);

        assert_eq!(named.bridge.terminate(), 0);
        named.bridge.assert_logs_sound();
    }
}

#[test]
fn one_name_more_than_allowed_goes_to_the_dead_letter_and_a_name_that_kafka_does_not_create_too() {
    let story = Story::new("too many names");
    let at = Kafka::shared().bootstrap();
    let mut named = Named::start(&story, &at, 2);
    for name in ["many-a", "many-b", "many-c", "many-a"] {
        named.client.publish(&format!("create/{name}"), b"1");
        std::thread::sleep(std::time::Duration::from_millis(300));
    }
    named.wait_settled(3, 1);
    let letters = named.dead_letters.read();
    assert_eq!(letters[0].reason(), "too_many_kafka_topics");
    assert!(
        letters[0].0["detail"].as_str().unwrap().contains("kafka.kafka_topics_max is 2"),
        "{letters:?}"
    );
    assert_eq!(letters[0].0["kafka_topic"], json!("create-many-c"));
    assert_eq!(partitions(&at, "create-many-c"), 0);
    assert_eq!(named.bridge.terminate(), 0);
    named.bridge.assert_logs_sound();
}

/// Microseconds from PUBLISH to Kafka's confirmation, of messages of these MQTT topics but so many of the first:
/// the value below which 99 of 100 are.
fn p99_us(log: &std::path::Path, prefix: &str, skipped: usize) -> u64 {
    let text = std::fs::read_to_string(log).unwrap();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of = |record: &Value| {
        let mqtt_topic = record["mqtt_topic"].as_str()?;
        mqtt_topic.starts_with(prefix).then(|| record["total_us"].as_u64())?
    };
    let mut all: Vec<u64> = records.filter_map(|record| of(&record)).skip(skipped).collect();
    all.sort_unstable();
    all[all.len() * 99 / 100]
}

/// Waits until so many messages are received and all have their verdict, as long as there is progress: Kafka
/// may take a minute to create a thousand Kafka topics.
fn wait_all_settled(bridge: &Bridge, received: u64) {
    let is_settled = |now: &log::Summary| (now.received, now.in_flight) == (received, 0);
    let mut delivered = bridge.summary().delivered;
    loop {
        let moves = |now: &log::Summary| now.delivered > delivered || is_settled(now);
        let now = bridge.wait_summary("there is progress", PATIENT, moves);
        if is_settled(&now) {
            return;
        }
        delivered = now.delivered;
    }
}

/// With STORIES_LONG as many Kafka topics and messages as docs/performance.md says.
#[test]
fn records_for_many_kafka_topics_come_about_as_fast_as_for_one() {
    let (kafka_topics, rate, seconds) = if long() { (1_000, 10_000, 10) } else { (100, 1_000, 2) };
    let flat_out = if long() { 100_000 } else { 5_000 };
    let story = Story::new("many Kafka topics");
    // A thousand new partitions keep a slow disk busy for seconds, and Kafka's controller waits for it.
    let kafka = Kafka::start_forgiving(story.dir());
    kafka.create("one", 4, &[]);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.route("one/#", "one").route_with(&[
        ("filter", "many/{device}".into()),
        ("kafka_topic", "many-{device}".into()),
        ("missing_topic", "create".into()),
        ("create_partitions", 1.into()),
    ]);
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    mosquitto.wait_subscribed("bridge", 2);
    let publish = |prefix: &str, rate: u32, count: u64| {
        let load = Load { mqtt_topics: kafka_topics, rate, window: 1_000, ..Load::default() };
        let publisher = Publisher::start(&mosquitto.address(), Version::V5, prefix, load);
        let before = bridge.summary().received;
        let start = std::time::Instant::now();
        publisher.publish(count);
        wait_all_settled(&bridge, before + count);
        publisher.wait_done(PATIENT);
        count as f64 / start.elapsed().as_secs_f64()
    };
    // Each name once, so that all are there; and then some more, so that producers and Kafka know each.
    let warm_up = [1, 10].map(|rounds| rounds * kafka_topics as u64);
    warm_up.into_iter().for_each(|count| _ = publish("many", rate, count));
    publish("many", rate, u64::from(rate) * seconds);
    let skipped = warm_up.iter().sum::<u64>() as usize;
    let p99 = p99_us(&bridge.dir().join("run-1.log"), "many/", skipped);
    let one = publish("one", 1_000_000, flat_out);
    let many = publish("many", 1_000_000, flat_out);
    tell(&format!(
        "{kafka_topics} Kafka topics at {rate}/s: p99 {p99} us; flat out {many:.0}/s, to one \
         {one:.0}/s, ratio {:.2}",
        many / one
    ));
    let summary = bridge.summary();
    assert_eq!(summary.delivered, summary.received);
    if long() {
        assert!(p99 < 50_000, "{p99} us");
    }
    assert_eq!(bridge.terminate(), 0);
    bridge.assert_logs_sound();
}

#[test]
fn a_timestamp_that_kafka_refuses_is_its_messages_own_fault_and_the_others_arrive_in_order() {
    let story = Story::new("refused timestamps");
    let kafka = Kafka::shared();
    kafka.create("stamped", 1, &[("message.timestamp.before.max.ms", "3600000")]);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
    let dead_letters = DeadLetters::new(&story.dir().join("dead-letters.jsonl"));
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", &kafka.bootstrap());
    config.set("dead_letter", "file", dead_letters.path()).route_with(&[
        ("filter", "stamped/#".into()),
        ("kafka_topic", "stamped".into()),
        ("timestamp", "json./ts".into()),
        ("timestamp_max_skew", "never".into()),
    ]);
    let mut bridge = Bridge::start(story.dir(), "bridge", &config);
    mosquitto.wait_subscribed("bridge", 1);
    let mut device = MqttClient::connect(&mosquitto.address(), Version::V5, "device").unwrap();
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let payload = |number: u16| {
        let age_ms = if number % 20 == 10 { 86_400_000 } else { 1000 };
        format!("{{\"number\":{number},\"ts\":{}}}", now_ms - age_ms).into_bytes()
    };
    // Without waiting for a PUBACK, so that what is refused shares its request with others.
    for number in 1..=60 {
        let publish = wire::Publish {
            qos: 1,
            mqtt_topic: b"stamped/a".to_vec(),
            pkid: number,
            payload: payload(number),
            ..wire::Publish::default()
        };
        device.send(&Packet::Publish(publish)).unwrap();
    }
    bridge.wait_summary("all have their verdict", PATIENT, |now| {
        (now.delivered, now.dead_lettered, now.in_flight) == (57, 3, 0)
    });
    let (refused, taken): (Vec<u16>, Vec<u16>) = (1..=60).partition(|number| number % 20 == 10);
    let records = kafka::records(&kafka.bootstrap(), "stamped").into_iter();
    let values: Vec<_> = records.map(|record| record.value).collect();
    assert_eq!(values, taken.into_iter().map(payload).collect::<Vec<_>>(), "each once, in order");
    let letters = dead_letters.read();
    assert!(letters.iter().all(|it| it.reason() == "kafka_timestamp_refused"), "{letters:?}");
    let payloads: Vec<_> = letters.iter().map(|letter| letter.payload()).collect();
    assert_eq!(payloads, refused.into_iter().map(payload).collect::<Vec<_>>());
    assert_eq!(bridge.terminate(), 0);
    bridge.assert_logs_sound();
}
