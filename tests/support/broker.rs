//! What the stories need of an MQTT broker, whichever it is.

use std::path::Path;
use std::time::Duration;

use super::mosquitto::Setup;
use super::{Mosquitto, Nats, RabbitMq, nats, rabbitmq};

/// A running broker.
pub trait Broker: Send {
    /// `host:port`
    fn address(&self) -> String;
}

/// A broker of a line's own, which may be ended and started again.
pub trait OwnBroker: Broker {
    /// Starts it again after [`Self::stop`], and waits until it serves.
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
        (*self).address()
    }
}

/// The brokers that all stories of tests/stories/brokers.rs are told on, with what docs/brokers.md says
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

    /// As it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mosquitto => "Mosquitto",
            Self::RabbitMq => "RabbitMQ",
            Self::Nats => "NATS",
        }
    }

    /// A running one, which other stories may use too: RabbitMQ is slow to start.
    pub fn start(self, dir: &Path) -> Box<dyn Broker> {
        self.start_with(dir, nats::ACK_WAIT)
    }

    /// As [`Self::start`]; what is unacknowledged it sends again as soon as
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

    /// As [`Self::start_impatient`]; nobody else uses it.
    pub fn start_own(self, dir: &Path) -> Box<dyn OwnBroker> {
        match self {
            Self::Mosquitto => Box::new(Mosquitto::start(dir, &Setup::default().persistent())),
            Self::RabbitMq => Box::new(RabbitMq::start(dir)),
            Self::Nats => Box::new(Nats::start(dir, nats::short_ack_wait())),
        }
    }

    /// Most messages that it has in flight to one client of 3.1.1; `None`: as many as there are.
    pub fn in_flight(self) -> Option<u64> {
        match self {
            Self::Mosquitto => None,
            Self::RabbitMq => Some(u64::from(rabbitmq::PREFETCH)),
            Self::Nats => Some(u64::from(nats::MAX_ACK_PENDING)),
        }
    }

    /// After what time it sends an unacknowledged message again on the same connection; `None`: never.
    pub fn redelivers_after(self) -> Option<Duration> {
        (self == Self::Nats).then_some(nats::short_ack_wait())
    }

    /// Whether what was unacknowledged comes before what is newer.
    pub fn keeps_order(self) -> bool {
        self != Self::Nats
    }
}
