//! What the stories need of any MQTT broker.

use std::path::Path;
use std::time::Duration;

use super::certificates::Certificates;
use super::mosquitto::Setup;
use super::transport::Listener;
use super::{Mosquitto, Nats, RabbitMq, nats, rabbitmq};

/// A running broker.
pub trait Broker: Send {
    /// `host:port` of its plain listener.
    fn address(&self) -> String;

    /// `host:port` of this listener, or its path.
    fn address_of(&self, listener: Listener) -> String {
        assert_eq!(listener, Listener::Plain, "this broker has only a plain listener");
        self.address()
    }

    /// What its listeners with TLS show, if it has any.
    fn certificates(&self) -> Option<&Certificates> {
        None
    }

    /// Where it serves WebSocket.
    fn websocket_path(&self) -> &'static str {
        "/mqtt"
    }
}

/// A line's own broker, which a story may end and start again.
pub trait OwnBroker: Broker {
    /// Starts it again after [`Self::stop`], and waits until it accepts connections.
    fn run(&mut self);

    /// Ends it in order.
    fn stop(&mut self);
}

impl<B: Broker + ?Sized> Broker for Box<B> {
    fn address(&self) -> String {
        (**self).address()
    }
}

impl<B: Broker + Sync> Broker for &B {
    fn address(&self) -> String {
        (**self).address()
    }

    fn address_of(&self, listener: Listener) -> String {
        (**self).address_of(listener)
    }

    fn certificates(&self) -> Option<&Certificates> {
        (**self).certificates()
    }

    fn websocket_path(&self) -> &'static str {
        (**self).websocket_path()
    }
}

/// The brokers of all stories in tests/stories/brokers.rs, with what docs/brokers.md says
/// of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Mosquitto,
    RabbitMq,
    Nats,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mosquitto, Self::RabbitMq, Self::Nats];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "Mosquitto",
            Self::RabbitMq => "RabbitMQ",
            Self::Nats => "NATS",
        }
    }

    /// A running one, perhaps shared with other stories: RabbitMQ is slow to start.
    pub fn start(self, dir: &Path) -> Box<dyn Broker> {
        self.start_with(dir, nats::ACK_WAIT)
    }

    /// As [`Self::start`]; it sends unacknowledged messages again as soon as
    /// [`Self::redelivers_after`] says.
    pub fn start_impatient(self, dir: &Path) -> Box<dyn Broker> {
        self.start_with(dir, nats::short_ack_wait())
    }

    fn start_with(self, dir: &Path, ack_wait: Duration) -> Box<dyn Broker> {
        match self {
            Self::Mosquitto => Box::new(Mosquitto::start(dir, &Setup::default().persistent())),
            Self::RabbitMq => Box::new(RabbitMq::shared()),
            Self::Nats => Box::new(Nats::start(dir, ack_wait)),
        }
    }

    /// As [`Self::start_impatient`], but never shared.
    pub fn start_own(self, dir: &Path) -> Box<dyn OwnBroker> {
        match self {
            Self::Mosquitto => Box::new(Mosquitto::start(dir, &Setup::default().persistent())),
            Self::RabbitMq => Box::new(RabbitMq::start(dir)),
            Self::Nats => Box::new(Nats::start(dir, nats::short_ack_wait())),
        }
    }

    /// Its limit of messages in flight to one MQTT 3.1.1 client; `None`: no limit.
    pub fn in_flight(self) -> Option<u64> {
        match self {
            Self::Mosquitto => None,
            Self::RabbitMq => Some(u64::from(rabbitmq::PREFETCH)),
            Self::Nats => Some(u64::from(nats::MAX_ACK_PENDING)),
        }
    }

    /// When it sends an unacknowledged message again on the same connection; `None`: never.
    pub fn redelivers_after(self) -> Option<Duration> {
        (self == Self::Nats).then_some(nats::short_ack_wait())
    }

    /// Whether unacknowledged messages come before newer ones, on a connection that begins behind the end of the
    /// one before.
    pub fn keeps_order(self) -> bool {
        self != Self::Nats
    }

    /// The same on a connection that takes the session over from another one, which may still be open.
    pub fn keeps_order_in_a_takeover(self) -> bool {
        self == Self::Mosquitto
    }
}
