//! One attempt to reach the broker: the transport to one of its addresses and, meanwhile, the login.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::mqtt::dial;
use crate::mqtt::login::{self, Login};
use crate::mqtt::lost::Lost;
use crate::mqtt::protocol::dead_after;
use crate::mqtt::session::Settings;
use crate::mqtt::transport::Transport;

/// Begins an attempt at the broker's address of this number. Tests replace it by what goes through another
/// transport.
pub(super) type Dial = fn(Arc<Settings>, usize) -> Attempt;
pub(super) type Attempt = Pin<Box<dyn Future<Output = Result<Reached, Lost>>>>;

/// All that CONNECT needs.
pub(super) struct Reached {
    pub(super) transport: Box<dyn Transport>,
    pub(super) login: Login,
}

/// Both at once: a broker may not wait long for CONNECT, nor a token be good for long.
pub(super) fn dial_broker(settings: Arc<Settings>, address: usize) -> Attempt {
    Box::pin(async move {
        let mqtt = &settings.mqtt;
        let address = mqtt.addresses.get(address).unwrap_or(mqtt.first_address());
        let dialed = dial::dial(mqtt, address, dead_after(mqtt.keep_alive));
        let (transport, login) = tokio::try_join!(dialed, login::login(mqtt))?;
        Ok(Reached { transport, login })
    })
}
