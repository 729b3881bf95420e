//! How the records of a route are ordered. Pure.

use super::placeholder::Placeholder;
use super::rule::{Key, Order, Route};
use super::template::Template;

impl Route {
    /// What can be relied upon of the order of its records. Kafka orders the records of one partition, so
    /// messages of one MQTT topic are in order where nothing else of a message decides on Kafka topic and
    /// partition.
    pub fn order(&self) -> Order {
        let is_one_kafka_topic = is_of_mqtt_topic(&self.kafka_topic);
        match (&self.partition, &self.key) {
            (Some(partition), _) if is_one_kafka_topic && is_of_mqtt_topic(partition) => {
                Order::MqttTopic
            }
            (Some(_), _) => Order::Partition,
            (None, Key::MqttTopic | Key::None) if is_one_kafka_topic => Order::MqttTopic,
            (None, Key::Template(key)) if is_one_kafka_topic && is_of_mqtt_topic(key) => {
                Order::MqttTopic
            }
            (None, Key::MqttTopic | Key::Template(_)) => Order::Key,
            (None, Key::None) => Order::Partition,
        }
    }
}

/// Whether it is the same for all messages of one MQTT topic.
fn is_of_mqtt_topic(template: &Template) -> bool {
    template.placeholders().map(Placeholder::source).all(|source| source.is_of_mqtt_topic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::RouteId;

    #[test]
    fn a_route_is_ordered_by_what_its_partition_follows_from() {
        use Order::{Key as ByKey, MqttTopic, Partition};
        for (kafka_topic, key, partition, order) in [
            ("t", "{mqtt_topic}", "", MqttTopic),
            ("t", "", "", MqttTopic),
            ("t", "fixed", "", MqttTopic),
            ("t.{site}", "{device|lower}", "", MqttTopic),
            ("t", "{connection}", "", MqttTopic),
            ("t", "{json./id}", "", ByKey),
            ("t", "{mqtt_topic}-{user.id}", "", ByKey),
            ("t.{json./kind}", "{mqtt_topic}", "", ByKey),
            ("t.{json./kind}", "", "", Partition),
            ("t", "{json./id}", "3", MqttTopic),
            ("t", "{mqtt_topic}", "{mqtt_topic[1]}", MqttTopic),
            ("t", "{mqtt_topic}", "{json./line}", Partition),
            ("t.{qos}", "{mqtt_topic}", "0", Partition),
        ] {
            let filter = "a/+".parse().expect("legal");
            let read = |written| Template::parse(written).expect(written);
            let key = match key {
                "{mqtt_topic}" => Key::MqttTopic,
                "" => Key::None,
                written => Key::Template(read(written)),
            };
            let route = Route {
                kafka_topic: read(kafka_topic),
                partition: (!partition.is_empty()).then(|| read(partition)),
                key,
                ..Route::new(RouteId(0), filter, "t")
            };
            assert_eq!(route.order(), order, "{kafka_topic} {partition} {:?}", route.key);
        }
    }
}
