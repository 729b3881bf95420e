//! The Kafka topics that routes name, and the lanes of their partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Item;
use crate::kafka::classify;
use crate::kafka::partition_queue::{Lane, Via};
use crate::kafka::partitions::Partitions;
use crate::kafka::producer::Target;
use crate::kafka::refusals::Refusals;

/// All that were needed so far. Routes bound their number, and Kafka that of their partitions.
#[derive(Default)]
pub(super) struct KafkaTopics {
    /// librdkafka's property.
    partitioner: String,
    all: Vec<KafkaTopic>,
    by_name: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    lanes: Vec<Lane<Item>>,
    /// By lane, its place in `all`.
    owner: Vec<usize>,
}

struct KafkaTopic {
    name: Arc<str>,
    partitions: Arc<Partitions>,
    /// The lane of all records until the number of partitions is known, and nothing is in flight.
    undivided: Option<usize>,
    /// By partition, the lane.
    divided: Vec<Option<usize>>,
    /// A lane of it is held, and most likely by what concerns all of them.
    is_held: bool,
    refusals: Refusals,
    /// What Kafka said of the last record that was held, and the code.
    sentence: Option<(i32, String)>,
}

impl KafkaTopic {
    /// A lane is told whether what it has in flight is delivered: that ends something.
    fn awaits_delivery(&self) -> bool {
        self.is_held || self.refusals.await_delivery()
    }

    /// There are lanes for more partitions than there are.
    fn has_shrunk(&self) -> bool {
        (1..self.divided.len()).contains(&self.partitions.count())
    }
}

impl KafkaTopics {
    /// None yet; their keys are partitioned by librdkafka's `partitioner`.
    pub(super) fn new(partitioner: &str) -> Self {
        Self { partitioner: partitioner.to_owned(), ..Self::default() }
    }

    /// The lane of a record.
    pub(super) fn lane_of(&mut self, kafka_topic: &str, key: &[u8]) -> usize {
        let owner = match self.by_name.get(kafka_topic) {
            Some(owner) => *owner,
            None => self.add(kafka_topic),
        };
        self.lane_in(owner, key)
    }

    fn add(&mut self, kafka_topic: &str) -> usize {
        let (owner, name) = (self.all.len(), Arc::<str>::from(kafka_topic));
        let undivided = Some(self.add_lane(owner, Lane::new(&name, None)));
        self.all.push(KafkaTopic {
            name: Arc::clone(&name),
            partitions: Arc::new(Partitions::new(&self.partitioner)),
            undivided,
            divided: Vec::new(),
            is_held: false,
            refusals: Refusals::default(),
            sentence: None,
        });
        self.by_name.insert(name, owner);
        owner
    }

    fn add_lane(&mut self, owner: usize, lane: Lane<Item>) -> usize {
        self.lanes.push(lane);
        self.owner.push(owner);
        self.lanes.len() - 1
    }

    fn lane_in(&mut self, owner: usize, key: &[u8]) -> usize {
        let KafkaTopic { name, partitions, undivided, divided, .. } = &mut self.all[owner];
        if let Some(lane) = *undivided {
            return lane;
        }
        let kafka_partition = partitions.of(key).expect("it was divided once the number was known");
        let at = usize::try_from(kafka_partition).expect("a partition is no negative number");
        if divided.len() <= at {
            divided.resize(at + 1, None);
        }
        if let Some(lane) = divided[at] {
            return lane;
        }
        let mut lane = Lane::new(name, Some(kafka_partition));
        let kafka_topic = &self.all[owner];
        lane.send_alone_from(kafka_topic.refusals.alone_from());
        if kafka_topic.awaits_delivery() {
            lane.doubt();
        }
        let lane = self.add_lane(owner, lane);
        self.all[owner].divided[at] = Some(lane);
        lane
    }

    /// Gives each partition its lane where librdkafka has told how many there are. Returns a Kafka
    /// topic that was made again with fewer of them, if there is one: what waits for the others can
    /// go nowhere in order, until [`KafkaTopics::restart`].
    pub(super) fn divide(&mut self) -> Option<&str> {
        for owner in 0..self.all.len() {
            let KafkaTopic { partitions, undivided, .. } = &self.all[owner];
            let Some(lane) = *undivided else { continue };
            if partitions.count() > 0 && self.lanes[lane].is_idle() {
                self.all[owner].undivided = None;
                for item in self.lanes[lane].take_waiting() {
                    let lane = self.lane_in(owner, item.key());
                    self.lanes[lane].push(item);
                }
            }
        }
        self.all.iter().find(|kafka_topic| kafka_topic.has_shrunk()).map(|shrunk| &*shrunk.name)
    }

    /// A new producer: nothing waits, nothing is in flight, and all is handed on again.
    pub(super) fn restart(&mut self) {
        for kafka_topic in &mut self.all {
            if kafka_topic.has_shrunk() {
                let gone = kafka_topic.divided.drain(kafka_topic.partitions.count()..);
                for lane in gone.flatten() {
                    self.lanes[lane] = Lane::new(&kafka_topic.name, None);
                }
                kafka_topic.is_held = false;
            }
        }
        self.lanes.iter_mut().for_each(Lane::restart);
    }

    pub(super) fn lanes(&self) -> &[Lane<Item>] {
        &self.lanes
    }

    pub(super) fn lanes_mut(&mut self) -> &mut [Lane<Item>] {
        &mut self.lanes
    }

    /// Where the records of a lane go.
    pub(super) fn target(&self, lane: usize) -> Target<'_> {
        let number = self.owner[lane];
        let partitions = &self.all[number].partitions;
        let lane = &self.lanes[lane];
        Target {
            number,
            kafka_topic: lane.kafka_topic(),
            partitions,
            kafka_partition: lane.kafka_partition(),
        }
    }

    /// A record of this lane is in Kafka, in this partition.
    pub(super) fn delivered(&mut self, lane: usize, via: Via, item: &Item, kafka_partition: i32) {
        if self.lanes[lane].delivered(via, item, kafka_partition) {
            self.proved(self.owner[lane]);
        }
    }

    /// A record is in Kafka where that was in doubt.
    fn proved(&mut self, owner: usize) {
        self.all[owner].refusals.delivered();
        if self.all[owner].is_held {
            // A lane where nothing waits would not notice by itself that the cause is gone.
            self.lanes_of(owner).for_each(Lane::forget_trouble);
            let is_held = self.lanes_of(owner).any(|lane| lane.is_held());
            self.all[owner].is_held = is_held;
        }
    }

    /// A record of this lane is held, and this is what Kafka said, if it said anything. Whether it is
    /// the first one.
    pub(super) fn held(&mut self, lane: usize, code: i32, sentence: Option<String>) -> bool {
        let owner = self.owner[lane];
        if let Some(sentence) = sentence {
            self.all[owner].sentence = Some((code, sentence));
        }
        let is_first = !std::mem::replace(&mut self.all[owner].is_held, true);
        if is_first {
            self.lanes_of(owner).for_each(Lane::doubt);
        }
        is_first
    }

    /// A record of this lane was refused alone, and not for its size. How many messages went to the dead
    /// letter before it, if the cause is the Kafka topic's.
    pub(super) fn refused_alone(&mut self, lane: usize, item: &Item) -> Option<u64> {
        let owner = self.owner[lane];
        // Any delivery is to end the row.
        self.lanes_of(owner).for_each(Lane::doubt);
        self.all[owner].refusals.add(item.msg.id.seq, &item.msg.message.mqtt_topic)
    }

    /// A record of this lane was refused alone for its size.
    pub(super) fn too_large(&mut self, lane: usize, bytes: usize, now: Instant) {
        let owner = self.owner[lane];
        self.all[owner].refusals.add_size(bytes, now);
        let alone_from = self.all[owner].refusals.alone_from();
        self.lanes_of(owner).for_each(|lane| lane.send_alone_from(alone_from));
    }

    /// A request of several records of this lane was refused for its size.
    pub(super) fn request_too_large(&mut self, lane: usize, bytes: usize, now: Instant) {
        self.all[self.owner[lane]].refusals.add_request(bytes, now);
    }

    /// So many bytes of this lane may go in one request.
    pub(super) fn request_max(&self, lane: usize) -> usize {
        self.all[self.owner[lane]].refusals.request_max()
    }

    /// Forgets the sizes whose time is over.
    pub(super) fn forget_sizes(&mut self, now: Instant) {
        for owner in 0..self.all.len() {
            if self.all[owner].refusals.forget_sizes(now) {
                let alone_from = self.all[owner].refusals.alone_from();
                self.lanes_of(owner).for_each(|lane| lane.send_alone_from(alone_from));
            }
        }
    }

    /// Why a lane is held, for people.
    pub(super) fn why_held(&self, lane: usize, code: i32) -> String {
        let name = classify::name(code);
        match &self.all[self.owner[lane]].sentence {
            Some((of, sentence)) if *of == code => format!("{name}: {sentence}"),
            _ => name.to_owned(),
        }
    }

    /// Before a lane is asked for records: if another of its Kafka topic is held, or had one refused that
    /// may be the Kafka topic's fault, one of them tries.
    pub(super) fn beware(&mut self, lane: usize) {
        if self.all[self.owner[lane]].awaits_delivery() {
            self.lanes[lane].beware();
        }
    }

    fn lanes_of(&mut self, owner: usize) -> impl Iterator<Item = &mut Lane<Item>> {
        let lanes = self.lanes.iter_mut().zip(&self.owner);
        lanes.filter(move |(_, its)| **its == owner).map(|(lane, _)| lane)
    }
}
