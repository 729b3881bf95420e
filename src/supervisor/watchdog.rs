//! Ends the process when an actor hangs: a blocked thread cannot be killed or restarted.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slog::{error, o};

use super::heartbeat::Heartbeat;
use super::readiness::silent_max;
use super::service_manager::ServiceManager;
use super::thread::{Stop, StoppableThread};
use crate::exit::Exit;
use crate::observe::{Logging, events, keys};

/// The watchdog's thread. It checks all heartbeats several times in `hang_after`.
#[derive(Debug)]
pub struct Watchdog(StoppableThread);

/// An actor that made no progress for too long.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hang {
    actor: Arc<str>,
    silent: Duration,
}

impl Watchdog {
    /// When one of the heartbeats has been silent for longer than `hang_after`: logs it, flushes the
    /// log, and ends the process with [`Exit::Hung`].
    ///
    /// An actor that waits for an unreachable broker does not hang: its timer goes on beating.
    ///
    /// Tells `manager`, as often as it wants, that the bridge makes progress: as long as every actor does, and
    /// this thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        heartbeats: Vec<Arc<Heartbeat>>,
        hang_after: Duration,
        manager: Option<ServiceManager>,
        logging: Logging,
    ) -> io::Result<Self> {
        Self::start_with(heartbeats, hang_after, manager, move |hang| {
            error!(logging.logger().new(o!(keys::COMPONENT => "watchdog")), "actor hangs"; events::ACTOR_HANGS,
                keys::ACTOR => &*hang.actor,
                keys::SILENT_MS => u64::try_from(hang.silent.as_millis()).unwrap_or(u64::MAX),
                keys::EXIT_CODE => Exit::Hung.code());
            logging.flush();
            std::process::exit(Exit::Hung.code());
        })
    }

    fn start_with(
        heartbeats: Vec<Arc<Heartbeat>>,
        hang_after: Duration,
        manager: Option<ServiceManager>,
        on_hang: impl FnOnce(Hang) + Send + 'static,
    ) -> io::Result<Self> {
        let watching = StoppableThread::start("watchdog", move |stop| {
            if let Some(hang) = watch(&heartbeats, hang_after, manager.as_ref(), stop) {
                on_hang(hang);
            }
        });
        watching.map(Self)
    }

    /// A function that says whether the thread has ended, for `SupervisorActor`.
    pub fn finished(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        self.0.finished()
    }

    /// Stops the thread and waits for its end. Call it when no actor beats any more.
    pub fn stop(self) {
        self.0.stop();
        self.0.join();
    }
}

/// Looks until it is stopped, or an actor hangs.
fn watch(
    heartbeats: &[Arc<Heartbeat>],
    hang_after: Duration,
    manager: Option<&ServiceManager>,
    stop: &Stop,
) -> Option<Hang> {
    let manager = manager.and_then(|manager| Some((manager, manager.beat_every()?)));
    let interval = (hang_after / 8).min(manager.map_or(hang_after, |(_, every)| every));
    let interval = interval.clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut beaten = Instant::now();
    loop {
        let slept = Instant::now();
        if stop.wait(interval) {
            return None;
        }
        let all = heartbeats.iter().map(|heartbeat| Hang {
            actor: Arc::clone(heartbeat.actor()),
            silent: heartbeat.silent_for(),
        });
        let longest = all.max_by_key(|hang| hang.silent);
        let silent = longest.as_ref().map_or(Duration::ZERO, |hang| hang.silent);
        // The whole process stood still, so no actor could beat.
        let stood_still = slept.elapsed() > interval + hang_after / 2;
        if silent > hang_after && !stood_still {
            return longest;
        }
        if let Some((manager, every)) = manager
            && (silent <= silent_max(hang_after) || stood_still)
            && beaten.elapsed() + interval > every
        {
            manager.beat();
            beaten = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::config::{Config, LogConfig, LogFormat};
    use crate::observe::test_support::{PATIENCE, run_alone};

    #[test]
    fn a_silent_actor_is_found_and_one_that_beats_or_is_paused_is_not() {
        let [beating, paused, silent] =
            ["beating", "paused", "silent"].map(Heartbeat::new).map(Arc::new);
        paused.set_paused(true);
        let beats = Arc::clone(&beating);
        let (done, end) = mpsc::channel::<()>();
        let beater = thread::spawn(move || {
            while end.recv_timeout(Duration::from_millis(5)) == Err(mpsc::RecvTimeoutError::Timeout)
            {
                beats.beat();
            }
        });
        let (found, hangs) = mpsc::channel();
        let hang_after = Duration::from_millis(300);
        let watchdog =
            Watchdog::start_with(vec![beating, paused, silent], hang_after, None, move |hang| {
                found.send(hang).expect("the test listens");
            })
            .expect("a thread");
        let finished = watchdog.finished();
        let hang = hangs.recv_timeout(PATIENCE).expect("a hang");
        assert_eq!(&*hang.actor, "silent");
        assert!(hang.silent > hang_after);
        let deadline = Instant::now() + PATIENCE;
        while !finished() {
            assert!(Instant::now() < deadline, "its end is not seen");
            thread::yield_now();
        }
        drop(done);
        beater.join().expect("it ends");
        watchdog.stop();
    }

    #[test]
    fn it_stops_at_once() {
        let heartbeats = vec![Arc::new(Heartbeat::new("any"))];
        let watchdog = Watchdog::start_with(heartbeats, Duration::from_secs(3600), None, |hang| {
            panic!("{hang:?}");
        })
        .expect("a thread");
        let finished = watchdog.finished();
        assert!(!finished());
        let started = Instant::now();
        watchdog.stop();
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(finished());
    }

    /// Run by the next test in a process of its own.
    #[test]
    #[ignore = "ends its process"]
    fn hang_for_ever() {
        let config = LogConfig { format: LogFormat::Json, ..Config::for_test().log };
        let heartbeats = vec![Arc::new(Heartbeat::new("stuck"))];
        let watchdog =
            Watchdog::start(heartbeats, Duration::from_millis(50), None, Logging::start(&config));
        thread::sleep(PATIENCE);
        drop(watchdog);
    }

    #[test]
    fn a_hang_ends_the_process_with_75_and_its_record_is_not_lost() {
        let output = run_alone("supervisor::watchdog::tests::hang_for_ever");
        assert_eq!(output.status.code(), Some(75));
        let stderr = String::from_utf8_lossy(&output.stderr);
        let record = stderr.lines().find(|line| line.contains("actor hangs")).expect("a record");
        let record: serde_json::Value = serde_json::from_str(record).expect("JSON");
        assert_eq!(record["actor"], "stuck");
        assert!(record["silent_ms"].as_u64().expect("a number") >= 50, "{record}");
    }
}
