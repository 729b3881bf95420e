//! `[user[:password]@]host[:port][/path]` behind the `://` of a URL, the same for every scheme. Pure.

use percent_encoding::percent_decode_str;
use url::Url;

use super::list::is_host;

/// What it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// A name or an address, IPv6 without brackets.
    pub(super) host: String,
    /// The port, if it names one.
    pub(super) port: Option<u16>,
    /// The user, percent-decoded.
    pub(super) username: Option<String>,
    /// The password, percent-decoded.
    pub(super) password: Option<String>,
    /// The path with its query, as written; empty if there is none.
    pub(super) path: String,
}

/// Reads `rest`.
///
/// # Errors
/// What is wrong with it, in brackets, without the user name and the password.
pub(super) fn parse(rest: &str) -> Result<Authority, String> {
    // These characters end the host.
    if rest.find(['/', '?', '#']).is_some_and(|end| rest[end..].contains('@')) {
        return Err("(user and password percent-encoded: # is %23, / is %2F, ? is %3F, @ is %40)"
            .to_owned());
    }
    // A scheme without rules of its own: hosts and ports stay as they are written.
    let url = Url::parse(&format!("mqtt://{rest}")).map_err(|error| format!("({error})"))?;
    if url.fragment().is_some() {
        return Err("(nothing after a #)".to_owned());
    }
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if !is_host(host) {
        return Err("(a host consists of letters, digits, dots and hyphens)".to_owned());
    }
    if url.port() == Some(0) {
        return Err("(a port is a number from 1 to 65535)".to_owned());
    }
    let decode = |part: &str| {
        percent_decoded(part).ok_or_else(|| "(user and password percent-encoded)".to_owned())
    };
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    Ok(Authority {
        host: host.to_owned(),
        port: url.port(),
        username: match url.username() {
            "" => None,
            username => Some(decode(username)?),
        },
        password: url.password().map(decode).transpose()?,
        path: format!("{}{query}", url.path()),
    })
}

/// `text` for an error: without the part before `@`, without a query, and without a port that is not a
/// number, because that may be the password of a URL without its `@`.
pub(super) fn redacted(text: &str) -> String {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), text),
    };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, rest)) => ("[redacted]@", rest),
        None => ("", rest),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?[redacted]"),
        None => (rest, ""),
    };
    let rest = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') && port.parse::<u16>().is_err() => {
            format!("{host}:[redacted]")
        }
        _ => rest.to_owned(),
    };
    format!("{scheme}{user}{rest}{query}").chars().take(100).collect()
}

/// `None` if a `%` is not followed by two digits, which the library would accept, or if the bytes are
/// not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let is_code = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    let decoded = || percent_decode_str(text).decode_utf8().ok().map(String::from);
    text.split('%').skip(1).all(is_code).then(decoded).flatten()
}
