//! Every login of Kafka: each forwards, each failure is named and heals by itself, and what is renewed under
//! load costs nothing but, for certificates, duplicates of at most a window.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::issuer::Issuer;
use crate::support::kafka_logins::*;
use crate::support::line::Plan;
use crate::support::pki::{Authority, Wish};
use crate::support::process::free_port;
use crate::support::*;

/// Keys of the configuration: section, key, value.
type Keys = Vec<(&'static str, &'static str, Value)>;

/// The bridge's window where duplicates are counted.
const WINDOW: u64 = 1_000;

fn secure() -> &'static SecureKafka {
    SecureKafka::shared()
}

fn keys(brokers: &str, properties: &[(&'static str, &str)]) -> Keys {
    let properties =
        properties.iter().map(|(name, value)| ("kafka.properties", *name, json!(value)));
    std::iter::once(("kafka", "brokers", json!([brokers]))).chain(properties).collect()
}

/// TLS, with the authority of the tests.
fn trusting<'a>(protocol: &'a str, ca: &'a Path) -> [(&'static str, &'a str); 2] {
    let ca = ca.to_str().expect("UTF-8");
    [("security.protocol", protocol), ("ssl.ca.location", ca)]
}

fn password(mechanism: &'static str) -> [(&'static str, &'static str); 3] {
    [("sasl.mechanism", mechanism), ("sasl.username", USER), ("sasl.password", PASSWORD)]
}

fn oidc(url: &str) -> [(&'static str, &str); 5] {
    [
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.method", "oidc"),
        ("sasl.oauthbearer.token.endpoint.url", url),
        ("sasl.oauthbearer.client.id", USER),
        ("sasl.oauthbearer.client.secret", CLIENT_SECRET),
    ]
}

fn forward(name: &'static str, keys: Keys) {
    let story = Story::new(name);
    let secure = secure();
    let mut lines: Vec<_> = [(0, 3_000), (1, 10_000)]
        .into_iter()
        .map(|(qos, rate)| {
            let load = Load { qos, rate, ..Load::default() };
            let plan = Plan { load, config: keys.clone(), ..Plan::default() };
            Line::start(&story, &secure.kafka, Version::V5, &plan)
        })
        .collect();
    lines.iter().for_each(|line| line.publisher.publish(10_000));
    for line in &mut lines {
        line.wait_delivered(10_000);
        line.settle().assert_exact();
    }
}

#[test]
fn by_tls_alone() {
    forward("kafka by TLS", keys(&secure().tls, &trusting("SSL", &secure().ca)));
}

#[test]
fn by_a_certificate_with_an_encrypted_key() {
    let (secure, story) = (secure(), Story::new("a certificate for kafka"));
    let identity = secure.authority.issue(&Wish::client(USER));
    let [certificate, key, password] =
        ["client.crt", "client.key", "key.password"].map(|name| story.dir().join(name));
    fs::write(&certificate, identity.certificate_pem()).unwrap();
    fs::write(&key, identity.encrypted_key_pem(KEY_PASSWORD)).unwrap();
    fs::write(&password, format!("{KEY_PASSWORD}\n")).unwrap();
    let mut keys = keys(
        &secure.mutual,
        &[
            &trusting("SSL", &secure.ca)[..],
            &[
                ("ssl.certificate.location", certificate.to_str().unwrap()),
                ("ssl.key.location", key.to_str().unwrap()),
            ],
        ]
        .concat(),
    );
    keys.push(("kafka", "ssl_key_password_file", json!(password)));
    forward("kafka by a certificate", keys);
}

#[test]
fn by_plain() {
    let properties = [&trusting("SASL_SSL", &secure().ca)[..], &password("PLAIN")].concat();
    forward("kafka by PLAIN", keys(&secure().login, &properties));
}

#[test]
fn by_scram_of_256() {
    let properties = [&trusting("SASL_SSL", &secure().ca)[..], &password("SCRAM-SHA-256")].concat();
    forward("kafka by SCRAM-SHA-256", keys(&secure().login, &properties));
}

#[test]
fn by_scram_of_512_without_tls() {
    let properties =
        [&[("security.protocol", "SASL_PLAINTEXT")][..], &password("SCRAM-SHA-512")].concat();
    forward("kafka by SCRAM-SHA-512", keys(&secure().login_in_clear, &properties));
}

#[test]
fn by_tokens_that_are_fetched_over_https_and_renewed() {
    let secure = secure();
    let identity = secure.authority.issue(&Wish::LOCALHOST);
    let client = (USER, CLIENT_SECRET);
    let url = secure.issuer.serve(0, Some(&identity), client, Duration::from_secs(6));
    let ca = secure.ca.to_str().expect("UTF-8");
    let properties = [
        &trusting("SASL_SSL", &secure.ca)[..],
        &oidc(&url),
        &[("https.ca.location", ca), ("sasl.oauthbearer.scope", "kafka write")],
    ]
    .concat();
    let before = secure.issuer.granted();
    // 10,000 messages at QoS 0 take 3.3 s and those at QoS 1 begin with them: longer than a token lives.
    let story = Story::new("kafka by OAUTHBEARER");
    let mut lines: Vec<_> = [0, 1]
        .into_iter()
        .map(|qos| {
            let load = Load { qos, rate: 1_500, ..Load::default() };
            let config = keys(&secure.login, &properties);
            Line::start(
                &story,
                &secure.kafka,
                Version::V5,
                &Plan { load, config, ..Plan::default() },
            )
        })
        .collect();
    lines.iter().for_each(|line| line.publisher.publish(10_000));
    for line in &mut lines {
        line.wait_delivered(10_000);
        line.settle().assert_exact();
    }
    let granted = secure.issuer.granted() - before;
    tell(&format!("{}: {granted} tokens for two bridges", story.name));
    assert!(granted >= 4, "{granted}");
}

/// A bridge that cannot log in.
struct Failing {
    name: &'static str,
    bridge: Bridge,
    http: Http,
    /// `/readyz`
    reason: &'static str,
    /// What `/readyz` and the log say.
    said: &'static str,
    mend: Option<Box<dyn FnOnce()>>,
}

impl Failing {
    fn start(
        story: &Story,
        name: &'static str,
        keys: Keys,
        (reason, said): (&'static str, &'static str),
        mend: Option<Box<dyn FnOnce()>>,
    ) -> Self {
        let http = Http::free();
        let nobody = format!("127.0.0.1:{}", free_port());
        let mut config = ConfigFile::new(&nobody, name, "replaced:1");
        config.route("a/#", "t");
        for (section, key, value) in keys {
            config.set(section, key, value);
        }
        http.configure(&mut config);
        let bridge = Bridge::start(story.dir(), name, &config);
        Self { name, bridge, http, reason, said, mend }
    }

    fn page(&self, path: &str) -> String {
        self.http.get(path).map(|answer| answer.body).unwrap_or_default()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.bridge.dir().join("run-1.log")).unwrap_or_default()
    }

    fn wait_named(&self) {
        let readyz = || self.page("/readyz");
        eventually(
            &format!("{}: {}, in /readyz: {}", self.name, self.said, readyz()),
            SOON,
            || readyz().contains(self.said) && readyz().contains(self.reason),
        );
        let has_said = |record: &Value| {
            ["likely", "error", "detail"]
                .iter()
                .any(|key| record[key].as_str().is_some_and(|text| text.contains(self.said)))
        };
        let what = format!("{}: {}, in the log", self.name, self.said);
        eventually(&what, SOON, || self.bridge.log().count(has_said) > 0);
    }

    fn wait_mended(&self) {
        let what = format!("{} is mended: {}", self.name, self.page("/readyz"));
        eventually(&what, PATIENT, || {
            let page = self.page("/readyz");
            !page.contains("kafka_unreachable") && !page.contains("kafka_authentication")
        });
    }

    /// Everything that a person can see of it.
    fn output(&self) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
        command.arg("check").arg("--config").arg(self.bridge.config());
        let check = command.output().unwrap();
        let check = [check.stdout, check.stderr].concat();
        [
            self.log(),
            self.page("/readyz"),
            self.page("/livez"),
            self.page("/metrics"),
            self.page("/status.json"),
            String::from_utf8_lossy(&check).into_owned(),
        ]
        .concat()
    }
}

#[test]
fn each_failure_is_named_shows_no_secret_and_heals_when_it_is_mended() {
    const UNREACHABLE: &str = "kafka_unreachable";
    const REFUSED: &str = "kafka_authentication";
    let (secure, story) = (secure(), Story::new("kafka logins that fail"));
    secure.kafka.create("t", 1, &[]);
    let other = Authority::new("other");
    let file = |name: &str, text: &[u8]| {
        let path = story.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mending = |changes: Vec<(std::path::PathBuf, Vec<u8>)>| -> Option<Box<dyn FnOnce()>> {
        Some(Box::new(move || {
            changes.iter().for_each(|(path, text)| fs::write(path, text).unwrap())
        }))
    };
    let fails = |name, keys, said, mend| Failing::start(&story, name, keys, said, mend);
    let with_file = |mut keys: Keys, key, path: &Path| {
        keys.push(("kafka", key, json!(path)));
        keys
    };
    let sasl_ssl = trusting("SASL_SSL", &secure.ca);
    let login = |mechanism, more: &[(&'static str, &str)]| {
        let user = [("sasl.mechanism", mechanism), ("sasl.username", USER)];
        keys(&secure.login, &[&sasl_ssl[..], &user, more].concat())
    };
    let oidc_without_secret = |url: &str| {
        let properties = oidc(url);
        keys(&secure.login, &[&sasl_ssl[..], &properties[..4]].concat())
    };

    let ca = file("ca.pem", &other.pem());
    let identity = other.issue(&Wish::client(USER));
    let certificate = file("client.crt", &identity.certificate_pem());
    let key = file("client.key", &identity.key_pem());
    let good = secure.authority.issue(&Wish::client(USER));
    let wrong = format!("{MARK}-wrong");
    let passwords = ["plain", "scram"].map(|name| file(name, wrong.as_bytes()));
    let [secret, right_secret] =
        [&*wrong, CLIENT_SECRET].map(|text| file(&text[11..], text.as_bytes()));
    let (away, client) = (free_port(), (USER, CLIENT_SECRET));
    let lifetime = Duration::from_secs(300);
    let url = secure.issuer.serve(0, None, client, lifetime);
    // Its tokens are signed by a key that Kafka does not know.
    let issuer = Issuer::new();
    let foreign = issuer.serve(0, None, client, lifetime);

    let failing = [
        fails(
            "unknown authority",
            keys(&secure.tls, &trusting("SSL", &ca)),
            (UNREACHABLE, "from an authority that the bridge does not know"),
            mending(vec![(ca.clone(), secure.authority.pem())]),
        ),
        fails(
            "expired",
            keys(&secure.expired, &trusting("SSL", &secure.ca)),
            (UNREACHABLE, "the broker's certificate is out of its time"),
            None,
        ),
        fails(
            "another name",
            keys(&secure.other_name, &trusting("SSL", &secure.ca)),
            (UNREACHABLE, "the broker's certificate is for another name"),
            None,
        ),
        fails(
            "no client certificate",
            keys(&secure.mutual, &trusting("SSL", &secure.ca)),
            (UNREACHABLE, "the listener asks for a certificate of the bridge"),
            None,
        ),
        fails(
            "a client certificate of another authority",
            keys(
                &secure.mutual,
                &[
                    &trusting("SSL", &secure.ca)[..],
                    &[
                        ("ssl.certificate.location", certificate.to_str().unwrap()),
                        ("ssl.key.location", key.to_str().unwrap()),
                    ],
                ]
                .concat(),
            ),
            (UNREACHABLE, "the listener asks for a certificate of the bridge"),
            mending(vec![
                (certificate.clone(), good.certificate_pem()),
                (key.clone(), good.key_pem()),
            ]),
        ),
        fails(
            "a wrong password by PLAIN",
            with_file(login("PLAIN", &[]), "sasl_password_file", &passwords[0]),
            (REFUSED, "the user name or the password is wrong"),
            mending(vec![(passwords[0].clone(), PASSWORD.into())]),
        ),
        fails(
            "a wrong password by SCRAM",
            with_file(login("SCRAM-SHA-256", &[]), "sasl_password_file", &passwords[1]),
            (REFUSED, "the user name or the password is wrong"),
            mending(vec![(passwords[1].clone(), PASSWORD.into())]),
        ),
        fails(
            "an unsupported mechanism",
            login("SCRAM-SHA-512", &[("sasl.password", PASSWORD)]),
            (REFUSED, "does not know this mechanism"),
            None,
        ),
        fails(
            "TLS to a plain listener",
            keys(&secure.kafka.bootstrap(), &trusting("SSL", &secure.ca)),
            (UNREACHABLE, "the bridge speaks TLS, and the listener does not"),
            None,
        ),
        fails(
            "plain to a TLS listener",
            keys(&secure.tls, &[]),
            (UNREACHABLE, "the listener speaks TLS, and the bridge does not"),
            None,
        ),
        fails(
            "a token endpoint that is away",
            with_file(
                oidc_without_secret(&format!("http://localhost:{away}/token")),
                "oauth_client_secret_file",
                &right_secret,
            ),
            (REFUSED, "Connection refused"),
            Some(Box::new(move || drop(secure.issuer.serve(away, None, client, lifetime)))),
        ),
        fails(
            "a token endpoint that refuses",
            with_file(oidc_without_secret(&url), "oauth_client_secret_file", &secret),
            (REFUSED, "HTTP 401: invalid_client"),
            mending(vec![(secret.clone(), CLIENT_SECRET.into())]),
        ),
        fails(
            "a token that kafka refuses",
            keys(&secure.login, &[&sasl_ssl[..], &oidc(&foreign)].concat()),
            (REFUSED, "the listener does not accept the token"),
            // Long before the token that it has would be renewed.
            Some(Box::new(move || issuer.sign_as(&secure.issuer))),
        ),
    ];
    failing.iter().for_each(Failing::wait_named);
    for mut one in failing {
        if let Some(mend) = one.mend.take() {
            mend();
            one.wait_mended();
        }
        let output = one.output();
        assert!(output.len() > 1_000, "{}: {output}", one.name);
        assert!(!output.contains(MARK), "{}: {output}", one.name);
    }
}

/// Under this load everything is renewed.
const LOAD: Load = Load { mqtt_topics: 20, qos: 1, rate: 1_000, window: 500, filler: 100 };

impl Line {
    /// The load goes on for longer than Kafka lets a login live.
    fn wait_next_logins(&self) {
        self.wait_delivered(self.reader.distinct() + 9_000);
    }

    fn settle_within_a_window(&mut self) {
        self.publisher.pause();
        let verdict = self.settle();
        verdict.assert_nothing_lost_or_reordered();
        assert!(verdict.duplicated <= WINDOW, "{verdict:?}");
    }
}

#[test]
fn a_password_is_replaced_under_load() {
    const ROTATING: &str = "rotating";
    let (secure, story) = (secure(), Story::new("kafka password replaced"));
    secure.kafka.set_scram(ROTATING, "SCRAM-SHA-256", PASSWORD);
    let file = story.dir().join("password");
    fs::write(&file, PASSWORD).unwrap();
    let user = [("sasl.mechanism", "SCRAM-SHA-256"), ("sasl.username", ROTATING)];
    let properties = [&trusting("SASL_SSL", &secure.ca)[..], &user].concat();
    let mut config = keys(&secure.login, &properties);
    config.push(("kafka", "sasl_password_file", json!(file)));
    let plan = Plan { load: LOAD, config, ..Plan::default() };
    let mut line = Line::start(&story, &secure.kafka, Version::V5, &plan);
    line.publisher.keep_publishing();
    line.wait_delivered(500);
    let new = format!("{PASSWORD}-new");
    secure.kafka.set_scram(ROTATING, "SCRAM-SHA-256", &new);
    fs::write(&file, &new).unwrap();
    line.bridge.log().wait_for("the new password", PATIENT, |record| {
        record["msg"] == "kafka password changed, it is used from the next login on"
    });
    line.wait_next_logins();
    line.settle_within_a_window();
}

#[test]
fn certificates_keys_and_authorities_are_replaced_under_load() {
    let (secure, story) = (secure(), Story::new("kafka certificates replaced"));
    let [ca, certificate, key] =
        ["ca.pem", "client.crt", "client.key"].map(|name| story.dir().join(name));
    let issue = || {
        let identity = secure.authority.issue(&Wish::client(USER));
        fs::write(&certificate, identity.certificate_pem()).unwrap();
        fs::write(&key, identity.key_pem()).unwrap();
    };
    issue();
    fs::write(&ca, secure.authority.pem()).unwrap();
    let properties = [
        &trusting("SSL", &ca)[..],
        &[
            ("ssl.certificate.location", certificate.to_str().unwrap()),
            ("ssl.key.location", key.to_str().unwrap()),
        ],
    ]
    .concat();
    let config = keys(&secure.mutual, &properties);
    let plan = Plan { load: LOAD, config, ..Plan::default() };
    let mut line = Line::start(&story, &secure.kafka, Version::V5, &plan);
    line.publisher.keep_publishing();
    line.wait_delivered(500);
    let producers =
        |line: &Line| line.bridge.log().count(|record| record["msg"] == "producer started");
    let renewed = |line: &Line, what: &str, renew: &dyn Fn()| {
        let before = producers(line);
        renew();
        eventually(&format!("a new producer: {what}"), PATIENT, || producers(line) > before);
        line.wait_delivered(line.reader.distinct() + 500);
    };
    renewed(&line, "certificate and key", &issue);
    let both = [secure.authority.pem(), Authority::new("next").pem()].concat();
    renewed(&line, "authorities", &|| fs::write(&ca, &both).unwrap());
    let before = producers(&line);
    fs::write(&certificate, "no certificate").unwrap();
    line.bridge.log().wait_for("it cannot be used", PATIENT, |record| {
        record["msg"] == "kafka certificate files changed and cannot be used, keeping the last"
    });
    line.wait_delivered(line.reader.distinct() + 500);
    assert_eq!(producers(&line), before);
    renewed(&line, "after a file that was none", &issue);
    line.settle_within_a_window();
}
