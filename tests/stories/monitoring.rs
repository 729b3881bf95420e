//! What docs/operations promises: Prometheus understands the rules, each alert fires when it should, and each query of
//! the dashboard and of the alerts finds what it asks for, on a real Prometheus that scraped a real bridge.
//!
//! Grafana itself cannot be started here; tests/deploy/dashboard.rs holds the dashboard to its types.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use regex::Regex;
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::certificates::ClientKey;
use crate::support::mosquitto::Setup;
use crate::support::*;

const TOKEN: &str = "a-token-that-nobody-guesses";
/// Of the alerts' selectors, those of which this story has no series: nothing waits here until it expires.
const NEVER_HERE: [&str; 1] = [r#"mqtt_kafka_bridge_route_dropped_total{reason="expired"}"#];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn operations(file: &str) -> String {
    let path = docs().join("operations").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compose() -> String {
    fs::read_to_string(docs().with_file_name("docker-compose.yml")).unwrap()
}

fn dashboard() -> Value {
    serde_json::from_str(&operations("dashboard.json")).unwrap()
}

/// Runs promtool in a directory with the files of docs/operations; whether it is content, and what it said.
fn promtool(directory: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("promtool").args(args).current_dir(directory).output();
    let output = output.unwrap_or_else(|error| panic!("promtool: {error}; tests/run installs it"));
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The metrics that docs/observability.md lists, by their whole names.
fn documented() -> BTreeSet<String> {
    let document = fs::read_to_string(docs().join("observability.md")).unwrap();
    let (_, section) = document.split_once("\n## Metrics\n").expect("a section");
    let (section, _) = section.split_once("\n## ").expect("another behind it");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let whole = |name: &str| match name.starts_with("process_") {
        true => name.to_owned(),
        false => format!("mqtt_kafka_bridge_{name}"),
    };
    rows.map(|(name, _)| whole(name)).collect()
}

/// The metrics that a query names; those of a histogram by the name of the histogram.
fn metrics_of(query: &str) -> BTreeSet<String> {
    let names = Regex::new(r"\b(mqtt_kafka_bridge|process)_[a-z0-9_]+").unwrap();
    let base = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    names.find_iter(query).map(|name| base(name.as_str())).collect()
}

/// Panels that show something, with their titles.
fn panels(dashboard: &Value) -> Vec<(&str, &Value)> {
    let all = dashboard["panels"].as_array().unwrap().iter().filter(|it| it["type"] != "row");
    all.map(|panel| (panel["title"].as_str().unwrap(), panel)).collect()
}

#[test]
fn promtool_finds_nothing_wrong_and_each_alert_fires_in_its_case_alone() {
    let directory = docs().join("operations");
    for args in [
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let (is_content, said) = promtool(&directory, &args);
        assert!(is_content, "{args:?}: {said}");
    }
    let [alerts, tests] = ["alerts.yml", "alerts_test.yml"].map(operations);
    let alerts: Vec<_> = alerts.lines().filter_map(|line| line.split_once("- alert: ")).collect();
    assert!(alerts.len() > 25, "{alerts:?}");
    let (health, cases) = tests.split_once("\n\n  - name: MqttKafkaBridge").expect("cases");
    for (_, alert) in alerts {
        let silent = format!("alertname: {alert}, exp_alerts: [] }}");
        assert!(health.contains(&silent), "{alert} is silent in health");
        assert!(cases.contains(&silent), "{alert} is silent before its time");
        let fires =
            format!("        alertname: {alert}\n        exp_alerts:\n          - exp_labels: ");
        assert!(cases.contains(&fires), "{alert} fires in a case");
    }
}

/// The rules, each with this expression in place of its own.
fn with_expressions(rules: &str, instead: &str) -> String {
    let mut rules = rules.split("        expr: ");
    let mut changed = rules.next().unwrap().to_owned();
    for rule in rules {
        let ends = ["\n        for: ", "\n        labels: "].into_iter();
        let end = ends.filter_map(|end| rule.find(end)).min().expect("a key behind it");
        changed += &format!("        expr: {instead}{}", &rule[end..]);
    }
    changed
}

/// Were an alert changed so that it never fires, or always does, its test would tell.
#[test]
fn the_tests_of_the_alerts_notice_each_alert_that_fires_never_or_always() {
    let story = Story::new("alerts changed");
    let rules = operations("alerts.yml");
    fs::write(story.dir().join("alerts_test.yml"), operations("alerts_test.yml")).unwrap();
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.split_once("- alert: ")).collect();
    // Silent where it was to fire, and the other way round.
    for (instead, tells) in [("vector(1) == 0", "got:[]"), ("vector(1)", "exp:[]")] {
        fs::write(story.dir().join("alerts.yml"), with_expressions(&rules, instead)).unwrap();
        let (is_content, said) = promtool(story.dir(), &["test", "rules", "alerts_test.yml"]);
        assert!(!is_content, "{said}");
        let told: BTreeSet<_> = said
            .split("alertname: ")
            .filter(|case| case.contains(tells))
            .filter_map(|case| case.split_once(',').map(|(alert, _)| alert))
            .collect();
        for (_, alert) in &alerts {
            assert!(told.contains(alert), "{alert} with {instead}: {told:?}");
        }
    }
}

#[test]
fn the_dashboard_is_in_order_and_shows_every_metric() {
    let dashboard = dashboard();
    let data_source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let (mut ids, mut places, mut shown) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is another's");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}: it is too wide");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            if let Some(other) = places.insert(place, title) {
                panic!("{title} covers {other}");
            }
        }
    }
    for (title, panel) in panels(&dashboard) {
        let description = panel["description"].as_str().unwrap_or_default();
        assert!(description.len() > 20, "{title}: what does it show?");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}: it has a unit");
        assert_eq!(panel["datasource"], data_source, "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        for target in targets {
            assert_eq!(target["datasource"], data_source, "{title}");
            shown.extend(metrics_of(target["expr"].as_str().unwrap()));
        }
    }
    let documented = documented();
    assert!(documented.len() > 30, "{documented:?}");
    let differing: Vec<_> = shown.symmetric_difference(&documented).collect();
    assert!(differing.is_empty(), "either shown or in docs/observability.md: {differing:?}");
}

/// A bridge with a route that drops some and refuses some, behind a Mosquitto; a Prometheus that scrapes it as
/// docs/operations/prometheus.yml says, over TLS and with the token.
struct Monitored {
    mosquitto: Mosquitto,
    bridge: Bridge,
    http: Http,
    prometheus: Prometheus,
    began: u64,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Monitored {
    fn start(story: &Story, kafka: &Kafka) -> Self {
        const NAME: &str = "monitored";
        kafka.create(NAME, 2, &[]);
        let transport = Transport::MutualTls(ClientKey::Ec);
        let setup = Setup::default().listen(transport.listener());
        let mosquitto = Mosquitto::start(story.dir(), &setup);
        let certificates = mosquitto.certificates().expect("it has a listener with TLS");
        let token = story.dir().join("token");
        fs::write(&token, TOKEN).unwrap();
        let http = Http::free().over_tls(&certificates.authorities()).with_token(TOKEN);
        let [certificate, key] = certificates.broker();
        let mut config = ConfigFile::new(&mosquitto.address(), NAME, &kafka.bootstrap());
        transport.configure(
            &mut config,
            &mosquitto,
            &mosquitto.address_of(transport.listener()),
            None,
        );
        http.configure(&mut config);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        config.set("http", "token_file", text(&token));
        config.set("http", "cert_file", text(&certificate)).set("http", "key_file", text(&key));
        config.set("dead_letter", "file", text(&story.dir().join("dead.jsonl")));
        config.route_with(&[
            ("name", "plant".into()),
            ("filter", "plant/#".into()),
            ("qos", 1.into()),
            ("kafka_topic", NAME.into()),
            ("payload", "json".into()),
            ("drop_if", "{json./value} < 0".into()),
            ("device_time", "json./at".into()),
            ("device_time_unit", "s".into()),
        ]);
        let mut bridge = Bridge::new(story.dir(), NAME, &config);
        bridge.environment("BRIDGE_FAILPOINTS", Some("kafka_batch=40"));
        let began = now();
        bridge.run();
        mosquitto.wait_subscribed(NAME, 1);
        let scrape = scrape_config(&http, &certificates.authorities(), &token);
        let compose = compose();
        let flags = compose.lines().filter_map(|line| line.trim().strip_prefix("- "));
        let flags: Vec<_> =
            flags.filter(|flag| flag.starts_with("--storage.tsdb.retention")).collect();
        assert_eq!(flags.len(), 2, "{flags:?}");
        let prometheus = Prometheus::start(story.dir(), &scrape, &flags);
        Self { mosquitto, bridge, http, prometheus, began }
    }

    /// Waits until a query has series.
    #[track_caller]
    fn wait_for(&self, query: &str) {
        eventually(query, PATIENT, || !self.prometheus.query(query).unwrap().is_empty());
    }

    #[track_caller]
    fn wait_state(&self, alert: &str, states: &[&str]) {
        eventually(&format!("{alert} is {states:?}"), PATIENT, || {
            states.contains(&&*self.prometheus.state(alert))
        });
    }

    /// A message that is forwarded, one that is dropped, and one without the device's time.
    fn publish(&self, device: &mut MqttClient) {
        for value in
            [json!({ "at": now(), "value": 1 }), json!({ "value": -1 }), json!({ "value": 2 })]
        {
            device.publish("plant/1", value.to_string().as_bytes());
        }
    }
}

/// docs/operations/prometheus.yml, with what it has behind `#`, for this bridge, and more often.
fn scrape_config(http: &Http, authority: &Path, token: &Path) -> String {
    let rules = docs().join("operations/alerts.yml");
    let mut config = operations("prometheus.yml");
    for (is, becomes) in [
        ("#scheme: https", "scheme: https"),
        (
            "#tls_config: { ca_file: /etc/prometheus/bridge-ca.pem }",
            "tls_config: { ca_file: AUTHORITY }",
        ),
        (
            "#authorization: { credentials_file: /run/secrets/bridge-token }",
            "authorization: { credentials_file: TOKEN }",
        ),
        ("AUTHORITY", authority.to_str().unwrap()),
        ("TOKEN", token.to_str().unwrap()),
        ("bridge:8080", http.address()),
        ("[alerts.yml]", &format!("[{}]", rules.display())),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("evaluation_interval: 15s", "evaluation_interval: 1s"),
    ] {
        assert!(config.contains(is), "{is} is in prometheus.yml");
        config = config.replace(is, becomes);
    }
    config
}

/// A query of the dashboard, as Grafana asks it when all of each variable is chosen; whatever is chosen must be there.
fn filled_in(query: &str) -> String {
    let mut query = query.replace("$__rate_interval", "1m");
    for variable in ["$job", "$instance", "$connection", "$route"] {
        query = query.replace(variable, ".+");
    }
    assert!(!query.contains('$'), "{query}");
    query
}

/// Whether a series has a number; a quotient of nothing has none.
fn has_number(series: &Value) -> bool {
    let is_number = |sample: &Value| sample[1].as_str().is_some_and(|value| value != "NaN");
    let values = series["values"].as_array().into_iter().flatten();
    values.chain([&series["value"]]).any(is_number)
}

/// What is wrong with the queries of the dashboard.
fn wrong_with_panels(monitored: &Monitored) -> Vec<String> {
    let (prometheus, to) = (&monitored.prometheus, now());
    let labels = Regex::new(r"\{\{(\w+)\}\}").unwrap();
    let mut wrong = Vec::new();
    for (title, panel) in panels(&dashboard()) {
        for target in panel["targets"].as_array().unwrap() {
            let query = filled_in(target["expr"].as_str().unwrap());
            let found = match target["instant"] == true {
                true => prometheus.query(&query),
                false => prometheus.query_range(&query, monitored.began, to),
            };
            match found {
                Err(error) => wrong.push(format!("{title}: {query}: {error}")),
                Ok(series) if !series.iter().any(has_number) => {
                    wrong.push(format!("{title}: {query}: no data"));
                }
                Ok(series) => {
                    let legend = target["legendFormat"].as_str().unwrap();
                    for label in labels.captures_iter(legend).map(|found| found[1].to_owned()) {
                        // It may be empty, which is the same as none: not in all of them.
                        if series.iter().all(|series| series["metric"].get(&label).is_none()) {
                            wrong.push(format!("{title}: {query}: no label {label}"));
                        }
                    }
                }
            }
        }
    }
    wrong
}

/// What is wrong with the variables and the annotations of the dashboard.
fn wrong_with_variables(monitored: &Monitored) -> Vec<String> {
    let dashboard = dashboard();
    let call = Regex::new(r"^label_values\((.*), (\w+)\)$").unwrap();
    let mut wrong = Vec::new();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let found = call.captures(query).unwrap_or_else(|| panic!("label_values: {query}"));
        let selected = filled_in(&found[1]);
        let from = monitored.began.to_string();
        let asked = [("match[]", &*selected), ("start", &from)];
        match monitored.prometheus.api(&format!("label/{}/values", &found[2]), &asked) {
            Ok(Value::Array(values)) if !values.is_empty() => {}
            other => wrong.push(format!("{query}: {other:?}")),
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        let Some(query) = annotation["expr"].as_str() else { continue };
        let query = filled_in(query);
        match monitored.prometheus.query_range(&query, monitored.began, now()) {
            Ok(series) if !series.is_empty() => {}
            other => wrong.push(format!("{query}: {other:?}")),
        }
    }
    wrong
}

/// What is wrong with the alerts: a query that fails, or a metric or a label that no bridge has.
fn wrong_with_alerts(monitored: &Monitored) -> Vec<String> {
    let selector =
        Regex::new(r"\b(?:mqtt_kafka_bridge|process)_[a-z0-9_]+(?:\{[^}]*\})?|\bup\{[^}]*\}")
            .unwrap();
    let (documented, mut wrong) = (documented(), Vec::new());
    let rules = monitored.prometheus.rules();
    assert!(rules.len() > 25, "{rules:?}");
    for rule in rules {
        let (name, query) = (rule["name"].as_str().unwrap(), rule["query"].as_str().unwrap());
        if rule["health"] != "ok" {
            wrong.push(format!("{name}: {}", rule["lastError"]));
        }
        if let Err(error) = monitored.prometheus.query(query) {
            wrong.push(format!("{name}: {query}: {error}"));
        }
        let unknown = metrics_of(query).into_iter().filter(|metric| !documented.contains(metric));
        wrong
            .extend(unknown.map(|metric| format!("{name}: docs/observability.md has no {metric}")));
        let selectors = selector.find_iter(query).map(|found| found.as_str());
        for selector in selectors.filter(|selector| !NEVER_HERE.contains(selector)) {
            let ever = format!("count_over_time({selector}[1h])");
            if monitored.prometheus.query(&ever).unwrap().is_empty() {
                wrong.push(format!("{name}: no bridge has {selector}"));
            }
        }
        for annotation in ["summary", "description", "runbook_url"] {
            if rule["annotations"][annotation].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{name} has no {annotation}"));
            }
        }
    }
    wrong
}

/// Linted by promtool, as Prometheus without OpenMetrics would read them.
fn assert_promtool_likes_the_metrics(monitored: &Monitored) {
    let metrics = monitored.http.get("/metrics").unwrap().body;
    assert!(metrics.contains("mqtt_kafka_bridge_restarts_total{"), "they are whole: {metrics}");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut promtool = promtool.stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// What prometheus.yml asks for in the Compose stack: off loopback, without a token, under a name.
#[test]
fn in_compose_the_bridge_answers_to_the_name_by_which_prometheus_asks() {
    let story = Story::new("metrics in Compose");
    let compose = compose();
    let (_, bridge) = compose.split_once("\n  bridge:\n").unwrap();
    let (environment, _) = bridge.split_once("\n    volumes:\n").unwrap();
    let variables = environment.lines().filter_map(|line| line.trim().split_once(": "));
    let variables: Vec<_> =
        variables.filter(|(name, _)| name.starts_with("BRIDGE_HTTP__")).collect();
    assert_eq!(variables.len(), 2, "{variables:?}");
    let http = Http::free();
    // It waits for both.
    let mut config = ConfigFile::new("127.0.0.1:9", "compose", "127.0.0.1:9");
    let (_, port) = http.address().split_once(':').unwrap();
    config.set("http", "listen", format!("0.0.0.0:{port}")).route("plant/#", "plant");
    let mut bridge = Bridge::new(story.dir(), "compose", &config);
    for (name, value) in variables {
        bridge.environment(name, Some(value.trim_matches('"')));
    }
    bridge.run();
    let config = operations("prometheus.yml");
    let target = config.split("targets: [\"").nth(1).and_then(|rest| rest.split('"').next());
    let target = target.expect("a target").to_owned();
    let ask = |host: &str| http.ask(&format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let answer = eventually_some("it answers", PATIENT, || ask(&target).ok());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("\nmqtt_kafka_bridge_build_info{"), "{answer:?}");
    assert_eq!(ask("stranger.example").unwrap().status, 421);
    bridge.kill();

    // What Grafana finds where.
    let data_source = operations("grafana/data-source.yml");
    assert!(data_source.contains("url: http://prometheus:9090\n"), "{data_source}");
    assert!(compose.contains("\n  prometheus:\n") && compose.contains("-9090}:9090\"]"));
    let dashboards = operations("grafana/dashboards.yml");
    assert!(dashboards.contains("path: /etc/grafana/dashboards }"), "{dashboards}");
    let place = "/etc/grafana/dashboards/mqtt-kafka-bridge.json";
    assert!(compose.contains(&format!("./docs/operations/dashboard.json:{place}:ro\n")));
    assert!(compose.contains(&format!("DEFAULT_HOME_DASHBOARD_PATH: {place}\n")));
}

#[test]
fn a_real_prometheus_finds_what_the_dashboard_and_the_alerts_ask_for() {
    let story = Story::new("monitoring");
    let kafka = Kafka::shared();
    let mut monitored = Monitored::start(&story, kafka);
    monitored.http.wait_ready(PATIENT);
    let connect = |monitored: &Monitored, name: &str| {
        MqttClient::connect(&monitored.mosquitto.address(), Version::V5, name).unwrap()
    };
    let mut device = connect(&monitored, "device");
    for _ in 0..5 {
        monitored.publish(&mut device);
    }
    monitored.wait_for("sum(mqtt_kafka_bridge_delivered_total) >= 10");
    // In health none fires.
    monitored.wait_for("mqtt_kafka_bridge_ready == 1");
    let firing = r#"ALERTS{alertstate="firing"}"#;
    assert_eq!(monitored.prometheus.query(firing).unwrap(), [Value::Null; 0], "in health");

    // Everything that can go wrong quickly does.
    device.publish("plant/1", b"{ no JSON");
    monitored.wait_state("MqttKafkaBridgeDeadLetters", &["firing"]);
    eventually("the failpoint is met", PATIENT, || {
        monitored.publish(&mut device);
        monitored.http.metrics().sum_of("restarts_total", "panic") > 0
    });
    monitored.wait_state("MqttKafkaBridgeRestarts", &["firing"]);
    let config = fs::read_to_string(monitored.bridge.config()).unwrap();
    fs::write(monitored.bridge.config(), format!("{config}\nwrong = 1\n")).unwrap();
    monitored.bridge.process().signal(libc::SIGHUP);
    monitored.wait_state("MqttKafkaBridgeReloadFailed", &["firing"]);
    assert_promtool_likes_the_metrics(&monitored);
    fs::write(monitored.bridge.config(), config).unwrap();
    monitored.mosquitto.stop();
    for alert in ["MqttKafkaBridgeMqttDisconnected", "MqttKafkaBridgeNotReady"] {
        monitored.wait_state(alert, &["pending", "firing"]);
    }
    monitored.mosquitto.run();
    monitored.wait_for("mqtt_kafka_bridge_mqtt_connected == 1");
    monitored.wait_state("MqttKafkaBridgeMqttDisconnected", &["inactive"]);
    assert_eq!(monitored.bridge.terminate(), 0);
    monitored.wait_state("MqttKafkaBridgeDown", &["pending", "firing"]);
    monitored.bridge.environment("BRIDGE_FAILPOINTS", None);
    monitored.bridge.run();
    monitored.http.wait_ready(PATIENT);
    let mut device = connect(&monitored, "device-2");
    monitored.publish(&mut device);
    monitored.wait_for("sum(mqtt_kafka_bridge_delivered_total) >= 2");
    monitored.wait_for("resets(mqtt_kafka_bridge_uptime_seconds[1h]) > 0");

    // What librdkafka counts comes every few seconds, and a rate needs two samples.
    let mut wrong = Vec::new();
    let look = |wrong: &mut Vec<String>| {
        *wrong = wrong_with_panels(&monitored);
        wrong.extend(wrong_with_variables(&monitored));
        wrong.extend(wrong_with_alerts(&monitored));
        wrong.is_empty()
    };
    let is_well = within(PATIENT, || look(&mut wrong));
    assert!(is_well, "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(monitored.bridge.terminate(), 0);
    monitored.prometheus.process().end_in_order(SOON);
}
