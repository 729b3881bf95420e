//! Opens the transport that an address asks for: TCP, on it TLS, on that WebSocket.

use std::time::Duration;

use crate::config::{BrokerAddress, Endpoint, MqttConfig};
use crate::mqtt::lost::{self, Lost};
use crate::mqtt::tcp::{self, Tcp};
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
    match (&address.endpoint, address.is_tls, &address.websocket) {
        (Endpoint::Tcp(host, port), false, None) => {
            let stream = tcp::connect(host, *port, mqtt.connect_timeout, silence_max).await;
            let stream = stream.map_err(|detail| Lost::new(lost::CONNECT_FAILED, detail))?;
            Ok(Box::new(Tcp::new(stream)))
        }
        _ => Err(Lost::new(lost::CONNECT_FAILED, format!("{address}: not supported yet"))),
    }
}
