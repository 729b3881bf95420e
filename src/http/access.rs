//! Who may see a page: by the name that was asked for, and by the token.
//!
//! A name is checked because of DNS rebinding: a stranger's web page, open in a browser that reaches the
//! bridge, may have its own name resolved to the bridge's address, and would then be allowed to read what the
//! bridge answers. The request has the stranger's name as Host then. An IP address as Host cannot come about
//! in this way, and a token has to be known: both are taken as they are (docs/decisions/0023-http-access.md).

use std::net::{IpAddr, Ipv6Addr};

use crate::config::HttpConfig;

/// Pages for probes, which know no token and ask by the address of the pod.
const OPEN: [&str; 2] = ["/livez", "/readyz"];
/// For Prometheus.
const METRICS: &str = "/metrics";
/// The form that asks for the token.
pub(super) const LOGIN: &str = "/login";

/// The rules, from the configuration.
#[derive(Debug, Clone)]
pub(super) struct Access {
    is_loopback: bool,
    has_token: bool,
    metrics_token: bool,
    host_names: Vec<String>,
}

/// What a request shows of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked<'a> {
    pub(super) path: &'a str,
    /// The Host header, or the host of an absolute URL.
    pub(super) host: Option<&'a str>,
    /// It has the right token in its header.
    pub(super) has_token: bool,
    /// It has a cookie of the login form that is in force.
    pub(super) has_cookie: bool,
}

/// Why a request is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// It asks for a name that is not the bridge's.
    Misdirected,
    /// It has no valid token.
    NoToken,
    /// Nobody may see the page here: the server listens off loopback, and there is no token to ask for.
    Closed,
}

impl Access {
    pub(super) fn new(config: &HttpConfig) -> Self {
        Self {
            is_loopback: config.listen.is_none_or(|address| address.ip().is_loopback()),
            has_token: config.token_file.is_some(),
            metrics_token: config.metrics_token,
            host_names: config.host_names.clone(),
        }
    }

    /// Whether to serve the page that is asked for.
    pub(super) fn admit(&self, asked: Asked<'_>) -> Result<(), Denied> {
        let Asked { path, host, has_token, has_cookie } = asked;
        if OPEN.contains(&path) || has_token {
            return Ok(());
        }
        if !host.is_some_and(|host| self.is_ours(host)) {
            return Err(Denied::Misdirected);
        }
        let is_open = path == LOGIN || (path == METRICS && !self.metrics_token);
        match (self.has_token, self.is_loopback) {
            (true, _) if is_open || has_cookie => Ok(()),
            (true, _) => Err(Denied::NoToken),
            (false, true) => Ok(()),
            (false, false) if is_open => Ok(()),
            (false, false) => Err(Denied::Closed),
        }
    }

    /// Whether this is a name of ours. The port does not matter: it may have been mapped.
    fn is_ours(&self, host: &str) -> bool {
        let Some(name) = without_port(host) else { return false };
        let name = name.strip_suffix('.').unwrap_or(name);
        let is_address = match name.strip_prefix('[') {
            Some(address) => {
                address.strip_suffix(']').is_some_and(|it| it.parse::<Ipv6Addr>().is_ok())
            }
            None => name.parse().is_ok_and(|address: IpAddr| address.is_ipv4()),
        };
        let names = self.host_names.iter().map(String::as_str);
        is_address || names.chain(["localhost"]).any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// The host of `host[:port]` (RFC 9110, section 7.2).
fn without_port(host: &str) -> Option<&str> {
    let end = host.rfind(']').map_or(0, |end| end + 1);
    let Some(colon) = host[end..].find(':').map(|colon| end + colon) else { return Some(host) };
    host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()).then_some(&host[..colon])
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: &str = "rebound.example";

    fn access(listen: &str, token: bool, metrics_token: bool) -> Access {
        Access::new(&HttpConfig {
            listen: Some(listen.parse().expect("legal")),
            token_file: token.then(|| "/token".into()),
            metrics_token,
            host_names: vec!["bridge.plant.example".to_owned()],
            ..HttpConfig::default()
        })
    }

    fn asked(path: &'static str, host: &'static str) -> Asked<'static> {
        Asked { path, host: Some(host), ..Asked::default() }
    }

    #[test]
    fn a_name_is_ours_if_it_is_an_address_or_listed() {
        let access = access("127.0.0.1:8080", false, true);
        for ours in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "10.1.2.3:9",
            "[::1]:8080",
            "[2001:db8::1]",
            "localhost",
            "LocalHost:1",
            "localhost.:80",
            "bridge.plant.example:8443",
            "Bridge.Plant.Example",
        ] {
            assert!(access.is_ours(ours), "{ours}");
        }
        for other in [
            "",
            ":8080",
            STRANGER,
            "rebound.example:8080",
            "localhost.rebound.example",
            "127.0.0.1.rebound.example",
            "127.0.0.1@rebound.example",
            "rebound.example:80:80",
            "::1",
            "[127.0.0.1]",
            "[::1",
            "]",
            "[::1]x",
            "localhost:80x",
            "[::1]@rebound.example",
            "plant.example",
        ] {
            assert!(!access.is_ours(other), "{other}");
        }
    }

    #[test]
    fn probes_are_answered_whatever_they_ask_for() {
        for access in [access("0.0.0.0:80", true, true), access("127.0.0.1:80", false, true)] {
            for path in OPEN {
                assert_eq!(access.admit(asked(path, STRANGER)), Ok(()));
                assert_eq!(access.admit(Asked { path, ..Asked::default() }), Ok(()));
            }
        }
    }

    #[test]
    fn on_loopback_without_a_token_all_is_served_under_our_names_alone() {
        let access = access("[::1]:8080", false, true);
        for path in ["/", "/metrics", "/else"] {
            assert_eq!(access.admit(asked(path, "[::1]:8080")), Ok(()));
            assert_eq!(access.admit(asked(path, STRANGER)), Err(Denied::Misdirected));
            assert_eq!(access.admit(Asked { path, ..Asked::default() }), Err(Denied::Misdirected));
        }
    }

    #[test]
    fn off_loopback_without_a_token_only_probes_are_served_and_metrics_if_they_need_none() {
        for (metrics_token, metrics) in [(true, Err(Denied::Closed)), (false, Ok(()))] {
            let access = access("0.0.0.0:8080", false, metrics_token);
            assert_eq!(access.admit(asked("/", "10.0.0.1")), Err(Denied::Closed));
            assert_eq!(access.admit(asked("/metrics", "10.0.0.1")), metrics);
            assert_eq!(access.admit(asked("/metrics", STRANGER)), Err(Denied::Misdirected));
        }
    }

    #[test]
    fn with_a_token_pages_ask_for_it_and_metrics_by_their_key() {
        let token = access("127.0.0.1:8080", true, true);
        let open = access("127.0.0.1:8080", true, false);
        let denied = Err(Denied::NoToken);
        for (access, path, expected) in [
            (&token, "/", denied),
            (&token, "/else", denied),
            (&token, "/metrics", denied),
            (&token, "/metrics/", denied),
            (&token, "/login", Ok(())),
            (&open, "/metrics", Ok(())),
            (&open, "/", denied),
        ] {
            let asked = asked(path, "localhost");
            assert_eq!(access.admit(asked), expected, "{path}");
            assert_eq!(access.admit(Asked { has_cookie: true, ..asked }), Ok(()), "{path}");
            let stranger = Asked { host: Some(STRANGER), ..asked };
            let with_token = Asked { has_token: true, ..stranger };
            assert_eq!(access.admit(with_token), Ok(()), "who knows the token is no stranger");
            let with_cookie = Asked { has_cookie: true, ..stranger };
            assert_eq!(access.admit(with_cookie), Err(Denied::Misdirected), "{path}");
        }
    }
}
