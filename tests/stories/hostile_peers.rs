//! A peer on either side that speaks garbage, or a byte now and then, costs nothing but its own connection: the
//! bridge neither ends nor grows, and goes on as soon as a real one has the port.

use std::time::Duration;

use crate::support::hostile::{End, HostileServer, Victim, mqtt_answer};
use crate::support::mosquitto::Setup;
use crate::support::*;

/// Of each protocol version.
const ANSWERS: u64 = 5_000;
/// After these, memory has been taken that is kept.
const FIRST_ANSWERS: u64 = 1_000;
const GROWTH_MAX_KIB: u64 = 16 * 1024;
const MESSAGES: u64 = 1_000;

/// A bridge between the broker and the Kafka at these addresses that tries again at once.
fn bridge(
    story: &Story,
    name: &str,
    mqtt: &str,
    kafka: &str,
    change: impl Fn(&mut ConfigFile),
) -> (Bridge, Http) {
    let http = Http::free();
    let mut config = ConfigFile::new(mqtt, "bridge", kafka);
    let dead_letters = DeadLetters::new(&story.dir().join(format!("{name}-dead.jsonl")));
    config
        .set("mqtt", "reconnect_min", "1ms")
        .set("mqtt", "reconnect_max", "3ms")
        .set("mqtt", "connect_timeout", "300ms")
        .set("dead_letter", "file", dead_letters.path())
        .route("a/#", name);
    http.configure(&mut config);
    change(&mut config);
    (Bridge::start(story.dir(), name, &config), http)
}

/// With a Kafka topic for each bridge.
fn mock_kafka() -> MockKafka {
    let kafka = MockKafka::start();
    for name in ["mqtt4", "mqtt5", "bridge"] {
        kafka.order(move |cluster| cluster.create_topic(name, 4, 1)).expect("a new Kafka topic");
    }
    kafka
}

fn threads(bridge: &mut Bridge) -> usize {
    let pid = bridge.process().pid();
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// Waits until the server has answered so often, while the bridge is alive.
#[track_caller]
fn wait_answers(server: &HostileServer, answers: u64, bridge: &mut Bridge) {
    eventually(&format!("{answers} answers"), PATIENT, || {
        assert!(bridge.is_running(), "the bridge ended after {} answers", server.answers());
        server.answers() >= answers
    });
}

/// Puts a real broker behind the hostile server's address, and asserts that messages pass.
#[track_caller]
fn heals(
    story: &Story,
    version: Version,
    address: &str,
    kafka: &str,
    bridge: &mut Bridge,
    http: &Http,
) {
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let _proxy = Proxy::at(address, &mosquitto.address());
    let reader = Reader::start(kafka, &format!("mqtt{}", version.level()));
    mosquitto.wait_subscribed("bridge", 1);
    http.wait_ready(SOON);
    let publisher = Publisher::start(&mosquitto.address(), version, "a", Load::default());
    publisher.publish(MESSAGES);
    publisher.wait_done(PATIENT);
    eventually("all are in Kafka", PATIENT, || reader.distinct() >= MESSAGES);
    assert_eq!(http.get("/livez").unwrap().status, 200);
    let told = bridge.log().count(|record| record["msg"] == "actor failed, will restart");
    assert_eq!(told, 0, "an actor panicked");
    assert_eq!(bridge.terminate(), 0, "the bridge drains");
    bridge.assert_logs_sound();
    let mut verdict = Verdict::of(&publisher.ledger(), &reader.read_to_end(SOON));
    // What the hostile broker published is in the same Kafka topic.
    verdict.wrong = 0;
    verdict.report(story.name, version.name());
    verdict.assert_exact();
}

#[test]
fn ten_thousand_answers_of_a_broker_that_says_anything() {
    let story = Story::new("10,000 hostile answers, MQTT");
    let kafka = mock_kafka();
    let mut sides = Version::BOTH.map(|version| {
        let server = HostileServer::start(move |victim: &mut Victim| {
            victim.listen();
            let (bytes, end) = mqtt_answer(version, victim.number);
            victim.say(&bytes);
            end
        });
        let name = format!("mqtt{}", version.level());
        let (bridge, http) = bridge(&story, &name, server.address(), kafka.bootstrap(), |config| {
            config.set("mqtt", "protocol", version.name());
        });
        (version, server, bridge, http)
    });
    let mut before = Vec::new();
    for (_, server, bridge, _) in &mut sides {
        wait_answers(server, FIRST_ANSWERS, bridge);
        before.push((bridge.process().rss_kib(), threads(bridge)));
    }
    for ((version, server, mut bridge, http), (rss, threads_before)) in
        sides.into_iter().zip(before)
    {
        wait_answers(&server, ANSWERS, &mut bridge);
        assert_eq!(http.get("/livez").unwrap().status, 200, "it is alive");
        let now = bridge.process().rss_kib();
        tell(&format!(
            "{}, {}: {rss} KiB after {FIRST_ANSWERS} answers, {now} KiB after {}",
            story.name,
            version.name(),
            server.answers()
        ));
        assert!(now < rss + GROWTH_MAX_KIB, "{rss} KiB before, {now} KiB now");
        assert!(threads(&mut bridge) <= threads_before + 2);
        let address = server.address().to_owned();
        drop(server);
        heals(&story, version, &address, kafka.bootstrap(), &mut bridge, &http);
    }
}

#[test]
fn a_broker_that_sends_a_byte_now_and_then_holds_nobody_up() {
    const PAUSE: Duration = Duration::from_millis(100);
    let story = Story::new("slow broker");
    let kafka = mock_kafka();
    let mut sides = Version::BOTH.map(|version| {
        // The first answers end in CONNACK, the others get as far as a PUBLISH that never ends.
        let server = HostileServer::start(move |victim: &mut Victim| {
            victim.listen();
            let connack =
                Packet::ConnAck { session_present: false, code: 0, properties: Vec::new() };
            let connack = connack.encode(version);
            if victim.number < 5 {
                victim.trickle(connack, PAUSE);
                return End::Hold(SOON);
            }
            victim.say(&connack);
            victim.listen();
            victim.say(&Packet::SubAck { pkid: 1, codes: vec![1] }.encode(version));
            victim.say(&[0x32, 0xFF, 0xFF, 0xFF, 0x7F, 0, 3]);
            victim.trickle(std::iter::repeat(b'x'), PAUSE);
            End::Close
        });
        let name = format!("mqtt{}", version.level());
        let (bridge, http) = bridge(&story, &name, server.address(), kafka.bootstrap(), |config| {
            config.set("mqtt", "protocol", version.name());
        });
        (version, server, bridge, http)
    });
    for (_, server, bridge, http) in &mut sides {
        wait_answers(server, 5, bridge);
        // By all that MQTT says this is a connection, and the bridge is ready.
        bridge.log().wait_for("it subscribes", SOON, |record| record["msg"] == "subscribed");
        http.wait_ready(SOON);
    }
    for (version, server, mut bridge, http) in sides {
        let address = server.address().to_owned();
        drop(server);
        heals(&story, version, &address, kafka.bootstrap(), &mut bridge, &http);
    }
}

#[test]
fn a_kafka_that_says_anything_is_waited_for() {
    const ANSWERS: u64 = 300;
    let story = Story::new("hostile Kafka");
    let server = HostileServer::start(|victim: &mut Victim| {
        let mut random = fastrand::Rng::with_seed(victim.number);
        let mut garbage = |length: usize| (0..length).map(|_| random.u8(..)).collect::<Vec<_>>();
        match victim.number % 6 {
            0 => {}
            1 => victim.say(&garbage(2_000)),
            // A frame of 96 MiB, of which little comes.
            2 => {
                victim.say(&[6, 0, 0, 0]);
                victim.say(&garbage(60_000));
                return End::Hold(Duration::from_millis(500));
            }
            3 => victim.trickle(garbage(10), Duration::from_millis(30)),
            // The answer to the first request, of the right length and with the right number, and nonsense.
            4 => {
                victim.listen();
                victim.say(&[&[0, 0, 1, 0, 0, 0, 0, 1][..], &garbage(252)].concat());
            }
            _ => return End::Hold(Duration::from_millis(500)),
        }
        End::Close
    });
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let (mut bridge, http) =
        bridge(&story, "bridge", &mosquitto.address(), server.address(), |config| {
            config.set("kafka.properties", "reconnect.backoff.ms", "10").set(
                "kafka.properties",
                "reconnect.backoff.max.ms",
                "50",
            );
        });
    mosquitto.wait_subscribed("bridge", 1);
    let publisher = Publisher::start(&mosquitto.address(), Version::V5, "a", Load::default());
    publisher.publish(MESSAGES);
    publisher.wait_done(PATIENT);
    wait_answers(&server, ANSWERS / 3, &mut bridge);
    let rss = bridge.process().rss_kib();
    wait_answers(&server, ANSWERS, &mut bridge);
    let now = bridge.process().rss_kib();
    tell(&format!("{}: {rss} KiB, then {now} KiB after {ANSWERS} answers", story.name));
    assert!(now < rss + GROWTH_MAX_KIB, "{rss} KiB before, {now} KiB now");
    assert_eq!(http.get("/livez").unwrap().status, 200, "it is alive");
    let held = bridge.wait_summary("all wait", SOON, |now| now.in_flight == MESSAGES);
    assert_eq!((held.delivered, held.restarts), (0, 0));

    let kafka = mock_kafka();
    let address = server.address().to_owned();
    drop(server);
    let _proxy = Proxy::at(&address, kafka.bootstrap());
    let reader = Reader::start(kafka.bootstrap(), "bridge");
    http.wait_ready(PATIENT);
    eventually("all are in Kafka", PATIENT, || reader.distinct() >= MESSAGES);
    assert_eq!(bridge.terminate(), 0, "the bridge drains");
    bridge.assert_logs_sound();
    let verdict = Verdict::of(&publisher.ledger(), &reader.read_to_end(SOON));
    verdict.report(story.name, "5");
    verdict.assert_exact();
}
