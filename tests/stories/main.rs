//! The stories: each promise is tested on real brokers, with faults.
//!
//! They need Mosquitto, RabbitMQ, NATS, Java, Kafka's jars, Chromium, axe-core and Prometheus, which tests/run installs.

#![allow(missing_docs, unreachable_pub, reason = "nobody calls a test crate")]
#![allow(clippy::unwrap_used, reason = "a test that finds something wrong panics")]

#[path = "../support/mod.rs"]
mod support;

mod acknowledgement;
mod away_at_start;
mod brokers;
mod connection;
mod connections;
mod dead_letters;
mod diagnosis;
mod doctor;
mod doctor_kafka;
mod doctor_mqtt;
mod fan_out;
mod faults_over_tls;
mod filters;
mod group;
mod harness;
mod health;
mod hops;
mod hostile_http;
mod hostile_peers;
mod latency;
mod leaving;
mod many_connections;
mod map_live;
mod many_kafka_topics;
mod metrics;
mod kafka_acls;
mod kafka_away;
mod kafka_cluster;
mod kafka_logins;
mod monitoring;
mod mosquitto_restarts;
mod mqtt_failures;
mod page;
mod panics;
mod partitions;
mod protocol;
mod refusals;
mod reload;
mod reload_restart;
mod restarts;
mod records;
mod rotation;
mod secrets;
mod service_manager;
mod several_brokers;
mod sizes;
mod sparkplug;
mod status;
mod status_json;
mod templates;
mod top;
mod straight;
mod subscription;
mod timestamps;
mod transports;
mod upgrade;
mod subscriptions_change;
mod values;
