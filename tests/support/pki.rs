//! Certificates that the tests make: an authority, and what it issues. Used by the unit tests too.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

const DAY_S: i64 = 86_400;

/// An authority that signs certificates.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// What a certificate is to say.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The common name of its subject.
    pub common_name: &'a str,
    /// The DNS names it is for; where it is empty, only the common name says so.
    pub dns_names: &'a [&'a str],
    /// The addresses it is for.
    pub addresses: &'a [&'a str],
    /// Valid from so many days after now, to so many days after now.
    pub valid_days: (i64, i64),
    /// An RSA key instead of an elliptic curve.
    pub is_rsa: bool,
}

impl Wish<'_> {
    /// For this machine: `localhost` and 127.0.0.1, valid now.
    pub const LOCALHOST: Wish<'static> = Wish {
        common_name: "localhost",
        dns_names: &["localhost"],
        addresses: &["127.0.0.1"],
        valid_days: (-1, 30),
        is_rsa: false,
    };

    /// For a client of this name.
    pub fn client(name: &str) -> Wish<'_> {
        Wish { common_name: name, dns_names: &[], addresses: &[], ..Wish::LOCALHOST }
    }
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = ec_key();
        let mut builder = builder(name, (-1, 3650), &key);
        builder.set_issuer_name(&subject(name)).expect("an issuer");
        let constraints = BasicConstraints::new().critical().ca().build().expect("constraints");
        builder.append_extension(constraints).expect("added");
        let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build().expect("usage");
        builder.append_extension(usage).expect("added");
        builder.sign(&key, MessageDigest::sha256()).expect("signed");
        Self { certificate: builder.build(), key }
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().expect("PEM")
    }

    /// Its own certificate and key, as a self-signed pair.
    pub fn parts(&self) -> (X509, PKey<Private>) {
        (self.certificate.clone(), self.key.clone())
    }

    pub fn issue(&self, wish: &Wish<'_>) -> Identity {
        let key = match wish.is_rsa {
            true => PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key"),
            false => ec_key(),
        };
        let mut builder = builder(wish.common_name, wish.valid_days, &key);
        builder.set_issuer_name(self.certificate.subject_name()).expect("an issuer");
        if !wish.dns_names.is_empty() || !wish.addresses.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for name in wish.dns_names {
                names.dns(name);
            }
            for address in wish.addresses {
                names.ip(address);
            }
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let names = names.build(&context).expect("names");
            builder.append_extension(names).expect("added");
        }
        builder.sign(&self.key, MessageDigest::sha256()).expect("signed");
        Identity { certificate: builder.build(), key }
    }
}

impl Identity {
    pub fn certificate_pem(&self) -> Vec<u8> {
        self.certificate.to_pem().expect("PEM")
    }

    /// The key in PKCS#8.
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().expect("PEM")
    }

    /// The key in PKCS#8, encrypted.
    pub fn encrypted_key_pem(&self, password: &str) -> Vec<u8> {
        let cipher = Cipher::aes_256_cbc();
        self.key.private_key_to_pem_pkcs8_passphrase(cipher, password.as_bytes()).expect("PEM")
    }

    /// Writes `NAME.crt` and `NAME.key` to `directory`.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let at = |ending: &str| directory.join(format!("{name}.{ending}"));
        let (certificate, key) = (at("crt"), at("key"));
        fs::write(&certificate, self.certificate_pem()).expect("written");
        fs::write(&key, self.key_pem()).expect("written");
        (certificate, key)
    }
}

fn ec_key() -> PKey<Private> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&curve).expect("a key")).expect("a key")
}

fn subject(common_name: &str) -> X509Name {
    let mut name = X509NameBuilder::new().expect("a name");
    name.append_entry_by_nid(Nid::COMMONNAME, common_name).expect("a name");
    name.build()
}

fn builder(common_name: &str, (from, to): (i64, i64), key: &PKey<Private>) -> X509Builder {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs();
    let now = i64::try_from(now).expect("a time");
    let at = |days: i64| Asn1Time::from_unix(now + days * DAY_S).expect("a time");
    let mut builder = X509::builder().expect("a builder");
    builder.set_version(2).expect("version 3");
    let mut serial = BigNum::new().expect("a number");
    serial.rand(127, MsbOption::MAYBE_ZERO, false).expect("a number");
    builder.set_serial_number(&serial.to_asn1_integer().expect("a number")).expect("a number");
    builder.set_subject_name(&subject(common_name)).expect("a subject");
    builder.set_not_before(&at(from)).expect("a time");
    builder.set_not_after(&at(to)).expect("a time");
    builder.set_pubkey(key).expect("a key");
    builder
}
