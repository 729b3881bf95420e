//! Against what Amazon's own signer makes (tests/vectors/msk_iam.py).

use serde::Deserialize;

use super::*;
use crate::config::Secret;

#[derive(Deserialize)]
struct Vector {
    region: String,
    now_s: u64,
    key_id: String,
    secret: String,
    session_token: Option<String>,
    user_agent: String,
    token: String,
    expires_at_ms: i64,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/msk_iam.json"));
    serde_json::from_str(text).expect("vectors")
}

fn credentials(vector: &Vector) -> Credentials {
    Credentials {
        key_id: vector.key_id.clone(),
        secret: Secret::new(vector.secret.clone()),
        session_token: vector.session_token.clone().map(Secret::new),
        expires_at: None,
    }
}

#[test]
fn the_token_is_the_one_of_amazon_s_signer() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let (credentials, now) = (credentials(&vector), Duration::from_secs(vector.now_s));
        // A part of a second is not signed.
        let now = now + Duration::from_millis(900);
        let token = token(&credentials, &vector.region, now, &vector.user_agent).expect("signed");
        assert_eq!(token.value().to_str(), Ok(&*vector.token), "{}", vector.region);
        assert_eq!(token.expires_at_ms(), vector.expires_at_ms);
    }
}

#[test]
fn a_token_ends_with_its_credentials_and_says_who_signed() {
    let vector = &vectors()[0];
    let now = Duration::from_secs(vector.now_s);
    let expires_at = Some(now + Duration::from_secs(60));
    let credentials = Credentials { expires_at, ..credentials(vector) };
    let token = token(&credentials, &vector.region, now, USER_AGENT).expect("signed");
    assert_eq!(token.expires_at_ms(), (vector.now_s as i64 + 60) * 1000);
    let url = URL_SAFE_NO_PAD.decode(token.value().to_bytes()).expect("base64");
    let url = String::from_utf8(url).expect("UTF-8");
    let version = env!("CARGO_PKG_VERSION");
    assert!(url.ends_with(&format!("&User-Agent=mqtt-kafka-bridge%2F{version}")), "{url}");
}
