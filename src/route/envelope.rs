//! `payload = "envelope"`: a JSON object of a message and what MQTT says of it. Pure.
//!
//! docs/routes-envelope.schema.json is its schema. What the message does not have is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;

use super::input::View;
use super::json_document::extract_json;
use crate::mqtt::properties::Properties;
use crate::observe::Rfc3339;

/// What stands before the payload.
#[derive(Serialize)]
struct Head<'a> {
    mqtt_topic: &'a str,
    qos: u8,
    retain: bool,
    dup: bool,
    received_at: &'a str,
    connection: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiry_s: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    user_properties: Vec<UserProperty<'a>>,
}

/// An object and no member of one, since a name may come twice and order counts.
#[derive(Serialize)]
struct UserProperty<'a> {
    name: &'a str,
    value: &'a str,
}

/// The envelope of a message. Its last member is `payload` with the payload's own text if that is one JSON
/// document (so numbers keep every digit), `payload_text` if it is other UTF-8, else `payload_base64`.
///
/// # Errors
/// What was found and expected, if the MQTT topic is not UTF-8.
pub fn envelope(view: &View<'_>) -> Result<Bytes, String> {
    let input = view.input;
    let mqtt_topic = std::str::from_utf8(input.mqtt_topic)
        .map_err(|error| format!("expected an MQTT topic of UTF-8, found {error}"))?;
    let properties = Properties::new(input.properties);
    let received_at = Rfc3339::from_us(input.received_at.wall_us);
    let head = Head {
        mqtt_topic,
        qos: input.qos.level(),
        retain: input.retain,
        dup: input.dup,
        received_at: received_at.as_str(),
        connection: input.connection,
        content_type: properties.content_type(),
        response_topic: properties.response_topic(),
        correlation_data_base64: properties.correlation_data().map(|data| STANDARD.encode(data)),
        expiry_s: input.expiry_left_s(),
        user_properties: properties
            .user()
            .map(|(name, value)| UserProperty { name, value })
            .collect(),
    };
    // Enough for nearly all of them.
    let mut json = Vec::with_capacity(256 + 2 * mqtt_topic.len() + view.body.len());
    let written = write(&mut json, &head, &view.body);
    written.map_err(|error| format!("expected what JSON can hold, found {error}"))?;
    Ok(json.into())
}

fn write(json: &mut Vec<u8>, head: &Head<'_>, body: &Bytes) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *json, head)?;
    json.pop(); // The brace.
    if let Ok(document) = extract_json(body) {
        json.extend_from_slice(b",\"payload\":");
        json.extend_from_slice(&document);
    } else if let Ok(text) = std::str::from_utf8(body) {
        json.extend_from_slice(b",\"payload_text\":");
        serde_json::to_writer(&mut *json, text)?;
    } else {
        json.extend_from_slice(b",\"payload_base64\":");
        serde_json::to_writer(&mut *json, &STANDARD.encode(body))?;
    }
    json.push(b'}');
    Ok(())
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
