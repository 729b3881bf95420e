//! Each mistake in the way to an MQTT broker: one line says which side, what was wrong and what to do; the
//! bridge is not ready for that reason, tries less and less often, and heals by itself when it is mended.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::certificates::{Certificates, ClientKey, put};
use crate::support::mosquitto::Setup;
use crate::support::pki::{Authority, Wish};
use crate::support::*;

/// A user of the broker, whose password is a mark (tests/stories/secrets.rs).
pub const USER: &str = "bridge";
const PASSWORD: &str = "m4rk3dS3cret/right";

/// Who gives no user name may do everything, and the bridge may read.
const ACL: &str = "topic readwrite #\nuser bridge\ntopic read #\n";

/// The second line of one failure comes after this time at the earliest.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// One mistake.
pub struct Failure {
    pub name: &'static str,
    /// The reason, in the log, on `/readyz` and in the metrics.
    pub reason: &'static str,
    /// What the line says among other things.
    pub words: &'static [&'static str],
    pub config: ConfigFile,
    /// Makes the mistake, if it can only be made while the bridge runs.
    pub spoil: Option<Box<dyn FnOnce() + Send>>,
    /// Makes it good; owns what the story needs until its end.
    pub mend: Box<dyn FnMut() + Send>,
}

/// What the failures share.
pub struct World {
    dir: PathBuf,
    /// A broker in good order, with all listeners and one user.
    mosquitto: Arc<Mutex<Mosquitto>>,
    /// Of an authority that no broker knows, under the name of the one that it knows.
    stranger: Certificates,
    kafka: String,
    kafka_topic: String,
}

impl World {
    pub fn start(story: &Story, kafka: &Kafka) -> Self {
        let kafka_topic = slug(story.name);
        kafka.create(&kafka_topic, 1, &[]);
        let setup = [Listener::Tls, Listener::MutualTls, Listener::WebSocket]
            .into_iter()
            .fold(Setup::default().user(USER, PASSWORD).acl(ACL), Setup::listen);
        Self {
            dir: story.dir().to_owned(),
            mosquitto: Arc::new(Mutex::new(Mosquitto::start(story.dir(), &setup))),
            stranger: Certificates::new(&story.dir().join("stranger")),
            kafka: kafka.bootstrap(),
            kafka_topic,
        }
    }

    /// Of the broker in good order.
    pub fn address(&self) -> String {
        self.address_of(Listener::Plain)
    }

    fn address_of(&self, listener: Listener) -> String {
        self.mosquitto.lock().unwrap().address_of(listener)
    }

    /// A bridge that goes to `url` and trusts the broker in good order.
    fn config(&self, name: &str, url: &str) -> ConfigFile {
        let mut config = ConfigFile::new("", name, &self.kafka);
        config.set("mqtt", "url", url).set("mqtt", "connect_timeout", "2s");
        if url.starts_with("mqtts") {
            self.mosquitto.lock().unwrap().certificates().configure(&mut config, None);
        }
        config.route(&format!("{name}/#"), &self.kafka_topic);
        config
    }

    /// A broker whose certificate is wrong, until it is told to read the right one.
    fn wrong_certificate(
        &self,
        name: &'static str,
        reason: &'static str,
        words: &'static [&'static str],
        wish: &Wish<'_>,
    ) -> Failure {
        let setup = Setup::default().listen(Listener::Tls);
        let mut mosquitto = Mosquitto::prepare(&self.dir, &setup);
        mosquitto.certificates().issue_broker(wish);
        mosquitto.run();
        let url = format!("mqtts://{}", mosquitto.address_of(Listener::Tls));
        let mut config = self.config(name, &url);
        mosquitto.certificates().configure(&mut config, None);
        let mend = move || {
            mosquitto.certificates().issue_broker(&Wish::LOCALHOST);
            mosquitto.reload();
        };
        Failure { name, reason, words, config, spoil: None, mend: Box::new(mend) }
    }

    /// Goes to the wrong listener, until another one is put behind the same port.
    fn wrong_listener(
        &self,
        (name, reason, words): (&'static str, &'static str, &'static [&'static str]),
        scheme: &str,
        wrong: &str,
        right: Listener,
    ) -> Failure {
        let proxy = Proxy::start(wrong);
        let config = self.config(name, &format!("{scheme}://{}", proxy.address()));
        let right = self.address_of(right);
        Failure {
            name,
            reason,
            words,
            config,
            spoil: None,
            mend: Box::new(move || proxy.redirect(&right)),
        }
    }

    /// Wrong files, until `mend` corrects them.
    fn wrong_files(
        &self,
        (name, reason, words): (&'static str, &'static str, &'static [&'static str]),
        listener: Listener,
        wrong: impl FnOnce(&mut ConfigFile, &Certificates, &Path),
        mend: impl Fn(&Certificates, &Path) + Send + 'static,
    ) -> Failure {
        let scheme = if listener.is_tls() { "mqtts" } else { "mqtt" };
        let mut config = self.config(name, &format!("{scheme}://{}", self.address_of(listener)));
        let dir = self.dir.join(format!("files-of-{}", slug(name)));
        fs::create_dir_all(&dir).unwrap();
        wrong(&mut config, self.mosquitto.lock().unwrap().certificates(), &dir);
        let mosquitto = Arc::clone(&self.mosquitto);
        let mend = move || mend(mosquitto.lock().unwrap().certificates(), &dir);
        Failure { name, reason, words, config, spoil: None, mend: Box::new(mend) }
    }

    /// Trusts another authority.
    fn wrong_authority(
        &self,
        what: (&'static str, &'static str, &'static [&'static str]),
        authority: &[u8],
    ) -> Failure {
        let wrong = |config: &mut ConfigFile, _: &Certificates, dir: &Path| {
            let file = dir.join("ca.pem");
            put(&file, authority);
            config.set("mqtt.tls", "ca_file", file.to_str().expect("UTF-8"));
        };
        self.wrong_files(what, Listener::Tls, wrong, |good, dir| {
            put(&dir.join("ca.pem"), &good.authority_pem());
        })
    }

    /// Logs in to the broker in good order.
    fn wrong_password(
        &self,
        what: (&'static str, &'static str, &'static [&'static str]),
        wrong: impl FnOnce(&mut ConfigFile, &Path),
        mend: impl Fn(&Path) + Send + 'static,
    ) -> Failure {
        self.wrong_files(
            what,
            Listener::Plain,
            |config, _, dir| {
                config.set("mqtt", "username", USER);
                wrong(config, dir);
            },
            move |_, dir| mend(dir),
        )
    }

    /// Every failure, each in a bridge of its own.
    #[allow(clippy::too_many_lines, reason = "it is a table")]
    pub fn failures(&self) -> Vec<Failure> {
        let day = |from, to| Wish { valid_days: (from, to), ..Wish::LOCALHOST };
        let other = Wish { dns_names: &["other.example"], addresses: &[], ..Wish::LOCALHOST };
        let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let [plain, tls] = [Listener::Plain, Listener::Tls].map(|l| self.address_of(l));
        self.stranger.issue_client(ClientKey::Ec);
        let [strange_certificate, strange_key] = self.stranger.client(ClientKey::Ec);
        let strange_identity = (strange_certificate.clone(), strange_key.clone());
        let key_of_another = strange_key.clone();
        vec![
            self.wrong_authority(
                ("wrong CA", "tls_untrusted", &["the broker's certificate", "mqtt.tls.ca_file"]),
                &Authority::new("Stranger").pem(),
            ),
            self.wrong_authority(
                ("CA with a new key", "tls_untrusted", &["another key now", "mqtt.tls.ca_file"]),
                &self.stranger.authority_pem(),
            ),
            self.wrong_certificate(
                "expired",
                "tls_expired",
                &["the broker's certificate", "expired", "clock"],
                &day(-30, -1),
            ),
            self.wrong_certificate(
                "not yet valid",
                "tls_not_yet_valid",
                &["the broker's certificate", "is valid from", "clock"],
                &day(1, 30),
            ),
            self.wrong_certificate(
                "wrong host name",
                "tls_name",
                &["the broker's certificate", "other.example", "mqtt.tls.server_name"],
                &other,
            ),
            // Mended by a broker that wants none any more.
            self.wrong_listener(
                (
                    "missing client certificate",
                    "tls_client_certificate",
                    &["the broker", "mqtt.tls.cert_file"],
                ),
                "mqtts",
                &self.address_of(Listener::MutualTls),
                Listener::Tls,
            ),
            self.wrong_files(
                (
                    "refused client certificate",
                    "tls_client_certificate",
                    &["the broker refuses the bridge's certificate", "client.crt", "authority"],
                ),
                Listener::MutualTls,
                |config, _, dir| {
                    let [certificate, key] = [dir.join("client.crt"), dir.join("client.key")];
                    fs::copy(&strange_identity.0, &certificate).unwrap();
                    fs::copy(&strange_identity.1, &key).unwrap();
                    config.set("mqtt.tls", "cert_file", text(certificate));
                    config.set("mqtt.tls", "key_file", text(key));
                },
                |good, dir| {
                    good.issue_client(ClientKey::Ec);
                    let [certificate, key] = good.client(ClientKey::Ec);
                    fs::copy(certificate, dir.join("client.crt")).unwrap();
                    fs::copy(key, dir.join("client.key")).unwrap();
                },
            ),
            self.wrong_files(
                ("key of another certificate", "tls_files", &["mqtt.tls.key_file", "client.key"]),
                Listener::MutualTls,
                |config, good, dir| {
                    good.issue_client(ClientKey::Rsa);
                    let [certificate, key] = good.client(ClientKey::Rsa);
                    fs::copy(certificate, dir.join("client.crt")).unwrap();
                    fs::copy(&key_of_another, dir.join("client.key")).unwrap();
                    fs::copy(key, dir.join("right.key")).unwrap();
                    config.set("mqtt.tls", "cert_file", text(dir.join("client.crt")));
                    config.set("mqtt.tls", "key_file", text(dir.join("client.key")));
                },
                |_, dir| put(&dir.join("client.key"), &fs::read(dir.join("right.key")).unwrap()),
            ),
            self.wrong_password(
                ("wrong password", "login_refused", &["the broker", "mqtt.username"]),
                |config, dir| {
                    put(&dir.join("password"), b"m4rk3dS3cret/wrong\n");
                    config.set("mqtt", "password_file", text(dir.join("password")));
                },
                |dir| put(&dir.join("password"), PASSWORD.as_bytes()),
            ),
            self.password_file_gone(),
            self.wrong_password(
                (
                    "password command fails",
                    "password_unavailable",
                    &["mqtt.password_command", "failed with exit status: 7"],
                ),
                |config, dir| {
                    let command = script(dir, &format!("[ -e mended ] || exit 7\n{SAY}"));
                    config.set("mqtt", "password_command", vec![command]);
                },
                |dir| put(&dir.join("mended"), b""),
            ),
            self.wrong_password(
                (
                    "password command hangs",
                    "password_unavailable",
                    &["mqtt.password_command", "2s", "mqtt.connect_timeout"],
                ),
                |config, dir| {
                    let command = script(dir, &format!("[ -e mended ] || sleep 1000\n{SAY}"));
                    config.set("mqtt", "password_command", vec![command]);
                },
                |dir| put(&dir.join("mended"), b""),
            ),
            self.wrong_listener(
                ("TLS to a plain port", "tls_failed", &["not for TLS", "mqtt.url"]),
                "mqtts",
                &plain,
                Listener::Tls,
            ),
            self.wrong_listener(
                ("plain to a TLS port", "", &["the port", "TLS", "mqtt.url"]),
                "mqtt",
                &tls,
                Listener::Plain,
            ),
            self.wrong_listener(
                (
                    "HTTP instead of WebSocket",
                    "websocket_refused",
                    &["404", "mqtt.url", "WebSocket"],
                ),
                "ws",
                &web_server(),
                Listener::WebSocket,
            ),
            self.proxy_refuses("HTTP proxy refuses", ForwardProxy::http_stopped(&self.dir), "407"),
            self.proxy_refuses(
                "SOCKS proxy refuses",
                ForwardProxy::socks5_stopped(&self.dir),
                "SOCKS",
            ),
            self.proxy_away(),
            self.broker_away_behind_a_proxy(),
            self.broker_away(),
        ]
    }

    fn password_file_gone(&self) -> Failure {
        let what = ("password file gone", "password_unavailable", &["mqtt.password_file"][..]);
        let path = self.dir.join("password-that-goes");
        let proxy = Proxy::start(&self.address());
        let url = format!("mqtt://{}", proxy.address());
        let [gone, back] = [path.clone(), path.clone()];
        let failure = self.wrong_password(
            what,
            |config, _| {
                config.set("mqtt", "url", url);
                put(&path, PASSWORD.as_bytes());
                config.set("mqtt", "password_file", path.to_str().expect("UTF-8"));
            },
            move |_| put(&back, PASSWORD.as_bytes()),
        );
        // With a changed file the bridge connects before it gives up what it has.
        let spoil = move || {
            fs::remove_file(gone).unwrap();
            eventually("there is a connection to cut", SOON, || proxy.cut() == 1);
            std::mem::forget(proxy); // it forwards until the test process ends
        };
        Failure { spoil: Some(Box::new(spoil)), ..failure }
    }

    /// It does not take the password, until it is started with that.
    fn proxy_refuses(
        &self,
        name: &'static str,
        mut proxy: ForwardProxy,
        word: &'static str,
    ) -> Failure {
        let accepted = PROXY_PASSWORD;
        proxy.set_password(accepted);
        let mut config = self.config(name, &format!("mqtt://{}", self.address_of(Listener::Plain)));
        config.set("mqtt", "proxy", proxy.url());
        proxy.set_password("another");
        proxy.run();
        let mend = move || proxy.set_password(accepted);
        let words: &[&str] = match word {
            "407" => &["the proxy", "refuses the login", "mqtt.proxy"],
            _ => &["the proxy", "mqtt.proxy"],
        };
        Failure { name, reason: "proxy_refused", words, config, spoil: None, mend: Box::new(mend) }
    }

    fn proxy_away(&self) -> Failure {
        let mut proxy = ForwardProxy::http_stopped(&self.dir);
        let name = "proxy away";
        let mut config = self.config(name, &format!("mqtt://{}", self.address_of(Listener::Plain)));
        config.set("mqtt", "proxy", proxy.url());
        let words = &["the proxy", "mqtt.proxy"];
        Failure {
            name,
            reason: "connect_failed",
            words,
            config,
            spoil: None,
            mend: Box::new(move || proxy.run()),
        }
    }

    fn broker_away_behind_a_proxy(&self) -> Failure {
        let mut proxy = ForwardProxy::socks5(&self.dir);
        let mut mosquitto = Mosquitto::prepare(&self.dir, &Setup::default());
        let name = "broker away behind a proxy";
        let mut config = self.config(name, &format!("mqtt://{}", mosquitto.address()));
        config.set("mqtt", "proxy", proxy.url());
        let mend = move || {
            assert!(proxy.is_running(), "the proxy was there all the time");
            mosquitto.run();
        };
        let words = &["the proxy"];
        Failure { name, reason: "proxy_refused", words, config, spoil: None, mend: Box::new(mend) }
    }

    fn broker_away(&self) -> Failure {
        let mut mosquitto = Mosquitto::prepare(&self.dir, &Setup::default());
        let name = "broker away";
        let config = self.config(name, &format!("mqtt://{}", mosquitto.address()));
        let mend = move || mosquitto.run();
        Failure {
            name,
            reason: "connect_failed",
            words: &["refused"],
            config,
            spoil: None,
            mend: Box::new(mend),
        }
    }
}

/// The password that a bridge has for its proxy.
const PROXY_PASSWORD: &str = "m4rk3dS3cretProxy";

/// The last line of a script that says the right password.
const SAY: &str = "echo m4rk3dS3cret/right";

/// A program in `dir`, which runs there.
fn script(dir: &Path, text: &str) -> String {
    let path = dir.join("token");
    fs::write(&path, format!("#!/bin/sh\ncd \"$(dirname \"$0\")\"\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().expect("UTF-8").to_owned()
}

/// A web server without the page that is asked for.
fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let page = "<html>no such page</html>";
            let head = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n", page.len());
            let _ = stream.write_all(format!("{head}{page}").as_bytes());
        }
    });
    address
}

/// A bridge that cannot connect.
struct Running {
    failure: Failure,
    bridge: Bridge,
    http: Http,
    since: Instant,
}

impl Running {
    fn start(story: &Story, mut failure: Failure) -> Self {
        let http = Http::free();
        http.configure(&mut failure.config);
        let bridge = Bridge::start(story.dir(), &slug(failure.name), &failure.config);
        if let Some(spoil) = failure.spoil.take() {
            http.wait_ready(PATIENT);
            spoil();
        }
        Self { failure, bridge, http, since: Instant::now() }
    }

    /// What is wrong with the log's line of the failure.
    fn wait_told(&self) -> Option<String> {
        let Failure { name, reason, words, .. } = &self.failure;
        let is_line = |record: &Value| {
            record["msg"] == "cannot connect to mqtt, retrying"
                || record["msg"] == "mqtt connection lost, reconnecting"
        };
        let is_told = |record: &Value| {
            let detail = record["detail"].as_str().unwrap_or_default();
            is_line(record)
                && (reason.is_empty() || record["reason"] == *reason)
                && words.iter().all(|word| detail.contains(word))
        };
        let log = self.bridge.log();
        if within(SOON, || log.find(is_told).is_some()) {
            let line = log.find(is_told).expect("it was there");
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            tell(&format!("{name} | {} | {}", text("reason"), text("detail")));
            return None;
        }
        Some(format!("{name}: not {reason:?} with {words:?}: {:?}", log.find(is_line)))
    }

    /// `/readyz` says the same, and the bridge has neither hurried nor chattered.
    fn check_patience(&self) {
        let name = self.failure.name;
        self.http.wait_reason("mqtt_disconnected", SOON);
        let page = self.http.get("/readyz").unwrap().body;
        for word in self.failure.words.iter().chain([&self.failure.reason]) {
            assert!(page.contains(word), "{name}: no {word:?} in {page}");
        }
        let attempts = self.http.metrics().sum_of("mqtt_reconnects_total", self.failure.reason);
        let seconds = self.since.elapsed().as_secs();
        // Pauses from 100 ms, doubling to 1 s, of which jitter takes up to a half.
        let most = 5 + 2 * seconds;
        assert!((1..=most).contains(&attempts), "{name}: {attempts} attempts in {seconds} s");
        let lines =
            self.bridge.log().count(|record| record["msg"] == "cannot connect to mqtt, retrying");
        let most = 2 + self.since.elapsed().as_secs() / WARN_EVERY.as_secs();
        assert!(lines as u64 <= most, "{name}: {lines} lines in {seconds} s");
    }
}

#[test]
fn every_failure_is_told_in_one_line_and_heals_when_it_is_mended() {
    let story = Story::new("MQTT failures");
    let world = World::start(&story, Kafka::shared());
    let mut running: Vec<_> =
        world.failures().into_iter().map(|failure| Running::start(&story, failure)).collect();
    let wrong: Vec<_> = running.iter().filter_map(Running::wait_told).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    running.iter().for_each(Running::check_patience);
    running.iter_mut().for_each(|one| (one.failure.mend)());
    for one in &mut running {
        let took = one.http.wait_ready(SOON);
        tell(&format!("{} | ready {took:?} after it was mended", one.failure.name));
        assert_eq!(one.bridge.terminate(), 0);
        one.bridge.assert_logs_sound();
    }
}
