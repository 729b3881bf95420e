//! `healthcheck`: asks a running bridge for its health, without an HTTP library: one GET over a new
//! connection, with TLS if it serves that, whose answer is read to the end.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode};
use serde_json::Value;

use crate::config::HttpConfig;
use crate::visible::Visible;

/// Time limit for connection, request and answer together.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 1 << 20;

/// Asks the bridge that runs with this configuration on this machine: `/livez` if `live`, else
/// `/readyz`. Over TLS if it serves TLS; both pages ask for no token.
///
/// # Errors
/// Why it is not so, or why it cannot be asked; a readable sentence.
pub fn check(http: &HttpConfig, live: bool) -> Result<(), String> {
    let path = if live { "/livez" } else { "/readyz" };
    match look(http, path).map_err(NoHealth::into_text)? {
        Health { is_good: true, .. } => Ok(()),
        Health { reasons, .. } => Err(reasons.join("\n")),
    }
}

/// What a page says of the bridge's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// It is ready, or alive.
    pub is_good: bool,
    /// Why it is not, one line each.
    pub reasons: Vec<String>,
    /// What does not make it unready, one line each.
    pub warnings: Vec<String>,
}

/// Nobody has told the bridge's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoHealth {
    /// Nobody listens there, or there is no address to ask.
    Nobody(String),
    /// Somebody listens there, and does not answer as a bridge does.
    Strange(String),
}

impl NoHealth {
    /// A readable sentence.
    pub fn into_text(self) -> String {
        match self {
            Self::Nobody(text) | Self::Strange(text) => text,
        }
    }
}

/// Asks `/readyz` of the bridge that runs with this configuration on this machine, as [`check`] does.
///
/// # Errors
/// Why it cannot be asked; a readable sentence.
pub fn readiness(http: &HttpConfig) -> Result<Health, NoHealth> {
    look(http, "/readyz")
}

fn look(http: &HttpConfig, path: &str) -> Result<Health, NoHealth> {
    let listen = http.listen.ok_or_else(|| {
        let text =
            "http.listen: expected an address to ask, found \"off\": there is no health to check";
        NoHealth::Nobody(text.to_owned())
    })?;
    if listen.port() == 0 {
        let text = "http.listen: expected a port to ask, found 0: a free one was taken at the start, and is known \
            only to its log";
        return Err(NoHealth::Nobody(text.to_owned()));
    }
    let address = reachable(listen);
    let is_tls = http.cert_file.is_some();
    let scheme = if is_tls { "https" } else { "http" };
    let answer = get(address, path, is_tls).map_err(|error| {
        let text = format!("no answer from {scheme}://{address}{path} (http.listen): {error}");
        match error.kind() {
            io::ErrorKind::ConnectionRefused => NoHealth::Nobody(text),
            _ => NoHealth::Strange(text),
        }
    })?;
    judge(&answer, path).map_err(NoHealth::Strange)
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

fn get(address: SocketAddr, path: &str, is_tls: bool) -> io::Result<String> {
    let deadline = Instant::now() + WITHIN;
    let stream = TcpStream::connect_timeout(&address, WITHIN)?;
    let mut stream = Bounded { stream, deadline };
    match is_tls {
        false => ask(&mut stream, address, path),
        true => ask(&mut encrypted(stream)?, address, path),
    }
}

/// Neither the certificate nor its name is verified, and need not be: the connection does not leave this
/// machine, the certificate is for the names by which others know it, and nothing secret is sent. Who could
/// answer in the bridge's place would have to have its port, without which the bridge does not start.
fn encrypted(stream: Bounded) -> io::Result<SslStream<Bounded>> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    let mut configuration = connector.build().configure()?;
    configuration.set_verify_hostname(false);
    configuration.set_use_server_name_indication(false);
    configuration.connect("", stream).map_err(|error| match error {
        HandshakeError::Failure(half) => match half.into_error().into_io_error() {
            Ok(error) => error,
            Err(error) => io::Error::other(format!("TLS: {error}")),
        },
        HandshakeError::SetupFailure(error) => error.into(),
        // The socket blocks, and its time-out is an error of its own.
        HandshakeError::WouldBlock(_) => io::ErrorKind::TimedOut.into(),
    })
}

fn ask(stream: &mut (impl Read + Write), address: SocketAddr, path: &str) -> io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // A server that ends TLS without a word has said all the same what it had to say.
    let end = stream.take(ANSWER_MAX + 1).read_to_end(&mut answer);
    match end {
        Err(error) if answer.is_empty() => return Err(error),
        _ if answer.len() as u64 > ANSWER_MAX => {
            return Err(io::Error::other("the answer is too long"));
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
        _ => {}
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A socket for which one time limit holds.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    deadline: Instant,
}

impl Bounded {
    fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer).map_err(in_time)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(in_time)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The system says that a time limit passed as if the socket did not block.
fn in_time(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Reads an answer: its status, its reasons and warnings.
fn judge(answer: &str, path: &str) -> Result<Health, String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).filter(|_| head.starts_with("HTTP/1."));
    let is_good = match status {
        Some("200") => true,
        Some("503") => false,
        _ => {
            let line = head.lines().next().unwrap_or_default();
            return Err(format!(
                "expected 200 or 503 for {path}, found {line:?}: is it the bridge?"
            ));
        }
    };
    let said: Value = serde_json::from_str(body).unwrap_or_default();
    let text = |value: &Value| Visible(value.as_str().unwrap_or("?")).to_string();
    let lines = |name: &str| {
        let lines = said[name].as_array().into_iter().flatten().map(|reason| {
            let [component, code, detail] =
                ["component", "reason", "detail"].map(|k| text(&reason[k]));
            format!("{component}: {code}: {detail}")
        });
        lines.collect()
    };
    Ok(Health { is_good, reasons: lines("reasons"), warnings: lines("warnings") })
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
        let good = Health { is_good: true, reasons: Vec::new(), warnings: Vec::new() };
        assert_eq!(judge("HTTP/1.1 200 OK\r\nx: y\r\n\r\n{}", "/readyz"), Ok(good));
        let body = r#"{"ready":false,"reasons":[
            {"component":"kafka","reason":"kafka_unreachable","detail":"no answer"},
            {"component":"bridge","reason":"draining","detail":"stopping"}],
            "warnings":[{"component":"mqtt","reason":"insecure","detail":"x"}]}"#;
        let answer = format!("HTTP/1.1 503 Service Unavailable\r\n\r\n{body}");
        let told = ["kafka: kafka_unreachable: no answer", "bridge: draining: stopping"];
        let found = judge(&answer, "/readyz").expect("the bridge");
        assert!(!found.is_good && found.reasons == told, "{found:?}");
        assert_eq!(found.warnings, ["mqtt: insecure: x"]);
        for strange in ["", "SSH-2.0-x", "HTTP/1.1 404 Not Found\r\n\r\n"] {
            assert!(judge(strange, "/readyz").expect_err("strange").contains("is it the bridge?"));
        }
    }
}
