//! TLS of the feed: a certificate made for one run, and a server's stream of bytes with it or without.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslMethod, SslStream};
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509, X509NameBuilder};
use rustix::fd::{AsFd, BorrowedFd};

use super::error::BenchError;

/// Longer than any run.
const VALID_S: i64 = 30 * 86_400;
/// For the handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// The feed as a server with TLS. The private key never leaves the memory.
pub(super) struct TlsServer {
    acceptor: SslAcceptor,
    /// The certificate, by which the bridge recognises the feed.
    pub(super) ca_file: PathBuf,
}

impl TlsServer {
    /// Makes a certificate for 127.0.0.1, which is its own authority, and writes it to `ca_file`.
    ///
    /// # Errors
    /// OpenSSL refuses, or the file cannot be written.
    pub(super) fn new(ca_file: &Path) -> Result<Self, BenchError> {
        let (certificate, key) = self_signed()?;
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_certificate(&certificate)?;
        builder.set_private_key(&key)?;
        std::fs::write(ca_file, certificate.to_pem()?)?;
        Ok(Self { acceptor: builder.build(), ca_file: ca_file.to_owned() })
    }

    /// The handshake with a client that has just connected.
    ///
    /// # Errors
    /// It fails, or takes too long.
    pub(super) fn accept(&self, stream: TcpStream) -> Result<ByteStream, BenchError> {
        stream.set_read_timeout(Some(HANDSHAKE_WITHIN))?;
        let accepted = self.acceptor.accept(stream);
        let stream =
            accepted.map_err(|error| BenchError::Feed(format!("the TLS handshake: {error}")))?;
        stream.get_ref().set_read_timeout(None)?;
        Ok(ByteStream::Tls(Box::new(stream)))
    }
}

fn self_signed() -> Result<(X509, PKey<Private>), ErrorStack> {
    let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&curve)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "mqtt-kafka-bridge bench")?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(1)?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or_default();
    let (from, to) = (Asn1Time::from_unix(now - VALID_S)?, Asn1Time::from_unix(now + VALID_S)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&to)?;
    builder.set_pubkey(&key)?;
    let context = builder.x509v3_context(None, None);
    let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&context)?;
    builder.append_extension(names)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build(), key))
}

/// The feed's end of a connection, which does not block.
pub(super) enum ByteStream {
    /// TCP.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<SslStream<TcpStream>>),
}

impl ByteStream {
    /// Its socket.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    /// Whether bytes have been read from the socket that [`Read`] has not given yet.
    pub(super) fn has_more(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.ssl().pending() > 0,
        }
    }
}

impl AsFd for ByteStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl Read for ByteStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for ByteStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
