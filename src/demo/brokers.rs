//! The two brokers inside the process: mqtt5's MQTT broker and librdkafka's mock cluster. Both are in
//! memory, listen on loopback only and end with the process.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mqtt5::broker::config::{BrokerConfig, StorageBackend, StorageConfig};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::{BrokerShutdownHandle, MqttBroker as Mqtt5};
use rdkafka::mocking::MockCluster;

use super::error::DemoError;

/// Unacknowledged messages to one subscriber: the most that a packet id allows, so that the window
/// is the subscriber's own receive maximum.
const OUTBOUND_INFLIGHT_MAX: u16 = u16::MAX;

/// Above this many messages or bytes the broker drops the oldest messages for a subscriber that is away.
/// The devices wait long before that (`devices::OUTSTANDING_MAX`), so it never does.
const QUEUED_MESSAGES_MAX: usize = 1_000_000;
const QUEUED_BYTES_MAX: usize = 1 << 30;

/// Messages on their way to one subscriber, beside its queue.
const CHANNEL_MESSAGES: usize = 10_000;

/// Few, because the mock cluster looks through all batches of a partition at each fetch, and many
/// partitions mean many small batches: with 32 it slows down from 20,000/s to 10,000/s as its log
/// fills, with 8 it does not.
pub(super) const KAFKA_PARTITIONS: i32 = 8;

/// The embedded MQTT broker, on a thread of its own.
pub(super) struct MqttBroker {
    address: SocketAddr,
    router: Arc<MessageRouter>,
    shutdown: BrokerShutdownHandle,
    thread: JoinHandle<()>,
}

impl MqttBroker {
    /// Starts it on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// The broker cannot bind or start.
    pub(super) fn start() -> Result<Self, DemoError> {
        let (started, start) = mpsc::sync_channel(1);
        let thread = spawn("demo-mqtt-broker", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.map_err(|error| DemoError::Mqtt(error.to_string()));
            match outcome {
                Ok(runtime) => runtime.block_on(serve(&started)),
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        let (address, router, shutdown) = start
            .recv()
            .unwrap_or_else(|_| Err(DemoError::Mqtt("its thread ended at the start".to_owned())))?;
        Ok(Self { address, router, shutdown, thread })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the client with this id has subscribed to something, and so misses no message.
    pub(super) async fn subscribed(&self, client_id: &str) {
        while self.router.subscription_count_for_client(client_id).await == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it. All connections end with it.
    pub(super) fn stop(self) {
        self.shutdown.shutdown();
        // A panic on that thread was printed when it happened.
        let _ = self.thread.join();
    }
}

type Started = Result<(SocketAddr, Arc<MessageRouter>, BrokerShutdownHandle), DemoError>;

async fn serve(started: &mpsc::SyncSender<Started>) {
    let bound = match Mqtt5::with_config(mqtt_config()).await {
        Ok(broker) => match broker.local_addr() {
            Some(address) => Ok((broker, address)),
            None => Err(DemoError::Mqtt("it listens nowhere".to_owned())),
        },
        Err(error) => Err(DemoError::Mqtt(error.to_string())),
    };
    match bound {
        Ok((mut broker, address)) => {
            let handles = (address, broker.router(), broker.shutdown_handle());
            // The listener is bound: a client that connects before `run` accepts waits for a moment.
            if started.send(Ok(handles)).is_ok()
                && let Err(error) = broker.run().await
            {
                eprintln!("demo: {}", DemoError::Mqtt(error.to_string()));
            }
        }
        Err(error) => drop(started.send(Err(error))),
    }
}

fn mqtt_config() -> BrokerConfig {
    let storage = StorageConfig::default()
        // The default writes to ./mqtt_storage.
        .with_backend(StorageBackend::Memory)
        .with_max_queued_messages_per_client(QUEUED_MESSAGES_MAX)
        .with_max_queued_bytes_per_client(QUEUED_BYTES_MAX);
    let mut config = BrokerConfig::default()
        .with_bind_address((Ipv4Addr::LOCALHOST, 0))
        .with_storage(storage)
        .with_client_channel_capacity(CHANNEL_MESSAGES)
        .with_max_outbound_inflight(OUTBOUND_INFLIGHT_MAX);
    config.sys_topics_enabled = false;
    config
}

/// The mock Kafka cluster, one broker. Its handle cannot leave its thread.
pub(crate) struct KafkaCluster {
    bootstrap: String,
    /// Dropping this sender ends the thread.
    round_trips: mpsc::Sender<(Duration, mpsc::SyncSender<()>)>,
    thread: JoinHandle<()>,
}

impl KafkaCluster {
    /// Starts it on a free port of 127.0.0.1, with these Kafka topics.
    ///
    /// # Errors
    /// librdkafka refuses.
    pub(crate) fn start(kafka_topics: &[&str], kafka_partitions: i32) -> Result<Self, DemoError> {
        let (started, start) = mpsc::sync_channel(1);
        let (round_trips, wanted) = mpsc::channel::<(Duration, mpsc::SyncSender<()>)>();
        let kafka_topics: Vec<_> = kafka_topics.iter().map(|name| (*name).to_owned()).collect();
        let thread = spawn("kafka-cluster", move || {
            let cluster = MockCluster::new(1).and_then(|cluster| {
                for kafka_topic in &kafka_topics {
                    cluster.create_topic(kafka_topic, kafka_partitions, 1)?;
                }
                Ok(cluster)
            });
            match cluster {
                Ok(cluster) => {
                    let _ = started.send(Ok(cluster.bootstrap_servers()));
                    // Ends when the sender is dropped.
                    for (round_trip, set) in wanted {
                        cluster
                            .broker_round_trip_time(1, round_trip)
                            .expect("the one broker that there is");
                        // Fails if nothing waits for it any more.
                        let _ = set.send(());
                    }
                }
                Err(error) => drop(started.send(Err(DemoError::Kafka(error)))),
            }
        })?;
        let bootstrap = start.recv().unwrap_or_else(|_| {
            Err(DemoError::Kafka(rdkafka::error::KafkaError::MockCluster(
                rdkafka::types::RDKafkaErrorCode::Fail,
            )))
        })?;
        Ok(Self { bootstrap, round_trips, thread })
    }

    /// Where it listens, `host:port`.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// From now on the cluster takes this long to answer each request.
    pub(crate) fn set_round_trip(&self, round_trip: Duration) {
        let (set, is_set) = mpsc::sync_channel(1);
        // Fails after a panic on that thread, which was printed when it happened.
        let _ = self.round_trips.send((round_trip, set));
        let _ = is_set.recv();
    }

    /// Ends it and drops its records.
    pub(crate) fn stop(self) {
        drop(self.round_trips);
        // A panic on that thread was printed when it happened.
        let _ = self.thread.join();
    }
}

/// Starts a thread with a name.
pub(crate) fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, DemoError> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(work).map_err(|error| DemoError::Thread(name, error))
}
