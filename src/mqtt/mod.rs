//! MqttActor and what it is made of.
