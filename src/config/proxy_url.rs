//! `mqtt.proxy`: `http://[user[:password]@]host:port`, or the same with `socks5`. Pure.

use super::mqtt_config::{ProxyConfig, ProxyKind};
use super::secret::Secret;
use super::url_authority::{self, redacted};

/// What may be written.
pub(super) const LEGAL: &str = "http://host:port or socks5://host:port";

/// The schemes. With `socks5h` other tools say that the proxy resolves the name, as it does here always.
const SCHEMES: &[(&str, ProxyKind)] =
    &[("http", ProxyKind::Http), ("socks5", ProxyKind::Socks5), ("socks5h", ProxyKind::Socks5)];
/// The longest user name or password of SOCKS 5, in bytes (RFC 1929).
const SOCKS_LOGIN_MAX: usize = 255;

/// Reads `text`.
///
/// # Errors
/// What was expected and what was found, without the user name and the password.
pub(super) fn parse(text: &str) -> Result<ProxyConfig, String> {
    let refuse = |why: &str| {
        let space = if why.is_empty() { "" } else { " " };
        format!("expected {LEGAL}{space}{why}, found {:?}", redacted(text))
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| refuse(""))?;
    let scheme = scheme.to_ascii_lowercase();
    let known = SCHEMES.iter().find(|(name, _)| *name == scheme);
    let (_, kind) = *known.ok_or_else(|| refuse(""))?;
    let url = url_authority::parse(rest).map_err(|why| refuse(&why))?;
    if !matches!(url.path.as_str(), "" | "/") {
        return Err(refuse("(nothing after the port)"));
    }
    let port = url.port.ok_or_else(|| refuse("(a proxy has no default port)"))?;
    let login = match (url.username, url.password) {
        (None, None) => None,
        (user, password) => Some((user.unwrap_or_default(), password.unwrap_or_default())),
    };
    if let (ProxyKind::Socks5, Some((user, password))) = (kind, &login) {
        let legal = 1..=SOCKS_LOGIN_MAX;
        if !legal.contains(&user.len()) || !legal.contains(&password.len()) {
            return Err(refuse("(user and password of SOCKS 5 have 1 to 255 bytes each)"));
        }
    }
    // A header's value is one line, and a colon ends the user's name (RFC 7617).
    if let (ProxyKind::Http, Some((user, password))) = (kind, &login)
        && (user.contains(':')
            || [user, password].iter().any(|part| part.contains(char::is_control)))
    {
        return Err(refuse("(user without a colon, user and password without control characters)"));
    }
    let login = login.map(|(user, password)| (Secret::new(user), Secret::new(password)));
    Ok(ProxyConfig { kind, host: url.host, port, login })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_taken_apart() {
        let proxy = parse("http://u:p%40@proxy.example:3128").expect("a legal proxy");
        assert_eq!(
            (proxy.kind, proxy.host.as_str(), proxy.port),
            (ProxyKind::Http, "proxy.example", 3128)
        );
        assert_eq!(proxy.login, Some((Secret::from("u"), Secret::from("p@"))));
        let proxy = parse("socks5h://[::1]:1080/").expect("a legal proxy");
        assert_eq!((proxy.kind, proxy.host.as_str(), proxy.port), (ProxyKind::Socks5, "::1", 1080));
        assert_eq!(proxy.login, None);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_login() {
        let long = format!("socks5://{}:hunter2@h:1", "u".repeat(256));
        for wrong in [
            "h:1",
            "https://u:hunter2@h:1",
            "http://u:hunter2@h",
            "http://u:hunter2@h:1/path",
            "http://u:hunter2@h:0",
            "http://u%3A:hunter2@h:1",
            "http://u:hunter2%0D@h:1",
            "http://u:hun/ter2@h:1",
            "socks5://u@h:1",
            &long,
        ] {
            let error = parse(wrong).expect_err(wrong);
            assert!(
                error.starts_with("expected http://host:port or socks5://host:port"),
                "{error}"
            );
            assert!(!error.contains("hun") && !error.contains("ter2"), "{error}");
        }
    }
}
