//! A message that ends the connection each time that it comes, because it can be neither acknowledged
//! nor passed over: the broker sends it again on the next connection, for ever. Pure.

use std::fmt::Write;

use crate::mqtt::publish::PublishError;
use crate::mqtt::reason::cut;

/// The last such message, over connections.
#[derive(Debug, Default)]
pub struct Poison {
    last: Option<PublishError>,
    times: u32,
}

impl Poison {
    /// What ended the connection; from the second time on also how often, and what to do about it.
    pub fn describe(&mut self, culprit: &PublishError, client_id: &str) -> String {
        if self.last.as_ref() == Some(culprit) {
            self.times = self.times.saturating_add(1);
        } else {
            *self = Self { last: Some(culprit.clone()), times: 1 };
        }
        let mut said = culprit.to_string();
        if self.times > 1 {
            // Writing to a String cannot fail.
            let _ = write!(
                said,
                " has come {} times and ended the connection each time; remove it from the broker (if \
                 retained, publish an empty message to its MQTT topic; if queued, delete the session \
                 of client id {client_id})",
                self.times
            );
        }
        if let Some(mqtt_topic) = &culprit.mqtt_topic {
            let _ = write!(said, "; MQTT topic: {}", cut(&String::from_utf8_lossy(mqtt_topic)));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn culprit(cause: &'static str, mqtt_topic: &'static str) -> PublishError {
        PublishError { cause, mqtt_topic: Some(Bytes::from_static(mqtt_topic.as_bytes())) }
    }

    #[test]
    fn the_same_message_again_is_named_with_what_to_do() {
        let mut poison = Poison::default();
        let (one, other) = (culprit("QoS 3", "t/a"), culprit("QoS 3", "t/b"));
        let first = poison.describe(&one, "bridge-1");
        assert_eq!(first, "a PUBLISH with QoS 3; MQTT topic: t/a");
        let second = poison.describe(&one, "bridge-1");
        for part in ["has come 2 times", "client id bridge-1", "MQTT topic: t/a"] {
            assert!(second.contains(part), "{second}");
        }
        assert!(poison.describe(&one, "bridge-1").contains("has come 3 times"));
        assert!(!poison.describe(&other, "bridge-1").contains("times"), "another message");
        let cause = culprit("packet identifier 0", "t/b");
        assert!(!poison.describe(&cause, "bridge-1").contains("times"), "another cause");
    }

    #[test]
    fn what_is_said_is_bounded() {
        let long = PublishError {
            cause: "QoS 3",
            mqtt_topic: Some(Bytes::from("\u{e4}".repeat(30_000).into_bytes())),
        };
        assert!(Poison::default().describe(&long, "bridge-1").len() < 400);
    }
}
