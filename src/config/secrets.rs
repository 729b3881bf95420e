//! Which properties are secrets, and how their values are removed from librdkafka's texts.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::form_urlencoded;

/// The text in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// A property whose name contains one of these is a secret, so that a misspelt one is too.
const SECRET_PARTS: &[&str] =
    &["password", "passwd", "secret", "passphrase", "private", "key.pem", "token", "credential"];

/// The URL of the token endpoint; one with a login or a query is refused.
const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";

/// The properties of `sasl.`, `ssl.` and `https.` that are not secrets; all others there are.
const OPEN: &[&str] = &[
    "https.ca.location",
    "https.ca.pem",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.credentials.client.id",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    ENDPOINT,
    "sasl.username",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.providers",
    "ssl.sigalgs.list",
];

/// All but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether errors must not show the value of this property: it is about encryption or login, so the value
/// may be a secret that was pasted in the wrong place.
pub(super) fn is_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let bare = name.strip_prefix("topic.").unwrap_or(&name);
    ["sasl", "ssl", "https", "oauth"].iter().any(|area| bare.starts_with(area))
        || SECRET_PARTS.iter().any(|part| name.contains(part))
}

/// Whether no output may show the value.
fn is_secret(name: &str, value: &str) -> bool {
    if name == ENDPOINT && value.contains(['@', '?', '#']) {
        return true; // Refused, and perhaps with a login in it.
    }
    // A private key instead of a path, or next to a certificate.
    let is_key =
        value.contains("PRIVATE KEY") || value.contains('\n') && name.ends_with(".location");
    is_key || is_private(name) && !OPEN.contains(&name)
}

/// The value for output.
pub(super) fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if is_secret(name, value) { REDACTED } else { value }
}

/// How many secrets are remembered, each way to write one counted: far more than are in use.
const SECRETS_MAX: usize = 256;

/// Removes the secrets of `[kafka.properties]`, and of files, from librdkafka's texts. Clones learn from
/// one another.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Mutex<Vec<String>>>);

impl Secrets {
    /// The secrets among these properties.
    pub fn of(properties: &BTreeMap<String, String>) -> Self {
        let secrets = Self::default();
        secrets.learn(properties);
        secrets
    }

    /// The secrets among these properties, too. Older ones stay secret, up to 256 in all: a text
    /// about one that was replaced so many times ago comes no more.
    pub fn learn(&self, properties: &BTreeMap<String, String>) {
        for (name, value) in properties {
            if !value.is_empty() && is_secret(name, value) {
                self.learn_forms(value);
            }
        }
    }

    /// The secret of a login, and the two together as HTTP's Basic authentication has them.
    pub fn learn_login(&self, id: &str, secret: &str) {
        if !secret.is_empty() {
            self.learn_forms(secret);
            self.learn_forms(&format!("{id}:{secret}"));
        }
    }

    /// As it is, and as it is written in URLs, forms and headers, which others may quote.
    fn learn_forms(&self, secret: &str) {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let percent = utf8_percent_encode(secret, RESERVED).to_string();
        let lower = |text: &str| {
            let mut parts = text.split('%');
            let first = parts.next().unwrap_or_default().to_owned();
            parts.fold(first, |text, part| {
                let (code, rest) = part.split_at_checked(2).unwrap_or((part, ""));
                format!("{text}%{}{rest}", code.to_ascii_lowercase())
            })
        };
        let base64 = [STANDARD.encode(secret), URL_SAFE.encode(secret)];
        let base64 = base64.map(|text| text.trim_end_matches('=').to_owned());
        let forms = [lower(&form), lower(&percent), form, percent, secret.to_owned()];
        let mut values = self.0.lock();
        for value in base64.into_iter().chain(forms) {
            // What is in use is the youngest.
            values.retain(|known| *known != value);
            values.push(value);
        }
        let surplus = values.len().saturating_sub(SECRETS_MAX);
        values.drain(..surplus);
    }

    /// `text` without the secrets.
    pub fn hide(&self, text: &str) -> String {
        let mut secrets = self.0.lock().clone();
        // The longest first: one secret may be a part of another.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, REDACTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_a_login_is_shown_only_where_it_is_known_to_be_harmless() {
        for (name, value, is_shown) in [
            ("linger.ms", "5", true),
            ("sasl.username", "bridge", true),
            ("sasl.mechanism", "PLAIN", true),
            ("ssl.key.location", "/etc/key.pem", true),
            ("ssl.ca.pem", "-----BEGIN CERTIFICATE-----\nx", true),
            ("ssl.key.location", "-----BEGIN RSA PRIVATE KEY-----", false),
            ("ssl.key.location", "a\nb", false),
            ("ssl.certificate.pem", "-----BEGIN PRIVATE KEY-----", false),
            ("sasl.password", "x", false),
            ("sasl.oauthbearer.client.id", "bridge", true),
            ("sasl.oauthbearer.client.secret", "x", false),
            ("sasl.oauthbearer.client.credentials.client.secret", "x", false),
            ("sasl.oauthbearer.extensions", "x", false),
            ("sasl.pasword", "x", false),
            ("sasl.jaas.config", "x", false),
            ("SSL.Key.Password", "x", false),
            ("ssl.key.pem", "x", false),
            ("ssl.truststore.password", "x", false),
            ("sasl.something.new", "x", false),
            ("my.secret", "x", false),
        ] {
            assert_eq!(shown(name, value) == value, is_shown, "{name}");
        }
    }

    #[test]
    fn a_secret_leaves_a_text_also_where_another_is_a_part_of_it() {
        let properties = [("sasl.password", "abc"), ("ssl.key.password", "abcdef")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let hidden = Secrets::of(&properties).hide("abcdef or abc");
        assert_eq!(hidden, "[redacted] or [redacted]");
    }

    #[test]
    fn a_secret_is_hidden_however_a_request_writes_it() {
        let secrets = Secrets::default();
        secrets.learn_login("bridge", "a~b+c/d= é");
        for text in [
            "a~b+c/d= é",
            "a%7Eb%2Bc%2Fd%3D+%C3%A9",
            "a~b%2Bc%2Fd%3D%20%C3%A9",
            "a~b%2bc%2fd%3d%20%c3%a9",
            &STANDARD.encode("a~b+c/d= é"),
            &STANDARD.encode("bridge:a~b+c/d= é"),
        ] {
            let hidden = secrets.hide(&format!("<{text}>"));
            assert!(hidden.starts_with("<[redacted]"), "{text}: {hidden}");
        }
    }

    #[test]
    fn what_is_replaced_again_and_again_takes_a_bounded_place_and_the_youngest_is_hidden() {
        let password = |text: String| [("sasl.password".to_owned(), text)].into();
        let secrets = Secrets::default();
        secrets.learn(&[("ssl.key.password".to_owned(), "in use".to_owned())].into());
        for change in 0..10 * SECRETS_MAX {
            secrets.learn(&password(format!("secret-{change}-")));
            secrets.learn(&[("ssl.key.password".to_owned(), "in use".to_owned())].into());
        }
        assert_eq!(secrets.0.lock().len(), SECRETS_MAX);
        let last = 10 * SECRETS_MAX - 1;
        let text = format!("secret-{last}- secret-{}- in use", last - 1);
        assert_eq!(secrets.hide(&text), "[redacted] [redacted] [redacted]");
    }
}
