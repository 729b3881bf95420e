//! The harness of the stories: real brokers, the real binary, faults, and the count of what arrived.
//!
//! A story reads: start a [`Kafka`], one [`Line`] for each protocol version (publisher -> Mosquitto
//! -> bridge -> Kafka -> reader), or for each kind of [`broker`], apply a fault, [`Line::settle`], assert on
//! the [`Verdict`]. A story always waits for a state, with a deadline ([`eventually`]), never for a time.

pub mod bridge;
pub mod broker;
pub mod browser;
pub mod certificates;
pub mod clock;
pub mod config;
pub mod dead_letters;
pub mod forward_proxy;
pub mod hostile;
pub mod http;
pub mod kafka;
pub mod kafka_logins;
pub mod issuer;
pub mod ledger;
pub mod line;
pub mod log;
pub mod mock_kafka;
pub mod mosquitto;
pub mod mqtt_client;
pub mod nats;
#[allow(dead_code, reason = "the stories do not need all that the unit tests need")]
pub mod pki;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod publisher;
pub mod rabbitmq;
pub mod reader;
pub mod scripted;
#[allow(dead_code, reason = "the stories do not need all that the tests of `top` need")]
pub mod terminal;
pub mod transport;
pub mod verdict;
pub mod wire;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

pub use bridge::Bridge;
pub use config::ConfigFile;
pub use dead_letters::DeadLetters;
pub use forward_proxy::ForwardProxy;
pub use http::Http;
pub use kafka::Kafka;
pub use line::Line;
pub use mock_kafka::MockKafka;
pub use mosquitto::Mosquitto;
pub use mqtt_client::MqttClient;
pub use nats::Nats;
pub use prometheus::Prometheus;
pub use proxy::Proxy;
pub use publisher::{Load, Publisher};
pub use rabbitmq::RabbitMq;
pub use reader::Reader;
pub use scripted::ScriptedBroker;
pub use transport::{Listener, Transport};
pub use verdict::Verdict;
pub use wire::{Packet, Version};

/// Pause between two looks at a state.
const POLL: Duration = Duration::from_millis(5);

/// Long enough for anything that should happen at once, on a busy machine. A deadline ends a story that
/// would hang, and is no measure: a story that holds uses a small part of it.
pub const SOON: Duration = Duration::from_secs(60);

/// Long enough for some ten thousand messages, or a broker's start, on a busy machine.
pub const PATIENT: Duration = Duration::from_secs(240);

/// Polls `look` until it holds, at most for `span`; returns whether it did.
pub fn within(span: Duration, mut look: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if look() {
            return true;
        }
        if start.elapsed() >= span {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Polls `look` until it returns a value.
///
/// # Panics
/// At the deadline, with `what` was awaited.
#[track_caller]
pub fn eventually_some<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let mut found = None;
    within(deadline, || {
        found = look();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("not within {deadline:?}: {what}"))
}

/// Polls `look` until it holds, and panics with `what` was awaited if it does not by the deadline.
#[track_caller]
pub fn eventually(what: &str, deadline: Duration, mut look: impl FnMut() -> bool) {
    eventually_some(what, deadline, || look().then_some(()));
}

/// Asserts that `look` holds throughout `span`.
#[track_caller]
pub fn throughout(what: &str, span: Duration, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(look(), "no longer true after {:?}: {what}", start.elapsed());
        thread::sleep(POLL);
    }
}

/// Whether the stories run at full length (`tests/run --long`).
pub fn long() -> bool {
    std::env::var_os("STORIES_LONG").is_some()
}

/// A directory of one story, for configuration, logs and data; kept if the story fails.
#[derive(Debug)]
pub struct Story {
    /// The story's name in the table.
    pub name: &'static str,
    dir: PathBuf,
}

impl Story {
    /// An empty directory for the story called `name`.
    pub fn new(name: &'static str) -> Self {
        let dir = stories_dir().join(format!("{}-{}", std::process::id(), slug(name)));
        fs::create_dir_all(&dir).unwrap();
        Self { name, dir }
    }

    /// The story's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("logs of the story \"{}\" are kept in {}", self.name, self.dir.display());
        } else {
            // The next tests/run removes files that a dying process still writes.
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Prints a measurement past the test runner's capture, so that it is visible for a passed story too.
pub fn tell(what: &str) {
    writeln!(io::stdout(), "{what}").expect("standard output is open");
}

/// `name` in characters that a Kafka topic and a directory allow.
pub fn slug(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-").to_lowercase()
}

/// The directory for the data of all stories; tests/run empties it first.
fn stories_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("stories")
}

/// `target/`, where tests/run puts the files that it fetches.
pub fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent")
}
