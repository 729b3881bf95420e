//! The devices' MQTT side: QoS 1 over a few connections, as gateways do it. The devices know which of
//! their messages the broker has acknowledged, and send the others again, in order.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectReturnCode, Disconnect, DisconnectReasonCode, Packet, PubAckReason, Publish,
};
use rumqttc::v5::mqttbytes::{Error as CodecError, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};

use super::telemetry::Device;
use super::verify::Ledger;

/// The most connections; more devices share them.
const CONNECTIONS_MAX: usize = 32;

/// The most messages of one connection without a PUBACK.
const WINDOW: usize = 256;

/// While this many messages are sent and not yet read back from Kafka, the devices wait. The mock
/// cluster keeps 5 MiB of each partition and then drops the oldest, read or not: even if all these
/// messages lie in one partition, each in a batch of its own (some 400 bytes), there is room. It
/// also bounds what the MQTT broker must hold while the bridge is away.
const OUTSTANDING_MAX: u64 = 10_000;

/// How often a connection publishes the messages that are due.
const TICK: Duration = Duration::from_millis(20);

/// A connection that could not publish catches up on at most this many seconds.
const CREDIT_MAX_S: f64 = 1.0;

/// How long to wait for CONNACK, and between two attempts to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// All devices and what they share.
pub(super) struct Fleet {
    /// The devices; their index is their number in the ledger.
    pub devices: Vec<Device>,
    /// Keeps what they send and what the broker acknowledges.
    pub ledger: Arc<Ledger>,
    /// Messages per second, all devices together.
    pub rate: u32,
}

impl Fleet {
    /// Publishes until `stop` is true and every message sent has its PUBACK.
    pub(super) async fn run(self, broker: SocketAddr, stop: watch::Receiver<bool>) {
        let all = self.devices.len();
        let connections = all.clamp(1, CONNECTIONS_MAX);
        let mut shares: Vec<Vec<(usize, Device)>> = (0..connections).map(|_| Vec::new()).collect();
        for (index, device) in self.devices.into_iter().enumerate() {
            shares[index % connections].push((index, device));
        }
        let mut gateways = tokio::task::JoinSet::new();
        for (number, devices) in shares.into_iter().enumerate() {
            let gateway = Gateway {
                client_id: format!("demo-devices-{number}"),
                rate: f64::from(self.rate) * devices.len() as f64 / all as f64,
                offset: TICK.mul_f64(number as f64 / connections as f64),
                credit: number as f64 / connections as f64,
                devices,
                turn: 0,
                unacknowledged: VecDeque::new(),
                packet_id: 0,
                ledger: Arc::clone(&self.ledger),
            };
            gateways.spawn(gateway.run(broker, stop.clone()));
        }
        gateways.join_all().await;
    }
}

/// One connection and the devices behind it.
struct Gateway {
    client_id: String,
    devices: Vec<(usize, Device)>,
    /// Which device is next.
    turn: usize,
    /// Messages a second.
    rate: f64,
    /// Messages that are due.
    credit: f64,
    /// Keeps the connections from publishing all at the same moment.
    offset: Duration,
    /// In the order of sending, which is the order of the PUBACKs.
    unacknowledged: VecDeque<Sent>,
    packet_id: u16,
    ledger: Arc<Ledger>,
}

struct Sent {
    device: usize,
    seq: u64,
    publish: Publish,
}

impl Gateway {
    async fn run(mut self, broker: SocketAddr, mut stop: watch::Receiver<bool>) {
        loop {
            match self.serve(broker, &mut stop).await {
                Ok(()) => return,
                Err(error) => eprintln!("demo: {}: {error}", self.client_id),
            }
            if *stop.borrow() && self.unacknowledged.is_empty() {
                return;
            }
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Serves one connection; `Ok` when `stop` is true and no message waits for its PUBACK.
    async fn serve(
        &mut self,
        broker: SocketAddr,
        stop: &mut watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut inbox = BytesMut::with_capacity(4 * 1024);
        let mut outbox = BytesMut::with_capacity(64 * 1024);
        let connected = self.connect(broker, &mut inbox);
        let mut stream = timeout(CONNECT_TIMEOUT, connected).await??;
        for sent in &mut self.unacknowledged {
            sent.publish.dup = true;
            sent.publish.write(&mut outbox).map_err(io::Error::other)?;
        }
        stream.write_all_buf(&mut outbox).await?;

        let mut ticks = interval_at((Instant::now() + self.offset).into(), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        while !(*stop.borrow_and_update() && self.unacknowledged.is_empty()) {
            // `read_buf` loses nothing when another branch wins.
            tokio::select! {
                read = stream.read_buf(&mut inbox) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    while let Some(packet) = next_packet(&mut inbox)? {
                        self.acknowledge(packet)?;
                    }
                }
                _ = ticks.tick() => {
                    let now = Instant::now();
                    if !*stop.borrow() {
                        self.publish_due(now - last_tick, &mut outbox)?;
                        stream.write_all_buf(&mut outbox).await?;
                    }
                    last_tick = now;
                }
                changed = stop.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        Packet::Disconnect(Disconnect::new(DisconnectReasonCode::NormalDisconnection))
            .write(&mut outbox, None)
            .map_err(io::Error::other)?;
        stream.write_all_buf(&mut outbox).await
    }

    async fn connect(&self, broker: SocketAddr, inbox: &mut BytesMut) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(broker).await?;
        stream.set_nodelay(true)?;
        let connect = Connect {
            // 0: no keep-alive, so that the demo survives Ctrl-Z.
            keep_alive: 0,
            client_id: self.client_id.clone(),
            clean_start: true,
            properties: None,
        };
        let mut outbox = BytesMut::new();
        connect.write(&None, &None, &mut outbox).map_err(io::Error::other)?;
        stream.write_all_buf(&mut outbox).await?;
        loop {
            match next_packet(inbox)? {
                Some(Packet::ConnAck(connack)) if connack.code == ConnectReturnCode::Success => {
                    return Ok(stream);
                }
                Some(other) => return Err(unexpected("CONNACK", &other)),
                None if stream.read_buf(inbox).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        }
    }

    /// Writes the messages that became due in `elapsed`, as far as the bounds allow.
    fn publish_due(&mut self, elapsed: Duration, outbox: &mut BytesMut) -> io::Result<()> {
        let credit_max = (self.rate * CREDIT_MAX_S).max(1.0);
        self.credit = (self.credit + self.rate * elapsed.as_secs_f64()).min(credit_max);
        let now = SystemTime::now();
        let may_send = self.ledger.outstanding() < OUTSTANDING_MAX;
        while may_send && self.credit >= 1.0 && self.unacknowledged.len() < WINDOW {
            self.credit -= 1.0;
            self.turn = (self.turn + 1) % self.devices.len();
            let (device, telemetry) = &mut self.devices[self.turn];
            let (seq, payload) = telemetry.next_message(now);
            // Ids from 1 to 65,535 in turn: none of the last 256 is used again.
            self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
            let publish = Publish {
                qos: QoS::AtLeastOnce,
                topic: telemetry.mqtt_topic().clone(),
                pkid: self.packet_id,
                payload,
                ..Publish::default()
            };
            publish.write(outbox).map_err(io::Error::other)?;
            self.ledger.sending(*device, seq);
            self.unacknowledged.push_back(Sent { device: *device, seq, publish });
        }
        Ok(())
    }

    /// The broker acknowledges in the order of sending [MQTT-4.6.0-2].
    fn acknowledge(&mut self, packet: Packet) -> io::Result<()> {
        let Packet::PubAck(puback) = packet else {
            return Err(unexpected("PUBACK", &packet));
        };
        let expected = self.unacknowledged.front().map(|sent| sent.publish.pkid);
        let accepted =
            matches!(puback.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
        if expected != Some(puback.pkid) || !accepted {
            return Err(unexpected("the next PUBACK", &Packet::PubAck(puback)));
        }
        if let Some(sent) = self.unacknowledged.pop_front() {
            self.ledger.published(sent.device, sent.seq);
        }
        Ok(())
    }
}

fn next_packet(inbox: &mut BytesMut) -> io::Result<Option<Packet>> {
    match Packet::read(inbox, None) {
        Ok(packet) => Ok(Some(packet)),
        Err(CodecError::InsufficientBytes(_)) => Ok(None),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    }
}

fn unexpected(expected: &str, found: &Packet) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the broker sent {found:?}; expected {expected}"),
    )
}
