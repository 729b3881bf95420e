//! `match = "all"`: a message is delivered when all of its records are, and no part of it is forgotten.

use crate::support::mosquitto::Setup;
use crate::support::*;

/// Messages before and after the outage.
const FIRST: u64 = 300;

/// A bridge for one version of MQTT, with a Kafka topic for each of three routes.
struct FanOut {
    version: Version,
    kafka_topics: [String; 3],
    bridge: Bridge,
    http: Http,
    publisher: Publisher,
}

impl FanOut {
    fn start(story: &Story, kafka: &Kafka, mosquitto: &Mosquitto, version: Version) -> Self {
        let name = format!("fan-{}", version.level());
        let kafka_topics = ["a", "b", "c"].map(|end| format!("{name}-{end}"));
        for kafka_topic in &kafka_topics[..2] {
            kafka.create(kafka_topic, 4, &[]);
        }
        let http = Http::free();
        let mut config = ConfigFile::new(&mosquitto.address(), &name, &kafka.bootstrap());
        http.configure(&mut config);
        config.set("mqtt", "protocol", version.name());
        for (filter, kafka_topic) in ["#", "+", "{device...}"].iter().zip(&kafka_topics) {
            config.route(&format!("{name}/{filter}"), kafka_topic);
        }
        let mut bridge = Bridge::new(story.dir(), &name, &config);
        bridge.environment("BRIDGE_MATCH", Some("all"));
        bridge.run();
        mosquitto.wait_subscribed(&name, 1);
        let publisher = Publisher::start(&mosquitto.address(), version, &name, Load::default());
        Self { version, kafka_topics, bridge, http, publisher }
    }

    /// All messages wait, since one of their parts does.
    fn wait_held(&self) {
        let what = format!("all wait, over MQTT {}", self.version.name());
        let now = self.bridge.wait_summary(&what, PATIENT, |now| now.in_flight == FIRST);
        assert_eq!(now.delivered, 0, "a message is delivered when all of its records are");
    }
}

#[test]
fn a_message_with_a_part_that_is_held_waits_through_a_restart_of_kafka_and_the_bridges_death() {
    let story = Story::new("fan-out");
    let mut kafka = Kafka::start(story.dir());
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
    let mut both = Version::BOTH.map(|it| FanOut::start(&story, &kafka, &mosquitto, it));
    for it in &both {
        it.publisher.publish(FIRST);
    }
    for it in &both {
        for kafka_topic in &it.kafka_topics[..2] {
            eventually("the parts that can be are delivered", PATIENT, || {
                kafka::records(&kafka.bootstrap(), kafka_topic).len() as u64 == FIRST
            });
        }
        it.http.wait_reason("kafka_topic_missing", PATIENT);
        it.wait_held();
    }

    kafka.kill();
    kafka.run();
    for it in &mut both {
        it.bridge.kill();
        it.bridge.run();
        it.wait_held();
    }
    for it in &both {
        kafka.create(&it.kafka_topics[2], 4, &[]);
        it.publisher.publish(FIRST);
    }
    for it in &mut both {
        it.publisher.wait_done(PATIENT);
        it.bridge.wait_summary("all are settled", PATIENT, |now| {
            now.in_flight == 0 && now.delivered == 2 * FIRST
        });
        for kafka_topic in &it.kafka_topics {
            let reader = Reader::start(&kafka.bootstrap(), kafka_topic);
            eventually("each part is delivered", PATIENT, || reader.distinct() == 2 * FIRST);
            let verdict = Verdict::of(&it.publisher.ledger(), &reader.read_to_end(SOON));
            verdict.report(story.name, &format!("each of three, MQTT {}", it.version.name()));
            verdict.assert_nothing_lost_or_reordered();
        }
        it.http.wait_ready(PATIENT);
        assert_eq!(it.bridge.terminate(), 0);
        it.bridge.assert_logs_sound();
    }
}
