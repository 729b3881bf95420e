//! A real Kafka that asks for every login there is, on a listener each; the plain one stays for readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::issuer::Issuer;
use super::kafka::Kafka;
use super::pki::{Authority, Wish};
use super::stories_dir;

/// The user of every mechanism, and the client of the token endpoint.
pub const USER: &str = "bridge";
/// Marked, so that it is found wherever it appears.
pub const PASSWORD: &str = "m4rk3dKafka-password";
/// The client's secret at the token endpoint.
pub const CLIENT_SECRET: &str = "m4rk3dKafka-client";
/// The password of the client's key.
pub const KEY_PASSWORD: &str = "m4rk3dKafka-key";
/// What every secret here begins with.
pub const MARK: &str = "m4rk3dKafka";

/// See the module.
pub struct SecureKafka {
    pub kafka: Kafka,
    /// Of all certificates here.
    pub authority: Authority,
    pub issuer: Issuer,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// TLS without a login.
    pub tls: String,
    /// TLS with a certificate of the client.
    pub mutual: String,
    /// TLS with a login by every mechanism but SCRAM-SHA-512.
    pub login: String,
    /// The same with every mechanism, without TLS.
    pub login_in_clear: String,
    /// TLS with an expired certificate.
    pub expired: String,
    /// TLS with a certificate for another name.
    pub other_name: String,
}

impl SecureKafka {
    /// One for the stories that do not disturb it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<SecureKafka> = OnceLock::new();
        SHARED.get_or_init(|| {
            let dir = stories_dir().join(format!("{}-logins", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self::start(&dir)
        })
    }

    pub fn start(dir: &Path) -> Self {
        let (authority, issuer) = (Authority::new("kafka"), Issuer::new());
        let keys = issuer.write_keys(dir);
        let ca = dir.join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        let store = |name: &str, wish: &Wish<'_>| {
            let path = dir.join(format!("{name}.store.pem"));
            let identity = authority.issue(wish);
            fs::write(&path, [identity.key_pem(), identity.certificate_pem()].concat()).unwrap();
            path
        };
        let good = store("good", &Wish::LOCALHOST);
        let expired = store("expired", &Wish { valid_days: (-9, -2), ..Wish::LOCALHOST });
        let elsewhere =
            Wish { dns_names: &["elsewhere.invalid"], addresses: &[], ..Wish::LOCALHOST };
        let elsewhere = store("elsewhere", &elsewhere);
        let listeners = [
            ("TLS", "SSL"),
            ("MUTUAL", "SSL"),
            ("LOGIN", "SASL_SSL"),
            ("CLEAR", "SASL_PLAINTEXT"),
            ("EXPIRED", "SSL"),
            ("OTHER", "SSL"),
        ];
        let jwks = format!("file://{}", keys.display());
        let properties = |_: &[String]| {
            let login = |listener: &str, mechanisms: &str| {
                let name = format!("listener.name.{listener}");
                let module = "org.apache.kafka.common.security";
                format!(
                    "{name}.sasl.enabled.mechanisms={mechanisms}
{name}.connections.max.reauth.ms=4000
{name}.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";
{name}.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;
{name}.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;
{name}.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;
{name}.oauthbearer.sasl.server.callback.handler.class={module}.oauthbearer.OAuthBearerValidatorCallbackHandler
{name}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url={jwks}
{name}.oauthbearer.sasl.oauthbearer.expected.audience=kafka
"
                )
            };
            let keystore = |listener: &str, path: &Path| {
                format!(
                    "listener.name.{listener}.ssl.keystore.type=PEM
listener.name.{listener}.ssl.keystore.location={}
",
                    path.display()
                )
            };
            [
                keystore("tls", &good),
                keystore("mutual", &good),
                keystore("login", &good),
                keystore("expired", &expired),
                keystore("other", &elsewhere),
                "listener.name.mutual.ssl.client.auth=required\n".to_owned(),
                format!(
                    "listener.name.mutual.ssl.truststore.type=PEM
listener.name.mutual.ssl.truststore.location={}
",
                    ca.display()
                ),
                login("login", "PLAIN,SCRAM-SHA-256,OAUTHBEARER"),
                login("clear", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"),
            ]
            .concat()
        };
        let java = vec![
            format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks}"),
            format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.files={}", keys.display()),
        ];
        let (kafka, addresses) = Kafka::start_with(dir, &listeners, properties, java);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            kafka.set_scram(USER, mechanism, PASSWORD);
        }
        let [tls, mutual, login, login_in_clear, expired, other_name] =
            addresses.try_into().expect("one for each listener");
        Self {
            kafka,
            authority,
            issuer,
            ca,
            tls,
            mutual,
            login,
            login_in_clear,
            expired,
            other_name,
        }
    }
}
