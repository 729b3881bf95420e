//! The systemd unit, by systemd's own tools.

use std::fs;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::{BRIDGE, ask, read, run, said};

const UNIT: &str = "docs/deploy/systemd/mqtt-kafka-bridge.service";

/// What `systemd-analyze verify` thinks of a unit whose program and manual page are here.
fn verify(unit: &str) -> Output {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("mqtt-kafka-bridge.service");
    let installed = unit.replace("/usr/bin/mqtt-kafka-bridge", BRIDGE);
    fs::write(&path, installed.replace("Documentation=man:mqtt-kafka-bridge(1)\n", "")).unwrap();
    ask(Command::new("systemd-analyze").arg("verify").arg(path))
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let output = verify(&read(UNIT));
    assert!(output.status.success(), "{}", said(&output));
    // It says what it ignores, and exits with 0.
    let about_it = said(&output);
    let about_it: Vec<&str> =
        about_it.lines().filter(|line| line.contains("mqtt-kafka-bridge")).collect();
    assert_eq!(about_it, [""; 0]);
}

#[test]
fn systemd_would_say_what_is_wrong_with_the_unit() {
    for (right, wrong, complaint) in [
        ("Type=notify", "Type=notifies", "notifies"),
        ("WatchdogSec=60", "WatchdogSec=often", "often"),
        ("StateDirectory=mqtt-kafka-bridge", "StateDirectory=../elsewhere", "StateDirectory"),
        ("LoadCredential=secrets:", "LoadCredentials=secrets:", "LoadCredentials"),
        ("SystemCallFilter=@system-service", "SystemCallFilter=@services", "@services"),
        ("ExecStart=/usr/bin/", "ExecStart=/usr/nowhere/", "nowhere"),
    ] {
        let unit = read(UNIT);
        assert!(unit.contains(right), "no {right:?}");
        let output = verify(&unit.replacen(right, wrong, 1));
        assert!(said(&output).contains(complaint), "{wrong:?}: {}", said(&output));
    }
}

#[test]
fn the_unit_is_as_closed_as_the_documentation_says() {
    let security = ["security", "--offline=true", "--no-pager", UNIT];
    let output = run(Command::new("systemd-analyze").args(security));
    let exposure = output.lines().find_map(|line| line.split_once("Overall exposure level for "));
    let (_, exposure) = exposure.unwrap_or_else(|| panic!("no level in {output}"));
    let level: Vec<&str> = exposure.split_whitespace().collect();
    let promised = format!("exposure level {} ({})", level[1], level[2]);
    let told = read("docs/deploy/README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains(&promised), "docs/deploy/README.md has no {promised:?}");
}

#[test]
fn the_unit_leaves_the_bridge_what_it_needs() {
    let unit = read(UNIT);
    let value = |key: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no {key} in the unit"))
    };
    // sock_diag(7), by which a connection sees what its peer has not taken.
    for family in ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"] {
        let families = value("RestrictAddressFamilies");
        assert!(families.split(' ').any(|word| word == family), "{family}");
    }
    let seconds = |key: &str| value(key).parse::<u64>().unwrap();
    assert!(seconds("TimeoutStopSec") > 8, "delivery.drain_deadline");
    assert!(seconds("WatchdogSec") > 30, "supervisor.hang_after");
    assert_eq!(value("RestartPreventExitStatus"), "2 78");
}
