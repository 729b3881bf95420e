//! Finds the credentials of AWS where its tools look for them, in their order: the environment, a web
//! identity, the shared files (keys, or `credential_process`), the container's endpoint, the machine's
//! metadata service (IMDSv2). The first that is there counts, even if it fails: another one would be another
//! identity. Roles that a profile assumes, and SSO, are left out.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use tokio::runtime::Builder;
use tokio::time::timeout;
use url::Url;
use url::form_urlencoded::Serializer;

use super::web::{self, Answer};
use crate::command::Running;
use crate::config::Secret;

/// How long an endpoint, or a command, may take.
const WITHIN: Duration = Duration::from_secs(10);
/// The same for what is on this machine, or is not there.
const LOCAL_WITHIN: Duration = Duration::from_secs(2);
/// The most that a command may print, in bytes.
const OUTPUT_MAX: usize = 64 * 1024;
const CONTAINER: &str = "http://169.254.170.2";
const METADATA: &str = "http://169.254.169.254";
/// Of the session with the metadata service, in seconds.
const METADATA_SESSION_S: &str = "21600";

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) key_id: String,
    pub(super) secret: Secret,
    pub(super) session_token: Option<Secret>,
    /// Since 1970.
    pub(super) expires_at: Option<Duration>,
}

/// The credentials of this process.
///
/// # Errors
/// There are none, or why they cannot be had; without secrets.
pub(super) fn find(region: &str) -> Result<Credentials, String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let found = Finder { var: &set, region }.find();
    found.map_err(|why| format!("AWS credentials: {why}"))
}

struct Finder<'a> {
    var: &'a dyn Fn(&str) -> Option<String>,
    region: &'a str,
}

impl Finder<'_> {
    fn find(&self) -> Result<Credentials, String> {
        if let Some(found) = self.environment() {
            return Ok(found);
        }
        if let Some(found) = self.web_identity() {
            return found.map_err(|why| format!("web identity: {why}"));
        }
        if let Some(found) = self.shared_files() {
            return found;
        }
        if let Some(found) = self.container() {
            return found.map_err(|why| format!("container endpoint: {why}"));
        }
        if self.var("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value == "true") {
            return Err("found none: see \"Amazon MSK\" in docs/security.md".to_owned());
        }
        self.metadata_service().map_err(|why| {
            format!(
                "found none in the environment, in files or of a container, and the metadata service \
                 says: {why}"
            )
        })
    }

    fn var(&self, name: &str) -> Option<String> {
        (self.var)(name)
    }

    fn environment(&self) -> Option<Credentials> {
        Some(Credentials {
            key_id: self.var("AWS_ACCESS_KEY_ID")?,
            secret: Secret::new(self.var("AWS_SECRET_ACCESS_KEY")?),
            session_token: self.var("AWS_SESSION_TOKEN").map(Secret::new),
            expires_at: None,
        })
    }

    /// As Kubernetes gives it to a pod with a role: AssumeRoleWithWebIdentity of STS.
    fn web_identity(&self) -> Option<Result<Credentials, String>> {
        let (file, role) = (self.var("AWS_WEB_IDENTITY_TOKEN_FILE")?, self.var("AWS_ROLE_ARN")?);
        let session = self.var("AWS_ROLE_SESSION_NAME");
        let session = session.unwrap_or_else(|| "mqtt-kafka-bridge".to_owned());
        let endpoint = self.var("AWS_ENDPOINT_URL_STS");
        let endpoint = endpoint.unwrap_or_else(|| sts(self.region));
        let ask = || {
            let token = fs::read_to_string(file).map_err(|error| error.to_string())?;
            let form = Serializer::new(String::new())
                .append_pair("Action", "AssumeRoleWithWebIdentity")
                .append_pair("Version", "2011-06-15")
                .append_pair("RoleArn", &role)
                .append_pair("RoleSessionName", &session)
                .append_pair("WebIdentityToken", token.trim())
                .finish();
            let sent = web::agent(WITHIN, None, false)
                .post(&endpoint)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .send(form);
            let body = good(web::answer(sent)?)?;
            let part = |name: &str| element(&body, name).map(str::to_owned);
            let all = part("AccessKeyId").zip(part("SecretAccessKey")).zip(part("SessionToken"));
            let ((key_id, secret), token) = all.ok_or("the answer has no credentials")?;
            Ok(Credentials {
                key_id,
                secret: Secret::new(secret),
                session_token: Some(Secret::new(token)),
                expires_at: part("Expiration").as_deref().and_then(since_1970),
            })
        };
        Some(ask())
    }

    /// `~/.aws/credentials` and `~/.aws/config`.
    fn shared_files(&self) -> Option<Result<Credentials, String>> {
        let profile = self.var("AWS_PROFILE");
        let is_asked_for = profile.is_some();
        let profile = profile.unwrap_or_else(|| "default".to_owned());
        let at = |variable: &str, name: &str| {
            let home = || Some(Path::new(&self.var("HOME")?).join(".aws").join(name));
            self.var(variable).map(PathBuf::from).or_else(home)
        };
        let credentials = at("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let config = at("AWS_CONFIG_FILE", "config");
        let section = match &*profile {
            "default" => profile.clone(),
            _ => format!("profile {profile}"),
        };
        for (path, section) in [(credentials, profile.clone()), (config, section)] {
            let text = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
            let set = |name| ini(&text, &section, name).map(str::to_owned);
            if let Some((key_id, secret)) =
                set("aws_access_key_id").zip(set("aws_secret_access_key"))
            {
                return Some(Ok(Credentials {
                    key_id,
                    secret: Secret::new(secret),
                    session_token: set("aws_session_token").map(Secret::new),
                    expires_at: None,
                }));
            }
            if let Some(command) = set("credential_process") {
                return Some(
                    of_process(&command, WITHIN).map_err(|why| {
                        format!("credential_process of the profile {profile}: {why}")
                    }),
                );
            }
        }
        let text =
            format!("the profile {profile} (AWS_PROFILE) has neither keys nor credential_process");
        is_asked_for.then_some(Err(text))
    }

    /// As ECS, EKS Pod Identity and Greengrass give it.
    fn container(&self) -> Option<Result<Credentials, String>> {
        let url = match self.var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            Some(path) => format!("{CONTAINER}{path}"),
            None => self.var("AWS_CONTAINER_CREDENTIALS_FULL_URI")?,
        };
        let ask = || {
            if !is_trusted(&url) {
                return Err("expected https, or an address of this machine or of AWS".to_owned());
            }
            let token = match self.var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
                Some(file) => Some(fs::read_to_string(file).map_err(|error| error.to_string())?),
                None => self.var("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
            };
            let mut request = web::agent(LOCAL_WITHIN, None, true).get(&url);
            if let Some(token) = token {
                request = request.header("Authorization", token.trim());
            }
            parse(&good(web::answer(request.call())?)?)
        };
        Some(ask())
    }

    fn metadata_service(&self) -> Result<Credentials, String> {
        let base = self.var("AWS_EC2_METADATA_SERVICE_ENDPOINT");
        let base = base.unwrap_or_else(|| METADATA.to_owned());
        let base = base.trim_end_matches('/');
        let agent = web::agent(LOCAL_WITHIN, None, true);
        let session = agent
            .put(format!("{base}/latest/api/token"))
            .header("X-aws-ec2-metadata-token-ttl-seconds", METADATA_SESSION_S)
            .send_empty();
        let session = good(web::answer(session)?)?;
        let get = |path: &str| {
            let request =
                agent.get(format!("{base}/latest/meta-data/iam/security-credentials/{path}"));
            good(web::answer(request.header("X-aws-ec2-metadata-token", session.trim()).call())?)
        };
        let role = get("")?;
        let role = role.lines().next().unwrap_or_default().trim();
        parse(&get(role)?)
    }
}

/// The endpoint of a region, which in China has another domain.
fn sts(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://sts.{region}.amazonaws.com{china}/")
}

fn good(answer: Answer) -> Result<String, String> {
    match answer.status {
        200 => Ok(answer.body),
        status => {
            // Of STS; the others say nothing that helps.
            let why = element(&answer.body, "Message").map(web::shown).unwrap_or_default();
            Err(format!("HTTP {status} {why}").trim_end().to_owned())
        }
    }
}

/// What endpoints and commands print.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    access_key_id: String,
    secret_access_key: String,
    #[serde(alias = "Token")]
    session_token: Option<String>,
    expiration: Option<String>,
}

fn parse(text: &str) -> Result<Credentials, String> {
    let printed: Printed = serde_json::from_str(text)
        .map_err(|_| "expected JSON with AccessKeyId and SecretAccessKey, found something else")?;
    Ok(Credentials {
        key_id: printed.access_key_id,
        secret: Secret::new(printed.secret_access_key),
        session_token: printed.session_token.map(Secret::new),
        expires_at: printed.expiration.as_deref().and_then(since_1970),
    })
}

fn since_1970(text: &str) -> Option<Duration> {
    let text = text.trim().replace("+00:00", "Z");
    let time: SystemTime = humantime::parse_rfc3339_weak(&text).ok()?;
    time.duration_since(UNIX_EPOCH).ok()
}

/// The text of the first element of this name; what STS answers has no attributes and no nesting in it.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// The value of a name in a section of an INI file.
fn ini<'a>(text: &'a str, section: &str, name: &str) -> Option<&'a str> {
    let mut is_in = false;
    for line in text.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            is_in = header.trim() == section;
        } else if is_in
            && !line.starts_with(['#', ';'])
            && let Some((found, value)) = line.split_once('=')
            && found.trim() == name
        {
            return Some(value.trim());
        }
    }
    None
}

/// As AWS's tools do it: anybody could listen to another address without TLS.
fn is_trusted(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.host() {
        _ if url.scheme() == "https" => true,
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => {
            address.is_loopback() || matches!(address.octets(), [169, 254, 170, 2 | 23])
        }
        Some(url::Host::Ipv6(address)) => {
            address.is_loopback() || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23]
        }
        None => false,
    }
}

/// Runs on this thread, which is the login's own.
fn of_process(command: &str, within: Duration) -> Result<Credentials, String> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let (bytes, status) = runtime.block_on(async {
        let mut running = Running::start("sh", &["-c", command])
            .map_err(|error| format!("it cannot be started: {error}"))?;
        match timeout(within, running.finish(OUTPUT_MAX + 1)).await {
            Ok(finished) => finished.map_err(|error| error.to_string()),
            Err(_) => Err(format!("not done within {within:?}, and killed")),
        }
    })?;
    if bytes.len() > OUTPUT_MAX {
        return Err(format!("it wrote more than {OUTPUT_MAX} bytes"));
    }
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    parse(&String::from_utf8_lossy(&bytes))
}

#[cfg(test)]
#[path = "aws_credentials_tests.rs"]
mod tests;
