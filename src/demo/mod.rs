//! The subcommand `demo`: an MQTT broker, a Kafka cluster and simulated devices in this process, the
//! unchanged bridge between them, and the proof that nothing was lost.
//!
//! Devices (`telemetry`, `devices`) publish QoS 1 to the embedded broker (`brokers`); the
//! `bridge` forwards; a `consumer` reads back from Kafka and counts (`verify`); `display`
//! shows it.
//!
//! On two cores the embedded broker and the bridge carry 20,000 messages/s, at most 22,000 to 26,000.
//! Asked for more, the devices publish as fast as the broker accepts, and still nothing is lost.

mod error;
mod args;
mod telemetry;
pub(crate) mod verify;
pub(crate) mod brokers;
#[cfg(test)]
mod broker_tests;
mod devices;
mod bridge;
mod consumer;
mod display;
mod chaos;

use std::collections::BTreeMap;
use std::io::{self, Stdout};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use fastrand::Rng;
use hdrhistogram::Histogram;
use mqtt_kafka_bridge::exit::Exit;
use mqtt_kafka_bridge::observe::{Conservation, Metrics};
use tokio::sync::{oneshot, watch};
use tokio::time::{interval_at, sleep, timeout};

pub(crate) use args::DemoArgs;

use crate::signals::{INTERRUPT, INTERRUPTED, Signals, TERMINATE};
use bridge::{Bridge, CLIENT_ID, DEAD_LETTERS, KAFKA_TOPIC};
use brokers::{KAFKA_PARTITIONS, KafkaCluster, MqttBroker, spawn};
use consumer::{Consumer, Sample};
use devices::Fleet;
use display::{Display, Report, Second};
use error::DemoError;
use telemetry::Device;
use verify::Ledger;

/// How long the bridge may take until it has subscribed.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the devices may wait for their last PUBACKs.
const PUBACK_TIMEOUT: Duration = Duration::from_secs(10);
/// When no new message has come back from Kafka for this long, the demo stops waiting.
const STALLED_AFTER: Duration = Duration::from_secs(15);

/// Samples between the consumer and the display.
const SAMPLES_MAX: usize = 16;
/// Records shown at the beginning; afterwards one in this many seconds.
const RECORDS_FIRST: usize = 3;
const RECORD_INTERVAL: u64 = 5;
/// The most records of others shown in one second.
const FOREIGN_MAX: usize = 5;

/// Plays the demo until its duration is over or SIGINT or SIGTERM comes; a second signal ends it at
/// once. Success only if the bridge's counts balance and no message was lost or reordered.
pub(crate) fn run(args: &DemoArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = runtime.map_err(DemoError::from).and_then(|runtime| {
        runtime.block_on(async {
            let mut signals =
                Signals::listen(&[INTERRUPT, TERMINATE]).map_err(DemoError::Signals)?;
            let mut demo = Demo::start(args).await?;
            demo.play(args, &mut signals).await?;
            tokio::select! {
                report = demo.finish(args.json) => report.map(Some),
                _ = signals.next() => Ok(None),
            }
        })
    });
    match played {
        Ok(Some((Exit::Drained, report))) if report.is_good() => ExitCode::SUCCESS,
        Ok(Some((Exit::Drained, _))) => ExitCode::FAILURE,
        Ok(Some((exit, _))) => {
            eprintln!("demo: the bridge did not drain: {}", exit.meaning());
            ExitCode::FAILURE
        }
        Ok(None) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that runs.
struct Demo {
    display: Display<Stdout>,
    mqtt: MqttBroker,
    kafka: KafkaCluster,
    consumer: Consumer,
    samples: Receiver<Sample>,
    bridge: Bridge,
    ledger: Arc<Ledger>,
    stop_devices: watch::Sender<bool>,
    devices_done: oneshot::Receiver<()>,
    seed: u64,
}

impl Demo {
    /// Starts brokers, consumer and bridge, and the devices once the bridge has subscribed.
    async fn start(args: &DemoArgs) -> Result<Self, DemoError> {
        let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
        let mqtt = MqttBroker::start()?;
        let kafka = KafkaCluster::start(&[KAFKA_TOPIC, DEAD_LETTERS], KAFKA_PARTITIONS)?;
        let mut display = Display::new(io::stdout());
        display.welcome(args.devices, mqtt.address(), kafka.bootstrap(), KAFKA_TOPIC);

        let devices: Vec<_> =
            (0..args.devices as usize).map(|index| Device::new(seed, index)).collect();
        let mqtt_topics: Vec<_> =
            devices.iter().map(|device| device.mqtt_topic().clone()).collect();
        let ledger = Arc::new(Ledger::new(devices.len()));
        let (sampled, samples) = sync_channel(SAMPLES_MAX);
        let counts = Arc::clone(&ledger);
        let consumer =
            Consumer::start(kafka.bootstrap(), KAFKA_TOPIC, &mqtt_topics, counts, sampled)?;

        let mut bridge = Bridge::start(mqtt.address(), kafka.bootstrap(), args.chaos())?;
        tokio::select! {
            subscribed = timeout(SUBSCRIBE_TIMEOUT, mqtt.subscribed(CLIENT_ID)) => {
                subscribed.map_err(|_| DemoError::NotSubscribed(SUBSCRIBE_TIMEOUT))?;
            }
            exit = bridge.ended() => return Err(DemoError::BridgeEnded(exit)),
        }

        let fleet = Fleet { devices, ledger: Arc::clone(&ledger), rate: args.rate };
        let (stop_devices, stop) = watch::channel(false);
        let (done, devices_done) = oneshot::channel();
        let address = mqtt.address();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        spawn("demo-devices", move || {
            runtime.block_on(fleet.run(address, stop));
            drop(done);
        })?;
        Ok(Self {
            display,
            mqtt,
            kafka,
            consumer,
            samples,
            bridge,
            ledger,
            stop_devices,
            devices_done,
            seed,
        })
    }

    /// Shows a line each second until it is time to stop.
    async fn play(&mut self, args: &DemoArgs, signals: &mut Signals) -> Result<(), DemoError> {
        let until = match args.duration {
            Some(duration) => format!("for {}", humantime::format_duration(duration)),
            None => "until Ctrl-C".to_owned(),
        };
        self.display.say(&format!("The devices publish {} messages/s {until}.\n", args.rate));
        let start = Instant::now();
        let mut seconds = interval_at((start + SECOND).into(), SECOND);
        let mut strikes = interval_at((start + chaos::INTERVAL).into(), chaos::INTERVAL);
        let mut rng = Rng::with_seed(self.seed);
        let mut turn = 0;
        let mut view = View::new(start, &self.bridge.metrics);
        let over = sleep(args.duration.unwrap_or(FOREVER));
        tokio::pin!(over);
        loop {
            tokio::select! {
                biased;
                _ = signals.next() => return Ok(()),
                exit = self.bridge.ended() => return Err(DemoError::BridgeEnded(exit)),
                _ = strikes.tick(), if args.chaos() => {
                    if let Some(text) = chaos::strike(turn, &mut rng) {
                        self.display.say(&text);
                    }
                    turn += 1;
                }
                _ = seconds.tick() => {
                    self.show(&mut view);
                    if self.display.is_closed() {
                        return Ok(());
                    }
                }
                () = &mut over => return Ok(()),
            }
        }
    }

    /// Shows one second on the display.
    fn show(&mut self, view: &mut View) {
        let metrics = &self.bridge.metrics;
        let now = Instant::now();
        let conservation = metrics.conservation();
        let done = |counts: &Conservation| counts.delivered + counts.dead_lettered;
        let per_second = |now_count: u64, then: u64| {
            now_count.saturating_sub(then) as f64 / now.duration_since(view.at).as_secs_f64()
        };
        let latencies = metrics.latencies();
        let mut new_latencies = latencies.clone();
        new_latencies -= &view.latencies;
        self.display.second(&Second {
            elapsed: now.duration_since(view.start),
            rate_in: per_second(conservation.received, view.conservation.received),
            rate_out: per_second(done(&conservation), done(&view.conservation)),
            conservation,
            latencies: &new_latencies,
            restarts: metrics.restarts_total(),
        });
        let restarts = metrics.restarts();
        for (key @ (actor, reason), count) in &restarts {
            if view.restarts.get(key) != Some(count) {
                self.display.say(&format!("  healed: the {actor} actor was restarted ({reason})"));
            }
        }
        view.restarts = restarts;
        view.at = now;
        view.conservation = conservation;
        view.latencies = latencies;
        view.lines += 1;
        self.show_records(view);
    }

    fn show_records(&mut self, view: &mut View) {
        let mut own = usize::from(view.lines.is_multiple_of(RECORD_INTERVAL));
        if !view.first_records {
            own = RECORDS_FIRST;
        }
        let mut foreign = FOREIGN_MAX;
        while let Ok(sample) = self.samples.try_recv() {
            let room = if sample.foreign { &mut foreign } else { &mut own };
            if *room > 0 {
                *room -= 1;
                view.first_records |= !sample.foreign;
                self.display.record(&sample, KAFKA_TOPIC);
            }
        }
    }

    /// Stops the devices, waits for what they published, drains the bridge and shows the summary.
    async fn finish(mut self, json: bool) -> Result<(Exit, Report), DemoError> {
        self.display.say(
            "\nStopping: the devices stop, everything drains. (A second Ctrl-C leaves at once.)",
        );
        // Fails if the devices have ended.
        let _ = self.stop_devices.send(true);
        if timeout(PUBACK_TIMEOUT, &mut self.devices_done).await.is_err() {
            eprintln!("demo: some devices still wait for a PUBACK");
        }
        self.read_back().await;
        let metrics = Arc::clone(&self.bridge.metrics);
        let exit = self.bridge.drain().await;
        let consumer = self.consumer;
        let verifier = tokio::task::spawn_blocking(move || consumer.finish())
            .await
            .map_err(|_| DemoError::Consumer)??;
        let Conservation {
            received,
            redelivered,
            copies: _,
            delivered,
            dead_lettered,
            filtered,
            shed,
            in_flight,
        } = metrics.conservation();
        let report = Report {
            published: self.ledger.published_total(),
            received,
            redelivered,
            delivered,
            dead_lettered,
            filtered,
            shed,
            in_flight,
            lost: verifier.lost(|device| self.ledger.published_by(device)),
            duplicated: verifier.duplicated(),
            reordered: verifier.reordered(),
            restarts: metrics.restarts_total(),
        };
        self.mqtt.stop();
        self.kafka.stop();
        self.display.summary(&report);
        if json {
            self.display.json(&report);
        }
        Ok((exit, report))
    }

    /// Waits until every published message was read back, or no more come.
    async fn read_back(&mut self) {
        let mut seen = self.ledger.read_back_total();
        let mut progress_at = Instant::now();
        while self.ledger.read_back_total() < self.ledger.published_total()
            && progress_at.elapsed() < STALLED_AFTER
        {
            sleep(Duration::from_millis(50)).await;
            if self.ledger.read_back_total() != seen {
                seen = self.ledger.read_back_total();
                progress_at = Instant::now();
            }
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// A century.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The values that the display showed last.
struct View {
    start: Instant,
    at: Instant,
    conservation: Conservation,
    latencies: Histogram<u64>,
    restarts: BTreeMap<(Arc<str>, &'static str), u64>,
    lines: u64,
    first_records: bool,
}

impl View {
    fn new(start: Instant, metrics: &Metrics) -> Self {
        Self {
            start,
            at: start,
            conservation: Conservation::default(),
            latencies: metrics.latencies(),
            restarts: BTreeMap::new(),
            lines: 0,
            first_records: false,
        }
    }
}
