use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::known::REBIRTH_EVERY;
use super::proto::{PropertySet, PropertyValue, PropertyVariant, Template};
use super::*;
use crate::message::Qos;
use crate::route::test_support::Sample;

/// One connection's messages.
#[derive(Default)]
struct Plant {
    sparkplug: Sparkplug,
    /// Since the first message.
    later: Duration,
    began: Option<Instant>,
    rebirth: bool,
}

impl Plant {
    fn asking() -> Self {
        Self { rebirth: true, ..Self::default() }
    }

    /// The same message, decoded for one more route.
    fn again(&mut self, mqtt_topic: &str, payload: &[u8]) -> Result<Decoded, String> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let received_at = Stamp { wall_us: 1_795_708_800_000_999, instant: began + self.later };
        let sample =
            Sample { qos: Qos::AtMostOnce, received_at, ..Sample::new(mqtt_topic, payload) };
        self.sparkplug.decode(&sample.input(), self.rebirth, &sample.payload)
    }

    fn decode(&mut self, mqtt_topic: &str, payload: &[u8]) -> Result<Decoded, String> {
        self.sparkplug.next_message();
        self.again(mqtt_topic, payload)
    }

    #[track_caller]
    fn takes(&mut self, mqtt_topic: &str, payload: &Payload) -> Decoded {
        self.decode(mqtt_topic, &payload.encode_to_vec()).expect("Sparkplug")
    }
}

fn document(decoded: &Decoded) -> Value {
    serde_json::from_slice(&decoded.json).expect("JSON")
}

fn data(seq: u64, alias: u64) -> Payload {
    let metric =
        Metric { alias: Some(alias), value: Some(MetricValue::Int(0xFF)), ..Metric::default() };
    Payload { seq: Some(seq), metrics: vec![metric], ..Payload::default() }
}

fn birth(name: &str, alias: u64) -> Payload {
    let metric = Metric {
        name: Some(name.to_owned()),
        datatype: Some(1),
        ..data(0, alias).metrics.remove(0)
    };
    Payload { seq: Some(0), metrics: vec![metric], ..Payload::default() }
}

#[derive(serde::Deserialize)]
struct Vector {
    mqtt_topic: String,
    payload: String,
    document: Value,
    notes: Vec<String>,
}

fn vectors() -> Vec<Vec<Vector>> {
    let text = include_str!("../../../tests/vectors/sparkplug/vectors.json");
    serde_json::from_str(text).expect("vectors")
}

impl Vector {
    fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.payload).expect("base64")
    }
}

#[test]
fn what_two_other_implementations_encode_is_the_document_that_they_say() {
    for story in vectors() {
        let mut plant = Plant::default();
        for (place, vector) in story.iter().enumerate() {
            let decoded = plant.decode(&vector.mqtt_topic, &vector.bytes()).expect("Sparkplug");
            let what = format!("message {place}, {}", vector.mqtt_topic);
            assert_eq!(document(&decoded), vector.document, "{what}");
            let notes: Vec<_> = decoded.notes.iter().map(|note| format!("{note:?}")).collect();
            assert_eq!(notes, vector.notes, "{what}");
            assert_eq!(decoded.request, None);
        }
    }
}

#[test]
fn the_command_for_a_rebirth_is_the_one_that_two_other_implementations_read() {
    let mut plant = Plant::asking();
    let decoded = plant.takes("spBv1.0/g/DDATA/e/d", &data(1, 5));
    let (mqtt_topic, payload) = decoded.request.expect("a request");
    assert_eq!(mqtt_topic, "spBv1.0/g/NCMD/e");
    let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("../../../tests/vectors/sparkplug/rebirth.hex").trim_end());
}

#[test]
fn what_one_message_says_counts_once_whatever_other_routes_unpack_between() {
    let mut plant = Plant::default();
    let (node, data) = ("spBv1.0/g/NDATA/e", |seq| data(seq, 5).encode_to_vec());
    plant.takes("spBv1.0/g/NBIRTH/e", &birth("t", 5));
    assert_eq!(plant.decode(node, &data(1)).expect("Sparkplug").notes, []);
    plant.again(node, b"packed").expect_err("not Sparkplug");
    assert_eq!(plant.again(node, &data(1)).expect("Sparkplug").notes, [], "the same, not a gap");
    assert_eq!(plant.decode(node, &data(2)).expect("Sparkplug").notes, []);
}

#[test]
fn a_rebirth_is_asked_for_once_and_only_if_that_is_allowed_and_needed() {
    let mut plant = Plant::asking();
    let node = "spBv1.0/g/NDATA/e";
    let notes = [Note::SparkplugAliasUnknown, Note::SparkplugRebirthAsked];
    assert_eq!(plant.takes(node, &data(1, 5)).notes, notes);
    assert_eq!(plant.takes(node, &data(2, 5)).notes, notes[..1], "it was asked");
    plant.later = REBIRTH_EVERY;
    assert_eq!(plant.takes(node, &data(3, 5)).notes, notes, "it has not answered");
    plant.takes("spBv1.0/g/NBIRTH/e", &birth("t", 5));
    plant.later *= 2;
    assert_eq!(plant.takes(node, &data(1, 5)).notes, [], "all is known");
    let behind_gap = [Note::SparkplugGap, Note::SparkplugRebirthAsked];
    assert_eq!(plant.takes(node, &data(3, 5)).notes, behind_gap, "the gap may be a birth");

    for mqtt_topic in ["spBv1.0/g/NCMD/other", "spBv1.0/g/NBIRTH/other"] {
        assert_eq!(plant.takes(mqtt_topic, &data(1, 5)).request, None, "it is no data");
    }
    assert_eq!(Plant::default().takes(node, &data(1, 5)).request, None, "it is not allowed");
}

#[test]
fn a_message_counts_once_however_many_routes_decode_it() {
    let mut plant = Plant::asking();
    plant.takes("spBv1.0/g/NBIRTH/e", &birth("t", 5));
    let (node, payload) = ("spBv1.0/g/NDATA/e", data(1, 5).encode_to_vec());
    let first = plant.decode(node, &payload).expect("Sparkplug");
    assert_eq!((plant.again(node, &payload), &*first.notes), (Ok(first.clone()), &[][..]));
    let late = data(9, 5).encode_to_vec();
    let first = plant.decode(node, &late).expect("Sparkplug");
    let second = plant.again(node, &late).expect("Sparkplug");
    assert_eq!(first.notes, [Note::SparkplugGap, Note::SparkplugRebirthAsked]);
    assert_eq!((second.notes, second.request), (vec![Note::SparkplugGap], None));
}

#[test]
fn the_state_of_a_host_is_kept_as_json_or_as_text() {
    let mut plant = Plant::default();
    let mut state = |mqtt_topic: &str, payload: &[u8]| {
        plant.decode(mqtt_topic, payload).map(|decoded| document(&decoded)["state"].clone())
    };
    let json = br#" {"online":true,"timestamp":1795708800000} "#;
    let expected = json!({"online": true, "timestamp": 1_795_708_800_000_u64});
    assert_eq!(state("spBv1.0/STATE/host", json), Ok(expected));
    assert_eq!(state("STATE/host", b"OFFLINE"), Ok(json!("OFFLINE")));
    assert_eq!(state("STATE/host", b""), Ok(json!("")));
    assert!(state("STATE/host", b"\xff").is_err_and(|error| error.contains("utf-8")));
}

/// A template in a template, so often.
fn nested_templates(depth: usize) -> Metric {
    let template =
        |metrics| MetricValue::Template(Box::new(Template { metrics, ..Template::default() }));
    let innermost = Metric { name: Some("m".to_owned()), ..Metric::default() };
    (0..depth).fold(innermost, |inner, _| Metric {
        name: Some("m".to_owned()),
        value: Some(template(vec![inner])),
        ..Metric::default()
    })
}

fn nested_properties(depth: usize) -> Metric {
    let set = (0..depth).fold(PropertySet::default(), |inner, _| PropertySet {
        keys: vec!["k".to_owned()],
        values: vec![PropertyValue {
            value: Some(PropertyVariant::Set(inner)),
            ..PropertyValue::default()
        }],
    });
    Metric { name: Some("m".to_owned()), properties: Some(Box::new(set)), ..Metric::default() }
}

/// Templates in templates, deeper than the stack of whoever follows them.
fn wrapped(depth: usize) -> Vec<u8> {
    let field = |tag: &[u8], inside: &[u8]| {
        let mut out = tag.to_vec();
        prost::encoding::encode_varint(inside.len() as u64, &mut out);
        out.extend_from_slice(inside);
        out
    };
    let template = |inner: Vec<u8>, _| field(&[0x12], &field(&[0x92, 0x01], &inner));
    (0..depth).fold(Vec::new(), template)
}

fn of(metric: Metric) -> Vec<u8> {
    Payload { metrics: vec![metric], ..Payload::default() }.encode_to_vec()
}

#[test]
fn what_is_not_sparkplug_is_refused_with_what_was_found() {
    let node = "spBv1.0/g/NDATA/e";
    let metric = |data_type, value| Metric {
        name: Some("m".to_owned()),
        datatype: Some(data_type),
        value: Some(value),
        ..Metric::default()
    };
    let bytes = |data_type, bytes: &[u8]| of(metric(data_type, MetricValue::Bytes(bytes.to_vec())));
    let two_keys = PropertySet { keys: vec!["a".to_owned(); 2], ..PropertySet::default() };
    let table = |columns: &[&str], types: &[u32], cells| {
        let rows = vec![proto::Row { elements: vec![proto::DataSetValue::default(); cells] }];
        let columns = columns.iter().map(|name| (*name).to_owned()).collect();
        let table = proto::DataSet { columns, types: types.to_vec(), rows, num_of_columns: None };
        of(metric(16, MetricValue::DataSet(Box::new(table))))
    };
    for (payload, detail) in [
        (b"{\"temperature\":21}".to_vec(), "protobuf"),
        (b"\x0a\x05ab".to_vec(), "protobuf"),
        (b"\x12\x7fab".to_vec(), "2 bytes left"),
        (b"\x12\x03\x0a\x01\xff".to_vec(), "UTF-8"),
        (of(nested_templates(40)), "deeper than 32"),
        (of(nested_properties(40)), "deeper than 32"),
        (wrapped(5_000), "deeper than 32"),
        ([0x12, 0].repeat(bounds::PARTS_MAX + 1), "more than 250000"),
        // Keys of properties, columns, and their types, one by one and packed.
        (within(&[9], &[0x0a, 0].repeat(bounds::PARTS_MAX)), "more than 250000"),
        (within(&[17], &[0x12, 0].repeat(bounds::PARTS_MAX)), "more than 250000"),
        (within(&[17], &[0x18, 1].repeat(bounds::PARTS_MAX)), "more than 250000"),
        (within(&[17, 3], &[1].repeat(bounds::PARTS_MAX)), "more than 250000"),
        (bytes(24, b"123"), "a multiple of 4 bytes, found 3"),
        (bytes(32, b"\x01\0\0"), "an array of Boolean"),
        (bytes(32, b"\xff\xff\xff\xff\0"), "an array of Boolean"),
        (bytes(33, b"\xff\0"), "an array of String"),
        (table(&["a", "b"], &[1], 2), "2 names and 1 types"),
        (table(&["a", "b"], &[1, 1], 1), "2 columns and 1 values"),
        (
            of(Metric { properties: Some(Box::new(two_keys)), ..Metric::default() }),
            "2 keys and 0 values",
        ),
    ] {
        let error = Plant::default().decode(node, &payload).expect_err(detail);
        assert!(error.contains(detail), "expected {detail:?}, found {error:?}");
    }
    assert!(Plant::default().decode("spBv1.0/g/NFOO/e", b"").is_err());
}

#[test]
fn templates_and_properties_may_lie_as_deep_as_json_readers_follow() {
    for metric in [nested_templates(15), nested_properties(15)] {
        let decoded = Plant::default().decode("spBv1.0/g/NDATA/e", &of(metric)).expect("Sparkplug");
        // serde_json reads 128 levels.
        document(&decoded);
    }
}

#[test]
fn a_short_alias_of_a_long_name_cannot_make_a_document_without_bound() {
    let mut plant = Plant::default();
    plant.takes("spBv1.0/g/NBIRTH/e", &birth(&"x".repeat(1_000_000), 5));
    let metrics = vec![Metric { alias: Some(5), ..Metric::default() }; 20];
    let payload = Payload { metrics, ..Payload::default() };
    let error = plant.decode("spBv1.0/g/NDATA/e", &payload.encode_to_vec()).expect_err("too large");
    assert!(error.contains("over 8388608 bytes"), "{error}");
}

#[test]
fn an_unknown_data_type_is_called_by_its_number_and_its_bytes_are_kept() {
    let metric = Metric {
        name: Some("m".to_owned()),
        datatype: Some(99),
        value: Some(MetricValue::Bytes(vec![1, 2])),
        ..Metric::default()
    };
    let decoded = Plant::default().decode("spBv1.0/g/NDATA/e", &of(metric)).expect("Sparkplug");
    let expected = json!([{"name": "m", "type": "99", "value": "AQI="}]);
    assert_eq!(document(&decoded)["metrics"], expected);
}

/// One metric that holds `inside` in these fields, each within the one before.
fn within(fields: &[u32], inside: &[u8]) -> Vec<u8> {
    use prost::encoding::bytes::encode;
    [2].iter().chain(fields).rev().fold(inside.to_vec(), |inside, field| {
        let mut field_of = Vec::new();
        encode(*field, &inside, &mut field_of);
        field_of
    })
}

/// Messages of nodes and devices; few names, so that they meet.
fn mqtt_topics() -> impl Strategy<Value = String> {
    "spBv1\\.0/[gh]/(N(BIRTH|DATA|DEATH|CMD)/[ef]|D(BIRTH|DATA|DEATH|CMD)/[ef]/[xy])|spBv1\\.0/STATE/h"
}

fn sound_payloads() -> Vec<Vec<u8>> {
    let bytes = vectors().into_iter().flatten().map(|vector| vector.bytes());
    bytes.chain([of(nested_templates(15)), of(nested_properties(15))]).collect()
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8);
    (prop::sample::select(sound_payloads()), changes, any::<prop::sample::Index>(), any::<bool>())
        .prop_map(|(mut payload, changes, end, is_cut)| {
            for (place, byte) in changes {
                let place = place.index(payload.len().max(1));
                payload.get_mut(place).into_iter().for_each(|changed| *changed = byte);
            }
            if is_cut {
                payload.truncate(end.index(payload.len() + 1));
            }
            payload
        })
}

proptest! {
    #[test]
    fn whatever_comes_is_a_document_or_refused(
        messages in prop::collection::vec((mqtt_topics(), mutated()), 1..12)
    ) {
        let mut plant = Plant::asking();
        for (mqtt_topic, payload) in messages {
            match plant.decode(&mqtt_topic, &payload) {
                Ok(decoded) => drop(document(&decoded)),
                Err(detail) => prop_assert!(!detail.is_empty()),
            }
        }
    }

    #[test]
    fn random_bytes_are_a_document_or_refused(
        mqtt_topic in mqtt_topics(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(decoded) = Plant::asking().decode(&mqtt_topic, &payload) {
            document(&decoded);
        }
    }

    /// Nothing that a metric says is lost: it has as many metrics, and their aliases, as the payload.
    #[test]
    fn every_metric_is_there(aliases in prop::collection::vec(0_u64..10, 0..50)) {
        let mut plant = Plant::default();
        plant.takes("spBv1.0/g/NBIRTH/e", &birth("five", 5));
        let metrics = aliases.iter().map(|alias| data(1, *alias).metrics.remove(0)).collect();
        let decoded = plant.takes("spBv1.0/g/NDATA/e", &Payload { metrics, ..Payload::default() });
        let expected: Vec<_> = aliases.iter().map(|alias| match alias {
            5 => json!({"name": "five", "alias": 5, "type": "Int8", "value": -1}),
            _ => json!({"alias": alias, "is_unresolved": true, "value": 255}),
        }).collect();
        prop_assert_eq!(&document(&decoded)["metrics"], &json!(expected));
    }
}
