//! The token of Amazon MSK's IAM login: a presigned URL (AWS Signature Version 4, query parameters) of the
//! action `kafka-cluster:Connect`, in base64. Pure.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::aws_credentials::Credentials;
use crate::kafka::token::Token;

/// How Amazon MSK sees who signed.
pub(super) const USER_AGENT: &str = concat!("mqtt-kafka-bridge/", env!("CARGO_PKG_VERSION"));
/// What Amazon MSK allows.
const LIFETIME: Duration = Duration::from_secs(900);
const SERVICE: &str = "kafka-cluster";
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The token of these credentials, signed at `now` (since 1970).
///
/// # Errors
/// OpenSSL's.
pub(super) fn token(
    credentials: &Credentials,
    region: &str,
    now: Duration,
    user_agent: &str,
) -> Result<Token, String> {
    let url = signed_url(credentials, region, now.as_secs(), user_agent)
        .map_err(|error| format!("cannot sign the token: {error}"))?;
    // The credentials may end before.
    let expires_at = Duration::from_secs(now.as_secs()) + LIFETIME;
    let expires_at = credentials.expires_at.map_or(expires_at, |end| end.min(expires_at));
    let expires_at_ms = i64::try_from(expires_at.as_millis()).unwrap_or(i64::MAX);
    Token::new(&URL_SAFE_NO_PAD.encode(url), expires_at_ms, &credentials.key_id, &[])
}

fn signed_url(
    credentials: &Credentials,
    region: &str,
    now_s: u64,
    user_agent: &str,
) -> Result<String, openssl::error::ErrorStack> {
    let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let host = format!("kafka.{region}.amazonaws.com");
    let (date, time) = date_and_time(now_s);
    let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
    let first = format!(
        "Action={}&X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date={time}&X-Amz-Expires={}",
        encoded("kafka-cluster:Connect"),
        encoded(&format!("{}/{scope}", credentials.key_id)),
        LIFETIME.as_secs(),
    );
    let headers = "&X-Amz-SignedHeaders=host";
    let session = credentials.session_token.as_ref();
    let session = session.map_or_else(String::new, |token| {
        format!("&X-Amz-Security-Token={}", encoded(token.expose()))
    });
    // What is signed is in the order of the names; the URL is as Amazon's signer writes it.
    let query = format!("{first}{session}{headers}");
    let request = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{}", hex(&Sha256::digest("")));
    let to_sign = format!("{ALGORITHM}\n{time}\n{scope}\n{}", hex(&Sha256::digest(request)));
    let mut key = format!("AWS4{}", credentials.secret.expose()).into_bytes();
    for part in [&*date, region, SERVICE, "aws4_request"] {
        key = hmac(&key, part)?;
    }
    let signature = hex(&hmac(&key, &to_sign)?);
    Ok(format!(
        "https://{host}/?{first}{headers}{session}&X-Amz-Signature={signature}&User-Agent={}",
        encoded(user_agent)
    ))
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>, openssl::error::ErrorStack> {
    Signer::new(MessageDigest::sha256(), &*PKey::hmac(key)?)?.sign_oneshot_to_vec(text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20261126` and `20261126T160000Z`.
fn date_and_time(now_s: u64) -> (String, String) {
    let now = std::time::UNIX_EPOCH + Duration::from_secs(now_s);
    let text = humantime::format_rfc3339_seconds(now).to_string().replace(['-', ':'], "");
    (text.chars().take(8).collect(), text)
}

#[cfg(test)]
#[path = "msk_iam_tests.rs"]
mod tests;
