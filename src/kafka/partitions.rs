//! Which partition a record goes to. The bridge hashes the key with librdkafka's own functions before it
//! hands the record over, so that it can keep one queue for each partition and hand over the records of a
//! partition together (docs/decisions/0006-whole-rounds.md).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use parking_lot::Mutex;

use super::librdkafka::{KeyHash, Partitioner};

/// The partitions of one Kafka topic. Their number becomes known when librdkafka asks where a record goes.
#[derive(Debug)]
pub struct Partitions {
    /// `None`: any partition will do.
    hash: Option<KeyHash>,
    /// 0: not known yet.
    count: AtomicI32,
}

impl Partitions {
    /// Of a number that is not known yet. `partitioner` is a value of librdkafka's property of that name.
    pub fn new(partitioner: &str) -> Self {
        let hash = match partitioner {
            "consistent" | "consistent_random" => Some(KeyHash::Consistent),
            "fnv1a" | "fnv1a_random" => Some(KeyHash::Fnv1a),
            "random" => None,
            _ => Some(KeyHash::Murmur2),
        };
        Self { hash, count: AtomicI32::new(0) }
    }

    /// How many there are; 0 if that is not known yet.
    pub fn count(&self) -> usize {
        usize::try_from(self.count.load(Relaxed)).unwrap_or_default()
    }

    /// librdkafka tells how many there are now.
    pub(super) fn told(&self, count: i32) {
        self.count.store(count, Relaxed);
    }

    /// The partition of a record with this key, or of one without a key and this MQTT topic. `None` as long
    /// as the number of partitions is not known.
    pub fn of(&self, key: &[u8]) -> Option<i32> {
        let count = self.count.load(Relaxed);
        (count > 0).then(|| self.choose(key, count))
    }

    fn choose(&self, key: &[u8], count: i32) -> i32 {
        match self.hash {
            Some(hash) => hash.partition(key, count),
            None => fastrand::i32(0..count),
        }
    }
}

/// Tells one producer's librdkafka where records of one Kafka topic go.
#[derive(Debug)]
pub(super) struct Chooser {
    partitions: Arc<Partitions>,
    /// By index, the MQTT topics of records without a key that librdkafka will ask for. There are few: once
    /// the number of partitions is known nearly all records are handed over with their partition.
    keyless: Mutex<HashMap<usize, Box<[u8]>>>,
    /// The partitions that records name themselves, of those that librdkafka is about to ask for. Few, for
    /// now and then one of them tells the number of partitions.
    wanted: Mutex<HashMap<usize, i32>>,
}

impl Chooser {
    pub(super) fn new(partitions: &Arc<Partitions>) -> Self {
        Self {
            partitions: Arc::clone(partitions),
            keyless: Mutex::default(),
            wanted: Mutex::default(),
        }
    }

    /// A record without a key is about to be handed over, and its MQTT topic decides. librdkafka asks once.
    /// It never asks if it does not take the record; the next one with that index then replaces this.
    pub(super) fn expect_keyless(&self, index: usize, mqtt_topic: &[u8]) {
        self.keyless.lock().insert(index, mqtt_topic.into());
    }

    /// A record that names its partition is handed over, and librdkafka will ask for that once.
    pub(super) fn expect_wanted(&self, index: usize, partition: i32) {
        self.wanted.lock().insert(index, partition);
    }

    /// librdkafka did not take the record.
    pub(super) fn forget_wanted(&self, index: usize) {
        self.wanted.lock().remove(&index);
    }
}

impl Partitioner for Chooser {
    fn partition(&self, index: usize, key: Option<&[u8]>, count: i32) -> i32 {
        self.partitions.told(count);
        if let Some(wanted) = self.wanted.lock().remove(&index) {
            // One that is not there comes back with `_UNKNOWN_PARTITION`.
            return wanted;
        }
        match key {
            Some(key) => self.partitions.choose(key, count),
            None => {
                let mqtt_topic = self.keyless.lock().remove(&index);
                self.partitions.choose(mqtt_topic.as_deref().unwrap_or_default(), count)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_partition_once_librdkafka_has_told_how_many_there_are() {
        let partitions = Arc::new(Partitions::new("murmur2_random"));
        assert_eq!((partitions.count(), partitions.of(b"sensors/1")), (0, None));
        let chooser = Chooser::new(&partitions);
        let asked = |key: &[u8], count| chooser.partition(0, Some(key), count);
        // The hashes are those of the tests of Kafka's own Java client.
        for (key, hash) in [("21", -973_932_308_i32), ("foobar", -790_332_482)] {
            let expected = (hash & i32::MAX) % 1000;
            assert_eq!(asked(key.as_bytes(), 1000), expected, "{key}");
            assert_eq!(partitions.of(key.as_bytes()), Some(expected), "{key}");
        }
        assert_eq!(asked(b"sensors/1", 1), 0);
        assert_eq!(partitions.of(b"foobar"), Some(0), "what was told last counts");
    }

    #[test]
    fn every_partitioner_of_librdkafka_gives_one_of_the_partitions() {
        for name in [
            "random",
            "consistent",
            "consistent_random",
            "murmur2",
            "murmur2_random",
            "fnv1a",
            "fnv1a_random",
        ] {
            let partitions = Partitions::new(name);
            partitions.count.store(7, Relaxed);
            for key in ["a", "sensors/1", ""] {
                let partition = partitions.of(key.as_bytes()).expect("known");
                assert!((0..7).contains(&partition), "{name}, {key:?}: {partition}");
                let again = partitions.of(key.as_bytes());
                assert!(name == "random" || again == Some(partition), "{name}, {key:?}");
            }
        }
    }

    #[test]
    fn a_record_without_a_key_goes_where_its_mqtt_topic_as_key_would_go() {
        let partitions = Arc::new(Partitions::new("murmur2_random"));
        let chooser = Chooser::new(&partitions);
        let mqtt_topics = ["sensors/1", "sensors/2", "sensors/3", "sensors/4"];
        for (index, mqtt_topic) in mqtt_topics.iter().enumerate() {
            chooser.expect_keyless(index, mqtt_topic.as_bytes());
        }
        for (index, mqtt_topic) in mqtt_topics.iter().enumerate() {
            let asked = chooser.partition(index, None, 1000);
            assert_eq!(Some(asked), partitions.of(mqtt_topic.as_bytes()));
        }
        assert!(chooser.keyless.lock().is_empty(), "each is asked for once");
    }
}
