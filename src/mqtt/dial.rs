//! Opens the transport that an address asks for: TCP, directly or through a proxy, or a Unix socket; on it
//! TLS; on that WebSocket.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{BrokerAddress, Endpoint, MqttConfig};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::proxy;
use crate::mqtt::tcp::{self, Tcp};
use crate::mqtt::tls::Tls;
use crate::mqtt::tls_files;
use crate::mqtt::transport::Transport;
use crate::mqtt::unix::Unix;
use crate::mqtt::websocket::WebSocket;

/// Opens a transport to `address`. The kernel ends the connection when the peer has answered nothing for
/// `silence_max`.
///
/// # Errors
/// Why there is none: the reason, and one line that says which side, what was wrong and what to do.
pub async fn dial(
    mqtt: &MqttConfig,
    address: &BrokerAddress,
    silence_max: Duration,
) -> Result<Box<dyn Transport>, Lost> {
    let mut transport = connect(mqtt, &address.endpoint, silence_max).await?;
    if address.is_tls {
        transport = Box::new(secure(mqtt, &address.endpoint, transport).await?);
    }
    if let Some(path) = &address.websocket {
        transport = upgrade(mqtt, address, path, transport).await?;
    }
    Ok(transport)
}

/// TCP, through a proxy if there is one, or a Unix socket.
///
/// # Errors
/// Why there is no connection.
pub(super) async fn connect(
    mqtt: &MqttConfig,
    endpoint: &Endpoint,
    silence_max: Duration,
) -> Result<Box<dyn Transport>, Lost> {
    let within = mqtt.connect_timeout;
    let failed = |detail: String| Lost::new(lost::CONNECT_FAILED, detail);
    match (endpoint, &mqtt.proxy) {
        (Endpoint::Tcp(host, port), None) => {
            let stream = tcp::connect(host, *port, within, silence_max).await.map_err(failed)?;
            Ok(Box::new(Tcp::new(stream)))
        }
        (Endpoint::Tcp(host, port), Some(proxy)) => {
            let stream = tcp::connect(&proxy.host, proxy.port, within, silence_max).await;
            let mut stream =
                stream.map_err(|detail| failed(format!("the proxy in mqtt.proxy: {detail}")))?;
            let opened = proxy::open(&mut stream, proxy, host, *port);
            match timeout(within, opened).await {
                Ok(opened) => opened?,
                Err(_) => {
                    let at = proxy::at(proxy);
                    let detail = format!("the proxy {at} gave no answer within {within:?}");
                    return Err(Lost::new(lost::PROXY_REFUSED, detail));
                }
            }
            Ok(Box::new(Tcp::through_proxy(stream)))
        }
        (Endpoint::Unix(path), _) => {
            Ok(Box::new(Unix::connect(path, within).await.map_err(failed)?))
        }
    }
}

/// TLS on `below`.
///
/// # Errors
/// Why there is none.
pub(super) async fn secure(
    mqtt: &MqttConfig,
    endpoint: &Endpoint,
    below: Box<dyn Transport>,
) -> Result<Tls, Lost> {
    let (tls, host) = (mqtt.tls.clone(), host_of(endpoint).to_owned());
    // A file system may be slow, and the actor has others to serve.
    let prepared = spawn_blocking(move || tls_files::prepare(&tls, &host));
    let within = mqtt.connect_timeout;
    let shaken = timeout(within, async {
        let prepared = prepared.await.map_err(|error| {
            Lost::new(lost::TLS_FILES, format!("reading them failed: {error}"))
        })??;
        Tls::connect(below, prepared.ssl, prepared.peer).await
    });
    match shaken.await {
        Ok(tls) => tls,
        Err(_) => Err(Lost::new(
            lost::TLS_FAILED,
            format!(
                "the broker did not finish the handshake of TLS within {within:?}: most likely the port is \
                 not for TLS; `mqtt://` or `ws://` in mqtt.url, or the broker's port for TLS, often 8883"
            ),
        )),
    }
}

/// WebSocket on `below`.
///
/// # Errors
/// What the server answers instead.
pub(super) async fn upgrade(
    mqtt: &MqttConfig,
    address: &BrokerAddress,
    path: &str,
    below: Box<dyn Transport>,
) -> Result<Box<dyn Transport>, Lost> {
    let within = mqtt.connect_timeout;
    let host = address.endpoint.to_string();
    // The port that the scheme stands for is not named (RFC 9110, section 7.2).
    let port = if address.is_tls { ":443" } else { ":80" };
    let host = host.strip_suffix(port).unwrap_or(&host);
    let upgraded = WebSocket::connect(below, host, path, &mqtt.websocket_headers);
    match timeout(within, upgraded).await {
        Ok(websocket) => Ok(Box::new(websocket?)),
        Err(_) => Err(Lost::new(
            lost::WEBSOCKET_REFUSED,
            format!(
                "the server did not answer the upgrade to WebSocket within {within:?}: most likely the port \
                 is for MQTT without WebSocket (`mqtt://` or `mqtts://` in mqtt.url), or for TLS (`wss://`)"
            ),
        )),
    }
}

fn host_of(endpoint: &Endpoint) -> &str {
    match endpoint {
        Endpoint::Tcp(host, _) => host,
        // No scheme has TLS there. A certificate without a name is refused.
        Endpoint::Unix(_) => "",
    }
}

#[cfg(test)]
#[path = "dial_tests.rs"]
mod tests;
