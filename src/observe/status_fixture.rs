//! A status for tests.

use std::sync::Arc;
use std::time::Instant;

use slog::{error, warn};

use super::certificates::CertificateOf;
use super::events;
use super::format::now_us;
use super::happened::WindowUse;
use super::health::{HeldPlace, Hold, KafkaHealth, MqttHealth, Subscription, TopicTrouble};
use super::kafka_statistics::ClientStatistics;
use super::keys;
use super::latency::{Delivered, FromDevice, RoutedRun};
use super::metrics::{Conservation, Metrics, ReloadOutcome};
use super::slowest::Slow;
use super::status::Observer;
use super::test_support::json_log;
use super::timing_record::{AckTime, NoAck};
use crate::config::{BrokerAddress, Config};
use crate::message::{RouteId, RouteName, Stamp};
use crate::route::note::{DropReason, Note};
use crate::stage::SourceId;
use crate::supervisor::readiness::Readiness;

/// Of a bridge of which everything that can be shown has happened; `name` is wherever a stranger may write.
pub(crate) fn observer_of(name: &str) -> Observer {
    let mut config = Config::for_test();
    config.routes[0].name = name.into();
    config.http.cert_file = Some("/run/http.pem".into());
    let metrics = Arc::new(Metrics::new(config.connection_names()));
    let route = RouteName { name: name.into(), mqtt_filter: name.into() };
    let gone = RouteName { name: "gone".into(), mqtt_filter: "gone/#".into() };
    let ids = metrics.route_names().learn([route, gone], []);
    let readiness = Arc::new(Readiness::new(&config, Arc::clone(&metrics), Vec::new()));
    let (logging, _) = json_log();
    let observer = Observer::new(readiness, logging.clone());

    let connection = metrics.connection(SourceId(0));
    connection.set_conservation(Conservation {
        received: 21,
        redelivered: 1,
        copies: 2,
        delivered: 5,
        dead_lettered: 4,
        filtered: 3,
        shed: 2,
        in_flight: 7,
    });
    connection.set_window(WindowUse { messages: 8, bytes: 800, received_bytes: 1_900 });
    connection.count_reconnect("keep_alive");
    connection.set_lost(format!("keep_alive: {name}"));
    let address = BrokerAddress { is_tls: true, ..BrokerAddress::tcp("plant", 8883) };
    connection.set_broker(&address, true);
    connection.set_session("5", true, 30);
    let refused = Subscription::Refused(name.to_owned());
    let subscriptions = [(RouteId(0), refused)].into();
    connection.change_health(|health| {
        *health = MqttHealth { connected: true, lost: None, subscriptions };
    });
    let at = Stamp::now();
    let source = SourceId(0);
    for route in &ids {
        metrics.record_delivered(&[Delivered {
            source,
            route: *route,
            received_at: at,
            produced_at: at,
            delivered_at: at,
            count: 5,
            bytes: 500,
        }]);
    }
    let device_us = i64::try_from(at.wall_us).expect("now") + 250_000;
    let (received_at, delivered_at) = (at, at);
    let from_device = FromDevice { source, route: ids[0], device_us, received_at, delivered_at };
    metrics.record_from_devices(&[from_device]);
    connection
        .record_routed([RoutedRun { route: ids[0], us: 9, count: 5 }].into_iter(), at.instant);
    for ack in [AckTime::After(7), AckTime::None(NoAck::Qos0)] {
        metrics.slowest().offer(Slow {
            total_us: 300,
            mqtt_topic: name.to_owned(),
            connection: "mqtt".into(),
            route: name.into(),
            kafka_topic: "sensors".into(),
            kafka_partition: 3,
            kafka_offset: 42,
            received_us: at.wall_us,
            device_us: Some(-5),
            routed_us: 10,
            queue_us: 100,
            kafka_us: 200,
            ack,
        });
    }
    metrics.count_notes(
        [((ids[0], Note::Dropped(DropReason::KeepIf)), 3), ((ids[0], Note::TimestampFellBack), 2)]
            .into(),
    );
    metrics.count_dead_letter(&name.into(), "value_missing");
    metrics.count_dead_letter(&Arc::default(), "no_route");
    metrics.count_restart("kafka", "panic", name);
    metrics.count_reload(ReloadOutcome::Applied);
    metrics.sample(Instant::now());
    let place = HeldPlace::KafkaTopic("held".into());
    metrics.set_holds(vec![Hold { place, reason: name.to_owned() }]);
    let health = metrics.health();
    let trouble = TopicTrouble::Unavailable(name.to_owned());
    health.set_kafka(KafkaHealth::Reachable([("troubled".to_owned(), trouble)].into()));
    health.set_partitions([("sensors".to_owned(), 12)].into());
    let told = r#"{"msg_cnt": 3, "msg_size": 300, "brokers": {"b/1": {"nodeid": 1, "state": "UP",
        "rtt": {"avg": 1000, "p99": 2000, "cnt": 5}, "throttle": {"max": 7}}}}"#;
    let told = ClientStatistics::parse(told).expect("JSON");
    health.kafka_statistics().set(("pipelined", 0), told);
    let soon = i64::try_from(now_us() / 1_000_000).expect("now") + 3 * 86_400;
    health.certificates().set(CertificateOf::MqttClient, connection.name(), Some(soon));
    health.certificates().set(CertificateOf::Http, &Arc::default(), Some(soon));
    warn!(logging.logger(), "{}", name; events::MQTT_CONNECTION_LOST, keys::MQTT_TOPIC => name);
    error!(logging.logger(), "an error"; events::KAFKA_TOPIC_HELD, keys::COUNT => 3);
    observer
}
