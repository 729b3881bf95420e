//! The token, the cookie that stands for it in a browser, and how often it may be guessed in the form.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::sha::sha256;
use openssl::sign::Signer;
use parking_lot::Mutex;

/// The shortest token: nothing bounds how fast it can be guessed in the header.
const TOKEN_MIN: usize = 16;
/// How long a login in a browser lasts.
pub(super) const LOGIN_LASTS: Duration = Duration::from_secs(12 * 60 * 60);
/// Attempts in the form: so many at once, and then one in [`ATTEMPT_EVERY`].
const ATTEMPTS: u32 = 5;
const ATTEMPT_EVERY: Duration = Duration::from_secs(3);

/// The token of `http.token_file`, as its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token([u8; 32]);

impl Token {
    /// Reads the file; space and line ends around the token do not belong to it.
    ///
    /// # Errors
    /// A readable sentence.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let place = path.display();
        let text = fs::read_to_string(path)
            .map_err(|error| format!("http.token_file: cannot read {place}: {error}"))?;
        let text = text.trim();
        match text.chars().count() {
            TOKEN_MIN.. => Ok(Self(sha256(text.as_bytes()))),
            count => Err(format!(
                "http.token_file: expected at least {TOKEN_MIN} characters in {place}, found {count}"
            )),
        }
    }

    /// Whether this is the token. Takes the same time whatever it is.
    fn is(&self, text: &str) -> bool {
        memcmp::eq(&self.0, &sha256(text.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// See the module.
///
/// A cookie says when it ends, and proves by HMAC-SHA-256 that this process gave it out for the token that
/// is in force now: a new token, or a new process, asks everybody again. The key is known to nobody, so that
/// a cookie does not help to guess the token.
pub(super) struct Logins {
    token: Mutex<Token>,
    key: PKey<Private>,
    /// The end of a cookie is in seconds from here.
    origin: Instant,
    attempts: Mutex<Attempts>,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

impl Logins {
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new(token: Token) -> Result<Self, ErrorStack> {
        let mut key = [0; 32];
        rand_bytes(&mut key)?;
        let (key, origin) = (PKey::hmac(&key)?, Instant::now());
        Ok(Self { token: Mutex::new(token), key, origin, attempts: Attempts::new(origin).into() })
    }

    /// The file has another token now.
    pub(super) fn replace(&self, token: Token) {
        *self.token.lock() = token;
    }

    /// Whether this value of the header Authorization has the token (RFC 6750, section 2.1).
    pub(super) fn is_bearer(&self, header: &str) -> bool {
        let Some((scheme, token)) = header.split_once(' ') else { return false };
        scheme.eq_ignore_ascii_case("bearer") && self.token.lock().is(token.trim())
    }

    /// Whether the form has the right token; `None`: there were too many attempts, this one is not looked
    /// at.
    pub(super) fn attempt(&self, token: &str, now: Instant) -> Option<bool> {
        self.attempts.lock().pass(now).then(|| self.token.lock().is(token.trim()))
    }

    /// A cookie for a browser that has shown the token.
    ///
    /// # Errors
    /// OpenSSL cannot compute an HMAC.
    pub(super) fn cookie(&self, now: Instant) -> Result<String, ErrorStack> {
        let end = (self.elapsed(now) + LOGIN_LASTS).as_secs();
        Ok(format!("{end}-{}", self.proof(end)?))
    }

    /// Whether it is a cookie of ours that has not ended.
    pub(super) fn is_cookie(&self, cookie: &str, now: Instant) -> bool {
        let Some((end, given)) = cookie.split_once('-') else { return false };
        let Ok(end) = end.parse::<u64>() else { return false };
        let Ok(proof) = self.proof(end) else { return false };
        let is_ours = given.len() == proof.len() && memcmp::eq(given.as_bytes(), proof.as_bytes());
        is_ours && self.elapsed(now).as_secs() < end
    }

    fn proof(&self, end: u64) -> Result<String, ErrorStack> {
        let token = *self.token.lock();
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key)?;
        signer.update(&token.0)?;
        signer.update(&end.to_be_bytes())?;
        let proof = signer.sign_to_vec()?;
        Ok(proof.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }
}

/// Bounds the attempts of all clients together.
#[derive(Debug)]
struct Attempts {
    left: u32,
    /// Since when the next one has been growing.
    since: Instant,
}

impl Attempts {
    fn new(now: Instant) -> Self {
        Self { left: ATTEMPTS, since: now }
    }

    fn pass(&mut self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.since);
        let grown = u32::try_from(waited.as_millis() / ATTEMPT_EVERY.as_millis());
        let grown = grown.unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(grown).min(ATTEMPTS);
        match self.left {
            ATTEMPTS => self.since = now,
            _ => self.since += ATTEMPT_EVERY * grown,
        }
        let pass = self.left > 0;
        self.left = self.left.saturating_sub(1);
        pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef-right";

    fn logins() -> Logins {
        Logins::new(Token(sha256(TOKEN.as_bytes()))).expect("random bytes")
    }

    #[test]
    fn the_token_is_what_the_file_has_between_space() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        let read = |text: &str| {
            fs::write(&path, text).expect("written");
            Token::read(&path)
        };
        assert!(read(&format!("\n {TOKEN}\r\n")).expect("a token").is(TOKEN));
        let short = read("fifteen-letters\n").expect_err("too short");
        assert!(short.contains("at least 16 characters in /"), "{short}");
        assert!(short.ends_with("found 15") && !short.contains("letters"), "{short}");
        assert!(read("").is_err());
        let missing = Token::read(&directory.path().join("none")).expect_err("missing");
        assert!(missing.starts_with("http.token_file: cannot read /"), "{missing}");
    }

    #[test]
    fn only_the_right_token_in_the_right_form_is_taken() {
        let logins = logins();
        for right in [format!("Bearer {TOKEN}"), format!("bearer  {TOKEN} ")] {
            assert!(logins.is_bearer(&right), "{right}");
        }
        let wrong = [
            TOKEN.to_owned(),
            format!("Basic {TOKEN}"),
            format!("Bearer {TOKEN}x"),
            format!("Bearer {}", &TOKEN[1..]),
            "Bearer ".to_owned(),
            String::new(),
        ];
        for wrong in wrong {
            assert!(!logins.is_bearer(&wrong), "{wrong}");
        }
    }

    #[test]
    fn a_cookie_lasts_until_its_end_or_until_the_token_changes() {
        let logins = logins();
        let now = logins.origin + Duration::from_secs(100);
        let cookie = logins.cookie(now).expect("HMAC");
        assert!(!cookie.contains(TOKEN));
        assert!(logins.is_cookie(&cookie, now));
        let almost = now + LOGIN_LASTS - Duration::from_secs(1);
        assert!(logins.is_cookie(&cookie, almost));
        assert!(!logins.is_cookie(&cookie, now + LOGIN_LASTS));
        let (end, proof) = cookie.split_once('-').expect("two parts");
        let longer = end.parse::<u64>().expect("a number") + 1;
        let another = super::tests::logins();
        for forged in [
            format!("{longer}-{proof}"),
            format!("{end}-{}", "0".repeat(64)),
            format!("{end}-"),
            end.to_owned(),
            TOKEN.to_owned(),
            String::new(),
            another.cookie(now).expect("HMAC"),
        ] {
            assert!(!logins.is_cookie(&forged, now), "{forged}");
        }
        logins.replace(Token(sha256(b"another token")));
        assert!(!logins.is_cookie(&cookie, now));
        assert!(!logins.is_bearer(&format!("Bearer {TOKEN}")));
    }

    #[test]
    fn attempts_in_the_form_are_bounded() {
        let logins = logins();
        let start = logins.origin;
        for _ in 0..ATTEMPTS {
            assert_eq!(logins.attempt("wrong", start), Some(false));
        }
        assert_eq!(logins.attempt(TOKEN, start), None, "the right one has to wait too");
        assert_eq!(logins.attempt(TOKEN, start + ATTEMPT_EVERY / 2), None);
        assert_eq!(logins.attempt(TOKEN, start + ATTEMPT_EVERY), Some(true));
        assert_eq!(logins.attempt(TOKEN, start + ATTEMPT_EVERY), None);
        let later = start + ATTEMPT_EVERY * 1_000;
        let passed = (0..100).filter(|_| logins.attempt("wrong", later).is_some()).count();
        assert_eq!(passed, ATTEMPTS as usize);
        let ever =
            (1..=100).filter(|n| logins.attempt("", later + ATTEMPT_EVERY * *n / 10).is_some());
        assert_eq!(ever.count(), 10, "ten in the time of ten");
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let token = Token(sha256(TOKEN.as_bytes()));
        assert_eq!(format!("{token:?} {:?}", logins()), "[redacted] Logins { .. }");
    }
}
