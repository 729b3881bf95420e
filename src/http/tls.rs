//! The certificate that the server shows.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{
    AlpnError, ClientHelloResponse, SslAcceptor, SslAcceptorBuilder, SslContext, SslMethod,
};
use openssl::x509::X509;
use parking_lot::Mutex;

/// The certificate with its chain and its key, as the files have them now. Clones share it.
#[derive(Clone)]
pub(super) struct Certificate(Arc<Mutex<SslContext>>);

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// A readable sentence.
    pub(super) fn read(cert_file: &Path, key_file: &Path) -> Result<Self, String> {
        Ok(Self(Arc::new(Mutex::new(context(cert_file, key_file)?))))
    }

    /// Reads both files again, for the handshakes that begin from now on.
    ///
    /// # Errors
    /// A readable sentence; the certificate stays what it was.
    pub(super) fn read_again(&self, cert_file: &Path, key_file: &Path) -> Result<(), String> {
        *self.0.lock() = context(cert_file, key_file)?;
        Ok(())
    }

    /// For the server: asks for the certificate at each handshake.
    ///
    /// # Errors
    /// OpenSSL has no memory, or no method.
    pub(super) fn acceptor(&self) -> Result<SslAcceptorBuilder, ErrorStack> {
        let mut acceptor = builder()?;
        let current = Arc::clone(&self.0);
        acceptor.set_client_hello_callback(move |ssl, _| {
            let context = current.lock().clone();
            ssl.set_ssl_context(&context)?;
            Ok(ClientHelloResponse::SUCCESS)
        });
        Ok(acceptor)
    }
}

/// TLS 1.2 and 1.3 with Mozilla's intermediate set of ciphers.
fn builder() -> Result<SslAcceptorBuilder, ErrorStack> {
    SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())
}

fn context(cert_file: &Path, key_file: &Path) -> Result<SslContext, String> {
    let refused = |key: &'static str, path: &Path, why: &str| {
        format!("{key}: cannot use {}: {why}", path.display())
    };
    let read = |key, path| fs::read(path).map_err(|error| refused(key, path, &error.to_string()));
    let bad_cert = |why: &str| refused("http.cert_file", cert_file, why);
    let bad_key = |why: &str| refused("http.key_file", key_file, why);

    let chain = X509::stack_from_pem(&read("http.cert_file", cert_file)?)
        .map_err(|error| bad_cert(&reason(&error)))?;
    let mut chain = chain.into_iter();
    let own = chain.next().ok_or_else(|| bad_cert("expected a certificate in PEM, found none"))?;
    // OpenSSL would ask for a password on the terminal.
    let key = PKey::private_key_from_pem_callback(&read("http.key_file", key_file)?, |_| Ok(0))
        .map_err(|error| bad_key(&reason(&error)))?;
    let mut builder = builder().map_err(|error| reason(&error))?;
    builder.set_certificate(&own).map_err(|error| bad_cert(&reason(&error)))?;
    for above in chain {
        builder.add_extra_chain_cert(above).map_err(|error| bad_cert(&reason(&error)))?;
    }
    builder
        .set_private_key(&key)
        .and_then(|()| builder.check_private_key())
        .map_err(|error| bad_key(&reason(&error)))?;
    // The context of the handshake is this one from the client's first message on.
    builder.set_alpn_select_callback(|_, offered| {
        const HTTP_1_1: &[u8] = b"\x08http/1.1";
        match offered.windows(HTTP_1_1.len()).any(|window| window == HTTP_1_1) {
            true => Ok(b"http/1.1"),
            false => Err(AlpnError::NOACK),
        }
    });
    Ok(builder.build().into_context())
}

/// The reasons that OpenSSL has, without its sources and lines.
fn reason(errors: &ErrorStack) -> String {
    let reasons = errors.errors().iter().filter_map(|error| error.reason());
    match reasons.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "it cannot be read".to_owned(),
        reasons => reasons,
    }
}
