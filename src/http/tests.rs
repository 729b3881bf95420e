//! The whole server, asked over sockets.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod, SslStream};
use socket2::{Domain, Socket, Type};

use super::limit::CONNECTION_LASTS;
use super::server::CONNECTIONS_MAX;
use super::{HttpServer, NotServed, Pages, check};
use crate::config::{Config, HttpConfig};
use crate::observe::Metrics;
use crate::observe::status::Observer;
use crate::observe::test_support::{Lines, PATIENCE, json_log};
use crate::pki::{Authority, Wish};
use crate::supervisor::Readiness;

pub(super) const TOKEN: &str = "the-token-of-this-test";
/// Clients beyond those that are served at once.
const MORE: usize = 8;

pub(super) struct Served {
    pub(super) server: HttpServer,
    config: Config,
    lines: Lines,
}

impl Served {
    pub(super) fn start(change: impl FnOnce(&mut HttpConfig)) -> Self {
        let mut config = Config::for_test();
        config.http = HttpConfig {
            listen: Some("127.0.0.1:0".parse().expect("legal")),
            metrics_token: true,
            ..HttpConfig::default()
        };
        change(&mut config.http);
        let (server, lines) = Self::serve(&config);
        let server = server.unwrap_or_else(|error| panic!("{error:?}"));
        config.http.listen = Some(server.address());
        Self { server, config, lines }
    }

    fn serve(config: &Config) -> (Result<HttpServer, NotServed>, Lines) {
        Self::serve_metrics(config, Metrics::default())
    }

    fn serve_metrics(config: &Config, metrics: Metrics) -> (Result<HttpServer, NotServed>, Lines) {
        let (logging, lines) = json_log();
        let readiness = Readiness::new(config, Arc::new(metrics), Vec::new());
        let pages = Pages::new(Arc::new(Observer::new(Arc::new(readiness), logging)));
        let address = config.http.listen.expect("an address");
        (HttpServer::start(address, &config.http, Arc::new(pages)), lines)
    }

    /// On this machine, whatever it listens on.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new([127, 0, 0, 1].into(), self.server.address().port())
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    }

    /// Asks with these lines in the head, and the body behind an empty one.
    pub(super) fn raw(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        Answer::of(&mut stream, request).expect("an answer")
    }

    pub(super) fn get(&self, path: &str, lines: &str) -> Answer {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", self.address()))
    }

    fn log_in(&self, body: &str) -> Answer {
        self.raw(&format!(
            "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn encrypted(&self, authority: &Path) -> Result<SslStream<TcpStream>, String> {
        let stream = self.connect();
        connector(authority).connect("localhost", stream).map_err(|error| error.to_string())
    }
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    fn of(stream: &mut (impl Read + Write), request: &str) -> io::Result<Self> {
        stream.write_all(request.as_bytes())?;
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { status, head: head.to_owned(), body: body.to_owned() })
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The part of the cookie that a browser sends back.
    fn cookie(&self) -> &str {
        let cookie = self.header("set-cookie").expect("a cookie");
        cookie.split_once(';').expect("it has attributes").0
    }
}

pub(super) fn eventually(what: &str, seen: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !seen() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn file(directory: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).expect("written");
    path
}

#[test]
fn every_answer_has_the_headers_that_protect_it() {
    let served = Served::start(|_| {});
    for (path, status) in [
        ("/", 200),
        ("/livez", 200),
        ("/readyz", 503),
        ("/metrics", 200),
        ("/status.json", 200),
        ("/else", 404),
        ("/page/main.js", 200),
        ("/page/none", 404),
        ("/docs/operations.md", 200),
        ("/docs/none", 404),
    ] {
        let answer = served.get(path, "");
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        let policy = answer.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'"), "{path}: {policy}");
    }
    let start = served.get("/", "").body;
    for path in ["/readyz", "/livez", "/metrics", "/status.json"] {
        assert!(start.contains(&format!("href=\"{path}\"")), "{start}");
    }
}

#[test]
fn metrics_come_in_the_format_that_a_client_names_and_else_in_the_older_one() {
    let served = Served::start(|_| {});
    let classic = served.get("/metrics", "Accept: text/plain, */*\r\n");
    assert_eq!(classic.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(classic.body.contains("\n# TYPE mqtt_kafka_bridge_received_total counter\n"));
    let new = served.get("/metrics", "Accept: application/openmetrics-text\r\n");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(new.header("content-type"), Some(kind));
    assert!(new.body.ends_with("# EOF\n"), "{}", new.body);
}

#[test]
fn a_page_is_refused_under_a_strangers_name_and_probes_are_not() {
    let served = Served::start(|http| http.host_names = vec!["bridge.example".to_owned()]);
    let ask = |path: &str, head: &str| served.raw(&format!("GET {path} {head}\r\n\r\n")).status;
    for (path, head, status) in [
        ("/metrics", "HTTP/1.1\r\nHost: 10.0.0.1:8080", 200),
        ("/metrics", "HTTP/1.1\r\nHost: bridge.example", 200),
        ("/metrics", "HTTP/1.1\r\nHost: rebound.example", 421),
        ("/", "HTTP/1.1\r\nHost: rebound.example", 421),
        ("/login", "HTTP/1.1\r\nHost: rebound.example", 421),
        ("/else", "HTTP/1.1\r\nHost: rebound.example", 421),
        ("/metrics", "HTTP/1.1\r\nHost: localhost\r\nHost: rebound.example", 400),
        ("/metrics", "HTTP/1.1\r\nHost: rebound.example\r\nX-Forwarded-Host: localhost", 421),
        ("/metrics", "HTTP/1.1\r\nHost: rebound.example\r\nForwarded: host=localhost", 421),
        ("/metrics", "HTTP/1.0", 421),
        ("http://rebound.example/metrics", "HTTP/1.1\r\nHost: localhost", 421),
        ("http://localhost/metrics", "HTTP/1.1\r\nHost: localhost", 200),
        ("/livez", "HTTP/1.1\r\nHost: rebound.example", 200),
        ("/readyz", "HTTP/1.1\r\nHost: 10.1.2.3:8080", 503),
        ("/livez", "HTTP/1.0", 200),
    ] {
        assert_eq!(ask(path, head), status, "{path} {head}");
    }
    let answer = served.raw("GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n");
    assert!(answer.body.contains("http.host_names"), "{answer:?}");
    assert!(!answer.body.contains("rebound"), "{answer:?}");
}

#[test]
fn other_methods_change_nothing_and_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let served =
        Served::start(|http| http.token_file = Some(file(directory.path(), "token", TOKEN)));
    let head = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
        for path in
            ["/", "/livez", "/readyz", "/metrics", "/status.json", "/events", "/page/main.js"]
        {
            let status = served.raw(&format!("{method} {path} HTTP/1.1\r\n{head}\r\n\r\n")).status;
            assert!(status == 405 || status == 400, "{method} {path}: {status}");
        }
    }
    for method in ["PUT", "DELETE"] {
        let status = served.raw(&format!("{method} /login HTTP/1.1\r\n{head}\r\n\r\n")).status;
        assert_eq!(status, 405, "{method} /login");
    }
    let answer = served.raw("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!((answer.status, &*answer.body), (200, ""));
}

#[test]
fn off_loopback_without_a_token_only_probes_are_served() {
    let listen = "0.0.0.0:0".parse().expect("legal");
    let served = Served::start(|http| http.listen = Some(listen));
    assert_eq!(served.get("/livez", "").status, 200);
    for path in [
        "/",
        "/metrics",
        "/status.json",
        "/events",
        "/page/main.js",
        "/docs/operations.md",
        "/else",
    ] {
        let answer = served.get(path, "");
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.body.contains("http.token_file"), "{answer:?}");
    }
    assert_eq!(served.get("/login", "").status, 404);
    assert_eq!(served.log_in("token=").status, 404);
    let open = Served::start(|http| {
        http.listen = Some(listen);
        http.metrics_token = false;
    });
    assert_eq!(open.get("/metrics", "").status, 200);
    assert_eq!(open.get("/", "").status, 403);
    assert_eq!(open.get("/status.json", "").status, 403);
}

#[test]
fn with_a_token_a_page_is_served_to_who_knows_it_by_header_or_by_cookie() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = file(directory.path(), "token", &format!("{TOKEN}\n"));
    let served = Served::start(|http| http.token_file = Some(path));
    assert_eq!(served.get("/livez", "").status, 200);
    let answer = served.get("/metrics", "");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    assert!(!answer.body.contains("<form"), "{answer:?}");
    assert_eq!(served.get("/status.json", "").status, 401);
    assert_eq!(
        served.get("/status.json", &format!("Authorization: Bearer {TOKEN}\r\n")).status,
        200
    );
    let answer = served.get("/", "Accept: text/html,*/*\r\n");
    assert_eq!(answer.status, 401);
    assert!(answer.body.contains("<form method=\"post\" action=\"/login\">"), "{answer:?}");
    assert_eq!(served.get("/metrics", &format!("Authorization: Bearer {TOKEN}\r\n")).status, 200);
    assert_eq!(served.get("/metrics", "Authorization: Bearer wrong\r\n").status, 401);
    served.lines.wait_until(|text| text.contains("wrong http token"));

    assert_eq!(served.get("/login", "").status, 200);
    assert_eq!(served.log_in("token=wrong").status, 401);
    assert_eq!(served.log_in("other=wrong").status, 400);
    assert_eq!(served.log_in(&format!("token={}", "x".repeat(5_000))).status, 413);
    let answer = served.log_in(&format!("token={TOKEN}"));
    assert_eq!((answer.status, answer.header("location")), (303, Some("/")));
    let attributes = answer.header("set-cookie").expect("a cookie");
    for wanted in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(attributes.contains(wanted), "{attributes}");
    }
    assert!(!attributes.contains("Secure"), "a browser would not send it back: {attributes}");
    let cookie = answer.cookie();
    assert_eq!(served.get("/", &format!("Cookie: {cookie}\r\n")).status, 200);
    assert_eq!(served.get("/", &format!("Cookie: a=b; {cookie}; c=d\r\n")).status, 200);
    let (name, value) = cookie.split_once('=').expect("a name");
    assert!(!value.contains(TOKEN));
    for forged in [format!("{name}={TOKEN}"), format!("{name}=9{value}"), format!("{name}=")] {
        assert_eq!(served.get("/", &format!("Cookie: {forged}\r\n")).status, 401, "{forged}");
    }
    let stolen = format!("GET / HTTP/1.1\r\nHost: rebound.example\r\nCookie: {cookie}\r\n\r\n");
    assert_eq!(served.raw(&stolen).status, 421);
    let log = served.lines.text();
    assert!(!log.contains(TOKEN) && !log.contains(value), "{log}");
}

#[test]
fn too_many_attempts_in_the_form_have_to_wait_and_the_header_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let served =
        Served::start(|http| http.token_file = Some(file(directory.path(), "token", TOKEN)));
    let mut statuses: Vec<_> = (0..20).map(|_| served.log_in("token=wrong").status).collect();
    statuses.dedup();
    assert_eq!(statuses, [401, 429]);
    let answer = served.log_in(&format!("token={TOKEN}"));
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("3")));
    assert_eq!(served.get("/", &format!("Authorization: Bearer {TOKEN}\r\n")).status, 200);
}

#[test]
fn a_form_that_never_comes_to_its_end_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let served =
        Served::start(|http| http.token_file = Some(file(directory.path(), "token", TOKEN)));
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100";
    let started = Instant::now();
    assert_eq!(served.raw(&format!("{head}\r\n\r\ntoken=")).status, 408);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn a_changed_token_is_taken_and_an_unusable_one_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = file(directory.path(), "token", TOKEN);
    let served = Served::start(|http| http.token_file = Some(path.clone()));
    let status =
        |token: &str| served.get("/", &format!("Authorization: Bearer {token}\r\n")).status;
    let cookie = served.log_in(&format!("token={TOKEN}")).cookie().to_owned();
    fs::write(&path, "short").expect("written");
    served.lines.wait_until(|text| text.contains("http token changed and cannot be used"));
    assert_eq!(status(TOKEN), 200);
    fs::write(&path, "another-token-of-this-test").expect("written");
    eventually("the new token", || status("another-token-of-this-test") == 200);
    assert_eq!(status(TOKEN), 401);
    assert_eq!(served.get("/", &format!("Cookie: {cookie}\r\n")).status, 401, "logged out");
    served.lines.wait_until(|text| text.contains("http token read again"));
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let (certificate, key) =
        Authority::new("test").issue(&Wish::LOCALHOST).write(directory.path(), "own");
    let (_, other) = Authority::new("test").issue(&Wish::LOCALHOST).write(directory.path(), "x");
    let empty = file(directory.path(), "empty", "");
    let encrypted = directory.path().join("encrypted");
    let identity = Authority::new("test").issue(&Wish::LOCALHOST);
    fs::write(&encrypted, identity.encrypted_key_pem("word")).expect("written");
    let none = directory.path().join("none");
    let with = |cert: &Path, key: &Path| HttpConfig {
        cert_file: Some(cert.to_owned()),
        key_file: Some(key.to_owned()),
        ..HttpConfig::default()
    };
    let token = HttpConfig { token_file: Some(empty.clone()), ..HttpConfig::default() };
    for (http, said) in [
        (token, "http.token_file: expected at least 16 characters"),
        (with(&none, &key), "http.cert_file: cannot use "),
        (with(&empty, &key), "http.cert_file: cannot use "),
        (with(&certificate, &none), "http.key_file: cannot use "),
        (with(&certificate, &other), "http.key_file: cannot use "),
        (with(&certificate, &encrypted), "http.key_file: cannot use "),
    ] {
        let mut config = Config::for_test();
        config.http = HttpConfig { listen: Some("127.0.0.1:0".parse().expect("legal")), ..http };
        match Served::serve(&config).0 {
            Err(NotServed::File(error)) => assert!(error.starts_with(said), "{error}"),
            other => panic!("{said}: {other:?}"),
        }
    }
}

#[test]
fn over_tls_the_certificate_is_the_one_that_the_files_have_now() {
    let directory = tempfile::tempdir().expect("a directory");
    let [first, second] = ["first", "second"].map(Authority::new);
    let roots = [("first.pem", &first), ("second.pem", &second)].map(|(name, authority)| {
        let path = directory.path().join(name);
        fs::write(&path, authority.pem()).expect("written");
        path
    });
    let (cert_file, key_file) = first.issue(&Wish::LOCALHOST).write(directory.path(), "own");
    let served = Served::start(|http| {
        http.token_file = Some(file(directory.path(), "token", TOKEN));
        (http.cert_file, http.key_file) = (Some(cert_file.clone()), Some(key_file.clone()));
    });
    let mut stream = served.encrypted(&roots[0]).expect("TLS");
    let answer = Answer::of(&mut stream, "GET /livez HTTP/1.1\r\nHost: pod\r\n\r\n");
    assert_eq!(answer.expect("an answer").status, 200);
    assert!(served.encrypted(&roots[1]).is_err(), "another authority");

    let body = format!("token={TOKEN}");
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = served.encrypted(&roots[0]).expect("TLS");
    let answer = Answer::of(&mut stream, &request).expect("an answer");
    assert!(answer.header("set-cookie").expect("a cookie").contains("; Secure"), "{answer:?}");

    // Who speaks something else gets no page, and disturbs nobody.
    for garbage in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0x16, 3, 1, 255, 255, 0]] {
        let mut stream = TcpStream::connect(served.address()).expect("it listens");
        stream.write_all(garbage).expect("sent");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }

    second.issue(&Wish::LOCALHOST).write(directory.path(), "own");
    eventually("the new certificate", || served.encrypted(&roots[1]).is_ok());
    assert!(served.encrypted(&roots[0]).is_err());
    fs::write(&cert_file, "nothing").expect("written");
    served.lines.wait_until(|text| text.contains("http certificate changed and cannot be used"));
    assert!(served.encrypted(&roots[1]).is_ok(), "the one before stays");
}

#[test]
fn healthcheck_asks_over_tls_and_without_a_token() {
    let directory = tempfile::tempdir().expect("a directory");
    // Neither for this machine nor from an authority that anybody knows.
    let wish = Wish { valid_days: (-30, -1), ..Wish::client("elsewhere.example") };
    let (cert_file, key_file) = Authority::new("test").issue(&wish).write(directory.path(), "own");
    let served = Served::start(|http| {
        http.token_file = Some(file(directory.path(), "token", TOKEN));
        (http.cert_file, http.key_file) = (Some(cert_file), Some(key_file));
    });
    assert_eq!(check::check(&served.config.http, true), Ok(()));
    let why = check::check(&served.config.http, false).expect_err("not ready");
    assert!(why.contains("mqtt_disconnected") && why.contains("kafka_pending"), "{why}");

    let mut plain = served.config.clone();
    (plain.http.cert_file, plain.http.key_file) = (None, None);
    assert!(check::check(&plain.http, true).is_err(), "it serves TLS alone");
    let open = Served::start(|_| {});
    assert_eq!(check::check(&open.config.http, true), Ok(()));
    let mut encrypted = open.config.clone();
    encrypted.http.cert_file = Some("/any".into());
    let why = check::check(&encrypted.http, true).expect_err("it serves no TLS");
    assert!(why.starts_with("no answer from https://127.0.0.1:"), "{why}");
}

/// More clients than the server serves at once, each with an answer that its socket does not take.
#[test]
fn clients_that_read_nothing_are_ended_and_the_probes_answered() {
    let directory = tempfile::tempdir().expect("a directory");
    let authority = Authority::new("test");
    let root = directory.path().join("root.pem");
    fs::write(&root, authority.pem()).expect("written");
    let (cert_file, key_file) = authority.issue(&Wish::LOCALHOST).write(directory.path(), "own");
    let over_tls = || HttpConfig {
        cert_file: Some(cert_file.clone()),
        key_file: Some(key_file.clone()),
        ..HttpConfig::default()
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let served = Served::with_large_metrics(HttpConfig::default());
            served.endure(|client| client, || served.get("/livez", ""));
        });
        scope.spawn(|| {
            let served = Served::with_large_metrics(over_tls());
            let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
            let ask = || Answer::of(&mut served.encrypted(&root).expect("TLS"), request);
            let encrypt = |client| connector(&root).connect("localhost", client).expect("TLS");
            served.endure(encrypt, || ask().expect("an answer"));
        });
    });
}

impl Served {
    fn with_large_metrics(http: HttpConfig) -> Self {
        let mut config = Config::for_test();
        let listen = Some("127.0.0.1:0".parse().expect("legal"));
        config.http = HttpConfig { listen, ..http };
        let metrics = Metrics::new((0..256).map(|n| format!("connection-{n}").into()));
        let (server, lines) = Self::serve_metrics(&config, metrics);
        Self { server: server.expect("a server"), config, lines }
    }

    fn endure<C: Write>(&self, dress: impl Fn(TcpStream) -> C + Sync, livez: impl Fn() -> Answer) {
        let (began, ask) = (Instant::now(), AtomicBool::new(true));
        let asking = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS_MAX + MORE {
                scope.spawn(|| {
                    let mut client = dress(reading_nothing(self.address()));
                    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
                    client.write_all(request).expect("sent");
                    asking.fetch_add(1, Ordering::Relaxed);
                    while ask.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                });
            }
            eventually("all places are taken", || {
                asking.load(Ordering::Relaxed) >= CONNECTIONS_MAX
            });
            let answer = livez();
            ask.store(false, Ordering::Relaxed);
            assert_eq!(answer.status, 200);
        });
        let took = began.elapsed();
        // Else they held nothing, and this test shows nothing.
        assert!(took > CONNECTION_LASTS / 2, "{took:?}");
        assert!(took < CONNECTION_LASTS * 2, "{took:?}");
    }
}

/// A client whose system takes almost nothing that it does not read: small segments keep the server's own
/// buffer small as well.
pub(super) fn reading_nothing(server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(2048).expect("set");
    socket.set_tcp_mss(536).expect("set");
    socket.connect(&server.into()).expect("it listens");
    socket.into()
}

fn connector(authority: &Path) -> SslConnector {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("TLS");
    connector.set_ca_file(authority).expect("it is there");
    connector.build()
}
