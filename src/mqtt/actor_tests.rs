//! MqttActor between a scripted broker on a real socket and a next stage that does as it is told.

use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::time::Instant;

use actix::{Addr, System};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::*;
use crate::config::{Password, Protocol, Resubscribe, StatusConfig};
use crate::message::{Epoch, Qos, RecordId, RouteId, Seq, Stamp};
use crate::mqtt::attempt::Reached;
use crate::mqtt::connection::{CLOSE_WITHIN, QUIET_AFTER, READ_AHEAD_MAX_BYTES, RETIRE_WITHIN};
use crate::mqtt::lost;
use crate::mqtt::quiet;
use crate::mqtt::slow_transport::SlowTransport;
use crate::mqtt::test_host::{self, Host, Over};
use crate::observe::test_support::PATIENCE;
use crate::observe::{AckTime, NoAck, TimingSink};
use crate::route::note::{DropReason, Note};
use crate::route::{Match, PayloadForm, Route, Template};
use crate::stage::{ForwardBatch, Placed, Verdict};

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];
const CONNACK_SESSION_PRESENT: [u8; 4] = [0x20, 2, 1, 0];

fn config(host: &Host) -> Config {
    let mut config = Config::for_test();
    let mqtt = &mut config.connections[0];
    host.configure(mqtt);
    mqtt.protocol = Protocol::V311;
    mqtt.resubscribe = Resubscribe::NewSession;
    mqtt.max_payload_bytes = 1000;
    config.routes[0].filter = "#".parse().expect("legal");
    config.routes[0].kafka_topic = Template::fixed("k");
    config.delivery.qos0_shed_after = Some(Duration::from_millis(50));
    config
}

/// Restarts the actor as the guard does.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct Panicked;

impl Handler<Panicked> for MqttActor {
    type Result = ();

    fn handle(&mut self, _: Panicked, ctx: &mut Self::Context) {
        self.restarting(ctx);
        self.started(ctx);
    }
}

/// What the actor handed on and told, in order.
#[derive(Debug)]
enum Told {
    Batch {
        epoch: Epoch,
        messages: Vec<(Seq, Bytes)>,
    },
    /// With so many messages unacknowledged.
    Drained(u64),
}

/// Stands in for KafkaProducerActor and SupervisorActor.
struct Neighbour {
    epoch: Epoch,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Actor for Neighbour {
    type Context = Context<Self>;
}

impl Handler<Attach> for Neighbour {
    type Result = ();

    fn handle(&mut self, attach: Attach, _: &mut Self::Context) {
        attach.ready.do_send(StageReady { stage_epoch: self.epoch });
    }
}

impl Handler<ForwardBatch> for Neighbour {
    type Result = ();

    fn handle(&mut self, batch: ForwardBatch, _: &mut Self::Context) {
        let messages =
            batch.messages.iter().map(|msg| (msg.id.seq, msg.message.payload.clone())).collect();
        let told = Told::Batch { epoch: batch.stage_epoch, messages };
        self.told.lock().expect("sound").push(told);
    }
}

impl Handler<Drained> for Neighbour {
    type Result = ();

    fn handle(&mut self, drained: Drained, _: &mut Self::Context) {
        self.told.lock().expect("sound").push(Told::Drained(drained.unacknowledged));
    }
}

struct Stage {
    listener: Host,
    actor: Addr<MqttActor>,
    metrics: Arc<Metrics>,
    told: Arc<Mutex<Vec<Told>>>,
    lines: Lines,
}

impl Stage {
    async fn new(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::remembering(Vec::new(), adjust).await
    }

    /// In a session in which all of `held` may be subscribed.
    async fn remembering(held: Vec<Held>, adjust: impl FnOnce(&mut Config)) -> Self {
        Self::built(adjust, |mut actor| {
            actor.core.session = actor.core.settings.session(held, false);
            actor
        })
        .await
    }

    /// With an actor that is changed before it starts.
    async fn built(
        adjust: impl FnOnce(&mut Config),
        change: impl FnOnce(MqttActor) -> MqttActor,
    ) -> Self {
        let over = OVER.get();
        let listener = Host::bind(over).await;
        let mut config = config(&listener);
        adjust(&mut config);
        let told = Arc::new(Mutex::new(Vec::new()));
        let neighbour = Neighbour { epoch: Epoch(1_000_000), told: Arc::clone(&told) }.start();
        let metrics = Arc::new(Metrics::default());
        let lines = Lines::default();
        let neighbours = Neighbours {
            next: NextStage::of(&neighbour),
            drained: neighbour.recipient(),
            log: Logger::root(lines.clone(), o!()),
            metrics: Arc::clone(&metrics),
            timing: TimingSink::disabled(),
            heartbeat: Arc::new(Heartbeat::new("mqtt")),
        };
        let mqtt = config.connections[0].clone();
        let mut actor = change(MqttActor::new(SourceId(0), mqtt, &config, neighbours));
        actor.dial = if over.is_slow() { dial_slowly } else { dial_broker };
        Self { listener, actor: actor.start(), metrics, told, lines }
    }

    /// The next connection, CONNECT read.
    async fn accept(&self) -> Peer {
        accept_at(&self.listener).await.0
    }

    /// The next connection, accepted and subscribed, 3.1.1.
    async fn accept_subscribed(&self, connack: [u8; 4]) -> Peer {
        let mut peer = self.accept().await;
        peer.send(&connack).await;
        if connack == CONNACK {
            let (kind, body) = peer.packet().await;
            assert_eq!(kind, 0x82, "SUBSCRIBE");
            peer.send(&[0x90, 3, body[0], body[1], 1]).await;
        }
        peer
    }

    async fn until<T>(&self, what: &str, mut check: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = check(self) {
                return found;
            }
            assert!(Instant::now() < end, "{what}: {:?}", self.told.lock().expect("sound"));
            actix_rt::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// All that was handed on, once there are `count` of them.
    async fn handed_on(&self, count: usize) -> Vec<(Seq, Bytes)> {
        self.until("handed on", |stage| {
            let told = stage.told.lock().expect("sound");
            let batches = told.iter().filter_map(|told| match told {
                Told::Batch { messages, .. } => Some(messages.clone()),
                Told::Drained(_) => None,
            });
            let messages: Vec<_> = batches.flatten().collect();
            (messages.len() >= count).then_some(messages)
        })
        .await
    }

    fn deliver(&self, messages: &[(Seq, Bytes)]) {
        let verdicts =
            messages.iter().map(|(seq, _)| Verdict::Delivered(RecordId::first(*seq))).collect();
        self.actor.do_send(Verdicts { placed: Vec::new(), verdicts, delivered_at: Instant::now() });
    }
}

impl Stage {
    /// Delivers one message, as one that may be among the slowest, at this offset.
    fn deliver_slow(&self, (seq, _): &(Seq, Bytes), kafka_offset: i64) {
        let (id, now) = (RecordId::first(*seq), Stamp::now());
        let placed = Placed {
            id,
            kafka_partition: 0,
            kafka_offset,
            produced_at: now,
            delivered_at: now,
            is_logged: false,
            is_slow: true,
        };
        let (placed, verdicts) = (vec![placed], vec![Verdict::Delivered(id)]);
        self.actor.do_send(Verdicts { placed, verdicts, delivered_at: now.instant });
    }

    /// Offset and PUBACK of those of which the timing is known, by offset.
    fn acks(&self) -> Vec<(i64, AckTime)> {
        let slowest = self.metrics.slowest().slowest(Instant::now());
        let mut acks: Vec<_> = slowest.iter().map(|slow| (slow.kafka_offset, slow.ack)).collect();
        acks.sort_unstable_by_key(|(offset, _)| *offset);
        acks
    }
}

#[test]
fn the_timing_of_a_message_is_known_once_its_puback_is_written_or_its_connection_is_lost() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        for id in 1..=4 {
            peer.publish(0x32, id, b"x").await;
        }
        let messages = stage.handed_on(4).await;
        stage.deliver_slow(&messages[0], 0);
        assert_eq!(peer.puback().await, 1);
        stage.deliver_slow(&messages[2], 2);
        stage.until("counted", |s| (s.metrics.conservation().delivered == 2).then_some(())).await;
        assert_eq!(stage.acks().len(), 1, "an older one has no verdict");
        drop(peer);
        let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
        assert_eq!(stage.acks().len(), 2);
        stage.deliver_slow(&messages[1], 1);
        peer.publish(0x3A, 4, b"x").await;
        stage.deliver_slow(&messages[3], 3);
        assert_eq!(peer.puback().await, 4);
        let acks = stage.until("all", |stage| Some(stage.acks()).filter(|it| it.len() == 4)).await;
        let [(0, AckTime::After(us)), others @ ..] = &acks[..] else { panic!("{acks:?}") };
        let second = stage.metrics.slowest().slowest(Instant::now())[0].total_us;
        assert!(*us < 60_000_000 && second < 60_000_000, "{us}, {second}");
        let lost = AckTime::None(NoAck::ConnectionLost);
        assert_eq!(others, [(1, lost), (2, lost), (3, lost)]);
        let routed = stage.metrics.connection(SourceId(0)).stages().routed;
        assert_eq!(routed.values().map(|histogram| histogram.count()).sum::<u64>(), 4);
    });
}

/// The next connection at one of the broker's addresses, and its CONNECT.
async fn accept_at(listener: &Host) -> (Peer, Vec<u8>) {
    let (stream, _) =
        timeout(PATIENCE, listener.accept()).await.expect("in time").expect("accepted");
    let mut peer = Peer { stream };
    let (kind, connect) = peer.packet().await;
    assert_eq!(kind, 0x10, "CONNECT comes first");
    (peer, connect)
}

/// The broker's end of a connection.
struct Peer {
    stream: Box<dyn test_host::Peer>,
}

impl Peer {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
        self.stream.flush().await.expect("sent");
    }

    async fn publish(&mut self, first_byte: u8, packet_id: u16, payload: &[u8]) {
        let id = if first_byte & 0b110 == 0 { Vec::new() } else { packet_id.to_be_bytes().into() };
        let length = 5 + id.len() + payload.len();
        let mut bytes = vec![first_byte, u8::try_from(length).expect("short"), 0, 3];
        bytes.extend(b"a/b");
        bytes.extend(id);
        bytes.extend(payload);
        self.send(&bytes).await;
    }

    /// First byte and body of the next packet.
    async fn packet(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let kind = self.stream.read_u8().await.expect("a packet");
            let length = self.stream.read_u8().await.expect("its length");
            let mut body = vec![0; usize::from(length)];
            self.stream.read_exact(&mut body).await.expect("its body");
            (kind, body)
        };
        timeout(PATIENCE, read).await.expect("a packet in time")
    }

    /// CONNECT, unless the connection is closed without one.
    async fn connect(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let kind = self.stream.read_u8().await.ok()?;
            assert_eq!(kind, 0x10, "CONNECT comes first");
            let length = self.stream.read_u8().await.expect("its length");
            let mut body = vec![0; usize::from(length)];
            self.stream.read_exact(&mut body).await.expect("its body");
            Some(body)
        };
        timeout(PATIENCE, read).await.expect("in time")
    }

    /// The packet id of the next PUBACK; PINGREQ before it is answered.
    async fn puback(&mut self) -> u16 {
        let (kind, body) = self.acknowledgement().await;
        assert_eq!((kind, body.len()), (0x40, 2), "PUBACK");
        u16::from_be_bytes([body[0], body[1]])
    }

    /// The next packet, PINGREQ excepted, which is answered.
    async fn acknowledgement(&mut self) -> (u8, Vec<u8>) {
        loop {
            match self.packet().await {
                (0xC0, _) => self.send(&PINGRESP).await,
                packet => return packet,
            }
        }
    }

    /// The bridge has ended the connection.
    async fn end(&mut self) {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("in time").ok();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

thread_local! {
    /// What the actors of this thread connect over.
    static OVER: Cell<Over> = const { Cell::new(Over::Tcp) };
}

fn dial_slowly(settings: Arc<Settings>, address: usize) -> Attempt {
    Box::pin(async move {
        let Reached { transport, login } = dial_broker(settings, address).await?;
        Ok(Reached { transport: Box::new(SlowTransport::new(transport)), login })
    })
}

/// Tells the story over every transport, and over one that keeps back, splits and delays.
fn run<F: Future<Output = ()>>(story: impl Fn() -> F) {
    // What is slow above TLS costs time here, and tells no more than what is slow above TCP.
    for over in test_host::ALL.into_iter().filter(|over| *over != Over::SlowTls) {
        eprintln!("over {over:?}");
        OVER.set(over);
        System::new().block_on(story());
    }
}

#[test]
fn pubacks_wait_for_verdicts_and_leave_in_the_order_of_publishes() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        for id in [7, 3, 5] {
            peer.publish(0x32, id, b"x").await;
        }
        let messages = stage.handed_on(3).await;
        stage.deliver(&messages[1..]);
        // A PUBACK for 3 or 5 now would come before that for 7.
        stage.until("counted", |s| (s.metrics.conservation().delivered == 2).then_some(())).await;
        stage.deliver(&messages[..1]);
        assert_eq!([peer.puback().await, peer.puback().await, peer.puback().await], [7, 3, 5]);
        assert!(stage.metrics.conservation().balances());
    });
}

#[test]
fn what_is_known_from_a_lost_connection_is_recognised_and_not_forwarded_again() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"first").await;
        peer.publish(0x32, 2, b"second").await;
        let messages = stage.handed_on(2).await;
        drop(peer);
        let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
        // The verdict came while there was no right to acknowledge.
        stage.deliver(&messages);
        peer.publish(0x3A, 1, b"first").await;
        peer.publish(0x3A, 2, b"second").await;
        peer.publish(0x32, 3, b"third").await;
        assert_eq!([peer.puback().await, peer.puback().await], [1, 2]);
        let messages = stage.handed_on(3).await;
        assert_eq!(messages.len(), 3, "{messages:?}");
        stage.deliver(&messages[2..]);
        assert_eq!(peer.puback().await, 3);
        let counts = stage.metrics.conservation();
        assert_eq!((counts.received, counts.redelivered), (3, 2));
    });
}

#[test]
fn a_lost_session_is_subscribed_again_and_its_messages_are_new_ones() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        stage.handed_on(1).await;
        drop(peer);
        let mut peer = stage.accept_subscribed(CONNACK).await;
        // Same id, same content, and DUP: without the session it means nothing.
        peer.publish(0x3A, 1, b"x").await;
        let messages = stage.handed_on(2).await;
        stage.deliver(&messages[..1]);
        stage.until("counted", |s| (s.metrics.conservation().delivered == 1).then_some(())).await;
        stage.deliver(&messages[1..]);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(stage.metrics.conservation().redelivered, 0);
    });
}

#[test]
fn a_connect_without_an_answer_leaves_a_session_whose_subscriptions_nobody_knows() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        drop(stage.accept_subscribed(CONNACK).await);
        // The broker has lost the session and made a new one, and its CONNACK gets lost as well.
        drop(stage.accept().await);
        let mut peer = stage.accept().await;
        peer.send(&CONNACK_SESSION_PRESENT).await;
        assert_eq!(peer.packet().await.0, 0x82, "SUBSCRIBE");
    });
}

#[test]
fn what_a_broker_sends_again_on_the_same_connection_is_forwarded_and_acknowledged_once() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        peer.publish(0x3A, 1, b"x").await;
        peer.publish(0x32, 2, b"y").await;
        let messages = stage.handed_on(2).await;
        stage.deliver(&messages);
        assert_eq!([peer.puback().await, peer.puback().await], [1, 2]);
        let counts = stage.metrics.conservation();
        assert_eq!((counts.received, counts.redelivered), (2, 1));
    });
}

#[test]
fn a_message_that_takes_over_an_id_of_a_failed_batch_of_acks_is_forwarded() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        for id in 1..=4 {
            peer.publish(0x32, id, b"21.5").await;
        }
        stage.deliver(&stage.handed_on(4).await);
        // The broker takes half of the batch; the rest is lost with the connection.
        assert_eq!([peer.puback().await, peer.puback().await], [1, 2]);
        drop(peer);
        let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
        // A new message under id 1, equal to the old one, already sent once on a connection that
        // we never saw: hence DUP.
        peer.publish(0x3A, 1, b"21.5").await;
        let messages = stage.handed_on(5).await;
        stage.deliver(&messages[4..]);
        assert_eq!(peer.puback().await, 1);
    });
}

#[test]
fn a_new_producer_is_given_again_what_has_no_verdict() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        for id in 1..=3 {
            peer.publish(0x32, id, &[id as u8]).await;
        }
        let first = stage.handed_on(3).await;
        stage.deliver(&first[1..2]);
        let epoch = Epoch(2_000_000);
        stage.actor.do_send(StageReady { stage_epoch: epoch });
        stage.actor.do_send(StageReady { stage_epoch: epoch });
        let all = stage.handed_on(5).await;
        assert_eq!(all[3..], [first[0].clone(), first[2].clone()]);
        stage.deliver(&all[3..]);
        assert_eq!([peer.puback().await, peer.puback().await, peer.puback().await], [1, 2, 3]);
        let told = stage.told.lock().expect("sound");
        let Some(Told::Batch { epoch: last, .. }) = told.last() else { panic!("{told:?}") };
        assert_eq!(*last, epoch);
    });
}

#[test]
fn verdicts_that_died_with_a_panic_are_asked_for_again() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let first = stage.handed_on(1).await;
        // What the guard does after a panic, while the verdict is lost.
        stage.actor.do_send(Panicked);
        let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
        peer.publish(0x3A, 1, b"x").await;
        let all = stage.handed_on(2).await;
        assert_eq!(all[1], first[0], "handed on again under its own number");
        stage.deliver(&all[1..]);
        assert_eq!(peer.puback().await, 1);
        let counts = stage.metrics.conservation();
        assert_eq!((counts.received, counts.redelivered, counts.delivered), (1, 1, 1));
    });
}

#[test]
fn a_full_window_stops_the_reading_and_sheds_qos_0_only_after_its_patience() {
    run(|| async {
        let stage = Stage::new(|config| {
            config.delivery.window_messages = 2;
            config.delivery.qos0_window_messages = 2;
            config.connections[0].keep_alive = Duration::from_secs(1);
        })
        .await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"first").await;
        peer.publish(0x32, 2, b"second").await;
        peer.publish(0x30, 0, b"shed").await;
        peer.publish(0x32, 3, b"waits").await;
        stage.until("shed", |s| (s.metrics.conservation().shed == 1).then_some(())).await;
        // Nothing has room, and the connection is kept alive: three pings are more than its 1.5 s.
        for _ in 0..3 {
            assert_eq!(peer.packet().await.0, 0xC0, "PINGREQ");
            peer.send(&PINGRESP).await;
        }
        let messages = stage.handed_on(2).await;
        assert_eq!(messages.len(), 2);
        assert_eq!(stage.metrics.conservation().in_flight, 2);
        stage.deliver(&messages);
        assert_eq!([peer.puback().await, peer.puback().await], [1, 2]);
        let messages = stage.handed_on(3).await;
        assert_eq!(messages[2].1, "waits");
        let counts = stage.metrics.conservation();
        assert!(counts.balances() && counts.received == 4, "{counts:?}");
    });
}

#[test]
fn what_comes_again_behind_its_puback_is_neither_forwarded_nor_acknowledged_and_its_id_stays_usable()
 {
    run(|| async {
        let stage = Stage::new(|config| config.delivery.window_messages = 3).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        for id in 1..=3 {
            peer.publish(0x32, id, &[id as u8]).await;
        }
        // The window is full; these wait behind a message without room.
        peer.publish(0x32, 4, b"4").await;
        for id in 1..=3 {
            peer.publish(0x3A, id, &[id as u8]).await;
        }
        // Meanwhile the broker has read PUBACK 1 and gives the id to a message that says the same.
        peer.publish(0x32, 1, &[1]).await;
        let messages = stage.handed_on(3).await;
        stage.deliver(&messages);
        assert_eq!([peer.puback().await, peer.puback().await, peer.puback().await], [1, 2, 3]);
        let messages = stage.handed_on(5).await;
        assert_eq!(messages[3].1, "4");
        assert_eq!(messages[4].1[..], [1], "the new message");
        stage.deliver(&messages[3..4]);
        assert_eq!(peer.puback().await, 4);
        assert_eq!(stage.metrics.conservation().redelivered, 3);
        stage.deliver(&messages[4..]);
        assert_eq!(peer.puback().await, 1, "for the new message, once it is in Kafka");
    });
}

#[test]
fn a_broker_that_lost_a_puback_gets_another_once_it_has_answered_a_pingreq() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        // It says that it never came, again and again.
        for _ in 0..3 {
            peer.publish(0x3A, 1, b"x").await;
        }
        assert_eq!(peer.packet().await.0, 0xC0, "PINGREQ, at once");
        peer.send(&PINGRESP).await;
        peer.publish(0x3A, 1, b"x").await;
        let messages = stage.handed_on(2).await;
        stage.deliver(&messages[1..]);
        assert_eq!(peer.puback().await, 1);
        let counts = stage.metrics.conservation();
        assert_eq!((counts.received, counts.redelivered), (2, 3));
    });
}

#[test]
fn a_qos_2_message_gets_pubrec_each_time_and_is_forwarded_once_until_pubrel() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x34, 5, b"x").await;
        let messages = stage.handed_on(1).await;
        stage.deliver(&messages);
        assert_eq!(peer.packet().await, (0x50, vec![0, 5]), "PUBREC");
        peer.publish(0x34, 5, b"x").await;
        assert_eq!(peer.packet().await, (0x50, vec![0, 5]), "PUBREC again");
        drop(peer);
        let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
        peer.publish(0x3C, 5, b"x").await;
        assert_eq!(peer.packet().await, (0x50, vec![0, 5]), "PUBREC once more");
        peer.send(&[0x62, 2, 0, 5]).await;
        assert_eq!(peer.packet().await, (0x70, vec![0, 5]), "PUBCOMP");
        assert_eq!(stage.metrics.conservation().received, 1);
        peer.publish(0x34, 5, b"x").await;
        assert_eq!(stage.handed_on(2).await.len(), 2, "a new message");
    });
}

/// Fills the window with one message and lets `bytes` wait behind it: what was handed on.
async fn fill(stage: &Stage, peer: &mut Peer, bytes: usize) -> Vec<(Seq, Bytes)> {
    peer.publish(0x32, 1, b"x").await;
    let messages = stage.handed_on(1).await;
    let blocked = b"\x32\x08\0\x03a/b\0\x02y";
    let filler = blocked.repeat(bytes.div_ceil(blocked.len()));
    // As much as the sockets take.
    let _ = timeout(Duration::from_millis(300), peer.stream.write_all(&filler)).await;
    messages
}

/// The connection that is lost behind what the window has no room for is given up before anything is
/// acknowledged on it, so that its messages are known when they come again.
async fn lost_while_full(stage: Stage, messages: Vec<(Seq, Bytes)>) {
    let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
    stage.deliver(&messages);
    peer.publish(0x3A, 1, b"x").await;
    assert_eq!(peer.puback().await, 1);
    let counts = stage.metrics.conservation();
    assert_eq!((counts.received, counts.redelivered), (1, 1));
}

#[test]
fn an_end_behind_more_than_is_read_ahead_is_noticed_while_the_window_is_full() {
    run(|| async {
        let stage = Stage::new(|config| config.delivery.window_messages = 1).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        // More than is read ahead, less than the sockets hold.
        let messages = fill(&stage, &mut peer, READ_AHEAD_MAX_BYTES + 20_000).await;
        drop(peer);
        lost_while_full(stage, messages).await;
    });
}

#[test]
fn a_ping_of_the_websocket_is_answered_while_the_window_is_full_and_there_is_nothing_to_write() {
    for over in [Over::WebSocket, Over::SecureWebSocket] {
        OVER.set(over);
        System::new().block_on(async {
            let stage = Stage::new(|config| config.delivery.window_messages = 1).await;
            let mut peer = stage.accept_subscribed(CONNACK).await;
            fill(&stage, &mut peer, READ_AHEAD_MAX_BYTES + 1000).await;
            for _ in 0..3 {
                peer.stream.ping();
                peer.stream.flush().await.expect("sent");
                // Well before the keep-alive.
                let answered = timeout(Duration::from_secs(10), async {
                    while !peer.stream.is_answered() {
                        let moment = Duration::from_millis(10);
                        let said = timeout(moment, peer.stream.read_u8()).await;
                        assert!(said.is_err(), "{over:?}: {said:?} is no answer");
                    }
                });
                answered.await.expect("a pong in time");
            }
        });
    }
}

#[test]
fn a_reset_is_noticed_while_the_window_is_full() {
    run(|| async {
        let stage = Stage::new(|config| config.delivery.window_messages = 1).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        let messages = fill(&stage, &mut peer, 5_000_000).await;
        // Closed like this, it sends a reset and no end.
        peer.stream.reset_when_closed();
        drop(peer);
        lost_while_full(stage, messages).await;
    });
}

#[test]
fn nothing_is_acknowledged_to_a_broker_whose_end_waits_behind_5_mb_that_nobody_reads() {
    run(|| async {
        let stage = Stage::new(|config| config.delivery.window_messages = 1).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        let messages = fill(&stage, &mut peer, 5_000_000).await;
        // Its end is queued behind what our side has no room for.
        drop(peer);
        // A slow transport brings for a while what had come before.
        actix_rt::time::sleep(2 * QUIET_AFTER).await;
        stage.deliver(&messages);
        lost_while_full(stage, messages).await;
    });
}

#[test]
fn qos_0_behind_a_qos_1_message_of_its_mqtt_topic_that_has_no_room_does_not_overtake_it() {
    run(|| async {
        let stage = Stage::new(|config| config.delivery.window_messages = 1).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"first").await;
        peer.publish(0x32, 2, b"second").await;
        peer.publish(0x30, 0, b"third").await;
        peer.send(b"\x30\x06\0\x03o/ty").await;
        drop(peer);
        let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
        let messages = stage.handed_on(2).await;
        assert_eq!(messages[1].1, "y", "of another MQTT topic");
        stage.deliver(&messages);
        peer.publish(0x3A, 1, b"first").await;
        peer.publish(0x3A, 2, b"second").await;
        assert_eq!(peer.puback().await, 1);
        assert_eq!(stage.handed_on(3).await[2].1, "second");
        let counts = stage.metrics.conservation();
        assert!(counts.balances() && counts.shed == 1, "{counts:?}");
    });
}

#[test]
fn a_half_open_connection_is_noticed_and_left() {
    run(|| async {
        let stage =
            Stage::new(|config| config.connections[0].keep_alive = Duration::from_secs(1)).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        assert_eq!(peer.packet().await.0, 0xC0, "PINGREQ");
        // No PINGRESP, nothing.
        let _next = stage.accept().await;
        assert_eq!(stage.metrics.connections()[0].reconnects().get("keep_alive"), Some(&1));
    });
}

#[test]
fn a_refused_connection_is_tried_again_with_pauses_that_grow() {
    run(|| async {
        let stage = Stage::new(|config| {
            config.connections[0].reconnect_min = Duration::from_millis(20);
            config.connections[0].reconnect_max = Duration::from_millis(160);
        })
        .await;
        let begin = Instant::now();
        for _ in 0..5 {
            let mut peer = stage.accept().await;
            peer.send(&[0x20, 2, 0, 5]).await;
        }
        // 20, 40, 80 and 160 ms, each at least half of it.
        assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());
        stage.accept().await;
        assert_eq!(stage.metrics.connections()[0].reconnects().get("login_refused"), Some(&5));
    });
}

#[test]
fn one_whose_session_is_taken_over_backs_off_and_does_not_fight() {
    run(|| async {
        let stage = Stage::new(|config| {
            config.connections[0].protocol = Protocol::V5;
            config.connections[0].reconnect_max = Duration::from_millis(300);
        })
        .await;
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 0, 0, 0]).await;
        assert_eq!(peer.packet().await.0, 0x82, "SUBSCRIBE");
        let begin = Instant::now();
        peer.send(&[0xE0, 1, 0x8E]).await;
        let _next = stage.accept().await;
        assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());
        assert_eq!(stage.metrics.connections()[0].reconnects().get("session_taken_over"), Some(&1));
    });
}

#[test]
fn a_stream_that_cannot_be_framed_ends_with_disconnect_and_its_reason() {
    run(|| async {
        let stage = Stage::new(|config| config.connections[0].protocol = Protocol::V5).await;
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 0, 0, 0]).await;
        assert_eq!(peer.packet().await.0, 0x82, "SUBSCRIBE");
        peer.send(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]).await;
        assert_eq!(peer.packet().await, (0xE0, vec![0x81]), "DISCONNECT, malformed packet");
        let _next = stage.accept().await;
    });
}

#[test]
fn a_drain_settles_acknowledges_says_goodbye_and_closes() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        stage.actor.do_send(StopIntake);
        stage.actor.send(StopIntake).await.expect("twice does not matter");
        // Too late: it stays the broker's.
        peer.publish(0x32, 2, b"y").await;
        // This one no broker sends again.
        peer.publish(0x30, 0, b"z").await;
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(peer.packet().await, (0xE0, vec![]), "DISCONNECT");
        // Nothing follows DISCONNECT, not even the answer to PUBREL.
        peer.send(&[0x62, 2, 0, 9]).await;
        peer.end().await;
        stage.until("counted", |s| (s.metrics.conservation().shed == 1).then_some(())).await;
        drop(peer);
        let drained = |stage: &Stage| {
            let told = stage.told.lock().expect("sound");
            matches!(told.last(), Some(Told::Drained(_))).then_some(())
        };
        stage.until("drained", drained).await;
        assert_eq!(stage.handed_on(1).await.len(), 1);
    });
}

#[test]
fn after_disconnect_the_broker_closes_first() {
    run(|| async {
        let stage = Stage::new(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        stage.deliver(&stage.handed_on(1).await);
        assert_eq!(peer.puback().await, 1);
        stage.actor.do_send(StopIntake);
        assert_eq!(peer.packet().await, (0xE0, vec![]), "DISCONNECT");
        // A broker that sees an end of stream may throw away what it has received and not handled.
        let mut byte = [0];
        let read = timeout(CLOSE_WITHIN / 2, peer.stream.read(&mut byte)).await;
        assert!(read.is_err(), "{read:?}");
        let begin = Instant::now();
        drop(peer);
        let drained = |stage: &Stage| {
            let told = stage.told.lock().expect("sound");
            matches!(told.last(), Some(Told::Drained(_))).then_some(())
        };
        stage.until("drained", drained).await;
        assert!(begin.elapsed() < CLOSE_WITHIN / 2, "it does not wait longer than it must");
    });
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

#[test]
fn a_drain_that_waits_with_a_blocked_qos_0_message_costs_no_time() {
    run(|| async {
        let stage = Stage::new(|config| {
            config.delivery.qos0_window_messages = 1;
            config.delivery.qos0_shed_after = Some(Duration::from_millis(100));
        })
        .await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        // One write, so that both have been read when the first is handed on.
        peer.send(b"\x32\x08\0\x03a/b\0\x01x\x30\x06\0\x03a/by").await;
        let messages = stage.handed_on(1).await;
        stage.actor.send(StopIntake).await.expect("alive");
        let (before, pause) = (thread_time(), Duration::from_millis(500));
        actix_rt::time::sleep(pause).await;
        let spent = thread_time().saturating_sub(before);
        assert!(spent < pause / 4, "{spent:?} of {pause:?}");
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(peer.packet().await.0, 0xE0, "DISCONNECT");
        stage.until("shed", |s| (s.metrics.conservation().shed == 1).then_some(())).await;
    });
}

#[test]
fn a_drain_without_a_connection_waits_for_verdicts_only() {
    run(|| async {
        let stage = Stage::new(|config| {
            config.connections[0].reconnect_min = Duration::from_secs(60);
            config.connections[0].reconnect_max = Duration::from_secs(60);
        })
        .await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        drop(peer);
        stage
            .until("lost", |s| s.metrics.connections()[0].reconnects().get(lost::CLOSED).map(drop))
            .await;
        stage.actor.send(StopIntake).await.expect("alive");
        assert!(matches!(stage.told.lock().expect("sound").last(), Some(Told::Batch { .. })));
        stage.deliver(&messages);
        let drained = |stage: &Stage| {
            let told = stage.told.lock().expect("sound");
            matches!(told.last(), Some(Told::Drained(_))).then_some(())
        };
        stage.until("drained", drained).await;
    });
}

/// What is logged: message, and values with their keys.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl slog::Drain for Lines {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &slog::Record<'_>, _: &slog::OwnedKVList) -> Result<(), slog::Never> {
        struct Values(String);
        impl slog::Serializer for Values {
            fn emit_arguments(
                &mut self,
                key: slog::Key,
                value: &fmt::Arguments<'_>,
            ) -> slog::Result {
                write!(self.0, " {key}={value}").map_err(|_| slog::Error::Other)
            }
        }
        let mut line = Values(record.msg().to_string());
        slog::KV::serialize(&record.kv(), record, &mut line).expect("a String takes everything");
        self.0.lock().expect("sound").push(line.0);
        Ok(())
    }
}

#[test]
fn a_shared_subscription_that_brings_nothing_over_311_is_warned_of_and_one_that_does_is_not() {
    run(|| async {
        let stage = Stage::new(|config| {
            let silent = Route {
                id: RouteId(1),
                filter: "$share/g/c/+".parse().expect("legal"),
                ..config.routes[0].clone()
            };
            config.routes[0].filter = "$share/g/a/+".parse().expect("legal");
            config.routes.push(silent);
            config.connections[0].silence_warning = Some(Duration::from_secs(1));
        })
        .await;
        let mut peer = stage.accept().await;
        peer.send(&CONNACK).await;
        for _ in 0..2 {
            let (kind, body) = peer.packet().await;
            assert_eq!(kind, 0x82, "SUBSCRIBE");
            peer.send(&[0x90, 3, body[0], body[1], 1]).await;
        }
        peer.publish(0x32, 1, b"x").await;
        stage.handed_on(1).await;
        let warnings = |stage: &Stage| {
            let lines = stage.lines.0.lock().expect("sound");
            let warnings = lines.iter().filter(|line| line.contains("but no message has arrived"));
            Some(warnings.cloned().collect::<Vec<_>>()).filter(|warnings| !warnings.is_empty())
        };
        let warnings = stage.until("the silent one is warned of", warnings).await;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("mqtt_filter=$share/g/c/+"), "{warnings:?}");
    });
}

/// A PUBLISH of MQTT 5 to `a/b` at QoS 1, under one subscription identifier.
fn publish_for(subscription_id: u8, packet_id: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(10 + payload.len()).expect("short");
    let mut bytes = vec![0x32, length, 0, 3];
    bytes.extend(b"a/b");
    bytes.extend([0, packet_id, 2, 0x0B, subscription_id]);
    bytes.extend(payload);
    bytes
}

#[test]
fn a_copy_for_another_subscription_is_acknowledged_in_its_turn_after_the_first_is_delivered() {
    run(|| async {
        let stage = Stage::new(|config| {
            let second = Route {
                id: RouteId(1),
                filter: "+/b".parse().expect("legal"),
                ..config.routes[0].clone()
            };
            config.routes[0].filter = "a/+".parse().expect("legal");
            config.routes.push(second);
            config.connections[0].protocol = Protocol::V5;
        })
        .await;
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 0, 0, 0]).await;
        for id in 1..=2 {
            let (kind, body) = peer.packet().await;
            // Its properties: an identifier.
            assert_eq!((kind, &body[2..5]), (0x82, &[2, 0x0B, id][..]));
            peer.send(&[0x90, 4, body[0], body[1], 0, 1]).await;
        }
        for (subscription_id, packet_id, payload) in
            [(1, 1, b"x"), (2, 2, b"x"), (2, 3, b"y"), (1, 4, b"y")]
        {
            peer.send(&publish_for(subscription_id, packet_id, payload)).await;
        }
        stage
            .until("copies", |stage| (stage.metrics.conservation().copies == 2).then_some(()))
            .await;
        let messages = stage.handed_on(2).await;
        let payloads: Vec<_> = messages.iter().map(|(_, payload)| &payload[..]).collect();
        assert_eq!(payloads, [b"x", b"y"]);
        stage.deliver(&messages[1..]);
        let delivered = |stage: &Stage| (stage.metrics.conservation().delivered == 1).then_some(());
        stage.until("the second is delivered", delivered).await;
        stage.deliver(&messages[..1]);
        for packet_id in 1..=4 {
            assert_eq!(peer.puback().await, packet_id);
        }
        // They are long in Kafka.
        peer.send(&publish_for(2, 5, b"z")).await;
        let messages = stage.handed_on(3).await;
        stage.deliver(&messages[2..]);
        assert_eq!(peer.puback().await, 5);
        peer.send(&publish_for(1, 6, b"z")).await;
        assert_eq!(peer.puback().await, 6);
        assert!(stage.metrics.conservation().balances());
    });
}

/// Accepted in MQTT 5 with a session, and with what was asked for granted.
async fn accept_granting(stage: &Stage, requests: usize) -> Peer {
    let mut peer = stage.accept().await;
    peer.send(&[0x20, 3, 1, 0, 0]).await;
    for _ in 0..requests {
        let (kind, body) = peer.packet().await;
        assert_eq!(kind, 0x82, "SUBSCRIBE");
        peer.send(&[0x90, 4, body[0], body[1], 0, 1]).await;
    }
    peer
}

fn overlapping(config: &mut Config) {
    let second =
        Route { id: RouteId(1), filter: "+/b".parse().expect("legal"), ..config.routes[0].clone() };
    config.routes[0].filter = "a/+".parse().expect("legal");
    config.routes.push(second);
    config.connections[0].protocol = Protocol::V5;
}

#[test]
fn identifiers_that_are_not_ours_tell_no_copies_apart() {
    run(|| async {
        let stage = Stage::new(overlapping).await;
        let mut peer = accept_granting(&stage, 2).await;
        for id in 1..=50 {
            peer.send(&publish_for(id, id, b"x")).await;
        }
        let messages = stage.handed_on(49).await;
        assert_eq!((messages.len(), stage.metrics.conservation().copies), (49, 1));
    });
}

#[test]
fn a_message_of_qos_0_that_no_route_matches_takes_no_copy_of_qos_1_with_it() {
    run(|| async {
        let held =
            [("a/+", Qos::AtMostOnce, 1), ("+/b", Qos::AtLeastOnce, 2)].map(|(filter, qos, id)| {
                Held { filter: filter.parse().expect("legal"), qos, id: Some(id) }
            });
        let stage = Stage::remembering(held.into(), |config| {
            config.routes[0].filter = "a/b/c".parse().expect("legal");
            config.connections[0].protocol = Protocol::V5;
        })
        .await;
        let mut peer = accept_granting(&stage, 1).await;
        peer.send(b"\x30\x09\0\x03a/b\x02\x0B\x01x").await;
        peer.send(&publish_for(2, 1, b"x")).await;
        let messages = stage.handed_on(1).await;
        let counts = stage.metrics.conservation();
        assert!(counts.filtered == 1 && counts.copies == 0, "{counts:?}");
        stage.deliver(&messages);
    });
}

#[test]
fn what_comes_alone_since_the_other_subscription_is_refused_is_no_copy() {
    run(|| async {
        let stage = Stage::new(overlapping).await;
        let mut peer = accept_granting(&stage, 1).await;
        let (_, second) = peer.packet().await;
        peer.send(&publish_for(1, 1, b"x")).await;
        let messages = stage.handed_on(1).await;
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        peer.send(&[0x90, 4, second[0], second[1], 0, 1]).await;
        drop(peer);
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 1, 0, 0]).await;
        for code in [0x87, 1] {
            let (_, body) = peer.packet().await;
            peer.send(&[0x90, 4, body[0], body[1], 0, code]).await;
        }
        peer.send(&publish_for(2, 2, b"x")).await;
        stage.handed_on(2).await;
    });
}

#[test]
fn what_comes_after_another_client_had_the_session_is_new() {
    run(|| async {
        let stage = Stage::new(|config| config.connections[0].protocol = Protocol::V5).await;
        let mut peer = accept_granting(&stage, 1).await;
        peer.send(b"\x32\x09\0\x03a/b\0\x01\0x").await;
        let first = stage.handed_on(1).await;
        // The other client acknowledges it, is sent an equal one under the same id, and goes.
        peer.send(&[0xE0, 1, 0x8E]).await;
        let mut peer = accept_granting(&stage, 1).await;
        peer.send(b"\x3A\x09\0\x03a/b\0\x01\0x").await;
        let messages = stage.handed_on(2).await;
        stage.deliver(&first);
        stage.deliver(&messages[1..]);
        assert_eq!(peer.puback().await, 1);
        assert!(stage.metrics.conservation().balances());
    });
}

impl Stage {
    /// With a second address of the broker.
    async fn with_two_addresses(adjust: impl FnOnce(&mut Config)) -> (Self, Host) {
        let second = Host::bind(OVER.get()).await;
        let stage = Self::new(|config| {
            config.connections[0].addresses.push(second.address());
            adjust(config);
        })
        .await;
        (stage, second)
    }

    /// Waits until what comes is not taken in any more; sends QoS 0 to find out.
    async fn reads_no_more(&self, peer: &mut Peer) {
        let end = Instant::now() + PATIENCE;
        loop {
            let before = self.metrics.conservation().received;
            peer.publish(0x30, 0, b"probe").await;
            let taken_in = async {
                while self.metrics.conservation().received == before {
                    actix_rt::time::sleep(Duration::from_millis(1)).await;
                }
            };
            if timeout(Duration::from_millis(500), taken_in).await.is_err() {
                return;
            }
            assert!(Instant::now() < end, "it reads on");
        }
    }

    fn is_drained(&self) -> bool {
        let told = self.told.lock().expect("sound");
        told.iter().any(|told| matches!(told, Told::Drained(_)))
    }

    /// Waits until it is drained; with how many messages unacknowledged.
    async fn drained(&self) -> u64 {
        let drained = |stage: &Self| match stage.told.lock().expect("sound").last() {
            Some(Told::Drained(unacknowledged)) => Some(*unacknowledged),
            _ => None,
        };
        self.until("drained", drained).await
    }

    /// The lines that were logged with this beginning.
    fn logged(&self, beginning: &str) -> Vec<String> {
        let lines = self.lines.0.lock().expect("sound");
        lines.iter().filter(|line| line.starts_with(beginning)).cloned().collect()
    }
}

#[test]
fn the_next_address_is_tried_after_a_failed_attempt_and_the_first_after_a_lost_connection() {
    run(|| async {
        let (stage, second) = Stage::with_two_addresses(|config| {
            // Nothing but the short pause within a round ends before the test does.
            config.connections[0].reconnect_min = Duration::from_secs(20);
            config.connections[0].reconnect_max = Duration::from_secs(20);
        })
        .await;
        let [first, next] =
            [&stage.listener, &second].map(|host| format!("mqtt_broker={}", host.address()));
        stage.accept().await.send(&[0x20, 2, 0, 5]).await;
        let (mut peer, _) = accept_at(&second).await;
        peer.send(&CONNACK).await;
        stage
            .until("connected", |s| s.logged("connected").pop().filter(|l| l.contains(&next)))
            .await;
        let failed = &stage.logged("cannot connect to mqtt")[0];
        assert!(failed.contains(&first) && failed.contains("delay_ms=100"), "{failed}");
        drop(peer);
        let lost = stage.until("lost", |s| s.logged("mqtt connection lost").pop()).await;
        assert!(lost.contains(&next), "{lost}");
    });
    run(|| async {
        let (stage, second) = Stage::with_two_addresses(|config| {
            config.connections[0].reconnect_min = Duration::from_millis(40);
        })
        .await;
        // Both refuse: a whole round, and the usual pause.
        stage.accept().await.send(&[0x20, 2, 0, 5]).await;
        accept_at(&second).await.0.send(&[0x20, 2, 0, 5]).await;
        stage.accept().await.send(&[0x20, 2, 0, 5]).await;
        let (mut peer, _) = accept_at(&second).await;
        peer.send(&CONNACK).await;
        assert_eq!(peer.packet().await.0, 0x82, "SUBSCRIBE");
        drop(peer);
        drop(stage.accept_subscribed(CONNACK).await);
        drop(stage.accept_subscribed(CONNACK).await);
        let counts = stage.metrics.connections()[0].reconnects();
        assert_eq!(counts.get("login_refused"), Some(&3), "{counts:?}");
        assert_eq!(counts.get("connack_timeout"), None, "the second was not tried again");
    });
}

#[test]
fn an_address_that_closes_without_a_word_does_not_decide_what_is_spoken_at_the_next() {
    run(|| async {
        let (stage, second) = Stage::with_two_addresses(|config| {
            config.connections[0].protocol = Protocol::Auto;
        })
        .await;
        let mut levels = Vec::new();
        for listener in [&stage.listener, &second, &stage.listener, &second] {
            levels.push(accept_at(listener).await.1[6]);
        }
        assert_eq!(levels, [5, 5, 4, 4]);
    });
}

#[test]
fn a_broker_that_names_another_server_is_left_for_the_next_address() {
    run(|| async {
        let (stage, second) = Stage::with_two_addresses(|config| {
            config.connections[0].protocol = Protocol::V5;
            config.connections[0].reconnect_min = Duration::from_secs(60);
            config.connections[0].reconnect_max = Duration::from_secs(60);
        })
        .await;
        let mut peer = accept_granting(&stage, 1).await;
        peer.send(&[0xE0, 1, 0x9C]).await;
        let _next = accept_at(&second).await;
        assert_eq!(stage.metrics.connections()[0].reconnects().get("failover"), Some(&1));
    });
}

#[test]
fn a_password_is_made_afresh_for_each_connect_and_without_one_there_is_no_connect() {
    run(|| async {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        std::fs::write(&path, "one\n").expect("written");
        let stage = Stage::new(|config| {
            let mqtt = &mut config.connections[0];
            mqtt.username = Some("u".into());
            let script = format!("cat {}", path.display());
            mqtt.password =
                Some(Password::Command(["sh", "-c", &script].map(str::to_owned).into()));
            mqtt.reconnect_min = Duration::from_millis(10);
        })
        .await;
        let (_, connect) = accept_at(&stage.listener).await;
        assert!(connect.ends_with(b"\0\x01u\0\x03one"), "{connect:?}");
        std::fs::remove_file(&path).expect("removed");
        let failed = |stage: &Stage| {
            let counts = stage.metrics.connections()[0].reconnects();
            counts.get("password_unavailable").copied().filter(|count| *count >= 2)
        };
        stage.until("no password", failed).await;
        std::fs::write(&path, "two").expect("written");
        // Dialed while there was no password, and left again without a CONNECT.
        let connect = loop {
            if let Some(connect) = accept_silent(&stage).await.connect().await {
                break connect;
            }
        };
        assert!(connect.ends_with(b"\0\x01u\0\x03two"), "{connect:?}");
        let line = &stage.logged("cannot connect to mqtt")[..];
        assert!(line.iter().any(|line| line.contains("mqtt.password_command sh: ")), "{line:?}");
    });
}

/// With a password in a file, `one`.
async fn with_password_file(adjust: impl FnOnce(&mut Config)) -> (Stage, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "one").expect("written");
    let stage = Stage::new(|config| {
        let mqtt = &mut config.connections[0];
        mqtt.username = Some("u".into());
        mqtt.password = Some(Password::File(file.path().to_owned()));
        mqtt.reconnect_min = Duration::from_secs(60);
        mqtt.reconnect_max = Duration::from_secs(60);
        adjust(config);
    })
    .await;
    (stage, file)
}

/// The next transport, on which nothing was said yet.
async fn accept_silent(stage: &Stage) -> Peer {
    let accepted = timeout(PATIENCE, stage.listener.accept()).await;
    Peer { stream: accepted.expect("in time").expect("accepted").0 }
}

#[test]
fn a_changed_file_makes_a_new_connection_once_all_is_acknowledged_on_the_old_one() {
    run(|| async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        std::fs::write(file.path(), "two").expect("written");
        let mut next = accept_silent(&stage).await;
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT");
        drop(peer);
        let (kind, connect) = next.packet().await;
        assert!(kind == 0x10 && connect.ends_with(b"\0\x03two"), "{connect:?}");
        // The session goes on: clean session is not asked for.
        assert_eq!(connect[7] & 2, 0);
        next.send(&CONNACK_SESSION_PRESENT).await;
        next.publish(0x32, 2, b"y").await;
        let messages = stage.handed_on(2).await;
        stage.deliver(&messages[1..]);
        assert_eq!(next.puback().await, 2);
        assert_eq!(stage.metrics.connections()[0].reconnects().get("rotated"), Some(&1));
        let lines = stage.lines.0.lock().expect("sound").clone();
        assert!(!lines.iter().any(|line| line.contains("lost") || line.contains("cannot")));
    });
}

#[test]
fn a_connection_is_kept_while_its_changed_files_are_of_no_use() {
    run(|| async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        std::fs::write(file.path(), "").expect("written");
        let complaint = "cannot connect with the changed files, keeping the connection";
        let line = stage.until("said", |stage| stage.logged(complaint).pop()).await;
        assert!(line.contains("reason=password_unavailable"), "{line}");
        peer.publish(0x32, 1, b"x").await;
        stage.deliver(&stage.handed_on(1).await);
        assert_eq!(peer.puback().await, 1, "it works as before");
        std::fs::write(file.path(), "three").expect("written");
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT");
        drop(peer);
        // What was dialed in vain is closed.
        let connect = loop {
            if let Some(connect) = accept_silent(&stage).await.connect().await {
                break connect;
            }
        };
        assert!(connect.ends_with(b"\0\x05three"), "{connect:?}");
    });
}

#[test]
fn a_changed_file_ends_the_pause_before_the_next_attempt() {
    run(|| async {
        let (stage, file) = with_password_file(|_| {}).await;
        // The pause behind it is at least 30 s.
        stage.accept().await.send(&[0x20, 2, 0, 4]).await;
        std::fs::write(file.path(), "two").expect("written");
        let (_, connect) = accept_at(&stage.listener).await;
        assert!(connect.ends_with(b"\0\x03two"), "{connect:?}");
    });
}

#[test]
fn what_kafka_does_not_confirm_in_10_s_is_recognised_on_the_new_connection() {
    System::new().block_on(async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        std::fs::write(file.path(), "two").expect("written");
        let mut next = accept_silent(&stage).await;
        let begin = Instant::now();
        let goodbye = timeout(PATIENCE, peer.stream.read_u8()).await.expect("in time");
        assert_eq!(goodbye.expect("DISCONNECT"), 0xE0);
        assert!(begin.elapsed() > RETIRE_WITHIN - Duration::from_secs(1), "{:?}", begin.elapsed());
        drop(peer);
        assert_eq!(next.packet().await.0, 0x10, "CONNECT");
        next.send(&CONNACK_SESSION_PRESENT).await;
        next.publish(0x3A, 1, b"x").await;
        stage.until("known", |s| (s.metrics.conservation().redelivered == 1).then_some(())).await;
        stage.deliver(&messages);
        assert_eq!(next.puback().await, 1);
        assert_eq!(stage.handed_on(1).await.len(), 1, "forwarded once");
    });
}

#[test]
fn a_drain_while_the_connection_is_to_be_replaced_ends_with_it() {
    run(|| async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        std::fs::write(file.path(), "two").expect("written");
        let mut next = accept_silent(&stage).await;
        stage.actor.send(StopIntake).await.expect("alive");
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT");
        drop(peer);
        let drained = |stage: &Stage| {
            let told = stage.told.lock().expect("sound");
            matches!(told.last(), Some(Told::Drained(_))).then_some(())
        };
        stage.until("drained", drained).await;
        // No CONNECT comes there any more.
        drop(stage);
        let mut byte = [0];
        let nothing = timeout(Duration::from_millis(100), next.stream.read(&mut byte)).await;
        assert!(!matches!(nothing, Ok(Ok(1))), "{nothing:?}");
    });
}

#[test]
fn a_drain_takes_the_place_of_the_10_s_in_which_a_connection_is_replaced() {
    System::new().block_on(async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        std::fs::write(file.path(), "two").expect("written");
        let _next = accept_silent(&stage).await;
        stage.reads_no_more(&mut peer).await;
        let messages = stage.handed_on(messages.len()).await;
        stage.actor.send(StopIntake).await.expect("alive");
        let early = timeout(RETIRE_WITHIN + Duration::from_secs(1), peer.stream.read_u8()).await;
        assert!(early.is_err(), "nothing is confirmed, and yet: {early:?}");
        assert!(!stage.is_drained());
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT");
        drop(peer);
        assert_eq!(stage.drained().await, 0);
    });
}

#[test]
fn a_drain_behind_the_disconnect_of_a_replaced_connection_waits_for_what_is_in_flight() {
    System::new().block_on(async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        std::fs::write(file.path(), "two").expect("written");
        let _next = accept_silent(&stage).await;
        let goodbye = timeout(PATIENCE, peer.stream.read_u8()).await.expect("in time");
        assert_eq!(goodbye.expect("DISCONNECT"), 0xE0);
        stage.actor.send(StopIntake).await.expect("alive");
        drop(peer);
        // Until the connection is given up and all mail is read.
        actix_rt::time::sleep(Duration::from_millis(200)).await;
        assert!(!stage.is_drained());
        stage.deliver(&messages);
        assert_eq!(stage.drained().await, 1, "the broker has no acknowledgement of it");
        assert!(stage.metrics.conservation().balances());
    });
}

#[test]
fn the_next_connection_waits_until_the_broker_has_read_the_goodbye_of_the_one_before() {
    run(|| async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        std::fs::write(file.path(), "two").expect("written");
        let mut next = accept_silent(&stage).await;
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT");
        // A busy broker: the acknowledgements before it may wait as long.
        let early = timeout(CLOSE_WITHIN + CLOSE_WITHIN / 2, next.stream.read_u8()).await;
        assert!(early.is_err(), "{early:?}");
        drop(peer);
        assert_eq!(next.packet().await.0, 0x10, "CONNECT");
    });
}

#[test]
fn a_drain_does_not_wait_for_a_broker_that_is_slow_to_let_a_connection_be_replaced() {
    run(|| async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        std::fs::write(file.path(), "two").expect("written");
        let _next = accept_silent(&stage).await;
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT");
        let begin = Instant::now();
        stage.actor.send(StopIntake).await.expect("alive");
        assert_eq!(stage.drained().await, 0);
        assert!(begin.elapsed() < RETIRE_WITHIN / 2, "{:?}", begin.elapsed());
    });
}

#[test]
fn qos_0_that_waits_while_a_connection_is_replaced_is_taken_in_and_overtakes_nothing() {
    run(|| async {
        let (stage, file) = with_password_file(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let messages = stage.handed_on(1).await;
        std::fs::write(file.path(), "two").expect("written");
        let mut next = accept_silent(&stage).await;
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT");
        // The broker has sent more before it reads that.
        peer.publish(0x30, 0, b"before").await;
        peer.publish(0x32, 2, b"again").await;
        peer.send(b"\x30\x07\0\x03a/cz").await;
        peer.send(b"z").await;
        // In a read of its own.
        stage.handed_on(3).await;
        peer.publish(0x30, 0, b"behind").await;
        drop(peer);
        assert_eq!(next.packet().await.0, 0x10, "CONNECT");
        let messages = stage.handed_on(3).await;
        let payloads: Vec<_> = messages.iter().map(|(_, payload)| &payload[..]).collect();
        assert_eq!(payloads, [&b"x"[..], b"before", b"zz"]);
        let counts = stage.metrics.conservation();
        assert!(counts.shed == 1 && counts.received == 4, "{counts:?}");
        next.send(&CONNACK_SESSION_PRESENT).await;
        next.publish(0x3A, 2, b"again").await;
        let messages = stage.handed_on(4).await;
        stage.deliver(&messages[1..]);
        assert_eq!(next.puback().await, 2);
        assert!(stage.metrics.conservation().balances());
    });
}

/// An actor that leaves a session where `old/#` may be subscribed, and what it tells of that.
async fn leaving(
    patience: Duration,
    adjust: impl FnOnce(&mut Config),
) -> (Stage, UnboundedReceiver<bool>) {
    let (departed, departures) = unbounded_channel();
    let filter = "old/#".parse().expect("legal");
    let held = vec![Held { filter, qos: Qos::AtLeastOnce, id: None }];
    let stage = Stage::built(
        |config| {
            config.connections[0].protocol = Protocol::V5;
            config.connections[0].session_expiry_s = 3600;
            adjust(config);
        },
        |actor| actor.leaving(None, held, patience, departed),
    )
    .await;
    (stage, departures)
}

impl Peer {
    /// The next packet is UNSUBSCRIBE for this filter; it is answered.
    async fn unsubscribed(&mut self, mqtt_filter: &str, is_v5: bool) {
        let (kind, body) = self.packet().await;
        assert!(kind == 0xA2 && body.ends_with(mqtt_filter.as_bytes()), "{kind:#x} {body:?}");
        match is_v5 {
            true => self.send(&[0xB0, 4, body[0], body[1], 0, 0]).await,
            false => self.send(&[0xB0, 2, body[0], body[1]]).await,
        }
    }

    async fn ping(&mut self) {
        assert_eq!(self.packet().await, (0xC0, vec![]), "PINGREQ");
        self.send(&PINGRESP).await;
    }
}

/// The next connection asks for a clean session, which is the end of the one before; then it goes.
async fn ended_by_a_clean_session(stage: &Stage, connack: &[u8]) {
    let (mut peer, connect) = accept_at(&stage.listener).await;
    assert_eq!(connect[7] & 2, 2, "a clean session");
    if connect[6] == 5 {
        // Properties: the session is over with the connection.
        assert!(!connect.windows(5).any(|bytes| bytes == [0x11, 0, 0, 0x0E, 0x10]), "{connect:?}");
    }
    peer.send(connack).await;
    assert_eq!(peer.packet().await.0, 0xE0, "DISCONNECT");
}

const CONNACK_V5: [u8; 5] = [0x20, 3, 0, 0, 0];
const GOODBYE: (u8, [u8; 7]) = (0xE0, [0, 5, 0x11, 0, 0, 0, 0]);

#[test]
fn one_that_leaves_unsubscribes_delivers_what_still_comes_and_ends_the_session() {
    run(|| async {
        let (stage, mut departures) = leaving(PATIENCE, |_| {}).await;
        let (mut peer, connect) = accept_at(&stage.listener).await;
        assert_eq!(connect[7], 0, "neither a clean start nor a will");
        peer.send(&[0x20, 3, 1, 0, 0]).await;
        peer.unsubscribed("#", true).await;
        peer.unsubscribed("old/#", true).await;
        // What waits in the session comes one by one, as the broker's window is small.
        for id in 1..=3 {
            peer.send(&[0x32, 9, 0, 3, b'a', b'/', b'b', 0, id, 0, id]).await;
            let messages = stage.handed_on(usize::from(id)).await;
            stage.deliver(&messages[usize::from(id) - 1..]);
            assert_eq!(peer.puback().await, u16::from(id));
        }
        let begin = Instant::now();
        // Asked twice, with a pause; a message between the answers begins that anew.
        peer.ping().await;
        peer.send(&[0x32, 9, 0, 3, b'a', b'/', b'b', 0, 4, 0, 4]).await;
        let messages = stage.handed_on(4).await;
        stage.deliver(&messages[3..]);
        assert_eq!(peer.puback().await, 4);
        peer.ping().await;
        peer.ping().await;
        assert!(begin.elapsed() >= quiet::PAUSE, "{:?}", begin.elapsed());
        let (kind, body) = peer.packet().await;
        assert_eq!((kind, &body[..]), (GOODBYE.0, &GOODBYE.1[..]), "DISCONNECT, expiry 0");
        drop(peer);
        assert!(departures.try_recv().is_err(), "nothing says that the broker has read it");
        ended_by_a_clean_session(&stage, &CONNACK_V5).await;
        assert_eq!(timeout(PATIENCE, departures.recv()).await.expect("in time"), Some(true));
        // It stays, and connects no more, until the supervisor drains.
        stage.actor.do_send(Panicked);
        stage.actor.do_send(StopIntake);
        let drained = |stage: &Stage| {
            let told = stage.told.lock().expect("sound");
            matches!(told.last(), Some(Told::Drained(_))).then_some(())
        };
        stage.until("drained", drained).await;
        assert_eq!(stage.logged("left: all is delivered").len(), 1);
    });
}

#[test]
fn one_that_leaves_over_311_ends_the_session_by_a_clean_one_and_removes_its_state_file() {
    run(|| async {
        let directory = tempfile::tempdir().expect("a directory");
        let mut mqtt = config(&Host::bind(Over::Tcp).await).connections.remove(0);
        mqtt.session_expiry_s = 3600;
        let file = StateFile::of(Some(directory.path()), &mqtt).expect("a session");
        file.save(&[]).expect("saved");
        let (departed, mut departures) = unbounded_channel();
        let path = file.path().to_owned();
        let stage = Stage::built(
            |config| config.connections[0].session_expiry_s = 3600,
            |actor| actor.leaving(Some(file), Vec::new(), PATIENCE, departed),
        )
        .await;
        let (mut peer, connect) = accept_at(&stage.listener).await;
        assert_eq!(connect[7] & 2, 0, "the session is asked for");
        peer.send(&CONNACK_SESSION_PRESENT).await;
        // Before the UNSUBACK nothing is quiet.
        peer.unsubscribed("#", false).await;
        peer.ping().await;
        peer.ping().await;
        assert_eq!(peer.packet().await, (0xE0, vec![]), "DISCONNECT");
        drop(peer);
        assert!(departures.try_recv().is_err() && path.exists(), "the session is still there");
        ended_by_a_clean_session(&stage, &CONNACK).await;
        assert_eq!(timeout(PATIENCE, departures.recv()).await.expect("in time"), Some(true));
        assert!(!path.exists());
    });
}

#[test]
fn one_that_leaves_where_the_broker_has_no_session_says_so() {
    run(|| async {
        let (stage, mut departures) = leaving(PATIENCE, |_| {}).await;
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 0, 0, 0]).await;
        peer.ping().await;
        peer.ping().await;
        assert_eq!(peer.packet().await.1, GOODBYE.1, "DISCONNECT, expiry 0: CONNECT made one");
        drop(peer);
        ended_by_a_clean_session(&stage, &CONNACK_V5).await;
        assert_eq!(timeout(PATIENCE, departures.recv()).await.expect("in time"), Some(true));
        assert_eq!(stage.logged("left: the broker had no session").len(), 1);
    });
}

#[test]
fn one_that_cannot_deliver_all_says_so_and_keeps_the_session() {
    run(|| async {
        let (stage, mut departures) = leaving(Duration::from_millis(500), |_| {}).await;
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 1, 0, 0]).await;
        peer.unsubscribed("#", true).await;
        peer.unsubscribed("old/#", true).await;
        peer.send(&[0x32, 9, 0, 3, b'a', b'/', b'b', 0, 1, 0, 1]).await;
        let messages = stage.handed_on(1).await;
        // Kafka says nothing.
        assert_eq!(timeout(PATIENCE, departures.recv()).await.expect("in time"), Some(false));
        stage.actor.send(StopIntake).await.expect("alive");
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        assert_eq!(peer.acknowledgement().await, (0xE0, vec![]), "DISCONNECT that keeps it");
    });
}

#[test]
fn a_connection_lost_while_leaving_is_made_again_and_unsubscribes_again() {
    run(|| async {
        let (stage, mut departures) = leaving(PATIENCE, |_| {}).await;
        for _ in 0..2 {
            let mut peer = stage.accept().await;
            peer.send(&[0x20, 3, 1, 0, 0]).await;
            peer.unsubscribed("#", true).await;
            peer.unsubscribed("old/#", true).await;
        }
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 1, 0, 0]).await;
        peer.unsubscribed("#", true).await;
        peer.unsubscribed("old/#", true).await;
        peer.ping().await;
        peer.ping().await;
        assert_eq!(peer.packet().await.1, GOODBYE.1, "DISCONNECT, expiry 0");
        drop(peer);
        ended_by_a_clean_session(&stage, &CONNACK_V5).await;
        assert_eq!(timeout(PATIENCE, departures.recv()).await.expect("in time"), Some(true));
    });
}

#[test]
fn one_that_leaves_a_broker_that_is_reset_before_it_reads_the_goodbye_ends_the_session_behind_it() {
    run(|| async {
        let directory = tempfile::tempdir().expect("a directory");
        let mut mqtt = config(&Host::bind(Over::Tcp).await).connections.remove(0);
        mqtt.session_expiry_s = 3600;
        let file = StateFile::of(Some(directory.path()), &mqtt).expect("a session");
        file.save(&[]).expect("saved");
        let (departed, mut departures) = unbounded_channel();
        let path = file.path().to_owned();
        let stage = Stage::built(
            |config| {
                config.connections[0].protocol = Protocol::V5;
                config.connections[0].session_expiry_s = 3600;
            },
            |actor| actor.leaving(Some(file), Vec::new(), PATIENCE, departed),
        )
        .await;
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 1, 0, 0]).await;
        peer.unsubscribed("#", true).await;
        peer.ping().await;
        peer.ping().await;
        peer.stream.reset_when_closed();
        drop(peer);
        // The first of those behind it is not accepted, and proves nothing.
        drop(stage.accept().await);
        assert!(departures.try_recv().is_err() && path.exists(), "the session is still there");
        ended_by_a_clean_session(&stage, &CONNACK_V5).await;
        assert_eq!(timeout(PATIENCE, departures.recv()).await.expect("in time"), Some(true));
        assert!(!path.exists());
    });
}

#[test]
fn one_that_leaves_gives_up_without_an_unsuback_although_messages_come() {
    run(|| async {
        let (stage, mut departures) = leaving(Duration::from_millis(1500), |_| {}).await;
        let mut peer = stage.accept().await;
        peer.send(&[0x20, 3, 1, 0, 0]).await;
        assert_eq!(peer.packet().await.0, 0xA2, "UNSUBSCRIBE");
        assert_eq!(peer.packet().await.0, 0xA2, "UNSUBSCRIBE");
        let end = Instant::now() + PATIENCE;
        let mut count = 0_u8;
        let outcome = loop {
            if let Ok(outcome) = departures.try_recv() {
                break outcome;
            }
            assert!(Instant::now() < end, "it stays for ever");
            count = count.wrapping_add(1).max(1);
            peer.send(&[0x32, 9, 0, 3, b'a', b'/', b'b', 0, count, 0, count]).await;
            let messages = stage.handed_on(usize::from(count)).await;
            stage.deliver(&messages[usize::from(count) - 1..]);
            assert_eq!(peer.puback().await, u16::from(count));
            actix_rt::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(!outcome, "the session is kept");
    });
}

#[test]
fn what_another_address_without_the_session_brings_is_no_redelivery() {
    run(|| async {
        let (stage, second) = Stage::with_two_addresses(|_| {}).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        stage.handed_on(1).await;
        drop(peer);
        stage.accept().await.send(&[0x20, 2, 0, 5]).await;
        let (mut peer, _) = accept_at(&second).await;
        peer.send(&CONNACK).await;
        // Same id, same content, and DUP.
        peer.publish(0x3A, 1, b"x").await;
        assert_eq!(stage.handed_on(2).await.len(), 2);
        assert_eq!(stage.metrics.conservation().redelivered, 0);
    });
}

#[test]
fn our_own_status_is_acknowledged_and_neither_forwarded_nor_a_dead_letter() {
    run(|| async {
        let stage = Stage::new(|config| {
            config.connections[0].status = Some(StatusConfig {
                mqtt_topic: "a/b".to_owned(),
                online: "online".to_owned(),
                offline: "offline".to_owned(),
                retain: true,
                qos: Qos::AtMostOnce,
            });
            config.connections[0].protocol = Protocol::V5;
        })
        .await;
        let mut peer = accept_granting(&stage, 1).await;
        assert_eq!(peer.packet().await.0, 0x31, "the birth message");
        // Retained, by the will of a process before this one; and not, as an older subscription brings our
        // birth, and the will that the broker queued for our own session.
        peer.send(b"\x33\x0f\0\x03a/b\0\x01\0offline").await;
        peer.send(b"\x32\x0e\0\x03a/b\0\x02\0online").await;
        peer.send(b"\x3a\x0f\0\x03a/b\0\x03\0offline").await;
        assert_eq!([peer.puback().await, peer.puback().await, peer.puback().await], [1, 2, 3]);
        peer.send(b"\x32\x09\0\x03a/c\0\x04\0x").await;
        let messages = stage.handed_on(1).await;
        assert_eq!((messages.len(), &messages[0].1[..]), (1, &b"x"[..]));
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 4);
        let counts = stage.metrics.conservation();
        assert!(counts.filtered == 3 && counts.balances(), "{counts:?}");
    });
}

#[test]
fn what_routing_asks_for_is_published_once_at_qos_0() {
    run(|| async {
        let stage = Stage::new(|config| {
            config.routes[0].payload = PayloadForm::Sparkplug;
            config.routes[0].sparkplug_rebirth = true;
        })
        .await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        // A metric with alias 5 of a node whose birth is unknown; twice.
        let data = b"\x30\x17\0\x11spBv1.0/g/NDATA/e\x12\x02\x10\x05";
        peer.send(&[&data[..], data].concat()).await;
        let (kind, body) = peer.packet().await;
        assert_eq!((kind, &body[..18]), (0x30, &b"\0\x10spBv1.0/g/NCMD/e"[..]));
        let name = b"Node Control/Rebirth";
        assert!(body.windows(name.len()).any(|part| part == name), "{body:?}");
        stage.handed_on(2).await;
        stage.actor.do_send(StopIntake);
        let messages = stage.handed_on(2).await;
        stage.deliver(&messages);
        assert_eq!(peer.packet().await.0, 0xE0, "DISCONNECT, and no second request before it");
    });
}

#[test]
fn a_message_of_two_routes_with_one_filter_is_acknowledged_when_both_parts_are_delivered() {
    run(|| async {
        let stage = Stage::new(|config| {
            let second = Route { id: RouteId(1), ..config.routes[0].clone() };
            config.routes.push(second);
            config.match_ = Match::All;
        })
        .await;
        // One SUBSCRIBE.
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"x").await;
        let seq = stage.handed_on(2).await[0].0;
        let deliver = |index| {
            let verdicts = vec![Verdict::Delivered(RecordId { seq, index })];
            stage.actor.do_send(Verdicts {
                placed: Vec::new(),
                verdicts,
                delivered_at: Instant::now(),
            });
        };
        deliver(1);
        // Only the other part is handed on again.
        stage.actor.do_send(Panicked);
        let parts = stage.handed_on(3).await;
        assert_eq!((parts.len(), parts[2].0), (3, seq));
        assert_eq!(stage.metrics.conservation().delivered, 0);
        deliver(0);
        let delivered = |stage: &Stage| (stage.metrics.conservation().delivered == 1).then_some(());
        stage.until("delivered", delivered).await;
        // It comes again on the next connection, with DUP, and is acknowledged.
        let mut peer = stage.accept().await;
        peer.send(&CONNACK_SESSION_PRESENT).await;
        peer.publish(0x3A, 1, b"x").await;
        assert_eq!(peer.puback().await, 1);
        assert!(stage.metrics.conservation().balances());
    });
}

#[test]
fn what_repeats_a_delivered_message_is_acknowledged_and_not_handed_on_until_another_comes() {
    run(|| async {
        let stage = Stage::new(|config| config.routes[0].gate.dedupe = true).await;
        let mut peer = stage.accept_subscribed(CONNACK).await;
        peer.publish(0x32, 1, b"on").await;
        let messages = stage.handed_on(1).await;
        stage.deliver(&messages);
        assert_eq!(peer.puback().await, 1);
        peer.publish(0x32, 2, b"on").await;
        assert_eq!(peer.puback().await, 2);
        peer.publish(0x32, 3, b"off").await;
        stage.handed_on(2).await;
        peer.publish(0x32, 4, b"on").await;
        let messages = stage.handed_on(3).await;
        assert_eq!(messages[2].1, b"on"[..], "off is in flight between them");
        let counts = stage.metrics.conservation();
        assert!(counts.filtered == 1 && counts.balances(), "{counts:?}");
        let dropped = (RouteId(0), Note::Dropped(DropReason::Dedupe));
        assert_eq!(stage.metrics.notes(), [(dropped, 1)].into());
        stage.deliver(&messages[1..]);
        assert_eq!([peer.puback().await, peer.puback().await], [3, 4]);
        // What it knew may be wrong after a panic.
        stage.actor.do_send(Panicked);
        let mut peer = stage.accept_subscribed(CONNACK_SESSION_PRESENT).await;
        peer.publish(0x32, 5, b"on").await;
        stage.handed_on(4).await;
    });
}
