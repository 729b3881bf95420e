//! Checks `sasl.*` and `ssl.*` of `[kafka.properties]`: a login that librdkafka would ignore, and missing
//! files.

use std::collections::BTreeMap;
use std::fs::File;

use super::secrets::shown;

/// The properties that name files. `ssl.ca.location` may also be a directory, or `probe`.
const FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// The properties that are refused, with the reason. Of the values only paths are shown.
pub(super) fn check(properties: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let protocol = properties.get("security.protocol").map_or("", String::as_str);
    let mut refused = Vec::new();
    // One error is enough.
    let login = properties.keys().find(|name| name.starts_with("sasl."));
    if let Some(name) = login.filter(|_| !protocol.to_ascii_uppercase().starts_with("SASL_")) {
        let found = if protocol.is_empty() { "none, which is PLAINTEXT" } else { protocol };
        let text = format!(
            "expected security.protocol = SASL_SSL or SASL_PLAINTEXT, because the login is ignored \
             without it, found {found}"
        );
        refused.push((name.clone(), text));
    }
    for name in FILES {
        let Some(path) = properties.get(name).filter(|path| *path != "probe") else { continue };
        if let Err(error) = File::open(path) {
            let found = shown(name, path);
            let text = format!("expected a file that can be read, found {found:?}: {error}");
            refused.push((name.to_owned(), text));
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(properties: &[(&str, &str)]) -> Vec<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let refused = check(&properties.iter().map(owned).collect());
        refused.into_iter().map(|(name, text)| format!("{name}: {text}")).collect()
    }

    #[test]
    fn a_login_that_nobody_would_use_is_refused_once_and_not_shown() {
        let login = [("sasl.username", "u"), ("sasl.password", "hunter2")];
        assert_eq!(
            said(&login),
            [
                "sasl.password: expected security.protocol = SASL_SSL or SASL_PLAINTEXT, because the \
              login is ignored without it, found none, which is PLAINTEXT"
            ]
        );
        let with = |protocol| said(&[login[0], login[1], ("security.protocol", protocol)]);
        assert!(with("ssl")[0].ends_with("found ssl"));
        assert_eq!(with("sasl_ssl").len() + with("SASL_PLAINTEXT").len(), 0);
        assert_eq!(said(&[("ssl.ca.location", "probe")]).len(), 0);
    }

    #[test]
    fn a_certificate_file_that_is_not_there_is_named() {
        let said = said(&[("security.protocol", "ssl"), ("ssl.ca.location", "/nowhere/ca.pem")]);
        assert_eq!(
            said,
            [
                "ssl.ca.location: expected a file that can be read, found \"/nowhere/ca.pem\": No such \
              file or directory (os error 2)"
            ]
        );
    }
}
