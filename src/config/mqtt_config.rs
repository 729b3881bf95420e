//! The resolved configuration of one connection to an MQTT broker.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::secret::Secret;
use super::secrets::REDACTED;
use crate::message::Qos;

/// The longest string of MQTT, in bytes (MQTT 5, section 1.5.4).
pub(super) const MQTT_STRING_MAX: usize = 65_535;

/// `[mqtt]`: one connection to an MQTT broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MqttConfig {
    /// The name of the connection in logs and metrics; `mqtt` for `[mqtt]`.
    pub name: Arc<str>,
    /// The name of its section in the file. It differs from `name` where `connections` opens several.
    pub section: Arc<str>,
    /// The broker's addresses, from `url` or `urls`, in the order in which they are tried; at least one.
    pub addresses: Vec<BrokerAddress>,
    /// `[mqtt.tls]`, for the addresses with TLS.
    pub tls: TlsConfig,
    /// `mqtt.websocket_headers`: sent with the upgrade, for the addresses with WebSocket. A value may be a
    /// secret.
    pub websocket_headers: Vec<(String, Secret)>,
    /// The proxy through which TCP connects.
    pub proxy: Option<ProxyConfig>,
    /// The group in which all filters are subscribed (`$share/GROUP/FILTER`), where `connections` opens
    /// several.
    pub group: Option<Arc<str>>,
    /// Empty only without a persistent session.
    pub client_id: String,
    /// Which protocol to speak.
    pub protocol: Protocol,
    /// Whole seconds.
    pub keep_alive: Duration,
    /// How long the broker keeps the session, in seconds: 0 for no persistent session, `u32::MAX` for
    /// ever (MQTT 5, section 3.1.2.11.2).
    pub session_expiry_s: u32,
    /// Larger payloads go to the dead letters.
    pub max_payload_bytes: usize,
    /// When to subscribe again over MQTT 3.1.1.
    pub resubscribe: Resubscribe,
    /// What happens to a QoS 1 message that matches no route.
    pub unmatched: Unmatched,
    /// Whether a message under a new packet id may be a redelivery.
    pub renumbered_redelivery: RenumberedRedelivery,
    /// How long a shared subscription over MQTT 3.1.1 may bring nothing before the bridge warns; `None`
    /// is `"never"`.
    pub silence_warning: Option<Duration>,
    /// User name, if any, from `username` or `url`. Some brokers take a token there.
    pub username: Option<Secret>,
    /// The password, if any.
    pub password: Option<Password>,
    /// `mqtt.user_properties`: sent with CONNECT (MQTT 5, section 3.1.2.11.8).
    pub user_properties: Vec<(String, String)>,
    /// `[mqtt.status]`: the birth and the will message.
    pub status: Option<StatusConfig>,
    /// The limit for each step: TCP to each address of the host, the proxy's answer, TLS, WebSocket,
    /// CONNACK, SUBACK; and for a password from a file or a command.
    pub connect_timeout: Duration,
    /// The first pause between attempts to connect.
    pub reconnect_min: Duration,
    /// The longest pause between attempts to connect.
    pub reconnect_max: Duration,
}

impl MqttConfig {
    /// The first address of the broker, by which logs and files name it.
    ///
    /// # Panics
    /// Without an address; the configuration has at least one.
    pub fn first_address(&self) -> &BrokerAddress {
        self.addresses.first().expect("the configuration has at least one address")
    }

    /// Every file that is read at each connect.
    pub fn files(&self) -> Vec<PathBuf> {
        let TlsConfig { ca_file, cert_file, key_file, key_password_file, .. } = &self.tls;
        let tls = [ca_file, cert_file, key_file, key_password_file].into_iter().flatten();
        let password = match &self.password {
            Some(Password::File(path)) => Some(path),
            _ => None,
        };
        tls.chain(password).cloned().collect()
    }
}

/// `mqtt.protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `"auto"`: 5, or 3.1.1 if the broker refuses 5.
    #[default]
    Auto,
    /// `"5"`
    V5,
    /// `"3.1.1"`
    V311,
}

/// `mqtt.resubscribe`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resubscribe {
    /// `"always"`: on each connection, at most once a minute.
    #[default]
    Always,
    /// `"new_session"`: only the filters that this process has not seen granted in the session.
    NewSession,
}

/// `mqtt.renumbered_redelivery`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RenumberedRedelivery {
    /// `"off"`: a new message.
    #[default]
    Off,
    /// `"auto"`: a redelivery, once this broker was seen to renumber.
    Auto,
    /// `"on"`: a redelivery.
    On,
}

/// `mqtt.unmatched`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unmatched {
    /// `"dead_letter"`
    #[default]
    DeadLetter,
    /// `"drop"`
    Drop,
}

/// Where an MQTT broker listens, and what it speaks there.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct BrokerAddress {
    /// Where.
    pub endpoint: Endpoint,
    /// TLS above it.
    pub is_tls: bool,
    /// WebSocket above that: the path of the request, with its query.
    pub websocket: Option<String>,
}

/// Where an MQTT broker listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A host's name or address (IPv6 without brackets), and a port.
    Tcp(String, u16),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl BrokerAddress {
    /// MQTT over TCP without TLS.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self { endpoint: Endpoint::Tcp(host.into(), port), is_tls: false, websocket: None }
    }

    /// `mqtt`, `mqtts`, `ws`, `wss` or `unix`.
    pub fn scheme(&self) -> &'static str {
        match (&self.endpoint, &self.websocket, self.is_tls) {
            (Endpoint::Unix(_), ..) => "unix",
            (_, None, false) => "mqtt",
            (_, None, true) => "mqtts",
            (_, Some(_), false) => "ws",
            (_, Some(_), true) => "wss",
        }
    }
}

/// As in `url`, with the port, without a login: `mqtts://broker:8883`. A query is not shown: it may be a
/// signature.
impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.endpoint)?;
        match self.websocket.as_deref().map(|path| path.split_once('?').ok_or(path)) {
            None => Ok(()),
            Some(Ok((path, _))) => write!(f, "{path}?{REDACTED}"),
            Some(Err(path)) => f.write_str(path),
        }
    }
}

/// As it is displayed.
impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `host:port`, with brackets around an IPv6 address.
#[derive(Debug, Clone, Copy)]
pub struct HostPort<'a>(pub &'a str, pub u16);

impl fmt::Display for HostPort<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}"),
            false => write!(f, "{host}:{port}"),
        }
    }
}

/// `host:port`, or the path.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => HostPort(host, *port).fmt(f),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `[mqtt.tls]`. All files are read at each connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// The authorities, PEM; with `None` the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate with its chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// The file with the key's password.
    pub key_password_file: Option<PathBuf>,
    /// The name that the broker's certificate must have, and that is sent to it (SNI); with `None` the
    /// host of the address.
    pub server_name: Option<String>,
    /// The protocols to offer (ALPN), in order; empty: the extension is not sent.
    pub alpn: Vec<String>,
    /// The oldest version to speak.
    pub min_version: TlsVersion,
    /// Neither the broker's certificate nor its name is checked.
    pub insecure_skip_verify: bool,
}

/// `mqtt.tls.min_version`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsVersion {
    /// `"1.2"`
    #[default]
    V1_2,
    /// `"1.3"`
    V1_3,
}

/// `mqtt.proxy`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Its name or address, IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User name and password, where it asks for them.
    pub login: Option<(Secret, Secret)>,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// `http://`: CONNECT (RFC 9110, section 9.3.6).
    Http,
    /// `socks5://`: SOCKS 5 (RFC 1928); the proxy resolves the broker's name.
    Socks5,
}

/// Where a password comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// From `password` or the URL.
    Fixed(Secret),
    /// From the file `password_file`, read at each connect.
    File(PathBuf),
    /// The output of `password_command`, a program and its arguments, run for each connect.
    Command(Vec<String>),
}

impl Password {
    /// The password itself, where it is known from the start.
    pub fn fixed(&self) -> Option<&str> {
        match self {
            Self::Fixed(secret) => Some(secret.expose()),
            Self::File(_) | Self::Command(_) => None,
        }
    }
}

/// Shows neither a password nor the arguments of a command.
impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(secret) => f.debug_tuple("Fixed").field(secret).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Command(command) => f.debug_tuple("Command").field(&command.first()).finish(),
        }
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self::Fixed(text.into())
    }
}

/// `[mqtt.status]`: who is there, for those who subscribe to its MQTT topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusConfig {
    /// The MQTT topic of both messages.
    pub mqtt_topic: String,
    /// The payload of the birth message, published after CONNACK.
    pub online: String,
    /// The payload of the will message, and of the message before DISCONNECT.
    pub offline: String,
    /// Whether both are retained.
    pub retain: bool,
    /// Of both.
    pub qos: Qos,
}

/// Blank: the table of keys fills it.
impl Default for StatusConfig {
    fn default() -> Self {
        Self {
            mqtt_topic: String::new(),
            online: String::new(),
            offline: String::new(),
            retain: true,
            qos: Qos::AtLeastOnce,
        }
    }
}
