//! What the clients of librdkafka log in with: the same for all of them, and renewed while they live.
//!
//! `Login::client` makes every client, so that each begins with the secrets and certificates that are in
//! the files at that time, and with the present token. `thread.rs` watches the files and fetches tokens, and
//! hands what is new to the clients that live. Certificates are the exception: librdkafka reads them only
//! when it makes a client, so a change of them asks for new clients.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use actix::{Message, Recipient};
use parking_lot::Mutex;

use super::classify;
use super::librdkafka::Client;
use super::sentences::Sentences;
use super::token::Token;
use crate::config::{Config, KafkaClient, KafkaConfig, Secrets, filled, kafka_client};

mod aws_credentials;
mod fetch;
mod msk_iam;
mod oidc;
mod thread;
mod web;

pub use thread::LoginThread;

/// How soon a token that is not there yet is looked for again.
const TOKEN_PAUSE: Duration = Duration::from_millis(20);

/// Certificates or keys have changed, and can be used.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FilesChanged;

/// Kafka has refused a login. A token may have become invalid before its time, since its issuer has changed
/// keys or revoked it: a new one may be taken. Clones tell one another.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt(Arc<AtomicBool>);

impl Doubt {
    /// A client reports this error.
    pub(super) fn heard(&self, code: i32) {
        if classify::is_login_refused(code) {
            self.0.store(true, Relaxed);
        }
    }

    /// Whether a login was refused since the last look.
    fn take(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}

/// There is no client.
#[derive(Debug)]
pub struct NotMade {
    /// What librdkafka refuses, or which file cannot be read; without secrets.
    pub why: String,
    /// The same may succeed later: files take part, and somebody may be about to replace them.
    pub may_pass: bool,
}

/// See the module.
pub struct Login {
    config: Arc<Config>,
    secrets: Secrets,
    doubt: Doubt,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: Vec<Weak<Client>>,
    token: Option<Token>,
    /// Those of the last client, with the secrets that were in the files.
    properties: Option<BTreeMap<String, String>>,
    /// Why there is no token, or no new one.
    trouble: Option<String>,
    /// How often certificates have changed.
    version: u64,
    /// Is told of each such change.
    told: Option<Recipient<FilesChanged>>,
}

impl Login {
    /// Of nobody yet.
    pub fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            secrets: Secrets::default(),
            doubt: Doubt::default(),
            state: Mutex::default(),
        }
    }

    /// Makes a client, and keeps its login up to date while it lives.
    ///
    /// # Errors
    /// librdkafka refuses the properties, or a certificate that they name. A secret whose file cannot be
    /// read is the last that could be.
    pub(super) fn client(
        &self,
        which: KafkaClient,
        sentences: Option<&Arc<Sentences>>,
    ) -> Result<Arc<Client>, NotMade> {
        // All the time: what changes meanwhile reaches the new client too.
        let mut state = self.state.lock();
        let not_made = |why: String| {
            let kafka = self.kafka();
            let may_pass = kafka.has_secret_files() || !kafka.tls_files().is_empty();
            NotMade { why: self.secrets.hide(&why), may_pass }
        };
        let properties = filled(self.kafka());
        let properties = properties.or_else(|why| state.properties.clone().ok_or(why));
        let properties = properties.map_err(not_made)?;
        self.secrets.learn(&properties);
        let settings = kafka_client(&self.config, &properties, which);
        let client = Client::new(&settings, sentences).map_err(not_made)?;
        state.properties = Some(properties);
        let client = Arc::new(client);
        if let Some(token) = &state.token {
            // It may have expired. Then there is trouble already, and the next one is on its way.
            let _ = client.set_token(token);
        }
        state.clients.retain(|client| client.strong_count() > 0);
        state.clients.push(Arc::downgrade(&client));
        Ok(client)
    }

    /// Where clients tell that Kafka has refused their login.
    pub(super) fn doubt(&self) -> &Doubt {
        &self.doubt
    }

    /// What no text may contain.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Why there is no token, or no new one.
    pub(super) fn trouble(&self) -> Option<String> {
        self.state.lock().trouble.clone()
    }

    /// The present token, once there is one, for a client that is not of [`Login::client`].
    pub(super) fn token_within(&self, patience: Duration) -> Option<Token> {
        let until = Instant::now() + patience;
        loop {
            let token = self.state.lock().token.clone();
            if token.is_some() || Instant::now() >= until {
                return token;
            }
            std::thread::sleep(TOKEN_PAUSE);
        }
    }

    /// Another number after each change of a certificate or a key.
    pub(super) fn version(&self) -> u64 {
        self.state.lock().version
    }

    fn kafka(&self) -> &KafkaConfig {
        &self.config.kafka
    }

    /// Changes what later clients get, and each client that lives. None is dropped under the lock: that
    /// takes its time.
    fn each_client(&self, later: impl FnOnce(&mut State), living: impl FnMut(&Arc<Client>)) {
        let mut state = self.state.lock();
        later(&mut state);
        let clients: Vec<_> = state.clients.iter().filter_map(Weak::upgrade).collect();
        clients.iter().for_each(living);
        drop(state);
        drop(clients);
    }

    /// The clients log in with the password that is in the file now, from their next connection on.
    ///
    /// # Errors
    /// Why the file cannot be read.
    fn renew_password(&self) -> Result<(), String> {
        let properties = filled(self.kafka())?;
        self.secrets.learn(&properties);
        let text = |name: &str| {
            // Neither has a NUL: the configuration refuses it.
            CString::new(properties.get(name).map_or("", String::as_str)).unwrap_or_default()
        };
        let (username, password) = (text("sasl.username"), text("sasl.password"));
        self.each_client(|_| {}, |client| client.set_credentials(&username, &password));
        Ok(())
    }

    /// The clients get this token, or the reason for which there is no new one is kept.
    fn renew_token(&self, fetched: Result<Token, String>) -> Result<(), String> {
        let fetched = fetched.and_then(|token| {
            let mut refused = Ok(());
            self.each_client(
                |state| state.token = Some(token.clone()),
                |client| {
                    if let Err(why) = client.set_token(&token) {
                        refused = Err(why);
                    }
                },
            );
            refused
        });
        let fetched = fetched.map_err(|why| self.secrets.hide(&why));
        self.state.lock().trouble = fetched.clone().err();
        fetched
    }

    /// From now on `told` is told of each change of a certificate or a key.
    pub(super) fn tell(&self, told: Recipient<FilesChanged>) {
        self.state.lock().told = Some(told);
    }

    /// Certificates or keys have changed: who makes clients makes new ones.
    fn change_version(&self) {
        let mut state = self.state.lock();
        state.version += 1;
        if let Some(told) = &state.told {
            told.do_send(FilesChanged);
        }
    }
}
