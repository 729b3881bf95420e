//! One stack at a time, with ports of its own, removed in any case.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::docker::{ask, compose, docker, inspect, run};
use crate::support::log::Log;
use crate::support::process::{cpu_time, free_port, peak_rss_kib};
use crate::support::*;

/// The project's name: the tests may remove a stack with this name.
const PROJECT: &str = "mqtt-kafka-bridge-test";
/// Not the name in docker-compose.yml, which belongs to the user.
pub const IMAGE: &str = "mqtt-kafka-bridge:test";
/// As docker-compose.yml has it; `topics` creates it.
pub const KAFKA_TOPIC: &str = "sensors";

/// The stack of docker-compose.yml.
pub struct Stack {
    story: &'static str,
    dir: PathBuf,
    mqtt: u16,
    kafka: u16,
    /// The bridge's pages, at its published port.
    pub http: Http,
    /// Prometheus, at its published port, if the profile `monitoring` is up.
    pub prometheus: Prometheus,
    _alone: File,
}

impl Stack {
    /// Builds the image if that was not done yet, and starts everything; `change` overrides what
    /// docker-compose.yml says of the bridge. Returns when the bridge is healthy.
    pub fn up(story: &Story, change: Value) -> Self {
        let stack = Self::new(story, change);
        let start = Instant::now();
        stack.compose(&["up", "--detach", "--no-build"]);
        stack.wait_healthy();
        tell(&format!("{}: healthy {:.1?} after up", story.name, start.elapsed()));
        stack
    }

    /// As [`Self::up`], with nothing started yet.
    pub fn new(story: &Story, change: Value) -> Self {
        let alone = alone();
        let stack = Self {
            story: story.name,
            dir: story.dir().to_owned(),
            mqtt: free_port(),
            kafka: free_port(),
            http: Http::free(),
            prometheus: Prometheus::elsewhere(Http::free()),
            _alone: alone,
        };
        stack.change(change);
        // Left over from a run that was killed.
        stack.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]);
        stack.build();
        stack
    }

    /// Overrides what docker-compose.yml says of the bridge, from the next `up` on.
    pub fn change(&self, mut change: Value) {
        change["image"] = IMAGE.into();
        let over = json!({ "services": { "bridge": change } });
        fs::write(self.dir.join("over.json"), over.to_string()).unwrap();
    }

    /// All stories share one image.
    fn build(&self) {
        static BUILT: OnceLock<()> = OnceLock::new();
        BUILT.get_or_init(|| {
            let start = Instant::now();
            self.compose(&["build", "bridge"]);
            tell(&format!("image built in {:.0?}", start.elapsed()));
        });
    }

    /// Runs Compose on this stack; it must succeed.
    #[track_caller]
    pub fn compose(&self, args: &[&str]) -> String {
        ask(self.with_project(&mut compose()).args(args))
    }

    /// The settings of this stack, for a command that starts with Compose's own.
    pub fn with_project<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let [http, prometheus] = [&self.http, self.prometheus.http()]
            .map(|http| http.address().split_once(':').expect("host:port").1);
        let files = format!("{}:{}", root.join("docker-compose.yml").display(), self.over());
        command
            .current_dir(root)
            .env("COMPOSE_PROJECT_NAME", PROJECT)
            .env("COMPOSE_FILE", files)
            .env("MQTT_PORT", self.mqtt.to_string())
            .env("KAFKA_PORT", self.kafka.to_string())
            .env("HTTP_PORT", http)
            .env("PROMETHEUS_PORT", prometheus)
    }

    fn over(&self) -> String {
        self.dir.join("over.json").display().to_string()
    }

    /// The container of a service.
    #[track_caller]
    pub fn container(&self, service: &str) -> String {
        // Quicker than Compose, by the labels that it sets.
        let project = format!("label=com.docker.compose.project={PROJECT}");
        let service = format!("label=com.docker.compose.service={service}");
        let filters = ["--filter", &project, "--filter", &service];
        ask(docker(&["ps", "--all", "--quiet"]).args(filters))
    }

    /// What Docker knows of the container of a service.
    #[track_caller]
    pub fn inspect(&self, service: &str) -> Value {
        inspect(&self.container(service))
    }

    /// How often Docker restarted the bridge.
    #[track_caller]
    pub fn restarts(&self) -> u64 {
        self.inspect("bridge")["RestartCount"].as_u64().expect("a count")
    }

    /// The process id of the bridge, as this host counts.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let pid = self.inspect("bridge")["State"]["Pid"].as_u64().expect("a process id");
        assert_ne!(pid, 0, "the bridge runs");
        u32::try_from(pid).expect("process ids fit")
    }

    /// Peak resident set of the bridge's present run, and the CPU time it spent.
    #[track_caller]
    pub fn usage(&self) -> (u64, Duration) {
        let pid = self.pid();
        (peak_rss_kib(pid), cpu_time(pid))
    }

    /// kill -9 of the bridge from outside Docker, which would not restart it after `docker kill`. From a
    /// container, since the process belongs to another user.
    #[track_caller]
    pub fn kill_bridge(&self) {
        let kill = format!("kill -9 {}", self.pid());
        run(&mut docker(&["run", "--rm", "--pid=host", "debian:bookworm-slim", "sh", "-c", &kill]));
    }

    /// The bridge's output so far.
    #[track_caller]
    pub fn logs(&self) -> String {
        let output = run(&mut docker(&["logs", &self.container("bridge")]));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Waits until Docker calls the bridge healthy.
    #[track_caller]
    pub fn wait_healthy(&self) {
        self.wait_health("healthy");
    }

    /// Waits until Docker reports this health of the bridge.
    #[track_caller]
    pub fn wait_health(&self, wanted: &str) {
        let container = self.container("bridge");
        eventually(&format!("the bridge is {wanted}"), PATIENT, || {
            inspect(&container)["State"]["Health"]["Status"] == wanted
        });
    }

    /// Kafka's address on this host.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka)
    }

    /// Devices at the published port, and a reader at the other.
    pub fn line(&self, load: Load) -> (Publisher, Reader) {
        let mqtt = format!("127.0.0.1:{}", self.mqtt);
        (
            Publisher::start(&mqtt, Version::V5, KAFKA_TOPIC, load),
            Reader::start(&self.bootstrap(), KAFKA_TOPIC),
        )
    }

    /// Waits until everything published is acknowledged and in Kafka, and compares. Writes the line
    /// of the fault table.
    #[track_caller]
    pub fn settle(&self, publisher: &Publisher, reader: &Reader, deadline: Duration) -> Verdict {
        publisher.pause();
        publisher.wait_done(PATIENT);
        let ledger = publisher.ledger();
        // A message that does not arrive in time is lost; the verdict counts it.
        let start = Instant::now();
        let verdict = loop {
            let late = start.elapsed() > deadline;
            if late || reader.distinct() >= ledger.acked() {
                let verdict = Verdict::of(&ledger, &reader.read_to_end(SOON));
                if late || verdict.lost == 0 {
                    break verdict;
                }
            }
            thread::sleep(Duration::from_millis(50));
        };
        verdict.report(&format!("stack: {}", self.story), Version::V5.name());
        verdict
    }

    /// Asserts that every line of the bridge's log is whole, and every summary balances.
    #[track_caller]
    pub fn assert_log_sound(&self) {
        let path = self.dir.join("bridge.log");
        fs::write(&path, self.logs()).unwrap();
        Log::new(&path).assert_sound();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if thread::panicking()
            && let Ok(log) = File::create(self.dir.join("stack.log"))
            && let Ok(errors) = log.try_clone()
        {
            let mut logs = compose();
            let logs = self.with_project(&mut logs).args(["logs", "--no-color"]);
            let _ = logs.stdout(log).stderr(errors).status();
        }
        let mut down = compose();
        let down = self.with_project(&mut down).args(["down", "--volumes", "--timeout", "1"]);
        let _ = down.arg("--remove-orphans").output();
    }
}

/// Waits until no other test, of this process or another, has a stack.
fn alone() -> File {
    let path = std::env::temp_dir().join(format!("{PROJECT}.lock"));
    let file = File::options().create(true).append(true).open(path).unwrap();
    // SAFETY: flock(2) on a descriptor that is open.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) };
    assert_eq!(locked, 0, "{}", io::Error::last_os_error());
    file
}
