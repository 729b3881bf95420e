//! librdkafka's mock cluster in the test process, for faults that a real Kafka does not produce on
//! command.

use std::sync::mpsc;
use std::thread;

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Cluster) + Send>;

/// A mock cluster of one broker, on a thread of its own, since it must not change threads.
#[derive(Debug)]
pub struct MockKafka {
    orders: mpsc::Sender<Order>,
    bootstrap: String,
}

impl MockKafka {
    /// Starts one.
    pub fn start() -> Self {
        let (orders, received) = mpsc::channel::<Order>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let cluster = MockCluster::new(1).expect("a mock cluster starts");
            tell.send(cluster.bootstrap_servers()).expect("the story waits for it");
            received.into_iter().for_each(|order| order(&cluster));
        });
        Self { orders, bootstrap: told.recv().expect("the mock cluster started") }
    }

    /// `host:port`
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Runs a function on the cluster, and waits until it returns.
    pub fn order<R: Send + 'static>(&self, what: impl FnOnce(&Cluster) -> R + Send + 'static) -> R {
        let (done, wait) = mpsc::channel();
        let order = move |cluster: &Cluster| done.send(what(cluster)).expect("the story waits");
        self.orders.send(Box::new(order)).expect("the thread of the mock cluster runs");
        wait.recv().expect("the mock cluster answers")
    }
}
