//! Asks both sides, each step within its time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use mqtt_kafka_bridge::certificate::Certificate;
use mqtt_kafka_bridge::config::{BrokerAddress, Config, Endpoint, HostPort, MqttConfig};
use mqtt_kafka_bridge::kafka::{greeting, visit as kafka};
use mqtt_kafka_bridge::mqtt::visit as mqtt;
use mqtt_kafka_bridge::reach::reach;
use mqtt_kafka_bridge::route::Route;

use super::facts::{
    Advertised, KafkaAddress, KafkaFacts, LOOK_WITHIN, MqttAddress, OwnCertificate,
};

/// So many brokers are looked at by themselves.
const BROKERS_MAX: usize = 64;
/// How long all questions to Kafka may take together.
const KAFKA_WITHIN: Duration = Duration::from_secs(90);

/// The bridge's own certificate for a connection.
pub(super) fn own_mqtt_certificate(mqtt: &MqttConfig) -> Option<OwnCertificate> {
    let path = mqtt.tls.cert_file.clone()?;
    let is_used = mqtt.addresses.iter().any(|address| address.is_tls);
    let found = Certificate::read(&path);
    is_used.then_some(OwnCertificate { key: "mqtt.tls.cert_file", path, found })
}

/// One address of a connection. `routes` are those of the connection, with the filters that it subscribes.
pub(super) async fn mqtt(
    mqtt: &MqttConfig,
    routes: &[Route],
    address: &BrokerAddress,
) -> MqttAddress {
    let (proxy, reach) = match (&address.endpoint, &mqtt.proxy) {
        (Endpoint::Unix(_), _) => (None, None),
        (Endpoint::Tcp(..), Some(proxy)) => {
            let found = reach(&proxy.host, proxy.port, mqtt.connect_timeout).await;
            (Some(HostPort(&proxy.host, proxy.port).to_string()), Some(found))
        }
        (Endpoint::Tcp(host, port), None) => {
            (None, Some(reach(host, *port, mqtt.connect_timeout).await))
        }
    };
    let visit = match reach.as_ref().is_none_or(|reach| reach.is_reached()) {
        true => Some(mqtt::visit(mqtt, routes, address).await),
        false => None,
    };
    MqttAddress { address: address.clone(), proxy, reach, visit }
}

/// Kafka.
pub(super) async fn kafka(config: &Arc<Config>) -> KafkaFacts {
    let is_tls = greeting::is_tls(&config.kafka);
    let mut addresses = Vec::new();
    for address in config.kafka.brokers.iter().take(BROKERS_MAX) {
        let (host, port) = split(address);
        let reach = reach(host, port, LOOK_WITHIN).await;
        let greeting = match reach.is_reached() {
            true => Some(greeting::greet(&config.kafka, host, port, LOOK_WITHIN).await),
            false => None,
        };
        addresses.push(KafkaAddress { address: address.clone(), reach, greeting });
    }
    let visit = match addresses.iter().any(|one| one.reach.is_reached()) {
        true => {
            let config = Arc::clone(config);
            let visiting = spawn_blocking(move || kafka::visit(&config));
            Some(match timeout(KAFKA_WITHIN, visiting).await {
                Ok(Ok(found)) => found,
                Ok(Err(panicked)) => Err(panicked.to_string()),
                Err(_) => Err(format!("no end within {} s", KAFKA_WITHIN.as_secs())),
            })
        }
        false => None,
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let brokers = match &visit {
        Some(Ok(visit)) => visit.brokers.clone(),
        _ => Vec::new(),
    };
    let mut looks = JoinSet::new();
    for (id, address) in brokers.into_iter().take(BROKERS_MAX) {
        looks.spawn(async move {
            let (host, port) = split(&address);
            let reach = reach(host, port, LOOK_WITHIN).await;
            Advertised { id, address, reach }
        });
    }
    let mut advertised = Vec::new();
    while let Some(look) = looks.join_next().await {
        advertised.extend(look);
    }
    advertised.sort_by_key(|one| one.id);
    let own = config.kafka.properties.get("ssl.certificate.location").filter(|_| is_tls);
    let own_certificate = own.map(|path| OwnCertificate {
        key: "ssl.certificate.location",
        path: path.into(),
        found: Certificate::read(path.as_ref()),
    });
    let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
    KafkaFacts { addresses, visit, advertised, own_certificate, now_ms }
}

/// `host:port`, with brackets around an IPv6 address or without.
fn split(address: &str) -> (&str, u16) {
    // As librdkafka does without a port.
    const PORT: u16 = 9092;
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().unwrap_or(PORT)),
        None => (address, PORT),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (address, host, port) in [
            ("kafka:9093", "kafka", 9093),
            ("[::1]:9092", "::1", 9092),
            ("::1:9094", "::1", 9094),
            ("kafka", "kafka", 9092),
        ] {
            assert_eq!(split(address), (host, port));
        }
    }
}
