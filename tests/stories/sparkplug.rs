//! Sparkplug B: what a node sends is named by its birth, also by a bridge that has missed it.

use std::io::Write as _;
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::kafka::records;
use crate::support::mosquitto::Setup;
use crate::support::*;

const COMMANDS: &str = "spBv1.0/plant/NCMD/edge";
const DEATH: &str = "spBv1.0/plant/NDEATH/edge";

/// What another implementation encodes for `edge` (tests/vectors/sparkplug/vectors.py): a birth with the aliases 1 and
/// 2, data by them, and the death of that session.
struct Payloads {
    birth: Vec<u8>,
    data: Vec<u8>,
    death: Vec<u8>,
}

impl Payloads {
    fn read() -> Self {
        let text = include_str!("../vectors/sparkplug/vectors.json");
        let stories: Value = serde_json::from_str(text).unwrap();
        let life = stories.as_array().unwrap().last().unwrap().as_array().unwrap();
        let of = |kind: &str| {
            let mqtt_topic = format!("spBv1.0/plant/{kind}/edge");
            let message = life.iter().find(|one| one["mqtt_topic"] == *mqtt_topic).unwrap();
            STANDARD.decode(message["payload"].as_str().unwrap()).unwrap()
        };
        Self { birth: of("NBIRTH"), data: of("NDATA"), death: of("NDEATH") }
    }
}

/// A node that is connected, its death as its will at QoS 1.
fn connect(address: &str, version: Version, payloads: &Payloads) -> MqttClient {
    let text = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[..], bytes].concat()
    };
    // In MQTT 5 without properties, of its own and of the will.
    let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
    let (clean_will_qos_1, keep_alive) = (0x0E, [0, 0]);
    let body = [
        &text(b"MQTT")[..],
        &[version.level(), clean_will_qos_1],
        &keep_alive,
        properties,
        &text(b"edge"),
        properties,
        &text(DEATH.as_bytes()),
        &text(&payloads.death),
    ]
    .concat();
    assert!(body.len() < 128, "one byte of length");
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&[0x10, u8::try_from(body.len()).unwrap()]).unwrap();
    stream.write_all(&body).unwrap();
    let mut client = MqttClient::over(stream, version);
    assert!(matches!(client.read(SOON).unwrap(), Some(Packet::ConnAck { code: 0, .. })));
    client
}

/// The kind of each record, and its first metric.
fn documents(kafka_topic: &str) -> Vec<(String, Value)> {
    let read = |record: kafka::Record| {
        let document: Value = serde_json::from_slice(&record.value).unwrap();
        let kind = document["message_type"].as_str().unwrap().to_owned();
        let metric = &document["metrics"][0];
        let seen = ["name", "alias", "type", "value", "is_unresolved"].into_iter();
        let seen = seen.filter_map(|key| Some((key.to_owned(), metric.get(key)?.clone())));
        (kind, Value::Object(seen.collect()))
    };
    records(&Kafka::shared().bootstrap(), kafka_topic).into_iter().map(read).collect()
}

#[test]
fn a_node_is_named_by_its_birth_again_after_the_bridge_has_restarted_and_its_death_is_a_record() {
    let story = Story::new("sparkplug");
    let kafka = Kafka::shared();
    let payloads = Payloads::read();
    for version in Version::BOTH {
        let name = format!("sparkplug-mqtt{}", version.level());
        kafka.create(&name, 1, &[]);
        let mosquitto = Mosquitto::start(&story.dir().join(&name), &Setup::default());
        let address = mosquitto.address();
        let mut config = ConfigFile::new(&address, &name, &kafka.bootstrap());
        config.set("mqtt", "protocol", version.name());
        for kind in ["NBIRTH", "NDATA", "NDEATH"] {
            config.route_with(&[
                ("filter", format!("spBv1.0/+/{kind}/#").into()),
                ("kafka_topic", name.clone().into()),
                ("payload", "sparkplug".into()),
                ("sparkplug_rebirth", true.into()),
            ]);
        }
        let mut host = MqttClient::connect(&address, version, "host").unwrap();
        host.subscribe("spBv1.0/plant/NCMD/#", 0);
        let mut bridge = Bridge::start(story.dir(), &name, &config);
        mosquitto.wait_subscribed(&name, 1);
        let mut node = connect(&address, version, &payloads);
        let mut publish = |kind: &str, payload: &[u8]| {
            node.publish(&format!("spBv1.0/plant/{kind}/edge"), payload)
        };

        publish("NBIRTH", &payloads.birth);
        publish("NDATA", &payloads.data);
        bridge.wait_summary("the first life is delivered", SOON, |now| now.delivered == 2);

        assert_eq!(bridge.terminate(), 0);
        bridge.run();
        for _ in 0..3 {
            publish("NDATA", &payloads.data);
        }
        bridge.wait_summary("data without a birth is delivered", SOON, |now| now.delivered == 3);
        let Some(Packet::Publish(command)) = host.read(SOON).unwrap() else { panic!("no command") };
        assert_eq!((&*command.mqtt_topic, command.qos), (COMMANDS.as_bytes(), 0));
        let asked = command.payload.windows(20).any(|part| part == b"Node Control/Rebirth");
        assert!(asked, "{command:?}");
        // As it is asked to.
        publish("NBIRTH", &payloads.birth);
        publish("NDATA", &payloads.data);
        bridge.wait_summary("the second birth is delivered", SOON, |now| now.delivered == 5);

        drop(node);
        bridge.wait_summary("the death is delivered", SOON, |now| now.delivered == 6);
        let mut other = MqttClient::connect(&address, version, "other").unwrap();
        other.publish("spBv1.0/plant/NCMD/end", b"");
        let Some(Packet::Publish(last)) = host.read(SOON).unwrap() else { panic!("no end") };
        assert_eq!(&*last.mqtt_topic, b"spBv1.0/plant/NCMD/end", "it was asked once");
        assert_eq!(bridge.terminate(), 0);
        bridge.assert_logs_sound();

        let bd_seq = json!({"name": "bdSeq", "type": "Int64", "value": 4});
        let named = json!({"name": "temperature", "alias": 1, "type": "Int16", "value": -9});
        let unknown = json!({"alias": 1, "value": 65527, "is_unresolved": true});
        let expected = [
            ("NBIRTH", &bd_seq),
            ("NDATA", &named),
            ("NDATA", &unknown),
            ("NDATA", &unknown),
            ("NDATA", &unknown),
            ("NBIRTH", &bd_seq),
            ("NDATA", &named),
            ("NDEATH", &bd_seq),
        ];
        let expected = expected.map(|(kind, metric)| (kind.to_owned(), metric.clone()));
        assert_eq!(documents(&name), expected, "over MQTT {}", version.name());
    }
}
