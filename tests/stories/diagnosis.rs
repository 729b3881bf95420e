//! The log and `/readyz` name the likely cause of a problem and its cure; and two bridges that fight for
//! one session try less and less often.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::kafka::Listeners;
use crate::support::mosquitto::Setup;
use crate::support::process::free_port;
use crate::support::*;

/// A bridge from `mqtt` to `kafka`, with these librdkafka properties, and its HTTP address.
fn bridge(
    story: &Story,
    name: &str,
    (mqtt, kafka): (&str, &str),
    properties: &[(&'static str, &str)],
) -> (Bridge, Http) {
    let http = Http::free();
    let mut config = ConfigFile::new(mqtt, name, kafka);
    config.route("a/#", "t");
    for (key, value) in properties {
        config.set("kafka.properties", key, *value);
    }
    http.configure(&mut config);
    (Bridge::start(story.dir(), name, &config), http)
}

/// The whole text of a page, details included.
fn said(http: &Http) -> String {
    http.get("/readyz").map(|answer| answer.body).unwrap_or_default()
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

#[test]
fn two_bridges_with_one_client_id_back_off_and_say_why() {
    let story = Story::new("one client id");
    let kafka = Kafka::shared();
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let bridges = ["first", "second"].map(|name| {
        let http = Http::free();
        let mut config = ConfigFile::new(&mosquitto.address(), "the-same", &kafka.bootstrap());
        config.route("a/#", "t").set("mqtt", "protocol", "3.1.1");
        // With its default settings.
        config.set("mqtt", "reconnect_max", "30s");
        http.configure(&mut config);
        (Bridge::start(story.dir(), name, &config), http)
    });
    let connects = || {
        bridges
            .each_ref()
            .map(|(bridge, _)| bridge.log().count(|record| record["msg"] == "connected to mqtt"))
    };
    eventually("one of them says why", SOON, || {
        bridges.iter().any(|(bridge, http)| {
            let logged = bridge.log().count(|record| {
                let detail = text(record, "detail");
                detail.contains("another client uses the bridge's `mqtt.client_id`")
                    && detail.contains("closes on a forbidden SUBSCRIBE")
            });
            logged > 0 && said(http).contains("another client uses the bridge's `mqtt.client_id`")
        })
    });
    // Both had time for a fight: without the backoff, each connected nine times in 25 s.
    let before: usize = connects().iter().sum();
    throughout("neither connects again", Duration::from_secs(14), || {
        connects().iter().sum::<usize>() <= before + 1
    });
    let [first, second] = connects();
    tell(&format!("{}: {first} and {second} connections", story.name));
    assert!(first + second <= 9, "{first} and {second}");
}

#[test]
fn a_wrong_listener_of_kafka_is_named_and_not_taken_for_an_unreachable_kafka() {
    let story = Story::new("wrong listeners");
    let (kafka, Listeners { tls, sasl, controller, .. }) = Kafka::start_with_listeners(story.dir());
    let plain = kafka.bootstrap();
    let nobody = format!("127.0.0.1:{}", free_port());
    let login = |protocol, mechanism, password| {
        vec![
            ("security.protocol", protocol),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "bridge"),
            ("sasl.password", password),
        ]
    };
    let cases = [
        ("plain-to-tls", &*tls, vec![], "the listener speaks TLS, and the bridge does not"),
        ("plain-to-sasl", &sasl, vec![], "the listener asks for a login"),
        (
            "tls-to-plain",
            &plain,
            vec![("security.protocol", "SSL")],
            "the bridge speaks TLS, and the listener does not",
        ),
        (
            "unknown-authority",
            &tls,
            vec![("security.protocol", "SSL")],
            "from an authority that the bridge does not know",
        ),
        (
            "sasl-to-plain",
            &plain,
            login("SASL_PLAINTEXT", "PLAIN", "secret"),
            "the listener takes no login",
        ),
        (
            "another-mechanism",
            &sasl,
            login("SASL_PLAINTEXT", "SCRAM-SHA-256", "secret"),
            "does not know this mechanism",
        ),
        (
            "wrong-password",
            &sasl,
            login("SASL_PLAINTEXT", "PLAIN", "wrong"),
            "the user name or the password is wrong",
        ),
        ("controller", &controller, vec![], "the port of a controller"),
        ("nobody", &nobody, vec![], "nobody listens there"),
    ];
    let bridges: Vec<_> = cases
        .iter()
        .map(|(name, kafka, properties, _)| bridge(&story, name, (&nobody, kafka), properties))
        .collect();
    for ((name, _, _, cause), (bridge, http)) in cases.iter().zip(&bridges) {
        eventually(&format!("{name}: {cause}, in /readyz: {}", said(http)), SOON, || {
            said(http).contains(cause)
        });
        eventually(&format!("{name}: {cause}, in the log"), SOON, || {
            bridge.log().count(|record| text(record, "likely").contains(cause)) > 0
        });
    }
}

#[test]
fn an_advertised_name_that_does_not_resolve_is_named_and_the_log_stays_short() {
    let story = Story::new("advertised name");
    let (kafka, Listeners { unresolved, .. }) = Kafka::start_with_listeners(story.dir());
    kafka.create("t", 1, &[]);
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let (mut bridge, http) = bridge(&story, "bridge", (&mosquitto.address(), &unresolved), &[]);
    mosquitto.wait_subscribed("bridge", 1);
    let is_named = || said(&http).contains("kafka.invalid:");
    eventually("readiness names the host", SOON, is_named);
    eventually("and the cure", SOON, || said(&http).contains("`advertised.listeners`"));
    // Without and with a record that waits for Kafka.
    throughout("it is not ready", Duration::from_secs(5), || {
        http.get("/readyz").is_ok_and(|answer| answer.status == 503)
    });
    let mut publisher = MqttClient::connect(&mosquitto.address(), Version::V5, "device").unwrap();
    publisher.publish("a/b", b"waits");
    bridge.wait_summary("it is received", SOON, |now| now.in_flight == 1);
    throughout("it is not ready", Duration::from_secs(8), || {
        http.get("/readyz").is_ok_and(|answer| answer.status == 503)
    });
    assert!(is_named(), "{}", said(&http));
    for line in ["all kafka brokers unreachable", "kafka reachable again", "kafka client error"] {
        let count = bridge.log().count(|record| record["msg"] == line);
        assert!(count <= 4, "{line}: {count} times");
    }
    bridge.kill();
}

/// Answers each connection with these bytes and closes it.
fn answers_with(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(bytes);
        }
    });
    address
}

#[test]
fn a_port_without_an_mqtt_broker_is_named() {
    let story = Story::new("no MQTT");
    let nobody = format!("127.0.0.1:{}", free_port());
    let kafka = Kafka::shared().bootstrap();
    // The web server at hand is that of a bridge.
    let (_web, web) = bridge(&story, "web", (&nobody, &nobody), &[]);
    let cases = [
        ("tls-alert", answers_with(&[0x15, 3, 1, 0, 2, 2, 70]), "the port speaks TLS"),
        (
            "web-server",
            web.address().to_owned(),
            "the port is for MQTT over WebSocket, or a web server's",
        ),
        ("mail-server", answers_with(b"220 mail ESMTP\r\n"), "something other than an MQTT broker"),
        ("kafka", kafka, "the port is for TLS, for WebSocket or of Kafka"),
        ("closes", answers_with(b""), "the port is for TLS, for WebSocket or of Kafka"),
    ];
    let bridges: Vec<_> =
        cases.iter().map(|(name, mqtt, _)| bridge(&story, name, (mqtt, &nobody), &[])).collect();
    for ((name, _, cause), (bridge, http)) in cases.iter().zip(&bridges) {
        eventually(&format!("{name}: {cause}, in /readyz"), SOON, || said(http).contains(cause));
        eventually(&format!("{name}: {cause}, in the log"), SOON, || {
            bridge.log().count(|record| text(record, "detail").contains(cause)) > 0
        });
    }
}

#[test]
fn a_tls_listener_of_mosquitto_is_named() {
    let story = Story::new("TLS listener");
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default().listen(Listener::Tls));
    let address = mosquitto.address_of(Listener::Tls);
    let nobody = format!("127.0.0.1:{}", free_port());
    let (_bridge, http) = bridge(&story, "bridge", (&address, &nobody), &[]);
    eventually("the TLS port is named", SOON, || {
        let said = said(&http);
        said.contains("the port speaks TLS")
            || said.contains("the port is for TLS, for WebSocket or of Kafka")
    });
    // Check that this port does speak TLS.
    let mut client = Command::new("openssl");
    client.args(["s_client", "-brief", "-connect", &address]);
    let output = client.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("CONNECTION ESTABLISHED"));
}

#[test]
fn sighup_after_sigterm_does_not_cut_the_drain_short() {
    let story = Story::new("hangup");
    let (broker, kafka, mut bridge) = Bridge::scripted(&story, Version::V5, |_| {});
    let mut session = broker.welcome(false);
    // Slow, not down: while the mock does not listen, another socket may get its port.
    kafka.order(|cluster| cluster.broker_round_trip_time(1, Duration::from_secs(2))).unwrap();
    session.send(&Packet::Publish(wire::Publish {
        dup: false,
        qos: 1,
        retain: false,
        mqtt_topic: b"a/b".to_vec(),
        pkid: 1,
        payload: b"waits".to_vec(),
    }));
    bridge.wait_summary("it is received", SOON, |now| now.in_flight == 1);
    bridge.process().signal(libc::SIGTERM);
    eventually("it drains", SOON, || bridge.log().count(|record| record["msg"] == "draining") == 1);
    bridge.process().signal(libc::SIGHUP);
    bridge.process().signal(libc::SIGHUP);
    throughout("it goes on", Duration::from_millis(500), || bridge.is_running());
    kafka.order(|cluster| cluster.broker_round_trip_time(1, Duration::ZERO)).unwrap();
    assert_eq!(session.expect(), Packet::PubAck { pkid: 1 });
    assert_eq!(bridge.exit_code(SOON), 0);
}
