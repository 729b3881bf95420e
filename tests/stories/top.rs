//! `top` in a terminal beside a bridge that runs: what it shows is what happens.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::line::Plan;
use crate::support::process::cpu_time;
use crate::support::terminal::Terminal;
use crate::support::*;

/// How long the CPU time is measured; long runs give better numbers.
fn measured() -> Duration {
    Duration::from_secs(if long() { 30 } else { 5 })
}

/// The count of received messages that the screen shows.
fn received(screen: &str) -> Option<u64> {
    let (_, rest) = screen.split_once("received ")?;
    let (count, _) = rest.split_once(" = delivered")?;
    count.replace(',', "").parse().ok()
}

#[test]
fn a_person_in_a_terminal_sees_messages_an_outage_of_kafka_its_end_and_a_restart() {
    let story = Story::new("top");
    let mut kafka = Kafka::start(story.dir());
    let http = Http::free();
    let plan = Plan { config: vec![("http", "listen", http.address().into())], ..Plan::default() };
    let mut line = Line::start(&story, &kafka, Version::V5, &plan);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.args(["top", "--interval", "500ms", "--config"]).arg(line.bridge.config());
    command.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
    let mut terminal = Terminal::start(command, 120, 50);
    terminal.wait_screen("it is ready", PATIENT, |screen| screen.contains("✔ Ready"));
    line.publisher.keep_publishing();
    let screen = terminal.wait_screen("messages are counted", PATIENT, |screen| {
        received(screen) > Some(0) && !screen.contains("MQTT → bridge: 0 messages/s")
    });
    assert!(
        screen.contains("connected") && screen.contains("Kafka cluster: reachable"),
        "{screen}"
    );
    let before = received(&screen);
    terminal.wait_screen("the count rises", PATIENT, |screen| received(screen) > before);

    let pid = terminal.pid();
    let (begin, bridge) = (cpu_time(pid), line.bridge.process().cpu_time());
    let since = Instant::now();
    thread::sleep(measured());
    let (own, bridge) = (cpu_time(pid) - begin, line.bridge.process().cpu_time() - bridge);
    tell(&format!(
        "top: {own:?} of CPU in {:?}, the bridge with its load {bridge:?}",
        since.elapsed()
    ));
    // Two screens a second; a debug build on a busy machine needs more than a release.
    assert!(own < since.elapsed() / 5, "{own:?}");

    kafka.kill();
    let screen = terminal.wait_screen("Kafka is away", PATIENT, |screen| {
        screen.contains("✖ Not ready: Kafka unreachable")
            && screen.contains("✖ Kafka cluster: not reachable")
    });
    assert!(screen.contains("Check the cluster"), "{screen}");
    assert!(screen.contains("(docs/operations.md#messages-stop-arriving)"), "{screen}");
    terminal.wait_screen("a window is full", PATIENT, |screen| screen.contains("window 100 %"));
    kafka.run();
    let full = received(&terminal.screen());
    terminal.wait_screen("it is over", PATIENT, |screen| {
        screen.contains("✔ Ready") && received(screen) > full
    });
    line.publisher.pause();
    line.publisher.wait_done(PATIENT);
    line.wait_delivered(line.publisher.published());

    terminal.press("2");
    terminal.wait_screen("the routes", PATIENT, |screen| {
        screen.contains("MQTT filter") && screen.contains("granted")
    });
    terminal.press("3");
    terminal.wait_screen("the latencies", PATIENT, |screen| {
        screen.contains("Kafka's answer") && screen.contains("all routes") && screen.contains(" ms")
    });
    assert_eq!(line.bridge.terminate(), 0);
    terminal.wait_screen("the bridge is gone", PATIENT, |screen| {
        screen.contains("✖ No answer of the bridge; what is below is its last one.")
    });
    line.bridge.run();
    terminal.wait_screen("the bridge is back", PATIENT, |screen| {
        screen.contains("✔ Ready") && screen.contains("started anew 1 time while watched")
    });
    terminal.press("q");
    assert_eq!(terminal.wait_end(PATIENT), 0);
    terminal.assert_given_back(PATIENT);
    assert_eq!(terminal.unknown(), [""; 0]);
    line.settle().assert_nothing_lost_or_reordered();
}
