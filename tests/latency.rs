//! `latency` as a user meets it: the real binary on logs, and asking a server that answers as the bridge does.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::{X509, X509NameBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a bridge serves as `/status.json`, as far as `latency` reads it.
const STATUS: &str = include_str!("vectors/status.json");

fn latency(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.arg("latency").args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BRIDGE_") {
            command.env_remove(name);
        }
    }
    command
}

fn output(args: &[&str]) -> Output {
    latency(args).output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn object(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// One record a second from noon on, by route in turn.
fn log(records: u64, kafka_us: impl Fn(u64) -> u64) -> String {
    let record = |nth: u64| {
        let begin: jiff::Timestamp = "2026-01-02T12:00:00Z".parse().expect("legal");
        let received = begin + Duration::from_secs(nth);
        let (kafka_us, route) = (kafka_us(nth), if nth.is_multiple_of(2) { "even" } else { "odd" });
        let record = json!({
            "mqtt_topic": format!("plant/{nth}"), "route": route, "received_at": received.to_string(),
            "routed_us": 10, "queue_us": 100, "kafka_us": kafka_us, "total_us": kafka_us + 100, "ack_us": 50,
        });
        record.to_string().replacen('{', "{\"level\":\"info\",\"msg\":\"timing\",", 1) + "\n"
    };
    (0..records).map(record).collect()
}

fn write(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    fs::write(&path, content).expect("a file");
    path.to_str().expect("a path of UTF-8").to_owned()
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// Of the object of `--json`.
fn hop<'a>(report: &'a Value, name: &str) -> &'a Value {
    let hops = report["hops"].as_array().expect("hops");
    hops.iter().find(|row| row["hop"] == name).unwrap_or_else(|| panic!("{name} in {report}"))
}

#[test]
fn a_log_is_the_same_plain_compressed_and_from_the_standard_input() {
    let directory = directory();
    let text = log(1_000, |nth| 1_000 + nth);
    let plain = write(&directory, "a.log", &text);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("into memory");
    let gzip = write(&directory, "a.log.gz", encoder.finish().expect("into memory"));
    let zstandard =
        write(&directory, "a.zst", zstd::encode_all(text.as_bytes(), 3).expect("into memory"));
    let without_name = |report: &Output| {
        let mut report = object(report);
        report["files"] = Value::Null;
        report
    };
    let expected = without_name(&output(&["--log", &plain, "--json"]));
    // Exact: HDR histograms have a value for each number up to 2,047.
    let total = json!({"hop": "total", "count": 1000, "p50_us": 1599, "p90_us": 1999, "p99_us": 2089, "p999_us": 2098, "max_us": 2099});
    let near = hop(&expected, "total");
    for (key, exact) in total.as_object().expect("an object") {
        match exact.as_u64() {
            Some(exact) => {
                let found = near[key].as_u64().expect("a number");
                assert!(found.abs_diff(exact) <= exact / 1000, "{key}: {found}, {exact}");
            }
            None => assert_eq!(&near[key], exact),
        }
    }
    assert_eq!(expected["slowest"][0]["mqtt_topic"], "plant/999");
    assert_eq!(expected["lines"]["timing"], 1000);
    for path in [&gzip, &zstandard] {
        assert_eq!(without_name(&output(&["--log", path, "--json"])), expected, "{path}");
    }
    let from_stdin = latency(&["--log", "-", "--json"])
        .stdin(fs::File::open(&gzip).expect("it is there"))
        .output()
        .expect("it starts");
    assert_eq!(without_name(&from_stdin), expected);
    let several = object(&output(&["--log", &plain, &gzip, &zstandard, "--json"]));
    assert_eq!(hop(&several, "total")["count"], 3000);
    let text = stdout(&output(&["--log", &plain]));
    for part in ["1,000 timing records", "All records", "Route even", "The slowest", "plant/999"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_part_of_a_log_is_chosen_by_time_and_route() {
    let directory = directory();
    let path = write(&directory, "a.log", log(100, |nth| nth));
    let chosen = |args: &[&str]| {
        let found = output(&[&["--log", &path, "--json"], args].concat());
        (object(&found)["lines"]["timing"].as_u64(), found.status.code())
    };
    let (from, to) = ("2026-01-02T12:00:10Z", "2026-01-02T13:01:00+01:00");
    assert_eq!(chosen(&["--from", from]), (Some(90), Some(0)));
    assert_eq!(chosen(&["--to", to]), (Some(60), Some(0)));
    assert_eq!(chosen(&["--from", from, "--to", to, "--route", "even"]), (Some(25), Some(0)));
    assert_eq!(chosen(&["--route", "even", "--route", "odd"]), (Some(100), Some(0)));
    assert_eq!(chosen(&["--route", "other"]), (Some(0), Some(1)));
    assert_eq!(chosen(&["--connection", "east"]), (Some(0), Some(1)));
    for args in [
        &["--log", &path, "--from", "yesterday"][..],
        &["--from", from],
        &["--html", "x"],
        &["--log", &path, "--watch"],
        &["--log", &path, "--slowest", "100000"],
    ] {
        assert_eq!(output(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn two_logs_are_compared_with_the_ratio_of_each_percentile() {
    let directory = directory();
    let before = write(&directory, "before.log", log(200, |_| 900));
    let after =
        write(&directory, "after.log", log(100, |nth| if nth % 2 == 0 { 1_900 } else { 900 }));
    let args = ["--log", &before, "--compare", &after];
    let report = object(&output(&[&args[..], &["--json"]].concat()));
    let pairs = report["pairs"].as_array().expect("pairs");
    let pair = |route: Value, hop: &str| {
        pairs.iter().find(|it| it["route"] == route && it["hop"] == hop).expect("a pair")
    };
    let even = pair(json!("even"), "total");
    assert_eq!((&even["before"]["count"], &even["after"]["count"]), (&json!(100), &json!(50)));
    assert_eq!((&even["before"]["p50_us"], &even["ratio"]["p50"]), (&json!(1000), &json!(2.0)));
    assert_eq!(pair(json!("odd"), "total")["ratio"]["p99"], 1.0);
    assert_eq!(pair(Value::Null, "total")["ratio"]["p99"], 2.0);
    let text = stdout(&output(&args));
    let line = |of: &str| {
        let lines = text.lines().skip_while(|line| !line.starts_with(of));
        lines.map(str::trim).filter(|line| line.starts_with("ratio")).nth(3).map(str::to_owned)
    };
    let two = Some("ratio                   2.00     2.00     2.00     2.00     2.00");
    let found =
        line("Route even").map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(
        found,
        two.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")),
        "{text}"
    );
}

#[test]
fn damaged_lines_are_named_and_what_cannot_be_read_ends_with_1() {
    let directory = directory();
    let mut text = log(10, |_| 1);
    text.push_str("2026-01-02T03:04:05Z info bridge: starting\u{1b}[2J\n");
    let path = write(&directory, "a.log", &text);
    let found = output(&["--log", &path]);
    assert_eq!(found.status.code(), Some(0));
    let told = stdout(&found);
    let expected = format!(
        "1 damaged line, the first: {path}:11: at byte 1 expected a JSON object, found `2026-01-02T03:04:05Z inf...`"
    );
    assert!(told.contains(&expected), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
    for (args, why) in [
        (vec!["--log", "/nowhere"], "/nowhere: No such file or directory"),
        (vec!["--log", "/"], "/: Is a directory"),
        (vec!["--log", &path, "--html", "/nowhere/x"], "--html: cannot write /nowhere/x"),
    ] {
        let found = output(&args);
        assert_eq!(found.status.code(), Some(1), "{args:?}");
        assert!(stderr(&found).starts_with(why), "{found:?}");
    }
    let nothing = write(&directory, "empty.log", "");
    let found = output(&["--log", &nothing]);
    assert_eq!(found.status.code(), Some(1));
    assert!(stdout(&found).contains("There is no timing record to look at."), "{found:?}");
}

#[test]
fn a_page_is_written_and_no_mqtt_topic_is_markup() {
    let directory = directory();
    let text = log(500, |nth| 100 + nth).replace("plant/", "<script>x</script>/");
    let path = write(&directory, "a.log", text);
    let page = directory.path().join("report.html");
    let found = output(&["--log", &path, "--html", page.to_str().expect("UTF-8")]);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let page = fs::read_to_string(page).expect("it was written");
    assert!(page.contains("Content-Security-Policy") && page.contains("<svg "), "{page}");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
}

/// A server that answers each request with the same, and what it was asked.
struct Server {
    address: String,
    asked: std::sync::mpsc::Receiver<String>,
}

impl Server {
    fn start(tls: Option<SslAcceptor>, status: &'static str, body: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let (tell, asked) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let head = match &tls {
                    None => answer(stream, status, body),
                    Some(tls) => {
                        tls.accept(stream).ok().and_then(|stream| answer(stream, status, body))
                    }
                };
                // A client that hangs up before it asks tells nothing.
                let _ = tell.send(head.unwrap_or_default());
            }
        });
        Self { address, asked }
    }

    fn config(&self, directory: &TempDir, more: &str) -> String {
        write(directory, "config.toml", format!("[http]\nlisten = \"{}\"\n{more}", self.address))
    }
}

fn answer(mut stream: impl Read + Write, status: &str, body: &str) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    stream.flush().ok()?;
    Some(String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn a_bridge_that_runs_is_asked_for_its_latencies() {
    let directory = directory();
    let server = Server::start(None, "200 OK", STATUS);
    let config = server.config(&directory, "");
    let found = output(&["--config", &config]);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    let told = stdout(&found);
    for part in
        ["All records", "Route machines connection west", "690 µs", "140 ms", "plant/3/alarms"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    let asked = server.asked.recv().expect("it was asked");
    assert!(asked.starts_with("GET /status.json HTTP/1.1\r\n"), "{asked}");
    assert!(!asked.contains("Authorization"), "{asked}");
    let status: Value = serde_json::from_str(STATUS).expect("JSON");
    let report = object(&output(&["--config", &config, "--json", "--route", "energy"]));
    assert_eq!(report["routes"].as_array().map(Vec::len), Some(5));
    assert_eq!(report["slowest"][0]["total_us"], status["slowest"][0]["total_us"]);
    let none = output(&["--config", &config, "--route", "none"]);
    assert_eq!(none.status.code(), Some(1), "{none:?}");
}

#[test]
fn the_token_is_sent_and_over_tls_to_the_own_certificate_alone() {
    let directory = directory();
    let token = write(&directory, "token", "0123456789abcdef0123456789abcdef\n");
    let more = |name: &str| {
        let cert = directory.path().join(format!("{name}.pem")).display().to_string();
        format!("token_file = \"{token}\"\ncert_file = \"{cert}\"\nkey_file = \"{cert}\"\n")
    };
    let plain = Server::start(None, "200 OK", STATUS);
    let config = plain.config(&directory, &format!("token_file = \"{token}\"\n"));
    assert_eq!(output(&["--config", &config]).status.code(), Some(0));
    let asked = plain.asked.recv().expect("it was asked");
    assert!(
        asked.contains("\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef\r\n"),
        "{asked}"
    );

    let (own, key) = certificate(directory.path(), "own");
    let (stranger, of_stranger) = certificate(directory.path(), "stranger");
    let good = Server::start(Some(acceptor(&own, &key)), "200 OK", STATUS);
    let config = good.config(&directory, &more("own"));
    let found = output(&["--config", &config]);
    assert_eq!(found.status.code(), Some(0), "{found:?}");
    assert!(good.asked.recv().expect("it was asked").contains("Bearer 0123456789abcdef"));
    let bad = Server::start(Some(acceptor(&stranger, &of_stranger)), "200 OK", STATUS);
    let config = bad.config(&directory, &more("own"));
    let found = output(&["--config", &config]);
    assert_eq!(found.status.code(), Some(1));
    let why = stderr(&found);
    assert!(why.contains("its certificate is not that of http.cert_file"), "{why}");
    assert_eq!(bad.asked.recv().expect("it was asked"), "", "nothing was sent");
}

#[test]
fn a_bridge_that_gives_no_latencies_is_told_in_a_sentence() {
    let directory = directory();
    for (status, body, why) in [
        (
            "401 Unauthorized",
            "",
            "/status.json asks for another token than that of http.token_file",
        ),
        ("403 Forbidden", "", "/status.json is not served off loopback without http.token_file"),
        (
            "404 Not Found",
            "",
            "expected 200 for /status.json, found \"HTTP/1.1 404 Not Found\": is it the bridge, of a version",
        ),
        (
            "200 OK",
            "hello",
            "expected an object with the lists latencies and slowest in /status.json",
        ),
    ] {
        let server = Server::start(None, status, body);
        let found = output(&["--config", &server.config(&directory, "")]);
        assert_eq!(found.status.code(), Some(1), "{status}");
        assert!(stderr(&found).starts_with(why), "{found:?}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    drop(taken);
    let config = write(&directory, "config.toml", format!("[http]\nlisten = \"{address}\"\n"));
    let found = output(&["--config", &config]);
    assert_eq!(found.status.code(), Some(1));
    assert!(stderr(&found).starts_with("no answer from http://127.0.0.1:"), "{found:?}");
    let wrong = write(&directory, "wrong.toml", "[http]\nlisten = 5\n");
    assert_eq!(output(&["--config", &wrong]).status.code(), Some(78));
}

#[test]
fn watched_it_is_asked_again_and_again_and_what_no_terminal_reads_has_no_control_sequence() {
    let directory = directory();
    let server = Server::start(None, "200 OK", STATUS);
    let config = server.config(&directory, "");
    let mut child = latency(&["--config", &config, "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut blocks = 0;
    for line in lines.map_while(Result::ok) {
        assert!(!line.contains('\u{1b}'), "{line:?}");
        blocks += usize::from(line == "All records");
        if blocks == 2 {
            break;
        }
    }
    assert_eq!(blocks, 2);
    assert_eq!(
        server.asked.iter().take(2).filter(|asked| asked.contains("/status.json")).count(),
        2
    );
    // Its reader is gone: it ends by itself.
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

fn acceptor(certificate: &X509, key: &PKey<Private>) -> SslAcceptor {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).expect("legal");
    acceptor.set_certificate(certificate).expect("a certificate");
    acceptor.set_private_key(key).expect("its key");
    acceptor.build()
}

/// Signed by itself, and in a file.
fn certificate(directory: &Path, name: &str) -> (X509, PKey<Private>) {
    let key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let mut subject = X509NameBuilder::new().expect("a name");
    subject.append_entry_by_text("CN", name).expect("a name");
    let subject = subject.build();
    let mut builder = X509::builder().expect("a certificate");
    builder.set_subject_name(&subject).expect("a subject");
    builder.set_issuer_name(&subject).expect("an issuer");
    builder.set_pubkey(&key).expect("a key");
    builder.set_not_before(&Asn1Time::days_from_now(0).expect("today")).expect("a day");
    builder.set_not_after(&Asn1Time::days_from_now(2).expect("a day")).expect("a day");
    builder.sign(&key, MessageDigest::sha256()).expect("signed");
    let certificate = builder.build();
    let pem = certificate.to_pem().expect("PEM");
    fs::write(directory.join(format!("{name}.pem")), pem).expect("a file");
    (certificate, key)
}
