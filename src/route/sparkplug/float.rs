//! Floating-point numbers in JSON, which has no number for some of them: those are text, "NaN", "Infinity" and
//! "-Infinity", as in the JSON form of protobuf. Pure.

use serde::ser::{Serialize, Serializer};

/// A number of 32 bits, in as many digits as tell it from others of 32 bits.
pub(super) struct Single(pub(super) f32);

/// A number of 64 bits.
pub(super) struct Double(pub(super) f64);

impl Serialize for Single {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match name(self.0.into()) {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_f32(self.0),
        }
    }
}

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match name(self.0) {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_f64(self.0),
        }
    }
}

fn name(number: f64) -> Option<&'static str> {
    if number.is_nan() {
        Some("NaN")
    } else if number == f64::INFINITY {
        Some("Infinity")
    } else if number == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}
