//! The ways in which a bridge reaches its broker.

use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use super::ConfigFile;
use super::broker::Broker;
use super::certificates::ClientKey;
use super::forward_proxy::ForwardProxy;

/// What a bridge speaks below MQTT, and through what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    #[default]
    Tcp,
    Tls,
    /// TLS, and the bridge has a certificate.
    MutualTls(ClientKey),
    WebSocket,
    WebSocketTls,
    /// TLS through CONNECT of an HTTP proxy with a login.
    HttpProxy,
    /// TCP through a SOCKS 5 proxy with a login.
    Socks5,
    /// A Unix socket.
    Unix,
}

/// What a listener of a broker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Plain,
    Tls,
    /// TLS, and a client needs a certificate.
    MutualTls,
    WebSocket,
    WebSocketTls,
    Unix,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Tcp,
        Self::Tls,
        Self::MutualTls(ClientKey::Ec),
        Self::MutualTls(ClientKey::Rsa),
        Self::MutualTls(ClientKey::Encrypted),
        Self::WebSocket,
        Self::WebSocketTls,
        Self::HttpProxy,
        Self::Socks5,
        Self::Unix,
    ];

    /// Its name in the fault table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::MutualTls(ClientKey::Ec) => "mTLS, EC key",
            Self::MutualTls(ClientKey::Rsa) => "mTLS, RSA key",
            Self::MutualTls(ClientKey::Encrypted) => "mTLS, encrypted key",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
            Self::HttpProxy => "mqtts, HTTP proxy",
            Self::Socks5 => "mqtt, SOCKS5",
            Self::Unix => "unix",
        }
    }

    /// The broker's listener that it needs.
    pub fn listener(self) -> Listener {
        match self {
            Self::Tcp | Self::Socks5 => Listener::Plain,
            Self::Tls | Self::HttpProxy => Listener::Tls,
            Self::MutualTls(_) => Listener::MutualTls,
            Self::WebSocket => Listener::WebSocket,
            Self::WebSocketTls => Listener::WebSocketTls,
            Self::Unix => Listener::Unix,
        }
    }

    /// The proxy that it needs, started.
    pub fn forward_proxy(self, dir: &std::path::Path) -> Option<ForwardProxy> {
        match self {
            Self::HttpProxy => Some(ForwardProxy::http(dir)),
            Self::Socks5 => Some(ForwardProxy::socks5(dir)),
            _ => None,
        }
    }

    /// The bridge's configuration for `broker`, whose listener (or what forwards to it) is at `address`.
    pub fn configure(
        self,
        config: &mut ConfigFile,
        broker: &dyn Broker,
        address: &str,
        proxy: Option<&ForwardProxy>,
    ) {
        let url = match self.listener() {
            Listener::Plain => format!("mqtt://{address}"),
            Listener::Tls | Listener::MutualTls => format!("mqtts://{address}"),
            Listener::WebSocket => format!("ws://{address}{}", broker.websocket_path()),
            Listener::WebSocketTls => format!("wss://{address}{}", broker.websocket_path()),
            Listener::Unix => format!("unix://{address}"),
        };
        config.set("mqtt", "url", url);
        let client = match self {
            Self::MutualTls(key) => Some(key),
            _ => None,
        };
        if self.listener().is_tls() {
            let certificates = broker.certificates().expect("a broker with TLS has certificates");
            certificates.configure(config, client);
        }
        if let Some(proxy) = proxy {
            config.set("mqtt", "proxy", proxy.url());
        }
    }
}

impl Listener {
    /// Whether it accepts connections at `address`: `host:port`, or its path.
    pub fn accepts(self, address: &str) -> bool {
        match self {
            Self::Unix => UnixStream::connect(address).is_ok(),
            _ => TcpStream::connect(address).is_ok(),
        }
    }

    /// Whether it needs the broker's certificate.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::MutualTls | Self::WebSocketTls)
    }

    /// Whether MQTT is in WebSocket's frames.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketTls)
    }
}
