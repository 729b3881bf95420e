//! Token endpoints that are played here, over HTTP and HTTPS.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use openssl::ssl::{SslAcceptor, SslMethod};

use super::*;
use crate::config::Secret;
use crate::pki::{Authority, Identity, Wish};

const NOW: Duration = Duration::from_secs(1_000);

/// A JWT of these claims, unsigned.
fn jwt(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", part(r#"{"alg":"none"}"#), part(claims))
}

/// A request as it came: its head in small letters, and its body.
struct Asked {
    head: String,
    body: String,
}

/// Answers each connection in turn with a status and a body; nothing at all for an empty status.
fn endpoint(
    identity: Option<&Identity>,
    answers: Vec<(&'static str, String)>,
) -> (u16, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let acceptor = identity.map(|identity| {
        let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).expect("TLS");
        acceptor.set_private_key(&identity.key).expect("a key");
        acceptor.set_certificate(&identity.certificate).expect("a certificate");
        acceptor.build()
    });
    let (asked, received) = channel();
    thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().expect("a connection");
            match &acceptor {
                // A client that refuses the certificate asks nothing.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream) {
                        let _ = asked.send(answer(stream, status, &body));
                    }
                }
                None => {
                    let _ = asked.send(answer(stream, status, &body));
                }
            }
        }
    });
    (port, received)
}

fn answer<S: Read + Write>(stream: S, status: &str, body: &str) -> Asked {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).unwrap_or(0) == 0 {
            break;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut content = vec![0; length.map_or(0, |length| length.trim().parse().expect("a number"))];
    stream.read_exact(&mut content).expect("a body");
    if !status.is_empty() {
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.get_mut().write_all(answer.as_bytes());
    }
    Asked { head, body: String::from_utf8(content).expect("UTF-8") }
}

fn oidc(endpoint: String) -> Oidc {
    Oidc {
        endpoint,
        client_id: "bridge".to_owned(),
        client_secret: Secret::from("hunter2+&="),
        scope: Some("kafka write".to_owned()),
        extensions: vec![("logicalCluster".to_owned(), "lkc-1".to_owned())],
        ca_file: None,
        ca_pem: None,
    }
}

fn granted(claims: &str) -> (&'static str, String) {
    ("200 OK", format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, jwt(claims)))
}

#[test]
fn a_token_is_asked_for_as_librdkafka_does_it() {
    let (port, asked) = endpoint(None, vec![granted(r#"{"exp":2000,"sub":"me"}"#)]);
    let oidc = oidc(format!("http://127.0.0.1:{port}/token"));
    let token = fetch(&oidc, NOW).expect("a token");
    assert_eq!(token.expires_at_ms(), 2_000_000);
    assert_eq!(token.principal().to_str(), Ok("me"));
    let extensions: Vec<_> = token.extensions().iter().map(|text| text.to_str()).collect();
    assert_eq!(extensions, [Ok("logicalCluster"), Ok("lkc-1")]);
    let Asked { head, body } = asked.recv().expect("a request");
    assert!(head.starts_with("POST /token HTTP/1.1\r\n"), "{head}");
    let login = STANDARD.encode("bridge:hunter2+&=");
    assert!(head.contains(&format!("Basic {login}")), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/x-www-form-urlencoded"));
    assert_eq!(body, "grant_type=client_credentials&scope=kafka+write");
}

#[test]
fn an_endpoint_that_wants_the_login_in_the_body_gets_it_there() {
    let refused = ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned());
    let (port, asked) = endpoint(None, vec![refused, granted(r#"{"exp":2000}"#)]);
    let token = fetch(&oidc(format!("http://127.0.0.1:{port}/")), NOW).expect("a token");
    assert_eq!(token.principal().to_str(), Ok("bridge"), "without a subject");
    assert!(asked.recv().expect("a request").head.contains("Basic "));
    let Asked { head, body } = asked.recv().expect("another");
    assert!(!head.contains("Basic "));
    assert!(body.ends_with("&client_id=bridge&client_secret=hunter2%2B%26%3D"), "{body}");
}

#[test]
fn over_https_only_a_certificate_of_the_right_authority_and_name_is_trusted() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, authority: &Authority| -> PathBuf {
        let path = directory.path().join(name);
        std::fs::write(&path, authority.pem()).expect("written");
        path
    };
    let (ours_file, other_file) = (file("ours", &ours), file("other", &other));
    let identity = ours.issue(&Wish::LOCALHOST);
    let expired = ours.issue(&Wish { valid_days: (-9, -2), ..Wish::LOCALHOST });
    for (identity, host, ca_file, is_trusted) in [
        (&identity, "localhost", Some(ours_file.clone()), true),
        (&identity, "127.0.0.1", Some(ours_file.clone()), true),
        (&identity, "localhost", Some(other_file), false),
        (&identity, "localhost", None, false),
        (&expired, "localhost", Some(ours_file), false),
    ] {
        let (port, _asked) = endpoint(Some(identity), vec![granted(r#"{"exp":2000}"#)]);
        let oidc = Oidc { ca_file, ..oidc(format!("https://{host}:{port}/token")) };
        match fetch(&oidc, NOW) {
            Ok(_) => assert!(is_trusted, "{host} {:?}", oidc.ca_file),
            Err(why) => {
                assert!(!is_trusted, "{why}");
                assert!(why.contains("certificate"), "{why}");
                assert_eq!(why.lines().count(), 1);
            }
        }
    }
    let pem = String::from_utf8(ours.pem()).expect("PEM");
    let (port, _asked) =
        endpoint(Some(&ours.issue(&Wish::LOCALHOST)), vec![granted(r#"{"exp":2000}"#)]);
    let with_text = Oidc { ca_pem: Some(pem), ..oidc(format!("https://localhost:{port}/")) };
    fetch(&with_text, NOW).expect("trusted");
}

#[test]
fn what_is_wrong_is_said_in_one_line_without_the_secret() {
    let huge = format!(r#"{{"access_token":"{}"}}"#, "x".repeat(300 * 1024));
    for (status, body, expected) in [
        ("200 OK", "<html>".to_owned(), "expected JSON with access_token"),
        ("200 OK", r#"{"access_token":"abc"}"#.to_owned(), "says when it expires"),
        ("200 OK", r#"{"access_token":"a b","expires_in":9}"#.to_owned(), "visible ASCII"),
        ("200 OK", granted(r#"{"exp":999}"#).1, "expired already"),
        ("200 OK", huge, "limit"),
        ("302 Found", String::new(), "HTTP 302: no reason given"),
        (
            "403 Forbidden",
            "{\"error\":\"access_denied\",\"error_description\":\"no\\nway\\u001b[31m\"}"
                .to_owned(),
            r"HTTP 403: access_denied: no\nway\u{1b}[31m",
        ),
        ("", String::new(), "token endpoint http://127.0.0.1"),
    ] {
        let (port, _asked) = endpoint(None, vec![(status, body)]);
        let why = fetch(&oidc(format!("http://127.0.0.1:{port}/")), NOW).expect_err(expected);
        assert!(why.contains(expected), "{why}");
        assert!(!why.contains("hunter2") && why.lines().count() == 1, "{why}");
    }
    // An endpoint that quotes its request, cut in the middle of the secret.
    let filler = "x".repeat(270);
    for quoted in [
        "hunter2+&=",
        "hunter2%2B%26%3D",
        "hunter2%2b%26%3d",
        &STANDARD.encode("bridge:hunter2+&="),
    ] {
        let body = format!(r#"{{"error":"e","error_description":"{filler} {quoted}"}}"#);
        let (port, _asked) = endpoint(None, vec![("403 Forbidden", body)]);
        let why = fetch(&oidc(format!("http://127.0.0.1:{port}/")), NOW).expect_err("refused");
        assert!(!why.contains("hunt") && !why.contains(&quoted[..4]), "{why}");
    }
    let nobody = fetch(&oidc("http://127.0.0.1:1/token".to_owned()), NOW).expect_err("nobody");
    assert!(nobody.contains("Connection refused"), "{nobody}");
    let lifetime = r#"{"access_token":"opaque","expires_in":60}"#.to_owned();
    let (port, _asked) = endpoint(None, vec![("200 OK", lifetime)]);
    let token = fetch(&oidc(format!("http://127.0.0.1:{port}/")), NOW).expect("a token");
    assert_eq!(token.expires_at_ms(), 1_060_000, "of a token that is no JWT");
}

#[test]
fn a_clock_that_is_behind_makes_no_token_last_longer() {
    for (claims, expires_in, expected) in [
        (r#"{"exp":22600,"iat":22000}"#, "", 1_600_000),
        (r#"{"exp":22600}"#, r#","expires_in":600"#, 1_600_000),
        (r#"{"exp":1300,"iat":700}"#, r#","expires_in":600"#, 1_300_000),
        (r#"{"exp":1300}"#, r#","expires_in":0"#, 1_300_000),
    ] {
        let body = format!(r#"{{"access_token":"{}"{expires_in}}}"#, jwt(claims));
        let (port, _asked) = endpoint(None, vec![("200 OK", body)]);
        let token = fetch(&oidc(format!("http://127.0.0.1:{port}/")), NOW).expect("a token");
        assert_eq!(token.expires_at_ms(), expected, "{claims} {expires_in}");
    }
}
