//! A payload as a JSON document. Pure.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::Display;
use std::io;

use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use super::arrays::Array;
use super::data_type::{DataType, Integer, integer};
use super::float::{Double, Single};
use super::known::{Birth, bd_seq, resolve};
use super::name::{Edge, Kind};
use super::proto::{
    DataSet, MetaData, Metric, MetricValue, Parameter, ParameterVariant, Payload, Plain,
    PropertySet, PropertyValue, PropertyVariant, Template,
};

/// Most bytes of a document: a long name behind a short alias can stand in a payload many times.
pub(super) const DOCUMENT_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The document of a message of a node or a device, its metrics named by `birth`.
///
/// # Errors
/// What is wrong with a value, or that the document is too large.
pub(super) fn document(
    edge: &Edge<'_>,
    payload: &Payload,
    birth: Option<&Birth>,
) -> Result<Vec<u8>, String> {
    write(&Document { edge, payload, birth })
}

/// The document of a host application's state: JSON as it came, or text.
///
/// # Errors
/// The state is neither, or too large.
pub(super) fn state(host_id: &str, payload: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| format!("expected the state of a host as JSON or text, found {error}"))?;
    let mut document = write(&HostState { message_type: "STATE", host_id })?;
    // In place of the bracket that closes it.
    document.pop();
    document.extend_from_slice(b",\"state\":");
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(IgnoredAny) => document.extend_from_slice(text.trim().as_bytes()),
        Err(_) => document.extend(write(&text)?),
    }
    document.push(b'}');
    Ok(document)
}

fn write(document: &impl Serialize) -> Result<Vec<u8>, String> {
    let mut out = Bounded(Vec::new());
    serde_json::to_writer(&mut out, document).map_err(|error| error.to_string())?;
    Ok(out.0)
}

/// Takes [`DOCUMENT_MAX_BYTES`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > DOCUMENT_MAX_BYTES {
            return Err(io::Error::other(format!("its JSON is over {DOCUMENT_MAX_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(serde::Serialize)]
struct HostState<'a> {
    message_type: &'a str,
    host_id: &'a str,
}

struct Document<'a> {
    edge: &'a Edge<'a>,
    payload: &'a Payload,
    birth: Option<&'a Birth>,
}

/// Adds what is there.
fn entry<M: SerializeMap>(
    map: &mut M,
    key: &str,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    value.map_or(Ok(()), |value| map.serialize_entry(key, &value))
}

/// Adds what is true.
fn flag<M: SerializeMap>(map: &mut M, key: &str, value: Option<bool>) -> Result<(), M::Error> {
    entry(map, key, value.filter(|is_set| *is_set))
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { edge, payload, birth } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("message_type", edge.message_type())?;
        map.serialize_entry("group_id", edge.group)?;
        map.serialize_entry("edge_node_id", edge.node)?;
        entry(&mut map, "device_id", edge.device)?;
        entry(&mut map, "timestamp", payload.timestamp)?;
        entry(&mut map, "seq", payload.seq)?;
        let is_of_session = edge.device.is_none() && matches!(edge.kind, Kind::Birth | Kind::Death);
        entry(&mut map, "bd_seq", bd_seq(payload).filter(|_| is_of_session))?;
        entry(&mut map, "uuid", payload.uuid.as_deref())?;
        map.serialize_entry("metrics", &Metrics(&payload.metrics, *birth))?;
        entry(&mut map, "body", payload.body.as_deref().map(Base64))?;
        map.end()
    }
}

struct Metrics<'a>(&'a [Metric], Option<&'a Birth>);

impl Serialize for Metrics<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|metric| MetricJson(metric, self.1)))
    }
}

struct MetricJson<'a>(&'a Metric, Option<&'a Birth>);

impl Serialize for MetricJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(metric, birth) = self;
        let resolved = resolve(metric, *birth);
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "name", resolved.name)?;
        entry(&mut map, "alias", metric.alias)?;
        flag(&mut map, "is_unresolved", Some(resolved.is_incomplete(metric)))?;
        entry(&mut map, "timestamp", metric.timestamp)?;
        entry(&mut map, "type", resolved.data_type.map(TypeName))?;
        flag(&mut map, "is_historical", metric.is_historical)?;
        flag(&mut map, "is_transient", metric.is_transient)?;
        flag(&mut map, "is_null", metric.is_null)?;
        let value = metric.value.as_ref().map(|value| MetricValueJson(value, resolved.data_type));
        put_value(&mut map, metric.is_null, value)?;
        entry(&mut map, "metadata", metric.metadata.as_deref().map(MetaDataJson))?;
        entry(&mut map, "properties", metric.properties.as_deref().map(PropertySetJson))?;
        map.end()
    }
}

/// Adds the value, or null where that is said.
fn put_value<M: SerializeMap>(
    map: &mut M,
    is_null: Option<bool>,
    value: Option<impl Serialize>,
) -> Result<(), M::Error> {
    match is_null {
        Some(true) => map.serialize_entry("value", &()),
        _ => entry(map, "value", value),
    }
}

/// A data type by its name; one that the specification does not have by its number.
struct TypeName(DataType);

impl Serialize for TypeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.collect_str(&self.0.0),
        }
    }
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&base64::display::Base64Display::new(self.0, &STANDARD))
    }
}

/// A value of one part, wherever it stands.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    String(&'a str),
}

struct ScalarJson<'a>(Scalar<'a>, Option<DataType>);

impl Serialize for ScalarJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = |raw, wire_bits, serializer: S| match integer(raw, wire_bits, self.1) {
            Integer::Signed(number) => serializer.serialize_i64(number),
            Integer::Unsigned(number) => serializer.serialize_u64(number),
        };
        match self.0 {
            Scalar::Int(raw) => number(raw.into(), 32, serializer),
            Scalar::Long(raw) => number(raw, 64, serializer),
            Scalar::Float(value) => Single(value).serialize(serializer),
            Scalar::Double(value) => Double(value).serialize(serializer),
            Scalar::Boolean(value) => serializer.serialize_bool(value),
            Scalar::String(text) => serializer.serialize_str(text),
        }
    }
}

struct MetricValueJson<'a>(&'a MetricValue, Option<DataType>);

impl Serialize for MetricValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scalar = match self.0 {
            MetricValue::Int(value) => Scalar::Int(*value),
            MetricValue::Long(value) => Scalar::Long(*value),
            MetricValue::Float(value) => Scalar::Float(*value),
            MetricValue::Double(value) => Scalar::Double(*value),
            MetricValue::Boolean(value) => Scalar::Boolean(*value),
            MetricValue::String(text) => Scalar::String(text),
            MetricValue::Bytes(bytes) => {
                return match self.1.and_then(DataType::element) {
                    Some(element) => Array { element, bytes }.serialize(serializer),
                    None => Base64(bytes).serialize(serializer),
                };
            }
            MetricValue::DataSet(data_set) => return DataSetJson(data_set).serialize(serializer),
            MetricValue::Template(template) => return TemplateJson(template).serialize(serializer),
        };
        ScalarJson(scalar, self.1).serialize(serializer)
    }
}

struct MetaDataJson<'a>(&'a MetaData);

impl Serialize for MetaDataJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let meta = self.0;
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "is_multi_part", meta.is_multi_part)?;
        entry(&mut map, "content_type", meta.content_type.as_deref())?;
        entry(&mut map, "size", meta.size)?;
        entry(&mut map, "seq", meta.seq)?;
        entry(&mut map, "file_name", meta.file_name.as_deref())?;
        entry(&mut map, "file_type", meta.file_type.as_deref())?;
        entry(&mut map, "md5", meta.md5.as_deref())?;
        entry(&mut map, "description", meta.description.as_deref())?;
        map.end()
    }
}

/// An object by keys. Of a key that stands there twice, the last value counts.
struct PropertySetJson<'a>(&'a PropertySet);

impl Serialize for PropertySetJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let PropertySet { keys, values } = self.0;
        if keys.len() != values.len() {
            return Err(S::Error::custom(unequal("properties", "keys", keys.len(), values.len())));
        }
        let last: HashMap<&str, usize> =
            keys.iter().enumerate().map(|(place, key)| (&**key, place)).collect();
        let entries = keys.iter().zip(values).enumerate();
        let counting = entries.filter(|(place, (key, _))| last.get(&***key) == Some(place));
        serializer.collect_map(counting.map(|(_, (key, value))| (key, PropertyValueJson(value))))
    }
}

/// A sentence on a number of values.
fn unequal(what: &str, of: &str, expected: impl Display, found: usize) -> String {
    format!("{what} with {expected} {of} and {found} values: expected as many values as {of}")
}

struct PropertyValueJson<'a>(&'a PropertyValue);

impl Serialize for PropertyValueJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let property = self.0;
        let data_type = DataType::given(property.r#type);
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "type", data_type.map(TypeName))?;
        flag(&mut map, "is_null", property.is_null)?;
        let value = property.value.as_ref().map(|value| PropertyVariantJson(value, data_type));
        put_value(&mut map, property.is_null, value)?;
        map.end()
    }
}

struct PropertyVariantJson<'a>(&'a PropertyVariant, Option<DataType>);

impl Serialize for PropertyVariantJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let scalar = match self.0 {
            PropertyVariant::Int(value) => Scalar::Int(*value),
            PropertyVariant::Long(value) => Scalar::Long(*value),
            PropertyVariant::Float(value) => Scalar::Float(*value),
            PropertyVariant::Double(value) => Scalar::Double(*value),
            PropertyVariant::Boolean(value) => Scalar::Boolean(*value),
            PropertyVariant::String(text) => Scalar::String(text),
            PropertyVariant::Set(set) => return PropertySetJson(set).serialize(serializer),
            PropertyVariant::Sets(sets) => {
                return serializer.collect_seq(sets.propertyset.iter().map(PropertySetJson));
            }
        };
        ScalarJson(scalar, self.1).serialize(serializer)
    }
}

struct DataSetJson<'a>(&'a DataSet);

impl Serialize for DataSetJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let DataSet { num_of_columns, columns, types, rows } = self.0;
        let width = columns.len();
        let declared =
            num_of_columns.map_or(width, |number| usize::try_from(number).unwrap_or(usize::MAX));
        if declared != width || types.len() != width {
            return Err(S::Error::custom(format!(
                "a data set of {declared} columns with {width} names and {} types of columns",
                types.len()
            )));
        }
        if let Some(row) = rows.iter().find(|row| row.elements.len() != width) {
            return Err(S::Error::custom(unequal("a row", "columns", width, row.elements.len())));
        }
        let types: Vec<_> = types.iter().copied().map(DataType).collect();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("columns", columns)?;
        map.serialize_entry("types", &Sequence::of(types.iter().copied().map(TypeName)))?;
        let rows = rows.iter().map(|row| {
            Sequence::of(row.elements.iter().zip(&types).map(|(cell, data_type)| {
                cell.value.as_ref().map(|value| {
                    let scalar = match value {
                        Plain::Int(value) => Scalar::Int(*value),
                        Plain::Long(value) => Scalar::Long(*value),
                        Plain::Float(value) => Scalar::Float(*value),
                        Plain::Double(value) => Scalar::Double(*value),
                        Plain::Boolean(value) => Scalar::Boolean(*value),
                        Plain::String(text) => Scalar::String(text),
                    };
                    ScalarJson(scalar, Some(*data_type))
                })
            }))
        });
        map.serialize_entry("rows", &Sequence::of(rows))?;
        map.end()
    }
}

/// An array of what an iterator yields; it is written once.
struct Sequence<I>(Cell<Option<I>>);

impl<I> Sequence<I> {
    fn of(items: I) -> Self {
        Self(Cell::new(Some(items)))
    }
}

impl<I: Iterator<Item: Serialize>> Serialize for Sequence<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

struct TemplateJson<'a>(&'a Template);

impl Serialize for TemplateJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let template = self.0;
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "version", template.version.as_deref())?;
        entry(&mut map, "template_ref", template.template_ref.as_deref())?;
        entry(&mut map, "is_definition", template.is_definition)?;
        // Its members have names of their own, which no birth knows.
        map.serialize_entry("metrics", &Metrics(&template.metrics, None))?;
        let parameters = Sequence::of(template.parameters.iter().map(ParameterJson));
        map.serialize_entry("parameters", &parameters)?;
        map.end()
    }
}

struct ParameterJson<'a>(&'a Parameter);

impl Serialize for ParameterJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parameter = self.0;
        let data_type = DataType::given(parameter.r#type);
        let value = parameter.value.as_ref().map(|value| match value {
            ParameterVariant::Int(value) => Scalar::Int(*value),
            ParameterVariant::Long(value) => Scalar::Long(*value),
            ParameterVariant::Float(value) => Scalar::Float(*value),
            ParameterVariant::Double(value) => Scalar::Double(*value),
            ParameterVariant::Boolean(value) => Scalar::Boolean(*value),
            ParameterVariant::String(text) => Scalar::String(text),
        });
        let mut map = serializer.serialize_map(None)?;
        entry(&mut map, "name", parameter.name.as_deref())?;
        entry(&mut map, "type", data_type.map(TypeName))?;
        entry(&mut map, "value", value.map(|scalar| ScalarJson(scalar, data_type)))?;
        map.end()
    }
}
