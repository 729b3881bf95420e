//! How much a payload may hold, found before it is decoded: two bytes of protobuf can be an empty metric, which is a
//! hundred in memory. Pure.

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Most messages of protobuf in one payload: metrics, property values, rows, cells, parameters.
pub(super) const PARTS_MAX: usize = 250_000;
/// How deep they may lie in each other. A template in a template is two; so is a property set in a property set.
pub(super) const DEPTH_MAX: usize = 32;

/// What a message of protobuf is, as far as it holds others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Payload,
    Metric,
    PropertySet,
    PropertyValue,
    PropertySets,
    DataSet,
    Row,
    Template,
    Leaf,
}

impl Part {
    /// What its field of this number is, if it is a message.
    fn at(self, number: u32) -> Option<Self> {
        match (self, number) {
            (Self::Payload | Self::Template, 2) => Some(Self::Metric),
            (Self::Metric, 8) | (Self::Template, 3) | (Self::Row, 1) => Some(Self::Leaf),
            (Self::Metric, 9) | (Self::PropertyValue, 9) | (Self::PropertySets, 1) => {
                Some(Self::PropertySet)
            }
            (Self::PropertySet, 2) => Some(Self::PropertyValue),
            (Self::PropertyValue, 10) => Some(Self::PropertySets),
            (Self::Metric, 17) => Some(Self::DataSet),
            (Self::Metric, 18) => Some(Self::Template),
            (Self::DataSet, 4) => Some(Self::Row),
            _ => None,
        }
    }
}

/// Refuses a payload that would take too much memory or stack.
///
/// # Errors
/// What it has too much of, or where it is not protobuf.
pub(super) fn check(payload: &[u8]) -> Result<(), String> {
    let mut parts = 0;
    walk(payload, Part::Payload, 0, &mut parts)
}

fn walk(mut bytes: &[u8], part: Part, depth: usize, parts: &mut usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("metrics, templates and properties lie deeper than {DEPTH_MAX}"));
    }
    if part == Part::Leaf {
        return Ok(());
    }
    let malformed = |error: prost::DecodeError| format!("expected protobuf, found: {error}");
    while bytes.has_remaining() {
        let (number, wire_type) = decode_key(&mut bytes).map_err(malformed)?;
        match part.at(number) {
            Some(inner) if wire_type == WireType::LengthDelimited => {
                *parts += 1;
                if *parts > PARTS_MAX {
                    return Err(format!("more than {PARTS_MAX} metrics and parts of metrics"));
                }
                let length = decode_varint(&mut bytes).map_err(malformed)?;
                let end = usize::try_from(length).unwrap_or(usize::MAX);
                let (inside, behind) = bytes.split_at_checked(end).ok_or_else(|| {
                    format!(
                        "expected protobuf, found a length of {length} with {} bytes left",
                        bytes.len()
                    )
                })?;
                walk(inside, inner, depth + 1, parts)?;
                bytes = behind;
            }
            _ => skip_field(wire_type, number, &mut bytes, DecodeContext::default())
                .map_err(malformed)?,
        }
    }
    Ok(())
}
