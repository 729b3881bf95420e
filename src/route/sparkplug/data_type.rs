//! The data types of Sparkplug B: their names, and what numbers on the wire mean in them. Pure.

/// Names by number (Sparkplug 3.0, enum DataType).
const NAMES: [&str; 35] = [
    "Unknown",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float",
    "Double",
    "Boolean",
    "String",
    "DateTime",
    "Text",
    "UUID",
    "DataSet",
    "Bytes",
    "File",
    "Template",
    "PropertySet",
    "PropertySetList",
    "Int8Array",
    "Int16Array",
    "Int32Array",
    "Int64Array",
    "UInt8Array",
    "UInt16Array",
    "UInt32Array",
    "UInt64Array",
    "FloatArray",
    "DoubleArray",
    "BooleanArray",
    "StringArray",
    "DateTimeArray",
];

/// A data type by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataType(pub(super) u32);

impl DataType {
    /// What a metric or property says; 0 says nothing.
    pub(super) fn given(number: Option<u32>) -> Option<Self> {
        number.filter(|number| *number != 0).map(Self)
    }

    /// Its name, if the specification has it.
    pub(super) fn name(self) -> Option<&'static str> {
        usize::try_from(self.0).ok().and_then(|number| NAMES.get(number)).copied()
    }

    /// How many bits a signed integer of this type has.
    fn signed_bits(self) -> Option<u32> {
        match self.0 {
            1 => Some(8),
            2 => Some(16),
            3 => Some(32),
            4 => Some(64),
            _ => None,
        }
    }

    /// What the elements of an array are.
    pub(super) fn element(self) -> Option<Element> {
        Some(match self.0 {
            22 => Element::Int8,
            23 => Element::Int16,
            24 => Element::Int32,
            25 => Element::Int64,
            26 => Element::UInt8,
            27 => Element::UInt16,
            28 => Element::UInt32,
            29 => Element::UInt64,
            30 => Element::Float,
            31 => Element::Double,
            32 => Element::Boolean,
            33 => Element::String,
            34 => Element::DateTime,
            _ => return None,
        })
    }
}

/// What an array is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float,
    Double,
    Boolean,
    String,
    DateTime,
}

/// An integer of any type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    Signed(i64),
    Unsigned(u64),
}

/// What an integer on the wire, of `wire_bits` (32 or 64), is in its data type. The wire has unsigned ones alone.
/// Publishers write a negative Int8 in two ways: as its 8 bits, or extended to those of the wire. Both are understood;
/// a number that its type has no room for stays what it is on the wire.
pub(super) fn integer(raw: u64, wire_bits: u32, data_type: Option<DataType>) -> Integer {
    let Some(bits) = data_type.and_then(DataType::signed_bits) else {
        return Integer::Unsigned(raw);
    };
    let unused = 64 - bits;
    let folded = ((raw << unused).cast_signed()) >> unused;
    let is_its_bits = bits == 64 || raw >> bits == 0;
    let wire = 64 - wire_bits.clamp(1, 64);
    let extended = ((raw << wire).cast_signed()) >> wire;
    match is_its_bits || extended == folded {
        true => Integer::Signed(folded),
        false => Integer::Signed(extended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_on_the_wire_are_what_their_types_say() {
        let of = |raw, wire_bits, number| integer(raw, wire_bits, Some(DataType(number)));
        for (raw, wire_bits, number, expected) in [
            (0xFB, 32, 1, -5),
            (0xFFFF_FFFB, 32, 1, -5),
            (u64::MAX - 4, 64, 1, -5),
            (0x7F, 32, 1, 127),
            (0x80, 32, 1, -128),
            (300, 32, 1, 300),
            (0xFFFF_8000, 32, 2, -32_768),
            (0x8000, 32, 2, -32_768),
            (0xFFFF_FFFF, 32, 3, -1),
            (0xFFFF_FFFF, 64, 3, -1),
            (u64::MAX, 64, 3, -1),
            (u64::MAX, 64, 4, -1),
            (1 << 63, 64, 4, i64::MIN),
            (0xFFFF_FFFF, 32, 4, 0xFFFF_FFFF),
        ] {
            assert_eq!(of(raw, wire_bits, number), Integer::Signed(expected), "{raw:x} {number}");
        }
        assert_eq!(of(u64::MAX, 64, 8), Integer::Unsigned(u64::MAX));
        assert_eq!(of(0xFFFF_FFFF, 32, 7), Integer::Unsigned(0xFFFF_FFFF));
        assert_eq!(integer(0xFB, 32, None), Integer::Unsigned(0xFB));
    }

    #[test]
    fn each_number_of_the_specification_has_its_name() {
        let name = |number| DataType(number).name();
        assert_eq!((name(0), name(1), name(11)), (Some("Unknown"), Some("Int8"), Some("Boolean")));
        assert_eq!((name(19), name(34)), (Some("Template"), Some("DateTimeArray")));
        assert_eq!(name(35), None);
        let arrays = (0..=40).filter(|number| DataType(*number).element().is_some());
        assert!(arrays.eq((0..35).filter(|number| name(*number).unwrap().ends_with("Array"))));
    }
}
