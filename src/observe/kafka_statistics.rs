//! What librdkafka's producing clients count, as far as it is worth showing: by broker, and in their queues.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// At most so many brokers are shown; those with the lowest ids.
pub const BROKERS_MAX: usize = 64;

/// Which client: the producer's path, and its number among those of this producer.
pub type ClientName = (&'static str, usize);

/// What one client has told.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct ClientStatistics {
    /// Records that wait for a request or for the answer to one.
    #[serde(default, rename = "msg_cnt")]
    pub queue_messages: u64,
    /// Their bytes.
    #[serde(default, rename = "msg_size")]
    pub queue_bytes: u64,
    #[serde(default)]
    brokers: BTreeMap<String, OfBroker>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct OfBroker {
    nodeid: i32,
    #[serde(default)]
    state: String,
    #[serde(default)]
    rtt: Values,
    #[serde(default)]
    throttle: Values,
}

/// Over the last interval, in librdkafka's units.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
struct Values {
    #[serde(default)]
    avg: i64,
    #[serde(default)]
    p99: i64,
    #[serde(default)]
    max: i64,
    #[serde(default)]
    cnt: i64,
}

impl ClientStatistics {
    /// What librdkafka tells, as JSON.
    ///
    /// # Errors
    /// It is another document.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let mut told: Self = serde_json::from_str(json)?;
        // Others are addresses that librdkafka does not know the broker of yet.
        told.brokers.retain(|_, broker| broker.nodeid >= 0);
        Ok(told)
    }
}

/// A Kafka broker, over all clients.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct BrokerStatistics {
    /// Its id in the cluster.
    pub broker_id: i32,
    /// A client has a connection to it that is in use.
    pub connected: bool,
    /// From a request to its answer, over the last interval, in microseconds; missing if there was none.
    pub round_trip_average_us: Option<u64>,
    /// 99 % took no longer.
    pub round_trip_p99_us: Option<u64>,
    /// The longest pause that the broker imposed in the last interval, in milliseconds.
    pub throttle_ms: u64,
}

/// All clients together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Statistics {
    /// Records that wait in librdkafka; missing before the first interval is over.
    pub queue_messages: Option<u64>,
    /// Their bytes.
    pub queue_bytes: Option<u64>,
    /// By id, at most [`BROKERS_MAX`].
    pub brokers: Vec<BrokerStatistics>,
}

/// What the clients told last.
#[derive(Debug, Default)]
pub struct KafkaStatistics(Mutex<BTreeMap<ClientName, ClientStatistics>>);

impl KafkaStatistics {
    /// A client has told this.
    pub fn set(&self, client: ClientName, told: ClientStatistics) {
        self.0.lock().insert(client, told);
    }

    /// The clients of this path are gone.
    pub fn forget(&self, path: &str) {
        self.0.lock().retain(|(of, _), _| *of != path);
    }

    /// All clients are gone.
    pub fn forget_all(&self) {
        self.0.lock().clear();
    }

    /// All together.
    pub fn sum(&self) -> Statistics {
        let clients = self.0.lock();
        let mut brokers = BTreeMap::<i32, (BrokerStatistics, i64, i64)>::new();
        for broker in clients.values().flat_map(|client| client.brokers.values()) {
            let (sum, rounds, weighted) = brokers.entry(broker.nodeid).or_default();
            sum.broker_id = broker.nodeid;
            sum.connected |= broker.state == "UP";
            sum.throttle_ms = sum.throttle_ms.max(positive(broker.throttle.max));
            if broker.rtt.cnt > 0 {
                *rounds = rounds.saturating_add(broker.rtt.cnt);
                *weighted = weighted.saturating_add(broker.rtt.avg.saturating_mul(broker.rtt.cnt));
                sum.round_trip_p99_us = sum.round_trip_p99_us.max(Some(positive(broker.rtt.p99)));
            }
        }
        let brokers = brokers.into_values().take(BROKERS_MAX).map(|(sum, rounds, weighted)| {
            let average = (rounds > 0).then(|| positive(weighted / rounds));
            BrokerStatistics { round_trip_average_us: average, ..sum }
        });
        let total = |of: fn(&ClientStatistics) -> u64| {
            (!clients.is_empty()).then(|| clients.values().map(of).sum())
        };
        Statistics {
            queue_messages: total(|client| client.queue_messages),
            queue_bytes: total(|client| client.queue_bytes),
            brokers: brokers.collect(),
        }
    }
}

fn positive(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = r#"{
        "name": "rdkafka#producer-1", "msg_cnt": 3, "msg_size": 300, "unknown": [1, {"a": 2}],
        "brokers": {
            "localhost:9092/bootstrap": {"nodeid": -1, "state": "UP", "rtt": {"avg": 9, "cnt": 9}},
            "b:1/1": {"nodeid": 1, "state": "UP", "toppars": {},
                      "rtt": {"avg": 1000, "p99": 5000, "max": 9, "cnt": 30},
                      "throttle": {"avg": 2, "max": 40, "cnt": 1}},
            "b:2/2": {"nodeid": 2, "state": "DOWN", "rtt": {"avg": 0, "p99": 0, "cnt": 0}}
        }, "topics": {"t": {"partitions": {}}}
    }"#;
    const SECOND: &str = r#"{"msg_cnt": 1, "msg_size": 10, "brokers": {
        "b:1/1": {"nodeid": 1, "state": "CONNECT", "rtt": {"avg": 2000, "p99": 3000, "cnt": 10}}}}"#;

    #[test]
    fn what_the_clients_tell_is_added_up_by_broker() {
        let all = KafkaStatistics::default();
        assert_eq!(all.sum(), Statistics::default());
        all.set(("pipelined", 0), ClientStatistics::parse(FIRST).expect("JSON"));
        all.set(("pipelined", 1), ClientStatistics::parse(SECOND).expect("JSON"));
        let sum = all.sum();
        assert_eq!((sum.queue_messages, sum.queue_bytes), (Some(4), Some(310)));
        let [one, two] = sum.brokers[..] else { panic!("{sum:?}") };
        assert_eq!((one.broker_id, one.connected, one.throttle_ms), (1, true, 40));
        assert_eq!((one.round_trip_average_us, one.round_trip_p99_us), (Some(1250), Some(5000)));
        assert_eq!((two.broker_id, two.connected, two.round_trip_p99_us), (2, false, None));
        all.set(("serial", 0), ClientStatistics::parse(SECOND).expect("JSON"));
        all.forget("pipelined");
        assert_eq!(all.sum().queue_messages, Some(1));
        all.forget_all();
        assert_eq!(all.sum().queue_messages, None);
    }

    #[test]
    fn brokers_are_bounded_and_odd_documents_refused() {
        let brokers: Vec<_> =
            (0..1000).map(|id| format!(r#""b/{id}": {{"nodeid": {id}, "state": "UP"}}"#)).collect();
        let json = format!(r#"{{"brokers": {{{}}}}}"#, brokers.join(","));
        let all = KafkaStatistics::default();
        all.set(("pipelined", 0), ClientStatistics::parse(&json).expect("JSON"));
        assert_eq!(all.sum().brokers.len(), BROKERS_MAX);
        for odd in ["", "{\"brokers\": 1}", "{\"brokers\": {\"a\": {\"nodeid\": \"x\"}}}"] {
            assert!(ClientStatistics::parse(odd).is_err(), "{odd}");
        }
    }
}
