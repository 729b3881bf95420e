//! Decodes the bytes of a file as UTF-8, and names other encodings.

const UTF8_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The text of a configuration file, without the byte order mark that some editors write.
///
/// # Errors
/// What was found instead of UTF-8, without the content.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, String> {
    utf8(bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes))
}

/// The text of a file with a secret. A byte order mark is refused: it is probably not part of the secret,
/// but a secret is never changed.
///
/// # Errors
/// As [`decode`].
pub(super) fn decode_secret(bytes: &[u8]) -> Result<&str, String> {
    if bytes.starts_with(UTF8_MARK) {
        return Err("expected UTF-8 without a byte order mark, found one".to_owned());
    }
    utf8(bytes)
}

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    if is_utf16(bytes) {
        return Err("expected UTF-8, found UTF-16: save the file as UTF-8".to_owned());
    }
    std::str::from_utf8(bytes).map_err(|_| "expected UTF-8, found other bytes".to_owned())
}

/// By its byte order mark, or because every other byte at the beginning is 0, as in ASCII.
fn is_utf16(bytes: &[u8]) -> bool {
    /// So many characters in a row are not a coincidence.
    const CHARACTERS: usize = 2;
    let begins_as = |zero_at: usize| {
        let pairs = bytes.chunks_exact(2).take(CHARACTERS);
        pairs.len() == CHARACTERS
            && pairs.clone().all(|pair| pair[zero_at] == 0 && pair[1 - zero_at] != 0)
    };
    matches!(bytes, [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..]) || begins_as(0) || begins_as(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, mark: bool, to_bytes: impl Fn(u16) -> [u8; 2]) -> Vec<u8> {
        let mark = mark.then_some('\u{feff}');
        mark.into_iter().chain(text.chars()).flat_map(|c| to_bytes(c as u16)).collect()
    }

    #[test]
    fn utf_16_is_called_by_its_name_and_nothing_of_it_is_shown() {
        for mark in [true, false] {
            for bytes in
                [utf16("hunter2", mark, u16::to_le_bytes), utf16("hunter2", mark, u16::to_be_bytes)]
            {
                for decode in [decode, decode_secret] {
                    let error = decode(&bytes).expect_err("no UTF-8");
                    assert_eq!(error, "expected UTF-8, found UTF-16: save the file as UTF-8");
                }
            }
        }
        assert_eq!(decode(b"\xffx"), Err("expected UTF-8, found other bytes".to_owned()));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_configuration_and_refused_in_a_secret() {
        assert_eq!(decode(b"\xEF\xBB\xBFa = 1"), Ok("a = 1"));
        let refused = "expected UTF-8 without a byte order mark, found one";
        assert_eq!(decode_secret(b"\xEF\xBB\xBFhunter2"), Err(refused.to_owned()));
        assert_eq!(decode_secret("h\u{fc}nter".as_bytes()), Ok("h\u{fc}nter"));
        assert_eq!(decode_secret(b"a"), Ok("a"));
    }
}
