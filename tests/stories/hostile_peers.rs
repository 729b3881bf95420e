//! A peer on either side that speaks garbage, or a byte now and then, costs nothing but its own connection: the
//! bridge neither ends nor grows, and goes on as soon as a real one has the port.

use std::time::Duration;

use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};

use crate::support::broker::Broker;
use crate::support::hostile::*;
use crate::support::mosquitto::Setup;
use crate::support::transport::{Listener, Transport};
use crate::support::*;

/// Of each kind of broker, of which there are four.
const ANSWERS: u64 = 2_500;
/// After these, memory has been taken that is kept.
const FIRST_ANSWERS: u64 = 500;
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
    for name in ["mqtt4", "mqtt5", "mqtts", "ws", "bridge"] {
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

/// A hostile broker, a bridge that knows no other, and the real one that follows.
struct Side {
    version: Version,
    name: &'static str,
    listener: Listener,
    mosquitto: Mosquitto,
    server: HostileServer,
    bridge: Bridge,
    http: Http,
}

impl Side {
    fn start(
        story: &Story,
        kafka: &MockKafka,
        (name, version, transport): (&'static str, Version, Transport),
        answer: impl Fn(&mut Victim) -> End + Send + Sync + 'static,
        mosquitto: Mosquitto,
    ) -> Self {
        let server = HostileServer::start(answer);
        let (bridge, http) = bridge(story, name, server.address(), kafka.bootstrap(), |config| {
            config.set("mqtt", "protocol", version.name());
            transport.configure(config, &mosquitto, server.address(), None);
        });
        Self { version, name, listener: transport.listener(), mosquitto, server, bridge, http }
    }

    /// Puts the real broker where the hostile one was, and asserts that messages pass.
    #[track_caller]
    fn heal(self, story: &Story, kafka: &MockKafka) {
        let Self { version, name, listener, mosquitto, server, mut bridge, http } = self;
        assert_eq!(http.get("/livez").unwrap().status, 200, "it is alive");
        let address = server.address().to_owned();
        drop(server);
        let _proxy = Proxy::at(&address, &mosquitto.address_of(listener));
        let reader = Reader::start(kafka.bootstrap(), name);
        mosquitto.wait_subscribed("bridge", 1);
        http.wait_ready(SOON);
        let publisher = Publisher::start(&mosquitto.address(), version, "a", Load::default());
        publisher.publish(MESSAGES);
        publisher.wait_done(PATIENT);
        eventually("all are in Kafka", PATIENT, || reader.distinct() >= MESSAGES);
        let failed = bridge.log().count(|record| record["msg"] == "actor failed, will restart");
        assert_eq!(failed, 0, "an actor panicked");
        assert_eq!(bridge.terminate(), 0, "the bridge drains");
        bridge.assert_logs_sound();
        let mut verdict = Verdict::of(&publisher.ledger(), &reader.read_to_end(SOON));
        // What the hostile broker published is in the same Kafka topic.
        verdict.wrong = 0;
        verdict.report(story.name, name);
        verdict.assert_exact();
    }
}

#[test]
fn ten_thousand_answers_of_a_broker_that_says_anything() {
    let story = Story::new("10,000 hostile answers");
    let kafka = mock_kafka();
    let plain = |version: Version| {
        move |victim: &mut Victim| {
            victim.listen();
            let (bytes, end) = mqtt_answer(version, victim.number);
            victim.say(&bytes);
            end
        }
    };
    let broker = |setup: Setup| Mosquitto::start(story.dir(), &setup);
    let with_tls = broker(Setup::default().listen(Listener::Tls));
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    let [certificate, key] = Broker::certificates(&with_tls).expect("it has TLS").broker();
    acceptor.set_certificate_file(certificate, SslFiletype::PEM).unwrap();
    acceptor.set_private_key_file(key, SslFiletype::PEM).unwrap();
    let acceptor = acceptor.build();
    let by_tls = move |victim: &mut Victim| answer_by_tls(&acceptor, Version::V5, victim);
    let sides = vec![
        Side::start(
            &story,
            &kafka,
            ("mqtt4", Version::V311, Transport::Tcp),
            plain(Version::V311),
            broker(Setup::default()),
        ),
        Side::start(
            &story,
            &kafka,
            ("mqtt5", Version::V5, Transport::Tcp),
            plain(Version::V5),
            broker(Setup::default()),
        ),
        Side::start(&story, &kafka, ("mqtts", Version::V5, Transport::Tls), by_tls, with_tls),
    ];
    withstand(&story, &kafka, sides);
}

#[test]
fn thousands_of_answers_of_a_websocket_that_says_anything() {
    let story = Story::new("hostile answers by WebSocket");
    let kafka = mock_kafka();
    let answer = |victim: &mut Victim| answer_by_websocket(Version::V5, victim);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default().listen(Listener::WebSocket));
    let side = ("ws", Version::V5, Transport::WebSocket);
    withstand(&story, &kafka, vec![Side::start(&story, &kafka, side, answer, mosquitto)]);
}

/// Waits for [`ANSWERS`] of each side, and asserts that nothing grows and that it heals.
#[track_caller]
fn withstand(story: &Story, kafka: &MockKafka, mut sides: Vec<Side>) {
    let mut before = Vec::new();
    for side in &mut sides {
        wait_answers(&side.server, FIRST_ANSWERS, &mut side.bridge);
        before.push((side.bridge.process().rss_kib(), threads(&mut side.bridge)));
    }
    for (mut side, (rss, threads_before)) in sides.into_iter().zip(before) {
        wait_answers(&side.server, ANSWERS, &mut side.bridge);
        let now = side.bridge.process().rss_kib();
        tell(&format!(
            "{}, {}: {rss} KiB after {FIRST_ANSWERS} answers, {now} KiB after {}",
            story.name,
            side.name,
            side.server.answers()
        ));
        assert!(now < rss + GROWTH_MAX_KIB, "{}: {rss} KiB before, {now} KiB now", side.name);
        assert!(threads(&mut side.bridge) <= threads_before + 2, "{}", side.name);
        side.heal(story, kafka);
    }
}

#[test]
fn a_broker_that_sends_a_byte_now_and_then_holds_nobody_up() {
    const PAUSE: Duration = Duration::from_millis(100);
    let story = Story::new("slow broker");
    let kafka = mock_kafka();
    let mut sides = Version::BOTH.map(|version| {
        // The first answers end in CONNACK, the others get as far as a PUBLISH that never ends.
        let answer = move |victim: &mut Victim| {
            victim.wait_said();
            let connack =
                Packet::ConnAck { session_present: false, code: 0, properties: Vec::new() };
            let connack = connack.encode(version);
            if victim.number < 5 {
                victim.trickle(connack, PAUSE);
                return End::Hold(SOON);
            }
            victim.say(&connack);
            // A SUBACK that comes before the SUBSCRIBE would answer nothing.
            victim.wait_said();
            victim.say(&Packet::SubAck { pkid: 1, codes: vec![1] }.encode(version));
            victim.say(&[0x32, 0xFF, 0xFF, 0xFF, 0x7F, 0, 3]);
            victim.trickle(std::iter::repeat(b'x'), PAUSE);
            End::Close
        };
        let name = if version == Version::V5 { "mqtt5" } else { "mqtt4" };
        let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
        Side::start(&story, &kafka, (name, version, Transport::Tcp), answer, mosquitto)
    });
    for side in &mut sides {
        wait_answers(&side.server, 5, &mut side.bridge);
        // By all that MQTT says this is a connection, and the bridge is ready.
        side.bridge.log().wait_for("it subscribes", SOON, |record| record["msg"] == "subscribed");
        side.http.wait_ready(SOON);
    }
    sides.into_iter().for_each(|side| side.heal(&story, &kafka));
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
