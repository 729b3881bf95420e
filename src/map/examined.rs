//! The message that `map` is asked about.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use mqtt_kafka_bridge::config::payload_file;
use mqtt_kafka_bridge::message::{Qos, Stamp};
use mqtt_kafka_bridge::mqtt::properties::PropertyValues;
use mqtt_kafka_bridge::route::Input;

use super::args::{MQTT_TOPIC_MAX, MapArgs};

/// What all messages of one call have in common.
pub(super) struct Examined {
    payload: Bytes,
    properties: Bytes,
    qos: Qos,
    retain: bool,
}

/// One message.
pub(super) struct Message<'a> {
    mqtt_topic: Bytes,
    common: &'a Examined,
}

impl Examined {
    /// As the options say.
    ///
    /// # Errors
    /// Which option is wrong, and how.
    pub(super) fn new(args: &MapArgs) -> Result<Self, String> {
        let payload = match (&args.payload, &args.payload_file) {
            (Some(text), _) => Bytes::copy_from_slice(text.as_bytes()),
            (None, Some(path)) if args.stdin && path.as_os_str() == "-" => {
                return Err("--payload-file -: --stdin already reads the standard input".to_owned());
            }
            (None, Some(path)) => read(path).map_err(|error| {
                format!(
                    "--payload-file: expected a file that can be read, found {}: {error}",
                    path.display()
                )
            })?,
            (None, None) => Bytes::new(),
        };
        let properties = PropertyValues {
            content_type: args.content_type.clone(),
            response_topic: args.response_topic.clone(),
            correlation_data: args.correlation_data.clone().map(String::into_bytes),
            expiry_s: args.expiry,
            user: args.properties.clone(),
        };
        let properties = properties.encode().map_err(|error| error.to_string())?;
        let qos = if args.qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
        Ok(Self { payload, properties, qos, retain: args.retain })
    }

    /// The message that is published to this MQTT topic.
    ///
    /// # Errors
    /// Nothing can be published to it (MQTT 5, section 4.7.3).
    pub(super) fn message(&self, mqtt_topic: &str) -> Result<Message<'_>, String> {
        let wrong = match mqtt_topic {
            "" => "nothing",
            long if long.len() > MQTT_TOPIC_MAX => "more than 65,535 bytes",
            wild if wild.contains(['#', '+']) => "a wildcard",
            null if null.contains('\0') => "a null character",
            _ => {
                let mqtt_topic = Bytes::copy_from_slice(mqtt_topic.as_bytes());
                return Ok(Message { mqtt_topic, common: self });
            }
        };
        Err(format!("expected an MQTT topic that can be published to, found {wrong}"))
    }
}

impl Message<'_> {
    /// As routing sees it, received now by the connection of this section.
    pub(super) fn input<'a>(&'a self, section: &'a Arc<str>) -> Input<'a> {
        Input {
            mqtt_topic: &self.mqtt_topic,
            payload: &self.common.payload,
            properties: &self.common.properties,
            qos: self.common.qos,
            retain: self.common.retain,
            dup: false,
            received_at: Stamp::now(),
            waited: Duration::ZERO,
            connection: section,
        }
    }
}

/// A pipe is welcome: whoever calls may give one.
fn read(path: &Path) -> io::Result<Bytes> {
    match path.as_os_str() == "-" {
        true => payload_file::read(io::stdin().lock()),
        false => payload_file::read(File::open(path)?),
    }
}
