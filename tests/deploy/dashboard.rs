//! The dashboard, by Grafana's own types. Whether its queries find what they ask for is in tests/stories/monitoring.rs.

use std::process::Command;

use tempfile::TempDir;

use crate::{ask, read, run, said, tool};

const DASHBOARD: &str = "docs/operations/dashboard.json";

fn check(file: &str) -> Command {
    let mut command = Command::new(tool("dashboard-check"));
    command.arg(file);
    command
}

#[test]
fn grafana_knows_everything_that_is_in_the_dashboard() {
    run(&mut check(DASHBOARD));
}

#[test]
fn a_dashboard_with_something_that_grafana_does_not_know_is_refused() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("dashboard.json");
    let dashboard = read(DASHBOARD);
    for (is, becomes, complaint) in [
        (r#""type": "stat""#, r#""type": "stats""#, "no panels of the kind"),
        (r#""unit": "mps""#, r#""unit": "mph""#, "its unit is none of"),
        (r#""legendFormat""#, r#""legend""#, "unexpected field 'legend'"),
        (r#""showUnfilled""#, r#""showEmpty""#, "showUnfilled"),
        (r#""fillOpacity""#, r#""opacity""#, "unexpected field 'opacity'"),
        (r#""schemaVersion""#, r#""version_of_schema""#, "schemaVersion"),
        (r#""allValue""#, r#""everything""#, "unexpected field 'everything'"),
    ] {
        assert!(dashboard.contains(is), "{is} is there");
        std::fs::write(&path, dashboard.replace(is, becomes)).unwrap();
        let output = ask(&mut check(path.to_str().unwrap()));
        assert!(!output.status.success(), "{becomes} was taken");
        assert!(said(&output).contains(complaint), "{becomes}: {}", said(&output));
    }
}
