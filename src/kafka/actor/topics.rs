//! The Kafka topics that routes name, and the lanes of their partitions.

use std::collections::HashMap;
use std::sync::Arc;

use super::Item;
use crate::kafka::lanes::Lane;
use crate::kafka::partitions::Partitions;
use crate::kafka::producer::Target;

/// All that were needed so far. Routes bound their number, and Kafka that of their partitions.
#[derive(Default)]
pub(super) struct Topics {
    /// librdkafka's property.
    partitioner: String,
    topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    lanes: Vec<Lane<Item>>,
    /// The number of each lane's Kafka topic.
    topic_of: Vec<usize>,
}

struct Topic {
    name: Arc<str>,
    partitions: Arc<Partitions>,
    /// The lane of all records until the number of partitions is known, and nothing is in flight.
    undivided: Option<usize>,
    /// By partition, the lane.
    divided: Vec<Option<usize>>,
}

impl Topics {
    /// None yet; their keys are partitioned by librdkafka's `partitioner`.
    pub(super) fn new(partitioner: &str) -> Self {
        Self { partitioner: partitioner.to_owned(), ..Self::default() }
    }

    /// The lane of a record.
    pub(super) fn lane_of(&mut self, kafka_topic: &str, key: &[u8]) -> usize {
        let topic = match self.by_name.get(kafka_topic) {
            Some(topic) => *topic,
            None => self.add(kafka_topic),
        };
        self.lane_in(topic, key)
    }

    fn add(&mut self, kafka_topic: &str) -> usize {
        let (topic, name) = (self.topics.len(), Arc::<str>::from(kafka_topic));
        let undivided = Some(self.add_lane(topic, Lane::new(&name, None)));
        let partitions = Arc::new(Partitions::new(&self.partitioner));
        self.topics.push(Topic { name: Arc::clone(&name), partitions, undivided, divided: vec![] });
        self.by_name.insert(name, topic);
        topic
    }

    fn add_lane(&mut self, topic: usize, lane: Lane<Item>) -> usize {
        self.lanes.push(lane);
        self.topic_of.push(topic);
        self.lanes.len() - 1
    }

    fn lane_in(&mut self, topic: usize, key: &[u8]) -> usize {
        let Topic { name, partitions, undivided, divided } = &mut self.topics[topic];
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
        let lane = Lane::new(name, Some(kafka_partition));
        let lane = self.add_lane(topic, lane);
        self.topics[topic].divided[at] = Some(lane);
        lane
    }

    /// Gives each partition its lane where librdkafka has told how many there are.
    pub(super) fn divide(&mut self) {
        for topic in 0..self.topics.len() {
            let Some(undivided) = self.topics[topic].undivided else { continue };
            if self.topics[topic].partitions.is_known() && self.lanes[undivided].is_idle() {
                self.topics[topic].undivided = None;
                for item in self.lanes[undivided].take_waiting() {
                    let lane = self.lane_in(topic, &item.msg.message.mqtt_topic);
                    self.lanes[lane].push(item);
                }
            }
        }
    }

    pub(super) fn lanes(&self) -> &[Lane<Item>] {
        &self.lanes
    }

    pub(super) fn lanes_mut(&mut self) -> &mut [Lane<Item>] {
        &mut self.lanes
    }

    /// Where the records of a lane go.
    pub(super) fn target(&self, lane: usize) -> Target<'_> {
        let topic = self.topic_of[lane];
        let partitions = &self.topics[topic].partitions;
        let lane = &self.lanes[lane];
        Target {
            topic,
            kafka_topic: lane.kafka_topic(),
            partitions,
            kafka_partition: lane.kafka_partition(),
        }
    }
}
