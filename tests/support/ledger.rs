//! The published messages: payloads that identify themselves, and which of them got a PUBACK.

use sha2::{Digest, Sha256};

/// Bytes of the checksum at a payload's end.
const CHECKSUM_BYTES: usize = 8;

/// A binary payload that carries its MQTT topic, its number there, `filler` arbitrary bytes, and a
/// checksum over all of it.
pub fn payload(mqtt_topic: &str, seq: u64, filler: usize) -> Vec<u8> {
    let mut bytes = seq.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(mqtt_topic.len()).expect("short names").to_be_bytes());
    bytes.extend(mqtt_topic.as_bytes());
    let mut random = fastrand::Rng::with_seed(seq);
    bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(filler));
    bytes.extend(checksum(&bytes));
    bytes
}

/// MQTT topic and number of a payload that [`payload`] made; `None` if it is not exactly that.
pub fn parse(bytes: &[u8]) -> Option<(&str, u64)> {
    let (content, sum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
    (checksum(content) == sum).then_some(())?;
    let (seq, rest) = content.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let mqtt_topic = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    Some((std::str::from_utf8(mqtt_topic).ok()?, u64::from_be_bytes(*seq)))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    *Sha256::digest(bytes).first_chunk().expect("SHA-256 has 32 bytes")
}

/// What a publisher published, by MQTT topic; the numbers there count from 0.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    topics: Vec<Published>,
}

/// What was published under one MQTT topic.
#[derive(Debug, Clone)]
pub struct Published {
    /// Its name.
    pub mqtt_topic: String,
    /// For each number, whether the publisher got a PUBACK.
    pub acked: Vec<bool>,
}

impl Ledger {
    /// Nothing published yet under these MQTT topics.
    pub fn new(mqtt_topics: impl IntoIterator<Item = String>) -> Self {
        let published = |mqtt_topic| Published { mqtt_topic, acked: Vec::new() };
        Self { topics: mqtt_topics.into_iter().map(published).collect() }
    }

    /// The next number of the MQTT topic at `index`, and its name.
    pub fn next(&mut self, index: usize) -> (&str, u64) {
        let topic = &mut self.topics[index];
        topic.acked.push(false);
        (&topic.mqtt_topic, topic.acked.len() as u64 - 1)
    }

    /// A PUBACK came.
    pub fn acknowledge(&mut self, index: usize, seq: u64) {
        self.topics[index].acked[usize::try_from(seq).expect("fits")] = true;
    }

    /// This message is in the dead letter, so it may be missing in Kafka.
    pub fn except(&mut self, mqtt_topic: &str, seq: u64) {
        let topic = self.topics.iter_mut().find(|topic| topic.mqtt_topic == mqtt_topic);
        let index = usize::try_from(seq).expect("fits");
        if let Some(acked) = topic.and_then(|topic| topic.acked.get_mut(index)) {
            *acked = false;
        }
    }

    /// By MQTT topic.
    pub fn topics(&self) -> &[Published] {
        &self.topics
    }

    /// How many messages were published.
    pub fn published(&self) -> u64 {
        self.topics.iter().map(|topic| topic.acked.len() as u64).sum()
    }

    /// How many of them got a PUBACK.
    pub fn acked(&self) -> u64 {
        let acked = |topic: &Published| topic.acked.iter().filter(|&&acked| acked).count() as u64;
        self.topics.iter().map(acked).sum()
    }
}
