//! `top` as a user meets it: the real binary in a terminal, asking a server that answers as the bridge does.
#![allow(missing_docs, unreachable_pub, reason = "nobody calls a test crate")]

#[allow(dead_code, reason = "the stories need more of it")]
#[path = "support/terminal.rs"]
mod terminal;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use terminal::Terminal;

/// For a machine that is busy with other tests.
const PATIENT: Duration = Duration::from_secs(120);

/// Of a bridge of which everything that can be shown has happened.
const EVERYTHING: &str = include_str!("../src/observe/testdata/status.json");

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.arg("top").args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BRIDGE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NO_COLOR").env_remove("LC_ALL").env_remove("LC_CTYPE");
    command.env("LANG", "C.UTF-8").env("TERM", "xterm");
    command
}

fn top(config: &str, environment: &[(&str, &str)]) -> Terminal {
    let mut command = command(&["--config", config, "--interval", "200ms"]);
    command.envs(environment.iter().copied());
    Terminal::start(command, 100, 30)
}

fn write(directory: &TempDir, text: &str) -> String {
    let path = directory.path().join("config.toml");
    std::fs::write(&path, text).expect("it can be written");
    path.to_str().expect("UTF-8").to_owned()
}

fn config(directory: &TempDir, address: SocketAddr) -> String {
    write(directory, &format!("[http]\nlisten = \"{address}\"\n"))
}

/// Answers each question with what it is told to.
fn serve(listener: TcpListener, page: Value) -> Arc<Mutex<Value>> {
    let page = Arc::new(Mutex::new(page));
    let shown = Arc::clone(&page);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.extend(byte);
            }
            let body = shown.lock().expect("no panic").to_string();
            let _ =
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    page
}

fn free() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn everything() -> Value {
    EVERYTHING.parse().expect("JSON")
}

#[test]
fn without_a_terminal_it_names_what_needs_none() {
    let output = command(&[]).stdin(Stdio::null()).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("top: expected a terminal"), "{said}");
    assert!(said.contains("latency --watch") && said.contains("/status.json"), "{said}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let output = command(&["--interval", "1ms"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("from 200ms to 1h"), "{output:?}");
}

#[test]
fn what_can_never_be_asked_is_said_at_once() {
    let directory = TempDir::new().expect("a directory");
    for (text, code, said) in [
        ("[http]\nlisten = 5\n", 78, "http.listen"),
        ("[http]\nlisten = \"off\"\n", 1, "found \"off\""),
        ("[http]\nlisten = \"127.0.0.1:0\"\n", 1, "expected a port to ask, found 0"),
    ] {
        let mut terminal = top(&write(&directory, text), &[]);
        assert_eq!(terminal.wait_end(PATIENT), code, "{text}");
        terminal.wait_screen(said, PATIENT, |screen| screen.contains(said));
        assert!(!terminal.written().contains("\u{1b}[?1049h"), "{text}");
    }
}

#[test]
fn nobody_is_asked_until_somebody_answers_and_q_gives_the_terminal_back() {
    let directory = TempDir::new().expect("a directory");
    let (listener, address) = free();
    drop(listener);
    let mut terminal = top(&config(&directory, address), &[]);
    terminal.wait_screen("nobody", PATIENT, |screen| {
        screen.contains("No answer of the bridge; there was none yet.")
            && screen.contains("Connection refused")
            && screen.contains("docs/top.md#no-answer")
    });
    // Nobody takes a port of the loopback in between that was free.
    let page = serve(TcpListener::bind(address).expect("still free"), everything());
    terminal
        .wait_screen("an answer", PATIENT, |screen| screen.contains("received 21 = delivered 5"));
    page.lock().expect("no panic")["identity"]["received"] = json!(1_021);
    terminal.wait_screen("it is live", PATIENT, |screen| screen.contains("received 1,021 ="));
    terminal.press("p");
    terminal.wait_screen("held", PATIENT, |screen| screen.contains("PAUSED"));
    terminal.press("p\t");
    terminal.wait_screen("another panel", PATIENT, |screen| screen.contains("s sort: name"));
    terminal.press("s");
    terminal.wait_screen("sorted", PATIENT, |screen| screen.contains("s sort: rate"));
    terminal.resize(40, 12);
    terminal.wait_screen("another size", PATIENT, |screen| {
        screen.lines().count() == 12 && screen.contains("2 Routes of 7")
    });
    terminal.press("?");
    terminal.wait_screen("help", PATIENT, |screen| screen.contains("q, Esc, Ctrl-C: end"));
    terminal.press("q");
    assert_eq!(terminal.wait_end(PATIENT), 0);
    terminal.assert_given_back(PATIENT);
    assert_eq!(terminal.unknown(), [""; 0]);
}

#[test]
fn each_end_gives_the_terminal_back() {
    let directory = TempDir::new().expect("a directory");
    let (listener, address) = free();
    let config = config(&directory, address);
    let _page = serve(listener, everything());
    let begun = |environment: &[(&str, &str)]| {
        let terminal = top(&config, environment);
        terminal.wait_screen("it is drawn", PATIENT, |screen| screen.contains("received 21"));
        terminal
    };
    for keys in ["q", "\u{1b}", "\u{3}", "?\u{3}"] {
        let mut terminal = begun(&[]);
        terminal.press(keys);
        assert_eq!(terminal.wait_end(PATIENT), 0, "{keys:?}");
        terminal.assert_given_back(PATIENT);
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut terminal = begun(&[]);
        terminal.signal(signal);
        assert_eq!(terminal.wait_end(PATIENT), 0, "{signal:?}");
        terminal.assert_given_back(PATIENT);
    }
}

#[test]
#[cfg(feature = "failpoints")]
fn a_panic_gives_the_terminal_back_and_is_seen() {
    let directory = TempDir::new().expect("a directory");
    let (listener, address) = free();
    let config = config(&directory, address);
    let _page = serve(listener, everything());
    for (site, code, panic) in [("top_draw=3", 70, "TopDraw"), ("top_asks=2", 1, "TopAsks")] {
        let mut terminal = top(&config, &[("BRIDGE_FAILPOINTS", site)]);
        assert_eq!(terminal.wait_end(PATIENT), code, "{site}: {}", terminal.screen());
        terminal.assert_given_back(PATIENT);
        // Behind what leaves the other screen.
        eventually(|| {
            let written = terminal.written();
            written.rsplit("\u{1b}[?1049l").next().is_some_and(|last| last.contains(panic))
        });
    }
}

#[test]
fn there_are_no_colours_where_they_are_not_wanted() {
    let directory = TempDir::new().expect("a directory");
    let (listener, address) = free();
    let config = config(&directory, address);
    let _page = serve(listener, everything());
    // ratatui resets colours at the end of what it draws (39, 49).
    let has_colours = |written: &str| {
        let sequences = written.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m'));
        let mut numbers = sequences.flat_map(|(numbers, _)| numbers.split(';'));
        numbers.any(|it| matches!(it.parse(), Ok(30..=38_u8 | 40..=48 | 90..=107)))
    };
    for (environment, expected) in
        [(&[][..], true), (&[("NO_COLOR", "1")], false), (&[("TERM", "dumb")], false)]
    {
        let mut terminal = top(&config, environment);
        terminal.wait_screen("it is drawn", PATIENT, |screen| screen.contains("received 21"));
        terminal.press("q");
        assert_eq!(terminal.wait_end(PATIENT), 0);
        assert_eq!(has_colours(&terminal.written()), expected, "{environment:?}");
    }
    // Without UTF-8 nothing else than ASCII is written.
    let mut terminal = top(&config, &[("LANG", "C")]);
    terminal.wait_screen("it is drawn", PATIENT, |screen| screen.contains("x Not ready"));
    terminal.press("q");
    assert_eq!(terminal.wait_end(PATIENT), 0);
    assert!(terminal.written().is_ascii());
}

#[cfg(feature = "failpoints")]
#[track_caller]
fn eventually(holds: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + PATIENT;
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "not within {PATIENT:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Puts it into each text.
fn poison(value: &mut Value, text: &str) {
    match value {
        Value::String(it) => *it = text.to_owned(),
        Value::Array(rows) => rows.iter_mut().for_each(|row| poison(row, text)),
        Value::Object(fields) => fields.values_mut().for_each(|it| poison(it, text)),
        _ => {}
    }
}

#[test]
fn names_of_strangers_steer_no_terminal() {
    let directory = TempDir::new().expect("a directory");
    let (listener, address) = free();
    let config = config(&directory, address);
    let mut page = everything();
    poison(&mut page, "a\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{202e}b\u{1b}c\u{e}");
    let page = serve(listener, page);
    let mut terminal = top(&config, &[]);
    for panel in 1..=7 {
        terminal.press(&panel.to_string());
        page.lock().expect("no panic")["identity"]["received"] = json!(100 + panel);
        let received = format!("received {} =", 100 + panel);
        terminal.wait_screen("each panel", PATIENT, |screen| {
            screen.contains(&received) && screen.contains("\\u{1b}[2J")
        });
    }
    terminal.press("q");
    assert_eq!(terminal.wait_end(PATIENT), 0);
    assert_eq!(terminal.unknown(), [""; 0]);
    let written = terminal.written();
    for part in ["]0;", "\u{9b}", "\u{202e}", "\u{7}", "\u{1b}c"] {
        assert!(part == "]0;" || !written.contains(part), "{part:?}");
    }
    assert!(!written.contains("\u{1b}]"));
}
