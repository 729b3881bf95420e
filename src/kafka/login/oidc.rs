//! Fetches a token by OIDC client credentials (RFC 6749, section 4.4), as librdkafka does with curl.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use url::form_urlencoded::Serializer;

use super::web::{self, Answer};
use crate::config::{Oidc, Secrets};
use crate::kafka::token::Token;

/// How long the endpoint may take, name lookup and TLS included.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How the client says who it is (RFC 6749, section 2.3.1): in a header, which every server must
/// understand, and else in the body, which is all that some understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Header,
    Body,
}

/// A new token; `now` since 1970.
///
/// # Errors
/// What the endpoint said, or why there was no answer.
pub(super) fn fetch(oidc: &Oidc, now: Duration) -> Result<Token, String> {
    let authorities = match (&oidc.ca_file, &oidc.ca_pem) {
        (Some(path), _) => Some(web::authorities_in(path)?),
        (None, Some(pem)) => Some(
            web::authorities_of(pem.as_bytes())
                .map_err(|error| format!("https.ca.pem: {error}"))?,
        ),
        (None, None) => None,
    };
    let agent = web::agent(ANSWER_WITHIN, authorities, false);
    let ask = |by| {
        let mut request = agent
            .post(&oidc.endpoint)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Accept", "application/json");
        if by == By::Header {
            request = request.header("Authorization", header(oidc));
        }
        web::answer(request.send(form(oidc, by)))
    };
    let told =
        |why: String| format!("token endpoint {}: {why}: see sasl.oauthbearer.*", oidc.endpoint);
    let first = ask(By::Header).map_err(told)?;
    let answer = match read(oidc, &first, now) {
        // RFC 6749, section 5.2: 400, or 401 for a client that is not known this way.
        Err(why) if matches!(first.status, 400 | 401) => {
            let second = ask(By::Body).map_err(told)?;
            // What it says about the usual way is worth more.
            read(oidc, &second, now).map_err(|_| why)
        }
        read => read,
    };
    answer.map_err(told)
}

fn header(oidc: &Oidc) -> String {
    let login = format!("{}:{}", oidc.client_id, oidc.client_secret.expose());
    format!("Basic {}", STANDARD.encode(login))
}

fn form(oidc: &Oidc, by: By) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if let Some(scope) = &oidc.scope {
        form.append_pair("scope", scope);
    }
    if by == By::Body {
        form.append_pair("client_id", &oidc.client_id);
        form.append_pair("client_secret", oidc.client_secret.expose());
    }
    form.finish()
}

/// An endpoint may quote what it was asked.
fn secrets(oidc: &Oidc) -> Secrets {
    let secrets = Secrets::default();
    secrets.learn_login(&oidc.client_id, oidc.client_secret.expose());
    secrets
}

/// RFC 6749, section 5.1.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<f64>,
}

/// RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

/// What Kafka's clients read of a token, if it is a JWT (RFC 7519, section 4.1).
#[derive(Deserialize, Default)]
struct Claims {
    exp: Option<f64>,
    iat: Option<f64>,
    sub: Option<String>,
}

fn read(oidc: &Oidc, answer: &Answer, now: Duration) -> Result<Token, String> {
    if answer.status != 200 {
        let refused = serde_json::from_str(&answer.body).map(|refused: Refused| {
            let description = refused.error_description.unwrap_or_default();
            // Before it is cut: a part of a secret is not recognised.
            let said = secrets(oidc).hide(&format!("{}: {description}", refused.error));
            web::shown(&said)
        });
        let why = refused.unwrap_or_else(|_| "no reason given".to_owned());
        return Err(format!("HTTP {}: {why}", answer.status));
    }
    let granted: Granted = serde_json::from_str(&answer.body)
        .map_err(|_| "expected JSON with access_token, found something else".to_owned())?;
    let claims = claims(&granted.access_token);
    let now_s = now.as_secs_f64();
    // By a clock that is wrong, `exp` is too; the two lifetimes are right by any clock.
    let lifetimes = [granted.expires_in, claims.exp.zip(claims.iat).map(|(exp, iat)| exp - iat)];
    let lifetimes = lifetimes.into_iter().flatten().filter(|lifetime| *lifetime > 0.0);
    let ends = lifetimes.map(|lifetime| now_s + lifetime);
    let expires_at = ends.chain(claims.exp).reduce(f64::min);
    let expires_at = expires_at
        .ok_or("neither the token (exp) nor the answer (expires_in) says when it expires")?;
    if expires_at <= now_s {
        return Err("the token has expired already: is this machine's clock right?".to_owned());
    }
    let principal = claims.sub.unwrap_or_else(|| oidc.client_id.clone());
    // A number of JSON that is out of range becomes the largest.
    let expires_at_ms = (expires_at * 1000.0) as i64;
    Token::new(&granted.access_token, expires_at_ms, &principal, &oidc.extensions)
}

/// Of a token that is none, or is encrypted: nothing.
fn claims(token: &str) -> Claims {
    let mut parts = token.split('.').skip(1);
    let claims = parts.next().map(|part| part.trim_end_matches('='));
    let claims = claims.and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    claims.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "oidc_tests.rs"]
mod tests;
