//! One bridge with many connections: each costs a thread and a few files, they start and stop together, and
//! what one forwards the others need not.

use std::time::{Duration, Instant};

use crate::support::mosquitto::Setup;
use crate::support::*;

const CONNECTIONS: usize = 16;
const MESSAGES: u64 = 4_000;

/// For all connections together: they are started and stopped side by side.
const STARTED_WITHIN: Duration = Duration::from_secs(10);
const STOPPED_WITHIN: Duration = Duration::from_secs(5);
/// Its arbiter's thread, and one that ends ten seconds after it wrote the state file.
const THREADS_EACH: usize = 2;
/// Its socket, and what its runtime waits by.
const FILES_EACH: usize = 6;

/// A bridge with so many connections, once it is ready.
fn start(story: &Story, mosquitto: &Mosquitto, kafka: &MockKafka, count: usize) -> (Bridge, Http) {
    let http = Http::free();
    let name = format!("bridge-{count}");
    let mut config = ConfigFile::new(&mosquitto.address(), &name, kafka.bootstrap());
    config.set("mqtt", "protocol", "5").route("devices/#", "t");
    if count > 1 {
        config.set("mqtt", "connections", count);
    }
    http.configure(&mut config);
    let bridge = Bridge::start(story.dir(), &name, &config);
    let took = http.wait_ready(STARTED_WITHIN);
    tell(&format!("{}: {count} connections are ready after {took:?}", story.name));
    (bridge, http)
}

/// Its threads and open files.
fn usage(bridge: &mut Bridge) -> [usize; 2] {
    let pid = bridge.process().pid();
    ["task", "fd"].map(|what| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count())
}

#[test]
fn many_connections_cost_a_thread_each_and_start_and_stop_together() {
    let story = Story::new("many connections");
    let kafka = MockKafka::start();
    kafka.order(|cluster| cluster.create_topic("t", 4, 1)).unwrap();
    let mosquitto = Mosquitto::start(story.dir(), &Setup::default());

    let (mut one, _) = start(&story, &mosquitto, &kafka, 1);
    let [threads_of_one, files_of_one] = usage(&mut one);
    assert_eq!(one.terminate(), 0);

    let (mut bridge, http) = start(&story, &mosquitto, &kafka, CONNECTIONS);
    let said = http.get("/readyz").unwrap().body;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let shown = said["connections"].as_array().unwrap();
    assert_eq!(shown.len(), CONNECTIONS, "{said}");
    assert_eq!(shown[7]["connection"], "mqtt-7", "{said}");
    assert_eq!((&shown[7]["section"], &shown[7]["connected"]), (&"mqtt".into(), &true.into()));

    let reader = Reader::start(kafka.bootstrap(), "t");
    let load = Load { mqtt_topics: 64, ..Load::default() };
    let publisher = Publisher::start(&mosquitto.address(), Version::V5, "devices", load);
    publisher.publish(MESSAGES);
    eventually("all are delivered", PATIENT, || reader.distinct() >= MESSAGES);
    let seen = http.metrics();
    seen.assert_balances();
    assert_eq!(seen.sum("received_total"), MESSAGES, "the group got each message once");
    let busy = (0..CONNECTIONS)
        .filter(|n| seen.get(&format!("received_total{{connection=\"mqtt-{n}\"}}")) > 0);
    assert!(busy.count() > CONNECTIONS / 2, "the broker divides the load");

    let [threads, files] = usage(&mut bridge);
    let more = CONNECTIONS - 1;
    tell(&format!(
        "{}: {threads} threads and {files} files, of one connection {threads_of_one} and {files_of_one}",
        story.name
    ));
    assert!(threads <= threads_of_one + more * THREADS_EACH, "{threads} threads");
    assert!(files <= files_of_one + more * FILES_EACH, "{files} files");

    let asked = Instant::now();
    assert_eq!(bridge.terminate(), 0, "all are drained");
    let took = asked.elapsed();
    tell(&format!("{}: stopped after {took:?}", story.name));
    assert!(took < STOPPED_WITHIN, "{took:?}");
    bridge.assert_logs_sound();
}
