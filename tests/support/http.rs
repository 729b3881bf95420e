//! The bridge's HTTP pages, requested over plain sockets; `/metrics` is parsed strictly.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod};
use serde_json::Value;

use super::process::free_port;
use super::{ConfigFile, eventually, eventually_some};

/// Asks for the format that is parsed strictly.
const OPENMETRICS: &str = "Accept: application/openmetrics-text; version=1.0.0\r\n";

/// A bridge's HTTP address, and how to ask there.
#[derive(Debug, Clone)]
pub struct Http {
    address: String,
    /// Trusts the server's authority, if it serves TLS.
    tls: Option<SslConnector>,
    /// What the pages ask for.
    token: Option<String>,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// All samples of `/metrics`, by name and labels as they are written.
#[derive(Debug, Clone, Default)]
pub struct Samples(BTreeMap<String, f64>);

impl Http {
    /// A free address.
    pub fn free() -> Self {
        Self { address: format!("127.0.0.1:{}", free_port()), tls: None, token: None }
    }

    /// Over TLS, with a certificate of this authority.
    pub fn over_tls(mut self, authority: &Path) -> Self {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_ca_file(authority).unwrap();
        self.tls = Some(connector.build());
        self
    }

    /// With this token.
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// `host:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The bridge's configuration for this address.
    pub fn configure(&self, config: &mut ConfigFile) {
        config.set("http", "listen", self.address());
    }

    /// Asks for a page.
    ///
    /// # Errors
    /// Nobody answers within ten seconds.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        self.get_with(path, "")
    }

    /// The same with more header lines, each with its end.
    pub fn get_with(&self, path: &str, headers: &str) -> io::Result<Answer> {
        let token = self.token.as_ref();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{token}{headers}\r\n", self.address))
    }

    /// Sends a whole request, and reads its answer.
    ///
    /// # Errors
    /// Nobody answers within ten seconds.
    pub fn ask(&self, request: &str) -> io::Result<Answer> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let text = match &self.tls {
            None => exchange(stream, request)?,
            Some(tls) => {
                let stream = tls.connect("127.0.0.1", stream).map_err(io::Error::other)?;
                exchange(stream, request)?
            }
        };
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Answer {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        })
    }

    /// The reasons on a page; empty with 200.
    pub fn reasons(&self, path: &str) -> io::Result<Vec<String>> {
        let answer = self.get(path)?;
        let said: Value = serde_json::from_str(&answer.body)?;
        let reasons = said["reasons"].as_array().expect("a list of reasons");
        let good = &said[if path == "/livez" { "alive" } else { "ready" }];
        assert_eq!(answer.status == 200, reasons.is_empty(), "{answer:?}");
        assert_eq!(good, reasons.is_empty(), "{answer:?}");
        Ok(reasons.iter().map(|r| r["reason"].as_str().expect("a code").to_owned()).collect())
    }

    /// Waits until `/readyz` answers 200; how long it took.
    #[track_caller]
    pub fn wait_ready(&self, deadline: Duration) -> Duration {
        let start = Instant::now();
        eventually("the bridge is ready", deadline, || {
            self.reasons("/readyz").is_ok_and(|reasons| reasons.is_empty())
        });
        start.elapsed()
    }

    /// Waits until `/readyz` gives this reason; how long it took.
    #[track_caller]
    pub fn wait_reason(&self, reason: &str, deadline: Duration) -> Duration {
        let start = Instant::now();
        eventually(reason, deadline, || {
            self.reasons("/readyz").is_ok_and(|reasons| reasons.iter().any(|r| r == reason))
        });
        start.elapsed()
    }

    /// Waits until `/readyz` gives exactly these reasons.
    #[track_caller]
    pub fn wait_reasons(&self, wanted: &[&str], deadline: Duration) {
        eventually(&format!("{wanted:?}"), deadline, || {
            self.reasons("/readyz").is_ok_and(|reasons| reasons == wanted)
        });
    }

    /// One scrape.
    pub fn metrics(&self) -> Samples {
        let answer = eventually_some("a scrape", super::SOON, || {
            self.get_with("/metrics", OPENMETRICS).ok()
        });
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(answer.status == 200 && answer.head.contains(kind), "{}", answer.head);
        Samples::parse(&answer.body)
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

impl Samples {
    /// Parses a whole exposition, and asserts that it is valid OpenMetrics.
    #[track_caller]
    fn parse(text: &str) -> Self {
        let text = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        let (mut families, mut samples) = (HashSet::new(), BTreeMap::new());
        let (mut family, mut kind) = (String::new(), String::new());
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let mut word =
                    || words.next().unwrap_or_else(|| panic!("cut short: {line}")).to_owned();
                match (word().as_str(), word(), word()) {
                    ("HELP", name, _) => {
                        assert!(families.insert(name.clone()), "a family twice: {line}");
                        family = name;
                    }
                    ("TYPE", name, what) => {
                        assert_eq!(name, family);
                        kind = what;
                    }
                    ("UNIT", name, unit) => assert!(name.ends_with(&format!("_{unit}")), "{line}"),
                    _ => panic!("no such comment: {line}"),
                }
                continue;
            }
            let (key, value) = line.rsplit_once(' ').expect("a name and a value");
            let name = key.split('{').next().expect("there is one");
            let suffix = name.strip_prefix(&*family).expect("a sample of the family above it");
            let allowed: &[&str] = match &*kind {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                other => panic!("no such type: {other}"),
            };
            assert!(allowed.contains(&suffix), "{line}");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(samples.insert(key.to_owned(), value).is_none(), "a sample twice: {line}");
        }
        Self(samples)
    }

    /// The sample with this name (without our prefix) and these labels, as they are written.
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        let value = self.0.get(&format!("mqtt_kafka_bridge_{name}"));
        *value.unwrap_or_else(|| panic!("no sample {name} in {:#?}", self.0)) as u64
    }

    /// The sum of this metric (without our prefix) over the connections.
    #[track_caller]
    pub fn sum(&self, name: &str) -> u64 {
        let prefix = format!("mqtt_kafka_bridge_{name}{{connection=");
        let mut values = self.0.iter().filter(|(name, _)| name.starts_with(&prefix)).peekable();
        assert!(values.peek().is_some(), "no sample {name} in {:#?}", self.0);
        values.map(|(_, value)| *value as u64).sum()
    }

    /// The sum of this metric (without our prefix) over the connections, for one `reason`; an empty one is
    /// every reason.
    pub fn sum_of(&self, name: &str, reason: &str) -> u64 {
        let (prefix, reason) =
            (format!("mqtt_kafka_bridge_{name}{{"), format!("reason=\"{reason}"));
        let wanted = |name: &str| name.starts_with(&prefix) && name.contains(&reason);
        self.0.iter().filter(|(name, _)| wanted(name)).map(|(_, value)| *value as u64).sum()
    }

    /// All samples that may only grow.
    pub fn counters(&self) -> impl Iterator<Item = (&str, f64)> {
        let grows = |name: &str| {
            let name = name.split('{').next().unwrap_or_default();
            ["_total", "_bucket", "_count", "_sum"].iter().any(|suffix| name.ends_with(suffix))
        };
        self.0.iter().map(|(name, value)| (&**name, *value)).filter(move |(name, _)| grows(name))
    }

    /// The value of a sample by its whole name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// Asserts the conservation identity, of each connection.
    #[track_caller]
    pub fn assert_balances(&self) {
        let ends =
            ["delivered_total", "dead_lettered_total", "filtered_total", "shed_total", "in_flight"];
        let received = "mqtt_kafka_bridge_received_total";
        let connections = self.0.keys().filter_map(|name| name.strip_prefix(received));
        let mut count = 0;
        for connection in connections {
            let ended: u64 = ends.iter().map(|end| self.get(&format!("{end}{connection}"))).sum();
            assert_eq!(self.get(&format!("received_total{connection}")), ended, "{:#?}", self.0);
            count += 1;
        }
        assert!(count > 0, "no connection in {:#?}", self.0);
    }
}
