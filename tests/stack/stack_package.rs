//! The Debian package on a machine of its own: a container with systemd as process 1.

use std::fs;
use std::path::PathBuf;

use crate::docker::{ask, docker, run};
use crate::support::*;

const IMAGE: &str = "mqtt-kafka-bridge-package:test";
const SERVICE: &str = "mqtt-kafka-bridge";

/// The newest package in target/debian.
fn package() -> PathBuf {
    let debian = target_dir().join("debian");
    let packages = fs::read_dir(&debian).into_iter().flatten().map(|entry| entry.unwrap().path());
    let packages = packages.filter(|path| path.extension().is_some_and(|kind| kind == "deb"));
    let newest = packages.max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
    newest.unwrap_or_else(|| panic!("no package in {}: tests/run makes it", debian.display()))
}

/// A container with systemd; removed in any case.
struct Machine(String);

impl Machine {
    /// Boots a machine on which the package is installed.
    fn with_package(story: &Story) -> Self {
        let dir = story.dir().join("image");
        fs::create_dir_all(&dir).unwrap();
        fs::copy(package(), dir.join("bridge.deb")).unwrap();
        fs::write(
            dir.join("Dockerfile"),
            "FROM debian:bookworm-slim\n\
             RUN apt-get -qq update && apt-get -qq install -y --no-install-recommends systemd >/dev/null\n\
             COPY bridge.deb /\n\
             RUN apt-get -qq install -y --no-install-recommends /bridge.deb >/dev/null\n",
        )
        .unwrap();
        run(docker(&["build", "--quiet", "--tag", IMAGE]).arg(&dir));
        // What systemd needs to be process 1, and no more.
        let container = ask(docker(&["run", "--detach", "--cap-add", "SYS_ADMIN"])
            .args(["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"])
            .args(["--cgroupns", "private", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup"])
            .args(["--tmpfs", "/run", "--tmpfs", "/run/lock", IMAGE, "/lib/systemd/systemd"]));
        let machine = Self(container);
        eventually("systemd is up", PATIENT, || {
            let state = machine.say("systemctl is-system-running || true");
            ["running", "degraded"].contains(&state.as_str())
        });
        machine
    }

    /// What a command in its shell prints; it must succeed.
    #[track_caller]
    fn say(&self, command: &str) -> String {
        ask(&mut docker(&["exec", &self.0, "sh", "-c", command]))
    }

    /// A property of the service, as systemd has it.
    #[track_caller]
    fn property(&self, name: &str) -> String {
        self.say(&format!("systemctl show --property {name} --value {SERVICE}"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = docker(&["rm", "--force", "--volumes", &self.0]).output();
        let _ = docker(&["rmi", "--force", IMAGE]).output();
    }
}

#[test]
fn the_stacks_package_installs_runs_as_a_service_and_goes_without_a_trace() {
    let story = Story::new("package");
    let machine = Machine::with_package(&story);

    // What is installed, and what is not done without being asked.
    let checked =
        machine.say("mqtt-kafka-bridge check --config /etc/mqtt-kafka-bridge/config.toml");
    assert!(checked.contains("url = \"mqtt://localhost:1883\""), "{checked}");
    let files = machine.say(&format!("dpkg -L {SERVICE}"));
    for file in ["/man1/mqtt-kafka-bridge.1", "/_mqtt-kafka-bridge", "/mqtt-kafka-bridge.fish"] {
        assert!(files.contains(file), "no {file} in {files}");
    }
    machine.say("bash -n /usr/share/bash-completion/completions/mqtt-kafka-bridge");
    assert_eq!(
        machine.say("dpkg-query -W -f '${Conffiles}' mqtt-kafka-bridge | cut -d' ' -f2"),
        "/etc/mqtt-kafka-bridge/config.toml"
    );
    assert_eq!(machine.say("stat -c '%a %U' /etc/mqtt-kafka-bridge/secrets"), "700 root");
    // There may be a password in it.
    let owner = machine.say("stat -c '%a %U %G' /etc/mqtt-kafka-bridge/config.toml");
    assert_eq!(owner, format!("640 root {SERVICE}"));
    machine.say("! setpriv --reuid nobody --clear-groups cat /etc/mqtt-kafka-bridge/config.toml");
    assert_eq!(machine.say(&format!("systemctl is-enabled {SERVICE} || true")), "disabled");
    assert_eq!(machine.property("ActiveState"), "inactive");

    // The service, as far as a container may: it can make neither a namespace of users nor credentials.
    machine.say(&format!(
        "mkdir /etc/systemd/system/{SERVICE}.service.d && \
         printf '[Service]\\nPrivateUsers=no\\nLoadCredential=\\n' \
             >/etc/systemd/system/{SERVICE}.service.d/container.conf && \
         systemctl daemon-reload && timeout 60 systemctl start {SERVICE}"
    ));
    assert_eq!(machine.property("ActiveState"), "active", "no broker is there, and it runs");
    let pid = machine.property("MainPID");
    let status = machine.say(&format!("cat /proc/{pid}/status"));
    for line in
        ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
    {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    assert_eq!(machine.say(&format!("stat -c %U /proc/{pid}")), SERVICE);
    machine.say("mqtt-kafka-bridge healthcheck --live --config /etc/mqtt-kafka-bridge/config.toml");
    let told = machine.property("StatusText");
    assert!(told.starts_with("not ready: "), "{told}");
    let lines = machine.say(&format!("journalctl --no-pager --output cat --unit {SERVICE}"));
    assert!(lines.contains("connect_failed"), "{lines}");
    // It starts again by itself, and ends in good order.
    machine.say(&format!("kill -9 {pid}"));
    eventually("systemd starts it again", PATIENT, || {
        machine.property("ActiveState") == "active" && machine.property("MainPID") != pid
    });
    machine.say(&format!("timeout 60 systemctl stop {SERVICE}"));
    assert_eq!(machine.property("Result"), "success");
    assert_eq!(machine.property("ExecMainStatus"), "0");
    // A wrong configuration is said once, and not tried again.
    machine.say("echo 'no = \"such key\"' >>/etc/mqtt-kafka-bridge/config.toml");
    machine.say(&format!("! timeout 60 systemctl start {SERVICE} 2>/dev/null"));
    assert_eq!(machine.property("ExecMainStatus"), "78");
    assert_eq!(machine.property("ActiveState"), "failed");

    // Gone: what it brought, and what was made for it; but not the user's data.
    machine.say("touch /var/lib/mqtt-kafka-bridge/dead-letter.jsonl");
    machine.say(
        "DEBIAN_FRONTEND=noninteractive apt-get -qq purge -y mqtt-kafka-bridge >/dev/null 2>&1",
    );
    let left = machine.say(
        "find / -xdev -name '*mqtt-kafka-bridge*' -not -path '/proc/*' -not -path '/sys/*' | sort",
    );
    let expected =
        ["/etc/systemd/system/mqtt-kafka-bridge.service.d", "/var/lib/mqtt-kafka-bridge"];
    let left: Vec<&str> = left.lines().collect();
    assert_eq!(left, expected);
    machine.say("test -e /var/lib/mqtt-kafka-bridge/dead-letter.jsonl");
}
