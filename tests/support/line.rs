//! One whole line: publisher -> MQTT broker -> bridge -> Kafka -> reader.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::broker::Broker;
use super::dead_letters::DeadLetters;
use super::ledger::parse;
use super::mosquitto::Setup;
use super::wire::Connect;
use super::{
    Bridge, ConfigFile, ForwardProxy, Kafka, Listener, Load, MockKafka, Mosquitto, MqttClient,
    PATIENT, Proxy, Publisher, Reader, SOON, ScriptedBroker, Story, Transport, Verdict, Version,
    eventually, slug, within,
};

/// The environment variable that arms failpoints (src/failpoint.rs).
const FAILPOINTS: &str = "BRIDGE_FAILPOINTS";

/// How a line is set up.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The broker, if it is a Mosquitto.
    pub mosquitto: Setup,
    /// What the devices send.
    pub load: Load,
    /// Keys of the bridge's configuration: section, key, value.
    pub config: Vec<(&'static str, &'static str, serde_json::Value)>,
    /// How many partitions the Kafka topic has; 4 by default.
    pub partitions: Option<i32>,
    /// Settings of the Kafka topic.
    pub kafka_topic: Vec<(&'static str, &'static str)>,
    /// The value of `BRIDGE_FAILPOINTS` in the bridge's first run; empty: not set.
    pub failpoints: String,
    /// Its names on its broker.
    pub names: Names,
    /// How the bridge reaches the broker; devices use TCP.
    pub transport: Transport,
}

/// A line's names on its broker, different from those of other lines on that broker.
#[derive(Debug, Clone)]
pub struct Names {
    /// The bridge's client id.
    pub client_id: String,
    /// The first level of the devices' MQTT topics.
    pub devices: String,
}

impl Default for Names {
    fn default() -> Self {
        Self { client_id: "bridge".to_owned(), devices: "devices".to_owned() }
    }
}

/// A running line of one protocol version.
pub struct Line<B = Mosquitto> {
    /// The version that publisher and bridge use.
    pub version: Version,
    /// Publishes when told to.
    pub publisher: Publisher,
    /// The broker.
    pub broker: B,
    /// The bridge's client id there.
    pub client_id: String,
    /// Between the broker and the bridge, below TLS and WebSocket; a Unix socket goes past it.
    pub proxy: Proxy,
    /// What the bridge dials through, if it does.
    _forward_proxy: Option<ForwardProxy>,
    /// The binary.
    pub bridge: Bridge,
    /// Reads `kafka_topic` continuously.
    pub reader: Reader,
    /// The Kafka topic that the bridge writes to.
    pub kafka_topic: String,
    /// The bridge's dead letter file.
    pub dead_letters: DeadLetters,
    /// Its name in the fault table.
    pub story: String,
}

impl Line {
    /// One line for each protocol version, all into `kafka`.
    pub fn both(story: &Story, kafka: &Kafka, plan: &Plan) -> Vec<Self> {
        Version::BOTH.map(|version| Self::start(story, kafka, version, plan)).into()
    }

    /// One line for each of these transports and each protocol version, all into `kafka`.
    pub fn over_each(
        story: &Story,
        kafka: &Kafka,
        plan: &Plan,
        transports: &[Transport],
    ) -> Vec<Self> {
        let lines = transports
            .iter()
            .flat_map(|&transport| Self::both(story, kafka, &Plan { transport, ..plan.clone() }));
        lines.collect()
    }

    /// Starts all parts, and waits until the bridge is subscribed.
    pub fn start(story: &Story, kafka: &Kafka, version: Version, plan: &Plan) -> Self {
        let setup = plan.mosquitto.clone().listen(plan.transport.listener());
        let mosquitto = Mosquitto::start(story.dir(), &setup);
        let line = Self::over(mosquitto, story, kafka, version, plan);
        line.broker.wait_subscribed(&plan.names.client_id, 1);
        line
    }
}

impl<B: Broker> Line<B> {
    /// Starts all other parts around a running broker, and waits until the bridge logs that it is
    /// subscribed.
    pub fn over(broker: B, story: &Story, kafka: &Kafka, version: Version, plan: &Plan) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mqtt{}-{number}", version.level());
        let kafka_topic = format!("{}-{name}", slug(story.name));
        kafka.create(&kafka_topic, plan.partitions.unwrap_or(4), &plan.kafka_topic);
        let Names { client_id, devices } = &plan.names;
        let listener = plan.transport.listener();
        // A Unix socket goes past the proxy.
        let behind = if listener == Listener::Unix { Listener::Plain } else { listener };
        let proxy = Proxy::start(&broker.address_of(behind));
        let forward_proxy = plan.transport.forward_proxy(story.dir());
        let mut config = ConfigFile::new(&proxy.address(), client_id, &kafka.bootstrap());
        let address = match listener {
            Listener::Unix => broker.address_of(listener),
            _ => proxy.address(),
        };
        plan.transport.configure(&mut config, &broker, &address, forward_proxy.as_ref());
        config.set("mqtt", "protocol", version.name());
        let dead_letters = DeadLetters::new(&story.dir().join(format!("{name}-dead.jsonl")));
        config.set("dead_letter", "file", dead_letters.path());
        for (section, key, value) in &plan.config {
            config.set(section, key, value.clone());
        }
        config.route_with(&[
            ("filter", format!("{devices}/#").into()),
            ("qos", plan.load.qos.into()),
            ("kafka_topic", kafka_topic.clone().into()),
        ]);
        let mut bridge = Bridge::new(story.dir(), &name, &config);
        let failpoints = Some(&*plan.failpoints).filter(|failpoints| !failpoints.is_empty());
        bridge.environment(FAILPOINTS, failpoints);
        bridge.run();
        bridge.environment(FAILPOINTS, None);
        bridge.log().wait_for("it subscribes", PATIENT, |record| record["msg"] == "subscribed");
        let publisher = Publisher::start(&broker.address(), version, devices, plan.load);
        let reader = Reader::start(&kafka.bootstrap(), &kafka_topic);
        let story = match plan.transport {
            Transport::Tcp => story.name.to_owned(),
            transport => format!("{}, {}", story.name, transport.name()),
        };
        Self {
            version,
            publisher,
            broker,
            client_id: client_id.clone(),
            proxy,
            _forward_proxy: forward_proxy,
            bridge,
            reader,
            kafka_topic,
            dead_letters,
            story,
        }
    }

    /// Waits until at least this many distinct messages are in Kafka.
    #[track_caller]
    pub fn wait_delivered(&self, messages: u64) {
        let what = format!("{messages} messages of MQTT {} are in Kafka", self.version.name());
        eventually(&what, PATIENT, || self.reader.distinct() >= messages);
    }

    /// Takes the bridge's session, acknowledges nothing, and waits until the bridge has it back.
    #[track_caller]
    pub fn take_over(&self) {
        let connect = Connect {
            level: self.version.level(),
            client_id: self.client_id.clone(),
            clean: false,
            keep_alive: 0,
            login: None,
            session_expiry: (self.version == Version::V5).then_some(86_400),
            receive_maximum: None,
        };
        let (mut thief, present) =
            MqttClient::connect_with(&self.broker.address(), &connect).unwrap();
        assert!(present, "the other client has the bridge's session");
        eventually("the bridge takes its session back", SOON, || {
            thief.read(Duration::from_millis(50)).is_err()
        });
    }

    /// Waits until everything published is acknowledged and in Kafka or dead-lettered, ends the
    /// bridge, which must drain, and reads Kafka to its end. Writes the line of the fault table.
    #[track_caller]
    pub fn settle(&mut self) -> Verdict {
        self.publisher.wait_done(PATIENT);
        let mut ledger = self.publisher.ledger();
        let expected = if ledger.acked() > 0 { ledger.acked() } else { ledger.published() };
        // A message that does not arrive in time is lost; the verdict counts it.
        let _ = within(PATIENT, || {
            self.reader.distinct() + (self.dead_letters.read().len() as u64) >= expected
        });
        assert_eq!(self.bridge.terminate(), 0, "the bridge drains");
        for letter in self.dead_letters.read() {
            if let Some((mqtt_topic, seq)) = parse(&letter.payload()) {
                ledger.except(mqtt_topic, seq);
            }
        }
        let verdict = Verdict::of(&ledger, &self.reader.read_to_end(SOON));
        verdict.report(&self.story, self.version.name());
        self.bridge.assert_logs_sound();
        verdict
    }
}

impl Bridge {
    /// A running bridge between a scripted broker and a mock cluster, from `a/#` to the Kafka topic
    /// `t`; `change` can change its configuration before it starts.
    pub fn scripted(
        story: &Story,
        version: Version,
        change: impl FnOnce(&mut Self),
    ) -> (ScriptedBroker, MockKafka, Self) {
        let broker = ScriptedBroker::start();
        let kafka = MockKafka::start();
        kafka.order(|cluster| cluster.create_topic("t", 4, 1)).expect("a new Kafka topic");
        let mut config = ConfigFile::new(&broker.address(), "bridge", kafka.bootstrap());
        config.set("mqtt", "protocol", version.name()).route("a/#", "t");
        let mut bridge = Self::new(story.dir(), &format!("mqtt{}", version.level()), &config);
        change(&mut bridge);
        bridge.run();
        (broker, kafka, bridge)
    }
}
