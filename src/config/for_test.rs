//! The configuration that tests begin with.

use std::time::Duration;

use super::keys::{Fallback, KEYS};
use super::resolved::{Config, TimingPolicy};

/// Nobody listens there.
const NOBODY: u16 = 1;

impl Config {
    /// A whole legal configuration, everything small and on loopback, where nobody listens: a test
    /// changes the fields that it is about. What is required and what is the default comes from the
    /// table of keys, so that a new key needs nothing here.
    ///
    /// Public, since `tests/`, `benches/` and the binary use the library from outside; a feature
    /// would have to be asked for by each of them.
    ///
    /// # Panics
    /// If the examples of the table are not legal together.
    #[doc(hidden)]
    pub fn for_test() -> Self {
        let required = KEYS.iter().filter_map(|key| match key.fallback {
            Fallback::Required(example) => Some((key.variable(), example.to_owned())),
            _ => None,
        });
        let client_id = ("BRIDGE_MQTT__CLIENT_ID".to_owned(), "bridge-1".to_owned());
        let mut config =
            Self::from_toml("", "the tests' configuration", required.chain([client_id]))
                .expect("the examples of the table are legal together");
        config.data_dir = None;
        for mqtt in &mut config.connections {
            mqtt.host = "127.0.0.1".to_owned();
            mqtt.port = NOBODY;
            mqtt.silence_warning = None;
            mqtt.connect_timeout = Duration::from_secs(5);
            mqtt.reconnect_min = Duration::from_millis(1);
            mqtt.reconnect_max = Duration::from_millis(5);
        }
        config.kafka.brokers = vec![format!("127.0.0.1:{NOBODY}")];
        config.delivery.window_messages = 100;
        config.delivery.qos0_window_messages = 100;
        config.delivery.window_bytes = 1 << 20;
        // A test that writes dead letters says where: they are not for the working directory.
        config.dead_letter.file = "/dev/null/dead-letter.jsonl".into();
        config.supervisor.backoff_min = Duration::from_millis(1);
        config.supervisor.backoff_max = Duration::from_millis(5);
        config.http.listen = None;
        config.log.timing = TimingPolicy::Off;
        config
    }
}
