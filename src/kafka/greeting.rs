//! What a listener of Kafka says to anybody, before any login: its certificates, and which requests it knows
//! (ApiVersions). For `doctor`: librdkafka tells neither.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;
use std::{fs, net::IpAddr};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;

use crate::certificate::Certificate;
use crate::config::KafkaConfig;

/// Kafka's numbers of requests.
pub const PRODUCE: i16 = 0;
/// The same.
pub const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
/// The same.
pub const INIT_PRODUCER_ID: i16 = 22;

/// The number by which our request is known.
const CORRELATION: i32 = 1;
/// No answer is longer, in bytes: it has six for each request that a broker knows.
const ANSWER_MAX: usize = 64 * 1024;

/// What a listener says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The certificates that it shows, its own first, or why there is no TLS. `None`: TLS is not spoken.
    pub tls: Option<Result<Vec<Certificate>, String>>,
    /// The requests that it knows, or why that is not known. `None`: there is no TLS.
    pub requests: Option<Result<Vec<Request>, String>>,
}

/// A request that a listener knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Kafka's number.
    pub key: i16,
    /// The oldest version.
    pub oldest: i16,
    /// The newest version.
    pub newest: i16,
}

/// Whether the bridge speaks TLS to Kafka.
pub fn is_tls(kafka: &KafkaConfig) -> bool {
    let protocol = kafka.properties.get("security.protocol");
    protocol.is_some_and(|protocol| protocol.to_ascii_uppercase().ends_with("SSL"))
}

/// Connects to a listener, and asks. No certificate is verified here: what librdkafka makes of it is asked of
/// librdkafka. Each step has `within` that time.
pub async fn greet(kafka: &KafkaConfig, host: &str, port: u16, within: Duration) -> Greeting {
    let mut greeting = Greeting::default();
    let stream = match in_time(within, TcpStream::connect((host, port))).await {
        Ok(stream) => stream,
        Err(why) => return Greeting { requests: Some(Err(why)), ..greeting },
    };
    if !is_tls(kafka) {
        greeting.requests = Some(in_time(within, ask(stream)).await);
        return greeting;
    }
    let shaken = match prepare(kafka, host).map_err(|error| error.to_string()) {
        Ok(ssl) => in_time(within, shake(ssl, stream)).await,
        Err(why) => Err(why),
    };
    match shaken {
        Ok(stream) => {
            let chain = stream.ssl().peer_cert_chain();
            greeting.tls = Some(Ok(chain.into_iter().flatten().map(Certificate::of).collect()));
            greeting.requests = Some(in_time(within, ask(stream)).await);
        }
        Err(why) => greeting.tls = Some(Err(why)),
    }
    greeting
}

async fn in_time<T>(
    within: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, String> {
    match timeout(within, step).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {within:?}")),
    }
}

fn prepare(kafka: &KafkaConfig, host: &str) -> Result<Ssl, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_verify(SslVerifyMode::NONE);
    let file = |name: &str| kafka.properties.get(name).map(Path::new);
    let files = (file("ssl.certificate.location"), file("ssl.key.location"));
    // A listener that asks for one ends the connection without it. That is not the last word on it.
    if let (Some(certificate), Some(key)) = files
        && let Some((chain, key)) = own(certificate, key)
        && let Some((first, rest)) = chain.split_first()
    {
        builder.set_certificate(first)?;
        for certificate in rest {
            builder.add_extra_chain_cert(certificate.clone())?;
        }
        builder.set_private_key(&key)?;
    }
    let mut ssl = Ssl::new(&builder.build())?;
    if host.parse::<IpAddr>().is_err() {
        ssl.set_hostname(host.trim_end_matches('.'))?;
    }
    Ok(ssl)
}

/// Our certificate and key, if they can be read without a password.
fn own(certificate: &Path, key: &Path) -> Option<(Vec<X509>, PKey<Private>)> {
    let chain = X509::stack_from_pem(&fs::read(certificate).ok()?).ok()?;
    // With a callback: OpenSSL would ask at the terminal.
    let key = PKey::private_key_from_pem_callback(&fs::read(key).ok()?, |_| Ok(0)).ok()?;
    Some((chain, key))
}

async fn shake(ssl: Ssl, stream: TcpStream) -> io::Result<SslStream<TcpStream>> {
    let mut stream = SslStream::new(ssl, stream)?;
    Pin::new(&mut stream).connect().await.map_err(|error| match error.into_io_error() {
        Ok(error) => error,
        Err(error) => io::Error::other(error),
    })?;
    Ok(stream)
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<Vec<Request>> {
    stream.write_all(&request()).await?;
    stream.flush().await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(closed)?;
    let length = usize::try_from(i32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > ANSWER_MAX {
        let likely = match head {
            [0x15 | 0x16, 3, ..] => " (TLS)",
            [b'H', b'T', b'T', b'P'] => " (HTTP)",
            _ => "",
        };
        let text = format!("an answer that is not Kafka's: it begins with {head:02x?}{likely}");
        return Err(io::Error::other(text));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.map_err(closed)?;
    parse(&body).map_err(io::Error::other)
}

fn closed(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("it closed the connection"),
        _ => error,
    }
}

/// ApiVersions, version 0, which every broker since 0.10 answers, before a login too.
fn request() -> Vec<u8> {
    const CLIENT: &[u8] = b"mqtt-kafka-bridge-doctor";
    let mut body = Vec::new();
    body.extend(API_VERSIONS.to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    body.extend(u16::try_from(CLIENT.len()).unwrap_or_default().to_be_bytes());
    body.extend(CLIENT);
    let length = u32::try_from(body.len()).unwrap_or_default();
    [&length.to_be_bytes(), &*body].concat()
}

/// The answer, without its length.
fn parse(body: &[u8]) -> Result<Vec<Request>, String> {
    let cut = || "an answer that ends too soon".to_owned();
    let (correlation, rest) = body.split_first_chunk::<4>().ok_or_else(cut)?;
    if i32::from_be_bytes(*correlation) != CORRELATION {
        return Err("an answer that is not Kafka's".to_owned());
    }
    let (code, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let code = i16::from_be_bytes(*code);
    if code != 0 {
        return Err(format!("Kafka's error {code}"));
    }
    let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let count = usize::try_from(i32::from_be_bytes(*count)).map_err(|_| cut())?;
    let requests = rest.chunks_exact(6).map(|bytes| {
        let number = |at: usize| i16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Request { key: number(0), oldest: number(2), newest: number(4) }
    });
    let requests: Vec<_> = requests.take(count).collect();
    if requests.len() < count { Err(cut()) } else { Ok(requests) }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::observe::test_support::PATIENCE;

    #[test]
    fn an_answer_is_read_whole_or_not_at_all() {
        let good = [0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 9, 0, 18, 0, 0, 0, 4];
        let requests = [(PRODUCE, 3, 9), (API_VERSIONS, 0, 4)];
        let requests = requests.map(|(key, oldest, newest)| Request { key, oldest, newest });
        assert_eq!(parse(&good).as_deref(), Ok(&requests[..]));
        for end in 0..good.len() {
            assert!(parse(&good[..end]).is_err(), "{end}");
        }
        for (at, byte) in [(3, 2), (5, 35), (6, 0xFF)] {
            let mut bad = good;
            bad[at] = byte;
            assert!(parse(&bad).is_err(), "{at}");
        }
    }

    #[actix::test]
    async fn what_is_no_kafka_is_told_and_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        actix::spawn(async move {
            for answer in [&b"HTTP/1.1 400 Bad Request"[..], b""] {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                let _ = stream.read(&mut [0; 256]).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let kafka = KafkaConfig::default();
        for said in ["not Kafka's: it begins with [48, 54, 54, 50]", "it closed the connection"] {
            let found = greet(&kafka, "127.0.0.1", port, PATIENCE).await;
            let why = found.requests.expect("asked").expect_err("no Kafka");
            assert!(why.contains(said), "{why}");
        }
    }
}
