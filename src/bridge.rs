//! One run of the bridge: its threads, its actors, its end. [`crate::supervisor`] documents the order of
//! start and stop.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use actix::{Addr, System, SystemRegistry};
use actix_rt::Arbiter;
use slog::{Logger, error, info, o, warn};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::config::Config;
use crate::exit::{Cause, Exit, Failure, is_exhausted};
use crate::http::{HttpServer, NotServed, Pages};
use crate::kafka::dead_letter::file::{DeadLetterFile, FileError};
use crate::kafka::{KafkaProducerActor, Login, LoginThread, Probe};
use crate::mqtt::state_file::{StateError, StateFile};
use crate::mqtt::subscriptions::Held;
use crate::mqtt::{MqttActor, Neighbours};
use crate::observe::{
    Logging, Metrics, TimingSink, bridge_log_crate, events, install_hook, keys, panics,
};
use crate::reload::number_routes;
use crate::reloader::{Reloader, Reloads};
use crate::stage::{NextStage, SourceId};
use crate::supervisor::{
    Drain, Heartbeat, Readiness, ServiceManager, ServiceStatus, Supervise, SupervisorActor,
    Telling, Watchdog, WatchedThread, guard,
};

/// How long the arbiters may take to end.
const JOIN_WITHIN: Duration = Duration::from_secs(1);

/// Threads that outlive the actix system and are stopped after it.
struct Threads {
    /// Of the MqttActors and of KafkaProducerActor.
    arbiters: Vec<Arbiter>,
    watchdog: Watchdog,
    /// Where readiness is shown.
    probe: Option<Probe>,
    http: Option<HttpServer>,
    /// Ends when it is dropped.
    _login: Option<LoginThread>,
}

/// Runs the bridge on this thread until `shutdown` completes and everything is drained, or until the
/// bridge cannot go on. `shutdown` is polled on the bridge's own runtime. A hung actor ends the whole process
/// ([`Exit::Hung`]), since a thread cannot be ended from outside.
///
/// `metrics` has the connections of `config`, by name ([`Config::connection_names`]).
///
/// # Panics
/// Within another actix system.
pub fn run(
    config: Config,
    logging: Logging,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
) -> Exit {
    run_until(config, logging, metrics, shutdown, (None, None), std::convert::identity)
}

/// [`run`] with a configuration that is read again when it is asked for or has changed.
///
/// # Panics
/// Within another actix system.
pub fn run_reloading(
    config: Config,
    logging: Logging,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
    reloads: Reloads,
) -> Exit {
    let extras = (None, Some(reloads));
    run_until(config, logging, metrics, shutdown, extras, std::convert::identity)
}

/// Leaves for good: runs the bridge until each connection of `config` has delivered all that its session
/// still has, has unsubscribed everything and has ended the session; or until `interrupt` completes, or
/// until nothing has moved for `delivery.drain_deadline` and `mqtt.connect_timeout`. What is not left
/// then is kept by the broker: [`Exit::DeadlinePassed`]. Serves no HTTP, and says no status.
///
/// `metrics` as for [`run`].
///
/// # Panics
/// Within another actix system.
pub fn leave(
    mut config: Config,
    logging: Logging,
    metrics: Arc<Metrics>,
    interrupt: impl Future<Output = ()> + 'static,
) -> Exit {
    // Whoever still runs under this configuration has that address, or has said that it is gone.
    config.http.listen = None;
    config.connections.iter_mut().for_each(|mqtt| mqtt.status = None);
    let leaving = config.connections.len();
    let all_left = Rc::new(Cell::new(false));
    let (departed, mut departures) = unbounded_channel();
    let shutdown = {
        let all_left = Rc::clone(&all_left);
        async move {
            let departing = async {
                let mut left = true;
                for _ in 0..leaving {
                    left &= departures.recv().await.unwrap_or_default();
                }
                left
            };
            tokio::select! {
                left = departing => all_left.set(left),
                () = interrupt => {}
            }
        }
    };
    let judge = move |exit| match exit {
        Exit::Drained if !all_left.get() => Exit::DeadlinePassed,
        exit => exit,
    };
    run_until(config, logging, metrics, shutdown, (Some(departed), None), judge)
}

/// Who is told that a connection has left for good, and where the configuration is read again.
type Extras = (Option<UnboundedSender<bool>>, Option<Reloads>);

/// See [`run`], [`run_reloading`] and [`leave`]. `judge` has the last word on how it ended.
fn run_until(
    config: Config,
    logging: Logging,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
    extras: Extras,
    judge: impl FnOnce(Exit) -> Exit,
) -> Exit {
    let _flushed = logging.flush_guard();
    install_hook(&logging);
    bridge_log_crate(&logging);
    let log = logging.logger();
    info!(log, "starting"; events::STARTING, keys::COMPONENT => "bridge", keys::VERSION => env!("CARGO_PKG_VERSION"));

    let exit = match live(config, &logging, &metrics, shutdown, extras, &log) {
        Ok(exit) => judge(exit),
        Err(NotStarted::System(error)) => {
            metrics.health().set_failure(Failure::new(Cause::NotStarted, error));
            Exit::Failed
        }
        Err(NotStarted::State(error)) => {
            error!(log, "state file was written by a newer version"; events::STATE_FILE_TOO_NEW,
                keys::COMPONENT => "mqtt", keys::ERROR => %error);
            Exit::Configuration
        }
        Err(NotStarted::Http(address, error)) => {
            error!(log, "cannot listen on http.listen"; events::HTTP_ADDRESS_UNUSABLE,
                keys::COMPONENT => "http", keys::HTTP_ADDRESS => %address, keys::ERROR => %error);
            Exit::Configuration
        }
        Err(NotStarted::HttpFile(error)) => {
            error!(log, "http file cannot be used"; events::HTTP_FILE_UNUSABLE, keys::COMPONENT => "http", keys::ERROR => error);
            Exit::Configuration
        }
        Err(NotStarted::DeadLetters(error)) => {
            error!(log, "dead letters cannot be written"; events::DEAD_LETTER_FILE_UNUSABLE,
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
        (Exit::Drained, _) => info!(log, "stopped"; events::STOPPED),
        (Exit::Failed, Some(Failure { cause, detail })) => {
            error!(log, "stopped"; events::STOPPED_BY_FAILURE,
                keys::REASON => cause.name(), keys::DETAIL => detail);
        }
        _ => error!(log, "stopped"; events::STOPPED_BY_FAILURE, keys::REASON => exit.meaning()),
    }
}

/// From the first thread to the end of the last.
fn live(
    config: Config,
    logging: &Logging,
    metrics: &Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
    extras: Extras,
    log: &Logger,
) -> Result<Exit, NotStarted> {
    let metrics = Arc::clone(metrics);
    // Libraries panic where the system gives no thread or no file handle.
    let started = panics::catch(|| {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let system = System::with_tokio_rt(|| runtime);
        let threads =
            system.block_on(async { start(config, logging, metrics, shutdown, extras, log) })?;
        Ok::<_, NotStarted>((system, threads))
    });
    let (system, threads) = started.map_err(|panic| NotStarted::System(panic.message))??;
    let code = system.run_with_code();
    threads.watchdog.stop();
    if !join_within(JOIN_WITHIN, threads.arbiters) {
        warn!(log, "actor thread did not stop in time, exiting anyway"; events::ACTOR_THREAD_LATE, keys::COMPONENT => "bridge");
    }
    drop(threads.probe);
    if let Some(http) = threads.http {
        http.stop();
    }
    Ok(code.map_or(Exit::Failed, Exit::of_code))
}

/// Waits for the arbiters' threads, which actix does not join: otherwise the process could end before
/// they have dropped their actors. A name lookup or an fsync that hangs keeps its arbiter from ending,
/// but must not keep the process.
fn join_within(limit: Duration, arbiters: Vec<Arbiter>) -> bool {
    let (ended, end) = mpsc::channel();
    let join = move || {
        for arbiter in arbiters {
            // The hook has logged a panic of that thread.
            let _ = arbiter.join();
        }
        let _ = ended.send(());
    };
    match thread::Builder::new().name("join".to_owned()).spawn(join) {
        Ok(_) => end.recv_timeout(limit).is_ok(),
        Err(_) => false,
    }
}

/// Why a run cannot begin.
enum NotStarted {
    /// The system gives no thread, no file handle or no memory, or a library panicked over that.
    System(String),
    /// The address for HTTP is taken. Fail at start with the reason instead of being killed later by
    /// whoever probes it.
    Http(SocketAddr, io::Error),
    /// A file of `[http]` cannot be used: without it the pages would be open, or closed to everybody.
    HttpFile(String),
    /// Dead letters cannot be written: the first message that needs one would be held, and its
    /// connection with it.
    DeadLetters(FileError),
    /// A newer version wrote the state file: this one would lose what it does not understand.
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

/// Starts the HTTP server, if the configuration asks for it.
fn start_http(
    config: &Config,
    readiness: &Arc<Readiness>,
    logging: &Logging,
    log: &Logger,
) -> Result<Option<HttpServer>, NotStarted> {
    let Some(address) = config.http.listen else { return Ok(None) };
    let pages = Arc::new(Pages::new(config, Arc::clone(readiness), logging.clone()));
    let server = HttpServer::start(address, &config.http, pages).map_err(|error| match error {
        NotServed::Address(error) => NotStarted::Http(address, error),
        NotServed::File(error) => NotStarted::HttpFile(error),
        NotServed::System(error) => NotStarted::System(error.to_string()),
    })?;
    info!(log, "http server listening"; events::HTTP_LISTENING,
        keys::COMPONENT => "http", keys::HTTP_ADDRESS => %server.address());
    Ok(Some(server))
}

/// The service manager, if one wants to be told.
fn service_manager(log: &Logger) -> Option<ServiceManager> {
    ServiceManager::from_env().unwrap_or_else(|error| {
        warn!(log, "cannot tell the service manager"; events::SERVICE_MANAGER_UNREACHABLE, keys::COMPONENT => "bridge", keys::ERROR => %error);
        None
    })
}

/// Starts everything, in the order that [`crate::supervisor`] documents.
fn start(
    mut config: Config,
    logging: &Logging,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + 'static,
    (departed, reloads): Extras,
    log: &Logger,
) -> Result<Threads, NotStarted> {
    number_routes(&mut config, metrics.route_names(), []);
    let config = Arc::new(config);
    warn_of(&config, log)?;
    let sources = (0..).map(SourceId).take(config.connections.len());
    let connections = sources.map(|source| Connection::new(&config, source, &metrics, log));
    let connections = connections.collect::<Result<Vec<_>, _>>()?;
    let [kafka_beat, supervisor_beat] =
        ["kafka", "supervisor"].map(|actor| Arc::new(Heartbeat::new(actor)));
    let login = Arc::new(Login::new(Arc::clone(&config)));
    let beats = connections.iter().map(|connection| &connection.heartbeat);
    let beats: Vec<_> = beats.chain([&kafka_beat, &supervisor_beat]).map(Arc::clone).collect();
    let readiness = Arc::new(Readiness::new(&config, Arc::clone(&metrics), beats.clone()));
    // First: if the address is taken, nothing else has begun.
    let http = start_http(&config, &readiness, logging, log)?;
    let manager = service_manager(log);
    // Before the first client is made: a change after its first look at the files is noticed.
    let login_thread = LoginThread::start(&login, log)?;
    let probe = (http.is_some() || manager.is_some())
        .then(|| Probe::start(&config, &login, Arc::clone(&metrics)))
        .transpose()?;
    let arbiters = connections.iter().map(|_| Arbiter::try_new());
    let mut arbiters = arbiters.collect::<Result<Vec<_>, _>>()?;
    let kafka_arbiter = Arbiter::try_new()?;
    let hang_after = config.supervisor.hang_after;
    let watchdog = Watchdog::start(beats, hang_after, manager.clone(), logging.clone())?;
    let mut threads = watched_threads(logging, &watchdog);
    threads.extend(http.as_ref().map(|it| WatchedThread::new("http", it.finished())));
    threads.extend(probe.as_ref().map(|it| WatchedThread::new("kafka-probe", it.finished())));
    threads
        .extend(login_thread.as_ref().map(|it| WatchedThread::new("kafka-login", it.finished())));
    let supervisor = SupervisorActor::new(
        config.supervisor.clone(),
        config.delivery.drain_deadline,
        Arc::clone(&metrics),
        log.new(o!(keys::COMPONENT => "supervisor")),
        supervisor_beat,
        threads,
        Telling {
            summary_every: config.log.summary,
            // Without the probe nobody asks Kafka; and who leaves has no use for it.
            readiness: (probe.is_some() && departed.is_none()).then(|| Arc::clone(&readiness)),
            status: manager.map(|manager| ServiceStatus::new(manager, Arc::clone(&readiness))),
        },
    )
    .start();

    let kafka = {
        let (config, metrics, timing) =
            (Arc::clone(&config), Arc::clone(&metrics), logging.timing());
        let login = Arc::clone(&login);
        let (log, heartbeat) = (log.clone(), Arc::clone(&kafka_beat));
        guard::start(
            &kafka_arbiter.handle(),
            supervisor.clone().recipient(),
            kafka_beat,
            move || KafkaProducerActor::new(config, login, log, metrics, timing, heartbeat),
        )
    };
    SystemRegistry::set(kafka.clone());
    let connections = connections.into_iter().zip(&arbiters).map(|(connection, arbiter)| {
        let (next, shown) = (NextStage::of(&kafka), (Arc::clone(&metrics), logging.timing()));
        let departed = departed.clone();
        connection.start(arbiter, &config, next, &supervisor, shown, departed)
    });
    let connections: Vec<_> = connections.collect();
    let intakes = connections.iter().map(|connection| connection.clone().recipient()).collect();
    supervisor.do_send(Supervise { intakes });
    if let Some(reloads) = reloads {
        let reloader = Reloader {
            config,
            connections: connections.into_iter().map(Addr::recipient).collect(),
            supervisor: supervisor.clone().recipient(),
            readiness,
            probe: probe.as_ref().map(Probe::config),
            metrics,
            logging: logging.clone(),
            log: log.new(o!(keys::COMPONENT => "reload")),
        };
        actix_rt::spawn(reloader.run(reloads));
    }
    arbiters.push(kafka_arbiter);

    actix_rt::spawn(async move {
        shutdown.await;
        supervisor.do_send(Drain);
    });
    Ok(Threads { arbiters, watchdog, probe, http, _login: login_thread })
}

/// Logs what a person should know of the configuration before the start.
fn warn_of(config: &Config, log: &Logger) -> Result<(), NotStarted> {
    if let Some(word) = DeadLetterFile::check(&config.dead_letter)? {
        warn!(log, "dead letter file warning"; events::DEAD_LETTER_WARNING, keys::COMPONENT => "kafka", keys::DETAIL => word);
    }
    for warning in config.warnings() {
        warn!(log, "configuration warning"; events::CONFIGURATION_WARNING, keys::COMPONENT => "bridge", keys::DETAIL => warning);
    }
    Ok(())
}

/// The threads whose end ends the bridge, that every bridge has.
fn watched_threads(logging: &Logging, watchdog: &Watchdog) -> Vec<WatchedThread> {
    let logging = logging.clone();
    vec![
        WatchedThread::new("watchdog", watchdog.finished()),
        WatchedThread::new("log", move || logging.writer_finished()),
    ]
}

/// An MqttActor that is about to start.
struct Connection {
    source: SourceId,
    heartbeat: Arc<Heartbeat>,
    /// The state file, and the subscriptions that it remembers.
    state: Option<(StateFile, Vec<Held>)>,
    log: Logger,
}

impl Connection {
    fn new(
        config: &Config,
        source: SourceId,
        metrics: &Metrics,
        log: &Logger,
    ) -> Result<Self, NotStarted> {
        let mqtt = &config.connections[usize::from(source.0)];
        let log = match metrics.distinct_name(source) {
            Some(name) => log.new(o!(keys::CONNECTION => name.to_string())),
            None => log.clone(),
        };
        let file = StateFile::of(config.data_dir.as_deref(), mqtt);
        let state = match file.map(|file| (file.load(), file)) {
            None => None,
            Some((Ok(held), file)) => Some((file, held)),
            Some((Err(error @ StateError::Newer { .. }), _)) => {
                return Err(NotStarted::State(error));
            }
            Some((Err(error @ StateError::Unusable { .. }), file)) => {
                warn!(log, "state file unusable, starting without it"; events::STATE_FILE_UNUSABLE, keys::COMPONENT => "mqtt", keys::ERROR => %error);
                Some((file, Vec::new()))
            }
        };
        let heartbeat = Arc::new(Heartbeat::new(Arc::clone(metrics.connection(source).actor())));
        Ok(Self { source, heartbeat, state, log })
    }

    fn start(
        self,
        arbiter: &Arbiter,
        config: &Arc<Config>,
        next: NextStage,
        supervisor: &Addr<SupervisorActor>,
        (metrics, timing): (Arc<Metrics>, TimingSink),
        departed: Option<UnboundedSender<bool>>,
    ) -> Addr<MqttActor> {
        let Self { source, heartbeat, state, log } = self;
        let (config, drained) = (Arc::clone(config), supervisor.clone().recipient());
        let beat = Arc::clone(&heartbeat);
        let make = move || {
            let mqtt = config.connections[usize::from(source.0)].clone();
            let neighbours = Neighbours { next, drained, log, metrics, timing, heartbeat: beat };
            let patience = config.delivery.drain_deadline + mqtt.connect_timeout;
            let actor = MqttActor::new(source, mqtt, &config, neighbours);
            match (departed, state) {
                (None, None) => actor,
                (None, Some((file, held))) => actor.remembering(file, held),
                (Some(departed), None) => actor.leaving(None, Vec::new(), patience, departed),
                (Some(departed), Some((file, held))) => {
                    actor.leaving(Some(file), held, patience, departed)
                }
            }
        };
        guard::start(&arbiter.handle(), supervisor.clone().recipient(), heartbeat, make)
    }
}
