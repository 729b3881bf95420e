//! systemd, as the bridge sees it: a socket that is told of the start, of readiness, of progress, of the stop.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::mosquitto::Setup;
use crate::support::*;

/// `WatchdogSec=`: without a beat for so long, systemd kills the bridge.
const WATCHDOG: Duration = Duration::from_secs(2);

/// What the bridge told, as lines.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
    beats: Vec<Instant>,
}

impl Manager {
    fn start(story: &Story, bridge: &mut Bridge) -> Self {
        let path = story.dir().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        bridge.environment("NOTIFY_SOCKET", path.to_str());
        bridge.environment("WATCHDOG_USEC", Some(&WATCHDOG.as_micros().to_string()));
        Self { socket, told: Vec::new(), beats: Vec::new() }
    }

    /// Takes what has come.
    fn listen(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            let text = std::str::from_utf8(&bytes[..length]).unwrap();
            for line in text.lines() {
                match line {
                    "WATCHDOG=1" => self.beats.push(Instant::now()),
                    _ => self.told.push(line.to_owned()),
                }
            }
        }
    }

    /// Waits until a line begins like this; forgets it and what came before.
    #[track_caller]
    fn wait_told(&mut self, beginning: &str, deadline: Duration) -> String {
        let at = eventually_some(beginning, deadline, || {
            self.listen();
            self.told.iter().position(|line| line.starts_with(beginning))
        });
        self.told.drain(..=at).next_back().unwrap()
    }

    /// How long it has been without a beat.
    fn silent(&mut self) -> Duration {
        self.listen();
        self.beats.last().map_or(Duration::MAX, Instant::elapsed)
    }
}

#[test]
fn systemd_is_told_the_start_readiness_progress_and_the_stop() {
    let story = Story::new("service manager");
    let kafka = MockKafka::start();
    kafka.order(|cluster| cluster.create_topic("t", 1, 1)).unwrap();
    let mut mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    mosquitto.stop();
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", kafka.bootstrap());
    // Nothing but systemd asks for readiness.
    config.set("http", "listen", "off").route("a/#", "t");
    let mut bridge = Bridge::new(story.dir(), "bridge", &config);
    let mut manager = Manager::start(&story, &mut bridge);
    bridge.run();
    manager.wait_told("READY=1", SOON);
    manager.wait_told("STATUS=not ready: mqtt: mqtt_disconnected: ", SOON);
    mosquitto.run();
    manager.wait_told("STATUS=ready", SOON);
    mosquitto.stop();
    manager.wait_told("STATUS=not ready: mqtt: mqtt_disconnected: ", SOON);
    mosquitto.run();
    manager.wait_told("STATUS=ready", SOON);
    eventually("five beats", SOON, || {
        manager.listen();
        manager.beats.len() >= 5
    });
    for pair in manager.beats.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap < WATCHDOG, "{gap:?} between two beats");
    }
    bridge.process().signal(libc::SIGTERM);
    manager.wait_told("STOPPING=1", SOON);
    assert_eq!(bridge.exit_code(SOON), 0);
    manager.listen();
    assert!(!manager.told.iter().any(|line| line.starts_with("READY")), "{:?}", manager.told);
    bridge.assert_logs_sound();
}

#[test]
fn systemd_hears_nothing_of_a_bridge_whose_actor_hangs() {
    let story = Story::new("service manager and a hang");
    let kafka = MockKafka::start();
    kafka.order(|cluster| cluster.create_topic("t", 1, 1)).unwrap();
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());
    let mut config = ConfigFile::new(&mosquitto.address(), "bridge", kafka.bootstrap());
    config.set("supervisor", "hang_after", "9s").route("a/#", "t");
    let mut bridge = Bridge::new(story.dir(), "bridge", &config);
    let mut manager = Manager::start(&story, &mut bridge);
    bridge.environment("BRIDGE_FAILPOINTS", Some("mqtt_verdicts=hang"));
    bridge.run();
    manager.wait_told("STATUS=ready", SOON);
    eventually("a beat", SOON, || manager.silent() < WATCHDOG);
    let mut publisher = MqttClient::connect(&mosquitto.address(), Version::V5, "device").unwrap();
    publisher.publish("a/b", b"the last");
    manager.wait_told("STATUS=not ready: bridge: actor_hangs: mqtt ", SOON);
    eventually("systemd would kill it", SOON, || manager.silent() > WATCHDOG);
    assert!(bridge.is_running(), "before the bridge ends by itself");
    assert_eq!(bridge.exit_code(SOON), 75);
}
