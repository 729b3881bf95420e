//! An issuer of tokens: a token endpoint for OIDC client credentials, over HTTP or HTTPS, whose tokens Kafka
//! verifies by a file of its keys (JWKS).

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sign::Signer;
use openssl::ssl::{SslAcceptor, SslMethod};
use serde_json::json;

use super::pki::Identity;

/// An issuer. Its endpoint ends with the process.
pub struct Issuer {
    key: Arc<Mutex<PKey<Private>>>,
    granted: Arc<AtomicU64>,
}

impl Issuer {
    pub fn new() -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        Self { key: Arc::new(Mutex::new(key)), granted: Arc::default() }
    }

    /// From now on it signs by the key of another one.
    pub fn sign_as(&self, other: &Self) {
        let key = other.key.lock().unwrap().clone();
        *self.key.lock().unwrap() = key;
    }

    /// Writes the public key as `jwks.json`.
    pub fn write_keys(&self, dir: &Path) -> PathBuf {
        let rsa = self.key.lock().unwrap().rsa().unwrap();
        let number = |number: &openssl::bn::BigNumRef| URL_SAFE_NO_PAD.encode(number.to_vec());
        let (n, e) = (number(rsa.n()), number(rsa.e()));
        let key = json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": n, "e": e });
        let path = dir.join("jwks.json");
        fs::write(&path, json!({ "keys": [key] }).to_string()).unwrap();
        path
    }

    /// Serves `client` on this port (0: any), with tokens that live so long. Returns the URL.
    pub fn serve(
        &self,
        port: u16,
        identity: Option<&Identity>,
        (client, secret): (&str, &str),
        lifetime: Duration,
    ) -> String {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = identity.map(|identity| {
            let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls()).unwrap();
            acceptor.set_private_key(&identity.key).unwrap();
            acceptor.set_certificate(&identity.certificate).unwrap();
            acceptor.build()
        });
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let login =
            format!("authorization: basic {}", STANDARD.encode(format!("{client}:{secret}")));
        let (key, client) = (Arc::clone(&self.key), client.to_owned());
        let granted = Arc::clone(&self.granted);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answer = |head: &str| {
                    // Header names in any case, base64 in its own.
                    let is_known = head.lines().any(|line| line.eq_ignore_ascii_case(&login));
                    if is_known {
                        granted.fetch_add(1, Relaxed);
                        let token = token(&key.lock().unwrap(), &client, lifetime);
                        ("200 OK", json!({ "access_token": token, "token_type": "Bearer" }))
                    } else {
                        ("401 Unauthorized", json!({ "error": "invalid_client" }))
                    }
                };
                match &acceptor {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream) {
                            serve_one(stream, answer);
                        }
                    }
                    None => serve_one(stream, answer),
                }
            }
        });
        format!("{scheme}://localhost:{port}/token")
    }

    /// How many tokens it has given.
    pub fn granted(&self) -> u64 {
        self.granted.load(Relaxed)
    }
}

fn serve_one<S: Read + Write>(
    stream: S,
    answer: impl FnOnce(&str) -> (&'static str, serde_json::Value),
) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap_or(0) > 0 {}
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = stream.read_exact(&mut body);
    let (status, body) = answer(&head);
    let body = body.to_string();
    let length = body.len();
    let _ = write!(
        stream.get_mut(),
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    );
}

/// A JWT, RS256.
fn token(key: &PKey<Private>, subject: &str, lifetime: Duration) -> String {
    let now = UNIX_EPOCH.elapsed().unwrap();
    let claims = json!({
        "iss": "https://issuer.example", "aud": "kafka", "sub": subject,
        "iat": now.as_secs(), "exp": (now + lifetime).as_secs(),
    });
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed =
        format!("{}.{}", part(json!({ "alg": "RS256", "typ": "JWT", "kid": "1" })), part(claims));
    let mut signer = Signer::new(MessageDigest::sha256(), key).unwrap();
    let signature = signer.sign_oneshot_to_vec(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
