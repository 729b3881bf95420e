//! A real Apache Kafka from its jars: a KRaft node by itself, or three of one cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use super::process::{Process, free_port, kafka_jars};
use super::{PATIENT, eventually, eventually_some, reader, stories_dir};

/// A small heap, and only the fast compiler: the stories start many of these on few cores.
const JAVA: [&str; 4] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms64m", "-Xmx384m"];

/// A record as a consumer receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kafka_partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub timestamp_ms: i64,
}

/// A Kafka node, which may be frozen, killed, and started again with its data.
#[derive(Debug)]
pub struct Kafka {
    port: u16,
    /// `host:port` of each node of its cluster, separated by commas.
    bootstrap: String,
    /// How many nodes hold each record.
    replicas: i32,
    dir: PathBuf,
    /// Options of Java's own.
    java: Vec<String>,
    process: Option<Process>,
}

/// Listeners beside the plain one, each `host:port`.
#[derive(Debug)]
pub struct Listeners {
    /// TLS, with a self-signed certificate.
    pub tls: String,
    /// Without TLS, with a login: SASL PLAIN, `bridge` and `secret`.
    pub sasl: String,
    /// Plain, and advertised under a name that does not resolve.
    pub unresolved: String,
    /// Plain, and advertised with a port where nobody listens.
    pub closed: String,
    /// The controller's.
    pub controller: String,
}

/// A self-signed certificate for `localhost`, with its key in one file.
pub fn self_signed(dir: &Path) -> PathBuf {
    let [key, certificate, both] = ["key.pem", "certificate.pem", "both.pem"].map(|f| dir.join(f));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    let code = Process::start(command, &dir.join("openssl.log")).wait(PATIENT);
    assert_eq!(code, 0, "openssl makes a certificate");
    let text = [key, certificate].map(|file| fs::read_to_string(file).unwrap()).concat();
    fs::write(&both, text).unwrap();
    both
}

impl Kafka {
    /// The node for stories that do not disturb it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| {
            Self::start(&stories_dir().join(format!("{}-shared", std::process::id())))
        })
    }

    /// Starts one with its files under `dir`, and waits until it answers.
    pub fn start(dir: &Path) -> Self {
        Self::start_nodes(dir, 1, &[]).remove(0)
    }

    /// As [`Self::start`]; it does not consider itself fenced after it was frozen, so that its partitions
    /// never change their leader epoch, which may duplicate records on their way (docs/guarantees.md).
    pub fn start_forgiving(dir: &Path) -> Self {
        Self::start_nodes(dir, 1, &["broker.session.timeout.ms=600000"]).remove(0)
    }

    /// Starts a cluster of three: each record is on all of them, and Kafka acknowledges it when it is on two
    /// of them at least. Any of the nodes can stand for the cluster.
    pub fn start_cluster(dir: &Path) -> Vec<Self> {
        Self::start_nodes(dir, 3, &[])
    }

    /// From here on, Kafka topics that are created through this node have each partition on one node only.
    pub fn keep_one_replica(&mut self) {
        self.replicas = 1;
    }

    /// Starts one with listeners that need another protocol or login.
    pub fn start_with_listeners(dir: &Path) -> (Self, Listeners) {
        let certificate = self_signed(dir);
        let [plain, tls, sasl, unresolved, closed, nobody, controller] =
            std::array::from_fn(|_| free_port());
        let here = |port: u16| format!("127.0.0.1:{port}");
        // If a property has two lines, the last one counts.
        let properties = format!(
            "
listeners=PLAINTEXT://{plain},TLS://{tls},LOGIN://{sasl},LOST://{lost},GONE://{closed},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{plain},TLS://{tls},LOGIN://{sasl},LOST://kafka.invalid:{unresolved},GONE://{nobody}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,TLS:SSL,LOGIN:SASL_PLAINTEXT,LOST:PLAINTEXT,GONE:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.quorum.voters=0@{controller}
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
  required username=\"admin\" password=\"admin\" user_bridge=\"secret\";",
            plain = here(plain),
            tls = here(tls),
            sasl = here(sasl),
            lost = here(unresolved),
            closed = here(closed),
            nobody = here(nobody),
            controller = here(controller),
            certificate = certificate.display(),
        );
        let mut kafka = Self::prepare(dir, 0, &[(plain, controller)], &here(plain), &properties);
        kafka.begin_to_run();
        kafka.wait_until_ready();
        let [tls, sasl, unresolved, closed, controller] =
            [tls, sasl, unresolved, closed, controller].map(here);
        (kafka, Listeners { tls, sasl, unresolved, closed, controller })
    }

    /// Starts one with these listeners beside the plain one: the name of each, and its protocol. `properties`
    /// are made of their addresses, in the same order, which are returned too.
    pub fn start_with(
        dir: &Path,
        listeners: &[(&str, &str)],
        properties: impl FnOnce(&[String]) -> String,
        java: Vec<String>,
    ) -> (Self, Vec<String>) {
        let [plain, controller] = std::array::from_fn(|_| free_port());
        let here = |port: u16| format!("127.0.0.1:{port}");
        let addresses: Vec<_> = listeners.iter().map(|_| here(free_port())).collect();
        let each = |form: &dyn Fn(&str, &str, &str) -> String| {
            let all = listeners.iter().zip(&addresses);
            all.map(|((name, protocol), address)| form(name, protocol, address)).collect::<String>()
        };
        let at = each(&|name, _, address| format!(",{name}://{address}"));
        let protocols = each(&|name, protocol, _| format!(",{name}:{protocol}"));
        let properties = format!(
            "
listeners=PLAINTEXT://{plain},CONTROLLER://{controller}{at}
advertised.listeners=PLAINTEXT://{plain}{at}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT{protocols}
inter.broker.listener.name=PLAINTEXT
controller.quorum.voters=0@{controller}
{more}",
            plain = here(plain),
            controller = here(controller),
            more = properties(&addresses),
        );
        let mut kafka = Self::prepare(dir, 0, &[(plain, controller)], &here(plain), &properties);
        kafka.java = java;
        kafka.begin_to_run();
        kafka.wait_until_ready();
        (kafka, addresses)
    }

    /// Gives a user this password for a mechanism, SCRAM-SHA-256 or SCRAM-SHA-512.
    pub fn set_scram(&self, user: &str, mechanism: &str, password: &str) {
        let config = format!("{mechanism}=[password={password}]");
        let mut command = java();
        command.args(["kafka.admin.ConfigCommand", "--bootstrap-server", &self.address()]);
        command.args(["--alter", "--entity-type", "users", "--entity-name", user]);
        command.args(["--add-config", &config]);
        let log = self.dir.join("scram.log");
        let code = Process::start(command, &log).wait(PATIENT);
        assert_eq!(code, 0, "Kafka takes the passwords; the log: {}", log.display());
    }

    /// Allows a user these operations on every Kafka topic whose name begins with one of these; only where Kafka
    /// has an authorizer.
    pub fn allow(&self, user: &str, operations: &[&str], prefixes: &[&str]) {
        let mut command = java();
        command.args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.address()]);
        command.args(["--add", "--allow-principal", &format!("User:{user}")]);
        command.args(["--resource-pattern-type", "prefixed"]);
        command.args(operations.iter().flat_map(|operation| ["--operation", operation]));
        command.args(prefixes.iter().flat_map(|prefix| ["--topic", prefix]));
        let log = self.dir.join(format!("acl-{}.log", prefixes.concat()));
        let code = Process::start(command, &log).wait(PATIENT);
        assert_eq!(code, 0, "Kafka takes the permissions; the log: {}", log.display());
    }

    fn start_nodes(dir: &Path, nodes: i32, settings: &[&str]) -> Vec<Self> {
        let more: String = settings.iter().map(|setting| format!("\n{setting}")).collect();
        let ports: Vec<_> = (0..nodes).map(|_| (free_port(), free_port())).collect();
        let bootstrap: Vec<_> = ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        let node = |id| {
            let mut node = Self::prepare(dir, id, &ports, &bootstrap.join(","), &more);
            node.begin_to_run();
            node
        };
        let mut nodes: Vec<_> = (0..ports.len()).map(node).collect();
        nodes.iter_mut().for_each(Self::wait_until_ready);
        nodes
    }

    /// Its files; `more` properties come after the others.
    fn prepare(dir: &Path, id: usize, ports: &[(u16, u16)], bootstrap: &str, more: &str) -> Self {
        let port = ports[id].0;
        let dir = dir.join(format!("kafka-{port}"));
        format(&dir.join("data"), id);
        let properties = server_properties(id, ports, &dir.join("data")) + more;
        fs::write(dir.join("server.properties"), properties).unwrap();
        let replicas = i32::try_from(ports.len()).expect("a few");
        Self {
            port,
            bootstrap: bootstrap.to_owned(),
            replicas,
            dir,
            java: Vec::new(),
            process: None,
        }
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`], and waits until it answers.
    pub fn run(&mut self) {
        self.begin_to_run();
        self.wait_until_ready();
    }

    /// As [`Self::run`], without waiting.
    pub fn begin_to_run(&mut self) {
        assert!(self.process.is_none(), "Kafka is already running");
        let mut command = java();
        command.args(&self.java);
        command.arg("kafka.Kafka").arg("server.properties").current_dir(&self.dir);
        self.process = Some(Process::start(command, &self.dir.join("log")));
    }

    fn wait_until_ready(&mut self) {
        let log = self.dir.join("log");
        let what = format!("Kafka answers (its log: {})", log.display());
        eventually(&what, PATIENT, || {
            assert_eq!(self.process().exit_status(), None, "Kafka ended: {}", log.display());
            // A new client each time, which knows no other node, so that this node must answer.
            let this: BaseConsumer = client_config(&self.address()).create().expect("settings");
            let metadata = this.fetch_metadata(None, Duration::from_millis(500));
            metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
        });
    }

    /// Waits until other nodes lead all partitions of a Kafka topic.
    pub fn wait_led_by_others(&self, kafka_topic: &str) {
        let nodes = || self.bootstrap.split(',');
        let this = nodes().position(|node| node == self.address()).expect("it is one of them");
        let others: Vec<_> = nodes().filter(|node| *node != self.address()).collect();
        let led_by_another = |partition: &MetadataPartition| {
            usize::try_from(partition.leader()).is_ok_and(|leader| leader != this)
        };
        wait_partitions("other nodes lead", &others.join(","), kafka_topic, led_by_another);
    }

    /// Waits until every node has the same records of a Kafka topic.
    pub fn wait_in_sync(&self, kafka_topic: &str) {
        let all = usize::try_from(self.replicas).unwrap();
        let in_sync = |partition: &MetadataPartition| partition.isr().len() == all;
        wait_partitions("all replicas are in sync", &self.bootstrap(), kafka_topic, in_sync);
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port`, of each node
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("Kafka runs")
    }

    /// Creates a Kafka topic with this many partitions and settings.
    pub fn create(&self, kafka_topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let (admin, runtime) = self.admin();
        let mut new =
            NewTopic::new(kafka_topic, partitions, TopicReplication::Fixed(self.replicas));
        for (key, value) in settings {
            new = new.set(key, value);
        }
        eventually_some(&format!("Kafka creates {kafka_topic}"), PATIENT, || {
            let created = runtime.block_on(admin.create_topics([&new], &AdminOptions::new()));
            match created.ok()?.pop()? {
                Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)) => Some(()),
                Err((_, code)) => panic!("Kafka refuses to create {kafka_topic}: {code}"),
            }
        });
    }

    /// Waits until the leader of each of these partitions takes requests.
    pub fn wait_led(&self, kafka_topic: &str, partitions: i32) {
        let consumer: BaseConsumer = client_config(&self.bootstrap).create().expect("settings");
        for partition in 0..partitions {
            reader::end_of(&consumer, kafka_topic, partition, PATIENT);
        }
    }

    /// Gives a Kafka topic more partitions, so that it has this many.
    pub fn grow(&self, kafka_topic: &str, partitions: usize) {
        let (admin, runtime) = self.admin();
        let new = NewPartitions::new(kafka_topic, partitions);
        let grown = runtime.block_on(admin.create_partitions([&new], &AdminOptions::new()));
        grown.unwrap().pop().unwrap().unwrap();
    }

    /// Deletes a Kafka topic, and waits until it is gone.
    pub fn delete(&self, kafka_topic: &str) {
        let (admin, runtime) = self.admin();
        eventually(&format!("{kafka_topic} is gone"), PATIENT, || {
            let deleted =
                runtime.block_on(admin.delete_topics(&[kafka_topic], &AdminOptions::new()));
            let unknown = rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition;
            matches!(deleted.unwrap().pop(), Some(Err((_, code))) if code == unknown)
        });
    }

    fn admin(&self) -> (AdminClient<DefaultClientContext>, tokio::runtime::Runtime) {
        let admin = client_config(&self.bootstrap()).create().expect("settings");
        (admin, tokio::runtime::Builder::new_current_thread().build().unwrap())
    }

    /// SIGSTOP: connections stay open, but nothing answers.
    pub fn freeze(&mut self) {
        self.process().signal(libc::SIGSTOP);
    }

    /// SIGCONT
    pub fn thaw(&mut self) {
        self.process().signal(libc::SIGCONT);
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.process().end_in_order(PATIENT);
        self.process = None;
    }

    /// Tries to write to the Kafka topic `probe`, which must exist, with a new producer each time that is
    /// independent of the bridge; returns when that first succeeded.
    pub fn probe(&self) -> thread::JoinHandle<Instant> {
        let bootstrap = self.bootstrap();
        thread::spawn(move || {
            eventually_some("an independent producer succeeds", PATIENT * 10, || {
                let producer: BaseProducer = client_config(&bootstrap)
                    .set("message.timeout.ms", "2000")
                    .set("acks", "all")
                    .create()
                    .expect("settings");
                let record = BaseRecord::<(), [u8]>::to("probe").payload(b"probe");
                producer.send(record).ok()?;
                let sent = producer.flush(Duration::from_millis(2500)).is_ok();
                // A flush also ends for a record that timed out, which is not in Kafka.
                (sent && delivered(&bootstrap)).then(Instant::now)
            })
        })
    }
}

/// Waits until `is_so` of every partition of a Kafka topic.
fn wait_partitions(
    what: &str,
    bootstrap: &str,
    kafka_topic: &str,
    is_so: impl Fn(&MetadataPartition) -> bool,
) {
    let client: BaseConsumer = client_config(bootstrap).create().expect("settings");
    eventually(what, PATIENT, || {
        let metadata = client.fetch_metadata(Some(kafka_topic), Duration::from_secs(1));
        metadata.is_ok_and(|metadata| {
            let partitions = metadata.topics()[0].partitions();
            !partitions.is_empty() && partitions.iter().all(&is_so)
        })
    });
}

/// All present records of a Kafka topic, partition after partition.
pub fn records(bootstrap: &str, kafka_topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer =
        client_config(bootstrap).set("group.id", "records").create().expect("settings");
    let mut records = Vec::new();
    for partition in reader::partitions(&consumer, kafka_topic) {
        let end = reader::end_of(&consumer, kafka_topic, partition, PATIENT);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(kafka_topic, partition, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut next = 0;
        while next < end {
            let record = eventually_some("the next record", PATIENT, || {
                consumer.poll(Duration::from_millis(100))?.ok().map(|record| record.detach())
            });
            next = record.offset() + 1;
            records.push(Record {
                kafka_partition: partition,
                key: record.key().map(<[u8]>::to_vec),
                value: record.payload().unwrap_or_default().to_vec(),
                headers: record.headers().map(headers_of).unwrap_or_default(),
                timestamp_ms: record.timestamp().to_millis().unwrap_or_default(),
            });
        }
    }
    records
}

/// Whether the Kafka topic `probe` has a record.
fn delivered(bootstrap: &str) -> bool {
    let consumer: BaseConsumer = client_config(bootstrap).create().expect("settings");
    let watermarks = consumer.fetch_watermarks("probe", 0, Duration::from_secs(1));
    watermarks.is_ok_and(|(_, end)| end > 0)
}

fn headers_of<H: Headers>(headers: &H) -> Vec<(String, Vec<u8>)> {
    let one = |header: rdkafka::message::Header<'_, &[u8]>| {
        (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
    };
    headers.iter().map(one).collect()
}

/// A librdkafka client that reconnects quickly when its broker is back.
pub fn client_config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("log_level", "0");
    config
}

fn java() -> Command {
    let mut command = Command::new("java");
    command.args(JAVA).arg("-cp").arg(kafka_jars().join("*"));
    command
}

/// Formats a node's data directory. All are copies of one, since formatting takes a start of Java.
fn format(data: &Path, id: usize) {
    static FORMATTED: OnceLock<PathBuf> = OnceLock::new();
    let formatted = FORMATTED.get_or_init(|| {
        let dir = stories_dir().join(format!("{}-formatted", std::process::id()));
        let data = dir.join("data");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("server.properties"), server_properties(0, &[(1, 2)], &data)).unwrap();
        let mut command = java();
        command.args(["kafka.tools.StorageTool", "format", "-t", "c3Rvcmllcy1jbHVzdGVyLQ"]);
        command.args(["-c", "server.properties"]).current_dir(&dir);
        let code = Process::start(command, &dir.join("log")).wait(PATIENT);
        assert_eq!(code, 0, "Kafka's format; its log: {}", dir.join("log").display());
        data
    });
    fs::create_dir_all(data).unwrap();
    fs::copy(formatted.join("bootstrap.checkpoint"), data.join("bootstrap.checkpoint")).unwrap();
    let meta = fs::read_to_string(formatted.join("meta.properties")).unwrap();
    // Kafka gives a directory without an id a new one.
    let lines = meta.lines().filter(|line| !line.starts_with("directory.id"));
    let lines = lines.map(|line| line.replace("node.id=0", &format!("node.id={id}")));
    fs::write(data.join("meta.properties"), lines.collect::<Vec<_>>().join("\n")).unwrap();
}

/// The properties of the node with this id; `ports` are those of all brokers and controllers.
fn server_properties(id: usize, ports: &[(u16, u16)], data: &Path) -> String {
    let (port, controller) = ports[id];
    let voters = ports.iter().enumerate();
    let voters: Vec<_> =
        voters.map(|(id, (_, controller))| format!("{id}@127.0.0.1:{controller}")).collect();
    [
        "process.roles=broker,controller".to_owned(),
        format!("node.id={id}"),
        format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
        format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
        format!("controller.quorum.voters={}", voters.join(",")),
        format!("log.dirs={}", data.display()),
        format!("min.insync.replicas={}", ports.len().div_ceil(2)),
        "auto.create.topics.enable=false".to_owned(),
        // Stories write records of other years, which Kafka would else delete some minutes later.
        "log.retention.ms=-1".to_owned(),
        format!("offsets.topic.replication.factor={}", ports.len()),
        "offsets.topic.num.partitions=1".to_owned(),
        "transaction.state.log.replication.factor=1".to_owned(),
        "transaction.state.log.min.isr=1".to_owned(),
        "log.cleaner.dedupe.buffer.size=2097152".to_owned(),
        "num.io.threads=2".to_owned(),
        "num.network.threads=2".to_owned(),
    ]
    .join("\n")
}
