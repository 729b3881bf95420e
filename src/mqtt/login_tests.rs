use std::fs;
use std::time::{Duration, Instant};

use actix_rt::System;
use tempfile::tempdir;

use super::*;
use crate::config::Config;
use crate::observe::test_support::PATIENCE;

const MARK: &str = "s3cret";

fn mqtt(password: Password) -> MqttConfig {
    let mut mqtt = Config::for_test().connections.remove(0);
    mqtt.username = Some("u".into());
    mqtt.password = Some(password);
    mqtt.connect_timeout = Duration::from_secs(10);
    mqtt
}

fn shell(script: &str) -> Password {
    Password::Command(["sh", "-c", script].map(str::to_owned).into())
}

fn get(mqtt: &MqttConfig) -> Result<String, Lost> {
    let login = System::new().block_on(login(mqtt))?;
    assert_eq!(login.username, Some("u".into()));
    Ok(login.password.expect("one").expose().to_owned())
}

/// Why there is none, in a sentence that gives no secret away.
fn refused(mqtt: &MqttConfig) -> String {
    let lost = get(mqtt).expect_err("no password");
    assert_eq!(lost.reason, lost::PASSWORD_UNAVAILABLE);
    assert!(!lost.detail.contains(MARK), "{}", lost.detail);
    lost.detail
}

#[test]
fn a_password_file_is_read_at_each_connect_without_the_newline_at_its_end() {
    let directory = tempdir().expect("a directory");
    let path = directory.path().join("password");
    let mqtt = mqtt(Password::File(path.clone()));
    for (content, expected) in [("one", "one"), ("two\n", "two"), ("three\n\n", "three\n")] {
        fs::write(&path, content).expect("written");
        assert_eq!(get(&mqtt).expect("read"), expected);
    }
    fs::write(&path, "\n").expect("written");
    assert!(refused(&mqtt).ends_with("password: it is empty"), "half-written");
    fs::write(&path, b"s3cret \xFF").expect("written");
    refused(&mqtt);
    fs::remove_file(&path).expect("removed");
    let why = refused(&mqtt);
    assert!(why.starts_with(&format!("mqtt.password_file {}: ", path.display())), "{why}");
    assert!(why.contains("No such file"), "{why}");
}

#[test]
fn a_password_command_is_run_for_each_connect() {
    let directory = tempdir().expect("a directory");
    let count = directory.path().join("count");
    let mqtt = mqtt(shell(&format!("echo x >> {0}; wc -l < {0}", count.display())));
    assert_eq!(get(&mqtt).expect("made").trim(), "1");
    assert_eq!(get(&mqtt).expect("made").trim(), "2");
}

#[test]
fn only_the_newline_at_the_end_of_what_a_command_writes_is_taken_off() {
    for (script, expected) in [
        ("printf 'a b'", "a b"),
        ("printf 'a\\n'", "a"),
        ("printf ' a\\n\\n'", " a\n"),
        ("printf 'a\\r\\n'", "a"),
        // It has nothing to read, and does not wait for it.
        ("cat; echo done", "done"),
        // What it complains of is nobody's business while it succeeds.
        ("echo oh >&2; echo a", "a"),
    ] {
        assert_eq!(get(&mqtt(shell(script))).expect("made"), expected, "{script}");
    }
    let longest = format!("head -c {PASSWORD_MAX_BYTES} /dev/zero | tr '\\0' x; echo");
    assert_eq!(get(&mqtt(shell(&longest))).expect("made").len(), PASSWORD_MAX_BYTES);
}

#[test]
fn a_command_that_fails_is_named_without_what_it_wrote_or_was_given() {
    for (script, expected) in [
        ("echo s3cret; echo s3cret >&2; exit 3", "exit status: 3"),
        ("echo s3cret; kill -9 $$", "signal: 9"),
        ("# s3cret", "it is empty"),
        ("printf 's3cret \\377'", "not UTF-8"),
        ("printf 's3cret \\000'", "NUL"),
        ("yes s3cret", "more than 65535 bytes"),
    ] {
        let why = refused(&mqtt(shell(script)));
        assert!(why.starts_with("mqtt.password_command sh: "), "{why}");
        assert!(why.contains(expected), "{why}");
    }
    let words = ["/no/such/program", "s3cret"].map(str::to_owned);
    let why = refused(&mqtt(Password::Command(words.into())));
    assert!(why.contains("/no/such/program: it cannot be started"), "{why}");
    refused(&mqtt(Password::Command(Vec::new())));
}

/// Whether a process of this number runs; one that has ended and is not waited for does not.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn a_command_that_takes_too_long_is_killed_with_all_its_children() {
    let directory = tempdir().expect("a directory");
    let (own, child) = (directory.path().join("own"), directory.path().join("child"));
    let script = format!(
        "echo $$ > {}; sleep 600 & echo $! > {}; echo s3cret; wait",
        own.display(),
        child.display()
    );
    let mut mqtt = mqtt(shell(&script));
    mqtt.connect_timeout = Duration::from_millis(500);
    let why = refused(&mqtt);
    assert!(why.contains("not done within 500ms (mqtt.connect_timeout), and killed"), "{why}");
    let end = Instant::now() + PATIENCE;
    for path in [own, child] {
        let pid = fs::read_to_string(path).expect("it wrote its number");
        while runs(&pid) {
            assert!(Instant::now() < end, "{pid} lives on");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_command_that_is_given_up_is_killed() {
    let directory = tempdir().expect("a directory");
    let own = directory.path().join("own");
    let mqtt = mqtt(shell(&format!("echo $$ > {}; sleep 600", own.display())));
    let pid = System::new().block_on(async {
        let running = login(&mqtt);
        let began = async {
            loop {
                match fs::read_to_string(&own) {
                    Ok(pid) if pid.ends_with('\n') => return pid,
                    _ => actix_rt::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        // As when the broker cannot be reached meanwhile.
        tokio::select! {
            made = running => panic!("{made:?}"),
            pid = began => pid,
        }
    });
    let end = Instant::now() + PATIENCE;
    while runs(&pid) {
        assert!(Instant::now() < end, "{pid} lives on");
        std::thread::yield_now();
    }
}

#[test]
fn a_start_that_hangs_takes_no_longer_than_the_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime");
    let mut mqtt = mqtt(shell("echo a"));
    mqtt.connect_timeout = Duration::from_millis(200);
    runtime.block_on(async {
        // As a file system that does not answer keeps the thread that starts programs.
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        let hanging = spawn_blocking(move || receiver.recv());
        let lost = login(&mqtt).await.expect_err("it is not started");
        assert!(lost.detail.contains("not done within 200ms"), "{lost}");
        drop(sender);
        assert!(hanging.await.expect("no panic").is_err());
        mqtt.connect_timeout = Duration::from_secs(10);
        assert_eq!(login(&mqtt).await.expect("made").password, Some("a".into()));
    });
}
