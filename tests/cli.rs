//! The command line as a user meets it: the real binary, its output and its exit codes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// Long enough for a crowded machine.
const PATIENCE: Duration = Duration::from_secs(60);

const MINIMAL: &str = r#"
[mqtt]
url = "mqtt://127.0.0.1:1"
client_id = "bridge-1"

[kafka]
brokers = ["127.0.0.1:1"]

[[routes]]
filter = "sensors/#"
kafka_topic = "sensors"

[http]
listen = "off"
"#;

/// The binary, without BRIDGE_ variables in its environment.
fn bridge(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-kafka-bridge"));
    command.args(args);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BRIDGE_") {
            command.env_remove(name);
        }
    }
    command
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("a file can be written");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("a path of UTF-8")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn version_names_the_program_and_its_version() {
    let output = bridge(&["--version"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stdout(&output), format!("mqtt-kafka-bridge {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_has_examples_and_every_exit_code() {
    let output = bridge(&["--help"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for expected in [
        "run --config config.toml",
        "BRIDGE_MQTT__URL",
        "   0  run: ",
        "   2  any: ",
        "   3  run: ",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in {text}");
    }
    for code in ["70", "75", "78"] {
        assert!(text.contains(&format!(" {code}  ")), "{code} is missing in {text}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for args in [&[][..], &["runn"], &["run", "--confg", "x"], &["check", "--config"]] {
        let output = bridge(args).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains("--help"), "{args:?}");
    }
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_refuses_what_is_out_of_range() {
    for args in [
        ["demo", "--rate", "0"],
        ["demo", "--devices", "0"],
        ["demo", "--duration", "5"],
        ["demo", "--duration", "0s"],
        ["demo", "--seed", "-1"],
    ] {
        let output = bridge(&args).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn a_wrong_failpoint_ends_run_with_2_and_does_not_concern_check() {
    let config = file(MINIMAL);
    let with = |command: &str| {
        let mut command = bridge(&[command, "--config", path(&config)]);
        command.env("BRIDGE_FAILPOINTS", "nowhere=1").output().expect("it starts")
    };
    let output = with("run");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("BRIDGE_FAILPOINTS: expected"), "{}", stderr(&output));
    assert_eq!(with("check").status.code(), Some(0));
}

#[cfg(feature = "failpoints")]
#[test]
fn a_panic_while_a_message_is_routed_costs_that_message_alone_in_every_command() {
    let config = file(&format!(
        "{MINIMAL}{}",
        r#"
[[routes]]
filter = "tested/#"
kafka_topic = "tested"
tests = [{ mqtt_topic = "tested/a", kafka_topic = "tested" }, { mqtt_topic = "tested/b", kafka_topic = "tested" }]
"#
    ));
    let letter = |nth: u32| {
        format!(
            r#"{{"reason":"x","mqtt_topic":"sensors/{nth}","mqtt_qos":1,"payload_bytes":1,"received_at":"2023-11-14T22:13:20.000001Z","payload":"1"}}"#
        )
    };
    let letters = file(&format!("{}\n{}\n", letter(1), letter(2)));
    let with = |args: &[&str], input: &str| {
        let mut command = bridge(args);
        command.args(["--config", path(&config)]).env("BRIDGE_FAILPOINTS", "route=1");
        let input = file(input);
        command.stdin(input.reopen().expect("it is there")).output().expect("it starts")
    };
    let replayed = ["dead-letters", "replay", "--dry-run", "--file", path(&letters)];
    for (args, second) in [
        (&replayed[..], "would be"),
        (&["map", "--stdin", "--json"][..], "\"outcome\":\"record\""),
        (&["check", "--test"][..], "ok: "),
    ] {
        let output = with(args, "sensors/1\nsensors/2\n");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = stdout(&output);
        assert!(text.contains("failpoint Route"), "{output:?}");
        assert!(text.lines().any(|line| line.contains(second)), "{output:?}");
    }
}

#[test]
fn dead_letters_that_cannot_be_read_end_with_78_and_none_at_all_with_0_and_both_paths() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = file(MINIMAL);
    for action in [&["list"][..], &["show", "ab"], &["export"], &["replay"]] {
        let with = |more: &[&str]| {
            let mut command = bridge(&["dead-letters"]);
            command.args(action).args(["--config", path(&config)]).args(more);
            command.current_dir(directory.path()).output().expect("it starts")
        };
        let missing = with(&["--file", "missing.jsonl"]);
        assert_eq!(missing.status.code(), Some(78), "{action:?}: {missing:?}");
        assert!(stderr(&missing).contains("missing.jsonl: "), "{missing:?}");
        let none = with(&[]);
        // `show` was asked for one that is not there.
        let expected = if action[0] == "show" { 1 } else { 0 };
        assert_eq!(none.status.code(), Some(expected), "{action:?}: {none:?}");
        let told = stderr(&none);
        let absolute =
            told.lines().filter(|line| line.starts_with('/') && line.contains("not there"));
        assert_eq!(absolute.count(), 2, "{told}");
    }
}

#[test]
fn a_wrong_configuration_ends_run_and_check_with_78_and_every_error() {
    let config = file(
        &MINIMAL.replace("sensors/#", "#/x").replace("[kafka]", "keep_alive = \"0s\"\n[kafka]"),
    );
    for command in ["run", "check"] {
        let mut command = bridge(&[command, "--config", path(&config)]);
        let output = command.env("BRIDGE_MQTT__PROTOCOL", "4").output().expect("it starts");
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(stdout(&output), "");
        let text = stderr(&output);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with(&format!("{}:6: mqtt.keep_alive: ", path(&config))), "{text}");
        assert!(
            lines[1].starts_with(&format!("{}:11: routes[0].filter: ", path(&config))),
            "{text}"
        );
        assert!(lines[2].starts_with("BRIDGE_MQTT__PROTOCOL: "), "{text}");
    }
}

#[test]
fn a_missing_file_ends_with_78() {
    let output = bridge(&["check", "-c", "/nonexistent.toml"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(78));
    assert!(stderr(&output).starts_with("/nonexistent.toml: "), "{}", stderr(&output));
}

#[test]
fn check_test_runs_the_examples_of_routes_and_ends_with_1_if_one_does_not_hold() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.toml");
    std::fs::write(directory.path().join("payload"), "21.5").expect("written");
    let checked = |value: &str| {
        let text = format!(
            "[mqtt]\nurl = \"mqtt://h\"\nclient_id = \"c\"\n[kafka]\nbrokers = [\"h:9092\"]\n\
             [[routes]]\nfilter = \"a/#\"\nkafka_topic = \"a\"\n[[routes.tests]]\n\
             mqtt_topic = \"a/1\"\npayload_file = \"payload\"\nvalue = \"{value}\"\n"
        );
        std::fs::write(&config, text).expect("written");
        let output = bridge(&["check", "--test", "-c", &config.to_string_lossy()])
            .output()
            .expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(
        checked("21.5"),
        (Some(0), "ok: routes[0].tests[0] of a/#: a/1\n1 of 1 hold\n".to_owned())
    );
    let (code, said) = checked("22");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAILED: routes[0].tests[0] of a/#: a/1\n    value: "), "{said}");
    // One without an end does not hang it.
    let text = std::fs::read_to_string(&config).expect("read");
    let endless = text.replace("\"payload\"", "\"/dev/zero\"");
    std::fs::write(&config, endless).expect("written");
    let output = bridge(&["check", "--test", "-c", &config.to_string_lossy()]).output();
    let said = stdout(&output.expect("it starts"));
    assert!(said.contains("payload_file: expected a regular file that can be read"), "{said}");
}

#[test]
fn check_prints_what_it_resolves_to_without_secrets_and_it_loads_again() {
    let config = file(&format!(
        "{MINIMAL}[kafka.properties]\nsecurity.protocol = \"SASL_SSL\"\nsasl.mechanism = \"PLAIN\"\nsasl.username = \"u\"\nsasl.password = \"${{SECRET}}\"\n"
    ));
    let mut command = bridge(&["check", "--config", path(&config)]);
    command.env("SECRET", "hunter2").env("BRIDGE_MQTT__USERNAME", "u");
    command.env("BRIDGE_MQTT__PASSWORD", "hunter2").env("BRIDGE_DELIVERY__WINDOW_MESSAGES", "77");
    let output = command.output().expect("it starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(!text.contains("hunter2") && !stderr(&output).contains("hunter2"), "{text}");
    assert!(text.contains("password = \"[redacted]\""), "{text}");
    assert!(text.contains("\"sasl.password\" = \"[redacted]\""), "{text}");
    assert!(text.contains("window_messages = 77"), "{text}");

    let again = file(&text);
    let output = bridge(&["check", "--config", path(&again)]).output().expect("it starts");
    assert_eq!(stdout(&output), text);
}

/// The end of a command that ends by itself.
fn ends(command: &mut Command) -> Output {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let deadline = std::time::Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if std::time::Instant::now() > deadline {
            child.kill().expect("it is ours");
            panic!("it runs on: {}", stderr(&child.wait_with_output().expect("it ended")));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.wait_with_output().expect("it ended")
}

#[test]
fn a_login_is_in_no_line_of_a_start_that_fails() {
    for lines in [
        "security.protocol = \"ssl\"\nssl.key.pem = \"hunter2\"",
        "sasl.jaas.config = \"password=hunter2\"",
        "sasl.mechanism = \"hunter2\"",
        "nonsense = \"hunter2\"",
    ] {
        let config = file(&format!("{MINIMAL}[kafka.properties]\n{lines}\n"));
        for command in ["check", "run"] {
            let output = ends(&mut bridge(&[command, "--config", path(&config)]));
            assert_eq!(output.status.code(), Some(78), "{lines}");
            let text = format!("{}{}", stdout(&output), stderr(&output));
            assert!(text.contains("kafka.properties") && !text.contains("hunter2"), "{text}");
        }
    }
}

#[test]
fn a_login_is_in_no_line_of_a_bridge_however_much_librdkafka_tells() {
    let config = file(&format!(
        "{MINIMAL}[log]\nlevel = \"debug\"\nformat = \"json\"\n[kafka.properties]\ndebug = \"all\"\n\
         security.protocol = \"sasl_plaintext\"\nsasl.mechanism = \"PLAIN\"\n\
         sasl.username = \"u\"\nsasl.password = \"hunter2\"\n"
    ));
    let mut command = bridge(&["run", "--config", path(&config)]);
    let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut told = String::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    for line in lines.by_ref().map_while(Result::ok) {
        // It tells what it was made with last.
        let is_librdkafkas = line.contains("\"facility\":\"CONF\"");
        told.push_str(&line);
        // librdkafka tells more and more of its attempts to connect.
        if is_librdkafkas || std::time::Instant::now() > deadline {
            let pid = libc::pid_t::try_from(child.id()).expect("a pid is positive");
            // SAFETY: kill has no memory effects; the child is ours and not yet waited for.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
            break;
        }
    }
    told.extend(lines.map_while(Result::ok));
    assert!(told.contains("\"facility\":\"CONF\""), "debug has an effect: {told}");
    assert!(!told.contains("hunter2"), "{told}");
    child.wait().expect("it ends");
}

#[test]
fn a_dead_letter_file_that_cannot_be_written_ends_check_and_run_with_78() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing/dead.jsonl");
    std::os::unix::fs::symlink("/dev/null", dir.path().join("link")).expect("a link");
    let config = file(MINIMAL);
    for (path_of_letters, why) in [
        (missing, "No such file or directory"),
        (dir.path().to_owned(), "Is a directory"),
        (dir.path().join("link"), "a symbolic link"),
    ] {
        let path_of_letters = path_of_letters.to_str().expect("a path of UTF-8");
        for command in ["check", "run"] {
            let mut command = bridge(&[command, "--config", path(&config)]);
            let output = ends(command.env("BRIDGE_DEAD_LETTER__FILE", path_of_letters));
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{text}");
            assert!(text.contains(path_of_letters) && text.contains(why), "{text}");
            assert_eq!(stdout(&output), "");
        }
        // It is not used beside a Kafka topic.
        let mut command = bridge(&["check", "--config", path(&config)]);
        command.env("BRIDGE_DEAD_LETTER__FILE", path_of_letters);
        let command = command.env("BRIDGE_DEAD_LETTER__KAFKA_TOPIC", "dead");
        assert_eq!(command.output().expect("it starts").status.code(), Some(0));
    }
}

#[test]
fn a_file_of_http_that_cannot_be_used_ends_check_and_run_with_78() {
    let (config, short, empty) = (file(MINIMAL), file("m4rk3d\n"), file(""));
    for (keys, why) in [
        (vec![("TOKEN_FILE", path(&short))], "of at least 16 "),
        (
            vec![("CERT_FILE", path(&empty)), ("KEY_FILE", path(&short))],
            "http.cert_file: cannot use ",
        ),
    ] {
        for command in ["check", "run"] {
            let mut command = bridge(&[command, "--config", path(&config)]);
            command.env("BRIDGE_HTTP__LISTEN", "127.0.0.1:0");
            command.envs(keys.iter().map(|(key, path)| (format!("BRIDGE_HTTP__{key}"), path)));
            let output = ends(&mut command);
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(78), "{text}");
            assert!(text.contains(why) && !text.contains("m4rk3d"), "{text}");
        }
    }
}

/// `healthcheck`, with this for `http.listen`.
fn healthcheck(listen: &str, args: &[&str]) -> Output {
    let config = file(MINIMAL);
    let mut command = bridge(&["healthcheck", "--config", path(&config)]);
    command.args(args).env("BRIDGE_HTTP__LISTEN", listen).output().expect("it starts")
}

#[test]
fn healthcheck_of_what_is_not_there_is_1_and_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    drop(taken);
    for (listen, expected) in [
        ("off", "http.listen: expected an address to ask, found \"off\""),
        ("127.0.0.1:0", "http.listen: expected a port to ask, found 0"),
        ("nowhere", "BRIDGE_HTTP__LISTEN: expected an IP address and port"),
        (&address, "Connection refused"),
    ] {
        let output = healthcheck(listen, &[]);
        assert_eq!(output.status.code(), Some(1), "{listen}");
        assert!(stderr(&output).contains(expected), "{listen}: {}", stderr(&output));
    }
}

#[test]
fn healthcheck_reads_only_where_the_pages_are() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    drop(taken);
    let mqtt = "password_file = \"/nowhere\"\nusername = \"${NOWHERE}\"\n\n[kafka]";
    let http = format!("\"{address}\"\ntoken_file = \"/nowhere\"\ncert_file = \"${{NOWHERE}}/x\"");
    let kafka = "[kafka.properties]\nsecurity.protocol = \"ssl\"\nssl.ca.location = \"/nowhere\"\n";
    let text = MINIMAL.replace("[kafka]", mqtt).replace("\"off\"", &http) + kafka;
    let config = file(&text);
    let run =
        |command: &str| bridge(&[command, "--config", path(&config)]).output().expect("it starts");
    assert_eq!(run("check").status.code(), Some(78));
    let output = run("healthcheck");
    assert_eq!(output.status.code(), Some(1));
    let expected =
        format!("no answer from https://{address}/readyz (http.listen): Connection refused");
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
}

#[test]
fn healthcheck_of_one_that_does_not_answer_gives_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let output = healthcheck(&silent.local_addr().expect("bound").to_string(), &["--live"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/livez"), "{}", stderr(&output));
}

#[test]
fn an_address_that_is_taken_ends_run_with_78_and_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let config = file(MINIMAL);
    let mut command = bridge(&["run", "--config", path(&config)]);
    let output = command.env("BRIDGE_HTTP__LISTEN", &address).output().expect("it starts");
    assert_eq!(output.status.code(), Some(78));
    let text = stderr(&output);
    assert!(text.contains("cannot listen on http.listen") && text.contains(&address), "{text}");
}

/// A bridge whose brokers are both absent; it runs on. Killed when dropped.
struct Run(Child, NamedTempFile);

impl Run {
    fn start(change: impl FnOnce(&mut Command)) -> Self {
        let config = file(MINIMAL);
        let mut command = bridge(&["run", "--config", path(&config)]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        change(&mut command);
        Self(command.spawn().expect("it starts"), config)
    }

    fn signal(&self, signal: i32) {
        let pid = libc::pid_t::try_from(self.0.id()).expect("a pid is positive");
        // SAFETY: kill has no memory effects; the child is ours and not yet waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// What it says from now on, where stderr is a pipe.
    fn lines(&self) -> impl Iterator<Item = String> + use<> {
        let pipe = self.0.stderr.as_ref().expect("a pipe").as_fd().try_clone_to_owned();
        let lines = BufReader::new(File::from(pipe.expect("a copy"))).lines();
        lines.map(|line| line.expect("UTF-8"))
    }

    /// Returns once it has a handler for the signal.
    fn wait_until_it_handles(&self, signal: i32) {
        let deadline = Instant::now() + PATIENCE;
        while !self.handles(signal) {
            assert!(Instant::now() < deadline, "no handler for signal {signal}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it has a handler for the signal (`SigCgt` in its status).
    fn handles(&self, signal: i32) -> bool {
        let status = File::open(format!("/proc/{}/status", self.0.id())).expect("it is there");
        let caught = BufReader::new(status).lines().map_while(Result::ok).find_map(|line| {
            let mask = line.strip_prefix("SigCgt:")?.trim().to_owned();
            u64::from_str_radix(&mask, 16).ok()
        });
        caught.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
    }

    /// How it ended: exit code, and what it said, where stderr is a pipe.
    fn end(mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        if let Some(mut pipe) = self.0.stderr.take() {
            pipe.read_to_string(&mut text).expect("UTF-8");
        }
        (self.0.wait().expect("it ends").code(), text)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It has most likely ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_signal_ends_run_with_0_when_nothing_is_in_flight() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        let run = Run::start(|_| {});
        run.wait_until_it_handles(signal);
        run.signal(signal);
        assert_eq!(run.end().0, Some(0), "signal {signal}");
    }
}

#[test]
fn sighup_makes_run_read_its_configuration_again_and_a_wrong_one_keeps_the_old() {
    let run = Run::start(|command| {
        command.stderr(Stdio::piped());
    });
    run.wait_until_it_handles(libc::SIGHUP);
    let text =
        MINIMAL.replace("[kafka]", "[[routes]]\nfilter = \"new/#\"\nkafka_topic = \"k\"\n[kafka]");
    let mut said = run.lines();
    let mut reload = |text: &str, expected: &str| {
        std::fs::write(run.1.path(), text).expect("written");
        run.signal(libc::SIGHUP);
        said.find(|line| line.contains(expected)).unwrap_or_else(|| panic!("no {expected:?}"))
    };
    reload(&text, "configuration applied");
    let refused = reload(&text.replace("new/#", "new/#/x"), "configuration refused");
    assert!(refused.contains("filter") && refused.contains(":"), "{refused}");
    reload(&text, "nothing to apply");
    let waits = reload(&format!("data_dir = \"/\"\n{text}"), "wait for a restart");
    assert!(waits.contains("data_dir"), "{waits}");
    run.signal(libc::SIGTERM);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn a_terminal_that_closes_ends_run_in_order() {
    let (mut master, mut slave) = (0, 0);
    let null = std::ptr::null_mut();
    // SAFETY: it writes two file descriptors, and nothing through the null pointers.
    let opened =
        unsafe { libc::openpty(&raw mut master, &raw mut slave, null, null.cast(), null.cast()) };
    assert_eq!(opened, 0);
    // SAFETY: both were just opened and belong to nobody else.
    let (inherited, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    // A copy closes at exec: the bridge must not hold its own terminal open.
    let master = inherited.try_clone().expect("a copy");
    drop(inherited);
    let terminal = slave.as_raw_fd();
    let run = Run::start(|command| {
        command.stderr(Stdio::piped());
        // SAFETY: between fork and exec only setsid(2) and ioctl(2) are called.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                match libc::ioctl(terminal, libc::TIOCSCTTY, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
    });
    run.wait_until_it_handles(libc::SIGHUP);
    // By hand, SIGHUP reloads there too.
    run.signal(libc::SIGHUP);
    assert!(run.lines().any(|line| line.contains("nothing to apply")));
    drop((master, slave));
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn under_nohup_a_closed_terminal_does_not_end_it() {
    let run = Run::start(|command| {
        // SAFETY: between fork and exec only signal(2) is called.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                Ok(())
            });
        }
    });
    run.wait_until_it_handles(libc::SIGTERM);
    assert!(!run.handles(libc::SIGHUP));
    run.signal(libc::SIGHUP);
    run.signal(libc::SIGTERM);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn a_reader_of_the_log_that_goes_away_does_not_end_it() {
    let mut run = Run::start(|command| {
        command.stderr(Stdio::piped());
    });
    drop(run.0.stderr.take());
    run.wait_until_it_handles(libc::SIGTERM);
    run.signal(libc::SIGTERM);
    assert_eq!(run.end().0, Some(0));
}

#[test]
fn however_few_file_handles_there_are_it_ends_with_a_code_of_ours_and_says_why() {
    let limited = |limit: libc::rlim_t| {
        let mut run = Run::start(|command| {
            command.env("BRIDGE_HTTP__LISTEN", "127.0.0.1:0").stderr(Stdio::piped());
            // SAFETY: between fork and exec only setrlimit(2) is called.
            unsafe {
                command.pre_exec(move || {
                    let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
                    match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                });
            }
        });
        while run.0.try_wait().expect("ours").is_none() {
            if run.handles(libc::SIGTERM) {
                run.signal(libc::SIGTERM);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let (code, text) = run.end();
        // The server's thread may say behind it that it ends as well.
        let end = text.lines().rfind(|line| line.contains("\"stopped\"")).unwrap_or_default();
        match code {
            Some(0) => {}
            Some(70) => assert!(end.contains("\"exit_code\":70,\"reason\":"), "{limit}: {text}"),
            Some(78) => assert!(text.contains("Too many open files"), "{limit}: {text}"),
            code => panic!("with {limit} file handles it ended with {code:?}: {text}"),
        }
        code
    };
    // Below 4 the dynamic linker itself fails.
    let codes = std::thread::scope(|scope| {
        let groups: Vec<_> = (0..8)
            .map(|group| {
                scope.spawn(move || {
                    let limits = (4..=60).filter(move |limit| limit % 8 == group);
                    limits.map(|limit| (limit, limited(limit))).collect::<Vec<_>>()
                })
            })
            .collect();
        groups.into_iter().flat_map(|group| group.join().expect("a group")).collect::<Vec<_>>()
    });
    assert!(codes.contains(&(60, Some(0))) && codes.contains(&(10, Some(70))), "{codes:?}");
}

#[test]
fn the_shells_take_their_completions_and_complete_our_commands() {
    for (shell, tell_tale) in [
        ("bash", "complete -F _mqtt__kafka__bridge"),
        ("zsh", "#compdef mqtt-kafka-bridge"),
        ("fish", "complete -c mqtt-kafka-bridge"),
        ("elvish", "mqtt-kafka-bridge"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = bridge(&["completions", shell]).output().expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = stdout(&output);
        for word in [tell_tale, "healthcheck", "config"] {
            assert!(script.contains(word), "{shell}: no {word:?} in {script}");
        }
    }
    // In a real shell: what `mqtt-kafka-bridge che<TAB>` offers.
    let script = stdout(&bridge(&["completions", "bash"]).output().expect("it starts"));
    let ask = "COMP_WORDS=(mqtt-kafka-bridge che); COMP_CWORD=1; \
               _mqtt__kafka__bridge mqtt-kafka-bridge che mqtt-kafka-bridge; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let output = bash.args(["-c", &format!("{script}\n{ask}")]).output().expect("bash is there");
    assert_eq!(stdout(&output), "check\n", "{}", stderr(&output));

    let unknown = bridge(&["completions", "tcsh"]).output().expect("it starts");
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn the_manual_page_has_every_command_option_and_exit_code() {
    let output = bridge(&["man"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(0));
    let page = stdout(&output);
    let help = stdout(&bridge(&["--help"]).output().expect("it starts"));
    let commands = help.split_once("Commands:\n").expect("a list of commands").1;
    let names = commands.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        // Continued lines are indented further.
        let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        name.split_whitespace().next()
    });
    let mut count = 0;
    for name in names.filter(|name| *name != "help") {
        assert!(page.contains(&format!(".SS {name}\n")), "{name} is missing in {page}");
        count += 1;
    }
    assert!(count >= 5, "{count} commands in {help}");
    for part in [".TH mqtt-kafka-bridge 1", "\\-\\-config", "\\-\\-live", "config.toml]", "  78  "]
    {
        assert!(page.contains(part), "{part:?} is missing in {page}");
    }
    assert!(!page.contains("bench-subject") && !page.contains("bench\\-subject"), "hidden");
}

const MAPPED: &str = r#"
[mqtt]
url = "mqtt://secret-user:secret-password@127.0.0.1:1"
client_id = "bridge-1"

[kafka]
brokers = ["127.0.0.1:1"]

[http]
listen = "off"

[[routes]]
name = "climate"
filter = "sensors/{site}/temperature"
kafka_topic = "climate.{site}"
key = "{json./id}"
payload = "json"
headers = ["mqtt.qos", "mqtt.user"]

[[routes]]
filter = "states/#"
kafka_topic = "states"
retained = "skip"
tombstone = "empty"
"#;

/// The lines of `map --json`, and the exit code.
fn mapped(args: &[&str]) -> (Vec<serde_json::Value>, Option<i32>) {
    let config = file(MAPPED);
    let mut all = vec!["map", "--config", path(&config), "--json"];
    all.extend(args);
    let output = bridge(&all).output().expect("it starts");
    let lines =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (lines, output.status.code())
}

#[test]
fn map_shows_the_record_that_a_message_would_become() {
    let (lines, code) = mapped(&[
        "sensors/berlin/temperature",
        "--payload",
        r#" {"id": "d7", "t": 1.50} "#,
        "--property",
        "b=1",
        "--property",
        "a=x=y",
        "--qos",
        "0",
    ]);
    let expected = serde_json::json!({
        "mqtt_topic": "sensors/berlin/temperature",
        "connection": "mqtt",
        "route": "climate",
        "outcome": "record",
        "kafka_topic": "climate.berlin",
        "if_missing": "dead_letter",
        "key": "d7",
        "partition": null,
        "partition_by": "key",
        "order": "key",
        "timestamp": null,
        "headers": [
            { "name": "mqtt.qos", "value": "0" },
            { "name": "mqtt.user.b", "value": "1" },
            { "name": "mqtt.user.a", "value": "x=y" },
        ],
        "value": r#"{"id": "d7", "t": 1.50}"#,
    });
    assert_eq!((lines, code), (vec![expected], Some(0)));
}

#[test]
fn map_shows_why_there_is_no_record() {
    let outcome = |args: &[&str]| {
        let (lines, code) = mapped(args);
        let [line] = &*lines else { panic!("one line, found {lines:?}") };
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        (text("outcome").expect("an outcome"), text("reason"), code)
    };
    let expected = |outcome: &str, reason: Option<&str>, code| {
        (outcome.to_owned(), reason.map(str::to_owned), Some(code))
    };
    assert_eq!(outcome(&["elsewhere"]), expected("unmatched", None, 1));
    assert_eq!(
        outcome(&["states/1", "--payload", "on", "--retain"]),
        expected("dropped", Some("retained"), 0)
    );
    assert_eq!(
        outcome(&["sensors/berlin/temperature", "--payload", "{"]),
        expected("dead_letter", Some("payload_not_json"), 1)
    );
    assert_eq!(
        outcome(&["sensors/berlin/temperature", "--payload", "{}"]),
        expected("dead_letter", Some("value_missing"), 1)
    );
    let (lines, code) = mapped(&["states/1"]);
    assert_eq!((lines[0]["value"].is_null(), code), (true, Some(0)), "a tombstone");
}

#[test]
fn map_takes_a_payload_from_a_file_and_mqtt_topics_from_the_standard_input() {
    let mut payload = NamedTempFile::new().expect("a temporary file");
    payload.write_all(b"\xff\x00").expect("a file can be written");
    let (lines, code) = mapped(&["states/1", "--payload-file", path(&payload)]);
    assert_eq!((&lines[0]["value"]["base64"], code), (&serde_json::json!("/wA="), Some(0)));

    let config = file(MAPPED);
    let mut child = bridge(&["map", "--config", path(&config), "--json", "--stdin", "-p", "on"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"states/1\nstates/2\r\nelsewhere").expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = stdout(&output);
    let found: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|line| line["mqtt_topic"].as_str().expect("an MQTT topic").to_owned())
        .collect();
    assert_eq!(found, ["states/1", "states/2", "elsewhere"]);
    assert_eq!(output.status.code(), Some(1), "one matches no route");
}

#[test]
fn map_of_many_lines_remembers_what_was_delivered_and_refuses_a_wrong_line_alone() {
    let config = file(&format!("{MAPPED}dedupe = true\n"));
    let mut child = bridge(&["map", "--config", path(&config), "--json", "--stdin", "-p", "on"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let long = format!("states/{}", "1".repeat(70_000));
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(format!("states/1\n{long}\nstates/#\n\r\n\nstates/1\n").as_bytes())
        .expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = stdout(&output);
    let found: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .map(|line| (line["mqtt_topic"].clone(), line["outcome"].clone(), line["reason"].clone()))
        .map(|(mqtt_topic, outcome, reason)| format!("{mqtt_topic} {outcome} {reason}"))
        .collect();
    let expected = ["\"states/1\" \"record\" null", "\"states/1\" \"dropped\" \"dedupe\""];
    assert_eq!(found, expected);
    let told = String::from_utf8_lossy(&output.stderr);
    let expected = "--stdin, line 2: expected at most 65535 bytes, found a line of 70008\n\
                    --stdin, line 3: expected an MQTT topic that can be published to, found a wildcard\n\
                    --stdin, line 4: expected an MQTT topic that can be published to, found nothing\n\
                    --stdin, line 5: expected an MQTT topic that can be published to, found nothing\n";
    assert_eq!((told.as_ref(), output.status.code()), (expected, Some(2)));
}

#[test]
fn map_steers_no_terminal_tells_no_secret_and_has_colours_only_where_they_are_wanted() {
    let config = file(MAPPED);
    let mqtt_topic = "states/\u{1b}[2J\u{202e}";
    let payload = "{\"a\":\"\u{9b}2J\"}";
    let args = ["map", "--config", path(&config), mqtt_topic, "--payload", payload];
    let plain = bridge(&args).output().expect("it starts");
    assert_eq!(plain.status.code(), Some(0));
    let text = stdout(&plain);
    assert!(text.contains("states/\\u{1b}[2J\\u{202e}") && text.contains("\\u{9b}2J"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let coloured = bridge(&args).env("CLICOLOR_FORCE", "1").output().expect("it starts");
    let coloured = stdout(&coloured);
    assert!(coloured.contains("\u{1b}[1m"), "{coloured}");
    assert!(!coloured.contains("\u{1b}[2J"), "{coloured}");
    let json = bridge(&[&args[..], &["--json"]].concat()).output().expect("it starts");
    assert!(!stdout(&json).contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{}", stdout(&json));
}

#[test]
fn map_refuses_what_is_no_message() {
    for args in [
        &[][..],
        &["a/#"],
        &["a/+/b"],
        &[""],
        &["a", "--qos", "2"],
        &["a", "--property", "b"],
        &["a", "--stdin"],
        &["a", "--payload", "x", "--payload-file", "y"],
        &["a", "--payload-file", "/nowhere/at/all"],
        &["a", "--connection", "other"],
    ] {
        let (lines, code) = mapped(args);
        assert_eq!((lines.len(), code), (0, Some(2)), "{args:?}");
    }
    let output = bridge(&["map", "--config", "/nowhere", "a"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(78));
}
