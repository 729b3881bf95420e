//! Simulated devices behind one connection: publishes numbered messages and knows which were
//! acknowledged.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::eventually;
use super::ledger::{Ledger, payload};
use super::mqtt_client::MqttClient;
use super::wire::{Packet, Publish, Version};

/// What a publisher sends.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// How many MQTT topics, in turn.
    pub mqtt_topics: usize,
    /// 0 or 1.
    pub qos: u8,
    /// Messages a second.
    pub rate: u32,
    /// Unacknowledged messages at most, at QoS 1.
    pub window: usize,
    /// Arbitrary bytes in each payload.
    pub filler: usize,
}

impl Default for Load {
    fn default() -> Self {
        Self { mqtt_topics: 20, qos: 1, rate: 2_000, window: 500, filler: 100 }
    }
}

/// A publisher on a thread of its own. Publishes nothing until told to. Connects again when the
/// connection is lost; what was unacknowledged then is not sent again, so that every duplicate in
/// Kafka is the bridge's.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    address: String,
    client_id: String,
    version: Version,
    load: Load,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many messages are still to be published; `u64::MAX` is an endless load.
    quota: u64,
    ended: bool,
    connected: bool,
    ledger: Ledger,
    next_topic: usize,
    next_pkid: u16,
    /// By packet id: index of the MQTT topic, and number.
    in_flight: HashMap<u16, (usize, u64)>,
    /// The rate is measured from here.
    pace_start: Instant,
    pace_sent: u64,
}

impl Publisher {
    /// Connects to the broker at `address`; MQTT topics are `{prefix}/0`, `{prefix}/1`, ...
    pub fn start(address: &str, version: Version, prefix: &str, load: Load) -> Self {
        let topics = (0..load.mqtt_topics).map(|index| format!("{prefix}/{index}"));
        let state = State {
            quota: 0,
            ended: false,
            connected: false,
            ledger: Ledger::new(topics),
            next_topic: 0,
            next_pkid: 1,
            in_flight: HashMap::new(),
            pace_start: Instant::now(),
            pace_sent: 0,
        };
        let shared = Arc::new(Shared {
            address: address.to_owned(),
            client_id: format!("publisher-of-{prefix}"),
            version,
            load,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        });
        Self { shared, thread: Some(thread) }
    }

    /// Publishes `count` more messages.
    pub fn publish(&self, count: u64) {
        self.shared.set_quota(|quota| quota + count);
    }

    /// Publishes without end.
    pub fn keep_publishing(&self) {
        self.shared.set_quota(|_| u64::MAX);
    }

    /// Stops publishing until told to continue; unacknowledged messages stay unacknowledged.
    pub fn pause(&self) {
        self.shared.set_quota(|_| 0);
    }

    /// Waits until all requested messages are published and, at QoS 1, acknowledged.
    #[track_caller]
    pub fn wait_done(&self, deadline: Duration) {
        eventually("the publisher is done", deadline, || {
            let state = self.shared.state.lock().unwrap();
            state.quota == 0 && state.in_flight.is_empty()
        });
    }

    /// How many messages were published so far.
    pub fn published(&self) -> u64 {
        self.shared.state.lock().unwrap().ledger.published()
    }

    /// The messages published so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.state.lock().unwrap().ledger.clone()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.ended = true;
        }
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn set_quota(&self, change: impl FnOnce(u64) -> u64) {
        let mut state = self.state.lock().unwrap();
        state.quota = change(state.quota);
        state.pace_start = Instant::now();
        state.pace_sent = 0;
        self.changed.notify_all();
    }

    fn run(&self) {
        // Broken pipes and refused connections only mean that the broker is down.
        while !self.state.lock().unwrap().ended {
            let _ = self.run_connection();
            let mut state = self.state.lock().unwrap();
            state.connected = false;
            state.in_flight.clear();
            let _ = self.changed.wait_timeout(state, Duration::from_millis(20)).unwrap();
        }
    }

    fn run_connection(&self) -> io::Result<()> {
        let mut client = MqttClient::connect(&self.address, self.version, &self.client_id)?;
        self.state.lock().unwrap().connected = true;
        loop {
            let mut bytes = Vec::new();
            let idle = {
                let mut state = self.state.lock().unwrap();
                if state.ended {
                    return Ok(());
                }
                while bytes.len() < 64 * 1024 && state.may_publish(&self.load) {
                    bytes.extend(state.publish(&self.load).encode(self.version));
                }
                // Waits for the next request.
                let idle = state.quota == 0 && state.in_flight.is_empty();
                if idle {
                    let pause = Duration::from_millis(20);
                    let _ = self.changed.wait_timeout(state, pause).unwrap();
                }
                idle
            };
            io::Write::write_all(&mut client.stream, &bytes)?;
            let mut patience = Duration::from_millis(if idle { 1 } else { 4 });
            while let Some(packet) = client.read(patience)? {
                if let Packet::PubAck { pkid } = packet {
                    self.state.lock().unwrap().acknowledge(pkid);
                }
                patience = Duration::from_micros(1);
            }
        }
    }
}

impl State {
    fn may_publish(&self, load: &Load) -> bool {
        let due = self.pace_start.elapsed().as_millis() * u128::from(load.rate) / 1000;
        self.quota > 0
            && u128::from(self.pace_sent) <= due
            && (load.qos == 0 || self.in_flight.len() < load.window)
    }

    fn publish(&mut self, load: &Load) -> Packet {
        if self.quota < u64::MAX {
            self.quota -= 1;
        }
        self.pace_sent += 1;
        let index = self.next_topic;
        self.next_topic = (index + 1) % load.mqtt_topics;
        let (mqtt_topic, seq) = self.ledger.next(index);
        let payload = payload(mqtt_topic, seq, load.filler);
        let mqtt_topic = mqtt_topic.as_bytes().to_vec();
        let mut pkid = 0;
        if load.qos > 0 {
            pkid = self.next_pkid;
            self.next_pkid = pkid.checked_add(1).unwrap_or(1);
            self.in_flight.insert(pkid, (index, seq));
        }
        Packet::Publish(Publish { qos: load.qos, mqtt_topic, pkid, payload, ..Publish::default() })
    }

    fn acknowledge(&mut self, pkid: u16) {
        if let Some((index, seq)) = self.in_flight.remove(&pkid) {
            self.ledger.acknowledge(index, seq);
        }
    }
}
