//! How much a payload may hold, found before it is decoded: two bytes of protobuf can be an empty metric, which is a
//! hundred in memory. Pure.

use bytes::Buf as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// Most parts of one payload: its messages of protobuf (metrics, property values, rows, cells, parameters), and the
/// names and numbers of its lists (keys of properties, columns and their types).
pub(super) const PARTS_MAX: usize = 250_000;
/// How deep they may lie in each other. A template in a template is two; so is a property set in a property set.
pub(super) const DEPTH_MAX: usize = 32;

/// What a field is that makes memory many times its size on the wire.
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
    /// A message or a text that holds nothing of the kind.
    Leaf,
    /// Numbers of a list: one, or many packed into one field.
    Numbers,
}

impl Part {
    /// What its field of this number is.
    fn at(self, number: u32) -> Option<Self> {
        match (self, number) {
            (Self::Payload | Self::Template, 2) => Some(Self::Metric),
            (Self::Metric, 8) | (Self::Template, 3) | (Self::Row, 1) => Some(Self::Leaf),
            (Self::PropertySet, 1) | (Self::DataSet, 2) => Some(Self::Leaf),
            (Self::DataSet, 3) => Some(Self::Numbers),
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

fn count(parts: &mut usize, more: usize) -> Result<(), String> {
    *parts += more;
    if *parts > PARTS_MAX {
        return Err(format!("more than {PARTS_MAX} metrics and parts of metrics"));
    }
    Ok(())
}

fn walk(mut bytes: &[u8], part: Part, depth: usize, parts: &mut usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("metrics, templates and properties lie deeper than {DEPTH_MAX}"));
    }
    if matches!(part, Part::Leaf | Part::Numbers) {
        return Ok(());
    }
    let malformed = |error: prost::DecodeError| format!("expected protobuf, found: {error}");
    while bytes.has_remaining() {
        let (number, wire_type) = decode_key(&mut bytes).map_err(malformed)?;
        match part.at(number) {
            Some(inner) if wire_type == WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map_err(malformed)?;
                let end = usize::try_from(length).unwrap_or(usize::MAX);
                let (inside, behind) = bytes.split_at_checked(end).ok_or_else(|| {
                    format!(
                        "expected protobuf, found a length of {length} with {} bytes left",
                        bytes.len()
                    )
                })?;
                // A packed number has a byte at least.
                count(parts, if inner == Part::Numbers { inside.len() } else { 1 })?;
                walk(inside, inner, depth + 1, parts)?;
                bytes = behind;
            }
            Some(Part::Numbers) => {
                count(parts, 1)?;
                skip_field(wire_type, number, &mut bytes, DecodeContext::default())
                    .map_err(malformed)?;
            }
            _ => skip_field(wire_type, number, &mut bytes, DecodeContext::default())
                .map_err(malformed)?,
        }
    }
    Ok(())
}
