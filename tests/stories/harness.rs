//! The harness itself: brokers start, and messages without a bridge in between count as delivered.

use std::time::Duration;

use crate::support::wire::Connect;
use crate::support::*;

#[test]
fn mosquitto_keeps_a_session_over_a_restart() {
    let story = Story::new("harness-mosquitto");
    let mut mosquitto = Mosquitto::start(story.dir(), &mosquitto::Setup::default().persistent());
    for version in Version::BOTH {
        let connect = Connect {
            level: version.level(),
            client_id: format!("sleeper{}", version.level()),
            clean: false,
            keep_alive: 0,
            login: None,
            session_expiry: (version == Version::V5).then_some(3600),
            receive_maximum: None,
        };
        let (mut sleeper, present) =
            MqttClient::connect_with(&mosquitto.address(), &connect).unwrap();
        assert!(!present);
        assert_eq!(sleeper.subscribe("a/#", 1), 1);
        mosquitto.wait_subscribed(&connect.client_id, 1);
        drop(sleeper);
        let mut publisher =
            MqttClient::connect(&mosquitto.address(), version, "publisher").unwrap();
        publisher.publish("a/b", b"kept");
        mosquitto.stop();
        mosquitto.run();
        let (mut sleeper, present) =
            MqttClient::connect_with(&mosquitto.address(), &connect).unwrap();
        assert!(present);
        match sleeper.read(SOON).unwrap() {
            Some(Packet::Publish(publish)) => assert_eq!(publish.payload, b"kept"),
            other => panic!("expected the kept message, got {other:?}"),
        }
    }
}

#[test]
fn kafka_comes_back_with_its_data() {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let story = Story::new("harness-kafka");
    let mut kafka = Kafka::start(story.dir());
    kafka.create("t", 4, &[("max.message.bytes", "2000")]);
    kafka.create("probe", 1, &[]);
    let reader = Reader::start(&kafka.bootstrap(), "t");
    let producer: BaseProducer = kafka::client_config(&kafka.bootstrap()).create().unwrap();
    for seq in [0, 2, 1, 1] {
        let payload = ledger::payload("a/b", seq, 50);
        producer.send(BaseRecord::to("t").key("a/b").payload(&payload)).unwrap();
    }
    producer.flush(SOON).unwrap();
    kafka.freeze();
    let probe = kafka.probe();
    throughout("a frozen Kafka does not answer", Duration::from_secs(1), || !probe.is_finished());
    kafka.thaw();
    probe.join().unwrap();
    kafka.kill();
    kafka.run();
    let mut ledger = ledger::Ledger::new(["a/b".to_owned()]);
    for seq in 0..4 {
        ledger.next(0);
        ledger.acknowledge(0, seq);
    }
    let verdict = Verdict::of(&ledger, &reader.read_to_end(SOON));
    assert_eq!((verdict.delivered, verdict.duplicated, verdict.reordered), (3, 1, 1));
    assert_eq!((verdict.lost, verdict.wrong), (1, 0));
    assert_eq!(kafka::records(&kafka.bootstrap(), "t").len(), 4);
}

#[test]
fn a_publisher_knows_what_was_acknowledged() {
    let broker = ScriptedBroker::start();
    for version in Version::BOTH {
        let load = Load { mqtt_topics: 2, window: 3, ..Load::default() };
        let publisher = Publisher::start(&broker.address(), version, "devices", load);
        let (mut session, connect) = broker.accept();
        assert_eq!(connect.level, version.level());
        session.send_connack(false, 0);
        publisher.publish(5);
        for _ in 0..3 {
            assert!(matches!(session.expect(), Packet::Publish(_)));
        }
        session.expect_silence(Duration::from_millis(50));
        session.send(&Packet::PubAck { pkid: 1 });
        session.expect();
        eventually("the PUBACK counts", SOON, || publisher.ledger().acked() == 1);
        assert_eq!(publisher.published(), 4);
    }
}

#[test]
fn a_proxy_cuts_stalls_and_strands() {
    let broker = ScriptedBroker::start();
    let proxy = Proxy::start(&broker.address());
    let connect = || {
        let address = proxy.address();
        let client =
            std::thread::spawn(move || MqttClient::connect(&address, Version::V5, "client"));
        let (mut session, _) = broker.accept();
        session.send_connack(false, 0);
        (client.join().unwrap().unwrap(), session)
    };
    let (mut client, mut session) = connect();
    proxy.stall();
    session.send(&Packet::PingResp);
    assert_eq!(client.read(Duration::from_millis(50)).unwrap(), None);
    proxy.resume();
    assert_eq!(client.read(SOON).unwrap(), Some(Packet::PingResp));
    assert_eq!(proxy.cut(), 1);
    client.read(SOON).unwrap_err();
    session.expect_close(SOON);

    let (mut client, mut session) = connect();
    proxy.strand();
    session.expect_close(SOON);
    assert_eq!(client.read(Duration::from_millis(50)).unwrap(), None);
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn a_mock_kafka_obeys() {
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let kafka = MockKafka::start();
    kafka.order(|cluster| cluster.create_topic("t", 4, 1)).unwrap();
    let consumer: BaseConsumer = kafka::client_config(kafka.bootstrap()).create().unwrap();
    let metadata = consumer.fetch_metadata(Some("t"), SOON).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 4);
}

#[test]
fn mosquitto_without_the_bridge_loses_nothing_on_the_way() {
    let story = Story::new("harness-load");
    let mosquitto = Mosquitto::start(story.dir(), &mosquitto::Setup::default());
    let load = Load { rate: 10_000, ..Load::default() };
    let mut client = MqttClient::connect(&mosquitto.address(), Version::V5, "counter").unwrap();
    assert_eq!(client.subscribe("devices/#", 0), 0);
    let publisher = Publisher::start(&mosquitto.address(), Version::V311, "devices", load);
    publisher.publish(5_000);
    for _ in 0..5_000 {
        assert!(matches!(client.read(SOON).unwrap(), Some(Packet::Publish(_))));
    }
    publisher.wait_done(SOON);
    assert_eq!(publisher.ledger().acked(), 5_000);
}

#[test]
fn brokers_listen_as_they_are_told() {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use openssl::ssl::{SslConnector, SslFiletype, SslMethod};

    use crate::support::broker::Broker;
    use crate::support::certificates::ClientKey;

    trait Stream: Read + Write {}
    impl<S: Read + Write> Stream for S {}

    fn connect(broker: &dyn Broker, listener: Listener) -> Box<dyn Stream> {
        let stream = TcpStream::connect(broker.address_of(listener)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let certificates = broker.certificates().unwrap();
        if !listener.is_tls() {
            return Box::new(stream);
        }
        let mut tls = SslConnector::builder(SslMethod::tls()).unwrap();
        tls.set_ca_file(certificates.authorities()).unwrap();
        if listener == Listener::MutualTls {
            certificates.issue_client(ClientKey::Rsa);
            let [certificate, key] = certificates.client(ClientKey::Rsa);
            tls.set_certificate_file(certificate, SslFiletype::PEM).unwrap();
            tls.set_private_key_file(key, SslFiletype::PEM).unwrap();
        }
        Box::new(tls.build().connect("127.0.0.1", stream).unwrap())
    }

    fn upgrade(mut stream: Box<dyn Stream>, path: &str) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 101");
    }

    let story = Story::new("harness-listeners");
    let all = [Listener::Tls, Listener::MutualTls, Listener::WebSocket, Listener::WebSocketTls];
    let setup = all.into_iter().fold(mosquitto::Setup::default(), mosquitto::Setup::listen);
    let mosquitto = Mosquitto::start(story.dir(), &setup);
    for listener in all {
        let stream = connect(&mosquitto, listener);
        if listener.is_websocket() {
            upgrade(stream, mosquitto.websocket_path());
        }
    }
    let rabbitmq = RabbitMq::shared();
    connect(rabbitmq, Listener::Tls);
    upgrade(connect(rabbitmq, Listener::WebSocket), rabbitmq.websocket_path());
}
