//! Opens the transport that an address asks for: TCP, on it TLS, on that WebSocket.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::config::{BrokerAddress, Endpoint, MqttConfig};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::tcp::{self, Tcp};
use crate::mqtt::tls::Tls;
use crate::mqtt::tls_files;
use crate::mqtt::transport::Transport;

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
        transport = secure(mqtt, &address.endpoint, transport).await?;
    }
    match &address.websocket {
        None => Ok(transport),
        Some(_) => Err(Lost::new(lost::CONNECT_FAILED, format!("{address}: not supported yet"))),
    }
}

async fn connect(
    mqtt: &MqttConfig,
    endpoint: &Endpoint,
    silence_max: Duration,
) -> Result<Box<dyn Transport>, Lost> {
    match endpoint {
        Endpoint::Tcp(host, port) => {
            let stream = tcp::connect(host, *port, mqtt.connect_timeout, silence_max).await;
            let stream = stream.map_err(|detail| Lost::new(lost::CONNECT_FAILED, detail))?;
            Ok(Box::new(Tcp::new(stream)))
        }
        Endpoint::Unix(path) => {
            Err(Lost::new(lost::CONNECT_FAILED, format!("{}: not supported yet", path.display())))
        }
    }
}

/// TLS on `below`.
async fn secure(
    mqtt: &MqttConfig,
    endpoint: &Endpoint,
    below: Box<dyn Transport>,
) -> Result<Box<dyn Transport>, Lost> {
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
        Ok(tls) => Ok(Box::new(tls?)),
        Err(_) => Err(Lost::new(
            lost::TLS_FAILED,
            format!(
                "the broker did not finish the handshake of TLS within {within:?}: most likely the port is \
                 not for TLS; `mqtt://` or `ws://` in mqtt.url, or the broker's port for TLS, often 8883"
            ),
        )),
    }
}

fn host_of(endpoint: &Endpoint) -> &str {
    match endpoint {
        Endpoint::Tcp(host, _) => host,
        Endpoint::Unix(_) => "localhost",
    }
}
