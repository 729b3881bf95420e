//! What `[mqtt.tls]` says, with the files that it names, read at each dial.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs, io};

use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslFiletype, SslMethod, SslMode, SslOptions, SslVerifyMode,
    SslVersion,
};
use openssl::x509::X509;
use openssl::x509::store::{X509Lookup, X509StoreBuilder};
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use parking_lot::Mutex;

use crate::config::{TlsConfig, TlsVersion};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::tls_failure::{Refused, TlsPeer};

/// No file for TLS is larger: the system's authorities are about a quarter of it.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// What the next handshake needs.
pub(super) struct Prepared {
    pub(super) ssl: Ssl,
    pub(super) peer: TlsPeer,
}

/// Reads the files, and prepares a handshake with the broker at `host`. Blocks while it reads.
///
/// # Errors
/// `tls_files`, and what is wrong with which file.
pub(super) fn prepare(tls: &TlsConfig, host: &str) -> Result<Prepared, Lost> {
    try_prepare(tls, host).map_err(|detail| Lost::new(lost::TLS_FILES, detail))
}

fn try_prepare(tls: &TlsConfig, host: &str) -> Result<Prepared, String> {
    let mut builder = SslContext::builder(SslMethod::tls_client()).map_err(own)?;
    builder.set_options(
        SslOptions::NO_COMPRESSION
            | SslOptions::NO_RENEGOTIATION
            // A broker that is killed says nothing, and MQTT frames itself.
            | SslOptions::IGNORE_UNEXPECTED_EOF,
    );
    builder.set_mode(
        SslMode::AUTO_RETRY | SslMode::ENABLE_PARTIAL_WRITE | SslMode::ACCEPT_MOVING_WRITE_BUFFER,
    );
    // It reads from memory: as much as is there.
    builder.set_read_ahead(true);
    let oldest = match tls.min_version {
        TlsVersion::V1_2 => SslVersion::TLS1_2,
        TlsVersion::V1_3 => SslVersion::TLS1_3,
    };
    builder.set_min_proto_version(Some(oldest)).map_err(own)?;
    if !tls.alpn.is_empty() {
        builder.set_alpn_protos(&alpn(&tls.alpn)?).map_err(own)?;
    }
    let refused = Arc::new(Mutex::new(None));
    let authorities = match tls.insecure_skip_verify {
        true => {
            builder.set_verify(SslVerifyMode::NONE);
            "nothing is verified".to_owned()
        }
        false => {
            let refused = Arc::clone(&refused);
            builder.set_verify_callback(SslVerifyMode::PEER, move |is_good, context| {
                if !is_good {
                    refused.lock().get_or_insert_with(|| Refused::of(context));
                }
                is_good
            });
            trust(&mut builder, tls.ca_file.as_deref())?
        }
    };
    if let Some(file) = &tls.cert_file {
        show(&mut builder, tls, file)?;
    }
    let server_name = tls.server_name.as_deref().unwrap_or(host);
    let ssl = expect(&builder.build(), server_name).map_err(own)?;
    let peer = TlsPeer {
        server_name: server_name.to_owned(),
        authorities,
        certificate: tls.cert_file.clone(),
        refused,
    };
    Ok(Prepared { ssl, peer })
}

/// The certificate must be for `server_name`.
fn expect(context: &SslContext, server_name: &str) -> Result<Ssl, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    if let Ok(address) = server_name.parse::<IpAddr>() {
        ssl.param_mut().set_ip(address)?;
    } else {
        // The dot that ends a full name is no part of it here (RFC 6066, section 3).
        let name = server_name.trim_end_matches('.');
        ssl.set_hostname(name)?;
        ssl.param_mut().set_hostflags(
            X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::SINGLE_LABEL_SUBDOMAINS,
        );
        ssl.param_mut().set_host(name)?;
    }
    Ok(ssl)
}

/// Whom to trust: the authorities in `file`, else the system's. Returns where they come from.
fn trust(builder: &mut SslContextBuilder, file: Option<&Path>) -> Result<String, String> {
    let mut store = X509StoreBuilder::new().map_err(own)?;
    // What a person put there is trusted, an authority between or a single certificate too.
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN).map_err(own)?;
    let from = match file {
        Some(file) => {
            let key = "mqtt.tls.ca_file";
            for certificate in certificates(key, file)? {
                store.add_cert(certificate).map_err(own)?;
            }
            format!("{key} {}", file.display())
        }
        None => trust_system(&mut store, env::var_os("SSL_CERT_FILE").as_deref())?,
    };
    builder.set_cert_store(store.build());
    Ok(from)
}

/// The authorities in the file that the environment names; else those of the distribution.
pub(super) fn trust_system(
    store: &mut X509StoreBuilder,
    named: Option<&OsStr>,
) -> Result<String, String> {
    if let Some(file) = named.filter(|file| !file.is_empty()).map(Path::new) {
        for certificate in certificates("SSL_CERT_FILE", file)? {
            store.add_cert(certificate).map_err(own)?;
        }
        return Ok(format!("the system's, {} (SSL_CERT_FILE)", file.display()));
    }
    let found = openssl_probe::probe();
    if let Some(file) = &found.cert_file
        && let Ok(certificates) = certificates("the system's authorities", file)
    {
        for certificate in certificates {
            store.add_cert(certificate).map_err(own)?;
        }
        return Ok(format!("the system's, {}", file.display()));
    }
    // A directory of authorities has a file `HASH.0` for each.
    let is_hashed = |entry: io::Result<fs::DirEntry>| {
        entry.is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "0"))
    };
    let directory = found
        .cert_dir
        .iter()
        .find(|directory| fs::read_dir(directory).is_ok_and(|mut entries| entries.any(is_hashed)));
    let Some(directory) = directory else {
        let tried = found.cert_file.iter().chain(&found.cert_dir);
        let tried: Vec<_> = tried.map(|path| path.display().to_string()).collect();
        return Err(format!(
            "the system has no certificates of authorities (tried SSL_CERT_FILE, SSL_CERT_DIR, \
             /etc/ssl/certs/ca-certificates.crt, /etc/pki/tls/certs/ca-bundle.crt, /etc/ssl/cert.pem and \
             their like{}): mqtt.tls.ca_file, or install them (ca-certificates)",
            if tried.is_empty() { String::new() } else { format!("; found {}", tried.join(", ")) }
        ));
    };
    let lookup = store.add_lookup(X509Lookup::hash_dir()).map_err(own)?;
    lookup.add_dir(&directory.to_string_lossy(), SslFiletype::PEM).map_err(own)?;
    Ok(format!("the system's, {}", directory.display()))
}

/// Our own certificate with its chain, and its key.
fn show(builder: &mut SslContextBuilder, tls: &TlsConfig, file: &Path) -> Result<(), String> {
    let Some(key_file) = &tls.key_file else {
        return Err("mqtt.tls.cert_file needs mqtt.tls.key_file".to_owned());
    };
    let mut chain = certificates("mqtt.tls.cert_file", file)?.into_iter();
    let Some(certificate) = chain.next() else {
        return Err(format!("mqtt.tls.cert_file {}: found no certificate", file.display()));
    };
    let key = private_key(key_file, tls.key_password_file.as_deref())?;
    if !certificate.public_key().map_err(own)?.public_eq(&key) {
        return Err(format!(
            "the key in mqtt.tls.key_file {} does not belong to the first certificate in \
             mqtt.tls.cert_file {}: the files of one pair, the own certificate first",
            key_file.display(),
            file.display()
        ));
    }
    let weak = |error| format!("mqtt.tls.cert_file {}: {}", file.display(), own(error));
    builder.set_certificate(&certificate).map_err(weak)?;
    for certificate in chain {
        builder.add_extra_chain_cert(certificate).map_err(weak)?;
    }
    builder.set_private_key(&key).map_err(own)
}

/// All certificates of a PEM file, at least one.
fn certificates(what: &str, file: &Path) -> Result<Vec<X509>, String> {
    let found = X509::stack_from_pem(&read(what, file)?);
    let found = found.map_err(|error| format!("{what} {}: {}", file.display(), own(error)))?;
    if found.is_empty() {
        return Err(format!(
            "{what} {}: found no certificate, expected PEM (`-----BEGIN CERTIFICATE-----`)",
            file.display()
        ));
    }
    Ok(found)
}

fn private_key(file: &Path, password_file: Option<&Path>) -> Result<PKey<Private>, String> {
    let what = "mqtt.tls.key_file";
    let pem = read(what, file)?;
    let password = match password_file {
        Some(file) => Some(read("mqtt.tls.key_password_file", file)?),
        None => None,
    };
    let password = password.as_deref().map(without_line_end);
    let mut is_encrypted = false;
    // Always with a callback: OpenSSL would ask at the terminal.
    let key = PKey::private_key_from_pem_callback(&pem, |space| {
        is_encrypted = true;
        let password = password.unwrap_or_default();
        match space.get_mut(..password.len()) {
            Some(space) => space.copy_from_slice(password),
            None => return Ok(0),
        }
        Ok(password.len())
    });
    let file = file.display();
    key.map_err(|error| match (is_encrypted, password_file) {
        (true, None) => format!("{what} {file} is encrypted: mqtt.tls.key_password_file"),
        (true, Some(password)) => format!(
            "{what} {file}: the password in mqtt.tls.key_password_file {} does not open it",
            password.display()
        ),
        (false, _) => format!(
            "{what} {file}: found no key that can be read, expected PEM (`-----BEGIN PRIVATE KEY-----` or \
             the like): {}",
            own(error)
        ),
    })
}

/// An editor ends the line of a password.
fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

fn read(what: &str, file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{what} {}: {error}", file.display());
    let metadata = fs::metadata(file).map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(failed(&"expected a file"));
    }
    if metadata.len() > FILE_MAX_BYTES {
        return Err(failed(&format_args!("expected at most {FILE_MAX_BYTES} bytes")));
    }
    fs::read(file).map_err(|error| failed(&error))
}

/// As the extension has them (RFC 7301, section 3.1): each behind its length.
fn alpn(protocols: &[String]) -> Result<Vec<u8>, String> {
    let mut wire = Vec::new();
    for protocol in protocols {
        match u8::try_from(protocol.len()) {
            Ok(length @ 1..) => wire.push(length),
            _ => return Err("mqtt.tls.alpn: expected names of 1 to 255 bytes".to_owned()),
        }
        wire.extend(protocol.as_bytes());
    }
    Ok(wire)
}

/// OpenSSL's first sentence, without its source files.
fn own(error: ErrorStack) -> String {
    let reason = error.errors().first().and_then(|error| error.reason());
    reason.map_or_else(|| error.to_string(), str::to_owned)
}
