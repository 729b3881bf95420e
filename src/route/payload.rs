//! How a payload becomes a record's value.

use bytes::Bytes;

use super::envelope::envelope;
use super::input::View;
use super::json_document::extract_json;

/// The reason code of a payload that is not one JSON document, on a route that expects one.
pub const NOT_JSON: &str = "payload_not_json";
/// The reason code of a payload that is not UTF-8, on a route that expects text.
pub const NOT_TEXT: &str = "payload_not_text";
/// The reason code of a message that cannot be put into an envelope.
pub const NOT_ENVELOPED: &str = "envelope_impossible";

/// A route's `payload` key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PayloadForm {
    /// `"raw"`: the bytes, untouched.
    #[default]
    Raw,
    /// `"json"`: exactly one JSON document (RFC 8259). It is validated; a byte order mark, white space
    /// and trailing NULs, which firmware likes to add, are removed, and its own bytes stay unchanged.
    Json,
    /// `"text"`: UTF-8. It is validated, and its bytes stay unchanged.
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
    /// A reason code, and what was found and expected, if the payload is not of this form.
    pub fn apply(self, view: &View<'_>) -> Result<Bytes, (&'static str, String)> {
        match self {
            Self::Raw | Self::Sparkplug => Ok(view.body.clone()),
            Self::Text => check_text(&view.body).map_err(|detail| (NOT_TEXT, detail)),
            Self::Json => extract_json(&view.body).map_err(|detail| (NOT_JSON, detail)),
            Self::Envelope => envelope(view).map_err(|detail| (NOT_ENVELOPED, detail)),
        }
    }
}

fn check_text(payload: &Bytes) -> Result<Bytes, String> {
    match std::str::from_utf8(payload) {
        Ok(_) => Ok(payload.clone()),
        Err(error) => Err(format!("expected text of UTF-8, found {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_any_utf_8_and_stays_as_it_is() {
        for payload in [&b""[..], b"21,5 \xC2\xB0C\n", b"\x00", b"\xEF\xBB\xBFa"] {
            let payload = Bytes::from_static(payload);
            assert_eq!(check_text(&payload), Ok(payload));
        }
        for payload in [&b"\xff"[..], b"a\xC2", b"\xED\xA0\x80"] {
            let detail = check_text(&Bytes::from_static(payload)).expect_err("not UTF-8");
            assert!(detail.starts_with("expected text of UTF-8, found "), "{detail}");
        }
    }
}
