//! The configuration that tests begin with.

use std::time::Duration;

use super::keys::{Fallback, KEYS};
use super::mqtt_config::BrokerAddress;
use super::resolved::{Config, TimingPolicy};

/// Nothing listens on this port.
const NOBODY: u16 = 1;

impl Config {
    /// A complete legal configuration, small and on loopback, where nothing listens. A test changes the
    /// fields that it is about. Required values and defaults come from the table of keys, so a new key
    /// needs no line here.
    ///
    /// It is public because `tests/`, `benches/` and the binary use the library from outside; each of
    /// them would have to enable a feature.
    ///
    /// # Panics
    /// If the examples of the table are not legal together.
    #[doc(hidden)]
    pub fn for_test() -> Self {
        let required = KEYS.iter().filter_map(|key| match key.fallback {
            Fallback::Required(example) | Fallback::RequiredUnless(example, _) => {
                Some((key.variable()?, example.to_owned()))
            }
            _ => None,
        });
        let client_id = ("BRIDGE_MQTT__CLIENT_ID".to_owned(), "bridge-1".to_owned());
        let mut config =
            Self::from_toml("", "the tests' configuration", required.chain([client_id]))
                .expect("the examples of the table are legal together");
        config.data_dir = None;
        for mqtt in &mut config.connections {
            mqtt.addresses = vec![BrokerAddress::tcp("127.0.0.1", NOBODY)];
            mqtt.silence_warning = None;
            mqtt.connect_timeout = Duration::from_secs(5);
            mqtt.reconnect_min = Duration::from_millis(1);
            mqtt.reconnect_max = Duration::from_millis(5);
        }
        config.kafka.brokers = vec![format!("127.0.0.1:{NOBODY}")];
        config.delivery.window_messages = 100;
        config.delivery.qos0_window_messages = 100;
        config.delivery.window_bytes = 1 << 20;
        // A test that writes dead letters sets the file; the working directory stays clean.
        config.dead_letter.file = "/dev/null/dead-letter.jsonl".into();
        config.supervisor.backoff_min = Duration::from_millis(1);
        config.supervisor.backoff_max = Duration::from_millis(5);
        config.http.listen = None;
        config.log.timing = TimingPolicy::Off;
        config
    }
}
