//! A token for SASL OAUTHBEARER. Pure.

use std::ffi::CString;
use std::fmt;
use std::time::Duration;

/// A token, as librdkafka takes it. No output shows it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token {
    value: CString,
    /// Until when it is valid, in milliseconds since 1970.
    expires_at_ms: i64,
    principal: CString,
    /// Name and value in turn.
    extensions: Vec<CString>,
}

impl Token {
    /// # Errors
    /// A character that no token has.
    pub(super) fn new(
        value: &str,
        expires_at_ms: i64,
        principal: &str,
        extensions: &[(String, String)],
    ) -> Result<Self, String> {
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("expected a token of visible ASCII characters".to_owned());
        }
        let text = |text: &str| CString::new(text).map_err(|_| "found a NUL character".to_owned());
        let both = extensions.iter().flat_map(|(name, value)| [name, value]);
        Ok(Self {
            value: text(value)?,
            expires_at_ms,
            principal: text(principal)?,
            extensions: both.map(|part| text(part)).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn value(&self) -> &CString {
        &self.value
    }

    pub(super) fn expires_at_ms(&self) -> i64 {
        self.expires_at_ms
    }

    pub(super) fn principal(&self) -> &CString {
        &self.principal
    }

    pub(super) fn extensions(&self) -> &[CString] {
        &self.extensions
    }

    /// After how long the next one is to be fetched: 80 % of what is left of its lifetime.
    pub(super) fn refresh_after(&self, now_ms: i64) -> Duration {
        let left_ms = u64::try_from(self.expires_at_ms - now_ms).unwrap_or_default();
        Duration::from_millis(left_ms).mul_f64(0.8)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires_at_ms", &self.expires_at_ms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_after_four_fifths_of_its_time_and_never_shown() {
        let token = Token::new("eyJhunter2", 101_000, "bridge", &[]).expect("legal");
        assert_eq!(token.refresh_after(1_000), Duration::from_secs(80));
        assert_eq!(token.refresh_after(200_000), Duration::ZERO);
        assert!(!format!("{token:?}").contains("hunter2"));
        for value in ["", "a b", "a\u{1}", "ä"] {
            Token::new(value, 1, "bridge", &[]).expect_err(value);
        }
    }
}
