//! Whether the embedded broker can carry the proof: it must not lose or reorder anything itself, or
//! the demo would blame the bridge.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, Filter, Packet, PubAck, Publish, Subscribe,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use tokio::sync::watch;

use super::brokers::MqttBroker;
use super::devices::Fleet;
use super::telemetry::{Device, MQTT_ROOT};
use super::verify::{Ledger, Verifier};

const CLIENT_ID: &str = "plain-subscriber";
const DEVICES: usize = 40;
/// For duplicates behind the last message.
const QUIET: Duration = Duration::from_millis(300);
/// A lost message is waited for so long.
const DEADLINE: Duration = Duration::from_secs(60);

/// A subscriber with a persistent session and nothing else.
struct Subscriber {
    stream: TcpStream,
    inbox: BytesMut,
}

impl Subscriber {
    fn connect(broker: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_millis(50)))?;
        let connect = Connect {
            keep_alive: 0,
            client_id: CLIENT_ID.to_owned(),
            clean_start: false,
            properties: Some(ConnectProperties {
                session_expiry_interval: Some(3_600),
                receive_maximum: Some(1_000),
                ..ConnectProperties::new()
            }),
        };
        let filter = Filter::new(format!("{MQTT_ROOT}/#"), QoS::AtLeastOnce);
        let mut subscribe = Subscribe::new(filter, None);
        subscribe.pkid = 1;
        let mut out = BytesMut::new();
        connect.write(&None, &None, &mut out).unwrap();
        subscribe.write(&mut out).unwrap();
        stream.write_all(&out)?;
        Ok(Self { stream, inbox: BytesMut::new() })
    }

    /// All publishes of one read; none after 50 ms of silence.
    fn read(&mut self) -> io::Result<Vec<Publish>> {
        let mut chunk = [0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.inbox.extend_from_slice(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let mut publishes = Vec::new();
        loop {
            match Packet::read(&mut self.inbox, None) {
                Ok(Packet::Publish(publish)) => publishes.push(publish),
                Ok(_) => {}
                Err(CodecError::InsufficientBytes(_)) => return Ok(publishes),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn acknowledge(&mut self, publishes: &[Publish]) -> io::Result<()> {
        let mut out = BytesMut::new();
        for publish in publishes {
            PubAck::new(publish.pkid, None).write(&mut out).unwrap();
        }
        self.stream.write_all(&out)
    }
}

/// Counts a message; gives whether it came for the first time.
fn count(publish: &Publish, verifier: &mut Verifier, devices: &[bytes::Bytes]) -> bool {
    let device = devices.iter().position(|mqtt_topic| *mqtt_topic == publish.topic);
    let payload: serde_json::Value = serde_json::from_slice(&publish.payload).unwrap();
    verifier.arrived(device.expect("a device"), payload["seq"].as_u64().unwrap())
}

/// What arrived, and what the devices know. `life` cuts the subscriber's connection again and again,
/// with unacknowledged messages on it; `slow` makes it lag.
fn play(rate: u32, seconds: u64, life: Duration, slow: Duration) -> (Verifier, Arc<Ledger>) {
    let broker = MqttBroker::start().unwrap();
    let address = broker.address();
    let mut subscriber = Subscriber::connect(address).unwrap();
    let devices: Vec<_> = (0..DEVICES).map(|index| Device::new(1, index)).collect();
    let mqtt_topics: Vec<_> = devices.iter().map(|device| device.mqtt_topic().clone()).collect();
    let ledger = Arc::new(Ledger::new(DEVICES));
    let fleet = Fleet { devices, ledger: Arc::clone(&ledger), rate };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let subscribed = broker.subscribed(CLIENT_ID);
        tokio::time::timeout(DEADLINE, subscribed).await.expect("subscribed");
    });
    let (stop, stopped) = watch::channel(false);
    let publishing = thread::spawn(move || runtime.block_on(fleet.run(address, stopped)));

    let mut verifier = Verifier::new(DEVICES);
    let (start, mut born, mut heard) = (Instant::now(), Instant::now(), Instant::now());
    let mut unacknowledged = Vec::new();
    let all_here = |ledger: &Ledger| ledger.read_back_total() >= ledger.published_total();
    while !(publishing.is_finished() && all_here(&ledger) && heard.elapsed() > QUIET) {
        assert!(
            start.elapsed() < DEADLINE,
            "{} missing",
            verifier.lost(|device| ledger.published_by(device))
        );
        if start.elapsed().as_secs() >= seconds {
            stop.send_replace(true);
        }
        if born.elapsed() > life && start.elapsed().as_secs() < seconds {
            unacknowledged.clear();
            subscriber = Subscriber::connect(address).unwrap();
            born = Instant::now();
        }
        let publishes = subscriber.read().unwrap();
        for publish in &publishes {
            if count(publish, &mut verifier, &mqtt_topics) {
                ledger.count_read_back();
            }
            heard = Instant::now();
        }
        unacknowledged.extend(publishes);
        let keep = if heard.elapsed() > Duration::from_millis(100) { 0 } else { 50 };
        let due = unacknowledged.len().saturating_sub(keep);
        subscriber.acknowledge(&unacknowledged.drain(..due).collect::<Vec<_>>()).unwrap();
        thread::sleep(slow);
    }
    publishing.join().unwrap();
    broker.stop();
    (verifier, ledger)
}

#[test]
fn the_embedded_broker_loses_and_reorders_nothing_for_a_subscriber_that_lags() {
    let (verifier, ledger) = play(8_000, 3, Duration::MAX, Duration::from_millis(60));
    eprintln!("published {}", ledger.published_total());
    assert!(ledger.published_total() > 5_000, "{}", ledger.published_total());
    assert_eq!(verifier.lost(|device| ledger.published_by(device)), 0);
    assert_eq!(verifier.reordered(), 0);
    assert_eq!(verifier.duplicated(), 0);
}

#[test]
fn the_embedded_broker_loses_and_reorders_nothing_when_its_subscriber_is_cut_off() {
    let (verifier, ledger) = play(8_000, 5, Duration::from_millis(150), Duration::ZERO);
    eprintln!("published {} duplicated {}", ledger.published_total(), verifier.duplicated());
    assert!(ledger.published_total() > 10_000, "{}", ledger.published_total());
    assert_eq!(verifier.lost(|device| ledger.published_by(device)), 0);
    assert_eq!(verifier.reordered(), 0);
    assert!(verifier.duplicated() > 0, "no unacknowledged message came again");
}
