//! Sparkplug B: payloads of `spBv1.0/...` as JSON (docs/decisions/0026-sparkplug.md). Pure.

mod arrays;
mod bounds;
mod data_type;
mod float;
mod json;
mod known;
mod name;
mod proto;

use bytes::Bytes;
use prost::Message as _;

use self::known::{Known, resolve};
use self::name::{Edge, Kind, Name};
use self::proto::{Metric, MetricValue, Payload};
use super::input::Input;
use super::note::Note;
use crate::message::Stamp;

/// The metric by which a node is asked for its birth (Sparkplug 3.0, "Edge Node Rebirth").
const REBIRTH: &str = "Node Control/Rebirth";
/// The number of the data type Boolean.
const BOOLEAN: u32 = 11;

/// What is known of the nodes and devices of one connection. Empty after a restart.
#[derive(Debug, Default)]
pub struct Sparkplug {
    known: Known,
    /// What the present message is: several routes may decode it, and it must count once. As many as there are
    /// ways to unpack it.
    present: Vec<(Bytes, Result<Document, String>)>,
}

/// A Sparkplug message as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The JSON document.
    pub json: Bytes,
    /// What is to be counted.
    pub notes: Vec<Note>,
    /// A request for a rebirth, to be published at QoS 0: MQTT topic and payload.
    pub request: Option<(String, Bytes)>,
}

/// A message as JSON, and what else follows from it.
#[derive(Debug, Clone)]
struct Document {
    json: Bytes,
    /// Messages of its node are missing before it.
    is_behind_gap: bool,
    /// It cannot be understood without a birth that is not known.
    is_incomplete: bool,
}

impl Sparkplug {
    /// What is decoded now is another message than before.
    #[inline]
    pub fn next_message(&mut self) {
        self.present.clear();
    }

    /// Decodes `payload`, the unpacked one of this message. With `rebirth`, a node is asked for its birth if that is
    /// needed and not known, or if messages of it are missing: a birth may be among them.
    ///
    /// # Errors
    /// What was found and expected, if it is not Sparkplug B.
    pub fn decode(
        &mut self,
        input: &Input<'_>,
        rebirth: bool,
        payload: &Bytes,
    ) -> Result<Decoded, String> {
        let mqtt_topic = std::str::from_utf8(input.mqtt_topic)
            .map_err(|error| format!("expected an MQTT topic in UTF-8, found {error}"))?;
        let name = Name::parse(mqtt_topic)?;
        let document = match self.present.iter().find(|(present, _)| present == payload) {
            Some((_, document)) => document.clone(),
            None => {
                let document = match &name {
                    Name::State { host_id } => state(host_id, payload),
                    Name::Edge(edge) => self.take_in(edge, payload),
                };
                self.present.push((payload.clone(), document.clone()));
                document
            }
        }?;
        let is_counted = [
            (document.is_behind_gap, Note::SparkplugGap),
            (document.is_incomplete, Note::SparkplugAliasUnknown),
        ];
        let mut notes: Vec<_> =
            is_counted.iter().filter(|(is_so, _)| *is_so).map(|(_, note)| *note).collect();
        let request = match name {
            Name::Edge(edge) if rebirth && !notes.is_empty() && edge.kind == Kind::Data => self
                .known
                .ask(&edge, input.received_at.instant)
                .then(|| (edge.commands(), rebirth_payload(&input.received_at))),
            _ => None,
        };
        notes.extend(request.is_some().then_some(Note::SparkplugRebirthAsked));
        Ok(Decoded { json: document.json, notes, request })
    }

    /// Decodes a message of a node or a device, and learns from it.
    fn take_in(&mut self, edge: &Edge<'_>, payload: &Bytes) -> Result<Document, String> {
        bounds::check(payload)?;
        let payload = Payload::decode(&**payload)
            .map_err(|error| format!("expected a payload of Sparkplug B, found: {error}"))?;
        let is_behind_gap = match (edge.kind, edge.device) {
            // A death of a node is a will, written before all of its messages; commands are not the node's.
            (Kind::Death, None) | (Kind::Command, _) => false,
            // A birth of a node begins the sequence.
            (Kind::Birth, None) => false,
            _ => self.known.follow(edge, payload.seq),
        };
        match edge.kind {
            Kind::Birth => self.known.born(edge, &payload),
            Kind::Death => self.known.died(edge, &payload),
            Kind::Data | Kind::Command => {}
        }
        let birth = match edge.kind {
            Kind::Data | Kind::Command => self.known.birth(edge),
            // What a birth does not say itself, an earlier one does not either.
            Kind::Birth | Kind::Death => None,
        };
        let mut metrics = payload.metrics.iter();
        let is_incomplete = metrics.any(|metric| resolve(metric, birth).is_incomplete(metric));
        let json = json::document(edge, &payload, birth)?.into();
        Ok(Document { json, is_behind_gap, is_incomplete })
    }
}

fn state(host_id: &str, payload: &[u8]) -> Result<Document, String> {
    let json = json::state(host_id, payload)?.into();
    Ok(Document { json, is_behind_gap: false, is_incomplete: false })
}

/// The command that asks a node for its birth.
fn rebirth_payload(now: &Stamp) -> Bytes {
    let now_ms = Some(now.wall_us / 1000);
    let metric = Metric {
        name: Some(REBIRTH.to_owned()),
        timestamp: now_ms,
        datatype: Some(BOOLEAN),
        value: Some(MetricValue::Boolean(true)),
        ..Metric::default()
    };
    Payload { timestamp: now_ms, metrics: vec![metric], ..Payload::default() }
        .encode_to_vec()
        .into()
}

#[cfg(test)]
mod tests;
