//! One run: starts Kafka, the measured process and the feed, and checks everything afterwards.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use super::args::BenchArgs;
use super::bridge_log::BridgeLog;
use super::child::{ChildProcess, Scratch};
use super::error::BenchError;
use super::feed::{Brake, Fed, Feed, Subscribers};
use super::interrupt;
use super::kafka::Kafka;
use super::progress::Progress;
use super::reader::Reader;
use super::result::{BridgeChecks, Checks, END_TO_END, Metrics, Percentiles, Run};
use super::scenario::{Endpoints, Load, Scenario};
use super::task::{Subject, Task};
use super::tls::TlsServer;
use super::wire::Frames;
use mqtt_kafka_bridge::config::mqtt_url;

/// The reader may be this many bytes behind: the mock drops records, silently, at 5 MiB a partition.
const LAG_MAX: u64 = 2 * 1024 * 1024;
/// The load before the measurement, after which the producer has its id and every key has been seen.
const WARM_UP: Load =
    Load { rate: None, count: Some(20_000), duration: Some(Duration::from_secs(2)) };
/// How long Kafka takes to answer in the phase that looks for early PUBACKs.
const SLOW: Duration = Duration::from_millis(500);
const SLOW_LOAD: Load = Load { rate: None, count: Some(40), duration: None };
/// How long Kafka may bring no new record while published messages are missing.
const ARRIVE_WITHIN: Duration = Duration::from_secs(15);
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(30);
const PART_WITHIN: Duration = Duration::from_secs(10);

/// Runs one subject once.
///
/// # Errors
/// It could not be measured. What the subject did wrong is in [`Run::failures`].
pub(super) fn run(
    args: &BenchArgs,
    scenario: &Scenario,
    subject: Subject,
    what: &str,
) -> Result<Run, BenchError> {
    let id = fastrand::u64(..);
    let name = format!("bench-{:08x}", id >> 32);
    let scratch = Scratch::new(&name)?;
    let kafka = Kafka::start(args, scenario, &name)?;
    let mut bed = TestBed::set(args, scenario, subject, &name, id, &scratch, kafka)?;
    let first = bed.feed(Load { rate: None, count: Some(1), duration: None }, "first")?;
    let first_ms = bed.process.started.elapsed().as_secs_f64() * 1e3;
    let warm = bed.feed(WARM_UP, &format!("{what}, warm-up"))?;

    let cpu_before = bed.process.cpu()?;
    let start = Instant::now();
    let fed = bed.feed(scenario.load, what)?;
    let elapsed = if bed.pubacks_are_the_end() { fed.elapsed } else { start.elapsed() };
    let cpu = bed.process.cpu()? - cpu_before;
    let peak_memory_bytes = bed.process.peak_memory()?;
    let idle_cpu_percent = args.idle.map(|idle| bed.idle_cpu_percent(idle)).transpose()?;
    bed.slow_kafka()?;

    let skipped = first.messages + warm.messages;
    let mut latencies = BTreeMap::new();
    let mut latency_of = |name: &str, histogram: &hdrhistogram::Histogram<u64>| {
        if let Some(percentiles) = Percentiles::of(histogram) {
            latencies.insert(name.to_owned(), percentiles);
        }
    };
    if bed.pubacks_are_the_end() {
        latency_of(END_TO_END, &fed.latencies);
    }
    let (checks, told, bad_end) = bed.finish(skipped, fed.messages)?;
    if let Some(told) = &told {
        latency_of("received_to_produced", &told.queue);
        latency_of("produced_to_delivered", &told.kafka);
        latency_of("received_to_delivered", &told.total);
    }
    let mut failures = checks.failures(&scenario.timing);
    failures.extend(bad_end);
    let messages = fed.messages as f64;
    let metrics = Metrics {
        messages: fed.messages,
        seconds: elapsed.as_secs_f64(),
        rate: messages / elapsed.as_secs_f64(),
        cpu_s_per_million: cpu.as_secs_f64() * 1e6 / messages,
        peak_memory_bytes,
        first_ms,
        idle_cpu_percent,
        latencies,
    };
    Ok(Run { metrics, checks, failures })
}

/// Everything that a run needs, started.
struct TestBed<'a> {
    scenario: &'a Scenario,
    subject: Subject,
    /// Whether a real MQTT broker is between the feed and the measured process.
    broker_between: bool,
    id: u64,
    mqtt_topics: Vec<String>,
    kafka: Kafka,
    /// Reads along with the mock or a broker in between. With a real Kafka alone it reads afterwards, so
    /// that it takes no CPU time from the bridge.
    reader: Option<Reader>,
    process: ChildProcess,
    feed: Feed,
}

impl<'a> TestBed<'a> {
    fn set(
        args: &BenchArgs,
        scenario: &'a Scenario,
        subject: Subject,
        name: &str,
        id: u64,
        scratch: &Scratch,
        kafka: Kafka,
    ) -> Result<Self, BenchError> {
        let mqtt_topics = scenario.mqtt_topics(name);
        let frames = Frames::new(scenario.protocol, scenario.qos, &mqtt_topics, scenario.size, id);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let tls = (subject == Subject::BridgeTls).then(|| TlsServer::new(&scratch.path("ca.pem")));
        let tls = tls.transpose()?;
        let connections = match subject {
            Subject::BridgeConnections => scenario.connections,
            _ => 1,
        };
        let mut endpoints = Endpoints {
            mqtt: listener.local_addr()?.to_string(),
            connections,
            ca_file: tls.as_ref().map(|tls| tls.ca_file.clone()),
            login: None,
            kafka: kafka.bootstrap.clone(),
            kafka_topic: kafka.kafka_topic.clone(),
            // The mock has no controller, which is asked whether a Kafka topic that a template names is there.
            template: !kafka.is_mock(),
            name: name.to_owned(),
            properties: args.property.clone(),
        };
        if let Some(url) = &args.mqtt {
            let url = mqtt_url::parse(url);
            let url = url.map_err(|why| BenchError::Arguments(format!("--mqtt: {why}")))?;
            endpoints.mqtt = url.address.endpoint.to_string();
            endpoints.login = url.username.map(|name| (name, url.password.unwrap_or_default()));
        }
        let mut reader = None;
        if kafka.is_mock() || args.mqtt.is_some() {
            reader = Some(Reader::start(&kafka, id, mqtt_topics.clone())?);
        }
        let task = Task { subject, scenario: scenario.clone(), endpoints };
        let mut process = ChildProcess::start(scratch, &task)?;
        let endpoints = task.endpoints;
        let filters = if subject.is_bridge() { scenario.filters(endpoints.template) } else { 1 };
        let feed = if args.mqtt.is_some() {
            let marks = filters as usize;
            process.wait_for("\"msg\":\"subscribed\"", marks, SUBSCRIBE_WITHIN)?;
            let login = endpoints.login.as_ref().map(|(name, password)| (&**name, &**password));
            Feed::dial(&endpoints.mqtt, login, &format!("{name}-feed"), scenario, frames)?
        } else {
            let (listener, tls) = (&listener, tls.as_ref());
            let subscribers = Subscribers { listener, tls, connections, filters };
            Feed::accept(&subscribers, scenario, frames, || process.gone())?
        };
        Ok(Self {
            scenario,
            subject,
            broker_between: args.mqtt.is_some(),
            id,
            mqtt_topics,
            kafka,
            reader,
            process,
            feed,
        })
    }

    /// Whether a PUBACK to the feed comes from the bridge, and so means that Kafka has the message.
    fn pubacks_are_the_end(&self) -> bool {
        self.scenario.qos == 1 && !self.broker_between
    }

    /// Feeds this load and waits until all its messages are in Kafka.
    fn feed(&mut self, load: Load, what: &str) -> Result<Fed, BenchError> {
        let mut progress = Progress::new(what.to_owned());
        let size = self.scenario.size;
        let acknowledged_counts = self.pubacks_are_the_end();
        let window = u64::from(self.scenario.window);
        let (reader, is_mock) = (self.reader.as_ref(), self.kafka.is_mock());
        let broker_between = self.broker_between;
        let brake: Brake<'_> = &|sent, acknowledged| {
            let Some(reader) = reader else { return u64::MAX };
            let arrived = reader.messages();
            let mut room = u64::MAX;
            if is_mock {
                let begun = if acknowledged_counts { acknowledged } else { sent };
                let lag = begun.saturating_sub(arrived);
                room = (LAG_MAX / size).max(1).saturating_sub(lag);
            }
            if broker_between {
                // The broker then never has a reason to drop messages.
                room = room.min(window.saturating_sub(sent.saturating_sub(arrived)));
            }
            room
        };
        let fed = match self.feed.run(load, brake, &mut progress) {
            Ok(fed) => fed,
            Err(error) => {
                interrupt::check()?;
                // If the process has just died, that is the better reason.
                std::thread::sleep(Duration::from_millis(100));
                return Err(self.process.gone().map_or(error, BenchError::Process));
            }
        };
        if !acknowledged_counts {
            match &self.reader {
                Some(reader) => reader.wait_for(self.feed.sent())?,
                None => self.kafka.wait_for(self.feed.sent(), ARRIVE_WITHIN)?,
            }
        }
        Ok(fed)
    }

    fn idle_cpu_percent(&mut self, idle: Duration) -> Result<f64, BenchError> {
        // The end of the load is over after a second.
        self.feed.idle(Duration::from_secs(1))?;
        let before = self.process.cpu()?;
        self.feed.idle(idle)?;
        let cpu = self.process.cpu()? - before;
        Ok(100.0 * cpu.as_secs_f64() / idle.as_secs_f64())
    }

    /// Makes Kafka answer late: no PUBACK may be earlier.
    fn slow_kafka(&mut self) -> Result<(), BenchError> {
        if !self.kafka.is_mock() || !self.pubacks_are_the_end() || !self.subject.is_bridge() {
            return Ok(());
        }
        self.kafka.answer_after(SLOW);
        self.feed.kafka_takes(SLOW);
        self.feed(SLOW_LOAD, "Kafka answers after 500 ms")?;
        self.feed.kafka_takes(Duration::ZERO);
        self.kafka.answer_after(Duration::ZERO);
        Ok(())
    }

    /// Stops everything and checks the outcome.
    fn finish(
        mut self,
        skipped: u64,
        measured: u64,
    ) -> Result<(Checks, Option<BridgeLog>, Option<String>), BenchError> {
        let published = self.feed.sent();
        let mut bad_end = None;
        let pubacks = if self.subject.is_bridge() {
            self.process.ask_to_stop()?;
            let pubacks = self.feed.part(PART_WITHIN);
            bad_end = self.process.stopped()?;
            pubacks
        } else {
            self.feed.violations()
        };
        let log = self.process.log().to_owned();
        drop(self.process);
        let reader = match self.reader {
            Some(reader) => reader,
            None => Reader::start(&self.kafka, self.id, self.mqtt_topics)?,
        };
        let found = reader.finish(published)?;
        drop(self.kafka);
        let told = self.subject.is_bridge().then(|| BridgeLog::read(&log, skipped, measured));
        let told = told.transpose()?;
        let checks = Checks {
            published,
            records: found.records,
            lost: found.lost,
            duplicated: found.duplicated,
            reordered: found.reordered,
            misplaced: found.misplaced,
            pubacks,
            bridge: told.as_ref().map(|told| BridgeChecks {
                delivered: told.summary("delivered"),
                timing_records: told.records,
                dropped: told.dropped,
                dead_lettered: told.summary("dead_lettered"),
                filtered: told.summary("filtered"),
                shed: told.summary("shed"),
                redelivered: told.summary("redelivered"),
                restarts: told.summary("restarts"),
                reconnects: told.summary("reconnects"),
            }),
        };
        Ok((checks, told, bad_end))
    }
}
