//! A whole toy system through its life, in the order that the module's documentation gives.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt as _, Addr, AsyncContext, Context, Handler, Message,
    Recipient, Supervised, System, SystemRegistry, SystemService, fut,
};
use actix_rt::Arbiter;
use serde_json::Value;
use slog::o;

use super::*;
use crate::config::SupervisorConfig;
use crate::exit::Exit;
use crate::observe::test_support::{PATIENCE, hook_turn, json_lines, json_log};
use crate::observe::{Conservation, Logging, Metrics, install_hook, keys};
use crate::stage::SourceId;

/// What a toy is told to do; `seen` of both toys lists the numbers, in order.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
enum Order {
    Note(u32),
    PanicInHandler,
    PanicInSpawned,
    PanicInWait,
    PanicInNextStart,
    PanicInRestarting,
    Stop,
    Block(Duration),
}

/// What outlives the toy's restarts.
#[derive(Clone, Default)]
struct Toy {
    seen: Arc<Mutex<Vec<u32>>>,
    starts: Arc<AtomicU32>,
    restarts: Arc<AtomicU32>,
    stop_intakes: Arc<AtomicU32>,
    dropped: Arc<AtomicU32>,
    panic_in_start: Arc<AtomicU32>,
    panic_in_restarting: Arc<AtomicU32>,
    heartbeat: Option<Arc<Heartbeat>>,
    /// Gets `Drained` at StopIntake, if the toy is to drain, from this connection.
    supervisor: Option<Recipient<Drained>>,
    source: u16,
    /// The n-th StopIntake makes it panic.
    panic_at_stop_intake: u32,
}

/// Two types, since a registry holds one of each.
struct ToyActor<const KAFKA: bool> {
    toy: Toy,
    _alive: CountDrop,
}

struct CountDrop(Arc<AtomicU32>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl<const KAFKA: bool> ToyActor<KAFKA> {
    fn new(toy: Toy) -> Self {
        let alive = CountDrop(Arc::clone(&toy.dropped));
        Self { toy, _alive: alive }
    }
}

fn take_turn(countdown: &AtomicU32) -> bool {
    countdown.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok()
}

impl<const KAFKA: bool> Actor for ToyActor<KAFKA> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.toy.starts.fetch_add(1, SeqCst);
        if take_turn(&self.toy.panic_in_start) {
            panic!("in started");
        }
        ctx.run_interval(Duration::from_millis(10), |toy, _| {
            if let Some(heartbeat) = &toy.toy.heartbeat {
                heartbeat.beat();
            }
        });
    }
}

impl<const KAFKA: bool> Supervised for ToyActor<KAFKA> {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.toy.restarts.fetch_add(1, SeqCst);
        if take_turn(&self.toy.panic_in_restarting) {
            panic!("in restarting");
        }
        *self = Self::new(self.toy.clone());
    }
}

impl<const KAFKA: bool> Default for ToyActor<KAFKA> {
    fn default() -> Self {
        panic!("only run() builds it");
    }
}

impl<const KAFKA: bool> SystemService for ToyActor<KAFKA> {}

impl<const KAFKA: bool> Handler<Order> for ToyActor<KAFKA> {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        match order {
            Order::Note(number) => self.toy.seen.lock().expect("no poison").push(number),
            Order::PanicInHandler => panic!("in handler"),
            Order::PanicInSpawned => {
                ctx.spawn(fut::ready(()).map(|(), _, _| panic!("in spawned")));
            }
            Order::PanicInWait => {
                ctx.wait(fut::ready(()).map(|(), _, _| panic!("in wait")));
            }
            Order::PanicInNextStart => {
                self.toy.panic_in_start.store(1, SeqCst);
                panic!("in handler");
            }
            Order::PanicInRestarting => {
                self.toy.panic_in_restarting.store(1, SeqCst);
                panic!("in handler");
            }
            Order::Stop => ctx.stop(),
            Order::Block(time) => thread::sleep(time),
        }
    }
}

impl<const KAFKA: bool> Handler<StopIntake> for ToyActor<KAFKA> {
    type Result = ();

    fn handle(&mut self, _: StopIntake, _: &mut Self::Context) {
        let nth = self.toy.stop_intakes.fetch_add(1, SeqCst) + 1;
        if nth == self.toy.panic_at_stop_intake {
            panic!("dies with its StopIntake");
        }
        if let Some(supervisor) = &self.toy.supervisor {
            supervisor.do_send(Drained { source: SourceId(self.toy.source), unacknowledged: 1 });
        }
    }
}

/// What a story has in its hands while the system runs.
struct Running {
    mqtt: Addr<ToyActor<false>>,
    kafka: Addr<ToyActor<true>>,
    supervisor: Addr<SupervisorActor>,
    metrics: Arc<Metrics>,
    mqtt_toy: Toy,
    /// Of another MQTT connection.
    west_toy: Toy,
    kafka_toy: Toy,
    /// Set it, and the watched thread has "ended".
    thread_ended: Arc<AtomicU32>,
    registered: mpsc::Receiver<bool>,
    system: System,
}

/// How a run ended.
struct Ended {
    code: i32,
    /// Why it failed by itself; empty: it did not.
    failure: String,
    records: Vec<Value>,
}

impl Ended {
    fn records(&self, msg: &str) -> Vec<&Value> {
        self.records.iter().filter(|record| record["msg"] == msg).collect()
    }
}

struct Setup {
    drains: bool,
    west_drains: bool,
    panic_at_stop_intake: u32,
    drain_deadline: Duration,
    failures_max: u32,
    backoff: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            drains: true,
            west_drains: true,
            panic_at_stop_intake: 0,
            drain_deadline: PATIENCE,
            failures_max: 8,
            backoff: Duration::from_millis(1),
        }
    }
}

/// Runs the system on a thread of its own while `story` plays on this one.
fn play(setup: Setup, story: impl FnOnce(&Running)) -> Ended {
    let (logging, lines) = json_log();
    {
        // For the locations of panics.
        let _turn = hook_turn();
        install_hook(&logging);
    }
    let (started, running) = mpsc::channel();
    let in_system = logging.clone();
    let system = thread::spawn(move || run(setup, &in_system, &started));
    let running = running.recv_timeout(PATIENCE).expect("the system starts");
    // A story that ends the system at once would else meet actors that were never built.
    for toy in [&running.mqtt_toy, &running.west_toy, &running.kafka_toy] {
        wait_for("an actor", || toy.starts.load(SeqCst) > 0);
    }
    story(&running);
    let deadline = Instant::now() + PATIENCE;
    while !system.is_finished() {
        assert!(Instant::now() < deadline, "the system lingers:\n{}", lines.text());
        thread::sleep(Duration::from_millis(1));
    }
    let code = system.join().expect("no panic");
    let toys = [&running.mqtt_toy, &running.west_toy, &running.kafka_toy];
    for (name, toy) in ["mqtt", "mqtt:west", "kafka"].into_iter().zip(toys) {
        let (dropped, restarts) = (toy.dropped.load(SeqCst), toy.restarts.load(SeqCst));
        assert!(dropped > 0 && dropped <= restarts + 1, "{name} {dropped} {restarts}: joined");
    }
    logging.flush();
    let failure = running.metrics.health().failure().map(ToString::to_string);
    Ended { code, failure: failure.unwrap_or_default(), records: json_lines(&lines) }
}

fn quiet() -> Telling {
    Telling { summary_every: PATIENCE, readiness: None, status: None }
}

/// The sequence of the module's documentation.
fn run(setup: Setup, logging: &Logging, started: &mpsc::Sender<Running>) -> i32 {
    let metrics = Arc::new(Metrics::new(["mqtt".into(), "west".into()]));
    let system = System::new();
    let (arbiters, watchdog) = system.block_on(async {
        let [mqtt_beat, west_beat, kafka_beat] =
            ["mqtt", "mqtt:west", "kafka"].map(Heartbeat::new).map(Arc::new);
        let beats = [&mqtt_beat, &west_beat, &kafka_beat].map(Arc::clone).to_vec();
        let watchdog = Watchdog::start(beats, PATIENCE, None, logging.clone()).expect("a thread");
        let arbiters = [Arbiter::new(), Arbiter::new(), Arbiter::new()];
        let thread_ended = Arc::new(AtomicU32::new(0));
        let ended = Arc::clone(&thread_ended);
        let finished = watchdog.finished();
        let supervisor = SupervisorActor::new(
            SupervisorConfig {
                backoff_min: setup.backoff,
                backoff_max: setup.backoff,
                failures_max: setup.failures_max,
                hang_after: PATIENCE,
            },
            setup.drain_deadline,
            Arc::clone(&metrics),
            logging.logger().new(o!(keys::COMPONENT => "supervisor")),
            Arc::new(Heartbeat::new("supervisor")),
            vec![
                WatchedThread { name: "watchdog", is_finished: Box::new(finished) },
                WatchedThread {
                    name: "toy",
                    is_finished: Box::new(move || ended.load(SeqCst) > 0),
                },
            ],
            quiet(),
        )
        .start();

        let kafka_toy = Toy { heartbeat: Some(Arc::clone(&kafka_beat)), ..Toy::default() };
        let toy = kafka_toy.clone();
        let kafka = guard::start(
            &arbiters[1].handle(),
            supervisor.clone().recipient(),
            kafka_beat,
            move || ToyActor::<true>::new(toy),
        );
        SystemRegistry::set(kafka.clone());

        let connection =
            |source, arbiter: &Arbiter, beat: Arc<Heartbeat>, drains: bool, panic_at| {
                let toy = Toy {
                    heartbeat: Some(Arc::clone(&beat)),
                    supervisor: drains.then(|| supervisor.clone().recipient()),
                    source,
                    panic_at_stop_intake: panic_at,
                    ..Toy::default()
                };
                let own = toy.clone();
                let make = move || ToyActor::<false>::new(own);
                let down = supervisor.clone().recipient();
                (guard::start(&arbiter.handle(), down, beat, make), toy)
            };
        let panic_at = setup.panic_at_stop_intake;
        let (mqtt, mqtt_toy) = connection(0, &arbiters[0], mqtt_beat, setup.drains, panic_at);
        let (west, west_toy) = connection(1, &arbiters[2], west_beat, setup.west_drains, 0);
        let intakes = vec![mqtt.clone().recipient(), west.recipient()];
        supervisor.do_send(Supervise { intakes });

        let (registered, is_registered) = mpsc::channel();
        registered
            .send(ToyActor::<true>::from_registry() == kafka)
            .expect("the receiver is in this function");
        let metrics = Arc::clone(&metrics);
        let running = Running {
            mqtt,
            kafka,
            supervisor,
            metrics,
            mqtt_toy,
            west_toy,
            kafka_toy,
            thread_ended,
            registered: is_registered,
            system: System::current(),
        };
        started.send(running).expect("the story listens");
        (arbiters, watchdog)
    });
    let code = system.run_with_code().expect("a code");
    for arbiter in arbiters {
        arbiter.join().expect("it ends");
    }
    watchdog.stop();
    code
}

fn wait_for(what: &str, reached: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_way_to_fail_is_survived_by_address_mailbox_and_registry_entry() {
    let failures = [
        (Order::PanicInHandler, "panic", 1),
        (Order::PanicInSpawned, "panic", 1),
        (Order::PanicInWait, "panic", 1),
        (Order::Stop, "stopped", 1),
        (Order::PanicInNextStart, "panic", 2),
        (Order::PanicInRestarting, "panic", 2),
    ];
    for (failure, reason, restarts) in failures {
        let ended = play(Setup::default(), |running| {
            assert_eq!(running.registered.recv_timeout(PATIENCE), Ok(true));
            // What is queued behind the failure is handled after it.
            running.kafka.do_send(Order::Block(Duration::from_millis(20)));
            running.kafka.do_send(failure);
            for number in 0..8 {
                running.kafka.do_send(Order::Note(number));
            }
            running.mqtt.do_send(Order::Note(7));
            let seen = |toy: &Toy| toy.seen.lock().expect("no poison").clone();
            wait_for("the queue", || seen(&running.kafka_toy).len() == 8);
            wait_for("the neighbour", || seen(&running.mqtt_toy) == [7]);
            wait_for("the restart", || running.metrics.restarts_total() == restarts);
            assert_eq!(seen(&running.kafka_toy), (0..8).collect::<Vec<_>>(), "{failure:?}");
            assert!(running.kafka.connected());
            // The same address is still in the registry, and reaches the actor.
            System::set_current(running.system.clone());
            assert!(ToyActor::<true>::from_registry() == running.kafka);
            ToyActor::<true>::from_registry().do_send(Order::Note(8));
            wait_for("the registry's actor", || seen(&running.kafka_toy).len() == 9);
            assert_eq!(running.metrics.restarts().get(&("kafka".into(), reason)), Some(&restarts));
            assert_eq!(running.mqtt_toy.starts.load(SeqCst), 1, "nobody else restarts");
            running.supervisor.do_send(Drain);
        });
        assert_eq!(ended.code, Exit::Drained.code(), "{failure:?}");
        let failed = ended.records("actor failed, will restart");
        assert_eq!(failed.len() as u64, restarts, "one record each: {:?}", ended.records);
        assert_eq!((&failed[0]["actor"], &failed[0]["reason"]), (&"kafka".into(), &reason.into()));
        assert_eq!(failed[0]["component"], "supervisor");
        if reason == "panic" {
            assert!(failed[0]["panic"].as_str().expect("text").starts_with("in "));
            let location = failed[0]["location"].as_str().expect("text");
            assert!(location.contains("supervisor/tests.rs:"), "{location}");
        }
        assert_eq!(failed[0]["failures"], 1);
    }
}

#[test]
fn a_failure_that_comes_back_each_time_ends_with_70() {
    let ended = play(Setup { failures_max: 4, ..Setup::default() }, |running| {
        for _ in 0..10 {
            running.mqtt.do_send(Order::PanicInHandler);
        }
    });
    assert_eq!(ended.code, Exit::Failed.code());
    assert_eq!(ended.records("actor failed, will restart").len(), 3);
    let spent = ended.records("restart budget spent");
    assert_eq!(spent.len(), 1);
    assert_eq!((&spent[0]["failures"], &spent[0]["exit_code"]), (&4.into(), &70.into()));
    assert_eq!(spent[0]["panic"], "in handler");
    assert_eq!(ended.failure, "actor_failed: mqtt: 4 times in a row, now: panic in handler");
}

#[test]
fn an_actor_that_cannot_be_built_ends_with_70() {
    let ended = play(Setup::default(), |running| {
        let arbiter = running.system.arbiter().clone();
        let beat = Arc::new(Heartbeat::new("third"));
        let supervisor = running.supervisor.clone().recipient();
        guard::start(&arbiter, supervisor, beat, ToyActor::<false>::default);
    });
    assert_eq!(ended.code, Exit::Failed.code());
    assert_eq!(ended.records("actor cannot be built")[0]["panic"], "only run() builds it");
    assert!(ended.failure.starts_with("actor_not_built: third: "), "{}", ended.failure);
}

#[test]
fn a_drain_that_comes_to_its_end_is_0_also_across_a_restart() {
    let setup = Setup { panic_at_stop_intake: 1, ..Setup::default() };
    let ended = play(setup, |running| {
        running.supervisor.do_send(Drain);
        running.supervisor.do_send(Drain);
    });
    assert_eq!(ended.code, Exit::Drained.code());
    assert_eq!(ended.records("draining").len(), 1);
    assert_eq!(ended.records("actor failed, will restart").len(), 1);
    let drained = ended.records("drained");
    assert_eq!(
        (drained.len(), &drained[0]["unacknowledged"]),
        (1, &2.into()),
        "of both connections"
    );
}

#[test]
fn a_drain_waits_for_each_connection() {
    let drain_deadline = Duration::from_millis(100);
    let setup = Setup { west_drains: false, drain_deadline, ..Setup::default() };
    let ended = play(setup, |running| running.supervisor.do_send(Drain));
    assert_eq!(ended.code, Exit::DeadlinePassed.code());
    assert!(ended.records("drained").is_empty());
}

#[test]
fn what_one_connection_settles_proves_nothing_for_the_actor_of_another() {
    let metrics = Arc::new(Metrics::new(["mqtt".into(), "west".into()]));
    let settled = |delivered| Conservation { received: delivered, delivered, ..Default::default() };
    metrics.connections()[0].set_conservation(settled(3));
    metrics.connections()[1].set_conservation(settled(4));
    let config = crate::config::Config::for_test().supervisor;
    let log = slog::Logger::root(slog::Discard, o!());
    let beat = Arc::new(Heartbeat::new("supervisor"));
    let actor = SupervisorActor::new(config, PATIENCE, metrics, log, beat, Vec::new(), quiet());
    let settled = ["mqtt", "mqtt:west", "kafka"].map(|name| actor.settled(name));
    assert_eq!(settled, [3, 4, 7]);
}

#[test]
fn a_drain_deadline_that_passes_is_3_and_says_what_is_in_flight() {
    let drain_deadline = Duration::from_millis(50);
    let setup = Setup { drains: false, drain_deadline, ..Setup::default() };
    let ended = play(setup, |running| {
        let in_flight = Conservation { received: 5, in_flight: 5, ..Conservation::default() };
        running.metrics.connections()[0].set_conservation(in_flight);
        running.supervisor.do_send(Drain);
    });
    assert_eq!(ended.code, Exit::DeadlinePassed.code());
    assert_eq!(ended.records("drain deadline passed")[0]["in_flight"], 5);
}

#[test]
fn the_end_of_a_thread_of_ours_drains_and_is_70() {
    let ended = play(Setup::default(), |running| running.thread_ended.store(1, SeqCst));
    assert_eq!(ended.code, Exit::Failed.code());
    assert_eq!(ended.records("thread ended")[0]["thread"], "toy");
    assert_eq!(ended.failure, "thread_ended: toy");
    assert_eq!(ended.records("drained").len(), 1);
    assert_eq!(ended.records("summary").len(), 1, "at the end");
}

#[derive(Message)]
#[rtype(result = "()")]
struct Die;

impl Handler<Die> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Die, _: &mut Self::Context) {
        panic!("the supervisor itself");
    }
}

#[test]
fn the_end_of_the_supervisor_itself_is_70() {
    let ended = play(Setup { backoff: PATIENCE, ..Setup::default() }, |running| {
        // One child waits for its word, and does not linger either.
        running.kafka.do_send(Order::PanicInHandler);
        wait_for("the failure", || running.metrics.restarts_total() == 1);
        running.supervisor.do_send(Die);
    });
    assert_eq!(ended.code, Exit::Failed.code());
    let records = ended.records("supervisor ended");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["panic"], "the supervisor itself");
    assert_eq!(ended.failure, "supervisor_ended: the supervisor itself");
}

#[test]
fn a_child_that_waits_for_its_restart_owes_no_progress() {
    let ended =
        play(Setup { backoff: Duration::from_millis(400), ..Setup::default() }, |running| {
            let heartbeat = running.kafka_toy.heartbeat.clone().expect("it has one");
            let slowest = AtomicU64::new(0);
            running.kafka.do_send(Order::Stop);
            wait_for("the restart", || {
                slowest.fetch_max(heartbeat.silent_for().as_millis() as u64, SeqCst);
                running.kafka_toy.starts.load(SeqCst) == 2
            });
            assert!(slowest.load(SeqCst) < 190, "the pause is 200 ms at least");
            running.supervisor.do_send(Drain);
        });
    assert_eq!(ended.code, Exit::Drained.code());
}
