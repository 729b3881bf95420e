//! What a failure of TLS means: whose fault it is, and what to do. Pure, but for OpenSSL's types.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use openssl::nid::Nid;
use openssl::ssl::{Error as SslError, SslAlert};
use openssl::x509::{X509NameRef, X509Ref, X509StoreContextRef, X509VerifyResult};
use parking_lot::Mutex;

use crate::mqtt::lost::{self, Lost};

/// Names of a certificate that are told.
const NAMES_MAX: usize = 8;
/// Characters of each that are told.
const NAME_MAX: usize = 100;

/// Reason codes of OpenSSL's errors (`sslerr.h`).
mod code {
    pub(super) const NO_PROTOCOLS_AVAILABLE: i32 = 191;
    pub(super) const UNSUPPORTED_PROTOCOL: i32 = 258;
    pub(super) const WRONG_SSL_VERSION: i32 = 266;
    pub(super) const VERSION_TOO_HIGH: i32 = 166;
    pub(super) const VERSION_TOO_LOW: i32 = 396;
}

/// Results of the verification (`x509_vfy.h`).
mod verdict {
    pub(super) const ISSUER_UNKNOWN: i32 = 2;
    pub(super) const NOT_SIGNED_BY_ISSUER: i32 = 7;
    pub(super) const NOT_YET_VALID: i32 = 9;
    pub(super) const EXPIRED: i32 = 10;
    pub(super) const SELF_SIGNED: i32 = 18;
    pub(super) const SELF_SIGNED_IN_CHAIN: i32 = 19;
    pub(super) const ISSUER_UNKNOWN_LOCALLY: i32 = 20;
    pub(super) const LEAF_UNVERIFIED: i32 = 21;
    pub(super) const OTHER_NAME: i32 = 62;
    pub(super) const OTHER_ADDRESS: i32 = 64;
}

/// The broker, as the bridge knows it, and what the bridge showed it.
#[derive(Debug, Clone)]
pub struct TlsPeer {
    /// The name that its certificate must have.
    pub server_name: String,
    /// Where the authorities come from that it may be from.
    pub authorities: String,
    /// The file of our own certificate.
    pub certificate: Option<PathBuf>,
    /// What was wrong with its certificate.
    pub refused: Arc<Mutex<Option<Refused>>>,
}

/// A certificate in the broker's chain that was refused.
#[derive(Debug, Clone)]
pub struct Refused {
    why: X509VerifyResult,
    /// It is the broker's own; else one of an authority above it.
    is_leaf: bool,
    subject: String,
    issuer: String,
    names: Vec<String>,
    not_before: String,
    not_after: String,
}

/// How far a handshake came.
pub(super) struct Handshake<'a> {
    /// OpenSSL's word, or that of the transport below.
    pub(super) error: Result<SslError, io::Error>,
    /// The first bytes that came.
    pub(super) first_bytes: &'a [u8],
    /// OpenSSL's state.
    pub(super) state: &'static str,
}

impl Refused {
    /// What OpenSSL refuses now.
    pub(super) fn of(context: &X509StoreContextRef) -> Self {
        let certificate = context.current_cert();
        let tell = |of: fn(&X509Ref) -> String| certificate.map(of).unwrap_or_default();
        Self {
            why: context.error(),
            is_leaf: context.error_depth() == 0,
            subject: tell(|certificate| name(certificate.subject_name())),
            issuer: tell(|certificate| name(certificate.issuer_name())),
            names: certificate.map(names).unwrap_or_default(),
            not_before: tell(|certificate| certificate.not_before().to_string()),
            not_after: tell(|certificate| certificate.not_after().to_string()),
        }
    }

    fn lost(&self, peer: &TlsPeer) -> Lost {
        let Self { subject, issuer, not_before, not_after, .. } = self;
        let TlsPeer { authorities, server_name, .. } = peer;
        let whose = match self.is_leaf {
            true => format!("the broker's certificate ({subject})"),
            false => format!("the certificate of an authority in the broker's chain ({subject})"),
        };
        match self.why.as_raw() {
            verdict::EXPIRED => Lost::new(
                lost::TLS_EXPIRED,
                format!(
                    "{whose} expired at {not_after}: renew it at the broker, or set this host's clock"
                ),
            ),
            verdict::NOT_YET_VALID => Lost::new(
                lost::TLS_NOT_YET_VALID,
                format!(
                    "{whose} is valid from {not_before} only: set this host's clock, or the broker's"
                ),
            ),
            verdict::OTHER_NAME | verdict::OTHER_ADDRESS => Lost::new(
                lost::TLS_NAME,
                format!(
                    "the broker's certificate is for {}, not for {server_name}: one of these in mqtt.url, \
                     or as mqtt.tls.server_name; or another certificate at the broker",
                    self.names.join(", ")
                ),
            ),
            verdict::SELF_SIGNED => Lost::new(
                lost::TLS_UNTRUSTED,
                format!(
                    "{whose} is self-signed and not among the trusted ones ({authorities}): \
                     mqtt.tls.ca_file with it, or a certificate of an authority at the broker"
                ),
            ),
            verdict::SELF_SIGNED_IN_CHAIN
            | verdict::ISSUER_UNKNOWN
            | verdict::ISSUER_UNKNOWN_LOCALLY
            | verdict::LEAF_UNVERIFIED => Lost::new(
                lost::TLS_UNTRUSTED,
                format!(
                    "{whose} is from {issuer}, an authority that is not among the trusted ones \
                     ({authorities}): mqtt.tls.ca_file with that authority's certificate; or the broker \
                     must send the certificates between"
                ),
            ),
            verdict::NOT_SIGNED_BY_ISSUER => Lost::new(
                lost::TLS_UNTRUSTED,
                format!(
                    "{whose} is not signed with the key of the trusted {issuer} ({authorities}): that \
                     authority has another key now, and mqtt.tls.ca_file needs its new certificate"
                ),
            ),
            _ => Lost::new(
                lost::TLS_UNTRUSTED,
                format!("{whose}, from {issuer}, cannot be trusted: {}", self.why),
            ),
        }
    }
}

impl TlsPeer {
    /// Why the handshake failed.
    pub(super) fn handshake_failed(&self, handshake: &Handshake<'_>) -> Lost {
        if let Some(refused) = &*self.refused.lock() {
            return refused.lost(self);
        }
        match handshake.first_bytes {
            [] => return not_answered(handshake),
            // A record of the handshake, or an alert.
            [0x14..=0x16, 3, ..] => {}
            [b'H', b'T', b'T', b'P', ..] => {
                return Lost::new(
                    lost::TLS_FAILED,
                    "the port answers TLS with HTTP: it is not for TLS; `ws://` in mqtt.url if it is for \
                     WebSocket, else another port",
                );
            }
            _ => {
                return Lost::new(
                    lost::TLS_FAILED,
                    "the port answers TLS with something else: it is not for TLS; `mqtt://` or `ws://` in \
                     mqtt.url, or the broker's port for TLS, often 8883",
                );
            }
        }
        match &handshake.error {
            Ok(error) => self.failed(error, Some(handshake.state)),
            // What it said before that, if it was read.
            Err(error) => {
                error.get_ref().and_then(|error| error.downcast_ref::<Lost>()).map_or_else(
                    || {
                        Lost::new(
                            lost::TLS_FAILED,
                            format!("the handshake of TLS was cut off: {error}"),
                        )
                    },
                    Lost::clone,
                )
            }
        }
    }

    /// What an error means that came when the handshake was done.
    pub(super) fn read_failed(&self, error: io::Error) -> Lost {
        match error.downcast::<SslError>() {
            Ok(error) => self.failed(&error, None),
            Err(error) => Lost::new(lost::READ_FAILED, error.to_string()),
        }
    }

    /// In the middle of the handshake if there is a `state` of it.
    fn failed(&self, error: &SslError, state: Option<&str>) -> Lost {
        let errors = error.ssl_error().map(|stack| stack.errors()).unwrap_or_default();
        let reason = errors.first().map(openssl::error::Error::reason_code).unwrap_or_default();
        // OpenSSL numbers the alerts that it receives from 1000 on; other reasons are below.
        if let Some(alert) = SslAlert::from_reason_code(reason) {
            return self.alerted(alert, state);
        }
        let text = errors.first().and_then(openssl::error::Error::reason);
        let text = text.map_or_else(|| error.to_string(), str::to_owned);
        match (reason, state) {
            (
                code::UNSUPPORTED_PROTOCOL
                | code::WRONG_SSL_VERSION
                | code::NO_PROTOCOLS_AVAILABLE
                | code::VERSION_TOO_HIGH
                | code::VERSION_TOO_LOW,
                Some(_),
            ) => version(&text),
            (_, Some(_)) => Lost::new(
                lost::TLS_FAILED,
                format!("the handshake of TLS failed on the bridge's side: {text}"),
            ),
            (_, None) => Lost::new(
                lost::READ_FAILED,
                format!("the broker sent what is no TLS of this connection: {text}"),
            ),
        }
    }

    /// The broker gave up, and said why.
    fn alerted(&self, alert: SslAlert, state: Option<&str>) -> Lost {
        match alert {
            SslAlert::CERTIFICATE_REQUIRED
            | SslAlert::NO_CERTIFICATE
            | SslAlert::BAD_CERTIFICATE
            | SslAlert::UNSUPPORTED_CERTIFICATE
            | SslAlert::CERTIFICATE_REVOKED
            | SslAlert::CERTIFICATE_EXPIRED
            | SslAlert::CERTIFICATE_UNKNOWN
            | SslAlert::UNKNOWN_CA
            | SslAlert::ACCESS_DENIED => self.refused_ours(alert),
            // TLS 1.2 has no alert of its own for a missing certificate. Once we have sent ours, or
            // that we have none, there is hardly anything else to fail for.
            SslAlert::HANDSHAKE_FAILURE if state.is_none_or(|state| state.contains("finished")) => {
                self.refused_ours(alert)
            }
            // It knows an authority by the name of ours, and that has another key.
            SslAlert::DECRYPT_ERROR if self.certificate.is_some() && state.is_none() => {
                self.refused_ours(alert)
            }
            SslAlert::PROTOCOL_VERSION => version(&alert.to_string()),
            SslAlert::UNRECOGNIZED_NAME => Lost::new(
                lost::TLS_NAME,
                format!(
                    "the broker does not know the name {}, with which the bridge asks for it: its name \
                     in mqtt.url, or as mqtt.tls.server_name",
                    self.server_name
                ),
            ),
            SslAlert::NO_APPLICATION_PROTOCOL => Lost::new(
                lost::TLS_FAILED,
                "the broker takes none of the protocols in mqtt.tls.alpn: those that its documentation \
                 names",
            ),
            _ if state.is_none() => {
                Lost::new(lost::READ_FAILED, format!("the broker ended TLS: {alert}"))
            }
            _ => Lost::new(
                lost::TLS_FAILED,
                format!("the broker refuses the handshake of TLS: {alert}; its log may say why"),
            ),
        }
    }

    fn refused_ours(&self, alert: SslAlert) -> Lost {
        let alert = match alert {
            // OpenSSL has no text for it.
            SslAlert::CERTIFICATE_REQUIRED => "certificate required".to_owned(),
            _ => alert.to_string(),
        };
        let detail = match &self.certificate {
            None => format!(
                "the broker wants a certificate of the bridge ({alert}): mqtt.tls.cert_file and \
                 mqtt.tls.key_file"
            ),
            Some(file) => format!(
                "the broker refuses the bridge's certificate, {} ({alert}): one from an authority that \
                 the broker trusts, valid now, with the certificates between; its log may say more",
                file.display()
            ),
        };
        Lost::new(lost::TLS_CLIENT_CERTIFICATE, detail)
    }
}

fn version(text: &str) -> Lost {
    Lost::new(
        lost::TLS_VERSION,
        format!(
            "the broker speaks no version of TLS that the bridge may speak ({text}): TLS 1.2 or 1.3 at the \
             broker, and mqtt.tls.min_version"
        ),
    )
}

fn not_answered(handshake: &Handshake<'_>) -> Lost {
    let how = match &handshake.error {
        Err(error) => format!("ended the connection ({error})"),
        Ok(_) => "closed the connection".to_owned(),
    };
    Lost::new(
        lost::TLS_FAILED,
        format!(
            "the broker {how} instead of answering TLS: most likely the port is not for TLS; `mqtt://` or \
             `ws://` in mqtt.url, or the broker's port for TLS, often 8883"
        ),
    )
}

/// The common name, or the whole.
pub(crate) fn name(name: &X509NameRef) -> String {
    let common = name.entries_by_nid(Nid::COMMONNAME).next();
    match common.and_then(|entry| entry.data().to_string().ok()) {
        Some(text) => bounded(&text),
        None => bounded(&format!("{name:?}")),
    }
}

/// The names and addresses that a certificate is for.
pub(crate) fn names(certificate: &X509Ref) -> Vec<String> {
    let alternatives = certificate.subject_alt_names();
    let mut names: Vec<_> = alternatives
        .iter()
        .flatten()
        .filter_map(|name| {
            let address = name.ipaddress().and_then(address);
            name.dnsname().map(bounded).or(address)
        })
        .collect();
    if names.is_empty() {
        names.push(name(certificate.subject_name()));
    }
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    names
}

fn address(octets: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    let v6 = <[u8; 16]>::try_from(octets).map(|octets| std::net::IpAddr::from(octets).to_string());
    v4.or(v6).ok()
}

/// The peer's text, without what could disturb a line, and not too long.
fn bounded(text: &str) -> String {
    text.chars().take(NAME_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}
