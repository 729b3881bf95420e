//! The Kafka topics of all records so far, and the queues of their partitions.
//!
//! Those that the configuration names stay. Those that templates name are bounded in number, and are let go
//! when nobody has used them for long (docs/decisions/0027-kafka-topics-that-templates-name.md). Whatever is
//! done in each round looks only at the queues where something waits, never at all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::id_set::IdSet;
use super::item::Item;
use super::presence::{Absence, Fate, Presence, if_missing};
use crate::kafka::classify;
use crate::kafka::partition_queue::{PartitionQueue, Path};
use crate::kafka::partitions::Partitions;
use crate::kafka::producer::Target;
use crate::kafka::questions::Question;
use crate::kafka::refusals::Refusals;
use crate::message::{IfMissing, KafkaTopicOrigin, NewKafkaTopic};
use crate::observe::{HeldPlace, Hold};

/// A Kafka topic that a template names is let go when nobody has used it for so long;
const UNUSED: Duration = Duration::from_secs(3600);
/// and when nobody has for so long, if another one needs the room. Not one that was created for a record: what
/// publishers bring into being is bounded too.
const UNUSED_AT_THE_BOUND: Duration = Duration::from_secs(60);
/// In so long a time no more are created than templates may name.
const CREATED_WITHIN: Duration = Duration::from_secs(3600);
/// If there was no room, none is looked for again for so long.
const NO_ROOM: Duration = Duration::from_secs(1);
/// librdkafka lets a Kafka topic go only with its client. So there is a new producer this long after the first
/// one was let go, or when as many were as may be named;
const LET_GO_WITHIN: Duration = Duration::from_secs(3600);
/// and for this cause no sooner than so long after the last one.
const NEW_PRODUCERS_AT_MOST_EACH: Duration = Duration::from_secs(600);
/// A question without an answer for so long is a hold.
const UNANSWERED_AFTER: Duration = Duration::from_secs(10);
/// Why such a Kafka topic is held, for people.
const UNANSWERED: &str = "Kafka has not answered whether it exists";
/// So many held Kafka topics are named.
const HELD_NAMED: usize = 20;

/// See the module.
#[derive(Default)]
pub(super) struct KafkaTopics {
    /// The value of librdkafka's property `partitioner`.
    partitioner: String,
    all: Slab<KafkaTopic>,
    by_name: HashMap<Arc<str>, usize, foldhash::fast::RandomState>,
    queues: Slab<Slot>,
    /// Queues with records that wait, and may be sent as far as their Kafka topic is concerned.
    waiting: IdSet,
    /// Queues of which the pipelined producer has records.
    in_flight: IdSet,
    /// Queues that do not deliver.
    troubled: IdSet,
    /// Kafka topics whose last answer was that they cannot be used.
    absent: IdSet,
    /// Those about which Kafka is asked.
    asked: IdSet,
    /// Those whose names templates may fill in: how many, and how many there may be.
    named: usize,
    named_max: usize,
    /// When there was no room for another one.
    no_room_at: Option<Instant>,
    /// Those that Kafka was asked to create, and when.
    created: HashMap<Arc<str>, Instant, foldhash::fast::RandomState>,
    /// When there were new producers the last time because many were let go.
    new_producers_at: Option<Instant>,
    /// Let go, and still known to the producers of this epoch.
    let_go: LetGo,
    /// The number of the next Kafka topic that the producers get to know.
    next_number: usize,
    questions: Vec<Question>,
}

struct Slot {
    queue: PartitionQueue<Item>,
    /// The place of its Kafka topic in `all`.
    owner: usize,
}

#[derive(Default)]
struct LetGo {
    /// A producer that meets one of them again must know it by the same number and partitions, since librdkafka
    /// keeps asking the partitioner that it was given first.
    known: HashMap<Arc<str>, (usize, Arc<Partitions>), foldhash::fast::RandomState>,
    since: Option<Instant>,
}

struct KafkaTopic {
    name: Arc<str>,
    /// For the producers; `None` as long as they do not know it.
    number: Option<usize>,
    partitions: Arc<Partitions>,
    /// The queue of all records until the number of partitions is known and nothing is in flight. From then
    /// on it has the records that name another partition; librdkafka says whether that exists.
    unplaced: usize,
    is_divided: bool,
    /// The queue of each partition.
    divided: Vec<Option<usize>>,
    /// How many partitions there were when nothing waited or was in flight in `unplaced` the last time: no
    /// record that names one of these is there.
    settled: usize,
    /// A queue is held, most likely for a cause that concerns all of them.
    is_held: bool,
    /// Nothing was delivered yet to a name that a template gave: Kafka may refuse all that comes, which would
    /// be the end of a pipelined producer. So the first record goes alone.
    is_unproven: bool,
    refusals: Refusals,
    /// The code of the last record that was held, and Kafka's sentence about it.
    sentence: Option<(i32, String)>,
    /// Of one that only templates name.
    named: Option<Named>,
}

struct Named {
    used_at: Instant,
    presence: Presence,
}

/// Where a record goes first.
pub(super) enum Place {
    /// To this queue.
    Queue(usize),
    /// To the dead letter.
    DeadLetter(&'static str, String),
}

/// The reason code of a record whose Kafka topic would be one more than may be named.
const TOO_MANY_KAFKA_TOPICS: &str = "too_many_kafka_topics";

impl KafkaTopic {
    /// Whether the next delivery shows that a cause is gone.
    fn awaits_delivery(&self) -> bool {
        self.is_held || self.is_unproven || self.refusals.await_delivery()
    }

    /// Whether there are queues for more partitions than Kafka has.
    fn has_shrunk(&self) -> bool {
        (1..self.divided.len()).contains(&self.partitions.count())
    }

    /// Whether Kafka has not said yet that it is there.
    fn is_blocked(&self) -> bool {
        self.named.as_ref().is_some_and(|named| named.presence.is_blocked())
    }

    fn absence(&self) -> Option<&Absence> {
        self.named.as_ref()?.presence.absence()
    }

    fn queue_ids(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::once(self.unplaced).chain(self.divided.iter().copied().flatten())
    }
}

impl KafkaTopics {
    /// None yet. `partitioner` is a value of librdkafka's property of that name; templates may name so many.
    pub(super) fn new(partitioner: &str, named_max: usize) -> Self {
        Self { partitioner: partitioner.to_owned(), named_max, ..Self::default() }
    }

    /// Where a record goes.
    pub(super) fn place(&mut self, item: &Item, now: Instant) -> Place {
        let kafka_topic = &*item.record().kafka_topic;
        let owner = match &item.record().origin {
            KafkaTopicOrigin::Configured => Ok(self.configured(kafka_topic)),
            KafkaTopicOrigin::Template(if_missing) => {
                self.by_template(kafka_topic, if_missing, now)
            }
        };
        match owner {
            Ok(owner) => Place::Queue(self.queue_in(owner, item)),
            Err((reason, detail)) => Place::DeadLetter(reason, detail),
        }
    }

    /// The Kafka topic of this name, which the configuration names.
    fn configured(&mut self, kafka_topic: &str) -> usize {
        let Some(owner) = self.by_name.get(kafka_topic).copied() else {
            return self.add(kafka_topic, None);
        };
        if self.all[owner].named.take().is_some() {
            self.named -= 1;
            self.absent.set(owner, false);
            self.asked.set(owner, false);
            self.number(owner);
            self.note_all(owner);
        }
        owner
    }

    /// The Kafka topic of this name, which a template has made; or why its record goes to the dead letter.
    fn by_template(
        &mut self,
        kafka_topic: &str,
        if_missing: &IfMissing,
        now: Instant,
    ) -> Result<usize, (&'static str, String)> {
        let Some(owner) = self.by_name.get(kafka_topic).copied() else {
            if !self.has_room(now) {
                let (key, max) = ("kafka.kafka_topics_max", self.named_max);
                let detail = format!("{key} is {max}, and so many Kafka topics are in use already");
                return Err((TOO_MANY_KAFKA_TOPICS, detail));
            }
            let presence = Presence::default();
            let owner = self.add(kafka_topic, Some(Named { used_at: now, presence }));
            // Nothing is created, or counts as created, before it is known to be missing.
            self.ask(owner, None, now);
            return Ok(owner);
        };
        let Some(Named { used_at, presence }) = &mut self.all[owner].named else {
            return Ok(owner);
        };
        *used_at = now;
        let Some(absence) = presence.absence().filter(|_| !presence.is_asked()) else {
            return Ok(owner);
        };
        let is_stale = presence.is_stale(now);
        if let Fate::DeadLetter(reason) = absence.fate(if_missing)
            && !is_stale
        {
            return Err((reason, absence.detail()));
        }
        let may_ask = is_stale || !absence.creating;
        match creation(if_missing).filter(|_| may_ask && absence.is_missing()) {
            Some(wanted) if self.may_create(owner, now) => self.ask(owner, Some(wanted), now),
            Some(_) if !is_stale => return Err((TOO_MANY_KAFKA_TOPICS, self.too_many_created())),
            _ if is_stale => self.ask(owner, None, now),
            _ => {}
        }
        Ok(owner)
    }

    /// Whether this one may be created. If so it counts as created from here on.
    fn may_create(&mut self, owner: usize, now: Instant) -> bool {
        let name = &self.all[owner].name;
        if self.created.contains_key(name) {
            return true;
        }
        let has_room = self.created.len() < self.named_max;
        if has_room {
            self.created.insert(Arc::clone(name), now);
        }
        has_room
    }

    fn too_many_created(&self) -> String {
        let (max, minutes) = (self.named_max, CREATED_WITHIN.as_secs() / 60);
        format!(
            "kafka.kafka_topics_max is {max}, and so many were created in the last {minutes} minutes"
        )
    }

    /// Whether there is room for one more name; one that nobody has used for a while makes room.
    fn has_room(&mut self, now: Instant) -> bool {
        if self.named < self.named_max {
            return true;
        }
        let is_recent = |at: Instant| now.saturating_duration_since(at) < NO_ROOM;
        if self.no_room_at.is_some_and(is_recent) {
            return false;
        }
        self.let_go_unused(UNUSED_AT_THE_BOUND, true, now);
        self.no_room_at = (self.named >= self.named_max).then_some(now);
        self.named < self.named_max
    }

    /// Lets those go that nobody has used for so long, and whether they were used or not, those that do not
    /// exist, if `and_absent`.
    fn let_go_unused(&mut self, unused: Duration, and_absent: bool, now: Instant) {
        let is_over = |(owner, kafka_topic): (usize, &KafkaTopic)| {
            let Named { used_at, presence } = kafka_topic.named.as_ref()?;
            let is_unused = now.saturating_duration_since(*used_at) >= unused;
            let is_kept = unused < UNUSED && self.created.contains_key(&kafka_topic.name);
            let is_over = is_unused && !is_kept || and_absent && presence.absence().is_some();
            let is_empty = || kafka_topic.queue_ids().all(|id| self.queues[id].queue.is_empty());
            (is_over && is_empty()).then_some(owner)
        };
        let over: Vec<usize> = self.all.iter().filter_map(is_over).collect();
        for owner in over {
            // Else librdkafka would know more than twice as many as may be named.
            let is_known = self.all[owner].number.is_some();
            if !is_known || self.let_go.known.len() < self.named_max {
                self.let_go(owner, now);
            }
        }
    }

    fn let_go(&mut self, owner: usize, now: Instant) {
        let kafka_topic = self.all.remove(owner);
        for id in kafka_topic.queue_ids() {
            self.queues.remove(id);
            self.waiting.set(id, false);
            self.in_flight.set(id, false);
            self.troubled.set(id, false);
        }
        self.absent.set(owner, false);
        self.asked.set(owner, false);
        self.by_name.remove(&kafka_topic.name);
        self.named -= 1;
        if let Some(number) = kafka_topic.number {
            self.let_go.known.insert(kafka_topic.name, (number, kafka_topic.partitions));
            self.let_go.since.get_or_insert(now);
        }
    }

    /// Lets go what nobody has used for an hour, and forgets what was created before that.
    pub(super) fn let_go_after_an_hour(&mut self, now: Instant) {
        self.created.retain(|_, at| now.saturating_duration_since(*at) < CREATED_WITHIN);
        self.let_go_unused(UNUSED, false, now);
    }

    /// Whether the producers know so much that was let go that they are to be replaced now. Then it is not
    /// said again soon.
    pub(super) fn need_new_producers(&mut self, now: Instant) -> bool {
        let LetGo { known, since } = &self.let_go;
        let is_over = |since: Option<Instant>, time| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= time)
        };
        let are_many = known.len() >= self.named_max.max(1) || is_over(*since, LET_GO_WITHIN);
        let at = self.new_producers_at;
        let are_needed = are_many && (at.is_none() || is_over(at, NEW_PRODUCERS_AT_MOST_EACH));
        if are_needed {
            self.new_producers_at = Some(now);
        }
        are_needed
    }

    fn add(&mut self, kafka_topic: &str, named: Option<Named>) -> usize {
        let (owner, name) = (self.all.vacant_key(), Arc::<str>::from(kafka_topic));
        let unplaced = self.add_queue(owner, PartitionQueue::new(&name, None));
        let is_named = named.is_some();
        // The partitions are known already to a producer that has not forgotten it.
        let (number, partitions) = match self.let_go.known.remove(&name) {
            Some((number, partitions)) => (Some(number), partitions),
            None => (None, Arc::new(Partitions::new(&self.partitioner))),
        };
        self.all.insert(KafkaTopic {
            name: Arc::clone(&name),
            number,
            partitions,
            unplaced,
            is_divided: false,
            divided: Vec::new(),
            settled: 0,
            is_held: false,
            is_unproven: is_named,
            refusals: Refusals::default(),
            sentence: None,
            named,
        });
        self.by_name.insert(name, owner);
        if is_named {
            self.named += 1;
            self.queues[unplaced].queue.mark_unproven();
        } else {
            self.number(owner);
        }
        owner
    }

    /// Its number for the producers, which it is given if it has none.
    fn number(&mut self, owner: usize) -> usize {
        let next = &mut self.next_number;
        *self.all[owner].number.get_or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }

    /// Whether the Kafka topic is known to have partitions, but not this one. While it is reported missing
    /// its number of partitions is not known.
    pub(super) fn lacks(&self, queue: usize, wanted: i32) -> bool {
        let count = self.owner(queue).partitions.count();
        count > 0 && usize::try_from(wanted).is_ok_and(|wanted| wanted >= count)
    }

    fn owner(&self, queue: usize) -> &KafkaTopic {
        &self.all[self.queues[queue].owner]
    }

    fn add_queue(&mut self, owner: usize, queue: PartitionQueue<Item>) -> usize {
        self.queues.insert(Slot { queue, owner })
    }

    fn queue_in(&mut self, owner: usize, item: &Item) -> usize {
        let KafkaTopic { name, partitions, unplaced, is_divided, divided, settled, .. } =
            &mut self.all[owner];
        if !*is_divided {
            return *unplaced;
        }
        let count = partitions.count();
        *settled = match self.queues[*unplaced].queue.is_empty() {
            true => count,
            false => count.min(*settled),
        };
        let chosen = item.record().partition().or_else(|| partitions.of(item.partition_key()));
        let at = chosen.and_then(|chosen| usize::try_from(chosen).ok());
        let wanted = item.record().partition();
        // The partition may be new: older records that name it wait, or are in flight, there.
        let has_a_queue = |at: &usize| wanted.is_none() || *at < *settled;
        let Some(at) = at.filter(has_a_queue) else { return *unplaced };
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

    /// Puts the queues where something waits in `waiting`, and gives each partition its own queue once
    /// librdkafka, or the answer about a Kafka topic, has told their number. Returns a Kafka topic that was
    /// created again with fewer partitions, if something waits for it: records that wait for the others cannot
    /// be sent in order before [`KafkaTopics::restart`].
    pub(super) fn divide(&mut self, waiting: &mut Vec<usize>) -> Option<&str> {
        waiting.clear();
        waiting.extend_from_slice(self.waiting.as_slice());
        for queue in waiting.iter().copied() {
            let owner = self.queues[queue].owner;
            let KafkaTopic { partitions, unplaced, is_divided, .. } = &self.all[owner];
            let is_ready = !*is_divided && *unplaced == queue && partitions.count() > 0;
            if is_ready && self.queues[queue].queue.is_idle() {
                self.all[owner].is_divided = true;
                let items = self.change(queue, |queue| queue.take_waiting().collect::<Vec<_>>());
                for item in items {
                    let queue = self.queue_in(owner, &item);
                    self.change(queue, |queue| queue.push(item));
                }
            }
        }
        waiting.clear();
        waiting.extend_from_slice(self.waiting.as_slice());
        let shrunk = waiting.iter().map(|queue| self.owner(*queue)).find(|it| it.has_shrunk());
        shrunk.map(|shrunk| &*shrunk.name)
    }

    /// A new producer: nothing waits, nothing is in flight, and the sources hand on again.
    pub(super) fn restart(&mut self) {
        for (_, kafka_topic) in &mut self.all {
            if kafka_topic.has_shrunk() {
                let gone = kafka_topic.divided.drain(kafka_topic.partitions.count()..);
                for queue in gone.flatten() {
                    self.queues.remove(queue);
                    self.waiting.set(queue, false);
                    self.in_flight.set(queue, false);
                    self.troubled.set(queue, false);
                }
                kafka_topic.is_held = false;
            }
        }
        // The new producers know none.
        self.let_go = LetGo::default();
        self.next_number = 0;
        for (_, kafka_topic) in &mut self.all {
            if kafka_topic.number.is_some() {
                kafka_topic.number = Some(self.next_number);
                self.next_number += 1;
            }
        }
        for (id, slot) in &mut self.queues {
            slot.queue.restart();
            let is_troubled = slot.queue.trouble().is_some();
            self.waiting.set(id, false);
            self.in_flight.set(id, false);
            self.troubled.set(id, is_troubled);
        }
    }

    /// A queue.
    pub(super) fn queue(&self, queue: usize) -> &PartitionQueue<Item> {
        &self.queues[queue].queue
    }

    /// Changes a queue.
    #[inline]
    pub(super) fn change<R>(
        &mut self,
        queue: usize,
        change: impl FnOnce(&mut PartitionQueue<Item>) -> R,
    ) -> R {
        let result = change(&mut self.queues[queue].queue);
        self.note(queue);
        result
    }

    /// Keeps the sets of queues as the queue is now.
    #[inline]
    fn note(&mut self, queue: usize) {
        let Slot { queue: it, owner } = &self.queues[queue];
        let may_wait = it.has_waiting() && !self.all[*owner].is_blocked();
        self.waiting.set(queue, may_wait);
        self.in_flight.set(queue, it.is_in_flight());
        self.troubled.set(queue, it.trouble().is_some());
    }

    fn note_all(&mut self, owner: usize) {
        self.change_all(owner, |_| {});
    }

    fn change_all(&mut self, owner: usize, change: impl Fn(&mut PartitionQueue<Item>)) {
        let ids: Vec<usize> = self.all[owner].queue_ids().collect();
        for id in ids {
            self.change(id, &change);
        }
    }

    /// The queues with records that may be sent as far as their Kafka topics are concerned.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &PartitionQueue<Item>> {
        self.waiting.as_slice().iter().map(|queue| &self.queues[*queue].queue)
    }

    /// The queues that do not deliver.
    pub(super) fn troubled(&self) -> impl Iterator<Item = &PartitionQueue<Item>> {
        self.troubled.as_slice().iter().map(|queue| &self.queues[*queue].queue)
    }

    /// Of how many queues the pipelined producer has records.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.as_slice().len()
    }

    /// Every record that waits.
    pub(super) fn all_waiting(&self) -> impl Iterator<Item = &Item> {
        self.queues.iter().flat_map(|(_, slot)| slot.queue.waiting())
    }

    /// Where the records of a queue go.
    pub(super) fn target(&mut self, queue: usize) -> Target<'_> {
        let Slot { queue, owner } = &self.queues[queue];
        let (owner, kafka_partition) = (*owner, queue.kafka_partition());
        self.target_of(owner, kafka_partition)
    }

    /// Where dead letters go: librdkafka chooses the partition of each.
    pub(super) fn dead_letters(&mut self, kafka_topic: &str) -> Target<'_> {
        let owner = self.configured(kafka_topic);
        self.target_of(owner, None)
    }

    fn target_of(&mut self, owner: usize, kafka_partition: Option<i32>) -> Target<'_> {
        let number = self.number(owner);
        let KafkaTopic { name, partitions, named, .. } = &self.all[owner];
        let is_named = named.is_some();
        Target { number, kafka_topic: name, partitions, kafka_partition, is_named }
    }

    /// What Kafka is to be asked about Kafka topics that templates name.
    pub(super) fn take_questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    fn ask(&mut self, owner: usize, create: Option<&Arc<NewKafkaTopic>>, now: Instant) {
        let kafka_topic = &mut self.all[owner];
        let Some(named) = &mut kafka_topic.named else { return };
        if !named.presence.is_asked() {
            named.presence.asked_at = Some(now);
            self.asked.set(owner, true);
            let (kafka_topic, create) = (Arc::clone(&kafka_topic.name), create.cloned());
            self.questions.push(Question { kafka_topic, create });
            self.note_all(owner);
        }
    }

    /// A producer says that the Kafka topic of this record does not exist. Kafka is asked, if a template has
    /// named it.
    pub(super) fn doubt(&mut self, queue: usize, item: &Item, now: Instant) {
        if if_missing(&item.record().origin).is_some() {
            self.ask(self.queues[queue].owner, None, now);
        }
    }

    /// Kafka is away: the time for its answers counts from now.
    pub(super) fn excuse_silence(&mut self, now: Instant) {
        for owner in self.asked.as_slice() {
            if let Some(named) = &mut self.all[*owner].named {
                named.presence.asked_at = Some(now);
            }
        }
    }

    /// What Kafka has answered: so many partitions, or why the Kafka topic cannot be used. Returns the records
    /// that go to the dead letter.
    pub(super) fn answered(
        &mut self,
        kafka_topic: &str,
        answer: Result<i32, Absence>,
        now: Instant,
    ) -> Vec<(Item, &'static str, String)> {
        let Some(owner) = self.by_name.get(kafka_topic).copied() else { return Vec::new() };
        let Some(named) = &mut self.all[owner].named else { return Vec::new() };
        self.asked.set(owner, false);
        let absence = match answer {
            Ok(count) => {
                named.presence.found();
                self.all[owner].partitions.told(count);
                self.absent.set(owner, false);
                self.number(owner);
                self.note_all(owner);
                return Vec::new();
            }
            Err(absence) => absence,
        };
        // While it is created nothing is wrong yet.
        let was_absent = named.presence.absence().is_some();
        named.presence.missed(absence.clone(), now);
        if absence.is_refused_creation() {
            self.created.remove(kafka_topic);
        }
        let is_to_create = absence.is_missing() && !absence.creating;
        let wanted = self.wanted(owner).filter(|_| is_to_create);
        let are_too_many = wanted.is_some() && !self.may_create(owner, now);
        let reason = |item: &Item| {
            let if_missing = if_missing(&item.record().origin)?;
            match absence.fate(if_missing) {
                Fate::DeadLetter(reason) => Some(reason),
                Fate::Hold if are_too_many && creation(if_missing).is_some() => {
                    Some(TOO_MANY_KAFKA_TOPICS)
                }
                Fate::Hold => None,
            }
        };
        let taken = self.take_waiting(owner, |item| reason(item).is_some());
        let refused = taken.into_iter().filter_map(|item| {
            let reason = reason(&item)?;
            let detail = match reason {
                TOO_MANY_KAFKA_TOPICS => self.too_many_created(),
                _ => absence.detail(),
            };
            Some((item, reason, detail))
        });
        let refused = refused.collect();
        let wanted = wanted.filter(|_| !are_too_many);
        if let (Some(_), false, Some(named)) = (&wanted, was_absent, &mut self.all[owner].named) {
            named.presence.found();
        }
        self.absent.set(owner, self.all[owner].absence().is_some());
        if let Some(wanted) = wanted {
            self.ask(owner, Some(&wanted), now);
        }
        refused
    }

    /// Whether Kafka's last answer was that it cannot be used, other than that it is to be created.
    pub(super) fn is_absent(&self, kafka_topic: &str) -> bool {
        let owner = self.by_name.get(kafka_topic);
        owner.is_some_and(|owner| self.absent.contains(*owner))
    }

    /// How a Kafka topic is created, if a record that waits for it wants that.
    fn wanted(&self, owner: usize) -> Option<Arc<NewKafkaTopic>> {
        let ids = self.all[owner].queue_ids();
        let mut waiting = ids.flat_map(|id| self.queues[id].queue.waiting());
        let wanted = waiting.find_map(|item| creation(if_missing(&item.record().origin)?));
        wanted.cloned()
    }

    /// Takes out records that wait, the oldest of each partition first.
    fn take_waiting(&mut self, owner: usize, mut is_taken: impl FnMut(&Item) -> bool) -> Vec<Item> {
        let ids: Vec<usize> = self.all[owner].queue_ids().collect();
        let mut taken = Vec::new();
        for id in ids {
            taken.extend(self.change(id, |queue| {
                let taken = queue.take_where(&mut is_taken);
                queue.forget_trouble();
                taken
            }));
        }
        if self.all[owner].queue_ids().all(|id| !self.queues[id].queue.is_held()) {
            self.all[owner].is_held = false;
        }
        taken
    }

    /// Asks again about what waits for a Kafka topic that was not there. Returns the records that have waited
    /// for `hold_max`, for that or for an answer.
    pub(super) fn ask_again(
        &mut self,
        hold_max: Option<Duration>,
        now: Instant,
    ) -> Vec<(Item, String)> {
        let mut expired = Vec::new();
        let mut owners = self.absent.as_slice().to_vec();
        owners.extend_from_slice(self.asked.as_slice());
        for owner in owners {
            let Some(Named { presence, .. }) = &self.all[owner].named else { continue };
            let since = presence.absent_since().or(presence.asked_at).unwrap_or(now);
            let waited = now.saturating_duration_since(since);
            if hold_max.is_some_and(|max| waited >= max) {
                let detail = self.why_held(owner);
                let taken = self.take_waiting(owner, |_| true);
                expired.extend(taken.into_iter().map(|item| (item, detail.clone())));
            } else if presence.is_stale(now) && !presence.is_asked() && self.waits_for(owner) {
                let is_missing = presence.absence().is_some_and(Absence::is_missing);
                let wanted = self.wanted(owner).filter(|_| is_missing);
                let wanted = wanted.filter(|_| self.may_create(owner, now));
                self.ask(owner, wanted.as_ref(), now);
            }
        }
        expired
    }

    fn waits_for(&self, owner: usize) -> bool {
        self.all[owner].queue_ids().any(|id| self.queues[id].queue.has_waiting())
    }

    /// Kafka topics that are held, and why.
    pub(super) fn holds(&self, now: Instant) -> Vec<Hold> {
        let mut owners: Vec<usize> = Vec::new();
        let held = self.troubled.as_slice().iter().map(|id| &self.queues[*id]);
        owners.extend(held.filter(|slot| slot.queue.is_held()).map(|slot| slot.owner));
        let absent = self.absent.as_slice().iter().copied();
        owners.extend(absent.filter(|owner| self.waits_for(*owner)));
        let asked = self.asked.as_slice().iter().copied();
        let is_unanswered = |owner: &usize| {
            let named = self.all[*owner].named.as_ref();
            named.is_some_and(|it| it.presence.is_asked_for(UNANSWERED_AFTER, now))
        };
        owners.extend(asked.filter(|owner| is_unanswered(owner) && self.waits_for(*owner)));
        // Its partitions have the same cause; and those of the configuration come first.
        owners.sort_unstable_by_key(|owner| (self.all[*owner].named.is_some(), *owner));
        owners.dedup();
        let mut holds = Vec::new();
        let mut named = 0;
        for owner in owners {
            let kafka_topic = &self.all[owner];
            if kafka_topic.named.is_some() {
                named += 1;
                if named > HELD_NAMED {
                    continue;
                }
            }
            let place = HeldPlace::KafkaTopic(Arc::clone(&kafka_topic.name));
            holds.push(Hold { place, reason: self.why_held(owner) });
        }
        if let Some(more) = named.checked_sub(HELD_NAMED).filter(|more| *more > 0) {
            let reason = format!("{more} more that templates name");
            holds.push(Hold { place: HeldPlace::MoreKafkaTopics, reason });
        }
        holds
    }

    /// Why a Kafka topic is held, for people.
    fn why_held(&self, owner: usize) -> String {
        let kafka_topic = &self.all[owner];
        if let Some(absence) = kafka_topic.absence() {
            return absence.detail();
        }
        let troubles = kafka_topic.queue_ids().filter_map(|id| self.queues[id].queue.trouble());
        let code = troubles.filter(|trouble| trouble.held).map(|trouble| trouble.code).next();
        let Some(code) = code else { return UNANSWERED.to_owned() };
        let name = classify::name(code);
        match &kafka_topic.sentence {
            Some((of, sentence)) if *of == code => format!("{name}: {sentence}"),
            _ => name.to_owned(),
        }
    }

    /// A record of this queue is in Kafka, in this partition.
    pub(super) fn delivered(&mut self, queue: usize, path: Path, kafka_partition: i32) {
        if self.change(queue, |queue| queue.delivered(path, kafka_partition)) {
            self.proven(self.queues[queue].owner);
        }
    }

    /// A record is in Kafka, the first since a refusal.
    fn proven(&mut self, owner: usize) {
        self.all[owner].refusals.delivered();
        self.all[owner].is_unproven = false;
        if self.all[owner].is_held {
            // A queue where nothing waits cannot notice by itself that the cause is gone.
            self.change_all(owner, PartitionQueue::forget_trouble);
            let is_held = self.all[owner].queue_ids().any(|id| self.queues[id].queue.is_held());
            self.all[owner].is_held = is_held;
        }
    }

    /// A record of this queue is held, with Kafka's sentence if there is one. Returns whether it is the first
    /// one of its Kafka topic.
    pub(super) fn held(&mut self, queue: usize, code: i32, sentence: Option<String>) -> bool {
        let owner = self.queues[queue].owner;
        if let Some(sentence) = sentence {
            self.all[owner].sentence = Some((code, sentence));
        }
        let is_first = !std::mem::replace(&mut self.all[owner].is_held, true);
        if is_first {
            self.change_all(owner, PartitionQueue::mark_unproven);
        }
        is_first
    }

    /// A record of this queue was refused alone, and not for its size. Returns how many
    /// records went to the dead letter before it, if the Kafka topic is the cause.
    pub(super) fn refused_alone(&mut self, queue: usize, item: &Item) -> Option<u64> {
        let owner = self.queues[queue].owner;
        // The next delivery, of whichever queue, ends the row.
        self.change_all(owner, PartitionQueue::mark_unproven);
        self.all[owner].refusals.add(item.msg.id, &item.msg.message.mqtt_topic)
    }

    /// A record of this queue was refused alone for its size.
    pub(super) fn too_large(&mut self, queue: usize, bytes: usize, now: Instant) {
        let owner = self.queues[queue].owner;
        self.all[owner].refusals.add_size(bytes, now);
        let alone_from = self.all[owner].refusals.alone_from();
        self.change_all(owner, |queue| queue.send_alone_from(alone_from));
    }

    /// A request of several records of this queue was refused for its size.
    pub(super) fn request_too_large(&mut self, queue: usize, bytes: usize, now: Instant) {
        let owner = self.queues[queue].owner;
        self.all[owner].refusals.add_request(bytes, now);
    }

    /// How many bytes of this queue may go in one request.
    pub(super) fn request_max(&self, queue: usize) -> usize {
        self.owner(queue).refusals.request_max()
    }

    /// Forgets sizes whose time is over.
    pub(super) fn forget_sizes(&mut self, now: Instant) {
        let all = self.all.iter_mut();
        let forgets =
            |(owner, it): (usize, &mut KafkaTopic)| it.refusals.forget_sizes(now).then_some(owner);
        let forgetful: Vec<usize> = all.filter_map(forgets).collect();
        for owner in forgetful {
            let alone_from = self.all[owner].refusals.alone_from();
            self.change_all(owner, |queue| queue.send_alone_from(alone_from));
        }
    }

    /// Why a record's partition is missing, for people.
    pub(super) fn partition_missing(&self, queue: usize, wanted: i32) -> String {
        let kafka_topic = self.owner(queue);
        let name = &kafka_topic.name;
        match kafka_topic.partitions.count() {
            0 => format!("{name} has no partition {wanted}"),
            count => format!("{name} has no partition {wanted}, expected 0 to {}", count - 1),
        }
    }

    /// Lets the first record of this queue go alone if its Kafka topic may be the cause of a hold or a
    /// refusal. Called before the queue is asked for records.
    pub(super) fn probe_if_unproven(&mut self, queue: usize) {
        if self.owner(queue).awaits_delivery() {
            self.change(queue, PartitionQueue::probe_if_unproven);
        }
    }
}

fn creation(if_missing: &IfMissing) -> Option<&Arc<NewKafkaTopic>> {
    match if_missing {
        IfMissing::Create(new) => Some(new),
        IfMissing::DeadLetter | IfMissing::Hold => None,
    }
}
