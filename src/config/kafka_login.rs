//! How the bridge logs in to Kafka: the secrets that are in files, the tokens that it gets for itself, and
//! properties that contradict one another.

use std::collections::BTreeMap;
use std::path::PathBuf;

use url::Url;

use super::authorities;
use super::client::{MECHANISM, TRUST};
use super::keys::PROPERTIES;
use super::property_table::AWS_MSK_IAM;
use super::resolved::KafkaConfig;
use super::secret::Secret;
use super::secret_file;
use super::suggest::quoted;

type Properties = BTreeMap<String, String>;

const METHOD: &str = "sasl.oauthbearer.method";
const ENDPOINT: &str = "sasl.oauthbearer.token.endpoint.url";
/// Each with its other name.
const CLIENT_ID: [&str; 2] =
    ["sasl.oauthbearer.client.id", "sasl.oauthbearer.client.credentials.client.id"];
const CLIENT_SECRET: [&str; 2] =
    ["sasl.oauthbearer.client.secret", "sasl.oauthbearer.client.credentials.client.secret"];
const VERIFICATION: &str = "enable.ssl.certificate.verification";
const NAME_CHECK: &str = "ssl.endpoint.identification.algorithm";
const SCOPE: &str = "sasl.oauthbearer.scope";
const EXTENSIONS: &str = "sasl.oauthbearer.extensions";
const HTTPS_CA: [&str; 2] = ["https.ca.location", "https.ca.pem"];
const USERNAME: &str = "sasl.username";
const PASSWORD: &str = "sasl.password";
const KEY_PASSWORD: &str = "ssl.key.password";
const CERTIFICATE: [&str; 2] = ["ssl.certificate.location", "ssl.certificate.pem"];
const KEY: [&str; 2] = ["ssl.key.location", "ssl.key.pem"];
/// The properties whose files librdkafka reads when it makes a client.
const TLS_FILES: [&str; 5] = [
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// Where the bridge gets its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// From a token endpoint, with a client id and a secret (RFC 6749, section 4.4).
    Oidc(Oidc),
    /// It signs them itself, for Amazon MSK.
    MskIam {
        /// The cluster's region.
        region: String,
    },
}

/// See [`TokenSource::Oidc`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// An `http://` or `https://` URL.
    pub endpoint: String,
    /// Who the bridge is.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What it asks for.
    pub scope: Option<String>,
    /// What Kafka is told beside the token.
    pub extensions: Vec<(String, String)>,
    /// The file of the authorities that the endpoint's certificate may be from; the system's without it.
    pub ca_file: Option<PathBuf>,
    /// The same as text.
    pub ca_pem: Option<String>,
}

/// The properties with the secrets that are in files, as they are now.
///
/// # Errors
/// Which file cannot be read, and why.
pub fn filled(kafka: &KafkaConfig) -> Result<Properties, String> {
    let mut properties = kafka.properties.clone();
    for (key, file, name) in secret_files(kafka) {
        if let Some(file) = file {
            let secret = read(file).map_err(|error| format!("{key}: {error}"))?;
            properties.insert(name.to_owned(), secret);
        }
    }
    Ok(properties)
}

/// A file that is being replaced may be empty for a moment, and no login takes an empty secret.
fn read(file: &PathBuf) -> Result<String, String> {
    let secret = secret_file::read(file)?;
    if secret.is_empty() {
        return Err("expected a file with a secret, found an empty one".to_owned());
    }
    Ok(secret)
}

/// The key of each file with a secret, the file, and the property that it stands for.
fn secret_files(kafka: &KafkaConfig) -> [(&'static str, Option<&PathBuf>, &'static str); 3] {
    [
        ("kafka.sasl_password_file", kafka.sasl_password_file.as_ref(), PASSWORD),
        ("kafka.ssl_key_password_file", kafka.ssl_key_password_file.as_ref(), KEY_PASSWORD),
        (
            "kafka.oauth_client_secret_file",
            kafka.oauth_client_secret_file.as_ref(),
            CLIENT_SECRET[0],
        ),
    ]
}

impl KafkaConfig {
    /// Where tokens come from, if the login is by token. `properties` are those of [`filled`].
    pub fn token_source(&self, properties: &Properties) -> Option<TokenSource> {
        match mechanism(properties)? {
            "OAUTHBEARER" => {
                let [id, secret] = [CLIENT_ID, CLIENT_SECRET].map(|names| first(properties, names));
                Some(TokenSource::Oidc(Oidc {
                    endpoint: properties.get(ENDPOINT)?.clone(),
                    client_id: id?.to_owned(),
                    client_secret: secret?.into(),
                    scope: properties.get(SCOPE).filter(|scope| !scope.is_empty()).cloned(),
                    extensions: extensions(properties).ok()?,
                    ca_file: properties
                        .get(HTTPS_CA[0])
                        .filter(|path| *path != "probe")
                        .map(PathBuf::from),
                    ca_pem: properties.get(HTTPS_CA[1]).cloned(),
                }))
            }
            AWS_MSK_IAM => Some(TokenSource::MskIam { region: region(self)? }),
            _ => None,
        }
    }

    /// Whether secrets are in files.
    pub fn has_secret_files(&self) -> bool {
        secret_files(self).iter().any(|(_, file, _)| file.is_some())
    }

    /// The files whose change needs a new client: certificates, keys, and the key's password.
    pub fn tls_files(&self) -> Vec<PathBuf> {
        let named = TLS_FILES.iter().filter_map(|name| self.properties.get(*name));
        let named = named.filter(|path| *path != "probe").map(PathBuf::from);
        named.chain(self.ssl_key_password_file.clone()).collect()
    }
}

/// The mechanism of the login, if there is one.
fn mechanism(properties: &Properties) -> Option<&str> {
    let protocol = properties.get("security.protocol")?;
    let is_login = protocol.to_ascii_uppercase().starts_with("SASL_");
    first(properties, MECHANISM).filter(|_| is_login)
}

fn first<'a>(properties: &'a Properties, names: [&str; 2]) -> Option<&'a str> {
    names.iter().find_map(|name| properties.get(*name)).map(String::as_str)
}

/// `key=value,key=value` (RFC 7628, section 3.1).
fn extensions(properties: &Properties) -> Result<Vec<(String, String)>, String> {
    let text = properties.get(EXTENSIONS).map_or("", String::as_str);
    let pairs = text.split(',').filter(|pair| !pair.trim().is_empty());
    let pairs = pairs.map(|pair| {
        let (key, value) = pair.trim().split_once('=').unwrap_or((pair, ""));
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
        let is_value = !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        (is_key && is_value && key != "auth").then(|| (key.to_owned(), value.to_owned()))
    });
    pairs.collect::<Option<_>>().ok_or_else(|| {
        "expected key=value, separated by commas, with keys of letters other than auth".to_owned()
    })
}

/// The region of Amazon MSK: as it is said, or as the name of a broker has it
/// (`b-1.name.id.kafka.REGION.amazonaws.com`, `boot-id.kafka-serverless.REGION.amazonaws.com`).
fn region(kafka: &KafkaConfig) -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|region| !region.is_empty());
    let said = kafka.aws_region.clone();
    said.or_else(|| kafka.brokers.iter().find_map(|broker| region_in(broker)))
        .or_else(|| set("AWS_REGION"))
        .or_else(|| set("AWS_DEFAULT_REGION"))
}

fn region_in(broker: &str) -> Option<String> {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host =
        host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (before, region) = host.rsplit_once('.')?;
    let is_msk = [".kafka", ".kafka-serverless"].iter().any(|part| before.ends_with(part));
    is_msk.then(|| region.to_owned())
}

/// What is legal and lets others read or change what goes to Kafka.
pub(super) fn warnings(kafka: &KafkaConfig) -> Vec<String> {
    let mut all = Vec::new();
    let value = |name: &str| kafka.properties.get(name).map_or("", String::as_str);
    if value("security.protocol").to_ascii_uppercase().ends_with("SSL") {
        // librdkafka takes "false", "f" and "0".
        if ["false", "f", "0"].contains(&&*value(VERIFICATION).to_ascii_lowercase()) {
            all.push(format!(
                "{PROPERTIES}.{VERIFICATION} is false: neither the certificates of Kafka's brokers nor their \
                 names are checked, so that anybody on the way can read and change everything, the login \
                 included"
            ));
        } else if value(NAME_CHECK).eq_ignore_ascii_case("none") {
            all.push(format!(
                "{PROPERTIES}.{NAME_CHECK} is none: the names in the certificates of Kafka's brokers are not \
                 checked, so that whoever has any certificate of a trusted authority can stand for a broker"
            ));
        }
    }
    let is_oidc = mechanism(&kafka.properties) == Some("OAUTHBEARER");
    let endpoint = Url::parse(value(ENDPOINT)).ok().filter(|url| is_oidc && url.scheme() == "http");
    let is_here = |host: url::Host<&str>| match host {
        url::Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        url::Host::Ipv4(ip) => ip.is_loopback(),
        url::Host::Ipv6(ip) => ip.is_loopback(),
    };
    if endpoint.is_some_and(|url| !url.host().is_some_and(is_here)) {
        all.push(format!(
            "{PROPERTIES}.{ENDPOINT} begins with http://: the client's secret and the tokens go over the \
             network in the clear"
        ));
    }
    all
}

/// The contradictions, each with the path of its key.
pub(super) fn check(kafka: &KafkaConfig) -> Vec<(String, String)> {
    let mut check = Check { kafka, properties: &kafka.properties, said: Vec::new() };
    check.files();
    check.certificates();
    check.mechanism();
    check.said
}

struct Check<'a> {
    kafka: &'a KafkaConfig,
    properties: &'a Properties,
    said: Vec<(String, String)>,
}

impl Check<'_> {
    fn say(&mut self, property: &str, text: impl Into<String>) {
        self.said.push((format!("{PROPERTIES}.{property}"), text.into()));
    }

    fn has(&self, name: &str) -> bool {
        self.properties.contains_key(name)
    }

    fn has_any(&self, names: [&str; 2]) -> bool {
        first(self.properties, names).is_some()
    }

    /// Each file with a secret can be read, and the secret is not elsewhere too.
    fn files(&mut self) {
        for (key, file, name) in secret_files(self.kafka) {
            let Some(file) = file else { continue };
            if self.has(name) || name == CLIENT_SECRET[0] && self.has(CLIENT_SECRET[1]) {
                let text = format!("expected either {key} or {name}, found both");
                self.said.push((key.to_owned(), text));
            }
            if let Err(text) = read(file) {
                self.said.push((key.to_owned(), text));
            }
        }
    }

    fn certificates(&mut self) {
        let protocol = self.properties.get("security.protocol").map_or("", String::as_str);
        let is_tls = protocol.to_ascii_uppercase().ends_with("SSL");
        let verifies = self.properties.get(VERIFICATION).is_none_or(|value| value != "false");
        if is_tls && verifies && !self.has_any(TRUST) && authorities::found().is_none() {
            self.say(
                TRUST[0],
                "expected a file of certificate authorities, because this system has none (the \
                 package ca-certificates brings them), found nothing",
            );
        }
        for (one, other, what) in [(CERTIFICATE, KEY, "key"), (KEY, CERTIFICATE, "certificate")] {
            if let Some(name) = one.iter().find(|name| self.has(name))
                && !self.has_any(other)
            {
                let text =
                    format!("expected the {what} that belongs to it ({}), found none", other[0]);
                self.say(name, text);
            }
        }
        if self.kafka.ssl_key_password_file.is_some() && !self.has_any(KEY) {
            let text = format!("expected the key that it belongs to ({}), found none", KEY[0]);
            self.said.push(("kafka.ssl_key_password_file".to_owned(), text));
        }
    }

    fn mechanism(&mut self) {
        let protocol = self.properties.get("security.protocol").map_or("", String::as_str);
        let Some(mechanism) = mechanism(self.properties) else {
            if protocol.to_ascii_uppercase().starts_with("SASL_") {
                self.say(
                    MECHANISM[0],
                    format!(
                        "expected PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or {AWS_MSK_IAM}, \
                         because security.protocol asks for a login, found nothing"
                    ),
                );
            } else {
                self.files_without_login();
            }
            return;
        };
        match mechanism {
            "OAUTHBEARER" => self.oidc(),
            AWS_MSK_IAM => self.msk_iam(),
            mechanism => self.password(mechanism),
        }
        let is_by_token = matches!(mechanism, "OAUTHBEARER" | AWS_MSK_IAM);
        let text = format!("expected none, because {mechanism} logs in by a token, found one");
        for name in [USERNAME, PASSWORD].into_iter().filter(|_| is_by_token) {
            if self.has(name) {
                self.say(name, text.clone());
            }
        }
        if is_by_token && self.kafka.sasl_password_file.is_some() {
            self.said.push(("kafka.sasl_password_file".to_owned(), text));
        }
        let oidc = [METHOD, ENDPOINT, SCOPE, EXTENSIONS];
        let oidc = oidc.iter().chain(&CLIENT_ID).chain(&CLIENT_SECRET).chain(&HTTPS_CA);
        let oidc = oidc.copied().find(|name| self.has(name));
        if let Some(name) = oidc.filter(|_| mechanism != "OAUTHBEARER") {
            let text = format!(
                "expected sasl.mechanism = OAUTHBEARER with it, found {}",
                quoted(mechanism)
            );
            self.say(name, text);
        }
        if mechanism != "OAUTHBEARER" && self.kafka.oauth_client_secret_file.is_some() {
            let text = "expected sasl.mechanism = OAUTHBEARER with it, found another".to_owned();
            self.said.push(("kafka.oauth_client_secret_file".to_owned(), text));
        }
        if mechanism != AWS_MSK_IAM && self.kafka.aws_region.is_some() {
            let text = format!("expected sasl.mechanism = {AWS_MSK_IAM} with it, found another");
            self.said.push(("kafka.aws_region".to_owned(), text));
        }
    }

    /// They would be ignored.
    fn files_without_login(&mut self) {
        let kafka = self.kafka;
        for (key, is_set) in [
            ("kafka.sasl_password_file", kafka.sasl_password_file.is_some()),
            ("kafka.oauth_client_secret_file", kafka.oauth_client_secret_file.is_some()),
            ("kafka.aws_region", kafka.aws_region.is_some()),
        ] {
            if is_set {
                let text = "expected security.protocol = SASL_SSL or SASL_PLAINTEXT and \
                            sasl.mechanism with it, because it is about a login, found none";
                self.said.push((key.to_owned(), text.to_owned()));
            }
        }
    }

    /// PLAIN and SCRAM.
    fn password(&mut self, mechanism: &str) {
        let has_password = self.has(PASSWORD) || self.kafka.sasl_password_file.is_some();
        if !self.has(USERNAME) {
            self.say(
                USERNAME,
                format!("expected a user name, because {mechanism} needs one, found none"),
            );
        }
        if !has_password {
            let text = format!(
                "expected a password, here or in kafka.sasl_password_file, because {mechanism} needs \
                 one, found none"
            );
            self.say(PASSWORD, text);
        }
    }

    fn oidc(&mut self) {
        let method = self.properties.get(METHOD).map_or("", String::as_str);
        if !method.eq_ignore_ascii_case("oidc") {
            let found = if method.is_empty() { "nothing".to_owned() } else { quoted(method) };
            let text = format!(
                "expected oidc, because the bridge fetches its tokens by OIDC client credentials, \
                 found {found}"
            );
            self.say(METHOD, text);
            return;
        }
        let endpoint = self.properties.get(ENDPOINT).and_then(|url| Url::parse(url).ok());
        // The URL is shown in errors: nothing in it may open anything.
        let is_bare = endpoint.is_some_and(|url| {
            let has_login = !url.username().is_empty() || url.password().is_some();
            let is_web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
            is_web && !has_login && url.query().is_none() && url.fragment().is_none()
        });
        if !is_bare {
            let found = if self.has(ENDPOINT) { "something else" } else { "nothing" };
            let text = format!(
                "expected a URL such as https://idp.example/token, without user, password, query and \
                 fragment, found {found}"
            );
            self.say(ENDPOINT, text);
        }
        if !self.has_any(CLIENT_ID) {
            self.say(CLIENT_ID[0], "expected the id of this client, found nothing");
        }
        if !self.has_any(CLIENT_SECRET) && self.kafka.oauth_client_secret_file.is_none() {
            self.say(
                CLIENT_SECRET[0],
                "expected the client's secret, here or in kafka.oauth_client_secret_file, found nothing",
            );
        }
        for [name, other] in [CLIENT_ID, CLIENT_SECRET] {
            let (one, two) = (self.properties.get(name), self.properties.get(other));
            if one.zip(two).is_some_and(|(one, two)| one != two) {
                let text =
                    format!("contradicts {name}, which is another name of the same property");
                self.say(other, text);
            }
        }
        if let Err(text) = extensions(self.properties) {
            self.say(EXTENSIONS, text);
        }
        if HTTPS_CA.iter().all(|name| self.has(name)) {
            self.say(HTTPS_CA[1], format!("expected either {} or this, found both", HTTPS_CA[0]));
        }
        if let Some(path) = self.properties.get(HTTPS_CA[0]).filter(|path| *path != "probe")
            && let Err(error) = std::fs::File::open(path)
        {
            self.say(HTTPS_CA[0], format!("expected a file that can be read: {error}"));
        }
    }

    fn msk_iam(&mut self) {
        let protocol = self.properties.get("security.protocol").map_or("", String::as_str);
        if !protocol.eq_ignore_ascii_case("SASL_SSL") {
            let text = "expected SASL_SSL, because Amazon MSK takes such a login over TLS only, found \
                        another";
            self.say("security.protocol", text);
        }
        if region(self.kafka).is_none() {
            let text = "expected the region of the cluster, because neither the brokers' names nor \
                        AWS_REGION have it, found none";
            self.said.push(("kafka.aws_region".to_owned(), text.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(lines: &[(&str, &str)], adjust: impl FnOnce(&mut KafkaConfig)) -> Vec<String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut kafka = KafkaConfig {
            brokers: vec!["localhost:9092".to_owned()],
            properties: lines.iter().map(owned).collect(),
            ..KafkaConfig::default()
        };
        adjust(&mut kafka);
        check(&kafka).into_iter().map(|(path, text)| format!("{path}: {text}")).collect()
    }

    const SASL: (&str, &str) = ("security.protocol", "SASL_PLAINTEXT");
    const OIDC: [(&str, &str); 6] = [
        SASL,
        ("sasl.mechanism", "OAUTHBEARER"),
        (METHOD, "oidc"),
        (ENDPOINT, "https://idp.example/token"),
        (CLIENT_ID[0], "bridge"),
        (CLIENT_SECRET[0], "hunter2"),
    ];

    #[test]
    fn each_mechanism_names_what_it_lacks() {
        let one = |lines: &[(&str, &str)], expected: &str| {
            let said = said(lines, |_| {});
            assert!(said.iter().any(|text| text.contains(expected)), "{expected}: {said:?}");
            assert!(said.iter().all(|text| !text.contains("hunter2")), "{said:?}");
        };
        one(&[SASL], "sasl.mechanism: expected PLAIN, SCRAM-SHA-256");
        let plain = ("sasl.mechanism", "PLAIN");
        one(&[SASL, plain], "sasl.username: expected a user name, because PLAIN needs one");
        one(
            &[SASL, plain],
            "sasl.password: expected a password, here or in kafka.sasl_password_file",
        );
        one(&[SASL, OIDC[1]], "sasl.oauthbearer.method: expected oidc");
        one(&[SASL, OIDC[1], (METHOD, "default")], "found \"default\"");
        one(&OIDC[..3], "token.endpoint.url: expected a URL such as");
        one(&OIDC[..3], "sasl.oauthbearer.client.id: expected the id of this client");
        one(&OIDC[..3], "here or in kafka.oauth_client_secret_file");
        one(&[SASL, plain, OIDC[3]], "expected sasl.mechanism = OAUTHBEARER with it");
        let with = |more: &[(&'static str, &'static str)]| [&OIDC[..], more].concat();
        one(&with(&[("sasl.username", "hunter2")]), "OAUTHBEARER logs in by a token");
        for url in [
            "ftp://hunter2",
            "https://u:hunter2@idp.example/token",
            "https://hunter2@idp.example/token",
            "https://idp.example/token?client_secret=hunter2",
            "https://idp.example/token#hunter2",
        ] {
            one(&with(&[(ENDPOINT, url)]), "expected a URL such as");
        }
        one(&with(&[(CLIENT_SECRET[1], "other")]), "another name of the same property");
        one(&with(&[(EXTENSIONS, "auth=x")]), "expected key=value");
        one(&with(&[(EXTENSIONS, "a1=x")]), "expected key=value");
        one(
            &[SASL, ("sasl.mechanism", AWS_MSK_IAM)],
            "Amazon MSK takes such a login over TLS only",
        );
        one(&[(CERTIFICATE[0], "/x")], "expected the key that belongs to it (ssl.key.location)");
        one(&[(KEY[1], "/x")], "expected the certificate that belongs to it");
        assert_eq!(said(&OIDC, |_| {}), [""; 0]);
        assert_eq!(
            said(&with(&[(EXTENSIONS, "logicalCluster=lkc-1, identityPoolId=p")]), |_| {}),
            [""; 0]
        );
    }

    #[test]
    fn what_is_not_verified_or_goes_in_the_clear_is_a_warning() {
        let warned = |lines: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let properties = lines.iter().map(owned).collect();
            warnings(&KafkaConfig { properties, ..KafkaConfig::default() }).join("\n")
        };
        let tls = ("security.protocol", "sasl_ssl");
        for value in ["false", "0", "F"] {
            let said = warned(&[tls, (VERIFICATION, value), (NAME_CHECK, "none")]);
            assert!(said.contains("verification is false: neither") && said.lines().count() == 1);
        }
        assert!(warned(&[tls, (NAME_CHECK, "none")]).contains("is none: the names"));
        assert_eq!(warned(&[tls, (VERIFICATION, "true"), (NAME_CHECK, "https")]), "");
        assert_eq!(warned(&[(NAME_CHECK, "none")]), "", "it is without meaning");
        for (url, is_warned) in [
            ("http://idp.example/token", true),
            ("http://10.0.0.1/token", true),
            ("http://localhost:8080/token", false),
            ("http://127.0.0.1/token", false),
            ("http://[::1]/token", false),
            ("https://idp.example/token", false),
        ] {
            let lines = [&OIDC[..3], &[(ENDPOINT, url)]].concat();
            assert_eq!(warned(&lines).contains("in the clear"), is_warned, "{url}");
        }
    }

    #[test]
    fn a_file_stands_for_its_property_and_not_beside_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("password");
        std::fs::write(&path, "hunter2\n").expect("written");
        let login = [SASL, ("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "u")];
        let file = |kafka: &mut KafkaConfig| kafka.sasl_password_file = Some(path.clone());
        assert_eq!(said(&login, file), [""; 0]);
        let both = said(&[&login[..], &[("sasl.password", "x")]].concat(), file);
        assert_eq!(
            both,
            [
                "kafka.sasl_password_file: expected either kafka.sasl_password_file or sasl.password, found both"
            ]
        );
        let ignored = said(&[], file);
        assert!(
            ignored[0].starts_with("kafka.sasl_password_file: expected security.protocol"),
            "{ignored:?}"
        );
        let gone = said(&login, |kafka| kafka.sasl_password_file = Some("/nowhere/hunter2".into()));
        assert!(
            gone[0].starts_with("kafka.sasl_password_file: expected a file that can be read"),
            "{gone:?}"
        );
        assert!(!gone[0].contains("hunter2"));
        let half = directory.path().join("half");
        std::fs::write(&half, "\n").expect("written");
        let empty = said(&login, |kafka| kafka.sasl_password_file = Some(half));
        assert!(empty[0].ends_with("found an empty one"), "{empty:?}");
        let mut kafka = KafkaConfig::default();
        file(&mut kafka);
        let filled = filled(&kafka).expect("read");
        assert_eq!(filled.get("sasl.password").map(String::as_str), Some("hunter2"));
    }

    #[test]
    fn the_region_is_in_the_names_of_amazon_s_brokers() {
        let region = |broker: &str| region_in(broker);
        assert_eq!(
            region("b-1.x.y.kafka.eu-west-1.amazonaws.com:9098").as_deref(),
            Some("eu-west-1")
        );
        assert_eq!(
            region("boot-x.c1.kafka-serverless.us-east-1.amazonaws.com:9098").as_deref(),
            Some("us-east-1")
        );
        assert_eq!(
            region("x.kafka.cn-north-1.amazonaws.com.cn:9098").as_deref(),
            Some("cn-north-1")
        );
        assert_eq!(region("s3.eu-west-1.amazonaws.com:443"), None);
        assert_eq!(region("localhost:9092"), None);
    }
}
