//! The head of an HTTP answer: of a proxy, or to the upgrade to WebSocket. Pure.

use httparse::{EMPTY_HEADER, Response, Status};

/// No head is larger.
pub(super) const HEAD_MAX_BYTES: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Characters of the peer's text that are told.
const TOLD_MAX: usize = 200;

/// Status and headers of an answer.
#[derive(Debug)]
pub(super) struct Head {
    /// The status code.
    pub(super) status: u16,
    phrase: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// The head at the beginning of `bytes`, and its length; `None` if there is more to come.
    ///
    /// # Errors
    /// That it is none, or too large, for people.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, &'static str> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut response = Response::new(&mut headers);
        match response.parse(bytes) {
            Ok(Status::Complete(length)) if length <= HEAD_MAX_BYTES => {
                let headers = response.headers.iter().map(|header| {
                    (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
                });
                let head = Self {
                    status: response.code.unwrap_or_default(),
                    phrase: response.reason.unwrap_or_default().to_owned(),
                    headers: headers.collect(),
                };
                Ok(Some((head, length)))
            }
            Ok(Status::Partial) if bytes.len() < HEAD_MAX_BYTES => Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => Err("an answer with too large a head"),
            Err(_) => Err("something other than HTTP"),
        }
    }

    /// The values of a header, in order.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.trim())
    }

    /// Whether a header, a list of words, has this one.
    pub(super) fn has_word(&self, name: &str, word: &str) -> bool {
        let mut words = self.values(name).flat_map(|value| value.split(','));
        words.any(|other| other.trim().eq_ignore_ascii_case(word))
    }

    /// The status, for people: `404 Not Found`.
    pub(super) fn told(&self) -> String {
        told(format!("{} {}", self.status, self.phrase).trim_end())
    }
}

/// The peer's text, without what could disturb a line, and not too long.
pub(super) fn told(text: &str) -> String {
    text.chars().take(TOLD_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_once_it_is_whole_and_what_is_behind_it_is_left() {
        let answer = b"HTTP/1.0 200 Connection established\r\nUpgrade: a , WebSocket\r\n\r\nbehind";
        let end = answer.len() - 6;
        for length in 0..end {
            assert!(Head::parse(&answer[..length]).expect("so far").is_none(), "{length}");
        }
        let (head, length) = Head::parse(answer).expect("a head").expect("whole");
        assert_eq!((head.told().as_str(), length), ("200 Connection established", end));
        assert!(head.has_word("upgrade", "websocket") && !head.has_word("upgrade", "web"));
    }

    #[test]
    fn no_head_and_too_large_a_head_are_told() {
        assert_eq!(
            Head::parse(b"\x20\x02\x00\x01").expect_err("MQTT"),
            "something other than HTTP"
        );
        let many = format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(100));
        assert!(Head::parse(many.as_bytes()).is_err());
        let long = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(HEAD_MAX_BYTES));
        assert!(Head::parse(long.as_bytes()).is_err());
    }
}
