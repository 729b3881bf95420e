//! `routes.headers`: how each header is written. Pure.

use crate::route::headers::HeaderItem;

/// The headers of all that MQTT says about a message.
pub(super) const OF_MQTT: [HeaderItem; 9] = [
    HeaderItem::MqttTopic,
    HeaderItem::Qos,
    HeaderItem::Retain,
    HeaderItem::Dup,
    HeaderItem::UserProperties,
    HeaderItem::ContentType,
    HeaderItem::CorrelationData,
    HeaderItem::ResponseTopic,
    HeaderItem::Expiry,
];

/// The headers that the bridge adds.
pub(super) const OF_BRIDGE: [HeaderItem; 4] =
    [HeaderItem::ReceivedAt, HeaderItem::RoutedAt, HeaderItem::ProducedAt, HeaderItem::Connection];

/// Which values `headers` may have.
pub(super) fn headers_legal() -> String {
    let names: Vec<_> = OF_MQTT.iter().chain(&OF_BRIDGE).map(header_word).collect();
    format!("\"none\", \"mqtt\", or a list of mqtt, {} and NAME={{template}}", names.join(", "))
}

/// As a header is written in the configuration.
pub(super) fn header_word(item: &HeaderItem) -> String {
    let word = match item {
        HeaderItem::MqttTopic => "mqtt.topic",
        HeaderItem::Qos => "mqtt.qos",
        HeaderItem::Retain => "mqtt.retain",
        HeaderItem::Dup => "mqtt.dup",
        HeaderItem::UserProperties => "mqtt.user",
        HeaderItem::ContentType => "mqtt.content_type",
        HeaderItem::CorrelationData => "mqtt.correlation_data",
        HeaderItem::ResponseTopic => "mqtt.response_topic",
        HeaderItem::Expiry => "mqtt.expiry",
        HeaderItem::ReceivedAt => "bridge.received_at",
        HeaderItem::RoutedAt => "bridge.routed_at",
        HeaderItem::ProducedAt => "bridge.produced_at",
        HeaderItem::Connection => "bridge.connection",
        HeaderItem::Own(name, template) => return format!("{name}={template}"),
    };
    word.to_owned()
}
