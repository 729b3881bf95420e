//! Tells systemd that the bridge has started, whether it is ready, that it makes progress, and that it stops:
//! sd_notify(3), for units with `Type=notify`.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::readiness::Readiness;
use crate::observe::health::Reason;

/// The longest status, in characters: one line of `systemctl status`.
const STATUS_MAX: usize = 200;

/// At most this many messages wait for a manager that takes nothing.
const OWED_MAX: usize = 4;

/// The service manager that started this process. It is told without waiting: when it takes nothing, nothing
/// of the bridge stands still. What it must know is told again then ([`ServiceStatus`]).
#[derive(Debug, Clone)]
pub struct ServiceManager {
    socket: Arc<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// From `NOTIFY_SOCKET` and `WATCHDOG_USEC`; `None` if nobody wants to be told.
    ///
    /// # Errors
    /// The socket is not there.
    pub fn from_env() -> io::Result<Option<Self>> {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        name.map(|name| Self::connect(&name, sd_notify::watchdog_enabled())).transpose()
    }

    fn connect(name: &OsStr, watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket: Arc::new(socket), watchdog })
    }

    /// How often it wants to be told that the bridge makes progress: twice in the time after which it would
    /// kill the bridge.
    pub fn beat_every(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The bridge makes progress.
    pub fn beat(&self) {
        // One of them may be lost.
        let _ = self.tell(&[NotifyState::Watchdog]);
    }

    /// Whether it was taken: its queue may be full, or it may be gone.
    fn tell(&self, states: &[NotifyState<'_>]) -> bool {
        let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
        self.socket.send(lines.as_bytes()).is_ok()
    }
}

/// What the service manager is told of the bridge's state, whenever it changes.
#[derive(Debug)]
pub struct ServiceStatus {
    manager: ServiceManager,
    readiness: Arc<Readiness>,
    /// What it knows.
    told: String,
    /// What it must know, in order, and does not yet: without READY it would kill a unit that takes long to
    /// start, or to reload.
    owed: VecDeque<Vec<NotifyState<'static>>>,
    is_stopping: bool,
}

impl ServiceStatus {
    /// By this readiness.
    pub fn new(manager: ServiceManager, readiness: Arc<Readiness>) -> Self {
        Self { manager, readiness, told: String::new(), owed: VecDeque::new(), is_stopping: false }
    }

    /// Everything is started. A unit is up then, also while a broker is away: the bridge waits for it.
    pub fn started(&mut self) {
        self.owe(vec![NotifyState::Ready]);
    }

    /// The configuration is being read again; or that is over, and what of it can be applied is.
    pub fn reloading(&mut self, is_over: bool) {
        if self.is_stopping {
            return;
        }
        // A unit of Type=notify-reload is told apart from an older READY by the moment.
        let moment = NotifyState::monotonic_usec_now().ok();
        self.owe(match is_over {
            false => [NotifyState::Reloading].into_iter().chain(moment).collect(),
            true => vec![NotifyState::Ready],
        });
    }

    fn owe(&mut self, states: Vec<NotifyState<'static>>) {
        // A manager that takes nothing for long needs the newest ones only.
        while self.owed.len() >= OWED_MAX {
            self.owed.pop_front();
        }
        self.owed.push_back(states);
        self.look();
    }

    /// Looks whether the state has changed, and tells what was not taken the last time.
    pub fn look(&mut self) {
        let sentence = self.sentence();
        while sentence != self.told || !self.owed.is_empty() {
            let states = self.owed.front().into_iter().flatten().cloned();
            let states: Vec<_> = states.chain([NotifyState::Status(&sentence)]).collect();
            if !self.manager.tell(&states) {
                return;
            }
            self.told.clone_from(&sentence);
            self.owed.pop_front();
        }
    }

    /// The bridge stops.
    pub fn stopping(&mut self) {
        if !self.is_stopping {
            self.is_stopping = true;
            self.owed.clear();
            self.owe(vec![NotifyState::Stopping]);
        }
    }

    fn sentence(&self) -> String {
        match self.is_stopping {
            true => "stopping".to_owned(),
            false => sentence(&self.readiness.not_ready(&self.readiness.seen())),
        }
    }
}

/// One line: the first reason, and how many there are.
fn sentence(reasons: &[Reason]) -> String {
    let Some((first, more)) = reasons.split_first() else { return "ready".to_owned() };
    // A reason is one line.
    let first: String = format!("not ready: {first}").chars().take(STATUS_MAX).collect();
    match more.len() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::message::RouteId;
    use crate::observe::{KafkaHealth, Metrics, Subscription};
    use crate::stage::SourceId;

    fn received(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).expect("UTF-8"))
    }

    fn manager() -> (ServiceManager, UnixDatagram, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("set");
        let manager = ServiceManager::connect(path.as_os_str(), Some(Duration::from_secs(4)));
        (manager.expect("it is there"), socket, directory)
    }

    #[test]
    fn it_is_told_the_start_each_change_and_the_stop() {
        let (manager, socket, _directory) = manager();
        let config = Config::for_test();
        let metrics = Arc::new(Metrics::default());
        let readiness = Readiness::new(&config, Arc::clone(&metrics), Vec::new());
        let mut status = ServiceStatus::new(manager, Arc::new(readiness));
        status.started();
        let told = received(&socket).expect("a message");
        let first =
            "READY=1\nSTATUS=not ready: mqtt: mqtt_disconnected: not connected yet (and 1 more)\n";
        assert_eq!(told, first);
        status.look();
        assert_eq!(received(&socket), None, "nothing has changed");
        metrics.health().set_kafka(KafkaHealth::Reachable([].into()));
        metrics.connection(SourceId(0)).change_health(|health| {
            health.connected = true;
            health.subscriptions = [(RouteId(0), Subscription::Granted)].into();
        });
        status.look();
        assert_eq!(received(&socket).as_deref(), Some("STATUS=ready\n"));
        metrics.connection(SourceId(0)).set_lost("two\nlines\nREADY=0".to_owned());
        status.look();
        let told = received(&socket).expect("a message");
        assert_eq!(told.lines().count(), 1, "a stranger's text is one line: {told}");
        metrics.connection(SourceId(0)).set_lost("x".repeat(10_000));
        status.look();
        let told = received(&socket).expect("a message");
        assert_eq!(told.len(), "STATUS=\n".len() + STATUS_MAX);
        status.stopping();
        status.stopping();
        status.look();
        assert_eq!(received(&socket).as_deref(), Some("STOPPING=1\nSTATUS=stopping\n"));
        assert_eq!(received(&socket), None);
    }

    #[test]
    fn what_the_manager_must_know_is_told_until_it_is_taken() {
        let (manager, socket, _directory) = manager();
        let readiness = Readiness::new(&Config::for_test(), Arc::default(), Vec::new());
        let mut status = ServiceStatus::new(manager.clone(), Arc::new(readiness));
        let empty = || while received(&socket).is_some() {};
        let fill = || while manager.tell(&[NotifyState::Watchdog]) {};
        for (begins, expected) in [(true, "READY=1"), (false, "STOPPING=1")] {
            fill();
            if begins {
                status.started()
            } else {
                status.stopping()
            }
            status.look();
            empty();
            status.look();
            let told = received(&socket).expect("told again");
            assert!(told.starts_with(&format!("{expected}\nSTATUS=")), "{told}");
            status.look();
            assert_eq!(received(&socket), None, "once");
        }
    }

    #[test]
    fn a_reload_is_told_with_its_moment_and_ends_with_ready_also_if_it_was_not_taken_at_first() {
        let (manager, socket, _directory) = manager();
        let readiness = Readiness::new(&Config::for_test(), Arc::default(), Vec::new());
        let mut status = ServiceStatus::new(manager.clone(), Arc::new(readiness));
        status.started();
        let empty = || while received(&socket).is_some() {};
        let fill = || while manager.tell(&[NotifyState::Watchdog]) {};
        for is_full in [false, true] {
            empty();
            if is_full {
                fill();
            }
            status.reloading(false);
            status.reloading(true);
            if is_full {
                empty();
                status.look();
            }
            let begun = received(&socket).expect("told");
            assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
            let over = received(&socket).expect("told");
            assert!(over.starts_with("READY=1\n"), "{over}");
            assert_eq!(received(&socket), None);
        }
        status.stopping();
        empty();
        status.reloading(false);
        status.reloading(true);
        assert_eq!(received(&socket), None, "nobody is told to be ready who stops");
    }

    #[test]
    fn a_manager_that_takes_nothing_stops_nobody() {
        let (manager, socket, _directory) = manager();
        assert_eq!(manager.beat_every(), Some(Duration::from_secs(2)));
        (0..100_000).for_each(|_| manager.beat());
        assert_eq!(received(&socket).as_deref(), Some("WATCHDOG=1\n"));
        drop(socket);
        manager.beat();
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        let name = format!("bridge-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        let manager = ServiceManager::connect(OsStr::new(&format!("@{name}")), None);
        manager.expect("it is there").beat();
        assert_eq!(received(&socket).as_deref(), Some("WATCHDOG=1\n"));
        assert!(ServiceManager::connect(OsStr::new("/nobody/here"), None).is_err());
    }
}
