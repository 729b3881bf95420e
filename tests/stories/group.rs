//! Several members share the subscriptions of a group, in processes of their own: whatever happens to one of
//! them, no message is lost.

use crate::support::mosquitto::Setup;
use crate::support::*;

/// Small, so that the bound for duplicates is one.
const WINDOW: u64 = 200;
/// What all members together deliver between two events.
const STRETCH: u64 = 2_000;

/// Devices, a broker with the group, and Kafka.
struct Field {
    mosquitto: Mosquitto,
    publisher: Publisher,
    reader: Reader,
}

impl Field {
    fn start(story: &Story, kafka_topic: &str) -> Self {
        let kafka = Kafka::shared();
        kafka.create(kafka_topic, 4, &[]);
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default().persistent());
        let load = Load { rate: 4_000, ..Load::default() };
        let publisher = Publisher::start(&mosquitto.address(), Version::V5, "devices", load);
        let reader = Reader::start(&kafka.bootstrap(), kafka_topic);
        Self { mosquitto, publisher, reader }
    }

    /// A member with its own client id; its window is [`WINDOW`].
    fn join(&self, story: &Story, kafka_topic: &str, number: usize) -> Bridge {
        let name = format!("bridge-{number}");
        let mut config =
            ConfigFile::new(&self.mosquitto.address(), &name, &Kafka::shared().bootstrap());
        config
            .set("mqtt", "protocol", "5")
            .set("delivery", "window_messages", WINDOW)
            .route("$share/bridge/devices/#", kafka_topic);
        let bridge = Bridge::start(story.dir(), &name, &config);
        self.mosquitto.wait_subscribed(&name, 1);
        bridge
    }

    /// Waits until this many more messages are in Kafka.
    #[track_caller]
    fn wait_more(&self, messages: u64) {
        let goal = self.reader.distinct() + messages;
        eventually("more messages are in Kafka", PATIENT, || self.reader.distinct() >= goal);
    }

    /// Waits until all that was published is in Kafka.
    #[track_caller]
    fn wait_all(&self) {
        self.publisher.pause();
        self.publisher.wait_done(PATIENT);
        let acked = self.publisher.ledger().acked();
        eventually("all are in Kafka", PATIENT, || self.reader.distinct() >= acked);
    }

    /// What arrived, where nothing may be lost. Order holds within one member only.
    #[track_caller]
    fn verdict(&self, story: &Story) -> Verdict {
        let arrivals = self.reader.read_to_end(SOON);
        let verdict = Verdict::of(&self.publisher.ledger(), &arrivals);
        verdict.report(story.name, "5");
        assert_eq!((verdict.lost, verdict.wrong), (0, 0), "{verdict:?}");
        assert_eq!(verdict.delivered, verdict.published, "{verdict:?}");
        verdict
    }
}

/// Waits until this member delivers.
#[track_caller]
fn wait_share(member: &Bridge) {
    let before = member.summary().delivered;
    member.wait_summary("it gets its share", PATIENT, |now| now.delivered > before + 50);
}

#[test]
fn members_of_a_group_are_killed_stopped_joined_and_nothing_is_lost() {
    let story = Story::new("three bridges in one group");
    let kafka_topic = "group-of-three";
    let field = Field::start(&story, kafka_topic);
    let mut members: Vec<_> =
        (0..3).map(|number| field.join(&story, kafka_topic, number)).collect();
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

    members.push(field.join(&story, kafka_topic, 3));
    members.iter().for_each(wait_share);

    field.wait_all();
    for member in &mut members {
        member.wait_summary("nothing is in flight", SOON, |now| now.in_flight == 0);
        assert_eq!(member.terminate(), 0, "it drains");
        // Each summary balances.
        member.assert_logs_sound();
    }
    let verdict = field.verdict(&story);
    assert!(verdict.duplicated <= WINDOW, "only what the killed one had in flight: {verdict:?}");
    assert!(verdict.reordered > 0, "several members do not keep the order of an MQTT topic");
}
