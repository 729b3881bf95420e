//! `--profile monitoring`. Grafana is not started: only its own registry has it.

use serde_json::json;

use crate::compose::Stack;
use crate::stack_starts::assert_published_on_loopback_alone;
use crate::support::*;

#[test]
fn prometheus_of_the_stack_has_the_rules_and_scrapes_the_bridge() {
    let story = Story::new("monitoring");
    let stack = Stack::up(&story, json!({}));
    stack.compose(&["--profile", "monitoring", "up", "--detach", "--no-build", "prometheus"]);
    eventually("Prometheus is healthy", PATIENT, || {
        stack.inspect("prometheus")["State"]["Health"]["Status"] == "healthy"
    });
    assert_published_on_loopback_alone(&stack.inspect("prometheus"));
    let finds = |query: &str| stack.prometheus.query(query).is_ok_and(|found| !found.is_empty());
    for query in [r#"up{job="mqtt-kafka-bridge"} == 1"#, "mqtt_kafka_bridge_ready == 1"] {
        eventually(query, PATIENT, || finds(query));
    }
    eventually("the rules are evaluated", PATIENT, || {
        let rules = stack.prometheus.rules();
        rules.len() > 25 && rules.iter().all(|rule| rule["health"] == "ok")
    });
    assert!(!finds(r#"ALERTS{alertstate="firing"}"#), "in health none fires");

    stack.compose(&["stop", "--timeout", "1", "bridge"]);
    eventually("the alert is on", PATIENT, || {
        stack.prometheus.state("MqttKafkaBridgeDown") != "inactive"
    });
}
