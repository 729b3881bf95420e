//! Fetches a token from where the configuration says.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{aws_credentials, msk_iam, oidc};
use crate::config::TokenSource;
use crate::kafka::token::Token;

/// A new token. Takes as long as the endpoint takes, but no longer than a bound.
///
/// # Errors
/// Which side failed, and how; one line.
pub(super) fn token(source: &TokenSource) -> Result<Token, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match source {
        TokenSource::Oidc(oidc) => oidc::fetch(oidc, now),
        TokenSource::MskIam { region } => {
            let credentials = aws_credentials::find(region)?;
            msk_iam::token(&credentials, region, now, msk_iam::USER_AGENT)
        }
    }
}
