//! Kafka topics that templates name and the bridge may not write to, or not create.

use serde_json::json;

use crate::support::mosquitto::Setup;
use crate::support::*;

const USER: &str = "bridge";
const PASSWORD: &str = "secret";

/// What is expected of one that the bridge may not use.
const DENIED: &str = "TOPIC_AUTHORIZATION_FAILED";

/// A bridge for one version of MQTT.
struct One {
    version: Version,
    bridge: Bridge,
    http: Http,
    dead: DeadLetters,
    device: MqttClient,
}

impl One {
    fn start(story: &Story, kafka: &str, mosquitto: &Mosquitto, version: Version) -> Self {
        let name = format!("acls-{}", version.level());
        let (http, dead) =
            (Http::free(), DeadLetters::new(&story.dir().join(format!("{name}.jsonl"))));
        let mut config = ConfigFile::new(&mosquitto.address(), &name, kafka);
        http.configure(&mut config);
        config.set("mqtt", "protocol", version.name()).set("dead_letter", "file", dead.path());
        for (key, value) in [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", USER),
            ("sasl.password", PASSWORD),
        ] {
            config.set("kafka.properties", key, value);
        }
        for (route, missing) in [("create", "create"), ("hold", "hold")] {
            config.route_with(&[
                ("name", route.into()),
                ("filter", format!("{name}/{route}/{{kafka_topic}}/#").into()),
                ("kafka_topic", format!("{{kafka_topic}}-{}", version.level()).into()),
                ("missing_topic", missing.into()),
            ]);
        }
        let bridge = Bridge::start(story.dir(), &name, &config);
        mosquitto.wait_subscribed(&name, 2);
        let device =
            MqttClient::connect(&mosquitto.address(), version, &format!("device-{name}")).unwrap();
        Self { version, bridge, http, dead, device }
    }

    fn publish(&mut self, rest: &str, payload: &str) {
        let mqtt_topic = format!("acls-{}/{rest}", self.version.level());
        self.device.publish(&mqtt_topic, payload.as_bytes());
    }

    #[track_caller]
    fn wait(&self, what: &str, wanted: (u64, u64, u64)) {
        let what = format!("MQTT {}: {what}", self.version.name());
        self.bridge.wait_summary(&what, PATIENT, |now| {
            (now.delivered, now.dead_lettered, now.in_flight) == wanted
        });
    }

    fn readyz(&self) -> String {
        self.http.get("/readyz").unwrap().body
    }
}

#[test]
fn what_a_permission_is_missing_for_says_so_stops_no_other_kafka_topic_and_heals_when_it_is_granted()
 {
    let story = Story::new("kafka permissions");
    let authorizer = |_: &[String]| {
        let login = "listener.name.login";
        let module = "org.apache.kafka.common.security.plain.PlainLoginModule";
        format!(
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
{login}.sasl.enabled.mechanisms=PLAIN
{login}.plain.sasl.jaas.config={module} required user_{USER}=\"{PASSWORD}\";"
        )
    };
    let listeners = [("LOGIN", "SASL_PLAINTEXT")];
    let (kafka, addresses) = Kafka::start_with(story.dir(), &listeners, authorizer, Vec::new());
    // The bridge may see all of these, and write to the first.
    kafka.allow(USER, &["Describe"], &["open-", "seen-", "held-"]);
    kafka.allow(USER, &["Write"], &["open-"]);
    let levels = Version::BOTH.map(Version::level);
    for level in levels {
        for name in ["open-a", "seen-there", "held-a"] {
            kafka.create(&format!("{name}-{level}"), 1, &[]);
        }
    }
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut both = Version::BOTH.map(|v| One::start(&story, &addresses[0], &mosquitto, v));

    for it in &mut both {
        it.publish("create/open-a", "1");
        // It may not write there, not create that, and not even see the last.
        it.publish("create/seen-there", "refused 1");
        it.publish("create/seen-new", "refused 2");
        it.publish("create/hidden", "refused 3");
        it.publish("create/open-a", "2");
    }
    for it in &both {
        it.wait("the others go on", (2, 3, 0));
        let letters = it.dead.read();
        assert_eq!(letters.len(), 3, "{letters:?}");
        let mut names = Vec::new();
        for letter in &letters {
            assert_eq!(
                (letter.reason(), &letter.0["route"]),
                ("kafka_topic_denied", &json!("create"))
            );
            let detail = letter.0["detail"].as_str().unwrap();
            assert!(detail.contains(DENIED), "{detail}");
            let name = letter.0["kafka_topic"].as_str().unwrap();
            let is_created = detail.contains("Kafka does not create it");
            assert_eq!(is_created, name.starts_with("seen-new"), "{name}: {detail}");
            names.push((name, String::from_utf8(letter.payload()).unwrap()));
        }
        names.sort_by(|one, other| one.1.cmp(&other.1));
        let level = it.version.level();
        let expected = ["seen-there", "seen-new", "hidden"].map(|name| format!("{name}-{level}"));
        assert!(names.iter().map(|(name, _)| *name).eq(&expected), "{names:?}");
        it.http.wait_ready(SOON);
    }

    for it in &mut both {
        it.publish("hold/held-a", "held 1");
        it.http.wait_reason("kafka_topic_held", PATIENT);
        let held = format!("held-a-{}", it.version.level());
        let said = it.readyz();
        assert!(said.contains(&held) && said.contains(DENIED), "{said}");
        it.publish("hold/held-a", "held 2");
        it.publish("create/open-a", "3");
        it.wait("what is behind it is in Kafka, and waits for its PUBACK only", (3, 3, 2));
    }
    kafka.allow(USER, &["Write", "Create"], &["seen-", "held-"]);
    for it in &mut both {
        it.wait("the permission is there", (5, 3, 0));
        it.http.wait_ready(PATIENT);
        it.publish("create/seen-there", "taken 1");
        it.publish("create/seen-new", "taken 2");
        it.wait("what was refused is taken", (7, 3, 0));
        assert_eq!(it.bridge.terminate(), 0);
        it.bridge.assert_logs_sound();
        let level = it.version.level();
        for (name, expected) in [
            ("open-a", &["1", "2", "3"][..]),
            ("held-a", &["held 1", "held 2"]),
            ("seen-there", &["taken 1"]),
            ("seen-new", &["taken 2"]),
        ] {
            let records =
                kafka::records(&kafka.bootstrap(), &format!("{name}-{level}")).into_iter();
            let values: Vec<_> = records.map(|it| String::from_utf8(it.value).unwrap()).collect();
            assert_eq!(values, expected, "{name}-{level}");
        }
    }
}
