//! One run of the bridge: its threads, its actors, its end. The order of start and stop is the one
//! that [`crate::supervisor`] documents.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use actix::{System, SystemRegistry};
use actix_rt::Arbiter;
use slog::{Logger, error, info, o, warn};
use tokio::runtime::Builder;

use crate::config::Config;
use crate::exit::{Cause, Exit, Failure, is_exhausted};
use crate::http::{HttpServer, NotServed, Pages};
use crate::kafka::dead_letter::file::{DeadLetterFile, FileError};
use crate::kafka::{KafkaProducerActor, Probe};
use crate::mqtt::MqttActor;
use crate::mqtt::state_file::{StateError, StateFile};
use crate::observe::{Logging, Metrics, bridge_log_crate, install_hook, keys, panics};
use crate::stage::NextStage;
use crate::supervisor::{
    Drain, Heartbeat, Supervise, SupervisorActor, Watchdog, WatchedThread, guard,
};

/// How long the arbiters may take to end.
const JOIN_WITHIN: Duration = Duration::from_secs(1);

/// What outlives the actix system, to be taken down after it.
struct Threads {
    mqtt: Arbiter,
    kafka: Arbiter,
    watchdog: Watchdog,
    web: Option<Web>,
}

/// What serves health and metrics.
struct Web {
    probe: Probe,
    server: HttpServer,
}

/// Runs the bridge on this thread until `shutdown` completes and all is drained, or until it cannot
/// go on. `shutdown` is polled on the bridge's own runtime. A hung actor ends the whole process
/// ([`Exit::Hung`]), since a thread cannot be ended from outside.
///
/// # Panics
/// Within another actix system.
pub fn run(
    config: Config,
    logging: Logging,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
) -> Exit {
    let _flushed = logging.flush_guard();
    install_hook(&logging);
    bridge_log_crate(&logging);
    let log = logging.logger();
    info!(log, "starting"; keys::COMPONENT => "bridge", keys::VERSION => env!("CARGO_PKG_VERSION"));

    let exit = match live(config, &logging, &metrics, shutdown, &log) {
        Ok(exit) => exit,
        Err(NotStarted::System(error)) => {
            metrics.health().set_failure(Failure::new(Cause::NotStarted, error));
            Exit::Failed
        }
        Err(NotStarted::State(error)) => {
            error!(log, "state file of a newer bridge";
                keys::COMPONENT => "mqtt", keys::ERROR => %error);
            Exit::Configuration
        }
        Err(NotStarted::Http(address, error)) => {
            error!(log, "cannot listen on http.listen";
                keys::COMPONENT => "http", keys::HTTP_ADDRESS => %address, keys::ERROR => %error);
            Exit::Configuration
        }
        Err(NotStarted::DeadLetters(error)) => {
            error!(log, "dead letters cannot be written";
                keys::COMPONENT => "kafka", keys::ERROR => %error);
            Exit::Configuration
        }
    };
    say_end(exit, metrics.health().failure(), &log);
    exit
}

/// The last line of the log, which names the cause.
fn say_end(exit: Exit, failure: Option<&Failure>, log: &Logger) {
    let log = log.new(o!(keys::COMPONENT => "bridge", keys::EXIT_CODE => exit.code()));
    match (exit, failure) {
        (Exit::Drained, _) => info!(log, "stopped"),
        (Exit::Failed, Some(Failure { cause, detail })) => {
            error!(log, "stopped"; keys::REASON => cause.name(), keys::DETAIL => detail);
        }
        _ => error!(log, "stopped"; keys::REASON => exit.meaning()),
    }
}

/// From the first thread to the end of the last.
fn live(
    config: Config,
    logging: &Logging,
    metrics: &Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
    log: &Logger,
) -> Result<Exit, NotStarted> {
    let metrics = Arc::clone(metrics);
    // Libraries panic where the system gives no thread or no file handle.
    let started = panics::catch(|| {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let system = System::with_tokio_rt(|| runtime);
        let threads = system.block_on(async { start(config, logging, metrics, shutdown, log) })?;
        Ok::<_, NotStarted>((system, threads))
    });
    let (system, threads) = started.map_err(|panic| NotStarted::System(panic.message))??;
    let code = system.run_with_code();
    threads.watchdog.stop();
    if !join_within(JOIN_WITHIN, [threads.mqtt, threads.kafka]) {
        warn!(log, "an arbiter does not end, leaving without it"; keys::COMPONENT => "bridge");
    }
    if let Some(web) = threads.web {
        drop(web.probe);
        web.server.stop();
    }
    Ok(code.map_or(Exit::Failed, Exit::of_code))
}

/// Waits for the arbiters' threads, which actix does not join: without that the process could end
/// before they have dropped their actors. A look-up of a name or an fsync that hangs keeps its
/// arbiter from ending, and must not keep the process.
fn join_within(limit: Duration, arbiters: [Arbiter; 2]) -> bool {
    let (ended, end) = mpsc::channel();
    let join = move || {
        for arbiter in arbiters {
            // A panic of that thread has been logged by the hook.
            let _ = arbiter.join();
        }
        let _ = ended.send(());
    };
    match thread::Builder::new().name("join".to_owned()).spawn(join) {
        Ok(_) => end.recv_timeout(limit).is_ok(),
        Err(_) => false,
    }
}

/// Why a run does not begin.
enum NotStarted {
    /// The system gives no thread, no file handle or no memory, or a library panicked over that.
    System(String),
    /// The address for HTTP is not to be had. Without its probes the bridge would be killed sooner
    /// or later by whoever probes it: better at once, with the reason.
    Http(SocketAddr, io::Error),
    /// The first message that needs one would be held, and its connection with it.
    DeadLetters(FileError),
    /// What this version would not understand, it would lose.
    State(StateError),
}

impl From<FileError> for NotStarted {
    fn from(error: FileError) -> Self {
        match &error {
            FileError::Io { error: cause, .. } if is_exhausted(cause) => {
                Self::System(error.to_string())
            }
            _ => Self::DeadLetters(error),
        }
    }
}

impl From<io::Error> for NotStarted {
    fn from(error: io::Error) -> Self {
        Self::System(error.to_string())
    }
}

/// Starts what serves health and metrics, if the configuration asks for it.
fn start_web(
    config: &Config,
    logging: &Logging,
    metrics: &Arc<Metrics>,
    beats: Vec<Arc<Heartbeat>>,
    log: &Logger,
) -> Result<Option<Web>, NotStarted> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let pages = Arc::new(Pages::new(config, Arc::clone(metrics), beats, logging.clone()));
    let server = HttpServer::start(address, pages).map_err(|error| match error {
        NotServed::Address(error) => NotStarted::Http(address, error),
        NotServed::System(error) => NotStarted::System(error.to_string()),
    })?;
    info!(log, "http listens";
        keys::COMPONENT => "http", keys::HTTP_ADDRESS => %server.address());
    Ok(Some(Web { probe: Probe::start(config, Arc::clone(metrics))?, server }))
}

fn start(
    config: Config,
    logging: &Logging,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
    log: &Logger,
) -> Result<Threads, NotStarted> {
    let config = Arc::new(config);
    let [mqtt_beat, kafka_beat, supervisor_beat] =
        ["mqtt", "kafka", "supervisor"].map(|actor| Arc::new(Heartbeat::new(actor)));
    let beats = [&mqtt_beat, &kafka_beat, &supervisor_beat].map(Arc::clone).to_vec();
    if let Some(word) = DeadLetterFile::check(&config.dead_letter)? {
        warn!(log, "dead letter file"; keys::COMPONENT => "kafka", keys::DETAIL => word);
    }
    for warning in config.warnings() {
        warn!(log, "the configuration may have consequences that nobody wants";
            keys::COMPONENT => "mqtt", keys::DETAIL => warning);
    }
    let state = StateFile::of(&config);
    let held = match state.as_ref().map(StateFile::load) {
        Some(Ok(held)) => held,
        None => Vec::new(),
        Some(Err(error @ StateError::Newer { .. })) => return Err(NotStarted::State(error)),
        Some(Err(error @ StateError::Unusable { .. })) => {
            warn!(log, "no state file"; keys::COMPONENT => "mqtt", keys::ERROR => %error);
            Vec::new()
        }
    };
    // First, so that nothing else has begun if the address is not to be had.
    let web = start_web(&config, logging, &metrics, beats.clone(), log)?;
    let (kafka_arbiter, mqtt_arbiter) = (Arbiter::try_new()?, Arbiter::try_new()?);
    let watchdog = Watchdog::start(beats, config.supervisor.hang_after, logging.clone())?;

    let log_writer = logging.clone();
    let mut threads = vec![
        WatchedThread { name: "watchdog", is_finished: Box::new(watchdog.finished()) },
        WatchedThread { name: "log", is_finished: Box::new(move || log_writer.writer_finished()) },
    ];
    if let Some(web) = &web {
        threads.extend([
            WatchedThread { name: "http", is_finished: Box::new(web.server.finished()) },
            WatchedThread { name: "kafka-probe", is_finished: Box::new(web.probe.finished()) },
        ]);
    }
    let supervisor = SupervisorActor::new(
        config.supervisor.clone(),
        config.delivery.drain_deadline,
        Arc::clone(&metrics),
        log.new(o!(keys::COMPONENT => "supervisor")),
        supervisor_beat,
        threads,
    )
    .start();

    let kafka = {
        let (config, metrics, timing) =
            (Arc::clone(&config), Arc::clone(&metrics), logging.timing());
        let (log, heartbeat) = (log.clone(), Arc::clone(&kafka_beat));
        guard::start(
            &kafka_arbiter.handle(),
            supervisor.clone().recipient(),
            kafka_beat,
            move || KafkaProducerActor::new(config, log, metrics, timing, heartbeat),
        )
    };
    SystemRegistry::set(kafka.clone());

    let mqtt = {
        let (next, drained) = (NextStage::of(&kafka), supervisor.clone().recipient());
        let (log, heartbeat) = (log.clone(), Arc::clone(&mqtt_beat));
        guard::start(&mqtt_arbiter.handle(), supervisor.clone().recipient(), mqtt_beat, move || {
            let actor = MqttActor::new(&config, next, drained, &log, metrics, heartbeat);
            match state {
                Some(file) => actor.remembering(file, held),
                None => actor,
            }
        })
    };
    supervisor.do_send(Supervise { stop_intake: mqtt.recipient() });

    actix_rt::spawn(async move {
        shutdown.await;
        supervisor.do_send(Drain);
    });
    Ok(Threads { mqtt: mqtt_arbiter, kafka: kafka_arbiter, watchdog, web })
}
