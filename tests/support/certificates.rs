//! The certificates of one broker and its clients, in files that both read again when told to.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::ConfigFile;
use super::pki::{Authority, Identity, Wish};

/// How a client's key is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKey {
    Ec,
    Rsa,
    /// EC, encrypted with a password.
    Encrypted,
}

impl ClientKey {
    /// The password of an encrypted key.
    pub const PASSWORD: &'static str = "m4rk3dS3cret/key";
}

/// An authority, its broker's certificate, and what a bridge needs to connect.
pub struct Certificates {
    dir: PathBuf,
    authority: Authority,
    next: Authority,
    /// Held while a client's certificate is issued.
    issuing: Mutex<()>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Makes a new authority, and writes to `dir` its certificate and that of a broker on this machine.
    pub fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let certificates = Self {
            dir: dir.to_owned(),
            authority: Authority::new("Stories"),
            next: Authority::new("Stories, the next"),
            issuing: Mutex::new(()),
        };
        let both = [certificates.authority.pem(), certificates.next.pem()];
        put(&certificates.authorities(), &both[0]);
        put(&certificates.clients_authorities(), &both.concat());
        certificates.issue_broker(&Wish::LOCALHOST);
        certificates
    }

    /// The authorities that the bridge trusts: this one at first.
    pub fn authorities(&self) -> PathBuf {
        self.dir.join("authorities.pem")
    }

    /// The authorities that the broker trusts: this one, and the next one already.
    pub fn clients_authorities(&self) -> PathBuf {
        self.dir.join("clients-authorities.pem")
    }

    /// The broker's certificate, and its key.
    pub fn broker(&self) -> [PathBuf; 2] {
        [self.dir.join("broker.crt"), self.dir.join("broker.key")]
    }

    /// A client's certificate, and its key.
    pub fn client(&self, key: ClientKey) -> [PathBuf; 2] {
        let at = |ending| self.dir.join(format!("client-{key:?}.{ending}").to_lowercase());
        [at("crt"), at("key")]
    }

    /// The file with the password of the encrypted key.
    pub fn key_password(&self) -> PathBuf {
        self.dir.join("key-password")
    }

    /// The authority's certificate, PEM.
    pub fn authority_pem(&self) -> Vec<u8> {
        self.authority.pem()
    }

    /// Replaces the authorities that the bridge trusts, by this one, or by this and the next one.
    pub fn trust(&self, and_next: bool) {
        let next = if and_next { self.next.pem() } else { Vec::new() };
        put(&self.authorities(), &[self.authority.pem(), next].concat());
    }

    /// From here on the next authority is the one that signs.
    pub fn succeed(&mut self) {
        std::mem::swap(&mut self.authority, &mut self.next);
    }

    /// Replaces the broker's certificate and key; the broker reads them when it is told to.
    pub fn issue_broker(&self, wish: &Wish<'_>) {
        self.issue(&self.broker(), wish, Identity::key_pem);
    }

    /// Replaces a client's certificate and key.
    pub fn issue_client(&self, key: ClientKey) {
        let wish = Wish { is_rsa: key == ClientKey::Rsa, ..Wish::client("bridge") };
        self.issue(&self.client(key), &wish, |identity| match key {
            ClientKey::Ec => identity.key_pem(),
            // PKCS#1, as older tools write it.
            ClientKey::Rsa => identity.key.rsa().unwrap().private_key_to_pem().unwrap(),
            ClientKey::Encrypted => identity.encrypted_key_pem(ClientKey::PASSWORD),
        });
        put(&self.key_password(), format!("{}\n", ClientKey::PASSWORD).as_bytes());
    }

    fn issue(
        &self,
        [certificate, key]: &[PathBuf; 2],
        wish: &Wish<'_>,
        key_pem: impl Fn(&Identity) -> Vec<u8>,
    ) {
        let identity = self.authority.issue(wish);
        put(certificate, &identity.certificate_pem());
        put(key, &key_pem(&identity));
    }

    /// `[mqtt.tls]` of a bridge that trusts the authority, and perhaps shows a certificate, which is issued
    /// now if it was not before: a bridge that has it would take a new one.
    pub fn configure(&self, config: &mut ConfigFile, client: Option<ClientKey>) {
        let mut set = |key, path: PathBuf| {
            config.set("mqtt.tls", key, path.to_str().expect("a path in UTF-8"));
        };
        set("ca_file", self.authorities());
        if let Some(client) = client {
            let [certificate, key] = self.client(client);
            let issuing = self.issuing.lock().unwrap();
            if !certificate.exists() {
                self.issue_client(client);
            }
            drop(issuing);
            set("cert_file", certificate);
            set("key_file", key);
            if client == ClientKey::Encrypted {
                set("key_password_file", self.key_password());
            }
        }
    }
}

/// Writes a file in one step, as tools that rotate certificates do.
pub fn put(path: &Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(&new, path).unwrap();
}
