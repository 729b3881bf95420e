//! `healthcheck`: asks a running bridge for its health, without an HTTP library: one GET over a new
//! connection, whose answer is read to the end.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::Config;
use crate::visible::Visible;

/// Time limit for connection, request and answer together.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// Asks the bridge that runs with this configuration on this machine: `/livez` if `live`, else
/// `/readyz`.
///
/// # Errors
/// Why it is not so, or why it cannot be asked; a readable sentence.
pub fn check(config: &Config, live: bool) -> Result<(), String> {
    let listen = config.http.listen.ok_or(
        "http.listen: expected an address to ask, found \"off\": there is no health to check",
    )?;
    if listen.port() == 0 {
        return Err("http.listen: expected a port to ask, found 0: a free one was taken at the \
                    start, and is known only to its log"
            .to_owned());
    }
    let path = if live { "/livez" } else { "/readyz" };
    let address = reachable(listen);
    let answer = get(address, path)
        .map_err(|error| format!("no answer from http://{address}{path} (http.listen): {error}"))?;
    judge(&answer, path)
}

/// The address to connect to for this listener: an unspecified address becomes loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let deadline = Instant::now() + WITHIN;
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(left),
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
        if answer.len() as u64 > ANSWER_MAX {
            return Err(io::Error::other("the answer is too long"));
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Reads an answer: its status, and with 503 its reasons.
fn judge(answer: &str, path: &str) -> Result<(), String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).filter(|_| head.starts_with("HTTP/1."));
    match status {
        Some("200") => return Ok(()),
        Some("503") => {}
        _ => {
            let line = head.lines().next().unwrap_or_default();
            return Err(format!(
                "expected 200 or 503 for {path}, found {line:?}: is it the bridge?"
            ));
        }
    }
    let said: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |value: &Value| Visible(value.as_str().unwrap_or("?")).to_string();
    let reasons = said["reasons"].as_array().into_iter().flatten().map(|reason| {
        let [component, code, detail] = ["component", "reason", "detail"].map(|k| text(&reason[k]));
        format!("{component}: {code}: {detail}")
    });
    Err(reasons.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_means_all_is_asked_on_loopback() {
        for (listen, asked) in [
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(reachable(listen.parse().expect("legal")).to_string(), asked);
        }
    }

    #[test]
    fn an_answer_is_what_its_status_and_its_reasons_say() {
        assert_eq!(judge("HTTP/1.1 200 OK\r\nx: y\r\n\r\n{}", "/readyz"), Ok(()));
        let body = r#"{"ready":false,"reasons":[
            {"component":"kafka","reason":"kafka_unreachable","detail":"no answer"},
            {"component":"bridge","reason":"draining","detail":"stopping"}]}"#;
        let answer = format!("HTTP/1.1 503 Service Unavailable\r\n\r\n{body}");
        let told = "kafka: kafka_unreachable: no answer\nbridge: draining: stopping";
        assert_eq!(judge(&answer, "/readyz"), Err(told.to_owned()));
        for strange in ["", "SSH-2.0-x", "HTTP/1.1 404 Not Found\r\n\r\n"] {
            assert!(judge(strange, "/readyz").expect_err("strange").contains("is it the bridge?"));
        }
    }
}
