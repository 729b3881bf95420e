//! The one JSON document that a payload is. Pure.

use bytes::Bytes;
use serde::de::IgnoredAny;

/// The JSON document of a payload, without what stands around it.
///
/// # Errors
/// What was found and expected.
pub fn extract_json(payload: &Bytes) -> Result<Bytes, String> {
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
