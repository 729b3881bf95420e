//! How a payload becomes a record's value.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::input::View;

/// The reason code of a payload that its route's form refuses.
pub const REFUSED: &str = "payload_not_json";

/// A route's `payload` key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PayloadForm {
    /// `"raw"`: the bytes, untouched.
    #[default]
    Raw,
    /// `"json"`: exactly one JSON document (RFC 8259). It is validated; a byte order mark, white space
    /// and trailing NULs, which firmware likes to add, are removed, and its own bytes stay unchanged.
    Json,
    /// `"text"`: UTF-8.
    Text,
    /// `"envelope"`: a JSON object of the message and what MQTT says of it.
    Envelope,
    /// `"sparkplug"`: Sparkplug B, as JSON.
    Sparkplug,
}

impl PayloadForm {
    /// The record's value.
    ///
    /// # Errors
    /// What was found and expected, if the payload is not of this form.
    pub fn apply(self, view: &View<'_>) -> Result<Bytes, String> {
        match self {
            Self::Raw | Self::Text | Self::Envelope | Self::Sparkplug => Ok(view.body.clone()),
            Self::Json => extract_json(&view.body),
        }
    }
}

fn extract_json(payload: &Bytes) -> Result<Bytes, String> {
    let padding = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0);
    let body = payload.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(payload);
    let leading = payload.len() - body.len()
        + body.iter().take_while(|byte| padding(byte) && **byte != 0).count();
    let trailing = payload[leading..].iter().rev().take_while(|byte| padding(byte)).count();
    let document = payload.slice(leading..payload.len() - trailing);
    match serde_json::from_slice::<IgnoredAny>(&document) {
        // IgnoredAny does not check strings for UTF-8 (RFC 8259, 8.1).
        Ok(IgnoredAny) => match std::str::from_utf8(&document) {
            Ok(_) => Ok(document),
            Err(error) => Err(format!("expected one JSON document, found {error}")),
        },
        Err(error) => Err(format!("expected one JSON document, found {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(payload: &'static [u8]) -> Result<Bytes, String> {
        extract_json(&Bytes::from_static(payload))
    }

    #[test]
    fn json_is_extracted_from_its_padding_and_otherwise_untouched() {
        assert_eq!(json(b"{\"a\": 1.0}"), Ok(Bytes::from_static(b"{\"a\": 1.0}")));
        assert_eq!(json(b"\xEF\xBB\xBF \n[1, 2]\r\n\x00"), Ok(Bytes::from_static(b"[1, 2]")));
        assert_eq!(json(b"21.5"), Ok(Bytes::from_static(b"21.5")));
    }

    #[test]
    fn what_is_not_one_json_document_is_refused() {
        for payload in [&b""[..], b"\x00", b"21,5", b"{} {}", b"nul", b"\"\xff\"", b"\x00{}"] {
            assert!(json(payload).is_err(), "{payload:?}");
        }
    }
}
