//! The command line of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use mqtt_kafka_bridge::mqtt::packet::Version;

use super::error::BenchError;
use super::scenario::{Load, Scenario, protocol_named};
use super::task::Subject;

const EXAMPLES: &str = "\
Examples:
  mqtt-kafka-bridge bench
  mqtt-kafka-bridge bench --protocol 3.1.1,5 --qos 0,1 --limit --runs 3
  mqtt-kafka-bridge bench --kafka localhost:9092 --limit --json now.json --compare before.json
  mqtt-kafka-bridge bench --topics 1,100000 --routes 1,200
  mqtt-kafka-bridge bench --kafka localhost:9092 --kafka-topics 1,1000 --rate 10000 --duration 10s
  mqtt-kafka-bridge bench --tls --connections 4 --runs 5
  mqtt-kafka-bridge bench --rate 10000 --duration 30s --idle 10s
  mqtt-kafka-bridge bench --steps --p99 20ms

Options that take a list are run in all combinations.

Exit codes:
   0  no message was lost or reordered; PUBACKs came once, in order and not before Kafka's
      acknowledgement; each delivered message has its timing record (duplicates are only counted)
   1  one of these does not hold, or something could not be measured
   2  wrong arguments";

/// Messages of a run without `--count` and `--duration`.
const COUNT_DEFAULT: u64 = 500_000;
/// The time of one step without `--duration`.
const STEP_DEFAULT: Duration = Duration::from_secs(5);
/// Each payload begins with two numbers of 8 bytes: the run's and the message's.
pub(super) const SIZE_MIN: u64 = 16;
const SIZE_MAX: u64 = 16 * 1024 * 1024;
const WINDOW_MAX: i64 = 65_535;
const TOPICS_MAX: i64 = 1_000_000;
/// The numbers in their names have four digits.
const KAFKA_TOPICS_MAX: i64 = 10_000;
/// Of `mqtt.connections`.
const CONNECTIONS_MAX: i64 = 64;

/// `bench-subject`, for `bench` itself
#[derive(Debug, Clone, Args)]
pub(crate) struct SubjectArgs {
    /// A file that says what to do
    pub task: PathBuf,
}

/// `bench`
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchArgs {
    /// MQTT protocol versions
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "5",
        value_parser = protocol())]
    pub protocol: Vec<Version>,
    /// Quality of service, 0 or 1
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u8).range(0..=1))]
    pub qos: Vec<u8>,
    /// Size of a payload, from 16 B to 16 MiB
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "128", value_parser = size)]
    pub size: Vec<u64>,
    /// Number of MQTT topics
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "64",
        value_parser = clap::value_parser!(u32).range(1..=TOPICS_MAX))]
    pub topics: Vec<u32>,
    /// Number of routes; the messages are spread evenly over them
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub routes: Vec<u32>,
    /// Number of Kafka topics; the messages are spread evenly over them
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=KAFKA_TOPICS_MAX))]
    pub kafka_topics: Vec<u32>,
    /// Measure the bridge with this many connections in one process as well, which share their
    /// subscriptions and each have the whole window, and print its ratios to one connection
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1",
        conflicts_with = "mqtt", value_parser = clap::value_parser!(u32).range(1..=CONNECTIONS_MAX))]
    pub connections: Vec<u32>,
    /// Measure the bridge with TLS to the feed as well, and print its ratios to TCP
    #[arg(long, conflicts_with = "mqtt")]
    pub tls: bool,
    /// In-flight window of the feed and the bridge, for QoS 1; QoS 0 needs none
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1000",
        value_parser = clap::value_parser!(u16).range(1..=WINDOW_MAX))]
    pub window: Vec<u16>,
    /// The bridge's log.timing: all, off, slow:50ms or sample:100
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "all")]
    pub timing: Vec<String>,
    /// Give each record five headers, those of the bare loops included
    #[arg(long)]
    pub headers: bool,
    /// Messages per second [default: as fast as the bridge takes them]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// Messages per run [default: 500000, or as many as fit into --duration]
    #[arg(long, value_name = "N", conflicts_with = "duration",
        value_parser = clap::value_parser!(u64).range(1..=10_000_000_000))]
    pub count: Option<u64>,
    /// Length of a run, such as 30s
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// After each run, measure the CPU time of an idle bridge for this long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub idle: Option<Duration>,
    /// Number of runs; the bench prints medians
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Also measure two bare loops, `limit` (own parser, blocking) and `libraries` (the bridge's
    /// libraries, async), and print ratios
    #[arg(long)]
    pub limit: bool,
    /// Use a real Kafka instead of the mock cluster
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka: Option<String>,
    /// Use this existing Kafka topic instead of creating and removing one
    #[arg(long, value_name = "NAME", requires = "kafka")]
    pub kafka_topic: Option<String>,
    /// Partitions of each created Kafka topic [default: 32 with the mock, 4 with a real Kafka; 1 of each
    /// where there are several]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    pub partitions: Option<i32>,
    /// Put a real MQTT broker between the feed and the bridge: mqtt://host:port
    #[arg(long, value_name = "URL")]
    pub mqtt: Option<String>,
    /// Set a property of librdkafka, such as linger.ms=5
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    pub property: Vec<(String, String)>,
    /// Find the highest rate at which the p99 from PUBLISH to PUBACK stays within --p99
    #[arg(long, conflicts_with_all = ["rate", "count", "idle"])]
    pub steps: bool,
    /// The bound for --steps
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = humantime::parse_duration)]
    pub p99: Duration,
    /// Write the results to this file as JSON; -: as the last line of stdout
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Print ratios to the results in this file, written earlier by --json
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
}

impl BenchArgs {
    /// All combinations of the lists.
    ///
    /// # Errors
    /// Options contradict each other.
    pub(super) fn scenarios(&self) -> Result<Vec<Scenario>, BenchError> {
        let load = self.load();
        let mut scenarios = Vec::new();
        for &protocol in &self.protocol {
            for &qos in &self.qos {
                for &size in &self.size {
                    for &topics in &self.topics {
                        for (&routes, &kafka_topics) in self.destinations() {
                            for &connections in &self.connections {
                                for &window in &self.window {
                                    for timing in &self.timing {
                                        scenarios.push(Scenario {
                                            protocol,
                                            qos,
                                            size,
                                            topics: topics
                                                .max(routes)
                                                .max(kafka_topics)
                                                .next_multiple_of(connections),
                                            routes,
                                            kafka_topics,
                                            connections,
                                            window,
                                            timing: timing.clone(),
                                            headers: self.headers,
                                            load,
                                        });
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        let several = |list: &[u32]| list.iter().any(|count| *count > 1);
        if several(&self.routes) && several(&self.kafka_topics) {
            return Err(BenchError::Arguments(
                "one route makes the names of several Kafka topics: use --kafka-topics or --routes"
                    .to_owned(),
            ));
        }
        if several(&self.kafka_topics) && self.kafka_topic.is_some() {
            return Err(BenchError::Arguments(
                "--kafka-topics creates them: leave out --kafka-topic".to_owned(),
            ));
        }
        if self.steps && self.qos.contains(&0) {
            return Err(BenchError::Arguments(
                "--steps measures PUBACKs, and QoS 0 has none: use --qos 1".to_owned(),
            ));
        }
        if self.steps && self.mqtt.is_some() {
            return Err(BenchError::Arguments(
                "--steps measures the bridge's PUBACKs, which a broker in between hides: leave out --mqtt"
                    .to_owned(),
            ));
        }
        Ok(scenarios)
    }

    /// What is measured in this scenario, in turn.
    pub(super) fn subjects(&self, scenario: &Scenario) -> Vec<Subject> {
        let mut subjects = vec![Subject::Bridge];
        if self.tls {
            subjects.push(Subject::BridgeTls);
        }
        if scenario.connections > 1 {
            subjects.push(Subject::BridgeConnections);
        }
        if self.limit {
            subjects.extend([Subject::BaselineBlocking, Subject::BaselineAsync]);
        }
        subjects
    }

    /// All combinations of routes and Kafka topics.
    fn destinations(&self) -> impl Iterator<Item = (&u32, &u32)> {
        let kafka_topics = |routes| self.kafka_topics.iter().map(move |count| (routes, count));
        self.routes.iter().flat_map(kafka_topics)
    }

    fn load(&self) -> Load {
        let duration = self.duration.or(self.steps.then_some(STEP_DEFAULT));
        let count = match (self.count, duration) {
            (Some(count), _) => Some(count),
            (None, Some(_)) => None,
            (None, None) => Some(COUNT_DEFAULT),
        };
        Load { rate: self.rate, count, duration }
    }
}

fn protocol() -> impl TypedValueParser<Value = Version> {
    let names = [Version::V311, Version::V5].map(Version::name);
    PossibleValuesParser::new(names)
        .try_map(|name| protocol_named(&name).ok_or("no version of MQTT"))
}

fn size(text: &str) -> Result<u64, String> {
    let range = SIZE_MIN..=SIZE_MAX;
    let size = text.parse::<ByteSize>().ok().map(|size| size.as_u64());
    size.filter(|size| range.contains(size)).ok_or_else(|| "expected 16 B to 16 MiB".to_owned())
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
