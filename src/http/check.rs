//! `healthcheck`, `doctor`, `latency` and `top`: ask a running bridge, without an HTTP library: one GET over a new
//! connection, with TLS if it serves that, whose answer is read to the end.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;
use serde_json::Value;

use crate::config::HttpConfig;
use crate::visible::Visible;

/// Time limit for connection, request and answer together.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 8 << 20;

/// Asks the bridge that runs with this configuration on this machine: `/livez` if `live`, else
/// `/readyz`. Over TLS if it serves TLS; both pages ask for no token.
///
/// # Errors
/// Why it is not so, or why it cannot be asked; a readable sentence.
pub fn check(http: &HttpConfig, live: bool) -> Result<(), String> {
    let path = if live { "/livez" } else { "/readyz" };
    match look(http, path).map_err(NoAnswer::into_text)? {
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

/// The bridge has not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody listens there, or there is no address to ask.
    Nobody(String),
    /// Somebody listens there, and does not answer as a bridge does.
    Strange(String),
}

impl NoAnswer {
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
pub fn readiness(http: &HttpConfig) -> Result<Health, NoAnswer> {
    look(http, "/readyz")
}

/// The body of a page that is not for probes, of the bridge that runs with this configuration on this machine. The
/// token of `http.token_file` is sent, if there is one.
///
/// # Errors
/// Why it cannot be had; a readable sentence.
pub fn page(http: &HttpConfig, path: &str) -> Result<String, String> {
    let token = http.token_file.as_deref().map(token).transpose()?;
    let answer = answer(http, path, token.as_deref()).map_err(NoAnswer::into_text)?;
    let (status, body) = parted(&answer);
    match status {
        Some("200") => Ok(body.to_owned()),
        Some("401") => Err(format!("{path} asks for another token than that of http.token_file")),
        Some("403") => Err(format!("{path} is not served off loopback without http.token_file")),
        _ => Err(format!(
            "{}, of a version that has this page?",
            strange("200", path, &answer).trim_end_matches('?')
        )),
    }
}

/// The token in this file.
fn token(file: &Path) -> Result<String, String> {
    let place = file.display();
    let token = std::fs::read_to_string(file)
        .map_err(|error| format!("http.token_file: cannot read {place}: {error}"))?;
    let token = token.trim();
    match token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token.to_owned()),
        false => Err(format!(
            "http.token_file: expected a token on one line in {place}, found other content"
        )),
    }
}

fn look(http: &HttpConfig, path: &str) -> Result<Health, NoAnswer> {
    judge(&answer(http, path, None)?, path).map_err(NoAnswer::Strange)
}

/// The whole answer. Only with a token it matters who gives it.
fn answer(http: &HttpConfig, path: &str, token: Option<&str>) -> Result<String, NoAnswer> {
    let listen = http.listen.ok_or_else(|| {
        let text =
            "http.listen: expected an address to ask, found \"off\": there is no health to check";
        NoAnswer::Nobody(text.to_owned())
    })?;
    if listen.port() == 0 {
        let text = "http.listen: expected a port to ask, found 0: a free one was taken at the start, and is known \
            only to its log";
        return Err(NoAnswer::Nobody(text.to_owned()));
    }
    let address = reachable(listen);
    let is_tls = http.cert_file.is_some();
    let scheme = if is_tls { "https" } else { "http" };
    let own = match (&http.cert_file, token) {
        (Some(file), Some(_)) => Some(own_certificate(file).map_err(NoAnswer::Strange)?),
        _ => None,
    };
    let question = Question { path, token, is_tls, own };
    get(address, &question).map_err(|error| {
        let text = format!("no answer from {scheme}://{address}{path} (http.listen): {error}");
        match error.kind() {
            io::ErrorKind::ConnectionRefused => NoAnswer::Nobody(text),
            _ => NoAnswer::Strange(text),
        }
    })
}

/// What is asked, and of whom.
struct Question<'a> {
    path: &'a str,
    token: Option<&'a str>,
    is_tls: bool,
    /// Who answers must have this certificate.
    own: Option<X509>,
}

/// The server's own certificate.
fn own_certificate(file: &Path) -> Result<X509, String> {
    let place = file.display();
    let pem = std::fs::read(file)
        .map_err(|error| format!("http.cert_file: cannot read {place}: {error}"))?;
    X509::from_pem(&pem)
        .map_err(|_| format!("http.cert_file: expected a certificate in {place}, found none"))
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

fn get(address: SocketAddr, question: &Question<'_>) -> io::Result<String> {
    let deadline = Instant::now() + WITHIN;
    let stream = TcpStream::connect_timeout(&address, WITHIN)?;
    let mut stream = Bounded { stream, deadline };
    match question.is_tls {
        false => ask(&mut stream, address, question),
        true => {
            let mut stream = encrypted(stream)?;
            let shown = stream.ssl().peer_certificate().map(|shown| shown.to_der());
            if let Some(own) = &question.own
                && !matches!((shown, own.to_der()), (Some(Ok(shown)), Ok(own)) if shown == own)
            {
                return Err(io::Error::other(
                    "its certificate is not that of http.cert_file, so that the token is not sent",
                ));
            }
            ask(&mut stream, address, question)
        }
    }
}

/// Neither an authority nor a name is verified, and need not be: the connection does not leave this machine, and the
/// certificate is for the names by which others know it. Who could answer in the bridge's place would have to have
/// its port, without which the bridge does not start. Where a secret is sent, [`get`] compares the certificate.
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

fn ask(
    stream: &mut (impl Read + Write),
    address: SocketAddr,
    question: &Question<'_>,
) -> io::Result<String> {
    let Question { path, token, .. } = question;
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let token = token.unwrap_or_default();
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
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

/// The status of an answer, and its body.
fn parted(answer: &str) -> (Option<&str>, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    (head.split(' ').nth(1).filter(|_| head.starts_with("HTTP/1.")), body)
}

/// An answer that the bridge does not give.
fn strange(expected: &str, path: &str, answer: &str) -> String {
    let line = answer.lines().next().unwrap_or_default();
    format!("expected {expected} for {path}, found {line:?}: is it the bridge?")
}

/// Reads an answer: its status, its reasons and warnings.
fn judge(answer: &str, path: &str) -> Result<Health, String> {
    let (status, body) = parted(answer);
    let is_good = match status {
        Some("200") => true,
        Some("503") => false,
        _ => return Err(strange("200 or 503", path, answer)),
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
