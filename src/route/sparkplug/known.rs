//! What is known of edge nodes and devices: their metrics by alias, where their sequence is, when they were asked for
//! a rebirth. All of it is bounded; what has been silent for longest is forgotten first. Pure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;

use super::data_type::DataType;
use super::name::Edge;
use super::proto::{Metric, MetricValue, Payload};

/// Most edge nodes that are known at a time.
pub(super) const NODES_MAX: usize = 10_000;
/// Most births, of nodes and devices, that are known at a time.
pub(super) const BIRTHS_MAX: usize = 50_000;
/// Most bytes of all that births name, as estimated by [`METRIC_BYTES`].
pub(super) const NAMES_MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of what one birth names: one node must not displace the others. What is beyond it is not remembered.
pub(super) const BIRTH_MAX_BYTES: usize = 8 * 1024 * 1024;
/// What a metric takes beside its name.
const METRIC_BYTES: usize = 120;
/// What a node or a device takes beside its metrics.
const BIRTH_BYTES: usize = 300;

/// A node is asked for a rebirth at most this often: the request or its answer may be lost.
pub(super) const REBIRTH_EVERY: Duration = Duration::from_secs(300);
/// At most so many nodes are asked in one second: births are the largest messages of a plant, and after a restart all
/// nodes are unknown at once.
pub(super) const REBIRTHS_PER_SECOND: u32 = 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    nodes: LruCache<Box<str>, Node>,
    /// Of nodes and devices.
    births: LruCache<Box<str>, Birth>,
    /// The sum of their [`Birth::bytes`].
    bytes: usize,
    /// The next [`Node::life`].
    next_life: u64,
    /// When the present second of [`REBIRTHS_PER_SECOND`] began, and how many were asked in it.
    asked: Option<(Instant, u32)>,
}

impl Default for Known {
    fn default() -> Self {
        let (nodes, births) = (LruCache::unbounded(), LruCache::unbounded());
        Self { nodes, births, bytes: 0, next_life: 0, asked: None }
    }
}

/// An edge node.
#[derive(Debug)]
struct Node {
    /// From one birth or death to the next, never the same again. What its devices were born in another life is void.
    life: u64,
    /// Of its last message.
    seq: Option<u8>,
    /// Which of its MQTT sessions this life is of.
    bd_seq: Option<u64>,
    asked_at: Option<Instant>,
}

/// What a birth says of the metrics of a node or a device.
#[derive(Debug, Default)]
pub(super) struct Birth {
    life: u64,
    by_alias: HashMap<u64, (Arc<str>, Option<DataType>)>,
    by_name: HashMap<Arc<str>, Option<DataType>>,
    bytes: usize,
}

/// A metric's name and data type, as far as they are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resolved<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) data_type: Option<DataType>,
}

impl Birth {
    fn of(payload: &Payload, life: u64) -> Self {
        let mut birth = Self { life, bytes: BIRTH_BYTES, ..Self::default() };
        for metric in &payload.metrics {
            let Some(name) = &metric.name else { continue };
            let bytes = birth.bytes + METRIC_BYTES + name.len();
            if bytes > BIRTH_MAX_BYTES {
                break;
            }
            birth.bytes = bytes;
            let (name, data_type) = (Arc::from(&**name), DataType::given(metric.datatype));
            if let Some(alias) = metric.alias {
                birth.by_alias.insert(alias, (Arc::clone(&name), data_type));
            }
            birth.by_name.insert(name, data_type);
        }
        birth
    }
}

/// What a metric is called and of what type it is: by itself, and else by its birth.
pub(super) fn resolve<'a>(metric: &'a Metric, birth: Option<&'a Birth>) -> Resolved<'a> {
    let by_alias = || metric.alias.and_then(|alias| birth?.by_alias.get(&alias));
    // Some publishers send an empty name with an alias.
    let own_name = metric.name.as_deref().filter(|name| metric.alias.is_none() || !name.is_empty());
    let name = own_name.or_else(|| by_alias().map(|(name, _)| &**name));
    let data_type = DataType::given(metric.datatype)
        .or_else(|| by_alias().and_then(|(_, data_type)| *data_type))
        .or_else(|| birth.and_then(|birth| birth.by_name.get(name?).copied().flatten()));
    Resolved { name, data_type }
}

impl Resolved<'_> {
    /// Whether the birth is needed to understand the metric and does not help: its name is not known, or the type of
    /// a value that is another one in another type.
    pub(super) fn is_incomplete(&self, metric: &Metric) -> bool {
        let is_of_any_type = matches!(
            metric.value,
            Some(MetricValue::Int(_) | MetricValue::Long(_) | MetricValue::Bytes(_))
        );
        self.name.is_none() || (self.data_type.is_none() && is_of_any_type)
    }
}

fn node_key(edge: &Edge<'_>) -> Box<str> {
    format!("{}/{}", edge.group, edge.node).into()
}

fn birth_key(edge: &Edge<'_>) -> Box<str> {
    match edge.device {
        // No level has a slash.
        Some(device) => format!("{}/{}/{device}", edge.group, edge.node).into(),
        None => node_key(edge),
    }
}

impl Known {
    /// Takes in a message's sequence number. Returns whether messages of its node are missing before it.
    pub(super) fn follow(&mut self, edge: &Edge<'_>, seq: Option<u64>) -> bool {
        let node = self.node(edge);
        let Some(seq) = seq.and_then(|seq| u8::try_from(seq).ok()) else { return false };
        // The same one twice is one message that came twice.
        let is_next = |last: u8| seq == last.wrapping_add(1) || seq == last;
        let is_gap = node.seq.is_some_and(|last| !is_next(last));
        node.seq = Some(seq);
        is_gap
    }

    /// A node or a device is born, again or for the first time.
    pub(super) fn born(&mut self, edge: &Edge<'_>, payload: &Payload) {
        if edge.device.is_none() {
            self.begin_life(edge);
            let node = self.node(edge);
            node.seq = payload.seq.and_then(|seq| u8::try_from(seq).ok());
            node.bd_seq = bd_seq(payload);
        }
        let mut birth = Birth::of(payload, self.node(edge).life);
        let key = birth_key(edge);
        birth.bytes += key.len();
        self.bytes += birth.bytes;
        if let Some((_, before)) = self.births.push(key, birth) {
            self.bytes -= before.bytes;
        }
        while self.births.len() > BIRTHS_MAX || self.bytes > NAMES_MAX_BYTES {
            let Some((_, oldest)) = self.births.pop_lru() else { break };
            self.bytes -= oldest.bytes;
        }
    }

    /// A node or a device is dead. The death of another MQTT session of the node than the present one says nothing:
    /// a broker may send a will late.
    pub(super) fn died(&mut self, edge: &Edge<'_>, payload: &Payload) {
        if edge.device.is_none() {
            let now = self.nodes.peek(&*node_key(edge)).and_then(|node| node.bd_seq);
            if matches!((now, bd_seq(payload)), (Some(now), Some(dead)) if now != dead) {
                return;
            }
            self.begin_life(edge);
        }
        if let Some(birth) = self.births.pop(&*birth_key(edge)) {
            self.bytes -= birth.bytes;
        }
    }

    /// What is known of the metrics of a message's node or device.
    pub(super) fn birth(&mut self, edge: &Edge<'_>) -> Option<&Birth> {
        let life = self.nodes.peek(&*node_key(edge))?.life;
        self.births.get(&*birth_key(edge)).filter(|birth| birth.life == life)
    }

    /// Whether the node may be asked for a rebirth at `now`; if so, it counts as asked.
    pub(super) fn ask(&mut self, edge: &Edge<'_>, now: Instant) -> bool {
        let is_second =
            |began: Instant| now.saturating_duration_since(began) < Duration::from_secs(1);
        let (began, count) = self.asked.filter(|(began, _)| is_second(*began)).unwrap_or((now, 0));
        let node = self.node(edge);
        let is_recent = |at: Instant| now.saturating_duration_since(at) < REBIRTH_EVERY;
        if count >= REBIRTHS_PER_SECOND || node.asked_at.is_some_and(is_recent) {
            return false;
        }
        node.asked_at = Some(now);
        self.asked = Some((began, count + 1));
        true
    }

    /// A node with a sequence and metrics of its own begins or ends.
    fn begin_life(&mut self, edge: &Edge<'_>) {
        self.next_life += 1;
        let life = self.next_life;
        let node = self.node(edge);
        (node.life, node.seq, node.bd_seq) = (life, None, None);
    }

    fn node(&mut self, edge: &Edge<'_>) -> &mut Node {
        if self.nodes.len() >= NODES_MAX && !self.nodes.contains(&*node_key(edge)) {
            self.nodes.pop_lru();
        }
        let next_life = &mut self.next_life;
        self.nodes.get_or_insert_mut(node_key(edge), || {
            *next_life += 1;
            Node { life: *next_life, seq: None, bd_seq: None, asked_at: None }
        })
    }
}

/// Which MQTT session of its node a birth or a death is of.
pub(super) fn bd_seq(payload: &Payload) -> Option<u64> {
    let metric = payload.metrics.iter().find(|metric| metric.name.as_deref() == Some("bdSeq"))?;
    match metric.value {
        Some(MetricValue::Int(number)) => Some(number.into()),
        Some(MetricValue::Long(number)) => Some(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::{Kind, Name};
    use super::*;

    fn edge(mqtt_topic: &str) -> Edge<'_> {
        match Name::parse(mqtt_topic) {
            Ok(Name::Edge(edge)) => edge,
            other => panic!("{other:?}"),
        }
    }

    fn birth_of(metrics: &[(&str, u64, u32)], seq: u64, bd: u64) -> Payload {
        let metric = |(name, alias, data_type): &(&str, u64, u32)| Metric {
            name: Some((*name).to_owned()),
            alias: Some(*alias),
            datatype: Some(*data_type),
            ..Metric::default()
        };
        let bd_seq = Metric {
            name: Some("bdSeq".to_owned()),
            value: Some(MetricValue::Long(bd)),
            ..Metric::default()
        };
        let metrics = metrics.iter().map(metric).chain([bd_seq]).collect();
        Payload { metrics, seq: Some(seq), ..Payload::default() }
    }

    fn name_of(known: &mut Known, mqtt_topic: &str, alias: u64) -> Option<String> {
        let metric = Metric { alias: Some(alias), ..Metric::default() };
        resolve(&metric, known.birth(&edge(mqtt_topic))).name.map(str::to_owned)
    }

    const NODE: &str = "spBv1.0/g/NDATA/e";
    const DEVICE: &str = "spBv1.0/g/DDATA/e/d";

    #[test]
    fn aliases_are_known_from_birth_to_death_of_their_node_or_device() {
        let mut known = Known::default();
        assert_eq!(name_of(&mut known, NODE, 1), None);
        known.born(&edge(NODE), &birth_of(&[("t", 1, 3)], 0, 7));
        known.born(&edge(DEVICE), &birth_of(&[("p", 1, 3)], 1, 0));
        assert_eq!(name_of(&mut known, NODE, 1).as_deref(), Some("t"));
        assert_eq!(name_of(&mut known, DEVICE, 1).as_deref(), Some("p"));
        assert_eq!(name_of(&mut known, NODE, 2), None);

        known.died(&edge(DEVICE), &Payload::default());
        assert_eq!(name_of(&mut known, DEVICE, 1), None);
        assert_eq!(name_of(&mut known, NODE, 1).as_deref(), Some("t"));

        known.born(&edge(DEVICE), &birth_of(&[("p", 1, 3)], 3, 0));
        known.died(&edge(NODE), &birth_of(&[], 0, 6));
        assert_eq!(name_of(&mut known, NODE, 1).as_deref(), Some("t"), "an older session died");
        known.died(&edge(NODE), &birth_of(&[], 0, 7));
        assert_eq!(name_of(&mut known, NODE, 1), None);
        assert_eq!(name_of(&mut known, DEVICE, 1), None, "its node is dead");
        known.born(&edge(NODE), &birth_of(&[("t", 1, 3)], 0, 8));
        assert_eq!(name_of(&mut known, DEVICE, 1), None, "it is not born again yet");
        assert_eq!(known.bytes, known.births.iter().map(|(_, birth)| birth.bytes).sum::<usize>());
    }

    #[test]
    fn a_gap_is_a_number_that_is_neither_the_next_one_nor_the_same() {
        let mut known = Known::default();
        let mut follow = |seq| known.follow(&edge(NODE), Some(seq));
        assert!(!follow(250), "nothing is known before");
        assert!((251..=255).chain(0..=3).all(|seq| !follow(seq)), "it wraps at 256");
        assert!(!follow(3));
        assert!(follow(5));
        assert!(!follow(6));
        known.born(&edge(NODE), &birth_of(&[], 0, 1));
        assert!(!known.follow(&edge(NODE), Some(1)), "a birth begins anew");
        assert!(!known.follow(&edge(DEVICE), Some(2)), "a device has the sequence of its node");
        assert!(known.follow(&edge(DEVICE), Some(4)));
        assert!(!known.follow(&edge(NODE), None));
    }

    #[test]
    fn a_node_is_asked_once_and_few_nodes_in_a_second() {
        let mut known = Known::default();
        let now = Instant::now();
        let ask = |known: &mut Known, node: u32, at| {
            let node = node.to_string();
            known.ask(&Edge { group: "g", kind: Kind::Data, node: &node, device: None }, at)
        };
        for node in 0..REBIRTHS_PER_SECOND {
            assert!(ask(&mut known, node, now));
            assert!(!ask(&mut known, node, now));
        }
        assert!(!ask(&mut known, 99, now), "too many in one second");
        let later = now + Duration::from_secs(1);
        assert!(ask(&mut known, 99, later), "its turn comes");
        assert!(!ask(&mut known, 0, later));
        assert!(ask(&mut known, 0, now + REBIRTH_EVERY));
    }

    #[test]
    fn strangers_cannot_make_it_remember_without_bound() {
        let mut known = Known::default();
        let name = "x".repeat(100_000);
        let large: Vec<_> = (0..200).map(|alias| (&*name, alias, 3)).collect();
        let large = birth_of(&large, 0, 0);
        for node in 0..NODES_MAX + 10 {
            let node = node.to_string();
            let edge = Edge { group: "g", kind: Kind::Birth, node: &node, device: None };
            match node.len() {
                1 | 2 => known.born(&edge, &large),
                _ => known.born(&edge, &Payload::default()),
            }
            assert!(known.bytes <= NAMES_MAX_BYTES);
        }
        assert_eq!(known.nodes.len(), NODES_MAX);
        for device in 0..BIRTHS_MAX + 10 {
            let device = device.to_string();
            let edge = Edge { group: "g", kind: Kind::Birth, node: "e", device: Some(&device) };
            known.born(&edge, &Payload::default());
        }
        assert_eq!(known.births.len(), BIRTHS_MAX);
        assert_eq!(known.bytes, known.births.iter().map(|(_, birth)| birth.bytes).sum::<usize>());
    }
}
