//! The bridge itself, unchanged; on a thread of its own, where `run` uses the main thread.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::brokers::spawn;
use super::error::DemoError;
use super::telemetry::MQTT_ROOT;
use mqtt_kafka_bridge::config::{Config, ConfigErrors};
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::observe::Metrics;
use mqtt_kafka_bridge::observe::log::Logging;

/// The bridge's MQTT client id.
pub(super) const CLIENT_ID: &str = "demo-bridge";
/// Where the bridge writes records.
pub(super) const KAFKA_TOPIC: &str = "telemetry";
/// Where the bridge writes dead letters.
pub(super) const DEAD_LETTERS: &str = "dead-letters";

/// A running bridge.
pub(super) struct Bridge {
    /// Its counters.
    pub metrics: Arc<Metrics>,
    shutdown: oneshot::Sender<()>,
    exit: oneshot::Receiver<Exit>,
    thread: JoinHandle<()>,
}

impl Bridge {
    /// Starts it between the two brokers.
    ///
    /// # Errors
    /// The configuration is refused, or the thread could not be started.
    pub(super) fn start(mqtt: SocketAddr, kafka: &str, chaos: bool) -> Result<Self, DemoError> {
        let config =
            config(mqtt, kafka, chaos).map_err(|errors| DemoError::Config(errors.to_string()))?;
        let metrics = Arc::new(Metrics::new(config.connection_names()));
        let (shutdown, asked) = oneshot::channel::<()>();
        let (exited, exit) = oneshot::channel();
        let counts = Arc::clone(&metrics);
        let thread = spawn("demo-bridge", move || {
            let asked = async {
                // A dropped sender means the same.
                let _ = asked.await;
            };
            let logging = Logging::start(&config.log);
            let exit = mqtt_kafka_bridge::run(config, logging, counts, asked);
            // Fails if nothing waits for it any more.
            let _ = exited.send(exit);
        })?;
        Ok(Self { metrics, shutdown, exit, thread })
    }

    /// Waits until the bridge ends by itself; gives its exit.
    pub(super) async fn ended(&mut self) -> Exit {
        (&mut self.exit).await.unwrap_or(Exit::Failed)
    }

    /// Asks it to drain, waits for its end and gives its exit.
    pub(super) async fn drain(self) -> Exit {
        // Fails if the bridge has ended by itself; its exit is there all the same.
        let _ = self.shutdown.send(());
        let code = self.exit.await.unwrap_or(Exit::Failed);
        // The thread ends right after it has sent the exit.
        let _ = self.thread.join();
        code
    }
}

/// A configuration as a user would write it. It logs only warnings and errors, so that the log does not
/// bury the display.
fn config(mqtt: SocketAddr, kafka: &str, chaos: bool) -> Result<Config, ConfigErrors> {
    let mut text = format!(
        r#"
        [mqtt]
        url = "mqtt://{mqtt}"
        client_id = "{CLIENT_ID}"

        [[routes]]
        filter = "{MQTT_ROOT}/#"
        qos = 1
        kafka_topic = "{KAFKA_TOPIC}"

        [kafka]
        brokers = ["{kafka}"]

        [dead_letter]
        kafka_topic = "{DEAD_LETTERS}"

        [http]
        listen = "off"

        [log]
        level = "warning"
        timing = "off"
        "#
    );
    if chaos {
        // The panics of --chaos must not spend the restart budget.
        text.push_str(
            r#"
            [supervisor]
            backoff_max = "500ms"
            failures_max = 1000000
            "#,
        );
    }
    let config = Config::from_toml(&text, "the demo's configuration", [])?;
    // The demo's brokers end with it, so there is nothing to remember.
    Ok(Config { data_dir: None, ..config })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_accepted() {
        for chaos in [false, true] {
            let config = config(([127, 0, 0, 1], 1883).into(), "127.0.0.1:9092", chaos)
                .unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(config.connections[0].client_id, CLIENT_ID);
            assert_eq!(config.kafka.brokers, ["127.0.0.1:9092"]);
        }
    }
}
