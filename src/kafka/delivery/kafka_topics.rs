//! The Kafka topics that routes name, and the queues of their partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::item::Item;
use crate::kafka::classify;
use crate::kafka::partition_queue::{PartitionQueue, Path};
use crate::kafka::partitions::Partitions;
use crate::kafka::producer::Target;
use crate::kafka::refusals::Refusals;

/// The Kafka topics of all records so far. Routes bound their number, and Kafka that of their partitions.
#[derive(Default)]
pub(super) struct KafkaTopics {
    /// The value of librdkafka's property `partitioner`.
    partitioner: String,
    all: Vec<KafkaTopic>,
    by_name: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    queues: Vec<PartitionQueue<Item>>,
    /// For each queue, the place of its Kafka topic in `all`.
    owner: Vec<usize>,
}

struct KafkaTopic {
    name: Arc<str>,
    partitions: Arc<Partitions>,
    /// The queue of all records until the number of partitions is known and nothing is in flight. From then
    /// on it has the records that name another partition; librdkafka says whether that exists.
    unplaced: usize,
    is_divided: bool,
    /// The queue of each partition.
    divided: Vec<Option<usize>>,
    /// A queue is held, most likely for a cause that concerns all of them.
    is_held: bool,
    refusals: Refusals,
    /// The code of the last record that was held, and Kafka's sentence about it.
    sentence: Option<(i32, String)>,
}

impl KafkaTopic {
    /// Whether the next delivery shows that a cause is gone.
    fn awaits_delivery(&self) -> bool {
        self.is_held || self.refusals.await_delivery()
    }

    /// Whether there are queues for more partitions than Kafka has.
    fn has_shrunk(&self) -> bool {
        (1..self.divided.len()).contains(&self.partitions.count())
    }
}

impl KafkaTopics {
    /// None yet. `partitioner` is a value of librdkafka's property of that name.
    pub(super) fn new(partitioner: &str) -> Self {
        Self { partitioner: partitioner.to_owned(), ..Self::default() }
    }

    /// The queue of a record.
    pub(super) fn queue_of(&mut self, item: &Item) -> usize {
        let owner = self.number_of(&item.record().kafka_topic);
        self.queue_in(owner, item)
    }

    fn number_of(&mut self, kafka_topic: &str) -> usize {
        match self.by_name.get(kafka_topic) {
            Some(number) => *number,
            None => self.add(kafka_topic),
        }
    }

    fn add(&mut self, kafka_topic: &str) -> usize {
        let (owner, name) = (self.all.len(), Arc::<str>::from(kafka_topic));
        let unplaced = self.add_queue(owner, PartitionQueue::new(&name, None));
        self.all.push(KafkaTopic {
            name: Arc::clone(&name),
            partitions: Arc::new(Partitions::new(&self.partitioner)),
            unplaced,
            is_divided: false,
            divided: Vec::new(),
            is_held: false,
            refusals: Refusals::default(),
            sentence: None,
        });
        self.by_name.insert(name, owner);
        owner
    }

    /// Whether the Kafka topic is known to have partitions, but not this one. While it is reported missing
    /// its number of partitions is not known.
    pub(super) fn lacks(&self, queue: usize, wanted: i32) -> bool {
        let count = self.all[self.owner[queue]].partitions.count();
        count > 0 && usize::try_from(wanted).is_ok_and(|wanted| wanted >= count)
    }

    fn add_queue(&mut self, owner: usize, queue: PartitionQueue<Item>) -> usize {
        self.queues.push(queue);
        self.owner.push(owner);
        self.queues.len() - 1
    }

    fn queue_in(&mut self, owner: usize, item: &Item) -> usize {
        let KafkaTopic { name, partitions, unplaced, is_divided, divided, .. } =
            &mut self.all[owner];
        if !*is_divided {
            return *unplaced;
        }
        let chosen = item.record().partition().or_else(|| partitions.of(item.partition_key()));
        let at = chosen.and_then(|chosen| usize::try_from(chosen).ok());
        let wanted = item.record().partition();
        let exists = |at: &usize| wanted.is_none() || *at < partitions.count();
        let Some(at) = at.filter(exists) else { return *unplaced };
        // The partition may be new: older records that name it wait there.
        let is_same = |other: &Item| other.record().partition() == wanted;
        if wanted.is_some() && self.queues[*unplaced].waiting().any(is_same) {
            return *unplaced;
        }
        if divided.len() <= at {
            divided.resize(at + 1, None);
        }
        if let Some(queue) = divided[at] {
            return queue;
        }
        let mut queue = PartitionQueue::new(name, chosen);
        let kafka_topic = &self.all[owner];
        queue.send_alone_from(kafka_topic.refusals.alone_from());
        if kafka_topic.awaits_delivery() {
            queue.mark_unproven();
        }
        let queue = self.add_queue(owner, queue);
        self.all[owner].divided[at] = Some(queue);
        queue
    }

    /// Gives each partition its own queue once librdkafka has told their number. Returns a Kafka topic that
    /// was created again with fewer partitions, if there is one: records that wait for the others cannot be
    /// sent in order before [`KafkaTopics::restart`].
    pub(super) fn divide(&mut self) -> Option<&str> {
        for owner in 0..self.all.len() {
            let KafkaTopic { partitions, unplaced, is_divided, .. } = &self.all[owner];
            let unplaced = *unplaced;
            if !*is_divided && partitions.count() > 0 && self.queues[unplaced].is_idle() {
                self.all[owner].is_divided = true;
                let waiting: Vec<Item> = self.queues[unplaced].take_waiting().collect();
                for item in waiting {
                    let queue = self.queue_in(owner, &item);
                    self.queues[queue].push(item);
                }
            }
        }
        self.all.iter().find(|kafka_topic| kafka_topic.has_shrunk()).map(|shrunk| &*shrunk.name)
    }

    /// A new producer: nothing waits, nothing is in flight, and the sources hand on again.
    pub(super) fn restart(&mut self) {
        for kafka_topic in &mut self.all {
            if kafka_topic.has_shrunk() {
                let gone = kafka_topic.divided.drain(kafka_topic.partitions.count()..);
                for queue in gone.flatten() {
                    self.queues[queue] = PartitionQueue::new(&kafka_topic.name, None);
                }
                kafka_topic.is_held = false;
            }
        }
        self.queues.iter_mut().for_each(PartitionQueue::restart);
    }

    pub(super) fn queues(&self) -> &[PartitionQueue<Item>] {
        &self.queues
    }

    pub(super) fn queues_mut(&mut self) -> &mut [PartitionQueue<Item>] {
        &mut self.queues
    }

    /// Where the records of a queue go.
    pub(super) fn target(&self, queue: usize) -> Target<'_> {
        let number = self.owner[queue];
        let partitions = &self.all[number].partitions;
        let queue = &self.queues[queue];
        Target {
            number,
            kafka_topic: queue.kafka_topic(),
            partitions,
            kafka_partition: queue.kafka_partition(),
        }
    }

    /// Where dead letters go: librdkafka chooses the partition of each.
    pub(super) fn dead_letters(&mut self, kafka_topic: &str) -> Target<'_> {
        let number = self.number_of(kafka_topic);
        let KafkaTopic { name, partitions, .. } = &self.all[number];
        Target { number, kafka_topic: name, partitions, kafka_partition: None }
    }

    /// A record of this queue is in Kafka, in this partition.
    pub(super) fn delivered(&mut self, queue: usize, path: Path, kafka_partition: i32) {
        if self.queues[queue].delivered(path, kafka_partition) {
            self.proven(self.owner[queue]);
        }
    }

    /// A record is in Kafka, the first since a refusal.
    fn proven(&mut self, owner: usize) {
        self.all[owner].refusals.delivered();
        if self.all[owner].is_held {
            // A queue where nothing waits cannot notice by itself that the cause is gone.
            self.queues_of(owner).for_each(PartitionQueue::forget_trouble);
            let is_held = self.queues_of(owner).any(|queue| queue.is_held());
            self.all[owner].is_held = is_held;
        }
    }

    /// A record of this queue is held, with Kafka's sentence if there is one. Returns whether it is the first
    /// one of its Kafka topic.
    pub(super) fn held(&mut self, queue: usize, code: i32, sentence: Option<String>) -> bool {
        let owner = self.owner[queue];
        if let Some(sentence) = sentence {
            self.all[owner].sentence = Some((code, sentence));
        }
        let is_first = !std::mem::replace(&mut self.all[owner].is_held, true);
        if is_first {
            self.queues_of(owner).for_each(PartitionQueue::mark_unproven);
        }
        is_first
    }

    /// A record of this queue was refused alone, and not for its size. Returns how many
    /// records went to the dead letter before it, if the Kafka topic is the cause.
    pub(super) fn refused_alone(&mut self, queue: usize, item: &Item) -> Option<u64> {
        let owner = self.owner[queue];
        // The next delivery, of whichever queue, ends the row.
        self.queues_of(owner).for_each(PartitionQueue::mark_unproven);
        self.all[owner].refusals.add(item.msg.id, &item.msg.message.mqtt_topic)
    }

    /// A record of this queue was refused alone for its size.
    pub(super) fn too_large(&mut self, queue: usize, bytes: usize, now: Instant) {
        let owner = self.owner[queue];
        self.all[owner].refusals.add_size(bytes, now);
        let alone_from = self.all[owner].refusals.alone_from();
        self.queues_of(owner).for_each(|queue| queue.send_alone_from(alone_from));
    }

    /// A request of several records of this queue was refused for its size.
    pub(super) fn request_too_large(&mut self, queue: usize, bytes: usize, now: Instant) {
        self.all[self.owner[queue]].refusals.add_request(bytes, now);
    }

    /// How many bytes of this queue may go in one request.
    pub(super) fn request_max(&self, queue: usize) -> usize {
        self.all[self.owner[queue]].refusals.request_max()
    }

    /// Forgets sizes whose time is over.
    pub(super) fn forget_sizes(&mut self, now: Instant) {
        for owner in 0..self.all.len() {
            if self.all[owner].refusals.forget_sizes(now) {
                let alone_from = self.all[owner].refusals.alone_from();
                self.queues_of(owner).for_each(|queue| queue.send_alone_from(alone_from));
            }
        }
    }

    /// Why a record's partition is missing, for people.
    pub(super) fn partition_missing(&self, queue: usize, wanted: i32) -> String {
        let kafka_topic = &self.all[self.owner[queue]];
        let name = &kafka_topic.name;
        match kafka_topic.partitions.count() {
            0 => format!("{name} has no partition {wanted}"),
            count => format!("{name} has no partition {wanted}, expected 0 to {}", count - 1),
        }
    }

    /// Why a queue is held, for people.
    pub(super) fn why_held(&self, queue: usize, code: i32) -> String {
        let name = classify::name(code);
        match &self.all[self.owner[queue]].sentence {
            Some((of, sentence)) if *of == code => format!("{name}: {sentence}"),
            _ => name.to_owned(),
        }
    }

    /// Lets the first record of this queue go alone if its Kafka topic may be the cause of a hold or a
    /// refusal. Called before the queue is asked for records.
    pub(super) fn probe_if_unproven(&mut self, queue: usize) {
        if self.all[self.owner[queue]].awaits_delivery() {
            self.queues[queue].probe_if_unproven();
        }
    }

    fn queues_of(&mut self, owner: usize) -> impl Iterator<Item = &mut PartitionQueue<Item>> {
        let queues = self.queues.iter_mut().zip(&self.owner);
        queues.filter(move |(_, its)| **its == owner).map(|(queue, _)| queue)
    }
}
