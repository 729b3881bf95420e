//! A NATS server for one story, with JetStream and MQTT.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::broker::{Broker, OwnBroker};
use super::process::{Process, free_port, with_sbin};
use super::{MqttClient, SOON, Version, long};

/// By default it sends an unacknowledged message again after this time, on the same connection.
pub const ACK_WAIT: Duration = Duration::from_secs(30);

/// The same in a story that waits for it; the default only in long runs.
pub fn short_ack_wait() -> Duration {
    if long() { ACK_WAIT } else { Duration::from_secs(10) }
}

/// Limit of unacknowledged messages of one subscription; its default.
pub const MAX_ACK_PENDING: u16 = 1024;

/// A NATS server that a story may stop and start again with its data.
#[derive(Debug)]
pub struct Nats {
    port: u16,
    dir: PathBuf,
    process: Option<Process>,
}

impl Nats {
    /// Starts one with its files under `dir`, and waits until it accepts connections.
    pub fn start(dir: &Path, ack_wait: Duration) -> Self {
        let (port, own_protocol) = (free_port(), free_port());
        let dir = dir.join(format!("nats-{port}"));
        fs::create_dir_all(&dir).unwrap();
        let config = [
            "server_name: stories".to_owned(),
            format!("listen: \"127.0.0.1:{own_protocol}\""),
            format!("jetstream {{ store_dir: {:?} }}", dir.join("data")),
            format!("mqtt {{ host: 127.0.0.1, port: {port}, ack_wait: \"{ack_wait:?}\" }}"),
        ];
        fs::write(dir.join("nats.conf"), config.join("\n")).unwrap();
        let mut nats = Self { port, dir, process: None };
        nats.run();
        nats
    }
}

impl Broker for Nats {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl OwnBroker for Nats {
    fn run(&mut self) {
        assert!(self.process.is_none(), "NATS is already running");
        let mut command = with_sbin(Command::new("nats-server"));
        command.arg("-c").arg("nats.conf").current_dir(&self.dir);
        let serves = || MqttClient::connect(&self.address(), Version::V311, "probe").is_ok();
        self.process = Some(Process::serving(command, &self.dir.join("log"), SOON, serves));
    }

    fn stop(&mut self) {
        self.process.take().expect("NATS runs").end_in_order(SOON);
    }
}
