//! The protobuf messages of Sparkplug B, written after the specification (Sparkplug 3.0, "Sparkplug B Google Protocol Buffer Schema"). Names and
//! numbers of the fields are its own. Extension fields are skipped.

use prost::Message;

/// The whole payload of every message but STATE.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Payload {
    /// When the message was sent, in milliseconds since the Unix epoch.
    #[prost(uint64, optional, tag = "1")]
    pub(super) timestamp: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "4")]
    pub(super) uuid: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(super) body: Option<Vec<u8>>,
}

/// One value with what is said of it. What few metrics have is boxed: a stranger can send many metrics in few
/// bytes.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Metric {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint64, optional, tag = "2")]
    pub(super) alias: Option<u64>,
    /// When the value was taken, in milliseconds since the Unix epoch.
    #[prost(uint64, optional, tag = "3")]
    pub(super) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub(super) datatype: Option<u32>,
    #[prost(bool, optional, tag = "5")]
    pub(super) is_historical: Option<bool>,
    #[prost(bool, optional, tag = "6")]
    pub(super) is_transient: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    pub(super) is_null: Option<bool>,
    #[prost(message, optional, boxed, tag = "8")]
    pub(super) metadata: Option<Box<MetaData>>,
    #[prost(message, optional, boxed, tag = "9")]
    pub(super) properties: Option<Box<PropertySet>>,
    #[prost(oneof = "MetricValue", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
    pub(super) value: Option<MetricValue>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum MetricValue {
    #[prost(uint32, tag = "10")]
    Int(u32),
    #[prost(uint64, tag = "11")]
    Long(u64),
    #[prost(float, tag = "12")]
    Float(f32),
    #[prost(double, tag = "13")]
    Double(f64),
    #[prost(bool, tag = "14")]
    Boolean(bool),
    #[prost(string, tag = "15")]
    String(String),
    #[prost(bytes, tag = "16")]
    Bytes(Vec<u8>),
    #[prost(message, boxed, tag = "17")]
    DataSet(Box<DataSet>),
    #[prost(message, boxed, tag = "18")]
    Template(Box<Template>),
}

/// What is said of a metric.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MetaData {
    #[prost(bool, optional, tag = "1")]
    pub(super) is_multi_part: Option<bool>,
    #[prost(string, optional, tag = "2")]
    pub(super) content_type: Option<String>,
    #[prost(uint64, optional, tag = "3")]
    pub(super) size: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub(super) seq: Option<u64>,
    #[prost(string, optional, tag = "5")]
    pub(super) file_name: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub(super) file_type: Option<String>,
    #[prost(string, optional, tag = "7")]
    pub(super) md5: Option<String>,
    #[prost(string, optional, tag = "8")]
    pub(super) description: Option<String>,
}

/// Named values beside a metric's own: as many keys as values.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertySet {
    #[prost(string, repeated, tag = "1")]
    pub(super) keys: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) values: Vec<PropertyValue>,
}

/// One of them.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertyValue {
    #[prost(uint32, optional, tag = "1")]
    pub(super) r#type: Option<u32>,
    #[prost(bool, optional, tag = "2")]
    pub(super) is_null: Option<bool>,
    #[prost(oneof = "PropertyVariant", tags = "3, 4, 5, 6, 7, 8, 9, 10")]
    pub(super) value: Option<PropertyVariant>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum PropertyVariant {
    #[prost(uint32, tag = "3")]
    Int(u32),
    #[prost(uint64, tag = "4")]
    Long(u64),
    #[prost(float, tag = "5")]
    Float(f32),
    #[prost(double, tag = "6")]
    Double(f64),
    #[prost(bool, tag = "7")]
    Boolean(bool),
    #[prost(string, tag = "8")]
    String(String),
    #[prost(message, tag = "9")]
    Set(PropertySet),
    #[prost(message, tag = "10")]
    Sets(PropertySetList),
}

/// Several of the same kind.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PropertySetList {
    #[prost(message, repeated, tag = "1")]
    pub(super) propertyset: Vec<PropertySet>,
}

/// A table: each row has a value for each column.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DataSet {
    #[prost(uint64, optional, tag = "1")]
    pub(super) num_of_columns: Option<u64>,
    #[prost(string, repeated, tag = "2")]
    pub(super) columns: Vec<String>,
    #[prost(uint32, repeated, packed = "false", tag = "3")]
    pub(super) types: Vec<u32>,
    #[prost(message, repeated, tag = "4")]
    pub(super) rows: Vec<Row>,
}

/// A row of a table.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Row {
    #[prost(message, repeated, tag = "1")]
    pub(super) elements: Vec<DataSetValue>,
}

/// A cell; without a value it is null.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DataSetValue {
    #[prost(oneof = "Plain", tags = "1, 2, 3, 4, 5, 6")]
    pub(super) value: Option<Plain>,
}

/// A value of a cell.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Plain {
    #[prost(uint32, tag = "1")]
    Int(u32),
    #[prost(uint64, tag = "2")]
    Long(u64),
    #[prost(float, tag = "3")]
    Float(f32),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(bool, tag = "5")]
    Boolean(bool),
    #[prost(string, tag = "6")]
    String(String),
}

/// A value of many parts: a user-defined type, or an instance of one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Template {
    #[prost(string, optional, tag = "1")]
    pub(super) version: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub(super) metrics: Vec<Metric>,
    #[prost(message, repeated, tag = "3")]
    pub(super) parameters: Vec<Parameter>,
    #[prost(string, optional, tag = "4")]
    pub(super) template_ref: Option<String>,
    #[prost(bool, optional, tag = "5")]
    pub(super) is_definition: Option<bool>,
}

/// A parameter of a template.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Parameter {
    #[prost(string, optional, tag = "1")]
    pub(super) name: Option<String>,
    #[prost(uint32, optional, tag = "2")]
    pub(super) r#type: Option<u32>,
    #[prost(oneof = "ParameterVariant", tags = "3, 4, 5, 6, 7, 8")]
    pub(super) value: Option<ParameterVariant>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum ParameterVariant {
    #[prost(uint32, tag = "3")]
    Int(u32),
    #[prost(uint64, tag = "4")]
    Long(u64),
    #[prost(float, tag = "5")]
    Float(f32),
    #[prost(double, tag = "6")]
    Double(f64),
    #[prost(bool, tag = "7")]
    Boolean(bool),
    #[prost(string, tag = "8")]
    String(String),
}
