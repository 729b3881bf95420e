//! HTTP requests for tokens: each bounded in time and size, without redirects.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::{Body, Error};

use crate::visible::Visible;

/// The largest answer.
const ANSWER_MAX: u64 = 256 * 1024;
/// How much of an error is shown, in characters.
const SHOWN_MAX: usize = 300;

/// An answer, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Requests that take no longer than `within`. Authorities are the system's if none are given.
pub(super) fn agent(within: Duration, authorities: Option<RootCerts>, is_local: bool) -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::NativeTls)
        .root_certs(authorities.unwrap_or(RootCerts::PlatformVerifier))
        .build();
    let config = Agent::config_builder()
        .timeout_global(Some(within))
        .http_status_as_error(false)
        // A redirect could carry the secret elsewhere.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .tls_config(tls);
    match is_local {
        // What is on this machine, or next to it, is not behind a proxy.
        true => config.proxy(None).build().into(),
        false => config.build().into(),
    }
}

/// The authorities in a file of PEM.
///
/// # Errors
/// Why the file cannot be used.
pub(super) fn authorities_in(path: &Path) -> Result<RootCerts, String> {
    let pem = fs::read(path).map_err(|error| format!("https.ca.location: {error}"))?;
    authorities_of(&pem).map_err(|error| format!("https.ca.location: {error}"))
}

/// The authorities in PEM.
///
/// # Errors
/// There are none.
pub(super) fn authorities_of(pem: &[u8]) -> Result<RootCerts, String> {
    let certificates = parse_pem(pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    let certificates: Vec<_> = certificates.collect();
    if certificates.is_empty() {
        return Err("expected certificates in PEM, found none".to_owned());
    }
    Ok(certificates.into())
}

/// Reads the answer.
///
/// # Errors
/// Why there is none.
pub(super) fn answer(sent: Result<Response<Body>, Error>) -> Result<Answer, String> {
    let mut response = sent.map_err(|error| shown(&error.to_string()))?;
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_MAX).read_to_string();
    Ok(Answer { status, body: body.map_err(|error| shown(&error.to_string()))? })
}

/// Text from outside, on one line and not longer than a line.
pub(super) fn shown(text: &str) -> String {
    let text = Visible(text.trim()).to_string();
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
