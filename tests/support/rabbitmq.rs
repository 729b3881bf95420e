//! A RabbitMQ node with its MQTT and Web MQTT plugins, separate from any other on the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::broker::{Broker, OwnBroker};
use super::certificates::Certificates;
use super::process::{Process, free_port};
use super::transport::Listener;
use super::{MqttClient, Version, stories_dir};

/// Not the one in /usr/sbin, which will run as root or as the user `rabbitmq` only.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// Limit of messages in flight to one client; the default of `mqtt.prefetch`.
pub const PREFETCH: u16 = 10;

/// It starts in ten seconds on an idle machine.
const STARTS_WITHIN: Duration = Duration::from_secs(180);

/// A RabbitMQ that a story may stop and start again with its data.
#[derive(Debug)]
pub struct RabbitMq {
    port: u16,
    tls_port: u16,
    web_port: u16,
    certificates: Certificates,
    dir: PathBuf,
    environment: Vec<(&'static str, String)>,
    process: Option<Process>,
    /// Where Erlang's nodes find each other: a daemon that would outlive all nodes unless it runs
    /// already when they start.
    _epmd: Process,
}

impl RabbitMq {
    /// The node for stories that do not disturb it. They must use unique names for clients and
    /// MQTT topics.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<RabbitMq> = OnceLock::new();
        SHARED.get_or_init(|| {
            Self::start(&stories_dir().join(format!("{}-shared", std::process::id())))
        })
    }

    /// Starts one with its files under `dir`, and waits until it accepts connections.
    pub fn start(dir: &Path) -> Self {
        let [port, tls_port, web_port] = std::array::from_fn(|_| free_port());
        let (epmd_port, distribution) = (free_port(), free_port());
        let dir = dir.join(format!("rabbitmq-{port}"));
        fs::create_dir_all(dir.join("home")).unwrap();
        let certificates = Certificates::new(&dir);
        let [certificate, key] = certificates.broker();
        let config = [
            "listeners.tcp = none".to_owned(),
            format!("mqtt.listeners.tcp.default = 127.0.0.1:{port}"),
            format!("mqtt.listeners.ssl.default = 127.0.0.1:{tls_port}"),
            format!("ssl_options.certfile = {}", certificate.display()),
            format!("ssl_options.keyfile = {}", key.display()),
            "web_mqtt.tcp.ip = 127.0.0.1".to_owned(),
            format!("web_mqtt.tcp.port = {web_port}"),
            "mqtt.allow_anonymous = true".to_owned(),
            format!("mqtt.prefetch = {PREFETCH}"),
        ];
        fs::write(dir.join("rabbitmq.conf"), config.join("\n")).unwrap();
        fs::write(dir.join("enabled_plugins"), "[rabbitmq_mqtt,rabbitmq_web_mqtt].").unwrap();
        let mut epmd = Command::new("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &epmd_port.to_string()]);
        let epmd = Process::start(epmd, &dir.join("epmd-log"));
        let path = |name: &str| dir.join(name).display().to_string();
        let environment = vec![
            ("HOME", path("home")),
            ("ERL_EPMD_PORT", epmd_port.to_string()),
            ("RABBITMQ_NODENAME", format!("stories-{port}@localhost")),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".to_owned()),
            ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", path("mnesia")),
            ("RABBITMQ_LOG_BASE", path("logs")),
            ("RABBITMQ_LOGS", "-".to_owned()),
            ("RABBITMQ_PID_FILE", path("pid")),
            // Without these its schedulers would spin, and other machines could reach it.
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+sbwt none -kernel inet_dist_use_interface {127,0,0,1}".to_owned(),
            ),
            // Then the script becomes the server, which is the process to signal and to kill.
            ("RUNNING_UNDER_SYSTEMD", "1".to_owned()),
        ];
        let mut rabbitmq = Self {
            port,
            tls_port,
            web_port,
            certificates,
            dir,
            environment,
            process: None,
            _epmd: epmd,
        };
        rabbitmq.run();
        rabbitmq
    }
}

impl Broker for RabbitMq {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn address_of(&self, listener: Listener) -> String {
        let port = match listener {
            Listener::Plain => self.port,
            Listener::Tls => self.tls_port,
            Listener::WebSocket => self.web_port,
            _ => panic!("RabbitMQ has no listener {listener:?}"),
        };
        format!("127.0.0.1:{port}")
    }

    fn certificates(&self) -> Option<&Certificates> {
        Some(&self.certificates)
    }

    fn websocket_path(&self) -> &'static str {
        "/ws"
    }
}

impl OwnBroker for RabbitMq {
    fn run(&mut self) {
        assert!(self.process.is_none(), "RabbitMQ is already running");
        let mut command = Command::new(SERVER);
        command.envs(self.environment.iter().cloned()).current_dir(&self.dir);
        // Its plugins open one listener after the other.
        let listens = |listener: Listener| listener.accepts(&self.address_of(listener));
        let serves = || {
            [Listener::Tls, Listener::WebSocket].into_iter().all(listens)
                && MqttClient::connect(&self.address(), Version::V311, "probe").is_ok()
        };
        let log = self.dir.join("log");
        self.process = Some(Process::serving(command, &log, STARTS_WITHIN, serves));
    }

    fn stop(&mut self) {
        self.process.take().expect("RabbitMQ runs").end_in_order(STARTS_WITHIN);
    }
}
