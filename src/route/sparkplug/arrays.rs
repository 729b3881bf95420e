//! Arrays of one data type, which Sparkplug packs into bytes: numbers little-endian and without anything between;
//! booleans as a count and bits; strings each with a NUL behind it. Pure.

use serde::ser::{Error as _, Serialize, Serializer};

use super::data_type::Element;
use super::float::{Double, Single};

/// A packed array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Array<'a> {
    pub(super) element: Element,
    pub(super) bytes: &'a [u8],
}

impl Serialize for Array<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.element {
            Element::Int8 => self.numbers(serializer, i8::from_le_bytes),
            Element::Int16 => self.numbers(serializer, i16::from_le_bytes),
            Element::Int32 => self.numbers(serializer, i32::from_le_bytes),
            Element::Int64 => self.numbers(serializer, i64::from_le_bytes),
            Element::UInt8 => self.numbers(serializer, u8::from_le_bytes),
            Element::UInt16 => self.numbers(serializer, u16::from_le_bytes),
            Element::UInt32 => self.numbers(serializer, u32::from_le_bytes),
            Element::UInt64 | Element::DateTime => self.numbers(serializer, u64::from_le_bytes),
            Element::Float => self.numbers(serializer, |bytes| Single(f32::from_le_bytes(bytes))),
            Element::Double => self.numbers(serializer, |bytes| Double(f64::from_le_bytes(bytes))),
            Element::Boolean => self.booleans(serializer),
            Element::String => self.strings(serializer),
        }
    }
}

impl Array<'_> {
    fn numbers<S: Serializer, T: Serialize, const SIZE: usize>(
        &self,
        serializer: S,
        number: impl Fn([u8; SIZE]) -> T,
    ) -> Result<S::Ok, S::Error> {
        let (numbers, rest) = self.bytes.as_chunks::<SIZE>();
        if !rest.is_empty() {
            return Err(S::Error::custom(format!(
                "an array of {:?}: expected a multiple of {SIZE} bytes, found {}",
                self.element,
                self.bytes.len()
            )));
        }
        serializer.collect_seq(numbers.iter().map(|bytes| number(*bytes)))
    }

    /// Four bytes of their number, then one bit for each, from the highest of each byte on.
    fn booleans<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let counted = self.bytes.split_first_chunk().and_then(|(count, bits)| {
            let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
            (count.div_ceil(8) == bits.len()).then_some((count, bits))
        });
        let Some((count, bits)) = counted else {
            return Err(S::Error::custom(format!(
                "an array of Boolean: expected four bytes of their number and a bit for each, \
                 found {} bytes",
                self.bytes.len()
            )));
        };
        let each = bits.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0));
        serializer.collect_seq(each.take(count))
    }

    fn strings<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = std::str::from_utf8(self.bytes)
            .map_err(|error| S::Error::custom(format!("an array of String: {error}")))?;
        // The NUL ends each of them. Some publishers leave out the last one.
        match text.strip_suffix('\0').unwrap_or(text) {
            "" if self.bytes.is_empty() => serializer.collect_seq([""; 0]),
            texts => serializer.collect_seq(texts.split('\0')),
        }
    }
}
