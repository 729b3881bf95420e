//! `mqtt.client_id`: `{hostname}` and `{pod_ordinal}` stand for what differs between replicas. Pure.

use super::suggest::quoted;

const HOSTNAME: &str = "{hostname}";
const POD_ORDINAL: &str = "{pod_ordinal}";

/// `text` with its placeholders replaced, on a host of this name.
///
/// # Errors
/// What is wrong with a placeholder.
pub(super) fn fill(text: &str, hostname: impl FnOnce() -> String) -> Result<String, String> {
    if let Some(unknown) = placeholders(text).find(|name| ![HOSTNAME, POD_ORDINAL].contains(name)) {
        let found = quoted(unknown);
        return Err(format!("expected {HOSTNAME} or {POD_ORDINAL} in braces, found {found}"));
    }
    if placeholders(text).next().is_none() {
        return Ok(text.to_owned());
    }
    let hostname = hostname();
    let mut filled = text.to_owned();
    if filled.contains(POD_ORDINAL) {
        let ordinal = pod_ordinal(&hostname).ok_or_else(|| {
            format!(
                "expected a host name that ends with a hyphen and a number, as in a StatefulSet, \
                 because {POD_ORDINAL} is that number, found the host name {}",
                quoted(&hostname)
            )
        })?;
        filled = filled.replace(POD_ORDINAL, ordinal);
    }
    Ok(filled.replace(HOSTNAME, &hostname))
}

/// What stands in braces and looks like a word of ours.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('{').filter_map(|(at, _)| {
        let end = at + text[at..].find('}')? + 1;
        let word = &text[at + 1..end - 1];
        let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        is_word.then(|| &text[at..end])
    })
}

/// The number behind the last hyphen of the host's name, without its domain.
fn pod_ordinal(hostname: &str) -> Option<&str> {
    let host = hostname.split('.').next().unwrap_or(hostname);
    let (_, ordinal) = host.rsplit_once('-')?;
    (!ordinal.is_empty() && ordinal.bytes().all(|byte| byte.is_ascii_digit())).then_some(ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_differ_by_their_host() {
        for (text, hostname, filled) in [
            ("bridge-1", "h", "bridge-1"),
            ("bridge-{hostname}", "h.example", "bridge-h.example"),
            ("b-{pod_ordinal}", "bridge-0", "b-0"),
            ("b-{pod_ordinal}", "my-bridge-12.bridges.default.svc", "b-12"),
            ("{hostname}/{pod_ordinal}/{hostname}", "a-7", "a-7/7/a-7"),
            // Not ours.
            ("${HOST}-{}-{a b}-{A}-{", "h", "${HOST}-{}-{a b}-{A}-{"),
        ] {
            assert_eq!(fill(text, || hostname.to_owned()), Ok(filled.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_host_without_a_number_has_no_ordinal_and_says_so() {
        for hostname in ["laptop", "bridge-7f9c4", "bridge-", "bridge-1-a", "", "a.b-1"] {
            let error = fill("b-{pod_ordinal}", || hostname.to_owned()).expect_err(hostname);
            assert!(error.contains(&format!("found the host name {hostname:?}")), "{error}");
        }
    }

    #[test]
    fn a_misspelt_word_in_braces_is_refused() {
        for text in ["{host_name}", "a{podordinal}", "{hostname}{ordinal}"] {
            let error = fill(text, || "a-1".to_owned()).expect_err(text);
            assert!(error.starts_with("expected {hostname} or {pod_ordinal} in braces"), "{error}");
        }
    }
}
